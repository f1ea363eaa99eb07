/*
 * support_nfsd_args: operations of a COMPOUND, decoded before anything is carried out.
 */
#include <string.h>

#include "support_nfsd_internal.h"

static void get_mask(struct nx_in *in, uint32_t mask[D4A_WORDS], bool *beyond)
{
    uint32_t words = nx_u32(in);

    for (uint32_t w = 0; w < words && !in->bad; w++) {
        uint32_t bits = nx_u32(in);

        if (w < D4A_WORDS) {
            mask[w] = bits;
        } else if (bits != 0 && beyond != NULL) {
            *beyond = true;
        }
    }
}

static void get_fattr(struct nx_in *in, struct srv_fattr *out)
{
    get_mask(in, out->mask, &out->beyond);
    out->values = nx_opaque(in, 65536);
}

static void get_stateid(struct nx_in *in, struct srv_stateid *out)
{
    out->seqid = nx_u32(in);
    const uint8_t *other = nx_fixed(in, sizeof(out->other));
    if (other != NULL) {
        memcpy(out->other, other, sizeof(out->other));
    }
}

static void get_channel(struct nx_in *in, struct srv_channel *out)
{
    out->pad = nx_u32(in);
    out->request = nx_u32(in);
    out->response = nx_u32(in);
    out->cached = nx_u32(in);
    out->ops = nx_u32(in);
    out->slots = nx_u32(in);
    if (nx_u32(in) > 0) { /* ca_rdma_ird<1> */
        nx_u32(in);
    }
}

static struct nx_str get_name(struct nx_in *in)
{
    return nx_opaque(in, 4096);
}

static void get_create(struct nx_in *in, struct srv_op *op)
{
    op->create.type = nx_u32(in);
    if (op->create.type == D4T_LNK) {
        op->create.target = nx_opaque(in, 65536);
    } else if (op->create.type == D4T_BLK || op->create.type == D4T_CHR) {
        op->create.rdev[0] = nx_u32(in);
        op->create.rdev[1] = nx_u32(in);
    }
    op->name = get_name(in);
    get_fattr(in, &op->create.attrs);
}

static void get_open(struct nx_in *in, struct srv_op *op)
{
    nx_u32(in); /* seqid: not looked at in 4.1 */
    op->open.access = nx_u32(in);
    op->open.deny = nx_u32(in);
    op->open.client = nx_u64(in);
    op->open.owner = nx_opaque(in, 1024);
    op->open.create = nx_bool(in);
    if (op->open.create) {
        op->open.how = nx_u32(in);
        in->bad = in->bad || op->open.how > 1; /* exclusive creates: haul must not */
        get_fattr(in, &op->open.attrs);
    }
    op->open.claim = nx_u32(in);
    if (op->open.claim == 0) {
        op->name = get_name(in);
    } else {
        in->bad = in->bad || op->open.claim != 4;
    }
}

static void get_exchange(struct nx_in *in, struct srv_op *op)
{
    op->exchange.verf = nx_u64(in);
    op->exchange.owner = nx_opaque(in, 1024);
    op->exchange.flags = nx_u32(in);
    op->exchange.protect = nx_u32(in);
    in->bad = in->bad || op->exchange.protect != 0;
    if (nx_u32(in) > 0) { /* eia_client_impl_id<1> */
        nx_opaque(in, 1024);
        nx_opaque(in, 1024);
        nx_u64(in);
        nx_u32(in);
    }
}

static void get_create_session(struct nx_in *in, struct srv_op *op)
{
    op->create_session.client = nx_u64(in);
    op->create_session.seq = nx_u32(in);
    op->create_session.flags = nx_u32(in);
    get_channel(in, &op->create_session.fore);
    get_channel(in, &op->create_session.back);
    nx_u32(in); /* program of callbacks */
    uint32_t parms = nx_u32(in);
    for (uint32_t i = 0; i < parms && !in->bad; i++) {
        uint32_t flavor = nx_u32(in);

        if (flavor == 1) { /* AUTH_SYS */
            nx_u32(in);
            nx_opaque(in, 255);
            nx_u32(in);
            nx_u32(in);
            uint32_t groups = nx_u32(in);
            in->bad = in->bad || groups > 16;
            for (uint32_t g = 0; g < groups && !in->bad; g++) {
                nx_u32(in);
            }
        } else {
            in->bad = in->bad || flavor != 0;
        }
    }
}

static void get_sequence(struct nx_in *in, struct srv_op *op)
{
    op->sequence.id = nx_fixed(in, 16);
    op->sequence.seq = nx_u32(in);
    op->sequence.slot = nx_u32(in);
    op->sequence.highest = nx_u32(in);
    op->sequence.cache = nx_bool(in);
}

static void get_readdir(struct nx_in *in, struct srv_op *op)
{
    op->readdir.cookie = nx_u64(in);
    op->readdir.verf = nx_u64(in);
    op->readdir.dircount = nx_u32(in);
    op->readdir.maxcount = nx_u32(in);
    get_mask(in, op->readdir.mask, NULL);
}

static void get_write(struct nx_in *in, struct srv_op *op)
{
    get_stateid(in, &op->write.stateid);
    op->write.offset = nx_u64(in);
    op->write.stable = nx_u32(in);
    in->bad = in->bad || op->write.stable > 2;
    op->write.data = nx_opaque(in, UINT32_MAX);
}

/* Operations on files with few arguments. */
static bool get_small(struct nx_in *in, struct srv_op *op)
{
    switch (op->op) {
    case D4_ACCESS:
        op->access.mask = nx_u32(in);
        return true;
    case D4_CLOSE:
        nx_u32(in);
        get_stateid(in, &op->close.stateid);
        return true;
    case D4_COMMIT:
        op->commit.offset = nx_u64(in);
        op->commit.count = nx_u32(in);
        return true;
    case D4_GETATTR:
        get_mask(in, op->getattr.mask, NULL);
        return true;
    case D4_LINK:
    case D4_LOOKUP:
    case D4_REMOVE:
        op->name = get_name(in);
        return true;
    case D4_VERIFY:
    case D4_NVERIFY:
        get_fattr(in, &op->verify.attrs);
        return true;
    case D4_PUTFH:
        op->putfh.fh = nx_opaque(in, 128);
        return true;
    case D4_READ:
        get_stateid(in, &op->read.stateid);
        op->read.offset = nx_u64(in);
        op->read.count = nx_u32(in);
        return true;
    case D4_RENAME:
        op->rename.old = get_name(in);
        op->name = get_name(in);
        return true;
    case D4_SETATTR:
        get_stateid(in, &op->setattr.stateid);
        get_fattr(in, &op->setattr.attrs);
        return true;
    case D4_SECINFO_NO_NAME:
        op->secinfo.style = nx_u32(in);
        return true;
    default:
        return false;
    }
}

static bool get_large(struct nx_in *in, struct srv_op *op)
{
    switch (op->op) {
    case D4_CREATE:
        get_create(in, op);
        return true;
    case D4_OPEN:
        get_open(in, op);
        return true;
    case D4_READDIR:
        get_readdir(in, op);
        return true;
    case D4_WRITE:
        get_write(in, op);
        return true;
    case D4_EXCHANGE_ID:
        get_exchange(in, op);
        return true;
    case D4_CREATE_SESSION:
        get_create_session(in, op);
        return true;
    case D4_DESTROY_SESSION:
        op->destroy_session.id = nx_fixed(in, 16);
        return true;
    case D4_BIND_CONN_TO_SESSION:
        op->bind_conn.id = nx_fixed(in, 16);
        op->bind_conn.dir = nx_u32(in);
        op->bind_conn.rdma = nx_bool(in);
        return true;
    case D4_SEQUENCE:
        get_sequence(in, op);
        return true;
    case D4_DESTROY_CLIENTID:
        op->destroy_client.client = nx_u64(in);
        return true;
    case D4_RECLAIM_COMPLETE:
        nx_bool(in);
        return true;
    default:
        return false;
    }
}

bool srv_decode_op(struct nx_in *in, struct srv_op *out)
{
    *out = (struct srv_op){.op = nx_u32(in)};
    switch (out->op) {
    case D4_GETFH:
    case D4_LOOKUPP:
    case D4_PUTROOTFH:
    case D4_READLINK:
    case D4_RESTOREFH:
    case D4_SAVEFH:
        break;
    default:
        if (!get_small(in, out) && !get_large(in, out)) {
            out->op = D4_ILLEGAL;
            return false;
        }
    }
    return !in->bad;
}

const char *nfsd_op_name(uint32_t op)
{
    static const struct {
        uint32_t op;
        const char *name;
    } names[] = {
        {D4_ACCESS, "ACCESS"},
        {D4_CLOSE, "CLOSE"},
        {D4_COMMIT, "COMMIT"},
        {D4_CREATE, "CREATE"},
        {D4_GETATTR, "GETATTR"},
        {D4_GETFH, "GETFH"},
        {D4_LINK, "LINK"},
        {D4_LOOKUP, "LOOKUP"},
        {D4_LOOKUPP, "LOOKUPP"},
        {D4_NVERIFY, "NVERIFY"},
        {D4_OPEN, "OPEN"},
        {D4_PUTFH, "PUTFH"},
        {D4_PUTROOTFH, "PUTROOTFH"},
        {D4_READ, "READ"},
        {D4_READDIR, "READDIR"},
        {D4_READLINK, "READLINK"},
        {D4_REMOVE, "REMOVE"},
        {D4_RENAME, "RENAME"},
        {D4_RESTOREFH, "RESTOREFH"},
        {D4_SAVEFH, "SAVEFH"},
        {D4_SETATTR, "SETATTR"},
        {D4_VERIFY, "VERIFY"},
        {D4_WRITE, "WRITE"},
        {D4_BIND_CONN_TO_SESSION, "BIND_CONN_TO_SESSION"},
        {D4_EXCHANGE_ID, "EXCHANGE_ID"},
        {D4_CREATE_SESSION, "CREATE_SESSION"},
        {D4_DESTROY_SESSION, "DESTROY_SESSION"},
        {D4_SECINFO_NO_NAME, "SECINFO_NO_NAME"},
        {D4_SEQUENCE, "SEQUENCE"},
        {D4_DESTROY_CLIENTID, "DESTROY_CLIENTID"},
        {D4_RECLAIM_COMPLETE, "RECLAIM_COMPLETE"},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].op == op) {
            return names[i].name;
        }
    }
    return "ILLEGAL";
}
