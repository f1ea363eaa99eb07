#include "planner/compare.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"

/* Whether cut is what is left of full on a file system that keeps only multiples of unit ns (at most 2 s). */
static bool is_cut(const struct timespec *full, const struct timespec *cut, int64_t unit)
{
    if (unit < NS_PER_SEC) {
        return cut->tv_sec == full->tv_sec && cut->tv_nsec == full->tv_nsec - full->tv_nsec % unit;
    }
    int64_t seconds = unit / NS_PER_SEC;
    int64_t rest = (int64_t)full->tv_sec % seconds;
    if (rest < 0) {
        rest += seconds; /* times before 1970 are cut downwards as well */
    }
    return cut->tv_nsec == 0 && (int64_t)cut->tv_sec == (int64_t)full->tv_sec - rest;
}

static bool times_equal(const struct timespec *src, const struct timespec *dst, int64_t granularity_ns)
{
    static const int64_t usual[] = {100, 1000, NS_PER_MS, NS_PER_SEC, 2 * NS_PER_SEC};

    if (clock_cmp(src, dst) == 0) {
        return true;
    }
    if (granularity_ns > 0) {
        return is_cut(src, dst, granularity_ns);
    }
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
        if (is_cut(src, dst, usual[i])) {
            return true;
        }
    }
    return false;
}

static bool owners_equal(const struct attr *src, const struct attr *dst, unsigned keep)
{
    return ((keep & STORE_KEEP_OWNER) == 0 || src->uid == dst->uid) &&
           ((keep & STORE_KEEP_GROUP) == 0 || src->gid == dst->gid);
}

enum compare compare_attrs(const struct attr *src, const struct attr *dst, unsigned keep, int64_t granularity_ns,
                           enum known known)
{
    if ((src->mode & S_IFMT) != (dst->mode & S_IFMT)) {
        return COMPARE_TYPE;
    }
    bool times = times_equal(&src->mtime, &dst->mtime, granularity_ns);
    if (S_ISREG(src->mode)) {
        if (src->size != dst->size || known == KNOWN_SUSPECT) {
            return COMPARE_DIFFERS;
        }
        /* Where times are not kept they tell nothing about what haul published itself. */
        if (!times && ((keep & STORE_KEEP_TIMES) != 0 || (known != KNOWN_GOOD && known != KNOWN_BARE))) {
            return COMPARE_DIFFERS;
        }
    } else if ((S_ISCHR(src->mode) || S_ISBLK(src->mode)) && src->rdev != dst->rdev) {
        return COMPARE_DIFFERS;
    }
    if (!owners_equal(src, dst, keep)) {
        return COMPARE_ATTRS;
    }
    /* The mode of a symbolic link means nothing and cannot be set. */
    if ((keep & STORE_KEEP_MODE) != 0 && !S_ISLNK(src->mode) && (src->mode & 07777) != (dst->mode & 07777)) {
        return COMPARE_ATTRS;
    }
    return times || (keep & STORE_KEEP_TIMES) == 0 ? COMPARE_SAME : COMPARE_ATTRS;
}
