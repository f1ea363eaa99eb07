#include "cleanup/beside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define ROOM_FIRST  64U          /* entries that a list has room for at first */
#define NAMES_FIRST 2048U        /* bytes of names that are kept together, at first */
#define NAMES_BLOCK (64U * 1024) /* and later */

/* Names lie in blocks, which never move. */
struct block {
    struct block *next; /* an older one; owned */
    size_t size;        /* bytes of text */
    size_t used;        /* of them */
    char text[];
};

struct beside {
    struct beside_room *room;     /* not owned */
    struct beside_entry *entries; /* owned */
    size_t count;                 /* of them */
    size_t capacity;              /* what room counts */
    uint32_t *slots;              /* a hash table of entries, index + 1; 0: free; owned */
    size_t slot_mask;             /* its size less one */
    struct block *names;          /* owned */
    bool whole;                   /* the listing came to its end, all of it is here */
};

void beside_destroy(struct beside *b)
{
    if (b == NULL) {
        return;
    }
    while (b->names != NULL) {
        struct block *next = b->names->next;
        free(b->names);
        b->names = next;
    }
    atomic_fetch_sub(&b->room->entries, b->capacity);
    free(b->entries);
    free(b->slots);
    free(b);
}

/* Where a name is in the table, or would be. */
static size_t slot_of(const struct beside *b, const char *name, size_t name_len)
{
    size_t at = XXH3_64bits(name, name_len) & b->slot_mask;
    while (b->slots[at] != 0) {
        const struct beside_entry *e = &b->entries[b->slots[at] - 1];
        if (e->name_len == name_len && memcmp(e->name, name, name_len) == 0) {
            break;
        }
        at = (at + 1) & b->slot_mask;
    }
    return at;
}

/* The table for twice as many entries as there is room for. 0 or -ENOMEM. */
static int make_table(struct beside *b)
{
    size_t size = 2 * ROOM_FIRST;
    while (size < 2 * b->capacity) {
        size *= 2;
    }
    uint32_t *slots = calloc(size, sizeof(*slots));
    if (slots == NULL) {
        return -ENOMEM;
    }
    free(b->slots);
    b->slots = slots;
    b->slot_mask = size - 1;
    for (size_t i = 0; i < b->count; i++) {
        b->slots[slot_of(b, b->entries[i].name, b->entries[i].name_len)] = (uint32_t)(i + 1);
    }
    return 0;
}

/* Room for one more. 0; -ENOBUFS: the bound is reached; -ENOMEM. */
static int reserve(struct beside *b)
{
    if (b->count < b->capacity) {
        return 0;
    }
    size_t more = b->capacity == 0 ? ROOM_FIRST : b->capacity;
    if (atomic_fetch_add(&b->room->entries, more) + more > BESIDE_MAX) {
        atomic_fetch_sub(&b->room->entries, more);
        return -ENOBUFS;
    }
    struct beside_entry *entries = reallocarray(b->entries, b->capacity + more, sizeof(*entries));
    if (entries == NULL) {
        atomic_fetch_sub(&b->room->entries, more);
        return -ENOMEM;
    }
    b->entries = entries;
    b->capacity += more;
    return make_table(b);
}

static const char *keep_name(struct beside *b, const char *name, size_t name_len)
{
    struct block *block = b->names;
    if (block == NULL || block->size - block->used < name_len + 1) {
        size_t size = block == NULL ? NAMES_FIRST : NAMES_BLOCK;
        size = name_len + 1 > size ? name_len + 1 : size;
        block = malloc(sizeof(*block) + size);
        if (block == NULL) {
            return NULL;
        }
        *block = (struct block){.next = b->names, .size = size};
        b->names = block;
    }
    char *kept = block->text + block->used;
    memcpy(kept, name, name_len);
    kept[name_len] = '\0';
    block->used += name_len + 1;
    return kept;
}

static int keep(struct beside *b, const struct store_entry *entry)
{
    int err = reserve(b);
    const char *name = err == 0 ? keep_name(b, entry->name, entry->name_len) : NULL;
    if (err == 0 && name == NULL) {
        err = -ENOMEM;
    }
    if (err == 0) {
        size_t slot = slot_of(b, entry->name, entry->name_len);
        b->entries[b->count++] = (struct beside_entry){
            .name = name, .name_len = entry->name_len, .attr = entry->attr, .attr_error = entry->attr_error};
        b->slots[slot] = (uint32_t)b->count;
    }
    return err;
}

/* To the end, or to the bound. 0 or -errno. */
static int fill(struct port *port, struct dir *dir, struct beside *b, struct store_list **list)
{
    for (;;) {
        struct store_entry entry = {0};
        struct store_op op = {.code = STORE_LIST_NEXT, .dir = dir, .list = {.list = list, .out = &entry}};
        int err = store_run(port, &op);
        if (err != 0 || entry.name == NULL) {
            b->whole = err == 0;
            return err;
        }
        err = keep(b, &entry);
        if (err != 0) {
            return err == -ENOBUFS ? 0 : err;
        }
    }
}

int beside_read(struct port *port, struct dir *dir, struct beside_room *room, struct beside **out_beside)
{
    struct beside *b = calloc(1, sizeof(*b));
    struct store_list *list = NULL;
    struct store_op op = {.code = STORE_LIST_OPEN, .dir = dir, .list = {.list = &list, .want_attr = true}};

    if (b == NULL) {
        return -ENOMEM;
    }
    b->room = room;
    int err = make_table(b);
    if (err == 0) {
        err = store_run(port, &op);
    }
    if (err == 0) {
        err = fill(port, dir, b, &list);
        op = (struct store_op){.code = STORE_LIST_CLOSE, .dir = dir, .list = {.list = &list}};
        (void)store_run(port, &op); /* nothing was written through it */
    }
    if (err != 0) {
        beside_destroy(b);
        return err;
    }
    *out_beside = b;
    return 0;
}

struct beside_entry *beside_find(struct beside *b, const char *name, size_t name_len)
{
    uint32_t found = b->slots[slot_of(b, name, name_len)];
    return found != 0 ? &b->entries[found - 1] : NULL;
}

bool beside_is_whole(const struct beside *b)
{
    return b->whole;
}

size_t beside_count(const struct beside *b)
{
    return b->count;
}

struct beside_entry *beside_at(struct beside *b, size_t i)
{
    return &b->entries[i];
}

int beside_look(struct beside *b, struct port *port, struct dir *dir, const char *name, size_t name_len,
                struct attr *out_attr, struct store_op *op)
{
    struct beside_entry *found = b != NULL ? beside_find(b, name, name_len) : NULL;
    *op = (struct store_op){.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = out_attr}};
    if (found != NULL && found->attr_error == 0) {
        *out_attr = found->attr;
        return 0;
    }
    return found == NULL && b != NULL && b->whole ? -ENOENT : store_run(port, op);
}
