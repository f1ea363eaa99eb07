#include "planner/lines.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_BYTES (64U * 1024)
#define POLL_MS     100 /* how soon a stop is seen while nothing comes */

void lines_init(struct lines *l, int fd, char separator, const atomic_bool *stop)
{
    *l = (struct lines){.fd = fd, .separator = separator, .stop = stop};
}

void lines_release(struct lines *l)
{
    free(l->buffer);
    l->buffer = NULL;
}

/* Room for at least one byte more and a final NUL. */
static int make_room(struct lines *l)
{
    if (l->begin > 0) {
        memmove(l->buffer, l->buffer + l->begin, l->end - l->begin);
        l->end -= l->begin;
        l->begin = 0;
    }
    if (l->end + 1 < l->capacity) {
        return 0;
    }
    if (l->capacity >= LINE_MAX_BYTES) {
        return -ENAMETOOLONG;
    }
    size_t capacity = l->capacity == 0 ? FIRST_BYTES : 2 * l->capacity;
    char *buffer = realloc(l->buffer, capacity);
    if (buffer == NULL) {
        return -ENOMEM;
    }
    l->buffer = buffer;
    l->capacity = capacity;
    return 0;
}

static int read_more(struct lines *l)
{
    int err = make_room(l);
    while (err == 0) {
        struct pollfd wait = {.fd = l->fd, .events = POLLIN};
        if (atomic_load_explicit(l->stop, memory_order_relaxed)) {
            return -ECANCELED;
        }
        int ready = poll(&wait, 1, POLL_MS);
        if (ready <= 0) {
            if (ready < 0 && errno != EINTR) {
                err = -errno;
            }
            continue;
        }
        ssize_t n = read(l->fd, l->buffer + l->end, l->capacity - l->end - 1);
        if (n >= 0) {
            l->end += (size_t)n;
            l->eof = n == 0;
            return 0;
        }
        if (errno != EINTR && errno != EAGAIN) {
            err = -errno;
        }
    }
    return err;
}

int lines_next(struct lines *l, char **out_line, size_t *out_len)
{
    size_t looked = 0;

    for (;;) {
        size_t have = l->end - l->begin;
        char *line = have > 0 ? l->buffer + l->begin : NULL;
        char *close = have > looked ? memchr(line + looked, l->separator, have - looked) : NULL;
        if (close == NULL && l->eof) {
            if (have == 0) {
                return -ENODATA;
            }
            close = line + have; /* there is room for the NUL */
            l->begin = l->end;
        } else if (close != NULL) {
            l->begin += (size_t)(close - line) + 1;
        }
        if (close != NULL) {
            *close = '\0';
            *out_line = line;
            *out_len = (size_t)(close - line);
            return 0;
        }
        looked = have;
        int err = read_more(l);
        if (err != 0) {
            return err;
        }
    }
}
