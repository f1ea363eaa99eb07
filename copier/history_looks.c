#include "copier/history_looks.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/errs.h"
#include "base/name.h"
#include "copier/json.h"
#include "copier/quantity.h"
#include "copier/state_looks.h"

enum { LOOKS_MAX = 20, SHOWN = 20, TOLD = 100000 };

/* Where findings go. */
struct telling {
    FILE *out; /* not owned */
    bool json; /* an object a line */
    int err;   /* the first */
};

static void show_look(const struct state_looked *l, FILE *out)
{
    char when[32] = "";
    char entries[QUANTITY_MAX];
    char found[QUANTITY_MAX];
    char open[QUANTITY_MAX];
    struct tm tm;
    time_t seconds = (time_t)(l->started_ns / NS_PER_SEC);
    if (localtime_r(&seconds, &tm) != NULL) {
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    }
    if (l->ended_ns == 0) {
        fprintf(out, "  %s %lld  %s  has not ended\n", l->command, (long long)l->number, when);
    } else {
        fprintf(out, "  %s %lld  %s  %s entries; %s finding%s, %s left\n", l->command, (long long)l->number, when,
                quantity_show_count(l->entries, entries), quantity_show_count(l->findings, found),
                l->findings == 1 ? "" : "s", quantity_show_count(l->open, open));
    }
}

static int tell_look(const struct state_looked *l, FILE *out)
{
    json_t *event = json_event("look");
    json_set_text(event, "command", l->command);
    json_set_number(event, "look", (uint64_t)l->number);
    json_object_set_new(event, "started", json_real((double)l->started_ns / 1e9));
    if (l->ended_ns != 0) {
        json_object_set_new(event, "ended", json_real((double)l->ended_ns / 1e9));
        json_set_number(event, "status", (uint64_t)l->status);
        json_set_number(event, "dirs", l->dirs);
        json_set_number(event, "entries", l->entries);
        json_set_number(event, "bytes", l->bytes);
        json_set_number(event, "findings", l->findings);
        json_set_number(event, "open", l->open);
    }
    return json_emit(event, out);
}

static void tell_found(void *arg, const struct state_found *f)
{
    struct telling *t = arg;
    if (t->json) {
        json_t *event = json_event("finding");
        json_set_number(event, f->look != 0 ? "look" : "run", (uint64_t)(f->look != 0 ? f->look : f->run));
        json_set_text(event, "path", f->path);
        json_set_text(event, "kind", f->kind);
        json_set_text(event, "certainty", f->certainty);
        json_set_text(event, "evidence", f->evidence);
        json_set_text(event, "action", f->action);
        if (f->err != 0) {
            json_set_text(event, "error", err_name(f->err));
        }
        int r = json_emit(event, t->out);
        t->err = t->err != 0 ? t->err : r;
        return;
    }
    char *path = name_show(f->path);
    fprintf(t->out, "    %-10s  %-9s  %-7s  %s: %s\n", f->kind, f->certainty, f->action, path != NULL ? path : "?",
            f->evidence);
    free(path);
}

int history_looks(const char *path, size_t most, bool findings, int64_t run, bool json, FILE *out)
{
    struct state_looked looks[LOOKS_MAX];
    struct telling t = {.out = out, .json = json};
    const size_t shown = json ? TOLD : SHOWN;
    size_t count = 0;
    int r = 0;
    if (findings && run != 0) {
        r = state_looks_findings(path, 0, run, shown, tell_found, &t);
    }
    if (r == 0) {
        r = state_looks_read(path, most < LOOKS_MAX ? most : LOOKS_MAX, looks, &count);
    }
    for (size_t i = 0; i < count && r == 0; i++) {
        if (json) {
            r = tell_look(&looks[i], out);
        } else {
            show_look(&looks[i], out);
        }
        if (r == 0 && i == 0 && findings) {
            r = state_looks_findings(path, looks[i].number, 0, shown, tell_found, &t);
        }
    }
    return r != 0 ? r : t.err;
}
