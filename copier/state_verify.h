/*
 * state_verify: what a verification remembers, so that the next one goes on where it was interrupted, and hashes that
 * it has found out.
 *
 * Verifications are numbered. One that was not ended is gone on with by the next; once it is over the next begins anew.
 * What was found right is kept as a digest of all that it depends on (which the caller makes): of a directory as a
 * whole, or of a single entry in it.
 *
 * Beside a run that works with the same state: transactions are short, and no lock of the state is taken.
 */
#ifndef HAUL_COPIER_STATE_VERIFY_H
#define HAUL_COPIER_STATE_VERIFY_H

#include "copier/state.h"

struct state_verify;

#define VERIFIED_DIGEST 16 /* bytes */

/* Goes on with the verification that was not ended, or with fresh, or where there is none, begins the next. s outlives
 * it. 0, -ENOMEM, -errno. Blocks. */
int state_verify_begin(struct state *s, bool fresh, struct state_verify **out_verify);

/* Its number, and whether it goes on with what an earlier process began. */
int64_t state_verify_number(const struct state_verify *v);
bool state_verify_goes_on(const struct state_verify *v);

/* An entry of that directory was found right, or with name NULL all of its files. Copied; written soon. Any thread; may
 * block while what was noted before is written. */
void state_verify_note(struct state_verify *v, uint64_t dir_id, const char *name,
                       const uint8_t digest[VERIFIED_DIGEST]);

/* The contents of a source entry with these attributes have that hash: remembered where the state has such an entry
 * without a hash. The same. */
void state_verify_fill(struct state_verify *v, uint64_t dir_id, const char *name, const struct attr *src,
                       const uint8_t hash[16]);

/* Whether this verification has noted that digest. False too where it cannot be read. */
bool state_verify_has(struct state_verify *v, struct state_reader *r, uint64_t dir_id, const char *name,
                      const uint8_t digest[VERIFIED_DIGEST]);

/* Writes what is left; over: the verification has come to its end. Frees v, NULL is fine. *out_filled: hashes that were
 * filled in (may be NULL). 0, or the first -errno that something met: then not everything is remembered. Blocks. */
int state_verify_end(struct state_verify *v, bool over, uint64_t *out_filled);

#endif
