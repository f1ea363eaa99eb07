/*
 * verify_contents: contents, by their hashes. What is small is read whole; a large file in parts, by as many fibers as
 * there is room for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/verify_internal.h"

#define READ_BLOCK 4096U /* bytes; what reading past the cache wants multiples of */

static size_t round_up(uint64_t size)
{
    return size == 0 ? READ_BLOCK : (size_t)((size + READ_BLOCK - 1) / READ_BLOCK * READ_BLOCK);
}

/* r of opening or reading: it is another file by now, or none. */
static bool is_moved(int r)
{
    return r == -ENOENT || r == -ELOOP || r == -ENOTDIR || r == -EISDIR || r == -ENXIO || r == -EFBIG ||
           r == -ERR_CHANGED;
}

/* The destination's file cannot be read: that is a finding where it is the file that is to blame. */
static enum outcome read_failed(struct verify_dir *d, const struct verify_entry *e, const struct store_op *op, int r,
                                bool on_source)
{
    if (is_moved(r)) {
        return OUTCOME_MOVED;
    }
    if (!on_source && (r == -EIO || r == -EUCLEAN || r == -ENODATA || r == -EBADMSG)) {
        char evidence[EVIDENCE_MAX];
        (void)snprintf(evidence, sizeof evidence, "it cannot be read: %s", err_text(r));
        verify_found(d, e, FINDING_UNREADABLE, SURE_CERTAIN, evidence);
    } else {
        verify_failed(d, e, op, r, on_source);
    }
    return OUTCOME_FAILED;
}

static void note_large(struct verify_dir *d, const struct verify_entry *e)
{
    uint8_t digest[VERIFIED_DIGEST];
    struct hasher *h = NULL;
    if (hasher_create(&h) == 0) {
        verify_digest(d, e, h);
        hasher_end(h, digest);
        hasher_destroy(h);
        state_verify_note(d->verify->memory, d->dir->id, verify_name(d, e), digest);
    }
}

/* Contents are right. source: they were read there too. A side that may have changed after it was read, and kept its
 * times (P7), is not remembered. */
static void right(struct verify_dir *d, const struct verify_entry *e, int64_t read_ns, bool source,
                  const uint8_t hash[HASH_SIZE])
{
    struct verify *v = d->verify;
    const struct engine *engine = &d->look->engine;
    const struct attr src = facts_attr(&e->src);
    const bool src_racy = event_is_racy(engine, &src, read_ns);
    verify_add(&v->counts.compared, 1);
    if (source && e->hash_wanted &&
        !src_racy) { /* it is the source's hash: how old the destination is does not matter */
        state_verify_fill(v->memory, d->dir->id, verify_name(d, e), &src, hash);
    }
    if (src_racy || e->dst.ctime_ns >= read_ns - engine->dst->caps.clock_granularity_ns) {
        atomic_store(&d->tainted, true);
        return;
    }
    if (e->src.size >= VERIFY_LARGE) {
        note_large(d, e);
    }
}

/* What was read is the file that was listed, and it did not change meanwhile. */
static bool is_listed(const struct facts *listed, const struct attr *before, const struct attr *after)
{
    const struct facts begun = facts_of(before);
    const struct facts ended = facts_of(after);
    return facts_unchanged(listed, &begun) && facts_unchanged(&begun, &ended);
}

static void count_bytes(struct verify_dir *d, bool on_source, unsigned long n)
{
    verify_add(on_source ? &d->verify->counts.source_bytes : &d->look->counts.bytes, n);
}

/* ---- small files ---- */

static enum outcome hash_small_side(struct verify_dir *d, struct verify_entry *e, struct worker *w, bool on_source,
                                    void *buffer, uint8_t out[HASH_SIZE])
{
    struct attr before = {0};
    struct attr after = {0};
    size_t len = 0;
    struct store_op op = {.code = STORE_READ_SMALL,
                          .dir = d->dir,
                          .name = verify_name(d, e),
                          .read_small = {.buf = buffer,
                                         .size = round_up(e->src.size),
                                         .out_len = &len,
                                         .before = &before,
                                         .after = &after,
                                         .fresh = !on_source && d->verify->fresh}};
    int r = store_run(on_source ? look_src(w) : look_dst(w), &op);
    if (r != 0) {
        return read_failed(d, e, &op, r, on_source);
    }
    if (!is_listed(on_source ? &e->src : &e->dst, &before, &after) || len != e->src.size) {
        return OUTCOME_MOVED;
    }
    hash_small(buffer, len, out);
    count_bytes(d, on_source, len);
    return OUTCOME_SAME;
}

static enum outcome compare_small(struct verify_dir *d, struct verify_entry *e, struct worker *w)
{
    const size_t size = round_up(e->src.size);
    const int64_t read_ns = clock_real_ns();
    bool source = !e->hash_known || d->look->engine.options->read_source;
    uint8_t ours[HASH_SIZE];
    uint8_t theirs[HASH_SIZE];
    void *buffer = worker_buffer_get(w, size);
    if (buffer == NULL) {
        const struct store_op op = {.code = STORE_READ_SMALL};
        verify_failed(d, e, &op, -ENOMEM, false);
        return OUTCOME_FAILED;
    }
    memcpy(ours, e->hash, HASH_SIZE);
    enum outcome outcome = hash_small_side(d, e, w, false, buffer, theirs);
    if (outcome == OUTCOME_SAME && source) {
        outcome = hash_small_side(d, e, w, true, buffer, ours);
        verify_add(&d->verify->counts.source_files, 1);
    }
    worker_buffer_put(w, buffer, size);
    if (outcome != OUTCOME_SAME) {
        return outcome;
    }
    if (memcmp(ours, theirs, HASH_SIZE) != 0) {
        return OUTCOME_OTHER;
    }
    right(d, e, read_ns, source, ours);
    return OUTCOME_SAME;
}

/* ---- large files ---- */

/* One large file. Every fiber that works on it takes the next part until there is none; the last one to leave settles
 * it. */
struct whole {
    struct verify_dir *dir;                  /* one reference */
    struct verify_entry *entry;              /* of dir */
    struct store_file *file[DIR_SIDES];      /* open; NULL: not read there */
    uint8_t (*hashes[DIR_SIDES])[HASH_SIZE]; /* of each part; owned; NULL: not read there */
    struct attr before[DIR_SIDES];           /* of the open files */
    uint64_t parts;                          /* of it */
    int64_t read_ns;                         /* wall clock when it was opened */
    unsigned tries;                          /* for verify_settle */
    atomic_ulong next;                       /* part to be taken */
    atomic_uint hands;                       /* fibers that work on it, or will */
    atomic_int outcome;                      /* enum outcome: the first that is not OUTCOME_SAME */
    atomic_bool told;                        /* a failure was reported: once is enough */
};

/* A fiber that helps. */
struct helper {
    struct tour_task task; /* first field */
    struct whole *whole;   /* its hand is held */
};

static void end_as(struct whole *f, enum outcome outcome)
{
    int same = OUTCOME_SAME;
    atomic_compare_exchange_strong(&f->outcome, &same, (int)outcome);
}

static void part_failed(struct whole *f, const struct store_op *op, int r, bool on_source)
{
    if (is_moved(r)) {
        end_as(f, OUTCOME_MOVED);
    } else if (!atomic_exchange(&f->told, true)) {
        end_as(f, read_failed(f->dir, f->entry, op, r, on_source));
    }
}

/* One fiber at one part of one side. */
struct stretch {
    struct whole *whole;   /* not owned */
    struct worker *worker; /* not owned */
    enum dir_side side;    /* whose */
    struct hasher *hasher; /* not owned */
    void *buffer;          /* chunk bytes; not owned */
    uint64_t data;         /* what lies before is a hole: from the present offset on; else not beyond it */
    uint64_t data_end;     /* the next hole may begin there */
};

static void hash_zeros(struct hasher *hasher, uint64_t len)
{
    static const char zeros[16U * 1024];
    while (len > 0) {
        size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;
        hasher_add(hasher, zeros, n);
        len -= n;
    }
}

/* Looks for the next data from at on, where the file has holes, and asking for them is cheaper than reading. */
static bool find_data(struct stretch *s, uint64_t at, uint64_t end)
{
    struct whole *f = s->whole;
    const struct attr *attr = &f->before[s->side];
    const bool server = s->side == DIR_DST && f->dir->look->engine.places.url.host != NULL;
    struct store_op op = {
        .code = STORE_EXTENT,
        .dir = f->dir->dir,
        .name = verify_name(f->dir, f->entry),
        .file = {.file = f->file[s->side], .offset = at, .out_data = &s->data, .out_end = &s->data_end}};
    if (at < s->data_end) {
        return true;
    }
    s->data = at;
    s->data_end = end;
    if (server || attr->allocated >= attr->size) {
        return true;
    }
    int r = store_run(s->side == DIR_SRC ? look_src(s->worker) : look_dst(s->worker), &op);
    if (r == -ENXIO) {
        s->data = end;
        s->data_end = end;
    } else if (r != 0) {
        part_failed(f, &op, r, s->side == DIR_SRC);
        return false;
    }
    return true;
}

/* The next piece of data, at most a chunk. False: the file is done with. */
static bool hash_piece(struct stretch *s, uint64_t at, size_t len)
{
    struct whole *f = s->whole;
    size_t got = 0;
    struct store_op op = {
        .code = STORE_READ,
        .dir = f->dir->dir,
        .name = verify_name(f->dir, f->entry),
        .file = {.file = f->file[s->side], .buf = s->buffer, .len = round_up(len), .offset = at, .out_len = &got}};
    int r = store_run(s->side == DIR_SRC ? look_src(s->worker) : look_dst(s->worker), &op);
    if (r != 0) {
        part_failed(f, &op, r, s->side == DIR_SRC);
        return false;
    }
    if (got < len) {
        end_as(f, OUTCOME_MOVED); /* shorter by now */
        return false;
    }
    hasher_add(s->hasher, s->buffer, len);
    count_bytes(f->dir, s->side == DIR_SRC, len);
    return true;
}

static bool hash_part(struct stretch *s, uint64_t part)
{
    struct whole *f = s->whole;
    const size_t chunk = f->dir->verify->chunk;
    const uint64_t end = (part + 1) * HASH_PART < f->entry->src.size ? (part + 1) * HASH_PART : f->entry->src.size;
    uint64_t at = part * HASH_PART;
    s->data_end = at;
    while (at < end) {
        if (worker_stopping(s->worker)) {
            end_as(f, OUTCOME_CUT);
            return false;
        }
        if (!find_data(s, at, end)) {
            return false;
        }
        if (s->data > at) {
            uint64_t to = s->data < end ? s->data : end;
            hash_zeros(s->hasher, to - at);
            at = to;
            continue;
        }
        uint64_t to = s->data_end < end ? s->data_end : end;
        size_t len = to - at < chunk ? (size_t)(to - at) : chunk;
        if (!hash_piece(s, at, len)) {
            return false;
        }
        at += len;
    }
    hasher_end(s->hasher, f->hashes[s->side][part]);
    return true;
}

static void work(struct whole *f, struct worker *w)
{
    const size_t chunk = f->dir->verify->chunk;
    struct hasher *hasher = NULL;
    void *buffer = worker_buffer_get(w, chunk);
    if (buffer == NULL || hasher_create(&hasher) != 0) {
        const struct store_op op = {.code = STORE_READ};
        part_failed(f, &op, -ENOMEM, false);
    }
    bool go_on = hasher != NULL;
    while (go_on && atomic_load(&f->outcome) == OUTCOME_SAME) {
        unsigned long part = atomic_fetch_add(&f->next, 1);
        if (part >= f->parts) {
            break;
        }
        for (int side = DIR_SIDES - 1; go_on && side >= 0; side--) {
            struct stretch stretch = {
                .whole = f, .worker = w, .side = (enum dir_side)side, .hasher = hasher, .buffer = buffer};
            go_on = f->file[side] == NULL || hash_part(&stretch, part);
        }
    }
    hasher_destroy(hasher);
    if (buffer != NULL) {
        worker_buffer_put(w, buffer, chunk);
    }
}

static void whole_free(struct whole *f)
{
    for (int side = 0; side < DIR_SIDES; side++) {
        free(f->hashes[side]);
    }
    verify_dir_put(f->dir);
    free(f);
}

/* Closes what is open; changed: whether one of them is not what was opened any more, or cannot tell. */
static bool close_sides(struct whole *f, struct worker *w)
{
    bool same = true;
    for (int side = 0; side < DIR_SIDES; side++) {
        struct port *port = side == DIR_SRC ? look_src(w) : look_dst(w);
        const struct facts *listed = side == DIR_SRC ? &f->entry->src : &f->entry->dst;
        struct attr after = {0};
        if (f->file[side] == NULL) {
            continue;
        }
        struct store_op op = {.code = STORE_FSTAT, .dir = f->dir->dir, .stat = {.out = &after, .file = f->file[side]}};
        same = store_run(port, &op) == 0 && is_listed(listed, &f->before[side], &after) && same;
        op = (struct store_op){.code = STORE_CLOSE, .dir = f->dir->dir, .file = {.file = f->file[side]}};
        (void)store_run(port, &op); /* nothing was written through it */
        f->file[side] = NULL;
    }
    return same;
}

/* All parts were read: what comes of it. */
static enum outcome judge(struct whole *f, uint64_t *out_part)
{
    const struct verify_entry *e = f->entry;
    uint8_t ours[HASH_SIZE];
    uint8_t theirs[HASH_SIZE];
    bool source = f->hashes[DIR_SRC] != NULL;
    hash_of_parts((const uint8_t(*)[HASH_SIZE])f->hashes[DIR_DST], f->parts, theirs);
    memcpy(ours, e->hash, HASH_SIZE);
    if (source) {
        hash_of_parts((const uint8_t(*)[HASH_SIZE])f->hashes[DIR_SRC], f->parts, ours);
    }
    if (memcmp(ours, theirs, HASH_SIZE) == 0) {
        right(f->dir, e, f->read_ns, source, ours);
        return OUTCOME_SAME;
    }
    *out_part = 0;
    while (source && *out_part + 1 < f->parts &&
           memcmp(f->hashes[DIR_SRC][*out_part], f->hashes[DIR_DST][*out_part], HASH_SIZE) == 0) {
        ++*out_part;
    }
    return OUTCOME_OTHER;
}

/* One hand less; the last one settles the file. */
static void leave(struct whole *f, struct worker *w)
{
    uint64_t part = 0;
    if (atomic_fetch_sub(&f->hands, 1) != 1) {
        return;
    }
    bool same = close_sides(f, w);
    enum outcome outcome = (enum outcome)atomic_load(&f->outcome);
    if (outcome == OUTCOME_SAME) {
        outcome = same ? judge(f, &part) : OUTCOME_MOVED;
    }
    verify_settle(f->dir, f->entry, w, outcome, part, f->tries);
    whole_free(f);
}

static void help(struct tour_task *task, struct worker *w)
{
    struct helper *h = (struct helper *)task; /* its first field */
    struct whole *f = h->whole;
    free(h);
    work(f, w);
    leave(f, w);
}

static void call_helpers(struct whole *f)
{
    struct look *l = f->dir->look;
    for (unsigned i = 1; i < l->width && i < f->parts; i++) {
        struct helper *h = malloc(sizeof *h);
        if (h == NULL) {
            return; /* fewer hands do too */
        }
        *h = (struct helper){.task = {.run = help}, .whole = f};
        atomic_fetch_add(&f->hands, 1);
        if (!tour_add(l->tour, &h->task)) {
            atomic_fetch_sub(&f->hands, 1); /* never the last one: the caller has one */
            free(h);
            return;
        }
    }
}

/* 0; -errno with op and *on_source. */
static int open_sides(struct whole *f, struct worker *w, struct store_op *op, bool *on_source)
{
    for (int side = 0; side < DIR_SIDES; side++) {
        if (f->hashes[side] == NULL) {
            continue;
        }
        *on_source = side == DIR_SRC;
        *op = (struct store_op){.code = STORE_OPEN,
                                .dir = f->dir->dir,
                                .name = verify_name(f->dir, f->entry),
                                .open = {.out = &f->file[side],
                                         .attr = &f->before[side],
                                         .fresh = side == DIR_DST && f->dir->verify->fresh}};
        int r = store_run(*on_source ? look_src(w) : look_dst(w), op);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

static struct whole *whole_make(struct verify_dir *d, struct verify_entry *e, bool source, unsigned tries)
{
    struct whole *f = calloc(1, sizeof *f);
    if (f == NULL) {
        return NULL;
    }
    f->entry = e;
    f->parts = hash_parts(e->src.size);
    f->tries = tries;
    f->read_ns = clock_real_ns();
    atomic_init(&f->hands, 1);
    atomic_init(&f->outcome, OUTCOME_SAME);
    f->hashes[DIR_DST] = calloc(f->parts, HASH_SIZE);
    f->hashes[DIR_SRC] = source ? calloc(f->parts, HASH_SIZE) : NULL;
    atomic_fetch_add(&d->refs, 1);
    f->dir = d;
    if (f->hashes[DIR_DST] == NULL || (source && f->hashes[DIR_SRC] == NULL)) {
        whole_free(f);
        return NULL;
    }
    return f;
}

static enum outcome compare_large(struct verify_dir *d, struct verify_entry *e, struct worker *w, unsigned tries)
{
    bool source = !e->hash_known || d->look->engine.options->read_source;
    bool on_source = false;
    struct store_op op = {.code = STORE_OPEN};
    struct whole *f = whole_make(d, e, source, tries);
    int r = f == NULL ? -ENOMEM : open_sides(f, w, &op, &on_source);
    if (r != 0) {
        if (f != NULL) {
            (void)close_sides(f, w);
            whole_free(f);
        }
        return read_failed(d, e, &op, r, on_source);
    }
    verify_add(&d->verify->counts.source_files, source ? 1 : 0);
    call_helpers(f);
    work(f, w);
    leave(f, w);
    return OUTCOME_PENDING;
}

enum outcome verify_contents(struct verify_dir *d, struct verify_entry *e, struct worker *w, unsigned tries,
                             uint64_t *out_part)
{
    *out_part = 0;
    return e->src.size <= d->verify->small_max ? compare_small(d, e, w) : compare_large(d, e, w, tries);
}

/* ---- byte by byte ---- */

struct pair {
    struct store_file *file[DIR_SIDES]; /* open */
    char *buffer[DIR_SIDES];            /* chunk bytes each */
};

/* The same stretch of both sides. 0; -errno with op and *on_source. out_got: bytes of the shorter one. */
static int read_pair(struct verify_dir *d, const struct verify_entry *e, struct worker *w, struct pair *p, uint64_t at,
                     size_t *out_got, struct store_op *op, bool *on_source)
{
    *out_got = d->verify->chunk;
    for (int side = 0; side < DIR_SIDES; side++) {
        size_t got = 0;
        *on_source = side == DIR_SRC;
        *op = (struct store_op){
            .code = STORE_READ,
            .dir = d->dir,
            .name = verify_name(d, e),
            .file = {
                .file = p->file[side], .buf = p->buffer[side], .len = d->verify->chunk, .offset = at, .out_len = &got}};
        int r = store_run(*on_source ? look_src(w) : look_dst(w), op);
        if (r != 0) {
            return r;
        }
        *out_got = got < *out_got ? got : *out_got;
    }
    return 0;
}

static enum outcome find_difference(struct verify_dir *d, struct verify_entry *e, struct worker *w, struct pair *p,
                                    uint64_t at, struct difference *out)
{
    while (at < e->src.size) {
        size_t got = 0;
        bool on_source = false;
        struct store_op op;
        if (worker_stopping(w)) {
            verify_settle(d, e, w, OUTCOME_CUT, 0, 0);
            return OUTCOME_CUT;
        }
        int r = read_pair(d, e, w, p, at, &got, &op, &on_source);
        if (r != 0) {
            return read_failed(d, e, &op, r, on_source);
        }
        size_t i = memcmp(p->buffer[DIR_SRC], p->buffer[DIR_DST], got) == 0 ? got : 0;
        while (i < got && p->buffer[DIR_SRC][i] == p->buffer[DIR_DST][i]) {
            i++;
        }
        if (i < got) {
            *out = (struct difference){.at = at + i,
                                       .ours = (unsigned char)p->buffer[DIR_SRC][i],
                                       .theirs = (unsigned char)p->buffer[DIR_DST][i]};
            return OUTCOME_OTHER;
        }
        if (got == 0) {
            return OUTCOME_MOVED;
        }
        at += got;
    }
    return OUTCOME_SAME;
}

static enum outcome open_pair(struct verify_dir *d, struct verify_entry *e, struct worker *w, struct pair *p)
{
    for (int side = 0; side < DIR_SIDES; side++) {
        struct store_op op = {.code = STORE_OPEN,
                              .dir = d->dir,
                              .name = verify_name(d, e),
                              .open = {.out = &p->file[side], .fresh = side == DIR_DST && d->verify->fresh}};
        int r = store_run(side == DIR_SRC ? look_src(w) : look_dst(w), &op);
        if (r != 0) {
            return read_failed(d, e, &op, r, side == DIR_SRC);
        }
    }
    return OUTCOME_SAME;
}

enum outcome verify_bytes(struct verify_dir *d, struct verify_entry *e, struct worker *w, uint64_t part,
                          struct difference *out)
{
    const size_t chunk = d->verify->chunk;
    struct pair p = {.buffer = {aligned_alloc(READ_BLOCK, chunk), aligned_alloc(READ_BLOCK, chunk)}};
    enum outcome outcome = OUTCOME_FAILED;
    if (p.buffer[DIR_SRC] == NULL || p.buffer[DIR_DST] == NULL) {
        const struct store_op op = {.code = STORE_READ};
        verify_failed(d, e, &op, -ENOMEM, false);
    } else {
        outcome = open_pair(d, e, w, &p);
    }
    if (outcome == OUTCOME_SAME) {
        outcome = find_difference(d, e, w, &p, part * HASH_PART, out);
    }
    for (int side = 0; side < DIR_SIDES; side++) {
        if (p.file[side] != NULL) {
            struct store_op op = {.code = STORE_CLOSE, .dir = d->dir, .file = {.file = p.file[side]}};
            (void)store_run(side == DIR_SRC ? look_src(w) : look_dst(w), &op); /* nothing was written through it */
        }
        free(p.buffer[side]);
    }
    return outcome;
}
