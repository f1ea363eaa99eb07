/*
 * state_mend: what a repair has the state of its destination remember: what stands there now, so that the next sync
 * finds nothing to be done.
 *
 * Before the first change all that is to be mended is doubted: killed at any moment, the next run looks at it again.
 * Once it is durable what was mended is written down as it is, and the doubt is taken back of what was left alone. In
 * short transactions of its own; no run works with the state meanwhile, since the repair holds the destination's lease.
 *
 * Any thread, one at a time; all functions block.
 */
#ifndef HAUL_COPIER_STATE_MEND_H
#define HAUL_COPIER_STATE_MEND_H

#include "copier/state.h"

struct state_mend;

/* Opens the state at path, which ledger_open has brought up to date. 0; -EBADMSG, -EPROTO, -errno. */
int state_mend_open(const char *path, struct state_mend **out_mend);
void state_mend_close(struct state_mend *m); /* NULL is fine; what was not committed is dropped */

/* All functions below belong between these two: one transaction, synced. 0 or -errno; after -errno nothing is written.
 */
int state_mend_begin(struct state_mend *m);
int state_mend_commit(struct state_mend *m);

/* The entry is about to be changed. *out_set: it was not in doubt before. 0 or -errno, which commit tells too. */
int state_mend_doubt(struct state_mend *m, uint64_t dir_id, const char *name, bool *out_set);

/* It was left as it was: the doubt that was set goes. The same. */
int state_mend_trust(struct state_mend *m, uint64_t dir_id, const char *name);

/* It was published anew, durably. dir_path: of its directory, which the state may not know yet. The same. */
int state_mend_published(struct state_mend *m, const struct state_file *file, const char *dir_path);

/* Its attributes were set: dst stands there now, where the state knows it at all; set: the doubt was ours, and goes.
 * The same. */
int state_mend_attrs(struct state_mend *m, uint64_t dir_id, const char *name, const struct attr *dst, bool set);

/* It is gone. The same. */
int state_mend_gone(struct state_mend *m, uint64_t dir_id, const char *name);

#endif
