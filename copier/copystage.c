#include "copier/copystage.h"

#include <errno.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/sparse.h"
#include "copier/staging.h"
#include "workers/stores/posix_stage.h"

#define ROOM_POLL (20 * NS_PER_MS) /* between two looks for room, with --stage always */

#define CLONE_BYTES (4U * 1024 * 1024) /* a second: what the source has not written yet is written first */

#define NOTICE_ROOM  "no room in the temp dir: files went straight to the destination"
#define NOTICE_ERROR "the temp dir failed: files went straight to the destination"

/* One file on its way into the temp dir. */
struct passage {
    struct copy_job *job;    /* not owned */
    struct staging *staging; /* not owned */
    struct port *src;        /* not owned */
    struct port *stage;      /* not owned */
    struct store_file *from; /* open source file; NULL: none */
    struct staged *to;       /* the caller's */
    struct attr before;      /* of the source file when it was opened */
    bool by_hand;            /* its bytes go through our memory */
    bool zeros;              /* runs of zeros become holes */
    char *buffer;            /* worker's; NULL: none */
};

/* The stores' result of an operation at the source. */
static int on_src(struct passage *p, struct store_op op)
{
    p->job->op = op;
    p->job->on_source = true;
    return store_run(p->src, &p->job->op);
}

int copy_stage_run(struct engine *e, struct port *stage, struct store_op *op)
{
    struct stage_question q;
    staging_ask(e->staging, &q, 0);
    int r = store_run(stage, op);
    staging_answered(e->staging, &q);
    return r;
}

/* The functions of posix_stage.h, watched. */

static int stage_make(struct passage *p)
{
    struct stage_question q;
    staging_ask(p->staging, &q, 0);
    int r = posix_stage_make(p->stage, &p->to->file);
    staging_answered(p->staging, &q);
    return r;
}

static int stage_clone(struct passage *p)
{
    struct stage_question q;
    staging_ask(p->staging, &q, (int64_t)(p->before.size / CLONE_BYTES) * NS_PER_SEC);
    int r = posix_stage_clone(p->stage, p->to->file, p->from);
    staging_answered(p->staging, &q);
    return r;
}

/* len bytes of the buffer, from there in it. */
static int stage_write(struct passage *p, size_t from, size_t len, uint64_t at)
{
    struct stage_question q;
    staging_ask(p->staging, &q, 0);
    int r = posix_stage_write(p->stage, p->to->file, p->buffer + from, len, at);
    staging_answered(p->staging, &q);
    return r;
}

static int stage_copy(struct passage *p, size_t want, uint64_t at, size_t *out_len)
{
    struct stage_question q;
    staging_ask(p->staging, &q, 0);
    int r = posix_stage_copy(p->stage, p->to->file, p->from, want, at, out_len);
    staging_answered(p->staging, &q);
    return r;
}

static int stage_end(struct passage *p)
{
    struct stage_question q;
    staging_ask(p->staging, &q, 0);
    int r = posix_stage_end(p->stage, p->to->file, p->before.size);
    staging_answered(p->staging, &q);
    return r;
}

static int stage_reset(struct engine *e, struct port *stage, struct store_file *file)
{
    struct stage_question q;
    staging_ask(e->staging, &q, 0);
    int r = posix_stage_reset(stage, file);
    staging_answered(e->staging, &q);
    return r;
}

static enum stage_way choose(const struct copy_job *job, struct staging *s, const struct attr *attr, bool refused)
{
    const struct engine *e = job->engine;
    const struct stage_case c = {
        .mode = e->options->stage,
        .dir = s != NULL && !job->unstaged,
        .small = copy_is_small(e, attr),
        .clone = s != NULL && !refused && staging_may_clone(s, attr->dev),
        .network = e->dst->caps.network,
        .together = attr->dev == e->dst_dev,
        .size = attr->size,
        .need = stage_need(attr),
        .max = e->options->stage_max,
        .room = s == NULL                           ? 0
                : e->options->stage == STAGE_ALWAYS ? staging_space(s)
                                                    : staging_room(s),
    };
    return stage_choose(&c);
}

/* The temp dir failed with err. 0: the file goes another way. */
static int stage_failed(const struct passage *p, int err)
{
    bool full = err == -ENOSPC || err == -EDQUOT;
    notice_raise(p->job->engine->notices, full ? NOTICE_ROOM : NOTICE_ERROR);
    return 0;
}

/* Takes room for so many bytes more; with --stage always it waits until others have given theirs back, but only while
 * it holds none itself. 0; -ENOSPC; -ECANCELED. */
static int take_room(struct passage *p, uint64_t bytes)
{
    bool waits = p->job->engine->options->stage == STAGE_ALWAYS && p->to->taken == 0;
    while (!staging_take(p->staging, bytes)) {
        if (!waits || bytes > staging_space(p->staging)) {
            return -ENOSPC;
        }
        if (io_sleep(worker_io(p->job->worker), ROOM_POLL) != 0) {
            return -ECANCELED;
        }
    }
    p->to->taken += bytes;
    return 0;
}

/* Room for what is about to be written: attributes may promise more holes than there are. */
static int take_for(struct passage *p, uint64_t written)
{
    return written <= p->to->taken ? 0 : take_room(p, written - p->to->taken);
}

/* One piece through memory. 0 with *out_len; 1: the temp dir failed, with *stage_err; -errno of the source. */
static int copy_by_hand(struct passage *p, size_t want, uint64_t at, size_t *out_len, int *stage_err)
{
    if (p->buffer == NULL) {
        p->buffer = worker_buffer_get(p->job->worker, BUFFER_MAX);
        if (p->buffer == NULL) {
            return copy_job_failed(p->job, true, STORE_READ, -ENOMEM);
        }
        p->job->buffer = BUFFER_MAX;
    }
    int r = on_src(p, (struct store_op){
                          .code = STORE_READ,
                          .file = {.file = p->from, .buf = p->buffer, .len = want, .offset = at, .out_len = out_len}});
    if (r != 0 || *out_len == 0) {
        return r;
    }
    bool zero = false;
    for (size_t done = 0, run = 0; done < *out_len && *stage_err == 0; done += run) {
        run = *out_len - done;
        if (p->zeros) {
            run = sparse_next_run(p->buffer + done, run, at + done, &zero);
        }
        if (!zero) {
            *stage_err = stage_write(p, done, run, at + done);
        }
    }
    return *stage_err != 0;
}

/* One piece. The kernel copies it where that is known to end: from a network source an operation may hang, and must be
 * one of the store's. Whose an error was does not show there: it is looked for by hand. */
static int copy_piece(struct passage *p, size_t want, uint64_t at, size_t *out_len, int *stage_err)
{
    if (!p->by_hand) {
        p->by_hand = stage_copy(p, want, at, out_len) != 0;
    }
    return p->by_hand ? copy_by_hand(p, want, at, out_len, stage_err) : 0;
}

/* Copies one extent. The same results. */
static int copy_extent(struct passage *p, uint64_t at, uint64_t end, uint64_t *written, int *stage_err)
{
    while (at < end) {
        size_t got = 0;
        size_t want = end - at < BUFFER_MAX ? (size_t)(end - at) : BUFFER_MAX;
        if (atomic_load_explicit(&p->job->engine->stopping, memory_order_relaxed)) {
            return -ECANCELED;
        }
        *stage_err = take_for(p, *written + want);
        if (*stage_err != 0) {
            return *stage_err == -ECANCELED ? -ECANCELED : 1;
        }
        int r = copy_piece(p, want, at, &got, stage_err);
        if (r != 0) {
            return r;
        }
        if (got == 0) {
            return -ERR_CHANGED;
        }
        *written += got;
        at += got;
    }
    return 0;
}

/* Where data begins and ends, from at on; -ENXIO: there is none; -errno. */
static int next_extent(struct passage *p, uint64_t at, uint64_t *out_data, uint64_t *out_end)
{
    if (p->job->engine->src->caps.no_extents) { /* zeros will tell */
        *out_data = at;
        *out_end = p->before.size;
        return 0;
    }
    return on_src(p,
                  (struct store_op){.code = STORE_EXTENT,
                                    .file = {.file = p->from, .offset = at, .out_data = out_data, .out_end = out_end}});
}

/* All extents; the same results. */
static int copy_extents(struct passage *p, int *stage_err)
{
    uint64_t size = p->before.size;
    uint64_t written = 0;
    for (uint64_t at = 0; at < size;) {
        uint64_t data = 0;
        uint64_t end = 0;
        int r = next_extent(p, at, &data, &end);
        if (r == -ENXIO) { /* nothing but a hole is left */
            break;
        }
        if (r != 0) {
            return r;
        }
        /* It may have grown: the look afterwards tells. */
        r = copy_extent(p, data < size ? data : size, end < size ? end : size, &written, stage_err);
        if (r != 0) {
            return r;
        }
        at = end;
    }
    *stage_err = stage_end(p);
    return *stage_err == 0 ? 0 : 1;
}

/* Into the empty staged file by reading and writing. 0; 1: not staged, the temp dir failed; -errno of the source. */
static int fill_by_copy(struct passage *p)
{
    int stage_err = take_room(p, stage_need(&p->before));
    if (stage_err == -ECANCELED) {
        return -ECANCELED;
    }
    if (stage_err != 0) {
        /* That the room is taken is how auto works, and nothing to speak of. */
        if (p->job->engine->options->stage == STAGE_ALWAYS) {
            stage_failed(p, stage_err);
        }
        return 1;
    }
    int r = 0;
    if (p->before.allocated < p->before.size) { /* its holes need its size */
        stage_err = stage_end(p);
        r = stage_err != 0;
    }
    if (r == 0) {
        r = copy_extents(p, &stage_err);
    }
    if (p->buffer != NULL) {
        p->job->buffer = 0;
        worker_buffer_put(p->job->worker, p->buffer, BUFFER_MAX);
        p->buffer = NULL;
    }
    if (r == 1) {
        stage_failed(p, stage_err);
    }
    return r;
}

/* 0; 1: not staged; -errno of the source. */
static int fill(struct passage *p)
{
    enum stage_way way = choose(p->job, p->staging, &p->before, false);
    if (way == WAY_CLONE) {
        int r = stage_clone(p);
        staging_cloned(p->staging, p->before.dev, r == 0);
        p->to->cloned = r == 0;
        if (r == 0) {
            r = stage_end(p);
            return r == -EIO ? -ERR_CHANGED : r != 0 ? (stage_failed(p, r), 1) : 0; /* longer than it was */
        }
        way = choose(p->job, p->staging, &p->before, true);
    }
    return way == WAY_COPY ? fill_by_copy(p) : 1;
}

/* An empty staged file, one that was used before where there is. 0 or -errno. */
static int make_file(struct passage *p)
{
    struct engine_worker *own = worker_own(p->job->worker);
    if (own->spares > 0) {
        p->to->file = own->spare[--own->spares];
        return 0;
    }
    return stage_make(p);
}

/* With the source open. The same results. */
static int pass(struct passage *p)
{
    struct attr after;
    int r = make_file(p);
    if (r != 0) {
        stage_failed(p, r);
        return 1;
    }
    p->zeros = p->job->engine->src->caps.no_extents && copy_leaves_zeros(p->job->engine, &p->before);
    r = fill(p);
    if (r == 0) {
        r = on_src(p, (struct store_op){.code = STORE_FSTAT, .stat = {.out = &after, .file = p->from}});
    }
    return r == 0 && !attr_unchanged(&p->before, &after) ? -ERR_CHANGED : r;
}

static void count(struct report_counts *c, const struct staged *staged)
{
    atomic_fetch_add_explicit(&c->staged, 1, memory_order_relaxed);
    if (staged->cloned) {
        atomic_fetch_add_explicit(&c->staged_clones, 1, memory_order_relaxed);
    }
}

int copy_stage(struct copy_job *job, struct staged *staged)
{
    struct engine_worker *own = worker_own(job->worker);
    struct item *item = job->item;
    struct passage p = {
        .job = job, .staging = job->engine->staging, .src = own->src, .stage = own->stage, .to = staged};
    p.by_hand = job->engine->src->caps.network;
    enum stage_way way = choose(job, p.staging, &item->attr, false);
    if (way == WAY_MEMORY || way == WAY_STREAM) {
        if (p.staging != NULL && job->engine->options->stage == STAGE_ALWAYS && !job->unstaged) {
            notice_raise(job->engine->notices, NOTICE_ROOM);
        }
        return 0;
    }
    staged->read_ns = clock_real_ns();
    int r = on_src(&p, (struct store_op){.code = STORE_OPEN,
                                         .dir = item->work.dir,
                                         .name = item->name,
                                         .open = {.out = &p.from, .attr = &p.before}});
    if (r != 0) {
        *staged = (struct staged){0};
        return copy_source_error(r);
    }
    r = pass(&p);
    struct store_op last = job->op;
    on_src(&p, (struct store_op){.code = STORE_CLOSE, .file = {.file = p.from}});
    job->op = last; /* what is reported is what failed, not what cleaned up after it */
    if (r != 0) {
        copy_unstage(job, staged);
        return r == 1 ? 0 : r;
    }
    staged->attr = p.before;
    item->attr = p.before;
    count(job->engine->counts, staged);
    return 0;
}

static void close_file(struct engine *e, struct engine_worker *own, struct store_file *file)
{
    struct store_op op = {.code = STORE_CLOSE, .file = {.file = file}};
    (void)copy_stage_run(e, own->stage, &op);
}

void copy_stage_close(struct engine *e, struct engine_worker *own)
{
    while (own->spares > 0) {
        close_file(e, own, own->spare[--own->spares]);
    }
}

void copy_unstage(struct copy_job *job, struct staged *staged)
{
    struct engine_worker *own = worker_own(job->worker);
    if (staged->file != NULL) {
        bool empty = own->spares < STAGE_SPARES && stage_reset(job->engine, own->stage, staged->file) == 0;
        if (empty && own->spares < STAGE_SPARES) { /* other fibers have run meanwhile */
            own->spare[own->spares++] = staged->file;
        } else {
            close_file(job->engine, own, staged->file);
        }
    }
    if (staged->taken > 0) {
        staging_give(job->engine->staging, staged->taken);
    }
    *staged = (struct staged){0};
}

void copy_stage_lost(struct copy_job *job, struct staged *staged)
{
    notice_raise(job->engine->notices, NOTICE_ERROR);
    copy_unstage(job, staged);
    job->unstaged = true;
}
