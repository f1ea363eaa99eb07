/*
 * mounturl: the server behind a mount as an nfs:// URL, and why it cannot be spoken to without the mount where that is
 * so.
 */
#ifndef HAUL_COPIER_MOUNTURL_H
#define HAUL_COPIER_MOUNTURL_H

#include <stdbool.h>

#include "copier/mounts.h"
#include "copier/url.h"

struct mounturl {
    struct url url; /* the same directory at the server, spoken to in NFSv4.1, or in NFSv3 as the mount does; host NULL:
                       it cannot be; owned */
    const char *why;    /* why it cannot be: a sentence's end, as "it is ..."; NULL where it can; static */
    bool none;          /* why: it is on no NFS mount at all */
    bool read_only;     /* nothing may be written through this mount, whatever the server would let us */
    bool reserved_port; /* the mount speaks from a port below 1024 (no noresvport) */
};

/* Of a place that mounts_place found. Asks nobody. 0, where it cannot be spoken to as well; -ENOMEM. */
int mounturl_of(const struct mount_place *place, struct mounturl *out_mounturl);

/* Of path, an absolute real one, on this machine now. 0, where it is on no NFS mount as well (why says so); -ENOMEM;
 * -errno where it cannot be told. Does not touch the mount. */
int mounturl_find(const char *path, struct mounturl *out_mounturl);

void mounturl_release(struct mounturl *m); /* one that is zeroed is fine */

#endif
