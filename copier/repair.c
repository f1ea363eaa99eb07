#include "copier/repair.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copier/repair_internal.h"
#include "copier/status.h"

#define MILLION 1000000U

/* ---- what is needed ---- */

/* Whether the source can be listed, and holds anything. 0, -ENODATA, -errno. */
static int try_source(struct engine *e)
{
    struct dir_tree tree = {0};
    struct io *io = NULL;
    struct port *port = NULL;
    struct dir *root = NULL;
    struct store_list *list = NULL;
    struct store_entry entry = {0};
    store_attach(e->src, DIR_SRC, &tree);
    int err = io_create(&(struct io_options){.no_ring = true}, &io);
    if (err == 0) {
        io_set_mode(io, IO_DIRECT);
        err = store_port_create(e->src, io, &port);
    }
    if (err == 0) {
        err = dir_create_root(&tree, &root);
    }
    if (err == 0) {
        struct store_op op = {.code = STORE_LIST_OPEN, .dir = root, .list = {.list = &list}};
        err = store_run(port, &op);
    }
    if (err == 0) {
        struct store_op op = {.code = STORE_LIST_NEXT, .dir = root, .list = {.list = &list, .out = &entry}};
        err = store_run(port, &op);
        err = err == 0 && entry.name == NULL ? -ENODATA : err;
        struct store_op close = {.code = STORE_LIST_CLOSE, .dir = root, .list = {.list = &list}};
        (void)store_run(port, &close); /* nothing was written through it */
    }
    dir_put(root);
    store_port_destroy(port);
    io_destroy(io);
    return err;
}

/* 0 or an exit status after a message. */
static int check_source(struct engine *e)
{
    int err = e->options->source != NULL ? try_source(e) : 0;
    if (err == -ENODATA) {
        report_error(e->report, "SRC '%s' is empty: is it mounted? Nothing was touched", e->places.source);
    } else if (err != 0) {
        report_error(e->report, "SRC '%s' cannot be listed: %s; nothing was touched", e->places.source, err_text(err));
    }
    return err == 0 ? 0 : STATUS_CANNOT;
}

/* Who is not root gives everything to himself. 0 or an exit status after a message. */
static int check_owner(struct engine *e)
{
    const uid_t uid = e->places.url.host != NULL ? e->user.uid : geteuid();
    if (uid == 0 || e->options->owner == OWNER_IGNORE || (e->options->repair & ~MEND_KIND(FINDING_TEMP)) == 0) {
        return 0;
    }
    if (e->options->owner == OWNER_REQUIRE) {
        report_error(e->report, "--owner=require: only root can set owners, and this is user %u; nothing was touched",
                     (unsigned)uid);
        return STATUS_CANNOT;
    }
    report_say(e->report, "not root: owners cannot be set, what is published again will belong to user %u",
               (unsigned)uid);
    return 0;
}

/* Whether path is dir or below it. */
static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/' || strcmp(dir, "/") == 0);
}

static int open_quarantine(struct repair *r)
{
    struct engine *e = &r->look->engine;
    const char *path = e->options->quarantine;
    if (path == NULL) {
        return 0;
    }
    int err =
        strncmp(path, "nfs://", strlen("nfs://")) == 0 ? -EINVAL : quarantine_open(path, e->run_id, &r->quarantine);
    char *real = err == 0 ? realpath(path, NULL) : NULL;
    if (err != 0 || real == NULL) {
        report_error(e->report, "--quarantine '%s': %s; nothing was touched", path,
                     err == -EINVAL ? "it must be a folder of this machine" : err_text(err != 0 ? err : errno));
        return STATUS_CANNOT;
    }
    bool dst = e->places.url.host == NULL && strcmp(real, e->places.destination) == 0;
    bool src = e->options->source_url.host == NULL && e->places.source != NULL && is_below(real, e->places.source);
    free(real);
    if (dst || src) {
        report_error(e->report, "--quarantine '%s': it is %s; nothing was touched", path,
                     dst ? "DST itself" : "in SRC");
        return STATUS_USAGE;
    }
    return 0;
}

int repair_create(struct look *l, struct repair **out_repair)
{
    struct engine *e = &l->engine;
    *out_repair = NULL;
    if (e->options->repair == 0) {
        return 0;
    }
    struct repair *r = calloc(1, sizeof *r);
    if (r == NULL) {
        report_error(e->report, "cannot start: %s", err_text(ENOMEM));
        return STATUS_CANNOT;
    }
    r->look = l;
    r->end = &r->first;
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->state_lock, NULL);
    int status = check_source(e);
    if (status == 0) {
        status = check_owner(e);
    }
    if (status == 0 && !e->options->dry_run) {
        status = open_quarantine(r);
    }
    if (status != 0) {
        repair_destroy(r);
        return status;
    }
    *out_repair = r;
    return 0;
}

int repair_remember(struct repair *r, const char *state_path)
{
    return r != NULL && !r->look->engine.options->dry_run ? repair_state_open(r, state_path) : 0;
}

static void mending_free(struct mending *m)
{
    dir_put(m->dir);
    free(m);
}

static struct mending *take(struct repair *r, bool linked)
{
    pthread_mutex_lock(&r->lock);
    struct mending **first = linked ? &r->linked : &r->first;
    struct mending *m = *first;
    if (m != NULL) {
        *first = m->next;
        r->end = r->first != NULL ? r->end : &r->first;
    }
    pthread_mutex_unlock(&r->lock);
    return m;
}

void repair_destroy(struct repair *r)
{
    if (r == NULL) {
        return;
    }
    for (struct mending *m = take(r, false); m != NULL; m = take(r, false)) {
        mending_free(m);
    }
    for (struct mending *m = take(r, true); m != NULL; m = take(r, true)) {
        mending_free(m);
    }
    while (r->avoided != NULL) {
        struct repair_avoided *a = r->avoided;
        r->avoided = a->next;
        dir_put(a->dir);
        free(a);
    }
    repair_leaders_free(r);
    repair_state_free(r);
    quarantine_close(r->quarantine);
    free(r->menders);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->state_lock);
    free(r);
}

bool repair_is_quarantine(const struct repair *r, const struct attr *dir)
{
    return r != NULL && r->quarantine != NULL && r->look->engine.places.url.host == NULL &&
           quarantine_is(r->quarantine, dir);
}

/* ---- what is met ---- */

void repair_avoid(struct repair *r, struct dir *dir)
{
    struct repair_avoided *a = malloc(sizeof *a);
    pthread_mutex_lock(&r->lock);
    if (a == NULL) {
        r->blind = true;
    } else {
        *a = (struct repair_avoided){.next = r->avoided, .dir = dir_get(dir)};
        r->avoided = a;
    }
    pthread_mutex_unlock(&r->lock);
}

static const char *would(enum mend_verdict verdict)
{
    switch (verdict) {
    case MEND_CONTENTS:
        return "would be published again from the source";
    case MEND_ATTRS:
        return "would get owner, mode and times of the source";
    case MEND_MOVE:
        return "would be moved into the quarantine";
    default:
        return "would be removed";
    }
}

/* False: there is no memory for it. */
static bool keep(struct repair *r, struct dir *dir, const char *name, const struct finding *f,
                 enum mend_verdict verdict, bool linked)
{
    size_t name_size = strlen(name) + 1;
    size_t evidence_size = strlen(f->evidence) + 1;
    struct mending *m = malloc(sizeof *m + name_size + evidence_size);
    if (m == NULL) {
        return false;
    }
    *m = (struct mending){.dir = dir_get(dir), .kind = f->kind, .sure = f->sure, .verdict = verdict, .now = *f->attr};
    memcpy(m->text, name, name_size);
    memcpy(m->text + name_size, f->evidence, evidence_size);
    m->evidence = m->text + name_size;
    pthread_mutex_lock(&r->lock);
    m->linked = verdict == MEND_CONTENTS && linked;
    if (m->linked) {
        m->next = r->linked;
        r->linked = m;
    } else {
        *r->end = m;
        r->end = &m->next;
    }
    r->counted += f->kind != FINDING_TEMP ? 1 : 0;
    pthread_mutex_unlock(&r->lock);
    return true;
}

bool repair_meet(struct repair *r, struct dir *dir, const char *name, struct finding *f, struct mend_case *facts)
{
    const struct options *o = r->look->engine.options;
    facts->kind = f->kind;
    facts->sure = f->sure;
    facts->now = f->attr;
    facts->named = o->repair;
    facts->away = o->quarantine != NULL ? AWAY_MOVE : o->repair_remove ? AWAY_REMOVE : AWAY_LEAVE;
    enum mend_verdict verdict = mend_decide(facts);
    if (!mend_is_wanted(verdict)) {
        f->action = ACTION_LEFT;
        f->why = mend_why(verdict);
        return false;
    }
    if (o->dry_run) {
        pthread_mutex_lock(&r->lock);
        r->counted += f->kind != FINDING_TEMP ? 1 : 0;
        pthread_mutex_unlock(&r->lock);
        f->action = ACTION_NONE;
        f->why = would(verdict);
        return false;
    }
    if (!keep(r, dir, name, f, verdict, facts->src != NULL && facts->src->nlink > 1)) {
        f->action = ACTION_FAILED;
        f->why = "keeping it in mind";
        f->err = ENOMEM;
        return false;
    }
    return true;
}

/* ---- mending ---- */

static void tell(struct repair *r, const struct mending *m, const struct outcome *out)
{
    struct finding f = {.kind = m->kind,
                        .sure = m->sure,
                        .evidence = m->evidence,
                        .attr = &m->now,
                        .action = out->action,
                        .why = out->why,
                        .err = out->err};
    look_found(r->look, m->dir, m->text, &f);
}

/* All that waits is left, for that reason. */
static void leave_all(struct repair *r, const char *why)
{
    const struct outcome out = {.action = ACTION_LEFT, .why = why};
    for (int linked = 0; linked < 2; linked++) {
        for (struct mending *m = take(r, linked); m != NULL; m = take(r, linked)) {
            tell(r, m, &out);
            mending_free(m);
        }
    }
}

static bool is_avoided(const struct repair *r, const struct dir *dir)
{
    for (; dir != NULL; dir = dir->parent) {
        for (const struct repair_avoided *a = r->avoided; a != NULL; a = a->next) {
            if (a->dir == dir) {
                return true;
            }
        }
    }
    return false;
}

/* What was found where another run works, which may have been known only later, is left. */
static void leave_avoided(struct repair *r, struct mending **first)
{
    const struct outcome out = {.action = ACTION_LEFT, .why = "another run works there"};
    struct mending **at = first;
    while (*at != NULL) {
        struct mending *m = *at;
        if (!is_avoided(r, m->dir)) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        r->counted -= m->kind != FINDING_TEMP ? 1 : 0;
        tell(r, m, &out);
        mending_free(m);
    }
    r->end = first == &r->first ? at : r->end;
}

static void mend_all(struct repair *r, struct worker *w, bool linked)
{
    for (struct mending *m = NULL; !worker_stopping(w) && (m = take(r, linked)) != NULL;) {
        struct outcome out = {.action = ACTION_LEFT};
        repair_one(r, w, m, &out);
        tell(r, m, &out);
        mending_free(m);
    }
    if (worker_stopping(w)) {
        atomic_store(&r->look->cut, true);
    }
}

static void mend(struct tour_task *task, struct worker *w)
{
    struct repair *r = ((struct mender *)task)->repair; /* its first field */
    mend_all(r, w, false);
    if (atomic_fetch_sub(&r->active, 1) == 1) {
        mend_all(r, w, true);
        repair_state_flush(r, w);
    }
}

/* Says so where it is more than --max-repair lets us. */
static bool is_too_much(struct repair *r)
{
    struct engine *e = &r->look->engine;
    const struct options *o = e->options;
    uint64_t all = atomic_load(&r->look->counts.entries);
    uint64_t share = o->max_repair_given ? o->max_repair : MAX_REPAIR_SHARE;
    bool by_share = !o->max_repair_given || o->max_repair_share;
    bool over = by_share ? (uint64_t)r->counted * MILLION > all * share && (o->max_repair_given || all > MAX_REPAIR_FEW)
                         : r->counted > o->max_repair;
    if (over) {
        report_error(e->report,
                     "%lu of %llu entries would be mended, more than --max-repair allows (%llu%s): nothing was touched",
                     r->counted, (unsigned long long)all,
                     (unsigned long long)(by_share ? share / (MILLION / 100) : o->max_repair), by_share ? "%" : "");
    }
    return over;
}

void repair_go(struct repair *r, struct worker *w)
{
    struct look *l = r->look;
    struct engine *e = &l->engine;
    if (r->blind) {
        report_error(e->report,
                     "other runs work here, and there is no memory to keep in mind where: nothing was touched");
        leave_all(r, "another run may work there");
    }
    leave_avoided(r, &r->first);
    leave_avoided(r, &r->linked);
    if (is_too_much(r)) {
        leave_all(r, "--max-repair");
    }
    if (r->first == NULL && r->linked == NULL) {
        return;
    }
    r->menders = calloc(l->width, sizeof *r->menders);
    int err = r->menders == NULL ? -ENOMEM : repair_state_doubt(r);
    if (err != 0) {
        report_error(e->report, "the state cannot be written: %s; nothing was touched", err_text(err));
        leave_all(r, "the state cannot be written");
        return;
    }
    atomic_store(&r->active, l->width);
    for (unsigned i = 0; i < l->width; i++) {
        r->menders[i] = (struct mender){.task = {.run = mend}, .repair = r};
        if (!tour_add(l->tour, &r->menders[i].task)) {
            mend(&r->menders[i].task, w);
        }
    }
}

void repair_over(struct repair *r)
{
    if (r == NULL) {
        return;
    }
    if (r->look->engine.options->dry_run && !look_is_cut(r->look)) {
        (void)is_too_much(r); /* so that it is known beforehand */
    }
    leave_all(r, "the run was stopped before");
}
