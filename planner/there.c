/*
 * there: what stands in a directory at the destination, listed once before its files are asked for one by one. Where
 * each question is a round trip, hundreds of answers come with one READDIR.
 *
 * Names are kept as hashes, seeded anew in each run, so that an entry takes the same room whatever its name. All lists
 * of a run together have a bound; where it is reached, what is not in the list is asked for as it would be without.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/name.h"
#include "planner/planner_internal.h"

#define THERE_MAX   262144UL /* entries of all lists together: 32 MiB */
#define THERE_FIRST 64U      /* room of a list at first, entries */

/* One entry at the destination. */
struct there_entry {
    XXH128_hash_t name; /* of its name */
    struct attr attr;   /* as it was listed */
    bool seen;          /* the source has it */
};

struct there {
    struct there_entry *entries; /* sorted by name once it is read; owned */
    size_t count;                /* of them */
    size_t capacity;             /* room; what the planner's bound counts */
    bool whole;                  /* what is not in it does not stand there */
    size_t seen;                 /* of entries, those that the source has */
};

static XXH128_hash_t hash_of(const struct planner *p, const char *name, size_t len)
{
    return XXH3_128bits_withSeed(name, len, p->there_seed);
}

static int by_name(const void *a, const void *b)
{
    return XXH128_cmp(a, b); /* the first field of both */
}

/* Room for one more. False: the bound is reached, or there is no memory. */
static bool there_reserve(struct planner *p, struct there *t)
{
    if (t->count < t->capacity) {
        return true;
    }
    size_t more = t->capacity == 0 ? THERE_FIRST : t->capacity;
    if (atomic_fetch_add(&p->there_count, more) + more > THERE_MAX) {
        atomic_fetch_sub(&p->there_count, more);
        return false;
    }
    struct there_entry *entries = reallocarray(t->entries, t->capacity + more, sizeof(*entries));
    if (entries == NULL) {
        atomic_fetch_sub(&p->there_count, more);
        return false;
    }
    t->entries = entries;
    t->capacity += more;
    return true;
}

/* Reads entries into t. 0: to the end, else it broke off. */
static int there_fill(struct walker *w, struct dir *dir, struct there *t, struct store_list *list, bool *out_temps)
{
    struct planner *p = w->p;

    t->whole = true;
    while (!planner_stopping(p)) {
        struct store_entry entry = {0};
        struct store_op op = {.code = STORE_LIST_NEXT, .dir = dir, .list = {.list = &list, .out = &entry}};
        int err = store_run(w->dst, &op);
        if (err != 0 || entry.name == NULL) {
            return err;
        }
        *out_temps |= temp_name_parse(entry.name, NULL);
        if (!entry.has_attr) {
            t->whole = false; /* asked for when its turn comes */
            continue;
        }
        if (!there_reserve(p, t)) {
            return -ENOBUFS;
        }
        t->entries[t->count++] =
            (struct there_entry){.name = hash_of(p, entry.name, entry.name_len), .attr = entry.attr};
    }
    return -ECANCELED;
}

int there_read(struct walker *w, struct dir *dir, bool *out_temps)
{
    struct there *t = calloc(1, sizeof(*t));
    struct store_list *list = NULL;
    struct store_op op = {.code = STORE_LIST_OPEN, .dir = dir, .list = {.list = &list, .want_attr = true}};
    bool temps = false;

    *out_temps = true; /* perhaps */
    /* A failure of any kind is no failure of the run: each entry is asked for by itself then, and tells. */
    int err = t == NULL ? -ENOMEM : store_run(w->dst, &op);
    if (err != 0) {
        free(t);
        return err;
    }
    if (there_fill(w, dir, t, list, &temps) != 0) {
        t->whole = false;
        temps = true;
    }
    op = (struct store_op){.code = STORE_LIST_CLOSE, .dir = dir, .list = {.list = &list}};
    (void)store_run(w->dst, &op); /* nothing was written through it */
    if (t->count > 0) {
        qsort(t->entries, t->count, sizeof(*t->entries), by_name);
    }
    plan_of(dir)->there = t;
    *out_temps = temps;
    return 0;
}

enum there_known there_find(const struct planner *p, const struct dir *dir, const char *name, struct attr *out_attr)
{
    const struct there *t = plan_of(dir)->there;

    if (t == NULL) {
        return THERE_UNKNOWN;
    }
    const struct there_entry key = {.name = hash_of(p, name, strlen(name))};
    const struct there_entry *found =
        t->count > 0 ? bsearch(&key, t->entries, t->count, sizeof(*t->entries), by_name) : NULL;
    if (found == NULL) {
        return t->whole ? THERE_NOTHING : THERE_UNKNOWN;
    }
    *out_attr = found->attr;
    return THERE_FOUND;
}

static struct there_entry *find(const struct planner *p, const struct dir *dir, const char *name, size_t name_len)
{
    const struct there *t = plan_of(dir)->there;
    const struct there_entry key = {.name = hash_of(p, name, name_len)};
    return t != NULL && t->count > 0 ? bsearch(&key, t->entries, t->count, sizeof(*t->entries), by_name) : NULL;
}

void there_see(const struct planner *p, const struct dir *dir, const char *name, size_t name_len)
{
    struct there_entry *entry = find(p, dir, name, name_len);
    if (entry != NULL && !entry->seen) {
        entry->seen = true;
        plan_of(dir)->there->seen++;
    }
}

bool there_unseen(const struct dir *dir)
{
    const struct there *t = plan_of(dir)->there;
    return t != NULL && (!t->whole || t->seen < t->count);
}

bool there_seen(const struct planner *p, const struct dir *dir, const char *name, size_t name_len)
{
    const struct there_entry *entry = find(p, dir, name, name_len);
    return entry != NULL && entry->seen;
}

void there_drop(struct planner *p, struct dir *dir)
{
    struct there *t = plan_of(dir)->there;

    if (t != NULL) {
        atomic_fetch_sub(&p->there_count, t->capacity);
        free(t->entries);
        free(t);
        plan_of(dir)->there = NULL;
    }
}
