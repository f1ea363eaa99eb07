/*
 * dry: takes every change and makes none.
 *
 * A directory that was "made" is not there, so looking into it is -ENOENT, as the store below says by itself. A
 * directory that is there already is -EEXIST, so that the planner goes the same ways as in a real run.
 */
#include <errno.h>
#include <stdlib.h>

#include "workers/stores/layer.h"
#include "workers/stores/layers.h"

/* Whether a directory of that name stands there: -EEXIST, 0, or -errno. Anything else would have made room. */
static int check_free(struct port *p, const struct store_op *op)
{
    struct attr attr = {0};
    struct store_op look = {.code = STORE_STAT, .dir = op->dir, .name = op->name, .stat = {.out = &attr}};
    int err = store_run_next(p, &look);

    if (err == -ENOENT) {
        return 0;
    }
    return err ? err : S_ISDIR(attr.mode) ? -EEXIST : 0;
}

static int publish_new(struct port *p, struct store_op *op)
{
    struct attr attr = {0};
    struct store_op look = {.code = STORE_STAT, .dir = op->dir, .name = op->name, .stat = {.out = &attr}};
    int err = store_run_next(p, &look);

    return err == -ENOENT ? layer_sink(op) : err ? err : -EEXIST;
}

static int run(struct port *p, struct store_op *op)
{
    switch (op->code) {
    case STORE_STAT:
    case STORE_XATTRS:
    case STORE_READLINK:
    case STORE_LIST_OPEN:
    case STORE_LIST_NEXT:
    case STORE_LIST_PARK:
    case STORE_LIST_CLOSE:
    case STORE_READ_SMALL:
    case STORE_OPEN:
    case STORE_READ:
    case STORE_EXTENT:
    case STORE_FSTAT:
    case STORE_CLOSE:
        return store_run_next(p, op);
    case STORE_MKDIR:
        return check_free(p, op);
    case STORE_PUBLISH:
        return op->put.exclusive ? publish_new(p, op) : layer_sink(op);
    default:
        return layer_sink(op);
    }
}

static void destroy(struct store *s)
{
    free(s);
}

static const struct store_ops dry_ops = {
    .destroy = destroy,
    .port_create = layer_port_create,
    .port_destroy = layer_port_destroy,
    .run = run,
};

int dry_wrap(struct store *next, struct store **out_store)
{
    struct store *s = calloc(1, sizeof(*s));

    if (!s) {
        store_destroy(next);
        return -ENOMEM;
    }
    s->ops = &dry_ops;
    s->caps = next->caps;
    s->caps.resume = false;
    s->next = next;
    *out_store = s;
    return 0;
}
