/*
 * nfs41_read: looking at entries and reading files.
 *
 * Files are read with the anonymous state id: no OPEN, nothing to be closed, and nothing that a server loses when it is
 * started again. Where a server does not have that, they are opened first (NFS41_STEP_READ_OPEN).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/errs.h"
#include "workers/stores/nfs41/nfs41_internal.h"

#define MAY_READ   1U             /* ACCESS4_READ */
#define BLOCK      4096U          /* bytes; the unit of holes */
#define SCAN       (1024U * 1024) /* bytes that are read at a time to find holes */
#define REPLY_ROOM 1024U          /* bytes of a reply besides the data of a READ */

/* The most that one READ can bring. */
static uint32_t read_at_once(struct port *p)
{
    struct nfs41_store *s = nfs41_of(p);
    struct nfs_limits limits;
    uint64_t most;

    nfs41_limits(p, &limits);
    most = limits.max_response > 2 * REPLY_ROOM ? limits.max_response - REPLY_ROOM : REPLY_ROOM;
    return (uint32_t)(s->max_read && s->max_read < most ? s->max_read : most);
}

/* ---- attributes ---- */

static int stat_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct attr attr;
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &dir->fh);
    if (op->name) {
        nfs_put_lookup(c, op->name);
    }
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r || !op->name ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = nfs41_result(NULL, c, r ? r : nfs41_get_attr(p, c, &attr));
    nfs_compound_end(c);
    if (!r) {
        *(op->code == STORE_STAT ? op->stat.out : op->xattrs.attr) = attr;
    }
    return r;
}

int nfs41_stat(struct port *p, struct store_op *op)
{
    return nfs41_in_dir(p, op, op->dir, false, stat_in);
}

/* None at all (RFC 8881 has named attributes, which are another thing), and none that could be held. */
int nfs41_xattrs(struct port *p, struct store_op *op)
{
    struct xattrs *none;
    struct attr attr;
    struct attr *wanted = op->xattrs.attr;
    int err;

    op->xattrs.attr = wanted ? wanted : &attr;
    err = nfs41_in_dir(p, op, op->dir, false, stat_in);
    op->xattrs.attr = wanted;
    err = err ? err : xattrs_create(0, &none);
    if (!err) {
        *op->xattrs.out = none;
    }
    return err;
}

static int readlink_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &dir->fh);
    nfs_put_lookup(c, op->name);
    nfs_put_readlink(c);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs_get_readlink(c, op->readlink.buf, op->readlink.size, op->readlink.out_len);
    r = nfs41_result(NULL, c, r);
    nfs_compound_end(c);
    return r;
}

int nfs41_readlink(struct port *p, struct store_op *op)
{
    return nfs41_in_dir(p, op, op->dir, false, readlink_in);
}

/* ---- open files ---- */

/* Only a regular file is read. 0 or -errno. */
static int check_type(const struct attr *attr)
{
    if (S_ISREG(attr->mode)) {
        return 0;
    }
    return S_ISLNK(attr->mode) ? -ELOOP : -ERR_CHANGED;
}

static void put_open_current(struct port *p, struct nfs_compound *c)
{
    struct nfs_open open = {.owner = nfs41_port_of(p)->owner, .share = NFS_SHARE_READ, .create = NFS_OPEN_ONLY};

    nfs_put_open(c, &open);
}

/* Looks name up and, where need be, opens it. 0 or -errno. */
static int open_in(struct port *p, struct store_op *op, const struct nfs_dir *dir, struct store_file *file,
                   struct attr *attr)
{
    bool opens = nfs41_stepped(nfs41_of(p), NFS41_STEP_READ_OPEN);
    uint32_t granted = 0;
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &dir->fh);
    nfs_put_lookup(c, op->name);
    nfs_put_getfh(c);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    nfs_put_access(c, MAY_READ);
    if (opens) {
        put_open_current(p, c);
    }
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs_get_getfh(c, &file->fh);
    r = r ? r : nfs41_get_attr(p, c, attr);
    r = r ? r : check_type(attr);
    r = r ? r : nfs_get_access(c, &granted);
    if (!r && !(granted & MAY_READ)) {
        r = -EACCES;
    }
    file->stateid = nfs_stateid_anonymous();
    if (!r && opens) {
        r = nfs_get_open(c, &file->stateid);
        file->open = !r;
    }
    r = nfs41_result(op, c, r);
    nfs_compound_end(c);
    return r;
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

int nfs41_file_open(struct port *p, struct store_op *op)
{
    return nfs41_in_dir(p, op, op->dir, false, file_open_in);
}

/* One READ. 0, NFS4ERR or -errno. */
static int read_once(struct port *p, const struct store_file *file, void *buf, size_t len, uint64_t offset,
                     size_t *out_len, bool *out_eof)
{
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &file->fh);
    nfs_put_read(c, &file->stateid, offset, buf, (uint32_t)len);
    nfs_compound_expect(c, REPLY_ROOM + len);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_read(c, buf, len, out_len, out_eof);
    nfs_compound_end(c);
    return r;
}

static bool is_state_lost(int r)
{
    return r > 0 && nfs_error((uint32_t)r)->decision == NFS_DO_REOPEN;
}

/* The state id of an open file is gone with the server that gave it, or the anonymous one is not taken: another one.
 * 0, NFS4ERR or -errno. */
static int reopen(struct port *p, struct store_file *file)
{
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &file->fh);
    put_open_current(p, c);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_open(c, &file->stateid);
    nfs_compound_end(c);
    if (!r && !file->open) {
        file->open = true;
        atomic_fetch_or(&nfs41_of(p)->steps, NFS41_STEP_READ_OPEN);
    }
    return r;
}

/* Until len bytes or the end. 0 or -errno. */
static int read_full(struct port *p, struct store_file *file, void *buf, size_t len, uint64_t offset, size_t *out_len)
{
    uint32_t at_once = read_at_once(p);
    size_t done = 0;
    bool eof = false;
    bool opened = false;

    while (done < len && !eof) {
        size_t want = len - done < at_once ? len - done : at_once;
        size_t got = 0;
        int r = read_once(p, file, (char *)buf + done, want, offset + done, &got, &eof);

        if (is_state_lost(r) && !opened) {
            opened = true;
            r = reopen(p, file);
            if (!r) {
                continue;
            }
        }
        if (r) {
            return r > 0 ? nfs_errno((uint32_t)r) : r;
        }
        if (got == 0 && !eof) {
            return -EIO; /* a server that brings nothing and says there is more */
        }
        done += got;
    }
    *out_len = done;
    return 0;
}

int nfs41_file_read(struct port *p, struct store_op *op)
{
    return read_full(p, op->file.file, op->file.buf, op->file.len, op->file.offset, op->file.out_len);
}

int nfs41_stat_fh(struct port *p, const struct nfs_fh *fh, struct attr *out)
{
    struct nfs_compound *c;
    struct attr attr;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, fh);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = nfs41_result(NULL, c, r ? r : nfs41_get_attr(p, c, &attr));
    nfs_compound_end(c);
    if (!r) {
        *out = attr;
    }
    return r;
}

int nfs41_file_stat(struct port *p, struct store_op *op)
{
    return nfs41_stat_fh(p, &op->stat.file->fh, op->stat.out);
}

static void file_end(struct port *p, struct store_file *file)
{
    if (file->open) {
        struct nfs_compound *c;

        /* Nothing was written: whatever comes of it, nothing is lost. */
        if (nfs41_begin(p, &c) == 0) {
            nfs_put_putfh(c, &file->fh);
            nfs_put_close(c, &file->stateid);
            (void)nfs41_send(p, c);
            nfs_compound_end(c);
        }
    }
    free(file);
}

int nfs41_file_close(struct port *p, struct store_op *op)
{
    file_end(p, op->file.file);
    return 0;
}

/* ---- holes: 4.1 cannot be asked for them, but a file that has any has less space than size ---- */

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
        int err = read_full(p, op->file.file, buf, want, at, &got);

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

int nfs41_file_extent(struct port *p, struct store_op *op)
{
    struct attr attr;
    char *buf;
    int err = nfs41_stat_fh(p, &op->file.file->fh, &attr);

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

/* What one COMPOUND has brought of a small file. */
struct small {
    struct store_file file;
    struct attr before;
    struct attr after;
    size_t len;
    bool eof;
};

static int get_small(struct port *p, struct store_op *op, struct nfs_compound *c, uint32_t want, struct small *f)
{
    uint32_t granted = 0;
    int r = nfs_get_plain(c, NFS_OP_PUTFH);

    r = r ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs_get_getfh(c, &f->file.fh);
    r = r ? r : nfs41_get_attr(p, c, &f->before);
    r = r ? r : check_type(&f->before);
    r = r ? r : nfs_get_access(c, &granted);
    if (!r && !(granted & MAY_READ)) {
        r = -EACCES; /* servers let owners read whatever the mode is */
    }
    if (!r && f->before.size > op->read_small.size) {
        r = -EFBIG;
    }
    r = r ? r : nfs_get_read(c, op->read_small.buf, want, &f->len, &f->eof);
    return r ? r : nfs41_get_attr(p, c, &f->after);
}

/* LOOKUP, GETATTR, READ, GETATTR: one round trip. 0, NFS4ERR or -errno. */
static int small_at_once(struct port *p, struct store_op *op, const struct nfs_dir *dir, struct small *f)
{
    uint32_t at_once = read_at_once(p);
    uint32_t want = op->read_small.size < at_once ? (uint32_t)op->read_small.size : at_once;
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    f->file.stateid = nfs_stateid_anonymous();
    nfs_put_putfh(c, &dir->fh);
    nfs_put_lookup(c, op->name);
    nfs_put_getfh(c);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    nfs_put_access(c, MAY_READ);
    nfs_put_read(c, &f->file.stateid, 0, op->read_small.buf, want);
    nfs_put_getattr(c, NFS_ATTRS_STAT);
    nfs_compound_expect(c, 2 * REPLY_ROOM + want);
    r = nfs41_send(p, c);
    r = r ? r : get_small(p, op, c, want, f);
    (void)nfs41_result(op, c, r);
    nfs_compound_end(c);
    return r;
}

/* By OPEN, READs, CLOSE. */
static int small_by_steps(struct port *p, struct store_op *op, const struct nfs_dir *dir, struct small *f)
{
    struct store_file *file = calloc(1, sizeof(*file));
    int err;

    if (!file) {
        return -ENOMEM;
    }
    file->store = p->store;
    err = open_in(p, op, dir, file, &f->before);
    if (!err && f->before.size > op->read_small.size) {
        err = -EFBIG;
    }
    err = err ? err : read_full(p, file, op->read_small.buf, f->before.size, 0, &f->len);
    err = err ? err : nfs41_stat_fh(p, &file->fh, &f->after);
    file_end(p, file);
    return err;
}

int nfs41_read_small_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct small f = {.file = {.store = p->store}};
    bool steps = nfs41_stepped(nfs41_of(p), NFS41_STEP_READ_OPEN);
    int err = 0;

    if (!steps) {
        err = small_at_once(p, op, dir, &f);
        steps = is_state_lost(err); /* the anonymous state id is not taken */
        err = err > 0 ? nfs_errno((uint32_t)err) : err;
    }
    if (steps) {
        op->step = NULL;
        err = small_by_steps(p, op, dir, &f);
    } else {
        /* A server may bring less than was asked for. */
        if (!err && f.len < f.before.size && !f.eof) {
            size_t more = 0;

            err = read_full(p, &f.file, (char *)op->read_small.buf + f.len, f.before.size - f.len, f.len, &more);
            err = err ? err : nfs41_stat_fh(p, &f.file.fh, &f.after);
            f.len += more;
        }
    }
    if (!err) {
        atomic_fetch_add_explicit(&nfs41_of(p)->reads, 1, memory_order_relaxed);
        *op->read_small.out_len = f.len < f.before.size ? f.len : f.before.size;
        *op->read_small.before = f.before;
        *op->read_small.after = f.after;
    }
    return err;
}

int nfs41_read_small(struct port *p, struct store_op *op)
{
    return nfs41_in_dir(p, op, op->dir, false, nfs41_read_small_in);
}
