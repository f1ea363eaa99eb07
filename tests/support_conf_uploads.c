/*
 * support_conf_uploads: large files.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
};

struct conf_table conf_cases_uploads(void)
{
    return (struct conf_table){cases, sizeof(cases) / sizeof(cases[0])};
}
