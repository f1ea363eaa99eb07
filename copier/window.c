#include "copier/window.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"

/* A number of at most so many digits and nothing else, from *text, which is moved behind it. -1: there is none. */
static int number(const char **text, int most)
{
    int n = 0;
    int digits = 0;
    while (**text >= '0' && **text <= '9' && digits <= most) {
        n = 10 * n + (*(*text)++ - '0');
        digits++;
    }
    return digits == 0 || digits > most ? -1 : n;
}

/* Hours, minutes and seconds, and nothing behind them. */
static bool parse_clock(const char *text, struct tm *tm)
{
    tm->tm_sec = 0;
    tm->tm_hour = number(&text, 2);
    if (*text++ != ':') {
        return false;
    }
    tm->tm_min = number(&text, 2);
    if (*text == ':') {
        text++;
        tm->tm_sec = number(&text, 2);
    }
    return *text == '\0' && tm->tm_hour >= 0 && tm->tm_hour <= 23 && tm->tm_min >= 0 && tm->tm_min <= 59 &&
           tm->tm_sec >= 0 && tm->tm_sec <= 59;
}

/* Year (of two or four digits; or none), month and day, and the clock behind them (or midnight). */
static bool parse_day(const char *text, struct tm *tm, bool *out_year)
{
    const char *begin = text;
    int first = number(&text, 4);
    long digits = text - begin;
    char mark = *text;
    if (first < 0 || (mark != '-' && mark != '/')) {
        return false;
    }
    text++;
    int second = number(&text, 2);
    *out_year = *text == mark;
    if (*out_year) {
        text++;
        tm->tm_year = digits == 2 ? first + 100 : first - 1900;
        tm->tm_mon = second - 1;
        tm->tm_mday = number(&text, 2);
    } else {
        tm->tm_mon = first - 1;
        tm->tm_mday = second;
    }
    if ((*out_year ? digits != 2 && digits != 4 : digits > 2) || tm->tm_year < 0 || tm->tm_mon < 0 || tm->tm_mon > 11 ||
        tm->tm_mday < 1) {
        return false;
    }
    tm->tm_hour = tm->tm_min = tm->tm_sec = 0;
    return *text == '\0' || ((*text == 'T' || *text == ' ') && parse_clock(text + 1, tm));
}

/* That moment, or -1 where there is none: the 30th of February. */
static time_t moment(const struct tm *wanted)
{
    struct tm tm = *wanted;
    tm.tm_isdst = -1;
    time_t t = mktime(&tm);
    return tm.tm_mday == wanted->tm_mday ? t : -1;
}

/* The next one of a day without a year: the 29th of February comes every fourth year, or every eighth. */
static time_t next_day(struct tm *tm, time_t now)
{
    for (int years = 0; years <= 8; years++, tm->tm_year++) {
        time_t t = moment(tm);
        if (t > now) {
            return t;
        }
    }
    return -1;
}

int window_parse(const char *text, time_t now, time_t *out_moment)
{
    struct tm tm = {0};
    bool year = false;
    if (localtime_r(&now, &tm) == NULL) {
        return -EINVAL;
    }
    if (strpbrk(text, "-/") != NULL) {
        if (!parse_day(text, &tm, &year)) {
            return -EINVAL;
        }
        time_t t = year ? moment(&tm) : next_day(&tm, now);
        if (t == -1) {
            return -EINVAL;
        }
        if (t <= now) {
            return -ERANGE;
        }
        *out_moment = t;
        return 0;
    }
    if (!parse_clock(text, &tm)) {
        return -EINVAL;
    }
    tm.tm_isdst = -1;
    struct tm today = tm;
    time_t t = mktime(&today);
    if (t <= now) {
        tm.tm_mday++; /* mktime takes the 32nd for the 1st; a day may have 23 or 25 hours */
        t = mktime(&tm);
    }
    *out_moment = t;
    return t > now ? 0 : -EINVAL;
}

int64_t window_end(int64_t max_duration_ns, time_t stop_at)
{
    int64_t now = clock_mono_ns();
    int64_t end = max_duration_ns != 0 ? now + max_duration_ns : 0;
    if (stop_at != 0) {
        int64_t left = (int64_t)stop_at * NS_PER_SEC - clock_real_ns();
        int64_t at = now + (left > 0 ? left : 0);
        end = end == 0 || at < end ? at : end;
    }
    return end;
}
