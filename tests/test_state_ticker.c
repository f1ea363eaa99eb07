#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "copier/engine_internal.h"
#include "planner/planner_internal.h"
#include "tests/support_state.h"
#include "workers/pool_internal.h"
#include "workers/stores/layer.h"

TestSuite(state_ticker, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

/* A destination whose syncs wait until they are told to go on. */
struct sync_store {
    struct store base;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t change;
    unsigned begun;   /* syncs that were begun */
    unsigned allowed; /* syncs that may end */
    unsigned failing; /* the number of the one that fails; 0: none */
};

static int sync_run(struct port *p, struct store_op *op)
{
    struct sync_store *s = (struct sync_store *)(void *)p->store;
    cr_assert_eq(op->code, STORE_SYNC);
    (void)pthread_mutex_lock(&s->lock);
    const unsigned number = ++s->begun;
    (void)pthread_cond_broadcast(&s->change);
    while (s->allowed < number) {
        (void)pthread_cond_wait(&s->change, &s->lock);
    }
    const int err = number == s->failing ? -EIO : 0;
    (void)pthread_mutex_unlock(&s->lock);
    return err;
}

static const struct store_ops sync_ops = {
    .port_create = layer_port_create,
    .port_destroy = layer_port_destroy,
    .run = sync_run,
};

static void wait_begun(struct sync_store *s, unsigned number)
{
    (void)pthread_mutex_lock(&s->lock);
    while (s->begun < number) {
        (void)pthread_cond_wait(&s->change, &s->lock);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

static void allow(struct sync_store *s, unsigned number)
{
    (void)pthread_mutex_lock(&s->lock);
    s->allowed = number;
    (void)pthread_cond_broadcast(&s->change);
    (void)pthread_mutex_unlock(&s->lock);
}

/* As much of a run as the ticker uses; each test is a process of its own. */
static struct sync_store dst = {.base.ops = &sync_ops};
static struct planner planner;
static struct pool pool;
static const struct options options;
static struct engine engine = {.options = &options, .dst = &dst.base, .planner = &planner, .pool = &pool};

static void make_engine(void)
{
    const struct report_options how = {.quiet = true};
    (void)pthread_mutex_init(&dst.lock, NULL);
    (void)pthread_cond_init(&dst.change, NULL);
    cr_assert_eq(report_create(&how, &engine.report), 0);
    engine.counts = report_counts(engine.report);
    cr_assert_eq(notices_create(&engine.notices), 0);
    engine.state = open_state();
    begin(engine.state, new_id(), false);
}

static void free_engine(void)
{
    state_close(engine.state);
    notices_destroy(engine.notices);
    report_destroy(engine.report);
}

Test(state_ticker, a_failed_sync_counts_and_the_next_one_makes_nothing_durable)
{
    make_engine();
    record(engine.state, 1, "lost", 1);
    dst.failing = 1;
    struct ticker *ticker = NULL;
    cr_assert_eq(ticker_create_paced(&engine, NS_PER_MS, &ticker), 0);
    allow(&dst, 2);
    wait_begun(&dst, 3); /* the second has passed */
    cr_assert_eq(atomic_load(&engine.counts->sync_failed), 1);
    record(engine.state, 1, "in flight", 2);
    ticker_stop(ticker);
    cr_assert_eq(state_run_end(engine.state, 0), 0);
    allow(&dst, 3);
    ticker_destroy(ticker);
    free_engine();

    struct state *s = open_state();
    cr_assert_eq(known_number(s, 1, "lost", 1), KNOWN_SUSPECT);
    cr_assert_eq(known_number(s, 1, "in flight", 2), KNOWN_SUSPECT);
    state_close(s);
}

Test(state_ticker, a_sync_that_passes_makes_durable)
{
    make_engine();
    record(engine.state, 1, "a", 1);
    struct ticker *ticker = NULL;
    cr_assert_eq(ticker_create_paced(&engine, NS_PER_MS, &ticker), 0);
    allow(&dst, 1);
    wait_begun(&dst, 2);
    allow(&dst, 1000000);
    ticker_destroy(ticker);
    cr_assert_eq(atomic_load(&engine.counts->sync_failed), 0);
    free_engine();
    struct state *s = open_boot("boot 2");
    cr_assert_eq(known_number(s, 1, "a", 1), KNOWN_GOOD);
    state_close(s);
}

Test(state_ticker, a_sync_in_progress_delays_no_end)
{
    make_engine();
    record(engine.state, 1, "a", 1);
    struct ticker *ticker = NULL;
    cr_assert_eq(ticker_create_paced(&engine, NS_PER_MS, &ticker), 0);
    wait_begun(&dst, 1);
    ticker_stop(ticker); /* would hang here until the time limit */
    ticker_stop(ticker);
    cr_assert_eq(state_run_end(engine.state, 0), 0);
    cr_assert_eq(dst.begun, 1);
    allow(&dst, 1);
    ticker_destroy(ticker); /* and this waits for it: nothing is used after it is freed */
    cr_assert_eq(dst.begun, 1, "no other one after the stop");
    free_engine();
    struct state *s = open_boot("boot 2");
    cr_assert_eq(known_number(s, 1, "a", 1), KNOWN_SUSPECT, "the run had ended");
    state_close(s);
}

Test(state_ticker, a_sync_that_fails_after_the_end_is_not_forgotten)
{
    make_engine();
    record(engine.state, 1, "a", 1);
    dst.failing = 1;
    struct ticker *ticker = NULL;
    cr_assert_eq(ticker_create_paced(&engine, NS_PER_MS, &ticker), 0);
    wait_begun(&dst, 1);
    ticker_stop(ticker);
    cr_assert_eq(state_run_end(engine.state, 0), 0);
    allow(&dst, 1);
    ticker_destroy(ticker);
    free_engine();
    struct state *s = open_state();
    cr_assert_eq(known_number(s, 1, "a", 1), KNOWN_SUSPECT);
    state_close(s);
}

/* The figures that a run ends with. */
static struct state_run figures(void)
{
    struct ticker *ticker = NULL;
    cr_assert_eq(ticker_create(&engine, &ticker), 0);
    ticker_stop(ticker);
    ticker_destroy(ticker);
    cr_assert_eq(state_run_end(engine.state, 5), 0);
    struct state_run run = {0};
    cr_assert_eq(state_run_get(engine.state, 0, &run), 0);
    free_engine();
    return run;
}

Test(state_ticker, only_what_arrived_is_done)
{
    make_engine();
    atomic_store(&planner.counts.same, 3);
    atomic_store(&planner.counts.same_bytes, 300);
    atomic_store(&planner.counts.todo, 20);
    atomic_store(&planner.counts.todo_bytes, 2000);
    atomic_store(&engine.counts->files, 4);
    atomic_store(&engine.counts->bytes, 400);
    atomic_store(&engine.counts->others, 2);
    atomic_store(&engine.counts->links, 1);
    atomic_store(&engine.counts->attrs, 1);
    atomic_store(&engine.counts->failed, 40); /* most of them before they were put into the queue */
    atomic_store(&engine.counts->changed, 1);
    atomic_store(&engine.counts->done, 20);
    const struct state_run run = figures();
    cr_assert_eq(run.files_done, 11);
    cr_assert_eq(run.bytes_done, 700);
    cr_assert_eq(run.files_total, 23);
    cr_assert_eq(run.bytes_total, 2300);
    cr_assert_eq(run.failed, 41);
}

Test(state_ticker, no_more_is_done_than_there_is)
{
    make_engine();
    atomic_store(&planner.counts.same, 1);
    atomic_store(&planner.counts.todo_bytes, 10);
    atomic_store(&engine.counts->files, 2);
    atomic_store(&engine.counts->bytes, 99); /* it grew */
    const struct state_run run = figures();
    cr_assert_eq(run.files_done, 3);
    cr_assert_eq(run.files_total, 3);
    cr_assert_eq(run.bytes_done, 99);
    cr_assert_eq(run.bytes_total, 99);
}
