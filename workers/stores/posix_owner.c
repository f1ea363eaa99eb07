/*
 * posix_owner: how owner, mode and times are set, and what of that a file system has to be forgiven; what an entry is
 * to get says want.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "workers/stores/posix_internal.h"

static const char note_times[] = "the destination cannot hold times of some entries";

bool posix_want_owner_comes(const struct posix_store *s, const struct want *w, bool inherits)
{
    return (w->uid == (uid_t)-1 || w->uid == s->uid) && (w->gid == (gid_t)-1 || (w->gid == s->gid && !inherits));
}

int posix_want_chown(struct port *p, struct want *w, int dir_fd, const char *path, int flags, bool made)
{
    struct posix_store *s = posix_of(p);
    int err;

    if (w->uid == (uid_t)-1 && w->gid == (gid_t)-1) {
        return 0;
    }
    err = io_fchownat(p->io, dir_fd, path, w->uid, w->gid, flags);
    /* EINVAL: the id does not exist in our user namespace. */
    if (err != -EPERM && err != -EINVAL && err != -EOPNOTSUPP && err != -ENOSYS) {
        return err;
    }
    return want_refused(&s->owning, w, err != -EINVAL, made);
}

bool posix_mode_will_do(const struct posix_store *s, mode_t want, mode_t seen)
{
    if (want_mode_will_do(want, seen)) {
        return true;
    }
    /* Such file systems make modes up. None at all is the sign of a broken file, never of those. */
    return s->lenient && ((seen & 0777) != 0 || (want & 0777) == 0);
}

int posix_set_times(struct port *p, const struct attr *attr, int dir_fd, const char *path, int flags)
{
    struct posix_store *s = posix_of(p);
    const struct timespec times[2] = {attr->atime, attr->mtime};
    int err = io_utimensat(p->io, dir_fd, path, times, flags);

    if (err == -ENOSYS || err == -EOPNOTSUPP || (s->lenient && (err == -EPERM || err == -EINVAL))) {
        notice_raise(s->notices, note_times);
        return 0;
    }
    return err;
}

/* chmod through an O_PATH descriptor. */
static int chmod_path_fd(struct port *p, int fd, mode_t mode)
{
    struct posix_store *s = posix_of(p);
    char path[40];

    if (!atomic_load_explicit(&s->no_fchmodat2, memory_order_relaxed)) {
        int err = io_fchmodat(p->io, fd, "", mode, AT_EMPTY_PATH);

        if (err != -ENOSYS && err != -EPERM) {
            return err;
        }
        /* EPERM may be a sandbox's word for "unknown": the other way tells. */
        if (err == -ENOSYS) {
            atomic_store(&s->no_fchmodat2, true);
        }
    }
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return io_fchmodat(p->io, AT_FDCWD, path, mode, 0);
}

int posix_set_mode(struct port *p, int fd, bool is_path, mode_t mode)
{
    struct posix_store *s = posix_of(p);
    int err = is_path ? chmod_path_fd(p, fd, mode & 07777) : io_fchmod(p->io, fd, mode & 07777);

    if (s->lenient && (err == -EPERM || err == -EOPNOTSUPP || err == -EINVAL)) {
        return 0; /* what it made of the mode is seen and said later */
    }
    return err;
}
