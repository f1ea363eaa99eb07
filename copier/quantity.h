/*
 * quantity: numbers, sizes, rates and durations as people write them, both ways. Any thread.
 */
#ifndef HAUL_COPIER_QUANTITY_H
#define HAUL_COPIER_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

#define QUANTITY_MAX 32 /* bytes enough for any text made here, with its NUL */

/* A whole number in [min, max]; nothing before or behind it. 0 or -EINVAL. */
int quantity_number(const char *text, uint64_t min, uint64_t max, uint64_t *out_number);

/* "4096", "64K", "1.5M", "2GiB" (powers of 1024), "3MB" (of 1000), in bytes; unit is what a bare number counts (1, or
 * 1024 for rsync's --bwlimit). 0 or -EINVAL. */
int quantity_size(const char *text, uint64_t unit, uint64_t *out_bytes);

/* "500ms", "2s", "5m", "1h", "1d"; a bare number counts seconds. In ns. 0 or -EINVAL. */
int quantity_duration(const char *text, int64_t *out_ns);

/* "1%", "0.5%", "100" (percent too): in millionths, from 0 to 1,000,000, rounded up, so that what is little is not
 * nothing. 0 or -EINVAL. */
int quantity_percent(const char *text, uint32_t *out_millionths);

/* "1.50 GiB" / "3 h 12 min" / "12,345" into buf; return buf. */
char *quantity_show_bytes(uint64_t bytes, char buf[QUANTITY_MAX]);
char *quantity_show_duration(int64_t ns, char buf[QUANTITY_MAX]);
char *quantity_show_count(uint64_t n, char buf[QUANTITY_MAX]);

#endif
