/*
 * bench_nfsgen [options] HOST PORT PATH: publishes small files over NFSv4.1, each in one COMPOUND, and does nothing
 * else:
 *
 *   SEQUENCE PUTFH(dir) SAVEFH OPEN(CREATE, GUARDED4, temp name) WRITE(FILE_SYNC4) SETATTR(mode, times) VERIFY(size,
 * mode) CLOSE RESTOREFH RENAME(temp name -> name)
 *
 * No source is read, no answer looked at but for its status, nothing is repeated: the floor under a copier that speaks
 * to the server itself. One thread, a poll loop. PATH, as the server's pseudo root sees it, must exist; the directories
 * below it are made before the clock runs. No code of haul is in it.
 *
 *   --files N         (1000)
 *   --size BYTES      of each (8192)
 *   --dirs N          files are spread over so many directories, in runs (40)
 *   --slots N         at most so many COMPOUNDs in flight (64; the server may grant fewer)
 *   --connections N   of the one session (1)
 *   --reserved        from a port below 1024 (root)
 *
 * Prints one line: files, seconds, files/s, microseconds of processor a file, slots granted.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SLOTS_MAX 1024U
#define CONNS_MAX 16U
#define PIECES    384U         /* iovecs that one sendmsg takes */
#define ROOM      (64U * 1024) /* of replies that wait to be looked at */
#define FH_MAX    128U
#define HEAD_MAX  1024U
#define XID_SETUP 0x40000000U

/* Operations (RFC 8881, 16.2.3). */
enum op {
    OP_CLOSE = 4,
    OP_CREATE = 6,
    OP_GETFH = 10,
    OP_LOOKUP = 15,
    OP_OPEN = 18,
    OP_PUTFH = 22,
    OP_PUTROOTFH = 24,
    OP_RENAME = 29,
    OP_RESTOREFH = 31,
    OP_SAVEFH = 32,
    OP_SETATTR = 34,
    OP_VERIFY = 37,
    OP_WRITE = 38,
    OP_EXCHANGE_ID = 42,
    OP_CREATE_SESSION = 43,
    OP_DESTROY_SESSION = 44,
    OP_SEQUENCE = 53,
    OP_DESTROY_CLIENTID = 57,
    OP_RECLAIM_COMPLETE = 58
};

struct fh {
    uint32_t len;
    unsigned char data[FH_MAX];
};

/* XDR that is being written; the room is always enough, or the program ends. */
struct out {
    unsigned char *data;
    size_t len;
    size_t room;
};

/* A reply that is being read. */
struct in {
    const unsigned char *data;
    size_t len;
    size_t at;
};

struct slot {
    uint32_t seq;                 /* of the last request */
    bool busy;                    /* a request is out */
    unsigned char head[HEAD_MAX]; /* up to the data */
    unsigned char tail[HEAD_MAX]; /* behind them, padding first */
};

struct conn {
    int fd;
    struct iovec pieces[3 * SLOTS_MAX]; /* to be sent, from first to count */
    unsigned first;
    unsigned count;
    unsigned char *room; /* ROOM bytes */
    size_t have;         /* of them, not looked at */
};

struct gen {
    unsigned files;
    unsigned size;
    unsigned dirs;
    unsigned slots;
    unsigned conns;
    bool reserved;
    struct conn conn[CONNS_MAX];
    struct slot *slot;         /* slots of them */
    struct fh root;            /* PATH */
    struct fh *dir;            /* dirs of them */
    unsigned char *data;       /* size bytes */
    uint64_t client;           /* its id */
    uint32_t client_seq;       /* of CREATE_SESSION */
    unsigned char session[16]; /* its id */
    uint32_t setup_seq;        /* of slot 0 before the race */
    unsigned next;             /* file that nobody sent yet */
    unsigned done;             /* answered */
    uint64_t compounds;        /* sent, all told */
};

_Noreturn static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_nfsgen: %s: %s\n", what, why);
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_s(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6;
}

/* ---- XDR ---- */

static void put_raw(struct out *o, const void *data, size_t len)
{
    if (len > o->room - o->len) {
        die("request", "too long");
    }
    memcpy(o->data + o->len, data, len);
    o->len += len;
}

static void put_u32(struct out *o, uint32_t v)
{
    const unsigned char b[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8),
                                (unsigned char)v};
    put_raw(o, b, 4);
}

static void put_u64(struct out *o, uint64_t v)
{
    put_u32(o, (uint32_t)(v >> 32));
    put_u32(o, (uint32_t)v);
}

static void put_opaque(struct out *o, const void *data, size_t len)
{
    static const unsigned char zeros[4];
    put_u32(o, (uint32_t)len);
    put_raw(o, data, len);
    put_raw(o, zeros, (4 - len % 4) % 4);
}

static void put_text(struct out *o, const char *text)
{
    put_opaque(o, text, strlen(text));
}

static void need(const struct in *in, size_t len)
{
    if (len > in->len - in->at) {
        die("reply", "too short");
    }
}

static uint32_t get_u32(struct in *in)
{
    need(in, 4);
    const unsigned char *b = in->data + in->at;
    in->at += 4;
    return ((uint32_t)b[0] << 24) | ((uint32_t)b[1] << 16) | ((uint32_t)b[2] << 8) | b[3];
}

static uint64_t get_u64(struct in *in)
{
    uint64_t high = get_u32(in);
    return (high << 32) | get_u32(in);
}

static void get_raw(struct in *in, void *data, size_t len)
{
    need(in, len);
    if (data != NULL) {
        memcpy(data, in->data + in->at, len);
    }
    in->at += len;
}

static void skip_opaque(struct in *in)
{
    size_t len = get_u32(in);
    get_raw(in, NULL, (len + 3) / 4 * 4);
}

/* A reply, and not denied. */
static bool is_accepted(struct in *in)
{
    uint32_t type = get_u32(in);
    uint32_t denied = get_u32(in);
    return type == 1 && denied == 0;
}

/* ---- requests ---- */

/* Record mark (set by finish_call), call header, AUTH_SYS as root, COMPOUND of count operations. */
static void begin_call(struct out *o, uint32_t xid, uint32_t count)
{
    put_u32(o, 0);
    put_u32(o, xid);
    put_u32(o, 0); /* CALL */
    put_u32(o, 2);
    put_u32(o, 100003);
    put_u32(o, 4);
    put_u32(o, 1);  /* COMPOUND */
    put_u32(o, 1);  /* AUTH_SYS */
    put_u32(o, 28); /* its length */
    put_u32(o, 0);
    put_text(o, "nfsgen"); /* 4 + 8 */
    put_u32(o, (uint32_t)geteuid());
    put_u32(o, (uint32_t)getegid());
    put_u32(o, 0); /* no further groups */
    put_u64(o, 0); /* AUTH_NONE */
    put_u32(o, 0); /* no tag */
    put_u32(o, 1); /* minor version */
    put_u32(o, count);
}

static void set_mark(unsigned char *head, size_t record) // NOLINT(readability-non-const-parameter)
{
    struct out o = {.data = head, .room = 4};
    put_u32(&o, 0x80000000U | (uint32_t)(record - 4));
}

static void put_sequence(struct out *o, const struct gen *g, uint32_t slot, uint32_t seq)
{
    put_u32(o, OP_SEQUENCE);
    put_raw(o, g->session, 16);
    put_u32(o, seq);
    put_u32(o, slot);
    put_u32(o, g->slots - 1);
    put_u32(o, 1); /* keep the reply */
}

/* A call that is waited for; in begins behind the COMPOUND's count of results. Ends the program where it failed. */
static struct in call_now(struct gen *g, struct out *o, const char *what)
{
    struct conn *c = &g->conn[0];
    set_mark(o->data, o->len);
    g->compounds++;
    if (send(c->fd, o->data, o->len, MSG_NOSIGNAL) != (ssize_t)o->len) {
        die(what, strerror(errno));
    }
    size_t got = 0;
    size_t want = 4;
    while (got < want) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        ssize_t n = poll(&p, 1, 60000) == 1 ? recv(c->fd, c->room + got, want - got, 0) : -1;
        if (n <= 0) {
            die(what, "no answer");
        }
        got += (size_t)n;
        if (got == 4) {
            struct in mark = {.data = c->room, .len = 4};
            want = 4 + (get_u32(&mark) & 0x7fffffffU);
            if (want > ROOM) {
                die(what, "an answer too long");
            }
        }
    }
    struct in in = {.data = c->room, .len = got, .at = 8};
    if (!is_accepted(&in)) {
        die(what, "the call was denied");
    }
    get_u32(&in);
    skip_opaque(&in);
    uint32_t accepted = get_u32(&in);
    uint32_t status = accepted == 0 ? get_u32(&in) : 0;
    if (accepted != 0 || status != 0) {
        char text[64];
        snprintf(text, sizeof(text), "accept %" PRIu32 ", status %" PRIu32, accepted, status);
        die(what, text);
    }
    skip_opaque(&in);
    get_u32(&in);
    return in;
}

/* The result of an operation begins: its number and status are passed over. */
static void get_op(struct in *in)
{
    get_u32(in);
    if (get_u32(in) != 0) {
        die("operation", "failed");
    }
}

static void get_sequence(struct in *in)
{
    get_op(in);
    get_raw(in, NULL, 16 + 5 * 4);
}

static void put_channel(struct out *o, const struct gen *g)
{
    put_u32(o, 0);
    put_u32(o, 1U << 20 | 1U << 13);
    put_u32(o, 1U << 20 | 1U << 13);
    put_u32(o, 2048);
    put_u32(o, 64);
    put_u32(o, g->slots);
    put_u32(o, 0);
}

static void make_session(struct gen *g)
{
    unsigned char buf[HEAD_MAX];
    struct out o = {.data = buf, .room = sizeof(buf)};
    uint64_t verifier = 0;
    char owner[64];
    if (getrandom(&verifier, sizeof(verifier), 0) != (ssize_t)sizeof(verifier)) {
        die("getrandom", strerror(errno));
    }
    snprintf(owner, sizeof(owner), "nfsgen %" PRIu64, verifier);
    begin_call(&o, XID_SETUP, 1);
    put_u32(&o, OP_EXCHANGE_ID);
    put_u64(&o, verifier);
    put_text(&o, owner);
    put_u32(&o, 0x00010000); /* USE_NON_PNFS */
    put_u32(&o, 0);          /* SP4_NONE */
    put_u32(&o, 0);
    struct in in = call_now(g, &o, "EXCHANGE_ID");
    get_op(&in);
    g->client = get_u64(&in);
    g->client_seq = get_u32(&in);

    o.len = 0;
    begin_call(&o, XID_SETUP + 1, 1);
    put_u32(&o, OP_CREATE_SESSION);
    put_u64(&o, g->client);
    put_u32(&o, g->client_seq);
    put_u32(&o, 0);
    put_channel(&o, g);
    put_channel(&o, g);
    put_u32(&o, 0x40000000);
    put_u32(&o, 1);
    put_u32(&o, 0); /* AUTH_NONE */
    in = call_now(g, &o, "CREATE_SESSION");
    get_op(&in);
    get_raw(&in, g->session, 16);
    get_raw(&in, NULL, 2 * 4 + 5 * 4);
    uint32_t granted = get_u32(&in);
    g->slots = granted < g->slots ? granted : g->slots;

    o.len = 0;
    begin_call(&o, XID_SETUP + 2, 2);
    put_sequence(&o, g, 0, ++g->setup_seq);
    put_u32(&o, OP_RECLAIM_COMPLETE);
    put_u32(&o, 0);
    call_now(g, &o, "RECLAIM_COMPLETE");
}

static void get_fh(struct in *in, struct fh *fh)
{
    get_op(in);
    fh->len = get_u32(in);
    if (fh->len > FH_MAX) {
        die("GETFH", "a handle too long");
    }
    get_raw(in, fh->data, fh->len);
}

static void find_root(struct gen *g, char *path)
{
    unsigned char buf[HEAD_MAX];
    struct out o = {.data = buf, .room = sizeof(buf)};
    char *names[32];
    char *at = NULL;
    uint32_t count = 0;
    for (char *name = strtok_r(path, "/", &at); name != NULL && count < 32; name = strtok_r(NULL, "/", &at)) {
        names[count++] = name;
    }
    begin_call(&o, XID_SETUP + 3, count + 3);
    put_sequence(&o, g, 0, ++g->setup_seq);
    put_u32(&o, OP_PUTROOTFH);
    for (uint32_t i = 0; i < count; i++) {
        put_u32(&o, OP_LOOKUP);
        put_text(&o, names[i]);
    }
    put_u32(&o, OP_GETFH);
    struct in in = call_now(g, &o, "LOOKUP of PATH");
    get_sequence(&in);
    for (uint32_t i = 0; i < count + 1; i++) {
        get_op(&in);
    }
    get_fh(&in, &g->root);
}

static void put_mode(struct out *o, uint32_t mode)
{
    put_u32(o, 2);
    put_u32(o, 0);
    put_u32(o, 1U << 1);
    put_u32(o, 4);
    put_u32(o, mode);
}

static void make_dirs(struct gen *g)
{
    for (unsigned i = 0; i < g->dirs; i++) {
        unsigned char buf[HEAD_MAX];
        char name[32];
        struct out o = {.data = buf, .room = sizeof(buf)};
        snprintf(name, sizeof(name), "d%04u", i);
        begin_call(&o, XID_SETUP + 4 + i, 4);
        put_sequence(&o, g, 0, ++g->setup_seq);
        put_u32(&o, OP_PUTFH);
        put_opaque(&o, g->root.data, g->root.len);
        put_u32(&o, OP_CREATE);
        put_u32(&o, 2); /* NF4DIR */
        put_text(&o, name);
        put_mode(&o, 0755);
        put_u32(&o, OP_GETFH);
        struct in in = call_now(g, &o, "CREATE of a directory");
        get_sequence(&in);
        get_op(&in);
        get_op(&in);
        get_raw(&in, NULL, 4 + 8 + 8);
        size_t words = get_u32(&in);
        get_raw(&in, NULL, words * 4);
        get_fh(&in, &g->dir[i]);
    }
}

static void put_current_stateid(struct out *o)
{
    put_u32(o, 1);
    put_u64(o, 0);
    put_u32(o, 0);
}

/* Everything before the data of file number n, and everything behind them. */
static void build(const struct gen *g, uint32_t slot, unsigned n, struct out *head, struct out *tail)
{
    const struct fh *dir = &g->dir[(unsigned)((uint64_t)n * g->dirs / g->files)];
    char temp[32];
    char name[32];
    snprintf(temp, sizeof(temp), ".tmp.%06u", n);
    snprintf(name, sizeof(name), "f%06u", n);
    begin_call(head, slot, 10);
    put_sequence(head, g, slot, g->slot[slot].seq);
    put_u32(head, OP_PUTFH);
    put_opaque(head, dir->data, dir->len);
    put_u32(head, OP_SAVEFH);
    put_u32(head, OP_OPEN);
    put_u32(head, 0);
    put_u32(head, 2 | 0x400); /* WRITE, WANT_NO_DELEG */
    put_u32(head, 0);
    put_u64(head, g->client);
    put_text(head, "owner");
    put_u32(head, 1); /* OPEN4_CREATE */
    put_u32(head, 1); /* GUARDED4 */
    put_mode(head, 0600);
    put_u32(head, 0); /* CLAIM_NULL */
    put_text(head, temp);
    put_u32(head, OP_WRITE);
    put_current_stateid(head);
    put_u64(head, 0);
    put_u32(head, 2); /* FILE_SYNC4 */
    put_u32(head, g->size);

    static const unsigned char zeros[4];
    put_raw(tail, zeros, (4 - g->size % 4) % 4);
    put_u32(tail, OP_SETATTR);
    put_current_stateid(tail);
    put_u32(tail, 2);
    put_u32(tail, 0);
    put_u32(tail, 1U << 1 | 1U << 22); /* mode, time_modify_set */
    put_u32(tail, 4 + 16);
    put_u32(tail, 0644);
    put_u32(tail, 1); /* the client's time */
    put_u64(tail, 1000000000U + n);
    put_u32(tail, 123456789);
    put_u32(tail, OP_VERIFY);
    put_u32(tail, 2);
    put_u32(tail, 1U << 4); /* size */
    put_u32(tail, 1U << 1); /* mode */
    put_u32(tail, 12);
    put_u64(tail, g->size);
    put_u32(tail, 0644);
    put_u32(tail, OP_CLOSE);
    put_u32(tail, 0);
    put_current_stateid(tail);
    put_u32(tail, OP_RESTOREFH);
    put_u32(tail, OP_RENAME);
    put_text(tail, temp);
    put_text(tail, name);
}

/* ---- the race ---- */

static void queue_piece(struct conn *c, void *data, size_t len)
{
    c->pieces[c->count++] = (struct iovec){.iov_base = data, .iov_len = len};
}

static void send_file(struct gen *g, uint32_t i)
{
    struct slot *s = &g->slot[i];
    struct conn *c = &g->conn[i % g->conns];
    struct out head = {.data = s->head, .room = sizeof(s->head)};
    struct out tail = {.data = s->tail, .room = sizeof(s->tail)};
    s->seq++;
    s->busy = true;
    build(g, i, g->next++, &head, &tail);
    set_mark(s->head, head.len + g->size + tail.len);
    if (c->count + 3 > 3 * SLOTS_MAX) {
        memmove(c->pieces, c->pieces + c->first, (c->count - c->first) * sizeof(*c->pieces));
        c->count -= c->first;
        c->first = 0;
    }
    queue_piece(c, s->head, head.len);
    queue_piece(c, g->data, g->size);
    queue_piece(c, s->tail, tail.len);
    g->compounds++;
}

/* Sends as much as the socket takes. */
static void flush(struct conn *c)
{
    while (c->first < c->count) {
        unsigned count = c->count - c->first;
        struct msghdr message = {.msg_iov = c->pieces + c->first, .msg_iovlen = count < PIECES ? count : PIECES};
        ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n < 0) {
            die("send", strerror(errno));
        }
        for (size_t left = (size_t)n; left > 0;) {
            struct iovec *piece = &c->pieces[c->first];
            size_t part = left < piece->iov_len ? left : piece->iov_len;
            piece->iov_base = (char *)piece->iov_base + part;
            piece->iov_len -= part;
            left -= part;
            c->first += piece->iov_len == 0;
        }
    }
    c->first = c->count = 0;
}

/* One whole reply. */
static void answered(struct gen *g, struct in in)
{
    uint32_t slot = get_u32(&in);
    if (slot >= g->slots || !g->slot[slot].busy || !is_accepted(&in)) {
        die("reply", "of nobody's call, or denied");
    }
    get_u32(&in);
    skip_opaque(&in);
    uint32_t accepted = get_u32(&in);
    uint32_t status = get_u32(&in);
    skip_opaque(&in);
    uint32_t results = get_u32(&in);
    if (accepted != 0 || status != 0 || results != 10) {
        char text[96];
        snprintf(text, sizeof(text), "accept %" PRIu32 ", status %" PRIu32 " after %" PRIu32 " results", accepted,
                 status, results);
        die("COMPOUND", text);
    }
    g->slot[slot].busy = false;
    g->done++;
    if (g->next < g->files) {
        send_file(g, slot);
    }
}

static void receive(struct gen *g, struct conn *c)
{
    ssize_t n = recv(c->fd, c->room + c->have, ROOM - c->have, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        die("receive", n == 0 ? "connection closed" : strerror(errno));
    }
    c->have += (size_t)n;
    size_t at = 0;
    while (c->have - at >= 4) {
        struct in mark = {.data = c->room + at, .len = 4};
        size_t len = get_u32(&mark) & 0x7fffffffU;
        if (len + 4 > ROOM) {
            die("reply", "too long");
        }
        if (c->have - at - 4 < len) {
            break;
        }
        answered(g, (struct in){.data = c->room + at + 4, .len = len});
        at += 4 + len;
    }
    memmove(c->room, c->room + at, c->have - at);
    c->have -= at;
}

static void race(struct gen *g)
{
    for (uint32_t i = 0; i < g->slots && g->next < g->files; i++) {
        send_file(g, i);
    }
    while (g->done < g->files) {
        struct pollfd fds[CONNS_MAX];
        for (unsigned i = 0; i < g->conns; i++) {
            flush(&g->conn[i]);
            short more = g->conn[i].first < g->conn[i].count ? POLLOUT : 0;
            fds[i] = (struct pollfd){.fd = g->conn[i].fd, .events = (short)(POLLIN | more)};
        }
        if (poll(fds, g->conns, 60000) <= 0) {
            die("poll", "no answer for 60 s");
        }
        for (unsigned i = 0; i < g->conns; i++) {
            if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
                receive(g, &g->conn[i]);
            }
        }
    }
}

static void end_session(struct gen *g)
{
    unsigned char buf[HEAD_MAX];
    struct out o = {.data = buf, .room = sizeof(buf)};
    begin_call(&o, XID_SETUP, 1);
    put_u32(&o, OP_DESTROY_SESSION);
    put_raw(&o, g->session, 16);
    call_now(g, &o, "DESTROY_SESSION");
    o.len = 0;
    begin_call(&o, XID_SETUP + 1, 1);
    put_u32(&o, OP_DESTROY_CLIENTID);
    put_u64(&o, g->client);
    call_now(g, &o, "DESTROY_CLIENTID");
}

/* ---- connections ---- */

static int bind_reserved(int fd, int family)
{
    for (int port = 1023; port >= 512; port--) {
        struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        int ret = family == AF_INET6 ? bind(fd, (struct sockaddr *)&six, sizeof(six))
                                     : bind(fd, (struct sockaddr *)&four, sizeof(four));
        if (ret == 0 || errno != EADDRINUSE) {
            return ret;
        }
    }
    return -1;
}

static int connect_to(const char *host, const char *port, bool reserved)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const int on = 1;
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        die(host, "no such host");
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || (reserved && bind_reserved(fd, found->ai_family) < 0) ||
        connect(fd, found->ai_addr, found->ai_addrlen) < 0) {
        die(host, strerror(errno));
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    freeaddrinfo(found);
    return fd;
}

static void parse(struct gen *g, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        unsigned value = more ? (unsigned)strtoul(argv[i + 1], NULL, 10) : 0;
        if (strcmp(argv[i], "--reserved") == 0) {
            g->reserved = true;
            continue;
        }
        if (more && strcmp(argv[i], "--files") == 0) {
            g->files = value;
        } else if (more && strcmp(argv[i], "--size") == 0) {
            g->size = value;
        } else if (more && strcmp(argv[i], "--dirs") == 0) {
            g->dirs = value;
        } else if (more && strcmp(argv[i], "--slots") == 0) {
            g->slots = value;
        } else if (more && strcmp(argv[i], "--connections") == 0) {
            g->conns = value;
        } else {
            die(argv[i], "no such option");
        }
        i++;
    }
    if (g->files == 0 || g->files > 1000000 || g->size > (1U << 20) || g->dirs == 0 || g->slots == 0 ||
        g->slots > SLOTS_MAX || g->conns == 0 || g->conns > CONNS_MAX) {
        die("options", "a number is out of range");
    }
}

int main(int argc, char **argv)
{
    static struct gen g = {.files = 1000, .size = 8192, .dirs = 40, .slots = 64, .conns = 1};
    if (argc < 4) {
        fprintf(stderr, "usage: bench_nfsgen [--files N] [--size BYTES] [--dirs N] [--slots N] [--connections N] "
                        "[--reserved] HOST PORT PATH\n");
        return 2;
    }
    parse(&g, argc - 3, argv);
    g.data = malloc(g.size + 1U);
    g.dir = calloc(g.dirs, sizeof(*g.dir));
    g.slot = calloc(g.slots, sizeof(*g.slot));
    if (g.data == NULL || g.dir == NULL || g.slot == NULL) {
        die("memory", strerror(errno));
    }
    for (size_t at = 0; at < g.size; at += 256) {
        size_t part = g.size - at < 256 ? g.size - at : 256;
        if (getrandom(g.data + at, part, 0) != (ssize_t)part) {
            die("getrandom", strerror(errno));
        }
    }
    for (unsigned i = 0; i < g.conns; i++) {
        g.conn[i].fd = connect_to(argv[argc - 3], argv[argc - 2], g.reserved);
        g.conn[i].room = malloc(ROOM);
        if (g.conn[i].room == NULL) {
            die("memory", strerror(errno));
        }
    }
    make_session(&g);
    find_root(&g, argv[argc - 1]);
    make_dirs(&g);
    g.slot[0].seq = g.setup_seq;
    double cpu = cpu_s();
    double begin = now_s();
    race(&g);
    double seconds = now_s() - begin;
    cpu = cpu_s() - cpu;
    end_session(&g);
    printf("files %u seconds %.3f files_per_s %.0f cpu_us %.1f slots %u compounds %" PRIu64 "\n", g.files, seconds,
           g.files / seconds, cpu * 1e6 / g.files, g.slots, g.compounds);
    return 0;
}
