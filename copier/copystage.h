/*
 * copystage: brings one source file whole into the local temp dir.
 */
#ifndef HAUL_COPIER_COPYSTAGE_H
#define HAUL_COPIER_COPYSTAGE_H

#include "copier/copyfile.h"

/* A source file that stands in the temp dir. All zero: none does. */
struct staged {
    struct store_file *file; /* open, to be read by the worker's stage port; owned; NULL: not staged */
    struct attr attr;        /* of the source, the same before and after it was read */
    int64_t read_ns;         /* wall clock when its reading began */
    uint64_t taken;          /* bytes of room that it holds */
    bool cloned;             /* it is a reflink, else a copy */
};

/*
 * Stages job's file where --stage and what it depends on say so: then job->item->attr is what was staged. 0 with
 * staged->file NULL: it goes another way (also after an error of the temp dir, about which a notice is raised).
 * -ERR_CHANGED: the source changed meanwhile; -ECANCELED: the run is being stopped; else -errno of the source, with
 * job->op and job->on_source. *staged is all zero before, and after a failure.
 */
int copy_stage(struct copy_job *job, struct staged *staged);

/* It is not needed any more, or cannot be used. All zero is fine, and so it is afterwards. */
void copy_unstage(struct copy_job *job, struct staged *staged);

/* Closes the staged files that the calling worker keeps for the next ones. */
void copy_stage_close(struct engine *e, struct engine_worker *own);

/* Runs an operation of a staged file (store_run), watched like all that is asked of the temp dir. */
int copy_stage_run(struct engine *e, struct port *stage, struct store_op *op);

/* Reading a staged file failed: says so once, unstages it, and sees to it that this job does not stage again. */
void copy_stage_lost(struct copy_job *job, struct staged *staged);

#endif
