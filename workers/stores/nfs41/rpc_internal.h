/*
 * rpc_internal: what the parts of rpc share: the connection and what it is in the middle of.
 *
 * Only workers/stores/nfs41/rpc*.c include this.
 */
#ifndef HAUL_STORES_NFS41_RPC_INTERNAL_H
#define HAUL_STORES_NFS41_RPC_INTERNAL_H

#include "workers/stores/nfs41/rpc.h"

#define RPC_MARK     4           /* bytes before each fragment (RFC 5531 11) */
#define RPC_LAST     0x80000000U /* in them: the record's last fragment */
#define RPC_STAGE    (32 * 1024) /* bytes received ahead at most */
#define RPC_BUCKETS  256         /* of the table of calls; a power of two */
#define RPC_MSG_CALL 0
#define RPC_REPLY    1

/* Where a call stands. */
enum rpc_state {
    RPC_IDLE,   /* not under way */
    RPC_QUEUED, /* in the queue, none or some of it sent */
    RPC_SENT,   /* sent */
    RPC_DONE,   /* error says how */
};

/* What comes in: a record is a sequence of fragments, each with its mark. */
struct rpc_record {
    uint8_t head[RPC_REPLY_SMALL]; /* first bytes of a record that nobody waits for; its xid, of the others */
    size_t head_len;               /* bytes in it */
    uint8_t mark[RPC_MARK];        /* of the next fragment */
    unsigned mark_len;             /* bytes of it so far */
    bool in_fragment;              /* its mark is complete */
    bool last;                     /* it is the record's last one */
    size_t left;                   /* bytes of it to come */
    unsigned empty;                /* fragments without a byte in this record */
    bool known;                    /* the xid has come */
    struct rpc_call *call;         /* whose reply it is; NULL: nobody's, it is skipped */
    size_t skipped;                /* bytes skipped of it */
};

struct rpc {
    struct io *io;                                           /* the thread's */
    int fd;                                                  /* owned */
    int error;                                               /* 0, or the -errno that it failed with */
    bool closed;                                             /* rpc_close was called */
    unsigned users;                                          /* rpc_call functions that have not returned */
    unsigned pending;                                        /* calls in table */
    int64_t silence_ns;                                      /* see rpc_options */
    int64_t heard_ns;                                        /* see rpc_heard_ns */
    int64_t apart_ns;                                        /* between two replies, lately */
    unsigned replies;                                        /* since heard_ns was last set */
    struct io_event pace;                                    /* never set: the reader lets some time pass */
    bool sending;                                            /* somebody sends */
    bool reading;                                            /* somebody reads */
    int64_t sender_until_ns;                                 /* whoever sends will have stopped by then */
    int64_t reader_until_ns;                                 /* whoever reads will have stopped by then */
    struct rpc_call *out_first;                              /* to be sent; NULL: nothing */
    struct rpc_call *out_last;                               /* undefined when there is nothing */
    size_t out_done;                                         /* bytes of out_first that were sent */
    struct rpc_call *oldest;                                 /* of those whose fibers wait; NULL: none */
    struct rpc_call *newest;                                 /* undefined when there is none */
    struct rpc_facts facts;                                  /* so far */
    void (*late)(void *, uint32_t, const uint8_t *, size_t); /* rpc_on_late; may be NULL */
    void *late_arg;                                          /* for late */
    struct rpc_record record;                                /* what is coming in */
    size_t stage_at;                                         /* first byte of stage that is not used up */
    size_t stage_len;                                        /* bytes in stage */
    struct rpc_call *table[RPC_BUCKETS];                     /* calls without an answer, by xid */
    uint8_t stage[RPC_STAGE];                                /* what was received */
};

/* A call of the table; NULL: none of that xid. */
struct rpc_call *rpc_find(const struct rpc *rpc, uint32_t xid);

/* Ends call, which is under way, with error: out of queue and table, its fiber goes on. */
void rpc_done(struct rpc *rpc, struct rpc_call *call, int error);

/* Nothing more comes in for call: what is left of its reply is skipped. */
void rpc_forget_reply(struct rpc *rpc, const struct rpc_call *call);

/* Receives what there is without waiting, and hands out what is complete. 0; -EAGAIN: there is nothing; else the
 * connection has failed. */
int rpc_receive_now(struct rpc *rpc);

/* Waits until something comes, receives it and hands out what is complete. 0; -ETIMEDOUT: until_ns has passed; else
 * the connection has failed. */
int rpc_receive(struct rpc *rpc, int64_t until_ns);

/* Frees what rpc_close left to the last user. */
void rpc_leave(struct rpc *rpc);

#endif
