#include "planner/item.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A file of that many bytes is about as much work as making one more file. */
#define BYTES_PER_UNIT (256U * 1024)

struct item *item_create(enum item_kind kind, struct dir *dir, const char *name, size_t name_len,
                         const struct attr *attr)
{
    struct item *item = malloc(sizeof(*item) + name_len + 1);
    if (item == NULL) {
        return NULL;
    }
    memset(item, 0, sizeof(*item));
    item->work.dir = dir_get(dir);
    item->kind = kind;
    item->attr = *attr;
    item->name_len = name_len;
    memcpy(item->name, name, name_len);
    item->name[name_len] = '\0';
    return item;
}

void item_destroy(struct item *item)
{
    if (item == NULL) {
        return;
    }
    dir_put(item->from_dir);
    free(item->from_name);
    dir_put(item->work.dir);
    free(item);
}

const char *item_dst_name(const struct item *item)
{
    return item->as != NULL ? item->as : item->name;
}

uint64_t item_cost(const struct work *work)
{
    const struct item *item = (const struct item *)work; /* work is its first field */
    return item->kind == ITEM_FILE ? 1 + item->attr.size / BYTES_PER_UNIT : 1;
}

bool item_link_copies(int result)
{
    return result == -EMLINK || result == -EXDEV || result == -EPERM || result == -EOPNOTSUPP;
}
