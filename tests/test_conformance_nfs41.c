/*
 * test_conformance_nfs41: every case of the conformance suite that a server can have, over nfs41 on a Ganesha of its
 * own, in each way in which io works; and what only a server has: what it saw, and what is left there in the end.
 *
 * The server is started once, before the first test, in the process that runs all of them; what they need to know of it
 * is in the environment.
 */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support_conformance.h"
#include "support_ganesha.h"
#include "support_tree.h"
#include "workers/stores/nfs41/nfs41.h"

#define EXPORT   "/export"
#define ENV_PORT "HAUL_TEST_NFS41_PORT"
#define ENV_BASE "HAUL_TEST_NFS41_BASE" /* the folder that is exported */

static struct ganesha *server;
static char folder[64];

ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    const struct ganesha_export export = {.path = folder, .pseudo = EXPORT};
    const struct ganesha_options options = {.exports = &export, .export_count = 1};
    char port[16];

    (void)tests;
    snprintf(folder, sizeof(folder), "/dev/shm/haul-nfs41-XXXXXX");
    if (!mkdtemp(folder)) {
        abort();
    }
    chmod(folder, 0777);
    server = ganesha_start(&options);
    snprintf(port, sizeof(port), "%u", ganesha_port(server));
    setenv(ENV_PORT, port, 1);
    setenv(ENV_BASE, folder, 1);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    (void)stats;
    ganesha_destroy(server);
    tree_remove(folder);
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
    snprintf(path, sizeof(path), EXPORT "%s", options->path + strlen(base));
    err = nfs41_open(options, &nfs, out_store, &problem);
    cr_assert_eq(err, 0, "%s: %s: %s", path, strerror(-err), problem ? problem : "");
    return err;
}

static struct conf_place place_of(void)
{
    return (struct conf_place){.name = "nfs41",
                               .base = getenv(ENV_BASE),
                               .lacks = CONF_XATTRS | CONF_ACLS | CONF_LINK_TIMES | CONF_LATE | CONF_RESUME,
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
    size_t count = WAYS * cases;
    struct choice *all = cr_malloc(count * sizeof(*all));

    for (size_t i = 0; i < count; i++) {
        all[i] = (struct choice){.way = (unsigned)(i / cases), .the_case = (unsigned)(i % cases)};
    }
    return cr_make_param_array(struct choice, all, count);
}

ParameterizedTestParameters(conformance, nfs41)
{
    return choices();
}

ParameterizedTest(struct choice *choice, conformance, nfs41, .timeout = 60)
{
    const struct conf_case *the_case = conf_case_at(choice->the_case);
    struct conf_place place = place_of();

    cr_log_info("%s, %s\n", way_name((enum way)choice->way), the_case->name);
    conf_run(&place, (enum way)choice->way, the_case);
}
