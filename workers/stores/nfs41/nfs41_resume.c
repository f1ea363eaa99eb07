/*
 * nfs41_resume: a temp file that an earlier upload has left, taken up again.
 *
 * It is looked at first, by name; from then on its handle stands for it, whatever becomes of the name. It is made
 * private only as long as the server sees the same file (VERIFY), and opened by its handle.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/nfs41/nfs41_internal.h"

/* Whether seen is what was left. A run that ended while it committed may have given the file away already, to whom it
 * is to belong. */
static bool is_left(const struct store_temp *left, const struct want *w, const struct attr *seen)
{
    return S_ISREG(seen->mode) && seen->nlink == 1 && seen->ino == left->ino &&
           (seen->uid == left->uid || seen->uid == w->uid);
}

/* What stands under the temp name. 0 or -errno. */
static int find(struct port *p, struct store_op *op, struct nfs41_temp *t)
{
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &t->dir.fh);
    nfs_put_lookup(c, t->name);
    nfs_put_getfh(c);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs_get_getfh(c, &t->fh);
    r = nfs41_result(op, c, r ? r : nfs41_get_attr(p, c, &t->seen));
    nfs_compound_end(c);
    return r;
}

/* Private, open, and once more looked at. 0, NFS4ERR or -errno. */
static int open_private(struct port *p, struct store_op *op, struct nfs41_temp *t, bool verify)
{
    struct nfs_stateid none = nfs_stateid_anonymous();
    struct nfs_open open = {.owner = nfs41_port_of(p)->owner,
                            .share = NFS_SHARE_READ | NFS_SHARE_WRITE,
                            .create = NFS_OPEN_ONLY,
                            .name = NULL};
    struct attr private = t->seen;
    bool chmod = (t->seen.mode & 07777) != 0600;
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    private.mode = S_IFREG | 0600;
    nfs_put_putfh(c, &t->fh);
    if (verify) {
        nfs_put_verify(c, NFS_ATTR_TYPE | NFS_ATTR_FILEID | NFS_ATTR_NUMLINKS, &t->seen);
    }
    if (chmod) {
        nfs_put_setattr(c, &none, NFS_ATTR_MODE, &private);
    }
    nfs_put_open(c, &open);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r || !verify ? r : nfs_get_plain(c, NFS_OP_VERIFY);
    r = r || !chmod ? r : nfs_get_setattr(c);
    r = r ? r : nfs41_get_temp_open(c, t);
    r = r ? r : nfs41_get_attr(p, c, &t->seen);
    (void)nfs41_result(op, c, r);
    nfs_compound_end(c);
    return r;
}

int nfs41_temp_resume(struct port *p, struct store_op *op, struct nfs41_temp *t)
{
    const struct store_temp *left = op->put.resume;
    bool verify = !nfs41_stepped(nfs41_of(p), NFS41_STEP_NO_VERIFY);
    int err;
    int r;

    if (!temp_name_parse(left->name, NULL)) {
        return nfs41_fail(op, "open", -EINVAL);
    }
    memcpy(t->name, left->name, sizeof(t->name));
    err = find(p, op, t);
    if (err) {
        return err;
    }
    if (!is_left(left, &t->want, &t->seen)) {
        return nfs41_fail(op, STORE_STEP_GUARD, -ESTALE);
    }
    r = open_private(p, op, t, verify);
    if (r == NFS4ERR_NOT_SAME || (r > 0 && nfs41_is_stale((uint32_t)r)) || (!r && !is_left(left, &t->want, &t->seen))) {
        err = nfs41_fail(op, STORE_STEP_GUARD, -ESTALE);
    } else {
        err = r > 0 ? nfs_errno((uint32_t)r) : r;
    }
    if (err) {
        (void)nfs41_temp_close(p, t);
        return err;
    }
    t->has_seen = true;
    return 0;
}
