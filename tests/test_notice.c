#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/notice.h"

static void assert_notice(struct notices *n, size_t i, const char *text, uint64_t count)
{
    const char *got = NULL;
    uint64_t raised = 0;
    cr_assert_eq(notice_at(n, i, &got, &raised), 0, "%zu", i);
    cr_assert_str_eq(got, text);
    cr_assert_eq(raised, count, "%s: %llu", text, (unsigned long long)raised);
}

static struct notices *make(void)
{
    struct notices *n = NULL;
    cr_assert_eq(notices_create(&n), 0);
    return n;
}

Test(notice, counts_by_text_in_order, .timeout = 10)
{
    struct notices *n = make();
    char same[] = "first"; /* equal text at another address is the same notice */
    notice_raise(n, "first");
    notice_raise(n, "second");
    notice_raise(n, same);
    notice_raise(n, "first");
    assert_notice(n, 0, "first", 3);
    assert_notice(n, 1, "second", 1);
    const char *text = "untouched";
    uint64_t count = 7;
    cr_assert_eq(notice_at(n, 2, &text, &count), -ENOENT);
    cr_assert_str_eq(text, "untouched");
    cr_assert_eq(count, 7);
    notices_destroy(n);
    notices_destroy(NULL);
    notice_raise(NULL, "nobody listens");
}

Test(notice, what_does_not_fit_is_counted_together, .timeout = 10)
{
    static char texts[NOTICES_MAX + 10][16];
    struct notices *n = make();
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < NOTICES_MAX + 10; i++) {
            (void)snprintf(texts[i], sizeof(texts[i]), "notice %zu", i);
            notice_raise(n, texts[i]);
        }
    }
    for (size_t i = 0; i < NOTICES_MAX - 1; i++) {
        assert_notice(n, i, texts[i], 2);
    }
    assert_notice(n, NOTICES_MAX - 1, NOTICE_OTHERS, 22);
    const char *text = NULL;
    uint64_t count = 0;
    cr_assert_eq(notice_at(n, NOTICES_MAX, &text, &count), -ENOENT);
    notices_destroy(n);
}

static void *raise_many(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        notice_raise(arg, i % 2 == 0 ? "even" : "odd");
    }
    return NULL;
}

Test(notice, from_many_threads, .timeout = 30)
{
    struct notices *n = make();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, raise_many, n), 0);
    }
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    uint64_t total = 0;
    for (size_t i = 0; i < 2; i++) {
        const char *text = NULL;
        uint64_t count = 0;
        cr_assert_eq(notice_at(n, i, &text, &count), 0);
        cr_assert_eq(count, 20000, "%s", text);
        total += count;
    }
    cr_assert_eq(total, 40000);
    notices_destroy(n);
}
