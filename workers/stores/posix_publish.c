/*
 * posix_publish: a whole small file under its final name, by way of a temp name beside it.
 *
 * In the plain case six calls: open, write, times, look, close, rename. A file that needs another owner, or setuid,
 * setgid or sticky bits, is private until it has them: 0600, then owner, times, and the mode last.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/posix_internal.h"

#define NAME_TRIES   8 /* other temp names, where one was taken */
#define SETTLE_TRIES 2 /* repairs of owner and mode before the file is given up */
#define SPECIAL      (S_ISUID | S_ISGID | S_ISVTX)

static int fail_at(struct store_op *op, const char *step, int err)
{
    op->step = step;
    return err;
}

/* Final bits from the start where nothing else has to come first, so that no chmod is needed. */
static mode_t mode_at_open(const struct posix_store *s, const struct want *w, bool inherits)
{
    mode_t mode = want_mode(w, s->uid, s->gid);

    if ((mode & SPECIAL) || atomic_load_explicit(&s->owner_surprise, memory_order_relaxed) ||
        !posix_want_owner_comes(s, w, inherits)) {
        return 0600;
    }
    return mode;
}

mode_t posix_temp_mode(struct port *p, const struct want *w, bool inherits)
{
    /* An ACL says more than mode bits do: private until it is there. */
    return posix_xattrs_matter(p, w->xattrs) ? 0600 : mode_at_open(posix_of(p), w, inherits);
}

/* What the search for a temp name remembers. */
struct search {
    uid_t strange;            /* who owned the last file that was not ours, or -1 */
    char name[TEMP_NAME_MAX]; /* and its name */
};

/*
 * Without O_EXCL (see network_open): whether the file is the one that we have just made. A server may make another uid
 * of ours; the first strange one is taken for a planted file, the same one twice in a row for what it makes of us.
 */
static bool is_fresh(struct port *p, const struct posix_temp *t, int dir_fd, struct search *search)
{
    struct posix_store *s = posix_of(p);
    const struct attr *seen = &t->seen;

    if (!S_ISREG(seen->mode) || seen->nlink != 1 || seen->size != 0) {
        return false;
    }
    if (seen->uid == s->uid || (long long)seen->uid == atomic_load(&s->squashed_uid)) {
        return true;
    }
    if (search->strange == seen->uid) {
        atomic_store(&s->squashed_uid, seen->uid);
        (void)io_unlinkat(p->io, dir_fd, search->name, 0); /* so the first one was ours too */
        return true;
    }
    search->strange = seen->uid;
    memcpy(search->name, t->name, sizeof(search->name));
    return false;
}

/*
 * On network file systems O_EXCL becomes an exclusive create, which carries no attributes: a client that dies in
 * between leaves a file without mode, owner and times. So without it, and a look before the first byte instead.
 */
static int network_open(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd, struct search *search)
{
    int err;
    int fd = posix_openat(p, dir_fd, t->name, O_CREAT | O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, t->mode);

    if (fd < 0) {
        /* The file may be there although its answer was lost; nobody else knows that name. */
        if (fd != -ELOOP && fd != -EACCES && fd != -ENOENT) {
            (void)io_unlinkat(p->io, dir_fd, t->name, 0);
        }
        return fail_at(op, "open", fd == -ELOOP ? -EEXIST : fd);
    }
    err = posix_attr_at(p, fd, "", &t->seen);
    if (!err && is_fresh(p, t, dir_fd, search)) {
        t->fd = fd;
        return 0;
    }
    (void)io_close(p->io, fd);
    if (err) {
        (void)io_unlinkat(p->io, dir_fd, t->name, 0);
        return fail_at(op, "fstat", err);
    }
    return fail_at(op, "open", -EEXIST);
}

static int local_open(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd)
{
    int fd = posix_openat(p, dir_fd, t->name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, t->mode);

    if (fd < 0) {
        return fail_at(op, "open", fd);
    }
    t->fd = fd;
    return 0;
}

int posix_temp_open(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd, const struct want *w)
{
    struct posix_store *s = posix_of(p);
    struct search search = {.strange = (uid_t)-1};
    int err = -EEXIST;

    t->fd = -1;
    t->inherits = posix_dir_inherits(s, op->dir);
    t->resumed = false;
    t->mode = posix_temp_mode(p, w, t->inherits);
    for (unsigned i = 0; i < NAME_TRIES && err == -EEXIST; i++) {
        err = temp_name_make(s->run_id, t->name);
        if (err) {
            return fail_at(op, "open", err);
        }
        err = s->head.caps.network ? network_open(p, op, t, dir_fd, &search) : local_open(p, op, t, dir_fd);
    }
    return err;
}

int posix_write_all(struct port *p, int fd, const void *buf, size_t len, uint64_t offset)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = io_pwrite(p->io, fd, (const char *)buf + done, len - done, (off_t)(offset + done));

        if (n <= 0) {
            return n < 0 ? (int)n : -EIO;
        }
        done += (size_t)n;
    }
    return 0;
}

/* Size and kind can only be right or wrong; there is no repair. */
static bool is_broken(const struct posix_store *s, const struct want *w, const struct attr *seen)
{
    return !S_ISREG(seen->mode) || seen->size != w->attr->size || (seen->nlink != 1 && !s->lenient);
}

/* Looks, and repairs what a default ACL, a setgid directory or a server has made of owner and mode. */
static int settle_owner_and_mode(struct port *p, struct store_op *op, struct posix_temp *t, struct want *w)
{
    struct posix_store *s = posix_of(p);

    for (unsigned tries = 0;; tries++) {
        int err = posix_attr_at(p, t->fd, "", &t->seen);
        mode_t want = want_mode(w, t->seen.uid, t->seen.gid);
        bool wrong_owner;
        bool wrong_mode;
        bool moved = false;

        if (err) {
            return fail_at(op, "fstat", err);
        }
        if (is_broken(s, w, &t->seen)) {
            return fail_at(op, "check", -EIO);
        }
        wrong_owner = want_owner_wrong(w, &t->seen);
        wrong_mode = (t->seen.mode & 07777) != want;
        if (!wrong_owner && (!wrong_mode || (tries > 0 && posix_mode_will_do(s, want, t->seen.mode)))) {
            return 0;
        }
        if (tries == SETTLE_TRIES) {
            return fail_at(op, "check", -EIO);
        }
        if (wrong_owner) {
            atomic_store(&s->owner_surprise, true);
            err = posix_want_chown(p, w, t->fd, "", AT_EMPTY_PATH, true);
            if (err) {
                return fail_at(op, "chown", err);
            }
            /* The chown took file capabilities away. */
            err = posix_xattrs_apply(p, op, t->fd, w, !t->resumed, &moved);
            if (err) {
                return err;
            }
        } else {
            /* Only once the owner is right: a setuid file never has the wrong one (P3). */
            err = posix_set_mode(p, t->fd, false, want);
            if (err) {
                return fail_at(op, "chmod", err);
            }
        }
    }
}

int posix_temp_settle(struct port *p, struct store_op *op, struct posix_temp *t, struct want *w)
{
    struct posix_store *s = posix_of(p);
    bool moved = false;
    mode_t mode;
    int err;

    if (!posix_want_owner_comes(s, w, t->inherits)) {
        err = posix_want_chown(p, w, t->fd, "", AT_EMPTY_PATH, true);
        if (err) {
            return fail_at(op, "chown", err);
        }
    }
    if (w->keep & STORE_KEEP_TIMES) {
        err = posix_set_times(p, w->attr, t->fd, NULL, 0);
        if (err) {
            return fail_at(op, "utimens", err);
        }
    }
    err = posix_xattrs_apply(p, op, t->fd, w, !t->resumed, &moved);
    if (err) {
        return err;
    }
    /* Special bits wait until the owner has been seen to be right. */
    mode = want_mode(w, w->uid == (uid_t)-1 ? s->uid : w->uid, w->gid == (gid_t)-1 ? s->gid : w->gid);
    if (mode != t->mode && !(mode & SPECIAL) && !moved) {
        err = posix_set_mode(p, t->fd, false, mode);
        if (err) {
            return fail_at(op, "chmod", err);
        }
        t->mode = mode;
    }
    err = settle_owner_and_mode(p, op, t, w);
    if (err) {
        return err;
    }
    if (t->seen.dev != s->root_dev) {
        atomic_store_explicit(&s->other_mounts, true, memory_order_relaxed);
    }
    want_note(&s->owning, s->notices, w, &t->seen);
    return 0;
}

bool posix_was_renamed(struct port *p, int dir_fd, const char *temp, const char *name, const struct attr *seen)
{
    struct attr final;
    int err = posix_attr_at(p, dir_fd, name, &final);

    if (err || final.ino != seen->ino || final.dev != seen->dev) {
        return false;
    }
    err = posix_attr_at(p, dir_fd, temp, &final);
    return err == -ENOENT;
}

int posix_rename_temp(struct port *p, int dir_fd, const char *temp, const char *name, const struct attr *seen)
{
    int err = fence_pass(posix_of(p)->fence, p->io);

    if (err) {
        return err;
    }
    err = io_renameat2(p->io, dir_fd, temp, dir_fd, name, 0);
    /* A lost answer, or a request that the client has repeated by itself: is it there? */
    return err && posix_was_renamed(p, dir_fd, temp, name, seen) ? 0 : err;
}

int posix_temp_close(struct port *p, struct store_op *op, struct posix_temp *t)
{
    int err = posix_of(p)->fsync ? io_fsync(p->io, t->fd) : 0;

    if (err) {
        return fail_at(op, "fsync", err);
    }
    err = io_close(p->io, t->fd);
    t->fd = -1;
    return err ? fail_at(op, "close", err) : 0;
}

/* Whether what stands there is still what is to be replaced. 0 or -errno. */
static int check_meant(struct port *p, struct store_op *op, int dir_fd, const char *name, const struct attr *expect)
{
    struct attr now;
    int err = posix_attr_at(p, dir_fd, name, &now);

    if (err && err != -ENOENT) {
        return fail_at(op, "stat", err);
    }
    return err || !attr_is_meant(expect, &now) ? fail_at(op, STORE_STEP_GUARD, -ESTALE) : 0;
}

int posix_temp_finish(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd, const char *name,
                      const struct attr *expect)
{
    int err = posix_temp_close(p, op, t);

    if (!err && expect) {
        err = check_meant(p, op, dir_fd, name, expect);
    }
    if (err) {
        return err;
    }
    err = posix_rename_temp(p, dir_fd, t->name, name, &t->seen);
    return err ? fail_at(op, "rename", err) : 0;
}

void posix_temp_drop(struct port *p, struct posix_temp *t, int dir_fd)
{
    if (t->fd >= 0) {
        (void)io_close(p->io, t->fd);
        t->fd = -1;
    }
    (void)io_unlinkat(p->io, dir_fd, t->name, 0);
}

/* With dir_fd pinned. */
static int publish_in(struct port *p, struct store_op *op, int dir_fd)
{
    struct want w;
    struct posix_temp t;
    int err;

    want_init(&posix_of(p)->owning, &w, op->put.attr, op->put.keep, op->put.xattrs);
    err = posix_temp_open(p, op, &t, dir_fd, &w);
    if (err) {
        return err;
    }
    err = posix_write_all(p, t.fd, op->put.data, op->put.attr->size, 0);
    if (err) {
        op->step = "write";
    }
    if (!err) {
        err = posix_temp_settle(p, op, &t, &w);
    }
    if (!err) {
        err = op->put.exclusive ? posix_temp_finish_new(p, op, &t, dir_fd, op->name)
                                : posix_temp_finish(p, op, &t, dir_fd, op->name, op->put.expect);
    }
    if (err) {
        posix_temp_drop(p, &t, dir_fd);
        return err;
    }
    if (op->put.out) {
        *op->put.out = t.seen;
    }
    return 0;
}

int posix_publish(struct port *p, struct store_op *op)
{
    int dir_fd;
    int err = posix_dir_pin(p, op->dir, &dir_fd);

    if (err) {
        return err;
    }
    err = publish_in(p, op, dir_fd);
    posix_dir_unpin_made(p, op->dir, posix_handle_err(op, err));
    return err;
}
