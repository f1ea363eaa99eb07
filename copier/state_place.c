/*
 * state_place: which destination the entries are about.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
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

int state_place_seen(struct state *s, struct attr *out_attr, char out_run[STATE_PLACE_MAX])
{
    sqlite3_stmt *stmt = NULL;
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_prepare(s->db, "SELECT ino, size, mtime, run FROM place_seen LIMIT 1", &stmt);
    if (err == 0) {
        const int rc = sqlite3_step(stmt);
        err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : state_db_errno(s->db, rc);
    }
    if (err == 0) {
        const int64_t mtime = sqlite3_column_int64(stmt, 2);
        *out_attr = (struct attr){.ino = (uint64_t)sqlite3_column_int64(stmt, 0),
                                  .size = (uint64_t)sqlite3_column_int64(stmt, 1),
                                  .mtime = {.tv_sec = mtime / NS_PER_SEC, .tv_nsec = mtime % NS_PER_SEC}};
        take_text(stmt, 3, out_run);
    }
    (void)sqlite3_finalize(stmt);
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

/* db_lock is held. */
static int insert_seen(struct state *s, const struct attr *attr, const char *run_id)
{
    sqlite3_stmt *stmt = NULL;
    const int err = state_db_prepare(s->db, "INSERT INTO place_seen VALUES(?1, ?2, ?3, ?4)", &stmt);
    if (err != 0) {
        return err;
    }
    (void)sqlite3_bind_int64(stmt, 1, (int64_t)attr->ino);
    (void)sqlite3_bind_int64(stmt, 2, (int64_t)attr->size);
    (void)sqlite3_bind_int64(stmt, 3, clock_ns_of(&attr->mtime));
    (void)sqlite3_bind_text(stmt, 4, run_id, -1, SQLITE_STATIC);
    const int rc = sqlite3_step(stmt);
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : state_db_errno(s->db, rc);
}

int state_place_see(struct state *s, const struct attr *attr, const char *run_id)
{
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_begin(s->db);
    if (err == 0) {
        err = run(s, "DELETE FROM place_seen");
        err = err == 0 && attr != NULL ? insert_seen(s, attr, run_id) : err;
        err = state_db_end(s->db, err);
    }
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

int state_server_get(struct state *s, const char *about, int64_t max_age_ns, char **out_text)
{
    sqlite3_stmt *stmt = NULL;
    char *text = NULL;
    const int64_t now = clock_real_ns();
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_prepare(s->db, "SELECT found FROM server WHERE about=?1 AND at BETWEEN ?2 AND ?3", &stmt);
    if (err == 0) {
        (void)sqlite3_bind_text(stmt, 1, about, -1, SQLITE_STATIC);
        (void)sqlite3_bind_int64(stmt, 2, now - max_age_ns);
        (void)sqlite3_bind_int64(stmt, 3, now);
        const int rc = sqlite3_step(stmt);
        err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : state_db_errno(s->db, rc);
    }
    if (err == 0) {
        text = strdup((const char *)sqlite3_column_text(stmt, 0));
        err = text == NULL ? -ENOMEM : 0;
    }
    (void)sqlite3_finalize(stmt);
    (void)pthread_mutex_unlock(&s->db_lock);
    if (err == 0) {
        *out_text = text;
    }
    return err;
}

/* db_lock is held. */
static int insert_server(struct state *s, const char *about, const char *text)
{
    sqlite3_stmt *stmt = NULL;
    const int err = state_db_prepare(s->db, "INSERT INTO server VALUES(?1, ?2, ?3)", &stmt);
    if (err != 0) {
        return err;
    }
    (void)sqlite3_bind_text(stmt, 1, about, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 2, text, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 3, clock_real_ns());
    const int rc = sqlite3_step(stmt);
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : state_db_errno(s->db, rc);
}

int state_server_set(struct state *s, const char *about, const char *text)
{
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_begin(s->db);
    if (err == 0) {
        err = run(s, "DELETE FROM server");
        err = err == 0 && text != NULL ? insert_server(s, about, text) : err;
        err = state_db_end(s->db, err);
    }
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

int state_forget_all(struct state *s)
{
    static const char *const all[] = {"DELETE FROM files",      "DELETE FROM dirs",      "DELETE FROM summaries",
                                      "DELETE FROM place_seen", "DELETE FROM left_dirs", "DELETE FROM place",
                                      "DELETE FROM intents"};
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
