/*
 * nfs41_guard: an entry is replaced only while it is still what was meant, which the server itself looks at:
 *
 *     ... RESTOREFH  LOOKUP(name)  VERIFY(type, mode, size, fileid, mtime)  RESTOREFH  RENAME(temp name -> name)
 *
 * The saved handle is the directory all the while. Where the server cannot compare that, we look right before.
 */
#include <errno.h>

#include "workers/stores/nfs41/nfs41_internal.h"

void nfs41_put_guard(struct nfs_compound *c, const char *name, const struct attr *expect)
{
    nfs_put_lookup(c, name);
    nfs_put_verify(c, NFS41_MEANT, expect);
    nfs_put_restorefh(c);
}

int nfs41_get_guard(struct nfs_compound *c, struct nfs41_temp *t)
{
    int r = nfs_get_plain(c, NFS_OP_LOOKUP);

    r = r ? r : nfs_get_plain(c, NFS_OP_VERIFY);
    t->guarded = r > 0;
    return r ? r : nfs_get_plain(c, NFS_OP_RESTOREFH);
}

bool nfs41_guards(const struct nfs41_store *s, const struct nfs41_temp *t)
{
    return t->expect && !t->looks && !nfs41_stepped(s, NFS41_STEP_NO_VERIFY);
}

int nfs41_guard_judge(struct store_op *op, struct nfs41_temp *t, enum nfs_op stop, int r)
{
    t->guarded = false;
    if (r == NFS4ERR_NOT_SAME || r == NFS4ERR_NOENT) {
        return nfs41_fail(op, STORE_STEP_GUARD, -ESTALE);
    }
    if (stop == NFS_OP_VERIFY && !t->looks) {
        t->looks = true; /* it does not compare that */
        op->step = NULL;
        return 0;
    }
    return nfs41_fail(op, nfs41_step(stop), nfs_errno((uint32_t)r));
}

int nfs41_guard_look(struct port *p, struct store_op *op, const struct nfs41_temp *t, const char *name)
{
    struct nfs_compound *c;
    struct attr now;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &t->dir.fh);
    nfs_put_lookup(c, name);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs41_get_attr(p, c, &now);
    if (r == NFS4ERR_NOENT || (!r && !attr_is_meant(t->expect, &now))) {
        nfs_compound_end(c);
        return nfs41_fail(op, STORE_STEP_GUARD, -ESTALE);
    }
    r = nfs41_result(op, c, r);
    nfs_compound_end(c);
    return r;
}
