/*
 * partials: the large files that earlier runs have left unfinished at the destination, and what becomes of each in this
 * run: it is taken up, or its temp name is removed, or it stays for the next run. All functions take NULL for the set:
 * it is empty then. Any thread but where it says otherwise.
 */
#ifndef HAUL_COPIER_PARTIALS_H
#define HAUL_COPIER_PARTIALS_H

#include "copier/state.h"

struct engine;
struct partials;

/* Reads them from e->state (NULL: there are none). After state_run_begin, before anything is purged. 0 or -errno. */
int partials_create(const struct engine *e, struct partials **out_partials);
void partials_destroy(struct partials *p);

/* One that was left of that entry, whatever it is worth; it is the caller's until partials_keep or partials_over. Its
 * name is valid while p is. False: there is none (any more). */
bool partials_take(struct partials *p, uint64_t dir_id, const char *name, struct state_partial *out_partial);

/* Whether it may be taken up for a source with these attributes: it is of that source and young enough. */
bool partials_fits(const struct partials *p, const struct state_partial *partial, const struct attr *src);

/* The caller has done with it, and it stays for the next run. */
void partials_keep(struct partials *p, const char *temp);

/* Its temp name is gone, or is not to be kept any more; one of this run too. Has the state forget it. */
void partials_over(const struct engine *e, const char *temp);

/* What is left of that entry is of no use: it is right at the destination. */
void partials_useless(struct partials *p, uint64_t dir_id, const char *name);

/* Whether the janitor must leave that temp name of a dead run alone. */
bool partials_holds(struct partials *p, const char *temp);

/* At the end of a run that has met everything, after the pool: removes those that no run will take up, since the source
 * is another one by now, or gone, or they are too old. The main thread; waits. */
void partials_sweep(struct engine *e);

#endif
