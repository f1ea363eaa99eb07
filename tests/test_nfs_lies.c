/*
 * test_nfs_lies: a server that lies: about lengths, counts, xids, records, results, names. The client must not crash
 * (the sanitizers look), not take memory without bound, not wait for ever, and not take a lie for a file that arrived
 * broken; and it must go on working with a server that is honest again.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "support_nfsd_xdr.h"
#include "support_nfsrig.h"

static const char text[] = "what is in the file";
#define LEN        (sizeof(text) - 1)
#define MEMORY_MAX (96U << 20) /* bytes that a lie may cost; sanitizers need some themselves */

static const struct rig_options patient = {.io_timeout_ns = 500 * NS_PER_MS, .retries = 2};

struct lie {
    const char *what;
    enum nfsd_lie lie;
    uint32_t at;
    uint32_t value;
    bool harmless; /* an answer that must be understood all the same */
};

static const struct lie lies[] = {
    {"another xid", NFSD_LIE_XID, 0, 0, false},
    {"nothing of the reply", NFSD_LIE_CUT, 0, 0, false},
    {"half a header", NFSD_LIE_CUT, 10, 0, false},
    {"a header alone", NFSD_LIE_CUT, 24, 0, false},
    {"half of the results", NFSD_LIE_CUT, 100, 0, false},
    {"a record that ends early, and the connection", NFSD_LIE_TRUNCATE, 60, 0, false},
    {"a record that stalls", NFSD_LIE_STALL, 60, 0, false},
    {"a mark that stalls", NFSD_LIE_STALL, 0, 0, false},
    {"bytes behind the results", NFSD_LIE_MORE, 0, 64, true},
    {"very many bytes behind the results", NFSD_LIE_MORE, 0, 2U << 20, false},
    {"a record of 2 GiB", NFSD_LIE_HUGE_RECORD, 0, 0, false},
    {"fragments without end", NFSD_LIE_FRAGMENTS, 0, 0, false},
    {"empty fragments without end", NFSD_LIE_EMPTY_FRAGMENTS, 0, 0, false},
    {"a small record of garbage", NFSD_LIE_GARBAGE, 0, 3, false},
    {"a record of garbage", NFSD_LIE_GARBAGE, 0, 400, false},
    {"a large record of garbage", NFSD_LIE_GARBAGE, 0, 2U << 20, false},
    {"noise", NFSD_LIE_NOISE, 0, 1U << 18, false},
    {"the reply twice", NFSD_LIE_TWICE, 0, 0, true},
    {"a reply to nobody first", NFSD_LIE_STRAY, 0, 0, true},
    {"a call to the client first", NFSD_LIE_CALL, 0, 0, true},
    {"denied: bad credentials", NFSD_LIE_AUTH, 0, 1, false},
    {"denied: too weak", NFSD_LIE_AUTH, 0, 5, false},
    {"no such program", NFSD_LIE_RPC, 0, 1, false},
    {"another version", NFSD_LIE_RPC, 0, 2, false},
    {"garbage in the arguments", NFSD_LIE_RPC, 0, 4, false},
    {"a system error", NFSD_LIE_RPC, 0, 5, false},
    {"an accept_stat that is none", NFSD_LIE_RPC, 0, 99, false},
};
#define LIES (sizeof(lies) / sizeof(lies[0]))

static struct criterion_test_params all_lies(void)
{
    unsigned *all = cr_malloc(LIES * sizeof(*all));

    for (unsigned i = 0; i < LIES; i++) {
        all[i] = i;
    }
    return cr_make_param_array(unsigned, all, LIES);
}

/* Honest again: the store works. A server that is lied about may leave temp names behind, a broken file never. */
static void expect_well(struct rig *r, const char *what)
{
    int err = -ETIMEDOUT;

    nfsd_clear(r->n);
    for (int i = 0; i < 60 && err == -ETIMEDOUT; i++) {
        err = rig_publish(r, "after", text, LEN); /* patience is short here, and the machine may be busy */
    }
    cr_expect_eq(err, 0, "%s: nothing works any more: %d (%s)", what, err, strerror(-err));
    cr_expect(rig_right(r, "after", text, LEN), "%s", what);
}

static void lie_at(const struct lie *l, uint32_t op, unsigned count)
{
    struct rig r;
    size_t before;

    rig_open(&r, &patient);
    before = rig_memory();
    nfsd_rule(r.n, &(struct nfsd_rule){
                       .with = op, .count = count, .what = NFSD_LIE, .lie = l->lie, .at = l->at, .value = l->value});
    int err = op == D4_READDIR ? rig_list(&r) : rig_publish(&r, "file", text, LEN);
    cr_expect(r.took_ns < 15 * NS_PER_SEC, "%s: %ld ms", l->what, (long)(r.took_ns / NS_PER_MS));
    cr_expect(rig_memory() < before + MEMORY_MAX, "%s: %zu MiB more", l->what, (rig_memory() - before) >> 20);
    cr_expect(!l->harmless || err >= 0, "%s: %d", l->what, err);
    cr_expect(!nfsd_see(r.n, "/export/file").there || rig_right(&r, "file", text, LEN), "%s: a broken file", l->what);
    cr_expect(op == D4_READDIR || err != 0 || rig_right(&r, "file", text, LEN), "%s: not there", l->what);
    cr_expect(nfsd_fired(r.n) >= 1, "%s", l->what);
    expect_well(&r, l->what);
    rig_close_after_lies(&r);
}

ParameterizedTestParameters(nfs_lies, one_lie_about_a_file)
{
    return all_lies();
}

ParameterizedTest(unsigned *i, nfs_lies, one_lie_about_a_file, .timeout = 60)
{
    lie_at(&lies[*i], D4_RENAME, 1);
}

ParameterizedTestParameters(nfs_lies, lies_without_end)
{
    return all_lies();
}

ParameterizedTest(unsigned *i, nfs_lies, lies_without_end, .timeout = 60)
{
    lie_at(&lies[*i], D4_RENAME, NFSD_EVER);
}

ParameterizedTestParameters(nfs_lies, one_lie_about_a_directory)
{
    return all_lies();
}

ParameterizedTest(unsigned *i, nfs_lies, one_lie_about_a_directory, .timeout = 60)
{
    lie_at(&lies[*i], D4_READDIR, 1);
}

/* From the first call on: the store does not open, and says why. */
ParameterizedTestParameters(nfs_lies, lies_from_the_start)
{
    return all_lies();
}

ParameterizedTest(unsigned *i, nfs_lies, lies_from_the_start, .timeout = 60)
{
    static const uint32_t ops[] = {D4_EXCHANGE_ID, D4_CREATE_SESSION, D4_SEQUENCE};
    const struct lie *l = &lies[*i];

    for (unsigned k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
        struct nfsd *n = nfsd_create(NULL);
        size_t before = rig_memory();
        struct rig r;

        nfsd_rule(n, &(struct nfsd_rule){.op = ops[k],
                                         .index = 0,
                                         .count = NFSD_EVER,
                                         .what = NFSD_LIE,
                                         .lie = l->lie,
                                         .at = l->at,
                                         .value = l->value});
        int err = rig_join(&r, n, &patient);
        cr_expect(r.took_ns < 20 * NS_PER_SEC, "%s: %ld ms", l->what, (long)(r.took_ns / NS_PER_MS));
        cr_expect(rig_memory() < before + MEMORY_MAX, "%s: %zu MiB more", l->what, (rig_memory() - before) >> 20);
        cr_expect(l->harmless ? err == 0 : err < 0 || l->lie == NFSD_LIE_CUT, "%s at %s: %d", l->what,
                  nfsd_op_name(ops[k]), err);
        cr_expect(err == 0 || r.problem != NULL, "%s at %s: no word about it", l->what, nfsd_op_name(ops[k]));
        rig_close_after_lies(&r);
    }
}

/* ---- each word ---- */

static const uint32_t words[] = {0, 1, 0x7f, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffd, 0xffffffff};
#define WORDS (sizeof(words) / sizeof(words[0]))

static struct criterion_test_params all_words(void)
{
    unsigned *all = cr_malloc(WORDS * sizeof(*all));

    for (unsigned i = 0; i < WORDS; i++) {
        all[i] = i;
    }
    return cr_make_param_array(unsigned, all, WORDS);
}

/* Every word of the reply to what do_it does, one after the other, is value. */
static void lie_in_each_word(uint32_t op, uint32_t value, int (*do_it)(struct rig *r, unsigned at))
{
    struct rig r;
    size_t len = 0;
    size_t before = rig_memory();

    rig_open(&r, &patient);
    nfsd_put_file(r.n, "/export/there", text, LEN, 0644);
    nfsd_put_link(r.n, "/export/link", "where it leads to");
    cr_expect_geq(do_it(&r, UINT_MAX), 0);
    free(nfsd_last_reply(r.n, op, &len));
    cr_assert(len > 40, "%zu bytes", len);
    for (unsigned at = 1; at < len / 4 && at < 200; at++) {
        nfsd_rule(r.n,
                  &(struct nfsd_rule){.with = op, .what = NFSD_LIE, .lie = NFSD_LIE_WORD, .at = at, .value = value});
        do_it(&r, at);
        cr_expect(r.took_ns < 10 * NS_PER_SEC, "word %u of %s: %ld ms", at, nfsd_op_name(op),
                  (long)(r.took_ns / NS_PER_MS));
        nfsd_clear(r.n);
    }
    cr_expect(rig_memory() < before + MEMORY_MAX, "%zu MiB more", (rig_memory() - before) >> 20);
    expect_well(&r, nfsd_op_name(op));
    rig_close_after_lies(&r);
}

static int publish_at(struct rig *r, unsigned at)
{
    char name[32];
    char path[64];

    snprintf(name, sizeof(name), "w%u", at);
    snprintf(path, sizeof(path), "/export/%s", name);
    int err = rig_publish(r, name, text, LEN);
    bool there = nfsd_see(r->n, path).there;
    cr_expect(!there || nfsd_same(r->n, path, text, LEN), "word %u: a broken file", at);
    cr_expect(there || err != 0, "word %u: said to be there, and is not", at);
    return err;
}

static int list_at(struct rig *r, unsigned at)
{
    (void)at;
    return rig_list(r);
}

static int read_at(struct rig *r, unsigned at)
{
    char buf[64];
    ssize_t len = rig_read(r, "there", buf, sizeof(buf));

    (void)at;
    cr_expect(len <= (ssize_t)sizeof(buf));
    return (int)len;
}

static int readlink_at(struct rig *r, unsigned at)
{
    char buf[64];
    struct store_op op = {
        .code = STORE_READLINK, .dir = r->root, .name = "link", .readlink = {.buf = buf, .size = sizeof(buf)}};

    (void)at;
    return rig_run(r, &op);
}

static int upload_at(struct rig *r, unsigned at)
{
    char name[32];

    snprintf(name, sizeof(name), "u%u", at);
    return rig_upload(r, name, text, LEN, LEN);
}

ParameterizedTestParameters(nfs_lies, any_word_about_a_file)
{
    return all_words();
}

ParameterizedTest(unsigned *i, nfs_lies, any_word_about_a_file, .timeout = 120)
{
    lie_in_each_word(D4_RENAME, words[*i], publish_at);
}

ParameterizedTestParameters(nfs_lies, any_word_about_a_directory)
{
    return all_words();
}

ParameterizedTest(unsigned *i, nfs_lies, any_word_about_a_directory, .timeout = 120)
{
    lie_in_each_word(D4_READDIR, words[*i], list_at);
}

ParameterizedTestParameters(nfs_lies, any_word_about_contents)
{
    return all_words();
}

ParameterizedTest(unsigned *i, nfs_lies, any_word_about_contents, .timeout = 120)
{
    lie_in_each_word(D4_READ, words[*i], read_at);
}

ParameterizedTestParameters(nfs_lies, any_word_about_a_link)
{
    return all_words();
}

ParameterizedTest(unsigned *i, nfs_lies, any_word_about_a_link, .timeout = 120)
{
    lie_in_each_word(D4_READLINK, words[*i], readlink_at);
}

ParameterizedTestParameters(nfs_lies, any_word_about_a_large_file)
{
    return all_words();
}

ParameterizedTest(unsigned *i, nfs_lies, any_word_about_a_large_file, .timeout = 120)
{
    lie_in_each_word(D4_WRITE, words[*i], upload_at);
    lie_in_each_word(D4_COMMIT, words[*i], upload_at);
}

/* What it grants, word by word. */
ParameterizedTestParameters(nfs_lies, any_word_about_the_session)
{
    return all_words();
}

ParameterizedTest(unsigned *i, nfs_lies, any_word_about_the_session, .timeout = 120)
{
    static const uint32_t ops[] = {D4_EXCHANGE_ID, D4_CREATE_SESSION};

    for (unsigned k = 0; k < 2; k++) {
        for (unsigned at = 0; at < 30; at++) {
            struct nfsd *n = nfsd_create(NULL);
            struct rig r;

            nfsd_rule(n, &(struct nfsd_rule){
                             .op = ops[k], .what = NFSD_LIE, .lie = NFSD_LIE_WORD, .at = at, .value = words[*i]});
            int err = rig_join(&r, n, &patient);
            cr_expect(r.took_ns < 15 * NS_PER_SEC, "word %u", at);
            if (err == 0) {
                publish_at(&r, at);
            }
            rig_close_after_lies(&r);
        }
    }
}

/* ---- directories ---- */

/* A READDIR result with these names; cookies from first on. */
static void put_page(struct nx_out *out, const char *const *names, const size_t *lens, unsigned count, uint64_t first,
                     bool eof)
{
    nx_put_u32(out, 0);
    nx_put_u64(out, 1);
    for (unsigned i = 0; i < count; i++) {
        nx_put_u32(out, 1);
        nx_put_u64(out, first + i);
        nx_put_opaque(out, names[i], lens[i]);
        nx_put_u32(out, 1);
        nx_put_u32(out, 1U << D4A_TYPE);
        nx_put_u32(out, 4);
        nx_put_u32(out, D4T_REG);
    }
    nx_put_u32(out, 0);
    nx_put_u32(out, eof);
}

static int list_answered(struct rig *r, const struct nx_out *out, unsigned count)
{
    nfsd_rule(r->n, &(struct nfsd_rule){
                        .op = D4_READDIR, .count = count, .what = NFSD_ANSWER, .bytes = out->data, .len = out->len});
    int entries = rig_list(r);
    nfsd_clear(r->n);
    return entries;
}

Test(nfs_lies, names_that_are_no_names, .timeout = 60)
{
    static const struct {
        const char *name;
        size_t len;
    } bad[] = {{"", 0}, {"/", 1}, {"a/b", 3}, {"../x", 4}, {"/etc/passwd", 11}, {"a\0b", 3}, {"\0", 1}};
    struct rig r;

    rig_open(&r, &patient);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *names[] = {"good", bad[i].name};
        const size_t lens[] = {4, bad[i].len};
        struct nx_out out = {0};

        put_page(&out, names, lens, 2, 3, true);
        int count = list_answered(&r, &out, 1);
        cr_expect_lt(count, 0, "name %u: %d entries", i, count);
        nx_free(&out);
    }
    const char *dots[] = {".", "..", "good"};
    const size_t lens[] = {1, 2, 4};
    struct nx_out out = {0};
    put_page(&out, dots, lens, 3, 3, true);
    cr_expect_eq(list_answered(&r, &out, 1), 1, "dots are no entries");
    nx_free(&out);
    expect_well(&r, "names");
    rig_close_after_lies(&r);
}

Test(nfs_lies, a_directory_without_end, .timeout = 60)
{
    static const char *const names[] = {"a", "b", "c"};
    static const size_t lens[] = {1, 1, 1};
    struct nx_out page = {0};
    struct nx_out empty = {0};
    struct rig r;
    size_t before;

    rig_open(&r, &patient);
    before = rig_memory();
    put_page(&page, names, lens, 3, 3, false);
    int count = list_answered(&r, &page, NFSD_EVER);
    cr_expect_lt(count, 0, "the same page again and again: %d entries", count);
    put_page(&empty, names, lens, 0, 3, false);
    count = list_answered(&r, &empty, NFSD_EVER);
    cr_expect_lt(count, 0, "no entry, and no end: %d", count);
    cr_expect(rig_memory() < before + MEMORY_MAX);
    nx_free(&page);
    nx_free(&empty);
    expect_well(&r, "a directory without end");
    rig_close_after_lies(&r);
}

Test(nfs_lies, cookies_that_are_never_good, .timeout = 60)
{
    struct rig r;

    rig_open(&r, &(struct rig_options){.io_timeout_ns = 700 * NS_PER_MS, .retries = 3, .server = {.readdir_max = 3}});
    for (unsigned i = 0; i < 10; i++) {
        char path[64];

        snprintf(path, sizeof(path), "/export/e%u", i);
        nfsd_put_file(r.n, path, "", 0, 0644);
    }
    nfsd_rule(r.n, &(struct nfsd_rule){.op = D4_READDIR, .count = NFSD_EVER, .what = NFSD_NEW_COOKIES});
    int count = rig_list(&r);
    cr_expect(count < 0 || count == 10, "%d", count);
    cr_expect(r.took_ns < 20 * NS_PER_SEC);
    nfsd_clear(r.n);
    cr_expect_eq(rig_list(&r), 10);
    rig_close(&r);
}

/* ---- contents ---- */

Test(nfs_lies, more_than_was_asked_for, .timeout = 60)
{
    static const uint32_t sizes[] = {65, 200, 5000, 70000, 2U << 20};
    struct rig r;

    rig_open(&r, &patient);
    nfsd_put_file(r.n, "/export/there", text, LEN, 0644);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct nx_out out = {0};
        char *data = calloc(1, sizes[i]);
        char guarded[64 + 64];

        cr_assert_not_null(data);
        memset(guarded, 'g', sizeof(guarded));
        nx_put_u32(&out, 0);
        nx_put_u32(&out, 1);
        nx_put_opaque(&out, data, sizes[i]);
        nfsd_rule(r.n, &(struct nfsd_rule){
                           .op = D4_READ, .count = NFSD_EVER, .what = NFSD_ANSWER, .bytes = out.data, .len = out.len});
        ssize_t len = rig_read(&r, "there", guarded, 64);
        cr_expect_lt(len, 0, "%u bytes: %zd", sizes[i], len);
        for (unsigned k = 64; k < sizeof(guarded); k++) {
            cr_assert_eq(guarded[k], 'g', "byte %u behind the buffer", k - 64);
        }
        nfsd_clear(r.n);
        nx_free(&out);
        free(data);
    }
    expect_well(&r, "more than was asked for");
    rig_close_after_lies(&r);
}

/* It says that more, or nothing, was written: nothing of it is believed. */
Test(nfs_lies, counts_of_bytes_that_were_not_written, .timeout = 60)
{
    static const uint32_t counts[] = {0, 1, LEN - 1, LEN + 1, 0x7fffffff, 0xffffffff};

    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct nx_out out = {0};
        struct rig r;

        nx_put_u32(&out, 0);
        nx_put_u32(&out, counts[i]);
        nx_put_u32(&out, 2); /* FILE_SYNC4 */
        nx_put_u64(&out, 0x7772697465000001);
        rig_open(&r, &patient);
        nfsd_rule(r.n, &(struct nfsd_rule){
                           .op = D4_WRITE, .count = NFSD_EVER, .what = NFSD_ANSWER, .bytes = out.data, .len = out.len});
        cr_expect_lt(rig_publish(&r, "file", text, LEN), 0, "%u", counts[i]);
        cr_expect_not(nfsd_see(r.n, "/export/file").there, "%u: an empty file was published", counts[i]);
        cr_expect_lt(rig_upload(&r, "large", text, LEN, LEN), 0, "%u", counts[i]);
        cr_expect_not(nfsd_see(r.n, "/export/large").there, "%u: an empty file was published", counts[i]);
        nfsd_clear(r.n);
        rig_close(&r);
        nx_free(&out);
    }
}
