/*
 * left: the directories in which a sync leaves something undone, since it failed or its time was over, and since when.
 * The next run begins with them, those that have waited longest before the others.
 *
 * Bounded: of more than LEFT_MAX directories the ones that were met first are remembered; the others are found by the
 * walk, in its own order.
 */
#ifndef HAUL_COPIER_LEFT_H
#define HAUL_COPIER_LEFT_H

#include "base/dir.h"
#include "copier/state.h"

#define LEFT_MAX 1024U

struct left;

/* What earlier runs have left, as the state tells; now_ns: wall clock at which this run began. 0 or -errno. Blocks. */
int left_create(struct state *s, int64_t now_ns, struct left **out_left);
void left_destroy(struct left *l); /* NULL is fine */

/* What is to be walked first: paths, valid as long as l is. */
const char *const *left_first(const struct left *l, size_t *out_count);

/* Something in dir, or dir itself, is left undone by this run. Any thread. */
void left_add(struct left *l, const struct dir *dir);

/* At the end of the run: what is left from now on. complete: the walk has met everything, so that nothing else is left
 * from earlier runs. Before state_run_end. 0 or -errno. Blocks. */
int left_keep(struct left *l, struct state *s, bool complete);

#endif
