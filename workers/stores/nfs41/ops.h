/*
 * ops: the operations of NFSv4.1 that the store uses: arguments into a COMPOUND, results out of its reply (RFC 8881 18,
 * RFC 5662).
 *
 * nfs_put_x appends one operation to a COMPOUND that is being built; one that does not fit is latched there
 * (c->out.failed), and nfs_session_call refuses it. nfs_get_x reads the result of the next operation of the reply, in
 * the order of the request: 0; the operation's NFS4ERR (> 0), after which the reply has no further result; -EPROTO
 * where the reply is malformed or is about another operation; -ENODATA where it had stopped before. Out-params are
 * written on 0 only; any may be NULL.
 *
 * Nothing here allocates or waits. Any thread, one at a time for each COMPOUND.
 */
#ifndef HAUL_STORES_NFS41_OPS_H
#define HAUL_STORES_NFS41_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "workers/store.h"
#include "workers/stores/nfs41/attrs.h"
#include "workers/stores/nfs41/compound.h"
#include "workers/stores/nfs41/xdr.h"
#include "workers/stores/nfs_fh.h"

#define NFS_VERF_SIZE  8    /* bytes, NFS4_VERIFIER_SIZE */
#define NFS_OTHER_SIZE 12   /* bytes of a stateid without its seqid, NFS4_OTHER_SIZE */
#define NFS_NAME_MAX   1024 /* bytes of a name in a directory; a longer one is a lie */

struct nfs_stateid {
    uint32_t seqid;
    uint8_t other[NFS_OTHER_SIZE];
};

/* "The one that the last operation of this COMPOUND has left" (RFC 8881 16.2.3.1.2). */
struct nfs_stateid nfs_stateid_current(void);
/* Reading without an OPEN (RFC 8881 8.2.3). */
struct nfs_stateid nfs_stateid_anonymous(void);

/* ---- requests without results of their own ---- */

void nfs_put_putrootfh(struct nfs_compound *c);
void nfs_put_putfh(struct nfs_compound *c, const struct nfs_fh *fh);
void nfs_put_savefh(struct nfs_compound *c);
void nfs_put_restorefh(struct nfs_compound *c);
void nfs_put_lookup(struct nfs_compound *c, const char *name);
void nfs_put_lookupp(struct nfs_compound *c);
/* The current handle has these attributes, or NFS4ERR_NOT_SAME; not these, or NFS4ERR_SAME. */
void nfs_put_verify(struct nfs_compound *c, uint64_t mask, const struct attr *attr);
void nfs_put_nverify(struct nfs_compound *c, uint64_t mask, const struct attr *attr);
/* PUTROOTFH, PUTFH, SAVEFH, RESTOREFH, LOOKUP, LOOKUPP, VERIFY, NVERIFY. */
int nfs_get_plain(struct nfs_compound *c, enum nfs_op op);

/* ---- requests with results ---- */

void nfs_put_getfh(struct nfs_compound *c);
int nfs_get_getfh(struct nfs_compound *c, struct nfs_fh *out_fh);

void nfs_put_getattr(struct nfs_compound *c, uint64_t mask);
int nfs_get_getattr(struct nfs_compound *c, struct nfs_attrs *out_attrs);

/* mask says which fields of attr are set: SIZE, MODE, OWNER, GROUP, ATIME_SET, MTIME_SET. */
void nfs_put_setattr(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t mask, const struct attr *attr);
int nfs_get_setattr(struct nfs_compound *c);

void nfs_put_access(struct nfs_compound *c, uint32_t wanted);
int nfs_get_access(struct nfs_compound *c, uint32_t *out_granted);

/* How OPEN makes what it opens. */
enum nfs_create {
    NFS_OPEN_ONLY,    /* it must be there (OPEN4_NOCREATE) */
    NFS_OPEN_GUARDED, /* it must not (GUARDED4) */
};

#define NFS_SHARE_READ  1U
#define NFS_SHARE_WRITE 2U

/* What is to be opened. No delegation is wanted, nobody is denied anything. */
struct nfs_open {
    uint64_t owner;         /* a number that tells state owners of one client apart */
    uint32_t share;         /* NFS_SHARE_* */
    enum nfs_create create; /* only with a name */
    mode_t mode;            /* permission bits of what is made */
    const char *name;       /* in the current directory; NULL: the current handle itself (CLAIM_FH) */
};
void nfs_put_open(struct nfs_compound *c, const struct nfs_open *open);
int nfs_get_open(struct nfs_compound *c, struct nfs_stateid *out_stateid);

void nfs_put_close(struct nfs_compound *c, const struct nfs_stateid *stateid);
int nfs_get_close(struct nfs_compound *c);

/* How durable a WRITE is. */
#define NFS_UNSTABLE  0U
#define NFS_DATA_SYNC 1U
#define NFS_FILE_SYNC 2U

struct nfs_written {
    uint32_t count;              /* bytes */
    uint32_t committed;          /* NFS_UNSTABLE and so on */
    uint8_t verf[NFS_VERF_SIZE]; /* another one at COMMIT: the server may have lost it */
};
/* data is not copied: it stays until the call is over. */
void nfs_put_write(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset, uint32_t stable,
                   const void *data, size_t len);
int nfs_get_write(struct nfs_compound *c, struct nfs_written *out_written);

/* The whole file. */
void nfs_put_commit(struct nfs_compound *c);
int nfs_get_commit(struct nfs_compound *c, uint8_t out_verf[NFS_VERF_SIZE]);

/* buf receives what is read while the reply arrives; only the first READ of a COMPOUND. */
void nfs_put_read(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset, void *buf, uint32_t len);
/* To buf in any case, size bytes at most; as given to nfs_put_read for the first READ. */
int nfs_get_read(struct nfs_compound *c, void *buf, size_t size, size_t *out_len, bool *out_eof);

void nfs_put_readlink(struct nfs_compound *c);
/* -ENAMETOOLONG where it does not fit into size bytes with its NUL; -EPROTO where it has a NUL in it. */
int nfs_get_readlink(struct nfs_compound *c, char *buf, size_t size, size_t *out_len);

/* bytes: of the reply, at most. */
void nfs_put_readdir(struct nfs_compound *c, uint64_t cookie, const uint8_t verf[NFS_VERF_SIZE], uint32_t bytes,
                     uint64_t mask);
/* The entries themselves follow: nfs_get_entry until it says no. */
int nfs_get_readdir(struct nfs_compound *c, uint8_t out_verf[NFS_VERF_SIZE]);

/* An entry of a directory; text points into what was read. */
struct nfs_entry {
    uint64_t cookie;  /* goes on behind it */
    const char *name; /* not NUL-terminated */
    size_t len;       /* bytes */
    struct nfs_attrs attrs;
};
/* From the list that nfs_get_readdir stands before, or a copy of it: 1: an entry; 0: it is over, *out_eof says whether
 * the directory is; -EPROTO. */
int nfs_get_entry(struct xdr_in *in, struct nfs_entry *out_entry, bool *out_eof);

/* attr: type, and what the type needs: rdev of a device, target of a symbolic link. mask: MODE or 0. */
void nfs_put_create(struct nfs_compound *c, const char *name, uint64_t mask, const struct attr *attr,
                    const char *target);
int nfs_get_create(struct nfs_compound *c);

/* The saved handle gets another name in the current directory. */
void nfs_put_link(struct nfs_compound *c, const char *name);
/* From the saved directory to the current one. */
void nfs_put_rename(struct nfs_compound *c, const char *from, const char *to);
void nfs_put_remove(struct nfs_compound *c, const char *name);
int nfs_get_link(struct nfs_compound *c);
int nfs_get_rename(struct nfs_compound *c);
int nfs_get_remove(struct nfs_compound *c);

/* Which flavours the server takes for the current handle, which is used up by it (RFC 8881 18.45). */
void nfs_put_secinfo_no_name(struct nfs_compound *c);
/* auth_sys: whether AUTH_SYS is among them; gss: whether RPCSEC_GSS is. */
int nfs_get_secinfo_no_name(struct nfs_compound *c, bool *out_auth_sys, bool *out_gss);

#endif
