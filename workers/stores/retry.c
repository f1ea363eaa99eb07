/*
 * retry: repeats what failed with a transient error, with exponential back-off and jitter.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/errs.h"
#include "workers/stores/backoff.h"
#include "workers/stores/layer.h"
#include "workers/stores/layers.h"

struct retry {
    struct store head;
    struct retry_options options; /* constant */
};

struct retry_port {
    struct port head;
    uint64_t seed; /* of the jitter; never 0 */
};

static bool may_repeat(const struct port *p, const struct store_op *op, int err)
{
    const struct retry *r = (const struct retry *)p->store;

    if (store_code_repeat(op->code) == REPEAT_NOT) {
        return false;
    }
    if (store_op_guarded(op)) {
        return false;
    }
    return err_classify(err, r->head.caps.network, r->options.on_source) == ERR_TRANSIENT;
}

static int run(struct port *port, struct store_op *op)
{
    const struct retry *r = (const struct retry *)port->store;

    for (unsigned n = 0;; n++) {
        int err = store_run_next(port, op);

        op->attempts = n + 1;
        if (!err || n >= r->options.retries || !may_repeat(port, op, err)) {
            return err;
        }
        if (io_sleep(port->io,
                     backoff_ns(r->options.delay_ns, r->options.delay_max_ns, n, &((struct retry_port *)port)->seed))) {
            return err; /* the run is being stopped */
        }
        if (r->options.counter) {
            atomic_fetch_add(r->options.counter, 1);
        }
        op->step = NULL;
        op->repeated = true;
    }
}

static int port_create(struct store *s, struct io *io, struct port **out)
{
    struct retry_port *p = calloc(1, sizeof(*p));

    if (!p) {
        return -ENOMEM;
    }
    p->head.store = s;
    p->head.io = io;
    p->seed = backoff_seed(p);
    *out = &p->head;
    return 0;
}

static void port_destroy(struct port *p)
{
    free(p);
}

static void destroy(struct store *s)
{
    free(s);
}

static const struct store_ops retry_ops = {
    .destroy = destroy,
    .port_create = port_create,
    .port_destroy = port_destroy,
    .run = run,
};

int retry_wrap(struct store *next, const struct retry_options *options, struct store **out_store)
{
    struct retry *r = calloc(1, sizeof(*r));

    if (!r) {
        store_destroy(next);
        return -ENOMEM;
    }
    r->head.ops = &retry_ops;
    r->head.caps = next->caps;
    r->head.next = next;
    r->options = *options;
    if (r->options.delay_ns < 0) {
        r->options.delay_ns = 0;
    }
    if (r->options.delay_max_ns < r->options.delay_ns) {
        r->options.delay_max_ns = r->options.delay_ns;
    }
    *out_store = &r->head;
    return 0;
}
