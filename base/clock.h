/*
 * clock: the clocks that haul reads.
 *
 * Any thread may call these; they never block and never fail.
 */
#ifndef HAUL_BASE_CLOCK_H
#define HAUL_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_SEC 1000000000LL
#define NS_PER_MS  1000000LL

/* Monotonic time in ns (CLOCK_MONOTONIC): for durations, time-outs and back-off. */
int64_t clock_mono_ns(void);

/* The same, but running on while the machine is suspended (CLOCK_BOOTTIME): for what must not outlive a time in the
 * eyes of other machines. */
int64_t clock_boot_ns(void);

/* Wall-clock time in ns since the epoch (CLOCK_REALTIME): for what is recorded and for comparing with file times. */
int64_t clock_real_ns(void);

/* ts in ns since the epoch; a time outside of what 64 bits can hold becomes the nearest one that they can. */
int64_t clock_ns_of(const struct timespec *ts);

/* And back; tv_nsec is never negative. */
struct timespec clock_timespec_of(int64_t ns);

/* <0, 0, >0 as a is before, equal to, after b. */
int clock_cmp(const struct timespec *a, const struct timespec *b);

#endif
