/*
 * clean: haul clean: purges stale temp names at the destination and in the local temp dir.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cleanup/stale.h"
#include "cleanup/temps.h"
#include "copier/living.h"
#include "copier/look_report.h"
#include "copier/quantity.h"
#include "copier/status.h"
#include "copier/tempdir.h"
#include "copier/watchdog.h"
#include "workers/stores/layers.h"
#include "workers/stores/posix.h"

/* What haul clean knows besides. */
struct clean {
    struct living *living;            /* owned */
    atomic_ulong kept[STALE_NOT + 1]; /* temp names that were left, by enum stale_verdict */
    unsigned local;                   /* temp names removed in the local temp dir */
};

/* One temp name, to be looked at. */
struct candidate {
    struct tour_task task;       /* first field */
    struct look *look;           /* not owned */
    struct dir *dir;             /* one reference */
    enum stale_maker maker;      /* whose */
    char run_id[RUN_ID_LEN + 1]; /* MAKER_HAUL */
    char name[];                 /* NUL-terminated */
};

/* ---- the local temp dir ---- */

static bool anybody(void *arg, const char *run_id)
{
    (void)arg;
    (void)run_id;
    return true; /* nobody depends on a temp name there (posix_stage.h) */
}

/* Takes over fd. 0 or -errno. */
static int purge_local(struct look *l, int fd)
{
    const struct options *o = l->engine.options;
    const struct store_options options = {.side = DIR_SRC,
                                          .path = l->engine.tempdir.path,
                                          .run_id = l->engine.run_id,
                                          .owner = OWNER_IGNORE,
                                          .max_handles = 1,
                                          .notices = l->engine.notices};
    struct clean *c = l->own;
    struct dir_tree tree = {0};
    struct store *store = NULL;
    struct port *port = NULL;
    struct dir *root = NULL;
    struct io *io = NULL;
    int r = posix_open_root(&options, fd, &store);
    if (r == 0 && o->dry_run) {
        r = dry_wrap(store, &store);
    }
    if (r != 0) {
        return r;
    }
    store_attach(store, DIR_SRC, &tree);
    r = io_create(&(struct io_options){.no_ring = true}, &io);
    if (r == 0) {
        r = store_port_create(store, io, &port);
    }
    if (r == 0) {
        r = dir_create_root(&tree, &root);
    }
    if (r == 0) {
        r = temps_purge(port, root, &(struct temps_rules){.is_dead = anybody}, &c->local);
    }
    dir_put(root);
    store_port_destroy(port);
    io_destroy(io);
    store_destroy(store);
    return r;
}

/* 0 or an exit status after a message. */
static int clean_local(struct look *l)
{
    struct engine *e = &l->engine;
    watchdog_step(e->watchdog, "the temp dir", e->options->temp_dir != NULL ? e->options->temp_dir : "$TMPDIR");
    int status = tempdir_find(e->options, &e->places, e->report, &e->tempdir);
    int r = 0;
    if (status == 0 && !e->tempdir.unusable && e->tempdir.fd >= 0) {
        int fd = e->tempdir.fd;
        e->tempdir.fd = -1;
        r = purge_local(l, fd);
    }
    watchdog_step(e->watchdog, NULL, NULL);
    if (r != 0) {
        report_error(e->report, "the temp dir '%s' could not be purged: %s", e->tempdir.path, err_text(r));
    }
    if (r != 0 || (status != 0 && !e->tempdir.asked)) {
        atomic_fetch_add(&l->counts.failed, 1);
        status = 0;
    }
    return status;
}

/* ---- one temp name ---- */

static void add(atomic_ulong *counter, unsigned long n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static enum finding_sure sureness(const struct stale_case *c)
{
    return c->maker != MAKER_HAUL ? SURE_SUSPECTED : c->run == RUN_DEAD ? SURE_CERTAIN : SURE_LIKELY;
}

/* Removes it, and tells. 0 or -errno of op. */
static int remove_one(struct look *l, const struct candidate *k, struct worker *w, const struct stale_case *c,
                      struct store_op *op)
{
    char evidence[96];
    char age[QUANTITY_MAX];
    struct clean *clean = l->own;
    *op = (struct store_op){
        .code = STORE_REMOVE, .dir = k->dir, .name = k->name, .remove = {.expect = c->attr, .dir = false}};
    int r = store_run(look_dst(w), op);
    if (r == -ESTALE && store_op_guarded(op)) {
        add(&clean->kept[STALE_YOUNG], 1); /* somebody works with it */
        return 0;
    }
    if (r != 0) {
        return r == -ENOENT ? 0 : r;
    }
    quantity_show_duration(c->now_ns - clock_ns_of(&c->attr->ctime), age);
    (void)snprintf(evidence, sizeof evidence, "temp name of %s%s, %s old", stale_maker_name(k->maker),
                   k->maker != MAKER_HAUL ? ""
                   : c->run == RUN_DEAD   ? ", of a run that is dead"
                                          : ", of a run that nobody here knows",
                   age);
    struct finding f = {.kind = FINDING_TEMP,
                        .sure = sureness(c),
                        .evidence = evidence,
                        .attr = c->attr,
                        .action = l->engine.options->dry_run ? ACTION_NONE : ACTION_REMOVED};
    add(&l->counts.bytes, c->attr->size);
    look_found(l, k->dir, k->name, &f);
    return 0;
}

/* Looks at it, and removes it where nobody works with it. Whether nothing stands there any more. */
static bool judge(struct look *l, const struct candidate *k, struct worker *w)
{
    const struct options *o = l->engine.options;
    struct clean *clean = l->own;
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = k->dir, .name = k->name, .stat = {.out = &attr, .fresh = true}};
    int r = worker_stopping(w) ? -ECANCELED : store_run(look_dst(w), &op);
    if (r == -ENOENT) {
        return true;
    }
    if (r == 0) {
        struct stale_case c = {.maker = k->maker,
                               .run = RUN_UNKNOWN,
                               .attr = &attr,
                               .now_ns = clock_real_ns(),
                               .older_ns = o->older_than_ns,
                               .partial_ns = o->partial_max_age};
        if (k->maker == MAKER_HAUL) {
            /* What was removed since it was asked for is not found again: the removal says so. */
            c.run = living_ask(clean->living, look_dst(w), k->dir, k->run_id, NULL);
            c.partial_touched_ns = living_partial(clean->living, k->name);
        }
        enum stale_verdict verdict = stale_judge(&c);
        if (verdict != STALE_GOES) {
            add(&clean->kept[verdict], 1);
            return false;
        }
        r = remove_one(l, k, w, &c, &op);
    }
    if (r != 0) {
        look_failed(l, k->dir, k->name, &op, r, false, false);
    }
    return r == 0;
}

static void candidate_destroy(struct candidate *k)
{
    dir_put(k->dir);
    free(k);
}

static void judge_task(struct tour_task *task, struct worker *w)
{
    struct candidate *k = (struct candidate *)task; /* its first field */
    (void)judge(k->look, k, w);
    candidate_destroy(k);
}

/* ---- the tour ---- */

/* A directory of rsync's for files that wait is looked through on the spot, so that it can go when it is empty. */
static bool is_rsync_dir(const struct dir *dir)
{
    return strcmp(dir->name, STALE_RSYNC_DIR) == 0;
}

static int clean_enter(void *arg, struct tour_visit *v)
{
    const struct look *l = arg;
    v->own =
        l->engine.options->others && is_rsync_dir(v->dir) ? arg : NULL; /* not NULL: nothing is left in it so far */
    return 0;
}

static void meet(struct look *l, struct tour_visit *v, const struct store_entry *entry, enum stale_maker maker,
                 const char *run_id)
{
    struct candidate *k = malloc(sizeof *k + entry->name_len + 1);
    if (k == NULL) {
        struct store_op op = {.code = STORE_STAT};
        look_failed(l, v->dir, entry->name, &op, -ENOMEM, false, false);
        return;
    }
    *k = (struct candidate){.task = {.run = judge_task}, .look = l, .dir = dir_get(v->dir), .maker = maker};
    memcpy(k->run_id, run_id, sizeof k->run_id);
    memcpy(k->name, entry->name, entry->name_len + 1);
    if (v->own != NULL) {
        v->own = judge(l, k, v->worker) ? v->own : NULL;
        candidate_destroy(k);
    } else if (!tour_add(l->tour, &k->task)) {
        judge_task(&k->task, v->worker);
    }
}

/* Whether it is a directory, where the listing does not tell. */
static bool is_dir(struct look *l, const struct tour_visit *v, const struct store_entry *entry)
{
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = v->dir, .name = entry->name, .stat = {.out = &attr}};
    if (entry->type != DT_UNKNOWN) {
        return entry->type == DT_DIR;
    }
    int r = store_run(look_dst(v->worker), &op);
    if (r != 0 && r != -ENOENT) {
        look_failed(l, v->dir, entry->name, &op, r, false, true);
    }
    return r == 0 && S_ISDIR(attr.mode);
}

static bool clean_entry(void *arg, struct tour_visit *v, const struct store_entry *entry)
{
    struct look *l = arg;
    char run_id[RUN_ID_LEN + 1] = "";
    if (is_dir(l, v, entry)) {
        v->own = NULL;
        return true;
    }
    add(&l->counts.entries, 1);
    enum stale_maker maker = stale_maker_of(v->dir->name, entry->name, run_id);
    if (maker == MAKER_HAUL || (maker != MAKER_NONE && l->engine.options->others)) {
        meet(l, v, entry, maker, run_id);
    }
    return false;
}

static void clean_leave(void *arg, struct tour_visit *v, int err, const struct store_op *op, bool broken)
{
    struct look *l = arg;
    if (err == -ENOENT && !broken && v->dir->parent != NULL) {
        return; /* it was removed meanwhile, as .haul/ is with the run that has it */
    }
    if (err != 0) {
        look_failed(l, v->dir, NULL, op, err, false, !broken);
        return;
    }
    add(&l->counts.dirs, 1);
    if (v->own != NULL && v->dir->parent != NULL) {
        struct store_op remove = {
            .code = STORE_REMOVE, .dir = v->dir->parent, .name = v->dir->name, .remove = {.dir = true}};
        int r = store_run(look_dst(v->worker), &remove);
        if (r != 0 && r != -ENOTEMPTY && r != -EEXIST && r != -ENOENT) {
            look_failed(l, v->dir, NULL, &remove, r, false, false);
        }
    }
}

/* ---- from begin to end ---- */

static int clean_begin(struct look *l)
{
    struct clean *c = calloc(1, sizeof *c);
    l->own = c;
    int r = c == NULL ? -ENOMEM : living_create(&l->engine, &c->living);
    if (r != 0) {
        report_error(l->engine.report, "cannot start: %s", err_text(r));
        return STATUS_CANNOT;
    }
    return clean_local(l);
}

static void clean_release(struct look *l)
{
    struct clean *c = l->own;
    if (c != NULL) {
        living_destroy(c->living);
        free(c);
    }
}

/* "; left: 2 of a run that lives, ..." as lines. */
static void tell_kept(const struct look *l)
{
    const struct clean *c = l->own;
    char count[QUANTITY_MAX];
    for (int verdict = STALE_LIVES; verdict < STALE_NOT; verdict++) {
        unsigned long n = atomic_load(&c->kept[verdict]);
        if (n > 0) {
            report_say(l->engine.report, "left: %s %s", quantity_show_count(n, count),
                       stale_why((enum stale_verdict)verdict));
        }
    }
}

static int clean_end(struct look *l, int status)
{
    const struct clean *c = l->own;
    struct engine *e = &l->engine;
    const bool dry = e->options->dry_run;
    char count[QUANTITY_MAX];
    char bytes[QUANTITY_MAX];
    char local[64] = "";
    unsigned long removed = atomic_load(&l->counts.found[FINDING_TEMP][dry ? ACTION_NONE : ACTION_REMOVED]);
    const struct look_figure figures[] = {
        {"removed", removed},
        {"removed_bytes", atomic_load(&l->counts.bytes)},
        {"removed_local", c->local},
        {"left_living", atomic_load(&c->kept[STALE_LIVES])},
        {"left_young", atomic_load(&c->kept[STALE_YOUNG])},
        {"left_partial", atomic_load(&c->kept[STALE_PARTIAL])},
    };
    if (look_report_end(l, status, figures, sizeof figures / sizeof figures[0]) != 0 && status == STATUS_OK) {
        status = STATUS_SOME_FAILED;
    }
    if (c->local > 0) {
        (void)snprintf(local, sizeof local, ", %u in the local temp dir", c->local);
    }
    tell_kept(l);
    report_say(e->report, "%s %s stale temp name%s, %s%s", dry ? "would remove" : "removed",
               quantity_show_count(removed, count), removed == 1 ? "" : "s",
               quantity_show_bytes(atomic_load(&l->counts.bytes), bytes), local);
    if (status == STATUS_INTERRUPTED || status == STATUS_OUT_OF_TIME) {
        report_error(e->report, "%s: NOT everything was looked at", status_stopped(status));
    } else if (status != STATUS_OK) {
        report_error(e->report, "NOT everything could be looked at or removed");
    }
    return status;
}

const struct look_job clean_job = {
    .name = "clean",
    .quiet = true,
    .begin = clean_begin,
    .enter = clean_enter,
    .entry = clean_entry,
    .leave = clean_leave,
    .end = clean_end,
    .release = clean_release,
};
