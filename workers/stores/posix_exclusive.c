/*
 * posix_exclusive: a whole small file under a name under which nothing stands yet.
 *
 * A rename that does not replace, or a link after which the temp name goes; NFS has only the latter. Where there is
 * neither, the final name is made empty for a moment, which is why that comes last.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "workers/stores/posix_internal.h"

static int fail_at(struct store_op *op, const char *step, int err)
{
    op->step = step;
    return err;
}

static bool cannot(int err)
{
    return err == -EINVAL || err == -ENOSYS || err == -EOPNOTSUPP || err == -EPERM || err == -EMLINK;
}

/* Whether name is the inode seen. */
static bool is_there(struct port *p, int dir_fd, const char *name, const struct attr *seen)
{
    struct attr final;

    return posix_attr_at(p, dir_fd, name, &final) == 0 && final.ino == seen->ino && final.dev == seen->dev;
}

static int by_rename(struct port *p, struct store_op *op, int dir_fd, const struct posix_temp *t, const char *name)
{
    int err = io_renameat2(p->io, dir_fd, t->name, dir_fd, name, RENAME_NOREPLACE);

    /* A request whose answer was lost and that was repeated meets its own result. */
    if (err && !cannot(err) && posix_was_renamed(p, dir_fd, t->name, name, &t->seen)) {
        return 0;
    }
    return err ? fail_at(op, "rename", err) : 0;
}

static int by_link(struct port *p, struct store_op *op, int dir_fd, const struct posix_temp *t, const char *name)
{
    int err = io_linkat(p->io, dir_fd, t->name, dir_fd, name, 0);

    if (err && !cannot(err) && is_there(p, dir_fd, name, &t->seen)) {
        err = 0;
    }
    if (err) {
        return fail_at(op, "link", err);
    }
    /* The final name is ours whatever becomes of the temp name; one that stays is a stale temp name like any other. */
    (void)io_unlinkat(p->io, dir_fd, t->name, 0);
    return 0;
}

static int by_create(struct port *p, struct store_op *op, int dir_fd, const struct posix_temp *t, const char *name)
{
    int fd = posix_openat(p, dir_fd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0600);
    int err;

    if (fd < 0) {
        return fail_at(op, "open", fd);
    }
    (void)io_close(p->io, fd);
    err = posix_rename_temp(p, dir_fd, t->name, name, &t->seen);
    if (err) {
        (void)io_unlinkat(p->io, dir_fd, name, 0);
        return fail_at(op, "rename", err);
    }
    return 0;
}

int posix_temp_finish_new(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd, const char *name)
{
    bool remote = posix_of(p)->head.caps.network;
    int err = posix_temp_close(p, op, t);

    if (err) {
        return err;
    }
    err = fence_pass(posix_of(p)->fence, p->io);
    if (err) {
        return fail_at(op, "lease", err);
    }
    err = remote ? by_link(p, op, dir_fd, t, name) : by_rename(p, op, dir_fd, t, name);
    if (cannot(err)) {
        err = remote ? by_rename(p, op, dir_fd, t, name) : by_link(p, op, dir_fd, t, name);
    }
    if (cannot(err)) {
        err = by_create(p, op, dir_fd, t, name);
    }
    if (!err) {
        op->step = NULL;
    }
    return err;
}
