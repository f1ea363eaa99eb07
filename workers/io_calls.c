/*
 * io_calls: the calls of io, each as a request.
 */
#include "workers/io_internal.h"

int io_openat(struct io *io, int dirfd, const char *path, int flags, mode_t mode)
{
    struct io_req req = {.code = IO_OPENAT, .fd = dirfd, .path = path, .flags = (unsigned)flags, .mode = mode};
    return (int)io_run(io, &req);
}

int io_openat2(struct io *io, int dirfd, const char *path, struct open_how *how)
{
    struct io_req req = {.code = IO_OPENAT2, .fd = dirfd, .path = path, .buf = how, .len = sizeof(*how)};
    return (int)io_run(io, &req);
}

int io_close(struct io *io, int fd)
{
    struct io_req req = {.code = IO_CLOSE, .fd = fd};
    return (int)io_run(io, &req);
}

ssize_t io_pread(struct io *io, int fd, void *buf, size_t len, off_t offset)
{
    struct io_req req = {.code = IO_PREAD, .fd = fd, .buf = buf, .len = len, .off = offset};
    return (ssize_t)io_run(io, &req);
}

ssize_t io_pwrite(struct io *io, int fd, const void *buf, size_t len, off_t offset)
{
    struct io_req req = {.code = IO_PWRITE, .fd = fd, .data = buf, .len = len, .off = offset};
    return (ssize_t)io_run(io, &req);
}

int io_statx(struct io *io, int dirfd, const char *path, int flags, unsigned mask, struct statx *out_stx)
{
    struct io_req req = {
        .code = IO_STATX, .fd = dirfd, .path = path, .flags = (unsigned)flags, .mask = mask, .buf = out_stx};
    return (int)io_run(io, &req);
}

int io_renameat2(struct io *io, int olddir, const char *oldname, int newdir, const char *newname, unsigned flags)
{
    struct io_req req = {
        .code = IO_RENAMEAT2, .fd = olddir, .path = oldname, .fd2 = newdir, .path2 = newname, .flags = flags};
    return (int)io_run(io, &req);
}

int io_unlinkat(struct io *io, int dirfd, const char *path, int flags)
{
    struct io_req req = {.code = IO_UNLINKAT, .fd = dirfd, .path = path, .flags = (unsigned)flags};
    return (int)io_run(io, &req);
}

int io_mkdirat(struct io *io, int dirfd, const char *path, mode_t mode)
{
    struct io_req req = {.code = IO_MKDIRAT, .fd = dirfd, .path = path, .mode = mode};
    return (int)io_run(io, &req);
}

int io_symlinkat(struct io *io, const char *target, int dirfd, const char *path)
{
    struct io_req req = {.code = IO_SYMLINKAT, .fd = dirfd, .path = target, .path2 = path};
    return (int)io_run(io, &req);
}

int io_linkat(struct io *io, int olddir, const char *oldpath, int newdir, const char *newpath, int flags)
{
    struct io_req req = {
        .code = IO_LINKAT, .fd = olddir, .path = oldpath, .fd2 = newdir, .path2 = newpath, .flags = (unsigned)flags};
    return (int)io_run(io, &req);
}

int io_fsync(struct io *io, int fd)
{
    struct io_req req = {.code = IO_FSYNC, .fd = fd};
    return (int)io_run(io, &req);
}

int io_mknodat(struct io *io, int dirfd, const char *path, mode_t mode, dev_t rdev)
{
    struct io_req req = {.code = IO_MKNODAT, .fd = dirfd, .path = path, .mode = mode, .rdev = rdev};
    return (int)io_run(io, &req);
}

int io_fchmod(struct io *io, int fd, mode_t mode)
{
    struct io_req req = {.code = IO_FCHMOD, .fd = fd, .mode = mode};
    return (int)io_run(io, &req);
}

int io_fchmodat(struct io *io, int dirfd, const char *path, mode_t mode, int flags)
{
    struct io_req req = {.code = IO_FCHMODAT, .fd = dirfd, .path = path, .mode = mode, .flags = (unsigned)flags};
    return (int)io_run(io, &req);
}

int io_fchownat(struct io *io, int dirfd, const char *path, uid_t uid, gid_t gid, int flags)
{
    struct io_req req = {
        .code = IO_FCHOWNAT, .fd = dirfd, .path = path, .uid = uid, .gid = gid, .flags = (unsigned)flags};
    return (int)io_run(io, &req);
}

int io_utimensat(struct io *io, int dirfd, const char *path, const struct timespec times[2], int flags)
{
    struct io_req req = {.code = IO_UTIMENSAT, .fd = dirfd, .path = path, .times = times, .flags = (unsigned)flags};
    return (int)io_run(io, &req);
}

int io_ftruncate(struct io *io, int fd, off_t length)
{
    struct io_req req = {.code = IO_FTRUNCATE, .fd = fd, .off = length};
    return (int)io_run(io, &req);
}

off_t io_lseek(struct io *io, int fd, off_t offset, int whence)
{
    struct io_req req = {.code = IO_LSEEK, .fd = fd, .off = offset, .flags = (unsigned)whence};
    return (off_t)io_run(io, &req);
}

ssize_t io_copy_file_range(struct io *io, int fd_in, off_t off_in, int fd_out, off_t off_out, size_t len)
{
    struct io_req req = {
        .code = IO_COPY_FILE_RANGE, .fd = fd_in, .off = off_in, .fd2 = fd_out, .off2 = off_out, .len = len};
    return (ssize_t)io_run(io, &req);
}

ssize_t io_sendfile(struct io *io, int fd_in, off_t off_in, int fd_out, off_t off_out, size_t len)
{
    struct io_req req = {.code = IO_SENDFILE, .fd = fd_in, .off = off_in, .fd2 = fd_out, .off2 = off_out, .len = len};
    return (ssize_t)io_run(io, &req);
}

int io_ficlone(struct io *io, int fd_to, int fd_from)
{
    struct io_req req = {.code = IO_FICLONE, .fd = fd_to, .fd2 = fd_from};
    return (int)io_run(io, &req);
}

ssize_t io_readlinkat(struct io *io, int dirfd, const char *path, char *buf, size_t size)
{
    void *out = buf;
    struct io_req req = {.code = IO_READLINKAT, .fd = dirfd, .path = path, .buf = out, .len = size};
    return (ssize_t)io_run(io, &req);
}

ssize_t io_getdents(struct io *io, int fd, void *buf, size_t size)
{
    struct io_req req = {.code = IO_GETDENTS, .fd = fd, .buf = buf, .len = size};
    return (ssize_t)io_run(io, &req);
}

int io_getdents_statx(struct io *io, struct io_looks *looks)
{
    struct io_req req = {.code = IO_GETDENTS_STATX, .buf = looks};
    return (int)io_run(io, &req);
}

int io_syncfs(struct io *io, int fd)
{
    struct io_req req = {.code = IO_SYNCFS, .fd = fd};
    return (int)io_run(io, &req);
}

ssize_t io_listxattr(struct io *io, int fd, char *buf, size_t size)
{
    void *out = buf;
    struct io_req req = {.code = IO_LISTXATTR, .fd = fd, .buf = out, .len = size};
    return (ssize_t)io_run(io, &req);
}

ssize_t io_getxattr(struct io *io, int fd, const char *name, void *buf, size_t size)
{
    struct io_req req = {.code = IO_GETXATTR, .fd = fd, .path = name, .buf = buf, .len = size};
    return (ssize_t)io_run(io, &req);
}

int io_setxattr(struct io *io, int fd, const char *name, const void *value, size_t size)
{
    struct io_req req = {.code = IO_SETXATTR, .fd = fd, .path = name, .data = value, .len = size};
    return (int)io_run(io, &req);
}

int io_removexattr(struct io *io, int fd, const char *name)
{
    struct io_req req = {.code = IO_REMOVEXATTR, .fd = fd, .path = name};
    return (int)io_run(io, &req);
}
