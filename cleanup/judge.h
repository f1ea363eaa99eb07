/*
 * judge: whether an entry at the destination is as it should be, by its own attributes, by what the source has, and by
 * what is remembered of its publishing. Pure; any thread.
 */
#ifndef HAUL_CLEANUP_JUDGE_H
#define HAUL_CLEANUP_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "cleanup/finding.h"
#include "workers/store.h"

#define JUDGE_EVIDENCE_MAX 160 /* bytes of the words, with their NUL */

/* What is known of an entry. */
struct judge_case {
    const struct attr *now;       /* as it stands at the destination: no directory */
    bool asked;                   /* the source was asked: src NULL means that it has no such entry */
    const struct attr *src;       /* as the source has it now; NULL: see asked */
    const struct attr *published; /* as it was published, by what is remembered (mode, owner, ino, size, mtime, ctime);
                                     NULL: nothing is remembered */
    bool sure;                    /* what is remembered is so: neither announced only nor lost in a power cut */
    const struct attr *dir;       /* of the directory that it stands in: its owner tells; NULL: not known */
    int64_t now_ns;               /* wall clock */
};

struct judge_finding {
    enum finding_kind kind;            /* FINDING_NONE: all is well */
    enum finding_sure sure;            /* how sure */
    bool theirs;                       /* somebody has changed it since it was published, or put another in its place */
    char evidence[JUDGE_EVIDENCE_MAX]; /* in words */
};

/*
 * The source decides, then what is remembered, then the evidence of the entry alone. What is so in the source too is no
 * finding, nor what somebody has written to since it was published: a later mtime with contents, or with none, is his
 * work. At most one finding, the gravest: corrupt, empty, unreadable, differs, times.
 */
void judge_entry(const struct judge_case *c, struct judge_finding *out);

/* Whether somebody has changed what was published as `published`: its ctime is later, or it is another inode. */
bool judge_is_theirs(const struct attr *published, const struct attr *now);

/* Whether two times of an empty file look like the verifier of an exclusive create (RFC 8881 18.16.3), which servers
 * keep there: whole seconds, far from each other and from when it was made. */
bool judge_is_verifier(const struct attr *now);

#endif
