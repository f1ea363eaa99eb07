/*
 * posix_xattrs: extended attributes and POSIX ACLs: read as a whole, set as far as the file system takes them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/posix_internal.h"

#define NEAR 1024 /* bytes that most lists and values fit in */

static const char note_xattrs[] = "the destination cannot hold extended attributes of some entries";
static const char note_acls[] = "the destination cannot hold the POSIX ACLs of some entries; they have mode bits only";
static const char note_space[] = "extended attributes of some entries are too big for the destination";

static int fail_at(struct store_op *op, const char *step, int err)
{
    op->step = step;
    return err;
}

/* Asks the root once what its file system has at all. NFS hands out user.* (since 4.2) and labels, no more. */
static unsigned refused(struct port *p)
{
    struct posix_store *s = posix_of(p);

    if (!atomic_load_explicit(&s->xattrs_asked, memory_order_acquire)) {
        unsigned none = strcmp(s->head.caps.fs, "nfs") == 0 ? XATTRS_TRUSTED | XATTRS_SECURITY : 0;

        if (io_listxattr(p->io, s->root_fd, NULL, 0) == -EOPNOTSUPP) {
            none |= XATTRS_KINDS & ~XATTRS_ACL;
        }
        if (io_getxattr(p->io, s->root_fd, XATTR_ACL_ACCESS, NULL, 0) == -EOPNOTSUPP) {
            none |= XATTRS_ACL;
        }
        atomic_fetch_or(&s->xattrs_refused, none);
        atomic_store_explicit(&s->xattrs_asked, true, memory_order_release);
    }
    return atomic_load_explicit(&s->xattrs_refused, memory_order_relaxed);
}

/* ---- reading ---- */

/* Bytes that grow when they have to. */
struct buffer {
    char near[NEAR];
    char *far;   /* owned, or NULL: near is used */
    size_t room; /* bytes that there are */
};

static char *buffer_at(struct buffer *b)
{
    return b->far ? b->far : b->near;
}

/* After -ERANGE: as much as there can be. False: it is that already, or there is no memory. */
static bool buffer_grow(struct buffer *b, size_t room)
{
    if (b->room >= room) {
        return false;
    }
    b->far = malloc(room);
    b->room = b->far ? room : NEAR;
    return b->far != NULL;
}

static ssize_t read_list(struct port *p, int fd, struct buffer *b)
{
    ssize_t n = io_listxattr(p->io, fd, buffer_at(b), b->room);

    while (n == -ERANGE && buffer_grow(b, XATTRS_LIST_MAX)) {
        n = io_listxattr(p->io, fd, buffer_at(b), b->room);
    }
    return n == -ERANGE ? -E2BIG : n;
}

static ssize_t read_value(struct port *p, int fd, const char *name, struct buffer *b)
{
    ssize_t n = io_getxattr(p->io, fd, name, buffer_at(b), b->room);

    while (n == -ERANGE && buffer_grow(b, XATTRS_VALUE_MAX)) {
        n = io_getxattr(p->io, fd, name, buffer_at(b), b->room);
    }
    return n == -ERANGE ? -E2BIG : n;
}

/* Adds the attributes of a list of names. 0 or -errno with op->step. */
static int read_values(struct port *p, struct store_op *op, int fd, const char *names, size_t len, struct xattrs **x)
{
    struct buffer value = {.room = NEAR};
    int err = 0;

    for (size_t at = 0; !err && at < len; at += strlen(names + at) + 1) {
        ssize_t n;

        if (!(xattr_kind(names + at) & (*x)->kinds)) {
            continue;
        }
        n = read_value(p, fd, names + at, &value);
        if (n >= 0) {
            err = xattrs_add(x, names + at, buffer_at(&value), (size_t)n);
        } else if (n != -ENODATA) { /* gone since it was listed: the ctime tells whoever looks */
            err = fail_at(op, "getxattr", (int)n);
        }
    }
    free(value.far);
    return err;
}

/* All attributes of these kinds. 0 or -errno with op->step. */
static int read_all(struct port *p, struct store_op *op, int fd, unsigned kinds, struct xattrs **out)
{
    struct buffer list = {.room = NEAR};
    struct xattrs *x = NULL;
    ssize_t n = 0;
    int err = xattrs_create(kinds & ~refused(p), &x);

    if (err) {
        return err;
    }
    if (x->kinds) {
        n = read_list(p, fd, &list);
    }
    if (n > 0) {
        err = read_values(p, op, fd, buffer_at(&list), (size_t)n, &x);
    } else if (n == -EOPNOTSUPP) { /* another file system below the root */
        x->kinds = 0;
    } else if (n < 0) {
        err = fail_at(op, "listxattr", (int)n);
    }
    free(list.far);
    if (err) {
        xattrs_destroy(x);
        return err;
    }
    *out = x;
    return 0;
}

/* With dir_fd pinned. */
static int xattrs_in(struct port *p, struct store_op *op, int dir_fd)
{
    struct attr attr;
    int fd = dir_fd;
    int err;

    if (op->name) {
        fd = posix_openat(p, dir_fd, op->name, O_PATH | O_NOFOLLOW, 0);
        if (fd < 0) {
            return fail_at(op, "open", fd);
        }
    }
    err = posix_attr_at(p, fd, "", &attr);
    if (err) {
        op->step = "stat";
    } else {
        err = read_all(p, op, fd, op->xattrs.kinds, op->xattrs.out);
    }
    if (!err && op->xattrs.attr) {
        *op->xattrs.attr = attr;
    }
    if (op->name) {
        (void)io_close(p->io, fd);
    }
    return err;
}

int posix_xattrs(struct port *p, struct store_op *op)
{
    int dir_fd;
    int err = posix_dir_pin(p, op->dir, &dir_fd);

    if (err) {
        return err;
    }
    err = xattrs_in(p, op, dir_fd);
    posix_dir_unpin(p, op->dir, err);
    return err;
}

/* ---- setting ---- */

bool posix_xattrs_matter(struct port *p, const struct xattrs *x)
{
    return x && (x->count > 0 || ((x->kinds & XATTRS_ACL) && !(refused(p) & XATTRS_ACL)));
}

/* What was lost of one entry; each is said once for it. */
struct losses {
    bool xattrs; /* a kind or name that the destination does not take */
    bool acls;   /* the same of ACLs */
    bool space;  /* no room for it */
};

/* One application to one entry. */
struct setting {
    struct port *port;           /* not owned */
    struct store_op *op;         /* for its step; not owned */
    int fd;                      /* of the entry */
    const struct xattrs *x;      /* wanted; not owned */
    const struct xattrs *before; /* what it has; not owned */
    mode_t mode;                 /* type of the entry */
    bool mode_moved;             /* the access ACL was set or removed */
    struct losses lost;
};

/* An attribute could not be set or removed: notes what the destination cannot hold. 0, or -errno: a real failure. */
static int forgive(struct setting *s, const char *name, int err)
{
    unsigned kind = xattr_kind(name);

    switch (err) {
    case -EOPNOTSUPP:
    case -EPERM:
    case -EINVAL:
        break;
    case -EACCES:
        if (kind == XATTRS_USER) {
            return err;
        }
        break; /* a security module's word */
    case -E2BIG:
    case -ENOSPC:
    case -ERANGE:
    case -ENAMETOOLONG:
        s->lost.space = true;
        return 0;
    default:
        return err;
    }
    if (xattr_is_label(name)) {
        return 0; /* the destination has its own */
    }
    /* What symbolic links and nodes cannot have, files may. */
    if (err == -EOPNOTSUPP && (S_ISREG(s->mode) || S_ISDIR(s->mode))) {
        atomic_fetch_or(&posix_of(s->port)->xattrs_refused, kind);
    }
    *(kind == XATTRS_ACL ? &s->lost.acls : &s->lost.xattrs) = true;
    return 0;
}

static void note_losses(struct posix_store *s, const struct losses *lost)
{
    if (lost->xattrs) {
        notice_raise(s->notices, note_xattrs);
    }
    if (lost->acls) {
        notice_raise(s->notices, note_acls);
    }
    if (lost->space) {
        notice_raise(s->notices, note_space);
    }
}

static int set_one(struct setting *s, const struct xattr *want)
{
    struct xattr there;
    int err;

    if (s->before && xattrs_find(s->before, want->name, &there) && there.size == want->size &&
        (want->size == 0 || memcmp(there.value, want->value, want->size) == 0)) {
        return 0;
    }
    err = io_setxattr(s->port->io, s->fd, want->name, want->value, want->size);
    if (err) {
        err = forgive(s, want->name, err);
        return err ? fail_at(s->op, "setxattr", err) : 0;
    }
    s->mode_moved |= strcmp(want->name, XATTR_ACL_ACCESS) == 0;
    return 0;
}

/* Labels are the system's own. */
static int remove_one(struct setting *s, const struct xattr *there)
{
    struct xattr want;
    int err;

    if (!(xattr_kind(there->name) & s->x->kinds) || xattr_is_label(there->name) ||
        xattrs_find(s->x, there->name, &want)) {
        return 0;
    }
    err = io_removexattr(s->port->io, s->fd, there->name);
    if (err && err != -ENODATA) {
        err = forgive(s, there->name, err);
        return err ? fail_at(s->op, "removexattr", err) : 0;
    }
    s->mode_moved |= strcmp(there->name, XATTR_ACL_ACCESS) == 0;
    return 0;
}

/* Those that are ACLs, or those that are none: an ACL may take the right to set the others. */
static int set_all(struct setting *s, bool acls)
{
    struct xattr one;
    int err = 0;

    for (size_t at = 0; !err && s->before && xattrs_next(s->before, &at, &one);) {
        if ((xattr_kind(one.name) == XATTRS_ACL) == acls) {
            err = remove_one(s, &one);
        }
    }
    for (size_t at = 0; !err && xattrs_next(s->x, &at, &one);) {
        if ((xattr_kind(one.name) == XATTRS_ACL) == acls) {
            err = set_one(s, &one);
        }
    }
    return err;
}

/* What a new entry may have been given by its directory. */
static int read_inherited(struct setting *s, struct xattrs **before)
{
    struct xattr acl = {.name = XATTR_ACL_ACCESS};
    ssize_t n;

    if (!(s->x->kinds & XATTRS_ACL & ~refused(s->port))) {
        return 0;
    }
    n = io_getxattr(s->port->io, s->fd, acl.name, NULL, 0);
    if (n == -ENODATA || n == -EOPNOTSUPP) {
        return 0;
    }
    if (n < 0) {
        return fail_at(s->op, "getxattr", (int)n);
    }
    if (xattrs_find(s->x, acl.name, &acl)) {
        return 0; /* it is replaced, whatever it is */
    }
    return xattrs_add(before, acl.name, NULL, 0);
}

int posix_xattrs_apply(struct port *p, struct store_op *op, int fd, const struct want *w, bool made,
                       bool *out_mode_moved)
{
    const struct xattrs *x = w->xattrs;
    struct setting s = {.port = p, .op = op, .fd = fd, .x = x, .mode = w->attr->mode};
    struct xattrs *before = NULL;
    int err;

    if (!x || (made && !posix_xattrs_matter(p, x))) {
        return 0;
    }
    if (made) {
        err = xattrs_create(x->kinds, &before);
        err = err ? err : read_inherited(&s, &before);
    } else {
        err = read_all(p, op, fd, x->kinds, &before);
    }
    if (!err) {
        s.before = before;
        err = set_all(&s, false);
    }
    if (!err) {
        err = set_all(&s, true);
    }
    xattrs_destroy(before);
    if (!err) {
        note_losses(posix_of(p), &s.lost);
        *out_mode_moved |= s.mode_moved;
    }
    return err;
}
