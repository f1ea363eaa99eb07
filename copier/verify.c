/*
 * verify: haul verify: whether the destination is what the source is: contents, attributes, what is missing, what is
 * there besides.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "copier/copyfile.h"
#include "copier/look_report.h"
#include "copier/quantity.h"
#include "copier/status.h"
#include "copier/verify_internal.h"
#include "planner/links.h"

#define CHUNK_LOCAL (128U * 1024)        /* bytes read at a time: they are still in the processor's cache when hashed */
#define SMALL_LOCAL (128U * 1024)        /* bytes of the largest file that is read whole */
#define BATCH_FILES 64U                  /* local entries that one task looks at */
#define BATCH_BYTES (8ULL * 1024 * 1024) /* bytes of them */

void verify_add(atomic_ulong *counter, unsigned long n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static unsigned long get(const atomic_ulong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---- tasks ---- */

/* Entries that one task looks at: those from one to another that need it. */
struct batch {
    struct tour_task task;  /* first field */
    struct verify_dir *dir; /* one reference */
    size_t from;            /* index of an entry */
    size_t to;              /* behind the last one */
};

static void examine_range(struct verify_dir *d, size_t from, size_t to, struct worker *w)
{
    for (size_t i = from; i < to; i++) {
        if (verify_needs_look(d, &d->entries[i])) {
            verify_examine(d, &d->entries[i], w);
        }
    }
}

static void run_batch(struct tour_task *task, struct worker *w)
{
    struct batch *b = (struct batch *)task; /* its first field */
    examine_range(b->dir, b->from, b->to, w);
    verify_dir_put(b->dir);
    free(b);
}

/* Has somebody look at these entries, now or soon. */
static void hand_out(struct verify_dir *d, size_t from, size_t to, struct worker *w)
{
    struct batch *b = malloc(sizeof *b);
    if (b == NULL) {
        examine_range(d, from, to, w);
        return;
    }
    *b = (struct batch){.task = {.run = run_batch}, .dir = d, .from = from, .to = to};
    atomic_fetch_add(&d->refs, 1);
    if (!tour_add(d->look->tour, &b->task)) {
        run_batch(&b->task, w);
    }
}

/* Where each look is a round trip every entry is a task of its own. */
static void hand_out_all(struct verify_dir *d, struct worker *w)
{
    const bool apart = d->look->engine.dst->caps.network || d->look->engine.src->caps.network;
    size_t from = 0;
    unsigned files = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < d->count; i++) {
        const struct verify_entry *e = &d->entries[i];
        if (!verify_needs_look(d, e)) {
            continue;
        }
        if (apart) {
            hand_out(d, i, i + 1, w);
            continue;
        }
        from = files == 0 ? i : from;
        files++;
        bytes += e->contents ? e->src.size : 0;
        if (files >= BATCH_FILES || bytes >= BATCH_BYTES) {
            hand_out(d, from, i + 1, w);
            files = 0;
            bytes = 0;
        }
    }
    if (files > 0) {
        hand_out(d, from, d->count, w);
    }
}

/* ---- which contents ---- */

static bool is_sampled(const struct verify_dir *d, const struct verify_entry *e)
{
    const uint32_t share = d->look->engine.options->sample;
    if (share >= SAMPLE_ALL) {
        return true;
    }
    uint64_t hash = XXH3_64bits_withSeed(verify_name(d, e), e->name_len, d->verify->seed ^ d->dir->id);
    return hash % SAMPLE_ALL < share;
}

void verify_digest(const struct verify_dir *d, const struct verify_entry *e, struct hasher *h)
{
    const uint64_t numbers[] = {e->src.size,
                                e->src.ino,
                                e->src.dev,
                                (uint64_t)e->src.mtime_ns,
                                (uint64_t)e->src.ctime_ns,
                                e->dst.size,
                                e->dst.ino,
                                (uint64_t)e->dst.mtime_ns,
                                (uint64_t)e->dst.ctime_ns,
                                d->look->engine.options->read_source};
    hasher_add(h, verify_name(d, e), e->name_len + 1);
    hasher_add(h, numbers, sizeof numbers);
}

static bool has_contents(const struct verify_entry *e)
{
    return e->there && S_ISREG(e->src.mode) && S_ISREG(e->dst.mode) && e->src.size == e->dst.size && e->src.size > 0;
}

/* Large files are remembered one by one. */
static void leave_out_large(struct verify_dir *d, struct state_reader *reader)
{
    struct verify *v = d->verify;
    struct hasher *h = NULL;
    uint8_t digest[VERIFIED_DIGEST];
    if (reader == NULL || !state_verify_goes_on(v->memory) || hasher_create(&h) != 0) {
        return;
    }
    for (size_t i = 0; i < d->count; i++) {
        struct verify_entry *e = &d->entries[i];
        if (e->contents && e->src.size >= VERIFY_LARGE) {
            verify_digest(d, e, h);
            hasher_end(h, digest);
            e->contents = !state_verify_has(v->memory, reader, d->dir->id, verify_name(d, e), digest);
            verify_add(&v->counts.remembered, e->contents ? 0 : 1);
        }
    }
    hasher_destroy(h);
}

/* Chooses whose contents are compared, and leaves out what this verification has found right before. */
static void choose_contents(struct verify_dir *d)
{
    struct verify *v = d->verify;
    struct state_reader *reader = event_reader(&d->look->engine);
    struct hasher *h = NULL;
    unsigned long chosen = 0;
    if (hasher_create(&h) != 0) {
        h = NULL; /* it is only not remembered */
    }
    for (size_t i = 0; i < d->count; i++) {
        struct verify_entry *e = &d->entries[i];
        e->contents = has_contents(e) && is_sampled(d, e);
        verify_add(&v->counts.unsampled, has_contents(e) && !e->contents ? 1 : 0);
        if (e->contents) {
            chosen++;
            if (h != NULL) {
                verify_digest(d, e, h);
            }
        }
    }
    if (h == NULL || chosen == 0) {
        hasher_destroy(h);
        return;
    }
    hasher_end(h, d->digest);
    hasher_destroy(h);
    if (reader == NULL || !state_verify_has(v->memory, reader, d->dir->id, NULL, d->digest)) {
        d->listed = true;
        leave_out_large(d, reader);
        return;
    }
    for (size_t i = 0; i < d->count; i++) {
        d->entries[i].contents = false;
    }
    verify_add(&v->counts.remembered, chosen);
}

/* ---- the tour ---- */

static void check_root_xattrs(struct look *l, struct tour_visit *v, const struct attr *attr)
{
    char evidence[EVIDENCE_MAX] = "";
    struct store_op op = {.code = STORE_XATTRS};
    bool on_source = false;
    int r = verify_xattrs_differ(l->own, v->dir, NULL, v->worker, evidence, sizeof evidence, &op, &on_source);
    if (r < 0) {
        look_failed(l, v->dir, NULL, &op, r, on_source, false);
    } else if (r == 1) {
        struct finding f = {
            .kind = FINDING_DIFFERS, .sure = SURE_CERTAIN, .evidence = evidence, .attr = attr, .action = ACTION_NONE};
        look_found(l, v->dir, NULL, &f);
    }
}

/* A directory that is there on both sides, as an entry without a name. */
static void check_root(struct look *l, struct tour_visit *v)
{
    struct verify *verify = l->own;
    struct verify_entry e = {.there = true};
    struct attr attr = {0};
    char evidence[EVIDENCE_MAX];
    enum finding_kind kind = FINDING_NONE;
    for (int side = 0; side < DIR_SIDES; side++) {
        struct store_op op = {.code = STORE_STAT, .dir = v->dir, .stat = {.out = &attr, .fresh = true}};
        int r = store_run(side == DIR_SRC ? look_src(v->worker) : look_dst(v->worker), &op);
        if (r != 0) {
            look_failed(l, v->dir, NULL, &op, r, side == DIR_SRC, false);
            return;
        }
        *(side == DIR_SRC ? &e.src : &e.dst) = facts_of(&attr);
    }
    verify->root_dev = e.src.dev;
    verify_want_source(verify, &e);
    if (verify_attrs_differ(verify, &e, &kind, evidence)) {
        struct finding f = {
            .kind = kind, .sure = SURE_CERTAIN, .evidence = evidence, .attr = &attr, .action = ACTION_NONE};
        look_found(l, v->dir, NULL, &f);
    }
    check_root_xattrs(l, v, &attr);
}

static int verify_enter(void *arg, struct tour_visit *v)
{
    struct look *l = arg;
    struct verify_dir *d = NULL;
    struct store_op op = {.code = STORE_LIST_OPEN};
    if (v->dir->parent == NULL) {
        check_root(l, v);
    }
    int r = verify_dir_create(l, v->dir, &d);
    if (r == 0) {
        r = verify_names_read(d, v->worker, &op);
    }
    if (r == 0) {
        v->own = d;
        return 0;
    }
    if (d != NULL) {
        verify_dir_put(d);
    }
    if (r == -ENOENT && v->dir->parent != NULL) {
        verify_add(&((struct verify *)l->own)->counts.changed, 1); /* the source has it no more */
    } else {
        look_failed(l, v->dir, NULL, &op, r, true, true);
    }
    return r;
}

/* The attributes of an entry at the destination; false: there is nothing, or it was reported. */
static bool dst_attr(struct verify_dir *d, const struct tour_visit *v, const struct store_entry *entry,
                     struct attr *out)
{
    struct store_op op = {.code = STORE_STAT, .dir = v->dir, .name = entry->name, .stat = {.out = out}};
    if (entry->has_attr) {
        *out = entry->attr;
        return true;
    }
    int r = store_run(look_dst(v->worker), &op);
    if (r != 0 && r != -ENOENT) {
        atomic_store(&d->tainted, true);
        look_failed(d->look, v->dir, entry->name, &op, r, false, true);
    }
    return r == 0;
}

/* The destination has an entry that the source has not. Both are asked again: the source may have got it meanwhile. */
static void extra(struct verify_dir *d, const struct tour_visit *v, const struct store_entry *entry)
{
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = v->dir, .name = entry->name, .stat = {.out = &attr}};
    int r = store_run(look_src(v->worker), &op);
    if (r == 0) {
        verify_add(&d->verify->counts.changed, 1);
        return;
    }
    if (r != -ENOENT) {
        look_failed(d->look, v->dir, entry->name, &op, r, true, false);
        return;
    }
    op.stat.fresh = true;
    r = store_run(look_dst(v->worker), &op);
    if (r == 0) {
        struct finding f = {.kind = FINDING_EXTRA,
                            .sure = SURE_CERTAIN,
                            .evidence = S_ISDIR(attr.mode) ? "the source has no such directory"
                                                           : "the source has no such entry",
                            .attr = &attr,
                            .action = ACTION_NONE};
        look_found(d->look, v->dir, entry->name, &f);
    } else if (r != -ENOENT) {
        look_failed(d->look, v->dir, entry->name, &op, r, false, false);
    }
}

static bool verify_entry_met(void *arg, struct tour_visit *v, const struct store_entry *entry)
{
    struct look *l = arg;
    struct verify_dir *d = v->own;
    struct attr attr = {0};
    if (!dst_attr(d, v, entry, &attr)) {
        return false;
    }
    bool is_dir = S_ISDIR(attr.mode);
    verify_add(&l->counts.entries, is_dir ? 0 : 1);
    struct verify_entry *e = verify_names_find(d, entry->name);
    if (e == NULL) {
        if (!verify_leaves_out(d, entry->name, is_dir, false) &&
            (d->verify->devices || (!S_ISCHR(attr.mode) && !S_ISBLK(attr.mode)))) {
            extra(d, v, entry);
        }
        return false;
    }
    e->dst = facts_of(&attr);
    e->there = true;
    return is_dir && S_ISDIR(e->src.mode) && (!l->engine.options->one_file_system || e->src.dev == d->verify->root_dev);
}

static void verify_leave(void *arg, struct tour_visit *v, int err, const struct store_op *op, bool broken)
{
    struct look *l = arg;
    struct verify_dir *d = v->own;
    if (err != 0) {
        look_failed(l, v->dir, NULL, op, err, false, !broken);
        if (d != NULL) {
            atomic_store(&d->tainted, true);
        }
    } else {
        verify_add(&l->counts.dirs, 1);
        choose_contents(d);
        hand_out_all(d, v->worker);
    }
    if (d != NULL) {
        verify_dir_put(d);
    }
}

/* ---- from begin to end ---- */

static void choose_sizes(struct verify *v)
{
    const struct store_caps *src = &v->look->engine.src->caps;
    const struct store_caps *dst = &v->look->engine.dst->caps;
    uint64_t most = src->small_max < dst->small_max ? src->small_max : dst->small_max;
    most = most < BUFFER_MAX ? most : BUFFER_MAX;
    v->fresh = dst->network;
    v->small_max = dst->network || src->network || most < SMALL_LOCAL ? most : SMALL_LOCAL;
    v->chunk = dst->network || src->network ? BUFFER_MAX : CHUNK_LOCAL;
}

/* What the destination is to have of the source's attributes, where the state does not say what it got. */
static unsigned choose_keep(const struct engine *e)
{
    unsigned keep = copy_keep(e);
    bool root = (e->places.url.host != NULL ? e->user.uid : geteuid()) == 0;
    if (!root && e->options->owner != OWNER_REQUIRE) {
        keep &= ~(STORE_KEEP_OWNER | STORE_KEEP_GROUP);
    }
    return keep;
}

static int verify_begin(struct look *l)
{
    struct engine *e = &l->engine;
    struct verify *v = calloc(1, sizeof *v);
    l->own = v;
    if (v == NULL) {
        report_error(e->report, "cannot start: %s", err_text(ENOMEM));
        return STATUS_CANNOT;
    }
    v->look = l;
    v->keep = choose_keep(e);
    v->kinds = copy_xattr_kinds(e->options);
    v->devices = (e->places.url.host != NULL ? e->user.uid : geteuid()) == 0;
    choose_sizes(v);
    int r = 0;
    for (int side = 0; r == 0 && side < DIR_SIDES; side++) {
        r = links_create(&v->links[side]);
    }
    if (r != 0) {
        report_error(e->report, "cannot start: %s", err_text(r));
        return STATUS_CANNOT;
    }
    r = engine_open_memory(e);
    if (r != 0) {
        return r;
    }
    r = state_verify_begin(e->state, e->options->fresh, &v->memory);
    if (r != 0) {
        report_error(e->report, "cannot use the state '%s': %s", e->state_path, err_text(r));
        return STATUS_CANNOT;
    }
    look_keep_ledger(l, e->state_path);
    v->seed = (uint64_t)state_verify_number(v->memory);
    if (state_verify_goes_on(v->memory)) {
        report_say(e->report, "going on with verification %lld, which was not finished (--fresh begins a new one)",
                   (long long)state_verify_number(v->memory));
    }
    return 0;
}

static void verify_release(struct look *l)
{
    struct verify *v = l->own;
    if (v != NULL) {
        (void)state_verify_end(v->memory, false, NULL);
        for (int side = 0; side < DIR_SIDES; side++) {
            links_destroy(v->links[side]);
        }
        free(v);
    }
}

static unsigned long findings(const struct look *l)
{
    unsigned long sum = 0;
    for (int kind = 0; kind < FINDING_KINDS; kind++) {
        sum += get(&l->counts.found[kind][ACTION_NONE]);
    }
    return sum;
}

/* What is worse counts: a tree that was not looked at as a whole, then what is wrong with it, then what could not be
 * looked at. */
static int status_with(const struct look *l, int status)
{
    const struct verify *v = l->own;
    if (status != STATUS_OK && status != STATUS_SOME_FAILED) {
        return status;
    }
    if (findings(l) > 0) {
        return STATUS_FOUND;
    }
    return status == STATUS_OK && get(&v->counts.changed) > 0 ? STATUS_SOME_CHANGED : status;
}

static void tell(const struct look *l, int status)
{
    const struct verify *v = l->own;
    struct report *r = l->engine.report;
    char count[QUANTITY_MAX];
    char bytes[QUANTITY_MAX];
    char before[QUANTITY_MAX];
    char part[96] = "";
    if (get(&v->counts.temps) > 0) {
        report_say(r, "%s temp names of haul are there (haul clean)",
                   quantity_show_count(get(&v->counts.temps), count));
    }
    if (get(&v->counts.changed) > 0) {
        report_say(r, "%s entries changed or vanished while they were looked at",
                   quantity_show_count(get(&v->counts.changed), count));
    }
    if (get(&v->counts.remembered) > 0) {
        (void)snprintf(part, sizeof part, ", %s found right before it was interrupted",
                       quantity_show_count(get(&v->counts.remembered), before));
    }
    report_say(r, "contents of %s files compared, %s read%s", quantity_show_count(get(&v->counts.compared), count),
               quantity_show_bytes(get(&l->counts.bytes), bytes), part);
    if (status == STATUS_OK) {
        report_say(r, "%s is as the source is", l->engine.options->sample < SAMPLE_ALL ? "what was looked at" : "DST");
    } else if (status == STATUS_INTERRUPTED || status == STATUS_OUT_OF_TIME) {
        report_error(r, "%s: NOT everything was looked at; the next haul verify goes on", status_stopped(status));
    } else if (status == STATUS_FOUND) {
        report_error(r, "DST is NOT as the source is: %s findings", quantity_show_count(findings(l), count));
    } else {
        report_error(r, "NOT everything could be looked at");
    }
}

static int verify_end(struct look *l, int status)
{
    struct verify *v = l->own;
    struct engine *e = &l->engine;
    status = status_with(l, status);
    const uint64_t number = (uint64_t)state_verify_number(v->memory);
    uint64_t filled = 0;
    int r = state_verify_end(v->memory, !look_is_cut(l) && atomic_load(&e->fatal) == 0, &filled);
    v->memory = NULL;
    if (r != 0) {
        report_error(e->report, "not all that was found out could be remembered in '%s': %s", e->state_path,
                     err_text(r));
    }
    const struct look_figure figures[] = {
        {"verification", number},
        {"compared", get(&v->counts.compared)},
        {"bytes", get(&l->counts.bytes)},
        {"remembered", get(&v->counts.remembered)},
        {"unsampled", get(&v->counts.unsampled)},
        {"source_files", get(&v->counts.source_files)},
        {"source_bytes", get(&v->counts.source_bytes)},
        {"hashes_filled", filled},
        {"changed", get(&v->counts.changed)},
        {"left_out", get(&v->counts.left_out)},
        {"temps", get(&v->counts.temps)},
    };
    if (look_report_end(l, status, figures, sizeof figures / sizeof figures[0]) != 0 && status == STATUS_OK) {
        status = STATUS_SOME_FAILED;
    }
    look_report_counts(l);
    tell(l, status);
    return status;
}

const struct look_job verify_job = {
    .name = "verify",
    .want_attr = true,
    .begin = verify_begin,
    .enter = verify_enter,
    .entry = verify_entry_met,
    .leave = verify_leave,
    .end = verify_end,
    .release = verify_release,
};
