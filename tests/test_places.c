#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copier/places.h"
#include "copier/status.h"

/* A fresh directory to stand in: src/, src/sub/, src/file, dst/, file, todir -> src, dangling -> nowhere. */
static void enter_fresh(void)
{
    char dir[] = "/tmp/haul-test-places-XXXXXX";
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(chdir(dir), 0);
    cr_assert(mkdir("src", 0755) == 0 && mkdir("src/sub", 0755) == 0 && mkdir("dst", 0755) == 0);
    cr_assert(close(creat("file", 0644)) == 0 && close(creat("src/file", 0644)) == 0);
    cr_assert(symlink("src", "todir") == 0 && symlink("nowhere", "dangling") == 0);
}

static void leave(void)
{
    char *here = getcwd(NULL, 0);
    char *command = NULL;
    cr_assert_gt(asprintf(&command, "rm -rf '%s'", here), 0);
    cr_assert_eq(system(command), 0);
    free(command);
    free(here);
}

TestSuite(places, .init = enter_fresh, .fini = leave, .timeout = 20);

static int find(const char *src, const char *dst, struct places *p)
{
    const struct options o = {.source = src, .destination = dst};
    const struct report_options how = {.quiet = true};
    struct report *report = NULL;
    cr_assert_eq(report_create(&how, &report), 0);
    *p = (struct places){0};
    int r = places_find_source(&o, report, p);
    r = r == 0 ? places_find_destination(&o, report, p) : r;
    if (r != 0) {
        places_release(p);
    }
    report_destroy(report);
    return r;
}

/* The name of a path below the test's directory. */
static const char *base(const char *path)
{
    return strrchr(path, '/') + 1;
}

Test(places, wrong_pairs_are_refused_and_nothing_is_made)
{
    static const struct {
        const char *src;
        const char *dst;
        int status;
    } rows[] = {
        {"nothere", "dst", STATUS_CANNOT}, {"src", "src", STATUS_USAGE},
        {"src", "src/", STATUS_USAGE},     {"src", "todir", STATUS_USAGE},
        {"src", "src/sub", STATUS_USAGE},  {"src", "src/new", STATUS_USAGE},
        {"src/sub", "src", STATUS_USAGE},  {"src", ".", STATUS_USAGE},
        {"src", "file", STATUS_USAGE},     {"src", "file/new", STATUS_CANNOT},
        {"src", "no/new", STATUS_CANNOT},  {"src", "dangling", STATUS_CANNOT},
        {"file", "file", STATUS_USAGE},    {"file", ".", STATUS_USAGE},
        {"dst", "dst/a/b", STATUS_CANNOT}, {"src/file", "src/sub/../file", STATUS_USAGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct places p;
        cr_expect_eq(find(rows[i].src, rows[i].dst, &p), rows[i].status, "%s to %s", rows[i].src, rows[i].dst);
    }
    cr_assert_neq(access("src/new", F_OK), 0);
    cr_assert_neq(access("no", F_OK), 0);
}

Test(places, a_tree_to_a_directory_that_is_there)
{
    struct places p;
    cr_assert_eq(find("src/", "dst//", &p), 0);
    cr_assert_str_eq(base(p.source), "src");
    cr_assert_str_eq(base(p.destination), "dst");
    cr_assert(!p.missing && p.only_name == NULL);
    places_release(&p);
}

Test(places, a_missing_destination_is_made_private)
{
    struct places p;
    struct stat st;
    const struct report_options how = {.quiet = true};
    struct report *report = NULL;
    cr_assert_eq(report_create(&how, &report), 0);
    cr_assert_eq(find("src", "new/", &p), 0);
    cr_assert(p.missing);
    cr_assert_neq(access("new", F_OK), 0, "finding makes nothing");
    cr_assert_eq(places_make(&p, 022, report), 0);
    cr_assert_eq(stat("new", &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0700);
    places_release(&p);
    report_destroy(report);
}

Test(places, a_link_to_a_directory_stands_for_it)
{
    struct places p;
    cr_assert_eq(find("todir", "dst", &p), 0);
    cr_assert_str_eq(base(p.source), "src");
    places_release(&p);
}

Test(places, single_files)
{
    struct places p;
    cr_assert_eq(find("file", "dst", &p), 0); /* into a directory */
    cr_assert_str_eq(p.only_name, "file");
    cr_assert_null(p.only_as);
    cr_assert_str_eq(base(p.destination), "dst");
    places_release(&p);
    cr_assert_eq(find("file", "dst/other", &p), 0); /* under a new name */
    cr_assert_str_eq(p.only_as, "other");
    cr_assert_str_eq(base(p.destination), "dst");
    cr_assert(!p.missing);
    places_release(&p);
    cr_assert_eq(find("file", "newdir/", &p), 0); /* into a new directory */
    cr_assert_null(p.only_as);
    cr_assert(p.missing);
    places_release(&p);
    cr_assert_eq(find("dangling", "dst", &p), 0); /* a link is copied as a link */
    cr_assert_str_eq(p.only_name, "dangling");
    places_release(&p);
}
