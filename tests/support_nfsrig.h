/*
 * support_nfsrig: haul's NFSv4.1 store before a scripted server, with the retry layer as a run has it.
 */
#ifndef HAUL_TESTS_SUPPORT_NFSRIG_H
#define HAUL_TESTS_SUPPORT_NFSRIG_H

#include "support_io.h"
#include "support_nfsd.h"
#include "workers/stores/nfs41/nfs41.h"

#define RIG_RUN "0123456789abcdef"

struct rig_options {
    struct nfsd_options server; /* as nfsd_create has it */
    int64_t io_timeout_ns;      /* 0: 3 s */
    unsigned retries;           /* of the layer and of connections; 0: 4; UINT_MAX: none */
    unsigned connections;       /* of a session; 0: 1 */
    enum store_owner owner;     /* store_options */
    bool reserved_port;         /* nfs41_options */
    const char *path;           /* NULL: the server's export */
    bool make_missing;          /* nfs41_options */
};

struct rig {
    struct nfsd *n;          /* owned */
    struct lane lane;        /* owned; fibers, by helpers */
    struct store *store;     /* owned: retry before nfs41 */
    struct port *port;       /* owned */
    struct dir_tree tree;    /* of root */
    struct dir *root;        /* one reference */
    struct notices *notices; /* owned */
    atomic_ulong repeats;    /* of the retry layer */
    char *problem;           /* where the store could not be opened; owned */
    int64_t began_ns;        /* monotonic, of the last operation */
    int64_t took_ns;         /* of the last operation */
};

/* A server, and a store before it. rig_open fails the test where the store does not open; rig_try returns what
 * nfs41_open does, and then there is only the server. options may be NULL. */
void rig_open(struct rig *r, const struct rig_options *options);
int rig_try(struct rig *r, const struct rig_options *options);
/* The same with a server that stands already, and may have its script. */
int rig_join(struct rig *r, struct nfsd *n, const struct rig_options *options);
/* Closes the store; the server stays. */
void rig_leave(struct rig *r);
/* Closes both. Afterwards, before the server goes: no temp name is left, no open, no session, no client. */
void rig_close(struct rig *r);
/* The same without those demands and complaints: for clients that were lied to. */
void rig_close_after_lies(struct rig *r);

/* One operation in a fiber of its own. */
int rig_run(struct rig *r, struct store_op *op);

/* A regular file's attributes: mode 0640, root's, fixed times. */
struct attr rig_attr(uint64_t size);
/* Publishes len bytes under a name in the root. */
int rig_publish(struct rig *r, const char *name, const void *bytes, size_t len);
/* count files at a time, in as many fibers, named prefix0, prefix1...; each of its own contents (rig_text). Results go
 * to errs (count of them). */
void rig_publish_many(struct rig *r, const char *prefix, unsigned count, int *errs);
/* What file i has; NUL-terminated, 64 bytes at most. */
void rig_text(unsigned i, char out[64]);
/* As a large file: begun, written in parts of part bytes, committed; aborted where a write fails. */
int rig_upload(struct rig *r, const char *name, const void *bytes, size_t len, size_t part);
/* Entries of the root, all read; or -errno. */
int rig_list(struct rig *r);
/* Reads the file whole, as a source's small file, into buf. Bytes, or -errno. */
ssize_t rig_read(struct rig *r, const char *name, void *buf, size_t size);

/* The file is there with these bytes, mode, and times. */
bool rig_right(struct rig *r, const char *name, const void *bytes, size_t len);

/* Resident bytes of this process. */
size_t rig_memory(void);

#endif
