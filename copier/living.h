/*
 * living: which runs live, so that nothing of theirs is touched: by what the states on this machine remember of them,
 * and by the leases at the destination.
 *
 * Any thread; all of it may block or wait.
 */
#ifndef HAUL_COPIER_LIVING_H
#define HAUL_COPIER_LIVING_H

#include "cleanup/stale.h"
#include "copier/engine_internal.h"

struct living;

/* Reads nothing yet. 0 or -ENOMEM. */
int living_create(struct engine *e, struct living **out_living);
void living_destroy(struct living *l); /* NULL is fine */

/*
 * Asks once for each run, whenever its first temp name has been seen. The states tell that it is dead (it has ended, or
 * its process is gone), or that it lives; of a run that none of them knows the leases at dir, above it, and above the
 * destination's root are looked at: RUN_LIVES where one is its own, or where one cannot be read; else RUN_UNKNOWN.
 * port: the caller's, of the destination.
 *
 * *out_since_ns, which may be NULL: CLOCK_MONOTONIC, when it was asked for. What was seen before that may be of a run
 * that has published it and ended since: then there is nothing left of it, as a second look tells.
 *
 * A run has its lease, and its row in a state, before it makes a temp name: so what was seen before it was asked for
 * cannot be of a run that is missed; but for the copy of a single file, from another machine, which takes no lease.
 */
enum stale_run living_ask(struct living *l, struct port *port, struct dir *dir, const char *run_id,
                          int64_t *out_since_ns);

/* When what stands under that temp name, a part of a large file, was last worked at, as some state of this machine
 * says; 0: none does. */
int64_t living_partial(struct living *l, const char *temp);

#endif
