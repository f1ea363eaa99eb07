/*
 * state_writer: the thread that writes batches, one transaction each.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup/finding.h"
#include "copier/state_internal.h"

static const char *const statement_sql[STMT_COUNT] = {
    [STMT_FILE] = "INSERT OR REPLACE INTO files(dir, name, flags, epoch, mode, uid, gid, dev, ino, size, mtime, ctime,"
                  " dst_mode, dst_uid, dst_gid, dst_size, dst_mtime, dst_ino, dst_ctime, hash)"
                  " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20)",
    [STMT_FORGET] = "DELETE FROM files WHERE dir=?1 AND name=?2",
    [STMT_INTEND] = "INSERT OR IGNORE INTO intents(dir, name, epoch) VALUES(?1, ?2, ?3)",
    [STMT_INTENT_OVER] = "DELETE FROM intents WHERE dir=?1 AND name=?2",
    [STMT_INTENTS_OVER] = "DELETE FROM intents WHERE dir=?1",
    [STMT_DOUBT] = "UPDATE files SET flags=flags|?3 WHERE dir=?1 AND name=?2",
    [STMT_CLEAR] = "DELETE FROM files WHERE dir=?1",
    [STMT_CLEAR_DIR] = "DELETE FROM dirs WHERE id=?1",
    [STMT_DIR] = "INSERT OR REPLACE INTO dirs(id, path) VALUES(?1, ?2)",
    [STMT_FAILURE] = "INSERT OR REPLACE INTO failures(run, number, path, op, err, attempts) VALUES(?1,?2,?3,?4,?5,?6)",
    [STMT_FINDING] = "INSERT OR REPLACE INTO findings(look, run, number, path, kind, certainty, evidence, action, err)"
                     " VALUES(0,?1,?2,?3,?4,?5,?6,?7,?8)",
    [STMT_PARTIAL] = "INSERT OR REPLACE INTO partials(id, dir, name, dev, ino, size, mtime, ctime, temp, temp_dev,"
                     " temp_ino, temp_uid, touched) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)",
    [STMT_PART] = "INSERT OR REPLACE INTO parts(partial, part, epoch, hash) VALUES(?1, ?2, ?3, ?4)",
    [STMT_OVER] = "DELETE FROM partials WHERE id=?1",
    [STMT_OVER_PARTS] = "DELETE FROM parts WHERE partial=?1",
    [STMT_SUMMARY] = "INSERT OR REPLACE INTO summaries(dir, part, parts, xattrs, bytes) VALUES(?1, ?2, ?3, ?4, ?5)",
    [STMT_SUMMARY_READ] = "SELECT parts, xattrs, bytes FROM summaries WHERE dir=?1 AND part=0",
    [STMT_SUMMARY_MEND] = "UPDATE summaries SET bytes=?2 WHERE dir=?1 AND part=0",
    [STMT_SUMMARY_OVER] = "DELETE FROM summaries WHERE dir=?1",
    [STMT_EPOCH] = "INSERT OR REPLACE INTO epochs(id, run, boot) VALUES(?1, ?2, ?3)",
    /* One sync covers what earlier runs of the boot left. */
    [STMT_DURABLE] =
        "DELETE FROM epochs WHERE id<=?1 AND boot<>'" BOOT_FAILED "' AND (run=?2 OR (boot=?3 AND boot<>''))",
    [STMT_FAILED] = "UPDATE epochs SET boot='" BOOT_FAILED "' WHERE run=?1 OR boot=?2",
    [STMT_FIGURES] = "UPDATE runs SET files_total=?2, bytes_total=?3, files_done=?4, bytes_done=?5, failed=?6,"
                     " complete=?7 WHERE number=?1",
    [STMT_END] = "UPDATE runs SET ended=?2, status=?3 WHERE number=?1",
};

/* Called by SQLite after each commit, in place of its own writing back. */
static int note_wal_pages(void *arg, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    struct state *s = arg;
    s->wal_pages = pages;
    return SQLITE_OK;
}

int state_writer_prepare(struct state *s)
{
    (void)sqlite3_wal_hook(s->db, note_wal_pages, s);
    for (int i = 0; i < STMT_COUNT; i++) {
        const int err = state_db_prepare(s->db, statement_sql[i], &s->statements[i]);
        if (err != 0) {
            return err;
        }
    }
    return 0;
}

/* Runs a statement that yields no rows; a failed bind shows here too, as a NULL where none may be. */
static int run(struct state *s, enum statement which)
{
    sqlite3_stmt *stmt = s->statements[which];
    const int rc = sqlite3_step(stmt);
    const int err = rc == SQLITE_DONE ? 0 : state_db_errno(s->db, rc);
    (void)sqlite3_reset(stmt);
    return err;
}

static void bind_int(sqlite3_stmt *stmt, int column, uint64_t value)
{
    (void)sqlite3_bind_int64(stmt, column, (int64_t)value);
}

/* NULL where the destination says the same as the source: shorter rows. */
static void bind_other(sqlite3_stmt *stmt, int column, uint64_t dst, uint64_t src)
{
    if (dst == src) {
        (void)sqlite3_bind_null(stmt, column);
    } else {
        bind_int(stmt, column, dst);
    }
}

static const char *text_of(const struct record *r)
{
    return r->heap != NULL ? r->heap : r->text;
}

static void bind_text(sqlite3_stmt *stmt, int column, const struct record *r)
{
    (void)sqlite3_bind_blob64(stmt, column, text_of(r), r->text_len, SQLITE_STATIC);
}

static int write_file(struct state *s, const struct record *r)
{
    sqlite3_stmt *stmt = s->statements[STMT_FILE];
    const struct record_attr *src = &r->file.src;
    const struct record_attr *dst = &r->file.dst;
    bind_int(stmt, 1, r->dir);
    bind_text(stmt, 2, r);
    bind_int(stmt, 3, (r->racy ? FILE_RACY : 0) | ((unsigned)r->xattrs << FILE_XATTRS));
    bind_int(stmt, 4, (uint64_t)r->epoch);
    bind_int(stmt, 5, src->mode);
    bind_int(stmt, 6, src->uid);
    bind_int(stmt, 7, src->gid);
    bind_int(stmt, 8, src->dev);
    bind_int(stmt, 9, src->ino);
    bind_int(stmt, 10, src->size);
    bind_int(stmt, 11, (uint64_t)src->mtime_ns);
    bind_int(stmt, 12, (uint64_t)src->ctime_ns);
    bind_other(stmt, 13, dst->mode, src->mode);
    bind_other(stmt, 14, dst->uid, src->uid);
    bind_other(stmt, 15, dst->gid, src->gid);
    bind_other(stmt, 16, dst->size, src->size);
    bind_other(stmt, 17, (uint64_t)dst->mtime_ns, (uint64_t)src->mtime_ns);
    bind_int(stmt, 18, dst->ino);
    bind_int(stmt, 19, (uint64_t)dst->ctime_ns);
    if (r->hash_known) {
        (void)sqlite3_bind_blob(stmt, 20, r->file.hash, sizeof(r->file.hash), SQLITE_STATIC);
    } else {
        (void)sqlite3_bind_null(stmt, 20);
    }
    return run(s, STMT_FILE);
}

/* A statement about one entry. */
static int write_name(struct state *s, enum statement which, const struct record *r)
{
    sqlite3_stmt *stmt = s->statements[which];
    bind_int(stmt, 1, r->dir);
    bind_text(stmt, 2, r);
    if (which == STMT_INTEND) {
        bind_int(stmt, 3, (uint64_t)r->epoch);
    } else if (which == STMT_DOUBT) {
        bind_int(stmt, 3, FILE_RACY);
    }
    return run(s, which);
}

static int write_clear(struct state *s, const struct record *r)
{
    static const enum statement all[] = {STMT_CLEAR, STMT_CLEAR_DIR, STMT_INTENTS_OVER};
    int err = 0;
    for (unsigned i = 0; err == 0 && i < sizeof all / sizeof all[0]; i++) {
        bind_int(s->statements[all[i]], 1, r->dir);
        err = run(s, all[i]);
    }
    return err;
}

/* What was announced has come true, or will not. */
static int write_intent_over(struct state *s, const struct record *r)
{
    return s->intends ? write_name(s, STMT_INTENT_OVER, r) : 0;
}

/* A record of the sorted ones. */
static int write_keyed(struct state *s, const struct record *r)
{
    int err = 0;
    switch ((enum record_kind)r->kind) {
    case RECORD_FILE:
        err = write_file(s, r);
        return err != 0 ? err : write_intent_over(s, r);
    case RECORD_INTEND:
        s->intends = true;
        return write_name(s, STMT_INTEND, r);
    case RECORD_DOUBT:
        return write_name(s, STMT_DOUBT, r);
    case RECORD_FORGET:
    default:
        err = write_name(s, STMT_FORGET, r);
        return err != 0 ? err : write_intent_over(s, r);
    }
}

static int write_dir(struct state *s, const struct record *r)
{
    sqlite3_stmt *stmt = s->statements[STMT_DIR];
    bind_int(stmt, 1, r->dir);
    bind_text(stmt, 2, r);
    return run(s, STMT_DIR);
}

static int write_failure(struct state *s, const struct record *r)
{
    sqlite3_stmt *stmt = s->statements[STMT_FAILURE];
    (void)sqlite3_bind_int64(stmt, 1, s->run);
    (void)sqlite3_bind_int64(stmt, 2, r->failure.number);
    bind_text(stmt, 3, r);
    (void)sqlite3_bind_text(stmt, 4, r->failure.op, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(stmt, 5, r->failure.err);
    (void)sqlite3_bind_int64(stmt, 6, r->failure.attempts);
    return run(s, STMT_FAILURE);
}

static int write_finding(struct state *s, const struct record *r)
{
    sqlite3_stmt *stmt = s->statements[STMT_FINDING];
    const char *text = r->heap != NULL ? r->heap : r->text;
    const size_t path_len = r->finding.path_len;
    (void)sqlite3_bind_int64(stmt, 1, s->run);
    (void)sqlite3_bind_int64(stmt, 2, r->finding.number);
    (void)sqlite3_bind_blob64(stmt, 3, text, path_len, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 4, finding_kind_name(r->finding.finding_kind), -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(stmt, 5, finding_sure_name(r->finding.sure), -1, SQLITE_STATIC);
    (void)sqlite3_bind_text64(stmt, 6, text + path_len, r->text_len - path_len, SQLITE_STATIC, SQLITE_UTF8);
    (void)sqlite3_bind_text(stmt, 7, finding_action_name(r->finding.action), -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(stmt, 8, r->finding.err);
    return run(s, STMT_FINDING);
}

static int write_partial(struct state *s, const struct record *r)
{
    sqlite3_stmt *stmt = s->statements[STMT_PARTIAL];
    const struct record_attr *src = &r->partial.src;
    const size_t temp_len = r->partial.temp_len;
    (void)sqlite3_bind_int64(stmt, 1, r->partial.id);
    bind_int(stmt, 2, r->dir);
    (void)sqlite3_bind_blob64(stmt, 3, r->text + temp_len, r->text_len - temp_len, SQLITE_STATIC);
    bind_int(stmt, 4, src->dev);
    bind_int(stmt, 5, src->ino);
    bind_int(stmt, 6, src->size);
    bind_int(stmt, 7, (uint64_t)src->mtime_ns);
    bind_int(stmt, 8, (uint64_t)src->ctime_ns);
    (void)sqlite3_bind_text64(stmt, 9, r->text, temp_len, SQLITE_STATIC, SQLITE_UTF8);
    bind_int(stmt, 10, r->partial.temp_dev);
    bind_int(stmt, 11, r->partial.temp_ino);
    bind_int(stmt, 12, r->partial.temp_uid);
    bind_int(stmt, 13, (uint64_t)r->partial.touched_ns);
    return run(s, STMT_PARTIAL);
}

static int write_part(struct state *s, const struct record *r)
{
    sqlite3_stmt *stmt = s->statements[STMT_PART];
    (void)sqlite3_bind_int64(stmt, 1, r->part.id);
    bind_int(stmt, 2, r->part.part);
    (void)sqlite3_bind_int64(stmt, 3, r->epoch);
    if (r->hash_known) {
        (void)sqlite3_bind_blob(stmt, 4, r->part.hash, sizeof(r->part.hash), SQLITE_STATIC);
    } else {
        (void)sqlite3_bind_null(stmt, 4);
    }
    return run(s, STMT_PART);
}

static int write_over(struct state *s, const struct record *r)
{
    (void)sqlite3_bind_int64(s->statements[STMT_OVER], 1, r->part.id);
    (void)sqlite3_bind_int64(s->statements[STMT_OVER_PARTS], 1, r->part.id);
    const int err = run(s, STMT_OVER);
    return err != 0 ? err : run(s, STMT_OVER_PARTS);
}

static int write_summary(struct state *s, const struct record *r)
{
    sqlite3_stmt *stmt = s->statements[STMT_SUMMARY];
    const int err = r->summary.part == 0 ? state_summary_over(s, r->dir) : 0;
    if (err != 0) {
        return err;
    }
    bind_int(stmt, 1, r->dir);
    bind_int(stmt, 2, r->summary.part);
    bind_int(stmt, 3, r->summary.parts);
    bind_int(stmt, 4, r->xattrs);
    bind_text(stmt, 5, r);
    return run(s, STMT_SUMMARY);
}

static int write_epoch(struct state *s, const struct record *r)
{
    const enum statement which = r->kind == RECORD_EPOCH ? STMT_EPOCH : STMT_DURABLE;
    sqlite3_stmt *stmt = s->statements[which];
    (void)sqlite3_bind_int64(stmt, 1, r->epoch);
    (void)sqlite3_bind_int64(stmt, 2, s->run);
    (void)sqlite3_bind_text(stmt, 3, s->boot, -1, SQLITE_STATIC);
    return run(s, which);
}

static int write_failed_epochs(struct state *s)
{
    sqlite3_stmt *stmt = s->statements[STMT_FAILED];
    (void)sqlite3_bind_int64(stmt, 1, s->run);
    (void)sqlite3_bind_text(stmt, 2, s->boot, -1, SQLITE_STATIC);
    return run(s, STMT_FAILED);
}

static int write_figures(struct state *s, const struct figures *f)
{
    sqlite3_stmt *stmt = s->statements[STMT_FIGURES];
    (void)sqlite3_bind_int64(stmt, 1, s->run);
    bind_int(stmt, 2, f->files_total);
    bind_int(stmt, 3, f->bytes_total);
    bind_int(stmt, 4, f->files_done);
    bind_int(stmt, 5, f->bytes_done);
    bind_int(stmt, 6, f->failed);
    bind_int(stmt, 7, f->complete);
    return run(s, STMT_FIGURES);
}

static int write_end(struct state *s, int status)
{
    const int err = s->intends && !s->broken ? state_intents_apply(s->db) : 0;
    if (err != 0) {
        return err;
    }
    sqlite3_stmt *stmt = s->statements[STMT_END];
    (void)sqlite3_bind_int64(stmt, 1, s->run);
    (void)sqlite3_bind_int64(stmt, 2, clock_real_ns());
    (void)sqlite3_bind_int(stmt, 3, status);
    return run(s, STMT_END);
}

/* In the table's order; records of the same entry in the order in which they came (addresses rise). */
static int compare_keys(const void *a, const void *b)
{
    const struct record_key *x = a;
    const struct record_key *y = b;
    /* As SQLite sorts them: signed. */
    if (x->dir != y->dir) {
        return (int64_t)x->dir < (int64_t)y->dir ? -1 : 1;
    }
    const uint32_t shorter = x->record->text_len < y->record->text_len ? x->record->text_len : y->record->text_len;
    const int order = memcmp(text_of(x->record), text_of(y->record), shorter);
    if (order != 0) {
        return order;
    }
    if (x->record->text_len != y->record->text_len) {
        return x->record->text_len < y->record->text_len ? -1 : 1;
    }
    return (x->record > y->record) - (x->record < y->record);
}

static const struct record *record_at(const struct batch *batch, size_t offset)
{
    return (const struct record *)(const void *)(batch->bytes + offset);
}

static int write_records(struct state *s, struct batch *batch)
{
    int err = 0;
    for (size_t at = 0; err == 0 && at < batch->used; at += record_at(batch, at)->size) {
        const struct record *r = record_at(batch, at);
        switch ((enum record_kind)r->kind) {
        case RECORD_FILE:
        case RECORD_FORGET:
        case RECORD_INTEND:
        case RECORD_DOUBT:
            break; /* below, sorted */
        case RECORD_CLEAR:
            err = state_summary_over(s, r->dir);
            err = err == 0 ? write_clear(s, r) : err;
            break;
        case RECORD_SUMMARY:
            err = write_summary(s, r);
            break;
        case RECORD_DIR:
            err = write_dir(s, r);
            break;
        case RECORD_FAILURE:
            err = write_failure(s, r);
            break;
        case RECORD_FINDING:
            err = write_finding(s, r);
            break;
        case RECORD_PARTIAL:
            err = write_partial(s, r);
            break;
        case RECORD_PART:
            err = write_part(s, r);
            break;
        case RECORD_OVER:
            err = write_over(s, r);
            break;
        case RECORD_EPOCH:
        case RECORD_DURABLE:
            err = write_epoch(s, r);
            break;
        }
    }
    qsort(batch->keys, batch->keys_count, sizeof(batch->keys[0]), compare_keys);
    for (size_t i = 0, of_dir = 0; err == 0 && i < batch->keys_count; i++) {
        err = write_keyed(s, batch->keys[i].record);
        if (err == 0 && (i + 1 == batch->keys_count || batch->keys[i + 1].dir != batch->keys[i].dir)) {
            err = state_summary_mend(s, batch->keys + of_dir, i + 1 - of_dir);
            of_dir = i + 1;
        }
    }
    return err;
}

/* What the writer took over under the lock. */
struct task {
    struct batch *batch;    /* records, the writer's until they are written */
    struct figures figures; /* to be written, where changed */
    bool figures_changed;
    bool failed; /* then all epochs that are left are marked as failed */
    bool end;    /* and then the end of the run */
    int status;  /* with this exit status */
};

/* One transaction. With records false only the run's own row and the mark of failed epochs are written. */
static int transact(struct state *s, const struct task *task, bool records)
{
    int err = state_db_begin(s->db);
    if (err != 0) {
        return err;
    }
    if (records) {
        err = write_records(s, task->batch);
    }
    if (err == 0 && task->figures_changed) {
        err = write_figures(s, &task->figures);
    }
    if (err == 0 && task->failed) {
        err = write_failed_epochs(s);
    }
    if (err == 0 && task->end) {
        err = write_end(s, task->status);
    }
    return state_db_end(s->db, err);
}

/*
 * Writes the WAL back, so that the next batch begins it anew. That only works while no reader looks at an older state
 * of the database; ours wait meanwhile, another process's are waited for with the next batch. db_lock is held.
 */
void state_write_back(struct state *s)
{
    state_readers_hold(s);
    const int rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (rc != SQLITE_OK && rc != SQLITE_BUSY) {
        state_note_error(s, state_db_errno(s->db, rc)); /* what is in the WAL stays there */
    }
    state_readers_go(s);
}

/*
 * After an error no more records are written: a lost batch may hold the row of an epoch, and without it the records
 * that follow would count as durable. The run's own row is still tried, so that the history knows how it ended, and the
 * mark of failed epochs, without which lost files would count.
 */
static void carry_out(struct state *s, const struct task *task)
{
    int err = 0;
    (void)pthread_mutex_lock(&s->db_lock);
    if (!s->broken) {
        err = transact(s, task, true);
        if (err != 0) {
            s->broken = true;
            state_note_error(s, err);
        }
    }
    if (s->broken && (task->end || task->failed)) {
        err = transact(s, task, false);
    }
    s->mark_owed = task->failed && err != 0; /* tried again with the next batch */
    if (s->wal_pages >= WAL_PAGES) {
        state_write_back(s);
    }
    (void)pthread_mutex_unlock(&s->db_lock);

    for (size_t at = 0; at < task->batch->used; at += record_at(task->batch, at)->size) {
        free(record_at(task->batch, at)->heap);
    }
}

/* Whether the writer should begin now and not wait for more. The lock is held. */
static bool urgent(const struct state *s)
{
    return s->stop || s->end_wanted || s->failed_wanted || s->waiting > 0 || s->hurried > s->written ||
           s->filling->count >= BATCH_READY;
}

/* Waits for something to do. False: there is nothing, and there will be nothing. The lock is held. */
static bool wait_for_work(struct state *s)
{
    while (!s->stop && !s->end_wanted && !s->failed_wanted && s->filling->count == 0 && !s->figures_changed) {
        (void)pthread_cond_wait(&s->work, &s->lock);
    }
    const int64_t end = clock_mono_ns() + (s->rollback ? BATCH_SLOW_NS : BATCH_NS);
    const struct timespec until = {.tv_sec = end / NS_PER_SEC, .tv_nsec = end % NS_PER_SEC};
    while (!urgent(s) && pthread_cond_timedwait(&s->work, &s->lock, &until) == 0) {
    }
    return s->end_wanted || s->failed_wanted || s->filling->count > 0 || s->figures_changed;
}

void *state_writer_main(void *arg)
{
    struct state *s = arg;
    (void)pthread_mutex_lock(&s->lock);
    while (wait_for_work(s)) {
        struct task task = {
            .batch = s->filling,
            .figures = s->figures,
            .figures_changed = s->figures_changed,
            .failed = s->failed_wanted || s->mark_owed,
            .end = s->end_wanted,
            .status = s->end_status,
        };
        s->filling = s->filling == &s->batches[0] ? &s->batches[1] : &s->batches[0];
        s->figures_changed = false;
        s->failed_wanted = false;
        s->end_wanted = false;
        if (task.end) {
            s->writing = false; /* producers that still wait go home: what comes after the end is not recorded */
        }
        (void)pthread_cond_broadcast(&s->room);
        (void)pthread_mutex_unlock(&s->lock);

        carry_out(s, &task);

        (void)pthread_mutex_lock(&s->lock);
        s->written += task.batch->count;
        (void)pthread_cond_broadcast(&s->settled);
        task.batch->used = 0;
        task.batch->count = 0;
        task.batch->keys_count = 0;
        if (task.end) {
            s->ended = true;
            (void)pthread_cond_broadcast(&s->ended_cond);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}
