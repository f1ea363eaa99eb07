/*
 * claim: asks before the first change.
 *
 * Whoever only looks needs nobody's leave; what is to be changed is claimed first, once. The question may take long: it
 * stands before every other layer, so that nothing measures it as an operation of the destination.
 */
#include <errno.h>
#include <stdlib.h>

#include "workers/stores/layer.h"
#include "workers/stores/layers.h"

struct claim_store {
    struct store head;
    int (*ask)(void *arg);
    void *arg;
};

static bool is_change(enum store_code code)
{
    switch (code) {
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
    case STORE_SYNC: /* of what others have changed, if of anything */
        return false;
    case STORE_WRITE: /* of an upload, which BEGIN has asked for */
    case STORE_COPY:
    case STORE_FLUSH:
    case STORE_COMMIT:
    case STORE_ABORT:
    case STORE_PARK:
        return false;
    default:
        return true;
    }
}

static int run(struct port *p, struct store_op *op)
{
    const struct claim_store *s = (const struct claim_store *)p->store;
    int err = is_change(op->code) ? s->ask(s->arg) : 0;

    if (err) {
        op->step = "lease";
        return err;
    }
    return store_run_next(p, op);
}

static void destroy(struct store *s)
{
    free(s);
}

static const struct store_ops claim_ops = {
    .destroy = destroy,
    .port_create = layer_port_create,
    .port_destroy = layer_port_destroy,
    .run = run,
};

int claim_wrap(struct store *next, int (*ask)(void *arg), void *arg, struct store **out_store)
{
    struct claim_store *s = calloc(1, sizeof(*s));

    if (!s) {
        store_destroy(next);
        return -ENOMEM;
    }
    s->head.ops = &claim_ops;
    s->head.caps = next->caps;
    s->head.next = next;
    s->ask = ask;
    s->arg = arg;
    *out_store = &s->head;
    return 0;
}
