#include "copier/look.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "copier/copyfile.h"
#include "copier/lease.h"
#include "copier/ledger.h"
#include "copier/look_report.h"
#include "copier/status.h"
#include "copier/watchdog.h"
#include "workers/stores/layers.h"

enum {
    QUEUE_SHARDS = 1,   /* nothing comes by the queue */
    WIDTH_NETWORK = 32, /* directories under way at a time, where each call is a round trip */
};

struct port *look_dst(struct worker *w)
{
    const struct engine_worker *own = worker_own(w);
    return own->dst;
}

struct port *look_src(struct worker *w)
{
    const struct engine_worker *own = worker_own(w);
    return own->src;
}

static struct port *tour_port(void *arg, struct worker *w)
{
    (void)arg;
    return look_dst(w);
}

/* ---- from the options to an open destination ---- */

static const struct look_job *job_of(enum command command)
{
    switch (command) {
    case COMMAND_CLEAN:
        return &clean_job;
    case COMMAND_SCAN:
        return &scan_job;
    case COMMAND_VERIFY:
        return &verify_job;
    default:
        return NULL;
    }
}

/* Where there is no source nothing is asked of it. */
static int open_no_source(struct engine *e)
{
    const struct store_options options = {.side = DIR_SRC, .path = "", .run_id = e->run_id};
    struct store *next = NULL;
    int r = null_open(&options, &next);
    if (r == 0) {
        r = watch_wrap(next, &next);
    }
    if (r != 0) {
        report_error(e->report, "cannot start: %s", err_text(r));
        return STATUS_CANNOT;
    }
    e->watch[DIR_SRC] = next;
    e->src = next;
    return 0;
}

/* What is looked at must be there. 0 or an exit status after a message. */
static int check_places(const struct engine *e)
{
    const struct places *p = &e->places;
    if (p->only_name != NULL || p->null) {
        report_error(e->report, "%s '%s' is not a directory", p->null ? "DST" : "SRC",
                     p->null ? e->options->destination : e->options->source);
        return STATUS_USAGE;
    }
    if (p->missing) {
        report_error(e->report, "DST '%s': %s", e->options->destination, err_text(ENOENT));
        return STATUS_CANNOT;
    }
    return 0;
}

static int open_places(struct look *l, const struct engine_budget *b)
{
    struct engine *e = &l->engine;
    const struct options *o = e->options;
    int r = engine_places_find(e);
    if (r == 0) {
        watchdog_step(e->watchdog, "SRC", o->source != NULL ? o->source : "");
        r = o->source != NULL ? engine_src_open(e, b->handles) : open_no_source(e);
    }
    if (r == 0) {
        watchdog_step(e->watchdog, "DST", o->destination);
        r = engine_dst_find(e);
    }
    if (r == 0) {
        r = check_places(e);
    }
    if (r == 0) {
        r = engine_dst_open(e, b->handles);
    }
    if (r == 0 && l->job->publishes) {
        r = engine_lease_take(e);
    }
    watchdog_step(e->watchdog, NULL, NULL);
    return r;
}

/* ---- the tour ---- */

/* Operations at a time: as many as --jobs says, else so many that round trips overlap. */
static unsigned choose_width(const struct engine *e, const struct engine_budget *b)
{
    const struct store_caps *dst = &e->dst->caps;
    const struct store_caps *src = &e->src->caps;
    unsigned width = e->options->jobs;
    if (width == 0 && (dst->network || src->network)) {
        width = dst->network && dst->in_flight_max < WIDTH_NETWORK ? dst->in_flight_max : WIDTH_NETWORK;
    }
    return width < b->jobs ? width : b->jobs;
}

static int make_pool(struct look *l, const struct engine_budget *b)
{
    struct engine *e = &l->engine;
    unsigned width = choose_width(e, b);
    const struct pool_options options = {
        .queue = e->queue,
        .workers = b->threads,
        .start = width,
        .max = width,
        .pinned = true,
        .spread = true,
        .io = {.no_ring = e->options->no_io_uring, .writes_apart = e->dst->caps.network},
        .begin = copy_begin,
        .end = copy_end,
        .attend = watchdog_attend,
        .arg = e};
    int r = pool_create(&options, &e->pool);
    if (r == 0) {
        l->width = pool_limit(e->pool);
    }
    return r;
}

static int make_tour(struct look *l)
{
    struct engine *e = &l->engine;
    const struct tour_options options = {.pool = e->pool,
                                         .width = l->width,
                                         .want_attr = l->job->want_attr,
                                         .arg = l,
                                         .port = tour_port,
                                         .begin = l->job->enter,
                                         .entry = l->job->entry,
                                         .end = l->job->leave,
                                         .over = l->job->over};
    store_attach(e->src, DIR_SRC, &l->tree);
    store_attach(e->dst, DIR_DST, &l->tree);
    int r = dir_create_root(&l->tree, &l->root);
    return r != 0 ? r : tour_create(&options, &l->tour);
}

/* Everything before the first listing. 0 or an exit status after a message. */
static int prepare(struct look *l)
{
    struct engine *e = &l->engine;
    struct engine_budget b;
    int r = engine_start(e, &b);
    if (r != 0) {
        return r;
    }
    r = open_places(l, &b);
    if (r == 0) {
        r = l->job->begin(l);
    }
    if (r != 0) {
        return r;
    }
    r = queue_create(QUEUE_SHARDS, &e->queue);
    if (r == 0) {
        r = make_pool(l, &b);
    }
    if (r == 0) {
        r = make_tour(l);
    }
    if (r != 0) {
        report_error(e->report, "cannot start: %s", err_text(r));
        return STATUS_CANNOT;
    }
    return 0;
}

/* Goes through everything. 0 or an exit status after a message. */
static int go(struct look *l)
{
    struct engine *e = &l->engine;
    pthread_t listener;
    struct look_progress *progress = NULL;
    watchdog_arm(e->watchdog);
    pool_hold(e->pool);
    queue_close(e->queue);
    atomic_store(&e->running, true);
    if (atomic_load(&e->fatal) != 0) {
        engine_stop(e); /* the lease was lost before there was anything to be stopped */
    }
    /* Only now: a stop that came earlier waits in the channel. */
    int r = pthread_create(&listener, NULL, engine_listen, e);
    if (r == 0) {
        (void)look_progress_create(l, &progress); /* without it nothing is missing */
        tour_start(l->tour, l->root);
    } else {
        report_error(e->report, "cannot start: %s", err_text(r));
    }
    pool_release(e->pool);
    pool_join(e->pool);
    look_progress_destroy(progress);
    if (r == 0) {
        shutdown(e->channel, SHUT_RD); /* ends the listener: there is nothing left to stop */
        pthread_join(listener, NULL);
    }
    return r == 0 ? 0 : STATUS_CANNOT;
}

bool look_is_cut(const struct look *l)
{
    return atomic_load(&l->cut) || !tour_whole(l->tour);
}

/* As it stands after the tour. */
static int status_of(const struct look *l)
{
    const struct engine *e = &l->engine;
    if (atomic_load(&e->interrupted) && look_is_cut(l)) {
        return atomic_load(&e->stop_status);
    }
    if (atomic_load(&e->fatal) != 0) {
        return STATUS_CANNOT;
    }
    return atomic_load(&l->counts.failed) > 0 ? STATUS_SOME_FAILED : STATUS_OK;
}

/* A state for what is found where none is: of the default place of the pair, malloc'd; NULL: it could not be made. */
static char *make_state(struct engine *e)
{
    const struct state_pair pair = {.source = e->places.source != NULL ? e->places.source : "",
                                    .destination = e->places.destination};
    struct state *state = NULL;
    char *path = NULL;
    char *aside = NULL;
    int r = state_default_path(&pair, &path);
    if (r == 0) {
        r = state_open(path, &pair, NULL, &state, &aside);
    }
    state_close(state);
    free(aside);
    if (r != 0) {
        free(path);
    }
    return r == 0 ? path : NULL;
}

void look_keep_ledger(struct look *l, const char *path)
{
    struct engine *e = &l->engine;
    char *made = *path == '\0' ? make_state(e) : NULL;
    const char *where = made != NULL ? made : path;
    if (*where == '\0' || ledger_open(where, l->job->name, e->run_id, &l->ledger) != 0) {
        notice_raise(e->notices, "what was found could not be kept in a state: haul status does not know of it");
    }
    free(made);
}

static void end_ledger(struct look *l, int status)
{
    const struct ledger_end end = {.status = status,
                                   .dirs = atomic_load(&l->counts.dirs),
                                   .entries = atomic_load(&l->counts.entries),
                                   .bytes = atomic_load(&l->counts.bytes),
                                   .findings = look_findings(l),
                                   .open = look_findings_open(l)};
    int r = ledger_end(l->ledger, &end);
    if (r != 0) {
        report_error(l->engine.report, "what was found could not be kept in the state: %s", err_text(r));
    }
}

static int run(struct look *l)
{
    struct engine *e = &l->engine;
    int r = prepare(l);
    if (r == 0) {
        r = go(l);
    }
    bool went = l->tour != NULL && r == 0;
    watchdog_step(e->watchdog, "DST", e->options->destination);
    e->lease_failed = engine_lease_end(e, true) != 0;
    watchdog_step(e->watchdog, NULL, NULL);
    engine_take_end_or_wait(e);
    if (went) {
        r = l->job->end(l, status_of(l));
        end_ledger(l, r);
    }
    return r;
}

int look_run(const struct options *options, int channel)
{
    struct look *l = calloc(1, sizeof *l);
    if (l == NULL) {
        return STATUS_CANNOT;
    }
    struct engine *e = &l->engine;
    int status = engine_begin(e, options, channel);
    e->look = l;
    l->job = job_of(options->command);
    if (status == 0) {
        status = run(l);
    }
    if (e->pool != NULL) {
        queue_close(e->queue);
        pool_join(e->pool);
    }
    if (e->pool == NULL || pool_lost(e->pool) == 0) {
        if (l->job->release != NULL) {
            l->job->release(l);
        }
        tour_destroy(l->tour);
        ledger_close(l->ledger);
        dir_put(l->root);
    }
    engine_over(e, status);
    free(l);
    return status;
}

void look_failed(struct look *l, const struct dir *dir, const char *name, const struct store_op *op, int err,
                 bool on_source, bool below)
{
    struct engine *e = &l->engine;
    const struct store *store = on_source ? e->src : e->dst;
    char *path = dir_path(dir, name);
    if (err == -ECANCELED && atomic_load(&e->stopping)) {
        atomic_store(&l->cut, true);
        free(path);
        return;
    }
    const struct report_failure failure = {.path = path != NULL ? path : "?",
                                           .op = op->step != NULL ? op->step : store_code_name(op->code),
                                           .err = abs(err),
                                           .kind = err_classify(err, store->caps.network, on_source),
                                           .attempts = op->attempts,
                                           .on_source = on_source,
                                           .below = below};
    report_failed(e->report, &failure);
    atomic_fetch_add(&l->counts.failed, 1);
    free(path);
}

void look_found(struct look *l, const struct dir *dir, const char *name, struct finding *f)
{
    char *path = dir_path(dir, name);
    f->path = path != NULL ? path : "?";
    atomic_fetch_add(&l->counts.found[f->kind][f->action], 1);
    ledger_finding(l->ledger, f);
    look_report_finding(l, f);
    free(path);
}

unsigned long look_findings(const struct look *l)
{
    unsigned long sum = 0;
    for (int kind = 0; kind < FINDING_KINDS; kind++) {
        for (int action = 0; action < FINDING_ACTIONS; action++) {
            sum += atomic_load(&l->counts.found[kind][action]);
        }
    }
    return sum;
}

unsigned long look_findings_open(const struct look *l)
{
    unsigned long sum = 0;
    for (int kind = 0; kind < FINDING_KINDS; kind++) {
        for (int action = 0; action < FINDING_ACTIONS; action++) {
            sum += finding_is_open((enum finding_action)action) ? atomic_load(&l->counts.found[kind][action]) : 0;
        }
    }
    return sum;
}

void look_left(struct look *l)
{
    if (atomic_load(&l->engine.running)) {
        engine_stop(&l->engine);
        look_report_counts(l);
    }
}
