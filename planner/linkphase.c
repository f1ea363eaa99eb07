/*
 * linkphase: further names of files, once all else is done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "planner/chain.h"
#include "planner/links.h"
#include "planner/planner_internal.h"

#define ALONE_ROWS 256 /* rounds with fewer rows are not worth waking the other walkers */

/* --- the present directory --- */

void linkphase_leave(struct walker *w, struct link_phase *phase)
{
    if (phase->dir != NULL) {
        plan_dir_done(w->p, planner_stopping(w->p) ? NULL : w->dst, phase->dir);
    }
    free(phase->path);
    phase->dir = NULL;
    phase->path = NULL;
}

/* A node of its own for path: nodes on the way to others have no plan, this one has. */
static int dir_node(struct planner *p, struct chain *chain, const char *path, struct dir **out_dir)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    struct dir *parent = NULL;
    struct dir *dir = NULL;
    int err;

    if (strcmp(path, ".") == 0) {
        err = dir_create_root(&p->tree, &dir);
    } else {
        err = chain_to(chain, path, slash != NULL ? (size_t)(slash - path) : 0, &parent);
        if (err == 0) {
            err = dir_create_child(parent, name, strlen(name), &dir);
        }
    }
    if (err != 0) {
        return err;
    }
    err = plan_dir_create(dir, true);
    if (err == 0) {
        *out_dir = dir;
    }
    dir_put(dir); /* its plan holds one */
    return err;
}

/* Writable while links are made in it, and finished once more where that changes what the walk has finished. What
 * cannot be done is told by the links themselves or by the finish. */
static void dir_prepare(struct walker *w, struct dir *dir, bool removing)
{
    struct planner *p = w->p;
    struct plan_dir *node = plan_of(dir);
    struct attr there = {0};
    bool unlocked = false;

    if (p->uid != 0) {
        struct store_op op = {.code = STORE_STAT, .dir = dir, .name = NULL, .stat = {.out = &there}};
        if (dir->parent != NULL) {
            op.dir = dir->parent;
            op.name = dir->name;
        }
        if (store_run(w->dst, &op) == 0) {
            (void)enter_unlock(w, dir, &there, &unlocked);
        }
    }
    if (!unlocked && !p->options.archive_dirs) {
        return;
    }
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = NULL, .stat = {.out = &node->attr}};
    int err = store_run(w->src, &op);
    if (removing && (err == -ENOENT || err == -ENOTDIR)) {
        return; /* it goes too */
    }
    if (err != 0) {
        plan_op_failed(w, w->src, &op, dir, NULL, err, false);
        return;
    }
    node->has_attr = true;
    node->made = true;
    /* The walk has finished it; only a link made in it changes its times. Until then what is remembered of it is what
     * the walk has set, not what the source, which may have been changed since, has now. */
    node->right = !unlocked;
    node->known = node->right;
}

int linkphase_dir(struct walker *w, struct link_phase *phase, const char *path, bool removing, struct dir **out_dir)
{
    if (phase->dir == NULL || strcmp(phase->path, path) != 0) {
        linkphase_leave(w, phase);
        struct dir *dir = NULL;
        char *copy = strdup(path);
        int err = copy != NULL ? dir_node(w->p, &phase->chain, path, &dir) : -ENOMEM;
        if (err != 0) {
            free(copy);
            return err;
        }
        phase->dir = dir;
        phase->path = copy;
        dir_prepare(w, dir, removing);
    }
    plan_dir_hold(phase->dir);
    *out_dir = phase->dir;
    return 0;
}

/* --- one row --- */

/* Whether both names stand at the destination and are one file there already. */
static bool linked_already(struct walker *w, const struct attr *there, struct dir *from_dir, const char *from_name)
{
    struct attr leader = {0};
    struct store_op op = {.code = STORE_STAT, .dir = from_dir, .name = from_name, .stat = {.out = &leader}};
    return store_run(w->dst, &op) == 0 && leader.dev == there->dev && leader.ino == there->ino;
}

/* Looks at what stands under the row's name: 1: it is right, 0: it is to be linked, -errno, reported. */
static int look(struct walker *w, struct dir *dir, const struct link_row *row, const struct attr *attr,
                struct dir *from_dir, struct attr *out_there)
{
    const struct plan_options *o = &w->p->options;
    struct attr there = {0};
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = row->name, .stat = {.out = &there}};

    *out_there = there;
    if (row->fresh) {
        return 0;
    }
    if (o->trust && !row->anew && !o->audited(o->arg, dir) &&
        o->linked(o->arg, dir, row->name, attr, from_dir, row->leader_name)) {
        return 1;
    }
    int err = store_run(w->dst, &op);
    if (err == -ENOENT) {
        return 0;
    }
    if (err != 0) {
        plan_op_failed(w, w->dst, &op, dir, row->name, err, false);
        return err;
    }
    if (S_ISDIR(there.mode)) {
        return entry_clear(w, dir, row->name, &there); /* -EAGAIN: it has its turn after the removals */
    }
    *out_there = there;
    return !row->anew && linked_already(w, &there, from_dir, row->leader_name) ? 1 : 0;
}

static void count_linked(struct planner *p, const struct dir *dir, const char *name, const struct attr *attr,
                         const struct attr *there)
{
    count_add(&p->counts.same, 1);
    if (p->options.same != NULL && there->mode != 0) {
        p->options.same(p->options.arg, dir, name, attr, there);
    }
}

static int make_item(struct walker *w, struct dir *dir, const struct link_row *row, const struct attr *attr,
                     struct dir *from_dir)
{
    struct item *item = item_create(ITEM_LINK, dir, row->name, strlen(row->name), attr);
    if (item != NULL) {
        item->from_dir = dir_get(from_dir);
        item->from_name = strdup(row->leader_name);
    }
    if (item != NULL && w->p->options.recall != NULL) {
        w->intended = w->p->options.intend(w->p->options.arg, dir, row->name);
    }
    if (item == NULL || item->from_name == NULL || shards_add(w, item) != 0) {
        item_destroy(item);
        return -ENOMEM;
    }
    return 0;
}

static void link_row(struct walker *w, struct chain *leaders, struct dir *dir, const struct link_row *row,
                     const struct attr *attr)
{
    struct dir *from_dir = NULL;

    int err = chain_to(leaders, row->leader_dir, strlen(row->leader_dir), &from_dir);
    if (err == 0) {
        bool itself = strcmp(row->dir, row->leader_dir) == 0 && strcmp(row->name, row->leader_name) == 0;
        struct attr there = {0};
        int found = itself ? 1 : look(w, dir, row, attr, from_dir, &there);
        if (found < 0) {
            return;
        }
        if (found > 0) {
            count_linked(w->p, dir, row->name, attr, &there);
            return;
        }
        err = make_item(w, dir, row, attr, from_dir);
    }
    if (err != 0) {
        plan_failed(w->p, dir, row->name, "link", err, true, false);
    }
}

/* The row's name is not the leader after all: the next one is tried. */
static void lead_failed(struct planner *p, struct dir *dir, const struct link_row *row)
{
    int err = links_settle(p->links, row->dev, row->ino, LINK_FAILED);
    if (err != 0) {
        plan_failed(p, dir, row->name, "remember", err, true, false);
    }
}

static void run_row(struct walker *w, struct chain *leaders, struct dir *dir, const struct link_row *row)
{
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = row->name, .stat = {.out = &attr}};

    int err = store_run(w->src, &op);
    bool replaced = err == 0 && (attr.dev != row->dev || attr.ino != row->ino);
    if (err == 0 && S_ISDIR(attr.mode)) {
        err = -EISDIR; /* exchanged during the run: left to the next */
    }
    if (err != 0) {
        plan_op_failed(w, w->src, &op, dir, row->name, err, false);
    }
    if ((err != 0 || replaced) && row->task == LINK_LEAD) {
        lead_failed(w->p, dir, row);
    }
    if (err != 0) {
        return;
    }
    if (row->task == LINK_TO_LEADER && !replaced) {
        link_row(w, leaders, dir, row, &attr);
        return;
    }
    entry_decide(w, dir, row->name, strlen(row->name), &attr, row->task == LINK_LEAD && !replaced, row->fresh);
}

/* Takes the next row with its directory: 0; -ENOENT at the end of the round. Rows whose directory fails are reported
 * and passed over; a table that fails is reported once and ends the round. */
static int take_row(struct walker *w, struct link_phase *phase, struct link_row *out_row, struct dir **out_dir)
{
    struct planner *p = w->p;
    bool told = false;
    int err = 0;

    pthread_mutex_lock(&phase->lock);
    for (;;) {
        err = phase->failed ? -ENOENT : links_next(p->links, out_row);
        if (err != 0) {
            told = err != -ENOENT;
            phase->failed = phase->failed || told;
            break;
        }
        int dir_err = linkphase_dir(w, phase, out_row->dir, false, out_dir);
        if (dir_err == 0) {
            break;
        }
        plan_failed(p, p->root, out_row->dir, "link", dir_err, true, true);
        links_row_release(out_row);
    }
    pthread_mutex_unlock(&phase->lock);
    if (told) {
        plan_failed(p, p->root, NULL, "link", err, true, false);
    }
    return err;
}

void linkphase_run(struct walker *w)
{
    struct planner *p = w->p;
    struct link_row row;
    struct dir *dir = NULL;
    struct chain leaders;

    chain_init(&leaders, p->root);
    while (!planner_stopping(p) && take_row(w, p->link_phase, &row, &dir) == 0) {
        run_row(w, &leaders, dir, &row);
        plan_dir_done(p, planner_stopping(p) ? NULL : w->dst, dir);
        links_row_release(&row);
    }
    shards_flush(w);
    chain_release(&leaders);
}

/* One round after the other, until no name is left or the run is being stopped. */
static void run_rounds(struct walker *w, struct link_phase *phase)
{
    struct planner *p = w->p;

    while (!phase->failed && planner_wait_idle(p) && links_waiting(p->links)) {
        uint64_t rows = 0;
        int err = links_round(p->links, &rows);
        if (err == 0 && rows == 0) {
            err = -EIO; /* names wait and none can be taken: the table is damaged */
        }
        if (err != 0) {
            plan_failed(p, p->root, NULL, "link", err, true, false);
            return;
        }
        if (rows < ALONE_ROWS) {
            linkphase_run(w);
        } else {
            planner_phase(w, PHASE_LINKS);
        }
        linkphase_leave(w, phase);
    }
}

/* Sets the attributes of the directories that had to stay writable. */
static void finish_late(struct walker *w, struct link_phase *phase)
{
    struct planner *p = w->p;
    char *path = NULL;
    int err = 0;

    while (!planner_stopping(p) && (err = links_late_next(p->links, &path)) == 0) {
        struct dir *dir = NULL;
        int dir_err = dir_node(p, &phase->chain, path, &dir);
        if (dir_err == 0) {
            struct plan_dir *node = plan_of(dir);
            struct store_op op = {.code = STORE_STAT, .dir = dir, .name = NULL, .stat = {.out = &node->attr}};
            dir_err = store_run(w->src, &op);
            node->made = dir_err == 0;
            if (dir_err != 0) {
                plan_op_failed(w, w->src, &op, dir, NULL, dir_err, false);
            }
            plan_dir_done(p, w->dst, dir);
        } else {
            plan_failed(p, p->root, path, "setattr", dir_err, false, false);
        }
        free(path);
    }
    if (err != 0 && err != -ENOENT) {
        plan_failed(p, p->root, NULL, "setattr", err, false, false);
    }
}

void linkphase_lead(struct walker *w)
{
    struct planner *p = w->p;
    struct link_phase phase = {.dir = NULL};

    pthread_mutex_init(&phase.lock, NULL);
    chain_init(&phase.chain, p->root);
    p->link_phase = &phase;
    if (links_waiting(p->links)) {
        run_rounds(w, &phase);
    }
    if (p->options.files_from != NULL && p->uid != 0 && planner_wait_idle(p)) {
        finish_late(w, &phase);
    }
    p->link_phase = NULL;
    chain_release(&phase.chain);
    pthread_mutex_destroy(&phase.lock);
}
