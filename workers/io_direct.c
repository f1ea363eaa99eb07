/*
 * io_direct: each call of io as the plain system call.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "workers/io_internal.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452 /* since Linux 6.6 */
#endif

static int64_t call_ring_codes(const struct io_req *r)
{
    switch (r->code) {
    case IO_OPENAT:
        return openat(r->fd, r->path, (int)r->flags, r->mode);
    case IO_OPENAT2:
        return syscall(SYS_openat2, r->fd, r->path, r->buf, r->len);
    case IO_CLOSE:
        return close(r->fd);
    case IO_PREAD:
        return pread(r->fd, r->buf, r->len, r->off);
    case IO_PWRITE:
        return pwrite(r->fd, r->data, r->len, r->off);
    case IO_STATX:
        return statx(r->fd, r->path, (int)r->flags, r->mask, r->buf);
    case IO_RENAMEAT2:
        return renameat2(r->fd, r->path, r->fd2, r->path2, r->flags);
    case IO_UNLINKAT:
        return unlinkat(r->fd, r->path, (int)r->flags);
    case IO_MKDIRAT:
        return mkdirat(r->fd, r->path, r->mode);
    case IO_SYMLINKAT:
        return symlinkat(r->path, r->fd, r->path2);
    case IO_LINKAT:
        return linkat(r->fd, r->path, r->fd2, r->path2, (int)r->flags);
    case IO_FSYNC:
        return fsync(r->fd);
    default:
        errno = ENOSYS;
        return -1;
    }
}

/* It has no offset for the file that is written. */
static int64_t send_file(const struct io_req *r)
{
    off_t in = r->off;
    if (lseek(r->fd2, r->off2, SEEK_SET) < 0) {
        return -1;
    }
    return sendfile(r->fd2, r->fd, &in, r->len);
}

static int64_t call_other_codes(const struct io_req *r)
{
    off_t in = r->off;
    off_t out = r->off2;
    switch (r->code) {
    case IO_MKNODAT:
        return mknodat(r->fd, r->path, r->mode, r->rdev);
    case IO_FCHMOD:
        return fchmod(r->fd, r->mode);
    case IO_FCHMODAT:
        return r->flags ? syscall(SYS_fchmodat2, r->fd, r->path, r->mode, r->flags)
                        : fchmodat(r->fd, r->path, r->mode, 0);
    case IO_FCHOWNAT:
        return fchownat(r->fd, r->path, r->uid, r->gid, (int)r->flags);
    case IO_UTIMENSAT:
        return r->path ? utimensat(r->fd, r->path, r->times, (int)r->flags) : futimens(r->fd, r->times);
    case IO_FTRUNCATE:
        return ftruncate(r->fd, r->off);
    case IO_LSEEK:
        return lseek(r->fd, r->off, (int)r->flags);
    case IO_COPY_FILE_RANGE:
        return copy_file_range(r->fd, &in, r->fd2, &out, r->len, 0);
    case IO_SENDFILE:
        return send_file(r);
    case IO_FICLONE:
        return ioctl(r->fd, FICLONE, r->fd2);
    case IO_READLINKAT:
        return readlinkat(r->fd, r->path, r->buf, r->len);
    case IO_GETDENTS:
        return getdents64(r->fd, r->buf, r->len);
    case IO_GETDENTS_STATX:
        return looks_call(r->buf);
    case IO_SYNCFS:
        return syncfs(r->fd);
    default:
        errno = ENOSYS;
        return -1;
    }
}

/* By path, which is the kernel's own link to what an O_PATH descriptor stands for: a symbolic link behind it stays. */
static int64_t call_xattr_path(const struct io_req *r)
{
    char path[40];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", r->fd);
    switch (r->code) {
    case IO_LISTXATTR:
        return listxattr(path, r->buf, r->len);
    case IO_GETXATTR:
        return getxattr(path, r->path, r->buf, r->len);
    case IO_SETXATTR:
        return setxattr(path, r->path, r->data, r->len, 0);
    default:
        return removexattr(path, r->path);
    }
}

static int64_t call_xattr_fd(const struct io_req *r)
{
    switch (r->code) {
    case IO_LISTXATTR:
        return flistxattr(r->fd, r->buf, r->len);
    case IO_GETXATTR:
        return fgetxattr(r->fd, r->path, r->buf, r->len);
    case IO_SETXATTR:
        return fsetxattr(r->fd, r->path, r->data, r->len, 0);
    default:
        return fremovexattr(r->fd, r->path);
    }
}

static int64_t call_xattr_codes(const struct io_req *r)
{
    int64_t result = call_xattr_fd(r);
    return result < 0 && errno == EBADF ? call_xattr_path(r) : result;
}

static int64_t call(const struct io_req *r)
{
    if (r->code < IO_RING_CODES) {
        return call_ring_codes(r);
    }
    return r->code < IO_XATTR_CODES ? call_other_codes(r) : call_xattr_codes(r);
}

int64_t io_call(const struct io_req *req)
{
    for (;;) {
        int64_t result = call(req);
        if (result >= 0) {
            return result;
        }
        int err = errno;
        /* An interrupted close has closed: a second one would hit a descriptor that somebody else has got by then. */
        if (err != EINTR || req->code == IO_CLOSE) {
            return -err;
        }
    }
}
