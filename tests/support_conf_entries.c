/*
 * support_conf_entries: symbolic links, nodes, hard links, attributes, directories, removal.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "support_conformance.h"

#define LONG_TARGET 4000
#define SAME_NAMES  20 /* names that all fibers link */

/* What can be looked at of a symbolic link here. */
static unsigned link_keep(const struct conf *c)
{
    return c->place->lacks & CONF_LINK_TIMES ? STORE_KEEP_ALL & ~STORE_KEEP_TIMES : STORE_KEEP_ALL;
}

static int put_symlink(struct conf *c, const char *name, const struct attr *attr, const char *target)
{
    struct attr out = {0};
    struct store_op op = {.code = STORE_SYMLINK,
                          .dir = c->root,
                          .name = name,
                          .put = {.attr = attr, .keep = STORE_KEEP_ALL, .target = target, .out = &out}};
    int err = store_run(c->port, &op);

    cr_assert(err || S_ISLNK(out.mode));
    return err;
}

static void expect_target(struct conf *c, const char *name, const char *target)
{
    char *buf = malloc(LONG_TARGET + 100);
    size_t len = 0;
    struct store_op op = {.code = STORE_READLINK,
                          .dir = c->root,
                          .name = name,
                          .readlink = {.buf = buf, .size = LONG_TARGET + 100, .out_len = &len}};
    ssize_t n = readlinkat(c->fd, name, buf, LONG_TARGET + 100);

    cr_assert_eq(n, (ssize_t)strlen(target));
    cr_assert_eq(memcmp(buf, target, (size_t)n), 0);
    cr_assert_eq(store_run(c->port, &op), 0);
    cr_assert_eq(len, strlen(target));
    cr_assert_str_eq(buf, target);
    op.readlink.size = strlen(target);
    cr_assert_eq(store_run(c->port, &op), -ENAMETOOLONG);
    free(buf);
}

static void symlinks(struct conf *c)
{
    struct attr attr = conf_attr(c, 0777, 0);
    char *target = malloc(LONG_TARGET + 1);

    attr.mode = S_IFLNK | 0777;
    memset(target, 't', LONG_TARGET);
    target[LONG_TARGET] = '\0';
    cr_assert_eq(put_symlink(c, "short", &attr, "x"), 0);
    conf_expect_attr(c, "short", &attr, link_keep(c));
    expect_target(c, "short", "x");
    cr_assert_eq(put_symlink(c, "long", &attr, target), 0);
    expect_target(c, "long", target);
    cr_assert_eq(put_symlink(c, "odd", &attr, "../a\nb/\xff/"), 0);
    expect_target(c, "odd", "../a\nb/\xff/");

    conf_put_file(c, "file", "old", 3, 0644);
    cr_assert_eq(put_symlink(c, "file", &attr, "over a file"), 0);
    expect_target(c, "file", "over a file");
    cr_assert_eq(put_symlink(c, "short", &attr, "over a link"), 0);
    expect_target(c, "short", "over a link");
    cr_assert_eq(mkdirat(c->fd, "dir", 0755), 0);
    cr_assert_lt(put_symlink(c, "dir", &attr, "over a directory"), 0);
    cr_assert(S_ISDIR(conf_see(c, "dir").st_mode));
    free(target);
}

static void symlink_owner(struct conf *c)
{
    struct attr attr = conf_attr(c, 0777, 0);

    attr.mode = S_IFLNK | 0777;
    attr.uid = 12345;
    attr.gid = 23456;
    cr_assert_eq(put_symlink(c, "link", &attr, "somewhere"), 0);
    conf_expect_attr(c, "link", &attr, link_keep(c));
}

static int put_node(struct conf *c, const char *name, const struct attr *attr, struct attr *out)
{
    struct store_op op = {
        .code = STORE_NODE, .dir = c->root, .name = name, .put = {.attr = attr, .keep = STORE_KEEP_ALL, .out = out}};

    return store_run(c->port, &op);
}

static void fifos(struct conf *c)
{
    struct attr attr = conf_attr(c, 0, 0);
    struct attr out = {0};

    attr.mode = S_IFIFO | 0640;
    cr_assert_eq(put_node(c, "fifo", &attr, &out), 0);
    conf_expect_attr(c, "fifo", &attr, STORE_KEEP_ALL);
    cr_assert_eq(out.ino, conf_see(c, "fifo").st_ino);
    attr.mode = S_IFSOCK | 0755;
    cr_assert_eq(put_node(c, "fifo", &attr, NULL), 0);
    conf_expect_attr(c, "fifo", &attr, STORE_KEEP_ALL);
}

static void devices(struct conf *c)
{
    struct attr attr = conf_attr(c, 0, 0);

    attr.uid = 12345;
    attr.gid = 23456;
    attr.mode = S_IFCHR | 0666;
    attr.rdev = makedev(1, 3);
    cr_assert_eq(put_node(c, "null", &attr, NULL), 0);
    conf_expect_attr(c, "null", &attr, STORE_KEEP_ALL);
    cr_assert_eq(conf_see(c, "null").st_rdev, makedev(1, 3));
    attr.mode = S_IFBLK | 0600;
    attr.rdev = makedev(259, 70000);
    cr_assert_eq(put_node(c, "disk", &attr, NULL), 0);
    conf_expect_attr(c, "disk", &attr, STORE_KEEP_ALL);
    cr_assert_eq(conf_see(c, "disk").st_rdev, makedev(259, 70000));
}

static void device_as_user(struct conf *c)
{
    struct attr attr = conf_attr(c, 0, 0);

    attr.mode = S_IFCHR | 0666;
    attr.rdev = makedev(1, 3);
    cr_assert_eq(put_node(c, "null", &attr, NULL), -EPERM);
    cr_assert_not(conf_there(c, "null"));
}

static int put_link(struct conf *c, struct dir *from_dir, const char *from, struct dir *dir, const char *name,
                    struct attr *out)
{
    struct store_op op = {
        .code = STORE_LINK, .dir = dir, .name = name, .link = {.from_dir = from_dir, .from_name = from, .out = out}};

    return store_run(c->port, &op);
}

static void links(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    struct attr out = {0};

    conf_put_file(c, "leader", "leader", 6, 0644);
    conf_put_file(c, "other", "other", 5, 0644);
    cr_assert_eq(put_link(c, c->root, "leader", c->root, "new", &out), 0);
    cr_assert_eq(out.ino, conf_see(c, "leader").st_ino);
    cr_assert_eq(put_link(c, c->root, "leader", c->root, "other", NULL), 0);
    conf_expect_bytes(c, "other", "leader", 6);
    cr_assert_eq(put_link(c, c->root, "leader", d, "below", NULL), 0);
    cr_assert_eq(conf_see(c, "leader").st_nlink, 4);
    /* Again: it is there already, and nothing is left over. */
    cr_assert_eq(put_link(c, c->root, "leader", d, "below", NULL), 0);
    cr_assert_eq(put_link(c, d, "below", c->root, "new", NULL), 0);
    cr_assert_eq(conf_see(c, "leader").st_nlink, 4);
    cr_assert_eq(put_link(c, c->root, "missing", c->root, "new", NULL), -ENOENT);
    cr_assert_lt(put_link(c, c->root, "leader", c->root, "d", NULL), 0);
    cr_assert_eq(conf_see(c, "leader").st_nlink, 4);
    dir_put(d);
}

/* Many at a time to the same end: whoever comes second renames onto another name of the same inode, which does nothing
 * and leaves the temp name; none may be left over (the frame looks). */
static void links_at_once(struct conf *c)
{
    struct attr out = {0};
    char name[16];

    if (!conf_there(c, "the leader")) {
        conf_put_file(c, "the leader", "leader", 6, 0644);
        for (unsigned i = 0; i < SAME_NAMES; i += 2) { /* the others are made anew */
            snprintf(name, sizeof(name), "%u", i);
            conf_put_file(c, name, "old", 3, 0644);
        }
    }
    for (unsigned i = 0; i < SAME_NAMES; i++) {
        snprintf(name, sizeof(name), "%u", i);
        cr_assert_eq(put_link(c, c->root, "the leader", c->root, name, &out), 0);
        cr_assert_eq(out.ino, conf_see(c, "the leader").st_ino);
    }
}

static void links_at_once_seen(struct conf *c)
{
    cr_assert_eq(conf_see(c, "the leader").st_nlink, 1 + SAME_NAMES);
}

/* The link itself, not what it points to. */
static void link_to_symlink(struct conf *c)
{
    conf_put_file(c, "file", "data", 4, 0644);
    cr_assert_eq(symlinkat("file", c->fd, "symlink"), 0);
    cr_assert_eq(put_link(c, c->root, "symlink", c->root, "second", NULL), 0);
    cr_assert_eq(conf_see(c, "second").st_ino, conf_see(c, "symlink").st_ino);
    cr_assert_eq(conf_see(c, "file").st_nlink, 1);
}

static int setattr(struct conf *c, struct dir *dir, const char *name, const struct attr *attr, unsigned keep)
{
    struct store_op op = {.code = STORE_SETATTR, .dir = dir, .name = name, .setattr = {.attr = attr, .keep = keep}};
    int err = store_run(c->port, &op);

    cr_assert(err != -ESTALE || store_op_guarded(&op));
    return err;
}

static void setattr_file(struct conf *c)
{
    struct attr attr = conf_attr(c, 0751, 4);
    struct stat before;
    struct stat after;

    conf_put_file(c, "file", "data", 4, 0600);
    cr_assert_eq(setattr(c, c->root, "file", &attr, STORE_KEEP_ALL), 0);
    conf_expect_attr(c, "file", &attr, STORE_KEEP_ALL);
    conf_expect_bytes(c, "file", "data", 4);
    /* Nothing differs: nothing is set, as the ctime shows. (Reading has moved the atime, perhaps.) */
    before = conf_see(c, "file");
    attr.atime = before.st_atim;
    cr_assert_eq(setattr(c, c->root, "file", &attr, STORE_KEEP_ALL), 0);
    after = conf_see(c, "file");
    cr_assert_eq(before.st_ctim.tv_sec, after.st_ctim.tv_sec);
    cr_assert_eq(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
    /* Only what is kept. */
    attr.mode = S_IFREG | 0600;
    attr.mtime.tv_sec = 5;
    cr_assert_eq(setattr(c, c->root, "file", &attr, STORE_KEEP_TIMES), 0);
    after = conf_see(c, "file");
    cr_assert_eq(after.st_mode & 07777, 0751);
    cr_assert_eq(after.st_mtim.tv_sec, 5);
    cr_assert_eq(setattr(c, c->root, "missing", &attr, STORE_KEEP_ALL), -ENOENT);
}

static void setattr_owner(struct conf *c)
{
    struct attr attr = conf_attr(c, 06755, 4);

    attr.uid = 12345;
    attr.gid = 23456;
    conf_put_file(c, "file", "data", 4, 06755);
    cr_assert_eq(setattr(c, c->root, "file", &attr, STORE_KEEP_ALL), 0);
    conf_expect_attr(c, "file", &attr, STORE_KEEP_ALL);
}

/* A symbolic link's own owner and times; what it points to stays. */
static void setattr_symlink(struct conf *c)
{
    struct attr attr = conf_attr(c, 0777, 4);
    struct stat before;

    attr.mode = S_IFLNK | 0777;
    conf_put_file(c, "file", "data", 4, 0600);
    before = conf_see(c, "file");
    cr_assert_eq(symlinkat("file", c->fd, "link"), 0);
    cr_assert_eq(setattr(c, c->root, "link", &attr, STORE_KEEP_ALL), 0);
    conf_expect_attr(c, "link", &attr, link_keep(c));
    cr_assert_eq(conf_see(c, "file").st_mtim.tv_sec, before.st_mtim.tv_sec);
    cr_assert_eq(conf_see(c, "file").st_mode & 07777, 0600);
    /* A link where a file was: nothing is set, here or there. */
    attr = conf_attr(c, 0751, 4);
    cr_assert_eq(setattr(c, c->root, "link", &attr, STORE_KEEP_ALL), -ESTALE);
    cr_assert_eq(conf_see(c, "file").st_mode & 07777, 0600);
}

static void setattr_dir(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    struct attr attr = conf_attr(c, 0, 0);

    attr.mode = S_IFDIR | 01750;
    cr_assert_eq(setattr(c, d, NULL, &attr, STORE_KEEP_ALL), 0);
    conf_expect_attr(c, "d", &attr, STORE_KEEP_ALL);
    attr.mode = S_IFDIR | 0700;
    cr_assert_eq(setattr(c, c->root, "d", &attr, STORE_KEEP_ALL), 0);
    conf_expect_attr(c, "d", &attr, STORE_KEEP_ALL);
    attr.mode = S_IFDIR | 0711;
    cr_assert_eq(setattr(c, c->root, NULL, &attr, STORE_KEEP_ALL), 0);
    conf_expect_attr(c, ".", &attr, STORE_KEEP_ALL);
    dir_put(d);
}

static void setattr_fifo(struct conf *c)
{
    struct attr attr = conf_attr(c, 0, 0);

    attr.mode = S_IFIFO | 0620;
    cr_assert_eq(mkfifoat(c->fd, "fifo", 0600), 0);
    cr_assert_eq(setattr(c, c->root, "fifo", &attr, STORE_KEEP_ALL), 0);
    conf_expect_attr(c, "fifo", &attr, STORE_KEEP_ALL);
}

static void mkdirs(struct conf *c)
{
    struct dir *d;
    struct dir *below;

    cr_assert_eq(conf_mkdir(c, c->root, "d", 0700), 0);
    cr_assert_eq(conf_see(c, "d").st_mode & 07777, 0700);
    cr_assert_eq(conf_mkdir(c, c->root, "d", 0700), -EEXIST);
    conf_put_file(c, "file", "data", 4, 0600);
    cr_assert_eq(conf_mkdir(c, c->root, "file", 0700), -EEXIST);
    cr_assert_eq(symlinkat("d", c->fd, "link"), 0);
    cr_assert_eq(conf_mkdir(c, c->root, "link", 0700), -EEXIST);
    d = conf_dir(c, c->root, "d");
    below = conf_make_dir(c, d, "new\nline");
    cr_assert_eq(conf_mkdir(c, below, "x", 0755), 0);
    cr_assert(S_ISDIR(conf_see(c, "d/new\nline/x").st_mode));
    dir_put(below);
    dir_put(d);
}

static void removals(struct conf *c)
{
    struct attr seen;

    conf_put_file(c, "file", "data", 4, 0600);
    cr_assert_eq(conf_stat(c, c->root, "file", &seen), 0);
    conf_put_file(c, "file", "longer", 6, 0600);
    cr_assert_eq(conf_remove(c, c->root, "file", &seen, false), -ESTALE, "the size is another");
    cr_assert_eq(conf_stat(c, c->root, "file", &seen), 0);
    seen.mtime.tv_nsec ^= 1000000;
    cr_assert_eq(conf_remove(c, c->root, "file", &seen, false), -ESTALE, "the time is another");
    cr_assert_eq(conf_stat(c, c->root, "file", &seen), 0);
    seen.ino++;
    cr_assert_eq(conf_remove(c, c->root, "file", &seen, false), -ESTALE, "the file is another");
    seen.ino--;
    seen.mode ^= S_IFREG ^ S_IFLNK;
    cr_assert_eq(conf_remove(c, c->root, "file", &seen, false), -ESTALE, "the type is another");
    conf_expect_bytes(c, "file", "longer", 6);
    cr_assert_eq(conf_stat(c, c->root, "file", &seen), 0);
    cr_assert_eq(conf_remove(c, c->root, "file", &seen, false), 0);
    cr_assert_not(conf_there(c, "file"));
    cr_assert_eq(conf_remove(c, c->root, "file", &seen, false), -ENOENT);
    cr_assert_eq(conf_remove(c, c->root, "file", NULL, false), -ENOENT);
    cr_assert_eq(symlinkat("nowhere", c->fd, "link"), 0);
    cr_assert_eq(conf_remove(c, c->root, "link", NULL, false), 0);
    cr_assert_not(conf_there(c, "link"));
}

static void remove_dirs(struct conf *c)
{
    struct attr seen;

    cr_assert_eq(mkdirat(c->fd, "d", 0755), 0);
    cr_assert_eq(conf_stat(c, c->root, "d", &seen), 0);
    conf_put_file(c, "d/file", "data", 4, 0600);
    cr_assert_lt(conf_remove(c, c->root, "d", NULL, false), 0);
    cr_assert_lt(conf_remove(c, c->root, "d", &seen, true), 0, "it is not empty");
    cr_assert(conf_there(c, "d/file"));
    cr_assert_eq(unlinkat(c->fd, "d/file", 0), 0);
    cr_assert_eq(conf_remove(c, c->root, "d", &seen, true), 0);
    cr_assert_not(conf_there(c, "d"));
    conf_put_file(c, "file", "data", 4, 0600);
    cr_assert_lt(conf_remove(c, c->root, "file", NULL, true), 0);
    cr_assert(conf_there(c, "file"));
}

static void synced(struct conf *c)
{
    struct store_op op = {.code = STORE_SYNC};

    cr_assert_eq(store_run(c->port, &op), 0);
}

static const struct conf_case cases[] = {
    {.name = "symbolic links", .run = symlinks},
    {.name = "owner of a symbolic link", .run = symlink_owner, .needs = CONF_ROOT},
    {.name = "FIFO and socket", .run = fifos, .needs = CONF_NODES},
    {.name = "devices", .run = devices, .needs = CONF_NODES | CONF_ROOT},
    {.name = "device as a user", .run = device_as_user, .needs = CONF_NODES, .as_user = true},
    {.name = "hard links", .run = links},
    {.name = "hard links, many to the same end", .run = links_at_once, .fibers = 16, .after = links_at_once_seen},
    {.name = "hard link to a symbolic link", .run = link_to_symlink},
    {.name = "attributes of a file", .run = setattr_file},
    {.name = "owner of a file", .run = setattr_owner, .needs = CONF_ROOT},
    {.name = "attributes of a symbolic link", .run = setattr_symlink},
    {.name = "attributes of directories", .run = setattr_dir},
    {.name = "attributes of a FIFO", .run = setattr_fifo, .needs = CONF_NODES},
    {.name = "directories", .run = mkdirs},
    {.name = "guarded removal", .run = removals},
    {.name = "removal of directories", .run = remove_dirs},
    {.name = "sync", .run = synced},
};

struct conf_table conf_cases_entries(void)
{
    return (struct conf_table){cases, sizeof(cases) / sizeof(cases[0])};
}
