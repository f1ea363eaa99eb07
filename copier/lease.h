/*
 * lease: one owner for a destination. `.haul/lease` in the destination's root says who works on the subtree and is
 * renewed every few seconds by a thread of its own.
 *
 * The file is reached through the store contract alone, so that it holds wherever a store leads to. Only the order of
 * events at the destination counts, and our own clock: times of other machines are never compared.
 *
 * - Taken: published exclusively where none stands. A lease whose process is known to be gone (same boot, same pid
 *   namespace) is dead; one that has not changed for three periods of our clock is too. A dead one is removed and ours
 *   published in its place; nothing is renamed or removed before it has proved to be ours: after a moment where the
 *   process was known to be gone, else after two more periods, in which a holder that wakes up finds out.
 * - Renewed: looked at, and replaced if it is still ours. A renewal that began at T opens the fence (workers/fence.h)
 *   until T + 2 periods; others can take over from T + 3 periods on, and begin from T + 5 periods on. What passed the
 *   fence just before it shut has that long to arrive.
 *   Where the destination can end what it does for another run (options.evict), that is done as soon as our lease
 *   stands there.
 * - Lost: another's lease stands there. The fence is shut for ever and the run ends.
 *
 * Above and below: once the own lease is taken, the directories above are searched for another's that lives; whoever
 * walks a destination asks lease_check_dir for what it finds below. So of two runs, one sees the other.
 */
#ifndef HAUL_COPIER_LEASE_H
#define HAUL_COPIER_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/name.h"
#include "base/notice.h"
#include "workers/fence.h"
#include "workers/store.h"

#define LEASE_NAME      "lease"      /* in HAUL_DIR */
#define LEASE_PERIOD_NS 5000000000LL /* between two renewals */
#define LEASE_WHO_MAX   384          /* bytes of a sentence about a holder */

struct lease;

struct lease_options {
    struct store *store;     /* of the destination, below the layers that count, limit or repeat; not owned */
    struct fence *fence;     /* of that store; not owned */
    const char *run_id;      /* not owned */
    const char *path;        /* the destination, for messages; not owned */
    bool look_only;          /* take none: only see to it that nobody owns the place or what is above */
    bool root_times;         /* the root keeps its times when .haul/ goes */
    bool root_fresh;         /* the caller has just made the root: no lease is looked for before ours is published */
    int64_t period_ns;       /* between two renewals */
    int64_t touch_ns;        /* look_only: how often the destination is asked for its root, so that a server does not
                                forget us; 0: never */
    int64_t wait_ns;         /* how long to wait for a lease that lives; 0: not at all */
    struct notices *notices; /* may be NULL; not owned */
    void *arg;               /* for the functions below, which are called from the lease's thread save where said */
    /* Opens the directory so many levels above the destination's root as a store that the caller destroys, with its
     * path in *out_path (malloc'd). io is the calling thread's. 0; -ENOENT: the top of the mount or export was passed;
     * -EACCES, ...: it cannot be looked into. */
    int (*above)(void *arg, struct io *io, unsigned levels, struct store **out_store, char **out_path);
    /* Something has to be waited for; once for each cause. lives: another's lease; else one that may be dead, at most
     * ns long. */
    void (*waiting)(void *arg, const char *path, const char *who, bool lives, int64_t ns);
    /* The lease is another's now (err EOWNERDEAD; who), or cannot be renewed any more (positive errno). Once. */
    void (*lost)(void *arg, int err, const char *who);
    /* The lease of that run was taken over: whatever the destination still carries out for it is to end. io is the
     * calling thread's. May be NULL. */
    void (*evict)(void *arg, struct io *io, const char *run_id);
    /* A run known to be dead: its temp names in .haul/ go. Called at the end. May be NULL. */
    bool (*is_dead)(void *arg, const char *run_id);
};

/* Why a lease could not be had. */
struct lease_refusal {
    char *path;              /* whose lease; malloc'd, or NULL */
    char who[LEASE_WHO_MAX]; /* "host a, process 1, run ..., since ...", or what failed */
};

/*
 * Takes the lease: waits for what options say, or until stop_fd is readable. 0: it is renewed from then on, until
 * lease_end_begin; -ERR_OWNED: somebody else works here, out_refusal says who, and nothing was left behind; -ECANCELED:
 * stop_fd was readable; -errno: out_refusal->who says which step failed. *out_lease is set whatever the result, but
 * NULL where no thread could be started: to be destroyed. options are copied, what they point to outlives the lease.
 */
int lease_take(const struct lease_options *options, int stop_fd, struct lease **out_lease,
               struct lease_refusal *out_refusal);

/* Begins to give the lease back, if it is ours. tidy: .haul/ too, if nothing else is in it; the root has its mode, and
 * with root_times its times, afterwards. Nothing may be changed at the destination any more. Once; any thread; does not
 * block. */
void lease_end_begin(struct lease *l, bool tidy);

/* Waits until that is done, at most patience_ns since it was begun. 0; -ETIMEDOUT: the destination does not answer;
 * -errno: what could not be put right. Any thread. */
int lease_end(struct lease *l, int64_t patience_ns);

/* Whether the dead lease that was taken over, if any, was that run's (NULL: any run's): then the run is dead too, and
 * its temp names are nobody's. Any thread, once lease_take has returned 0. l NULL: false. */
bool lease_took_over(const struct lease *l, const char *run_id);

/* Ends it first where that was not done, without tidying. Waits for its thread. NULL is fine. */
void lease_destroy(struct lease *l);

/*
 * Whether another run works on dir, a directory at the destination that is not the root: 0; -ERR_OWNED, then out_who
 * says who; -ECANCELED. May look for some time, where that cannot be told at once. Any thread; port is its own.
 */
int lease_check_dir(const struct lease *l, struct port *port, struct dir *dir, char out_who[LEASE_WHO_MAX]);

#endif
