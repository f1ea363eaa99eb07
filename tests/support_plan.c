#include "support_plan.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/errs.h"
#include "support_tree.h"
#include "workers/io.h"
#include "workers/shard.h"
#include "workers/stores/posix.h"

#define SMALL (1024U * 1024)

/* One thread of the small copier. */
struct hand {
    struct plan_try *t;
    struct io *io;
    struct port *src;
    struct port *dst;
    char *buffer;
};

static void on_failed(void *arg, const struct plan_failure *f)
{
    struct plan_try *t = arg;
    char *path = dir_path(f->dir, f->name);
    pthread_mutex_lock(&t->lock);
    size_t len = strlen(t->failed);
    snprintf(t->failed + len, sizeof(t->failed) - len, "%s %s %s %s%s\n", f->op, path, err_name(f->err),
             f->on_source ? "src" : "dst", f->below ? " below" : "");
    t->failures++;
    pthread_mutex_unlock(&t->lock);
    free(path);
}

static bool on_existing(void *arg, struct port *dst, struct dir *dir)
{
    struct plan_try *t = arg;
    (void)dst;
    pthread_mutex_lock(&t->lock);
    t->existing++;
    pthread_mutex_unlock(&t->lock);
    return t->purge != NULL && t->purge(t, dir);
}

static void on_same(void *arg, const struct dir *dir, const char *name, const struct attr *src,
                    const struct attr *there)
{
    struct plan_try *t = arg;
    (void)dir;
    (void)name;
    (void)src;
    (void)there;
    pthread_mutex_lock(&t->lock);
    t->same++;
    pthread_mutex_unlock(&t->lock);
}

void plan_try_init(struct plan_try *t, const char *what)
{
    char name[64];

    memset(t, 0, sizeof(*t));
    snprintf(name, sizeof(name), "%s-src", what);
    t->src = tree_temp(name);
    snprintf(name, sizeof(name), "%s-dst", what);
    t->dst = tree_temp(name);
    pthread_mutex_init(&t->lock, NULL);
    cr_assert_eq(notices_create(&t->notices), 0);
    t->options.hard_links = true;
    t->options.archive_dirs = true;
    t->options.devices = geteuid() == 0;
    t->options.keep = STORE_KEEP_ALL;
    t->options.notices = t->notices;
    t->options.arg = t;
    t->options.failed = on_failed;
    t->options.existing = on_existing;
    t->options.same = on_same;
}

void plan_try_release(struct plan_try *t)
{
    notices_destroy(t->notices);
    pthread_mutex_destroy(&t->lock);
    tree_remove(t->src);
    tree_remove(t->dst);
    free(t->src);
    free(t->dst);
}

static int publish_file(struct hand *h, const struct item *item)
{
    struct attr before;
    struct attr after;
    size_t len = 0;
    struct store_op op = {
        .code = STORE_READ_SMALL,
        .dir = item->work.dir,
        .name = item->name,
        .read_small = {.buf = h->buffer, .size = SMALL, .out_len = &len, .before = &before, .after = &after}};
    int err = store_run(h->src, &op);
    if (err != 0) {
        return err;
    }
    op = (struct store_op){.code = STORE_PUBLISH,
                           .dir = item->work.dir,
                           .name = item_dst_name(item),
                           .put = {.attr = &after, .keep = STORE_KEEP_ALL, .data = h->buffer}};
    return store_run(h->dst, &op);
}

static int publish_symlink(struct hand *h, const struct item *item)
{
    char target[PATH_MAX + 1];
    struct store_op op = {.code = STORE_READLINK,
                          .dir = item->work.dir,
                          .name = item->name,
                          .readlink = {.buf = target, .size = sizeof(target)}};
    int err = store_run(h->src, &op);
    if (err == 0) {
        op = (struct store_op){.code = STORE_SYMLINK,
                               .dir = item->work.dir,
                               .name = item_dst_name(item),
                               .put = {.attr = &item->attr, .keep = STORE_KEEP_ALL, .target = target}};
        err = store_run(h->dst, &op);
    }
    return err;
}

/* A directory's times have changed with its entries. */
static int remove_entry(struct hand *h, const struct item *item)
{
    struct attr expect = item->attr;
    struct store_op op = {.code = STORE_STAT, .dir = item->work.dir, .name = item->name, .stat = {.out = &expect}};
    int err = S_ISDIR(item->attr.mode) ? store_run(h->dst, &op) : 0;
    if (err == 0) {
        op = (struct store_op){.code = STORE_REMOVE,
                               .dir = item->work.dir,
                               .name = item->name,
                               .remove = {.expect = &expect, .dir = S_ISDIR(expect.mode)}};
        err = store_run(h->dst, &op);
    }
    return err;
}

static int carry_out(struct hand *h, struct item *item)
{
    struct store_op op = {.dir = item->work.dir, .name = item_dst_name(item)};
    switch (item->kind) {
    case ITEM_FILE:
        return publish_file(h, item);
    case ITEM_SYMLINK:
        return publish_symlink(h, item);
    case ITEM_NODE:
        op.code = STORE_NODE;
        op.put.attr = &item->attr;
        op.put.keep = STORE_KEEP_ALL;
        return store_run(h->dst, &op);
    case ITEM_LINK:
        op.code = STORE_LINK;
        op.link.from_dir = item->from_dir;
        op.link.from_name = item->from_name;
        return store_run(h->dst, &op);
    case ITEM_ATTRS:
        op.code = STORE_SETATTR;
        op.setattr.attr = &item->attr;
        op.setattr.keep = STORE_KEEP_ALL;
        return store_run(h->dst, &op);
    case ITEM_REMOVE:
        return remove_entry(h, item);
    case ITEM_CHECK: /* of a sync alone */
        break;
    }
    return -EINVAL;
}

static void run_item(struct hand *h, struct item *item)
{
    struct plan_try *t = h->t;
    int result = t->meddle != NULL ? t->meddle(t, item) : 0;
    if (result == 0) {
        result = carry_out(h, item);
    }
    pthread_mutex_lock(&t->lock);
    t->kinds[item->kind]++;
    if (result != 0 && !(item->kind == ITEM_LINK && item_link_copies(result))) {
        char *path = dir_path(item->work.dir, item->name);
        size_t len = strlen(t->failed);
        snprintf(t->failed + len, sizeof(t->failed) - len, "item %s %s\n", path, err_name(result));
        free(path);
        t->errors++;
    }
    pthread_mutex_unlock(&t->lock);
    planner_item_done(t->planner, h->dst, item, result);
}

static void hand_begin(struct hand *h)
{
    struct io_options direct = {.no_ring = true};
    cr_assert_eq(io_create(&direct, &h->io), 0);
    io_set_mode(h->io, IO_DIRECT);
    cr_assert_eq(store_port_create(h->t->options.src, h->io, &h->src), 0);
    cr_assert_eq(store_port_create(h->t->options.dst, h->io, &h->dst), 0);
    h->buffer = malloc(SMALL);
}

static void hand_end(struct hand *h)
{
    free(h->buffer);
    store_port_destroy(h->dst);
    store_port_destroy(h->src);
    io_destroy(h->io);
}

static void *hand_main(void *arg)
{
    struct hand h = {.t = arg};
    struct plan_try *t = arg;
    struct shard *shard = NULL;

    hand_begin(&h);
    while ((shard = queue_pop(t->channel)) != NULL) {
        pthread_mutex_lock(&t->lock);
        t->shards++;
        pthread_mutex_unlock(&t->lock);
        for (unsigned i = 0; i < shard->count; i++) {
            run_item(&h, (struct item *)shard->items[i]);
        }
        free(shard);
    }
    hand_end(&h);
    return NULL;
}

/* What the pool does once it was stopped. */
static void *hand_drop(void *arg)
{
    struct plan_try *t = arg;
    struct shard *shard = NULL;

    while ((shard = queue_pop(t->channel)) != NULL) {
        t->shards++;
        for (unsigned i = 0; i < shard->count; i++) {
            planner_item_done(t->planner, NULL, (struct item *)shard->items[i], -ECANCELED);
        }
        free(shard);
    }
    return NULL;
}

static struct store *open_store(const struct plan_try *t, const char *path, enum dir_side side)
{
    struct store_options o = {.side = side,
                              .path = path,
                              .run_id = "0123456789abcdef",
                              .owner = OWNER_AUTO,
                              .max_handles = t->handles > 0 ? t->handles : 64,
                              .notices = t->notices};
    struct store *store = NULL;
    int err = posix_open(&o, &store);
    cr_assert_eq(err, 0, "open %s: %s", path, err_text(err));
    return store;
}

static void begin(struct plan_try *t, bool own[2])
{
    own[0] = t->options.src == NULL;
    own[1] = t->options.dst == NULL;
    if (own[0]) {
        t->options.src = open_store(t, t->src, DIR_SRC);
    }
    if (own[1]) {
        t->options.dst = open_store(t, t->dst, DIR_DST);
    }
    cr_assert_eq(queue_create(t->queue > 0 ? t->queue : 64, &t->channel), 0);
    t->options.queue = t->channel;
    memset(t->failed, 0, sizeof(t->failed));
    memset(t->kinds, 0, sizeof(t->kinds));
    t->failures = t->errors = t->shards = t->existing = t->same = 0;
    cr_assert_eq(planner_create(&t->options, &t->planner), 0);
}

static void end(struct plan_try *t, const bool own[2])
{
    const struct plan_counts *c = planner_counts(t->planner);
    t->counts = *c;
    planner_destroy(t->planner);
    queue_destroy(t->channel);
    if (own[0]) {
        store_destroy(t->options.src);
        t->options.src = NULL;
    }
    if (own[1]) {
        store_destroy(t->options.dst);
        t->options.dst = NULL;
    }
}

void plan_try_run(struct plan_try *t)
{
    pthread_t hands[16];
    unsigned n = t->workers > 0 ? t->workers : 2;
    bool own[2];

    begin(t, own);
    for (unsigned i = 0; i < n; i++) {
        cr_assert_eq(pthread_create(&hands[i], NULL, hand_main, t), 0);
    }
    cr_assert_eq(planner_start(t->planner), 0);
    planner_join(t->planner);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(hands[i], NULL);
    }
    end(t, own);
}

void plan_try_run_well(struct plan_try *t)
{
    plan_try_run(t);
    cr_expect_str_empty(t->failed, "failures:\n%s", t->failed);
    cr_expect(t->counts.complete);
}

void plan_try_create_only(struct plan_try *t)
{
    bool own[2];

    begin(t, own);
    end(t, own);
}

void plan_try_run_stopped(struct plan_try *t)
{
    pthread_t hand;
    bool own[2];

    begin(t, own);
    cr_assert_eq(planner_start(t->planner), 0);
    while (queue_length(t->channel) < t->queue) {
        poll(NULL, 0, 1);
    }
    planner_stop(t->planner);
    cr_assert_eq(pthread_create(&hand, NULL, hand_drop, t), 0);
    planner_join(t->planner);
    pthread_join(hand, NULL);
    end(t, own);
}

void plan_try_same(const struct plan_try *t, bool dir_times)
{
    char src[PATH_MAX];
    char dst[PATH_MAX];
    const char *argv[] = {"rsync", "-aHn", "--checksum", "--delete", "--itemize-changes", "--omit-dir-times",
                          src,     dst,    NULL};
    int status = 0;

    snprintf(src, sizeof(src), "%s/", t->src);
    snprintf(dst, sizeof(dst), "%s/", t->dst);
    if (dir_times) {
        argv[5] = "--devices"; /* part of -a already */
    }
    char *out = tree_run(argv, &status);
    cr_expect_eq(status, 0, "rsync ended with %d", status);
    cr_expect_str_eq(out, "", "differences:\n%.4000s", out);
    free(out);
}
