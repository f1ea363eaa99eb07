/*
 * state_place: which destination the entries are about.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copier/state_internal.h"

/* What stmt yields in a column, cut to STATE_PLACE_MAX. */
static void take_text(sqlite3_stmt *stmt, int column, char out[STATE_PLACE_MAX])
{
    const char *text = (const char *)sqlite3_column_text(stmt, column);
    (void)snprintf(out, STATE_PLACE_MAX, "%s", text != NULL ? text : "");
}

int state_place_get(struct state *s, struct state_place *out_place)
{
    sqlite3_stmt *stmt = NULL;
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_prepare(s->db, "SELECT id, stamp, next FROM place LIMIT 1", &stmt);
    if (err == 0) {
        const int rc = sqlite3_step(stmt);
        err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : state_db_errno(s->db, rc);
    }
    if (err == 0) {
        take_text(stmt, 0, out_place->id);
        take_text(stmt, 1, out_place->stamp);
        take_text(stmt, 2, out_place->next);
    }
    (void)sqlite3_finalize(stmt);
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

/* Runs one statement that yields nothing. db_lock is held. */
static int run(struct state *s, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    const int err = state_db_prepare(s->db, sql, &stmt);
    if (err != 0) {
        return err;
    }
    const int rc = sqlite3_step(stmt);
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : state_db_errno(s->db, rc);
}

/* db_lock is held. */
static int insert_place(struct state *s, const struct state_place *place)
{
    sqlite3_stmt *stmt = NULL;
    const int err = state_db_prepare(s->db, "INSERT INTO place VALUES(?1, ?2, ?3)", &stmt);
    if (err != 0) {
        return err;
    }
    (void)sqlite3_bind_text(stmt, 1, place->id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 2, place->stamp, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 3, place->next, -1, SQLITE_STATIC);
    const int rc = sqlite3_step(stmt);
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : state_db_errno(s->db, rc);
}

int state_place_set(struct state *s, const struct state_place *place)
{
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_synced(s->db, true);
    if (err == 0) {
        err = state_db_begin(s->db);
    }
    if (err == 0) {
        err = run(s, "DELETE FROM place");
        err = err == 0 ? insert_place(s, place) : err;
        err = state_db_end(s->db, err);
    }
    (void)state_db_synced(s->db, false); /* else the run is slower, no more */
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

int state_forget_all(struct state *s)
{
    static const char *const all[] = {"DELETE FROM files", "DELETE FROM dirs", "DELETE FROM summaries",
                                      "DELETE FROM place"};
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_begin(s->db);
    if (err == 0) {
        for (size_t i = 0; err == 0 && i < sizeof(all) / sizeof(all[0]); i++) {
            err = run(s, all[i]);
        }
        err = state_db_end(s->db, err);
    }
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

bool state_has_entries(struct state *s)
{
    sqlite3_stmt *stmt = NULL;
    bool some = false;
    (void)pthread_mutex_lock(&s->db_lock);
    if (state_db_prepare(s->db, "SELECT 1 FROM files WHERE dir<>0 OR name<>x'' LIMIT 1", &stmt) == 0) {
        some = sqlite3_step(stmt) == SQLITE_ROW;
    }
    (void)sqlite3_finalize(stmt);
    (void)pthread_mutex_unlock(&s->db_lock);
    return some;
}
