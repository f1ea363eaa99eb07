/*
 * dir: the tree of directory nodes (dir.h).
 */
#include "base/dir.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/name.h"

static struct dir *make(struct dir_tree *tree, const char *name, size_t name_len)
{
    struct dir *dir = calloc(1, sizeof(*dir) + name_len + 1);
    if (dir == NULL) {
        return NULL;
    }
    dir->tree = tree;
    atomic_init(&dir->refs, 1);
    for (int side = 0; side < DIR_SIDES; side++) {
        dir->handle[side].fd = -1;
    }
    dir->name_len = name_len;
    memcpy(dir->name, name, name_len);
    return dir;
}

int dir_create_root(struct dir_tree *tree, struct dir **out_dir)
{
    struct dir *dir = make(tree, "", 0);
    if (dir == NULL) {
        return -ENOMEM;
    }
    *out_dir = dir;
    return 0;
}

static bool component_valid(const char *name, size_t len)
{
    if (len == 0 || memchr(name, '/', len) != NULL || memchr(name, '\0', len) != NULL) {
        return false;
    }
    return !name_is_dots(name, len);
}

int dir_create_child(struct dir *parent, const char *name, size_t name_len, struct dir **out_dir)
{
    if (!component_valid(name, name_len)) {
        return -EINVAL;
    }
    struct dir *dir = make(parent->tree, name, name_len);
    if (dir == NULL) {
        return -ENOMEM;
    }
    dir->parent = dir_get(parent);
    dir->depth = parent->depth + 1;
    dir->id = dir_child_id(parent, name, name_len);
    *out_dir = dir;
    return 0;
}

struct dir *dir_get(struct dir *dir)
{
    (void)atomic_fetch_add_explicit(&dir->refs, 1, memory_order_relaxed);
    return dir;
}

void dir_put(struct dir *dir)
{
    while (dir != NULL && atomic_fetch_sub_explicit(&dir->refs, 1, memory_order_acq_rel) == 1) {
        struct dir *parent = dir->parent;
        for (int side = 0; side < DIR_SIDES; side++) {
            if (dir->tree->release[side] != NULL) {
                dir->tree->release[side](dir->tree->release_arg[side], dir);
            }
        }
        free(dir);
        dir = parent;
    }
}

uint64_t dir_child_id(const struct dir *parent, const char *name, size_t name_len)
{
    const uint64_t id = XXH3_64bits_withSeed(name, name_len, parent->id);
    return id != 0 ? id : 1;
}

char *dir_path(const struct dir *dir, const char *name)
{
    const size_t last = name != NULL ? strlen(name) : 0;
    if (dir->parent == NULL && name == NULL) {
        return strdup(".");
    }
    size_t size = last + 1;
    for (const struct dir *d = dir; d->parent != NULL; d = d->parent) {
        size += d->name_len + 1;
    }
    if (name == NULL) {
        size--; /* no slash after the last directory */
    }
    char *path = malloc(size);
    if (path == NULL) {
        return NULL;
    }

    char *at = path + size;
    *--at = '\0';
    at -= last;
    memcpy(at, name != NULL ? name : "", last);
    bool slash = name != NULL;
    for (const struct dir *d = dir; d->parent != NULL; d = d->parent) {
        if (slash) {
            *--at = '/';
        }
        at -= d->name_len;
        memcpy(at, d->name, d->name_len);
        slash = true;
    }
    return path;
}
