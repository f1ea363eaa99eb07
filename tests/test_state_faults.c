#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support_state.h"

TestSuite(state_faults, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

/* All of a file; freed by the caller. */
static char *contents(const char *path, size_t *out_len)
{
    FILE *f = fopen(path, "re");
    cr_assert_not_null(f, "%s", path);
    cr_assert_eq(fseek(f, 0, SEEK_END), 0);
    const long len = ftell(f);
    rewind(f);
    char *bytes = malloc((size_t)len + 1);
    cr_assert_not_null(bytes);
    cr_assert_eq(fread(bytes, 1, (size_t)len, f), (size_t)len);
    (void)fclose(f);
    *out_len = (size_t)len;
    return bytes;
}

/* Opens as the program does and expects that error. Returns the new name of what was moved aside (to be freed). */
static char *expect_open(int expected)
{
    struct state *s = NULL;
    char *aside = file; /* must not be left as it was */
    const int err = state_open(file, &pair, NULL, &s, &aside);
    cr_assert_eq(err, expected, "%d, not %d", err, expected);
    cr_assert_null(s);
    return aside;
}

/* ---- what is no database of ours ---- */

Test(state_faults, a_text_file_is_kept_aside)
{
    char text[8192];
    memset(text, 't', sizeof(text));
    write_at(file, 0, text, sizeof(text));
    char wal[400];
    (void)snprintf(wal, sizeof(wal), "%s-wal", file);
    write_at(wal, 0, "precious", 8);
    char *aside = expect_open(-EBADMSG);
    cr_assert_not_null(aside);
    cr_assert_not_null(strstr(aside, "state.db.corrupt-"));
    size_t len = 0;
    char *kept = contents(aside, &len);
    cr_assert_eq(len, sizeof(text));
    cr_assert_arr_eq(kept, text, sizeof(text));
    free(kept);
    free(aside);
    cr_assert_eq(access(file, F_OK), -1);

    cr_assert_eq(matching("state.db.corrupt-*Z-wal"), 1);

    struct state *s = open_state(); /* the next run begins anew */
    begin(s, new_id(), true);
    state_close(s);
    cr_assert_eq(ask("PRAGMA wal_checkpoint(TRUNCATE)"), 0); /* else it would be whole in the WAL */
    write_at(file, 0, text, sizeof(text));
    free(expect_open(-EBADMSG)); /* within the same second: both are kept */
    cr_assert_eq(matching("state.db.corrupt-*Z") + matching("state.db.corrupt-*Z-1"), 2);
}

Test(state_faults, a_truncated_database_is_kept_aside)
{
    make_database(2000);
    struct stat st;
    cr_assert_eq(stat(file, &st), 0);
    cr_assert_gt(st.st_size, 40 * 4096);
    cr_assert_eq(truncate(file, st.st_size / 2 / 4096 * 4096), 0);
    char *aside = expect_open(-EBADMSG);
    cr_assert_not_null(aside);
    free(aside);
    cr_assert_eq(access(file, F_OK), -1);
}

Test(state_faults, other_tables_under_our_name_are_kept_aside)
{
    make_database(1);
    (void)ask("DROP TABLE runs");
    char *aside = expect_open(-EBADMSG);
    cr_assert_not_null(aside);
    free(aside);
}

Test(state_faults, an_empty_file_is_a_new_database)
{
    write_at(file, 0, "", 0);
    struct state *s = open_state();
    begin(s, new_id(), true);
    state_close(s);
    cr_assert_eq(ask("SELECT count(*) FROM runs"), 1);
}

static void expect_untouched(int expected)
{
    size_t len = 0;
    size_t len_after = 0;
    char *before = contents(file, &len);
    char *aside = expect_open(expected);
    cr_assert_null(aside);
    char *after = contents(file, &len_after);
    cr_assert_eq(len, len_after);
    cr_assert_arr_eq(before, after, len);
    cr_assert_eq(matching("*corrupt*"), 0);
    free(before);
    free(after);
}

/* As a haul that knew no partial files has left it. */
Test(state_faults, an_older_version_is_brought_up_to_date)
{
    make_database(3);
    (void)ask("DROP TABLE partials");
    (void)ask("DROP TABLE parts");
    (void)ask("UPDATE meta SET version=1");
    for (int i = 0; i < 2; i++) {
        struct state *s = open_state();
        begin(s, new_id(), true);
        cr_assert_eq(known_number(s, 0, "file 1", 1), KNOWN_GOOD, "nothing is forgotten");
        state_part(s, ".haul.0123456789abcdef.0000000000000001", (uint64_t)i, NULL);
        state_close(s);
        cr_assert_eq(ask("SELECT version FROM meta"), STATE_VERSION);
        cr_assert_eq(ask("SELECT count(*) FROM parts"), i + 1);
        cr_assert_eq(ask("SELECT count(*) FROM partials"), 0);
    }
    cr_assert_eq(matching("*corrupt*"), 0);
}

Test(state_faults, a_newer_version_is_left_alone)
{
    make_database(1);
    (void)ask("UPDATE meta SET version=version+1");
    (void)ask("PRAGMA wal_checkpoint(TRUNCATE)");
    expect_untouched(-EPROTO);
}

Test(state_faults, another_pair_is_left_alone)
{
    make_database(1);
    (void)ask("UPDATE meta SET destination=CAST('/elsewhere' AS BLOB)");
    (void)ask("PRAGMA wal_checkpoint(TRUNCATE)");
    expect_untouched(-EXDEV);
}

Test(state_faults, another_programs_database_is_left_alone)
{
    write_at(file, 0, "", 0);
    (void)ask("CREATE TABLE places(url TEXT)");
    expect_untouched(-EXDEV);
}

Test(state_faults, what_is_no_regular_file_is_left_alone)
{
    cr_assert_eq(mkdir(file, 0700), 0);
    cr_assert_null(expect_open(-EISDIR));
    cr_assert_eq(rmdir(file), 0);
    cr_assert_eq(mkfifo(file, 0600), 0);
    cr_assert_null(expect_open(-EINVAL));
    cr_assert_eq(unlink(file), 0);
    (void)snprintf(file, sizeof(file), "%s/none/state.db", folder);
    cr_assert_null(expect_open(-ENOENT));
}

Test(state_faults, a_folder_that_may_not_be_written)
{
    cr_assert_eq(chmod(folder, 0555), 0);
    if (geteuid() == 0) {
        cr_assert_eq(setresuid(65534, 65534, 0), 0);
    }
    cr_assert_null(expect_open(-EACCES));
    if (getuid() == 65534) {
        cr_assert_eq(seteuid(0), 0);
    }
    cr_assert_eq(chmod(folder, 0700), 0);
    cr_assert_eq(matching("*"), 0);
}

/* Damage that a look at the ends of the tables does not find. */
Test(state_faults, damage_met_later_is_said_and_kept_aside)
{
    make_database(20000);
    struct stat st;
    cr_assert_eq(stat(file, &st), 0);
    char noise[4096];
    memset(noise, 0xA5, sizeof(noise));
    for (off_t page = st.st_size / 4096 / 3; page < st.st_size / 4096 * 2 / 3; page++) {
        write_at(file, page * 4096, noise, sizeof(noise));
    }
    struct notices *notices = NULL;
    cr_assert_eq(notices_create(&notices), 0);
    struct state *s = NULL;
    char *aside = NULL;
    cr_assert_eq(state_open(file, &pair, notices, &s, &aside), 0);
    unsigned doubtful = 0;
    struct state_reader *r = NULL;
    cr_assert_eq(state_reader_create(s, &r), 0);
    for (unsigned i = 0; i < 20000; i++) {
        char name[32];
        const struct attr src = attr_of(i);
        (void)snprintf(name, sizeof(name), "file %u", i);
        const enum known known = state_known(r, i / 100, name, &src);
        cr_assert_neq(known, KNOWN_NOTHING);
        doubtful += known == KNOWN_SUSPECT;
    }
    state_reader_destroy(r);
    cr_assert_gt(doubtful, 100);
    cr_assert_eq(state_error(s), -EBADMSG);
    state_close(s);
    const char *text = NULL;
    uint64_t count = 0;
    cr_assert_eq(notice_at(notices, 0, &text, &count), 0);
    cr_assert_not_null(strstr(text, "damaged"));
    cr_assert_eq(matching("state.db.corrupt-*Z"), 1);
    cr_assert_eq(access(file, F_OK), -1);
    notices_destroy(notices);
}

/* ---- what goes wrong while it writes ---- */

/* Records for ever; says so through fd once more records were taken than two batches hold, so that one is written. */
static void record_until_killed(int fd)
{
    struct state *s = open_state();
    begin(s, new_id(), false);
    for (uint64_t i = 0;; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%llu", (unsigned long long)i);
        record(s, i * 0x9E3779B97F4A7C15ULL, name, i); /* all over the table */
        if (i % 1000 == 0) {
            state_run_progress(s, i, i, i, i, 0, false);
        }
        if (i == 20000 && write(fd, "x", 1) != 1) {
            _exit(1);
        }
    }
}

_Static_assert(2 * BATCH_RECORDS < 20000, "one batch is written by then");

Test(state_faults, killed_while_it_writes, .timeout = 120)
{
#if defined(__SANITIZE_THREAD__)
    cr_skip_test("the thread sanitizer has no threads after a fork");
#endif
    enum { ROUNDS = SANITIZED ? 3 : 8 };
    for (int round = 1; round <= ROUNDS; round++) {
        int fds[2];
        char c = 0;
        cr_assert_eq(pipe(fds), 0);
        const pid_t pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0) {
            record_until_killed(fds[1]);
        }
        cr_assert_eq(close(fds[1]), 0);
        cr_assert_eq(read(fds[0], &c, 1), 1);
        /* Not waiting for luck: any moment will do, and each round takes another. */
        const int64_t moment = clock_mono_ns() + round * 7 * NS_PER_MS;
        while (clock_mono_ns() < moment) {
            sched_yield();
        }
        cr_assert_eq(kill(pid, SIGKILL), 0);
        cr_assert_eq(waitpid(pid, NULL, 0), pid);
        (void)close(fds[0]);

        struct state *s = open_state();
        struct state_run run = {0};
        cr_assert_eq(state_run_get(s, 0, &run), 0);
        cr_assert_eq(run.number, round);
        cr_assert_eq(run.status, -1);
        cr_assert_eq(run.ended_ns, 0);
        state_close(s);
        /* Whole batches in their order: what is there is all that came before its last record. */
        const int64_t count = ask("SELECT count(*) FROM files");
        cr_assert_gt(count, 0);
        cr_assert_eq(ask("SELECT max(ino) FROM files"), 1000000 + count - 1);
        cr_assert_eq(ask("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check='ok'"), 1);
        cr_assert_leq(ask("SELECT files_done FROM runs ORDER BY number DESC LIMIT 1"),
                      ask("SELECT max(size) FROM files"));
    }
}

/* Records more than there is room for, then ends. */
static void fill_up(int expected)
{
    struct state *s = open_state();
    begin(s, new_id(), false);
    for (unsigned i = 0; i < 60000; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%u", i);
        record(s, i, name, i);
    }
    state_failure(s, "a", "write", EIO, 1);
    const int err = state_run_end(s, 23);
    cr_assert_eq(err, expected, "%d", err);
    cr_assert_eq(state_error(s), expected);
    record(s, 1, "later", 1);
    state_close(s);
    cr_assert_eq(matching("*corrupt*"), 0);
}

Test(state_faults, a_file_that_may_not_grow)
{
    const struct rlimit small = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
    const struct rlimit large = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    fill_up(-EFBIG);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
    struct state *s = open_state(); /* with room it goes on */
    begin(s, new_id(), false);
    record(s, 1, "again", 1);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    cr_assert_eq(ask("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check='ok'"), 1);
}

Test(state_faults, a_failed_sync_is_kept_where_records_are_lost)
{
    const struct rlimit large = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    struct state *s = open_state();
    begin(s, new_id(), false);
    record(s, 1, "a", 1);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    cr_assert_eq(ask("PRAGMA wal_checkpoint(TRUNCATE)"), 0);

    s = open_state();
    begin(s, new_id(), false);
    const struct rlimit none = {.rlim_cur = 1, .rlim_max = RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    record(s, 1, "b", 2);
    state_epoch_failed(s);
    while (state_error(s) == 0) {
        (void)sched_yield();
    }
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
    cr_assert_neq(state_run_end(s, 23), 0);
    state_close(s);

    s = open_state();
    cr_assert_eq(known_number(s, 1, "a", 1), KNOWN_SUSPECT);
    cr_assert_eq(known_number(s, 1, "b", 2), KNOWN_NOTHING);
    state_close(s);
}

Test(state_faults, a_full_disk)
{
    if (geteuid() != 0) {
        cr_skip_test("mounting takes root");
    }
    cr_assert_eq(mount("none", folder, "tmpfs", 0, "size=2m"), 0);
    fill_up(-ENOSPC);
    cr_assert_eq(ask("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check='ok'"), 1);
    (void)unlink(file);
    cr_assert_eq(umount(folder), 0);
}

/* ---- many threads, many records ---- */

enum { THREADS = 3, EACH = 30000 };

struct crowd {
    struct state *s;
    uint64_t first;
    atomic_bool *done;
    uint64_t looked;
};

static void *record_many(void *arg)
{
    const struct crowd *c = arg;
    for (uint64_t i = c->first; i < c->first + EACH; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "file %llu", (unsigned long long)i);
        if (i % 100 == 0) {
            state_dir(c->s, i / 100, "path");
            (void)state_epoch_next(c->s);
        }
        record(c->s, i / 100, name, i);
    }
    return NULL;
}

/* Looks at what was there before, all the while. */
static void *look(void *arg)
{
    struct crowd *c = arg;
    struct state_reader *r = NULL;
    cr_assert_eq(state_reader_create(c->s, &r), 0);
    do {
        for (unsigned i = 0; i < 300; i++) {
            char name[32];
            const struct attr src = attr_of(i);
            (void)snprintf(name, sizeof(name), "file %u", i);
            cr_assert_eq(state_known(r, i / 100, name, &src), KNOWN_GOOD);
            c->looked++;
        }
    } while (!atomic_load(c->done));
    state_reader_destroy(r);
    return NULL;
}

static void crowd(bool rollback)
{
    make_database(300);
    struct notices *notices = NULL;
    cr_assert_eq(notices_create(&notices), 0);
    const struct state_params params = {
        .path = file, .pair = &pair, .boot = "boot 1", .rollback = rollback, .notices = notices};
    struct state *s = NULL;
    char *aside = NULL;
    cr_assert_eq(state_open_params(&params, &s, &aside), 0);
    begin(s, new_id(), false);
    atomic_bool done = false;
    struct crowd writers[THREADS];
    struct crowd readers[2];
    pthread_t threads[THREADS + 2];
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (struct crowd){.s = s, .first = 1000 + (uint64_t)i * EACH};
        cr_assert_eq(pthread_create(&threads[i], NULL, record_many, &writers[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        readers[i] = (struct crowd){.s = s, .done = &done};
        cr_assert_eq(pthread_create(&threads[THREADS + i], NULL, look, &readers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    atomic_store(&done, true);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(pthread_join(threads[THREADS + i], NULL), 0);
        cr_assert_geq(readers[i].looked, 300);
    }
    const int err = state_run_end(s, 0);
    cr_assert_eq(err, 0, "%d", err);
    state_close(s);
    cr_assert_eq(ask("SELECT count(*) FROM files"), 300 + THREADS * EACH);
    cr_assert_eq(ask("SELECT count(*) FROM files f WHERE epoch>=1<<25 AND NOT EXISTS"
                     " (SELECT 1 FROM epochs WHERE id=f.epoch)"),
                 0, "each record's epoch has its row");
    cr_assert_eq(ask("SELECT count(*) FROM epochs WHERE run=2"), THREADS * EACH / 100 + 1);
    const char *text = NULL;
    uint64_t count = 0;
    cr_assert_eq(notice_at(notices, 0, &text, &count), rollback ? 0 : -ENOENT);
    notices_destroy(notices);
}

Test(state_faults, many_threads, .timeout = 120)
{
    crowd(false);
    cr_assert_eq(matching("state.db-wal"), 1);
}

Test(state_faults, many_threads_with_the_rollback_journal, .timeout = 120)
{
    crowd(true);
    cr_assert_eq(matching("state.db-wal"), 0);
    struct state *s = open_state(); /* and back */
    cr_assert_eq(known_number(s, 0, "file 7", 7), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 10, "file 1007", 1007), KNOWN_GOOD);
    state_close(s);
}

/* Peak resident memory in KiB; the figure of the process itself, not of its forebears. */
static long peak_kib(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    long kib = -1;
    cr_assert_not_null(f);
    while (fgets(line, sizeof(line), f) != NULL && sscanf(line, "VmHWM: %ld", &kib) != 1) {
    }
    (void)fclose(f);
    cr_assert_gt(kib, 0);
    return kib;
}

/* With a reader that never rests: it must not keep the WAL from being written back and begun anew. */
Test(state_faults, neither_memory_nor_wal_grow_with_the_records, .timeout = 120)
{
    const uint64_t count = SANITIZED ? 50000 : 1000000;
    make_database(300);
    const long before = peak_kib();
    struct state *s = open_state();
    begin(s, new_id(), false);
    atomic_bool done = false;
    struct crowd reader = {.s = s, .done = &done};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, look, &reader), 0);
    for (uint64_t i = 1000; i < 1000 + count; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%llu", (unsigned long long)i);
        record(s, (i / 50) * 0x9E3779B97F4A7C15ULL, name, i);
    }
    atomic_store(&done, true);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    const long grown = peak_kib() - before;
    cr_assert(SANITIZED || grown < 30 * 1024, "%ld KiB", grown);
    cr_assert_eq(ask("SELECT count(*) FROM files"), (int64_t)count + 300);
    char wal[400];
    struct stat st;
    (void)snprintf(wal, sizeof(wal), "%s-wal", file);
    cr_assert_eq(stat(wal, &st), 0);
    cr_assert_lt(st.st_size, 100 << 20, "%lld", (long long)st.st_size);
}
