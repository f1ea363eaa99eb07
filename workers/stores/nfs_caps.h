/*
 * nfs_caps: what every store on a server of NFS can do, whichever version it speaks. Nothing blocks; any thread.
 */
#ifndef HAUL_STORES_NFS_CAPS_H
#define HAUL_STORES_NFS_CAPS_H

#include "workers/stores/want.h"

/* Fills in what does not depend on the version, and leaves the rest alone. part: bytes that one READ and one WRITE can
 * carry; owning stays as long as caps. */
void nfs_caps_init(struct store_caps *caps, const struct owning *owning, uint64_t part);

#endif
