/*
 * copyfile: carries out one item in a worker's fiber: reads, checks that the source did not change meanwhile, lets the
 * store publish, and has it recorded.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/copyfile.h"
#include "copier/engine_internal.h"

int copy_begin(void *arg, struct worker *w)
{
    struct engine *e = arg;
    struct engine_worker *own = calloc(1, sizeof *own);
    int r = own == NULL ? -ENOMEM : store_port_create(e->src, worker_io(w), &own->src);
    if (r == 0) {
        r = store_port_create(e->dst, worker_io(w), &own->dst);
    }
    if (r != 0 && own != NULL) {
        store_port_destroy(own->src);
        free(own);
        return r;
    }
    worker_set(w, own);
    return r;
}

void copy_end(void *arg, struct worker *w)
{
    (void)arg;
    struct engine_worker *own = worker_own(w);
    if (own != NULL) {
        store_port_destroy(own->src);
        store_port_destroy(own->dst);
        free(own);
    }
}

unsigned copy_keep(const struct engine *e)
{
    return e->options->owner == OWNER_IGNORE ? STORE_KEEP_MODE | STORE_KEEP_TIMES : STORE_KEEP_ALL;
}

/* XXH3-128 over the XXH3-128 of 16 MiB parts; what is smaller is one part. */
static void hash_whole(const void *data, size_t len, uint8_t out[16])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, len));
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(canonical.digest, sizeof canonical.digest));
    memcpy(out, canonical.digest, sizeof canonical.digest);
}

int copy_source_error(int r)
{
    return r == -ELOOP || r == -ENOTDIR || r == -EISDIR || r == -ENXIO ? -ERR_CHANGED : r;
}

/* One try at a small file. 0; -ERR_CHANGED: try again (job->item->attr is fresh); else -errno with job->op,
 * job->on_source. */
static int try_small(struct copy_job *job)
{
    struct engine_worker *own = worker_own(job->worker);
    struct item *item = job->item;
    struct attr before = {0};
    struct attr after = {0};
    struct attr out;
    size_t len = 0;
    size_t size = item->attr.size > 0 ? item->attr.size : 1;
    void *buffer = worker_buffer_get(job->worker, size);
    if (buffer == NULL) {
        return copy_job_failed(job, true, STORE_READ_SMALL, -ENOMEM);
    }
    int64_t read_ns = clock_real_ns();
    job->op = (struct store_op){
        .code = STORE_READ_SMALL,
        .dir = item->work.dir,
        .name = item->name,
        .read_small = {.buf = buffer, .size = size, .out_len = &len, .before = &before, .after = &after}};
    job->on_source = true;
    int r = copy_source_error(store_run(own->src, &job->op));
    if (r == -EFBIG) {
        r = -ERR_CHANGED;
    }
    if (r == 0 && (!attr_unchanged(&before, &after) || len != after.size)) {
        r = -ERR_CHANGED;
    }
    if (r == 0) {
        uint8_t hash[16];
        hash_whole(buffer, len, hash);
        job->on_source = false;
        job->op =
            (struct store_op){.code = STORE_PUBLISH,
                              .dir = item->work.dir,
                              .name = item_dst_name(item),
                              .put = {.attr = &after, .keep = copy_keep(job->engine), .data = buffer, .out = &out}};
        r = store_run(own->dst, &job->op);
        if (r == 0) {
            job->moved = len;
            item->attr = after;
            event_published(job->engine, item->work.dir, item->name, &after, &out, hash, read_ns);
        }
    }
    worker_buffer_put(job->worker, buffer, size);
    return r;
}

/* What stands in the source now, for the next try. */
static int look_again(struct copy_job *job)
{
    struct engine_worker *own = worker_own(job->worker);
    struct attr now = {0};
    job->on_source = true;
    job->op = (struct store_op){
        .code = STORE_STAT, .dir = job->item->work.dir, .name = job->item->name, .stat = {.out = &now}};
    int r = store_run(own->src, &job->op);
    if (r != 0) {
        return r;
    }
    if (!S_ISREG(now.mode)) {
        return -ERR_CHANGED;
    }
    job->item->attr = now;
    return 0;
}

/* Holes show as less space than size; reading them whole would fill them. */
static bool is_small(const struct engine *e, const struct attr *a)
{
    uint64_t limit = e->src->caps.small_max < e->dst->caps.small_max ? e->src->caps.small_max : e->dst->caps.small_max;
    return a->size <= limit && a->size <= BUFFER_MAX && (a->size == 0 || a->allocated >= a->size || a->size <= 4096);
}

/* Whether the whole file is to be tried once more: it changed while it was read, or its publishing broke off in a way
 * that only starting over mends (a COMMIT ends its upload whatever the result). */
static bool is_worth_another(const struct copy_job *job, int r)
{
    return r == -ERR_CHANGED || (!job->on_source && job->op.code == STORE_COMMIT &&
                                 err_classify(r, job->engine->dst->caps.network, false) == ERR_TRANSIENT);
}

static int copy_file(struct copy_job *job)
{
    const struct retry_options *again = &job->engine->retry;
    uint64_t seed = (uint64_t)clock_mono_ns() | 1;
    for (unsigned attempt = 1;; attempt++) {
        int r = is_small(job->engine, &job->item->attr) ? try_small(job) : copy_large(job);
        if (!is_worth_another(job, r)) {
            return r;
        }
        if (r == -ERR_CHANGED) {
            job->on_source = true;
            job->op.step = "read";
        }
        job->op.attempts = attempt;
        if (attempt > again->retries ||
            io_sleep(worker_io(job->worker), retry_delay_ns(again, attempt - 1, &seed)) != 0) {
            return worker_stopping(job->worker) ? -ECANCELED : r;
        }
        atomic_fetch_add(r == -ERR_CHANGED ? &job->engine->counts->again : &job->engine->counts->retries, 1);
        r = look_again(job);
        if (r != 0) {
            return r;
        }
    }
}

static int copy_symlink(struct copy_job *job)
{
    struct engine_worker *own = worker_own(job->worker);
    struct item *item = job->item;
    struct attr out;
    char target[4096 + 1];
    job->on_source = true;
    job->op = (struct store_op){.code = STORE_READLINK,
                                .dir = item->work.dir,
                                .name = item->name,
                                .readlink = {.buf = target, .size = sizeof target}};
    int r = store_run(own->src, &job->op);
    if (r != 0) {
        return r == -EINVAL ? -ERR_CHANGED : r;
    }
    job->on_source = false;
    job->op =
        (struct store_op){.code = STORE_SYMLINK,
                          .dir = item->work.dir,
                          .name = item_dst_name(item),
                          .put = {.attr = &item->attr, .keep = copy_keep(job->engine), .target = target, .out = &out}};
    r = store_run(own->dst, &job->op);
    if (r == 0) {
        event_published(job->engine, item->work.dir, item->name, &item->attr, &out, NULL, clock_real_ns());
    }
    return r;
}

static int copy_node(struct copy_job *job)
{
    struct engine_worker *own = worker_own(job->worker);
    struct item *item = job->item;
    struct attr out;
    job->op = (struct store_op){.code = STORE_NODE,
                                .dir = item->work.dir,
                                .name = item_dst_name(item),
                                .put = {.attr = &item->attr, .keep = copy_keep(job->engine), .out = &out}};
    int r = store_run(own->dst, &job->op);
    if (r == 0) {
        event_published(job->engine, item->work.dir, item->name, &item->attr, &out, NULL, clock_real_ns());
    }
    return r;
}

static int make_link(struct copy_job *job)
{
    struct engine_worker *own = worker_own(job->worker);
    struct item *item = job->item;
    struct attr out;
    job->op = (struct store_op){.code = STORE_LINK,
                                .dir = item->work.dir,
                                .name = item_dst_name(item),
                                .link = {.from_dir = item->from_dir, .from_name = item->from_name, .out = &out}};
    int r = planner_link_is_full(job->engine->planner, item) ? -EMLINK : store_run(own->dst, &job->op);
    if (r == 0) {
        /* Its contents were read when the leader's were, at some time in this run. */
        event_published(job->engine, item->work.dir, item->name, &item->attr, &out, NULL, job->engine->begun_real_ns);
    }
    return r;
}

static int set_attrs(struct copy_job *job)
{
    struct engine_worker *own = worker_own(job->worker);
    struct item *item = job->item;
    job->op = (struct store_op){.code = STORE_SETATTR,
                                .dir = item->work.dir,
                                .name = item_dst_name(item),
                                .setattr = {.attr = &item->attr, .keep = copy_keep(job->engine)}};
    return store_run(own->dst, &job->op);
}

static int carry_out(struct copy_job *job)
{
    switch (job->item->kind) {
    case ITEM_FILE:
        return copy_file(job);
    case ITEM_SYMLINK:
        return copy_symlink(job);
    case ITEM_NODE:
        return copy_node(job);
    case ITEM_LINK:
        return make_link(job);
    case ITEM_ATTRS:
        return set_attrs(job);
    }
    return -EINVAL;
}

static const char *would_what(enum item_kind kind)
{
    return kind == ITEM_LINK ? "link" : kind == ITEM_ATTRS ? "set attributes of" : "copy";
}

static void add(atomic_ulong *counter, unsigned long n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void count_done(struct engine *e, const struct copy_job *job)
{
    struct report_counts *c = e->counts;
    const struct item *item = job->item;
    switch (item->kind) {
    case ITEM_FILE:
        add(&c->files, 1);
        add(&c->bytes, item->attr.size);
        add(&c->moved, job->moved);
        break;
    case ITEM_SYMLINK:
    case ITEM_NODE:
        add(&c->others, 1);
        break;
    case ITEM_LINK:
        add(&c->links, 1);
        break;
    case ITEM_ATTRS:
        add(&c->attrs, 1);
        break;
    }
}

int copy_job_failed(struct copy_job *job, bool on_source, enum store_code code, int err)
{
    job->on_source = on_source;
    job->op = (struct store_op){.code = code};
    return err;
}

void copy_run(void *arg, struct worker *w, struct work *work)
{
    struct engine *e = arg;
    struct engine_worker *own = worker_own(w);
    struct copy_job job = {.engine = e, .worker = w, .item = (struct item *)work};
    unsigned long planned = job.item->kind == ITEM_FILE ? job.item->attr.size : 0;
    int r = 0;
    if (e->options->dry_run) {
        char *path = dir_path(work->dir, job.item->name);
        report_would(e->report, would_what(job.item->kind), path != NULL ? path : job.item->name);
        free(path);
    } else if (atomic_load_explicit(&e->stopping, memory_order_relaxed)) {
        r = -ECANCELED;
    } else {
        r = carry_out(&job);
    }
    if (r == 0) {
        count_done(e, &job);
    } else if (job.item->kind == ITEM_LINK && item_link_copies(r)) {
        /* No failure: the planner has it copied, and counts it. */
    } else if (r != -ECANCELED || !atomic_load(&e->stopping)) {
        event_failed(e, work->dir, job.item->name, &job.op, r, job.on_source);
    } else {
        atomic_fetch_add(&e->counts->unfinished, 1);
    }
    add(&e->counts->done, 1);
    add(&e->counts->done_bytes, planned);
    bool stopped = atomic_load(&e->stopping);
    planner_item_done(e->planner, stopped ? NULL : own->dst, job.item, r);
}

void copy_drop(void *arg, struct work *work)
{
    struct engine *e = arg;
    atomic_fetch_add(&e->counts->unfinished, 1);
    planner_item_done(e->planner, NULL, (struct item *)work, -ECANCELED);
}
