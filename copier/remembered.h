/*
 * remembered: the state that remembers what was published at a destination, for whoever looks at that: found by the
 * destination, read through a look for each worker.
 */
#ifndef HAUL_COPIER_REMEMBERED_H
#define HAUL_COPIER_REMEMBERED_H

#include "copier/engine_internal.h"
#include "copier/state_look.h"

struct remembered;

/*
 * The state of --state; else of those on this machine the one to e's destination, and from its source where it has one,
 * whose newest run is the latest. *out_remembered is NULL where there is none. 0, or an exit status after a message:
 * --state names one that cannot be read, or that is another destination's. Blocks.
 */
int remembered_find(struct engine *e, struct remembered **out_remembered);
void remembered_destroy(struct remembered *r); /* NULL is fine; all workers have ended */

/* The state file; "" for NULL. */
const char *remembered_path(const struct remembered *r);

/* What is remembered of an entry (state_look_entry), in the thread of worker w. r NULL: -ENOENT. -errno is also told by
 * remembered_error. Blocks. */
int remembered_entry(struct remembered *r, struct worker *w, const struct dir *dir, const char *name,
                     struct state_file *out_file, bool *out_sure);

/* The first -errno of a look that failed; 0. */
int remembered_error(const struct remembered *r);

#endif
