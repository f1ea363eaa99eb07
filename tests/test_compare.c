#include "planner/compare.h"

#include <criterion/criterion.h>

static const struct attr base = {
    .mode = S_IFREG | 0644,
    .uid = 1000,
    .gid = 100,
    .nlink = 1,
    .size = 10,
    .mtime = {1700000001, 123456789},
};

static void check(const char *what, struct attr dst, unsigned keep, int64_t granularity, enum known known,
                  enum compare result)
{
    cr_expect_eq(compare_attrs(&base, &dst, keep, granularity, known), result, "%s", what);
}

static struct attr with_mtime(int64_t sec, long nsec)
{
    struct attr a = base;
    a.mtime = (struct timespec){sec, nsec};
    return a;
}

Test(compare, regular_files, .timeout = 10)
{
    struct attr a = base;
    check("equal", a, STORE_KEEP_ALL, 1, KNOWN_NOTHING, COMPARE_SAME);
    check("equal, but suspect", a, STORE_KEEP_ALL, 1, KNOWN_SUSPECT, COMPARE_DIFFERS);
    check("equal and good", a, STORE_KEEP_ALL, 1, KNOWN_GOOD, COMPARE_SAME);
    a.size = 11;
    check("size", a, STORE_KEEP_ALL, 1, KNOWN_GOOD, COMPARE_DIFFERS);
    a = base;
    a.mode = S_IFREG | 0600;
    check("mode", a, STORE_KEEP_ALL, 1, KNOWN_NOTHING, COMPARE_ATTRS);
    check("mode that is not kept", a, STORE_KEEP_ALL & ~STORE_KEEP_MODE, 1, KNOWN_NOTHING, COMPARE_SAME);
    a.mode = S_IFREG | 04644;
    check("setuid", a, STORE_KEEP_ALL, 1, KNOWN_NOTHING, COMPARE_ATTRS);
    a = base;
    a.uid = 0;
    check("owner", a, STORE_KEEP_ALL, 1, KNOWN_NOTHING, COMPARE_ATTRS);
    check("owner that is not kept", a, STORE_KEEP_MODE, 1, KNOWN_NOTHING, COMPARE_SAME);
    a = base;
    a.gid = 0;
    check("group", a, STORE_KEEP_ALL, 1, KNOWN_NOTHING, COMPARE_ATTRS);
    a = base;
    a.atime.tv_sec = 5;
    a.ctime.tv_sec = 5;
    a.ino = 5;
    a.nlink = 5;
    check("what is not compared", a, STORE_KEEP_ALL, 1, KNOWN_NOTHING, COMPARE_SAME);
    a.mode = S_IFDIR | 0644;
    check("type", a, STORE_KEEP_ALL, 1, KNOWN_SUSPECT, COMPARE_TYPE);
}

Test(compare, times, .timeout = 10)
{
    check("another time", with_mtime(1700000002, 123456789), STORE_KEEP_ALL, 1, KNOWN_NOTHING, COMPARE_DIFFERS);
    check("another time, good", with_mtime(1700000002, 123456789), STORE_KEEP_ALL, 1, KNOWN_GOOD, COMPARE_DIFFERS);
    check("times not kept, good", with_mtime(1700000002, 0), STORE_KEEP_MODE, 1, KNOWN_GOOD, COMPARE_SAME);
    check("times not kept, unknown", with_mtime(1700000002, 0), STORE_KEEP_MODE, 1, KNOWN_NOTHING, COMPARE_DIFFERS);
    check("ns kept: cut is another", with_mtime(1700000001, 123456700), STORE_KEEP_ALL, 1, KNOWN_NOTHING,
          COMPARE_DIFFERS);
    check("cut to 100 ns", with_mtime(1700000001, 123456700), STORE_KEEP_ALL, 100, KNOWN_NOTHING, COMPARE_SAME);
    check("cut to more than it keeps", with_mtime(1700000001, 123456000), STORE_KEEP_ALL, 100, KNOWN_NOTHING,
          COMPARE_DIFFERS);
    check("cut to 1 s", with_mtime(1700000001, 0), STORE_KEEP_ALL, 1000000000, KNOWN_NOTHING, COMPARE_SAME);
    check("cut to 2 s", with_mtime(1700000000, 0), STORE_KEEP_ALL, 2000000000, KNOWN_NOTHING, COMPARE_SAME);
    check("2 s, above", with_mtime(1700000002, 0), STORE_KEEP_ALL, 2000000000, KNOWN_NOTHING, COMPARE_DIFFERS);
    check("unknown: 100 ns", with_mtime(1700000001, 123456700), STORE_KEEP_ALL, 0, KNOWN_NOTHING, COMPARE_SAME);
    check("unknown: 1 us", with_mtime(1700000001, 123456000), STORE_KEEP_ALL, 0, KNOWN_NOTHING, COMPARE_SAME);
    check("unknown: 1 ms", with_mtime(1700000001, 123000000), STORE_KEEP_ALL, 0, KNOWN_NOTHING, COMPARE_SAME);
    check("unknown: 1 s", with_mtime(1700000001, 0), STORE_KEEP_ALL, 0, KNOWN_NOTHING, COMPARE_SAME);
    check("unknown: 2 s", with_mtime(1700000000, 0), STORE_KEEP_ALL, 0, KNOWN_NOTHING, COMPARE_SAME);
    check("unknown: no usual cut", with_mtime(1700000001, 123456780), STORE_KEEP_ALL, 0, KNOWN_NOTHING,
          COMPARE_DIFFERS);
    struct attr src = with_mtime(-3, 500000000);
    struct attr dst = with_mtime(-4, 0);
    cr_expect_eq(compare_attrs(&src, &dst, STORE_KEEP_ALL, 2000000000, KNOWN_NOTHING), COMPARE_SAME, "before 1970");
}

Test(compare, other_types, .timeout = 10)
{
    struct attr a = base;
    struct attr b = base;
    a.mode = b.mode = S_IFLNK | 0777;
    b.size = 99; /* the target decides, elsewhere */
    cr_expect_eq(compare_attrs(&a, &b, STORE_KEEP_ALL, 1, KNOWN_SUSPECT), COMPARE_SAME);
    b.mode = S_IFLNK | 0700;
    cr_expect_eq(compare_attrs(&a, &b, STORE_KEEP_ALL, 1, KNOWN_NOTHING), COMPARE_SAME, "no mode");
    b.mtime.tv_sec++;
    cr_expect_eq(compare_attrs(&a, &b, STORE_KEEP_ALL, 1, KNOWN_NOTHING), COMPARE_ATTRS);
    a = b = base;
    a.mode = b.mode = S_IFCHR | 0600;
    a.rdev = 1;
    cr_expect_eq(compare_attrs(&a, &b, STORE_KEEP_ALL, 1, KNOWN_NOTHING), COMPARE_DIFFERS);
    b.rdev = 1;
    cr_expect_eq(compare_attrs(&a, &b, STORE_KEEP_ALL, 1, KNOWN_NOTHING), COMPARE_SAME);
    b.mode = S_IFBLK | 0600;
    cr_expect_eq(compare_attrs(&a, &b, STORE_KEEP_ALL, 1, KNOWN_NOTHING), COMPARE_TYPE);
    a.mode = b.mode = S_IFIFO | 0600;
    a.rdev = 7;
    cr_expect_eq(compare_attrs(&a, &b, STORE_KEEP_ALL, 1, KNOWN_NOTHING), COMPARE_SAME, "a FIFO has none");
    a.mode = b.mode = S_IFDIR | 0755;
    a.size = 4096;
    cr_expect_eq(compare_attrs(&a, &b, STORE_KEEP_ALL, 1, KNOWN_NOTHING), COMPARE_SAME);
    b.mtime.tv_sec++;
    cr_expect_eq(compare_attrs(&a, &b, STORE_KEEP_ALL & ~STORE_KEEP_TIMES, 1, KNOWN_NOTHING), COMPARE_SAME);
    cr_expect_eq(compare_attrs(&a, &b, STORE_KEEP_ALL, 1, KNOWN_NOTHING), COMPARE_ATTRS);
}
