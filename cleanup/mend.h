/*
 * mend: what is to be done about a finding. Pure; any thread.
 *
 * Somebody's work is left alone: what was changed at the destination after it was published. But a file without a byte
 * holds no work, and one that is certain to have had contents is not what anybody made of it: those are mended whoever
 * came last.
 */
#ifndef HAUL_CLEANUP_MEND_H
#define HAUL_CLEANUP_MEND_H

#include <stdbool.h>

#include "cleanup/finding.h"

#define MEND_KIND(kind) (1U << (unsigned)(kind))

/* The kinds that can be mended at all. */
#define MEND_KINDS                                                                                                     \
    (MEND_KIND(FINDING_CORRUPT) | MEND_KIND(FINDING_EMPTY) | MEND_KIND(FINDING_DIFFERS) | MEND_KIND(FINDING_TIMES) |   \
     MEND_KIND(FINDING_TEMP) | MEND_KIND(FINDING_UNREADABLE))

/* What becomes of an entry that the source does not have. */
enum mend_away {
    AWAY_LEAVE,
    AWAY_MOVE,   /* into the quarantine */
    AWAY_REMOVE, /* what holds no byte; all else is left */
};

struct mend_case {
    enum finding_kind kind;
    enum finding_sure sure;
    unsigned named;         /* MEND_KIND of those that are to be mended */
    bool theirs;            /* somebody has changed it since it was published, or put another in its place */
    bool asked;             /* the source was asked: src NULL means that it has no such entry */
    const struct attr *src; /* as the source has it */
    const struct attr *now; /* as it stands at the destination; NULL: that cannot be seen */
    enum mend_away away;
};

enum mend_verdict {
    MEND_CONTENTS, /* published again from the source */
    MEND_ATTRS,    /* owner, mode and times as the source has them */
    MEND_REMOVE,   /* taken away */
    MEND_MOVE,     /* moved into the quarantine */
    /* and what is left as it is: */
    LEFT_KIND,   /* of a kind that is not named */
    LEFT_UNSURE, /* not sure enough */
    LEFT_THEIRS, /* somebody's work */
    LEFT_SOURCE, /* the source was not asked, or could not be */
    LEFT_NONE,   /* the source has no such entry */
    LEFT_HOLDS,  /* nor has it, and what stands there holds bytes: it is not removed */
    LEFT_TYPE,   /* the source has something of another type there */
    LEFT_SIZE,   /* its size is another too: setting attributes would only hide that */
    LEFT_UNSEEN, /* it cannot be looked at */
};

enum mend_verdict mend_decide(const struct mend_case *c);

/* Whether something is to be done. */
bool mend_is_wanted(enum mend_verdict verdict);

/* Why it is left, in words; NULL for what is not. Static. */
const char *mend_why(enum mend_verdict verdict);

#endif
