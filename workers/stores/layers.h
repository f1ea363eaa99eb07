/*
 * layers: stores that stand before another store and change one thing each; and the null store.
 *
 * Each x_wrap takes over next: the layer owns it from then on, after a failure too (next is destroyed then).
 */
#ifndef HAUL_STORES_LAYERS_H
#define HAUL_STORES_LAYERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "workers/store.h"

/* retry: repeats what failed with a transient error, with exponential back-off and jitter. */
struct retry_options {
    unsigned retries;      /* repeats after the first try; 0: none */
    int64_t delay_ns;      /* before the first repeat; doubled each time, x 0.5..1.5 */
    int64_t delay_max_ns;  /* never longer */
    bool on_source;        /* class errors as a source's */
    atomic_ulong *counter; /* gains 1 for each repeat; may be NULL; outlives the store */
};
int retry_wrap(struct store *next, const struct retry_options *options, struct store **out_store);

/* throttle: at most bytes_per_second of PUBLISH, WRITE and COPY over all ports (token bucket, 100 ms deep; in order of
 * arrival). -EINVAL for 0. PUBLISH and WRITE wait beforehand, and are -ECANCELED and not carried out where
 * io_cancel_sleeps cut that short. COPY is charged, and waits, afterwards, for what it copied; where next has no
 * caps.network it is a clone and is not charged. */
int throttle_wrap(struct store *next, uint64_t bytes_per_second, struct store **out_store);

/* The same of operations, whatever they carry, COPY too: each waits for its place before it is carried out. What ends a
 * handle is charged without waiting (CLOSE is free); a whole listing is one. */
int throttle_operations_wrap(struct store *next, uint64_t operations_per_second, struct store **out_store);

/* fault: for tests. Counts the operations whose code is in codes (bit 1 << code; 0: all) and lets the Nth fail, with
 * step "fault". What is taken from the caller by an operation (a handle it ends) is taken by its failure too. */
enum fault_kind {
    FAULT_BEFORE, /* err, and the store below never saw it */
    FAULT_AFTER,  /* carried out below, then err: a lost reply */
    FAULT_SHORT,  /* WRITE, COPY, READ: half of the bytes, then err; PUBLISH: half of them under a temp name, which is
                     given up, then err; others: as before */
    FAULT_KILL,   /* the process kills itself with SIGKILL */
};
struct fault_options {
    uint64_t nth;   /* 1-based; 0: never */
    uint64_t count; /* how many in a row fail from the nth on; 0: one */
    int err;        /* positive errno */
    enum fault_kind kind;
    uint64_t codes;     /* mask of store codes */
    atomic_ulong *seen; /* operations counted; may be NULL; outlives the store */
};
int fault_wrap(struct store *next, const struct fault_options *options, struct store **out_store);
/* From "NTH[+COUNT]:ERRNO[:before|after|short|kill][:code,code...]" ("3:EIO:after:publish,commit"). 0 or -EINVAL. */
int fault_parse(const char *text, struct fault_options *out_options);

/* remap: a source whose entries have other modes and owners than they really have: what is wished for (--chmod,
 * --chown), in every attribute that it hands out, access ACLs included. Symbolic links keep their mode. */
struct remap_options {
    mode_t (*mode)(const void *arg, mode_t mode); /* type and bits to type and bits; NULL: as they are. Any thread */
    const void *arg;                              /* for mode; outlives the store */
    uid_t uid;                                    /* of every entry; -1: as it is */
    gid_t gid;                                    /* of every entry; -1: as it is */
};
int remap_wrap(struct store *next, const struct remap_options *options, struct store **out_store);

/* dry: a destination that takes every change and makes none; looking goes to next. For --dry-run. */
int dry_wrap(struct store *next, struct store **out_store);

/* claim: a destination that ask is asked for before anything is changed there: 0 lets the change pass, -errno is what
 * it ends with (step "lease"). ask is called before every change, by any thread and fiber, and may block; it is for ask
 * to remember that it has let one pass. */
int claim_wrap(struct store *next, int (*ask)(void *arg), void *arg, struct store **out_store);

/* null: a destination without anything behind it: takes every change, holds nothing. Measures the core alone. */
int null_open(const struct store_options *options, struct store **out_store);

#endif
