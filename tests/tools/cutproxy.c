/*
 * cutproxy [options] PORT            a TCP proxy on 127.0.0.1 before 127.0.0.1:PORT that delays, cuts and goes
 *                                    quiet when it is told to, and counts what passes
 * cutproxy --tell SOCKET COMMAND...  gives a running one a command and prints its answer; exit 1: it was refused
 *
 *   --listen N       its own port (0: a free one). It is printed, alone on the first line of standard output
 *   --control PATH   a Unix socket for --tell
 *   --do COMMAND     a command to begin with; more than one may be given
 *
 * Commands; "up" is from the client to the server:
 *
 *   rtt T            T (10ms, 500us, 0) of round trip, half of it each way. Bytes queue while they are delayed, so
 *                    that only latency suffers, not throughput
 *   delay up|down T  one way only
 *   cut DIR WHERE N UNIT [of K | of each] [times T] [silent] [all]
 *                    resets a connection (RST to both sides). DIR: up or down. UNIT: bytes, or records (RPC
 *                    messages, by their record marks). WHERE:
 *                      before  unit N does not pass, all before it does
 *                      within  half of record N passes
 *                      after   unit N passes, nothing behind it does. After bytes sent up the server's side stays
 *                              open for a second, so that it acts; its answer is thrown away
 *                    Units are counted over all connections from now on; "of 3": on the third connection from now
 *                    on alone; "of each": on each connection by itself. A cut is made once, or T times (0: always).
 *                    silent: instead of a reset, nothing passes any more, either way, and nobody is told. all: not
 *                    only that connection, every open one
 *   reset            resets all connections now
 *   silence          from now on nothing passes on any connection, old or new; what comes is swallowed
 *   refuse           new connections are reset at once
 *   heal             no silence, no refusal, no cuts to come; what was silent is reset
 *   target PORT      new connections go there
 *   stats            "name value" lines: connections, open, up_bytes, up_records, down_bytes, down_records, rounds,
 *                    cuts, swallowed_bytes, refused. rounds: how often something came up when all records before it,
 *                    of any connection, had been answered. An answer counts when it comes, so delay up alone then;
 *                    says nothing once records were lost
 *   zero             counts from 0 again
 *
 * A record counts when its last byte has been read. No code of haul is in it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/tools/cutrules.h"

#define CONNS_MAX 256
#define WORDS_MAX 16
#define LINE_ROOM 1024
#define CHUNK     (256U * 1024)
#define QUEUE_MAX (64U * 1024 * 1024) /* bytes that wait in one direction of one connection */
#define LINGER_NS 1000000000LL        /* the server's side after a cut behind what was sent up */
#define UP        CUT_UP
#define DOWN      CUT_DOWN
#define NEVER     INT64_MAX

/* What was read in one go, on its way. */
struct chunk {
    struct chunk *next;
    int64_t due; /* ns: not passed on before */
    size_t len;
    size_t at; /* bytes that were passed on */
    unsigned char data[];
};

/* One direction of one connection. */
struct stream {
    struct chunk *head;
    struct chunk **tail;
    size_t queued; /* bytes in chunks */
    struct cut_stream passed;
    bool eof;        /* the sender has ended */
    bool shut;       /* and the receiver knows */
    bool cut;        /* nothing more is taken; when all that is queued has passed, the cut is made */
    bool cut_gently; /* the server's side stays open for a while */
};

struct conn {
    int fd[2];            /* of the client, of the server; -1: closed */
    struct stream dir[2]; /* dir[d] is read from fd[d], written to fd[1 - d] */
    unsigned number;      /* from 1, since the start */
    bool silent;          /* what comes is swallowed */
    int64_t linger;       /* ns: the server's side is closed then; 0: not lingering */
};

struct proxy {
    int listener;
    int control;      /* -1: none */
    uint16_t target;  /* port of the server */
    int64_t delay[2]; /* ns, by direction */
    struct cut_rules rules;
    struct conn *conns[CONNS_MAX]; /* NULL: free */
    struct cut_tally zero[2];      /* what had passed at "zero" */
    unsigned accepted;             /* connections since the start */
    unsigned accepted_zero;        /* at "zero" */
    uint64_t rounds;               /* see stats */
    uint64_t cuts;                 /* rules that were carried out */
    uint64_t swallowed;            /* bytes */
    uint64_t refused;              /* connections */
    bool silence;                  /* everything is swallowed */
    bool refuse;                   /* new connections are reset */
    unsigned char *buffer;         /* CHUNK bytes */
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "cutproxy: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* ---- connections ---- */

static void close_hard(int *fd)
{
    if (*fd >= 0) {
        const struct linger hard = {.l_onoff = 1, .l_linger = 0};
        setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(*fd);
        *fd = -1;
    }
}

static void drop_queue(struct stream *s)
{
    while (s->head != NULL) {
        struct chunk *c = s->head;
        s->head = c->next;
        free(c);
    }
    s->tail = &s->head;
    s->queued = 0;
}

static void conn_reset(struct conn *c)
{
    close_hard(&c->fd[0]);
    close_hard(&c->fd[1]);
}

/* The client is reset, the server not yet. */
static void conn_part(struct conn *c)
{
    close_hard(&c->fd[0]);
    drop_queue(&c->dir[UP]);
    drop_queue(&c->dir[DOWN]);
    c->linger = now_ns() + LINGER_NS;
}

static void conn_free(struct proxy *p, unsigned i)
{
    struct conn *c = p->conns[i];
    conn_reset(c);
    drop_queue(&c->dir[UP]);
    drop_queue(&c->dir[DOWN]);
    free(c);
    p->conns[i] = NULL;
}

static int connect_target(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket");
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void set_up(int fd)
{
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void accept_one(struct proxy *p)
{
    int client = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) {
        return;
    }
    unsigned i = 0;
    while (i < CONNS_MAX && p->conns[i] != NULL) {
        i++;
    }
    int server = p->refuse || i == CONNS_MAX ? -1 : connect_target(p->target);
    if (server < 0) {
        p->refused++;
        close_hard(&client);
        return;
    }
    struct conn *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        die("memory");
    }
    set_up(client);
    set_up(server);
    c->fd[0] = client;
    c->fd[1] = server;
    c->dir[UP].tail = &c->dir[UP].head;
    c->dir[DOWN].tail = &c->dir[DOWN].head;
    c->number = ++p->accepted;
    p->conns[i] = c;
}

/* ---- rules ---- */
/* ---- bytes ---- */

static void strike(struct proxy *p, struct conn *c, struct cut_rule *r)
{
    p->cuts++;
    for (unsigned i = 0; r->all && i < CONNS_MAX; i++) {
        struct conn *other = p->conns[i];
        if (other != NULL && other != c && other->linger == 0) {
            other->silent = other->silent || r->silent;
            other->dir[UP].cut = other->dir[UP].cut || !r->silent;
        }
    }
    if (r->silent) {
        c->silent = true;
    } else {
        c->dir[r->dir].cut = true;
        c->dir[r->dir].cut_gently = r->dir == UP && r->where == CUT_AFTER;
    }
    cut_done(r);
}

static void enqueue(struct proxy *p, struct stream *s, unsigned d, const unsigned char *data, size_t len)
{
    if (len == 0) {
        return;
    }
    struct chunk *chunk = malloc(sizeof(*chunk) + len);
    if (chunk == NULL) {
        die("memory");
    }
    chunk->next = NULL;
    chunk->due = now_ns() + p->delay[d];
    chunk->len = len;
    chunk->at = 0;
    memcpy(chunk->data, data, len);
    *s->tail = chunk;
    s->tail = &chunk->next;
    s->queued += len;
}

/* Something can be read. */
static void read_some(struct proxy *p, struct conn *c, unsigned d)
{
    struct stream *s = &c->dir[d];
    ssize_t n = read(c->fd[d], p->buffer, CHUNK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n < 0) {
        conn_reset(c);
        return;
    }
    if (n == 0) {
        s->eof = true;
        if (c->silent || p->silence || c->linger != 0) {
            conn_reset(c);
        }
        return;
    }
    if (c->silent || p->silence || c->linger != 0 || c->dir[UP].cut || c->dir[DOWN].cut) {
        p->swallowed += (uint64_t)n;
        return;
    }
    struct cut_rule *rule = NULL;
    const struct cut_tally *total = p->rules.total;
    uint64_t before = total[UP].records;
    size_t passed = cut_take(&p->rules, &s->passed, d, c->number, p->buffer, (size_t)n, &rule);
    p->rounds += total[UP].records > before && before == total[DOWN].records;
    enqueue(p, s, d, p->buffer, passed);
    if (rule != NULL) {
        p->swallowed += (uint64_t)n - passed;
        strike(p, c, rule);
    }
}

/* Passes on what is due. */
static void write_some(struct conn *c, unsigned d)
{
    struct stream *s = &c->dir[d];
    int64_t now = now_ns();
    while (s->head != NULL && s->head->due <= now && c->fd[1 - d] >= 0) {
        struct chunk *chunk = s->head;
        ssize_t n = send(c->fd[1 - d], chunk->data + chunk->at, chunk->len - chunk->at, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n < 0) {
            conn_reset(c);
            return;
        }
        chunk->at += (size_t)n;
        s->queued -= (size_t)n;
        if (chunk->at == chunk->len) {
            s->head = chunk->next;
            s->tail = s->head == NULL ? &s->head : s->tail;
            free(chunk);
        }
    }
}

/* Whether the peer's kernel has all that was written to it. */
static bool arrived(int fd)
{
    int unsent = 0;
    return fd < 0 || ioctl(fd, SIOCOUTQ, &unsent) < 0 || unsent == 0;
}

/* Ends and cuts, once what stands before them has passed. */
static void settle(struct conn *c, unsigned d)
{
    struct stream *s = &c->dir[d];
    if (s->head != NULL || c->fd[1 - d] < 0) {
        return;
    }
    if (s->cut && arrived(c->fd[1 - d])) {
        if (s->cut_gently) {
            conn_part(c);
        } else {
            conn_reset(c);
        }
    } else if (s->eof && !s->shut) {
        s->shut = true;
        shutdown(c->fd[1 - d], SHUT_WR);
    }
}

static bool is_over(const struct conn *c, int64_t now)
{
    return (c->fd[0] < 0 && c->fd[1] < 0) || (c->dir[UP].shut && c->dir[DOWN].shut) ||
           (c->linger != 0 && c->linger <= now);
}

/* ---- commands ---- */

static bool parse_time(const char *text, int64_t *out_ns)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || value < 0) {
        return false;
    }
    if (strcmp(end, "us") == 0) {
        *out_ns = (int64_t)(value * 1e3);
    } else if (strcmp(end, "ms") == 0) {
        *out_ns = (int64_t)(value * 1e6);
    } else if (strcmp(end, "s") == 0) {
        *out_ns = (int64_t)(value * 1e9);
    } else {
        *out_ns = 0;
        return value == 0 && *end == '\0';
    }
    return true;
}

static void reset_all(struct proxy *p, bool silent_only)
{
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        if (p->conns[i] != NULL && (!silent_only || p->silence || p->conns[i]->silent)) {
            conn_reset(p->conns[i]);
        }
    }
}

static void put_stats(const struct proxy *p, char *answer, size_t size)
{
    unsigned open = 0;
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        open += p->conns[i] != NULL && p->conns[i]->linger == 0 && p->conns[i]->fd[0] >= 0;
    }
    snprintf(answer, size,
             "connections %u\nopen %u\nup_bytes %" PRIu64 "\nup_records %" PRIu64 "\ndown_bytes %" PRIu64
             "\ndown_records %" PRIu64 "\nrounds %" PRIu64 "\ncuts %" PRIu64 "\nswallowed_bytes %" PRIu64
             "\nrefused %" PRIu64 "\n",
             p->accepted - p->accepted_zero, open, p->rules.total[UP].bytes - p->zero[UP].bytes,
             p->rules.total[UP].records - p->zero[UP].records, p->rules.total[DOWN].bytes - p->zero[DOWN].bytes,
             p->rules.total[DOWN].records - p->zero[DOWN].records, p->rounds, p->cuts, p->swallowed, p->refused);
}

static void zero(struct proxy *p)
{
    p->zero[UP] = p->rules.total[UP];
    p->zero[DOWN] = p->rules.total[DOWN];
    p->accepted_zero = p->accepted;
    p->rounds = p->cuts = p->swallowed = p->refused = 0;
}

static bool command_words(struct proxy *p, char **words, unsigned count, char *answer, size_t size)
{
    const char *name = count > 0 ? words[0] : "";
    int64_t ns = 0;
    uint64_t number = 0;
    unsigned d = 0;
    if (strcmp(name, "cut") == 0) {
        return cut_add(&p->rules, words + 1, count - 1, p->accepted);
    }
    if (strcmp(name, "rtt") == 0 && count == 2 && parse_time(words[1], &ns)) {
        p->delay[UP] = ns / 2;
        p->delay[DOWN] = ns - ns / 2;
    } else if (strcmp(name, "delay") == 0 && count == 3 && cut_parse_dir(words[1], &d) && parse_time(words[2], &ns)) {
        p->delay[d] = ns;
    } else if (strcmp(name, "target") == 0 && count == 2 && cut_parse_number(words[1], &number) && number < 65536) {
        p->target = (uint16_t)number;
    } else if (strcmp(name, "reset") == 0) {
        reset_all(p, false);
    } else if (strcmp(name, "silence") == 0) {
        p->silence = true;
    } else if (strcmp(name, "refuse") == 0) {
        p->refuse = true;
    } else if (strcmp(name, "heal") == 0) {
        reset_all(p, true);
        p->silence = p->refuse = false;
        memset(p->rules.rule, 0, sizeof(p->rules.rule));
    } else if (strcmp(name, "stats") == 0) {
        put_stats(p, answer, size);
    } else if (strcmp(name, "zero") == 0) {
        zero(p);
    } else {
        return false;
    }
    return true;
}

/* line is cut into its words. */
static bool command(struct proxy *p, char *line, char *answer, size_t size)
{
    char *words[WORDS_MAX];
    char *at = NULL;
    unsigned count = 0;
    for (char *word = strtok_r(line, " \n", &at); word != NULL; word = strtok_r(NULL, " \n", &at)) {
        if (count == WORDS_MAX) {
            return false;
        }
        words[count++] = word;
    }
    answer[0] = '\0';
    return command_words(p, words, count, answer, size);
}

/* One who tells a command: a line, answered with "ok" and what there is to say, or "refused". */
static void serve_control(struct proxy *p)
{
    char line[LINE_ROOM];
    char answer[LINE_ROOM];
    int fd = accept4(p->control, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    size_t got = 0;
    while (got < sizeof(line) - 1) {
        ssize_t n = read(fd, line + got, sizeof(line) - 1 - got);
        if (n <= 0) {
            break;
        }
        got += (size_t)n;
        if (line[got - 1] == '\n') {
            break;
        }
    }
    line[got] = '\0';
    bool well = command(p, line, answer, sizeof(answer));
    dprintf(fd, "%s%s", well ? "ok\n" : "refused\n", well ? answer : "");
    close(fd);
}

static int control_address(const char *path, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(out->sun_path)) {
        errno = ENAMETOOLONG;
        die(path);
    }
    memcpy(out->sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket");
    }
    return fd;
}

static int tell(int argc, char **argv)
{
    struct sockaddr_un address;
    char line[LINE_ROOM] = "";
    int fd = control_address(argv[0], &address);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        die(argv[0]);
    }
    size_t len = 0;
    for (int i = 1; i < argc && len < sizeof(line); i++) {
        len += (size_t)snprintf(line + len, sizeof(line) - len, "%s%s", argv[i], i + 1 < argc ? " " : "\n");
    }
    if (len >= sizeof(line) || write(fd, line, len) != (ssize_t)len) {
        die("command");
    }
    FILE *in = fdopen(fd, "re");
    if (in == NULL || fgets(line, sizeof(line), in) == NULL || strcmp(line, "ok\n") != 0) {
        fprintf(stderr, "cutproxy: the command was refused\n");
        return 1;
    }
    while (fgets(line, sizeof(line), in) != NULL) {
        fputs(line, stdout);
    }
    fclose(in);
    return 0;
}

/* ---- the loop ---- */

struct watched {
    struct pollfd fds[2 + 2 * CONNS_MAX];
    nfds_t count;
    int64_t wake; /* ns: something is due then */
};

static void watch_conn(struct watched *w, const struct conn *c, bool swallow)
{
    for (unsigned side = 0; side < 2; side++) {
        const struct stream *in = &c->dir[side];
        const struct stream *out = &c->dir[1 - side];
        struct pollfd *fd = &w->fds[w->count++];
        bool cut = in->cut || out->cut;
        bool take_more = c->linger != 0 || c->silent || swallow || (!cut && in->queued < QUEUE_MAX);
        fd->fd = c->fd[side];
        fd->revents = 0;
        fd->events = (short)(take_more && !in->eof ? POLLIN : 0);
        if (out->head != NULL && out->head->due <= now_ns()) {
            fd->events = (short)(fd->events | POLLOUT);
        } else if (out->head != NULL && out->head->due < w->wake) {
            w->wake = out->head->due;
        }
        if (fd->events == 0) {
            fd->fd = -1; /* an error on it shows with the next read or write */
        }
        if (out->cut && out->head == NULL) {
            int64_t soon = now_ns() + 200000; /* until the kernel has sent it */
            w->wake = soon < w->wake ? soon : w->wake;
        }
    }
    if (c->linger != 0 && c->linger < w->wake) {
        w->wake = c->linger;
    }
}

static void wait_for_something(struct proxy *p, struct watched *w)
{
    w->count = 0;
    w->wake = NEVER;
    w->fds[w->count++] = (struct pollfd){.fd = p->listener, .events = POLLIN};
    w->fds[w->count++] = (struct pollfd){.fd = p->control, .events = POLLIN};
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        if (p->conns[i] != NULL) {
            watch_conn(w, p->conns[i], p->silence);
        }
    }
    struct timespec t;
    struct timespec *limit = NULL;
    if (w->wake != NEVER) {
        int64_t left = w->wake - now_ns();
        left = left > 0 ? left : 0;
        t = (struct timespec){.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        limit = &t;
    }
    if (ppoll(w->fds, w->count, limit, NULL) < 0 && errno != EINTR) {
        die("poll");
    }
}

static void turn(struct proxy *p, struct watched *w)
{
    wait_for_something(p, w);
    nfds_t at = 2;
    for (unsigned i = 0; i < CONNS_MAX; i++) {
        struct conn *c = p->conns[i];
        if (c == NULL) {
            continue;
        }
        for (unsigned side = 0; side < 2; side++) {
            if ((w->fds[at++].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && c->fd[side] >= 0) {
                read_some(p, c, side);
            }
        }
        for (unsigned d = 0; d < 2 && c->linger == 0; d++) {
            write_some(c, d);
            settle(c, d);
        }
        if (is_over(c, now_ns())) {
            conn_free(p, i);
        }
    }
    if ((w->fds[0].revents & POLLIN) != 0) {
        accept_one(p);
    }
    if ((w->fds[1].revents & POLLIN) != 0) {
        serve_control(p);
    }
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 128) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) < 0) {
        die("listen");
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static int control_on(const char *path)
{
    struct sockaddr_un address;
    int fd = control_address(path, &address);
    unlink(path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0) {
        die(path);
    }
    return fd;
}

_Noreturn static void usage(void)
{
    fprintf(stderr, "usage: cutproxy [--listen N] [--control PATH] [--do COMMAND]... PORT\n"
                    "       cutproxy --tell SOCKET COMMAND...\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static struct proxy p = {.control = -1};
    static struct watched w;
    char answer[LINE_ROOM];
    uint64_t port = 0;
    uint64_t target = 0;
    if (argc > 3 && strcmp(argv[1], "--tell") == 0) {
        return tell(argc - 2, argv + 2);
    }
    int i = 1;
    for (; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--control") == 0) {
            p.control = control_on(argv[i + 1]);
        } else if (strcmp(argv[i], "--listen") == 0 && cut_parse_number(argv[i + 1], &port) && port < 65536) {
            continue;
        } else if (strcmp(argv[i], "--do") != 0 || !command(&p, argv[i + 1], answer, sizeof(answer))) {
            usage();
        }
    }
    if (i + 1 != argc || !cut_parse_number(argv[i], &target) || target == 0 || target > 65535) {
        usage();
    }
    signal(SIGPIPE, SIG_IGN);
    p.target = (uint16_t)target;
    p.buffer = malloc(CHUNK);
    if (p.buffer == NULL) {
        die("memory");
    }
    p.listener = listen_on((uint16_t)port);
    for (;;) {
        turn(&p, &w);
    }
}
