/*
 * test_nfs_attrs: attributes, owners and directories as a server may send them, right and wrong. What is decoded was
 * encoded by the tests' own XDR; each input lies in memory that ends where it ends, so that the sanitizers see a read
 * behind it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "support_nfsd_proto.h"
#include "support_nfsd_xdr.h"
#include "workers/stores/nfs41/attrs.h"
#include "workers/stores/nfs41/ops.h"

/* ---- inputs ---- */

/* bytes of it, in memory of exactly that size, and a decoder before them. */
static uint8_t *exact(const struct nx_out *from, size_t bytes, struct xdr_in *in)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);

    cr_assert_not_null(copy);
    memcpy(copy, from->data, bytes);
    xdr_in_init(in, copy, bytes);
    return copy;
}

/* A bitmap, and where the length of the values stands; values follow, then fattr_end. */
static size_t fattr_begin(struct nx_out *out, const unsigned *attrs, unsigned count)
{
    uint32_t mask[D4A_WORDS] = {0};

    for (unsigned i = 0; i < count; i++) {
        mask[attrs[i] / 32] |= 1U << attrs[i] % 32;
    }
    nx_put_u32(out, D4A_WORDS);
    for (unsigned w = 0; w < D4A_WORDS; w++) {
        nx_put_u32(out, mask[w]);
    }
    nx_put_u32(out, 0);
    return out->len - 4;
}

static void fattr_end(struct nx_out *out, size_t at)
{
    nx_patch_u32(out, at, (uint32_t)(out->len - at - 4));
}

static void put_time(struct nx_out *out, int64_t s, uint32_t ns)
{
    nx_put_u64(out, (uint64_t)s);
    nx_put_u32(out, ns);
}

/* Every attribute that haul asks for, of a character device. */
static void put_all(struct nx_out *out)
{
    static const unsigned attrs[] = {D4A_TYPE,   D4A_SIZE,        D4A_FSID,          D4A_FILEID,     D4A_MODE,
                                     D4A_OWNER,  D4A_OWNER_GROUP, D4A_NUMLINKS,      D4A_RAWDEV,     D4A_SPACE_USED,
                                     D4A_CHANGE, D4A_TIME_ACCESS, D4A_TIME_METADATA, D4A_TIME_MODIFY};
    size_t at = fattr_begin(out, attrs, sizeof(attrs) / sizeof(attrs[0]));

    nx_put_u32(out, D4T_CHR);
    nx_put_u64(out, 77); /* change */
    nx_put_u64(out, 4711);
    nx_put_u64(out, 5); /* fsid */
    nx_put_u64(out, 0);
    nx_put_u64(out, 0xfedcba9876543210);
    nx_put_u32(out, 04755);
    nx_put_u32(out, 3);
    nx_put_text(out, "1000");
    nx_put_text(out, "0");
    nx_put_u32(out, 8);
    nx_put_u32(out, 300);
    nx_put_u64(out, 8192);
    put_time(out, -5, 999999999);
    put_time(out, 1700000001, 1);
    put_time(out, 1700000002, 0);
    fattr_end(out, at);
}

static struct nfs_attrs decode(const struct nx_out *out, bool *failed)
{
    struct nfs_attrs attrs;
    struct xdr_in in;
    uint8_t *bytes = exact(out, out->len, &in);

    nfs_get_fattr(&in, &attrs);
    *failed = in.failed || xdr_in_left(&in) > 0;
    attrs.owner.text = attrs.group.text = NULL; /* would point into what is freed */
    free(bytes);
    return attrs;
}

/* ---- attributes ---- */

Test(nfs_attrs, what_a_server_says_is_read, .timeout = 10)
{
    struct nx_out out = {0};
    bool failed;

    put_all(&out);
    struct nfs_attrs a = decode(&out, &failed);
    cr_assert_not(failed);
    cr_expect_eq(a.attr.mode, S_IFCHR | 04755);
    cr_expect_eq(a.attr.change, 77);
    cr_expect_eq(a.attr.size, 4711);
    cr_expect_eq(a.attr.ino, 0xfedcba9876543210);
    cr_expect_eq(a.attr.nlink, 3);
    cr_expect_eq(a.attr.uid, 1000);
    cr_expect_eq(a.attr.gid, 0);
    cr_expect_eq(a.attr.rdev, makedev(8, 300));
    cr_expect_eq(a.attr.allocated, 8192);
    cr_expect_eq(a.attr.atime.tv_sec, -5);
    cr_expect_eq(a.attr.atime.tv_nsec, 999999999);
    cr_expect_eq(a.attr.ctime.tv_sec, 1700000001);
    cr_expect_eq(a.attr.ctime.tv_nsec, 1);
    cr_expect_eq(a.attr.mtime.tv_sec, 1700000002);
    nx_free(&out);
}

Test(nfs_attrs, cut_short_anywhere_they_are_refused, .timeout = 10)
{
    struct nx_out out = {0};

    put_all(&out);
    for (size_t len = 0; len < out.len; len++) {
        struct nfs_attrs attrs;
        struct xdr_in in;
        uint8_t *bytes = exact(&out, len, &in);

        nfs_get_fattr(&in, &attrs);
        cr_expect(in.failed, "the first %zu bytes of %zu", len, out.len);
        free(bytes);
    }
    nx_free(&out);
}

Test(nfs_attrs, any_word_may_lie, .timeout = 10)
{
    static const uint32_t lies[] = {0, 1, 2, 7, 9, 0xff, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff};
    struct nx_out out = {0};
    unsigned refused = 0;

    put_all(&out);
    for (size_t at = 0; at < out.len; at += 4) {
        for (unsigned k = 0; k < sizeof(lies) / sizeof(lies[0]); k++) {
            struct nx_out copy = {0};
            bool failed;

            nx_put_raw(&copy, out.data, out.len);
            nx_patch_u32(&copy, at, lies[k]);
            struct nfs_attrs a = decode(&copy, &failed);
            refused += failed;
            /* What is taken for right can be worked with. */
            cr_expect(failed || (a.attr.mtime.tv_nsec >= 0 && a.attr.mtime.tv_nsec < 1000000000), "word %zu", at / 4);
            cr_expect(failed || (a.attr.mode & S_IFMT) != 0 || (a.mask & NFS_ATTR_TYPE) == 0, "word %zu", at / 4);
            nx_free(&copy);
        }
    }
    cr_expect(refused > 30, "%u were refused", refused);
    nx_free(&out);
}

Test(nfs_attrs, a_list_of_values_is_as_long_as_it_says, .timeout = 10)
{
    static const unsigned attrs[] = {D4A_SIZE, D4A_MODE};
    static const int32_t wrong[] = {-12, -8, -4, -1, 1, 3, 4, 8, 1 << 20};

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct nx_out out = {0};
        bool failed;
        size_t at = fattr_begin(&out, attrs, 2);

        nx_put_u64(&out, 1);
        nx_put_u32(&out, 0644);
        nx_patch_u32(&out, at, (uint32_t)(12 + wrong[i]));
        nx_put_u64(&out, 0); /* behind the list something else follows */
        nx_put_u64(&out, 0);
        decode(&out, &failed);
        cr_expect(failed, "%d", wrong[i]);
        nx_free(&out);
    }
}

Test(nfs_attrs, bitmaps_have_bounds, .timeout = 10)
{
    for (uint32_t words = 0; words < 20; words++) {
        struct nx_out out = {0};
        bool failed;

        nx_put_u32(&out, words);
        for (uint32_t w = 0; w < words; w++) {
            nx_put_u32(&out, 0);
        }
        nx_put_u32(&out, 0);
        decode(&out, &failed);
        cr_expect(words > 3 || !failed, "%u words", words);
        nx_free(&out);
    }
    static const uint32_t counts[] = {1000, 0x10000, 0x3fffffff, 0x40000000, 0x40000001, 0x7fffffff, 0xffffffff};
    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        struct nx_out out = {0};
        bool failed;

        nx_put_u32(&out, counts[i]);
        for (int w = 0; w < 2000; w++) {
            nx_put_u32(&out, 0);
        }
        decode(&out, &failed);
        cr_expect(failed, "%u words", counts[i]);
        nx_free(&out);
    }
}

Test(nfs_attrs, what_nobody_asked_for_cannot_be_skipped, .timeout = 10)
{
    for (unsigned attr = 0; attr < 96; attr++) {
        struct nx_out out = {0};
        bool failed;
        size_t at = fattr_begin(&out, &attr, 1);

        fattr_end(&out, at); /* no value: right for none */
        decode(&out, &failed);
        cr_expect(failed, "attribute %u without a value", attr);
        nx_free(&out);
    }
}

/* ---- owners ---- */

static uint32_t owner_of(const void *text, size_t len, bool *is_text, bool *failed)
{
    static const unsigned attr = D4A_OWNER;
    struct nx_out out = {0};
    size_t at = fattr_begin(&out, &attr, 1);

    nx_put_opaque(&out, text, len);
    fattr_end(&out, at);
    struct nfs_attrs a = decode(&out, failed);
    *is_text = a.owner.len > 0;
    nx_free(&out);
    return a.attr.uid;
}

Test(nfs_attrs, owners_are_numbers_or_text, .timeout = 10)
{
    static const struct {
        const char *text;
        uint32_t id;
        bool is_text;
    } cases[] = {
        {"0", 0, false},
        {"1000", 1000, false},
        {"65534", 65534, false},
        {"4294967294", 4294967294, false},
        {"4294967295", UINT32_MAX, true}, /* "nobody in particular" for chown: not an owner */
        {"4294967296", UINT32_MAX, true},
        {"18446744073709551616", UINT32_MAX, true},
        {"99999999999999999999999999999999999999", UINT32_MAX, true},
        {"-1", UINT32_MAX, true},
        {"+1", UINT32_MAX, true},
        {" 1", UINT32_MAX, true},
        {"1 ", UINT32_MAX, true},
        {"0x10", UINT32_MAX, true},
        {"root", UINT32_MAX, true},
        {"root@example.org", UINT32_MAX, true},
        {"1000@example.org", UINT32_MAX, true},
        {"\xff\xfe", UINT32_MAX, true},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool is_text = false;
        bool failed = false;
        uint32_t id = owner_of(cases[i].text, strlen(cases[i].text), &is_text, &failed);

        cr_expect_not(failed, "%s", cases[i].text);
        cr_expect_eq(id, cases[i].id, "%s is %u", cases[i].text, id);
        cr_expect_eq(is_text, cases[i].is_text, "%s", cases[i].text);
    }
}

Test(nfs_attrs, owners_of_any_length_do_no_harm, .timeout = 10)
{
    static const char zeros[8192];
    bool is_text;
    bool failed;

    cr_expect_eq(owner_of("", 0, &is_text, &failed), UINT32_MAX, "nobody at all is not root");
    cr_expect_eq(owner_of("\0", 1, &is_text, &failed), UINT32_MAX);
    cr_expect_eq(owner_of("0\0", 2, &is_text, &failed), UINT32_MAX);
    owner_of(zeros, NFS_OWNER_TEXT_MAX, &is_text, &failed);
    cr_expect_not(failed);
    owner_of(zeros, NFS_OWNER_TEXT_MAX + 1, &is_text, &failed);
    cr_expect(failed);
    owner_of(zeros, sizeof(zeros), &is_text, &failed);
    cr_expect(failed);
}

/* ---- types and times ---- */

Test(nfs_attrs, only_types_that_there_are, .timeout = 10)
{
    static const unsigned attrs[] = {D4A_TYPE, D4A_RAWDEV};

    for (uint32_t type = 0; type < 20; type++) {
        struct nx_out out = {0};
        bool failed;
        size_t at = fattr_begin(&out, attrs, 2);

        nx_put_u32(&out, type);
        nx_put_u32(&out, 0xffffffff);
        nx_put_u32(&out, 0xffffffff);
        fattr_end(&out, at);
        struct nfs_attrs a = decode(&out, &failed);
        cr_expect_eq(failed, type == 0 || type > 9, "type %u", type);
        cr_expect(failed || type == D4T_BLK || type == D4T_CHR || a.attr.rdev == 0, "type %u", type);
        nx_free(&out);
    }
}

Test(nfs_attrs, times_are_times, .timeout = 10)
{
    static const uint32_t ns[] = {0, 999999999, 1000000000, 0x7fffffff, 0xffffffff};
    static const int64_t s[] = {0, -1, INT64_MAX, INT64_MIN, 1LL << 40};
    static const unsigned attrs[] = {D4A_TIME_DELTA, D4A_TIME_MODIFY};

    for (unsigned i = 0; i < 25; i++) {
        struct nx_out out = {0};
        bool failed;
        size_t at = fattr_begin(&out, attrs, 2);

        put_time(&out, s[i / 5], ns[i % 5]);
        put_time(&out, s[i / 5], ns[i % 5]);
        fattr_end(&out, at);
        struct nfs_attrs a = decode(&out, &failed);
        cr_expect_not(failed);
        cr_expect(a.attr.mtime.tv_nsec >= 0 && a.attr.mtime.tv_nsec < 1000000000);
        cr_expect(a.time_delta_ns >= 0 && a.time_delta_ns <= 1LL << 62, "%ld", (long)a.time_delta_ns);
        nx_free(&out);
    }
}

/* ---- directories ---- */

static void put_entry(struct nx_out *out, uint64_t cookie, const char *name, size_t len)
{
    static const unsigned attr = D4A_TYPE;

    nx_put_u32(out, 1);
    nx_put_u64(out, cookie);
    nx_put_opaque(out, name, len);
    size_t at = fattr_begin(out, &attr, 1);
    nx_put_u32(out, D4T_REG);
    fattr_end(out, at);
}

/* Entries until the end; the number of them, or -errno. */
static int count_entries(const struct nx_out *out, size_t len, bool *eof)
{
    struct xdr_in in;
    struct nfs_entry e;
    uint8_t *bytes = exact(out, len, &in);
    int count = 0;
    int r;

    *eof = false;
    while ((r = nfs_get_entry(&in, &e, eof)) == 1) {
        cr_assert(e.len <= NFS_NAME_MAX);
        cr_assert((const uint8_t *)e.name >= bytes && (const uint8_t *)e.name + e.len <= bytes + len);
        count++;
    }
    free(bytes);
    return r < 0 ? r : count;
}

Test(nfs_attrs, a_directory_is_read, .timeout = 10)
{
    struct nx_out out = {0};
    bool eof;

    put_entry(&out, 3, "a", 1);
    put_entry(&out, 4, "bcde", 4);
    nx_put_u32(&out, 0);
    nx_put_u32(&out, 1);
    cr_expect_eq(count_entries(&out, out.len, &eof), 2);
    cr_expect(eof);
    for (size_t len = 0; len < out.len; len++) {
        cr_expect_eq(count_entries(&out, len, &eof), -EPROTO, "%zu bytes of %zu", len, out.len);
    }
    nx_free(&out);
}

Test(nfs_attrs, a_directory_may_lie_in_any_word, .timeout = 10)
{
    static const uint32_t lies[] = {0, 1, 2, 5, 0x401, 0x7fffffff, 0xfffffffd, 0xffffffff};
    struct nx_out out = {0};
    bool eof;

    put_entry(&out, 3, "a", 1);
    put_entry(&out, 4, "bcde", 4);
    nx_put_u32(&out, 0);
    nx_put_u32(&out, 1);
    for (size_t at = 0; at < out.len; at += 4) {
        for (unsigned k = 0; k < sizeof(lies) / sizeof(lies[0]); k++) {
            struct nx_out copy = {0};

            nx_put_raw(&copy, out.data, out.len);
            nx_patch_u32(&copy, at, lies[k]);
            int count = count_entries(&copy, copy.len, &eof);
            cr_expect(count == -EPROTO || (count >= 0 && count <= 2), "word %zu: %d", at / 4, count);
            nx_free(&copy);
        }
    }
    nx_free(&out);
}

Test(nfs_attrs, names_have_a_bound, .timeout = 10)
{
    static char name[NFS_NAME_MAX + 1];

    memset(name, 'n', sizeof(name));
    for (size_t len = NFS_NAME_MAX - 1; len <= NFS_NAME_MAX + 1; len++) {
        struct nx_out out = {0};
        bool eof;

        put_entry(&out, 3, name, len);
        nx_put_u32(&out, 0);
        nx_put_u32(&out, 1);
        cr_expect_eq(count_entries(&out, out.len, &eof), len <= NFS_NAME_MAX ? 1 : -EPROTO);
        nx_free(&out);
    }
}
