#include "cleanup/judge.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"

#define NOW_S 1800000000LL /* of the looking */
#define PUB_S 1700000000LL /* of the publishing */
#define SRC_S 1500000000LL /* the source's mtime */

static struct timespec at(int64_t s, long ns)
{
    return (struct timespec){.tv_sec = s, .tv_nsec = ns};
}

/* As the source has it. */
static struct attr source(void)
{
    return (struct attr){.mode = S_IFREG | 0644,
                         .uid = 1000,
                         .gid = 1000,
                         .ino = 5,
                         .size = 4711,
                         .atime = at(SRC_S, 1),
                         .mtime = at(SRC_S, 123),
                         .ctime = at(SRC_S, 123)};
}

/* As it was published, and stands there as long as nobody does anything. */
static struct attr published(void)
{
    struct attr a = source();
    a.ino = 77;
    a.atime = at(PUB_S, 5);
    a.ctime = at(PUB_S, 5);
    return a;
}

/* Somebody did something to it: its status has changed. */
static struct attr changed(void)
{
    struct attr a = published();
    a.ctime = at(PUB_S + 1000, 7);
    return a;
}

enum known_by { BY_NOTHING, BY_SOURCE, BY_MEMORY, BY_BOTH, KNOWN_BYS };

/* The verdict on now, by what is known. */
static struct judge_finding judge(const struct attr *now, enum known_by by, const struct attr *src,
                                  const struct attr *was)
{
    struct judge_finding f;
    bool asked = by == BY_SOURCE || by == BY_BOTH;
    bool memory = by == BY_MEMORY || by == BY_BOTH;
    const struct judge_case c = {.now = now,
                                 .asked = asked,
                                 .src = asked ? src : NULL,
                                 .published = memory ? was : NULL,
                                 .sure = memory,
                                 .now_ns = NOW_S * NS_PER_SEC};
    judge_entry(&c, &f);
    cr_assert_eq(f.kind == FINDING_NONE, f.evidence[0] == '\0', "evidence: '%s'", f.evidence);
    return f;
}

static void expect_kind(const char *what, const struct attr *now, enum known_by by, enum finding_kind kind,
                        enum finding_sure sure)
{
    const struct attr src = source();
    const struct attr was = published();
    const struct judge_finding f = judge(now, by, &src, &was);
    cr_expect(f.kind == kind && (kind == FINDING_NONE || f.sure == sure), "%s, known by %d: %s %s, '%s'", what, (int)by,
              finding_kind_name(f.kind), finding_sure_name(f.sure), f.evidence);
}

static void expect_nothing(const char *what, const struct attr *now)
{
    for (int by = BY_NOTHING; by < KNOWN_BYS; by++) {
        expect_kind(what, now, (enum known_by)by, FINDING_NONE, SURE_CERTAIN);
    }
}

Test(judge, what_is_as_it_should_be_is_no_finding)
{
    struct attr a = published();
    expect_nothing("as published", &a);
    a = changed();
    expect_nothing("its status has changed, nothing else", &a);
    a = changed();
    a.mtime = at(PUB_S + 1000, 7);
    a.size += 100;
    expect_nothing("somebody has written to it", &a);
    a.ino++;
    expect_nothing("somebody has replaced it", &a);
    a = published();
    a.mtime = at(86400, 0);
    a.ctime = at(PUB_S + 1000, 7);
    expect_nothing("an old time is none that nobody would set", &a);
}

Test(judge, mode_000_without_bytes_is_corrupt)
{
    struct attr a = changed();
    a.mode = S_IFREG;
    a.size = 0;
    a.mtime = at(PUB_S + 1000, 7);
    expect_kind("corrupt", &a, BY_SOURCE, FINDING_CORRUPT, SURE_CERTAIN);
    expect_kind("corrupt", &a, BY_MEMORY, FINDING_CORRUPT, SURE_CERTAIN);
    expect_kind("corrupt", &a, BY_BOTH, FINDING_CORRUPT, SURE_CERTAIN);
    expect_kind("corrupt", &a, BY_NOTHING, FINDING_CORRUPT, SURE_SUSPECTED);
    struct attr times = a;
    times.mtime = at(136000000, 0);
    times.atime = at(2030000000, 0);
    cr_expect(judge_is_verifier(&times));
    expect_kind("corrupt, a verifier's look", &times, BY_NOTHING, FINDING_CORRUPT, SURE_LIKELY);

    /* so in the source, or published so */
    struct attr so = source();
    so.mode = S_IFREG;
    so.size = 0;
    cr_expect_eq(judge(&a, BY_SOURCE, &so, NULL).kind, FINDING_NONE);
    cr_expect_eq(judge(&a, BY_MEMORY, NULL, &so).kind, FINDING_NONE);
    cr_expect_eq(judge(&a, BY_BOTH, &so, &so).kind, FINDING_NONE);
    so.mode = S_IFREG | 0600;
    cr_expect_eq(judge(&a, BY_SOURCE, &so, NULL).kind, FINDING_CORRUPT, "the source is empty, but not shut");
    /* the source has none */
    cr_expect_eq(judge(&a, BY_SOURCE, NULL, NULL).sure, SURE_LIKELY);
    struct attr was = published();
    cr_expect_eq(judge(&a, BY_BOTH, NULL, &was).sure, SURE_CERTAIN, "it was published with contents");

    /* the owner tells */
    const struct attr dir = {.mode = S_IFDIR | 0755, .uid = 1};
    struct judge_finding f;
    const struct judge_case c = {.now = &a, .dir = &dir, .now_ns = NOW_S * NS_PER_SEC};
    judge_entry(&c, &f);
    cr_expect(f.kind == FINDING_CORRUPT && f.sure == SURE_LIKELY);
}

Test(judge, no_bytes_where_there_should_be_some)
{
    struct attr a = changed();
    a.size = 0;
    expect_kind("empty, with the mtime of its contents", &a, BY_SOURCE, FINDING_EMPTY, SURE_CERTAIN);
    expect_kind("empty, with the mtime of its contents", &a, BY_MEMORY, FINDING_EMPTY, SURE_CERTAIN);
    expect_kind("an empty file by itself", &a, BY_NOTHING, FINDING_NONE, SURE_CERTAIN);
    struct attr lost = published();
    lost.size = 0;
    expect_kind("empty, and nobody has touched it", &lost, BY_MEMORY, FINDING_EMPTY, SURE_CERTAIN);
    const struct attr was = published();
    cr_expect_not(judge(&lost, BY_MEMORY, NULL, &was).theirs);

    a.mtime = at(PUB_S + 1000, 7);
    expect_kind("truncated by whoever uses it", &a, BY_MEMORY, FINDING_NONE, SURE_CERTAIN);
    expect_kind("truncated by whoever uses it", &a, BY_BOTH, FINDING_NONE, SURE_CERTAIN);
    expect_kind("newer than the source", &a, BY_SOURCE, FINDING_EMPTY, SURE_SUSPECTED);
    a.mtime = at(NOW_S + 400 * 86400, 0);
    expect_kind("nonsense times", &a, BY_SOURCE, FINDING_EMPTY, SURE_CERTAIN);
    expect_kind("nonsense times", &a, BY_MEMORY, FINDING_EMPTY, SURE_CERTAIN);

    struct attr empty = source();
    empty.size = 0;
    cr_expect_eq(judge(&lost, BY_SOURCE, &empty, NULL).kind, FINDING_NONE, "so in the source");
    cr_expect_eq(judge(&lost, BY_MEMORY, NULL, &empty).kind, FINDING_NONE, "published so");
}

Test(judge, other_sizes_rights_and_owners)
{
    struct attr a = changed();
    a.size = 4000;
    expect_kind("another size, the same mtime", &a, BY_SOURCE, FINDING_DIFFERS, SURE_CERTAIN);
    expect_kind("another size, the same mtime", &a, BY_MEMORY, FINDING_DIFFERS, SURE_CERTAIN);
    a = changed();
    a.mode = S_IFREG | 0600;
    expect_kind("mode", &a, BY_MEMORY, FINDING_DIFFERS, SURE_LIKELY);
    expect_kind("mode", &a, BY_SOURCE, FINDING_DIFFERS, SURE_LIKELY);
    a = changed();
    a.uid = 0;
    expect_kind("owner", &a, BY_BOTH, FINDING_DIFFERS, SURE_LIKELY);
    expect_kind("owner", &a, BY_NOTHING, FINDING_NONE, SURE_CERTAIN);
    struct attr src = source();
    src.uid = 0;
    const struct attr was = published();
    cr_expect_eq(judge(&a, BY_BOTH, &src, &was).kind, FINDING_NONE, "the source has that owner now");
    /* published with another owner than the source's (--chown): no finding */
    struct attr given = published();
    given.uid = 42;
    struct attr now = changed();
    now.uid = 42;
    src = source();
    cr_expect_eq(judge(&now, BY_BOTH, &src, &given).kind, FINDING_NONE);
    /* another type: somebody's */
    now.mode = S_IFLNK | 0777;
    cr_expect_eq(judge(&now, BY_BOTH, &src, &was).kind, FINDING_NONE);
}

Test(judge, mode_000_with_contents)
{
    struct attr a = changed();
    a.mode = S_IFREG;
    expect_kind("shut", &a, BY_NOTHING, FINDING_UNREADABLE, SURE_SUSPECTED);
    expect_kind("shut", &a, BY_SOURCE, FINDING_UNREADABLE, SURE_CERTAIN);
    expect_kind("shut", &a, BY_MEMORY, FINDING_UNREADABLE, SURE_CERTAIN);
    struct attr so = source();
    so.mode = S_IFREG;
    cr_expect_eq(judge(&a, BY_SOURCE, &so, NULL).kind, FINDING_NONE);
}

Test(judge, times_that_nobody_would_set)
{
    struct attr a = changed();
    a.mtime = at(NOW_S + 2 * 86400, 0);
    expect_kind("future", &a, BY_NOTHING, FINDING_TIMES, SURE_SUSPECTED);
    expect_kind("future", &a, BY_SOURCE, FINDING_TIMES, SURE_CERTAIN);
    expect_kind("future", &a, BY_MEMORY, FINDING_TIMES, SURE_CERTAIN);
    struct attr so = source();
    so.mtime = a.mtime;
    cr_expect_eq(judge(&a, BY_SOURCE, &so, NULL).kind, FINDING_NONE, "so in the source");
    cr_expect_eq(judge(&a, BY_MEMORY, NULL, &so).kind, FINDING_NONE, "published so");
    a.mtime = at(-86400, 0);
    expect_kind("before 1970", &a, BY_NOTHING, FINDING_TIMES, SURE_SUSPECTED);
    a.mtime = at(NOW_S + 3600, 0);
    expect_kind("a clock that is ahead", &a, BY_NOTHING, FINDING_NONE, SURE_CERTAIN);
    a.size = 0;
    a.mtime = at(136000000, 0);
    a.atime = at(2030000000, 0);
    expect_kind("a verifier's look", &a, BY_NOTHING, FINDING_TIMES, SURE_LIKELY);
    a.atime.tv_nsec = 1;
    cr_expect_not(judge_is_verifier(&a));
}

Test(judge, what_is_not_sure_is_remembered_is_not_certain)
{
    struct attr a = changed();
    const struct attr was = published();
    struct judge_finding f;
    struct judge_case c = {.now = &a, .published = &was, .now_ns = NOW_S * NS_PER_SEC};
    a.mode = S_IFREG;
    a.size = 0;
    judge_entry(&c, &f);
    cr_expect(f.kind == FINDING_CORRUPT && f.sure == SURE_LIKELY);
    a = changed();
    a.size = 4000;
    judge_entry(&c, &f);
    cr_expect_eq(f.kind, FINDING_NONE, "perhaps the older contents are back");
}

Test(judge, whose_work_it_is)
{
    const struct attr was = published();
    struct attr now = published();
    cr_expect_not(judge_is_theirs(&was, &now));
    now.ctime = at(PUB_S + 1, 0);
    cr_expect_not(judge_is_theirs(&was, &now), "its rename moved ctime");
    now.ctime = at(PUB_S + 3, 0);
    cr_expect(judge_is_theirs(&was, &now));
    now = published();
    now.ino++;
    cr_expect(judge_is_theirs(&was, &now));
}

Test(judge, words_for_everything)
{
    for (int kind = 0; kind < FINDING_KINDS; kind++) {
        enum finding_kind back = FINDING_NONE;
        const char *name = finding_kind_name((enum finding_kind)kind);
        cr_expect(name != NULL && strcmp(name, "?") != 0);
        cr_expect_eq(finding_kind_parse(name, strlen(name), &back), kind == FINDING_NONE ? -22 : 0, "%s", name);
        cr_expect_eq(back, kind);
    }
    enum finding_kind back;
    cr_expect_neq(finding_kind_parse("corrupt", 6, &back), 0);
    cr_expect_neq(finding_kind_parse("", 0, &back), 0);
    for (int i = 0; i < FINDING_SURES; i++) {
        cr_expect_str_neq(finding_sure_name((enum finding_sure)i), "?");
    }
    for (int i = 0; i < FINDING_ACTIONS; i++) {
        cr_expect_str_neq(finding_action_name((enum finding_action)i), "?");
    }
    cr_expect(finding_is_open(ACTION_LEFT) && finding_is_open(ACTION_NONE) && finding_is_open(ACTION_FAILED));
    cr_expect(!finding_is_open(ACTION_MENDED) && !finding_is_open(ACTION_REMOVED) && !finding_is_open(ACTION_MOVED));
}
