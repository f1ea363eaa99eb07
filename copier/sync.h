/*
 * sync: what "haul sync" adds to a run: which destination it is about, what is trusted, what may be removed.
 *
 * `.haul/sync` in the destination's root holds the destination's id and the id of the last run that changed something
 * there. The state remembers both. So a destination that is not mounted, or is another one, is noticed, and so is a
 * state that is older than the destination: then nothing is trusted, and nothing removed.
 */
#ifndef HAUL_COPIER_SYNC_H
#define HAUL_COPIER_SYNC_H

#include "copier/engine_internal.h"

struct copy_job;

/* Before anything is made: a destination that is remembered and missing is refused. 0 or an exit status after a
 * message.
 */
int sync_expect(struct engine *e);

/* Whether there may be nothing to be done at the destination, as far as can be told before the walk: the state is that
 * of a run that has ended well, and nobody works there. Then the lease is taken by engine_own alone. Blocks. */
bool sync_may_idle(struct engine *e);

/* Once the lease was taken late: whether the destination is still that which sync_check has seen. 0, or -errno after a
 * message. Blocks. */
int sync_still(struct engine *e);

/* Once the lease is taken, or put off, and the run has begun: looks at `.haul/sync`. 0 or an exit status after a
 * message. Blocks. */
int sync_check(struct engine *e);

/* After the run's work: a source that has become empty is told of where nothing else tells. Blocks. */
void sync_over(struct engine *e);

/* Once the run has begun: what earlier ones have left. 0 or an exit status after a message. Blocks. */
int sync_begin(struct engine *e);

/* Before the run ends in the state: what it leaves is remembered. 0 or -errno. Blocks. */
int sync_keep_left(struct engine *e);

/* Adds to what the planner is told. Nothing for a run that is no sync. */
void sync_plan(struct engine *e, struct plan_options *options);

/* copysync.c, pool side: ITEM_CHECK and ITEM_REMOVE, as copy_item has it. */
int copy_check(struct copy_job *job);

/* The hash (filehash.h) of dir/name's contents on that side, and its attributes before and after they were read. 0, or
 * -errno with job->op; -ECANCELED: the run is being stopped. In a fiber of job->worker. */
int copy_hash(struct copy_job *job, bool on_source, struct dir *dir, const char *name, uint8_t out_hash[16],
              struct attr *before, struct attr *after);
/* ITEM_ATTRS of a sync, as copy_item has it: what stands there then is remembered. */
int copy_retouch(struct copy_job *job);
int copy_remove(struct copy_job *job);

#endif
