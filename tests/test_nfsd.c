/*
 * test_nfsd: the scripted server of the tests, looked at by a client that is not haul.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support_nfsc.h"
#include "support_nfsd.h"

static const char text[] = "what is in the file";
#define LEN (sizeof(text) - 1)

static void open_both(struct nfsd **n, struct nfsc *c, const struct nfsd_options *options)
{
    *n = nfsd_create(options);
    cr_assert(nfsc_open(c, nfsd_port(*n)));
    cr_assert(nfsc_session(c, "someone", 1));
}

static void put_current(struct nx_out *out)
{
    nx_put_u32(out, 1);
    nx_put_u64(out, 0);
    nx_put_u32(out, 0);
}

static void begin_in_export(struct nfsc *c)
{
    nfsc_begin_sequence(c, true);
    nfsc_op(c, D4_PUTROOTFH);
    nx_put_text(nfsc_op(c, D4_LOOKUP), "export");
    nfsc_op(c, D4_SAVEFH);
}

/* The exchange of one round trip: created, written, compared (with that size), closed, renamed. */
static void build_publish(struct nfsc *c, const char *temp, const char *name, uint64_t size)
{
    struct nx_out *out;

    begin_in_export(c);
    out = nfsc_op(c, D4_OPEN);
    nx_put_u32(out, 0);
    nx_put_u32(out, 2 | 0x400); /* write, no delegation */
    nx_put_u32(out, 0);
    nx_put_u64(out, c->client);
    nx_put_text(out, "owner");
    nx_put_u32(out, 1); /* create */
    nx_put_u32(out, 1); /* GUARDED4 */
    nx_put_u32(out, 2);
    nx_put_u32(out, 0);
    nx_put_u32(out, 1U << (D4A_MODE - 32));
    nx_put_u32(out, 4);
    nx_put_u32(out, 0640);
    nx_put_u32(out, 0);
    nx_put_text(out, temp);
    out = nfsc_op(c, D4_WRITE);
    put_current(out);
    nx_put_u64(out, 0);
    nx_put_u32(out, 2);
    nx_put_opaque(out, text, LEN);
    out = nfsc_op(c, D4_VERIFY);
    nx_put_u32(out, 1);
    nx_put_u32(out, 1U << D4A_SIZE);
    nx_put_u32(out, 8);
    nx_put_u64(out, size);
    out = nfsc_op(c, D4_CLOSE);
    nx_put_u32(out, 0);
    put_current(out);
    nfsc_op(c, D4_RESTOREFH);
    out = nfsc_op(c, D4_RENAME);
    nx_put_text(out, temp);
    nx_put_text(out, name);
}

Test(nfsd, a_file_is_published_in_one_round_trip, .timeout = 30)
{
    struct nfsd *n;
    struct nfsc c;

    open_both(&n, &c, NULL);
    build_publish(&c, ".temp", "final", LEN);
    cr_assert(nfsc_call(&c, 5000));
    cr_expect_eq(nfsc_status(&c), D4ERR_OK);
    cr_expect(nfsd_same(n, "/export/final", text, LEN));
    cr_expect_eq(nfsd_see(n, "/export/final").mode, 0640);
    cr_expect_eq(nfsd_names(n, ".temp"), 0);
    cr_expect_eq(nfsd_renames(n, "final"), 1);
    char *ops = nfsd_last_with(n, D4_RENAME);
    cr_expect_str_eq(ops, "SEQUENCE PUTROOTFH LOOKUP SAVEFH OPEN WRITE VERIFY CLOSE RESTOREFH RENAME");
    free(ops);
    struct nfsd_counts counts = nfsd_counts(n);
    cr_expect_eq(counts.opens, 0);
    cr_expect_eq(counts.opens_max, 1);
    cr_expect_eq(nfsc_leave(&c), D4ERR_OK);
    nfsc_close(&c);
    nfsd_destroy(n);
}

Test(nfsd, verify_stops_what_is_wrong_and_the_open_stays, .timeout = 30)
{
    struct nfsd *n;
    struct nfsc c;

    open_both(&n, &c, NULL);
    build_publish(&c, ".temp", "final", LEN + 1);
    cr_assert(nfsc_call(&c, 5000));
    cr_expect_eq(nfsc_status(&c), D4ERR_NOT_SAME);
    cr_expect_not(nfsd_see(n, "/export/final").there);
    cr_expect_eq(nfsd_names(n, ".temp"), 1);
    cr_expect_eq(nfsd_counts(n).opens, 1);
    cr_expect_eq(nfsc_leave(&c), D4ERR_CLIENTID_BUSY);
    nfsc_close(&c);
    nfsd_destroy(n);
}

Test(nfsd, a_request_sent_again_is_answered_from_the_cache, .timeout = 30)
{
    struct nfsd *n;
    struct nfsc c;

    open_both(&n, &c, NULL);
    nfsd_rule(n, &(struct nfsd_rule){.op = D4_RENAME, .what = NFSD_DROP_AFTER});
    build_publish(&c, ".temp", "final", LEN);
    cr_assert_not(nfsc_call(&c, 5000));
    cr_assert(nfsc_again(&c));
    cr_assert(nfsc_call(&c, 5000));
    cr_expect_eq(nfsc_status(&c), D4ERR_OK);
    cr_expect_eq(nfsd_renames(n, "final"), 1);
    cr_expect_eq(nfsd_counts(n).replays, 1);
    cr_expect_eq(nfsd_clear(n), 1);
    nfsc_close(&c);
    nfsd_destroy(n);
}

static uint32_t lookup_uncached(struct nfsc *c)
{
    nfsc_begin_sequence(c, false);
    nfsc_op(c, D4_PUTROOTFH);
    cr_assert(nfsc_call(c, 5000));
    return nfsc_status(c);
}

Test(nfsd, what_was_not_to_be_cached_is_not_answered_twice, .timeout = 30)
{
    for (int next = 0; next < 2; next++) {
        struct nfsd *n;
        struct nfsc c;

        open_both(&n, &c, &(struct nfsd_options){.uncached_on_next = next == 1});
        cr_expect_eq(lookup_uncached(&c), D4ERR_OK);
        cr_assert(nfsc_call(&c, 5000));
        cr_expect_eq(nfsc_status(&c), D4ERR_RETRY_UNCACHED_REP);
        cr_expect_eq(nfsc_result(&c, D4_SEQUENCE), next == 1 ? D4ERR_OK : D4ERR_RETRY_UNCACHED_REP);
        nfsc_close(&c);
        nfsd_destroy(n);
    }
}

Test(nfsd, a_client_that_uses_a_slot_twice_is_told_of, .timeout = 30)
{
    struct nfsd *n;
    struct nfsc c;

    open_both(&n, &c, NULL);
    cr_expect_eq(lookup_uncached(&c), D4ERR_OK);
    c.seq--;
    nfsc_begin_sequence(&c, false);
    nx_put_text(nfsc_op(&c, D4_LOOKUP), "export");
    cr_assert(nfsc_call(&c, 5000));
    cr_expect_eq(nfsc_status(&c), D4ERR_SEQ_FALSE_RETRY);
    char *complaint = nfsd_complaint(n);
    cr_expect_not_null(complaint);
    free(complaint);
    nfsd_forgive(n);
    nfsc_close(&c);
    nfsd_destroy(n);
}

Test(nfsd, the_script_is_followed, .timeout = 30)
{
    struct nfsd *n;
    struct nfsc c;

    open_both(&n, &c, NULL);
    nfsd_rule(n, &(struct nfsd_rule){.op = D4_WRITE, .nth = 2, .what = NFSD_FAIL, .status = D4ERR_NOSPC});
    nfsd_rule(n, &(struct nfsd_rule){.index = 10, .with = D4_RENAME, .name = "c", .what = NFSD_ACT_FAIL, .status = 99});
    const uint32_t expected[] = {D4ERR_OK, D4ERR_NOSPC, 99, D4ERR_OK};
    for (int i = 0; i < 4; i++) {
        const char name[] = {(char)('a' + i), 0};
        const char temp[] = {'.', (char)('a' + i), 0};

        build_publish(&c, temp, name, LEN);
        cr_assert(nfsc_call(&c, 5000));
        cr_expect_eq(nfsc_status(&c), expected[i], "file %d", i);
        const char *path[] = {"/export/a", "/export/b", "/export/c", "/export/d"};
        cr_expect_eq(nfsd_see(n, path[i]).there, i != 1);
    }
    cr_expect_eq(nfsd_clear(n), 2);
    nfsd_rule(n, &(struct nfsd_rule){.op = D4_PUTROOTFH, .what = NFSD_LOSE_SESSION});
    cr_expect_eq(lookup_uncached(&c), D4ERR_BADSESSION);
    nfsc_close(&c);
    nfsd_destroy(n);
}

Test(nfsd, what_is_held_comes_when_it_is_let_go, .timeout = 30)
{
    struct nfsd *n;
    struct nfsc c;

    open_both(&n, &c, NULL);
    nfsd_rule(n, &(struct nfsd_rule){.op = D4_RENAME, .count = NFSD_EVER, .what = NFSD_HOLD, .hold = 5});
    build_publish(&c, ".temp", "final", LEN);
    cr_expect_not(nfsc_call(&c, 100));
    cr_assert(nfsd_wait_held(n, 1, 5000));
    cr_expect_not(nfsd_see(n, "/export/final").there);
    cr_expect_eq(nfsd_let_go(n), 1);
    cr_expect(nfsd_see(n, "/export/final").there);
    nfsd_clear(n);
    nfsc_close(&c);
    nfsd_destroy(n);
}

Test(nfsd, another_verifier_ends_what_the_owner_had, .timeout = 30)
{
    struct nfsd *n;
    struct nfsc old;
    struct nfsc new;

    open_both(&n, &old, NULL);
    build_publish(&old, ".temp", "final", LEN + 1);
    cr_assert(nfsc_call(&old, 5000));
    cr_expect_eq(nfsd_counts(n).opens, 1);
    cr_assert(nfsc_open(&new, nfsd_port(n)));
    cr_assert(nfsc_session(&new, "someone", 2));
    cr_expect_eq(nfsd_counts(n).opens, 0);
    cr_expect_eq(lookup_uncached(&old), D4ERR_BADSESSION);
    cr_expect_eq(nfsc_leave(&new), D4ERR_OK);
    nfsc_close(&old);
    nfsc_close(&new);
    nfsd_destroy(n);
}
