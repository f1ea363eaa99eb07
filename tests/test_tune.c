/*
 * test_tune: the tuner against simulated destinations.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>

#include "workers/tune.h"

#define INTERVAL 0.25 /* seconds */

/* A destination: each operation takes latency while fewer than cap x latency are in flight, then they queue. */
struct sim {
    double latency;  /* seconds of one operation */
    double cap;      /* operations a second at most */
    double noise;    /* share by which an interval may be off */
    double worse;    /* share of the rate that each operation above the knee costs */
    double busy;     /* share of the processors at cap */
    uint32_t random; /* state */
};

static double sim_noise(struct sim *s)
{
    s->random = s->random * 1664525U + 1013904223U;
    return 1 + s->noise * (2.0 * (s->random >> 8) / (1U << 24) - 1);
}

static struct tune_sample sim_interval(struct sim *s, unsigned limit)
{
    double knee = s->cap * s->latency;
    double rate = limit < knee ? limit / s->latency : s->cap;
    if (limit > knee) {
        rate *= 1 / (1 + s->worse * (limit - knee) / knee);
    }
    return (struct tune_sample){
        .seconds = INTERVAL, .work = rate * INTERVAL * sim_noise(s), .busy = s->busy * rate / s->cap};
}

/* Runs n intervals. out_mean: the mean limit over the last quarter; out_max: the largest limit ever. */
static void sim_run(struct sim *s, struct tune *t, unsigned n, double *out_mean, unsigned *out_max)
{
    double sum = 0;
    unsigned counted = 0;
    *out_max = t->limit;
    for (unsigned i = 0; i < n; i++) {
        struct tune_sample sample = sim_interval(s, t->limit);
        unsigned limit = tune_step(t, &sample);
        cr_assert_eq(limit, t->limit);
        cr_assert(limit >= t->min && limit <= t->max);
        *out_max = limit > *out_max ? limit : *out_max;
        if (i >= n * 3 / 4) {
            sum += limit;
            counted++;
        }
    }
    *out_mean = sum / counted;
}

/* A server with a knee: the limit ends near it, neither far below nor at the maximum. */
Test(tune, finds_the_knee, .timeout = 10)
{
    static const double latencies[] = {0.0005, 0.002, 0.01, 0.05, 0.2};
    static const double knees[] = {4, 8, 30, 64, 150};
    for (unsigned l = 0; l < 5; l++) {
        for (unsigned k = 0; k < 5; k++) {
            struct sim s = {.latency = latencies[l], .cap = knees[k] / latencies[l]};
            struct tune t;
            tune_init(&t, 2, 2, 512, false);
            double mean = 0;
            unsigned max = 0;
            sim_run(&s, &t, 400, &mean, &max);
            cr_assert(mean > 0.8 * knees[k] && mean < 1.5 * knees[k] + 1, "latency %g knee %g: mean %g", s.latency,
                      knees[k], mean);
            cr_assert(max < 4 * knees[k] + 8, "latency %g knee %g: went up to %u", s.latency, knees[k], max);
        }
    }
}

/* It must be quick: a copy of half a minute has to have the good of it. */
Test(tune, gets_there_soon, .timeout = 10)
{
    struct sim s = {.latency = 0.01, .cap = 6400};
    struct tune t;
    tune_init(&t, 2, 2, 512, false);
    unsigned intervals = 0;
    while (t.base < 51 && intervals < 1000) {
        struct tune_sample sample = sim_interval(&s, t.limit);
        tune_step(&t, &sample);
        intervals++;
    }
    cr_assert(intervals * INTERVAL <= 5, "%g s", intervals * INTERVAL);
}

Test(tune, too_high_a_start_comes_down, .timeout = 10)
{
    struct sim s = {.latency = 0.01, .cap = 1600};
    struct tune t;
    tune_init(&t, 256, 2, 512, false);
    double mean = 0;
    unsigned max = 0;
    sim_run(&s, &t, 400, &mean, &max);
    cr_assert(mean >= 13 && mean <= 26, "%g", mean);
}

/* Where the processors do the work, nothing is ever tried above. */
Test(tune, busy_processors_never_grow, .timeout = 10)
{
    struct sim s = {.latency = 0.00001, .cap = 200000, .noise = 0.3, .busy = 0.9};
    struct tune t;
    tune_init(&t, 2, 2, 512, false);
    double mean = 0;
    unsigned max = 0;
    sim_run(&s, &t, 1000, &mean, &max);
    cr_assert_eq(max, 2);
}

/* A local disk behind half-idle processors: a try that gains nothing is given up, and tries become rare. */
Test(tune, flat_from_the_start, .timeout = 10)
{
    struct sim s = {.latency = 0.00001, .cap = 20000, .noise = 0.1, .worse = 0.05, .busy = 0.4};
    struct tune t;
    tune_init(&t, 2, 2, 512, false);
    unsigned away = 0;
    for (unsigned i = 0; i < 1000; i++) {
        struct tune_sample sample = sim_interval(&s, t.limit);
        away += tune_step(&t, &sample) > 2;
    }
    cr_assert(away < 150, "%u of 1000 intervals away from 2", away);
}

/*
 * A local file system whose write-back makes the rate jump about, and where plain system calls (2 in flight) are all
 * that it needs: it may be left by chance, but not for long.
 */
Test(tune, stays_with_plain_calls, .timeout = 20)
{
    unsigned away = 0;
    for (uint32_t seed = 0; seed < 40; seed++) {
        struct sim s = {.latency = 0.0001, .cap = 20000, .noise = 0.3, .worse = 0.01, .random = seed * 7919};
        struct tune t;
        tune_init(&t, 2, 2, 256, false);
        for (unsigned i = 0; i < 120; i++) {
            struct tune_sample sample = sim_interval(&s, t.limit);
            sample.busy = t.limit > 2 ? 0.9 : 0.6;
            away += tune_step(&t, &sample) > 2;
        }
    }
    cr_assert(away < 40 * 120 / 5, "%u of 4800 intervals away from 2", away);
}

Test(tune, capacity_drops_and_returns, .timeout = 10)
{
    struct sim s = {.latency = 0.01, .cap = 10000, .noise = 0.03};
    struct tune t;
    tune_init(&t, 2, 2, 512, false);
    double mean = 0;
    unsigned max = 0;
    sim_run(&s, &t, 200, &mean, &max);
    cr_assert(mean > 75 && mean < 170, "%g", mean);
    s.cap = 1000;
    sim_run(&s, &t, 160, &mean, &max);
    cr_assert(mean < 20, "%g after the drop", mean);
    s.cap = 10000;
    sim_run(&s, &t, 160, &mean, &max);
    cr_assert(mean > 70, "%g after the return", mean);
}

/* Latency that grows by itself, without any queue at the server: more in flight is the answer. */
Test(tune, latency_grows, .timeout = 10)
{
    struct sim s = {.latency = 0.002, .cap = 8000, .noise = 0.03};
    struct tune t;
    tune_init(&t, 2, 2, 512, false);
    double mean = 0;
    unsigned max = 0;
    sim_run(&s, &t, 200, &mean, &max);
    cr_assert(mean < 26, "%g", mean);
    s.latency = 0.02;
    sim_run(&s, &t, 300, &mean, &max);
    cr_assert(mean > 110, "%g", mean);
}

Test(tune, noise, .timeout = 20)
{
    double rate = 0;
    double limits = 0;
    const unsigned runs = 40;
    for (uint32_t seed = 0; seed < runs; seed++) {
        struct sim s = {.latency = 0.01, .cap = 4000, .noise = 0.1, .worse = 0.02, .random = seed * 7919};
        struct tune t;
        tune_init(&t, 2, 2, 512, false);
        double mean = 0;
        unsigned max = 0;
        sim_run(&s, &t, 600, &mean, &max);
        cr_assert(mean > 24 && mean < 100, "seed %u: %g", seed, mean);
        rate += (mean < 40 ? mean / 40 : 1) / runs;
        limits += mean / runs;
    }
    cr_log_info("mean limit %g (knee 40), mean share of the best rate %g", limits, rate);
    cr_assert(rate > 0.9, "%g of the best rate", rate);
    cr_assert(limits < 65, "%g in flight where 40 do", limits);
}

Test(tune, pinned_never_changes, .timeout = 10)
{
    struct sim s = {.latency = 0.01, .cap = 10000, .noise = 0.2};
    struct tune t;
    tune_init(&t, 7, 2, 512, true);
    double mean = 0;
    unsigned max = 0;
    sim_run(&s, &t, 200, &mean, &max);
    cr_assert_eq(max, 7);
    cr_assert(mean == 7);
}

/* Without enough work, throughput says nothing: a walk that is slow for minutes changes nothing. */
Test(tune, starved_intervals_do_not_count, .timeout = 10)
{
    struct sim s = {.latency = 0.01, .cap = 3000};
    struct tune t;
    tune_init(&t, 2, 2, 512, false);
    double mean = 0;
    unsigned max = 0;
    sim_run(&s, &t, 200, &mean, &max);
    unsigned base = t.base;
    for (unsigned i = 0; i < 500; i++) {
        struct tune_sample sample = {.seconds = INTERVAL, .work = i % 3, .starved = true};
        tune_step(&t, &sample);
    }
    cr_assert_eq(t.base, base);
    struct tune_sample empty = {.seconds = 0};
    cr_assert_eq(tune_step(&t, &empty), t.limit);
}

/* Nothing finished for a while (huge files, a hanging server) must not end in nonsense. */
Test(tune, silence, .timeout = 10)
{
    struct tune t;
    tune_init(&t, 4, 2, 64, false);
    for (unsigned i = 0; i < 300; i++) {
        struct tune_sample sample = {.seconds = INTERVAL, .work = 0};
        unsigned limit = tune_step(&t, &sample);
        cr_assert(limit >= 2 && limit <= 64);
    }
    struct sim s = {.latency = 0.01, .cap = 2000};
    double mean = 0;
    unsigned max = 0;
    sim_run(&s, &t, 300, &mean, &max);
    cr_assert(mean > 16 && mean < 31, "%g", mean);
}

Test(tune, narrow_bounds, .timeout = 10)
{
    struct sim s = {.latency = 0.01, .cap = 10000, .noise = 0.1};
    struct tune t;
    double mean = 0;
    unsigned max = 0;
    tune_init(&t, 3, 3, 3, false);
    sim_run(&s, &t, 100, &mean, &max);
    cr_assert(mean == 3);
    tune_init(&t, 1, 1, 2, false);
    sim_run(&s, &t, 100, &mean, &max);
    cr_assert_eq(t.base, 2);
}
