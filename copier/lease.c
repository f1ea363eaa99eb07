#include "copier/lease.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/lease_internal.h"

#define ANSWER_NS (2 * NS_PER_SEC) /* what the thread gets to answer after it was told to stop */

/* ---- refusals ---- */

void lease_refuse(struct lease *l, const char *path, const struct lease_seen *seen)
{
    char *copy = strdup(path);
    free(l->refusal.path);
    l->refusal.path = copy;
    if (seen->parsed) {
        lease_describe(&seen->owner, l->refusal.who);
    } else {
        snprintf(l->refusal.who, sizeof l->refusal.who, "%s", "its lease is none that this haul can read");
    }
}

int lease_fail(struct lease *l, const char *step, int err)
{
    snprintf(l->refusal.who, sizeof l->refusal.who, "cannot %s: %s", step, err_text(err));
    return err;
}

/* ---- our lease ---- */

void lease_grant(struct lease *l, int64_t begun_ns)
{
    l->renewed_ns = begun_ns;
    l->safe_ns = begun_ns + 2 * l->options.period_ns;
    fence_extend(l->options.fence, begun_ns, l->safe_ns);
}

int lease_publish(struct lease *l, bool exclusive)
{
    char text[LEASE_TEXT_MAX];
    size_t len = 0;
    struct dir *haul = NULL;
    struct attr out = {0};
    l->self.renewal++;
    l->self.renewed_ns = clock_boot_ns();
    int r = lease_format(&l->self, text, &len);
    if (r == 0) {
        r = dir_create_child(l->root, HAUL_DIR, strlen(HAUL_DIR), &haul);
    }
    if (r != 0) {
        return r;
    }
    struct attr attr = {.mode = S_IFREG | 0644, .nlink = 1, .size = len};
    struct store_op op = {
        .code = STORE_PUBLISH,
        .dir = haul,
        .name = LEASE_NAME,
        .put = {.attr = &attr, .keep = STORE_KEEP_MODE, .data = text, .exclusive = exclusive, .out = &out}};
    r = lease_run(l->port, &op);
    if (r == 0) {
        atomic_store(&l->mtime_ns, clock_ns_of(&out.mtime));
    }
    l->own = out;
    dir_put(l->haul);
    l->haul = haul; /* it may stand there whatever was answered */
    return r;
}

int lease_renew(struct lease *l)
{
    struct lease_seen seen = {0};
    int64_t begun = clock_boot_ns();
    int r = lease_look(l->port, l->root, &seen);
    if (r != 0) {
        return r;
    }
    bool ours = seen.there && seen.parsed && strcmp(seen.owner.run, l->self.run) == 0;
    /* One that is gone while nobody else could have taken it was removed by hand; later nobody knows. */
    if (!ours && (seen.there || clock_boot_ns() >= l->safe_ns)) {
        if (seen.there) {
            lease_refuse(l, l->options.path, &seen);
        } else {
            snprintf(l->refusal.who, sizeof l->refusal.who, "%s", "a run that has ended since");
        }
        return -EOWNERDEAD;
    }
    if (!ours) {
        struct store_op op = {.code = STORE_MKDIR, .dir = l->root, .name = HAUL_DIR, .mkdir = {.mode = 0755}};
        (void)lease_run(l->port, &op); /* publishing tells */
    }
    r = lease_publish(l, !ours);
    if (r != 0) {
        return r;
    }
    int64_t ended = clock_boot_ns();
    l->renewed_ns = begun;
    if (ended < l->safe_ns) {
        lease_grant(l, begun); /* nobody can have taken it over in between */
        return 0;
    }
    /* Somebody may have, between look and replacing; who does is not yet sure of it for two periods, and finds ours. If
     * we were stopped in between, those are over. */
    if (ended - begun > l->options.period_ns) {
        l->shut_until_ns = ended + 2 * l->options.period_ns;
    } else if (begun >= l->shut_until_ns) {
        lease_grant(l, begun);
    }
    return 0;
}

int lease_unlock_root(struct lease *l)
{
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = l->root, .stat = {.out = &attr}};
    int r = lease_run(l->port, &op);
    if (r != 0 || (attr.mode & S_IRWXU) == S_IRWXU) {
        return r;
    }
    l->locked_mode = attr.mode;
    attr.mode |= S_IRWXU;
    op = (struct store_op){.code = STORE_SETATTR, .dir = l->root, .setattr = {.attr = &attr, .keep = STORE_KEEP_MODE}};
    r = lease_run(l->port, &op);
    l->changed_mode = r == 0;
    return r;
}

/* ---- giving it back ---- */

/* Removes what was looked at. One that is gone is no error. out_emptied: as for STORE_REMOVE. */
static int remove_entry(struct lease *l, struct dir *dir, const char *name, const struct attr *expect,
                        bool *out_emptied)
{
    struct store_op op = {.code = STORE_REMOVE, .dir = dir, .name = name, .remove = {.expect = expect}};
    op.remove.out_emptied = out_emptied;
    int r = lease_run(l->port, &op);
    return r == -ENOENT ? 0 : r;
}

/* A temp name in .haul/ of a run that is dead: known, or older than any renewal under way. */
static bool is_stale(const struct lease *l, const char *run, const struct attr *attr)
{
    if (strcmp(run, l->self.run) == 0 || strcmp(run, l->dead_run) == 0 ||
        (l->options.is_dead != NULL && l->options.is_dead(l->options.arg, run))) {
        return true;
    }
    return atomic_load(&l->mtime_ns) - clock_ns_of(&attr->mtime) > 4 * l->options.period_ns;
}

static void purge_entry(struct lease *l, struct dir *haul, const char *name)
{
    char run[RUN_ID_LEN + 1];
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = haul, .name = name, .stat = {.out = &attr}};
    if (temp_name_parse(name, run) && lease_run(l->port, &op) == 0 && S_ISREG(attr.mode) && is_stale(l, run, &attr)) {
        (void)remove_entry(l, haul, name, &attr, NULL);
    }
}

static void purge(struct lease *l)
{
    struct store_list *list = NULL;
    struct store_entry entry = {0};
    struct dir *haul = NULL;
    if (dir_create_child(l->root, HAUL_DIR, strlen(HAUL_DIR), &haul) != 0) {
        return;
    }
    struct store_op op = {.code = STORE_LIST_OPEN, .dir = haul, .list = {.list = &list}};
    if (lease_run(l->port, &op) == 0) {
        do {
            op = (struct store_op){.code = STORE_LIST_NEXT, .dir = haul, .list = {.list = &list, .out = &entry}};
            if (lease_run(l->port, &op) != 0 || entry.name == NULL) {
                break;
            }
            purge_entry(l, haul, entry.name);
        } while (true);
        op = (struct store_op){.code = STORE_LIST_CLOSE, .dir = haul, .list = {.list = &list}};
        (void)store_run(l->port, &op);
    }
    dir_put(haul);
}

/* .haul/ itself, with temp names of dead runs. One with anything else in it stays, and so does what is no directory. */
static int remove_dir(struct lease *l)
{
    int r = 0;
    for (unsigned i = 0; i < 3; i++) {
        struct store_op op = {.code = STORE_REMOVE, .dir = l->root, .name = HAUL_DIR, .remove = {.dir = true}};
        r = lease_run(l->port, &op);
        if (r == -ENOTEMPTY || r == -EEXIST) {
            purge(l);
        } else if (r == -EACCES && !l->changed_mode) {
            (void)lease_unlock_root(l);
        } else {
            break;
        }
    }
    return r == -ENOTEMPTY || r == -EEXIST || r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

/* The attributes that the root keeps when .haul/ goes. 1: none but its mode; 0; -errno. */
static int root_times(struct lease *l, bool restore, struct attr *out)
{
    struct store_op op = {.code = STORE_STAT, .dir = l->root, .stat = {.out = out}};
    if (restore && l->has_before) {
        *out = l->before; /* before anything of ours was in it */
        return 0;
    }
    return l->options.root_times ? lease_run(l->port, &op) : 1;
}

/* .haul/ is taken away, if it has not gone with the lease, and the root is as it was before that. times: as it is to
 * be; NULL: that does not matter. */
static int tidy_root(struct lease *l, bool restore, bool gone, const struct attr *times)
{
    struct attr attr = times != NULL ? *times : l->before;
    if (!restore) {
        l->changed_mode = false; /* whoever made it writable at the start has set it right since */
    }
    int r = gone ? 0 : remove_dir(l);
    if (r != 0 || (times == NULL && !l->changed_mode)) {
        return r;
    }
    if (l->changed_mode) {
        attr.mode = l->locked_mode;
    }
    unsigned keep = (l->changed_mode ? STORE_KEEP_MODE : 0) | (times != NULL ? STORE_KEEP_TIMES : 0);
    struct store_op op = {.code = STORE_SETATTR, .dir = l->root, .setattr = {.attr = &attr, .keep = keep}};
    r = lease_run(l->port, &op);
    l->changed_mode = false;
    return r;
}

/* Removes the lease, and .haul/ where out_emptied is there and that can be done with it. 0 or -errno. */
static int remove_lease(struct lease *l, bool *out_emptied)
{
    struct lease_seen seen = {0};
    /* Where it was written last, as it was written: mostly that stands there. If the directory is gone, so is the
     * lease. */
    int r = l->haul == NULL        ? 0
            : S_ISREG(l->own.mode) ? remove_entry(l, l->haul, LEASE_NAME, &l->own, out_emptied)
                                   : -ESTALE;
    if (r == -ESTALE) {
        r = lease_look_in(l->port, l->haul, &seen);
        if (r == 0 && seen.there && seen.parsed && strcmp(seen.owner.run, l->self.run) == 0) {
            r = remove_entry(l, l->haul, LEASE_NAME, &seen.attr, out_emptied);
        }
    }
    dir_put(l->haul);
    l->haul = NULL;
    return r;
}

int lease_release(struct lease *l, bool tidy, bool restore)
{
    struct attr attr = {0};
    bool gone = false;
    l->safe_ns = INT64_MIN;
    int times = tidy ? root_times(l, restore, &attr) : 1; /* asked for while it cannot be another's yet */
    int r = remove_lease(l, tidy && times >= 0 ? &gone : NULL);
    if (r == 0 && tidy) {
        r = times < 0 ? times : tidy_root(l, restore, gone, times == 0 ? &attr : NULL);
    }
    l->made_dir = false;
    return r;
}

void lease_refused(struct lease *l)
{
    bool made = l->made_dir || l->changed_mode;
    struct store_op op = {
        .code = STORE_SETATTR,
        .dir = l->root,
        .setattr = {.attr = &l->before, .keep = STORE_KEEP_TIMES, .expect = &l->now},
    };
    if (!l->options.look_only) {
        (void)lease_release(l, made, true);
    }
    if (l->stirred && !made) {
        (void)lease_run(l->port, &op); /* unless somebody has changed it since */
    }
    l->stirred = false;
}

/* ---- the thread ---- */

static int begin(struct lease *l, struct io *io)
{
    struct store_op op = {.code = STORE_STAT, .dir = l->root, .stat = {.out = &l->before}};
    int r = store_port_create(l->options.store, io, &l->port);
    if (r != 0) {
        return lease_fail(l, "begin", r);
    }
    l->self.root = l->options.store->caps.root_ino;
    if (l->options.root_fresh && l->self.root != 0) {
        return 0; /* whoever has made it takes it away again where the lease is not to be had */
    }
    r = lease_run(l->port, &op);
    l->has_before = r == 0;
    l->self.root = l->before.ino;
    l->now = l->before;
    l->stirred = r == 0 && l->options.store->caps.root_stirred;
    if (l->stirred) {
        l->before.atime = l->options.store->caps.root_atime;
        l->before.mtime = l->options.store->caps.root_mtime;
    }
    return r == 0 ? 0 : lease_fail(l, "look at the destination", r);
}

static void answer(struct lease *l, int result)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&l->lock);
    l->result = result;
    l->answered = true;
    pthread_mutex_unlock(&l->lock);
    ssize_t n = write(l->event, &one, sizeof one);
    (void)n; /* cannot fail: it is the first */
}

/* Waits that long, or for the end. True: the end. */
static bool wait_end(struct lease *l, int64_t ns)
{
    int64_t at = clock_mono_ns() + (ns > 0 ? ns : 0);
    struct timespec until = {.tv_sec = at / NS_PER_SEC, .tv_nsec = at % NS_PER_SEC};
    pthread_mutex_lock(&l->lock);
    int r = 0;
    while (!l->end && r == 0) {
        r = ns < 0 ? pthread_cond_wait(&l->change, &l->lock) : pthread_cond_timedwait(&l->change, &l->lock, &until);
    }
    bool end = l->end;
    pthread_mutex_unlock(&l->lock);
    return end;
}

/* Until the next renewal is due, which is at once where the fence is in doubt. True: the end. */
static bool wait_due(struct lease *l)
{
    int64_t step = lease_step_ns(l->options.period_ns);
    for (;;) {
        int64_t due = l->renewed_ns + l->options.period_ns - clock_boot_ns();
        if (due <= 0 || fence_doubted(l->options.fence)) {
            return wait_end(l, 0);
        }
        if (wait_end(l, due < step ? due : step)) {
            return true;
        }
    }
}

/* Without a lease of its own: the server hears of us now and then, and does not forget us. */
static void keep_in_touch(struct lease *l)
{
    while (l->options.touch_ns > 0 && !wait_end(l, l->options.touch_ns)) {
        struct attr attr = {0};
        struct store_op op = {.code = STORE_STAT, .dir = l->root, .stat = {.out = &attr, .fresh = true}};
        (void)store_run(l->port, &op); /* whoever works finds out what is wrong */
    }
}

/* Renews until the end. */
static void keep(struct lease *l)
{
    int64_t period = l->options.period_ns;
    bool network = l->options.store->caps.network;
    if (l->options.look_only) {
        keep_in_touch(l);
    }
    while (!l->options.look_only) {
        if (wait_due(l)) {
            return;
        }
        int r = lease_renew(l);
        if (r == 0) {
            continue;
        }
        bool hopeless = err_classify(r, network, false) != ERR_TRANSIENT && clock_boot_ns() >= l->safe_ns;
        if (r == -EOWNERDEAD || hopeless) {
            if (r != -EOWNERDEAD) {
                lease_fail(l, "renew the lease", r);
            }
            fence_lose(l->options.fence);
            l->options.lost(l->options.arg, -r, l->refusal.who);
            break;
        }
        if (wait_end(l, period / 5)) {
            return;
        }
    }
    (void)wait_end(l, -1);
}

static void *lease_main(void *arg)
{
    struct lease *l = arg;
    struct io *io = NULL;
    int r = io_create(&(struct io_options){.no_ring = true}, &io);
    if (r == 0) {
        io_set_mode(io, IO_DIRECT);
        fence_set_own(l->options.fence, io);
        pthread_mutex_lock(&l->lock);
        l->io = io;
        if (l->cancelled) {
            io_cancel_sleeps(io); /* that came too early to do it */
        }
        pthread_mutex_unlock(&l->lock);
        r = begin(l, io);
    } else {
        lease_fail(l, "begin", r);
    }
    r = r == 0 ? lease_acquire(l) : r;
    answer(l, r);
    int end = 0;
    if (r == 0) {
        keep(l);
        if (!l->options.look_only) {
            end = lease_release(l, l->tidy, false);
        }
    }
    store_port_destroy(l->port);
    fence_set_own(l->options.fence, NULL);
    pthread_mutex_lock(&l->lock);
    l->io = NULL;
    l->end_result = end;
    l->ended = true;
    pthread_cond_broadcast(&l->change);
    pthread_mutex_unlock(&l->lock);
    io_destroy(io);
    return NULL;
}

/* ---- for the run ---- */

static void cancel_sleeps(struct lease *l)
{
    pthread_mutex_lock(&l->lock);
    l->cancelled = true;
    if (l->io != NULL) {
        io_cancel_sleeps(l->io);
    }
    pthread_mutex_unlock(&l->lock);
}

static int create(const struct lease_options *options, struct lease **out_lease)
{
    pthread_condattr_t monotonic;
    struct lease *l = calloc(1, sizeof *l);
    if (l == NULL) {
        return -ENOMEM;
    }
    l->options = *options;
    l->safe_ns = INT64_MIN;
    l->shut_until_ns = INT64_MIN;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->change, &monotonic);
    pthread_condattr_destroy(&monotonic);
    l->event = eventfd(0, EFD_CLOEXEC);
    int r = l->event < 0 ? -errno : lease_self(&l->self);
    if (r == 0) {
        memcpy(l->self.run, options->run_id, sizeof l->self.run);
        l->self.period_ns = options->period_ns;
        store_attach(options->store, DIR_DST, &l->tree);
        r = dir_create_root(&l->tree, &l->root);
    }
    if (r == 0) {
        r = -pthread_create(&l->thread, NULL, lease_main, l);
        l->started = r == 0;
    }
    if (r != 0) {
        lease_destroy(l);
        return r;
    }
    *out_lease = l;
    return 0;
}

int lease_take(const struct lease_options *options, int stop_fd, struct lease **out_lease,
               struct lease_refusal *out_refusal)
{
    *out_refusal = (struct lease_refusal){0};
    struct lease *l = NULL;
    int r = create(options, &l);
    if (r != 0) {
        snprintf(out_refusal->who, sizeof out_refusal->who, "cannot begin: %s", err_text(r));
        *out_lease = NULL;
        return r;
    }
    *out_lease = l;
    struct pollfd fds[] = {{.fd = l->event, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    if (fds[0].revents == 0) {
        cancel_sleeps(l);
        while (poll(fds, 1, (int)(ANSWER_NS / NS_PER_MS)) < 0 && errno == EINTR) {
        }
        if (fds[0].revents == 0) {
            return -ECANCELED; /* the destination hangs */
        }
    }
    pthread_mutex_lock(&l->lock);
    r = l->result;
    pthread_mutex_unlock(&l->lock);
    if (r != 0) {
        *out_refusal = l->refusal;
        l->refusal.path = NULL;
    }
    return r;
}

bool lease_took_over(const struct lease *l, const char *run_id)
{
    return l != NULL && l->dead_run[0] != '\0' && (run_id == NULL || strcmp(l->dead_run, run_id) == 0);
}

void lease_end_begin(struct lease *l, bool tidy)
{
    pthread_mutex_lock(&l->lock);
    l->end = true;
    l->tidy = tidy;
    l->end_ns = clock_mono_ns();
    pthread_cond_broadcast(&l->change);
    pthread_mutex_unlock(&l->lock);
}

int lease_end(struct lease *l, int64_t patience_ns)
{
    int r = 0;
    pthread_mutex_lock(&l->lock);
    int64_t at = l->end_ns + patience_ns;
    struct timespec until = {.tv_sec = at / NS_PER_SEC, .tv_nsec = at % NS_PER_SEC};
    while (!l->ended && r == 0) {
        r = pthread_cond_timedwait(&l->change, &l->lock, &until);
    }
    r = l->ended ? l->end_result : -ETIMEDOUT;
    pthread_mutex_unlock(&l->lock);
    return r;
}

void lease_destroy(struct lease *l)
{
    if (l == NULL) {
        return;
    }
    if (l->started) {
        pthread_mutex_lock(&l->lock);
        l->end = true;
        pthread_cond_broadcast(&l->change);
        pthread_mutex_unlock(&l->lock);
        cancel_sleeps(l);
        pthread_join(l->thread, NULL);
    }
    dir_put(l->haul);
    dir_put(l->root);
    if (l->event >= 0) {
        close(l->event);
    }
    free(l->refusal.path);
    pthread_cond_destroy(&l->change);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
