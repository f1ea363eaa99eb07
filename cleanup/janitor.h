/*
 * janitor: a thread that goes behind a run: looks again at what was published some seconds ago, has it published again
 * where it is not what it should be, and purges the temp names of dead runs where the walk does not come by.
 *
 * Looking again: which entries is decided by a hash of directory, name and run (each run looks at others). An entry
 * waits for its time in a bounded queue; then it is handed to the pool, whose fiber looks with STORE_STAT that asks the
 * server itself. While it waits its directory is held, so that directories are finished after all that is put into
 * them again. What was published again is looked at again, until it is right or was put right REPAIRS_MAX times.
 *
 * Purging: once janitor_flush was called, each directory that options.next_dir names, in the janitor's own thread.
 */
#ifndef HAUL_CLEANUP_JANITOR_H
#define HAUL_CLEANUP_JANITOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cleanup/finding.h"
#include "cleanup/temps.h"
#include "workers/pool.h"
#include "workers/store.h"

struct janitor;

#define JANITOR_WHOLE       1000000U /* options.share: everything is looked at again */
#define JANITOR_DELAY_NS    (2 * 1000000000LL)
#define JANITOR_WAITING_MAX 32768U
#define REPAIRS_MAX         3U /* of one entry */

/* What stands under a final name, judged by what was published there. */
enum janitor_found {
    FOUND_RIGHT,
    FOUND_GONE,       /* nothing */
    FOUND_REPLACED,   /* somebody else's entry, which may well be meant to be there */
    FOUND_TYPE,       /* another type */
    FOUND_MODE_EMPTY, /* mode 000 and no bytes, where there should be both */
    FOUND_MODE,       /* mode 000 */
    FOUND_EMPTY,      /* no bytes */
    FOUND_SIZE,       /* another size */
};

/* What kind of finding it is; FOUND_RIGHT: none. */
enum finding_kind janitor_found_kind(enum janitor_found found);

/* src: the source's attributes when it was read; dst: as the store reported it published; now: what stands there, NULL:
 * nothing. A source of mode 000 or without bytes makes neither a finding. */
enum janitor_found janitor_judge(const struct attr *src, const struct attr *dst, const struct attr *now);

/* A published entry. */
struct janitor_entry {
    struct dir *dir;  /* held; one reference */
    const char *name; /* at the source and in reports; owned by the entry */
    struct attr src;  /* of the source when it was read */
    struct attr dst;  /* as it was published */
    unsigned repairs; /* how often it was published again by the janitor */
    void *repairing;  /* options.repair's own while it publishes it again; NULL: it does not; its fiber's */
};

enum janitor_done {
    DONE_REPAIRED, /* published again; looked at once more */
    DONE_LEFT,     /* nothing: GONE and REPLACED */
    DONE_FAILED,   /* it could not be published again: options.repair has said why */
    DONE_GIVEN_UP, /* it was published again REPAIRS_MAX times and did not stay right */
};

/* One thing found; valid during the call only. */
struct janitor_finding {
    const struct janitor_entry *entry;
    enum janitor_found found;
    const struct attr *now; /* what stood there; NULL: nothing */
    enum janitor_done done;
    int err; /* DONE_FAILED: -errno; 0 else */
};

struct janitor_options {
    struct store *dst;        /* not owned; outlives the janitor */
    const char *run_id;       /* outlives the janitor */
    uint32_t share;           /* of what is published, in millionths: looked at again. 0: none */
    int64_t delay_ns;         /* between publishing and looking */
    unsigned waiting_max;     /* entries; beyond that the oldest are looked at before their time */
    struct notices *notices;  /* may be NULL */
    atomic_ulong *looked;     /* gains 1 for each entry looked at; outlives the janitor */
    atomic_ulong *purged;     /* gains the temp names removed; outlives the janitor */
    struct temps_rules temps; /* which temp names may go */
    void *arg;                /* for the functions below */
    /* Fibers of workers only. The worker's port of the destination. */
    struct port *(*port)(void *arg, struct worker *w);
    /* The name of an entry at the destination. Fibers of workers. */
    const char *(*dst_name)(void *arg, const char *name);
    /* dir must not be finished before release was called as often. hold: where janitor_published is called; release:
     * any thread, dst NULL: the run is being stopped. */
    void (*hold)(void *arg, struct dir *dir);
    void (*release)(void *arg, struct port *dst, struct dir *dir);
    /* Publishes entry again. 0, also where that has only been set going; -errno: and it has said so itself. A fiber of
     * a worker; what it publishes goes through janitor_published again. */
    int (*repair)(void *arg, struct worker *w, struct janitor_entry *entry);
    /* A fiber of a worker. */
    void (*finding)(void *arg, const struct janitor_finding *finding);
    /* Looking at entry or publishing it again got no answer, and its fiber was given up: why as worker_give_up was
     * told. released: it was in release, for entry's directory; else entry is released afterwards. In a fiber that
     * takes its place; may wait only where released. entry stays for ever. NULL: fibers that look are not to be given
     * up. */
    void (*unanswered)(void *arg, struct worker *w, const struct janitor_entry *entry, bool released, const void *why);
    /* The next directory to be purged, with one reference for the caller. 0, -ENOENT: that was all, -errno. The
     * janitor's thread only. NULL: nothing is purged. */
    int (*next_dir)(void *arg, struct dir **out_dir);
};

/* options are copied. 0 or -ENOMEM. */
int janitor_create(const struct janitor_options *options, struct janitor **out_janitor);

/* Starts its thread. pool: outlives the janitor. 0 or -EAGAIN. Before the first janitor_published. */
int janitor_start(struct janitor *j, struct pool *pool);

/* An entry was published; looks at it again later if it is one of those. From inside an item of the pool, which keeps
 * dir from being finished. Does not block. dst: as the store reported it. j may be NULL. */
void janitor_published(struct janitor *j, struct dir *dir, const char *name, const struct attr *src,
                       const struct attr *dst);

/* From now on nothing waits for its time: there is nothing else left to do. Starts the purge. Any thread, does not
 * block; j may be NULL. */
void janitor_flush(struct janitor *j);

/* Drops all that waits, ends the purge soon. Any thread, does not block; j may be NULL. */
void janitor_stop(struct janitor *j);

/* After pool_join: waits until the purge is over. Blocks; j may be NULL. */
void janitor_join(struct janitor *j);

/* Whether the purge came through: all directories, none of which failed. After janitor_join. */
bool janitor_swept(const struct janitor *j);

/* After pool_join; joins. NULL is fine. */
void janitor_destroy(struct janitor *j);

#endif
