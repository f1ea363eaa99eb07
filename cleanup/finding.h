/*
 * finding: something at the destination that is not what it should be, and what was done about it: of a scan, of a
 * verification, of a purge, and of the janitor that goes behind a run.
 */
#ifndef HAUL_CLEANUP_FINDING_H
#define HAUL_CLEANUP_FINDING_H

#include "workers/store.h"

enum finding_kind {
    FINDING_NONE,       /* all is well */
    FINDING_CORRUPT,    /* mode 000 and no bytes */
    FINDING_EMPTY,      /* no bytes where there should be some */
    FINDING_DIFFERS,    /* type, size, mode or owner are others */
    FINDING_TIMES,      /* times that nobody would set */
    FINDING_TEMP,       /* a temp name that nobody works with */
    FINDING_UNREADABLE, /* it cannot be looked at, or read by anybody */
    FINDING_CONTENTS,   /* other contents */
    FINDING_MISSING,    /* it should be there, and nothing is */
    FINDING_EXTRA,      /* it is there, and nothing should be */
    FINDING_REPLACED,   /* somebody has put another entry there since */
    FINDING_KINDS
};

enum finding_sure {
    SURE_CERTAIN,   /* source or state say otherwise, or it was proved */
    SURE_LIKELY,    /* owner, times, names speak for it */
    SURE_SUSPECTED, /* it may well be meant to be so */
    FINDING_SURES
};

enum finding_action {
    ACTION_NONE,    /* nothing was to be done about it */
    ACTION_MENDED,  /* put right */
    ACTION_REMOVED, /* taken away */
    ACTION_MOVED,   /* moved away, with a note */
    ACTION_LEFT,    /* left as it is, for the reason that is told */
    ACTION_FAILED,  /* it was tried and did not succeed */
    FINDING_ACTIONS
};

/* Valid during the call that tells of it. */
struct finding {
    const char *path; /* relative to the destination's root; raw bytes */
    enum finding_kind kind;
    enum finding_sure sure;
    const char *evidence;    /* in words */
    const struct attr *attr; /* as it stood there; NULL: nothing */
    enum finding_action action;
    const char *why; /* ACTION_LEFT, ACTION_FAILED: in words; NULL: nothing to say */
    int err;         /* ACTION_FAILED: positive errno; 0 else */
};

/* "corrupt", "certain", "mended", ... Static strings; "?" for what is none. */
const char *finding_kind_name(enum finding_kind kind);
const char *finding_sure_name(enum finding_sure sure);
const char *finding_action_name(enum finding_action action);

/* The kind of that name: 0 or -EINVAL. */
int finding_kind_parse(const char *name, size_t len, enum finding_kind *out_kind);

/* Whether something is left to be done about it. */
bool finding_is_open(enum finding_action action);

#endif
