/*
 * copysync: the items that only a sync has: contents that have to be compared, and what the source has no more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "copier/copyfile.h"
#include "copier/hash.h"
#include "copier/sync.h"

#define HASH_PART (16ULL * 1024 * 1024) /* bytes; the unit of hashes */
#define READ_SIZE (1024U * 1024)        /* bytes at a time */

/* XXH3-128 over that of fixed parts. */
struct hashing {
    XXH3_state_t *part;  /* owned */
    XXH3_state_t *whole; /* owned */
    uint64_t in_part;    /* bytes fed into the present part */
};

static void part_end(struct hashing *h)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(h->part));
    XXH3_128bits_update(h->whole, canonical.digest, sizeof canonical.digest);
    XXH3_128bits_reset(h->part);
    h->in_part = 0;
}

static void feed(struct hashing *h, const char *data, size_t len)
{
    while (len > 0) {
        size_t n = HASH_PART - h->in_part < len ? (size_t)(HASH_PART - h->in_part) : len;
        XXH3_128bits_update(h->part, data, n);
        data += n;
        len -= n;
        h->in_part += n;
        if (h->in_part == HASH_PART) {
            part_end(h);
        }
    }
}

/* Reads the open file dir/name to its end. */
static int read_all(struct copy_job *job, struct port *port, struct dir *dir, const char *name, struct store_file *file,
                    char *buffer, struct hashing *h)
{
    uint64_t at = 0;
    for (;;) {
        size_t got = 0;
        if (atomic_load_explicit(&job->engine->stopping, memory_order_relaxed)) {
            return -ECANCELED;
        }
        job->op =
            (struct store_op){.code = STORE_READ,
                              .dir = dir,
                              .name = name,
                              .file = {.file = file, .buf = buffer, .len = READ_SIZE, .offset = at, .out_len = &got}};
        int r = store_run(port, &job->op);
        if (r != 0) {
            return r;
        }
        feed(h, buffer, got);
        at += got;
        if (got < READ_SIZE) {
            return 0;
        }
    }
}

int copy_hash(struct copy_job *job, bool on_source, struct dir *dir, const char *name, uint8_t out_hash[16],
              struct attr *before, struct attr *after)
{
    const struct engine_worker *own = worker_own(job->worker);
    struct port *port = on_source ? own->src : own->dst;
    struct store_file *file = NULL;
    struct hashing h = {.part = XXH3_createState(), .whole = XXH3_createState()};
    char *buffer = malloc(READ_SIZE);
    int r = h.part == NULL || h.whole == NULL || buffer == NULL ? -ENOMEM : 0;
    job->on_source = on_source;
    job->op = (struct store_op){.code = STORE_OPEN, .dir = dir, .name = name, .open = {.out = &file, .attr = before}};
    r = r == 0 ? store_run(port, &job->op) : r;
    if (r == 0) {
        XXH3_128bits_reset(h.part);
        XXH3_128bits_reset(h.whole);
        r = read_all(job, port, dir, name, file, buffer, &h);
        if (r == 0) {
            job->op = (struct store_op){.code = STORE_FSTAT, .dir = dir, .stat = {.out = after, .file = file}};
            r = store_run(port, &job->op);
        }
        struct store_op close = {.code = STORE_CLOSE, .dir = dir, .file = {.file = file}};
        (void)store_run(port, &close); /* nothing was written through it */
    }
    if (r == 0) {
        if (h.in_part > 0 || after->size == 0) {
            part_end(&h); /* a file without contents has one part: what is small is hashed so */
        }
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(h.whole));
        memcpy(out_hash, canonical.digest, sizeof canonical.digest);
    }
    XXH3_freeState(h.part);
    XXH3_freeState(h.whole);
    free(buffer);
    return r;
}

/* Whether the state has the hash of what was published. */
static bool remembered_hash(struct copy_job *job, uint8_t hash[16])
{
    struct engine *e = job->engine;
    struct state_file file;
    struct state_reader *reader = e->state != NULL && e->options->compare != WITH_CONTENTS ? event_reader(e) : NULL;
    if (reader == NULL || state_lookup(reader, job->item->work.dir->id, job->item->name, &file) != 0 ||
        !file.hash_known || file.dst.size != job->item->attr.size) {
        return false;
    }
    memcpy(hash, file.hash, sizeof file.hash);
    return true;
}

/* Attributes that were set, or found right: what stands there now is remembered. hash NULL: not known. */
static int remember(struct copy_job *job, const uint8_t *hash, int64_t read_ns)
{
    const struct engine_worker *own = worker_own(job->worker);
    struct attr out = {0};
    job->on_source = false;
    job->op = (struct store_op){
        .code = STORE_STAT, .dir = job->item->work.dir, .name = item_dst_name(job->item), .stat = {.out = &out}};
    int r = store_run(own->dst, &job->op);
    if (r == 0) {
        event_published(job->engine, job->item->work.dir, job->item->name, &job->item->attr, &out, hash, read_ns);
    }
    return r;
}

int copy_check(struct copy_job *job)
{
    struct item *item = job->item;
    uint8_t ours[16];
    uint8_t theirs[16];
    struct attr before = {0};
    struct attr after = {0};
    int64_t read_ns = clock_real_ns();
    int r = copy_source_error(copy_hash(job, true, item->work.dir, item->name, ours, &before, &after));
    if (r == -ECANCELED) {
        return r;
    }
    bool steady = r == 0 && attr_unchanged(&before, &after) && attr_unchanged(&item->attr, &after);
    bool known = steady && remembered_hash(job, theirs);
    if (steady && !known) {
        known = copy_hash(job, false, item->work.dir, item->name, theirs, &before, &after) == 0;
    }
    if (!known || memcmp(ours, theirs, sizeof ours) != 0) {
        item->kind = ITEM_FILE; /* and what went wrong shows there */
        return copy_item(job);
    }
    if (!item->alike) {
        item->kind = ITEM_ATTRS;
        r = copy_attrs(job);
    }
    return r == 0 ? remember(job, ours, read_ns) : r;
}

int copy_retouch(struct copy_job *job)
{
    const struct item *item = job->item;
    struct state_file old;
    int r = copy_attrs(job);
    if (r != 0 || job->engine->state == NULL) {
        return r;
    }
    /* The planner has not doubted the contents: what was remembered of them holds, though the entry was announced. */
    struct state_reader *reader = event_reader(job->engine);
    bool known = reader != NULL && state_lookup(reader, item->work.dir->id, item->name, &old) == 0 && old.hash_known &&
                 old.src.size == item->attr.size && clock_ns_of(&old.src.ctime) == clock_ns_of(&item->attr.ctime);
    return remember(job, known ? old.hash : NULL, clock_real_ns());
}

/* What stands there now; unknown: nothing else is expected. 0, -ENOENT, -errno. */
static int look(struct copy_job *job, struct attr *now)
{
    const struct engine_worker *own = worker_own(job->worker);
    job->op = (struct store_op){
        .code = STORE_STAT, .dir = job->item->work.dir, .name = job->item->name, .stat = {.out = now}};
    return store_run(own->dst, &job->op);
}

static int remove_as(struct copy_job *job, const struct attr *expect)
{
    const struct engine_worker *own = worker_own(job->worker);
    job->op = (struct store_op){.code = STORE_REMOVE,
                                .dir = job->item->work.dir,
                                .name = job->item->name,
                                .remove = {.expect = expect, .dir = S_ISDIR(expect->mode)}};
    return store_run(own->dst, &job->op);
}

static bool is_guarded(const struct copy_job *job, int r)
{
    return r == -ESTALE && store_op_guarded(&job->op);
}

/* Some file systems give inodes new numbers with each mount: type, size and time prove enough. */
static bool is_alike(const struct attr *a, const struct attr *b)
{
    return (a->mode & S_IFMT) == (b->mode & S_IFMT) &&
           (S_ISDIR(a->mode) || (a->size == b->size && clock_ns_of(&a->mtime) == clock_ns_of(&b->mtime)));
}

/* Whether what stands there was published by this run, after the entry had been noted: a directory that comes first may
 * leave the source before its parent is listed. Waits for the state's writer, in the worker's thread: it is rare. */
static bool is_ours(struct copy_job *job, const struct attr *now)
{
    struct engine *e = job->engine;
    const struct item *item = job->item;
    struct state_file file;
    struct state_reader *reader = event_reader(e);
    /* Announced once more, so that what was queued before is written; and killed now, the next run looks again. */
    return reader != NULL && state_settle(e->state, state_intend(e->state, item->work.dir->id, item->name)) == 0 &&
           state_lookup(reader, item->work.dir->id, item->name, &file) == 0 && is_alike(&file.dst, now);
}

int copy_remove(struct copy_job *job)
{
    struct engine *e = job->engine;
    struct item *item = job->item;
    struct attr now = {0};
    job->on_source = false;
    int r = S_ISDIR(item->attr.mode) ? -ESTALE : remove_as(job, &item->attr);
    if (S_ISDIR(item->attr.mode) || is_guarded(job, r)) {
        r = look(job, &now);
        if (r == 0 && !is_alike(&item->attr, &now) && !is_ours(job, &now)) {
            notice_raise(e->notices, "entries that the source has no more were left: they are not what haul published");
            state_forget(e->state, item->work.dir->id, item->name);
            return 0;
        }
        r = r == 0 ? remove_as(job, &now) : r;
    }
    if (r == -ENOTEMPTY || r == -EEXIST) {
        notice_raise(e->notices, "directories that the source has no more were left: something else is in them");
        return 0;
    }
    if (r != 0 && r != -ENOENT) {
        return r;
    }
    state_forget(e->state, item->work.dir->id, item->name);
    if (S_ISDIR(item->attr.mode)) {
        state_forget_dir(e->state, dir_child_id(item->work.dir, item->name, item->name_len));
    }
    atomic_fetch_add(&e->counts->removed, r == 0 ? 1 : 0);
    return 0;
}
