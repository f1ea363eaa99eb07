/*
 * test_staging: which way a file goes, the room in the temp dir, and the nameless files there.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copier/staging.h"
#include "support_io.h"
#include "workers/stores/posix_internal.h"
#include "workers/stores/posix_stage.h"

#define MIB (1024ULL * 1024)

/* ---- the choice ---- */

static const struct stage_case usual = {.mode = STAGE_AUTO,
                                        .dir = true,
                                        .network = true,
                                        .size = 64 * MIB,
                                        .need = 64 * MIB,
                                        .max = 256 * MIB,
                                        .room = 1024 * MIB};

#define CHOOSES(want, ...)                                                                                             \
    do {                                                                                                               \
        struct stage_case c = usual;                                                                                   \
        __VA_ARGS__;                                                                                                   \
        cr_assert_eq(stage_choose(&c), (want), "%s", #__VA_ARGS__);                                                    \
    } while (0)

Test(staging, auto_takes_what_costs_nothing_or_spares_a_network, .timeout = 10)
{
    CHOOSES(WAY_COPY, (void)0);
    CHOOSES(WAY_STREAM, c.network = false);
    CHOOSES(WAY_STREAM, c.together = true);
    CHOOSES(WAY_COPY, c.size = c.need = c.max);
    CHOOSES(WAY_STREAM, c.size = c.need = c.max + 1);
    CHOOSES(WAY_COPY, c.need = c.room = 5);
    CHOOSES(WAY_STREAM, c.room = c.need - 1);
    CHOOSES(WAY_STREAM, c.max = 0);
    CHOOSES(WAY_STREAM, c.dir = false);
    CHOOSES(WAY_MEMORY, c.small = true);
    CHOOSES(WAY_MEMORY, c.small = c.clone = true);
    CHOOSES(WAY_CLONE, c.clone = true);
    CHOOSES(WAY_CLONE, c.clone = true; c.network = false);
    CHOOSES(WAY_CLONE, c.clone = true; c.size = c.need = 10 * c.max; c.room = 0);
    CHOOSES(WAY_STREAM, c.clone = true; c.dir = false);
}

Test(staging, always_takes_all_that_there_is_room_for, .timeout = 10)
{
    CHOOSES(WAY_COPY, c.mode = STAGE_ALWAYS);
    CHOOSES(WAY_COPY, c.mode = STAGE_ALWAYS; c.network = false);
    CHOOSES(WAY_COPY, c.mode = STAGE_ALWAYS; c.together = true);
    CHOOSES(WAY_COPY, c.mode = STAGE_ALWAYS; c.small = true; c.size = c.need = 10);
    CHOOSES(WAY_COPY, c.mode = STAGE_ALWAYS; c.small = true; c.size = c.need = c.room = 0);
    CHOOSES(WAY_COPY, c.mode = STAGE_ALWAYS; c.max = 0);
    CHOOSES(WAY_CLONE, c.mode = STAGE_ALWAYS; c.clone = true; c.room = 0);
    CHOOSES(WAY_STREAM, c.mode = STAGE_ALWAYS; c.room = c.need - 1);
    CHOOSES(WAY_MEMORY, c.mode = STAGE_ALWAYS; c.small = true; c.need = 10; c.room = 9);
}

Test(staging, never_takes_none, .timeout = 10)
{
    CHOOSES(WAY_STREAM, c.mode = STAGE_NEVER);
    CHOOSES(WAY_STREAM, c.mode = STAGE_NEVER; c.clone = true);
    CHOOSES(WAY_MEMORY, c.mode = STAGE_NEVER; c.small = true);
}

Test(staging, holes_take_no_room, .timeout = 10)
{
    struct attr a = {.size = 1000000, .allocated = 4096};
    cr_assert_eq(stage_need(&a), 4096);
    a.allocated = 1003520;
    cr_assert_eq(stage_need(&a), 1000000);
}

/* ---- a temp dir ---- */

struct place {
    char path[256];          /* of the temp dir */
    struct staging *staging; /* owned */
};

static void place_open(struct place *p, uint64_t space, bool clones)
{
    struct tempdir t = {.parent = -1, .clones = clones};
    t.fd = scratch_make(p->path);
    t.path = p->path;
    cr_assert_eq(staging_create(&t, "0123456789abcdef", NULL, space, &p->staging), 0);
    cr_assert_eq(t.fd, -1, "the descriptor was not taken over");
}

static void place_close(struct place *p)
{
    staging_destroy(p->staging);
    scratch_remove(p->path);
}

Test(staging, a_share_of_what_is_free_where_no_space_is_given, .timeout = 10)
{
    struct place p;
    place_open(&p, UINT64_MAX, false);
    cr_assert_gt(staging_space(p.staging), 0);
    cr_assert_lt(staging_space(p.staging), UINT64_MAX / 2);
    cr_assert_eq(staging_room(p.staging), staging_space(p.staging));
    place_close(&p);
}

enum { THREADS = 4, ROUNDS = 20000, ROOM = 1000 };

struct grabber {
    struct staging *staging; /* not owned */
    pthread_t thread;
    unsigned seed;
    unsigned long got; /* times */
};

static void *grab(void *arg)
{
    struct grabber *g = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t bytes = (uint64_t)rand_r(&g->seed) % (ROOM + ROOM / 2);
        if (staging_take(g->staging, bytes)) {
            cr_assert_leq(staging_room(g->staging), ROOM - bytes);
            g->got++;
            staging_give(g->staging, bytes);
        }
    }
    return NULL;
}

Test(staging, room_is_never_given_out_twice, .timeout = 30)
{
    struct place p;
    struct grabber g[THREADS];
    place_open(&p, ROOM, false);
    cr_assert_not(staging_take(p.staging, ROOM + 1));
    cr_assert(staging_take(p.staging, ROOM));
    cr_assert_not(staging_take(p.staging, 1));
    cr_assert(staging_take(p.staging, 0));
    staging_give(p.staging, ROOM);
    for (unsigned i = 0; i < THREADS; i++) {
        g[i] = (struct grabber){.staging = p.staging, .seed = i + 1};
        cr_assert_eq(pthread_create(&g[i].thread, NULL, grab, &g[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(g[i].thread, NULL);
        cr_assert_gt(g[i].got, 0);
    }
    cr_assert_eq(staging_room(p.staging), ROOM);
    place_close(&p);
}

Test(staging, refused_reflinks_are_not_tried_for_ever, .timeout = 10)
{
    struct place p;
    place_open(&p, 0, true);
    for (unsigned i = 0; i < 3; i++) {
        staging_cloned(p.staging, 5, false);
    }
    cr_assert(staging_may_clone(p.staging, 5));
    staging_cloned(p.staging, 5, true);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(staging_may_clone(p.staging, 5));
        staging_cloned(p.staging, 5, false);
    }
    cr_assert_not(staging_may_clone(p.staging, 5));
    cr_assert(staging_may_clone(p.staging, 6), "another file system has another answer");
    for (dev_t dev = 100; dev < 200; dev++) {
        (void)staging_may_clone(p.staging, dev);
    }
    cr_assert_not(staging_may_clone(p.staging, 199), "there are too many to remember");
    place_close(&p);
    place_open(&p, 0, false);
    cr_assert_not(staging_may_clone(p.staging, 5), "a file system that has none");
    place_close(&p);
}

static unsigned entries(const char *path)
{
    unsigned n = 0;
    DIR *d = opendir(path);
    cr_assert_not_null(d);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    }
    closedir(d);
    return n;
}

Test(staging, what_a_crash_left_is_removed_and_nothing_else, .timeout = 10)
{
    struct place p;
    char name[TEMP_NAME_MAX];
    struct tempdir t = {.parent = -1};
    t.fd = scratch_make(p.path);
    t.path = p.path;
    cr_assert_eq(temp_name_make("fedcba9876543210", name), 0);
    cr_assert_eq(close(openat(t.fd, name, O_CREAT | O_WRONLY, 0600)), 0);
    cr_assert_eq(close(openat(t.fd, "notes", O_CREAT | O_WRONLY, 0600)), 0);
    cr_assert_eq(entries(p.path), 2);
    cr_assert_eq(staging_create(&t, "0123456789abcdef", NULL, 0, &p.staging), 0);
    cr_assert_eq(entries(p.path), 1);
    cr_assert_eq(access(p.path, F_OK), 0);
    place_close(&p);
}

/* ---- staged files ---- */

struct stage {
    struct place place;
    struct port *port; /* owned */
    struct lane lane;  /* owned */
    bool named;        /* without O_TMPFILE */
};

static void read_at(struct stage *s, struct store_file *f, uint64_t offset, void *buf, size_t len, size_t want)
{
    size_t got = 0;
    struct store_op op = {.code = STORE_READ,
                          .file = {.file = f, .buf = buf, .len = len, .offset = offset, .out_len = &got}};
    cr_assert_eq(store_run(s->port, &op), 0);
    cr_assert_eq(got, want);
}

static void write_and_read(void *arg)
{
    struct stage *s = arg;
    struct store_file *f = NULL;
    char buf[8192] = "";
    uint64_t data = 0;
    uint64_t end = 0;
    struct attr attr = {0};
    cr_assert_eq(posix_stage_make(s->port, &f), 0);
    cr_assert_eq(entries(s->place.path), 0, "it has a name");
    for (unsigned round = 0; round < 2; round++) { /* the second time it is used again */
        cr_assert_eq(posix_stage_write(s->port, f, "late", 4, MIB), 0);
        cr_assert_eq(posix_stage_write(s->port, f, "early", 5, 0), 0);
        cr_assert_eq(posix_stage_end(s->port, f, MIB), -EIO, "longer than it should be");
        cr_assert_eq(posix_stage_end(s->port, f, 3 * MIB), 0);
        read_at(s, f, 0, buf, 5, 5);
        cr_assert_eq(memcmp(buf, "early", 5), 0);
        read_at(s, f, MIB, buf, sizeof buf, sizeof buf);
        cr_assert_eq(memcmp(buf, "late\0\0", 6), 0);
        read_at(s, f, 3 * MIB - 10, buf, sizeof buf, 10);
        struct store_op look = {.code = STORE_FSTAT, .stat = {.out = &attr, .file = f}};
        cr_assert_eq(store_run(s->port, &look), 0);
        cr_assert_eq(attr.size, 3 * MIB);
        cr_assert_eq(attr.mode & 07777, 0600);
        cr_assert_eq(attr.nlink, 0);
        struct store_op extent = {.code = STORE_EXTENT,
                                  .file = {.file = f, .offset = 8192, .out_data = &data, .out_end = &end}};
        cr_assert_eq(store_run(s->port, &extent), 0);
        cr_assert_eq(data, MIB, "the hole was filled");
        cr_assert_eq(posix_stage_reset(s->port, f), 0);
        read_at(s, f, 0, buf, 10, 0);
    }
    cr_assert_eq(posix_stage_end(s->port, f, 0), 0, "an empty file");
    struct store_op op = {.code = STORE_CLOSE, .file = {.file = f}};
    cr_assert_eq(store_run(s->port, &op), 0);
}

static void copy_within_the_kernel(void *arg)
{
    struct stage *s = arg;
    struct store_file *from = NULL;
    struct store_file *to = NULL;
    char *data = malloc(3 * MIB);
    char *back = malloc(3 * MIB);
    size_t got = 0;
    for (size_t i = 0; i < 3 * MIB; i++) {
        data[i] = (char)(i % 251);
    }
    cr_assert_eq(posix_stage_make(s->port, &from), 0);
    cr_assert_eq(posix_stage_make(s->port, &to), 0);
    cr_assert_eq(posix_stage_write(s->port, from, data, 3 * MIB, 0), 0);
    for (uint64_t at = 2 * MIB; at < 3 * MIB; at += got) { /* the end first: it must not matter */
        cr_assert_eq(posix_stage_copy(s->port, to, from, (size_t)(4 * MIB - at), at, &got), 0);
        cr_assert(got > 0 && got <= 3 * MIB - at);
    }
    for (uint64_t at = 0; at < MIB; at += got) {
        cr_assert_eq(posix_stage_copy(s->port, to, from, (size_t)(MIB - at), at, &got), 0);
    }
    cr_assert_eq(posix_stage_copy(s->port, to, from, 10, 3 * MIB, &got), 0);
    cr_assert_eq(got, 0, "behind the end");
    cr_assert_eq(posix_stage_end(s->port, to, 3 * MIB), 0);
    read_at(s, to, 0, back, 3 * MIB, 3 * MIB);
    memset(data + MIB, 0, MIB);
    cr_assert_eq(memcmp(data, back, 3 * MIB), 0);
    struct store_op op = {.code = STORE_CLOSE, .file = {.file = from}};
    cr_assert_eq(store_run(s->port, &op), 0);
    op.file.file = to;
    cr_assert_eq(store_run(s->port, &op), 0);
    free(data);
    free(back);
}

static void in_a_lane(enum way way, bool named, void (*fn)(void *arg))
{
    struct stage s = {.named = named};
    place_open(&s.place, 0, false);
    lane_open(&s.lane, way, 0);
    struct posix_store *store = (struct posix_store *)staging_store(s.place.staging);
    atomic_store(&store->no_tmpfile, named);
    cr_assert_eq(store_port_create(&store->head, s.lane.io, &s.port), 0);
    lane_run(&s.lane, 1, fn, &s);
    cr_assert_eq(entries(s.place.path), 0);
    cr_assert_eq(atomic_load(&store->no_tmpfile), named, "no O_TMPFILE here: nothing is tested");
    store_port_destroy(s.port);
    lane_close(&s.lane);
    place_close(&s.place);
}

Test(staging, a_staged_file_is_written_read_and_used_again, .timeout = 20)
{
    for (enum way way = WAY_DIRECT; way < WAYS; way++) {
        in_a_lane(way, false, write_and_read);
        in_a_lane(way, true, write_and_read);
    }
}

Test(staging, a_staged_file_is_copied_by_the_kernel, .timeout = 20)
{
    for (enum way way = WAY_DIRECT; way < WAYS; way++) {
        in_a_lane(way, false, copy_within_the_kernel);
    }
}
