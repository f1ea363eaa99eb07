/*
 * remap: a source with the modes and owners that are wished for.
 */
#include <errno.h>
#include <stdlib.h>

#include "workers/stores/layer.h"
#include "workers/stores/layers.h"

struct remap {
    struct store head;
    struct remap_options options; /* constant */
};

static void change(const struct remap_options *o, struct attr *attr)
{
    if (o->uid != (uid_t)-1) {
        attr->uid = o->uid;
    }
    if (o->gid != (gid_t)-1) {
        attr->gid = o->gid;
    }
    if (o->mode && !S_ISLNK(attr->mode)) {
        attr->mode = o->mode(o->arg, attr->mode);
    }
}

/* An ACL speaks of the mode too. So its attributes are asked for even where the caller has no use for them. */
static int run_xattrs(struct port *p, struct store_op *op)
{
    const struct remap_options *o = &((const struct remap *)p->store)->options;
    struct attr *wanted = op->xattrs.attr;
    struct attr attr;
    int err;

    op->xattrs.attr = &attr;
    err = store_run_next(p, op);
    op->xattrs.attr = wanted;
    if (err) {
        return err;
    }
    change(o, &attr);
    if (o->mode && !S_ISLNK(attr.mode)) {
        xattrs_chmod(*op->xattrs.out, attr.mode);
    }
    if (wanted) {
        *wanted = attr;
    }
    return 0;
}

static int run(struct port *p, struct store_op *op)
{
    const struct remap_options *o = &((const struct remap *)p->store)->options;
    int err;

    if (op->code == STORE_XATTRS) {
        return run_xattrs(p, op);
    }
    err = store_run_next(p, op);
    if (err) {
        return err;
    }
    switch (op->code) {
    case STORE_STAT:
    case STORE_FSTAT:
        change(o, op->stat.out);
        break;
    case STORE_LIST_NEXT:
        if (op->list.out->name && op->list.out->has_attr) {
            change(o, &op->list.out->attr);
        }
        break;
    case STORE_READ_SMALL:
        change(o, op->read_small.before);
        change(o, op->read_small.after);
        break;
    case STORE_OPEN:
        if (op->open.attr) {
            change(o, op->open.attr);
        }
        break;
    default:
        break;
    }
    return 0;
}

static void destroy(struct store *s)
{
    free(s);
}

static const struct store_ops remap_ops = {
    .destroy = destroy,
    .port_create = layer_port_create,
    .port_destroy = layer_port_destroy,
    .run = run,
};

int remap_wrap(struct store *next, const struct remap_options *options, struct store **out_store)
{
    struct remap *r = calloc(1, sizeof(*r));

    if (!r) {
        store_destroy(next);
        return -ENOMEM;
    }
    r->head.ops = &remap_ops;
    r->head.caps = next->caps;
    r->head.next = next;
    r->options = *options;
    *out_store = &r->head;
    return 0;
}
