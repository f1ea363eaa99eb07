/*
 * io_looks: a directory read and its entries looked at, in one go.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/name.h"
#include "workers/io_internal.h"

#define ENTRY_MAX 1024U /* bytes of buf that surely take one entry more */

/* Fills buf: up to the directory's end, where that has room, so that nobody has to come again for the end alone. 0, or
 * -1 with errno. */
static int read_on(struct io_looks *looks)
{
    looks->len = looks->at = 0;
    while (!looks->end && (looks->len == 0 || looks->size - looks->len >= ENTRY_MAX)) {
        ssize_t n = getdents64(looks->fd, (char *)looks->buf + looks->len, looks->size - looks->len);
        if (n < 0) {
            return looks->len > 0 ? 0 : -1; /* it will fail again, when what has come was looked at */
        }
        looks->end = n == 0;
        looks->len += (size_t)n;
    }
    return 0;
}

static int look_at(const struct io_looks *looks, const char *name, struct statx *out_stx)
{
    int r;
    do {
        r = statx(looks->fd, name, looks->flags, looks->mask, out_stx) < 0 ? -errno : 0;
    } while (r == -EINTR);
    return r;
}

int looks_call(struct io_looks *looks)
{
    int64_t enough = clock_mono_ns() + IO_LOOKS_NS;
    looks->count = 0;
    if (looks->at >= looks->len && read_on(looks) < 0) {
        return -1;
    }
    while (looks->at < looks->len && looks->count < looks->room) {
        const struct dirent64 *e = (const void *)((const char *)looks->buf + looks->at);
        if (!name_is_dots(e->d_name, strnlen(e->d_name, 3))) {
            looks->results[looks->count] = look_at(looks, e->d_name, &looks->stx[looks->count]);
            looks->count++;
        }
        looks->at += e->d_reclen;
        if (looks->count > 0 && clock_mono_ns() >= enough) {
            break;
        }
    }
    return 0;
}
