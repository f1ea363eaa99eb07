/*
 * nfs41: an NFSv4.1 server as a store, spoken to directly, without a mount (RFC 8881).
 *
 * A small file is published in one COMPOUND: created under a temp name, written, given its attributes, checked by the
 * server itself (VERIFY), closed, renamed. At its start the store finds out with files of its own what the server can
 * do, and steps down where it must; nfs41_facts tells what was chosen.
 *
 * One client id for the store, one session for each thread, shared by its ports; the last one of them leaves it to the
 * next thread. Handles of directories are kept in dir->handle[side].data.
 */
#ifndef HAUL_STORES_NFS41_H
#define HAUL_STORES_NFS41_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "workers/store.h"

/* Where, as whom, and how patiently. The strings and groups need to live only until nfs41_open returns. */
struct nfs41_options {
    const char *host;      /* name or address */
    uint16_t port;         /* 0: 2049 */
    const char *path;      /* export and path below it, absolute, as the server's pseudo root shows it */
    uid_t uid;             /* AUTH_SYS */
    gid_t gid;             /* AUTH_SYS */
    const gid_t *groups;   /* AUTH_SYS; may be NULL */
    unsigned group_count;  /* entries in groups; AUTH_SYS carries 16 at most: more are a notice */
    bool reserved_port;    /* from a port below 1024, where we may: many servers demand it of root */
    int64_t io_timeout_ns; /* an operation without an answer ends with -ETIMEDOUT before that; 0: 60 s */
    unsigned retries;      /* of a connection that breaks, before an operation fails */
    unsigned connections;  /* of each session; 0: 1 */
    unsigned sessions;     /* made besides the first at most, as many as can be while the server is tried out: so many
                              ports at a time need not wait for theirs */
    bool read_only;        /* nothing is created or changed, not even to try the server out: for --dry-run */
    bool calm; /* the root has its times back once it was tried out: whoever changes nothing there leaves no trace */
    bool try_later;    /* nothing is tried out when it is opened: nfs41_try or nfs41_trust comes before anything else is
                          done with the store, or with a layer above it, but for what looks or reads */
    bool make_missing; /* create missing directories below the export; else -ENOENT */
    bool may_be_missing; /* without make_missing: a missing directory below the export is no error, and nfs41_make is
                            to be called before anything else is done with the store (nfs41_facts tells) */
    mode_t missing_mode; /* their permission bits */
    mode_t root_mode;    /* and those of the last one */
};

/* What was stepped down to, because the server lacks something. */
#define NFS41_STEP_SPLIT      1U  /* OPEN in a COMPOUND of its own: no current stateid, or too few operations in one */
#define NFS41_STEP_NO_VERIFY  2U  /* attributes are looked at by us before the rename, not by the server */
#define NFS41_STEP_OWNERS     4U  /* owners are refused */
#define NFS41_STEP_OWNER_TEXT 8U  /* owners read back as names, not as numbers: they are looked at by us */
#define NFS41_STEP_READ_OPEN  16U /* files have to be opened to be read */
#define NFS41_STEP_SINGLE     32U /* one file in a COMPOUND, however many wait */
#define NFS41_STEP_SMALL      64U /* requests smaller than asked for */

/* What the server granted and what came of it; counters so far. */
struct nfs41_facts {
    uint32_t request_max;    /* bytes of a request */
    uint32_t response_max;   /* bytes of a response */
    uint32_t cached_max;     /* bytes of a response that the server keeps for a replay */
    unsigned operations_max; /* in one COMPOUND */
    unsigned slots;          /* of a session */
    unsigned lease_s;        /* seconds */
    int64_t round_trip_ns;   /* the least that a call took with which the server has little to do */
    uint64_t read_max;       /* bytes of a READ */
    uint64_t write_max;      /* bytes of a WRITE */
    uint64_t space_avail;    /* bytes that were free to us when it was opened; UINT64_MAX: the server does not say */
    uint64_t files_avail;    /* files that we could still make then; the same */
    unsigned steps;          /* NFS41_STEP_* */
    unsigned made;           /* directories that were missing: the root, and those above it */
    bool missing;            /* its root is missing: see may_be_missing */
    char server[128];        /* what it calls itself, as text; "" where it does not say */
    uint64_t compounds;      /* sent, all told */
    uint64_t combined;       /* files that shared a COMPOUND with others */
    uint64_t connects;       /* connections made again after one was lost */
    uint64_t replays;        /* requests sent again on a new connection */
    uint64_t rebuilds;       /* sessions that were lost and made anew */
    uint64_t waits;          /* requests that the server put off (DELAY, GRACE) */
    uint64_t publishes;      /* files published in a COMPOUND */
    uint64_t reads;          /* files read whole in a COMPOUND */
    uint64_t cleanups;       /* files whose COMPOUND stopped after OPEN, and was cleaned up after */
    uint32_t destroy_status; /* NFS4ERR of the last DESTROY_CLIENTID: CLIENTID_BUSY (10074) where opens were left */
};

/*
 * Opens the store. In the calling thread, which it blocks: connects, makes the client id, finds the path, tries the
 * server out. options->path is for messages only. 0, or -errno and then, where something helpful can be said,
 * *out_problem: a sentence that says what to do, malloc'd, the caller's; else NULL. -ENOENT: a directory is missing,
 * and without make_missing nothing was created; -EROFS: read_only, a directory is missing, and it could not be made
 * there (no export is); -ENOTDIR: a name of path is something else.
 *
 * Where the server has lost the session options->fence is doubted (fence_doubt), before anything is repeated.
 */
int nfs41_open(const struct store_options *options, const struct nfs41_options *nfs, struct store **out_store,
               char **out_problem);

/* Makes what was missing when s was opened with may_be_missing, and tries the server out. nfs: make_missing is meant
 * whatever it says; missing_mode, root_mode and sessions are looked at besides. 0 or -errno with *out_problem, as
 * nfs41_open; then nothing but store_destroy can be done with s. Before anybody else has the store. */
int nfs41_make(struct store *s, const struct nfs41_options *nfs, char **out_problem);

/* What was found out about the server by trying, or has come out since. */
struct nfs41_found {
    uid_t uid;                   /* who owns what we make */
    gid_t gid;                   /* and its group */
    int64_t time_granularity_ns; /* see struct store_caps */
    bool no_link_times;          /* likewise */
    bool owner_refused;          /* owners cannot be set */
    unsigned steps;              /* NFS41_STEP_* */
};

/* Tries the server of a store out that was opened with try_later. nfs: sessions, read_only and calm are looked at. 0 or
 * -errno with *out_problem, as nfs41_open. Before anybody else has the store. */
int nfs41_try(struct store *s, const struct nfs41_options *nfs, char **out_problem);

/* The same without asking the server: found is what an earlier store, as the same user, found out at the same server.
 * Where it has changed since, each file steps down for itself. 0; -EINVAL: s was not opened with try_later. */
int nfs41_trust(struct store *s, const struct nfs41_found *found);

/* What is known of the server by now. s may be a layer above it. 0; -EINVAL: it was not tried, or is none. */
int nfs41_found(const struct store *s, struct nfs41_found *out_found);

/*
 * A store on the directory so many levels (1, ...) above the root of s, through the same client; s outlives it. Asks
 * nothing of the server. 0; -ENOENT: that is above the server's pseudo root; -ENOMEM. Any thread.
 */
int nfs41_open_above(struct store *s, unsigned levels, struct store **out_store);

/* s may be a layer above it. 0, or -EINVAL: there is no nfs41 store below. Any thread. */
int nfs41_facts(const struct store *s, struct nfs41_facts *out_facts);

/* Takes leave of the server (DESTROY_SESSION, DESTROY_CLIENTID), which store_destroy does too. nfs41_facts has what it
 * said then. The sessions of ports that are still there stay, and so does the client id: once those are gone too, leave
 * again. s may be a layer above it; nothing where there is no nfs41 store below. Blocks the thread, a few seconds at
 * most and until deadline_ns (monotonic). */
void nfs41_leave(struct store *s, int64_t deadline_ns);

/* Whether the server has not heard of us for a third of the time after which it forgets us: somebody is to ask it for
 * something. s may be a layer above it; false where there is no nfs41 store below, and where s is NULL. Any thread, no
 * lock. */
bool nfs41_is_due(const struct store *s);

/* Ends what the run old_run_id, which is dead or has lost its lease, still has at this server: the same client owner
 * with a new verifier ends its sessions and opens (RFC 8881 18.35). Blocks as io does. 0 or -errno. */
int nfs41_evict(struct store *s, struct io *io, const char *old_run_id);

#endif
