/*
 * xattrs: attributes as records of a head, the name with its NUL, and the value.
 */
#include "workers/xattrs.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_FIRST 512 /* bytes */

struct head {
    uint32_t name_size; /* bytes, with NUL */
    uint32_t size;      /* bytes of the value */
};

int xattrs_create(unsigned kinds, struct xattrs **out_xattrs)
{
    struct xattrs *x = malloc(sizeof(*x));

    if (!x) {
        return -ENOMEM;
    }
    *x = (struct xattrs){.kinds = kinds};
    *out_xattrs = x;
    return 0;
}

void xattrs_destroy(struct xattrs *x)
{
    free(x);
}

int xattrs_add(struct xattrs **x, const char *name, const void *value, size_t size)
{
    struct xattrs *old = *x;
    size_t name_size = strlen(name) + 1;
    struct head head = {.name_size = (uint32_t)name_size, .size = (uint32_t)size};
    size_t need = sizeof(head) + name_size + size;
    char *at;

    if (size > XATTRS_VALUE_MAX || name_size > XATTRS_LIST_MAX || need > XATTRS_MAX - old->used) {
        return -E2BIG;
    }
    if (need > old->room - old->used) {
        size_t room = old->room < ROOM_FIRST ? ROOM_FIRST : 2 * old->room;
        struct xattrs *grown;

        room = room < old->used + need ? old->used + need : room;
        grown = realloc(old, sizeof(*old) + room);
        if (!grown) {
            return -ENOMEM;
        }
        grown->room = room;
        *x = grown;
    }
    at = (*x)->data + (*x)->used;
    memcpy(at, &head, sizeof(head));
    memcpy(at + sizeof(head), name, name_size);
    if (size > 0) {
        memcpy(at + sizeof(head) + name_size, value, size);
    }
    (*x)->used += need;
    (*x)->count++;
    return 0;
}

bool xattrs_next(const struct xattrs *x, size_t *at, struct xattr *out_xattr)
{
    struct head head;

    if (*at >= x->used) {
        return false;
    }
    memcpy(&head, x->data + *at, sizeof(head));
    *out_xattr = (struct xattr){.name = x->data + *at + sizeof(head),
                                .value = x->data + *at + sizeof(head) + head.name_size,
                                .size = head.size};
    *at += sizeof(head) + head.name_size + head.size;
    return true;
}

bool xattrs_find(const struct xattrs *x, const char *name, struct xattr *out_xattr)
{
    struct xattr one;

    for (size_t at = 0; xattrs_next(x, &at, &one);) {
        if (strcmp(one.name, name) == 0) {
            *out_xattr = one;
            return true;
        }
    }
    return false;
}

/* All of a that counts is in b as well. */
static bool is_within(const struct xattrs *a, const struct xattrs *b)
{
    unsigned kinds = a->kinds & b->kinds;
    struct xattr one;
    struct xattr other;

    for (size_t at = 0; xattrs_next(a, &at, &one);) {
        if (!(xattr_kind(one.name) & kinds) || xattr_is_label(one.name)) {
            continue;
        }
        if (!xattrs_find(b, one.name, &other) || other.size != one.size ||
            (one.size > 0 && memcmp(other.value, one.value, one.size) != 0)) {
            return false;
        }
    }
    return true;
}

bool xattrs_equal(const struct xattrs *a, const struct xattrs *b)
{
    return is_within(a, b) && is_within(b, a);
}

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

unsigned xattr_kind(const char *name)
{
    if (begins(name, "user.")) {
        return XATTRS_USER;
    }
    if (begins(name, "trusted.")) {
        return XATTRS_TRUSTED;
    }
    if (begins(name, "security.")) {
        return XATTRS_SECURITY;
    }
    return strcmp(name, XATTR_ACL_ACCESS) == 0 || strcmp(name, XATTR_ACL_DEFAULT) == 0 ? XATTRS_ACL : 0;
}

bool xattr_is_label(const char *name)
{
    return strcmp(name, "security.selinux") == 0 || begins(name, "security.SMACK64") ||
           strcmp(name, "security.apparmor") == 0 || strcmp(name, "security.ima") == 0 ||
           strcmp(name, "security.evm") == 0;
}

/* ---- ACLs, as the kernel hands them out: a version, then entries; little-endian ---- */

#define ACL_VERSION 2U
#define ACL_HEAD    4U

enum acl_tag { ACL_USER_OBJ = 0x01, ACL_GROUP_OBJ = 0x04, ACL_MASK = 0x10, ACL_OTHER = 0x20 };

struct acl_entry {
    uint16_t tag;  /* enum acl_tag, and named users and groups */
    uint16_t perm; /* 4 read, 2 write, 1 execute */
    uint32_t id;   /* of named ones */
};

/* The bits of mode that an entry has to say; false: none of its business. */
static bool entry_perm(uint16_t tag, bool has_mask, mode_t mode, uint16_t *out_perm)
{
    switch (tag) {
    case ACL_USER_OBJ:
        *out_perm = (uint16_t)((mode >> 6) & 7);
        return true;
    case ACL_GROUP_OBJ:
        *out_perm = (uint16_t)((mode >> 3) & 7);
        return !has_mask;
    case ACL_MASK:
        *out_perm = (uint16_t)((mode >> 3) & 7);
        return true;
    case ACL_OTHER:
        *out_perm = (uint16_t)(mode & 7);
        return true;
    default:
        return false;
    }
}

static bool acl_has_mask(const char *value, size_t size)
{
    struct acl_entry e;

    for (size_t at = ACL_HEAD; at + sizeof(e) <= size; at += sizeof(e)) {
        memcpy(&e, value + at, sizeof(e));
        if (le16toh(e.tag) == ACL_MASK) {
            return true;
        }
    }
    return false;
}

void xattrs_chmod(struct xattrs *x, mode_t mode)
{
    struct xattr found;
    struct acl_entry e;
    uint32_t version;
    char *value;
    bool has_mask;

    if (!xattrs_find(x, XATTR_ACL_ACCESS, &found) || found.size < ACL_HEAD) {
        return;
    }
    value = x->data + ((const char *)found.value - x->data);
    memcpy(&version, value, sizeof(version));
    if (le32toh(version) != ACL_VERSION) {
        return;
    }
    has_mask = acl_has_mask(value, found.size);
    for (size_t at = ACL_HEAD; at + sizeof(e) <= found.size; at += sizeof(e)) {
        uint16_t perm;

        memcpy(&e, value + at, sizeof(e));
        if (entry_perm(le16toh(e.tag), has_mask, mode, &perm)) {
            e.perm = htole16(perm);
            memcpy(value + at, &e, sizeof(e));
        }
    }
}
