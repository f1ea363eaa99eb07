/*
 * layer: the bare port, and the sink.
 */
#include "workers/stores/layer.h"

#include <errno.h>
#include <stdlib.h>

struct store_upload {
    struct attr attr; /* as BEGIN was told */
};

int layer_port_create(struct store *s, struct io *io, struct port **out)
{
    struct port *p = calloc(1, sizeof(*p));

    if (!p) {
        return -ENOMEM;
    }
    p->store = s;
    p->io = io;
    *out = p;
    return 0;
}

void layer_port_destroy(struct port *p)
{
    free(p);
}

static void as_if(const struct attr *attr, struct attr *out)
{
    if (out) {
        *out = *attr;
        out->nlink = 1;
        out->dev = 0;
        out->ino = 0;
        out->ctime = (struct timespec){0};
    }
}

static int sink_begin(struct store_op *op)
{
    struct store_upload *u;

    if (op->put.resume) {
        return -EOPNOTSUPP;
    }
    u = malloc(sizeof(*u));
    if (!u) {
        return -ENOMEM;
    }
    u->attr = *op->put.attr;
    *op->put.upload = u;
    if (op->put.temp) {
        *op->put.temp = (struct store_temp){0};
    }
    return 0;
}

int layer_sink(struct store_op *op)
{
    switch (op->code) {
    case STORE_PUBLISH:
    case STORE_SYMLINK:
    case STORE_NODE:
        as_if(op->put.attr, op->put.out);
        return 0;
    case STORE_BEGIN:
        return sink_begin(op);
    case STORE_COPY:
    case STORE_FLUSH:
        return -EOPNOTSUPP;
    case STORE_COMMIT:
        as_if(op->up.attr, op->up.out);
        free(op->up.upload);
        return 0;
    case STORE_ABORT:
    case STORE_PARK:
        free(op->up.upload);
        return 0;
    case STORE_LINK:
        if (op->link.out) {
            *op->link.out = (struct attr){.nlink = 2};
        }
        return 0;
    case STORE_MKDIR:
    case STORE_WRITE:
    case STORE_SETATTR:
    case STORE_REMOVE:
    case STORE_SYNC:
        return 0;
    default:
        return -ENOSYS;
    }
}
