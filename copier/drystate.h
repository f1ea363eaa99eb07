/*
 * drystate: the state of a sync that changes nothing: a copy in $TMPDIR, of which nothing is left at the end.
 */
#ifndef HAUL_COPIER_DRYSTATE_H
#define HAUL_COPIER_DRYSTATE_H

#include "copier/engine_internal.h"

/* Opens a copy of e->state_path as e->state, an empty one where there is none. 0; -EBADMSG: it is damaged, or none of
 * haul's; as state_open, or -errno. drystate_drop is due whatever comes of it. Blocks. */
int drystate_open(struct engine *e, const struct state_pair *pair);

/* After state_close: removes the copy. Nothing where there is none. */
void drystate_drop(struct engine *e);

#endif
