/*
 * support_nfsd_compound: a record that came: RPC (RFC 5531), the COMPOUND, the script, the reply.
 */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "support_nfsd_internal.h"

/* ---- the script ---- */

static bool name_matches(const char *pattern, struct nx_str name)
{
    char text[4097];

    memcpy(text, name.len > 0 ? name.at : (const uint8_t *)"", name.len);
    text[name.len] = 0;
    return fnmatch(pattern, text, 0) == 0;
}

static bool has_op(const struct srv_call *c, uint32_t op)
{
    for (unsigned i = 0; i < c->ops; i++) {
        if (c->op[i].op == op) {
            return true;
        }
    }
    return false;
}

static bool rule_holds(const struct srv_call *c, const struct nfsd_rule *r, unsigned at)
{
    if (r->op != 0 && c->op[at].op != r->op) {
        return false;
    }
    if (r->index > 0 ? at != r->index - 1 : r->op == 0 && at != 0) {
        return false;
    }
    return (r->with == 0 || has_op(c, r->with)) && (r->name == NULL || name_matches(r->name, c->op[at].name));
}

/* Rules on what is done before any of a COMPOUND is carried out. */
static bool is_early(enum nfsd_do what)
{
    switch (what) {
    case NFSD_DROP_BEFORE:
    case NFSD_SILENT:
    case NFSD_LOSE_SESSION:
    case NFSD_LOSE_CLIENT:
    case NFSD_HOLD:
    case NFSD_NEW_VERIFIER:
    case NFSD_NEW_COOKIES:
        return true;
    default:
        return false;
    }
}

static struct srv_rule *rule_for(struct srv_call *c, unsigned at, bool early)
{
    struct nfsd *n = c->n;
    struct srv_rule *found = NULL;

    for (unsigned i = 0; i < n->rules; i++) {
        struct srv_rule *r = &n->rule[i];
        unsigned nth = r->rule.nth > 0 ? r->rule.nth : 1;
        unsigned count = r->rule.count > 0 ? r->rule.count : 1;

        if (is_early(r->rule.what) != early || !rule_holds(c, &r->rule, at)) {
            continue;
        }
        if (n->letting_go && (r->rule.what == NFSD_HOLD || r->rule.what == NFSD_HOLD_AFTER)) {
            continue;
        }
        r->met++;
        if (found == NULL && r->met >= nth && r->met - nth < count) {
            r->fired++;
            n->fired++;
            found = r;
        }
    }
    return found;
}

/* ---- losing state ---- */

static void lose_unstable(struct nfsd *n)
{
    n->write_verf++;
    for (size_t i = 1; n->o.unstable_lost && i < n->fs.inodes; i++) {
        struct nf_inode *f = n->fs.inode[i];

        if (f != NULL && f->stable < f->size) {
            memset(f->data + f->stable, 0, (size_t)(f->size - f->stable));
            f->stable = UINT64_MAX;
        }
    }
}

void srv_crash(struct nfsd *n)
{
    while (n->clients != NULL) {
        srv_client_free(n, n->clients);
    }
    lose_unstable(n);
    for (unsigned i = 0; i < SRV_MAX_CONNS; i++) {
        srv_close(n, &n->conn[i]);
    }
}

static void lose(struct srv_call *c, bool client)
{
    struct srv_session *s = c->op[0].op == D4_SEQUENCE ? srv_session_find(c->n, c->op[0].sequence.id) : NULL;

    if (s != NULL && client) {
        srv_client_free(c->n, s->client);
    } else if (s != NULL) {
        srv_session_free(c->n, s);
    }
}

static void new_cookies(struct nfsd *n)
{
    n->fs.cookie_verf++;
    for (size_t i = 1; i < n->fs.inodes; i++) {
        struct nf_inode *dir = n->fs.inode[i];

        for (size_t e = 0; dir != NULL && e < dir->entries; e++) {
            dir->entry[e].cookie = dir->next_cookie++;
        }
    }
}

/* ---- holding ---- */

static void hold(struct srv_call *c, const struct srv_rule *r, const uint8_t *bytes, size_t len, bool reply)
{
    struct nfsd *n = c->n;
    struct srv_held *h = calloc(1, sizeof(*h));

    if (h == NULL) {
        abort();
    }
    h->conn = c->conn->serial;
    h->reply = reply;
    h->then = r->rule.then;
    nx_put_raw(&h->bytes, bytes, len);
    h->next = n->held;
    n->held = h;
    n->held_count++;
}

static struct srv_conn *conn_of(struct nfsd *n, uint64_t serial)
{
    for (unsigned i = 0; i < SRV_MAX_CONNS; i++) {
        if (n->conn[i].fd >= 0 && n->conn[i].serial == serial) {
            return &n->conn[i];
        }
    }
    return NULL;
}

void srv_release_held(struct nfsd *n)
{
    struct srv_held *h = n->held;
    enum nfsd_then then = h != NULL ? h->then : NFSD_THEN_GO_ON;

    n->held = NULL;
    n->held_count = 0;
    if (then == NFSD_THEN_LOSE_SESSION) {
        while (n->sessions != NULL) {
            srv_session_free(n, n->sessions);
        }
    }
    if (then == NFSD_THEN_RESTART) {
        srv_crash(n);
    } else if (then == NFSD_THEN_DROP || (then == NFSD_THEN_LOSE_SESSION && h->reply)) {
        for (unsigned i = 0; i < SRV_MAX_CONNS; i++) {
            srv_close(n, &n->conn[i]);
        }
    }
    n->letting_go = true;
    while (h != NULL) {
        struct srv_held *next = h->next;
        struct srv_conn *conn = conn_of(n, h->conn);

        if (conn != NULL && h->reply) {
            srv_send(n, conn, &h->bytes);
        } else if (conn != NULL) {
            srv_record(n, conn, h->bytes.data, h->bytes.len);
        }
        nx_free(&h->bytes);
        free(h);
        h = next;
    }
    n->letting_go = false;
}

/* What the script wants done before anything; false: no more is to be done. */
static bool early(struct srv_call *c, const uint8_t *bytes, size_t len)
{
    struct nfsd *n = c->n;

    for (unsigned at = 0; at < c->ops; at++) {
        const struct srv_rule *r = rule_for(c, at, true);

        if (r == NULL) {
            continue;
        }
        switch (r->rule.what) {
        case NFSD_DROP_BEFORE:
            srv_close(n, c->conn);
            return false;
        case NFSD_SILENT:
            return false;
        case NFSD_HOLD:
            hold(c, r, bytes, len, false);
            if (n->held_count >= r->rule.hold) {
                srv_release_held(n);
            }
            return false;
        case NFSD_NEW_VERIFIER:
            lose_unstable(n);
            break;
        case NFSD_NEW_COOKIES:
            new_cookies(n);
            break;
        default:
            lose(c, r->rule.what == NFSD_LOSE_CLIENT);
            break;
        }
    }
    return true;
}

/* ---- carrying out ---- */

static bool is_for_clients(uint32_t op)
{
    return op == D4_EXCHANGE_ID || op == D4_CREATE_SESSION || op == D4_DESTROY_SESSION || op == D4_DESTROY_CLIENTID ||
           op == D4_BIND_CONN_TO_SESSION;
}

static uint32_t reclaim_complete(struct srv_call *c)
{
    if (c->session->client->reclaimed) {
        return D4ERR_COMPLETE_ALREADY;
    }
    c->session->client->reclaimed = true;
    return D4ERR_OK;
}

/* The rules of a session on what stands where (RFC 8881 2.10.6.2). */
static uint32_t misplaced(const struct srv_call *c, const struct srv_op *op)
{
    if (op->op == D4_SEQUENCE) {
        return c->at == 0 ? D4ERR_OK : D4ERR_SEQUENCE_POS;
    }
    if (c->op[0].op == D4_SEQUENCE) {
        return D4ERR_OK;
    }
    if (!is_for_clients(op->op)) {
        return D4ERR_OP_NOT_IN_SESSION;
    }
    return c->ops == 1 ? D4ERR_OK : D4ERR_NOT_ONLY_OP;
}

static bool will_not_fit(const struct srv_call *c, const struct srv_op *op)
{
    uint32_t limit = c->session != NULL ? c->session->fore.cached : UINT32_MAX;

    if (c->n->o.real_cached > 0 && c->n->o.real_cached < limit) {
        limit = c->n->o.real_cached;
    }
    if (!c->cache || op->op == D4_SEQUENCE) {
        return false;
    }
    return c->out.len + (op->op == D4_OPEN ? 80 : op->op == D4_GETATTR ? 220 : 48) > limit;
}

static uint32_t carry_out(struct srv_call *c, const struct srv_op *op)
{
    uint32_t status = misplaced(c, op);

    if (status != D4ERR_OK || op->op == D4_ILLEGAL) {
        srv_complain(c->n, "%s at place %u: misplaced, or does not decode", nfsd_op_name(op->op), c->at + 1);
        return status != D4ERR_OK ? status : (uint32_t)D4ERR_BADXDR;
    }
    if (will_not_fit(c, op)) {
        return D4ERR_REP_TOO_BIG_TO_CACHE;
    }
    switch (op->op) {
    case D4_SEQUENCE:
        return srv_sequence(c, op);
    case D4_EXCHANGE_ID:
        return srv_exchange_id(c, op);
    case D4_CREATE_SESSION:
        return srv_create_session(c, op);
    case D4_BIND_CONN_TO_SESSION:
        return srv_bind_conn(c, op);
    case D4_DESTROY_SESSION:
        return srv_destroy_session(c, op);
    case D4_DESTROY_CLIENTID:
        return srv_destroy_client(c, op);
    case D4_RECLAIM_COMPLETE:
        return reclaim_complete(c);
    default:
        return c->session == NULL ? (uint32_t)D4ERR_BADSESSION : srv_file_op(c, op);
    }
}

/* A server whose SEQUENCE says that something is gone does not have it. */
static void lose_as_said(struct srv_call *c, uint32_t status)
{
    if (status == D4ERR_BADSESSION || status == D4ERR_DEADSESSION) {
        lose(c, false);
    } else if (status == D4ERR_STALE_CLIENTID || status == D4ERR_EXPIRED) {
        lose(c, true);
    }
}

/* What the script says of this operation: true where that is its answer, in *status and behind it. */
static bool scripted(struct srv_call *c, uint32_t *status, const struct srv_rule **out_rule)
{
    const struct srv_rule *r = rule_for(c, c->at, false);

    *out_rule = r;
    if (r == NULL) {
        return false;
    }
    switch (r->rule.what) {
    case NFSD_FAIL:
        *status = r->rule.status;
        if (c->at == 0) {
            lose_as_said(c, r->rule.status);
        }
        return true;
    case NFSD_ANSWER:
        c->out.len -= 4; /* its own status */
        nx_put_raw(&c->out, r->bytes, r->rule.len);
        *status = r->rule.len >= 4 ? (uint32_t)r->bytes[0] << 24 | (uint32_t)r->bytes[1] << 16 |
                                         (uint32_t)r->bytes[2] << 8 | r->bytes[3]
                                   : D4ERR_OK;
        return true;
    case NFSD_CRASH:
        srv_crash(c->n);
        c->gone = true;
        return true;
    case NFSD_DROP_AFTER:
        c->drop = true;
        break;
    case NFSD_SILENT_AFTER:
        c->silent = true;
        break;
    case NFSD_CRASH_AFTER:
        c->crash = true;
        break;
    case NFSD_HOLD_AFTER:
        c->hold = r;
        break;
    case NFSD_LIE:
        c->lie = r;
        c->lie_at = c->at;
        break;
    default: /* NFSD_ACT_FAIL: when it has acted */
        break;
    }
    return false;
}

static void failure_tail(struct srv_call *c, uint32_t op)
{
    if (op == D4_SETATTR) {
        nx_put_u32(&c->out, 0); /* none was set */
    }
}

/* One operation with its result. Its status. */
static uint32_t one_op(struct srv_call *c)
{
    const struct srv_op *op = &c->op[c->at];
    const struct srv_rule *rule = NULL;
    size_t begin = c->out.len;
    uint32_t status = D4ERR_OK;
    bool told;

    c->result[c->at] = begin;
    nx_put_u32(&c->out, op->op);
    nx_put_u32(&c->out, 0);
    told = scripted(c, &status, &rule);
    if (!told) {
        status = carry_out(c, op);
        c->n->counts.ops++;
        c->n->counts.op[op->op < 64 ? op->op : 0]++;
        if (rule != NULL && rule->rule.what == NFSD_ACT_FAIL) {
            status = rule->rule.status;
        }
    }
    if (c->gone || c->from_cache) {
        return status;
    }
    if (status != D4ERR_OK && (rule == NULL || rule->rule.what != NFSD_ANSWER)) {
        c->out.len = begin + 8;
        nx_patch_u32(&c->out, begin + 4, status);
        failure_tail(c, op->op);
    }
    c->results++;
    return status;
}

static void run_compound(struct srv_call *c)
{
    uint32_t status = D4ERR_OK;

    for (c->at = 0; c->at < c->ops && status == D4ERR_OK; c->at++) {
        if (c->at == 1 && c->replay) { /* no cached reply, and it is for the second operation to say so */
            c->result[1] = c->out.len;
            nx_put_u32(&c->out, c->op[1].op);
            nx_put_u32(&c->out, D4ERR_RETRY_UNCACHED_REP);
            failure_tail(c, c->op[1].op);
            c->results++;
            status = D4ERR_RETRY_UNCACHED_REP;
            break;
        }
        status = one_op(c);
        if (c->gone || c->from_cache) {
            return;
        }
    }
    nx_patch_u32(&c->out, c->begin, status);
    nx_patch_u32(&c->out, c->result[0] - 4, c->results);
    c->n->counts.holes += status != D4ERR_OK;
}

/* ---- RPC ---- */

static void put_reply_head(struct nx_out *out, uint32_t xid)
{
    nx_put_u32(out, xid);
    nx_put_u32(out, 1); /* REPLY */
    nx_put_u32(out, 0); /* MSG_ACCEPTED */
    nx_put_u32(out, 0); /* AUTH_NONE, nothing */
    nx_put_u32(out, 0);
}

static void answer_rpc(struct nfsd *n, struct srv_conn *conn, uint32_t xid, uint32_t accept, uint32_t low,
                       uint32_t high)
{
    struct nx_out out = {0};

    put_reply_head(&out, xid);
    nx_put_u32(&out, accept);
    if (accept == 2) { /* PROG_MISMATCH */
        nx_put_u32(&out, low);
        nx_put_u32(&out, high);
    }
    srv_send(n, conn, &out);
    nx_free(&out);
}

static void answer_denied(struct nfsd *n, struct srv_conn *conn, uint32_t xid, uint32_t why)
{
    struct nx_out out = {0};

    nx_put_u32(&out, xid);
    nx_put_u32(&out, 1);
    nx_put_u32(&out, 1); /* MSG_DENIED */
    nx_put_u32(&out, 1); /* AUTH_ERROR */
    nx_put_u32(&out, why);
    srv_send(n, conn, &out);
    nx_free(&out);
}

/* Reads the credentials; false where they are none that are taken. */
static bool get_cred(struct nx_in *in, struct srv_call *c)
{
    uint32_t flavor = nx_u32(in);
    struct nx_str body = nx_opaque(in, 400);
    struct nx_in cred = {.at = body.at, .left = body.len};

    nx_u32(in); /* verifier */
    nx_opaque(in, 400);
    if (flavor == 0) {
        c->uid = c->gid = 65534;
        return !in->bad;
    }
    nx_u32(&cred); /* stamp */
    nx_opaque(&cred, 255);
    c->uid = nx_u32(&cred);
    c->gid = nx_u32(&cred);
    uint32_t groups = nx_u32(&cred);
    for (uint32_t g = 0; g < groups && !cred.bad; g++) {
        nx_u32(&cred);
    }
    if (flavor == 1 && (groups > 16 || cred.left > 0)) {
        srv_complain(c->n, "AUTH_SYS with %u groups", groups);
    }
    return flavor == 1 && !in->bad && !cred.bad && cred.left == 0;
}

/* The COMPOUND's arguments; what does not decode is ILLEGAL, and the last. */
static bool get_compound(struct srv_call *c, struct nx_in *in, struct nx_str *tag, uint32_t *minor)
{
    *tag = nx_opaque(in, 1024);
    *minor = nx_u32(in);
    uint32_t count = nx_u32(in);
    if (in->bad || count > SRV_MAX_OPS) {
        return false;
    }
    c->op = calloc(count + 1, sizeof(*c->op));
    c->result = calloc(count + 1, sizeof(*c->result));
    if (c->op == NULL || c->result == NULL) {
        abort();
    }
    for (c->ops = 0; c->ops < count; c->ops++) {
        if (!srv_decode_op(in, &c->op[c->ops])) {
            c->op[c->ops].op = D4_ILLEGAL;
            c->ops++;
            break;
        }
        c->changes = c->changes || srv_changes(c->op[c->ops].op);
    }
    if (!in->bad && in->left > 0 && c->ops == count) {
        srv_complain(c->n, "%zu bytes behind the last operation", in->left);
    }
    return true;
}

/* ---- afterwards ---- */

static void remember(struct srv_call *c)
{
    struct nx_out line = {0};

    for (unsigned i = 0; i < c->ops; i++) {
        const char *name = nfsd_op_name(c->op[i].op);

        nx_put_raw(&line, " ", i > 0);
        nx_put_raw(&line, name, strlen(name));
    }
    nx_put_raw(&line, "", 1);
    for (unsigned i = 0; i < c->ops; i++) {
        struct srv_seen *seen = &c->n->seen[c->op[i].op < 64 ? c->op[i].op : 0];

        free(seen->ops);
        seen->ops = strdup((const char *)line.data);
        seen->count = c->ops;
        seen->reply.len = 0;
        if (c->out.len <= 65536) {
            nx_put_raw(&seen->reply, c->out.data, c->out.len);
        }
    }
    nx_free(&line);
}

static void finish(struct srv_call *c)
{
    struct nfsd *n = c->n;

    if (!c->replay) {
        n->counts.compounds++;
        remember(c);
    }
    if (c->slot != NULL && (c->cache || c->ops == 1)) {
        nx_free(&c->slot->reply);
        nx_put_raw(&c->slot->reply, c->out.data, c->out.len);
        c->slot->cached = true;
    }
    if (c->crash) {
        srv_crash(n);
    } else if (c->drop) {
        srv_close(n, c->conn);
    } else if (c->hold != NULL) {
        hold(c, c->hold, c->out.data, c->out.len, true);
        if (n->held_count >= c->hold->rule.hold) {
            srv_release_held(n);
        }
    } else if (c->lie != NULL) {
        srv_send_lie(c);
    } else if (!c->silent) {
        srv_send(n, c->conn, &c->out);
    }
}

static void do_compound(struct srv_call *c, struct nx_in *in, uint32_t xid, const uint8_t *bytes, size_t len)
{
    struct nx_str tag;
    uint32_t minor;

    if (!get_compound(c, in, &tag, &minor)) {
        srv_complain(c->n, "a COMPOUND that does not decode");
        answer_rpc(c->n, c->conn, xid, 4, 0, 0); /* GARBAGE_ARGS */
        return;
    }
    if (c->ops > 0 && !early(c, bytes, len)) {
        return;
    }
    put_reply_head(&c->out, xid);
    nx_put_u32(&c->out, 0); /* SUCCESS */
    c->begin = c->out.len;
    nx_put_u32(&c->out, 0);
    nx_put_opaque(&c->out, tag.at, tag.len);
    nx_put_u32(&c->out, 0);
    if (minor != 1 || c->n->o.only_minor_0) {
        nx_patch_u32(&c->out, c->begin, D4ERR_MINOR_VERS_MISMATCH);
    } else if (c->ops > 0) {
        c->result[0] = c->out.len;
        run_compound(c);
    }
    if (c->gone) {
        return;
    }
    nx_patch_u32(&c->out, 0, xid); /* a cached reply has another */
    finish(c);
}

void srv_record(struct nfsd *n, struct srv_conn *conn, const uint8_t *bytes, size_t len)
{
    struct nx_in in = {.at = bytes, .left = len};
    struct srv_call c = {.n = n, .conn = conn, .request_len = len};
    uint32_t xid = nx_u32(&in);
    uint32_t type = nx_u32(&in);
    uint32_t rpc = nx_u32(&in);
    uint32_t program = nx_u32(&in);
    uint32_t version = nx_u32(&in);
    uint32_t procedure = nx_u32(&in);

    if (type == 1) {
        return; /* an answer to NFSD_LIE_CALL */
    }
    if (in.bad || rpc != 2 || program != 100003 || procedure > 1 || !get_cred(&in, &c)) {
        srv_complain(n, "no RPC call of NFS: program %u, procedure %u", program, procedure);
        srv_close(n, conn);
        return;
    }
    if (n->o.eat_nothing) {
        return;
    }
    c.sum = srv_sum(bytes + 4, len - 4);
    if (n->o.reserved_port && conn->peer >= 1024) {
        answer_denied(n, conn, xid, 5); /* AUTH_TOOWEAK */
    } else if (version != 4) {
        answer_rpc(n, conn, xid, 2, 4, 4);
    } else if (procedure == 0) {
        answer_rpc(n, conn, xid, 0, 0, 0);
    } else {
        do_compound(&c, &in, xid, bytes, len);
    }
    free(c.op);
    free(c.result);
    nx_free(&c.out);
}
