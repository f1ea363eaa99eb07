/*
 * engine_lease: the lease of a run: when it is taken, what is said about it, when it goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/engine_internal.h"
#include "copier/lease.h"
#include "copier/look.h"
#include "copier/quantity.h"
#include "copier/status.h"
#include "copier/sync.h"
#include "workers/stores/nfs41/nfs41.h"
#include "workers/stores/posix.h"

#define TOUCH_NS     (10 * NS_PER_SEC) /* where a server does not say how soon it forgets us */
#define PATIENCE_NS  (2 * NS_PER_SEC)  /* for giving the lease back: P8 leaves 5 s for everything */
#define LEAVE_NS     (5 * NS_PER_SEC)  /* for that, and for taking leave of the server: all that P8 leaves */
#define LOOK_HANDLES 4

#ifdef HAUL_TEST_FAULTS
/* Builds for tests may renew more often, so that they do not last for minutes. */
static int64_t period(void)
{
    const char *ms = getenv("HAUL_TEST_PERIOD");
    return ms != NULL ? strtol(ms, NULL, 10) * NS_PER_MS : LEASE_PERIOD_NS;
}
#else
static int64_t period(void)
{
    return LEASE_PERIOD_NS;
}
#endif

/* ---- above: up to the root of the mount or export ---- */

/* Where a directory is: file system, inode, mount. 0 or -errno. */
static int where_is(const char *path, struct statx *out)
{
    return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_INO | STATX_MNT_ID, out) == 0 ? 0 : -errno;
}

static bool same_place(const struct statx *a, const struct statx *b)
{
    return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor;
}

/* A subvolume has a device number of its own within one mount, a bind mount shares it: only what differs in both is
 * another file system. */
static bool same_mount(const struct statx *a, const struct statx *b)
{
    bool same_dev = a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor;
    bool known = (a->stx_mask & b->stx_mask & STATX_MNT_ID) != 0;
    return same_dev || (known && a->stx_mnt_id == b->stx_mnt_id);
}

/* The real path of the directory so many levels above, malloc'd; NULL with errno. */
static char *path_above(const char *path, unsigned levels)
{
    char *up = malloc(strlen(path) + 3 * (size_t)levels + 1);
    if (up == NULL) {
        return NULL;
    }
    char *end = stpcpy(up, path);
    for (unsigned i = 0; i < levels; i++) {
        end = stpcpy(end, "/..");
    }
    char *real = realpath(up, NULL);
    int err = errno;
    free(up);
    errno = err;
    return real;
}

int engine_lease_above(void *arg, struct io *io, unsigned levels, struct store **out_store, char **out_path)
{
    struct engine *e = arg;
    struct statx here;
    struct statx below;
    if (e->places.url.host != NULL) {
        return engine_dst_above(e, io, levels, out_store, out_path);
    }
    char *under = path_above(e->places.destination, levels - 1);
    char *path = under != NULL ? path_above(under, 1) : NULL;
    if (path == NULL) {
        int err = errno;
        free(under);
        return err != 0 ? -err : -ENOMEM;
    }
    int r = where_is(path, &here);
    if (r == 0) {
        r = where_is(under, &below);
    }
    if (r == 0 && (same_place(&here, &below) || !same_mount(&here, &below))) {
        r = -ENOENT;
    }
    if (r == 0) {
        const struct store_options options = {
            .side = DIR_DST, .path = path, .run_id = e->run_id, .max_handles = LOOK_HANDLES, .notices = e->notices};
        r = posix_open(&options, out_store);
    }
    free(under);
    if (r != 0) {
        free(path);
        return r;
    }
    *out_path = path;
    return 0;
}

/* ---- what the lease tells ---- */

static void waiting(void *arg, const char *path, const char *who, bool lives, int64_t ns)
{
    struct engine *e = arg;
    char time[QUANTITY_MAX];
    quantity_show_duration(ns, time);
    if (lives) {
        report_say(e->report, "another run works on '%s' (%s): waiting for it, at most %s", path, who, time);
    } else {
        report_say(e->report, "'%s' holds the lease of another run (%s): looking whether it lives, at most %s", path,
                   who, time);
    }
}

static void lost(void *arg, int err, const char *who)
{
    struct engine *e = arg;
    int none = 0;
    if (err == EOWNERDEAD) {
        report_error(e->report, "another run has taken '%s' over (%s): this run leaves", e->places.destination, who);
    } else {
        report_error(e->report, "'%s': %s: this run leaves", e->places.destination, who);
    }
    atomic_compare_exchange_strong(&e->fatal, &none, err);
    if (atomic_load(&e->running)) {
        engine_stop(e);
    } /* else the run looks at fatal as soon as it runs */
}

static bool is_dead(void *arg, const char *run_id)
{
    struct engine *e = arg;
    return e->state != NULL && e->run.number != 0 && state_run_is_dead(e->state, run_id);
}

static void evict(void *arg, struct io *io, const char *run_id)
{
    struct engine *e = arg;
    if (nfs41_evict(e->bare, io, run_id) != 0) {
        notice_raise(e->notices, "the server could not be told to end what it still does for the run before");
    }
}

/* A server of NFSv3 knows of no client. */
static bool can_evict(const struct engine *e)
{
    return e->places.url.host != NULL && e->places.url.version == URL_NFS41;
}

/* How often a server must hear of us: a third of the time after which it forgets us. 0: it is no server. */
static int64_t touch_period(const struct engine *e)
{
    struct nfs41_facts facts;
    if (nfs41_facts(e->bare, &facts) != 0) {
        return 0;
    }
    return facts.lease_s > 0 ? facts.lease_s * NS_PER_SEC / 3 : TOUCH_NS;
}

int event_owned(void *arg, struct port *dst, struct dir *dir)
{
    struct engine *e = arg;
    char who[LEASE_WHO_MAX];
    if (engine_own(e) != 0) {
        return -ECANCELED;
    }
    int r = e->lease != NULL ? lease_check_dir(e->lease, dst, dir, who) : 0;
    if (r == -ERR_OWNED) {
        char *path = dir_path(dir, NULL);
        char *shown = name_show(path != NULL ? path : "?");
        report_error(e->report, "%s: another run works there: %s", shown != NULL ? shown : "?", who);
        free(shown);
        free(path);
    }
    return r;
}

/* ---- from start to end ---- */

struct fence *engine_fence(struct engine *e)
{
    bool takes = !e->options->dry_run && !e->places.null && e->places.only_name == NULL &&
                 (e->look == NULL || e->look->job->publishes);
    return takes ? &e->fence : NULL;
}

/* lease_take, until stop_fd is readable. */
static int take(struct engine *e, int stop_fd, struct lease_refusal *out_refusal)
{
    const struct lease_options options = {.store = e->bare,
                                          .fence = &e->fence,
                                          .run_id = e->run_id,
                                          .path = e->places.destination,
                                          .look_only = e->places.only_name != NULL,
                                          .root_times = e->options->archive_dirs,
                                          .root_fresh = e->places.missing,
                                          .period_ns = period(),
                                          .touch_ns = touch_period(e),
                                          .wait_ns = e->options->wait_ns,
                                          .notices = e->notices,
                                          .arg = e,
                                          .above = engine_lease_above,
                                          .waiting = waiting,
                                          .lost = lost,
                                          .evict = can_evict(e) ? evict : NULL,
                                          .is_dead = is_dead};
    return lease_take(&options, stop_fd, &e->lease, out_refusal);
}

/* Why it could not be had. */
static void tell_refusal(const struct engine *e, int err, const struct lease_refusal *refusal)
{
    if (err == -ERR_OWNED) {
        report_error(e->report,
                     "another run works on '%s' (%s); wait until it has ended, or let this one wait with --wait",
                     refusal->path != NULL ? refusal->path : e->places.destination, refusal->who);
    } else {
        report_error(e->report, "no lease on DST '%s': %s", e->places.destination, refusal->who);
    }
}

int engine_lease_take(struct engine *e)
{
    struct lease_refusal refusal = {0};
    int r = e->options->dry_run || e->places.null ? 0 : take(e, e->channel, &refusal);
    if (r == 0) {
        atomic_store(&e->owns, true);
        return 0;
    }
    int status = STATUS_CANNOT;
    if (r == -ECANCELED) {
        bool over = e->options->until_ns != 0 && clock_mono_ns() >= e->options->until_ns;
        status = over ? STATUS_OUT_OF_TIME : STATUS_INTERRUPTED;
        report_error(e->report, "%s: NOT everything arrived; the next run goes on", status_stopped(status));
    } else {
        tell_refusal(e, r, &refusal);
    }
    free(refusal.path);
    engine_dst_unmake(e);
    return status;
}

/* Once the walk has begun, or is about to. own_lock is held. */
static int take_late(struct engine *e)
{
    struct lease_refusal refusal = {0};
    int none = 0;
    int r = take(e, e->stop_event, &refusal);
    if (r != 0 && r != -ECANCELED) {
        tell_refusal(e, r, &refusal);
    }
    free(refusal.path);
    r = r == 0 ? sync_still(e) : r;
    if (r != 0 && r != -ECANCELED) {
        atomic_compare_exchange_strong(&e->fatal, &none, abs(r));
    }
    return r;
}

int engine_own(void *arg)
{
    struct engine *e = arg;
    if (e->options->dry_run || atomic_load_explicit(&e->owns, memory_order_acquire)) {
        return 0;
    }
    pthread_mutex_lock(&e->own_lock);
    bool late = !atomic_load(&e->owns) && e->own_err == 0;
    if (late) {
        e->own_err = take_late(e);
        atomic_store(&e->owns, e->own_err == 0);
    }
    int r = e->own_err;
    pthread_mutex_unlock(&e->own_lock);
    if (r != 0 && late && atomic_load(&e->running)) {
        engine_stop(e);
    } /* else the run looks at fatal as soon as it runs */
    return r;
}

int engine_lease_end(struct engine *e, bool tidy)
{
    if (e->lease_ended) {
        return 0;
    }
    e->lease_ended = true;
    int64_t until = clock_mono_ns() + LEAVE_NS;
    if (e->lease != NULL) {
        lease_end_begin(e->lease, tidy);
    }
    nfs41_leave(e->bare, until); /* beside that: what nobody uses any more. The lease's own session is the last one */
    if (e->lease == NULL) {
        return 0;
    }
    int r = lease_end(e->lease, PATIENCE_NS);
    nfs41_leave(e->bare, until);
    if (r != 0) {
        report_error(e->report, "the lease on DST '%s' could not be given back: %s", e->places.destination,
                     err_text(r));
    }
    return r;
}
