/*
 * hash: XXH3 for contents, by the widest instructions that this processor has, where the library chooses among them
 * while it runs: a plain call takes what every processor has. The values are the same.
 */
#ifndef HAUL_COPIER_HASH_H
#define HAUL_COPIER_HASH_H

#ifdef HAUL_XXH_DISPATCH
#include <xxh_x86dispatch.h> /* replaces the functions of xxhash.h */
#else
#include <xxhash.h>
#endif

#endif
