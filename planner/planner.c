/*
 * planner: create, the threads and their phases, stop, the end of an item.
 */
#include "planner/planner.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "planner/links.h"
#include "planner/planner_internal.h"

#define LOCAL_WALKERS  2 /* more find the same locks of the kernel */
#define REMOTE_WALKERS 8 /* each waits for round trips */

void plan_failed(struct planner *p, const struct dir *dir, const char *name, const char *op, int err, bool on_source,
                 bool below)
{
    struct plan_failure failure = {.dir = dir,
                                   .name = name,
                                   .op = op,
                                   .err = err < 0 ? -err : err,
                                   .attempts = 1,
                                   .on_source = on_source,
                                   .below = below};
    if (failure.err != ECANCELED) {
        p->options.failed(p->options.arg, &failure);
    }
}

void plan_op_failed(struct walker *w, const struct port *port, const struct store_op *op, const struct dir *dir,
                    const char *name, int err, bool below)
{
    struct plan_failure failure = {.dir = dir,
                                   .name = name,
                                   .op = store_code_name(op->code),
                                   .err = err < 0 ? -err : err,
                                   .attempts = op->attempts > 0 ? op->attempts : 1,
                                   .on_source = port == w->src,
                                   .below = below};
    if (failure.err != ECANCELED) {
        w->p->options.failed(w->p->options.arg, &failure);
    }
}

static unsigned walkers_wanted(const struct plan_options *o)
{
    cpu_set_t set;

    if (o->walkers > 0) {
        return o->walkers < WALKERS_MAX ? o->walkers : WALKERS_MAX;
    }
    if (o->src->caps.network || o->dst->caps.network) {
        return REMOTE_WALKERS;
    }
    int cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return cpus < LOCAL_WALKERS ? 1 : LOCAL_WALKERS;
}

static int find_groups(struct planner *p)
{
    int count = getgroups(0, NULL);
    p->groups = calloc((size_t)(count > 0 ? count : 0) + 1, sizeof(*p->groups));
    if (count < 0 || p->groups == NULL) {
        return count < 0 ? -errno : -ENOMEM;
    }
    count = count > 0 ? getgroups(count, p->groups) : 0;
    if (count < 0) {
        return -errno;
    }
    p->groups[count] = getegid();
    p->group_count = count + 1;
    return 0;
}

/* Who we are at the destination: may we give files away, and to which groups. */
static int find_user(struct planner *p)
{
    const struct plan_user *user = p->options.user;
    if (user == NULL) {
        p->uid = geteuid();
        return find_groups(p);
    }
    p->uid = user->uid;
    p->options.user = NULL; /* it is the caller's */
    p->groups = calloc((size_t)user->count + 1, sizeof(*p->groups));
    if (p->groups == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < user->count; i++) {
        p->groups[i] = user->groups[i];
    }
    p->group_count = (int)user->count;
    return 0;
}

int planner_create(const struct plan_options *options, struct planner **out_planner)
{
    struct planner *p = calloc(1, sizeof(*p));
    int err = -ENOMEM;

    if (p == NULL) {
        return err;
    }
    p->options = *options;
    p->list_fd = -1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->change, NULL);
    err = find_user(p);
    if (err == 0 && getrandom(&p->there_seed, sizeof(p->there_seed), 0) != (ssize_t)sizeof(p->there_seed)) {
        err = -EIO;
    }
    if (err != 0) {
        goto fail;
    }
    err = -ENOMEM;
    p->walker_count = walkers_wanted(options);
    p->walkers = calloc(p->walker_count, sizeof(*p->walkers));
    if (p->walkers == NULL || stack_init(&p->stack) != 0 || links_create(&p->links) != 0) {
        goto fail;
    }
    if (options->recall != NULL && options->remove && options->files_from == NULL) {
        err = gone_create(&p->gone);
        if (err != 0) {
            goto fail;
        }
    }
    if (options->files_from != NULL) {
        p->list_fd = filesfrom_open(options->files_from);
        if (p->list_fd < 0) {
            err = p->list_fd;
            goto fail;
        }
    }
    store_attach(options->src, DIR_SRC, &p->tree);
    store_attach(options->dst, DIR_DST, &p->tree);
    if (dir_create_root(&p->tree, &p->root) != 0) {
        goto fail;
    }
    if (options->first_count > 0 && options->files_from == NULL && options->only_name == NULL) {
        err = first_create(p);
        if (err != 0) {
            goto fail;
        }
    }
    *out_planner = p;
    return 0;

fail:
    planner_destroy(p);
    return err;
}

void planner_destroy(struct planner *p)
{
    if (p == NULL) {
        return;
    }
    dir_put(p->root);
    if (p->list_fd > STDIN_FILENO) {
        close(p->list_fd);
    }
    links_destroy(p->links);
    gone_destroy(p->gone);
    first_destroy(p->first);
    stack_release(&p->stack);
    free(p->walkers);
    free(p->groups);
    pthread_cond_destroy(&p->change);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

const struct plan_counts *planner_counts(const struct planner *p)
{
    return &p->counts;
}

void planner_stop(struct planner *p)
{
    atomic_store(&p->stop, true);
    stack_stop(&p->stack);
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->walker_count; i++) {
        if (p->walkers[i].io != NULL) {
            io_cancel_sleeps(p->walkers[i].io);
        }
    }
    pthread_cond_broadcast(&p->change);
    pthread_mutex_unlock(&p->lock);
}

bool planner_wait_idle(struct planner *p)
{
    pthread_mutex_lock(&p->lock);
    while (!planner_stopping(p) && (atomic_load(&p->outstanding) > 0 || atomic_load(&p->held) > 0)) {
        pthread_cond_wait(&p->change, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return !planner_stopping(p);
}

/* --- walkers and phases --- */

static int walker_begin(struct walker *w)
{
    struct io_options direct = {.no_ring = true};
    struct io *io = NULL;
    int err = io_create(&direct, &io);
    if (err != 0) {
        return err;
    }
    io_set_mode(io, IO_DIRECT);
    pthread_mutex_lock(&w->p->lock);
    w->io = io;
    if (planner_stopping(w->p)) {
        io_cancel_sleeps(io); /* planner_stop came too early to do it */
    }
    pthread_mutex_unlock(&w->p->lock);
    err = store_port_create(w->p->options.src, w->io, &w->src);
    return err != 0 ? err : store_port_create(w->p->options.dst, w->io, &w->dst);
}

static void walker_end(struct walker *w)
{
    dir_put(w->path_dir);
    free(w->path);
    free(w->frames);
    store_port_destroy(w->dst);
    store_port_destroy(w->src);
    w->dst = NULL;
    pthread_mutex_lock(&w->p->lock);
    struct io *io = w->io;
    w->io = NULL;
    pthread_mutex_unlock(&w->p->lock);
    io_destroy(io);
}

/* What earlier runs have left is walked before all else. The root has its plan. */
static void walk_first(struct walker *w)
{
    struct planner *p = w->p;
    if (p->first == NULL) {
        return;
    }
    if (enter_prepare(w, p->root) != 0) {
        plan_left(p, p->root);
        plan_dir_done(p, NULL, p->root); /* its plan is gone: there will be no walk */
        return;
    }
    plan_of(p->root)->prepared = true;
    first_lead(w);
    /* Their parents are entered once more: where that needs a right that finishing them takes away, not before. */
    if (p->uid != 0) {
        (void)planner_wait_idle(p);
    }
}

/* Makes the first task. The stack counts the caller as active. */
static void seed(struct walker *w)
{
    struct planner *p = w->p;
    struct task task = {.dir = p->root};

    if (plan_of(p->root) == NULL) {
        return; /* reported */
    }
    count_add(&p->counts.dirs, 1);
    if (p->options.files_from == NULL && p->options.only_name == NULL) {
        walk_task(w, &task);
        return;
    }
    if (enter_prepare(w, p->root) == 0) {
        if (p->options.files_from != NULL) {
            filesfrom_run(w);
        } else {
            task.names = strdup(p->options.only_name);
            task.names_len = strlen(p->options.only_name) + 1;
            plan_dir_hold(p->root);
            if (task.names != NULL) {
                walk_task(w, &task);
            } else {
                plan_failed(p, p->root, p->options.only_name, "plan", -ENOMEM, true, false);
                plan_dir_done(p, w->dst, p->root);
            }
        }
    }
    plan_dir_done(p, w->dst, p->root);
}

static void run_phase(struct walker *w, enum phase phase)
{
    if (w->dst == NULL) {
        return; /* it could not begin: the others do its part */
    }
    switch (phase) {
    case PHASE_FIRST:
        if (w->index == 0) {
            stack_done(&w->p->stack); /* stack_begin was called before */
        }
        walk_run(w);
        break;
    case PHASE_WALK:
        if (w->index == 0) {
            seed(w);
            stack_done(&w->p->stack);
        }
        walk_run(w);
        break;
    case PHASE_LINKS:
        linkphase_run(w);
        break;
    case PHASE_END:
        break;
    }
}

void planner_phase(struct walker *lead, enum phase phase)
{
    struct planner *p = lead->p;

    pthread_mutex_lock(&p->lock);
    p->phase = phase;
    p->generation++;
    p->busy = p->walker_count - 1;
    pthread_cond_broadcast(&p->change);
    pthread_mutex_unlock(&p->lock);
    run_phase(lead, phase);
    pthread_mutex_lock(&p->lock);
    while (p->busy > 0) {
        pthread_cond_wait(&p->change, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

/* The thread of every walker but the first. */
static void *follow(void *arg)
{
    struct walker *w = arg;
    struct planner *p = w->p;
    unsigned seen = 0;
    enum phase phase;

    if (walker_begin(w) != 0) {
        notice_raise(p->options.notices, "fewer threads than wanted walk the source");
    }
    do {
        pthread_mutex_lock(&p->lock);
        while (p->generation == seen) {
            pthread_cond_wait(&p->change, &p->lock);
        }
        seen = p->generation;
        phase = p->phase;
        pthread_mutex_unlock(&p->lock);
        run_phase(w, phase);
        if (phase == PHASE_END) {
            walker_end(w);
        }
        pthread_mutex_lock(&p->lock);
        p->busy--;
        if (p->busy == 0) {
            pthread_cond_broadcast(&p->change);
        }
        pthread_mutex_unlock(&p->lock);
    } while (phase != PHASE_END);
    return NULL;
}

/* Starts the others; those that cannot be started are done without. */
static void start_followers(struct planner *p)
{
    unsigned started = 1;

    while (started < p->walker_count) {
        struct walker *w = &p->walkers[started];
        w->p = p;
        w->index = started;
        if (pthread_create(&w->thread, NULL, follow, w) != 0) {
            notice_raise(p->options.notices, "fewer threads than wanted walk the source");
            break;
        }
        started++;
    }
    pthread_mutex_lock(&p->lock);
    p->walker_count = started;
    pthread_mutex_unlock(&p->lock);
}

/* What a stopped walk left pending. */
static void drain(struct planner *p)
{
    struct task task;

    while (stack_drain(&p->stack, &task)) {
        free(task.names);
        plan_left(p, task.dir);
        plan_dir_done(p, NULL, task.dir);
    }
}

/* Tells that only what is held is left, if so. */
static void tell_if_idle(struct planner *p)
{
    if (p->options.idle != NULL && atomic_load(&p->counts.walked) && atomic_load(&p->undone) == 0) {
        p->options.idle(p->options.arg);
    }
}

static void wake_waiting(struct planner *p)
{
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->change);
    pthread_mutex_unlock(&p->lock);
}

/* The first walker's thread: leads from the walk to the end. */
static void *lead_main(void *arg)
{
    struct walker *w = arg;
    struct planner *p = w->p;

    int err = walker_begin(w);
    if (err != 0) {
        plan_failed(p, p->root, NULL, "start", err, true, true);
    } else {
        start_followers(p);
        if (plan_dir_create(p->root, true) != 0) {
            plan_failed(p, p->root, NULL, "list", -ENOMEM, true, true);
        } else {
            walk_first(w);
        }
        stack_begin(&p->stack);
        planner_phase(w, PHASE_WALK);
        drain(p);
        atomic_store(&p->counts.walked, true);
        tell_if_idle(p);
        linkphase_lead(w);
        gone_lead(w);
        if (p->removed) {
            linkphase_lead(w); /* names that had to wait for a directory in their way */
        }
        planner_phase(w, PHASE_END);
        for (unsigned i = 1; i < p->walker_count; i++) {
            pthread_join(p->walkers[i].thread, NULL);
        }
    }
    walker_end(w);
    if (err == 0 && !planner_stopping(p)) {
        atomic_store(&p->counts.complete, true);
    }
    queue_close(p->options.queue);
    return NULL;
}

int planner_start(struct planner *p)
{
    p->walkers[0].p = p;
    if (pthread_create(&p->walkers[0].thread, NULL, lead_main, &p->walkers[0]) != 0) {
        queue_close(p->options.queue);
        return -EAGAIN;
    }
    return 0;
}

void planner_join(struct planner *p)
{
    pthread_join(p->walkers[0].thread, NULL);
}

/* --- the end of an item --- */

/* A name that could not be linked is put back, to be copied. */
static void link_again(struct planner *p, const struct item *item, int result)
{
    bool full = result == -EMLINK;
    /* The next name becomes the leader of what is left of the group. */
    enum link_state state = full ? LINK_FAILED : LINK_SEPARATE;
    bool changed = false;

    int err = links_again(p->links, item->attr.dev, item->attr.ino, item->work.dir, item->name, state, &changed);
    if (err != 0) {
        plan_failed(p, item->work.dir, item->name, "remember", err, true, false);
        return;
    }
    if (full) {
        atomic_store_explicit(&p->links_full, true, memory_order_relaxed);
    }
    /* All names that find the same leader full come to one copy more. */
    if (!full || changed) {
        count_add(&p->counts.copies, 1);
        notice_raise(p->options.notices,
                     full ? "a file has more names than the destination allows: it was copied more than once"
                          : "the destination made no hard links: names of one file became separate files");
    }
}

bool planner_link_is_full(struct planner *p, const struct item *item)
{
    enum link_state state = LINK_PENDING;

    return atomic_load_explicit(&p->links_full, memory_order_relaxed) &&
           links_state(p->links, item->attr.dev, item->attr.ino, &state) == 0 && state == LINK_FAILED;
}

/* An item was carried out. Whoever waits for the last one need not wait until directories are finished after it. */
static void item_carried_out(struct planner *p)
{
    if (atomic_fetch_sub(&p->undone, 1) == 1) {
        tell_if_idle(p);
    }
}

/* Nothing is left of an item. */
static void item_over(struct planner *p)
{
    if (atomic_fetch_sub(&p->outstanding, 1) == 1) {
        wake_waiting(p);
    }
}

/* What others learn from its end. */
static void item_settle(struct planner *p, const struct port *dst, const struct item *item, int result)
{
    if (dst != NULL && item->leader) {
        int err = links_settle(p->links, item->attr.dev, item->attr.ino, result == 0 ? LINK_ARRIVED : LINK_FAILED);
        if (err == 0 && p->options.dry_run && item->kind != ITEM_ATTRS) {
            err = links_anew(p->links, item->attr.dev, item->attr.ino);
        }
        if (err != 0) {
            plan_failed(p, item->work.dir, item->name, "remember", err, true, false);
        }
    }
    if (dst != NULL && item->kind == ITEM_LINK && item_link_copies(result)) {
        link_again(p, item, result);
    }
}

static void tell_left(struct planner *p, const struct item *item, int result)
{
    if (result != 0 && !(item->kind == ITEM_LINK && item_link_copies(result))) {
        plan_left(p, item->work.dir);
    }
}

void planner_item_done(struct planner *p, struct port *dst, struct item *item, int result)
{
    item_settle(p, dst, item, result);
    tell_left(p, item, result);
    item_carried_out(p);
    plan_dir_done(p, dst, item->work.dir);
    item_destroy(item);
    item_over(p);
}

void planner_item_lost(struct planner *p, struct port *dst, struct item *item, int result)
{
    item_settle(p, dst, item, result);
    tell_left(p, item, result);
    item_carried_out(p);
    plan_dir_done(p, dst, item->work.dir);
    item_over(p);
}

void planner_finish(struct planner *p, struct port *dst, struct dir *dir)
{
    plan_dir_end(p, dst, dir);
    item_over(p);
}

void planner_finish_lost(struct planner *p, struct port *dst, struct dir *dir)
{
    plan_dir_lost(p, dst, dir);
    item_over(p);
}

/* --- what is held beyond the end of its item --- */

void planner_hold(struct planner *p, struct dir *dir)
{
    plan_dir_hold(dir);
    atomic_fetch_add(&p->held, 1);
}

static void release_over(struct planner *p)
{
    if (atomic_fetch_sub(&p->held, 1) == 1) {
        wake_waiting(p);
    }
}

void planner_release(struct planner *p, struct port *dst, struct dir *dir)
{
    plan_dir_done(p, dst, dir);
    release_over(p);
}

void planner_release_lost(struct planner *p, struct port *dst, struct dir *dir)
{
    plan_dir_lost(p, dst, dir);
    release_over(p);
}

int planner_link_anew(struct planner *p, const struct attr *attr)
{
    return links_redo(p->links, attr->dev, attr->ino);
}

struct dir *planner_root(struct planner *p)
{
    return p->root;
}
