/* What is read out of mountinfo. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "workers/stores/posix_internal.h"

static char mountinfo[] =
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,vers=9\n"
    "36 22 0:44 / /mnt/odd - rw,vers=3 - x\n"
    "37 22 0:45 / /mnt/a rw,relatime shared:2 master:1 - nfs4 10.0.0.1:/ rw,vers=4.0,rsize=1048576,hard,addr=10.0.0.1\n"
    "38 22 0:46 / /mnt/b rw,relatime - nfs 10.0.0.1:/export rw,mountvers=3,vers=3\n"
    "39 22 0:47 / /mnt/c rw,relatime - nfs4 10.0.0.1:/ rw,hard\n"
    "40 22 0:48 / /mnt/d rw,relatime - nfs4 10.0.0.1:/ rw,vers=4.1";

static bool version_of(unsigned minor_id, char out[POSIX_VERSION_MAX])
{
    FILE *f = fmemopen(mountinfo, strlen(mountinfo), "r");
    cr_assert_not_null(f);
    bool found = posix_nfs_version(f, makedev(minor_id == 0 ? 254 : 0, minor_id), out);
    fclose(f);
    return found;
}

Test(mount, version_of_an_nfs_mount, .timeout = 30)
{
    char version[POSIX_VERSION_MAX];
    cr_assert(version_of(45, version));
    cr_expect_str_eq(version, "4.0");
    cr_assert(version_of(46, version));
    cr_expect_str_eq(version, "3");
    cr_assert(version_of(48, version));
    cr_expect_str_eq(version, "4.1");
}

Test(mount, no_version, .timeout = 30)
{
    char version[POSIX_VERSION_MAX] = "";
    cr_expect_not(version_of(0, version), "no NFS");
    cr_expect_not(version_of(44, version), "a mount point that looks like a separator");
    cr_expect_not(version_of(47, version), "no version among the options");
    cr_expect_not(version_of(99, version), "no such mount");
    cr_expect_str_empty(version);
}
