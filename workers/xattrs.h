/*
 * xattrs: the extended attributes of one entry, POSIX ACLs among them, in one block of memory.
 *
 * Values are kept as the kernel gives them; an ACL is one too. Belongs to one thread at a time; nothing here waits.
 */
#ifndef HAUL_WORKERS_XATTRS_H
#define HAUL_WORKERS_XATTRS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Kinds of attributes, by the name's first part. */
#define XATTRS_USER     1U /* user.* */
#define XATTRS_TRUSTED  2U /* trusted.*: root's */
#define XATTRS_SECURITY 4U /* security.*: file capabilities; labels, see xattr_is_label */
#define XATTRS_ACL      8U /* POSIX ACLs: XATTR_ACL_ACCESS, XATTR_ACL_DEFAULT */
#define XATTRS_KINDS    15U

#define XATTR_ACL_ACCESS  "system.posix_acl_access"
#define XATTR_ACL_DEFAULT "system.posix_acl_default" /* of directories */

#define XATTRS_LIST_MAX  65536U             /* bytes of all names of an entry, as the kernel has it */
#define XATTRS_VALUE_MAX 65536U             /* bytes of a value, as the kernel has it */
#define XATTRS_MAX       (4U * 1024 * 1024) /* bytes of all that is kept of an entry */

struct xattrs {
    unsigned kinds; /* XATTRS_*: what it says all of. Of these kinds an entry has just what is in here; others are not
                       spoken of */
    size_t count;   /* attributes */
    size_t used;    /* bytes of data */
    size_t room;    /* bytes that data may have */
    char data[];    /* attributes, one behind the other; only this module looks into it */
};

/* One attribute; valid while its xattrs are, and until something is added. */
struct xattr {
    const char *name;
    const void *value;
    size_t size; /* bytes of value */
};

/* An empty set. 0 or -ENOMEM. */
int xattrs_create(unsigned kinds, struct xattrs **out_xattrs);
void xattrs_destroy(struct xattrs *x); /* NULL is fine */

/* Adds a copy; *x may move. 0, -ENOMEM, or -E2BIG beyond XATTRS_MAX; *x is as before then. */
int xattrs_add(struct xattrs **x, const char *name, const void *value, size_t size);

/* One after the other: *at is 0 at first. False at the end. */
bool xattrs_next(const struct xattrs *x, size_t *at, struct xattr *out_xattr);

/* The one of that name. */
bool xattrs_find(const struct xattrs *x, const char *name, struct xattr *out_xattr);

/* Whether two entries have the same, as far as both sets speak of it; labels do not count. */
bool xattrs_equal(const struct xattrs *a, const struct xattrs *b);

/* Which kind a name is; 0: one that is never copied (system.*, but for POSIX ACLs, and what file systems make up). */
unsigned xattr_kind(const char *name);

/* Whether a name is a label that the system gives to every entry by itself (SELinux, Smack, IMA, EVM): set on what is
 * new where the destination takes it, but no difference, and never removed. */
bool xattr_is_label(const char *name);

/* Lets the access ACL say what chmod to mode would make it say. */
void xattrs_chmod(struct xattrs *x, mode_t mode);

#endif
