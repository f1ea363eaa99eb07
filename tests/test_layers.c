/*
 * test_layers: retry, throttle, fault, remap, dry, claim, and the null store.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/errs.h"
#include "support_conformance.h"
#include "workers/stores/layers.h"
#include "workers/stores/posix.h"

/* ---- a store that answers as it is told ---- */

struct script {
    struct store head;
    const int *answers; /* one a call, then 0 for ever */
    unsigned count;     /* answers */
    unsigned calls;     /* calls so far */
    const char *step;   /* what failures say */
    bool repeated[16];  /* what the first calls were told */
    size_t moved;       /* COPY: bytes it says it moved */
};

static int script_port_create(struct store *s, struct io *io, struct port **out)
{
    (void)s;
    (void)io;
    *out = calloc(1, sizeof(**out));
    return 0;
}

static void script_port_destroy(struct port *p)
{
    free(p);
}

static int script_run(struct port *p, struct store_op *op)
{
    struct script *s = (struct script *)p->store;
    unsigned n = s->calls++;
    int err = n < s->count ? s->answers[n] : 0;

    if (n < 16) {
        s->repeated[n] = op->repeated;
    }
    if (err) {
        op->step = s->step;
    } else if (op->code == STORE_COPY && op->up.out_len) {
        *op->up.out_len = s->moved;
    }
    return err;
}

static void script_destroy(struct store *s)
{
    (void)s; /* on the test's stack */
}

static const struct store_ops script_ops = {
    .destroy = script_destroy,
    .port_create = script_port_create,
    .port_destroy = script_port_destroy,
    .run = script_run,
};

static void script_init(struct script *s, const int *answers, unsigned count)
{
    *s = (struct script){.head = {.ops = &script_ops}, .answers = answers, .count = count};
}

/* What a test of a layer over a script needs. */
struct rig {
    struct script script;
    struct io *io;
    struct store *store;
    struct port *port;
};

static void rig_open(struct rig *r)
{
    const struct io_options options = {.no_ring = true};

    cr_assert_eq(io_create(&options, &r->io), 0);
    cr_assert_eq(store_port_create(r->store, r->io, &r->port), 0);
}

static void rig_close(struct rig *r)
{
    store_port_destroy(r->port);
    store_destroy(r->store);
    io_destroy(r->io);
}

static struct dir_tree tree; /* nothing is kept in it */

/* ---- retry ---- */

static int retry_once(enum store_code code, const int *answers, unsigned count, const struct retry_options *options,
                      bool network, const char *step, struct rig *r, struct store_op *op)
{
    int err;

    script_init(&r->script, answers, count);
    r->script.head.caps.network = network;
    r->script.step = step;
    cr_assert_eq(retry_wrap(&r->script.head, options, &r->store), 0);
    rig_open(r);
    *op = (struct store_op){.code = code};
    if (code == STORE_LINK) {
        op->link.from_name = "from";
    }
    err = store_run(r->port, op);
    rig_close(r);
    return err;
}

Test(retry, repeats_what_may_pass, .timeout = 20)
{
    static const int answers[] = {-EAGAIN, -ESTALE, -ENOMEM};
    atomic_ulong counter = 0;
    const struct retry_options options = {.retries = 3, .delay_ns = 1000, .delay_max_ns = 4000, .counter = &counter};
    struct rig r;
    struct store_op op;

    cr_assert_eq(retry_once(STORE_PUBLISH, answers, 3, &options, false, "open", &r, &op), 0);
    cr_assert_eq(r.script.calls, 4);
    cr_assert_eq(op.attempts, 4);
    cr_assert_eq(counter, 3);
    cr_assert_null(op.step, "what failed before is no part of a success");
    cr_assert_not(r.script.repeated[0]);
    cr_assert(r.script.repeated[1] && r.script.repeated[2] && r.script.repeated[3]);
}

Test(retry, is_bounded_and_can_be_switched_off, .timeout = 20)
{
    static const int answers[] = {-EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN};
    struct retry_options options = {.retries = 2, .delay_ns = 1000, .delay_max_ns = 4000};
    struct rig r;
    struct store_op op;

    cr_assert_eq(retry_once(STORE_STAT, answers, 4, &options, false, "stat", &r, &op), -EAGAIN);
    cr_assert_eq(op.attempts, 3);
    cr_assert_str_eq(op.step, "stat");
    options.retries = 0;
    cr_assert_eq(retry_once(STORE_STAT, answers, 4, &options, false, "stat", &r, &op), -EAGAIN);
    cr_assert_eq(op.attempts, 1);
}

/* Each row of the table of errors, local and on the network, against each code's class. */
Test(retry, goes_by_the_two_tables, .timeout = 60)
{
    const struct retry_options options = {.retries = 1, .delay_ns = 1, .delay_max_ns = 1};

    for (unsigned i = 0; i < err_rows(); i++) {
        enum err_class class[2];
        const int answers[] = {-err_row(i, &class[0], &class[1])};

        for (unsigned code = 0; code < STORE_CODES; code++) {
            for (unsigned network = 0; network < 2; network++) {
                bool again = class[network] == ERR_TRANSIENT && store_code_repeat((enum store_code)code) != REPEAT_NOT;
                struct rig r;
                struct store_op op;
                int err = retry_once((enum store_code)code, answers, 1, &options, network, NULL, &r, &op);

                cr_assert_eq(err, again ? 0 : answers[0], "%s %s", store_code_name((enum store_code)code),
                             err_name(answers[0]));
                cr_assert_eq(op.attempts, again ? 2 : 1);
            }
        }
    }
}

Test(retry, takes_a_guard_at_its_word, .timeout = 20)
{
    static const int answers[] = {-ESTALE};
    const struct retry_options options = {.retries = 5, .delay_ns = 1000, .delay_max_ns = 1000};
    struct rig r;
    struct store_op op;

    cr_assert_eq(retry_once(STORE_REMOVE, answers, 1, &options, true, STORE_STEP_GUARD, &r, &op), -ESTALE);
    cr_assert_eq(op.attempts, 1);
    cr_assert_eq(retry_once(STORE_REMOVE, answers, 1, &options, true, "unlink", &r, &op), 0);
}

Test(retry, waits_longer_each_time, .timeout = 20)
{
    static const int answers[] = {-EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN};
    const struct retry_options options = {.retries = 6, .delay_ns = 4 * NS_PER_MS, .delay_max_ns = 32 * NS_PER_MS};
    struct rig r;
    struct store_op op;
    int64_t begin = clock_mono_ns();
    int64_t took;

    cr_assert_eq(retry_once(STORE_STAT, answers, 6, &options, false, NULL, &r, &op), 0);
    took = clock_mono_ns() - begin;
    /* 4 + 8 + 16 + 32 + 32 + 32 = 124 ms, each x 0.5..1.5; never doubled past the limit: 4 + ... + 128 would be 252. */
    cr_assert(took >= 62 * NS_PER_MS, "%ld", took);
    cr_assert(took < 10 * NS_PER_SEC, "%ld", took);
}

/* Sleeps are cut short by the thread's own io; a run that is being stopped gives the error at once. */
Test(retry, does_not_hold_up_a_run_that_stops, .timeout = 20)
{
    static const int answers[] = {-EAGAIN};
    const struct retry_options options = {
        .retries = 9, .delay_ns = 3600 * NS_PER_SEC, .delay_max_ns = 3600 * NS_PER_SEC};
    struct rig r;
    struct store_op op = {.code = STORE_SYNC};

    script_init(&r.script, answers, 1);
    cr_assert_eq(retry_wrap(&r.script.head, &options, &r.store), 0);
    rig_open(&r);
    io_cancel_sleeps(r.io);
    op.code = STORE_STAT;
    cr_assert_eq(store_run(r.port, &op), -EAGAIN);
    cr_assert_eq(op.attempts, 1);
    rig_close(&r);
}

/* ---- retry over fault over posix: what was carried out although its answer was lost ---- */

static void over_posix(struct conf *c, const struct fault_options *fault, unsigned retries)
{
    const struct retry_options retry = {.retries = retries, .delay_ns = 1000, .delay_max_ns = 1000};

    /* The port goes first; the store underneath is the same. */
    store_port_destroy(c->port);
    cr_assert_eq(fault_wrap(c->store, fault, &c->store), 0);
    cr_assert_eq(retry_wrap(c->store, &retry, &c->store), 0);
    cr_assert_eq(store_port_create(c->store, c->lane.io, &c->port), 0);
}

static const struct conf_place shm = {.name = "tmpfs", .base = "/dev/shm", .open = posix_open};

static void on_shm(const char *name, void (*run)(struct conf *c))
{
    const struct conf_case the_case = {.name = name, .run = run};

    conf_run(&shm, WAY_DIRECT, &the_case);
}

static void lost_answers(struct conf *c)
{
    const struct fault_options fault = {
        .nth = 1, .count = 1, .err = EAGAIN, .kind = FAULT_AFTER, .codes = UINT64_C(1) << STORE_MKDIR};
    struct attr attr;

    over_posix(c, &fault, 1);
    cr_assert_eq(conf_mkdir(c, c->root, "d", 0700), 0, "the first try has made it");
    cr_assert(S_ISDIR(conf_see(c, "d").st_mode));
    cr_assert_eq(conf_mkdir(c, c->root, "d", 0700), -EEXIST);
    cr_assert_eq(conf_stat(c, c->root, "d", &attr), 0);
}

Test(repeat, mkdir_after_a_lost_answer, .timeout = 20)
{
    on_shm("mkdir", lost_answers);
}

/* What stood there before is no success, whatever the first try said. */
static void mkdir_over_another(struct conf *c)
{
    const struct fault_options fault = {.nth = 1, .count = 2, .err = EAGAIN, .codes = UINT64_C(1) << STORE_MKDIR};

    conf_put_file(c, "file", "data", 4, 0600);
    over_posix(c, &fault, 2);
    cr_assert_eq(conf_mkdir(c, c->root, "file", 0700), -EEXIST);
}

Test(repeat, mkdir_where_a_file_stands, .timeout = 20)
{
    on_shm("mkdir", mkdir_over_another);
}

static void lost_remove(struct conf *c)
{
    const struct fault_options fault = {
        .nth = 1, .err = EAGAIN, .kind = FAULT_AFTER, .codes = UINT64_C(1) << STORE_REMOVE};
    struct attr attr;

    conf_put_file(c, "file", "data", 4, 0600);
    cr_assert_eq(conf_stat(c, c->root, "file", &attr), 0);
    over_posix(c, &fault, 1);
    cr_assert_eq(conf_remove(c, c->root, "file", &attr, false), 0);
    cr_assert_not(conf_there(c, "file"));
    cr_assert_eq(conf_remove(c, c->root, "file", &attr, false), -ENOENT);
}

Test(repeat, remove_after_a_lost_answer, .timeout = 20)
{
    on_shm("remove", lost_remove);
}

static void lost_link(struct conf *c)
{
    const struct fault_options fault = {
        .nth = 1, .err = EAGAIN, .kind = FAULT_AFTER, .codes = UINT64_C(1) << STORE_LINK};
    struct store_op op = {
        .code = STORE_LINK, .dir = c->root, .name = "new", .link = {.from_dir = c->root, .from_name = "file"}};

    conf_put_file(c, "file", "data", 4, 0600);
    over_posix(c, &fault, 1);
    cr_assert_eq(store_run(c->port, &op), 0);
    cr_assert_eq(op.attempts, 2);
    cr_assert_eq(conf_see(c, "file").st_nlink, 2);
}

Test(repeat, link_after_a_lost_answer, .timeout = 20)
{
    on_shm("link", lost_link);
}

/* ---- throttle ---- */

static int64_t push_bytes(struct rig *r, uint64_t size, unsigned times)
{
    const struct attr attr = {.mode = S_IFREG | 0644, .size = size};
    int64_t begin = clock_mono_ns();

    for (unsigned i = 0; i < times; i++) {
        struct store_op op = {.code = STORE_PUBLISH, .name = "x", .put = {.attr = &attr}};

        cr_assert_eq(store_run(r->port, &op), 0);
    }
    return clock_mono_ns() - begin;
}

Test(throttle, keeps_the_rate, .timeout = 30)
{
    struct rig r;
    int64_t took;

    script_init(&r.script, NULL, 0);
    cr_assert_eq(throttle_wrap(&r.script.head, 1000000, &r.store), 0);
    rig_open(&r);
    /* 500 kB at 1 MB/s; the first 100 ms and the last request are not waited for. */
    took = push_bytes(&r, 20000, 25);
    cr_assert(took >= 380 * NS_PER_MS, "%ld", took);
    cr_assert(took < 5 * NS_PER_SEC, "%ld", took);
    rig_close(&r);
}

/* Operations instead of bytes: whatever they carry. What ends a handle never waits, but is paid for by the others. */
Test(throttle, counts_operations, .timeout = 30)
{
    struct rig r;
    int64_t took;

    script_init(&r.script, NULL, 0);
    cr_assert_eq(throttle_operations_wrap(&r.script.head, 50, &r.store), 0);
    rig_open(&r);
    /* 25 at 50 a second; the first 100 ms are not waited for. */
    took = push_bytes(&r, 1000000, 25);
    cr_assert(took >= 360 * NS_PER_MS, "%ld", took);
    cr_assert(took < 5 * NS_PER_SEC, "%ld", took);
    io_cancel_sleeps(r.io);
    struct store_op commit = {.code = STORE_COMMIT, .name = "x"};
    cr_assert_eq(store_run(r.port, &commit), 0, "it ends a handle");
    const struct attr attr = {.mode = S_IFREG | 0644};
    struct store_op publish = {.code = STORE_PUBLISH, .name = "x", .put = {.attr = &attr}};
    int err = 0;
    for (unsigned i = 0; i < 100 && err == 0; i++) {
        err = store_run(r.port, &publish);
    }
    cr_assert_eq(err, -ECANCELED, "its wait was cut short");
    rig_close(&r);
    script_init(&r.script, NULL, 0);
    cr_assert_eq(throttle_operations_wrap(&r.script.head, 0, &r.store), -EINVAL);
}

/* Larger than the bucket: it goes at once, and those behind it pay. */
Test(throttle, lets_large_requests_through_and_others_wait, .timeout = 30)
{
    struct rig r;

    script_init(&r.script, NULL, 0);
    cr_assert_eq(throttle_wrap(&r.script.head, 1000000, &r.store), 0);
    rig_open(&r);
    cr_assert(push_bytes(&r, 400000, 1) < 200 * NS_PER_MS);
    cr_assert(push_bytes(&r, 1, 1) >= 250 * NS_PER_MS);
    rig_close(&r);
}

Test(throttle, leaves_what_carries_no_data_alone, .timeout = 30)
{
    struct rig r;
    struct store_op op = {.code = STORE_STAT};
    int64_t begin;

    script_init(&r.script, NULL, 0);
    cr_assert_eq(throttle_wrap(&r.script.head, 1, &r.store), 0);
    rig_open(&r);
    (void)push_bytes(&r, 1000000, 1);
    begin = clock_mono_ns();
    cr_assert_eq(store_run(r.port, &op), 0);
    (void)push_bytes(&r, 0, 10);
    cr_assert(clock_mono_ns() - begin < 5 * NS_PER_SEC, "the debt is more than eleven days");
    rig_close(&r);
}

/* A COPY of a whole large file, which the store below answers as it is told. */
static int copy_much(struct rig *r, size_t *out_moved)
{
    struct store_op op = {.code = STORE_COPY, .up = {.len = 1000000000000, .out_len = out_moved}};

    return store_run(r->port, &op);
}

Test(throttle, charges_a_copy_for_what_it_moved, .timeout = 30)
{
    static const int answers[] = {-EOPNOTSUPP};
    struct rig r;
    size_t moved = 0;
    int64_t begin = clock_mono_ns();

    script_init(&r.script, answers, 1);
    r.script.moved = 500000;
    r.script.head.caps.network = true;
    cr_assert_eq(throttle_wrap(&r.script.head, 1000000, &r.store), 0);
    rig_open(&r);
    cr_assert_eq(copy_much(&r, &moved), -EOPNOTSUPP);
    cr_assert(push_bytes(&r, 10, 1) < 5 * NS_PER_SEC, "what was refused costs nothing");
    begin = clock_mono_ns();
    cr_assert_eq(copy_much(&r, &moved), 0);
    cr_assert_eq(moved, 500000);
    cr_assert(clock_mono_ns() - begin >= 380 * NS_PER_MS,
              "what it moved, less the first 100 ms, is waited off after it");
    cr_assert(clock_mono_ns() - begin < 5 * NS_PER_SEC);
    rig_close(&r);
}

/* Within one machine it is a clone: nothing moved. */
Test(throttle, does_not_charge_clones, .timeout = 30)
{
    struct rig r;
    size_t moved = 0;
    int64_t begin = clock_mono_ns();

    script_init(&r.script, NULL, 0);
    r.script.moved = 1000000000;
    cr_assert_eq(throttle_wrap(&r.script.head, 1000000, &r.store), 0);
    rig_open(&r);
    cr_assert_eq(copy_much(&r, &moved), 0);
    cr_assert_eq(moved, 1000000000);
    (void)push_bytes(&r, 10, 2);
    cr_assert(clock_mono_ns() - begin < 5 * NS_PER_SEC);
    rig_close(&r);
}

/* A second port that uses the store while a COPY of the first is on its way. */
struct between {
    struct script script; /* first: it is the store */
    struct store *top;    /* the throttle over it */
    int64_t took;         /* ns that the request in between took; -1: none was made */
};

static int between_run(struct port *p, struct store_op *op)
{
    struct between *b = (struct between *)p->store;

    if (op->code == STORE_COPY) {
        struct rig other = {.store = b->top};

        rig_open(&other);
        b->took = push_bytes(&other, 10, 2);
        store_port_destroy(other.port);
        io_destroy(other.io);
        return -EOPNOTSUPP;
    }
    return 0;
}

Test(throttle, nobody_waits_for_a_copy_that_is_refused, .timeout = 30)
{
    static const struct store_ops ops = {
        .destroy = script_destroy,
        .port_create = script_port_create,
        .port_destroy = script_port_destroy,
        .run = between_run,
    };
    struct between b = {.script.head = {.ops = &ops, .caps.network = true}, .took = -1};
    struct rig r;
    size_t moved = 0;

    cr_assert_eq(throttle_wrap(&b.script.head, 1000000, &r.store), 0);
    b.top = r.store;
    rig_open(&r);
    cr_assert_eq(copy_much(&r, &moved), -EOPNOTSUPP);
    cr_assert(b.took >= 0 && b.took < 5 * NS_PER_SEC, "%ld", b.took);
    rig_close(&r);
}

Test(throttle, a_copy_whose_wait_was_cut_short_is_done, .timeout = 30)
{
    struct rig r;
    size_t moved = 0;

    script_init(&r.script, NULL, 0);
    r.script.moved = 1000000;
    r.script.head.caps.network = true;
    cr_assert_eq(throttle_wrap(&r.script.head, 1, &r.store), 0);
    rig_open(&r);
    io_cancel_sleeps(r.io);
    cr_assert_eq(copy_much(&r, &moved), 0);
    cr_assert_eq(moved, 1000000);
    rig_close(&r);
}

Test(throttle, stops_waiting_when_the_run_stops, .timeout = 30)
{
    const struct attr attr = {.mode = S_IFREG | 0644, .size = 1};
    struct rig r;
    struct store_op op = {.code = STORE_PUBLISH, .name = "x", .put = {.attr = &attr}};

    script_init(&r.script, NULL, 0);
    cr_assert_eq(throttle_wrap(&r.script.head, 1, &r.store), 0);
    rig_open(&r);
    (void)push_bytes(&r, 1000000, 1);
    io_cancel_sleeps(r.io);
    cr_assert_eq(store_run(r.port, &op), -ECANCELED);
    cr_assert_eq(r.script.calls, 1, "it was not carried out");
    rig_close(&r);
    cr_assert_eq(throttle_wrap(&r.script.head, 0, &r.store), -EINVAL);
}

/* ---- fault ---- */

Test(fault, is_read_from_text, .timeout = 10)
{
    static const char *const bad[] = {
        "",
        "3",
        "0:EIO",
        "3:",
        "3:EWHAT",
        "x:EIO",
        "3+:EIO",
        "3+0:EIO",
        "3:E?",
        "3:EIO:",
        "3:EIO:never",
        "3:EIO:after:",
        "3:EIO:after:publish,",
        "3:EIO:after:fly",
        "-1:EIO",
        "3:EIO:after:publish:x",
        "99999999999999999999:EIO",
    };
    struct fault_options o;

    cr_assert_eq(fault_parse("3:EIO", &o), 0);
    cr_assert(o.nth == 3 && o.count == 1 && o.err == EIO && o.kind == FAULT_BEFORE && o.codes == 0);
    cr_assert_eq(fault_parse("3:EIO:after:publish,commit", &o), 0);
    cr_assert(o.nth == 3 && o.err == EIO && o.kind == FAULT_AFTER);
    cr_assert_eq(o.codes, UINT64_C(1) << STORE_PUBLISH | UINT64_C(1) << STORE_COMMIT);
    cr_assert_eq(fault_parse("12+7:ENOSPC:short", &o), 0);
    cr_assert(o.nth == 12 && o.count == 7 && o.err == ENOSPC && o.kind == FAULT_SHORT);
    cr_assert_eq(fault_parse("1:ESTALE:kill:write", &o), 0);
    cr_assert(o.kind == FAULT_KILL && o.err == ESTALE);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(fault_parse(bad[i], &o), -EINVAL, "%s", bad[i]);
    }
}

Test(fault, counts_and_fires_in_its_row, .timeout = 10)
{
    atomic_ulong seen = 0;
    const struct fault_options options = {
        .nth = 3, .count = 2, .err = EIO, .codes = UINT64_C(1) << STORE_STAT, .seen = &seen};
    struct rig r;

    script_init(&r.script, NULL, 0);
    cr_assert_eq(fault_wrap(&r.script.head, &options, &r.store), 0);
    rig_open(&r);
    for (unsigned i = 1; i <= 6; i++) {
        struct store_op op = {.code = STORE_STAT};
        struct store_op other = {.code = STORE_SYNC};
        int err = store_run(r.port, &op);

        cr_assert_eq(err, i == 3 || i == 4 ? -EIO : 0, "call %u", i);
        cr_assert(!err || strcmp(op.step, "fault") == 0);
        cr_assert_eq(store_run(r.port, &other), 0);
    }
    cr_assert_eq(seen, 6);
    cr_assert_eq(r.script.calls, 4 + 6);
    rig_close(&r);
}

Test(fault, kills, .timeout = 10)
{
    const struct fault_options options = {.nth = 1, .err = EIO, .kind = FAULT_KILL};
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        struct rig r;
        struct store_op op = {.code = STORE_STAT};

        script_init(&r.script, NULL, 0);
        if (fault_wrap(&r.script.head, &options, &r.store) == 0) {
            rig_open(&r);
            (void)store_run(r.port, &op);
        }
        _exit(1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* A small session with every code that hands out or ends something; what fails is given up as the contract says. */
static unsigned session(struct conf *c)
{
    struct attr attr = conf_attr(c, 0644, 8);
    struct attr seen;
    struct store_upload *u = NULL;
    struct store_file *file = NULL;
    struct store_list *list = NULL;
    struct store_entry entry;
    char buf[64];
    size_t len;
    unsigned failed = 0;
    int err = conf_publish(c, c->root, "small", &attr, STORE_KEEP_ALL, "contents", NULL);
    struct store_op op = {.code = STORE_OPEN, .dir = c->root, .name = "kept", .open = {.out = &file}};

    failed += err != 0;
    if (conf_begin(c, c->root, "large", &attr, &u)) {
        failed++;
    } else if (conf_write(c, u, "contents", 8, 0)) {
        failed += 1 + (conf_abort(c, u) != 0);
    } else {
        failed += conf_commit(c, u, &attr, NULL) != 0;
    }
    if (conf_begin(c, c->root, "given up", &attr, &u)) {
        failed++;
    } else {
        failed += conf_abort(c, u) != 0;
    }
    if (store_run(c->port, &op)) {
        failed++;
    } else {
        op = (struct store_op){.code = STORE_READ, .file = {.file = file, .buf = buf, .len = 64, .out_len = &len}};
        failed += store_run(c->port, &op) != 0;
        op = (struct store_op){.code = STORE_CLOSE, .file = {.file = file}};
        failed += store_run(c->port, &op) != 0;
    }
    op = (struct store_op){.code = STORE_LIST_OPEN, .dir = c->root, .list = {.list = &list}};
    if (store_run(c->port, &op)) {
        failed++;
    } else {
        op = (struct store_op){.code = STORE_LIST_NEXT, .list = {.list = &list, .out = &entry}};
        failed += store_run(c->port, &op) != 0;
        op = (struct store_op){.code = STORE_LIST_CLOSE, .list = {.list = &list}};
        failed += store_run(c->port, &op) != 0;
    }
    failed += conf_stat(c, c->root, "kept", &seen) != 0;
    return failed;
}

#define SESSION_OPS 13 /* operations of a session without failures */

static enum fault_kind session_kind;
static uint64_t session_nth;

static void session_with_fault(struct conf *c)
{
    const struct fault_options fault = {.nth = session_nth, .err = EIO, .kind = session_kind};
    unsigned failed;
    struct stat st;

    conf_put_file(c, "kept", "contents", 8, 0600);
    over_posix(c, &fault, 0);
    failed = session(c);
    cr_assert_eq(failed, session_nth <= SESSION_OPS ? 1U : 0U, "operation %lu: %u failed", session_nth, failed);
    /* Whatever stands there stands there whole. */
    for (unsigned i = 0; i < 2; i++) {
        const char *name = i ? "large" : "small";

        if (conf_there(c, name)) {
            st = conf_see(c, name);
            cr_assert_eq(st.st_size, 8);
            conf_expect_bytes(c, name, "contents", 8);
        }
    }
    cr_assert_not(conf_there(c, "given up"));
}

/* Each operation in turn; conf_run looks for temp names and descriptors that were left. */
static void session_all(enum fault_kind kind)
{
    session_kind = kind;
    for (session_nth = 1; session_nth <= SESSION_OPS + 2; session_nth++) {
        on_shm("session", session_with_fault);
    }
}

Test(fault, before_leaves_nothing_open, .timeout = 30)
{
    session_all(FAULT_BEFORE);
}

Test(fault, after_leaves_nothing_open, .timeout = 30)
{
    session_all(FAULT_AFTER);
}

Test(fault, short_leaves_nothing_open, .timeout = 30)
{
    session_all(FAULT_SHORT);
}

/* ---- dry and null ---- */

static void dry(struct conf *c)
{
    struct dir *made = conf_dir(c, c->root, "made");
    struct attr attr = conf_attr(c, 0644, 4);
    struct attr of_dir = {.mode = S_IFDIR | 0755};
    struct attr seen;
    struct store_upload *u = NULL;
    struct store_list *list = NULL;
    struct stat before;
    struct store_op op;

    conf_put_file(c, "file", "old", 3, 0600);
    cr_assert_eq(mkdirat(c->fd, "there", 0700), 0);
    before = conf_see(c, ".");
    store_port_destroy(c->port);
    cr_assert_eq(dry_wrap(c->store, &c->store), 0);
    cr_assert_eq(store_port_create(c->store, c->lane.io, &c->port), 0);

    cr_assert_eq(conf_stat(c, c->root, "file", &seen), 0);
    cr_assert_eq(seen.size, 3);
    cr_assert_eq(conf_publish(c, c->root, "file", &attr, STORE_KEEP_ALL, "data", &seen), 0);
    cr_assert_eq(seen.size, 4);
    cr_assert_eq(conf_mkdir(c, c->root, "there", 0700), -EEXIST);
    cr_assert_eq(conf_mkdir(c, c->root, "made", 0700), 0);
    cr_assert_eq(conf_stat(c, made, NULL, &seen), -ENOENT);
    cr_assert_eq(conf_mkdir(c, made, "below", 0700), 0);
    cr_assert_eq(conf_publish(c, made, "file", &attr, STORE_KEEP_ALL, "data", NULL), 0);
    op = (struct store_op){.code = STORE_LIST_OPEN, .dir = made, .list = {.list = &list}};
    cr_assert_eq(store_run(c->port, &op), -ENOENT);
    op = (struct store_op){.code = STORE_SETATTR, .dir = made, .setattr = {.attr = &of_dir, .keep = STORE_KEEP_ALL}};
    cr_assert_eq(store_run(c->port, &op), 0);
    cr_assert_eq(conf_begin(c, c->root, "large", &attr, &u), 0);
    cr_assert_eq(conf_write(c, u, "data", 4, 0), 0);
    cr_assert_eq(conf_commit(c, u, &attr, &seen), 0);
    cr_assert_eq(conf_begin(c, c->root, "large", &attr, &u), 0);
    cr_assert_eq(conf_abort(c, u), 0);
    cr_assert_eq(conf_remove(c, c->root, "file", NULL, false), 0);

    cr_assert_eq(conf_see(c, ".").st_ctim.tv_nsec, before.st_ctim.tv_nsec, "something was changed");
    conf_expect_bytes(c, "file", "old", 3);
    dir_put(made);
}

Test(dry, changes_nothing, .timeout = 20)
{
    on_shm("dry", dry);
}

/* ---- remap ---- */

static mode_t mode_wished(const void *arg, mode_t mode)
{
    return (mode & ~(mode_t)07777) | *(const mode_t *)arg;
}

static void expect_wished(const struct attr *attr, mode_t perm)
{
    cr_assert_eq(attr->mode & 07777, perm);
    cr_assert_eq(attr->uid, 77);
    cr_assert_eq(attr->gid, 88);
}

static void list_wished(struct conf *c, mode_t perm)
{
    struct store_list *list = NULL;
    struct store_entry entry = {0};
    struct store_op op = {.code = STORE_LIST_OPEN, .dir = c->root, .list = {.list = &list, .want_attr = true}};

    cr_assert_eq(store_run(c->port, &op), 0);
    for (unsigned i = 0; i < 2; i++) {
        op = (struct store_op){.code = STORE_LIST_NEXT, .dir = c->root, .list = {.list = &list, .out = &entry}};
        cr_assert_eq(store_run(c->port, &op), 0);
        expect_wished(&entry.attr, S_ISLNK(entry.attr.mode) ? 0777 : perm);
    }
    cr_assert_eq(store_run(c->port, &op), 0);
    cr_assert_null(entry.name);
    op = (struct store_op){.code = STORE_LIST_CLOSE, .dir = c->root, .list = {.list = &list}};
    cr_assert_eq(store_run(c->port, &op), 0);
}

/* Every attribute that a source hands out, whatever the operation. */
static void remapped(struct conf *c)
{
    const mode_t perm = 0751;
    const struct remap_options wishes = {.mode = mode_wished, .arg = &perm, .uid = 77, .gid = 88};
    struct store_file *file = NULL;
    struct xattrs *x = NULL;
    struct attr a = {0};
    struct attr b = {0};
    char buf[8];
    size_t len = 0;
    struct store_op op;

    store_port_destroy(c->port);
    cr_assert_eq(remap_wrap(c->store, &wishes, &c->store), 0);
    cr_assert_eq(store_port_create(c->store, c->lane.io, &c->port), 0);
    conf_put_file(c, "file", "data", 4, 0600);
    cr_assert_eq(symlinkat("file", c->fd, "link"), 0);
    cr_assert_eq(conf_stat(c, c->root, "file", &a), 0);
    expect_wished(&a, perm);
    cr_assert_eq(conf_stat(c, c->root, "link", &a), 0);
    expect_wished(&a, 0777);
    cr_assert_eq(conf_stat(c, c->root, NULL, &a), 0);
    expect_wished(&a, perm);
    list_wished(c, perm);
    op = (struct store_op){.code = STORE_READ_SMALL,
                           .dir = c->root,
                           .name = "file",
                           .read_small = {.buf = buf, .size = sizeof(buf), .out_len = &len, .before = &a, .after = &b}};
    cr_assert_eq(store_run(c->port, &op), 0);
    expect_wished(&a, perm);
    expect_wished(&b, perm);
    op = (struct store_op){
        .code = STORE_XATTRS, .dir = c->root, .name = "file", .xattrs = {.kinds = XATTRS_KINDS, .out = &x, .attr = &a}};
    cr_assert_eq(store_run(c->port, &op), 0);
    expect_wished(&a, perm);
    xattrs_destroy(x);
    op = (struct store_op){.code = STORE_OPEN, .dir = c->root, .name = "file", .open = {.out = &file, .attr = &a}};
    cr_assert_eq(store_run(c->port, &op), 0);
    expect_wished(&a, perm);
    op = (struct store_op){.code = STORE_FSTAT, .stat = {.out = &b, .file = file}};
    cr_assert_eq(store_run(c->port, &op), 0);
    expect_wished(&b, perm);
    op = (struct store_op){.code = STORE_CLOSE, .file = {.file = file}};
    cr_assert_eq(store_run(c->port, &op), 0);
    cr_assert_eq(conf_see(c, "file").st_mode & 07777, 0600, "nothing is changed there");
}

Test(remap, every_attribute, .timeout = 20)
{
    on_shm("remap", remapped);
}

Test(null, takes_everything_and_holds_nothing, .timeout = 20)
{
    const struct store_options options = {.side = DIR_DST};
    const struct attr attr = {.mode = S_IFREG | 0644, .size = 4};
    struct rig r;
    struct dir *root;
    struct dir *d;
    struct attr seen;
    struct store_list *list = NULL;
    struct store_entry entry;
    struct store_op op;

    cr_assert_eq(null_open(&options, &r.store), 0);
    store_attach(r.store, DIR_DST, &tree);
    rig_open(&r);
    cr_assert_eq(dir_create_root(&tree, &root), 0);
    cr_assert_eq(dir_create_child(root, "d", 1, &d), 0);
    op = (struct store_op){.code = STORE_MKDIR, .dir = root, .name = "d", .mkdir = {.mode = 0700}};
    cr_assert_eq(store_run(r.port, &op), 0);
    op = (struct store_op){.code = STORE_PUBLISH, .dir = d, .name = "f", .put = {.attr = &attr, .out = &seen}};
    cr_assert_eq(store_run(r.port, &op), 0);
    cr_assert_eq(seen.size, 4);
    op = (struct store_op){.code = STORE_STAT, .dir = d, .name = "f", .stat = {.out = &seen}};
    cr_assert_eq(store_run(r.port, &op), -ENOENT);
    op = (struct store_op){.code = STORE_LIST_OPEN, .dir = d, .list = {.list = &list}};
    cr_assert_eq(store_run(r.port, &op), 0);
    op = (struct store_op){.code = STORE_LIST_NEXT, .list = {.list = &list, .out = &entry}};
    cr_assert_eq(store_run(r.port, &op), 0);
    cr_assert_null(entry.name);
    op = (struct store_op){.code = STORE_LIST_CLOSE, .list = {.list = &list}};
    cr_assert_eq(store_run(r.port, &op), 0);
    cr_assert_null(list);
    dir_put(d);
    dir_put(root);
    rig_close(&r);
}

/* ---- claim ---- */

struct leave {
    int answer;
    unsigned asked;
};

static int ask(void *arg)
{
    struct leave *l = arg;
    l->asked++;
    return l->answer;
}

/* Every code that changes something is asked for, and none is carried out where that is refused; nothing else is. */
Test(claim, asks_before_each_change, .timeout = 30)
{
    const uint64_t changes = 1U << STORE_MKDIR | 1U << STORE_PUBLISH | 1U << STORE_BEGIN | 1U << STORE_SYMLINK |
                             1U << STORE_NODE | 1U << STORE_LINK | 1U << STORE_SETATTR | 1U << STORE_REMOVE;
    struct leave leave = {.answer = -ERR_OWNED};
    struct rig r;

    script_init(&r.script, NULL, 0);
    cr_assert_eq(claim_wrap(&r.script.head, ask, &leave, &r.store), 0);
    rig_open(&r);
    for (unsigned refused = 0; refused < 2; refused++) {
        leave.answer = refused ? -ERR_OWNED : 0;
        for (enum store_code code = 0; code < STORE_CODES; code++) {
            struct store_op op = {.code = code, .name = "n"};
            bool change = (changes >> code & 1) != 0;

            if (code == STORE_LINK) {
                op.link.from_name = "from";
            }
            leave.asked = r.script.calls = 0;
            cr_expect_eq(store_run(r.port, &op), refused && change ? -ERR_OWNED : 0, "%s", store_code_name(code));
            cr_expect_eq(leave.asked, change, "%s", store_code_name(code));
            cr_expect_eq(r.script.calls, !(refused && change), "%s", store_code_name(code));
        }
    }
    rig_close(&r);
}
