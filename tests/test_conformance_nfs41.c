/*
 * test_conformance_nfs41: every case of the conformance suite that a server can have, over nfs41 on a Ganesha of its
 * own, by plain calls and through the ring, those of many fibers without one too; and what only a server has: what it
 * saw, and what is left there in the end.
 *
 * The server is started once, before the first test, in the process that runs all of them; what they need to know of it
 * is in the environment. Where that says it already another server is meant, and none is started (the lab's, of Linux).
 */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_conformance.h"
#include "support_ganesha.h"
#include "support_tree.h"
#include "workers/stores/nfs41/nfs41.h"

#define EXPORT     "/export"
#define ENV_PORT   "HAUL_TEST_NFS41_PORT"
#define ENV_BASE   "HAUL_TEST_NFS41_BASE"   /* the folder that is exported */
#define ENV_EXPORT "HAUL_TEST_NFS41_EXPORT" /* what it is called there; "" where it is the root of all */

static struct ganesha *server;
static char folder[64];

ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    const struct ganesha_export export = {.path = folder, .pseudo = EXPORT};
    const struct ganesha_options options = {.exports = &export, .export_count = 1};
    char port[16];

    (void)tests;
    if (getenv(ENV_PORT)) {
        return;
    }
    snprintf(folder, sizeof(folder), "/dev/shm/haul-nfs41-XXXXXX");
    if (!mkdtemp(folder)) {
        abort();
    }
    chmod(folder, 0777);
    server = ganesha_start(&options);
    snprintf(port, sizeof(port), "%u", ganesha_port(server));
    setenv(ENV_PORT, port, 1);
    setenv(ENV_BASE, folder, 1);
    setenv(ENV_EXPORT, EXPORT, 1);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    (void)stats;
    if (server) {
        ganesha_destroy(server);
        tree_remove(folder);
    }
}

/* options->path is the folder as it is seen from outside. */
static int open_nfs41(const struct store_options *options, struct store **out_store)
{
    const char *base = getenv(ENV_BASE);
    const gid_t groups[] = {getegid()};
    char path[256];
    struct nfs41_options nfs = {
        .host = "127.0.0.1",
        .port = (uint16_t)atoi(getenv(ENV_PORT)),
        .path = path,
        .uid = geteuid(),
        .gid = getegid(),
        .groups = groups,
        .group_count = 1,
        .io_timeout_ns = 30000000000,
        .retries = 3,
    };
    char *problem = NULL;
    int err;

    cr_assert_eq(strncmp(options->path, base, strlen(base)), 0);
    snprintf(path, sizeof(path), "%s%s", getenv(ENV_EXPORT), options->path + strlen(base));
    err = nfs41_open(options, &nfs, out_store, &problem);
    cr_assert_eq(err, 0, "%s: %s: %s", path, strerror(-err), problem ? problem : "");
    return err;
}

static struct conf_place place_of(void)
{
    return (struct conf_place){.name = "nfs41",
                               .base = getenv(ENV_BASE),
                               .lacks = CONF_XATTRS | CONF_ACLS | CONF_LINK_TIMES | CONF_LATE,
                               .open = open_nfs41};
}

/* Indexes only: pointers would not survive the way into the test's own process. */
struct choice {
    unsigned way;
    unsigned the_case;
};

static struct criterion_test_params choices(void)
{
    size_t cases = conf_count();
    size_t count = 0;
    struct choice *all = cr_malloc(WAYS * cases * sizeof(*all));

    for (size_t i = 0; i < WAYS * cases; i++) {
        struct choice choice = {.way = (unsigned)(i / cases), .the_case = (unsigned)(i % cases)};

        /* Without a ring sockets are waited for in another way; one fiber shows no more of that than many do. */
        if (choice.way != WAY_HELPERS || conf_case_at(choice.the_case)->fibers > 1) {
            all[count++] = choice;
        }
    }
    return cr_make_param_array(struct choice, all, count);
}

ParameterizedTestParameters(conformance, nfs41)
{
    return choices();
}

ParameterizedTest(struct choice *choice, conformance, nfs41, .timeout = 120)
{
    const struct conf_case *the_case = conf_case_at(choice->the_case);
    struct conf_place place = place_of();

    cr_log_info("%s, %s\n", way_name((enum way)choice->way), the_case->name);
    conf_run(&place, (enum way)choice->way, the_case);
}

/* ---- what only a server has ---- */

#define DIRS  20U
#define FILES 400U /* ten at a time in each slot of one session, so that they have to share */

/* A store on a folder of its own, for fibers. */
struct crowd {
    char path[128];
    struct notices *notices;
    struct fence fence; /* open */
    struct store *store;
    struct port *port;
    struct lane lane;
    struct dir_tree tree;
    struct dir *root;
    struct dir *dirs[DIRS];
    char run_id[RUN_ID_LEN + 1];
    unsigned next;   /* hands out numbers to fibers */
    unsigned failed; /* files that did not arrive, and were not to */
};

static void grant(struct crowd *c)
{
    int64_t now = clock_boot_ns();

    fence_extend(&c->fence, now, now + 600 * NS_PER_SEC);
}

static void crowd_open(struct crowd *c)
{
    struct store_options options = {
        .side = DIR_DST, .path = c->path, .run_id = c->run_id, .max_handles = 64, .fence = &c->fence};

    *c = (struct crowd){.next = 0};
    umask(0);
    snprintf(c->path, sizeof(c->path), "%s/crowd-XXXXXX", getenv(ENV_BASE));
    cr_assert_not_null(mkdtemp(c->path));
    cr_assert_eq(run_id_make(c->run_id), 0);
    cr_assert_eq(notices_create(&c->notices), 0);
    options.notices = c->notices;
    fence_init(&c->fence);
    grant(c);
    cr_assert_eq(open_nfs41(&options, &c->store), 0);
    store_attach(c->store, DIR_DST, &c->tree);
    cr_assert_eq(dir_create_root(&c->tree, &c->root), 0);
    lane_open(&c->lane, WAY_RING, 0);
    cr_assert_eq(store_port_create(c->store, c->lane.io, &c->port), 0);
}

/* The server lets go of us only where nothing is open any more. */
static void crowd_close(struct crowd *c)
{
    struct nfs41_facts facts;

    for (unsigned i = 0; i < DIRS; i++) {
        dir_put(c->dirs[i]);
    }
    dir_put(c->root);
    store_port_destroy(c->port);
    nfs41_leave(c->store, INT64_MAX);
    cr_assert_eq(nfs41_facts(c->store, &facts), 0);
    cr_expect_eq(facts.destroy_status, 0, "DESTROY_CLIENTID: %u", facts.destroy_status);
    lane_close(&c->lane);
    store_destroy(c->store);
    notices_destroy(c->notices);
    tree_remove(c->path);
}

static struct attr dir_attr(void)
{
    return (struct attr){.mode = S_IFDIR | 0755, .mtime = {.tv_sec = 1111111111}, .atime = {.tv_sec = 1111111111}};
}

static void make_dirs(void *arg)
{
    struct crowd *c = arg;

    for (unsigned i = 0; i < DIRS; i++) {
        char name[16];
        struct store_op op = {.code = STORE_MKDIR, .dir = c->root, .name = name, .mkdir = {.mode = 0700}};

        snprintf(name, sizeof(name), "d%u", i);
        cr_assert_eq(store_run(c->port, &op), 0);
        cr_assert_eq(dir_create_child(c->root, name, strlen(name), &c->dirs[i]), 0);
    }
}

static void finish_dirs(void *arg)
{
    struct crowd *c = arg;
    struct attr attr = dir_attr();

    for (unsigned i = 0; i < DIRS; i++) {
        struct store_op op = {
            .code = STORE_SETATTR, .dir = c->dirs[i], .setattr = {.attr = &attr, .keep = STORE_KEEP_ALL}};

        cr_assert_eq(store_run(c->port, &op), 0);
    }
}

/* One file; what it holds is its number. */
static int publish(struct crowd *c, unsigned n, const char *name)
{
    unsigned data[64] = {n, [63] = n};
    struct attr attr = {.mode = S_IFREG | 0640, .size = sizeof(data), .mtime = {.tv_sec = 1234567890 + n}};
    struct attr out = {0};
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = c->dirs[n % DIRS],
                          .name = name,
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = data, .out = &out}};
    int err = store_run(c->port, &op);

    cr_assert(err || out.size == sizeof(data));
    return err;
}

static void publish_one(void *arg)
{
    struct crowd *c = arg;
    unsigned n = c->next++;
    char name[16];

    snprintf(name, sizeof(name), "f%u", n);
    cr_assert_eq(publish(c, n, name), 0, "%s", name);
}

static void expect_file(const struct crowd *c, unsigned n)
{
    unsigned data[64];
    char path[256];
    struct stat st;
    FILE *f;

    snprintf(path, sizeof(path), "%s/d%u/f%u", c->path, n % DIRS, n);
    f = fopen(path, "re");
    cr_assert_not_null(f, "%s", path);
    cr_assert_eq(fread(data, sizeof(data), 1, f), 1);
    cr_assert_eq(fstat(fileno(f), &st), 0);
    cr_expect(data[0] == n && data[63] == n, "%s has what another has", path);
    cr_expect_eq(st.st_mode & 07777, 0640);
    cr_expect_eq(st.st_mtim.tv_sec, 1234567890 + (time_t)n);
    fclose(f);
}

/* COMPOUNDs of all that is done for many files in many directories, from the first connection on. */
Test(nfs41, a_file_takes_little_more_than_one_compound, .timeout = 60)
{
    struct crowd c;
    struct nfs41_facts facts;

    crowd_open(&c);
    lane_run(&c.lane, 1, make_dirs, &c);
    for (unsigned i = 0; i < FILES; i += 25) { /* fewer at a time than any server has slots: each alone */
        lane_run(&c.lane, 25, publish_one, &c);
    }
    lane_run(&c.lane, 1, finish_dirs, &c);
    cr_assert_eq(nfs41_facts(c.store, &facts), 0);
    cr_expect_eq(facts.combined, 0);
    cr_expect_eq(facts.cleanups, 0);
    cr_expect(facts.compounds * 10 <= FILES * 12, "%lu COMPOUNDs for %u files", facts.compounds, FILES);
    for (unsigned n = 0; n < FILES; n++) {
        expect_file(&c, n);
    }
    crowd_close(&c);
}

static void publish_page(void *arg)
{
    struct crowd *c = arg;
    static unsigned data[1024];
    unsigned n = c->next++;
    char name[16];
    struct attr attr = {.mode = S_IFREG | 0640, .size = sizeof(data), .mtime = {.tv_sec = 1234567890 + n}};
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = c->dirs[n % DIRS],
                          .name = name,
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = data}};

    snprintf(name, sizeof(name), "p%u", n);
    cr_assert_eq(store_run(c->port, &op), 0, "%s", name);
}

/* Data that would begin behind the first page of a request are sent by themselves: Linux's server spoils them there. */
Test(nfs41, files_of_a_page_share_no_compound, .timeout = 60)
{
    struct crowd c;
    struct nfs41_facts facts;

    crowd_open(&c);
    lane_run(&c.lane, 1, make_dirs, &c);
    lane_run(&c.lane, FILES, publish_page, &c);
    cr_assert_eq(nfs41_facts(c.store, &facts), 0);
    cr_expect_eq(facts.combined, 0, "%lu files", facts.combined);
    crowd_close(&c);
}

/* More at a time than there are slots: they share COMPOUNDs, and each has its own result. */
Test(nfs41, files_share_compounds_where_slots_are_short, .timeout = 60)
{
    struct crowd c;
    struct nfs41_facts before;
    struct nfs41_facts after;

    crowd_open(&c);
    lane_run(&c.lane, 1, make_dirs, &c);
    cr_assert_eq(nfs41_facts(c.store, &before), 0);
    lane_run(&c.lane, FILES, publish_one, &c);
    cr_assert_eq(nfs41_facts(c.store, &after), 0);
    cr_expect_gt(after.combined, FILES / 4);
    cr_expect_lt(after.compounds - before.compounds, FILES * 3 / 4, "%lu COMPOUNDs for %u files",
                 after.compounds - before.compounds, FILES);
    for (unsigned n = 0; n < FILES; n++) {
        expect_file(&c, n);
    }
    crowd_close(&c);
}

/* Every seventh fails: a directory stands there. Nobody else's file is lost by that, and none is published twice. */
static void publish_some(void *arg)
{
    struct crowd *c = arg;
    unsigned n = c->next++;
    char name[16];
    int err;

    snprintf(name, sizeof(name), n % 7 == 0 ? "dir" : "f%u", n);
    err = publish(c, n, name);
    if (n % 7 == 0) {
        cr_assert(err == -EISDIR || err == -EEXIST || err == -ENOTEMPTY, "%d", err);
        c->failed++;
    } else {
        cr_assert_eq(err, 0, "%s: %d", name, err);
    }
}

Test(nfs41, one_that_fails_stops_no_other_in_its_compound, .timeout = 60)
{
    struct nfs41_facts facts;
    struct crowd c;
    char path[256];

    crowd_open(&c);
    lane_run(&c.lane, 1, make_dirs, &c);
    for (unsigned i = 0; i < DIRS; i++) {
        snprintf(path, sizeof(path), "%s/d%u/dir", c.path, i);
        cr_assert_eq(mkdir(path, 0755), 0);
    }
    lane_run(&c.lane, FILES, publish_some, &c);
    cr_assert_eq(nfs41_facts(c.store, &facts), 0);
    cr_expect_eq(facts.cleanups, c.failed, "each is closed and removed");
    cr_expect_eq(c.failed, (FILES + 6) / 7);
    for (unsigned n = 0; n < FILES; n++) {
        if (n % 7 != 0) {
            expect_file(&c, n);
        }
    }
    snprintf(path, sizeof(path), "find %s -name '.haul.*' | grep -q .", c.path);
    cr_expect_neq(system(path), 0, "temp names are left");
    crowd_close(&c);
}

/* ---- a run whose lease was taken over ---- */

/* An upload of c, as far as its first part. */
struct half {
    struct crowd *c;
    struct store_upload *up;
    struct attr attr;
    bool looks; /* it asks for something first, which finds the session gone and makes another one */
};

static char parts[2][65536];

static int write_half(const struct half *h, unsigned part)
{
    struct store_op op = {
        .code = STORE_WRITE,
        .up = {.upload = h->up, .buf = parts[part], .len = sizeof(parts[part]), .offset = part * sizeof(parts[part])}};

    return store_run(h->c->port, &op);
}

static void begin_half(void *arg)
{
    struct half *h = arg;
    struct store_op op = {.code = STORE_BEGIN,
                          .dir = h->c->dirs[0],
                          .name = "large",
                          .put = {.attr = &h->attr, .keep = STORE_KEEP_ALL, .upload = &h->up}};

    cr_assert_eq(store_run(h->c->port, &op), 0);
    cr_assert_eq(write_half(h, 0), 0);
}

static void go_on_half(void *arg)
{
    struct half *h = arg;
    struct store_op abort = {.code = STORE_ABORT, .up = {.upload = h->up}};
    struct attr attr;
    struct store_op look = {.code = STORE_STAT, .dir = h->c->dirs[1], .name = "f1", .stat = {.out = &attr}};

    if (h->looks) {
        cr_expect_eq(store_run(h->c->port, &look), -ENOENT);
    }
    /* Nobody knows whether it was: what the retry layer repeats. Or it was not even sent. */
    cr_expect_lt(publish(h->c, 1, "f1"), 0);
    cr_expect(fence_doubted(&h->c->fence));
    cr_expect_eq(publish(h->c, 1, "f1"), -EOWNERDEAD);
    (void)store_run(h->c->port, &abort);
}

/* What the one who renews the lease does: looks at it, and sees that it is another's. */
static void look_at_lease(void *arg)
{
    struct half *h = arg;

    while (!fence_doubted(&h->c->fence)) {
        cr_assert_eq(io_sleep(h->c->lane.io, NS_PER_MS), 0);
    }
    fence_lose(&h->c->fence);
}

static void evict_half(bool looks)
{
    struct crowd c;
    struct crowd other;
    struct nfs41_facts facts;
    struct half h = {.c = &c, .attr = {.mode = S_IFREG | 0640, .size = sizeof(parts)}, .looks = looks};
    char path[256];

    crowd_open(&c);
    lane_run(&c.lane, 1, make_dirs, &c);
    lane_run(&c.lane, 1, begin_half, &h);
    crowd_open(&other);
    cr_assert_eq(nfs41_evict(other.store, other.lane.io, c.run_id), 0);
    cr_assert(!fence_doubted(&c.fence));

    cr_assert_eq(fiber_start(c.lane.fibers, look_at_lease, &h), 0);
    lane_run(&c.lane, 1, go_on_half, &h);
    snprintf(path, sizeof(path), "%s/d1/f1", c.path);
    cr_expect_neq(access(path, F_OK), 0, "what was refused is there");
    cr_assert_eq(nfs41_facts(c.store, &facts), 0);
    cr_expect_geq(facts.rebuilds, 1);

    /* Whoever did it is none the worse. */
    lane_run(&other.lane, 1, make_dirs, &other);
    cr_assert_eq(nfs41_facts(other.store, &facts), 0);
    cr_expect_eq(facts.rebuilds, 0);
    cr_expect(!fence_doubted(&other.fence));
    crowd_close(&other);
    crowd_close(&c);
}

/* Whoever takes a lease over ends at the server what the one before it had: its next change is not carried out, and
 * before it is repeated somebody looks at who owns the destination. */
Test(nfs41, evicts_who_held_the_lease, .timeout = 60)
{
    evict_half(false);
}

/* The same where the first change of all comes after the loss of the session was found out by something else. */
Test(nfs41, evicts_who_held_the_lease_and_looks_first, .timeout = 60)
{
    evict_half(true);
}
