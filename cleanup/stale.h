/*
 * stale: temp names: whose they are, and which of them are stale. Pure; any thread.
 */
#ifndef HAUL_CLEANUP_STALE_H
#define HAUL_CLEANUP_STALE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/name.h"
#include "workers/store.h"

/* Who names its temp files so. */
enum stale_maker {
    MAKER_NONE,    /* no temp name */
    MAKER_HAUL,    /* .haul.<run id>.<random> */
    MAKER_RSYNC,   /* .name.XXXXXX; with --delay-updates everything in a directory .~tmp~ */
    MAKER_RCLONE,  /* name.xxxxxxxx.partial */
    MAKER_JUICEFS, /* .name.tmp<digits>, .jfs.name.tmp.<random> */
    MAKER_NFS,     /* .nfs<hex>: removed while a client had it open; it is that client's to remove */
};

/* rsync's directory of --delay-updates. */
#define STALE_RSYNC_DIR ".~tmp~"

/* "haul", "rsync", ...; "" for MAKER_NONE. A static string. */
const char *stale_maker_name(enum stale_maker maker);

/* parent: the name of the directory that it stands in. For MAKER_HAUL out_run gets the run id (may be NULL). What other
 * tools choose at random is told from what people choose by having a digit or a capital in it: a few are missed. */
enum stale_maker stale_maker_of(const char *parent, const char *name, char out_run[RUN_ID_LEN + 1]);

/* What is known of the run whose temp name it is. */
enum stale_run {
    RUN_LIVES,   /* or is not known to have ended: its names stay */
    RUN_DEAD,    /* proved */
    RUN_UNKNOWN, /* nobody here has heard of it, and it holds no lease */
};

struct stale_case {
    enum stale_maker maker;
    enum stale_run run;         /* MAKER_HAUL */
    int64_t partial_touched_ns; /* MAKER_HAUL: wall clock when it was last worked at, where it is recorded as a part of
                                   a large file that a next run may go on with; 0: it is not */
    const struct attr *attr;    /* of the entry */
    int64_t now_ns;             /* wall clock */
    int64_t older_ns;           /* --older-than: since its last change, where the run is not proved to be dead */
    int64_t partial_ns;         /* --partial-max-age */
};

/* Why it stays, or that it may go. */
enum stale_verdict {
    STALE_GOES,
    STALE_LIVES,   /* its run does, or may */
    STALE_YOUNG,   /* not old enough to be sure */
    STALE_PARTIAL, /* a next run may go on with it */
    STALE_NOT,     /* no temp name, or a directory */
};

/* A name of a run that nobody here has heard of counts as a part of a large file where it is large enough to be one:
 * another host may remember it. */
enum stale_verdict stale_judge(const struct stale_case *c);

/* In words: "of run ... , which is dead". static. */
const char *stale_why(enum stale_verdict verdict);

#endif
