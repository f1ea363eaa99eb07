/*
 * nfsrecord: asks an NFSv4.1 server for one of everything and keeps its replies, each in a file of its own (with its
 * record mark, as it came): what fuzz_nfs41 begins with. tests/corpus/record runs it against Ganesha.
 *
 *   nfsrecord PORT EXPORT FOLDER     EXPORT: one name below the server's root; it needs to be empty
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support_nfsc.h"

struct recorder {
    struct nfsc c;
    const char *export;
    const char *folder;
    uint8_t root_fh[128]; /* of the export */
    uint32_t root_len;
};

static void die(const char *what)
{
    fprintf(stderr, "nfsrecord: %s\n", what);
    exit(1);
}

static void keep(struct recorder *r, const char *name)
{
    char path[4096];
    struct nx_out mark = {0};

    snprintf(path, sizeof(path), "%s/%s", r->folder, name);
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        die(path);
    }
    nx_put_u32(&mark, 0x80000000U | (uint32_t)r->c.reply.len);
    if (fwrite(mark.data, 1, 4, f) != 4 || fwrite(r->c.reply.data, 1, r->c.reply.len, f) != r->c.reply.len ||
        fclose(f) != 0) {
        die(path);
    }
    nx_free(&mark);
}

/* Sends what was built, and keeps the reply; its status. */
static uint32_t ask(struct recorder *r, const char *name)
{
    if (!nfsc_call(&r->c, 10000)) {
        die("no answer");
    }
    keep(r, name);
    uint32_t status = nfsc_status(&r->c);
    fprintf(stderr, "%-20s %5zu bytes, status %u\n", name, r->c.reply.len, status);
    return status;
}

static void begin(struct recorder *r)
{
    nfsc_begin_sequence(&r->c, true);
    nx_put_opaque(nfsc_op(&r->c, D4_PUTFH), r->root_fh, r->root_len);
}

static void put_mask(struct nx_out *out, const unsigned *attrs, unsigned count)
{
    uint32_t words[2] = {0};

    for (unsigned i = 0; i < count; i++) {
        words[attrs[i] / 32] |= 1U << attrs[i] % 32;
    }
    nx_put_u32(out, 2);
    nx_put_u32(out, words[0]);
    nx_put_u32(out, words[1]);
}

static const unsigned usual[] = {D4A_TYPE,       D4A_CHANGE,      D4A_SIZE,          D4A_FSID,        D4A_FILEID,
                                 D4A_MODE,       D4A_NUMLINKS,    D4A_OWNER,         D4A_OWNER_GROUP, D4A_RAWDEV,
                                 D4A_SPACE_USED, D4A_TIME_ACCESS, D4A_TIME_METADATA, D4A_TIME_MODIFY};
static const unsigned of_server[] = {D4A_SUPPORTED_ATTRS, D4A_FH_EXPIRE_TYPE,   D4A_LINK_SUPPORT, D4A_LEASE_TIME,
                                     D4A_MAXFILESIZE,     D4A_MAXNAME,          D4A_MAXREAD,      D4A_MAXWRITE,
                                     D4A_TIME_DELTA,      D4A_MOUNTED_ON_FILEID};

static void put_getattr(struct recorder *r)
{
    put_mask(nfsc_op(&r->c, D4_GETATTR), usual, sizeof(usual) / sizeof(usual[0]));
}

static void put_current(struct nx_out *out)
{
    nx_put_u32(out, 1);
    nx_put_u64(out, 0);
    nx_put_u32(out, 0);
}

/* SIZE and MODE. */
static void put_size_and_mode(struct nx_out *out, uint64_t size, uint32_t mode)
{
    nx_put_u32(out, 2);
    nx_put_u32(out, 1U << D4A_SIZE);
    nx_put_u32(out, 1U << (D4A_MODE - 32));
    nx_put_u32(out, 12);
    nx_put_u64(out, size);
    nx_put_u32(out, mode);
}

static void put_mode(struct nx_out *out, uint32_t mode)
{
    nx_put_u32(out, 2);
    nx_put_u32(out, 0);
    nx_put_u32(out, 1U << (D4A_MODE - 32));
    nx_put_u32(out, 4);
    nx_put_u32(out, mode);
}

static void put_open(struct recorder *r, const char *name, bool create, uint32_t access)
{
    struct nx_out *out = nfsc_op(&r->c, D4_OPEN);

    nx_put_u32(out, 0);
    nx_put_u32(out, access | 0x400);
    nx_put_u32(out, 0);
    nx_put_u64(out, r->c.client);
    nx_put_text(out, "recorder");
    nx_put_u32(out, create);
    if (create) {
        nx_put_u32(out, 1); /* GUARDED4 */
        put_mode(out, 0600);
    }
    nx_put_u32(out, 0);
    nx_put_text(out, name);
}

static void put_close(struct recorder *r)
{
    struct nx_out *out = nfsc_op(&r->c, D4_CLOSE);

    nx_put_u32(out, 0);
    put_current(out);
}

static void publish(struct recorder *r, const char *name, uint64_t size, const char *file)
{
    static const char data[] = "twenty bytes of data";
    struct nx_out *out;

    begin(r);
    nfsc_op(&r->c, D4_SAVEFH);
    put_open(r, ".temp", true, 3);
    out = nfsc_op(&r->c, D4_WRITE);
    put_current(out);
    nx_put_u64(out, 0);
    nx_put_u32(out, 2);
    nx_put_opaque(out, data, 20);
    out = nfsc_op(&r->c, D4_SETATTR);
    put_current(out);
    put_mode(out, 0644);
    put_getattr(r);
    put_size_and_mode(nfsc_op(&r->c, D4_VERIFY), size, 0644);
    put_close(r);
    nfsc_op(&r->c, D4_RESTOREFH);
    out = nfsc_op(&r->c, D4_RENAME);
    nx_put_text(out, ".temp");
    nx_put_text(out, name);
    ask(r, file);
}

static void find_root(struct recorder *r)
{
    nfsc_begin_sequence(&r->c, true);
    nfsc_op(&r->c, D4_PUTROOTFH);
    put_getattr(r);
    nx_put_text(nfsc_op(&r->c, D4_LOOKUP), r->export);
    nfsc_op(&r->c, D4_GETFH);
    nx_put_u32(nfsc_op(&r->c, D4_ACCESS), 0x3f);
    put_mask(nfsc_op(&r->c, D4_GETATTR), of_server, sizeof(of_server) / sizeof(of_server[0]));
    if (ask(r, "root") != 0) {
        die("no such export");
    }
    nfsc_result(&r->c, D4_SEQUENCE);
    nx_fixed(&r->c.in, 36);
    nfsc_result(&r->c, D4_PUTROOTFH);
    nfsc_result(&r->c, D4_GETATTR);
    for (uint32_t words = nx_u32(&r->c.in); words > 0; words--) {
        nx_u32(&r->c.in);
    }
    nx_opaque(&r->c.in, 65536);
    nfsc_result(&r->c, D4_LOOKUP);
    nfsc_result(&r->c, D4_GETFH);
    struct nx_str fh = nx_opaque(&r->c.in, sizeof(r->root_fh));
    if (fh.len == 0) {
        die("no handle of the export");
    }
    memcpy(r->root_fh, fh.at, fh.len);
    r->root_len = fh.len;
}

static void make_entries(struct recorder *r)
{
    static const uint32_t types[] = {D4T_DIR, D4T_LNK, D4T_FIFO, D4T_CHR};

    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        const char name[] = {'e', (char)('0' + types[i]), 0};
        struct nx_out *out;

        begin(r);
        nfsc_op(&r->c, D4_SAVEFH);
        out = nfsc_op(&r->c, D4_CREATE);
        nx_put_u32(out, types[i]);
        if (types[i] == D4T_LNK) {
            nx_put_text(out, "where it leads to");
        } else if (types[i] == D4T_CHR) {
            nx_put_u32(out, 1);
            nx_put_u32(out, 3);
        }
        nx_put_text(out, name);
        put_mode(out, 0750);
        nfsc_op(&r->c, D4_GETFH);
        put_getattr(r);
        ask(r, i == 0 ? "create-dir" : i == 1 ? "create-link" : i == 2 ? "create-fifo" : "create-device");
    }
}

static void list(struct recorder *r, uint32_t max, uint64_t cookie, const char *file)
{
    struct nx_out *out;

    begin(r);
    out = nfsc_op(&r->c, D4_READDIR);
    nx_put_u64(out, cookie);
    nx_put_u64(out, 0);
    nx_put_u32(out, max);
    nx_put_u32(out, max);
    put_mask(out, usual, sizeof(usual) / sizeof(usual[0]));
    ask(r, file);
}

static void look(struct recorder *r)
{
    struct nx_out *out;

    begin(r);
    nx_put_text(nfsc_op(&r->c, D4_LOOKUP), "e5");
    nfsc_op(&r->c, D4_READLINK);
    ask(r, "readlink");
    begin(r);
    put_open(r, "file", false, 1);
    put_getattr(r);
    out = nfsc_op(&r->c, D4_READ);
    put_current(out);
    nx_put_u64(out, 0);
    nx_put_u32(out, 4096);
    put_close(r);
    ask(r, "read");
    begin(r);
    put_open(r, "file", false, 2);
    out = nfsc_op(&r->c, D4_WRITE);
    put_current(out);
    nx_put_u64(out, 3);
    nx_put_u32(out, 0);
    nx_put_text(out, "unstable");
    out = nfsc_op(&r->c, D4_COMMIT);
    nx_put_u64(out, 0);
    nx_put_u32(out, 0);
    put_close(r);
    ask(r, "commit");
    begin(r);
    nx_put_u32(nfsc_op(&r->c, D4_SECINFO_NO_NAME), 0);
    ask(r, "secinfo");
    begin(r);
    nx_put_text(nfsc_op(&r->c, D4_LOOKUP), "nothing");
    ask(r, "noent");
}

static void change(struct recorder *r)
{
    begin(r);
    nx_put_text(nfsc_op(&r->c, D4_LOOKUP), "file");
    nfsc_op(&r->c, D4_SAVEFH);
    nx_put_opaque(nfsc_op(&r->c, D4_PUTFH), r->root_fh, r->root_len);
    nx_put_text(nfsc_op(&r->c, D4_LINK), "link");
    nx_put_text(nfsc_op(&r->c, D4_REMOVE), "link");
    ask(r, "link-remove");
    begin(r);
    nx_put_text(nfsc_op(&r->c, D4_REMOVE), "nothing");
    ask(r, "remove-noent");
    begin(r);
    nx_put_text(nfsc_op(&r->c, D4_LOOKUP), "file");
    nfsc_op(&r->c, D4_LOOKUPP);
    put_size_and_mode(nfsc_op(&r->c, D4_NVERIFY), 1, 1);
    put_getattr(r);
    ask(r, "nverify");
}

int main(int argc, char **argv)
{
    struct recorder r = {0};

    if (argc != 4) {
        die("usage: nfsrecord PORT EXPORT FOLDER");
    }
    r.export = argv[2];
    r.folder = argv[3];
    if (!nfsc_open(&r.c, (uint16_t)atoi(argv[1])) || !nfsc_session(&r.c, "nfsrecord", 1)) {
        die("no session");
    }
    keep(&r, "reclaim-complete");
    find_root(&r);
    publish(&r, "file", 20, "publish");
    publish(&r, "other", 21, "publish-not-same");
    publish(&r, "other", 20, "publish-exist");
    make_entries(&r);
    list(&r, 8192, 0, "readdir");
    list(&r, 700, 0, "readdir-part");
    list(&r, 8, 0, "readdir-toosmall");
    look(&r);
    change(&r);
    nfsc_close(&r.c);
    return 0;
}
