/*
 * support_nfsd_net: sockets, record marks (RFC 5531 11), and lies about them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support_nfsd_net.h"

#define LAST       0x80000000U
#define RECORD_MAX (64U << 20) /* bytes: of a client that is no liar */

void srv_close(struct nfsd *n, struct srv_conn *conn)
{
    (void)n;
    if (conn->fd >= 0) {
        close(conn->fd);
        nx_free(&conn->in);
        nx_free(&conn->out);
        *conn = (struct srv_conn){.fd = -1};
    }
}

/* ---- sending ---- */

static void flush(struct nfsd *n, struct srv_conn *conn)
{
    while (conn->sent < conn->out.len) {
        size_t len = conn->out.len - conn->sent;

        if (n->o.dribble > 0 && len > n->o.dribble) {
            len = n->o.dribble;
        }
        ssize_t sent = send(conn->fd, conn->out.data + conn->sent, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) {
            srv_close(n, conn);
            return;
        }
        if (sent < 0) {
            return;
        }
        conn->sent += (size_t)sent;
        n->counts.sent += (uint64_t)sent;
    }
    conn->out.len = conn->sent = 0;
    if (conn->close) {
        srv_close(n, conn);
    }
}

static void queue(struct srv_conn *conn, const void *bytes, size_t len)
{
    if (!conn->stuck && !conn->close) {
        nx_put_raw(&conn->out, bytes, len);
    }
}

static void queue_u32(struct srv_conn *conn, uint32_t v)
{
    struct nx_out word = {0};

    nx_put_u32(&word, v);
    queue(conn, word.data, word.len);
    nx_free(&word);
}

void srv_send(struct nfsd *n, struct srv_conn *conn, const struct nx_out *reply)
{
    size_t step = n->o.fragment > 0 ? n->o.fragment : reply->len;
    size_t at = 0;

    do {
        size_t len = reply->len - at < step ? reply->len - at : step;

        queue_u32(conn, (uint32_t)len | (at + len == reply->len ? LAST : 0));
        queue(conn, reply->data + at, len);
        at += len;
    } while (at < reply->len);
    flush(n, conn);
}

static void queue_random(struct nfsd *n, struct srv_conn *conn, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        uint8_t byte = (uint8_t)(srv_random(n) >> 24);

        queue(conn, &byte, 1);
    }
}

/* Lies within a record that is one. */
static void lie_inside(struct srv_call *c, const struct nfsd_rule *r)
{
    struct nfsd *n = c->n;
    struct nx_out copy = {0};
    size_t base = r->op == 0 && r->index == 0 ? 0 : c->result[c->lie_at];

    nx_put_raw(&copy, c->out.data, c->out.len);
    switch (r->lie) {
    case NFSD_LIE_XID:
        nx_patch_u32(&copy, 0, (uint32_t)srv_random(n));
        break;
    case NFSD_LIE_WORD:
        nx_patch_u32(&copy, base + (size_t)r->at * 4, r->value);
        break;
    case NFSD_LIE_CUT:
        copy.len = r->at < copy.len ? r->at : copy.len;
        break;
    case NFSD_LIE_MORE:
        for (uint32_t i = 0; i < r->value; i++) {
            uint8_t byte = (uint8_t)(srv_random(n) >> 24);
            nx_put_raw(&copy, &byte, 1);
        }
        break;
    case NFSD_LIE_TWICE:
        srv_send(n, c->conn, &copy);
        break;
    case NFSD_LIE_AUTH:
        copy.len = 4;
        nx_put_u32(&copy, 1);
        nx_put_u32(&copy, 1);
        nx_put_u32(&copy, 1);
        nx_put_u32(&copy, r->value);
        break;
    default: /* NFSD_LIE_RPC */
        copy.len = 20;
        nx_put_u32(&copy, r->value);
        if (r->value == 2) {
            nx_put_u32(&copy, 3);
            nx_put_u32(&copy, 3);
        }
        break;
    }
    if (c->conn->fd >= 0) {
        srv_send(n, c->conn, &copy);
    }
    nx_free(&copy);
}

static void lie_before(struct srv_call *c, bool call)
{
    struct nx_out other = {0};

    nx_put_u32(&other, (uint32_t)srv_random(c->n));
    nx_put_u32(&other, call ? 0 : 1);
    nx_put_u32(&other, call ? 2 : 0);
    nx_put_u32(&other, call ? 0x40000000 : 0);
    nx_put_u32(&other, call ? 1 : 0);
    nx_put_u32(&other, 0);
    for (int i = 0; i < 4 && call; i++) {
        nx_put_u32(&other, 0); /* AUTH_NONE twice */
    }
    srv_send(c->n, c->conn, &other);
    if (c->conn->fd >= 0) {
        srv_send(c->n, c->conn, &c->out);
    }
    nx_free(&other);
}

void srv_send_lie(struct srv_call *c)
{
    struct nfsd *n = c->n;
    struct srv_conn *conn = c->conn;
    const struct nfsd_rule *r = &c->lie->rule;
    size_t part = r->at < c->out.len ? r->at : c->out.len;

    switch (r->lie) {
    case NFSD_LIE_TRUNCATE:
    case NFSD_LIE_STALL:
        queue_u32(conn, (uint32_t)c->out.len | LAST);
        queue(conn, c->out.data, part);
        conn->close = r->lie == NFSD_LIE_TRUNCATE;
        conn->stuck = r->lie == NFSD_LIE_STALL;
        break;
    case NFSD_LIE_HUGE_RECORD:
        queue_u32(conn, 0xffffffff);
        queue(conn, c->out.data, c->out.len);
        conn->endless = r->lie;
        break;
    case NFSD_LIE_FRAGMENTS:
    case NFSD_LIE_EMPTY_FRAGMENTS:
        conn->endless = r->lie;
        break;
    case NFSD_LIE_GARBAGE:
        queue_u32(conn, r->value | LAST);
        queue_random(n, conn, r->value);
        break;
    case NFSD_LIE_NOISE:
        queue_random(n, conn, r->value);
        break;
    case NFSD_LIE_STRAY:
    case NFSD_LIE_CALL:
        lie_before(c, r->lie == NFSD_LIE_CALL);
        return;
    default:
        lie_inside(c, r);
        return;
    }
    flush(n, conn);
}

/* What comes without end, a piece of it. */
static void more_of_it(struct nfsd *n, struct srv_conn *conn)
{
    static const uint8_t zero[65536];

    if (conn->out.len > 0) {
        flush(n, conn);
        return;
    }
    switch (conn->endless) {
    case NFSD_LIE_FRAGMENTS:
        queue_u32(conn, sizeof(zero));
        queue(conn, zero, sizeof(zero));
        break;
    case NFSD_LIE_EMPTY_FRAGMENTS:
        queue(conn, zero, 4096);
        break;
    default:
        queue(conn, zero, sizeof(zero));
        break;
    }
    flush(n, conn);
}

/* ---- receiving ---- */

static uint32_t word_at(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* The first whole record of what came, without marks, in out; what it took of the input; 0: not whole yet. */
static size_t whole_record(struct nfsd *n, const struct nx_out *in, struct nx_out *out)
{
    size_t at = 0;

    out->len = 0;
    while (in->len - at >= 4) {
        uint32_t mark = word_at(in->data + at);
        uint32_t len = mark & ~LAST;

        if (len > RECORD_MAX) {
            srv_complain(n, "a fragment of %u bytes", len);
        }
        if (in->len - at - 4 < len) {
            return 0;
        }
        nx_put_raw(out, in->data + at + 4, len);
        at += 4 + len;
        if ((mark & LAST) != 0) {
            return at;
        }
    }
    return 0;
}

static void receive(struct nfsd *n, struct srv_conn *conn)
{
    static __thread uint8_t buf[262144];
    struct nx_out record = {0};
    uint64_t serial = conn->serial;
    ssize_t got = recv(conn->fd, buf, sizeof(buf), MSG_DONTWAIT);
    size_t used;

    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) {
            srv_close(n, conn);
        }
        return;
    }
    nx_put_raw(&conn->in, buf, (size_t)got);
    while (conn->fd >= 0 && conn->serial == serial && (used = whole_record(n, &conn->in, &record)) > 0) {
        memmove(conn->in.data, conn->in.data + used, conn->in.len - used);
        conn->in.len -= used;
        srv_record(n, conn, record.data, record.len);
    }
    nx_free(&record);
}

static void take_connection(struct nfsd *n)
{
    struct sockaddr_in peer;
    socklen_t len = sizeof(peer);
    int one = 1;
    int fd = accept4(n->listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
    unsigned i = 0;

    if (fd < 0) {
        return;
    }
    while (i < SRV_MAX_CONNS && n->conn[i].fd >= 0) {
        i++;
    }
    if (i == SRV_MAX_CONNS) {
        srv_complain(n, "more than %d connections", SRV_MAX_CONNS);
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    n->conn[i] = (struct srv_conn){.fd = fd, .serial = ++n->serials, .peer = ntohs(peer.sin_port)};
    n->counts.connections++;
}

static void serve(struct nfsd *n, const struct pollfd *fds, const unsigned *which, unsigned count)
{
    uint64_t woken;

    if (fds[0].revents != 0 && read(n->wake, &woken, sizeof(woken)) < 0) {
        return;
    }
    if (fds[1].revents != 0 && n->listener >= 0) {
        take_connection(n);
    }
    for (unsigned i = 0; i < count; i++) {
        struct srv_conn *conn = &n->conn[which[i]];

        if (conn->fd != fds[2 + i].fd) {
            continue; /* closed meanwhile */
        }
        if ((fds[2 + i].revents & (POLLIN | POLLERR | POLLHUP)) != 0) {
            receive(n, conn);
        }
        if (conn->fd == fds[2 + i].fd && (fds[2 + i].revents & POLLOUT) != 0) {
            more_of_it(n, conn);
        }
    }
}

void *srv_thread(void *arg)
{
    struct nfsd *n = arg;
    struct pollfd fds[SRV_MAX_CONNS + 2];
    unsigned which[SRV_MAX_CONNS];

    pthread_mutex_lock(&n->lock);
    while (!n->stop) {
        unsigned count = 0;

        fds[0] = (struct pollfd){.fd = n->wake, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = n->listener, .events = POLLIN};
        for (unsigned i = 0; i < SRV_MAX_CONNS; i++) {
            const struct srv_conn *conn = &n->conn[i];

            if (conn->fd >= 0) {
                bool more = conn->out.len > 0 || conn->endless != NFSD_LIE_XID;

                which[count] = i;
                fds[2 + count++] = (struct pollfd){.fd = conn->fd, .events = (short)(POLLIN | (more ? POLLOUT : 0))};
            }
        }
        pthread_mutex_unlock(&n->lock);
        poll(fds, count + 2, -1);
        pthread_mutex_lock(&n->lock);
        serve(n, fds, which, count);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

static int listen_at(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
                    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 128) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

int srv_listen(uint16_t port, uint16_t *out_port)
{
    /* Outside of those that the kernel hands out: nobody's connection has it when it is to be listened at again. */
    for (int tries = 0; tries < 200; tries++) {
        uint16_t at = port;
        uint16_t random = 0;

        if (port == 0 && getrandom(&random, sizeof(random), 0) == sizeof(random)) {
            at = (uint16_t)(12000 + random % 20000);
        }
        int fd = listen_at(at);
        if (fd >= 0) {
            *out_port = at;
            return fd;
        }
    }
    return -1;
}
