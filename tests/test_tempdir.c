/*
 * test_tempdir: which temp dir is taken, and which is refused.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copier/status.h"
#include "copier/tempdir.h"
#include "support_tree.h"

static char *top;   /* the folder of the test; owned */
static char *path_; /* the last one that at() made; owned */

static void enter(void)
{
    top = tree_temp("tempdir");
    tree_dir(top, "src/below");
    tree_dir(top, "dst");
    tree_dir(top, "tmp");
    unsetenv("TMPDIR");
}

static void leave(void)
{
    tree_remove(top);
    free(top);
    free(path_);
    path_ = NULL;
}

TestSuite(tempdir, .init = enter, .fini = leave, .timeout = 20);

/* name in the folder, until the next call. */
static char *at(const char *name)
{
    char *path = NULL;
    cr_assert_gt(asprintf(&path, "%s/%s", top, name), 0);
    free(path_);
    path_ = path;
    return path;
}

static int find(struct options o, bool missing, struct tempdir *t)
{
    struct places places = {.missing = missing};
    const struct report_options how = {.quiet = true};
    struct report *report = NULL;
    cr_assert_eq(report_create(&how, &report), 0);
    cr_assert_gt(asprintf(&places.source, "%s/src", top), 0);
    cr_assert_gt(asprintf(&places.destination, "%s/%s", top, missing ? "newdst" : "dst"), 0);
    int r = tempdir_find(&o, &places, report, t);
    places_release(&places);
    report_destroy(report);
    return r;
}

static int make(struct tempdir *t)
{
    const struct report_options how = {.quiet = true};
    struct report *report = NULL;
    cr_assert_eq(report_create(&how, &report), 0);
    int r = tempdir_make(t, report);
    report_destroy(report);
    return r;
}

static mode_t mode_of(const char *name)
{
    struct stat st;
    cr_assert_eq(lstat(at(name), &st), 0);
    return st.st_mode;
}

static void given(const char *name, int status)
{
    struct tempdir t;
    cr_assert_eq(find((struct options){.temp_dir = at(name)}, false, &t), status, "--temp-dir %s", name);
    tempdir_release(&t);
}

Test(tempdir, it_is_made_private_only_when_it_is_used)
{
    struct tempdir t;
    cr_assert_eq(find((struct options){.temp_dir = at("tmp/new///")}, false, &t), 0);
    cr_assert(t.asked && !t.unusable && t.fd < 0);
    cr_assert_eq(access(at("tmp/new"), F_OK), -1, "made too early");
    mode_t mask = umask(0);
    cr_assert_eq(make(&t), 0);
    umask(mask);
    cr_assert_geq(t.fd, 0);
    cr_assert_eq(mode_of("tmp/new"), S_IFDIR | 0700);
    tempdir_release(&t);
    tempdir_release(&t);
    cr_assert_eq(find((struct options){.temp_dir = at("tmp/new")}, false, &t), 0);
    cr_assert_geq(t.fd, 0, "it is there");
    tempdir_release(&t);
}

Test(tempdir, the_default_is_in_tmpdir_with_our_uid)
{
    struct tempdir t;
    char *want = NULL;
    setenv("TMPDIR", at("tmp"), 1);
    cr_assert_gt(asprintf(&want, "%s/haul-%u", at("tmp"), (unsigned)geteuid()), 0);
    cr_assert_eq(find((struct options){0}, false, &t), 0);
    cr_assert_str_eq(t.path, want);
    cr_assert(!t.asked && !t.unusable);
    tempdir_release(&t);
    /* In a place that is not there: no failure where nobody asked for it. */
    setenv("TMPDIR", at("nowhere"), 1);
    cr_assert_eq(find((struct options){0}, false, &t), 0);
    cr_assert(t.unusable);
    cr_assert_eq(make(&t), 0);
    tempdir_release(&t);
    cr_assert_eq(find((struct options){.stage = STAGE_ALWAYS}, false, &t), STATUS_CANNOT);
    tempdir_release(&t);
    setenv("TMPDIR", "", 1);
    cr_assert_eq(find((struct options){0}, false, &t), 0);
    cr_assert(strncmp(t.path, "/tmp/haul-", 10) == 0);
    tempdir_release(&t);
    free(want);
}

Test(tempdir, what_others_could_tamper_with_is_refused)
{
    cr_assert_eq(symlink("tmp", at("link")), 0);
    tree_file(top, "x", "file");
    tree_dir(top, "wide");
    tree_dir(top, "group");
    tree_dir(top, "open/inner");
    cr_assert_eq(chmod(at("wide"), 0707), 0);
    cr_assert_eq(chmod(at("group"), 0770), 0);
    cr_assert_eq(chmod(at("open"), 0777), 0);
    given("link", STATUS_CANNOT);
    given("link/", STATUS_CANNOT);
    given("file", STATUS_CANNOT);
    given("wide", STATUS_CANNOT);
    given("group", STATUS_CANNOT);
    given("open/inner", STATUS_CANNOT);
    given("open/new", STATUS_CANNOT);
    given("no/such/place", STATUS_CANNOT);
    cr_assert_eq(chmod(at("open"), 01777), 0);
    given("open/inner", 0);
    given("open/new", 0);
    given("link/inner", 0); /* a link on the way there is the operator's own */
    if (geteuid() == 0) {
        tree_dir(top, "theirs/inner");
        cr_assert_eq(chown(at("theirs"), 1, 1), 0);
        given("theirs", STATUS_CANNOT);
        given("theirs/inner", STATUS_CANNOT);
    }
    /* The default one too, though nobody asked for it. */
    struct tempdir t;
    char name[64];
    setenv("TMPDIR", at("tmp"), 1);
    snprintf(name, sizeof name, "tmp/haul-%u", (unsigned)geteuid());
    cr_assert_eq(symlink("../dst", at(name)), 0);
    cr_assert_eq(find((struct options){0}, false, &t), STATUS_CANNOT);
    tempdir_release(&t);
}

Test(tempdir, what_is_put_there_between_check_and_use_is_refused)
{
    struct tempdir t;
    cr_assert_eq(find((struct options){.temp_dir = at("tmp/late")}, false, &t), 0);
    cr_assert_eq(symlink("../dst", at("tmp/late")), 0);
    cr_assert_eq(make(&t), STATUS_CANNOT);
    cr_assert_lt(t.fd, 0);
    tempdir_release(&t);
}

Test(tempdir, it_is_never_inside_source_or_destination)
{
    struct tempdir t;
    given("src", STATUS_CANNOT);
    given("src/below", STATUS_CANNOT);
    given("src/below/new", STATUS_CANNOT);
    given("dst", STATUS_CANNOT);
    given("dst/new", STATUS_CANNOT);
    given("tmp/../dst/new", STATUS_CANNOT);
    given("dst2", 0);
    /* A destination that is still to be made. */
    cr_assert_eq(find((struct options){.temp_dir = at("newdst")}, true, &t), STATUS_CANNOT);
    tempdir_release(&t);
    cr_assert_eq(find((struct options){.temp_dir = at("newdst2")}, true, &t), 0);
    tempdir_release(&t);
    /* A default one is not used there. */
    setenv("TMPDIR", at("src/below"), 1);
    cr_assert_eq(find((struct options){0}, false, &t), 0);
    cr_assert(t.unusable);
    tempdir_release(&t);
}
