/*
 * state_read: looking things up, one reader a thread.
 *
 * With the WAL each reader has a connection of its own. With the rollback journal all share the main connection under
 * its lock: a lock on the file for each lookup would cost round trips, and the writer would wait for it.
 *
 * Either way a transaction is left open between lookups, which saves the system calls that lock and unlock (half of a
 * lookup's time). The writer ends it before the WAL is written back, and with the rollback journal before each batch.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copier/state_internal.h"

#define KNOWN_SQL                                                                                                      \
    "SELECT " STATE_FLAGS ", epoch, mode, dev, ino, size, mtime, ctime FROM files WHERE dir=?1 AND name=?2"
#define DIRS_SQL   "SELECT id, path FROM dirs WHERE id>=?1 ORDER BY id LIMIT 1"
#define LOOKUP_SQL "SELECT " STATE_ENTRY_COLUMNS " FROM files WHERE dir=?1 AND name=?2"
#define RECALL_SQL "SELECT " STATE_ENTRY_COLUMNS ", name FROM files WHERE dir=?1 AND name>?2 ORDER BY name LIMIT ?3"
#define PARTIALS_SQL                                                                                                   \
    "SELECT dir, name, dev, ino, size, mtime, ctime, temp, temp_dev, temp_ino, temp_uid, touched FROM partials"        \
    " WHERE id>=?1 ORDER BY id LIMIT 1"
#define SUMMARY_SQL "SELECT part, parts, xattrs, bytes FROM summaries WHERE dir=?1 ORDER BY part"
#define PARTS_SQL   "SELECT part, epoch, hash FROM parts WHERE partial=?1"

sqlite3 *state_reader_lock(struct state_reader *r)
{
    (void)pthread_mutex_lock(r->own != NULL ? &r->lock : &r->state->db_lock);
    return r->own != NULL ? r->own : r->state->db;
}

void state_reader_unlock(struct state_reader *r)
{
    (void)pthread_mutex_unlock(r->own != NULL ? &r->lock : &r->state->db_lock);
}

static int prepare(struct state_reader *r)
{
    sqlite3 *db = state_reader_lock(r);
    int err = state_db_prepare(db, KNOWN_SQL, &r->known);
    if (err == 0) {
        err = state_db_prepare(db, LOOKUP_SQL, &r->lookup);
    }
    if (err == 0) {
        err = state_db_prepare(db, DIRS_SQL, &r->dirs);
    }
    if (err == 0) {
        err = state_db_prepare(db, PARTIALS_SQL, &r->partials);
    }
    if (err == 0) {
        err = state_db_prepare(db, PARTS_SQL, &r->parts);
    }
    if (err == 0) {
        err = state_db_prepare(db, RECALL_SQL, &r->recall);
    }
    if (err == 0) {
        err = state_db_prepare(db, SUMMARY_SQL, &r->summary);
    }
    state_reader_unlock(r);
    return err;
}

int state_reader_create(struct state *s, struct state_reader **out_reader)
{
    struct state_reader *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return -ENOMEM;
    }
    r->state = s;
    if (pthread_mutex_init(&r->lock, NULL) != 0) {
        free(r);
        return -ENOMEM;
    }
    (void)pthread_mutex_lock(&s->readers_lock);
    r->next = s->readers;
    s->readers = r;
    int err = s->rollback ? 0 : state_db_reader(s, &r->own);
    (void)pthread_mutex_unlock(&s->readers_lock);
    if (err == 0) {
        err = prepare(r);
    }
    if (err != 0) {
        state_reader_destroy(r);
        return err;
    }
    *out_reader = r;
    return 0;
}

void state_reader_destroy(struct state_reader *r)
{
    if (r == NULL) {
        return;
    }
    struct state *s = r->state;
    (void)pthread_mutex_lock(&s->readers_lock);
    struct state_reader **at = &s->readers;
    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    (void)pthread_mutex_unlock(&s->readers_lock);

    (void)state_reader_lock(r);
    (void)sqlite3_finalize(r->known);
    (void)sqlite3_finalize(r->lookup);
    (void)sqlite3_finalize(r->dirs);
    (void)sqlite3_finalize(r->partials);
    (void)sqlite3_finalize(r->parts);
    (void)sqlite3_finalize(r->recall);
    (void)sqlite3_finalize(r->summary);
    (void)sqlite3_finalize(r->renamed);
    (void)sqlite3_finalize(r->verified);
    state_reader_unlock(r);
    (void)sqlite3_close(r->own);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

void state_readers_hold(struct state *s)
{
    (void)pthread_mutex_lock(&s->readers_lock);
    for (struct state_reader *r = s->readers; r != NULL; r = r->next) {
        if (r->own != NULL) {
            sqlite3 *db = state_reader_lock(r);
            if (!sqlite3_get_autocommit(db)) {
                (void)sqlite3_exec(db, "COMMIT", NULL, NULL, NULL); /* it only read: nothing can be lost */
            }
        }
    }
}

void state_readers_go(struct state *s)
{
    for (struct state_reader *r = s->readers; r != NULL; r = r->next) {
        if (r->own != NULL) {
            state_reader_unlock(r);
        }
    }
    (void)pthread_mutex_unlock(&s->readers_lock);
}

/* Steps stmt to its row: 0, -ENOENT, -errno. The lock is held; the caller resets stmt. */
int state_reader_step(sqlite3 *db, sqlite3_stmt *stmt)
{
    if (sqlite3_get_autocommit(db)) {
        (void)sqlite3_exec(db, "BEGIN", NULL, NULL, NULL); /* a failure shows in the step */
    }
    const int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        return 0;
    }
    return rc == SQLITE_DONE ? -ENOENT : state_db_errno(db, rc);
}

/* The same to the row of that entry. */
static int seek(sqlite3 *db, sqlite3_stmt *stmt, uint64_t dir_id, const char *name)
{
    (void)sqlite3_bind_int64(stmt, 1, (int64_t)dir_id);
    (void)sqlite3_bind_blob64(stmt, 2, name, strlen(name), SQLITE_STATIC);
    return state_reader_step(db, stmt);
}

static uint64_t column(sqlite3_stmt *stmt, int i)
{
    return (uint64_t)sqlite3_column_int64(stmt, i);
}

/* Whether what was published in that epoch may have been lost: its boot ended before it was durable. */
bool state_epoch_suspect(const struct state *s, uint64_t epoch)
{
    size_t low = 0;
    size_t high = s->suspect_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (s->suspect[middle] == epoch) {
            return true;
        }
        if (s->suspect[middle] < epoch) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

/*
 * What the row that stmt stands on says of src. Doubt about the destination comes first: it remains whatever became of
 * the source's inode, device (a mount after a reboot has another number) or ctime, and publishing again settles it.
 */
static enum known judge(const struct state *s, sqlite3_stmt *stmt, const struct attr *src, unsigned xattrs)
{
    if ((column(stmt, 0) & FILE_RACY) != 0 || state_epoch_suspect(s, column(stmt, 1))) {
        return KNOWN_SUSPECT;
    }
    const bool alike = (column(stmt, 2) & S_IFMT) == (src->mode & S_IFMT) && column(stmt, 5) == src->size &&
                       sqlite3_column_int64(stmt, 6) == clock_ns_of(&src->mtime);
    const bool moved = sqlite3_column_int64(stmt, 7) != clock_ns_of(&src->ctime);
    if (!alike || (!moved && (column(stmt, 4) != src->ino || column(stmt, 3) != src->dev))) {
        return KNOWN_NOTHING;
    }
    if (moved) {
        return KNOWN_TOUCHED;
    }
    return (xattrs & ~(column(stmt, 0) >> FILE_XATTRS)) != 0 ? KNOWN_BARE : KNOWN_GOOD;
}

enum known state_known(struct state_reader *r, uint64_t dir_id, const char *name, const struct attr *src)
{
    return state_known_with(r, dir_id, name, src, 0);
}

enum known state_known_with(struct state_reader *r, uint64_t dir_id, const char *name, const struct attr *src,
                            unsigned xattrs)
{
    const enum known known = state_known_touched(r, dir_id, name, src, xattrs);
    return known == KNOWN_TOUCHED ? KNOWN_NOTHING : known;
}

enum known state_known_touched(struct state_reader *r, uint64_t dir_id, const char *name, const struct attr *src,
                               unsigned xattrs)
{
    const struct state *s = r->state;
    if (!s->had_files) {
        return KNOWN_NOTHING;
    }
    sqlite3 *db = state_reader_lock(r);
    const int err = seek(db, r->known, dir_id, name);
    enum known known = KNOWN_NOTHING;
    if (err == 0) {
        known = judge(s, r->known, src, xattrs);
    } else if (err != -ENOENT) {
        state_note_error(r->state, err);
        known = KNOWN_SUSPECT; /* it may be racy for all we know */
    }
    (void)sqlite3_reset(r->known);
    state_reader_unlock(r);
    return known;
}

/* A dst_* column: NULL stands for the source's value. */
static uint64_t column_or(sqlite3_stmt *stmt, int i, uint64_t src)
{
    return sqlite3_column_type(stmt, i) == SQLITE_NULL ? src : column(stmt, i);
}

struct state_file state_file_of_row(sqlite3_stmt *stmt, uint64_t dir_id, const char *name)
{
    struct state_file file = {.dir_id = dir_id,
                              .name = name,
                              .racy = (column(stmt, 0) & FILE_RACY) != 0,
                              .xattrs = (unsigned)(column(stmt, 0) >> FILE_XATTRS)};
    const int64_t mtime = sqlite3_column_int64(stmt, 6);
    file.src.mode = (mode_t)column(stmt, 2);
    file.src.dev = column(stmt, 3);
    file.src.ino = column(stmt, 4);
    file.src.size = column(stmt, 5);
    file.src.mtime = clock_timespec_of(mtime);
    file.src.ctime = clock_timespec_of(sqlite3_column_int64(stmt, 7));
    file.src.uid = (uid_t)column(stmt, 8);
    file.src.gid = (gid_t)column(stmt, 9);
    file.dst.mode = (mode_t)column_or(stmt, 10, file.src.mode);
    file.dst.uid = (uid_t)column_or(stmt, 11, file.src.uid);
    file.dst.gid = (gid_t)column_or(stmt, 12, file.src.gid);
    file.dst.size = column_or(stmt, 13, file.src.size);
    file.dst.mtime = clock_timespec_of((int64_t)column_or(stmt, 14, (uint64_t)mtime));
    file.dst.ino = column(stmt, 15);
    file.dst.ctime = clock_timespec_of(sqlite3_column_int64(stmt, 16));
    const void *hash = sqlite3_column_blob(stmt, 17);
    if (hash != NULL && sqlite3_column_bytes(stmt, 17) == (int)sizeof(file.hash)) {
        memcpy(file.hash, hash, sizeof(file.hash));
        file.hash_known = true;
    }
    return file;
}

int state_lookup(struct state_reader *r, uint64_t dir_id, const char *name, struct state_file *out_file)
{
    sqlite3 *db = state_reader_lock(r);
    const int err = seek(db, r->lookup, dir_id, name);
    if (err == 0) {
        *out_file = state_file_of_row(r->lookup, dir_id, name);
    } else if (err != -ENOENT) {
        state_note_error(r->state, err);
    }
    (void)sqlite3_reset(r->lookup);
    state_reader_unlock(r);
    return err;
}

int state_dir_next(struct state_reader *r, const int64_t *after, int64_t *out_id, char **out_path)
{
    if (after != NULL && *after == INT64_MAX) {
        return -ENOENT;
    }
    sqlite3 *db = state_reader_lock(r);
    (void)sqlite3_bind_int64(r->dirs, 1, after != NULL ? *after + 1 : INT64_MIN);
    int err = state_reader_step(db, r->dirs);
    if (err == 0) {
        const void *bytes = sqlite3_column_blob(r->dirs, 1);
        char *path = strndup(bytes != NULL ? bytes : "", (size_t)sqlite3_column_bytes(r->dirs, 1));
        if (path != NULL) {
            *out_id = sqlite3_column_int64(r->dirs, 0);
            *out_path = path;
        } else {
            err = -ENOMEM;
        }
    }
    if (err != 0 && err != -ENOENT) {
        state_note_error(r->state, err);
    }
    (void)sqlite3_reset(r->dirs);
    state_reader_unlock(r);
    return err;
}

int state_dir_path(struct state_reader *r, uint64_t dir_id, char **out_path)
{
    const int64_t before = (int64_t)(dir_id - 1);
    const bool first = (int64_t)dir_id == INT64_MIN;
    char *path = NULL;
    int64_t id = 0;
    const int err = state_dir_next(r, first ? NULL : &before, &id, &path);
    if (err == 0 && id != (int64_t)dir_id) {
        free(path);
        return -ENOENT;
    }
    if (err == 0) {
        *out_path = path;
    }
    return err;
}

/* The partial file of the row that stmt stands on. 0 or -ENOMEM, -EBADMSG. */
static int partial_of_row(sqlite3_stmt *stmt, struct state_partial *out, char **out_name)
{
    struct state_partial p = {.dir_id = column(stmt, 0), .touched_ns = sqlite3_column_int64(stmt, 11)};
    p.src.dev = column(stmt, 2);
    p.src.ino = column(stmt, 3);
    p.src.size = column(stmt, 4);
    p.src.mtime = clock_timespec_of(sqlite3_column_int64(stmt, 5));
    p.src.ctime = clock_timespec_of(sqlite3_column_int64(stmt, 6));
    const char *temp = (const char *)sqlite3_column_text(stmt, 7);
    if (temp == NULL || !temp_name_parse(temp, NULL)) {
        return -EBADMSG;
    }
    memcpy(p.temp.name, temp, strlen(temp) + 1);
    p.temp.dev = column(stmt, 8);
    p.temp.ino = column(stmt, 9);
    p.temp.uid = (uid_t)column(stmt, 10);
    const void *name = sqlite3_column_blob(stmt, 1);
    char *copy = strndup(name != NULL ? name : "", (size_t)sqlite3_column_bytes(stmt, 1));
    if (copy == NULL) {
        return -ENOMEM;
    }
    p.name = copy;
    *out = p;
    *out_name = copy;
    return 0;
}

int state_partial_next(struct state_reader *r, const char *after, struct state_partial *out_partial, char **out_name)
{
    const int64_t last = after != NULL ? state_partial_id(after) : 0;
    if (after != NULL && last == INT64_MAX) {
        return -ENOENT;
    }
    sqlite3 *db = state_reader_lock(r);
    (void)sqlite3_bind_int64(r->partials, 1, after != NULL ? last + 1 : INT64_MIN);
    int err = state_reader_step(db, r->partials);
    if (err == 0) {
        err = partial_of_row(r->partials, out_partial, out_name);
    }
    if (err != 0 && err != -ENOENT) {
        state_note_error(r->state, err);
    }
    (void)sqlite3_reset(r->partials);
    state_reader_unlock(r);
    return err;
}

int state_parts(struct state_reader *r, const char *temp, void (*each)(void *arg, uint64_t part, const uint8_t *hash),
                void *arg)
{
    sqlite3 *db = state_reader_lock(r);
    (void)sqlite3_bind_int64(r->parts, 1, state_partial_id(temp));
    int err = 0;
    while ((err = state_reader_step(db, r->parts)) == 0) {
        const uint8_t *hash = sqlite3_column_blob(r->parts, 2);
        if (!state_epoch_suspect(r->state, column(r->parts, 1))) {
            each(arg, column(r->parts, 0), hash != NULL && sqlite3_column_bytes(r->parts, 2) == 16 ? hash : NULL);
        }
    }
    if (err != -ENOENT) {
        state_note_error(r->state, err);
    }
    (void)sqlite3_reset(r->parts);
    state_reader_unlock(r);
    return err == -ENOENT ? 0 : err;
}
