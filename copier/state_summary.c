/*
 * state_summary: what the planner keeps of a directory's entries to tell whether they are as they were, in one piece:
 * many times faster to read than the rows, which it is made from and which remain the truth.
 *
 * A summary stands only as long as nothing is written about its directory: any record about one of its entries removes
 * it with the same transaction, and in a run that has queued one none is taken any more for that directory, since the
 * rows that it was made from may be older. Where rows turn out to be lost (suspect epochs), all summaries go.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "copier/state_internal.h"

#define CHUNK (32U << 10) /* bytes of a summary in one record and row */

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
