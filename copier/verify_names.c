/*
 * verify_names: the entries of one directory: what the source has, and what the state remembers of it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cleanup/stale.h"
#include "copier/verify_internal.h"

#define TICK_NS (2 * NS_PER_SEC) /* of a file system whose granularity is not known */

int verify_dir_create(struct look *l, struct dir *dir, struct verify_dir **out_dir)
{
    struct verify_dir *d = calloc(1, sizeof *d);
    if (d == NULL) {
        return -ENOMEM;
    }
    d->look = l;
    d->verify = l->own;
    d->dir = dir_get(dir);
    atomic_init(&d->refs, 1);
    *out_dir = d;
    return 0;
}

void verify_dir_put(struct verify_dir *d)
{
    if (atomic_fetch_sub(&d->refs, 1) != 1) {
        return;
    }
    if (d->listed && !atomic_load(&d->tainted)) {
        state_verify_note(d->verify->memory, d->dir->id, NULL, d->digest);
    }
    dir_put(d->dir);
    free(d->entries);
    free(d->names);
    free(d);
}

const char *verify_name(const struct verify_dir *d, const struct verify_entry *e)
{
    return d->names + e->name_at;
}

bool verify_leaves_out(struct verify_dir *d, const char *name, bool is_dir, bool on_source)
{
    const struct options *o = d->look->engine.options;
    if (d->dir->parent == NULL && strcmp(name, HAUL_DIR) == 0) {
        return true;
    }
    if (!is_dir && temp_name_parse(name, NULL)) {
        verify_add(on_source ? &d->verify->counts.left_out : &d->verify->counts.temps, 1);
        return true;
    }
    if (filter_count(o->filter) == 0) {
        return false;
    }
    char *path = dir_path(d->dir, name);
    bool out = path == NULL || filter_excludes(o->filter, path, is_dir);
    free(path);
    verify_add(&d->verify->counts.left_out, out && on_source ? 1 : 0);
    return out;
}

/* ---- the source's listing ---- */

static bool reserve(struct verify_dir *d, size_t name_len)
{
    if (d->count == d->room) {
        size_t room = d->room == 0 ? 16 : 2 * d->room;
        struct verify_entry *entries = reallocarray(d->entries, room, sizeof *entries);
        if (entries == NULL) {
            return false;
        }
        d->entries = entries;
        d->room = room;
    }
    if (d->names_room - d->names_len < name_len + 1) {
        size_t room = 2 * (d->names_room + name_len + 1);
        char *names = realloc(d->names, room);
        if (names == NULL) {
            return false;
        }
        d->names = names;
        d->names_room = room;
    }
    return true;
}

void verify_want_source(const struct verify *v, struct verify_entry *e)
{
    e->want_mode = e->src.mode;
    e->want_uid = e->src.uid;
    e->want_gid = e->src.gid;
    e->want_mtime_ns = e->src.mtime_ns;
    e->keep = (uint8_t)v->keep;
    e->hash_known = false;
    e->hash_wanted = false;
}

/* The attributes of an entry, asked for where the listing did not bring them; mode 0: they are not to be had, which is
 * reported. False: there is nothing. */
static bool attr_of(struct verify_dir *d, struct worker *w, const struct store_entry *entry, struct attr *out)
{
    struct store_op op = {.code = STORE_STAT, .dir = d->dir, .name = entry->name, .stat = {.out = out}};
    if (entry->has_attr) {
        *out = entry->attr;
        return true;
    }
    int r = store_run(look_src(w), &op);
    if (r == -ENOENT) {
        return false;
    }
    if (r != 0) {
        *out = (struct attr){0};
        look_failed(d->look, d->dir, entry->name, &op, r, true, true);
        atomic_store(&d->tainted, true);
    }
    return true;
}

static int take(struct verify_dir *d, struct worker *w, const struct store_entry *entry)
{
    struct attr attr = {0};
    if (!attr_of(d, w, entry, &attr) || verify_leaves_out(d, entry->name, S_ISDIR(attr.mode), true)) {
        return 0;
    }
    if (!reserve(d, entry->name_len)) {
        return -ENOMEM;
    }
    struct verify_entry *e = &d->entries[d->count++];
    *e = (struct verify_entry){.src = facts_of(&attr), .name_len = (uint32_t)entry->name_len, .name_at = d->names_len};
    if ((S_ISCHR(attr.mode) || S_ISBLK(attr.mode)) && !d->verify->devices) {
        e->src.mode = 0; /* never copied */
        verify_add(&d->verify->counts.left_out, 1);
    }
    verify_want_source(d->verify, e);
    memcpy(d->names + d->names_len, entry->name, entry->name_len + 1);
    d->names_len += entry->name_len + 1;
    return 0;
}

static int by_name(const void *a, const void *b, void *names)
{
    const struct verify_entry *x = a;
    const struct verify_entry *y = b;
    return strcmp((const char *)names + x->name_at, (const char *)names + y->name_at);
}

static int list(struct verify_dir *d, struct worker *w, struct store_op *op)
{
    struct port *port = look_src(w);
    struct store_list *l = NULL;
    *op = (struct store_op){.code = STORE_LIST_OPEN, .dir = d->dir, .list = {.list = &l, .want_attr = true}};
    int r = store_run(port, op);
    if (r != 0) {
        return r;
    }
    while (r == 0) {
        struct store_entry entry = {0};
        if (worker_stopping(w)) {
            r = -ECANCELED;
            break;
        }
        *op = (struct store_op){.code = STORE_LIST_NEXT, .dir = d->dir, .list = {.list = &l, .out = &entry}};
        r = store_run(port, op);
        if (r != 0 || entry.name == NULL) {
            break;
        }
        r = take(d, w, &entry);
    }
    struct store_op close = {.code = STORE_LIST_CLOSE, .dir = d->dir, .list = {.list = &l}};
    (void)store_run(port, &close); /* nothing was written through it */
    return r;
}

struct verify_entry *verify_names_find(struct verify_dir *d, const char *name)
{
    size_t low = 0;
    size_t high = d->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(verify_name(d, &d->entries[middle]), name);
        if (order == 0) {
            return &d->entries[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* ---- what the state remembers ---- */

/* Where state_recall stands: both go by the order of names. */
struct recalling {
    struct verify_dir *dir;
    size_t at; /* next entry */
};

/* The destination could not hold an attribute as the source has it, when it was published. */
static void tell_held(const struct verify_dir *d, const struct verify_entry *e)
{
    unsigned keep = d->verify->keep;
    int64_t granularity = d->look->engine.dst->caps.time_granularity_ns;
    bool mode = (keep & STORE_KEEP_MODE) != 0 && e->want_mode != e->src.mode;
    bool owner = ((keep & STORE_KEEP_OWNER) != 0 && e->want_uid != e->src.uid) ||
                 ((keep & STORE_KEEP_GROUP) != 0 && e->want_gid != e->src.gid);
    bool time = (keep & STORE_KEEP_TIMES) != 0 &&
                llabs(e->want_mtime_ns - e->src.mtime_ns) >= (granularity > 0 ? granularity : TICK_NS);
    if (mode || owner || time) {
        notice_raise(d->look->engine.notices,
                     "mode, owner or times are as they were published, which is not how the source has them");
    }
}

static void recall_one(const struct verify_dir *d, struct verify_entry *e, const struct state_file *file, bool sure)
{
    struct facts then = facts_of(&file->src);
    if (!facts_unchanged(&then, &e->src) || then.mode != e->src.mode) {
        e->moved_on = S_ISREG(then.mode) && !facts_unchanged(&then, &e->src);
        return;
    }
    if (!sure) {
        return; /* it may not have arrived as it says, or the source may have changed unseen */
    }
    if (then.uid == e->src.uid && then.gid == e->src.gid) {
        e->want_mode = file->dst.mode;
        e->want_uid = file->dst.uid;
        e->want_gid = file->dst.gid;
        e->want_mtime_ns = clock_ns_of(&file->dst.mtime);
        e->keep = STORE_KEEP_ALL;
        tell_held(d, e);
    }
    e->hash_known = file->hash_known;
    e->hash_wanted = !file->hash_known;
    memcpy(e->hash, file->hash, HASH_SIZE);
}

static int recalled(void *arg, const struct state_file *file, size_t name_len, bool intent, bool sure)
{
    struct recalling *r = arg;
    struct verify_dir *d = r->dir;
    (void)name_len;
    while (r->at < d->count) {
        struct verify_entry *e = &d->entries[r->at];
        int order = strcmp(verify_name(d, e), file->name);
        if (order > 0) {
            break;
        }
        r->at++;
        if (order == 0) {
            if (!intent && S_ISREG(e->src.mode)) {
                recall_one(d, e, file, sure);
            }
            break;
        }
    }
    return 0;
}

int verify_names_read(struct verify_dir *d, struct worker *w, struct store_op *op)
{
    struct engine *e = &d->look->engine;
    int r = list(d, w, op);
    if (r != 0 || d->count == 0) {
        return r;
    }
    qsort_r(d->entries, d->count, sizeof *d->entries, by_name, d->names);
    struct state_reader *reader = event_reader(e);
    struct recalling recalling = {.dir = d};
    if (reader == NULL || state_recall(reader, d->dir->id, NULL, -1, recalled, &recalling) != 0) {
        notice_raise(e->notices, "what the state remembers could not be read: the source is read instead");
    }
    return 0;
}
