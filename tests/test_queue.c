#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/queue.h"

static void *item(uintptr_t n)
{
    return (void *)n; /* NOLINT(performance-no-int-to-ptr) */
}

/* Until count threads wait in a pop. */
static void await_waiting(struct queue *q, size_t count)
{
    while (queue_waiting(q) != count) {
        sched_yield();
    }
}

Test(queue, first_in_first_out_and_bounded, .timeout = 10)
{
    struct queue *q = NULL;
    cr_assert_eq(queue_create(3, &q), 0);
    for (int round = 0; round < 5; round++) {
        for (uintptr_t i = 1; i <= 3; i++) {
            cr_assert_eq(queue_push(q, item(i)), 0);
        }
        cr_assert_eq(queue_length(q), 3);
        cr_assert_eq(queue_try_push(q, item(4)), -EAGAIN);
        cr_assert_eq(queue_pop(q), item(1));
        cr_assert_eq(queue_try_push(q, item(4)), 0);
        for (uintptr_t i = 2; i <= 4; i++) {
            cr_assert_eq(queue_pop(q), item(i));
        }
        cr_assert_eq(queue_length(q), 0);
    }
    queue_destroy(q);
    queue_destroy(NULL);
}

Test(queue, no_room_for_none_or_too_many, .timeout = 10)
{
    struct queue *q = NULL;
    cr_assert_eq(queue_create(0, &q), -ENOMEM);
    cr_assert_eq(queue_create(SIZE_MAX / 2, &q), -ENOMEM);
    cr_assert_null(q);
}

Test(queue, close_drains, .timeout = 10)
{
    struct queue *q = NULL;
    cr_assert_eq(queue_create(4, &q), 0);
    cr_assert_eq(queue_push(q, item(1)), 0);
    queue_close(q);
    queue_close(q);
    cr_assert_eq(queue_push(q, item(2)), -EPIPE);
    cr_assert_eq(queue_try_push(q, item(2)), -EPIPE);
    bool closed = true;
    cr_assert_eq(queue_pop_timed(q, 0, &closed), item(1));
    cr_assert_not(closed);
    cr_assert_null(queue_pop_timed(q, NS_PER_SEC * 60, &closed));
    cr_assert(closed);
    cr_assert_null(queue_pop(q));
    queue_destroy(q);
}

Test(queue, timed_pop_waits_its_time, .timeout = 10)
{
    struct queue *q = NULL;
    cr_assert_eq(queue_create(1, &q), 0);
    bool closed = true;
    cr_assert_null(queue_pop_timed(q, 0, &closed));
    cr_assert_not(closed);
    const int64_t start = clock_mono_ns();
    cr_assert_null(queue_pop_timed(q, 30 * NS_PER_MS, &closed));
    cr_assert_geq(clock_mono_ns() - start, 30 * NS_PER_MS);
    cr_assert_not(closed);
    cr_assert_null(queue_pop_timed(q, -5, &closed));
    queue_destroy(q);
}

struct waiter {
    struct queue *q;
    void *got;
    bool closed;
    int pushed;
};

static void *pop_for_ever(void *arg)
{
    struct waiter *w = arg;
    w->got = queue_pop_timed(w->q, INT64_MAX, &w->closed);
    return NULL;
}

static void *push_one(void *arg)
{
    struct waiter *w = arg;
    w->pushed = queue_push(w->q, item(9));
    return NULL;
}

Test(queue, a_waiting_pop_gets_what_is_pushed, .timeout = 10)
{
    struct waiter w = {0};
    pthread_t thread;
    cr_assert_eq(queue_create(1, &w.q), 0);
    cr_assert_eq(pthread_create(&thread, NULL, pop_for_ever, &w), 0);
    await_waiting(w.q, 1);
    cr_assert_eq(queue_push(w.q, item(5)), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(w.got, item(5));
    cr_assert_not(w.closed);
    cr_assert_eq(queue_waiting(w.q), 0);
    queue_destroy(w.q);
}

Test(queue, close_wakes_all_that_pop, .timeout = 10)
{
    struct queue *q = NULL;
    struct waiter w[3];
    pthread_t threads[3];
    cr_assert_eq(queue_create(1, &q), 0);
    for (int i = 0; i < 3; i++) {
        w[i] = (struct waiter){.q = q, .got = q};
        cr_assert_eq(pthread_create(&threads[i], NULL, pop_for_ever, &w[i]), 0);
    }
    await_waiting(q, 3);
    queue_close(q);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
        cr_assert_null(w[i].got);
        cr_assert(w[i].closed);
    }
    queue_destroy(q);
}

Test(queue, close_wakes_a_push_whose_item_stays_its_own, .timeout = 10)
{
    struct waiter w = {.pushed = 1};
    pthread_t thread;
    cr_assert_eq(queue_create(1, &w.q), 0);
    cr_assert_eq(queue_push(w.q, item(1)), 0);
    cr_assert_eq(pthread_create(&thread, NULL, push_one, &w), 0);
    queue_close(w.q); /* before it waits or after: the same */
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(w.pushed, -EPIPE);
    cr_assert_eq(queue_pop(w.q), item(1));
    cr_assert_null(queue_pop(w.q));
    queue_destroy(w.q);
}

Test(queue, a_pop_makes_room_for_a_waiting_push, .timeout = 10)
{
    struct waiter w = {.pushed = 1};
    pthread_t thread;
    cr_assert_eq(queue_create(1, &w.q), 0);
    cr_assert_eq(queue_push(w.q, item(1)), 0);
    cr_assert_eq(pthread_create(&thread, NULL, push_one, &w), 0);
    cr_assert_eq(queue_pop(w.q), item(1));
    cr_assert_eq(queue_pop(w.q), item(9));
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(w.pushed, 0);
    queue_destroy(w.q);
}

/* on_push must run without the lock: it uses the queue itself. */
struct bell {
    struct queue *q;
    unsigned rings;
    size_t length;
};

static void ring(void *arg)
{
    struct bell *b = arg;
    b->rings++;
    b->length = queue_length(b->q);
}

Test(queue, on_push_is_called_outside_of_the_lock, .timeout = 10)
{
    struct bell b = {0};
    cr_assert_eq(queue_create(2, &b.q), 0);
    queue_on_push(b.q, ring, &b);
    cr_assert_eq(queue_push(b.q, item(1)), 0);
    cr_assert_eq(b.rings, 1);
    cr_assert_eq(b.length, 1);
    cr_assert_eq(queue_try_push(b.q, item(2)), 0);
    cr_assert_eq(b.rings, 2);
    cr_assert_eq(queue_try_push(b.q, item(3)), -EAGAIN);
    cr_assert_eq(b.rings, 2);
    queue_close(b.q);
    cr_assert_eq(b.rings, 3);
    while (queue_pop(b.q) != NULL) {
    }
    queue_destroy(b.q);
}

enum { PRODUCERS = 4, CONSUMERS = 4, EACH = 20000 };

struct crowd {
    struct queue *q;
    atomic_uint next;                        /* producers number themselves */
    atomic_uchar seen[PRODUCERS * EACH + 1]; /* times that each item was popped */
    atomic_uint unordered;                   /* items of one producer that came out of order */
};

static void *produce(void *arg)
{
    struct crowd *c = arg;
    const uintptr_t first = (uintptr_t)atomic_fetch_add(&c->next, 1) * EACH;
    for (uintptr_t i = 1; i <= EACH; i++) {
        cr_assert_eq(queue_push(c->q, item(first + i)), 0);
    }
    return NULL;
}

static void *consume(void *arg)
{
    struct crowd *c = arg;
    uintptr_t last[PRODUCERS] = {0};
    bool closed = false;
    for (;;) {
        void *got = queue_pop_timed(c->q, NS_PER_SEC, &closed);
        if (got == NULL) {
            if (closed) {
                return NULL;
            }
            continue;
        }
        const uintptr_t n = (uintptr_t)got;
        const uintptr_t producer = (n - 1) / EACH;
        if (n <= last[producer]) {
            atomic_fetch_add(&c->unordered, 1);
        }
        last[producer] = n;
        atomic_fetch_add(&c->seen[n], 1);
    }
}

Test(queue, many_threads_lose_and_double_nothing, .timeout = 60)
{
    static struct crowd c;
    pthread_t producers[PRODUCERS];
    pthread_t consumers[CONSUMERS];
    cr_assert_eq(queue_create(7, &c.q), 0);
    for (int i = 0; i < CONSUMERS; i++) {
        cr_assert_eq(pthread_create(&consumers[i], NULL, consume, &c), 0);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        cr_assert_eq(pthread_create(&producers[i], NULL, produce, &c), 0);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        cr_assert_eq(pthread_join(producers[i], NULL), 0);
    }
    queue_close(c.q);
    for (int i = 0; i < CONSUMERS; i++) {
        cr_assert_eq(pthread_join(consumers[i], NULL), 0);
    }
    for (size_t i = 1; i <= (size_t)PRODUCERS * EACH; i++) {
        cr_assert_eq(c.seen[i], 1, "item %zu: %u times", i, c.seen[i]);
    }
    cr_assert_eq(c.unordered, 0);
    queue_destroy(c.q);
}
