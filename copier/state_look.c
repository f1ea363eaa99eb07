#include "copier/state_look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copier/state_internal.h"

#define RUN_SQL       "SELECT ended, number = (SELECT max(number) FROM runs) FROM runs WHERE id=?1"
#define ANNOUNCED_SQL RUN_SQL " UNION ALL SELECT 0, 1 FROM announced WHERE id=?1" /* older databases know of none */
#define ENTRY_SQL(columns)                                                                                             \
    "SELECT " columns ", (SELECT boot FROM epochs WHERE id = files.epoch) FROM files"                                  \
    " WHERE dir=?1 AND name=?2"
#define BOOT_COLUMN 18 /* behind STATE_ENTRY_COLUMNS; NULL: the epoch is durable */
#define PARTIAL_SQL "SELECT touched FROM partials WHERE id=?1 AND temp=?2"

#define LOOK_SQL "SELECT 1 FROM looks WHERE id=?1 AND ended<>0"

struct state_look {
    char *path;             /* of the database file; owned */
    char *source;           /* owned */
    char *destination;      /* owned */
    sqlite3 *db;            /* owned */
    sqlite3_stmt *run;      /* owned */
    sqlite3_stmt *look;     /* owned; NULL: a database that knows of no looks */
    sqlite3_stmt *entry;    /* owned */
    char boot[BOOT_ID_MAX]; /* this boot; "" where unknown */
    sqlite3_stmt *partial;  /* owned; NULL: a database of version 1, which has none */
};

/* The pair, and that a version that we know wrote it. */
static int read_meta(struct state_look *l)
{
    sqlite3_stmt *stmt = NULL;
    int err = state_db_prepare(l->db, "SELECT version, source, destination FROM meta LIMIT 1", &stmt);
    if (err != 0) {
        return err;
    }
    const int rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW) {
        err = rc == SQLITE_DONE ? -EBADMSG : state_db_errno(l->db, rc);
    } else if (sqlite3_column_int(stmt, 0) > STATE_VERSION) {
        err = -EPROTO;
    } else {
        l->source = state_text_column(stmt, 1);
        l->destination = state_text_column(stmt, 2);
        err = l->source == NULL || l->destination == NULL ? -ENOMEM : 0;
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

int state_look_open(const char *path, struct state_look **out_look)
{
    struct state_look *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        return -ENOMEM;
    }
    l->path = strdup(path);
    state_boot_id(l->boot);
    int err = l->path == NULL ? -ENOMEM : access(path, R_OK) == 0 ? 0 : -errno;
    if (err == 0) {
        const int rc = sqlite3_open_v2(path, &l->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
        err = rc == SQLITE_OK ? 0 : state_db_errno(l->db, rc);
    }
    if (err == 0) {
        (void)sqlite3_busy_timeout(l->db, BUSY_MS);
        err = read_meta(l);
    }
    if (err == 0) {
        err = state_db_prepare(l->db, ANNOUNCED_SQL, &l->run) == 0 ? 0 : state_db_prepare(l->db, RUN_SQL, &l->run);
    }
    if (err == 0) {
        err = state_db_prepare(l->db, ENTRY_SQL(STATE_ENTRY_COLUMNS), &l->entry) == 0
                  ? 0
                  : state_db_prepare(l->db, ENTRY_SQL("flags, " STATE_ENTRY_REST), &l->entry);
    }
    if (err == 0) {
        (void)state_db_prepare(l->db, PARTIAL_SQL, &l->partial);
        (void)state_db_prepare(l->db, LOOK_SQL, &l->look);
    }
    if (err != 0) {
        state_look_close(l);
        return err;
    }
    *out_look = l;
    return 0;
}

void state_look_close(struct state_look *l)
{
    if (l != NULL) {
        (void)sqlite3_finalize(l->run);
        (void)sqlite3_finalize(l->partial);
        (void)sqlite3_finalize(l->look);
        (void)sqlite3_finalize(l->entry);
        (void)sqlite3_close(l->db);
        free(l->path);
        free(l->source);
        free(l->destination);
        free(l);
    }
}

const char *state_look_source(const struct state_look *l)
{
    return l->source;
}

const char *state_look_destination(const struct state_look *l)
{
    return l->destination;
}

int64_t state_look_newest(struct state_look *l)
{
    sqlite3_stmt *stmt = NULL;
    int64_t started = 0;
    if (state_db_prepare(l->db, "SELECT coalesce(max(started), 0) FROM runs", &stmt) == 0 &&
        sqlite3_step(stmt) == SQLITE_ROW) {
        started = sqlite3_column_int64(stmt, 0);
    }
    (void)sqlite3_finalize(stmt);
    return started;
}

int state_look_run(struct state_look *l, const char *run_id, bool *out_lives)
{
    (void)sqlite3_bind_text(l->run, 1, run_id, -1, SQLITE_STATIC);
    const int rc = sqlite3_step(l->run);
    int err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : state_db_errno(l->db, rc);
    const bool open_end = err == 0 && sqlite3_column_int64(l->run, 0) == 0 && sqlite3_column_int(l->run, 1) != 0;
    (void)sqlite3_reset(l->run);
    if (err == -ENOENT && l->look != NULL) {
        (void)sqlite3_bind_text(l->look, 1, run_id, -1, SQLITE_STATIC);
        err = sqlite3_step(l->look) == SQLITE_ROW ? 0 : -ENOENT; /* one that has ended */
        (void)sqlite3_reset(l->look);
    }
    if (err == 0) {
        /* Of another machine's lock nothing is seen here. */
        *out_lives = open_end && (state_is_locked(l->path) || state_db_on_network(l->path));
    }
    return err;
}

int state_look_partial(struct state_look *l, const char *temp, int64_t *out_touched_ns)
{
    if (l->partial == NULL) {
        return -ENOENT;
    }
    (void)sqlite3_bind_int64(l->partial, 1, state_partial_id(temp));
    (void)sqlite3_bind_text(l->partial, 2, temp, -1, SQLITE_STATIC);
    const int rc = sqlite3_step(l->partial);
    const int err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : state_db_errno(l->db, rc);
    if (err == 0) {
        *out_touched_ns = sqlite3_column_int64(l->partial, 0);
    }
    (void)sqlite3_reset(l->partial);
    return err;
}

int state_look_entry(struct state_look *l, uint64_t dir_id, const char *name, struct state_file *out_file,
                     bool *out_sure)
{
    (void)sqlite3_bind_int64(l->entry, 1, (int64_t)dir_id);
    (void)sqlite3_bind_blob64(l->entry, 2, name, strlen(name), SQLITE_STATIC);
    const int rc = sqlite3_step(l->entry);
    const int err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : state_db_errno(l->db, rc);
    if (err == 0) {
        const unsigned char *boot = sqlite3_column_text(l->entry, BOOT_COLUMN);
        *out_file = state_file_of_row(l->entry, dir_id, name);
        *out_sure = out_file->src.mode != MODE_INTENT && (sqlite3_column_int64(l->entry, 0) & FILE_INTENT) == 0 &&
                    (boot == NULL || strcmp((const char *)boot, l->boot) == 0);
    }
    (void)sqlite3_reset(l->entry);
    return err;
}
