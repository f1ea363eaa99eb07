/*
 * sparse: where in the bytes that were read there are runs of zeros that can be left out (--sparse always). Any thread.
 */
#ifndef HAUL_COPIER_SPARSE_H
#define HAUL_COPIER_SPARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sparse_mode {
    SPARSE_AUTO,   /* holes of the source stay holes */
    SPARSE_ALWAYS, /* and runs of zeros become holes */
    SPARSE_NEVER,  /* everything is written */
};

#define SPARSE_BLOCK 4096U /* bytes; holes begin and end at multiples of it */

/*
 * The first run of the len bytes at data, which stand at offset in their file: returns its length, from 1 to len (0 for
 * len 0), and whether it is to be left out. What is left out begins and ends at multiples of SPARSE_BLOCK in the file
 * and holds nothing but zeros; everything else is to be written.
 */
size_t sparse_next_run(const char *data, size_t len, uint64_t offset, bool *out_zero);

/* Whether anything of it can be left out. */
bool sparse_has_run(const char *data, size_t len, uint64_t offset);

#endif
