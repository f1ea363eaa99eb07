/*
 * want: which owner and mode an entry gets, and what is said where it cannot have them, whatever the store.
 *
 * Nothing here blocks or fails for want of memory; any thread.
 */
#ifndef HAUL_STORES_WANT_H
#define HAUL_STORES_WANT_H

#include <stdatomic.h>

#include "base/notice.h"
#include "workers/store.h"
#include "workers/xattrs.h"

/* Who we are to a destination, and what it lets us do about owners. */
struct owning {
    enum store_owner owner; /* what to do about owners */
    bool privileged;        /* we are root, and may give files away */
    gid_t *groups;          /* that we are a member of; owned by the store */
    unsigned group_count;   /* entries in groups */
    atomic_bool refused;    /* the destination refused an owner for a file that we had just made */
};

/* What an entry is to get. */
struct want {
    const struct attr *attr;     /* not owned */
    const struct xattrs *xattrs; /* not owned; NULL: as it comes */
    unsigned keep;               /* STORE_KEEP_* */
    uid_t uid;                   /* owner to set, or -1: as it comes */
    gid_t gid;                   /* group to set, or -1: as it comes */
    bool refused;                /* the destination said that we may not set them */
};

/* What an entry of these attributes is to get, as far as it can be had. attr and xattrs are borrowed for as long as w.
 */
void want_init(const struct owning *o, struct want *w, const struct attr *attr, unsigned keep,
               const struct xattrs *xattrs);

/* The permission bits that an entry of that owner may have: setuid and setgid only where they mean the same as at the
 * source. */
mode_t want_mode(const struct want *w, uid_t uid, gid_t gid);

/* Whether seen has another owner than w wants; a wish that was given up is not wrong. */
bool want_owner_wrong(const struct want *w, const struct attr *seen);

/* The destination refuses the owner: 0 and the wish is forgotten, or -EPERM where it is required. for_all: it would
 * refuse others too; made: the entry is new and our own. */
int want_refused(struct owning *o, struct want *w, bool for_all, bool made);

/* Raises the notices about the owner and the mode that seen has other than the source. notices may be NULL. */
void want_note(const struct owning *o, struct notices *notices, const struct want *w, const struct attr *seen);

/* Whether a mode that was set and reads back otherwise has to be taken as it is. Only bits in 07777 count. */
bool want_mode_will_do(mode_t mode, mode_t seen);

#endif
