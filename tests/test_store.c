/*
 * test_store: the contract's own code, and what is particular to the posix store: the check before the rename (P2), a
 * lost answer to the rename, handles that many threads share.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "support_conformance.h"
#include "workers/stores/layers.h"
#include "workers/stores/posix.h"

/* ---- the table ---- */

Test(store, every_code_has_a_name_of_its_own, .timeout = 10)
{
    for (unsigned i = 0; i < STORE_CODES; i++) {
        const char *name = store_code_name((enum store_code)i);

        cr_assert(name && name[0], "code %u", i);
        for (unsigned k = 0; k < i; k++) {
            cr_assert_str_neq(name, store_code_name((enum store_code)k));
        }
    }
    cr_assert_str_eq(store_code_name(STORE_PUBLISH), "publish");
    cr_assert_str_eq(store_code_name(STORE_CODES), "?");
}

Test(store, what_ends_a_handle_or_hides_a_loss_is_never_repeated, .timeout = 10)
{
    static const enum store_code never[] = {STORE_CLOSE, STORE_LIST_CLOSE, STORE_FLUSH, STORE_COMMIT,
                                            STORE_ABORT, STORE_PARK,       STORE_SYNC};
    static const enum store_code look[] = {STORE_MKDIR, STORE_LINK, STORE_REMOVE};
    enum store_repeat expected[STORE_CODES] = {REPEAT_SAFE};

    for (unsigned i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
        expected[never[i]] = REPEAT_NOT;
    }
    for (unsigned i = 0; i < sizeof(look) / sizeof(look[0]); i++) {
        expected[look[i]] = REPEAT_LOOK;
    }
    for (unsigned i = 0; i < STORE_CODES; i++) {
        cr_assert_eq(store_code_repeat((enum store_code)i), expected[i], "%s", store_code_name((enum store_code)i));
    }
    cr_assert_eq(store_code_repeat(STORE_CODES), REPEAT_NOT);
}

Test(store, unchanged_looks_at_all_that_tells_of_contents, .timeout = 10)
{
    const struct attr a = {.mode = S_IFREG | 0644, .size = 1, .dev = 2, .ino = 3, .mtime = {4, 5}, .ctime = {6, 7}};
    struct attr b = a;

    b.atime.tv_sec = 99;
    cr_assert(attr_unchanged(&a, &b));
#define CHANGES(field, value)                                                                                          \
    b = a;                                                                                                             \
    b.field = (value);                                                                                                 \
    cr_assert_not(attr_unchanged(&a, &b), #field)
    CHANGES(mode, S_IFLNK | 0644);
    CHANGES(size, 2);
    CHANGES(dev, 1);
    CHANGES(ino, 1);
    CHANGES(mtime.tv_sec, 1);
    CHANGES(mtime.tv_nsec, 1);
    CHANGES(ctime.tv_sec, 1);
    CHANGES(ctime.tv_nsec, 1);
#undef CHANGES
}

/* ---- ports and layers ---- */

/* A store that counts what becomes of it; its port_create fails where it is told to. */
struct counting {
    struct store head;
    int *destroyed;
    int *ports;
    int port_error;
};

static int counting_port_create(struct store *s, struct io *io, struct port **out)
{
    struct counting *c = (struct counting *)s;

    (void)io;
    if (c->port_error) {
        return c->port_error;
    }
    ++*c->ports;
    *out = calloc(1, sizeof(**out));
    return *out ? 0 : -ENOMEM;
}

static void counting_port_destroy(struct port *p)
{
    --*((struct counting *)p->store)->ports;
    free(p);
}

static void counting_destroy(struct store *s)
{
    ++*((struct counting *)s)->destroyed;
    free(s);
}

static int counting_run(struct port *p, struct store_op *op)
{
    (void)op;
    return p->next ? store_run_next(p, op) : -ENOTSUP;
}

static const struct store_ops counting_ops = {
    .destroy = counting_destroy,
    .port_create = counting_port_create,
    .port_destroy = counting_port_destroy,
    .run = counting_run,
};

static struct store *counting_make(struct store *next, int port_error, int *destroyed, int *ports)
{
    struct counting *c = calloc(1, sizeof(*c));

    cr_assert_not_null(c);
    c->head.ops = &counting_ops;
    c->head.next = next;
    c->destroyed = destroyed;
    c->ports = ports;
    c->port_error = port_error;
    return &c->head;
}

Test(store, chain_of_layers_comes_and_goes_whole, .timeout = 10)
{
    int destroyed = 0;
    int ports = 0;
    struct store *s = NULL;
    struct port *p;
    struct store_op op = {.code = STORE_SYNC, .step = "x", .attempts = 7, .repeated = true};

    for (unsigned i = 0; i < 3; i++) {
        s = counting_make(s, 0, &destroyed, &ports);
    }
    cr_assert_eq(store_port_create(s, NULL, &p), 0);
    cr_assert_eq(ports, 3);
    cr_assert_eq(store_run(p, &op), -ENOTSUP);
    cr_assert_null(op.step);
    cr_assert_eq(op.attempts, 0);
    cr_assert_not(op.repeated);
    store_port_destroy(p);
    cr_assert_eq(ports, 0);
    store_destroy(s);
    cr_assert_eq(destroyed, 3);
    store_destroy(NULL);
    store_port_destroy(NULL);
}

Test(store, ports_are_taken_back_where_one_fails, .timeout = 10)
{
    int destroyed = 0;
    int ports = 0;
    struct port *p = NULL;
    struct store *s = counting_make(NULL, -EMFILE, &destroyed, &ports);

    s = counting_make(s, 0, &destroyed, &ports);
    s = counting_make(s, 0, &destroyed, &ports);
    cr_assert_eq(store_port_create(s, NULL, &p), -EMFILE);
    cr_assert_null(p);
    cr_assert_eq(ports, 0);
    store_destroy(s);
}

/* ---- the posix store ---- */

static int open_at(const char *path, struct store **out)
{
    const struct store_options options = {.side = DIR_DST, .path = path, .run_id = "0123456789abcdef"};

    return posix_open(&options, out);
}

Test(posix, opens_directories_only, .timeout = 10)
{
    struct store *s = NULL;
    struct stat st;
    int root;

    cr_assert_eq(open_at("/nowhere/at/all", &s), -ENOENT);
    cr_assert_eq(open_at("/dev/null", &s), -ENOTDIR);
    cr_assert_null(s);
    cr_assert_eq(open_at("/dev/shm", &s), 0);
    root = posix_root_fd(s);
    cr_assert(fstat(root, &st) == 0 && S_ISDIR(st.st_mode));
    store_destroy(s);
}

Test(posix, says_what_it_can, .timeout = 10)
{
    struct store *s = NULL;

    cr_assert_eq(open_at("/dev/shm", &s), 0);
    cr_assert_str_eq(s->caps.kind, "posix");
    cr_assert_str_eq(s->caps.fs, "tmpfs");
    cr_assert_not(s->caps.network);
    cr_assert_not(s->caps.durable);
    cr_assert_eq(s->caps.time_granularity_ns, 1);
    cr_assert(s->caps.clock_granularity_ns >= 10000000, "the kernel's clock may tick at 100 Hz");
    cr_assert_eq(s->caps.in_flight, 0);
    cr_assert(s->caps.small_max >= 65536 && s->caps.part >= 65536);
    store_destroy(s);
    cr_assert_eq(open_at("/proc", &s), 0);
    cr_assert_str_eq(s->caps.fs, "unknown");
    cr_assert_eq(s->caps.clock_granularity_ns, 2000000000);
    store_destroy(s);
}

static const struct conf_place shm = {.name = "tmpfs", .base = "/dev/shm", .open = posix_open};

/* ---- system calls that lie ---- */

/* What the handler of trapped calls pretends. One test a process, so a variable of the file is enough. */
static enum {
    LIE_WRITTEN, /* "all of it was written", and nothing was */
    LIE_DONE,    /* "done", and nothing was */
    LIE_LOST,    /* the rename is carried out, and its answer is EIO */
} lie;

#if defined(__x86_64__)
#define CALL_RESULT(c) ((c)->uc_mcontext.gregs[REG_RAX])
#define CALL_ARG(c, n)                                                                                                 \
    ((c)->uc_mcontext.gregs[(n) == 0 ? REG_RDI : (n) == 1 ? REG_RSI : (n) == 2 ? REG_RDX : (n) == 3 ? REG_R10 : REG_R8])
#elif defined(__aarch64__)
#define CALL_RESULT(c) ((c)->uc_mcontext.regs[0])
#define CALL_ARG(c, n) ((c)->uc_mcontext.regs[n])
#endif

#ifdef CALL_RESULT
static void trapped(int sig, siginfo_t *info, void *context)
{
    ucontext_t *c = context;

    (void)sig;
    (void)info;
    switch (lie) {
    case LIE_WRITTEN:
        CALL_RESULT(c) = CALL_ARG(c, 2);
        break;
    case LIE_LOST: {
        /* By the name of another call, which is not trapped. */
        long err = syscall(SYS_renameat2, (int)CALL_ARG(c, 0), (const char *)CALL_ARG(c, 1), (int)CALL_ARG(c, 2),
                           (const char *)CALL_ARG(c, 3), 0U);

        CALL_RESULT(c) = err ? -ENOSYS : -EIO;
        break;
    }
    case LIE_DONE:
    default:
        CALL_RESULT(c) = 0;
        break;
    }
}

/* From now on each call number nr of this thread is answered by trapped(). */
static void trap(unsigned nr)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO};

    cr_assert_eq(sigaction(SIGSYS, &action, NULL), 0);
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* A write that claims success and wrote nothing: the file must not reach its name (P2). */
static void lying_write(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = c->root,
                          .name = "name",
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = "data"}};

    conf_put_file(c, "name", "old contents", 12, 0600);
    lie = LIE_WRITTEN;
    trap(SYS_pwrite64);
    cr_assert_eq(store_run(c->port, &op), -EIO);
    cr_assert_str_eq(op.step, "check");
    conf_expect_bytes(c, "name", "old contents", 12);
    cr_assert_eq(conf_temps(c), 0);
}

/* The same for a large file, whose end is a hole that was never made. */
static void lying_truncate(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 1000000);
    struct store_upload *u = NULL;

    lie = LIE_DONE;
    trap(SYS_ftruncate);
    cr_assert_eq(conf_begin(c, c->root, "name", &attr, &u), 0);
    cr_assert_eq(conf_commit(c, u, &attr, NULL), -EIO);
    cr_assert_not(conf_there(c, "name"));
    cr_assert_eq(conf_temps(c), 0);
}

/* A mode that is not set: a file that stays private although it must not be is not published either. */
static void lying_chmod(struct conf *c)
{
    struct attr attr = conf_attr(c, 04755, 4);
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = c->root,
                          .name = "name",
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = "data"}};

    lie = LIE_DONE;
    trap(SYS_fchmod);
    cr_assert_eq(store_run(c->port, &op), -EIO);
    cr_assert_str_eq(op.step, "check");
    cr_assert_not(conf_there(c, "name"));
    cr_assert_eq(conf_temps(c), 0);
}

/* An owner that is not set. */
static void lying_chown(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = c->root,
                          .name = "name",
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = "data"}};

    attr.uid = 12345;
    lie = LIE_DONE;
    trap(SYS_fchownat);
    cr_assert_eq(store_run(c->port, &op), -EIO);
    cr_assert_str_eq(op.step, "check");
    cr_assert_not(conf_there(c, "name"));
    cr_assert_eq(conf_temps(c), 0);
}

/* A rename whose answer is lost was carried out: that is seen, and is no failure. */
static void lost_rename(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    struct attr out;

    conf_put_file(c, "name", "old contents", 12, 0600);
    lie = LIE_LOST;
    trap(SYS_renameat);
    cr_assert_eq(conf_publish(c, c->root, "name", &attr, STORE_KEEP_ALL, "data", &out), 0);
    conf_expect_bytes(c, "name", "data", 4);
    cr_assert_eq(out.ino, conf_see(c, "name").st_ino);
    cr_assert_eq(conf_temps(c), 0);
}

static void under_lies(void (*run)(struct conf *c), unsigned needs)
{
    const struct conf_case the_case = {.name = "lies", .run = run, .needs = needs};

    conf_run(&shm, WAY_DIRECT, &the_case);
}

Test(posix, unwritten_file_is_not_published, .timeout = 20)
{
    under_lies(lying_write, 0);
}

Test(posix, unfinished_large_file_is_not_published, .timeout = 20)
{
    under_lies(lying_truncate, 0);
}

Test(posix, file_without_its_mode_is_not_published, .timeout = 20)
{
    under_lies(lying_chmod, 0);
}

Test(posix, file_without_its_owner_is_not_published, .timeout = 20)
{
    under_lies(lying_chown, CONF_ROOT);
}

Test(posix, rename_with_a_lost_answer_is_seen, .timeout = 20)
{
    under_lies(lost_rename, 0);
}
#endif

/* A server that refuses owners: said once, remembered, and files still arrive, setuid ones without their bit. */
static void no_owners(struct conf *c)
{
    struct attr attr = conf_attr(c, 04755, 4);
    struct stat st;
    char name[32];

    attr.uid = 12345;
    attr.gid = 12345;
    for (unsigned i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "name%u", i);
        cr_assert_eq(conf_publish(c, c->root, name, &attr, STORE_KEEP_ALL, "data", NULL), 0);
        st = conf_see(c, name);
        cr_assert_eq(st.st_uid, c->uid);
        cr_assert_eq(st.st_mode & 07777, 0755);
    }
    cr_assert_eq(conf_noticed(c, "refuses to set owners"), 5);
    cr_assert_eq(conf_noticed(c, "setuid"), 5);
}

/* Each chown of this process is EPERM from now on. */
static void refuse_chown(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fchownat, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void no_owners_auto(struct conf *c)
{
    refuse_chown();
    no_owners(c);
}

static void no_owners_required(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);

    refuse_chown();
    cr_assert_eq(conf_publish(c, c->root, "ours", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    attr.uid = 12345;
    cr_assert_eq(conf_publish(c, c->root, "theirs", &attr, STORE_KEEP_ALL, "data", NULL), -EPERM);
    cr_assert_not(conf_there(c, "theirs"));
}

Test(posix, refused_owners_are_said_once_and_gone_without, .timeout = 20)
{
    const struct conf_case the_case = {.name = "refused owners", .run = no_owners_auto, .needs = CONF_ROOT};

    conf_run(&shm, WAY_DIRECT, &the_case);
}

Test(posix, refused_owners_fail_where_they_are_required, .timeout = 20)
{
    const struct conf_case the_case = {
        .name = "required owners", .run = no_owners_required, .needs = CONF_ROOT, .owner = OWNER_REQUIRE};

    conf_run(&shm, WAY_DIRECT, &the_case);
}

/* ---- a server that makes another uid of ours ---- */

static int open_as_mount(const struct store_options *options, struct store **out_store)
{
    int err = posix_open(options, out_store);

    if (!err) {
        (*out_store)->caps.network = true;
    }
    return err;
}

/* The store was opened as a user; what it makes belongs to another, as where a server squashes. */
static void squashed(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    char name[32];

    attr.uid = 0;
    attr.gid = 0;
    conf_as_root(c);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "name%u", i);
        cr_assert_eq(conf_publish(c, c->root, name, &attr, STORE_KEEP_ALL, "data", NULL), 0);
        conf_expect_attr(c, name, &attr, STORE_KEEP_ALL);
        cr_assert_eq(conf_temps(c), 0, "the first name that was taken for planted is left");
    }
    conf_as_user(c);
}

Test(posix, squashing_server_is_understood, .timeout = 20)
{
    const struct conf_place mount = {.name = "as a mount", .base = "/dev/shm", .open = open_as_mount};
    const struct conf_case the_case = {.name = "squashed", .run = squashed, .as_user = true};

    conf_run(&mount, WAY_DIRECT, &the_case);
}

/* ---- a write that comes to its end half-way ---- */

/* The kernel writes what the limit allows, and refuses the rest: the old file stays, the half one goes. */
static void half_written(struct conf *c)
{
    const struct rlimit small = {.rlim_cur = 5000, .rlim_max = RLIM_INFINITY};
    char *data = conf_bytes(20000, 1);
    struct attr attr = conf_attr(c, 0644, 20000);
    struct store_upload *u = NULL;
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = c->root,
                          .name = "name",
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = data}};

    conf_put_file(c, "name", "old contents", 12, 0600);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    cr_assert_eq(store_run(c->port, &op), -EFBIG);
    cr_assert_str_eq(op.step, "write");
    cr_assert_eq(conf_temps(c), 0);
    cr_assert_eq(conf_begin(c, c->root, "name", &attr, &u), 0);
    cr_assert_eq(conf_write(c, u, data, 20000, 0), -EFBIG);
    cr_assert_eq(conf_abort(c, u), 0);
    conf_expect_bytes(c, "name", "old contents", 12);
    free(data);
}

Test(posix, half_written_file_is_not_published, .timeout = 20)
{
    const struct conf_case the_case = {.name = "half written", .run = half_written};

    conf_run(&shm, WAY_DIRECT, &the_case);
}

/* ---- descriptors that run out ---- */

/* Unused directory handles make room for what is needed now. */
static void descriptors_run_out(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 4);
    struct dir *dirs[40];
    int hold[2000];
    unsigned held = 0;
    char name[32];

    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "d%u", i);
        dirs[i] = conf_make_dir(c, c->root, name);
        cr_assert_eq(conf_publish(c, dirs[i], "first", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    }
    while (held < 2000 && (hold[held] = dup(0)) >= 0) {
        held++;
    }
    cr_assert_eq(errno, EMFILE);
    for (unsigned i = 0; i < 40; i++) {
        cr_assert_eq(conf_publish(c, dirs[i], "second", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    }
    while (held > 0) {
        close(hold[--held]);
    }
    for (unsigned i = 0; i < 40; i++) {
        dir_put(dirs[i]);
    }
}

Test(posix, unused_handles_make_room_for_descriptors, .timeout = 20)
{
    const struct rlimit few = {.rlim_cur = 256, .rlim_max = 256};
    const struct conf_case the_case = {.name = "few descriptors", .run = descriptors_run_out};

    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    conf_run(&shm, WAY_DIRECT, &the_case);
}

/* ---- threads ---- */

#define THREADS 4U
#define DIRS    24U
#define ROUNDS  60U

struct team {
    struct conf *c;
    struct dir *dirs[DIRS];
    unsigned failures[THREADS];
};

struct member {
    struct team *team;
    unsigned number;
};

/* Its own io and port; the same directories as the others, with far fewer handles than there are directories. */
static void *member_run(void *arg)
{
    struct member *m = arg;
    struct conf *c = m->team->c;
    const struct io_options options = {.no_ring = true};
    struct attr attr = conf_attr(c, 0644, 4);
    struct port *port = NULL;
    struct io *io = NULL;
    char name[32];

    if (io_create(&options, &io) || store_port_create(c->store, io, &port)) {
        m->team->failures[m->number]++;
        io_destroy(io);
        return NULL;
    }
    for (unsigned i = 0; i < ROUNDS * DIRS; i++) {
        struct store_op op = {.code = STORE_PUBLISH,
                              .dir = m->team->dirs[(i * 7 + m->number) % DIRS],
                              .name = name,
                              .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = "data"}};

        snprintf(name, sizeof(name), "t%u-%u", m->number, i / DIRS);
        m->team->failures[m->number] += store_run(port, &op) != 0;
    }
    store_port_destroy(port);
    io_destroy(io);
    return NULL;
}

static void threads(struct conf *c)
{
    struct team team = {.c = c};
    struct member members[THREADS];
    pthread_t ids[THREADS];
    char name[64];

    for (unsigned i = 0; i < DIRS; i++) {
        struct dir *above;

        snprintf(name, sizeof(name), "d%u", i / 4);
        if (i % 4 == 0) {
            cr_assert_eq(conf_mkdir(c, c->root, name, 0755), 0);
        }
        above = conf_dir(c, c->root, name);
        snprintf(name, sizeof(name), "e%u", i);
        team.dirs[i] = conf_make_dir(c, above, name);
        dir_put(above);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        members[i] = (struct member){&team, i};
        cr_assert_eq(pthread_create(&ids[i], NULL, member_run, &members[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_join(ids[i], NULL), 0);
        cr_assert_eq(team.failures[i], 0);
    }
    for (unsigned i = 0; i < DIRS; i++) {
        for (unsigned t = 0; t < THREADS; t++) {
            snprintf(name, sizeof(name), "d%u/e%u/t%u-%u", i / 4, i, t, ROUNDS - 1);
            conf_expect_bytes(c, name, "data", 4);
        }
        dir_put(team.dirs[i]);
    }
}

Test(posix, threads_share_few_handles, .timeout = 60)
{
    const struct conf_case the_case = {.name = "threads", .run = threads, .max_handles = 5};

    conf_run(&shm, WAY_DIRECT, &the_case);
}
