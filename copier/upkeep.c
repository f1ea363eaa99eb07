#include "copier/upkeep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/errs.h"
#include "cleanup/janitor.h"
#include "copier/copyfile.h"
#include "copier/lease.h"
#include "copier/partials.h"
#include "planner/chain.h"

#define MET_BITS   (1U << 23) /* 1 MiB: of a million directories two in a hundred are taken for others */
#define MET_PROBES 4

struct upkeep {
    struct janitor *janitor; /* owned */

    /* The purge of directories that the state remembers and the walk does not meet. */
    bool sweeps;                 /* there is one; constant */
    atomic_uchar *met;           /* MET_BITS bits: a Bloom filter of the directories that were met; owned */
    uint64_t seed;               /* of its hash, another one each run, so that none is always taken for another */
    struct state_reader *reader; /* the janitor's thread; owned; NULL: not yet */
    struct chain chain;          /* likewise; on the way to the present directory */
    int64_t last;                /* likewise; id of the last directory asked for */
    bool begun;                  /* likewise; last is valid */
};

/* ---- directories met ---- */

/* The bits of a directory. */
static void met_bits(const struct upkeep *u, uint64_t id, uint32_t bits[MET_PROBES])
{
    XXH128_hash_t hash = XXH3_128bits_withSeed(&id, sizeof id, u->seed);
    bits[0] = (uint32_t)hash.low64 % MET_BITS;
    bits[1] = (uint32_t)(hash.low64 >> 32) % MET_BITS;
    bits[2] = (uint32_t)hash.high64 % MET_BITS;
    bits[3] = (uint32_t)(hash.high64 >> 32) % MET_BITS;
}

void upkeep_met(void *arg, const struct dir *dir)
{
    const struct engine *e = arg;
    const struct upkeep *u = e->upkeep;
    uint32_t bits[MET_PROBES];
    if (u == NULL || !u->sweeps) {
        return;
    }
    met_bits(u, dir->id, bits);
    for (int i = 0; i < MET_PROBES; i++) {
        atomic_fetch_or_explicit(&u->met[bits[i] / 8], (unsigned char)(1U << bits[i] % 8), memory_order_relaxed);
    }
}

static bool was_met(const struct upkeep *u, uint64_t id)
{
    uint32_t bits[MET_PROBES];
    met_bits(u, id, bits);
    for (int i = 0; i < MET_PROBES; i++) {
        if ((atomic_load_explicit(&u->met[bits[i] / 8], memory_order_relaxed) & (1U << bits[i] % 8)) == 0) {
            return false;
        }
    }
    return true;
}

/* The next directory that the state remembers and the walk has not met. janitor_options.next_dir. */
static int next_dir(void *arg, struct dir **out_dir)
{
    struct engine *e = arg;
    struct upkeep *u = e->upkeep;
    int r = u->reader == NULL ? state_reader_create(e->state, &u->reader) : 0;
    while (r == 0) {
        char *path = NULL;
        r = state_dir_next(u->reader, u->begun ? &u->last : NULL, &u->last, &path);
        if (r == 0) {
            u->begun = true;
            struct dir *dir = NULL;
            bool met = was_met(u, (uint64_t)u->last);
            r = met ? 0 : chain_to(&u->chain, path, strlen(path), &dir);
            free(path);
            if (r == 0 && !met) {
                *out_dir = dir_get(dir);
                return 0;
            }
            r = r == -EINVAL ? 0 : r; /* no path of ours: nothing can be there */
        }
    }
    return r;
}

/* ---- temp names ---- */

static bool is_dead(void *arg, const char *run_id)
{
    struct engine *e = arg;
    return state_run_is_dead(e->state, run_id) || lease_took_over(e->lease, run_id);
}

/* What can be gone on with stays. */
static bool keep(void *arg, const struct dir *dir, const char *name)
{
    const struct engine *e = arg;
    (void)dir;
    return partials_holds(e->partials, name);
}

struct temps_rules upkeep_temps(struct engine *e)
{
    return (struct temps_rules){.is_dead = is_dead, .keep = keep, .arg = e};
}

/* ---- looking again ---- */

static struct port *port_of(void *arg, struct worker *w)
{
    (void)arg;
    const struct engine_worker *own = worker_own(w);
    return own->dst;
}

static const char *dst_name(void *arg, const char *name)
{
    const struct engine *e = arg;
    return e->places.only_as != NULL ? e->places.only_as : name;
}

static void hold(void *arg, struct dir *dir)
{
    const struct engine *e = arg;
    planner_hold(e->planner, dir);
}

static void let_go(void *arg, struct port *dst, struct dir *dir)
{
    struct engine *e = arg;
    planner_release(e->planner, atomic_load(&e->stopping) ? NULL : dst, dir);
}

/* An entry is not right at the destination, and this run does not put it right. */
static void failed(struct engine *e, const struct janitor_entry *entry, const struct store_op *op, int err,
                   bool on_source)
{
    event_failed(e, entry->dir, entry->name, op, err, on_source);
    state_forget(e->state, entry->dir->id, entry->name); /* this run has recorded it */
}

static bool has_names(const struct janitor_entry *entry)
{
    return S_ISREG(entry->src.mode) && entry->src.nlink > 1;
}

/* Publishes the entry once more, as for the first time. */
static int publish_again(struct engine *e, struct worker *w, struct janitor_entry *entry)
{
    enum item_kind kind = S_ISREG(entry->src.mode) ? ITEM_FILE : S_ISLNK(entry->src.mode) ? ITEM_SYMLINK : ITEM_NODE;
    struct copy_job job = {.engine = e, .worker = w};
    job.item = item_create(kind, entry->dir, entry->name, strlen(entry->name), &entry->src);
    if (job.item == NULL) {
        return copy_job_failed(&job, false, STORE_PUBLISH, -ENOMEM);
    }
    job.item->as = e->places.only_as;
    entry->repairing = &job;
    int r = copy_item(&job);
    entry->repairing = NULL;
    if (r == 0) {
        atomic_fetch_add(&e->counts->moved, job.moved);
    } else if (r != -ECANCELED || !atomic_load(&e->stopping)) {
        failed(e, entry, &job.op, r, job.on_source);
        if (has_names(entry)) {
            (void)planner_link_anew(e->planner, &entry->src); /* another name may fare better than this one */
        }
    }
    item_destroy(job.item);
    return r;
}

static int repair(void *arg, struct worker *w, struct janitor_entry *entry)
{
    struct engine *e = arg;
    if (!has_names(entry) || entry->dst.nlink < 2) {
        return publish_again(e, w, entry);
    }
    /* A new file under this name alone would part it from the others. */
    int r = planner_link_anew(e->planner, &entry->src);
    if (r != 0) {
        failed(e, entry, &(struct store_op){.code = STORE_LINK, .step = "recheck"}, r, false);
    }
    return r;
}

/* janitor_options.unanswered: what it was to find out, or to mend, is not known: the next run looks at it again. */
static void unanswered(void *arg, struct worker *w, const struct janitor_entry *entry, bool released,
                       const void *reason)
{
    struct engine *e = arg;
    const struct copy_unanswered *why = reason;
    const struct engine_worker *own = worker_own(w);
    struct dir *dir = why->op->dir;
    char *path = released ? watch_path(dir, why->op->name) : dir_path(entry->dir, entry->name);
    event_unanswered(e, path != NULL ? path : "?", why->op->code, clock_mono_ns() - why->op->begun_ns, why->on_source);
    free(path);
    if (released) {
        planner_release_lost(e->planner, atomic_load(&e->stopping) ? NULL : own->dst, dir);
        return;
    }
    if (entry->repairing != NULL) {
        copy_job_lost(entry->repairing);
    }
    state_forget(e->state, entry->dir->id, entry->name);
}

/* What was found, in words. */
static void describe(const struct janitor_finding *f, char *text, size_t size)
{
    unsigned long long want = f->entry->src.size;
    unsigned long long have = f->now != NULL ? f->now->size : 0;
    switch (f->found) {
    case FOUND_GONE:
        snprintf(text, size, "it is gone");
        break;
    case FOUND_REPLACED:
        snprintf(text, size, "another entry has taken its name");
        break;
    case FOUND_TYPE:
        snprintf(text, size, "it has another type");
        break;
    case FOUND_MODE:
        snprintf(text, size, "it has mode 000");
        break;
    case FOUND_MODE_EMPTY:
        snprintf(text, size, "it has mode 000 and 0 bytes of %llu", want);
        break;
    case FOUND_EMPTY:
    case FOUND_SIZE:
    case FOUND_RIGHT:
    default:
        snprintf(text, size, "it has %llu bytes of %llu", have, want);
        break;
    }
}

static enum finding_action action_of(enum janitor_done done)
{
    return done == DONE_REPAIRED ? ACTION_MENDED : done == DONE_LEFT ? ACTION_LEFT : ACTION_FAILED;
}

static const char *done_text(enum janitor_done done)
{
    switch (done) {
    case DONE_REPAIRED:
        return "published again";
    case DONE_LEFT:
        return "left as it is";
    case DONE_GIVEN_UP:
        return "it does not stay right however often it is published";
    case DONE_FAILED:
    default:
        return "it could not be published again";
    }
}

static void finding(void *arg, const struct janitor_finding *f)
{
    struct engine *e = arg;
    char found[128];
    char *path = dir_path(f->entry->dir, f->entry->name);
    describe(f, found, sizeof found);
    const struct finding finding = {.path = path != NULL ? path : f->entry->name,
                                    .kind = janitor_found_kind(f->found),
                                    .sure = SURE_CERTAIN,
                                    .evidence = found,
                                    .attr = f->now,
                                    .action = action_of(f->done),
                                    .why = done_text(f->done),
                                    .err = abs(f->err)};
    report_found(e->report, &finding);
    state_finding(e->state, &finding);
    free(path);
    atomic_fetch_add(&e->counts->findings, 1);
    if (f->done == DONE_REPAIRED) {
        atomic_fetch_add(&e->counts->repaired, 1);
    } else if (f->found != FOUND_REPLACED) {
        atomic_fetch_add(&e->counts->broken, 1);
    }
    const struct store_op op = {.code = STORE_STAT, .step = "recheck"};
    if (f->found == FOUND_GONE) {
        failed(e, f->entry, &op, -ENOENT, false);
    } else if (f->found == FOUND_REPLACED) {
        state_forget(e->state, f->entry->dir->id, f->entry->name); /* the next run looks what stands there */
    } else if (f->done == DONE_GIVEN_UP) {
        failed(e, f->entry, &op, -EIO, false);
        if (has_names(f->entry)) {
            (void)planner_link_anew(e->planner, &f->entry->src);
        }
    }
}

void upkeep_published(struct engine *e, struct dir *dir, const char *name, const struct attr *src,
                      const struct attr *dst)
{
    if (e->upkeep != NULL) {
        janitor_published(e->upkeep->janitor, dir, name, src, dst);
    }
}

/* ---- its life ---- */

static int make_janitor(struct engine *e, struct upkeep *u)
{
    const struct janitor_options options = {
        .dst = e->dst,
        .run_id = e->run_id,
        .share = e->options->recheck,
        .delay_ns = JANITOR_DELAY_NS,
        .waiting_max = JANITOR_WAITING_MAX,
        .notices = e->notices,
        .looked = &e->counts->rechecked,
        .purged = &e->counts->purged,
        .temps = upkeep_temps(e),
        .arg = e,
        .port = port_of,
        .dst_name = dst_name,
        .hold = hold,
        .release = let_go,
        .repair = repair,
        .finding = finding,
        .unanswered = unanswered,
        .next_dir = u->sweeps ? next_dir : NULL,
    };
    return janitor_create(&options, &u->janitor);
}

int upkeep_create(struct engine *e)
{
    const struct options *o = e->options;
    /* Of a part of the tree it is no news that the rest was not met. */
    bool sweeps = e->purge && o->files_from == NULL && e->places.only_name == NULL;
    if (e->state == NULL || (o->recheck == 0 && !sweeps)) {
        return 0;
    }
    struct upkeep *u = calloc(1, sizeof *u);
    if (u == NULL) {
        return -ENOMEM;
    }
    u->sweeps = sweeps;
    u->seed = strtoull(e->run_id, NULL, 16);
    chain_init(&u->chain, planner_root(e->planner));
    e->upkeep = u;
    u->met = sweeps ? calloc(1, MET_BITS / 8) : NULL;
    return sweeps && u->met == NULL ? -ENOMEM : make_janitor(e, u);
}

int upkeep_start(struct engine *e)
{
    return e->upkeep != NULL ? janitor_start(e->upkeep->janitor, e->pool) : 0;
}

void upkeep_idle(void *arg)
{
    const struct engine *e = arg;
    if (e->upkeep != NULL) {
        janitor_flush(e->upkeep->janitor);
    }
}

void upkeep_stop(struct engine *e)
{
    if (e->upkeep != NULL) {
        janitor_stop(e->upkeep->janitor);
    }
}

void upkeep_join(struct engine *e)
{
    struct upkeep *u = e->upkeep;
    if (u == NULL) {
        return;
    }
    janitor_join(u->janitor);
    if (u->sweeps && janitor_swept(u->janitor) && atomic_load(&planner_counts(e->planner)->complete) &&
        !atomic_load(&e->purge_failed)) {
        state_swept(e->state);
    }
}

void upkeep_destroy(struct engine *e)
{
    struct upkeep *u = e->upkeep;
    if (u != NULL) {
        janitor_destroy(u->janitor);
        state_reader_destroy(u->reader);
        chain_release(&u->chain);
        free(u->met);
        free(u);
        e->upkeep = NULL;
    }
}
