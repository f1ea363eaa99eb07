/*
 * support_conf_uploads: large files.
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

#define PART 65536U

/* Parts in an order that is neither forwards nor backwards, and one of them twice. */
static void out_of_order(struct conf *c)
{
    static const unsigned order[] = {5, 0, 7, 2, 2, 1, 6, 3, 4};
    size_t len = 7 * PART + 1234;
    char *data = conf_bytes(len, 1);
    struct attr attr = conf_attr(c, 0640, len);
    struct attr out;
    struct store_upload *u = NULL;

    conf_put_file(c, "large", "old", 3, 0600);
    cr_assert_eq(conf_begin(c, c->root, "large", &attr, &u), 0);
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        size_t at = order[i] * (size_t)PART;

        cr_assert_eq(conf_write(c, u, data + at, len - at < PART ? len - at : PART, at), 0);
        conf_expect_bytes(c, "large", "old", 3);
    }
    cr_assert_eq(conf_commit(c, u, &attr, &out), 0);
    conf_expect_bytes(c, "large", data, len);
    conf_expect_attr(c, "large", &attr, STORE_KEEP_ALL);
    cr_assert_eq(out.ino, conf_see(c, "large").st_ino);
    cr_assert_eq(out.size, len);
    free(data);
}

static void holes(struct conf *c)
{
    uint64_t size = 40ULL * 1024 * 1024;
    char *data = conf_bytes(PART, 2);
    char *back = malloc(PART);
    struct attr attr = conf_attr(c, 0644, size);
    struct store_upload *u = NULL;
    struct stat st;
    int fd;

    cr_assert_eq(conf_begin(c, c->root, "sparse", &attr, &u), 0);
    cr_assert_eq(conf_write(c, u, data, PART, size / 2), 0);
    cr_assert_eq(conf_commit(c, u, &attr, NULL), 0);
    conf_expect_attr(c, "sparse", &attr, STORE_KEEP_ALL);
    st = conf_see(c, "sparse");
    cr_assert_lt((uint64_t)st.st_blocks * 512, size / 4, "holes were filled");
    fd = openat(c->fd, "sparse", O_RDONLY | O_CLOEXEC);
    cr_assert_eq(pread(fd, back, PART, (off_t)(size / 2)), PART);
    cr_assert_eq(memcmp(back, data, PART), 0);
    cr_assert_eq(pread(fd, back, PART, (off_t)(size - PART)), PART);
    for (unsigned i = 0; i < PART; i++) {
        cr_assert_eq(back[i], 0);
    }
    close(fd);
    free(data);
    free(back);
}

static void all_hole(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 1000000);
    struct attr empty = conf_attr(c, 0644, 0);
    struct store_upload *u = NULL;
    char *zeros = calloc(1, 1000000);

    cr_assert_eq(conf_begin(c, c->root, "hole", &attr, &u), 0);
    cr_assert_eq(conf_commit(c, u, &attr, NULL), 0);
    conf_expect_bytes(c, "hole", zeros, 1000000);
    cr_assert_eq(conf_begin(c, c->root, "empty", &empty, &u), 0);
    cr_assert_eq(conf_commit(c, u, &empty, NULL), 0);
    conf_expect_bytes(c, "empty", "", 0);
    free(zeros);
}

static void aborted(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, PART);
    char *data = conf_bytes(PART, 4);
    struct store_upload *u = NULL;

    conf_put_file(c, "name", "old", 3, 0600);
    cr_assert_eq(conf_begin(c, c->root, "name", &attr, &u), 0);
    cr_assert_eq(conf_write(c, u, data, PART, 0), 0);
    cr_assert_eq(conf_abort(c, u), 0);
    conf_expect_bytes(c, "name", "old", 3);
    cr_assert_eq(conf_temps(c), 0);
    free(data);
}

/* More bytes than the file is to have: it was not written by one plan, and stays out (P2). */
static void too_long(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, PART);
    char *data = conf_bytes(PART, 5);
    struct store_upload *u = NULL;

    conf_put_file(c, "name", "old", 3, 0600);
    cr_assert_eq(conf_begin(c, c->root, "name", &attr, &u), 0);
    cr_assert_eq(conf_write(c, u, data, PART, 1), 0);
    cr_assert_eq(conf_commit(c, u, &attr, NULL), -EIO);
    conf_expect_bytes(c, "name", "old", 3);
    cr_assert_eq(conf_temps(c), 0);
    free(data);
}

static void over_a_directory(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    struct store_upload *u = NULL;

    cr_assert_eq(mkdirat(c->fd, "name", 0755), 0);
    cr_assert_eq(conf_begin(c, c->root, "name", &attr, &u), 0);
    cr_assert_eq(conf_write(c, u, "data", 4, 0), 0);
    cr_assert_lt(conf_commit(c, u, &attr, NULL), 0);
    cr_assert(S_ISDIR(conf_see(c, "name").st_mode));
    cr_assert_eq(conf_temps(c), 0);
}

/* Nobody but us may read what is under way, and it is not setuid yet. */
static void expect_private(struct conf *c, const char *dir)
{
    char path[300];
    char name[TEMP_NAME_MAX];

    conf_temp_name(c, dir, name);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    cr_assert_eq(conf_see(c, path).st_mode & 07777, 0600);
}

/* Private until it is done, and then as it should be (P3): for another owner, for special bits, and where the directory
 * hands down a group that is not the file's. */
static void owners(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    struct attr seen;
    struct dir *d;

    attr.uid = 12345;
    for (unsigned i = 0; i < 3; i++) {
        static const char *const names[] = {"owner", "special", "d/group"};
        struct store_upload *u = NULL;

        if (i == 1) {
            attr = conf_attr(c, 06755, 4);
        } else if (i == 2) {
            attr = conf_attr(c, 0640, 4);
            cr_assert_eq(mkdirat(c->fd, "d", 0755), 0);
            cr_assert_eq(fchownat(c->fd, "d", c->uid, 4711, 0), 0);
            cr_assert_eq(fchmodat(c->fd, "d", 02775, 0), 0);
        }
        d = i == 2 ? conf_dir(c, c->root, "d") : dir_get(c->root);
        cr_assert_eq(conf_begin(c, d, i == 2 ? "group" : names[i], &attr, &u), 0);
        expect_private(c, i == 2 ? "d" : ".");
        cr_assert_eq(conf_write(c, u, "data", 4, 0), 0);
        expect_private(c, i == 2 ? "d" : ".");
        cr_assert_eq(conf_commit(c, u, &attr, &seen), 0);
        cr_assert_eq(seen.mode, attr.mode);
        conf_expect_attr(c, names[i], &attr, STORE_KEEP_ALL);
        dir_put(d);
    }
}

static struct store_file *open_source(struct conf *c, const char *name)
{
    struct store_file *file = NULL;
    struct store_op op = {.code = STORE_OPEN, .dir = c->root, .name = name, .open = {.out = &file}};

    cr_assert_eq(store_run(c->source_port, &op), 0);
    return file;
}

static void close_source(struct conf *c, struct store_file *file)
{
    struct store_op op = {.code = STORE_CLOSE, .file = {.file = file}};

    cr_assert_eq(store_run(c->source_port, &op), 0);
}

/* Straight from an open source file, in steps, or honestly not at all. */
static void copied(struct conf *c)
{
    size_t len = 5 * PART + 77;
    char *data = conf_bytes(len, 6);
    struct attr attr = conf_attr(c, 0600, len);
    struct store_upload *u = NULL;
    struct store_file *file;
    size_t done = 0;
    size_t moved = 1;
    int err = 0;

    conf_put_file(c, "from", data, len, 0644);
    file = open_source(c, "from");
    cr_assert_eq(conf_begin(c, c->root, "to", &attr, &u), 0);
    while (!err && moved > 0) {
        struct store_op op = {.code = STORE_COPY,
                              .up = {.upload = u, .from = file, .len = 2 * PART, .offset = done, .out_len = &moved}};

        err = store_run(c->port, &op);
        done += err ? 0 : moved;
    }
    if (err) {
        cr_assert_eq(err, -EOPNOTSUPP);
        cr_assert_eq(done, 0);
        cr_assert_eq(conf_abort(c, u), 0);
    } else {
        cr_assert_eq(done, len);
        cr_assert_eq(conf_commit(c, u, &attr, NULL), 0);
        conf_expect_bytes(c, "to", data, len);
        conf_expect_attr(c, "to", &attr, STORE_KEEP_ALL);
    }
    close_source(c, file);
    free(data);
}

static void commit_without_dir(struct conf *c)
{
    struct dir *dir = conf_make_dir(c, c->root, "gone");
    struct attr attr = conf_attr(c, 0644, 4);
    struct store_upload *u = NULL;
    char temp[300] = "gone/";
    char id[RUN_ID_LEN + 1];

    cr_assert_eq(conf_begin(c, dir, "name", &attr, &u), 0);
    dir_put(dir); /* the upload has its own reference */
    cr_assert_eq(conf_write(c, u, "data", 4, 0), 0);
    /* Somebody takes the temp name away: there is nothing to be renamed, and that must be seen. */
    conf_temp_name(c, "gone", temp + 5);
    cr_assert(temp_name_parse(temp + 5, id));
    cr_assert_str_eq(id, c->run_id);
    cr_assert_eq(unlinkat(c->fd, temp, 0), 0);
    cr_assert_lt(conf_commit(c, u, &attr, NULL), 0);
    cr_assert_not(conf_there(c, "gone/name"));
}

/* Parts of one file by many fibers. */
struct shared {
    struct store_upload *u;
    char *data;
};

static void shared_parts(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 32 * PART);
    struct shared *shared = c->own;
    unsigned n = c->next++;

    if (!shared) {
        c->own = shared = calloc(1, sizeof(*shared));
        shared->data = conf_bytes(32 * PART, 9);
        cr_assert_eq(conf_begin(c, c->root, "shared", &attr, &shared->u), 0);
        io_notify(c->lane.io, shared);
    }
    while (!shared->u) {
        io_wait(c->lane.io, shared);
    }
    cr_assert_eq(conf_write(c, shared->u, shared->data + n * (size_t)PART, PART, n * (size_t)PART), 0);
}

static void shared_after(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 32 * PART);
    struct shared *shared = c->own;

    cr_assert_eq(c->next, 32);
    cr_assert_eq(conf_commit(c, shared->u, &attr, NULL), 0);
    conf_expect_bytes(c, "shared", shared->data, 32 * PART);
    free(shared->data);
    free(shared);
}

/* ---- parked and resumed ---- */

/* A store either can, or does without in a way that leaves nothing. */
static void park_or_abort(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    struct store_temp temp = {.name = ".haul.0123456789abcdef.0123456789abcdef"};
    struct store_upload *u = NULL;
    bool can = !(c->place->lacks & CONF_RESUME);

    cr_assert_eq(c->store->caps.resume, can);
    cr_assert_eq(conf_begin_temp(c, "name", &attr, &temp, NULL, &u), can ? -ENOENT : -EOPNOTSUPP);
    cr_assert_eq(conf_begin_temp(c, "name", &attr, NULL, &temp, &u), 0);
    cr_assert_eq(conf_write(c, u, "data", 4, 0), 0);
    cr_assert_eq(conf_flush(c, u), can ? 0 : -EOPNOTSUPP);
    cr_assert_eq(conf_park(c, u), 0);
    cr_assert_eq(conf_temps(c), can ? 1 : 0);
    cr_assert_not(conf_there(c, "name"));
    if (can) {
        cr_assert_eq(conf_begin_temp(c, "name", &attr, &temp, NULL, &u), 0);
        cr_assert_eq(conf_abort(c, u), 0);
        cr_assert_eq(conf_temps(c), 0);
    }
}

/* Some parts, then the others by another upload; the old file stays until the end. */
static void resumed(struct conf *c)
{
    size_t len = 4 * PART + 99;
    char *data = conf_bytes(len, 11);
    struct attr attr = conf_attr(c, 0640, len);
    struct attr out;
    struct store_temp temp;
    struct store_temp again;
    struct store_upload *u = NULL;
    char name[TEMP_NAME_MAX];

    conf_put_file(c, "large", "old", 3, 0600);
    cr_assert_eq(conf_begin_temp(c, "large", &attr, NULL, &temp, &u), 0);
    conf_temp_name(c, ".", name);
    cr_assert_str_eq(temp.name, name);
    cr_assert_eq(temp.ino, conf_see(c, name).st_ino);
    cr_assert_eq(temp.uid, conf_see(c, name).st_uid);
    cr_assert_eq(conf_write(c, u, data + (size_t)3 * PART, len - (size_t)3 * PART, 3 * PART), 0);
    cr_assert_eq(conf_write(c, u, data, PART, 0), 0);
    cr_assert_eq(conf_flush(c, u), 0);
    cr_assert_eq(conf_park(c, u), 0);
    conf_expect_bytes(c, "large", "old", 3);

    cr_assert_eq(conf_begin_temp(c, "large", &attr, &temp, &again, &u), 0);
    cr_assert_str_eq(again.name, temp.name);
    cr_assert_eq(again.ino, temp.ino);
    cr_assert_eq(again.size, len);
    cr_assert_eq(conf_write(c, u, data + PART, (size_t)2 * PART, PART), 0);
    conf_expect_bytes(c, "large", "old", 3);
    cr_assert_eq(conf_commit(c, u, &attr, &out), 0);
    cr_assert_eq(out.ino, temp.ino);
    conf_expect_bytes(c, "large", data, len);
    conf_expect_attr(c, "large", &attr, STORE_KEEP_ALL);
    cr_assert_eq(conf_begin_temp(c, "large", &attr, &temp, NULL, &u), -ENOENT);
    free(data);
}

/* What stands under the temp name by now is not ours to write to. */
static void resumed_another(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    struct store_temp temp;
    struct store_upload *u = NULL;

    conf_put_file(c, "victim", "precious", 8, 0644);
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_eq(conf_begin_temp(c, "name", &attr, NULL, &temp, &u), 0);
        cr_assert_eq(conf_park(c, u), 0);
        if (i == 0) { /* a further name: whoever has it could look in */
            cr_assert_eq(linkat(c->fd, temp.name, c->fd, "other", 0), 0);
        } else {
            cr_assert_eq(renameat(c->fd, temp.name, c->fd, "away"), 0);
        }
        if (i == 1) {
            cr_assert_eq(symlinkat("victim", c->fd, temp.name), 0);
        } else if (i == 2) {
            cr_assert_eq(linkat(c->fd, "victim", c->fd, temp.name, 0), 0);
        } else if (i == 3) {
            cr_assert_eq(mkdirat(c->fd, temp.name, 0700), 0);
        } else if (i == 4) {
            cr_assert_eq(mkfifoat(c->fd, temp.name, 0600), 0);
        }
        cr_assert_eq(conf_begin_temp(c, "name", &attr, &temp, NULL, &u), -ESTALE, "%u", i);
        cr_assert_eq(unlinkat(c->fd, temp.name, i == 3 ? AT_REMOVEDIR : 0), 0);
        cr_assert_eq(unlinkat(c->fd, i == 0 ? "other" : "away", 0), 0);
        conf_expect_bytes(c, "victim", "precious", 8);
    }
    cr_assert_eq(conf_see(c, "victim").st_mode & 07777, 0644);
}

/* A run that was killed while it committed has left final attributes; until the next commit it is private again. */
static void resumed_half_committed(struct conf *c)
{
    struct attr attr = conf_attr(c, 06755, 4);
    struct store_temp temp;
    struct store_upload *u = NULL;

    attr.uid = 12345;
    cr_assert_eq(conf_begin_temp(c, "name", &attr, NULL, &temp, &u), 0);
    cr_assert_eq(conf_write(c, u, "data", 4, 0), 0);
    cr_assert_eq(conf_park(c, u), 0);
    cr_assert_eq(fchownat(c->fd, temp.name, 12345, c->gid, 0), 0);
    cr_assert_eq(fchmodat(c->fd, temp.name, 06755, 0), 0);
    cr_assert_eq(conf_begin_temp(c, "name", &attr, &temp, NULL, &u), 0);
    expect_private(c, ".");
    cr_assert_eq(conf_commit(c, u, &attr, NULL), 0);
    conf_expect_bytes(c, "name", "data", 4);
    conf_expect_attr(c, "name", &attr, STORE_KEEP_ALL);

    cr_assert_eq(conf_begin_temp(c, "name", &attr, NULL, &temp, &u), 0);
    cr_assert_eq(conf_park(c, u), 0);
    cr_assert_eq(fchownat(c->fd, temp.name, 54321, c->gid, 0), 0);
    cr_assert_eq(conf_begin_temp(c, "name", &attr, &temp, NULL, &u), -ESTALE, "it is somebody else's");
    cr_assert_eq(unlinkat(c->fd, temp.name, 0), 0);
}

/* Its final bits forbid what is still to be done. */
static void resumed_read_only(struct conf *c)
{
    struct attr attr = conf_attr(c, 0444, 8);
    struct store_temp temp;
    struct store_upload *u = NULL;

    cr_assert_eq(conf_begin_temp(c, "name", &attr, NULL, &temp, &u), 0);
    cr_assert_eq(conf_write(c, u, "half", 4, 0), 0);
    cr_assert_eq(conf_park(c, u), 0);
    cr_assert_eq(conf_begin_temp(c, "name", &attr, &temp, NULL, &u), 0);
    cr_assert_eq(conf_write(c, u, "full", 4, 4), 0);
    cr_assert_eq(conf_commit(c, u, &attr, NULL), 0);
    conf_as_root(c);
    conf_expect_bytes(c, "name", "halffull", 8);
    conf_expect_attr(c, "name", &attr, STORE_KEEP_ALL);
    conf_as_user(c);
}

/* Attributes of the run before are not those that are wanted now. */
static void resumed_xattrs(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    struct store_temp temp;
    struct store_upload *u = NULL;
    struct xattrs *x = NULL;
    char path[400];

    cr_assert_eq(conf_begin_temp(c, "name", &attr, NULL, &temp, &u), 0);
    cr_assert_eq(conf_write(c, u, "data", 4, 0), 0);
    cr_assert_eq(conf_park(c, u), 0);
    snprintf(path, sizeof(path), "%s/%s", c->path, temp.name);
    cr_assert_eq(setxattr(path, "user.old", "x", 1, 0), 0);
    cr_assert_eq(xattrs_create(XATTRS_USER, &x), 0);
    cr_assert_eq(xattrs_add(&x, "user.new", "y", 1), 0);
    cr_assert_eq(conf_begin_temp(c, "name", &attr, &temp, NULL, &u), 0);

    struct store_op op = {.code = STORE_COMMIT, .up = {.upload = u, .attr = &attr, .xattrs = x}};
    cr_assert_eq(store_run(c->port, &op), 0);
    snprintf(path, sizeof(path), "%s/name", c->path);
    cr_assert_lt(getxattr(path, "user.old", NULL, 0), 0);
    cr_assert_eq(getxattr(path, "user.new", NULL, 0), 1);
    xattrs_destroy(x);
}

static const struct conf_case cases[] = {
    {.name = "upload out of order", .run = out_of_order},
    {.name = "upload with holes", .run = holes, .needs = CONF_HOLES},
    {.name = "upload of nothing but a hole, and of nothing", .run = all_hole},
    {.name = "upload aborted", .run = aborted},
    {.name = "upload longer than its size", .run = too_long},
    {.name = "upload over a directory", .run = over_a_directory},
    {.name = "upload with owner and special bits", .run = owners, .needs = CONF_ROOT | CONF_LOCAL},
    {.name = "upload copied from a source", .run = copied},
    {.name = "upload whose temp name is gone", .run = commit_without_dir, .needs = CONF_LOCAL},
    {.name = "upload in parts by many", .run = shared_parts, .after = shared_after, .fibers = 32},
    {.name = "upload with fsync", .run = out_of_order, .fsync = true},
    {.name = "upload parked, or aborted where it cannot", .run = park_or_abort},
    {.name = "upload resumed", .run = resumed, .needs = CONF_RESUME},
    {.name = "upload resumed where another file stands", .run = resumed_another, .needs = CONF_RESUME | CONF_NODES},
    {.name = "upload resumed that was half committed",
     .run = resumed_half_committed,
     .needs = CONF_RESUME | CONF_ROOT | CONF_LOCAL},
    {.name = "upload resumed as a user", .run = resumed_read_only, .needs = CONF_RESUME, .as_user = true},
    {.name = "upload resumed with other attributes", .run = resumed_xattrs, .needs = CONF_RESUME | CONF_XATTRS},
};

struct conf_table conf_cases_uploads(void)
{
    return (struct conf_table){cases, sizeof(cases) / sizeof(cases[0])};
}
