/*
 * copyfile: what the copy of small and of large files share (copyfile.c, copylarge.c).
 */
#ifndef HAUL_COPIER_COPYFILE_H
#define HAUL_COPIER_COPYFILE_H

#include "copier/engine_internal.h"

struct staged;
struct parts;

/* One item being carried out, on its fiber's stack. */
struct copy_job {
    struct engine *engine;       /* not owned */
    struct worker *worker;       /* not owned */
    struct item *item;           /* owned until planner_item_done */
    struct store_op op;          /* the last operation, for the report of a failure */
    bool on_source;              /* whose operation it was */
    bool on_stage;               /* it was an operation on a staged file */
    bool unstaged;               /* this file does not go through the temp dir any more */
    const struct staged *staged; /* what it has in the temp dir; NULL: nothing */
    struct parts *parts;         /* of a large file; not owned; NULL: none */
    int64_t unanswered_ns;       /* another worker's operation for it got no answer for so long; 0: none */
    size_t buffer;               /* bytes of the worker's buffer that it holds, as asked; 0: none */
    bool ending;                 /* it is done, and planner_item_done was called */
    bool renamed;                /* nothing was copied: it was there under another name (copyrename.h) */
    unsigned long moved;         /* bytes really written */
    struct xattrs *xattrs;       /* of the source entry, where they are kept; owned; NULL: left alone */
    struct attr xattrs_of;       /* its attributes when they were read */
    unsigned long planned;       /* size as the walk saw it */
    const struct attr *expect;   /* a regular file replaces only what is this; NULL: anything; not owned */
    struct state_file *outcome;  /* gets what was published, instead of the state; NULL: the state does; not owned */
};

/* Why a job is given up: worker_on_lost's why. */
struct copy_unanswered {
    const struct watch_op *op; /* what got no answer */
    bool on_source;            /* whose operation it is */
};

/* Which attributes the run keeps: STORE_KEEP_*. */
unsigned copy_keep(const struct engine *e);

/* Whether a file goes by memory, where it is not to be staged elsewhere. */
bool copy_is_small(const struct engine *e, const struct attr *a);

/* Whether the source's holes in it are to be found as runs of zeros in what was read (caps.no_extents), and so its runs
 * of zeros become holes; with --sparse always those of any file do. */
bool copy_leaves_zeros(const struct engine *e, const struct attr *a);

/* Whether what arrived of a file of that many bytes is recorded, so that the next run goes on with it: with a state
 * that is there (not asked here). What is one part is soon copied again. */
bool copy_is_resumable(const struct engine *e, uint64_t size);

/* r of opening or reading a source file; an error that shows that another entry stands there now is -ERR_CHANGED. */
int copy_source_error(int r);

/* Makes (code, on_source) the operation that failed; returns err. */
int copy_job_failed(struct copy_job *job, bool on_source, enum store_code code, int err);

/* copyxattrs.c. XATTRS_* that the run keeps. */
unsigned copy_xattr_kinds(const struct options *o);

/* Reads the extended attributes of the source entry into job, where they are kept. 0 or -errno with job->op. */
int copy_read_xattrs(struct copy_job *job);

/* Whether they are still those of the entry, which has the attributes `after` now. */
bool copy_xattrs_hold(const struct copy_job *job, const struct attr *after);

/* Sets owner, mode, times and, where they are kept, extended attributes of job->item. As copy_item. */
int copy_attrs(struct copy_job *job);

/* Carries out job->item; publishing is recorded (event_published), failures are the caller's to report: 0, or -errno
 * with job->op and job->on_source. In a fiber of job->worker. */
int copy_item(struct copy_job *job);

/* The item was published, as event_published. */
void copy_published(struct copy_job *job, const struct attr *src, const struct attr *dst, const uint8_t *hash,
                    int64_t read_ns);

/* Counts out what a job held that is given up, once: its buffer, its room in the temp dir, its bytes under way. In a
 * fiber that takes its place. */
void copy_job_lost(const struct copy_job *job);

/* Takes the bytes of its parts out of counts->under_way, once: it is done with, or given up. */
void copy_count_out(const struct copy_job *job);

/* One try at a large or sparse file: copies it, from the temp dir where it is staged there, into a temp name, an
 * earlier run's where that can be gone on with, and commits it. 0; -ERR_CHANGED: the source changed meanwhile, nothing
 * was published; -ECANCELED: the run is being stopped; -errno with job->op, job->on_source and job->on_stage. */
int copy_large(struct copy_job *job, const struct staged *staged);

#endif
