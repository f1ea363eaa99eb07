/*
 * support_nfsd_session: clients, sessions, slots and their reply caches, open state.
 */
#include <stdlib.h>
#include <string.h>

#include "support_nfsd_internal.h"

static void *zeroed(size_t count, size_t size)
{
    void *p = calloc(count, size);

    if (p == NULL) {
        abort(); /* a test's own memory */
    }
    return p;
}

/* ---- clients ---- */

static struct srv_client *client_find(struct nfsd *n, uint64_t id)
{
    struct srv_client *c = n->clients;

    while (c != NULL && c->id != id) {
        c = c->next;
    }
    return c;
}

static struct srv_client *client_of_owner(struct nfsd *n, struct nx_str owner, bool confirmed)
{
    struct srv_client *c = n->clients;

    while (c != NULL &&
           (c->confirmed != confirmed || c->owner_len != owner.len || memcmp(c->owner, owner.at, owner.len) != 0)) {
        c = c->next;
    }
    return c;
}

void srv_open_free(struct nfsd *n, struct srv_open *o)
{
    struct srv_open **at = &n->opens;

    while (*at != o) {
        at = &(*at)->next;
    }
    *at = o->next;
    o->inode->opens--;
    nf_drop(&n->fs, o->inode);
    n->counts.opens--;
    free(o);
}

void srv_session_free(struct nfsd *n, struct srv_session *s)
{
    struct srv_session **at = &n->sessions;

    while (*at != s) {
        at = &(*at)->next;
    }
    *at = s->next;
    for (uint32_t i = 0; i < s->fore.slots; i++) {
        nx_free(&s->slot[i].reply);
    }
    free(s->slot);
    free(s);
    n->counts.sessions--;
}

static bool client_has_opens(const struct nfsd *n, const struct srv_client *client)
{
    const struct srv_open *o = n->opens;

    while (o != NULL && o->client != client) {
        o = o->next;
    }
    return o != NULL;
}

static struct srv_session *session_of(const struct nfsd *n, const struct srv_client *client)
{
    struct srv_session *s = n->sessions;

    while (s != NULL && s->client != client) {
        s = s->next;
    }
    return s;
}

void srv_client_free(struct nfsd *n, struct srv_client *client)
{
    struct srv_client **at = &n->clients;
    struct srv_open *next = NULL;
    struct srv_session *s = NULL;

    for (struct srv_open *o = n->opens; o != NULL; o = next) {
        next = o->next;
        if (o->client == client) {
            srv_open_free(n, o);
        }
    }
    while ((s = session_of(n, client)) != NULL) {
        srv_session_free(n, s);
    }
    while (*at != client) {
        at = &(*at)->next;
    }
    *at = client->next;
    n->counts.clients -= client->confirmed;
    nx_free(&client->reply);
    free(client);
}

uint32_t srv_exchange_id(struct srv_call *c, const struct srv_op *op)
{
    struct nfsd *n = c->n;
    struct srv_client *known = client_of_owner(n, op->exchange.owner, true);
    struct srv_client *pending = client_of_owner(n, op->exchange.owner, false);

    if ((op->exchange.flags & 0x70000U) != 0 && (op->exchange.flags & 0x10000U) == 0) {
        srv_complain(n, "EXCHANGE_ID: pNFS is asked for (flags %x)", op->exchange.flags);
    }
    if (known == NULL || known->verf != op->exchange.verf) {
        if (pending != NULL) {
            srv_client_free(n, pending);
        }
        known = zeroed(1, sizeof(*known));
        known->id = n->next_id++;
        known->verf = op->exchange.verf;
        known->owner_len = op->exchange.owner.len;
        memcpy(known->owner, op->exchange.owner.at, op->exchange.owner.len);
        known->seq = 1;
        known->next = n->clients;
        n->clients = known;
    }
    nx_put_u64(&c->out, known->id);
    nx_put_u32(&c->out, known->seq);
    nx_put_u32(&c->out, 0x10000U | (known->confirmed ? 0x80000000U : 0)); /* USE_NON_PNFS, CONFIRMED_R */
    nx_put_u32(&c->out, 0);                                               /* SP4_NONE */
    nx_put_u64(&c->out, 1);                                               /* so_minor_id */
    nx_put_text(&c->out, "scripted");
    nx_put_text(&c->out, "scope");
    nx_put_u32(&c->out, 1);
    nx_put_text(&c->out, "example.org");
    nx_put_text(&c->out, "nfsd of the tests");
    nx_put_u64(&c->out, 1700000000);
    nx_put_u32(&c->out, 0);
    return D4ERR_OK;
}

static void confirm(struct nfsd *n, struct srv_client *client)
{
    struct nx_str owner = {.at = client->owner, .len = client->owner_len};
    struct srv_client *old = client_of_owner(n, owner, true);

    if (old != NULL) { /* another instance of this owner: all that it had goes (RFC 8881 18.35.4) */
        srv_client_free(n, old);
    }
    client->confirmed = true;
    n->counts.clients++;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void put_channel(struct nx_out *out, const struct srv_channel *ch)
{
    nx_put_u32(out, ch->pad);
    nx_put_u32(out, ch->request);
    nx_put_u32(out, ch->response);
    nx_put_u32(out, ch->cached);
    nx_put_u32(out, ch->ops);
    nx_put_u32(out, ch->slots);
    nx_put_u32(out, 0);
}

static struct srv_session *session_new(struct nfsd *n, struct srv_client *client, const struct srv_channel *asked)
{
    struct srv_session *s = zeroed(1, sizeof(*s));

    s->client = client;
    s->fore = (struct srv_channel){
        .request = least(asked->request, n->o.request),
        .response = least(asked->response, n->o.response),
        .cached = least(asked->cached, n->o.cached),
        .ops = least(asked->ops, n->o.ops),
        .slots = least(asked->slots, n->o.slots),
    };
    memcpy(s->id, "session:", 8);
    for (int b = 0; b < 8; b++) {
        s->id[8 + b] = (uint8_t)(n->next_id >> (56 - 8 * b));
    }
    n->next_id++;
    s->slot = zeroed(s->fore.slots + 1, sizeof(*s->slot));
    s->next = n->sessions;
    n->sessions = s;
    n->counts.sessions++;
    return s;
}

/* Whether the connection of c is bound to s; bind: it becomes so, where there is room. */
static bool is_bound(const struct srv_call *c, struct srv_session *s, bool bind)
{
    unsigned most = c->n->o.bound;

    for (unsigned i = 0; i < s->bound_count; i++) {
        if (s->bound[i] == c->conn->serial) {
            return true;
        }
    }
    if (bind && s->bound_count < most) {
        s->bound[s->bound_count++] = c->conn->serial;
        return true;
    }
    return most == 0;
}

uint32_t srv_bind_conn(struct srv_call *c, const struct srv_op *op)
{
    struct srv_session *s = srv_session_find(c->n, op->bind_conn.id);

    if (s == NULL) {
        return D4ERR_BADSESSION;
    }
    if (op->bind_conn.dir != 1 || op->bind_conn.rdma) {
        srv_complain(c->n, "BIND_CONN_TO_SESSION: direction %u", op->bind_conn.dir);
    }
    (void)is_bound(c, s, true);
    nx_put_fixed(&c->out, s->id, 16);
    nx_put_u32(&c->out, 1); /* CDFS4_FORE */
    nx_put_u32(&c->out, 0);
    return D4ERR_OK;
}

uint32_t srv_create_session(struct srv_call *c, const struct srv_op *op)
{
    struct nfsd *n = c->n;
    struct srv_client *client = client_find(n, op->create_session.client);
    struct srv_channel back = op->create_session.back;

    if (client == NULL) {
        return D4ERR_STALE_CLIENTID;
    }
    if (op->create_session.seq + 1 == client->seq && client->reply.len > 0) {
        nx_put_raw(&c->out, client->reply.data, client->reply.len);
        n->counts.replays++;
        return D4ERR_OK;
    }
    if (op->create_session.seq != client->seq) {
        return D4ERR_SEQ_MISORDERED;
    }
    if (op->create_session.fore.slots == 0 || op->create_session.fore.ops < 2) {
        srv_complain(n, "CREATE_SESSION asks for %u slots, %u operations", op->create_session.fore.slots,
                     op->create_session.fore.ops);
        return D4ERR_INVAL;
    }
    if (!client->confirmed) {
        confirm(n, client);
    }
    struct srv_session *s = session_new(n, client, &op->create_session.fore);
    (void)is_bound(c, s, true);
    nx_free(&client->reply);
    nx_put_fixed(&client->reply, s->id, 16);
    nx_put_u32(&client->reply, client->seq);
    nx_put_u32(&client->reply, 0); /* flags: neither persistent nor a back channel */
    put_channel(&client->reply, &s->fore);
    back.pad = 0;
    put_channel(&client->reply, &back);
    client->seq++;
    nx_put_raw(&c->out, client->reply.data, client->reply.len);
    return D4ERR_OK;
}

struct srv_session *srv_session_find(struct nfsd *n, const uint8_t *id)
{
    struct srv_session *s = n->sessions;

    while (s != NULL && memcmp(s->id, id, 16) != 0) {
        s = s->next;
    }
    return s;
}

uint32_t srv_destroy_session(struct srv_call *c, const struct srv_op *op)
{
    struct srv_session *s = srv_session_find(c->n, op->destroy_session.id);

    if (s == NULL) {
        return D4ERR_BADSESSION;
    }
    if (!is_bound(c, s, false)) {
        return D4ERR_CONN_NOT_BOUND_TO_SESSION;
    }
    if (s == c->session) {
        c->session = NULL;
        c->slot = NULL;
        c->cache = false;
    }
    srv_session_free(c->n, s);
    return D4ERR_OK;
}

uint32_t srv_destroy_client(struct srv_call *c, const struct srv_op *op)
{
    struct srv_client *client = client_find(c->n, op->destroy_client.client);

    if (client == NULL) {
        return D4ERR_STALE_CLIENTID;
    }
    if (session_of(c->n, client) != NULL || client_has_opens(c->n, client)) {
        return D4ERR_CLIENTID_BUSY;
    }
    srv_client_free(c->n, client);
    return D4ERR_OK;
}

/* ---- slots ---- */

static uint32_t seen_before(struct srv_call *c, struct srv_slot *slot)
{
    struct nfsd *n = c->n;

    if (slot->sum != c->sum) {
        srv_complain(n, "a slot's sequence number was used twice, for different requests");
        return D4ERR_SEQ_FALSE_RETRY;
    }
    n->counts.replays++;
    c->replay = true;
    if (slot->cached) {
        c->from_cache = true;
        nx_free(&c->out);
        nx_put_raw(&c->out, slot->reply.data, slot->reply.len);
        return D4ERR_OK;
    }
    return D4ERR_RETRY_UNCACHED_REP;
}

/* What is wrong with the request as a whole, or 0. */
static uint32_t too_much(struct srv_call *c, const struct srv_session *s)
{
    struct nfsd *n = c->n;

    if (c->request_len > s->fore.request) {
        srv_complain(n, "a request of %zu bytes, %u were agreed", c->request_len, s->fore.request);
        return D4ERR_REQ_TOO_BIG;
    }
    if (c->ops > s->fore.ops) {
        srv_complain(n, "%u operations, %u were agreed", c->ops, s->fore.ops);
        return D4ERR_TOO_MANY_OPS;
    }
    if (n->o.real_request > 0 && c->request_len > n->o.real_request) {
        return D4ERR_REQ_TOO_BIG;
    }
    if (n->o.real_ops > 0 && c->ops > n->o.real_ops) {
        return D4ERR_TOO_MANY_OPS;
    }
    return D4ERR_OK;
}

static void put_sequence(struct srv_call *c, const struct srv_op *op, const struct srv_session *s)
{
    nx_put_fixed(&c->out, s->id, 16);
    nx_put_u32(&c->out, op->sequence.seq);
    nx_put_u32(&c->out, op->sequence.slot);
    nx_put_u32(&c->out, s->fore.slots - 1);
    nx_put_u32(&c->out, least(s->fore.slots - 1, c->n->target));
    nx_put_u32(&c->out, c->n->flags);
}

uint32_t srv_sequence(struct srv_call *c, const struct srv_op *op)
{
    struct nfsd *n = c->n;
    struct srv_session *s = srv_session_find(n, op->sequence.id);

    if (s == NULL) {
        return D4ERR_BADSESSION;
    }
    if (op->sequence.slot >= s->fore.slots) {
        srv_complain(n, "slot %u of %u", op->sequence.slot, s->fore.slots);
        return D4ERR_BADSLOT;
    }
    if (op->sequence.highest >= s->fore.slots || op->sequence.highest < op->sequence.slot) {
        srv_complain(n, "highest slot %u, slot %u of %u", op->sequence.highest, op->sequence.slot, s->fore.slots);
        return D4ERR_BAD_HIGH_SLOT;
    }
    (void)is_bound(c, s, true);
    struct srv_slot *slot = &s->slot[op->sequence.slot];
    uint32_t status = slot->seq > 0 && op->sequence.seq == slot->seq ? seen_before(c, slot) : D4ERR_OK;
    if (c->replay && status == D4ERR_RETRY_UNCACHED_REP && n->o.uncached_on_next && c->ops > 1) {
        put_sequence(c, op, s); /* the operation behind it tells (RFC 8881 2.10.6.1.3) */
        return D4ERR_OK;
    }
    if (c->replay || status != D4ERR_OK) {
        return status;
    }
    if (op->sequence.seq != slot->seq + 1) {
        srv_complain(n, "slot %u: sequence number %u after %u", op->sequence.slot, op->sequence.seq, slot->seq);
        return D4ERR_SEQ_MISORDERED;
    }
    status = too_much(c, s);
    if (status != D4ERR_OK) {
        return status;
    }
    if (c->changes && !op->sequence.cache) {
        srv_complain(n, "a COMPOUND that changes something without sa_cachethis");
    }
    nx_free(&slot->reply);
    slot->seq = op->sequence.seq;
    slot->sum = c->sum;
    slot->cached = false;
    c->session = s;
    c->slot = slot;
    c->cache = op->sequence.cache;
    put_sequence(c, op, s);
    return D4ERR_OK;
}

/* ---- open state ---- */

static bool all_are(const uint8_t other[12], uint8_t byte)
{
    for (int i = 0; i < 12; i++) {
        if (other[i] != byte) {
            return false;
        }
    }
    return true;
}

uint32_t srv_open_find(struct srv_call *c, const struct srv_stateid *id, struct srv_open **out)
{
    struct nfsd *n = c->n;
    struct srv_stateid want = *id;
    struct srv_open *o = n->opens;

    *out = NULL;
    if (all_are(want.other, 0) && want.seqid == 1) { /* the current stateid (RFC 8881 8.2.3) */
        if (n->o.no_current_stateid) {
            return D4ERR_BAD_STATEID;
        }
        want = c->cur_id;
        if (all_are(want.other, 0)) {
            return D4ERR_BAD_STATEID;
        }
    }
    if (all_are(want.other, 0) && want.seqid == 0) {
        return D4ERR_OK;
    }
    if (all_are(want.other, 0) || all_are(want.other, 0xff)) {
        return D4ERR_BAD_STATEID;
    }
    while (o != NULL && memcmp(o->id.other, want.other, 12) != 0) {
        o = o->next;
    }
    if (o == NULL || o->client != c->session->client) {
        return D4ERR_BAD_STATEID;
    }
    if (want.seqid != 0 && want.seqid < o->id.seqid) {
        return D4ERR_OLD_STATEID;
    }
    if (want.seqid > o->id.seqid) {
        return D4ERR_BAD_STATEID;
    }
    *out = o;
    return D4ERR_OK;
}
