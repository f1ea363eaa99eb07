/*
 * window: until when a run may work (--max-duration, --stop-at). Pure but for the clocks.
 */
#ifndef HAUL_COPIER_WINDOW_H
#define HAUL_COPIER_WINDOW_H

#include <stdint.h>
#include <time.h>

/*
 * A moment as --stop-at takes it, in local time: "04:30", "4:30:15" (the next time that the clock shows it),
 * "2031-02-28T04:30", "31-2-28 04:30:15" (slashes do as well as dashes), "2-28T04:30" (the next one); a day without a
 * time is its midnight. now: seconds since 1970. 0; -EINVAL: that is no moment; -ERANGE: it has passed.
 */
int window_parse(const char *text, time_t now, time_t *out_moment);

/* The monotonic time, in ns, at which max_duration_ns (0: none) from now on or the moment stop_at (0: none) has come,
 * whichever is first; 0: neither was given. */
int64_t window_end(int64_t max_duration_ns, time_t stop_at);

#endif
