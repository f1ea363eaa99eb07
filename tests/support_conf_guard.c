/*
 * support_conf_guard: what is replaced or changed only while it is still what was meant.
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

    cr_assert(err != -ESTALE || (op.step && strcmp(op.step, STORE_STEP_GUARD) == 0), "%d: %s", by, op.step);
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

static const struct conf_case cases[] = {
    {.name = "what is meant is replaced", .run = meant},
    {.name = "what is not meant is not replaced", .run = not_meant},
};

struct conf_table conf_cases_guard(void)
{
    return (struct conf_table){cases, sizeof(cases) / sizeof(cases[0])};
}
