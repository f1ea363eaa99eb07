#include "cleanup/judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define DAY_S     86400LL
#define FUTURE_NS (DAY_S * NS_PER_SEC) /* clocks of two machines do not differ by more */
#define FAR_S     (180 * DAY_S)        /* between the two halves of a verifier, and from the time of the create */
#define SLACK_NS  (2 * NS_PER_SEC)     /* between what the store reported as published and its rename */

static bool is_shut(const struct attr *a)
{
    return (a->mode & 07777) == 0;
}

bool judge_is_theirs(const struct attr *published, const struct attr *now)
{
    return now->ino != published->ino || clock_ns_of(&now->ctime) > clock_ns_of(&published->ctime) + SLACK_NS;
}

static int64_t apart(int64_t a, int64_t b)
{
    return a > b ? a - b : b - a;
}

bool judge_is_verifier(const struct attr *now)
{
    return now->size == 0 && now->mtime.tv_nsec == 0 && now->atime.tv_nsec == 0 &&
           apart(now->mtime.tv_sec, now->atime.tv_sec) > FAR_S && apart(now->mtime.tv_sec, now->ctime.tv_sec) > FAR_S;
}

static bool is_future(const struct judge_case *c, const struct timespec *t)
{
    return clock_ns_of(t) > c->now_ns + FUTURE_NS;
}

/* A time that nobody would set. */
static bool is_absurd(const struct judge_case *c, const struct attr *a)
{
    return is_future(c, &a->mtime) || a->mtime.tv_sec < 0 || judge_is_verifier(a);
}

static bool same_mtime(const struct attr *a, const struct attr *b)
{
    return clock_cmp(&a->mtime, &b->mtime) == 0;
}

/* Somebody has written to it since it was published: writing moves mtime on, to a time that clocks show. */
static bool is_written(const struct judge_case *c)
{
    return c->published != NULL && judge_is_theirs(c->published, c->now) && !is_absurd(c, c->now) &&
           clock_cmp(&c->now->mtime, &c->published->mtime) > 0;
}

__attribute__((format(printf, 4, 5))) static void find(struct judge_finding *out, enum finding_kind kind,
                                                       enum finding_sure sure, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    out->kind = kind;
    out->sure = sure;
    (void)vsnprintf(out->evidence, sizeof(out->evidence), format, args);
    va_end(args);
}

static unsigned long long size_of(const struct attr *a)
{
    return a->size;
}

/* ---- mode 000 and no bytes ---- */

static void judge_corrupt(const struct judge_case *c, struct judge_finding *out)
{
    const struct attr *src = c->src;
    const struct attr *was = c->published;
    const char *times = is_absurd(c, c->now) ? ", nonsense times" : "";

    if (src != NULL) {
        if (!S_ISREG(src->mode) || src->size > 0 || !is_shut(src)) {
            find(out, FINDING_CORRUPT, SURE_CERTAIN, "mode 000 and 0 bytes%s; the source has mode %04o and %llu bytes",
                 times, src->mode & 07777U, size_of(src));
        }
        return;
    }
    if (was != NULL) {
        if (!S_ISREG(was->mode) || was->size > 0 || !is_shut(was)) {
            find(out, FINDING_CORRUPT, c->sure ? SURE_CERTAIN : SURE_LIKELY,
                 "mode 000 and 0 bytes%s; published with mode %04o and %llu bytes", times, was->mode & 07777U,
                 size_of(was));
        }
        return;
    }
    bool owner = c->dir != NULL && c->now->uid != c->dir->uid;
    if (c->asked) {
        find(out, FINDING_CORRUPT, SURE_LIKELY, "mode 000 and 0 bytes%s; the source has no such file", times);
    } else {
        find(out, FINDING_CORRUPT, *times != '\0' || owner ? SURE_LIKELY : SURE_SUSPECTED, "mode 000 and 0 bytes%s%s",
             times, owner ? ", another owner than its directory" : "");
    }
}

/* ---- no bytes ---- */

/* Against what it should hold. */
static void empty_instead(const struct judge_case *c, const struct attr *full, const char *who, bool sure,
                          struct judge_finding *out)
{
    if (same_mtime(c->now, full)) {
        find(out, FINDING_EMPTY, sure ? SURE_CERTAIN : SURE_LIKELY,
             "0 bytes; %s %llu, and its mtime is still that of these", who, size_of(full));
    } else if (is_absurd(c, c->now)) {
        find(out, FINDING_EMPTY, sure ? SURE_CERTAIN : SURE_LIKELY, "0 bytes, nonsense times; %s %llu", who,
             size_of(full));
    } else {
        find(out, FINDING_EMPTY, SURE_SUSPECTED, "0 bytes, mtime is another; %s %llu", who, size_of(full));
    }
}

static void judge_empty(const struct judge_case *c, struct judge_finding *out)
{
    if (c->src != NULL && S_ISREG(c->src->mode) && c->src->size == 0) {
        return;
    }
    if (c->published != NULL) {
        if (c->published->size > 0 && S_ISREG(c->published->mode)) {
            empty_instead(c, c->published, "published with", c->sure, out);
        }
    } else if (c->src != NULL && S_ISREG(c->src->mode)) {
        empty_instead(c, c->src, "the source has", true, out);
    }
}

/* ---- mode 000 with contents ---- */

static void judge_shut(const struct judge_case *c, struct judge_finding *out)
{
    const struct attr *should = c->src != NULL ? c->src : c->published;
    if (should == NULL) {
        find(out, FINDING_UNREADABLE, SURE_SUSPECTED, "mode 000, with contents");
    } else if (!is_shut(should)) {
        find(out, FINDING_UNREADABLE, c->src != NULL || c->sure ? SURE_CERTAIN : SURE_LIKELY, "mode 000; %s %04o",
             c->src != NULL ? "the source has" : "published with", should->mode & 07777U);
    }
}

/* ---- others than they should be ---- */

static bool same_rights(const struct attr *a, const struct attr *b)
{
    return (a->mode & 07777) == (b->mode & 07777) && a->uid == b->uid && a->gid == b->gid;
}

static void differs_in_rights(const struct judge_case *c, const struct attr *should, const char *who,
                              struct judge_finding *out)
{
    const struct attr *now = c->now;
    if ((now->mode & 07777) != (should->mode & 07777)) {
        find(out, FINDING_DIFFERS, SURE_LIKELY, "mode %04o; %s %04o", now->mode & 07777U, who, should->mode & 07777U);
    } else {
        find(out, FINDING_DIFFERS, SURE_LIKELY, "owner %u:%u; %s %u:%u", (unsigned)now->uid, (unsigned)now->gid, who,
             (unsigned)should->uid, (unsigned)should->gid);
    }
}

static void judge_differs(const struct judge_case *c, struct judge_finding *out)
{
    const struct attr *now = c->now;
    const struct attr *src = c->src;
    const struct attr *should = c->published != NULL && c->sure ? c->published : src;
    const char *who = should == src ? "the source has" : "published with";

    if (should == NULL || (should->mode & S_IFMT) != (now->mode & S_IFMT)) {
        return; /* somebody has put something else there: that is no damage */
    }
    if (S_ISREG(now->mode) && now->size != should->size && same_mtime(now, should) &&
        !(src != NULL && src->size == now->size)) {
        find(out, FINDING_DIFFERS, SURE_CERTAIN, "%llu bytes; %s %llu, with the same mtime", size_of(now), who,
             size_of(should));
        return;
    }
    /* Of an entry that is another one by now its rights say nothing. */
    if (S_ISLNK(now->mode) || !same_mtime(now, should) || same_rights(now, should) ||
        (src != NULL && same_rights(now, src))) {
        return;
    }
    differs_in_rights(c, should, who, out);
}

/* ---- times ---- */

static void judge_times(const struct judge_case *c, struct judge_finding *out)
{
    const struct attr *now = c->now;
    bool known = c->src != NULL || (c->published != NULL && c->sure);
    if (!S_ISREG(now->mode) || !is_absurd(c, now) || (c->src != NULL && same_mtime(now, c->src)) ||
        (c->published != NULL && same_mtime(now, c->published))) {
        return;
    }
    bool verifier = judge_is_verifier(now);
    find(out, FINDING_TIMES,
         known      ? SURE_CERTAIN
         : verifier ? SURE_LIKELY
                    : SURE_SUSPECTED,
         "%s%s",
         verifier                    ? "times that look like the verifier of a create"
         : is_future(c, &now->mtime) ? "its mtime is in the future"
                                     : "its mtime is before 1970",
         c->src != NULL ? "; the source has another"
         : known        ? "; published with another"
                        : "");
}

void judge_entry(const struct judge_case *c, struct judge_finding *out)
{
    const struct attr *now = c->now;
    *out = (struct judge_finding){.kind = FINDING_NONE};
    out->theirs = c->published != NULL && judge_is_theirs(c->published, now);
    if (S_ISREG(now->mode) && is_shut(now) && now->size == 0) {
        judge_corrupt(c, out); /* nobody's work looks so */
        return;
    }
    if (is_written(c)) {
        return;
    }
    if (S_ISREG(now->mode) && now->size == 0) {
        judge_empty(c, out);
    } else if (S_ISREG(now->mode) && is_shut(now)) {
        judge_shut(c, out);
    }
    if (out->kind == FINDING_NONE) {
        judge_differs(c, out);
    }
    if (out->kind == FINDING_NONE) {
        judge_times(c, out);
    }
}
