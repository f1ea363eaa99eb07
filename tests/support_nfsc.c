#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support_nfsc.h"

static int connect_to(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool nfsc_open(struct nfsc *c, uint16_t port)
{
    *c = (struct nfsc){.fd = connect_to(port), .port = port, .xid = 100};
    return c->fd >= 0;
}

bool nfsc_again(struct nfsc *c)
{
    close(c->fd);
    c->fd = connect_to(c->port);
    return c->fd >= 0;
}

void nfsc_close(struct nfsc *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    nx_free(&c->call);
    nx_free(&c->reply);
    *c = (struct nfsc){.fd = -1};
}

void nfsc_begin(struct nfsc *c)
{
    c->call.len = 0;
    c->ops = 0;
    nx_put_u32(&c->call, ++c->xid);
    nx_put_u32(&c->call, 0);      /* CALL */
    nx_put_u32(&c->call, 2);      /* RPC version */
    nx_put_u32(&c->call, 100003); /* NFS */
    nx_put_u32(&c->call, 4);
    nx_put_u32(&c->call, 1);  /* COMPOUND */
    nx_put_u32(&c->call, 1);  /* AUTH_SYS */
    nx_put_u32(&c->call, 28); /* bytes of it: stamp, name, uid, gid, groups */
    nx_put_u32(&c->call, 0);
    nx_put_text(&c->call, "tests");
    nx_put_u32(&c->call, 0);
    nx_put_u32(&c->call, 0);
    nx_put_u32(&c->call, 0);
    nx_put_u32(&c->call, 0); /* verifier: none */
    nx_put_u32(&c->call, 0);
    nx_put_u32(&c->call, 0); /* tag */
    nx_put_u32(&c->call, 1); /* minor version */
    c->ops_at = c->call.len;
    nx_put_u32(&c->call, 0);
}

void nfsc_begin_sequence(struct nfsc *c, bool cache)
{
    struct nx_out *out;

    nfsc_begin(c);
    out = nfsc_op(c, D4_SEQUENCE);
    nx_put_fixed(out, c->session, sizeof(c->session));
    nx_put_u32(out, ++c->seq);
    nx_put_u32(out, 0); /* slot */
    nx_put_u32(out, 0); /* highest slot */
    nx_put_u32(out, cache);
}

struct nx_out *nfsc_op(struct nfsc *c, uint32_t op)
{
    nx_patch_u32(&c->call, c->ops_at, ++c->ops);
    nx_put_u32(&c->call, op);
    return &c->call;
}

static bool read_all(struct nfsc *c, size_t len, int limit_ms)
{
    while (len > 0) {
        uint8_t buf[65536];
        struct pollfd pfd = {.fd = c->fd, .events = POLLIN};

        if (poll(&pfd, 1, limit_ms) != 1) {
            return false;
        }
        ssize_t got = recv(c->fd, buf, len < sizeof(buf) ? len : sizeof(buf), 0);
        if (got <= 0) {
            return false;
        }
        nx_put_raw(&c->reply, buf, (size_t)got);
        len -= (size_t)got;
    }
    return true;
}

bool nfsc_call(struct nfsc *c, int limit_ms)
{
    struct nx_out mark = {0};
    bool last = false;

    nx_put_u32(&mark, 0x80000000U | (uint32_t)c->call.len);
    bool sent = send(c->fd, mark.data, 4, MSG_NOSIGNAL) == 4 &&
                send(c->fd, c->call.data, c->call.len, MSG_NOSIGNAL) == (ssize_t)c->call.len;
    nx_free(&mark);
    if (!sent) {
        return false;
    }
    c->reply.len = 0;
    while (!last) {
        if (!read_all(c, 4, limit_ms)) {
            return false;
        }
        struct nx_in in = {.at = c->reply.data + c->reply.len - 4, .left = 4};
        uint32_t word = nx_u32(&in);
        c->reply.len -= 4;
        last = (word & 0x80000000U) != 0;
        if (!read_all(c, word & 0x7fffffffU, limit_ms)) {
            return false;
        }
    }
    return true;
}

uint32_t nfsc_status(struct nfsc *c)
{
    c->in = (struct nx_in){.at = c->reply.data, .left = c->reply.len};
    bool right = nx_u32(&c->in) == c->xid;

    right = nx_u32(&c->in) == 1 && right; /* REPLY */
    right = nx_u32(&c->in) == 0 && right; /* accepted */
    nx_u32(&c->in);
    nx_opaque(&c->in, 400);
    right = nx_u32(&c->in) == 0 && right; /* SUCCESS */
    uint32_t status = nx_u32(&c->in);
    nx_opaque(&c->in, 1024);
    nx_u32(&c->in); /* how many results */
    return right && !c->in.bad ? status : UINT32_MAX;
}

uint32_t nfsc_result(struct nfsc *c, uint32_t op)
{
    uint32_t there = nx_u32(&c->in);
    uint32_t status = nx_u32(&c->in);

    return there == op && !c->in.bad ? status : UINT32_MAX;
}

static void put_channel(struct nx_out *out, uint32_t slots)
{
    nx_put_u32(out, 0);
    nx_put_u32(out, 1U << 20);
    nx_put_u32(out, 1U << 20);
    nx_put_u32(out, 8192);
    nx_put_u32(out, 64);
    nx_put_u32(out, slots);
    nx_put_u32(out, 0);
}

bool nfsc_session(struct nfsc *c, const char *owner, uint64_t verifier)
{
    struct nx_out *out;

    nfsc_begin(c);
    out = nfsc_op(c, D4_EXCHANGE_ID);
    nx_put_u64(out, verifier);
    nx_put_text(out, owner);
    nx_put_u32(out, 0x10000); /* USE_NON_PNFS */
    nx_put_u32(out, 0);       /* SP4_NONE */
    nx_put_u32(out, 0);
    if (!nfsc_call(c, 5000) || nfsc_status(c) != 0 || nfsc_result(c, D4_EXCHANGE_ID) != 0) {
        return false;
    }
    c->client = nx_u64(&c->in);
    uint32_t seq = nx_u32(&c->in);

    nfsc_begin(c);
    out = nfsc_op(c, D4_CREATE_SESSION);
    nx_put_u64(out, c->client);
    nx_put_u32(out, seq);
    nx_put_u32(out, 0);
    put_channel(out, 8);
    put_channel(out, 1);
    nx_put_u32(out, 0x40000000);
    nx_put_u32(out, 1);
    nx_put_u32(out, 0); /* callbacks: AUTH_NONE */
    if (!nfsc_call(c, 5000) || nfsc_status(c) != 0 || nfsc_result(c, D4_CREATE_SESSION) != 0) {
        return false;
    }
    const uint8_t *id = nx_fixed(&c->in, 16);
    if (id == NULL) {
        return false;
    }
    memcpy(c->session, id, 16);
    c->seq = 0;
    nfsc_begin_sequence(c, false);
    nx_put_u32(nfsc_op(c, D4_RECLAIM_COMPLETE), 0);
    return nfsc_call(c, 5000) && nfsc_status(c) == 0;
}

uint32_t nfsc_leave(struct nfsc *c)
{
    nfsc_begin(c);
    nx_put_fixed(nfsc_op(c, D4_DESTROY_SESSION), c->session, 16);
    if (!nfsc_call(c, 5000) || nfsc_status(c) != 0) {
        return UINT32_MAX;
    }
    nfsc_begin(c);
    nx_put_u64(nfsc_op(c, D4_DESTROY_CLIENTID), c->client);
    return nfsc_call(c, 5000) ? nfsc_status(c) : UINT32_MAX;
}
