/*
 * nfs3: an NFSv3 server as a store, spoken to directly through libnfs, without a mount (RFC 1813).
 *
 * A small file is published by CREATE under a temp name (GUARDED), WRITE (FILE_SYNC), SETATTR, a look at what came of
 * it, RENAME: one round trip each, of many files at a time. The protocol has no sessions: what was under way when a
 * connection broke is sent again on another one, and where twice is not as good as once, a second answer is judged by
 * looking at what the first try may have done. Servers may carry it out even after the second one was answered: a small
 * file of which a WRITE was sent again is begun anew under another name, and all else whose order matters waits for a
 * second. (What comes later than that could not be told.)
 *
 * One connection for each port. Handles of directories are kept in dir->handle[side].data.
 */
#ifndef HAUL_STORES_NFS3_NFS3_H
#define HAUL_STORES_NFS3_NFS3_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "workers/store.h"

/* Where, as whom, and how patiently. The strings and groups need to live only until nfs3_open returns. */
struct nfs3_options {
    const char *host;      /* name or address */
    uint16_t port;         /* of NFS; 0: the portmapper is asked */
    uint16_t mount_port;   /* of mountd; 0: the portmapper is asked */
    const char *path;      /* export and path below it, absolute, as the server has it */
    uid_t uid;             /* AUTH_SYS */
    gid_t gid;             /* AUTH_SYS */
    const gid_t *groups;   /* AUTH_SYS; may be NULL */
    unsigned group_count;  /* entries in groups; AUTH_SYS carries 16 at most: more are a notice */
    bool reserved_port;    /* from a port below 1024, where we may: many servers demand it */
    int64_t io_timeout_ns; /* an operation without an answer ends with -ETIMEDOUT before that; 0: 60 s */
    unsigned retries;      /* of a connection that breaks, before an operation fails */
    bool read_only;        /* nothing is created or changed, not even to try the server out: for --dry-run */
    bool try_later;        /* nothing is tried out when it is opened: nfs3_try comes before anything else is done with
                              the store, or with a layer above it, but for what looks or reads */
    bool make_missing;     /* create missing directories below the export; else -ENOENT */
    bool may_be_missing;   /* without make_missing: a missing directory below the export is no error, and nfs3_make is
                              to be called before anything else is done with the store (nfs3_facts tells) */
    mode_t missing_mode;   /* their permission bits */
    mode_t root_mode;      /* and those of the last one */
};

/* What the server told and what came of it; counters so far. */
struct nfs3_facts {
    uint16_t port;        /* of NFS */
    uint16_t mount_port;  /* of mountd */
    uint64_t read_max;    /* bytes of a READ */
    uint64_t write_max;   /* bytes of a WRITE */
    uint64_t file_max;    /* bytes of a file */
    uint32_t name_max;    /* bytes of a name; 0: the server does not say */
    uint32_t link_max;    /* hard links of a file; 0: the server does not say */
    uint64_t space_avail; /* bytes that were free to us when it was opened; UINT64_MAX: the server does not say */
    uint64_t files_avail; /* files that we could still make then; the same */
    bool owners_refused;  /* owners cannot be set here */
    bool no_attributes;   /* its listings come without attributes: each entry is asked for by itself */
    unsigned made;        /* directories that were missing: the root, and those above it */
    bool missing;         /* its root is missing: see may_be_missing */
    uint64_t calls;       /* remote procedures, all told */
    uint64_t connects;    /* connections made again after one was lost */
    uint64_t repeats;     /* calls sent again on a new connection */
    uint64_t waits;       /* calls that the server put off (JUKEBOX) */
    uint64_t publishes;   /* small files published */
    uint64_t cleanups;    /* temp names removed after something had failed */
};

/*
 * Opens the store. In the calling thread, which it blocks: asks the portmapper and mountd, connects, finds the path,
 * tries the server out. options->path is for messages only. 0, or -errno and then, where something helpful can be said,
 * *out_problem: a sentence that says what to do, malloc'd, the caller's; else NULL. -ENOENT: a directory is missing,
 * and without make_missing nothing was created; -ENOTDIR: a name of path is something else.
 */
int nfs3_open(const struct store_options *options, const struct nfs3_options *nfs, struct store **out_store,
              char **out_problem);

/* Makes what was missing when s was opened with may_be_missing, and tries the server out. nfs: make_missing is meant
 * whatever it says; missing_mode and root_mode are looked at besides. 0 or -errno with *out_problem, as nfs3_open; then
 * nothing but store_destroy can be done with s. Before anybody else has the store. */
int nfs3_make(struct store *s, const struct nfs3_options *nfs, char **out_problem);

/* Tries the server of a store out that was opened with try_later. nfs: read_only is looked at. 0 or -errno with
 * *out_problem, as nfs3_open. Before anybody else has the store. */
int nfs3_try(struct store *s, const struct nfs3_options *nfs, char **out_problem);

/*
 * A store on the directory so many levels (1, ...) above the root of s, at the same server; s outlives it. Asks
 * mountd, through io, which is the calling thread's: in a fiber only that fiber waits. 0; -ENOENT: that is above what
 * the server exports to us; or another -errno. Any thread.
 */
int nfs3_open_above(struct store *s, struct io *io, unsigned levels, struct store **out_store);

/* s may be a layer above it. 0, or -EINVAL: there is no nfs3 store below. Any thread. */
int nfs3_facts(const struct store *s, struct nfs3_facts *out_facts);

#endif
