/*
 * client_internal: what client and session share: the client id and the sessions under it.
 *
 * Only workers/stores/nfs41/client*.c, session*.c include this.
 */
#ifndef HAUL_STORES_NFS41_CLIENT_INTERNAL_H
#define HAUL_STORES_NFS41_CLIENT_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "workers/stores/nfs41/client.h"
#include "workers/stores/nfs41/compound.h"

#define NFS_VERIFIER     8  /* bytes */
#define NFS_LEASE_ASSUME 30 /* s, until the server has said */
#define NFS_ORPHANS      64 /* sessions that could not be ended, remembered */

/* Counters of one session: written by its thread, read by any. */
struct nfs_counters {
    atomic_ullong compounds;       /* see nfs_client_facts, all of them */
    atomic_ullong replays;         /* sent again */
    atomic_ullong waits;           /* DELAY, GRACE */
    atomic_ullong reconnects;      /* connections made again */
    atomic_ullong sessions_lost;   /* sessions made again */
    atomic_ullong slots_retired;   /* given up */
    atomic_ullong slots_recovered; /* answered late */
    atomic_ullong calls;           /* struct rpc_facts, over all connections */
    atomic_ullong sends;           /* the same */
    atomic_ullong receives;        /* the same */
    atomic_ullong bytes_sent;      /* the same */
    atomic_ullong bytes_received;  /* the same */
};

/* One writer: no need for the bus. */
static inline void nfs_count(atomic_ullong *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* The head of a session, in the client's list. */
struct nfs_member {
    struct nfs_member *next;      /* in client.members */
    struct nfs_counters counters; /* of this session */
};

struct nfs_client {
    /* Constant. */
    char *host;                     /* as given, owned */
    uint16_t port;                  /* host order */
    char owner[NFS_OWNER_MAX];      /* NUL-terminated */
    uint8_t verifier[NFS_VERIFIER]; /* of this incarnation, random */
    struct rpc_cred cred;           /* who calls */
    struct nfs_addresses addresses; /* of host */
    bool reserved_port;             /* wanted */
    int64_t io_timeout_ns;          /* see options */
    unsigned retries;               /* see options */
    unsigned connections;           /* see options; 1 at least */
    /* Atomic. */
    atomic_uint generation;   /* see nfs_client_generation */
    atomic_llong lease_ns;    /* lease time */
    atomic_llong renewed_ns;  /* when a SEQUENCE was last sent that was answered; 0: never */
    atomic_uint address;      /* the one that answered last */
    atomic_uint status_flags; /* all ever seen */
    atomic_bool reserved;     /* the connections come from reserved ports */
    /* Guarded by lock. */
    pthread_mutex_t lock;       /* held for moments */
    bool making;                /* a session makes the client id or itself: the others wait */
    int64_t making_until_ns;    /* by then it has stopped */
    uint64_t id;                /* client id; valid where known */
    bool known;                 /* the server has told it and has not forgotten it as far as we know */
    bool reclaimed;             /* RECLAIM_COMPLETE was said for it */
    uint32_t sequence;          /* of the next CREATE_SESSION */
    unsigned sessions;          /* open, parked ones too */
    uint64_t ids_seen;          /* client ids told so far */
    struct nfs_member *members; /* open sessions, parked ones too */
    struct nfs_session *parked; /* those that nobody uses now, owned; through their field parked */
    unsigned parked_count;      /* of parked */
    unsigned kept;              /* see nfs_sessions_keep; one less with each that took one */
    unsigned orphan_count;      /* of orphans */
    uint8_t orphans[NFS_ORPHANS][NFS_SESSION_ID]; /* sessions that their owners could not end at the server */
    struct nfs_client_facts facts;                /* of closed sessions, and what is told at other times */
};

/* Adds the counters of a session to what stays. With lock held. */
void nfs_counters_add(struct nfs_client_facts *facts, const struct nfs_counters *counters);

/* A sentence, malloc'd, as printf makes it; into *problem unless that is NULL or has one. */
void nfs_problem(char **problem, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
