/*
 * finish: plan nodes, and directories that have nothing left to do.
 */
#include <errno.h>
#include <stdlib.h>

#include "planner/links.h"
#include "planner/planner_internal.h"

int plan_dir_create(struct dir *dir, bool alone)
{
    struct plan_dir *node = calloc(1, sizeof(*node));
    if (node == NULL) {
        return -ENOMEM;
    }
    atomic_init(&node->pending, 1);
    node->alone = alone || dir->parent == NULL;
    if (!node->alone) {
        plan_dir_hold(dir->parent);
    }
    dir->plan = node;
    dir_get(dir);
    return 0;
}

void plan_dir_hold(struct dir *dir)
{
    atomic_fetch_add_explicit(&plan_of(dir)->pending, 1, memory_order_relaxed);
}

unsigned plan_dir_keep(const struct planner *p)
{
    return p->options.archive_dirs ? p->options.keep : p->options.keep & ~STORE_KEEP_TIMES;
}

/* A directory that may be entered once more must stay writable for that long; what it lacks is noted for the end. */
static void keep_loose(struct planner *p, const struct dir *dir, struct attr *attr)
{
    if ((attr->mode & S_IRWXU) == S_IRWXU) {
        return;
    }
    int err = links_late(p->links, dir);
    if (err != 0) {
        plan_failed(p, dir, NULL, "remember", err, false, false);
        return;
    }
    attr->mode |= S_IRWXU;
}

/* dir is as it should be. */
static void finished(struct planner *p, const struct plan_dir *node, const struct dir *dir)
{
    if (p->options.finished != NULL && node->has_attr && !node->astray && !node->known) {
        p->options.finished(p->options.arg, dir, &node->attr);
    }
}

static void finish(struct planner *p, struct port *dst, const struct plan_dir *node, struct dir *dir)
{
    unsigned keep = plan_dir_keep(p);
    struct attr attr = node->attr;

    if (node->fresh) {
        keep |= STORE_KEEP_MODE; /* it was made for us alone */
    }
    bool touched = atomic_load_explicit(&node->touched, memory_order_relaxed);
    if ((keep == 0 && node->xattrs == NULL) || (node->right && !(touched && (keep & STORE_KEEP_TIMES) != 0))) {
        finished(p, node, dir);
        return;
    }
    if (node->loose) {
        keep_loose(p, dir, &attr);
    }
    struct store_op op = {
        .code = STORE_SETATTR, .dir = dir, .setattr = {.attr = &attr, .keep = keep, .xattrs = node->xattrs}};
    int err = store_run(dst, &op);
    if (err != 0) {
        struct plan_failure failure = {
            .dir = dir, .op = store_code_name(op.code), .err = -err, .attempts = op.attempts > 0 ? op.attempts : 1};
        if (err != -ECANCELED) {
            p->options.failed(p->options.arg, &failure);
        }
        return;
    }
    finished(p, node, dir);
}

/* dir has nothing left to do: its plan goes. Returns the parent that counted it; NULL: none. The reference to dir is
 * the caller's. */
static struct dir *dir_end(struct dir *dir)
{
    struct plan_dir *node = plan_of(dir);
    /* The parent lives on: our part of its pending keeps its node and so its reference. */
    struct dir *parent = node->alone ? NULL : dir->parent;
    dir->plan = NULL;
    xattrs_destroy(node->xattrs);
    free(node->listed);
    free(node);
    return parent;
}

void plan_dir_done(struct planner *p, struct port *dst, struct dir *dir)
{
    while (dir != NULL) {
        struct plan_dir *node = plan_of(dir);
        if (atomic_fetch_sub_explicit(&node->pending, 1, memory_order_acq_rel) != 1) {
            return;
        }
        if (dst != NULL && node->made && !planner_stopping(p)) {
            finish(p, dst, node, dir);
        }
        struct dir *parent = dir_end(dir);
        dir_put(dir);
        dir = parent;
    }
}

void plan_dir_lost(struct planner *p, struct port *dst, struct dir *dir)
{
    plan_of(dir)->xattrs = NULL; /* what the operation uses stays, and so does the reference to dir */
    plan_dir_done(p, dst, dir_end(dir));
}
