#include "copier/history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/errs.h"
#include "base/name.h"
#include "copier/history_looks.h"
#include "copier/json.h"
#include "copier/quantity.h"
#include "copier/state.h"
#include "copier/status.h"

enum { RUNS_OF_ONE = 20, TIME_MAX = 32 };

/* One call of history_show. */
struct showing {
    const struct options *options; /* not owned */
    FILE *out;                     /* not owned */
    FILE *errors;                  /* not owned */
    char *real;     /* the destination as states have it; NULL: none is asked for, or there is none; owned */
    unsigned shown; /* pairs */
    int status;     /* exit status so far */
};

static const char *how(const struct state_run *run, bool running)
{
    switch (run->status) {
    case STATUS_OK:
        return "everything arrived";
    case STATUS_CANNOT:
        return "stopped early";
    case STATUS_SOME_FAILED:
        return "some failed";
    case STATUS_SOME_CHANGED:
        return "some vanished or kept changing";
    case STATUS_MAX_DELETE:
        return "too much to remove";
    case STATUS_INTERRUPTED:
    case STATUS_OUT_OF_TIME:
        return status_stopped(run->status);
    default:
        return running ? "running" : "killed";
    }
}

static const char *show_time(int64_t ns, char out[TIME_MAX])
{
    time_t seconds = (time_t)(ns / NS_PER_SEC);
    struct tm tm;
    if (localtime_r(&seconds, &tm) == NULL || strftime(out, TIME_MAX, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
        out[0] = '\0';
    }
    return out;
}

/* How long it took, or has taken so far; what was killed has left no moment. */
static int64_t length(const struct state_run *run, bool running)
{
    int64_t end = run->ended_ns != 0 ? run->ended_ns : running ? clock_real_ns() : run->started_ns;
    return end > run->started_ns ? end - run->started_ns : 0;
}

static void show_run(const struct showing *s, const struct state_run *run, bool running)
{
    char when[TIME_MAX];
    char took[QUANTITY_MAX];
    char done[QUANTITY_MAX];
    char total[QUANTITY_MAX];
    char bytes[QUANTITY_MAX];
    bool known = run->ended_ns != 0 || running;
    fprintf(s->out, "  %5lld  %s  %10s  %s of %s%s entries, %s", (long long)run->number,
            show_time(run->started_ns, when), known ? quantity_show_duration(length(run, running), took) : "?",
            quantity_show_count(run->files_done, done), run->complete ? "" : "at least ",
            quantity_show_count(run->files_total, total), quantity_show_bytes(run->bytes_done, bytes));
    if (run->failed > 0) {
        fprintf(s->out, ", %s failed", quantity_show_count(run->failed, done));
    }
    fprintf(s->out, "; %s\n", how(run, running));
}

static void show_text(const struct showing *s, const struct state_history *h)
{
    char when[TIME_MAX];
    char *source = name_show(h->source);
    char *destination = name_show(h->destination);
    fprintf(s->out, "%s%s%s%s\n", s->shown > 0 ? "\n" : "", source != NULL ? source : "?",
            h->source[0] != '\0' ? " -> " : "", destination != NULL ? destination : "?");
    free(source);
    free(destination);
    for (size_t i = 0; i < h->count; i++) {
        show_run(s, &h->runs[i], i == 0 && h->running);
    }
    if (h->count == 0 && h->source[0] != '\0') { /* without a source it is the state of looks alone */
        fprintf(s->out, "  no run\n");
    }
    if (h->failing > 0) {
        fprintf(s->out, "  failing since %s: %llu run%s\n", show_time(h->failing_since_ns, when),
                (unsigned long long)h->failing, h->failing == 1 ? "" : "s");
    }
}

/* 0 or -EIO. */
static int show_json(const struct showing *s, const char *path, const struct state_history *h)
{
    int r = 0;
    for (size_t i = 0; i < h->count && r == 0; i++) {
        const struct state_run *run = &h->runs[i];
        bool running = i == 0 && h->running && run->ended_ns == 0;
        json_t *event = json_event("run");
        json_set_text(event, "source", h->source);
        json_set_text(event, "destination", h->destination);
        json_set_text(event, "state", path);
        json_set_number(event, "run", (uint64_t)run->number);
        json_set_text(event, "id", run->id);
        json_set_text(event, "how", how(run, running));
        json_object_set_new(event, "running", json_boolean(running));
        json_object_set_new(event, "started", json_real((double)run->started_ns / 1e9));
        if (run->ended_ns != 0) {
            json_object_set_new(event, "ended", json_real((double)run->ended_ns / 1e9));
            json_set_number(event, "status", (uint64_t)run->status);
        }
        json_object_set_new(event, "seconds", json_real((double)length(run, running) / 1e9));
        json_set_number(event, "entries_done", run->files_done);
        json_set_number(event, "entries_total", run->files_total);
        json_set_number(event, "bytes_done", run->bytes_done);
        json_set_number(event, "bytes_total", run->bytes_total);
        json_set_number(event, "failed", run->failed);
        json_object_set_new(event, "walk_complete", json_boolean(run->complete));
        if (i == 0 && h->failing > 0) {
            json_set_number(event, "failing_runs", h->failing);
            json_object_set_new(event, "failing_since", json_real((double)h->failing_since_ns / 1e9));
        }
        r = json_emit(event, s->out);
    }
    return r;
}

/* Whether that pair was asked for. */
static bool is_wanted(const struct showing *s, const struct state_history *h)
{
    const char *wanted = s->options->destination;
    return wanted == NULL || strcmp(wanted, h->destination) == 0 ||
           (s->real != NULL && strcmp(s->real, h->destination) == 0);
}

static void show_file(struct showing *s, const char *path)
{
    struct state_history h;
    bool one = s->options->destination != NULL || s->options->state != NULL;
    int r = state_history_read(path, one ? RUNS_OF_ONE : 1, &h);
    if (r != 0) {
        char *shown = name_show(path);
        fprintf(s->errors, "haul: the state '%s' cannot be read: %s\n", shown != NULL ? shown : "?",
                r == -EBADMSG ? "it is none of haul's, or damaged" : err_text(r));
        free(shown);
        s->status = STATUS_CANNOT;
        return;
    }
    if (is_wanted(s, &h)) {
        int64_t newest = h.count > 0 ? h.runs[0].number : 0;
        if (s->options->json) {
            s->status = show_json(s, path, &h) != 0 ? STATUS_CANNOT : s->status;
        } else {
            show_text(s, &h);
        }
        if (history_looks(path, one ? RUNS_OF_ONE : 1, one, newest, s->options->json, s->out) != 0) {
            s->status = STATUS_CANNOT;
        }
        s->shown++;
    }
    state_history_release(&h);
}

static void show_all(struct showing *s)
{
    char **paths = NULL;
    size_t count = 0;
    int r = state_history_files(&paths, &count);
    if (r != 0) {
        fprintf(s->errors, "haul: the folder of the states cannot be read: %s\n", err_text(r));
        s->status = STATUS_CANNOT;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        show_file(s, paths[i]);
    }
    state_history_files_free(paths, count);
}

int history_show(const struct options *o, FILE *out, FILE *errors)
{
    struct showing s = {.options = o, .out = out, .errors = errors, .status = STATUS_OK};
    if (o->destination != NULL) {
        s.real = o->url.host != NULL ? url_text(&o->url) : realpath(o->destination, NULL);
    }
    if (o->state != NULL) {
        show_file(&s, o->state);
    } else {
        show_all(&s);
    }
    if (s.shown == 0 && s.status == STATUS_OK && o->destination != NULL) {
        fprintf(errors, "haul: no run to '%s' is remembered\n", o->destination);
        s.status = STATUS_CANNOT;
    } else if (s.shown == 0 && s.status == STATUS_OK && !o->json) {
        fprintf(out, "no run is remembered\n");
    }
    free(s.real);
    return s.status;
}
