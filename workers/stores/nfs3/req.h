/*
 * req: one remote procedure of NFSv3, MOUNT 3 or the portmapper: what it is called with and what it brings (RFC 1813,
 * RFC 1833), without a word of libnfs.
 *
 * A struct nfs3_req is in its caller's storage while its call is under way; what it points to is the caller's.
 */
#ifndef HAUL_STORES_NFS3_REQ_H
#define HAUL_STORES_NFS3_REQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workers/store.h"
#include "workers/stores/nfs_fh.h"

#define NFS3_FH_MAX    64 /* bytes of a handle (RFC 1813 2.4) */
#define NFS3_VERF      8  /* bytes of a write or cookie verifier */
#define NFS3_PROGRAM   100003U
#define MOUNT3_PROGRAM 100005U

enum nfs3_proc {
    V3_GETATTR,     /* fh -> attr */
    V3_SETATTR,     /* fh, set -> perhaps attr */
    V3_LOOKUP,      /* fh, name -> out_fh, perhaps attr */
    V3_ACCESS,      /* fh, access -> access */
    V3_READLINK,    /* fh, buf -> count */
    V3_READ,        /* fh, offset, len, buf -> count, eof, perhaps attr */
    V3_WRITE,       /* fh, offset, len, data, sync -> count, sync, verf */
    V3_CREATE,      /* fh, name, set; GUARDED -> perhaps out_fh, attr */
    V3_MKDIR,       /* fh, name, set -> perhaps out_fh, attr */
    V3_SYMLINK,     /* fh, name, set, target -> perhaps out_fh, attr */
    V3_MKNOD,       /* fh, name, set with attr's type and rdev -> perhaps out_fh, attr */
    V3_REMOVE,      /* fh, name */
    V3_RMDIR,       /* fh, name */
    V3_RENAME,      /* fh, name, to_fh, to_name */
    V3_LINK,        /* fh (of the file), to_fh, to_name -> perhaps attr */
    V3_READDIRPLUS, /* fh, cookie, verf, len -> page, eof, verf */
    V3_READDIR,     /* the same, without attributes and handles */
    V3_FSSTAT,      /* fh -> space */
    V3_FSINFO,      /* fh -> info */
    V3_PATHCONF,    /* fh -> name_max, link_max */
    V3_COMMIT,      /* fh -> verf */
    V3_PMAP_PORT,   /* program -> port; the portmapper's */
    V3_MNT,         /* name -> out_fh; mountd's */
    V3_EXPORTS,     /* -> page: names only; mountd's */
    V3_PROCS
};

/* What SETATTR and its like set. */
#define V3_SET_MODE  1U
#define V3_SET_UID   2U
#define V3_SET_GID   4U
#define V3_SET_SIZE  8U
#define V3_SET_TIMES 16U /* atime and mtime; clamped to what the protocol can hold (1970 to 2106) */

/* One entry of a directory, or one export. */
struct nfs3_entry {
    const char *name; /* in page, NUL-terminated */
    uint64_t cookie;  /* behind it */
    bool has_attr;    /* attr is filled in */
    bool has_fh;      /* fh is filled in */
    struct attr attr; /* of the entry */
    struct nfs_fh fh; /* of the entry */
};

struct nfs3_page {
    size_t count;               /* entries */
    struct nfs3_entry *entries; /* owned, in one piece with their names */
};

struct nfs3_info {
    uint32_t read_max;      /* bytes of a READ; 0: not told */
    uint32_t write_max;     /* bytes of a WRITE; 0: not told */
    uint32_t dir_preferred; /* bytes of a READDIR reply; 0: not told */
    uint64_t file_max;      /* bytes of a file */
    int64_t delta_ns;       /* of time stamps */
    bool links;             /* hard links are there */
    bool symlinks;          /* symbolic links are there */
    bool times;             /* times can be set */
};

struct nfs3_req {
    enum nfs3_proc proc;
    const struct nfs_fh *fh;    /* see enum nfs3_proc */
    const char *name;           /* one component; MNT: a path */
    const struct nfs_fh *to_fh; /* RENAME, LINK: directory of the new name */
    const char *to_name;        /* RENAME, LINK: the new name */
    const struct attr *attr_in; /* values of what set says; MKNOD: type and rdev too */
    unsigned set;               /* V3_SET_* */
    const char *target;         /* SYMLINK */
    void *buf;                  /* READ, READLINK: receives data */
    const void *data;           /* WRITE */
    size_t len;                 /* bytes: READ, WRITE: of data; READLINK: of buf; READDIR: of the reply at most */
    uint64_t offset;            /* READ, WRITE */
    bool sync;                  /* WRITE: FILE_SYNC, else UNSTABLE; result: it is durable */
    uint64_t cookie;            /* READDIR: behind which entry; 0: from the beginning */
    uint8_t verf[NFS3_VERF];    /* READDIR: of the cookie; result: see enum nfs3_proc */
    uint32_t access;            /* ACCESS: V3_ACCESS_* wanted; result: granted */
    uint32_t program;           /* PMAP_PORT: its version 3 over TCP is asked for */
    /* Results; written where the call has brought NFS3_OK. */
    struct nfs_fh out_fh;  /* len 0: the server left it out */
    bool has_attr;         /* attr is filled in: servers may leave it out */
    struct attr attr;      /* of the entry, after the procedure */
    size_t count;          /* bytes read, written, or of the target without NUL */
    bool eof;              /* READ, READDIR: there is no more */
    uint16_t port;         /* PMAP_PORT; 0: not registered */
    struct nfs3_page page; /* READDIR, EXPORTS; to be freed with nfs3_page_free */
    struct nfs3_info info; /* FSINFO */
    uint64_t space_avail;  /* FSSTAT: bytes free to us */
    uint64_t files_avail;  /* FSSTAT: files that we could still make */
    uint32_t name_max;     /* PATHCONF: bytes of a name */
    uint32_t link_max;     /* PATHCONF: hard links of a file */
    bool again;            /* written by nfs3_call: it was sent more than once, the outcome may be the first one's */
};

#define V3_ACCESS_READ 1U

/* "getattr", "create", ...: the step in messages. Static. */
const char *nfs3_proc_name(enum nfs3_proc proc);

/* Whether twice is as good as once. Of the others, whoever sends them again has to look what the first came to. */
bool nfs3_proc_repeats(enum nfs3_proc proc);

void nfs3_page_free(struct nfs3_page *page);

struct rpc_context;

/* Hands req to libnfs. done(arg, r) is called exactly once from within libnfs, when results are in req: r is 0, a
 * status
 * (> 0) or -errno (-ECONNRESET: the connection failed under it); not where false is returned (no memory). */
struct nfs3_ticket {
    struct nfs3_req *req;           /* the caller's */
    void (*done)(void *arg, int r); /* see above */
    void *arg;                      /* for done */
};
bool nfs3_req_queue(struct rpc_context *rpc, struct nfs3_ticket *ticket);

#endif
