/*
 * posix_entries: everything but regular files: symbolic links, nodes, hard links, directories; attributes and removal.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/stores/posix_internal.h"

#define NAME_TRIES   8 /* other temp names, where one was taken */
#define SETTLE_TRIES 2 /* repairs of owner and mode before the entry is given up */

static int fail_at(struct store_op *op, const char *step, int err)
{
    op->step = step;
    return err;
}

int posix_mkdir(struct port *p, struct store_op *op)
{
    struct attr seen;
    int dir_fd;
    int err = posix_dir_pin(p, op->dir, &dir_fd);

    if (err) {
        return err;
    }
    err = io_mkdirat(p->io, dir_fd, op->name, op->mkdir.mode & 07777);
    /* The answer to a try before this one was lost: one of ours, as we have asked for it, is that one's. */
    if (err == -EEXIST && op->repeated && posix_attr_at(p, dir_fd, op->name, &seen) == 0 && S_ISDIR(seen.mode) &&
        seen.uid == posix_of(p)->uid && (seen.mode & 0777) == (op->mkdir.mode & 0777)) {
        err = 0;
    }
    posix_dir_unpin_made(p, op->dir, err);
    return err;
}

/* ---- symbolic links and nodes ---- */

/* Makes the thing under a temp name. */
static int make_temp(struct port *p, struct store_op *op, int dir_fd, mode_t mode, char name[TEMP_NAME_MAX])
{
    const struct attr *attr = op->put.attr;
    int err = -EEXIST;

    for (unsigned i = 0; i < NAME_TRIES && err == -EEXIST; i++) {
        err = temp_name_make(posix_of(p)->run_id, name);
        if (err) {
            return err;
        }
        if (op->code == STORE_SYMLINK) {
            err = io_symlinkat(p->io, op->put.target, dir_fd, name);
        } else {
            err = io_mknodat(p->io, dir_fd, name, (attr->mode & S_IFMT) | mode, attr->rdev);
        }
    }
    if (err && err != -EEXIST && posix_of(p)->head.caps.network) {
        (void)io_unlinkat(p->io, dir_fd, name, 0); /* made perhaps, and only the answer was lost */
    }
    return err;
}

/* chmod of a name in dir_fd that must still be what expect says; never through a symbolic link. */
static int chmod_at(struct port *p, int dir_fd, const char *name, const struct attr *expect, mode_t mode)
{
    struct attr seen;
    int err;
    int fd = posix_openat(p, dir_fd, name, O_PATH | O_NOFOLLOW, 0);

    if (fd < 0) {
        return fd;
    }
    err = posix_attr_at(p, fd, "", &seen);
    if (!err && (seen.ino != expect->ino || seen.dev != expect->dev || S_ISLNK(seen.mode))) {
        err = -ELOOP;
    }
    if (!err) {
        err = posix_set_mode(p, fd, true, mode);
    }
    (void)io_close(p->io, fd);
    return err;
}

/* Whether the thing is of the wanted kind. */
static bool kind_right(const struct attr *want, const struct attr *seen)
{
    bool device = S_ISCHR(want->mode) || S_ISBLK(want->mode);

    return (seen->mode & S_IFMT) == (want->mode & S_IFMT) && (!device || seen->rdev == want->rdev);
}

/* Looks at the temp name and repairs owner and mode, which no symbolic link has. */
static int settle_temp(struct port *p, struct store_op *op, int dir_fd, const char *temp, struct want *w,
                       struct attr *seen)
{
    struct posix_store *s = posix_of(p);

    for (unsigned tries = 0;; tries++) {
        int err = posix_attr_at(p, dir_fd, temp, seen);
        mode_t want = want_mode(w, seen->uid, seen->gid);

        if (err) {
            return fail_at(op, "stat", err);
        }
        if (!kind_right(w->attr, seen)) {
            return fail_at(op, "check", -EIO);
        }
        if (want_owner_wrong(w, seen)) {
            atomic_store(&s->owner_surprise, true);
            err = posix_want_chown(p, w, dir_fd, temp, AT_SYMLINK_NOFOLLOW, true);
            op->step = "chown";
        } else if (S_ISLNK(seen->mode) || (seen->mode & 07777) == want ||
                   (tries > 0 && posix_mode_will_do(s, want, seen->mode))) {
            return 0;
        } else {
            err = chmod_at(p, dir_fd, temp, seen, want);
            op->step = "chmod";
        }
        if (err) {
            return err;
        }
        if (tries == SETTLE_TRIES) {
            return fail_at(op, "check", -EIO);
        }
        op->step = NULL;
    }
}

/* Extended attributes of a new entry, which no name can be swapped for. */
static int set_xattrs_at(struct port *p, struct store_op *op, int dir_fd, const char *temp, const struct want *w)
{
    bool moved = false; /* seen to by settle_temp */
    int fd;
    int err;

    if (!posix_xattrs_matter(p, w->xattrs) || (S_ISLNK(w->attr->mode) && w->xattrs->count == 0)) {
        return 0;
    }
    fd = posix_openat(p, dir_fd, temp, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0) {
        return fail_at(op, "open", fd);
    }
    err = posix_xattrs_apply(p, op, fd, w, true, &moved);
    (void)io_close(p->io, fd);
    return err;
}

/* Owner, times, mode, check, rename. */
static int finish_temp(struct port *p, struct store_op *op, int dir_fd, const char *temp, struct want *w,
                       struct attr *seen)
{
    struct posix_store *s = posix_of(p);
    int err = 0;

    if (!posix_want_owner_comes(s, w, posix_dir_inherits(s, op->dir))) {
        err = posix_want_chown(p, w, dir_fd, temp, AT_SYMLINK_NOFOLLOW, true);
        if (err) {
            return fail_at(op, "chown", err);
        }
    }
    if (op->put.keep & STORE_KEEP_TIMES) {
        err = posix_set_times(p, w->attr, dir_fd, temp, AT_SYMLINK_NOFOLLOW);
        if (err) {
            return fail_at(op, "utimens", err);
        }
    }
    err = set_xattrs_at(p, op, dir_fd, temp, w);
    if (err) {
        return err;
    }
    err = settle_temp(p, op, dir_fd, temp, w, seen);
    if (err) {
        return err;
    }
    want_note(&s->owning, s->notices, w, seen);
    err = posix_rename_temp(p, dir_fd, temp, op->name, seen);
    return err ? fail_at(op, "rename", err) : 0;
}

/* With dir_fd pinned. */
static int put_in(struct port *p, struct store_op *op, int dir_fd)
{
    struct posix_store *s = posix_of(p);
    char temp[TEMP_NAME_MAX];
    struct want w;
    struct attr seen;
    bool comes;
    mode_t mode;
    int err;

    want_init(&s->owning, &w, op->put.attr, op->put.keep, op->put.xattrs);
    comes = posix_want_owner_comes(s, &w, posix_dir_inherits(s, op->dir));
    mode = comes && !posix_xattrs_matter(p, w.xattrs) ? want_mode(&w, s->uid, s->gid) & 0777 : 0600;
    err = make_temp(p, op, dir_fd, mode, temp);
    if (err) {
        return err;
    }
    err = finish_temp(p, op, dir_fd, temp, &w, &seen);
    if (err) {
        (void)io_unlinkat(p->io, dir_fd, temp, 0);
        return err;
    }
    if (op->put.out) {
        *op->put.out = seen;
    }
    return 0;
}

static int put(struct port *p, struct store_op *op)
{
    int dir_fd;
    int err = posix_dir_pin(p, op->dir, &dir_fd);

    if (err) {
        return err;
    }
    err = put_in(p, op, dir_fd);
    posix_dir_unpin_made(p, op->dir, err);
    return err;
}

int posix_symlink(struct port *p, struct store_op *op)
{
    return put(p, op);
}

int posix_node(struct port *p, struct store_op *op)
{
    return put(p, op);
}

/* ---- hard links ---- */

static bool same_inode(const struct attr *a, const struct attr *b)
{
    return a->ino == b->ino && a->dev == b->dev;
}

/* Whether the name is the wanted file by now; its attributes are in *out_seen then. */
static bool is_linked(struct port *p, int dir_fd, const char *name, const struct attr *from, struct attr *out_seen)
{
    return posix_attr_at(p, dir_fd, name, out_seen) == 0 && same_inode(from, out_seen);
}

/* A name that nobody has: the link itself is atomic, and needs no temp name. */
static int link_new(struct port *p, struct store_op *op, int from_fd, int dir_fd, const struct attr *from,
                    struct attr *out_seen)
{
    int err = fence_pass(posix_of(p)->fence, p->io);

    if (err) {
        return fail_at(op, "lease", err);
    }
    err = io_linkat(p->io, from_fd, op->link.from_name, dir_fd, op->name, 0);
    /* After a failure too: a lost answer, or somebody who was faster to the same end. */
    if (is_linked(p, dir_fd, op->name, from, out_seen)) {
        return 0;
    }
    return err ? err : -ESTALE;
}

/*
 * By way of a temp name, in the place of what stands there; or where only one file will do: what has been linked is
 * looked at before it gets its name. A rename onto another name of the same inode does nothing, says nothing, and
 * leaves the temp name: somebody may have made that link since we looked. So it is removed in any case.
 */
static int link_over(struct port *p, struct store_op *op, int from_fd, int dir_fd, struct attr *out_seen)
{
    char temp[TEMP_NAME_MAX];
    int err = -EEXIST;
    int rename_err;

    for (unsigned i = 0; i < NAME_TRIES && err == -EEXIST; i++) {
        err = temp_name_make(posix_of(p)->run_id, temp);
        if (!err) {
            err = io_linkat(p->io, from_fd, op->link.from_name, dir_fd, temp, 0);
        }
    }
    if (err) {
        if (posix_of(p)->head.caps.network) {
            (void)io_unlinkat(p->io, dir_fd, temp, 0); /* made perhaps, and only the answer was lost */
        }
        return err;
    }
    err = posix_attr_at(p, dir_fd, temp, out_seen);
    if (!err && op->link.expect && !attr_is_same_file(op->link.expect, out_seen)) {
        err = fail_at(op, STORE_STEP_GUARD, -ESTALE);
    }
    rename_err = err ? err : posix_rename_temp(p, dir_fd, temp, op->name, out_seen);
    if (!err && rename_err) {
        op->step = "rename";
    }
    (void)io_unlinkat(p->io, dir_fd, temp, 0);
    return rename_err;
}

/* With both directories pinned. */
static int link_in(struct port *p, struct store_op *op, int from_fd, int dir_fd)
{
    struct attr from;
    struct attr seen;
    int err = posix_attr_at(p, from_fd, op->link.from_name, &from);
    int there;

    if (err) {
        return fail_at(op, "stat", err);
    }
    if (op->link.expect && !attr_is_same_file(op->link.expect, &from)) {
        return fail_at(op, STORE_STEP_GUARD, -ESTALE);
    }
    there = posix_attr_at(p, dir_fd, op->name, &seen);
    if (there == -ENOENT && !op->link.expect) {
        there = link_new(p, op, from_fd, dir_fd, &from, &seen);
        if (there && there != -EEXIST) {
            return there;
        }
    } else if (there == -ENOENT || (there == 0 && !same_inode(&from, &seen))) {
        there = -EEXIST; /* link_over does for both */
    }
    err = there == -EEXIST ? link_over(p, op, from_fd, dir_fd, &seen) : there;
    if (!err && op->link.out) {
        *op->link.out = seen;
    }
    return err;
}

int posix_link(struct port *p, struct store_op *op)
{
    int from_fd;
    int dir_fd;
    int err = posix_dir_pin(p, op->link.from_dir, &from_fd);

    if (err) {
        return err;
    }
    err = posix_dir_pin(p, op->dir, &dir_fd);
    if (!err) {
        err = link_in(p, op, from_fd, dir_fd);
        posix_dir_unpin(p, op->dir, posix_handle_err(op, err));
    }
    posix_dir_unpin(p, op->link.from_dir, posix_handle_err(op, err));
    return err;
}

/* ---- attributes ---- */

/* Root may not set an owner, but the mode: so it is not this entry that is locked (immutable), it is the destination
 * that does not take us for root. */
static void note_refusal(struct port *p, int fd, const struct want *w, const struct attr *seen)
{
    struct posix_store *s = posix_of(p);

    if (w->refused && s->owning.privileged && !S_ISLNK(seen->mode) &&
        posix_set_mode(p, fd, true, seen->mode & 07777) == 0) {
        atomic_store(&s->owning.refused, true);
    }
}

/* The owner first, since setting it takes setuid and setgid away. seen is up to date afterwards. */
static int set_owner_fd(struct port *p, struct store_op *op, int fd, struct want *w, struct attr *seen)
{
    int err;

    if (!want_owner_wrong(w, seen)) {
        return 0;
    }
    err = posix_want_chown(p, w, fd, "", AT_EMPTY_PATH, false);
    if (err) {
        return fail_at(op, "chown", err);
    }
    note_refusal(p, fd, w, seen);
    err = posix_attr_at(p, fd, "", seen);
    return err ? fail_at(op, "stat", err) : 0;
}

/* Who owns a file and may not write to it may not change its attributes either, unless it changes the mode first. */
static int unlock_fd(struct port *p, struct store_op *op, int fd, struct attr *seen)
{
    int err = posix_set_mode(p, fd, true, (seen->mode & 07777) | S_IRUSR | S_IWUSR);

    return err ? fail_at(op, "chmod", err) : 0;
}

/* Before the mode, which an ACL moves: seen is up to date afterwards. */
static int set_xattrs_fd(struct port *p, struct store_op *op, int fd, const struct want *w, struct attr *seen)
{
    const struct posix_store *s = posix_of(p);
    bool moved = false;
    bool unlocked = false;
    int err = posix_xattrs_apply(p, op, fd, w, false, &moved);

    if (err == -EACCES && !s->owning.privileged && seen->uid == s->uid && !S_ISLNK(seen->mode)) {
        mode_t before = seen->mode & 07777;

        err = unlock_fd(p, op, fd, seen);
        unlocked = err == 0;
        if (!err) {
            err = posix_xattrs_apply(p, op, fd, w, false, &moved);
        }
        if (unlocked && (err || !(w->keep & STORE_KEEP_MODE))) {
            (void)posix_set_mode(p, fd, true, before);
        }
    }
    if (!err && (moved || unlocked)) {
        err = posix_attr_at(p, fd, "", seen);
        return err ? fail_at(op, "stat", err) : 0;
    }
    return err;
}

/* Sets what differs. fd is the entry itself, perhaps O_PATH: no name can be swapped between the steps. */
static int setattr_fd(struct port *p, struct store_op *op, int fd, struct attr *seen)
{
    struct posix_store *s = posix_of(p);
    const struct attr *attr = op->setattr.attr;
    struct want w;
    mode_t mode;
    int err = posix_attr_at(p, fd, "", seen);

    if (err) {
        return fail_at(op, "stat", err);
    }
    if ((seen->mode & S_IFMT) != (attr->mode & S_IFMT) ||
        (op->setattr.expect && !attr_is_meant(op->setattr.expect, seen))) {
        return fail_at(op, STORE_STEP_GUARD, -ESTALE);
    }
    want_init(&s->owning, &w, attr, op->setattr.keep, op->setattr.xattrs);
    err = set_owner_fd(p, op, fd, &w, seen);
    if (!err) {
        err = set_xattrs_fd(p, op, fd, &w, seen);
    }
    if (err) {
        return err;
    }
    mode = want_mode(&w, seen->uid, seen->gid);
    if ((op->setattr.keep & STORE_KEEP_MODE) && !S_ISLNK(seen->mode) && (seen->mode & 07777) != mode) {
        err = posix_set_mode(p, fd, true, mode);
        if (err) {
            return fail_at(op, "chmod", err);
        }
        seen->mode = (seen->mode & S_IFMT) | mode;
    }
    if ((op->setattr.keep & STORE_KEEP_TIMES) &&
        (clock_cmp(&seen->mtime, &attr->mtime) != 0 || clock_cmp(&seen->atime, &attr->atime) != 0)) {
        err = posix_set_times(p, attr, fd, "", AT_EMPTY_PATH);
        if (err) {
            return fail_at(op, "utimens", err);
        }
    }
    want_note(&s->owning, s->notices, &w, seen);
    return 0;
}

int posix_setattr(struct port *p, struct store_op *op)
{
    struct posix_store *s = posix_of(p);
    struct attr seen;
    int dir_fd;
    int fd;
    int err = posix_dir_pin(p, op->dir, &dir_fd);

    if (err) {
        return err;
    }
    if (!op->name) {
        err = setattr_fd(p, op, dir_fd, &seen);
        if (!err) {
            posix_dir_note_mode(s, op->dir, seen.mode);
        }
        goto out;
    }
    fd = posix_openat(p, dir_fd, op->name, O_PATH | O_NOFOLLOW, 0);
    if (fd < 0) {
        err = fail_at(op, "open", fd);
        goto out;
    }
    err = setattr_fd(p, op, fd, &seen);
    (void)io_close(p->io, fd);
out:
    posix_dir_unpin(p, op->dir, posix_handle_err(op, err));
    return err;
}

/* ---- removal ---- */

static int remove_in(struct port *p, struct store_op *op, int dir_fd)
{
    struct attr seen;
    int err;

    if (op->remove.expect) {
        err = posix_attr_at(p, dir_fd, op->name, &seen);
        if (err) {
            return fail_at(op, "stat", err);
        }
        if (!attr_is_same_entry(op->remove.expect, &seen, op->remove.dir)) {
            return fail_at(op, STORE_STEP_GUARD, -ESTALE);
        }
    }
    err = temp_name_is_of(op->name, posix_of(p)->run_id) ? 0 : fence_pass(posix_of(p)->fence, p->io);
    if (err) {
        return fail_at(op, "lease", err);
    }
    return io_unlinkat(p->io, dir_fd, op->name, op->remove.dir ? AT_REMOVEDIR : 0);
}

int posix_remove(struct port *p, struct store_op *op)
{
    int dir_fd;
    int err = posix_dir_pin(p, op->dir, &dir_fd);

    if (err) {
        return err;
    }
    err = remove_in(p, op, dir_fd);
    /* The try before this one did it, and only its answer was lost. */
    if (err == -ENOENT && op->repeated) {
        err = 0;
    }
    posix_dir_unpin(p, op->dir, posix_handle_err(op, err));
    return err;
}

int posix_sync(struct port *p, struct store_op *op)
{
    struct posix_store *s = posix_of(p);
    int err;

    (void)op;
    if (atomic_load(&s->other_mounts)) {
        /* More than one file system below the root: all of the machine's. */
        sync();
    }
    err = io_syncfs(p->io, s->root_fd);
    if (err == -EBADF) {
        sync(); /* a root that we may not read is an O_PATH descriptor */
        err = 0;
    }
    return err;
}
