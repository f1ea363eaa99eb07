/*
 * nfs3_call: one remote procedure: on a connection that is made again where it breaks, until it is answered.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "workers/stores/backoff.h"
#include "workers/stores/nfs3/nfs3_internal.h"

#define BACKOFF_NS     (50 * NS_PER_MS)  /* before the second try to connect; the first one is made at once */
#define BACKOFF_MAX_NS (3 * NS_PER_SEC)  /* never longer */
#define JUKEBOX_NS     (100 * NS_PER_MS) /* before the first repetition of what the server puts off */
#define LOOK_NS        (2 * NS_PER_MS)   /* how often who waits for a connection looks whether there is one */
#define SLACK_NS       (2 * NS_PER_SEC)  /* after its time somebody who connects is taken for lost */
#define WINDOW_ALL     512U              /* a window that has grown so far is none any more */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t silence_ns(const struct nfs3_store *s)
{
    int64_t quarter = s->io_timeout_ns / 4;

    return quarter > 0 ? quarter : 1;
}

int64_t nfs3_deadline_ns(const struct nfs3_store *s)
{
    /* A fifth is left for whoever measures from outside, and for its coarse clock. */
    int64_t now = clock_mono_ns();
    int64_t most = s->io_timeout_ns - s->io_timeout_ns / 5;

    return most > INT64_MAX - now ? INT64_MAX : now + most;
}

static int pause_for(struct port *p, int64_t ns, int64_t deadline_ns)
{
    return clock_mono_ns() + ns >= deadline_ns ? -ETIMEDOUT : io_sleep(p->io, ns);
}

/* ---- connections ---- */

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)address)->sin_port = htons(port);
    }
}

/* One of the two is wanted. */
static int connect_any(struct nfs3_store *s, struct io *io, uint16_t port, int64_t deadline_ns,
                       struct nfs3_wire **out_wire, struct rpc **out_rpc)
{
    unsigned first = atomic_load(&s->address);
    int r = -EHOSTUNREACH;

    for (unsigned i = 0; i < s->addresses.count; i++) {
        unsigned at = (first + i) % s->addresses.count;
        struct rpc_options o = {.address = s->addresses.list[at],
                                .address_len = s->addresses.lens[at],
                                .reserved_port = s->reserved_port,
                                .silence_ns = silence_ns(s)};
        /* What does not answer at all must leave time for the others. */
        int64_t until = earlier(deadline_ns, clock_mono_ns() + o.silence_ns);

        set_port(&o.address, port);
        for (;;) {
            r = out_wire ? nfs3_wire_open(io, &o, &s->cred, until, out_wire) : rpc_open(io, &o, until, out_rpc);
            if (!o.reserved_port || (r != -EACCES && r != -EADDRINUSE)) {
                break;
            }
            o.reserved_port = false;
        }
        if (r == 0) {
            atomic_store(&s->address, at);
            return 0;
        }
    }
    return r;
}

int nfs3_connect(struct nfs3_store *s, struct io *io, uint16_t port, int64_t deadline_ns, struct nfs3_wire **out)
{
    return connect_any(s, io, port, deadline_ns, out, NULL);
}

int nfs3_socket_open(struct nfs3_store *s, struct io *io, int64_t deadline_ns, struct rpc **out)
{
    return connect_any(s, io, s->port, deadline_ns, NULL, out);
}

/* One more failure: the next try has to wait, but never so long that an operation that begins now would be over before.
 */
static void count_failure(struct port *p)
{
    struct nfs3_port *np = nfs3_port_of(p);

    if (np->failures > 0) {
        np->not_before_ns = clock_mono_ns() + backoff_ns(BACKOFF_NS, earlier(BACKOFF_MAX_NS, silence_ns(nfs3_of(p))),
                                                         np->failures - 1, &np->seed);
    }
    np->failures++;
}

/* Again and again as retries allow. */
static int connect_often(struct port *p, int64_t deadline_ns)
{
    struct nfs3_store *s = nfs3_of(p);
    struct nfs3_port *np = nfs3_port_of(p);
    unsigned tries = 0;
    int r;

    do {
        int64_t wait = np->not_before_ns - clock_mono_ns();
        struct nfs3_wire *wire = NULL;

        r = wait > 0 ? pause_for(p, wait, deadline_ns) : 0;
        if (r < 0) {
            return r;
        }
        r = nfs3_connect(s, p->io, s->port, deadline_ns, &wire);
        if (r == 0) {
            /* All at once, each sent again, would never come to an end where something between us and the server cuts
             * connections after so many calls: one begins, and each reply lets one more go. */
            np->window = np->failures > 0 ? 1 : 0;
            np->wire = wire;
            if (np->connected) {
                atomic_fetch_add_explicit(&s->connects, 1, memory_order_relaxed);
            }
            np->connected = true;
            return 0;
        }
        count_failure(p);
    } while (tries++ < s->retries && clock_mono_ns() < deadline_ns);
    return r;
}

/* For all fibers of the port. */
static int connect_for_all(struct port *p, int64_t deadline_ns)
{
    struct nfs3_port *np = nfs3_port_of(p);
    int r;

    np->connecting = true;
    np->connecting_until_ns = deadline_ns;
    r = connect_often(p, deadline_ns);
    np->connecting = false;
    np->tries++;
    /* One whose own time was over says nothing about the server: the others try for themselves. */
    np->connect_error = r == -ETIMEDOUT && clock_mono_ns() >= deadline_ns ? 0 : r;
    return r;
}

/* Somebody else connects. 0: look again. */
static int wait_for_it(struct port *p, int64_t deadline_ns)
{
    struct nfs3_port *np = nfs3_port_of(p);
    unsigned before = np->tries;
    int r = 0;

    while (np->connecting && !r) {
        r = pause_for(p, LOOK_NS, deadline_ns);
        if (clock_mono_ns() > np->connecting_until_ns + SLACK_NS) {
            np->connecting = false; /* it was given up with its fiber */
        }
    }
    return r == 0 && np->tries != before ? np->connect_error : r;
}

/* A connection that takes one more call. 0 or -errno. */
static int wire_get(struct port *p, int64_t deadline_ns, struct nfs3_wire **out)
{
    struct nfs3_port *np = nfs3_port_of(p);

    for (;;) {
        int r;

        if (np->wire && nfs3_wire_error(np->wire)) {
            nfs3_wire_close(np->wire);
            np->wire = NULL;
            count_failure(p);
        }
        if (!np->wire) {
            r = np->connecting ? wait_for_it(p, deadline_ns) : connect_for_all(p, deadline_ns);
        } else if (np->window > 0 && nfs3_wire_pending(np->wire) >= np->window) {
            r = pause_for(p, LOOK_NS, deadline_ns);
        } else {
            *out = np->wire;
            return 0;
        }
        if (r < 0) {
            return r;
        }
    }
}

/* It has brought a reply. */
static void note_well(struct nfs3_port *np)
{
    np->failures = 0;
    np->not_before_ns = 0;
    if (np->window > 0 && ++np->window >= WINDOW_ALL) {
        np->window = 0;
    }
}

/* ---- calls ---- */

int nfs3_call(struct port *p, struct nfs3_req *req)
{
    struct nfs3_store *s = nfs3_of(p);
    struct nfs3_port *np = nfs3_port_of(p);
    int64_t deadline = nfs3_deadline_ns(s);

    req->again = false;
    if (nfs3_symlink_is_long(req)) {
        atomic_fetch_add_explicit(&s->calls, 1, memory_order_relaxed);
        return nfs3_symlink_long(p, req, deadline);
    }
    for (unsigned put_off = 0;;) {
        struct nfs3_wire *wire = NULL;
        bool lost = false;
        int r = wire_get(p, deadline, &wire);

        if (r < 0) {
            return r;
        }
        atomic_fetch_add_explicit(&s->calls, 1, memory_order_relaxed);
        r = nfs3_wire_call(wire, req, deadline, &lost);
        if (!lost && r >= 0) {
            note_well(np);
        }
        if (r == V3_JUKEBOX) {
            int64_t most = earlier(BACKOFF_MAX_NS, silence_ns(s));

            atomic_fetch_add_explicit(&s->waits, 1, memory_order_relaxed);
            if (pause_for(p, backoff_ns(earlier(JUKEBOX_NS, most), most, put_off++, &np->seed), deadline) < 0) {
                return r;
            }
            continue;
        }
        if (!lost) {
            return r;
        }
        req->again = true;
        if (clock_mono_ns() >= deadline) {
            return r;
        }
        atomic_fetch_add_explicit(&s->repeats, 1, memory_order_relaxed);
    }
}

void nfs3_wait_late(struct port *p)
{
    (void)io_sleep(p->io, NFS3_LATE_NS);
}

int nfs3_result(int r)
{
    return r > 0 ? nfs3_errno((uint32_t)r) : r;
}

bool nfs3_is_stale(int r)
{
    return r == V3_STALE || r == V3_BADHANDLE;
}

int nfs3_do(struct port *p, struct store_op *op, struct nfs3_req *req)
{
    int r = nfs3_call(p, req);

    if (r && op && !op->step) {
        op->step = nfs3_proc_name(req->proc);
    }
    return nfs3_result(r);
}

int nfs3_fail(struct store_op *op, const char *step, int err)
{
    op->step = step;
    return err;
}

int nfs3_fence(struct port *p, struct store_op *op)
{
    struct nfs3_store *s = nfs3_of(p);
    int err = s->fence ? fence_pass(s->fence, p->io) : 0;

    return err ? nfs3_fail(op, "lease", err) : 0;
}

int nfs3_getattr(struct port *p, const struct nfs_fh *fh, struct attr *out)
{
    struct nfs3_req req = {.proc = V3_GETATTR, .fh = fh};
    int r = nfs3_call(p, &req);

    if (!r) {
        *out = req.attr;
    }
    return r;
}

int nfs3_lookup(struct port *p, const struct nfs_fh *dir, const char *name, struct nfs_fh *out_fh,
                struct attr *out_attr)
{
    struct nfs3_req req = {.proc = V3_LOOKUP, .fh = dir, .name = name};
    int r = nfs3_call(p, &req);

    if (!r && out_attr && !req.has_attr) {
        r = nfs3_getattr(p, &req.out_fh, &req.attr);
    }
    if (r) {
        return r;
    }
    *out_fh = req.out_fh;
    if (out_attr) {
        *out_attr = req.attr;
    }
    return 0;
}
