/*
 * copylarge: one large or sparse file: its upload begun or resumed, its parts copied, the whole published; holes stay
 * holes. What does not arrive whole stays for the next run, where that is worth anything.
 */
#include <errno.h>

#include "base/clock.h"
#include "base/errs.h"
#include "cleanup/temps.h"
#include "copier/copyparts.h"
#include "copier/copystage.h"
#include "copier/partials.h"

/* One file on its way from source to destination. */
struct stream {
    struct copy_job *job;         /* not owned */
    struct port *src;             /* of the source, or of the temp dir; not owned */
    struct port *dst;             /* not owned */
    const struct staged *staged;  /* what stands in the temp dir; its file is NULL where it does not; not owned */
    struct store_file *file;      /* open source file, or the staged one; NULL: none */
    struct store_upload *upload;  /* NULL: none */
    struct parts *parts;          /* owned; NULL: none */
    struct attr before;           /* of the source file when it was opened */
    int64_t read_ns;              /* wall clock when reading began */
    bool recording;               /* it is kept for the next run where it does not arrive */
    bool resumed;                 /* an earlier run has begun it */
    struct state_partial partial; /* where recording */
};

/* Runs job->op on that side. */
static int on_src(struct stream *s, struct store_op op)
{
    s->job->op = op;
    s->job->op.dir = s->job->item->work.dir; /* for whoever asks what is under way */
    s->job->op.name = s->job->item->name;
    s->job->on_source = true;
    bool staged = s->staged->file != NULL;
    int r = staged ? copy_stage_run(s->job->engine, s->src, &s->job->op) : store_run(s->src, &s->job->op);
    s->job->on_stage = r != 0 && staged;
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
    return copy_source_error(
        on_src(s, (struct store_op){.code = STORE_OPEN, .open = {.out = &s->file, .attr = &s->before}}));
}

/* ---- begun or resumed ---- */

static int begin(struct stream *s, const struct store_temp *resume, struct store_temp *out_temp)
{
    return on_dst(s, (struct store_op){.code = STORE_BEGIN,
                                       .put = {.attr = &s->before,
                                               .keep = copy_keep(s->job->engine),
                                               .upload = &s->upload,
                                               .resume = resume,
                                               .temp = out_temp,
                                               .xattrs = s->job->xattrs}});
}

static void abort_upload(struct stream *s)
{
    struct store_upload *upload = s->upload;
    s->upload = NULL;
    on_dst(s, (struct store_op){.code = STORE_ABORT, .up = {.upload = upload}});
}

static int make_parts(struct stream *s)
{
    const struct parts_options options = {.job = s->job,
                                          .file = s->file,
                                          .staged = s->staged->file != NULL,
                                          .upload = s->upload,
                                          .before = &s->before,
                                          .read_ns = s->staged->file != NULL ? s->read_ns : 0,
                                          .partial = s->recording ? &s->partial : NULL};
    int r = parts_create(&options, &s->parts);
    s->job->parts = s->parts;
    return r == 0 ? 0 : copy_job_failed(s->job, false, STORE_BEGIN, r);
}

static void drop_parts(struct stream *s)
{
    s->job->parts = NULL;
    parts_destroy(s->parts);
    s->parts = NULL;
}

/* What takes over the parts that the state knows of. */
struct taking {
    struct parts *parts; /* not owned */
    uint64_t size;       /* bytes that stand there: what is beyond them was not written, whatever the record says */
    uint64_t whole;      /* bytes of the file */
};

static void take_part(void *arg, uint64_t part, const uint8_t *hash)
{
    const struct taking *t = arg;
    uint64_t end = part < t->whole / PART_SIZE ? (part + 1) * PART_SIZE : t->whole;
    if (end <= t->size) {
        parts_have(t->parts, part, hash);
    }
}

/* With the upload resumed: takes over what counts of it. 0; -ENOENT: nothing does; -errno. */
static int take_parts(struct stream *s, const struct store_temp *temp)
{
    struct state_reader *reader = event_reader(s->job->engine);
    if (reader == NULL || temp->size > s->before.size) {
        return -ENOENT;
    }
    int r = make_parts(s);
    if (r != 0) {
        return r;
    }
    struct taking t = {.parts = s->parts, .size = temp->size, .whole = s->before.size};
    r = state_parts(reader, temp->name, take_part, &t);
    if (r != 0 || parts_there(s->parts) == 0) {
        drop_parts(s);
        return -ENOENT;
    }
    return 0;
}

/* Goes on with what an earlier run has left. 0; -ENOENT: it is worth nothing; -errno. */
static int resume(struct stream *s)
{
    struct store_temp temp = {0};
    int r = begin(s, &s->partial.temp, &temp);
    bool guard = store_op_guarded(&s->job->op);
    if (r != 0) {
        return r == -EOPNOTSUPP || (r == -ESTALE && guard) ? -ENOENT : r;
    }
    r = take_parts(s, &temp);
    if (r != 0) {
        abort_upload(s);
    }
    return r;
}

static void count_resumed(struct stream *s)
{
    struct report_counts *c = s->job->engine->counts;
    atomic_fetch_add_explicit(&c->resumed, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->resumed_bytes, parts_there(s->parts), memory_order_relaxed);
    atomic_fetch_add_explicit(&c->resumed_size, s->before.size, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->under_way, parts_there(s->parts), memory_order_relaxed);
}

/* Goes through all that earlier runs have left of this file: the first one that is worth anything is resumed, the
 * others are removed. 0 with s->resumed or without; -errno. */
static int resume_or_remove(struct stream *s)
{
    struct engine *e = s->job->engine;
    struct item *item = s->job->item;
    unsigned removed = 0;
    while (s->upload == NULL && partials_take(e->partials, item->work.dir->id, item->name, &s->partial)) {
        int r = s->recording && partials_fits(e->partials, &s->partial, &s->before) ? resume(s) : -ENOENT;
        if (r == 0) {
            s->resumed = true;
            count_resumed(s);
            return 0;
        }
        if (r != -ENOENT) {
            partials_keep(e->partials, s->partial.temp.name);
            return r;
        }
        if (temps_remove(s->dst, item->work.dir, s->partial.temp.name, &removed) == 0) {
            partials_over(e, s->partial.temp.name);
        } /* else the end of the run, or another run, sees to it */
    }
    atomic_fetch_add(&e->counts->purged, removed);
    return 0;
}

/* Has the state know of it, from now on. */
static void record(struct stream *s)
{
    struct engine *e = s->job->engine;
    struct item *item = s->job->item;
    event_tell_dir(e, item->work.dir);
    s->partial.touched_ns = clock_real_ns();
    state_partial(e->state, &s->partial);
}

static int stream_open(struct stream *s)
{
    struct engine *e = s->job->engine;
    struct item *item = s->job->item;
    int r = open_input(s);
    if (r != 0) {
        return r;
    }
    s->recording = e->state != NULL && copy_is_resumable(e, s->before.size);
    r = resume_or_remove(s);
    if (r != 0) {
        return r;
    }
    if (!s->resumed) {
        s->partial = (struct state_partial){.dir_id = item->work.dir->id, .name = item->name, .src = s->before};
        r = begin(s, NULL, s->recording ? &s->partial.temp : NULL);
        if (r == 0) {
            r = make_parts(s);
        }
    }
    if (r == 0 && s->recording) {
        record(s);
    }
    return r;
}

/* ---- the end ---- */

/* Whether the next run may want what is there, and this one may leave it. */
static bool is_worth_keeping(const struct stream *s, int r)
{
    const struct copy_job *job = s->job;
    enum err_class class = err_classify(r, job->engine->dst->caps.network, job->on_source);
    if (!s->recording || s->parts == NULL || !parts_recorded(s->parts) || job->on_stage) {
        return false;
    }
    /* Of a destination that is full nothing is kept that nobody can use. */
    return r != -ERR_CHANGED && class != ERR_VANISHED && r != -ENOSPC && r != -EDQUOT && r != -EFBIG;
}

static void end_upload(struct stream *s, int r)
{
    struct engine *e = s->job->engine;
    bool keeps = is_worth_keeping(s, r);
    if (s->upload == NULL) {
        return;
    }
    if (keeps) {
        on_dst(s, (struct store_op){.code = STORE_PARK, .up = {.upload = s->upload}});
        partials_keep(e->partials, s->partial.temp.name);
    } else {
        abort_upload(s);
        if (s->recording) {
            partials_over(e, s->partial.temp.name);
        }
    }
}

static void stream_close(struct stream *s, int r)
{
    struct store_op last = s->job->op;
    bool on_source = s->job->on_source;
    bool on_stage = s->job->on_stage;
    end_upload(s, r);
    if (s->file != NULL && s->staged->file == NULL) {
        on_src(s, (struct store_op){.code = STORE_CLOSE, .file = {.file = s->file}});
    }
    s->job->op = last; /* what is reported is what failed, not what cleaned up after it */
    s->job->on_source = on_source;
    s->job->on_stage = on_stage;
    drop_parts(s);
}

/* ---- the contents ---- */

/* As far as the stores can do it between themselves: a reflink, or a copy within the server. Holes are then as they are
 * at the source. *out_whole: nothing is left to be done. */
static int stream_copied(struct stream *s, bool *out_whole)
{
    size_t done = 0;
    bool network = s->job->engine->dst->caps.network;
    *out_whole = false;
    if (s->job->engine->options->sparse != SPARSE_AUTO || s->before.size == 0) {
        return 0;
    }
    if (s->resumed) { /* part by part then, where the server can */
        if (network) {
            parts_copied(s->parts, 0);
        }
        return 0;
    }
    int r =
        on_dst(s, (struct store_op){
                      .code = STORE_COPY,
                      .up = {.upload = s->upload, .from = s->file, .len = (size_t)s->before.size, .out_len = &done}});
    if (r == -EOPNOTSUPP) {
        return 0;
    }
    if (r == 0 && done == 0) {
        return -ERR_CHANGED; /* shorter than it was */
    }
    if (r == 0) {
        parts_copied(s->parts, done);
        *out_whole = done == s->before.size;
    }
    return r;
}

static int stream_data(struct stream *s)
{
    bool whole = false;
    int r = atomic_load(&s->job->engine->stopping) ? -ECANCELED : stream_copied(s, &whole);
    return r != 0 || whole ? r : parts_run(s->parts);
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
    struct engine *e = s->job->engine;
    int r = check_input(s, &after);
    if (r != 0) {
        return r;
    }
    struct store_upload *upload = s->upload;
    s->upload = NULL; /* ended by COMMIT, whatever the result */
    r = on_dst(
        s,
        (struct store_op){
            .code = STORE_COMMIT,
            .up = {.upload = upload, .attr = &after, .out = &out, .xattrs = s->job->xattrs, .expect = s->job->expect}});
    if (r == 0) {
        item->attr = after;
        copy_published(s->job, &after, &out, parts_hash(s->parts, hash) ? hash : NULL, s->read_ns);
    }
    if (s->recording) {
        partials_over(e, s->partial.temp.name); /* only now: killed in between, the file stands there or its parts do */
    }
    return r;
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
    if (r != 0 && s.parts != NULL && parts_are_lost(s.parts, &job->unanswered_ns)) {
        /* The kernel may still use upload and file: they stay open, and what is recorded stays for the next run. */
        partials_keep(job->engine->partials, s.partial.temp.name);
        copy_count_out(job);
        job->parts = NULL;
        return r;
    }
    if (r == 0) {
        r = stream_publish(&s);
    }
    copy_count_out(job);
    job->moved = s.parts != NULL ? parts_moved(s.parts) : 0;
    stream_close(&s, r);
    return r;
}
