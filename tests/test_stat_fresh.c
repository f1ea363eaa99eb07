/*
 * test_stat_fresh: on a mount whose kernel remembers attributes for an hour (tools/faultfs), a fresh look sees what was
 * changed behind it, and one that need not be fresh does not.
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

Test(stat_fresh, sees_past_the_cache_of_the_mount, .timeout = 60)
{
    struct mounted m;
    struct dir_tree tree = {0};
    struct dir *root = NULL;
    struct store *store = NULL;
    struct port *port = NULL;
    struct io *io = NULL;
    const struct io_options direct = {.no_ring = true};

    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
        cr_skip_test("needs root and /dev/fuse");
    }
    mount_it(&m);
    const struct store_options o = {.side = DIR_DST, .path = m.mount, .run_id = "0123456789abcdef", .max_handles = 16};
    cr_assert_eq(posix_open(&o, &store), 0);
    store_attach(store, DIR_DST, &tree);
    cr_assert_eq(dir_create_root(&tree, &root), 0);
    cr_assert_eq(io_create(&direct, &io), 0);
    io_set_mode(io, IO_DIRECT);
    cr_assert_eq(store_port_create(store, io, &port), 0);
    cr_expect_eq(size_of(port, root, false), 10);
    cr_assert_eq(truncate(m.backing, 3), 0);
    cr_expect_eq(size_of(port, root, false), 10, "remembered: else this test shows nothing");
    cr_expect_eq(size_of(port, root, true), 3);
    store_port_destroy(port);
    io_destroy(io);
    dir_put(root);
    store_destroy(store);
    unmount_it(&m);
}
