/*
 * dir: the tree of directory nodes that a run holds, and the handles that the stores keep for them.
 *
 * A path is never a string that is cut: it is a chain of nodes from the root, each with one name. The same node stands
 * for the directory at the source and at the destination. Only directories with work left are in memory.
 *
 * References: dir_create_* returns one reference to the caller; a child holds one reference to its parent. When the
 * last one is dropped the node is freed, after each store has been told to close what it holds (dir_tree.release).
 * Reference functions: any thread, non-blocking but for the release hooks.
 */
#ifndef HAUL_BASE_DIR_H
#define HAUL_BASE_DIR_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum dir_side {
    DIR_SRC, /* the source's handle */
    DIR_DST, /* the destination's handle */
    DIR_SIDES
};

struct dir;

/* What a store keeps for a directory. All fields are owned by that side's store and guarded by its lock. */
struct dir_handle {
    int fd;            /* descriptor, or -1: not open */
    unsigned pins;     /* users of fd right now; not closed while > 0 */
    struct dir *newer; /* least-recently-used list of unpinned open handles */
    struct dir *older;
    void *data; /* a store's own (e.g. an NFS file handle), or NULL */
};

/* What all nodes of one run share. In the caller's storage; outlives all its nodes. */
struct dir_tree {
    void (*release[DIR_SIDES])(void *arg, struct dir *dir); /* closes the handle of that side; NULL: nothing to close */
    void *release_arg[DIR_SIDES];
};

struct dir {
    struct dir_tree *tree;               /* not owned */
    struct dir *parent;                  /* one reference; NULL for the root */
    atomic_int refs;                     /* references to this node */
    unsigned depth;                      /* 0 for the root */
    uint64_t id;                         /* XXH3-64 over the names from the root on: the key in the state */
    struct dir_handle handle[DIR_SIDES]; /* see above */
    void *plan;                          /* the planner's own; freed by it before the last reference goes */
    atomic_bool told;                    /* the state knows the path of this id; set by whoever told it */
    size_t name_len;                     /* bytes, without the final NUL */
    char name[];                         /* one path component, NUL-terminated; "" for the root */
};

/* The root node. 0, or -ENOMEM. */
int dir_create_root(struct dir_tree *tree, struct dir **out_dir);

/* A child of parent (which gains a reference held by the child). name: name_len bytes, no '/', not "." or "..".
 * 0, -ENOMEM, or -EINVAL for such a name. */
int dir_create_child(struct dir *parent, const char *name, size_t name_len, struct dir **out_dir);

/* Takes one more reference; returns dir. */
struct dir *dir_get(struct dir *dir);

/* Drops one reference; NULL is fine. Frees upwards without recursion, however deep the chain. */
void dir_put(struct dir *dir);

/* The id that a child of that name would have: XXH3-64 of the name, seeded with the parent's id. The root's is 0, no
 * other's is. */
uint64_t dir_child_id(const struct dir *parent, const char *name, size_t name_len);

/*
 * The path of name in dir relative to the root, as a malloc'd string that the caller frees ("a/b/c"; "." for the root
 * itself with name NULL). name may be NULL: the directory itself. NULL where memory is short. May be longer than
 * PATH_MAX: for messages and the state, never for a system call.
 */
char *dir_path(const struct dir *dir, const char *name);

#endif
