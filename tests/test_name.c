#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <errno.h>

#include "base/name.h"

static const char id[] = "0123456789abcdef";

Test(name, run_ids, .timeout = 10)
{
    char a[RUN_ID_LEN + 1];
    char b[RUN_ID_LEN + 1];
    cr_assert_eq(run_id_make(a), 0);
    cr_assert_eq(run_id_make(b), 0);
    cr_assert(run_id_valid(a), "%s", a);
    cr_assert_str_neq(a, b);
    cr_assert(run_id_valid(id));
    static const char *const bad[] = {"",
                                      "0123456789abcde",
                                      "0123456789abcdef0",
                                      "0123456789ABCDEF",
                                      "0123456789abcdeg",
                                      "0123456789abcde ",
                                      "0123456789abcde/"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_not(run_id_valid(bad[i]), "%s", bad[i]);
    }
}

Test(name, temp_names_are_parsed_back, .timeout = 10)
{
    char name[TEMP_NAME_MAX];
    char found[RUN_ID_LEN + 1];
    cr_assert_eq(temp_name_make(id, name), 0);
    cr_assert(strncmp(name, ".haul.0123456789abcdef.", 23) == 0, "%s", name);
    cr_assert_eq(strlen(name), 39);
    cr_assert(temp_name_parse(name, found));
    cr_assert_str_eq(found, id);
    cr_assert(temp_name_parse(name, NULL));
    cr_assert(temp_name_is_of(name, found));
    cr_assert_not(temp_name_is_of(name, "fedcba9876543210"), "another run's");
    cr_assert_eq(temp_name_make("../../etc", name), -EINVAL);
}

Test(name, what_is_no_temp_name, .timeout = 10)
{
    static const char *const bad[] = {
        "",
        ".",
        ".haul",
        ".haul.",
        ".haul.0123456789abcdef",
        ".haul.0123456789abcdef.",
        ".haul.0123456789abcdef.0123456789abcde",
        ".haul.0123456789abcdef.0123456789abcdef0",
        ".haul.0123456789abcdef.0123456789abcdeF",
        ".haul.0123456789abcdef-0123456789abcdef",
        ".haul.0123456789abcde.00123456789abcdef",
        "xhaul.0123456789abcdef.0123456789abcdef",
        ".haul.0123456789abcdef.0123456789abcdef.bak",
        ".haul.0123456789abcdef.*",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char found[RUN_ID_LEN + 1] = "untouched";
        cr_assert_not(temp_name_parse(bad[i], found), "%s", bad[i]);
        cr_assert_str_eq(found, "untouched");
    }
    cr_assert(temp_name_parse(".haul.0123456789abcdef.0123456789abcdef", NULL));
}

enum { EACH = 5000, THREADS = 3 };

static void *make_many(void *arg)
{
    char(*names)[TEMP_NAME_MAX] = arg;
    for (int i = 0; i < EACH; i++) {
        cr_assert_eq(temp_name_make(id, names[i]), 0);
    }
    return NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void assert_distinct(char (*names)[TEMP_NAME_MAX], size_t count)
{
    qsort(names, count, sizeof(names[0]), by_name);
    for (size_t i = 1; i < count; i++) {
        cr_assert_str_neq(names[i - 1], names[i]);
    }
}

Test(name, temp_names_of_many_threads_differ, .timeout = 30)
{
    static char names[THREADS][EACH][TEMP_NAME_MAX];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, make_many, names[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    assert_distinct(names[0], (size_t)THREADS * EACH);
}

Test(name, a_child_does_not_repeat_its_parents_names, .timeout = 30)
{
    enum { COUNT = 100 };
    static char names[2 * COUNT + 1][TEMP_NAME_MAX];
    int fds[2];
    cr_assert_eq(temp_name_make(id, names[2 * COUNT]), 0); /* the parent holds a block that is hardly used */
    cr_assert_eq(pipe(fds), 0);
    const pid_t pid = fork();
    cr_assert_geq(pid, 0);
    for (int i = 0; i < COUNT; i++) {
        cr_assert_eq(temp_name_make(id, names[i]), 0);
    }
    const size_t bytes = (size_t)COUNT * TEMP_NAME_MAX;
    if (pid == 0) {
        _exit(write(fds[1], names, bytes) == (ssize_t)bytes ? 0 : 1); /* fits the pipe's buffer */
    }
    (void)close(fds[1]);
    size_t got = 0;
    while (got < bytes) {
        const ssize_t n = read(fds[0], names[COUNT] + got, bytes - got);
        cr_assert_gt(n, 0);
        got += (size_t)n;
    }
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
    assert_distinct(names, 2 * COUNT + 1);
}

static void assert_shown(const char *text, const char *expected)
{
    char *shown = name_show(text);
    cr_assert_not_null(shown);
    cr_assert_str_eq(shown, expected, "%s, not %s", shown, expected);
    free(shown);
}

Test(name, plain_names_stay, .timeout = 10)
{
    assert_shown("", "");
    assert_shown("a file-1.txt ~", "a file-1.txt ~");
    assert_shown("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
    assert_shown("\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5\xe6\x9c\xac");
    assert_shown("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80");
}

Test(name, what_could_fool_a_terminal_is_escaped, .timeout = 10)
{
    assert_shown("a\nb\tc\\d", "a\\nb\\tc\\\\d");
    assert_shown("\x1b[31m\x07\r\x7f", "\\033[31m\\007\\015\\177");
    assert_shown("\xc2\x9b\x33", "\\302\\2333"); /* CSI in one code point */
    assert_shown("\xe2\x80\xae"
                 "gpj",
                 "\\342\\200\\256gpj");              /* turns the direction round */
    assert_shown("\xef\xbb\xbf", "\\357\\273\\277"); /* byte order mark */
    assert_shown("\xe2\x80\x8b", "\\342\\200\\213"); /* zero width */
}

Test(name, invalid_utf8_is_escaped_byte_by_byte, .timeout = 10)
{
    assert_shown("\xff\xfe", "\\377\\376");
    assert_shown("\xc3", "\\303");
    assert_shown("\xc3x", "\\303x");
    assert_shown("\xe6\x97", "\\346\\227");
    assert_shown("\xe6\x97\xc3\xbc", "\\346\\227\xc3\xbc");
    assert_shown("\xc0\xaf", "\\300\\257"); /* overlong '/' */
    assert_shown("\xe0\x80\xaf", "\\340\\200\\257");
    assert_shown("\xed\xa0\x80", "\\355\\240\\200");          /* surrogate */
    assert_shown("\xf4\x90\x80\x80", "\\364\\220\\200\\200"); /* above U+10FFFF */
    assert_shown("\xf5\x80\x80\x80", "\\365\\200\\200\\200");
    assert_shown("\x80", "\\200");
}

Test(name, dots_are_no_entries, .timeout = 10)
{
    cr_expect(name_is_dots(".", 1));
    cr_expect(name_is_dots("..", 2));
    cr_expect(name_is_dots("..x", 2), "no NUL is needed");
    cr_expect_not(name_is_dots("", 0));
    cr_expect_not(name_is_dots("...", 3));
    cr_expect_not(name_is_dots(".x", 2));
    cr_expect_not(name_is_dots("x.", 2));
}
