#include "copier/partials.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cleanup/temps.h"
#include "copier/engine_internal.h"
#include "planner/chain.h"

enum left_as {
    LEFT_WAITING, /* nobody has asked for it yet */
    LEFT_TAKEN,   /* it is being gone on with, or looked at */
    LEFT_KEPT,    /* for the next run */
    LEFT_USELESS, /* to be removed */
    LEFT_OVER,    /* its temp name is not ours to care for any more */
};

/* One that an earlier run has left. */
struct left {
    struct state_partial partial; /* constant */
    char *name;                   /* the same as partial.name; owned */
    enum left_as as;              /* partials.lock */
};

struct partials {
    int64_t max_age_ns;   /* constant */
    pthread_mutex_t lock; /* for what becomes of each */
    struct left *left;    /* owned; sorted by directory, then name; constant but for .as */
    size_t count;         /* entries in left */
};

static int compare_key(const struct left *l, uint64_t dir_id, const char *name)
{
    if (l->partial.dir_id != dir_id) {
        return l->partial.dir_id < dir_id ? -1 : 1;
    }
    return strcmp(l->partial.name, name);
}

static int compare_left(const void *a, const void *b)
{
    const struct left *y = b;
    return compare_key(a, y->partial.dir_id, y->partial.name);
}

static int load(struct partials *p, struct state_reader *reader)
{
    struct left one = {.as = LEFT_WAITING};
    size_t room = 0;
    int r = 0;
    while ((r = state_partial_next(reader, p->count > 0 ? p->left[p->count - 1].partial.temp.name : NULL, &one.partial,
                                   &one.name)) == 0) {
        if (p->count == room) {
            room = room == 0 ? 16 : 2 * room;
            struct left *more = reallocarray(p->left, room, sizeof *more);
            if (more == NULL) {
                free(one.name);
                return -ENOMEM;
            }
            p->left = more;
        }
        p->left[p->count++] = one;
    }
    if (r == -ENOENT && p->count > 0) {
        qsort(p->left, p->count, sizeof *p->left, compare_left);
    }
    return r == -ENOENT ? 0 : r;
}

int partials_create(const struct engine *e, struct partials **out_partials)
{
    if (e->state == NULL || e->previous.number == 0) {
        *out_partials = NULL;
        return 0;
    }
    struct partials *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_init(&p->lock, NULL);
    p->max_age_ns = e->options->partial_max_age;
    struct state_reader *reader = NULL;
    int r = state_reader_create(e->state, &reader);
    if (r == 0) {
        r = load(p, reader);
    }
    state_reader_destroy(reader);
    if (r != 0) {
        partials_destroy(p);
        return r;
    }
    *out_partials = p;
    return 0;
}

void partials_destroy(struct partials *p)
{
    if (p == NULL) {
        return;
    }
    for (size_t i = 0; i < p->count; i++) {
        free(p->left[i].name);
    }
    free(p->left);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* The first one of that entry; p->count where there is none. */
static size_t first_of(const struct partials *p, uint64_t dir_id, const char *name)
{
    size_t low = 0;
    size_t high = p->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_key(&p->left[middle], dir_id, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Those of that entry that wait become as to: all, or the first. The last one of them; NULL: there is none. */
static struct left *turn(struct partials *p, uint64_t dir_id, const char *name, enum left_as to, bool all)
{
    struct left *found = NULL;
    pthread_mutex_lock(&p->lock);
    for (size_t i = first_of(p, dir_id, name); i < p->count && compare_key(&p->left[i], dir_id, name) == 0; i++) {
        if (p->left[i].as == LEFT_WAITING) {
            p->left[i].as = to;
            found = &p->left[i];
            if (!all) {
                break;
            }
        }
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

bool partials_take(struct partials *p, uint64_t dir_id, const char *name, struct state_partial *out_partial)
{
    const struct left *l = p != NULL ? turn(p, dir_id, name, LEFT_TAKEN, false) : NULL;
    if (l != NULL) {
        *out_partial = l->partial;
    }
    return l != NULL;
}

void partials_useless(struct partials *p, uint64_t dir_id, const char *name)
{
    if (p != NULL && p->count > 0) {
        (void)turn(p, dir_id, name, LEFT_USELESS, true);
    }
}

/* A clock that was set back makes nothing older. */
static bool is_too_old(const struct partials *p, const struct state_partial *partial)
{
    return p->max_age_ns == 0 || clock_real_ns() - partial->touched_ns > p->max_age_ns;
}

bool partials_fits(const struct partials *p, const struct state_partial *partial, const struct attr *src)
{
    const struct attr *was = &partial->src;
    return !is_too_old(p, partial) && S_ISREG(src->mode) && was->dev == src->dev && was->ino == src->ino &&
           was->size == src->size && clock_ns_of(&was->mtime) == clock_ns_of(&src->mtime) &&
           clock_ns_of(&was->ctime) == clock_ns_of(&src->ctime);
}

/* The one under that temp name, or NULL: few directories have temp names, and few temp names are partial files. */
static struct left *find_temp(struct partials *p, const char *temp)
{
    for (size_t i = 0; i < p->count; i++) {
        if (strcmp(p->left[i].partial.temp.name, temp) == 0) {
            return &p->left[i];
        }
    }
    return NULL;
}

static void mark(struct partials *p, const char *temp, enum left_as as)
{
    pthread_mutex_lock(&p->lock);
    struct left *l = find_temp(p, temp);
    if (l != NULL) {
        l->as = as;
    }
    pthread_mutex_unlock(&p->lock);
}

void partials_keep(struct partials *p, const char *temp)
{
    if (p != NULL) {
        mark(p, temp, LEFT_KEPT);
    }
}

void partials_over(const struct engine *e, const char *temp)
{
    if (e->partials != NULL) {
        mark(e->partials, temp, LEFT_OVER);
    }
    state_partial_over(e->state, temp);
}

bool partials_holds(struct partials *p, const char *temp)
{
    if (p == NULL) {
        return false;
    }
    pthread_mutex_lock(&p->lock);
    const struct left *l = find_temp(p, temp);
    bool holds = l != NULL &&
                 (l->as == LEFT_TAKEN || l->as == LEFT_KEPT || (l->as == LEFT_WAITING && !is_too_old(p, &l->partial)));
    pthread_mutex_unlock(&p->lock);
    return holds;
}

/* ---- the end of a run ---- */

/* What looks at those that are left. */
struct sweep {
    struct engine *engine;       /* not owned */
    struct io *io;               /* owned */
    struct port *src;            /* owned */
    struct port *dst;            /* owned */
    struct state_reader *reader; /* owned */
    struct chain chain;          /* on the way to the present directory */
};

/* Whether the source is not what it was of, or is gone; an error tells nothing. */
static bool is_outdated(struct sweep *s, struct dir *dir, const struct state_partial *partial)
{
    struct attr now = {0};
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = partial->name, .stat = {.out = &now}};
    int r = store_run(s->src, &op);
    if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP) {
        return true;
    }
    return r == 0 && !partials_fits(s->engine->partials, partial, &now);
}

static void sweep_one(struct sweep *s, struct left *l)
{
    struct engine *e = s->engine;
    struct dir *dir = NULL;
    char *path = NULL;
    unsigned removed = 0;
    int r = state_dir_path(s->reader, l->partial.dir_id, &path);
    if (r == 0) {
        r = chain_to(&s->chain, path, strlen(path), &dir);
    }
    if (r == 0 && (l->as == LEFT_USELESS || is_too_old(e->partials, &l->partial) || is_outdated(s, dir, &l->partial))) {
        r = temps_remove(s->dst, dir, l->partial.temp.name, &removed);
        atomic_fetch_add(&e->counts->purged, removed);
        if (r == 0 || r == -ENOTDIR || r == -ELOOP) { /* those: there is no such directory now */
            partials_over(e, l->partial.temp.name);
        } else {
            notice_raise(e->notices, TEMPS_NOTICE);
        }
    }
    free(path);
}

void partials_sweep(struct engine *e)
{
    struct partials *p = e->partials;
    const struct io_options direct = {.no_ring = true};
    struct sweep s = {.engine = e};
    if (p == NULL || p->count == 0) {
        return;
    }
    chain_init(&s.chain, planner_root(e->planner));
    int r = io_create(&direct, &s.io);
    if (r == 0) {
        io_set_mode(s.io, IO_DIRECT);
        r = store_port_create(e->src, s.io, &s.src);
    }
    if (r == 0) {
        r = store_port_create(e->dst, s.io, &s.dst);
    }
    if (r == 0) {
        r = state_reader_create(e->state, &s.reader);
    }
    if (r != 0) {
        notice_raise(e->notices, TEMPS_NOTICE);
    }
    for (size_t i = 0; r == 0 && i < p->count && !atomic_load(&e->stopping); i++) {
        if (p->left[i].as == LEFT_WAITING || p->left[i].as == LEFT_USELESS) {
            sweep_one(&s, &p->left[i]);
        }
    }
    state_reader_destroy(s.reader);
    store_port_destroy(s.dst);
    store_port_destroy(s.src);
    io_destroy(s.io);
    chain_release(&s.chain);
}
