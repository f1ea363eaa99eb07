/*
 * nfs_fh: what a server of NFS, of whichever version, calls a file.
 */
#ifndef HAUL_STORES_NFS_FH_H
#define HAUL_STORES_NFS_FH_H

#include <stdint.h>

#define NFS_FH_MAX 128 /* bytes of a handle: NFS4_FHSIZE (RFC 8881 3.1); NFSv3 has 64 at most */

/* A handle, as the server makes them up. */
struct nfs_fh {
    uint32_t len; /* bytes; 0: none */
    uint8_t data[NFS_FH_MAX];
};

#endif
