/*
 * copypart: one part of a large file: read, hashed and written, or copied by who has both.
 */
#include <errno.h>
#include <string.h>

#include "copier/copyparts_internal.h"
#include "copier/copystage.h"

/* ---- operations ---- */

static int on_src(struct runner *r, struct store_op op)
{
    r->op = op;
    r->op.dir = r->parts->dir;
    r->op.name = r->parts->src_name;
    r->on_source = true;
    return r->parts->staged ? copy_stage_run(r->parts->engine, r->src, &r->op) : store_run(r->src, &r->op);
}

int part_on_dst(struct runner *r, struct store_op op)
{
    r->op = op;
    r->op.dir = r->parts->dir;
    r->op.name = r->parts->dst_name;
    r->on_source = false;
    return store_run(r->dst, &r->op);
}

void part_count_moved(struct parts *p, uint64_t bytes)
{
    atomic_fetch_add_explicit(&p->moved, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->engine->counts->under_way, bytes, memory_order_relaxed);
}

/* ---- one part ---- */

void part_hash_zeros(XXH3_state_t *hash, uint64_t len)
{
    static const char zeros[64 * 1024];
    while (len > 0) {
        size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;
        XXH3_128bits_update(hash, zeros, n);
        len -= n;
    }
}

void part_hash_take(const XXH3_state_t *hash, uint8_t out[16])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hash));
    memcpy(out, canonical.digest, sizeof canonical.digest);
}

int part_copy(struct runner *r, uint64_t at, uint64_t end)
{
    while (at < end) {
        size_t done = 0;
        int err = part_is_stopping(r->parts) ? -ECANCELED
                                             : part_on_dst(r, (struct store_op){.code = STORE_COPY,
                                                                                .up = {.upload = r->parts->upload,
                                                                                       .from = r->parts->file,
                                                                                       .offset = at,
                                                                                       .len = (size_t)(end - at),
                                                                                       .out_len = &done}});
        if (err != 0) {
            return err;
        }
        if (done == 0) {
            return -ERR_CHANGED; /* shorter than it was */
        }
        at += done;
        part_count_moved(r->parts, done);
    }
    return 0;
}

/* Writes what was read, but for runs of zeros where they are to become holes. */
static int write_runs(struct runner *r, size_t len, uint64_t offset)
{
    bool zero = false;
    int err = 0;
    for (size_t at = 0, run = 0; at < len && err == 0; at += run) {
        run = len - at;
        if (r->parts->zeros) {
            run = sparse_next_run(r->buffer + at, len - at, offset + at, &zero);
        }
        if (!zero) {
            err = part_on_dst(
                r, (struct store_op){
                       .code = STORE_WRITE,
                       .up = {.upload = r->parts->upload, .buf = r->buffer + at, .len = run, .offset = offset + at}});
            part_count_moved(r->parts, err == 0 ? run : 0);
        }
    }
    return err;
}

static int copy_data(struct runner *r, uint64_t at, uint64_t end)
{
    struct parts *p = r->parts;
    while (at < end) {
        size_t got = 0;
        size_t want = end - at < p->buffer_size ? (size_t)(end - at) : p->buffer_size;
        int err =
            part_is_stopping(p) || atomic_load_explicit(&p->stop, memory_order_relaxed)
                ? -ECANCELED
                : on_src(r,
                         (struct store_op){
                             .code = STORE_READ,
                             .file = {.file = p->file, .buf = r->buffer, .len = want, .offset = at, .out_len = &got}});
        if (err != 0) {
            return err;
        }
        if (got == 0) {
            return p->staged ? -EIO : -ERR_CHANGED; /* nobody but a failing disk shortens what is staged */
        }
        XXH3_128bits_update(r->hash, r->buffer, got);
        err = write_runs(r, got, at);
        if (err != 0) {
            return err;
        }
        at += got;
    }
    return 0;
}

/* Whether at is known to be data, up to *out_end: some file systems find the end of a long extent by looking at each
 * page of it. */
static bool is_known_data(struct parts *p, uint64_t at, uint64_t *out_end)
{
    pthread_mutex_lock(&p->lock);
    bool known = at >= p->data && at < p->data_end;
    *out_end = known ? p->data_end : *out_end;
    pthread_mutex_unlock(&p->lock);
    return known;
}

static void know_data(struct parts *p, uint64_t data, uint64_t end)
{
    pthread_mutex_lock(&p->lock);
    p->data = data;
    p->data_end = end;
    pthread_mutex_unlock(&p->lock);
}

/* Where data begins and ends, in [at, end]; both end where there is none before. *out_next: where there is some. */
static int next_extent(struct runner *r, uint64_t at, uint64_t end, uint64_t *out_data, uint64_t *out_end,
                       uint64_t *out_next)
{
    *out_data = at;
    *out_end = end;
    *out_next = at;
    if (!r->parts->extents || is_known_data(r->parts, at, out_end)) {
        *out_end = *out_end < end ? *out_end : end;
        return 0;
    }
    int err = on_src(
        r, (struct store_op){.code = STORE_EXTENT,
                             .file = {.file = r->parts->file, .offset = at, .out_data = out_data, .out_end = out_end}});
    if (err == -ENXIO) { /* nothing but a hole is left */
        *out_data = r->parts->before.size;
        *out_end = r->parts->before.size;
        err = 0;
    }
    if (err == 0) {
        know_data(r->parts, *out_data, *out_end);
    }
    /* It may have grown: the check at the end will tell. */
    *out_next = *out_data;
    *out_end = *out_end < end ? *out_end : end;
    *out_data = *out_data < end ? *out_data : end;
    *out_end = *out_end < *out_data ? *out_data : *out_end;
    return err;
}

int part_read(struct runner *r, uint64_t part, uint64_t *out_next)
{
    uint64_t end = part_end(r->parts, part);
    XXH3_128bits_reset(r->hash);
    *out_next = 0;
    for (uint64_t at = part_begin(part); at < end;) {
        uint64_t data = 0;
        uint64_t stop = 0;
        uint64_t next = 0;
        int err = next_extent(r, at, end, &data, &stop, &next);
        if (err != 0) {
            return err;
        }
        if (at == part_begin(part) && data == end) {
            *out_next = next;
            return 0;
        }
        part_hash_zeros(r->hash, data - at);
        err = copy_data(r, data, stop);
        if (err != 0) {
            return err;
        }
        at = stop > at ? stop : end;
    }
    return 0;
}
