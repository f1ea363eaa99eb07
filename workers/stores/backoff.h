/*
 * backoff: pauses that double, with jitter, so that those who failed at the same moment do not all come back at the
 * same moment. Nothing here waits or fails; any thread.
 */
#ifndef HAUL_STORES_BACKOFF_H
#define HAUL_STORES_BACKOFF_H

#include <stdint.h>

/* The seed of who's pauses, another one for each; never 0. */
uint64_t backoff_seed(const void *who);

/* ns of pause number n (0-based): first x 2^n, at most most, x 0.5..1.5. *seed is moved on. */
int64_t backoff_ns(int64_t first, int64_t most, unsigned n, uint64_t *seed);

#endif
