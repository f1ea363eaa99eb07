/*
 * nfs41_look: what is done when a store is opened, made or tried: the way to its root, what its server can do, and what
 * callers are told of it (struct store_caps).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "workers/stores/nfs41/nfs41_internal.h"

#define SMALL_MAX  (1024U * 1024)   /* bytes */
#define PART       (1024U * 1024)   /* bytes */
#define ROOM       (4U * 1024)      /* bytes of a request or response besides the data of one file, names included */
#define BLOCK      4096U            /* parts are multiples of it */
#define OPS_MIN    8U               /* operations that a COMPOUND must be able to have, at the furthest step down */
#define FLIGHT_MAX 512U             /* operations over all workers */
#define NEAR_NS    (5 * NS_PER_MS)  /* a round trip up to which one session's slots are a good number to begin with */
#define UNKNOWN    (2 * NS_PER_SEC) /* clocks of servers */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Operations in flight at first: as many as a session has slots; to a server further off more, by as much as it is
 * further, or the way there and back would be all that limits the rate until the tuner has found out. */
static unsigned first_flight(struct nfs_client *client, unsigned slots, unsigned most)
{
    struct nfs_client_facts facts;
    uint64_t flight;

    nfs_client_facts(client, &facts);
    flight = slots * (uint64_t)facts.round_trip_ns / NEAR_NS;
    return flight < slots ? slots : (unsigned)least(flight, most);
}

static void caps_init(struct nfs41_store *s, const struct nfs_limits *limits)
{
    uint64_t out = limits->max_request > 2 * ROOM ? limits->max_request - ROOM : ROOM / 2;
    uint64_t in = limits->max_response > 2 * ROOM ? limits->max_response - ROOM : ROOM / 2;
    uint64_t both;
    unsigned flight = limits->slots < FLIGHT_MAX ? limits->slots : FLIGHT_MAX;

    out = s->max_write ? least(out, s->max_write) : out;
    in = s->max_read ? least(in, s->max_read) : in;
    both = least(out, in);
    if (both < SMALL_MAX) {
        atomic_fetch_or(&s->steps, NFS41_STEP_SMALL);
    }
    s->head.caps.kind = "nfs41";
    s->head.caps.fs = "nfs4";
    s->head.caps.network = true;
    s->head.caps.uncached = true;
    s->head.caps.spread = true;
    s->head.caps.durable = true;
    s->head.caps.no_extents = true;
    s->head.caps.resume = true;
    s->head.caps.in_flight_max = flight * 8 < FLIGHT_MAX ? flight * 8 : FLIGHT_MAX;
    s->head.caps.in_flight = first_flight(s->client, flight, s->head.caps.in_flight_max);
    s->head.caps.small_max = least(both, SMALL_MAX);
    s->head.caps.part = least(both, PART) > BLOCK ? least(both, PART) / BLOCK * BLOCK : least(both, PART);
    s->head.caps.owner_refused = s->owning.owner == OWNER_AUTO && s->owning.privileged ? &s->owning.refused : NULL;
    s->head.caps.clock_granularity_ns = UNKNOWN;
}

/* Through a port that lives only now. 0 or -errno with *problem. */
static int look_around(struct nfs41_store *s, const struct nfs41_options *nfs, struct port *p, char **problem)
{
    struct nfs_limits limits;
    int err;

    nfs41_limits(p, &limits);
    if (limits.max_ops < OPS_MIN || limits.max_request < 2 * ROOM || limits.max_response < 2 * ROOM) {
        if (asprintf(problem, "the server takes %u operations and %u bytes in a request: too few to work with",
                     limits.max_ops, limits.max_request) < 0) {
            *problem = NULL;
        }
        return -EPROTONOSUPPORT;
    }
    err = s->untried ? 0 : nfs41_path_walk(p, nfs, &s->dirs.root, &s->made, problem);
    s->missing = err == -ENOENT && nfs->may_be_missing && !*problem;
    if (s->missing) {
        return 0;
    }
    s->untried = !err && nfs->try_later;
    if (!s->untried) {
        err = err ? err : nfs41_probe(p, nfs, problem);
    } else if (!s->has_limits) {
        err = nfs41_ask_limits(p);
    }
    caps_init(s, &limits);
    return err;
}

int nfs41_look(struct nfs41_store *s, const struct nfs41_options *nfs, char **problem)
{
    struct io_options io_options = {.no_ring = true};
    struct fence *fence = s->fence;
    struct port *p = NULL;
    struct io *io = NULL;
    int err = io_create(&io_options, &io);

    s->fence = NULL; /* what is tried out has no need of it, and does not count */
    err = err ? err : nfs41_port_open(s, io, &p, problem);
    err = err ? err : look_around(s, nfs, p, problem);
    if (p) {
        nfs41_port_close(p);
    }
    io_destroy(io);
    s->fence = fence;
    atomic_store(&s->publishes, 0);
    atomic_store(&s->cleanups, 0);
    return err;
}
