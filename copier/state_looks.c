#include "copier/state_looks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "copier/state_internal.h"

/* Opens it and prepares sql; *out_stmt is NULL where the state has no such table yet. 0 or -errno. */
static int ask(const char *path, const char *sql, sqlite3 **out_db, sqlite3_stmt **out_stmt)
{
    const int rc = sqlite3_open_v2(path, out_db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    int err = *out_db == NULL ? -ENOMEM : rc == SQLITE_OK ? 0 : state_db_errno(*out_db, rc);
    if (err == 0) {
        (void)sqlite3_busy_timeout(*out_db, BUSY_MS);
        err = state_db_prepare(*out_db, sql, out_stmt);
        err = err == -EBADMSG ? 0 : err;
    }
    return err;
}

static const char *text(sqlite3_stmt *stmt, int i)
{
    const unsigned char *t = sqlite3_column_text(stmt, i);
    return t != NULL ? (const char *)t : "";
}

static void read_look(sqlite3_stmt *stmt, struct state_looked *l)
{
    *l = (struct state_looked){.number = sqlite3_column_int64(stmt, 0),
                               .started_ns = sqlite3_column_int64(stmt, 2),
                               .ended_ns = sqlite3_column_int64(stmt, 3),
                               .status = sqlite3_column_int(stmt, 4),
                               .dirs = (uint64_t)sqlite3_column_int64(stmt, 5),
                               .entries = (uint64_t)sqlite3_column_int64(stmt, 6),
                               .bytes = (uint64_t)sqlite3_column_int64(stmt, 7),
                               .findings = (uint64_t)sqlite3_column_int64(stmt, 8),
                               .open = (uint64_t)sqlite3_column_int64(stmt, 9)};
    (void)snprintf(l->command, sizeof l->command, "%s", text(stmt, 1));
}

int state_looks_read(const char *path, size_t most, struct state_looked *out, size_t *out_count)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    size_t count = 0;
    int err = ask(path,
                  "SELECT number, command, started, ended, status, dirs, entries, bytes, findings, open FROM looks"
                  " ORDER BY number DESC LIMIT ?1",
                  &db, &stmt);
    (void)sqlite3_bind_int64(stmt, 1, (int64_t)most);
    while (err == 0 && stmt != NULL && count < most) {
        const int rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW) {
            err = rc == SQLITE_DONE ? 0 : state_db_errno(db, rc);
            break;
        }
        read_look(stmt, &out[count++]);
    }
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    if (err == 0) {
        *out_count = count;
    }
    return err;
}

static int tell(sqlite3_stmt *stmt, int64_t look, int64_t run, void (*each)(void *arg, const struct state_found *f),
                void *arg)
{
    char *path = state_text_column(stmt, 0);
    if (path == NULL) {
        return -ENOMEM;
    }
    const struct state_found f = {.look = look,
                                  .run = run,
                                  .path = path,
                                  .kind = text(stmt, 1),
                                  .certainty = text(stmt, 2),
                                  .evidence = text(stmt, 3),
                                  .action = text(stmt, 4),
                                  .err = sqlite3_column_int(stmt, 5)};
    each(arg, &f);
    free(path);
    return 0;
}

int state_looks_findings(const char *path, int64_t look, int64_t run, size_t most,
                         void (*each)(void *arg, const struct state_found *f), void *arg)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int err = ask(path,
                  "SELECT path, kind, certainty, evidence, action, err FROM findings WHERE look=?1 AND run=?2"
                  " ORDER BY kind = 'temp', number LIMIT ?3",
                  &db, &stmt);
    (void)sqlite3_bind_int64(stmt, 1, look);
    (void)sqlite3_bind_int64(stmt, 2, run);
    (void)sqlite3_bind_int64(stmt, 3, (int64_t)most);
    while (err == 0 && stmt != NULL) {
        const int rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW) {
            err = rc == SQLITE_DONE ? 0 : state_db_errno(db, rc);
            break;
        }
        err = tell(stmt, look, run, each, arg);
    }
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    return err;
}
