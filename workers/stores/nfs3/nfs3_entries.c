/*
 * nfs3_entries: everything but regular files is made here: symbolic links, nodes, hard links, directories.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/nfs3/nfs3_internal.h"

/* ---- directories ---- */

/* Of two tries the first may have made it: a directory of ours, as we have asked for it, is that one's. */
static int look_if_ours(struct port *p, const struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs_fh fh;
    struct attr seen = {0};
    int r = nfs3_lookup(p, &dir->fh, op->name, &fh, &seen);

    return r == 0 && S_ISDIR(seen.mode) && seen.uid == nfs3_of(p)->uid && (seen.mode & 0777) == (op->mkdir.mode & 0777)
               ? 0
               : -EEXIST;
}

static int mkdir_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    const struct attr attr = {.mode = S_IFDIR | (op->mkdir.mode & 07777)};
    struct nfs3_req req = {.proc = V3_MKDIR, .fh = &dir->fh, .name = op->name, .attr_in = &attr, .set = V3_SET_MODE};
    int r = nfs3_call(p, &req);

    if (r == V3_EXIST && (req.again || op->repeated)) {
        return look_if_ours(p, op, dir);
    }
    if (!r && req.out_fh.len > 0 && req.has_attr) {
        const struct nfs_dir made = {.fh = req.out_fh, .inherits = (req.attr.mode & S_ISGID) != 0};

        nfs_dirs_made(&nfs3_of(p)->dirs, dir, op->name, &made);
    }
    return nfs3_result(r);
}

int nfs3_mkdir(struct port *p, struct store_op *op)
{
    return nfs3_in_dir(p, op, op->dir, true, mkdir_in);
}

/* ---- symbolic links and nodes ---- */

int nfs3_put_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs3_store *s = nfs3_of(p);
    bool link = op->code == STORE_SYMLINK;
    struct nfs3_temp t;
    int err = nfs3_temp_init(p, &t, dir, op->put.attr, op->put.keep, op->put.xattrs);

    err = err ? err : nfs3_temp_make(p, op, &t, link ? V3_SYMLINK : V3_MKNOD, op->put.target);
    if (err) {
        return err;
    }
    err = nfs3_temp_settle(p, op, &t);
    err = err ? err : nfs3_temp_rename(p, op, &t, op->name);
    if (err) {
        const char *step = op->step;

        nfs3_temp_drop(p, &t);
        op->step = step;
        return err;
    }
    op->step = NULL;
    nfs_want_note(&s->owning, s->notices, &t.want, &t.seen);
    if (op->put.out) {
        *op->put.out = t.seen;
    }
    return 0;
}

int nfs3_symlink(struct port *p, struct store_op *op)
{
    return nfs3_in_dir(p, op, op->dir, true, nfs3_put_in);
}

int nfs3_node(struct port *p, struct store_op *op)
{
    return nfs3_in_dir(p, op, op->dir, true, nfs3_put_in);
}

/* ---- hard links ---- */

/* A link under way. */
struct linking {
    struct nfs_dir from_dir;
    struct nfs_fh fh; /* of what is to get another name */
    struct attr from; /* the same, as it was found */
    struct attr out;  /* what stands under that name in the end */
};

static bool same_inode(const struct attr *a, const struct attr *b)
{
    return a->ino == b->ino && a->dev == b->dev;
}

/* What stands under name now. 0 or -errno. */
static int look(struct port *p, const struct nfs_dir *dir, const char *name, struct attr *out)
{
    struct nfs_fh fh;

    return nfs3_result(nfs3_lookup(p, &dir->fh, name, &fh, out));
}

/* A name that nobody has: the link itself is atomic, and needs no temp name. 0, -EEXIST or another -errno. */
static int link_new(struct port *p, struct store_op *op, const struct nfs_dir *dir, struct linking *l)
{
    struct nfs3_req req = {.proc = V3_LINK, .fh = &l->fh, .to_fh = &dir->fh, .to_name = op->name};
    int err = nfs3_fence(p, op);

    err = err ? err : nfs3_do(p, op, &req);
    err = err ? err : look(p, dir, op->name, &l->out);
    return !err && !same_inode(&l->from, &l->out) ? -ESTALE : err;
}

/*
 * By way of a temp name, in the place of what stands there. A rename onto another name of the same inode does nothing,
 * says nothing, and leaves the temp name: somebody may have made that link since we looked. So it is removed in any
 * case.
 */
static int link_over(struct port *p, struct store_op *op, struct linking *l, struct nfs3_temp *t)
{
    struct nfs3_req req = {.proc = V3_LINK, .fh = &l->fh, .to_fh = &t->dir.fh, .to_name = t->name};
    int r = nfs3_call(p, &req);
    int err;

    t->made = r == 0;
    t->unknown = r < 0 || (r > 0 && req.again);
    t->made_twice = r == 0 && req.again;
    if (r) {
        nfs3_temp_drop(p, t);
        return nfs3_fail(op, "link", nfs3_result(r));
    }
    t->seen = l->from;
    t->has_seen = true;
    err = nfs3_temp_rename(p, op, t, op->name);
    t->made = !t->unknown;
    if (!err) {
        err = look(p, &t->dir, op->name, &l->out);
    }
    const char *step = op->step;

    nfs3_temp_drop(p, t);
    op->step = step;
    return !err && !same_inode(&l->from, &l->out) ? -ESTALE : err;
}

static int link_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct linking l = {0};
    struct nfs3_temp t = {.dir = *dir};
    int err = nfs_dirs_get(&nfs3_of(p)->dirs, p, op->link.from_dir, &l.from_dir);

    err = err ? err : nfs3_result(nfs3_lookup(p, &l.from_dir.fh, op->link.from_name, &l.fh, &l.from));
    if (!err && op->link.expect && !attr_is_same_file(op->link.expect, &l.from)) {
        err = nfs3_fail(op, STORE_STEP_GUARD, -ESTALE); /* else LINK is given that very file */
    }
    err = err ? err : link_new(p, op, dir, &l);
    if (err == -EEXIST) {
        op->step = NULL;
        err = look(p, dir, op->name, &l.out);
        if (!err && !same_inode(&l.from, &l.out)) {
            err = -EEXIST;
        }
    }
    for (unsigned tries = 0; err == -EEXIST && tries < NFS3_NAME_TRIES; tries++) {
        int named = temp_name_make(nfs3_of(p)->run_id, t.name);

        op->step = NULL;
        err = named ? named : link_over(p, op, &l, &t);
        if (err == -EEXIST && op->step && strcmp(op->step, "rename") == 0) {
            break; /* a directory stands there */
        }
    }
    if (err == -ESTALE && !store_op_guarded(op)) {
        nfs_dirs_forget(&nfs3_of(p)->dirs, op->link.from_dir, &l.from_dir);
    }
    if (!err && op->link.out) {
        *op->link.out = l.out;
    }
    return err;
}

int nfs3_link(struct port *p, struct store_op *op)
{
    return nfs3_in_dir(p, op, op->dir, true, link_in);
}
