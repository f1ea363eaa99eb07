/*
 * upkeep: the janitor's part in one run: what it looks at again, how that is published again and reported, and which
 * directories it purges.
 */
#ifndef HAUL_COPIER_UPKEEP_H
#define HAUL_COPIER_UPKEEP_H

#include "copier/engine_internal.h"

struct upkeep;

/* After begin_run, before the pool. Nothing (e->upkeep stays NULL) where there is nothing to be done. 0 or -ENOMEM. */
int upkeep_create(struct engine *e);

/* Starts the janitor, when there is a pool. 0 or -EAGAIN. */
int upkeep_start(struct engine *e);

/* The walk has met dir, which stood at the destination before, and sees itself whether there are temp names in it. Any
 * thread. plan_options.met. */
void upkeep_met(void *arg, const struct dir *dir);

/* An entry was published: from inside its item. */
void upkeep_published(struct engine *e, struct dir *dir, const char *name, const struct attr *src,
                      const struct attr *dst);

/* Whether a temp name of that run may go, and no others' of dir. For struct temps_rules; arg: struct engine *. */
struct temps_rules upkeep_temps(struct engine *e);

/* The walk is over and no item is under way. plan_options.idle. */
void upkeep_idle(void *arg);

/* Nothing is looked at or purged any more. Any thread, does not block. */
void upkeep_stop(struct engine *e);

/* After pool_join: waits for the purge, and has the state remember that it came through. Before the run's end in the
 * state. */
void upkeep_join(struct engine *e);

/* After upkeep_join, before planner, state and destination go. */
void upkeep_destroy(struct engine *e);

#endif
