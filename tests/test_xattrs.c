/*
 * test_xattrs: sets of extended attributes: kept, compared, and ACLs under chmod.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "workers/xattrs.h"

static struct xattrs *make(unsigned kinds)
{
    struct xattrs *x = NULL;

    cr_assert_eq(xattrs_create(kinds, &x), 0);
    cr_assert_eq(x->count, 0);
    return x;
}

static void add(struct xattrs **x, const char *name, const char *value)
{
    cr_assert_eq(xattrs_add(x, name, value, strlen(value)), 0);
}

Test(xattrs, what_goes_in_comes_out, .timeout = 10)
{
    struct xattrs *x = make(XATTRS_USER);
    struct xattr one;
    char name[32];
    unsigned seen = 0;

    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "user.%u", i);
        cr_assert_eq(xattrs_add(&x, name, name, i % 2 ? strlen(name) : 0), 0);
    }
    cr_assert_eq(x->count, 1000);
    for (size_t at = 0; xattrs_next(x, &at, &one); seen++) {
        snprintf(name, sizeof(name), "user.%u", seen);
        cr_assert_str_eq(one.name, name);
        cr_assert_eq(one.size, seen % 2 ? strlen(name) : 0);
        cr_assert_eq(memcmp(one.value, name, one.size), 0);
    }
    cr_assert_eq(seen, 1000);
    cr_assert(xattrs_find(x, "user.77", &one));
    cr_assert_eq(one.size, 7);
    cr_assert_not(xattrs_find(x, "user.1000", &one));
    xattrs_destroy(x);
    xattrs_destroy(NULL);
}

Test(xattrs, bounds, .timeout = 10)
{
    struct xattrs *x = make(XATTRS_USER);
    char *large = calloc(1, XATTRS_VALUE_MAX + 1);
    char name[32];
    int err = 0;
    unsigned i = 0;

    cr_assert_eq(xattrs_add(&x, "user.a", large, XATTRS_VALUE_MAX + 1), -E2BIG);
    cr_assert_eq(x->count, 0);
    while (err == 0) {
        snprintf(name, sizeof(name), "user.%u", i++);
        err = xattrs_add(&x, name, large, XATTRS_VALUE_MAX);
    }
    cr_assert_eq(err, -E2BIG);
    cr_assert_eq(x->count, i - 1);
    cr_assert_leq(x->used, XATTRS_MAX);
    cr_assert_gt(x->used, XATTRS_MAX - 2 * XATTRS_VALUE_MAX);
    free(large);
    xattrs_destroy(x);
}

Test(xattrs, equal, .timeout = 10)
{
    struct xattrs *a = make(XATTRS_USER | XATTRS_SECURITY);
    struct xattrs *b = make(XATTRS_USER | XATTRS_SECURITY | XATTRS_TRUSTED);

    cr_assert(xattrs_equal(a, b));
    add(&a, "user.one", "1");
    cr_assert_not(xattrs_equal(a, b));
    cr_assert_not(xattrs_equal(b, a));
    add(&b, "user.two", "2");
    add(&b, "user.one", "1");
    cr_assert_not(xattrs_equal(a, b));
    add(&a, "user.two", "2");
    cr_assert(xattrs_equal(a, b), "whatever the order");
    add(&b, "trusted.b", "only b speaks of those");
    cr_assert(xattrs_equal(a, b));
    cr_assert(xattrs_equal(b, a));
    add(&b, "security.selinux", "a label is no difference");
    cr_assert(xattrs_equal(a, b));
    add(&a, "user.three", "3");
    add(&b, "user.three", "33");
    cr_assert_not(xattrs_equal(a, b));
    xattrs_destroy(a);
    xattrs_destroy(b);
}

Test(xattrs, kinds, .timeout = 10)
{
    cr_assert_eq(xattr_kind("user.x"), XATTRS_USER);
    cr_assert_eq(xattr_kind("userx"), 0);
    cr_assert_eq(xattr_kind("trusted.x"), XATTRS_TRUSTED);
    cr_assert_eq(xattr_kind("security.capability"), XATTRS_SECURITY);
    cr_assert_eq(xattr_kind(XATTR_ACL_ACCESS), XATTRS_ACL);
    cr_assert_eq(xattr_kind(XATTR_ACL_DEFAULT), XATTRS_ACL);
    cr_assert_eq(xattr_kind("system.nfs4_acl"), 0);
    cr_assert_eq(xattr_kind("btrfs.compression"), 0);
    cr_assert(xattr_is_label("security.selinux"));
    cr_assert(xattr_is_label("security.SMACK64EXEC"));
    cr_assert_not(xattr_is_label("security.capability"));
}

/* What chmod makes of an ACL, by the kernel's own word. */
Test(xattrs, acl_after_chmod, .timeout = 10)
{
    static const char *const acls[] = {"u::rw-,g::r--,o::---,u:1001:rwx,m::rwx", "u::rwx,g::rwx,o::rwx",
                                       "u::---,g::r-x,o::r--,g:1002:r-x,m::r-x"};
    static const mode_t modes[] = {0, 0777, 0640, 0751, 04604, 02070};
    char path[] = "/var/tmp/haul-acl-XXXXXX";
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    for (unsigned i = 0; i < sizeof(acls) / sizeof(acls[0]); i++) {
        for (unsigned k = 0; k < sizeof(modes) / sizeof(modes[0]); k++) {
            char value[4096];
            struct xattrs *x = make(XATTRS_ACL);
            struct xattr one;
            char command[200];
            ssize_t n;

            snprintf(command, sizeof(command), "setfacl --set %s %s", acls[i], path);
            cr_assert_eq(system(command), 0); // NOLINT(cert-env33-c): the tool is the judge
            n = fgetxattr(fd, XATTR_ACL_ACCESS, value, sizeof(value));
            if (n > 0) {
                cr_assert_eq(xattrs_add(&x, XATTR_ACL_ACCESS, value, (size_t)n), 0);
            }
            xattrs_chmod(x, modes[k]);
            cr_assert_eq(fchmod(fd, modes[k]), 0);
            n = fgetxattr(fd, XATTR_ACL_ACCESS, value, sizeof(value));
            cr_assert_eq(xattrs_find(x, XATTR_ACL_ACCESS, &one), n > 0);
            cr_assert(n <= 0 || (one.size == (size_t)n && memcmp(one.value, value, one.size) == 0), "%s, %o", acls[i],
                      modes[k]);
            xattrs_destroy(x);
        }
    }
    close(fd);
    unlink(path);
}

/* What is no ACL is left alone. */
Test(xattrs, acl_that_is_none, .timeout = 10)
{
    struct xattrs *x = make(XATTRS_ACL);
    struct xattr one;

    xattrs_chmod(x, 0777);
    add(&x, XATTR_ACL_ACCESS, "abc");
    xattrs_chmod(x, 0777);
    cr_assert(xattrs_find(x, XATTR_ACL_ACCESS, &one));
    cr_assert_eq(memcmp(one.value, "abc", 3), 0);
    xattrs_destroy(x);
}
