/*
 * test_nfs_status: each status that an NFSv4.1 server may answer, at each operation of the COMPOUND that publishes a
 * file: afterwards the file is right under its final name, or the error is the one that the table promises; no temp
 * name is left, no file open. What a server lacks is stepped down from. Sessions that are lost lose nothing.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_nfsrig.h"

static const char text[] = "what is in the file";
#define LEN (sizeof(text) - 1)

/* What is expected of one status met once, written down apart from haul's own table: 0: it passes, the file arrives. */
struct row {
    uint32_t status;
    int err;
};

static const struct row rows[] = {
    /* wait, and again */
    {D4ERR_DELAY, 0},
    {D4ERR_GRACE, 0},
    /* less at a time */
    {D4ERR_RESOURCE, 0},
    {D4ERR_TOO_MANY_OPS, 0},
    {D4ERR_REQ_TOO_BIG, 0},
    {D4ERR_REP_TOO_BIG, 0},
    {D4ERR_REP_TOO_BIG_TO_CACHE, 0},
    /* a handle that must be looked up again */
    {D4ERR_STALE, 0},
    {D4ERR_FHEXPIRED, 0},
    {D4ERR_BADHANDLE, 0},
    /* passes, perhaps */
    {D4ERR_IO, 0},
    {D4ERR_SERVERFAULT, 0},
    {D4ERR_LOCKED, 0},
    {D4ERR_SHARE_DENIED, 0},
    {D4ERR_FILE_OPEN, 0},
    {12345, 0},      /* of a later minor version */
    {0x7fffffff, 0}, /* of none */
    {0xfffffff3, 0}, /* would be -EACCES */
    /* state that is gone */
    {D4ERR_BAD_STATEID, 0},
    {D4ERR_OLD_STATEID, 0},
    {D4ERR_STALE_STATEID, 0},
    {D4ERR_EXPIRED, 0},
    {D4ERR_ADMIN_REVOKED, 0},
    {D4ERR_NOT_SAME, 0},
    /* ends this file, or the run */
    {D4ERR_PERM, EPERM},
    {D4ERR_ACCESS, EACCES},
    {D4ERR_NOSPC, ENOSPC},
    {D4ERR_DQUOT, EDQUOT},
    {D4ERR_ROFS, EROFS},
    {D4ERR_FBIG, EFBIG},
    {D4ERR_INVAL, EINVAL},
    {D4ERR_NAMETOOLONG, ENAMETOOLONG},
    {D4ERR_BADCHAR, EILSEQ},
    {D4ERR_BADNAME, EINVAL},
    {D4ERR_EXIST, EEXIST},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* Where an operation gives a status a meaning of its own. */
static int expected(const struct row *row, const char *op)
{
    if (strcmp(op, "OPEN") == 0 && row->status == D4ERR_EXIST) {
        return 0; /* somebody has that temp name: another one */
    }
    if (strcmp(op, "VERIFY") == 0 && row->status == D4ERR_INVAL) {
        return 0; /* it does not know VERIFY of this: done without */
    }
    return row->err;
}

/* The name of operation i of that line; out has 32 bytes. */
static void op_at(const char *line, unsigned i, char *out)
{
    for (; i > 0; i--) {
        line = strchr(line, ' ') + 1;
    }
    snprintf(out, 32, "%.*s", (int)strcspn(line, " "), line);
}

/* The publish COMPOUND as the store sends it to a server that has all. */
static char *publish_line(void)
{
    struct rig r;
    char *line;

    rig_open(&r, NULL);
    cr_assert_eq(rig_publish(&r, "plain", text, LEN), 0);
    cr_assert(rig_right(&r, "plain", text, LEN));
    line = nfsd_last_with(r.n, D4_RENAME);
    rig_close(&r);
    cr_assert_not_null(line);
    return line;
}

static unsigned count_ops(const char *line)
{
    unsigned count = 1;

    for (; *line != 0; line++) {
        count += *line == ' ';
    }
    return count;
}

Test(nfs_status, a_file_takes_one_compound, .timeout = 30)
{
    char *line = publish_line();

    cr_expect_not_null(strstr(line, "OPEN WRITE SETATTR"), "%s", line);
    cr_expect_not_null(strstr(line, "VERIFY CLOSE RESTOREFH RENAME"), "%s", line);
    free(line);
}

/* One status at one place of the COMPOUND. */
static void meet(const struct row *row, unsigned index, const char *op, enum nfsd_do what)
{
    struct rig r;
    bool acted = what == NFSD_ACT_FAIL;

    rig_open(&r, NULL);
    nfsd_rule(r.n, &(struct nfsd_rule){
                       .index = index + 1, .with = D4_RENAME, .name = NULL, .what = what, .status = row->status});
    int err = rig_publish(&r, "file", text, LEN);
    cr_expect_eq(nfsd_clear(r.n), 1, "%s %u", op, row->status);
    int want = expected(row, op);
    bool there = nfsd_see(r.n, "/export/file").there;
    cr_expect_eq(-err, want, "%u at %s%s: %d (%s) instead of %d", row->status, op, acted ? ", carried out" : "", -err,
                 strerror(-err), want);
    cr_expect(err != 0 || rig_right(&r, "file", text, LEN), "%u at %s: the file is wrong", row->status, op);
    cr_expect(!there || rig_right(&r, "file", text, LEN), "%u at %s: a broken file", row->status, op);
    cr_expect(err == 0 || !there || (acted && strcmp(op, "RENAME") == 0), "%u at %s: there though it failed",
              row->status, op);
    /* Whatever it was, it is over. */
    cr_expect_eq(rig_publish(&r, "after", text, LEN), 0, "%u at %s: nothing works any more", row->status, op);
    cr_expect(rig_right(&r, "after", text, LEN));
    rig_close(&r);
}

static struct criterion_test_params all_rows(void)
{
    unsigned *all = cr_malloc(ROWS * sizeof(*all));

    for (unsigned i = 0; i < ROWS; i++) {
        all[i] = i;
    }
    return cr_make_param_array(unsigned, all, ROWS);
}

ParameterizedTestParameters(nfs_status, each_status_at_each_operation)
{
    return all_rows();
}

ParameterizedTest(unsigned *row, nfs_status, each_status_at_each_operation, .timeout = 60)
{
    char *line = publish_line();
    char op[32];

    for (unsigned i = 0; i < count_ops(line); i++) {
        op_at(line, i, op);
        meet(&rows[*row], i, op, NFSD_FAIL);
    }
    free(line);
}

ParameterizedTestParameters(nfs_status, each_status_though_it_was_carried_out)
{
    return all_rows();
}

ParameterizedTest(unsigned *row, nfs_status, each_status_though_it_was_carried_out, .timeout = 60)
{
    char *line = publish_line();
    char op[32];

    for (unsigned i = 1; i < count_ops(line); i++) { /* what SEQUENCE says is said before anything */
        op_at(line, i, op);
        if (strcmp(op, "OPEN") != 0) { /* an open whose state id was not told can be closed by nobody */
            meet(&rows[*row], i, op, NFSD_ACT_FAIL);
        }
    }
    free(line);
}

/* ---- for ever ---- */

ParameterizedTestParameters(nfs_status, a_status_without_end_ends_in_time)
{
    return all_rows();
}

ParameterizedTest(unsigned *row, nfs_status, a_status_without_end_ends_in_time, .timeout = 60)
{
    static const uint32_t ops[] = {D4_SEQUENCE, D4_OPEN, D4_WRITE, D4_RENAME};
    struct rig_options o = {.io_timeout_ns = 600 * NS_PER_MS};

    for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        struct rig r;

        rig_open(&r, &o);
        nfsd_rule(
            r.n,
            &(struct nfsd_rule){
                .op = ops[i], .with = D4_RENAME, .count = NFSD_EVER, .what = NFSD_FAIL, .status = rows[*row].status});
        int err = rig_publish(&r, "file", text, LEN);
        cr_expect(r.took_ns < 10 * NS_PER_SEC, "%u at %s: %ld ms", rows[*row].status, nfsd_op_name(ops[i]),
                  (long)(r.took_ns / NS_PER_MS));
        cr_expect(err != 0 || rig_right(&r, "file", text, LEN), "%u at %s", rows[*row].status, nfsd_op_name(ops[i]));
        cr_expect(err == 0 || !nfsd_see(r.n, "/export/file").there);
        cr_expect(rows[*row].err == 0 || err == -rows[*row].err || ops[i] == D4_OPEN, "%u at %s: %d", rows[*row].status,
                  nfsd_op_name(ops[i]), err);
        nfsd_clear(r.n);
        for (int tries = 0, again = -ETIMEDOUT; tries < 60 && again == -ETIMEDOUT; tries++) {
            again = rig_publish(&r, "after", text, LEN); /* patience is short here, and the machine may be busy */
            cr_expect(again == 0 || again == -ETIMEDOUT, "%u at %s: nothing works any more", rows[*row].status,
                      nfsd_op_name(ops[i]));
        }
        cr_expect(rig_right(&r, "after", text, LEN));
        rig_close(&r);
    }
}

/* ---- sessions ---- */

static const uint32_t session_statuses[] = {
    D4ERR_BADSESSION, D4ERR_DEADSESSION,    D4ERR_STALE_CLIENTID,  D4ERR_EXPIRED,
    D4ERR_BADSLOT,    D4ERR_SEQ_MISORDERED, D4ERR_SEQ_FALSE_RETRY, D4ERR_CONN_NOT_BOUND_TO_SESSION,
    D4ERR_DELAY,      D4ERR_GRACE,
};

Test(nfs_status, what_sequence_says_passes, .timeout = 60)
{
    for (unsigned i = 0; i < sizeof(session_statuses) / sizeof(session_statuses[0]); i++) {
        struct rig r;

        rig_open(&r, NULL);
        nfsd_rule(r.n, &(struct nfsd_rule){
                           .op = D4_SEQUENCE, .with = D4_RENAME, .what = NFSD_FAIL, .status = session_statuses[i]});
        int err = rig_publish(&r, "file", text, LEN);
        cr_expect_eq(err, 0, "%u: %d", session_statuses[i], err);
        cr_expect(rig_right(&r, "file", text, LEN));
        cr_expect_eq(nfsd_renames(r.n, "file"), 1, "%u", session_statuses[i]);
        cr_expect_eq(nfsd_clear(r.n), 1);
        rig_close(&r);
    }
}

/* What only looked was not kept by the server: asked once more. */
Test(nfs_status, a_reply_that_was_not_kept_is_asked_for_again, .timeout = 60)
{
    static const uint32_t ops[] = {D4_READDIR, D4_READ};
    char buf[64];

    for (unsigned i = 0; i < 4; i++) {
        struct rig r;
        uint32_t op = ops[i % 2];

        rig_open(&r, &(struct rig_options){.server = {.uncached_on_next = i >= 2}});
        nfsd_put_file(r.n, "/export/there", text, LEN, 0644);
        nfsd_rule(r.n, &(struct nfsd_rule){.op = op, .what = NFSD_DROP_AFTER});
        int got = op == D4_READDIR ? rig_list(&r) : (int)rig_read(&r, "there", buf, sizeof(buf));
        cr_expect_eq(got, op == D4_READDIR ? 1 : (int)LEN, "%s: %d", nfsd_op_name(op), got);
        cr_expect_eq(nfsd_clear(r.n), 1);
        cr_expect_eq(nfsd_counts(r.n).replays, 1);
        cr_expect_eq(atomic_load(&r.repeats), 0, "it is the session's to repeat it");
        rig_close(&r);
    }
}

static void expect_all(struct rig *r, const char *prefix, const int *errs, unsigned count, bool once)
{
    for (unsigned i = 0; i < count; i++) {
        char name[64];
        char want[64];

        snprintf(name, sizeof(name), "%s%u", prefix, i);
        rig_text(i, want);
        cr_expect_eq(errs[i], 0, "%s: %d", name, errs[i]);
        cr_expect(rig_right(r, name, want, strlen(want)), "%s is wrong", name);
        cr_expect(!once || nfsd_renames(r->n, name) == 1, "%s came %u times", name, nfsd_renames(r->n, name));
    }
}

/* All slots are in flight when it happens; nothing had been carried out, or all of it had. */
static void lose_all(enum nfsd_do what, enum nfsd_then then, bool once)
{
    struct rig_options o = {.server = {.slots = 8, .ops = 20}};
    struct rig r;
    int errs[40];

    rig_open(&r, &o);
    nfsd_rule(r.n, &(struct nfsd_rule){.op = D4_RENAME, .count = 8, .what = what, .hold = 8, .then = then});
    rig_publish_many(&r, "f", 40, errs);
    cr_expect_eq(nfsd_clear(r.n), 8);
    expect_all(&r, "f", errs, 40, once);
    rig_close(&r);
}

Test(nfs_status, replies_may_come_in_any_order, .timeout = 60)
{
    lose_all(NFSD_HOLD, NFSD_THEN_GO_ON, true);
    lose_all(NFSD_HOLD_AFTER, NFSD_THEN_GO_ON, true);
}

Test(nfs_status, a_cut_with_all_slots_in_flight_does_nothing_twice, .timeout = 60)
{
    lose_all(NFSD_HOLD, NFSD_THEN_DROP, true);
    lose_all(NFSD_HOLD_AFTER, NFSD_THEN_DROP, true);
}

Test(nfs_status, a_session_lost_with_all_slots_in_flight_loses_nothing, .timeout = 60)
{
    lose_all(NFSD_HOLD, NFSD_THEN_LOSE_SESSION, true);
    lose_all(NFSD_HOLD_AFTER, NFSD_THEN_LOSE_SESSION, false);
}

Test(nfs_status, a_restart_with_all_slots_in_flight_loses_nothing, .timeout = 60)
{
    lose_all(NFSD_HOLD, NFSD_THEN_RESTART, true);
    lose_all(NFSD_HOLD_AFTER, NFSD_THEN_RESTART, false);
}

Test(nfs_status, a_connection_cut_at_each_operation, .timeout = 120)
{
    static const enum nfsd_do whats[] = {NFSD_DROP_BEFORE, NFSD_DROP_AFTER,   NFSD_CRASH,
                                         NFSD_CRASH_AFTER, NFSD_LOSE_SESSION, NFSD_LOSE_CLIENT};
    char *line = publish_line();
    unsigned ops = count_ops(line);

    for (unsigned w = 0; w < sizeof(whats) / sizeof(whats[0]); w++) {
        for (unsigned i = 0; i < (whats[w] == NFSD_CRASH ? ops : 1); i++) {
            struct rig r;

            rig_open(&r, NULL);
            nfsd_rule(r.n, &(struct nfsd_rule){.index = i + 1, .with = D4_RENAME, .what = whats[w]});
            int err = rig_publish(&r, "file", text, LEN);
            cr_expect_eq(err, 0, "%u at operation %u: %d (%s)", whats[w], i, err, strerror(-err));
            cr_expect(rig_right(&r, "file", text, LEN), "%u at operation %u", whats[w], i);
            cr_expect_eq(nfsd_clear(r.n), 1);
            if (whats[w] == NFSD_DROP_AFTER || whats[w] == NFSD_DROP_BEFORE) {
                cr_expect_eq(nfsd_renames(r.n, "file"), 1, "%u: done twice", whats[w]);
            }
            rig_close(&r);
        }
    }
    free(line);
}

Test(nfs_status, no_answer_ends_in_time, .timeout = 120)
{
    static const enum nfsd_do whats[] = {NFSD_SILENT, NFSD_SILENT_AFTER};

    for (unsigned w = 0; w < 2; w++) {
        struct rig_options o = {.io_timeout_ns = 2 * NS_PER_SEC, .retries = UINT_MAX};
        struct rig r;

        rig_open(&r, &o);
        nfsd_rule(r.n, &(struct nfsd_rule){.op = D4_SEQUENCE, .count = NFSD_EVER, .what = whats[w]});
        int err = rig_publish(&r, "file", text, LEN);
        cr_expect_eq(err, -ETIMEDOUT, "%d", err);
        cr_expect(r.took_ns < 2 * NS_PER_SEC, "%ld ms: the watchdog would have been first",
                  (long)(r.took_ns / NS_PER_MS));
        nfsd_clear(r.n);
        err = rig_publish(&r, "after", text, LEN);
        cr_expect_eq(err, 0, "%d", err);
        cr_expect(rig_right(&r, "after", text, LEN));
        rig_close(&r);
    }
}

Test(nfs_status, a_server_that_is_away_for_a_moment, .timeout = 60)
{
    struct rig r;
    int errs[20];

    rig_open(&r, &(struct rig_options){.retries = 20});
    nfsd_listen(r.n, false);
    nfsd_listen(r.n, true);
    rig_publish_many(&r, "a", 20, errs);
    expect_all(&r, "a", errs, 20, true);
    nfsd_restart(r.n);
    rig_publish_many(&r, "b", 20, errs);
    expect_all(&r, "b", errs, 20, true);
    rig_close(&r);
}

/* ---- stepping down ---- */

static void step_down(const struct rig_options *o, unsigned step)
{
    struct rig r;
    struct nfs41_facts facts;
    uint64_t before; /* the store tries the server out with files of its own */
    char big[100000];
    int errs[20];

    memset(big, 'x', sizeof(big));
    rig_open(&r, o);
    cr_assert_eq(nfs41_facts(r.store, &facts), 0);
    before = facts.publishes;
    cr_expect_eq(rig_publish(&r, "file", text, LEN), 0);
    cr_expect(rig_right(&r, "file", text, LEN));
    cr_expect_eq(rig_publish(&r, "empty", "", 0), 0);
    cr_expect(rig_right(&r, "empty", "", 0));
    rig_publish_many(&r, "f", 20, errs);
    expect_all(&r, "f", errs, 20, true);
    cr_expect_eq(rig_upload(&r, "large", big, sizeof(big), 30000), 0);
    cr_expect(rig_right(&r, "large", big, sizeof(big)));
    cr_assert_eq(nfs41_facts(r.store, &facts), 0);
    cr_expect_eq(facts.steps & step, step, "steps %x, not %x", facts.steps, step);
    cr_expect_eq(facts.publishes - before, 22, "%lu publishes", (unsigned long)facts.publishes);
    rig_close(&r);
}

Test(nfs_status, a_server_with_all_needs_no_step, .timeout = 60)
{
    struct rig r;
    struct nfs41_facts facts;

    rig_open(&r, NULL);
    cr_assert_eq(nfs41_facts(r.store, &facts), 0);
    cr_expect_eq(facts.steps & ~NFS41_STEP_SMALL, 0, "steps %x", facts.steps);
    rig_close(&r);
}

Test(nfs_status, without_a_current_stateid, .timeout = 60)
{
    step_down(&(struct rig_options){.server = {.no_current_stateid = true}}, NFS41_STEP_SPLIT);
}

Test(nfs_status, without_verify, .timeout = 60)
{
    step_down(&(struct rig_options){.server = {.no_verify = true}}, NFS41_STEP_NO_VERIFY);
}

Test(nfs_status, with_one_open_in_a_compound, .timeout = 60)
{
    step_down(&(struct rig_options){.server = {.no_second_open = true}}, 0);
}

Test(nfs_status, with_few_operations, .timeout = 60)
{
    step_down(&(struct rig_options){.server = {.ops = 8}}, NFS41_STEP_SPLIT);
}

Test(nfs_status, with_fewer_operations_than_it_says, .timeout = 60)
{
    step_down(&(struct rig_options){.server = {.real_ops = 8}}, NFS41_STEP_SPLIT);
}

Test(nfs_status, with_a_smaller_cache_than_it_says, .timeout = 60)
{
    step_down(&(struct rig_options){.server = {.real_cached = 400}}, 0);
}

Test(nfs_status, with_little_of_everything, .timeout = 60)
{
    step_down(
        &(struct rig_options){.server = {.slots = 1, .request = 8192, .response = 8192, .cached = 1024, .ops = 16}}, 0);
}

Test(nfs_status, with_smaller_requests_than_it_says, .timeout = 60)
{
    step_down(&(struct rig_options){.server = {.real_request = 16384}}, 0);
}

Test(nfs_status, in_small_fragments_byte_by_byte, .timeout = 60)
{
    step_down(&(struct rig_options){.server = {.fragment = 7, .dribble = 3}}, 0);
}

Test(nfs_status, with_owners_by_name, .timeout = 60)
{
    step_down(&(struct rig_options){.server = {.owners = NFSD_OWNERS_NAMES}}, 0);
}

Test(nfs_status, over_several_connections, .timeout = 60)
{
    step_down(&(struct rig_options){.connections = 4}, 0);
}

/* A WRITE that takes less than it was given: never under the final name, though no status says so. */
Test(nfs_status, a_short_write_is_not_published, .timeout = 60)
{
    static char big[60000];
    struct rig r;

    memset(big, 'b', sizeof(big));
    rig_open(&r, &(struct rig_options){.server = {.write_max = 50000}});
    nfsd_put_file(r.n, "/export/file", "old", 3, 0640);
    int err = rig_publish(&r, "file", big, sizeof(big));
    cr_expect_lt(err, 0);
    cr_expect(nfsd_same(r.n, "/export/file", "old", 3));
    err = rig_upload(&r, "large", big, sizeof(big), sizeof(big));
    cr_expect(err != 0 || rig_right(&r, "large", big, sizeof(big)));
    cr_expect(err == 0 || !nfsd_see(r.n, "/export/large").there);
    rig_close(&r);
}

Test(nfs_status, no_space_is_no_space, .timeout = 60)
{
    static char big[300000];
    struct rig r;

    rig_open(&r, &(struct rig_options){.server = {.space = 200000}});
    cr_expect_eq(rig_publish(&r, "file", big, sizeof(big)), -ENOSPC);
    cr_expect_eq(rig_upload(&r, "large", big, sizeof(big), 50000), -ENOSPC);
    cr_expect_eq(rig_publish(&r, "small", text, LEN), 0);
    rig_close(&r);
}

Test(nfs_status, a_read_only_server_says_so, .timeout = 60)
{
    struct rig r;
    int err = rig_try(&r, &(struct rig_options){.server = {.read_only = true}});

    cr_expect(err == 0 || err == -EROFS, "%d", err);
    if (err == 0) {
        cr_expect_eq(rig_publish(&r, "file", text, LEN), -EROFS);
    }
    rig_close(&r);
}

/* ---- owners ---- */

static int publish_owned(struct rig *r, uid_t uid, mode_t mode)
{
    struct attr attr = rig_attr(LEN);
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = r->root,
                          .name = "owned",
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = text}};

    attr.uid = uid;
    attr.gid = uid;
    attr.mode = S_IFREG | mode;
    return rig_run(r, &op);
}

Test(nfs_status, owners_are_kept, .timeout = 60)
{
    struct rig r;

    if (getuid() != 0) {
        cr_skip_test("needs root");
    }
    rig_open(&r, NULL);
    cr_expect_eq(publish_owned(&r, 1234, 06755), 0);
    struct nfsd_file f = nfsd_see(r.n, "/export/owned");
    cr_expect_eq(f.uid, 1234);
    cr_expect_eq(f.gid, 1234);
    cr_expect_eq(f.mode, 06755, "%o", f.mode);
    cr_expect(nfsd_same(r.n, "/export/owned", text, LEN));
    rig_close(&r);
}

Test(nfs_status, owners_that_are_refused_are_done_without, .timeout = 60)
{
    static const enum nfsd_owners kinds[] = {NFSD_OWNERS_PERM, NFSD_OWNERS_BADOWNER, NFSD_OWNERS_NOBODY};

    if (getuid() != 0) {
        cr_skip_test("needs root");
    }
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct rig_options o = {.server = {.owners = kinds[i]}};
        struct rig r;

        rig_open(&r, &o);
        int err = publish_owned(&r, 1234, 0755);
        cr_expect_eq(err, 0, "kind %u: %d", kinds[i], err);
        cr_expect(nfsd_same(r.n, "/export/owned", text, LEN));
        /* One that takes no number for an owner (BADOWNER) takes none of any file. */
        cr_expect(atomic_load(r.store->caps.owner_refused), "kind %u", kinds[i]);
        rig_close(&r);
        o.owner = OWNER_REQUIRE;
        err = rig_try(&r, &o);
        if (err == 0) {
            cr_expect_eq(publish_owned(&r, 1234, 0755), -EPERM, "kind %u", kinds[i]);
            cr_expect_not(nfsd_see(r.n, "/export/owned").there);
        }
        rig_close(&r);
    }
}

/* ---- large files ---- */

Test(nfs_status, a_changed_write_verifier_sends_the_parts_again, .timeout = 60)
{
    static const uint32_t ops[] = {D4_WRITE, D4_COMMIT};
    static char big[600000];

    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = (char)('a' + i % 23);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct rig r;

        rig_open(&r, &(struct rig_options){.server = {.unstable_lost = true}});
        nfsd_rule(r.n, &(struct nfsd_rule){.op = ops[i], .nth = i == 0 ? 4 : 1, .what = NFSD_NEW_VERIFIER});
        int err = rig_upload(&r, "large", big, sizeof(big), 100000);
        bool there = nfsd_see(r.n, "/export/large").there;
        cr_expect_eq(nfsd_clear(r.n), 1);
        cr_expect(!there || rig_right(&r, "large", big, sizeof(big)), "zeros were published");
        cr_expect(there == (err == 0), "%d", err);
        rig_close(&r);
    }
}

/* What must never be: a file that reads as zeros. Every status at every operation of a large file. */
Test(nfs_status, each_status_in_a_large_file, .timeout = 120)
{
    static const uint32_t ops[] = {D4_OPEN, D4_WRITE, D4_COMMIT, D4_SETATTR, D4_CLOSE, D4_RENAME};
    static char big[200000];

    memset(big, 'y', sizeof(big));
    for (unsigned s = 0; s < ROWS; s++) {
        for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
            struct rig r;

            rig_open(&r, NULL);
            nfsd_rule(r.n, &(struct nfsd_rule){.op = ops[i], .what = NFSD_FAIL, .status = rows[s].status});
            int err = rig_upload(&r, "large", big, sizeof(big), 60000);
            bool there = nfsd_see(r.n, "/export/large").there;
            cr_expect_eq(nfsd_clear(r.n), 1, "%s", nfsd_op_name(ops[i]));
            cr_expect(!there || rig_right(&r, "large", big, sizeof(big)), "%u at %s: broken", rows[s].status,
                      nfsd_op_name(ops[i]));
            cr_expect(there == (err == 0), "%u at %s: %d", rows[s].status, nfsd_op_name(ops[i]), err);
            rig_close(&r);
        }
    }
}

/* ---- listing ---- */

static void fill(struct rig *r, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char path[64];

        snprintf(path, sizeof(path), "/export/entry%u", i);
        nfsd_put_file(r->n, path, "", 0, 0644);
    }
}

Test(nfs_status, a_listing_begins_again_where_cookies_are_worth_nothing, .timeout = 60)
{
    struct rig r;

    for (unsigned nth = 1; nth < 6; nth++) {
        rig_open(&r, &(struct rig_options){.server = {.readdir_max = 10}});
        fill(&r, 45);
        nfsd_rule(r.n, &(struct nfsd_rule){.op = D4_READDIR, .nth = nth, .what = NFSD_NEW_COOKIES});
        cr_expect_eq(rig_list(&r), 45);
        cr_expect_eq(nfsd_clear(r.n), 1);
        nfsd_rule(r.n,
                  &(struct nfsd_rule){.op = D4_READDIR, .nth = nth, .what = NFSD_FAIL, .status = D4ERR_BAD_COOKIE});
        cr_expect_eq(rig_list(&r), 45);
        cr_expect_eq(nfsd_clear(r.n), 1);
        rig_close(&r);
    }
}

Test(nfs_status, each_status_in_a_listing, .timeout = 60)
{
    for (unsigned s = 0; s < ROWS; s++) {
        struct rig r;

        rig_open(&r, &(struct rig_options){.server = {.readdir_max = 10}});
        fill(&r, 25);
        nfsd_rule(r.n, &(struct nfsd_rule){.op = D4_READDIR, .nth = 2, .what = NFSD_FAIL, .status = rows[s].status});
        int count = rig_list(&r);
        cr_expect(count == 25 || count < 0, "%u: %d", rows[s].status, count);
        cr_expect(rows[s].err == 0 || count == -rows[s].err || count == 25, "%u: %d", rows[s].status, count);
        cr_expect_eq(nfsd_clear(r.n), 1);
        cr_expect_eq(rig_list(&r), 25);
        rig_close(&r);
    }
}

/* ---- opening ---- */

Test(nfs_status, what_is_wrong_is_said_at_the_start, .timeout = 60)
{
    static const struct {
        const char *what;
        struct rig_options o;
        int err; /* 0: any */
    } cases[] = {
        {"no 4.1", {.server = {.only_minor_0 = true}}, EPROTONOSUPPORT},
        {"Kerberos only", {.server = {.wrongsec = true}}, EACCES},
        {"no such export", {.path = "/nowhere"}, ENOENT},
        {"reserved ports only", {.server = {.reserved_port = true}}, EACCES},
        {"no answer", {.server = {.eat_nothing = true}, .io_timeout_ns = NS_PER_SEC}, ETIMEDOUT},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig r;
        int err = rig_try(&r, &cases[i].o);

        cr_expect_eq(-err, cases[i].err, "%s: %d", cases[i].what, err);
        cr_expect(r.problem != NULL && strlen(r.problem) > 10, "%s", cases[i].what);
        cr_expect(r.took_ns < 15 * NS_PER_SEC, "%s", cases[i].what);
        cr_log_info("%s: %s\n", cases[i].what, r.problem != NULL ? r.problem : "");
        rig_close(&r);
    }
}

Test(nfs_status, from_a_reserved_port, .timeout = 60)
{
    struct rig r;

    if (getuid() != 0) {
        cr_skip_test("needs root");
    }
    rig_open(&r, &(struct rig_options){.server = {.reserved_port = true}, .reserved_port = true});
    cr_expect_eq(rig_publish(&r, "file", text, LEN), 0);
    rig_close(&r);
}

Test(nfs_status, missing_directories_are_made, .timeout = 60)
{
    struct rig r;

    rig_open(&r, &(struct rig_options){.path = "/export/a/b/c", .make_missing = true});
    cr_expect_eq(nfsd_see(r.n, "/export/a/b/c").type, D4T_DIR);
    cr_expect_eq(rig_publish(&r, "file", text, LEN), 0);
    cr_expect(nfsd_same(r.n, "/export/a/b/c/file", text, LEN));
    rig_close(&r);
}
