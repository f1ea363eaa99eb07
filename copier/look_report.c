#include "copier/look_report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/name.h"
#include "copier/finding_json.h"
#include "copier/quantity.h"
#include "copier/report_server.h"
#include "copier/report_times.h"

#define PLAIN_NS    (30 * NS_PER_SEC) /* between progress lines in a log */
#define EVENT_NS    (1 * NS_PER_SEC)  /* between lines with --progress, and JSON events */
#define TERMINAL_NS (200 * NS_PER_MS) /* between lines on a terminal */

static unsigned long get(const atomic_ulong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Findings of a kind, whatever became of them. */
static unsigned long of_kind(const struct look *l, enum finding_kind kind)
{
    unsigned long sum = 0;
    for (int action = 0; action < FINDING_ACTIONS; action++) {
        sum += get(&l->counts.found[kind][action]);
    }
    return sum;
}

void look_report_start(struct look *l, const char *state)
{
    const struct engine *e = &l->engine;
    json_t *event = json_event("start");
    json_set_text(event, "command", l->job->name);
    json_set_text(event, "destination", e->places.destination);
    if (e->places.source != NULL) {
        json_set_text(event, "source", e->places.source);
    }
    if (*state != '\0') {
        json_set_text(event, "state", state);
    }
    report_event(e->report, event);
}

/* ---- one finding ---- */

void look_report_finding(struct look *l, const struct finding *f)
{
    struct report *r = l->engine.report;
    if (report_is_json(r)) {
        report_event(r, finding_json(f));
        return;
    }
    if (l->job->quiet && !l->engine.options->dry_run) {
        return;
    }
    char *path = name_show(f->path);
    char why[160] = "";
    if (f->why != NULL || f->err != 0) {
        (void)snprintf(why, sizeof why, " (%s%s%s)", f->why != NULL ? f->why : "",
                       f->why != NULL && f->err != 0 ? ": " : "", f->err != 0 ? err_text(f->err) : "");
    }
    report_line(r, "%-10s  %-9s  %-7s  %s: %s%s", finding_kind_name(f->kind), finding_sure_name(f->sure),
                finding_action_name(f->action), path != NULL ? path : "?", f->evidence, why);
    free(path);
}

/* ---- the end ---- */

void look_report_counts(struct look *l)
{
    char text[256];
    char count[QUANTITY_MAX];
    for (int kind = 0; kind < FINDING_KINDS; kind++) {
        int len = 0;
        if (of_kind(l, (enum finding_kind)kind) == 0) {
            continue;
        }
        for (int action = 0; action < FINDING_ACTIONS; action++) {
            unsigned long n = get(&l->counts.found[kind][action]);
            if (n > 0) {
                len += snprintf(text + len, sizeof text - (size_t)len, "%s%s %s", len > 0 ? ", " : "",
                                quantity_show_count(n, count), finding_action_name((enum finding_action)action));
            }
        }
        report_say(l->engine.report, "%s: %s", finding_kind_name((enum finding_kind)kind), text);
    }
}

/* What was measured, which goes into the event, or with --stats to people. */
static void tell_times(struct look *l, json_t *event)
{
    const struct engine *e = &l->engine;
    struct watch_times times[DIR_SIDES] = {0};
    const struct watch_times *out_of[DIR_SIDES] = {NULL, NULL};
    struct server_facts facts[DIR_SIDES];
    for (int side = 0; side < DIR_SIDES; side++) {
        bool asked = side == DIR_DST || e->options->source != NULL;
        out_of[side] = asked && watch_times(e->watch[side], &times[side]) == 0 ? &times[side] : NULL;
        const struct server_facts *nfs = engine_facts(e, side, &facts[side]);
        report_server_json(event, side, nfs);
        if (e->options->stats) {
            report_server_text(e->report, side, nfs);
        }
    }
    report_times_json(event, out_of);
    if (e->options->stats) {
        report_times_text(e->report, out_of);
    }
    for (int side = 0; side < DIR_SIDES; side++) {
        watch_times_release(&times[side]);
    }
}

static json_t *counts_json(const struct look *l)
{
    json_t *all = json_object();
    for (int kind = 0; kind < FINDING_KINDS; kind++) {
        json_t *one = NULL;
        for (int action = 0; action < FINDING_ACTIONS; action++) {
            unsigned long n = get(&l->counts.found[kind][action]);
            if (n > 0) {
                one = one != NULL ? one : json_object();
                json_set_number(one, finding_action_name((enum finding_action)action), n);
            }
        }
        if (one != NULL) {
            json_object_set_new(all, finding_kind_name((enum finding_kind)kind), one);
        }
    }
    return all;
}

int look_report_end(struct look *l, int status, const struct look_figure *figures, unsigned count)
{
    struct engine *e = &l->engine;
    json_t *event = json_event("end");
    report_notices(e->report, e->notices);
    json_set_text(event, "command", l->job->name);
    json_set_number(event, "status", (uint64_t)status);
    json_object_set_new(event, "seconds", json_real((double)(clock_mono_ns() - e->begun_ns) / 1e9));
    json_object_set_new(event, "interrupted", json_boolean(look_is_cut(l)));
    json_set_number(event, "dirs", get(&l->counts.dirs));
    json_set_number(event, "entries", get(&l->counts.entries));
    json_set_number(event, "failed", get(&l->counts.failed));
    json_set_number(event, "findings", look_findings(l));
    for (unsigned i = 0; i < count; i++) {
        json_set_number(event, figures[i].key, figures[i].value);
    }
    json_set_number(event, "retries", get(&e->counts->retries));
    json_object_set_new(event, "found", counts_json(l));
    tell_times(l, event);
    report_event(e->report, event);
    return report_flush(e->report);
}

/* ---- progress ---- */

struct look_progress {
    struct look *look;    /* not owned */
    pthread_t thread;     /* shows it */
    pthread_mutex_t lock; /* for stop */
    pthread_cond_t wake;  /* signalled on stop (CLOCK_MONOTONIC) */
    bool stop;            /* guarded by lock */
};

/* Waits ns or until the end; false at the end. */
static bool pause_for(struct look_progress *p, int64_t ns)
{
    const int64_t until_ns = clock_mono_ns() + ns;
    const struct timespec until = {.tv_sec = until_ns / NS_PER_SEC, .tv_nsec = until_ns % NS_PER_SEC};
    int r = 0;
    pthread_mutex_lock(&p->lock);
    while (!p->stop && r == 0) {
        r = pthread_cond_timedwait(&p->wake, &p->lock, &until);
    }
    bool go_on = !p->stop;
    pthread_mutex_unlock(&p->lock);
    return go_on;
}

static void show(struct look *l)
{
    struct report *r = l->engine.report;
    char dirs[QUANTITY_MAX];
    char entries[QUANTITY_MAX];
    char found[QUANTITY_MAX];
    char bytes[QUANTITY_MAX];
    char line[256];
    unsigned long read = get(&l->counts.bytes);
    (void)snprintf(line, sizeof line, "%s entries in %s directories%s%s, %s findings",
                   quantity_show_count(get(&l->counts.entries), entries),
                   quantity_show_count(get(&l->counts.dirs), dirs), read > 0 ? ", " : "",
                   read > 0 ? quantity_show_bytes(read, bytes) : "", quantity_show_count(look_findings(l), found));
    report_progress_line(r, line);
    if (report_is_json(r)) {
        json_t *event = json_event("progress");
        json_set_number(event, "dirs", get(&l->counts.dirs));
        json_set_number(event, "entries", get(&l->counts.entries));
        json_set_number(event, "bytes", read);
        json_set_number(event, "findings", look_findings(l));
        report_event(r, event);
    }
}

static void *show_now_and_then(void *arg)
{
    struct look_progress *p = arg;
    const struct options *o = p->look->engine.options;
    int64_t step = report_on_terminal(p->look->engine.report) ? TERMINAL_NS
                   : o->progress || o->json                   ? EVENT_NS
                                                              : PLAIN_NS;
    while (pause_for(p, step)) {
        show(p->look);
    }
    return NULL;
}

int look_progress_create(struct look *l, struct look_progress **out_progress)
{
    struct look_progress *p = calloc(1, sizeof *p);
    pthread_condattr_t attr;
    if (p == NULL) {
        return -ENOMEM;
    }
    p->look = l;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&p->lock, NULL);
    if (pthread_create(&p->thread, NULL, show_now_and_then, p) != 0) {
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->lock);
        free(p);
        return -EAGAIN;
    }
    *out_progress = p;
    return 0;
}

void look_progress_destroy(struct look_progress *p)
{
    if (p != NULL) {
        pthread_mutex_lock(&p->lock);
        p->stop = true;
        pthread_cond_signal(&p->wake);
        pthread_mutex_unlock(&p->lock);
        pthread_join(p->thread, NULL);
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->lock);
        free(p);
    }
}
