/*
 * backoff: pauses that double (backoff.h).
 */
#include "workers/stores/backoff.h"

#include "base/clock.h"

uint64_t backoff_seed(const void *who)
{
    return ((uint64_t)clock_mono_ns() ^ ((uint64_t)(uintptr_t)who << 20)) | 1;
}

/* xorshift: enough for jitter. */
static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

int64_t backoff_ns(int64_t first, int64_t most, unsigned n, uint64_t *seed)
{
    int64_t delay = first;

    while (n-- > 0 && delay < most) {
        delay = delay > INT64_MAX / 4 ? INT64_MAX / 4 : delay * 2;
    }
    if (delay > most) {
        delay = most;
    }
    return delay / 2 + (int64_t)((double)delay * ((double)(next_random(seed) >> 11) * 0x1.0p-53));
}
