/*
 * test_fiber: flows of control in one thread.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "workers/fiber.h"

struct probe {
    struct fiber *self; /* the fiber that ran it */
    int steps;          /* how far it came */
    int parks;          /* how often it parks */
};

static void probe_run(void *arg)
{
    struct probe *p = arg;
    p->self = fiber_self();
    for (int i = 0; i < p->parks; i++) {
        p->steps++;
        fiber_park();
        cr_assert(fiber_self() == p->self);
    }
    p->steps++;
}

static struct fibers *set_make(void)
{
    struct fibers *set = NULL;
    cr_assert_eq(fibers_create(&set), 0);
    return set;
}

Test(fiber, runs_at_once_and_returns, .timeout = 10)
{
    struct fibers *set = set_make();
    struct probe p = {0};
    cr_assert_null(fiber_self());
    cr_assert_eq(fiber_start(set, probe_run, &p), 0);
    cr_assert_eq(p.steps, 1);
    cr_assert_not_null(p.self);
    cr_assert_null(fiber_self());
    cr_assert_eq(fibers_alive(set), 0);
    fibers_destroy(set);
}

Test(fiber, parks_and_goes_on_in_any_order, .timeout = 20)
{
    enum { COUNT = 500, PARKS = 7 };
    static struct probe p[COUNT];
    struct fibers *set = set_make();
    for (int i = 0; i < COUNT; i++) {
        p[i].parks = PARKS;
        cr_assert_eq(fiber_start(set, probe_run, &p[i]), 0);
        cr_assert_eq(p[i].steps, 1);
    }
    cr_assert_eq(fibers_alive(set), COUNT);
    for (int step = 0; step < PARKS; step++) {
        for (int i = 0; i < COUNT; i++) {
            int k = (i * 7 + step) % COUNT;
            fiber_resume(p[k].self);
            cr_assert_eq(p[k].steps, step + 2);
            cr_assert_null(fiber_self());
        }
    }
    cr_assert_eq(fibers_alive(set), 0);
    fibers_destroy(set);
}

Test(fiber, stacks_are_used_again, .timeout = 20)
{
    struct fibers *set = set_make();
    struct probe first = {.parks = 1};
    fiber_start(set, probe_run, &first);
    fiber_resume(first.self);
    for (int i = 0; i < 1000; i++) {
        struct probe p = {.parks = i % 2};
        fiber_start(set, probe_run, &p);
        cr_assert(p.self == first.self, "run %d was given another stack", i);
        if (p.parks) {
            fiber_resume(p.self);
        }
        cr_assert_eq(p.steps, p.parks + 1);
    }
    fibers_destroy(set);
}

static unsigned char deep(unsigned char *expected, int depth)
{
    unsigned char frame[512];
    memset(frame, depth, sizeof(frame));
    fiber_park();
    unsigned char sum = depth > 0 ? deep(expected, depth - 1) : 0;
    for (size_t i = 0; i < sizeof(frame); i++) {
        cr_assert_eq(frame[i], (unsigned char)depth);
    }
    return (unsigned char)(sum + frame[depth]);
}

static void deep_run(void *arg)
{
    unsigned char *out = arg;
    *out = deep(out, 20);
}

Test(fiber, frames_survive_other_fibers, .timeout = 20)
{
    enum { COUNT = 50 };
    unsigned char sums[COUNT] = {0};
    struct fiber *fibers[COUNT] = {0};
    struct fibers *set = set_make();
    for (int i = 0; i < COUNT; i++) {
        struct probe p = {.parks = 1}; /* learns the handle of the stack that is next */
        fiber_start(set, probe_run, &p);
        fiber_resume(p.self);
        fibers[i] = p.self;
        fiber_start(set, deep_run, &sums[i]);
    }
    for (int step = 0; step < 21; step++) {
        for (int i = 0; i < COUNT; i++) {
            fiber_resume(fibers[i]);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        cr_assert_eq(sums[i], 20 * 21 / 2);
    }
    cr_assert_eq(fibers_alive(set), 0);
    fibers_destroy(set);
}

static void float_run(void *arg)
{
    double *x = arg;
    double local = *x * 1.5;
    fiber_park();
    *x = local + 1.0;
}

Test(fiber, floating_point_survives, .timeout = 10)
{
    struct fibers *set = set_make();
    struct probe p = {0};
    fiber_start(set, probe_run, &p);
    double x = 3.0;
    fiber_start(set, float_run, &x);
    volatile double noise = 17.0;
    for (int i = 0; i < 100; i++) {
        noise = noise * 1.01;
    }
    fiber_resume(p.self);
    cr_assert(x == 5.5);
    fibers_destroy(set);
}

static void *thread_run(void *arg)
{
    struct fibers *set = set_make();
    struct probe p[20] = {0};
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 20; i++) {
            p[i] = (struct probe){.parks = 2};
            fiber_start(set, probe_run, &p[i]);
        }
        for (int i = 0; i < 40; i++) {
            fiber_resume(p[i % 20].self);
        }
        for (int i = 0; i < 20; i++) {
            cr_assert_eq(p[i].steps, 3);
        }
    }
    fibers_destroy(set);
    return arg;
}

Test(fiber, threads_have_their_own, .timeout = 30)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, thread_run, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static int overflow(int depth)
{
    volatile char frame[1024];
    frame[0] = (char)depth;
    return depth > 1000 ? frame[0] : overflow(depth + 1) + frame[0];
}

static void overflow_run(void *arg)
{
    *(int *)arg = overflow(0);
}

Test(fiber, overflow_meets_the_guard_page, .timeout = 10, .signal = SIGSEGV)
{
    struct fibers *set = set_make();
    int x = 0;
    fiber_start(set, overflow_run, &x);
}
#endif

/* Prints what a switch costs. */
Test(fiber, cost_of_a_switch, .timeout = 30)
{
    enum { ROUNDS = 200000 };
    struct fibers *set = set_make();
    struct probe p = {.parks = ROUNDS};
    fiber_start(set, probe_run, &p);
    int64_t begin = clock_mono_ns();
    for (int i = 0; i < ROUNDS; i++) {
        fiber_resume(p.self);
    }
    double pair = (double)(clock_mono_ns() - begin) / ROUNDS;
    begin = clock_mono_ns();
    for (int i = 0; i < ROUNDS; i++) {
        struct probe q = {0};
        fiber_start(set, probe_run, &q);
    }
    double start = (double)(clock_mono_ns() - begin) / ROUNDS;
    fibers_destroy(set);
    cr_log_info("resume and park: %.0f ns, start and return: %.0f ns", pair, start);
    cr_assert_eq(p.steps, ROUNDS + 1);
}
