/*
 * lines: the lines of a file or pipe, one after the other, with a way to be cut short while nothing comes.
 */
#ifndef HAUL_PLANNER_LINES_H
#define HAUL_PLANNER_LINES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define LINE_MAX_BYTES (16U * 1024 * 1024) /* longer lines are refused: no path is that long */

struct lines {
    int fd;                  /* not owned */
    char separator;          /* ends a line: '\n' or NUL */
    const atomic_bool *stop; /* reading ends soon after this became true; not owned */
    char *buffer;            /* owned */
    size_t capacity;         /* of buffer */
    size_t begin;            /* of what is not handed out yet */
    size_t end;              /* of what was read */
    bool eof;                /* nothing more will come */
};

void lines_init(struct lines *l, int fd, char separator, const atomic_bool *stop);
void lines_release(struct lines *l);

/* The next line without its separator, NUL-terminated, valid until the next call; the last may lack its separator.
 * Blocks. 0; -ENODATA at the end, -ECANCELED after stop, -ENAMETOOLONG, -ENOMEM, -errno of reading. */
int lines_next(struct lines *l, char **out_line, size_t *out_len);

#endif
