/*
 * compound: a COMPOUND, built in place and decoded in place (compound.h).
 */
#include "workers/stores/nfs41/compound.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workers/stores/nfs41/nfserr.h"
#include "workers/stores/nfs41/session_internal.h"

#define TAG_MAX      1024 /* bytes of a tag that comes back */
#define STATEID      16   /* bytes */
#define BITMAP_WORDS 16   /* of a bitmap4 that comes back */
#define DELEG_NONE   0    /* open_delegation_type4 */
#define DELEG_EXT    3    /* OPEN_DELEGATE_NONE_EXT */

/* What there is to know of an operation. */
struct op_row {
    const char *name; /* nfs_op_name */
    enum nfs_op op;   /* its number */
    bool changes;     /* see nfs_op_changes */
};

/* In order of number. */
static const struct op_row op_rows[] = {
    {"ACCESS", NFS_OP_ACCESS, false},
    {"CLOSE", NFS_OP_CLOSE, true},
    {"COMMIT", NFS_OP_COMMIT, false},
    {"CREATE", NFS_OP_CREATE, true},
    {"GETATTR", NFS_OP_GETATTR, false},
    {"GETFH", NFS_OP_GETFH, false},
    {"LINK", NFS_OP_LINK, true},
    {"LOOKUP", NFS_OP_LOOKUP, false},
    {"LOOKUPP", NFS_OP_LOOKUPP, false},
    {"NVERIFY", NFS_OP_NVERIFY, false},
    {"OPEN", NFS_OP_OPEN, true},
    {"PUTFH", NFS_OP_PUTFH, false},
    {"PUTROOTFH", NFS_OP_PUTROOTFH, false},
    {"READ", NFS_OP_READ, false},
    {"READDIR", NFS_OP_READDIR, false},
    {"READLINK", NFS_OP_READLINK, false},
    {"REMOVE", NFS_OP_REMOVE, true},
    {"RENAME", NFS_OP_RENAME, true},
    {"RESTOREFH", NFS_OP_RESTOREFH, false},
    {"SAVEFH", NFS_OP_SAVEFH, false},
    {"SECINFO", NFS_OP_SECINFO, false},
    {"SETATTR", NFS_OP_SETATTR, true},
    {"VERIFY", NFS_OP_VERIFY, false},
    {"WRITE", NFS_OP_WRITE, true},
    {"BIND_CONN_TO_SESSION", NFS_OP_BIND_CONN_TO_SESSION, false},
    {"EXCHANGE_ID", NFS_OP_EXCHANGE_ID, true},
    {"CREATE_SESSION", NFS_OP_CREATE_SESSION, true},
    {"DESTROY_SESSION", NFS_OP_DESTROY_SESSION, true},
    {"FREE_STATEID", NFS_OP_FREE_STATEID, true},
    {"SECINFO_NO_NAME", NFS_OP_SECINFO_NO_NAME, false},
    {"SEQUENCE", NFS_OP_SEQUENCE, false},
    {"TEST_STATEID", NFS_OP_TEST_STATEID, false},
    {"DESTROY_CLIENTID", NFS_OP_DESTROY_CLIENTID, true},
    {"RECLAIM_COMPLETE", NFS_OP_RECLAIM_COMPLETE, true},
    {"ILLEGAL", NFS_OP_ILLEGAL, false},
};

static const struct op_row *op_row(enum nfs_op op)
{
    for (size_t i = 0; i < sizeof(op_rows) / sizeof(op_rows[0]); i++) {
        if (op_rows[i].op == op) {
            return &op_rows[i];
        }
    }
    return NULL;
}

const char *nfs_op_name(enum nfs_op op)
{
    const struct op_row *row = op_row(op);
    return row ? row->name : "?";
}

bool nfs_op_changes(enum nfs_op op)
{
    /* Asked for each operation: those that publishing a file consists of, first. */
    switch (op) {
    case NFS_OP_PUTFH:
    case NFS_OP_SAVEFH:
    case NFS_OP_RESTOREFH:
    case NFS_OP_VERIFY:
        return false;
    case NFS_OP_OPEN:
    case NFS_OP_WRITE:
    case NFS_OP_SETATTR:
    case NFS_OP_CLOSE:
    case NFS_OP_RENAME:
        return true;
    default: {
        const struct op_row *row = op_row(op);
        return !row || row->changes;
    }
    }
}

/* ---- building ---- */

static void begin(struct nfs_compound *c, bool alone)
{
    struct nfs_session *s = c->session;
    size_t head = alone ? s->head_alone : s->head_len;
    xdr_out_init(&c->out, c->buf, sizeof(c->buf));
    memcpy(c->buf, s->head, head);
    c->out.used = head;
    c->ops_at = s->head_alone - sizeof(uint32_t);
    c->sequence_at = alone ? 0 : head - NFS_SEQ_SIZE;
    c->op_count = 0;
    if (!alone) {
        c->ops[c->op_count++] = NFS_OP_SEQUENCE;
    }
    c->first_change = NFS_COMPOUND_OPS;
    c->generation = nfs_client_generation(s->client);
    c->status = NFS4_OK;
    c->result_count = 0;
    c->result_next = 0;
    c->in = (struct xdr_in){0};
    c->sent = false;
    c->replayed = false;
    c->refuse = 0;
    c->reply_max = NFS_REPLY_DEFAULT;
    c->sink = NULL;
    c->sink_size = 0;
}

static struct nfs_compound *take(struct nfs_session *session, bool alone)
{
    struct nfs_compound *c = session->idle;
    if (c) {
        session->idle = c->next;
        session->idle_count--;
    } else {
        c = malloc(sizeof(*c));
        if (!c) {
            return NULL;
        }
        memset(c, 0, offsetof(struct nfs_compound, buf));
        c->session = session;
        rpc_call_init(&c->call, &c->out, 0);
    }
    begin(c, alone);
    return c;
}

struct nfs_compound *nfs_compound_begin(struct nfs_session *session)
{
    return take(session, false);
}

struct nfs_compound *nfs_compound_begin_alone(struct nfs_session *session)
{
    return take(session, true);
}

void nfs_compound_end(struct nfs_compound *c)
{
    if (!c) {
        return;
    }
    rpc_call_release(&c->call);
    struct nfs_session *s = c->session;
    if (s->idle_count >= NFS_IDLE_COMPOUNDS) {
        free(c);
        return;
    }
    c->next = s->idle;
    s->idle = c;
    s->idle_count++;
}

void nfs_compound_again(struct nfs_compound *c)
{
    rpc_call_release(&c->call);
    begin(c, c->sequence_at == 0);
}

struct xdr_out *nfs_compound_op(struct nfs_compound *c, enum nfs_op op)
{
    if (c->op_count == NFS_COMPOUND_OPS) {
        c->out.failed = true;
        return &c->out;
    }
    if (c->first_change == NFS_COMPOUND_OPS && nfs_op_changes(op)) {
        c->first_change = c->op_count;
    }
    c->ops[c->op_count++] = (uint16_t)op;
    xdr_put_u32(&c->out, op);
    return &c->out;
}

void nfs_compound_expect(struct nfs_compound *c, size_t bytes)
{
    c->reply_max = bytes;
}

void nfs_compound_sink(struct nfs_compound *c, void *buf, size_t size)
{
    c->sink = buf;
    c->sink_size = size;
}

size_t nfs_compound_size(const struct nfs_compound *c)
{
    return xdr_out_size(&c->out) - sizeof(uint32_t); /* without the record mark */
}

struct nfs_compound_mark nfs_compound_mark(const struct nfs_compound *c)
{
    return (struct nfs_compound_mark){
        .out = xdr_out_mark(&c->out), .op_count = c->op_count, .first_change = c->first_change};
}

void nfs_compound_rewind(struct nfs_compound *c, struct nfs_compound_mark mark)
{
    xdr_out_rewind(&c->out, mark.out);
    c->op_count = mark.op_count;
    c->first_change = mark.first_change;
}

/* ---- decoding ---- */

int nfs_compound_result(struct nfs_compound *c, enum nfs_op op, uint32_t *out_status)
{
    if (c->in.failed) {
        return -EPROTO;
    }
    if (c->result_next >= c->result_count) {
        return -ENODATA;
    }
    uint32_t got = xdr_get_u32(&c->in);
    uint32_t status = xdr_get_u32(&c->in);
    bool last = c->result_next + 1 == c->result_count;
    /* Only the last one may have failed, and an operation that the server does not know has a name of its own. */
    if (c->in.failed || (got != op && !(got == NFS_OP_ILLEGAL && status == NFS4ERR_OP_ILLEGAL)) ||
        (status != NFS4_OK && !last)) {
        c->in.failed = true;
        return -EPROTO;
    }
    c->result_next++;
    *out_status = status;
    return 0;
}

int nfs_compound_expect_ok(struct nfs_compound *c, enum nfs_op op)
{
    uint32_t status = NFS4_OK;
    int r = nfs_compound_result(c, op, &status);
    return r < 0 ? r : nfs_errno(status);
}

/* ---- where a READ's data lie ---- */

static void skip_bitmap(struct xdr_in *in)
{
    uint32_t words = xdr_get_count(in, BITMAP_WORDS, sizeof(uint32_t));
    xdr_get_fixed(in, words * sizeof(uint32_t));
}

static void skip_open(struct xdr_in *in)
{
    xdr_get_fixed(in, STATEID);
    xdr_get_fixed(in, 4 + 8 + 8); /* change_info4 */
    xdr_get_u32(in);              /* rflags */
    skip_bitmap(in);
    uint32_t delegation = xdr_get_u32(in);
    if (delegation == DELEG_EXT) {
        uint32_t why = xdr_get_u32(in);
        if (why == 1 || why == 2) { /* WND4_CONTENTION, WND4_RESOURCE: and whether it will be told */
            xdr_get_u32(in);
        }
    } else if (delegation != DELEG_NONE) {
        in->failed = true;
    }
}

/* Steps over the results of op, of which status was NFS4_OK. False: how long they are is not known here. */
static bool skip_result(struct xdr_in *in, uint32_t op)
{
    size_t len;
    switch (op) {
    case NFS_OP_PUTFH:
    case NFS_OP_PUTROOTFH:
    case NFS_OP_SAVEFH:
    case NFS_OP_RESTOREFH:
    case NFS_OP_LOOKUP:
    case NFS_OP_VERIFY:
    case NFS_OP_NVERIFY:
        return true;
    case NFS_OP_SEQUENCE:
        xdr_get_fixed(in, NFS_SESSION_ID + 5 * sizeof(uint32_t));
        return true;
    case NFS_OP_ACCESS:
        xdr_get_u64(in);
        return true;
    case NFS_OP_CLOSE:
        xdr_get_fixed(in, STATEID);
        return true;
    case NFS_OP_GETFH:
        xdr_get_opaque(in, NFS_FH_MAX, &len);
        return true;
    case NFS_OP_GETATTR:
        skip_bitmap(in);
        xdr_get_opaque(in, RPC_REPLY_SMALL, &len);
        return true;
    case NFS_OP_OPEN:
        skip_open(in);
        return true;
    default:
        return false;
    }
}

/* rpc_sink's locate: the data of the first READ in a reply's beginning. */
int nfs_locate_read(void *arg, const uint8_t *head, size_t len, size_t *out_at, size_t *out_len)
{
    (void)arg;
    struct xdr_in in;
    size_t skip;
    xdr_in_init(&in, head, len);
    xdr_get_u32(&in); /* xid */
    uint32_t type = xdr_get_u32(&in);
    uint32_t denied = xdr_get_u32(&in);
    xdr_get_u32(&in); /* verifier */
    xdr_get_opaque(&in, RPC_REPLY_SMALL, &skip);
    uint32_t refused = xdr_get_u32(&in); /* accept_stat */
    bool fine = type == 1 && denied == 0 && refused == 0;
    xdr_get_u32(&in); /* status of the COMPOUND */
    xdr_get_opaque(&in, TAG_MAX, &skip);
    uint32_t count = xdr_get_u32(&in);
    for (uint32_t i = 0; i < count && !in.failed && fine; i++) {
        uint32_t op = xdr_get_u32(&in);
        uint32_t status = xdr_get_u32(&in);
        if (in.failed) {
            break;
        }
        if (status != NFS4_OK) {
            return -1;
        }
        if (op == NFS_OP_READ) {
            xdr_get_u32(&in); /* eof */
            uint32_t data = xdr_get_u32(&in);
            if (in.failed) {
                break;
            }
            *out_at = (size_t)(in.at - head);
            *out_len = data;
            return 1;
        }
        if (!skip_result(&in, op)) {
            return -1;
        }
    }
    return in.failed ? 0 : -1;
}
