#include "planner/links.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_plan.h"
#include "support_tree.h"

/* --- the table alone --- */

static struct dir_tree tree; /* without stores */

static struct dir *root_dir(void)
{
    struct dir *root = NULL;
    cr_assert_eq(dir_create_root(&tree, &root), 0);
    return root;
}

static bool meet(struct links *l, uint64_t ino, const struct dir *dir, const char *name)
{
    bool leader = false;
    cr_assert_eq(links_meet(l, 1, ino, dir, name, false, &leader), 0);
    return leader;
}

Test(links, table, .timeout = 10)
{
    struct links *l = NULL;
    struct dir *root = root_dir();
    struct dir *sub = NULL;
    struct link_row row;
    uint64_t rows = 0;

    cr_assert_eq(links_create(&l), 0);
    cr_assert_eq(dir_create_child(root, "sub", 3, &sub), 0);
    cr_expect_not(links_waiting(l));
    cr_expect(meet(l, 7, sub, "lead"));
    cr_expect_not(links_waiting(l));
    cr_expect_not(meet(l, 7, sub, "b"));
    cr_expect_not(meet(l, 7, root, "c"));
    cr_expect(meet(l, UINT64_MAX, root, "other"), "an inode above 2^63");
    cr_expect_not(meet(l, UINT64_MAX, root, "other2"));
    cr_expect(links_waiting(l));
    cr_assert_eq(links_settle(l, 1, 7, LINK_ARRIVED), 0);
    cr_assert_eq(links_settle(l, 1, UINT64_MAX, LINK_FAILED), 0);

    cr_assert_eq(links_round(l, &rows), 0);
    cr_expect_eq(rows, 3);
    cr_assert_eq(links_next(l, &row), 0);
    cr_expect(strcmp(row.dir, ".") == 0 && strcmp(row.name, "c") == 0 && row.task == LINK_TO_LEADER);
    cr_expect(strcmp(row.leader_dir, "sub") == 0 && strcmp(row.leader_name, "lead") == 0 && row.ino == 7);
    links_row_release(&row);
    cr_assert_eq(links_next(l, &row), 0);
    cr_expect(strcmp(row.name, "other2") == 0 && row.task == LINK_LEAD && row.ino == UINT64_MAX);
    links_row_release(&row);
    cr_assert_eq(links_next(l, &row), 0);
    cr_expect(strcmp(row.dir, "sub") == 0 && strcmp(row.name, "b") == 0);
    links_row_release(&row);
    cr_expect_eq(links_next(l, &row), -ENOENT);
    cr_expect_not(links_waiting(l));
    dir_put(sub);
    dir_put(root);
    links_destroy(l);
    links_destroy(NULL);
}

/* The leader fails, then the next, then the last arrives. */
Test(links, one_after_the_other_leads, .timeout = 10)
{
    struct links *l = NULL;
    struct dir *root = root_dir();
    struct link_row row;
    uint64_t rows = 0;
    static const char *const names[] = {"a", "b", "c", "d"};

    cr_assert_eq(links_create(&l), 0);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(meet(l, 1, root, names[i]), i == 0);
    }
    cr_assert_eq(links_settle(l, 1, 1, LINK_FAILED), 0);
    cr_assert_eq(links_round(l, &rows), 0);
    cr_assert_eq(rows, 1);
    cr_assert_eq(links_next(l, &row), 0);
    cr_expect(row.task == LINK_LEAD && strcmp(row.name, "b") == 0);
    links_row_release(&row);
    cr_assert_eq(links_round(l, &rows), 0);
    cr_assert_eq(rows, 1, "a leader that nobody settled counts as failed");
    cr_assert_eq(links_next(l, &row), 0);
    cr_expect(row.task == LINK_LEAD && strcmp(row.name, "c") == 0);
    links_row_release(&row);
    cr_assert_eq(links_settle(l, 1, 1, LINK_ARRIVED), 0);
    cr_assert_eq(links_round(l, &rows), 0);
    cr_assert_eq(rows, 1);
    cr_assert_eq(links_next(l, &row), 0);
    cr_expect(row.task == LINK_TO_LEADER && strcmp(row.name, "d") == 0 && strcmp(row.leader_name, "c") == 0);
    links_row_release(&row);

    bool changed = false;
    enum link_state state = LINK_PENDING;
    cr_assert_eq(links_again(l, 1, 1, root, "d", LINK_SEPARATE, &changed), 0);
    cr_expect(changed, "the leader had arrived");
    cr_assert_eq(links_again(l, 1, 1, root, "e", LINK_SEPARATE, &changed), 0);
    cr_expect_not(changed);
    cr_assert_eq(links_state(l, 1, 1, &state), 0);
    cr_expect_eq(state, LINK_SEPARATE);
    cr_assert_eq(links_state(l, 1, 2, &state), -ENOENT);
    cr_expect(links_waiting(l));
    cr_assert_eq(links_round(l, &rows), 0);
    cr_assert_eq(rows, 2);
    cr_assert_eq(links_next(l, &row), 0);
    cr_expect(row.task == LINK_COPY && strcmp(row.name, "d") == 0);
    links_row_release(&row);
    cr_assert_eq(links_next(l, &row), 0);
    cr_expect(row.task == LINK_COPY && strcmp(row.name, "e") == 0);
    links_row_release(&row);
    cr_expect_not(links_waiting(l));
    dir_put(root);
    links_destroy(l);
}

/* A group that was done is done anew: one of its names leads, all others are linked again. */
Test(links, done_anew, .timeout = 10)
{
    struct links *l = NULL;
    struct dir *root = root_dir();
    struct link_row row;
    uint64_t rows = 0;
    static const char *const names[] = {"a", "b", "c"};

    cr_assert_eq(links_create(&l), 0);
    cr_expect_eq(links_redo(l, 1, 1), -EIO, "no such group");
    for (unsigned i = 0; i < 3; i++) {
        meet(l, 1, root, names[i]);
    }
    cr_assert_eq(links_settle(l, 1, 1, LINK_ARRIVED), 0);
    for (unsigned again = 0; again <= LINKS_REDO_MAX; again++) {
        cr_assert_eq(links_round(l, &rows), 0);
        cr_expect_eq(rows, 2, "the two that do not lead");
        while (links_next(l, &row) == 0) {
            cr_expect_eq(row.task, LINK_TO_LEADER);
            cr_expect_str_neq(row.name, row.leader_name);
            links_row_release(&row);
        }
        cr_expect_not(links_waiting(l));
        if (again == LINKS_REDO_MAX) {
            break;
        }
        cr_assert_eq(links_redo(l, 1, 1), 0);
        cr_assert_eq(links_redo(l, 1, 1), 0, "that it is due is known already");
        cr_expect(links_waiting(l));
        cr_assert_eq(links_round(l, &rows), 0);
        cr_expect_eq(rows, 1);
        cr_assert_eq(links_next(l, &row), 0);
        cr_expect(row.task == LINK_LEAD && !row.fresh);
        links_row_release(&row);
        cr_assert_eq(links_settle(l, 1, 1, LINK_ARRIVED), 0);
    }
    cr_expect_eq(links_redo(l, 1, 1), -EIO, "often enough");
    dir_put(root);
    links_destroy(l);
}

Test(links, claims, .timeout = 10)
{
    struct links *l = NULL;
    const struct attr there = {.dev = 5, .ino = UINT64_MAX};
    const struct attr other = {.dev = 6, .ino = UINT64_MAX};
    const struct attr one = {.dev = 1, .ino = UINT64_MAX};
    const struct attr two = {.dev = 1, .ino = 2};
    bool ours = false;

    cr_assert_eq(links_create(&l), 0);
    cr_assert_eq(links_claim(l, &there, &one, &ours), 0);
    cr_expect(ours);
    cr_assert_eq(links_claim(l, &there, &two, &ours), 0);
    cr_expect_not(ours);
    cr_assert_eq(links_claim(l, &other, &two, &ours), 0);
    cr_expect(ours, "the same inode of another device");
    cr_assert_eq(links_claim(l, &there, &one, &ours), 0);
    cr_expect(ours, "a further name of the file that has it");
    cr_expect_not(links_waiting(l));
    links_destroy(l);
}

Test(links, late_directories, .timeout = 10)
{
    struct links *l = NULL;
    struct dir *root = root_dir();
    struct dir *sub = NULL;
    char *path = NULL;

    cr_assert_eq(links_create(&l), 0);
    cr_expect_eq(links_late_next(l, &path), -ENOENT);
    cr_assert_eq(dir_create_child(root, "sub", 3, &sub), 0);
    cr_assert_eq(links_late(l, sub), 0);
    cr_assert_eq(links_late(l, sub), 0);
    cr_assert_eq(links_late_next(l, &path), 0);
    cr_expect_str_eq(path, "sub");
    free(path);
    cr_expect_eq(links_late_next(l, &path), -ENOENT, "twice is once");
    dir_put(sub);
    dir_put(root);
    links_destroy(l);
}

/* --- groups in a tree --- */

struct fixture {
    struct plan_try t;
    unsigned b_told;         /* how often b was finished; walk and link phase come one after the other */
    struct timespec b_mtime; /* as it was told the last time */
};

static void begin(struct fixture *f)
{
    plan_try_init(&f->t, "links");
    f->t.options.walkers = 4;
}

static struct stat at_dst(const struct fixture *f, const char *name)
{
    char path[4096];
    struct stat st = {0};
    snprintf(path, sizeof(path), "%s/%s", f->t.dst, name);
    cr_expect_eq(lstat(path, &st), 0, "%s: %s", path, strerror(errno));
    return st;
}

static void make_group(const struct fixture *f)
{
    tree_file(f->t.src, "shared", "a/one");
    tree_dir(f->t.src, "b/c");
    tree_link(f->t.src, "a/one", "a/two");
    tree_link(f->t.src, "a/one", "b/three");
    tree_link(f->t.src, "a/one", "b/c/four");
    tree_link(f->t.src, "a/one", "five");
    tree_symlink(f->t.src, "target", "s1");
    tree_link(f->t.src, "s1", "b/s2");
    tree_file(f->t.src, "alone", "a/alone");
}

Test(links, group_across_directories, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    make_group(&f);
    plan_try_run_well(&f.t);
    plan_try_same(&f.t, true);
    cr_expect_eq(f.t.counts.links, 5);
    cr_expect_eq(f.t.kinds[ITEM_LINK], 5);
    cr_expect_eq(f.t.counts.files, 2);
    plan_try_run_well(&f.t);
    cr_expect_eq(f.t.counts.todo, 0);
    cr_expect_eq(f.t.counts.same, 8);
    cr_expect_eq(f.t.same, 8);
    plan_try_same(&f.t, true);
    plan_try_release(&f.t);
}

Test(links, changed_leader_takes_its_group_along, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    make_group(&f);
    plan_try_run_well(&f.t);
    tree_file(f.t.src, "changed", "b/three"); /* all five names */
    plan_try_run_well(&f.t);
    plan_try_same(&f.t, true);
    cr_expect_eq(f.t.kinds[ITEM_LINK], 4);
    plan_try_release(&f.t);
}

Test(links, group_that_was_separate, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    make_group(&f);
    f.t.options.hard_links = false;
    plan_try_run_well(&f.t);
    cr_expect_eq(at_dst(&f, "a/one").st_nlink, 1);
    f.t.options.hard_links = true;
    plan_try_run_well(&f.t);
    plan_try_same(&f.t, true);
    cr_expect_eq(at_dst(&f, "a/one").st_nlink, 5);
    plan_try_release(&f.t);
}

/* A directory is changed at the source as soon as the walk has finished it, and is then met once more for a link that
 * is right already: what is remembered of it is what it is like at the destination. */
static void change_b(void *arg, const struct dir *dir, const struct attr *attr)
{
    struct plan_try *t = arg;
    struct fixture *f = t->own;
    struct timespec times[2] = {{2000, 0}, {2000, 0}};
    char path[4096];
    if (dir->parent == NULL || strcmp(dir->name, "b") != 0) {
        return;
    }
    f->b_told++;
    f->b_mtime = attr->mtime;
    snprintf(path, sizeof(path), "%s/b", f->t.src);
    cr_assert_eq(utimensat(-100, path, times, 0), 0);
}

Test(links, what_is_remembered_of_a_directory_met_again, .timeout = 60)
{
    struct fixture f = {0};
    begin(&f);
    tree_file(f.t.src, "x", "a/one");
    tree_dir(f.t.src, "b");
    tree_link(f.t.src, "a/one", "b/two");
    f.t.own = &f;
    f.t.options.archive_dirs = true;
    f.t.options.finished = change_b;
    for (unsigned i = 0; i < 2; i++) { /* the second time the link is right */
        f.b_told = 0;
        plan_try_run_well(&f.t);
        cr_expect_geq(f.b_told, 1);
        cr_expect_eq(at_dst(&f, "b").st_mtim.tv_sec, f.b_mtime.tv_sec, "remembered: %ld, there: %ld", f.b_mtime.tv_sec,
                     at_dst(&f, "b").st_mtim.tv_sec);
        tree_file(f.t.src, "y", "b/more"); /* another time for b */
    }
    plan_try_release(&f.t);
}

/* Names that hang together only at the destination do not change with each other. */
Test(links, group_that_is_none_any_more, .timeout = 60)
{
    struct fixture f;
    char path[4096];
    begin(&f);
    tree_file(f.t.src, "x", "one");
    tree_file(f.t.src, "x", "two");
    struct timespec times[2] = {{1000, 0}, {1000, 0}};
    snprintf(path, sizeof(path), "%s/one", f.t.src);
    cr_assert_eq(utimensat(-100, path, times, 0), 0);
    cr_assert_eq(chmod(path, 0600), 0);
    snprintf(path, sizeof(path), "%s/two", f.t.src);
    cr_assert_eq(utimensat(-100, path, times, 0), 0);
    tree_file(f.t.dst, "x", "one");
    snprintf(path, sizeof(path), "%s/one", f.t.dst);
    cr_assert_eq(utimensat(-100, path, times, 0), 0);
    tree_link(f.t.dst, "one", "two");
    plan_try_run_well(&f.t);
    plan_try_same(&f.t, true);
    cr_expect_eq(at_dst(&f, "two").st_mode & 0777, 0644);
    plan_try_release(&f.t);
}

/* Takes name out of its group at the source: a file of its own that looks the same. */
static void break_up(const struct fixture *f, const char *name)
{
    char path[4096];
    char alone[4096];
    const char *const argv[] = {"cp", "-p", path, alone, NULL};
    int status = 0;
    snprintf(path, sizeof(path), "%s/%s", f->t.src, name);
    snprintf(alone, sizeof(alone), "%s/%s.alone", f->t.src, name);
    free(tree_run(argv, &status));
    cr_assert_eq(status, 0);
    cr_assert_eq(rename(alone, path), 0);
}

/* rsync does not see names that are linked at the destination only. */
static bool one_file(const struct fixture *f, const char *a, const char *b)
{
    return at_dst(f, a).st_ino == at_dst(f, b).st_ino;
}

/* Contents and times are the same still, but the names are separate files. */
Test(links, broken_up_pair, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    tree_file(f.t.src, "x", "a/one");
    tree_dir(f.t.src, "b");
    tree_link(f.t.src, "a/one", "b/two");
    plan_try_run_well(&f.t);
    cr_assert(one_file(&f, "a/one", "b/two"));
    break_up(&f, "b/two");
    plan_try_run_well(&f.t);
    cr_expect_not(one_file(&f, "a/one", "b/two"));
    cr_expect_eq(f.t.kinds[ITEM_FILE], 1, "one of them keeps what stands there");
    cr_expect_eq(f.t.counts.same, 1);
    plan_try_same(&f.t, true);
    plan_try_run_well(&f.t);
    cr_expect_eq(f.t.counts.todo, 0);
    plan_try_release(&f.t);
}

Test(links, one_name_leaves_its_group, .timeout = 60)
{
    static const char *const rest[] = {"a/two", "b/three", "b/c/four", "five"};
    struct fixture f;
    begin(&f);
    make_group(&f);
    plan_try_run_well(&f.t);
    break_up(&f, "a/one");
    plan_try_run_well(&f.t);
    plan_try_same(&f.t, true);
    cr_expect_eq(at_dst(&f, "a/one").st_nlink, 1);
    for (unsigned i = 0; i < 4; i++) {
        cr_expect_eq(at_dst(&f, rest[i]).st_nlink, 4, "%s", rest[i]);
        cr_expect(one_file(&f, rest[0], rest[i]), "%s", rest[i]);
    }
    plan_try_run_well(&f.t);
    cr_expect_eq(f.t.counts.todo, 0);
    plan_try_release(&f.t);
}

/* Two pairs that are linked crosswise at the destination: as many names everywhere, but not the same ones. */
Test(links, names_change_groups, .timeout = 60)
{
    struct fixture f;
    struct timespec times[2] = {{1000, 0}, {1000, 0}};
    char path[4096];
    begin(&f);
    tree_file(f.t.src, "x", "a");
    tree_link(f.t.src, "a", "b");
    tree_file(f.t.src, "x", "c");
    tree_link(f.t.src, "c", "d");
    tree_file(f.t.dst, "x", "a");
    tree_link(f.t.dst, "a", "c");
    tree_file(f.t.dst, "x", "b");
    tree_link(f.t.dst, "b", "d");
    for (unsigned i = 0; i < 8; i++) {
        snprintf(path, sizeof(path), "%s/%c", i < 4 ? f.t.src : f.t.dst, 'a' + (char)(i % 4));
        cr_assert_eq(utimensat(-100, path, times, 0), 0);
    }
    plan_try_run_well(&f.t);
    cr_expect(one_file(&f, "a", "b"));
    cr_expect(one_file(&f, "c", "d"));
    cr_expect_not(one_file(&f, "a", "c"));
    plan_try_same(&f.t, true);
    plan_try_run_well(&f.t);
    cr_expect_eq(f.t.counts.todo, 0);
    plan_try_release(&f.t);
}

/* A snapshot of the destination by hard links: what is right is not written again. */
Test(links, further_names_at_the_destination_alone, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    tree_file(f.t.src, "x", "one");
    plan_try_run_well(&f.t);
    tree_link(f.t.dst, "one", "kept");
    plan_try_run_well(&f.t);
    cr_expect_eq(f.t.counts.todo, 0);
    cr_expect(one_file(&f, "one", "kept"));
    plan_try_release(&f.t);
}

Test(links, directory_in_the_way, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    make_group(&f);
    tree_dir(f.t.dst, "a/two");
    tree_dir(f.t.dst, "b/three");
    tree_dir(f.t.dst, "a/one");
    plan_try_run_well(&f.t);
    plan_try_same(&f.t, true);
    plan_try_release(&f.t);
}

static int fail_leaders(struct plan_try *t, const struct item *item)
{
    atomic_int *left = t->own;
    return item->leader && S_ISREG(item->attr.mode) && atomic_fetch_sub(left, 1) > 0 ? -EIO : 0;
}

/* Two leaders fail: the third name leads, and the others are links to it. */
Test(links, leader_fails, .timeout = 60)
{
    struct fixture f;
    atomic_int left = 2;
    begin(&f);
    make_group(&f);
    f.t.own = &left;
    f.t.meddle = fail_leaders;
    plan_try_run(&f.t);
    cr_expect_eq(f.t.errors, 2, "%s", f.t.failed);
    cr_expect_eq(f.t.failures, 0);
    cr_expect(f.t.counts.complete);
    f.t.meddle = NULL;
    plan_try_run_well(&f.t);
    plan_try_same(&f.t, true);
    plan_try_release(&f.t);
}

/* All leaders fail: every name has been tried, and the run ends. */
Test(links, all_leaders_fail, .timeout = 60)
{
    struct fixture f;
    atomic_int left = 1000;
    begin(&f);
    make_group(&f);
    f.t.own = &left;
    f.t.meddle = fail_leaders;
    plan_try_run(&f.t);
    cr_expect_eq(f.t.errors, 5, "%s", f.t.failed);
    cr_expect_eq(f.t.kinds[ITEM_LINK], 1, "the symbolic link's second name");
    plan_try_release(&f.t);
}

static int no_links(struct plan_try *t, const struct item *item)
{
    (void)t;
    return item->kind == ITEM_LINK ? -EPERM : 0;
}

/* A destination without hard links: every name is a file of its own, said once. */
Test(links, destination_without_links, .timeout = 60)
{
    struct fixture f;
    const char *text = NULL;
    uint64_t count = 0;
    begin(&f);
    make_group(&f);
    f.t.meddle = no_links;
    plan_try_run_well(&f.t);
    cr_expect_eq(at_dst(&f, "b/c/four").st_nlink, 1);
    cr_expect_eq(at_dst(&f, "b/c/four").st_size, 6);
    cr_expect_eq(at_dst(&f, "five").st_nlink, 1);
    cr_expect(S_ISLNK(at_dst(&f, "b/s2").st_mode));
    cr_expect_eq(f.t.kinds[ITEM_FILE], 1 + 1 + 4);
    cr_expect_eq(f.t.counts.copies, 5);
    cr_expect_eq(notice_at(f.t.notices, 0, &text, &count), 0);
    cr_expect_eq(count, 5);
    plan_try_release(&f.t);
}

struct limit {
    atomic_uint made; /* links since the last leader */
    unsigned most;
};

static int few_links(struct plan_try *t, const struct item *item)
{
    struct limit *limit = t->own;
    if (item->leader) {
        atomic_store(&limit->made, 0);
    }
    return item->kind == ITEM_LINK && atomic_fetch_add(&limit->made, 1) >= limit->most ? -EMLINK : 0;
}

/* A destination that takes few links to one file: several files with as many links as it takes. */
Test(links, too_many_links, .timeout = 60)
{
    struct fixture f;
    struct limit limit = {.most = 9};
    begin(&f);
    tree_file(f.t.src, "x", "n0");
    for (unsigned i = 1; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%u", i);
        tree_link(f.t.src, "n0", name);
    }
    f.t.own = &limit;
    f.t.meddle = few_links;
    plan_try_run_well(&f.t);
    cr_expect_eq(f.t.kinds[ITEM_FILE], 10);
    unsigned tens = 0;
    for (unsigned i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%u", i);
        tens += at_dst(&f, name).st_nlink == 10 ? 1 : 0;
    }
    cr_expect_eq(tens, 100);
    /* Nine files more than one, each told once, whatever the number of names that found the one before full. */
    cr_expect_eq(f.t.counts.copies, 9);
    const char *text = NULL;
    uint64_t count = 0;
    cr_assert_eq(notice_at(f.t.notices, 0, &text, &count), 0);
    cr_expect_eq(count, 9);
    plan_try_release(&f.t);
}

/* Enough names that all walkers work on the rounds. */
Test(links, many_groups, .timeout = 120)
{
    struct fixture f;
    begin(&f);
    for (unsigned i = 0; i < 1000; i++) {
        char from[64];
        tree_file(f.t.src, "x", "day0/d%u/f%u", i % 30, i);
        snprintf(from, sizeof(from), "day0/d%u/f%u", i % 30, i);
        for (unsigned day = 1; day < 4; day++) {
            char to[64];
            tree_dir(f.t.src, "day%u/d%u", day, i % 30);
            snprintf(to, sizeof(to), "day%u/d%u/f%u", day, i % 30, i);
            tree_link(f.t.src, from, to);
        }
    }
    plan_try_run_well(&f.t);
    cr_expect_eq(f.t.counts.links, 3000);
    cr_expect_eq(f.t.kinds[ITEM_LINK], 3000);
    plan_try_same(&f.t, true);
    plan_try_run_well(&f.t);
    cr_expect_eq(f.t.counts.todo, 0);
    cr_expect_eq(f.t.counts.same, 4000);
    plan_try_release(&f.t);
}

/* A name of the group is exchanged for another file, another vanishes, between the walk and the links. */
static int exchange(struct plan_try *t, const struct item *item)
{
    char path[4096];
    if (item->leader) {
        static const char *const names[] = {"n0", "n1", "n2"};
        unsigned changed = 0;
        for (unsigned i = 0; i < 3 && changed < 2; i++) {
            if (strcmp(names[i], item->name) == 0) {
                continue;
            }
            snprintf(path, sizeof(path), "%s/%s", t->src, names[i]);
            unlink(path);
            if (changed++ == 0) {
                tree_file(t->src, "another", "%s", names[i]);
            }
        }
    }
    return 0;
}

Test(links, names_change_during_the_run, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    tree_file(f.t.src, "x", "n0");
    tree_link(f.t.src, "n0", "n1");
    tree_link(f.t.src, "n0", "n2");
    f.t.meddle = exchange;
    plan_try_run(&f.t);
    cr_expect_eq(f.t.failures, 1, "%s", f.t.failed);
    cr_expect_not_null(strstr(f.t.failed, "ENOENT src\n"));
    plan_try_same(&f.t, true);
    plan_try_release(&f.t);
}

/* --- broken groups --- */

/* Before the first link of a run: its leader breaks, and somebody notices. own: how often that may happen (int). */
static int break_leader(struct plan_try *t, const struct item *item)
{
    int *times = t->own;
    char *from = item->kind == ITEM_LINK ? dir_path(item->from_dir, item->from_name) : NULL;
    pthread_mutex_lock(&t->lock);
    bool now = item->kind == ITEM_LINK && S_ISREG(item->attr.mode) && *times > 0;
    *times -= now ? 1 : 0;
    pthread_mutex_unlock(&t->lock);
    if (now) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", t->dst, from);
        cr_expect_eq(truncate(path, 0), 0);
        planner_hold(t->planner, item->work.dir);
        int err = planner_link_anew(t->planner, &item->attr);
        cr_expect(err == 0 || err == -EIO);
        planner_release(t->planner, NULL, item->work.dir); /* the item itself keeps it from being finished */
    }
    free(from);
    return 0;
}

Test(links, broken_group_is_published_anew, .timeout = 60)
{
    struct fixture f;
    int times = 1;
    begin(&f);
    make_group(&f);
    f.t.meddle = break_leader;
    f.t.own = &times;
    plan_try_run_well(&f.t);
    plan_try_same(&f.t, true);
    cr_expect_eq(at_dst(&f, "five").st_nlink, 5);
    cr_expect_eq(f.t.kinds[ITEM_FILE], 3, "two files, and the one of the group once more");
    plan_try_release(&f.t);
}

/* One that breaks whenever it is linked does not keep the run for ever. */
Test(links, hopeless_group_is_given_up, .timeout = 60)
{
    struct fixture f;
    int times = 1000;
    begin(&f);
    make_group(&f);
    f.t.meddle = break_leader;
    f.t.own = &times;
    plan_try_run_well(&f.t);
    cr_expect_eq(f.t.kinds[ITEM_FILE], 2 + LINKS_REDO_MAX);
    plan_try_release(&f.t);
}
