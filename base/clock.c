/*
 * clock: the clocks (clock.h).
 */
#include "base/clock.h"

#include <stdint.h>
#include <time.h>

static int64_t now(clockid_t id)
{
    struct timespec ts = {0};
    (void)clock_gettime(id, &ts); /* cannot fail: these clocks always exist and ts is ours */
    return clock_ns_of(&ts);
}

int64_t clock_mono_ns(void)
{
    return now(CLOCK_MONOTONIC);
}

int64_t clock_boot_ns(void)
{
    return now(CLOCK_BOOTTIME);
}

int64_t clock_real_ns(void)
{
    return now(CLOCK_REALTIME);
}

int64_t clock_ns_of(const struct timespec *ts)
{
    int64_t ns = 0;
    if (__builtin_mul_overflow((int64_t)ts->tv_sec, (int64_t)NS_PER_SEC, &ns) ||
        __builtin_add_overflow(ns, (int64_t)ts->tv_nsec, &ns)) {
        return ts->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    }
    return ns;
}

struct timespec clock_timespec_of(int64_t ns)
{
    struct timespec ts = {.tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC};
    if (ts.tv_nsec < 0) {
        ts.tv_sec--;
        ts.tv_nsec += NS_PER_SEC;
    }
    return ts;
}

int clock_cmp(const struct timespec *a, const struct timespec *b)
{
    if (a->tv_sec != b->tv_sec) {
        return a->tv_sec < b->tv_sec ? -1 : 1;
    }
    return (a->tv_nsec > b->tv_nsec) - (a->tv_nsec < b->tv_nsec);
}
