/*
 * state_left: directories in which runs have left something undone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copier/state_internal.h"

void state_left_free(struct state_left *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].path);
    }
    free(list);
}

/* One more row into a list that has room for it. */
static int take(sqlite3_stmt *stmt, struct state_left *out)
{
    const int len = sqlite3_column_bytes(stmt, 0);
    const void *path = sqlite3_column_blob(stmt, 0);
    out->path = strndup(path != NULL ? path : "", (size_t)len);
    out->since_ns = sqlite3_column_int64(stmt, 1);
    return out->path != NULL ? 0 : -ENOMEM;
}

static int read_all(sqlite3_stmt *stmt, sqlite3 *db, struct state_left **list, size_t *count)
{
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct state_left *more = reallocarray(*list, *count + 1, sizeof *more);
        if (more == NULL) {
            return -ENOMEM;
        }
        *list = more;
        const int err = take(stmt, &more[*count]);
        if (err != 0) {
            return err;
        }
        (*count)++;
    }
    return rc == SQLITE_DONE ? 0 : state_db_errno(db, rc);
}

int state_left_get(struct state *s, struct state_left **out_list, size_t *out_count)
{
    sqlite3_stmt *stmt = NULL;
    struct state_left *list = NULL;
    size_t count = 0;
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_prepare(s->db, "SELECT path, since FROM left_dirs ORDER BY number", &stmt);
    err = err == 0 ? read_all(stmt, s->db, &list, &count) : err;
    (void)sqlite3_finalize(stmt);
    (void)pthread_mutex_unlock(&s->db_lock);
    if (err != 0) {
        state_left_free(list, count);
        return err;
    }
    *out_list = list;
    *out_count = count;
    return 0;
}

static int insert_one(sqlite3 *db, sqlite3_stmt *stmt, const struct state_left *one)
{
    (void)sqlite3_bind_blob(stmt, 1, one->path, (int)strlen(one->path), SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 2, one->since_ns);
    const int rc = sqlite3_step(stmt);
    (void)sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? 0 : state_db_errno(db, rc);
}

int state_left_set(struct state *s, const struct state_left *list, size_t count)
{
    sqlite3_stmt *clear = NULL;
    sqlite3_stmt *insert = NULL;
    int64_t before = 0;
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_query(s->db, "SELECT count(*) FROM left_dirs", &before, 1);
    if (err == 0 && (before > 0 || count > 0)) { /* a run that leaves nothing writes nothing */
        err = state_db_begin(s->db);
        err = err == 0 ? state_db_prepare(s->db, "DELETE FROM left_dirs", &clear) : err;
        if (err == 0) {
            const int rc = sqlite3_step(clear);
            err = rc == SQLITE_DONE ? 0 : state_db_errno(s->db, rc);
        }
        (void)sqlite3_finalize(clear);
        err = err == 0 ? state_db_prepare(s->db, "INSERT INTO left_dirs(path, since) VALUES(?1, ?2)", &insert) : err;
        for (size_t i = 0; i < count && err == 0; i++) {
            err = insert_one(s->db, insert, &list[i]);
        }
        (void)sqlite3_finalize(insert);
        err = state_db_end(s->db, err);
    }
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}
