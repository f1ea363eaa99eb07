/*
 * shards: filling and pushing.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "planner/planner_internal.h"

/* Rough costs of one worker's time, for cutting shards only: where they are wrong by a few times, nothing is lost. */
#define LOCAL_ITEM_NS   20000U             /* create, write, rename in a warm cache */
#define LOCAL_BYTE_NS   1U                 /* 1 GB/s */
#define LOCAL_LIMIT_NS  (4U * NS_PER_MS)   /* a shard that the last worker is still at does not hold up the end */
#define REMOTE_ITEM_NS  (3U * NS_PER_MS)   /* a round trip or two */
#define REMOTE_BYTE_NS  10U                /* 100 MB/s */
#define REMOTE_LIMIT_NS (200U * NS_PER_MS) /* about SHARD_ITEMS small files */

/* Waiting workers get a shard before it is full, but not for less work than the handing over is worth: where what is
 * about to be published is announced before, it costs a transaction. Items between two looks at whether workers wait.
 */
#define HUNGRY_EVERY           8U
#define HUNGRY_EVERY_ANNOUNCED 64U

struct rates {
    uint64_t item_ns;
    uint64_t byte_ns;
    uint64_t limit_ns;
};

static struct rates rates_of(const struct planner *p)
{
    if (p->options.dst->caps.network) {
        return (struct rates){REMOTE_ITEM_NS, REMOTE_BYTE_NS, REMOTE_LIMIT_NS};
    }
    return (struct rates){LOCAL_ITEM_NS, LOCAL_BYTE_NS, LOCAL_LIMIT_NS};
}

static unsigned hungry_every(const struct planner *p)
{
    return p->options.recall != NULL && !p->options.dst->caps.network ? HUNGRY_EVERY_ANNOUNCED : HUNGRY_EVERY;
}

static uint64_t estimate(const struct rates *rates, const struct item *item)
{
    uint64_t bytes = item->kind == ITEM_FILE || item->kind == ITEM_CHECK ? item->attr.size : 0;
    return bytes < UINT64_MAX / REMOTE_BYTE_NS / 2 ? rates->item_ns + bytes * rates->byte_ns : UINT64_MAX / 2;
}

/* Ends all items of a shard that will not be pushed. */
static void drop(struct planner *p, struct shard *shard)
{
    for (unsigned i = 0; i < shard->count; i++) {
        planner_item_done(p, NULL, (struct item *)shard->items[i], -ECANCELED);
    }
    free(shard);
}

static void count_todo(struct planner *p, const struct shard *shard)
{
    unsigned long bytes = 0;
    for (unsigned i = 0; i < shard->count; i++) {
        const struct item *item = (const struct item *)shard->items[i];
        bytes += item->kind == ITEM_FILE && S_ISREG(item->attr.mode) ? item->attr.size : 0;
    }
    count_add(&p->counts.todo, shard->count);
    count_add(&p->counts.todo_bytes, bytes);
}

void shards_flush(struct walker *w)
{
    struct planner *p = w->p;
    struct shard *shard = w->shard;

    w->shard = NULL;
    if (shard == NULL) {
        return;
    }
    if (planner_stopping(p)) {
        drop(p, shard);
        return;
    }
    uint64_t intended = w->intended;
    w->intended = 0;
    if (intended != 0 && p->options.commit(p->options.arg, intended) != 0) {
        planner_stop(p);
        drop(p, shard);
        return;
    }
    count_todo(p, shard); /* before the push: what is done is never more than what was to do */
    if (queue_push(p->options.queue, shard) != 0) {
        planner_stop(p); /* nobody takes it any more */
        drop(p, shard);
    }
}

int shards_add(struct walker *w, struct item *item)
{
    struct planner *p = w->p;
    struct rates rates = rates_of(p);
    uint64_t cost = estimate(&rates, item);
    bool other_dir = p->options.dst->caps.spread && w->shard_dir != item->work.dir;

    if (w->shard != NULL && (other_dir || cost >= rates.limit_ns)) {
        shards_flush(w);
    }
    if (w->shard == NULL) {
        w->shard = calloc(1, sizeof(*w->shard));
        if (w->shard == NULL) {
            return -ENOMEM;
        }
    }
    struct shard *shard = w->shard;
    plan_dir_hold(item->work.dir);
    if (item->kind != ITEM_ATTRS) {
        if (!atomic_exchange(&plan_of(item->work.dir)->touched, true) && p->options.archive_dirs) {
            plan_of(item->work.dir)->known = false; /* it is remembered once more when it is finished */
            if (p->options.recall != NULL) {
                p->options.touched(p->options.arg, item->work.dir);
            }
        }
    }
    atomic_fetch_add_explicit(&p->undone, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->outstanding, 1, memory_order_relaxed);
    w->shard_dir = item->work.dir;
    shard->items[shard->count++] = &item->work;
    shard->cost += cost;
    if (shard->count == SHARD_ITEMS || shard->cost >= rates.limit_ns ||
        (shard->count % hungry_every(p) == 0 && queue_waiting(p->options.queue) > 0)) {
        shards_flush(w);
    }
    return 0;
}

void shards_dir_end(struct walker *w)
{
    struct planner *p = w->p;
    struct rates rates = rates_of(p);

    if (w->shard == NULL) {
        return;
    }
    uint64_t bytes = w->shard->cost - w->shard->count * rates.item_ns;
    bool worth = w->shard->count >= hungry_every(p) || bytes >= HUNGRY_EVERY * rates.item_ns;
    if (p->options.dst->caps.spread || (worth && queue_waiting(p->options.queue) > 0)) {
        shards_flush(w);
    }
}
