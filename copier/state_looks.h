/*
 * state_looks: what a state tells of looks (scans and the like) and of findings, theirs and those of runs. Nothing is
 * changed. Any thread; they block.
 */
#ifndef HAUL_COPIER_STATE_LOOKS_H
#define HAUL_COPIER_STATE_LOOKS_H

#include <stddef.h>
#include <stdint.h>

struct state_looked {
    int64_t number;     /* 1, 2, ... */
    char command[16];   /* "scan" */
    int64_t started_ns; /* wall clock */
    int64_t ended_ns;   /* wall clock; 0: it was killed, or is under way */
    int status;         /* exit status; -1: it has not ended */
    uint64_t dirs;      /* gone through */
    uint64_t entries;   /* looked at */
    uint64_t bytes;     /* read */
    uint64_t findings;  /* all */
    uint64_t open;      /* of them, those about which something is left to be done */
};

/* At most most of the looks in the state at path, newest first, into out; *out_count of them, 0 in a state that knows
 * of none. 0 or -errno. */
int state_looks_read(const char *path, size_t most, struct state_looked *out, size_t *out_count);

/* A finding; valid during the call. */
struct state_found {
    int64_t look;     /* its look's number; 0: a run's */
    int64_t run;      /* its run's number; 0: a look's */
    const char *path; /* relative to the destination; raw bytes */
    const char *kind; /* words of finding.h */
    const char *certainty;
    const char *evidence;
    const char *action;
    int err; /* positive errno, or 0 */
};

/* Calls each for at most most of the findings of that look, or (look 0) of that run, temp names last. 0 or -errno. */
int state_looks_findings(const char *path, int64_t look, int64_t run, size_t most,
                         void (*each)(void *arg, const struct state_found *f), void *arg);

#endif
