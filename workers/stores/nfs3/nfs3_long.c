/*
 * nfs3_long: symbolic links with targets that libnfs has no room for: its calls are encoded into a few kilobytes, a
 * target may have 4,095 bytes. SYMLINK (RFC 1813 3.3.10) is put together here then, and sent on a connection of its
 * own, as the calls of NFSv4.1 are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workers/stores/nfs3/nfs3_internal.h"
#include "workers/stores/nfs41/xdr.h"

#define PROC_SYMLINK 10U
#define VERSION      3U
#define UNSET        6U /* attributes that a new link could get: mode, uid, gid, size, atime, mtime */

bool nfs3_symlink_is_long(const struct nfs3_req *req)
{
    return req->proc == V3_SYMLINK && strlen(req->target) > NFS3_TARGET_SHORT;
}

static void put(struct xdr_out *out, const struct nfs3_req *req, const struct rpc_cred *cred, uint32_t xid)
{
    rpc_begin(out, xid, NFS3_PROGRAM, VERSION, PROC_SYMLINK, cred);
    xdr_put_opaque(out, req->fh->data, req->fh->len);
    xdr_put_opaque(out, req->name, strlen(req->name));
    for (unsigned i = 0; i < UNSET; i++) {
        xdr_put_u32(out, 0);
    }
    xdr_put_opaque(out, req->target, strlen(req->target));
}

int nfs3_symlink_long(struct port *p, struct nfs3_req *req, int64_t deadline_ns)
{
    struct nfs3_store *s = nfs3_of(p);
    size_t size = RPC_HEADER_MAX + NFS3_FH_MAX + strlen(req->name) + strlen(req->target) + 64;
    struct rpc_call *call = malloc(sizeof(*call));
    uint8_t *buf = malloc(size);
    struct rpc *rpc = NULL;
    struct xdr_out out;
    int r = call && buf ? nfs3_socket_open(s, p->io, deadline_ns, &rpc) : -ENOMEM;

    if (!r) {
        xdr_out_init(&out, buf, size);
        put(&out, req, &s->cred, (uint32_t)clock_mono_ns());
        rpc_call_init(call, &out, 0);
        r = out.failed ? -ENAMETOOLONG : rpc_call(rpc, call, deadline_ns);
        if (!r) {
            uint32_t status = xdr_get_u32(&call->in);

            r = call->in.failed ? -EPROTO : (int)(status <= INT32_MAX ? status : INT32_MAX);
        }
        req->out_fh.len = 0; /* handle and attributes are asked for like those that a server leaves out */
        req->has_attr = false;
        rpc_call_release(call);
        rpc_close(rpc);
    }
    free(buf);
    free(call);
    return r;
}
