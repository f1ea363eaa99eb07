/*
 * doctor_measure: what a file costs at a store, measured with a few real files of a run's own, which are removed again.
 *
 * All of them, and the directories that they stand in, have temp names of the run in the store's root, so that whatever
 * a kill leaves is known as haul's.
 */
#ifndef HAUL_COPIER_DOCTOR_MEASURE_H
#define HAUL_COPIER_DOCTOR_MEASURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "workers/store.h"

#define DOCTOR_FILE_BYTES 8192U /* of a file that is created */

/* How a run of the doctor goes on; shared with the thread that watches it. */
struct doctor_pulse {
    atomic_bool stop;        /* leave off, and remove what was made */
    _Atomic int64_t beat_ns; /* monotonic: when an operation was last answered */
};
void doctor_beat(struct doctor_pulse *pulse);

struct doctor_measuring {
    struct store *store;        /* not owned; no tree attached yet. Its root is worked in */
    const char *run_id;         /* not owned */
    struct doctor_pulse *pulse; /* not owned */
    bool no_ring;               /* --no-io-uring */
    bool give_away;             /* try whether files can be given to others: to a server we are root */
    uint64_t bytes_max;         /* of the large file; 0: none is written */
};

/* Two figures of a series of times. */
struct doctor_times {
    unsigned count;    /* 0: nothing was measured */
    int64_t median_ns; /* half of them are not longer */
    int64_t most_ns;   /* 95 % are not longer */
};

enum doctor_owner { DOCTOR_OWNER_UNTRIED, DOCTOR_OWNER_KEPT, DOCTOR_OWNER_REFUSED };

struct doctor_figures {
    struct doctor_times look;   /* attributes of the root, from the server itself */
    struct doctor_times create; /* a file of DOCTOR_FILE_BYTES, one at a time */
    struct doctor_times remove; /* the same */
    double files_per_s;         /* created by one worker, many at a time; 0: not measured */
    unsigned files;             /* of them */
    unsigned flight;            /* at a time */
    unsigned dirs;              /* spread over so many directories */
    double bytes_per_s;         /* of one large file, until it is durable; 0: not measured */
    uint64_t bytes;             /* of it */
    unsigned parts;             /* at a time */
    enum doctor_owner owner;    /* whether files can be given to others */
    bool clock_known;           /* the server's clock was seen */
    int64_t clock_ahead_ns;     /* of ours */
    int64_t clock_error_ns;     /* that it may be wrong by, both ways */
    unsigned left;              /* files and directories of ours that could not be removed */
    const char *step;           /* what failed, where something did ("create"); static */
};

/* In the calling thread, for about 5 s at most where each operation is answered at once. 0, also where pulse->stop
 * ended it early; -errno: the first operation that failed, with out->step. *out is filled in as far as it was measured.
 */
int doctor_measure(const struct doctor_measuring *m, struct doctor_figures *out);

/* Sorts times. */
void doctor_times_of(int64_t *times, unsigned count, struct doctor_times *out);

#endif
