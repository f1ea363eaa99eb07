/*
 * session_connect: connections of a session, made again when they break.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workers/fiber.h"
#include "workers/stores/backoff.h"
#include "workers/stores/nfs41/session_internal.h"

#define BACKOFF_NS     (50 * NS_PER_MS) /* before the second try to connect; the first one is made at once */
#define BACKOFF_MAX_NS (3 * NS_PER_SEC) /* never longer */
#define SLACK_NS       (2 * NS_PER_SEC) /* after its time somebody who connects is taken for lost */

int64_t nfs_silence_ns(const struct nfs_client *client)
{
    int64_t quarter = client->io_timeout_ns / 4;
    return quarter > 0 ? quarter : 1;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int nfs_pause(struct nfs_session *s, int64_t ns, int64_t deadline_ns)
{
    return clock_mono_ns() + ns >= deadline_ns ? -ETIMEDOUT : io_sleep(s->io, ns);
}

void nfs_connection_count(struct nfs_session *s)
{
    struct rpc_facts sum = s->closed;
    for (unsigned i = 0; i < s->conn_count; i++) {
        if (s->conns[i]) {
            rpc_facts(s->conns[i], &sum);
        }
    }
    struct nfs_counters *c = &s->member.counters;
    atomic_store_explicit(&c->calls, sum.calls, memory_order_relaxed);
    atomic_store_explicit(&c->sends, sum.sends, memory_order_relaxed);
    atomic_store_explicit(&c->receives, sum.receives, memory_order_relaxed);
    atomic_store_explicit(&c->bytes_sent, sum.bytes_sent, memory_order_relaxed);
    atomic_store_explicit(&c->bytes_received, sum.bytes_received, memory_order_relaxed);
}

/*
 * A connection that was made after another one had failed begins with one call under way, and takes one more with each
 * reply, until there are as many as slots. All at once, each sent again, would never come to an end where something
 * between us and the server cuts connections after so many calls: it is cut before the first reply.
 */
static unsigned first_window(const struct nfs_session *s)
{
    return s->failures > 0 ? 1 : 0;
}

static bool is_full(const struct nfs_session *s, unsigned at)
{
    return s->conns[at] && s->windows[at] > 0 && rpc_pending(s->conns[at]) >= s->windows[at];
}

/* How many more calls the connections that there are take; those that were woken for it left out. */
static unsigned room(const struct nfs_session *s)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < s->conn_count; i++) {
        if (s->conns[i] && s->windows[i] == 0) {
            return UINT_MAX;
        }
        if (s->conns[i] && !is_full(s, i)) {
            sum += s->windows[i] - rpc_pending(s->conns[i]);
        }
    }
    return sum > s->woken ? sum - s->woken : 0;
}

void nfs_connection_next(struct nfs_session *s)
{
    if (!s->for_again.first && !s->for_turn.first) {
        return;
    }
    for (unsigned more = room(s); more > 0; more--) {
        if (!nfs_wake_first(s, &s->for_again) && !nfs_wake_first(s, &s->for_turn)) {
            return;
        }
        s->woken++;
    }
}

/* Those who wait for their turn look for themselves: there is no connection any more. */
static void wake_turns(struct nfs_session *s)
{
    while (nfs_wake_first(s, &s->for_again) || nfs_wake_first(s, &s->for_turn)) {
        s->woken++;
    }
}

/*
 * Waits until c may be sent. 0; or 1: it has waited for long, or cannot, and goes all the same (whoever holds the turns
 * up may never come back). -ETIMEDOUT, -ECANCELED.
 */
static int wait_turn(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns)
{
    int64_t until = earlier(deadline_ns, clock_mono_ns() + nfs_silence_ns(s->client));
    int r = nfs_wait_in(s, c->sent ? &s->for_again : &s->for_turn, c, until);
    s->woken -= r == 0;
    return r == -EBUSY || (r == -ETIMEDOUT && clock_mono_ns() < deadline_ns) ? 1 : r;
}

void nfs_connection_well(struct nfs_session *s, const struct rpc *rpc)
{
    s->failures = 0;
    s->not_before_ns = 0;
    for (unsigned i = 0; i < s->conn_count; i++) {
        if (s->conns[i] == rpc && s->windows[i] > 0 && ++s->windows[i] >= NFS_SLOTS_WANTED) {
            s->windows[i] = 0;
        }
    }
}

/* One more failure: the next try has to wait. */
static void count_failure(struct nfs_session *s)
{
    if (s->failures > 0) {
        /* Never so long that an operation that begins now would be over before the next try. */
        int64_t most = earlier(BACKOFF_MAX_NS, nfs_silence_ns(s->client));
        s->not_before_ns = clock_mono_ns() + backoff_ns(BACKOFF_NS, most, s->failures - 1, &s->seed);
    }
    s->failures++;
}

/* Tries each address once, first the one that answered last. */
static int connect_once(struct nfs_session *s, int64_t deadline_ns, struct rpc **out_rpc)
{
    struct nfs_client *client = s->client;
    unsigned first = atomic_load(&client->address);
    int r = -EHOSTUNREACH;
    for (unsigned i = 0; i < client->addresses.count; i++) {
        unsigned at = (first + i) % client->addresses.count;
        struct rpc_options o = {.address = client->addresses.list[at],
                                .address_len = client->addresses.lens[at],
                                .reserved_port = client->reserved_port,
                                .silence_ns = nfs_silence_ns(client)};
        /* What does not answer at all must leave time for the others. */
        int64_t until = earlier(deadline_ns, clock_mono_ns() + o.silence_ns);
        r = rpc_open(s->io, &o, until, out_rpc);
        if (o.reserved_port && (r == -EACCES || r == -EADDRINUSE)) {
            o.reserved_port = false;
            r = rpc_open(s->io, &o, until, out_rpc);
        }
        if (r == 0) {
            atomic_store(&client->address, at);
            atomic_store(&client->reserved, o.reserved_port);
            rpc_on_late(*out_rpc, nfs_slot_late, s);
            return 0;
        }
    }
    return r;
}

/* Connects in place of conns[at], again and again as retries allow. */
static int connect_again(struct nfs_session *s, unsigned at, int64_t deadline_ns)
{
    int r;
    unsigned tries = 0;
    do {
        int64_t wait = s->not_before_ns - clock_mono_ns();
        r = wait > 0 ? nfs_pause(s, wait, deadline_ns) : 0;
        if (r < 0) {
            return r;
        }
        struct rpc *rpc = NULL;
        r = connect_once(s, deadline_ns, &rpc);
        if (r == 0) {
            s->conns[at] = rpc;
            s->windows[at] = first_window(s);
            if (s->connected) {
                nfs_count(&s->member.counters.reconnects);
            }
            s->connected = true;
            return 0;
        }
        count_failure(s);
    } while (tries++ < s->client->retries && clock_mono_ns() < deadline_ns);
    return r;
}

/* Lets go of a connection that has failed. */
static void drop_failed(struct nfs_session *s)
{
    for (unsigned i = 0; i < s->conn_count; i++) {
        if (s->conns[i] && rpc_error(s->conns[i]) != 0) {
            rpc_facts(s->conns[i], &s->closed);
            rpc_close(s->conns[i]);
            s->conns[i] = NULL;
            count_failure(s);
        }
    }
}

/* The place of the connection with the fewest calls, an empty one before one with calls, one that takes more of them
 * before one that does not. */
static unsigned choose(const struct nfs_session *s)
{
    unsigned best = 0;
    unsigned fewest = UINT_MAX;
    for (unsigned i = 0; i < s->conn_count; i++) {
        if (!s->conns[i] && s->connecting) {
            continue; /* another one will do meanwhile */
        }
        unsigned pending = s->conns[i] ? rpc_pending(s->conns[i]) : 0;
        pending = is_full(s, i) ? UINT_MAX - 1 : pending;
        if (pending < fewest) {
            best = i;
            fewest = pending;
        }
    }
    return best;
}

/* Somebody else connects. */
static int wait_for_it(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns)
{
    unsigned before = s->changes;
    int r = nfs_wait_in(s, &s->for_change, c, deadline_ns);
    if (r == -ETIMEDOUT && clock_mono_ns() > s->busy_until_ns + SLACK_NS) {
        s->connecting = false; /* it was given up with its fiber */
    }
    return r == 0 && s->changes != before ? s->change_error : r;
}

static int connect_for_all(struct nfs_session *s, unsigned at, int64_t deadline_ns)
{
    s->connecting = true;
    s->busy_until_ns = deadline_ns;
    int r = connect_again(s, at, deadline_ns);
    s->connecting = false;
    /* One whose own time was over says nothing about the server: the others try for themselves. */
    s->change_error = r == -ETIMEDOUT && clock_mono_ns() >= deadline_ns ? 0 : r;
    s->changes++;
    nfs_wake_all(s, &s->for_change);
    if (r < 0) {
        wake_turns(s);
    }
    return r;
}

int nfs_connection(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns, struct rpc **out_rpc)
{
    bool turn = false;    /* c has waited for it */
    bool at_once = false; /* for too long */
    for (;;) {
        drop_failed(s);
        unsigned at = choose(s);
        int r;
        if (s->conns[at]) {
            nfs_connection_next(s); /* whoever waits goes first */
            if (at_once || (!is_full(s, at) && (turn || room(s) > 0))) {
                *out_rpc = s->conns[at];
                return 0;
            }
            r = wait_turn(s, c, deadline_ns);
            turn = true;
            at_once = r == 1;
        } else {
            r = s->connecting ? wait_for_it(s, c, deadline_ns) : connect_for_all(s, at, deadline_ns);
        }
        if (r < 0) {
            return r;
        }
    }
}
