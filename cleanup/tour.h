/*
 * tour: goes through all directories of a store by their listings, many at a time, in the fibers of a pool; and what
 * is to be done besides for single entries, as tasks.
 *
 * Memory is bounded, however wide a directory is: at most TOUR_PENDING directories wait. Where more are met the
 * listing that brings them is put aside (parked), and gone on with when nothing else is left; so besides one for each
 * fiber only listings on the way to the present directories are aside.
 *
 * All functions but tour_create, tour_start and tour_destroy are called from inside the functions of options.
 */
#ifndef HAUL_CLEANUP_TOUR_H
#define HAUL_CLEANUP_TOUR_H

#include <stdbool.h>

#include "workers/pool.h"
#include "workers/store.h"

struct tour;

#define TOUR_PENDING 4096U  /* directories that wait at most, and as many more as there are fibers */
#define TOUR_TASKS   16384U /* tasks that wait at most */

/* One directory, from begin to end. Never in two threads at a time, but not always in the same. */
struct tour_visit {
    struct dir *dir;       /* the tour's reference */
    struct worker *worker; /* in whose fiber the present call is */
    void *own;             /* the user's; NULL before begin */
};

/* Something to be done besides. In its owner's storage; the tour does not touch it any more once run was called. */
struct tour_task {
    struct tour_task *next;                                /* the tour's until run is called */
    void (*run)(struct tour_task *task, struct worker *w); /* in a fiber; set before tour_task */
};

struct tour_options {
    struct pool *pool; /* not owned; outlives the tour */
    unsigned width;    /* directories and tasks under way at a time */
    bool want_attr;    /* entries come with their attributes */
    void *arg;         /* for the functions below, which are called in fibers of workers and may wait */
    /* The worker's port of the store. */
    struct port *(*port)(void *arg, struct worker *w);
    /* Before the directory is listed. 0; else it is not, and end is not called. May be NULL. */
    int (*begin)(void *arg, struct tour_visit *v);
    /* One entry, valid during the call. True: it is a directory, and the tour goes into it. */
    bool (*entry)(void *arg, struct tour_visit *v, const struct store_entry *entry);
    /* After the listing: err 0: to its end, -ECANCELED: the pool is being stopped, else how op failed; broken: after
     * some entries had come. Also called where it could not be opened. */
    void (*end)(void *arg, struct tour_visit *v, int err, const struct store_op *op, bool broken);
    /* Everything was gone through and no task is left, for the first time: may add tasks. Not where the pool was
     * stopped before. May be NULL. */
    void (*over)(void *arg, struct worker *w);
};

/* options are copied. 0 or -ENOMEM. */
int tour_create(const struct tour_options *options, struct tour **out_tour);

/* Begins with root, of which the tour takes a reference. While the pool is held, which ends once the tour is over and
 * nobody holds it any more. Any thread; does not block. */
void tour_start(struct tour *t, struct dir *root);

/* Puts a task behind those that wait; run is called before further directories are begun, in another order than they
 * were put. False: too many wait, and it is the caller's to do it at once. */
bool tour_add(struct tour *t, struct tour_task *task);

/* Whether everything that was met was gone through or told as failed: the pool was not stopped before. After pool_join.
 */
bool tour_whole(const struct tour *t);

/* After pool_join. NULL is fine. */
void tour_destroy(struct tour *t);

#endif
