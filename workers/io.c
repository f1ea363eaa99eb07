/*
 * io: where each call goes (the thread itself, its ring, a helper), and who is resumed when.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/io_internal.h"

#define DEFAULT_ENTRIES 256
#define DEFAULT_HELPERS 64
#define YIELD_TURNS     2                /* that io_yield lasts at most */
#define POLL_AGAIN_NS   (10 * NS_PER_MS) /* before a poll that is to end is asked again to */

struct io {
    struct io_options options;  /* as given, defaults filled in; constant */
    enum io_mode mode;          /* for new calls */
    bool ring_tried;            /* facts stand */
    struct io_facts facts;      /* of the ring */
    struct ring ring;           /* in use where facts.ring */
    struct helpers *helpers;    /* owned; NULL until the first call that needs them */
    unsigned width;             /* io_set_width; 0: never called */
    unsigned in_flight;         /* requests at the ring or the helpers */
    unsigned sleeping;          /* fibers in io_sleep */
    atomic_bool cancelled;      /* io_cancel_sleeps was called; for ever */
    struct io_timers sleepers;  /* fibers in io_sleep */
    struct io_timers events;    /* fibers in io_event_wait */
    struct io_timers polls;     /* fibers in io_poll; at the ring too, where there is one */
    unsigned poll_count;        /* of polls, without a ring */
    unsigned poll_room;         /* of the following two */
    struct pollfd *poll_fds;    /* owned; for each poll without a ring, after the one for wake_fd */
    struct io_req **poll_reqs;  /* owned; whose they are */
    struct io_list waiters;     /* fibers in io_wait */
    struct io_list ready;       /* fibers to resume in the next turn */
    struct io_list yielded;     /* fibers in io_yield */
    unsigned yield_turns;       /* since the first of them came */
    int wake_fd;                /* eventfd, owned; readable after io_wake */
    atomic_bool woken;          /* io_wake was called, wake_fd is or soon will be readable */
    pthread_mutex_t post_lock;  /* guards posts; held over the wake too, so that a post's sender is out of here when it
                                   is delivered */
    struct io_post *posts;      /* the first one sent and not delivered */
    struct io_post **posts_end; /* where the next one goes */
};

static void io_wake_arg(void *arg)
{
    io_wake(arg);
}

int io_create(const struct io_options *options, struct io **out_io)
{
    struct io *io = calloc(1, sizeof(*io));
    if (!io) {
        return -ENOMEM;
    }
    io->options = *options;
    if (io->options.entries == 0) {
        io->options.entries = DEFAULT_ENTRIES;
    }
    if (io->options.helpers == 0) {
        io->options.helpers = DEFAULT_HELPERS;
    }
    io->posts_end = &io->posts;
    if (pthread_mutex_init(&io->post_lock, NULL) != 0) {
        free(io);
        return -ENOMEM;
    }
    io->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (io->wake_fd < 0) {
        int err = errno;
        pthread_mutex_destroy(&io->post_lock);
        free(io);
        return err == ENOMEM ? -ENOMEM : -EMFILE;
    }
    *out_io = io;
    return 0;
}

void io_destroy(struct io *io)
{
    if (!io) {
        return;
    }
    if (io->facts.ring) {
        ring_release(&io->ring);
    }
    helpers_destroy(io->helpers);
    free(io->poll_fds);
    free(io->poll_reqs);
    pthread_mutex_destroy(&io->post_lock);
    close(io->wake_fd);
    free(io);
}

/* Whether there is a ring, making it when it is first asked for. */
static bool io_has_ring(struct io *io)
{
    if (!io->ring_tried) {
        io->ring_tried = true;
        io->facts.ops_wanted = IO_RING_CODES;
        if (!io->options.no_ring) {
            int r = ring_init(&io->ring, io->options.entries, io->wake_fd, &io->facts);
            io->facts.ring = r == 0;
            io->facts.ring_error = r;
        }
        if (io->facts.ring && io->width) {
            ring_width(&io->ring, io->width);
        }
    }
    return io->facts.ring;
}

void io_facts(const struct io *io, struct io_facts *out_facts)
{
    if (io->ring_tried || io->options.no_ring) {
        *out_facts = io->facts;
        out_facts->ops_wanted = IO_RING_CODES;
        return;
    }
    /* Not needed so far: a ring is made to be asked, and not kept. */
    struct io_facts facts = {.ops_wanted = IO_RING_CODES};
    struct ring probe = {0};
    int r = ring_init(&probe, io->options.entries, io->wake_fd, &facts);
    if (r == 0) {
        ring_release(&probe);
    }
    facts.ring = r == 0;
    facts.ring_error = r;
    *out_facts = facts;
}

void io_set_mode(struct io *io, enum io_mode mode)
{
    io->mode = mode;
}

enum io_mode io_mode(const struct io *io)
{
    return io->mode;
}

static unsigned helpers_wanted(const struct io *io)
{
    return io->width && io->width < io->options.helpers ? io->width : io->options.helpers;
}

void io_set_width(struct io *io, unsigned n)
{
    if (n == 0 || n == io->width) {
        return;
    }
    io->width = n;
    if (io->facts.ring) {
        ring_width(&io->ring, n);
    }
    if (io->helpers) {
        helpers_width(io->helpers, helpers_wanted(io));
    }
}

unsigned io_in_flight(const struct io *io)
{
    return io->in_flight;
}

unsigned io_sleeping(const struct io *io)
{
    return io->sleeping;
}

static int take_by_helper(struct io *io, struct io_req *req)
{
    if (!io->helpers) {
        int r = helpers_create(helpers_wanted(io), io_wake_arg, io, &io->helpers);
        if (r < 0) {
            return r;
        }
    }
    return helpers_take(io->helpers, req);
}

int64_t io_run(struct io *io, struct io_req *req)
{
    if (io->mode == IO_DIRECT || !fiber_self()) {
        return io_call(req);
    }
    req->fiber = fiber_self();
    bool apart = req->code == IO_PWRITE && io->options.writes_apart;
    if (req->code < IO_RING_CODES && !apart && io_has_ring(io) && io->ring.has[req->code]) {
        ring_take(&io->ring, req);
    } else if (take_by_helper(io, req) < 0) {
        return io_call(req); /* no thread to be had: better slow than not */
    }
    io->in_flight++;
    fiber_park();
    return req->result;
}

static void sleepers_wake_first(struct io *io, int result)
{
    struct io_req *req = io->sleepers.first;
    io_timers_remove(&io->sleepers, req);
    io->sleeping--;
    req->result = result;
    io_list_push(&io->ready, req);
}

/* A poll whose time has passed. */
static void poll_expire(struct io *io, struct io_req *req, int64_t now)
{
    io_timers_remove(&io->polls, req);
    if (io->facts.ring && !ring_cancel_poll(&io->ring, req)) {
        req->deadline_ns = now + POLL_AGAIN_NS;
        io_timers_insert(&io->polls, req);
        return;
    }
    if (!io->facts.ring) {
        io->poll_count--;
    }
    io->in_flight--;
    req->result = -ETIMEDOUT;
    io_list_push(&io->ready, req);
}

static int64_t sooner(int64_t a, const struct io_timers *t)
{
    return t->first && t->first->deadline_ns < a ? t->first->deadline_ns : a;
}

/* Wakes those whose time has come. Returns ns until the next one's, -1: there is none. */
static int64_t timers_wake_due(struct io *io)
{
    if (!io->sleepers.first && !io->events.first && !io->polls.first) {
        return -1;
    }
    while (atomic_load(&io->cancelled) && io->sleepers.first) {
        sleepers_wake_first(io, -ECANCELED);
    }
    int64_t now = clock_mono_ns();
    while (io->sleepers.first && io->sleepers.first->deadline_ns <= now) {
        sleepers_wake_first(io, 0);
    }
    while (io->events.first && io->events.first->deadline_ns <= now) {
        struct io_req *req = io->events.first;
        io_timers_remove(&io->events, req);
        req->event->waiter = NULL;
        req->result = -ETIMEDOUT;
        io_list_push(&io->ready, req);
    }
    while (io->polls.first && io->polls.first->deadline_ns <= now) {
        poll_expire(io, io->polls.first, now);
    }
    int64_t next = sooner(sooner(sooner(INT64_MAX, &io->sleepers), &io->events), &io->polls);
    return next == INT64_MAX ? -1 : next - now;
}

/* A sleep of the whole thread, which ends early only for a cancellation. */
static int sleep_thread(struct io *io, int64_t deadline_ns)
{
    while (!atomic_load(&io->cancelled)) {
        int64_t left = deadline_ns - clock_mono_ns();
        if (left <= 0) {
            return 0;
        }
        struct pollfd p = {.fd = io->wake_fd, .events = POLLIN};
        struct timespec ts = {.tv_sec = left / NS_PER_SEC, .tv_nsec = left % NS_PER_SEC};
        if (ppoll(&p, 1, &ts, NULL) > 0) {
            uint64_t count;
            ssize_t n = read(io->wake_fd, &count, sizeof(count));
            (void)n;
            atomic_store(&io->woken, true); /* an io_wake that was meant for the next turn */
        }
    }
    return -ECANCELED;
}

int io_sleep(struct io *io, int64_t ns)
{
    if (atomic_load(&io->cancelled)) {
        return -ECANCELED;
    }
    int64_t now = clock_mono_ns();
    int64_t deadline = ns > INT64_MAX - now ? INT64_MAX : now + (ns > 0 ? ns : 0);
    if (!fiber_self()) {
        return sleep_thread(io, deadline);
    }
    struct io_req req = {.deadline_ns = deadline, .fiber = fiber_self()};
    io_timers_insert(&io->sleepers, &req);
    io->sleeping++;
    fiber_park();
    return (int)req.result;
}

static void wake_write(struct io *io)
{
    const uint64_t one = 1;
    ssize_t n = write(io->wake_fd, &one, sizeof(one));
    (void)n; /* can only fail where it is readable already */
}

void io_cancel_sleeps(struct io *io)
{
    int err = errno;
    atomic_store(&io->cancelled, true);
    /* Written whatever woken says: a sleep of the whole thread waits for the descriptor alone. */
    atomic_store(&io->woken, true);
    wake_write(io);
    errno = err;
}

void io_wait(struct io *io, const void *key)
{
    struct io_req req = {.key = key, .fiber = fiber_self()};
    io_list_push(&io->waiters, &req);
    fiber_park();
}

void io_notify(struct io *io, const void *key)
{
    struct io_list others = {0};
    for (struct io_req *req = io_list_pop(&io->waiters); req; req = io_list_pop(&io->waiters)) {
        io_list_push(req->key == key ? &io->ready : &others, req);
    }
    io->waiters = others;
}

int io_event_wait(struct io *io, struct io_event *e, int64_t deadline_ns)
{
    if (e->set) {
        e->set = false;
        return 0;
    }
    struct io_req req = {.event = e, .deadline_ns = deadline_ns, .fiber = fiber_self()};
    e->waiter = &req;
    io_timers_insert(&io->events, &req);
    fiber_park();
    return (int)req.result;
}

void io_event_set(struct io *io, struct io_event *e)
{
    struct io_req *req = e->waiter;
    if (!req) {
        e->set = true;
        return;
    }
    e->waiter = NULL;
    io_timers_remove(&io->events, req);
    req->result = 0;
    io_list_push(&io->ready, req);
}

void io_yield(struct io *io)
{
    if (fiber_self()) {
        struct io_req req = {.fiber = fiber_self()};
        io->yield_turns = io->yielded.head ? io->yield_turns : 0;
        io_list_push(&io->yielded, &req);
        fiber_park();
    }
}

/* Those in io_yield go on where nothing else can, or where they have waited long enough. */
static void yielded_wake(struct io *io, bool idle)
{
    if (io->yielded.head && (idle || io->yield_turns++ >= YIELD_TURNS)) {
        for (struct io_req *req = io_list_pop(&io->yielded); req; req = io_list_pop(&io->yielded)) {
            io_list_push(&io->ready, req);
        }
    }
}

void io_outside(struct io *io, void (*fn)(void *arg), void *arg)
{
    if (!fiber_self()) {
        fn(arg);
        return;
    }
    struct io_req req = {.outside = fn, .buf = arg, .fiber = fiber_self()};
    io_list_push(&io->ready, &req);
    fiber_park();
}

/* The whole thread waits. */
static int poll_thread(int fd, short events, int64_t deadline_ns)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        int64_t left = deadline_ns == INT64_MAX ? 0 : deadline_ns - clock_mono_ns();
        left = left > 0 ? left : 0;
        struct timespec ts = {.tv_sec = left / NS_PER_SEC, .tv_nsec = left % NS_PER_SEC};
        int n = ppoll(&p, 1, deadline_ns == INT64_MAX ? NULL : &ts, NULL);
        if (n != 0) {
            if (n > 0 || errno != EINTR) {
                return n > 0 ? p.revents : -errno;
            }
        } else if (left == 0) {
            return -ETIMEDOUT;
        }
    }
}

/* Room for one more socket. */
static int polls_grow(struct io *io)
{
    if (io->poll_count + 1 < io->poll_room) {
        return 0;
    }
    unsigned room = io->poll_room ? io->poll_room * 2 : 8;
    struct pollfd *fds = realloc(io->poll_fds, room * sizeof(*fds));
    if (!fds) {
        return -ENOMEM;
    }
    io->poll_fds = fds;
    struct io_req **reqs = realloc(io->poll_reqs, room * sizeof(struct io_req *));
    if (!reqs) {
        return -ENOMEM;
    }
    io->poll_reqs = reqs;
    io->poll_room = room;
    return 0;
}

int io_poll(struct io *io, int fd, short events, int64_t deadline_ns)
{
    if (!fiber_self() || deadline_ns <= clock_mono_ns()) {
        return poll_thread(fd, events, deadline_ns);
    }
    struct io_req req = {
        .code = IO_POLL, .fd = fd, .flags = (unsigned short)events, .deadline_ns = deadline_ns, .fiber = fiber_self()};
    if (io_has_ring(io)) {
        ring_take(&io->ring, &req);
    } else if (polls_grow(io) < 0) {
        return -ENOMEM;
    } else {
        io->poll_count++;
    }
    io_timers_insert(&io->polls, &req);
    io->in_flight++;
    fiber_park();
    return (int)req.result;
}

void io_wake(struct io *io)
{
    int err = errno;
    if (!atomic_exchange(&io->woken, true)) {
        wake_write(io);
    }
    errno = err;
}

void io_post(struct io *io, struct io_post *post)
{
    post->next = NULL;
    pthread_mutex_lock(&io->post_lock);
    *io->posts_end = post;
    io->posts_end = &post->next;
    io_wake(io);
    pthread_mutex_unlock(&io->post_lock);
}

static void posts_deliver(struct io *io)
{
    pthread_mutex_lock(&io->post_lock);
    struct io_post *post = io->posts;
    io->posts = NULL;
    io->posts_end = &io->posts;
    pthread_mutex_unlock(&io->post_lock);
    while (post) {
        struct io_post *next = post->next;
        post->delivered = true;
        io_notify(io, post->key);
        post = next;
    }
}

void io_await(struct io *io, const struct io_post *post)
{
    while (!post->delivered) {
        io_wait(io, post->key);
    }
}

/* Takes note of io_wake; only what was posted before it is looked at afterwards. Returns whether there was one: the
 * turn must not wait then. */
static bool take_wake(struct io *io)
{
    if (!atomic_load_explicit(&io->woken, memory_order_relaxed)) {
        return false;
    }
    uint64_t count;
    ssize_t n = read(io->wake_fd, &count, sizeof(count));
    (void)n; /* nothing there yet: the write is on its way, and ends a later wait for nothing */
    atomic_exchange(&io->woken, false);
    if (io->helpers) {
        struct io_list done = {0};
        helpers_done(io->helpers, &done);
        for (struct io_req *req = io_list_pop(&done); req; req = io_list_pop(&done)) {
            io->in_flight--;
            io_list_push(&io->ready, req);
        }
    }
    posts_deliver(io);
    return true;
}

/* Fills in what is to be polled: the wake-up first, then sockets. Returns how many. */
static unsigned polls_gather(struct io *io)
{
    unsigned count = 1;
    io->poll_fds[0] = (struct pollfd){.fd = io->wake_fd, .events = POLLIN};
    for (struct io_req *req = io->polls.first; req; req = req->later) {
        io->poll_fds[count] = (struct pollfd){.fd = req->fd, .events = (short)req->flags};
        io->poll_reqs[count++] = req;
    }
    return count;
}

static void polls_done(struct io *io, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        if (io->poll_fds[i].revents) {
            struct io_req *req = io->poll_reqs[i];
            io_timers_remove(&io->polls, req);
            io->poll_count--;
            io->in_flight--;
            req->result = io->poll_fds[i].revents;
            io_list_push(&io->ready, req);
        }
    }
}

static void wait_without_ring(struct io *io, int64_t timeout_ns)
{
    struct pollfd wake = {.fd = io->wake_fd, .events = POLLIN};
    struct pollfd *fds = &wake;
    unsigned count = 1;
    if (io->poll_count > 0) {
        count = polls_gather(io);
        fds = io->poll_fds;
    } else if (timeout_ns == 0) {
        return;
    }
    struct timespec ts = {.tv_sec = timeout_ns / NS_PER_SEC, .tv_nsec = timeout_ns % NS_PER_SEC};
    if (ppoll(fds, count, timeout_ns < 0 ? NULL : &ts, NULL) <= 0) {
        return; /* an error (EINTR) only makes this turn short */
    }
    if (fds[0].revents) {
        /* A late write of an earlier io_wake may have left it readable without the flag. */
        atomic_store(&io->woken, true);
    }
    polls_done(io, count);
}

static void wait_with_ring(struct io *io, int64_t timeout_ns)
{
    struct io_list done = {0};
    ring_turn(&io->ring, timeout_ns, &done);
    for (struct io_req *req = io_list_pop(&done); req; req = io_list_pop(&done)) {
        io->in_flight--;
        if (req->code == IO_POLL) {
            io_timers_remove(&io->polls, req);
            req->result = req->result == -ECANCELED ? -ETIMEDOUT : req->result;
        }
        io_list_push(&io->ready, req);
    }
}

void io_turn(struct io *io, int64_t timeout_ns)
{
    bool woken = take_wake(io);
    int64_t next = timers_wake_due(io);
    if (next >= 0 && (timeout_ns < 0 || next < timeout_ns)) {
        timeout_ns = next;
    }
    yielded_wake(io, timeout_ns != 0 && !woken && !io->ready.head);
    if (woken || io->ready.head) {
        timeout_ns = 0;
    }
    if (io->facts.ring) {
        wait_with_ring(io, timeout_ns);
    } else {
        wait_without_ring(io, timeout_ns);
    }
    if (timeout_ns != 0) {
        take_wake(io);
        timers_wake_due(io);
    }
    /* Those that become ready meanwhile have their turn next time, so that nobody is kept waiting for ever. */
    struct io_list now = io->ready;
    io->ready = (struct io_list){0};
    for (struct io_req *req = io_list_pop(&now); req; req = io_list_pop(&now)) {
        if (req->outside) {
            req->outside(req->buf);
        }
        fiber_resume(req->fiber);
    }
}
