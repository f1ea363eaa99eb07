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

/* What ends or goes on with an upload was asked for when it was begun. SYNC is about what others have changed, if about
 * anything. */
static bool is_change(enum store_code code)
{
    switch (code) {
    case STORE_MKDIR:
    case STORE_PUBLISH:
    case STORE_BEGIN:
    case STORE_SYMLINK:
    case STORE_NODE:
    case STORE_LINK:
    case STORE_SETATTR:
    case STORE_REMOVE:
        return true;
    default:
        return false;
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
