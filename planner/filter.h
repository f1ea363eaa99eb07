/*
 * filter: --exclude and --include, with rsync's meaning.
 *
 * Patterns are tried in the order in which they were added; the first that matches decides; no match: included.
 * A pattern with a leading '/' is anchored at the root of the tree; with a '/' elsewhere (not at the end), or a "**",
 * it is matched against the whole path from the root (from any directory on, where it is not anchored); else against
 * the last component. A trailing '/' matches directories only. '*' and '?' stop at '/', "**" does not; [class] as in
 * glob(7); a backslash quotes; a trailing "/" "***" matches the directory and everything in it.
 *
 * Any thread may match once all patterns were added.
 */
#ifndef HAUL_PLANNER_FILTER_H
#define HAUL_PLANNER_FILTER_H

#include <stdbool.h>

struct filter;

int filter_create(struct filter **out_filter); /* 0, -ENOMEM */
void filter_destroy(struct filter *f);         /* NULL is fine */

/* Adds a pattern (copied). 0, -ENOMEM, -EINVAL (empty pattern). */
int filter_add(struct filter *f, bool include, const char *pattern);

/* Number of patterns: 0 lets the caller skip making paths. */
unsigned filter_count(const struct filter *f);

/* Whether path (relative to the root, no leading '/') is excluded. f may be NULL: false. */
bool filter_excludes(const struct filter *f, const char *path, bool is_dir);

/* The matcher alone, for tests: whether text matches pattern ('*' stops at '/', "**" does not). */
bool filter_wildmatch(const char *pattern, const char *text);

#endif
