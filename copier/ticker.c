#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "copier/engine_internal.h"

#define PLAIN_NS    (30 * NS_PER_SEC) /* between progress lines in a log */
#define EVENT_NS    (1 * NS_PER_SEC)  /* between lines with --progress, and JSON events */
#define TERMINAL_NS (200 * NS_PER_MS) /* between lines on a terminal */
#define SYNC_NS     (30 * NS_PER_SEC) /* between background syncs of a local destination */

struct ticker {
    struct engine *engine; /* not owned */
    pthread_t thread;      /* shows progress */
    pthread_t syncer;      /* makes epochs durable; a sync may take long */
    bool has_syncer;       /* syncer runs */
    bool stopped;          /* thread was joined; owner's thread only */
    int64_t sync_ns;       /* between background syncs; constant */
    pthread_mutex_t lock;  /* for stop */
    pthread_cond_t wake;   /* signalled on stop */
    bool stop;             /* guarded by lock */
};

/* Waits ns or until the end; false at the end. */
static bool pause_for(struct ticker *t, int64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nsec = until.tv_nsec + ns % NS_PER_SEC;
    until.tv_sec += ns / NS_PER_SEC + nsec / NS_PER_SEC;
    until.tv_nsec = nsec % NS_PER_SEC;
    pthread_mutex_lock(&t->lock);
    int r = 0;
    while (!t->stop && r == 0) {
        r = pthread_cond_timedwait(&t->wake, &t->lock, &until);
    }
    bool go_on = !t->stop;
    pthread_mutex_unlock(&t->lock);
    return go_on;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void note_progress(struct engine *e)
{
    const struct plan_counts *p = planner_counts(e->planner);
    const struct report_counts *c = e->counts;
    if (e->state == NULL) {
        return;
    }
    uint64_t done = atomic_load(&p->same) + atomic_load(&c->files) + atomic_load(&c->others) + atomic_load(&c->links) +
                    atomic_load(&c->attrs);
    uint64_t done_bytes = atomic_load(&p->same_bytes) + atomic_load(&c->bytes);
    /* Files that grew since they were met, and figures that are read one after the other, may put done before total. */
    uint64_t total = max_u64(atomic_load(&p->same) + atomic_load(&p->todo), done);
    uint64_t total_bytes = max_u64(atomic_load(&p->same_bytes) + atomic_load(&p->todo_bytes), done_bytes);
    state_run_progress(e->state, total, total_bytes, done, done_bytes,
                       atomic_load(&c->failed) + atomic_load(&c->changed), atomic_load(&p->complete));
}

static void *tick(void *arg)
{
    struct ticker *t = arg;
    struct engine *e = t->engine;
    const struct options *o = e->options;
    int64_t shown = clock_mono_ns();
    int64_t line = report_on_terminal(e->report) ? TERMINAL_NS : o->progress || o->json ? EVENT_NS : PLAIN_NS;
    int64_t step = line < EVENT_NS ? line : EVENT_NS;
    while (pause_for(t, step)) {
        note_progress(e);
        if (clock_mono_ns() - shown >= line - NS_PER_MS) {
            report_progress(e->report, planner_counts(e->planner), pool_in_flight(e->pool), pool_limit(e->pool));
            shown = clock_mono_ns();
        }
    }
    note_progress(e);
    return NULL;
}

/* What was published before a sync is durable after it. */
static void *sync_now_and_then(void *arg)
{
    struct ticker *t = arg;
    struct engine *e = t->engine;
    struct io *io = NULL;
    struct port *port = NULL;
    const struct io_options options = {.no_ring = true};
    if (io_create(&options, &io) == 0 && store_port_create(e->dst, io, &port) == 0) {
        while (pause_for(t, t->sync_ns)) {
            int64_t epoch = state_epoch_next(e->state);
            struct store_op op = {.code = STORE_SYNC};
            if (store_run(port, &op) == 0) {
                state_epoch_durable(e->state, epoch);
            } else {
                state_epoch_failed(e->state);
                atomic_fetch_add(&e->counts->sync_failed, 1);
                notice_raise(e->notices,
                             "a background sync of the destination failed, and files may have lost data: the next run "
                             "copies again what was not synced before");
            }
        }
    }
    store_port_destroy(port);
    io_destroy(io);
    return NULL;
}

int ticker_create(struct engine *e, struct ticker **out_ticker)
{
    return ticker_create_paced(e, SYNC_NS, out_ticker);
}

int ticker_create_paced(struct engine *e, int64_t sync_ns, struct ticker **out_ticker)
{
    struct ticker *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return -ENOMEM;
    }
    t->engine = e;
    t->sync_ns = sync_ns;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&t->lock, NULL);
    int r = pthread_create(&t->thread, NULL, tick, t);
    if (r != 0) {
        pthread_cond_destroy(&t->wake);
        pthread_mutex_destroy(&t->lock);
        free(t);
        return -r;
    }
    if (e->state != NULL && !e->dst->caps.durable) {
        t->has_syncer = pthread_create(&t->syncer, NULL, sync_now_and_then, t) == 0;
    }
    *out_ticker = t;
    return 0;
}

void ticker_stop(struct ticker *t)
{
    if (t == NULL || t->stopped) {
        return;
    }
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    t->stopped = true;
}

void ticker_destroy(struct ticker *t)
{
    if (t == NULL) {
        return;
    }
    ticker_stop(t);
    if (t->has_syncer) {
        pthread_join(t->syncer, NULL);
    }
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
