/* A directory's summary in bytes: entries come, change and go. */
#include <criterion/criterion.h>
#include <string.h>

#include "planner/summary.h"

TestSuite(summary, .timeout = 30);

#define SEED 7
#define ROOM 4 /* slots */

struct summary {
    struct summary_slot slots[ROOM];
    size_t len; /* bytes */
};

static bool mend(struct summary *s, const char *name, enum summary_fate fate, const struct attr *src)
{
    const struct summary_change change = {.name = name, .name_len = strlen(name), .fate = fate, .src = src};
    return summary_mend((char *)s->slots, &s->len, sizeof s->slots, SEED, &change);
}

/* The digest of name; 0: it proves nothing; 1: it is not there. */
static uint64_t digest(const struct summary *s, const char *name)
{
    for (size_t i = 0; i < s->len / sizeof s->slots[0]; i++) {
        if (s->slots[i].name == summary_name(SEED, name, strlen(name))) {
            return s->slots[i].digest;
        }
    }
    return 1;
}

Test(summary, entries_come_change_and_go)
{
    struct summary s = {.len = 0};
    struct attr one = {.mode = 0100644, .size = 1};
    struct attr two = {.mode = 0100644, .size = 2};
    cr_assert(mend(&s, "a", SUMMARY_KEPT, &one));
    cr_assert(mend(&s, "b", SUMMARY_KEPT, NULL));
    cr_assert(mend(&s, "c", SUMMARY_KEPT, &one));
    cr_expect_eq(digest(&s, "a"), summary_digest(SEED, &one) | SUMMARY_SURE);
    cr_expect_eq(digest(&s, "b"), 0);
    cr_assert(mend(&s, "b", SUMMARY_KEPT, &two));
    cr_expect_eq(digest(&s, "b"), summary_digest(SEED, &two) | SUMMARY_SURE);
    cr_assert(mend(&s, "a", SUMMARY_DOUBTED, &one));
    cr_expect_eq(digest(&s, "a"), 0);
    cr_assert(mend(&s, "a", SUMMARY_GONE, NULL));
    cr_expect_eq(digest(&s, "a"), 1);
    cr_expect_eq(digest(&s, "b"), summary_digest(SEED, &two) | SUMMARY_SURE);
    cr_expect_eq(digest(&s, "c"), summary_digest(SEED, &one) | SUMMARY_SURE);
    cr_assert(mend(&s, "c", SUMMARY_GONE, NULL));
    cr_assert(mend(&s, "b", SUMMARY_GONE, NULL));
    cr_expect_eq(s.len, 0);
}

Test(summary, what_is_not_there_neither_goes_nor_is_doubted)
{
    struct summary s = {.len = 0};
    cr_assert(mend(&s, "a", SUMMARY_GONE, NULL));
    cr_assert(mend(&s, "a", SUMMARY_DOUBTED, NULL));
    cr_expect_eq(s.len, 0);
}

Test(summary, without_room_nothing_changes)
{
    struct summary s = {.len = 0};
    const char *names[] = {"a", "b", "c", "d"};
    for (unsigned i = 0; i < ROOM; i++) {
        cr_assert(mend(&s, names[i], SUMMARY_KEPT, NULL));
    }
    const struct summary before = s;
    cr_expect_not(mend(&s, "e", SUMMARY_KEPT, NULL));
    cr_expect_eq(memcmp(&before, &s, sizeof s), 0);
    cr_expect(mend(&s, "d", SUMMARY_GONE, NULL));
    cr_expect(mend(&s, "e", SUMMARY_KEPT, NULL));
}

Test(summary, what_is_none_is_not_mended)
{
    struct summary s = {.len = 20};
    cr_expect_not(mend(&s, "a", SUMMARY_KEPT, NULL));
}

/* Each attribute that tells one file from another counts; the device does not. */
Test(summary, digests_tell_attributes_apart)
{
    const struct attr base = {.mode = 0100644, .uid = 1, .gid = 2, .size = 3, .ino = 4, .dev = 5};
    struct attr others[] = {base, base, base, base, base, base, base};
    others[0].mode = 0100600;
    others[1].uid = 2;
    others[2].gid = 1;
    others[3].size = 4;
    others[4].ino = 3;
    others[5].mtime.tv_nsec = 1;
    others[6].ctime.tv_nsec = 1;
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++) {
        cr_expect_neq(summary_digest(SEED, &base), summary_digest(SEED, &others[i]), "%u", i);
    }
    struct attr moved = base;
    moved.dev = 6;
    cr_expect_eq(summary_digest(SEED, &base), summary_digest(SEED, &moved));
    cr_expect_neq(summary_digest(SEED, &base), summary_digest(SEED + 1, &base));
}
