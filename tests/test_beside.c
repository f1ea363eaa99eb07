#include "cleanup/beside.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support_tree.h"
#include "workers/io.h"
#include "workers/stores/layers.h"
#include "workers/stores/posix.h"

/* A directory as a store, and a port of it. */
struct place {
    struct dir_tree tree;
    struct store *store;
    struct io *io;
    struct port *port;
    struct dir *root;
};

static void open_place(struct place *p, const char *base, const struct fault_options *fault)
{
    const struct store_options o = {.side = DIR_SRC, .path = base, .run_id = "0123456789abcdef", .max_handles = 16};
    cr_assert_eq(posix_open(&o, &p->store), 0);
    if (fault != NULL) {
        cr_assert_eq(fault_wrap(p->store, fault, &p->store), 0);
    }
    store_attach(p->store, DIR_SRC, &p->tree);
    cr_assert_eq(io_create(&(struct io_options){.no_ring = true}, &p->io), 0);
    io_set_mode(p->io, IO_DIRECT);
    cr_assert_eq(store_port_create(p->store, p->io, &p->port), 0);
    cr_assert_eq(dir_create_root(&p->tree, &p->root), 0);
}

static void close_place(struct place *p)
{
    dir_put(p->root);
    store_port_destroy(p->port);
    io_destroy(p->io);
    store_destroy(p->store);
}

Test(beside, holds_what_was_listed, .timeout = 30)
{
    char *base = tree_temp("beside");
    struct place p = {0};
    struct beside_room room = {0};
    struct beside *b = NULL;
    char name[256];
    enum { FILES = 3000 };
    for (unsigned i = 0; i < FILES; i++) {
        tree_file(base, "x", "%s%u",
                  i % 10 == 0 ? "a-name-that-is-longer-than-most-others-and-so-takes-more-room-" : "f", i);
    }
    memset(name, 'n', 255);
    name[255] = '\0';
    tree_file(base, "longest", "%s", name);
    open_place(&p, base, NULL);
    cr_assert_eq(beside_read(p.port, p.root, &room, &b), 0);
    cr_expect(beside_is_whole(b));
    cr_expect_eq(beside_count(b), FILES + 1);
    cr_expect_geq(atomic_load(&room.entries), FILES + 1);
    for (size_t i = 0; i < beside_count(b); i++) {
        struct beside_entry *e = beside_at(b, i);
        cr_expect_eq(strlen(e->name), e->name_len);
        cr_expect_eq(beside_find(b, e->name, e->name_len), e);
        cr_expect(e->attr_error == 0 && S_ISREG(e->attr.mode) && !e->met);
        e->met = true;
    }
    cr_expect_not_null(beside_find(b, name, 255));
    cr_expect_null(beside_find(b, name, 254));
    cr_expect_null(beside_find(b, "f1x", 3));
    cr_expect_not_null(beside_find(b, "f1x", 2), "only name_len bytes count");

    struct attr attr;
    struct store_op op;
    cr_expect_eq(beside_look(b, p.port, p.root, name, 255, &attr, &op), 0);
    cr_expect_eq(attr.size, 7);
    cr_expect_eq(beside_look(b, p.port, p.root, "nothing", 7, &attr, &op), -ENOENT);
    cr_expect_eq(beside_look(NULL, p.port, p.root, "f1", 2, &attr, &op), 0, "asked for by itself");
    cr_expect_eq(beside_look(NULL, p.port, p.root, "nothing", 7, &attr, &op), -ENOENT);
    beside_destroy(b);
    cr_expect_eq(atomic_load(&room.entries), 0);
    close_place(&p);
    tree_remove(base);
    free(base);
}

/* What finds no room is asked for by itself. */
Test(beside, a_bound_is_kept, .timeout = 30)
{
    char *base = tree_temp("beside");
    struct place p = {0};
    struct beside_room room = {0};
    struct beside *b = NULL;
    struct attr attr;
    struct store_op op;
    for (unsigned i = 0; i < 200; i++) {
        tree_file(base, "x", "f%u", i);
    }
    open_place(&p, base, NULL);
    atomic_store(&room.entries, BESIDE_MAX - 100);
    cr_assert_eq(beside_read(p.port, p.root, &room, &b), 0);
    cr_expect_not(beside_is_whole(b));
    cr_expect_leq(beside_count(b), 100);
    for (unsigned i = 0; i < 200; i++) {
        char name[16];
        int len = snprintf(name, sizeof name, "f%u", i);
        cr_expect_eq(beside_look(b, p.port, p.root, name, (size_t)len, &attr, &op), 0);
    }
    cr_expect_eq(beside_look(b, p.port, p.root, "nothing", 7, &attr, &op), -ENOENT);
    beside_destroy(b);
    cr_expect_eq(atomic_load(&room.entries), BESIDE_MAX - 100);
    close_place(&p);
    tree_remove(base);
    free(base);
}

/* A listing that breaks off is no list. */
Test(beside, each_operation_fails_once, .timeout = 30)
{
    char *base = tree_temp("beside");
    tree_file(base, "x", "a");
    tree_file(base, "x", "b");
    for (unsigned nth = 1;; nth++) {
        struct place p = {0};
        struct beside_room room = {0};
        struct beside *b = NULL;
        atomic_ulong seen = 0;
        struct fault_options fault = {.nth = nth, .err = EIO, .kind = FAULT_BEFORE, .seen = &seen};
        open_place(&p, base, &fault);
        int r = beside_read(p.port, p.root, &room, &b);
        bool fired = atomic_load(&seen) >= nth;
        /* open, two entries, the end; closing may fail, since nothing was written */
        cr_expect_eq(r, nth <= 4 ? -EIO : 0, "operation %u", nth);
        cr_expect_eq(r == 0, b != NULL);
        beside_destroy(b);
        cr_expect_eq(atomic_load(&room.entries), 0);
        close_place(&p);
        if (!fired) {
            cr_expect_geq(nth, 5);
            break;
        }
    }
    tree_remove(base);
    free(base);
}
