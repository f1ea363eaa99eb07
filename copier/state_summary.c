/*
 * state_summary: what the planner keeps of a directory's entries to tell whether they are as they were, in one piece:
 * many times faster to read than the rows, which it is made from and which remain the truth.
 *
 * A summary says what the rows say: with whatever is written about an entry it is brought up to date in the same
 * transaction, or removed where much is written or the directory is large. In a run that has queued a record about a
 * directory no new one is taken for it, since the rows that it was made from may be older. Where rows turn out to be
 * lost (suspect epochs), all summaries go.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "copier/state_internal.h"
#include "planner/summary.h"

#define CHUNK     (32U << 10) /* bytes of a summary in one record and row */
#define MEND_MOST 64U         /* records about a directory, in one transaction, that its summary is mended for */

/* A bit of the map of directories that were written about; others may share it. */
static size_t bit_of(uint64_t dir_id)
{
    return (size_t)((dir_id * 0x9E3779B97F4A7C15U) >> (64 - SUMMARY_BITS));
}

void state_summary_spoil(struct state *s, uint64_t dir_id)
{
    const size_t bit = bit_of(dir_id);
    s->spoilt[bit / 64] |= UINT64_C(1) << (bit % 64);
}

bool state_summary_spoilt(const struct state *s, uint64_t dir_id)
{
    const size_t bit = bit_of(dir_id);
    return (s->spoilt[bit / 64] >> (bit % 64) & 1) != 0;
}

/* Runs sql with up to two numbers. */
static int run_with(sqlite3 *db, const char *sql, int64_t first, int64_t second)
{
    sqlite3_stmt *stmt = NULL;
    const int err = state_db_prepare(db, sql, &stmt);
    if (err != 0) {
        return err;
    }
    (void)sqlite3_bind_int64(stmt, 1, first); /* one that sql does not use is refused: no harm */
    (void)sqlite3_bind_int64(stmt, 2, second);
    const int rc = sqlite3_step(stmt);
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : state_db_errno(db, rc);
}

/* Begins anew, without any summary. */
static int begin_anew(struct state *s, int64_t seed)
{
    int err = state_db_begin(s->db);
    if (err != 0) {
        return err;
    }
    err = run_with(s->db, "DELETE FROM summaries", 0, 0);
    if (err == 0) {
        err = run_with(s->db, "DELETE FROM summary_terms", 0, 0);
    }
    if (err == 0) {
        err =
            run_with(s->db, "INSERT INTO summary_terms(seed, suspect) VALUES(?1, ?2)", seed, (int64_t)s->suspect_count);
    }
    return state_db_end(s->db, err);
}

int state_summary_load(struct state *s)
{
    int64_t terms[2] = {0}; /* the seed, and how many epochs were suspect when the summaries were made */
    int err = state_db_query(s->db, "SELECT seed, suspect FROM summary_terms", terms, 2);
    int64_t seed = terms[0];
    if (err == -ENOENT) {
        if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
            return -EIO;
        }
        err = begin_anew(s, seed);
    } else if (err == 0 && terms[1] != (int64_t)s->suspect_count) { /* it only grows */
        err = begin_anew(s, seed);
    }
    if (err == 0) {
        s->summary_seed = (uint64_t)seed;
    }
    return err;
}

uint64_t state_summary_seed(const struct state *s)
{
    return s->summary_seed;
}

int state_summary_get(struct state_reader *r, uint64_t dir_id, unsigned xattrs, char **out_bytes, size_t *out_len)
{
    char *bytes = NULL;
    size_t len = 0;
    int64_t count = 0;
    int64_t parts = 0;
    int err = 0;
    sqlite3 *db = state_reader_lock(r);
    (void)sqlite3_bind_int64(r->summary, 1, (int64_t)dir_id);
    while ((err = state_reader_step(db, r->summary)) == 0) {
        const size_t more = (size_t)sqlite3_column_bytes(r->summary, 3);
        char *bigger = realloc(bytes, len + more + 1);
        parts = sqlite3_column_int64(r->summary, 1);
        if (bigger == NULL || sqlite3_column_int64(r->summary, 0) != count ||
            (xattrs & ~(unsigned)sqlite3_column_int64(r->summary, 2)) != 0) {
            bytes = bigger != NULL ? bigger : bytes;
            parts = -1;
            break;
        }
        bytes = bigger;
        if (more > 0) {
            memcpy(bytes + len, sqlite3_column_blob(r->summary, 3), more);
        }
        len += more;
        count++;
    }
    (void)sqlite3_reset(r->summary);
    state_reader_unlock(r);
    if (err != 0 && err != -ENOENT) {
        state_note_error(r->state, err);
    }
    if (count == 0 || count != parts) { /* none, or a part of it is missing */
        free(bytes);
        return err != 0 ? err : -ENOENT;
    }
    *out_bytes = bytes;
    *out_len = len;
    return 0;
}

void state_summary_put(struct state *s, uint64_t dir_id, unsigned xattrs, const char *bytes, size_t len)
{
    const size_t parts = (len + CHUNK - 1) / CHUNK;
    for (size_t i = 0; i < parts; i++) {
        const size_t at = i * CHUNK;
        const struct record head = {
            .kind = RECORD_SUMMARY,
            .dir = dir_id,
            .xattrs = (uint8_t)xattrs,
            .text_len = (uint32_t)(len - at < CHUNK ? len - at : CHUNK),
            .summary = {.part = (uint32_t)i, .parts = (uint32_t)parts},
        };
        state_queue_summary(s, &head, bytes + at);
    }
}

/* The only part of a directory's summary, as the writer mends it. */
struct piece {
    char *bytes;     /* room for CHUNK; owned */
    size_t len;      /* bytes of it */
    unsigned xattrs; /* XATTRS_* that its rows have */
};

/* 0; -ENOENT: there is none; -EFBIG: it has several parts; -errno. */
static int piece_read(struct state *s, uint64_t dir_id, struct piece *piece)
{
    sqlite3_stmt *stmt = s->statements[STMT_SUMMARY_READ];
    (void)sqlite3_bind_int64(stmt, 1, (int64_t)dir_id);
    const int rc = sqlite3_step(stmt);
    int err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : state_db_errno(s->db, rc);
    if (err == 0) {
        const void *bytes = sqlite3_column_blob(stmt, 2);
        piece->len = (size_t)sqlite3_column_bytes(stmt, 2);
        piece->xattrs = (unsigned)sqlite3_column_int64(stmt, 1);
        if (sqlite3_column_int64(stmt, 0) != 1 || piece->len > CHUNK || bytes == NULL) {
            err = -EFBIG;
        } else {
            memcpy(piece->bytes, bytes, piece->len);
        }
    }
    (void)sqlite3_reset(stmt);
    return err;
}

/* Runs a statement about a directory that yields no rows. */
static int run_on(struct state *s, enum statement which, uint64_t dir_id)
{
    sqlite3_stmt *stmt = s->statements[which];
    (void)sqlite3_bind_int64(stmt, 1, (int64_t)dir_id);
    const int rc = sqlite3_step(stmt);
    const int err = rc == SQLITE_DONE ? 0 : state_db_errno(s->db, rc);
    (void)sqlite3_reset(stmt);
    return err;
}

int state_summary_over(struct state *s, uint64_t dir_id)
{
    return run_on(s, STMT_SUMMARY_OVER, dir_id);
}

static int piece_write(struct state *s, uint64_t dir_id, const struct piece *piece)
{
    (void)sqlite3_bind_blob64(s->statements[STMT_SUMMARY_MEND], 2, piece->bytes, piece->len, SQLITE_STATIC);
    return run_on(s, STMT_SUMMARY_MEND, dir_id);
}

/* What a record says of its entry's row (state_intend: nothing). False: the piece has no room for it. */
static bool piece_mend(const struct state *s, struct piece *piece, const struct record *r)
{
    struct attr src = {0};
    struct summary_change change = {
        .name = r->heap != NULL ? r->heap : r->text, .name_len = r->text_len, .fate = SUMMARY_KEPT};
    switch ((enum record_kind)r->kind) {
    case RECORD_FILE:
        src = (struct attr){.mode = r->file.src.mode,
                            .uid = r->file.src.uid,
                            .gid = r->file.src.gid,
                            .size = r->file.src.size,
                            .ino = r->file.src.ino,
                            .mtime = clock_timespec_of(r->file.src.mtime_ns),
                            .ctime = clock_timespec_of(r->file.src.ctime_ns)};
        change.src = r->racy || (piece->xattrs & ~(unsigned)r->xattrs) != 0 ? NULL : &src;
        break;
    case RECORD_INTEND:
        return true;
    case RECORD_FORGET:
        change.fate = SUMMARY_GONE;
        break;
    default:
        change.fate = SUMMARY_DOUBTED;
        break;
    }
    return summary_mend(piece->bytes, &piece->len, CHUNK, s->summary_seed, &change);
}

int state_summary_mend(struct state *s, const struct record_key *keys, size_t count)
{
    const uint64_t dir_id = keys[0].dir;
    size_t intents = 0;
    while (intents < count && keys[intents].record->kind == RECORD_INTEND) {
        intents++;
    }
    if (intents == count) {
        return 0; /* no row has changed */
    }
    struct piece piece = {.bytes = count <= MEND_MOST ? malloc(CHUNK) : NULL};
    int err = piece.bytes != NULL ? piece_read(s, dir_id, &piece) : -EFBIG;
    for (size_t i = 0; err == 0 && i < count; i++) {
        err = piece_mend(s, &piece, keys[i].record) ? 0 : -EFBIG;
    }
    if (err == 0 && piece.len > 0) {
        err = piece_write(s, dir_id, &piece);
    } else if (err == 0 || err == -EFBIG) {
        err = state_summary_over(s, dir_id);
    }
    free(piece.bytes);
    return err == -ENOENT ? 0 : err;
}
