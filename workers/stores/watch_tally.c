/*
 * watch_tally: counts, histograms, the heaviest directories, the slowest operations.
 */
#include "workers/stores/watch_tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MOST 4096 /* bytes of a path that are kept, from its end */

char *watch_path(const struct dir *dir, const char *name)
{
    char *whole = dir ? dir_path(dir, name) : strdup(name ? name : "?");
    size_t len = whole ? strlen(whole) : 0;
    char *end;

    if (len <= PATH_MOST) {
        return whole;
    }
    end = strdup(whole + (len - PATH_MOST));
    free(whole);
    return end;
}

int tally_init(struct tally *t, unsigned dir_room)
{
    *t = (struct tally){.dir_room = dir_room};
    t->dirs = calloc(dir_room, sizeof(*t->dirs));
    return t->dirs ? 0 : -ENOMEM;
}

void tally_release(struct tally *t)
{
    for (unsigned i = 0; i < t->dir_count; i++) {
        free(t->dirs[i].path);
    }
    for (unsigned i = 0; i < t->slow_count; i++) {
        free(t->slow[i].path);
    }
    free(t->dirs);
    *t = (struct tally){0};
}

/* ---- codes ---- */

static unsigned bucket_of(int64_t ns)
{
    unsigned b = ns > 1 ? 63U - (unsigned)__builtin_clzll((unsigned long long)ns) : 0;

    return b < WATCH_BUCKETS ? b : WATCH_BUCKETS - 1;
}

int64_t watch_quantile(const struct watch_code *code, double share)
{
    double rank = share * (double)code->count; /* so many were as fast or faster */
    double seen = 0;
    unsigned b = 0;
    double within;
    int64_t ns;

    if (code->count == 0) {
        return 0;
    }
    while (b < WATCH_BUCKETS - 1 && seen + (double)code->buckets[b] < rank) {
        seen += (double)code->buckets[b++];
    }
    within = code->buckets[b] > 0 ? (rank - seen) / (double)code->buckets[b] : 1;
    ns = (int64_t)((double)(INT64_C(1) << b) * (1 + (within < 0 ? 0 : within)));
    return ns < code->max_ns ? ns : code->max_ns;
}

static void add_code(struct watch_code *c, int64_t ns, bool failed)
{
    c->count++;
    c->failed += failed;
    c->total_ns += ns;
    c->max_ns = ns > c->max_ns ? ns : c->max_ns;
    c->buckets[bucket_of(ns)]++;
}

static void merge_code(struct watch_code *into, const struct watch_code *from)
{
    into->count += from->count;
    into->failed += from->failed;
    into->total_ns += from->total_ns;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
    for (unsigned b = 0; b < WATCH_BUCKETS; b++) {
        into->buckets[b] += from->buckets[b];
    }
}

/* ---- the slowest operations ---- */

static bool is_slow(const struct tally *t, int64_t ns)
{
    return t->slow_count < WATCH_SLOW || ns > t->slow[WATCH_SLOW - 1].ns;
}

/* Owns one.path. */
static void add_slow(struct tally *t, struct watch_slow one)
{
    unsigned at;

    if (!one.path || !is_slow(t, one.ns)) {
        free(one.path);
        return;
    }
    if (t->slow_count == WATCH_SLOW) {
        free(t->slow[WATCH_SLOW - 1].path);
    } else {
        t->slow_count++;
    }
    for (at = t->slow_count - 1; at > 0 && t->slow[at - 1].ns < one.ns; at--) {
        t->slow[at] = t->slow[at - 1];
    }
    t->slow[at] = one;
}

/* ---- directories ---- */

/* ids are hashes. */
static uint16_t *hint_of(struct tally *t, uint64_t id)
{
    return &t->dir_hints[id % TALLY_HINTS];
}

static struct tally_dir *find_dir(struct tally *t, uint64_t id)
{
    uint16_t *hint = hint_of(t, id);

    if (*hint < t->dir_count && t->dirs[*hint].id == id) {
        return &t->dirs[*hint];
    }
    for (unsigned i = 0; i < t->dir_count; i++) {
        if (t->dirs[i].id == id) {
            *hint = (uint16_t)i;
            return &t->dirs[i];
        }
    }
    return NULL;
}

/* A place for a directory that is not kept, without a path: a free one, or that of the lightest. */
static struct tally_dir *take_dir(struct tally *t, uint64_t id)
{
    struct tally_dir *d = &t->dirs[0];

    if (t->dir_count < t->dir_room) {
        d = &t->dirs[t->dir_count++];
        *d = (struct tally_dir){0};
    } else {
        for (unsigned i = 1; i < t->dir_count; i++) {
            d = t->dirs[i].ns < d->ns ? &t->dirs[i] : d;
        }
    }
    free(d->path);
    *d = (struct tally_dir){.id = id, .ns = d->ns, .error = d->ns};
    *hint_of(t, id) = (uint16_t)(d - t->dirs);
    return d;
}

static void add_dir(struct tally *t, const struct dir *dir, int64_t ns)
{
    struct tally_dir *d = find_dir(t, dir->id);

    if (!d) {
        d = take_dir(t, dir->id);
        d->path = watch_path(dir, NULL);
    }
    d->ns += ns;
    d->count++;
}

static void merge_dir(struct tally *into, const struct tally_dir *from)
{
    struct tally_dir *d = find_dir(into, from->id);

    if (!d) {
        d = take_dir(into, from->id);
        d->path = from->path ? strdup(from->path) : NULL;
    }
    d->ns += from->ns;
    d->error += from->error;
    d->count += from->count;
}

/* ---- all of it ---- */

void tally_add(struct tally *t, const struct watch_op *op, int64_t ns, enum tally_how how)
{
    t->done += how == TALLY_DONE || how == TALLY_FAILED;
    if (how != TALLY_WAITING) {
        add_code(&t->codes[op->code], ns, how != TALLY_DONE);
    }
    if (op->dir) {
        add_dir(t, op->dir, ns);
    }
    if (is_slow(t, ns)) {
        add_slow(t, (struct watch_slow){.code = op->code,
                                        .path = watch_path(op->dir, op->name),
                                        .ns = ns,
                                        .unanswered = how != TALLY_DONE && how != TALLY_FAILED});
    }
}

void tally_merge(struct tally *into, const struct tally *from)
{
    into->done += from->done;
    for (unsigned i = 0; i < STORE_CODES; i++) {
        merge_code(&into->codes[i], &from->codes[i]);
    }
    for (unsigned i = 0; i < from->dir_count; i++) {
        merge_dir(into, &from->dirs[i]);
    }
    for (unsigned i = 0; i < from->slow_count; i++) {
        struct watch_slow one = from->slow[i];

        one.path = strdup(one.path);
        add_slow(into, one);
    }
}

static int by_time(const void *a, const void *b)
{
    const struct tally_dir *x = a;
    const struct tally_dir *y = b;
    int64_t over = (y->ns - y->error) - (x->ns - x->error);

    return over > 0 ? 1 : over < 0 ? -1 : 0;
}

int tally_show(const struct tally *t, struct watch_times *out)
{
    struct tally_dir *sorted = malloc((t->dir_count + 1) * sizeof(*sorted));
    bool lacks = !sorted;

    *out = (struct watch_times){0};
    memcpy(out->codes, t->codes, sizeof(out->codes));
    if (sorted) {
        memcpy(sorted, t->dirs, t->dir_count * sizeof(*sorted));
        qsort(sorted, t->dir_count, sizeof(*sorted), by_time);
    }
    for (unsigned i = 0; !lacks && i < t->dir_count && i < WATCH_DIRS; i++) {
        const struct tally_dir *d = &sorted[i];

        out->dirs[i] = (struct watch_dir){
            .path = strdup(d->path ? d->path : "?"), .count = d->count, .total_ns = d->ns - d->error};
        lacks = !out->dirs[i].path;
        out->dir_count++;
    }
    for (unsigned i = 0; !lacks && i < t->slow_count; i++) {
        out->slow[i] = t->slow[i];
        out->slow[i].path = strdup(t->slow[i].path);
        lacks = !out->slow[i].path;
        out->slow_count++;
    }
    free(sorted);
    if (lacks) {
        watch_times_release(out);
        return -ENOMEM;
    }
    return 0;
}

void watch_times_release(struct watch_times *times)
{
    for (unsigned i = 0; i < times->dir_count; i++) {
        free(times->dirs[i].path);
    }
    for (unsigned i = 0; i < times->slow_count; i++) {
        free(times->slow[i].path);
    }
    *times = (struct watch_times){0};
}
