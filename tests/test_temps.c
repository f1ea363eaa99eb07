#include "cleanup/temps.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_tree.h"
#include "workers/io.h"
#include "workers/stores/layers.h"
#include "workers/stores/posix.h"

#define DEAD "0123456789abcdef"
#define LIVE "fedcba9876543210"

static bool is_dead(void *arg, const char *run_id)
{
    unsigned *asked = arg;
    *asked += 1;
    return strcmp(run_id, DEAD) == 0;
}

static bool there(const char *base, const char *name)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", base, name);
    return lstat(path, &st) == 0;
}

/* Purges base, through a layer that lets one operation fail where fault is not NULL. */
static int purge(const char *base, const struct fault_options *fault, unsigned *out_removed, unsigned *out_asked)
{
    struct store_options o = {.side = DIR_DST, .path = base, .run_id = LIVE, .max_handles = 16};
    struct io_options direct = {.no_ring = true};
    struct dir_tree tree = {0};
    struct store *store = NULL;
    struct port *port = NULL;
    struct dir *root = NULL;
    struct io *io = NULL;

    cr_assert_eq(posix_open(&o, &store), 0);
    if (fault != NULL) {
        cr_assert_eq(fault_wrap(store, fault, &store), 0);
    }
    store_attach(store, DIR_DST, &tree);
    cr_assert_eq(io_create(&direct, &io), 0);
    io_set_mode(io, IO_DIRECT);
    cr_assert_eq(store_port_create(store, io, &port), 0);
    cr_assert_eq(dir_create_root(&tree, &root), 0);
    int err = temps_purge(port, root, &(struct temps_rules){.is_dead = is_dead, .arg = out_asked}, out_removed);
    dir_put(root);
    store_port_destroy(port);
    io_destroy(io);
    store_destroy(store);
    return err;
}

static char *sample(void)
{
    char *base = tree_temp("temps");
    tree_file(base, "x", ".haul." DEAD ".0000000000000001");
    tree_symlink(base, "x", ".haul." DEAD ".0000000000000002");
    tree_file(base, "x", ".haul." DEAD ".0000000000000003/inside");
    tree_file(base, "x", ".haul." LIVE ".0000000000000004");
    tree_file(base, "x", ".haul." DEAD ".short");
    tree_file(base, "x", "haul." DEAD ".0000000000000005");
    tree_file(base, "x", ".haul/lease");
    tree_file(base, "x", "file");
    return base;
}

Test(temps, purges_what_the_dead_left, .timeout = 30)
{
    char *base = sample();
    unsigned removed = 0;
    unsigned asked = 0;
    cr_expect_eq(purge(base, NULL, &removed, &asked), 0);
    cr_expect_eq(removed, 2);
    cr_expect_eq(asked, 3);
    cr_expect_not(there(base, ".haul." DEAD ".0000000000000001"));
    cr_expect_not(there(base, ".haul." DEAD ".0000000000000002"));
    cr_expect(there(base, ".haul." DEAD ".0000000000000003/inside"), "never a directory");
    cr_expect(there(base, ".haul." LIVE ".0000000000000004"));
    cr_expect(there(base, ".haul." DEAD ".short"));
    cr_expect(there(base, "haul." DEAD ".0000000000000005"));
    cr_expect(there(base, ".haul/lease"));
    cr_expect(there(base, "file"));
    cr_expect_eq(purge(base, NULL, &removed, &asked), 0);
    cr_expect_eq(removed, 2, "nothing is left to purge");
    tree_remove(base);
    free(base);
}

/* Each operation fails once: told, the rest is still done, the listing is closed. */
Test(temps, every_operation_fails_once, .timeout = 60)
{
    for (unsigned nth = 1;; nth++) {
        char *base = sample();
        atomic_ulong seen = 0;
        struct fault_options fault = {.nth = nth, .err = EIO, .kind = FAULT_BEFORE, .seen = &seen};
        unsigned removed = 0;
        unsigned asked = 0;
        int err = purge(base, &fault, &removed, &asked);
        bool fired = atomic_load(&seen) >= nth;
        cr_expect_eq(err, fired ? -EIO : 0, "operation %u", nth);
        cr_expect(there(base, "file"));
        tree_remove(base);
        free(base);
        if (!fired) {
            cr_expect_gt(nth, 6);
            break;
        }
    }
}
