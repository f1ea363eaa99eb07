/*
 * notice: what is said once, with a count (an owner that a server refuses, a setuid bit that had to go).
 *
 * Library code never prints: it raises a notice, the program prints it. A notice is known by its text, which must be a
 * string of the program (static): two raises of the same text are one notice with count 2.
 */
#ifndef HAUL_BASE_NOTICE_H
#define HAUL_BASE_NOTICE_H

#include <stddef.h>
#include <stdint.h>

#define NOTICES_MAX   64 /* entries; what does not fit is counted together in the last one, NOTICE_OTHERS */
#define NOTICE_OTHERS "further notices that are not listed one by one"

struct notices;

/* 0, or -ENOMEM. */
int notices_create(struct notices **out_notices);
void notices_destroy(struct notices *n); /* NULL is fine */

/* Counts text once more. n may be NULL (nothing happens). Any thread; takes a short lock. */
void notice_raise(struct notices *n, const char *text);

/* The notice with index i in order of their first raise: 0, or -ENOENT. Any thread. */
int notice_at(struct notices *n, size_t i, const char **out_text, uint64_t *out_count);

#endif
