/*
 * state_history: what a state file tells of its runs, read without changing it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "copier/state_internal.h"

/* Told by the kernel's list of locks, since to try it could refuse it to a run that begins just then. */
bool state_is_locked(const char *path)
{
    struct stat st;
    char *lock = NULL;
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    if (asprintf(&lock, "%s.lock", path) < 0) {
        return false;
    }
    FILE *locks = stat(lock, &st) == 0 ? fopen("/proc/locks", "re") : NULL;
    while (locks != NULL && !found && getline(&line, &size, locks) > 0) {
        unsigned major = 0;
        unsigned minor = 0;
        unsigned long long inode = 0;
        found = sscanf(line, "%*d: FLOCK %*s WRITE %*d %x:%x:%llu ", &major, &minor, &inode) == 3 &&
                makedev(major, minor) == st.st_dev && inode == st.st_ino;
    }
    if (locks != NULL) {
        (void)fclose(locks);
    }
    free(line);
    free(lock);
    return found;
}

char *state_text_column(sqlite3_stmt *stmt, int i)
{
    const void *bytes = sqlite3_column_blob(stmt, i);
    return bytes != NULL ? strndup(bytes, (size_t)sqlite3_column_bytes(stmt, i)) : strdup("");
}

/* 0; -EBADMSG where that is no state of haul. */
static int read_pair(sqlite3 *db, struct state_history *h)
{
    sqlite3_stmt *stmt = NULL;
    int err = state_db_prepare(db, "SELECT source, destination FROM meta LIMIT 1", &stmt);
    if (err == 0) {
        const int rc = sqlite3_step(stmt);
        err = rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -EBADMSG : state_db_errno(db, rc);
    }
    if (err == 0) {
        h->source = state_text_column(stmt, 0);
        h->destination = state_text_column(stmt, 1);
        err = h->source == NULL || h->destination == NULL ? -ENOMEM : 0;
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

static int read_runs(sqlite3 *db, size_t most, struct state_history *h)
{
    sqlite3_stmt *stmt = NULL;
    int err = state_db_prepare(db, STATE_RUNS_SQL " ORDER BY number DESC LIMIT ?1", &stmt);
    h->runs = err == 0 ? calloc(most, sizeof *h->runs) : NULL;
    if (err == 0 && h->runs == NULL) {
        err = -ENOMEM;
    }
    (void)sqlite3_bind_int64(stmt, 1, (int64_t)most);
    while (err == 0) {
        const int rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW) {
            err = rc == SQLITE_DONE ? 0 : state_db_errno(db, rc);
            break;
        }
        h->runs[h->count++] = state_run_of_row(stmt);
    }
    (void)sqlite3_finalize(stmt);
    return err;
}

/* How many of the newest runs that are over did not end with 0, and since when. */
static int read_failing(sqlite3 *db, struct state_history *h)
{
    if (h->count == 0) {
        return 0;
    }
    const bool runs = h->running && h->runs[0].ended_ns == 0;
    const int64_t before = runs ? h->runs[0].number : h->runs[0].number + 1;
    return state_failing_in(db, before, &h->failing, &h->failing_since_ns);
}

int state_history_read(const char *path, size_t most, struct state_history *out_history)
{
    struct state_history h = {.running = state_is_locked(path)};
    sqlite3 *db = NULL;
    const int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    int err = db == NULL ? -ENOMEM : rc == SQLITE_OK ? 0 : state_db_errno(db, rc);
    if (err == 0) {
        (void)sqlite3_busy_timeout(db, 5000);
        err = read_pair(db, &h);
    }
    if (err == 0) {
        err = read_runs(db, most, &h);
    }
    if (err == 0) {
        err = read_failing(db, &h);
    }
    (void)sqlite3_close(db);
    if (err != 0) {
        state_history_release(&h);
        return err;
    }
    *out_history = h;
    return 0;
}

void state_history_release(struct state_history *h)
{
    free(h->source);
    free(h->destination);
    free(h->runs);
    *h = (struct state_history){0};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds folder/name to the list. 0 or -ENOMEM. */
static int add_path(char ***paths, size_t *count, const char *folder, const char *name)
{
    char **more = realloc(*paths, (*count + 1) * sizeof **paths);
    if (more == NULL) {
        return -ENOMEM;
    }
    *paths = more;
    if (asprintf(&more[*count], "%s/%s", folder, name) < 0) {
        return -ENOMEM;
    }
    *count += 1;
    return 0;
}

int state_history_files(char ***out_paths, size_t *out_count)
{
    char *folder = NULL;
    char **paths = NULL;
    size_t count = 0;
    int err = state_folder(&folder);
    if (err != 0) {
        return err;
    }
    DIR *dir = opendir(folder);
    err = dir == NULL && errno != ENOENT ? -errno : 0;
    const struct dirent *entry = NULL;
    while (dir != NULL && err == 0 && (entry = readdir(dir)) != NULL) {
        const size_t len = strlen(entry->d_name);
        if (len > 3 && strcmp(entry->d_name + len - 3, ".db") == 0) {
            err = add_path(&paths, &count, folder, entry->d_name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    free(folder);
    if (err != 0) {
        state_history_files_free(paths, count);
        return err;
    }
    if (count > 0) {
        qsort(paths, count, sizeof *paths, by_name);
    }
    *out_paths = paths;
    *out_count = count;
    return 0;
}

void state_history_files_free(char **paths, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(paths[i]);
    }
    free(paths);
}

int state_copy(const char *path, const char *to)
{
    sqlite3 *from = NULL;
    sqlite3 *db = NULL;
    sqlite3_backup *backup = NULL;
    if (access(path, F_OK) != 0) {
        return -errno;
    }
    const int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    (void)close(fd);
    int rc = sqlite3_open_v2(path, &from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    int err = from == NULL ? -ENOMEM : rc == SQLITE_OK ? 0 : state_db_errno(from, rc);
    if (err == 0) {
        (void)sqlite3_busy_timeout(from, 5000);
        rc = sqlite3_open_v2(to, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
        err = db == NULL ? -ENOMEM : rc == SQLITE_OK ? 0 : state_db_errno(db, rc);
    }
    if (err == 0) {
        backup = sqlite3_backup_init(db, "main", from, "main");
        rc = backup != NULL ? sqlite3_backup_step(backup, -1) : sqlite3_errcode(db);
        (void)sqlite3_backup_finish(backup);
        err = rc == SQLITE_DONE ? 0 : state_db_errno(rc == SQLITE_READONLY || rc == SQLITE_FULL ? db : from, rc);
    }
    (void)sqlite3_close(db);
    (void)sqlite3_close(from);
    if (err != 0) {
        (void)unlink(to);
    }
    return err;
}
