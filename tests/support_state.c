#include "tests/support_state.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support_io.h"

const struct state_pair pair = {.source = "/src \xff", .destination = "nfs://server/export"};

char folder[256]; /* of the running test; each runs in a process of its own */
char file[300];   /* the database in it */

void state_set_up(void)
{
    (void)close(scratch_make(folder));
    (void)snprintf(file, sizeof(file), "%s/state.db", folder);
}

void state_tear_down(void)
{
    scratch_remove(folder);
}

/* boot NULL: the kernel's. */
struct state *open_boot(const char *boot)
{
    const struct state_params params = {.path = file, .pair = &pair, .boot = boot};
    struct state *s = NULL;
    char *aside = NULL;
    const int err = state_open_params(&params, &s, &aside);
    cr_assert_eq(err, 0, "%d", err);
    return s;
}

struct state *open_state(void)
{
    return open_boot("boot 1");
}

struct state_run begin(struct state *s, const char *id, bool durable)
{
    struct state_run run = {0};
    struct state_run previous = {0};
    const int err = state_run_begin(s, id, durable, &run, &previous);
    cr_assert_eq(err, 0, "%d", err);
    return run;
}

/* A new id for each run. */
const char *new_id(void)
{
    static char id[RUN_ID_LEN + 1];
    cr_assert_eq(run_id_make(id), 0);
    return id;
}

struct attr attr_of(uint64_t n)
{
    return (struct attr){
        .mode = S_IFREG | 0644,
        .uid = 1000,
        .gid = 100,
        .dev = 2049,
        .ino = 1000000 + n,
        .size = 8192 + n,
        .mtime = {.tv_sec = 1700000000, .tv_nsec = (long)(n % 1000000000)},
        .ctime = {.tv_sec = 1700000001, .tv_nsec = 5},
    };
}

struct state_file file_of(uint64_t dir, const char *name, uint64_t n)
{
    struct state_file f = {.dir_id = dir, .name = name, .src = attr_of(n), .dst = attr_of(n)};
    f.dst.ino = n + 7;
    f.dst.ctime.tv_sec += 100;
    return f;
}

void record(struct state *s, uint64_t dir, const char *name, uint64_t n)
{
    const struct state_file f = file_of(dir, name, n);
    state_record(s, &f);
}

enum known known_of(struct state *s, uint64_t dir, const char *name, const struct attr *src)
{
    struct state_reader *r = NULL;
    cr_assert_eq(state_reader_create(s, &r), 0);
    const enum known known = state_known(r, dir, name, src);
    state_reader_destroy(r);
    return known;
}

enum known known_number(struct state *s, uint64_t dir, const char *name, uint64_t n)
{
    const struct attr src = attr_of(n);
    return known_of(s, dir, name, &src);
}

/* The number that sql yields, through a connection of the test's own. */
int64_t ask(const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    cr_assert_eq(sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 10000);
    (void)sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
    const int rc = sqlite3_step(stmt);
    cr_assert(rc == SQLITE_ROW || rc == SQLITE_DONE, "%s: %s", sql, sqlite3_errmsg(db));
    const int64_t value = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : -1;
    (void)sqlite3_finalize(stmt);
    cr_assert_eq(sqlite3_close(db), SQLITE_OK);
    return value;
}

size_t matching(const char *pattern)
{
    char path[400];
    glob_t found = {0};
    (void)snprintf(path, sizeof(path), "%s/%s", folder, pattern);
    const int rc = glob(path, 0, NULL, &found);
    cr_assert(rc == 0 || rc == GLOB_NOMATCH);
    const size_t count = rc == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return count;
}

void write_at(const char *path, off_t offset, const void *bytes, size_t len)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, bytes, len, offset), (ssize_t)len);
    cr_assert_eq(close(fd), 0);
}

mode_t mode_of(const char *path)
{
    struct stat st;
    cr_assert_eq(stat(path, &st), 0, "%s", path);
    return st.st_mode & 07777;
}

/* A database with one finished run that recorded count files, all in the main file. */
void make_database(unsigned count)
{
    struct state *s = open_state();
    begin(s, new_id(), false);
    for (unsigned i = 0; i < count; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "file %u", i);
        record(s, i / 100, name, i);
    }
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    cr_assert_eq(ask("PRAGMA wal_checkpoint(TRUNCATE)"), 0);
}
