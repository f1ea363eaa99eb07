#include "cleanup/mend.h"

#include <criterion/criterion.h>
#include <sys/stat.h>

#define ALL MEND_KINDS

static const struct attr full = {.mode = S_IFREG | 0644, .size = 700, .ino = 1};
static const struct attr short_one = {.mode = S_IFREG | 0644, .size = 300, .ino = 2};
static const struct attr nothing = {.mode = S_IFREG, .size = 0, .ino = 3};
static const struct attr dir = {.mode = S_IFDIR | 0755, .ino = 4};
static const struct attr fifo = {.mode = S_IFIFO | 0644, .ino = 5};

#define CORRUPT    FINDING_CORRUPT
#define EMPTY      FINDING_EMPTY
#define DIFFERS    FINDING_DIFFERS
#define TIMES      FINDING_TIMES
#define TEMP       FINDING_TEMP
#define UNREADABLE FINDING_UNREADABLE
#define OURS       false
#define THEIRS     true

/* kind x certainty x named x changed since, where the source has the file whole. */
static const struct {
    enum finding_kind kind;
    enum finding_sure sure;
    bool theirs;
    const struct attr *now;
    enum mend_verdict verdict; /* where it is named */
} table[] = {
    /* A file without a byte that should have some is nobody's work, whoever came last. */
    {CORRUPT, SURE_CERTAIN, OURS, &nothing, MEND_CONTENTS},
    {CORRUPT, SURE_CERTAIN, THEIRS, &nothing, MEND_CONTENTS},
    {CORRUPT, SURE_LIKELY, OURS, &nothing, LEFT_UNSURE},
    {CORRUPT, SURE_LIKELY, THEIRS, &nothing, LEFT_UNSURE},
    {CORRUPT, SURE_SUSPECTED, OURS, &nothing, LEFT_UNSURE},
    {CORRUPT, SURE_SUSPECTED, THEIRS, &nothing, LEFT_UNSURE},
    {EMPTY, SURE_CERTAIN, OURS, &nothing, MEND_CONTENTS},
    {EMPTY, SURE_CERTAIN, THEIRS, &nothing, MEND_CONTENTS},
    {EMPTY, SURE_LIKELY, OURS, &nothing, LEFT_UNSURE},
    {EMPTY, SURE_SUSPECTED, OURS, &nothing, LEFT_UNSURE}, /* truncated by whoever uses it */
    {EMPTY, SURE_SUSPECTED, THEIRS, &nothing, LEFT_UNSURE},
    {DIFFERS, SURE_CERTAIN, OURS, &short_one, MEND_CONTENTS},
    {DIFFERS, SURE_CERTAIN, THEIRS, &short_one, LEFT_THEIRS},
    {DIFFERS, SURE_LIKELY, OURS, &full, MEND_ATTRS},
    {DIFFERS, SURE_LIKELY, THEIRS, &full, LEFT_THEIRS},
    {DIFFERS, SURE_LIKELY, OURS, &short_one, LEFT_SIZE},
    {DIFFERS, SURE_SUSPECTED, OURS, &full, LEFT_UNSURE},
    {TIMES, SURE_CERTAIN, OURS, &full, MEND_ATTRS},
    {TIMES, SURE_CERTAIN, THEIRS, &full, LEFT_THEIRS},
    {TIMES, SURE_CERTAIN, OURS, &short_one, LEFT_SIZE},
    {TIMES, SURE_LIKELY, OURS, &full, LEFT_UNSURE},
    {TIMES, SURE_SUSPECTED, OURS, &full, LEFT_UNSURE},
    {UNREADABLE, SURE_CERTAIN, OURS, &full, MEND_ATTRS},
    {UNREADABLE, SURE_CERTAIN, THEIRS, &full, LEFT_THEIRS},
    {UNREADABLE, SURE_LIKELY, OURS, &full, LEFT_UNSURE},
    {UNREADABLE, SURE_CERTAIN, OURS, NULL, LEFT_UNSEEN},
    {TEMP, SURE_CERTAIN, OURS, &full, MEND_REMOVE},
    {TEMP, SURE_LIKELY, OURS, &full, MEND_REMOVE},
    {TEMP, SURE_SUSPECTED, OURS, &full, LEFT_UNSURE},
    /* not what a scan finds */
    {FINDING_CONTENTS, SURE_CERTAIN, OURS, &full, LEFT_KIND},
    {FINDING_MISSING, SURE_CERTAIN, OURS, &full, LEFT_KIND},
    {FINDING_EXTRA, SURE_CERTAIN, OURS, &full, LEFT_KIND},
    {FINDING_REPLACED, SURE_CERTAIN, OURS, &full, LEFT_KIND},
};

Test(mend, what_the_source_has)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct mend_case c = {.kind = table[i].kind,
                              .sure = table[i].sure,
                              .named = ALL,
                              .theirs = table[i].theirs,
                              .asked = true,
                              .src = &full,
                              .now = table[i].now};
        enum mend_verdict verdict = mend_decide(&c);

        cr_expect_eq(verdict, table[i].verdict, "row %zu: %d", i, (int)verdict);
        c.named = MEND_KIND(table[i].kind);
        cr_expect_eq(mend_decide(&c), table[i].verdict, "row %zu, alone", i);
        c.named = ALL & ~MEND_KIND(table[i].kind);
        cr_expect_eq(mend_decide(&c), LEFT_KIND, "row %zu, not named", i);
        c.named = 0;
        cr_expect_eq(mend_decide(&c), LEFT_KIND, "row %zu, none named", i);
        /* However the source could not be asked: nothing but temp names goes. */
        c = (struct mend_case){.kind = table[i].kind,
                               .sure = table[i].sure,
                               .named = ALL,
                               .theirs = table[i].theirs,
                               .now = table[i].now,
                               .away = AWAY_REMOVE};
        cr_expect(!mend_is_wanted(mend_decide(&c)) || c.kind == FINDING_TEMP, "row %zu, without a source", i);
    }
}

static const struct {
    enum finding_kind kind;
    enum finding_sure sure;
    bool theirs;
    const struct attr *now;
    enum mend_verdict moved;   /* with AWAY_MOVE */
    enum mend_verdict removed; /* with AWAY_REMOVE */
} without[] = {
    {CORRUPT, SURE_CERTAIN, THEIRS, &nothing, MEND_MOVE, MEND_REMOVE},
    {CORRUPT, SURE_LIKELY, OURS, &nothing, MEND_MOVE, MEND_REMOVE},
    {CORRUPT, SURE_SUSPECTED, OURS, &nothing, LEFT_UNSURE, LEFT_UNSURE},
    {EMPTY, SURE_CERTAIN, THEIRS, &nothing, MEND_MOVE, MEND_REMOVE},
    {EMPTY, SURE_SUSPECTED, OURS, &nothing, LEFT_UNSURE, LEFT_UNSURE},
    {DIFFERS, SURE_CERTAIN, OURS, &short_one, MEND_MOVE, LEFT_HOLDS},
    {DIFFERS, SURE_CERTAIN, THEIRS, &short_one, LEFT_THEIRS, LEFT_THEIRS},
    {DIFFERS, SURE_LIKELY, OURS, &fifo, LEFT_NONE, LEFT_NONE},
    {TIMES, SURE_CERTAIN, OURS, &full, LEFT_NONE, LEFT_NONE},
    {TIMES, SURE_SUSPECTED, OURS, &full, LEFT_UNSURE, LEFT_UNSURE},
    {UNREADABLE, SURE_CERTAIN, OURS, &full, LEFT_NONE, LEFT_NONE},
    {TEMP, SURE_CERTAIN, OURS, &full, MEND_REMOVE, MEND_REMOVE},
};

Test(mend, what_the_source_does_not_have)
{
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
        struct mend_case c = {.kind = without[i].kind,
                              .sure = without[i].sure,
                              .named = ALL,
                              .theirs = without[i].theirs,
                              .asked = true,
                              .now = without[i].now,
                              .away = AWAY_MOVE};

        cr_expect_eq(mend_decide(&c), without[i].moved, "row %zu, moved: %d", i, (int)mend_decide(&c));
        c.away = AWAY_REMOVE;
        cr_expect_eq(mend_decide(&c), without[i].removed, "row %zu, removed: %d", i, (int)mend_decide(&c));
        c.away = AWAY_LEAVE;
        cr_expect(!mend_is_wanted(mend_decide(&c)) || c.kind == FINDING_TEMP, "row %zu, left", i);
    }
}

Test(mend, another_type_at_the_source_is_left)
{
    struct mend_case c = {
        .kind = CORRUPT, .sure = SURE_CERTAIN, .named = ALL, .asked = true, .src = &dir, .now = &nothing};

    cr_expect_eq(mend_decide(&c), LEFT_TYPE);
    c.kind = TIMES;
    c.now = &full;
    c.src = &fifo;
    cr_expect_eq(mend_decide(&c), LEFT_TYPE);
}

Test(mend, each_verdict_has_its_words)
{
    for (enum mend_verdict v = MEND_CONTENTS; v <= LEFT_UNSEEN; v++) {
        cr_expect_eq(mend_is_wanted(v), mend_why(v) == NULL, "%d", (int)v);
    }
}
