/*
 * nfs41_judge: what is done about a staged file that the server did not let through.
 *
 * Most of it is found out when the store is opened (nfs41_probe.c); a server may differ from one directory to the next
 * all the same, so that each file's failure is looked at, and the store steps down when it has to.
 */
#include <errno.h>
#include <sys/stat.h>

#include "workers/stores/nfs41/nfs41_internal.h"

#define SPECIAL (S_ISUID | S_ISGID | S_ISVTX)

static void step_down(struct nfs41_store *s, unsigned step)
{
    atomic_fetch_or(&s->steps, step);
}

/* The server stored another owner than it was told to, or none was told since it should have come by itself. */
static int judge_owner(struct nfs41_store *s, struct nfs41_temp *t)
{
    if (!(t->plan.first & (NFS_ATTR_OWNER | NFS_ATTR_GROUP))) {
        atomic_store(&s->owner_surprise, true);
        return 0;
    }
    return nfs41_want_refused(s, &t->want, NFS4ERR_PERM, true);
}

/* VERIFY, or our own look, has found a difference. */
static int judge_not_same(struct port *p, struct store_op *op, struct nfs41_temp *t, unsigned tries)
{
    struct nfs41_store *s = nfs41_of(p);
    const struct attr *want = &t->plan.attr;
    const struct attr *seen = &t->seen;
    bool mode_wrong = !S_ISLNK(want->mode) && ((want->mode ^ seen->mode) & 07777) != 0;
    int err = 0;

    if (!t->has_seen || (want->mode & S_IFMT) != (seen->mode & S_IFMT) ||
        (S_ISREG(want->mode) && want->size != seen->size)) {
        return nfs41_fail(op, "check", -EIO);
    }
    if (!t->named && want_owner_wrong(&t->want, seen)) {
        err = judge_owner(s, t);
        return err ? nfs41_fail(op, "setattr", err) : 0;
    }
    if (mode_wrong && (t->apart || tries > 0) && want_mode_will_do(want->mode, seen->mode)) {
        t->strip |= want->mode & ~seen->mode & SPECIAL;
        return 0;
    }
    if (mode_wrong) {
        if (t->apart) {
            return nfs41_fail(op, "check", -EIO);
        }
        t->apart = true;
        return 0;
    }
    /* As we see it all is well: it is VERIFY that sees it otherwise. What counts is what this file was sent with:
     * others may have had the store step down meanwhile. */
    if (t->plan.verify & (NFS_ATTR_OWNER | NFS_ATTR_GROUP)) {
        step_down(s, NFS41_STEP_OWNER_TEXT);
    } else {
        step_down(s, NFS41_STEP_NO_VERIFY);
    }
    return 0;
}

static bool is_unsupported(int r)
{
    return r == NFS4ERR_NOTSUPP || r == NFS4ERR_ATTRNOTSUPP || r == NFS4ERR_INVAL || r == NFS4ERR_OP_ILLEGAL;
}

/* The state id that OPEN has left in the COMPOUND is not known one operation later. */
static bool is_stateless(enum nfs_op stop, int r)
{
    return (stop == NFS_OP_WRITE || stop == NFS_OP_SETATTR || stop == NFS_OP_CLOSE) &&
           (r == NFS4ERR_BAD_STATEID || r == NFS4ERR_OLD_STATEID || r == NFS4ERR_STALE_STATEID ||
            r == NFS4ERR_OPENMODE);
}

int nfs41_judge(struct port *p, struct store_op *op, struct nfs41_temp *t, enum nfs_op stop, int r, unsigned tries)
{
    struct nfs41_store *s = nfs41_of(p);
    enum nfs_decision decision = nfs_error((uint32_t)r)->decision;
    int err;

    op->step = nfs41_step(stop);
    if (tries >= NFS41_TRIES) {
        return stop == NFS_OP_VERIFY ? nfs41_fail(op, "check", -EIO) : nfs_errno((uint32_t)r);
    }
    if ((stop == NFS_OP_OPEN || stop == NFS_OP_CREATE) && r == NFS4ERR_EXIST) {
        return 0; /* somebody has that name: another one */
    }
    if (stop == NFS_OP_SETATTR && t->settled == 0 && (t->plan.first & (NFS_ATTR_OWNER | NFS_ATTR_GROUP)) &&
        nfs41_is_owner_refusal((uint32_t)r)) {
        err = nfs41_want_refused(s, &t->want, (uint32_t)r, true);
        op->step = err ? op->step : NULL;
        return err;
    }
    if (stop == NFS_OP_VERIFY && r == NFS4ERR_NOT_SAME) {
        op->step = NULL;
        return judge_not_same(p, op, t, tries);
    }
    if (stop == NFS_OP_VERIFY && is_unsupported(r)) {
        op->step = NULL;
        step_down(s, NFS41_STEP_NO_VERIFY);
        return 0;
    }
    if (is_stateless(stop, r) || decision == NFS_DO_SPLIT) { /* until tries end it */
        op->step = NULL;
        if (tries > 0) {
            step_down(s, NFS41_STEP_SPLIT); /* once may be chance */
        }
        return 0;
    }
    return nfs_errno((uint32_t)r);
}
