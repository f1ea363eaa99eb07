/*
 * metrics: --metrics FILE: what a run does, for a monitoring that reads files (Prometheus' text format 0.0.4, as
 * node_exporter's textfile collector takes it).
 *
 * The file is replaced as a whole, by a rename: whoever reads it never finds half of one. It is written when the run
 * begins, every few seconds, and when it ends, however that is. What is told of the last success outlives runs that do
 * not succeed: it is taken from the state, or, before there is one, from the file that stands there.
 */
#ifndef HAUL_COPIER_METRICS_H
#define HAUL_COPIER_METRICS_H

#include "base/clock.h"
#include "copier/engine_internal.h"

struct metrics;

#define METRICS_WAIT_NS  (2 * NS_PER_SEC)  /* for the last file, where nobody is in a hurry */
#define METRICS_HURRY_NS (300 * NS_PER_MS) /* and where somebody is */

/* ---- the text (metrics_text.c) ---- */

/* What earlier runs have left. Times are wall clock. */
struct metrics_past {
    int status;             /* exit status of the last run that ended; -1: none is known */
    int64_t success_ns;     /* when the last one that ended with 0 did so; 0: none is known */
    int64_t success_run_ns; /* how long that took; 0: not known */
};

/* One file. */
struct metrics_text {
    const char *labels;                         /* of each line: metrics_labels */
    const char *command;                        /* "copy", "sync" */
    struct metrics_past past;                   /* with this run, once it has ended */
    bool running;                               /* it has not */
    int64_t run;                                /* number; 0: none yet */
    int64_t begun_ns;                           /* wall clock */
    int64_t now_ns;                             /* wall clock */
    int64_t took_ns;                            /* so far, or in all */
    unsigned in_flight;                         /* operations */
    unsigned limit;                             /* at most so many */
    const struct report_counts *counts;         /* of the run */
    const struct plan_counts *plan;             /* NULL: its walk has not begun */
    const struct watch_times *times[DIR_SIDES]; /* NULL: nothing was measured */
};

/* 'source="/a",destination="/b"', with haul_job="nightly" where job is not NULL; what a label cannot hold is shown as
 * name_show does it. malloc'd; NULL: no memory. */
char *metrics_labels(const char *source, const char *destination, const char *job);

/* malloc'd; NULL: no memory. */
char *metrics_text(const struct metrics_text *t);

/* What a text of an earlier run with the same labels says; what it does not say stays as it is. */
void metrics_text_read(const char *text, const char *labels, struct metrics_past *past);

/* ---- the file (metrics.c) ---- */

/* Reads what stands there, writes the file for the first time, and starts the thread that goes on with it: e->metrics,
 * which stays NULL where no file was asked for, and in a dry run. 0, or an exit status after a message. Blocks. */
int metrics_start(struct engine *e);

/* The run has its number, and e a state or none: what that knows of the last success is told from now on. NULL is fine.
 */
void metrics_begin(struct metrics *m);

/* Writes the file for the last time, with the run's exit status, and ends the thread; may be called again with another
 * status. Waits at most wait_ns. 0; -ETIMEDOUT: the file does not answer; -errno. NULL is fine. */
int metrics_end(struct metrics *m, int status, int64_t wait_ns);

/* Before planner, pool and stores. What hangs in a call to its file is left to itself. NULL is fine. */
void metrics_destroy(struct metrics *m);

#endif
