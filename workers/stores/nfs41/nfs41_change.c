/*
 * nfs41_change: attributes of what is there, and its removal, if it is still what was meant.
 */
#include <errno.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "workers/stores/nfs41/nfs41_internal.h"

#define OWNERS          (NFS_ATTR_OWNER | NFS_ATTR_GROUP)
#define REMOVE_BOTH_OPS 11U /* operations: SEQUENCE, and PUTFH, LOOKUP, VERIFY, PUTFH, REMOVE of each */

/* ---- attributes ---- */

/* One SETATTR operation of the store. */
struct change {
    struct nfs_fh fh; /* of the entry */
    struct want want;
    struct attr seen; /* as it is now */
};

static uint64_t owner_mask(const struct want *w)
{
    return (w->uid != (uid_t)-1 ? NFS_ATTR_OWNER : 0) | (w->gid != (gid_t)-1 ? NFS_ATTR_GROUP : 0);
}

/* What is set in the end, where nothing has to be known of the entry before. False: it has to. */
static bool foresee(const struct nfs41_store *s, const struct want *w, struct attr *out)
{
    mode_t special = S_ISDIR(w->attr->mode) ? 0 : w->attr->mode & (S_ISUID | S_ISGID);

    *out = *w->attr;
    out->uid = w->uid;
    out->gid = w->gid;
    out->mode = (w->attr->mode & S_IFMT) | want_mode(w, w->uid, w->gid);
    return !nfs41_stepped(s, NFS41_STEP_OWNER_TEXT | NFS41_STEP_NO_VERIFY) && (!special || owner_mask(w) == OWNERS);
}

/* Whether nothing is to be set: Ganesha compares nothing behind the owner, and would call other times the same. */
static bool is_right(const struct want *w, const struct attr *seen, const struct attr *target)
{
    bool times = !(w->keep & STORE_KEEP_TIMES) ||
                 (clock_cmp(&seen->mtime, &target->mtime) == 0 && clock_cmp(&seen->atime, &target->atime) == 0);
    bool mode = !(w->keep & STORE_KEEP_MODE) || S_ISLNK(seen->mode) || ((seen->mode ^ target->mode) & 07777) == 0;

    return times && mode && !want_owner_wrong(w, seen);
}

/*
 * In one COMPOUND: looks, makes sure of the type, stops where all is as it should be, sets it all. 0 or -errno: done;
 * 1: to be done step by step.
 */
static int change_at_once(struct port *p, struct store_op *op, const struct nfs_dir *dir, struct change *ch)
{
    const struct want *w = &ch->want;
    struct nfs_stateid none = nfs_stateid_anonymous();
    bool link = S_ISLNK(w->attr->mode);
    uint64_t owner = owner_mask(w);
    uint64_t mode = (w->keep & STORE_KEEP_MODE) && !link ? NFS_ATTR_MODE : 0;
    bool times = (w->keep & STORE_KEEP_TIMES) != 0;
    uint64_t first = owner | (times ? NFS_ATTR_ATIME_SET | NFS_ATTR_MTIME_SET : 0);
    struct attr target;
    struct nfs_compound *c;
    int r;

    if (!foresee(nfs41_of(p), w, &target) || !(first | mode)) {
        return 1;
    }
    r = nfs41_begin(p, &c);
    if (r) {
        return r;
    }
    nfs_put_putfh(c, &dir->fh);
    if (op->name) {
        nfs_put_lookup(c, op->name);
    }
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    nfs_put_verify(c, op->setattr.expect ? NFS41_MEANT : NFS_ATTR_TYPE,
                   op->setattr.expect ? op->setattr.expect : w->attr);
    nfs_put_nverify(c, owner | mode | (times ? NFS_ATTR_ATIME | NFS_ATTR_MTIME : 0), &target);
    if (first) {
        nfs_put_setattr(c, &none, first, &target);
    }
    if (mode) {
        nfs_put_setattr(c, &none, mode, &target);
    }
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r || !op->name ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs41_get_attr(p, c, &ch->seen);
    if (!r) {
        r = nfs_get_plain(c, NFS_OP_VERIFY);
        if (r == NFS4ERR_NOT_SAME) {
            nfs_compound_end(c);
            return nfs41_fail(op, STORE_STEP_GUARD, -ESTALE);
        }
        r = r ? r : nfs_get_plain(c, NFS_OP_NVERIFY);
        if (r == NFS4ERR_SAME) {
            nfs_compound_end(c);
            return is_right(w, &ch->seen, &target) ? 0 : 1;
        }
        r = r || !first ? r : nfs_get_setattr(c);
        r = r || !mode ? r : nfs_get_setattr(c);
        r = r ? r : nfs41_get_attr(p, c, &ch->seen);
        r = r > 0 && !nfs41_is_stale((uint32_t)r) ? 1 : r;
    }
    r = r == 1 ? 1 : nfs41_result(op, c, r);
    nfs_compound_end(c);
    return r;
}

/* The entry's handle and attributes. 0 or -errno. */
static int find(struct port *p, struct store_op *op, const struct nfs_dir *dir, struct change *ch)
{
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &dir->fh);
    if (op->name) {
        nfs_put_lookup(c, op->name);
    }
    nfs_put_getfh(c);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r || !op->name ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs_get_getfh(c, &ch->fh);
    r = nfs41_result(op, c, r ? r : nfs41_get_attr(p, c, &ch->seen));
    nfs_compound_end(c);
    return r;
}

/* One SETATTR of the entry itself, and a look at what came of it. 0, NFS4ERR or -errno. */
static int set(struct port *p, struct store_op *op, struct change *ch, uint64_t mask, const struct attr *attr)
{
    struct nfs_stateid none = nfs_stateid_anonymous();
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &ch->fh);
    nfs_put_setattr(c, &none, mask, attr);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_setattr(c);
    r = r ? r : nfs41_get_attr(p, c, &ch->seen);
    (void)nfs41_result(op, c, r);
    nfs_compound_end(c);
    return r;
}

/* Root may not set an owner, but the mode: so it is not this entry that is locked (immutable), it is the destination
 * that does not take us for root. */
static void note_refusal(struct port *p, struct store_op *op, struct change *ch)
{
    struct nfs41_store *s = nfs41_of(p);
    struct attr same = ch->seen;

    if (ch->want.refused && s->owning.privileged && !S_ISLNK(same.mode) && set(p, op, ch, NFS_ATTR_MODE, &same) == 0) {
        atomic_store(&s->owning.refused, true);
        atomic_fetch_or(&s->steps, NFS41_STEP_OWNERS);
    }
    op->step = NULL;
}

/* The owner first, since setting it takes setuid and setgid away. */
static int set_owner(struct port *p, struct store_op *op, struct change *ch)
{
    struct attr target = {.uid = ch->want.uid, .gid = ch->want.gid};
    int r;
    int err;

    if (!want_owner_wrong(&ch->want, &ch->seen)) {
        return 0;
    }
    r = set(p, op, ch, owner_mask(&ch->want), &target);
    if (r <= 0) {
        return r;
    }
    if (!nfs41_is_owner_refusal((uint32_t)r)) {
        return nfs_errno((uint32_t)r);
    }
    err = nfs41_want_refused(nfs41_of(p), &ch->want, (uint32_t)r, false);
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
    uint64_t mask = 0;
    int r;

    target.mode = (w->attr->mode & S_IFMT) | want_mode(w, ch->seen.uid, ch->seen.gid);
    if ((w->keep & STORE_KEEP_MODE) && !S_ISLNK(target.mode) && ((target.mode ^ ch->seen.mode) & 07777)) {
        mask |= NFS_ATTR_MODE;
    }
    if ((w->keep & STORE_KEEP_TIMES) &&
        (clock_cmp(&ch->seen.mtime, &target.mtime) != 0 || clock_cmp(&ch->seen.atime, &target.atime) != 0)) {
        mask |= NFS_ATTR_ATIME_SET | NFS_ATTR_MTIME_SET;
    }
    r = mask ? set(p, op, ch, mask, &target) : 0;
    return r > 0 ? nfs_errno((uint32_t)r) : r;
}

int nfs41_setattr_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs41_store *s = nfs41_of(p);
    struct change ch = {0};
    int err;

    want_init(&s->owning, &ch.want, op->setattr.attr, op->setattr.keep, op->setattr.xattrs);
    err = change_at_once(p, op, dir, &ch);
    if (err == 1) {
        op->step = NULL;
        err = find(p, op, dir, &ch);
        if (!err && ((ch.seen.mode & S_IFMT) != (op->setattr.attr->mode & S_IFMT) ||
                     (op->setattr.expect && !attr_is_meant(op->setattr.expect, &ch.seen)))) {
            err = nfs41_fail(op, STORE_STEP_GUARD, -ESTALE);
        }
        err = err ? err : set_owner(p, op, &ch);
        err = err ? err : set_rest(p, op, &ch);
    }
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

int nfs41_setattr(struct port *p, struct store_op *op)
{
    return nfs41_in_dir(p, op, op->dir, false, nfs41_setattr_in);
}

/* ---- removal ---- */

/* What must be so of an entry that is to be removed. */
struct guard {
    uint64_t mask;    /* NFS_ATTR_*; 0: nothing */
    bool not ;        /* ... must not be so */
    struct attr attr; /* values */
    int err;          /* -errno of an entry that does not pass */
};

/* NFS has one REMOVE for directories and all else. */
static void guard_make(const struct store_op *op, struct guard *g)
{
    const struct attr *expect = op->remove.expect;

    if (expect) {
        *g = (struct guard){.mask = NFS41_SAME_ENTRY(op->remove.dir), .attr = *expect, .err = -ESTALE};
        return;
    }
    *g = (struct guard){.mask = NFS_ATTR_TYPE, .not = !op->remove.dir, .attr = {.mode = S_IFDIR}};
    g->err = op->remove.dir ? -ENOTDIR : -EISDIR;
}

/* What VERIFY and NVERIFY ask by that, asked here. */
static bool guard_passes(const struct store_op *op, const struct attr *seen)
{
    const struct attr *expect = op->remove.expect;

    return expect ? attr_is_same_entry(expect, seen, op->remove.dir) : S_ISDIR(seen->mode) == op->remove.dir;
}

static int guard_fail(struct store_op *op, const struct guard *g)
{
    return nfs41_fail(op, g->err == -ESTALE ? STORE_STEP_GUARD : "remove", g->err);
}

/* Looks for itself, where the server has no VERIFY. 0 or -errno. */
static int guard_look(struct port *p, struct store_op *op, const struct nfs_dir *dir, const struct guard *g)
{
    struct change ch = {0};
    int err = find(p, op, dir, &ch);

    return err || guard_passes(op, &ch.seen) ? err : guard_fail(op, g);
}

/* REMOVE of name in dir, behind LOOKUP and VERIFY of g; g NULL: nothing. */
static void put_remove(struct nfs_compound *c, const struct nfs_dir *dir, const char *name, const struct guard *g)
{
    if (g) {
        nfs_put_putfh(c, &dir->fh);
        nfs_put_lookup(c, name);
        if (g->not ) {
            nfs_put_nverify(c, g->mask, &g->attr);
        } else {
            nfs_put_verify(c, g->mask, &g->attr);
        }
    }
    nfs_put_putfh(c, &dir->fh);
    nfs_put_remove(c, name);
}

/* 0, NFS4ERR or -errno. */
static int get_remove(struct nfs_compound *c, const struct guard *g)
{
    int r = 0;

    if (g) {
        r = nfs_get_plain(c, NFS_OP_PUTFH);
        r = r ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
        r = r ? r : nfs_get_plain(c, g->not ? NFS_OP_NVERIFY : NFS_OP_VERIFY);
    }
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    return r ? r : nfs_get_remove(c);
}

/* Whether op->dir is to go in the same COMPOUND, if it can; out_above: the directory that it is in. */
static bool takes_dir(struct port *p, const struct store_op *op, struct nfs_dir *out_above)
{
    struct nfs_limits limits;

    if (!op->remove.out_emptied || op->remove.dir || !op->dir->parent) {
        return false;
    }
    nfs41_limits(p, &limits);
    return limits.max_ops >= REMOVE_BOTH_OPS && nfs_dirs_known(&nfs41_of(p)->dirs, op->dir->parent, out_above);
}

/* A COMPOUND with more in it than this server takes, whatever it says of itself. */
static bool is_too_much(int r)
{
    return r == -E2BIG || (r > 0 && nfs_error((uint32_t)r)->decision == NFS_DO_SPLIT);
}

/* LOOKUP, VERIFY, REMOVE in one COMPOUND. g NULL: only REMOVE. above: op->dir, which is in it, as well; NULL: not.
 * 0, NFS4ERR or -errno; *out_stop: where it stopped. */
static int remove_guarded(struct port *p, struct store_op *op, const struct nfs_dir *dir, const struct guard *g,
                          const struct nfs_dir *above, enum nfs_op *out_stop)
{
    const struct guard is_dir = {.mask = NFS_ATTR_TYPE, .attr = {.mode = S_IFDIR}};
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    put_remove(c, dir, op->name, g);
    if (above) {
        put_remove(c, above, op->dir->name, &is_dir); /* refused where something else is in it */
    }
    r = nfs41_send(p, c);
    r = r ? r : get_remove(c, g);
    *out_stop = nfs41_stopped_at(c);
    if (above && !r) {
        *op->remove.out_emptied |= get_remove(c, &is_dir) == 0;
    }
    (void)nfs41_result(op, c, r);
    nfs_compound_end(c);
    return r;
}

int nfs41_remove_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs41_store *s = nfs41_of(p);
    bool own = temp_name_is_of(op->name, nfs41_of(p)->run_id);
    bool verify = !nfs41_stepped(s, NFS41_STEP_NO_VERIFY);
    enum nfs_op stop = (enum nfs_op)0;
    struct nfs_dir above;
    bool both = takes_dir(p, op, &above);
    struct guard g;
    int err;
    int r;

    guard_make(op, &g);
    if (op->remove.expect && S_ISDIR(g.attr.mode) != op->remove.dir) {
        return op->remove.dir ? -ENOTDIR : -EISDIR;
    }
    for (;;) {
        err = verify ? 0 : guard_look(p, op, dir, &g);
        err = err || own ? err : nfs41_fence(p, op);
        if (err) {
            return err;
        }
        both = both && verify;
        r = remove_guarded(p, op, dir, verify ? &g : NULL, both ? &above : NULL, &stop);
        if (both && is_too_much(r)) {
            both = false; /* op->name stands still */
            op->step = NULL;
            continue;
        }
        if (r <= 0) {
            return r;
        }
        if (stop == NFS_OP_REMOVE || stop == NFS_OP_PUTFH || stop == NFS_OP_LOOKUP || !verify) {
            return nfs_errno((uint32_t)r);
        }
        if (r == (g.not ? NFS4ERR_SAME : NFS4ERR_NOT_SAME)) {
            return guard_fail(op, &g);
        }
        if (stop != NFS_OP_VERIFY && stop != NFS_OP_NVERIFY) {
            return nfs_errno((uint32_t)r);
        }
        verify = false; /* it does not compare that: we look */
        op->step = NULL;
    }
}

int nfs41_remove(struct port *p, struct store_op *op)
{
    int err = nfs41_in_dir(p, op, op->dir, false, nfs41_remove_in);

    /* The try before this one did it, and only its answer was lost. */
    if (err == -ENOENT && op->repeated) {
        op->step = NULL;
        return 0;
    }
    return err;
}

/* Everything was durable when its COMPOUND was answered: FILE_SYNC, COMMIT, and metadata as the protocol demands. */
int nfs41_sync(struct port *p, struct store_op *op)
{
    (void)p;
    (void)op;
    return 0;
}
