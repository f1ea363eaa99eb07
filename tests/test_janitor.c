#include "cleanup/janitor.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_io.h"
#include "support_tree.h"
#include "workers/fiber.h"
#include "workers/stores/posix.h"

#define RUN      "0123456789abcdef"
#define NAMES    16
#define FINDINGS 64
#define HOUR     (3600 * NS_PER_SEC)

/* ---- what is judged how ---- */

static struct attr file_attr(mode_t perm, uint64_t size, uint64_t ino)
{
    return (struct attr){.mode = S_IFREG | perm, .size = size, .ino = ino, .nlink = 1, .mtime = {.tv_sec = 1000}};
}

Test(janitor, judges, .timeout = 10)
{
    const struct attr src = file_attr(0644, 100, 7);
    const struct attr dst = file_attr(0644, 100, 70);
    struct attr now = dst;
    struct attr other = dst;
    other.ino = 71;
    cr_expect_eq(janitor_judge(&src, &dst, &now), FOUND_RIGHT);
    cr_expect_eq(janitor_judge(&src, &dst, NULL), FOUND_GONE);
    cr_expect_eq(janitor_judge(&src, &dst, &other), FOUND_RIGHT, "the same file, whatever its inode is called");
    other.mtime.tv_sec = 2000;
    cr_expect_eq(janitor_judge(&src, &dst, &other), FOUND_REPLACED);
    now.mode = S_IFREG;
    cr_expect_eq(janitor_judge(&src, &dst, &now), FOUND_MODE);
    now.size = 0;
    cr_expect_eq(janitor_judge(&src, &dst, &now), FOUND_MODE_EMPTY);
    now.mode = S_IFREG | 0644;
    cr_expect_eq(janitor_judge(&src, &dst, &now), FOUND_EMPTY);
    now.size = 50;
    cr_expect_eq(janitor_judge(&src, &dst, &now), FOUND_SIZE);
    now.size = 100;
    now.mode = S_IFREG | 0600;
    cr_expect_eq(janitor_judge(&src, &dst, &now), FOUND_RIGHT, "a chmod is nobody's damage");
    now.mode = S_IFIFO | 0644;
    cr_expect_eq(janitor_judge(&src, &dst, &now), FOUND_TYPE);
    other = file_attr(0, 0, 71);
    other.mtime.tv_sec = 2000;
    cr_expect_eq(janitor_judge(&src, &dst, &other), FOUND_MODE_EMPTY, "nobody means that, whatever its inode");

    const struct attr nothing = file_attr(0, 0, 8);
    cr_expect_eq(janitor_judge(&nothing, &nothing, &nothing), FOUND_RIGHT, "the source is so");
    struct attr link = {.mode = S_IFLNK | 0777, .size = 4, .ino = 9};
    cr_expect_eq(janitor_judge(&link, &link, &link), FOUND_RIGHT);
    now = link;
    now.ino = 10;
    now.size = 5;
    cr_expect_eq(janitor_judge(&link, &link, &now), FOUND_REPLACED);
    for (int f = FOUND_RIGHT; f <= FOUND_SIZE; f++) {
        cr_expect_eq(janitor_found_kind((enum janitor_found)f) == FINDING_NONE, f == FOUND_RIGHT);
    }
}

/* ---- a destination of a few names "0".."15" that the test writes itself ---- */

struct seen {
    char name[16];
    enum janitor_found found;
    enum janitor_done done;
    int err;
};

struct stuck {
    _Atomic(struct fiber *) fiber; /* NULL: it was given up */
    unsigned worker;               /* its worker's index */
};

struct rig {
    struct store store;       /* must be first */
    struct queue *queue;      /* closed at the end */
    struct pool *pool;        /* held by the test */
    struct notices *notices;  /* owned */
    struct dir_tree tree;     /* of root */
    struct dir *root;         /* one reference */
    struct janitor *janitor;  /* owned */
    atomic_ulong looked;      /* as the janitor counts */
    atomic_ulong purged;      /* likewise */
    atomic_int held;          /* hold without release */
    atomic_int released_off;  /* release without a port */
    atomic_int not_fresh;     /* looks that might have been answered by a cache */
    bool mends;               /* a repair makes it right */
    int repair_err;           /* 0 or what a repair fails with */
    int stat_err;             /* 0 or what a look fails with */
    pthread_mutex_t lock;     /* for all below */
    struct attr there[NAMES]; /* mode 0: nothing is there */
    int64_t looked_ns[NAMES]; /* when it was looked at first; 0: never */
    unsigned repaired[NAMES]; /* how often */
    struct seen seen[FINDINGS];
    unsigned found; /* of them */

    /* What does not answer: looks at the entries of `silent`, the release of the one that is let go as number
     * hang_release (0: none), and the repair of entry hang_repair - 1. */
    unsigned silent;           /* bits */
    unsigned hang_release;     /* counts down */
    unsigned hang_repair;      /* 0: none */
    int dir;                   /* with a FIFO that nobody writes into */
    char path[256];            /* its path */
    struct stuck stuck[NAMES]; /* fibers that wait for it */
    atomic_uint stuck_count;   /* of them */
    atomic_uint lost;          /* calls of unanswered, by what was under way: a look or a repair, */
    atomic_uint lost_released; /* or a release */
    struct janitor_entry last; /* of the last of them */
    atomic_uint back;          /* fibers that went on after all */
};

struct rig_port {
    struct port head;      /* first */
    struct worker *worker; /* whose it is */
};

/* Gets no answer. In a fiber of w. */
static void hang(struct rig *r, struct worker *w)
{
    pthread_mutex_lock(&r->lock);
    struct stuck *stuck = &r->stuck[atomic_load(&r->stuck_count)];
    stuck->worker = worker_index(w);
    atomic_store(&stuck->fiber, fiber_self());
    atomic_fetch_add(&r->stuck_count, 1);
    pthread_mutex_unlock(&r->lock);
    (void)io_openat(worker_io(w), r->dir, "fifo", O_RDONLY | O_CLOEXEC, 0);
    atomic_fetch_add(&r->back, 1);
}

/* pool_options.attend */
static void give_up(void *arg, struct worker *w)
{
    struct rig *r = arg;
    unsigned n = atomic_load(&r->stuck_count);
    for (unsigned i = 0; i < n; i++) {
        struct fiber *fiber = atomic_load(&r->stuck[i].fiber);
        if (fiber != NULL && r->stuck[i].worker == worker_index(w) && worker_give_up(w, fiber, "because") == 0) {
            atomic_store(&r->stuck[i].fiber, NULL);
        }
    }
}

static void unanswered(void *arg, struct worker *w, const struct janitor_entry *entry, bool released, const void *why)
{
    struct rig *r = arg;
    (void)w;
    cr_assert_str_eq(why, "because");
    pthread_mutex_lock(&r->lock);
    r->last = *entry;
    pthread_mutex_unlock(&r->lock);
    atomic_fetch_add(released ? &r->lost_released : &r->lost, 1);
    if (released) {
        atomic_fetch_sub(&r->held, 1); /* as planner_release_lost does what was left to be done */
    }
}

static int rig_run(struct port *p, struct store_op *op)
{
    struct rig *r = (struct rig *)p->store;
    if (op->code != STORE_STAT || op->name == NULL) {
        return -ENOSYS;
    }
    if (r->stat_err != 0) {
        return r->stat_err;
    }
    int i = atoi(op->name) % NAMES;
    if ((r->silent & 1U << i) != 0) {
        hang(r, ((struct rig_port *)p)->worker);
    }
    pthread_mutex_lock(&r->lock);
    r->looked_ns[i] = r->looked_ns[i] != 0 ? r->looked_ns[i] : clock_mono_ns();
    r->not_fresh += op->stat.fresh ? 0 : 1;
    *op->stat.out = r->there[i];
    int err = r->there[i].mode != 0 ? 0 : -ENOENT;
    pthread_mutex_unlock(&r->lock);
    return err;
}

static int rig_port_create(struct store *s, struct io *io, struct port **out)
{
    (void)s;
    (void)io;
    *out = calloc(1, sizeof(struct rig_port));
    return *out != NULL ? 0 : -ENOMEM;
}

static void rig_port_destroy(struct port *p)
{
    free(p);
}

static void rig_destroy(struct store *s)
{
    (void)s;
}

static const struct store_ops rig_ops = {
    .destroy = rig_destroy, .port_create = rig_port_create, .port_destroy = rig_port_destroy, .run = rig_run};

static int begin(void *arg, struct worker *w)
{
    struct rig *r = arg;
    struct port *port = NULL;
    int err = store_port_create(&r->store, worker_io(w), &port);
    if (err == 0) {
        ((struct rig_port *)port)->worker = w;
    }
    worker_set(w, port);
    return err;
}

static void end(void *arg, struct worker *w)
{
    (void)arg;
    store_port_destroy(worker_own(w));
}

static void no_item(void *arg, struct worker *w, struct work *item)
{
    (void)arg;
    (void)w;
    (void)item;
}

static void no_drop(void *arg, struct work *item)
{
    (void)arg;
    (void)item;
}

static uint64_t one(const struct work *item)
{
    (void)item;
    return 1;
}

static struct port *port_of(void *arg, struct worker *w)
{
    (void)arg;
    return worker_own(w);
}

static const char *same_name(void *arg, const char *name)
{
    (void)arg;
    return name;
}

static void hold(void *arg, struct dir *dir)
{
    struct rig *r = arg;
    (void)dir;
    atomic_fetch_add(&r->held, 1);
}

static void let_go(void *arg, struct port *dst, struct dir *dir)
{
    struct rig *r = arg;
    (void)dir;
    if (dst != NULL && r->hang_release > 0 && --r->hang_release == 0) {
        hang(r, ((struct rig_port *)dst)->worker);
    }
    atomic_fetch_add(&r->released_off, dst == NULL ? 1 : 0);
    atomic_fetch_sub(&r->held, 1);
}

static int mend(void *arg, struct worker *w, struct janitor_entry *entry)
{
    struct rig *r = arg;
    int i = atoi(entry->name) % NAMES;
    if (r->hang_repair == (unsigned)i + 1) {
        entry->repairing = r;
        hang(r, w);
        entry->repairing = NULL;
    }
    pthread_mutex_lock(&r->lock);
    r->repaired[i]++;
    if (r->mends) {
        r->there[i] = entry->dst;
    }
    pthread_mutex_unlock(&r->lock);
    if (r->repair_err == 0) {
        janitor_published(r->janitor, entry->dir, entry->name, &entry->src, &entry->dst);
    }
    return r->repair_err;
}

static void note(void *arg, const struct janitor_finding *f)
{
    struct rig *r = arg;
    pthread_mutex_lock(&r->lock);
    if (r->found < FINDINGS) {
        struct seen *seen = &r->seen[r->found++];
        snprintf(seen->name, sizeof(seen->name), "%s", f->entry->name);
        seen->found = f->found;
        seen->done = f->done;
        seen->err = f->err;
    }
    pthread_mutex_unlock(&r->lock);
}

static struct janitor_options rig_options(struct rig *r)
{
    return (struct janitor_options){.dst = &r->store,
                                    .run_id = RUN,
                                    .share = JANITOR_WHOLE,
                                    .delay_ns = 50 * NS_PER_MS,
                                    .waiting_max = JANITOR_WAITING_MAX,
                                    .notices = r->notices,
                                    .looked = &r->looked,
                                    .purged = &r->purged,
                                    .arg = r,
                                    .port = port_of,
                                    .dst_name = same_name,
                                    .hold = hold,
                                    .release = let_go,
                                    .repair = mend,
                                    .finding = note,
                                    .unanswered = unanswered};
}

/* Everything but the janitor. The pool is held, so that the test itself may publish. With so many in flight over two
 * workers. */
static void rig_init_wide(struct rig *r, unsigned flight)
{
    *r = (struct rig){.store = {.ops = &rig_ops}, .mends = true};
    pthread_mutex_init(&r->lock, NULL);
    cr_assert_eq(notices_create(&r->notices), 0);
    cr_assert_eq(queue_create(4, &r->queue), 0);
    cr_assert_eq(dir_create_root(&r->tree, &r->root), 0);
    const struct pool_options options = {.queue = r->queue,
                                         .workers = 2,
                                         .start = flight,
                                         .max = flight < 4 ? 4 : flight,
                                         .pinned = flight > 2,
                                         .io = {.no_ring = true},
                                         .begin = begin,
                                         .end = end,
                                         .run = no_item,
                                         .attend = give_up,
                                         .drop = no_drop,
                                         .cost = one,
                                         .arg = r};
    cr_assert_eq(pool_create(&options, &r->pool), 0);
    pool_hold(r->pool);
}

static void rig_init(struct rig *r)
{
    rig_init_wide(r, 2);
}

static void rig_begin(struct rig *r, const struct janitor_options *options)
{
    cr_assert_eq(janitor_create(options, &r->janitor), 0);
    cr_assert_eq(janitor_start(r->janitor, r->pool), 0);
}

/* Waits for the end of everything, as a run does. */
static void rig_end(struct rig *r)
{
    queue_close(r->queue);
    pool_release(r->pool);
    pool_join(r->pool);
    janitor_join(r->janitor);
    cr_expect_eq(atomic_load(&r->held), 0, "no directory stays held");
    cr_expect_eq(atomic_load(&r->not_fresh), 0);
}

static void rig_release(struct rig *r)
{
    janitor_destroy(r->janitor);
    pool_destroy(r->pool);
    queue_destroy(r->queue);
    dir_put(r->root);
    notices_destroy(r->notices);
    pthread_mutex_destroy(&r->lock);
}

/* Entry i was published, whole; now stands there. */
static void publish(struct rig *r, unsigned i, const struct attr *now)
{
    const struct attr src = file_attr(0644, 100, i);
    const struct attr dst = file_attr(0644, 100, 1000 + i);
    char name[16];
    snprintf(name, sizeof(name), "%u", i);
    pthread_mutex_lock(&r->lock);
    r->there[i % NAMES] = now != NULL ? *now : dst;
    pthread_mutex_unlock(&r->lock);
    janitor_published(r->janitor, r->root, name, &src, &dst);
}

static const struct seen *seen_of(const struct rig *r, const char *name)
{
    for (unsigned i = 0; i < r->found; i++) {
        if (strcmp(r->seen[i].name, name) == 0) {
            return &r->seen[i];
        }
    }
    return NULL;
}

/* Until so many fibers were given up: those of one batch hang one after the other. */
static void give_up_stuck(struct rig *r, unsigned n)
{
    for (unsigned i = 0; pool_lost(r->pool) < n; i++) {
        cr_assert_lt(i, 20000, "%u given up instead of %u", pool_lost(r->pool), n);
        pool_attend(r->pool);
        usleep(1000);
    }
}

/* Lets what hangs have its answer after all, and a moment to do harm with it. */
static void heal(struct rig *r)
{
    int fd = openat(r->dir, "fifo", O_RDWR | O_CLOEXEC);
    cr_assert(fd >= 0);
    usleep(50000);
    cr_expect_eq(atomic_load(&r->back), 0, "one that was given up went on");
    close(fd);
    scratch_remove(r->path);
}

/* What is looked at, published again or let go of and gets no answer costs its own entry and no other. */
Test(janitor, goes_on_without_what_does_not_answer, .timeout = 60)
{
    struct rig r;
    struct attr half = file_attr(0644, 50, 1003);

    rig_init_wide(&r, 8);
    r.dir = scratch_make(r.path);
    cr_assert_eq(mkfifoat(r.dir, "fifo", 0600), 0);
    r.silent = 1U << 1 | 1U << 2;
    r.hang_release = 5;
    r.hang_repair = 3 + 1;
    const struct janitor_options options = rig_options(&r);
    rig_begin(&r, &options);
    for (unsigned i = 0; i < NAMES; i++) {
        publish(&r, i, i == 3 ? &half : NULL);
    }
    give_up_stuck(&r, 4);
    queue_close(r.queue);
    pool_release(r.pool);
    pool_join(r.pool);
    janitor_join(r.janitor);
    cr_expect_eq(atomic_load(&r.lost), 3, "two looks and a repair");
    cr_expect_eq(atomic_load(&r.lost_released), 1);
    cr_expect_eq(atomic_load(&r.looked), NAMES - 2, "all that answered was looked at");
    cr_expect_eq(atomic_load(&r.held), 0, "no directory stays held");
    cr_expect_eq(r.found, 0, "nothing is said of what is not known");
    heal(&r);
}

/* A repair that is given up is one no more: published by others, its entry counts its repairs anew. */
Test(janitor, a_repair_without_an_answer_tells_what_it_held, .timeout = 60)
{
    struct rig r;
    struct attr half = file_attr(0644, 50, 1003);

    rig_init_wide(&r, 8);
    r.dir = scratch_make(r.path);
    cr_assert_eq(mkfifoat(r.dir, "fifo", 0600), 0);
    r.hang_repair = 3 + 1;
    const struct janitor_options options = rig_options(&r);
    rig_begin(&r, &options);
    publish(&r, 3, &half);
    give_up_stuck(&r, 1);
    for (unsigned i = 0; atomic_load(&r.lost) == 0; i++) {
        cr_assert_lt(i, 20000);
        usleep(1000);
    }
    cr_expect_eq(r.last.repairing, &r, "what options.repair left there");
    r.hang_repair = 0;
    publish(&r, 3, &half);
    queue_close(r.queue);
    pool_release(r.pool);
    pool_join(r.pool);
    janitor_join(r.janitor);
    const struct seen *seen = seen_of(&r, "3");
    cr_assert_not_null(seen);
    cr_expect_eq(seen->done, DONE_REPAIRED);
    cr_expect_eq(r.repaired[3], 1);
    cr_expect_eq(atomic_load(&r.held), 0);
    heal(&r);
}

Test(janitor, looks_again_and_mends, .timeout = 30)
{
    struct rig r;
    struct attr shut = file_attr(0, 100, 1001);
    struct attr half = file_attr(0644, 50, 1002);
    struct attr none = {0};
    struct attr others = file_attr(0644, 77, 5);

    rig_init(&r);
    const struct janitor_options options = rig_options(&r);
    rig_begin(&r, &options);
    int64_t begun = clock_mono_ns();
    publish(&r, 0, NULL);
    publish(&r, 1, &shut);
    publish(&r, 2, &half);
    publish(&r, 3, &none);
    publish(&r, 4, &others);
    cr_expect_eq(atomic_load(&r.held), 5, "their directories wait");
    rig_end(&r);
    for (unsigned i = 0; i < 5; i++) {
        cr_expect_geq(r.looked_ns[i], begun + options.delay_ns, "%u was looked at before its time", i);
    }
    cr_expect_eq(r.found, 4);
    cr_assert(seen_of(&r, "1") && seen_of(&r, "2") && seen_of(&r, "3") && seen_of(&r, "4"));
    cr_expect(seen_of(&r, "1")->found == FOUND_MODE && seen_of(&r, "1")->done == DONE_REPAIRED);
    cr_expect(seen_of(&r, "2")->found == FOUND_SIZE && seen_of(&r, "2")->done == DONE_REPAIRED);
    cr_expect(seen_of(&r, "3")->found == FOUND_GONE && seen_of(&r, "3")->done == DONE_LEFT);
    cr_expect(seen_of(&r, "4")->found == FOUND_REPLACED && seen_of(&r, "4")->done == DONE_LEFT);
    cr_expect(r.repaired[1] == 1 && r.repaired[2] == 1);
    cr_expect(r.repaired[0] == 0 && r.repaired[3] == 0 && r.repaired[4] == 0);
    cr_expect_eq(atomic_load(&r.looked), 7, "five, and the two that were mended once more");
    cr_expect_eq(atomic_load(&r.released_off), 0);
    rig_release(&r);
}

Test(janitor, gives_up_in_the_end, .timeout = 30)
{
    struct rig r;
    struct attr shut = file_attr(0, 0, 1001);

    rig_init(&r);
    r.mends = false;
    struct janitor_options options = rig_options(&r);
    options.delay_ns = NS_PER_MS;
    rig_begin(&r, &options);
    publish(&r, 1, &shut);
    rig_end(&r);
    cr_expect_eq(r.repaired[1], REPAIRS_MAX);
    cr_expect_eq(r.found, REPAIRS_MAX + 1);
    cr_expect_eq(r.seen[REPAIRS_MAX - 1].done, DONE_REPAIRED);
    cr_expect_eq(r.seen[REPAIRS_MAX].done, DONE_GIVEN_UP);
    rig_release(&r);
}

Test(janitor, tells_of_repairs_and_looks_that_fail, .timeout = 30)
{
    struct rig r;
    struct attr shut = file_attr(0, 0, 1001);
    const char *text = NULL;
    uint64_t count = 0;

    rig_init(&r);
    r.repair_err = -ENOSPC;
    struct janitor_options options = rig_options(&r);
    rig_begin(&r, &options);
    publish(&r, 1, &shut);
    janitor_flush(r.janitor);
    rig_end(&r);
    cr_assert_eq(r.found, 1);
    cr_expect(r.seen[0].done == DONE_FAILED && r.seen[0].err == -ENOSPC);
    rig_release(&r);

    rig_init(&r);
    r.stat_err = -EIO;
    options = rig_options(&r);
    rig_begin(&r, &options);
    publish(&r, 1, &shut);
    rig_end(&r);
    cr_expect_eq(r.found, 0);
    cr_expect_eq(atomic_load(&r.looked), 0);
    cr_expect(notice_at(r.notices, 0, &text, &count) == 0 && count == 1, "it is said");
    rig_release(&r);
}

Test(janitor, flush_waits_for_nothing, .timeout = 30)
{
    struct rig r;

    rig_init(&r);
    struct janitor_options options = rig_options(&r);
    options.delay_ns = HOUR;
    rig_begin(&r, &options);
    publish(&r, 1, NULL);
    publish(&r, 2, NULL);
    usleep(20000);
    cr_expect_eq(atomic_load(&r.looked), 0);
    janitor_flush(r.janitor);
    publish(&r, 3, NULL);
    rig_end(&r);
    cr_expect_eq(atomic_load(&r.looked), 3);
    rig_release(&r);
}

/* Memory is bounded: what is too much is looked at before its time, the oldest first. */
Test(janitor, too_many_waiting, .timeout = 30)
{
    struct rig r;

    rig_init(&r);
    struct janitor_options options = rig_options(&r);
    options.delay_ns = HOUR;
    options.waiting_max = 10;
    rig_begin(&r, &options);
    for (unsigned i = 0; i < 500; i++) {
        publish(&r, i, NULL);
    }
    while (atomic_load(&r.looked) < 490) {
        usleep(1000);
    }
    usleep(20000);
    cr_expect_eq(atomic_load(&r.looked), 490);
    cr_expect_eq(atomic_load(&r.held), 10);
    janitor_flush(r.janitor);
    rig_end(&r);
    cr_expect_eq(atomic_load(&r.looked), 500);
    rig_release(&r);
}

Test(janitor, stop_drops_what_waits, .timeout = 30)
{
    struct rig r;

    rig_init(&r);
    struct janitor_options options = rig_options(&r);
    options.delay_ns = HOUR;
    rig_begin(&r, &options);
    for (unsigned i = 0; i < 100; i++) {
        publish(&r, i, NULL);
    }
    janitor_stop(r.janitor);
    publish(&r, 100, NULL);
    rig_end(&r);
    cr_expect_eq(atomic_load(&r.looked), 0);
    cr_expect_eq(atomic_load(&r.released_off), 101);
    cr_expect_not(janitor_swept(r.janitor));
    rig_release(&r);
}

/* Which are looked at: a share of them, the same ones for the same run, others for another. */
static unsigned choose(const char *run_id, uint32_t share, bool out_chosen[10000])
{
    struct rig r;
    unsigned count = 0;

    rig_init(&r);
    struct janitor_options options = rig_options(&r);
    options.run_id = run_id;
    options.share = share;
    options.delay_ns = HOUR;
    rig_begin(&r, &options);
    for (unsigned i = 0; i < 10000; i++) {
        int before = atomic_load(&r.held);
        publish(&r, i, NULL);
        out_chosen[i] = atomic_load(&r.held) != before;
        count += out_chosen[i] ? 1 : 0;
    }
    janitor_stop(r.janitor);
    rig_end(&r);
    rig_release(&r);
    return count;
}

Test(janitor, looks_at_a_share, .timeout = 60)
{
    static bool first[10000];
    static bool again[10000];
    static bool other[10000];

    unsigned count = choose(RUN, 100000, first);
    cr_expect(count > 850 && count < 1150, "%u of 10000 are ten percent", count);
    cr_expect_eq(choose(RUN, 100000, again), count);
    cr_expect_eq(memcmp(first, again, sizeof(first)), 0);
    choose("fedcba9876543210", 100000, other);
    cr_expect_neq(memcmp(first, other, sizeof(first)), 0);
    cr_expect_eq(choose(RUN, 0, other), 0);
    cr_expect_eq(choose(RUN, JANITOR_WHOLE, other), 10000);
    janitor_published(NULL, NULL, "x", NULL, NULL);
    janitor_flush(NULL);
    janitor_stop(NULL);
    janitor_join(NULL);
    janitor_destroy(NULL);
}

/* ---- the purge ---- */

#define DEAD "00000000000000dd"
#define LIVE "00000000000000ee"

static bool is_dead(void *arg, const char *run_id)
{
    (void)arg;
    return strcmp(run_id, DEAD) == 0;
}

static bool keeps(void *arg, const struct dir *dir, const char *name)
{
    (void)arg;
    (void)dir;
    return strcmp(name, ".haul." DEAD ".00000000000000aa") == 0;
}

struct sweep {
    struct rig rig;      /* must be first */
    struct dir *dirs[3]; /* one reference each */
    unsigned next;       /* of them */
    int err;             /* after the last one */
};

static int next_dir(void *arg, struct dir **out_dir)
{
    struct sweep *s = arg;
    if (s->next == 3) {
        return s->err;
    }
    *out_dir = dir_get(s->dirs[s->next++]);
    return 0;
}

static bool there(const char *base, const char *name)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", base, name);
    return lstat(path, &st) == 0;
}

static void sweep(int err, bool want_swept)
{
    char *base = tree_temp("janitor");
    struct sweep s = {.err = err};
    struct rig *r = &s.rig;
    struct store *store = NULL;
    const struct store_options o = {.side = DIR_DST, .path = base, .run_id = RUN, .max_handles = 16};

    tree_file(base, "x", "a/.haul." DEAD ".0000000000000001");
    tree_file(base, "x", "a/.haul." LIVE ".0000000000000001");
    tree_file(base, "x", "a/file");
    tree_file(base, "x", "b/.haul." DEAD ".00000000000000aa");
    tree_file(base, "x", "b/.haul." DEAD ".00000000000000ab");
    rig_init(r);
    cr_assert_eq(posix_open(&o, &store), 0);
    store_attach(store, DIR_DST, &r->tree);
    cr_assert_eq(dir_create_child(r->root, "a", 1, &s.dirs[0]), 0);
    cr_assert_eq(dir_create_child(r->root, "missing", 7, &s.dirs[1]), 0);
    cr_assert_eq(dir_create_child(r->root, "b", 1, &s.dirs[2]), 0);
    struct janitor_options options = rig_options(r);
    options.dst = store;
    options.share = 0;
    options.next_dir = next_dir;
    options.temps = (struct temps_rules){.is_dead = is_dead, .keep = keeps};
    rig_begin(r, &options);
    usleep(20000);
    cr_expect_eq(s.next, 0, "the walk comes first");
    janitor_flush(r->janitor);
    rig_end(r);
    cr_expect_eq(janitor_swept(r->janitor), want_swept);
    cr_expect_eq(atomic_load(&r->purged), 2);
    cr_expect_not(there(base, "a/.haul." DEAD ".0000000000000001"));
    cr_expect(there(base, "a/.haul." LIVE ".0000000000000001"));
    cr_expect(there(base, "a/file"));
    cr_expect(there(base, "b/.haul." DEAD ".00000000000000aa"), "one that is wanted stays");
    cr_expect_not(there(base, "b/.haul." DEAD ".00000000000000ab"));
    for (int i = 0; i < 3; i++) {
        dir_put(s.dirs[i]);
    }
    rig_release(r);
    store_destroy(store);
    tree_remove(base);
    free(base);
}

Test(janitor, purges_where_the_walk_does_not_come, .timeout = 30)
{
    sweep(-ENOENT, true);
    sweep(-EIO, false);
}
