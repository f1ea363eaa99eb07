/*
 * copyfile: carries out one item in a worker's fiber: reads, checks that the source did not change meanwhile, lets the
 * store publish, and has it recorded.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/copyfile.h"
#include "copier/copyparts.h"
#include "copier/copyrename.h"
#include "copier/copystage.h"
#include "copier/engine_internal.h"
#include "copier/hash.h"
#include "copier/partials.h"
#include "copier/sync.h"
#include "workers/stores/backoff.h"

int copy_begin(void *arg, struct worker *w)
{
    struct engine *e = arg;
    struct engine_worker *own = calloc(1, sizeof *own);
    int r = own == NULL ? -ENOMEM : store_port_create(e->src, worker_io(w), &own->src);
    if (r == 0) {
        r = store_port_create(e->dst, worker_io(w), &own->dst);
    }
    if (r == 0 && e->staging != NULL) {
        r = store_port_create(staging_store(e->staging), worker_io(w), &own->stage);
    }
    if (r != 0 && own != NULL) {
        store_port_destroy(own->src);
        store_port_destroy(own->dst);
        free(own);
        return r;
    }
    worker_set(w, own);
    return r;
}

void copy_end(void *arg, struct worker *w)
{
    struct engine_worker *own = worker_own(w);
    if (own != NULL) {
        copy_stage_close(arg, own);
        chain_release(&own->former);
        store_port_destroy(own->src);
        store_port_destroy(own->dst);
        store_port_destroy(own->stage);
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

/* A small file in memory. */
struct small {
    struct attr attr; /* of the source, the same before and after it was read */
    size_t len;       /* bytes in data; attr.size of them */
    char *data;       /* worker's buffer */
    int64_t read_ns;  /* wall clock when its reading began */
};

/* From the source. */
static int read_source(struct copy_job *job, struct small *f, size_t size)
{
    const struct engine_worker *own = worker_own(job->worker);
    struct attr before = {0};
    f->read_ns = clock_real_ns();
    job->op = (struct store_op){.code = STORE_READ_SMALL,
                                .dir = job->item->work.dir,
                                .name = job->item->name,
                                .read_small = {.buf = f->data,
                                               .size = size,
                                               .out_len = &f->len,
                                               .before = &before,
                                               .after = &f->attr,
                                               .expect = &job->item->attr}};
    job->on_source = true;
    int r = copy_source_error(store_run(own->src, &job->op));
    if (r == -EFBIG || (r == 0 && (!attr_unchanged(&before, &f->attr) || f->len != f->attr.size ||
                                   !copy_xattrs_hold(job, &f->attr)))) {
        r = -ERR_CHANGED;
    }
    return r;
}

/* From the temp dir. */
static int read_staged(struct copy_job *job, const struct staged *staged, struct small *f)
{
    const struct engine_worker *own = worker_own(job->worker);
    f->attr = staged->attr;
    f->read_ns = staged->read_ns;
    job->op = (struct store_op){
        .code = STORE_READ,
        .file = {.file = staged->file, .buf = f->data, .len = f->attr.size, .offset = 0, .out_len = &f->len}};
    job->on_stage = true;
    int r = copy_stage_run(job->engine, own->stage, &job->op);
    r = r == 0 && f->len != f->attr.size ? -EIO : r;
    job->on_stage = r != 0;
    return r;
}

/* Each run that is not left out, as an upload. 0 or -errno of the destination. */
static int write_runs(struct copy_job *job, const struct small *f, struct store_upload *upload)
{
    const struct engine_worker *own = worker_own(job->worker);
    int r = 0;
    for (size_t at = 0; at < f->len && r == 0;) {
        bool zero = false;
        size_t run = sparse_next_run(f->data + at, f->len - at, at, &zero);
        if (!zero) {
            job->op = (struct store_op){.code = STORE_WRITE,
                                        .dir = job->item->work.dir,
                                        .name = item_dst_name(job->item),
                                        .up = {.upload = upload, .buf = f->data + at, .len = run, .offset = at}};
            r = store_run(own->dst, &job->op);
            job->moved += run;
        }
        at += run;
    }
    return r;
}

/* Where runs of zeros become holes, which PUBLISH knows nothing of. */
static int publish_sparse(struct copy_job *job, const struct small *f, struct attr *out)
{
    const struct engine_worker *own = worker_own(job->worker);
    struct store_upload *upload = NULL;
    struct dir *dir = job->item->work.dir;
    const char *name = item_dst_name(job->item);
    job->op = (struct store_op){
        .code = STORE_BEGIN,
        .dir = dir,
        .name = name,
        .put = {.attr = &f->attr, .keep = copy_keep(job->engine), .upload = &upload, .xattrs = job->xattrs}};
    int r = store_run(own->dst, &job->op);
    if (r != 0) {
        return r;
    }
    r = write_runs(job, f, upload);
    if (r != 0) {
        struct store_op abort = {.code = STORE_ABORT, .dir = dir, .name = name, .up = {.upload = upload}};
        (void)store_run(own->dst, &abort);
        return r;
    }
    job->op = (struct store_op){
        .code = STORE_COMMIT,
        .dir = dir,
        .name = name,
        .up = {.upload = upload, .attr = &f->attr, .out = out, .xattrs = job->xattrs, .expect = job->expect}};
    return store_run(own->dst, &job->op);
}

void copy_published(struct copy_job *job, const struct attr *src, const struct attr *dst, const uint8_t *hash,
                    int64_t read_ns)
{
    const struct item *item = job->item;
    if (job->outcome == NULL) {
        event_published(job->engine, item->work.dir, item->name, src, dst, hash, read_ns);
        return;
    }
    *job->outcome = (struct state_file){.dir_id = item->work.dir->id,
                                        .name = item->name,
                                        .src = *src,
                                        .dst = *dst,
                                        .xattrs = copy_xattr_kinds(job->engine->options),
                                        .racy = event_is_racy(job->engine, src, read_ns)};
    if (hash != NULL) {
        memcpy(job->outcome->hash, hash, sizeof job->outcome->hash);
        job->outcome->hash_known = true;
    }
}

static int publish_small(struct copy_job *job, const struct small *f)
{
    const struct engine_worker *own = worker_own(job->worker);
    struct item *item = job->item;
    struct attr out;
    uint8_t hash[16];
    int r = 0;
    job->on_source = false;
    job->moved = 0;
    hash_whole(f->data, f->len, hash);
    if (copy_leaves_zeros(job->engine, &f->attr) && sparse_has_run(f->data, f->len, 0)) {
        r = publish_sparse(job, f, &out);
    } else {
        job->op = (struct store_op){.code = STORE_PUBLISH,
                                    .dir = item->work.dir,
                                    .name = item_dst_name(item),
                                    .put = {.attr = &f->attr,
                                            .keep = copy_keep(job->engine),
                                            .data = f->data,
                                            .out = &out,
                                            .xattrs = job->xattrs,
                                            .expect = job->expect}};
        r = store_run(own->dst, &job->op);
        job->moved = f->len;
    }
    if (r == 0) {
        item->attr = f->attr;
        copy_published(job, &f->attr, &out, hash, f->read_ns);
    }
    return r;
}

/* One try at a small file, from the temp dir where it is staged there. 0; -ERR_CHANGED: try again; else -errno with
 * job->op, job->on_source, job->on_stage. */
static int try_small(struct copy_job *job, const struct staged *staged)
{
    struct small f = {0};
    size_t size = job->item->attr.size > 0 ? job->item->attr.size : 1;
    f.data = worker_buffer_get(job->worker, size);
    if (f.data == NULL) {
        return copy_job_failed(job, true, STORE_READ_SMALL, -ENOMEM);
    }
    job->buffer = size;
    int r = staged->file != NULL ? read_staged(job, staged, &f) : read_source(job, &f, size);
    if (r == 0) {
        r = publish_small(job, &f);
    }
    job->buffer = 0;
    worker_buffer_put(job->worker, f.data, size);
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
static bool has_holes(const struct engine *e, const struct attr *a)
{
    return e->options->sparse != SPARSE_NEVER && a->allocated < a->size && a->size > SPARSE_BLOCK;
}

bool copy_leaves_zeros(const struct engine *e, const struct attr *a)
{
    return e->options->sparse == SPARSE_ALWAYS || (e->src->caps.no_extents && has_holes(e, a));
}

bool copy_is_resumable(const struct engine *e, uint64_t size)
{
    return e->dst->caps.resume && e->options->partial_max_age > 0 && size > PART_SIZE;
}

bool copy_is_small(const struct engine *e, const struct attr *a)
{
    uint64_t limit = e->src->caps.small_max < e->dst->caps.small_max ? e->src->caps.small_max : e->dst->caps.small_max;
    return a->size <= limit && a->size <= BUFFER_MAX && (e->src->caps.no_extents || !has_holes(e, a));
}

/* Whether the whole file is to be tried once more: it changed while it was read, or its publishing broke off in a way
 * that only starting over mends (a COMMIT ends its upload whatever the result). */
static bool is_worth_another(const struct copy_job *job, int r)
{
    bool guard = store_op_guarded(&job->op);
    return r == -ERR_CHANGED || (!job->on_source && job->op.code == STORE_COMMIT && !guard &&
                                 err_classify(r, job->engine->dst->caps.network, false) == ERR_TRANSIENT);
}

/* Its extended attributes, and its contents where they are to be staged. */
static int read_and_stage(struct copy_job *job, struct staged *staged)
{
    int r = copy_source_error(copy_read_xattrs(job));
    if (r == 0) {
        r = copy_stage(job, staged);
    }
    if (r == 0 && staged->file != NULL && !copy_xattrs_hold(job, &staged->attr)) {
        copy_unstage(job, staged);
        return -ERR_CHANGED;
    }
    return r;
}

/* One try, with what is staged already or after staging it. */
static int try_file(struct copy_job *job, struct staged *staged)
{
    for (;;) {
        job->on_stage = false;
        int r = staged->file == NULL ? read_and_stage(job, staged) : 0;
        if (r == 0) {
            r = copy_is_small(job->engine, &job->item->attr) ? try_small(job, staged) : copy_large(job, staged);
        }
        if (r == 0 || !job->on_stage) {
            return r;
        }
        copy_stage_lost(job, staged); /* no failure of the file: once more, without */
    }
}

/* As often as it may be tried. What is staged is read again from the temp dir, not from the source. */
static int try_file_often(struct copy_job *job, struct staged *staged)
{
    const struct retry_options *again = &job->engine->retry;
    uint64_t seed = backoff_seed(job);
    for (unsigned attempt = 1;; attempt++) {
        int r = try_file(job, staged);
        if (!is_worth_another(job, r)) {
            return r;
        }
        if (r == -ERR_CHANGED) {
            job->on_source = true;
            job->op.step = "read";
        }
        job->op.attempts = attempt;
        if (attempt > again->retries ||
            io_sleep(worker_io(job->worker), backoff_ns(again->delay_ns, again->delay_max_ns, attempt - 1, &seed)) !=
                0) {
            return worker_stopping(job->worker) ? -ECANCELED : r;
        }
        atomic_fetch_add(r == -ERR_CHANGED ? &job->engine->counts->again : &job->engine->counts->retries, 1);
        r = staged->file == NULL ? look_again(job) : 0;
        if (r != 0) {
            return r;
        }
    }
}

static int copy_file(struct copy_job *job)
{
    struct staged staged = {0};
    job->staged = &staged;
    int r = try_file_often(job, &staged);
    copy_unstage(job, &staged);
    job->staged = NULL;
    return r;
}

static int copy_symlink(struct copy_job *job)
{
    struct engine_worker *own = worker_own(job->worker);
    struct item *item = job->item;
    struct attr out;
    char target[4096 + 1];
    int r = copy_read_xattrs(job);
    if (r != 0) {
        return r;
    }
    job->on_source = true;
    job->op = (struct store_op){.code = STORE_READLINK,
                                .dir = item->work.dir,
                                .name = item->name,
                                .readlink = {.buf = target, .size = sizeof target}};
    r = store_run(own->src, &job->op);
    if (r != 0) {
        return r == -EINVAL ? -ERR_CHANGED : r;
    }
    job->on_source = false;
    job->op = (struct store_op){
        .code = STORE_SYMLINK,
        .dir = item->work.dir,
        .name = item_dst_name(item),
        .put = {
            .attr = &item->attr, .keep = copy_keep(job->engine), .target = target, .out = &out, .xattrs = job->xattrs}};
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
    int r = copy_read_xattrs(job);
    if (r != 0) {
        return r;
    }
    job->on_source = false;
    job->op = (struct store_op){
        .code = STORE_NODE,
        .dir = item->work.dir,
        .name = item_dst_name(item),
        .put = {.attr = &item->attr, .keep = copy_keep(job->engine), .out = &out, .xattrs = job->xattrs}};
    r = store_run(own->dst, &job->op);
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

int copy_attrs(struct copy_job *job)
{
    struct engine_worker *own = worker_own(job->worker);
    struct item *item = job->item;
    int r = copy_read_xattrs(job);
    if (r != 0) {
        return r;
    }
    job->on_source = false;
    job->op =
        (struct store_op){.code = STORE_SETATTR,
                          .dir = item->work.dir,
                          .name = item_dst_name(item),
                          .setattr = {.attr = &item->attr, .keep = copy_keep(job->engine), .xattrs = job->xattrs}};
    return store_run(own->dst, &job->op);
}

int copy_item(struct copy_job *job)
{
    int r = 0;
    switch (job->item->kind) {
    case ITEM_FILE:
        r = copy_rename(job);
        return r <= 0 ? r : copy_file(job);
    case ITEM_SYMLINK:
        return copy_symlink(job);
    case ITEM_NODE:
        return copy_node(job);
    case ITEM_LINK:
        return make_link(job);
    case ITEM_ATTRS:
        return job->engine->options->command == COMMAND_SYNC ? copy_retouch(job) : copy_attrs(job);
    case ITEM_CHECK:
        return copy_check(job);
    case ITEM_REMOVE:
        return copy_remove(job);
    }
    return -EINVAL;
}

static const char *would_what(struct copy_job *job)
{
    const enum item_kind kind = job->item->kind;
    return kind == ITEM_LINK                             ? "link"
           : kind == ITEM_ATTRS                          ? "set attributes of"
           : kind == ITEM_CHECK                          ? "compare"
           : kind == ITEM_REMOVE                         ? "remove"
           : kind == ITEM_FILE && copy_would_rename(job) ? "rename"
                                                         : "copy";
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
        if (job->renamed) {
            add(&c->renamed, 1);
            break;
        }
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
    case ITEM_CHECK: /* it became one of the others */
        break;
    case ITEM_REMOVE: /* counted where it was done */
        add(&c->removed, e->options->dry_run ? 1 : 0);
        break;
    }
}

int copy_job_failed(struct copy_job *job, bool on_source, enum store_code code, int err)
{
    job->on_source = on_source;
    job->op = (struct store_op){.code = code};
    return err;
}

/* The item counts as done, whatever became of it. */
static void count_item(struct engine *e, const struct copy_job *job)
{
    add(&e->counts->done, 1);
    add(&e->counts->done_bytes, job->item->kind == ITEM_FILE ? job->planned : 0);
}

/* A path of the source's tree where it can be told, which is what the report is about. malloc'd. */
static char *lost_path(const struct copy_job *job, const struct watch_op *op)
{
    return job->ending ? watch_path(op->dir, op->name) : dir_path(job->item->work.dir, job->item->name);
}

void copy_count_out(const struct copy_job *job)
{
    if (job->parts != NULL) {
        atomic_fetch_sub_explicit(&job->engine->counts->under_way, parts_there(job->parts) + parts_moved(job->parts),
                                  memory_order_relaxed);
    }
}

void copy_job_lost(const struct copy_job *job)
{
    struct engine *e = job->engine;
    if (job->buffer > 0) {
        worker_buffer_lost(job->worker, job->buffer);
    }
    if (job->parts != NULL) {
        parts_abandon(job->parts);
    }
    copy_count_out(job);
    if (job->staged != NULL && job->staged->taken > 0) {
        staging_give(e->staging, job->staged->taken); /* others would wait for it in vain */
    }
}

/*
 * worker_on_lost: in place of a job whose operation got no answer. What the job held at the kernel stays as it is; its
 * memory is counted out, its entry has failed, and its outcome is unknown: the next run looks at it again.
 */
static void copy_lost(void *arg, const void *reason)
{
    const struct copy_unanswered *why = reason;
    struct copy_job job = *(const struct copy_job *)arg;
    struct engine *e = job.engine;
    struct engine_worker *own = worker_own(job.worker);
    struct item *item = job.item;
    struct dir *finished = job.ending ? why->op->dir : NULL;
    char *path = lost_path(&job, why->op);
    event_unanswered(e, path != NULL ? path : "?", why->op->code, clock_mono_ns() - why->op->begun_ns, why->on_source);
    free(path);
    struct port *dst = atomic_load(&e->stopping) ? NULL : own->dst;
    if (finished != NULL) {
        worker_on_lost(copy_lost, &job); /* the next directory may not answer either */
        planner_finish_lost(e->planner, dst, finished);
        return;
    }
    copy_job_lost(&job);
    event_doubt(e, item->work.dir, item->name);
    count_item(e, &job);
    job.ending = true;
    worker_on_lost(copy_lost, &job);
    planner_item_lost(e->planner, dst, item, -ETIMEDOUT);
}

/* Reports it. Where another worker's operation for it got no answer, its outcome is unknown. */
static void job_failed(const struct copy_job *job, int r)
{
    struct engine *e = job->engine;
    const struct item *item = job->item;
    if (job->unanswered_ns == 0) {
        event_failed(e, item->work.dir, item->name, &job->op, r, job->on_source);
        return;
    }
    char *path = dir_path(item->work.dir, item->name);
    event_unanswered(e, path != NULL ? path : item->name, job->op.code, job->unanswered_ns, job->on_source);
    free(path);
    event_doubt(e, item->work.dir, item->name);
}

/* Whether the file would still be under way at the end of the run's time, for nothing: what is recorded in parts is
 * gone on with by the next run. */
static bool is_too_late(const struct engine *e, const struct item *item)
{
    const struct options *o = e->options;
    uint64_t size = item->attr.size;
    if (o->until_ns == 0 || item->kind != ITEM_FILE || copy_is_small(e, &item->attr) ||
        (e->state != NULL && copy_is_resumable(e, size))) {
        return false;
    }
    int64_t now = clock_mono_ns();
    double rate = (double)atomic_load(&e->counts->bytes) / (double)(now - e->begun_ns + 1); /* bytes a ns */
    double limit = (double)o->bwlimit / (double)NS_PER_SEC;
    rate = o->bwlimit != 0 && (limit < rate || rate <= 0) ? limit : rate;
    return rate > 0 && (double)size > rate * (double)(o->until_ns - now);
}

void copy_run(void *arg, struct worker *w, struct work *work)
{
    struct engine *e = arg;
    struct engine_worker *own = worker_own(w);
    struct copy_job job = {.engine = e, .worker = w, .item = (struct item *)work};
    job.planned = job.item->attr.size;
    worker_on_lost(copy_lost, &job);
    bool late = false;
    int r = 0;
    if (e->options->dry_run) {
        char *path = dir_path(work->dir, job.item->name);
        report_would(e->report, would_what(&job), path != NULL ? path : job.item->name);
        free(path);
    } else if (atomic_load_explicit(&e->stopping, memory_order_relaxed)) {
        r = -ECANCELED;
    } else if (is_too_late(e, job.item)) {
        r = -ECANCELED;
        late = true;
        atomic_store(&e->out_of_time, true);
    } else {
        r = copy_item(&job);
    }
    if (r == 0) {
        count_done(e, &job);
        if (!e->options->dry_run) {
            /* Linked to another name this time, perhaps: nobody takes up what was left of it as a file. */
            partials_useless(e->partials, work->dir->id, job.item->name);
        }
    } else if (job.item->kind == ITEM_LINK && item_link_copies(r)) {
        /* No failure: the planner has it copied, and counts it. */
    } else if (r != -ECANCELED || !(late || atomic_load(&e->stopping))) {
        job_failed(&job, r);
    } else {
        atomic_fetch_add(&e->counts->unfinished, 1);
    }
    xattrs_destroy(job.xattrs);
    job.xattrs = NULL;
    count_item(e, &job);
    bool stopped = atomic_load(&e->stopping);
    job.ending = true;
    planner_item_done(e->planner, stopped ? NULL : own->dst, job.item, r);
}

void copy_drop(void *arg, struct work *work)
{
    struct engine *e = arg;
    atomic_fetch_add(&e->counts->unfinished, 1);
    planner_item_done(e->planner, NULL, (struct item *)work, -ECANCELED);
}
