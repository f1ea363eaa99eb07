/*
 * support_conf_guard: what is replaced, changed or linked only while it is still what was meant.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_conformance.h"

#define OLD "old contents"
#define NEW "other, longer contents"

/* Ways of replacing or changing "file". */
enum by { BY_PUBLISH, BY_COMMIT, BY_SETATTR, BYS };

/* 0 or -errno; -ESTALE only as a guard's. */
static int replace(struct conf *c, enum by by, const struct attr *expect)
{
    struct attr attr = conf_attr(c, 0640, by == BY_SETATTR ? strlen(OLD) : strlen(NEW));
    struct store_upload *u = NULL;
    struct store_op op = {.code = STORE_PUBLISH, .dir = c->root, .name = "file"};

    switch (by) {
    case BY_PUBLISH:
        op.put.attr = &attr;
        op.put.keep = STORE_KEEP_ALL;
        op.put.data = NEW;
        op.put.expect = expect;
        break;
    case BY_COMMIT:
        cr_assert_eq(conf_begin(c, c->root, "file", &attr, &u), 0);
        cr_assert_eq(conf_write(c, u, NEW, strlen(NEW), 0), 0);
        op = (struct store_op){
            .code = STORE_COMMIT, .dir = c->root, .name = "file", .up = {.upload = u, .attr = &attr, .expect = expect}};
        break;
    case BY_SETATTR:
    default:
        op = (struct store_op){.code = STORE_SETATTR,
                               .dir = c->root,
                               .name = "file",
                               .setattr = {.attr = &attr, .keep = STORE_KEEP_ALL, .expect = expect}};
        break;
    }
    int err = store_run(c->port, &op);

    cr_assert(err != -ESTALE || store_op_guarded(&op), "%d: %s", by, op.step);
    return err;
}

static void renew(const struct conf *c)
{
    conf_put_file(c, "new", OLD, strlen(OLD), 0604);
    cr_assert_eq(renameat(c->fd, "new", c->fd, "file"), 0);
}

static void meant(struct conf *c)
{
    for (enum by by = 0; by < BYS; by++) {
        struct attr expect;

        renew(c);
        cr_assert_eq(conf_stat(c, c->root, "file", &expect), 0);
        cr_assert_eq(replace(c, by, &expect), 0, "%d", by);
        cr_assert_eq(conf_see(c, "file").st_mode & 07777, 0640);
        if (by == BY_SETATTR) {
            conf_expect_bytes(c, "file", OLD, strlen(OLD));
            cr_assert_eq(conf_see(c, "file").st_ino, expect.ino);
        } else {
            conf_expect_bytes(c, "file", NEW, strlen(NEW));
        }
    }
}

static void other_size(const struct conf *c)
{
    struct stat st = conf_see(c, "file");
    struct timespec times[2] = {st.st_atim, st.st_mtim};

    conf_put_file(c, "file", "x" OLD, strlen(OLD) + 1, 0604);
    cr_assert_eq(utimensat(c->fd, "file", times, 0), 0);
}

static void other_time(const struct conf *c)
{
    struct stat st = conf_see(c, "file");
    struct timespec times[2] = {st.st_atim, {st.st_mtim.tv_sec - 10, st.st_mtim.tv_nsec}};

    cr_assert_eq(utimensat(c->fd, "file", times, 0), 0);
}

static void other_mode(const struct conf *c)
{
    cr_assert_eq(fchmodat(c->fd, "file", 0600, 0), 0);
}

static void other_file(const struct conf *c)
{
    struct stat st = conf_see(c, "file");
    struct timespec times[2] = {st.st_atim, st.st_mtim};

    renew(c);
    cr_assert_eq(utimensat(c->fd, "file", times, 0), 0);
}

static void gone(const struct conf *c)
{
    cr_assert_eq(unlinkat(c->fd, "file", 0), 0);
}

static void not_meant(struct conf *c)
{
    static void (*const changes[])(const struct conf *c) = {other_size, other_time, other_mode, other_file, gone};

    for (enum by by = 0; by < BYS; by++) {
        for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
            struct attr expect;
            struct stat before = {0};
            int err;

            renew(c);
            cr_assert_eq(conf_stat(c, c->root, "file", &expect), 0);
            changes[i](c);
            if (changes[i] != gone) {
                before = conf_see(c, "file");
            }
            err = replace(c, by, &expect);
            if (changes[i] == gone) {
                cr_assert(err == -ESTALE || (by == BY_SETATTR && err == -ENOENT), "%d %zu: %d", by, i, err);
                cr_assert_not(conf_there(c, "file"));
            } else {
                struct stat after = conf_see(c, "file");

                cr_assert_eq(err, -ESTALE, "%d %zu: %d", by, i, err);
                cr_assert(after.st_ino == before.st_ino && after.st_mode == before.st_mode &&
                              after.st_size == before.st_size && after.st_mtim.tv_sec == before.st_mtim.tv_sec,
                          "%d %zu: it was touched", by, i);
            }
        }
    }
}

/* dir/name becomes a link to "file", if that is what is expected. */
static int link_meant(struct conf *c, struct dir *dir, const char *name, const struct attr *expect)
{
    struct attr out = {0};
    struct store_op op = {
        .code = STORE_LINK,
        .dir = dir,
        .name = name,
        .link = {.from_dir = c->root, .from_name = "file", .expect = expect, .out = &out},
    };
    int err = store_run(c->port, &op);

    cr_assert(err != -ESTALE || store_op_guarded(&op), "%s", op.step);
    cr_assert(err || attr_is_same_file(expect, &out), "out is another file");
    return err;
}

/* Where nothing stands, in the place of another file, and where it is that file already. */
static void meant_is_linked(struct conf *c)
{
    struct dir *dir = conf_make_dir(c, c->root, "dir");
    struct attr expect;

    renew(c);
    conf_put_file(c, "dir/stands", NEW, strlen(NEW), 0600);
    cr_assert_eq(conf_stat(c, c->root, "file", &expect), 0);
    cr_assert_eq(link_meant(c, dir, "new", &expect), 0);
    cr_assert_eq(link_meant(c, dir, "stands", &expect), 0);
    cr_assert_eq(link_meant(c, dir, "stands", &expect), 0);
    cr_assert_eq(link_meant(c, c->root, "beside", &expect), 0);
    other_mode(c); /* which is nothing that it is known by */
    cr_assert_eq(link_meant(c, c->root, "later", &expect), 0);
    conf_expect_bytes(c, "dir/stands", OLD, strlen(OLD));
    cr_assert_eq(conf_see(c, "dir/new").st_ino, expect.ino);
    cr_assert_eq(conf_see(c, "file").st_nlink, 5);
    cr_assert_eq(mkdirat(c->fd, "dir/sub", 0700), 0);
    cr_assert_lt(link_meant(c, dir, "sub", &expect), 0);
    dir_put(dir);
}

static void not_meant_is_not_linked(struct conf *c)
{
    static void (*const changes[])(const struct conf *c) = {other_size, other_time, other_file, gone};

    conf_put_file(c, "stands", NEW, strlen(NEW), 0600);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct attr expect;
        int err;

        renew(c);
        cr_assert_eq(conf_stat(c, c->root, "file", &expect), 0);
        changes[i](c);
        err = changes[i] == gone ? -ENOENT : -ESTALE;
        cr_assert_eq(link_meant(c, c->root, "new", &expect), err, "%zu", i);
        cr_assert_eq(link_meant(c, c->root, "stands", &expect), err, "%zu", i);
        cr_assert_not(conf_there(c, "new"));
        conf_expect_bytes(c, "stands", NEW, strlen(NEW));
        cr_assert(changes[i] == gone || conf_see(c, "file").st_nlink == 1);
    }
}

static const struct conf_case cases[] = {
    {.name = "what is meant is replaced", .run = meant},
    {.name = "what is not meant is not replaced", .run = not_meant},
    {.name = "what is meant is linked", .run = meant_is_linked},
    {.name = "what is not meant is not linked", .run = not_meant_is_not_linked},
};

struct conf_table conf_cases_guard(void)
{
    return (struct conf_table){cases, sizeof(cases) / sizeof(cases[0])};
}
