/* When the planner finishes directories, and what waits for that. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "planner/planner_internal.h"
#include "support_plan.h"
#include "support_tree.h"
#include "workers/stores/posix.h"

struct told {
    atomic_bool idle;     /* the planner has said so */
    atomic_bool too_late; /* a directory had been finished before */
    atomic_uint finished; /* directories */
};

static int until_walked(struct plan_try *t, const struct item *item)
{
    (void)item;
    while (!atomic_load(&planner_counts(t->planner)->walked)) {
        usleep(100);
    }
    return 0;
}

static void told_idle(void *arg)
{
    const struct plan_try *t = arg;
    struct told *told = t->own;
    atomic_store(&told->idle, true);
}

static void told_finished(void *arg, const struct dir *dir, const struct attr *attr)
{
    const struct plan_try *t = arg;
    struct told *told = t->own;
    (void)dir;
    (void)attr;
    atomic_fetch_add(&told->finished, 1);
    if (!atomic_load(&told->idle)) {
        atomic_store(&told->too_late, true);
    }
}

/* Whoever waits for the last item does not wait for what is set of its directory after it. */
Test(finish, idle_before_the_last_directory_is_finished, .timeout = 60)
{
    struct plan_try t;
    struct told told = {0};

    plan_try_init(&t, "finish");
    tree_file(t.src, "x", "d/file");
    t.own = &told;
    t.meddle = until_walked;
    t.options.idle = told_idle;
    t.options.finished = told_finished;
    plan_try_run_well(&t);
    cr_expect_eq(atomic_load(&told.finished), 2);
    cr_expect_not(atomic_load(&told.too_late));
    plan_try_same(&t, true);
    plan_try_release(&t);
}

/* ---- side by side ---- */

/* Directories that are to be finished by others, who do it once the root has been. */
struct beside {
    struct store *store; /* the destination, as it is */
    atomic_uint count;   /* of dirs */
    struct dir *dirs[8];
    unsigned done; /* of them, by the one thread that finishes the root */
};

static bool keep_beside(void *arg, struct dir *dir)
{
    const struct plan_try *t = arg;
    struct beside *b = t->own;
    b->dirs[atomic_fetch_add(&b->count, 1)] = dir;
    return true;
}

static void finish_others(void *arg, const struct dir *dir, const struct attr *attr)
{
    const struct plan_try *t = arg;
    struct beside *b = t->own;
    struct io_options direct = {.no_ring = true};
    struct io *io = NULL;
    struct port *port = NULL;

    (void)attr;
    if (dir->parent != NULL) {
        return;
    }
    cr_assert_eq(io_create(&direct, &io), 0);
    io_set_mode(io, IO_DIRECT);
    cr_assert_eq(store_port_create(b->store, io, &port), 0);
    for (; b->done < atomic_load(&b->count); b->done++) {
        planner_finish(t->planner, port, b->dirs[b->done]);
    }
    store_port_destroy(port);
    io_destroy(io);
}

static void run_beside(mode_t above, unsigned beside)
{
    struct plan_try t;
    struct beside b = {0};
    char path[4096];

    plan_try_init(&t, "beside");
    const struct store_options o = {.side = DIR_DST, .path = t.dst, .run_id = "0123456789abcdef", .max_handles = 64};
    cr_assert_eq(posix_open(&o, &b.store), 0);
    t.options.dst = b.store;
    tree_file(t.src, "x", "a/b/c/file");
    snprintf(path, sizeof(path), "%s/a/b", t.src);
    cr_assert_eq(chmod(path, above), 0);
    t.own = &b;
    t.meddle = until_walked;
    t.options.beside = keep_beside;
    t.options.finished = finish_others;
    plan_try_run_well(&t);
    cr_expect_eq(b.done, beside);
    plan_try_same(&t, true);
    store_destroy(b.store);
    plan_try_release(&t);
}

/* What is set of a directory waits for none in it: the root is finished before them here. */
Test(finish, directories_in_each_other_side_by_side, .timeout = 60)
{
    run_beside(0755, 3);
}

/* But for one that can be entered no more once it is finished itself: "a/b/c" comes before "a/b". */
Test(finish, one_that_shuts_comes_last, .timeout = 60)
{
    run_beside(0555, 2);
}

/* ---- what never returns ---- */

/* A directory is held; whoever lets it go never comes back from finishing it. */
struct lost {
    struct plan_try *t;
    struct store *store; /* the destination */
    sem_t idle;          /* the planner has said so */
    struct dir *dir;     /* held */
    atomic_bool over;    /* both threads have done with it */
    pthread_t lost;      /* the first thread */
    pthread_t next;      /* the one that goes on in its place */
    struct io *io[2];    /* of each of them */
    struct port *port[2];
};

static int hold_it(struct plan_try *t, const struct item *item)
{
    struct lost *l = t->own;
    if (strcmp(item->name, "kept") == 0) {
        l->dir = item->work.dir;
        planner_hold(t->planner, l->dir);
        return until_walked(t, item);
    }
    while (item->kind == ITEM_LINK && !atomic_load(&l->over)) { /* with it the run ends */
        usleep(100);
    }
    return 0;
}

static void idle_now(void *arg)
{
    const struct plan_try *t = arg;
    struct lost *l = t->own;
    sem_post(&l->idle);
}

static void let_go_by(struct lost *l, unsigned n, void (*release)(struct planner *p, struct port *dst, struct dir *dir))
{
    struct io_options direct = {.no_ring = true};
    cr_assert_eq(io_create(&direct, &l->io[n]), 0);
    io_set_mode(l->io[n], IO_DIRECT);
    cr_assert_eq(store_port_create(l->store, l->io[n], &l->port[n]), 0);
    release(l->t->planner, l->port[n], l->dir);
}

static void *let_go(void *arg)
{
    struct lost *l = arg;
    sem_wait(&l->idle);
    while (atomic_load(&plan_of(l->dir)->pending) > 1) { /* until the item has let go of it, too */
        usleep(100);
    }
    let_go_by(l, 0, planner_release);
    return arg;
}

static void never_return(void *arg, const struct dir *dir, const struct attr *attr)
{
    const struct plan_try *t = arg;
    const struct lost *l = t->own;
    (void)dir;
    (void)attr;
    if (pthread_equal(pthread_self(), l->lost)) {
        pthread_exit(NULL);
    }
}

static void *go_on(void *arg)
{
    struct lost *l = arg;
    void *returned = NULL;
    pthread_join(l->lost, &returned);
    cr_expect_null(returned);
    let_go_by(l, 1, planner_release_lost);
    dir_put(l->dir); /* the one that was lost will not do it */
    atomic_store(&l->over, true);
    return NULL;
}

/* Further names of files wait until nothing is held: they are made all the same. */
Test(finish, let_go_without_an_answer, .timeout = 60)
{
    struct plan_try t;
    struct lost l = {.t = &t};

    plan_try_init(&t, "lost");
    const struct store_options o = {.side = DIR_DST, .path = t.dst, .run_id = "0123456789abcdef", .max_handles = 64};
    cr_assert_eq(posix_open(&o, &l.store), 0);
    t.options.dst = l.store;
    tree_file(t.src, "x", "d/kept");
    tree_file(t.src, "x", "other/one");
    tree_link(t.src, "other/one", "other/two");
    sem_init(&l.idle, 0, 0);
    t.own = &l;
    t.meddle = hold_it;
    t.options.idle = idle_now;
    t.options.finished = never_return;
    cr_assert_eq(pthread_create(&l.lost, NULL, let_go, &l), 0);
    cr_assert_eq(pthread_create(&l.next, NULL, go_on, &l), 0);
    plan_try_run_well(&t);
    pthread_join(l.next, NULL);
    cr_expect_eq(t.kinds[ITEM_LINK], 1);
    plan_try_same(&t, true);
    sem_destroy(&l.idle);
    for (unsigned n = 0; n < 2; n++) {
        store_port_destroy(l.port[n]);
        io_destroy(l.io[n]);
    }
    store_destroy(l.store);
    plan_try_release(&t);
}
