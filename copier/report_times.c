#include "copier/report_times.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/name.h"
#include "copier/json.h"
#include "copier/quantity.h"

static const char *const sides[DIR_SIDES] = {[DIR_SRC] = "source", [DIR_DST] = "destination"};

/* The n slowest of both sides, longest first, as pairs of side and index. */
struct pick {
    enum dir_side side;
    unsigned index; /* in its side's list */
};

/* Moves *next on to the longer one of both sides' next entries. False: there is none. */
static bool pick_next(const int64_t ns[DIR_SIDES], unsigned next[DIR_SIDES], struct pick *out)
{
    enum dir_side side = ns[DIR_SRC] > ns[DIR_DST] ? DIR_SRC : DIR_DST;
    if (ns[side] < 0) {
        return false;
    }
    *out = (struct pick){side, next[side]++};
    return true;
}

static bool next_dir(const struct watch_times *const times[DIR_SIDES], unsigned next[DIR_SIDES], struct pick *out)
{
    int64_t ns[DIR_SIDES];
    for (int s = 0; s < DIR_SIDES; s++) {
        const struct watch_times *t = times[s];
        ns[s] = t != NULL && next[s] < t->dir_count ? t->dirs[next[s]].total_ns : -1;
    }
    return pick_next(ns, next, out);
}

static bool next_slow(const struct watch_times *const times[DIR_SIDES], unsigned next[DIR_SIDES], struct pick *out)
{
    int64_t ns[DIR_SIDES];
    for (int s = 0; s < DIR_SIDES; s++) {
        const struct watch_times *t = times[s];
        ns[s] = t != NULL && next[s] < t->slow_count ? t->slow[next[s]].ns : -1;
    }
    return pick_next(ns, next, out);
}

/* Short enough for a column: "12 us", "3.4 ms", "120 s". */
static char *show(int64_t ns, char buf[QUANTITY_MAX])
{
    double us = (double)ns / 1e3;
    if (us < 1000) {
        snprintf(buf, QUANTITY_MAX, "%.0f us", us);
    } else if (us < 1e6) {
        snprintf(buf, QUANTITY_MAX, "%.1f ms", us / 1e3);
    } else {
        snprintf(buf, QUANTITY_MAX, "%.1f s", us / 1e6);
    }
    return buf;
}

static void code_text(struct report *r, enum dir_side side, enum store_code code, const struct watch_code *c)
{
    char count[QUANTITY_MAX];
    char median[QUANTITY_MAX];
    char p95[QUANTITY_MAX];
    char max[QUANTITY_MAX];
    char total[QUANTITY_MAX];
    char failed[64] = "";
    if (c->failed > 0) {
        snprintf(failed, sizeof failed, "  (%llu failed)", (unsigned long long)c->failed);
    }
    report_say(r, "%-12s %-11s %12s %10s %10s %10s %10s%s", sides[side], store_code_name(code),
               quantity_show_count(c->count, count), show(watch_quantile(c, 0.5), median),
               show(watch_quantile(c, 0.95), p95), show(c->max_ns, max), show(c->total_ns, total), failed);
}

static void codes_text(struct report *r, const struct watch_times *const times[DIR_SIDES])
{
    report_say(r, "%-12s %-11s %12s %10s %10s %10s %10s", "at", "operation", "count", "median", "95 %", "longest",
               "total");
    for (int s = 0; s < DIR_SIDES; s++) {
        for (unsigned code = 0; times[s] != NULL && code < STORE_CODES; code++) {
            if (times[s]->codes[code].count > 0) {
                code_text(r, (enum dir_side)s, (enum store_code)code, &times[s]->codes[code]);
            }
        }
    }
}

static void dir_text(struct report *r, enum dir_side side, const struct watch_dir *d)
{
    char took[QUANTITY_MAX];
    char count[QUANTITY_MAX];
    char *path = name_show(d->path);
    report_say(r, "  %s in %s operations: %s %s", show(d->total_ns, took), quantity_show_count(d->count, count),
               sides[side], path != NULL ? path : d->path);
    free(path);
}

static void slow_text(struct report *r, enum dir_side side, const struct watch_slow *o)
{
    char took[QUANTITY_MAX];
    char *path = name_show(o->path);
    report_say(r, "  %s: %s %s %s%s", show(o->ns, took), sides[side], store_code_name(o->code),
               path != NULL ? path : o->path, o->unanswered ? " (no answer)" : "");
    free(path);
}

void report_times_text(struct report *r, const struct watch_times *const times[DIR_SIDES])
{
    unsigned next[DIR_SIDES] = {0};
    struct pick at;
    codes_text(r, times);
    report_say(r, "directories waited for longest:");
    for (unsigned i = 0; i < WATCH_DIRS && next_dir(times, next, &at); i++) {
        dir_text(r, at.side, &times[at.side]->dirs[at.index]);
    }
    report_say(r, "slowest operations:");
    next[DIR_SRC] = next[DIR_DST] = 0;
    for (unsigned i = 0; i < WATCH_SLOW && next_slow(times, next, &at); i++) {
        slow_text(r, at.side, &times[at.side]->slow[at.index]);
    }
}

static void set_seconds(json_t *object, const char *key, int64_t ns)
{
    json_object_set_new(object, key, json_real((double)ns / 1e9));
}

static json_t *codes_json(const struct watch_times *const times[DIR_SIDES])
{
    json_t *list = json_array();
    for (int s = 0; s < DIR_SIDES; s++) {
        for (unsigned code = 0; times[s] != NULL && code < STORE_CODES; code++) {
            const struct watch_code *c = &times[s]->codes[code];
            if (c->count == 0) {
                continue;
            }
            json_t *one = json_object();
            json_set_text(one, "side", sides[s]);
            json_set_text(one, "operation", store_code_name((enum store_code)code));
            json_set_number(one, "count", c->count);
            json_set_number(one, "failed", c->failed);
            set_seconds(one, "median_seconds", watch_quantile(c, 0.5));
            set_seconds(one, "p95_seconds", watch_quantile(c, 0.95));
            set_seconds(one, "max_seconds", c->max_ns);
            set_seconds(one, "total_seconds", c->total_ns);
            json_array_append_new(list, one);
        }
    }
    return list;
}

void report_times_json(json_t *event, const struct watch_times *const times[DIR_SIDES])
{
    unsigned next[DIR_SIDES] = {0};
    struct pick at;
    json_object_set_new(event, "operations", codes_json(times));
    json_t *dirs = json_array();
    for (unsigned i = 0; i < WATCH_DIRS && next_dir(times, next, &at); i++) {
        const struct watch_dir *d = &times[at.side]->dirs[at.index];
        json_t *one = json_object();
        json_set_text(one, "side", sides[at.side]);
        json_set_text(one, "path", d->path);
        json_set_number(one, "operations", d->count);
        set_seconds(one, "seconds", d->total_ns);
        json_array_append_new(dirs, one);
    }
    json_object_set_new(event, "slow_directories", dirs);
    json_t *slow = json_array();
    next[DIR_SRC] = next[DIR_DST] = 0;
    for (unsigned i = 0; i < WATCH_SLOW && next_slow(times, next, &at); i++) {
        const struct watch_slow *o = &times[at.side]->slow[at.index];
        json_t *one = json_object();
        json_set_text(one, "side", sides[at.side]);
        json_set_text(one, "operation", store_code_name(o->code));
        json_set_text(one, "path", o->path);
        set_seconds(one, "seconds", o->ns);
        json_object_set_new(one, "answered", json_boolean(!o->unanswered));
        json_array_append_new(slow, one);
    }
    json_object_set_new(event, "slow_operations", slow);
}
