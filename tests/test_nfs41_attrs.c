/*
 * test_nfs41_attrs: attributes and entries of NFSv4.1, in and out, and what a server must not get away with.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "workers/stores/nfs41/attrs.h"
#include "workers/stores/nfs41/ops.h"

#define BOTH_WAYS                                                                                                      \
    (NFS_ATTR_TYPE | NFS_ATTR_SIZE | NFS_ATTR_FILEID | NFS_ATTR_MODE | NFS_ATTR_NUMLINKS | NFS_ATTR_OWNER |            \
     NFS_ATTR_GROUP | NFS_ATTR_RAWDEV | NFS_ATTR_ATIME | NFS_ATTR_MTIME)

static struct attr sample(mode_t mode)
{
    return (struct attr){.mode = mode,
                         .uid = 4294967294U,
                         .gid = 0,
                         .nlink = 3,
                         .rdev = makedev(259, 70000),
                         .ino = 0x123456789abcdefULL,
                         .size = 1ULL << 40,
                         .atime = {-5, 999999999},
                         .mtime = {4300000000, 7}};
}

static void expect_same(const struct attr *a, const struct attr *b)
{
    cr_assert_eq(a->mode, b->mode);
    cr_assert_eq(a->uid, b->uid);
    cr_assert_eq(a->gid, b->gid);
    cr_assert_eq(a->nlink, b->nlink);
    cr_assert_eq(a->ino, b->ino);
    cr_assert_eq(a->size, b->size);
    cr_assert_eq(a->atime.tv_sec, b->atime.tv_sec);
    cr_assert_eq(a->atime.tv_nsec, b->atime.tv_nsec);
    cr_assert_eq(a->mtime.tv_sec, b->mtime.tv_sec);
    cr_assert_eq(a->mtime.tv_nsec, b->mtime.tv_nsec);
}

Test(nfs41_attrs, there_and_back, .timeout = 10)
{
    static const mode_t modes[] = {S_IFREG | 0644, S_IFDIR | 01777, S_IFLNK | 0777, S_IFIFO,
                                   S_IFSOCK | 06,  S_IFCHR | 0666,  S_IFBLK | 0600, S_IFREG | 07777};
    uint8_t buf[512];

    for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct attr attr = sample(modes[i]);
        struct nfs_attrs back;
        struct xdr_out out;
        struct xdr_in in;

        xdr_out_init(&out, buf, sizeof(buf));
        nfs_put_fattr(&out, BOTH_WAYS, &attr);
        cr_assert_not(out.failed);
        xdr_in_init(&in, buf, out.used);
        nfs_get_fattr(&in, &back);
        cr_assert_not(in.failed);
        cr_assert_eq(xdr_in_left(&in), 0);
        cr_assert_eq(back.mask, BOTH_WAYS);
        cr_assert_null(back.owner.text);
        expect_same(&back.attr, &attr);
        cr_assert_eq(back.attr.rdev, S_ISCHR(modes[i]) || S_ISBLK(modes[i]) ? attr.rdev : 0);
    }
}

/* What is said about the length of what is written is true for each attribute alone, and for all of them. */
Test(nfs41_attrs, lengths, .timeout = 10)
{
    static const uint64_t masks[] = {0,
                                     NFS_ATTR_TYPE,
                                     NFS_ATTR_SIZE,
                                     NFS_ATTR_FILEID,
                                     NFS_ATTR_MODE,
                                     NFS_ATTR_NUMLINKS,
                                     NFS_ATTR_OWNER,
                                     NFS_ATTR_GROUP,
                                     NFS_ATTR_RAWDEV,
                                     NFS_ATTR_ATIME,
                                     NFS_ATTR_ATIME_SET,
                                     NFS_ATTR_MTIME,
                                     NFS_ATTR_MTIME_SET,
                                     NFS_ATTR_OWNER | NFS_ATTR_GROUP | NFS_ATTR_ATIME_SET | NFS_ATTR_MTIME_SET};
    uint8_t buf[512];

    for (unsigned i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
        for (uid_t uid = 1; uid < 2000000000; uid *= 10) {
            struct attr attr = {.uid = uid, .gid = uid};
            struct xdr_out out;
            struct xdr_in in;
            bool more;
            size_t len;

            xdr_out_init(&out, buf, sizeof(buf));
            nfs_put_fattr(&out, masks[i], &attr);
            xdr_in_init(&in, buf, out.used);
            cr_assert_eq(nfs_get_bitmap(&in, &more), masks[i]);
            cr_assert_not(more);
            (void)xdr_get_opaque(&in, SIZE_MAX, &len);
            cr_assert_not(in.failed);
            cr_assert_eq(xdr_in_left(&in), 0);
        }
    }
}

/* A bitmap of two words, the length of what follows, an owner. */
static void put_owner(struct xdr_out *out, const char *owner, uint32_t lie)
{
    nfs_put_bitmap(out, NFS_ATTR_OWNER);
    xdr_put_u32(out, (uint32_t)(4 + (strlen(owner) + 3) / 4 * 4) + lie);
    xdr_put_opaque(out, owner, strlen(owner));
}

Test(nfs41_attrs, owners, .timeout = 10)
{
    static const struct {
        const char *text;
        uint32_t number; /* -1: it is none */
    } rows[] = {{"0", 0},
                {"1000", 1000},
                {"4294967294", 4294967294U},
                {"4294967296", -1U},
                {"99999999999999999999999999", -1U},
                {"root@example.org", -1U},
                {"", -1U},
                {"-1", -1U},
                {" 1", -1U},
                {"1x", -1U}};
    uint8_t buf[512];

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct nfs_attrs back;
        struct xdr_out out;
        struct xdr_in in;

        xdr_out_init(&out, buf, sizeof(buf));
        put_owner(&out, rows[i].text, 0);
        xdr_in_init(&in, buf, out.used);
        nfs_get_fattr(&in, &back);
        cr_assert_not(in.failed, "%s", rows[i].text);
        cr_assert_eq(back.attr.uid, rows[i].number, "%s", rows[i].text);
        if (rows[i].number == -1U) {
            cr_assert_not_null(back.owner.text);
            cr_assert_eq(back.owner.len, strlen(rows[i].text));
            cr_assert_eq(memcmp(back.owner.text, rows[i].text, back.owner.len), 0);
        }
    }
}

/* Lengths that lie, attributes that nobody asked for, types that there are not. */
Test(nfs41_attrs, lies, .timeout = 10)
{
    static const uint32_t lies[] = {4, 0x7fffffff, 0xfffffff0U, -4U};
    struct attr attr = sample(S_IFREG);
    struct nfs_attrs back;
    struct xdr_out out;
    struct xdr_in in;
    uint8_t buf[512];

    for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        xdr_out_init(&out, buf, sizeof(buf));
        put_owner(&out, "1000", lies[i]);
        xdr_in_init(&in, buf, out.used);
        nfs_get_fattr(&in, &back);
        cr_assert(in.failed, "%u", lies[i]);
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        if (NFS_ATTRS_KNOWN & NFS_ATTR(bit)) {
            continue;
        }
        xdr_out_init(&out, buf, sizeof(buf));
        nfs_put_bitmap(&out, NFS_ATTR(bit));
        xdr_put_u32(&out, 0);
        xdr_in_init(&in, buf, out.used);
        nfs_get_fattr(&in, &back);
        cr_assert(in.failed, "attribute %u", bit);
    }
    for (uint32_t type = 0; type < 300; type++) {
        xdr_out_init(&out, buf, sizeof(buf));
        nfs_put_bitmap(&out, NFS_ATTR_TYPE);
        xdr_put_u32(&out, 4);
        xdr_put_u32(&out, type);
        xdr_in_init(&in, buf, out.used);
        nfs_get_fattr(&in, &back);
        cr_assert_eq(in.failed, type == 0 || type > 9, "type %u", type);
    }
    /* Cut off anywhere. */
    xdr_out_init(&out, buf, sizeof(buf));
    nfs_put_fattr(&out, BOTH_WAYS, &attr);
    for (size_t len = 0; len < out.used; len++) {
        xdr_in_init(&in, buf, len);
        nfs_get_fattr(&in, &back);
        cr_assert(in.failed, "after %zu bytes", len);
    }
    /* A bitmap with more words than there are bytes in the world. */
    xdr_out_init(&out, buf, sizeof(buf));
    xdr_put_u32(&out, 0xffffffffU);
    xdr_put_u64(&out, 0);
    xdr_in_init(&in, buf, out.used);
    nfs_get_fattr(&in, &back);
    cr_assert(in.failed);
}

static void put_entry(struct xdr_out *out, uint64_t cookie, const char *name)
{
    struct attr attr = {.mode = S_IFDIR};

    xdr_put_bool(out, true);
    xdr_put_u64(out, cookie);
    xdr_put_opaque(out, name, strlen(name));
    nfs_put_fattr(out, NFS_ATTR_TYPE, &attr);
}

Test(nfs41_attrs, entries, .timeout = 10)
{
    struct nfs_entry e;
    struct xdr_out out;
    struct xdr_in in;
    bool eof = false;
    uint8_t buf[512];

    xdr_out_init(&out, buf, sizeof(buf));
    put_entry(&out, 7, "first");
    put_entry(&out, 9, "second");
    xdr_put_bool(&out, false);
    xdr_put_bool(&out, true);
    xdr_in_init(&in, buf, out.used);
    cr_assert_eq(nfs_get_entry(&in, &e, &eof), 1);
    cr_assert_eq(e.cookie, 7);
    cr_assert_eq(e.len, 5);
    cr_assert_eq(memcmp(e.name, "first", 5), 0);
    cr_assert(S_ISDIR(e.attrs.attr.mode));
    cr_assert_eq(nfs_get_entry(&in, &e, &eof), 1);
    cr_assert_not(eof);
    cr_assert_eq(nfs_get_entry(&in, &e, &eof), 0);
    cr_assert(eof);
    cr_assert_eq(nfs_get_entry(&in, &e, &eof), -EPROTO, "there is nothing more");
    for (size_t len = 0; len < out.used; len++) {
        int r = 1;

        xdr_in_init(&in, buf, len);
        while (r == 1) {
            r = nfs_get_entry(&in, &e, &eof);
        }
        cr_assert_eq(r, -EPROTO, "after %zu bytes", len);
    }
}
