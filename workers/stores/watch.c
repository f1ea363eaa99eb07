/*
 * watch: the layer, and the list of what is under way.
 *
 * An operation is listed on the stack of whoever runs it. The lock of its port keeps it there while another thread
 * looks at it, so that neither its names nor its directory have to be copied or held.
 */
#include "workers/stores/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/errs.h"
#include "workers/fiber.h"
#include "workers/stores/watch_tally.h"

#define PORT_DIRS 64                             /* directories that a port tells apart */
#define GONE_DIRS 512                            /* and all ports that are gone together */
#define COPY_MOST (UINT64_C(2) * 1024 * 1048576) /* bytes that one COPY moves at most: the kernel's own limit */

/* One operation under way: public part, and its place in the list. */
struct entry {
    struct watch_op op;  /* first: visitors see this */
    struct entry *newer; /* in its port's list; port's lock */
    struct entry *older; /* port's lock */
};

struct watch {
    struct store head;
    atomic_llong now;         /* watched time, ns */
    pthread_mutex_t lock;     /* for what follows; taken before a port's */
    struct watch_port *ports; /* of all threads */
    struct tally gone;        /* of ports that are gone */
    uint64_t silent;          /* operations that ended because nobody answered */
    enum store_code last;     /* of those; valid where silent is not 0 */
    char *last_path;          /* of it; owned; NULL: none, or no memory */
};

struct watch_port {
    struct port head;
    pthread_mutex_t lock;      /* for what follows; nobody waits while holding it */
    struct entry *oldest;      /* under way */
    struct entry *newest;      /* under way */
    struct tally tally;        /* of what has ended */
    struct watch_port *next;   /* watch.lock */
    struct watch_port **place; /* what points to this one; watch.lock */
};

/* ---- under way ---- */

/* With the port's lock. */
static void list_add(struct watch_port *p, struct entry *e)
{
    e->newer = NULL;
    e->older = p->newest;
    if (e->older) {
        e->older->newer = e;
    } else {
        p->oldest = e;
    }
    p->newest = e;
}

/* With the port's lock. */
static void list_remove(struct watch_port *p, struct entry *e)
{
    if (e->older) {
        e->older->newer = e->newer;
    } else {
        p->oldest = e->newer;
    }
    if (e->newer) {
        e->newer->older = e->older;
    } else {
        p->newest = e->older;
    }
}

static uint64_t bytes_of(const struct store_op *op)
{
    switch (op->code) {
    case STORE_COPY:
        return op->up.len < COPY_MOST ? op->up.len : COPY_MOST;
    case STORE_FLUSH:
        return op->up.len;
    case STORE_COMMIT:
        return op->up.attr->size;
    default:
        return 0;
    }
}

static void note_silence(struct watch *w, const struct watch_op *op)
{
    char *path = watch_path(op->dir, op->name);
    char *before;

    pthread_mutex_lock(&w->lock);
    w->silent++;
    w->last = op->code;
    before = w->last_path;
    w->last_path = path;
    pthread_mutex_unlock(&w->lock);
    free(before);
}

static int run(struct port *port, struct store_op *op)
{
    struct watch_port *p = (struct watch_port *)port;
    struct watch *w = (struct watch *)port->store;
    struct fiber *self = io_mode(port->io) == IO_ASYNC ? fiber_self() : NULL;
    struct entry e = {.op = {.code = op->code,
                             .dir = op->dir,
                             .name = op->name,
                             .bytes = bytes_of(op),
                             .begun_ns = clock_mono_ns(),
                             .begun_watched = atomic_load_explicit(&w->now, memory_order_relaxed),
                             .fiber = self}};
    int64_t ns;
    bool silent;
    int err;

    pthread_mutex_lock(&p->lock);
    list_add(p, &e);
    pthread_mutex_unlock(&p->lock);
    err = store_run_next(port, op);
    silent = err && err_is_silence(err);
    if (silent) {
        note_silence(w, &e.op);
    }
    ns = clock_mono_ns() - e.op.begun_ns;
    pthread_mutex_lock(&p->lock);
    list_remove(p, &e);
    tally_add(&p->tally, &e.op, ns, silent ? TALLY_SILENT : err ? TALLY_FAILED : TALLY_DONE);
    pthread_mutex_unlock(&p->lock);
    return err;
}

void watch_tick(struct store *store, int64_t now_ns)
{
    atomic_store_explicit(&((struct watch *)store)->now, now_ns, memory_order_relaxed);
}

uint64_t watch_visit(struct store *store, void (*visit)(void *arg, struct watch_op *op), void *arg)
{
    struct watch *w = (struct watch *)store;
    uint64_t done;

    pthread_mutex_lock(&w->lock);
    done = w->gone.done;
    for (struct watch_port *p = w->ports; p; p = p->next) {
        pthread_mutex_lock(&p->lock);
        done += p->tally.done;
        for (struct entry *e = visit ? p->oldest : NULL; e; e = e->newer) {
            visit(arg, &e->op);
        }
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return done;
}

uint64_t watch_unanswered(struct store *store, enum store_code *out_code, char **out_path)
{
    struct watch *w = (struct watch *)store;
    uint64_t silent;

    pthread_mutex_lock(&w->lock);
    silent = w->silent;
    *out_code = w->last;
    if (out_path) {
        *out_path = w->last_path ? strdup(w->last_path) : NULL;
    }
    pthread_mutex_unlock(&w->lock);
    return silent;
}

void watch_give_up(struct store *store, struct port *port, bool (*give)(void *arg, const struct watch_op *op),
                   void *arg)
{
    struct watch_port *p;
    struct entry *newer;

    while (port && port->store != store) {
        port = port->next;
    }
    p = (struct watch_port *)port;
    /* Only this thread changes the list; what give starts comes at its end and is not asked for. */
    for (struct entry *e = p ? p->oldest : NULL; e; e = newer) {
        bool asked;

        pthread_mutex_lock(&p->lock);
        asked = e->op.asked;
        pthread_mutex_unlock(&p->lock);
        if (asked && give(arg, &e->op)) {
            pthread_mutex_lock(&p->lock);
            newer = e->newer;
            list_remove(p, e);
            tally_add(&p->tally, &e->op, clock_mono_ns() - e->op.begun_ns, TALLY_GIVEN_UP);
            pthread_mutex_unlock(&p->lock);
        } else {
            newer = e->newer;
        }
    }
}

int watch_times(struct store *store, struct watch_times *out_times)
{
    struct watch *w = (struct watch *)store;
    struct tally all;
    int err = tally_init(&all, GONE_DIRS);
    int64_t now = clock_mono_ns();

    if (err) {
        return err;
    }
    pthread_mutex_lock(&w->lock);
    tally_merge(&all, &w->gone);
    for (struct watch_port *p = w->ports; p; p = p->next) {
        pthread_mutex_lock(&p->lock);
        tally_merge(&all, &p->tally);
        for (const struct entry *e = p->oldest; e; e = e->newer) {
            tally_add(&all, &e->op, now > e->op.begun_ns ? now - e->op.begun_ns : 0, TALLY_WAITING);
        }
        pthread_mutex_unlock(&p->lock);
    }
    pthread_mutex_unlock(&w->lock);
    err = tally_show(&all, out_times);
    tally_release(&all);
    return err;
}

/* ---- the layer ---- */

static int port_create(struct store *s, struct io *io, struct port **out)
{
    struct watch *w = (struct watch *)s;
    struct watch_port *p = calloc(1, sizeof(*p));

    if (!p || tally_init(&p->tally, PORT_DIRS)) {
        free(p);
        return -ENOMEM;
    }
    p->head.store = s;
    p->head.io = io;
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_lock(&w->lock);
    p->next = w->ports;
    p->place = &w->ports;
    if (p->next) {
        p->next->place = &p->next;
    }
    w->ports = p;
    pthread_mutex_unlock(&w->lock);
    *out = &p->head;
    return 0;
}

static void port_destroy(struct port *port)
{
    struct watch_port *p = (struct watch_port *)port;
    struct watch *w = (struct watch *)port->store;

    pthread_mutex_lock(&w->lock);
    *p->place = p->next;
    if (p->next) {
        p->next->place = p->place;
    }
    tally_merge(&w->gone, &p->tally);
    pthread_mutex_unlock(&w->lock);
    tally_release(&p->tally);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static void destroy(struct store *s)
{
    struct watch *w = (struct watch *)s;

    tally_release(&w->gone);
    pthread_mutex_destroy(&w->lock);
    free(w->last_path);
    free(w);
}

static const struct store_ops watch_ops = {
    .destroy = destroy,
    .port_create = port_create,
    .port_destroy = port_destroy,
    .run = run,
};

int watch_wrap(struct store *next, struct store **out_store)
{
    struct watch *w = calloc(1, sizeof(*w));

    if (!w || tally_init(&w->gone, GONE_DIRS)) {
        free(w);
        store_destroy(next);
        return -ENOMEM;
    }
    w->head.ops = &watch_ops;
    w->head.caps = next->caps;
    w->head.next = next;
    pthread_mutex_init(&w->lock, NULL);
    *out_store = &w->head;
    return 0;
}
