#include "copier/state_mend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copier/state_internal.h"

#define WAIT_MS 10000 /* for another process that writes */

enum mend_statement { MEND_SPOILT, MEND_DOUBT, MEND_TRUST, MEND_FILE, MEND_DIR, MEND_DST, MEND_GONE, MEND_COUNT };

static const char *const statement_sql[MEND_COUNT] = {
    [MEND_SPOILT] = "DELETE FROM summaries WHERE dir=?1",
    [MEND_DOUBT] = "UPDATE files SET flags=flags|?3 WHERE dir=?1 AND name=?2 AND flags&?3=0",
    [MEND_TRUST] = "UPDATE files SET flags=flags&~?3 WHERE dir=?1 AND name=?2",
    /* Epoch 0 has no row: it is durable. */
    [MEND_FILE] = "INSERT OR REPLACE INTO files(dir, name, flags, epoch, mode, uid, gid, dev, ino, size, mtime, ctime,"
                  " dst_mode, dst_uid, dst_gid, dst_size, dst_mtime, dst_ino, dst_ctime, hash)"
                  " VALUES(?1,?2,?3,0,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19)",
    [MEND_DIR] = "INSERT OR IGNORE INTO dirs(id, path) VALUES(?1, ?2)",
    [MEND_DST] = "UPDATE files SET dst_mode=?3, dst_uid=?4, dst_gid=?5, dst_size=?6, dst_mtime=?7, dst_ino=?8,"
                 " dst_ctime=?9 WHERE dir=?1 AND name=?2",
    [MEND_GONE] = "DELETE FROM files WHERE dir=?1 AND name=?2",
};

struct state_mend {
    sqlite3 *db;                          /* owned */
    sqlite3_stmt *statements[MEND_COUNT]; /* owned */
    int err;                              /* the first -errno of the present transaction */
};

int state_mend_open(const char *path, struct state_mend **out_mend)
{
    struct state_mend *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return -ENOMEM;
    }
    const int rc = sqlite3_open_v2(path, &m->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    int err = rc == SQLITE_OK ? 0 : state_db_errno(m->db, rc);
    if (err == 0) {
        (void)sqlite3_extended_result_codes(m->db, 1);
        (void)sqlite3_busy_timeout(m->db, WAIT_MS);
        (void)sqlite3_db_config(m->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        err = state_db_is_ours(m->db);
    }
    if (err == 0) {
        bool some = false;
        err = state_intents_settle(m->db, &some); /* what is mended is not what was announced */
    }
    if (err == 0) {
        err = state_db_synced(m->db, true);
    }
    for (int i = 0; err == 0 && i < MEND_COUNT; i++) {
        err = state_db_prepare(m->db, statement_sql[i], &m->statements[i]);
    }
    if (err != 0) {
        state_mend_close(m);
        return err;
    }
    *out_mend = m;
    return 0;
}

void state_mend_close(struct state_mend *m)
{
    if (m != NULL) {
        for (int i = 0; i < MEND_COUNT; i++) {
            (void)sqlite3_finalize(m->statements[i]);
        }
        (void)sqlite3_close(m->db);
        free(m);
    }
}

int state_mend_begin(struct state_mend *m)
{
    m->err = state_db_begin(m->db);
    return m->err;
}

int state_mend_commit(struct state_mend *m)
{
    return state_db_end(m->db, m->err);
}

static int run(struct state_mend *m, enum mend_statement which)
{
    sqlite3_stmt *stmt = m->statements[which];
    const int rc = sqlite3_step(stmt);
    const int err = rc == SQLITE_DONE ? 0 : state_db_errno(m->db, rc);
    (void)sqlite3_reset(stmt);
    m->err = m->err != 0 ? m->err : err;
    return err;
}

/* The statement about an entry, whose directory's summary is none any more. */
static sqlite3_stmt *about(struct state_mend *m, enum mend_statement which, uint64_t dir_id, const char *name)
{
    sqlite3_stmt *stmt = m->statements[which];
    (void)sqlite3_bind_int64(m->statements[MEND_SPOILT], 1, (int64_t)dir_id);
    (void)run(m, MEND_SPOILT);
    (void)sqlite3_bind_int64(stmt, 1, (int64_t)dir_id);
    (void)sqlite3_bind_blob64(stmt, 2, name, strlen(name), SQLITE_TRANSIENT);
    return stmt;
}

int state_mend_doubt(struct state_mend *m, uint64_t dir_id, const char *name, bool *out_set)
{
    sqlite3_stmt *stmt = about(m, MEND_DOUBT, dir_id, name);
    (void)sqlite3_bind_int64(stmt, 3, FILE_RACY);
    const int err = run(m, MEND_DOUBT);
    *out_set = err == 0 && sqlite3_changes(m->db) > 0;
    return err;
}

int state_mend_trust(struct state_mend *m, uint64_t dir_id, const char *name)
{
    (void)sqlite3_bind_int64(about(m, MEND_TRUST, dir_id, name), 3, FILE_RACY);
    return run(m, MEND_TRUST);
}

static void bind_attr(sqlite3_stmt *stmt, int first, const struct attr *a)
{
    (void)sqlite3_bind_int64(stmt, first, a->mode);
    (void)sqlite3_bind_int64(stmt, first + 1, a->uid);
    (void)sqlite3_bind_int64(stmt, first + 2, a->gid);
}

/* dst_mode and what follows, up to dst_ctime. */
static void bind_dst(sqlite3_stmt *stmt, int first, const struct attr *dst)
{
    bind_attr(stmt, first, dst);
    (void)sqlite3_bind_int64(stmt, first + 3, (int64_t)dst->size);
    (void)sqlite3_bind_int64(stmt, first + 4, clock_ns_of(&dst->mtime));
    (void)sqlite3_bind_int64(stmt, first + 5, (int64_t)dst->ino);
    (void)sqlite3_bind_int64(stmt, first + 6, clock_ns_of(&dst->ctime));
}

int state_mend_published(struct state_mend *m, const struct state_file *file, const char *dir_path)
{
    (void)sqlite3_bind_int64(m->statements[MEND_DIR], 1, (int64_t)file->dir_id);
    (void)sqlite3_bind_blob64(m->statements[MEND_DIR], 2, dir_path, strlen(dir_path), SQLITE_TRANSIENT);
    (void)run(m, MEND_DIR);
    sqlite3_stmt *stmt = about(m, MEND_FILE, file->dir_id, file->name);
    (void)sqlite3_bind_int64(stmt, 3, (int64_t)((file->racy ? FILE_RACY : 0) | file->xattrs << FILE_XATTRS));
    bind_attr(stmt, 4, &file->src);
    (void)sqlite3_bind_int64(stmt, 7, (int64_t)file->src.dev);
    (void)sqlite3_bind_int64(stmt, 8, (int64_t)file->src.ino);
    (void)sqlite3_bind_int64(stmt, 9, (int64_t)file->src.size);
    (void)sqlite3_bind_int64(stmt, 10, clock_ns_of(&file->src.mtime));
    (void)sqlite3_bind_int64(stmt, 11, clock_ns_of(&file->src.ctime));
    bind_dst(stmt, 12, &file->dst);
    if (file->hash_known) {
        (void)sqlite3_bind_blob(stmt, 19, file->hash, sizeof file->hash, SQLITE_TRANSIENT);
    } else {
        (void)sqlite3_bind_null(stmt, 19);
    }
    return run(m, MEND_FILE);
}

int state_mend_attrs(struct state_mend *m, uint64_t dir_id, const char *name, const struct attr *dst, bool set)
{
    bind_dst(about(m, MEND_DST, dir_id, name), 3, dst);
    const int err = run(m, MEND_DST);
    return err == 0 && set ? state_mend_trust(m, dir_id, name) : err;
}

int state_mend_gone(struct state_mend *m, uint64_t dir_id, const char *name)
{
    (void)about(m, MEND_GONE, dir_id, name);
    return run(m, MEND_GONE);
}
