/*
 * session: opened and closed (session.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/errs.h"
#include "workers/fiber.h"
#include "workers/stores/backoff.h"
#include "workers/stores/nfs41/session_internal.h"

#define CLOSE_NS   (3 * NS_PER_SEC) /* for taking leave of the server, at most */
#define PARKED_MAX 64               /* sessions of a client that wait for another user */

/* What people are told when no session came about. */
static void open_problem(struct nfs_session *s, int err)
{
    const struct nfs_client *client = s->client;
    unsigned port = client->port;
    const char *host = client->host;
    switch (-err) {
    case ECONNREFUSED:
        nfs_problem(
            s->problem,
            "nothing answers at %s port %u: is the NFS server running, and is the port right (the local proxy's "
            "where there is one)?",
            host, port);
        break;
    case ETIMEDOUT:
        nfs_problem(
            s->problem,
            "no answer from the NFS server %s port %u: look at the address, and at firewalls and security groups "
            "in between",
            host, port);
        break;
    case EHOSTUNREACH:
    case ENETUNREACH:
        nfs_problem(s->problem, "the NFS server %s cannot be reached from here: %s", host, err_text(err));
        break;
    case EPROTONOSUPPORT:
        nfs_problem(
            s->problem,
            "what answers at %s port %u does not speak NFSv4.1: enable 4.1 there, or mount it and give the path", host,
            port);
        break;
    case EACCES:
        nfs_problem(
            s->problem,
            "the NFS server %s refuses who we are (AUTH_SYS): does it demand Kerberos, or a port below 1024 (run "
            "as root, without --no-reserved-port)?",
            host);
        break;
    case EPROTO:
        nfs_problem(s->problem, "what answers at %s port %u makes no sense as an NFS server", host, port);
        break;
    case ECONNRESET:
    case EPIPE:
        nfs_problem(s->problem,
                    "%s port %u hangs up on us: does the server demand a port below 1024 (run as root, without "
                    "--no-reserved-port), or is this another service?",
                    host, port);
        break;
    default:
        break;
    }
}

static void session_free(struct nfs_session *s)
{
    for (unsigned i = 0; i < s->conn_count; i++) {
        rpc_close(s->conns[i]);
    }
    while (s->idle) {
        struct nfs_compound *c = s->idle;
        s->idle = c->next;
        free(c);
    }
    nfs_table_put(s->table);
    free(s);
}

static void join(struct nfs_session *s)
{
    struct nfs_client *client = s->client;
    pthread_mutex_lock(&client->lock);
    s->member.next = client->members;
    client->members = &s->member;
    client->sessions++;
    pthread_mutex_unlock(&client->lock);
}

static void part(struct nfs_session *s)
{
    struct nfs_client *client = s->client;
    nfs_connection_count(s);
    pthread_mutex_lock(&client->lock);
    struct nfs_member **at = &client->members;
    while (*at != &s->member) {
        at = &(*at)->next;
    }
    *at = s->member.next;
    nfs_counters_add(&client->facts, &s->member.counters);
    pthread_mutex_unlock(&client->lock);
}

/* From now on it belongs to the thread of io. */
static void bind_to(struct nfs_session *s, struct io *io)
{
    pthread_mutex_lock(&s->client->lock);
    s->io = io;
    pthread_mutex_unlock(&s->client->lock);
    for (unsigned i = 0; i < s->conn_count; i++) {
        if (s->conns[i]) {
            rpc_bind(s->conns[i], io);
        }
    }
}

/* One that was parked; NULL: there is none for io. All are for NULL. */
static struct nfs_session *unpark(struct nfs_client *client, struct io *io)
{
    bool many = !io || io_mode(io) == IO_ASYNC;
    pthread_mutex_lock(&client->lock);
    struct nfs_session *s = many || client->parked_count > client->kept ? client->parked : NULL;
    if (s) {
        client->parked = s->parked;
        client->parked_count--;
        client->kept -= many && client->kept > 0;
    }
    pthread_mutex_unlock(&client->lock);
    if (s) {
        bind_to(s, io);
    }
    return s;
}

/* Whether it is open in the thread of io. */
static bool is_open_in(const struct nfs_session *s, const struct io *io)
{
    return s->io == io && !s->closing;
}

/* The one that this thread has open already; NULL: there is none. */
static struct nfs_session *share(struct nfs_client *client, const struct io *io)
{
    pthread_mutex_lock(&client->lock);
    struct nfs_member *m = client->members;
    while (m && !is_open_in((struct nfs_session *)m, io)) {
        m = m->next;
    }
    pthread_mutex_unlock(&client->lock);
    struct nfs_session *s = (struct nfs_session *)m;
    if (s) {
        s->shared++;
    }
    return s;
}

/* A new one, which the server knows nothing of. NULL: no memory. */
static struct nfs_session *session_create(struct nfs_client *client, struct io *io)
{
    struct nfs_session *s = calloc(1, sizeof(*s));
    if (!s) {
        return NULL;
    }
    s->client = client;
    s->io = io;
    s->conn_count = client->connections < NFS_CONNECTIONS ? client->connections : NFS_CONNECTIONS;
    s->seed = backoff_seed(s);
    s->xid = (uint32_t)(s->seed >> 16) ^ (uint32_t)clock_real_ns();
    if (nfs_head_make(s) < 0) { /* cannot be: there is room for the longest one */
        free(s);
        return NULL;
    }
    join(s);
    return s;
}

/* greets: else that is left to the caller (nfs_session_greet). */
static int open_now(struct nfs_client *client, struct io *io, bool greets, struct nfs_session **out_session,
                    char **problem)
{
    if (problem) {
        *problem = NULL;
    }
    struct nfs_session *s = unpark(client, io);
    s = s ? s : session_create(client, io);
    if (!s) {
        return -ENOMEM;
    }
    s->problem = problem;
    s->mute = !greets;
    struct nfs_compound *c = nfs_compound_begin(s);
    int r = c ? nfs_session_ready(s, c, nfs_client_deadline_ns(client)) : -ENOMEM;
    nfs_compound_end(c);
    s->mute = false;
    if (r < 0) {
        open_problem(s, r);
        s->problem = NULL;
        nfs_session_close(s);
        return r;
    }
    s->problem = NULL;
    *out_session = s;
    return 0;
}

int nfs_session_open(struct nfs_client *client, struct io *io, struct nfs_session **out_session, char **problem)
{
    return open_now(client, io, true, out_session, problem);
}

int nfs_session_open_mute(struct nfs_client *client, struct io *io, struct nfs_session **out_session, char **problem)
{
    return open_now(client, io, false, out_session, problem);
}

void nfs_session_greet(struct nfs_session *session)
{
    nfs_session_complete(session, nfs_client_deadline_ns(session->client));
}

int nfs_session_open_later(struct nfs_client *client, struct io *io, struct nfs_session **out_session)
{
    struct nfs_session *s = share(client, io);
    s = s ? s : unpark(client, io);
    s = s ? s : session_create(client, io);
    if (!s) {
        return -ENOMEM;
    }
    *out_session = s;
    return 0;
}

static void close_by(struct nfs_session *session, int64_t deadline_ns)
{
    int64_t most = session->client->io_timeout_ns / 4;
    int64_t end_ns = clock_mono_ns() + (most < CLOSE_NS ? most : CLOSE_NS);
    session->closing = true;
    nfs_session_end(session, end_ns < deadline_ns ? end_ns : deadline_ns);
    part(session);
    session_free(session);
}

/* Whether others in this thread go on with it. */
static bool leave_shared(struct nfs_session *s)
{
    bool shared = s->shared > 0;
    s->shared -= shared;
    return shared;
}

void nfs_session_close(struct nfs_session *session)
{
    if (session && !leave_shared(session)) {
        close_by(session, INT64_MAX);
    }
}

/* Whether nothing of it is under way, nor was given up, nor has failed. */
static bool is_whole(const struct nfs_session *s)
{
    const struct nfs_table *t = s->table;
    bool whole = t && !t->lost && t->busy == 0 && t->retired == 0 && t->refs == 1 && s->old_count == 0 &&
                 !s->for_slot.first && !s->for_change.first && !s->connecting && !s->making;
    for (unsigned i = 0; i < s->conn_count && whole; i++) {
        whole = !s->conns[i] || (rpc_error(s->conns[i]) == 0 && rpc_pending(s->conns[i]) == 0);
    }
    return whole;
}

void nfs_session_park(struct nfs_session *session)
{
    if (!session || leave_shared(session)) {
        return;
    }
    struct nfs_client *client = session->client;
    struct io *io = session->io;
    bool parks = is_whole(session);
    if (parks) {
        nfs_connection_count(session);
        bind_to(session, NULL);
        pthread_mutex_lock(&client->lock);
        parks = client->parked_count < PARKED_MAX;
        if (parks) {
            session->parked = client->parked;
            client->parked = session;
            client->parked_count++;
        }
        pthread_mutex_unlock(&client->lock);
    }
    if (!parks) {
        bind_to(session, io);
        nfs_session_close(session);
    }
}

void nfs_sessions_keep(struct nfs_client *client, unsigned count)
{
    pthread_mutex_lock(&client->lock);
    client->kept = count;
    pthread_mutex_unlock(&client->lock);
}

static void close_one(void *arg)
{
    struct nfs_session *s = arg;
    close_by(s, s->end_by_ns);
}

/* Without the server, which finds out by the lease. */
static void drop(struct nfs_session *s)
{
    struct nfs_client *client = s->client;
    pthread_mutex_lock(&client->lock);
    client->sessions--;
    pthread_mutex_unlock(&client->lock);
    part(s);
    session_free(s);
}

void nfs_sessions_end(struct nfs_client *client, int64_t deadline_ns)
{
    const struct io_options options = {.no_ring = true};
    struct fibers *fibers = NULL;
    struct io *io = NULL;
    struct nfs_session *s = unpark(client, NULL);
    if (s && (io_create(&options, &io) < 0 || fibers_create(&fibers) < 0)) {
        io_destroy(io);
        io = NULL;
    }
    for (; s; s = unpark(client, NULL)) {
        bind_to(s, io);
        s->end_by_ns = deadline_ns;
        if (!io || fiber_start(fibers, close_one, s) < 0) {
            drop(s);
        }
    }
    while (io && fibers_alive(fibers) > 0) {
        io_turn(io, -1);
    }
    fibers_destroy(fibers);
    io_destroy(io);
}

struct nfs_client *nfs_session_client(const struct nfs_session *session)
{
    return session->client;
}

void nfs_client_limits(struct nfs_client *client, struct nfs_limits *out_limits)
{
    struct nfs_client_facts f;
    nfs_client_facts(client, &f);
    *out_limits = (struct nfs_limits){.max_request = f.max_request,
                                      .max_response = f.max_response,
                                      .max_cached = f.max_cached,
                                      .max_ops = f.max_ops,
                                      .slots = f.slots};
}

void nfs_session_limits(const struct nfs_session *session, struct nfs_limits *out_limits)
{
    if (session->table) {
        *out_limits = session->table->limits;
        return;
    }
    nfs_client_limits(session->client, out_limits);
}
