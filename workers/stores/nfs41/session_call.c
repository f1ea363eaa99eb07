/*
 * session_call: one call of a session, until the server has answered it or nobody can say whether it did.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "workers/stores/backoff.h"
#include "workers/stores/nfs41/session_internal.h"

#define TAG_MAX     1024             /* bytes of a tag that comes back */
#define HEAD_SLACK  512              /* bytes of a reply before the results of what was asked for */
#define WAIT_NS     (10 * NS_PER_MS) /* before the first repeat of what the server put off; doubled each time */
#define WAIT_MAX_NS (2 * NS_PER_SEC) /* never longer */
#define ANEW_MAX    8                /* sessions that one call tries one after another */

int nfs_head_make(struct nfs_session *s)
{
    struct xdr_out out;
    const uint8_t nothing[NFS_SEQ_SIZE] = {0};
    xdr_out_init(&out, s->head, sizeof(s->head));
    rpc_begin(&out, 0, NFS_PROGRAM, NFS_VERSION, NFS_PROC_COMPOUND, &s->client->cred);
    xdr_put_u32(&out, 0); /* tag */
    xdr_put_u32(&out, NFS_MINOR);
    xdr_put_u32(&out, 0); /* operations */
    s->head_alone = out.used;
    xdr_put_u32(&out, NFS_OP_SEQUENCE);
    xdr_put_fixed(&out, nothing, sizeof(nothing));
    s->head_len = out.used;
    return out.failed ? -EOVERFLOW : 0;
}

/* ---- on the wire ---- */

/* Sends c as it is and waits. What rpc_call returns; -EPROTO too where the COMPOUND's head makes no sense. */
static int exchange(struct rpc *rpc, struct nfs_compound *c, int64_t deadline_ns)
{
    rpc_call_release(&c->call);
    rpc_call_init(&c->call, &c->out, c->reply_max + HEAD_SLACK);
    if (c->sink) {
        c->call.sink = (struct rpc_sink){.buf = c->sink, .size = c->sink_size, .locate = nfs_locate_read};
    }
    int r = rpc_call(rpc, &c->call, deadline_ns);
    c->sent = c->sent || c->call.sent;
    c->refuse = c->call.refuse;
    if (r < 0) {
        return r;
    }
    c->in = c->call.in;
    c->status = xdr_get_u32(&c->in);
    size_t len;
    xdr_get_opaque(&c->in, TAG_MAX, &len);
    c->result_count = xdr_get_u32(&c->in);
    c->result_next = 0;
    if (c->in.failed || c->result_count > c->op_count) {
        c->in.failed = true;
        return -EPROTO;
    }
    return 0;
}

static void finish_head(struct nfs_compound *c)
{
    xdr_patch_u32(&c->out, c->ops_at, c->op_count);
    rpc_renumber(&c->out, ++c->session->xid);
}

/* What may be tried once more on another connection: it broke, or would not come about. */
static bool connection_lost(const struct nfs_compound *c, int r)
{
    return c->call.lost && r != -ENOMEM;
}

int nfs_call_alone(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns)
{
    if (c->out.failed) {
        return -EOVERFLOW;
    }
    finish_head(c);
    for (unsigned tries = 0;; tries++) {
        struct rpc *rpc;
        int r = nfs_connection(s, c, deadline_ns, &rpc);
        if (r < 0) {
            return r;
        }
        r = exchange(rpc, c, deadline_ns);
        if (r == 0) {
            nfs_connection_well(s, rpc);
        }
        nfs_connection_next(s);
        if (r == 0 || !connection_lost(c, r) || tries >= s->client->retries || clock_mono_ns() >= deadline_ns) {
            return r;
        }
    }
}

/* ---- SEQUENCE ---- */

static void put_sequence(struct nfs_compound *c)
{
    struct nfs_table *t = c->table;
    struct nfs_slot *slot = &t->slots[c->slot];
    unsigned highest = t->highest < t->usable ? t->highest : t->usable;
    highest = highest > c->slot ? highest - 1 : c->slot;
    memcpy(c->out.buf + c->sequence_at + NFS_SEQ_ID, t->id, NFS_SESSION_ID);
    xdr_patch_u32(&c->out, c->sequence_at + NFS_SEQ_NUMBER, slot->sequence);
    xdr_patch_u32(&c->out, c->sequence_at + NFS_SEQ_SLOT, c->slot);
    xdr_patch_u32(&c->out, c->sequence_at + NFS_SEQ_HIGHEST, highest);
    xdr_patch_u32(&c->out, c->sequence_at + NFS_SEQ_CACHE, c->first_change < NFS_COMPOUND_OPS);
    finish_head(c);
    slot->xid = c->session->xid;
}

/* What became of one sending of c. */
enum outcome {
    OUTCOME_DONE,    /* there are results; the slot is free again */
    OUTCOME_FAILED,  /* an error stands, the slot is free again or retired */
    OUTCOME_AGAIN,   /* nothing was carried out: once more, with a slot of the session there is now */
    OUTCOME_SAME,    /* the same bytes again, in the same slot */
    OUTCOME_DELAYED, /* the same, after a while */
};

/* The results of a SEQUENCE that was carried out. False: they make no sense. */
static bool take_sequence(struct nfs_compound *c)
{
    struct nfs_table *t = c->table;
    struct nfs_client *client = c->session->client;
    const uint8_t *id = xdr_get_fixed(&c->in, NFS_SESSION_ID);
    uint32_t number = xdr_get_u32(&c->in);
    uint32_t slot = xdr_get_u32(&c->in);
    xdr_get_u32(&c->in); /* highest slot that the server takes */
    uint32_t target = xdr_get_u32(&c->in);
    uint32_t flags = xdr_get_u32(&c->in);
    if (c->in.failed || memcmp(id, t->id, NFS_SESSION_ID) != 0 || slot != c->slot ||
        number != t->slots[slot].sequence) {
        c->in.failed = true;
        return false;
    }
    nfs_slot_target(c->session, t, target);
    atomic_store_explicit(&client->renewed_ns, c->call.since_ns, memory_order_relaxed);
    if (flags) {
        nfs_session_flags(c->session, t, flags);
    }
    return true;
}

/* SEQUENCE itself failed: nothing after it was carried out by this sending. */
static enum outcome sequence_failed(struct nfs_session *s, struct nfs_compound *c, uint32_t status, int *out_error)
{
    bool unknown = c->replayed; /* an earlier sending may have been carried out */
    *out_error = -NFS_LOST;
    switch (status) {
    case NFS4ERR_DELAY:
    case NFS4ERR_GRACE:
        return OUTCOME_DELAYED;
    case NFS4ERR_RETRY_UNCACHED_REP:
        /* It was carried out, and what came of it was not kept. */
        nfs_slot_release(s, c, true);
        return c->first_change == NFS_COMPOUND_OPS ? OUTCOME_AGAIN : OUTCOME_FAILED;
    default:
        break;
    }
    if (nfs_error(status)->decision == NFS_DO_REBUILD) {
        nfs_session_lose(s, c->table);
        nfs_slot_release(s, c, false);
        if (unknown && c->first_change < NFS_COMPOUND_OPS) {
            return OUTCOME_FAILED;
        }
        c->sent = false;
        return OUTCOME_AGAIN;
    }
    if (unknown) {
        /* The server says of a repeat what it did not say of the first sending: nobody knows about that one. */
        nfs_slot_retire(s, c);
        return OUTCOME_FAILED;
    }
    nfs_slot_release(s, c, false);
    c->result_count = 0;
    c->status = status;
    return OUTCOME_DONE;
}

static enum outcome take_reply(struct nfs_session *s, struct nfs_compound *c, int *out_error)
{
    *out_error = -EPROTO;
    if (c->result_count == 0) {
        if (c->status == NFS4_OK) {
            nfs_slot_retire(s, c);
            return OUTCOME_FAILED;
        }
        return sequence_failed(s, c, c->status, out_error);
    }
    uint32_t status = NFS4_OK;
    if (nfs_compound_result(c, NFS_OP_SEQUENCE, &status) < 0 || (status == NFS4_OK && !take_sequence(c))) {
        nfs_slot_retire(s, c);
        return OUTCOME_FAILED;
    }
    if (status != NFS4_OK) {
        return sequence_failed(s, c, status, out_error);
    }
    nfs_slot_release(s, c, true);
    if (c->status == NFS4ERR_RETRY_UNCACHED_REP) {
        *out_error = -NFS_LOST;
        return c->first_change == NFS_COMPOUND_OPS ? OUTCOME_AGAIN : OUTCOME_FAILED;
    }
    c->result_count--;
    c->result_next = 0;
    return OUTCOME_DONE;
}

/* rpc_call returned an error. */
static enum outcome no_reply(struct nfs_session *s, struct nfs_compound *c, int r, unsigned losses, int64_t deadline_ns)
{
    /* One that broke before anything left it costs nothing. */
    unsigned most = s->client->retries + !c->sent;
    if (connection_lost(c, r) && losses <= most && clock_mono_ns() < deadline_ns) {
        return OUTCOME_SAME;
    }
    /* A refusal of the call as such comes before anything is done; but for what a server does not explain. */
    bool untouched = !c->sent || (c->refuse && r != -EREMOTEIO && !c->replayed);
    if (untouched) {
        nfs_slot_release(s, c, false);
    } else {
        nfs_slot_retire(s, c);
    }
    return OUTCOME_FAILED;
}

/* There is no time left to wait for what SEQUENCE puts off. */
static enum outcome put_off(struct nfs_session *s, struct nfs_compound *c)
{
    if (c->replayed) {
        nfs_slot_retire(s, c); /* an earlier sending may be under way there still */
        return OUTCOME_FAILED;
    }
    nfs_slot_release(s, c, false);
    c->result_count = 0;
    return OUTCOME_DONE;
}

/* c has a slot: until there is an answer. */
static enum outcome call_slot(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns, int *out_error)
{
    unsigned delays = 0;
    unsigned losses = 0;
    put_sequence(c);
    for (;;) {
        struct rpc *rpc;
        int r = nfs_connection(s, c, deadline_ns, &rpc);
        if (r < 0) {
            *out_error = r;
            if (c->sent) {
                nfs_slot_retire(s, c);
            } else {
                nfs_slot_release(s, c, false);
            }
            return OUTCOME_FAILED;
        }
        if (!c->sent) {
            nfs_count(&s->member.counters.compounds);
        } else if (losses > 0) {
            c->replayed = true;
            nfs_count(&s->member.counters.replays);
        }
        r = exchange(rpc, c, deadline_ns);
        enum outcome outcome;
        if (r == 0) {
            nfs_connection_well(s, rpc);
            outcome = take_reply(s, c, out_error);
        } else {
            *out_error = r;
            outcome = no_reply(s, c, r, ++losses, deadline_ns);
        }
        nfs_connection_next(s);
        if (outcome == OUTCOME_DELAYED) {
            nfs_count(&s->member.counters.waits);
            r = nfs_pause(s, backoff_ns(WAIT_NS, WAIT_MAX_NS, delays++, &s->seed), deadline_ns);
            if (r < 0) {
                *out_error = r;
                return put_off(s, c);
            }
        } else if (outcome != OUTCOME_SAME) {
            return outcome;
        }
    }
}

/* Whether c, which changes something, was begun under another client id: the server may have dropped that one for a
 * successor of ours, and who sends c is to make sure first. */
static bool is_outdated(const struct nfs_session *s, struct nfs_compound *c)
{
    unsigned now = nfs_client_generation(s->client);
    bool outdated = c->first_change < NFS_COMPOUND_OPS && c->generation != now;
    c->generation = now;
    return outdated;
}

/* One call without regard to what the operations said. */
static int call_once(struct nfs_session *s, struct nfs_compound *c, int64_t deadline_ns)
{
    for (unsigned anew = 0; anew < ANEW_MAX; anew++) {
        c->sent = false;
        c->replayed = false;
        int r = nfs_session_ready(s, c, deadline_ns);
        if (r < 0) {
            return r;
        }
        if (is_outdated(s, c)) {
            return -NFS_LOST;
        }
        const struct nfs_limits *limits = &s->table->limits;
        if (nfs_compound_size(c) > limits->max_request || c->op_count > limits->max_ops) {
            return -E2BIG;
        }
        r = nfs_slot_take(s, c, deadline_ns);
        if (r == -NFS_LOST) {
            continue;
        }
        if (r < 0) {
            return r;
        }
        int error = 0;
        enum outcome outcome = call_slot(s, c, deadline_ns, &error);
        nfs_connection_count(s);
        if (outcome == OUTCOME_DONE) {
            return 0;
        }
        if (outcome == OUTCOME_FAILED) {
            if (error == -NFS_LOST) {
                /* So that what is begun next, to look, is begun under the client id that there is. */
                (void)nfs_session_ready(s, c, deadline_ns);
            }
            return error;
        }
    }
    return -NFS_LOST;
}

int nfs_session_call(struct nfs_session *session, struct nfs_compound *c, int64_t deadline_ns)
{
    if (c->out.failed) {
        return -EOVERFLOW;
    }
    for (unsigned waits = 0;; waits++) {
        int r = call_once(session, c, deadline_ns);
        if (r < 0 || c->status == NFS4_OK || nfs_error(c->status)->decision != NFS_DO_WAIT) {
            return r;
        }
        /* The last result is that of the operation which was put off; those before it were carried out. */
        if (c->result_count > c->first_change) {
            return 0;
        }
        int64_t pause = backoff_ns(WAIT_NS, WAIT_MAX_NS, waits, &session->seed);
        if (clock_mono_ns() + pause >= deadline_ns || nfs_pause(session, pause, deadline_ns) < 0) {
            return 0;
        }
        nfs_count(&session->member.counters.waits);
    }
}

int nfs_session_touch(struct nfs_session *session, int64_t deadline_ns)
{
    struct nfs_compound *c = nfs_compound_begin(session);
    if (!c) {
        return -ENOMEM;
    }
    int r = nfs_session_call(session, c, deadline_ns);
    nfs_compound_end(c);
    return r;
}
