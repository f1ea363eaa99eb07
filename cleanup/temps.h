/*
 * temps: purges temp names that dead runs left in a destination directory.
 */
#ifndef HAUL_CLEANUP_TEMPS_H
#define HAUL_CLEANUP_TEMPS_H

#include <stdbool.h>

#include "workers/store.h"

/*
 * Lists dir at the destination and removes each temp name whose run is_dead(arg, run_id) says is dead. Only
 * non-directories. Adds the number removed to *out_removed. 0, or the first -errno met (it goes on after an error with
 * one name). In the thread of port; waits.
 */
int temps_purge(struct port *port, struct dir *dir, bool (*is_dead)(void *arg, const char *run_id), void *arg,
                unsigned *out_removed);

#endif
