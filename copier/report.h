/*
 * report: what a run tells: failures as they happen, progress, the summary at the end; as text for people and, with
 * --json, as one JSON object a line on standard output (text then goes to standard error).
 *
 * Any thread may call these; lines are never mixed.
 */
#ifndef HAUL_COPIER_REPORT_H
#define HAUL_COPIER_REPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/errs.h"
#include "base/notice.h"
#include "cleanup/finding.h"
#include "planner/planner.h"
#include "workers/io.h"
#include "workers/stores/watch.h"

#define REPORT_FAILURES_SHOWN 20 /* listed as text; all are in --json and in the state */

struct report;
struct server_facts;
struct json_t;

/* What workers have done; relaxed counters. */
struct report_counts {
    atomic_ulong files;         /* regular files published */
    atomic_ulong bytes;         /* bytes of published files (with holes) */
    atomic_ulong moved;         /* bytes that were really written */
    atomic_ulong others;        /* symbolic links, FIFOs, sockets, device nodes published */
    atomic_ulong links;         /* hard links made */
    atomic_ulong renamed;       /* regular files that were there under another name */
    atomic_ulong attrs;         /* entries whose attributes alone were set */
    atomic_ulong removed;       /* entries of the destination that the source had no more */
    atomic_ulong failed;        /* entries that did not arrive */
    atomic_ulong changed;       /* source entries that vanished or kept changing */
    atomic_ulong retries;       /* repeats after transient errors */
    atomic_ulong again;         /* files read again since the source changed meanwhile */
    atomic_ulong done;          /* items finished, whatever the result */
    atomic_ulong done_bytes;    /* sizes of the regular files among them */
    atomic_ulong under_way;     /* bytes written of large files that are not done yet */
    atomic_ulong staged;        /* files that went through the local temp dir */
    atomic_ulong staged_clones; /* reflinks among them */
    atomic_ulong resumed;       /* large files that an earlier run had begun, gone on with */
    atomic_ulong resumed_bytes; /* what was there of them already */
    atomic_ulong resumed_size;  /* and their sizes */
    atomic_ulong purged;        /* stale temp names removed */
    atomic_ulong rechecked;     /* published entries looked at again */
    atomic_ulong findings;      /* of them, those that were not right */
    atomic_ulong repaired;      /* of them, those published again */
    atomic_ulong broken;        /* of them, those that were not put right */
    atomic_ulong unfinished;    /* items dropped since the run was stopped */
    atomic_ulong sync_failed;   /* background syncs of the destination that failed */
};

struct report_options {
    bool json;     /* events on standard output */
    bool quiet;    /* failures only */
    bool stats;    /* more figures */
    bool progress; /* progress line where standard error is no terminal */
    bool dry_run;  /* say "would" */
};

/* 0 or -ENOMEM. */
int report_create(const struct report_options *options, struct report **out_report);
void report_destroy(struct report *r); /* NULL is fine */

struct report_counts *report_counts(struct report *r);

/* A message for people: what is going on (report_say, not with quiet), what went wrong (report_error). Without newline.
 */
void report_say(struct report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void report_error(struct report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What was asked for: text for people, with quiet too. Without newline. */
void report_line(struct report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An event on standard output, which it lets go of; nothing without --json. */
void report_event(struct report *r, struct json_t *event);

/* Whether events are wanted. */
bool report_is_json(const struct report *r);

/* A line of progress as report_progress shows it: on a terminal it replaces the one before. */
void report_progress_line(struct report *r, const char *line);

/* The notices, as lines and events. */
void report_notices(struct report *r, struct notices *notices);

/* 0; -EIO where events could not be written to standard output: then it says so on standard error. */
int report_flush(struct report *r);

/* The run began. previous_* of 0: no earlier run. */
struct report_start {
    const char *source;      /* as canonical path */
    const char *destination; /* as canonical path */
    const char *state;       /* state file, or NULL: none (dry run) */
    int64_t run;             /* number */
    const char *resumed;     /* sentence about the run that is resumed, or NULL */
};
void report_started(struct report *r, const struct report_start *start);

/* An entry did not arrive. Counts it as failed or changed by its class. path is relative to the root it was met in. */
struct report_failure {
    const char *path;    /* raw bytes */
    const char *op;      /* operation: "publish", "open", ... */
    int err;             /* positive errno */
    unsigned attempts;   /* tries made */
    enum err_class kind; /* ERR_VANISHED or not */
    bool on_source;      /* which root path is below */
    bool below;          /* with all that is below it */
    int64_t waited_ns;   /* no answer came for so long; 0: it was answered with err */
};
void report_failed(struct report *r, const struct report_failure *failure);

/* A published entry was looked at again and was not right. */
void report_found(struct report *r, const struct finding *f);

/* --dry-run: what would be done with path ("copy", "rename", "link", "set attributes of", "make
 * directory"). */
void report_would(struct report *r, const char *what, const char *path);

/* One progress line (cut to the terminal's width) or event. in_flight and limit: operations. final: ends the line on a
 * terminal. */
void report_progress(struct report *r, const struct plan_counts *plan, unsigned in_flight, unsigned limit);

/* Whether the progress line is on a terminal (then it is worth several a second). */
bool report_on_terminal(const struct report *r);

/* The end: notices, failures left out, figures, and in the last line, in words, whether everything arrived. */
struct report_end {
    const struct plan_counts *plan;
    struct notices *notices;
    int status;         /* exit status */
    bool interrupted;   /* stopped by a signal, or by the end of its time (status) */
    int fatal;          /* errno that stopped the run early; 0: none */
    const char *why;    /* what stopped it, in words, where that is no errno; NULL else */
    const char *but;    /* last line where all arrived and status says that not all is well; NULL else */
    int64_t elapsed_ns; /* of the whole run */
    const struct watch_times *times[DIR_SIDES]; /* where the time went; NULL: not measured */
    const struct server_facts *nfs[DIR_SIDES];  /* of the servers; NULL: that side is at none */
    const struct io_facts *io;
    unsigned limit;           /* operations in flight at the end */
    int64_t run;              /* number; 0: none */
    uint64_t failing;         /* runs in a row before it that did not end with status 0 */
    int64_t failing_since_ns; /* wall clock at which the first of them began, or this run where there are none; 0: not
                                 known */
};
/* 0, or -EIO where what was asked for on standard output (events, the list of a dry run) could not be written: then it
 * says so on standard error. */
int report_ended(struct report *r, const struct report_end *end);

#endif
