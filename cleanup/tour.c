#include "cleanup/tour.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A directory under way. */
struct visit {
    struct tour_visit visit; /* what the user sees; first field */
    struct store_list *list; /* open or parked; NULL: not opened yet */
    struct visit *next;      /* among those put aside; tour.lock */
    bool some;               /* an entry has come */
};

/* One fiber's worth of work with the pool, or none. */
struct hand {
    struct pool_offer offer; /* first field */
    struct tour *tour;       /* not owned; constant */
    struct hand *next;       /* among those that rest; tour.lock */
};

struct tour {
    struct tour_options options; /* constant */
    struct hand *hands;          /* options.width; owned */
    atomic_bool cut;             /* a directory was not gone through, since the pool is being stopped */
    pthread_mutex_t lock;        /* for all that follows; never held while waiting or in callbacks */
    struct hand *resting;        /* not with the pool */
    unsigned resting_count;      /* of them */
    bool over;                   /* all of them rested once */
    struct dir **dirs;           /* that wait, the newest last; room for TOUR_PENDING + width; references owned */
    unsigned dir_count;          /* of them */
    struct visit *aside;         /* listings that were put aside, the newest first; owned */
    struct tour_task *tasks;     /* that wait, the newest first */
    unsigned task_count;         /* of them */
};

/* What a fiber takes on next: one of these. */
struct taken {
    struct tour_task *task;
    struct visit *visit; /* to be gone on with */
    struct dir *dir;     /* to be begun with */
};

static void hand_run(struct pool_offer *offer, struct worker *w);

int tour_create(const struct tour_options *options, struct tour **out_tour)
{
    struct tour *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        return -ENOMEM;
    }
    t->options = *options;
    pthread_mutex_init(&t->lock, NULL);
    t->hands = calloc(options->width, sizeof(*t->hands));
    t->dirs = calloc(TOUR_PENDING + options->width, sizeof(struct dir *));
    if (t->hands == NULL || t->dirs == NULL) {
        tour_destroy(t);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < options->width; i++) {
        t->hands[i] = (struct hand){.offer = {.run = hand_run}, .tour = t, .next = t->resting};
        t->resting = &t->hands[i];
        t->resting_count++;
    }
    *out_tour = t;
    return 0;
}

bool tour_whole(const struct tour *t)
{
    return !atomic_load(&t->cut);
}

void tour_destroy(struct tour *t)
{
    if (t != NULL) {
        pthread_mutex_destroy(&t->lock);
        free(t->hands);
        free(t->dirs);
        free(t);
    }
}

/* There is one thing more to be done: one hand more, if one rests. Under the lock, which is given up. */
static void call_hand(struct tour *t)
{
    struct hand *hand = t->resting;
    if (hand != NULL) {
        t->resting = hand->next;
        t->resting_count--;
    }
    pthread_mutex_unlock(&t->lock);
    if (hand != NULL) {
        pool_offer(t->options.pool, &hand->offer);
    }
}

/* dir waits; its reference is the tour's. False: as many wait as may, and whoever brings them is to pause. */
static bool push_dir(struct tour *t, struct dir *dir)
{
    pthread_mutex_lock(&t->lock);
    t->dirs[t->dir_count++] = dir;
    bool more = t->dir_count < TOUR_PENDING;
    call_hand(t);
    return more;
}

bool tour_add(struct tour *t, struct tour_task *task)
{
    pthread_mutex_lock(&t->lock);
    if (t->task_count >= TOUR_TASKS) {
        pthread_mutex_unlock(&t->lock);
        return false;
    }
    task->next = t->tasks;
    t->tasks = task;
    t->task_count++;
    call_hand(t);
    return true;
}

void tour_start(struct tour *t, struct dir *root)
{
    (void)push_dir(t, dir_get(root));
}

/* The next thing to be done; what has been begun comes before what has not. False: there is none, and the hand rests;
 * *out_over: as all others do, for the first time. */
static bool take(struct hand *hand, struct taken *out, bool *out_over)
{
    struct tour *t = hand->tour;

    *out = (struct taken){0};
    pthread_mutex_lock(&t->lock);
    if (t->tasks != NULL) {
        out->task = t->tasks;
        t->tasks = out->task->next;
        t->task_count--;
    } else if (t->dir_count > 0) {
        out->dir = t->dirs[--t->dir_count];
    } else if (t->aside != NULL) {
        out->visit = t->aside;
        t->aside = out->visit->next;
    } else {
        hand->next = t->resting;
        t->resting = hand;
        t->resting_count++;
        *out_over = !t->over && t->resting_count == t->options.width;
        t->over = t->over || *out_over;
    }
    pthread_mutex_unlock(&t->lock);
    return out->task != NULL || out->dir != NULL || out->visit != NULL;
}

/* Gives up the descriptor of a listing that has to wait, and puts it aside. */
static void put_aside(struct tour *t, struct port *port, struct visit *v)
{
    struct store_op park = {.code = STORE_LIST_PARK, .dir = v->visit.dir, .list = {.list = &v->list}};

    (void)store_run(port, &park); /* one that cannot be parked stays open */
    pthread_mutex_lock(&t->lock);
    v->next = t->aside;
    t->aside = v;
    call_hand(t);
}

static void finish(struct tour *t, struct port *port, struct visit *v, int err, const struct store_op *op)
{
    t->options.end(t->options.arg, &v->visit, err, op, v->some);
    if (v->list != NULL) {
        struct store_op close = {.code = STORE_LIST_CLOSE, .dir = v->visit.dir, .list = {.list = &v->list}};
        (void)store_run(port, &close); /* nothing was written through it */
    }
    dir_put(v->visit.dir);
    free(v);
}

/* A directory was met. 0; -EAGAIN: it waits, and no more can; -errno. */
static int meet(struct tour *t, struct visit *v, const struct store_entry *entry)
{
    struct dir *child = NULL;
    int err = dir_create_child(v->visit.dir, entry->name, entry->name_len, &child);
    if (err != 0) {
        return err;
    }
    return push_dir(t, child) ? 0 : -EAGAIN;
}

/* Goes on with a listing to its end, or until it has to be put aside. */
static void go_on(struct tour *t, struct visit *v, struct worker *w)
{
    struct port *port = t->options.port(t->options.arg, w);
    struct store_op op = {.code = STORE_LIST_NEXT};
    int err = 0;

    v->visit.worker = w;
    while (err == 0) {
        struct store_entry entry = {0};
        if (worker_stopping(w)) {
            atomic_store(&t->cut, true);
            err = -ECANCELED;
            break;
        }
        op = (struct store_op){.code = STORE_LIST_NEXT, .dir = v->visit.dir, .list = {.list = &v->list, .out = &entry}};
        err = store_run(port, &op);
        if (err != 0 || entry.name == NULL) {
            break;
        }
        v->some = true;
        if (t->options.entry(t->options.arg, &v->visit, &entry)) {
            err = meet(t, v, &entry);
        }
        if (err == -EAGAIN) {
            put_aside(t, port, v);
            return;
        }
    }
    finish(t, port, v, err, &op);
}

/* dir's reference is the visit's. */
static void begin(struct tour *t, struct dir *dir, struct worker *w)
{
    struct port *port = t->options.port(t->options.arg, w);
    struct store_op op = {.code = STORE_LIST_OPEN, .dir = dir};

    if (worker_stopping(w)) {
        atomic_store(&t->cut, true);
        dir_put(dir);
        return;
    }
    struct visit *v = calloc(1, sizeof(*v));
    if (v == NULL) {
        struct tour_visit none = {.dir = dir, .worker = w};
        t->options.end(t->options.arg, &none, -ENOMEM, &op, false);
        dir_put(dir);
        return;
    }
    v->visit = (struct tour_visit){.dir = dir, .worker = w};
    if (t->options.begin != NULL && t->options.begin(t->options.arg, &v->visit) != 0) {
        dir_put(dir);
        free(v);
        return;
    }
    op.list.list = &v->list;
    op.list.want_attr = t->options.want_attr;
    int err = store_run(port, &op);
    if (err != 0) {
        finish(t, port, v, err, &op);
    } else {
        go_on(t, v, w);
    }
}

static void hand_run(struct pool_offer *offer, struct worker *w)
{
    struct hand *hand = (struct hand *)offer; /* its first field */
    struct tour *t = hand->tour;
    struct taken taken;
    bool over = false;

    while (take(hand, &taken, &over)) {
        if (taken.task != NULL) {
            taken.task->run(taken.task, w);
        } else if (taken.visit != NULL) {
            go_on(t, taken.visit, w);
        } else {
            begin(t, taken.dir, w);
        }
    }
    if (over && t->options.over != NULL && tour_whole(t)) {
        if (worker_stopping(w)) {
            atomic_store(&t->cut, true); /* what would have been done then is not */
        } else {
            t->options.over(t->options.arg, w);
        }
    }
}
