/*
 * posix_resume: a temp file that an earlier upload has left, taken up again.
 *
 * It is looked at through a descriptor that can do nothing, and once more through the one that is written to: what is
 * no longer the file that was left is not opened for writing, not even for a moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "workers/stores/posix_internal.h"

/* The temp name is another file's by now. */
static int is_another(struct store_op *op)
{
    op->step = STORE_STEP_GUARD;
    return -ESTALE;
}

/*
 * Whether seen is what was left. A device number of a network mount changes whenever it is mounted. A run that ended
 * while it committed may have given the file away already, to whom it is to belong.
 */
static bool is_left(const struct posix_store *s, const struct store_temp *left, const struct want *w,
                    const struct attr *seen)
{
    return S_ISREG(seen->mode) && (seen->nlink == 1 || s->lenient) && seen->ino == left->ino &&
           (seen->dev == left->dev || s->head.caps.network) && (seen->uid == left->uid || seen->uid == w->uid);
}

/* As private as a new one, and writable for us: it may have been made with other bits, or have its final ones. */
static int make_private(struct port *p, struct store_op *op, const struct posix_temp *t, int path_fd)
{
    mode_t want = t->mode | S_IWUSR;
    int err;

    if ((t->seen.mode & 07777) == want) {
        return 0;
    }
    err = posix_set_mode(p, path_fd, true, want);
    op->step = err ? "chmod" : NULL;
    return err;
}

/* With path_fd, which stands for the file: opens it for writing. */
static int open_left(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd, int path_fd,
                     const struct want *w)
{
    const struct posix_store *s = posix_of(p);
    int err = posix_attr_at(p, path_fd, "", &t->seen);
    int fd;

    if (err) {
        op->step = "fstat";
        return err;
    }
    if (!is_left(s, op->put.resume, w, &t->seen)) {
        return is_another(op);
    }
    err = make_private(p, op, t, path_fd);
    if (err) {
        return err;
    }
    fd = posix_openat(p, dir_fd, t->name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0) {
        op->step = "open";
        return fd == -ELOOP || fd == -ENXIO ? is_another(op) : fd;
    }
    err = posix_attr_at(p, fd, "", &t->seen);
    if (!err && !is_left(s, op->put.resume, w, &t->seen)) {
        err = is_another(op);
    } else if (err) {
        op->step = "fstat";
    }
    if (err) {
        (void)io_close(p->io, fd);
        return err;
    }
    t->fd = fd;
    return 0;
}

int posix_temp_reopen(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd, const struct want *w)
{
    int path_fd;
    int err;

    if (!temp_name_parse(op->put.resume->name, NULL)) {
        op->step = "open";
        return -EINVAL;
    }
    memcpy(t->name, op->put.resume->name, sizeof(t->name));
    t->fd = -1;
    t->resumed = true;
    t->inherits = posix_dir_inherits(posix_of(p), op->dir);
    t->mode = posix_temp_mode(p, w, t->inherits);
    path_fd = posix_openat(p, dir_fd, t->name, O_PATH | O_NOFOLLOW, 0);
    if (path_fd < 0) {
        op->step = "open";
        return path_fd;
    }
    err = open_left(p, op, t, dir_fd, path_fd, w);
    (void)io_close(p->io, path_fd);
    t->mode = err ? t->mode : t->seen.mode & 07777;
    return err;
}
