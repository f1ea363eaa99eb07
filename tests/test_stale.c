#include "cleanup/stale.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"

#define RUN  "0123456789abcdef"
#define TEMP ".haul." RUN ".fedcba9876543210"
#define HOUR (3600 * NS_PER_SEC)
#define NOW  (1800000000 * NS_PER_SEC)

static const struct {
    const char *parent;
    const char *name;
    enum stale_maker maker;
} names[] = {
    {"d", TEMP, MAKER_HAUL},
    {".haul", TEMP, MAKER_HAUL},
    {"d", ".data.parquet.Xa81Qz", MAKER_RSYNC},
    {"d", "..bashrc.9aB2cd", MAKER_RSYNC},
    {"", ".a.aaaaa1", MAKER_RSYNC},
    {".~tmp~", "anything", MAKER_RSYNC},
    {"d", "file.1a2b3c4d.partial", MAKER_RCLONE},
    {"d", "a.tar.gz.0123abcd.partial", MAKER_RCLONE},
    {"d", ".file.tmp5577006791947779410", MAKER_JUICEFS},
    {"d", ".jfs.file.tmp.12", MAKER_JUICEFS},
    {"d", ".nfs000000000012ab3400000001", MAKER_NFS},
    /* what people choose */
    {"d", ".haul", MAKER_NONE},
    {"d", ".haul." RUN, MAKER_NONE},
    {"d", ".haul." RUN ".short", MAKER_NONE},
    {"d", ".bashrc.backup", MAKER_NONE},
    {"d", ".vimrc.config", MAKER_NONE},
    {"d", "data.Xa81Qz", MAKER_NONE},
    {"d", ".Xa81Qz", MAKER_NONE},
    {"d", "..Xa81Qz", MAKER_NONE},
    {"d", ".a.Xa81_z", MAKER_NONE},
    {"d", ".~tmp~", MAKER_NONE},
    {"d", "film.partial", MAKER_NONE},
    {"d", "film.complete.partial", MAKER_NONE},
    {"d", ".1a2b3c4d.partial", MAKER_NONE},
    {"d", "notes.tmp5577006791947779410", MAKER_NONE},
    {"d", ".file.tmp2024", MAKER_NONE},
    {"d", ".file.tmp", MAKER_NONE},
    {"d", ".nfs", MAKER_NONE},
    {"d", ".nfs0000000000zz", MAKER_NONE},
    {"d", ".nfsmounts", MAKER_NONE},
    {"d", "file", MAKER_NONE},
};

Test(stale, names_tell_who_made_them)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char run[RUN_ID_LEN + 1] = "";
        enum stale_maker maker = stale_maker_of(names[i].parent, names[i].name, run);
        cr_expect_eq(maker, names[i].maker, "%s/%s is %s", names[i].parent, names[i].name, stale_maker_name(maker));
        cr_expect_str_eq(run, maker == MAKER_HAUL ? RUN : "");
    }
}

static struct attr file_of(uint64_t size, int64_t age_ns)
{
    int64_t at = NOW - age_ns;
    return (struct attr){.mode = S_IFREG | 0600,
                         .size = size,
                         .ctime = {.tv_sec = at / NS_PER_SEC, .tv_nsec = at % NS_PER_SEC},
                         .mtime = {.tv_sec = 1}};
}

static enum stale_verdict judge(enum stale_maker maker, enum stale_run run, const struct attr *attr, int64_t touched_ns)
{
    const struct stale_case c = {.maker = maker,
                                 .run = run,
                                 .partial_touched_ns = touched_ns,
                                 .attr = attr,
                                 .now_ns = NOW,
                                 .older_ns = 24 * HOUR,
                                 .partial_ns = 7 * 24 * HOUR};
    return stale_judge(&c);
}

Test(stale, only_what_nobody_works_with_goes)
{
    const struct attr young = file_of(100, HOUR);
    const struct attr old = file_of(100, 25 * HOUR);
    const struct attr future = file_of(100, -HOUR);
    cr_expect_eq(judge(MAKER_HAUL, RUN_LIVES, &old, 0), STALE_LIVES);
    cr_expect_eq(judge(MAKER_HAUL, RUN_DEAD, &young, 0), STALE_GOES, "proof needs no age");
    cr_expect_eq(judge(MAKER_HAUL, RUN_DEAD, &future, 0), STALE_GOES);
    cr_expect_eq(judge(MAKER_HAUL, RUN_UNKNOWN, &young, 0), STALE_YOUNG);
    cr_expect_eq(judge(MAKER_HAUL, RUN_UNKNOWN, &old, 0), STALE_GOES);
    cr_expect_eq(judge(MAKER_HAUL, RUN_UNKNOWN, &future, 0), STALE_YOUNG, "a clock that is ahead makes nothing old");
    for (int maker = MAKER_RSYNC; maker <= MAKER_NFS; maker++) {
        cr_expect_eq(judge((enum stale_maker)maker, RUN_UNKNOWN, &young, 0), STALE_YOUNG);
        cr_expect_eq(judge((enum stale_maker)maker, RUN_UNKNOWN, &old, 0), STALE_GOES);
    }
    cr_expect_eq(judge(MAKER_NONE, RUN_UNKNOWN, &old, 0), STALE_NOT);
    const struct attr dir = {.mode = S_IFDIR | 0700};
    cr_expect_eq(judge(MAKER_HAUL, RUN_DEAD, &dir, 0), STALE_NOT, "never a directory");
}

Test(stale, parts_of_large_files_stay_as_long_as_they_are_of_use)
{
    const struct attr large = file_of(16 * 1024 * 1024, 48 * HOUR);
    const struct attr larger = file_of(16 * 1024 * 1024, 200 * HOUR);
    const struct attr small = file_of(16 * 1024 * 1024 - 1, 48 * HOUR);
    cr_expect_eq(judge(MAKER_HAUL, RUN_DEAD, &large, NOW - HOUR), STALE_PARTIAL);
    cr_expect_eq(judge(MAKER_HAUL, RUN_DEAD, &large, NOW - 200 * HOUR), STALE_GOES);
    cr_expect_eq(judge(MAKER_HAUL, RUN_DEAD, &large, 0), STALE_GOES, "its run would have recorded it");
    cr_expect_eq(judge(MAKER_HAUL, RUN_UNKNOWN, &large, 0), STALE_PARTIAL, "another host may have");
    cr_expect_eq(judge(MAKER_HAUL, RUN_UNKNOWN, &small, 0), STALE_GOES);
    cr_expect_eq(judge(MAKER_HAUL, RUN_UNKNOWN, &larger, 0), STALE_GOES);
    cr_expect_eq(judge(MAKER_RSYNC, RUN_UNKNOWN, &large, 0), STALE_GOES);
}
