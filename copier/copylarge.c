/*
 * copylarge: streams one large or sparse file, extent by extent, so that holes stay holes.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/copyfile.h"
#include "copier/copystage.h"

#define HASH_PART (16ULL * 1024 * 1024) /* bytes; the unit of large hashes */
#define HOLE_MAX                                                                                                       \
    (64ULL * 1024 * 1024) /* bytes; a longer hole leaves the hash unknown: zeros are not worth the time                \
                           */

/* XXH3-128 over the XXH3-128 of fixed parts, fed in order; holes count as the zeros that they read as. */
struct part_hash {
    XXH3_state_t *part;  /* of the present part */
    XXH3_state_t *whole; /* over the parts before it */
    uint64_t in_part;    /* bytes fed into the present part */
};

/* One stream from source to destination. */
struct stream {
    struct copy_job *job;        /* not owned */
    struct port *src;            /* of the source, or of the temp dir; not owned */
    struct port *dst;            /* not owned */
    const struct staged *staged; /* what stands in the temp dir; its file is NULL where it does not; not owned */
    struct store_file *file;     /* open source file, or the staged one; NULL: none */
    struct store_upload *upload; /* NULL: none */
    struct attr before;          /* of the source file when it was opened */
    int64_t read_ns;             /* wall clock when reading began */
    struct part_hash hash;
    bool hashing;       /* hash is being kept: nothing was copied past us */
    bool copying;       /* the kernel copies from file to file */
    char *buffer;       /* worker's; NULL: none */
    size_t buffer_size; /* bytes */
};

static void hash_part_end(struct part_hash *h)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(h->part));
    XXH3_128bits_update(h->whole, canonical.digest, sizeof canonical.digest);
    XXH3_128bits_reset(h->part);
    h->in_part = 0;
}

static void hash_feed(struct part_hash *h, const char *data, uint64_t len)
{
    static const char zeros[64 * 1024];
    while (len > 0) {
        uint64_t n = HASH_PART - h->in_part < len ? HASH_PART - h->in_part : len;
        if (data == NULL && n > sizeof zeros) {
            n = sizeof zeros;
        }
        XXH3_128bits_update(h->part, data != NULL ? data : zeros, n);
        data = data != NULL ? data + n : NULL;
        len -= n;
        h->in_part += n;
        if (h->in_part == HASH_PART) {
            hash_part_end(h);
        }
    }
}

static void hash_end(struct part_hash *h, uint8_t out[16])
{
    if (h->in_part > 0) {
        hash_part_end(h);
    }
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(h->whole));
    memcpy(out, canonical.digest, sizeof canonical.digest);
}

/* Runs job->op on that side. */
static int on_src(struct stream *s, struct store_op op)
{
    s->job->op = op;
    s->job->op.dir = s->job->item->work.dir; /* for whoever asks what is under way */
    s->job->op.name = s->job->item->name;
    s->job->on_source = true;
    int r = store_run(s->src, &s->job->op);
    s->job->on_stage = r != 0 && s->staged->file != NULL;
    return r;
}

static int on_dst(struct stream *s, struct store_op op)
{
    s->job->op = op;
    s->job->op.dir = s->job->item->work.dir;
    s->job->op.name = item_dst_name(s->job->item);
    s->job->on_source = false;
    s->job->on_stage = false;
    return store_run(s->dst, &s->job->op);
}

static int open_input(struct stream *s)
{
    if (s->staged->file != NULL) {
        s->file = s->staged->file;
        s->before = s->staged->attr;
        s->read_ns = s->staged->read_ns;
        return 0;
    }
    s->read_ns = clock_real_ns();
    return copy_source_error(on_src(s, (struct store_op){.code = STORE_OPEN,
                                                         .dir = s->job->item->work.dir,
                                                         .name = s->job->item->name,
                                                         .open = {.out = &s->file, .attr = &s->before}}));
}

static int stream_open(struct stream *s)
{
    struct item *item = s->job->item;
    s->hash.part = XXH3_createState();
    s->hash.whole = XXH3_createState();
    s->buffer_size =
        s->src->store->caps.part < s->dst->store->caps.part ? s->src->store->caps.part : s->dst->store->caps.part;
    if (s->buffer_size > BUFFER_MAX || s->buffer_size == 0) {
        s->buffer_size = BUFFER_MAX;
    }
    s->buffer = worker_buffer_get(s->job->worker, s->buffer_size);
    s->job->buffer = s->buffer != NULL ? s->buffer_size : 0;
    if (s->hash.part == NULL || s->hash.whole == NULL || s->buffer == NULL) {
        return copy_job_failed(s->job, true, STORE_OPEN, -ENOMEM);
    }
    XXH3_128bits_reset(s->hash.part);
    XXH3_128bits_reset(s->hash.whole);
    s->hashing = true;
    int r = open_input(s);
    if (r != 0) {
        return r;
    }
    return on_dst(s, (struct store_op){.code = STORE_BEGIN,
                                       .dir = item->work.dir,
                                       .name = item_dst_name(item),
                                       .put = {.attr = &s->before,
                                               .keep = copy_keep(s->job->engine),
                                               .upload = &s->upload,
                                               .xattrs = s->job->xattrs}});
}

static void stream_close(struct stream *s)
{
    struct store_op last = s->job->op;
    bool on_source = s->job->on_source;
    bool on_stage = s->job->on_stage;
    if (s->upload != NULL) {
        on_dst(s, (struct store_op){.code = STORE_ABORT, .up = {.upload = s->upload}});
    }
    if (s->file != NULL && s->staged->file == NULL) {
        on_src(s, (struct store_op){.code = STORE_CLOSE, .file = {.file = s->file}});
    }
    s->job->op = last; /* what is reported is what failed, not what cleaned up after it */
    s->job->on_source = on_source;
    s->job->on_stage = on_stage;
    s->job->buffer = 0;
    if (s->buffer != NULL) {
        worker_buffer_put(s->job->worker, s->buffer, s->buffer_size);
    }
    XXH3_freeState(s->hash.part);
    XXH3_freeState(s->hash.whole);
}

static void stream_moved(struct stream *s, unsigned long bytes)
{
    s->job->moved += bytes;
    s->job->under_way += bytes;
    atomic_fetch_add_explicit(&s->job->engine->counts->under_way, bytes, memory_order_relaxed);
}

/* The whole file, or as much from *at on as it takes in one go, without passing through here: moves *at.
 * -EOPNOTSUPP: the two stores cannot. */
static int step_copy(struct stream *s, uint64_t *at)
{
    size_t done = 0;
    int r = on_dst(s, (struct store_op){.code = STORE_COPY,
                                        .up = {.upload = s->upload,
                                               .from = s->file,
                                               .offset = *at,
                                               .len = (size_t)(s->before.size - *at),
                                               .out_len = &done}});
    if (r == 0 && done == 0) {
        return -ERR_CHANGED; /* shorter than it was */
    }
    if (r == 0) {
        s->hashing = false;
        *at += done;
        stream_moved(s, done);
    }
    return r;
}

/* Writes what was read, but for runs of zeros where they are to become holes. */
static int write_runs(struct stream *s, size_t len, uint64_t offset)
{
    bool zero = false;
    int r = 0;
    for (size_t at = 0, run = 0; at < len && r == 0; at += run) {
        run = len - at;
        if (s->job->engine->options->sparse == SPARSE_ALWAYS) {
            run = sparse_next_run(s->buffer + at, len - at, offset + at, &zero);
        }
        if (!zero) {
            r = on_dst(s, (struct store_op){
                              .code = STORE_WRITE,
                              .up = {.upload = s->upload, .buf = s->buffer + at, .len = run, .offset = offset + at}});
        }
        if (r == 0 && !zero) {
            stream_moved(s, run);
        }
    }
    return r;
}

/* One step by reading and writing. */
static int step_read(struct stream *s, uint64_t *at, uint64_t end)
{
    size_t got = 0;
    uint64_t want = end - *at < s->buffer_size ? end - *at : s->buffer_size;
    int r = on_src(
        s, (struct store_op){
               .code = STORE_READ,
               .file = {.file = s->file, .buf = s->buffer, .len = (size_t)want, .offset = *at, .out_len = &got}});
    if (r != 0) {
        return r;
    }
    if (got == 0) {
        s->job->on_stage = s->staged->file != NULL; /* nobody but a failing disk shortens it */
        return s->job->on_stage ? -EIO : -ERR_CHANGED;
    }
    if (s->hashing) {
        hash_feed(&s->hash, s->buffer, got);
    }
    r = write_runs(s, got, *at);
    *at += r == 0 ? got : 0;
    return r;
}

static bool is_stopping(const struct stream *s)
{
    return atomic_load_explicit(&s->job->engine->stopping, memory_order_relaxed);
}

/* As far as the stores can do it between themselves: a reflink, or a copy within the server. Holes are then as they are
 * at the source. */
static int stream_copied(struct stream *s, uint64_t *at)
{
    if (s->job->engine->options->sparse != SPARSE_AUTO) {
        return 0;
    }
    while (*at < s->before.size) {
        int r = is_stopping(s) ? -ECANCELED : step_copy(s, at);
        if (r != 0) {
            return r == -EOPNOTSUPP ? 0 : r;
        }
    }
    return 0;
}

static int stream_extent(struct stream *s, uint64_t at, uint64_t end)
{
    while (at < end) {
        int r = is_stopping(s) ? -ECANCELED : step_read(s, &at, end);
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

/* What is to be read and written next. */
static int next_extent(struct stream *s, uint64_t at, uint64_t *out_data, uint64_t *out_end)
{
    uint64_t size = s->before.size;
    if (s->job->engine->options->sparse == SPARSE_NEVER) {
        *out_data = at;
        *out_end = size;
        return 0;
    }
    int r =
        on_src(s, (struct store_op){.code = STORE_EXTENT,
                                    .file = {.file = s->file, .offset = at, .out_data = out_data, .out_end = out_end}});
    if (r == -ENXIO) { /* nothing but a hole is left */
        *out_data = size;
        *out_end = size;
        return 0;
    }
    /* It may have grown: the check at the end will tell. */
    *out_end = *out_end < size ? *out_end : size;
    *out_data = *out_data < *out_end ? *out_data : *out_end;
    return r;
}

static int stream_data(struct stream *s)
{
    uint64_t at = 0;
    int r = stream_copied(s, &at);
    if (r != 0) {
        return r;
    }
    while (at < s->before.size) {
        if (is_stopping(s)) {
            return -ECANCELED;
        }
        uint64_t data = 0;
        uint64_t end = 0;
        r = next_extent(s, at, &data, &end);
        if (r != 0) {
            return r;
        }
        s->hashing = s->hashing && data - at <= HOLE_MAX;
        if (s->hashing) {
            hash_feed(&s->hash, NULL, data - at);
        }
        r = stream_extent(s, data, end);
        if (r != 0) {
            return r;
        }
        at = end;
    }
    return 0;
}

/* What is staged has been checked. */
static int check_input(struct stream *s, struct attr *out_after)
{
    if (s->staged->file != NULL) {
        *out_after = s->before;
        return 0;
    }
    int r = on_src(s, (struct store_op){.code = STORE_FSTAT, .stat = {.out = out_after, .file = s->file}});
    return r == 0 && (!attr_unchanged(&s->before, out_after) || !copy_xattrs_hold(s->job, out_after)) ? -ERR_CHANGED
                                                                                                      : r;
}

static int stream_publish(struct stream *s)
{
    struct attr after;
    struct attr out;
    uint8_t hash[16];
    struct item *item = s->job->item;
    int r = check_input(s, &after);
    if (r != 0) {
        return r;
    }
    struct store_upload *upload = s->upload;
    s->upload = NULL; /* ended by COMMIT, whatever the result */
    r = on_dst(s, (struct store_op){.code = STORE_COMMIT,
                                    .dir = item->work.dir,
                                    .name = item_dst_name(item),
                                    .up = {.upload = upload, .attr = &after, .out = &out, .xattrs = s->job->xattrs}});
    if (r != 0) {
        return r;
    }
    if (s->hashing) {
        hash_end(&s->hash, hash);
    }
    item->attr = after;
    event_published(s->job->engine, item->work.dir, item->name, &after, &out, s->hashing ? hash : NULL, s->read_ns);
    return 0;
}

int copy_large(struct copy_job *job, const struct staged *staged)
{
    struct engine_worker *own = worker_own(job->worker);
    struct stream s = {
        .job = job, .src = staged->file != NULL ? own->stage : own->src, .dst = own->dst, .staged = staged};
    job->moved = 0;
    int r = stream_open(&s);
    if (r == 0) {
        r = stream_data(&s);
    }
    if (r == 0) {
        r = stream_publish(&s);
    }
    stream_close(&s);
    atomic_fetch_sub_explicit(&job->engine->counts->under_way, job->under_way, memory_order_relaxed);
    job->under_way = 0;
    return r;
}
