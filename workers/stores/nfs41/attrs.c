/*
 * attrs: bitmaps and attributes (attrs.h).
 */
#include "workers/stores/nfs41/attrs.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/clock.h"

#define BITMAP_WORDS 8 /* more than any server has; a longer one is a lie */
#define OWNER_DIGITS 10

/* nfs_ftype4 */
enum { NF4REG = 1, NF4DIR, NF4BLK, NF4CHR, NF4LNK, NF4SOCK, NF4FIFO, NF4ATTRDIR, NF4NAMEDATTR };

uint32_t nfs_type_of_mode(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return NF4DIR;
    case S_IFBLK:
        return NF4BLK;
    case S_IFCHR:
        return NF4CHR;
    case S_IFLNK:
        return NF4LNK;
    case S_IFSOCK:
        return NF4SOCK;
    case S_IFIFO:
        return NF4FIFO;
    default:
        return NF4REG;
    }
}

/* 0: no type that there is. */
static mode_t mode_of_type(uint32_t type)
{
    switch (type) {
    case NF4REG:
    case NF4NAMEDATTR:
        return S_IFREG;
    case NF4DIR:
    case NF4ATTRDIR:
        return S_IFDIR;
    case NF4BLK:
        return S_IFBLK;
    case NF4CHR:
        return S_IFCHR;
    case NF4LNK:
        return S_IFLNK;
    case NF4SOCK:
        return S_IFSOCK;
    case NF4FIFO:
        return S_IFIFO;
    default:
        return 0;
    }
}

/* ---- attributes, out ---- */

void nfs_put_bitmap(struct xdr_out *x, uint64_t mask)
{
    uint32_t high = (uint32_t)(mask >> 32);

    xdr_put_u32(x, high ? 2 : 1);
    xdr_put_u32(x, (uint32_t)mask);
    if (high) {
        xdr_put_u32(x, high);
    }
}

static void put_time(struct xdr_out *x, const struct timespec *t)
{
    xdr_put_u64(x, (uint64_t)t->tv_sec);
    xdr_put_u32(x, (uint32_t)t->tv_nsec);
}

/* settime4: to what the client says. */
static void put_set_time(struct xdr_out *x, const struct timespec *t)
{
    xdr_put_u32(x, 1);
    put_time(x, t);
}

static size_t padded(size_t len)
{
    return (len + 3) & ~(size_t)3;
}

/* Bytes of the attributes of mask. */
static size_t fattr_size(uint64_t mask, size_t owner_len, size_t group_len)
{
    size_t size = 0;

    size += mask & NFS_ATTR_TYPE ? 4 : 0;
    size += mask & NFS_ATTR_SIZE ? 8 : 0;
    size += mask & NFS_ATTR_FILEID ? 8 : 0;
    size += mask & NFS_ATTR_MODE ? 4 : 0;
    size += mask & NFS_ATTR_NUMLINKS ? 4 : 0;
    size += mask & NFS_ATTR_OWNER ? 4 + padded(owner_len) : 0;
    size += mask & NFS_ATTR_GROUP ? 4 + padded(group_len) : 0;
    size += mask & NFS_ATTR_RAWDEV ? 8 : 0;
    size += mask & NFS_ATTR_ATIME ? 12 : 0;
    size += mask & NFS_ATTR_ATIME_SET ? 16 : 0;
    size += mask & NFS_ATTR_MTIME ? 12 : 0;
    size += mask & NFS_ATTR_MTIME_SET ? 16 : 0;
    return size;
}

/* The number's digits; how many. */
static size_t put_digits(char out[OWNER_DIGITS], uint32_t number)
{
    size_t len = 1;

    for (uint32_t rest = number / 10; rest > 0; rest /= 10) {
        len++;
    }
    for (size_t i = len; i > 0; i--) {
        out[i - 1] = (char)('0' + number % 10);
        number /= 10;
    }
    return len;
}

/* fattr4: in order of their numbers. */
void nfs_put_fattr(struct xdr_out *x, uint64_t mask, const struct attr *attr)
{
    char owner[OWNER_DIGITS];
    char group[OWNER_DIGITS];
    size_t owner_len = mask & NFS_ATTR_OWNER ? put_digits(owner, attr->uid) : 0;
    size_t group_len = mask & NFS_ATTR_GROUP ? put_digits(group, attr->gid) : 0;

    nfs_put_bitmap(x, mask);
    xdr_put_u32(x, (uint32_t)fattr_size(mask, owner_len, group_len));
    if (mask & NFS_ATTR_TYPE) {
        xdr_put_u32(x, nfs_type_of_mode(attr->mode));
    }
    if (mask & NFS_ATTR_SIZE) {
        xdr_put_u64(x, attr->size);
    }
    if (mask & NFS_ATTR_FILEID) {
        xdr_put_u64(x, attr->ino);
    }
    if (mask & NFS_ATTR_MODE) {
        xdr_put_u32(x, attr->mode & 07777);
    }
    if (mask & NFS_ATTR_NUMLINKS) {
        xdr_put_u32(x, (uint32_t)attr->nlink);
    }
    if (mask & NFS_ATTR_OWNER) {
        xdr_put_opaque(x, owner, owner_len);
    }
    if (mask & NFS_ATTR_GROUP) {
        xdr_put_opaque(x, group, group_len);
    }
    if (mask & NFS_ATTR_RAWDEV) {
        xdr_put_u32(x, major(attr->rdev));
        xdr_put_u32(x, minor(attr->rdev));
    }
    if (mask & NFS_ATTR_ATIME) {
        put_time(x, &attr->atime);
    }
    if (mask & NFS_ATTR_ATIME_SET) {
        put_set_time(x, &attr->atime);
    }
    if (mask & NFS_ATTR_MTIME) {
        put_time(x, &attr->mtime);
    }
    if (mask & NFS_ATTR_MTIME_SET) {
        put_set_time(x, &attr->mtime);
    }
}

/* ---- attributes, in ---- */

/* The first two words of a bitmap; bits beyond are told by *out_more. */
uint64_t nfs_get_bitmap(struct xdr_in *x, bool *out_more)
{
    uint32_t words = xdr_get_count(x, BITMAP_WORDS, 4);
    uint64_t mask = 0;

    *out_more = false;
    for (uint32_t i = 0; i < words; i++) {
        uint32_t word = xdr_get_u32(x);

        if (i < 2) {
            mask |= (uint64_t)word << (32 * i);
        } else if (word) {
            *out_more = true;
        }
    }
    return mask;
}

static struct timespec get_time(struct xdr_in *x)
{
    struct timespec t = {.tv_sec = (time_t)xdr_get_u64(x)};
    uint32_t ns = xdr_get_u32(x);

    t.tv_nsec = ns < NS_PER_SEC ? (long)ns : (long)(NS_PER_SEC - 1);
    return t;
}

static int64_t get_delta(struct xdr_in *x)
{
    int64_t s = (int64_t)xdr_get_u64(x);
    uint32_t ns = xdr_get_u32(x);

    if (s < 0 || s > INT64_MAX / NS_PER_SEC / 2) {
        return INT64_MAX / 2;
    }
    return s * NS_PER_SEC + ns % NS_PER_SEC;
}

/* A number, or a name that somebody else has to make one of. */
static uint32_t get_owner(struct xdr_in *x, struct nfs_owner_text *out_text)
{
    size_t len;
    const char *text = (const char *)xdr_get_opaque(x, NFS_OWNER_TEXT_MAX, &len);
    uint64_t id = 0;

    if (!text) {
        return (uint32_t)-1;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || id > UINT32_MAX) {
            id = UINT64_MAX;
            break;
        }
        id = id * 10 + (uint64_t)(text[i] - '0');
    }
    if (len == 0 || id >= UINT32_MAX) { /* 2^32-1 means "leave it" to chown, and is nobody's number */
        *out_text = (struct nfs_owner_text){.text = text, .len = len};
        return (uint32_t)-1;
    }
    return (uint32_t)id;
}

/* A bitmap that is an attribute: what does not fit into our mask is not ours. */
static uint64_t get_supported(struct xdr_in *x)
{
    bool more;

    return nfs_get_bitmap(x, &more);
}

/* One number for the file system out of the two that it has. */
static dev_t get_fsid(struct xdr_in *x)
{
    uint64_t major = xdr_get_u64(x);
    uint64_t minor = xdr_get_u64(x);

    return (dev_t)(major ^ (minor << 32 | minor >> 32));
}

static dev_t get_rawdev(struct xdr_in *x)
{
    uint32_t major = xdr_get_u32(x);
    uint32_t minor = xdr_get_u32(x);

    return makedev(major, minor);
}

/* Attributes 0 to 31. */
static void get_first_word(struct xdr_in *x, uint64_t mask, struct nfs_attrs *a)
{
    if (mask & NFS_ATTR_SUPPORTED) {
        a->supported = get_supported(x);
    }
    if (mask & NFS_ATTR_TYPE) {
        mode_t type = mode_of_type(xdr_get_u32(x));

        if (!type) {
            x->failed = true;
        }
        a->attr.mode |= type;
    }
    a->fh_expire = mask & NFS_ATTR_FH_EXPIRE ? xdr_get_u32(x) : 0;
    a->attr.change = mask & NFS_ATTR_CHANGE ? xdr_get_u64(x) : 0;
    a->attr.size = mask & NFS_ATTR_SIZE ? xdr_get_u64(x) : 0;
    a->link_support = mask & NFS_ATTR_LINK_SUPPORT ? xdr_get_bool(x) : false;
    a->attr.dev = mask & NFS_ATTR_FSID ? get_fsid(x) : 0;
    a->lease_s = mask & NFS_ATTR_LEASE_TIME ? xdr_get_u32(x) : 0;
    a->rdattr_error = mask & NFS_ATTR_RDATTR_ERROR ? xdr_get_u32(x) : 0;
    a->attr.ino = mask & NFS_ATTR_FILEID ? xdr_get_u64(x) : 0;
    a->files_avail = mask & NFS_ATTR_FILES_AVAIL ? xdr_get_u64(x) : 0;
    a->max_file = mask & NFS_ATTR_MAXFILESIZE ? xdr_get_u64(x) : 0;
    a->max_name = mask & NFS_ATTR_MAXNAME ? xdr_get_u32(x) : 0;
    a->max_read = mask & NFS_ATTR_MAXREAD ? xdr_get_u64(x) : 0;
    a->max_write = mask & NFS_ATTR_MAXWRITE ? xdr_get_u64(x) : 0;
}

/* Attributes 32 to 63. */
static void get_second_word(struct xdr_in *x, uint64_t mask, struct nfs_attrs *a)
{
    a->attr.mode |= mask & NFS_ATTR_MODE ? xdr_get_u32(x) & 07777 : 0;
    a->attr.nlink = mask & NFS_ATTR_NUMLINKS ? xdr_get_u32(x) : 0;
    a->attr.uid = mask & NFS_ATTR_OWNER ? get_owner(x, &a->owner) : 0;
    a->attr.gid = mask & NFS_ATTR_GROUP ? get_owner(x, &a->group) : 0;
    a->attr.rdev = mask & NFS_ATTR_RAWDEV ? get_rawdev(x) : 0;
    a->space_avail = mask & NFS_ATTR_SPACE_AVAIL ? xdr_get_u64(x) : 0;
    a->attr.allocated = mask & NFS_ATTR_SPACE_USED ? xdr_get_u64(x) : 0;
    if (mask & NFS_ATTR_ATIME) {
        a->attr.atime = get_time(x);
    }
    a->time_delta_ns = mask & NFS_ATTR_TIME_DELTA ? get_delta(x) : 0;
    if (mask & NFS_ATTR_CTIME) {
        a->attr.ctime = get_time(x);
    }
    if (mask & NFS_ATTR_MTIME) {
        a->attr.mtime = get_time(x);
    }
    a->mounted_on = mask & NFS_ATTR_MOUNTED_ON ? xdr_get_u64(x) : 0;
}

/* fattr4. What was not asked for cannot be skipped, since nothing says how long it is. */
void nfs_get_fattr(struct xdr_in *x, struct nfs_attrs *out)
{
    bool more;
    size_t left;
    uint32_t len;

    *out = (struct nfs_attrs){.mask = nfs_get_bitmap(x, &more)};
    if (more || (out->mask & ~NFS_ATTRS_KNOWN)) {
        x->failed = true;
    }
    len = xdr_get_u32(x);
    left = xdr_in_left(x);
    get_first_word(x, out->mask, out);
    get_second_word(x, out->mask, out);
    if (left - xdr_in_left(x) != len) {
        x->failed = true;
    }
    if (!S_ISCHR(out->attr.mode) && !S_ISBLK(out->attr.mode)) {
        out->attr.rdev = 0;
    }
}
