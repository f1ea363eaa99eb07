#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/errs.h"
#include "cleanup/temps.h"
#include "copier/copyfile.h"
#include "copier/engine_internal.h"
#include "copier/left.h"
#include "copier/partials.h"
#include "copier/upkeep.h"

/* Each walker reads the state through a connection of its own, made when it first asks. */
struct state_reader *event_reader(struct engine *e)
{
    struct state_reader *r = pthread_getspecific(e->reader_key);
    if (r == NULL && state_reader_create(e->state, &r) == 0) {
        pthread_setspecific(e->reader_key, r);
    }
    return r;
}

enum known event_known(void *arg, const struct dir *dir, const char *name, const struct attr *src)
{
    struct engine *e = arg;
    if (e->state == NULL || e->previous.number == 0) {
        return KNOWN_NOTHING;
    }
    struct state_reader *r = event_reader(e);
    /* What cannot be looked up is published again: that is always right. */
    if (r == NULL) {
        return KNOWN_SUSPECT;
    }
    unsigned kinds = copy_xattr_kinds(e->options);
    return e->options->command == COMMAND_SYNC ? state_known_touched(r, dir->id, name, src, kinds)
                                               : state_known_with(r, dir->id, name, src, kinds);
}

/* A whole second in ctime: perhaps a file system that has no finer ones, whatever its name promises. */
static int64_t racy_ns(const struct engine *e, const struct attr *a)
{
    return a->ctime.tv_nsec == 0 ? 2 * NS_PER_SEC : e->src->caps.clock_granularity_ns;
}

/* Whoever sets mtime cannot set ctime: a ctime in the future is a clock that is ahead of ours, an mtime in the future
 * is just that. */
bool event_is_racy(const struct engine *e, const struct attr *a, int64_t read_ns)
{
    int64_t tick = racy_ns(e, a);
    int64_t mtime = clock_ns_of(&a->mtime);
    return clock_ns_of(&a->ctime) >= read_ns - tick || (mtime >= read_ns - tick && mtime <= read_ns + tick);
}

/* For a sync: an entry that was found right is remembered as if this run had published it. */
static void adopt(struct engine *e, const struct dir *dir, const char *name, const struct attr *src,
                  const struct attr *there)
{
    struct state_reader *r = event_reader(e);
    unsigned kinds = copy_xattr_kinds(e->options);
    struct state_file old;
    struct state_file file = {.dir_id = dir->id, .name = name, .src = *src, .dst = *there, .xattrs = kinds};
    if (r == NULL || state_known_with(r, dir->id, name, src, kinds) == KNOWN_GOOD) {
        return;
    }
    if (state_lookup(r, dir->id, name, &old) == 0 && old.hash_known && !old.racy && old.src.size == src->size &&
        clock_ns_of(&old.src.ctime) == clock_ns_of(&src->ctime)) {
        memcpy(file.hash, old.hash, sizeof file.hash);
        file.hash_known = true;
    }
    file.racy = event_is_racy(e, src, clock_real_ns());
    state_record(e->state, &file);
}

/* An entry that was published without extended attributes and has turned out to have the right ones is remembered so:
 * else each run would look at them again. */
void event_same(void *arg, const struct dir *dir, const char *name, const struct attr *src, const struct attr *there)
{
    struct engine *e = arg;
    partials_useless(e->partials, dir->id, name);
    if (e->options->command == COMMAND_SYNC) {
        if (e->state != NULL) {
            adopt(e, dir, name, src, there);
        }
        return;
    }
    unsigned kinds = copy_xattr_kinds(e->options);
    struct state_reader *r = kinds != 0 && e->state != NULL && e->previous.number != 0 ? event_reader(e) : NULL;
    struct state_file file;
    if (r == NULL || state_known_with(r, dir->id, name, src, kinds) != KNOWN_BARE ||
        state_lookup(r, dir->id, name, &file) != 0) {
        return;
    }
    file.xattrs |= kinds;
    state_record(e->state, &file);
}

/* What would meet every further file alike stops the run, once. */
static void stop_if_fatal(struct engine *e, int err, bool on_source)
{
    if (err_classify(err, e->dst->caps.network, on_source) != ERR_FATAL) {
        return;
    }
    int none = 0;
    atomic_compare_exchange_strong(&e->fatal, &none, err);
    engine_stop(e);
}

static void report_one(struct engine *e, const struct dir *dir, const char *name, struct report_failure *failure)
{
    char *path = dir_path(dir, name);
    failure->path = path != NULL ? path : name != NULL ? name : dir->name;
    const struct store *store = failure->on_source ? e->src : e->dst;
    failure->kind = err_classify(failure->err, store->caps.network, failure->on_source);
    if (failure->kind == ERR_VANISHED && e->options->files_from != NULL) {
        failure->kind = ERR_PERMANENT; /* what was asked for by name is missed */
    }
    if (failure->kind == ERR_CANCELLED) {
        atomic_fetch_add(&e->counts->unfinished, 1);
    } else {
        report_failed(e->report, failure);
        if (e->state != NULL) {
            state_failure(e->state, failure->path, failure->op, failure->err, failure->attempts);
        }
    }
    free(path);
}

void event_plan_failed(void *arg, const struct plan_failure *f)
{
    struct engine *e = arg;
    struct report_failure failure = {
        .op = f->op, .err = abs(f->err), .attempts = f->attempts, .on_source = f->on_source, .below = f->below};
    report_one(e, f->dir, f->name, &failure);
    if (e->left != NULL) {
        left_add(e->left, f->dir);
    }
    stop_if_fatal(e, failure.err, f->on_source);
}

void event_doubt(struct engine *e, const struct dir *dir, const char *name)
{
    if (e->state != NULL && e->options->command == COMMAND_SYNC) {
        state_doubt(e->state, dir->id, name); /* what haul published there is still its own */
    } else if (e->state != NULL) {
        state_forget(e->state, dir->id, name);
    }
}

void event_failed(struct engine *e, const struct dir *dir, const char *name, const struct store_op *op, int err,
                  bool on_source)
{
    struct report_failure failure = {.op = op->step != NULL ? op->step : store_code_name(op->code),
                                     .err = abs(err),
                                     .attempts = op->attempts,
                                     .on_source = on_source};
    report_one(e, dir, name, &failure);
    event_doubt(e, dir, name);
    stop_if_fatal(e, failure.err, on_source);
}

void event_made(void *arg, const struct dir *dir)
{
    struct engine *e = arg;
    if (!e->options->dry_run) {
        if (e->options->command == COMMAND_SYNC && e->state != NULL && e->previous.number != 0) {
            state_forget_dir(e->state, dir->id); /* what is remembered of an earlier one of that name is not in it */
        }
        return;
    }
    char *path = dir_path(dir, NULL);
    report_would(e->report, "make directory", path != NULL ? path : dir->name);
    free(path);
}

void event_unanswered(struct engine *e, const char *path, enum store_code code, int64_t waited_ns, bool on_source)
{
    const struct report_failure failure = {.path = path,
                                           .op = store_code_name(code),
                                           .err = ETIMEDOUT,
                                           .kind = ERR_TRANSIENT,
                                           .attempts = 1,
                                           .on_source = on_source,
                                           .waited_ns = waited_ns > 0 ? waited_ns : 1};
    report_failed(e->report, &failure);
    if (e->state != NULL) {
        state_failure(e->state, path, failure.op, failure.err, failure.attempts);
    }
}

bool event_existing(void *arg, struct port *dst, struct dir *dir)
{
    struct engine *e = arg;
    if (!e->purge) {
        return false;
    }
    const struct temps_rules rules = upkeep_temps(e);
    unsigned removed = 0;
    int r = temps_purge(dst, dir, &rules, &removed);
    atomic_fetch_add(&e->counts->purged, removed);
    if (r != 0) {
        atomic_store(&e->purge_failed, true);
        notice_raise(e->notices, TEMPS_NOTICE);
    }
    return removed > 0;
}

void event_tell_dir(struct engine *e, struct dir *dir)
{
    if (!atomic_load_explicit(&dir->told, memory_order_relaxed) && !atomic_exchange(&dir->told, true)) {
        char *path = dir_path(dir, NULL);
        if (path != NULL) {
            state_dir(e->state, dir->id, path);
        }
        free(path);
    }
}

void event_published(struct engine *e, struct dir *dir, const char *name, const struct attr *src,
                     const struct attr *dst, const uint8_t *hash, int64_t read_ns)
{
    if (e->state == NULL) {
        return;
    }
    struct state_file file = {
        .dir_id = dir->id, .name = name, .src = *src, .dst = *dst, .xattrs = copy_xattr_kinds(e->options)};
    if (hash != NULL) {
        memcpy(file.hash, hash, sizeof file.hash);
        file.hash_known = true;
    }
    file.racy = (S_ISREG(src->mode) || e->options->command == COMMAND_SYNC) && event_is_racy(e, src, read_ns);
    event_tell_dir(e, dir);
    state_record(e->state, &file);
    upkeep_published(e, dir, name, src, dst);
}
