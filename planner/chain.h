/*
 * chain: the directory nodes on the way to a path, kept for the next path, which is mostly near. Nodes without plan.
 */
#ifndef HAUL_PLANNER_CHAIN_H
#define HAUL_PLANNER_CHAIN_H

#include <stddef.h>

#include "base/dir.h"

struct chain {
    struct dir *root;   /* not owned */
    struct dir **nodes; /* one reference each; nodes[0] is a child of root; owned */
    size_t count;       /* of them */
    size_t capacity;    /* room */
};

void chain_init(struct chain *c, struct dir *root);
void chain_release(struct chain *c);

/* The node of path (len bytes, "a/b/c"; len 0 or ".": the root), valid until the next call. 0 or -errno. */
int chain_to(struct chain *c, const char *path, size_t len, struct dir **out_dir);

#endif
