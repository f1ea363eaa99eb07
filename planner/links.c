#include "planner/links.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Everything happens in one transaction that is never committed: the database ends with the process anyway. */
static const char schema[] =
    "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-4096;"
    "BEGIN;"
    "CREATE TABLE groups(id INTEGER PRIMARY KEY, dev INTEGER, ino INTEGER, state INTEGER, waiting INTEGER,"
    " dir BLOB, name BLOB, anew INTEGER NOT NULL DEFAULT 0, redone INTEGER NOT NULL DEFAULT 0, UNIQUE(dev, ino));"
    "CREATE INDEX ready ON groups(state) WHERE waiting > 0;"
    /* done: it was handed out to be linked; kept for the case that the group is to be done anew */
    "CREATE TABLE followers(grp INTEGER, id INTEGER, fresh INTEGER, dir BLOB, name BLOB, done INTEGER DEFAULT 0,"
    " PRIMARY KEY(grp, id)) WITHOUT ROWID;"
    "CREATE TABLE round(id INTEGER PRIMARY KEY, task INTEGER, grp INTEGER, follower INTEGER, dev INTEGER, ino INTEGER,"
    " fresh INTEGER, dir BLOB, name BLOB, ldir BLOB, lname BLOB, anew INTEGER);"
    "CREATE TABLE claims(dev INTEGER, ino INTEGER, sdev INTEGER, sino INTEGER, PRIMARY KEY(dev, ino)) WITHOUT ROWID;"
    "CREATE TABLE late(dir BLOB PRIMARY KEY) WITHOUT ROWID;";

/* One round: the numbers are those of enum link_state and enum link_task. */
static const char round_sql[] =
    "DELETE FROM round;"
    "UPDATE groups SET state = 2 WHERE waiting > 0 AND state = 0;"
    "INSERT INTO round(task, grp, follower, dev, ino, fresh, dir, name, ldir, lname, anew)"
    " SELECT * FROM ("
    "  SELECT 0, g.id, f.id, g.dev, g.ino, f.fresh, f.dir AS d, f.name AS n, g.dir, g.name, g.anew"
    "   FROM groups g CROSS JOIN followers f WHERE g.waiting > 0 AND g.state = 1 AND f.grp = g.id"
    "    AND f.done = 0"
    "  UNION ALL SELECT 1, g.id, f.id, g.dev, g.ino, f.fresh, f.dir, f.name, NULL, NULL, 0"
    "   FROM groups g CROSS JOIN followers f WHERE g.waiting > 0 AND g.state = 2 AND f.grp = g.id"
    "    AND f.id = (SELECT MIN(x.id) FROM followers x WHERE x.grp = g.id AND x.done = 0)"
    "  UNION ALL SELECT 2, g.id, f.id, g.dev, g.ino, f.fresh, f.dir, f.name, NULL, NULL, 0"
    "   FROM groups g CROSS JOIN followers f WHERE g.waiting > 0 AND g.state = 3 AND f.grp = g.id"
    "    AND f.done = 0"
    " ) ORDER BY d, n;"
    "UPDATE followers SET done = 1"
    " WHERE done = 0 AND grp IN (SELECT id FROM groups WHERE waiting > 0 AND state = 1);"
    "DELETE FROM followers WHERE grp IN (SELECT id FROM groups WHERE waiting > 0 AND state = 3);"
    "UPDATE groups SET waiting = 0 WHERE waiting > 0 AND state = 1;"
    "UPDATE groups SET waiting = 0 WHERE waiting > 0 AND state = 3;"
    "DELETE FROM followers WHERE (grp, id) IN (SELECT grp, follower FROM round WHERE task = 1);"
    "UPDATE groups SET waiting = waiting - 1, state = 0, dir = r.dir, name = r.name"
    " FROM round r WHERE r.task = 1 AND groups.id = r.grp;";

enum statement {
    ST_LEAD,
    ST_FOLLOW,
    ST_WAIT,
    ST_SETTLE,
    ST_STATE,
    ST_ANEW,
    ST_ROWS,
    ST_NEXT,
    ST_CLAIM,
    ST_CLAIMED,
    ST_GROUP,
    ST_REDO,
    ST_REDO_LEADER,
    ST_REDO_GROUP,
    ST_LATE,
    ST_LATE_NEXT,
    ST_LATE_TAKE,
    STATEMENTS
};

static const char *const statement_sql[STATEMENTS] = {
    [ST_LEAD] = "INSERT OR IGNORE INTO groups(dev, ino, state, waiting, dir, name) VALUES(?1, ?2, 0, 0, ?3, ?4)",
    [ST_FOLLOW] = ("INSERT INTO followers(grp, id, fresh, dir, name)"
                   " SELECT id, ?5, ?6, ?3, ?4 FROM groups WHERE dev = ?1 AND ino = ?2"),
    [ST_WAIT] = "UPDATE groups SET waiting = waiting + 1 WHERE dev = ?1 AND ino = ?2",
    [ST_SETTLE] = "UPDATE groups SET state = ?3 WHERE dev = ?1 AND ino = ?2",
    [ST_STATE] = "SELECT state FROM groups WHERE dev = ?1 AND ino = ?2",
    [ST_ANEW] = "UPDATE groups SET anew = 1 WHERE dev = ?1 AND ino = ?2",
    [ST_ROWS] = "SELECT COUNT(*) FROM round",
    [ST_NEXT] = "SELECT task, dev, ino, fresh, dir, name, ldir, lname, anew FROM round WHERE id = ?1",
    [ST_CLAIM] = "INSERT OR IGNORE INTO claims(dev, ino, sdev, sino) VALUES(?1, ?2, ?3, ?4)",
    [ST_CLAIMED] = "SELECT sdev = ?3 AND sino = ?4 FROM claims WHERE dev = ?1 AND ino = ?2",
    [ST_GROUP] = "SELECT id, state, waiting, redone FROM groups WHERE dev = ?1 AND ino = ?2",
    [ST_REDO] = "UPDATE followers SET done = 0, fresh = 0 WHERE grp = ?1 AND done = 1",
    [ST_REDO_LEADER] = ("INSERT INTO followers(grp, id, fresh, dir, name)"
                        " SELECT id, ?2, 0, dir, name FROM groups WHERE id = ?1"),
    [ST_REDO_GROUP] = "UPDATE groups SET state = 2, waiting = waiting + ?2, redone = redone + 1 WHERE id = ?1",
    [ST_LATE] = "INSERT OR IGNORE INTO late(dir) VALUES(?1)",
    [ST_LATE_NEXT] = "SELECT dir FROM late LIMIT 1",
    [ST_LATE_TAKE] = "DELETE FROM late WHERE dir = ?1",
};

struct links {
    pthread_mutex_t lock;                /* for all that follows */
    sqlite3 *db;                         /* NULL until the first use; owned */
    sqlite3_stmt *statement[STATEMENTS]; /* owned */
    int64_t next_follower;               /* id of the next further name */
    int64_t next_row;                    /* of the round */
    int error;                           /* -errno that broke the table, or 0 */
    atomic_ulong waiting;                /* further names in the table; written under the lock, read without */
    atomic_bool broken;                  /* error != 0; likewise */
};

static int errno_of(int sqlite_error)
{
    switch (sqlite_error & 0xff) {
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_FULL:
        return -ENOSPC;
    default:
        return -EIO;
    }
}

static int broken(struct links *l, int sqlite_error)
{
    if (l->error == 0) {
        l->error = errno_of(sqlite_error);
        atomic_store(&l->broken, true);
    }
    return l->error;
}

int links_create(struct links **out_links)
{
    struct links *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_init(&l->lock, NULL);
    *out_links = l;
    return 0;
}

void links_destroy(struct links *l)
{
    if (l == NULL) {
        return;
    }
    for (unsigned i = 0; i < STATEMENTS; i++) {
        sqlite3_finalize(l->statement[i]);
    }
    sqlite3_close(l->db);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* Under the lock, before each use. */
static int ready(struct links *l)
{
    if (l->error != 0 || l->db != NULL) {
        return l->error;
    }
    int rc = sqlite3_open_v2("", &l->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(l->db, schema, NULL, NULL, NULL);
    }
    for (unsigned i = 0; rc == SQLITE_OK && i < STATEMENTS; i++) {
        rc = sqlite3_prepare_v2(l->db, statement_sql[i], -1, &l->statement[i], NULL);
    }
    return rc == SQLITE_OK ? 0 : broken(l, rc);
}

static void bind_group(sqlite3_stmt *st, dev_t dev, uint64_t ino)
{
    sqlite3_bind_int64(st, 1, (sqlite3_int64)dev);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)ino);
}

static void bind_text(sqlite3_stmt *st, int at, const char *text)
{
    sqlite3_bind_blob(st, at, text, (int)strlen(text), SQLITE_STATIC);
}

/* Runs a statement without rows. */
static int run(struct links *l, enum statement which)
{
    sqlite3_stmt *st = l->statement[which];
    int rc = sqlite3_step(st);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return rc == SQLITE_DONE ? 0 : broken(l, rc);
}

static int add_follower(struct links *l, dev_t dev, uint64_t ino, const char *dir, const char *name, bool fresh)
{
    sqlite3_stmt *st = l->statement[ST_FOLLOW];
    bind_group(st, dev, ino);
    bind_text(st, 3, dir);
    bind_text(st, 4, name);
    sqlite3_bind_int64(st, 5, l->next_follower++);
    sqlite3_bind_int(st, 6, fresh ? 1 : 0);
    int err = run(l, ST_FOLLOW);
    if (err == 0) {
        bind_group(l->statement[ST_WAIT], dev, ino);
        err = run(l, ST_WAIT);
    }
    if (err == 0) {
        atomic_fetch_add(&l->waiting, 1);
    }
    return err;
}

static int meet(struct links *l, dev_t dev, uint64_t ino, const char *dir, const char *name, bool fresh,
                bool *out_leader)
{
    int err = ready(l);
    if (err != 0) {
        return err;
    }
    bind_group(l->statement[ST_LEAD], dev, ino);
    bind_text(l->statement[ST_LEAD], 3, dir);
    bind_text(l->statement[ST_LEAD], 4, name);
    err = run(l, ST_LEAD);
    if (err != 0) {
        return err;
    }
    bool leader = sqlite3_changes(l->db) == 1;
    if (!leader) {
        err = add_follower(l, dev, ino, dir, name, fresh);
    }
    if (err == 0) {
        *out_leader = leader;
    }
    return err;
}

int links_meet(struct links *l, dev_t dev, uint64_t ino, const struct dir *dir, const char *name, bool fresh,
               bool *out_leader)
{
    char *path = dir_path(dir, NULL);
    if (path == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&l->lock);
    int err = meet(l, dev, ino, path, name, fresh, out_leader);
    pthread_mutex_unlock(&l->lock);
    free(path);
    return err;
}

static int state_of(struct links *l, dev_t dev, uint64_t ino, enum link_state *out_state)
{
    sqlite3_stmt *st = l->statement[ST_STATE];
    bind_group(st, dev, ino);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *out_state = (enum link_state)sqlite3_column_int(st, 0);
    }
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : broken(l, rc);
}

int links_state(struct links *l, dev_t dev, uint64_t ino, enum link_state *out_state)
{
    pthread_mutex_lock(&l->lock);
    int err = ready(l);
    if (err == 0) {
        err = state_of(l, dev, ino, out_state);
    }
    pthread_mutex_unlock(&l->lock);
    return err;
}

int links_anew(struct links *l, dev_t dev, uint64_t ino)
{
    pthread_mutex_lock(&l->lock);
    int err = ready(l);
    if (err == 0) {
        bind_group(l->statement[ST_ANEW], dev, ino);
        err = run(l, ST_ANEW);
    }
    pthread_mutex_unlock(&l->lock);
    return err;
}

static int settle(struct links *l, dev_t dev, uint64_t ino, enum link_state state)
{
    int err = ready(l);
    if (err == 0) {
        bind_group(l->statement[ST_SETTLE], dev, ino);
        sqlite3_bind_int(l->statement[ST_SETTLE], 3, (int)state);
        err = run(l, ST_SETTLE);
    }
    return err;
}

int links_settle(struct links *l, dev_t dev, uint64_t ino, enum link_state state)
{
    pthread_mutex_lock(&l->lock);
    int err = settle(l, dev, ino, state);
    pthread_mutex_unlock(&l->lock);
    return err;
}

int links_again(struct links *l, dev_t dev, uint64_t ino, const struct dir *dir, const char *name,
                enum link_state state, bool *out_changed)
{
    enum link_state before = LINK_PENDING;
    char *path = dir_path(dir, NULL);
    if (path == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&l->lock);
    int err = ready(l);
    if (err == 0) {
        err = state_of(l, dev, ino, &before);
    }
    if (err == 0) {
        err = settle(l, dev, ino, state);
    }
    if (err == 0) {
        err = add_follower(l, dev, ino, path, name, false);
    }
    pthread_mutex_unlock(&l->lock);
    free(path);
    if (err == 0) {
        *out_changed = before != state;
    }
    return err;
}

/* The group's id, where it is to be done anew; 0 where that is about to happen anyway. 0, -EIO, -errno. */
static int find_group(struct links *l, dev_t dev, uint64_t ino, int64_t *out_group)
{
    sqlite3_stmt *st = l->statement[ST_GROUP];
    bind_group(st, dev, ino);
    int rc = sqlite3_step(st);
    int err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -EIO : broken(l, rc);
    if (err == 0) {
        bool due = sqlite3_column_int(st, 1) == LINK_FAILED && sqlite3_column_int64(st, 2) > 0;
        *out_group = due ? 0 : sqlite3_column_int64(st, 0);
        err = due || sqlite3_column_int(st, 3) < LINKS_REDO_MAX ? 0 : -EIO;
    }
    sqlite3_reset(st);
    return err;
}

/* Under the lock. */
static int redo(struct links *l, dev_t dev, uint64_t ino)
{
    int64_t group = 0;
    int err = ready(l);
    if (err == 0) {
        err = find_group(l, dev, ino, &group);
    }
    if (err != 0 || group == 0) {
        return err;
    }
    sqlite3_bind_int64(l->statement[ST_REDO], 1, group);
    err = run(l, ST_REDO);
    int64_t names = sqlite3_changes(l->db) + 1;
    if (err == 0) {
        sqlite3_bind_int64(l->statement[ST_REDO_LEADER], 1, group);
        sqlite3_bind_int64(l->statement[ST_REDO_LEADER], 2, l->next_follower++);
        err = run(l, ST_REDO_LEADER);
    }
    if (err == 0) {
        sqlite3_bind_int64(l->statement[ST_REDO_GROUP], 1, group);
        sqlite3_bind_int64(l->statement[ST_REDO_GROUP], 2, names);
        err = run(l, ST_REDO_GROUP);
    }
    if (err == 0) {
        atomic_fetch_add(&l->waiting, (unsigned long)names);
    }
    return err;
}

int links_redo(struct links *l, dev_t dev, uint64_t ino)
{
    pthread_mutex_lock(&l->lock);
    int err = redo(l, dev, ino);
    pthread_mutex_unlock(&l->lock);
    return err;
}

static void bind_claim(sqlite3_stmt *st, const struct attr *there, const struct attr *attr)
{
    bind_group(st, there->dev, there->ino);
    sqlite3_bind_int64(st, 3, (sqlite3_int64)attr->dev);
    sqlite3_bind_int64(st, 4, (sqlite3_int64)attr->ino);
}

/* Under the lock. */
static int claim(struct links *l, const struct attr *there, const struct attr *attr, bool *out_ours)
{
    int err = ready(l);
    if (err != 0) {
        return err;
    }
    bind_claim(l->statement[ST_CLAIM], there, attr);
    err = run(l, ST_CLAIM);
    if (err != 0) {
        return err;
    }
    if (sqlite3_changes(l->db) == 1) {
        *out_ours = true;
        return 0;
    }
    sqlite3_stmt *st = l->statement[ST_CLAIMED];
    bind_claim(st, there, attr);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *out_ours = sqlite3_column_int(st, 0) != 0;
    }
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return rc == SQLITE_ROW ? 0 : broken(l, rc);
}

int links_claim(struct links *l, const struct attr *there, const struct attr *attr, bool *out_ours)
{
    pthread_mutex_lock(&l->lock);
    int err = claim(l, there, attr, out_ours);
    pthread_mutex_unlock(&l->lock);
    return err;
}

bool links_waiting(const struct links *l)
{
    return atomic_load(&l->waiting) > 0 || atomic_load(&l->broken);
}

/* The number of rows drawn up, under the lock. */
static int count_rows(struct links *l, uint64_t *out_rows)
{
    sqlite3_stmt *st = l->statement[ST_ROWS];
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *out_rows = (uint64_t)sqlite3_column_int64(st, 0);
    }
    sqlite3_reset(st);
    return rc == SQLITE_ROW ? 0 : broken(l, rc);
}

int links_round(struct links *l, uint64_t *out_rows)
{
    uint64_t rows = 0;

    pthread_mutex_lock(&l->lock);
    int err = ready(l);
    if (err == 0) {
        int rc = sqlite3_exec(l->db, round_sql, NULL, NULL, NULL);
        err = rc == SQLITE_OK ? count_rows(l, &rows) : broken(l, rc);
    }
    if (err == 0) {
        atomic_fetch_sub(&l->waiting, rows);
        l->next_row = 1;
        *out_rows = rows;
    }
    pthread_mutex_unlock(&l->lock);
    return err;
}

/* A copy of a column, or NULL where it is NULL or memory is short. */
static char *column_text(sqlite3_stmt *st, int column)
{
    const void *bytes = sqlite3_column_blob(st, column);
    int len = sqlite3_column_bytes(st, column);
    return bytes != NULL ? strndup(bytes, (size_t)len) : NULL;
}

static int read_row(sqlite3_stmt *st, struct link_row *row)
{
    *row = (struct link_row){.task = (enum link_task)sqlite3_column_int(st, 0),
                             .dev = (dev_t)sqlite3_column_int64(st, 1),
                             .ino = (uint64_t)sqlite3_column_int64(st, 2),
                             .fresh = sqlite3_column_int(st, 3) != 0,
                             .dir = column_text(st, 4),
                             .name = column_text(st, 5)};
    bool complete = row->dir != NULL && row->name != NULL;
    if (row->task == LINK_TO_LEADER) {
        row->leader_dir = column_text(st, 6);
        row->leader_name = column_text(st, 7);
        row->anew = sqlite3_column_int(st, 8) != 0;
        complete = complete && row->leader_dir != NULL && row->leader_name != NULL;
    }
    if (!complete) {
        links_row_release(row);
        return -ENOMEM;
    }
    return 0;
}

int links_next(struct links *l, struct link_row *out_row)
{
    struct link_row row;

    pthread_mutex_lock(&l->lock);
    int err = ready(l);
    if (err == 0) {
        sqlite3_stmt *st = l->statement[ST_NEXT];
        sqlite3_bind_int64(st, 1, l->next_row);
        int rc = sqlite3_step(st);
        if (rc == SQLITE_ROW) {
            err = read_row(st, &row);
            l->next_row += err == 0 ? 1 : 0;
        } else {
            err = rc == SQLITE_DONE ? -ENOENT : broken(l, rc);
        }
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&l->lock);
    if (err == 0) {
        *out_row = row;
    }
    return err;
}

void links_row_release(struct link_row *row)
{
    free(row->dir);
    free(row->name);
    free(row->leader_dir);
    free(row->leader_name);
    *row = (struct link_row){.task = row->task};
}

int links_late(struct links *l, const struct dir *dir)
{
    char *path = dir_path(dir, NULL);
    if (path == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&l->lock);
    int err = ready(l);
    if (err == 0) {
        bind_text(l->statement[ST_LATE], 1, path);
        err = run(l, ST_LATE);
    }
    pthread_mutex_unlock(&l->lock);
    free(path);
    return err;
}

/* Under the lock. */
static int late_next(struct links *l, char **out_path)
{
    sqlite3_stmt *st = l->statement[ST_LATE_NEXT];
    int rc = sqlite3_step(st);
    char *path = rc == SQLITE_ROW ? column_text(st, 0) : NULL;
    sqlite3_reset(st);
    if (rc != SQLITE_ROW) {
        return rc == SQLITE_DONE ? -ENOENT : broken(l, rc);
    }
    if (path == NULL) {
        return -ENOMEM;
    }
    bind_text(l->statement[ST_LATE_TAKE], 1, path);
    int err = run(l, ST_LATE_TAKE);
    if (err != 0) {
        free(path);
        return err;
    }
    *out_path = path;
    return 0;
}

int links_late_next(struct links *l, char **out_path)
{
    pthread_mutex_lock(&l->lock);
    int err = l->error != 0 ? l->error : -ENOENT;
    if (l->error == 0 && l->db != NULL) {
        err = late_next(l, out_path);
    }
    pthread_mutex_unlock(&l->lock);
    return err;
}
