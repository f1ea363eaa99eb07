/*
 * test_chmod: --chmod against what rsync itself makes of the same text.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copier/chmod.h"

#define MASK 022

static const char *const specs[] = {
    "u+rwX,go-w",
    "D2775,F644",
    "Dg+s,ug+w,Fo-w,+X",
    "a+s",
    "+s",
    "o+s",
    "ug+s",
    "g-s",
    "u=s",
    "g=s",
    "=s",
    "a=s",
    "u+t",
    "+t",
    "a-t",
    "7",
    "0",
    "7777",
    "644",
    "ug=rwX,o=",
    "u=rwx,Fu-x",
    "+w",
    "=r",
    "u+",
    "=",
    "a=",
    "o=",
    "u=",
    "Du+x,+X",
    "uF+x",
    "go=u,go-w",
    "u=g",
    "g=u",
    "a=g",
    "=u",
    "o=g",
    "ug=o",
    "go=u",
    "+u",
    "-u",
    "g-u",
    "a+o",
    "uo=g",
    "+u,=g",
    "Fg=u",
    "ug-g",
    "Fa-x,+X",
    "a+X",
    "a-X",
    "u-X",
    "-x",
    "u+rwxXst",
    "Dg=u,o=g",
    "u=,g=u",
    "F600,Du=rwx,Dgo=",
    "g=rX,o=rX",
    "D-s,F+r",
    "a=rwxst",
};
static const char *const wrong[] = {
    "",      ",",    "u",    "8",    "0888",  "77777", "u-rwx,X+", "644,", ",644", "u=rw,,g=r", "++x",
    "DFu+x", "g=ur", "g=ug", "u=gs", "g=u+x", "o+gx",  "u644",     "x",    "+q",   "u+r g+r",
};
static const mode_t modes[] = {0, 0640, 07640, 01421, 0755, 02755, 0777, 0444, 06111};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A folder with one file and one directory of each mode, and what rsync makes of it in another. */
static void rsync_makes(const char *spec, const char *from, const char *to, mode_t files[], mode_t dirs[])
{
    char command[600];
    char path[300];
    struct stat st;

    snprintf(command, sizeof(command), "rm -rf %s; umask 0%o; rsync -a --chmod='%s' %s/ %s/", to, MASK, spec, from, to);
    cr_assert_eq(system(command), 0, "%s", command); // NOLINT(cert-env33-c): the tool is the judge
    for (size_t i = 0; i < COUNT(modes); i++) {
        snprintf(path, sizeof(path), "%s/f%zu", to, i);
        cr_assert_eq(lstat(path, &st), 0, "%s: %s", path, strerror(errno));
        files[i] = st.st_mode;
        snprintf(path, sizeof(path), "%s/d%zu", to, i);
        cr_assert_eq(lstat(path, &st), 0, "%s: %s", path, strerror(errno));
        dirs[i] = st.st_mode;
    }
}

static void make_modes(const char *from)
{
    char path[300];

    for (size_t i = 0; i < COUNT(modes); i++) {
        snprintf(path, sizeof(path), "%s/f%zu", from, i);
        cr_assert_eq(mknod(path, S_IFREG | 0600, 0), 0);
        cr_assert_eq(chmod(path, modes[i]), 0);
        snprintf(path, sizeof(path), "%s/d%zu", from, i);
        cr_assert_eq(mkdir(path, 0700), 0);
        cr_assert_eq(chmod(path, modes[i]), 0);
    }
}

Test(chmod, as_rsync_does_it, .timeout = 300)
{
    char base[] = "/tmp/haul-chmod-XXXXXX";
    char from[64];
    char to[64];
    char command[128];

    if (geteuid() != 0) {
        cr_skip_test("only root can read files of mode 0");
    }
    cr_assert_not_null(mkdtemp(base));
    snprintf(from, sizeof(from), "%s/from", base);
    snprintf(to, sizeof(to), "%s/to", base);
    cr_assert_eq(mkdir(from, 0755), 0);
    make_modes(from);
    for (size_t s = 0; s < COUNT(specs); s++) {
        struct chmod_list list = {0};
        mode_t files[COUNT(modes)];
        mode_t dirs[COUNT(modes)];

        rsync_makes(specs[s], from, to, files, dirs);
        cr_assert_eq(chmod_parse(specs[s], &list), 0, "%s", specs[s]);
        for (size_t i = 0; i < COUNT(modes); i++) {
            mode_t file = chmod_apply(&list, S_IFREG | modes[i], MASK);
            mode_t dir = chmod_apply(&list, S_IFDIR | modes[i], MASK);

            cr_expect_eq(file, files[i], "%s: file %o is %o, rsync says %o", specs[s], modes[i], file, files[i]);
            cr_expect_eq(dir, dirs[i], "%s: directory %o is %o, rsync says %o", specs[s], modes[i], dir, dirs[i]);
            cr_expect_eq(chmod_apply(&list, S_IFLNK | 0777, MASK), S_IFLNK | 0777);
        }
        chmod_release(&list);
    }
    snprintf(command, sizeof(command), "rm -rf %s", base);
    cr_assert_eq(system(command), 0); // NOLINT(cert-env33-c)
}

Test(chmod, wrong_use, .timeout = 60)
{
    char command[128];
    struct chmod_list list = {0};

    for (size_t i = 0; i < COUNT(wrong); i++) {
        cr_expect_eq(chmod_parse(wrong[i], &list), -EINVAL, "'%s' was taken", wrong[i]);
        cr_expect_eq(list.count, 0);
        snprintf(command, sizeof(command), "rsync -a --chmod='%s' /dev/null /dev/null 2>/dev/null", wrong[i]);
        cr_expect_neq(system(command), 0, "rsync takes '%s'", wrong[i]); // NOLINT(cert-env33-c)
    }
    chmod_release(&list);
}

/* Several --chmod add up. */
Test(chmod, one_after_the_other, .timeout = 10)
{
    struct chmod_list list = {0};

    cr_assert_eq(chmod_parse("u=rw,go=", &list), 0);
    cr_assert_eq(chmod_parse("g+r", &list), 0);
    cr_assert_eq(chmod_parse("o+q", &list), -EINVAL);
    cr_assert_eq(list.count, 3);
    cr_assert_eq(chmod_apply(&list, S_IFREG | 0777, 0), S_IFREG | 0640);
    chmod_release(&list);
    chmod_release(&list);
}
