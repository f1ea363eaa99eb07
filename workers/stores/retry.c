/*
 * retry: repeats what failed with a transient error, with exponential back-off and jitter.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/errs.h"
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

/* xorshift: enough to keep workers from repeating all at the same moment. */
static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

int64_t retry_delay_ns(const struct retry_options *o, unsigned n, uint64_t *seed)
{
    int64_t delay = o->delay_ns;

    while (n-- > 0 && delay < o->delay_max_ns) {
        delay = delay > INT64_MAX / 4 ? INT64_MAX / 4 : delay * 2;
    }
    if (delay > o->delay_max_ns) {
        delay = o->delay_max_ns;
    }
    return delay / 2 + (int64_t)((double)delay * ((double)(next_random(seed) >> 11) * 0x1.0p-53));
}

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
        if (io_sleep(port->io, retry_delay_ns(&r->options, n, &((struct retry_port *)port)->seed))) {
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
    p->seed = ((uint64_t)clock_mono_ns() ^ ((uint64_t)(uintptr_t)p << 20)) | 1;
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
