/*
 * history: haul status: what runs there were, what runs now.
 */
#ifndef HAUL_COPIER_HISTORY_H
#define HAUL_COPIER_HISTORY_H

#include <stdio.h>

#include "copier/options.h"

/*
 * Prints the runs that are remembered: of all pairs of source and destination the last one, or of those with
 * o->destination the last 20; with o->state those of that file. With o->json an object a line. Errors go to errors.
 * Returns the exit status: STATUS_CANNOT where a state cannot be read, or nothing is known of the destination. Blocks;
 * changes nothing.
 */
int history_show(const struct options *o, FILE *out, FILE *errors);

#endif
