/*
 * compare: whether what stands at the destination is what the source has. Pure functions.
 */
#ifndef HAUL_PLANNER_COMPARE_H
#define HAUL_PLANNER_COMPARE_H

#include <stdint.h>

#include "workers/store.h"

/* What the state remembers of a source entry. */
enum known {
    KNOWN_NOTHING, /* haul never published it, or the source was another file then: attributes decide */
    KNOWN_BARE,    /* as KNOWN_GOOD, but without the extended attributes that this run keeps */
    KNOWN_TOUCHED, /* published, and only ctime has moved since: attributes cannot tell whether its contents have
                      changed */
    KNOWN_GOOD,    /* published from this very source file, and it is durable or still in this boot's cache */
    KNOWN_SUSPECT, /* published, but racy (P7) or perhaps lost in a power cut (P4): publish it again */
};

enum compare {
    COMPARE_SAME,     /* nothing to do */
    COMPARE_ATTRS,    /* contents the same, owner, mode or times not */
    COMPARE_CONTENTS, /* attributes do not tell: contents have to be compared (not by compare_attrs) */
    COMPARE_DIFFERS,  /* publish it */
    COMPARE_TYPE,     /* another type stands there */
};

/* keep: STORE_KEEP_* that the run keeps. granularity_ns: of the destination's time stamps, 0: unknown (then a time that
 * was cut to 100 ns, 1 us, 1 ms, 1 s or 2 s counts as equal). Symbolic links: without their targets. */
enum compare compare_attrs(const struct attr *src, const struct attr *dst, unsigned keep, int64_t granularity_ns,
                           enum known known);

#endif
