/*
 * finishdirs: directories that are finished side by side, in fibers of the workers.
 */
#ifndef HAUL_COPIER_FINISHDIRS_H
#define HAUL_COPIER_FINISHDIRS_H

#include "copier/engine_internal.h"

/* plan_options.beside; arg: the engine. While the pool cannot end: before the queue is closed, in an item or an offer
 * of the pool, or while that is held. Any thread, does not block. False: no memory. */
bool finishdirs_begin(void *arg, struct dir *dir);

#endif
