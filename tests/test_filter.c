#include "planner/filter.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support_tree.h"

struct wild_case {
    const char *pattern;
    const char *text;
    bool match;
};

static const struct wild_case wild_cases[] = {
    {"foo", "foo", true},
    {"foo", "bar", false},
    {"", "", true},
    {"???", "foo", true},
    {"??", "foo", false},
    {"*", "foo", true},
    {"*", "", true},
    {"*", "a/b", false},
    {"**", "a/b", true},
    {"**", "", true},
    {"f*", "foo", true},
    {"*f", "foo", false},
    {"*foo*", "foo", true},
    {"*ob*a*r*", "foobar", true},
    {"*ab", "aaaaaaabababab", true},
    {"foo\\*", "foo*", true},
    {"foo\\*bar", "foobar", false},
    {"f\\\\oo", "f\\oo", true},
    {"f\\", "f\\", false},
    {"*[al]?", "ball", true},
    {"[ten]", "ten", false},
    {"t[a-g]n", "ten", true},
    {"t[!a-g]n", "ten", false},
    {"t[!a-g]n", "ton", true},
    {"t[^a-g]n", "ton", true},
    {"a[]]b", "a]b", true},
    {"a[]-]b", "a-b", true},
    {"a[]-]b", "aab", false},
    {"]", "]", true},
    {"a[/]b", "a/b", false},
    {"a[!x]b", "a/b", false},
    {"[[:alpha:]][[:digit:]]", "a1", true},
    {"[[:alpha:]][[:digit:]]", "11", false},
    {"[a[:digit:]b]", "5", true},
    {"[[:nonsense:]]", "a", false},
    {"[!a", "b", false},
    {"[", "[", false},
    {"foo/*", "foo/bar/baz", false},
    {"foo/**", "foo/bar/baz", true},
    {"foo?bar", "foo/bar", false},
    {"**/c", "a/b/c", true},
    {"**/c", "c", false},
    {"a/**/c", "a/b/c", true},
    {"a/**/c", "a/c", false},
    {"a**c", "a/x/c", true},
    {"**a*b/c", "xa/ayb/c", true},
    {"*a/*b", "xa/ya/b", false},
    {"**a**a**a**a**a**a**a**a**b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    {"*a*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    {"\xff?", "\xff\xfe", true},
};

Test(filter, wildmatch_table, .timeout = 10)
{
    for (size_t i = 0; i < sizeof(wild_cases) / sizeof(wild_cases[0]); i++) {
        const struct wild_case *c = &wild_cases[i];
        cr_expect_eq(filter_wildmatch(c->pattern, c->text), c->match, "\"%s\" on \"%s\"", c->pattern, c->text);
    }
}

struct rule_case {
    const char *pattern; /* excluded */
    const char *path;
    bool is_dir;
    bool excluded;
};

static const struct rule_case rule_cases[] = {
    {"foo", "foo", false, true},       {"foo", "a/b/foo", false, true},   {"foo", "a/b/xfoo", false, false},
    {"foo", "foo/a", false, false}, /* the walk does not get there */
    {"/foo", "foo", false, true},      {"/foo", "a/foo", false, false},   {"a/foo", "a/foo", false, true},
    {"a/foo", "b/a/foo", false, true}, {"a/foo", "ba/foo", false, false}, {"foo/", "foo", false, false},
    {"foo/", "foo", true, true},       {"*.o", "a/b.o", false, true},     {"/*.o", "a/b.o", false, false},
    {"a/*", "x/a/b", false, true},     {"a/*", "a/b/c", false, false},    {"a/**", "a/b/c", false, true},
    {"a/**", "a", true, false},        {"a/***", "a", true, true},        {"a/***", "a", false, false},
    {"a/***", "a/b/c", false, true},   {"**/foo", "foo", false, true},    {"**/foo", "a/foo", false, true},
    {"foo\\", "foo\\", false, true}, /* no wildcard: the backslash stands for itself */
    {"fo\\o", "foo", false, false},    {"fo\\o*", "foo", false, true}, /* a wildcard: it quotes */
    {"\\[a]*", "[a]b", false, true},   {"/", "a", true, false},
};

Test(filter, rule_table, .timeout = 10)
{
    for (size_t i = 0; i < sizeof(rule_cases) / sizeof(rule_cases[0]); i++) {
        const struct rule_case *c = &rule_cases[i];
        struct filter *f = NULL;
        cr_assert_eq(filter_create(&f), 0);
        cr_assert_eq(filter_add(f, false, c->pattern), 0);
        cr_expect_eq(filter_excludes(f, c->path, c->is_dir), c->excluded, "\"%s\" on \"%s\"%s", c->pattern, c->path,
                     c->is_dir ? " (directory)" : "");
        filter_destroy(f);
    }
}

Test(filter, first_match_decides, .timeout = 10)
{
    struct filter *f = NULL;
    cr_assert_eq(filter_create(&f), 0);
    cr_assert_eq(filter_add(f, true, "keep.o"), 0);
    cr_assert_eq(filter_add(f, false, "*.o"), 0);
    cr_assert_eq(filter_add(f, true, "*"), 0);
    cr_expect_not(filter_excludes(f, "a/keep.o", false));
    cr_expect(filter_excludes(f, "a/drop.o", false));
    cr_expect_not(filter_excludes(f, "a/other", false));
    cr_expect_eq(filter_count(f), 3);
    filter_destroy(f);
}

Test(filter, edges, .timeout = 10)
{
    struct filter *f = NULL;
    cr_assert_eq(filter_create(&f), 0);
    cr_expect_eq(filter_add(f, false, ""), -EINVAL);
    cr_expect_not(filter_excludes(f, "a", false));
    cr_expect_not(filter_excludes(NULL, "a", false));
    cr_expect_eq(filter_count(NULL), 0);
    for (int i = 0; i < 100; i++) {
        char pattern[16];
        snprintf(pattern, sizeof(pattern), "x%d", i);
        cr_assert_eq(filter_add(f, false, pattern), 0);
    }
    cr_expect_eq(filter_count(f), 100);
    cr_expect(filter_excludes(f, "a/x99", false));
    filter_destroy(f);
    filter_destroy(NULL);
}

/* --- rsync as the judge --- */

static uint64_t random_state;

static unsigned below(unsigned n)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)((random_state >> 33) % n);
}

static const char *const names[] = {"a", "b", "ab", "foo", "bar", "a.c", "b.c", "x1", "x[1]", "a*b", "f\\o", "-c"};

static const char *const pieces[] = {"a",  "b",   "ab", "foo",         "bar",    "a.c",   "*.c",  "x1",  "*",
                                     "**", "***", "?",  "[ab]",        "[!a]",   "[a-f]", "[^b]", "\\*", "\\[",
                                     "/",  "/",   "/",  "[[:alpha:]]", "x[[]1]", "f\\o",  "\\f",  ".c",  "[]a]"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void add(char *out, size_t size, const char *piece)
{
    strncat(out, piece, size - strlen(out) - 1);
}

/* Half of the patterns as people write them, half any pieces in a row. */
static void random_pattern(char *out, size_t size)
{
    static const char *const heads[] = {"", "", "/", "**/", "**", "*/"};
    static const char *const parts[] = {"a", "b", "ab", "foo", "bar", "x1", "*", "?", "*b", "a*", "[ab]", "*.c", "**"};
    static const char *const tails[] = {"", "", "", "/", "/*", "/**", "/***", "***"};

    out[0] = '\0';
    if (below(2) == 0) {
        add(out, size, heads[below(COUNT(heads))]);
        add(out, size, parts[below(COUNT(parts))]);
        if (below(3) == 0) {
            add(out, size, "/");
            add(out, size, parts[below(COUNT(parts))]);
        }
        add(out, size, tails[below(COUNT(tails))]);
        return;
    }
    unsigned n = 1 + below(5);
    for (unsigned i = 0; i < n; i++) {
        add(out, size, pieces[below(COUNT(pieces))]);
    }
}

static void random_tree(const char *base, const char *path, unsigned depth)
{
    for (unsigned i = 0; i < COUNT(names); i++) {
        if (below(3) != 0) {
            continue;
        }
        char child[1024];
        snprintf(child, sizeof(child), "%s%s%s", path, path[0] != '\0' ? "/" : "", names[i]);
        if (depth < 3 && below(2) == 0) {
            tree_dir(base, "%s", child);
            random_tree(base, child, depth + 1);
        } else {
            tree_file(base, "", "%s", child);
        }
    }
}

struct text {
    char *bytes;
    size_t len;
};

/* The walk that the filter is for: excluded directories are not entered. */
static void filtered_walk(const char *base, const char *path, const struct filter *f, FILE *out)
{
    char full[4096];
    snprintf(full, sizeof(full), "%s/%s", base, path);
    DIR *dir = opendir(full);
    cr_assert_not_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char child[2048];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        snprintf(child, sizeof(child), "%s%s%s", path, path[0] != '\0' ? "/" : "", entry->d_name);
        bool is_dir = entry->d_type == DT_DIR;
        if (filter_excludes(f, child, is_dir)) {
            continue;
        }
        fprintf(out, "%s%s\n", child, is_dir ? "/" : "");
        if (is_dir) {
            filtered_walk(base, child, f, out);
        }
    }
    closedir(dir);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines sorted, without the root itself; the caller frees it. */
static char *sorted(char *lines)
{
    char *list[8192];
    size_t n = 0;
    size_t len = strlen(lines);
    char *out = calloc(1, len + 2);
    for (char *line = strtok(lines, "\n"); line != NULL && n < COUNT(list); line = strtok(NULL, "\n")) {
        if (strcmp(line, "./") != 0) {
            list[n++] = line;
        }
    }
    qsort(list, n, sizeof(list[0]), by_text);
    char *to = out;
    for (size_t i = 0; i < n; i++) {
        to = stpcpy(to, list[i]);
        *to++ = '\n';
    }
    return out;
}

#define RULES_MAX 4

static void compare_with_rsync(const char *tree, const char *source, const char *empty, unsigned number)
{
    char rules[RULES_MAX][256];
    char shown[RULES_MAX * 257] = "";
    const char *argv[16] = {"rsync", "-rn", "--out-format=%n"};
    size_t argc = 3;
    struct filter *f = NULL;
    struct text ours = {0};
    int status = 0;

    cr_assert_eq(filter_create(&f), 0);
    unsigned n = 1 + below(RULES_MAX);
    for (unsigned i = 0; i < n; i++) {
        char pattern[200];
        bool include = below(3) == 0;
        random_pattern(pattern, sizeof(pattern));
        snprintf(rules[i], sizeof(rules[i]), "--%s=%s", include ? "include" : "exclude", pattern);
        size_t len = strlen(shown);
        snprintf(shown + len, sizeof(shown) - len, " %s", rules[i]);
        argv[argc++] = rules[i];
        cr_assert_eq(filter_add(f, include, pattern), 0);
    }
    argv[argc++] = source;
    argv[argc] = empty;
    char *theirs = tree_run(argv, &status);
    cr_assert_eq(status, 0, "rsync ended with %d for%s", status, shown);
    FILE *out = open_memstream(&ours.bytes, &ours.len);
    filtered_walk(tree, "", f, out);
    fclose(out);
    char *expected = sorted(theirs);
    char *got = sorted(ours.bytes);
    cr_expect_str_eq(got, expected, "case %u:%s\nrsync:\n%shaul:\n%s", number, shown, expected, got);
    free(expected);
    free(got);
    free(theirs);
    free(ours.bytes);
    filter_destroy(f);
}

Test(filter, same_as_rsync, .timeout = 300)
{
    const char *const version[] = {"rsync", "--version", NULL};
    const char *cases = getenv("HAUL_TEST_FILTER_CASES");
    unsigned count = cases != NULL ? (unsigned)strtoul(cases, NULL, 10) : 300;
    int status = 0;

    free(tree_run(version, &status));
    cr_assert_eq(status, 0, "rsync is needed for this test");
    char *empty = tree_temp("filter-empty");
    char *tree = NULL;
    char source[4096];
    random_state = 20261;
    for (unsigned i = 0; i < count; i++) {
        if (i % 50 == 0) {
            if (tree != NULL) {
                tree_remove(tree);
                free(tree);
            }
            tree = tree_temp("filter");
            random_tree(tree, "", 0);
            snprintf(source, sizeof(source), "%s/", tree);
        }
        compare_with_rsync(tree, source, empty, i);
    }
    tree_remove(tree);
    tree_remove(empty);
    free(tree);
    free(empty);
}
