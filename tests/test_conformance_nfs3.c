/*
 * test_conformance_nfs3: every case of the conformance suite that a server can have, over nfs3 on a Ganesha of its own,
 * by plain calls and through the ring, those of many fibers without one too; and what only such a server has: how it is
 * found, and what is said where it is not.
 *
 * The server is started once, before the first test, in the process that runs all of them, in a network of its own with
 * a portmapper; what tests need to know of it is in the environment.
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

#include "support_conformance.h"
#include "support_ganesha.h"
#include "support_portmap.h"
#include "support_tree.h"
#include "workers/fiber.h"
#include "workers/stores/nfs3/nfs3.h"

#define ENV_PORT  "HAUL_TEST_NFS3_PORT"
#define ENV_MOUNT "HAUL_TEST_NFS3_MOUNT"
#define ENV_BASE  "HAUL_TEST_NFS3_BASE" /* the folder that is exported */

static struct ganesha *server;
static char folder[64];

static void set_number(const char *name, unsigned n)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", n);
    setenv(name, text, 1);
}

ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    const struct ganesha_export export = {.path = folder, .pseudo = "/export"};
    const struct ganesha_options options = {.exports = &export, .export_count = 1, .v3 = true};

    (void)tests;
    portmap_private();
    snprintf(folder, sizeof(folder), "/dev/shm/haul-nfs3-XXXXXX");
    if (!mkdtemp(folder)) {
        abort();
    }
    chmod(folder, 0777);
    server = ganesha_start(&options);
    set_number(ENV_PORT, ganesha_port(server));
    set_number(ENV_MOUNT, ganesha_mount_port(server));
    setenv(ENV_BASE, folder, 1);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    (void)stats;
    ganesha_destroy(server);
    portmap_stop();
    tree_remove(folder);
}

static struct nfs3_options nfs_of(const char *path)
{
    static gid_t groups[1];

    groups[0] = getegid();
    return (struct nfs3_options){
        .host = "127.0.0.1",
        .port = (uint16_t)atoi(getenv(ENV_PORT)),
        .mount_port = (uint16_t)atoi(getenv(ENV_MOUNT)),
        .path = path,
        .uid = geteuid(),
        .gid = getegid(),
        .groups = groups,
        .group_count = 1,
        .io_timeout_ns = 30000000000,
        .retries = 3,
    };
}

/* options->path is the folder as it is seen from outside, and as NFSv3 calls it. */
static int open_nfs3(const struct store_options *options, struct store **out_store)
{
    struct nfs3_options nfs = nfs_of(options->path);
    char *problem = NULL;
    int err = nfs3_open(options, &nfs, out_store, &problem);

    cr_assert_eq(err, 0, "%s: %s: %s", options->path, strerror(-err), problem ? problem : "");
    return err;
}

static struct conf_place place_of(void)
{
    return (struct conf_place){.name = "nfs3",
                               .base = getenv(ENV_BASE),
                               .lacks = CONF_XATTRS | CONF_ACLS | CONF_LINK_TIMES | CONF_LATE | CONF_FAR_TIMES,
                               .open = open_nfs3};
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

ParameterizedTestParameters(conformance, nfs3)
{
    return choices();
}

ParameterizedTest(struct choice *choice, conformance, nfs3, .timeout = 120)
{
    const struct conf_case *the_case = conf_case_at(choice->the_case);
    struct conf_place place = place_of();

    cr_log_info("%s, %s\n", way_name((enum way)choice->way), the_case->name);
    conf_run(&place, (enum way)choice->way, the_case);
}

/* ---- the directory above, as a fiber asks for it beside others ---- */

struct above_case {
    struct io *io;
    struct store *store; /* of a folder in the export */
    int first;           /* what came of the directory above */
    int second;          /* of that above it, which is not exported */
    ino_t ino;           /* of the directory above */
    bool done;
};

static void look_above(void *arg)
{
    struct above_case *c = arg;
    struct dir_tree tree = {0};
    struct store *above = NULL;
    struct store *none = NULL;
    struct dir *root = NULL;
    struct port *port = NULL;
    struct attr attr = {0};

    c->first = nfs3_open_above(c->store, c->io, 1, &above);
    c->second = nfs3_open_above(c->store, c->io, 2, &none);
    if (c->first == 0) {
        store_attach(above, DIR_DST, &tree);
        cr_assert_eq(dir_create_root(&tree, &root), 0);
        cr_assert_eq(store_port_create(above, c->io, &port), 0);
        c->first = store_run(port, &(struct store_op){.code = STORE_STAT, .dir = root, .stat = {.out = &attr}});
        c->ino = attr.ino;
    }
    store_port_destroy(port);
    dir_put(root);
    store_destroy(above);
    c->done = true;
}

Test(nfs3, above_in_a_fiber, .timeout = 60)
{
    const struct io_options options = {.no_ring = false};
    struct store_options store = {.side = DIR_DST, .owner = OWNER_AUTO, .run_id = "0123456789abcdef"};
    struct above_case c = {.first = -1};
    struct fibers *fibers = NULL;
    struct stat here;
    char path[128];

    snprintf(path, sizeof(path), "%s/below", getenv(ENV_BASE));
    cr_assert_eq(mkdir(path, 0755), 0);
    cr_assert_eq(stat(getenv(ENV_BASE), &here), 0);
    store.path = path;
    cr_assert_eq(open_nfs3(&store, &c.store), 0);
    cr_assert_eq(io_create(&options, &c.io), 0);
    cr_assert_eq(fibers_create(&fibers), 0);
    cr_assert_eq(fiber_start(fibers, look_above, &c), 0);
    while (!c.done) {
        io_turn(c.io, -1);
    }
    cr_expect_eq(c.first, 0, "%d", c.first);
    cr_expect_eq(c.ino, here.st_ino);
    cr_expect_eq(c.second, -ENOENT, "%d", c.second);
    fibers_destroy(fibers);
    io_destroy(c.io);
    store_destroy(c.store);
    rmdir(path);
}
