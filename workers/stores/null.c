/*
 * null: a destination without anything behind it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workers/stores/layer.h"
#include "workers/stores/layers.h"

#define SMALL_MAX     (1024U * 1024)
#define PART          (512U * 1024)
#define IN_FLIGHT_MAX 256

/* A listing of nothing. The store's struct store_list is never looked into by anybody else. */
struct store_list {
    struct store *store; /* so that it is not empty */
};

static int list_open(struct port *p, struct store_op *op)
{
    struct store_list *list = malloc(sizeof(*list));

    if (!list) {
        return -ENOMEM;
    }
    list->store = p->store;
    *op->list.list = list;
    return 0;
}

static int stat_root(struct store_op *op)
{
    if (op->name || op->dir->parent) {
        return -ENOENT;
    }
    *op->stat.out = (struct attr){.mode = S_IFDIR | 0700, .nlink = 2};
    return 0;
}

/* It holds nothing, and so it lacks nothing. */
static int xattrs_root(struct store_op *op)
{
    if (op->name || op->dir->parent) {
        return -ENOENT;
    }
    if (op->xattrs.attr) {
        *op->xattrs.attr = (struct attr){.mode = S_IFDIR | 0700, .nlink = 2};
    }
    return xattrs_create(0, op->xattrs.out);
}

static int run(struct port *p, struct store_op *op)
{
    switch (op->code) {
    case STORE_STAT:
        return stat_root(op);
    case STORE_XATTRS:
        return xattrs_root(op);
    case STORE_READLINK:
    case STORE_READ_SMALL:
    case STORE_OPEN:
        return -ENOENT;
    case STORE_LIST_OPEN:
        return list_open(p, op);
    case STORE_LIST_NEXT:
        memset(op->list.out, 0, sizeof(*op->list.out));
        return 0;
    case STORE_LIST_PARK:
        return 0;
    case STORE_LIST_CLOSE:
        free(*op->list.list);
        *op->list.list = NULL;
        return 0;
    case STORE_READ:
    case STORE_EXTENT:
    case STORE_FSTAT:
    case STORE_CLOSE:
        return -EBADF; /* nothing was opened here */
    default:
        return layer_sink(op);
    }
}

static void destroy(struct store *s)
{
    free(s);
}

static const struct store_ops null_ops = {
    .destroy = destroy,
    .port_create = layer_port_create,
    .port_destroy = layer_port_destroy,
    .run = run,
};

int null_open(const struct store_options *options, struct store **out_store)
{
    struct store *s = calloc(1, sizeof(*s));

    (void)options; /* there is nothing that could be opened otherwise */
    if (!s) {
        return -ENOMEM;
    }
    s->ops = &null_ops;
    s->caps = (struct store_caps){
        .kind = "null",
        .fs = "null",
        .durable = true,
        .in_flight_max = IN_FLIGHT_MAX,
        .small_max = SMALL_MAX,
        .part = PART,
        .time_granularity_ns = 1,
        .clock_granularity_ns = 1,
    };
    *out_store = s;
    return 0;
}
