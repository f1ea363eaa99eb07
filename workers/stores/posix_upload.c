/*
 * posix_upload: large files: a temp file that stays open, written in any order by any thread, until it is committed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/posix_internal.h"

#define CLONE_TRIES 4 /* refusals of FICLONE after which it is not asked for any more */

/* Constant from BEGIN to the end, but for the file's contents: any thread may write. */
struct store_upload {
    struct dir *dir;     /* one reference */
    unsigned keep;       /* as BEGIN was told */
    struct posix_temp t; /* open */
    char name[];         /* the final name */
};

/*
 * XFS takes space ahead of a file's end as it grows; a later write behind a gap makes that space, which lies in the gap
 * then, part of the file. Not where the size is there from the start.
 */
static int presize(struct port *p, struct store_op *op, struct store_upload *u, int dir_fd)
{
    int err = posix_of(p)->presize ? io_ftruncate(p->io, u->t.fd, (off_t)op->put.attr->size) : 0;

    if (err) {
        op->step = "truncate";
        posix_temp_drop(p, &u->t, dir_fd);
    }
    return err;
}

/* A new temp name, looked at where somebody wants to know it again. */
static int begin_new(struct port *p, struct store_op *op, struct store_upload *u, int dir_fd, const struct want *w)
{
    int err = posix_temp_open(p, op, &u->t, dir_fd, w);

    if (!err && op->put.temp) {
        err = posix_attr_at(p, u->t.fd, "", &u->t.seen);
        if (err) {
            op->step = "fstat";
            posix_temp_drop(p, &u->t, dir_fd);
        }
    }
    return err ? err : presize(p, op, u, dir_fd);
}

static void tell_temp(const struct posix_temp *t, struct store_temp *out)
{
    *out = (struct store_temp){.dev = t->seen.dev, .ino = t->seen.ino, .uid = t->seen.uid, .size = t->seen.size};
    memcpy(out->name, t->name, sizeof(out->name));
}

int posix_begin(struct port *p, struct store_op *op)
{
    size_t name_size = strlen(op->name) + 1;
    struct store_upload *u = calloc(1, sizeof(*u) + name_size);
    struct want w;
    int dir_fd;
    int err;

    if (!u) {
        return -ENOMEM;
    }
    err = posix_dir_pin(p, op->dir, &dir_fd);
    if (err) {
        goto fail;
    }
    want_init(&posix_of(p)->owning, &w, op->put.attr, op->put.keep, op->put.xattrs);
    if (op->put.resume) {
        err = posix_temp_reopen(p, op, &u->t, dir_fd, &w);
    } else {
        err = begin_new(p, op, u, dir_fd, &w);
    }
    posix_dir_unpin_made(p, op->dir, op->put.resume && err == -ENOENT ? 0 : err);
    if (err) {
        goto fail;
    }
    if (op->put.temp) {
        tell_temp(&u->t, op->put.temp);
    }
    u->dir = dir_get(op->dir);
    u->keep = op->put.keep;
    memcpy(u->name, op->name, name_size);
    *op->put.upload = u;
    return 0;
fail:
    free(u);
    return err;
}

int posix_write(struct port *p, struct store_op *op)
{
    return posix_write_all(p, op->up.upload->t.fd, op->up.buf, op->up.len, op->up.offset);
}

/* The whole file as a reflink, where the file system can. */
static bool try_clone(struct port *p, const struct store_op *op, int from)
{
    struct posix_store *s = posix_of(p);

    if (op->up.offset != 0 || op->up.from->size == 0 || op->up.len < op->up.from->size ||
        atomic_load_explicit(&s->clone_refused, memory_order_relaxed) >= CLONE_TRIES) {
        return false;
    }
    if (io_ficlone(p->io, op->up.upload->t.fd, from) == 0) {
        atomic_store(&s->clone_refused, 0);
        return true;
    }
    atomic_fetch_add(&s->clone_refused, 1);
    return false;
}

int posix_copy(struct port *p, struct store_op *op)
{
    int to = op->up.upload->t.fd;
    int from = posix_file_fd(op->up.from);
    ssize_t n;

    if (from < 0) {
        return -EOPNOTSUPP;
    }
    if (try_clone(p, op, from)) {
        *op->up.out_len = op->up.from->size;
        return 0;
    }
    /*
     * Within one machine copying in the kernel is no faster than reading and writing, and leaves the hash unknown; a
     * server may save the way there and back. Holes would arrive filled.
     */
    if (!p->store->caps.network || op->up.from->sparse) {
        return -EOPNOTSUPP;
    }
    n = io_copy_file_range(p->io, from, (off_t)op->up.offset, to, (off_t)op->up.offset, op->up.len);
    if (n == -EXDEV || n == -EINVAL || n == -ENOSYS || n == -EOPNOTSUPP || n == -ETXTBSY || n == -EPERM) {
        return -EOPNOTSUPP;
    }
    if (n < 0) {
        return (int)n;
    }
    *op->up.out_len = (size_t)n;
    return 0;
}

/* Whatever of it is still in the cache, and its size; on a network mount it is FILE_SYNC or COMMIT. */
int posix_flush(struct port *p, struct store_op *op)
{
    return io_fsync(p->io, op->up.upload->t.fd);
}

/* A file that ends in a hole was never written to its end; one that is longer than it should be is not mended. */
static int reach_size(struct port *p, struct store_op *op, struct store_upload *u)
{
    int err = posix_attr_at(p, u->t.fd, "", &u->t.seen);

    if (err) {
        op->step = "fstat";
        return err;
    }
    if (u->t.seen.size < op->up.attr->size) {
        err = io_ftruncate(p->io, u->t.fd, (off_t)op->up.attr->size);
        op->step = err ? "truncate" : NULL;
    }
    return err;
}

static void upload_free(struct store_upload *u)
{
    dir_put(u->dir);
    free(u);
}

static int commit_in(struct port *p, struct store_op *op, struct store_upload *u, int dir_fd)
{
    struct want w;
    int err = reach_size(p, op, u);

    want_init(&posix_of(p)->owning, &w, op->up.attr, u->keep, op->up.xattrs);
    if (!err) {
        err = posix_temp_settle(p, op, &u->t, &w);
    }
    if (!err) {
        err = posix_temp_finish(p, op, &u->t, dir_fd, u->name, op->up.expect);
    }
    if (err) {
        posix_temp_drop(p, &u->t, dir_fd);
        return err;
    }
    if (op->up.out) {
        *op->up.out = u->t.seen;
    }
    return 0;
}

int posix_commit(struct port *p, struct store_op *op)
{
    struct store_upload *u = op->up.upload;
    int dir_fd;
    int err = posix_dir_pin(p, u->dir, &dir_fd);

    if (err) {
        /* The directory cannot be reached: its temp file is left to the janitor. */
        (void)io_close(p->io, u->t.fd);
    } else {
        err = commit_in(p, op, u, dir_fd);
        posix_dir_unpin(p, u->dir, posix_handle_err(op, err));
    }
    upload_free(u);
    return err;
}

int posix_abort(struct port *p, struct store_op *op)
{
    struct store_upload *u = op->up.upload;
    int dir_fd;
    int err;

    (void)io_close(p->io, u->t.fd);
    err = posix_dir_pin(p, u->dir, &dir_fd);
    if (!err) {
        err = io_unlinkat(p->io, dir_fd, u->t.name, 0);
        posix_dir_unpin(p, u->dir, err);
        err = err == -ENOENT ? 0 : err;
    }
    upload_free(u);
    return err;
}

/* A server may refuse only now what was written: then what was not flushed is not there. */
int posix_park(struct port *p, struct store_op *op)
{
    struct store_upload *u = op->up.upload;
    int err = io_close(p->io, u->t.fd);

    op->step = err ? "close" : NULL;
    upload_free(u);
    return err;
}
