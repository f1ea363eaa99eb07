/* What the kernel counts for an NFS mount. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "copier/mountcalls.h"

TestSuite(mountcalls, .timeout = 20);

#define HEAD(source, point) "device " source " mounted on " point " with fstype nfs4 statvers=1.1\n"
#define BODY                                                                                                           \
    "\topts:\trw,vers=4.1\n\tage:\t12\n\tevents:\t1 2 3\n\txprt:\ttcp 0 0 1 0 0 92 92 0 92 0 2 0 0\n"                  \
    "\tper-op statistics\n"

/* Two local ones, and three of NFS: the third is mounted over the second. */
static const char text[] = "device /dev/vda mounted on / with fstype ext4\n"
                           "device proc mounted on /proc with fstype proc\n" HEAD("h:/a", "/mnt") BODY
    "\t        NULL: 1 1 0 44 24 0 0 0 0\n\t       WRITE: 12 13 0 1 2 3 4 5 0\n"
    "\t    SEQUENCE: 100 100 0 1 2 3 4 5 0\n\t       RENEW: 100 100 0 1 2 3 4 5 0\n"
    "\t OPEN_NOATTR: 7 7 0 1 2 3 4 5 0\n\n" HEAD("h:/b", "/mnt/with\\040blank") BODY
    "\t        READ: 1000 1 0 1 2 3 4 5 0\n" HEAD("h:/c", "/mnt/with\\040blank") BODY
    "\t        READ: 18446744073709551615 1 0 1 2 3 4 5 0\n";

static int calls(const char *of, size_t len, const char *point, uint64_t *out)
{
    char copy[sizeof text];
    memcpy(copy, of, len);
    FILE *f = fmemopen(copy, len, "r");
    cr_assert_not_null(f);
    int r = mountcalls_read(f, point, out);
    fclose(f);
    return r;
}

Test(mountcalls, are_summed_but_for_what_keeps_a_session_alive)
{
    uint64_t n = 5;
    cr_assert_eq(calls(text, sizeof text - 1, "/mnt", &n), 0);
    cr_expect_eq(n, 19);
    cr_assert_eq(calls(text, sizeof text - 1, "/mnt/with blank", &n), 0);
    cr_expect_eq(n, UINT64_MAX);
}

Test(mountcalls, of_no_nfs_mount_there_are_none)
{
    static const char *const points[] = {"/", "/proc", "/mnt/with", "/mn", "/mnt/", ""};
    uint64_t n = 5;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        cr_expect_eq(calls(text, sizeof text - 1, points[i], &n), -ENOENT, "%s", points[i]);
    }
    cr_expect_eq(calls("\n", 1, "/mnt", &n), -ENOENT);
    cr_expect_eq(n, 5);
    /* Cut off anywhere, it is less, or nothing. */
    for (size_t len = 1; len < sizeof text - 1; len++) {
        n = 0;
        int r = calls(text, len, "/mnt", &n);
        cr_expect(r == -ENOENT || (r == 0 && n <= 19), "%zu bytes: %d", len, r);
    }
    cr_expect_eq(mountcalls_now("/proc", &n), -ENOENT);
}
