/*
 * session_make: the client id and the session: made, made again when the server has lost them, ended.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workers/stores/backoff.h"
#include "workers/stores/nfs41/session_internal.h"

#define POLL_NS           (NS_PER_MS / 2)  /* while another thread makes the client id or its session */
#define SLACK_NS          (2 * NS_PER_SEC) /* after its time somebody who makes one is taken for lost */
#define WAIT_NS           (20 * NS_PER_MS) /* before the first repeat of what the server put off */
#define WAIT_MAX_NS       (2 * NS_PER_SEC) /* never longer */
#define ROUNDS_MAX        32               /* repeats of EXCHANGE_ID and CREATE_SESSION */
#define OPAQUE_MAX        1024             /* NFS4_OPAQUE_LIMIT */
#define FLAG_NON_PNFS     0x00010000U      /* EXCHGID4_FLAG_USE_NON_PNFS */
#define FLAG_CONFIRMED    0x80000000U      /* EXCHGID4_FLAG_CONFIRMED_R */
#define CHANNEL_FORE      1                /* CDFC4_FORE */
#define END_MAX           5                /* tries to end a session, or the client id */
#define RECLAIM_MAX       4                /* client ids in a row that are lost before they were told that */
#define SP4_NONE          0                /* no state protection: more connections join by SEQUENCE alone */
#define CHANNEL_BACK      4096             /* bytes for calls of the server, which never come */
#define REQUEST_MIN       1024             /* bytes of a request; with less nothing could be done */
#define OPS_MIN           4                /* operations; the same */
#define ATTR_LEASE_TIME   10               /* FATTR4_LEASE_TIME */
#define LEASE_MAX_S       3600             /* longer ones are renewed as if they were that long */
#define SEQ_RESTART       0x00000100U      /* SEQ4_STATUS_RESTART_RECLAIM_NEEDED */
#define SEQ_STATE_REVOKED 0x00000078U      /* SEQ4_STATUS_{EXPIRED_ALL,EXPIRED_SOME,ADMIN,RECALLABLE}_STATE_REVOKED */

/* ---- one at a time ---- */

/* Waits until no other session makes the client id or itself. 0, -ETIMEDOUT, -ECANCELED. */
static int client_enter(struct nfs_session *s, int64_t deadline_ns)
{
    struct nfs_client *client = s->client;
    for (;;) {
        pthread_mutex_lock(&client->lock);
        bool free = !client->making || clock_mono_ns() > client->making_until_ns;
        if (free) {
            client->making = true;
            client->making_until_ns = deadline_ns > INT64_MAX - SLACK_NS ? INT64_MAX : deadline_ns + SLACK_NS;
        }
        pthread_mutex_unlock(&client->lock);
        if (free) {
            return 0;
        }
        int r = nfs_pause(s, POLL_NS, deadline_ns);
        if (r < 0) {
            return r;
        }
    }
}

static void client_leave(struct nfs_session *s)
{
    pthread_mutex_lock(&s->client->lock);
    s->client->making = false;
    pthread_mutex_unlock(&s->client->lock);
}

/* A call for which the server has little to do was answered: how far it is there and back, at most. */
static void keep_round_trip(struct nfs_client *client, int64_t sent_ns)
{
    int64_t took = clock_mono_ns() - sent_ns;
    pthread_mutex_lock(&client->lock);
    int64_t *least = &client->facts.round_trip_ns;
    *least = *least == 0 || took < *least ? took : *least;
    pthread_mutex_unlock(&client->lock);
}

/* ---- EXCHANGE_ID (RFC 8881 18.35) ---- */

static void put_exchange_id(struct xdr_out *out, const struct nfs_client *client)
{
    xdr_put_fixed(out, client->verifier, NFS_VERIFIER);
    xdr_put_opaque(out, client->owner, strlen(client->owner));
    xdr_put_u32(out, FLAG_NON_PNFS);
    xdr_put_u32(out, SP4_NONE);
    xdr_put_u32(out, 0); /* implementation: not told */
}

/* What the server calls itself, as far as it can be shown. */
static void keep_owner(struct nfs_client *client, const uint8_t *name, size_t len)
{
    char *to = client->facts.server_owner;
    size_t room = sizeof(client->facts.server_owner) - 1;
    size_t at = 0;
    for (size_t i = 0; i < len && at < room; i++) {
        to[at++] = name[i] >= 0x20 && name[i] < 0x7f ? (char)name[i] : '?';
    }
    to[at] = '\0';
}

static int get_exchange_id(struct nfs_client *client, struct xdr_in *in)
{
    uint64_t id = xdr_get_u64(in);
    uint32_t sequence = xdr_get_u32(in);
    uint32_t flags = xdr_get_u32(in);
    uint32_t protect = xdr_get_u32(in);
    size_t len;
    xdr_get_u64(in); /* the server owner's minor id */
    const uint8_t *name = xdr_get_opaque(in, OPAQUE_MAX, &len);
    if (in->failed || protect != SP4_NONE) {
        return -EPROTO;
    }
    pthread_mutex_lock(&client->lock);
    keep_owner(client, name, len);
    if (client->ids_seen == 0 || client->id != id || !(flags & FLAG_CONFIRMED)) {
        /* A new one: whatever state the old one had is gone. */
        client->ids_seen++;
        client->reclaimed = false;
        atomic_fetch_add(&client->generation, 1);
    }
    client->id = id;
    client->sequence = sequence;
    client->known = true;
    pthread_mutex_unlock(&client->lock);
    return 0;
}

static int exchange_id(struct nfs_session *s, int64_t deadline_ns, uint32_t *out_status)
{
    struct nfs_compound *c = nfs_compound_begin_alone(s);
    if (!c) {
        return -ENOMEM;
    }
    put_exchange_id(nfs_compound_op(c, NFS_OP_EXCHANGE_ID), s->client);
    int64_t sent_ns = clock_mono_ns();
    int r = nfs_call_alone(s, c, deadline_ns);
    if (r == 0 && c->result_count > 0) {
        keep_round_trip(s->client, sent_ns);
        r = nfs_compound_result(c, NFS_OP_EXCHANGE_ID, out_status);
        if (r == 0 && *out_status == NFS4_OK) {
            r = get_exchange_id(s->client, &c->in);
        }
    } else if (r == 0) {
        *out_status = c->status;
    }
    nfs_compound_end(c);
    return r;
}

/* ---- CREATE_SESSION (RFC 8881 18.36) ---- */

static void put_channel(struct xdr_out *out, uint32_t request, uint32_t response, uint32_t cached, uint32_t ops,
                        uint32_t slots)
{
    xdr_put_u32(out, 0); /* header padding */
    xdr_put_u32(out, request);
    xdr_put_u32(out, response);
    xdr_put_u32(out, cached);
    xdr_put_u32(out, ops);
    xdr_put_u32(out, slots);
    xdr_put_u32(out, 0); /* RDMA */
}

static void put_create_session(struct xdr_out *out, uint64_t id, uint32_t sequence)
{
    xdr_put_u64(out, id);
    xdr_put_u32(out, sequence);
    xdr_put_u32(out, 0); /* no persistence asked for, no back channel */
    put_channel(out, NFS_REQUEST_WANTED, NFS_REQUEST_WANTED, NFS_CACHED_WANTED, NFS_COMPOUND_OPS, NFS_SLOTS_WANTED);
    put_channel(out, CHANNEL_BACK, CHANNEL_BACK, 0, 2, 1);
    xdr_put_u32(out, 0x40000000); /* program of the back channel (never called) */
    xdr_put_u32(out, 1);          /* its security: */
    xdr_put_u32(out, 0);          /* AUTH_NONE */
}

static uint32_t at_most(uint32_t value, uint32_t most)
{
    return value < most ? value : most;
}

static void get_channel(struct xdr_in *in, struct nfs_limits *out_limits)
{
    xdr_get_u32(in); /* header padding */
    out_limits->max_request = at_most(xdr_get_u32(in), NFS_REQUEST_WANTED);
    out_limits->max_response = at_most(xdr_get_u32(in), NFS_REQUEST_WANTED);
    out_limits->max_cached = xdr_get_u32(in);
    out_limits->max_ops = at_most(xdr_get_u32(in), NFS_COMPOUND_OPS);
    out_limits->slots = at_most(xdr_get_u32(in), NFS_SLOTS_WANTED);
    uint32_t rdma = xdr_get_count(in, 1, sizeof(uint32_t));
    xdr_get_fixed(in, rdma * sizeof(uint32_t));
}

/* A server that grants next to nothing cannot be worked with. */
static bool workable(const struct nfs_limits *l)
{
    return l->max_request >= REQUEST_MIN && l->max_response >= REQUEST_MIN && l->max_ops >= OPS_MIN && l->slots >= 1;
}

static int get_create_session(struct nfs_session *s, struct xdr_in *in)
{
    struct nfs_client *client = s->client;
    const uint8_t *id = xdr_get_fixed(in, NFS_SESSION_ID);
    xdr_get_u32(in); /* sequence, as sent */
    xdr_get_u32(in); /* flags */
    struct nfs_limits limits;
    get_channel(in, &limits);
    if (in->failed || !workable(&limits)) {
        nfs_problem(s->problem, "the NFS server %s grants a session that is too small to work with", client->host);
        return -EPROTO;
    }
    limits.max_cached = at_most(limits.max_cached, limits.max_response);
    struct nfs_table *table = nfs_table_create(id, &limits);
    if (!table) {
        return -ENOMEM;
    }
    if (s->table) {
        nfs_count(&s->member.counters.sessions_lost);
    }
    nfs_table_put(s->table);
    s->table = table;
    pthread_mutex_lock(&client->lock);
    client->facts.max_request = limits.max_request;
    client->facts.max_response = limits.max_response;
    client->facts.max_cached = limits.max_cached;
    client->facts.max_ops = limits.max_ops;
    client->facts.slots = limits.slots;
    pthread_mutex_unlock(&client->lock);
    return 0;
}

static int create_session(struct nfs_session *s, int64_t deadline_ns, uint32_t *out_status)
{
    struct nfs_client *client = s->client;
    struct nfs_compound *c = nfs_compound_begin_alone(s);
    if (!c) {
        return -ENOMEM;
    }
    put_create_session(nfs_compound_op(c, NFS_OP_CREATE_SESSION), client->id, client->sequence);
    int64_t sent_ns = clock_mono_ns();
    int r = nfs_call_alone(s, c, deadline_ns);
    if (r == 0 && c->result_count > 0) {
        keep_round_trip(s->client, sent_ns);
        r = nfs_compound_result(c, NFS_OP_CREATE_SESSION, out_status);
        if (r == 0 && *out_status == NFS4_OK) {
            client->sequence++;
            r = get_create_session(s, &c->in);
        }
    } else if (r == 0) {
        *out_status = c->status;
    }
    nfs_compound_end(c);
    return r;
}

/* ---- both ---- */

/* The client has forgotten, or never had, what the server says it has. */
static void client_forget(struct nfs_client *client)
{
    pthread_mutex_lock(&client->lock);
    client->known = false;
    pthread_mutex_unlock(&client->lock);
}

/* One round, with the client entered: what is missing. 0 with *out_status, or -errno. */
static int make_round(struct nfs_session *s, int64_t deadline_ns, uint32_t *out_status)
{
    *out_status = NFS4_OK;
    if (!s->client->known) {
        int r = exchange_id(s, deadline_ns, out_status);
        if (r < 0 || *out_status != NFS4_OK) {
            return r;
        }
    }
    return create_session(s, deadline_ns, out_status);
}

static void status_problem(struct nfs_session *s, uint32_t status)
{
    char text[NFS_STATUS_TEXT];
    const char *host = s->client->host;
    switch (status) {
    case NFS4ERR_MINOR_VERS_MISMATCH:
        nfs_problem(
            s->problem,
            "the NFS server %s speaks NFSv4 but not version 4.1: enable 4.1 there, or mount it and give the path",
            host);
        break;
    case NFS4ERR_CLID_INUSE:
        nfs_problem(s->problem,
                    "the NFS server %s holds this client's name for somebody else: end the other run, or wait for its "
                    "lease to run out",
                    host);
        break;
    default:
        nfs_problem(s->problem, "the NFS server %s refuses a session: %s", host, nfs_status_text(status, text));
        break;
    }
}

/* What a status of EXCHANGE_ID or CREATE_SESSION leads to. 1: another round; 0: done; -errno. */
static int after_round(struct nfs_session *s, uint32_t status, unsigned round, int64_t deadline_ns)
{
    if (status == NFS4_OK) {
        return 0;
    }
    enum nfs_decision decision = nfs_error(status)->decision;
    if (round >= ROUNDS_MAX || (decision != NFS_DO_WAIT && decision != NFS_DO_REBUILD)) {
        status_problem(s, status);
        int r = nfs_errno(status);
        return r == -NFS_LOST ? -EREMOTEIO : r;
    }
    if (decision == NFS_DO_REBUILD) {
        client_forget(s->client);
        if (round < 2) {
            return 1;
        }
    }
    int r = nfs_pause(s, backoff_ns(WAIT_NS, WAIT_MAX_NS, round, &s->seed), deadline_ns);
    return r < 0 ? r : 1;
}

static int make(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns)
{
    for (unsigned round = 0;; round++) {
        struct rpc *rpc;
        int r = nfs_connection(s, c, deadline_ns, &rpc); /* before the others have to wait for it */
        r = r < 0 ? r : client_enter(s, deadline_ns);
        if (r < 0) {
            return r;
        }
        uint32_t status;
        r = make_round(s, deadline_ns, &status);
        client_leave(s);
        if (r < 0) {
            return r;
        }
        r = after_round(s, status, round, deadline_ns);
        if (r <= 0) {
            return r;
        }
    }
}

int nfs_session_ready(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns)
{
    while (!s->table || s->table->lost) {
        if (s->making) {
            unsigned before = s->changes;
            int r = nfs_wait_in(s, &s->for_change, c, deadline_ns);
            if (r == -ETIMEDOUT && clock_mono_ns() > s->busy_until_ns + SLACK_NS) {
                s->making = false; /* it was given up with its fiber */
            }
            if (r == 0 && s->changes != before) {
                r = s->change_error;
            }
            if (r < 0) {
                return r;
            }
            continue;
        }
        s->making = true;
        s->busy_until_ns = deadline_ns;
        int r = make(s, c, deadline_ns);
        s->making = false;
        s->change_error = r == -ETIMEDOUT && clock_mono_ns() >= deadline_ns ? 0 : r;
        s->changes++;
        nfs_wake_all(s, &s->for_change);
        nfs_slot_wake(s);
        if (r < 0) {
            return r;
        }
        if (!s->mute) {
            nfs_session_complete(s, deadline_ns);
        }
    }
    return 0;
}

void nfs_session_lose(struct nfs_session *s, struct nfs_table *table)
{
    if (table->lost) {
        return;
    }
    table->lost = true;
    if (s->old_count < NFS_OLD_MAX) {
        memcpy(s->old[s->old_count++], table->id, NFS_SESSION_ID);
    }
    if (table == s->table) {
        nfs_wake_all(s, &s->for_slot);
    }
}

void nfs_session_flags(struct nfs_session *s, struct nfs_table *table, uint32_t flags)
{
    struct nfs_client *client = s->client;
    uint32_t before = atomic_fetch_or(&client->status_flags, flags);
    if (flags & SEQ_RESTART) {
        /* It has restarted and kept its sessions, but no state: we reclaim none. */
        nfs_session_lose(s, table);
        pthread_mutex_lock(&client->lock);
        client->reclaimed = false;
        pthread_mutex_unlock(&client->lock);
        atomic_fetch_add(&client->generation, 1);
    }
    if ((flags & SEQ_STATE_REVOKED) && !(before & SEQ_STATE_REVOKED)) {
        atomic_fetch_add(&client->generation, 1); /* state ids of before may be gone */
    }
}

/* ---- what comes right after ---- */

static void put_ask_lease(struct nfs_compound *c)
{
    nfs_compound_op(c, NFS_OP_PUTROOTFH);
    struct xdr_out *out = nfs_compound_op(c, NFS_OP_GETATTR);
    xdr_put_u32(out, 1);
    xdr_put_u32(out, 1U << ATTR_LEASE_TIME);
}

/* Where there is no answer, a short one is assumed. */
static void get_lease(struct nfs_session *s, struct nfs_compound *c)
{
    uint32_t status = NFS4_OK;
    if (nfs_compound_expect_ok(c, NFS_OP_PUTROOTFH) < 0 || nfs_compound_result(c, NFS_OP_GETATTR, &status) < 0 ||
        status != NFS4_OK) {
        return;
    }
    uint32_t words = xdr_get_count(&c->in, 8, sizeof(uint32_t));
    uint32_t first = words > 0 ? xdr_get_u32(&c->in) : 0;
    for (uint32_t i = 1; i < words; i++) {
        xdr_get_u32(&c->in);
    }
    size_t len = xdr_get_u32(&c->in);
    uint32_t seconds = xdr_get_u32(&c->in);
    if (c->in.failed || len != sizeof(uint32_t) || first != 1U << ATTR_LEASE_TIME || seconds == 0) {
        return;
    }
    atomic_store(&s->client->lease_ns, (int64_t)at_most(seconds, LEASE_MAX_S) * NS_PER_SEC);
    pthread_mutex_lock(&s->client->lock);
    s->client->facts.lease_s = seconds;
    pthread_mutex_unlock(&s->client->lock);
}

static void ask_lease(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns)
{
    nfs_compound_again(c);
    put_ask_lease(c);
    if (nfs_session_call(s, c, deadline_ns) == 0) {
        get_lease(s, c);
    }
}

/* And asks for the lease where that is wanted, in the same breath unless the server minds the first. 0: it is said;
 * -errno: it is not; -NFS_LOST: nor is it of the client id that there is now. */
static int reclaim_complete(struct nfs_session *s, struct nfs_compound *c, bool lease, int64_t deadline_ns)
{
    nfs_compound_again(c);
    xdr_put_bool(nfs_compound_op(c, NFS_OP_RECLAIM_COMPLETE), false);
    if (lease) {
        put_ask_lease(c);
    }
    int r = nfs_session_call(s, c, deadline_ns);
    if (r < 0) {
        return r;
    }
    if (c->result_count > 1 || c->status == NFS4_OK) {
        nfs_compound_expect_ok(c, NFS_OP_RECLAIM_COMPLETE);
        if (lease) {
            get_lease(s, c);
        }
        return 0;
    }
    if (c->status == NFS4ERR_COMPLETE_ALREADY || c->status == NFS4ERR_NOTSUPP) {
        if (lease) {
            ask_lease(s, c, deadline_ns);
        }
        return 0;
    }
    return -EPROTO;
}

/* The same, again where the server was lost meanwhile: nobody else may make a session for long. */
static void reclaim_none(struct nfs_session *s, struct nfs_compound *c, bool lease, int64_t deadline_ns)
{
    int r = -NFS_LOST;
    for (unsigned tries = 0; r == -NFS_LOST && tries < RECLAIM_MAX; tries++) {
        r = reclaim_complete(s, c, lease, deadline_ns);
    }
    if (r < 0) {
        /* Not said: whoever makes the next session says it; a server that minds answers GRACE until then. */
        pthread_mutex_lock(&s->client->lock);
        s->client->reclaimed = false;
        pthread_mutex_unlock(&s->client->lock);
    }
}

void nfs_session_complete(struct nfs_session *s, int64_t deadline_ns)
{
    struct nfs_client *client = s->client;
    pthread_mutex_lock(&client->lock);
    bool reclaim = !client->reclaimed;
    bool lease = client->facts.lease_s == 0;
    client->reclaimed = true; /* by us, now */
    pthread_mutex_unlock(&client->lock);
    /* Within itself where the session was lost again at once: then whoever finds that says it. */
    struct nfs_compound *c = (reclaim || lease) && !s->completing ? nfs_compound_begin(s) : NULL;
    if (!c) {
        return;
    }
    s->completing = true;
    if (reclaim) {
        reclaim_none(s, c, lease, deadline_ns);
    } else {
        ask_lease(s, c, deadline_ns);
    }
    s->completing = false;
    nfs_compound_end(c);
}

/* ---- the end ---- */

/*
 * A call failed, and is worth another connection: one that broke while nothing was in flight is noticed with the first
 * call on it. Carried out twice, both of these calls are refused the second time, and nothing else.
 */
static bool is_broken(int r, int64_t deadline_ns)
{
    return r < 0 && r != -ENOMEM && r != -ETIMEDOUT && clock_mono_ns() < deadline_ns;
}

/* One call with op and its argument, alone. What nfs_call_alone returns, and *out_status where it was answered. */
static int end_call(struct nfs_session *s, enum nfs_op op, const void *arg, size_t len, int64_t deadline_ns,
                    uint32_t *out_status)
{
    struct nfs_compound *c = nfs_compound_begin_alone(s);
    if (!c) {
        return -ENOMEM;
    }
    struct xdr_out *out = nfs_compound_op(c, op);
    xdr_put_fixed(out, arg, len);
    if (op == NFS_OP_BIND_CONN_TO_SESSION) {
        xdr_put_u32(out, CHANNEL_FORE);
        xdr_put_bool(out, false); /* no RDMA */
    }
    int r = nfs_call_alone(s, c, deadline_ns);
    *out_status = c->status;
    nfs_compound_end(c);
    return r;
}

/*
 * Ends the session id at the server, which may have been done already. 0, or what the last try ended with.
 *
 * Where the connection that this goes out on is newer than the session's last call, the server may refuse until it is
 * bound to that session (RFC 8881 18.37.3; Ganesha does), and refuse DESTROY_CLIENTID for a session that stands. The
 * next connection may break as well.
 */
static int destroy_session(struct nfs_session *s, const uint8_t id[NFS_SESSION_ID], int64_t deadline_ns)
{
    int r = -EBUSY;
    for (unsigned tries = 0; tries < END_MAX; tries++) {
        uint32_t status = NFS4_OK;
        r = end_call(s, NFS_OP_DESTROY_SESSION, id, NFS_SESSION_ID, deadline_ns, &status);
        if (r == 0 && status == NFS4ERR_CONN_NOT_BOUND_TO_SESSION) {
            r = end_call(s, NFS_OP_BIND_CONN_TO_SESSION, id, NFS_SESSION_ID, deadline_ns, &status);
            if (r == 0 && status != NFS4_OK) {
                return -EBUSY;
            }
            r = r == 0 ? -EBUSY : r;
        } else if (r == 0 && nfs_error(status)->decision == NFS_DO_WAIT) {
            r = nfs_pause(s, backoff_ns(WAIT_NS, WAIT_MAX_NS, tries, &s->seed), deadline_ns);
            r = r == 0 ? -EBUSY : r;
        } else if (!is_broken(r, deadline_ns)) {
            return r;
        }
    }
    return r;
}

/* The sessions that their owners could not end. 0, or why one of them stands. */
static int destroy_orphans(struct nfs_session *s, int64_t deadline_ns)
{
    struct nfs_client *client = s->client;
    int r = 0;
    while (r == 0 && client->orphan_count > 0) { /* nobody else is there any more */
        r = destroy_session(s, client->orphans[client->orphan_count - 1], deadline_ns);
        client->orphan_count -= r == 0;
    }
    return r;
}

/*
 * A session stands that cannot be ended: Ganesha lets no more than 16 connections, over all its time, be bound to one,
 * and has a session ended through these only. The same client owner with another verifier is a client that has
 * restarted: with its first session all that the one before had is gone (RFC 8881 18.35.4).
 */
static void begin_anew(struct nfs_session *s, int64_t deadline_ns)
{
    struct nfs_client *client = s->client;
    uint32_t status;
    client->verifier[0] ^= 0xff;
    client->known = false;
    nfs_table_put(s->table);
    s->table = NULL;
    if (make_round(s, deadline_ns, &status) == 0 && status == NFS4_OK) {
        destroy_session(s, s->table->id, deadline_ns);
    }
}

/* Nobody but s is there any more, and s has no session. */
static void destroy_client(struct nfs_session *s, int64_t deadline_ns)
{
    struct nfs_client *client = s->client;
    uint32_t status = NFS4_OK;
    if (destroy_orphans(s, deadline_ns) < 0) {
        begin_anew(s, deadline_ns);
    }
    const uint64_t id = htobe64(client->id);
    int r = -EBUSY;
    for (unsigned tries = 0; tries < END_MAX; tries++) {
        r = end_call(s, NFS_OP_DESTROY_CLIENTID, &id, sizeof(id), deadline_ns, &status);
        if (!is_broken(r, deadline_ns)) {
            break;
        }
    }
    pthread_mutex_lock(&client->lock);
    if (r == 0) {
        client->facts.destroy_status = status;
    }
    client->known = false;
    pthread_mutex_unlock(&client->lock);
}

/* Ends the session id, or leaves it to the last session of the client, which may have better luck. */
static void end_or_leave(struct nfs_session *s, const uint8_t id[NFS_SESSION_ID], int64_t deadline_ns)
{
    struct nfs_client *client = s->client;
    if (s->connected && destroy_session(s, id, deadline_ns) == 0) {
        return;
    }
    pthread_mutex_lock(&client->lock);
    if (client->orphan_count < NFS_ORPHANS) {
        memcpy(client->orphans[client->orphan_count++], id, NFS_SESSION_ID);
    }
    pthread_mutex_unlock(&client->lock);
}

void nfs_session_end(struct nfs_session *s, int64_t deadline_ns)
{
    struct nfs_client *client = s->client;
    if (s->table && !s->table->lost) {
        end_or_leave(s, s->table->id, deadline_ns);
    }
    for (unsigned i = 0; i < s->old_count; i++) {
        end_or_leave(s, s->old[i], deadline_ns);
    }
    pthread_mutex_lock(&client->lock);
    bool last = --client->sessions == 0; /* what others could not end they have left by now */
    pthread_mutex_unlock(&client->lock);
    if (!last || !s->connected || client_enter(s, deadline_ns) != 0) {
        return;
    }
    pthread_mutex_lock(&client->lock);
    last = client->sessions == 0 && client->known; /* nobody has begun anew meanwhile, nor will before we leave */
    pthread_mutex_unlock(&client->lock);
    if (last) {
        destroy_client(s, deadline_ns);
    }
    client_leave(s);
}
