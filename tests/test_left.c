/* What a sync leaves undone, and since when: from run to run, oldest first, bounded. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/dir.h"
#include "copier/left.h"
#include "tests/support_state.h"

TestSuite(left, .init = state_set_up, .fini = state_tear_down, .timeout = 60);

static struct dir_tree tree;
static struct dir *root;

/* The node of "name" or "name/name". */
static struct dir *node(const char *path)
{
    const char *slash = strchr(path, '/');
    struct dir *parent = dir_get(root);
    struct dir *dir = NULL;
    if (slash != NULL) {
        dir_put(parent);
        cr_assert_eq(dir_create_child(root, path, (size_t)(slash - path), &parent), 0);
        path = slash + 1;
    }
    cr_assert_eq(dir_create_child(parent, path, strlen(path), &dir), 0);
    dir_put(parent);
    return dir;
}

static void add(struct left *l, const char *path)
{
    struct dir *dir = node(path);
    left_add(l, dir);
    dir_put(dir);
}

/* The paths that come first, one after the other with a comma behind each. */
static void expect_first(const struct left *l, const char *wanted)
{
    char all[256] = "";
    size_t count = 0;
    const char *const *first = left_first(l, &count);
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(all + strlen(all), sizeof all - strlen(all), "%s,", first[i]);
    }
    cr_expect_str_eq(all, wanted);
}

/* A run at that moment. */
static struct left *begin_at(struct state *s, int64_t now_ns)
{
    struct left *l = NULL;
    cr_assert_eq(left_create(s, now_ns, &l), 0);
    return l;
}

static void end(struct left *l, struct state *s, bool complete)
{
    cr_assert_eq(left_keep(l, s, complete), 0);
    left_destroy(l);
}

Test(left, what_has_waited_longest_comes_first)
{
    struct state *s = open_state();
    cr_assert_eq(dir_create_root(&tree, &root), 0);

    struct left *l = begin_at(s, 100);
    expect_first(l, "");
    add(l, "b");
    add(l, "a/x");
    add(l, "b"); /* many times for one */
    end(l, s, true);

    l = begin_at(s, 200);
    expect_first(l, "a/x,b,");
    add(l, "a");
    add(l, "b"); /* still */
    end(l, s, true);

    /* a/x was done; b has waited since 100. */
    l = begin_at(s, 300);
    expect_first(l, "b,a,");
    add(l, "c");
    end(l, s, false); /* its time was over before it came to the others */

    l = begin_at(s, 400);
    expect_first(l, "b,a,c,");
    cr_expect_eq(ask("SELECT since FROM left_dirs WHERE path=x'63'"), 300);
    end(l, s, true);

    l = begin_at(s, 500);
    expect_first(l, "");
    left_destroy(l);
    dir_put(root);
    state_close(s);
}

Test(left, is_bounded_and_keeps_the_oldest)
{
    struct state *s = open_state();
    cr_assert_eq(dir_create_root(&tree, &root), 0);
    struct left *l = begin_at(s, 100);
    add(l, "old");
    end(l, s, true);

    l = begin_at(s, 200);
    for (unsigned i = 0; i < 3 * LEFT_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "n%u", i);
        add(l, name);
    }
    end(l, s, false);

    size_t count = 0;
    l = begin_at(s, 300);
    const char *const *first = left_first(l, &count);
    cr_expect_eq(count, LEFT_MAX);
    cr_expect_str_eq(first[0], "old");
    left_destroy(l);
    dir_put(root);
    state_close(s);
}

Test(left, goes_with_the_destination_that_it_is_about)
{
    struct state *s = open_state();
    cr_assert_eq(dir_create_root(&tree, &root), 0);
    struct left *l = begin_at(s, 100);
    add(l, "x");
    end(l, s, true);
    cr_assert_eq(state_forget_all(s), 0);
    l = begin_at(s, 200);
    expect_first(l, "");
    left_destroy(l);
    dir_put(root);
    state_close(s);
}
