#include "copier/quantity.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

int quantity_number(const char *text, uint64_t min, uint64_t max, uint64_t *out_number)
{
    if (!isdigit((unsigned char)text[0])) {
        return -EINVAL;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || n < min || n > max) {
        return -EINVAL;
    }
    *out_number = n;
    return 0;
}

/* A decimal number without sign, exponent, "inf" or "nan", of which strtod would take all. */
static int decimal(const char *text, double *out_value, const char **out_rest)
{
    size_t digits = strspn(text, "0123456789");
    size_t len = digits;
    if (text[len] == '.') {
        size_t fraction = strspn(text + len + 1, "0123456789");
        len += 1 + fraction;
        digits += fraction;
    }
    if (digits == 0 || len > 30) {
        return -EINVAL;
    }
    char number[32];
    memcpy(number, text, len);
    number[len] = '\0';
    *out_value = strtod(number, NULL);
    *out_rest = text + len;
    return 0;
}

int quantity_size(const char *text, uint64_t unit, uint64_t *out_bytes)
{
    static const char letters[] = "KMGTPE";
    double value = 0;
    const char *rest = NULL;
    if (decimal(text, &value, &rest) != 0) {
        return -EINVAL;
    }
    double factor = (double)unit;
    if (*rest == 'B' || *rest == 'b') {
        factor = 1;
        rest++;
    } else if (*rest != '\0') {
        const char *letter = strchr(letters, toupper((unsigned char)*rest));
        if (letter == NULL) {
            return -EINVAL;
        }
        rest++;
        double base = 1024;
        if (rest[0] == 'i' && (rest[1] == 'B' || rest[1] == 'b')) {
            rest += 2;
        } else if (rest[0] == 'B' || rest[0] == 'b') {
            base = 1000;
            rest++;
        }
        factor = pow(base, (double)(letter - letters + 1));
    }
    double bytes = value * factor;
    if (*rest != '\0' || bytes >= 9.2e18) {
        return -EINVAL;
    }
    *out_bytes = (uint64_t)bytes;
    return 0;
}

int quantity_percent(const char *text, uint32_t *out_millionths)
{
    double value = 0;
    const char *rest = NULL;
    if (decimal(text, &value, &rest) != 0) {
        return -EINVAL;
    }
    rest += *rest == '%' ? 1 : 0;
    if (*rest != '\0' || value > 100) {
        return -EINVAL;
    }
    *out_millionths = (uint32_t)ceil(value * 1e4 - 1e-6);
    return 0;
}

int quantity_duration(const char *text, int64_t *out_ns)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"", 1e9}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"min", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
    double value = 0;
    const char *rest = NULL;
    if (decimal(text, &value, &rest) != 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(rest, units[i].name) == 0 && value * units[i].ns < 9.2e18) {
            *out_ns = (int64_t)(value * units[i].ns);
            return 0;
        }
    }
    return -EINVAL;
}

char *quantity_show_bytes(uint64_t bytes, char buf[QUANTITY_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    snprintf(buf, QUANTITY_MAX, unit == 0 ? "%.0f %s" : value < 10 ? "%.2f %s" : "%.1f %s", value, units[unit]);
    return buf;
}

char *quantity_show_duration(int64_t ns, char buf[QUANTITY_MAX])
{
    int64_t s = ns / NS_PER_SEC;
    if (ns < 10 * NS_PER_SEC) {
        snprintf(buf, QUANTITY_MAX, "%.2f s", (double)ns / 1e9);
    } else if (s < 120) {
        snprintf(buf, QUANTITY_MAX, "%lld s", (long long)s);
    } else if (s < 2 * 3600) {
        snprintf(buf, QUANTITY_MAX, "%lld min %lld s", (long long)(s / 60), (long long)(s % 60));
    } else if (s < 2 * 86400) {
        snprintf(buf, QUANTITY_MAX, "%lld h %lld min", (long long)(s / 3600), (long long)(s / 60 % 60));
    } else {
        snprintf(buf, QUANTITY_MAX, "%lld d %lld h", (long long)(s / 86400), (long long)(s / 3600 % 24));
    }
    return buf;
}

char *quantity_show_count(uint64_t n, char buf[QUANTITY_MAX])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    char *to = buf;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            *to++ = ',';
        }
        *to++ = digits[i];
    }
    *to = '\0';
    return buf;
}
