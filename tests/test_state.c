#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support_state.h"

TestSuite(state, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

/* ---- where it is ---- */

Test(state, the_default_path_is_private_and_of_the_pair)
{
    char expected[400];
    char *a = NULL;
    char *b = NULL;
    (void)umask(0);
    cr_assert_eq(setenv("XDG_STATE_HOME", "not/absolute", 1), 0);
    cr_assert_eq(setenv("HOME", folder, 1), 0);
    cr_assert_eq(state_default_path(&pair, &a), 0);
    (void)snprintf(expected, sizeof(expected), "%s/.local/state/haul/", folder);
    cr_assert(strncmp(a, expected, strlen(expected)) == 0, "%s", a);
    cr_assert_eq(strlen(a), strlen(expected) + 32 + 3);
    cr_assert_eq(mode_of(expected), 0700);
    (void)snprintf(expected, sizeof(expected), "%s/.local", folder);
    cr_assert_eq(mode_of(expected), 0700);
    cr_assert_eq(state_default_path(&pair, &b), 0, "a second time");
    cr_assert_str_eq(a, b);
    free(b);

    const struct state_pair shifted = {.source = "/src \xffn", .destination = "fs://server/export"};
    cr_assert_eq(state_default_path(&shifted, &b), 0);
    cr_assert_str_neq(a, b);
    free(a);
    free(b);

    cr_assert_eq(setenv("XDG_STATE_HOME", folder, 1), 0);
    cr_assert_eq(state_default_path(&pair, &a), 0);
    (void)snprintf(expected, sizeof(expected), "%s/haul/", folder);
    cr_assert(strncmp(a, expected, strlen(expected)) == 0, "%s", a);
    free(a);
}

Test(state, no_default_path_through_a_file)
{
    char *path = NULL;
    write_at(file, 0, "x", 1);
    cr_assert_eq(setenv("XDG_STATE_HOME", file, 1), 0);
    cr_assert_eq(state_default_path(&pair, &path), -ENOTDIR);
    cr_assert_null(path);
}

Test(state, files_are_private_whatever_the_umask)
{
    static const mode_t masks[] = {0, 0777};
    for (int i = 0; i < 2; i++) {
        char wal[400];
        (void)umask(masks[i]);
        (void)snprintf(file, sizeof(file), "%s/%d.db", folder, i);
        struct state *s = open_state();
        begin(s, new_id(), true);
        (void)snprintf(wal, sizeof(wal), "%s-wal", file);
        cr_assert_eq(mode_of(file), 0600);
        cr_assert_eq(mode_of(wal), 0600);
        state_close(s);
    }
}

Test(state, a_symbolic_link_to_a_database_is_followed)
{
    char link[300];
    make_database(1);
    (void)snprintf(link, sizeof(link), "%s/link", folder);
    cr_assert_eq(symlink("state.db", link), 0);
    (void)snprintf(file, sizeof(file), "%s", link);
    struct state *s = open_state();
    cr_assert_eq(known_number(s, 0, "file 0", 0), KNOWN_GOOD);
    state_close(s);
    cr_assert_eq(matching("link-wal"), 0);
}

/* ---- round trips ---- */

Test(state, what_was_recorded_is_found_by_the_next_run)
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    struct state_file plain = file_of(UINT64_MAX, "a b\n\xff", 1);
    struct state_file full = file_of(5, "full", 2);
    full.dst.mode = S_IFREG | 0600;
    full.dst.uid = 0;
    full.dst.gid = 0;
    full.dst.size = 1;
    full.dst.mtime.tv_sec = -1;
    full.dst.mtime.tv_nsec = 999999999;
    full.hash_known = true;
    full.racy = true;
    memcpy(full.hash, "0123456789abcdef", 16);
    state_record(s, &plain);
    state_record(s, &full);
    state_dir(s, 5, "some/dir");
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);

    s = open_state();
    struct state_reader *r = NULL;
    struct state_file got = {0};
    cr_assert_eq(state_reader_create(s, &r), 0);
    cr_assert_eq(state_lookup(r, UINT64_MAX, "a b\n\xff", &got), 0);
    cr_assert_eq(got.src.mode, plain.src.mode);
    cr_assert_eq(got.src.uid, 1000);
    cr_assert_eq(got.src.gid, 100);
    cr_assert_eq(got.src.dev, 2049);
    cr_assert_eq(got.src.ino, 1000001);
    cr_assert_eq(got.src.size, 8193);
    cr_assert_eq(clock_cmp(&got.src.mtime, &plain.src.mtime), 0);
    cr_assert_eq(clock_cmp(&got.src.ctime, &plain.src.ctime), 0);
    cr_assert_eq(got.dst.mode, plain.dst.mode);
    cr_assert_eq(got.dst.uid, 1000);
    cr_assert_eq(got.dst.size, 8193);
    cr_assert_eq(got.dst.ino, 8);
    cr_assert_eq(clock_cmp(&got.dst.mtime, &plain.dst.mtime), 0);
    cr_assert_eq(clock_cmp(&got.dst.ctime, &plain.dst.ctime), 0);
    cr_assert_not(got.hash_known);
    cr_assert_not(got.racy);

    cr_assert_eq(state_lookup(r, 5, "full", &got), 0);
    cr_assert_eq(got.dst.mode, full.dst.mode);
    cr_assert_eq(got.dst.uid, 0);
    cr_assert_eq(got.dst.gid, 0);
    cr_assert_eq(got.dst.size, 1);
    cr_assert_eq(clock_cmp(&got.dst.mtime, &full.dst.mtime), 0);
    cr_assert(got.hash_known);
    cr_assert_arr_eq(got.hash, full.hash, 16);
    cr_assert(got.racy);
    cr_assert_str_eq(got.name, "full");

    cr_assert_eq(state_lookup(r, 6, "full", &got), -ENOENT);
    cr_assert_eq(state_lookup(r, 5, "ful", &got), -ENOENT);
    cr_assert_eq(state_error(s), 0);
    state_reader_destroy(r);
    state_reader_destroy(NULL);
    state_close(s);
    state_close(NULL);
    cr_assert_eq(ask("SELECT count(*) FROM dirs WHERE id=5 AND path=CAST('some/dir' AS BLOB)"), 1);
}

Test(state, another_file_is_not_known)
{
    make_database(3);
    struct state *s = open_state();
    const struct attr same = attr_of(1);
    cr_assert_eq(known_of(s, 0, "file 1", &same), KNOWN_GOOD);
    cr_assert_eq(known_of(s, 0, "file 2", &same), KNOWN_NOTHING);
    cr_assert_eq(known_of(s, 1, "file 1", &same), KNOWN_NOTHING);
    struct attr other[6] = {same, same, same, same, same, same};
    other[0].size++;
    other[1].mtime.tv_nsec++;
    other[2].ctime.tv_nsec++;
    other[3].ino++;
    other[4].dev++;
    other[5].mode = S_IFLNK | 0777;
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(known_of(s, 0, "file 1", &other[i]), KNOWN_NOTHING, "%d", i);
    }
    state_close(s);
}

Test(state, racy_is_suspect_until_it_is_published_again)
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    struct state_file racy = file_of(1, "racy", 1);
    racy.racy = true;
    state_record(s, &racy);
    state_close(s);

    s = open_state();
    struct attr touched = racy.src;
    touched.ctime.tv_sec++;
    cr_assert_eq(known_of(s, 1, "racy", &racy.src), KNOWN_SUSPECT);
    cr_assert_eq(known_of(s, 1, "racy", &touched), KNOWN_SUSPECT, "attributes that are equal prove nothing");
    begin(s, new_id(), true);
    racy.racy = false;
    state_record(s, &racy);
    state_close(s);

    s = open_state();
    cr_assert_eq(known_of(s, 1, "racy", &racy.src), KNOWN_GOOD);
    state_close(s);
}

static int note_intent(void *arg, const struct state_file *found, size_t name_len, bool intent, bool sure)
{
    unsigned *seen = arg;
    (void)name_len;
    *seen += 1;
    cr_assert_eq(intent, strcmp(found->name, "quiet") != 0, "%s", found->name);
    cr_assert_eq(sure, strcmp(found->name, "quiet") == 0, "%s", found->name);
    return 0;
}

/* A run that is killed may have replaced what is remembered: the next one neither trusts it, nor takes what stands
 * there for somebody else's. */
Test(state, what_was_announced_and_not_recorded_is_in_doubt)
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    struct state_file old = file_of(5, "old", 1);
    struct state_file quiet = file_of(5, "quiet", 2);
    state_record(s, &old);
    state_record(s, &quiet);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);

    s = open_state();
    begin(s, new_id(), true);
    (void)state_intend(s, 5, "old");
    cr_assert_eq(state_settle(s, state_intend(s, 5, "new")), 0);
    state_close(s); /* as if killed: the run has no end */

    s = open_state();
    struct state_reader *r = NULL;
    unsigned seen = 0;
    begin(s, new_id(), true);
    cr_assert_eq(state_reader_create(s, &r), 0);
    cr_assert_eq(state_known_touched(r, 5, "old", &old.src, 0), KNOWN_SUSPECT);
    cr_assert_eq(state_known_touched(r, 5, "new", &old.src, 0), KNOWN_SUSPECT);
    cr_assert_eq(state_known_with(r, 5, "new", &old.src, 0), KNOWN_SUSPECT, "for haul copy too");
    cr_assert_eq(state_known_touched(r, 5, "quiet", &quiet.src, 0), KNOWN_GOOD);
    cr_assert_eq(state_recall(r, 5, NULL, -1, note_intent, &seen), 0);
    cr_assert_eq(seen, 3);
    state_record(s, &old);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_reader_destroy(r);
    state_close(s);

    s = open_state();
    cr_assert_eq(state_reader_create(s, &r), 0);
    cr_assert_eq(state_known_touched(r, 5, "old", &old.src, 0), KNOWN_GOOD, "it was recorded");
    state_reader_destroy(r);
    state_close(s);
}

Test(state, the_last_word_on_an_entry_counts)
{
    make_database(4);
    struct state *s = open_state();
    begin(s, new_id(), true);
    state_forget(s, 0, "file 0"); /* gone */
    state_forget(s, 0, "file 1"); /* gone, and back */
    record(s, 0, "file 1", 11);
    record(s, 0, "file 2", 12); /* back, and gone */
    state_forget(s, 0, "file 2");
    record(s, 0, "file 3", 13);
    record(s, 0, "file 3", 14);
    state_forget(s, 0, "never there");
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    s = open_state();
    cr_assert_eq(known_number(s, 0, "file 0", 0), KNOWN_NOTHING);
    cr_assert_eq(known_number(s, 0, "file 1", 11), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 0, "file 2", 12), KNOWN_NOTHING);
    cr_assert_eq(known_number(s, 0, "file 3", 14), KNOWN_GOOD);
    state_close(s);
    cr_assert_eq(ask("SELECT count(*) FROM files"), 2);
}

Test(state, times_that_do_not_fit_are_never_good_by_chance)
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    struct state_file f = file_of(1, "f", 1);
    f.src.mtime.tv_sec = -3;
    f.src.mtime.tv_nsec = 1;
    state_record(s, &f);
    state_close(s);
    s = open_state();
    cr_assert_eq(known_of(s, 1, "f", &f.src), KNOWN_GOOD);
    struct state_reader *r = NULL;
    struct state_file got;
    cr_assert_eq(state_reader_create(s, &r), 0);
    cr_assert_eq(state_lookup(r, 1, "f", &got), 0);
    cr_assert_eq(got.src.mtime.tv_sec, -3);
    cr_assert_eq(got.src.mtime.tv_nsec, 1);
    state_reader_destroy(r);
    state_close(s);
}

/* ---- runs ---- */

Test(state, runs_are_numbered_and_remembered)
{
    struct state *s = open_state();
    struct state_run run = {0};
    struct state_run previous = {.number = 99};
    cr_assert_eq(state_run_get(s, 0, &run), -ENOENT);
    cr_assert_eq(state_run_begin(s, "bad id", true, &run, &previous), -EINVAL);
    cr_assert_eq(state_run_begin(s, "00000000000000aa", true, &run, &previous), 0);
    cr_assert_eq(run.number, 1);
    cr_assert_str_eq(run.id, "00000000000000aa");
    cr_assert_eq(previous.number, 0);
    cr_assert_not(state_run_is_dead(s, "00000000000000aa"), "it is the present run");
    cr_assert_eq(state_run_begin(s, "00000000000000ab", true, &run, &previous), -EALREADY);
    state_run_progress(s, 10, 1000, 4, 400, 1, false);
    state_run_progress(s, 20, 2000, 8, 800, 2, true);
    cr_assert_eq(state_run_end(s, 23), 0);
    cr_assert_eq(state_run_end(s, 23), -EINVAL);
    state_close(s);

    s = open_state();
    cr_assert_eq(state_run_begin(s, "00000000000000aa", true, &run, &previous), -EEXIST);
    cr_assert_eq(state_run_begin(s, "00000000000000bb", true, &run, &previous), 0);
    cr_assert_eq(run.number, 2);
    cr_assert_eq(previous.number, 1);
    cr_assert_str_eq(previous.id, "00000000000000aa");
    cr_assert_eq(previous.status, 23);
    cr_assert_gt(previous.started_ns, 0);
    cr_assert_geq(previous.ended_ns, previous.started_ns);
    cr_assert_leq(previous.ended_ns, run.started_ns);
    cr_assert_eq(previous.files_total, 20);
    cr_assert_eq(previous.bytes_total, 2000);
    cr_assert_eq(previous.files_done, 8);
    cr_assert_eq(previous.bytes_done, 800);
    cr_assert_eq(previous.failed, 2);
    cr_assert(previous.complete);
    cr_assert(state_run_is_dead(s, "00000000000000aa"));
    cr_assert_not(state_run_is_dead(s, "00000000000000bb"));
    cr_assert_not(state_run_is_dead(s, "00000000000000cc"));
    cr_assert_not(state_run_is_dead(s, "nonsense"));
    state_close(s); /* without an end: it was cut off */

    s = open_state();
    cr_assert_eq(state_run_get(s, 0, &run), 0);
    cr_assert_eq(run.number, 2);
    cr_assert_eq(run.status, -1);
    cr_assert_eq(run.ended_ns, 0);
    cr_assert_eq(state_run_get(s, 1, &run), 0);
    cr_assert_eq(run.status, 23);
    cr_assert_eq(state_run_get(s, 3, &run), -ENOENT);
    cr_assert(state_run_is_dead(s, "00000000000000bb"));
    state_close(s);
}

Test(state, it_is_known_since_when_runs_fail)
{
    static const int statuses[] = {23, 0, 30, 20, 23};
    uint64_t runs = 77;
    int64_t since = 77;
    struct state_run third = {0};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct state *s = open_state();
        begin(s, new_id(), true);
        cr_assert_eq(state_run_end(s, statuses[i]), 0);
        state_close(s);
    }
    struct state *s = open_state();
    cr_assert_eq(state_run_get(s, 3, &third), 0);
    cr_assert_eq(state_failing(s, 6, &runs, &since), 0);
    cr_assert_eq(runs, 3);
    cr_assert_eq(since, third.started_ns);
    cr_assert_eq(state_failing(s, 3, &runs, &since), 0);
    cr_assert_eq(runs, 0, "the second one ended well");
    cr_assert_eq(since, 0);
    state_close(s);
}

Test(state, progress_is_written_while_it_changes)
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    struct state *watcher = open_state();
    struct state_run run = {0};
    for (uint64_t step = 1; step <= 2; step++) { /* without a single record */
        state_run_progress(s, 100, 1000 * step, step, 10 * step, 0, false);
        do {
            sched_yield();
            cr_assert_eq(state_run_get(watcher, 0, &run), 0);
        } while (run.files_done != step);
        cr_assert_eq(run.bytes_total, 1000 * step);
        cr_assert_eq(run.status, -1);
    }
    state_close(watcher);
    state_close(s);
}

Test(state, records_are_written_soon)
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    record(s, 1, "lonely", 1);
    while (ask("SELECT count(*) FROM files") != 1) { /* the batch is far from full */
        sched_yield();
    }
    state_close(s);
}

Test(state, outside_of_a_run_nothing_is_recorded)
{
    struct state *s = open_state();
    for (int i = 0; i < 20000; i++) { /* more than a batch: it must not wait for ever */
        record(s, 1, "before", 1);
    }
    state_run_progress(s, 1, 1, 1, 1, 1, true);
    cr_assert_eq(state_run_end(s, 0), -EINVAL);
    begin(s, new_id(), true);
    record(s, 1, "during", 1);
    cr_assert_eq(state_run_end(s, 0), 0);
    record(s, 1, "after", 1);
    state_close(s);
    cr_assert_eq(ask("SELECT count(*) FROM files"), 1);
    cr_assert_eq(ask("SELECT count(*) FROM files WHERE name=CAST('during' AS BLOB)"), 1);
    cr_assert_eq(ask("SELECT files_total FROM runs"), 0);
}

Test(state, failures_of_the_newest_runs_are_kept)
{
    for (int i = 0; i < FAILURES_RUNS + 5; i++) {
        struct state *s = open_state();
        begin(s, new_id(), true);
        state_failure(s, "a/b \xff", "rename", -EIO, 5);
        state_failure(s, "c", "an operation with a name that is far too long", ENOSPC, 1);
        cr_assert_eq(state_run_end(s, 23), 0);
        state_close(s);
    }
    cr_assert_eq(ask("SELECT count(*) FROM failures"), (int64_t)2 * FAILURES_RUNS);
    cr_assert_eq(ask("SELECT min(run) FROM failures"), 6);
    cr_assert_eq(ask("SELECT err FROM failures WHERE run=9 AND number=1 AND op='rename' AND attempts=5"), EIO);
    cr_assert_eq(ask("SELECT length(op) FROM failures WHERE run=9 AND number=2"), OP_MAX - 1);
    cr_assert_eq(ask("SELECT count(*) FROM runs"), FAILURES_RUNS + 5);
}

Test(state, paths_may_be_longer_than_a_batch)
{
    const size_t len = 3 * (size_t)BATCH_BYTES;
    char *path = malloc(len + 1);
    cr_assert_not_null(path);
    memset(path, 'p', len);
    path[len] = '\0';
    struct state *s = open_state();
    begin(s, new_id(), true);
    state_dir(s, 1, path);
    state_failure(s, path, "list", EIO, 1);
    path[TEXT_INLINE] = '\0';
    for (uint64_t i = 2; i < 100; i++) { /* full of bytes long before it is full of records */
        state_dir(s, i, path);
    }
    record(s, 1, path + 1, 1);
    path[TEXT_INLINE] = 'p';
    record(s, 1, path, 1); /* no file system has such a name */
    cr_assert_eq(state_run_end(s, 0), -ENAMETOOLONG);
    state_close(s);
    free(path);
    cr_assert_eq(ask("SELECT length(path) FROM dirs WHERE id=1"), (int64_t)len);
    cr_assert_eq(ask("SELECT length(path) FROM failures"), (int64_t)len);
    cr_assert_eq(ask("SELECT count(*) FROM dirs WHERE length(path)=65536"), 98);
    cr_assert_eq(ask("SELECT count(*) FROM files"), 1);
}

/* ---- epochs ---- */

Test(state, what_was_not_durable_is_suspect_after_a_boot)
{
    struct state *s = open_boot("boot 1");
    begin(s, new_id(), false);
    record(s, 1, "durable", 1);
    const int64_t first = state_epoch_next(s);
    record(s, 1, "second", 2);
    const int64_t second = state_epoch_next(s);
    record(s, 1, "open", 3);
    cr_assert_lt(first, second);
    state_epoch_durable(s, first);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);

    s = open_boot("boot 1");
    cr_assert_eq(known_number(s, 1, "durable", 1), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 1, "second", 2), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 1, "open", 3), KNOWN_GOOD);
    state_close(s);

    s = open_boot("boot 2");
    cr_assert_eq(known_number(s, 1, "durable", 1), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 1, "second", 2), KNOWN_SUSPECT);
    cr_assert_eq(known_number(s, 1, "open", 3), KNOWN_SUSPECT);
    struct attr remounted = attr_of(3);
    remounted.dev = 99; /* what a boot changes, too */
    cr_assert_eq(known_of(s, 1, "open", &remounted), KNOWN_SUSPECT);
    cr_assert_eq(known_number(s, 1, "never", 3), KNOWN_NOTHING);
    begin(s, new_id(), false);
    record(s, 1, "open", 3);
    state_epoch_durable(s, state_epoch_next(s));
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);

    s = open_boot("boot 3");
    cr_assert_eq(known_number(s, 1, "open", 3), KNOWN_GOOD, "published again, and durable");
    cr_assert_eq(known_number(s, 1, "second", 2), KNOWN_SUSPECT, "still never seen");
    state_close(s);
}

Test(state, a_later_epoch_takes_the_earlier_ones_along)
{
    struct state *s = open_boot("boot 1");
    begin(s, new_id(), false);
    record(s, 1, "first", 1);
    (void)state_epoch_next(s);
    record(s, 1, "second", 2);
    const int64_t second = state_epoch_next(s);
    record(s, 1, "third", 3);
    state_epoch_durable(s, second);
    state_epoch_durable(s, second + 1); /* it is still open: no sync can have begun after it */
    state_close(s);
    s = open_boot("boot 2");
    cr_assert_eq(known_number(s, 1, "first", 1), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 1, "second", 2), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 1, "third", 3), KNOWN_SUSPECT);
    state_close(s);
}

Test(state, a_durable_destination_outlives_every_boot)
{
    struct state *s = open_boot("boot 1");
    begin(s, new_id(), true);
    record(s, 1, "a", 1);
    state_epoch_durable(s, state_epoch_next(s));
    record(s, 1, "b", 2);
    state_close(s);
    s = open_boot("boot 2");
    cr_assert_eq(known_number(s, 1, "a", 1), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 1, "b", 2), KNOWN_GOOD);
    state_close(s);
}

Test(state, an_unknown_boot_is_never_this_one)
{
    struct state *s = open_boot("");
    begin(s, new_id(), false);
    record(s, 1, "a", 1);
    state_close(s);
    s = open_boot("");
    cr_assert_eq(known_number(s, 1, "a", 1), KNOWN_SUSPECT);
    state_close(s);
}

Test(state, the_kernel_names_this_boot)
{
    struct state *s = open_boot(NULL);
    begin(s, new_id(), false);
    record(s, 1, "a", 1);
    state_close(s);
    cr_assert_eq(ask("SELECT length(boot) FROM epochs"), 36);
    s = open_boot(NULL);
    cr_assert_eq(known_number(s, 1, "a", 1), KNOWN_GOOD);
    state_close(s);
}

Test(state, a_sync_covers_the_earlier_runs_of_its_boot)
{
    struct state *s = open_boot("boot 0");
    begin(s, new_id(), false);
    record(s, 1, "before the boot", 1);
    state_close(s);
    s = open_boot("boot 1");
    begin(s, new_id(), false);
    record(s, 1, "short run", 2);
    state_close(s);
    s = open_boot("boot 1");
    begin(s, new_id(), false);
    record(s, 1, "a", 3);
    state_epoch_durable(s, state_epoch_next(s));
    record(s, 1, "after", 4);
    state_close(s);

    s = open_boot("boot 2");
    cr_assert_eq(known_number(s, 1, "before the boot", 1), KNOWN_SUSPECT);
    cr_assert_eq(known_number(s, 1, "short run", 2), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 1, "a", 3), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 1, "after", 4), KNOWN_SUSPECT);
    state_close(s);
}

Test(state, what_a_failed_sync_may_have_lost_is_published_again)
{
    struct state *s = open_boot("boot 1");
    begin(s, new_id(), false);
    record(s, 1, "earlier run", 1);
    state_close(s);
    s = open_boot("boot 1");
    begin(s, new_id(), false);
    record(s, 1, "durable before", 2); /* with the earlier run's */
    const int64_t passed = state_epoch_next(s);
    state_epoch_durable(s, passed);
    record(s, 1, "lost", 3);
    const int64_t failed = state_epoch_next(s);
    record(s, 1, "meanwhile", 4);
    state_epoch_failed(s);
    record(s, 1, "in flight", 5);
    const int64_t later = state_epoch_next(s);
    state_epoch_durable(s, failed);
    state_epoch_durable(s, later);
    record(s, 1, "later", 6);
    state_epoch_durable(s, state_epoch_next(s));
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);

    static const char *const names[] = {"lost", "meanwhile", "in flight", "later"};
    s = open_boot("boot 1");
    cr_assert_eq(known_number(s, 1, "earlier run", 1), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 1, "durable before", 2), KNOWN_GOOD);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(known_number(s, 1, names[i], 3 + i), KNOWN_SUSPECT, "%s", names[i]);
    }
    begin(s, new_id(), false);
    record(s, 1, "lost", 3); /* published again */
    state_epoch_durable(s, state_epoch_next(s));
    state_close(s);

    s = open_boot("boot 1");
    cr_assert_eq(known_number(s, 1, "lost", 3), KNOWN_GOOD);
    cr_assert_eq(known_number(s, 1, "later", 6), KNOWN_SUSPECT, "a sync that passed later brings nothing back");
    state_close(s);
    cr_assert_eq(ask("SELECT count(*) FROM epochs WHERE run=1"), 0);
}

Test(state, a_failed_sync_spoils_the_earlier_runs_of_its_boot)
{
    struct state *s = open_boot("boot 1");
    begin(s, new_id(), false);
    record(s, 1, "a", 1);
    state_close(s);
    s = open_boot("boot 1");
    state_epoch_failed(s); /* of no run */
    begin(s, new_id(), false);
    cr_assert_eq(known_number(s, 1, "a", 1), KNOWN_GOOD);
    state_epoch_failed(s);
    state_epoch_failed(s);
    state_close(s);
    s = open_boot("boot 1");
    cr_assert_eq(known_number(s, 1, "a", 1), KNOWN_SUSPECT);
    state_close(s);
}

/* Temp names are looked for until a run has done so everywhere. */
Test(state, what_a_bad_run_left_is_looked_for_until_it_is_gone)
{
    static const struct {
        int status; /* -1: killed */
        bool sweeps;
        bool unswept; /* as it begins */
    } runs[] = {
        {0, false, false}, {0, false, false}, {-1, false, false}, {0, false, true},  {0, true, true},
        {0, false, false}, {23, true, false}, {0, true, true},    {0, false, false},
    };
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        struct state *s = open_state();
        (void)begin(s, new_id(), true);
        cr_expect_eq(state_unswept(s), runs[i].unswept, "run %zu", i + 1);
        if (runs[i].sweeps) {
            cr_expect_eq(state_swept(s), 0);
        }
        if (runs[i].status >= 0) {
            cr_expect_eq(state_run_end(s, runs[i].status), 0);
        }
        state_close(s);
    }
}

/* Killed before it began, a run is known for dead all the same, until somebody has looked for what it left. */
Test(state, an_announced_run_is_dead_to_the_next_one)
{
    static const char id[] = "00000000000000ee";
    struct state *s = open_state();
    cr_assert_eq(state_announce(s, "nonsense"), -EINVAL);
    cr_assert_eq(state_announce(s, id), 0);
    cr_expect_not(state_run_is_dead(s, id), "it is the present run");
    state_close(s);
    s = open_state();
    cr_expect(state_run_is_dead(s, id));
    cr_assert_eq(state_announce(s, "00000000000000ef"), 0);
    (void)begin(s, "00000000000000ef", true);
    cr_expect(state_unswept(s), "of a run that never began");
    cr_expect_eq(state_swept(s), 0);
    cr_expect_eq(state_run_end(s, 0), 0);
    state_close(s);
    s = open_state();
    cr_expect_not(state_run_is_dead(s, id), "nothing is left of it");
    cr_expect(state_run_is_dead(s, "00000000000000ef"));
    cr_assert_eq(state_announce(s, id), 0);
    cr_assert_eq(state_withdraw(s, id), 0);
    state_close(s);
    s = open_state();
    cr_expect_not(state_run_is_dead(s, id), "it took back what it had announced");
    (void)begin(s, new_id(), true);
    cr_expect_not(state_unswept(s));
    state_close(s);
}

Test(state, directories_are_gone_through)
{
    static const uint64_t ids[] = {0, 1, UINT64_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1};
    struct state *s = open_state();
    struct state_reader *r = NULL;
    int64_t at = 0;
    char *path = NULL;
    unsigned seen = 0;

    (void)begin(s, new_id(), true);
    cr_assert_eq(state_reader_create(s, &r), 0);
    cr_expect_eq(state_dir_next(r, NULL, &at, &path), -ENOENT);
    state_reader_destroy(r);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "dir/%zu", i);
        state_dir(s, ids[i], name);
    }
    cr_expect_eq(state_run_end(s, 0), 0);
    cr_assert_eq(state_reader_create(s, &r), 0);
    for (bool first = true; state_dir_next(r, first ? NULL : &at, &at, &path) == 0; first = false) {
        for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
            char name[16];
            (void)snprintf(name, sizeof(name), "dir/%zu", i);
            seen |= ids[i] == (uint64_t)at && strcmp(path, name) == 0 ? 1U << i : 0;
        }
        free(path);
    }
    cr_expect_eq(seen, 31, "each once");
    state_reader_destroy(r);
    state_close(s);
}
