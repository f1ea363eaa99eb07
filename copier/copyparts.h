/*
 * copyparts: a large file in parts of PART_SIZE, which several workers read, hash and write at once.
 *
 * The fiber that has the file (the leader) takes one part after the other; so do helpers in whichever workers have
 * room (pool_offer). What is copied does not depend on whether any helper ever comes.
 *
 * Each part that stands at the destination is recorded in the state, so that the next run goes on after it: at once
 * where the destination is local (state.h says what of it outlives a power cut), else once a STORE_FLUSH has passed.
 */
#ifndef HAUL_COPIER_COPYPARTS_H
#define HAUL_COPIER_COPYPARTS_H

#include "copier/copyfile.h"

#define PART_SIZE (16ULL * 1024 * 1024) /* bytes; the unit of large hashes too: never to be changed */

struct parts;

/* What is to be copied. */
struct parts_options {
    struct copy_job *job;                /* its engine, worker and item; not owned */
    struct store_file *file;             /* open source file, or the staged one */
    bool staged;                         /* it is the staged one */
    struct store_upload *upload;         /* begun */
    const struct attr *before;           /* of the source file when it was opened; copied */
    int64_t read_ns;                     /* staged: wall clock when the source was read; else 0 */
    const struct state_partial *partial; /* recorded already; its parts are to be too; copied, but for the name; NULL:
                                            nothing is recorded */
};

/* 0 or -ENOMEM. */
int parts_create(const struct parts_options *options, struct parts **out_parts);
/* Not while helpers run: after parts_run, unless parts_are_lost. NULL is fine. */
void parts_destroy(struct parts *p);

/* An earlier run has left that part there: it is not copied again. hash NULL: unknown. Before parts_run. */
void parts_have(struct parts *p, uint64_t part, const uint8_t *hash);
/* Bytes of what parts_have told. */
uint64_t parts_there(const struct parts *p);

/* The stores copy between themselves (STORE_COPY), from at on; what is before it is copied already, and what its hash
 * is remains unknown. Before parts_run. */
void parts_copied(struct parts *p, uint64_t at);

/* Copies all parts. 0; -ERR_CHANGED, -ECANCELED, -errno with job->op, job->on_source, job->on_stage. No helper runs
 * when it returns, unless one was given up: parts_are_lost. The leader's fiber; waits. */
int parts_run(struct parts *p);

/* A helper was given up: what it works on may still be in use by the kernel, and neither parts, file nor upload may
 * ever be ended. out_waited_ns: how long it had waited. After parts_run. */
bool parts_are_lost(const struct parts *p, int64_t *out_waited_ns);

/* The leader was given up: helpers go home. Nothing is freed. Any thread. */
void parts_abandon(struct parts *p);

/* Whether parts of it are in the state, so that it is worth keeping. */
bool parts_recorded(const struct parts *p);

/* Bytes written so far. Any thread. */
uint64_t parts_moved(const struct parts *p);

/* XXH3-128 over the XXH3-128 of all parts. False: unknown. After parts_run has returned 0. */
bool parts_hash(const struct parts *p, uint8_t out[16]);

#endif
