/*
 * quarantine: a folder of this machine for what is moved away from a destination, under its own path, with a note of
 * what it was (a line of JSON in QUARANTINE_NOTES). Nothing in it is ever overwritten: where the name is taken it is
 * "name.~1~" and so on. What is kept is readable for its owner alone and bears the time of its moving: what it was like
 * stands in its note.
 *
 * Any thread; plain system calls, which block.
 */
#ifndef HAUL_COPIER_QUARANTINE_H
#define HAUL_COPIER_QUARANTINE_H

#include "cleanup/finding.h"

#define QUARANTINE_NOTES "haul-quarantine.jsonl"

struct quarantine;
struct kept; /* one file on its way into it; one thread at a time */

/* Opens the folder, which is made where only its last component is missing (0700), and its notes. run_id: of the run,
 * outlives it. 0 or -errno. */
int quarantine_open(const char *path, const char *run_id, struct quarantine **out_quarantine);
void quarantine_close(struct quarantine *q); /* NULL is fine */

/* Whether dir, of a store on this machine, is that folder. */
bool quarantine_is(const struct quarantine *q, const struct attr *dir);

/* An empty file for path (relative, no ".." in it); the folders on the way are made. 0 or -errno. */
int quarantine_begin(struct quarantine *q, const char *path, struct kept **out_kept);
/* Appends. 0 or -errno. */
int quarantine_write(struct kept *k, const void *data, size_t len);
/* It is whole: makes it durable, then writes its note, durably too. 0 or -errno. */
int quarantine_keep(struct kept *k, const struct finding *f);
/* Its path in the folder. As long as k is. */
const char *quarantine_name(const struct kept *k);
/* It stays. NULL is fine. Ends k. */
void quarantine_end(struct kept *k);
/* It is not wanted after all: removed, and noted so where it was noted. NULL is fine. Ends k. */
void quarantine_drop(struct kept *k);

#endif
