/*
 * posix_owner: which owner, mode and times an entry gets, and what is said where it cannot have them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/posix_internal.h"

#define SPECIAL (S_ISUID | S_ISGID | S_ISVTX)

static const char note_owner[] = "the destination refuses to set owners; files keep the owner it gives them";
static const char note_special[] = "setuid or setgid was left out where owner or group are not those of the source";
static const char note_mode[] = "the destination cannot hold permission bits as they are";
static const char note_times[] = "the destination cannot hold times of some entries";

static bool group_is_ours(const struct posix_store *s, gid_t gid)
{
    for (int i = 0; i < s->group_count; i++) {
        if (s->groups[i] == gid) {
            return true;
        }
    }
    return false;
}

void posix_want_init(const struct posix_store *s, struct posix_want *w, const struct attr *attr, unsigned keep,
                     const struct xattrs *xattrs)
{
    bool all =
        s->owner == OWNER_REQUIRE || (s->privileged && !atomic_load_explicit(&s->owner_refused, memory_order_relaxed));

    *w = (struct posix_want){.attr = attr, .keep = keep, .xattrs = xattrs, .uid = (uid_t)-1, .gid = (gid_t)-1};
    if (s->owner == OWNER_IGNORE) {
        return;
    }
    if ((keep & STORE_KEEP_OWNER) && all) {
        w->uid = attr->uid;
    }
    if ((keep & STORE_KEEP_GROUP) && (all || (!s->privileged && group_is_ours(s, attr->gid)))) {
        w->gid = attr->gid;
    }
}

mode_t posix_want_mode(const struct posix_want *w, uid_t uid, gid_t gid)
{
    mode_t mode = w->attr->mode & 07777;

    if (!(w->keep & STORE_KEEP_MODE)) {
        return mode & 0755;
    }
    if (S_ISDIR(w->attr->mode)) {
        return mode;
    }
    if (uid != w->attr->uid) {
        mode &= ~(mode_t)S_ISUID;
    }
    if (gid != w->attr->gid) {
        mode &= ~(mode_t)S_ISGID;
    }
    return mode;
}

bool posix_want_owner_comes(const struct posix_store *s, const struct posix_want *w, bool inherits)
{
    return (w->uid == (uid_t)-1 || w->uid == s->uid) && (w->gid == (gid_t)-1 || (w->gid == s->gid && !inherits));
}

bool posix_want_owner_wrong(const struct posix_want *w, const struct attr *seen)
{
    return (w->uid != (uid_t)-1 && seen->uid != w->uid) || (w->gid != (gid_t)-1 && seen->gid != w->gid);
}

int posix_want_chown(struct port *p, struct posix_want *w, int dir_fd, const char *path, int flags, bool made)
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
    if (s->owner == OWNER_REQUIRE) {
        return -EPERM;
    }
    if (made && err != -EINVAL) {
        atomic_store(&s->owner_refused, true);
    }
    w->refused = err != -EINVAL;
    w->uid = (uid_t)-1;
    w->gid = (gid_t)-1;
    return 0;
}

void posix_want_note(struct posix_store *s, const struct posix_want *w, const struct attr *seen)
{
    bool uid_lost = (w->keep & STORE_KEEP_OWNER) && seen->uid != w->attr->uid;
    bool gid_lost = (w->keep & STORE_KEEP_GROUP) && seen->gid != w->attr->gid;

    /* Who is not root cannot give files away anywhere: nothing to be said about this destination. */
    if (s->owner == OWNER_AUTO && s->privileged && (uid_lost || gid_lost)) {
        notice_raise(s->notices, note_owner);
    }
    if ((w->keep & STORE_KEEP_MODE) && !S_ISLNK(seen->mode)) {
        mode_t lost = w->attr->mode & ~seen->mode & 07777;

        if (lost & (S_ISUID | S_ISGID)) {
            notice_raise(s->notices, note_special);
        }
        if (lost & (0777 | S_ISVTX)) {
            notice_raise(s->notices, note_mode);
        }
    }
}

bool posix_mode_will_do(const struct posix_store *s, mode_t want, mode_t seen)
{
    want &= 07777;
    seen &= 07777;
    /* The kernel or server takes setuid and setgid away where it does not trust us with them, and says nothing. */
    if ((want & 0777) == (seen & 0777) && (seen & SPECIAL & ~want) == 0) {
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
