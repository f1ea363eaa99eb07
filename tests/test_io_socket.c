/*
 * test_io_socket: sockets and events, in every way in which io can work, in fibers and outside of them.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_io.h"

#define LONG_NS  (60 * NS_PER_SEC) /* a limit that is never reached */
#define SHORT_NS (30 * NS_PER_MS)  /* one that is */

static enum way every_way[WAYS] = {WAY_DIRECT, WAY_RING, WAY_HELPERS};

static struct criterion_test_params ways(void)
{
    return cr_make_param_array(enum way, every_way, WAYS);
}

/* A socket that listens on a free port of the loopback interface. */
static int listener(struct sockaddr_in *out_address, int backlog)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0);
    *out_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_eq(bind(fd, (struct sockaddr *)out_address, sizeof(*out_address)), 0);
    cr_assert_eq(listen(fd, backlog), 0);
    socklen_t len = sizeof(*out_address);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)out_address, &len), 0);
    return fd;
}

/* Two ends of one TCP connection. */
static void tcp_pair(int fds[2])
{
    struct sockaddr_in address;
    int l = listener(&address, 1);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fds[0], (struct sockaddr *)&address, sizeof(address)), 0);
    fds[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    cr_assert(fds[1] >= 0);
    close(l);
}

struct scene {
    struct lane lane;    /* io and fibers */
    int fds[2];          /* a connection */
    uint8_t *sent;       /* what one end sends */
    uint8_t *got;        /* what the other received */
    size_t len;          /* bytes of both */
    unsigned pieces;     /* sendmsg calls that it took */
    unsigned finished;   /* fibers that came to their end */
    int result;          /* of a fiber */
    int64_t ns;          /* how long it took */
    struct io_event one; /* what fibers wait for */
};

static void scene_open(struct scene *s, enum way way, unsigned entries)
{
    *s = (struct scene){0};
    lane_open(&s->lane, way, entries);
    tcp_pair(s->fds);
}

static void scene_close(struct scene *s)
{
    lane_close(&s->lane);
    close(s->fds[0]);
    close(s->fds[1]);
    free(s->sent);
    free(s->got);
}

static void give(void *arg)
{
    struct scene *s = arg;
    size_t at = 0;
    while (at < s->len) {
        /* Three pieces, one of them empty. */
        size_t left = s->len - at;
        size_t half = left / 2;
        struct iovec iov[3] = {{s->sent + at, half}, {NULL, 0}, {s->sent + at + half, left - half}};
        ssize_t n = io_sendmsg(s->lane.io, s->fds[0], iov, 3, clock_mono_ns() + LONG_NS);
        cr_assert(n > 0, "%zd", n);
        at += (size_t)n;
        s->pieces++;
    }
    cr_assert_eq(shutdown(s->fds[0], SHUT_WR), 0);
    s->finished++;
}

static void take(void *arg)
{
    struct scene *s = arg;
    size_t at = 0;
    for (;;) {
        uint8_t first[7];
        struct iovec iov[2] = {{first, sizeof(first)}, {s->got + at, s->len - at}};
        size_t skip = at < s->len ? 1 : 0; /* the end is looked for with the small one */
        ssize_t n = io_recvmsg(s->lane.io, s->fds[1], iov + skip, 2 - skip, clock_mono_ns() + LONG_NS);
        cr_assert(n >= 0, "%zd", n);
        if (n == 0) {
            break;
        }
        at += (size_t)n;
        cr_assert(at <= s->len);
    }
    cr_assert_eq(at, s->len);
    s->finished++;
}

ParameterizedTestParameters(io_socket, stream_in_parts)
{
    return ways();
}

/* Far more than the buffers of the sockets hold: the sender is stopped again and again, and nobody blocks the thread.
 */
ParameterizedTest(enum way *way, io_socket, stream_in_parts)
{
    struct scene s;
    scene_open(&s, *way, 0);
    int small = 16 * 1024;
    cr_assert_eq(setsockopt(s.fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    cr_assert_eq(setsockopt(s.fds[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    s.len = 4 * 1024 * 1024 + 13;
    s.sent = malloc(s.len);
    s.got = calloc(1, s.len);
    for (size_t i = 0; i < s.len; i++) {
        s.sent[i] = (uint8_t)(i * 2654435761U >> 13);
    }
    cr_assert_eq(fiber_start(s.lane.fibers, give, &s), 0);
    cr_assert_eq(fiber_start(s.lane.fibers, take, &s), 0);
    lane_finish(&s.lane);
    cr_assert_eq(s.finished, 2);
    cr_assert(s.pieces > 10, "%u", s.pieces);
    cr_assert_eq(memcmp(s.sent, s.got, s.len), 0);
    scene_close(&s);
}

static void wait_short(void *arg)
{
    struct scene *s = arg;
    char byte;
    struct iovec iov = {&byte, 1};
    int64_t begun = clock_mono_ns();
    s->result = (int)io_recvmsg(s->lane.io, s->fds[1], &iov, 1, begun + SHORT_NS);
    s->ns = clock_mono_ns() - begun;
    s->finished++;
}

static void wait_long(void *arg)
{
    struct scene *s = arg;
    char byte;
    struct iovec iov = {&byte, 1};
    s->result = (int)io_recvmsg(s->lane.io, s->fds[1], &iov, 1, clock_mono_ns() + LONG_NS);
    s->finished++;
}

static void send_one(void *arg)
{
    struct scene *s = arg;
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    cr_assert_eq(io_sendmsg(s->lane.io, s->fds[0], &iov, 1, clock_mono_ns() + LONG_NS), 1);
    s->finished++;
}

ParameterizedTestParameters(io_socket, limits)
{
    return ways();
}

ParameterizedTest(enum way *way, io_socket, limits)
{
    struct scene s;
    scene_open(&s, *way, 0);
    lane_run(&s.lane, 1, wait_short, &s);
    cr_assert_eq(s.result, -ETIMEDOUT);
    cr_assert(s.ns >= SHORT_NS && s.ns < LONG_NS / 2);

    /* A socket that fills up, and nobody reads. */
    char *much = calloc(1, 64 << 10);
    struct iovec iov = {much, 64 << 10};
    ssize_t n;
    while ((n = io_sendmsg(s.lane.io, s.fds[0], &iov, 1, 0)) > 0) {
    }
    cr_assert_eq(n, -ETIMEDOUT);
    cr_assert_eq(io_poll(s.lane.io, s.fds[0], POLLOUT, clock_mono_ns() + SHORT_NS), -ETIMEDOUT);
    /* One that has passed: what is there is taken all the same. */
    cr_assert(io_recvmsg(s.lane.io, s.fds[1], &iov, 1, 0) > 0);
    free(much);
    scene_close(&s);
}

ParameterizedTestParameters(io_socket, one_waits_others_run)
{
    return ways();
}

/* While one fiber waits for a socket the others of its thread go on, in every mode: else this would take a minute. */
ParameterizedTest(enum way *way, io_socket, one_waits_others_run)
{
    struct scene s;
    scene_open(&s, *way, 0);
    cr_assert_eq(fiber_start(s.lane.fibers, wait_long, &s), 0);
    cr_assert_eq(s.finished, 0);
    cr_assert_eq(io_in_flight(s.lane.io), 1);
    io_turn(s.lane.io, 0);
    cr_assert_eq(s.finished, 0);
    cr_assert_eq(fiber_start(s.lane.fibers, send_one, &s), 0);
    lane_finish(&s.lane);
    cr_assert_eq(s.finished, 2);
    cr_assert_eq(s.result, 1);
    scene_close(&s);
}

ParameterizedTestParameters(io_socket, other_end_goes)
{
    return ways();
}

ParameterizedTest(enum way *way, io_socket, other_end_goes)
{
    struct scene s;
    scene_open(&s, *way, 0);
    cr_assert_eq(fiber_start(s.lane.fibers, wait_long, &s), 0);
    close(s.fds[0]);
    lane_finish(&s.lane);
    cr_assert_eq(s.result, 0);
    /* What is sent now is answered by a reset. */
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    ssize_t n;
    while ((n = io_sendmsg(s.lane.io, s.fds[1], &iov, 1, clock_mono_ns() + LONG_NS)) > 0) {
    }
    cr_assert(n == -EPIPE || n == -ECONNRESET, "%zd", n);
    close(s.fds[1]);

    tcp_pair(s.fds);
    cr_assert_eq(fiber_start(s.lane.fibers, wait_long, &s), 0);
    const struct linger hard = {.l_onoff = 1};
    cr_assert_eq(setsockopt(s.fds[0], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(s.fds[0]);
    lane_finish(&s.lane);
    cr_assert_eq(s.result, -ECONNRESET);
    s.fds[0] = dup(s.fds[1]);
    scene_close(&s);
}

struct caller {
    struct scene *s;            /* the scene */
    struct sockaddr_in address; /* whom to call */
    int64_t limit_ns;           /* how long */
    int result;                 /* what came of it */
};

static void call(void *arg)
{
    struct caller *c = arg;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    c->result = io_connect(c->s->lane.io, fd, (struct sockaddr *)&c->address, sizeof(c->address),
                           clock_mono_ns() + c->limit_ns);
    if (c->result == 0) {
        char byte = 'c';
        struct iovec iov = {&byte, 1};
        cr_assert_eq(io_sendmsg(c->s->lane.io, fd, &iov, 1, clock_mono_ns() + LONG_NS), 1);
    }
    close(fd);
}

ParameterizedTestParameters(io_socket, connects)
{
    return ways();
}

ParameterizedTest(enum way *way, io_socket, connects)
{
    struct scene s;
    scene_open(&s, *way, 0);
    struct caller c = {.s = &s, .limit_ns = LONG_NS};
    int l = listener(&c.address, 8);
    for (int fiber = 0; fiber < 2; fiber++) {
        c.result = 1;
        if (fiber) {
            lane_run(&s.lane, 1, call, &c);
        } else {
            call(&c);
        }
        cr_assert_eq(c.result, 0);
        int fd = accept4(l, NULL, NULL, SOCK_CLOEXEC);
        char byte = 0;
        cr_assert_eq(read(fd, &byte, 1), 1);
        cr_assert_eq(byte, 'c');
        close(fd);
    }
    close(l);
    for (int fiber = 0; fiber < 2; fiber++) {
        if (fiber) {
            lane_run(&s.lane, 1, call, &c);
        } else {
            call(&c);
        }
        cr_assert_eq(c.result, -ECONNREFUSED);
    }

    /* A listener whose queue is full answers nothing. */
    l = listener(&c.address, 0);
    int filler[8];
    for (size_t i = 0; i < 8; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(filler[i], (struct sockaddr *)&c.address, sizeof(c.address));
    }
    c.limit_ns = SHORT_NS;
    call(&c);
    cr_assert_eq(c.result, -ETIMEDOUT);
    lane_run(&s.lane, 1, call, &c);
    cr_assert_eq(c.result, -ETIMEDOUT);
    for (size_t i = 0; i < 8; i++) {
        close(filler[i]);
    }
    close(l);
    scene_close(&s);
}

static void *feed(void *arg)
{
    int fd = *(int *)arg;
    char *much = malloc(1 << 20);
    memset(much, 'f', 1 << 20);
    size_t at = 0;
    while (at < 1 << 20) {
        ssize_t n = send(fd, much + at, (1 << 20) - at, MSG_NOSIGNAL);
        cr_assert(n > 0);
        at += (size_t)n;
    }
    free(much);
    return NULL;
}

/* Outside of fibers the thread waits. */
Test(io_socket, thread_waits)
{
    struct scene s;
    scene_open(&s, WAY_RING, 0);
    pthread_t other;
    cr_assert_eq(pthread_create(&other, NULL, feed, &s.fds[0]), 0);
    size_t got = 0;
    char *part = malloc(70000);
    while (got < 1 << 20) {
        struct iovec iov = {part, 70000};
        ssize_t n = io_recvmsg(s.lane.io, s.fds[1], &iov, 1, clock_mono_ns() + LONG_NS);
        cr_assert(n > 0, "%zd", n);
        cr_assert_eq(part[n - 1], 'f');
        got += (size_t)n;
    }
    pthread_join(other, NULL);
    free(part);
    wait_short(&s);
    cr_assert_eq(s.result, -ETIMEDOUT);
    cr_assert(s.ns >= SHORT_NS);
    struct iovec none = {NULL, 0};
    cr_assert_eq(io_recvmsg(s.lane.io, -1, &none, 1, LONG_NS), -EBADF);
    cr_assert_eq(io_sendmsg(s.lane.io, -1, &none, 1, LONG_NS), -EBADF);
    scene_close(&s);
}

static void count_short(void *arg)
{
    struct scene *s = arg;
    char byte;
    struct iovec iov = {&byte, 1};
    int r = (int)io_recvmsg(s->lane.io, s->fds[1], &iov, 1, clock_mono_ns() + SHORT_NS);
    cr_assert_eq(r, -ETIMEDOUT, "%d", r);
    s->finished++;
}

ParameterizedTestParameters(io_socket, many_limits)
{
    return ways();
}

/* More waits than a small ring holds, and all of them end by their limit. */
ParameterizedTest(enum way *way, io_socket, many_limits)
{
    struct scene s;
    scene_open(&s, *way, 4);
    int64_t begun = clock_mono_ns();
    lane_run(&s.lane, 300, count_short, &s);
    cr_assert_eq(s.finished, 300);
    cr_assert(clock_mono_ns() - begun < LONG_NS / 2);
    scene_close(&s);
}

/* ---- events ---- */

static void event_waits(void *arg)
{
    struct scene *s = arg;
    s->result = io_event_wait(s->lane.io, &s->one, clock_mono_ns() + LONG_NS);
    s->finished++;
}

static void event_waits_short(void *arg)
{
    struct scene *s = arg;
    int64_t begun = clock_mono_ns();
    s->result = io_event_wait(s->lane.io, &s->one, begun + SHORT_NS);
    s->ns = clock_mono_ns() - begun;
    s->finished++;
}

ParameterizedTestParameters(io_socket, event)
{
    return ways();
}

ParameterizedTest(enum way *way, io_socket, event)
{
    struct scene s;
    scene_open(&s, *way, 0);
    /* Set while somebody waits. */
    s.result = 1;
    cr_assert_eq(fiber_start(s.lane.fibers, event_waits, &s), 0);
    io_turn(s.lane.io, 0);
    cr_assert_eq(s.finished, 0);
    io_event_set(s.lane.io, &s.one);
    cr_assert_eq(s.finished, 0);
    io_turn(s.lane.io, -1);
    cr_assert_eq(s.finished, 1);
    cr_assert_eq(s.result, 0);
    cr_assert(!s.one.set && !s.one.waiter);
    /* Set before, twice: that is once. */
    io_event_set(s.lane.io, &s.one);
    io_event_set(s.lane.io, &s.one);
    lane_run(&s.lane, 1, event_waits, &s);
    cr_assert_eq(s.finished, 2);
    lane_run(&s.lane, 1, event_waits_short, &s);
    cr_assert_eq(s.result, -ETIMEDOUT);
    cr_assert(s.ns >= SHORT_NS);
    cr_assert_null(s.one.waiter);
    scene_close(&s);
}

/* ---- on the thread's own stack ---- */

#define DEEP 2000000 /* bytes: more than a fiber has */

/* Uses that much of the stack it runs on. */
static void use_stack(void *arg)
{
    struct scene *s = arg;
    volatile char deep[DEEP];
    for (size_t i = 0; i < DEEP; i += 4096) {
        deep[i] = (char)i;
    }
    s->result = fiber_self() == NULL ? deep[4096] : -1;
}

static void goes_outside(void *arg)
{
    struct scene *s = arg;
    for (int i = 0; i < 3; i++) {
        s->result = -1;
        io_outside(s->lane.io, use_stack, s);
        s->finished += s->result == 0 && fiber_self() != NULL;
    }
}

ParameterizedTestParameters(io_socket, outside)
{
    return ways();
}

ParameterizedTest(enum way *way, io_socket, outside)
{
    struct scene s;
    scene_open(&s, *way, 0);
    lane_run(&s.lane, 1, goes_outside, &s);
    cr_assert_eq(s.finished, 3);
    s.result = -1;
    io_outside(s.lane.io, use_stack, &s);
    cr_assert_eq(s.result, 0, "without a fiber it is called at once");
    scene_close(&s);
}

#define CROWD 500

struct crowd {
    struct lane lane;              /* io and fibers */
    struct io_event events[CROWD]; /* one each */
    unsigned order[CROWD];         /* who went on, in order */
    unsigned next;                 /* hands out numbers; then counts those that went on */
    unsigned gone;                 /* of order */
};

static void stand(void *arg)
{
    struct crowd *c = arg;
    unsigned n = c->next++;
    cr_assert_eq(io_event_wait(c->lane.io, &c->events[n], INT64_MAX), 0);
    c->order[c->gone++] = n;
}

/* Each goes on by its own event only, in the order in which they were set. */
Test(io_socket, event_each_its_own)
{
    struct crowd *c = calloc(1, sizeof(*c));
    lane_open(&c->lane, WAY_RING, 0);
    for (unsigned i = 0; i < CROWD; i++) {
        cr_assert_eq(fiber_start(c->lane.fibers, stand, c), 0);
    }
    for (unsigned i = 0; i < CROWD; i++) {
        io_event_set(c->lane.io, &c->events[i * 7 % CROWD]);
        if (i % 50 == 49) {
            io_turn(c->lane.io, -1);
            cr_assert_eq(c->gone, i + 1);
        }
    }
    lane_finish(&c->lane);
    for (unsigned i = 0; i < CROWD; i++) {
        cr_assert_eq(c->order[i], i * 7 % CROWD);
    }
    lane_close(&c->lane);
    free(c);
}

static struct fiber *whoever;

static void stand_lost(void *arg)
{
    struct crowd *c = arg;
    whoever = fiber_self();
    io_event_wait(c->lane.io, &c->events[0], INT64_MAX);
    cr_assert_fail("a fiber that was given up went on");
}

Test(io_socket, event_of_a_lost_fiber)
{
    struct crowd *c = calloc(1, sizeof(*c));
    lane_open(&c->lane, WAY_RING, 0);
    cr_assert_eq(fiber_start(c->lane.fibers, stand_lost, c), 0);
    fiber_abandon(whoever);
    io_event_set(c->lane.io, &c->events[0]);
    io_turn(c->lane.io, 0);
    cr_assert_null(c->events[0].waiter);
    lane_close(&c->lane);
    free(c);
}

static void step_aside(void *arg)
{
    struct crowd *c = arg;
    unsigned n = c->next++;
    io_yield(c->lane.io);
    c->order[c->gone++] = n;
}

ParameterizedTestParameters(io_socket, yields)
{
    return ways();
}

ParameterizedTest(enum way *way, io_socket, yields)
{
    struct crowd *c = calloc(1, sizeof(*c));
    lane_open(&c->lane, *way, 0);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(fiber_start(c->lane.fibers, step_aside, c), 0);
    }
    cr_assert_eq(c->gone, 0);
    io_turn(c->lane.io, -1);
    cr_assert_eq(c->gone, 10);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(c->order[i], i);
    }
    step_aside(c); /* outside of a fiber: nothing happens */
    cr_assert_eq(c->gone, 11);
    lane_close(&c->lane);
    free(c);
}

/* Goes on and on, each turn. */
static void go_on(void *arg)
{
    struct crowd *c = arg;
    for (unsigned i = 0; i < 8; i++) {
        io_event_wait(c->lane.io, &c->events[0], INT64_MAX);
        io_event_set(c->lane.io, &c->events[0]);
        c->next++;
        io_event_wait(c->lane.io, &c->events[1], INT64_MAX);
    }
}

static void step_aside_once(void *arg)
{
    struct crowd *c = arg;
    io_yield(c->lane.io);
    c->order[c->gone++] = c->next;
}

ParameterizedTestParameters(io_socket, yields_to_others)
{
    return ways();
}

/* Who steps aside goes on behind all that others begin meanwhile; but not for ever. */
ParameterizedTest(enum way *way, io_socket, yields_to_others)
{
    struct crowd *c = calloc(1, sizeof(*c));
    lane_open(&c->lane, *way, 0);
    cr_assert_eq(fiber_start(c->lane.fibers, step_aside_once, c), 0);
    io_event_set(c->lane.io, &c->events[0]);
    cr_assert_eq(fiber_start(c->lane.fibers, go_on, c), 0);
    for (unsigned turn = 0; turn < 7; turn++) {
        cr_assert_eq(c->gone, turn > 2, "after %u turns", turn);
        io_event_set(c->lane.io, &c->events[1]);
        io_turn(c->lane.io, -1);
    }
    cr_assert_eq(c->order[0], 4); /* once before the first turn */
    io_event_set(c->lane.io, &c->events[1]);
    io_turn(c->lane.io, -1);
    cr_assert_eq(c->next, 8);
    cr_assert_eq(fibers_alive(c->lane.fibers), 0);
    lane_close(&c->lane);
    free(c);
}
