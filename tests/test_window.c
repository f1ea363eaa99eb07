#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "copier/window.h"

#define NOW 1772182800 /* Fri 27 Feb 2026 09:00:00 UTC */

static void in_zone(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

Test(window, the_next_time_that_the_clock_shows_it, .timeout = 10)
{
    time_t t = 0;
    in_zone("UTC");
    cr_assert_eq(window_parse("09:30", NOW, &t), 0);
    cr_assert_eq(t, NOW + 30 * 60);
    cr_assert_eq(window_parse("9:00:01", NOW, &t), 0);
    cr_assert_eq(t, NOW + 1);
    cr_assert_eq(window_parse("09:00", NOW, &t), 0, "now is too late: tomorrow");
    cr_assert_eq(t, NOW + 24 * 3600);
    cr_assert_eq(window_parse("08:59:59", NOW, &t), 0);
    cr_assert_eq(t, NOW + 24 * 3600 - 1);
    in_zone("CET-1CEST,M3.5.0,M10.5.0/3");
    cr_assert_eq(window_parse("10:30", NOW, &t), 0, "it is 10:00 there");
    cr_assert_eq(t, NOW + 30 * 60);
    /* Saturday 28 March 2026 10:00 there; the night after it has 23 hours. */
    cr_assert_eq(window_parse("09:00", NOW + 29 * 24 * 3600, &t), 0);
    cr_assert_eq(t, NOW + 29 * 24 * 3600 + 22 * 3600);
}

Test(window, a_date, .timeout = 10)
{
    static const char *const same[] = {"2026-02-28T09:00", "2026-02-28 09:00", "2026/02/28T9:00:00", "2026-2-28T09:00"};
    time_t t = 0;
    in_zone("UTC");
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        cr_assert_eq(window_parse(same[i], NOW, &t), 0, "%s", same[i]);
        cr_assert_eq(t, NOW + 24 * 3600, "%s", same[i]);
    }
    cr_assert_eq(window_parse("26-2-28T09:00", NOW, &t), 0);
    cr_assert_eq(t, NOW + 24 * 3600);
    cr_assert_eq(window_parse("2026-02-28", NOW, &t), 0, "its midnight");
    cr_assert_eq(t, NOW + 15 * 3600);
    cr_assert_eq(window_parse("2026-02-27T09:00", NOW, &t), -ERANGE);
    cr_assert_eq(window_parse("2026-02-27", NOW, &t), -ERANGE);
    cr_assert_eq(window_parse("2019-01-01T00:00", NOW, &t), -ERANGE);
}

Test(window, a_day_without_a_year_is_the_next_one, .timeout = 10)
{
    time_t t = 0;
    in_zone("UTC");
    cr_assert_eq(window_parse("2-28T09:00", NOW, &t), 0);
    cr_assert_eq(t, NOW + 24 * 3600);
    cr_assert_eq(window_parse("02/28", NOW, &t), 0);
    cr_assert_eq(t, NOW + 15 * 3600);
    cr_assert_eq(window_parse("2-27T09:00", NOW, &t), 0, "now is too late: next year");
    cr_assert_eq(t, NOW + 365 * 24 * 3600);
    cr_assert_eq(window_parse("2-29T09:00", NOW, &t), 0, "2028");
    cr_assert_eq(t, NOW + 732 * 24 * 3600);
}

Test(window, what_is_no_moment, .timeout = 10)
{
    static const char *const wrong[] = {"",
                                        "9",
                                        "09",
                                        "24:00",
                                        "09:60",
                                        "09:00:60",
                                        "09:00x",
                                        "09:00:",
                                        "-1:00",
                                        " 4:30",
                                        "+4:30",
                                        "4: 30",
                                        "004:30",
                                        "2-30",
                                        "13-1",
                                        "026-02-28",
                                        "2026-02-028",
                                        "2026- 2-28",
                                        "2026-2",
                                        "2026-02-28T",
                                        "2026-02-30T09:00",
                                        "2026-13-01T09:00",
                                        "2026-02/28T09:00",
                                        "2026-02-28T09",
                                        "tomorrow",
                                        "50m"};
    time_t t = 77;
    in_zone("UTC");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_assert_eq(window_parse(wrong[i], NOW, &t), -EINVAL, "'%s'", wrong[i]);
        cr_assert_eq(t, 77);
    }
}

Test(window, whichever_is_first, .timeout = 10)
{
    const int64_t hour = 3600 * NS_PER_SEC;
    int64_t now = clock_mono_ns();
    time_t real = time(NULL);
    cr_assert_eq(window_end(0, 0), 0);
    int64_t end = window_end(hour, 0);
    cr_assert(end >= now + hour && end <= clock_mono_ns() + hour);
    end = window_end(hour, real + 60);
    cr_assert(end > now + 50 * NS_PER_SEC && end < now + 70 * NS_PER_SEC);
    end = window_end(10 * NS_PER_SEC, real + 3600);
    cr_assert(end < now + 20 * NS_PER_SEC);
    cr_assert(window_end(0, 1) >= now, "a moment that has passed is now, and not never");
}
