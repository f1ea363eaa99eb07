/*
 * look: what haul scan, verify and clean share: a run without a planner, that goes through the directories of a
 * destination as they are, and perhaps looks at a source beside it.
 *
 * Nothing is made where there is nothing. Such a run has no row among the runs of the state, and takes a lease only
 * where it publishes.
 */
#ifndef HAUL_COPIER_LOOK_H
#define HAUL_COPIER_LOOK_H

#include <pthread.h>
#include <stdatomic.h>

#include "cleanup/finding.h"
#include "cleanup/tour.h"
#include "copier/engine_internal.h"

/* Relaxed counters. */
struct look_counts {
    atomic_ulong dirs;                                  /* directories listed to their end */
    atomic_ulong entries;                               /* entries met in them, but for directories */
    atomic_ulong failed;                                /* what could not be looked at or done; each was reported */
    atomic_ulong found[FINDING_KINDS][FINDING_ACTIONS]; /* findings */
    atomic_ulong bytes;                                 /* read, or of what was removed */
};

struct ledger;

struct look {
    struct engine engine;       /* planner NULL; first field */
    const struct look_job *job; /* constant */
    struct dir_tree tree;       /* of root */
    struct dir *root;           /* one reference */
    struct tour *tour;          /* owned */
    struct ledger *ledger;      /* what is found, in the state; owned; NULL: none is kept */
    unsigned width;             /* fibers at a time; constant */
    struct look_counts counts;  /* thread-safe */
    atomic_bool cut;            /* something was not done since the run is being stopped */
    void *own;                  /* the job's */
};

/* One command. Its functions get the look. */
struct look_job {
    const char *name; /* "scan" */
    bool publishes;   /* takes a lease, unless it is a dry run (a scan without --repair is one) */
    bool quiet;       /* its findings are lines only with --dry-run */
    bool want_attr;   /* listings come with attributes */
    /* Once source and destination are open, before anything is listed. 0 or an exit status after a message. */
    int (*begin)(struct look *l);
    /* As of the tour; the worker's ports are in its engine_worker. */
    int (*enter)(void *arg, struct tour_visit *v);
    bool (*entry)(void *arg, struct tour_visit *v, const struct store_entry *entry);
    void (*leave)(void *arg, struct tour_visit *v, int err, const struct store_op *op, bool broken);
    void (*over)(void *arg, struct worker *w); /* may be NULL */
    /* After the tour, when all workers have ended, whatever became of it; status: as it stands. Tells the result, in
     * the last line in words. Returns the exit status. */
    int (*end)(struct look *l, int status);
    void (*release)(struct look *l); /* also after a begin that failed; may be NULL */
};

/* Carries out the command of options; as engine_run. */
int look_run(const struct options *options, int channel);

/* Which job a command is: scan.c, verify.c, clean.c. */
extern const struct look_job clean_job;
extern const struct look_job scan_job;
extern const struct look_job verify_job;

/* The ports of a worker. */
struct port *look_dst(struct worker *w);
struct port *look_src(struct worker *w);

/* Something could not be looked at or done: reported and counted; -ECANCELED is neither. */
void look_failed(struct look *l, const struct dir *dir, const char *name, const struct store_op *op, int err,
                 bool on_source, bool below);

/* Whether not everything was gone through since the run was stopped. After the tour. */
bool look_is_cut(const struct look *l);

/* Tells and counts a finding; f->path is set by it, relative to the destination, from dir and name. */
void look_found(struct look *l, const struct dir *dir, const char *name, struct finding *f);

/* Keeps what is found from now on in the state at path; "": in a new one, of the default place of source (none: "") and
 * destination. Where that cannot be done it is a notice. Blocks. */
void look_keep_ledger(struct look *l, const char *path);

/* All findings so far. */
unsigned long look_findings(const struct look *l);

/* Findings about which something is left to be done. */
unsigned long look_findings_open(const struct look *l);

/* The process leaves since something does not answer: what was found so far. */
void look_left(struct look *l);

#endif
