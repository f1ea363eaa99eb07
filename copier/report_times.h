/*
 * report_times: where the time went, for --stats and the end event: operations, slowest directories, slowest
 * operations.
 */
#ifndef HAUL_COPIER_REPORT_TIMES_H
#define HAUL_COPIER_REPORT_TIMES_H

#include <jansson.h>

#include "base/dir.h"
#include "copier/report.h"

/* Prints the tables (report_say). times: of each side; NULL: not measured. */
void report_times_text(struct report *r, const struct watch_times *const times[DIR_SIDES]);

/* Adds "operations", "slow_directories" and "slow_operations" to event. */
void report_times_json(json_t *event, const struct watch_times *const times[DIR_SIDES]);

#endif
