/*
 * nfs41_upload: large files: opened once, written in any order from any session with the state id that OPEN gave,
 * unstable; then COMMIT, attributes, check, CLOSE, RENAME.
 *
 * A server that was started again has lost what was not committed: its write verifier is another one, and the file has
 * to be sent again. The state id is lost with it too; the file is opened anew by its handle.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workers/stores/nfs41/nfs41_internal.h"

#define WRITE_ROOM  1024U /* bytes of a request besides the data of a WRITE */
#define WRITE_LEAST 4096U /* bytes of a WRITE that is not made smaller any more */
#define REOPEN_MOST 3     /* of one operation */
#define LOST_MOST   3     /* sessions lost under one COMMIT */

struct store_upload {
    struct dir *dir;     /* one reference */
    unsigned keep;       /* as BEGIN was told */
    uint64_t owner;      /* of its OPEN; constant */
    struct nfs41_temp t; /* stateid is guarded by lock until COMMIT or ABORT, the rest is constant */
    bool exclusive;      /* a small file that may not replace another; constant */
    atomic_ullong high;  /* end of the last byte written */

    pthread_mutex_t lock;        /* guards what follows; held for moments only */
    bool unstable;               /* something has to be committed */
    bool lost;                   /* two WRITEs had different verifiers: what came before may be gone */
    uint8_t verf[NFS_VERF_SIZE]; /* of the WRITEs, where unstable */
    char name[];                 /* the final name */
};

static void upload_free(struct store_upload *u)
{
    dir_put(u->dir);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

static int begin_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    size_t name_size = strlen(op->name) + 1;
    struct store_upload *u = calloc(1, sizeof(*u) + name_size);
    int err;

    if (!u) {
        return -ENOMEM;
    }
    err = nfs41_temp_init(p, &u->t, dir, op->put.attr, op->put.keep, op->put.xattrs);
    if (!err) {
        err = op->put.resume ? nfs41_temp_resume(p, op, &u->t) : nfs41_temp_open(p, op, &u->t);
    }
    if (!err && op->put.temp && !op->put.resume) {
        err = nfs41_stat_fh(p, &u->t.fh, &u->t.seen); /* apart, since replies that are kept have to be small */
        if (err) {
            nfs41_temp_drop(p, &u->t);
        }
    }
    if (err) {
        free(u);
        return err;
    }
    atomic_init(&u->high, u->t.seen.size);
    if (op->put.temp) {
        *op->put.temp = (struct store_temp){
            .dev = u->t.seen.dev, .ino = u->t.seen.ino, .uid = u->t.seen.uid, .size = u->t.seen.size};
        memcpy(op->put.temp->name, u->t.name, sizeof(u->t.name));
    }
    pthread_mutex_init(&u->lock, NULL);
    u->dir = dir_get(op->dir);
    u->keep = op->put.keep;
    u->owner = nfs41_port_of(p)->owner;
    memcpy(u->name, op->name, name_size);
    *op->put.upload = u;
    return 0;
}

int nfs41_upload_begin(struct port *p, struct store_op *op)
{
    const struct nfs41_store *s = nfs41_of(p);

    if (atomic_load_explicit(&s->has_left, memory_order_relaxed)) {
        nfs41_left_clean(p, false);
    }
    if (s->max_name && strlen(op->name) > s->max_name) {
        return -ENAMETOOLONG;
    }
    return nfs41_in_dir(p, op, op->dir, !op->put.resume, begin_in);
}

/* "The latest" of that state (RFC 8881 8.2.2): another thread may have opened the file anew meanwhile. */
static struct nfs_stateid stateid_of(struct store_upload *u)
{
    struct nfs_stateid stateid;

    pthread_mutex_lock(&u->lock);
    stateid = u->t.stateid;
    pthread_mutex_unlock(&u->lock);
    stateid.seqid = 0;
    return stateid;
}

static bool is_state_lost(int r)
{
    return r > 0 && nfs_error((uint32_t)r)->decision == NFS_DO_REOPEN;
}

static bool is_too_much(int r)
{
    return r == -E2BIG || (r > 0 && nfs_error((uint32_t)r)->decision == NFS_DO_SPLIT);
}

/* Several may do it at a time: the same owner gets the same state. 0, NFS4ERR or -errno. */
static int reopen(struct port *p, struct store_upload *u)
{
    struct nfs_open open = {
        .owner = u->owner, .share = NFS_SHARE_READ | NFS_SHARE_WRITE, .create = NFS_OPEN_ONLY, .name = NULL};
    struct nfs_stateid stateid;
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &u->t.fh);
    nfs_put_open(c, &open);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_open(c, &stateid);
    nfs_compound_end(c);
    if (!r) {
        pthread_mutex_lock(&u->lock);
        u->t.stateid = stateid;
        pthread_mutex_unlock(&u->lock);
    }
    return r;
}

/* Takes down what the server said about a WRITE. */
static void note_written(struct store_upload *u, const struct nfs_written *w, uint64_t end)
{
    unsigned long long high = atomic_load(&u->high);

    while (high < end && !atomic_compare_exchange_weak(&u->high, &high, end)) {
    }
    if (w->committed != NFS_UNSTABLE) {
        return;
    }
    pthread_mutex_lock(&u->lock);
    if (u->unstable && memcmp(u->verf, w->verf, NFS_VERF_SIZE) != 0) {
        u->lost = true;
    }
    u->unstable = true;
    memcpy(u->verf, w->verf, NFS_VERF_SIZE);
    pthread_mutex_unlock(&u->lock);
}

/* One WRITE. 0 with *out_len, NFS4ERR or -errno. */
static int write_once(struct port *p, struct store_upload *u, const char *buf, size_t len, uint64_t offset,
                      size_t *out_len)
{
    struct nfs_stateid stateid = stateid_of(u);
    struct nfs_written written;
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &u->t.fh);
    nfs_put_write(c, &stateid, offset, NFS_UNSTABLE, buf, len);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_write(c, &written);
    nfs_compound_end(c);
    if (r) {
        return r;
    }
    if (written.count == 0 || written.count > len) {
        return -EIO;
    }
    note_written(u, &written, offset + written.count);
    *out_len = written.count;
    return 0;
}

size_t nfs41_write_at_once(struct port *p)
{
    struct nfs41_store *s = nfs41_of(p);
    unsigned limit = atomic_load_explicit(&s->write_limit, memory_order_relaxed);
    struct nfs_limits limits;
    size_t most;

    nfs41_limits(p, &limits);
    most = limits.max_request > 2 * WRITE_ROOM ? limits.max_request - WRITE_ROOM : WRITE_ROOM;
    most = s->max_write && s->max_write < most ? (size_t)s->max_write : most;
    return limit && limit < most ? limit : most;
}

bool nfs41_write_less(struct nfs41_store *s, size_t len)
{
    unsigned limit = atomic_load(&s->write_limit);
    unsigned less = (unsigned)(len / 2 / WRITE_LEAST * WRITE_LEAST);

    if (len < 2 * WRITE_LEAST) {
        return false;
    }
    while ((limit == 0 || limit > less) && !atomic_compare_exchange_weak(&s->write_limit, &limit, less)) {
    }
    atomic_fetch_or(&s->steps, NFS41_STEP_SMALL);
    return true;
}

int nfs41_upload_write(struct port *p, struct store_op *op)
{
    struct store_upload *u = op->up.upload;
    unsigned reopens = 0;
    size_t done = 0;

    while (done < op->up.len) {
        size_t at_once = nfs41_write_at_once(p);
        size_t len = op->up.len - done < at_once ? op->up.len - done : at_once;
        size_t written = 0;
        int r = write_once(p, u, (const char *)op->up.buf + done, len, op->up.offset + done, &written);

        if (is_state_lost(r) && reopens++ < REOPEN_MOST) {
            r = reopen(p, u);
        }
        if (is_too_much(r) && nfs41_write_less(nfs41_of(p), len)) {
            continue;
        }
        if (r) {
            return r > 0 ? nfs_errno((uint32_t)r) : r;
        }
        done += written;
    }
    return 0;
}

/* 4.1 has no COPY (that is 4.2's). */
int nfs41_upload_copy(struct port *p, struct store_op *op)
{
    (void)p;
    (void)op;
    return -EOPNOTSUPP;
}

/* COMMIT. 0, NFS4ERR or -errno. */
static int flush_once(struct port *p, struct store_upload *u, uint8_t verf[NFS_VERF_SIZE])
{
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &u->t.fh);
    nfs_put_commit(c);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_commit(c, verf);
    nfs_compound_end(c);
    return r;
}

/* What is written meanwhile counts for the next one. */
int nfs41_upload_flush(struct port *p, struct store_op *op)
{
    struct store_upload *u = op->up.upload;
    uint8_t before[NFS_VERF_SIZE];
    uint8_t after[NFS_VERF_SIZE];
    bool unstable;
    bool lost;
    int r;

    pthread_mutex_lock(&u->lock);
    unstable = u->unstable;
    lost = u->lost;
    memcpy(before, u->verf, sizeof(before));
    u->unstable = u->lost = false;
    pthread_mutex_unlock(&u->lock);
    if (!unstable) {
        return 0;
    }
    r = flush_once(p, u, after);
    if (r) {
        pthread_mutex_lock(&u->lock);
        u->lost |= lost || (u->unstable && memcmp(u->verf, before, sizeof(before)) != 0);
        u->unstable = true;
        memcpy(u->verf, before, sizeof(before));
        pthread_mutex_unlock(&u->lock);
        return r > 0 ? nfs_errno((uint32_t)r) : r;
    }
    return lost || memcmp(before, after, sizeof(before)) != 0 ? -EREMOTEIO : 0;
}

int nfs41_upload_park(struct port *p, struct store_op *op)
{
    struct store_upload *u = op->up.upload;
    int err;

    u->t.stateid = stateid_of(u);
    err = nfs41_temp_close(p, &u->t);
    upload_free(u);
    return err;
}

/* ---- the end ---- */

/* COMMIT to CLOSE. 0, NFS4ERR with *out_stop, or -errno. */
static int settle(struct port *p, struct store_upload *u, enum nfs_op *out_stop)
{
    struct nfs41_temp *t = &u->t;
    struct nfs_stateid stateid = t->open ? stateid_of(u) : nfs_stateid_anonymous();
    bool grows = atomic_load(&u->high) < t->want.attr->size;
    uint8_t verf[NFS_VERF_SIZE];
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &t->fh);
    if (u->unstable) {
        nfs_put_commit(c);
    }
    if (grows) {
        nfs_put_setattr(c, &stateid, NFS_ATTR_SIZE, &t->plan.attr); /* it ends in a hole */
    }
    nfs41_put_settle(p, c, t, &stateid);
    if (t->open) {
        nfs_put_close(c, &stateid);
    }
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r || !u->unstable ? r : nfs_get_commit(c, verf);
    if (!r && u->unstable && memcmp(verf, u->verf, NFS_VERF_SIZE) != 0) {
        u->lost = true;
    }
    if (!r && grows) {
        t->settled = 1; /* not about the owner */
        r = nfs_get_setattr(c);
    }
    r = r ? r : nfs41_get_settle(p, c, t);
    *out_stop = nfs41_stopped_at(c);
    if (t->open && (!r || (r == NFS4ERR_NOT_SAME && c->status == NFS4_OK))) {
        int closed = nfs_get_close(c);

        t->open = closed != 0;
        r = r ? r : closed;
    }
    if (r == NFS4ERR_NOT_SAME && c->status == NFS4_OK) {
        *out_stop = NFS_OP_VERIFY; /* our own look */
    }
    nfs_compound_end(c);
    return r;
}

/* Until the server lets it through, or there is no more to be done. 0 or -errno. */
static int settle_often(struct port *p, struct store_op *op, struct store_upload *u)
{
    unsigned reopens = 0;
    unsigned lost = 0;

    for (unsigned tries = 0;; tries++) {
        enum nfs_op stop = (enum nfs_op)0;
        int err;
        int r;

        nfs41_temp_plan(p, &u->t);
        r = settle(p, u, &stop);
        if (u->lost) {
            return nfs41_fail(op, "commit", -EREMOTEIO); /* all of it is to be sent again */
        }
        if (r == -NFS_LOST && lost++ < LOST_MOST) {
            /* All of it may be done twice; the verifier tells whether the data are still there. */
            r = reopen(p, u);
            if (r == 0) {
                u->t.open = true;
                continue;
            }
            return r > 0 ? nfs_errno((uint32_t)r) : r;
        }
        if (r <= 0) {
            return r;
        }
        if (is_state_lost(r) && reopens++ < REOPEN_MOST) {
            r = reopen(p, u);
            if (r) {
                return r > 0 ? nfs_errno((uint32_t)r) : r;
            }
            continue;
        }
        err = nfs41_judge(p, op, &u->t, stop, r, tries);
        if (err) {
            return err;
        }
    }
}

int nfs41_upload_commit(struct port *p, struct store_op *op)
{
    struct nfs41_store *s = nfs41_of(p);
    struct store_upload *u = op->up.upload;
    int err;

    want_init(&s->owning, &u->t.want, op->up.attr, u->keep, op->up.xattrs);
    u->t.expect = op->up.expect;
    err = u->lost ? nfs41_fail(op, "commit", -EREMOTEIO) : settle_often(p, op, u);
    if (!err) {
        err = u->exclusive ? nfs41_temp_link(p, op, &u->t, u->name) : nfs41_temp_rename(p, op, &u->t, u->name);
    }
    if (err) {
        const char *step = op->step;

        nfs41_temp_drop(p, &u->t);
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

int nfs41_upload_abort(struct port *p, struct store_op *op)
{
    struct store_upload *u = op->up.upload;

    nfs41_temp_drop(p, &u->t);
    upload_free(u);
    return 0;
}

int nfs41_publish_in_parts(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    const struct attr *attr = op->put.attr;
    struct store_upload *u = NULL;
    struct store_op begin = *op;
    struct store_op write = {.code = STORE_WRITE, .up = {.buf = op->put.data, .len = attr->size}};
    struct store_op commit = {
        .code = STORE_COMMIT,
        .up = {.attr = attr, .out = op->put.out, .xattrs = op->put.xattrs, .expect = op->put.expect}};
    int err;

    begin.put.upload = &u;
    err = begin_in(p, &begin, dir);
    if (err) {
        return nfs41_fail(op, begin.step, err);
    }
    write.up.upload = commit.up.upload = u;
    u->exclusive = op->put.exclusive;
    err = nfs41_upload_write(p, &write);
    if (err) {
        struct store_op abort = {.code = STORE_ABORT, .up = {.upload = u}};

        (void)nfs41_upload_abort(p, &abort);
        return nfs41_fail(op, "write", err);
    }
    err = nfs41_upload_commit(p, &commit);
    return nfs41_fail(op, commit.step, err);
}
