/*
 * gone: what the destination has and the source has not (any more). It is noted while the walk goes on, in a file
 * without a name, and removed once everything else is done: files first, then directories from the deepest on, then
 * what had to wait for a directory in its way is planned after all.
 *
 * What is noted comes from what is remembered (only what haul published itself), or with options.extras from the
 * destination's listings. Each name is looked for at the source once more before it is noted.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/name.h"
#include "planner/planner_internal.h"

#define CHUNK 512 /* entries that are remembered are taken up so many at a time: nothing may be asked meanwhile */

/* One entry in the file; the path of its directory and its name follow, each with its NUL. */
struct note {
    uint32_t path_len;  /* bytes of the path with its NUL */
    uint32_t name_len;  /* bytes of the name with its NUL */
    uint32_t depth;     /* of its directory */
    bool is_dir;        /* a directory */
    struct attr expect; /* as it is to stand there; all 0: not known */
};

/* Notes of one kind. */
struct notes {
    FILE *file;     /* owned; NULL: none yet */
    uint64_t count; /* of them */
};

struct gone {
    pthread_mutex_t lock; /* for all that follows */
    struct notes files;   /* everything but directories */
    struct notes dirs;    /* directories */
    struct notes late;    /* entries of the source that a directory stands in the way of */
    uint32_t depth_max;   /* of dirs */
    int err;              /* -errno that lost a note: nothing is removed then; 0: none */
};

int gone_create(struct gone **out_gone)
{
    struct gone *g = calloc(1, sizeof *g);
    if (g == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_init(&g->lock, NULL);
    *out_gone = g;
    return 0;
}

static void notes_release(struct notes *n)
{
    if (n->file != NULL) {
        (void)fclose(n->file); /* it has no name: nothing is lost with it */
    }
}

void gone_destroy(struct gone *g)
{
    if (g == NULL) {
        return;
    }
    notes_release(&g->files);
    notes_release(&g->dirs);
    notes_release(&g->late);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* ---- noting ---- */

static int write_note(struct notes *n, const struct note *note, const char *path, const char *name)
{
    if (n->file == NULL) {
        n->file = tmpfile();
        if (n->file == NULL) {
            return -errno;
        }
    }
    if (fwrite(note, sizeof *note, 1, n->file) != 1 || fwrite(path, note->path_len, 1, n->file) != 1 ||
        fwrite(name, note->name_len, 1, n->file) != 1) {
        return errno != 0 ? -errno : -EIO;
    }
    n->count++;
    return 0;
}

/* Notes dir/name. Reported where it cannot be. */
static void add(struct walker *w, const struct dir *dir, const char *name, const struct attr *expect, bool is_dir,
                bool late)
{
    struct planner *p = w->p;
    struct gone *g = p->gone;
    char *path = dir_path(dir, NULL);
    int err = path == NULL ? -ENOMEM : 0;
    pthread_mutex_lock(&g->lock);
    if (err == 0) {
        const struct note note = {.path_len = (uint32_t)strlen(path) + 1,
                                  .name_len = (uint32_t)strlen(name) + 1,
                                  .depth = dir->depth,
                                  .is_dir = is_dir,
                                  .expect = *expect};
        err = write_note(late ? &g->late : is_dir ? &g->dirs : &g->files, &note, path, name);
        g->depth_max = is_dir && dir->depth > g->depth_max ? dir->depth : g->depth_max;
    }
    g->err = g->err == 0 ? err : g->err;
    pthread_mutex_unlock(&g->lock);
    free(path);
    if (err != 0) {
        plan_failed(p, dir, name, "remember", err, false, false);
    } else if (!late) {
        count_add(&p->counts.gone, 1);
    }
}

/* ---- what may go ---- */

/* Whether a name is kept whatever the source has: haul's own, and what is excluded. */
static bool is_kept(struct walker *w, struct dir *dir, const char *name, size_t name_len, bool is_dir)
{
    struct planner *p = w->p;
    if ((dir->parent == NULL && strcmp(name, HAUL_DIR) == 0) || temp_name_parse(name, NULL)) {
        return true;
    }
    if (p->options.remove_excluded || filter_count(p->options.filter) == 0) {
        return false;
    }
    const char *path = walk_path_of(w, dir, name, name_len);
    return path == NULL || filter_excludes(p->options.filter, path, is_dir);
}

/* Whether the source has dir/name after all. What cannot be told is taken for yes. */
static bool at_source(struct walker *w, struct dir *dir, const char *name, size_t name_len)
{
    struct planner *p = w->p;
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = &attr}};
    int err = store_run(w->src, &op);
    if (err != 0 || !p->options.remove_excluded) {
        return err != -ENOENT;
    }
    /* There, but perhaps only for others. */
    const char *path = walk_path_of(w, dir, name, name_len);
    return path == NULL || !filter_excludes(p->options.filter, path, S_ISDIR(attr.mode));
}

/* ---- one directory's entries, a chunk at a time ---- */

/* One candidate. */
struct candidate {
    char *name;         /* owned */
    size_t name_len;    /* bytes */
    struct attr expect; /* as it is to stand there; all 0: not known */
    bool intent;        /* what it is has to be looked at */
};

struct chunk {
    struct walker *walker;              /* not owned */
    struct dir *dir;                    /* not owned */
    bool seen_too;                      /* the source has nothing of it: no need to look what was seen */
    struct candidate candidates[CHUNK]; /* count of them */
    size_t count;                       /* entries in candidates */
    size_t looked;                      /* rows that were looked at */
    char *last;                         /* name of the last row; owned */
    struct store_list *list;            /* at the destination, with extras; owned */
    bool listed;                        /* it has come to its end */
    int err;                            /* of the listing or the memory */
};

static int keep_candidate(struct chunk *c, const char *name, size_t name_len, const struct attr *expect, bool intent)
{
    char *copy = strdup(name);
    if (copy == NULL) {
        return -ENOMEM;
    }
    c->candidates[c->count++] =
        (struct candidate){.name = copy, .name_len = name_len, .expect = *expect, .intent = intent};
    return 0;
}

static int take_remembered(void *arg, const struct plan_remembered *row)
{
    struct chunk *c = arg;
    c->looked++;
    free(c->last);
    c->last = strdup(row->name);
    if (c->last == NULL) {
        return -ENOMEM;
    }
    if (!c->seen_too && recall_seen(c->walker->p, c->dir, row->name, row->name_len)) {
        return 0;
    }
    static const struct attr unknown;
    return keep_candidate(c, row->name, row->name_len, row->intent ? &unknown : row->dst, row->intent);
}

/* The next entries that are remembered. False: there are no more. */
static bool next_remembered(struct chunk *c)
{
    const struct plan_options *o = &c->walker->p->options;
    char *after = c->last; /* to the end of the call, which makes another one */
    c->last = NULL;
    c->looked = 0;
    c->err = o->recall(o->arg, c->dir, after, CHUNK, take_remembered, c);
    free(after);
    return c->err == 0 && c->looked > 0;
}

/* The next entries that the destination lists. False: there are no more. */
static bool next_listed(struct chunk *c)
{
    struct walker *w = c->walker;
    if (c->looked == 0 && c->list == NULL) {
        struct store_op op = {.code = STORE_LIST_OPEN, .dir = c->dir, .list = {.list = &c->list, .want_attr = true}};
        c->err = store_run(w->dst, &op);
    }
    while (c->err == 0 && !c->listed && c->list != NULL && c->count < CHUNK) {
        struct store_entry entry = {0};
        struct store_op op = {.code = STORE_LIST_NEXT, .dir = c->dir, .list = {.list = &c->list, .out = &entry}};
        c->err = store_run(w->dst, &op);
        c->listed = c->err != 0 || entry.name == NULL;
        if (c->listed) {
            break;
        }
        c->looked++;
        if (entry.has_attr && (c->seen_too || !there_seen(w->p, c->dir, entry.name, entry.name_len))) {
            c->err = keep_candidate(c, entry.name, entry.name_len, &entry.attr, false);
        }
    }
    return c->count > 0;
}

static void chunk_clear(struct chunk *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->candidates[i].name);
    }
    c->count = 0;
}

/* ---- trees ---- */

/* Directories whose entries are to be noted yet. */
struct pending {
    struct dir **dirs; /* one reference each; owned */
    size_t count;      /* of them */
    size_t capacity;   /* room */
};

static int push(struct pending *pending, struct dir *dir, const char *name, size_t name_len)
{
    if (pending->count == pending->capacity) {
        size_t capacity = pending->capacity == 0 ? 16 : 2 * pending->capacity;
        struct dir **dirs =
            reallocarray(pending->dirs, capacity, sizeof(struct dir *)); // NOLINT(bugprone-sizeof-expression)
        if (dirs == NULL) {
            return -ENOMEM;
        }
        pending->dirs = dirs;
        pending->capacity = capacity;
    }
    int err = dir_create_child(dir, name, name_len, &pending->dirs[pending->count]);
    pending->count += err == 0 ? 1 : 0;
    return err;
}

/* What it is that was only announced. False: nothing stands there, or it cannot be told (reported). */
static bool identify(struct walker *w, struct dir *dir, struct candidate *c)
{
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = c->name, .stat = {.out = &c->expect}};
    int err = c->intent ? store_run(w->dst, &op) : 0;
    if (err == -ENOENT) {
        w->p->options.forget(w->p->options.arg, dir, c->name);
    } else if (err != 0) {
        plan_op_failed(w, w->dst, &op, dir, c->name, err, false);
    }
    return err == 0;
}

/* Notes one candidate; a directory's entries come with pending. */
static int note_candidate(struct walker *w, struct dir *dir, struct candidate *c, struct pending *pending)
{
    if (!identify(w, dir, c)) {
        return 0;
    }
    bool is_dir = S_ISDIR(c->expect.mode);
    if (is_kept(w, dir, c->name, c->name_len, is_dir)) {
        return 0;
    }
    add(w, dir, c->name, &c->expect, is_dir, false);
    return is_dir ? push(pending, dir, c->name, c->name_len) : 0;
}

/* Notes what is gone of dir. seen_too: all of it. 0, or -errno: some of it may be missing. */
static int note_entries(struct walker *w, struct dir *dir, bool seen_too, struct pending *pending)
{
    bool extras = w->p->options.extras;
    int err = 0;
    struct chunk *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return -ENOMEM;
    }
    c->walker = w;
    c->dir = dir;
    c->seen_too = seen_too;
    while (err == 0 && !planner_stopping(w->p) && (extras ? next_listed(c) : next_remembered(c))) {
        for (size_t i = 0; err == 0 && i < c->count; i++) {
            struct candidate *one = &c->candidates[i];
            if (seen_too || !at_source(w, dir, one->name, one->name_len)) {
                err = note_candidate(w, dir, one, pending);
            }
        }
        chunk_clear(c);
    }
    err = err == 0 ? c->err : err;
    if (c->list != NULL) {
        struct store_op op = {.code = STORE_LIST_CLOSE, .dir = dir, .list = {.list = &c->list}};
        (void)store_run(w->dst, &op); /* nothing was written through it */
    }
    chunk_clear(c);
    free(c->last);
    free(c);
    return err;
}

/* Notes all that is below the pending directories. Another run that works in one of them keeps it. */
static void note_trees(struct walker *w, struct pending *pending)
{
    struct planner *p = w->p;
    while (pending->count > 0) {
        struct dir *dir = pending->dirs[--pending->count];
        int err = planner_stopping(p) ? -ECANCELED : 0;
        const char *op = "list";
        if (err == 0 && p->options.owned != NULL) {
            err = p->options.owned(p->options.arg, w->dst, dir);
            err = err == -ENOENT ? 0 : err;
            op = err != 0 ? "lease" : op;
        }
        if (err == 0 && p->options.existing != NULL) {
            (void)p->options.existing(p->options.arg, w->dst, dir); /* temp names of dead runs would keep it */
        }
        if (err == 0) {
            err = note_entries(w, dir, true, pending);
            err = err == -ENOENT ? 0 : err;
        }
        if (err != 0) {
            plan_failed(p, dir, NULL, op, err, false, true); /* it is not empty then, and stays */
        }
        dir_put(dir);
    }
    free(pending->dirs);
    *pending = (struct pending){0};
}

/* What is remembered of dir, and neither the source nor its listing at the destination has: forgotten. Directories are
 * not: what is remembered below them would be lost sight of. */
static void forget_absent(struct walker *w, struct dir *dir)
{
    struct planner *p = w->p;
    struct chunk *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return; /* a later run does it */
    }
    c->walker = w;
    c->dir = dir;
    while (!planner_stopping(p) && next_remembered(c)) {
        for (size_t i = 0; i < c->count; i++) {
            const struct candidate *one = &c->candidates[i];
            struct attr there;
            if (!S_ISDIR(one->expect.mode) && there_find(p, dir, one->name, &there) == THERE_NOTHING &&
                !at_source(w, dir, one->name, one->name_len)) {
                p->options.forget(p->options.arg, dir, one->name);
            }
        }
        chunk_clear(c);
    }
    chunk_clear(c);
    free(c->last);
    free(c);
}

void gone_look(struct walker *w, struct dir *dir)
{
    struct planner *p = w->p;
    struct pending pending = {0};
    bool some = p->options.extras ? there_unseen(dir) : recall_unseen(dir);
    if (p->gone == NULL || plan_of(dir)->fresh) {
        return;
    }
    if (p->options.extras && !plan_of(dir)->unrecalled && recall_unseen(dir)) {
        forget_absent(w, dir);
    }
    if (!some) {
        return;
    }
    int err = note_entries(w, dir, false, &pending);
    if (err != 0) {
        plan_failed(p, dir, NULL, "list", err, false, false);
    }
    note_trees(w, &pending);
}

int gone_replace(struct walker *w, struct dir *dir, const char *name)
{
    struct pending pending = {0};
    struct candidate one = {.name = (char *)(uintptr_t)name, .name_len = strlen(name), .intent = true};
    if (w->p->gone == NULL || w->p->removed) {
        return -ENOTEMPTY;
    }
    if (!identify(w, dir, &one) || !S_ISDIR(one.expect.mode)) {
        return -ESTALE;
    }
    add(w, dir, name, &one.expect, true, false);
    int err = push(&pending, dir, name, one.name_len);
    note_trees(w, &pending);
    if (err == 0) {
        add(w, dir, name, &one.expect, false, true);
    }
    return err;
}

/* ---- removing ---- */

/* Reads the next note; path and name are in *text (grown as needed). 0, -ENOENT at the end, -errno. */
static int read_note(FILE *file, struct note *note, char **text, size_t *capacity)
{
    if (fread(note, sizeof *note, 1, file) != 1) {
        return ferror(file) ? -EIO : -ENOENT;
    }
    size_t len = (size_t)note->path_len + note->name_len;
    if (len > *capacity) {
        char *more = realloc(*text, len);
        if (more == NULL) {
            return -ENOMEM;
        }
        *text = more;
        *capacity = len;
    }
    return fread(*text, len, 1, file) == 1 ? 0 : -EIO;
}

static int remove_one(struct walker *w, struct dir *dir, const char *name, const struct note *note)
{
    struct item *item = item_create(ITEM_REMOVE, dir, name, strlen(name), &note->expect);
    if (item == NULL || shards_add(w, item) != 0) {
        item_destroy(item);
        return -ENOMEM;
    }
    return 0;
}

static int plan_late(struct walker *w, struct dir *dir, const char *name)
{
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = &attr}};
    int err = store_run(w->src, &op);
    if (err == 0 && !S_ISDIR(attr.mode)) {
        entry_plan(w, dir, name, strlen(name), &attr);
    } else if (err != 0) {
        plan_op_failed(w, w->src, &op, dir, name, err, false);
    }
    return 0;
}

/* Works through notes: those whose directory is so deep (-1: all). late: they are to be planned. */
static void replay(struct walker *w, struct link_phase *phase, const struct notes *notes, int64_t depth, bool late)
{
    struct planner *p = w->p;
    struct note note;
    char *text = NULL;
    size_t capacity = 0;
    int err = 0;
    if (notes->file == NULL) {
        return;
    }
    /* Not rewind: it forgets that the last notes found no room. */
    if (fflush(notes->file) != 0 || fseeko(notes->file, 0, SEEK_SET) != 0) {
        plan_failed(p, p->root, NULL, "remember", errno != 0 ? -errno : -EIO, false, false);
        return;
    }
    while (!planner_stopping(p) && (err = read_note(notes->file, &note, &text, &capacity)) == 0) {
        if (depth >= 0 && note.depth != (uint32_t)depth) {
            continue;
        }
        struct dir *dir = NULL;
        const char *name = text + note.path_len;
        int failed = linkphase_dir(w, phase, text, !late, &dir);
        if (failed == 0) {
            failed = late ? plan_late(w, dir, name) : remove_one(w, dir, name, &note);
            plan_dir_done(p, planner_stopping(p) ? NULL : w->dst, dir);
        }
        if (failed != 0) {
            plan_failed(p, p->root, text, "remove", failed, false, true);
        }
    }
    if (err != 0 && err != -ENOENT) {
        plan_failed(p, p->root, NULL, "remove", err, false, false);
    }
    free(text);
    shards_flush(w);
    linkphase_leave(w, phase);
}

/* Whether the source is still the directory that was walked: one that was unmounted meanwhile has lost nothing. */
static bool source_stands(struct walker *w)
{
    struct planner *p = w->p;
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = p->root, .stat = {.out = &attr}};
    int err = store_run(w->src, &op);
    if (err == 0 && (attr.dev != p->root_dev || attr.ino != p->root_ino)) {
        err = -ESTALE;
    }
    if (err != 0) {
        plan_op_failed(w, w->src, &op, p->root, NULL, err, false);
    }
    return err == 0;
}

void gone_lead(struct walker *w)
{
    struct planner *p = w->p;
    struct gone *g = p->gone;
    struct link_phase phase = {.dir = NULL};
    if (g == NULL || g->files.count + g->dirs.count == 0 || !planner_wait_idle(p)) {
        return;
    }
    p->removed = true;
    pthread_mutex_init(&phase.lock, NULL);
    chain_init(&phase.chain, p->root);
    if (g->err == 0 && source_stands(w) && p->options.may_remove(p->options.arg)) {
        replay(w, &phase, &g->files, -1, false);
        for (int64_t depth = g->depth_max; g->dirs.count > 0 && depth >= 0 && planner_wait_idle(p); depth--) {
            replay(w, &phase, &g->dirs, depth, false);
        }
    }
    if (planner_wait_idle(p)) {
        replay(w, &phase, &g->late, -1, true);
    }
    chain_release(&phase.chain);
    pthread_mutex_destroy(&phase.lock);
}
