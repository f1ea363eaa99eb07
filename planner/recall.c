/*
 * recall: what is remembered of a directory's entries, read once before its listing. A table of hashes: 16 bytes an
 * entry, whatever its name, so that a directory of a million takes 32 MiB while it is walked.
 *
 * Only whether an entry is as it was, and which ones the source was not seen to have, is kept; for all else the one
 * who remembers is asked again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "planner/planner_internal.h"
#include "planner/summary.h"

#define RECALL_MAX   (6UL * 1024 * 1024) /* slots of all tables together: 96 MiB; beyond that entries are asked for */
#define RECALL_FIRST 64U                 /* slots of a table at first; a power of 2 */
#define FLAG_SEEN    1U                  /* in digest, of a table alone: the source has it */
#define SUMMARY_MIN  8U                  /* entries below which rows do as well */

struct recall {
    struct summary_slot *slots; /* name 0: free; open addressing, at most three quarters full; owned */
    size_t capacity;            /* of slots, a power of 2; what the planner's bound counts */
    size_t count;               /* entries */
    size_t seen;                /* of them, those that the source has */
    bool unsure;                /* one of them proves nothing */
    bool summed;                /* they come from the directory's summary */
};

/* The slot of name: its own, or the free one where it would be. */
static struct summary_slot *slot_of(const struct recall *r, uint64_t name)
{
    size_t at = name & (r->capacity - 1);
    while (r->slots[at].name != 0 && r->slots[at].name != name) {
        at = (at + 1) & (r->capacity - 1);
    }
    return &r->slots[at];
}

/* Makes room for so many slots, more than there are. */
static int grow(struct planner *p, struct recall *r, size_t capacity)
{
    if (atomic_fetch_add(&p->recall_count, capacity) + capacity > RECALL_MAX) {
        atomic_fetch_sub(&p->recall_count, capacity);
        return -ENOBUFS;
    }
    struct recall more = {.slots = calloc(capacity, sizeof *more.slots), .capacity = capacity};
    if (more.slots == NULL) {
        atomic_fetch_sub(&p->recall_count, capacity);
        return -ENOMEM;
    }
    for (size_t i = 0; i < r->capacity; i++) {
        if (r->slots[i].name != 0) {
            *slot_of(&more, r->slots[i].name) = r->slots[i];
        }
    }
    free(r->slots);
    atomic_fetch_sub(&p->recall_count, r->capacity);
    r->slots = more.slots;
    r->capacity = capacity;
    return 0;
}

/* What take needs. */
struct reading {
    struct planner *p;
    struct recall *r;
};

static int take(void *arg, const struct plan_remembered *row)
{
    struct reading *reading = arg;
    struct recall *r = reading->r;
    if (r->count >= r->capacity / 4 * 3) {
        int err = grow(reading->p, r, r->capacity == 0 ? RECALL_FIRST : 2 * r->capacity);
        if (err != 0) {
            return err;
        }
    }
    uint64_t name = summary_name(reading->p->options.summary_seed, row->name, row->name_len);
    struct summary_slot *slot = slot_of(r, name);
    r->count += slot->name == 0 ? 1 : 0;
    slot->name = name;
    bool sure = row->sure && !row->intent;
    slot->digest = sure ? summary_digest(reading->p->options.summary_seed, row->src) | SUMMARY_SURE : 0;
    r->unsure |= !sure;
    return 0;
}

/* From the directory's summary: its slots without those that are free. 0, -ENOENT, -errno. */
static int read_summary(struct planner *p, const struct dir *dir, struct recall *r)
{
    char *bytes = NULL;
    size_t len = 0;
    if (p->options.summary_get == NULL) {
        return -ENOENT;
    }
    int err = p->options.summary_get(p->options.arg, dir, &bytes, &len);
    if (err != 0) {
        return err;
    }
    size_t count = len / sizeof(struct summary_slot);
    size_t capacity = RECALL_FIRST;
    while (capacity / 4 * 3 < count) {
        capacity *= 2;
    }
    err = len % sizeof(struct summary_slot) != 0 ? -ENOENT : grow(p, r, capacity);
    for (size_t i = 0; i < count && err == 0; i++) {
        struct summary_slot one;
        memcpy(&one, bytes + i * sizeof one, sizeof one);
        *slot_of(r, one.name) = one;
    }
    free(bytes);
    r->count = err == 0 ? count : 0;
    r->summed = err == 0;
    return err;
}

/* The rows are as the source has them, as far as names go, and each proves something: the next run need not read
 * them one by one. */
void recall_sum(struct planner *p, const struct dir *dir)
{
    const struct recall *r = plan_of(dir)->recall;
    if (r == NULL || p->options.summary_put == NULL || r->summed || r->unsure || r->count < SUMMARY_MIN ||
        r->seen != r->count) {
        return;
    }
    struct summary_slot *slots = malloc(r->count * sizeof *slots);
    size_t count = 0;
    for (size_t i = 0; slots != NULL && i < r->capacity; i++) {
        if (r->slots[i].name != 0) {
            slots[count] = r->slots[i];
            slots[count++].digest &= ~(uint64_t)FLAG_SEEN;
        }
    }
    if (slots != NULL) {
        p->options.summary_put(p->options.arg, dir, (const char *)slots, count * sizeof *slots);
    }
    free(slots);
}

void recall_read(struct planner *p, struct dir *dir)
{
    struct recall *r = calloc(1, sizeof *r);
    struct reading reading = {.p = p, .r = r};
    int err = r == NULL ? -ENOMEM : read_summary(p, dir, r);
    if (err == -ENOENT) {
        err = p->options.recall(p->options.arg, dir, NULL, -1, take, &reading);
    }
    plan_of(dir)->recall = r;
    if (err != 0) {
        recall_drop(p, dir);
        plan_of(dir)->unrecalled = true;
    }
}

void recall_drop(struct planner *p, struct dir *dir)
{
    struct recall *r = plan_of(dir)->recall;
    if (r != NULL) {
        atomic_fetch_sub(&p->recall_count, r->capacity);
        free(r->slots);
        free(r);
        plan_of(dir)->recall = NULL;
    }
}

/* The slot of a name that is remembered, or NULL. */
static struct summary_slot *find(const struct planner *p, const struct dir *dir, const char *name, size_t name_len)
{
    const struct recall *r = plan_of(dir)->recall;
    if (r == NULL || r->count == 0) {
        return NULL;
    }
    struct summary_slot *slot = slot_of(r, summary_name(p->options.summary_seed, name, name_len));
    return slot->name != 0 ? slot : NULL;
}

bool recall_has(const struct planner *p, const struct dir *dir, const char *name, size_t name_len)
{
    return find(p, dir, name, name_len) != NULL;
}

bool recall_same(const struct planner *p, const struct dir *dir, const char *name, size_t name_len,
                 const struct attr *attr)
{
    const struct summary_slot *slot = find(p, dir, name, name_len);
    return slot != NULL && (slot->digest & SUMMARY_SURE) != 0 &&
           (slot->digest & ~(uint64_t)SUMMARY_FLAGS) == summary_digest(p->options.summary_seed, attr);
}

void recall_see(const struct planner *p, const struct dir *dir, const char *name, size_t name_len, bool see)
{
    struct summary_slot *slot = find(p, dir, name, name_len);
    struct recall *r = plan_of(dir)->recall;
    if (slot == NULL || ((slot->digest & FLAG_SEEN) != 0) == see) {
        return;
    }
    slot->digest ^= FLAG_SEEN;
    r->seen += see ? 1 : (size_t)-1;
}

bool recall_unseen(const struct dir *dir)
{
    const struct plan_dir *node = plan_of(dir);
    return node->unrecalled || (node->recall != NULL && node->recall->seen < node->recall->count);
}

bool recall_seen(const struct planner *p, const struct dir *dir, const char *name, size_t name_len)
{
    const struct summary_slot *slot = find(p, dir, name, name_len);
    return slot != NULL && (slot->digest & FLAG_SEEN) != 0;
}
