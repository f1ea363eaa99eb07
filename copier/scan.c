/*
 * scan: haul scan: what at a destination is not as it should be, by its listings.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cleanup/beside.h"
#include "cleanup/judge.h"
#include "cleanup/stale.h"
#include "copier/lease.h"
#include "copier/living.h"
#include "copier/look_report.h"
#include "copier/quantity.h"
#include "copier/remembered.h"
#include "copier/repair.h"
#include "copier/status.h"

/* What haul scan knows besides. */
struct scan {
    struct remembered *remembered; /* owned; NULL: nothing is */
    struct living *living;         /* owned */
    struct repair *repair;         /* owned; NULL: nothing is mended */
    struct beside_room room;       /* of the lists of the source */
    dev_t dev;                     /* file system of the destination's root; with --one-file-system */
};

/* One directory. */
struct scan_dir {
    struct beside *src; /* what the source has there; NULL: nothing, or it is asked for by itself */
    bool asked;         /* the source can be asked about this directory */
    bool gone;          /* it has no such directory */
    bool looked;        /* dir is valid, or could not be had */
    bool has_dir;       /* dir is valid */
    int64_t begun_ns;   /* CLOCK_MONOTONIC: before it was listed */
    struct attr dir;    /* of the directory itself */
};

static void add(atomic_ulong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* A finding: kept to be mended, or told. name NULL: dir itself. */
static void found(struct look *l, struct dir *dir, const char *name, struct finding *f, struct mend_case *facts)
{
    const struct scan *s = l->own;
    if (s->repair == NULL || !repair_meet(s->repair, dir, name, f, facts)) {
        look_found(l, dir, name, f);
    }
}

/* ---- a directory ---- */

static void list_source(struct look *l, struct tour_visit *v, struct scan_dir *d)
{
    struct scan *s = l->own;
    struct store_op op = {.code = STORE_LIST_OPEN};
    int r = beside_read(look_src(v->worker), v->dir, &s->room, &d->src);
    d->gone = r == -ENOENT || r == -ENOTDIR || r == -ELOOP;
    d->asked = r == 0 || d->gone;
    if (!d->asked) {
        look_failed(l, v->dir, NULL, &op, r, true, true);
    }
}

static int scan_enter(void *arg, struct tour_visit *v)
{
    struct look *l = arg;
    struct scan_dir *d = calloc(1, sizeof *d);
    struct store_op op = {.code = STORE_LIST_OPEN};
    if (d == NULL) {
        look_failed(l, v->dir, NULL, &op, -ENOMEM, false, true);
        return -ENOMEM;
    }
    d->begun_ns = clock_mono_ns();
    v->own = d;
    if (l->engine.options->source != NULL) {
        list_source(l, v, d);
    }
    return 0;
}

static void scan_leave(void *arg, struct tour_visit *v, int err, const struct store_op *op, bool broken)
{
    struct look *l = arg;
    struct scan_dir *d = v->own;
    if (err == -ECANCELED) {
        look_failed(l, v->dir, NULL, op, err, false, true);
    } else if (err != 0 && !(err == -ENOENT && !broken)) { /* that one was removed meanwhile */
        char evidence[JUDGE_EVIDENCE_MAX];
        (void)snprintf(evidence, sizeof evidence, "%s: %s; nothing %s it was looked at",
                       op->step != NULL ? op->step : store_code_name(op->code), err_text(err),
                       broken ? "more of" : "below");
        struct finding f = {.kind = FINDING_UNREADABLE, .sure = SURE_CERTAIN, .evidence = evidence};
        found(l, v->dir, NULL, &f, &(struct mend_case){0});
    } else {
        add(&l->counts.dirs);
    }
    if (d != NULL) {
        beside_destroy(d->src);
        free(d);
    }
}

/* The attributes of the directory itself, where they are asked for; NULL: they cannot be had. */
static const struct attr *dir_attr(struct tour_visit *v)
{
    struct scan_dir *d = v->own;
    if (!d->looked) {
        struct store_op op = {.code = STORE_STAT, .dir = v->dir, .stat = {.out = &d->dir}};
        d->has_dir = store_run(look_dst(v->worker), &op) == 0;
        d->looked = true;
    }
    return d->has_dir ? &d->dir : NULL;
}

/* ---- an entry ---- */

/* What the source has under that name: 0, -ENOENT, or -errno after it was told. */
static int ask_source(struct look *l, struct tour_visit *v, const struct store_entry *entry, struct attr *out)
{
    struct scan_dir *d = v->own;
    struct store_op op;
    if (d->gone) {
        return -ENOENT;
    }
    int r = beside_look(d->src, look_src(v->worker), v->dir, entry->name, entry->name_len, out, &op);
    if (r != 0 && r != -ENOENT) {
        look_failed(l, v->dir, entry->name, &op, r, true, false);
    }
    return r;
}

/* Whether haul has published an entry of that name, however it looks. */
static bool is_published(struct look *l, const struct tour_visit *v, const struct store_entry *entry)
{
    struct scan *s = l->own;
    struct state_file file;
    bool sure = false;
    return remembered_entry(s->remembered, v->worker, v->dir, entry->name, &file, &sure) == 0 && file.src.mode != 0;
}

/* Whether the owner of a temp name of haul's is dead, or known to nobody. A run that ended while its directory was
 * looked at has published what was listed, or removed it. */
static enum stale_run ask_run(struct look *l, struct tour_visit *v, const struct store_entry *entry, const char *run_id)
{
    struct scan *s = l->own;
    const struct scan_dir *d = v->own;
    struct attr attr;
    struct store_op op = {
        .code = STORE_STAT, .dir = v->dir, .name = entry->name, .stat = {.out = &attr, .fresh = true}};
    int64_t since_ns;
    if (lease_took_over(l->engine.lease, run_id)) {
        return RUN_DEAD;
    }
    enum stale_run run = living_ask(s->living, look_dst(v->worker), v->dir, run_id, &since_ns);
    bool may_be_gone = run != RUN_LIVES && since_ns > d->begun_ns;
    return may_be_gone && store_run(look_dst(v->worker), &op) == -ENOENT ? RUN_LIVES : run;
}

/* A temp name. What the source has under the same name is no temp name. */
static void look_at_temp(struct look *l, struct tour_visit *v, const struct store_entry *entry, enum stale_maker maker,
                         const char *run_id)
{
    struct scan *s = l->own;
    const struct scan_dir *d = v->own;
    const struct options *o = l->engine.options;
    char evidence[JUDGE_EVIDENCE_MAX];
    char age[QUANTITY_MAX];
    struct attr src;
    struct stale_case c = {.maker = maker,
                           .run = RUN_UNKNOWN,
                           .attr = &entry->attr,
                           .now_ns = clock_real_ns(),
                           .older_ns = o->older_than_ns,
                           .partial_ns = o->partial_max_age};
    if (maker == MAKER_HAUL) {
        c.run = ask_run(l, v, entry, run_id);
        c.partial_touched_ns = living_partial(s->living, entry->name);
    }
    if (stale_judge(&c) != STALE_GOES || (d->asked && ask_source(l, v, entry, &src) != -ENOENT)) {
        return;
    }
    quantity_show_duration(c.now_ns - clock_ns_of(&entry->attr.ctime), age);
    (void)snprintf(evidence, sizeof evidence, "temp name of %s%s, %s old", stale_maker_name(maker),
                   c.run == RUN_DEAD ? ", of a run that is dead" : "", age);
    struct finding f = {.kind = FINDING_TEMP,
                        .sure = c.run == RUN_DEAD                 ? SURE_CERTAIN
                                : maker == MAKER_HAUL || d->asked ? SURE_LIKELY
                                                                  : SURE_SUSPECTED,
                        .evidence = evidence,
                        .attr = &entry->attr};
    found(l, v->dir, entry->name, &f, &(struct mend_case){0});
}

static void look_at_entry(struct look *l, struct tour_visit *v, const struct store_entry *entry)
{
    struct scan *s = l->own;
    const struct scan_dir *d = v->own;
    struct attr src;
    struct state_file file;
    struct judge_finding judged;
    struct judge_case c = {.now = &entry->attr, .asked = d->asked, .now_ns = clock_real_ns()};
    if (d->asked) {
        int r = ask_source(l, v, entry, &src);
        c.src = r == 0 ? &src : NULL;
        c.asked = r == 0 || r == -ENOENT;
    }
    if (remembered_entry(s->remembered, v->worker, v->dir, entry->name, &file, &c.sure) == 0 && file.src.mode != 0) {
        c.published = &file.dst;
    }
    judge_entry(&c, &judged);
    if (judged.kind == FINDING_CORRUPT && judged.sure == SURE_SUSPECTED) {
        c.dir = dir_attr(v);
        judge_entry(&c, &judged);
    }
    if (judged.kind != FINDING_NONE) {
        struct mend_case facts = {.theirs = judged.theirs, .asked = c.asked, .src = c.src};
        struct finding f = {
            .kind = judged.kind, .sure = judged.sure, .evidence = judged.evidence, .attr = &entry->attr};
        found(l, v->dir, entry->name, &f, &facts);
    }
}

/* A directory has a folder of haul's: perhaps another run works on it. */
static void look_at_owner(struct look *l, struct tour_visit *v)
{
    struct scan *s = l->own;
    if (s->repair != NULL && event_owned(&l->engine, look_dst(v->worker), v->dir) != 0) {
        repair_avoid(s->repair, v->dir);
    }
}

static bool goes_into(const struct look *l, const struct tour_visit *v, const struct store_entry *entry)
{
    const struct scan *s = l->own;
    bool own = v->dir->parent == NULL && strcmp(entry->name, HAUL_DIR) == 0;
    bool other = l->engine.options->one_file_system && s->dev != 0 && entry->attr.dev != s->dev;
    return !own && !other && !repair_is_quarantine(s->repair, &entry->attr);
}

static bool scan_entry(void *arg, struct tour_visit *v, const struct store_entry *entry)
{
    struct look *l = arg;
    char run_id[RUN_ID_LEN + 1] = "";
    if (entry->attr_error == -ENOENT) {
        return false; /* it was removed meanwhile */
    }
    if (entry->attr_error == 0 && S_ISDIR(entry->attr.mode)) {
        if (v->dir->parent != NULL && strcmp(entry->name, HAUL_DIR) == 0) {
            look_at_owner(l, v);
        }
        return goes_into(l, v, entry);
    }
    add(&l->counts.entries);
    if (entry->attr_error != 0) {
        char evidence[JUDGE_EVIDENCE_MAX];
        (void)snprintf(evidence, sizeof evidence, "its attributes: %s", err_text(entry->attr_error));
        struct finding f = {.kind = FINDING_UNREADABLE, .sure = SURE_CERTAIN, .evidence = evidence};
        found(l, v->dir, entry->name, &f, &(struct mend_case){0});
        return false;
    }
    enum stale_maker maker = stale_maker_of(v->dir->name, entry->name, run_id);
    if (maker != MAKER_NONE && !is_published(l, v, entry)) {
        look_at_temp(l, v, entry, maker, run_id);
    } else {
        look_at_entry(l, v, entry);
    }
    return false;
}

/* ---- from begin to end ---- */

static int scan_begin(struct look *l)
{
    struct engine *e = &l->engine;
    struct scan *s = calloc(1, sizeof *s);
    l->own = s;
    int r = s == NULL ? -ENOMEM : living_create(e, &s->living);
    if (r != 0) {
        report_error(e->report, "cannot start: %s", err_text(r));
        return STATUS_CANNOT;
    }
    s->dev = e->dst_dev;
    r = remembered_find(e, &s->remembered);
    r = r == 0 ? repair_create(l, &s->repair) : r;
    if (r == 0) {
        look_keep_ledger(l, remembered_path(s->remembered));
        look_report_start(l, remembered_path(s->remembered));
        r = repair_remember(s->repair, remembered_path(s->remembered));
    }
    return r;
}

static void scan_release(struct look *l)
{
    struct scan *s = l->own;
    if (s != NULL) {
        repair_destroy(s->repair);
        remembered_destroy(s->remembered);
        living_destroy(s->living);
        free(s);
    }
}

static void scan_over(void *arg, struct worker *w)
{
    const struct look *l = arg;
    const struct scan *s = l->own;
    if (s->repair != NULL) {
        repair_go(s->repair, w);
    }
}

static int scan_end(struct look *l, int status)
{
    const struct scan *s = l->own;
    struct engine *e = &l->engine;
    char entries[QUANTITY_MAX];
    char dirs[QUANTITY_MAX];
    char time[QUANTITY_MAX];
    char count[QUANTITY_MAX];
    int r = remembered_error(s->remembered);
    repair_over(s->repair);
    if (r != 0) {
        report_error(e->report, "the state '%s' could not be read: %s", remembered_path(s->remembered), err_text(r));
        status = status == STATUS_OK ? STATUS_SOME_FAILED : status;
    }
    unsigned long left = look_findings_open(l);
    if (left > 0 && (status == STATUS_OK || status == STATUS_SOME_FAILED)) {
        status = STATUS_FOUND;
    }
    if (look_report_end(l, status, NULL, 0) != 0 && status == STATUS_OK) {
        status = STATUS_SOME_FAILED;
    }
    look_report_counts(l);
    report_say(e->report, "looked at %s entries in %s directories, in %s",
               quantity_show_count(atomic_load(&l->counts.entries), entries),
               quantity_show_count(atomic_load(&l->counts.dirs), dirs),
               quantity_show_duration(clock_mono_ns() - e->begun_ns, time));
    if (status == STATUS_INTERRUPTED || status == STATUS_OUT_OF_TIME) {
        report_error(e->report, "%s: NOT everything was looked at", status_stopped(status));
    } else if (left > 0) {
        report_error(e->report, "%s finding%s left%s", quantity_show_count(left, count), left == 1 ? "" : "s",
                     atomic_load(&l->counts.failed) > 0 ? "; NOT everything could be looked at" : "");
    } else if (status != STATUS_OK) {
        report_error(e->report, "NOT everything could be looked at");
    } else {
        report_say(e->report, look_findings(l) > 0 ? "all of it was mended" : "nothing is wrong");
    }
    return status;
}

const struct look_job scan_job = {
    .name = "scan",
    .publishes = true,
    .want_attr = true,
    .begin = scan_begin,
    .enter = scan_enter,
    .entry = scan_entry,
    .leave = scan_leave,
    .over = scan_over,
    .end = scan_end,
    .release = scan_release,
};
