/*
 * support_conf_lease: what a lease needs of a store: files that never replace another, and the fence.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_conformance.h"

static int publish_exclusive(struct conf *c, struct dir *dir, const char *name, const char *data, struct attr *out)
{
    struct attr attr = conf_attr(c, 0644, strlen(data));
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = dir,
                          .name = name,
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = data, .exclusive = true, .out = out}};

    return store_run(c->port, &op);
}

static void exclusive_new(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    struct attr out = {0};
    struct stat st;

    cr_assert_eq(publish_exclusive(c, c->root, "name", "data", &out), 0);
    conf_expect_bytes(c, "name", "data", 4);
    conf_expect_attr(c, "name", &attr, STORE_KEEP_ALL);
    st = conf_see(c, "name");
    cr_assert_eq(out.ino, st.st_ino);
    cr_assert_eq(st.st_nlink, 1);
    /* Gone again, the name is free again. */
    cr_assert_eq(conf_remove(c, c->root, "name", &out, false), 0);
    cr_assert_eq(publish_exclusive(c, c->root, "name", "anew", NULL), 0);
    conf_expect_bytes(c, "name", "anew", 4);
}

static void exclusive_taken(struct conf *c)
{
    struct stat before;

    conf_put_file(c, "file", "theirs", 6, 0600);
    before = conf_see(c, "file");
    cr_assert_eq(publish_exclusive(c, c->root, "file", "ours", NULL), -EEXIST);
    conf_expect_bytes(c, "file", "theirs", 6);
    cr_assert_eq(conf_see(c, "file").st_ino, before.st_ino);
    cr_assert_eq(conf_see(c, "file").st_nlink, 1);
    cr_assert_eq(symlinkat("nowhere", c->fd, "link"), 0);
    cr_assert_eq(publish_exclusive(c, c->root, "link", "ours", NULL), -EEXIST);
    cr_assert_not(conf_there(c, "nowhere"));
    cr_assert_eq(mkdirat(c->fd, "dir", 0755), 0);
    cr_assert_eq(publish_exclusive(c, c->root, "dir", "ours", NULL), -EEXIST);
    cr_assert(S_ISDIR(conf_see(c, "dir").st_mode));
}

static void exclusive_without_dir(struct conf *c)
{
    struct dir *dir = conf_dir(c, c->root, "missing");

    cr_assert_eq(publish_exclusive(c, dir, "name", "data", NULL), -ENOENT);
    dir_put(dir);
}

/* Many want the same name: one gets it, and it holds what that one wrote. */
static void exclusive_crowd(struct conf *c)
{
    char data[16];
    unsigned n = c->next++;
    int err;

    snprintf(data, sizeof(data), "fiber %u", n);
    err = publish_exclusive(c, c->root, "name", data, NULL);
    if (err == 0) {
        cr_assert_null(c->own, "two have published the same name");
        c->own = strdup(data);
    } else {
        cr_assert_eq(err, -EEXIST, "%s", strerror(-err));
    }
}

static void exclusive_crowd_after(struct conf *c)
{
    cr_assert_eq(c->next, 50);
    cr_assert_not_null(c->own);
    conf_expect_bytes(c, "name", c->own, strlen(c->own));
    free(c->own);
}

/* ---- the fence ---- */

/* Everything that renames to a final name or removes one, each tried once; err: what must come of it. */
static void try_all(struct conf *c, int err)
{
    struct attr attr = conf_attr(c, 0644, 3);
    struct attr link = {.mode = S_IFLNK | 0777, .uid = c->uid, .gid = c->gid, .nlink = 1};
    struct attr there = {0};
    struct store_upload *upload = NULL;
    struct store_op op = {
        .code = STORE_SYMLINK, .dir = c->root, .name = "s", .put = {.attr = &link, .keep = 0, .target = "target"}};

    cr_expect_eq(conf_publish(c, c->root, "f", &attr, STORE_KEEP_ALL, "new", NULL), err);
    cr_expect_eq(publish_exclusive(c, c->root, "x", "new", NULL), err);
    cr_expect_eq(store_run(c->port, &op), err);
    op = (struct store_op){
        .code = STORE_LINK, .dir = c->root, .name = "l", .link = {.from_dir = c->root, .from_name = "old"}};
    cr_expect_eq(store_run(c->port, &op), err);
    cr_assert_eq(conf_begin(c, c->root, "u", &attr, &upload), 0);
    cr_assert_eq(conf_write(c, upload, "new", 3, 0), 0);
    cr_expect_eq(conf_commit(c, upload, &attr, NULL), err);
    cr_assert_eq(conf_stat(c, c->root, "gone", &there), 0);
    cr_expect_eq(conf_remove(c, c->root, "gone", &there, false), err);
    cr_assert_eq(conf_stat(c, c->root, "empty", &there), 0);
    cr_expect_eq(conf_remove(c, c->root, "empty", &there, true), err);
}

static void make_all(struct conf *c)
{
    conf_put_file(c, "f", "old", 3, 0600);
    conf_put_file(c, "old", "old", 3, 0600);
    conf_put_file(c, "gone", "old", 3, 0600);
    cr_assert_eq(mkdirat(c->fd, "empty", 0700), 0);
}

static void fence_lost_stops_all(struct conf *c)
{
    static const char *const made[] = {"x", "s", "l", "u"};
    struct store_upload *upload = NULL;
    struct attr attr = conf_attr(c, 0644, 3);
    struct attr there = {0};
    char temp[TEMP_NAME_MAX];

    make_all(c);
    fence_extend(&c->fence, 1, INT64_MAX);
    fence_lose(&c->fence);
    try_all(c, -EOWNERDEAD);
    conf_expect_bytes(c, "f", "old", 3);
    cr_expect(conf_there(c, "gone"));
    cr_expect(conf_there(c, "empty"));
    for (unsigned i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
        cr_expect_not(conf_there(c, made[i]), "%s", made[i]);
    }
    /* Our own temp names are nobody else's: they go. */
    cr_assert_eq(conf_begin(c, c->root, "u", &attr, &upload), 0);
    cr_assert_eq(conf_abort(c, upload), 0);
    cr_assert_eq(temp_name_make(c->run_id, temp), 0);
    conf_put_file(c, temp, "", 0, 0600);
    cr_assert_eq(conf_stat(c, c->root, temp, &there), 0);
    cr_assert_eq(conf_remove(c, c->root, temp, &there, false), 0);
}

static void fence_open_lets_all_pass(struct conf *c)
{
    make_all(c);
    fence_extend(&c->fence, 1, INT64_MAX);
    try_all(c, 0);
    conf_expect_bytes(c, "f", "new", 3);
    conf_expect_bytes(c, "x", "new", 3);
    conf_expect_bytes(c, "u", "new", 3);
    cr_expect_not(conf_there(c, "gone"));
    cr_expect_not(conf_there(c, "empty"));
}

/* Shut: not before it is known, and then yes. */
static void fence_shut_waits(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 3);

    if (c->next++ == 0) {
        cr_assert_eq(conf_publish(c, c->root, "f", &attr, STORE_KEEP_ALL, "new", NULL), 0);
        cr_assert_not_null(c->own, "it went through a fence that was shut");
        return;
    }
    cr_assert_eq(io_sleep(c->lane.io, 50 * NS_PER_MS), 0);
    cr_expect_not(conf_there(c, "f"));
    c->own = c;
    fence_extend(&c->fence, 1, INT64_MAX);
}

/* The one who renews the lease passes a fence that is shut: nobody else could open it. */
static void fence_lets_its_own_pass(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 3);

    fence_set_own(&c->fence, c->lane.io);
    cr_assert_eq(conf_publish(c, c->root, "f", &attr, STORE_KEEP_ALL, "new", NULL), 0);
    conf_expect_bytes(c, "f", "new", 3);
}

/* A file goes, and the directory that it is in where the store can do both at once. */
static int remove_both(struct conf *c, struct dir *dir, const struct attr *expect, bool *out_emptied)
{
    struct store_op op = {
        .code = STORE_REMOVE, .dir = dir, .name = "name", .remove = {.expect = expect, .out_emptied = out_emptied}};
    int err = store_run(c->port, &op);

    cr_assert(err != -ESTALE || store_op_guarded(&op));
    return err;
}

static void emptied(struct conf *c)
{
    struct dir *dir = conf_make_dir(c, c->root, "dir");
    struct attr mine = {0};
    struct attr other = {0};
    bool gone = false;

    cr_assert_eq(publish_exclusive(c, dir, "name", "data", &mine), 0);
    cr_assert_eq(publish_exclusive(c, dir, "other", "other", &other), 0);
    cr_assert_eq(remove_both(c, dir, &other, &gone), -ESTALE);
    cr_assert(!gone && conf_there(c, "dir/name"));
    cr_assert_eq(remove_both(c, dir, &mine, &gone), 0);
    cr_assert(!gone && !conf_there(c, "dir/name") && conf_there(c, "dir/other"), "there is another file in it");
    cr_assert_eq(remove_both(c, dir, &mine, &gone), -ENOENT);
    cr_assert(!gone && conf_there(c, "dir"));
    cr_assert_eq(conf_remove(c, dir, "other", &other, false), 0);
    cr_assert(conf_there(c, "dir"));
    cr_assert_eq(publish_exclusive(c, dir, "name", "again", &mine), 0);
    cr_assert_eq(remove_both(c, dir, &mine, &gone), 0);
    cr_assert_eq(gone, !conf_there(c, "dir"));
    cr_assert(gone || strcmp(c->store->caps.kind, "nfs41") != 0, "it takes another round trip");
    cr_assert(gone || !conf_there(c, "dir/name"));
    dir_put(dir);
}

static const struct conf_case cases[] = {
    {.name = "exclusive on a free name", .run = exclusive_new},
    {.name = "exclusive on a name that is taken", .run = exclusive_taken},
    {.name = "exclusive without its directory", .run = exclusive_without_dir},
    {.name = "exclusive by many at a time", .run = exclusive_crowd, .after = exclusive_crowd_after, .fibers = 50},
    {.name = "a lost fence stops all that renames or removes", .run = fence_lost_stops_all, .fenced = true},
    {.name = "an open fence lets all pass", .run = fence_open_lets_all_pass, .fenced = true},
    {.name = "removed with its directory", .run = emptied},
    {.name = "a shut fence waits", .run = fence_shut_waits, .fibers = 2, .fenced = true},
    {.name = "a fence lets its own pass", .run = fence_lets_its_own_pass, .fenced = true},
};

struct conf_table conf_cases_lease(void)
{
    return (struct conf_table){cases, sizeof(cases) / sizeof(cases[0])};
}
