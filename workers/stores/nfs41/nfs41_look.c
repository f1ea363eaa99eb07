/*
 * nfs41_look: what is done when a store is opened, made or tried: the way to its root, what its server can do, and what
 * callers are told of it (struct store_caps).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "workers/fiber.h"
#include "workers/stores/nfs41/nfs41_internal.h"
#include "workers/stores/nfs_caps.h"

#define SMALL_MAX    (1024U * 1024)  /* bytes */
#define PART         (1024U * 1024)  /* bytes */
#define ROOM         (4U * 1024)     /* bytes of a request or response besides the data of one file, names included */
#define OPS_MIN      8U              /* operations that a COMPOUND must be able to have, at the furthest step down */
#define FLIGHT_MAX   512U            /* operations over all workers */
#define NEAR_NS      (5 * NS_PER_MS) /* a round trip up to which one session's slots are a good number to begin with */
#define SESSIONS_MAX 32U             /* made meanwhile */

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
    s->head.caps.in_flight_max = flight * 8 < FLIGHT_MAX ? flight * 8 : FLIGHT_MAX;
    s->head.caps.in_flight = first_flight(s->client, flight, s->head.caps.in_flight_max);
    s->head.caps.small_max = least(both, SMALL_MAX);
    nfs_caps_init(&s->head.caps, &s->owning, least(both, PART));
}

/* One look around, in fibers of its own. */
struct looking {
    struct nfs41_store *s;
    const struct nfs41_options *nfs;
    struct port *p;                             /* lives only meanwhile */
    struct fibers *fibers;                      /* the same */
    char **problem;                             /* see nfs41_look */
    int err;                                    /* what came of it */
    bool over;                                  /* whoever begins something now would hold it up */
    struct io_event greeted;                    /* see nfs_session_greet */
    unsigned made;                              /* of sessions */
    struct nfs_session *sessions[SESSIONS_MAX]; /* for others, to be parked */
};

/* The root's times as they were before the server was tried out in it. 0 or -errno. */
static int calm(struct nfs41_store *s, struct port *p)
{
    const struct attr before = {.mode = S_IFDIR, .atime = s->head.caps.root_atime, .mtime = s->head.caps.root_mtime};
    struct store_op op = {.code = STORE_SETATTR, .setattr = {.attr = &before, .keep = STORE_KEEP_TIMES}};
    int err = nfs41_setattr_in(p, &op, &s->dirs.root);

    s->head.caps.root_stirred = err != 0;
    return err == -EACCES || err == -EPERM || err == -EROFS ? 0 : err;
}

/* 0 or -errno with *problem. */
static int look_around(struct looking *l)
{
    struct nfs41_store *s = l->s;
    const struct nfs41_options *nfs = l->nfs;
    struct nfs_limits limits;
    int err;

    nfs41_limits(l->p, &limits);
    if (limits.max_ops < OPS_MIN || limits.max_request < 2 * ROOM || limits.max_response < 2 * ROOM) {
        if (asprintf(l->problem, "the server takes %u operations and %u bytes in a request: too few to work with",
                     limits.max_ops, limits.max_request) < 0) {
            *l->problem = NULL;
        }
        return -EPROTONOSUPPORT;
    }
    err = s->untried ? 0 : nfs41_path_walk(l->p, nfs, &s->dirs.root, &s->made, l->problem);
    s->missing = err == -ENOENT && nfs->may_be_missing && !*l->problem;
    if (s->missing) {
        return 0;
    }
    (void)io_event_wait(l->p->io, &l->greeted, INT64_MAX); /* before a file is opened */
    s->untried = !err && nfs->try_later;
    if (!s->untried) {
        err = err ? err : nfs41_probe(l->p, nfs, l->fibers, &l->over, l->problem);
        err = !err && nfs->calm && s->head.caps.root_stirred ? calm(s, l->p) : err;
    } else if (!s->has_limits) {
        err = nfs41_ask_limits(l->p);
    }
    caps_init(s, &limits);
    return err;
}

static void greet_fiber(void *arg)
{
    struct looking *l = arg;

    nfs_session_greet(nfs41_port_of(l->p)->session);
    io_event_set(l->p->io, &l->greeted);
}

static void look_fiber(void *arg)
{
    struct looking *l = arg;

    l->err = look_around(l);
    l->over = true;
}

/*
 * Sessions that ports will need, for as long as the look around takes anyway. One after the other: CREATE_SESSION has a
 * single slot (RFC 8881 18.36.3). A port that finds none left makes its own.
 */
static void sessions_fiber(void *arg)
{
    struct looking *l = arg;

    while (!l->over && l->made < l->nfs->sessions && l->made < SESSIONS_MAX) {
        struct nfs_session *session = NULL;

        if (nfs_session_open(l->s->client, l->p->io, &session, NULL) != 0) {
            return;
        }
        l->sessions[l->made++] = session;
    }
}

/* With the port. 0 or -errno. */
static int look(struct looking *l)
{
    int err = fibers_create(&l->fibers);

    err = err ? err : fiber_start(l->fibers, greet_fiber, l);
    err = err ? err : fiber_start(l->fibers, look_fiber, l);
    if (!err && !l->nfs->try_later) { /* else there is little to ask, and perhaps nothing to be done */
        (void)fiber_start(l->fibers, sessions_fiber, l);
    }
    while (l->fibers && fibers_alive(l->fibers) > 0) {
        io_turn(l->p->io, -1);
    }
    for (unsigned i = 0; i < l->made; i++) {
        nfs_session_park(l->sessions[i]);
    }
    nfs_sessions_keep(l->s->client, (l->made + 1) / 2); /* nothing is copied before a worker has one */
    fibers_destroy(l->fibers);
    return err ? err : l->err;
}

int nfs41_look(struct nfs41_store *s, const struct nfs41_options *nfs, char **problem)
{
    struct io_options io_options = {.no_ring = true};
    struct looking l = {.s = s, .nfs = nfs, .problem = problem};
    struct fence *fence = s->fence;
    struct io *io = NULL;
    int err = io_create(&io_options, &io);

    s->fence = NULL; /* what is tried out has no need of it, and does not count */
    err = err ? err : nfs41_port_open(s, io, &l.p, problem);
    err = err ? err : look(&l);
    if (l.p) {
        nfs41_port_close(l.p);
    }
    io_destroy(io);
    s->fence = fence;
    atomic_store(&s->publishes, 0);
    atomic_store(&s->cleanups, 0);
    return err;
}
