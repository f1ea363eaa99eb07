/*
 * nfs41_call: one COMPOUND: sent, and what its failure means.
 */
#include <errno.h>

#include "workers/stores/nfs41/nfs41_internal.h"

/* The port's session, which is the one that its thread has, one that was parked, or one to be made with its first call.
 * 0 or -ENOMEM. */
static int session_of(struct port *p, struct nfs_session **out)
{
    struct nfs41_port *np = nfs41_port_of(p);
    int err = np->session ? 0 : nfs_session_open_later(nfs41_of(p)->client, p->io, &np->session);

    if (!err) {
        *out = np->session;
    }
    return err;
}

int nfs41_begin(struct port *p, struct nfs_compound **out)
{
    struct nfs_session *session = NULL;
    int err = session_of(p, &session);
    struct nfs_compound *c = err ? NULL : nfs_compound_begin(session);

    if (!c) {
        return -ENOMEM;
    }
    *out = c;
    return 0;
}

void nfs41_limits(struct port *p, struct nfs_limits *out)
{
    const struct nfs41_port *np = nfs41_port_of(p);

    if (np->session) {
        nfs_session_limits(np->session, out);
    } else {
        nfs_client_limits(nfs41_of(p)->client, out);
    }
}

/* A client id that is another one now: the server may have dropped ours for a successor. */
static void doubt_if_dropped(struct nfs41_store *s)
{
    unsigned now = nfs_client_generation(s->client);

    if (atomic_load(&s->generation) != now) {
        fence_doubt(s->fence); /* before another fiber finds nothing new */
        atomic_store(&s->generation, now);
    }
}

int nfs41_send_until(struct port *p, struct nfs_compound *c, int64_t deadline_ns)
{
    int r = nfs_session_call(nfs41_port_of(p)->session, c, deadline_ns);

    if (r == -NFS_LOST) {
        fence_doubt(nfs41_of(p)->fence);
    }
    return r;
}

int nfs41_send(struct port *p, struct nfs_compound *c)
{
    return nfs41_send_until(p, c, nfs_client_deadline_ns(nfs41_of(p)->client));
}

int nfs41_fence(struct port *p, struct store_op *op)
{
    struct nfs41_store *s = nfs41_of(p);
    int err;

    if (!s->fence) {
        return 0;
    }
    doubt_if_dropped(s);
    err = fence_pass(s->fence, p->io);
    return err ? nfs41_fail(op, "lease", err) : 0;
}

/* ops has SEQUENCE too, whose result the session has kept for itself. */
static unsigned before_results(const struct nfs_compound *c)
{
    return c->op_count > 0 && c->ops[0] == NFS_OP_SEQUENCE ? 1 : 0;
}

enum nfs_op nfs41_stopped_at(const struct nfs_compound *c)
{
    unsigned at = before_results(c) + c->result_count;

    return c->status != NFS4_OK && at > 0 ? (enum nfs_op)c->ops[at - 1] : (enum nfs_op)0;
}

enum nfs_op nfs41_next(const struct nfs_compound *c)
{
    unsigned at = before_results(c) + c->result_next;

    return at < c->op_count ? (enum nfs_op)c->ops[at] : (enum nfs_op)0;
}

int nfs41_fail(struct store_op *op, const char *step, int err)
{
    op->step = step;
    return err;
}

/* Operations as they are called in messages; others are called what the store's operation is. */
const char *nfs41_step(enum nfs_op op)
{
    switch (op) {
    case NFS_OP_PUTFH:
        return "putfh";
    case NFS_OP_LOOKUP:
        return "lookup";
    case NFS_OP_OPEN:
        return "open";
    case NFS_OP_WRITE:
        return "write";
    case NFS_OP_SETATTR:
        return "setattr";
    case NFS_OP_GETATTR:
        return "getattr";
    case NFS_OP_VERIFY:
    case NFS_OP_NVERIFY:
        return "verify";
    case NFS_OP_CLOSE:
        return "close";
    case NFS_OP_RENAME:
        return "rename";
    case NFS_OP_LINK:
        return "link";
    case NFS_OP_REMOVE:
        return "remove";
    case NFS_OP_CREATE:
        return "create";
    case NFS_OP_COMMIT:
        return "commit";
    case NFS_OP_READ:
        return "read";
    case NFS_OP_READDIR:
        return "readdir";
    case NFS_OP_READLINK:
        return "readlink";
    case NFS_OP_SEQUENCE:
        return "sequence";
    default:
        return NULL;
    }
}

int nfs41_result(struct store_op *op, const struct nfs_compound *c, int r)
{
    if (r <= 0) {
        return r;
    }
    if (op && !op->step) {
        op->step = nfs41_step(nfs41_stopped_at(c));
    }
    return nfs_errno((uint32_t)r);
}

bool nfs41_is_stale(uint32_t status)
{
    return status == NFS4ERR_STALE || status == NFS4ERR_FHEXPIRED || status == NFS4ERR_BADHANDLE;
}

void nfs41_attr_of(struct nfs41_store *s, const struct nfs_attrs *attrs, struct attr *out)
{
    *out = attrs->attr;
    if (attrs->owner.text) {
        out->uid = nfs41_owner_number(s, &attrs->owner, false);
    }
    if (attrs->group.text) {
        out->gid = nfs41_owner_number(s, &attrs->group, true);
    }
}

int nfs41_get_attr(struct port *p, struct nfs_compound *c, struct attr *out)
{
    struct nfs_attrs attrs;
    int r = nfs_get_getattr(c, &attrs);

    if (r) {
        return r;
    }
    if (!(attrs.mask & NFS_ATTR_TYPE)) {
        return -EPROTO;
    }
    nfs41_attr_of(nfs41_of(p), &attrs, out);
    return 0;
}
