#include "planner/planner.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_plan.h"
#include "support_tree.h"
#include "workers/stores/posix.h"

static void begin(struct plan_try *t)
{
    plan_try_init(t, "plan");
    t->options.walkers = 4;
}

static void sample_tree(const char *base)
{
    tree_file(base, "one", "one");
    tree_file(base, "", "empty file");
    tree_file(base, "two", "a/b/two");
    tree_file(base, "three", "a/b/c/three\nlines");
    tree_dir(base, "hollow/dir");
    tree_symlink(base, "a/b", "link");
    tree_symlink(base, "nowhere", "a/dangling");
    char path[4096];
    snprintf(path, sizeof(path), "%s/a/fifo", base);
    cr_assert_eq(mkfifo(path, 0640), 0);
    snprintf(path, sizeof(path), "%s/a/b", base);
    cr_assert_eq(chmod(path, 0751), 0);
    snprintf(path, sizeof(path), "%s/hollow", base);
    struct timespec times[2] = {{1000000, 5}, {1000000, 7}};
    cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

Test(planner, whole_tree, .timeout = 60)
{
    struct plan_try t;
    begin(&t);
    sample_tree(t.src);
    plan_try_run_well(&t);
    plan_try_same(&t, true);
    cr_expect_eq(t.counts.files, 4);
    cr_expect_eq(t.counts.bytes, 11);
    cr_expect_eq(t.counts.others, 3);
    cr_expect_eq(t.counts.dirs, 6);
    cr_expect_eq(t.counts.dirs_made, 5);
    cr_expect_eq(t.counts.todo, 7);
    cr_expect_eq(t.counts.todo_bytes, 11);
    cr_expect_eq(t.existing, 1, "only the root stood there");

    /* Again: all is right, nothing is to be done. */
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.todo, 0);
    cr_expect_eq(t.counts.same, 7);
    cr_expect_eq(t.counts.same_bytes, 11);
    cr_expect_eq(t.same, 7);
    cr_expect_eq(t.existing, 6);
    plan_try_same(&t, true);
    plan_try_release(&t);
}

Test(planner, changes_are_found, .timeout = 60)
{
    struct plan_try t;
    char path[4096];
    begin(&t);
    sample_tree(t.src);
    plan_try_run_well(&t);
    tree_file(t.src, "one!", "one");
    snprintf(path, sizeof(path), "%s/a/b/two", t.src);
    cr_assert_eq(chmod(path, 04711), 0);
    snprintf(path, sizeof(path), "%s/link", t.src);
    cr_assert_eq(unlink(path), 0);
    tree_symlink(t.src, "a/c", "link"); /* as long as before */
    struct timespec times[2] = {{7, 7}, {7, 7}};
    snprintf(path, sizeof(path), "%s/link", t.dst);
    cr_assert_eq(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
    snprintf(path, sizeof(path), "%s/link", t.src);
    cr_assert_eq(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.todo, 3);
    cr_expect_eq(t.kinds[ITEM_FILE], 1);
    cr_expect_eq(t.kinds[ITEM_ATTRS], 1);
    cr_expect_eq(t.kinds[ITEM_SYMLINK], 1);
    plan_try_same(&t, true);
    plan_try_release(&t);
}

Test(planner, directory_times_are_left_alone_unless_asked, .timeout = 60)
{
    struct plan_try t;
    struct stat st;
    char path[4096];
    begin(&t);
    sample_tree(t.src);
    t.options.archive_dirs = false;
    plan_try_run_well(&t);
    plan_try_same(&t, false);
    snprintf(path, sizeof(path), "%s/hollow", t.dst);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_neq(st.st_mtim.tv_sec, 1000000);
    plan_try_release(&t);
}

/* Takes the file "stale" out of the directory "hollow". */
static bool purge_stale(struct plan_try *t, struct dir *dir)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/hollow/stale", t->dst);
    return strcmp(dir->name, "hollow") == 0 && unlink(path) == 0;
}

/* A directory that was right, but for a stale temp name in it: its times are set again when that is gone. */
Test(planner, purge_does_not_spoil_times, .timeout = 60)
{
    struct plan_try t;
    struct timespec times[2] = {{1000000, 5}, {1000000, 7}};
    char path[4096];
    begin(&t);
    sample_tree(t.src);
    plan_try_run_well(&t);
    tree_file(t.dst, "x", "hollow/stale");
    snprintf(path, sizeof(path), "%s/hollow", t.dst);
    cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
    t.purge = purge_stale;
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.todo, 0);
    plan_try_same(&t, true);
    plan_try_release(&t);
}

Test(planner, types_change, .timeout = 60)
{
    struct plan_try t;
    begin(&t);
    tree_file(t.src, "x", "file-over-empty-dir");
    tree_file(t.src, "x", "file-over-link");
    tree_file(t.src, "x", "dir-over-file/x");
    tree_file(t.src, "x", "dir-over-link/x");
    tree_symlink(t.src, "t", "link-over-file");
    tree_symlink(t.src, "t", "link-over-empty-dir");
    tree_dir(t.dst, "file-over-empty-dir");
    tree_symlink(t.dst, "/etc/passwd", "file-over-link");
    tree_file(t.dst, "y", "dir-over-file");
    tree_symlink(t.dst, "/tmp", "dir-over-link");
    tree_file(t.dst, "y", "link-over-file");
    tree_dir(t.dst, "link-over-empty-dir");
    plan_try_run_well(&t);
    plan_try_same(&t, true);
    plan_try_release(&t);
}

Test(planner, full_directory_in_the_way_stays, .timeout = 60)
{
    struct plan_try t;
    begin(&t);
    tree_file(t.src, "x", "a");
    tree_file(t.src, "x", "b");
    tree_file(t.dst, "precious", "a/kept");
    plan_try_run(&t);
    cr_expect_str_eq(t.failed, "remove a ENOTEMPTY dst\n");
    cr_expect_eq(t.counts.todo, 1, "the other file goes on");
    char path[4096];
    snprintf(path, sizeof(path), "%s/a/kept", t.dst);
    cr_expect_eq(access(path, F_OK), 0);
    plan_try_release(&t);
}

Test(planner, fresh_root_asks_nothing, .timeout = 60)
{
    struct plan_try t;
    begin(&t);
    sample_tree(t.src);
    t.options.root_fresh = true;
    plan_try_run_well(&t);
    cr_expect_eq(t.existing, 0);
    plan_try_same(&t, true);
    plan_try_release(&t);
}

Test(planner, deep, .timeout = 120)
{
    struct plan_try t;
    begin(&t);
    tree_chain(t.src, "d", 3000);
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.dirs, 3001);
    cr_expect_eq(t.counts.files, 1);
    cr_expect_eq(tree_chain_depth(t.dst, "d"), 3000);
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.same, 1);
    plan_try_release(&t);
}

Test(planner, deep_with_filter, .timeout = 120)
{
    struct plan_try t;
    struct filter *filter = NULL;
    begin(&t);
    tree_chain(t.src, "d", 2000);
    tree_file(t.src, "x", "d/d/skip");
    cr_assert_eq(filter_create(&filter), 0);
    cr_assert_eq(filter_add(filter, false, "/d/d/skip"), 0);
    t.options.filter = filter;
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.excluded, 1);
    cr_expect_eq(t.counts.files, 1);
    cr_expect_eq(t.counts.dirs, 2001);
    filter_destroy(filter);
    plan_try_release(&t);
}

Test(planner, wide, .timeout = 120)
{
    struct plan_try t;
    begin(&t);
    for (unsigned i = 0; i < 20000; i++) {
        tree_file(t.src, "", "f%u", i);
    }
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.files, 20000);
    cr_expect_geq(t.shards, 20000 / SHARD_ITEMS, "a directory becomes many shards");
    plan_try_same(&t, true);
    plan_try_release(&t);
}

/* More subdirectories than may be pending, so that the walk goes depth first; deeper than there are descriptors, so
 * that it must park its listings. */
Test(planner, more_directories_than_pending, .timeout = 120)
{
    struct plan_try t;
    struct rlimit usual;
    unsigned chains = 0;
    begin(&t);
    t.options.walkers = 1;
    for (unsigned i = 0; i < 4300; i++) {
        char path[4096];
        tree_dir(t.src, "d%u", i);
        if (i % 300 == 0) {
            snprintf(path, sizeof(path), "%s/d%u", t.src, i);
            tree_chain(path, "e", 60);
            tree_dir(path, "e/e/e/side");
            tree_file(path, "x", "e/e/file");
            chains++;
        }
    }
    t.handles = 8;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &usual), 0);
    struct rlimit few = {48, usual.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    plan_try_run_well(&t);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &usual), 0);
    cr_expect_eq(t.counts.dirs, 1 + 4300 + chains * 61);
    cr_expect_eq(t.counts.files, chains * 2);
    plan_try_same(&t, true);
    plan_try_release(&t);
}

Test(planner, excluded, .timeout = 60)
{
    struct plan_try t;
    struct filter *filter = NULL;
    char path[4096];
    begin(&t);
    sample_tree(t.src);
    tree_file(t.src, "lease", ".haul/lease");
    tree_file(t.src, "data", "a/.haul/kept");
    tree_file(t.src, "rest", "a/.haul.0123456789abcdef.0123456789abcdef");
    tree_file(t.dst, "ours", ".haul/lease");
    cr_assert_eq(filter_create(&filter), 0);
    cr_assert_eq(filter_add(filter, false, "b/"), 0);
    t.options.filter = filter;
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.excluded, 2, "a/b and the temp name; .haul is never counted");
    snprintf(path, sizeof(path), "%s/a/b", t.dst);
    cr_expect_eq(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/a/.haul/kept", t.dst);
    cr_expect_eq(access(path, F_OK), 0);
    snprintf(path, sizeof(path), "%s/a/.haul.0123456789abcdef.0123456789abcdef", t.dst);
    cr_expect_eq(access(path, F_OK), -1);
    const char *text = NULL;
    uint64_t count = 0;
    cr_expect_eq(notice_at(t.notices, 0, &text, &count), 0);
    filter_destroy(filter);
    plan_try_release(&t);
}

Test(planner, single_file, .timeout = 60)
{
    struct plan_try t;
    char path[4096];
    struct stat before;
    struct stat after;
    begin(&t);
    sample_tree(t.src);
    t.options.only_name = "one";
    t.options.only_as = "other";
    cr_assert_eq(chmod(t.dst, 0710), 0);
    cr_assert_eq(stat(t.dst, &before), 0);
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.todo, 1);
    snprintf(path, sizeof(path), "%s/other", t.dst);
    cr_expect_eq(access(path, F_OK), 0);
    cr_assert_eq(stat(t.dst, &after), 0);
    cr_expect_eq(before.st_mode, after.st_mode, "the destination directory is not the source's");
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.same, 1);
    cr_expect_eq(t.counts.todo, 0);
    t.options.only_name = "missing";
    t.options.only_as = NULL;
    plan_try_run(&t);
    cr_expect_str_eq(t.failed, "stat missing ENOENT src\n");
    plan_try_release(&t);
}

/* --- lists of files --- */

static void with_list(struct plan_try *t, const char *list, bool from0, size_t len)
{
    char path[] = "/tmp/haul-test-list-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, list, len), (ssize_t)len);
    close(fd);
    t->options.files_from = path;
    t->options.from0 = from0;
    plan_try_run(t);
    unlink(path);
}

static bool at_dst(const struct plan_try *t, const char *name)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", t->dst, name);
    return lstat(path, &st) == 0;
}

Test(planner, files_from, .timeout = 60)
{
    static const char list[] = "/one\n"
                               "\n"
                               "./a//b/two\n"
                               "a/b\n"
                               "hollow/\n"
                               "link\n"
                               "missing\n"
                               "a/nowhere/deeper/x\n"
                               "../etc/passwd\n"
                               "a/../one\n"
                               "link/two\n"
                               "one/two\n"
                               ".haul/lease\n"
                               "a/b/c\n"
                               "a/b/c/three\tno newline";
    struct plan_try t;
    struct stat st;
    char path[4096];
    begin(&t);
    sample_tree(t.src);
    tree_file(t.src, "lease", ".haul/lease");
    tree_file(t.src, "tab", "a/b/c/three\tno newline");
    with_list(&t, list, false, sizeof(list) - 1);
    cr_expect_not_null(strstr(t.failed, "stat missing ENOENT src\n"));
    cr_expect_not_null(strstr(t.failed, "files-from a/nowhere/deeper/x ENOENT src\n"));
    cr_expect_not_null(strstr(t.failed, "files-from (a path with ..) ../etc/passwd EINVAL src\n"));
    cr_expect_not_null(strstr(t.failed, "files-from (a path with ..) a/../one EINVAL src\n"));
    cr_expect_not_null(strstr(t.failed, "files-from link/two ENOTDIR src\n"));
    cr_expect_not_null(strstr(t.failed, "files-from one/two ENOTDIR src\n"));
    cr_expect_eq(t.failures, 6, "failures:\n%s", t.failed);
    cr_expect(at_dst(&t, "one"));
    cr_expect(at_dst(&t, "a/b/two"));
    cr_expect(at_dst(&t, "a/b/c/three\tno newline"));
    cr_expect(at_dst(&t, "link"));
    cr_expect(at_dst(&t, "hollow"));
    cr_expect_not(at_dst(&t, "hollow/dir"), "made, but not entered");
    cr_expect_not(at_dst(&t, "a/fifo"));
    cr_expect_not(at_dst(&t, "a/b/c/three\nlines"));
    cr_expect_not(at_dst(&t, ".haul"));
    snprintf(path, sizeof(path), "%s/a/b", t.dst);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0751, "implied parents have the source's attributes");
    snprintf(path, sizeof(path), "%s/hollow", t.dst);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mtim.tv_sec, 1000000);
    plan_try_release(&t);
}

Test(planner, files_from_nul, .timeout = 60)
{
    static const char list[] = "one\0a/b/c/three\nlines\0\0a/b/two";
    struct plan_try t;
    begin(&t);
    sample_tree(t.src);
    with_list(&t, list, true, sizeof(list) - 1);
    cr_expect_str_empty(t.failed, "%s", t.failed);
    cr_expect_eq(t.counts.files, 3);
    cr_expect(at_dst(&t, "a/b/c/three\nlines"));
    plan_try_release(&t);
}

Test(planner, files_from_with_a_nul_inside, .timeout = 60)
{
    struct plan_try t;
    begin(&t);
    sample_tree(t.src);
    with_list(&t, "o\0ne\na/b/two\n", false, 13);
    cr_expect_str_eq(t.failed, "files-from (a path with a NUL byte) o EINVAL src\n");
    cr_expect_eq(t.counts.files, 1);
    plan_try_release(&t);
}

Test(planner, files_from_filter_and_missing_list, .timeout = 60)
{
    struct plan_try t;
    struct filter *filter = NULL;
    struct planner *p = NULL;
    begin(&t);
    sample_tree(t.src);
    cr_assert_eq(filter_create(&filter), 0);
    cr_assert_eq(filter_add(filter, false, "b/"), 0);
    t.options.filter = filter;
    with_list(&t, "one\na/b/two\n", false, 12);
    cr_expect_str_empty(t.failed, "%s", t.failed);
    cr_expect(at_dst(&t, "one"));
    cr_expect_not(at_dst(&t, "a/b"));
    filter_destroy(filter);
    t.options.files_from = "/nonexistent/list";
    cr_expect_eq(planner_create(&t.options, &p), -ENOENT);
    t.options.files_from = t.src;
    cr_expect_eq(planner_create(&t.options, &p), -EISDIR);
    plan_try_release(&t);
}

/* Many lines in many directories, so that names travel in several tasks. */
Test(planner, files_from_many, .timeout = 60)
{
    struct plan_try t;
    char *list = NULL;
    size_t len = 0;
    begin(&t);
    FILE *out = open_memstream(&list, &len);
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned j = 0; j < 1500; j++) {
            if (j % 10 == 0) {
                tree_file(t.src, "", "dir%u/file-with-a-name%u", i, j);
            }
        }
        for (unsigned j = 0; j < 1500; j += 10) {
            fprintf(out, "dir%u/file-with-a-name%u\n", i, j);
        }
    }
    fclose(out);
    with_list(&t, list, false, len);
    cr_expect_str_empty(t.failed, "%s", t.failed);
    cr_expect_eq(t.counts.files, 3000);
    cr_expect_eq(t.counts.dirs, 21);
    plan_try_same(&t, true);
    free(list);
    plan_try_release(&t);
}

/* --- what cannot be read, and who may not --- */

/* Gives both trees away and goes on without root's rights: each test is a process of its own. */
static void become_nobody(struct plan_try *t)
{
    if (geteuid() == 0) {
        const char *const argv[] = {"chown", "-hR", "65534:65534", t->src, t->dst, NULL};
        int status = 0;
        free(tree_run(argv, &status));
        cr_assert_eq(status, 0);
        cr_assert(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
    }
    t->options.devices = false;
    t->options.keep = STORE_KEEP_MODE | STORE_KEEP_TIMES;
}

static mode_t mode_at(const char *base, const char *name)
{
    char path[4096];
    struct stat st = {0};
    snprintf(path, sizeof(path), "%s/%s", base, name);
    cr_expect_eq(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void set_mode(const char *base, const char *name, mode_t mode)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", base, name);
    cr_assert_eq(chmod(path, mode), 0);
}

Test(planner, unreadable_directory, .timeout = 60)
{
    struct plan_try t;
    begin(&t);
    tree_file(t.src, "x", "closed/hidden");
    tree_file(t.src, "x", "open/seen");
    tree_file(t.src, "x", "seen");
    set_mode(t.src, "closed", 0);
    become_nobody(&t);
    plan_try_run(&t);
    cr_expect_str_eq(t.failed, "list-open closed EACCES src below\n");
    cr_expect_eq(t.counts.files, 2);
    cr_expect_eq(mode_at(t.dst, "closed"), 0, "it is made as the source has it");
    cr_expect(at_dst(&t, "open/seen"));
    plan_try_release(&t);
}

/* Who insists on owners gets them compared though they cannot be had; who does not, does not. */
Test(planner, required_owners, .timeout = 60)
{
    struct plan_try t;
    int status = 0;
    if (geteuid() != 0) {
        cr_skip_test("needs root");
    }
    begin(&t);
    const char *const argv[] = {"chown", "-R", "65534:65534", t.dst, NULL};
    tree_file(t.src, "x", "dir/file");
    plan_try_run_well(&t);
    cr_assert_eq(chmod(t.src, 0755), 0);
    free(tree_run(argv, &status));
    cr_assert_eq(status, 0);
    cr_assert(setgroups(0, NULL) == 0 && setegid(65534) == 0 && seteuid(65534) == 0);
    t.options.devices = false;
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.todo, 0);
    t.options.owner_required = true;
    plan_try_run(&t);
    cr_expect_eq(t.counts.todo, 1);
    cr_expect_eq(t.kinds[ITEM_ATTRS], 1);
    cr_assert_eq(seteuid(0), 0);
    plan_try_release(&t);
}

/* A directory that its owner may not write to: made writable for as long as it takes. */
Test(planner, read_only_directories, .timeout = 60)
{
    struct plan_try t;
    begin(&t);
    tree_file(t.src, "x", "locked/file");
    tree_file(t.src, "y", "locked/link1");
    tree_file(t.src, "x", "locked/sub/file");
    set_mode(t.src, "locked", 0555);
    become_nobody(&t);
    plan_try_run_well(&t);
    set_mode(t.src, "locked", 0755);
    tree_file(t.src, "new", "locked/sub/new");
    tree_link(t.src, "locked/link1", "locked/link2");
    tree_link(t.src, "locked/link1", "locked/sub/link3");
    set_mode(t.src, "locked", 0555);
    plan_try_run_well(&t);
    plan_try_same(&t, true);
    cr_expect_eq(mode_at(t.dst, "locked"), 0555);
    plan_try_run_well(&t);
    cr_expect_eq(t.counts.todo, 0);
    cr_expect_eq(mode_at(t.dst, "locked"), 0555);
    plan_try_release(&t);
}

/* An unsorted list comes back to the same read-only directories again and again. */
Test(planner, files_from_read_only_directories, .timeout = 60)
{
    struct plan_try t;
    char *list = NULL;
    size_t len = 0;
    begin(&t);
    FILE *out = open_memstream(&list, &len);
    for (unsigned i = 0; i < 400; i++) {
        tree_file(t.src, "x", "ro%u/sub/f%u", i % 4, i);
        fprintf(out, "ro%u/sub/f%u\n", i % 4, i);
    }
    fclose(out);
    for (unsigned i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof(name), "ro%u/sub", i);
        set_mode(t.src, name, 0555);
        snprintf(name, sizeof(name), "ro%u", i);
        set_mode(t.src, name, 0500);
    }
    become_nobody(&t);
    with_list(&t, list, false, len);
    cr_expect_str_empty(t.failed, "%s", t.failed);
    cr_expect_eq(t.counts.files, 400);
    plan_try_same(&t, true);
    free(list);
    plan_try_release(&t);
}

Test(planner, one_file_system, .timeout = 60)
{
    struct plan_try t;
    char path[4096];
    begin(&t);
    tree_file(t.src, "x", "here/file");
    tree_dir(t.src, "mount");
    snprintf(path, sizeof(path), "%s/mount", t.src);
    if (mount("none", path, "tmpfs", 0, "mode=0750") != 0) {
        plan_try_release(&t);
        cr_skip_test("no tmpfs can be mounted here");
    }
    tree_file(path, "y", "there/file");
    t.options.one_file_system = true;
    plan_try_run_well(&t);
    cr_expect(at_dst(&t, "here/file"));
    cr_expect(at_dst(&t, "mount"));
    cr_expect_not(at_dst(&t, "mount/there"));
    cr_expect_eq(t.counts.excluded, 1);
    t.options.one_file_system = false;
    plan_try_run_well(&t);
    cr_expect(at_dst(&t, "mount/there/file"));
    umount(path);
    plan_try_release(&t);
}

/* --- stopping --- */

Test(planner, stopped_with_a_full_queue, .timeout = 60)
{
    struct plan_try t;
    begin(&t);
    for (unsigned i = 0; i < 40; i++) {
        for (unsigned j = 0; j < 100; j++) {
            tree_file(t.src, "", "d%u/d/f%u", i, j);
        }
    }
    t.queue = 2;
    plan_try_run_stopped(&t);
    cr_expect_str_empty(t.failed, "%s", t.failed);
    cr_expect_not(t.counts.complete);
    cr_expect_lt(t.shards, 40, "the walk did not go on");
    plan_try_release(&t);
}

/* A planner that is never started holds nothing that destroy does not free. */
Test(planner, never_started, .timeout = 60)
{
    struct plan_try t;
    begin(&t);
    plan_try_create_only(&t);
    plan_try_release(&t);
}

static int stop_at_tenth(struct plan_try *t, const struct item *item)
{
    atomic_uint *seen = t->own;
    (void)item;
    if (atomic_fetch_add(seen, 1) == 10) {
        planner_stop(t->planner);
    }
    return 0;
}

/* Stopped while items are carried out: what was started ends well, the rest stays undone without being a failure. */
Test(planner, stopped_in_the_middle, .timeout = 60)
{
    struct plan_try t;
    atomic_uint seen = 0;
    begin(&t);
    for (unsigned i = 0; i < 40; i++) {
        for (unsigned j = 0; j < 100; j++) {
            tree_file(t.src, "", "d%u/d/f%u", i, j);
        }
    }
    t.own = &seen;
    t.meddle = stop_at_tenth;
    t.queue = 2;
    plan_try_run(&t);
    cr_expect_str_empty(t.failed, "%s", t.failed);
    cr_expect_not(t.counts.complete);
    cr_expect_lt(atomic_load(&seen), 4000);
    t.meddle = NULL;
    plan_try_run_well(&t);
    plan_try_same(&t, true);
    plan_try_release(&t);
}

/* --- what is held --- */

/* Somebody who holds the directory of "kept" until the planner says that nothing else is left to do. */
struct holder {
    struct plan_try *t;
    struct store *store; /* the destination */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    struct dir *dir; /* held; NULL: not yet */
    bool idle;       /* the planner has said so */
    bool links_made; /* before that */
};

static int hold_kept(struct plan_try *t, const struct item *item)
{
    struct holder *h = t->own;
    pthread_mutex_lock(&h->lock);
    if (strcmp(item->name, "kept") == 0) {
        planner_hold(t->planner, item->work.dir);
        h->dir = item->work.dir;
    }
    h->links_made |= item->kind == ITEM_LINK && h->dir != NULL;
    pthread_mutex_unlock(&h->lock);
    return 0;
}

static void on_idle(void *arg)
{
    struct plan_try *t = arg;
    struct holder *h = t->own;
    pthread_mutex_lock(&h->lock);
    h->idle = true;
    pthread_cond_signal(&h->change);
    pthread_mutex_unlock(&h->lock);
}

/* Puts something into the directory and takes it out again, and lets it go. */
static void *let_go_later(void *arg)
{
    struct holder *h = arg;
    struct io_options direct = {.no_ring = true};
    struct io *io = NULL;
    struct port *port = NULL;
    char path[4096];

    pthread_mutex_lock(&h->lock);
    while (!h->idle || h->dir == NULL) {
        pthread_cond_wait(&h->change, &h->lock);
    }
    cr_expect_not(h->links_made, "further names wait for what is held");
    struct dir *dir = h->dir;
    h->dir = NULL;
    pthread_mutex_unlock(&h->lock);
    cr_assert_eq(io_create(&direct, &io), 0);
    io_set_mode(io, IO_DIRECT);
    cr_assert_eq(store_port_create(h->store, io, &port), 0);
    snprintf(path, sizeof(path), "%s/d/more", h->t->dst);
    cr_expect_eq(close(creat(path, 0600)), 0);
    cr_expect_eq(unlink(path), 0);
    planner_release(h->t->planner, port, dir);
    store_port_destroy(port);
    io_destroy(io);
    return NULL;
}

Test(planner, what_is_held_is_finished_later, .timeout = 60)
{
    struct plan_try t;
    struct holder h = {.lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};
    char path[4096];
    const struct timespec times[2] = {{1000000, 5}, {1000000, 7}};

    begin(&t);
    const struct store_options o = {.side = DIR_DST, .path = t.dst, .run_id = "0123456789abcdef", .max_handles = 64};
    cr_assert_eq(posix_open(&o, &h.store), 0); /* outlives the run: so does the thread */
    t.options.dst = h.store;
    tree_file(t.src, "x", "d/kept");
    tree_file(t.src, "x", "other/one");
    tree_link(t.src, "other/one", "other/two");
    snprintf(path, sizeof(path), "%s/d", t.src);
    cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
    h.t = &t;
    t.own = &h;
    t.meddle = hold_kept;
    t.options.idle = on_idle;
    cr_assert_eq(pthread_create(&h.thread, NULL, let_go_later, &h), 0);
    plan_try_run_well(&t);
    pthread_join(h.thread, NULL);
    store_destroy(h.store);
    plan_try_same(&t, true);
    cr_expect_eq(t.kinds[ITEM_LINK], 1);
    plan_try_release(&t);
}
