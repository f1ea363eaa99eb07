/*
 * support_plan: a planner between two directories, with a small copier behind it, for tests.
 */
#ifndef HAUL_TESTS_SUPPORT_PLAN_H
#define HAUL_TESTS_SUPPORT_PLAN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/notice.h"
#include "planner/planner.h"
#include "workers/store.h"

#define PLAN_TRY_TEXT 65536

struct plan_try {
    /* set by the test, after plan_try_init */
    struct plan_options options; /* src and dst are opened from the directories below unless they are set */
    char *src;                   /* path of a directory of its own; owned */
    char *dst;                   /* the same */
    unsigned workers;            /* threads that carry out items; 0: 2 */
    size_t queue;                /* capacity of the queue in shards; 0: 64 */
    unsigned handles;            /* directory descriptors that each store may keep; 0: 64 */
    int (*meddle)(struct plan_try *t, const struct item *item); /* before an item: an error (-errno) is its result */
    bool (*purge)(struct plan_try *t, struct dir *dir);         /* in options.existing; its answer. NULL: false */
    void *own;                                                  /* the test's */

    /* results */
    pthread_mutex_t lock;       /* for the following while it runs */
    char failed[PLAN_TRY_TEXT]; /* a line a failure: "op path ERRNO side[ below]\n" */
    unsigned failures;          /* of the planner */
    unsigned errors;            /* items whose result was no success */
    unsigned kinds[7];          /* items by kind */
    unsigned shards;            /* pushed */
    unsigned existing;          /* calls of options.existing */
    unsigned same;              /* calls of options.same */
    struct notices *notices;    /* raised */
    struct plan_counts counts;  /* at the end */
    struct planner *planner;    /* while it runs */
    struct queue *channel;      /* while it runs */
};

/* Two new directories, empty and named after what; release removes them. */
void plan_try_init(struct plan_try *t, const char *what);
void plan_try_release(struct plan_try *t);

/* Runs planner and copier to the end; run_well expects that nothing fails. */
void plan_try_run(struct plan_try *t);
void plan_try_run_well(struct plan_try *t);

/* Creates the planner and destroys it. */
void plan_try_create_only(struct plan_try *t);

/* The same, but nobody takes shards until the queue is full and the planner was stopped. */
void plan_try_run_stopped(struct plan_try *t);

/* Ends the test where rsync sees a difference between the two trees (contents, all attributes, hard links, times of
 * directories if dir_times). */
void plan_try_same(const struct plan_try *t, bool dir_times);

#endif
