/*
 * rpc: ONC RPC (RFC 5531) over one TCP connection, for one thread and its fibers.
 *
 * There is no thread that reads. Whoever waits for a reply while nobody reads becomes the reader: it receives, hands
 * each reply to its call and wakes that call's fiber, until its own reply has come; then it hands the role on. Who
 * wants to send while a send is under way queues, and one sendmsg takes all that is queued. Many replies come out of
 * one recv, through a small buffer; a payload that was asked for (rpc_sink) goes straight to where it is wanted.
 *
 * The other end is not trusted: a record longer than its call allows, a fragment without end, a reply that nobody
 * waits for are bounded in memory, and what cannot be right ends the connection.
 *
 * A connection that has failed once stays failed: all its calls end with its error, and so does each new one. The same
 * bytes may be sent again on another connection.
 *
 * All functions belong to the thread of the io. Outside of fibers a call blocks the thread; it is -EBUSY then while
 * calls of fibers are under way. The kernel never holds on to buffers of a call: sockets are waited for, then read and
 * written without waiting, so that a call that is given up, even with its fiber, leaves nothing behind that could be
 * written to.
 */
#ifndef HAUL_STORES_NFS41_RPC_H
#define HAUL_STORES_NFS41_RPC_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "workers/io.h"
#include "workers/stores/nfs41/xdr.h"

#define RPC_GROUPS_MAX  16   /* that AUTH_SYS can carry (RFC 5531 appendix A) */
#define RPC_HEADER_MAX  512  /* bytes of a record mark and a call header with its credential, at most */
#define RPC_REPLY_SMALL 1024 /* bytes of a reply that need no memory of their own */

struct rpc;

/* Who calls. */
struct rpc_cred {
    uint32_t uid;                    /* numeric */
    uint32_t gid;                    /* numeric */
    uint32_t groups[RPC_GROUPS_MAX]; /* further groups */
    unsigned group_count;            /* of groups */
    char machine[64];                /* host name, NUL-terminated */
};

struct rpc_options {
    struct sockaddr_storage address; /* IPv4 or IPv6, with its port */
    socklen_t address_len;           /* bytes of address */
    bool reserved_port;              /* from a port below 1024 where the process may */
    int64_t silence_ns;              /* a connection from which nothing came for that long while a call waits has failed
                                        (-ETIMEDOUT); TCP's own patience too (keepalive, TCP_USER_TIMEOUT) */
};

struct rpc_facts {
    uint64_t calls;          /* records sent */
    uint64_t sends;          /* sendmsg calls that sent something */
    uint64_t receives;       /* recvmsg calls that received something */
    uint64_t bytes_sent;     /* with headers */
    uint64_t bytes_received; /* with headers */
};

/*
 * A payload inside of a reply that goes straight to buf. locate(arg, head, len, ...) is called with the first len
 * bytes of the reply, from its xid on, each time there are more of them (RPC_REPLY_SMALL at most): 1 with *out_at and
 * *out_len where it now knows that the payload's *out_len bytes begin at byte *out_at >= len, or that many bytes of
 * head are it already (then those are copied); 0: not yet; -1: there is none in this reply. A payload longer than size
 * is left in the reply.
 */
struct rpc_sink {
    void *buf;   /* the caller's; NULL: no sink */
    size_t size; /* bytes of buf */
    int (*locate)(void *arg, const uint8_t *head, size_t len, size_t *out_at, size_t *out_len); /* see above */
    void *arg;                                                                                  /* for locate */
};

/* One call. In the caller's storage, not on a fiber's stack that may be given up. */
struct rpc_call {
    /* The caller's; constant while the call is under way. */
    struct xdr_out *out;  /* the record: from rpc_begin on. Its bytes and what they refer to stay until the end */
    size_t reply_max;     /* bytes of the longest reply that may come, without a payload that went to the sink */
    struct rpc_sink sink; /* see above; buf NULL: none */
    /* Results, after rpc_call returned 0; valid until rpc_call_release. */
    struct xdr_in in; /* the results, after the RPC header; a payload in the sink is its hole */
    /* After a failure. */
    bool sent;       /* some of it may have left: the other end may have carried it out */
    bool lost;       /* it is the connection that has failed, which may be gone by now: rpc_error cannot be asked */
    uint32_t refuse; /* -EPROTO, -EACCES, -EPROTONOSUPPORT, -EREMOTEIO because the server said so: RPC_REFUSED_... | the
                        number it gave; 0 else */
    /* rpc's own. */
    struct rpc_call *next_out; /* in the queue of what is to be sent */
    struct rpc_call *next;     /* in the table of what has no answer yet */
    struct rpc_call *older;    /* among those whose fibers wait, in order of their coming */
    struct rpc_call *newer;    /* the same */
    struct io_event event;     /* its fiber waits here */
    int64_t since_ns;          /* when it began, monotonic */
    uint8_t *reply;            /* small, or malloc'd and owned */
    size_t reply_size;         /* bytes of reply */
    size_t reply_len;          /* bytes in it so far */
    size_t sink_at;            /* where in the reply bytes are missing that are in the sink; once sink_state is 1 */
    size_t sink_len;           /* how many in all; once sink_state is 1 */
    size_t sunk;               /* bytes in the sink so far */
    int sink_state;            /* what locate said last */
    int error;                 /* 0 or -errno; once done */
    uint8_t state;             /* where it stands */
    uint32_t xid;              /* of the record */
    uint8_t small[RPC_REPLY_SMALL]; /* most replies */
};

#define RPC_REFUSED_ACCEPT 0x10000U /* accept_stat (RFC 5531 9): PROG_UNAVAIL 1, PROG_MISMATCH 2, ... */
#define RPC_REFUSED_REJECT 0x20000U /* reject_stat: RPC_MISMATCH 0 */
#define RPC_REFUSED_AUTH   0x40000U /* auth_stat: AUTH_BADCRED 1, AUTH_TOOWEAK 5, ... */

/* Connects. 0; -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, ...; -EADDRINUSE: no reserved port is free; -EACCES: no right
 * to one; -ENOMEM. deadline_ns: monotonic. */
int rpc_open(struct io *io, const struct rpc_options *options, int64_t deadline_ns, struct rpc **out_rpc);

/* Only the socket, connected and with its options set: a descriptor, the caller's; or -errno, as rpc_open. */
int rpc_socket(struct io *io, const struct rpc_options *options, int64_t deadline_ns);

/* From now on it belongs to the thread of io. No call may be under way; none is begun while io is NULL. */
void rpc_bind(struct rpc *rpc, struct io *io);

/* Closes. Calls that are under way end with -ECONNABORTED where it had not failed before; the memory goes when the last
 * of them has returned. NULL is fine. */
void rpc_close(struct rpc *rpc);

/* Ends the connection: its calls, present and future, end with err (negative), each with sent as it was. Does not
 * block, frees nothing. The first error stays. */
void rpc_fail(struct rpc *rpc, int err);

/* 0, or the -errno that the connection has failed with. */
int rpc_error(const struct rpc *rpc);

/* Calls that are under way or given up without an answer, for choosing among connections. */
unsigned rpc_pending(const struct rpc *rpc);

/* When something last came from the other end (or the connection was made), monotonic ns. */
int64_t rpc_heard_ns(const struct rpc *rpc);

/* Gains the figures of rpc. */
void rpc_facts(const struct rpc *rpc, struct rpc_facts *sum);

/* Begins a record in out: record mark, call header, credential (AUTH_SYS). What follows in out is the arguments. xid
 * is not used by any other call of the connections that this record may be sent on. */
void rpc_begin(struct xdr_out *out, uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure,
               const struct rpc_cred *cred);
/* Gives a record, which rpc_begin began and which has not been sent, another xid. */
void rpc_renumber(struct xdr_out *out, uint32_t xid);

/* call from zeroed or used storage: ready for rpc_call with those fields, sink none. */
void rpc_call_init(struct rpc_call *call, struct xdr_out *out, size_t reply_max);
/* Lets go of a reply. */
void rpc_call_release(struct rpc_call *call);

/*
 * Sends call's record and waits for its reply until deadline_ns (monotonic). The calling fiber waits, or the thread.
 *
 * 0: call->in stands at the results. -ETIMEDOUT while rpc_error is 0: deadline_ns has passed; the connection goes on
 * (unless the record had left in part), and a reply that comes late is skipped: rpc_on_late's function is told. -EPROTO
 * and others with call->refuse: the server refused the call as such; the connection goes on. Else the connection has
 * failed: its error, -EPIPE and -ECONNRESET among them; -EPROTO: what came could not be understood. -ENOMEM: the reply
 * was lost for want of memory. -EBUSY: see above. The record may be sent again, on this connection or another one, with
 * the same call after rpc_call_init.
 */
int rpc_call(struct rpc *rpc, struct rpc_call *call, int64_t deadline_ns);

/* late(arg, xid, head, len) is called when the reply of a call that was given up comes after all, with what came of it
 * (from its xid on, RPC_REPLY_SMALL bytes at most). From whoever reads; it must not call rpc functions. */
void rpc_on_late(struct rpc *rpc, void (*late)(void *arg, uint32_t xid, const uint8_t *head, size_t len), void *arg);

#endif
