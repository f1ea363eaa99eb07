#include "copier/left.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS (4 * LEFT_MAX) /* a power of 2 */

struct left {
    struct state_left *before; /* as the state had it; owned */
    size_t before_count;       /* of them */
    const char **first;        /* their paths; owned */
    int64_t now_ns;            /* wall clock: since when what is new is left */

    pthread_mutex_t lock;   /* for what follows */
    struct state_left *now; /* what this run leaves; owned */
    size_t now_count;       /* of them */
    unsigned short *slots;  /* index in now + 1, by the hash of the id; 0: free; owned */
    uint64_t ids[LEFT_MAX]; /* of now */
};

int left_create(struct state *s, int64_t now_ns, struct left **out_left)
{
    struct left *l = calloc(1, sizeof *l);
    if (l == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_init(&l->lock, NULL);
    l->now_ns = now_ns;
    l->now = calloc(LEFT_MAX, sizeof *l->now);
    l->slots = calloc(SLOTS, sizeof *l->slots);
    int r = l->now == NULL || l->slots == NULL ? -ENOMEM : state_left_get(s, &l->before, &l->before_count);
    if (r == 0) {
        l->first = calloc(l->before_count + 1, sizeof(char *));
        r = l->first == NULL ? -ENOMEM : 0;
    }
    if (r != 0) {
        left_destroy(l);
        return r;
    }
    for (size_t i = 0; i < l->before_count; i++) {
        l->first[i] = l->before[i].path;
    }
    *out_left = l;
    return 0;
}

void left_destroy(struct left *l)
{
    if (l == NULL) {
        return;
    }
    state_left_free(l->before, l->before_count);
    state_left_free(l->now, l->now_count);
    pthread_mutex_destroy(&l->lock);
    free((void *)l->first);
    free(l->slots);
    free(l);
}

const char *const *left_first(const struct left *l, size_t *out_count)
{
    *out_count = l->before_count;
    return l->first;
}

/* The slot of that id: its own, or the free one where it would be. */
static unsigned short *slot_of(const struct left *l, uint64_t id)
{
    size_t at = (size_t)id & (SLOTS - 1);
    while (l->slots[at] != 0 && l->ids[l->slots[at] - 1] != id) {
        at = (at + 1) & (SLOTS - 1);
    }
    return &l->slots[at];
}

void left_add(struct left *l, const struct dir *dir)
{
    pthread_mutex_lock(&l->lock);
    unsigned short *slot = slot_of(l, dir->id);
    if (*slot == 0 && l->now_count < LEFT_MAX) {
        char *path = dir_path(dir, NULL);
        if (path != NULL) {
            l->ids[l->now_count] = dir->id;
            l->now[l->now_count++] = (struct state_left){.path = path, .since_ns = l->now_ns};
            *slot = (unsigned short)l->now_count;
        }
    }
    pthread_mutex_unlock(&l->lock);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct state_left *)a)->path, ((const struct state_left *)b)->path);
}

static int by_age(const void *a, const void *b)
{
    const struct state_left *x = a;
    const struct state_left *y = b;
    return x->since_ns < y->since_ns ? -1 : x->since_ns > y->since_ns ? 1 : strcmp(x->path, y->path);
}

/* What was left before and is still so has been left since then. all: what this run has not come to is left too. */
static size_t merge(const struct left *l, bool all, struct state_left *out)
{
    size_t count = l->now_count;
    memcpy(out, l->now, count * sizeof *out);
    qsort(out, count, sizeof *out, by_path);
    for (size_t i = 0; i < l->before_count; i++) {
        struct state_left *same = bsearch(&l->before[i], out, l->now_count, sizeof *out, by_path);
        if (same != NULL) {
            same->since_ns = l->before[i].since_ns;
        } else if (all) {
            out[count++] = l->before[i];
        }
    }
    qsort(out, count, sizeof *out, by_age);
    return count < LEFT_MAX ? count : LEFT_MAX;
}

int left_keep(struct left *l, struct state *s, bool complete)
{
    int r = -ENOMEM;
    pthread_mutex_lock(&l->lock);
    struct state_left *all = calloc(l->now_count + l->before_count + 1, sizeof *all);
    if (all != NULL) {
        r = state_left_set(s, all, merge(l, !complete, all));
        free(all); /* the paths are those of now and before */
    }
    pthread_mutex_unlock(&l->lock);
    return r;
}
