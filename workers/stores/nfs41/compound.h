/*
 * compound: one COMPOUND (RFC 8881 2.3, 16.2): built in place, sent by nfs_session_call, its results decoded in place.
 *
 *     struct nfs_compound *c = nfs_compound_begin(session);      (SEQUENCE is there already)
 *     xdr_put_opaque(nfs_compound_op(c, NFS_OP_PUTFH), fh, fh_len);
 *     nfs_compound_op(c, NFS_OP_GETATTR); ...
 *     int r = nfs_session_call(session, c, deadline);
 *     r = nfs_compound_result(c, NFS_OP_PUTFH, &status); ...
 *     nfs_compound_end(c);
 *
 * In memory of its own, not on a fiber's stack; used by one fiber or thread at a time, that of its session.
 */
#ifndef HAUL_STORES_NFS41_COMPOUND_H
#define HAUL_STORES_NFS41_COMPOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workers/stores/nfs41/rpc.h"
#include "workers/stores/nfs41/xdr.h"
#include "workers/stores/nfs_fh.h"

#define NFS_PROGRAM       100003
#define NFS_VERSION       4
#define NFS_MINOR         1
#define NFS_PROC_NULL     0
#define NFS_PROC_COMPOUND 1

#define NFS_COMPOUND_BYTES (16 * 1024) /* a COMPOUND without data that goes by reference, at most */
#define NFS_COMPOUND_OPS   128         /* operations in it, SEQUENCE included, at most */
#define NFS_SESSION_ID     16          /* bytes */
#define NFS_REPLY_DEFAULT  (16 * 1024) /* bytes of a reply where nfs_compound_expect said nothing */

/* nfs_opnum4: those that haul uses. */
enum nfs_op {
    NFS_OP_ACCESS = 3,
    NFS_OP_CLOSE = 4,
    NFS_OP_COMMIT = 5,
    NFS_OP_CREATE = 6,
    NFS_OP_GETATTR = 9,
    NFS_OP_GETFH = 10,
    NFS_OP_LINK = 11,
    NFS_OP_LOOKUP = 15,
    NFS_OP_LOOKUPP = 16,
    NFS_OP_NVERIFY = 17,
    NFS_OP_OPEN = 18,
    NFS_OP_PUTFH = 22,
    NFS_OP_PUTROOTFH = 24,
    NFS_OP_READ = 25,
    NFS_OP_READDIR = 26,
    NFS_OP_READLINK = 27,
    NFS_OP_REMOVE = 28,
    NFS_OP_RENAME = 29,
    NFS_OP_RESTOREFH = 31,
    NFS_OP_SAVEFH = 32,
    NFS_OP_SECINFO = 33,
    NFS_OP_SETATTR = 34,
    NFS_OP_VERIFY = 37,
    NFS_OP_WRITE = 38,
    NFS_OP_BIND_CONN_TO_SESSION = 41,
    NFS_OP_EXCHANGE_ID = 42,
    NFS_OP_CREATE_SESSION = 43,
    NFS_OP_DESTROY_SESSION = 44,
    NFS_OP_FREE_STATEID = 45,
    NFS_OP_SECINFO_NO_NAME = 52,
    NFS_OP_SEQUENCE = 53,
    NFS_OP_TEST_STATEID = 55,
    NFS_OP_DESTROY_CLIENTID = 57,
    NFS_OP_RECLAIM_COMPLETE = 58,
    NFS_OP_ILLEGAL = 10044,
};

/* "OPEN"; "?" where it is not in the list above. */
const char *nfs_op_name(enum nfs_op op);

/* Whether op changes something at the server that a repeat of the whole COMPOUND would meet: such a COMPOUND is sent
 * with sa_cachethis, and is not repeated by itself once that op was carried out. */
bool nfs_op_changes(enum nfs_op op);

struct nfs_session;

struct nfs_compound {
    /* What is sent. */
    struct xdr_out out;             /* arguments go here, after nfs_compound_op */
    uint16_t ops[NFS_COMPOUND_OPS]; /* enum nfs_op of each, SEQUENCE first where there is one */
    unsigned op_count;              /* of ops */
    unsigned first_change;          /* index of the first op that changes something; NFS_COMPOUND_OPS: none does */
    /* What came back: after nfs_session_call has returned 0. Without SEQUENCE and its result. */
    struct xdr_in in; /* results; stands after those read so far */
    uint32_t status;  /* of the COMPOUND: that of the last operation that was tried */
    unsigned
        result_count;     /* operations with a result: all before the last were carried out, it too where status is 0 */
    unsigned result_next; /* index of the next result that nfs_compound_result reads */
    /* After a failure of nfs_session_call, and after a result too. */
    bool sent;       /* some of it may have left: without a reply nobody knows whether it was carried out */
    bool replayed;   /* it was sent more than once, with the same slot and sequence number */
    uint32_t refuse; /* see struct rpc_call */
    /* The session's own. */
    struct nfs_session *session; /* not owned */
    struct nfs_compound *next;   /* among those that are not in use, or that wait for the same */
    unsigned generation;         /* of the client, when it was begun */
    struct nfs_table *table;     /* whose slot it has, one reference; NULL: none */
    unsigned slot;               /* number of the slot that it has in table */
    struct io_event event;       /* its fiber waits here for a slot or a connection */
    size_t reply_max;            /* bytes */
    size_t ops_at;               /* where in out the count of operations is */
    size_t sequence_at;          /* where in out the arguments of SEQUENCE are; 0: there is none */
    void *sink;                  /* nfs_compound_sink; NULL: none */
    size_t sink_size;            /* bytes */
    struct rpc_call call;        /* on the wire */
    uint8_t buf[NFS_COMPOUND_BYTES];
};

/* An empty COMPOUND for session; with SEQUENCE. NULL: no memory. */
struct nfs_compound *nfs_compound_begin(struct nfs_session *session);
/* The same without SEQUENCE, for what stands alone (EXCHANGE_ID and the like). */
struct nfs_compound *nfs_compound_begin_alone(struct nfs_session *session);
/* Gives it back, with its reply. NULL is fine. */
void nfs_compound_end(struct nfs_compound *c);
/* Empties c for another one: as nfs_compound_end and nfs_compound_begin. */
void nfs_compound_again(struct nfs_compound *c);

/* Adds an operation; its arguments are then put into what is returned (= &c->out). Too many latch c->out.failed. */
struct xdr_out *nfs_compound_op(struct nfs_compound *c, enum nfs_op op);

/* Bytes of the results (all of them, without a payload in the sink) that are to be expected at most, so that no server
 * makes us hold more. Default NFS_REPLY_DEFAULT. */
void nfs_compound_expect(struct nfs_compound *c, size_t bytes);

/* The data of the first READ of c go straight to buf, where the server sends no more than size bytes; decoding finds
 * them there (xdr_get_opaque returns buf). Where that is not possible they are in the reply as usual: who decodes looks
 * whether it got buf. buf stays until nfs_compound_end or _again. */
void nfs_compound_sink(struct nfs_compound *c, void *buf, size_t size);

/* Bytes of c as it will be sent, RPC header and data included; for csa ca_maxrequestsize. */
size_t nfs_compound_size(const struct nfs_compound *c);

/* Where c stands, to take operations back that turned out not to fit. */
struct nfs_compound_mark {
    struct xdr_mark out;
    unsigned op_count;
    unsigned first_change;
};
struct nfs_compound_mark nfs_compound_mark(const struct nfs_compound *c);
void nfs_compound_rewind(struct nfs_compound *c, struct nfs_compound_mark mark);

/*
 * The next result, which must be op's: its status goes into *out_status; where that is NFS4_OK the op's results follow
 * in c->in and must be read as a whole before the next one; with another status the little that some operations have
 * then is left to the caller (c->in stands there). 0; -ENODATA: the COMPOUND had stopped before; -EPROTO: something
 * else is there, or an earlier result could not be decoded (c->in.failed).
 */
int nfs_compound_result(struct nfs_compound *c, enum nfs_op op, uint32_t *out_status);

/* For operations without results (PUTFH, SAVEFH, VERIFY, ...): as above, and -errno of nfs_errno where the status is
 * not NFS4_OK (c->status has it). */
int nfs_compound_expect_ok(struct nfs_compound *c, enum nfs_op op);

#endif
