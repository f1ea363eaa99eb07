#include "copier/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copier/state_internal.h"

#define BATCH   256U  /* records of one transaction */
#define WAIT_MS 10000 /* for another process that writes */

/* A finding that waits to be written. */
struct entry {
    struct entry *next;
    enum finding_kind kind;
    enum finding_sure sure;
    enum finding_action action;
    int err;         /* positive errno, or 0 */
    size_t path_len; /* bytes of path in text */
    char text[];     /* path and evidence, each with its NUL */
};

struct ledger {
    sqlite3 *db;          /* owned; under lock */
    sqlite3_stmt *insert; /* owned; under lock */
    int64_t number;       /* of the look; constant */
    pthread_mutex_t lock; /* for all below */
    struct entry *first;  /* that wait; owned */
    struct entry **end;   /* where the next one goes */
    unsigned waiting;     /* of them */
    int64_t count;        /* findings so far */
    int err;              /* the first -errno */
};

static int exec(sqlite3 *db, const char *sql)
{
    const int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : rc == SQLITE_ERROR ? -EBADMSG : state_db_errno(db, rc);
}

/* A row of looks, and its number. In a transaction. */
static int begin_look(struct ledger *g, const char *command, const char *run_id)
{
    sqlite3_stmt *stmt = NULL;
    int err = state_db_prepare(g->db, "INSERT INTO looks(command, id, started) VALUES(?1, ?2, ?3)", &stmt);
    if (err != 0) {
        return err;
    }
    (void)sqlite3_bind_text(stmt, 1, command, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 2, run_id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(stmt, 3, clock_real_ns());
    const int rc = sqlite3_step(stmt);
    err = rc == SQLITE_DONE ? 0 : state_db_errno(g->db, rc);
    (void)sqlite3_finalize(stmt);
    g->number = sqlite3_last_insert_rowid(g->db);
    if (err == 0) {
        char sql[96];
        (void)snprintf(sql, sizeof sql, "DELETE FROM findings WHERE look > 0 AND look <= %lld",
                       (long long)g->number - LEDGER_LOOKS);
        err = exec(g->db, sql);
    }
    return err;
}

static int open_db(struct ledger *g, const char *path)
{
    const int rc = sqlite3_open_v2(path, &g->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        return state_db_errno(g->db, rc);
    }
    (void)sqlite3_extended_result_codes(g->db, 1);
    (void)sqlite3_busy_timeout(g->db, WAIT_MS);
    (void)sqlite3_db_config(g->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int err = state_db_is_ours(g->db);
    if (err == 0) {
        err = state_db_synced(g->db, false);
    }
    if (err == 0) {
        err = state_db_begin(g->db);
    }
    return err;
}

int ledger_open(const char *path, const char *command, const char *run_id, struct ledger **out_ledger)
{
    struct ledger *g = calloc(1, sizeof *g);
    if (g == NULL) {
        return -ENOMEM;
    }
    g->end = &g->first;
    pthread_mutex_init(&g->lock, NULL);
    int err = open_db(g, path);
    if (err == 0) {
        err = state_db_add_tables(g->db);
        err = err == 0 ? begin_look(g, command, run_id) : err;
        err = state_db_end(g->db, err);
    }
    if (err == 0) {
        err = state_db_prepare(g->db,
                               "INSERT INTO findings(look, run, number, path, kind, certainty, evidence, action, err)"
                               " VALUES(?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                               &g->insert);
    }
    if (err != 0) {
        ledger_close(g);
        return err;
    }
    *out_ledger = g;
    return 0;
}

void ledger_close(struct ledger *g)
{
    if (g == NULL) {
        return;
    }
    while (g->first != NULL) {
        struct entry *next = g->first->next;
        free(g->first);
        g->first = next;
    }
    (void)sqlite3_finalize(g->insert);
    (void)sqlite3_close(g->db);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

int64_t ledger_number(const struct ledger *g)
{
    return g->number;
}

static int write_one(struct ledger *g, const struct entry *e)
{
    sqlite3_stmt *stmt = g->insert;
    const char *evidence = e->text + e->path_len + 1;
    (void)sqlite3_bind_int64(stmt, 1, g->number);
    (void)sqlite3_bind_int64(stmt, 2, ++g->count);
    (void)sqlite3_bind_blob64(stmt, 3, e->text, e->path_len, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 4, finding_kind_name(e->kind), -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 5, finding_sure_name(e->sure), -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 6, evidence, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 7, finding_action_name(e->action), -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(stmt, 8, e->err);
    const int rc = sqlite3_step(stmt);
    const int err = rc == SQLITE_DONE ? 0 : state_db_errno(g->db, rc);
    (void)sqlite3_reset(stmt);
    return err;
}

/* Writes all that waits, in one transaction. Under the lock. */
static void flush(struct ledger *g)
{
    int err = g->err;
    if (g->first == NULL) {
        return;
    }
    if (err == 0) {
        err = state_db_begin(g->db);
        for (const struct entry *e = g->first; err == 0 && e != NULL; e = e->next) {
            err = write_one(g, e);
        }
        err = state_db_end(g->db, err);
    }
    g->err = err;
    while (g->first != NULL) {
        struct entry *next = g->first->next;
        free(g->first);
        g->first = next;
    }
    g->end = &g->first;
    g->waiting = 0;
}

void ledger_finding(struct ledger *g, const struct finding *f)
{
    if (g == NULL) {
        return;
    }
    const size_t path_len = strlen(f->path);
    const size_t evidence_len = strlen(f->evidence);
    struct entry *e = malloc(sizeof *e + path_len + evidence_len + 2);
    pthread_mutex_lock(&g->lock);
    if (e == NULL) {
        g->err = g->err != 0 ? g->err : -ENOMEM;
    } else if (g->err != 0 || g->count + g->waiting >= LEDGER_FINDINGS) {
        free(e);
    } else {
        *e = (struct entry){.kind = f->kind, .sure = f->sure, .action = f->action, .err = f->err, .path_len = path_len};
        memcpy(e->text, f->path, path_len + 1);
        memcpy(e->text + path_len + 1, f->evidence, evidence_len + 1);
        *g->end = e;
        g->end = &e->next;
        if (++g->waiting >= BATCH) {
            flush(g);
        }
    }
    pthread_mutex_unlock(&g->lock);
}

static int write_end(struct ledger *g, const struct ledger_end *end)
{
    sqlite3_stmt *stmt = NULL;
    int err =
        state_db_prepare(g->db,
                         "UPDATE looks SET ended=?2, status=?3, dirs=?4, entries=?5, bytes=?6, findings=?7, open=?8"
                         " WHERE number=?1",
                         &stmt);
    if (err != 0) {
        return err;
    }
    (void)sqlite3_bind_int64(stmt, 1, g->number);
    (void)sqlite3_bind_int64(stmt, 2, clock_real_ns());
    (void)sqlite3_bind_int(stmt, 3, end->status);
    (void)sqlite3_bind_int64(stmt, 4, (int64_t)end->dirs);
    (void)sqlite3_bind_int64(stmt, 5, (int64_t)end->entries);
    (void)sqlite3_bind_int64(stmt, 6, (int64_t)end->bytes);
    (void)sqlite3_bind_int64(stmt, 7, (int64_t)end->findings);
    (void)sqlite3_bind_int64(stmt, 8, (int64_t)end->open);
    const int rc = sqlite3_step(stmt);
    err = rc == SQLITE_DONE ? 0 : state_db_errno(g->db, rc);
    (void)sqlite3_finalize(stmt);
    return err;
}

int ledger_end(struct ledger *g, const struct ledger_end *end)
{
    if (g == NULL) {
        return 0;
    }
    pthread_mutex_lock(&g->lock);
    flush(g);
    if (g->err == 0) {
        g->err = write_end(g, end);
    }
    const int err = g->err;
    pthread_mutex_unlock(&g->lock);
    return err;
}
