/*
 * state_db: the database file: opening, checking, moving a damaged one aside.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "copier/state_internal.h"

/* Columns that say the same as at the source (dst_*) are NULL. A hash that is not known is NULL. */
static const char schema[] =
    "CREATE TABLE meta(version INTEGER NOT NULL, source BLOB NOT NULL, destination BLOB NOT NULL);"
    "CREATE TABLE runs(number INTEGER PRIMARY KEY, id TEXT NOT NULL, started INTEGER NOT NULL,"
    " ended INTEGER NOT NULL DEFAULT 0, status INTEGER NOT NULL DEFAULT -1,"
    " files_total INTEGER NOT NULL DEFAULT 0, bytes_total INTEGER NOT NULL DEFAULT 0,"
    " files_done INTEGER NOT NULL DEFAULT 0, bytes_done INTEGER NOT NULL DEFAULT 0,"
    " failed INTEGER NOT NULL DEFAULT 0, complete INTEGER NOT NULL DEFAULT 0);"
    /* Only epochs that are not durable have a row: from before their first record until they are. */
    "CREATE TABLE epochs(id INTEGER PRIMARY KEY, run INTEGER NOT NULL, boot TEXT NOT NULL);"
    "CREATE TABLE dirs(id INTEGER PRIMARY KEY, path BLOB NOT NULL);"
    "CREATE TABLE files(dir INTEGER NOT NULL, name BLOB NOT NULL, flags INTEGER NOT NULL, epoch INTEGER NOT NULL,"
    " mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, dev INTEGER NOT NULL, ino INTEGER NOT NULL,"
    " size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,"
    " dst_mode INTEGER, dst_uid INTEGER, dst_gid INTEGER, dst_size INTEGER, dst_mtime INTEGER,"
    " dst_ino INTEGER NOT NULL, dst_ctime INTEGER NOT NULL, hash BLOB,"
    " PRIMARY KEY(dir, name)) WITHOUT ROWID;"
    "CREATE TABLE failures(run INTEGER NOT NULL, number INTEGER NOT NULL, path BLOB NOT NULL, op TEXT NOT NULL,"
    " err INTEGER NOT NULL, attempts INTEGER NOT NULL, PRIMARY KEY(run, number)) WITHOUT ROWID;";

/* What version 2 added. */
static const char schema_2[] =
    "CREATE TABLE partials(id INTEGER PRIMARY KEY, dir INTEGER NOT NULL, name BLOB NOT NULL, dev INTEGER NOT NULL,"
    " ino INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, temp TEXT NOT NULL,"
    " temp_dev INTEGER NOT NULL, temp_ino INTEGER NOT NULL, temp_uid INTEGER NOT NULL, touched INTEGER NOT NULL);"
    "CREATE TABLE parts(partial INTEGER NOT NULL, part INTEGER NOT NULL, epoch INTEGER NOT NULL, hash BLOB,"
    " PRIMARY KEY(partial, part)) WITHOUT ROWID;";

/* What came later than version 1 without a version of its own: tables that a database may lack. Of the runs up to each
 * one in swept no temp name is left anywhere. */
static const char additions[] =
    "CREATE TABLE IF NOT EXISTS swept(run INTEGER NOT NULL);"
    /* Runs that have made, or were about to make, temp names before they were begun (state_announce). */
    "CREATE TABLE IF NOT EXISTS announced(id TEXT PRIMARY KEY) WITHOUT ROWID;"
    /* At most one row: the destination that the entries are about (struct state_place). */
    "CREATE TABLE IF NOT EXISTS place(id TEXT NOT NULL, stamp TEXT NOT NULL, next TEXT NOT NULL);"
    /* At most one row: the file at the destination that this was last read from. */
    "CREATE TABLE IF NOT EXISTS place_seen(ino INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,"
    " run TEXT NOT NULL);"
    /* At most one row: what was found out about the server that it is at, by whom and which, and when (wall clock). */
    "CREATE TABLE IF NOT EXISTS server(about TEXT NOT NULL, found TEXT NOT NULL, at INTEGER NOT NULL);"
    /* Directories in which runs have left something undone, the ones that have waited longest first. */
    "CREATE TABLE IF NOT EXISTS left_dirs(number INTEGER PRIMARY KEY, path BLOB NOT NULL, since INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS summaries(dir INTEGER NOT NULL, part INTEGER NOT NULL, parts INTEGER NOT NULL,"
    " xattrs INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY(dir, part));"
    /* What was announced (state_intend) and not recorded since; it counts as if it stood in files with FILE_INTENDED.
     */
    "CREATE TABLE IF NOT EXISTS intents(dir INTEGER NOT NULL, name BLOB NOT NULL, epoch INTEGER NOT NULL,"
    " PRIMARY KEY(dir, name)) WITHOUT ROWID;"
    /* One row: what the summaries are seeded with, and how many epochs were suspect when they were made. */
    "CREATE TABLE IF NOT EXISTS summary_terms(seed INTEGER NOT NULL, suspect INTEGER NOT NULL);"
    /* Scans and the like (ledger.h); they are not among the runs. */
    "CREATE TABLE IF NOT EXISTS looks(number INTEGER PRIMARY KEY, command TEXT NOT NULL, id TEXT NOT NULL,"
    " started INTEGER NOT NULL, ended INTEGER NOT NULL DEFAULT 0, status INTEGER NOT NULL DEFAULT -1,"
    " dirs INTEGER NOT NULL DEFAULT 0, entries INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,"
    " findings INTEGER NOT NULL DEFAULT 0, open INTEGER NOT NULL DEFAULT 0);"
    /* Of a look, or (look 0) of the janitor of a run. */
    "CREATE TABLE IF NOT EXISTS findings(look INTEGER NOT NULL, run INTEGER NOT NULL, number INTEGER NOT NULL,"
    " path BLOB NOT NULL, kind TEXT NOT NULL, certainty TEXT NOT NULL, evidence TEXT NOT NULL, action TEXT NOT NULL,"
    " err INTEGER NOT NULL, PRIMARY KEY(look, run, number)) WITHOUT ROWID;"
    /* What haul verify remembers (state_verify.h): name "" is a directory as a whole. */
    "CREATE TABLE IF NOT EXISTS verifications(number INTEGER PRIMARY KEY, begun INTEGER NOT NULL,"
    " ended INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS verified(dir INTEGER NOT NULL, name BLOB NOT NULL, verification INTEGER NOT NULL,"
    " digest BLOB NOT NULL, PRIMARY KEY(dir, name)) WITHOUT ROWID;";

/* The errno behind a failed read or write: SQLite keeps it with each file, the database's and the journal's. */
static int file_errno(sqlite3 *db)
{
    int err = sqlite3_system_errno(db);
    sqlite3_file *journal = NULL;
    if (err == 0) {
        (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &err);
    }
    if (err == 0 && sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &journal) == SQLITE_OK &&
        journal != NULL && journal->pMethods != NULL) {
        (void)journal->pMethods->xFileControl(journal, SQLITE_FCNTL_LAST_ERRNO, &err);
    }
    return err;
}

int state_db_errno(sqlite3 *db, int rc)
{
    const int system = db != NULL ? file_errno(db) : 0;
    switch (rc & 0xFF) {
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EBADMSG;
    case SQLITE_FULL:
        return system == EDQUOT ? -EDQUOT : -ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return -EACCES;
    case SQLITE_CANTOPEN:
        return system != 0 ? -system : -EACCES;
    case SQLITE_IOERR:
        return system != 0 ? -system : -EIO;
    case SQLITE_TOOBIG:
        return -EFBIG;
    default:
        return -EIO;
    }
}

int state_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out_stmt)
{
    sqlite3_stmt *stmt = NULL;
    const int rc = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
    if (rc == SQLITE_ERROR) {
        return -EBADMSG; /* our own statements are right: the tables are not the ones that they should be */
    }
    if (rc != SQLITE_OK) {
        return state_db_errno(db, rc);
    }
    *out_stmt = stmt;
    return 0;
}

int state_db_run(sqlite3 *db, const char *sql)
{
    const int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (rc == SQLITE_ERROR) {
        return -EBADMSG;
    }
    return rc == SQLITE_OK ? 0 : state_db_errno(db, rc);
}

static int end_reading(sqlite3 *db)
{
    return sqlite3_get_autocommit(db) ? 0 : state_db_run(db, "COMMIT");
}

int state_db_begin(sqlite3 *db)
{
    const int err = end_reading(db);
    return err != 0 ? err : state_db_run(db, "BEGIN IMMEDIATE");
}

int state_db_synced(sqlite3 *db, bool synced)
{
    const int err = end_reading(db); /* within a transaction SQLite refuses */
    return err != 0 ? err : state_db_run(db, synced ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
}

int state_db_end(sqlite3 *db, int err)
{
    if (err == 0) {
        err = state_db_run(db, "COMMIT");
    }
    if (err != 0 && !sqlite3_get_autocommit(db)) {
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    }
    return err;
}

int state_db_query(sqlite3 *db, const char *sql, int64_t *out_values, unsigned count)
{
    sqlite3_stmt *stmt = NULL;
    int err = state_db_prepare(db, sql, &stmt);
    if (err != 0) {
        return err;
    }
    const int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        for (unsigned i = 0; i < count; i++) {
            out_values[i] = sqlite3_column_int64(stmt, (int)i);
        }
    } else {
        err = rc == SQLITE_DONE ? -ENOENT : state_db_errno(db, rc);
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

bool state_db_on_network(const char *path)
{
    static const uint32_t magics[] = {
        0x6969,     /* NFS */
        0x517B,     /* SMB */
        0xFF534D42, /* CIFS */
        0xFE534D42, /* SMB2 */
        0x65735546, /* FUSE */
        0x01021997, /* 9P */
        0x00C36400, /* Ceph */
        0x5346414F, /* AFS */
        0x6B414653, /* kAFS */
        0x73757245, /* Coda */
        0x0BD00BD0, /* Lustre */
        0x47504653, /* GPFS */
        0x19830326, /* BeeGFS */
        0x20030528, /* OrangeFS */
        0xAAD7AAEA, /* PanFS */
        0x7461636F, /* OCFS2 */
        0x01161970, /* GFS2 */
        0x786F4256, /* VirtualBox shared folders */
        0xBACBACBC, /* VMware shared folders */
    };
    struct statfs fs;
    if (statfs(path, &fs) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
        if ((uint32_t)fs.f_type == magics[i]) {
            return true;
        }
    }
    return false;
}

/* Renames from to a name that is free. 0, -EEXIST, -errno. */
static int rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -errno;
    }
    /* Not every file system can do it in one step; the names hold the time, so a clash is next to impossible. */
    struct stat st;
    if (lstat(to, &st) == 0) {
        return -EEXIST;
    }
    return rename(from, to) == 0 ? 0 : -errno;
}

/* Moves what SQLite keeps beside path, so that the set aside is whole and a new database does not meet it. */
static void move_companions(const char *path, const char *aside)
{
    static const char *const suffixes[] = {"-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char *from = NULL;
        char *to = NULL;
        if (asprintf(&from, "%s%s", path, suffixes[i]) < 0) {
            return;
        }
        if (asprintf(&to, "%s%s", aside, suffixes[i]) < 0) {
            free(from);
            return;
        }
        (void)rename_new(from, to); /* mostly there is none; SQLite discards one that does not fit a new database */
        free(from);
        free(to);
    }
}

int state_db_aside(const char *path, char **out_aside)
{
    char stamp[32];
    const time_t now = clock_real_ns() / NS_PER_SEC;
    struct tm utc;
    if (gmtime_r(&now, &utc) == NULL || strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &utc) == 0) {
        (void)snprintf(stamp, sizeof(stamp), "%lld", (long long)now);
    }
    for (unsigned i = 0; i < 1000; i++) {
        char *aside = NULL;
        const int len = i == 0 ? asprintf(&aside, "%s.corrupt-%s", path, stamp)
                               : asprintf(&aside, "%s.corrupt-%s-%u", path, stamp, i);
        if (len < 0) {
            return -ENOMEM;
        }
        const int err = rename_new(path, aside);
        if (err == 0) {
            move_companions(path, aside);
            *out_aside = aside;
            return 0;
        }
        free(aside);
        if (err != -EEXIST) {
            return err;
        }
    }
    return -EEXIST;
}

/* Creates the file where there is none, readable by its owner alone whatever the umask. SQLite gives the same mode to
 * what it puts beside it. */
static int ensure_file(const char *path, bool *out_created)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        const int err = fchmod(fd, 0600) == 0 ? 0 : -errno;
        (void)close(fd);
        if (err == 0) {
            *out_created = true;
        } else {
            (void)unlink(path);
        }
        return err;
    }
    if (errno != EEXIST) {
        return -errno;
    }
    struct stat st;
    if (stat(path, &st) != 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    }
    *out_created = false;
    return 0;
}

/* A connection with what every connection of ours needs. The WAL is not written back when the last one closes: that
 * costs fsyncs, and it is bounded anyway. */
static int connect_db(const char *path, int flags, int cache_kib, sqlite3 **out_db)
{
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        const int err = state_db_errno(db, rc);
        (void)sqlite3_close(db);
        return err;
    }
    (void)sqlite3_extended_result_codes(db, 1);
    (void)sqlite3_busy_timeout(db, BUSY_MS);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    char sql[64];
    (void)snprintf(sql, sizeof(sql), "PRAGMA cache_size=-%d", cache_kib);
    const int err = state_db_run(db, sql);
    if (err != 0) {
        (void)sqlite3_close(db);
        return err;
    }
    *out_db = db;
    return 0;
}

int state_db_reader(const struct state *s, sqlite3 **out_db)
{
    return connect_db(s->path, SQLITE_OPEN_READONLY, 1024, out_db);
}

/* Whether the database has no table yet: new, or its making was cut off. */
static int check_empty(sqlite3 *db, bool *out_empty)
{
    int64_t tables = 0;
    const int err = state_db_query(db, "SELECT count(*) FROM sqlite_master", &tables, 1);
    if (err == 0) {
        *out_empty = tables == 0;
    }
    return err;
}

int state_db_add_tables(sqlite3 *db)
{
    return state_db_run(db, additions);
}

int state_db_is_ours(sqlite3 *db)
{
    int64_t id = 0;
    int err = state_db_query(db, "PRAGMA application_id", &id, 1);
    if (err != 0) {
        return err;
    }
    if (id != STATE_APPLICATION_ID) {
        return -EXDEV;
    }
    int64_t version = 0;
    err = state_db_query(db, "SELECT version FROM meta", &version, 1);
    if (err != 0) {
        return err == -ENOENT ? -EBADMSG : err;
    }
    if (version > STATE_VERSION) {
        return -EPROTO;
    }
    return version < 1 ? -EBADMSG : 0;
}

/* The same, and of this pair. -EXDEV too. */
static int check_identity(sqlite3 *db, const struct state_pair *pair)
{
    int err = state_db_is_ours(db);
    if (err != 0) {
        return err;
    }
    sqlite3_stmt *stmt = NULL;
    err = state_db_prepare(db, "SELECT 1 FROM meta WHERE source=?1 AND destination=?2", &stmt);
    if (err != 0) {
        return err;
    }
    (void)sqlite3_bind_blob64(stmt, 1, pair->source, strlen(pair->source), SQLITE_STATIC);
    (void)sqlite3_bind_blob64(stmt, 2, pair->destination, strlen(pair->destination), SQLITE_STATIC);
    const int rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW) {
        err = rc == SQLITE_DONE ? -EXDEV : state_db_errno(db, rc);
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

/* Tables and identity in one transaction; another process may have been faster. */
static int create_schema(sqlite3 *db, const struct state_pair *pair)
{
    char sql[64];
    (void)snprintf(sql, sizeof(sql), "PRAGMA application_id=%d", STATE_APPLICATION_ID);
    sqlite3_stmt *stmt = NULL;
    bool empty = false;
    int err = state_db_begin(db);
    if (err != 0) {
        return err;
    }
    err = check_empty(db, &empty);
    if (err != 0 || !empty) {
        goto out;
    }
    err = state_db_run(db, sql);
    if (err == 0) {
        err = state_db_run(db, schema);
    }
    if (err == 0) {
        err = state_db_run(db, schema_2);
    }
    if (err == 0) {
        err = state_db_prepare(db, "INSERT INTO meta VALUES(?1, ?2, ?3)", &stmt);
    }
    if (err != 0) {
        goto out;
    }
    (void)sqlite3_bind_int64(stmt, 1, STATE_VERSION);
    (void)sqlite3_bind_blob64(stmt, 2, pair->source, strlen(pair->source), SQLITE_STATIC);
    (void)sqlite3_bind_blob64(stmt, 3, pair->destination, strlen(pair->destination), SQLITE_STATIC);
    const int rc = sqlite3_step(stmt);
    err = rc == SQLITE_DONE ? 0 : state_db_errno(db, rc);
    (void)sqlite3_finalize(stmt);

out:
    return state_db_end(db, err);
}

/* Brings the database of an older haul up to date, in one transaction; another process may have been faster. */
static int migrate(sqlite3 *db)
{
    char sql[64];
    int64_t version = 0;
    int err = state_db_query(db, "SELECT version FROM meta", &version, 1);
    if (err != 0 || version == STATE_VERSION) {
        return err;
    }
    (void)snprintf(sql, sizeof(sql), "UPDATE meta SET version=%d", STATE_VERSION);
    err = state_db_begin(db);
    if (err != 0) {
        return err;
    }
    err = state_db_query(db, "SELECT version FROM meta", &version, 1);
    if (err == 0 && version < STATE_VERSION) {
        err = state_db_run(db, schema_2);
        err = err == 0 ? state_db_run(db, sql) : err;
    }
    return state_db_end(db, err);
}

/* The journal. Where the WAL cannot be had the rollback journal does. */
static int choose_journal(struct state *s, const struct state_params *params)
{
    s->rollback = params->rollback || state_db_on_network(s->path);
    if (!s->rollback) {
        sqlite3_stmt *stmt = NULL;
        const int err = state_db_prepare(s->db, "PRAGMA journal_mode=WAL", &stmt);
        if (err != 0) {
            return err;
        }
        const int rc = sqlite3_step(stmt);
        const char *mode = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
        s->rollback = mode == NULL || strcmp(mode, "wal") != 0;
        const int step_err = rc == SQLITE_ROW ? 0 : state_db_errno(s->db, rc);
        (void)sqlite3_finalize(stmt);
        if (step_err == -EBADMSG || step_err == -ENOMEM || step_err == -ENOSPC || step_err == -EBUSY) {
            return step_err;
        }
    }
    if (!s->rollback) {
        return 0;
    }
    notice_raise(s->notices, "the state database is on a file system where SQLite's write-ahead log does not hold: its "
                             "rollback journal is used, which is slower");
    return state_db_run(s->db, "PRAGMA journal_mode=TRUNCATE");
}

/* A cheap look at what is there: both ends of the largest table and the newest run. */
static int check_contents(struct state *s)
{
    int64_t value = 0;
    int err = state_db_query(s->db, "SELECT dir FROM files ORDER BY dir, name LIMIT 1", &value, 1);
    s->had_files = err == 0;
    if (err == 0) {
        err = state_db_query(s->db, "SELECT dir FROM files ORDER BY dir DESC, name DESC LIMIT 1", &value, 1);
    }
    if (err == 0 || err == -ENOENT) {
        err = state_db_query(s->db, "SELECT number FROM runs ORDER BY number DESC LIMIT 1", &value, 1);
    }
    return err == -ENOENT ? 0 : err;
}

static int open_checked(struct state *s, const struct state_params *params)
{
    bool empty = false;
    int err = connect_db(s->path, SQLITE_OPEN_READWRITE, 8192, &s->db);
    if (err == 0) {
        err = check_empty(s->db, &empty);
    }
    /* From the first byte on: a new file that a power cut damages would forget the run that made it. */
    if (err == 0) {
        err = state_db_synced(s->db, false);
    }
    if (err == 0 && !empty) {
        err = check_identity(s->db, params->pair);
    }
    if (err == 0) {
        err = choose_journal(s, params);
    }
    if (err == 0 && empty) {
        err = create_schema(s->db, params->pair);
        if (err == 0) {
            err = check_identity(s->db, params->pair);
        }
    }
    if (err == 0) {
        err = migrate(s->db);
    }
    if (err == 0) {
        err = state_db_add_tables(s->db);
    }
    if (err == 0) {
        err = check_contents(s);
    }
    if (err != 0) {
        (void)sqlite3_close(s->db);
        s->db = NULL;
    }
    return err;
}

/* Takes back a file that was only just made. */
static void unlink_new(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char *name = NULL;
        if (asprintf(&name, "%s%s", path, suffixes[i]) < 0) {
            return;
        }
        (void)unlink(name);
        free(name);
    }
}

int state_db_open(struct state *s, const struct state_params *params, char **out_aside)
{
    bool created = false;
    int err = ensure_file(s->path, &created);
    if (err != 0) {
        return err;
    }
    /* SQLite puts its other files beside the file itself, not beside a symbolic link to it. */
    char *real = realpath(s->path, NULL);
    if (real != NULL) {
        free(s->path);
        s->path = real;
    }
    err = open_checked(s, params);
    if (err != 0 && created) {
        unlink_new(s->path);
    } else if (err == -EBADMSG) {
        char *aside = NULL;
        if (state_db_aside(s->path, &aside) == 0) {
            *out_aside = aside;
        }
    }
    return err;
}
