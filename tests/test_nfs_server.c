/*
 * test_nfs_server: sessions against a real server, NFS-Ganesha: cut by a proxy, killed and restarted under them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_cutproxy.h"
#include "support_ganesha.h"
#include "support_io.h"
#include "workers/stores/nfs41/ops.h"
#include "workers/stores/nfs41/session.h"

struct rig {
    char folder[256];            /* what is exported */
    int folder_fd;               /* open */
    struct ganesha *server;      /* owned */
    struct cutproxy *proxy;      /* owned */
    struct nfs_client *client;   /* owned */
    struct lane lane;            /* io and fibers */
    struct nfs_session *session; /* owned */
    unsigned next;               /* hands out numbers to fibers */
    unsigned limit;              /* numbers that there are */
    unsigned fine;               /* made, once */
    unsigned unknown;            /* NFS_LOST and the like: made or not */
    unsigned failed;             /* with a status */
    uint32_t status;             /* of the last of those */
    int error;                   /* of the last unknown */
};

static void rig_open(struct rig *r, unsigned connections, int64_t io_timeout_ns)
{
    *r = (struct rig){0};
    r->folder_fd = scratch_make(r->folder);
    const struct ganesha_export export = {.path = r->folder, .pseudo = "/export"};
    r->server = ganesha_start(&(struct ganesha_options){.exports = &export, .export_count = 1});
    r->proxy = cutproxy_start(ganesha_port(r->server));
    const struct nfs_client_options o = {.host = "127.0.0.1",
                                         .port = cutproxy_port(r->proxy),
                                         .owner = "haul:test",
                                         .io_timeout_ns = io_timeout_ns,
                                         .retries = 10,
                                         .connections = connections};
    cr_assert_eq(nfs_client_create(&o, &r->client, NULL), 0);
    lane_open(&r->lane, WAY_RING, 0);
    char *problem = NULL;
    int e = nfs_session_open(r->client, r->lane.io, &r->session, &problem);
    cr_assert_eq(e, 0, "%d: %s", e, problem);
}

static void rig_close(struct rig *r)
{
    struct nfs_client_facts facts;
    nfs_session_close(r->session);
    nfs_client_facts(r->client, &facts);
    cr_assert_eq(facts.destroy_status, 0, "%u", facts.destroy_status);
    nfs_client_destroy(r->client);
    lane_close(&r->lane);
    cr_assert_eq(ganesha_clients(r->server), 0);
    cutproxy_destroy(r->proxy);
    ganesha_destroy(r->server);
    close(r->folder_fd);
    scratch_remove(r->folder);
}

static bool is_there(struct rig *r, unsigned n)
{
    char name[32];
    snprintf(name, sizeof(name), "d%05u", n);
    return faccessat(r->folder_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Makes a directory: done twice it is an EXIST. */
static void make_some(void *arg)
{
    struct rig *r = arg;
    const struct attr attr = {.mode = S_IFDIR | 0755};
    while (r->next < r->limit) {
        unsigned n = r->next++;
        char name[32];
        snprintf(name, sizeof(name), "d%05u", n);
        struct nfs_compound *c = nfs_compound_begin(r->session);
        nfs_put_putrootfh(c);
        nfs_put_lookup(c, "export");
        nfs_put_create(c, name, NFS_ATTR_MODE, &attr, NULL);
        int e = nfs_session_call(r->session, c, nfs_client_deadline_ns(r->client));
        if (e < 0) {
            r->unknown++;
            r->error = e;
        } else if (c->status) {
            r->failed++;
            r->status = c->status;
        } else {
            r->fine++;
            cr_assert(is_there(r, n));
        }
        nfs_compound_end(c);
    }
}

static void work(struct rig *r, unsigned fibers, unsigned calls)
{
    r->limit = r->next + calls;
    lane_run(&r->lane, fibers, make_some, r);
}

/* Cut again and again, on its way there and back, before, within and after a record: nothing twice, nothing lost. */
Test(nfs_server, cut, .timeout = 110)
{
    for (unsigned connections = 1; connections <= 2; connections++) {
        struct rig r;
        rig_open(&r, connections, 60 * NS_PER_SEC);
        work(&r, 20, 20);
        static const char *const cuts[] = {
            "cut up before 30 records",   "cut up within 30 records",   "cut up after 30 records",
            "cut down before 30 records", "cut down within 30 records", "cut down after 30 records",
            "cut up after 10000 bytes",   "cut down after 5000 bytes",  "cut up after 30 records all",
        };
        size_t first = connections == 1 ? 0 : 6; /* with two only the last few: each takes its time */
        for (size_t i = first; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
            cutproxy_tell(r.proxy, cuts[i]);
            work(&r, 50, 200);
            cr_assert_eq(r.failed, 0, "%s: status %u", cuts[i], r.status);
            cr_assert_eq(r.unknown, 0, "%s: %d", cuts[i], r.error);
        }
        cr_assert_eq(cutproxy_stat(r.proxy, "cuts"), sizeof(cuts) / sizeof(cuts[0]) - first);
        struct nfs_client_facts facts;
        nfs_client_facts(r.client, &facts);
        cr_assert_gt(facts.replays, 0);
        cr_assert_eq(facts.sessions_lost, 0);
        cr_assert_eq(facts.slots_retired, 0);
        rig_close(&r);
    }
}

/* In the test's own thread, since the server ends with the thread that started it: calls that are under way meanwhile
 * are answered by nobody. */
static void kill_under_way(struct rig *r, enum ganesha_memory memory)
{
    r->limit = r->next + 400;
    for (unsigned i = 0; i < 40; i++) {
        cr_assert_eq(fiber_start(r->lane.fibers, make_some, r), 0);
    }
    unsigned before = r->fine;
    while (r->fine < before + 100) {
        io_turn(r->lane.io, 10 * NS_PER_MS);
    }
    ganesha_kill(r->server);
    io_turn(r->lane.io, 10 * NS_PER_MS);
    ganesha_restart(r->server, memory);
    lane_finish(&r->lane);
}

/* Killed with calls under way, and started again: only those are unknown, the rest goes on by itself. */
Test(nfs_server, restarts, .timeout = 110)
{
    struct rig r;
    rig_open(&r, 1, 60 * NS_PER_SEC);
    for (unsigned i = 0; i < 4; i++) {
        unsigned unknown = r.unknown;
        kill_under_way(&r, i % 2 ? GANESHA_FORGETS : GANESHA_REMEMBERS);
        cr_assert_eq(r.failed, 0, "status %u", r.status);
        cr_assert_leq(r.unknown - unknown, 40);
        cr_assert(r.error == 0 || r.error == -NFS_LOST, "%d", r.error);
    }
    cr_assert_eq(r.fine + r.unknown, 1600);
    struct nfs_client_facts facts;
    nfs_client_facts(r.client, &facts);
    cr_assert_eq(facts.clients_lost, 4, "%lu", facts.clients_lost);
    cr_assert_eq(nfs_client_generation(r.client), 5);
    unsigned there = 0;
    for (unsigned i = 0; i < r.next; i++) {
        there += is_there(&r, i);
    }
    cr_assert_geq(there, r.fine);
    rig_close(&r);
}

/* It answers nothing for a while, and the connection stands. */
Test(nfs_server, frozen, .timeout = 60)
{
    struct rig r;
    rig_open(&r, 1, 4 * NS_PER_SEC);
    work(&r, 10, 20);
    r.limit = r.next + 50;
    for (unsigned i = 0; i < 30; i++) {
        cr_assert_eq(fiber_start(r.lane.fibers, make_some, &r), 0);
    }
    ganesha_freeze(r.server);
    int64_t thaw = clock_mono_ns() + 1500 * NS_PER_MS; /* longer than a connection is trusted */
    while (clock_mono_ns() < thaw) {
        io_turn(r.lane.io, 20 * NS_PER_MS);
    }
    ganesha_thaw(r.server);
    lane_finish(&r.lane);
    cr_assert_eq(r.unknown, 0, "%d", r.error);
    cr_assert_eq(r.failed, 0, "status %u", r.status);
    cr_assert_eq(r.fine, 70);
    rig_close(&r);
}
