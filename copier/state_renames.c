/*
 * state_renames: a source file is found by what it is, whatever its name is now. The index for that, some 30 bytes a
 * file, is there only while runs ask for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "copier/state_internal.h"

#define IS_INDEXED "SELECT count(*) FROM sqlite_master WHERE type='index' AND name='files_ino'"
/* Not STATE_FLAGS: a former name that this run is about to publish anew was published as its row says. */
#define RENAMED_SQL                                                                                                    \
    "SELECT flags, " STATE_ENTRY_REST ", name, dir FROM files INDEXED BY files_ino"                                    \
    " WHERE ino=?1 AND dev=?2 AND size=?3 AND mtime=?4"
#define NAME_COLUMN 18 /* behind STATE_ENTRY_REST */
#define DIR_COLUMN  19

int state_renames_keep(struct state *s, bool wanted)
{
    int64_t is = 0;
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_query(s->db, IS_INDEXED, &is, 1);
    if (err == 0 && (is != 0) != wanted) {
        err = state_db_begin(s->db);
        if (err == 0) {
            err = state_db_run(s->db, wanted ? "CREATE INDEX files_ino ON files(ino)" : "DROP INDEX files_ino");
            err = state_db_end(s->db, err);
        }
    }
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

/* Whether the row that stmt stands on is a regular file under another name, and proves something. */
static bool is_former(const struct state *s, sqlite3_stmt *stmt, uint64_t dir_id, const char *name)
{
    const size_t len = strlen(name);
    const bool same_name = (uint64_t)sqlite3_column_int64(stmt, DIR_COLUMN) == dir_id &&
                           (size_t)sqlite3_column_bytes(stmt, NAME_COLUMN) == len &&
                           memcmp(sqlite3_column_blob(stmt, NAME_COLUMN), name, len) == 0;
    return !same_name && S_ISREG((mode_t)sqlite3_column_int64(stmt, 2)) &&
           (sqlite3_column_int64(stmt, 0) & (FILE_RACY | FILE_INTENT)) == 0 &&
           !state_epoch_suspect(s, (uint64_t)sqlite3_column_int64(stmt, 1));
}

/* The first such row of those that r->renamed yields. 0, -ENOENT, -errno. The lock is held. */
static int find(struct state_reader *r, sqlite3 *db, uint64_t dir_id, const char *name, struct state_renamed *out)
{
    sqlite3_stmt *stmt = r->renamed;
    int err = 0;
    while ((err = state_reader_step(db, stmt)) == 0) {
        if (!is_former(r->state, stmt, dir_id, name)) {
            continue;
        }
        const void *bytes = sqlite3_column_blob(stmt, NAME_COLUMN);
        out->name = strndup(bytes, (size_t)sqlite3_column_bytes(stmt, NAME_COLUMN));
        if (out->name == NULL) {
            return -ENOMEM;
        }
        out->file = state_file_of_row(stmt, (uint64_t)sqlite3_column_int64(stmt, DIR_COLUMN), out->name);
        return 0;
    }
    return err;
}

int state_renamed(struct state_reader *r, uint64_t dir_id, const char *name, const struct attr *src,
                  struct state_renamed *out_renamed)
{
    struct state_renamed found = {.name = NULL};
    if (!r->state->had_files) {
        return -ENOENT;
    }
    sqlite3 *db = state_reader_lock(r);
    int err = r->renamed == NULL ? state_db_prepare(db, RENAMED_SQL, &r->renamed) : 0;
    if (err == 0) {
        (void)sqlite3_bind_int64(r->renamed, 1, (int64_t)src->ino);
        (void)sqlite3_bind_int64(r->renamed, 2, (int64_t)src->dev);
        (void)sqlite3_bind_int64(r->renamed, 3, (int64_t)src->size);
        (void)sqlite3_bind_int64(r->renamed, 4, clock_ns_of(&src->mtime));
        err = find(r, db, dir_id, name, &found);
        (void)sqlite3_reset(r->renamed);
    }
    state_reader_unlock(r);
    if (err == 0) {
        err = state_dir_path(r, found.file.dir_id, &found.dir_path);
    }
    if (err != 0) {
        state_renamed_release(&found);
        if (err != -ENOENT) {
            state_note_error(r->state, err);
        }
        return err;
    }
    *out_renamed = found;
    return 0;
}

void state_renamed_release(struct state_renamed *renamed)
{
    free(renamed->name);
    free(renamed->dir_path);
    *renamed = (struct state_renamed){.name = NULL};
}
