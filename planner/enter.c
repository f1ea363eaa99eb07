/*
 * enter: a directory before its listing: the source's attributes, and its counterpart at the destination.
 */
#include <errno.h>
#include <stdlib.h>

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

/* Whether dir is to be listed at the destination before its entries are walked: for a few names that were asked for by
 * themselves it would be too much. */
static bool is_list_wanted(const struct planner *p)
{
    const struct plan_options *o = &p->options;
    return (o->dst->caps.network || o->extras) && o->files_from == NULL && o->only_name == NULL;
}

/* Whether dir may be another run's: its lease would stand in it. Of one that was listed that is known. */
static int ask_owned(struct walker *w, struct dir *dir)
{
    struct planner *p = w->p;
    struct attr attr;

    if (dir->parent == NULL || p->options.owned == NULL || there_find(p, dir, HAUL_DIR, &attr) == THERE_NOTHING) {
        return 0;
    }
    return p->options.owned(p->options.arg, w->dst, dir);
}

/* dir stood at the destination before, with these attributes. temps: there may be temp names in it, if it was listed
 * already. */
static int enter_existing(struct walker *w, struct dir *dir, struct plan_dir *node, const struct attr *there,
                          bool temps)
{
    struct planner *p = w->p;
    bool listed = is_list_wanted(p) && (!p->options.trust || node->audit || node->listing);
    bool unlocked = false;

    if (listed && node->there == NULL) {
        (void)there_read(w, dir, &temps);
    }
    int err = ask_owned(w, dir);
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
    if (listed && unlocked && node->there == NULL) {
        (void)there_read(w, dir, &temps);
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
    const struct plan_options *o = &w->p->options;
    *op = (struct store_op){.code = STORE_MKDIR, .dir = dir->parent, .name = dir->name, .mkdir = {.mode = S_IRWXU}};
    if (o->recall != NULL && node->intended == 0) {
        node->intended = o->intend(o->arg, dir->parent, dir->name); /* what is remembered of the name may be a file */
    }
    if (node->intended != 0 && o->commit(o->arg, node->intended) != 0) {
        return -ECANCELED;
    }
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
    if (err == -ENOENT && node->known) {
        return make(w, dir, node, op); /* it was remembered, and is not there */
    }
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
    p->root_ino = node->attr.ino;
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
    return enter_existing(w, dir, node, &there, true);
}

/* Whether dir is remembered to stand at the destination as it should: then nobody asks, until something is to be done
 * in it. */
static bool is_assumed(const struct planner *p, const struct dir *dir, struct plan_dir *node)
{
    const struct plan_options *o = &p->options;
    if (o->recall == NULL || o->only_name != NULL) {
        return false;
    }
    node->audit = o->audited(o->arg, dir);
    node->known = o->known_dir(o->arg, dir, &node->attr);
    /* Without root, one that is not ours to write to is made so first. */
    return o->trust && !node->audit && node->known && (p->uid == 0 || (node->attr.mode & S_IRWXU) == S_IRWXU);
}

/* Looks whether dir stands there, or makes it. 0, -errno with *op. */
static int make_or_take(struct walker *w, struct dir *dir, struct plan_dir *node, struct store_op *op, bool *out_exists,
                        struct attr *out_there)
{
    int err = -EEXIST;
    if (!node->known) {
        err = make(w, dir, node, op);
    }
    return err == -EEXIST ? make_again(w, dir, node, op, out_exists, out_there) : err;
}

void enter_listed(const struct planner *p, struct dir *dir)
{
    struct plan_dir *node = plan_of(dir);
    struct attr there = {0};

    if (there_find(p, dir->parent, dir->name, &there) != THERE_FOUND || !S_ISDIR(there.mode)) {
        return;
    }
    node->listed = malloc(sizeof(*node->listed)); /* without it is asked */
    if (node->listed != NULL) {
        *node->listed = there;
    }
}

/* Where the listing of its parent has told that dir stands there, and what it is like, only its own listing is needed,
 * which tells too whether it still does. */
static bool take_listed(struct walker *w, struct dir *dir, struct plan_dir *node, struct attr *out_there,
                        bool *out_temps)
{
    if (node->listed == NULL || (w->p->options.trust && !node->audit)) {
        return false;
    }
    *out_there = *node->listed;
    free(node->listed);
    node->listed = NULL;
    int err = there_read(w, dir, out_temps);
    return err == 0 || err == -EACCES;
}

int enter_verify(struct walker *w, struct dir *dir)
{
    struct planner *p = w->p;
    struct plan_dir *node = plan_of(dir);
    struct store_op op;
    struct attr there = {0};

    if (node->astray) {
        return -ENOENT;
    }
    node->assumed = false;
    int err = dir->parent == NULL ? stat_at(w->dst, dir, NULL, &there, &op)
                                  : stat_at(w->dst, dir->parent, dir->name, &there, &op);
    if (err == 0 && !S_ISDIR(there.mode)) {
        err = -ENOTDIR;
    }
    if (err == -ENOENT || err == -ENOTDIR) {
        p->options.astray(p->options.arg, dir);
    }
    if (err != 0) {
        plan_op_failed(w, w->dst, &op, dir, NULL, err, true);
    } else {
        err = enter_existing(w, dir, node, &there, true);
    }
    node->astray = err != 0;
    return err;
}

/* Whether dir's times are not what is remembered, since the store was tried out in it. */
static bool is_stirred(const struct planner *p, const struct dir *dir)
{
    return dir->parent == NULL && p->options.archive_dirs && p->options.dst->caps.root_stirred;
}

int enter_prepare(struct walker *w, struct dir *dir)
{
    struct plan_dir *node = plan_of(dir);
    struct store_op op;
    struct attr there = {0};
    bool exists = false;
    bool temps = true;

    int err = source_attr(w, dir, node);
    if (err != 0) {
        return err;
    }
    node->loose = w->p->options.files_from != NULL && w->p->uid != 0;
    bool assumed = is_assumed(w->p, dir, node);
    if (w->p->options.recall != NULL && is_stirred(w->p, dir)) {
        w->p->options.touched(w->p->options.arg, dir); /* this run may not live to set them right */
        node->known = false;
    }
    if (assumed) {
        if (dir->parent == NULL) {
            w->p->root_dev = node->attr.dev;
            w->p->root_ino = node->attr.ino;
        }
        node->assumed = true;
        node->made = true;
        node->right = !is_stirred(w->p, dir);
        return 0;
    }
    if (dir->parent == NULL) {
        return make_root(w, dir, node);
    }
    if (take_listed(w, dir, node, &there, &temps)) {
        return enter_existing(w, dir, node, &there, temps);
    }
    err = make_or_take(w, dir, node, &op, &exists, &there);
    if (err == -ENOENT && w->p->options.recall != NULL) {
        w->p->options.astray(w->p->options.arg, dir->parent);
    }
    if (err != 0) {
        if (err == -ECANCELED) {
            return err;
        }
        plan_op_failed(w, w->dst, &op, dir, NULL, err, true);
        return err;
    }
    return exists ? enter_existing(w, dir, node, &there, true) : 0;
}
