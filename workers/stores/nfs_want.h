/*
 * nfs_want: which owner and mode an entry gets at a server of NFS, of whichever version, and what is said where it
 * cannot have them.
 *
 * Nothing here blocks or fails for want of memory; any thread.
 */
#ifndef HAUL_STORES_NFS_WANT_H
#define HAUL_STORES_NFS_WANT_H

#include <stdatomic.h>

#include "base/notice.h"
#include "workers/store.h"
#include "workers/xattrs.h"

/* Who we are to a server, and what it lets us do about owners. */
struct nfs_owning {
    enum store_owner owner; /* what to do about owners */
    bool privileged;        /* we are root, and may give files away */
    gid_t *groups;          /* that we are a member of; owned by the store */
    unsigned group_count;   /* entries in groups */
    atomic_bool refused;    /* the server refused an owner for a file that we had just made */
};

/* What an entry is to get. */
struct nfs_want {
    const struct attr *attr; /* not owned */
    unsigned keep;           /* STORE_KEEP_* */
    uid_t uid;               /* owner to set, or -1: as it comes */
    gid_t gid;               /* group to set, or -1: as it comes */
    bool refused;            /* the server said that we may not set them */
};

/* What an entry of these attributes is to get, as far as it can be had. attr is borrowed for as long as w. */
void nfs_want_init(const struct nfs_owning *o, struct nfs_want *w, const struct attr *attr, unsigned keep);

/* The permission bits that an entry of that owner may have: setuid and setgid only where they mean the same as at the
 * source. */
mode_t nfs_want_mode(const struct nfs_want *w, uid_t uid, gid_t gid);

/* Whether seen has another owner than w wants; a wish that was given up is not wrong. */
bool nfs_want_owner_wrong(const struct nfs_want *w, const struct attr *seen);

/* The server refuses the owner: 0 and the wish is forgotten, or -EPERM where it is required. for_all: it would refuse
 * others too; made: the entry is new and our own. */
int nfs_want_refused(struct nfs_owning *o, struct nfs_want *w, bool for_all, bool made);

/* Raises the notices about what seen has other than the source. notices may be NULL. */
void nfs_want_note(const struct nfs_owning *o, struct notices *notices, const struct nfs_want *w,
                   const struct attr *seen);

/* Whether a mode that was set and reads back otherwise has to be taken as it is. */
bool nfs_mode_will_do(mode_t want, mode_t seen);

/* Extended attributes cannot be held: a notice. x and notices may be NULL. */
void nfs_xattrs_note(struct notices *notices, const struct xattrs *x);

#endif
