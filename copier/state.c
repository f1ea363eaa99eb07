/*
 * state: a state's life and its runs.
 */
#include "copier/state.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copier/state_internal.h"

/* "" where it does not say: then no record that is not durable outlives the process. */
void state_boot_id(char out_boot[BOOT_ID_MAX])
{
    out_boot[0] = '\0';
    const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    const ssize_t n = read(fd, out_boot, BOOT_ID_MAX - 1);
    (void)close(fd);
    out_boot[n > 0 ? n : 0] = '\0';
    out_boot[strcspn(out_boot, "\n")] = '\0';
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/*
 * All values of the first column of sql, as a sorted malloc'd array. text: they are run ids, kept as the numbers that
 * they spell. boot is bound where sql has a parameter. 0, -ENOMEM, -errno.
 */
static int load_numbers(struct state *s, const char *sql, bool text, uint64_t **out_values, size_t *out_count)
{
    sqlite3_stmt *stmt = NULL;
    int err = state_db_prepare(s->db, sql, &stmt);
    if (err != 0) {
        return err;
    }
    if (sqlite3_bind_parameter_count(stmt) > 0) {
        (void)sqlite3_bind_text(stmt, 1, s->boot, -1, SQLITE_STATIC);
    }
    uint64_t *values = NULL;
    size_t count = 0;
    size_t room = 0;
    int rc = SQLITE_ROW;
    while (err == 0 && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (count == room) {
            room = room == 0 ? 64 : 2 * room;
            uint64_t *more = reallocarray(values, room, sizeof(*values));
            if (more == NULL) {
                err = -ENOMEM;
                break;
            }
            values = more;
        }
        const char *id = text ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
        if (text && (id == NULL || !run_id_valid(id))) {
            continue;
        }
        values[count++] = text ? strtoull(id, NULL, 16) : (uint64_t)sqlite3_column_int64(stmt, 0);
    }
    if (err == 0 && rc != SQLITE_DONE) {
        err = state_db_errno(s->db, rc);
    }
    (void)sqlite3_finalize(stmt);
    if (err != 0) {
        free(values);
        return err;
    }
    if (count > 0) {
        qsort(values, count, sizeof(*values), compare_u64);
    }
    *out_values = values;
    *out_count = count;
    return 0;
}

static int load_memory(struct state *s)
{
    const int err =
        load_numbers(s, "SELECT id FROM runs UNION SELECT id FROM announced", true, &s->dead, &s->dead_count);
    if (err != 0) {
        return err;
    }
    const int epochs_err =
        load_numbers(s, "SELECT id FROM epochs WHERE boot='' OR boot<>?1", false, &s->suspect, &s->suspect_count);
    bool some = false;
    const int intents_err = epochs_err == 0 ? state_intents_settle(s->db, &some) : epochs_err;
    s->had_files = s->had_files || some;
    return intents_err != 0 ? intents_err : state_summary_load(s);
}

static int make_locks(struct state *s)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0) {
        return -ENOMEM;
    }
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    /* On Linux these cannot fail with such attributes. */
    const int err = pthread_mutex_init(&s->db_lock, NULL) | pthread_mutex_init(&s->lock, NULL) |
                    pthread_mutex_init(&s->readers_lock, NULL) | pthread_cond_init(&s->work, &monotonic) |
                    pthread_cond_init(&s->room, NULL) | pthread_cond_init(&s->settled, NULL) |
                    pthread_cond_init(&s->ended_cond, NULL);
    (void)pthread_condattr_destroy(&monotonic);
    return err == 0 ? 0 : -ENOMEM;
}

static void release_locks(struct state *s)
{
    (void)pthread_cond_destroy(&s->ended_cond);
    (void)pthread_cond_destroy(&s->settled);
    (void)pthread_cond_destroy(&s->room);
    (void)pthread_cond_destroy(&s->work);
    (void)pthread_mutex_destroy(&s->readers_lock);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_mutex_destroy(&s->db_lock);
}

/* The writer writes what is left and is gone. */
static void stop_writer(struct state *s)
{
    if (!s->started) {
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    s->stop = true;
    (void)pthread_cond_signal(&s->work);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->writer, NULL);
    s->started = false;
}

/* Frees everything; a database that was found damaged is moved aside, its new name goes to *out_aside (may be NULL). */
static void release(struct state *s, char **out_aside)
{
    for (int i = 0; i < STMT_COUNT; i++) {
        (void)sqlite3_finalize(s->statements[i]);
    }
    (void)sqlite3_close(s->db);
    if (out_aside != NULL && atomic_load(&s->damaged)) {
        (void)state_db_aside(s->path, out_aside);
    }
    state_batches_destroy(s);
    release_locks(s);
    free(s->suspect);
    free(s->dead);
    free(s->path);
    free(s);
}

int state_open_params(const struct state_params *params, struct state **out_state, char **out_aside)
{
    char *aside = NULL;
    struct state *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    int err = make_locks(s);
    if (err != 0) {
        free(s);
        return err;
    }
    s->notices = params->notices;
    if (params->boot != NULL) {
        (void)strncpy(s->boot, params->boot, BOOT_ID_MAX - 1);
    } else {
        state_boot_id(s->boot);
    }
    s->path = strdup(params->path);
    if (s->path == NULL) {
        err = -ENOMEM;
        goto fail;
    }
    err = state_db_open(s, params, &aside);
    if (err != 0) {
        goto fail;
    }
    err = load_memory(s);
    if (err == 0) {
        err = state_writer_prepare(s);
    }
    if (err == -EBADMSG) {
        state_note_error(s, err);
    }
    if (err != 0) {
        goto fail;
    }
    *out_state = s;
    return 0;

fail:
    release(s, aside == NULL ? &aside : NULL);
    *out_aside = aside;
    return err;
}

int state_open(const char *path, const struct state_pair *pair, struct notices *notices, struct state **out_state,
               char **out_aside)
{
    const struct state_params params = {.path = path, .pair = pair, .notices = notices};
    return state_open_params(&params, out_state, out_aside);
}

void state_close(struct state *s)
{
    if (s == NULL) {
        return;
    }
    stop_writer(s);
    char *aside = NULL;
    struct notices *notices = s->notices;
    release(s, &aside);
    if (aside != NULL) {
        notice_raise(notices,
                     "the state database turned out to be damaged and was moved aside as *.corrupt-<time>; the "
                     "next run starts a new one");
    }
    free(aside);
}

/* Starts the writer with all signals blocked: they are others' business. */
static int start_writer(struct state *s)
{
    int err = state_batches_create(s);
    if (err != 0) {
        return err;
    }
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    err = -pthread_create(&s->writer, NULL, state_writer_main, s);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->started = err == 0;
    return err;
}

struct state_run state_run_of_row(sqlite3_stmt *stmt)
{
    struct state_run run = {
        .number = sqlite3_column_int64(stmt, 0),
        .started_ns = sqlite3_column_int64(stmt, 2),
        .ended_ns = sqlite3_column_int64(stmt, 3),
        .status = sqlite3_column_int(stmt, 4),
        .files_total = (uint64_t)sqlite3_column_int64(stmt, 5),
        .bytes_total = (uint64_t)sqlite3_column_int64(stmt, 6),
        .files_done = (uint64_t)sqlite3_column_int64(stmt, 7),
        .bytes_done = (uint64_t)sqlite3_column_int64(stmt, 8),
        .failed = (uint64_t)sqlite3_column_int64(stmt, 9),
        .complete = sqlite3_column_int(stmt, 10) != 0,
    };
    const char *id = (const char *)sqlite3_column_text(stmt, 1);
    if (id != NULL && run_id_valid(id)) {
        memcpy(run.id, id, sizeof(run.id));
    }
    return run;
}

/* db_lock is held. */
static int get_run(struct state *s, int64_t number, struct state_run *out_run)
{
    sqlite3_stmt *stmt = NULL;
    int err = state_db_prepare(
        s->db, number == 0 ? STATE_RUNS_SQL " ORDER BY number DESC LIMIT 1" : STATE_RUNS_SQL " WHERE number=?1", &stmt);
    if (err != 0) {
        return err;
    }
    if (number != 0) {
        (void)sqlite3_bind_int64(stmt, 1, number);
    }
    const int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *out_run = state_run_of_row(stmt);
    } else {
        err = rc == SQLITE_DONE ? -ENOENT : state_db_errno(s->db, rc);
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

/* Runs sql with up to three numbers and a text (parameter 4) that it may use. db_lock is held. */
static int run_with(struct state *s, const char *sql, const int64_t numbers[3], const char *text)
{
    sqlite3_stmt *stmt = NULL;
    const int err = state_db_prepare(s->db, sql, &stmt);
    if (err != 0) {
        return err;
    }
    for (int i = 0; i < 3; i++) {
        (void)sqlite3_bind_int64(stmt, i + 1, numbers[i]); /* one that sql does not use is refused: no harm */
    }
    (void)sqlite3_bind_text(stmt, 4, text, -1, SQLITE_STATIC);
    const int rc = sqlite3_step(stmt);
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_DONE ? 0 : state_db_errno(s->db, rc);
}

/* Takes run_id down as announced, or no more so. db_lock is held. */
static int set_announced(struct state *s, const char *run_id, bool is)
{
    static const int64_t none[3] = {0, 0, 0};
    return run_with(s, is ? "INSERT OR IGNORE INTO announced(id) VALUES(?4)" : "DELETE FROM announced WHERE id=?4",
                    none, run_id);
}

/* The rows of a new run. db_lock is held. */
static int insert_run(struct state *s, const struct state_run *run, int64_t epoch, bool durable)
{
    const int64_t row[3] = {run->number, run->started_ns, 0};
    int err = run_with(s, "INSERT INTO runs(number, started, id) VALUES(?1, ?2, ?4)", row, run->id);
    if (err == 0 && !durable) {
        const int64_t values[3] = {epoch, run->number, 0};
        err = run_with(s, "INSERT INTO epochs(id, run, boot) VALUES(?1, ?2, ?4)", values, s->boot);
    }
    if (err == 0) {
        const int64_t values[3] = {run->number - FAILURES_RUNS, 0, 0};
        err = run_with(s, "DELETE FROM failures WHERE run<=?1", values, NULL);
        err = err == 0 ? run_with(s, "DELETE FROM findings WHERE look=0 AND run<=?1", values, NULL) : err;
    }
    return err;
}

/* db_lock is held. */
static int find_unswept(struct state *s, bool *out_unswept)
{
    sqlite3_stmt *stmt = NULL;
    int err = state_db_prepare(
        s->db,
        "SELECT EXISTS(SELECT 1 FROM runs WHERE status<>0 AND number>coalesce((SELECT max(run) FROM swept), 0))"
        " OR EXISTS(SELECT 1 FROM announced)",
        &stmt);
    if (err != 0) {
        return err;
    }
    const int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        *out_unswept = sqlite3_column_int(stmt, 0) != 0;
    } else {
        err = state_db_errno(s->db, rc);
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

bool state_unswept(const struct state *s)
{
    return s->unswept;
}

int state_swept(struct state *s)
{
    const int64_t numbers[3] = {s->run - 1, 0, 0};
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_begin(s->db);
    if (err == 0) {
        err = run_with(s, "INSERT INTO swept(run) VALUES(?1)", numbers, NULL);
        err = err == 0 ? run_with(s, "DELETE FROM announced", numbers, NULL) : err;
        err = state_db_end(s->db, err);
    }
    (void)pthread_mutex_unlock(&s->db_lock);
    if (err != 0) {
        state_note_error(s, err);
    }
    return err;
}

int state_last_run(struct state *s, struct state_run *out_run)
{
    (void)pthread_mutex_lock(&s->db_lock);
    const int err = get_run(s, 0, out_run);
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

/* Whether run_id is announced, on disk where it is. 0 or -errno. */
static int note_announced(struct state *s, const char *run_id, bool is)
{
    if (!run_id_valid(run_id)) {
        return -EINVAL;
    }
    (void)pthread_mutex_lock(&s->db_lock);
    int err = is ? state_db_synced(s->db, true) : 0;
    if (err == 0) {
        err = state_db_begin(s->db);
    }
    if (err == 0) {
        err = state_db_end(s->db, set_announced(s, run_id, is));
    }
    if (is) {
        (void)state_db_synced(s->db, false); /* else the run is slower, no more */
    }
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

int state_announce(struct state *s, const char *run_id)
{
    return note_announced(s, run_id, true);
}

int state_withdraw(struct state *s, const char *run_id)
{
    return note_announced(s, run_id, false);
}

int state_run_begin(struct state *s, const char *run_id, bool durable, struct state_run *out_run,
                    struct state_run *out_previous)
{
    if (s->filling != NULL) {
        return -EALREADY;
    }
    if (!run_id_valid(run_id)) {
        return -EINVAL;
    }
    if (state_run_is_dead(s, run_id)) {
        return -EEXIST;
    }
    int err = start_writer(s);
    if (err != 0) {
        state_batches_destroy(s);
        return err;
    }

    struct state_run previous = {0};
    bool unswept = false;
    struct state_run run = {.started_ns = clock_real_ns(), .status = -1};
    memcpy(run.id, run_id, sizeof(run.id));
    int64_t epoch = 0;
    (void)pthread_mutex_lock(&s->db_lock);
    err = state_db_synced(s->db, true);
    if (err == 0) {
        err = state_db_begin(s->db);
    }
    if (err == 0) {
        err = get_run(s, 0, &previous);
        err = err == -ENOENT ? 0 : err;
        err = err == 0 ? set_announced(s, run_id, false) : err; /* from here on it is known as a run */
        err = err == 0 ? find_unswept(s, &unswept) : err;
        run.number = previous.number + 1;
        epoch = (int64_t)((uint64_t)run.number << EPOCH_BITS);
        if (err == 0) {
            err = insert_run(s, &run, epoch, durable);
        }
        err = state_db_end(s->db, err);
    }
    (void)state_db_synced(s->db, false); /* else the run is slower, no more */
    (void)pthread_mutex_unlock(&s->db_lock);
    if (err != 0) {
        stop_writer(s);
        return err;
    }

    (void)pthread_mutex_lock(&s->lock);
    s->unswept = unswept;
    s->run = run.number;
    s->epoch = epoch;
    s->durable = durable;
    s->writing = true;
    (void)pthread_mutex_unlock(&s->lock);
    *out_run = run;
    *out_previous = previous;
    return 0;
}

int state_run_end(struct state *s, int status)
{
    (void)pthread_mutex_lock(&s->lock);
    if (!s->writing || s->end_wanted) {
        (void)pthread_mutex_unlock(&s->lock);
        return -EINVAL;
    }
    s->end_status = status;
    s->end_wanted = true;
    (void)pthread_cond_signal(&s->work);
    while (!s->ended) {
        (void)pthread_cond_wait(&s->ended_cond, &s->lock);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return state_error(s);
}

int state_run_get(struct state *s, int64_t number, struct state_run *out_run)
{
    (void)pthread_mutex_lock(&s->db_lock);
    const int err = get_run(s, number, out_run);
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

int state_failing_in(sqlite3 *db, int64_t number, uint64_t *out_runs, int64_t *out_since_ns)
{
    static const char sql[] = "SELECT count(*), coalesce(min(started), 0) FROM runs WHERE number < ?1 AND number >"
                              " (SELECT coalesce(max(number), 0) FROM runs WHERE number < ?1 AND status = 0)";
    sqlite3_stmt *stmt = NULL;
    int err = state_db_prepare(db, sql, &stmt);
    if (err == 0) {
        (void)sqlite3_bind_int64(stmt, 1, number);
        const int rc = sqlite3_step(stmt);
        err = rc == SQLITE_ROW ? 0 : state_db_errno(db, rc);
    }
    if (err == 0) {
        *out_runs = (uint64_t)sqlite3_column_int64(stmt, 0);
        *out_since_ns = sqlite3_column_int64(stmt, 1);
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

int state_failing(struct state *s, int64_t number, uint64_t *out_runs, int64_t *out_since_ns)
{
    (void)pthread_mutex_lock(&s->db_lock);
    const int err = state_failing_in(s->db, number, out_runs, out_since_ns);
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

int state_last_success(struct state *s, struct state_run *out_run)
{
    sqlite3_stmt *stmt = NULL;
    int64_t number = 0;
    (void)pthread_mutex_lock(&s->db_lock);
    int err = state_db_prepare(s->db, "SELECT coalesce(max(number), 0) FROM runs WHERE status = 0", &stmt);
    if (err == 0) {
        const int rc = sqlite3_step(stmt);
        err = rc == SQLITE_ROW ? 0 : state_db_errno(s->db, rc);
        number = err == 0 ? sqlite3_column_int64(stmt, 0) : 0;
    }
    (void)sqlite3_finalize(stmt);
    if (err == 0) {
        err = number != 0 ? get_run(s, number, out_run) : -ENOENT;
    }
    (void)pthread_mutex_unlock(&s->db_lock);
    return err;
}

bool state_run_is_dead(struct state *s, const char *run_id)
{
    if (!run_id_valid(run_id) || s->dead_count == 0) {
        return false;
    }
    const uint64_t key = strtoull(run_id, NULL, 16);
    return bsearch(&key, s->dead, s->dead_count, sizeof(key), compare_u64) != NULL;
}
