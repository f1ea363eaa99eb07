#include "cleanup/temps.h"

#include <dirent.h>
#include <errno.h>

#include "base/name.h"

int temps_remove(struct port *port, struct dir *dir, const char *name, unsigned *out_removed)
{
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = &attr}};

    int err = store_run(port, &op);
    if (err == 0 && !S_ISDIR(attr.mode)) {
        op = (struct store_op){
            .code = STORE_REMOVE, .dir = dir, .name = name, .remove = {.expect = &attr, .dir = false}};
        err = store_run(port, &op);
        *out_removed += err == 0 ? 1 : 0;
    }
    return err == -ENOENT ? 0 : err;
}

/* Whether that name is one to be removed. */
static bool may_go(const struct temps_rules *rules, const struct dir *dir, const struct store_entry *entry)
{
    char run_id[RUN_ID_LEN + 1];

    return entry->type != DT_DIR && temp_name_parse(entry->name, run_id) && rules->is_dead(rules->arg, run_id) &&
           (rules->keep == NULL || !rules->keep(rules->arg, dir, entry->name));
}

int temps_purge(struct port *port, struct dir *dir, const struct temps_rules *rules, unsigned *out_removed)
{
    struct store_list *list = NULL;
    struct store_op open = {.code = STORE_LIST_OPEN, .dir = dir, .list = {.list = &list, .want_attr = false}};
    int first = 0;

    int err = store_run(port, &open);
    if (err != 0) {
        return err;
    }
    for (;;) {
        struct store_entry entry = {0};
        struct store_op next = {.code = STORE_LIST_NEXT, .dir = dir, .list = {.list = &list, .out = &entry}};
        err = store_run(port, &next);
        if (err != 0 || entry.name == NULL) {
            first = first != 0 ? first : err;
            break;
        }
        if (!may_go(rules, dir, &entry)) {
            continue;
        }
        err = temps_remove(port, dir, entry.name, out_removed);
        first = first != 0 ? first : err;
    }
    struct store_op close = {.code = STORE_LIST_CLOSE, .dir = dir, .list = {.list = &list}};
    err = store_run(port, &close);
    return first != 0 ? first : err;
}
