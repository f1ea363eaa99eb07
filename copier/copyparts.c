#include "copier/copyparts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/copyparts_internal.h"

#define PARTS_MAX      (1U << 20) /* of a larger file (16 TiB) nothing is kept part by part */
#define HELPERS_MAX    7U
#define HELPERS_LOCAL  3U                     /* writes to one file run one at a time there: they gain little */
#define FLUSH_BYTES    (128ULL * 1024 * 1024) /* at most so much is not durable */
#define FLUSH_NS       (5 * NS_PER_SEC)       /* or for so long */
#define FLUSHES_FAILED 3U                     /* of one file, until it is given up */
#define TOUCH_NS       (3600 * NS_PER_SEC)    /* state_partial.touched_ns */

/* Of each part; none: it is a hole, or nobody has begun it. */
#define PART_DONE     1U  /* it stands there */
#define PART_HASHLESS 2U  /* its hash is unknown */
#define PART_WRITTEN  4U  /* to be flushed, and to be recorded then */
#define PART_FLUSHING 8U  /* by the flush under way */
#define PART_RACY     16U /* read too soon after its last change to be recorded */

/* The first failure is the file's. */
static void fail(struct runner *r, int err)
{
    struct parts *p = r->parts;
    pthread_mutex_lock(&p->lock);
    if (p->err == 0) {
        p->err = err;
        p->op = r->op;
        p->on_source = r->on_source;
    }
    pthread_mutex_unlock(&p->lock);
    atomic_store(&p->stop, true);
}

/* ---- what is recorded ---- */

/* That part stands there as durably as the state wants to have it. With the lock, under which the state may block, as
 * it does for whoever publishes: its writer is far faster than parts come. */
static void record(struct parts *p, uint64_t part)
{
    struct state *state = p->engine->state;
    int64_t now = clock_real_ns();
    bool hashless = (p->marks[part] & PART_HASHLESS) != 0;
    if (now - p->partial.touched_ns > TOUCH_NS) {
        p->partial.touched_ns = now;
        state_partial(state, &p->partial);
    }
    state_part(state, p->partial.temp.name, part, hashless ? NULL : p->hashes[part]);
    atomic_store_explicit(&p->recorded, true, memory_order_relaxed);
}

/* The runner has done with that part. */
static void part_over(struct runner *r, uint64_t part, unsigned mark, int64_t read_ns)
{
    struct parts *p = r->parts;
    bool racy = event_is_racy(p->engine, &p->before, read_ns);
    if (p->marks == NULL) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    if (p->generation == r->generation) {
        p->marks[part] = (unsigned char)(PART_DONE | mark | (racy ? PART_RACY : 0));
        if (p->flushes) {
            p->marks[part] |= PART_WRITTEN;
            p->unflushed += part_end(p, part) - part_begin(part);
        } else if (p->recording && !racy) {
            record(p, part);
        }
    }
    pthread_mutex_unlock(&p->lock);
}

/* Of all parts that have one of these marks: sets and clears others. With the lock. */
static void remark(struct parts *p, unsigned have, unsigned set, unsigned clear)
{
    for (uint64_t i = 0; i < p->count; i++) {
        if ((p->marks[i] & have) != 0) {
            p->marks[i] = (unsigned char)((p->marks[i] | set) & ~clear);
        }
    }
}

/* What a flush that passed has made durable. With the lock. */
static void flush_passed(struct parts *p)
{
    for (uint64_t i = 0; i < p->count; i++) {
        if ((p->marks[i] & PART_FLUSHING) != 0) {
            p->marks[i] &= (unsigned char)~PART_FLUSHING;
            if (p->recording && (p->marks[i] & PART_RACY) == 0) {
                record(p, i);
            }
        }
    }
}

/* All that is not durable may be lost: it is copied again, what is being copied now too. With the lock. */
static void flush_failed(struct parts *p)
{
    remark(p, PART_WRITTEN | PART_FLUSHING, 0, 0xff);
    p->unflushed = 0;
    p->generation++;
    p->next = 0;
}

/* Whether a flush is due, which the caller begins then. all: whenever there is something. With the lock. */
static bool flush_begins(struct parts *p, bool all, int64_t now, uint64_t *out_bytes)
{
    bool due =
        p->unflushed > 0 && !p->flushing && (all || p->unflushed >= FLUSH_BYTES || now - p->flushed_ns >= FLUSH_NS);
    if (due) {
        *out_bytes = p->unflushed;
        p->flushing = true;
        p->unflushed = 0;
        remark(p, PART_WRITTEN, PART_FLUSHING, PART_WRITTEN);
    }
    return due;
}

/* Makes durable and records what was written, where it is time to. 0 or -errno: that of the file. */
static int flush(struct runner *r, bool all)
{
    struct parts *p = r->parts;
    uint64_t bytes = 0;
    pthread_mutex_lock(&p->lock);
    bool begins = flush_begins(p, all, clock_mono_ns(), &bytes);
    pthread_mutex_unlock(&p->lock);
    if (!begins) {
        return 0;
    }
    int err = part_on_dst(r, (struct store_op){.code = STORE_FLUSH, .up = {.upload = p->upload, .len = (size_t)bytes}});
    pthread_mutex_lock(&p->lock);
    p->flushing = false;
    p->flushed_ns = clock_mono_ns();
    if (err == 0) {
        flush_passed(p);
    } else {
        flush_failed(p);
        bool again =
            p->generation <= FLUSHES_FAILED && err_classify(err, p->engine->dst->caps.network, false) == ERR_TRANSIENT;
        err = again ? 0 : err;
    }
    pthread_mutex_unlock(&p->lock);
    return err;
}

/* ---- who takes what ---- */

/* The next part for that runner. False: there is none (now). */
static bool take(struct runner *r, uint64_t *out_part)
{
    struct parts *p = r->parts;
    pthread_mutex_lock(&p->lock);
    while (p->marks != NULL && p->next < p->count && (p->marks[p->next] & PART_DONE) != 0) {
        p->next++;
    }
    bool found = p->next < p->count && p->err == 0;
    *out_part = p->next;
    p->next += found;
    r->generation = p->generation;
    pthread_mutex_unlock(&p->lock);
    return found;
}

/* Nothing but a hole is before next: nobody need ask again. */
static void skip_hole(struct runner *r, uint64_t next)
{
    struct parts *p = r->parts;
    uint64_t part = next / PART_SIZE;
    pthread_mutex_lock(&p->lock);
    if (next >= p->before.size) {
        part = p->count;
    }
    if (p->generation == r->generation && p->next < part) {
        p->next = part;
    }
    pthread_mutex_unlock(&p->lock);
}

static int run_part(struct runner *r, uint64_t part)
{
    struct parts *p = r->parts;
    int64_t read_ns = p->read_ns != 0 ? p->read_ns : clock_real_ns();
    if (atomic_load_explicit(&p->copying, memory_order_relaxed)) {
        int err = part_copy(r, part_begin(part), part_end(p, part));
        if (err != -EOPNOTSUPP) {
            if (err == 0) {
                part_over(r, part, PART_HASHLESS, read_ns);
            }
            return err;
        }
        atomic_store_explicit(&p->copying, false, memory_order_relaxed);
    }
    uint64_t next = 0;
    int err = part_read(r, part, &next);
    if (err != 0) {
        return err;
    }
    if (next != 0) {
        skip_hole(r, next);
        return 0;
    }
    if (p->hashes != NULL) {
        part_hash_take(r->hash, p->hashes[part]);
    }
    part_over(r, part, 0, read_ns);
    return 0;
}

/* One part after the other, until there is none left. */
static void run_parts(struct runner *r)
{
    struct parts *p = r->parts;
    uint64_t part = 0;
    int err = 0;
    while (err == 0 && !atomic_load_explicit(&p->stop, memory_order_relaxed) && take(r, &part)) {
        err = part_is_stopping(p) ? -ECANCELED : run_part(r, part);
        if (err == 0 && p->flushes) {
            err = flush(r, false);
        }
    }
    if (err != 0) {
        fail(r, err);
    }
}

static void runner_init(struct runner *r, struct parts *p, struct worker *w)
{
    struct engine_worker *own = worker_own(w);
    *r = (struct runner){.parts = p, .worker = w, .src = p->staged ? own->stage : own->src, .dst = own->dst};
    r->op.code = STORE_READ;
    r->on_source = true;
    r->hash = XXH3_createState();
}

/* ---- helpers ---- */

/* One helper less. The last one tells a leader that waits; nothing of p is touched afterwards. */
static void helper_over(struct parts *p)
{
    pthread_mutex_lock(&p->lock);
    bool tells = --p->running == 0 && p->awaited;
    pthread_mutex_unlock(&p->lock);
    if (tells) {
        io_post(p->io, &p->post);
    }
}

/* worker_on_lost: in place of a helper whose operation got no answer. */
static void helper_lost(void *arg, const void *reason)
{
    const struct copy_unanswered *why = reason;
    struct runner *r = arg;
    struct parts *p = r->parts;
    r->on_source = why->on_source;
    r->op.code = why->op->code;
    int64_t waited_ns = clock_mono_ns() - why->op->begun_ns;
    if (r->buffer != NULL) {
        worker_buffer_lost(r->worker, p->buffer_size);
    }
    pthread_mutex_lock(&p->lock);
    p->lost = true;
    p->lost_ns = waited_ns;
    p->err = 0; /* this is what is to be told of */
    pthread_mutex_unlock(&p->lock);
    fail(r, -ETIMEDOUT);
    helper_over(p);
}

static void help(struct pool_offer *offer, struct worker *w)
{
    struct parts *p = ((struct helper *)offer)->parts;
    struct runner r;
    runner_init(&r, p, w);
    worker_on_lost(helper_lost, &r);
    r.buffer = r.hash != NULL ? worker_buffer_get(w, p->buffer_size) : NULL;
    if (r.buffer != NULL) {
        run_parts(&r);
        worker_buffer_put(w, r.buffer, p->buffer_size);
    }
    XXH3_freeState(r.hash);
    helper_over(p);
}

static unsigned helpers_wanted(const struct parts *p)
{
    const struct engine *e = p->engine;
    unsigned max = e->dst->caps.network || e->src->caps.network ? HELPERS_MAX : HELPERS_LOCAL;
    if (e->options->jobs != 0 && max > e->options->jobs - 1) {
        max = e->options->jobs - 1;
    }
    return p->count - 1 < max ? (unsigned)(p->count - 1) : max;
}

static void call_helpers(struct parts *p, unsigned count)
{
    p->running = count;
    p->awaited = false;
    p->post = (struct io_post){.key = p};
    for (unsigned i = 0; i < count; i++) {
        p->helpers[i] = (struct helper){.offer = {.run = help}, .parts = p};
        pool_offer(p->pool, &p->helpers[i].offer);
    }
}

/* Those that have not come are not wanted any more; the others are waited for. */
static void dismiss_helpers(struct parts *p, unsigned count)
{
    unsigned back = 0;
    for (unsigned i = 0; i < count; i++) {
        back += pool_withdraw(p->pool, &p->helpers[i].offer);
    }
    pthread_mutex_lock(&p->lock);
    p->running -= back;
    p->awaited = p->running > 0;
    bool waits = p->awaited;
    pthread_mutex_unlock(&p->lock);
    if (waits) {
        io_await(p->io, &p->post);
    }
}

/* ---- the whole ---- */

int parts_create(const struct parts_options *options, struct parts **out_parts)
{
    struct copy_job *job = options->job;
    struct engine *e = job->engine;
    struct engine_worker *own = worker_own(job->worker);
    struct parts *p = calloc(1, sizeof *p + HELPERS_MAX * sizeof p->helpers[0]);
    if (p == NULL) {
        return -ENOMEM;
    }
    uint64_t from = (options->staged ? own->stage : own->src)->store->caps.part;
    uint64_t to = e->dst->caps.part;
    uint64_t best = from < to ? from : to;
    p->engine = e;
    p->worker = job->worker;
    p->io = worker_io(job->worker);
    p->pool = worker_pool(job->worker);
    p->job = job;
    p->dir = job->item->work.dir;
    p->src_name = job->item->name;
    p->dst_name = item_dst_name(job->item);
    p->file = options->file;
    p->upload = options->upload;
    p->before = *options->before;
    p->read_ns = options->read_ns;
    p->count = p->before.size / PART_SIZE + (p->before.size % PART_SIZE != 0);
    p->buffer_size = best == 0 || best > BUFFER_MAX ? BUFFER_MAX : (size_t)best;
    p->staged = options->staged;
    p->zeros = e->options->sparse == SPARSE_ALWAYS || (!p->staged && copy_leaves_zeros(e, options->before));
    p->extents = e->options->sparse != SPARSE_NEVER && (p->staged || !e->src->caps.no_extents);
    p->flushed_ns = clock_mono_ns();
    pthread_mutex_init(&p->lock, NULL);
    if (p->count > 0 && p->count <= PARTS_MAX) {
        p->marks = calloc(p->count, sizeof p->marks[0]);
        p->hashes = malloc(p->count * sizeof p->hashes[0]);
        if (p->marks == NULL || p->hashes == NULL) {
            parts_destroy(p);
            return -ENOMEM;
        }
        p->recording = options->partial != NULL;
        p->flushes = e->dst->caps.network && e->dst->caps.resume && p->count > 1;
    }
    if (p->recording) {
        p->partial = *options->partial;
    }
    *out_parts = p;
    return 0;
}

void parts_destroy(struct parts *p)
{
    if (p != NULL) {
        pthread_mutex_destroy(&p->lock);
        free(p->marks);
        free(p->hashes);
        free(p);
    }
}

void parts_have(struct parts *p, uint64_t part, const uint8_t *hash)
{
    if (p->marks == NULL || part >= p->count || (p->marks[part] & PART_DONE) != 0) {
        return;
    }
    p->marks[part] = hash != NULL ? PART_DONE : PART_DONE | PART_HASHLESS;
    if (hash != NULL) {
        memcpy(p->hashes[part], hash, sizeof p->hashes[part]);
    }
    p->there += part_end(p, part) - part_begin(part);
    atomic_store_explicit(&p->recorded, true, memory_order_relaxed);
}

uint64_t parts_there(const struct parts *p)
{
    return p->there;
}

void parts_copied(struct parts *p, uint64_t at)
{
    atomic_store_explicit(&p->copying, true, memory_order_relaxed);
    part_count_moved(p, at);
    for (uint64_t i = 0; p->marks != NULL && i < p->count && part_end(p, i) <= at; i++) {
        p->marks[i] = PART_DONE | PART_HASHLESS | (p->flushes ? PART_WRITTEN : 0);
        p->unflushed += p->flushes ? part_end(p, i) - part_begin(i) : 0;
    }
    if (p->marks == NULL) {
        p->next = at < p->before.size ? at / PART_SIZE : p->count;
    }
}

/* The leader's own part in it, once. */
static int lead(struct parts *p)
{
    struct runner r;
    runner_init(&r, p, p->worker);
    r.buffer = worker_buffer_get(p->worker, p->buffer_size);
    if (r.hash == NULL || r.buffer == NULL) {
        fail(&r, -ENOMEM);
    } else {
        p->job->buffer = p->buffer_size;
        unsigned helpers = helpers_wanted(p);
        call_helpers(p, helpers);
        run_parts(&r);
        /* They may wait for its memory. */
        p->job->buffer = 0;
        worker_buffer_put(p->worker, r.buffer, p->buffer_size);
        r.buffer = NULL;
        dismiss_helpers(p, helpers);
    }
    if (!p->lost && p->err == 0 && p->flushes) {
        int err = flush(&r, true);
        if (err != 0) {
            fail(&r, err);
        }
    }
    if (r.buffer != NULL) {
        worker_buffer_put(p->worker, r.buffer, p->buffer_size);
    }
    XXH3_freeState(r.hash);
    return p->err;
}

int parts_run(struct parts *p)
{
    int err = 0;
    do {
        err = p->count > 0 ? lead(p) : 0;
    } while (err == 0 && p->next < p->count); /* a flush has failed: once more */
    if (err != 0) {
        p->job->op = p->op;
        p->job->on_source = p->on_source;
        p->job->on_stage = p->on_source && p->staged && err != -ECANCELED;
    }
    return err;
}

bool parts_are_lost(const struct parts *p, int64_t *out_waited_ns)
{
    *out_waited_ns = p->lost_ns;
    return p->lost;
}

void parts_abandon(struct parts *p)
{
    atomic_store(&p->stop, true);
}

bool parts_recorded(const struct parts *p)
{
    return atomic_load(&p->recorded);
}

uint64_t parts_moved(const struct parts *p)
{
    return atomic_load(&p->moved);
}

bool parts_hash(const struct parts *p, uint8_t out[16])
{
    XXH3_state_t *whole = XXH3_createState();
    XXH3_state_t *one = XXH3_createState();
    uint8_t hole[16];
    bool have_hole = false;
    bool known = whole != NULL && one != NULL && (p->marks != NULL || p->count == 0);
    if (known) {
        XXH3_128bits_reset(whole);
    }
    for (uint64_t i = 0; known && i < p->count; i++) {
        uint64_t len = part_end(p, i) - part_begin(i);
        const uint8_t *hash = p->hashes[i];
        if ((p->marks[i] & PART_DONE) == 0) {
            if (!have_hole || len < PART_SIZE) {
                XXH3_128bits_reset(one); /* zeros, which is what a hole reads as */
                part_hash_zeros(one, len);
                part_hash_take(one, hole);
                have_hole = true;
            }
            hash = hole;
        }
        XXH3_128bits_update(whole, hash, sizeof hole);
        known = (p->marks[i] & PART_HASHLESS) == 0;
    }
    if (known) {
        part_hash_take(whole, out);
    }
    XXH3_freeState(whole);
    XXH3_freeState(one);
    return known;
}
