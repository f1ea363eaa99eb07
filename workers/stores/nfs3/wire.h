/*
 * wire: one TCP connection to an NFSv3 server, to its mountd or its portmapper, with libnfs on it, for one thread and
 * its fibers.
 *
 * The socket is ours: connected by io, from a reserved port or not, with TCP's own patience set, and only then given to
 * libnfs (rpc_set_fd), which is never asked to connect: that is not reentrant. libnfs encodes, sends, receives and
 * decodes; it is called whenever io says that the socket is ready, and it is not told of a socket that has failed. Each
 * call is one remote procedure whose fiber waits; any number are under way at a time. Whoever waits for a reply while
 * nobody reads becomes the reader, for all; whoever finds that the socket takes no more waits for it, for all.
 *
 * libnfs decodes lists by recursion, as deep as the other end likes: that is done on the thread's own stack
 * (io_outside).
 *
 * A connection that has failed once stays failed: all its calls end with its error. A call that has no answer in time
 * ends its connection: libnfs cannot take a call back, and what was sent may still be carried out.
 *
 * All functions belong to the thread of the io.
 */
#ifndef HAUL_STORES_NFS3_WIRE_H
#define HAUL_STORES_NFS3_WIRE_H

#include "workers/stores/nfs3/req.h"
#include "workers/stores/nfs41/rpc.h"

struct nfs3_wire;

/* Connects. As rpc_open; cred is AUTH_SYS for all its calls. */
int nfs3_wire_open(struct io *io, const struct rpc_options *options, const struct rpc_cred *cred, int64_t deadline_ns,
                   struct nfs3_wire **out_wire);

/* Closes. Calls that are under way end with -ECONNABORTED where it had not failed before; the memory goes when the last
 * of them has returned. NULL is fine. */
void nfs3_wire_close(struct nfs3_wire *w);

/* 0, or the -errno that the connection has failed with. */
int nfs3_wire_error(const struct nfs3_wire *w);

/* Calls under way. */
unsigned nfs3_wire_pending(const struct nfs3_wire *w);

/*
 * Calls and waits until deadline_ns (monotonic). The calling fiber waits, or the thread. 0: results are in req; a
 * status (> 0); or -errno: -EPROTONOSUPPORT, -EOPNOTSUPP, -EACCES, -EPROTO, -EREMOTEIO, -ENOMEM where the connection
 * goes on (*out_lost is false): the server refused the call as such, or there was no memory for its results; else the
 * connection has failed (*out_lost): whether the call was carried out is unknown.
 */
int nfs3_wire_call(struct nfs3_wire *w, struct nfs3_req *req, int64_t deadline_ns, bool *out_lost);

#endif
