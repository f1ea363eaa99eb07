/*
 * test_nfs_rpc: RPC over one connection: records that lie, payloads that go straight to their place, calls that are
 * given up.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_io.h"
#include "support_nfsd.h"
#include "workers/stores/nfs41/rpc.h"
#include "workers/stores/nfs41/session.h"

/* Parameters travel to another process: numbers only. */
static size_t numbers[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
                           15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29};

static struct criterion_test_params first(size_t count)
{
    return cr_make_param_array(size_t, numbers, count);
}

/* Kilobytes that this process has ever had in memory. */
static long memory_kb(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    long kb = -1;
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "VmHWM: %ld", &kb) == 1) {
            break;
        }
    }
    if (f) {
        fclose(f);
    }
    cr_assert_gt(kb, 0);
    return kb;
}

/* ---- with a whole server ---- */

struct rig {
    struct nfsd *server;         /* owned */
    struct nfs_client *client;   /* owned */
    struct lane lane;            /* io and fibers */
    struct nfs_session *session; /* owned */
    unsigned fine;               /* calls with a result */
    unsigned failed;             /* without */
    int error;                   /* of the last of those */
    const uint8_t *file;         /* what is read back */
    size_t size;                 /* bytes of it */
    size_t ask;                  /* bytes asked for */
    unsigned straight;           /* reads that went straight to their place */
};

static void rig_open(struct rig *r, const struct nfsd_options *server, int64_t io_timeout_ns, unsigned retries)
{
    *r = (struct rig){.server = nfsd_create(server)};
    const struct nfs_client_options o = {.host = "127.0.0.1",
                                         .port = nfsd_port(r->server),
                                         .owner = "haul:test",
                                         .io_timeout_ns = io_timeout_ns,
                                         .retries = retries};
    cr_assert_eq(nfs_client_create(&o, &r->client, NULL), 0);
    lane_open(&r->lane, WAY_RING, 0);
    cr_assert_eq(nfs_session_open(r->client, r->lane.io, &r->session, NULL), 0);
}

static void rig_close(struct rig *r)
{
    nfs_session_close(r->session);
    nfs_client_destroy(r->client);
    lane_close(&r->lane);
    nfsd_destroy(r->server);
}

static void look(void *arg)
{
    struct rig *r = arg;
    struct nfs_compound *c = nfs_compound_begin(r->session);
    nfs_compound_op(c, NFS_OP_PUTROOTFH);
    xdr_put_opaque(nfs_compound_op(c, NFS_OP_LOOKUP), "export", 6);
    nfs_compound_op(c, NFS_OP_GETFH);
    int e = nfs_session_call(r->session, c, nfs_client_deadline_ns(r->client));
    if (e == 0 && (nfs_compound_expect_ok(c, NFS_OP_PUTROOTFH) < 0 || nfs_compound_expect_ok(c, NFS_OP_LOOKUP) < 0 ||
                   nfs_compound_expect_ok(c, NFS_OP_GETFH) < 0)) {
        e = -EPROTO;
    }
    size_t len;
    if (e == 0 && (!xdr_get_opaque(&c->in, NFS_FH_MAX, &len) || len == 0)) {
        e = -EPROTO;
    }
    if (e == 0) {
        r->fine++;
    } else {
        r->failed++;
        r->error = e;
    }
    nfs_compound_end(c);
}

struct lie {
    const char *name;      /* of the case */
    struct nfsd_rule rule; /* what the server says */
    bool harmless;         /* nobody may notice */
};

#define LIE(kind) .what = NFSD_LIE, .lie = NFSD_LIE_##kind, .op = D4_GETFH

static const struct lie lies[] = {
    {"another xid", {LIE(XID)}, false},
    {"huge record", {LIE(HUGE_RECORD)}, false},
    {"endless fragments", {LIE(FRAGMENTS)}, false},
    {"empty fragments", {LIE(EMPTY_FRAGMENTS)}, false},
    {"garbage", {LIE(GARBAGE), .value = 500}, false},
    {"one byte", {LIE(GARBAGE), .value = 1}, false},
    {"noise", {LIE(NOISE), .value = 5000}, false},
    {"reply twice", {LIE(TWICE)}, true},
    {"a stray reply first", {LIE(STRAY)}, true},
    {"a call first", {LIE(CALL)}, true},
    {"more behind", {LIE(MORE), .value = 64}, true},
    {"cut in the xid", {LIE(CUT), .at = 3}, false},
    {"cut in the head", {LIE(CUT), .at = 20}, false},
    {"cut in SEQUENCE", {LIE(CUT), .at = 60}, false},
    {"cut in GETFH", {LIE(CUT), .at = 110}, false},
    {"truncated", {LIE(TRUNCATE), .at = 60}, true},
    {"stalled", {LIE(STALL), .at = 60}, true},
    {"huge length of a handle", {LIE(WORD), .at = 2, .value = 0xffffffffU}, false},
    {"another operation", {LIE(WORD), .at = 0, .value = 10}, false},
    {"no reply but a call", {.what = NFSD_LIE, .lie = NFSD_LIE_WORD, .at = 1, .value = 0}, false},
    {"neither accepted nor denied", {.what = NFSD_LIE, .lie = NFSD_LIE_WORD, .at = 2, .value = 7}, false},
    {"verifier without end", {.what = NFSD_LIE, .lie = NFSD_LIE_WORD, .at = 4, .value = 0x7fffffff}, false},
    {"a billion results", {.what = NFSD_LIE, .lie = NFSD_LIE_WORD, .at = 8, .value = 1000000000}, false},
    {"tag without end", {.what = NFSD_LIE, .lie = NFSD_LIE_WORD, .at = 7, .value = 0xfffffff0U}, false},
    {"system error", {LIE(RPC), .value = 5}, false},
    {"garbage arguments", {LIE(RPC), .value = 4}, false},
    {"strange accept_stat", {LIE(RPC), .value = 99}, false},
    {"credential rejected", {LIE(AUTH), .value = 2}, false},
};

ParameterizedTestParameters(nfs_rpc, lies)
{
    return first(sizeof(lies) / sizeof(lies[0]));
}

/* Once: no crash, no time-out without end, no memory without end; and what comes after it is right. */
ParameterizedTest(size_t *number, nfs_rpc, lies)
{
    const struct lie *lie = &lies[*number];
    struct rig r;
    rig_open(&r, NULL, 2 * NS_PER_SEC, 1);
    lane_run(&r.lane, 3, look, &r);
    long before = memory_kb();
    nfsd_rule(r.server, &lie->rule);
    int64_t begun = clock_mono_ns();
    lane_run(&r.lane, 1, look, &r);
    cr_assert_lt(clock_mono_ns() - begun, 3 * NS_PER_SEC, "%s", lie->name);
    cr_assert_eq(nfsd_fired(r.server), 1, "%s", lie->name);
    cr_assert(!lie->harmless || r.failed == 0, "%s: %d", lie->name, r.error);
    cr_assert_lt(memory_kb() - before, 16 * 1024, "%s", lie->name);
    unsigned fine = r.fine;
    lane_run(&r.lane, 20, look, &r);
    cr_assert_eq(r.fine, fine + 20, "%s: %d", lie->name, r.error);
    nfsd_forgive(r.server);
    rig_close(&r);
}

/* A lie with many calls under way: each of them ends, in time. */
ParameterizedTestParameters(nfs_rpc, lies_among_others)
{
    return first(sizeof(lies) / sizeof(lies[0]));
}

ParameterizedTest(size_t *number, nfs_rpc, lies_among_others)
{
    const struct lie *lie = &lies[*number];
    struct rig r;
    /* Three lies that only silence gives away take three quarters of it; the rest is for everybody else. */
    rig_open(&r, NULL, 5 * NS_PER_SEC, 4);
    struct nfsd_rule rule = lie->rule;
    rule.nth = 20;
    rule.count = 3;
    nfsd_rule(r.server, &rule);
    int64_t begun = clock_mono_ns();
    lane_run(&r.lane, 60, look, &r);
    cr_assert_lt(clock_mono_ns() - begun, 12 * NS_PER_SEC, "%s", lie->name);
    cr_assert_eq(r.fine + r.failed, 60);
    cr_assert_leq(r.failed, lie->harmless ? 0 : 3, "%s: %u %d", lie->name, r.failed, r.error);
    nfsd_clear(r.server);
    unsigned fine = r.fine;
    lane_run(&r.lane, 20, look, &r);
    cr_assert_eq(r.fine, fine + 20, "%s: %d", lie->name, r.error);
    nfsd_forgive(r.server);
    rig_close(&r);
}

static void read_file(void *arg)
{
    struct rig *r = arg;
    static const uint8_t anonymous[16];
    uint8_t *buf = malloc(r->ask + 8);
    memset(buf, 0xee, r->ask + 8);
    struct nfs_compound *c = nfs_compound_begin(r->session);
    nfs_compound_op(c, NFS_OP_PUTROOTFH);
    xdr_put_opaque(nfs_compound_op(c, NFS_OP_LOOKUP), "export", 6);
    xdr_put_opaque(nfs_compound_op(c, NFS_OP_LOOKUP), "file", 4);
    struct xdr_out *out = nfs_compound_op(c, NFS_OP_READ);
    xdr_put_fixed(out, anonymous, sizeof(anonymous));
    xdr_put_u64(out, 0);
    xdr_put_u32(out, (uint32_t)r->ask);
    nfs_compound_op(c, NFS_OP_GETFH);
    nfs_compound_sink(c, buf, r->ask);
    nfs_compound_expect(c, r->ask + 1024); /* where it does not go straight */
    cr_assert_eq(nfs_session_call(r->session, c, nfs_client_deadline_ns(r->client)), 0);
    cr_assert_eq(c->status, 0);
    cr_assert_eq(nfs_compound_expect_ok(c, NFS_OP_PUTROOTFH), 0);
    cr_assert_eq(nfs_compound_expect_ok(c, NFS_OP_LOOKUP), 0);
    cr_assert_eq(nfs_compound_expect_ok(c, NFS_OP_LOOKUP), 0);
    cr_assert_eq(nfs_compound_expect_ok(c, NFS_OP_READ), 0);
    bool eof = xdr_get_bool(&c->in);
    size_t len;
    const uint8_t *data = xdr_get_opaque(&c->in, r->ask, &len);
    cr_assert_not_null(data);
    size_t wanted = r->ask < r->size ? r->ask : r->size;
    cr_assert_leq(len, wanted);
    cr_assert_eq(eof, len == r->size);
    cr_assert_eq(memcmp(data, r->file, len), 0);
    r->straight += data == buf;
    cr_assert_eq(nfs_compound_expect_ok(c, NFS_OP_GETFH), 0); /* what follows it is found */
    cr_assert_not_null(xdr_get_opaque(&c->in, NFS_FH_MAX, &len));
    cr_assert_eq(xdr_in_left(&c->in), 0);
    for (size_t i = r->ask; i < r->ask + 8; i++) {
        cr_assert_eq(buf[i], 0xee);
    }
    r->fine++;
    nfs_compound_end(c);
    free(buf);
}

struct way_of_reading {
    size_t size;       /* of the file */
    size_t ask;        /* for so much */
    uint32_t fragment; /* of the server's records */
    uint32_t dribble;  /* bytes at a time */
    uint32_t read_max; /* bytes that a READ gives */
};

static const struct way_of_reading readings[] = {
    {0, 100, 0, 0, 0},
    {1, 100, 0, 0, 0},
    {3, 3, 0, 0, 0},
    {700, 1000, 0, 0, 0},
    {5001, 8192, 0, 0, 0},
    {8192, 8192, 0, 0, 0},
    {100003, 200000, 0, 0, 0},
    {1 << 20, 1 << 20, 0, 0, 0},
    {1 << 20, 1 << 20, 0, 0, 77777},
    {300001, 1 << 19, 65536, 0, 0},
    {300001, 1 << 19, 1000, 0, 0},
    {20001, 1 << 15, 7, 0, 0},
    {20001, 1 << 15, 0, 61, 0},
    {20001, 1 << 15, 13, 11, 0},
};

ParameterizedTestParameters(nfs_rpc, payload)
{
    return first(sizeof(readings) / sizeof(readings[0]));
}

/* However the reply comes in pieces, its data lie where they were wanted, and the rest where it belongs. */
ParameterizedTest(size_t *number, nfs_rpc, payload)
{
    const struct way_of_reading *way = &readings[*number];
    struct rig r;
    rig_open(&r,
             &(struct nfsd_options){.fragment = way->fragment,
                                    .dribble = way->dribble,
                                    .read_max = way->read_max,
                                    .response = (1 << 20) + 4096},
             30 * NS_PER_SEC, 0);
    uint8_t *file = malloc(way->size + 1);
    for (size_t i = 0; i < way->size; i++) {
        file[i] = (uint8_t)(i * 2654435761U >> 11);
    }
    nfsd_put_file(r.server, "/export/file", file, way->size, 0644);
    r.file = file;
    r.size = way->size;
    r.ask = way->ask;
    unsigned times = way->dribble ? 2 : 12;
    lane_run(&r.lane, times, read_file, &r);
    cr_assert_eq(r.fine, times);
    cr_assert_eq(r.straight, times);
    free(file);
    rig_close(&r);
}

/* ---- with a peer that does nothing ---- */

struct mute {
    struct lane lane;     /* io and fibers */
    int listener;         /* where connections are made, and never taken */
    struct rpc *rpc;      /* owned */
    struct rpc_cred cred; /* somebody */
    unsigned next;        /* hands out xids */
    const uint8_t *data;  /* what is sent */
    size_t len;           /* bytes of it */
    int64_t limit_ns;     /* of a call */
    int results[16];      /* what came of each */
    bool sent[16];        /* whether some of it left */
    unsigned count;       /* of results */
    struct fiber *last;   /* the fiber that called last */
    void *last_call;      /* what it holds */
    void *last_buf;       /* the same */
};

static void mute_open(struct mute *m, int64_t silence_ns)
{
    *m = (struct mute){.cred = {.machine = "test"}};
    lane_open(&m->lane, WAY_RING, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    m->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(m->listener, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(m->listener, 4), 0);
    cr_assert_eq(getsockname(m->listener, (struct sockaddr *)&address, &len), 0);
    struct rpc_options o = {.address_len = len, .silence_ns = silence_ns};
    memcpy(&o.address, &address, len);
    cr_assert_eq(rpc_open(m->lane.io, &o, clock_mono_ns() + NS_PER_SEC, &m->rpc), 0);
}

static void mute_close(struct mute *m)
{
    rpc_close(m->rpc);
    lane_close(&m->lane);
    close(m->listener);
}

/* What a fiber that was given up leaves behind, which is never freed: so that the address sanitizer still sees it. */
static void *volatile left_behind[4];

static void mute_call(void *arg)
{
    struct mute *m = arg;
    unsigned n = m->next++;
    struct rpc_call *call = calloc(1, sizeof(*call));
    uint8_t *buf = malloc(1024);
    struct xdr_out out;
    m->last = fiber_self();
    m->last_call = call;
    m->last_buf = buf;
    xdr_out_init(&out, buf, 1024);
    rpc_begin(&out, 1000 + n, NFS_PROGRAM, NFS_VERSION, NFS_PROC_NULL, &m->cred);
    xdr_put_ref(&out, m->data, m->len);
    rpc_call_init(call, &out, 0);
    m->results[n] = rpc_call(m->rpc, call, clock_mono_ns() + m->limit_ns);
    m->sent[n] = call->sent;
    m->count++;
    rpc_call_release(call);
    free(call);
    free(buf);
}

/* Calls that nobody answers end when their time is over, and the connection goes on. */
Test(nfs_rpc, given_up)
{
    struct mute m;
    mute_open(&m, 60 * NS_PER_SEC);
    m.limit_ns = 50 * NS_PER_MS;
    lane_run(&m.lane, 10, mute_call, &m);
    cr_assert_eq(m.count, 10);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(m.results[i], -ETIMEDOUT);
        cr_assert(m.sent[i]);
    }
    cr_assert_eq(rpc_error(m.rpc), 0);
    cr_assert_eq(rpc_pending(m.rpc), 0);
    mute_close(&m);
}

/* A peer that takes nothing: what was sent by half ends the connection; what was not sent at all says so. */
Test(nfs_rpc, stuck)
{
    struct mute m;
    mute_open(&m, 60 * NS_PER_SEC);
    m.len = 32 << 20;
    m.data = calloc(1, m.len);
    m.limit_ns = 100 * NS_PER_MS;
    int64_t begun = clock_mono_ns();
    lane_run(&m.lane, 5, mute_call, &m);
    cr_assert_lt(clock_mono_ns() - begun, 5 * NS_PER_SEC);
    cr_assert(m.sent[0]);
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_eq(m.results[i], -ETIMEDOUT, "%u: %d", i, m.results[i]);
        cr_assert(i == 0 || !m.sent[i]);
    }
    cr_assert_eq(rpc_error(m.rpc), -ETIMEDOUT);
    m.limit_ns = NS_PER_SEC;
    m.next = 0;
    lane_run(&m.lane, 1, mute_call, &m);
    cr_assert_eq(m.results[0], -ETIMEDOUT);
    cr_assert(!m.sent[0]);
    free((void *)(uintptr_t)m.data);
    mute_close(&m);
}

/* Nothing comes for too long: the connection is what failed. */
Test(nfs_rpc, silent)
{
    struct mute m;
    mute_open(&m, 80 * NS_PER_MS);
    m.limit_ns = 60 * NS_PER_SEC;
    int64_t begun = clock_mono_ns();
    lane_run(&m.lane, 3, mute_call, &m);
    int64_t ns = clock_mono_ns() - begun;
    cr_assert(ns >= 80 * NS_PER_MS && ns < 5 * NS_PER_SEC, "%ld", ns);
    cr_assert_eq(m.results[2], -ETIMEDOUT);
    cr_assert_eq(rpc_error(m.rpc), -ETIMEDOUT);
    mute_close(&m);
}

/* Closed with calls under way: they end, and the memory goes with the last of them. */
Test(nfs_rpc, closed_under_way)
{
    struct mute m;
    mute_open(&m, 60 * NS_PER_SEC);
    m.limit_ns = 60 * NS_PER_SEC;
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(fiber_start(m.lane.fibers, mute_call, &m), 0);
    }
    io_turn(m.lane.io, 0);
    /* Outside of fibers nobody may read past those who wait. */
    mute_call(&m);
    cr_assert_eq(m.results[6], -EBUSY);
    rpc_close(m.rpc);
    m.rpc = NULL;
    lane_finish(&m.lane);
    cr_assert_eq(m.count, 7);
    for (unsigned i = 0; i < 6; i++) {
        cr_assert_eq(m.results[i], -ECONNABORTED);
    }
    mute_close(&m);
}

/* The fiber that reads is given up and never comes back: the others do not wait for it for ever. */
Test(nfs_rpc, reader_lost)
{
    struct mute m;
    mute_open(&m, 60 * NS_PER_SEC);
    m.limit_ns = 100 * NS_PER_MS;
    cr_assert_eq(fiber_start(m.lane.fibers, mute_call, &m), 0);
    io_turn(m.lane.io, 0);
    io_turn(m.lane.io, 0);
    fiber_abandon(m.last);
    left_behind[0] = m.last_call;
    left_behind[1] = m.last_buf;
    left_behind[2] = m.last;
    left_behind[3] = m.rpc;
    m.limit_ns = 3 * NS_PER_SEC;
    int64_t begun = clock_mono_ns();
    lane_run(&m.lane, 2, mute_call, &m);
    cr_assert_lt(clock_mono_ns() - begun, 6 * NS_PER_SEC);
    cr_assert_eq(m.count, 2);
    cr_assert_eq(m.results[1], -ETIMEDOUT);
    cr_assert_eq(rpc_error(m.rpc), -ETIMEDOUT, "the connection goes with its reader");
    lane_close(&m.lane);
    close(m.listener);
}

/* From a port below 1024, as root. */
Test(nfs_rpc, reserved_port)
{
    struct mute m;
    mute_open(&m, NS_PER_SEC);
    struct sockaddr_in address = {0};
    socklen_t len = sizeof(address);
    cr_assert_eq(getsockname(m.listener, (struct sockaddr *)&address, &len), 0);
    struct rpc_options o = {.address_len = len, .silence_ns = NS_PER_SEC, .reserved_port = true};
    memcpy(&o.address, &address, len);
    struct rpc *rpc = NULL;
    int e = rpc_open(m.lane.io, &o, clock_mono_ns() + NS_PER_SEC, &rpc);
    if (geteuid() != 0) {
        cr_assert_eq(e, -EACCES);
    } else {
        cr_assert_eq(e, 0);
        int fd = accept(m.listener, NULL, NULL); /* the plain one */
        close(fd);
        fd = accept(m.listener, (struct sockaddr *)&address, &len);
        cr_assert(ntohs(address.sin_port) >= 512 && ntohs(address.sin_port) < 1024);
        close(fd);
        rpc_close(rpc);
    }
    mute_close(&m);
}
