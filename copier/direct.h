/*
 * direct: what a copy from or to a kernel mount of NFS would have saved without it (--direct).
 */
#ifndef HAUL_COPIER_DIRECT_H
#define HAUL_COPIER_DIRECT_H

#include <stdint.h>

#include "base/dir.h"
#include "copier/report.h"

struct direct_side {
    char *url;       /* of the directory; owned; NULL: there is nothing to tell */
    char *point;     /* of the mount that it is on; owned */
    uint64_t before; /* calls for that mount when the run began */
    unsigned tenths; /* of a call that a file takes without it */
};

struct direct {
    struct direct_side sides[DIR_SIDES];
};

/* Before anything is read from or written to path, an absolute real one, the root of that side. Where it is on no mount
 * that could be done without, or that cannot be found out, there is nothing to tell. Does not touch the mount. */
void direct_watch(struct direct *d, enum dir_side side, const char *path);

/* At the end, after files regular files were published: one line for each mount where it would have been worth it. A
 * mount's calls are everybody's who uses it. */
void direct_tell(const struct direct *d, struct report *report, uint64_t files);

/* After a copy to the server of that path on a mount, without it: has the kernel look again at the directory and the
 * one above, so that a lookup that found nothing before is not believed any longer. Blocks; what cannot be done is left
 * to the mount's own time limits. */
void direct_refresh(const char *path);

void direct_release(struct direct *d); /* one that is zeroed is fine */

#endif
