/*
 * summary: a directory's entries as they are remembered, in one piece of bytes: 16 of them an entry, whatever its name.
 * Whoever keeps it can change it as the entries' rows change, without them. Pure functions, of any thread.
 */
#ifndef HAUL_PLANNER_SUMMARY_H
#define HAUL_PLANNER_SUMMARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workers/store.h"

#define SUMMARY_SURE  2U /* in digest: equal attributes prove that the destination is right */
#define SUMMARY_FLAGS 3U /* of digest's bits, those that are none of the attributes' */

/* An entry. */
struct summary_slot {
    uint64_t name;   /* hash, never 0 */
    uint64_t digest; /* of its attributes at the source, and SUMMARY_SURE; 0: it proves nothing */
};

/* The hash of a name. seed: of the state (struct plan_options). */
uint64_t summary_name(uint64_t seed, const char *name, size_t name_len);

/* What proves that an entry is the same: all but the device, whose number changes with a mount. Without flags. */
uint64_t summary_digest(uint64_t seed, const struct attr *src);

/* What has become of an entry's row. */
enum summary_fate {
    SUMMARY_KEPT,    /* it is there, and may be new */
    SUMMARY_DOUBTED, /* it proves nothing any more, if it is there at all */
    SUMMARY_GONE,    /* it is not there any more */
};

struct summary_change {
    const char *name;       /* of the entry; no NUL needed; not owned */
    size_t name_len;        /* bytes */
    enum summary_fate fate; /* of its row */
    const struct attr *src; /* KEPT: what the source has, if equal attributes prove something; else NULL; not owned */
};

/*
 * Brings the summary in bytes (*len of them, room for so many) up to date with change. False, and nothing is changed:
 * it has no room for another entry, or is no summary. *len may become 0: nothing is remembered any more.
 */
bool summary_mend(char *bytes, size_t *len, size_t room, uint64_t seed, const struct summary_change *change);

#endif
