/*
 * posix_dirs: the handles of directories.
 *
 * A handle is opened from the nearest ancestor that has one, one component at a time, never through a symbolic link.
 * Handles nobody uses are kept in the order of their last use and closed beyond max_handles. The lock guards memory
 * only: opening and closing happen without it, so two threads may open the same directory; the second gives its own up.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workers/stores/posix_internal.h"

#define CHAIN_NEAR  32 /* levels that need no memory */
#define EVICT_BATCH 16 /* handles closed at a time */
#define STALE_TRIES 4  /* opens from further up, after a stale handle on the way */

/* In dir_handle.data. */
#define FLAG_SETGID ((uintptr_t)1) /* the directory is setgid */
#define FLAG_NEAR   ((uintptr_t)2) /* it is on the root's file system; asked for where that is local, and a source */

static struct dir_handle *handle_of(const struct posix_store *s, struct dir *dir)
{
    return &dir->handle[s->side];
}

/* With the lock. */
static void lru_remove(struct posix_store *s, struct dir *dir)
{
    struct dir_handle *h = handle_of(s, dir);

    if (h->newer) {
        handle_of(s, h->newer)->older = h->older;
    } else {
        s->newest = h->older;
    }
    if (h->older) {
        handle_of(s, h->older)->newer = h->newer;
    } else {
        s->oldest = h->newer;
    }
    h->newer = NULL;
    h->older = NULL;
}

/* With the lock. */
static void lru_add(struct posix_store *s, struct dir *dir)
{
    struct dir_handle *h = handle_of(s, dir);

    h->newer = NULL;
    h->older = s->newest;
    if (s->newest) {
        handle_of(s, s->newest)->newer = dir;
    } else {
        s->oldest = dir;
    }
    s->newest = dir;
}

/* With the lock: takes the descriptor out of an unlisted, unpinned handle. */
static int handle_take(struct posix_store *s, struct dir *dir)
{
    struct dir_handle *h = handle_of(s, dir);
    int fd = h->fd;

    h->fd = -1;
    h->data = NULL;
    s->open--;
    return fd;
}

/* With the lock: takes up to EVICT_BATCH of the oldest descriptors while more than keep are open. */
static unsigned collect(struct posix_store *s, unsigned keep, int fds[EVICT_BATCH])
{
    unsigned n = 0;

    while (n < EVICT_BATCH && s->open > keep && s->oldest) {
        struct dir *dir = s->oldest;

        lru_remove(s, dir);
        fds[n++] = handle_take(s, dir);
    }
    return n;
}

/* Closing a directory never waits, not on network mounts either: no need to go through the ring. */
static void close_all(const int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        close(fds[i]);
    }
}

bool posix_dirs_evict(struct posix_store *s)
{
    int fds[EVICT_BATCH];
    unsigned n;

    pthread_mutex_lock(&s->lock);
    n = collect(s, 0, fds);
    pthread_mutex_unlock(&s->lock);
    close_all(fds, n);
    return n > 0;
}

int posix_openat(struct port *p, int dir_fd, const char *name, int flags, mode_t mode)
{
    int fd;

    do {
        fd = io_openat(p->io, dir_fd, name, flags | O_CLOEXEC, mode);
    } while ((fd == -EMFILE || fd == -ENFILE) && posix_dirs_evict(posix_of(p)));
    return fd;
}

int posix_openat2(struct port *p, int dir_fd, const char *path, struct open_how *how)
{
    struct posix_store *s = posix_of(p);
    int fd = -ENOSYS;

    if (atomic_load_explicit(&s->no_openat2, memory_order_relaxed)) {
        return fd;
    }
    do {
        fd = io_openat2(p->io, dir_fd, path, how);
    } while ((fd == -EMFILE || fd == -ENFILE) && posix_dirs_evict(s));
    if (fd == -ENOSYS || fd == -EPERM) {
        atomic_store(&s->no_openat2, true);
        fd = -ENOSYS;
    }
    return fd;
}

/* One component, which neither of the two ways follows if it is a symbolic link. Where the file system is local the
 * call does not wait and is made at once. */
static int open_component(struct port *p, int parent_fd, const char *name, int flags)
{
    struct posix_store *s = posix_of(p);
    struct open_how how = {
        .flags = (unsigned)(flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };

    if (!s->head.caps.network && !atomic_load_explicit(&s->no_openat2, memory_order_relaxed)) {
        long fd;

        do {
            fd = syscall(SYS_openat2, parent_fd, name, &how, sizeof(how));
        } while (fd < 0 &&
                 (errno == EINTR || errno == EAGAIN || ((errno == EMFILE || errno == ENFILE) && posix_dirs_evict(s))));
        if (fd >= 0) {
            return (int)fd;
        }
        if (errno != ENOSYS && errno != EPERM) {
            return -errno;
        }
        atomic_store(&s->no_openat2, true);
    }
    return posix_openat(p, parent_fd, name, flags | O_DIRECTORY | O_NOFOLLOW, 0);
}

static int open_child(struct port *p, int parent_fd, const char *name, uintptr_t *out_flags)
{
    struct posix_store *s = posix_of(p);
    struct attr attr;
    int fd = open_component(p, parent_fd, name, O_RDONLY);

    if (fd == -EACCES) {
        fd = open_component(p, parent_fd, name, O_PATH);
    }
    *out_flags = 0;
    if (fd >= 0 && s->side == DIR_SRC && s->local) {
        struct stat st;

        *out_flags = fstat(fd, &st) == 0 && st.st_dev == s->root_dev ? FLAG_NEAR : 0;
    }
    if (fd >= 0 && s->side == DIR_DST) {
        int err = posix_attr_at(p, fd, "", &attr);

        if (err) {
            close(fd);
            return err;
        }
        *out_flags = attr.mode & S_ISGID ? FLAG_SETGID : 0;
    }
    return fd;
}

/* With the lock: the pinned descriptor of dir, or -1 where it is not open. */
static int pin_open(struct posix_store *s, struct dir *dir)
{
    struct dir_handle *h = handle_of(s, dir);

    if (!dir->parent) {
        return s->root_fd;
    }
    if (h->fd < 0) {
        return -1;
    }
    if (h->pins++ == 0) {
        lru_remove(s, dir);
    }
    return h->fd;
}

/* The pinned descriptor of dir, opened from its parent's if need be. A descriptor or -errno. */
static int pin_child(struct port *p, int parent_fd, struct dir *dir)
{
    struct posix_store *s = posix_of(p);
    struct dir_handle *h = handle_of(s, dir);
    int spare[EVICT_BATCH + 1];
    uintptr_t flags = 0;
    unsigned n;
    int made;
    int fd;

    pthread_mutex_lock(&s->lock);
    fd = pin_open(s, dir);
    pthread_mutex_unlock(&s->lock);
    if (fd >= 0) {
        return fd;
    }
    made = open_child(p, parent_fd, dir->name, &flags);
    if (made < 0) {
        return made;
    }
    pthread_mutex_lock(&s->lock);
    fd = pin_open(s, dir);
    if (fd < 0) {
        fd = h->fd = made;
        h->pins = 1;
        h->data = (void *)flags;
        s->open++;
        made = -1;
    }
    n = collect(s, s->max_handles, spare);
    pthread_mutex_unlock(&s->lock);
    if (made >= 0) {
        spare[n++] = made;
    }
    close_all(spare, n);
    return fd;
}

/*
 * Whether the handle of level i of a chain of n is kept after its child was opened. Of a chain longer than all handles
 * the lower end is, and one level now and then above it: whoever comes back up from the bottom of a very deep tree then
 * opens a few levels at a time and not the whole chain again and again.
 */
static bool worth_keeping(const struct posix_store *s, size_t i, size_t n)
{
    size_t half = s->max_handles / 2;

    return n <= half || i + half >= n || i % (n / half + 1) == 0;
}

/* Down from the nearest open ancestor. 0 or -errno. */
static int pin_chain(struct port *p, struct dir *dir, int *out_fd)
{
    struct posix_store *s = posix_of(p);
    struct dir *near[CHAIN_NEAR];
    struct dir **chain = near;
    struct dir *at = dir;
    size_t n = 0;
    int fd;

    pthread_mutex_lock(&s->lock);
    while ((fd = pin_open(s, at)) < 0) {
        at = at->parent;
        n++;
    }
    pthread_mutex_unlock(&s->lock);

    if (n > CHAIN_NEAR) {
        chain = malloc(n * sizeof(struct dir *));
        if (!chain) {
            posix_dir_unpin(p, at, 0);
            return -ENOMEM;
        }
    }
    for (size_t i = n; i > 0; i--) {
        chain[i - 1] = dir;
        dir = dir->parent;
    }
    for (size_t i = 0; i < n && fd >= 0; i++) {
        int child = pin_child(p, fd, chain[i]);

        posix_dir_unpin(p, at, child >= 0 && i > 0 && !worth_keeping(s, i - 1, n) ? -ESTALE : child);
        at = chain[i];
        fd = child;
    }
    if (chain != near) {
        free(chain);
    }
    if (fd < 0) {
        return fd;
    }
    *out_fd = fd;
    return 0;
}

int posix_dir_pin(struct port *p, struct dir *dir, int *out_fd)
{
    struct posix_store *s = posix_of(p);
    int err = -ESTALE;
    int fd;

    pthread_mutex_lock(&s->lock);
    fd = pin_open(s, dir);
    pthread_mutex_unlock(&s->lock);
    if (fd >= 0) {
        *out_fd = fd;
        return 0;
    }
    for (unsigned i = 0; i < STALE_TRIES && err == -ESTALE; i++) {
        err = pin_chain(p, dir, out_fd);
    }
    return err;
}

void posix_dir_unpin(struct port *p, struct dir *dir, int err)
{
    struct posix_store *s = posix_of(p);
    int fd = -1;

    if (!dir->parent) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    if (--handle_of(s, dir)->pins == 0) {
        if (err == -ESTALE || s->open > s->max_handles) {
            fd = handle_take(s, dir);
        } else {
            lru_add(s, dir);
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (fd >= 0) {
        close(fd);
    }
}

int posix_handle_err(const struct store_op *op, int err)
{
    return store_op_guarded(op) ? 0 : err;
}

bool posix_dir_is_open(struct posix_store *s, struct dir *dir)
{
    bool open;

    pthread_mutex_lock(&s->lock);
    open = !dir->parent || handle_of(s, dir)->fd >= 0;
    pthread_mutex_unlock(&s->lock);
    return open;
}

void posix_dir_unpin_made(struct port *p, struct dir *dir, int err)
{
    posix_dir_unpin(p, dir, err == -ENOENT ? -ESTALE : err);
}

bool posix_dir_inherits(struct posix_store *s, struct dir *dir)
{
    bool setgid;

    if (!dir->parent) {
        return atomic_load_explicit(&s->root_setgid, memory_order_relaxed);
    }
    pthread_mutex_lock(&s->lock);
    setgid = ((uintptr_t)handle_of(s, dir)->data & FLAG_SETGID) != 0;
    pthread_mutex_unlock(&s->lock);
    return setgid;
}

bool posix_dir_is_near(struct posix_store *s, struct dir *dir)
{
    bool near;

    if (!dir->parent || !s->local) {
        return s->local;
    }
    pthread_mutex_lock(&s->lock);
    near = ((uintptr_t)handle_of(s, dir)->data & FLAG_NEAR) != 0;
    pthread_mutex_unlock(&s->lock);
    return near;
}

void posix_dir_note_mode(struct posix_store *s, struct dir *dir, mode_t mode)
{
    if (!dir->parent) {
        atomic_store(&s->root_setgid, (mode & S_ISGID) != 0);
        return;
    }
    pthread_mutex_lock(&s->lock);
    handle_of(s, dir)->data = (void *)(mode & S_ISGID ? FLAG_SETGID : 0);
    pthread_mutex_unlock(&s->lock);
}

void posix_dir_release(struct store *store, struct dir *dir)
{
    struct posix_store *s = (struct posix_store *)store;
    int fd = -1;

    if (!dir->parent) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    if (handle_of(s, dir)->fd >= 0) {
        lru_remove(s, dir);
        fd = handle_take(s, dir);
    }
    pthread_mutex_unlock(&s->lock);
    if (fd >= 0) {
        close(fd);
    }
}
