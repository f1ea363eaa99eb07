/*
 * posix_read: looking at entries and reading files.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/errs.h"
#include "workers/stores/posix_internal.h"

#define NOATIME_TRIES 8 /* refusals of O_NOATIME after which it is not asked for any more */
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

/* Opens for reading without touching the access time where we may. */
static int open_quietly(struct port *p, int dir_fd, const char *name, int flags)
{
    struct posix_store *s = posix_of(p);
    int fd;

    if (atomic_load_explicit(&s->noatime_refused, memory_order_relaxed) < NOATIME_TRIES) {
        fd = posix_openat(p, dir_fd, name, flags | O_NOATIME, 0);
        if (fd != -EPERM) {
            return fd;
        }
        atomic_fetch_add(&s->noatime_refused, 1);
    }
    return posix_openat(p, dir_fd, name, flags, 0);
}

/* Opens a regular file, with its attributes. 0 or -errno. */
static int open_regular(struct port *p, struct store_op *op, int *out_fd, struct attr *out)
{
    int dir_fd;
    int fd;
    int err = posix_dir_pin(p, op->dir, &dir_fd);

    if (err) {
        return err;
    }
    fd = open_quietly(p, dir_fd, op->name, READ_FLAGS);
    posix_dir_unpin(p, op->dir, fd);
    if (fd < 0) {
        op->step = "open";
        /* Only a socket answers so: it took the file's place. */
        return fd == -ENXIO ? -ERR_CHANGED : fd;
    }
    err = posix_attr_at(p, fd, "", out);
    if (!err && !S_ISREG(out->mode)) {
        err = -ERR_CHANGED;
    }
    if (err) {
        op->step = "fstat";
        (void)io_close(p->io, fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}

/* Reads until len bytes or the end. Bytes or -errno. */
static ssize_t read_full(struct port *p, int fd, void *buf, size_t len, uint64_t offset)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = io_pread(p->io, fd, (char *)buf + done, len - done, (off_t)(offset + done));

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

int posix_read_small(struct port *p, struct store_op *op)
{
    struct attr before;
    struct attr after;
    ssize_t n = 0;
    int fd;
    int err = open_regular(p, op, &fd, &before);

    if (err) {
        return err;
    }
    if (before.size > op->read_small.size) {
        err = -EFBIG;
        goto out;
    }
    /* A file that has grown past its first size is seen in the second look: no read is needed to find its end. */
    n = read_full(p, fd, op->read_small.buf, before.size, 0);
    if (n < 0) {
        op->step = "read";
        err = (int)n;
        goto out;
    }
    err = posix_attr_at(p, fd, "", &after);
    op->step = err ? "fstat" : NULL;
out:
    (void)io_close(p->io, fd);
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
    struct attr attr;
    int fd;
    int err;

    if (!file) {
        return -ENOMEM;
    }
    err = open_regular(p, op, &fd, &attr);
    if (err) {
        free(file);
        return err;
    }
    *file = (struct store_file){.store = p->store, .fd = fd, .size = attr.size, .sparse = attr.allocated < attr.size};
    if (op->open.attr) {
        *op->open.attr = attr;
    }
    *op->open.out = file;
    return 0;
}

int posix_file_read(struct port *p, struct store_op *op)
{
    ssize_t n = read_full(p, op->file.file->fd, op->file.buf, op->file.len, op->file.offset);

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
    return posix_attr_at(p, op->stat.file->fd, "", op->stat.out);
}

int posix_file_close(struct port *p, struct store_op *op)
{
    struct store_file *file = op->file.file;

    /* Nothing was written: whatever close says, nothing is lost. */
    (void)io_close(p->io, file->fd);
    free(file);
    return 0;
}
