/*
 * attrs: attributes of NFSv4.1, as bitmaps and values, to and from struct attr (RFC 8881 5, RFC 5662).
 *
 * A mask is the first two words of a bitmap: all that we use lies there. Owners are written as numbers; where one is
 * read that is none, its text is handed on. Encoding and decoding latch as xdr.h says. Any thread; nothing waits.
 */
#ifndef HAUL_STORES_NFS41_ATTRS_H
#define HAUL_STORES_NFS41_ATTRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "workers/store.h"
#include "workers/stores/nfs41/xdr.h"

#define NFS_OWNER_TEXT_MAX 256 /* bytes of an owner or group as text; a longer one is a lie */

/* Numbers are those of the bitmap; all that we use lie in its first two words. */
#define NFS_ATTR(n)           (1ULL << (n))
#define NFS_ATTR_SUPPORTED    NFS_ATTR(0)
#define NFS_ATTR_TYPE         NFS_ATTR(1)
#define NFS_ATTR_FH_EXPIRE    NFS_ATTR(2)
#define NFS_ATTR_CHANGE       NFS_ATTR(3)
#define NFS_ATTR_SIZE         NFS_ATTR(4)
#define NFS_ATTR_LINK_SUPPORT NFS_ATTR(5)
#define NFS_ATTR_FSID         NFS_ATTR(8)
#define NFS_ATTR_LEASE_TIME   NFS_ATTR(10)
#define NFS_ATTR_RDATTR_ERROR NFS_ATTR(11)
#define NFS_ATTR_FILEID       NFS_ATTR(20)
#define NFS_ATTR_FILES_AVAIL  NFS_ATTR(21)
#define NFS_ATTR_MAXFILESIZE  NFS_ATTR(27)
#define NFS_ATTR_MAXNAME      NFS_ATTR(29)
#define NFS_ATTR_MAXREAD      NFS_ATTR(30)
#define NFS_ATTR_MAXWRITE     NFS_ATTR(31)
#define NFS_ATTR_MODE         NFS_ATTR(33)
#define NFS_ATTR_NUMLINKS     NFS_ATTR(35)
#define NFS_ATTR_OWNER        NFS_ATTR(36)
#define NFS_ATTR_GROUP        NFS_ATTR(37)
#define NFS_ATTR_RAWDEV       NFS_ATTR(41)
#define NFS_ATTR_SPACE_AVAIL  NFS_ATTR(42)
#define NFS_ATTR_SPACE_USED   NFS_ATTR(45)
#define NFS_ATTR_ATIME        NFS_ATTR(47)
#define NFS_ATTR_ATIME_SET    NFS_ATTR(48)
#define NFS_ATTR_TIME_DELTA   NFS_ATTR(51)
#define NFS_ATTR_CTIME        NFS_ATTR(52)
#define NFS_ATTR_MTIME        NFS_ATTR(53)
#define NFS_ATTR_MTIME_SET    NFS_ATTR(54)
#define NFS_ATTR_MOUNTED_ON   NFS_ATTR(55)

/* What struct attr is made of. */
#define NFS_ATTRS_STAT                                                                                                 \
    (NFS_ATTR_TYPE | NFS_ATTR_SIZE | NFS_ATTR_FSID | NFS_ATTR_FILEID | NFS_ATTR_MODE | NFS_ATTR_NUMLINKS |             \
     NFS_ATTR_OWNER | NFS_ATTR_GROUP | NFS_ATTR_RAWDEV | NFS_ATTR_SPACE_USED | NFS_ATTR_ATIME | NFS_ATTR_CTIME |       \
     NFS_ATTR_MTIME | NFS_ATTR_CHANGE)

/* What struct nfs_attrs knows to read. */
#define NFS_ATTRS_KNOWN                                                                                                \
    (NFS_ATTRS_STAT | NFS_ATTR_SUPPORTED | NFS_ATTR_FH_EXPIRE | NFS_ATTR_LINK_SUPPORT | NFS_ATTR_LEASE_TIME |          \
     NFS_ATTR_RDATTR_ERROR | NFS_ATTR_MAXFILESIZE | NFS_ATTR_MAXNAME | NFS_ATTR_MAXREAD | NFS_ATTR_MAXWRITE |          \
     NFS_ATTR_TIME_DELTA | NFS_ATTR_MOUNTED_ON | NFS_ATTR_FILES_AVAIL | NFS_ATTR_SPACE_AVAIL)

/* An owner or group as the server spelled it; points into the reply. */
struct nfs_owner_text {
    const char *text; /* not NUL-terminated */
    size_t len;       /* bytes; 0: a number, which is in attr already */
};

/* Attributes as a reply has them. */
struct nfs_attrs {
    uint64_t mask;               /* NFS_ATTR_*: which of them are there */
    struct attr attr;            /* the fields of those that are there; others 0. dev is made of both halves of the
                                    fsid. uid and gid are -1 where owner_text or group_text has a name */
    struct nfs_owner_text owner; /* a name that is no number */
    struct nfs_owner_text group; /* likewise */
    uint64_t supported;          /* NFS_ATTR_*: of the first two words */
    uint64_t max_file;           /* bytes of the largest file */
    uint64_t max_read;           /* bytes of a READ */
    uint64_t max_write;          /* bytes of a WRITE */
    uint64_t files_avail;        /* files that we may still make */
    uint64_t space_avail;        /* bytes that are free to us */
    uint64_t mounted_on;         /* fileid of what is below a mount point */
    uint32_t max_name;           /* bytes of the longest name */
    uint32_t lease_s;            /* seconds */
    uint32_t fh_expire;          /* FH4_* */
    uint32_t rdattr_error;       /* NFS4ERR of this entry's attributes, READDIR only */
    int64_t time_delta_ns;       /* granularity of times; at most 2^62 */
    bool link_support;           /* hard links */
};

/* nfs_ftype4 of the type in mode. */
uint32_t nfs_type_of_mode(mode_t mode);

void nfs_put_bitmap(struct xdr_out *x, uint64_t mask);
/* Bits beyond the mask are told by *out_more. */
uint64_t nfs_get_bitmap(struct xdr_in *x, bool *out_more);

/* fattr4. To be written: TYPE, SIZE, FILEID, MODE, NUMLINKS, OWNER, GROUP, RAWDEV, ATIME, ATIME_SET, MTIME, MTIME_SET.
 */
void nfs_put_fattr(struct xdr_out *x, uint64_t mask, const struct attr *attr);
/* An attribute that NFS_ATTRS_KNOWN lacks is a failure: nothing says how long it is. */
void nfs_get_fattr(struct xdr_in *x, struct nfs_attrs *out);

#endif
