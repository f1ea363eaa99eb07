/*
 * support_conf_safety: symbolic links that were swapped in, permissions that are missing, depth, few handles.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_conformance.h"

/* One of each operation on name in dir. from: a directory that can be reached, with a file "file" in it. */
static int run_code(struct conf *c, enum store_code code, struct dir *dir, const char *name, struct dir *from)
{
    static char buf[64];
    struct attr attr = conf_attr(c, 0644, 4);
    struct attr out;
    struct attr after;
    size_t len;
    struct store_list *list = NULL;
    struct store_file *file = NULL;
    struct store_upload *upload = NULL;
    struct store_op op = {.code = code, .dir = dir, .name = name};
    int err;

    switch (code) {
    case STORE_STAT:
        op.stat.out = &out;
        break;
    case STORE_READLINK:
        op.readlink.buf = buf;
        op.readlink.size = sizeof(buf);
        break;
    case STORE_LIST_OPEN:
        op.name = NULL;
        op.list.list = &list;
        break;
    case STORE_READ_SMALL:
        op.read_small.buf = buf;
        op.read_small.size = sizeof(buf);
        op.read_small.out_len = &len;
        op.read_small.before = &out;
        op.read_small.after = &after;
        break;
    case STORE_OPEN:
        op.open.out = &file;
        break;
    case STORE_MKDIR:
        op.mkdir.mode = 0700;
        break;
    case STORE_PUBLISH:
    case STORE_BEGIN:
    case STORE_SYMLINK:
    case STORE_NODE:
        attr.mode = code == STORE_SYMLINK ? S_IFLNK | 0777 : code == STORE_NODE ? S_IFIFO | 0600 : attr.mode;
        op.put.attr = &attr;
        op.put.keep = STORE_KEEP_ALL;
        op.put.data = "evil";
        op.put.target = "evil";
        op.put.upload = &upload;
        break;
    case STORE_LINK:
        op.link.from_dir = from;
        op.link.from_name = "file";
        break;
    case STORE_SETATTR:
        op.setattr.attr = &attr;
        op.setattr.keep = STORE_KEEP_ALL;
        break;
    case STORE_REMOVE:
    default:
        break;
    }
    err = store_run(c->port, &op);
    if (!err && list) {
        op = (struct store_op){.code = STORE_LIST_CLOSE, .list = {.list = &list}};
        (void)store_run(c->port, &op);
    }
    if (!err && file) {
        op = (struct store_op){.code = STORE_CLOSE, .file = {.file = file}};
        (void)store_run(c->port, &op);
    }
    if (!err && upload) {
        (void)conf_abort(c, upload);
    }
    return err;
}

static const enum store_code on_names[] = {
    STORE_STAT,  STORE_READLINK, STORE_LIST_OPEN, STORE_READ_SMALL, STORE_OPEN,    STORE_MKDIR,  STORE_PUBLISH,
    STORE_BEGIN, STORE_SYMLINK,  STORE_NODE,      STORE_LINK,       STORE_SETATTR, STORE_REMOVE,
};
#define ON_NAMES (sizeof(on_names) / sizeof(on_names[0]))

/* What a planted link must not lead to: nothing is added, changed or gone. */
static void expect_untouched(struct conf *c, const char *path, const struct stat *dir_before,
                             const struct stat *file_before)
{
    char name[300];
    struct stat now = conf_see(c, path);

    cr_assert_eq(now.st_mtim.tv_nsec, dir_before->st_mtim.tv_nsec, "%s was changed", path);
    cr_assert_eq(now.st_ctim.tv_nsec, dir_before->st_ctim.tv_nsec, "%s was changed", path);
    snprintf(name, sizeof(name), "%s/file", path);
    now = conf_see(c, name);
    cr_assert_eq(now.st_ctim.tv_nsec, file_before->st_ctim.tv_nsec, "%s was changed", name);
    cr_assert_eq(now.st_mode, file_before->st_mode);
    conf_expect_bytes(c, name, "data", 4);
}

/* A symbolic link stands where the walk has seen a directory: at the end of the chain, or in its middle. */
static void swapped(struct conf *c, bool absolute)
{
    char target[300];
    struct dir *there = conf_make_dir(c, c->root, "there");
    struct dir *at_end = conf_dir(c, c->root, "trap");
    struct dir *in_middle = conf_dir(c, at_end, "below");
    struct stat before[2];
    struct stat below[2];

    cr_assert_eq(mkdirat(c->fd, "there/below", 0755), 0);
    conf_put_file(c, "there/file", "data", 4, 0600);
    conf_put_file(c, "there/below/file", "data", 4, 0600);
    snprintf(target, sizeof(target), "%s/there", absolute ? c->path : ".");
    cr_assert_eq(symlinkat(target, c->fd, "trap"), 0);
    before[0] = conf_see(c, "there");
    before[1] = conf_see(c, "there/file");
    below[0] = conf_see(c, "there/below");
    below[1] = conf_see(c, "there/below/file");
    for (unsigned i = 0; i < ON_NAMES; i++) {
        for (unsigned k = 0; k < 4; k++) {
            int err = run_code(c, on_names[i], k & 1 ? in_middle : at_end, k & 2 ? "file" : "new", there);

            cr_assert(err == -ELOOP || err == -ENOTDIR, "%s: %s", store_code_name(on_names[i]), strerror(-err));
        }
    }
    expect_untouched(c, "there", &before[0], &before[1]);
    expect_untouched(c, "there/below", &below[0], &below[1]);
    dir_put(in_middle);
    dir_put(at_end);
    dir_put(there);
}

static void swapped_inside(struct conf *c)
{
    swapped(c, false);
}

static void swapped_absolute(struct conf *c)
{
    swapped(c, true);
}

/* The directory is exchanged for a link between two operations: what goes on goes to the old one, never through. */
static void swapped_under_way(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    struct attr attr = conf_attr(c, 0644, 4);
    struct stat before[2];

    cr_assert_eq(mkdirat(c->fd, "outside", 0755), 0);
    conf_put_file(c, "outside/file", "data", 4, 0600);
    cr_assert_eq(conf_publish(c, d, "first", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    cr_assert_eq(renameat(c->fd, "d", c->fd, "moved"), 0);
    cr_assert_eq(symlinkat("outside", c->fd, "d"), 0);
    before[0] = conf_see(c, "outside");
    before[1] = conf_see(c, "outside/file");
    for (unsigned i = 0; i < ON_NAMES; i++) {
        (void)run_code(c, on_names[i], d, "second", d);
    }
    expect_untouched(c, "outside", &before[0], &before[1]);
    cr_assert(conf_there(c, "moved/first"));
    dir_put(d);
}

/* ---- permissions ---- */

static void without_rights(struct conf *c)
{
    struct dir *there = conf_make_dir(c, c->root, "there");
    struct dir *closed = conf_dir(c, c->root, "closed");
    struct dir *readonly = conf_dir(c, c->root, "readonly");

    conf_put_file(c, "there/file", "data", 4, 0600);
    cr_assert_eq(mkdirat(c->fd, "closed", 0700), 0);
    conf_put_file(c, "closed/file", "data", 4, 0600);
    cr_assert_eq(mkdirat(c->fd, "readonly", 0700), 0);
    conf_put_file(c, "readonly/file", "data", 4, 0);
    cr_assert_eq(fchmodat(c->fd, "closed", 0, 0), 0);
    cr_assert_eq(fchmodat(c->fd, "readonly", 0555, 0), 0);
    for (unsigned i = 0; i < ON_NAMES; i++) {
        enum store_code code = on_names[i];
        int err = run_code(c, code, closed, "new", there);

        cr_assert_eq(err, -EACCES, "%s: %s", store_code_name(code), strerror(-err));
        if (code == STORE_STAT || code == STORE_LIST_OPEN || code == STORE_SETATTR || code == STORE_READLINK) {
            continue;
        }
        err = run_code(c, code, readonly, "file", there);
        /* What is looked at first differs: Linux's NFS server refuses before it sees that the name is taken. */
        cr_assert(err == -EACCES || (code == STORE_MKDIR && err == -EEXIST), "%s: %s", store_code_name(code),
                  strerror(-err));
    }
    cr_assert_eq(fchmodat(c->fd, "closed", 0700, 0), 0);
    cr_assert_eq(fchmodat(c->fd, "readonly", 0700, 0), 0);
    cr_assert_eq(conf_see(c, "readonly/file").st_size, 4);
    dir_put(readonly);
    dir_put(closed);
    dir_put(there);
}

/* A directory that may be written and searched but not read: files arrive, and it cannot be listed. */
static void write_only_dir(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    struct dir *below = conf_dir(c, d, "below");
    struct attr attr = conf_attr(c, 0644, 4);
    struct attr dir_attr = {.mode = S_IFDIR | 0333};
    struct store_op op = {.code = STORE_SETATTR, .dir = d, .setattr = {.attr = &dir_attr, .keep = STORE_KEEP_MODE}};

    cr_assert_eq(mkdirat(c->fd, "d/below", 0333), 0);
    cr_assert_eq(fchmodat(c->fd, "d", 0311, 0), 0);
    cr_assert_eq(conf_publish(c, d, "file", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    cr_assert_eq(conf_publish(c, below, "file", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    cr_assert_eq(conf_stat(c, below, "file", &attr), 0);
    cr_assert_eq(run_code(c, STORE_LIST_OPEN, below, NULL, d), -EACCES);
    cr_assert_eq(store_run(c->port, &op), 0);
    cr_assert_eq(conf_see(c, "d").st_mode & 07777, 0333);
    cr_assert_eq(fchmodat(c->fd, "d", 0700, 0), 0);
    cr_assert_eq(fchmodat(c->fd, "d/below", 0700, 0), 0);
    conf_expect_bytes(c, "d/below/file", "data", 4);
    dir_put(below);
    dir_put(d);
}

/* ---- depth ---- */

#define DEEP 2000U

/* Deeper than any path may be long, with next to no handles: down, and back up from the bottom. */
static void deep(struct conf *c)
{
    unsigned before = conf_descriptors();
    struct attr attr = conf_attr(c, 0644, 4);
    struct attr seen;
    struct dir *at = dir_get(c->root);
    char name[32];

    for (unsigned i = 0; i < DEEP; i++) {
        struct dir *below;

        snprintf(name, sizeof(name), "level-%u", i);
        below = conf_make_dir(c, at, name);
        dir_put(at);
        at = below;
    }
    cr_assert_eq(conf_publish(c, at, "bottom", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    cr_assert_leq(conf_descriptors(), before + 16 + 1, "max_handles is 16");
    for (unsigned i = DEEP; i > 0; i--) {
        struct dir *up = dir_get(at->parent);

        if (i % 100 == 0) {
            cr_assert_eq(conf_publish(c, at, "file", &attr, STORE_KEEP_ALL, "data", NULL), 0);
            cr_assert_eq(conf_stat(c, at, "file", &seen), 0);
        }
        dir_put(at);
        at = up;
    }
    cr_assert_eq(at, c->root);
    cr_assert_leq(conf_descriptors(), before + 16 + 1);
    dir_put(at);
}

/* Gone with the last reference: a node that is not needed any more holds no descriptor. */
static void handles_go(struct conf *c)
{
    unsigned before;
    struct dir *dirs[20];
    struct attr seen;
    char name[32];

    /* The first operation of all may have io open something of its own. */
    cr_assert_eq(conf_stat(c, c->root, NULL, &seen), 0);
    before = conf_descriptors();
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "d%u", i);
        dirs[i] = conf_make_dir(c, c->root, name);
        cr_assert_eq(conf_stat(c, dirs[i], NULL, &seen), 0);
    }
    for (unsigned i = 0; i < 20; i++) {
        dir_put(dirs[i]);
    }
    cr_assert_eq(conf_descriptors(), before);
}

static const struct conf_case cases[] = {
    {.name = "a link where a directory was", .run = swapped_inside, .needs = CONF_LOCAL},
    {.name = "an absolute link where a directory was", .run = swapped_absolute, .needs = CONF_LOCAL},
    {.name = "a directory exchanged under way", .run = swapped_under_way, .needs = CONF_LOCAL},
    {.name = "without rights", .run = without_rights, .needs = CONF_LOCAL, .as_user = true},
    {.name = "a directory that cannot be read", .run = write_only_dir, .needs = CONF_LOCAL, .as_user = true},
    {.name = "depth", .run = deep, .max_handles = 16},
    {.name = "handles go with their nodes", .run = handles_go, .needs = CONF_LOCAL},
};

struct conf_table conf_cases_safety(void)
{
    return (struct conf_table){cases, sizeof(cases) / sizeof(cases[0])};
}
