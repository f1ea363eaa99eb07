/*
 * nfs3_publish: whole small files: CREATE of a temp name, WRITE, SETATTR, a look at what came of it, RENAME.
 *
 * SETATTR's reply brings the attributes that are looked at; a server that leaves them out is asked (GETATTR).
 */
#include <errno.h>
#include <string.h>

#include "workers/stores/nfs3/nfs3_internal.h"

#define WRITE_DEFAULT (32U * 1024)   /* bytes, where the server does not say */
#define WRITE_MOST    (1024U * 1024) /* bytes of a WRITE: what servers and libnfs take */
#define WRITE_LEAST   4096U          /* bytes of a WRITE that is not made smaller any more */

/* The most bytes that one WRITE can carry now. */
static size_t write_at_once(const struct nfs3_store *s)
{
    unsigned limit = atomic_load_explicit(&s->write_limit, memory_order_relaxed);
    size_t most = s->info.write_max ? s->info.write_max : WRITE_DEFAULT;

    most = most < WRITE_MOST ? most : WRITE_MOST;
    return limit && limit < most ? limit : most;
}

/* A WRITE of so many bytes was too much for the server: whether fewer may do. */
static bool write_less(struct nfs3_store *s, size_t len)
{
    unsigned limit = atomic_load(&s->write_limit);
    unsigned less = (unsigned)(len / 2 / WRITE_LEAST * WRITE_LEAST);

    if (len < 2 * WRITE_LEAST) {
        return false;
    }
    while ((limit == 0 || limit > less) && !atomic_compare_exchange_weak(&s->write_limit, &limit, less)) {
    }
    return true;
}

int nfs3_write_all(struct port *p, const struct nfs_fh *fh, const void *data, size_t len, uint64_t offset, bool sync,
                   void (*note)(void *arg, const struct nfs3_req *req), void *arg)
{
    struct nfs3_store *s = nfs3_of(p);
    size_t done = 0;

    while (done < len) {
        size_t at_once = write_at_once(s);
        struct nfs3_req req = {.proc = V3_WRITE,
                               .fh = fh,
                               .data = (const char *)data + done,
                               .len = len - done < at_once ? len - done : at_once,
                               .offset = offset + done,
                               .sync = sync};
        int r = nfs3_call(p, &req);

        if (r == V3_INVAL && write_less(s, req.len)) {
            continue; /* more than it said it takes */
        }
        if (r) {
            return nfs3_result(r);
        }
        if (req.count == 0) {
            return -EIO;
        }
        if (sync && !req.sync) {
            return -EREMOTEIO; /* not durable, though it was asked for */
        }
        if (note) {
            note(arg, &req);
        }
        done += req.count;
    }
    return 0;
}

static void note_twice(void *arg, const struct nfs3_req *req)
{
    struct nfs3_temp *t = arg;

    t->written_twice |= req->again;
}

/* One try. 0 or -errno; nothing is there then. -EAGAIN: it had to be given up, and another one may do better. */
static int try_once(struct port *p, struct store_op *op, struct nfs3_temp *t)
{
    int err = nfs3_temp_make(p, op, t, V3_CREATE, NULL);

    if (err) {
        return err;
    }
    err = nfs3_write_all(p, &t->fh, op->put.data, op->put.attr->size, 0, true, note_twice, t);
    /* A WRITE that comes late would change the times that are set now; it cannot reach another file. */
    err = err || !t->written_twice ? err : -EAGAIN;
    if (err) {
        op->step = "write";
    }
    err = err ? err : nfs3_temp_settle(p, op, t);
    if (!err) {
        err = op->put.exclusive ? nfs3_temp_link(p, op, t, op->name) : nfs3_temp_rename(p, op, t, op->name);
    }
    if (err) {
        const char *step = op->step;

        nfs3_temp_drop(p, t);
        op->step = step;
    }
    return err;
}

/* The same, after connections that broke, with further names. */
static int try_often(struct port *p, struct store_op *op, struct nfs3_temp *t)
{
    for (unsigned tries = 0;; tries++) {
        int err = try_once(p, op, t);

        if (err != -EAGAIN || !t->written_twice) {
            return err;
        }
        if (tries >= NFS3_TRIES) {
            return -ETIMEDOUT;
        }
        op->step = NULL;
        err = nfs3_temp_again(p, t);
        if (err) {
            return err;
        }
    }
}

static bool is_broken(const struct store_op *op, int err)
{
    return err == -EIO && op->step && strcmp(op->step, "check") == 0;
}

int nfs3_publish_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs3_store *s = nfs3_of(p);
    struct nfs3_temp t;
    int err = nfs3_temp_init(p, &t, dir, op->put.attr, op->put.keep, op->put.xattrs);

    if (err) {
        return err;
    }
    t.expect = op->put.expect;
    err = try_often(p, op, &t);
    if (is_broken(op, err)) { /* a short write or the like: once more, then it is reported */
        op->step = NULL;
        err = nfs3_temp_again(p, &t);
        err = err ? err : try_often(p, op, &t);
    }
    if (err) {
        return err;
    }
    op->step = NULL;
    nfs_want_note(&s->owning, s->notices, &t.want, &t.seen);
    atomic_fetch_add_explicit(&s->publishes, 1, memory_order_relaxed);
    if (op->put.out) {
        *op->put.out = t.seen;
    }
    return 0;
}

int nfs3_publish(struct port *p, struct store_op *op)
{
    const struct nfs3_store *s = nfs3_of(p);

    if (atomic_load_explicit(&s->has_left, memory_order_relaxed)) {
        nfs3_left_clean(p, false);
    }
    if (s->name_max && strlen(op->name) > s->name_max) {
        return -ENAMETOOLONG;
    }
    return nfs3_in_dir(p, op, op->dir, true, nfs3_publish_in);
}
