/*
 * walk: one directory after the other, with explicit frames instead of recursion.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "planner/planner_internal.h"

#define LISTINGS_OPEN 4 /* of one walker; listings further out are parked */

/* --- the path of the directory under work, for the filters --- */

static int path_reserve(struct walker *w, size_t bytes)
{
    if (bytes <= w->path_capacity) {
        return 0;
    }
    size_t capacity = bytes < 1024 ? 1024 : 2 * bytes;
    char *path = realloc(w->path, capacity);
    if (path == NULL) {
        return -ENOMEM;
    }
    w->path = path;
    w->path_capacity = capacity;
    return 0;
}

/* Writes "/name" (at the root: "name") behind the path. The length with it, or 0: no memory. */
static size_t path_put(struct walker *w, const char *name, size_t name_len)
{
    if (path_reserve(w, w->path_len + name_len + 2) != 0) {
        return 0;
    }
    size_t len = w->path_len;
    if (len > 0) {
        w->path[len++] = '/';
    }
    memcpy(w->path + len, name, name_len);
    len += name_len;
    w->path[len] = '\0';
    return len;
}

static int path_rebuild(struct walker *w, const struct dir *dir)
{
    w->path_len = 0;
    if (dir->parent == NULL) {
        return 0;
    }
    char *path = dir_path(dir, NULL);
    size_t len = path != NULL ? path_put(w, path, strlen(path)) : 0;
    free(path);
    w->path_len = len;
    return len > 0 ? 0 : -ENOMEM;
}

int walk_path_set(struct walker *w, struct dir *dir)
{
    struct dir *old = w->path_dir;
    int err = 0;

    if (old == dir) {
        return 0;
    }
    if (old != NULL && dir->parent == old) {
        size_t len = path_put(w, dir->name, dir->name_len);
        err = len > 0 ? 0 : -ENOMEM;
        w->path_len = len;
    } else if (old != NULL && old->parent == dir) {
        w->path_len -= old->name_len + (dir->parent != NULL ? 1 : 0);
    } else {
        err = path_rebuild(w, dir);
    }
    w->path_dir = err == 0 ? dir_get(dir) : NULL;
    dir_put(old);
    return err;
}

const char *walk_path_of(struct walker *w, struct dir *dir, const char *name, size_t name_len)
{
    if (walk_path_set(w, dir) != 0 || path_put(w, name, name_len) == 0) {
        return NULL;
    }
    return w->path;
}

/* --- the walk --- */

static struct port *finishing_port(const struct walker *w)
{
    return planner_stopping(w->p) ? NULL : w->dst;
}

static int frame_reserve(struct walker *w)
{
    if (w->frame_count < w->frame_capacity) {
        return 0;
    }
    size_t capacity = w->frame_capacity == 0 ? 16 : 2 * w->frame_capacity;
    struct frame *frames = reallocarray(w->frames, capacity, sizeof(*frames));
    if (frames == NULL) {
        return -ENOMEM;
    }
    w->frames = frames;
    w->frame_capacity = capacity;
    return 0;
}

/* Parks the listing that is no more among the innermost ones. One that cannot be parked stays open. */
static void park_outer(struct walker *w)
{
    if (w->frame_count > LISTINGS_OPEN) {
        struct frame *outer = &w->frames[w->frame_count - 1 - LISTINGS_OPEN];
        struct store_op op = {.code = STORE_LIST_PARK, .dir = outer->dir, .list = {.list = &outer->list}};
        (void)store_run(w->src, &op);
    }
}

static int list_begin(struct walker *w, struct dir *dir)
{
    struct store_list *list = NULL;

    struct store_op op = {.code = STORE_LIST_OPEN, .dir = dir, .list = {.list = &list, .want_attr = true}};
    int err = store_run(w->src, &op);
    if (err != 0) {
        plan_op_failed(w, w->src, &op, dir, NULL, err, true);
        return err;
    }
    w->frames[w->frame_count++] = (struct frame){.dir = dir, .list = list};
    park_outer(w);
    return 0;
}

/* Begins with a directory, whose pending part passes to the walker: a frame more, or it is done with. */
static void enter(struct walker *w, struct dir *dir)
{
    struct planner *p = w->p;
    int err = frame_reserve(w);

    if (err != 0) {
        plan_failed(p, dir, NULL, "list", err, true, true);
    } else if (!plan_of(dir)->prepared) {
        err = enter_prepare(w, dir);
    }
    if (err == 0 && p->options.one_file_system && plan_of(dir)->attr.dev != p->root_dev) {
        count_add(&p->counts.excluded, 1);
        err = -EXDEV; /* it is made, and empty */
    }
    if (err == 0) {
        err = list_begin(w, dir);
    }
    if (err == 0) {
        plan_of(dir)->listing = true;
        if (p->options.recall != NULL && !plan_of(dir)->fresh) {
            recall_read(p, dir);
        }
    }
    if (err != 0) {
        if (err != -EXDEV) {
            plan_left(p, dir);
        }
        there_drop(p, dir);
        recall_drop(p, dir);
        plan_dir_done(p, finishing_port(w), dir);
    }
}

/* Ends the innermost listing. whole: it came to its end. */
static void leave(struct walker *w, bool whole)
{
    struct frame frame = w->frames[--w->frame_count];
    if (whole) {
        recall_sum(w->p, frame.dir);
        gone_look(w, frame.dir);
    } else {
        plan_left(w->p, frame.dir);
    }
    struct store_op op = {.code = STORE_LIST_CLOSE, .dir = frame.dir, .list = {.list = &frame.list}};

    (void)store_run(w->src, &op); /* nothing was written through it */
    plan_of(frame.dir)->listing = false;
    there_drop(w->p, frame.dir);
    recall_drop(w->p, frame.dir);
    shards_dir_end(w);
    plan_dir_done(w->p, finishing_port(w), frame.dir);
}

static int source_stat(struct walker *w, struct dir *dir, const char *name, struct attr *out_attr)
{
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = out_attr}};
    int err = store_run(w->src, &op);
    if (err != 0) {
        plan_op_failed(w, w->src, &op, dir, name, err, false);
    }
    return err;
}

/* A subdirectory was met: leaves it to whoever comes first, or, where too much is pending, to itself. */
static void walk_subdirectory(struct walker *w, struct dir *dir, const char *name, size_t name_len,
                              const struct attr *attr)
{
    struct planner *p = w->p;
    struct dir *child = NULL;

    if (entry_excluded(w, dir, name, name_len, true) || first_met(p, dir, name, name_len)) {
        return;
    }
    count_add(&p->counts.dirs, 1);
    int err = enter_child(dir, name, name_len, attr, &child);
    if (err != 0) {
        plan_failed(p, dir, name, "list", err, true, true);
        return;
    }
    enter_listed(p, child);
    if (p->options.recall != NULL && !recall_has(p, dir, name, name_len)) {
        plan_of(child)->intended = p->options.intend(p->options.arg, dir, name);
    }
    struct task task = {.dir = child};
    if (!first_later(p, child) && !stack_push(&p->stack, &task)) {
        enter(w, child);
    }
}

static void walk_entry(struct walker *w, struct dir *dir, const struct store_entry *entry)
{
    struct attr attr = {0};
    bool known = entry->has_attr; /* if not, they are asked for by themselves, with all that the layers do for a call */

    recall_see(w->p, dir, entry->name, entry->name_len, true);
    there_see(w->p, dir, entry->name, entry->name_len);
    if (known) {
        attr = entry->attr;
    } else if (entry->type == DT_UNKNOWN) {
        if (source_stat(w, dir, entry->name, &attr) != 0) {
            return;
        }
        known = true;
    }
    if (known ? S_ISDIR(attr.mode) : entry->type == DT_DIR) {
        walk_subdirectory(w, dir, entry->name, entry->name_len, known ? &attr : NULL);
        return;
    }
    if (entry_excluded(w, dir, entry->name, entry->name_len, false)) {
        return;
    }
    if (!known && source_stat(w, dir, entry->name, &attr) != 0) {
        return;
    }
    if (S_ISDIR(attr.mode)) { /* it was exchanged since it was listed */
        walk_subdirectory(w, dir, entry->name, entry->name_len, NULL);
        return;
    }
    entry_plan(w, dir, entry->name, entry->name_len, &attr);
}

/* A listing ends too early. What was listed before goes on; the rest is missing. */
static void list_failed(struct walker *w, const struct frame *frame, const struct store_op *op, int err)
{
    struct planner *p = w->p;
    struct plan_failure failure = {.dir = frame->dir,
                                   .op = frame->some ? "list (broke off)" : store_code_name(op->code),
                                   .err = -err,
                                   .attempts = op->attempts > 0 ? op->attempts : 1,
                                   .on_source = true,
                                   .below = !frame->some};
    if (err != -ECANCELED) {
        p->options.failed(p->options.arg, &failure);
    }
}

/* One step: the next entry of the innermost listing, or its end. */
static void walk_step(struct walker *w)
{
    struct frame *frame = &w->frames[w->frame_count - 1];
    struct store_entry entry = {0};
    struct store_op op = {.code = STORE_LIST_NEXT, .dir = frame->dir, .list = {.list = &frame->list, .out = &entry}};

    int err = store_run(w->src, &op);
    if (err != 0) {
        list_failed(w, frame, &op, err);
        leave(w, false);
    } else if (entry.name == NULL) {
        leave(w, !planner_stopping(w->p));
    } else {
        frame->some = true;
        walk_entry(w, frame->dir, &entry);
    }
}

/* A name that was asked for by itself: a directory is made, but not entered. */
static void walk_name(struct walker *w, struct dir *dir, const char *name)
{
    struct planner *p = w->p;
    size_t name_len = strlen(name);
    struct dir *child = NULL;
    struct attr attr = {0};

    if (source_stat(w, dir, name, &attr) != 0 || entry_excluded(w, dir, name, name_len, S_ISDIR(attr.mode))) {
        return;
    }
    if (!S_ISDIR(attr.mode)) {
        entry_plan(w, dir, name, name_len, &attr);
        return;
    }
    if (p->options.only_name != NULL) {
        plan_failed(p, dir, name, store_code_name(STORE_STAT), -EISDIR, true, true);
        return;
    }
    count_add(&p->counts.dirs, 1);
    int err = enter_child(dir, name, name_len, &attr, &child);
    if (err != 0) {
        plan_failed(p, dir, name, "mkdir", err, true, true);
        return;
    }
    (void)enter_prepare(w, child); /* reported */
    plan_dir_done(p, finishing_port(w), child);
}

static void walk_names(struct walker *w, struct task *task)
{
    for (size_t at = 0; at < task->names_len && !planner_stopping(w->p); at += strlen(task->names + at) + 1) {
        walk_name(w, task->dir, task->names + at);
    }
    free(task->names);
    task->names = NULL;
    shards_dir_end(w);
    plan_dir_done(w->p, finishing_port(w), task->dir);
}

void walk_task(struct walker *w, struct task *task)
{
    if (task->names != NULL) {
        walk_names(w, task);
        return;
    }
    enter(w, task->dir);
    while (w->frame_count > 0) {
        if (planner_stopping(w->p)) {
            leave(w, false);
        } else {
            walk_step(w);
        }
    }
}

void walk_run(struct walker *w)
{
    struct planner *p = w->p;
    struct task task;

    for (;;) {
        if (!stack_pop(&p->stack, false, &task)) {
            shards_flush(w); /* nobody else can push it while this walker waits */
            if (!stack_pop(&p->stack, true, &task)) {
                return;
            }
        }
        walk_task(w, &task);
        stack_done(&p->stack);
    }
}
