/*
 * nfs3_upload: large files: written in any order from any port, unstable; then COMMIT, attributes, check, RENAME.
 *
 * A server that was started again has lost what was not committed: its write verifier is another one, and the file has
 * to be sent again. A temp file that an earlier upload has left is taken up again by its handle.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/nfs3/nfs3_internal.h"

struct store_upload {
    struct dir *dir;    /* one reference */
    unsigned keep;      /* as BEGIN was told */
    struct nfs3_temp t; /* constant until COMMIT or ABORT */
    atomic_ullong high; /* end of the last byte written */

    pthread_mutex_t lock;    /* guards what follows; held for moments only */
    bool unstable;           /* something has to be committed */
    bool twice;              /* a WRITE was sent again, and its first try may come late */
    bool lost;               /* two WRITEs had different verifiers: what came before may be gone */
    uint8_t verf[NFS3_VERF]; /* of the WRITEs, where unstable */
    char name[];             /* the final name */
};

static void upload_free(struct store_upload *u)
{
    dir_put(u->dir);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

/* ---- begun ---- */

/* Whether seen is what was left. A run that ended while it committed may have given the file away already, to whom it
 * is to belong. */
static bool is_left(const struct store_temp *left, const struct want *w, const struct attr *seen)
{
    return S_ISREG(seen->mode) && seen->nlink == 1 && seen->ino == left->ino &&
           (seen->uid == left->uid || seen->uid == w->uid);
}

/* The file that op->put.resume tells of, if it is still that one, and as private as a new one. 0 or -errno: it was left
 * alone then. */
static int take_up(struct port *p, struct store_op *op, struct nfs3_temp *t)
{
    const struct store_temp *left = op->put.resume;
    const struct attr private = {.mode = S_IFREG | 0600};
    struct nfs3_req req = {.proc = V3_SETATTR, .fh = &t->fh, .attr_in = &private, .set = V3_SET_MODE};
    int r;

    if (!temp_name_parse(left->name, NULL)) {
        return nfs3_fail(op, "create", -EINVAL);
    }
    memcpy(t->name, left->name, sizeof(t->name));
    r = nfs3_lookup(p, &t->dir.fh, t->name, &t->fh, &t->seen);
    if (r) {
        return nfs3_fail(op, "lookup", nfs3_result(r));
    }
    if (!is_left(left, &t->want, &t->seen)) {
        return nfs3_fail(op, STORE_STEP_GUARD, -ESTALE);
    }
    /* From here on its handle stands for it, whatever becomes of the name. */
    r = (t->seen.mode & 07777) != 0600 ? nfs3_call(p, &req) : 0;
    r = r ? r : nfs3_getattr(p, &t->fh, &t->seen);
    if (nfs3_is_stale(r) || (!r && !is_left(left, &t->want, &t->seen))) {
        return nfs3_fail(op, STORE_STEP_GUARD, -ESTALE);
    }
    if (r) {
        return nfs3_fail(op, "setattr", nfs3_result(r));
    }
    t->made = t->has_seen = true;
    return 0;
}

static int begin_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    size_t name_size = strlen(op->name) + 1;
    struct store_upload *u = calloc(1, sizeof(*u) + name_size);
    int err;

    if (!u) {
        return -ENOMEM;
    }
    err = nfs3_temp_init(p, &u->t, dir, op->put.attr, op->put.keep, op->put.xattrs);
    if (!err) {
        err = op->put.resume ? take_up(p, op, &u->t) : nfs3_temp_make(p, op, &u->t, V3_CREATE, NULL);
    }
    if (!err && op->put.temp && !op->put.resume) {
        err = nfs3_result(nfs3_getattr(p, &u->t.fh, &u->t.seen));
        if (err) {
            nfs3_temp_drop(p, &u->t);
        }
    }
    if (err) {
        free(u);
        return err;
    }
    atomic_init(&u->high, op->put.resume ? u->t.seen.size : 0);
    if (op->put.temp) {
        *op->put.temp = (struct store_temp){
            .dev = u->t.seen.dev, .ino = u->t.seen.ino, .uid = u->t.seen.uid, .size = u->t.seen.size};
        memcpy(op->put.temp->name, u->t.name, sizeof(u->t.name));
    }
    pthread_mutex_init(&u->lock, NULL);
    u->dir = dir_get(op->dir);
    u->keep = op->put.keep;
    memcpy(u->name, op->name, name_size);
    *op->put.upload = u;
    return 0;
}

int nfs3_upload_begin(struct port *p, struct store_op *op)
{
    const struct nfs3_store *s = nfs3_of(p);

    if (atomic_load_explicit(&s->has_left, memory_order_relaxed)) {
        nfs3_left_clean(p, false);
    }
    if (s->name_max && strlen(op->name) > s->name_max) {
        return -ENAMETOOLONG;
    }
    return nfs3_in_dir(p, op, op->dir, !op->put.resume, begin_in);
}

/* ---- written ---- */

/* Takes down what the server said about a WRITE. */
static void note_written(void *arg, const struct nfs3_req *req)
{
    struct store_upload *u = arg;
    unsigned long long high = atomic_load(&u->high);
    unsigned long long end = req->offset + req->count;

    while (high < end && !atomic_compare_exchange_weak(&u->high, &high, end)) {
    }
    pthread_mutex_lock(&u->lock);
    u->twice |= req->again;
    if (req->sync) {
        pthread_mutex_unlock(&u->lock);
        return;
    }
    if (u->unstable && memcmp(u->verf, req->verf, NFS3_VERF) != 0) {
        u->lost = true;
    }
    u->unstable = true;
    memcpy(u->verf, req->verf, NFS3_VERF);
    pthread_mutex_unlock(&u->lock);
}

int nfs3_upload_write(struct port *p, struct store_op *op)
{
    struct store_upload *u = op->up.upload;

    return nfs3_write_all(p, &u->t.fh, op->up.buf, op->up.len, op->up.offset, false, note_written, u);
}

/* NFSv3 has no COPY. */
int nfs3_upload_copy(struct port *p, struct store_op *op)
{
    (void)p;
    (void)op;
    return -EOPNOTSUPP;
}

/* COMMIT. 0 or -errno. */
static int flush_once(struct port *p, struct store_upload *u, uint8_t verf[NFS3_VERF])
{
    struct nfs3_req req = {.proc = V3_COMMIT, .fh = &u->t.fh};
    int r = nfs3_call(p, &req);

    if (!r) {
        memcpy(verf, req.verf, NFS3_VERF);
    }
    return nfs3_result(r);
}

/* What is written meanwhile counts for the next one. */
int nfs3_upload_flush(struct port *p, struct store_op *op)
{
    struct store_upload *u = op->up.upload;
    uint8_t before[NFS3_VERF];
    uint8_t after[NFS3_VERF];
    bool unstable;
    bool lost;
    int err;

    pthread_mutex_lock(&u->lock);
    unstable = u->unstable;
    lost = u->lost;
    memcpy(before, u->verf, sizeof(before));
    u->unstable = u->lost = false;
    pthread_mutex_unlock(&u->lock);
    if (!unstable) {
        return 0;
    }
    err = flush_once(p, u, after);
    if (err) {
        pthread_mutex_lock(&u->lock);
        u->lost |= lost || (u->unstable && memcmp(u->verf, before, sizeof(before)) != 0);
        u->unstable = true;
        memcpy(u->verf, before, sizeof(before));
        pthread_mutex_unlock(&u->lock);
        return err;
    }
    return lost || memcmp(before, after, sizeof(before)) != 0 ? -EREMOTEIO : 0;
}

int nfs3_upload_park(struct port *p, struct store_op *op)
{
    (void)p;
    upload_free(op->up.upload);
    return 0;
}

/* ---- ended ---- */

/* COMMIT to the look at the attributes. 0 or -errno with op->step. */
static int settle(struct port *p, struct store_op *op, struct store_upload *u)
{
    struct nfs3_temp *t = &u->t;
    struct nfs3_req grow = {.proc = V3_SETATTR, .fh = &t->fh, .attr_in = t->want.attr, .set = V3_SET_SIZE};
    uint8_t verf[NFS3_VERF];
    int err = 0;

    if (u->twice) {
        nfs3_wait_late(p); /* or it changes the times that are set now */
    }
    err = u->unstable ? flush_once(p, u, verf) : 0;
    if (!err && u->unstable && memcmp(verf, u->verf, NFS3_VERF) != 0) {
        u->lost = true;
    }
    if (err || u->lost) {
        return nfs3_fail(op, "commit", err ? err : -EREMOTEIO); /* lost: all of it is to be sent again */
    }
    if (atomic_load(&u->high) < t->want.attr->size) { /* it ends in a hole */
        err = nfs3_do(p, op, &grow);
    }
    return err ? err : nfs3_temp_settle(p, op, t);
}

int nfs3_upload_commit(struct port *p, struct store_op *op)
{
    struct nfs3_store *s = nfs3_of(p);
    struct store_upload *u = op->up.upload;
    int err;

    want_init(&s->owning, &u->t.want, op->up.attr, u->keep, op->up.xattrs);
    u->t.expect = op->up.expect;
    err = settle(p, op, u);
    err = err ? err : nfs3_temp_rename(p, op, &u->t, u->name);
    if (err) {
        const char *step = op->step;

        nfs3_temp_drop(p, &u->t);
        op->step = step;
    } else {
        nfs_want_note(&s->owning, s->notices, &u->t.want, &u->t.seen);
        if (op->up.out) {
            *op->up.out = u->t.seen;
        }
    }
    upload_free(u);
    return err;
}

int nfs3_upload_abort(struct port *p, struct store_op *op)
{
    struct store_upload *u = op->up.upload;

    nfs3_temp_drop(p, &u->t);
    upload_free(u);
    return 0;
}
