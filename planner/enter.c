/*
 * enter: a directory before its listing: the source's attributes, and its counterpart at the destination.
 */
#include <errno.h>

#include "planner/planner_internal.h"

int enter_child(struct dir *dir, const char *name, size_t name_len, const struct attr *attr, struct dir **out_child)
{
    struct dir *child = NULL;
    int err = dir_create_child(dir, name, name_len, &child);
    if (err != 0) {
        return err;
    }
    err = plan_dir_create(child, false);
    if (err == 0) {
        if (attr != NULL) {
            plan_of(child)->attr = *attr;
            plan_of(child)->has_attr = true;
        }
        *out_child = child;
    }
    dir_put(child); /* its plan holds one */
    return err;
}

static int stat_at(struct port *port, struct dir *dir, const char *name, struct attr *out_attr, struct store_op *op)
{
    *op = (struct store_op){.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = out_attr}};
    return store_run(port, op);
}

/* The source's attributes of dir, from the open directory where it can be opened, else from its name. */
static int source_attr(struct walker *w, struct dir *dir, struct plan_dir *node)
{
    struct store_op op;

    if (node->has_attr) {
        return 0;
    }
    int err = stat_at(w->src, dir, NULL, &node->attr, &op);
    if (err == -EACCES && dir->parent != NULL) {
        err = stat_at(w->src, dir->parent, dir->name, &node->attr, &op);
    }
    if (err == 0 && !S_ISDIR(node->attr.mode)) {
        err = -ENOTDIR;
    }
    if (err != 0) {
        plan_op_failed(w, w->src, &op, dir, NULL, err, true);
        return err;
    }
    node->has_attr = true;
    return 0;
}

int enter_unlock(struct walker *w, struct dir *dir, const struct attr *attr, bool *out_changed)
{
    struct planner *p = w->p;

    *out_changed = false;
    if (p->uid == 0 || attr->uid != p->uid || (attr->mode & S_IRWXU) == S_IRWXU) {
        return 0;
    }
    struct attr wanted = *attr;
    wanted.mode |= S_IRWXU;
    struct store_op op = {.code = STORE_SETATTR, .dir = dir, .setattr = {.attr = &wanted, .keep = STORE_KEEP_MODE}};
    if (dir->parent != NULL) {
        op.dir = dir->parent; /* it may not let itself be opened */
        op.name = dir->name;
    }
    int err = store_run(w->dst, &op);
    *out_changed = err == 0;
    return err;
}

/* dir stood at the destination before, with these attributes. */
static int enter_existing(struct walker *w, struct dir *dir, struct plan_dir *node, const struct attr *there)
{
    struct planner *p = w->p;
    bool unlocked = false;

    int err = dir->parent != NULL && p->options.owned != NULL ? p->options.owned(p->options.arg, w->dst, dir) : 0;
    if (err != 0) {
        plan_failed(p, dir, NULL, "lease", err, false, true);
        return err;
    }
    err = enter_unlock(w, dir, there, &unlocked);
    if (err != 0) {
        plan_failed(p, dir, NULL, store_code_name(STORE_SETATTR), err, false, true);
        return err;
    }
    node->made = p->options.only_name == NULL;
    struct attr wanted = node->attr;
    if (node->made) {
        entry_ask_owner(w, dir, NULL, there, &node->attr);
    }
    unsigned keep = entry_keep(p, plan_dir_keep(p), there, &wanted);
    node->right = !unlocked && compare_attrs(&wanted, there, keep, p->options.dst->caps.time_granularity_ns,
                                             KNOWN_NOTHING) == COMPARE_SAME;
    extra_plan_dir(w, dir, false);
    if (p->options.met != NULL) {
        p->options.met(p->options.arg, dir);
    }
    /* For a few names that were asked for by themselves a listing would be too much. */
    bool temps = true;
    if (p->options.dst->caps.network && p->options.files_from == NULL && p->options.only_name == NULL) {
        temps = there_read(w, dir);
    }
    if (temps && p->options.existing != NULL && p->options.existing(p->options.arg, w->dst, dir)) {
        atomic_store_explicit(&node->touched, true, memory_order_relaxed);
    }
    return 0;
}

static void told_made(struct planner *p, const struct dir *dir)
{
    if (p->options.made != NULL) {
        p->options.made(p->options.arg, dir);
    }
}

static int make(struct walker *w, struct dir *dir, struct plan_dir *node, struct store_op *op)
{
    *op = (struct store_op){.code = STORE_MKDIR, .dir = dir->parent, .name = dir->name, .mkdir = {.mode = S_IRWXU}};
    int err = store_run(w->dst, op);
    if (err == 0) {
        node->made = true;
        node->fresh = true;
        atomic_store_explicit(&plan_of(dir->parent)->touched, true, memory_order_relaxed);
        count_add(&w->p->counts.dirs_made, 1);
        told_made(w->p, dir);
        extra_plan_dir(w, dir, true);
    }
    return err;
}

/* Something stands there under the name of dir: takes it over, or makes room and tries once more. */
static int make_again(struct walker *w, struct dir *dir, struct plan_dir *node, struct store_op *op, bool *out_exists,
                      struct attr *out_there)
{
    int err = stat_at(w->dst, dir->parent, dir->name, out_there, op);
    if (err == 0 && S_ISDIR(out_there->mode)) {
        *out_exists = true;
        return 0;
    }
    if (err == 0) {
        *op = (struct store_op){
            .code = STORE_REMOVE, .dir = dir->parent, .name = dir->name, .remove = {.expect = out_there, .dir = false}};
        err = store_run(w->dst, op);
    }
    return err == 0 || err == -ENOENT ? make(w, dir, node, op) : err;
}

static int make_root(struct walker *w, struct dir *dir, struct plan_dir *node)
{
    struct planner *p = w->p;
    struct store_op op;
    struct attr there = {0};

    p->root_dev = node->attr.dev;
    if (p->options.root_fresh) {
        if (p->options.only_name == NULL) {
            told_made(p, dir);
        }
        node->fresh = true;
        node->made = p->options.only_name == NULL;
        extra_plan_dir(w, dir, true);
        return 0;
    }
    int err = stat_at(w->dst, dir, NULL, &there, &op);
    if (err != 0) {
        plan_op_failed(w, w->dst, &op, dir, NULL, err, true);
        return err;
    }
    return enter_existing(w, dir, node, &there);
}

int enter_prepare(struct walker *w, struct dir *dir)
{
    struct plan_dir *node = plan_of(dir);
    struct store_op op;
    struct attr there = {0};
    bool exists = false;

    int err = source_attr(w, dir, node);
    if (err != 0) {
        return err;
    }
    node->loose = w->p->options.files_from != NULL && w->p->uid != 0;
    if (dir->parent == NULL) {
        return make_root(w, dir, node);
    }
    err = make(w, dir, node, &op);
    if (err == -EEXIST) {
        err = make_again(w, dir, node, &op, &exists, &there);
    }
    if (err != 0) {
        plan_op_failed(w, w->dst, &op, dir, NULL, err, true);
        return err;
    }
    return exists ? enter_existing(w, dir, node, &there) : 0;
}
