/*
 * support_conf_files: whole small files.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "support_conformance.h"

static void expect_published(struct conf *c, struct dir *dir, const char *name, const struct attr *attr,
                             const void *data, const char *path)
{
    struct attr out = {0};
    struct stat st;
    int err = conf_publish(c, dir, name, attr, STORE_KEEP_ALL, data, &out);

    cr_assert_eq(err, 0, "%s: %s", path, strerror(-err));
    st = conf_see(c, path);
    cr_assert_eq(out.size, attr->size);
    cr_assert_eq(out.ino, st.st_ino);
    cr_assert_eq(out.mode, st.st_mode);
    cr_assert_eq(out.uid, st.st_uid);
    cr_assert_eq(out.mtime.tv_nsec, st.st_mtim.tv_nsec);
    cr_assert_eq(st.st_nlink, 1);
}

static void publish_new(struct conf *c)
{
    struct attr attr = conf_attr(c, 0640, 8192);
    char *data = conf_bytes(8192, 1);

    expect_published(c, c->root, "new", &attr, data, "new");
    conf_expect_bytes(c, "new", data, 8192);
    conf_expect_attr(c, "new", &attr, STORE_KEEP_ALL);
    free(data);
}

static void publish_replace(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 3);
    struct stat before;

    conf_put_file(c, "old", "old contents", 12, 0600);
    before = conf_see(c, "old");
    cr_assert_eq(linkat(c->fd, "old", c->fd, "link", 0), 0);
    expect_published(c, c->root, "old", &attr, "new", "old");
    conf_expect_bytes(c, "old", "new", 3);
    /* Replaced, not written over: the other link has the old contents. */
    conf_expect_bytes(c, "link", "old contents", 12);
    cr_assert_neq(conf_see(c, "old").st_ino, before.st_ino);
}

static void publish_over_symlink(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 3);

    conf_put_file(c, "victim", "precious", 8, 0600);
    cr_assert_eq(symlinkat("victim", c->fd, "name"), 0);
    expect_published(c, c->root, "name", &attr, "new", "name");
    conf_expect_bytes(c, "victim", "precious", 8);
    conf_expect_bytes(c, "name", "new", 3);
}

static void publish_over_dir(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 3);
    int err;

    cr_assert_eq(mkdirat(c->fd, "name", 0755), 0);
    err = conf_publish(c, c->root, "name", &attr, STORE_KEEP_ALL, "new", NULL);
    cr_assert(err == -EISDIR || err == -EEXIST || err == -ENOTEMPTY, "%s", strerror(-err));
    cr_assert(S_ISDIR(conf_see(c, "name").st_mode));
}

static void publish_odd_names(struct conf *c)
{
    static const char *const names[] = {"two\nlines", "\xff\xfe\x80", " ",  "-rf", "*?[a]", "back\\slash", ".hidden",
                                        "\x01\x7f",   "...",          "\"", "'",   "%s%n",  "tab\there"};
    char longest[256];
    struct attr attr = conf_attr(c, 0644, 4);

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        expect_published(c, c->root, names[i], &attr, "data", names[i]);
    }
    memset(longest, 'n', 255);
    longest[255] = '\0';
    expect_published(c, c->root, longest, &attr, "data", longest);
}

static void publish_too_long_a_name(struct conf *c)
{
    char name[257];
    struct attr attr = conf_attr(c, 0644, 4);

    memset(name, 'n', 256);
    name[256] = '\0';
    cr_assert_eq(conf_publish(c, c->root, name, &attr, STORE_KEEP_ALL, "data", NULL), -ENAMETOOLONG);
}

static void publish_sizes(struct conf *c)
{
    uint64_t max = c->store->caps.small_max;
    const uint64_t sizes[] = {0, 1, 4095, 4096, 4097, 65536, max};
    char name[32];

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct attr attr = conf_attr(c, 0644, sizes[i]);
        char *data = conf_bytes(sizes[i], i);

        snprintf(name, sizeof(name), "size%u", i);
        expect_published(c, c->root, name, &attr, data, name);
        conf_expect_bytes(c, name, data, sizes[i]);
        free(data);
    }
}

static void publish_modes(struct conf *c)
{
    static const mode_t modes[] = {0, 0400, 0444, 0600, 0644, 0755, 0666, 0777, 04755, 02755, 06711, 01644};
    char name[32];

    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct attr attr = conf_attr(c, modes[i], 4);

        snprintf(name, sizeof(name), "mode%o", modes[i]);
        expect_published(c, c->root, name, &attr, "data", name);
        conf_expect_attr(c, name, &attr, STORE_KEEP_ALL);
    }
}

static void publish_owners(struct conf *c)
{
    static const struct {
        uid_t uid;
        gid_t gid;
        mode_t mode;
    } rows[] = {{12345, 23456, 0640}, {0, 23456, 0640}, {12345, 0, 0600}, {12345, 23456, 06755}, {12345, 12345, 0}};
    char name[32];

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct attr attr = conf_attr(c, rows[i].mode, 4);

        attr.uid = rows[i].uid;
        attr.gid = rows[i].gid;
        snprintf(name, sizeof(name), "owner%u", i);
        expect_published(c, c->root, name, &attr, "data", name);
        conf_expect_attr(c, name, &attr, STORE_KEEP_ALL);
    }
    cr_assert_eq(conf_noticed(c, "set"), 0);
}

static void publish_times(struct conf *c)
{
    static const struct timespec times[] = {{0, 0}, {1, 1}, {1700000000, 999999999}, {2147483647, 5}};
    char name[32];

    for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct attr attr = conf_attr(c, 0644, 4);

        attr.mtime = times[i];
        snprintf(name, sizeof(name), "time%u", i);
        expect_published(c, c->root, name, &attr, "data", name);
        conf_expect_attr(c, name, &attr, STORE_KEEP_ALL);
    }
}

static void publish_far_times(struct conf *c)
{
    static const struct timespec times[] = {{-1, 500000000}, {-1000000000, 1}, {4300000000, 7}, {13000000000, 3}};
    char name[32];

    for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct attr attr = conf_attr(c, 0644, 4);

        attr.mtime = times[i];
        snprintf(name, sizeof(name), "time%u", i);
        expect_published(c, c->root, name, &attr, "data", name);
        conf_expect_attr(c, name, &attr, STORE_KEEP_ALL);
    }
}

/* Without anything to keep: ours, new, and nobody but us may write. */
static void publish_keep_nothing(struct conf *c)
{
    struct attr attr = conf_attr(c, 0777, 4);
    struct stat st;

    attr.uid = 12345;
    attr.gid = 12345;
    cr_assert_eq(conf_publish(c, c->root, "plain", &attr, 0, "data", NULL), 0);
    st = conf_see(c, "plain");
    cr_assert_eq(st.st_uid, c->uid);
    cr_assert_eq(st.st_gid, c->gid);
    cr_assert_eq(st.st_mode & 07777, 0755);
    cr_assert(st.st_mtim.tv_sec > attr.mtime.tv_sec);
}

/* As nobody in particular: others' owners are left, and setuid with them; groups that are ours are kept. */
static void publish_as_user(struct conf *c)
{
    struct attr attr = conf_attr(c, 04755, 4);
    struct stat st;

    expect_published(c, c->root, "ours", &attr, "data", "ours");
    conf_expect_attr(c, "ours", &attr, STORE_KEEP_ALL);
    attr.uid = 12345;
    attr.gid = 12345;
    attr.mode = S_IFREG | 06755;
    cr_assert_eq(conf_publish(c, c->root, "theirs", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    st = conf_see(c, "theirs");
    cr_assert_eq(st.st_uid, c->uid);
    cr_assert_eq(st.st_gid, c->gid);
    cr_assert_eq(st.st_mode & 07777, 0755);
    cr_assert_eq(conf_noticed(c, "setuid"), 1);
}

static void publish_require_owner(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);

    expect_published(c, c->root, "ours", &attr, "data", "ours");
    attr.uid = 12345;
    cr_assert_eq(conf_publish(c, c->root, "theirs", &attr, STORE_KEEP_ALL, "data", NULL), -EPERM);
    cr_assert_not(conf_there(c, "theirs"));
}

static void publish_ignore_owner(struct conf *c)
{
    struct attr attr = conf_attr(c, 06755, 4);
    struct stat st;

    attr.uid = 12345;
    attr.gid = 12345;
    cr_assert_eq(conf_publish(c, c->root, "name", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    st = conf_see(c, "name");
    cr_assert_eq(st.st_uid, c->uid);
    cr_assert_eq(st.st_mode & 07777, 0755, "a file of ours may not be setuid for what was another's");
    cr_assert_eq(conf_noticed(c, "setuid"), 1);
}

/* A setgid directory hands down its group; the file gets the one that is wanted all the same. */
static void publish_in_setgid_dir(struct conf *c)
{
    struct dir *dir = conf_make_dir(c, c->root, "d");
    struct attr attr = conf_attr(c, 0640, 4);
    struct attr of_dir = {.mode = S_IFDIR | 02775, .uid = c->uid, .gid = 777};
    struct store_op op = {
        .code = STORE_SETATTR, .dir = dir, .setattr = {.attr = &of_dir, .keep = STORE_KEEP_ALL & ~STORE_KEEP_TIMES}};

    /* The directory's handle is open before it becomes setgid. */
    expect_published(c, dir, "before", &attr, "data", "d/before");
    cr_assert_eq(store_run(c->port, &op), 0);
    expect_published(c, dir, "after", &attr, "data", "d/after");
    conf_expect_attr(c, "d/before", &attr, STORE_KEEP_ALL);
    conf_expect_attr(c, "d/after", &attr, STORE_KEEP_ALL);
    attr.gid = 777;
    expect_published(c, dir, "same", &attr, "data", "d/same");
    conf_expect_attr(c, "d/same", &attr, STORE_KEEP_ALL);
    dir_put(dir);
}

/* A default ACL narrows the mode that a new file is asked for; what arrives has the mode that is wanted. */
static void publish_under_default_acl(struct conf *c)
{
    struct dir *dir = conf_make_dir(c, c->root, "d");
    struct attr attr = conf_attr(c, 0755, 4);
    /* user::rwx user:4711:r-- group::r-- mask::r-- other::--- */
    static const struct {
        uint32_t version;
        struct {
            uint16_t tag;
            uint16_t perm;
            uint32_t id;
        } entries[5];
    } acl = {2, {{1, 7, ~0U}, {2, 4, 4711}, {4, 4, ~0U}, {0x10, 4, ~0U}, {0x20, 0, ~0U}}};
    int fd = openat(c->fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fsetxattr(fd, "system.posix_acl_default", &acl, sizeof(acl), 0) == 0) {
        expect_published(c, dir, "name", &attr, "data", "d/name");
        conf_expect_attr(c, "d/name", &attr, STORE_KEEP_ALL);
    } else {
        cr_assert_eq(errno, EOPNOTSUPP);
    }
    close(fd);
    dir_put(dir);
}

/* Where the directory is gone, or never was. */
static void publish_without_dir(struct conf *c)
{
    struct dir *dir = conf_dir(c, c->root, "missing");
    struct dir *gone = conf_make_dir(c, c->root, "gone");
    struct attr attr = conf_attr(c, 0644, 4);

    cr_assert_eq(conf_publish(c, dir, "name", &attr, STORE_KEEP_ALL, "data", NULL), -ENOENT);
    cr_assert_eq(conf_publish(c, gone, "name", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    cr_assert_eq(conf_remove(c, gone, "name", NULL, false), 0);
    cr_assert_eq(unlinkat(c->fd, "gone", AT_REMOVEDIR), 0);
    cr_assert_lt(conf_publish(c, gone, "name", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    /* There is one again: the handle of the old one is not held on to. */
    cr_assert_eq(mkdirat(c->fd, "gone", 0755), 0);
    cr_assert_eq(conf_publish(c, gone, "name", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    conf_expect_bytes(c, "gone/name", "data", 4);
    dir_put(dir);
    dir_put(gone);
}

struct crowd {
    struct dir *dirs[8];
    char *data;
};

/* Many at a time in few directories, whose handles all of them open at once. */
static void publish_crowd(struct conf *c)
{
    struct crowd *crowd = c->own;
    char name[32];

    if (!crowd) {
        c->own = crowd = calloc(1, sizeof(*crowd));
        crowd->data = conf_bytes(4096, 3);
        for (unsigned i = 0; i < 8; i++) {
            snprintf(name, sizeof(name), "d%u", i);
            cr_assert_eq(mkdirat(c->fd, name, 0755), 0);
            crowd->dirs[i] = conf_dir(c, c->root, name);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        unsigned n = c->next++;
        struct attr attr = conf_attr(c, 0644, 1000 + n);
        int err;

        snprintf(name, sizeof(name), "f%u", n);
        err = conf_publish(c, crowd->dirs[n % 8], name, &attr, STORE_KEEP_ALL, crowd->data + n, NULL);
        cr_assert_eq(err, 0, "%s: %s", name, strerror(-err));
    }
}

static void publish_crowd_after(struct conf *c)
{
    struct crowd *crowd = c->own;
    char path[64];

    cr_assert_eq(c->next, 200);
    for (unsigned n = 0; n < c->next; n++) {
        snprintf(path, sizeof(path), "d%u/f%u", n % 8, n);
        conf_expect_bytes(c, path, crowd->data + n, 1000 + n);
    }
    for (unsigned i = 0; i < 8; i++) {
        dir_put(crowd->dirs[i]);
    }
    free(crowd->data);
    free(crowd);
}

static const struct conf_case cases[] = {
    {.name = "publish new", .run = publish_new},
    {.name = "publish replaces", .run = publish_replace},
    {.name = "publish over a symbolic link", .run = publish_over_symlink},
    {.name = "publish over a directory", .run = publish_over_dir},
    {.name = "publish odd names", .run = publish_odd_names},
    {.name = "publish too long a name", .run = publish_too_long_a_name},
    {.name = "publish sizes", .run = publish_sizes},
    {.name = "publish modes", .run = publish_modes},
    {.name = "publish owners", .run = publish_owners, .needs = CONF_ROOT},
    {.name = "publish times", .run = publish_times},
    {.name = "publish far times", .run = publish_far_times, .needs = CONF_FAR_TIMES},
    {.name = "publish keeping nothing", .run = publish_keep_nothing},
    {.name = "publish as a user", .run = publish_as_user, .as_user = true},
    {.name = "publish requiring owners", .run = publish_require_owner, .as_user = true, .owner = OWNER_REQUIRE},
    {.name = "publish ignoring owners", .run = publish_ignore_owner, .needs = CONF_ROOT, .owner = OWNER_IGNORE},
    {.name = "publish in a setgid directory", .run = publish_in_setgid_dir, .needs = CONF_ROOT},
    {.name = "publish under a default ACL", .run = publish_under_default_acl},
    {.name = "publish with fsync", .run = publish_new, .fsync = true},
    {.name = "publish without its directory", .run = publish_without_dir},
    {.name = "publish many at a time", .run = publish_crowd, .after = publish_crowd_after, .fibers = 100},
    {.name = "publish with few handles",
     .run = publish_crowd,
     .after = publish_crowd_after,
     .fibers = 100,
     .max_handles = 4},
};

struct conf_table conf_cases_files(void)
{
    return (struct conf_table){cases, sizeof(cases) / sizeof(cases[0])};
}
