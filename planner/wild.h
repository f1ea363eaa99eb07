/*
 * wild: wildcard matching of one pattern against one path, with rsync's meaning. Pure functions.
 *
 * '?' and [class] match any byte but '/', '*' any run without '/', two or more '*' any run; a backslash quotes the next
 * byte. Takes time proportional to pattern x text at most, whatever the pattern.
 */
#ifndef HAUL_PLANNER_WILD_H
#define HAUL_PLANNER_WILD_H

#include <stdbool.h>
#include <stddef.h>

/* The text that is matched: bytes, with a '/' before or behind them where the pattern's kind asks for it. */
struct wild_text {
    const char *bytes; /* not owned */
    size_t len;        /* bytes */
    bool slash_before; /* a '/' stands before them */
    bool slash_after;  /* a '/' stands behind them */
};

/* Whether the whole pattern (pattern_len bytes) matches the whole text. */
bool wild_match(const char *pattern, size_t pattern_len, const struct wild_text *text);

#endif
