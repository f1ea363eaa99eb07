/*
 * store: what all stores share: the table of codes, the chain of layers, the requests.
 */
#include "workers/store.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/name.h"

/* Names and repeatability, one row a code. PUBLISH, SYMLINK and NODE replace what stands there by the same again, so
 * twice is once; a second sync or flush may report success for what the first has lost; what ends a handle is over
 * after it. */
static const struct {
    const char *name;
    enum store_repeat repeat;
} codes[STORE_CODES] = {
    [STORE_STAT] = {"stat", REPEAT_SAFE},
    [STORE_XATTRS] = {"xattrs", REPEAT_SAFE},
    [STORE_READLINK] = {"readlink", REPEAT_SAFE},
    [STORE_LIST_OPEN] = {"list-open", REPEAT_SAFE},
    [STORE_LIST_NEXT] = {"list", REPEAT_SAFE},
    [STORE_LIST_PARK] = {"list-park", REPEAT_SAFE},
    [STORE_LIST_CLOSE] = {"list-close", REPEAT_NOT},
    [STORE_READ_SMALL] = {"read-small", REPEAT_SAFE},
    [STORE_OPEN] = {"open", REPEAT_SAFE},
    [STORE_READ] = {"read", REPEAT_SAFE},
    [STORE_EXTENT] = {"extent", REPEAT_SAFE},
    [STORE_FSTAT] = {"fstat", REPEAT_SAFE},
    [STORE_CLOSE] = {"close", REPEAT_NOT},
    [STORE_MKDIR] = {"mkdir", REPEAT_LOOK},
    [STORE_PUBLISH] = {"publish", REPEAT_SAFE},
    [STORE_BEGIN] = {"begin", REPEAT_SAFE},
    [STORE_WRITE] = {"write", REPEAT_SAFE},
    [STORE_COPY] = {"copy", REPEAT_SAFE},
    [STORE_FLUSH] = {"flush", REPEAT_NOT},
    [STORE_COMMIT] = {"commit", REPEAT_NOT},
    [STORE_ABORT] = {"abort", REPEAT_NOT},
    [STORE_PARK] = {"park", REPEAT_NOT},
    [STORE_SYMLINK] = {"symlink", REPEAT_SAFE},
    [STORE_NODE] = {"node", REPEAT_SAFE},
    [STORE_LINK] = {"link", REPEAT_LOOK},
    [STORE_SETATTR] = {"setattr", REPEAT_SAFE},
    [STORE_REMOVE] = {"remove", REPEAT_LOOK},
    [STORE_SYNC] = {"sync", REPEAT_NOT},
};

const char *store_code_name(enum store_code code)
{
    return (unsigned)code < STORE_CODES ? codes[code].name : "?";
}

enum store_repeat store_code_repeat(enum store_code code)
{
    return (unsigned)code < STORE_CODES ? codes[code].repeat : REPEAT_NOT;
}

bool attr_unchanged(const struct attr *before, const struct attr *after)
{
    return (before->mode & S_IFMT) == (after->mode & S_IFMT) && before->size == after->size &&
           before->dev == after->dev && before->ino == after->ino && clock_cmp(&before->mtime, &after->mtime) == 0 &&
           clock_cmp(&before->ctime, &after->ctime) == 0 &&
           (before->change == after->change || before->change == 0 || after->change == 0);
}

bool attr_is_meant(const struct attr *expect, const struct attr *now)
{
    return expect->mode == now->mode && attr_is_same_file(expect, now);
}

bool attr_is_same_file(const struct attr *expect, const struct attr *now)
{
    return (expect->mode & S_IFMT) == (now->mode & S_IFMT) && expect->size == now->size && expect->ino == now->ino &&
           clock_cmp(&expect->mtime, &now->mtime) == 0;
}

bool attr_is_same_entry(const struct attr *expect, const struct attr *now, bool dir)
{
    return dir ? (expect->mode & S_IFMT) == (now->mode & S_IFMT) && expect->ino == now->ino
               : attr_is_same_file(expect, now);
}

void store_destroy(struct store *s)
{
    while (s) {
        struct store *next = s->next;

        s->ops->destroy(s);
        s = next;
    }
}

int store_port_create(struct store *s, struct io *io, struct port **out_port)
{
    struct port *top = NULL;
    struct port **link = &top;

    for (; s; s = s->next) {
        struct port *p = NULL;
        int err = s->ops->port_create(s, io, &p);

        if (err) {
            store_port_destroy(top);
            return err;
        }
        p->store = s;
        p->io = io;
        p->next = NULL;
        *link = p;
        link = &p->next;
    }
    *out_port = top;
    return 0;
}

void store_port_destroy(struct port *p)
{
    while (p) {
        struct port *next = p->next;

        p->store->ops->port_destroy(p);
        p = next;
    }
}

bool store_op_guarded(const struct store_op *op)
{
    return op->step && strcmp(op->step, STORE_STEP_GUARD) == 0;
}

/* A name that could lead elsewhere never reaches a store (P6). */
static bool one_component(const char *name)
{
    return name[0] != '\0' && !name_is_dots(name, strnlen(name, 3)) && !strchr(name, '/');
}

int store_run(struct port *p, struct store_op *op)
{
    op->step = NULL;
    op->attempts = 0;
    op->repeated = false;
    if ((unsigned)op->code >= STORE_CODES || (op->name && !one_component(op->name)) ||
        (op->code == STORE_LINK && !one_component(op->link.from_name))) {
        return -EINVAL;
    }
    return p->store->ops->run(p, op);
}

int store_run_next(struct port *p, struct store_op *op)
{
    return p->next->store->ops->run(p->next, op);
}

static void release_dir(void *arg, struct dir *dir)
{
    struct store *s = arg;

    s->ops->dir_release(s, dir);
}

void store_attach(struct store *s, enum dir_side side, struct dir_tree *tree)
{
    while (s && !s->ops->dir_release) {
        s = s->next;
    }
    tree->release[side] = s ? release_dir : NULL;
    tree->release_arg[side] = s;
}
