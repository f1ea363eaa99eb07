/*
 * nfsuser: who a run is to an NFS server.
 */
#ifndef HAUL_COPIER_NFSUSER_H
#define HAUL_COPIER_NFSUSER_H

#include <sys/types.h>

#include "copier/options.h"

#define NFS_USER_GROUPS 16U /* further groups that a server hears of (AUTH_SYS, RFC 5531 appendix A) */

struct nfs_user {
    uid_t uid;
    gid_t *groups;  /* the user's group, then the further ones, each once; owned */
    unsigned count; /* of groups, at least 1 */
};

/* By --nfs-uid and --nfs-gid, else this process. Asks the system's user database: may block. One thread at a time. 0,
 * -ENOMEM, -errno. */
int nfs_user_find(const struct options *options, struct nfs_user *out_user);
void nfs_user_release(struct nfs_user *user); /* one that is zeroed is fine */

#endif
