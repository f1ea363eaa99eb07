/*
 * nfs3_change: attributes of what is there, and its removal, if it is still what was meant.
 */
#include <errno.h>
#include <sys/stat.h>

#include "workers/stores/nfs3/nfs3_internal.h"

/* ---- attributes ---- */

/* One SETATTR operation of the store. */
struct change {
    struct nfs_fh fh; /* of the entry */
    struct want want;
    struct attr seen; /* as it is now */
};

/* The entry's handle and attributes. 0 or -errno. */
static int find(struct port *p, struct store_op *op, const struct nfs_dir *dir, struct nfs_fh *fh, struct attr *seen)
{
    int r;

    if (op->name) {
        r = nfs3_lookup(p, &dir->fh, op->name, fh, seen);
    } else {
        *fh = dir->fh;
        r = nfs3_getattr(p, fh, seen);
    }
    if (r) {
        op->step = op->name ? "lookup" : "getattr";
    }
    return nfs3_result(r);
}

/* One SETATTR of the entry itself, and a look at what came of it. 0, a status or -errno. */
static int set(struct port *p, struct store_op *op, struct change *ch, unsigned mask, const struct attr *attr)
{
    struct nfs3_req req = {.proc = V3_SETATTR, .fh = &ch->fh, .attr_in = attr, .set = mask};
    int r = nfs3_call(p, &req);

    if (req.again && r >= 0) {
        nfs3_wait_late(p); /* other attributes may be set before long */
    }
    if (r) {
        op->step = "setattr";
        return r;
    }
    if (req.has_attr) {
        ch->seen = req.attr;
        return 0;
    }
    return nfs3_getattr(p, &ch->fh, &ch->seen);
}

/* Root may not set an owner, but the mode: so it is not this entry that is locked (immutable), it is the destination
 * that does not take us for root. */
static void note_refusal(struct port *p, struct store_op *op, struct change *ch)
{
    struct nfs3_store *s = nfs3_of(p);
    struct attr same = ch->seen;

    if (ch->want.refused && s->owning.privileged && !S_ISLNK(same.mode) && set(p, op, ch, V3_SET_MODE, &same) == 0) {
        atomic_store(&s->owning.refused, true);
    }
    op->step = NULL;
}

/* The owner first, since setting it takes setuid and setgid away. */
static int set_owner(struct port *p, struct store_op *op, struct change *ch)
{
    struct attr target = {.uid = ch->want.uid, .gid = ch->want.gid};
    unsigned mask = (ch->want.uid != (uid_t)-1 ? V3_SET_UID : 0) | (ch->want.gid != (gid_t)-1 ? V3_SET_GID : 0);
    int r;
    int err;

    if (!want_owner_wrong(&ch->want, &ch->seen)) {
        return 0;
    }
    r = set(p, op, ch, mask, &target);
    if (r <= 0) {
        return r;
    }
    if (!nfs3_is_owner_refusal(r)) {
        return nfs3_result(r);
    }
    err = nfs3_want_refused(nfs3_of(p), &ch->want, r, false);
    if (!err) {
        note_refusal(p, op, ch);
    }
    return err;
}

/* Mode and times, as far as they differ. */
static int set_rest(struct port *p, struct store_op *op, struct change *ch)
{
    const struct want *w = &ch->want;
    struct attr target = *w->attr;
    unsigned mask = 0;

    target.mode = (w->attr->mode & S_IFMT) | want_mode(w, ch->seen.uid, ch->seen.gid);
    if ((w->keep & STORE_KEEP_MODE) && !S_ISLNK(target.mode) && ((target.mode ^ ch->seen.mode) & 07777)) {
        mask |= V3_SET_MODE;
    }
    if ((w->keep & STORE_KEEP_TIMES) &&
        (!nfs3_time_same(&target.mtime, &ch->seen.mtime) || !nfs3_time_same(&target.atime, &ch->seen.atime))) {
        mask |= V3_SET_TIMES;
    }
    return mask ? nfs3_result(set(p, op, ch, mask, &target)) : 0;
}

int nfs3_setattr_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs3_store *s = nfs3_of(p);
    struct change ch = {0};
    int err;

    want_init(&s->owning, &ch.want, op->setattr.attr, op->setattr.keep, op->setattr.xattrs);
    err = find(p, op, dir, &ch.fh, &ch.seen);
    if (!err && ((ch.seen.mode & S_IFMT) != (op->setattr.attr->mode & S_IFMT) ||
                 (op->setattr.expect && !attr_is_meant(op->setattr.expect, &ch.seen)))) {
        err = nfs3_fail(op, STORE_STEP_GUARD, -ESTALE);
    }
    err = err ? err : set_owner(p, op, &ch);
    err = err ? err : set_rest(p, op, &ch);
    if (err) {
        return err;
    }
    op->step = NULL;
    if (!op->name && op->dir) {
        nfs_dirs_note_mode(&s->dirs, op->dir, ch.seen.mode);
    }
    nfs_want_note(&s->owning, s->notices, &ch.want, &ch.seen);
    return 0;
}

int nfs3_setattr(struct port *p, struct store_op *op)
{
    return nfs3_in_dir(p, op, op->dir, false, nfs3_setattr_in);
}

/* ---- removal ---- */

/* Whether seen is what is to be removed. 0 or -errno. */
static int guard(struct store_op *op, const struct attr *seen)
{
    const struct attr *expect = op->remove.expect;

    if (!expect) {
        return S_ISDIR(seen->mode) == op->remove.dir ? 0 : nfs3_fail(op, "remove", op->remove.dir ? -ENOTDIR : -EISDIR);
    }
    return attr_is_same_entry(expect, seen, op->remove.dir) ? 0 : nfs3_fail(op, STORE_STEP_GUARD, -ESTALE);
}

int nfs3_remove_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs3_req req = {.proc = op->remove.dir ? V3_RMDIR : V3_REMOVE, .fh = &dir->fh, .name = op->name};
    struct attr seen;
    struct nfs_fh fh;
    int err;
    int r;

    if (op->remove.expect && S_ISDIR(op->remove.expect->mode) != op->remove.dir) {
        return op->remove.dir ? -ENOTDIR : -EISDIR;
    }
    err = find(p, op, dir, &fh, &seen);
    err = err ? err : guard(op, &seen);
    err = err || temp_name_is_of(op->name, nfs3_of(p)->run_id) ? err : nfs3_fence(p, op);
    if (err) {
        return err;
    }
    r = nfs3_call(p, &req);
    if (req.again && r >= 0) {
        nfs3_wait_late(p); /* the name may be somebody's again before long */
    }
    if (r == V3_NOENT && req.again) {
        return 0; /* the first try did it, and only its answer was lost */
    }
    if (r) {
        op->step = "remove";
    }
    /* RFC 1813 3.3.13 lets servers say so of a directory that is not empty. */
    return op->remove.dir && r == V3_EXIST ? -ENOTEMPTY : nfs3_result(r);
}

int nfs3_remove(struct port *p, struct store_op *op)
{
    int err = nfs3_in_dir(p, op, op->dir, false, nfs3_remove_in);

    /* The try before this one did it, and only its answer was lost. */
    if (err == -ENOENT && op->repeated) {
        op->step = NULL;
        return 0;
    }
    return err;
}

/* Everything was durable when it was answered: FILE_SYNC, COMMIT, and metadata as the protocol demands. */
int nfs3_sync(struct port *p, struct store_op *op)
{
    (void)p;
    (void)op;
    return 0;
}
