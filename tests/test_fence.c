#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>

#include "base/clock.h"
#include "workers/fence.h"
#include "workers/io.h"

Test(fence, opens_until_its_time, .timeout = 10)
{
    struct fence f;
    fence_init(&f);
    cr_assert_eq(fence_state(&f, INT64_MIN), FENCE_SHUT);
    cr_assert_eq(fence_state(&f, 0), FENCE_SHUT);
    fence_extend(&f, 1, 1000);
    cr_assert_eq(fence_state(&f, 999), FENCE_OPEN);
    cr_assert_eq(fence_state(&f, 1000), FENCE_SHUT);
    /* A renewal that was overtaken by a later one takes nothing back. */
    fence_extend(&f, 1, 500);
    cr_assert_eq(fence_state(&f, 999), FENCE_OPEN);
    fence_extend(&f, 1, 2000);
    cr_assert_eq(fence_state(&f, 1000), FENCE_OPEN);
    cr_assert_eq(fence_state(&f, 2000), FENCE_SHUT);
}

Test(fence, in_doubt_until_a_later_renewal, .timeout = 10)
{
    struct fence f;
    int64_t before = clock_boot_ns();
    int64_t hour = 3600 * NS_PER_SEC;
    fence_init(&f);
    fence_doubt(NULL);
    cr_assert(!fence_doubted(&f));
    fence_extend(&f, before, before + hour);
    fence_doubt(&f);
    cr_assert(fence_doubted(&f));
    cr_assert_eq(fence_state(&f, before), FENCE_SHUT);
    fence_extend(&f, before, before + 2 * hour);
    cr_assert_eq(fence_state(&f, before), FENCE_SHUT, "a renewal that began before proves nothing");
    fence_extend(&f, clock_boot_ns() + 1, before + hour);
    cr_assert(!fence_doubted(&f));
    cr_assert_eq(fence_state(&f, before), FENCE_OPEN);
    /* Before there was any: it is shut all the same. */
    fence_init(&f);
    fence_doubt(&f);
    cr_assert_eq(fence_state(&f, before), FENCE_SHUT);
}

Test(fence, lost_is_for_ever, .timeout = 10)
{
    struct fence f;
    fence_init(&f);
    fence_extend(&f, 1, 1000);
    fence_lose(&f);
    cr_assert_eq(fence_state(&f, 0), FENCE_LOST);
    fence_extend(&f, 1, INT64_MAX);
    cr_assert_eq(fence_state(&f, 0), FENCE_LOST);
}

static struct io *make_io(void)
{
    struct io *io = NULL;
    cr_assert_eq(io_create(&(struct io_options){.no_ring = true}, &io), 0);
    return io;
}

Test(fence, pass_in_a_thread, .timeout = 10)
{
    struct fence f;
    struct io *io = make_io();
    struct io *other = make_io();
    cr_assert_eq(fence_pass(NULL, io), 0);
    fence_init(&f);
    fence_set_own(&f, other);
    cr_assert_eq(fence_pass(&f, other), 0);
    fence_extend(&f, 1, clock_boot_ns() + 3600 * NS_PER_SEC);
    cr_assert_eq(fence_pass(&f, io), 0);
    fence_lose(&f);
    cr_assert_eq(fence_pass(&f, io), -EOWNERDEAD);
    cr_assert_eq(fence_pass(&f, other), 0);
    io_destroy(other);
    io_destroy(io);
}

struct waiter {
    struct fence *fence;
    struct io *io;
    int result;
};

static void *wait_at(void *arg)
{
    struct waiter *w = arg;
    w->result = fence_pass(w->fence, w->io);
    return NULL;
}

static int pass_while(struct fence *f, void (*then)(struct fence *f, struct io *io))
{
    struct waiter w = {.fence = f, .io = make_io(), .result = 1};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, wait_at, &w), 0);
    then(f, w.io);
    pthread_join(thread, NULL);
    io_destroy(w.io);
    return w.result;
}

static void open_it(struct fence *f, struct io *io)
{
    (void)io;
    fence_extend(f, 1, INT64_MAX);
}

static void lose_it(struct fence *f, struct io *io)
{
    (void)io;
    fence_lose(f);
}

static void cancel(struct fence *f, struct io *io)
{
    (void)f;
    io_cancel_sleeps(io);
}

Test(fence, a_shut_one_waits_for_what_comes, .timeout = 10)
{
    struct fence f;
    fence_init(&f);
    fence_extend(&f, 1, clock_boot_ns() - 1);
    cr_assert_eq(pass_while(&f, cancel), -ECANCELED);
    cr_assert_eq(pass_while(&f, open_it), 0);
    fence_init(&f);
    cr_assert_eq(pass_while(&f, lose_it), -EOWNERDEAD);
}
