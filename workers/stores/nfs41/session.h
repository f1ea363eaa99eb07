/*
 * session: one NFSv4.1 session (RFC 8881 2.10): exactly-once calls over connections that may break.
 *
 * One struct nfs_session for each thread and the fibers of it, under the client id that all share. State ids are good
 * in every session of a client. Many calls may be under way at a time, as many as the server gave slots; who finds none
 * free queues in order.
 *
 * A call that changes something is kept by the server (sa_cachethis). A connection that broke, or from which nothing
 * comes, is made again with growing pauses, and each call under way is sent again: the very bytes, slot and sequence
 * number, so that the server answers what it has done already from its memory. A call that is given up (deadline)
 * retires its slot: it is used by no other call, since nobody knows what the server makes of it; an answer that comes
 * late puts it back. With too many retired a new session replaces this one.
 *
 * Where the server has lost the session (restart, expired lease), it is made again, and calls that were under way end
 * with NFS_LOST: nobody knows whether they were carried out, and their memory is gone. Look, then repeat. What had
 * certainly not been carried out is sent again by itself; but where the client id was lost too, no COMPOUND that was
 * begun before and changes something is: the server may have dropped us for a successor (NFS_LOST, c->sent false).
 */
#ifndef HAUL_STORES_NFS41_SESSION_H
#define HAUL_STORES_NFS41_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workers/io.h"
#include "workers/stores/nfs41/client.h"
#include "workers/stores/nfs41/compound.h"
#include "workers/stores/nfs41/nfserr.h" /* NFS_LOST */

struct nfs_session;

/* What was negotiated for this session; changes only when it is made again. */
struct nfs_limits {
    uint32_t max_request;  /* bytes of a COMPOUND with its RPC header (nfs_compound_size) */
    uint32_t max_response; /* bytes of a reply */
    uint32_t max_cached;   /* bytes of a reply to a COMPOUND that changes something */
    uint32_t max_ops;      /* operations, SEQUENCE included; NFS_COMPOUND_OPS at most */
    uint32_t slots;        /* calls under way at a time */
};

/*
 * Takes over a session that was parked, or connects and makes one; the first one of a client makes the client id too
 * (EXCHANGE_ID, CREATE_SESSION, RECLAIM_COMPLETE, and asks for the lease time). Blocks the thread, or the fiber.
 *
 * 0, or what went wrong: -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, ...; -EPROTONOSUPPORT: no NFSv4.1 there; -EACCES:
 * the server wants other security or a reserved port; -EPROTO: what it says makes no sense; -ENOMEM. problem (may be
 * NULL): a sentence for people that says what to do, malloc'd, the caller's; set where there is something to say.
 */
int nfs_session_open(struct nfs_client *client, struct io *io, struct nfs_session **out_session, char **problem);

/* The same, but what is said once for a client id (RECLAIM_COMPLETE), and the question for its lease, is left to
 * nfs_session_greet, which is to be called, beside calls that open nothing, before the first one that does (RFC 8881
 * 18.51.3). */
int nfs_session_open_mute(struct nfs_client *client, struct io *io, struct nfs_session **out_session, char **problem);

/* Says that, where it has not been said; the session's thread, or a fiber of it, which it blocks. What fails is left to
 * whoever makes the next session: a server that minds answers GRACE until then. */
void nfs_session_greet(struct nfs_session *session);

/* As nfs_session_open, but one that is open in this thread (io) already is shared, and the server is asked for one that
 * was not parked when the first call is made, which may then end with what nfs_session_open returns. Asks nobody. 0 or
 * -ENOMEM.
 */
int nfs_session_open_later(struct nfs_client *client, struct io *io, struct nfs_session **out_session);

/* Once everybody who has opened it has done so: leaves it to whoever opens the next session of its client, in any
 * thread, or to nfs_sessions_end: neither has to ask the server then. One that is not whole, or one too many, is
 * closed. No call may be under way; none of its COMPOUNDs may be used any more. NULL is fine. */
void nfs_session_park(struct nfs_session *session);

/* The last count that are parked are left to those in whose io many calls are under way at a time (IO_ASYNC), one to
 * each; whoever else opens a session makes one then. Any thread. */
void nfs_sessions_keep(struct nfs_client *client, unsigned count);

/* Closes all that are parked, at the same time; the client id too, where no other session of it is open (parked ones
 * may be ended beside the last calls of the others). Any thread; blocks it, a few seconds at most and until deadline_ns
 * (monotonic). Before nfs_client_destroy. */
void nfs_sessions_end(struct nfs_client *client, int64_t deadline_ns);

/* Likewise ends it at the server (DESTROY_SESSION; of the client's last one DESTROY_CLIENTID too) within a few seconds,
 * or without the server where that does not answer. No call may be under way. NULL is fine. */
void nfs_session_close(struct nfs_session *session);

struct nfs_client *nfs_session_client(const struct nfs_session *session);
/* Those of another session of its client, where it has not been made yet. */
void nfs_session_limits(const struct nfs_session *session, struct nfs_limits *out_limits);
/* Those of the client's session that was made last; all 0: there was none. Any thread. */
void nfs_client_limits(struct nfs_client *client, struct nfs_limits *out_limits);

/*
 * Sends c and waits for its results, until deadline_ns (monotonic) at the latest. c may be sent again afterwards, as a
 * call of its own, after a failure too.
 *
 * 0: there are results (c->status may be an error all the same). DELAY and GRACE were waited for and c sent again (with
 * a new sequence number) as long as nothing of c that changes something had been carried out and deadline_ns allows;
 * what is left of them is seen in c->status.
 *
 * Not sent: -E2BIG: larger than the server takes (bytes or operations: split it); -EOVERFLOW: c->out.failed;
 * -ETIMEDOUT with c->sent false: no slot or no connection came free in time.
 * Outcome unknown where c->sent is true: -ETIMEDOUT, -NFS_LOST, -ECANCELED (io_cancel_sleeps), what rpc_open and
 * rpc_call return. -EPROTO: the reply makes no sense.
 */
int nfs_session_call(struct nfs_session *session, struct nfs_compound *c, int64_t deadline_ns);

/* Renews the client's lease with an empty COMPOUND, and has a session that was lost made again. What
 * nfs_session_call returns. For whoever is idle and finds nfs_client_due. */
int nfs_session_touch(struct nfs_session *session, int64_t deadline_ns);

#endif
