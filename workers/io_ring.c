/*
 * io_ring: requests through io_uring.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/io_internal.h"

#define ENTRIES_MIN 4
#define ENTRIES_MAX 4096
#define LENGTH_MAX  0x7ffff000U     /* an SQE's length has 32 bits; the kernel moves no more at a time anyway */
#define PAUSE_NS    (1 * NS_PER_MS) /* before a submit that found the kernel short of memory is repeated */

/* What is in user_data when it is not a request. */
#define DATA_WATCH  1U
#define DATA_CANCEL 2U

static const uint8_t opcodes[IO_RING_CODES] = {
    [IO_OPENAT] = IORING_OP_OPENAT,       [IO_OPENAT2] = IORING_OP_OPENAT2,   [IO_CLOSE] = IORING_OP_CLOSE,
    [IO_PREAD] = IORING_OP_READ,          [IO_PWRITE] = IORING_OP_WRITE,      [IO_STATX] = IORING_OP_STATX,
    [IO_RENAMEAT2] = IORING_OP_RENAMEAT,  [IO_UNLINKAT] = IORING_OP_UNLINKAT, [IO_MKDIRAT] = IORING_OP_MKDIRAT,
    [IO_SYMLINKAT] = IORING_OP_SYMLINKAT, [IO_LINKAT] = IORING_OP_LINKAT,     [IO_FSYNC] = IORING_OP_FSYNC,
    [IO_POLL] = IORING_OP_POLL_ADD,
};

#define SETUP_TELLING (IORING_SETUP_CLAMP | IORING_SETUP_TASKRUN_FLAG) /* the ring tells when it has to be entered */

/* The best flags first. Each is only an improvement: without any of them the ring does the same. */
static const unsigned setups[] = {
    SETUP_TELLING | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    SETUP_TELLING | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    SETUP_TELLING | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_CLAMP,
    0,
};

/* Fills in which operations the kernel has. -ENOSYS for kernels that cannot even be asked. */
static int ring_probe(struct ring *r, struct io_facts *facts)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(&r->uring);
    if (!probe) {
        return -ENOSYS;
    }
    facts->ops = 0;
    for (unsigned i = 0; i < IO_RING_CODES; i++) {
        r->has[i] = io_uring_opcode_supported(probe, opcodes[i]);
        facts->ops += r->has[i];
    }
    bool poll = io_uring_opcode_supported(probe, IORING_OP_POLL_ADD);
    io_uring_free_probe(probe);
    return poll ? 0 : -ENOSYS;
}

/* A ring may be set up where entering it is forbidden: one operation goes all the way before it is trusted. */
static int ring_try(struct ring *r)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
    if (!sqe) {
        return -EBUSY;
    }
    io_uring_prep_nop(sqe);
    int n;
    do {
        n = io_uring_submit_and_wait(&r->uring, 1);
    } while (n == -EINTR);
    if (n < 0) {
        return n;
    }
    struct io_uring_cqe *cqe = NULL;
    int e = io_uring_wait_cqe(&r->uring, &cqe);
    if (e < 0) {
        return e;
    }
    io_uring_cqe_seen(&r->uring, cqe);
    return 0;
}

int ring_init(struct ring *r, unsigned entries, int wake_fd, struct io_facts *facts)
{
    memset(r, 0, sizeof(*r));
    r->wake_fd = wake_fd;
    entries = entries < ENTRIES_MIN ? ENTRIES_MIN : entries > ENTRIES_MAX ? ENTRIES_MAX : entries;
    int e = -EINVAL;
    struct io_uring_params params;
    for (size_t i = 0; i < sizeof(setups) / sizeof(setups[0]) && e == -EINVAL; i++) {
        memset(&params, 0, sizeof(params));
        params.flags = setups[i];
        e = io_uring_queue_init_params(entries, &r->uring, &params);
    }
    if (e < 0) {
        return e;
    }
    e = ring_probe(r, facts);
    if (e == 0) {
        e = ring_try(r);
    }
    if (e < 0) {
        facts->ops = 0;
        io_uring_queue_exit(&r->uring);
        return e;
    }
    /* A failure only means that each enter looks the descriptor up. */
    io_uring_register_ring_fd(&r->uring);
    facts->flags = params.flags;
    r->bound = params.cq_entries - 2; /* room for the watch and for a time-out of liburing's own */
    return 0;
}

void ring_release(struct ring *r)
{
    io_uring_queue_exit(&r->uring);
}

void ring_width(struct ring *r, unsigned n)
{
    unsigned values[2] = {n, 0}; /* bounded work; 0: what is not bounded stays as it is */
    /* Kernels before 5.15 cannot: they have their own bound then, which is only slower. */
    (void)io_uring_register_iowq_max_workers(&r->uring, values);
}

static void prepare(struct io_uring_sqe *sqe, struct io_req *q)
{
    unsigned len = q->len > LENGTH_MAX ? LENGTH_MAX : (unsigned)q->len;
    switch (q->code) {
    case IO_OPENAT:
        io_uring_prep_openat(sqe, q->fd, q->path, (int)q->flags, q->mode);
        break;
    case IO_OPENAT2:
        io_uring_prep_openat2(sqe, q->fd, q->path, q->buf);
        break;
    case IO_CLOSE:
        io_uring_prep_close(sqe, q->fd);
        break;
    case IO_PREAD:
        io_uring_prep_read(sqe, q->fd, q->buf, len, (uint64_t)q->off);
        break;
    case IO_PWRITE:
        io_uring_prep_write(sqe, q->fd, q->data, len, (uint64_t)q->off);
        break;
    case IO_STATX:
        io_uring_prep_statx(sqe, q->fd, q->path, (int)q->flags, q->mask, q->buf);
        break;
    case IO_RENAMEAT2:
        io_uring_prep_renameat(sqe, q->fd, q->path, q->fd2, q->path2, q->flags);
        break;
    case IO_UNLINKAT:
        io_uring_prep_unlinkat(sqe, q->fd, q->path, (int)q->flags);
        break;
    case IO_MKDIRAT:
        io_uring_prep_mkdirat(sqe, q->fd, q->path, q->mode);
        break;
    case IO_SYMLINKAT:
        io_uring_prep_symlinkat(sqe, q->path, q->fd, q->path2);
        break;
    case IO_LINKAT:
        io_uring_prep_linkat(sqe, q->fd, q->path, q->fd2, q->path2, (int)q->flags);
        break;
    case IO_FSYNC:
        io_uring_prep_fsync(sqe, q->fd, 0);
        break;
    case IO_POLL:
        io_uring_prep_poll_add(sqe, q->fd, q->flags);
        break;
    default: /* has[] keeps all others out */
        io_uring_prep_nop(sqe);
        break;
    }
    io_uring_sqe_set_data(sqe, q);
}

/* An SQE, after a submit where all were taken; NULL: the kernel cannot take more now. */
static struct io_uring_sqe *ring_sqe(struct ring *r)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
    if (!sqe && io_uring_submit(&r->uring) > 0) {
        sqe = io_uring_get_sqe(&r->uring);
    }
    return sqe;
}

/* Completions that req may bring. */
static unsigned ring_weight(const struct io_req *req)
{
    return req->code == IO_POLL ? 2 : 1;
}

static bool ring_prepare(struct ring *r, struct io_req *req)
{
    struct io_uring_sqe *sqe = r->busy + ring_weight(req) <= r->bound ? ring_sqe(r) : NULL;
    if (!sqe) {
        return false;
    }
    prepare(sqe, req);
    r->busy += ring_weight(req);
    return true;
}

static void ring_put_off(struct ring *r, struct io_req *req)
{
    req->waiting = true;
    io_list_push(&r->backlog, req);
}

void ring_take(struct ring *r, struct io_req *req)
{
    if (r->backlog.head || !ring_prepare(r, req)) {
        ring_put_off(r, req);
    }
}

bool ring_cancel_poll(struct ring *r, struct io_req *req)
{
    if (req->waiting) {
        struct io_list others = {0};
        for (struct io_req *q = io_list_pop(&r->backlog); q; q = io_list_pop(&r->backlog)) {
            if (q != req) {
                io_list_push(&others, q);
            }
        }
        r->backlog = others;
        req->waiting = false;
        return true;
    }
    struct io_uring_sqe *sqe = ring_sqe(r);
    if (sqe) {
        io_uring_prep_poll_remove(sqe, (uint64_t)(uintptr_t)req);
        io_uring_sqe_set_data64(sqe, DATA_CANCEL);
    }
    return false;
}

static void ring_prepare_backlog(struct ring *r)
{
    while (r->backlog.head) {
        struct io_req *req = r->backlog.head;
        struct io_req *next = req->next;
        if (!ring_prepare(r, req)) {
            return;
        }
        req->waiting = false;
        r->backlog.head = next;
    }
}

/* Lets wake_fd end the wait. False: it cannot now, so the wait must be short. */
static bool ring_watch(struct ring *r)
{
    if (!r->watching) {
        struct io_uring_sqe *sqe = ring_sqe(r);
        if (!sqe) {
            return false;
        }
        io_uring_prep_poll_add(sqe, r->wake_fd, POLLIN);
        io_uring_sqe_set_data64(sqe, DATA_WATCH);
        r->watching = true;
    }
    return true;
}

static void ring_watch_done(struct ring *r)
{
    uint64_t count;
    ssize_t n = read(r->wake_fd, &count, sizeof(count));
    (void)n; /* read already: the wake was noticed otherwise */
    r->watching = false;
}

/* Takes all completions. Returns how many there were. */
static unsigned ring_reap(struct ring *r, struct io_list *done)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned count = 0;
    io_uring_for_each_cqe(&r->uring, head, cqe)
    {
        count++;
        if (cqe->user_data == LIBURING_UDATA_TIMEOUT) {
            continue;
        }
        if (cqe->user_data == DATA_WATCH) {
            ring_watch_done(r);
            continue;
        }
        if (cqe->user_data == DATA_CANCEL) {
            continue;
        }
        struct io_req *req = io_uring_cqe_get_data(cqe);
        r->busy -= ring_weight(req);
        if (cqe->res == -EINTR && req->code != IO_CLOSE) {
            ring_put_off(r, req);
        } else {
            req->result = cqe->res;
            io_list_push(done, req);
        }
    }
    io_uring_cq_advance(&r->uring, count);
    return count;
}

static int ring_enter(struct ring *r, int64_t timeout_ns)
{
    if (timeout_ns == 0) {
        return io_uring_submit_and_get_events(&r->uring);
    }
    if (timeout_ns < 0) {
        return io_uring_submit_and_wait(&r->uring, 1);
    }
    struct __kernel_timespec ts = {.tv_sec = timeout_ns / NS_PER_SEC, .tv_nsec = timeout_ns % NS_PER_SEC};
    struct io_uring_cqe *cqe = NULL;
    return io_uring_submit_and_wait_timeout(&r->uring, &cqe, 1, &ts, NULL);
}

/* Whether entering the kernel without waiting would bring anything about. */
static bool ring_has_news(const struct ring *r)
{
    const unsigned news = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
    return !(r->uring.flags & IORING_SETUP_TASKRUN_FLAG) || io_uring_sq_ready(&r->uring) > 0 ||
           io_uring_cq_ready(&r->uring) > 0 || (IO_URING_READ_ONCE(*r->uring.sq.kflags) & news) != 0;
}

void ring_turn(struct ring *r, int64_t timeout_ns, struct io_list *done)
{
    ring_prepare_backlog(r);
    if (timeout_ns == 0 && (r->busy == 0 || !ring_has_news(r))) {
        return;
    }
    if (timeout_ns != 0 && !ring_watch(r)) {
        timeout_ns = PAUSE_NS;
    }
    int e = ring_enter(r, timeout_ns);
    unsigned count = ring_reap(r, done);
    ring_prepare_backlog(r);
    /* EBUSY is over now that completions were taken, a time-out or a signal is no error, and all others may pass
     * (memory): what is in the ring stays there and is submitted again in the next turn, but not in a busy loop. */
    if (e < 0 && e != -ETIME && e != -EINTR && count == 0) {
        struct timespec pause = {.tv_nsec = PAUSE_NS};
        nanosleep(&pause, NULL);
    }
}
