/*
 * session_internal: what the parts of session share: slots, connections, and how both are made again.
 *
 * Only workers/stores/nfs41/session*.c and compound.c include this.
 */
#ifndef HAUL_STORES_NFS41_SESSION_INTERNAL_H
#define HAUL_STORES_NFS41_SESSION_INTERNAL_H

#include "workers/stores/nfs41/client_internal.h"
#include "workers/stores/nfs41/session.h"

#define NFS_SLOTS_WANTED   256                       /* of a session */
#define NFS_REQUEST_WANTED (1024 * 1024 + 64 * 1024) /* bytes of a request: 1 MiB of data and what goes around it */
#define NFS_CACHED_WANTED  (16 * 1024)               /* bytes of a reply that is kept */
#define NFS_CONNECTIONS    16                        /* of a session, at most */
#define NFS_HEAD_MAX       384                       /* bytes of a COMPOUND's beginning, SEQUENCE included */
#define NFS_OLD_MAX        16                        /* sessions that were replaced, remembered to be destroyed */
#define NFS_IDLE_COMPOUNDS 64                        /* kept for the next call */

enum nfs_slot_state {
    NFS_SLOT_FREE,
    NFS_SLOT_BUSY,
    NFS_SLOT_RETIRED, /* its call was given up: nobody knows how far the server came */
};

struct nfs_slot {
    uint32_t sequence; /* of the next call, or of the one that is under way or was given up */
    uint32_t xid;      /* of that one */
    uint8_t state;     /* enum nfs_slot_state */
};

/* The slots of one incarnation of the session, as CREATE_SESSION made it. */
struct nfs_table {
    uint8_t id[NFS_SESSION_ID]; /* the server's name for it */
    struct nfs_limits limits;   /* constant */
    unsigned refs;              /* calls that have a slot, and the session */
    bool lost;                  /* the server does not know it any more, or it is not to be used any more */
    unsigned usable;            /* slots below this number may be used, as the server asks (sr_target_highest_slotid) */
    unsigned free_hint;         /* no slot below this number is free */
    unsigned highest;           /* slots from this number on have never been used */
    unsigned busy;              /* slots with a call */
    unsigned retired;           /* slots that nobody may use */
    struct nfs_slot slots[];    /* limits.slots */
};

/* Fibers that wait for the same thing, in order, each with its compound. */
struct nfs_waiters {
    struct nfs_compound *first; /* NULL: nobody */
    struct nfs_compound *last;  /* undefined where there is nobody */
};

struct nfs_session {
    struct nfs_member member;                 /* what others may see */
    struct nfs_session *parked;               /* the next one in client.parked */
    struct nfs_client *client;                /* not owned */
    struct io *io;                            /* the thread's; NULL while parked; written with client.lock */
    unsigned shared;                          /* those who have opened it besides the first, in its thread */
    struct nfs_table *table;                  /* the present incarnation, one reference; NULL: none was ever made */
    struct nfs_waiters for_slot;              /* who waits for a slot */
    struct nfs_waiters for_change;            /* who waits until connecting or making is over */
    struct nfs_waiters for_again;             /* who waits until a connection takes one more call, sent before */
    struct nfs_waiters for_turn;              /* the same, not sent yet: behind those */
    unsigned woken;                           /* from these two, and not there yet */
    struct rpc *conns[NFS_CONNECTIONS];       /* owned; NULL: not made yet */
    unsigned windows[NFS_CONNECTIONS];        /* calls that each may have under way; 0: as many as there are slots */
    unsigned conn_count;                      /* wanted; of conns */
    bool connected;                           /* there was a connection once */
    bool connecting;                          /* somebody makes a connection */
    bool making;                              /* somebody makes a new incarnation */
    bool completing;                          /* in nfs_session_complete */
    bool closing;                             /* its last user closes it */
    bool mute;                                /* that is left to whoever makes it */
    int64_t busy_until_ns;                    /* whoever does has stopped by then */
    int change_error;                         /* what came of it last */
    unsigned changes;                         /* how often it was over */
    unsigned failures;                        /* connections lost or not made since the last reply */
    int64_t not_before_ns;                    /* no connection is tried before that */
    int64_t end_by_ns;                        /* nfs_sessions_end has until then */
    uint64_t seed;                            /* of jitter; never 0 */
    uint32_t xid;                             /* of the last call */
    uint8_t old[NFS_OLD_MAX][NFS_SESSION_ID]; /* sessions that were given up but may live at the server */
    unsigned old_count;                       /* of old */
    uint8_t head[NFS_HEAD_MAX];               /* how every COMPOUND begins, SEQUENCE included */
    size_t head_len;                          /* bytes of it */
    size_t head_alone;                        /* bytes of it without SEQUENCE */
    struct nfs_compound *idle;                /* for the next call, owned */
    unsigned idle_count;                      /* of idle */
    struct rpc_facts closed;                  /* of connections that are closed */
    char **problem;                           /* where a sentence goes while the session is opened; else NULL */
};

/* Bytes of SEQUENCE's arguments, and where things are in them (RFC 8881 18.46.1). */
#define NFS_SEQ_ID      0  /* session id */
#define NFS_SEQ_NUMBER  16 /* sequence number */
#define NFS_SEQ_SLOT    20 /* slot */
#define NFS_SEQ_HIGHEST 24 /* highest slot in use */
#define NFS_SEQ_CACHE   28 /* sa_cachethis */
#define NFS_SEQ_SIZE    32

/* ---- session_slots.c ---- */

/* Makes a table. NULL: no memory. */
struct nfs_table *nfs_table_create(const uint8_t id[NFS_SESSION_ID], const struct nfs_limits *limits);
struct nfs_table *nfs_table_get(struct nfs_table *table);
/* NULL is fine. */
void nfs_table_put(struct nfs_table *table);

/* Gives c a slot of the present table, waiting in order. 0; -ETIMEDOUT; -EBUSY: outside of a fiber there is none to
 * wait for; -ENOLINK: the table is lost. */
int nfs_slot_take(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns);
/* c has done with its slot: used says that the server has taken its sequence number. Gives it to whoever waits. */
void nfs_slot_release(struct nfs_session *s, struct nfs_compound *c, bool used);
/* c is given up without an answer. */
void nfs_slot_retire(struct nfs_session *s, struct nfs_compound *c);
/* What rpc tells of replies that come late; arg is the session. */
void nfs_slot_late(void *arg, uint32_t xid, const uint8_t *head, size_t len);
/* The server says how many slots it likes to see used. */
void nfs_slot_target(struct nfs_session *s, struct nfs_table *table, uint32_t target_highest);
/* Lets those who wait for a slot look again: there is another table, or none will come. */
void nfs_slot_wake(struct nfs_session *s);

/* Waits in list until woken. 0 or -ETIMEDOUT; -EBUSY outside of a fiber. */
int nfs_wait_in(struct nfs_session *s, struct nfs_waiters *list, struct nfs_compound *c, int64_t deadline_ns);
/* Wakes the first, or all. */
bool nfs_wake_first(struct nfs_session *s, struct nfs_waiters *list);
void nfs_wake_all(struct nfs_session *s, struct nfs_waiters *list);

/* ---- session_connect.c ---- */

/* A connection that works and takes one more call, made where there is none. c waits where somebody else makes it, or
 * for its turn. 0, or why there is none. */
int nfs_connection(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns, struct rpc **out_rpc);
/* A reply has come through rpc: whatever was wrong is over. */
void nfs_connection_well(struct nfs_session *s, const struct rpc *rpc);
/* A call has ended: others may have their turn. */
void nfs_connection_next(struct nfs_session *s);
/* Publishes the figures of the connections. */
void nfs_connection_count(struct nfs_session *s);
/* How long a call may take before the connection is tried anew, ns. */
int64_t nfs_silence_ns(const struct nfs_client *client);
/* Sleeps. 0; -ETIMEDOUT: at once, since deadline_ns would come before; -ECANCELED. */
int nfs_pause(struct nfs_session *s, int64_t ns, int64_t deadline_ns);

/* ---- session_make.c ---- */

/* The present table, made anew where it is lost. c waits where somebody else makes it. 0 or why there is none. */
int nfs_session_ready(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns);
/* What is said once for a client id: RECLAIM_COMPLETE; and its lease is asked for. */
void nfs_session_complete(struct nfs_session *s, int64_t deadline_ns);
/* table is lost: it is not used any more. It may live on at the server, and is ended there in the end. */
void nfs_session_lose(struct nfs_session *s, struct nfs_table *table);
/* What sr_status_flags (RFC 8881 18.46.3) ask for. */
void nfs_session_flags(struct nfs_session *s, struct nfs_table *table, uint32_t flags);
/* Ends all that may live at the server. */
void nfs_session_end(struct nfs_session *s, int64_t deadline_ns);

/* ---- compound.c ---- */

/* rpc_sink's locate: the data of the first READ of a COMPOUND. */
int nfs_locate_read(void *arg, const uint8_t *head, size_t len, size_t *out_at, size_t *out_len);

/* ---- session_call.c ---- */

/* Sends c, which has no SEQUENCE, as nfs_session_call does, on connections that are made again as needed. */
int nfs_call_alone(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns);
/* The head of every COMPOUND of s. 0 or -EOVERFLOW. */
int nfs_head_make(struct nfs_session *s);

#endif
