/*
 * test_post: a fiber of one thread that waits for another thread.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_io.h"

/* What is handed over: freed by the fiber as soon as the post is delivered. */
struct letter {
    struct io_post post; /* its storage is the sender's until then */
    unsigned text;       /* written by the sender before it posts */
    unsigned want;       /* what it is to write */
    struct io *to;       /* the fiber's */
};

static void *post_one(void *arg)
{
    struct letter *letter = arg;
    letter->text = letter->want;
    io_post(letter->to, &letter->post);
    return NULL;
}

struct reader {
    struct io *io;   /* not owned */
    unsigned rounds; /* letters for each fiber */
    unsigned read;   /* letters so far */
};

static void read_letters(void *arg)
{
    struct reader *r = arg;
    for (unsigned i = 0; i < r->rounds; i++) {
        struct letter *letter = calloc(1, sizeof(*letter));
        pthread_t thread;
        cr_assert_not_null(letter);
        *letter = (struct letter){.post.key = letter, .want = i + 1, .to = r->io};
        cr_assert_eq(pthread_create(&thread, NULL, post_one, letter), 0);
        pthread_detach(thread);
        io_await(r->io, &letter->post);
        cr_assert_eq(letter->text, i + 1);
        free(letter);
        r->read++;
    }
}

ParameterizedTestParameters(post, wakes_the_fiber)
{
    static enum way ways[] = {WAY_DIRECT, WAY_RING, WAY_HELPERS};
    return cr_make_param_array(enum way, ways, WAYS);
}
ParameterizedTest(const enum way *way, post, wakes_the_fiber, .timeout = 60)
{
    struct lane lane;
    lane_open(&lane, *way, 0);
    struct reader r = {.io = lane.io, .rounds = 200};
    lane_run(&lane, 5, read_letters, &r);
    cr_assert_eq(r.read, 1000);
    lane_close(&lane);
}

/* One that was delivered before anybody waited for it is not waited for; others with the same key go on. */
struct pair {
    struct io *io;       /* not owned */
    struct io_post post; /* ours */
    unsigned passed;     /* fibers */
};

static void wait_for_pair(void *arg)
{
    struct pair *p = arg;
    io_await(p->io, &p->post);
    p->passed++;
}

Test(post, before_and_after_the_wait, .timeout = 30)
{
    struct lane lane;
    lane_open(&lane, WAY_DIRECT, 0);
    struct pair p = {.io = lane.io, .post.key = &p};
    cr_assert_eq(fiber_start(lane.fibers, wait_for_pair, &p), 0);
    cr_assert_eq(fiber_start(lane.fibers, wait_for_pair, &p), 0);
    io_turn(lane.io, 0);
    cr_assert_eq(p.passed, 0);
    io_post(lane.io, &p.post);
    io_turn(lane.io, -1);
    lane_finish(&lane);
    cr_assert_eq(p.passed, 2);
    lane_run(&lane, 1, wait_for_pair, &p);
    cr_assert_eq(p.passed, 3);
    lane_close(&lane);
}

/* Two threads with an io each, that post to each other all the time; neither outlives the other's last word. */
struct side {
    struct io *io;      /* owned by its thread */
    struct side *other; /* not owned */
    struct io_post *in; /* what this side waits for next */
    struct io_post balls[2000];
    pthread_barrier_t *ready; /* both have their io */
    bool first;               /* it serves */
};

static void play(void *arg)
{
    struct side *me = arg;
    for (unsigned i = 0; i < 2000; i++) {
        if (me->first) {
            io_post(me->other->io, &me->other->balls[i]);
            io_await(me->io, &me->balls[i]);
        } else {
            io_await(me->io, &me->balls[i]);
            io_post(me->other->io, &me->other->balls[i]);
        }
    }
}

static void *player(void *arg)
{
    struct side *me = arg;
    struct lane lane;
    lane_open(&lane, me->first ? WAY_RING : WAY_DIRECT, 0);
    me->io = lane.io;
    for (unsigned i = 0; i < 2000; i++) {
        me->balls[i].key = me;
    }
    pthread_barrier_wait(me->ready);
    lane_run(&lane, 1, play, me);
    if (!me->first) {
        lane_close(&lane); /* while the other one may still be about to deliver our last post to itself */
        return NULL;
    }
    lane_close(&lane);
    return NULL;
}

Test(post, both_ways, .timeout = 60)
{
    static struct side sides[2];
    pthread_barrier_t ready;
    pthread_t threads[2];
    pthread_barrier_init(&ready, NULL, 2);
    int64_t begin = clock_mono_ns();
    for (int i = 0; i < 2; i++) {
        sides[i].other = &sides[1 - i];
        sides[i].ready = &ready;
        sides[i].first = i == 0;
        cr_assert_eq(pthread_create(&threads[i], NULL, player, &sides[i]), 0);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    pthread_barrier_destroy(&ready);
    cr_log_info("a post and its answer: %.1f us", (double)(clock_mono_ns() - begin) / 2000 / 1000);
}
