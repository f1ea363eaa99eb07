/*
 * test_xdr: XDR both ways; lengths and counts that lie.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workers/stores/nfs41/nfserr.h"
#include "workers/stores/nfs41/xdr.h"

/* The pieces of an encoding as one buffer, malloc'd. */
static uint8_t *flatten(const struct xdr_out *out, size_t *out_len)
{
    struct iovec iov[XDR_IOV_MAX];
    unsigned count = xdr_out_iov(out, iov);
    cr_assert_leq(count, XDR_IOV_MAX);
    *out_len = xdr_out_size(out);
    uint8_t *flat = malloc(*out_len + 1);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        cr_assert_gt(iov[i].iov_len, 0);
        cr_assert_leq(at + iov[i].iov_len, *out_len);
        memcpy(flat + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    cr_assert_eq(at, *out_len);
    return flat;
}

/* RFC 4506's own example of a file (section 7), byte for byte. */
Test(xdr, as_the_rfc_says)
{
    static const uint8_t expected[] = {0,   0,   0,   9,   's', 'i', 'l', 'l', 'y', 'p', 'r', 'o', 'g', 0,   0, 0,
                                       0,   0,   0,   2,   0,   0,   0,   4,   'l', 'i', 's', 'p', 0,   0,   0, 4,
                                       'j', 'o', 'h', 'n', 0,   0,   0,   6,   '(', 'q', 'u', 'i', 't', ')', 0, 0};
    uint8_t buf[128];
    memset(buf, 0xee, sizeof(buf));
    struct xdr_out out;
    xdr_out_init(&out, buf, sizeof(buf));
    xdr_put_opaque(&out, "sillyprog", 9);
    xdr_put_u32(&out, 2);
    xdr_put_opaque(&out, "lisp", 4);
    xdr_put_opaque(&out, "john", 4);
    xdr_put_opaque(&out, "(quit)", 6);
    cr_assert(!out.failed);
    cr_assert_eq(out.used, sizeof(expected));
    cr_assert_arr_eq(buf, expected, sizeof(expected));
}

Test(xdr, there_and_back)
{
    uint8_t buf[256];
    struct xdr_out out;
    xdr_out_init(&out, buf, sizeof(buf));
    xdr_put_u32(&out, 0xfedcba98U);
    xdr_put_u64(&out, 0x0123456789abcdefULL);
    xdr_put_bool(&out, true);
    xdr_put_bool(&out, false);
    xdr_put_fixed(&out, "abcde", 5);
    xdr_put_opaque(&out, NULL, 0);
    xdr_put_opaque(&out, "x", 1);
    xdr_put_u32(&out, 0);
    xdr_patch_u32(&out, out.used - 4, 77);
    cr_assert(!out.failed);
    cr_assert_eq(buf[0], 0xfe);
    cr_assert_eq(buf[4], 0x01);

    struct xdr_in in;
    size_t len = 99;
    xdr_in_init(&in, buf, out.used);
    cr_assert_eq(xdr_get_u32(&in), 0xfedcba98U);
    cr_assert_eq(xdr_get_u64(&in), 0x0123456789abcdefULL);
    cr_assert(xdr_get_bool(&in));
    cr_assert(!xdr_get_bool(&in));
    cr_assert_arr_eq(xdr_get_fixed(&in, 5), "abcde", 5);
    cr_assert_not_null(xdr_get_opaque(&in, 10, &len));
    cr_assert_eq(len, 0);
    const uint8_t *x = xdr_get_opaque(&in, 1, &len);
    cr_assert_eq(len, 1);
    cr_assert_eq(*x, 'x');
    cr_assert_eq(xdr_get_u32(&in), 77);
    cr_assert_eq(xdr_in_left(&in), 0);
    cr_assert(!in.failed);
    cr_assert_eq(xdr_get_u32(&in), 0);
    cr_assert(in.failed);
}

/* Data by reference: never copied, in its place, padded. */
Test(xdr, by_reference)
{
    static uint8_t big[100003];
    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = (uint8_t)(i * 7 + 1);
    }
    uint8_t buf[64];
    struct xdr_out out;
    xdr_out_init(&out, buf, sizeof(buf));
    xdr_put_u32(&out, 1);
    xdr_put_ref(&out, big, sizeof(big));
    xdr_put_ref(&out, big, 4);
    xdr_put_ref(&out, big, 0);
    xdr_put_u32(&out, 2);
    cr_assert(!out.failed);
    cr_assert_eq(out.used, 4 + 4 + 1 + 4 + 4 + 4);
    struct iovec iov[XDR_IOV_MAX];
    unsigned count = xdr_out_iov(&out, iov);
    cr_assert_eq(count, 5);
    cr_assert_eq(iov[1].iov_base, big);
    cr_assert_eq(iov[1].iov_len, sizeof(big));
    cr_assert_eq(iov[3].iov_base, big);

    size_t flat_len;
    uint8_t *flat = flatten(&out, &flat_len);
    cr_assert_eq(flat_len % 4, 0);
    struct xdr_in in;
    size_t len;
    xdr_in_init(&in, flat, flat_len);
    cr_assert_eq(xdr_get_u32(&in), 1);
    const uint8_t *data = xdr_get_opaque(&in, sizeof(big), &len);
    cr_assert_eq(len, sizeof(big));
    cr_assert_eq(memcmp(data, big, len), 0);
    xdr_get_opaque(&in, 4, &len);
    cr_assert_eq(len, 4);
    xdr_get_opaque(&in, 4, &len);
    cr_assert_eq(len, 0);
    cr_assert_eq(xdr_get_u32(&in), 2);
    cr_assert(!in.failed && xdr_in_left(&in) == 0);
    free(flat);
}

Test(xdr, what_does_not_fit)
{
    uint8_t buf[16 + 8];
    memset(buf, 0xaa, sizeof(buf));
    struct xdr_out out;
    xdr_out_init(&out, buf, 16);
    xdr_put_u64(&out, 1);
    struct xdr_mark mark = xdr_out_mark(&out);
    xdr_put_opaque(&out, "12345", 5); /* 4 + 8 */
    cr_assert(out.failed);
    size_t used = out.used;
    xdr_put_u32(&out, 1); /* would fit, but nothing follows a failure */
    cr_assert_eq(out.used, used);
    xdr_out_rewind(&out, mark);
    cr_assert(!out.failed);
    xdr_put_opaque(&out, "1234", 4);
    cr_assert(!out.failed);
    cr_assert_eq(out.used, 16);
    xdr_put_fixed(&out, NULL, 0);
    cr_assert(!out.failed);
    xdr_put_fixed(&out, buf, SIZE_MAX - 1); /* its padding must not wrap */
    cr_assert(out.failed);
    xdr_out_rewind(&out, mark);
    xdr_put_ref(&out, buf, (size_t)UINT32_MAX + 1);
    cr_assert(out.failed);
    xdr_out_rewind(&out, mark);
    xdr_patch_u32(&out, 6, 1);
    cr_assert(out.failed);
    for (size_t i = 16; i < sizeof(buf); i++) {
        cr_assert_eq(buf[i], 0xaa);
    }
    uint8_t wide[1024];
    xdr_out_init(&out, wide, sizeof(wide));
    for (unsigned i = 0; i < XDR_REFS_MAX; i++) {
        xdr_put_ref(&out, buf, 3);
    }
    cr_assert(!out.failed);
    struct iovec iov[XDR_IOV_MAX];
    cr_assert_eq(xdr_out_iov(&out, iov), XDR_IOV_MAX);
    xdr_put_ref(&out, buf, 3);
    cr_assert(out.failed);
}

/* Each length that a reply can name, with each number of bytes behind it: never beyond the end. */
Test(xdr, lengths_that_lie)
{
    static const uint32_t lies[] = {0, 1,   2,          3,          4,          5,          7,          8,
                                    9, 100, 0x7fffffff, 0x80000000, 0xfffffffc, 0xfffffffd, 0xfffffffe, 0xffffffff};
    for (size_t have = 0; have <= 12; have++) {
        for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
            uint8_t *exact = malloc(4 + have); /* its end is the heap's: the address sanitizer looks */
            struct xdr_out out;
            xdr_out_init(&out, exact, 4 + have);
            xdr_put_u32(&out, lies[i]);
            memset(exact + 4, 1, have);
            bool fits = ((size_t)lies[i] + 3) / 4 * 4 <= have;
            struct xdr_in in;
            size_t len = 1;
            xdr_in_init(&in, exact, 4 + have);
            const uint8_t *data = xdr_get_opaque(&in, SIZE_MAX, &len);
            cr_assert_eq(data != NULL, fits, "%u of %zu", lies[i], have);
            cr_assert_eq(in.failed, !fits);
            cr_assert_eq(len, fits ? lies[i] : 0);
            if (!fits) {
                cr_assert_eq(xdr_in_left(&in), 0);
                cr_assert_eq(xdr_get_u64(&in), 0);
                cr_assert_null(xdr_get_fixed(&in, 0));
            }
            /* A bound of the caller's. */
            xdr_in_init(&in, exact, 4 + have);
            data = xdr_get_opaque(&in, 4, &len);
            cr_assert_eq(data != NULL, fits && lies[i] <= 4);
            /* Counts. */
            xdr_in_init(&in, exact, 4 + have);
            uint32_t count = xdr_get_count(&in, 3, 4);
            bool true_count = lies[i] <= 3 && lies[i] * 4 <= have;
            cr_assert_eq(in.failed, !true_count);
            cr_assert_eq(count, true_count ? lies[i] : 0);
            free(exact);
        }
    }
    static const uint8_t two[4] = {0, 0, 0, 2};
    struct xdr_in in;
    xdr_in_init(&in, two, sizeof(two));
    cr_assert(!xdr_get_bool(&in));
    cr_assert(in.failed);
    xdr_in_init(&in, two, 3);
    cr_assert_eq(xdr_get_u32(&in), 0);
    cr_assert(in.failed);
}

/* A payload that lies elsewhere is found where it belongs, and nowhere else. */
Test(xdr, hole)
{
    static const uint8_t elsewhere[] = "payload";
    uint8_t buf[64];
    struct xdr_out out;
    xdr_out_init(&out, buf, sizeof(buf));
    xdr_put_u32(&out, 5);
    xdr_put_u32(&out, 7); /* length of what is missing */
    size_t at = out.used;
    xdr_put_fixed(&out, "\0", 1); /* stands for the one byte of padding: four bytes, cut below */
    out.used = at + 1;
    buf[at] = 0;
    uint8_t rest[4] = {0, 0, 0, 9};
    memcpy(buf + out.used, rest, 4);
    out.used += 4;

    struct xdr_in in;
    size_t len;
    xdr_in_init(&in, buf, out.used);
    xdr_in_hole(&in, at, elsewhere, 7);
    cr_assert_eq(xdr_get_u32(&in), 5);
    cr_assert_eq(xdr_get_opaque(&in, 100, &len), elsewhere);
    cr_assert_eq(len, 7);
    cr_assert_eq(xdr_get_u32(&in), 9);
    cr_assert(!in.failed);
    /* Another length than what came is a lie. */
    xdr_in_init(&in, buf, out.used);
    xdr_in_hole(&in, at, elsewhere, 6);
    xdr_get_u32(&in);
    cr_assert_null(xdr_get_opaque(&in, 100, &len));
    /* Read as something else, over the hole: a lie too. */
    xdr_in_init(&in, buf, out.used);
    xdr_in_hole(&in, at, elsewhere, 7);
    xdr_get_u64(&in);
    cr_assert_eq(xdr_get_u32(&in), 0);
    cr_assert(in.failed);
    xdr_in_init(&in, buf, out.used);
    xdr_in_hole(&in, at, elsewhere, 7);
    xdr_get_u32(&in);
    cr_assert_null(xdr_get_fixed(&in, 8));
}

/* ---- the table of statuses ---- */

Test(nfserr, table)
{
    unsigned rows = 0;
    uint32_t before = 0;
    char text[NFS_STATUS_TEXT];
    for (const struct nfs_error *row; (row = nfs_error_row(rows)); rows++) {
        cr_assert(rows == 0 || row->status > before, "%s is out of order", row->name);
        before = row->status;
        cr_assert_eq(nfs_error(row->status), row);
        cr_assert_eq(nfs_errno(row->status), -row->err);
        cr_assert_eq(row->err == 0, row->status == NFS4_OK, "%s", row->name);
        cr_assert_eq(row->decision == NFS_DO_NOTHING, row->status == NFS4_OK, "%s", row->name);
        cr_assert_eq(strncmp(row->name, "NFS4", 4), 0);
        nfs_status_text(row->status, text);
        cr_assert_not_null(strstr(text, row->name));
    }
    cr_assert_gt(rows, 90);
    cr_assert_eq(nfs_errno(NFS4ERR_NOSPC), -ENOSPC);
    cr_assert_eq(nfs_error(NFS4ERR_BADSESSION)->decision, NFS_DO_REBUILD);
    cr_assert_eq(nfs_error(NFS4ERR_GRACE)->decision, NFS_DO_WAIT);
    cr_assert_eq(nfs_error(NFS4ERR_NOT_SAME)->decision, NFS_DO_DISCARD);
    static const uint32_t strange[] = {3, 4, 999, 10000, 10002, 10088, 12345, UINT32_MAX};
    for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
        cr_assert_null(nfs_error(strange[i])->name);
        cr_assert_eq(nfs_errno(strange[i]), -EREMOTEIO);
        char number[16];
        snprintf(number, sizeof(number), "%u", strange[i]);
        cr_assert_not_null(strstr(nfs_status_text(strange[i], text), number));
    }
}
