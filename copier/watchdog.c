#include "copier/watchdog.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/name.h"
#include "copier/copyfile.h"
#include "copier/staging.h"
#include "copier/status.h"
#include "workers/stores/nfs41/nfs41.h"

#define LOOK_NS    (200 * NS_PER_MS)    /* between two looks */
#define STILL_NS   NS_PER_SEC           /* a look that comes later than this: the process stood still */
#define OBEY_NS    NS_PER_SEC           /* what a worker gets to give up what it was asked for */
#define STOPPED_NS (5 * NS_PER_SEC / 2) /* after a stop, what is under way gets so long */
#define QUIET_NS   (3 * NS_PER_SEC / 2) /* and so long without any answer */
#define SLOW_BYTES (4U * 1024 * 1024)   /* a second, that even a slow destination moves */
#define STREAK_MAX 8                    /* looks in a row that gave something up, without an answer in between */
#define LOST_MAX   64                   /* fibers given up in all: each keeps its memory and its place */
#define LISTED_MAX 1024                 /* operations told when all is given up */

/* An operation that is told. */
struct stuck {
    enum store_code code;
    char *path; /* owned */
    int64_t ns; /* waited so far */
};

/* Asks a side whether it lives, by a look at its root, in a thread of its own: it may never come back. */
struct probe {
    struct watchdog *dog; /* not owned */
    enum dir_side side;   /* constant */
    struct dir_tree tree; /* of root */
    struct dir *root;     /* its operations are known by it; owned */
    pthread_t thread;     /* valid if started */
    bool started;         /* the watchdog's thread */
    bool asks;            /* it is to look; watchdog.lock */
};

/* One side. The watchdog's thread only. */
struct side {
    struct probe probe;
    uint64_t answered;        /* so far */
    uint64_t unanswered;      /* ended so far because nobody answered */
    bool silent;              /* the last one that ended did so */
    int64_t answered_watched; /* when answered last changed, or nothing was wanted */
    unsigned streak;          /* see STREAK_MAX */
};

struct watchdog {
    struct engine *engine; /* not owned */
    pthread_t thread;      /* looks */
    pthread_mutex_t lock;  /* for stop, armed, step, step_path, step_watched */
    pthread_cond_t wake;   /* signalled on stop */
    bool stop;
    bool armed;
    const char *step;             /* what the main thread is at; NULL: nothing that may hang */
    const char *step_path;        /* where */
    int64_t step_watched;         /* since when */
    int64_t watched;              /* time watched; written under lock by the thread */
    int64_t last_ns;              /* monotonic, of the last look; the thread's */
    int64_t stopped_watched;      /* when the stop was seen; -1: not yet; the thread's */
    struct side sides[DIR_SIDES]; /* the thread's */
};

/* A look at one side. */
struct look {
    const struct watchdog *dog; /* not owned */
    const struct dir *probe;    /* known from the probe's operations */
    int64_t limit;              /* ns; 0: none */
    int64_t quiet;              /* ns without an answer at that side */
    bool interrupted;           /* the run is, and what hangs is not waited for */
    bool hung;                  /* the side is to be declared hung */
    unsigned under_way;         /* operations */
    unsigned asked;             /* to be given up from now on */
    unsigned waiting;           /* operations that have no answer for as long as a stop waits */
};

static bool is_overdue(const struct look *look, const struct watch_op *op, int64_t age)
{
    int64_t more = (int64_t)((double)op->bytes / SLOW_BYTES * (double)NS_PER_SEC);
    /* Watched time stands still between two looks, which may be far apart on a busy machine: it may have begun later
     * than it seems. */
    return look->limit > 0 && op->code != STORE_SYNC && age > look->limit + LOOK_NS + more &&
           clock_mono_ns() - op->begun_ns >= look->limit + more;
}

/* With the port's lock: decides about one operation. */
static void judge(void *arg, struct watch_op *op)
{
    struct look *look = arg;
    int64_t now = look->dog->watched;
    int64_t age = now - op->begun_watched;
    if (op->dir == look->probe) {
        return; /* it only asks; nobody waits for it */
    }
    look->under_way++;
    look->waiting += age >= QUIET_NS;
    if (!is_overdue(look, op, age)) {
        return;
    }
    if (look->quiet > look->limit || op->fiber == NULL || (op->asked && now - op->asked_watched >= OBEY_NS)) {
        look->hung = true;
    } else if (!op->asked) {
        op->asked = true;
        op->asked_watched = now;
        look->asked++;
    }
}

/* ---- leaving ---- */

struct list {
    const struct dir *probe; /* left out */
    struct stuck *stuck;     /* owned; NULL: no memory */
    unsigned count;
};

static void list_one(void *arg, struct watch_op *op)
{
    struct list *list = arg;
    if (list->stuck != NULL && list->count < LISTED_MAX && op->dir != list->probe) {
        list->stuck[list->count++] = (struct stuck){
            .code = op->code, .path = watch_path(op->dir, op->name), .ns = clock_mono_ns() - op->begun_ns};
    }
}

static int longest_first(const void *a, const void *b)
{
    const struct stuck *x = a;
    const struct stuck *y = b;
    return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : 0;
}

static const char *side_name(enum dir_side side)
{
    return side == DIR_SRC ? "source" : "destination";
}

static int seconds(int64_t ns)
{
    return (int)((ns + NS_PER_SEC / 2) / NS_PER_SEC);
}

/* In words, with the operation that has waited longest; malloc'd. */
static char *reason(const struct list *list, enum dir_side side, const char *stopped)
{
    const struct stuck *first = list->count > 0 ? &list->stuck[0] : NULL;
    char *shown = first != NULL && first->path != NULL ? name_show(first->path) : NULL;
    char *text = NULL;
    if (asprintf(&text, "%s: the %s does not answer: %s '%s' has waited for %d s", stopped, side_name(side),
                 first != NULL ? store_code_name(first->code) : "an operation", shown != NULL ? shown : "?",
                 first != NULL ? seconds(first->ns) : 0) < 0) {
        text = NULL;
    }
    free(shown);
    return text;
}

/* At a side that answers nothing, though each try ends by itself, the first try has waited for as long as that. Where
 * all wait for the next one, the last that was tried stands for them. */
static void list_silence(const struct watchdog *w, enum dir_side side, struct list *list)
{
    const struct side *s = &w->sides[side];
    int64_t quiet = w->watched - s->answered_watched;
    if (!s->silent || list->stuck == NULL) {
        return;
    }
    if (list->count == 0) {
        watch_unanswered(w->engine->watch[side], &list->stuck[0].code, &list->stuck[0].path);
        list->count = 1;
    }
    list->stuck[0].ns = list->stuck[0].ns < quiet ? quiet : list->stuck[0].ns;
}

/* Tells everything under way at that side, and leaves. Returns where the run is being ended already. */
static void leave(struct watchdog *w, enum dir_side side, bool interrupted)
{
    struct engine *e = w->engine;
    if (!engine_take_end(e)) {
        return;
    }
    struct list list = {.probe = w->sides[side].probe.root, .stuck = calloc(LISTED_MAX, sizeof *list.stuck)};
    watch_visit(e->watch[side], list_one, &list);
    if (list.stuck != NULL) {
        qsort(list.stuck, list.count, sizeof *list.stuck, longest_first);
    }
    list_silence(w, side, &list);
    int status = interrupted ? atomic_load(&e->stop_status) : STATUS_CANNOT;
    char *why = reason(&list, side, interrupted ? status_stopped(status) : "stopped early");
    engine_left(e, status);
    for (unsigned i = 0; list.stuck != NULL && i < list.count && !interrupted; i++) {
        const struct stuck *s = &list.stuck[i];
        event_unanswered(e, s->path != NULL ? s->path : "?", s->code, s->ns, side == DIR_SRC);
    }
    engine_leave(e, status, why != NULL ? why : "source or destination do not answer");
}

/* ---- probing ---- */

static void *probe_when_asked(void *arg)
{
    struct probe *p = arg;
    struct watchdog *w = p->dog;
    const struct io_options options = {.no_ring = true};
    struct io *io = NULL;
    struct port *port = NULL;
    if (io_create(&options, &io) == 0 && store_port_create(w->engine->watch[p->side], io, &port) == 0) {
        pthread_mutex_lock(&w->lock);
        while (!w->stop) {
            if (!p->asks) {
                pthread_cond_wait(&w->wake, &w->lock);
                continue;
            }
            pthread_mutex_unlock(&w->lock);
            struct attr attr;
            struct store_op op = {.code = STORE_STAT, .dir = p->root, .stat = {.out = &attr, .fresh = true}};
            (void)store_run(port, &op); /* an error is an answer too */
            pthread_mutex_lock(&w->lock);
            p->asks = false;
        }
        pthread_mutex_unlock(&w->lock);
    }
    store_port_destroy(port);
    io_destroy(io);
    return NULL;
}

/* What is asked already has no answer yet. */
static void probe_ask(struct watchdog *w, struct probe *p)
{
    if (!p->started && p->root != NULL) {
        p->started = pthread_create(&p->thread, NULL, probe_when_asked, p) == 0;
    }
    pthread_mutex_lock(&w->lock);
    p->asks = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

/* One that has no answer yet is left where it is. False: then nothing of it may be freed. */
static bool probe_release(struct watchdog *w, struct probe *p)
{
    pthread_mutex_lock(&w->lock);
    bool asks = p->asks && p->started;
    pthread_mutex_unlock(&w->lock);
    if (asks) {
        return false;
    }
    if (p->started) {
        pthread_join(p->thread, NULL);
    }
    dir_put(p->root);
    return true;
}

/* ---- looking ---- */

/* What was answered at that side since the last look, or ended because nobody did. */
static void look_for_answers(struct watchdog *w, enum dir_side which)
{
    struct side *side = &w->sides[which];
    enum store_code code;
    uint64_t unanswered = watch_unanswered(w->engine->watch[which], &code, NULL);
    uint64_t answered = watch_visit(w->engine->watch[which], NULL, NULL);
    if (answered != side->answered) {
        side->answered = answered;
        side->answered_watched = w->watched;
        side->silent = false;
        side->streak = 0;
    } else if (unanswered != side->unanswered) {
        side->silent = true;
    }
    side->unanswered = unanswered;
}

static void look_at_side(struct watchdog *w, enum dir_side which)
{
    struct engine *e = w->engine;
    struct side *side = &w->sides[which];
    struct look look = {.dog = w, .probe = side->probe.root, .limit = e->options->io_timeout_ns};
    watch_tick(e->watch[which], w->watched);
    look_for_answers(w, which);
    look.quiet = w->watched - side->answered_watched;
    watch_visit(e->watch[which], judge, &look);
    if (look.under_way == 0 && !side->silent) {
        side->answered_watched = w->watched;
    }
    bool wanted = look.under_way > 0 || side->silent;
    bool doubtful = wanted && look.limit > 0 && look.quiet >= look.limit / 2;
    /* And a server is not to forget us while all wait for the source, or for --bwlimit. */
    if (doubtful || (which == DIR_DST && nfs41_is_due(e->bare))) {
        probe_ask(w, &side->probe);
    }
    /* Whoever ends by itself does so before the limit, and is tried again: the side is judged by all of them. */
    look.hung = look.hung || (side->silent && look.limit > 0 && look.quiet > look.limit + OBEY_NS);
    if (look.asked > 0) {
        side->streak++;
        look.hung = look.hung || side->streak > STREAK_MAX || pool_lost(e->pool) + look.asked > LOST_MAX;
        pool_attend(e->pool);
    }
    bool stopped = w->stopped_watched >= 0 && w->watched - w->stopped_watched >= STOPPED_NS;
    if (look.hung) {
        leave(w, which, false);
    } else if (stopped && look.waiting > 0 && look.quiet >= QUIET_NS) {
        leave(w, which, true);
    }
}

/* The temp dir: nobody else would answer for it, and files are made in it by threads that cannot be spared. */
static void look_at_temp_dir(struct watchdog *w)
{
    struct engine *e = w->engine;
    int64_t limit = e->options->io_timeout_ns;
    int64_t age = e->staging != NULL ? staging_tick(e->staging, w->watched) : 0;
    bool stopped = w->stopped_watched >= 0 && w->watched - w->stopped_watched >= STOPPED_NS && age >= QUIET_NS;
    bool hung = limit > 0 && age > limit + LOOK_NS;
    char *why = NULL;
    if ((!hung && !stopped) || !engine_take_end(e)) {
        return;
    }
    int status = hung ? STATUS_CANNOT : atomic_load(&e->stop_status);
    char *shown = name_show(e->tempdir.path);
    if (asprintf(&why, "%s: the temp dir '%s' does not answer, for %d s",
                 hung ? "stopped early" : status_stopped(status), shown != NULL ? shown : "?", seconds(age)) < 0) {
        why = NULL;
    }
    free(shown);
    engine_left(e, status);
    engine_leave(e, status, why != NULL ? why : "the temp dir does not answer");
}

/* What the main thread does by itself. */
static void look_at_step(struct watchdog *w)
{
    struct engine *e = w->engine;
    int64_t limit = e->options->io_timeout_ns;
    pthread_mutex_lock(&w->lock);
    const char *step = w->step;
    const char *path = w->step_path;
    int64_t age = w->watched - w->step_watched;
    pthread_mutex_unlock(&w->lock);
    char *why = NULL;
    if (step == NULL || limit == 0 || age <= limit || !engine_take_end(e)) {
        return;
    }
    if (asprintf(&why, "stopped early: %s '%s' does not answer, for %d s", step, path, seconds(age)) < 0) {
        why = NULL;
    }
    engine_left(e, STATUS_CANNOT);
    engine_leave(e, STATUS_CANNOT, why != NULL ? why : "source or destination do not answer");
}

/* Moves watched time on, not by the time in which nobody could look. */
static void tick(struct watchdog *w)
{
    int64_t now = clock_mono_ns();
    int64_t passed = now - w->last_ns;
    w->last_ns = now;
    pthread_mutex_lock(&w->lock);
    w->watched += passed < STILL_NS ? passed : LOOK_NS;
    pthread_mutex_unlock(&w->lock);
    if (w->stopped_watched < 0 && atomic_load(&w->engine->interrupted)) {
        w->stopped_watched = w->watched;
    }
}

static void *look_now_and_then(void *arg)
{
    struct watchdog *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        bool armed = w->armed;
        pthread_mutex_unlock(&w->lock);
        tick(w);
        look_at_step(w);
        for (int side = 0; armed && side < DIR_SIDES; side++) {
            look_at_side(w, (enum dir_side)side);
        }
        if (armed) {
            look_at_temp_dir(w);
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t nsec = until.tv_nsec + LOOK_NS;
        until.tv_sec += nsec / NS_PER_SEC;
        until.tv_nsec = nsec % NS_PER_SEC;
        pthread_mutex_lock(&w->lock);
        if (!w->stop) {
            pthread_cond_timedwait(&w->wake, &w->lock, &until);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int watchdog_create(struct engine *e, struct watchdog **out_watchdog)
{
    struct watchdog *w = calloc(1, sizeof *w);
    if (w == NULL) {
        return -ENOMEM;
    }
    w->engine = e;
    w->last_ns = clock_mono_ns();
    w->stopped_watched = -1;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&w->lock, NULL);
    for (int side = 0; side < DIR_SIDES; side++) {
        struct probe *p = &w->sides[side].probe;
        p->dog = w;
        p->side = (enum dir_side)side;
        (void)dir_create_root(&p->tree, &p->root); /* without: no probe, and a side counts as hung sooner */
    }
    int r = pthread_create(&w->thread, NULL, look_now_and_then, w);
    if (r != 0) {
        dir_put(w->sides[DIR_SRC].probe.root);
        dir_put(w->sides[DIR_DST].probe.root);
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return -r;
    }
    *out_watchdog = w;
    return 0;
}

void watchdog_arm(struct watchdog *w)
{
    pthread_mutex_lock(&w->lock);
    w->armed = true;
    pthread_mutex_unlock(&w->lock);
}

void watchdog_step(struct watchdog *w, const char *what, const char *path)
{
    pthread_mutex_lock(&w->lock);
    w->step = what;
    w->step_path = path;
    w->step_watched = w->watched;
    pthread_mutex_unlock(&w->lock);
}

void watchdog_destroy(struct watchdog *w)
{
    if (w == NULL) {
        return;
    }
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    bool freed = true;
    for (int side = 0; side < DIR_SIDES; side++) {
        freed = probe_release(w, &w->sides[side].probe) && freed;
    }
    if (freed) {
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->lock);
        free(w);
    }
}

/* ---- in the workers ---- */

struct giving {
    struct worker *worker;
    bool on_source;
};

static bool give_up(void *arg, const struct watch_op *op)
{
    const struct giving *g = arg;
    const struct copy_unanswered why = {.op = op, .on_source = g->on_source};
    return op->fiber != NULL && worker_give_up(g->worker, op->fiber, &why) == 0;
}

void watchdog_attend(void *arg, struct worker *w)
{
    struct engine *e = arg;
    const struct engine_worker *own = worker_own(w);
    struct giving g = {.worker = w, .on_source = true};
    watch_give_up(e->watch[DIR_SRC], own->src, give_up, &g);
    g.on_source = false;
    watch_give_up(e->watch[DIR_DST], own->dst, give_up, &g);
}
