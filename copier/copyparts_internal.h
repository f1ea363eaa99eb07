/*
 * copyparts_internal: what copyparts.c (which part is whose, what is recorded, the whole) and copypart.c (one part)
 * share.
 */
#ifndef HAUL_COPIER_COPYPARTS_INTERNAL_H
#define HAUL_COPIER_COPYPARTS_INTERNAL_H

#include <pthread.h>

#include "copier/copyparts.h"
#include "copier/hash.h"

/* Who works at it: the leader, or one helper. */
struct runner {
    struct parts *parts;   /* not owned */
    struct worker *worker; /* not owned */
    struct copy_job *job;  /* the leader's; NULL: a helper */
    struct port *src;      /* of the source, or of the temp dir; not owned */
    struct port *dst;      /* not owned */
    struct store_op op;    /* the last operation */
    bool on_source;        /* whose it was */
    XXH3_state_t *hash;    /* of the present part; owned */
    char *buffer;          /* worker's; NULL: none */
    unsigned generation;   /* parts.generation when the present part was begun */
};

struct helper {
    struct pool_offer offer; /* first */
    struct parts *parts;     /* not owned */
};

struct parts {
    struct engine *engine;       /* not owned */
    struct worker *worker;       /* the leader's; its thread only; not owned */
    struct io *io;               /* the leader's; not owned */
    struct pool *pool;           /* not owned */
    struct copy_job *job;        /* the leader's; its fiber only */
    struct dir *dir;             /* for whoever asks what is under way; not owned */
    const char *src_name;        /* the same */
    const char *dst_name;        /* the same */
    struct store_file *file;     /* not owned */
    struct store_upload *upload; /* not owned */
    struct attr before;          /* of the source; constant */
    int64_t read_ns;             /* see parts_options; constant */
    uint64_t count;              /* parts; constant */
    size_t buffer_size;          /* bytes; constant */
    bool staged;                 /* see parts_options; constant */
    bool zeros;                  /* runs of zeros are left out; constant */
    bool extents;                /* the source, or the temp dir, is asked where its holes are; constant */
    bool flushes;                /* parts are recorded after a flush; constant */
    bool recording;              /* parts go into the state; constant */
    uint8_t (*hashes)[16];       /* of each part; owned; NULL: unknown; an entry is its runner's until PART_DONE */

    atomic_bool copying;  /* the stores copy between themselves */
    atomic_ullong moved;  /* bytes written */
    atomic_bool stop;     /* err is set */
    atomic_bool recorded; /* some part is in the state */

    pthread_mutex_t lock;         /* for all that follows; held for moments only */
    unsigned char *marks;         /* of each part; owned; NULL: none are kept */
    uint64_t next;                /* parts before it were begun */
    uint64_t data;                /* from here on the source is known to hold data */
    uint64_t data_end;            /* up to here */
    uint64_t there;               /* bytes of an earlier run */
    unsigned running;             /* helpers, and offers of them */
    bool awaited;                 /* the leader waits for running to become 0 */
    struct io_post post;          /* and is told by this */
    bool lost;                    /* a helper was given up */
    int64_t lost_ns;              /* after so long */
    int err;                      /* first failure, -errno */
    struct store_op op;           /* and its operation */
    bool on_source;               /* and whose it was */
    bool flushing;                /* somebody flushes */
    unsigned generation;          /* counts flushes that failed */
    uint64_t unflushed;           /* bytes of parts that wait for a flush */
    int64_t flushed_ns;           /* monotonic, of the last flush */
    struct state_partial partial; /* where recording; all but touched_ns is constant */
    struct helper helpers[];      /* HELPERS_MAX */
};

static inline uint64_t part_begin(uint64_t part)
{
    return part * PART_SIZE;
}

static inline uint64_t part_end(const struct parts *p, uint64_t part)
{
    uint64_t end = (part + 1) * PART_SIZE;
    return end < p->before.size ? end : p->before.size;
}

static inline bool part_is_stopping(const struct parts *p)
{
    return atomic_load_explicit(&p->engine->stopping, memory_order_relaxed);
}

/* All below: in the runner's thread, whose fiber waits. */

/* Carries out op, which becomes the runner's last one, at the destination. 0 or -errno. */
int part_on_dst(struct runner *r, struct store_op op);
/* So many bytes more stand there. */
void part_count_moved(struct parts *p, uint64_t bytes);

/* Within the kernel or server, from at to end. 0; -EOPNOTSUPP: not that way; -errno. */
int part_copy(struct runner *r, uint64_t at, uint64_t end);
/* By reading and writing; r->hash is its hash then. *out_next: where data goes on, where all of the part is a hole;
 * else not beyond its end. 0 or -errno. */
int part_read(struct runner *r, uint64_t part, uint64_t *out_next);

/* Takes so many zeros, of a hole, into hash. */
void part_hash_zeros(XXH3_state_t *hash, uint64_t len);
void part_hash_take(const XXH3_state_t *hash, uint8_t out[16]);

#endif
