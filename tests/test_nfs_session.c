/*
 * test_nfs_session: exactly-once calls against the scripted server: cuts, silence, lost sessions, delays, slots.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "support_cutproxy.h"
#include "support_io.h"
#include "support_nfsd.h"
#include "workers/stores/nfs41/session.h"

#define NF4DIR 2

/* A server, a client of it and one session in a lane. */
struct rig {
    struct nfsd *server;         /* owned */
    struct nfs_client *client;   /* owned */
    struct lane lane;            /* io and fibers */
    struct nfs_session *session; /* owned */
    unsigned next;               /* hands out numbers to fibers */
    unsigned fine;               /* calls that made their directory, once */
    unsigned failed;             /* calls that did not */
    int error;                   /* of the last of those */
    uint32_t status;             /* of the last COMPOUND with an error */
    int64_t limit_ns;            /* of a call; 0: what the client says */
    bool sent;                   /* of the last call that failed */
};

struct plan {
    struct nfsd_options server;       /* how the server is */
    struct nfs_client_options client; /* how the client is; host and so on are filled in */
    enum way way;                     /* how io works */
};

static void rig_client(struct rig *r, const struct plan *p)
{
    struct nfs_client_options o = p->client;
    o.host = "127.0.0.1";
    o.port = o.port ? o.port : nfsd_port(r->server);
    o.owner = o.owner ? o.owner : "haul:test";
    o.io_timeout_ns = o.io_timeout_ns ? o.io_timeout_ns : 60 * NS_PER_SEC;
    char *problem = NULL;
    cr_assert_eq(nfs_client_create(&o, &r->client, &problem), 0, "%s", problem);
}

static void rig_open(struct rig *r, const struct plan *p)
{
    *r = (struct rig){0};
    r->server = nfsd_create(&p->server);
    rig_client(r, p);
    lane_open(&r->lane, p->way, 0);
    char *problem = NULL;
    int e = nfs_session_open(r->client, r->lane.io, &r->session, &problem);
    cr_assert_eq(e, 0, "%d: %s", e, problem);
}

/* The session ends, and with it everything that the server had for us. */
static void rig_close(struct rig *r)
{
    nfs_session_close(r->session);
    struct nfsd_counts counts = nfsd_counts(r->server);
    cr_assert_eq(counts.sessions, 0);
    cr_assert_eq(counts.clients, 0);
    cr_assert_eq(counts.opens, 0);
    nfs_client_destroy(r->client);
    lane_close(&r->lane);
    nfsd_destroy(r->server);
}

static struct nfs_client_facts facts_of(struct rig *r)
{
    struct nfs_client_facts facts;
    nfs_client_facts(r->client, &facts);
    return facts;
}

static void put_lookup(struct nfs_compound *c, const char *name)
{
    nfs_compound_op(c, NFS_OP_PUTROOTFH);
    xdr_put_opaque(nfs_compound_op(c, NFS_OP_LOOKUP), name, strlen(name));
}

/* Makes /export/<name>: what is done twice is an EXIST. */
static void put_mkdir(struct nfs_compound *c, const char *name)
{
    struct xdr_out *out = nfs_compound_op(c, NFS_OP_CREATE);
    xdr_put_u32(out, NF4DIR);
    xdr_put_opaque(out, name, strlen(name));
    xdr_put_u32(out, 0); /* no attributes */
    xdr_put_u32(out, 0);
}

static int64_t limit_of(const struct rig *r)
{
    return r->limit_ns ? clock_mono_ns() + r->limit_ns : nfs_client_deadline_ns(r->client);
}

static int mkdir_call(struct rig *r, const char *name, uint32_t *out_status, bool *out_sent)
{
    struct nfs_compound *c = nfs_compound_begin(r->session);
    put_lookup(c, "export");
    put_mkdir(c, name);
    int e = nfs_session_call(r->session, c, limit_of(r));
    *out_status = e == 0 ? c->status : 0;
    *out_sent = c->sent;
    if (e == 0 && c->status == 0) {
        uint32_t status = 1;
        cr_assert_eq(c->result_count, 3);
        cr_assert_eq(nfs_compound_expect_ok(c, NFS_OP_PUTROOTFH), 0);
        cr_assert_eq(nfs_compound_expect_ok(c, NFS_OP_LOOKUP), 0);
        cr_assert_eq(nfs_compound_result(c, NFS_OP_CREATE, &status), 0);
        cr_assert_eq(status, 0);
    }
    nfs_compound_end(c);
    return e;
}

static void make_one(void *arg)
{
    struct rig *r = arg;
    char name[32];
    uint32_t status;
    bool sent;
    snprintf(name, sizeof(name), "d%05u", r->next++);
    int e = mkdir_call(r, name, &status, &sent);
    if (e == 0 && status == 0) {
        r->fine++;
        return;
    }
    r->failed++;
    r->error = e;
    r->status = status;
    r->sent = sent;
}

static void look_one(void *arg)
{
    struct rig *r = arg;
    struct nfs_compound *c = nfs_compound_begin(r->session);
    put_lookup(c, "export");
    int e = nfs_session_call(r->session, c, limit_of(r));
    if (e == 0 && c->status == 0) {
        r->fine++;
    } else {
        r->failed++;
        r->error = e;
        r->status = e == 0 ? c->status : 0;
    }
    r->sent = c->sent;
    nfs_compound_end(c);
}

static unsigned dirs(struct rig *r)
{
    return nfsd_names(r->server, "d[0-9][0-9][0-9][0-9][0-9]");
}

static enum way every_way[WAYS] = {WAY_DIRECT, WAY_RING, WAY_HELPERS};

/* Parameters travel to another process: numbers only, no pointers. */
static size_t numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static struct criterion_test_params first(size_t count)
{
    return cr_make_param_array(size_t, numbers, count);
}

static struct criterion_test_params ways(void)
{
    return cr_make_param_array(enum way, every_way, WAYS);
}

/* ---- the usual course ---- */

ParameterizedTestParameters(nfs_session, fibers)
{
    return ways();
}

/* More calls than slots: all are served, in few system calls. */
ParameterizedTest(enum way *way, nfs_session, fibers)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = *way, .server = {.slots = 16}});
    struct nfs_limits limits;
    nfs_session_limits(r.session, &limits);
    cr_assert_eq(limits.slots, 16);
    cr_assert_eq(limits.max_ops, 100);
    cr_assert_eq(nfs_client_generation(r.client), 1);
    uint64_t before = facts_of(&r).compounds;
    lane_run(&r.lane, 800, make_one, &r);
    cr_assert_eq(r.fine, 800, "%d %u", r.error, r.status);
    cr_assert_eq(dirs(&r), 800);
    struct nfs_client_facts facts = facts_of(&r);
    cr_assert_eq(facts.compounds - before, 800);
    cr_assert_eq(facts.replays, 0);
    cr_assert_eq(facts.lease_s, 90);
    /* How many depends on how the two threads are scheduled; the first ones go together in any case. */
    cr_assert_lt(facts.rpc.sends, 800, "%lu", facts.rpc.sends);
    cr_assert_eq(nfsd_counts(r.server).connections, 1);
    rig_close(&r);
}

/* Without fibers, as a planner does. */
Test(nfs_session, thread)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    for (unsigned i = 0; i < 50; i++) {
        make_one(&r);
    }
    cr_assert_eq(r.fine, 50);
    cr_assert_eq(nfs_session_touch(r.session, limit_of(&r)), 0);
    cr_assert(!nfs_client_due(r.client));
    rig_close(&r);
}

/* Servers that send replies in small fragments and small pieces. */
Test(nfs_session, fragments)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .server = {.fragment = 7, .dribble = 5}});
    lane_run(&r.lane, 40, make_one, &r);
    cr_assert_eq(r.fine, 40);
    rig_close(&r);
}

Test(nfs_session, too_big)
{
    struct rig r;
    rig_open(&r, &(struct plan){.server = {.ops = 8, .request = 4096}});
    struct nfs_compound *c = nfs_compound_begin(r.session);
    struct nfs_compound_mark mark = {0};
    for (int i = 0; i < 9; i++) {
        mark = i == 7 ? nfs_compound_mark(c) : mark;
        nfs_compound_op(c, NFS_OP_PUTROOTFH);
    }
    cr_assert_eq(nfs_session_call(r.session, c, limit_of(&r)), -E2BIG);
    cr_assert(!c->sent);
    nfs_compound_rewind(c, mark);
    cr_assert_eq(nfs_session_call(r.session, c, limit_of(&r)), 0);
    cr_assert_eq(c->result_count, 7);
    nfs_compound_again(c);
    static const char data[8192];
    xdr_put_ref(nfs_compound_op(c, NFS_OP_WRITE), data, sizeof(data));
    cr_assert_gt(nfs_compound_size(c), sizeof(data));
    cr_assert_eq(nfs_session_call(r.session, c, limit_of(&r)), -E2BIG);
    nfs_compound_again(c);
    for (int i = 0; i <= NFS_COMPOUND_OPS; i++) {
        nfs_compound_op(c, NFS_OP_PUTROOTFH);
    }
    cr_assert_eq(nfs_session_call(r.session, c, limit_of(&r)), -EOVERFLOW);
    nfs_compound_end(c);
    rig_close(&r);
}

/* ---- cuts ---- */

struct cut {
    const char *name;          /* of the case */
    struct nfsd_rule rule;     /* what the server does */
    enum way way;              /* how io works */
    unsigned connections;      /* of the session */
    unsigned replays_at_least; /* that it takes */
};

static const struct cut cuts[] = {
    {"before", {.op = D4_CREATE, .nth = 10, .what = NFSD_DROP_BEFORE}, WAY_RING, 1, 1},
    {"after", {.op = D4_CREATE, .nth = 10, .what = NFSD_DROP_AFTER}, WAY_RING, 1, 1},
    {"after, no ring", {.op = D4_CREATE, .nth = 10, .what = NFSD_DROP_AFTER}, WAY_HELPERS, 1, 1},
    {"after, direct", {.op = D4_CREATE, .nth = 10, .what = NFSD_DROP_AFTER}, WAY_DIRECT, 1, 1},
    {"five times", {.op = D4_CREATE, .nth = 10, .count = 5, .what = NFSD_DROP_AFTER}, WAY_RING, 1, 5},
    {"all slots before",
     {.op = D4_CREATE, .nth = 30, .what = NFSD_HOLD, .count = 16, .hold = 16, .then = NFSD_THEN_DROP},
     WAY_RING,
     1,
     16},
    {"all slots after",
     {.op = D4_CREATE, .nth = 30, .what = NFSD_HOLD_AFTER, .count = 16, .hold = 16, .then = NFSD_THEN_DROP},
     WAY_RING,
     1,
     16},
    {"all slots after, three connections",
     {.op = D4_CREATE, .nth = 30, .what = NFSD_HOLD_AFTER, .count = 16, .hold = 16, .then = NFSD_THEN_DROP},
     WAY_RING,
     3,
     16},
    {"latest first",
     {.op = D4_CREATE, .nth = 30, .what = NFSD_HOLD, .count = 16, .hold = 16, .then = NFSD_THEN_GO_ON},
     WAY_RING,
     1,
     0},
    {"reply cut", {.op = D4_CREATE, .nth = 10, .what = NFSD_LIE, .lie = NFSD_LIE_TRUNCATE, .at = 50}, WAY_RING, 1, 1},
};

ParameterizedTestParameters(nfs_session, cut)
{
    return first(sizeof(cuts) / sizeof(cuts[0]));
}

/* Whatever is cut and when: no error, everything done once. */
ParameterizedTest(size_t *number, nfs_session, cut)
{
    const struct cut *cut = &cuts[*number];
    struct rig r;
    rig_open(&r, &(struct plan){.way = cut->way,
                                .server = {.slots = 16},
                                .client = {.retries = 5, .connections = cut->connections}});
    nfsd_rule(r.server, &cut->rule);
    lane_run(&r.lane, 200, make_one, &r);
    cr_assert_eq(r.fine, 200, "%s: %d %u", cut->name, r.error, r.status);
    cr_assert_eq(dirs(&r), 200);
    cr_assert_gt(nfsd_fired(r.server), 0);
    struct nfs_client_facts facts = facts_of(&r);
    cr_assert_geq(facts.replays, cut->replays_at_least, "%s: %lu", cut->name, facts.replays);
    cr_assert_eq(facts.sessions_lost, 0);
    cr_assert_eq(facts.slots_retired, 0);
    rig_close(&r);
}

/* Every connection is cut after fewer calls than are under way, before the first of their answers: sent again all at
 * once they would never get anywhere. */
Test(nfs_session, each_connection_cut)
{
    static const char *const ways_to_cut[] = {"cut up after 40 records of each times 0",
                                              "cut down before 40 records of each times 0"};
    for (size_t i = 0; i < 2; i++) {
        struct rig r = {.server = nfsd_create(&(struct nfsd_options){.slots = 64})};
        struct cutproxy *proxy = cutproxy_start(nfsd_port(r.server));
        rig_client(&r, &(struct plan){.client = {.retries = 5, .port = cutproxy_port(proxy)}});
        lane_open(&r.lane, WAY_RING, 0);
        cr_assert_eq(nfs_session_open(r.client, r.lane.io, &r.session, NULL), 0);
        cutproxy_tell(proxy, "rtt 4ms"); /* so that all slots are taken before the first answer */
        cutproxy_tell(proxy, ways_to_cut[i]);
        lane_run(&r.lane, 400, make_one, &r);
        cr_assert_eq(r.fine, 400, "%s: %u failed, %d %u", ways_to_cut[i], r.failed, r.error, r.status);
        cr_assert_eq(dirs(&r), 400);
        cr_assert_geq(cutproxy_stat(proxy, "cuts"), 400 / 40);
        cr_assert_eq(facts_of(&r).slots_retired, 0);
        cutproxy_tell(proxy, "heal");
        rig_close(&r);
        cutproxy_destroy(proxy);
    }
}

/* No answer, and the connection stands: found out long before the time limit, and healed. */
Test(nfs_session, silence)
{
    for (int after = 0; after < 2; after++) {
        struct rig r;
        rig_open(&r, &(struct plan){.way = WAY_RING, .client = {.retries = 5, .io_timeout_ns = 4 * NS_PER_SEC}});
        nfsd_rule(r.server,
                  &(struct nfsd_rule){
                      .op = D4_CREATE, .nth = 5, .count = 3, .what = after ? NFSD_SILENT_AFTER : NFSD_SILENT});
        int64_t begun = clock_mono_ns();
        lane_run(&r.lane, 20, make_one, &r);
        int64_t ns = clock_mono_ns() - begun;
        cr_assert_eq(r.fine, 20, "%d %u", r.error, r.status);
        cr_assert_eq(dirs(&r), 20);
        cr_assert(ns > 900 * NS_PER_MS && ns < 3500 * NS_PER_MS, "%ld", ns);
        cr_assert_gt(facts_of(&r).replays, 0);
        rig_close(&r);
    }
}

/* Nobody listens any more: calls fail in bounded time; with retries they survive a pause. */
static void *listen_again(void *arg)
{
    struct rig *r = arg;
    struct timespec pause = {.tv_nsec = 300 * NS_PER_MS};
    nanosleep(&pause, NULL);
    nfsd_listen(r->server, true);
    return NULL;
}

Test(nfs_session, refused)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    nfsd_listen(r.server, false);
    lane_run(&r.lane, 10, make_one, &r);
    cr_assert_eq(r.failed, 10);
    cr_assert(r.error == -ECONNREFUSED || r.error == -ECONNRESET, "%d", r.error);
    nfsd_listen(r.server, true);
    lane_run(&r.lane, 10, make_one, &r);
    cr_assert_eq(r.fine, 10, "%d", r.error);
    rig_close(&r);

    rig_open(&r, &(struct plan){.way = WAY_RING, .client = {.retries = 8}});
    nfsd_listen(r.server, false);
    pthread_t other;
    cr_assert_eq(pthread_create(&other, NULL, listen_again, &r), 0);
    lane_run(&r.lane, 30, make_one, &r);
    pthread_join(other, NULL);
    cr_assert_eq(r.fine, 30, "%d", r.error);
    cr_assert_eq(dirs(&r), 30);
    rig_close(&r);
}

/* A lookup whose answer was not kept is simply asked again. */
Test(nfs_session, uncached)
{
    for (int next = 0; next < 2; next++) {
        struct rig r;
        rig_open(&r,
                 &(struct plan){.way = WAY_RING, .server = {.uncached_on_next = next == 1}, .client = {.retries = 3}});
        nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_LOOKUP, .nth = 3, .what = NFSD_DROP_AFTER});
        lane_run(&r.lane, 20, look_one, &r);
        cr_assert_eq(r.fine, 20, "%d %u", r.error, r.status);
        cr_assert_eq(nfsd_fired(r.server), 1);
        rig_close(&r);
    }
}

/* ---- delays ---- */

struct delay {
    struct nfsd_rule rule; /* what the server puts off */
    bool repeated;         /* the session sees to it */
};

static struct delay delays[] = {
    {{.op = D4_SEQUENCE, .nth = 3, .count = 3, .what = NFSD_FAIL, .status = D4ERR_DELAY}, true},
    {{.op = D4_LOOKUP, .nth = 3, .count = 3, .what = NFSD_FAIL, .status = D4ERR_DELAY}, true},
    {{.op = D4_CREATE, .nth = 3, .count = 3, .what = NFSD_FAIL, .status = D4ERR_DELAY}, true},
    {{.op = D4_CREATE, .nth = 3, .count = 3, .what = NFSD_FAIL, .status = D4ERR_GRACE}, true},
    {{.op = D4_CREATE, .nth = 3, .count = 1, .what = NFSD_FAIL, .status = D4ERR_ACCESS}, false},
};

ParameterizedTestParameters(nfs_session, put_off)
{
    return cr_make_param_array(struct delay, delays, sizeof(delays) / sizeof(delays[0]));
}

ParameterizedTest(struct delay *d, nfs_session, put_off)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    nfsd_rule(r.server, &d->rule);
    lane_run(&r.lane, 10, make_one, &r);
    cr_assert_eq(r.fine, d->repeated ? 10 : 9, "%d %u", r.error, r.status);
    cr_assert_eq(dirs(&r), r.fine);
    cr_assert_eq(nfsd_fired(r.server), d->rule.count);
    cr_assert_eq(facts_of(&r).waits, d->repeated ? 3 : 0);
    if (!d->repeated) {
        cr_assert_eq(r.status, D4ERR_ACCESS);
    }
    rig_close(&r);
}

/* On a busy machine the limit may pass while the last repeat is under way. */
static bool put_off_or_late(const struct rig *r)
{
    return r->error == -ETIMEDOUT || (r->error == 0 && r->status == NFS4ERR_DELAY);
}

/* What was put off after something had been changed is the caller's to sort out. */
Test(nfs_session, put_off_halfway)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_GETFH, .what = NFSD_FAIL, .status = D4ERR_DELAY});
    struct nfs_compound *c = nfs_compound_begin(r.session);
    put_lookup(c, "export");
    put_mkdir(c, "once");
    nfs_compound_op(c, NFS_OP_GETFH);
    cr_assert_eq(nfs_session_call(r.session, c, limit_of(&r)), 0);
    cr_assert_eq(c->status, NFS4ERR_DELAY);
    cr_assert_eq(c->result_count, 4);
    nfs_compound_end(c);
    /* And what is put off for ever comes back with its status, in time. */
    nfsd_clear(r.server);
    nfsd_rule(r.server,
              &(struct nfsd_rule){.op = D4_CREATE, .count = NFSD_EVER, .what = NFSD_FAIL, .status = D4ERR_DELAY});
    r.limit_ns = 200 * NS_PER_MS;
    int64_t begun = clock_mono_ns();
    make_one(&r);
    cr_assert_eq(r.failed, 1);
    cr_assert(put_off_or_late(&r), "%d %u", r.error, r.status);
    cr_assert_lt(clock_mono_ns() - begun, 2 * NS_PER_SEC);
    nfsd_clear(r.server);
    nfsd_rule(r.server,
              &(struct nfsd_rule){.op = D4_SEQUENCE, .count = NFSD_EVER, .what = NFSD_FAIL, .status = D4ERR_DELAY});
    make_one(&r);
    cr_assert(put_off_or_late(&r), "%d %u", r.error, r.status);
    nfsd_clear(r.server);
    r.limit_ns = 0;
    make_one(&r);
    cr_assert_eq(r.fine, 1);
    rig_close(&r);
}

/* ---- lost sessions ---- */

/* The server says so of a request that it had not seen before: nothing was carried out. The session alone: nobody
 * notices. The client id: a successor may have taken our place, so that nothing is changed without asking first. */
Test(nfs_session, lost_before)
{
    for (unsigned whole = 0; whole < 2; whole++) {
        struct rig r;
        rig_open(&r, &(struct plan){.way = WAY_RING, .server = {.slots = 16}, .client = {.retries = 3}});
        nfsd_rule(r.server, &(struct nfsd_rule){
                                .op = D4_CREATE, .nth = 20, .what = whole ? NFSD_LOSE_CLIENT : NFSD_LOSE_SESSION});
        for (unsigned i = 0; i < 5; i++) {
            lane_run(&r.lane, 20, make_one, &r);
        }
        cr_assert_eq(r.fine + r.failed, 100);
        cr_assert_eq(dirs(&r), r.fine);
        if (whole) {
            cr_assert(r.failed >= 1 && r.failed <= 20, "%u", r.failed);
            cr_assert_eq(r.error, -NFS_LOST);
            cr_assert(!r.sent);
        } else {
            cr_assert_eq(r.failed, 0, "%d %u", r.error, r.status);
        }
        struct nfs_client_facts facts = facts_of(&r);
        cr_assert_eq(facts.sessions_lost, 1);
        cr_assert_eq(facts.clients_lost, whole);
        cr_assert_eq(nfs_client_generation(r.client), whole + 1);
        lane_run(&r.lane, 20, look_one, &r);
        rig_close(&r);
    }
}

/* Looking changes nothing, whoever holds the place now. */
Test(nfs_session, looks_on)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .server = {.slots = 16}, .client = {.retries = 3}});
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_LOOKUP, .nth = 20, .what = NFSD_LOSE_CLIENT});
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_LOOKUP, .nth = 60, .what = NFSD_CRASH});
    lane_run(&r.lane, 100, look_one, &r);
    cr_assert_eq(r.fine, 100, "%d %u", r.error, r.status);
    cr_assert_eq(facts_of(&r).clients_lost, 2);
    rig_close(&r);
}

/* Calls under way when it is lost, with their connection: nobody knows what became of them. */
Test(nfs_session, lost_under_way)
{
    for (int done = 0; done < 2; done++) {
        struct rig r;
        rig_open(&r, &(struct plan){.way = WAY_RING, .server = {.slots = 16}, .client = {.retries = 3}});
        nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_CREATE,
                                                .nth = 20,
                                                .what = done ? NFSD_HOLD_AFTER : NFSD_HOLD,
                                                .count = 16,
                                                .hold = 16,
                                                .then = NFSD_THEN_RESTART});
        lane_run(&r.lane, 35, make_one, &r);
        cr_assert_eq(r.failed, 16, "%u", r.failed);
        cr_assert_eq(r.error, -NFS_LOST);
        cr_assert(r.sent);
        cr_assert_eq(dirs(&r), done ? 35 : 19);
        look_one(&r);
        lane_run(&r.lane, 30, make_one, &r);
        cr_assert_eq(r.failed, 16, "%u", r.failed);
        struct nfs_client_facts facts = facts_of(&r);
        cr_assert_eq(facts.sessions_lost, 1);
        cr_assert_eq(facts.clients_lost, 1);
        rig_close(&r);
    }
}

struct mate {
    struct rig *r;               /* whose client */
    struct rig own;              /* a session of its own */
    pthread_barrier_t *together; /* all have opened theirs */
    unsigned first;              /* number of its first directory */
};

static void *mate_main(void *arg)
{
    struct mate *m = arg;
    m->own.client = m->r->client;
    m->own.server = m->r->server;
    m->own.next = m->first;
    lane_open(&m->own.lane, WAY_RING, 0);
    cr_assert_eq(nfs_session_open(m->own.client, m->own.lane.io, &m->own.session, NULL), 0);
    pthread_barrier_wait(m->together);
    for (unsigned i = 0; i < 30; i++) {
        lane_run(&m->own.lane, 10, make_one, &m->own);
    }
    nfs_session_close(m->own.session);
    lane_close(&m->own.lane);
    return NULL;
}

/* Several threads, one client: it is made again once for all of them, whoever finds out first. */
Test(nfs_session, lost_by_all)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .server = {.slots = 8}, .client = {.retries = 5}});
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_CREATE, .nth = 200, .what = NFSD_CRASH_AFTER});
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_CREATE, .nth = 600, .what = NFSD_CRASH});
    pthread_t threads[4];
    pthread_barrier_t together;
    static struct mate mates[4];
    pthread_barrier_init(&together, NULL, 4);
    for (unsigned i = 0; i < 4; i++) {
        mates[i] = (struct mate){.r = &r, .together = &together, .first = 1000 * (i + 1)};
        cr_assert_eq(pthread_create(&threads[i], NULL, mate_main, &mates[i]), 0);
    }
    unsigned fine = 0;
    unsigned failed = 0;
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        fine += mates[i].own.fine;
        failed += mates[i].own.failed;
    }
    pthread_barrier_destroy(&together);
    cr_assert_eq(fine + failed, 1200);
    cr_assert_leq(failed, 2 * 4 * 10, "%u", failed); /* those that were begun */
    cr_assert_geq(dirs(&r), fine);
    cr_assert_leq(dirs(&r), fine + failed);
    cr_assert_eq(nfsd_fired(r.server), 2);
    struct nfs_client_facts facts = facts_of(&r);
    cr_assert_eq(facts.clients_lost, 2, "%lu", facts.clients_lost);
    /* Its connection was closed, and its client id replaced, while it looked away. */
    look_one(&r);
    make_one(&r);
    cr_assert_eq(r.fine, 2, "%d", r.error);
    rig_close(&r);
}

struct odd {
    uint32_t status; /* of SEQUENCE */
    int error;       /* what the call ends with; 0: it is repeated */
};

static struct odd odds[] = {
    {D4ERR_BADSESSION, 0},      {D4ERR_DEADSESSION, 0},    {D4ERR_BADSLOT, 0},
    {D4ERR_BAD_HIGH_SLOT, 0},   {D4ERR_SEQ_MISORDERED, 0}, {D4ERR_CONN_NOT_BOUND_TO_SESSION, 0},
    {D4ERR_SEQ_FALSE_RETRY, 0},
};

ParameterizedTestParameters(nfs_session, sequence_refused)
{
    return cr_make_param_array(struct odd, odds, sizeof(odds) / sizeof(odds[0]));
}

/* What SEQUENCE may say once: a new session, and on. */
ParameterizedTest(struct odd *odd, nfs_session, sequence_refused)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    nfsd_rule(r.server, &(struct nfsd_rule){
                            .op = D4_SEQUENCE, .with = D4_CREATE, .nth = 2, .what = NFSD_FAIL, .status = odd->status});
    for (unsigned i = 0; i < 5; i++) {
        make_one(&r);
    }
    cr_assert_eq(r.fine, 5, "%u: %d %u", odd->status, r.error, r.status);
    cr_assert_eq(dirs(&r), 5);
    cr_assert_eq(facts_of(&r).sessions_lost, 1);
    rig_close(&r);
}

/* For ever: bounded, and an error. */
Test(nfs_session, sequence_refused_for_ever)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    nfsd_rule(
        r.server,
        &(struct nfsd_rule){
            .op = D4_SEQUENCE, .with = D4_CREATE, .count = NFSD_EVER, .what = NFSD_FAIL, .status = D4ERR_BADSESSION});
    make_one(&r);
    cr_assert_eq(r.error, -NFS_LOST);
    nfsd_clear(r.server);
    nfsd_rule(r.server,
              &(struct nfsd_rule){
                  .op = D4_SEQUENCE, .with = D4_CREATE, .what = NFSD_FAIL, .status = D4ERR_REP_TOO_BIG_TO_CACHE});
    make_one(&r);
    cr_assert_eq(r.error, 0);
    cr_assert_eq(r.status, NFS4ERR_REP_TOO_BIG_TO_CACHE);
    make_one(&r);
    cr_assert_eq(r.fine, 1);
    nfsd_forgive(r.server);
    rig_close(&r);
}

/* ---- slots ---- */

/* Calls that are given up: their slots are not used again, until the answer comes after all. */
Test(nfs_session, retired)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .server = {.slots = 8}});
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_CREATE, .what = NFSD_HOLD_AFTER, .count = 2, .hold = 3});
    r.limit_ns = 100 * NS_PER_MS;
    lane_run(&r.lane, 2, make_one, &r);
    cr_assert_eq(r.failed, 2);
    cr_assert_eq(r.error, -ETIMEDOUT);
    cr_assert(r.sent);
    cr_assert_eq(facts_of(&r).slots_retired, 2);
    r.limit_ns = 0;
    lane_run(&r.lane, 50, look_one, &r);
    cr_assert_eq(r.fine, 50);
    cr_assert_eq(nfsd_let_go(r.server), 2);
    lane_run(&r.lane, 50, make_one, &r);
    cr_assert_eq(r.fine, 100, "%d", r.error);
    cr_assert_eq(facts_of(&r).slots_recovered, 2);
    cr_assert_eq(facts_of(&r).sessions_lost, 0);
    cr_assert_eq(dirs(&r), 52);
    rig_close(&r);
}

/* Half of the slots given up: another session, and the old one is destroyed at the end. */
Test(nfs_session, replaced)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .server = {.slots = 8}});
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_CREATE, .count = 4, .what = NFSD_SILENT});
    r.limit_ns = 100 * NS_PER_MS;
    lane_run(&r.lane, 4, make_one, &r);
    cr_assert_eq(r.failed, 4);
    r.limit_ns = 0;
    lane_run(&r.lane, 50, make_one, &r);
    cr_assert_eq(r.fine, 50, "%d", r.error);
    cr_assert_eq(facts_of(&r).sessions_lost, 1);
    cr_assert_eq(facts_of(&r).clients_lost, 0);
    cr_assert_eq(nfsd_counts(r.server).sessions, 2);
    rig_close(&r);
}

/* The server wants fewer slots used, then more. */
Test(nfs_session, target)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .server = {.slots = 32}});
    nfsd_set_target(r.server, 3);
    look_one(&r);
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_LOOKUP, .what = NFSD_HOLD, .count = 32, .hold = 32});
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(fiber_start(r.lane.fibers, look_one, &r), 0);
    }
    for (int i = 0; i < 5; i++) {
        io_turn(r.lane.io, 10 * NS_PER_MS);
    }
    cr_assert(nfsd_wait_held(r.server, 4, 5000));
    cr_assert_eq(nfsd_counts(r.server).in_flight, 4);
    nfsd_clear(r.server);
    nfsd_set_target(r.server, UINT32_MAX);
    nfsd_let_go(r.server);
    lane_finish(&r.lane);
    cr_assert_eq(r.fine, 21, "%d", r.error);
    rig_close(&r);
}

/* No slot comes free: an error in time, and nothing was sent. */
Test(nfs_session, none_free)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .server = {.slots = 2}});
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_CREATE, .what = NFSD_HOLD, .count = 9, .hold = 9});
    cr_assert_eq(fiber_start(r.lane.fibers, make_one, &r), 0);
    cr_assert_eq(fiber_start(r.lane.fibers, make_one, &r), 0);
    r.limit_ns = 50 * NS_PER_MS;
    cr_assert_eq(fiber_start(r.lane.fibers, look_one, &r), 0);
    while (r.failed == 0) {
        io_turn(r.lane.io, 10 * NS_PER_MS);
    }
    cr_assert_eq(r.error, -ETIMEDOUT);
    cr_assert(!r.sent);
    nfsd_let_go(r.server);
    lane_finish(&r.lane);
    cr_assert_eq(r.fine, 2);
    rig_close(&r);
}

/* ---- the lease ---- */

Test(nfs_session, lease)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .server = {.lease_s = 1}});
    cr_assert_eq(facts_of(&r).lease_s, 1);
    cr_assert(!nfs_client_due(r.client));
    int64_t begun = clock_mono_ns();
    while (!nfs_client_due(r.client)) {
        struct timespec pause = {.tv_nsec = 10 * NS_PER_MS};
        nanosleep(&pause, NULL);
    }
    int64_t ns = clock_mono_ns() - begun;
    cr_assert(ns > 250 * NS_PER_MS && ns < NS_PER_SEC, "%ld", ns);
    cr_assert_eq(nfs_session_touch(r.session, limit_of(&r)), 0);
    cr_assert(!nfs_client_due(r.client));
    rig_close(&r);
}

/* Calls that begin together are to end together, in time and hardly before it. */
Test(nfs_session, deadlines)
{
    const int64_t most = 48 * NS_PER_SEC; /* four fifths of the limit */
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .client = {.io_timeout_ns = 60 * NS_PER_SEC}});
    int64_t begun = clock_mono_ns();
    int64_t before = nfs_client_deadline_ns(r.client);
    unsigned others = 0;
    for (unsigned i = 0; i < 1000; i++) {
        int64_t now = clock_mono_ns();
        int64_t deadline = nfs_client_deadline_ns(r.client);
        cr_assert_leq(deadline, clock_mono_ns() + most);
        cr_assert_gt(deadline, now + most - most / 1000);
        others += deadline != before;
        before = deadline;
    }
    cr_assert_leq(others, 1 + (clock_mono_ns() - begun) / (40 * NS_PER_MS), "%u", others);
    rig_close(&r);
}

/* ---- opening ---- */

struct bad {
    const char *name;           /* of the case */
    struct nfsd_options server; /* how the server is */
    struct nfsd_rule rule;      /* and what it does besides */
    int error;                  /* what comes of it */
    const char *said;           /* a word of the sentence */
};

static const struct bad bads[] = {
    {"4.0 only", {.only_minor_0 = true}, {0}, -EPROTONOSUPPORT, "4.1"},
    {"silent", {.eat_nothing = true}, {0}, -ETIMEDOUT, "no answer"},
    {"too weak", {0}, {.what = NFSD_LIE, .lie = NFSD_LIE_AUTH, .value = 5, .count = NFSD_EVER}, -EACCES, "Kerberos"},
    {"no such program",
     {0},
     {.what = NFSD_LIE, .lie = NFSD_LIE_RPC, .value = 1, .count = NFSD_EVER},
     -EPROTONOSUPPORT,
     "does not speak"},
    {"noise", {0}, {.what = NFSD_LIE, .lie = NFSD_LIE_NOISE, .value = 999, .count = NFSD_EVER}, 0, NULL},
    {"hangs up", {0}, {.what = NFSD_DROP_BEFORE, .count = NFSD_EVER}, -ECONNRESET, "hangs up"},
    {"tiny", {.slots = 1, .ops = 2}, {0}, -EPROTO, "too small"},
    {"in use", {0}, {.op = D4_CREATE_SESSION, .what = NFSD_FAIL, .status = D4ERR_CLID_INUSE}, -EACCES, "somebody else"},
    {"unknown status", {0}, {.op = D4_EXCHANGE_ID, .what = NFSD_FAIL, .status = 12345}, -EREMOTEIO, "12345"},
};

ParameterizedTestParameters(nfs_session, does_not_open)
{
    return first(sizeof(bads) / sizeof(bads[0]));
}

ParameterizedTest(size_t *number, nfs_session, does_not_open)
{
    const struct bad *bad = &bads[*number];
    struct rig r = {0};
    r.server = nfsd_create(&bad->server);
    if (bad->rule.count || bad->rule.status) {
        nfsd_rule(r.server, &bad->rule);
    }
    /* All the time that there is passes first; anything else is known at once, be the machine as busy as it may. */
    bool waits = bad->error == -ETIMEDOUT || bad->error == -ECONNRESET || !bad->error;
    rig_client(&r, &(struct plan){.client = {.io_timeout_ns = (waits ? 1 : 20) * NS_PER_SEC}});
    lane_open(&r.lane, WAY_RING, 0);
    char *problem = NULL;
    int64_t begun = clock_mono_ns();
    int e = nfs_session_open(r.client, r.lane.io, &r.session, &problem);
    cr_assert_lt(e, 0, "%s", bad->name);
    cr_assert_lt(clock_mono_ns() - begun, 5 * NS_PER_SEC, "%s", bad->name);
    if (bad->error) {
        cr_assert_eq(e, bad->error, "%s: %d %s", bad->name, e, problem);
        cr_assert_not_null(problem, "%s", bad->name);
        cr_assert_not_null(strstr(problem, bad->said), "%s: %s", bad->name, problem);
        cr_assert_not_null(strstr(problem, "127.0.0.1"), "%s: %s", bad->name, problem);
    }
    free(problem);
    nfs_client_destroy(r.client);
    lane_close(&r.lane);
    nfsd_forgive(r.server);
    nfsd_destroy(r.server);
}

/* Transient trouble while it opens is waited for. */
Test(nfs_session, opens_at_last)
{
    static const struct nfsd_rule rules[] = {
        {.op = D4_EXCHANGE_ID, .count = 2, .what = NFSD_FAIL, .status = D4ERR_DELAY},
        {.op = D4_CREATE_SESSION, .count = 2, .what = NFSD_FAIL, .status = D4ERR_DELAY},
        {.op = D4_CREATE_SESSION, .count = 1, .what = NFSD_FAIL, .status = D4ERR_STALE_CLIENTID},
        {.op = D4_CREATE_SESSION, .what = NFSD_DROP_AFTER},
        {.op = D4_EXCHANGE_ID, .what = NFSD_DROP_AFTER},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        struct rig r = {0};
        r.server = nfsd_create(NULL);
        nfsd_rule(r.server, &rules[i]);
        rig_client(&r, &(struct plan){.client = {.retries = 2}});
        lane_open(&r.lane, WAY_RING, 0);
        char *problem = NULL;
        int e = nfs_session_open(r.client, r.lane.io, &r.session, &problem);
        cr_assert_eq(e, 0, "%zu: %d %s", i, e, problem);
        make_one(&r);
        cr_assert_eq(r.fine, 1);
        rig_close(&r);
    }
}

/* The connection breaks after the last call, or at one of those that end a session; a new one has to be joined to it.
 */
Test(nfs_session, ends_on_a_new_connection)
{
    static const struct nfsd_rule rules[] = {
        {.op = D4_DESTROY_SESSION, .what = NFSD_FAIL, .status = D4ERR_CONN_NOT_BOUND_TO_SESSION},
        {.op = D4_DESTROY_SESSION, .what = NFSD_DROP_BEFORE},
        {.op = D4_DESTROY_SESSION, .what = NFSD_DROP_AFTER},
        {.op = D4_DESTROY_CLIENTID, .what = NFSD_DROP_BEFORE},
        {.op = D4_DESTROY_CLIENTID, .what = NFSD_DROP_AFTER},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        struct rig r;
        rig_open(&r, &(struct plan){.way = WAY_RING});
        make_one(&r);
        nfsd_rule(r.server, &rules[i]);
        nfs_session_close(r.session);
        r.session = NULL;
        cr_assert_eq(nfsd_fired(r.server), 1, "%zu", i);
        cr_assert_eq(nfsd_counts(r.server).sessions, 0, "%zu", i);
        cr_assert_eq(nfsd_counts(r.server).clients, 0, "%zu", i);
        rig_close(&r);
    }
}

/* A server that has sessions ended only through connections that are bound to them: the one that this goes out on is
 * not; nor is it to a session that was replaced; and where no more connections may be bound to one, a client that
 * begins anew ends it all. */
Test(nfs_session, ends_what_it_is_not_bound_to)
{
    static const struct nfsd_options servers[] = {{.bound = 40}, {.bound = 2}};
    for (size_t i = 0; i < 2; i++) {
        struct rig r;
        rig_open(&r, &(struct plan){.server = servers[i], .client = {.retries = 2}, .way = WAY_RING});
        for (unsigned cut = 0; cut < 3; cut++) {
            make_one(&r);
            nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_SEQUENCE, .what = NFSD_DROP_AFTER});
        }
        make_one(&r);
        cr_assert_eq(r.fine, 4);
        nfsd_clear(r.server);
        /* The session is replaced, and lives on at the server. */
        nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_SEQUENCE, .what = NFSD_FAIL, .status = D4ERR_BADSLOT});
        make_one(&r);
        cr_assert_eq(r.fine, 5);
        cr_assert_eq(facts_of(&r).sessions_lost, 1);
        nfsd_clear(r.server);
        /* And the connection breaks while nothing is asked. */
        nfsd_listen(r.server, false);
        nfsd_listen(r.server, true);
        nfs_session_close(r.session);
        r.session = NULL;
        cr_assert_eq(nfsd_counts(r.server).sessions, 0, "%zu", i);
        cr_assert_eq(nfsd_counts(r.server).clients, 0, "%zu", i);
        cr_assert_eq(facts_of(&r).destroy_status, 0, "%zu", i);
        rig_close(&r);
    }
}

/* One of two sessions is closed while the server cannot be reached: the other one, the last, ends it too. */
Test(nfs_session, ends_what_others_left)
{
    struct rig r;
    struct lane lane;
    struct nfs_session *second = NULL;
    rig_open(&r, &(struct plan){.way = WAY_RING, .client = {.io_timeout_ns = 2 * NS_PER_SEC}});
    lane_open(&lane, WAY_RING, 0);
    cr_assert_eq(nfs_session_open(r.client, lane.io, &second, NULL), 0);
    cr_assert_eq(nfsd_counts(r.server).sessions, 2);
    nfsd_listen(r.server, false);
    nfs_session_close(second);
    nfsd_listen(r.server, true);
    cr_assert_eq(nfsd_counts(r.server).sessions, 2);
    rig_close(&r);
    lane_close(&lane);
}

/* What is said once for a client id may be said beside other calls. */
Test(nfs_session, greets_later)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    cr_assert_eq(facts_of(&r).compounds, 1, "RECLAIM_COMPLETE");
    nfs_session_close(r.session);
    cr_assert_eq(nfs_session_open_mute(r.client, r.lane.io, &r.session, NULL), 0);
    cr_assert_eq(facts_of(&r).compounds, 1);
    make_one(&r);
    cr_assert_eq(r.fine, 1, "%d", r.error);
    cr_assert_eq(facts_of(&r).compounds, 2);
    nfs_session_greet(r.session);
    nfs_session_greet(r.session);
    cr_assert_eq(facts_of(&r).compounds, 3);
    rig_close(&r);
}

/* ---- parked ---- */

struct heir {
    struct rig *r;    /* whose session it takes over */
    unsigned fine;    /* of its own calls */
    unsigned rounds;  /* of five calls at a time; 0: one */
    bool closes;      /* it ends the session, else it parks it again */
    struct rig taken; /* with the session */
};

/* So many sessions besides that of r. */
static void open_more(struct rig *r, struct nfs_session **more, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(nfs_session_open(r->client, r->lane.io, &more[i], NULL), 0);
    }
}

static void park_all(struct nfs_session **more, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        nfs_session_park(more[i]);
    }
}

/* In a thread of its own, with an io of its own. */
static void *inherit(void *arg)
{
    struct heir *h = arg;
    h->taken = (struct rig){.client = h->r->client, .server = h->r->server, .next = h->r->next};
    lane_open(&h->taken.lane, WAY_RING, 0);
    cr_assert_eq(nfs_session_open(h->taken.client, h->taken.lane.io, &h->taken.session, NULL), 0);
    for (unsigned i = 0; i < 1 || i < h->rounds; i++) {
        lane_run(&h->taken.lane, 5, make_one, &h->taken);
    }
    h->fine = h->taken.fine;
    if (h->closes) {
        nfs_session_close(h->taken.session);
    } else {
        nfs_session_park(h->taken.session);
    }
    lane_close(&h->taken.lane);
    return NULL;
}

/* A session that is parked goes on in another thread, and the server is asked for nothing. */
Test(nfs_session, parked)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    lane_run(&r.lane, 5, make_one, &r);
    nfsd_rule(r.server, &(struct nfsd_rule){
                            .op = D4_CREATE_SESSION, .what = NFSD_FAIL, .status = D4ERR_PERM, .count = NFSD_EVER});
    nfsd_rule(r.server, &(struct nfsd_rule){
                            .op = D4_DESTROY_SESSION, .what = NFSD_FAIL, .status = D4ERR_PERM, .count = NFSD_EVER});
    nfs_session_park(r.session);
    r.session = NULL;
    for (unsigned i = 0; i < 3; i++) {
        struct heir h = {.r = &r};
        pthread_t thread;
        r.next = 100 * (i + 1);
        cr_assert_eq(pthread_create(&thread, NULL, inherit, &h), 0);
        pthread_join(thread, NULL);
        cr_assert_eq(h.fine, 5, "%d", h.taken.error);
    }
    cr_assert_eq(nfsd_fired(r.server), 0);
    nfsd_clear(r.server);
    cr_assert_eq(nfsd_counts(r.server).sessions, 1);
    cr_assert_eq(facts_of(&r).compounds, 21); /* 20 calls, and what is said once for a client id */
    struct heir last = {.r = &r, .closes = true};
    r.next = 1000;
    inherit(&last);
    cr_assert_eq(nfsd_counts(r.server).sessions, 0);
    cr_assert_eq(nfsd_counts(r.server).clients, 0);
    nfs_sessions_end(r.client, INT64_MAX);
    rig_close(&r);
}

/* One thread has one: whoever opens it there as well shares it, and it stays until all have left it. */
Test(nfs_session, shared)
{
    struct rig r;
    struct nfs_session *again = NULL;
    struct nfs_session *third = NULL;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    cr_assert_eq(nfs_session_open_later(r.client, r.lane.io, &again), 0);
    cr_assert_eq(nfs_session_open_later(r.client, r.lane.io, &third), 0);
    cr_assert_eq(again, r.session);
    cr_assert_eq(third, r.session);
    nfs_session_park(again);
    nfs_session_close(third);
    make_one(&r);
    cr_assert_eq(r.fine, 1, "%d", r.error);
    cr_assert_eq(nfsd_counts(r.server).sessions, 1);
    rig_close(&r);
}

static void close_it(void *arg)
{
    struct rig *r = arg;
    nfs_session_close(r->session);
}

/* One that is on its way out is nobody's any more. */
Test(nfs_session, shared_by_nobody_while_it_is_closed)
{
    struct rig r;
    struct nfs_session *other = NULL;
    rig_open(&r, &(struct plan){.way = WAY_RING, .client = {.io_timeout_ns = 2 * NS_PER_SEC}});
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_DESTROY_SESSION, .what = NFSD_SILENT});
    cr_assert_eq(fiber_start(r.lane.fibers, close_it, &r), 0); /* which waits for an answer now */
    cr_assert_eq(nfs_session_open_later(r.client, r.lane.io, &other), 0);
    cr_assert_neq(other, r.session);
    lane_finish(&r.lane);
    r.session = other;
    make_one(&r);
    cr_assert_eq(r.fine, 1, "%d", r.error);
    rig_close(&r);
}

/* The last that are parked are left to those with many calls at a time. */
Test(nfs_session, parked_and_kept)
{
    struct rig r;
    struct lane alone;
    struct nfs_session *more[3];
    struct nfs_session *one = NULL;
    struct nfs_session *many = NULL;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    open_more(&r, more, 3);
    park_all(more, 3);
    nfs_sessions_keep(r.client, 2);
    lane_open(&alone, WAY_DIRECT, 0);
    cr_assert_eq(nfs_session_open(r.client, alone.io, &one, NULL), 0);
    cr_assert_eq(nfsd_counts(r.server).sessions, 4, "the third of them is anybody's");
    cr_assert_eq(nfs_session_open(r.client, alone.io, &more[0], NULL), 0);
    cr_assert_eq(nfsd_counts(r.server).sessions, 5, "the others are not");
    cr_assert_eq(nfs_session_open(r.client, r.lane.io, &many, NULL), 0);
    cr_assert_eq(nfsd_counts(r.server).sessions, 5);
    nfs_session_close(more[0]);
    nfs_session_close(one);
    cr_assert_eq(nfs_session_open(r.client, r.lane.io, &one, NULL), 0);
    cr_assert_eq(nfsd_counts(r.server).sessions, 3);
    nfs_session_close(one);
    nfs_session_close(many);
    lane_close(&alone);
    rig_close(&r);
}

/* Those that are parked end beside the calls of one that is not, which keeps the client id. */
Test(nfs_session, parked_and_ended_beside)
{
    struct rig r;
    struct nfs_session *more[10];
    rig_open(&r, &(struct plan){.way = WAY_RING});
    open_more(&r, more, 10);
    park_all(more, 10);
    nfs_sessions_end(r.client, INT64_MAX);
    cr_assert_eq(nfsd_counts(r.server).sessions, 1);
    make_one(&r);
    cr_assert_eq(r.fine, 1, "%d", r.error);
    nfs_session_park(r.session);
    r.session = NULL;
    nfs_sessions_end(r.client, INT64_MAX);
    cr_assert_eq(nfsd_counts(r.server).sessions, 0);
    cr_assert_eq(nfsd_counts(r.server).clients, 0);
    rig_close(&r);
}

/* A server that does not answer is taken leave of by the deadline. */
Test(nfs_session, parked_and_ended_in_time)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING});
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_DESTROY_SESSION, .what = NFSD_SILENT, .count = NFSD_EVER});
    nfs_session_park(r.session);
    r.session = NULL;
    int64_t begun_ns = clock_mono_ns();
    nfs_sessions_end(r.client, begun_ns + 50 * NS_PER_MS);
    cr_assert_lt(clock_mono_ns() - begun_ns, NS_PER_SEC);
    nfsd_clear(r.server);
    cr_assert_eq(nfs_session_open(r.client, r.lane.io, &r.session, NULL), 0);
    rig_close(&r); /* which ends what was left */
}

/* Many that are parked end at the same time; one with a call that was given up is not parked. */
Test(nfs_session, parked_and_ended)
{
    struct rig r;
    struct nfs_session *more[10];
    rig_open(&r, &(struct plan){.way = WAY_RING});
    open_more(&r, more, 10);
    cr_assert_eq(nfsd_counts(r.server).sessions, 11);
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_CREATE, .what = NFSD_SILENT});
    r.limit_ns = 100 * NS_PER_MS;
    make_one(&r);
    cr_assert_eq(r.error, -ETIMEDOUT);
    nfs_session_park(r.session);
    r.session = NULL;
    cr_assert_eq(nfsd_counts(r.server).sessions, 10);
    park_all(more, 10);
    cr_assert_eq(nfsd_counts(r.server).sessions, 10);
    nfs_sessions_end(r.client, INT64_MAX);
    cr_assert_eq(nfsd_counts(r.server).sessions, 0);
    cr_assert_eq(nfsd_counts(r.server).clients, 0);
    rig_close(&r);
}

/* The server has restarted, or closed the connection, while a session was parked: whoever takes it over finds out, and
 * works. */
Test(nfs_session, parked_and_lost)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .client = {.retries = 3}});
    struct nfs_session *other = NULL;
    cr_assert_eq(nfs_session_open(r.client, r.lane.io, &other, NULL), 0);
    nfs_session_park(other);
    nfsd_rule(r.server, &(struct nfsd_rule){.op = D4_CREATE, .what = NFSD_CRASH});
    make_one(&r); /* everything is gone */
    struct heir h = {.r = &r, .rounds = 2};
    r.next = 100;
    inherit(&h); /* nothing is changed under a client id that came after those were begun */
    cr_assert_eq(h.fine, 5, "%u", h.fine);
    cr_assert_eq(h.taken.failed, 5);
    cr_assert_eq(h.taken.error, -NFS_LOST);
    nfs_sessions_end(r.client, INT64_MAX);
    rig_close(&r);
}

Test(nfs_session, no_such_host)
{
    struct nfs_client *client = NULL;
    char *problem = NULL;
    struct nfs_client_options o = {.host = "no-such-host.invalid", .owner = "haul:x", .io_timeout_ns = NS_PER_SEC};
    int e = nfs_client_create(&o, &client, &problem);
    cr_assert(e == -ENOENT || e == -EAGAIN, "%d", e);
    cr_assert_not_null(strstr(problem, "no-such-host.invalid"));
    free(problem);
    o.io_timeout_ns = 0;
    o.host = "127.0.0.1";
    cr_assert_eq(nfs_client_create(&o, &client, NULL), -EINVAL);
}

/* Another client with the same owner ends what the first one had. */
Test(nfs_session, evicts)
{
    struct rig r;
    rig_open(&r, &(struct plan){.way = WAY_RING, .client = {.owner = "haul:old"}});
    make_one(&r);
    struct rig other = {.server = r.server};
    rig_client(&other, &(struct plan){.client = {.owner = "haul:old"}});
    struct io *io = NULL;
    cr_assert_eq(io_create(&(struct io_options){0}, &io), 0);
    cr_assert_eq(nfs_session_open(other.client, io, &other.session, NULL), 0);
    cr_assert_eq(nfsd_counts(r.server).sessions, 1);
    nfs_session_close(other.session);
    nfs_client_destroy(other.client);
    io_destroy(io);
    cr_assert_eq(nfsd_counts(r.server).clients, 0);
    make_one(&r); /* it finds out, changes nothing, and knows that its state is gone */
    cr_assert_eq(r.error, -NFS_LOST);
    cr_assert(!r.sent);
    cr_assert_eq(dirs(&r), 1);
    make_one(&r);
    cr_assert_eq(r.fine, 2, "%d", r.error);
    cr_assert_eq(nfs_client_generation(r.client), 2);
    rig_close(&r);
}
