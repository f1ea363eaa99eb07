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

/* What of its attributes is to be set: STORE_KEEP_*. */
static unsigned keep_of(const struct planner *p, const struct plan_dir *node)
{
    return plan_dir_keep(p) | (node->fresh ? STORE_KEEP_MODE : 0); /* it was made for us alone */
}

/* Whether anything of it is to be set. */
static bool is_set(const struct planner *p, const struct plan_dir *node)
{
    unsigned keep = keep_of(p, node);
    bool touched = atomic_load_explicit(&node->touched, memory_order_relaxed);
    return (keep != 0 || node->xattrs != NULL) && !(node->right && !(touched && (keep & STORE_KEEP_TIMES) != 0));
}

static void finish(struct planner *p, struct port *dst, const struct plan_dir *node, struct dir *dir)
{
    unsigned keep = keep_of(p, node);
    struct attr attr = node->attr;

    if (!is_set(p, node)) {
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

/* Finishes dir, of which nothing is left to do; dst as for plan_dir_done. Returns what dir_end returns. */
static struct dir *end_of(struct planner *p, struct port *dst, struct dir *dir)
{
    const struct plan_dir *node = plan_of(dir);
    if (dst != NULL && node->made && !planner_stopping(p)) {
        finish(p, dst, node, dir);
    }
    struct dir *parent = dir_end(dir);
    dir_put(dir);
    return parent;
}

/*
 * Whether dir may be finished beside those above it, or after them: what is set of it changes nothing of theirs. But
 * without all rights on those it could not be reached any more.
 */
static bool may_be_last(const struct planner *p, const struct dir *dir)
{
    if (p->options.beside == NULL || plan_of(dir)->alone || !plan_of(dir)->made || !is_set(p, plan_of(dir))) {
        return false;
    }
    for (; !plan_of(dir)->alone; dir = dir->parent) {
        const struct plan_dir *above = plan_of(dir->parent);
        if (above->made && (above->attr.mode & S_IRWXU) != S_IRWXU) {
            return false;
        }
    }
    return true;
}

/* Has dir finished in another fiber; in this one where there is none. */
static void end_beside(struct planner *p, struct port *dst, struct dir *dir)
{
    atomic_fetch_add(&p->outstanding, 1);
    if (!p->options.beside(p->options.arg, dir)) {
        atomic_fetch_sub(&p->outstanding, 1); /* not the last one: the caller's own goes on */
        end_of(p, dst, dir);
    }
}

void plan_dir_done(struct planner *p, struct port *dst, struct dir *dir)
{
    struct dir *last = NULL; /* nothing is left to do of it but to finish it, for which nobody waits */
    while (dir != NULL && atomic_fetch_sub_explicit(&plan_of(dir)->pending, 1, memory_order_acq_rel) == 1) {
        if (last != NULL) {
            end_beside(p, dst, last);
            last = NULL;
        }
        if (dst != NULL && !planner_stopping(p) && may_be_last(p, dir)) {
            last = dir;
            dir = dir->parent;
            plan_of(last)->alone = true;
        } else {
            dir = end_of(p, dst, dir);
        }
    }
    if (last != NULL) {
        end_of(p, dst, last);
    }
}

void plan_dir_end(struct planner *p, struct port *dst, struct dir *dir)
{
    end_of(p, dst, dir);
}

void plan_dir_lost(struct planner *p, struct port *dst, struct dir *dir)
{
    plan_of(dir)->xattrs = NULL; /* what the operation uses stays, and so does the reference to dir */
    plan_dir_done(p, dst, dir_end(dir));
}
