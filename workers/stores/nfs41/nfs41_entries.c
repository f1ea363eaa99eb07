/*
 * nfs41_entries: everything but regular files is made here: symbolic links, nodes, hard links, directories.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/nfs41/nfs41_internal.h"

/* ---- directories ---- */

/* What stands under name in dir. 0 or -errno. */
static int look(struct port *p, const struct nfs_dir *dir, const char *name, struct attr *out)
{
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &dir->fh);
    nfs_put_lookup(c, name);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = nfs41_result(NULL, c, r ? r : nfs41_get_attr(p, c, out));
    nfs_compound_end(c);
    return r;
}

/* The answer to a try before this one was lost: a directory of ours, as we have asked for it, is that one's. */
static bool is_ours(struct port *p, const struct store_op *op, const struct nfs_dir *dir)
{
    struct attr seen = {0};

    return look(p, dir, op->name, &seen) == 0 && S_ISDIR(seen.mode) && seen.uid == nfs41_of(p)->uid &&
           (seen.mode & 0777) == (op->mkdir.mode & 0777);
}

static int mkdir_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct attr attr = {.mode = S_IFDIR | (op->mkdir.mode & 07777)};
    struct attr seen = {0};
    struct nfs_dir made = {0};
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &dir->fh);
    nfs_put_create(c, op->name, NFS_ATTR_MODE, &attr, NULL);
    nfs_put_getattr(c, NFS_ATTR_TYPE | NFS_ATTR_MODE);
    nfs_put_getfh(c);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = nfs41_result(NULL, c, r ? r : nfs_get_create(c));
    if (!r && nfs41_get_attr(p, c, &seen) == 0 && nfs_get_getfh(c, &made.fh) == 0) {
        made.inherits = (seen.mode & S_ISGID) != 0;
        nfs_dirs_made(&nfs41_of(p)->dirs, dir, op->name, &made);
    }
    nfs_compound_end(c);
    return r == -EEXIST && op->repeated && is_ours(p, op, dir) ? 0 : r;
}

int nfs41_mkdir(struct port *p, struct store_op *op)
{
    return nfs41_in_dir(p, op, op->dir, true, mkdir_in);
}

/* ---- symbolic links and nodes ---- */

/* CREATE to RENAME in one COMPOUND; or without RENAME. 0, NFS4ERR with *out_stop, or -errno. */
static int make(struct port *p, struct store_op *op, struct nfs41_temp *t, bool renames, enum nfs_op *out_stop)
{
    struct attr attr = {.mode = (t->want.attr->mode & S_IFMT) | 0600, .rdev = t->want.attr->rdev};
    struct nfs_stateid none = nfs_stateid_anonymous();
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &t->dir.fh);
    nfs_put_savefh(c);
    nfs_put_create(c, t->name, S_ISLNK(attr.mode) ? 0 : NFS_ATTR_MODE, &attr, op->put.target);
    nfs41_put_settle(p, c, t, &none);
    if (renames) {
        nfs_put_restorefh(c);
        nfs_put_rename(c, t->name, op->name);
    }
    r = nfs41_send(p, c);
    t->unknown = r && c->sent;
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_plain(c, NFS_OP_SAVEFH);
    r = r ? r : nfs_get_create(c);
    t->made = !r;
    r = r ? r : nfs41_get_settle(p, c, t);
    r = r || !renames ? r : nfs_get_plain(c, NFS_OP_RESTOREFH);
    r = r || !renames ? r : nfs_get_rename(c);
    *out_stop = r == NFS4ERR_NOT_SAME ? NFS_OP_VERIFY : nfs41_stopped_at(c);
    nfs_compound_end(c);
    if (!r && renames) {
        t->made = false;
    }
    return r;
}

static int put_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs41_store *s = nfs41_of(p);
    struct nfs41_temp t;
    int err = nfs41_temp_init(p, &t, dir, op->put.attr, op->put.keep, op->put.xattrs);

    for (unsigned tries = 0; !err; tries++) {
        bool renames = !nfs41_stepped(s, NFS41_STEP_SPLIT | NFS41_STEP_NO_VERIFY);
        enum nfs_op stop = (enum nfs_op)0;
        int r = nfs41_fence(p, op);

        if (r) {
            err = r;
            break;
        }
        r = make(p, op, &t, renames, &stop);
        if (!r) {
            err = renames ? 0 : nfs41_temp_rename(p, op, &t, op->name);
            if (!err) {
                break;
            }
        }
        nfs41_temp_drop(p, &t);
        if (r == -E2BIG && renames) {
            atomic_fetch_or(&s->steps, NFS41_STEP_SPLIT);
        } else if (!err) {
            err = r < 0 ? r : nfs41_judge(p, op, &t, stop, r, tries);
        }
        err = err ? err : nfs41_temp_again(p, &t);
    }
    if (err) {
        return err;
    }
    op->step = NULL;
    nfs_want_note(&s->owning, s->notices, &t.want, &t.seen);
    if (op->put.out) {
        *op->put.out = t.seen;
    }
    return 0;
}

int nfs41_symlink_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    return put_in(p, op, dir);
}

int nfs41_symlink(struct port *p, struct store_op *op)
{
    return nfs41_in_dir(p, op, op->dir, true, put_in);
}

int nfs41_node(struct port *p, struct store_op *op)
{
    return nfs41_in_dir(p, op, op->dir, true, put_in);
}

/* ---- hard links ---- */

/* A link under way. */
struct linking {
    struct nfs_dir from_dir;
    struct nfs_dir dir;
    const struct attr *expect; /* what it must be; NULL: whatever it is */
    bool looks;                /* the server does not compare that: we look right before */
    bool refused;              /* the server has compared, or would not */
    struct attr from;          /* what is to get another name */
    struct attr out;           /* what stands under that name in the end */
};

static bool same_inode(const struct attr *a, const struct attr *b)
{
    return a->ino == b->ino && a->dev == b->dev;
}

/* Whether the server is asked to compare. */
static bool is_verified(const struct linking *l)
{
    return l->expect && !l->looks;
}

/* To the file that gets another name: it is saved, the directory current. Reads its attributes, and makes sure that it
 * is the one that is meant: LINK is given that very file. */
static void put_from(struct nfs_compound *c, const struct store_op *op, const struct linking *l)
{
    nfs_put_putfh(c, &l->from_dir.fh);
    nfs_put_lookup(c, op->link.from_name);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    if (is_verified(l)) {
        nfs_put_verify(c, NFS41_SAME_FILE, l->expect);
    }
    nfs_put_savefh(c);
    nfs_put_putfh(c, &l->dir.fh);
}

static int get_from(struct port *p, struct nfs_compound *c, struct linking *l)
{
    int r = nfs_get_plain(c, NFS_OP_PUTFH);

    r = r ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs41_get_attr(p, c, &l->from);
    if (!r && is_verified(l)) {
        r = nfs_get_plain(c, NFS_OP_VERIFY);
        l->refused = r > 0;
    }
    r = r ? r : nfs_get_plain(c, NFS_OP_SAVEFH);
    return r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
}

/* After get_from has been refused, which has filled in l->from: -ESTALE where that is another file; -EAGAIN: the server
 * does not compare that, and we are to look. */
static int refused(struct store_op *op, struct linking *l)
{
    l->refused = false;
    if (!attr_is_same_file(l->expect, &l->from)) {
        return nfs41_fail(op, STORE_STEP_GUARD, -ESTALE);
    }
    l->looks = true;
    op->step = NULL;
    return -EAGAIN;
}

/* Looks whether it is what is meant, where the server does not. 0 or -errno. */
static int look_from(struct port *p, struct store_op *op, struct linking *l)
{
    int err;

    if (!l->expect || is_verified(l)) {
        return 0;
    }
    err = look(p, &l->from_dir, op->link.from_name, &l->from);
    return err || attr_is_same_file(l->expect, &l->from) ? err : nfs41_fail(op, STORE_STEP_GUARD, -ESTALE);
}

static void put_look(struct nfs_compound *c, const char *name)
{
    nfs_put_lookup(c, name);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
}

static int get_look(struct port *p, struct nfs_compound *c, struct attr *out)
{
    int r = nfs_get_plain(c, NFS_OP_LOOKUP);

    return r ? r : nfs41_get_attr(p, c, out);
}

/* A name that nobody has: the link itself is atomic, and needs no temp name. 0, -EEXIST or another -errno. */
static int link_new(struct port *p, struct store_op *op, struct linking *l)
{
    struct nfs_compound *c;
    int err = look_from(p, op, l);
    int r;

    err = err ? err : nfs41_fence(p, op);
    if (err) {
        return err;
    }
    r = nfs41_begin(p, &c);
    if (r) {
        return r;
    }
    put_from(c, op, l);
    nfs_put_link(c, op->name);
    put_look(c, op->name);
    r = nfs41_send(p, c);
    r = r ? r : get_from(p, c, l);
    r = r ? r : nfs_get_link(c);
    r = r ? r : get_look(p, c, &l->out);
    err = nfs41_result(op, c, r);
    nfs_compound_end(c);
    if (l->refused) {
        return refused(op, l);
    }
    return !err && !same_inode(&l->from, &l->out) ? -ESTALE : err;
}

/*
 * By way of a temp name, in the place of what stands there. A rename onto another name of the same inode does nothing,
 * says nothing, and leaves the temp name: somebody may have made that link since we looked. So it is removed in any
 * case.
 */
static int link_over(struct port *p, struct store_op *op, struct linking *l, struct nfs41_temp *t)
{
    struct nfs_compound *c;
    int err = look_from(p, op, l);
    int r;

    err = err ? err : nfs41_fence(p, op);
    if (err) {
        return err;
    }
    r = nfs41_begin(p, &c);
    if (r) {
        return r;
    }
    put_from(c, op, l);
    nfs_put_link(c, t->name);
    nfs_put_savefh(c);
    nfs_put_rename(c, t->name, op->name);
    put_look(c, op->name);
    nfs_put_putfh(c, &l->dir.fh);
    nfs_put_remove(c, t->name);
    r = nfs41_send(p, c);
    t->unknown = r && c->sent;
    r = r ? r : get_from(p, c, l);
    r = r ? r : nfs_get_link(c);
    t->made = !r;
    r = r ? r : nfs_get_plain(c, NFS_OP_SAVEFH);
    r = r ? r : nfs_get_rename(c);
    if (!r) {
        r = get_look(p, c, &l->out);
        err = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
        err = err ? err : nfs_get_remove(c);
        t->made = err != 0 && err != NFS4ERR_NOENT;
    }
    err = nfs41_result(op, c, r);
    nfs_compound_end(c);
    nfs41_temp_drop(p, t);
    if (l->refused) {
        return refused(op, l);
    }
    return !err && !same_inode(&l->from, &l->out) ? -ESTALE : err;
}

static int link_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct linking l = {
        .dir = *dir, .expect = op->link.expect, .looks = nfs41_stepped(nfs41_of(p), NFS41_STEP_NO_VERIFY)};
    struct nfs41_temp t = {.dir = *dir};
    int err = nfs_dirs_get(&nfs41_of(p)->dirs, p, op->link.from_dir, &l.from_dir);

    if (err) {
        return err;
    }
    err = link_new(p, op, &l);
    if (err == -EAGAIN && l.looks) {
        err = link_new(p, op, &l);
    }
    if (err == -EEXIST) {
        op->step = NULL;
        err = look(p, dir, op->name, &l.out);
        if (!err && !same_inode(&l.from, &l.out)) {
            err = -EEXIST;
        }
    }
    for (unsigned tries = 0; err == -EEXIST && tries < NFS41_NAME_TRIES; tries++) {
        int made = temp_name_make(nfs41_of(p)->run_id, t.name);

        op->step = NULL;
        err = made ? made : link_over(p, op, &l, &t);
        if (err == -EEXIST && op->step && strcmp(op->step, "rename") == 0) {
            break; /* a directory stands there */
        }
    }
    if (err == -ESTALE && !store_op_guarded(op)) {
        nfs_dirs_forget(&nfs41_of(p)->dirs, op->link.from_dir, &l.from_dir);
    }
    if (!err && op->link.out) {
        *op->link.out = l.out;
    }
    return err;
}

int nfs41_link(struct port *p, struct store_op *op)
{
    return nfs41_in_dir(p, op, op->dir, true, link_in);
}
