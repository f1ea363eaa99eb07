/*
 * support_conf_xattrs: extended attributes and POSIX ACLs.
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

#define ALL_KINDS  XATTRS_KINDS
#define USER_KINDS XATTRS_USER
#define LARGE      60000

/* ---- ACLs by hand: little-endian, as the kernel has them ---- */

#define ACL_USER_OBJ  0x01, 0
#define ACL_USER      0x02, 0
#define ACL_GROUP_OBJ 0x04, 0
#define ACL_MASK      0x10, 0
#define ACL_OTHER     0x20, 0
#define ACL_PERM(n)   (n), 0
#define NO_ID         0xff, 0xff, 0xff, 0xff
#define ID_1001       0xe9, 0x03, 0, 0

/* u::rw- u:1001:rw- g::--- m::rw- o::---: the mode is 0660, yet the group may do nothing. */
static const unsigned char acl_660[] = {2,
                                        0,
                                        0,
                                        0, /* version */
                                        ACL_USER_OBJ,
                                        ACL_PERM(6),
                                        NO_ID,
                                        ACL_USER,
                                        ACL_PERM(6),
                                        ID_1001,
                                        ACL_GROUP_OBJ,
                                        ACL_PERM(0),
                                        NO_ID,
                                        ACL_MASK,
                                        ACL_PERM(6),
                                        NO_ID,
                                        ACL_OTHER,
                                        ACL_PERM(0),
                                        NO_ID};
/* u::rwx u:1001:rwx g::r-x m::rwx o::r-x: what a directory hands down. */
static const unsigned char acl_775[] = {2,
                                        0,
                                        0,
                                        0, /* version */
                                        ACL_USER_OBJ,
                                        ACL_PERM(7),
                                        NO_ID,
                                        ACL_USER,
                                        ACL_PERM(7),
                                        ID_1001,
                                        ACL_GROUP_OBJ,
                                        ACL_PERM(5),
                                        NO_ID,
                                        ACL_MASK,
                                        ACL_PERM(7),
                                        NO_ID,
                                        ACL_OTHER,
                                        ACL_PERM(5),
                                        NO_ID};

/* ---- from outside ---- */

static void outside(const struct conf *c, const char *path, char out[600])
{
    snprintf(out, 600, "/proc/self/fd/%d/%s", c->fd, path);
}

/* Bytes of the attribute, or -errno; its value in buf, which has LARGE bytes. */
static ssize_t see_xattr(const struct conf *c, const char *path, const char *name, void *buf)
{
    char full[600];
    ssize_t n;

    outside(c, path, full);
    n = lgetxattr(full, name, buf, LARGE);
    return n < 0 ? -errno : n;
}

static void expect_xattr(const struct conf *c, const char *path, const char *name, const void *value, size_t size)
{
    char *buf = malloc(LARGE);
    ssize_t n = see_xattr(c, path, name, buf);

    cr_assert_eq(n, (ssize_t)size, "%s of %s: %zd, not %zu", name, path, n, size);
    cr_assert(size == 0 || memcmp(buf, value, size) == 0, "%s of %s is another", name, path);
    free(buf);
}

static void expect_none(const struct conf *c, const char *path, const char *name)
{
    char *buf = malloc(LARGE);

    cr_assert_eq(see_xattr(c, path, name, buf), -ENODATA, "%s has %s", path, name);
    free(buf);
}

static void put_xattr(const struct conf *c, const char *path, const char *name, const void *value, size_t size)
{
    char full[600];

    outside(c, path, full);
    cr_assert_eq(lsetxattr(full, name, value, size, 0), 0, "%s of %s: %s", name, path, strerror(errno));
}

/* ---- operations ---- */

static struct xattrs *make(unsigned kinds)
{
    struct xattrs *x = NULL;

    cr_assert_eq(xattrs_create(kinds, &x), 0);
    return x;
}

static void add(struct xattrs **x, const char *name, const void *value, size_t size)
{
    cr_assert_eq(xattrs_add(x, name, value, size), 0);
}

static int put(struct conf *c, enum store_code code, const char *name, const struct attr *attr, const struct xattrs *x)
{
    struct attr out = {0};
    struct store_op op = {.code = code,
                          .dir = c->root,
                          .name = name,
                          .put = {.attr = attr, .keep = STORE_KEEP_ALL, .out = &out, .xattrs = x}};

    if (code == STORE_PUBLISH) {
        op.put.data = "data";
    } else if (code == STORE_SYMLINK) {
        op.put.target = "nowhere";
    }
    return store_run(c->port, &op);
}

static int set(struct conf *c, struct dir *dir, const char *name, const struct attr *attr, const struct xattrs *x)
{
    struct store_op op = {.code = STORE_SETATTR,
                          .dir = dir,
                          .name = name,
                          .setattr = {.attr = attr, .keep = STORE_KEEP_ALL, .xattrs = x}};

    return store_run(c->port, &op);
}

static int get(struct conf *c, struct dir *dir, const char *name, unsigned kinds, struct xattrs **out,
               struct attr *attr)
{
    struct store_op op = {
        .code = STORE_XATTRS, .dir = dir, .name = name, .xattrs = {.kinds = kinds, .out = out, .attr = attr}};

    return store_run(c->port, &op);
}

/* What the store says of an entry is what x has. */
static void expect_read(struct conf *c, struct dir *dir, const char *name, const struct xattrs *x)
{
    struct xattrs *seen = NULL;

    cr_assert_eq(get(c, dir, name, x->kinds, &seen, NULL), 0);
    cr_assert_not_null(seen);
    cr_assert_eq(seen->kinds, x->kinds);
    cr_assert_eq(seen->count, x->count, "%s has %zu attributes, not %zu", name, seen->count, x->count);
    cr_assert(xattrs_equal(seen, x));
    xattrs_destroy(seen);
}

/* ---- cases ---- */

static void of_a_file(struct conf *c)
{
    struct attr attr = conf_attr(c, 0640, 4);
    struct xattrs *x = make(USER_KINDS);

    add(&x, "user.one", "1", 1);
    add(&x, "user.empty", "", 0);
    add(&x, "user.bytes\xff", "a\0b", 3);
    cr_assert_eq(put(c, STORE_PUBLISH, "file", &attr, x), 0);
    conf_expect_attr(c, "file", &attr, STORE_KEEP_ALL);
    conf_expect_bytes(c, "file", "data", 4);
    expect_xattr(c, "file", "user.one", "1", 1);
    expect_xattr(c, "file", "user.empty", "", 0);
    expect_xattr(c, "file", "user.bytes\xff", "a\0b", 3);
    expect_read(c, c->root, "file", x);
    xattrs_destroy(x);
}

static void of_an_upload(struct conf *c)
{
    struct attr attr = conf_attr(c, 0660, 3);
    struct xattrs *x = make(ALL_KINDS & ~(XATTRS_TRUSTED | XATTRS_SECURITY));
    struct store_upload *u = NULL;
    struct store_op op = {.code = STORE_BEGIN,
                          .dir = c->root,
                          .name = "large",
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .upload = &u, .xattrs = x}};
    char temp[TEMP_NAME_MAX];

    add(&x, "user.one", "1", 1);
    add(&x, XATTR_ACL_ACCESS, acl_660, sizeof(acl_660));
    op.put.xattrs = x;
    cr_assert_eq(store_run(c->port, &op), 0);
    conf_temp_name(c, ".", temp);
    cr_assert_eq(conf_see(c, temp).st_mode & 077, 0, "not private while its ACL is missing");
    cr_assert_eq(conf_write(c, u, "abc", 3, 0), 0);
    op = (struct store_op){.code = STORE_COMMIT, .up = {.upload = u, .attr = &attr, .xattrs = x}};
    cr_assert_eq(store_run(c->port, &op), 0);
    conf_expect_attr(c, "large", &attr, STORE_KEEP_ALL);
    expect_read(c, c->root, "large", x);
    expect_xattr(c, "large", XATTR_ACL_ACCESS, acl_660, sizeof(acl_660));
    xattrs_destroy(x);
}

/* Owner, setuid bit and capability: each takes another away unless they come in the right order. */
static void of_root(struct conf *c)
{
    static const unsigned char capability[20] = {0x01, 0, 0, 0x02, 0, 0x04}; /* cap_net_bind_service=ep */
    struct attr attr = conf_attr(c, 06755, 4);
    struct xattrs *x = make(ALL_KINDS);

    attr.uid = 12345;
    attr.gid = 23456;
    add(&x, "security.capability", capability, sizeof(capability));
    add(&x, "trusted.one", "1", 1);
    add(&x, "user.two", "2", 1);
    cr_assert_eq(put(c, STORE_PUBLISH, "file", &attr, x), 0);
    conf_expect_attr(c, "file", &attr, STORE_KEEP_ALL);
    expect_read(c, c->root, "file", x);
    /* The owner of one that stands there changes. */
    attr.uid = 54321;
    cr_assert_eq(set(c, c->root, "file", &attr, x), 0);
    conf_expect_attr(c, "file", &attr, STORE_KEEP_ALL);
    expect_read(c, c->root, "file", x);
    xattrs_destroy(x);
}

/* Links and nodes have some kinds too; what a link points to stays as it is. */
static void of_links_and_nodes(struct conf *c)
{
    struct attr attr = conf_attr(c, 0777, 0);
    struct xattrs *x = make(ALL_KINDS);

    conf_put_file(c, "nowhere", "file", 4, 0600);
    attr.mode = S_IFLNK | 0777;
    add(&x, "trusted.one", "1", 1);
    cr_assert_eq(put(c, STORE_SYMLINK, "link", &attr, x), 0);
    conf_expect_attr(c, "link", &attr, STORE_KEEP_ALL);
    expect_read(c, c->root, "link", x);
    expect_none(c, "nowhere", "trusted.one");
    xattrs_destroy(x);

    x = make(ALL_KINDS);
    add(&x, "trusted.two", "2", 1);
    cr_assert_eq(set(c, c->root, "link", &attr, x), 0);
    expect_read(c, c->root, "link", x);
    expect_none(c, "nowhere", "trusted.two");
    add(&x, XATTR_ACL_ACCESS, acl_660, sizeof(acl_660));
    attr.mode = S_IFIFO | 0660;
    cr_assert_eq(put(c, STORE_NODE, "fifo", &attr, x), 0);
    conf_expect_attr(c, "fifo", &attr, STORE_KEEP_ALL);
    expect_read(c, c->root, "fifo", x);
    xattrs_destroy(x);
}

/* Of what stands there: added, changed, removed, and nothing touched that is right or not spoken of. */
static void updated(struct conf *c)
{
    struct attr attr = conf_attr(c, 0640, 4);
    struct xattrs *x = make(USER_KINDS);
    char *acl;
    struct stat before;
    struct stat after;

    conf_put_file(c, "file", "data", 4, 0600);
    put_xattr(c, "file", "user.old", "old", 3);
    put_xattr(c, "file", "user.other", "old", 3);
    put_xattr(c, "file", XATTR_ACL_ACCESS, acl_660, sizeof(acl_660));
    add(&x, "user.other", "new", 3);
    add(&x, "user.new", "new", 3);
    cr_assert_eq(set(c, c->root, "file", &attr, x), 0);
    attr.mode = S_IFREG | 0640;
    conf_expect_attr(c, "file", &attr, STORE_KEEP_ALL);
    expect_read(c, c->root, "file", x);
    expect_none(c, "file", "user.old");
    expect_xattr(c, "file", "user.new", "new", 3);
    acl = malloc(LARGE);
    cr_assert_gt(see_xattr(c, "file", XATTR_ACL_ACCESS, acl), 0, "ACLs were not spoken of");
    free(acl);
    before = conf_see(c, "file");
    attr.atime = before.st_atim;
    cr_assert_eq(set(c, c->root, "file", &attr, x), 0);
    after = conf_see(c, "file");
    cr_assert_eq(before.st_ctim.tv_sec, after.st_ctim.tv_sec, "nothing differed, yet something was set");
    cr_assert_eq(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec, "nothing differed, yet something was set");
    cr_assert_eq(set(c, c->root, "file", &attr, NULL), 0);
    expect_read(c, c->root, "file", x);
    xattrs_destroy(x);
    /* An ACL that the source has not goes, and the mode is right nevertheless. */
    x = make(XATTRS_ACL);
    cr_assert_eq(set(c, c->root, "file", &attr, x), 0);
    expect_none(c, "file", XATTR_ACL_ACCESS);
    expect_xattr(c, "file", "user.new", "new", 3);
    conf_expect_attr(c, "file", &attr, STORE_KEEP_ALL);
    xattrs_destroy(x);
}

/* What a directory hands down does not reach what is published in it; mode and ACL are those of the source. */
static void not_inherited(struct conf *c)
{
    struct attr attr = conf_attr(c, 0640, 4);
    struct xattrs *x = make(XATTRS_ACL);
    struct attr fifo = conf_attr(c, 0, 0);
    struct attr large = conf_attr(c, 0604, 3);
    struct store_upload *u = NULL;
    struct dir *d;

    put_xattr(c, ".", XATTR_ACL_DEFAULT, acl_775, sizeof(acl_775));
    cr_assert_eq(put(c, STORE_PUBLISH, "file", &attr, x), 0);
    conf_expect_attr(c, "file", &attr, STORE_KEEP_ALL);
    expect_none(c, "file", XATTR_ACL_ACCESS);
    cr_assert_eq(conf_begin(c, c->root, "large", &large, &u), 0);
    cr_assert_eq(conf_write(c, u, "abc", 3, 0), 0);
    struct store_op op = {.code = STORE_COMMIT, .up = {.upload = u, .attr = &large, .xattrs = x}};
    cr_assert_eq(store_run(c->port, &op), 0);
    conf_expect_attr(c, "large", &large, STORE_KEEP_ALL);
    expect_none(c, "large", XATTR_ACL_ACCESS);
    if (!(c->place->lacks & CONF_NODES)) {
        fifo.mode = S_IFIFO | 0640;
        cr_assert_eq(put(c, STORE_NODE, "fifo", &fifo, x), 0);
        conf_expect_attr(c, "fifo", &fifo, STORE_KEEP_ALL);
        expect_none(c, "fifo", XATTR_ACL_ACCESS);
    }
    d = conf_make_dir(c, c->root, "d");
    attr.mode = S_IFDIR | 0750;
    cr_assert_eq(set(c, d, NULL, &attr, x), 0);
    conf_expect_attr(c, "d", &attr, STORE_KEEP_ALL);
    expect_none(c, "d", XATTR_ACL_ACCESS);
    expect_none(c, "d", XATTR_ACL_DEFAULT);
    dir_put(d);
    xattrs_destroy(x);
}

static void of_a_directory(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    struct attr attr = conf_attr(c, 0, 0);
    struct xattrs *x = make(USER_KINDS | XATTRS_ACL);
    struct xattrs *seen = NULL;
    struct attr seen_attr;

    attr.mode = S_IFDIR | 0770;
    add(&x, "user.one", "1", 1);
    add(&x, XATTR_ACL_DEFAULT, acl_775, sizeof(acl_775));
    cr_assert_eq(set(c, d, NULL, &attr, x), 0);
    conf_expect_attr(c, "d", &attr, STORE_KEEP_ALL);
    expect_xattr(c, "d", XATTR_ACL_DEFAULT, acl_775, sizeof(acl_775));
    expect_none(c, "d", XATTR_ACL_ACCESS);
    expect_read(c, d, NULL, x);
    expect_read(c, c->root, "d", x);
    cr_assert_eq(get(c, d, NULL, XATTRS_USER, &seen, &seen_attr), 0);
    cr_assert_not_null(seen);
    cr_assert_eq(seen->count, 1, "of the wanted kinds only");
    cr_assert_eq(seen_attr.ino, conf_see(c, "d").st_ino);
    xattrs_destroy(seen);
    cr_assert_eq(get(c, c->root, "missing", XATTRS_USER, &seen, NULL), -ENOENT);
    xattrs_destroy(x);
    dir_put(d);
}

/* Not followed: a link's own, or none. */
static void not_followed(struct conf *c)
{
    struct xattrs *seen = NULL;

    conf_put_file(c, "file", "data", 4, 0600);
    put_xattr(c, "file", "user.one", "1", 1);
    cr_assert_eq(symlinkat("file", c->fd, "link"), 0);
    cr_assert_eq(get(c, c->root, "link", XATTRS_USER, &seen, NULL), 0);
    cr_assert_not_null(seen);
    cr_assert_eq(seen->count, 0);
    xattrs_destroy(seen);
}

/* Whoever may not write to his own file sets its attributes nevertheless. */
static void read_only(struct conf *c)
{
    struct attr attr = conf_attr(c, 0400, 4);
    struct xattrs *x = make(USER_KINDS);

    add(&x, "user.one", "1", 1);
    cr_assert_eq(put(c, STORE_PUBLISH, "file", &attr, x), 0);
    expect_read(c, c->root, "file", x);
    add(&x, "user.two", "2", 1);
    cr_assert_eq(set(c, c->root, "file", &attr, x), 0);
    expect_read(c, c->root, "file", x);
    conf_as_root(c);
    conf_expect_attr(c, "file", &attr, STORE_KEEP_ALL);
    xattrs_destroy(x);
}

/* What the destination does not take is said, and the rest arrives. */
static void refused(struct conf *c)
{
    struct attr attr = conf_attr(c, 0640, 4);
    struct xattrs *x = make(ALL_KINDS);

    add(&x, "trusted.one", "1", 1);
    add(&x, "security.two", "2", 1);
    add(&x, "security.selinux", "label", 5);
    add(&x, "user.three", "3", 1);
    cr_assert_eq(put(c, STORE_PUBLISH, "file", &attr, x), 0);
    cr_assert_eq(put(c, STORE_PUBLISH, "second", &attr, x), 0);
    expect_xattr(c, "file", "user.three", "3", 1);
    expect_xattr(c, "second", "user.three", "3", 1);
    cr_assert_eq(conf_noticed(c, "cannot hold extended attributes"), 2, "once for each entry");
    conf_as_root(c);
    conf_expect_attr(c, "file", &attr, STORE_KEEP_ALL);
    expect_none(c, "file", "trusted.one");
    xattrs_destroy(x);
}

/* A large one is held or said to be too big. */
static void large(struct conf *c)
{
    struct attr attr = conf_attr(c, 0640, 4);
    struct xattrs *x = make(USER_KINDS);
    char *value = conf_bytes(LARGE, 1);
    char *buf = malloc(LARGE);
    ssize_t n;

    add(&x, "user.large", value, LARGE);
    add(&x, "user.small", "1", 1);
    cr_assert_eq(put(c, STORE_PUBLISH, "file", &attr, x), 0);
    expect_xattr(c, "file", "user.small", "1", 1);
    n = see_xattr(c, "file", "user.large", buf);
    if (n == LARGE) {
        expect_read(c, c->root, "file", x);
    } else {
        cr_assert_eq(n, -ENODATA);
        cr_assert_eq(conf_noticed(c, "too big"), 1);
    }
    conf_expect_bytes(c, "file", "data", 4);
    free(buf);
    free(value);
    xattrs_destroy(x);
}

static const struct conf_case cases[] = {
    {.name = "extended attributes, of a file", .run = of_a_file, .needs = CONF_XATTRS},
    {.name = "extended attributes, of an upload", .run = of_an_upload, .needs = CONF_XATTRS | CONF_ACLS},
    {.name = "extended attributes, of root", .run = of_root, .needs = CONF_XATTRS | CONF_ROOT},
    {.name = "extended attributes, of links and nodes",
     .run = of_links_and_nodes,
     .needs = CONF_XATTRS | CONF_ACLS | CONF_ROOT | CONF_NODES},
    {.name = "extended attributes, updated", .run = updated, .needs = CONF_XATTRS | CONF_ACLS},
    {.name = "extended attributes, not inherited", .run = not_inherited, .needs = CONF_ACLS},
    {.name = "extended attributes, of a directory", .run = of_a_directory, .needs = CONF_XATTRS | CONF_ACLS},
    {.name = "extended attributes, not followed", .run = not_followed, .needs = CONF_XATTRS},
    {.name = "extended attributes, of a read-only file", .run = read_only, .needs = CONF_XATTRS, .as_user = true},
    {.name = "extended attributes, refused", .run = refused, .needs = CONF_XATTRS, .as_user = true},
    {.name = "extended attributes, large", .run = large, .needs = CONF_XATTRS},
};

struct conf_table conf_cases_xattrs(void)
{
    return (struct conf_table){cases, sizeof(cases) / sizeof(cases[0])};
}
