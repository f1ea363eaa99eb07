/*
 * state_recall: the entries of a directory all at once, and directories by themselves. One range of the table is read
 * many times faster than its rows are looked up one after the other.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "copier/state_internal.h"

#define NAME_COLUMN 18 /* behind STATE_ENTRY_COLUMNS */

/* The row that stmt stands on. */
static int tell(struct state_reader *r, sqlite3_stmt *stmt, uint64_t dir_id, state_recalled fn, void *arg)
{
    char name[NAME_MAX * 4 + 1];
    const int len = sqlite3_column_bytes(stmt, NAME_COLUMN);
    if ((size_t)len >= sizeof name) {
        return 0; /* no name of an entry */
    }
    const void *bytes = sqlite3_column_blob(stmt, NAME_COLUMN);
    memcpy(name, bytes, (size_t)len);
    name[len] = '\0';
    const struct state_file file = state_file_of_row(stmt, dir_id, name);
    const bool sure = !file.racy && !state_epoch_suspect(r->state, (uint64_t)sqlite3_column_int64(stmt, 1));
    const bool intent = file.src.mode == MODE_INTENT || (sqlite3_column_int64(stmt, 0) & FILE_INTENT) != 0;
    return fn(arg, &file, (size_t)len, intent, sure);
}

int state_recall(struct state_reader *r, uint64_t dir_id, const char *after, int64_t limit, state_recalled fn,
                 void *arg)
{
    sqlite3 *db = state_reader_lock(r);
    sqlite3_stmt *stmt = r->recall;
    int err = 0;
    (void)sqlite3_bind_int64(stmt, 1, (int64_t)dir_id);
    (void)sqlite3_bind_blob64(stmt, 2, after != NULL ? after : "", after != NULL ? strlen(after) : 0, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 3, limit);
    while (err == 0) {
        err = state_reader_step(db, stmt);
        if (err == -ENOENT) {
            err = 0;
            break;
        }
        if (err != 0) {
            state_note_error(r->state, err);
            break;
        }
        err = tell(r, stmt, dir_id, fn, arg);
    }
    (void)sqlite3_reset(stmt);
    state_reader_unlock(r);
    return err;
}

bool state_known_dir(struct state_reader *r, uint64_t dir_id, const char *name, const struct attr *src, bool times,
                     unsigned xattrs)
{
    sqlite3 *db = state_reader_lock(r);
    sqlite3_stmt *stmt = r->lookup;
    bool known = false;
    (void)sqlite3_bind_int64(stmt, 1, (int64_t)dir_id);
    (void)sqlite3_bind_blob64(stmt, 2, name, strlen(name), SQLITE_STATIC);
    const int err = state_reader_step(db, stmt);
    if (err == 0) {
        const struct state_file file = state_file_of_row(stmt, dir_id, name);
        known =
            !file.racy && !state_epoch_suspect(r->state, (uint64_t)sqlite3_column_int64(stmt, 1)) &&
            file.src.mode == src->mode && file.src.uid == src->uid && file.src.gid == src->gid &&
            (!times || clock_ns_of(&file.src.mtime) == clock_ns_of(&src->mtime)) &&
            (xattrs == 0 || ((xattrs & ~file.xattrs) == 0 && clock_ns_of(&file.src.ctime) == clock_ns_of(&src->ctime)));
    } else if (err != -ENOENT) {
        state_note_error(r->state, err);
    }
    (void)sqlite3_reset(stmt);
    state_reader_unlock(r);
    return known;
}
