/*
 * item: one entry that a worker is to carry out. Made by the planner, run by the copier, ended by planner_item_done.
 */
#ifndef HAUL_PLANNER_ITEM_H
#define HAUL_PLANNER_ITEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workers/shard.h"
#include "workers/store.h"

enum item_kind {
    ITEM_FILE,    /* publish a regular file */
    ITEM_SYMLINK, /* publish a symbolic link */
    ITEM_NODE,    /* publish a FIFO, socket or device node */
    ITEM_LINK,    /* make a hard link to the leader of its group, which stands at the destination */
    ITEM_ATTRS,   /* contents are right; set owner, mode, times */
    ITEM_CHECK,   /* compare contents; then nothing, or as ITEM_ATTRS or ITEM_FILE */
    ITEM_REMOVE,  /* remove it at the destination */
};

struct item {
    struct work work;     /* must be first; work.dir: one reference, where the entry is */
    enum item_kind kind;  /* what to do */
    bool leader;          /* first of a hard-link group: its followers wait for it */
    bool alike;           /* ITEM_CHECK: the destination has its attributes already */
    struct attr attr;     /* of the source entry, as the walk saw it; ITEM_REMOVE: what is to stand at the destination,
                             where size, mtime and ino of 0 all together say that this is not known */
    const char *as;       /* its name at the destination where that is another one (single-file SRC), NULL else; not
                             owned, outlives the planner. Use item_dst_name */
    struct dir *from_dir; /* ITEM_LINK: the leader's directory, one reference; NULL else */
    char *from_name;      /* ITEM_LINK: the leader's name, owned; NULL else */
    size_t name_len;      /* bytes */
    char name[];          /* one component, NUL-terminated */
};

/* A new item; takes its own reference to dir. NULL where memory is short. Any thread. */
struct item *item_create(enum item_kind kind, struct dir *dir, const char *name, size_t name_len,
                         const struct attr *attr);
/* Drops the references. NULL is fine. */
void item_destroy(struct item *item);

/* The name of the entry at the destination. Valid while the item is. */
const char *item_dst_name(const struct item *item);

/* Work units of an item: 1 for a small file, more for the bytes of a large one. For pool_options.cost. */
uint64_t item_cost(const struct work *work);

/*
 * Whether an ITEM_LINK that ended with result (-errno) is no failure, since the planner turns it into a copy of its own
 * (too many links to one file, a destination that has no hard links): whoever reports failures leaves it out.
 */
bool item_link_copies(int result);

#endif
