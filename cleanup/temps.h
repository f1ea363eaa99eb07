/*
 * temps: purges temp names that dead runs left in a destination directory.
 */
#ifndef HAUL_CLEANUP_TEMPS_H
#define HAUL_CLEANUP_TEMPS_H

#include <stdbool.h>

#include "workers/store.h"

/* What whoever calls temps_purge raises where that failed. */
#define TEMPS_NOTICE "a directory could not be searched for stale temp names"

/* Which temp names may go. */
struct temps_rules {
    bool (*is_dead)(void *arg, const char *run_id);                   /* that run does not live any more */
    bool (*keep)(void *arg, const struct dir *dir, const char *name); /* although its run is dead; NULL: none */
    void *arg;                                                        /* for both */
};

/* Removes that temp name, if it is no directory. Adds 1 to *out_removed where it was there. 0, also where it was not,
 * or -errno. In the thread of port; waits. */
int temps_remove(struct port *port, struct dir *dir, const char *name, unsigned *out_removed);

/*
 * Lists dir at the destination and removes each temp name that the rules let go. Only non-directories. Adds the number
 * removed to *out_removed. 0, or the first -errno met (it goes on after an error with one name). In the thread of port;
 * waits.
 */
int temps_purge(struct port *port, struct dir *dir, const struct temps_rules *rules, unsigned *out_removed);

#endif
