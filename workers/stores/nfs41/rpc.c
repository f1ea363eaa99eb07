/*
 * rpc: one TCP connection: made, failed, closed; and the head of a record (rpc.h).
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/stores/nfs41/rpc_internal.h"

#define PORT_FIRST  512  /* ports that only root may use, without those of well-known services */
#define PORT_END    1024 /* one after the last of them */
#define KEEP_PROBES 3    /* unanswered ones after which TCP gives up */
#define RPC_VERSION 2
#define AUTH_NONE   0
#define AUTH_SYS    1

/* ---- the connection ---- */

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* A silent peer is found out by TCP itself too, when nothing is sent. What a kernel does not have is done without. */
static int set_options(int fd, int64_t silence_ns)
{
    int64_t seconds = silence_ns / NS_PER_SEC / (KEEP_PROBES + 1);
    int each = seconds < 1 ? 1 : seconds > 7200 ? 7200 : (int)seconds;
    int64_t ms = silence_ns / NS_PER_MS;
    (void)set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    (void)set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, each);
    (void)set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, each);
    (void)set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_PROBES);
    (void)set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ms > INT32_MAX ? INT32_MAX : (int)ms);
    return set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

static int bind_port(int fd, int family, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    const void *address = family == AF_INET6 ? (const void *)&v6 : (const void *)&v4;
    socklen_t len = family == AF_INET6 ? sizeof(v6) : sizeof(v4);
    return bind(fd, address, len) < 0 ? -errno : 0;
}

/* A connected socket, from that port (0: any). A descriptor or -errno. */
static int connect_from(struct io *io, const struct rpc_options *o, uint16_t port, int64_t deadline_ns)
{
    int family = o->address.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int r = set_options(fd, o->silence_ns);
    if (r == 0 && port) {
        (void)set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* a port that rests after another connection */
        r = bind_port(fd, family, port);
    }
    if (r == 0) {
        r = io_connect(io, fd, (const struct sockaddr *)&o->address, o->address_len, deadline_ns);
    }
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

/* From a free port below 1024, looked for from a random one on. */
static int connect_reserved(struct io *io, const struct rpc_options *o, int64_t deadline_ns)
{
    unsigned start = 0;
    ssize_t n = getrandom(&start, sizeof(start), 0);
    (void)n; /* any number will do */
    for (unsigned i = 0; i < PORT_END - PORT_FIRST; i++) {
        uint16_t port = (uint16_t)(PORT_FIRST + (start + i) % (PORT_END - PORT_FIRST));
        int fd = connect_from(io, o, port, deadline_ns);
        if (fd != -EADDRINUSE && fd != -EADDRNOTAVAIL) {
            return fd;
        }
    }
    return -EADDRINUSE;
}

int rpc_socket(struct io *io, const struct rpc_options *options, int64_t deadline_ns)
{
    return options->reserved_port ? connect_reserved(io, options, deadline_ns)
                                  : connect_from(io, options, 0, deadline_ns);
}

int rpc_open(struct io *io, const struct rpc_options *options, int64_t deadline_ns, struct rpc **out_rpc)
{
    struct rpc *rpc = malloc(sizeof(*rpc));
    if (!rpc) {
        return -ENOMEM;
    }
    memset(rpc, 0, offsetof(struct rpc, stage));
    int fd = rpc_socket(io, options, deadline_ns);
    if (fd < 0) {
        free(rpc);
        return fd;
    }
    rpc->io = io;
    rpc->fd = fd;
    rpc->silence_ns = options->silence_ns;
    rpc->heard_ns = clock_mono_ns();
    *out_rpc = rpc;
    return 0;
}

void rpc_bind(struct rpc *rpc, struct io *io)
{
    rpc->io = io;
}

static void rpc_free(struct rpc *rpc)
{
    close(rpc->fd);
    free(rpc);
}

void rpc_close(struct rpc *rpc)
{
    if (!rpc) {
        return;
    }
    rpc_fail(rpc, -ECONNABORTED);
    rpc->closed = true;
    if (rpc->users == 0) {
        rpc_free(rpc);
    }
}

void rpc_leave(struct rpc *rpc)
{
    rpc->users--;
    if (rpc->closed && rpc->users == 0) {
        rpc_free(rpc);
    }
}

void rpc_fail(struct rpc *rpc, int err)
{
    if (rpc->error) {
        return;
    }
    rpc->error = err;
    rpc->record.call = NULL;
    (void)shutdown(rpc->fd, SHUT_RDWR); /* whoever waits for it goes on */
    for (size_t i = 0; i < RPC_BUCKETS; i++) {
        while (rpc->table[i]) {
            rpc_done(rpc, rpc->table[i], err);
        }
    }
}

int rpc_error(const struct rpc *rpc)
{
    return rpc->error;
}

unsigned rpc_pending(const struct rpc *rpc)
{
    return rpc->pending;
}

int64_t rpc_heard_ns(const struct rpc *rpc)
{
    return rpc->heard_ns;
}

void rpc_facts(const struct rpc *rpc, struct rpc_facts *sum)
{
    sum->calls += rpc->facts.calls;
    sum->sends += rpc->facts.sends;
    sum->receives += rpc->facts.receives;
    sum->bytes_sent += rpc->facts.bytes_sent;
    sum->bytes_received += rpc->facts.bytes_received;
}

void rpc_on_late(struct rpc *rpc, void (*late)(void *arg, uint32_t xid, const uint8_t *head, size_t len), void *arg)
{
    rpc->late = late;
    rpc->late_arg = arg;
}

/* ---- the head of a record ---- */

static void put_auth_sys(struct xdr_out *out, const struct rpc_cred *cred)
{
    size_t name = strnlen(cred->machine, sizeof(cred->machine) - 1);
    size_t padded = (name + 3) & ~(size_t)3;
    xdr_put_u32(out, AUTH_SYS);
    xdr_put_u32(out, (uint32_t)(4 + 4 + padded + 4 + 4 + 4 + 4 * (size_t)cred->group_count));
    xdr_put_u32(out, 0); /* stamp: any number */
    xdr_put_opaque(out, cred->machine, name);
    xdr_put_u32(out, cred->uid);
    xdr_put_u32(out, cred->gid);
    xdr_put_u32(out, cred->group_count);
    for (unsigned i = 0; i < cred->group_count; i++) {
        xdr_put_u32(out, cred->groups[i]);
    }
}

void rpc_begin(struct xdr_out *out, uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure,
               const struct rpc_cred *cred)
{
    xdr_put_u32(out, 0); /* the mark, filled in when the length stands */
    xdr_put_u32(out, xid);
    xdr_put_u32(out, RPC_MSG_CALL);
    xdr_put_u32(out, RPC_VERSION);
    xdr_put_u32(out, program);
    xdr_put_u32(out, version);
    xdr_put_u32(out, procedure);
    put_auth_sys(out, cred);
    xdr_put_u32(out, AUTH_NONE); /* verifier */
    xdr_put_u32(out, 0);
}

void rpc_renumber(struct xdr_out *out, uint32_t xid)
{
    xdr_patch_u32(out, RPC_MARK, xid);
}
