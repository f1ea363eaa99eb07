/*
 * rpc_call: one call from its queue to its reply, and who sends and who reads meanwhile (rpc.h).
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "workers/fiber.h"
#include "workers/stores/nfs41/rpc_internal.h"

#define SEND_PIECES 192 /* pieces of one sendmsg at most */
#define PACE_CALLS  16
#define PACE_MIN_NS (10 * 1000)      /* shorter than this is not worth a timer */
#define PACE_MAX_NS (4 * NS_PER_MS)  /* where replies are farther apart each is read as it comes */
#define IDLE_NS     (20 * NS_PER_MS) /* after so long without a word a connection is looked at first */
#define ROLE_SLACK  (2 * NS_PER_SEC) /* after its time somebody who sends or reads is taken for lost */

/* ---- the table ---- */

static struct rpc_call **bucket(struct rpc *rpc, uint32_t xid)
{
    return &rpc->table[xid & (RPC_BUCKETS - 1)];
}

struct rpc_call *rpc_find(const struct rpc *rpc, uint32_t xid)
{
    struct rpc_call *call = rpc->table[xid & (RPC_BUCKETS - 1)];
    while (call && call->xid != xid) {
        call = call->next;
    }
    return call;
}

static void table_add(struct rpc *rpc, struct rpc_call *call)
{
    struct rpc_call **at = bucket(rpc, call->xid);
    call->next = *at;
    *at = call;
    rpc->pending++;
}

static void table_remove(struct rpc *rpc, const struct rpc_call *call)
{
    struct rpc_call **at = bucket(rpc, call->xid);
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    rpc->pending--;
}

/* ---- what is to be sent ---- */

static void queue_push(struct rpc *rpc, struct rpc_call *call)
{
    call->next_out = NULL;
    if (rpc->out_first) {
        rpc->out_last->next_out = call;
    } else {
        rpc->out_first = call;
        rpc->out_done = 0;
    }
    rpc->out_last = call;
}

static void queue_pop(struct rpc *rpc)
{
    rpc->out_first = rpc->out_first->next_out;
    rpc->out_done = 0;
}

/* Takes back a call of which nothing has been sent. */
static void queue_remove(struct rpc *rpc, const struct rpc_call *call)
{
    struct rpc_call *before = NULL;
    struct rpc_call **at = &rpc->out_first;
    while (*at && *at != call) {
        before = *at;
        at = &before->next_out;
    }
    if (*at) {
        *at = call->next_out;
        if (rpc->out_last == call) {
            rpc->out_last = before;
        }
    }
}

void rpc_done(struct rpc *rpc, struct rpc_call *call, int error)
{
    bool queued = call->state == RPC_QUEUED;
    table_remove(rpc, call);
    call->state = RPC_DONE;
    call->error = error;
    io_event_set(rpc->io, &call->event);
    if (queued && rpc->out_first == call && rpc->out_done > 0) {
        queue_pop(rpc);
        rpc_fail(rpc, -EPROTO); /* answered before it was sent as a whole: its rest cannot be left out */
    } else if (queued) {
        queue_remove(rpc, call);
    }
}

/* The pieces of what is queued, as far as they fit: how many, with *out_len bytes. */
static unsigned gather(struct rpc *rpc, struct iovec *iov, size_t *out_len)
{
    unsigned count = 0;
    size_t len = 0;
    for (struct rpc_call *call = rpc->out_first; call; call = call->next_out) {
        if (count + 2 * call->out->ref_count + 1 > SEND_PIECES) {
            break;
        }
        count += xdr_out_iov(call->out, iov + count);
        len += xdr_out_size(call->out);
    }
    /* Without what was sent of the first. */
    size_t skip = rpc->out_done;
    unsigned first = 0;
    while (first < count && skip >= iov[first].iov_len) {
        skip -= iov[first++].iov_len;
    }
    if (first < count) {
        iov[first].iov_base = (uint8_t *)iov[first].iov_base + skip;
        iov[first].iov_len -= skip;
    }
    memmove(iov, iov + first, (count - first) * sizeof(*iov));
    *out_len = len - rpc->out_done;
    return count - first;
}

static void sent_some(struct rpc *rpc, size_t len)
{
    rpc->facts.sends++;
    rpc->facts.bytes_sent += len;
    while (rpc->out_first && len > 0) {
        struct rpc_call *call = rpc->out_first;
        size_t left = xdr_out_size(call->out) - rpc->out_done;
        call->sent = true;
        if (len < left) {
            rpc->out_done += len;
            return;
        }
        len -= left;
        call->state = RPC_SENT;
        rpc->facts.calls++;
        queue_pop(rpc);
    }
}

/* One sendmsg without waiting. 0, -EAGAIN, or what the connection fails with. */
static int send_now(struct rpc *rpc)
{
    struct iovec iov[SEND_PIECES];
    size_t len;
    unsigned count = gather(rpc, iov, &len);
    ssize_t n = io_sendmsg(rpc->io, rpc->fd, iov, count, 0);
    if (n < 0) {
        return n == -ETIMEDOUT ? -EAGAIN : (int)n;
    }
    sent_some(rpc, (size_t)n);
    return (size_t)n < len ? -EAGAIN : 0;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t later_by(int64_t from, int64_t ns)
{
    return ns > INT64_MAX - from ? INT64_MAX : from + ns;
}

/* Sends what is queued, that of others too, until nothing is left, deadline_ns has passed, or self has its reply. */
static void send_queued(struct rpc *rpc, const struct rpc_call *self, int64_t deadline_ns)
{
    rpc->sending = true;
    rpc->sender_until_ns = deadline_ns;
    io_yield(rpc->io); /* those who have something to send now too are to have it in the same sendmsg */
    while (rpc->out_first && !rpc->error && self->state != RPC_DONE) {
        int r = send_now(rpc);
        if (r == -EAGAIN) {
            int64_t begun = clock_mono_ns();
            int64_t until = earlier(deadline_ns, later_by(begun, rpc->silence_ns));
            r = io_poll(rpc->io, rpc->fd, POLLOUT, until);
            if (r == -ETIMEDOUT && until == deadline_ns) {
                break;
            }
        }
        if (r < 0) {
            rpc_fail(rpc, r);
        }
    }
    rpc->sending = false;
}

/* ---- waiting ---- */

static void waiters_add(struct rpc *rpc, struct rpc_call *call)
{
    call->newer = NULL;
    call->older = rpc->oldest ? rpc->newest : NULL;
    if (call->older) {
        call->older->newer = call;
    } else {
        rpc->oldest = call;
    }
    rpc->newest = call;
}

static void waiters_remove(struct rpc *rpc, const struct rpc_call *call)
{
    if (call->older) {
        call->older->newer = call->newer;
    } else {
        rpc->oldest = call->newer;
    }
    if (call->newer) {
        call->newer->older = call->older;
    } else {
        rpc->newest = call->older;
    }
}

/* Lets somebody who waits take over what nobody does. */
static void pass_roles(struct rpc *rpc)
{
    if (rpc->error) {
        return;
    }
    if (!rpc->sending && rpc->out_first) {
        io_event_set(rpc->io, &rpc->out_first->event);
    }
    if (!rpc->reading && rpc->oldest) {
        io_event_set(rpc->io, &rpc->oldest->event);
    }
}

/* Where many replies come one after another, some of them are let come before they are read, all in one go: else each
 * would cost the thread a wake-up. Their time is the eighth of what a call takes, as far as that can be told. */
static bool let_come(struct rpc *rpc, int64_t until_ns)
{
    if (rpc->pending < PACE_CALLS || !fiber_self()) {
        return false;
    }
    int64_t ns = rpc->apart_ns * (rpc->pending / 8);
    if (ns < PACE_MIN_NS || ns > PACE_MAX_NS) {
        return false;
    }
    int64_t now = clock_mono_ns();
    if (now + ns >= until_ns) {
        return false;
    }
    io_event_wait(rpc->io, &rpc->pace, now + ns);
    return rpc->error != 0 || rpc_receive_now(rpc) != -EAGAIN;
}

/* Reads until the reply of call is there, for others too. */
static void read_replies(struct rpc *rpc, const struct rpc_call *call, int64_t deadline_ns)
{
    rpc->reading = true;
    while (call->state == RPC_SENT && !rpc->error) {
        int64_t quiet = rpc->heard_ns > call->since_ns ? rpc->heard_ns : call->since_ns;
        quiet = later_by(quiet, rpc->silence_ns);
        int64_t until = earlier(deadline_ns, quiet);
        rpc->reader_until_ns = until;
        if (let_come(rpc, until)) {
            continue;
        }
        if (rpc_receive(rpc, until) == -ETIMEDOUT) {
            if (until == deadline_ns) {
                break;
            }
            rpc_fail(rpc, -ETIMEDOUT);
        }
    }
    rpc->reading = false;
}

/* Whether whoever sends or reads has been given up with its fiber: it should have stopped by itself long ago. */
static bool role_lost(const struct rpc *rpc)
{
    int64_t now = clock_mono_ns();
    return (rpc->sending && now > later_by(rpc->sender_until_ns, ROLE_SLACK)) ||
           (rpc->reading && now > later_by(rpc->reader_until_ns, ROLE_SLACK));
}

/* call is not waited for any longer. */
static void give_up(struct rpc *rpc, struct rpc_call *call)
{
    bool halfway = call->state == RPC_QUEUED && rpc->out_first == call && rpc->out_done > 0;
    if (halfway || role_lost(rpc)) {
        rpc_fail(rpc, -ETIMEDOUT); /* after half a record nothing else can follow */
    } else {
        rpc_forget_reply(rpc, call);
        rpc_done(rpc, call, -ETIMEDOUT);
    }
}

static void attend(struct rpc *rpc, struct rpc_call *call, int64_t deadline_ns)
{
    while (call->state != RPC_DONE) {
        if (call->state == RPC_QUEUED && !rpc->sending) {
            send_queued(rpc, call, deadline_ns);
        } else if (call->state == RPC_SENT && !rpc->reading) {
            read_replies(rpc, call, deadline_ns);
        } else {
            waiters_add(rpc, call);
            int r = io_event_wait(rpc->io, &call->event, deadline_ns);
            waiters_remove(rpc, call);
            if (r == 0) {
                continue;
            }
        }
        if (call->state != RPC_DONE && clock_mono_ns() >= deadline_ns) {
            give_up(rpc, call);
        }
    }
}

/* A connection that was closed while nothing was asked of it is found out before something is sent that nobody will
 * know the outcome of. */
static void look_first(struct rpc *rpc, int64_t now)
{
    if (rpc->pending > 0 || now - rpc->heard_ns < IDLE_NS) {
        return;
    }
    char byte;
    ssize_t n = recv(rpc->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        rpc_fail(rpc, n == 0 ? -ECONNRESET : -errno);
    }
}

void rpc_call_init(struct rpc_call *call, struct xdr_out *out, size_t reply_max)
{
    memset(call, 0, offsetof(struct rpc_call, small));
    call->out = out;
    call->reply_max = reply_max < RPC_REPLY_SMALL ? RPC_REPLY_SMALL : reply_max;
    call->reply = call->small;
    call->reply_size = RPC_REPLY_SMALL;
}

void rpc_call_release(struct rpc_call *call)
{
    if (call->reply != call->small) {
        free(call->reply);
    }
    call->reply = call->small;
    call->reply_size = RPC_REPLY_SMALL;
}

int rpc_call(struct rpc *rpc, struct rpc_call *call, int64_t deadline_ns)
{
    call->lost = rpc->error != 0;
    if (rpc->error) {
        return rpc->error;
    }
    if (!fiber_self() && (rpc->sending || rpc->reading || rpc->out_first)) {
        return -EBUSY;
    }
    int64_t now = clock_mono_ns();
    look_first(rpc, now);
    call->lost = rpc->error != 0;
    if (rpc->error) {
        return rpc->error;
    }
    struct xdr_out *out = call->out;
    xdr_patch_u32(out, 0, RPC_LAST | (uint32_t)(xdr_out_size(out) - RPC_MARK));
    uint32_t xid;
    memcpy(&xid, out->buf + RPC_MARK, sizeof(xid));
    call->xid = be32toh(xid);
    call->sink_state = call->sink.buf ? 0 : -1;
    call->state = RPC_QUEUED;
    call->since_ns = now;
    table_add(rpc, call);
    queue_push(rpc, call);
    rpc->users++;
    attend(rpc, call, deadline_ns);
    call->state = RPC_IDLE;
    pass_roles(rpc);
    int error = call->error;
    call->lost = rpc->error != 0;
    rpc_leave(rpc);
    return error;
}
