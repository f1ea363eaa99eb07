/*
 * nfs41_publish: whole small files, in one COMPOUND each:
 *
 *     SEQUENCE  PUTFH(dir)  SAVEFH  OPEN(temp name, GUARDED4, 0600)  WRITE(FILE_SYNC)  SETATTR(owner, times)
 *     SETATTR(mode)  GETATTR  VERIFY(size, mode, owner)  CLOSE  RESTOREFH  RENAME(temp name -> name)
 *
 * GETATTR tells what stands there in the end, and what is wrong where VERIFY stops. Where the server cannot do that, in
 * two or three of them: OPEN; WRITE to CLOSE; RENAME.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "workers/stores/nfs41/nfs41_internal.h"

/* Where a file may not replace another. */
static void put_link_tail(struct nfs_compound *c, const struct nfs41_put *put)
{
    nfs_put_savefh(c);
    nfs_put_putfh(c, &put->t.dir.fh);
    nfs_put_link(c, put->op->name);
    nfs_put_remove(c, put->t.name);
}

static int get_link_tail(struct nfs_compound *c, struct nfs41_put *put)
{
    int r = nfs_get_plain(c, NFS_OP_SAVEFH);

    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_link(c);
    if (!r) {
        put->t.made = nfs_get_remove(c) != 0; /* the final name is ours whatever becomes of the temp name */
    }
    return r;
}

static int get_rename_tail(struct nfs_compound *c, struct nfs41_put *put)
{
    int r = nfs_get_plain(c, NFS_OP_RESTOREFH);

    r = r || !put->t.guards ? r : nfs41_get_guard(c, &put->t);
    r = r ? r : nfs_get_rename(c);
    if (!r) {
        put->t.made = false;
    }
    return r;
}

static void put_data(struct nfs_compound *c, const struct nfs41_put *put, const struct nfs_stateid *stateid)
{
    const struct attr *attr = put->op->put.attr;

    if (attr->size > 0) {
        nfs_put_write(c, stateid, 0, NFS_FILE_SYNC, put->op->put.data, attr->size);
    }
}

/* 0, NFS4ERR or -errno. A short WRITE is left to VERIFY. */
static int get_data(struct nfs_compound *c, const struct nfs41_put *put)
{
    struct nfs_written written;
    int r;

    if (put->op->put.attr->size == 0) {
        return 0;
    }
    r = nfs_get_write(c, &written);
    if (!r && written.committed != NFS_FILE_SYNC) {
        return -EREMOTEIO; /* not durable, though it was asked for */
    }
    return r;
}

void nfs41_put_file(struct port *p, struct nfs_compound *c, const struct nfs41_put *put)
{
    struct nfs_stateid current = nfs_stateid_current();

    nfs41_put_temp_open(p, c, &put->t);
    put_data(c, put, &current);
    nfs41_put_settle(p, c, &put->t, &current);
    nfs_put_close(c, &current);
    if (put->op->put.exclusive) {
        put_link_tail(c, put);
    } else {
        nfs_put_restorefh(c);
        if (put->t.guards) {
            nfs41_put_guard(c, put->op->name, put->t.expect);
        }
        nfs_put_rename(c, put->t.name, put->op->name);
    }
}

void nfs41_get_file(struct port *p, struct nfs_compound *c, struct nfs41_put *put)
{
    int r = nfs41_get_temp_open(c, &put->t);

    r = r ? r : get_data(c, put);
    r = r ? r : nfs41_get_settle(p, c, &put->t);
    r = r ? r : nfs_get_close(c);
    if (!r) {
        put->t.open = false;
        r = put->op->put.exclusive ? get_link_tail(c, put) : get_rename_tail(c, put);
    }
    put->r = r;
    put->stop = nfs41_stopped_at(c);
}

/* WRITE to CLOSE, of a file that is open. */
static void settle_alone(struct port *p, struct nfs41_put *put)
{
    struct nfs41_temp *t = &put->t;
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        put->r = r;
        return;
    }
    nfs_put_putfh(c, &t->fh);
    put_data(c, put, &t->stateid);
    nfs41_put_settle(p, c, t, &t->stateid);
    nfs_put_close(c, &t->stateid);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : get_data(c, put);
    r = r ? r : nfs41_get_settle(p, c, t);
    put->stop = nfs41_stopped_at(c);
    if (r == NFS4ERR_NOT_SAME && c->status == NFS4_OK) {
        put->stop = NFS_OP_VERIFY; /* our own look; CLOSE was carried out all the same */
        t->open = nfs_get_close(c) != 0;
    }
    r = r ? r : nfs_get_close(c);
    t->open = t->open && r;
    nfs_compound_end(c);
    put->r = r;
}

/* In COMPOUNDs of their own: OPEN; WRITE to CLOSE; RENAME. */
static int publish_by_steps(struct port *p, struct store_op *op, struct nfs41_put *put)
{
    int err = nfs41_temp_open(p, op, &put->t);

    if (err) {
        return err;
    }
    settle_alone(p, put);
    if (put->r) {
        return put->r < 0 ? put->r : 0; /* to be judged */
    }
    return op->put.exclusive ? nfs41_temp_link(p, op, &put->t, op->name) : nfs41_temp_rename(p, op, &put->t, op->name);
}

/* One try. 0: put->r says how it went; -errno: nothing is there and nothing more is to be done. */
static int try_once(struct port *p, struct store_op *op, struct nfs41_put *put)
{
    struct nfs41_store *s = nfs41_of(p);
    int err;

    put->r = 0;
    put->stop = (enum nfs_op)0;
    if (nfs41_stepped(s, NFS41_STEP_SPLIT | NFS41_STEP_NO_VERIFY)) {
        err = publish_by_steps(p, op, put);
    } else {
        put->t.guards = nfs41_guards(s, &put->t);
        err = put->t.expect && !put->t.guards ? nfs41_guard_look(p, op, &put->t, op->name) : 0;
        if (err) {
            return err;
        }
        nfs41_gather(p, put);
        if (put->r == -E2BIG) {
            atomic_fetch_or(&s->steps, NFS41_STEP_SPLIT);
            put->r = 0;
            err = publish_by_steps(p, op, put);
        } else {
            put->t.unknown = put->r < 0 && put->sent;
            err = put->r < 0 ? put->r : 0;
        }
    }
    if (err || put->r) {
        const char *step = op->step;

        nfs41_temp_drop(p, &put->t);
        op->step = step;
    }
    return err;
}

/* Even one WRITE in a request of its own. */
static bool is_too_big(enum nfs_op stop, int r)
{
    return (stop == NFS_OP_SEQUENCE || stop == NFS_OP_WRITE) && nfs_error((uint32_t)r)->decision == NFS_DO_SPLIT;
}

static bool is_broken(const struct store_op *op, int err)
{
    return err == -EIO && op->step && strcmp(op->step, "check") == 0;
}

int nfs41_publish_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs41_store *s = nfs41_of(p);
    struct nfs41_put put = {.op = op};
    int err = nfs41_temp_init(p, &put.t, dir, op->put.attr, op->put.keep, op->put.xattrs);

    put.t.expect = op->put.expect;
    for (unsigned tries = 0; !err; tries++) {
        if (op->put.attr->size > nfs41_write_at_once(p)) {
            return nfs41_publish_in_parts(p, op, dir);
        }
        err = try_once(p, op, &put);
        if (err || put.r == 0) {
            break;
        }
        if (is_too_big(put.stop, put.r) && nfs41_stepped(s, NFS41_STEP_SPLIT) &&
            nfs41_write_less(s, op->put.attr->size)) {
            err = nfs41_temp_again(p, &put.t);
            continue;
        }
        err = put.t.guarded ? nfs41_guard_judge(op, &put.t, put.stop, put.r)
                            : nfs41_judge(p, op, &put.t, put.stop, put.r, tries);
        if (is_broken(op, err) && tries == 0) {
            err = 0; /* a short write or the like: once more, then it is reported */
        }
        err = err ? err : nfs41_temp_again(p, &put.t);
    }
    if (err) {
        return err;
    }
    op->step = NULL;
    nfs41_temp_drop(p, &put.t); /* a temp name whose REMOVE failed, after a link */
    nfs_want_note(&s->owning, s->notices, &put.t.want, &put.t.seen);
    atomic_fetch_add_explicit(&s->publishes, 1, memory_order_relaxed);
    if (op->put.out) {
        *op->put.out = put.t.seen;
    }
    return 0;
}

int nfs41_publish(struct port *p, struct store_op *op)
{
    const struct nfs41_store *s = nfs41_of(p);

    if (atomic_load_explicit(&s->has_left, memory_order_relaxed)) {
        nfs41_left_clean(p, false);
    }
    if (s->max_name && strlen(op->name) > s->max_name) {
        return -ENAMETOOLONG;
    }
    return nfs41_in_dir(p, op, op->dir, true, nfs41_publish_in);
}
