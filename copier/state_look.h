/*
 * state_look: a state file looked at beside a run that may be working with it. Nothing is changed, no lock is taken,
 * and no transaction is left open.
 */
#ifndef HAUL_COPIER_STATE_LOOK_H
#define HAUL_COPIER_STATE_LOOK_H

#include "copier/state.h"

struct state_look;

/* 0; -ENOENT; -EBADMSG: it is none of haul's, or damaged; -EPROTO: a newer haul's; -errno. Blocks, like all below. A
 * look belongs to one thread at a time. */
int state_look_open(const char *path, struct state_look **out_look);
void state_look_close(struct state_look *l); /* NULL is fine */

/* Its pair, as state_pair; as long as the look is open. */
const char *state_look_source(const struct state_look *l);
const char *state_look_destination(const struct state_look *l);

/* When its newest run began, wall clock, ns; 0: there is none, or it cannot be told. */
int64_t state_look_newest(struct state_look *l);

/* The run of that id, or the look of that id that has ended: 0, -ENOENT, -errno. *out_lives: it has not ended, and some
 * process holds the lock of the state, or may: where that is on a network file system nobody can tell. */
int state_look_run(struct state_look *l, const char *run_id, bool *out_lives);

/* When the part of a large file under that temp name was last worked at, wall clock: 0, -ENOENT: none is recorded under
 * it, -errno. */
int state_look_partial(struct state_look *l, const char *temp, int64_t *out_touched_ns);

/* What is remembered of an entry: 0, -ENOENT, -errno. out_file->name is set to name; racy and hash count as of
 * state_lookup. *out_sure: it stands there as it says, as far as is known: neither announced only (then only the name
 * counts), nor in doubt, nor of an epoch that was lost with its boot. */
int state_look_entry(struct state_look *l, uint64_t dir_id, const char *name, struct state_file *out_file,
                     bool *out_sure);

#endif
