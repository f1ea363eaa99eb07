/*
 * test_conformance: every case of the conformance suite, over every kind of store, in every way in which io works.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

#include "support_conformance.h"
#include "workers/stores/posix.h"
#include "workers/stores/watch.h"

/* The ways of a network mount (no O_EXCL, directories opened through io) on a file system that is none. */
static int open_as_mount(const struct store_options *options, struct store **out_store)
{
    int err = posix_open(options, out_store);

    if (!err) {
        (*out_store)->caps.network = true;
    }
    return err;
}

/* A layer that must not change anything. */
static int open_watched(const struct store_options *options, struct store **out_store)
{
    struct store *bare = NULL;
    int err = posix_open(options, &bare);

    return err ? err : watch_wrap(bare, out_store);
}

static const struct conf_place places[] = {
    {.name = "tmpfs", .base = "/dev/shm", .lacks = 0, .open = posix_open},
    {.name = "disk", .base = "/var/tmp", .lacks = 0, .open = posix_open},
    {.name = "as a mount", .base = "/dev/shm", .lacks = 0, .open = open_as_mount},
    {.name = "watched", .base = "/dev/shm", .lacks = 0, .open = open_watched},
};
#define PLACES (sizeof(places) / sizeof(places[0]))

/* Indexes only: pointers would not survive the way into the test's own process. */
struct choice {
    unsigned place;
    unsigned way;
    unsigned the_case;
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* What others show already: a layer that changes nothing is the same in every way, and where the files lie is nothing
 * to a sanitizer. */
static bool is_left_out(unsigned place, unsigned way)
{
    return (places[place].open == open_watched && way != WAY_RING) ||
           (SANITIZED && strcmp(places[place].name, "disk") == 0);
}

static struct criterion_test_params choices(void)
{
    size_t cases = conf_count();
    size_t most = PLACES * WAYS * cases;
    size_t count = 0;
    struct choice *all = cr_malloc(most * sizeof(*all));

    for (size_t i = 0; i < most; i++) {
        struct choice c = {.place = (unsigned)(i / cases / WAYS),
                           .way = (unsigned)(i / cases % WAYS),
                           .the_case = (unsigned)(i % cases)};
        if (!is_left_out(c.place, c.way)) {
            all[count++] = c;
        }
    }
    return cr_make_param_array(struct choice, all, count);
}

ParameterizedTestParameters(conformance, stores)
{
    return choices();
}

ParameterizedTest(struct choice *choice, conformance, stores, .timeout = 60)
{
    const struct conf_case *the_case = conf_case_at(choice->the_case);
    const struct conf_place *place = &places[choice->place];

    cr_log_info("%s, %s, %s\n", place->name, way_name((enum way)choice->way), the_case->name);
    conf_run(place, (enum way)choice->way, the_case);
}

Test(conformance, every_case_has_a_name_of_its_own, .timeout = 10)
{
    cr_assert(conf_count() > 50);
    for (size_t i = 0; i < conf_count(); i++) {
        for (size_t k = 0; k < i; k++) {
            cr_assert_str_neq(conf_case_at(i)->name, conf_case_at(k)->name);
        }
    }
    cr_assert_null(conf_case_at(conf_count()));
}
