/*
 * extra: extended attributes and ACLs, where the run keeps them.
 */
#include <errno.h>
#include <stddef.h>

#include "planner/planner_internal.h"

static int read_side(struct walker *w, struct port *port, struct dir *dir, const char *name, struct xattrs **out,
                     struct store_op *op)
{
    *op = (struct store_op){
        .code = STORE_XATTRS, .dir = dir, .name = name, .xattrs = {.kinds = w->p->options.xattrs, .out = out}};
    return store_run(port, op);
}

/* At the destination: what cannot be looked at is set, which tells what is wrong with it. */
static bool is_other(struct walker *w, struct dir *dir, const char *to, const struct xattrs *ours)
{
    struct xattrs *theirs = NULL;
    struct store_op op;
    bool other = read_side(w, w->dst, dir, to, &theirs, &op) != 0 || !xattrs_equal(ours, theirs);

    xattrs_destroy(theirs);
    return other;
}

int extra_differs(struct walker *w, struct dir *dir, const char *name, const char *to, bool *out_differs)
{
    struct xattrs *ours = NULL;
    struct store_op op;

    *out_differs = false;
    if (w->p->options.xattrs == 0) {
        return 0;
    }
    int err = read_side(w, w->src, dir, name, &ours, &op);
    if (err != 0) {
        plan_op_failed(w, w->src, &op, dir, name, err, false);
        return err;
    }
    *out_differs = is_other(w, dir, to, ours);
    xattrs_destroy(ours);
    return 0;
}

void extra_plan_dir(struct walker *w, struct dir *dir, bool fresh)
{
    struct plan_dir *node = plan_of(dir);
    struct xattrs *ours = NULL;
    struct store_op op;

    if (w->p->options.xattrs == 0 || !node->made) {
        return;
    }
    int err = read_side(w, w->src, dir, NULL, &ours, &op);
    if (err != 0) {
        plan_op_failed(w, w->src, &op, dir, NULL, err, false);
        return;
    }
    if (fresh || is_other(w, dir, NULL, ours)) {
        node->right = false;
        node->xattrs = ours;
    } else {
        xattrs_destroy(ours);
    }
}
