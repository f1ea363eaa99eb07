/*
 * rpc_receive: what comes in: fragments, records, replies, payloads. Nothing of it is trusted.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workers/stores/nfs41/rpc_internal.h"

#define EMPTY_MAX  16                /* fragments without a byte in one record */
#define SKIP_MAX   (4 * 1024 * 1024) /* bytes of a record that nobody waits for */
#define VERF_MAX   400               /* bytes of a verifier (RFC 5531 8.2) */
#define DIRECT_MIN 4096              /* bytes to come from which on they do not go through the stage */
#define GROW_MIN   4096              /* bytes of a reply's first memory of its own */

static uint32_t load_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof(value));
    return be32toh(value);
}

/* ---- one reply ---- */

/* Room for len bytes more. 0; -EPROTO: longer than it may be; -ENOMEM. */
static int reply_reserve(struct rpc_call *call, size_t len)
{
    size_t wanted = call->reply_len + len;
    if (wanted > call->reply_max) {
        return -EPROTO;
    }
    if (wanted <= call->reply_size) {
        return 0;
    }
    size_t size = call->reply_size < GROW_MIN ? GROW_MIN : 2 * call->reply_size;
    size = size < wanted ? wanted : size;
    size = size > call->reply_max ? call->reply_max : size;
    uint8_t *reply = malloc(size);
    if (!reply) {
        return -ENOMEM;
    }
    memcpy(reply, call->reply, call->reply_len);
    if (call->reply != call->small) {
        free(call->reply);
    }
    call->reply = reply;
    call->reply_size = size;
    return 0;
}

static int reply_append(struct rpc_call *call, const uint8_t *data, size_t len)
{
    int r = reply_reserve(call, len);
    if (r == 0) {
        memcpy(call->reply + call->reply_len, data, len);
        call->reply_len += len;
    }
    return r;
}

/* Bytes that are to go to the sink next. */
static size_t sink_wants(const struct rpc_call *call)
{
    return call->sink_state == 1 && call->reply_len == call->sink_at ? call->sink_len - call->sunk : 0;
}

/* Asks where the payload lies; what has come of it already goes where it belongs. */
static void sink_locate(struct rpc_call *call)
{
    size_t at = 0;
    size_t len = 0;
    int state = call->sink.locate(call->sink.arg, call->reply, call->reply_len, &at, &len);
    if (state == 1 && (len > call->sink.size || at > call->reply_max)) {
        state = -1;
    }
    if (state == 0 && call->reply_len >= RPC_REPLY_SMALL) {
        state = -1;
    }
    call->sink_state = state;
    if (state != 1) {
        return;
    }
    call->sink_at = at;
    call->sink_len = len;
    if (at < call->reply_len) {
        size_t there = call->reply_len - at;
        size_t take = there < len ? there : len;
        memcpy(call->sink.buf, call->reply + at, take);
        memmove(call->reply + at, call->reply + at + take, there - take);
        call->sunk = take;
        call->reply_len -= take;
    }
}

/* Takes some of the bytes at data, at least one. How many, or -errno of this call (not of the connection). */
static ssize_t reply_feed(struct rpc_call *call, const uint8_t *data, size_t len)
{
    size_t sink = sink_wants(call);
    if (sink > 0) {
        len = len < sink ? len : sink;
        memcpy((uint8_t *)call->sink.buf + call->sunk, data, len);
        call->sunk += len;
        return (ssize_t)len;
    }
    if (call->sink_state == 0 && len > RPC_REPLY_SMALL - call->reply_len) {
        len = RPC_REPLY_SMALL - call->reply_len; /* until it is known where the payload begins */
    } else if (call->sink_state == 1 && call->reply_len < call->sink_at && len > call->sink_at - call->reply_len) {
        len = call->sink_at - call->reply_len;
    }
    int r = reply_append(call, data, len);
    if (r < 0) {
        return r;
    }
    if (call->sink_state == 0) {
        sink_locate(call);
    }
    return (ssize_t)len;
}

/* What accept_stat (RFC 5531 9) means; 0: the results follow. */
static int accepted(struct rpc_call *call, uint32_t stat)
{
    static const int errors[] = {0, -EPROTONOSUPPORT, -EPROTONOSUPPORT, -EPROTONOSUPPORT, -EPROTO, -EREMOTEIO};
    if (stat == 0) {
        return 0;
    }
    call->refuse = RPC_REFUSED_ACCEPT | (stat & 0xffffU);
    return stat < sizeof(errors) / sizeof(errors[0]) ? errors[stat] : -EPROTO;
}

/* Reads the head of a whole reply. 0: call->in stands at the results. */
static int reply_parse(struct rpc_call *call)
{
    struct xdr_in *in = &call->in;
    xdr_in_init(in, call->reply, call->reply_len);
    if (call->sink_state == 1) {
        if (call->sunk < call->sink_len) {
            return -EPROTO;
        }
        xdr_in_hole(in, call->sink_at, call->sink.buf, call->sink_len);
    }
    xdr_get_u32(in); /* xid */
    if (xdr_get_u32(in) != RPC_REPLY || in->failed) {
        return -EPROTO;
    }
    uint32_t denied = xdr_get_u32(in);
    if (denied == 0) {
        size_t len;
        xdr_get_u32(in); /* flavor */
        xdr_get_opaque(in, VERF_MAX, &len);
        uint32_t stat = xdr_get_u32(in);
        return in->failed ? -EPROTO : accepted(call, stat);
    }
    uint32_t reject = xdr_get_u32(in);
    uint32_t stat = xdr_get_u32(in);
    if (in->failed || denied != 1 || reject > 1) {
        return -EPROTO;
    }
    call->refuse = reject == 0 ? RPC_REFUSED_REJECT : RPC_REFUSED_AUTH | (stat & 0xffffU);
    return reject == 0 ? -EPROTONOSUPPORT : -EACCES;
}

/* ---- records ---- */

void rpc_forget_reply(struct rpc *rpc, const struct rpc_call *call)
{
    if (rpc->record.call == call) {
        rpc->record.call = NULL;
        rpc->record.head_len = 0; /* it does not count as late: its beginning is gone */
    }
}

static void record_end(struct rpc *rpc)
{
    struct rpc_record *rec = &rpc->record;
    struct rpc_call *call = rec->call;
    if (call) {
        rec->call = NULL;
        rpc->replies++;
        rpc_done(rpc, call, reply_parse(call));
    } else if (rec->head_len >= 2 * sizeof(uint32_t) && load_u32(rec->head + 4) == RPC_REPLY && rpc->late) {
        rpc->late(rpc->late_arg, load_u32(rec->head), rec->head, rec->head_len);
    }
    rec->head_len = 0;
    rec->known = false;
    rec->empty = 0;
    rec->skipped = 0;
}

/* Takes bytes of a mark. How many, or -EPROTO. */
static ssize_t take_mark(struct rpc *rpc, const uint8_t *data, size_t len)
{
    struct rpc_record *rec = &rpc->record;
    size_t take = RPC_MARK - rec->mark_len;
    take = len < take ? len : take;
    memcpy(rec->mark + rec->mark_len, data, take);
    rec->mark_len += (unsigned)take;
    if (rec->mark_len < RPC_MARK) {
        return (ssize_t)take;
    }
    uint32_t mark = load_u32(rec->mark);
    rec->mark_len = 0;
    rec->last = (mark & RPC_LAST) != 0;
    rec->left = mark & ~RPC_LAST;
    rec->in_fragment = true;
    if (rec->left == 0 && ++rec->empty > EMPTY_MAX) {
        return -EPROTO;
    }
    return (ssize_t)take;
}

/* Takes bytes of the xid, and looks whose reply it is. */
static ssize_t take_xid(struct rpc *rpc, const uint8_t *data, size_t len)
{
    struct rpc_record *rec = &rpc->record;
    size_t take = sizeof(uint32_t) - rec->head_len;
    take = len < take ? len : take;
    memcpy(rec->head + rec->head_len, data, take);
    rec->head_len += take;
    if (rec->head_len == sizeof(uint32_t)) {
        rec->known = true;
        rec->call = rpc_find(rpc, load_u32(rec->head));
        if (rec->call) {
            reply_append(rec->call, rec->head, sizeof(uint32_t)); /* fits: it has small at least */
        }
    }
    return (ssize_t)take;
}

static ssize_t take_skipped(struct rpc *rpc, const uint8_t *data, size_t len)
{
    struct rpc_record *rec = &rpc->record;
    if (rec->head_len > 0 && rec->head_len < sizeof(rec->head)) {
        size_t room = sizeof(rec->head) - rec->head_len;
        size_t keep = len < room ? len : room;
        memcpy(rec->head + rec->head_len, data, keep);
        rec->head_len += keep;
    }
    rec->skipped += len;
    return rec->skipped > SKIP_MAX ? -EPROTO : (ssize_t)len;
}

static ssize_t take_reply(struct rpc *rpc, const uint8_t *data, size_t len)
{
    struct rpc_call *call = rpc->record.call;
    ssize_t n = reply_feed(call, data, len);
    if (n >= 0) {
        return n;
    }
    /* This call's trouble alone: the rest of its reply is skipped. */
    rpc_forget_reply(rpc, call);
    rpc_done(rpc, call, (int)n);
    return take_skipped(rpc, data, len);
}

/* Takes some of the bytes at data, at least one; how many, or -EPROTO: the connection makes no sense any more. */
static ssize_t take_some(struct rpc *rpc, const uint8_t *data, size_t len)
{
    struct rpc_record *rec = &rpc->record;
    if (!rec->in_fragment) {
        return take_mark(rpc, data, len);
    }
    len = len < rec->left ? len : rec->left;
    ssize_t n = !rec->known ? take_xid(rpc, data, len)
                : rec->call ? take_reply(rpc, data, len)
                            : take_skipped(rpc, data, len);
    if (n > 0) {
        rec->left -= (size_t)n;
    }
    return n;
}

/* Once the last byte of a fragment was taken. */
static void fragment_end(struct rpc *rpc)
{
    struct rpc_record *rec = &rpc->record;
    if (rec->in_fragment && rec->left == 0) {
        rec->in_fragment = false;
        if (rec->last) {
            record_end(rpc);
        }
    }
}

static void take_stage(struct rpc *rpc)
{
    while (rpc->stage_at < rpc->stage_len && !rpc->error) {
        ssize_t n = take_some(rpc, rpc->stage + rpc->stage_at, rpc->stage_len - rpc->stage_at);
        if (n < 0) {
            rpc_fail(rpc, (int)n);
            return;
        }
        rpc->stage_at += (size_t)n;
        fragment_end(rpc);
    }
    rpc->stage_at = 0;
    rpc->stage_len = 0;
}

/* ---- receiving ---- */

/* Where the bytes that come next can go at once, without the stage. len 0: nowhere. */
static struct iovec direct_place(struct rpc *rpc)
{
    const struct iovec nowhere = {0};
    const struct rpc_record *rec = &rpc->record;
    struct rpc_call *call = rec->call;
    if (!call || !rec->in_fragment || rec->left < DIRECT_MIN) {
        return nowhere;
    }
    size_t sink = sink_wants(call);
    if (sink > 0) {
        return (struct iovec){.iov_base = (uint8_t *)call->sink.buf + call->sunk,
                              .iov_len = sink < rec->left ? sink : rec->left};
    }
    if (call->sink_state == 0 || (call->sink_state == 1 && call->reply_len < call->sink_at) ||
        reply_reserve(call, rec->left) < 0) {
        return nowhere;
    }
    return (struct iovec){.iov_base = call->reply + call->reply_len, .iov_len = rec->left};
}

static void direct_taken(struct rpc *rpc, size_t len)
{
    struct rpc_call *call = rpc->record.call;
    if (sink_wants(call) > 0) {
        call->sunk += len;
    } else {
        call->reply_len += len;
    }
    rpc->record.left -= len;
    fragment_end(rpc);
}

/* Something has come: how far apart replies are. */
static void note_pace(struct rpc *rpc, int64_t now)
{
    int64_t apart = (now - rpc->heard_ns) / (rpc->replies > 0 ? rpc->replies : 1);
    rpc->apart_ns += (apart - rpc->apart_ns) / 4;
    rpc->heard_ns = now;
    rpc->replies = 0;
}

/* One recvmsg without waiting. 0, -EAGAIN, or what the connection fails with. */
static int receive_now(struct rpc *rpc)
{
    struct iovec iov[2] = {direct_place(rpc), {.iov_base = rpc->stage, .iov_len = RPC_STAGE}};
    size_t direct = iov[0].iov_len;
    unsigned skip = direct == 0;
    ssize_t n = io_recvmsg(rpc->io, rpc->fd, iov + skip, 2 - skip, 0);
    if (n <= 0) {
        return n == 0 ? -ECONNRESET : n == -ETIMEDOUT ? -EAGAIN : (int)n;
    }
    note_pace(rpc, clock_mono_ns());
    rpc->facts.receives++;
    rpc->facts.bytes_received += (uint64_t)n;
    size_t taken = (size_t)n < direct ? (size_t)n : direct;
    if (taken > 0) {
        direct_taken(rpc, taken);
    }
    rpc->stage_len = (size_t)n - taken;
    take_stage(rpc);
    return 0;
}

int rpc_receive_now(struct rpc *rpc)
{
    int r = receive_now(rpc);
    if (r < 0 && r != -EAGAIN) {
        rpc_fail(rpc, r);
    }
    return rpc->error ? rpc->error : r;
}

int rpc_receive(struct rpc *rpc, int64_t until_ns)
{
    int r = io_poll(rpc->io, rpc->fd, POLLIN, until_ns);
    if (rpc->error) {
        return rpc->error;
    }
    if (r == -ETIMEDOUT) {
        return r;
    }
    if (r < 0) {
        rpc_fail(rpc, r);
        return r;
    }
    r = rpc_receive_now(rpc);
    return r == -EAGAIN ? 0 : r;
}
