/* Files found by what they are at the source, whatever their name. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "tests/support_state.h"

TestSuite(state_renames, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

#define DIR_ID   5
#define OTHER_ID 6
#define LOST_ID  7 /* whose path is not known */

static struct state *with_index(const char *boot)
{
    struct state *s = open_boot(boot);
    cr_assert_eq(state_renames_keep(s, true), 0);
    return s;
}

/* A run of "boot 1" that records "a" to "c" of DIR_ID, which is at "some/where". */
static void make_entries(bool durable)
{
    struct state *s = with_index("boot 1");
    begin(s, new_id(), durable);
    state_dir(s, DIR_ID, "some/where");
    record(s, DIR_ID, "a", 1);
    record(s, DIR_ID, "b", 2);
    struct state_file racy = file_of(DIR_ID, "c", 3);
    racy.racy = true;
    state_record(s, &racy);
    record(s, LOST_ID, "d", 4);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
}

/* What state_renamed says of a file with those attributes that is now name in dir_id. */
static int find(struct state *s, uint64_t dir_id, const char *name, const struct attr *src, struct state_renamed *out)
{
    struct state_reader *r = NULL;
    cr_assert_eq(state_reader_create(s, &r), 0);
    const int err = state_renamed(r, dir_id, name, src, out);
    state_reader_destroy(r);
    cr_assert_eq(state_error(s), 0);
    return err;
}

static int find_number(struct state *s, uint64_t dir_id, const char *name, uint64_t n)
{
    struct state_renamed found = {.name = NULL};
    const struct attr src = file_of(dir_id, name, n).src;
    const int err = find(s, dir_id, name, &src, &found);
    state_renamed_release(&found);
    return err;
}

Test(state_renames, a_file_is_found_under_its_former_name)
{
    make_entries(true);
    struct state *s = with_index("boot 1");
    struct state_renamed found = {.name = NULL};
    const struct state_file was = file_of(DIR_ID, "a", 1);
    struct attr now = was.src;
    now.ctime.tv_sec++; /* which moves with a rename */
    now.mode ^= 0111;
    cr_assert_eq(find(s, OTHER_ID, "new", &now, &found), 0);
    cr_assert_str_eq(found.name, "a");
    cr_assert_str_eq(found.dir_path, "some/where");
    cr_assert_eq(found.file.dir_id, DIR_ID);
    cr_assert_eq(found.file.name, found.name);
    cr_assert_eq(found.file.src.mode, was.src.mode);
    cr_assert_eq(found.file.dst.ino, was.dst.ino);
    cr_assert(attr_is_same_file(&was.dst, &found.file.dst));
    state_renamed_release(&found);
    cr_assert_eq(find_number(s, OTHER_ID, "a", 1), 0, "the same name elsewhere");
    cr_assert_eq(find_number(s, DIR_ID, "new", 1), 0, "another name there");
    cr_assert_eq(find_number(s, DIR_ID, "a", 1), -ENOENT, "its own name");
    state_close(s);
}

Test(state_renames, another_file_is_not_found)
{
    make_entries(true);
    struct state *s = with_index("boot 1");
    struct state_renamed found = {.name = NULL};
    struct attr other[4];
    for (unsigned i = 0; i < 4; i++) {
        other[i] = file_of(DIR_ID, "a", 1).src;
    }
    other[0].ino++;
    other[1].dev++;
    other[2].size++;
    other[3].mtime.tv_nsec ^= 1;
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(find(s, OTHER_ID, "new", &other[i], &found), -ENOENT, "%u", i);
    }
    cr_assert_eq(find_number(s, OTHER_ID, "new", 9), -ENOENT);
    state_close(s);
}

Test(state_renames, what_proves_nothing_is_not_found)
{
    make_entries(true);
    struct state *s = with_index("boot 1");
    cr_assert_eq(find_number(s, OTHER_ID, "new", 3), -ENOENT, "racy");
    cr_assert_eq(find_number(s, OTHER_ID, "new", 4), -ENOENT, "nobody knows where");
    begin(s, new_id(), true);
    cr_assert_eq(state_settle(s, state_intend(s, DIR_ID, "a")), 0);
    cr_assert_eq(find_number(s, OTHER_ID, "new", 1), 0, "about to be replaced");
    state_doubt(s, DIR_ID, "b");
    cr_assert_eq(state_settle(s, state_intend(s, OTHER_ID, "x")), 0);
    cr_assert_eq(find_number(s, OTHER_ID, "new", 2), -ENOENT, "in doubt");
    state_close(s);

    s = with_index("boot 1");
    cr_assert_eq(find_number(s, OTHER_ID, "new", 1), -ENOENT, "the run was killed then");
    state_close(s);
}

Test(state_renames, what_was_perhaps_lost_with_its_boot_is_not_found)
{
    make_entries(false);
    struct state *s = with_index("boot 1");
    cr_assert_eq(find_number(s, OTHER_ID, "new", 1), 0);
    state_close(s);
    s = with_index("boot 2");
    cr_assert_eq(find_number(s, OTHER_ID, "new", 1), -ENOENT);
    state_close(s);
}

Test(state_renames, a_state_without_entries_has_none)
{
    struct state *s = with_index("boot 1");
    cr_assert_eq(find_number(s, OTHER_ID, "new", 1), -ENOENT);
    state_close(s);
}

#define IS_INDEXED "SELECT count(*) FROM sqlite_master WHERE type='index' AND name='files_ino'"

/* It comes to what was recorded before, is kept with what changes, and goes. */
Test(state_renames, the_index_is_there_only_where_it_is_asked_for)
{
    struct state *s = open_state();
    begin(s, new_id(), true);
    state_dir(s, DIR_ID, "some/where");
    record(s, DIR_ID, "a", 1);
    cr_assert_eq(state_run_end(s, 0), 0);
    state_close(s);
    cr_assert_eq(ask(IS_INDEXED), 0);

    s = open_state();
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(state_renames_keep(s, true), 0);
        cr_assert_eq(ask(IS_INDEXED), 1);
    }
    cr_assert_eq(find_number(s, OTHER_ID, "new", 1), 0);
    begin(s, new_id(), true);
    record(s, DIR_ID, "a", 2);
    cr_assert_eq(state_run_end(s, 0), 0);
    cr_assert_eq(find_number(s, OTHER_ID, "new", 1), -ENOENT);
    cr_assert_eq(find_number(s, OTHER_ID, "new", 2), 0);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(state_renames_keep(s, false), 0);
        cr_assert_eq(ask(IS_INDEXED), 0);
    }
    state_close(s);
}
