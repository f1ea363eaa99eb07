#include "planner/chain.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void chain_init(struct chain *c, struct dir *root)
{
    *c = (struct chain){.root = root};
}

static void cut(struct chain *c, size_t count)
{
    while (c->count > count) {
        dir_put(c->nodes[--c->count]);
    }
}

void chain_release(struct chain *c)
{
    cut(c, 0);
    free(c->nodes);
    *c = (struct chain){.root = c->root};
}

static int append(struct chain *c, const char *name, size_t len)
{
    if (c->count == c->capacity) {
        size_t capacity = c->capacity == 0 ? 16 : 2 * c->capacity;
        struct dir **nodes = reallocarray(c->nodes, capacity, sizeof(struct dir *));
        if (nodes == NULL) {
            return -ENOMEM;
        }
        c->nodes = nodes;
        c->capacity = capacity;
    }
    struct dir *parent = c->count > 0 ? c->nodes[c->count - 1] : c->root;
    struct dir *node = NULL;
    int err = dir_create_child(parent, name, len, &node);
    if (err == 0) {
        c->nodes[c->count++] = node;
    }
    return err;
}

int chain_to(struct chain *c, const char *path, size_t len, struct dir **out_dir)
{
    const char *end = path + len;
    size_t depth = 0;

    if (len == 1 && path[0] == '.') {
        len = 0;
    }
    for (const char *p = path; len > 0 && p < end; depth++) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t part = (size_t)((slash != NULL ? slash : end) - p);
        bool same =
            depth < c->count && c->nodes[depth]->name_len == part && memcmp(c->nodes[depth]->name, p, part) == 0;
        if (!same) {
            cut(c, depth);
            int err = append(c, p, part);
            if (err != 0) {
                return err;
            }
        }
        p += part + 1;
    }
    cut(c, depth);
    *out_dir = depth > 0 ? c->nodes[depth - 1] : c->root;
    return 0;
}
