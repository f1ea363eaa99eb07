/*
 * beside: what a directory holds at one side, listed once with attributes, while the same directory is gone through at
 * the other side. All lists together have a bound (struct beside_room): where it is reached, what is not in a list has
 * to be asked for by itself.
 */
#ifndef HAUL_CLEANUP_BESIDE_H
#define HAUL_CLEANUP_BESIDE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "workers/store.h"

#define BESIDE_MAX 262144UL /* entries of all lists together: some 50 MiB */

/* Shared by all lists of a run; zeroed at first. */
struct beside_room {
    atomic_ulong entries; /* that lists have room for */
};

struct beside_entry {
    const char *name; /* NUL-terminated; the list's */
    size_t name_len;  /* bytes */
    struct attr attr; /* as it was listed; valid if attr_error is 0 */
    int attr_error;   /* 0, or -errno of looking at it */
    bool met;         /* the other side has it too; the user's */
};

struct beside; /* one list; one thread at a time */

/*
 * Lists dir through port. 0; -ENOENT, ...: it could not be listed (to its end), and there is no list. Where the bound
 * is reached the list is not whole. Waits.
 */
int beside_read(struct port *port, struct dir *dir, struct beside_room *room, struct beside **out_beside);
void beside_destroy(struct beside *b); /* NULL is fine */

/* The entry of that name; NULL: it is not in the list. */
struct beside_entry *beside_find(struct beside *b, const char *name, size_t name_len);

/* Whether what is not in the list is not there either. */
bool beside_is_whole(const struct beside *b);

/* Each entry, in the order of the listing. */
size_t beside_count(const struct beside *b);
struct beside_entry *beside_at(struct beside *b, size_t i);

/*
 * What stands under a name there: from the list b (NULL: none), else asked for by itself. 0; -ENOENT: nothing; -errno
 * of op. Waits.
 */
int beside_look(struct beside *b, struct port *port, struct dir *dir, const char *name, size_t name_len,
                struct attr *out_attr, struct store_op *op);

#endif
