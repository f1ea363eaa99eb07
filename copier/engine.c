#include "copier/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/channel.h"
#include "copier/copyfile.h"
#include "copier/drystate.h"
#include "copier/engine_internal.h"
#include "copier/finishdirs.h"
#include "copier/lease.h"
#include "copier/left.h"
#include "copier/metrics.h"
#include "copier/partials.h"
#include "copier/quantity.h"
#include "copier/status.h"
#include "copier/sync.h"
#include "copier/upkeep.h"
#include "copier/watchdog.h"
#include "workers/stores/layers.h"

enum {
    QUEUE_SHARDS = 128,    /* shards between planner and workers */
    FDS_OWN = 28,          /* descriptors for everything but files and directories */
    FDS_FEW = 256,         /* below that one walker and one worker must do */
    HANDLES_MAX = 2048,    /* directory descriptors kept for each side */
    RETRY_DELAY_MAX_S = 30 /* between two tries */
};

void engine_stop(struct engine *e)
{
    if (!atomic_exchange(&e->stopping, true)) {
        if (e->stop_event >= 0) {
            (void)eventfd_write(e->stop_event, 1);
        }
        upkeep_stop(e);
        if (e->planner != NULL) {
            planner_stop(e->planner);
        }
        pool_stop(e->pool);
    }
}

void *engine_listen(void *arg)
{
    struct engine *e = arg;
    struct channel_message message;
    int fd = -1;
    while (channel_receive(e->channel, &message, &fd) == 0) {
        if (fd >= 0) {
            close(fd);
        }
        if (message.kind == CHANNEL_STOP) {
            atomic_store(&e->stop_status, message.value);
            atomic_store(&e->interrupted, true);
            engine_stop(e);
        }
    }
    return NULL;
}

/* As many descriptors as we may have; returns how many. */
static unsigned raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return FDS_FEW;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            getrlimit(RLIMIT_NOFILE, &limit);
        }
    }
    return limit.rlim_cur > INT_MAX ? INT_MAX : (unsigned)limit.rlim_cur;
}

static struct engine_budget share_descriptors(unsigned fds)
{
    unsigned rest = fds > FDS_OWN + 8 ? fds - FDS_OWN : 8;
    struct engine_budget b = {.handles = rest / 4, .jobs = rest / 8, .threads = fds < FDS_FEW ? 1 : 0};
    b.handles = b.handles > HANDLES_MAX ? HANDLES_MAX : b.handles < 2 ? 2 : b.handles;
    b.jobs = b.jobs > JOBS_MAX ? JOBS_MAX : b.jobs < 1 ? 1 : b.jobs;
    return b;
}

int engine_start(struct engine *e, struct engine_budget *out_budget)
{
    unsigned fds = raise_descriptors();
    if (fds < FDS_OWN) {
        report_error(e->report, "%u file descriptors are too few, %d must be allowed at least (ulimit -n)", fds,
                     FDS_OWN);
        return STATUS_CANNOT;
    }
    int r = watchdog_create(e, &e->watchdog);
    if (r != 0) {
        report_error(e->report, "cannot start: %s", err_text(r));
        return STATUS_CANNOT;
    }
    *out_budget = share_descriptors(fds);
    return 0;
}

/* The lock of the state file: taken here, held by the supervisor. 0 or an exit status after a message. */
static int take_lock(struct engine *e)
{
    char *path = NULL;
    if (asprintf(&path, "%s.lock", e->state_path) < 0) {
        report_error(e->report, "cannot lock the state: %s", err_text(ENOMEM));
        return STATUS_CANNOT;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 ? -errno : 0;
    if (r == 0) {
        r = channel_send(e->channel, CHANNEL_LOCK, 0, fd);
    }
    if (r == -EWOULDBLOCK) {
        report_error(e->report, "another run copies '%s' to '%s' (lock %s); wait until it has ended", e->places.source,
                     e->places.destination, path);
    } else if (r != 0) {
        report_error(e->report, "cannot lock the state '%s': %s", path, err_text(r));
    }
    if (fd >= 0) {
        close(fd);
    }
    free(path);
    return r == 0 ? 0 : STATUS_CANNOT;
}

static int state_failed(struct engine *e, int r, const char *aside)
{
    const char *path = e->state_path;
    switch (r) {
    case -EBADMSG:
        report_error(e->report,
                     "the state '%s' is damaged; it is kept as '%s'. Start haul again: it compares with the "
                     "destination and makes a new one",
                     path, aside != NULL ? aside : "?");
        break;
    case -EPROTO:
        report_error(e->report, "the state '%s' was written by a newer haul; use that, or another --state", path);
        break;
    case -EXDEV:
        report_error(e->report, "the state '%s' belongs to another pair of SRC and DST; use another --state", path);
        break;
    default:
        report_error(e->report, "cannot open the state '%s': %s; use another --state", path, err_text(r));
    }
    return STATUS_CANNOT;
}

/* The real path of a file that may not exist yet, so that one file has one lock. malloc'd; NULL with errno. */
static char *real_state_path(const char *path)
{
    char *real = realpath(path, NULL);
    if (real != NULL || errno != ENOENT) {
        return real;
    }
    char *for_dir = strdup(path);
    char *for_base = strdup(path);
    char *dir = for_dir != NULL ? realpath(dirname(for_dir), NULL) : NULL;
    if (dir != NULL && for_base != NULL && asprintf(&real, "%s/%s", dir, basename(for_base)) < 0) {
        real = NULL;
    }
    free(dir);
    free(for_base);
    free(for_dir);
    return real;
}

static int choose_state_path(struct engine *e, const struct state_pair *pair)
{
    if (e->options->state == NULL) {
        return state_default_path(pair, &e->state_path);
    }
    e->state_path = real_state_path(e->options->state);
    return e->state_path == NULL ? -errno : 0;
}

/* alone: no other process may work with it. */
static int open_state_of(struct engine *e, const struct state_pair *pair, bool alone)
{
    int r = choose_state_path(e, pair);
    if (r != 0 && e->options->state != NULL) {
        report_error(e->report, "--state '%s': %s", e->options->state, err_text(r));
        return STATUS_CANNOT;
    }
    if (r != 0) {
        report_error(e->report, "no place for the state: %s; set HOME or XDG_STATE_HOME, or use --state", err_text(r));
        return STATUS_CANNOT;
    }
    struct stat st;
    if (stat(e->state_path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return state_failed(e, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL,
                            NULL); /* before a lock file is made beside it */
    }
    r = alone ? take_lock(e) : 0;
    if (r != 0) {
        return r;
    }
    char *aside = NULL;
    /* state_path is freed by release(), which the analyzer does not see. */
    r = state_open(e->state_path, pair, e->notices, &e->state, &aside); // NOLINT(clang-analyzer-unix.Malloc)
    r = r == 0 ? 0 : state_failed(e, r, aside);
    free(aside);
    return r;
}

/* A sync that changes nothing decides by what is remembered all the same. */
static int open_state_copy(struct engine *e)
{
    const struct state_pair pair = {.source = e->places.source, .destination = e->places.destination};
    int r = choose_state_path(e, &pair);
    r = r == 0 ? drystate_open(e, &pair) : r;
    if (r == -EBADMSG) {
        report_error(e->report, "the state '%s' is damaged, or none of haul's", e->state_path);
        return STATUS_CANNOT;
    }
    return r == 0 ? 0 : state_failed(e, r, NULL);
}

/* A single file is a pair of its own: it must not stand in the way of its whole directory, nor of another file. */
static int open_state(struct engine *e)
{
    const struct places *p = &e->places;
    if (p->null || (e->options->dry_run && (e->options->command != COMMAND_SYNC || p->only_name != NULL))) {
        return 0;
    }
    if (e->options->dry_run) {
        return open_state_copy(e);
    }
    if (p->only_name == NULL) {
        return open_state_of(e, &(struct state_pair){.source = p->source, .destination = p->destination}, true);
    }
    char *source = NULL;
    char *destination = NULL;
    int r = STATUS_CANNOT;
    if (asprintf(&source, "%s/%s", p->source, p->only_name) < 0) {
        source = NULL;
    }
    if (asprintf(&destination, "%s/%s", p->destination, p->only_as != NULL ? p->only_as : p->only_name) < 0) {
        destination = NULL;
    }
    if (source != NULL && destination != NULL) {
        r = open_state_of(e, &(struct state_pair){.source = source, .destination = destination}, true);
    } else {
        report_error(e->report, "cannot open the state: %s", err_text(ENOMEM));
    }
    free(source);
    free(destination);
    return r;
}

static void reader_gone(void *reader)
{
    state_reader_destroy(reader);
}

static int make_reader_key(struct engine *e)
{
    int r = -pthread_key_create(&e->reader_key, reader_gone);
    e->reader_key_made = r == 0;
    return r;
}

int engine_open_memory(struct engine *e)
{
    const struct state_pair pair = {.source = e->places.source, .destination = e->places.destination};
    int r = open_state_of(e, &pair, false);
    if (r == 0 && make_reader_key(e) != 0) {
        report_error(e->report, "cannot start: %s", err_text(ENOMEM));
        return STATUS_CANNOT;
    }
    return r;
}

static const char *ended_how(const struct state_run *p)
{
    bool stopped = p->status == STATUS_INTERRUPTED || p->status == STATUS_OUT_OF_TIME;
    return stopped ? status_stopped(p->status) : p->status < 0 ? "killed, started" : "failed";
}

/* "; failing since 2026-11-25 04:00, 5 runs"; "" where that says nothing more. */
static void failing_since(const struct engine *e, char out[96])
{
    char when[32];
    struct tm tm;
    time_t since = (time_t)(e->failing_since_ns / NS_PER_SEC);
    out[0] = '\0';
    if (e->failing > 1 && localtime_r(&since, &tm) != NULL && strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm) > 0) {
        (void)snprintf(out, 96, "; failing since %s, %llu runs", when, (unsigned long long)e->failing);
    }
}

/* "resuming run 7 (failed 2 h ago; failing since 2026-11-25 04:00, 5 runs): 2.1 TiB of 5.0 TiB done", or NULL where the
 * last run did what it should. */
static char *resumed(const struct engine *e)
{
    const struct state_run *p = &e->previous;
    if (p->number == 0 || p->status == STATUS_OK) {
        return NULL;
    }
    char ago[QUANTITY_MAX];
    char done[QUANTITY_MAX];
    char total[QUANTITY_MAX];
    char files[QUANTITY_MAX];
    char files_total[QUANTITY_MAX];
    char since[96];
    char *text = NULL;
    failing_since(e, since);
    int64_t when = p->ended_ns != 0 ? p->ended_ns : p->started_ns;
    quantity_show_duration(clock_real_ns() - when, ago);
    int len = 0;
    if (p->files_total == 0) { /* killed before it could say */
        len = asprintf(&text, "resuming run %lld (%s %s ago%s)", (long long)p->number, ended_how(p), ago, since);
    } else {
        len = asprintf(&text, "resuming run %lld (%s %s ago%s): %s of %s%s done, %s of %s entries",
                       (long long)p->number, ended_how(p), ago, since, quantity_show_bytes(p->bytes_done, done),
                       p->complete ? "" : "at least ", quantity_show_bytes(p->bytes_total, total),
                       quantity_show_count(p->files_done, files), quantity_show_count(p->files_total, files_total));
    }
    return len < 0 ? NULL : text;
}

static int begin_run(struct engine *e)
{
    char *sentence = NULL;
    if (e->state != NULL) {
        /* Not with --fsync alone: the contents are durable then, the rename is not. */
        int r = state_run_begin(e->state, e->run_id, e->dst->caps.durable, &e->run, &e->previous);
        if (r != 0) {
            return state_failed(e, r, NULL);
        }
        e->purge = !e->options->dry_run && (state_unswept(e->state) || lease_took_over(e->lease, NULL));
        if (state_failing(e->state, e->run.number, &e->failing, &e->failing_since_ns) != 0 || e->failing == 0) {
            e->failing = 0;
            e->failing_since_ns = e->run.started_ns;
        }
        sentence = resumed(e);
    }
    metrics_begin(e->metrics);
    const struct report_start start = {.source = e->places.source,
                                       .destination = e->places.destination,
                                       .state = e->state_path,
                                       .run = e->run.number,
                                       .resumed = sentence};
    report_started(e->report, &start);
    free(sentence);
    return 0;
}

static int make_planner(struct engine *e, const struct engine_budget *b)
{
    const struct options *o = e->options;
    const bool server = e->places.url.host != NULL;
    const struct plan_user user = {
        .uid = e->user.uid,
        .groups = e->user.groups,
        .count =
            e->user.count <= NFS_USER_GROUPS ? e->user.count : NFS_USER_GROUPS + 1 /* their own, and further ones */,
    };
    struct plan_options options = {
        .src = e->src,
        .dst = e->dst,
        .queue = e->queue,
        .filter = o->filter,
        .files_from = o->files_from,
        .from0 = o->from0,
        .only_name = e->places.only_name,
        .only_as = e->places.only_as,
        .root_fresh = e->places.missing,
        .one_file_system = o->one_file_system,
        .hard_links = true,
        .dry_run = e->options->dry_run,
        .archive_dirs = o->archive_dirs,
        .devices = (server ? e->user.uid : geteuid()) == 0,
        .user = server ? &user : NULL,
        .owner_required = o->owner == OWNER_REQUIRE,
        .keep = copy_keep(e),
        .xattrs = copy_xattr_kinds(o),
        .walkers = b->threads,
        .notices = e->notices,
        .arg = e,
        .known = event_known,
        .failed = event_plan_failed,
        .same = event_same,
        .made = event_made,
        .met = upkeep_met,
        .existing = event_existing,
        .idle = upkeep_idle,
        .beside = e->dst->caps.network ? finishdirs_begin : NULL,
        .owned = event_owned,
    };
    sync_plan(e, &options);
    return planner_create(&options, &e->planner);
}

static int make_pool(struct engine *e, const struct engine_budget *b)
{
    const struct options *o = e->options;
    const struct store_caps *src = &e->src->caps;
    const struct store_caps *dst = &e->dst->caps;
    unsigned start = src->in_flight > dst->in_flight ? src->in_flight : dst->in_flight;
    unsigned max = src->in_flight_max > dst->in_flight_max ? src->in_flight_max : dst->in_flight_max;
    max = max < b->jobs ? max : b->jobs;
    struct pool_options options = {
        .queue = e->queue,
        .workers = b->threads,
        .start = start < max ? start : max,
        .max = max,
        .spread = src->spread || dst->spread,
        .io = {.no_ring = o->no_io_uring, .writes_apart = dst->network},
        .begin = copy_begin,
        .end = copy_end,
        .run = copy_run,
        .attend = watchdog_attend,
        .drop = copy_drop,
        .cost = item_cost,
        .arg = e,
    };
    if (o->jobs != 0) {
        options.pinned = true;
        options.start = o->jobs < b->jobs ? o->jobs : b->jobs;
        options.max = options.start;
        if (options.start < o->jobs) {
            notice_raise(e->notices, "fewer operations in flight than --jobs: too few file descriptors (ulimit -n)");
        }
    }
    return pool_create(&options, &e->pool);
}

/* Whether anything may go through the local temp dir in this run. */
static bool is_staging_wanted(const struct engine *e)
{
    const struct options *o = e->options;
    return o->stage == STAGE_ALWAYS ||
           (o->stage == STAGE_AUTO && !e->places.null && (e->tempdir.clones || e->dst->caps.network));
}

static bool is_staging_considered(const struct engine *e)
{
    return e->options->stage != STAGE_NEVER && !e->options->dry_run;
}

/* The temp dir is made only where it may be used. 0 or an exit status after a message. */
static int open_staging(struct engine *e)
{
    if (!is_staging_considered(e) || !is_staging_wanted(e)) {
        return 0;
    }
    int r = tempdir_make(&e->tempdir, e->report);
    if (r != 0) {
        return r;
    }
    if (!e->tempdir.unusable) {
        r = staging_create(&e->tempdir, e->run_id, e->notices, e->options->temp_space, &e->staging);
    }
    if (r != 0 && e->tempdir.asked) {
        report_error(e->report, "cannot use the temp dir '%s': %s", e->tempdir.path, err_text(r));
        return STATUS_CANNOT;
    }
    if (e->staging == NULL) {
        notice_raise(e->notices, "there is no usable temp dir (--temp-dir): files go straight to the destination");
    }
    return 0;
}

/* From here on there may be temp names of this run, which is to be known for dead should it be killed. 0 or an exit
 * status after a message. */
static int announce(struct engine *e)
{
    int r = e->state != NULL && !e->options->dry_run ? state_announce(e->state, e->run_id) : 0;
    return r == 0 ? 0 : state_failed(e, r, NULL);
}

/* Everything between the checks and the walk. 0 or an exit status after a message. */
static int prepare(struct engine *e, const struct engine_budget *b)
{
    watchdog_step(e->watchdog, "DST", e->options->destination);
    int r = sync_expect(e);
    if (r == 0) {
        r = announce(e);
    }
    if (r == 0) {
        r = engine_dst_open(e, b->handles);
    }
    watchdog_step(e->watchdog, NULL, NULL);
    if (r == 0) {
        watchdog_step(e->watchdog, "the temp dir", e->tempdir.path);
        r = open_staging(e);
        watchdog_step(e->watchdog, NULL, NULL);
    }
    if (r == 0 && !sync_may_idle(e)) {
        r = engine_lease_take(e);
    }
    if (r == 0) {
        r = begin_run(e);
    }
    if (r == 0) {
        r = sync_check(e);
    }
    if (r == 0 && (e->purge || !e->sync.trust) && engine_own(e) != 0) {
        r = STATUS_CANNOT;
    }
    if (r == 0) {
        r = sync_begin(e);
    }
    if (r != 0) {
        return r;
    }
    r = queue_create(QUEUE_SHARDS, &e->queue);
    if (r == 0) {
        r = make_reader_key(e);
    }
    if (r == 0) {
        r = make_planner(e, b);
        if (r != 0 && e->options->files_from != NULL) {
            report_error(e->report, "--files-from '%s': %s", e->options->files_from, err_text(r));
            return STATUS_CANNOT;
        }
    }
    if (r == 0) {
        r = partials_create(e, &e->partials);
    }
    if (r == 0) {
        r = upkeep_create(e);
    }
    if (r == 0) {
        r = make_pool(e, b);
    }
    if (r != 0) {
        report_error(e->report, "cannot start: %s", err_text(r));
        return STATUS_CANNOT;
    }
    return 0;
}

static void copy(struct engine *e)
{
    pthread_t listener;
    watchdog_arm(e->watchdog);
    int r = ticker_create(e, &e->ticker);
    if (r == 0) {
        r = upkeep_start(e);
    }
    if (r == 0) {
        r = planner_start(e->planner);
    }
    if (r != 0) {
        report_error(e->report, "cannot start: %s", err_text(r));
        atomic_store(&e->fatal, abs(r));
        queue_close(e->queue);
        pool_join(e->pool);
        upkeep_join(e);
        ticker_stop(e->ticker);
        return;
    }
    atomic_store(&e->running, true);
    if (atomic_load(&e->fatal) != 0) {
        engine_stop(e); /* the lease was lost before there was anything to be stopped */
    }
    /* Only now: a stop that came earlier waits in the channel, and finds a planner and a pool to be stopped. */
    r = pthread_create(&listener, NULL, engine_listen, e);
    if (r != 0) {
        report_error(e->report, "cannot start: %s", err_text(r));
        atomic_store(&e->fatal, r);
        engine_stop(e);
    }
    planner_join(e->planner);
    pool_join(e->pool);
    upkeep_join(e);
    sync_over(e);
    if (atomic_load(&planner_counts(e->planner)->complete) && !atomic_load(&e->stopping)) {
        partials_sweep(e);
    }
    if (r == 0) {
        shutdown(e->channel, SHUT_RD); /* ends the listener: there is nothing left to stop */
        pthread_join(listener, NULL);
    }
    ticker_stop(e->ticker); /* a background sync that is under way must not delay the end */
}

/* Before anything is created: the list must be there. 0 or an exit status after a message. */
static int check_list(const struct engine *e)
{
    const char *list = e->options->files_from;
    if (list == NULL || strcmp(list, "-") == 0 || access(list, R_OK) == 0) {
        return 0;
    }
    report_error(e->report, "--files-from '%s': %s", list, err_text(errno));
    return STATUS_CANNOT;
}

/* What looks at SRC and DST before anything else does. 0 or an exit status after a message. */
static int find_places(struct engine *e, const struct engine_budget *b)
{
    int r = engine_places_find(e);
    if (r == 0) {
        r = check_list(e);
    }
    if (r == 0) {
        watchdog_step(e->watchdog, "SRC", e->options->source);
        r = engine_src_open(e, b->handles);
    }
    if (r == 0) {
        watchdog_step(e->watchdog, "DST", e->options->destination);
        r = engine_dst_find(e);
    }
    watchdog_step(e->watchdog, NULL, NULL);
    return r;
}

/* Gives the lease back and takes leave of the server; the destination may not answer. */
static void end_lease(struct engine *e, bool succeeded)
{
    watchdog_step(e->watchdog, "DST", e->options->destination);
    e->lease_failed = engine_lease_end(e, succeeded) != 0;
    watchdog_step(e->watchdog, NULL, NULL);
}

/* What has gone past the mount is to be seen through it. */
static void refresh_mount(struct engine *e)
{
    if (e->places.mounted != NULL && !e->options->dry_run && !atomic_load(&e->stopping)) {
        watchdog_step(e->watchdog, "the mount", e->places.mounted);
        direct_refresh(e->places.mounted);
        watchdog_step(e->watchdog, NULL, NULL);
    }
}

void engine_take_end_or_wait(struct engine *e)
{
    if (!engine_take_end(e)) {
        for (;;) {
            pause();
        }
    }
    watchdog_destroy(e->watchdog);
    e->watchdog = NULL;
}

/* The whole run. Returns the exit status; everything is still there to be released. */
static int run(struct engine *e)
{
    struct engine_budget b;
    int r = engine_start(e, &b);
    if (r != 0) {
        return r;
    }
    watchdog_step(e->watchdog, "the metrics file", e->options->metrics);
    r = metrics_start(e);
    watchdog_step(e->watchdog, NULL, NULL);
    if (r == 0) {
        r = find_places(e, &b);
    }
    if (r == 0 && is_staging_considered(e)) {
        watchdog_step(e->watchdog, "the temp dir", e->options->temp_dir != NULL ? e->options->temp_dir : "$TMPDIR");
        r = tempdir_find(e->options, &e->places, e->report, &e->tempdir);
        watchdog_step(e->watchdog, NULL, NULL);
    }
    if (r == 0) {
        r = open_state(e);
    }
    if (r == 0) {
        r = prepare(e, &b);
    }
    if (r != 0) {
        end_lease(e, true);
        engine_take_end_or_wait(e);
        if (e->run.number != 0) {
            state_run_end(e->state, r);
        } else if (e->state != NULL && !e->options->dry_run) {
            (void)state_withdraw(e->state, e->run_id); /* else later runs look for what it has not left */
        }
        metrics_end(e->metrics, r, METRICS_WAIT_NS);
        return r;
    }
    copy(e);
    refresh_mount(e);
    engine_dst_learn(e, engine_status(e) == STATUS_OK);
    end_lease(e, engine_status(e) == STATUS_OK && e->options->command == COMMAND_COPY);
    engine_take_end_or_wait(e);
    return engine_finish(e);
}

static void release(struct engine *e)
{
    ticker_destroy(e->ticker);
    lease_destroy(e->lease); /* it stops what is stopped below */
    if (e->planner == NULL || e->pool == NULL) {
        if (e->queue != NULL) {
            queue_close(e->queue);
        }
        if (e->pool != NULL) {
            pool_join(e->pool);
        }
    }
    metrics_destroy(e->metrics);
    upkeep_destroy(e);
    partials_destroy(e->partials);
    pool_destroy(e->pool);
    planner_destroy(e->planner);
    left_destroy(e->left);
    queue_destroy(e->queue);
    staging_destroy(e->staging);
    tempdir_release(&e->tempdir);
    store_destroy(e->dst != NULL ? e->dst : e->bare);
    store_destroy(e->src);
    nfs_user_release(&e->user);
    if (e->reader_key_made) {
        pthread_key_delete(e->reader_key);
    }
    state_close(e->state);
    if (e->stop_event >= 0) {
        close(e->stop_event);
    }
    drystate_drop(e);
    free(e->state_path);
    direct_release(&e->direct);
    places_release(&e->places);
    notices_destroy(e->notices);
    report_destroy(e->report);
}

int engine_begin(struct engine *e, const struct options *options, int channel)
{
    const struct report_options how = {.json = options->json,
                                       .quiet = options->quiet,
                                       .stats = options->stats,
                                       .progress = options->progress,
                                       .dry_run = options->dry_run};
    *e = (struct engine){.options = options,
                         .channel = channel,
                         .begun_ns = clock_mono_ns(),
                         .begun_real_ns = clock_real_ns(),
                         .stop_event = -1,
                         .tempdir = {.parent = -1, .fd = -1}};
    fence_init(&e->fence);
    pthread_mutex_init(&e->sync.lock, NULL);
    pthread_mutex_init(&e->own_lock, NULL);
    e->umask = umask(0); /* modes are set exactly as asked */
    if (report_create(&how, &e->report) != 0) {
        return STATUS_CANNOT;
    }
    e->counts = report_counts(e->report);
    e->retry = (struct retry_options){.retries = options->retries,
                                      .delay_ns = options->retry_delay_ns,
                                      .delay_max_ns = RETRY_DELAY_MAX_S * NS_PER_SEC,
                                      .counter = &e->counts->retries};
    int r = notices_create(&e->notices);
    if (r == 0) {
        r = run_id_make(e->run_id);
    }
    if (r != 0) {
        report_error(e->report, "cannot start: %s", err_text(r));
        return STATUS_CANNOT;
    }
    return 0;
}

/* What a hung file system does to the rest does not change the result. */
int engine_over(struct engine *e, int status)
{
    if (e->pool != NULL && pool_lost(e->pool) > 0) {
        engine_exit(e, status);
    }
    channel_send(e->channel, CHANNEL_RESULT, status, -1);
    release(e);
    return status;
}

int engine_run(const struct options *options, int channel)
{
    struct engine e;
    int status = engine_begin(&e, options, channel);
    if (status == 0) {
        status = run(&e);
    }
    return engine_over(&e, status);
}
