/*
 * wire: one TCP connection with libnfs on it (wire.h).
 */
#include "workers/stores/nfs3/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/fiber.h"
#include "workers/stores/nfs3/lib.h"

#define ROLE_SLACK (2 * NS_PER_SEC) /* after its time somebody who sends or reads is taken for lost */
#define READS_MAX  256              /* pieces that libnfs takes in at a time, before others go on */

/* One call under way, on the stack of who waits for it. */
struct flight {
    struct nfs3_ticket ticket;
    struct nfs3_wire *wire;
    struct flight *older;  /* among those that wait, in order of their coming */
    struct flight *newer;  /* the same */
    struct io_event event; /* its fiber waits here */
    int64_t since_ns;      /* when it began, monotonic */
    int r;                 /* 0, status or -errno; once done */
    bool done;
};

struct nfs3_wire {
    struct io *io;           /* not owned */
    struct rpc_context *rpc; /* owned; NULL once it has failed */
    int fd;                  /* owned; libnfs only uses it */
    int error;               /* -errno that it has failed with; 0: it has not */
    int64_t silence_ns;      /* see rpc_options */
    int64_t heard_ns;        /* when something last came, monotonic */
    unsigned pending;        /* calls that are not done */
    unsigned users;          /* calls that have not returned */
    bool closed;             /* to be freed by the last user */
    bool sending;            /* somebody waits for room */
    bool reading;            /* somebody waits for replies */
    int64_t sender_until_ns; /* by when whoever sends looks up again */
    int64_t reader_until_ns; /* by when whoever reads looks up again */
    struct flight *oldest;   /* of those that wait while somebody else reads */
    struct flight *newest;   /* undefined where oldest is NULL */
};

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t later_by(int64_t from, int64_t ns)
{
    return ns > INT64_MAX - from ? INT64_MAX : from + ns;
}

/* ---- made and ended ---- */

/* libnfs's side of a connected socket. NULL: no memory. */
static struct rpc_context *context_make(int fd, const struct rpc_cred *cred)
{
    uint32_t groups[RPC_GROUPS_MAX];
    uint32_t xid = 0;
    struct AUTH *auth;
    struct rpc_context *rpc = rpc_init_context();

    if (!rpc) {
        return NULL;
    }
    memcpy(groups, cred->groups, sizeof(groups));
    auth = libnfs_authunix_create(cred->machine, cred->uid, cred->gid, cred->group_count, groups);
    if (!auth) {
        rpc_destroy_context(rpc);
        return NULL;
    }
    rpc_set_auth(rpc, auth);
    /* Never the same as of the connection before: a server may remember what it answered to that. */
    (void)!getrandom(&xid, sizeof(xid), 0);
    rpc_set_next_xid(rpc, xid);
    rpc_set_fd(rpc, fd);
    if (rpc_service(rpc, POLLOUT) != 0) { /* it looks whether fd is connected */
        rpc_set_fd(rpc, -1);
        rpc_destroy_context(rpc);
        return NULL;
    }
    return rpc;
}

int nfs3_wire_open(struct io *io, const struct rpc_options *options, const struct rpc_cred *cred, int64_t deadline_ns,
                   struct nfs3_wire **out_wire)
{
    struct nfs3_wire *w = calloc(1, sizeof(*w));
    int fd;
    int err;

    if (!w) {
        return -ENOMEM;
    }
    fd = rpc_socket(io, options, deadline_ns);
    if (fd < 0) {
        free(w);
        return fd;
    }
    err = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ? -errno : 0;
    w->rpc = err ? NULL : context_make(fd, cred);
    if (!w->rpc) {
        close(fd);
        free(w);
        return err ? err : -ENOMEM;
    }
    w->io = io;
    w->fd = fd;
    w->silence_ns = options->silence_ns;
    w->heard_ns = clock_mono_ns();
    *out_wire = w;
    return 0;
}

/* Not from within libnfs. */
static void fail(struct nfs3_wire *w, int err)
{
    struct rpc_context *rpc = w->rpc;

    if (w->error) {
        return;
    }
    w->error = err;
    w->rpc = NULL;
    (void)shutdown(w->fd, SHUT_RDWR); /* whoever waits for it goes on */
    rpc_set_fd(rpc, -1);
    rpc_destroy_context(rpc); /* all that it still has is called back */
}

static void wire_free(struct nfs3_wire *w)
{
    close(w->fd);
    free(w);
}

void nfs3_wire_close(struct nfs3_wire *w)
{
    if (!w) {
        return;
    }
    fail(w, -ECONNABORTED);
    w->closed = true;
    if (w->users == 0) {
        wire_free(w);
    }
}

int nfs3_wire_error(const struct nfs3_wire *w)
{
    return w->error;
}

unsigned nfs3_wire_pending(const struct nfs3_wire *w)
{
    return w->pending;
}

/* ---- libnfs is called ---- */

static void flight_done(void *arg, int r)
{
    struct flight *f = arg;

    f->r = r;
    f->done = true;
    f->wire->pending--;
    io_event_set(f->wire->io, &f->event);
}

/* Sends what is queued, as far as the socket takes it. */
static void send_some(struct nfs3_wire *w)
{
    if (w->rpc && rpc_service(w->rpc, POLLOUT) != 0) {
        fail(w, -ECONNRESET);
    }
}

static bool has_more(const struct nfs3_wire *w)
{
    return w->rpc && (rpc_which_events(w->rpc) & POLLOUT);
}

/* Whether the other end has closed: libnfs is not to find out. */
static int look_at_end(const struct nfs3_wire *w)
{
    char byte;
    ssize_t n = recv(w->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR))) {
        return 0;
    }
    return n == 0 ? -ECONNRESET : -errno;
}

/* On the thread's own stack. */
static void receive_all(void *arg)
{
    struct nfs3_wire *w = arg;

    for (unsigned i = 0; i < READS_MAX && w->rpc; i++) {
        int there = 0;
        int err = 0;

        if (ioctl(w->fd, FIONREAD, &there) < 0) {
            err = -errno;
        } else if (there == 0) {
            err = look_at_end(w);
            if (!err) {
                return;
            }
        } else if (rpc_service(w->rpc, POLLIN) != 0) {
            err = -EPROTO; /* nothing that can be understood */
        }
        if (err) {
            fail(w, err);
            return;
        }
        w->heard_ns = clock_mono_ns();
    }
}

/* ---- waiting ---- */

static void waiters_add(struct nfs3_wire *w, struct flight *f)
{
    f->newer = NULL;
    f->older = w->oldest ? w->newest : NULL;
    if (f->older) {
        f->older->newer = f;
    } else {
        w->oldest = f;
    }
    w->newest = f;
}

static void waiters_remove(struct nfs3_wire *w, const struct flight *f)
{
    if (f->older) {
        f->older->newer = f->newer;
    } else {
        w->oldest = f->newer;
    }
    if (f->newer) {
        f->newer->older = f->older;
    } else {
        w->newest = f->older;
    }
}

/* Lets somebody who waits take over what nobody does. */
static void pass_roles(struct nfs3_wire *w)
{
    if (w->oldest && !w->error && (!w->reading || (!w->sending && has_more(w)))) {
        io_event_set(w->io, &w->oldest->event);
    }
}

static void send_queued(struct nfs3_wire *w, const struct flight *self, int64_t deadline_ns)
{
    w->sending = true;
    while (has_more(w) && !self->done) {
        int64_t until = earlier(deadline_ns, later_by(clock_mono_ns(), w->silence_ns));
        int r;

        w->sender_until_ns = until;
        r = io_poll(w->io, w->fd, POLLOUT, until);
        if (r < 0) {
            fail(w, r);
        } else {
            send_some(w);
        }
    }
    w->sending = false;
}

static void read_replies(struct nfs3_wire *w, const struct flight *self, int64_t deadline_ns)
{
    w->reading = true;
    while (!self->done && w->rpc && !(has_more(w) && !w->sending)) {
        int64_t quiet = w->heard_ns > self->since_ns ? w->heard_ns : self->since_ns;
        int64_t until = earlier(deadline_ns, later_by(quiet, w->silence_ns));
        int r;

        w->reader_until_ns = until;
        r = io_poll(w->io, w->fd, POLLIN, until);
        if (r < 0) {
            fail(w, r);
        } else {
            io_outside(w->io, receive_all, w);
        }
    }
    w->reading = false;
}

/* Whether whoever sends or reads has been given up with its fiber: it should have stopped by itself long ago. */
static bool role_lost(const struct nfs3_wire *w)
{
    int64_t now = clock_mono_ns();

    return (w->sending && now > later_by(w->sender_until_ns, ROLE_SLACK)) ||
           (w->reading && now > later_by(w->reader_until_ns, ROLE_SLACK));
}

static void attend(struct nfs3_wire *w, struct flight *f, int64_t deadline_ns)
{
    while (!f->done) {
        if (has_more(w) && !w->sending) {
            pass_roles(w); /* a server that cannot get rid of its replies takes no more */
            send_queued(w, f, deadline_ns);
        } else if (!w->reading) {
            read_replies(w, f, deadline_ns);
        } else {
            int64_t until = earlier(deadline_ns, later_by(w->reader_until_ns, 2 * ROLE_SLACK));

            waiters_add(w, f);
            (void)io_event_wait(w->io, &f->event, until);
            waiters_remove(w, f);
        }
        if (!f->done && (clock_mono_ns() >= deadline_ns || role_lost(w))) {
            fail(w, -ETIMEDOUT);
        }
    }
}

int nfs3_wire_call(struct nfs3_wire *w, struct nfs3_req *req, int64_t deadline_ns, bool *out_lost)
{
    struct flight f = {.wire = w, .since_ns = clock_mono_ns()};
    int r;

    *out_lost = w->error != 0;
    if (w->error) {
        return w->error;
    }
    if (!fiber_self() && (w->sending || w->reading)) {
        return -EBUSY;
    }
    f.ticket = (struct nfs3_ticket){.req = req, .done = flight_done, .arg = &f};
    w->pending++;
    w->users++;
    if (nfs3_req_queue(w->rpc, &f.ticket)) {
        if (!w->sending) {
            send_some(w);
        }
        attend(w, &f, deadline_ns);
        pass_roles(w);
        r = f.r;
    } else {
        w->pending--;
        r = -ENOMEM;
    }
    *out_lost = r < 0 && w->error != 0;
    r = *out_lost ? w->error : r;
    w->users--;
    if (w->closed && w->users == 0) {
        wire_free(w);
    }
    return r;
}
