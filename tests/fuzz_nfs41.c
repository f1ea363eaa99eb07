/*
 * fuzz_nfs41: what a server sends, through all that reads it: record marks, RPC, the COMPOUND, the result of every
 * operation, attributes, directories. The input is the stream of one connection as it comes from the server.
 *
 * Two programs come of this file. With clang's libFuzzer (preset fuzz, tests/fuzz) it is a fuzz target. Else main()
 * below replays a corpus, each file as it is, cut short anywhere, and with each word exchanged for others: what the
 * sanitizers see without clang.
 *
 * Its first words of the reply (xid) are those of the call, whatever they are. The reply is in memory that ends where
 * it ends.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/stores/nfs41/ops.h"
#include "workers/stores/nfs41/rpc.h"
#include "workers/stores/nfs41/session_internal.h"

#define REPLY_MAX 65536             /* bytes of a reply */
#define SINK_SIZE 4096              /* bytes of a READ that go where they are wanted */
#define WAIT_NS   (60 * NS_PER_SEC) /* for one input: never over, however busy the machine; libFuzzer gives up before */

/* What all inputs share. */
struct fuzz {
    struct io *io;
    int listener;
    struct sockaddr_in address;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void die(const char *what)
{
    perror(what);
    abort();
}

/* What is found wrong: the fuzzer sees an abort. */
static void demand(bool right, const char *what)
{
    if (!right) {
        fprintf(stderr, "fuzz_nfs41: %s\n", what);
        abort();
    }
}

static struct fuzz *the_fuzz(void)
{
    static struct fuzz f = {.listener = -1};
    const struct io_options direct = {.no_ring = true};
    socklen_t len = sizeof(f.address);

    if (f.listener >= 0) {
        return &f;
    }
    f.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    f.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f.listener < 0 || bind(f.listener, (struct sockaddr *)&f.address, sizeof(f.address)) != 0 ||
        listen(f.listener, 8) != 0 || getsockname(f.listener, (struct sockaddr *)&f.address, &len) != 0) {
        die("no socket");
    }
    if (io_create(&direct, &f.io) != 0) {
        die("no io");
    }
    io_set_mode(f.io, IO_DIRECT);
    return &f;
}

/* ---- results ---- */

static void take_entries(struct nfs_compound *c)
{
    uint8_t verf[NFS_VERF_SIZE];
    struct nfs_entry e;
    bool eof = false;

    if (nfs_get_readdir(c, verf) != 0) {
        return;
    }
    while (nfs_get_entry(&c->in, &e, &eof) == 1) {
        demand(e.len <= NFS_NAME_MAX, "a name without a bound");
        demand(e.attrs.attr.mtime.tv_nsec >= 0 && e.attrs.attr.mtime.tv_nsec < NS_PER_SEC, "a time that is none");
    }
}

static void take_read(struct nfs_compound *c, void *sink)
{
    size_t len = 0;
    bool eof;

    if (nfs_get_read(c, sink, SINK_SIZE, &len, &eof) == 0) {
        demand(len <= SINK_SIZE, "more than there is room for");
    }
}

static void take_link(struct nfs_compound *c)
{
    char target[256];
    size_t len = 0;

    if (nfs_get_readlink(c, target, sizeof(target), &len) == 0) {
        demand(strlen(target) == len && len < sizeof(target), "a target that is no string");
    }
}

static void take_handle(struct nfs_compound *c)
{
    struct nfs_fh fh;

    if (nfs_get_getfh(c, &fh) == 0) {
        demand(fh.len > 0 && fh.len <= NFS_FH_MAX, "a handle without a bound");
    }
}

static void take_security(struct nfs_compound *c)
{
    bool sys;
    bool gss;

    nfs_get_secinfo_no_name(c, &sys, &gss);
}

static void take_sequence(struct nfs_compound *c)
{
    uint32_t status;

    if (nfs_compound_result(c, NFS_OP_SEQUENCE, &status) == 0 && status == NFS4_OK) {
        (void)xdr_get_fixed(&c->in, NFS_SESSION_ID + 5 * sizeof(uint32_t));
    }
}

/* The next result, whichever it is. False: it is none that is known. */
static bool take_result(struct nfs_compound *c, uint32_t op, void *sink)
{
    struct nfs_attrs attrs;
    struct nfs_stateid stateid;
    struct nfs_written written;
    uint8_t verf[NFS_VERF_SIZE];
    uint32_t granted;

    switch (op) {
    case NFS_OP_SEQUENCE:
        take_sequence(c);
        return true;
    case NFS_OP_READDIR:
        take_entries(c);
        return true;
    case NFS_OP_READ:
        take_read(c, sink);
        return true;
    case NFS_OP_READLINK:
        take_link(c);
        return true;
    case NFS_OP_GETFH:
        take_handle(c);
        return true;
    case NFS_OP_SECINFO_NO_NAME:
        take_security(c);
        return true;
    case NFS_OP_GETATTR:
        nfs_get_getattr(c, &attrs);
        return true;
    case NFS_OP_ACCESS:
        nfs_get_access(c, &granted);
        return true;
    case NFS_OP_OPEN:
        nfs_get_open(c, &stateid);
        return true;
    case NFS_OP_WRITE:
        nfs_get_write(c, &written);
        return true;
    case NFS_OP_COMMIT:
        nfs_get_commit(c, verf);
        return true;
    default:
        return false;
    }
}

static bool take_change(struct nfs_compound *c, uint32_t op)
{
    switch (op) {
    case NFS_OP_SETATTR:
        nfs_get_setattr(c);
        return true;
    case NFS_OP_CLOSE:
        nfs_get_close(c);
        return true;
    case NFS_OP_CREATE:
        nfs_get_create(c);
        return true;
    case NFS_OP_LINK:
        nfs_get_link(c);
        return true;
    case NFS_OP_RENAME:
        nfs_get_rename(c);
        return true;
    case NFS_OP_REMOVE:
        nfs_get_remove(c);
        return true;
    case NFS_OP_PUTFH:
    case NFS_OP_PUTROOTFH:
    case NFS_OP_SAVEFH:
    case NFS_OP_RESTOREFH:
    case NFS_OP_LOOKUP:
    case NFS_OP_LOOKUPP:
    case NFS_OP_VERIFY:
    case NFS_OP_NVERIFY:
        nfs_get_plain(c, (enum nfs_op)op);
        return true;
    default:
        return false;
    }
}

/* Each result by what it says that it is. */
static void take_results(struct nfs_compound *c, void *sink)
{
    size_t len;
    bool known = true;

    c->status = xdr_get_u32(&c->in);
    xdr_get_opaque(&c->in, 1024, &len);
    c->result_count = xdr_get_u32(&c->in);
    c->op_count = NFS_COMPOUND_OPS;
    c->result_next = 0;
    if (c->in.failed || c->result_count > NFS_COMPOUND_OPS) {
        return;
    }
    while (known && !c->in.failed && c->result_next < c->result_count && xdr_in_left(&c->in) >= 4) {
        unsigned next = c->result_next;
        uint32_t op;

        memcpy(&op, c->in.at, sizeof(op));
        op = be32toh(op);
        c->ops[next] = (uint16_t)op;
        known = take_result(c, op, sink) || take_change(c, op);
        demand(!known || c->in.failed || c->result_next == next + 1, "a result that was not taken");
    }
}

/* ---- one input ---- */

/* Both ends of a connection. */
static struct rpc *connect_both(struct fuzz *f, int *out_server)
{
    struct rpc_options options = {.address_len = sizeof(f->address), .silence_ns = WAIT_NS};
    struct rpc *rpc = NULL;

    memcpy(&options.address, &f->address, sizeof(f->address));
    int r = rpc_open(f->io, &options, clock_mono_ns() + WAIT_NS, &rpc);
    if (r != 0) {
        errno = -r;
        die("rpc_open");
    }
    *out_server = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
    if (*out_server < 0) {
        die("accept");
    }
    return rpc;
}

/* Sends as much of the input as goes at once, and ends the connection. */
static void play(int server, const uint8_t *data, size_t size)
{
    const struct linger at_once = {.l_onoff = 1};
    int large = 4 << 20;

    setsockopt(server, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
    setsockopt(server, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)); /* leaves no port in TIME_WAIT */
    (void)!send(server, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(server, SHUT_WR);
}

/* The results in memory of their own, unless some of them are in the sink. */
static uint8_t *in_exact_memory(struct nfs_compound *c)
{
    size_t left = xdr_in_left(&c->in);
    uint8_t *copy;

    if (c->in.hole != NULL) {
        return NULL;
    }
    copy = malloc(left > 0 ? left : 1);
    if (copy == NULL) {
        die("malloc");
    }
    memcpy(copy, c->in.at, left);
    xdr_in_init(&c->in, copy, left);
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rpc_cred cred = {.machine = "fuzz"};
    struct fuzz *f = the_fuzz();
    struct nfs_compound *c = calloc(1, sizeof(*c));
    void *sink = malloc(SINK_SIZE);
    uint32_t xid = 1;
    int server;

    if (c == NULL || sink == NULL) {
        die("malloc");
    }
    struct rpc *rpc = connect_both(f, &server);
    if (size >= 8) {
        memcpy(&xid, data + 4, sizeof(xid));
        xid = be32toh(xid);
    }
    play(server, data, size);
    xdr_out_init(&c->out, c->buf, sizeof(c->buf));
    rpc_begin(&c->out, xid, NFS_PROGRAM, NFS_VERSION, NFS_PROC_COMPOUND, &cred);
    rpc_call_init(&c->call, &c->out, REPLY_MAX);
    c->call.sink = (struct rpc_sink){.buf = sink, .size = SINK_SIZE, .locate = nfs_locate_read};
    int r = rpc_call(rpc, &c->call, clock_mono_ns() + WAIT_NS);
    demand(r <= 0, "rpc_call");
    demand(r == 0 || c->call.refuse != 0 || rpc_error(rpc) != 0 || r == -EPROTO || r == -ENOMEM,
           "a call failed, and nobody knows why");
    if (r == 0) {
        c->in = c->call.in;
        uint8_t *copy = in_exact_memory(c);
        take_results(c, sink);
        free(copy);
    }
    close(server);
    rpc_call_release(&c->call);
    rpc_close(rpc);
    free(sink);
    free(c);
    return 0;
}

/* ---- without libFuzzer ---- */

#ifndef HAUL_FUZZER

static void replay_changed(const uint8_t *data, size_t size)
{
    static const uint32_t words[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
    uint8_t *copy = malloc(size);

    if (copy == NULL) {
        die("malloc");
    }
    for (size_t at = 0; at + 4 <= size; at += 4) {
        for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
            uint32_t word = htobe32(words[k]);

            memcpy(copy, data, size);
            memcpy(copy + at, &word, sizeof(word));
            LLVMFuzzerTestOneInput(copy, size);
        }
    }
    free(copy);
}

static void replay_cut(const uint8_t *data, size_t size)
{
    for (size_t len = 0; len < size; len += 4) {
        uint8_t *copy = malloc(len + 4);

        if (copy == NULL) {
            die("malloc");
        }
        /* The stream ends early; and the record is that short. */
        memcpy(copy, data, len);
        LLVMFuzzerTestOneInput(copy, len);
        if (len >= 4) {
            uint32_t mark = htobe32(0x80000000U | (uint32_t)(len - 4));

            memcpy(copy, &mark, sizeof(mark));
            LLVMFuzzerTestOneInput(copy, len);
        }
        free(copy);
    }
}

static size_t load(const char *path, uint8_t *data, size_t room)
{
    FILE *file = fopen(path, "r");

    if (file == NULL) {
        die(path);
    }
    size_t size = fread(data, 1, room, file);
    fclose(file);
    return size;
}

int main(int argc, char **argv)
{
    static uint8_t data[1 << 20];
    unsigned files = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        struct dirent *entry;

        if (folder == NULL) {
            die(argv[i]);
        }
        while ((entry = readdir(folder)) != NULL) {
            char path[4096];

            if (entry->d_name[0] == '.') {
                continue;
            }
            snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
            size_t size = load(path, data, sizeof(data));
            LLVMFuzzerTestOneInput(data, size);
            replay_cut(data, size);
            replay_changed(data, size);
            files++;
        }
        closedir(folder);
    }
    printf("%u files replayed\n", files);
    return files > 0 ? 0 : 1;
}

#endif
