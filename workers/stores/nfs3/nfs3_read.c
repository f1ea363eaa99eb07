/*
 * nfs3_read: looking at entries and reading files, which are never opened: the protocol has no such thing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/errs.h"
#include "workers/stores/nfs3/nfs3_internal.h"

#define READ_DEFAULT (64U * 1024)   /* bytes, where the server does not say */
#define READ_MOST    (1024U * 1024) /* bytes of a READ: what libnfs takes of a reply */
#define BLOCK        4096U          /* bytes; the unit of holes */
#define SCAN         (1024U * 1024) /* bytes that are read at a time to find holes */

/* The most that one READ can bring. */
static uint32_t read_at_once(const struct nfs3_store *s)
{
    uint32_t most = s->info.read_max ? s->info.read_max : READ_DEFAULT;

    return most < READ_MOST ? most : READ_MOST;
}

/* ---- attributes ---- */

static int stat_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs_fh fh;
    struct attr attr;
    int r = op->name ? nfs3_lookup(p, &dir->fh, op->name, &fh, &attr) : nfs3_getattr(p, &dir->fh, &attr);

    if (!r) {
        *(op->code == STORE_STAT ? op->stat.out : op->xattrs.attr) = attr;
    }
    return nfs3_result(r);
}

int nfs3_stat(struct port *p, struct store_op *op)
{
    return nfs3_in_dir(p, op, op->dir, false, stat_in);
}

/* None at all, and none that could be held. */
int nfs3_xattrs(struct port *p, struct store_op *op)
{
    struct xattrs *none;
    struct attr attr;
    struct attr *wanted = op->xattrs.attr;
    int err;

    op->xattrs.attr = wanted ? wanted : &attr;
    err = nfs3_in_dir(p, op, op->dir, false, stat_in);
    op->xattrs.attr = wanted;
    err = err ? err : xattrs_create(0, &none);
    if (!err) {
        *op->xattrs.out = none;
    }
    return err;
}

static int readlink_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs_fh fh;
    struct nfs3_req req = {.proc = V3_READLINK, .fh = &fh, .buf = op->readlink.buf, .len = op->readlink.size};
    int r = nfs3_lookup(p, &dir->fh, op->name, &fh, NULL);

    r = r ? r : nfs3_call(p, &req);
    if (!r && op->readlink.out_len) {
        *op->readlink.out_len = req.count;
    }
    return nfs3_result(r);
}

int nfs3_readlink(struct port *p, struct store_op *op)
{
    return nfs3_in_dir(p, op, op->dir, false, readlink_in);
}

/* ---- files ---- */

/* Only a regular file is read. 0 or -errno. */
static int check_type(const struct attr *attr)
{
    if (S_ISREG(attr->mode)) {
        return 0;
    }
    return S_ISLNK(attr->mode) ? -ELOOP : -ERR_CHANGED;
}

/* Whether we may read what seen says: servers let owners read whatever the mode is, so that a file that its mode hides
 * from us has to be asked about. 0 or -errno. */
static int check_access(struct port *p, const struct nfs_fh *fh, const struct attr *seen)
{
    struct nfs3_req req = {.proc = V3_ACCESS, .fh = fh, .access = V3_ACCESS_READ};
    bool for_all = (seen->mode & 0444) == 0444;
    int r;

    if (for_all) {
        return 0;
    }
    r = nfs3_call(p, &req);
    return r ? nfs3_result(r) : req.access & V3_ACCESS_READ ? 0 : -EACCES;
}

/* Looks name up. 0 or -errno. */
static int open_in(struct port *p, struct store_op *op, const struct nfs_dir *dir, struct store_file *file,
                   struct attr *attr)
{
    int err = nfs3_result(nfs3_lookup(p, &dir->fh, op->name, &file->fh, attr));

    if (err) {
        op->step = "lookup";
        return err;
    }
    err = check_type(attr);
    return err ? err : check_access(p, &file->fh, attr);
}

static int file_open_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct store_file *file = calloc(1, sizeof(*file));
    struct attr attr = {0};
    int err;

    if (!file) {
        return -ENOMEM;
    }
    file->store = p->store;
    err = open_in(p, op, dir, file, &attr);
    if (err) {
        free(file);
        return err;
    }
    file->sparse = attr.allocated < attr.size;
    if (op->open.attr) {
        *op->open.attr = attr;
    }
    *op->open.out = file;
    return 0;
}

int nfs3_file_open(struct port *p, struct store_op *op)
{
    return nfs3_in_dir(p, op, op->dir, false, file_open_in);
}

/* Until len bytes or the end. out_attr (may be NULL) and *out_has: attributes after the last READ, where the server
 * told them. 0 or -errno. */
static int read_full(struct port *p, const struct nfs_fh *fh, void *buf, size_t len, uint64_t offset, size_t *out_len,
                     struct attr *out_attr, bool *out_has)
{
    uint32_t at_once = read_at_once(nfs3_of(p));
    size_t done = 0;
    bool eof = false;

    while (done < len && !eof) {
        struct nfs3_req req = {.proc = V3_READ,
                               .fh = fh,
                               .buf = (char *)buf + done,
                               .len = len - done < at_once ? len - done : at_once,
                               .offset = offset + done};
        int r = nfs3_call(p, &req);

        if (r) {
            return nfs3_result(r);
        }
        if (req.count == 0 && !req.eof) {
            return -EIO; /* a server that brings nothing and says there is more */
        }
        done += req.count;
        eof = req.eof;
        if (out_attr) {
            *out_has = req.has_attr;
            *out_attr = req.attr;
        }
    }
    *out_len = done;
    return 0;
}

int nfs3_file_read(struct port *p, struct store_op *op)
{
    return read_full(p, &op->file.file->fh, op->file.buf, op->file.len, op->file.offset, op->file.out_len, NULL, NULL);
}

int nfs3_file_stat(struct port *p, struct store_op *op)
{
    return nfs3_result(nfs3_getattr(p, &op->stat.file->fh, op->stat.out));
}

int nfs3_file_close(struct port *p, struct store_op *op)
{
    (void)p;
    free(op->file.file);
    return 0;
}

/* ---- holes: the server cannot be asked for them, but a file that has any has less space than size ---- */

/* The first block of buf, which lies at offset of the file, that is zero throughout or not; len where there is none. */
static size_t find_block(const char *buf, size_t len, uint64_t offset, bool zero)
{
    static const char zeros[BLOCK];
    size_t at = 0;

    while (at < len) {
        size_t block = BLOCK - (offset + at) % BLOCK;

        block = block < len - at ? block : len - at;
        if ((memcmp(buf + at, zeros, block) == 0) == zero) {
            return at;
        }
        at += block;
    }
    return len;
}

/* With a buffer of SCAN bytes. */
static int scan(struct port *p, struct store_op *op, char *buf, uint64_t size)
{
    for (uint64_t at = op->file.offset; at < size;) {
        size_t got = 0;
        size_t want = size - at < SCAN ? (size_t)(size - at) : SCAN;
        size_t data;
        int err = read_full(p, &op->file.file->fh, buf, want, at, &got, NULL, NULL);

        if (err) {
            return err;
        }
        if (got == 0) {
            break;
        }
        data = find_block(buf, got, at, false);
        if (data < got) {
            *op->file.out_data = at + data;
            *op->file.out_end = at + data + find_block(buf + data, got - data, at + data, true);
            return 0;
        }
        at += got;
    }
    return -ENXIO;
}

int nfs3_file_extent(struct port *p, struct store_op *op)
{
    struct attr attr;
    char *buf;
    int err = nfs3_result(nfs3_getattr(p, &op->file.file->fh, &attr));

    if (err) {
        return err;
    }
    if (op->file.offset >= attr.size) {
        return -ENXIO;
    }
    if (!op->file.file->sparse) {
        *op->file.out_data = op->file.offset;
        *op->file.out_end = attr.size;
        return 0;
    }
    buf = malloc(SCAN);
    if (!buf) {
        return -ENOMEM;
    }
    err = scan(p, op, buf, attr.size);
    free(buf);
    return err;
}

/* ---- whole small files ---- */

/* LOOKUP with attributes, READ with attributes: two round trips, where the server leaves none out. */
int nfs3_read_small_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct store_file file = {.store = p->store};
    struct attr before = {0};
    struct attr after = {0};
    bool has_after = false;
    size_t len = 0;
    int err = open_in(p, op, dir, &file, &before);

    if (!err && before.size > op->read_small.size) {
        err = -EFBIG;
    }
    if (!err) {
        err = read_full(p, &file.fh, op->read_small.buf, before.size, 0, &len, &after, &has_after);
    }
    if (!err && !has_after) {
        err = nfs3_result(nfs3_getattr(p, &file.fh, &after));
    }
    if (err) {
        return err;
    }
    *op->read_small.out_len = len;
    *op->read_small.before = before;
    *op->read_small.after = after;
    return 0;
}

int nfs3_read_small(struct port *p, struct store_op *op)
{
    return nfs3_in_dir(p, op, op->dir, false, nfs3_read_small_in);
}
