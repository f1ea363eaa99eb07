/*
 * test_stat_fresh: on a mount whose kernel remembers attributes for an hour and contents for ever (tools/faultfs), a
 * fresh look sees what was changed behind it, and one that need not be fresh does not.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support_io.h"
#include "support_tree.h"
#include "workers/stores/posix.h"

#define FUSE_MAGIC 0x65735546

struct mounted {
    char *base;       /* holds back/, mnt/, control, log; owned */
    char backing[64]; /* file behind the mount */
    char mount[64];
    pid_t pid; /* of faultfs */
};

/* tools/faultfs beside the program under test. */
static void tool_path(char out[4096])
{
    const char *haul = getenv("HAUL");
    cr_assert_not_null(haul, "HAUL is not set");
    const char *slash = strrchr(haul, '/');
    snprintf(out, 4096, "%.*s/tools/faultfs", slash != NULL ? (int)(slash - haul) : 1, slash != NULL ? haul : ".");
}

static void mount_it(struct mounted *m)
{
    char tool[4096];
    char control[64];
    char log[64];
    char back[64];
    struct statfs sf = {0};

    tool_path(tool);
    m->base = tree_temp("fresh");
    tree_file(m->base, "0123456789", "back/file");
    tree_dir(m->base, "mnt");
    snprintf(back, sizeof(back), "%s/back", m->base);
    snprintf(m->backing, sizeof(m->backing), "%s/back/file", m->base);
    snprintf(m->mount, sizeof(m->mount), "%s/mnt", m->base);
    snprintf(control, sizeof(control), "%s/control", m->base);
    snprintf(log, sizeof(log), "%s/log", m->base);
    m->pid = fork();
    if (m->pid == 0) {
        execl(tool, "faultfs", "--cache", "3600", back, m->mount, control, log, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 1000 && (statfs(m->mount, &sf) != 0 || sf.f_type != FUSE_MAGIC); i++) {
        cr_assert_eq(waitpid(m->pid, NULL, WNOHANG), 0, "faultfs has left");
        usleep(10000);
    }
    cr_assert_eq(sf.f_type, FUSE_MAGIC);
}

static void unmount_it(struct mounted *m)
{
    int status = 0;
    kill(m->pid, SIGTERM);
    cr_expect_eq(waitpid(m->pid, &status, 0), m->pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    tree_remove(m->base);
    free(m->base);
}

static uint64_t size_of(struct port *port, struct dir *root, bool fresh)
{
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = root, .name = "file", .stat = {.out = &attr, .fresh = fresh}};
    cr_assert_eq(store_run(port, &op), 0);
    return attr.size;
}

/* A port of the mount. */
struct rig {
    struct mounted m;
    struct dir_tree tree;
    struct dir *root;
    struct store *store;
    struct port *port;
    struct io *io;
};

static void rig_make(struct rig *r)
{
    const struct io_options direct = {.no_ring = true};

    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
        cr_skip_test("needs root and /dev/fuse");
    }
    *r = (struct rig){0};
    mount_it(&r->m);
    const struct store_options o = {
        .side = DIR_DST, .path = r->m.mount, .run_id = "0123456789abcdef", .max_handles = 16};
    cr_assert_eq(posix_open(&o, &r->store), 0);
    store_attach(r->store, DIR_DST, &r->tree);
    cr_assert_eq(dir_create_root(&r->tree, &r->root), 0);
    cr_assert_eq(io_create(&direct, &r->io), 0);
    io_set_mode(r->io, IO_DIRECT);
    cr_assert_eq(store_port_create(r->store, r->io, &r->port), 0);
}

static void rig_end(struct rig *r)
{
    store_port_destroy(r->port);
    io_destroy(r->io);
    dir_put(r->root);
    store_destroy(r->store);
    unmount_it(&r->m);
}

Test(stat_fresh, sees_past_the_cache_of_the_mount, .timeout = 60)
{
    struct rig r;
    rig_make(&r);
    cr_expect_eq(size_of(r.port, r.root, false), 10);
    cr_assert_eq(truncate(r.m.backing, 3), 0);
    cr_expect_eq(size_of(r.port, r.root, false), 10, "remembered: else this test shows nothing");
    cr_expect_eq(size_of(r.port, r.root, true), 3);
    rig_end(&r);
}

/* The third byte, by both ways of reading. */
static void third_byte(struct rig *r, bool fresh, char want)
{
    char *buf = aligned_alloc(4096, 4096);
    struct attr before;
    struct attr after;
    size_t len = 0;
    struct store_file *file = NULL;
    struct store_op op = {
        .code = STORE_READ_SMALL,
        .dir = r->root,
        .name = "file",
        .read_small = {.buf = buf, .size = 4096, .out_len = &len, .before = &before, .after = &after, .fresh = fresh}};
    cr_assert_eq(store_run(r->port, &op), 0);
    cr_expect_eq(len, 10);
    cr_expect_eq(buf[2], want, "small, fresh %d: %c", fresh, buf[2]);
    buf[2] = 0;
    op = (struct store_op){
        .code = STORE_OPEN, .dir = r->root, .name = "file", .open = {.out = &file, .attr = &before, .fresh = fresh}};
    cr_assert_eq(store_run(r->port, &op), 0);
    op = (struct store_op){.code = STORE_READ, .file = {.file = file, .buf = buf, .len = 4096, .out_len = &len}};
    cr_assert_eq(store_run(r->port, &op), 0);
    cr_expect_eq(len, 10);
    cr_expect_eq(buf[2], want, "open, fresh %d: %c", fresh, buf[2]);
    op = (struct store_op){.code = STORE_CLOSE, .file = {.file = file}};
    cr_assert_eq(store_run(r->port, &op), 0);
    free(buf);
}

Test(stat_fresh, reads_past_the_cache_of_the_mount, .timeout = 60)
{
    struct rig r;
    rig_make(&r);
    third_byte(&r, false, '2');
    int fd = open(r.m.backing, O_WRONLY);
    cr_assert(fd >= 0 && pwrite(fd, "X", 1, 2) == 1);
    close(fd);
    third_byte(&r, false, '2'); /* remembered: else this test shows nothing */
    third_byte(&r, true, 'X');
    rig_end(&r);
}
