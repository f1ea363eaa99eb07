#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copier/mounts.h"

TestSuite(mounts, .timeout = 20);

static const char table[] =
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
    "40 27 0:40 / /mnt/efs rw,relatime shared:9 - nfs4 fs-1.efs.eu-west-1.amazonaws.com:/ rw,vers=4.1,addr=10.0.0.7\n"
    "41 27 0:41 / /mnt/data rw - nfs4 Server:/export/data/ rw,vers=4.2,port=12049,addr=192.0.2.1\n"
    "42 27 0:41 /sub /mnt/bind rw - nfs4 Server:/export/data/sub rw,vers=4.2,port=12049,addr=192.0.2.1\n"
    "43 27 0:42 / /mnt/with\\040blank\\134 rw - nfs 192.0.2.1:/a\\040b rw,vers=3,port=0,addr=192.0.2.1\n"
    "44 27 0:43 / /mnt/six rw - nfs4 [2001:db8::1]:/e rw,addr=2001:db8::1\n"
    "45 41 0:44 / /mnt/data/local rw - tmpfs none rw\n"
    "46 41 0:45 / /mnt/over rw - nfs4 one:/one rw,addr=192.0.2.2\n"
    "47 46 0:46 / /mnt/over rw - tmpfs none rw\n"
    "nonsense\n"
    "48 27 0:47 / /mnt/odd rw - nfs4 nothing rw,addr=192.0.2.3\n";

/* Where path lies by the table. */
static int look(const char *path, struct mount_place *place)
{
    FILE *f = fmemopen((void *)(uintptr_t)table, sizeof table - 1, "r");
    cr_assert_not_null(f);
    int r = mounts_place(f, path, place);
    fclose(f);
    return r;
}

static void lies(const char *path, const char *host, unsigned port, const char *address, const char *there)
{
    struct mount_place place = {0};
    cr_assert_eq(look(path, &place), 0, "%s", path);
    cr_expect_str_eq(place.host, host, "%s: %s", path, place.host);
    cr_expect_eq(place.port, port, "%s: %u", path, place.port);
    cr_expect_str_eq(place.address, address, "%s: %s", path, place.address);
    cr_expect_str_eq(place.path, there, "%s: %s", path, place.path);
    mounts_release(&place);
}

Test(mounts, where_a_directory_lies)
{
    const char *efs = "fs-1.efs.eu-west-1.amazonaws.com";
    lies("/mnt/efs", efs, 2049, "10.0.0.7", "/");
    lies("/mnt/efs/a/b", efs, 2049, "10.0.0.7", "/a/b");
    lies("/mnt/data", "Server", 12049, "192.0.2.1", "/export/data");
    lies("/mnt/data/x", "Server", 12049, "192.0.2.1", "/export/data/x");
    lies("/mnt/bind/x", "Server", 12049, "192.0.2.1", "/export/data/sub/x");
    lies("/mnt/with blank\\/x", "192.0.2.1", 2049, "192.0.2.1", "/a b/x");
    lies("/mnt/six", "2001:db8::1", 2049, "2001:db8::1", "/e");
}

Test(mounts, what_is_no_nfs_mount)
{
    struct mount_place place = {0};
    cr_expect_eq(look("/", &place), -ENOENT);
    cr_expect_eq(look("/mnt", &place), -ENOENT);
    cr_expect_eq(look("/mnt/efs2", &place), -ENOENT, "a name that only begins alike");
    cr_expect_eq(look("/mnt/data/local/x", &place), -ENOENT, "another mount on it");
    cr_expect_eq(look("/mnt/over/x", &place), -ENOENT, "hidden by a later one");
    cr_expect_eq(look("/mnt/odd", &place), -ENOENT, "no server in it");
    cr_expect_null(place.host);
}

Test(mounts, relations)
{
    cr_expect_eq(mounts_relation("/a/b", "/a/b"), MOUNTS_SAME);
    cr_expect_eq(mounts_relation("/a", "/a/b"), MOUNTS_BELOW);
    cr_expect_eq(mounts_relation("/a/b/c", "/a"), MOUNTS_ABOVE);
    cr_expect_eq(mounts_relation("/a", "/ab"), MOUNTS_APART);
    cr_expect_eq(mounts_relation("/ab", "/a"), MOUNTS_APART);
    cr_expect_eq(mounts_relation("/a/b", "/a/c"), MOUNTS_APART);
    cr_expect_eq(mounts_relation("/", "/"), MOUNTS_SAME);
    cr_expect_eq(mounts_relation("/", "/a"), MOUNTS_BELOW);
    cr_expect_eq(mounts_relation("/a", "/"), MOUNTS_ABOVE);
}

Test(mounts, the_same_server)
{
    struct mount_place place = {0};
    struct url url = {.port = 2049};
    char name[] = "FS-1.efs.eu-west-1.amazonaws.com";
    char address[] = "10.0.0.7";
    char other[] = "10.0.0.8";
    cr_assert_eq(look("/mnt/efs", &place), 0);
    url.host = name;
    cr_expect(mounts_same_server(&place, &url), "by its name");
    url.host = address;
    cr_expect(mounts_same_server(&place, &url), "by its address");
    url.port = 2050;
    cr_expect(!mounts_same_server(&place, &url), "another port");
    url.port = 2049;
    url.host = other;
    cr_expect(!mounts_same_server(&place, &url), "another address");
    mounts_release(&place);
}

Test(mounts, of_this_machine)
{
    struct mount_place place = {0};
    cr_expect_eq(mounts_find("/proc", &place), -ENOENT);
}
