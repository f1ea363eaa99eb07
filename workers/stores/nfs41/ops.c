/*
 * ops: arguments and results of the operations (ops.h).
 */
#include "workers/stores/nfs41/ops.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "workers/stores/nfs41/nfserr.h"

struct nfs_stateid nfs_stateid_current(void)
{
    return (struct nfs_stateid){.seqid = 1};
}

struct nfs_stateid nfs_stateid_anonymous(void)
{
    return (struct nfs_stateid){.seqid = 0};
}

/* ---- what all results have in common ---- */

/* Stands at the results of op. 0, its NFS4ERR, -EPROTO or -ENODATA. Where SEQUENCE, or the COMPOUND as such, was
 * refused and so nothing has a result, the NFS4ERR is that. */
static int begin(struct nfs_compound *c, enum nfs_op op)
{
    uint32_t status = 0;
    int err = nfs_compound_result(c, op, &status);

    if (err == -ENODATA && c->result_count == 0 && c->status != NFS4_OK) {
        status = c->status;
        err = 0;
    } else if (err == -ENODATA && c->status == NFS4_OK) {
        err = -EPROTO; /* it says that all was carried out, and leaves results out */
    }
    if (status > INT_MAX) {
        status = INT_MAX; /* as an int it would pass for an errno; it is unknown in any case */
    }
    return err ? err : (int)status;
}

static int end(const struct nfs_compound *c)
{
    return c->in.failed ? -EPROTO : 0;
}

/* change_info4: of no use to whoever caches nothing. */
static int end_change_info(struct nfs_compound *c)
{
    (void)xdr_get_fixed(&c->in, 4 + 8 + 8);
    return end(c);
}

static int end_bitmap(struct nfs_compound *c)
{
    bool more;

    (void)nfs_get_bitmap(&c->in, &more);
    return end(c);
}

static void put_name(struct xdr_out *x, const char *name)
{
    xdr_put_opaque(x, name, strlen(name));
}

static void put_stateid(struct xdr_out *x, const struct nfs_stateid *stateid)
{
    xdr_put_u32(x, stateid->seqid);
    xdr_put_fixed(x, stateid->other, NFS_OTHER_SIZE);
}

static void get_stateid(struct xdr_in *x, struct nfs_stateid *out)
{
    const uint8_t *other;

    out->seqid = xdr_get_u32(x);
    other = xdr_get_fixed(x, NFS_OTHER_SIZE);
    if (other) {
        memcpy(out->other, other, NFS_OTHER_SIZE);
    }
}

/* ---- operations without results (18.19 to 18.21, 18.13, 18.14, 18.27, 18.28, 18.31, 18.15) ---- */

void nfs_put_putrootfh(struct nfs_compound *c)
{
    (void)nfs_compound_op(c, NFS_OP_PUTROOTFH);
}

void nfs_put_putfh(struct nfs_compound *c, const struct nfs_fh *fh)
{
    xdr_put_opaque(nfs_compound_op(c, NFS_OP_PUTFH), fh->data, fh->len);
}

void nfs_put_savefh(struct nfs_compound *c)
{
    (void)nfs_compound_op(c, NFS_OP_SAVEFH);
}

void nfs_put_restorefh(struct nfs_compound *c)
{
    (void)nfs_compound_op(c, NFS_OP_RESTOREFH);
}

void nfs_put_lookup(struct nfs_compound *c, const char *name)
{
    put_name(nfs_compound_op(c, NFS_OP_LOOKUP), name);
}

void nfs_put_lookupp(struct nfs_compound *c)
{
    (void)nfs_compound_op(c, NFS_OP_LOOKUPP);
}

void nfs_put_verify(struct nfs_compound *c, uint64_t mask, const struct attr *attr)
{
    nfs_put_fattr(nfs_compound_op(c, NFS_OP_VERIFY), mask, attr);
}

void nfs_put_nverify(struct nfs_compound *c, uint64_t mask, const struct attr *attr)
{
    nfs_put_fattr(nfs_compound_op(c, NFS_OP_NVERIFY), mask, attr);
}

int nfs_get_plain(struct nfs_compound *c, enum nfs_op op)
{
    return begin(c, op);
}

/* ---- handles and attributes (18.8, 18.7, 18.30, 18.1) ---- */

void nfs_put_getfh(struct nfs_compound *c)
{
    (void)nfs_compound_op(c, NFS_OP_GETFH);
}

int nfs_get_getfh(struct nfs_compound *c, struct nfs_fh *out_fh)
{
    int r = begin(c, NFS_OP_GETFH);
    const uint8_t *data;
    size_t len;

    if (r) {
        return r;
    }
    data = xdr_get_opaque(&c->in, NFS_FH_MAX, &len);
    if (!data || len == 0) {
        c->in.failed = true;
        return -EPROTO;
    }
    if (out_fh) {
        out_fh->len = (uint32_t)len;
        memcpy(out_fh->data, data, len);
    }
    return 0;
}

void nfs_put_getattr(struct nfs_compound *c, uint64_t mask)
{
    nfs_put_bitmap(nfs_compound_op(c, NFS_OP_GETATTR), mask);
}

int nfs_get_getattr(struct nfs_compound *c, struct nfs_attrs *out_attrs)
{
    int r = begin(c, NFS_OP_GETATTR);
    struct nfs_attrs attrs;

    if (r) {
        return r;
    }
    nfs_get_fattr(&c->in, &attrs);
    r = end(c);
    if (!r && out_attrs) {
        *out_attrs = attrs;
    }
    return r;
}

void nfs_put_setattr(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t mask, const struct attr *attr)
{
    struct xdr_out *x = nfs_compound_op(c, NFS_OP_SETATTR);

    put_stateid(x, stateid);
    nfs_put_fattr(x, mask, attr);
}

int nfs_get_setattr(struct nfs_compound *c)
{
    int r = begin(c, NFS_OP_SETATTR);

    return r ? r : end_bitmap(c);
}

void nfs_put_access(struct nfs_compound *c, uint32_t wanted)
{
    xdr_put_u32(nfs_compound_op(c, NFS_OP_ACCESS), wanted);
}

int nfs_get_access(struct nfs_compound *c, uint32_t *out_granted)
{
    int r = begin(c, NFS_OP_ACCESS);
    uint32_t granted;

    if (r) {
        return r;
    }
    (void)xdr_get_u32(&c->in); /* which it knows of */
    granted = xdr_get_u32(&c->in);
    r = end(c);
    if (!r && out_granted) {
        *out_granted = granted;
    }
    return r;
}

/* ---- open files (18.16, 18.2) ---- */

#define WANT_NO_DELEG 0x0400U /* OPEN4_SHARE_ACCESS_WANT_NO_DELEG */

enum { OPEN4_NOCREATE, OPEN4_CREATE };
enum { UNCHECKED4, GUARDED4 };
enum { CLAIM_NULL = 0, CLAIM_FH = 4 };

void nfs_put_open(struct nfs_compound *c, const struct nfs_open *open)
{
    struct xdr_out *x = nfs_compound_op(c, NFS_OP_OPEN);
    struct attr attr = {.mode = open->mode};

    xdr_put_u32(x, 0); /* seqid: sessions need none */
    xdr_put_u32(x, open->share | WANT_NO_DELEG);
    xdr_put_u32(x, 0); /* deny */
    xdr_put_u64(x, 0); /* client id: the session's */
    xdr_put_u32(x, 8); /* owner */
    xdr_put_u64(x, open->owner);
    if (open->name && open->create == NFS_OPEN_GUARDED) {
        xdr_put_u32(x, OPEN4_CREATE);
        xdr_put_u32(x, GUARDED4);
        nfs_put_fattr(x, NFS_ATTR_MODE, &attr);
    } else {
        xdr_put_u32(x, OPEN4_NOCREATE);
    }
    if (open->name) {
        xdr_put_u32(x, CLAIM_NULL);
        put_name(x, open->name);
    } else {
        xdr_put_u32(x, CLAIM_FH);
    }
}

static void skip_ace(struct xdr_in *x)
{
    size_t len;

    (void)xdr_get_fixed(x, 12);
    (void)xdr_get_opaque(x, NFS_OWNER_TEXT_MAX, &len);
}

/* open_delegation4: none is wanted, but a server may be deaf to that. It is left to expire with the client. */
static void skip_delegation(struct xdr_in *x)
{
    enum { NONE, READ, WRITE, NONE_EXT };
    enum { WHY_CONTENTION = 1, WHY_RESOURCE = 2 };
    uint32_t why;

    switch (xdr_get_u32(x)) {
    case NONE:
        break;
    case READ:
        (void)xdr_get_fixed(x, 4 + NFS_OTHER_SIZE + 4);
        skip_ace(x);
        break;
    case WRITE:
        (void)xdr_get_fixed(x, 4 + NFS_OTHER_SIZE + 4);
        (void)xdr_get_fixed(x, 4 + 8); /* nfs_space_limit4: both kinds have 8 bytes */
        skip_ace(x);
        break;
    case NONE_EXT:
        why = xdr_get_u32(x);
        if (why == WHY_CONTENTION || why == WHY_RESOURCE) {
            (void)xdr_get_bool(x);
        }
        break;
    default:
        x->failed = true;
    }
}

int nfs_get_open(struct nfs_compound *c, struct nfs_stateid *out_stateid)
{
    int r = begin(c, NFS_OP_OPEN);
    struct nfs_stateid stateid = {0};
    bool more;

    if (r) {
        return r;
    }
    get_stateid(&c->in, &stateid);
    (void)xdr_get_fixed(&c->in, 4 + 8 + 8); /* change_info4 */
    (void)xdr_get_u32(&c->in);              /* rflags */
    (void)nfs_get_bitmap(&c->in, &more);
    skip_delegation(&c->in);
    r = end(c);
    if (!r && out_stateid) {
        *out_stateid = stateid;
    }
    return r;
}

void nfs_put_close(struct nfs_compound *c, const struct nfs_stateid *stateid)
{
    struct xdr_out *x = nfs_compound_op(c, NFS_OP_CLOSE);

    xdr_put_u32(x, 0); /* seqid: sessions need none */
    put_stateid(x, stateid);
}

int nfs_get_close(struct nfs_compound *c)
{
    int r = begin(c, NFS_OP_CLOSE);

    if (r) {
        return r;
    }
    (void)xdr_get_fixed(&c->in, 4 + NFS_OTHER_SIZE);
    return end(c);
}

/* ---- contents (18.32, 18.3, 18.22, 18.24) ---- */

void nfs_put_write(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset, uint32_t stable,
                   const void *data, size_t len)
{
    struct xdr_out *x = nfs_compound_op(c, NFS_OP_WRITE);

    put_stateid(x, stateid);
    xdr_put_u64(x, offset);
    xdr_put_u32(x, stable);
    xdr_put_ref(x, data, len);
}

int nfs_get_write(struct nfs_compound *c, struct nfs_written *out_written)
{
    int r = begin(c, NFS_OP_WRITE);
    struct nfs_written written = {0};
    const uint8_t *verf;

    if (r) {
        return r;
    }
    written.count = xdr_get_u32(&c->in);
    written.committed = xdr_get_u32(&c->in);
    verf = xdr_get_fixed(&c->in, NFS_VERF_SIZE);
    if (verf) {
        memcpy(written.verf, verf, NFS_VERF_SIZE);
    }
    r = end(c);
    if (!r && out_written) {
        *out_written = written;
    }
    return r;
}

void nfs_put_commit(struct nfs_compound *c)
{
    struct xdr_out *x = nfs_compound_op(c, NFS_OP_COMMIT);

    xdr_put_u64(x, 0); /* from the beginning */
    xdr_put_u32(x, 0); /* to the end */
}

int nfs_get_commit(struct nfs_compound *c, uint8_t out_verf[NFS_VERF_SIZE])
{
    int r = begin(c, NFS_OP_COMMIT);
    const uint8_t *verf;

    if (r) {
        return r;
    }
    verf = xdr_get_fixed(&c->in, NFS_VERF_SIZE);
    r = end(c);
    if (!r && verf) {
        memcpy(out_verf, verf, NFS_VERF_SIZE);
    }
    return r;
}

void nfs_put_read(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset, void *buf, uint32_t len)
{
    struct xdr_out *x = nfs_compound_op(c, NFS_OP_READ);

    put_stateid(x, stateid);
    xdr_put_u64(x, offset);
    xdr_put_u32(x, len);
    nfs_compound_sink(c, buf, len);
}

int nfs_get_read(struct nfs_compound *c, void *buf, size_t size, size_t *out_len, bool *out_eof)
{
    int r = begin(c, NFS_OP_READ);
    const uint8_t *data;
    size_t len;
    bool eof;

    if (r) {
        return r;
    }
    eof = xdr_get_bool(&c->in);
    data = xdr_get_opaque(&c->in, size, &len);
    r = end(c);
    if (r || !data) {
        return -EPROTO;
    }
    if ((const void *)data != buf && len > 0) {
        memcpy(buf, data, len); /* it could not go there by itself */
    }
    *out_len = len;
    if (out_eof) {
        *out_eof = eof;
    }
    return 0;
}

void nfs_put_readlink(struct nfs_compound *c)
{
    (void)nfs_compound_op(c, NFS_OP_READLINK);
}

int nfs_get_readlink(struct nfs_compound *c, char *buf, size_t size, size_t *out_len)
{
    int r = begin(c, NFS_OP_READLINK);
    const uint8_t *text;
    size_t len;

    if (r) {
        return r;
    }
    text = xdr_get_opaque(&c->in, SIZE_MAX, &len);
    if (!text || memchr(text, 0, len)) {
        c->in.failed = true;
        return -EPROTO;
    }
    if (len >= size) {
        return -ENAMETOOLONG;
    }
    memcpy(buf, text, len);
    buf[len] = '\0';
    if (out_len) {
        *out_len = len;
    }
    return 0;
}

/* ---- directories (18.23) ---- */

void nfs_put_readdir(struct nfs_compound *c, uint64_t cookie, const uint8_t verf[NFS_VERF_SIZE], uint32_t bytes,
                     uint64_t mask)
{
    struct xdr_out *x = nfs_compound_op(c, NFS_OP_READDIR);

    xdr_put_u64(x, cookie);
    xdr_put_fixed(x, verf, NFS_VERF_SIZE);
    xdr_put_u32(x, bytes); /* dircount: of names and cookies, a hint */
    xdr_put_u32(x, bytes);
    nfs_put_bitmap(x, mask);
}

int nfs_get_readdir(struct nfs_compound *c, uint8_t out_verf[NFS_VERF_SIZE])
{
    int r = begin(c, NFS_OP_READDIR);
    const uint8_t *verf;

    if (r) {
        return r;
    }
    verf = xdr_get_fixed(&c->in, NFS_VERF_SIZE);
    r = end(c);
    if (!r && verf) {
        memcpy(out_verf, verf, NFS_VERF_SIZE);
    }
    return r;
}

int nfs_get_entry(struct xdr_in *in, struct nfs_entry *out_entry, bool *out_eof)
{
    if (!xdr_get_bool(in)) {
        bool eof = xdr_get_bool(in);

        if (in->failed) {
            return -EPROTO;
        }
        *out_eof = eof;
        return 0;
    }
    out_entry->cookie = xdr_get_u64(in);
    out_entry->name = (const char *)xdr_get_opaque(in, NFS_NAME_MAX, &out_entry->len);
    nfs_get_fattr(in, &out_entry->attrs);
    return in->failed ? -EPROTO : 1;
}

/* ---- names (18.4, 18.9, 18.26, 18.25) ---- */

void nfs_put_create(struct nfs_compound *c, const char *name, uint64_t mask, const struct attr *attr,
                    const char *target)
{
    struct xdr_out *x = nfs_compound_op(c, NFS_OP_CREATE);

    xdr_put_u32(x, nfs_type_of_mode(attr->mode));
    if (S_ISLNK(attr->mode)) {
        put_name(x, target);
    } else if (S_ISCHR(attr->mode) || S_ISBLK(attr->mode)) {
        xdr_put_u32(x, major(attr->rdev));
        xdr_put_u32(x, minor(attr->rdev));
    }
    put_name(x, name);
    nfs_put_fattr(x, mask, attr);
}

int nfs_get_create(struct nfs_compound *c)
{
    int r = begin(c, NFS_OP_CREATE);

    if (r) {
        return r;
    }
    (void)xdr_get_fixed(&c->in, 4 + 8 + 8); /* change_info4 */
    return end_bitmap(c);
}

void nfs_put_link(struct nfs_compound *c, const char *name)
{
    put_name(nfs_compound_op(c, NFS_OP_LINK), name);
}

void nfs_put_rename(struct nfs_compound *c, const char *from, const char *to)
{
    struct xdr_out *x = nfs_compound_op(c, NFS_OP_RENAME);

    put_name(x, from);
    put_name(x, to);
}

void nfs_put_remove(struct nfs_compound *c, const char *name)
{
    put_name(nfs_compound_op(c, NFS_OP_REMOVE), name);
}

int nfs_get_link(struct nfs_compound *c)
{
    int r = begin(c, NFS_OP_LINK);

    return r ? r : end_change_info(c);
}

int nfs_get_rename(struct nfs_compound *c)
{
    int r = begin(c, NFS_OP_RENAME);

    if (r) {
        return r;
    }
    (void)xdr_get_fixed(&c->in, 4 + 8 + 8); /* of the source directory */
    return end_change_info(c);
}

int nfs_get_remove(struct nfs_compound *c)
{
    int r = begin(c, NFS_OP_REMOVE);

    return r ? r : end_change_info(c);
}

/* ---- security (18.45) ---- */

#define SECINFO_MAX 64 /* flavours; more are a lie */

void nfs_put_secinfo_no_name(struct nfs_compound *c)
{
    xdr_put_u32(nfs_compound_op(c, NFS_OP_SECINFO_NO_NAME), 0); /* of the current handle */
}

int nfs_get_secinfo_no_name(struct nfs_compound *c, bool *out_auth_sys, bool *out_gss)
{
    enum { AUTH_SYS = 1, RPCSEC_GSS = 6 };
    int r = begin(c, NFS_OP_SECINFO_NO_NAME);
    uint32_t count;
    bool sys = false;
    bool gss = false;

    if (r) {
        return r;
    }
    count = xdr_get_count(&c->in, SECINFO_MAX, 4);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t flavour = xdr_get_u32(&c->in);
        size_t len;

        sys |= flavour == AUTH_SYS;
        if (flavour == RPCSEC_GSS) {
            gss = true;
            (void)xdr_get_opaque(&c->in, 256, &len); /* oid */
            (void)xdr_get_fixed(&c->in, 8);          /* qop, service */
        }
    }
    r = end(c);
    if (!r) {
        *out_auth_sys = sys;
        *out_gss = gss;
    }
    return r;
}
