/*
 * tune: how many operations to keep in flight. A pure function of what was measured, so that it is tested without
 * threads or clocks.
 *
 * The number grows while throughput grows with it, and goes back when only latency does. Where the workers' processor
 * time is the limit (local file systems with warm caches), more in flight cannot help, and it is not tried.
 *
 * How: it stays at a limit and learns the rate there; then tries another one, first twice as much, later a quarter more
 * or less by turns, and keeps it if the rate says so. A try that failed makes the next one wait, longer each time. A
 * rate that changes by itself means another world: it begins anew.
 *
 * Where it starts at the least (one for each worker: a local file system), that is left only for a clear gain, and gone
 * back to even at a small loss: above it each operation costs half as much processor time again.
 */
#ifndef HAUL_WORKERS_TUNE_H
#define HAUL_WORKERS_TUNE_H

#include <stdbool.h>
#include <stdint.h>

enum tune_phase {
    TUNE_STAY, /* at base */
    TUNE_UP,   /* more than base is tried */
    TUNE_DOWN, /* less than base is tried */
};

struct tune {
    unsigned limit;        /* in flight now, whole pool */
    unsigned min;          /* never below */
    unsigned max;          /* never above */
    bool pinned;           /* --jobs: never changes */
    bool local;            /* it started at min: min is dear to it */
    enum tune_phase phase; /* what limit is */
    unsigned base;         /* the limit that a try is compared with, and goes back to */
    double base_rate;      /* work units/s at base (recent intervals count more); 0: not known yet */
    unsigned base_known;   /* intervals in base_rate */
    double work;           /* work units of the present try */
    double seconds;        /* of the present try */
    unsigned intervals;    /* in work and seconds */
    unsigned settle;       /* intervals to leave out, until what was in flight before is done */
    unsigned hold;         /* intervals to stay before the next try */
    unsigned hold_next;    /* hold after the next try that fails */
    unsigned off;          /* intervals in a row at base with quite another rate */
    bool fast;             /* tries double or halve */
    bool down_next;        /* the next try is a smaller limit */
};

/* What one interval measured. */
struct tune_sample {
    double seconds; /* length of the interval */
    double work;    /* work units done in it (cost of the finished items) */
    double busy;    /* processor time as a share of what the workers could use at most, 0..1 */
    bool starved;   /* the queue was empty for a good part: throughput says nothing about the limit */
};

/* start, min, max: operations in flight, whole pool; min <= start <= max. pinned: limit stays start. */
void tune_init(struct tune *t, unsigned start, unsigned min, unsigned max, bool pinned);

/* Takes one interval into account and returns the new limit. */
unsigned tune_step(struct tune *t, const struct tune_sample *sample);

#endif
