/*
 * session: opened and closed (session.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/errs.h"
#include "workers/stores/nfs41/session_internal.h"

#define CLOSE_NS (3 * NS_PER_SEC) /* for taking leave of the server, at most */

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

int nfs_session_open(struct nfs_client *client, struct io *io, struct nfs_session **out_session, char **problem)
{
    struct nfs_session *s = calloc(1, sizeof(*s));
    if (!s) {
        return -ENOMEM;
    }
    if (problem) {
        *problem = NULL;
    }
    s->client = client;
    s->io = io;
    s->conn_count = client->connections < NFS_CONNECTIONS ? client->connections : NFS_CONNECTIONS;
    s->seed = ((uint64_t)clock_mono_ns() ^ ((uint64_t)(uintptr_t)s << 20)) | 1;
    s->xid = (uint32_t)(s->seed >> 16) ^ (uint32_t)clock_real_ns();
    int r = nfs_head_make(s);
    if (r < 0) {
        free(s);
        return r;
    }
    join(s);
    s->problem = problem;
    struct nfs_compound *c = nfs_compound_begin(s);
    r = c ? nfs_session_ready(s, c, nfs_client_deadline_ns(client)) : -ENOMEM;
    nfs_compound_end(c);
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

void nfs_session_close(struct nfs_session *session)
{
    if (!session) {
        return;
    }
    int64_t most = session->client->io_timeout_ns / 4;
    nfs_session_end(session, clock_mono_ns() + (most < CLOSE_NS ? most : CLOSE_NS));
    part(session);
    session_free(session);
}

struct nfs_client *nfs_session_client(const struct nfs_session *session)
{
    return session->client;
}

void nfs_session_limits(const struct nfs_session *session, struct nfs_limits *out_limits)
{
    *out_limits = session->table->limits;
}
