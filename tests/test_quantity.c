#include <criterion/criterion.h>
#include <errno.h>

#include "copier/quantity.h"

static const struct {
    const char *text;
    uint64_t unit;
    uint64_t bytes;
} sizes[] = {
    {"0", 1, 0},
    {"4096", 1, 4096},
    {"100", 1024, 102400},
    {"64K", 1, 65536},
    {"64k", 1024, 65536},
    {"1.5M", 1, 1572864},
    {"2GiB", 1, 2147483648ULL},
    {"3MB", 1, 3000000},
    {"1T", 1, 1ULL << 40},
    {".5K", 1, 512},
    {"7B", 1024, 7},
    {"1kib", 1, 1024},
};

static const char *const bad_sizes[] = {"",     "x",   "10Q", "-1",  "+1",  "1 M", "1MM", "1Mi",
                                        "0x10", "1e3", "nan", "inf", "99E", ".",   "1K1"};

Test(quantity, sizes, .timeout = 10)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t bytes = 0;
        cr_assert_eq(quantity_size(sizes[i].text, sizes[i].unit, &bytes), 0, "%s", sizes[i].text);
        cr_assert_eq(bytes, sizes[i].bytes, "%s: %llu", sizes[i].text, (unsigned long long)bytes);
    }
}

Test(quantity, bad_sizes_leave_the_result_alone, .timeout = 10)
{
    for (size_t i = 0; i < sizeof bad_sizes / sizeof bad_sizes[0]; i++) {
        uint64_t bytes = 77;
        cr_assert_eq(quantity_size(bad_sizes[i], 1, &bytes), -EINVAL, "%s", bad_sizes[i]);
        cr_assert_eq(bytes, 77);
    }
}

Test(quantity, durations, .timeout = 10)
{
    static const struct {
        const char *text;
        int64_t ns;
    } good[] = {{"0", 0},
                {"2", 2000000000},
                {"500ms", 500000000},
                {"1.5s", 1500000000},
                {"2m", 120000000000},
                {"2min", 120000000000},
                {"1h", 3600000000000},
                {"1d", 86400000000000}};
    static const char *const bad[] = {"", "s", "-1s", "5x", "1 s", "1hh", "300000000000d"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        int64_t ns = -1;
        cr_assert_eq(quantity_duration(good[i].text, &ns), 0, "%s", good[i].text);
        cr_assert_eq(ns, good[i].ns, "%s", good[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t ns = -1;
        cr_assert_eq(quantity_duration(bad[i], &ns), -EINVAL, "%s", bad[i]);
        cr_assert_eq(ns, -1);
    }
}

Test(quantity, numbers, .timeout = 10)
{
    uint64_t n = 5;
    cr_assert_eq(quantity_number("16", 1, 64, &n), 0);
    cr_assert_eq(n, 16);
    static const char *const bad[] = {"", "0", "65", "x", "1x", " 1", "-1", "+1", "18446744073709551616"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(quantity_number(bad[i], 1, 64, &n), -EINVAL, "%s", bad[i]);
        cr_assert_eq(n, 16);
    }
}

Test(quantity, shown, .timeout = 10)
{
    char buf[QUANTITY_MAX];
    cr_assert_str_eq(quantity_show_bytes(0, buf), "0 B");
    cr_assert_str_eq(quantity_show_bytes(1536, buf), "1.50 KiB");
    cr_assert_str_eq(quantity_show_bytes(UINT64_MAX, buf), "16.0 EiB");
    cr_assert_str_eq(quantity_show_count(0, buf), "0");
    cr_assert_str_eq(quantity_show_count(999, buf), "999");
    cr_assert_str_eq(quantity_show_count(1234567, buf), "1,234,567");
    cr_assert_str_eq(quantity_show_duration(1500000000, buf), "1.50 s");
    cr_assert_str_eq(quantity_show_duration(7260LL * 1000000000, buf), "2 h 1 min");
}

Test(quantity, percentages, .timeout = 10)
{
    static const struct {
        const char *text;
        uint32_t millionths;
    } good[] = {{"0", 0},       {"1%", 10000},    {"1", 10000},    {"100%", 1000000},
                {"0.5%", 5000}, {"100", 1000000}, {"0.00001%", 1}, {"33.3333%", 333333}};
    static const char *const bad[] = {"", "%", "-1", "101", "100.1%", "1%%", "x", "1 %", "1e1", "nan"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint32_t n = 7;
        cr_expect_eq(quantity_percent(good[i].text, &n), 0, "%s", good[i].text);
        cr_expect_eq(n, good[i].millionths, "%s: %u", good[i].text, n);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint32_t n = 7;
        cr_expect_eq(quantity_percent(bad[i], &n), -EINVAL, "%s", bad[i]);
        cr_expect_eq(n, 7);
    }
}
