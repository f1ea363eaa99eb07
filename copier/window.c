#include "copier/window.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* Hours, minutes and seconds, and nothing behind them. */
static bool parse_clock(const char *text, struct tm *tm)
{
    int end = -1;
    tm->tm_sec = 0;
    if (sscanf(text, "%2d:%2d%n", &tm->tm_hour, &tm->tm_min, &end) != 2 || end < 0) {
        return false;
    }
    text += end;
    end = -1;
    if (*text == ':' && (sscanf(text, ":%2d%n", &tm->tm_sec, &end) != 1 || end < 0)) {
        return false;
    }
    text += *text == ':' ? end : 0;
    return *text == '\0' && tm->tm_hour >= 0 && tm->tm_hour <= 23 && tm->tm_min >= 0 && tm->tm_min <= 59 &&
           tm->tm_sec >= 0 && tm->tm_sec <= 59;
}

/* Year, month and day. Returns what stands behind them, or NULL. */
static const char *parse_day(const char *text, struct tm *tm)
{
    int end = -1;
    char first = 0;
    char second = 0;
    if (sscanf(text, "%4d%c%2d%c%2d%n", &tm->tm_year, &first, &tm->tm_mon, &second, &tm->tm_mday, &end) != 5 ||
        end < 0 || first != second || strchr("-/", first) == NULL || strchr("T ", text[end]) == NULL ||
        text[end] == '\0') {
        return NULL;
    }
    tm->tm_year -= 1900;
    tm->tm_mon -= 1;
    return tm->tm_year >= 0 && tm->tm_mon >= 0 && tm->tm_mon <= 11 && tm->tm_mday >= 1 ? text + end + 1 : NULL;
}

/* That moment, or -1 where there is none: the 30th of February. */
static time_t moment(const struct tm *wanted)
{
    struct tm tm = *wanted;
    tm.tm_isdst = -1;
    time_t t = mktime(&tm);
    return tm.tm_mday == wanted->tm_mday ? t : -1;
}

int window_parse(const char *text, time_t now, time_t *out_moment)
{
    struct tm tm = {0};
    const char *clock = parse_day(text, &tm);
    if (clock != NULL) {
        time_t t = parse_clock(clock, &tm) ? moment(&tm) : -1;
        if (t == -1) {
            return -EINVAL;
        }
        if (t <= now) {
            return -ERANGE;
        }
        *out_moment = t;
        return 0;
    }
    if (localtime_r(&now, &tm) == NULL || !parse_clock(text, &tm)) {
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
