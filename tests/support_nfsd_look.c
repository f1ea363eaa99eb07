/*
 * support_nfsd_look: operations that only look.
 */
#include <string.h>

#include "support_nfsd_internal.h"

static uint32_t do_getattr(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *i = NULL;
    uint32_t status = srv_current(c, &i);

    if (status == D4ERR_OK) {
        srv_put_attrs(c->n, i, op->getattr.mask, &c->out);
    }
    return status;
}

static uint32_t do_verify(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *i = NULL;
    uint32_t status = srv_current(c, &i);

    if (status == D4ERR_OK) {
        status = c->n->o.no_verify ? (uint32_t)D4ERR_NOTSUPP : srv_compare_attrs(c->n, i, &op->verify.attrs);
    }
    return (status == D4ERR_SAME && op->op == D4_VERIFY) || (status == D4ERR_NOT_SAME && op->op == D4_NVERIFY)
               ? (uint32_t)D4ERR_OK
               : status;
}

static uint32_t do_access(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *i = NULL;
    uint32_t status = srv_current(c, &i);

    if (status == D4ERR_OK) {
        nx_put_u32(&c->out, op->access.mask & 0x3fU);
        nx_put_u32(&c->out, op->access.mask & 0x3fU);
    }
    return status;
}

static uint32_t do_getfh(struct srv_call *c)
{
    struct nf_inode *i = NULL;
    uint32_t status = srv_current(c, &i);
    uint8_t fh[NF_FH_LEN];

    if (status == D4ERR_OK) {
        nf_handle(i, fh);
        nx_put_opaque(&c->out, fh, sizeof(fh));
    }
    return status;
}

static uint32_t do_readlink(struct srv_call *c)
{
    struct nf_inode *i = NULL;
    uint32_t status = srv_current(c, &i);

    if (status == D4ERR_OK && i->type != D4T_LNK) {
        status = D4ERR_WRONG_TYPE;
    }
    if (status == D4ERR_OK) {
        nx_put_text(&c->out, i->target);
    }
    return status;
}

static uint32_t do_read(struct srv_call *c, const struct srv_op *op)
{
    struct nf_inode *i = NULL;
    struct srv_open *o = NULL;
    uint32_t status = srv_current(c, &i);
    uint64_t offset = op->read.offset;
    uint32_t count = op->read.count;

    if (status == D4ERR_OK) {
        status = srv_open_find(c, &op->read.stateid, &o);
    }
    if (status == D4ERR_OK && i->type != D4T_REG) {
        status = i->type == D4T_DIR ? D4ERR_ISDIR : i->type == D4T_LNK ? D4ERR_SYMLINK : D4ERR_WRONG_TYPE;
    }
    if (status == D4ERR_OK && o != NULL && (o->inode != i || (o->access & 1) == 0)) {
        status = o->inode != i ? D4ERR_BAD_STATEID : D4ERR_OPENMODE;
    }
    if (status != D4ERR_OK) {
        return status;
    }
    if (c->n->o.read_max > 0 && count > c->n->o.read_max) {
        count = c->n->o.read_max;
    }
    if (c->session != NULL && c->out.len + count + 16 > c->session->fore.response) {
        return D4ERR_REP_TOO_BIG;
    }
    uint64_t left = offset < i->size ? i->size - offset : 0;
    if (count > left) {
        count = (uint32_t)left;
    }
    nx_put_u32(&c->out, count == left);
    nx_put_opaque(&c->out, count > 0 ? i->data + offset : NULL, count);
    return D4ERR_OK;
}

/* Entries behind the cookie, as many as are wanted and fit. */
static uint32_t do_readdir(struct srv_call *c, const struct srv_op *op)
{
    struct nfsd *n = c->n;
    struct nf_inode *dir = NULL;
    uint32_t status = srv_current(c, &dir);
    size_t begin = c->out.len;
    size_t e = 0;
    unsigned told = 0;

    if (status == D4ERR_OK && dir->type != D4T_DIR) {
        status = D4ERR_NOTDIR;
    }
    if (status != D4ERR_OK) {
        return status;
    }
    if (op->readdir.cookie != 0 && op->readdir.verf != n->fs.cookie_verf) {
        return D4ERR_NOT_SAME; /* RFC 8881 18.23.3 */
    }
    if (op->readdir.cookie == 0 && op->readdir.verf != 0) {
        srv_complain(n, "READDIR from the beginning with a verifier");
    }
    while (e < dir->entries && dir->entry[e].cookie <= op->readdir.cookie) {
        e++;
    }
    nx_put_u64(&c->out, n->fs.cookie_verf);
    for (; e < dir->entries && (n->o.readdir_max == 0 || told < n->o.readdir_max); e++, told++) {
        size_t before = c->out.len;

        nx_put_u32(&c->out, 1);
        nx_put_u64(&c->out, dir->entry[e].cookie);
        nx_put_text(&c->out, dir->entry[e].name);
        srv_put_attrs(n, dir->entry[e].inode, op->readdir.mask, &c->out);
        if (c->out.len - begin + 8 > op->readdir.maxcount) {
            c->out.len = before;
            break;
        }
    }
    if (told == 0 && e < dir->entries) {
        return D4ERR_TOOSMALL;
    }
    nx_put_u32(&c->out, 0);
    nx_put_u32(&c->out, e == dir->entries);
    return c->session != NULL && c->out.len > c->session->fore.response ? D4ERR_REP_TOO_BIG : D4ERR_OK;
}

static uint32_t do_secinfo(struct srv_call *c)
{
    struct nf_inode *i = NULL;
    uint32_t status = srv_current(c, &i);

    if (status != D4ERR_OK) {
        return status;
    }
    c->cur = 0; /* consumed (RFC 8881 18.45.3) */
    if (c->n->o.wrongsec) {
        static const uint8_t krb5[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02};

        nx_put_u32(&c->out, 1);
        nx_put_u32(&c->out, 6); /* RPCSEC_GSS */
        nx_put_opaque(&c->out, krb5, sizeof(krb5));
        nx_put_u32(&c->out, 0);
        nx_put_u32(&c->out, 1);
        return D4ERR_OK;
    }
    nx_put_u32(&c->out, 2);
    nx_put_u32(&c->out, 1); /* AUTH_SYS */
    nx_put_u32(&c->out, 0); /* AUTH_NONE */
    return D4ERR_OK;
}

uint32_t srv_look_op(struct srv_call *c, const struct srv_op *op)
{
    switch (op->op) {
    case D4_ACCESS:
        return do_access(c, op);
    case D4_GETATTR:
        return do_getattr(c, op);
    case D4_VERIFY:
    case D4_NVERIFY:
        return do_verify(c, op);
    case D4_GETFH:
        return do_getfh(c);
    case D4_READLINK:
        return do_readlink(c);
    case D4_READ:
        return do_read(c, op);
    case D4_READDIR:
        return do_readdir(c, op);
    case D4_SECINFO_NO_NAME:
        return do_secinfo(c);
    default:
        return D4ERR_OP_ILLEGAL;
    }
}
