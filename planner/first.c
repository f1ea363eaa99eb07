/*
 * first: directories that earlier runs have left undone are walked before all others, in the order that they are given
 * in: those that have waited longest come first, whatever has changed elsewhere meanwhile.
 *
 * Their entries come before everything, in one thread: it enters their parents, which the walk enters once more. What
 * is below them follows, then the rest. Each is walked once: where the walk meets it again, it is passed over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "planner/planner_internal.h"

#define LATER_MAX (STACK_MAX / 2) /* subdirectories that wait in their order; beyond that the newest comes first */

/* One of them. */
struct first_dir {
    uint64_t id;      /* of its node; constant */
    const char *path; /* the caller's */
    atomic_bool met;  /* it was walked, or is being walked */
};

struct first {
    struct first_dir *dirs;   /* as they were given; owned */
    size_t count;             /* of them */
    struct first_dir **by_id; /* in the order of their ids; owned */
    bool over;                /* each has had its turn; written while one thread walks */
    struct dir **later;       /* subdirectories that wait for that: one pending part of the plan of each; owned */
    size_t later_count;       /* of them */
};

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = (*(struct first_dir *const *)a)->id;
    uint64_t y = (*(struct first_dir *const *)b)->id;
    return x < y ? -1 : x > y ? 1 : 0;
}

static struct first_dir *find(const struct first *f, uint64_t id)
{
    const struct first_dir key = {.id = id};
    const struct first_dir *wanted = &key;
    struct first_dir **found = bsearch(&wanted, f->by_id, f->count, sizeof(struct first_dir *), compare_ids);
    return found != NULL ? *found : NULL;
}

/* Takes up one, unless it is no path of ours, or the root, with which the walk proper begins anyway. */
static void take(struct first *f, struct chain *chain, const char *path)
{
    struct dir *dir = NULL;
    size_t len = strlen(path);
    if (len == 0 || strcmp(path, ".") == 0 || chain_to(chain, path, len, &dir) != 0) {
        return;
    }
    f->dirs[f->count] = (struct first_dir){.id = dir->id, .path = path};
    f->by_id[f->count] = &f->dirs[f->count];
    f->count++;
}

int first_create(struct planner *p)
{
    const struct plan_options *o = &p->options;
    struct chain chain;
    struct first *f = calloc(1, sizeof *f);
    if (f == NULL) {
        return -ENOMEM;
    }
    p->first = f; /* whatever comes of it: first_destroy */
    f->dirs = calloc(o->first_count, sizeof *f->dirs);
    f->by_id = calloc(o->first_count, sizeof(struct first_dir *));
    f->later = calloc(LATER_MAX, sizeof(struct dir *));
    if (f->dirs == NULL || f->by_id == NULL || f->later == NULL) {
        return -ENOMEM;
    }
    chain_init(&chain, p->root);
    for (size_t i = 0; i < o->first_count; i++) {
        take(f, &chain, o->first[i]);
    }
    chain_release(&chain);
    qsort(f->by_id, f->count, sizeof(struct first_dir *), compare_ids);
    return 0;
}

void first_destroy(struct first *f)
{
    if (f != NULL) {
        free(f->later);
        free((void *)f->by_id);
        free(f->dirs);
        free(f);
    }
}

bool first_met(const struct planner *p, const struct dir *dir, const char *name, size_t name_len)
{
    struct first_dir *one = p->first != NULL ? find(p->first, dir_child_id(dir, name, name_len)) : NULL;
    return one != NULL && (!p->first->over || atomic_exchange(&one->met, true));
}

bool first_later(const struct planner *p, struct dir *child)
{
    struct first *f = p->first;
    if (f == NULL || f->over || f->later_count == LATER_MAX) {
        return false;
    }
    f->later[f->later_count++] = child;
    return true;
}

/* The node of a part of the path, which stands at the source as a directory of ours; NULL: it does not, or something is
 * the matter with it, which the walk proper will find out. */
static struct dir *step(struct walker *w, struct dir *dir, const char *name, size_t name_len)
{
    struct planner *p = w->p;
    struct attr attr = {0};
    struct dir *child = NULL;
    char *copy = strndup(name, name_len);
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = copy, .stat = {.out = &attr}};
    const char *path = copy != NULL ? walk_path_of(w, dir, copy, name_len) : NULL;
    bool ours = path != NULL && !filter_excludes(p->options.filter, path, true) && store_run(w->src, &op) == 0 &&
                S_ISDIR(attr.mode) && !(p->options.one_file_system && attr.dev != p->root_dev);
    free(copy);
    return ours && enter_child(dir, name, name_len, &attr, &child) == 0 ? child : NULL;
}

/* Walks one of them, by way of its parents. */
static void walk_one(struct walker *w, struct first_dir *one)
{
    struct planner *p = w->p;
    struct dir *dir = p->root;
    const char *name = one->path;
    plan_dir_hold(dir);
    while (!planner_stopping(p)) {
        size_t len = strcspn(name, "/");
        struct dir *child = step(w, dir, name, len);
        bool last = name[len] == '\0';
        if (child == NULL || (last && atomic_exchange(&one->met, true)) || (!last && enter_prepare(w, child) != 0)) {
            if (child != NULL) {
                plan_dir_done(p, planner_stopping(p) ? NULL : w->dst, child);
            }
            break;
        }
        plan_dir_done(p, w->dst, dir); /* the child holds it */
        dir = child;
        if (last) {
            struct task task = {.dir = dir};
            count_add(&p->counts.dirs, 1);
            walk_task(w, &task); /* takes over our part of it */
            return;
        }
        name += len + 1;
    }
    plan_dir_done(p, planner_stopping(p) ? NULL : w->dst, dir);
}

void first_lead(struct walker *w)
{
    struct planner *p = w->p;
    struct first *f = p->first;
    for (size_t i = 0; i < f->count && !planner_stopping(p); i++) {
        walk_one(w, &f->dirs[i]);
    }
    f->over = true;
    stack_begin(&p->stack);
    while (f->later_count > 0) {
        struct task task = {.dir = f->later[--f->later_count]};
        if (!stack_push(&p->stack, &task)) {
            walk_task(w, &task); /* it is full; or the run is being stopped, and it is left */
        }
    }
    planner_phase(w, PHASE_FIRST);
}
