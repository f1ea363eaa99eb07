/*
 * history_looks: the part of haul status about looks and findings.
 */
#ifndef HAUL_COPIER_HISTORY_LOOKS_H
#define HAUL_COPIER_HISTORY_LOOKS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Prints the newest looks of the state at path, at most most of them, and, with findings, what the newest one and run
 * number run (0: none) have found: as text the first 20 of each, with json an object a line. 0, or -errno of reading
 * (or -EIO of writing).
 */
int history_looks(const char *path, size_t most, bool findings, int64_t run, bool json, FILE *out);

#endif
