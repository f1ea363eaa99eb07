#include "copier/sync.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/errs.h"
#include "base/name.h"
#include "cleanup/temps.h"
#include "copier/copyfile.h"
#include "copier/lease.h"
#include "copier/left.h"
#include "copier/status.h"

#define PLACE_NAME "sync" /* in HAUL_DIR */
#define PLACE_TEXT 256    /* bytes of its file at most */
#define MILLION    1000000U

static bool is_sync(const struct engine *e)
{
    return e->options->command == COMMAND_SYNC && e->state != NULL;
}

/* ---- .haul/sync ---- */

/* What a look at the destination needs. */
struct place_port {
    struct dir_tree tree; /* of haul */
    struct dir *haul;     /* one reference */
    struct io *io;        /* owned */
    struct port *port;    /* owned */
};

static int place_open(struct engine *e, struct place_port *p)
{
    struct io_options direct = {.no_ring = true};
    struct dir *root = NULL;
    *p = (struct place_port){.haul = NULL};
    int r = io_create(&direct, &p->io);
    if (r != 0) {
        return r;
    }
    io_set_mode(p->io, IO_DIRECT);
    r = store_port_create(e->dst, p->io, &p->port);
    store_attach(e->dst, DIR_DST, &p->tree);
    if (r == 0) {
        r = dir_create_root(&p->tree, &root);
    }
    if (r == 0) {
        r = dir_create_child(root, HAUL_DIR, strlen(HAUL_DIR), &p->haul);
    }
    dir_put(root);
    return r;
}

static void place_close(struct place_port *p)
{
    dir_put(p->haul);
    store_port_destroy(p->port);
    io_destroy(p->io);
}

/* What the file says: id and run, "" where it is not there or cannot be understood. 0 or -errno. */
static int place_parse(struct engine *e, const struct place_port *p, char id[STATE_PLACE_MAX],
                       char run[STATE_PLACE_MAX])
{
    char text[PLACE_TEXT + 1] = "";
    size_t len = 0;
    struct attr before = {0};
    struct attr after = {0};
    struct store_op op = {
        .code = STORE_READ_SMALL,
        .dir = p->haul,
        .name = PLACE_NAME,
        .read_small = {.buf = text, .size = PLACE_TEXT, .out_len = &len, .before = &before, .after = &after}};
    id[0] = '\0';
    run[0] = '\0';
    int r = store_run(p->port, &op);
    if (r == -ENOENT || r == -ENOTDIR) {
        return 0;
    }
    text[r == 0 ? len : 0] = '\0';
    if (r == 0 && sscanf(text, "haul sync 1\nid %64[0-9a-f]\nrun %64[0-9a-f]\n", id, run) != 2) {
        id[0] = '\0';
        run[0] = '\0';
    }
    if (r == 0) {
        (void)state_place_see(e->state, &after, run); /* else it is read the next time too */
    }
    return r;
}

/* Whether the file is that which was last read or written, and the run that stood in it: each run writes a file of its
 * own and renames it. A time of whole seconds proves nothing. */
static bool place_same(struct engine *e, const struct place_port *p, char run[STATE_PLACE_MAX])
{
    struct attr seen;
    struct attr now = {0};
    struct store_op op = {.code = STORE_STAT, .dir = p->haul, .name = PLACE_NAME, .stat = {.out = &now, .fresh = true}};
    return state_place_seen(e->state, &seen, run) == 0 && store_run(p->port, &op) == 0 && S_ISREG(now.mode) &&
           now.ino == seen.ino && now.size == seen.size && now.mtime.tv_nsec != 0 &&
           clock_cmp(&now.mtime, &seen.mtime) == 0;
}

static int place_read(struct engine *e, char id[STATE_PLACE_MAX], char run[STATE_PLACE_MAX])
{
    struct place_port p;
    int r = place_open(e, &p);
    if (r == 0) {
        r = place_parse(e, &p, id, run);
    }
    place_close(&p);
    return r;
}

/* Whether a lease stands there, of whomever; so where that cannot be told. If none does, what else is said there is
 * seen at the same time; place: as it is remembered. */
static bool is_leased(struct engine *e, const struct state_place *place)
{
    struct place_port p;
    struct attr attr = {0};
    struct sync *s = &e->sync;
    int r = place_open(e, &p);
    if (r == 0) {
        struct store_op op = {
            .code = STORE_STAT, .dir = p.haul, .name = LEASE_NAME, .stat = {.out = &attr, .fresh = true}};
        r = store_run(p.port, &op);
    }
    if (r == -ENOENT && place_same(e, &p, s->seen_run)) {
        s->seen = true;
        memcpy(s->seen_id, place->id, sizeof s->seen_id);
    } else if (r == -ENOENT) {
        s->seen = place_parse(e, &p, s->seen_id, s->seen_run) == 0;
    }
    place_close(&p);
    return !s->seen;
}

static int place_write(struct engine *e)
{
    struct place_port p;
    char text[PLACE_TEXT];
    int len = snprintf(text, sizeof text, "haul sync 1\nid %s\nrun %s\n", e->sync.place.id, e->run_id);
    struct attr attr = {.mode = S_IFREG | 0644, .nlink = 1, .size = (uint64_t)len};
    struct attr out = {0};
    int r = place_open(e, &p);
    if (r == 0) {
        struct store_op op = {.code = STORE_PUBLISH,
                              .dir = p.haul,
                              .name = PLACE_NAME,
                              .put = {.attr = &attr, .keep = STORE_KEEP_MODE, .data = text, .out = &out}};
        r = store_run(p.port, &op);
    }
    if (r == 0) {
        (void)state_place_see(e->state, out.ino != 0 ? &out : NULL, e->run_id);
    }
    place_close(&p);
    return r;
}

static bool is_dead(void *arg, const char *run_id)
{
    const struct engine *e = arg;
    return state_run_is_dead(e->state, run_id);
}

/* A run that was killed while it wrote there, by somebody or by its own supervisor, has left a temp name, and .haul
 * stays: nobody else would remove it. */
static void place_purge(struct engine *e)
{
    const struct temps_rules rules = {.is_dead = is_dead, .arg = e};
    struct place_port p;
    unsigned removed = 0;
    int r = place_open(e, &p);
    if (r == 0) {
        r = temps_purge(p.port, p.haul, &rules, &removed);
    }
    place_close(&p);
    atomic_fetch_add(&e->counts->purged, removed);
    if (r != 0 && r != -ENOENT) {
        notice_raise(e->notices, TEMPS_NOTICE);
    }
}

/* Before the first change: the destination is ours, the state knows what is about to stand there, then it stands there.
 * Killed in between, either is taken for right. */
static int place_touch(struct engine *e)
{
    struct sync *s = &e->sync;
    int owned = engine_own(e);
    if (owned != 0) {
        return owned;
    }
    pthread_mutex_lock(&s->lock);
    if (!s->touched) {
        s->touched = true;
        (void)snprintf(s->place.next, sizeof s->place.next, "%s", e->run_id);
        s->touch_err = state_place_set(e->state, &s->place);
        if (s->touch_err == 0) {
            s->touch_err = place_write(e);
        }
        if (s->touch_err != 0) {
            report_error(e->report, "DST '%s': .haul/sync cannot be written: %s", e->places.destination,
                         err_text(s->touch_err));
            int none = 0;
            atomic_compare_exchange_strong(&e->fatal, &none, abs(s->touch_err));
        }
    }
    int r = s->touch_err;
    pthread_mutex_unlock(&s->lock);
    return r;
}

/* ---- is it the same destination? ---- */

static int refuse(struct engine *e, const char *what)
{
    report_error(e->report,
                 "DST '%s' %s: is it mounted, and the right one? Nothing was touched; to go on with it as it is: "
                 "--accept-new-destination",
                 e->places.destination, what);
    return STATUS_CANNOT;
}

int sync_expect(struct engine *e)
{
    struct state_place place;
    if (e->options->command != COMMAND_SYNC) {
        return 0;
    }
    if (e->places.only_name != NULL || e->places.null) {
        report_error(e->report, "haul sync needs directories; for a single file, or null:, there is haul copy");
        return STATUS_USAGE;
    }
    if (e->state != NULL && e->places.missing && !e->options->accept_destination &&
        state_place_get(e->state, &place) == 0) {
        return refuse(e, "is not there any more");
    }
    return 0;
}

bool sync_may_idle(struct engine *e)
{
    struct state_place place;
    struct state_run last;
    const struct options *o = e->options;
    if (!is_sync(e) || e->places.missing || o->compare != WITH_STATE || o->audit != 0 || o->accept_destination ||
        state_place_get(e->state, &place) != 0 || state_last_run(e->state, &last) != 0 || last.status != STATUS_OK ||
        is_leased(e, &place)) {
        return false;
    }
    e->stop_event = eventfd(0, EFD_CLOEXEC);
    return e->stop_event >= 0;
}

int sync_still(struct engine *e)
{
    char id[STATE_PLACE_MAX];
    char run[STATE_PLACE_MAX];
    const struct state_place *place = &e->sync.place;
    int r = place_read(e, id, run);
    if (r == 0 && strcmp(id, place->id) == 0 && strcmp(run, place->stamp) == 0) {
        return 0;
    }
    report_error(
        e->report, "DST '%s': %s; nothing was changed there, the next run compares everything", e->places.destination,
        r != 0 ? "cannot tell whether it is still the same" : "another run has changed it since this one began");
    return r != 0 ? r : -ESTALE;
}

/* A destination that this state knows nothing of. */
static int begin_place(struct engine *e, const char *there)
{
    unsigned char bytes[16];
    struct sync *s = &e->sync;
    s->place = (struct state_place){.id = ""};
    if (there[0] != '\0') {
        (void)snprintf(s->place.id, sizeof s->place.id, "%s", there);
        report_say(e->report, "another state has synced to DST before: everything is compared with what stands there");
    } else {
        if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
            return -EIO;
        }
        for (size_t i = 0; i < sizeof bytes; i++) {
            (void)snprintf(s->place.id + 2 * i, 3, "%02x", bytes[i]);
        }
    }
    s->may_remove = true;
    return place_touch(e);
}

/* One that it knows. 0 or -errno. */
static int take_place(struct engine *e, const char *run)
{
    struct sync *s = &e->sync;
    bool current = strcmp(run, s->place.stamp) == 0 || strcmp(run, s->place.next) == 0;
    (void)snprintf(s->place.stamp, sizeof s->place.stamp, "%s", run);
    s->may_remove = current;
    if (!current) {
        report_say(e->report, "the state is not that of the last sync to DST (an older one, or another machine's): "
                              "everything is compared with what stands there, and nothing is removed in this run");
    } else if (e->previous.status < 0) {
        report_say(e->report, "the last run was killed: everything is compared with what stands at DST");
    }
    s->trust = current && e->previous.status >= 0 && e->options->compare == WITH_STATE;
    return current ? 0 : place_touch(e); /* from now on it is */
}

/* The first run ended before it could write .haul/sync, or anything else: there is nothing to be missed. */
static bool never_stood(struct engine *e)
{
    struct state_run success;
    return e->sync.place.stamp[0] == '\0' && !state_has_entries(e->state) &&
           state_last_success(e->state, &success) == -ENOENT;
}

int sync_check(struct engine *e)
{
    char id[STATE_PLACE_MAX];
    char run[STATE_PLACE_MAX];
    if (!is_sync(e)) {
        return 0;
    }
    if (e->previous.number != 0 && e->previous.status != 0) {
        place_purge(e);
    }
    int r = e->sync.seen ? 0 : place_read(e, id, run);
    if (e->sync.seen) {
        memcpy(id, e->sync.seen_id, sizeof id);
        memcpy(run, e->sync.seen_run, sizeof run);
    }
    int known = state_place_get(e->state, &e->sync.place);
    if (r == 0 && known == 0 && id[0] == '\0' && never_stood(e)) {
        known = -ENOENT;
    }
    if (r == 0 && known == 0 && strcmp(id, e->sync.place.id) != 0) {
        if (!e->options->accept_destination) {
            return refuse(e, id[0] == '\0' ? "has no .haul/sync, but the last sync left one"
                                           : "is not the destination of the last sync");
        }
        known = -ENOENT;
        r = state_forget_all(e->state);
        report_say(e->report, "DST is a new destination: everything is compared with what stands there");
    }
    if (r == 0 && known == 0) {
        r = take_place(e, run);
    } else if (r == 0 && known == -ENOENT) {
        r = begin_place(e, id);
    }
    r = r == 0 && known != 0 && known != -ENOENT ? known : r;
    if (r != 0) {
        report_error(e->report, "cannot tell whether DST '%s' is that of the last sync: %s", e->places.destination,
                     err_text(r));
        return STATUS_CANNOT;
    }
    return 0;
}

/* ---- what the planner asks and tells ---- */

/* From the state's rows to the planner's. */
struct recalling {
    plan_recalled fn;
    void *arg;
    unsigned xattrs; /* XATTRS_* that the run keeps */
};

static int recalled(void *arg, const struct state_file *file, size_t name_len, bool intent, bool sure)
{
    const struct recalling *r = arg;
    const struct plan_remembered row = {.name = file->name,
                                        .name_len = name_len,
                                        .src = &file->src,
                                        .dst = &file->dst,
                                        .intent = intent,
                                        .sure = sure && (r->xattrs & ~file->xattrs) == 0};
    return r->fn(r->arg, &row);
}

static int recall(void *arg, const struct dir *dir, const char *after, int64_t limit, plan_recalled fn, void *fn_arg)
{
    struct engine *e = arg;
    struct recalling r = {.fn = fn, .arg = fn_arg, .xattrs = copy_xattr_kinds(e->options)};
    struct state_reader *reader = event_reader(e);
    return reader != NULL ? state_recall(reader, dir->id, after, limit, recalled, &r) : -ENOMEM;
}

static int summary_get(void *arg, const struct dir *dir, char **out_bytes, size_t *out_len)
{
    struct engine *e = arg;
    struct state_reader *reader = event_reader(e);
    return reader != NULL ? state_summary_get(reader, dir->id, copy_xattr_kinds(e->options), out_bytes, out_len)
                          : -ENOMEM;
}

static void summary_put(void *arg, const struct dir *dir, const char *bytes, size_t len)
{
    const struct engine *e = arg;
    state_summary_put(e->state, dir->id, copy_xattr_kinds(e->options), bytes, len);
}

static uint64_t parent_id(const struct dir *dir)
{
    return dir->parent != NULL ? dir->parent->id : dir->id;
}

static bool known_dir(void *arg, const struct dir *dir, const struct attr *src)
{
    struct engine *e = arg;
    struct state_reader *reader = event_reader(e);
    return reader != NULL && state_known_dir(reader, parent_id(dir), dir->name, src, e->options->archive_dirs,
                                             copy_xattr_kinds(e->options));
}

/* A share of the directories, others in each run, so that each has its turn. */
static bool audited(void *arg, const struct dir *dir)
{
    const struct engine *e = arg;
    uint32_t share = e->options->audit;
    if (share == 0) {
        return false;
    }
    uint64_t turns = (MILLION + share - 1) / share;
    return (XXH3_64bits(&dir->id, sizeof dir->id) + (uint64_t)e->run.number) % turns == 0;
}

static bool linked(void *arg, const struct dir *dir, const char *name, const struct attr *src,
                   const struct dir *from_dir, const char *from_name)
{
    struct engine *e = arg;
    struct state_file one;
    struct state_file other;
    struct state_reader *reader = event_reader(e);
    unsigned kinds = copy_xattr_kinds(e->options);
    return reader != NULL && state_known_with(reader, dir->id, name, src, kinds) == KNOWN_GOOD &&
           state_known_with(reader, from_dir->id, from_name, src, kinds) == KNOWN_GOOD &&
           state_lookup(reader, dir->id, name, &one) == 0 &&
           state_lookup(reader, from_dir->id, from_name, &other) == 0 && one.dst.ino == other.dst.ino;
}

static uint64_t intend(void *arg, const struct dir *dir, const char *name)
{
    const struct engine *e = arg;
    return state_intend(e->state, dir->id, name);
}

static int commit(void *arg, uint64_t intended)
{
    struct engine *e = arg;
    int r = place_touch(e);
    return r != 0 ? r : state_settle(e->state, intended);
}

static void finished(void *arg, const struct dir *dir, const struct attr *attr)
{
    const struct engine *e = arg;
    struct state_file file = {.dir_id = parent_id(dir),
                              .name = dir->name,
                              .src = *attr,
                              .dst = *attr,
                              .xattrs = copy_xattr_kinds(e->options)};
    file.dst.ino = 0;
    state_record(e->state, &file);
}

static void touched(void *arg, const struct dir *dir)
{
    const struct engine *e = arg;
    state_doubt(e->state, parent_id(dir), dir->name);
}

static void forget(void *arg, const struct dir *dir, const char *name)
{
    const struct engine *e = arg;
    state_forget(e->state, dir->id, name);
}

/* The next run looks at it, and at all below. */
static void astray(void *arg, const struct dir *dir)
{
    const struct engine *e = arg;
    state_forget(e->state, parent_id(dir), dir->name);
    notice_raise(e->notices,
                 "a directory that haul had made is missing at the destination: the next run makes it again; "
                 "what else was changed there is found with --compare=dest");
}

static void left(void *arg, const struct dir *dir)
{
    const struct engine *e = arg;
    if (e->left != NULL) {
        left_add(e->left, dir);
    }
}

static bool may_remove(void *arg)
{
    struct engine *e = arg;
    const struct options *o = e->options;
    const struct plan_counts *c = planner_counts(e->planner);
    uint64_t gone = atomic_load(&c->gone);
    uint64_t met =
        atomic_load(&c->files) + atomic_load(&c->others) + atomic_load(&c->links) + atomic_load(&c->dirs) - 1;
    uint64_t all = met + gone;
    uint64_t share = o->max_delete_given ? o->max_delete : MAX_DELETE_SHARE;
    if (!e->sync.may_remove) {
        return false; /* it was said at the beginning */
    }
    if (met == 0 && !o->max_delete_given) {
        report_error(e->report,
                     "SRC '%s' is empty, and was not before: is it mounted? Nothing was removed; if it is meant to be "
                     "empty: --max-delete=100%%",
                     e->places.source);
        atomic_store(&e->sync.max_deleted, true);
        return false;
    }
    bool by_share = !o->max_delete_given || o->max_delete_share;
    bool over =
        by_share ? gone * MILLION > all * share && (o->max_delete_given || all > MAX_DELETE_FEW) : gone > o->max_delete;
    if (over) {
        report_error(
            e->report,
            "%llu of %llu entries would be removed, more than --max-delete allows (%llu%s): nothing was removed",
            (unsigned long long)gone, (unsigned long long)all,
            (unsigned long long)(by_share ? share / (MILLION / 100) : o->max_delete), by_share ? "%" : "");
        atomic_store(&e->sync.max_deleted, true);
        return false;
    }
    return place_touch(e) == 0;
}

void sync_over(struct engine *e)
{
    const struct plan_counts *c = planner_counts(e->planner);
    bool empty =
        atomic_load(&c->files) + atomic_load(&c->others) + atomic_load(&c->links) + atomic_load(&c->excluded) == 0 &&
        atomic_load(&c->dirs) == 1;
    if (is_sync(e) && empty && !e->options->remove && atomic_load(&c->complete) && e->options->files_from == NULL &&
        state_has_entries(e->state)) {
        notice_raise(e->notices, "SRC is empty, and was not before: is it mounted? What is at DST stays");
    }
}

int sync_begin(struct engine *e)
{
    size_t count = 0;
    int r = is_sync(e) ? state_renames_keep(e->state, e->options->detect_renames) : 0;
    if (r != 0) {
        report_error(e->report, "the state '%s' cannot be written: %s", e->state_path, err_text(r));
        return STATUS_CANNOT;
    }
    if (!is_sync(e) || e->options->files_from != NULL) {
        return 0; /* of a list of files it is no news that the rest was not met */
    }
    r = left_create(e->state, e->run.started_ns, &e->left);
    if (r != 0) {
        report_error(e->report, "the state '%s' cannot be read: %s", e->state_path, err_text(r));
        return STATUS_CANNOT;
    }
    const char *const *first = left_first(e->left, &count);
    if (count > 0) {
        char *path = name_show(first[0]);
        report_say(e->report, "first come %zu director%s in which earlier runs have left something, from '%s' on",
                   count, count == 1 ? "y" : "ies", path != NULL ? path : "?");
        free(path);
    }
    return 0;
}

int sync_keep_left(struct engine *e)
{
    return e->left == NULL || e->options->dry_run
               ? 0
               : left_keep(e->left, e->state, atomic_load(&planner_counts(e->planner)->complete));
}

void sync_plan(struct engine *e, struct plan_options *options)
{
    const struct options *o = e->options;
    if (e->state != NULL) {
        options->finished = finished; /* a later sync knows the directories of a copy as haul's */
    }
    if (!is_sync(e)) {
        return;
    }
    options->trust = e->sync.trust;
    options->checksum = o->compare == WITH_CONTENTS;
    options->remove = o->remove;
    options->extras = o->remove && o->compare != WITH_STATE;
    options->remove_excluded = o->remove_excluded;
    options->recall = recall;
    options->summary_seed = state_summary_seed(e->state);
    options->summary_get = summary_get;
    options->summary_put = summary_put;
    options->known_dir = known_dir;
    options->audited = audited;
    options->linked = linked;
    options->intend = intend;
    options->commit = commit;
    options->touched = touched;
    options->forget = forget;
    options->astray = astray;
    options->may_remove = may_remove;
    options->left = left;
    options->first = e->left != NULL ? left_first(e->left, &options->first_count) : NULL;
}
