/*
 * status: exit statuses, the same numbers as rsync's where the meaning is the same.
 */
#ifndef HAUL_COPIER_STATUS_H
#define HAUL_COPIER_STATUS_H

enum status {
    STATUS_OK = 0,            /* all done */
    STATUS_USAGE = 1,         /* wrong use; nothing was touched */
    STATUS_CANNOT = 11,       /* cannot read or write at all, or no room, or the engine crashed: stopped early */
    STATUS_INTERRUPTED = 20,  /* a signal asked haul to stop */
    STATUS_SOME_FAILED = 23,  /* some entries did not arrive */
    STATUS_SOME_CHANGED = 24, /* some source entries vanished or kept changing; all others arrived */
    STATUS_MAX_DELETE = 25,   /* --max-delete stopped the removals; all else was done */
    STATUS_OUT_OF_TIME = 30,  /* --max-duration or --stop-at: its time was over */
    STATUS_FOUND = 40,        /* something at the destination is not as it should be, and was left so */
    STATUS_UNWELL = 41        /* haul doctor: something is set up badly */
};

/* What stopped a run that ends with STATUS_INTERRUPTED or STATUS_OUT_OF_TIME, in words. */
static inline const char *status_stopped(int status)
{
    return status == STATUS_OUT_OF_TIME ? "out of time" : "interrupted";
}

#endif
