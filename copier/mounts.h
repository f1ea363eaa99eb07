/*
 * mounts: whether a directory of this machine is a part of a server's export, as far as its mounts tell.
 */
#ifndef HAUL_COPIER_MOUNTS_H
#define HAUL_COPIER_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "copier/url.h"

/* Where a directory lies at an NFS server. */
struct mount_place {
    char *host;    /* as it was mounted, without brackets; owned */
    char *address; /* that the kernel speaks to; owned; NULL: it does not say */
    uint16_t port; /* URL_PORT where the kernel does not say */
    char *path;    /* absolute, at the server; owned */
    char *point;   /* where it is mounted here; owned */
    char *source;  /* "host:/path" that is mounted there; owned */
    char *type;    /* "nfs" or "nfs4"; owned */
    char *flags;   /* options of the mount point, comma-separated; owned */
    char *options; /* those of the NFS mount itself; owned */
};

/* Where path, an absolute real one, lies, by lines of /proc/self/mountinfo (proc(5)). 0; -ENOENT: not on an NFS mount;
 * -ENOMEM. */
int mounts_place(FILE *mountinfo, const char *path, struct mount_place *out_place);

/* The same on this machine now; -errno where it cannot be told. */
int mounts_find(const char *path, struct mount_place *out_place);

/* Blanks and backslashes stand as \ooo in what the kernel tells of mounts: undone in place. Returns text. */
char *mounts_unescape(char *text);

/* The value of key ("vers") in comma-separated options, pointing into them; *out_len its bytes, 0 where it has none
 * ("hard"). NULL: it is not there. out_len may be NULL. */
const char *mounts_option(const char *options, const char *key, size_t *out_len);

/* Whether place is at the server of url: the same port, and the same name or address. Asks for the addresses of url's
 * host, which may block. A name without any is nobody's. */
bool mounts_same_server(const struct mount_place *place, const struct url *url);

/* Whether the two are at one server, by the same. */
bool mounts_one_server(const struct url *a, const struct url *b);

/* How two absolute paths without "." and empty names stand to each other. */
enum mounts_relation {
    MOUNTS_APART,
    MOUNTS_SAME,
    MOUNTS_BELOW, /* the second is below the first */
    MOUNTS_ABOVE, /* the second is above the first */
};
enum mounts_relation mounts_relation(const char *first, const char *second);

void mounts_release(struct mount_place *place); /* one that is zeroed is fine */

#endif
