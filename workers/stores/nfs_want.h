/*
 * nfs_want: what is said where an entry at a server of NFS, of whichever version, cannot have what it is to get; what
 * that is says want.h. Nothing blocks; any thread.
 */
#ifndef HAUL_STORES_NFS_WANT_H
#define HAUL_STORES_NFS_WANT_H

#include "workers/stores/want.h"

/* As want_note, and about times, extended attributes and ACLs that were lost. notices may be NULL. */
void nfs_want_note(const struct owning *o, struct notices *notices, const struct want *w, const struct attr *seen);

#endif
