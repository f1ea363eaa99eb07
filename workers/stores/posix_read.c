/*
 * posix_read: looking at entries and reading files.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/errs.h"
#include "workers/stores/posix_internal.h"

#define NOATIME_TRIES 8     /* refusals of O_NOATIME after which it is not asked for any more */
#define FRESH_BLOCK   4096U /* bytes; what O_DIRECT wants multiples of, at most */
#define READ_FLAGS    (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)

static struct timespec time_of(const struct statx_timestamp *t)
{
    return (struct timespec){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

void posix_attr_of(const struct statx *stx, struct attr *out)
{
    *out = (struct attr){
        .mode = stx->stx_mode,
        .uid = stx->stx_uid,
        .gid = stx->stx_gid,
        .nlink = stx->stx_nlink,
        .dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
        .rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
        .ino = stx->stx_ino,
        .size = stx->stx_size,
        .allocated = stx->stx_blocks * 512,
        .atime = time_of(&stx->stx_atime),
        .mtime = time_of(&stx->stx_mtime),
        .ctime = time_of(&stx->stx_ctime),
    };
}

/* flags: of statx, besides those that every look has. */
static int attr_at(struct port *p, int dir_fd, const char *name, int flags, struct attr *out)
{
    struct statx stx;
    flags |= AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (name[0] ? 0 : AT_EMPTY_PATH);
    int err = io_statx(p->io, dir_fd, name, flags, STATX_BASIC_STATS, &stx);

    if (!err) {
        posix_attr_of(&stx, out);
    }
    return err;
}

int posix_attr_at(struct port *p, int dir_fd, const char *name, struct attr *out)
{
    return attr_at(p, dir_fd, name, 0, out);
}

int posix_stat(struct port *p, struct store_op *op)
{
    int fd;
    int err = posix_dir_pin(p, op->dir, &fd);

    if (err) {
        return err;
    }
    err = attr_at(p, fd, op->name ? op->name : "", op->stat.fresh ? AT_STATX_FORCE_SYNC : 0, op->stat.out);
    posix_dir_unpin(p, op->dir, err);
    return err;
}

int posix_readlink(struct port *p, struct store_op *op)
{
    int fd;
    ssize_t n;
    int err = posix_dir_pin(p, op->dir, &fd);

    if (err) {
        return err;
    }
    n = io_readlinkat(p->io, fd, op->name, op->readlink.buf, op->readlink.size);
    posix_dir_unpin(p, op->dir, n < 0 ? (int)n : 0);
    if (n < 0) {
        return (int)n;
    }
    if ((size_t)n >= op->readlink.size) {
        return -ENAMETOOLONG;
    }
    op->readlink.buf[n] = '\0';
    if (op->readlink.out_len) {
        *op->readlink.out_len = (size_t)n;
    }
    return 0;
}

/* ---- what a local file system has in memory ----
 *
 * It comes in less time than it takes to ask the ring, which hands each look at a file to a thread of its own. So it is
 * asked at once, and only what has to come from the disk is waited for in the ring.
 */

/* A file whose name and inode the kernel knows already. A descriptor; else it is to be opened the long way. */
static int open_cached(struct posix_store *s, int dir_fd, const char *name, int flags)
{
    struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC), .resolve = RESOLVE_CACHED};
    int fd;

    if (atomic_load_explicit(&s->no_cached, memory_order_relaxed)) {
        return -ENOSYS;
    }
    fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
    if (fd < 0 && (errno == EINVAL || errno == ENOSYS)) {
        atomic_store(&s->no_cached, true);
    }
    return fd < 0 ? -errno : fd;
}

/* Bytes in the page cache. How many, 0 at the end; else they are to be read the long way. */
static ssize_t read_cached(struct posix_store *s, int fd, void *buf, size_t len, uint64_t offset)
{
    const struct iovec iov = {.iov_base = buf, .iov_len = len};
    ssize_t n;

    if (s->memory) {
        n = pread(fd, buf, len, (off_t)offset);
        return n < 0 ? -errno : n;
    }
    if (atomic_load_explicit(&s->no_nowait, memory_order_relaxed)) {
        return -EOPNOTSUPP;
    }
    n = preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        atomic_store(&s->no_nowait, true);
    }
    return n < 0 ? -errno : n;
}

/* An open file. near: see posix_dir_is_near. */
static int attr_open(struct port *p, int fd, bool near, struct attr *out)
{
    struct statx stx;

    if (!near) {
        return posix_attr_at(p, fd, "", out);
    }
    if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx) != 0) {
        return -errno;
    }
    posix_attr_of(&stx, out);
    return 0;
}

/* Of a file that was only read: whatever it says, nothing is lost. */
static void close_read(struct port *p, int fd, bool near)
{
    if (near) {
        close(fd);
    } else {
        (void)io_close(p->io, fd);
    }
}

/* ---- reading ---- */

static int open_once(struct port *p, int dir_fd, const char *name, int flags, bool near)
{
    int fd = near && io_mode(p->io) == IO_ASYNC ? open_cached(posix_of(p), dir_fd, name, flags) : -EAGAIN;

    return fd >= 0 ? fd : posix_openat(p, dir_fd, name, flags, 0);
}

/* Opens for reading without touching the access time where we may. */
static int open_quietly(struct port *p, int dir_fd, const char *name, int flags, bool near)
{
    struct posix_store *s = posix_of(p);
    int fd;

    if (atomic_load_explicit(&s->noatime_refused, memory_order_relaxed) < NOATIME_TRIES) {
        fd = open_once(p, dir_fd, name, flags | O_NOATIME, near);
        if (fd != -EPERM) {
            return fd;
        }
        atomic_fetch_add(&s->noatime_refused, 1);
    }
    return open_once(p, dir_fd, name, flags, near);
}

/* What the kernel has of the file in its cache and is not dirty is dropped, and it asks again. */
static void forget_cached(int fd)
{
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* Past the cache, where the file system can. */
static int open_fresh(struct port *p, int dir_fd, const char *name)
{
    int fd = open_quietly(p, dir_fd, name, READ_FLAGS | O_DIRECT, false);

    if (fd == -EINVAL) {
        fd = open_quietly(p, dir_fd, name, READ_FLAGS, false);
        if (fd >= 0) {
            forget_cached(fd);
        }
    }
    return fd;
}

/* Opens what should be a regular file. What is read past the cache is not near. 0 or -errno. */
static int open_any(struct port *p, struct store_op *op, bool fresh, int *out_fd, bool *out_near)
{
    int dir_fd;
    int fd;
    bool near;
    int err = posix_dir_pin(p, op->dir, &dir_fd);

    if (err) {
        return err;
    }
    near = !fresh && posix_dir_is_near(posix_of(p), op->dir);
    fd = fresh ? open_fresh(p, dir_fd, op->name) : open_quietly(p, dir_fd, op->name, READ_FLAGS, near);
    posix_dir_unpin(p, op->dir, fd);
    if (fd < 0) {
        op->step = "open";
        /* Only a socket answers so: it took the file's place. */
        return fd == -ENXIO ? -ERR_CHANGED : fd;
    }
    *out_fd = fd;
    *out_near = near;
    return 0;
}

/* An open file, which must be a regular one. */
static int attr_regular(struct port *p, struct store_op *op, int fd, bool near, struct attr *out)
{
    int err = attr_open(p, fd, near, out);

    if (!err && !S_ISREG(out->mode)) {
        err = -ERR_CHANGED;
    }
    op->step = err ? "fstat" : op->step;
    return err;
}

/* Opens a regular file, with its attributes. 0 or -errno. */
static int open_regular(struct port *p, struct store_op *op, int *out_fd, bool *out_near, struct attr *out)
{
    int err = open_any(p, op, op->open.fresh, out_fd, out_near);

    if (!err) {
        err = attr_regular(p, op, *out_fd, *out_near, out);
        if (err) {
            close_read(p, *out_fd, *out_near);
        }
    }
    return err;
}

/* Reads until len bytes or the end. Bytes or -errno. */
static ssize_t read_full(struct port *p, int fd, bool near, void *buf, size_t len, uint64_t offset)
{
    bool cached = near && io_mode(p->io) == IO_ASYNC;
    size_t done = 0;

    while (done < len) {
        char *to = (char *)buf + done;
        ssize_t n = cached ? read_cached(posix_of(p), fd, to, len - done, offset + done) : -EAGAIN;

        cached = cached && n > 0;
        if (n <= 0) {
            n = io_pread(p->io, fd, to, len - done, (off_t)(offset + done));
        }
        if (n < 0) {
            return n;
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* Reads a file as it is expected to be, and looks at it once. Bytes; -1: it is not so, or something failed: whatever it
 * was shows when all is done in order. */
static ssize_t read_expected(struct port *p, const struct store_op *op, int fd, bool near, struct attr *out)
{
    const struct attr *expect = op->read_small.expect;
    ssize_t n;

    if (!expect || !near || !S_ISREG(expect->mode) || expect->size > op->read_small.size) {
        return -1;
    }
    n = read_full(p, fd, near, op->read_small.buf, expect->size, 0);
    if (n < 0 || (uint64_t)n != expect->size || attr_open(p, fd, near, out) || !attr_unchanged(expect, out)) {
        return -1;
    }
    return n;
}

/* The same of a file that was opened past the cache, and had size bytes then: nothing is asked behind them. */
static ssize_t read_fresh(struct port *p, int fd, void *buf, size_t len, uint64_t offset, uint64_t size)
{
    bool plain = false;
    size_t done = 0;

    while (done < len && offset + done < size) {
        ssize_t n = io_pread(p->io, fd, (char *)buf + done, len - done, (off_t)(offset + done));
        int flags;

        if (n == -EINVAL && !plain) { /* it cannot read past its cache, or not this */
            plain = true;
            flags = fcntl(fd, F_GETFL);
            if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_DIRECT) != 0) {
                return n;
            }
            forget_cached(fd);
            continue;
        }
        if (n < 0) {
            return n;
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* A whole small file of size bytes; in full blocks, as far as there is room for them. Bytes or -errno. */
static ssize_t read_small_fresh(struct port *p, struct store_op *op, int fd, uint64_t size)
{
    uint64_t len = (size + FRESH_BLOCK - 1) / FRESH_BLOCK * FRESH_BLOCK;
    ssize_t n;

    len = len <= op->read_small.size ? len : size;
    n = read_fresh(p, fd, op->read_small.buf, len, 0, size);
    return n > (ssize_t)size ? (ssize_t)size : n;
}

int posix_read_small(struct port *p, struct store_op *op)
{
    struct attr before = {0};
    struct attr after = {0};
    ssize_t n;
    bool near;
    int fd;
    int err = open_any(p, op, op->read_small.fresh, &fd, &near);

    if (err) {
        return err;
    }
    n = read_expected(p, op, fd, near, &after);
    if (n >= 0) {
        before = after;
        goto out;
    }
    err = attr_regular(p, op, fd, near, &before);
    if (err) {
        goto out;
    }
    if (before.size > op->read_small.size) {
        err = -EFBIG;
        goto out;
    }
    /* A file that has grown past its first size is seen in the second look: no read is needed to find its end. */
    n = op->read_small.fresh ? read_small_fresh(p, op, fd, before.size)
                             : read_full(p, fd, near, op->read_small.buf, before.size, 0);
    if (n < 0) {
        op->step = "read";
        err = (int)n;
        goto out;
    }
    err = attr_open(p, fd, near, &after);
    op->step = err ? "fstat" : NULL;
out:
    close_read(p, fd, near);
    if (!err) {
        *op->read_small.out_len = (size_t)n;
        *op->read_small.before = before;
        *op->read_small.after = after;
    }
    return err;
}

int posix_file_open(struct port *p, struct store_op *op)
{
    struct store_file *file = malloc(sizeof(*file));
    struct attr attr = {0};
    bool near;
    int fd;
    int err;

    if (!file) {
        return -ENOMEM;
    }
    err = open_regular(p, op, &fd, &near, &attr);
    if (err) {
        free(file);
        return err;
    }
    *file = (struct store_file){.store = p->store,
                                .fd = fd,
                                .size = attr.size,
                                .sparse = attr.allocated < attr.size,
                                .near = near,
                                .fresh = op->open.fresh};
    if (op->open.attr) {
        *op->open.attr = attr;
    }
    *op->open.out = file;
    return 0;
}

int posix_file_read(struct port *p, struct store_op *op)
{
    const struct store_file *file = op->file.file;
    ssize_t n = file->fresh ? read_fresh(p, file->fd, op->file.buf, op->file.len, op->file.offset, file->size)
                            : read_full(p, file->fd, file->near, op->file.buf, op->file.len, op->file.offset);

    if (n < 0) {
        return (int)n;
    }
    *op->file.out_len = (size_t)n;
    return 0;
}

/* Without SEEK_DATA the rest of the file is one extent. */
static int whole_extent(struct port *p, struct store_op *op)
{
    struct attr attr;
    int err = posix_attr_at(p, op->file.file->fd, "", &attr);

    if (err) {
        return err;
    }
    if (op->file.offset >= attr.size) {
        return -ENXIO;
    }
    *op->file.out_data = op->file.offset;
    *op->file.out_end = attr.size;
    return 0;
}

int posix_file_extent(struct port *p, struct store_op *op)
{
    int fd = op->file.file->fd;
    off_t end;
    off_t data = io_lseek(p->io, fd, (off_t)op->file.offset, SEEK_DATA);

    if (data == -EINVAL || data == -EOPNOTSUPP) {
        return whole_extent(p, op);
    }
    if (data < 0) {
        return (int)data;
    }
    end = io_lseek(p->io, fd, data, SEEK_HOLE);
    if (end < 0) {
        return (int)end;
    }
    *op->file.out_data = (uint64_t)data;
    *op->file.out_end = (uint64_t)end;
    return 0;
}

int posix_file_stat(struct port *p, struct store_op *op)
{
    return attr_open(p, op->stat.file->fd, op->stat.file->near, op->stat.out);
}

int posix_file_close(struct port *p, struct store_op *op)
{
    struct store_file *file = op->file.file;

    close_read(p, file->fd, file->near);
    free(file);
    return 0;
}
