#include "copier/state_verify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "copier/state_internal.h"

#define FLUSH_NS    NS_PER_SEC        /* between two transactions, at least */
#define FLUSH_SHARE 20                /* and so many times as long as the last one took, */
#define FLUSH_MOST  (10 * NS_PER_SEC) /* but not longer: it is what an interruption may cost */
#define NOTES_MAX   16384U            /* notes at which it is written at once */
#define NOTES_BYTES (4U << 20U)       /* and bytes of their names */

#define LAST_SQL  "SELECT number, ended FROM verifications ORDER BY number DESC LIMIT 1"
#define BEGIN_SQL "INSERT INTO verifications(number, begun, ended) VALUES(?1, ?2, 0)"
#define END_SQL   "UPDATE verifications SET ended=?2 WHERE number=?1"
#define CLEAR_SQL "DELETE FROM verified WHERE verification<>?1"
#define OVER_SQL  "DELETE FROM verified"
#define NOTE_SQL  "INSERT OR REPLACE INTO verified(dir, name, verification, digest) VALUES(?1, ?2, ?3, ?4)"
#define FILL_SQL                                                                                                       \
    "UPDATE files SET hash=?3 WHERE dir=?1 AND name=?2 AND hash IS NULL AND flags&3=0 AND dev=?4 AND ino=?5 AND"       \
    " size=?6 AND mtime=?7 AND ctime=?8"
#define HAS_SQL "SELECT 1 FROM verified WHERE dir=?1 AND name=?2 AND verification=?3 AND digest=?4"

/* One row to be written. */
struct note {
    uint64_t dir_id;
    uint8_t digest[VERIFIED_DIGEST]; /* or the hash */
    struct record_attr src;          /* fill: of the source */
    size_t name_at;                  /* in names */
    size_t name_len;                 /* bytes; 0: the directory as a whole */
    bool fill;                       /* state_verify_fill */
};

struct state_verify {
    struct state *state;  /* not owned */
    int64_t number;       /* constant */
    bool goes_on;         /* constant */
    pthread_mutex_t lock; /* for what follows */
    struct note *notes;   /* owned */
    size_t count;         /* of notes */
    size_t room;          /* of notes */
    char *names;          /* owned */
    size_t names_len;     /* bytes */
    size_t names_room;    /* bytes */
    int64_t due_ns;       /* monotonic: when to write next */
    uint64_t filled;      /* hashes */
    int err;              /* first -errno; 0 */
};

/* A statement with up to two numbers that yields nothing. db_lock is held. */
static int run(struct state *s, const char *sql, int64_t first, int64_t second)
{
    sqlite3_stmt *stmt = NULL;
    const int err = state_db_prepare(s->db, sql, &stmt);
    if (err != 0) {
        return err;
    }
    if (sqlite3_bind_parameter_count(stmt) > 0) {
        (void)sqlite3_bind_int64(stmt, 1, first);
    }
    if (sqlite3_bind_parameter_count(stmt) > 1) {
        (void)sqlite3_bind_int64(stmt, 2, second);
    }
    const int rc = sqlite3_step(stmt);
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : state_db_errno(s->db, rc);
}

/* The newest verification; number 0: there is none. db_lock is held. */
static int last(struct state *s, int64_t *out_number, bool *out_ended)
{
    sqlite3_stmt *stmt = NULL;
    int err = state_db_prepare(s->db, LAST_SQL, &stmt);
    if (err != 0) {
        return err;
    }
    const int rc = sqlite3_step(stmt);
    *out_number = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    *out_ended = rc == SQLITE_ROW && sqlite3_column_int64(stmt, 1) != 0;
    err = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : state_db_errno(s->db, rc);
    (void)sqlite3_finalize(stmt);
    return err;
}

/* Chooses the number. db_lock is held. */
static int choose(struct state_verify *v, bool fresh)
{
    struct state *s = v->state;
    bool ended = false;
    int err = state_db_begin(s->db);
    if (err != 0) {
        return err;
    }
    err = last(s, &v->number, &ended);
    v->goes_on = v->number != 0 && !ended && !fresh;
    if (err == 0 && !v->goes_on) {
        v->number++;
        err = run(s, BEGIN_SQL, v->number, clock_real_ns());
        err = err == 0 ? run(s, CLEAR_SQL, v->number, 0) : err;
    }
    return state_db_end(s->db, err);
}

int state_verify_begin(struct state *s, bool fresh, struct state_verify **out_verify)
{
    struct state_verify *v = calloc(1, sizeof *v);
    if (v == NULL) {
        return -ENOMEM;
    }
    v->state = s;
    v->due_ns = clock_mono_ns() + FLUSH_NS;
    if (pthread_mutex_init(&v->lock, NULL) != 0) {
        free(v);
        return -ENOMEM;
    }
    (void)pthread_mutex_lock(&s->db_lock);
    const int err = choose(v, fresh);
    (void)pthread_mutex_unlock(&s->db_lock);
    if (err != 0) {
        (void)pthread_mutex_destroy(&v->lock);
        free(v);
        return err;
    }
    *out_verify = v;
    return 0;
}

int64_t state_verify_number(const struct state_verify *v)
{
    return v->number;
}

bool state_verify_goes_on(const struct state_verify *v)
{
    return v->goes_on;
}

/* ---- writing ---- */

static void bind_name(const struct state_verify *v, sqlite3_stmt *stmt, const struct note *n)
{
    (void)sqlite3_bind_int64(stmt, 1, (int64_t)n->dir_id);
    (void)sqlite3_bind_blob64(stmt, 2, v->names + n->name_at, n->name_len, SQLITE_STATIC);
}

static int write_one(struct state_verify *v, sqlite3_stmt *stmt, const struct note *n)
{
    sqlite3 *db = v->state->db;
    bind_name(v, stmt, n);
    if (n->fill) {
        (void)sqlite3_bind_blob(stmt, 3, n->digest, sizeof n->digest, SQLITE_STATIC);
        (void)sqlite3_bind_int64(stmt, 4, (int64_t)n->src.dev);
        (void)sqlite3_bind_int64(stmt, 5, (int64_t)n->src.ino);
        (void)sqlite3_bind_int64(stmt, 6, (int64_t)n->src.size);
        (void)sqlite3_bind_int64(stmt, 7, n->src.mtime_ns);
        (void)sqlite3_bind_int64(stmt, 8, n->src.ctime_ns);
    } else {
        (void)sqlite3_bind_int64(stmt, 3, v->number);
        (void)sqlite3_bind_blob(stmt, 4, n->digest, sizeof n->digest, SQLITE_STATIC);
    }
    const int rc = sqlite3_step(stmt);
    (void)sqlite3_reset(stmt);
    if (rc != SQLITE_DONE) {
        return state_db_errno(db, rc);
    }
    v->filled += n->fill ? (uint64_t)sqlite3_changes(db) : 0;
    return 0;
}

/* All notes in one transaction. db_lock is held. */
static int write_all(struct state_verify *v)
{
    struct state *s = v->state;
    sqlite3_stmt *note = NULL;
    sqlite3_stmt *fill = NULL;
    int err = state_db_prepare(s->db, NOTE_SQL, &note);
    if (err == 0) {
        err = state_db_prepare(s->db, FILL_SQL, &fill);
    }
    if (err == 0) {
        err = state_db_begin(s->db);
        if (err == 0) {
            for (size_t i = 0; err == 0 && i < v->count; i++) {
                err = write_one(v, v->notes[i].fill ? fill : note, &v->notes[i]);
            }
            err = state_db_end(s->db, err);
        }
    }
    (void)sqlite3_finalize(note);
    (void)sqlite3_finalize(fill);
    return err;
}

/* The lock is held. */
static void flush(struct state_verify *v)
{
    const int64_t begun_ns = clock_mono_ns();
    if (v->count > 0) {
        struct state *s = v->state;
        (void)pthread_mutex_lock(&s->db_lock);
        state_readers_hold(s); /* a snapshot that stays open would let the WAL grow, another process's too */
        state_readers_go(s);
        const int err = write_all(v);
        if (s->wal_pages >= WAL_PAGES) {
            state_write_back(s);
        }
        (void)pthread_mutex_unlock(&s->db_lock);
        v->err = v->err != 0 ? v->err : err;
        v->count = 0;
        v->names_len = 0;
    }
    const int64_t now_ns = clock_mono_ns();
    int64_t pause_ns = FLUSH_SHARE * (now_ns - begun_ns);
    pause_ns = pause_ns > FLUSH_NS ? pause_ns : FLUSH_NS;
    v->due_ns = now_ns + (pause_ns < FLUSH_MOST ? pause_ns : FLUSH_MOST);
}

/* Room for one more with a name of len bytes. The lock is held. */
static bool reserve(struct state_verify *v, size_t len)
{
    if (v->count == v->room) {
        const size_t room = v->room == 0 ? 256 : 2 * v->room;
        struct note *notes = reallocarray(v->notes, room, sizeof *notes);
        if (notes == NULL) {
            return false;
        }
        v->notes = notes;
        v->room = room;
    }
    if (v->names_room - v->names_len < len) {
        const size_t room = 2 * (v->names_room + len);
        char *names = realloc(v->names, room);
        if (names == NULL) {
            return false;
        }
        v->names = names;
        v->names_room = room;
    }
    return true;
}

static void add(struct state_verify *v, struct note *n, const char *name)
{
    n->name_len = name != NULL ? strlen(name) : 0;
    (void)pthread_mutex_lock(&v->lock);
    if (reserve(v, n->name_len + 1)) { /* one more: so that there are names, however short */
        n->name_at = v->names_len;
        if (n->name_len > 0) {
            memcpy(v->names + n->name_at, name, n->name_len);
        }
        v->names_len += n->name_len;
        v->notes[v->count++] = *n;
    } else {
        v->err = v->err != 0 ? v->err : -ENOMEM;
    }
    if (v->count >= NOTES_MAX || v->names_len >= NOTES_BYTES || clock_mono_ns() >= v->due_ns) {
        flush(v);
    }
    (void)pthread_mutex_unlock(&v->lock);
}

void state_verify_note(struct state_verify *v, uint64_t dir_id, const char *name, const uint8_t digest[VERIFIED_DIGEST])
{
    struct note n = {.dir_id = dir_id};
    memcpy(n.digest, digest, sizeof n.digest);
    add(v, &n, name);
}

void state_verify_fill(struct state_verify *v, uint64_t dir_id, const char *name, const struct attr *src,
                       const uint8_t hash[16])
{
    struct note n = {.dir_id = dir_id,
                     .fill = true,
                     .src = {.dev = src->dev,
                             .ino = src->ino,
                             .size = src->size,
                             .mtime_ns = clock_ns_of(&src->mtime),
                             .ctime_ns = clock_ns_of(&src->ctime)}};
    memcpy(n.digest, hash, sizeof n.digest);
    add(v, &n, name);
}

bool state_verify_has(struct state_verify *v, struct state_reader *r, uint64_t dir_id, const char *name,
                      const uint8_t digest[VERIFIED_DIGEST])
{
    if (!v->goes_on) {
        return false;
    }
    sqlite3 *db = state_reader_lock(r);
    int err = r->verified != NULL ? 0 : state_db_prepare(db, HAS_SQL, &r->verified);
    if (err == 0) {
        sqlite3_stmt *stmt = r->verified;
        (void)sqlite3_bind_int64(stmt, 1, (int64_t)dir_id);
        (void)sqlite3_bind_blob64(stmt, 2, name != NULL ? name : "", name != NULL ? strlen(name) : 0, SQLITE_STATIC);
        (void)sqlite3_bind_int64(stmt, 3, v->number);
        (void)sqlite3_bind_blob(stmt, 4, digest, VERIFIED_DIGEST, SQLITE_STATIC);
        err = state_reader_step(db, stmt);
        (void)sqlite3_reset(stmt);
    }
    state_reader_unlock(r);
    return err == 0;
}

/* The row of the verification itself. */
static int write_over(struct state_verify *v)
{
    struct state *s = v->state;
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_begin(s->db);
    if (err == 0) {
        err = run(s, END_SQL, v->number, clock_real_ns());
        err = err == 0 ? run(s, OVER_SQL, 0, 0) : err;
        err = state_db_end(s->db, err);
    }
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

int state_verify_end(struct state_verify *v, bool over, uint64_t *out_filled)
{
    if (v == NULL) {
        return 0;
    }
    (void)pthread_mutex_lock(&v->lock);
    flush(v);
    (void)pthread_mutex_unlock(&v->lock);
    int err = v->err;
    if (over) {
        const int over_err = write_over(v);
        err = err != 0 ? err : over_err;
    }
    if (out_filled != NULL) {
        *out_filled = v->filled;
    }
    (void)pthread_mutex_destroy(&v->lock);
    free(v->notes);
    free(v->names);
    free(v);
    return err;
}
