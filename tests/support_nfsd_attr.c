/*
 * support_nfsd_attr: attributes (RFC 8881 5), as they are told, compared and set.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support_nfsd_internal.h"

#define W0(a) (1U << (a))
#define W1(a) (1U << ((a)-32))
#define W2(a) (1U << ((a)-64))

static const uint32_t supported[D4A_WORDS] = {
    W0(D4A_SUPPORTED_ATTRS) | W0(D4A_TYPE) | W0(D4A_FH_EXPIRE_TYPE) | W0(D4A_CHANGE) | W0(D4A_SIZE) |
        W0(D4A_LINK_SUPPORT) | W0(D4A_SYMLINK_SUPPORT) | W0(D4A_NAMED_ATTR) | W0(D4A_FSID) | W0(D4A_UNIQUE_HANDLES) |
        W0(D4A_LEASE_TIME) | W0(D4A_RDATTR_ERROR) | W0(D4A_CANSETTIME) | W0(D4A_CASE_INSENSITIVE) |
        W0(D4A_CASE_PRESERVING) | W0(D4A_CHOWN_RESTRICTED) | W0(D4A_FILEHANDLE) | W0(D4A_FILEID) | W0(D4A_FILES_AVAIL) |
        W0(D4A_FILES_FREE) | W0(D4A_FILES_TOTAL) | W0(D4A_HOMOGENEOUS) | W0(D4A_MAXFILESIZE) | W0(D4A_MAXLINK) |
        W0(D4A_MAXNAME) | W0(D4A_MAXREAD) | W0(D4A_MAXWRITE),
    W1(D4A_MODE) | W1(D4A_NO_TRUNC) | W1(D4A_NUMLINKS) | W1(D4A_OWNER) | W1(D4A_OWNER_GROUP) | W1(D4A_RAWDEV) |
        W1(D4A_SPACE_AVAIL) | W1(D4A_SPACE_FREE) | W1(D4A_SPACE_TOTAL) | W1(D4A_SPACE_USED) | W1(D4A_TIME_ACCESS) |
        W1(D4A_TIME_ACCESS_SET) | W1(D4A_TIME_CREATE) | W1(D4A_TIME_DELTA) | W1(D4A_TIME_METADATA) |
        W1(D4A_TIME_MODIFY) | W1(D4A_TIME_MODIFY_SET) | W1(D4A_MOUNTED_ON_FILEID),
    W2(D4A_SUPPATTR_EXCLCREAT),
};

static bool has(const uint32_t mask[D4A_WORDS], unsigned attr)
{
    return (mask[attr / 32] >> (attr % 32) & 1) != 0;
}

void srv_put_mask(struct nx_out *out, const uint32_t mask[D4A_WORDS])
{
    uint32_t words = D4A_WORDS;

    while (words > 0 && mask[words - 1] == 0) {
        words--;
    }
    nx_put_u32(out, words);
    for (uint32_t w = 0; w < words; w++) {
        nx_put_u32(out, mask[w]);
    }
}

static void put_time(struct nx_out *out, struct timespec ts)
{
    nx_put_u64(out, (uint64_t)ts.tv_sec);
    nx_put_u32(out, (uint32_t)ts.tv_nsec);
}

static void put_owner(const struct nfsd *n, struct nx_out *out, uint32_t id, const char *kind)
{
    char text[64];

    if (n->o.owners == NFSD_OWNERS_NAMES) {
        snprintf(text, sizeof(text), "%s%u@example.org", kind, id);
    } else {
        snprintf(text, sizeof(text), "%u", id);
    }
    nx_put_text(out, text);
}

static void put_place(const struct nfsd *n, const struct nf_inode *i, unsigned attr, struct nx_out *out)
{
    uint8_t fh[NF_FH_LEN];

    switch (attr) {
    case D4A_SUPPORTED_ATTRS:
        srv_put_mask(out, supported);
        break;
    case D4A_SUPPATTR_EXCLCREAT:
        nx_put_u32(out, 0);
        break;
    case D4A_FSID:
        nx_put_u64(out, 7);
        nx_put_u64(out, 1);
        break;
    case D4A_LEASE_TIME:
        nx_put_u32(out, n->o.lease_s);
        break;
    case D4A_FILEHANDLE:
        nf_handle(i, fh);
        nx_put_opaque(out, fh, sizeof(fh));
        break;
    case D4A_MAXFILESIZE:
        nx_put_u64(out, INT64_MAX);
        break;
    case D4A_MAXREAD:
    case D4A_MAXWRITE:
        nx_put_u64(out, 1U << 20);
        break;
    case D4A_FILES_AVAIL:
    case D4A_FILES_FREE:
    case D4A_FILES_TOTAL:
        nx_put_u64(out, 1000000);
        break;
    case D4A_SPACE_TOTAL:
        nx_put_u64(out, n->fs.space);
        break;
    case D4A_SPACE_AVAIL:
    case D4A_SPACE_FREE:
        nx_put_u64(out, n->fs.space - n->fs.used);
        break;
    case D4A_TIME_DELTA:
        put_time(out, n->o.seconds_only ? (struct timespec){.tv_sec = 1} : (struct timespec){.tv_nsec = 1});
        break;
    case D4A_MAXLINK:
    case D4A_MAXNAME:
        nx_put_u32(out, 255);
        break;
    case D4A_FH_EXPIRE_TYPE:
    case D4A_RDATTR_ERROR:
    case D4A_NAMED_ATTR:
    case D4A_CASE_INSENSITIVE:
        nx_put_u32(out, 0);
        break;
    default: /* LINK_SUPPORT, SYMLINK_SUPPORT, UNIQUE_HANDLES, CANSETTIME and the like */
        nx_put_u32(out, 1);
        break;
    }
}

static void put_one(const struct nfsd *n, const struct nf_inode *i, unsigned attr, struct nx_out *out)
{
    switch (attr) {
    case D4A_TYPE:
        nx_put_u32(out, i->type);
        break;
    case D4A_CHANGE:
        nx_put_u64(out, i->change);
        break;
    case D4A_SIZE:
        nx_put_u64(out, i->type == D4T_LNK ? strlen(i->target) : i->size);
        break;
    case D4A_FILEID:
    case D4A_MOUNTED_ON_FILEID:
        nx_put_u64(out, i->ino);
        break;
    case D4A_MODE:
        nx_put_u32(out, i->mode);
        break;
    case D4A_NUMLINKS:
        nx_put_u32(out, i->nlink);
        break;
    case D4A_OWNER:
        put_owner(n, out, i->uid, "user");
        break;
    case D4A_OWNER_GROUP:
        put_owner(n, out, i->gid, "group");
        break;
    case D4A_RAWDEV:
        nx_put_u32(out, i->rdev[0]);
        nx_put_u32(out, i->rdev[1]);
        break;
    case D4A_SPACE_USED:
        nx_put_u64(out, (i->size + 4095) / 4096 * 4096);
        break;
    case D4A_TIME_ACCESS:
        put_time(out, i->atime);
        break;
    case D4A_TIME_CREATE:
    case D4A_TIME_METADATA:
        put_time(out, i->ctime);
        break;
    case D4A_TIME_MODIFY:
        put_time(out, i->mtime);
        break;
    default:
        put_place(n, i, attr, out);
        break;
    }
}

void srv_put_attrs(struct nfsd *n, const struct nf_inode *i, const uint32_t mask[D4A_WORDS], struct nx_out *out)
{
    uint32_t told[D4A_WORDS];
    size_t at;

    for (unsigned w = 0; w < D4A_WORDS; w++) {
        told[w] = mask[w] & supported[w];
    }
    told[1] &= ~(W1(D4A_TIME_ACCESS_SET) | W1(D4A_TIME_MODIFY_SET));
    srv_put_mask(out, told);
    at = out->len;
    nx_put_u32(out, 0);
    for (unsigned a = 0; a < 32 * D4A_WORDS; a++) {
        if (has(told, a)) {
            put_one(n, i, a, out);
        }
    }
    nx_patch_u32(out, at, (uint32_t)(out->len - at - 4));
}

uint32_t srv_compare_attrs(struct nfsd *n, const struct nf_inode *i, const struct srv_fattr *attrs)
{
    struct nx_out mine = {0};
    uint32_t status = D4ERR_SAME;

    for (unsigned w = 0; w < D4A_WORDS; w++) {
        if ((attrs->mask[w] & ~supported[w]) != 0 || attrs->beyond) {
            return D4ERR_ATTRNOTSUPP;
        }
    }
    if (has(attrs->mask, D4A_RDATTR_ERROR) || has(attrs->mask, D4A_TIME_ACCESS_SET) ||
        has(attrs->mask, D4A_TIME_MODIFY_SET)) {
        return D4ERR_INVAL;
    }
    for (unsigned a = 0; a < 32 * D4A_WORDS; a++) {
        if (has(attrs->mask, a)) {
            put_one(n, i, a, &mine);
        }
    }
    if (mine.len != attrs->values.len || (mine.len > 0 && memcmp(mine.data, attrs->values.at, mine.len) != 0)) {
        status = D4ERR_NOT_SAME;
    }
    nx_free(&mine);
    return status;
}

/* ---- setting ---- */

struct wanted {
    uint64_t size;
    uint32_t mode;
    uint32_t owner[2]; /* user, group */
    struct timespec atime;
    struct timespec mtime;
};

static uint32_t get_owner(const struct nfsd *n, struct nx_in *in, uint32_t *out)
{
    struct nx_str s = nx_opaque(in, 1024);
    uint64_t id = 0;

    if (in->bad || s.len == 0 || n->o.owners == NFSD_OWNERS_BADOWNER) {
        return D4ERR_BADOWNER;
    }
    for (uint32_t k = 0; k < s.len; k++) {
        if (s.at[k] < '0' || s.at[k] > '9' || s.len > 10) {
            return D4ERR_BADOWNER;
        }
        id = id * 10 + (s.at[k] - '0');
    }
    *out = n->o.owners == NFSD_OWNERS_NOBODY ? 65534 : (uint32_t)id;
    return id > UINT32_MAX ? D4ERR_BADOWNER : D4ERR_OK;
}

static uint32_t get_time(const struct nfsd *n, struct nx_in *in, struct timespec *out)
{
    if (nx_u32(in) == 1) { /* SET_TO_CLIENT_TIME4 */
        out->tv_sec = (time_t)nx_u64(in);
        uint32_t ns = nx_u32(in);
        if (ns >= 1000000000) {
            return D4ERR_INVAL;
        }
        out->tv_nsec = n->o.seconds_only ? 0 : ns;
    } else {
        clock_gettime(CLOCK_REALTIME, out);
    }
    return D4ERR_OK;
}

static uint32_t get_wanted(const struct nfsd *n, const struct srv_fattr *attrs, struct wanted *w)
{
    struct nx_in in = {.at = attrs->values.at, .left = attrs->values.len};
    uint32_t status = D4ERR_OK;

    for (unsigned a = 0; a < 32 * D4A_WORDS && status == D4ERR_OK; a++) {
        if (!has(attrs->mask, a)) {
            continue;
        }
        switch (a) {
        case D4A_SIZE:
            w->size = nx_u64(&in);
            break;
        case D4A_MODE:
            w->mode = nx_u32(&in);
            status = w->mode > 07777 ? D4ERR_INVAL : D4ERR_OK;
            break;
        case D4A_OWNER:
            status = get_owner(n, &in, &w->owner[0]);
            break;
        case D4A_OWNER_GROUP:
            status = get_owner(n, &in, &w->owner[1]);
            break;
        case D4A_TIME_ACCESS_SET:
            status = get_time(n, &in, &w->atime);
            break;
        case D4A_TIME_MODIFY_SET:
            status = get_time(n, &in, &w->mtime);
            break;
        default:
            status = has(supported, a) ? D4ERR_INVAL : D4ERR_ATTRNOTSUPP;
            break;
        }
    }
    return status != D4ERR_OK ? status : in.bad || in.left > 0 ? D4ERR_BADXDR : D4ERR_OK;
}

/* Whether the caller may set these owners. */
static bool may_own(const struct srv_call *c, const struct nf_inode *i, const struct srv_fattr *attrs,
                    const struct wanted *w)
{
    bool squashed = c->n->o.owners == NFSD_OWNERS_PERM || c->uid != 0;

    return !squashed || ((!has(attrs->mask, D4A_OWNER) || w->owner[0] == i->uid) &&
                         (!has(attrs->mask, D4A_OWNER_GROUP) || w->owner[1] == i->gid || w->owner[1] == c->gid));
}

uint32_t srv_set_attrs(struct srv_call *c, struct nf_inode *i, const struct srv_fattr *attrs, uint32_t set[D4A_WORDS])
{
    struct wanted w = {0};
    uint32_t status = attrs->beyond ? D4ERR_ATTRNOTSUPP : get_wanted(c->n, attrs, &w);
    bool owners = has(attrs->mask, D4A_OWNER) || has(attrs->mask, D4A_OWNER_GROUP);

    if (status != D4ERR_OK) {
        return status;
    }
    if (!may_own(c, i, attrs, &w)) {
        return D4ERR_PERM;
    }
    if (has(attrs->mask, D4A_SIZE)) {
        if (i->type != D4T_REG) {
            return i->type == D4T_DIR ? D4ERR_ISDIR : D4ERR_INVAL;
        }
        status = nf_resize(&c->n->fs, i, w.size);
        if (status != D4ERR_OK) {
            return status;
        }
    }
    nf_touch(&c->n->fs, i, false);
    if (has(attrs->mask, D4A_MODE)) {
        i->mode = w.mode;
    }
    if (owners) {
        i->uid = has(attrs->mask, D4A_OWNER) ? w.owner[0] : i->uid;
        i->gid = has(attrs->mask, D4A_OWNER_GROUP) ? w.owner[1] : i->gid;
        if (!c->n->o.keep_setuid && i->type == D4T_REG) {
            i->mode &= ~06000U;
        }
    }
    if (has(attrs->mask, D4A_TIME_ACCESS_SET)) {
        i->atime = w.atime;
    }
    if (has(attrs->mask, D4A_TIME_MODIFY_SET)) {
        i->mtime = w.mtime;
    }
    memcpy(set, attrs->mask, sizeof(attrs->mask));
    return D4ERR_OK;
}
