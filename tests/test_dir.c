#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/dir.h"

static struct dir *child(struct dir *parent, const char *name)
{
    struct dir *dir = NULL;
    cr_assert_eq(dir_create_child(parent, name, strlen(name), &dir), 0, "%s", name);
    return dir;
}

static struct dir *root_of(struct dir_tree *tree)
{
    struct dir *root = NULL;
    cr_assert_eq(dir_create_root(tree, &root), 0);
    return root;
}

static void assert_path(const struct dir *dir, const char *name, const char *expected)
{
    char *path = dir_path(dir, name);
    cr_assert_not_null(path);
    cr_assert_str_eq(path, expected);
    free(path);
}

Test(dir, paths, .timeout = 10)
{
    struct dir_tree tree = {0};
    struct dir *root = root_of(&tree);
    struct dir *a = child(root, "a");
    struct dir *b = child(a, "b b\n");
    assert_path(root, NULL, ".");
    assert_path(root, "x", "x");
    assert_path(a, NULL, "a");
    assert_path(a, "x", "a/x");
    assert_path(b, NULL, "a/b b\n");
    assert_path(b, "\xff", "a/b b\n/\xff");
    cr_assert_eq(root->depth, 0);
    cr_assert_eq(b->depth, 2);
    cr_assert_eq(b->parent, a);
    cr_assert_eq(b->handle[DIR_SRC].fd, -1);
    cr_assert_eq(b->handle[DIR_DST].fd, -1);
    cr_assert_str_eq(root->name, "");
    cr_assert_eq(b->name_len, 4);
    dir_put(b);
    dir_put(a);
    dir_put(root);
    dir_put(NULL);
}

Test(dir, names_that_are_no_component, .timeout = 10)
{
    static const struct {
        const char *name;
        size_t len;
    } bad[] = {{"", 0}, {".", 1}, {"..", 2}, {"a/b", 3}, {"/", 1}, {"a\0b", 3}};
    static const char *const good[] = {"...", ".a", "..a", "a", " ", "\n", ".haul"};
    struct dir_tree tree = {0};
    struct dir *root = root_of(&tree);
    struct dir *dir = NULL;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(dir_create_child(root, bad[i].name, bad[i].len, &dir), -EINVAL, "%zu", i);
        cr_assert_null(dir);
    }
    cr_assert_eq(root->refs, 1);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        dir_put(child(root, good[i]));
    }
    cr_assert_eq(root->refs, 1);
    dir_put(root);
}

Test(dir, ids_are_of_the_path, .timeout = 10)
{
    struct dir_tree tree = {0};
    struct dir *root = root_of(&tree);
    struct dir *a = child(root, "a");
    struct dir *b = child(root, "b");
    struct dir *ab = child(a, "b");
    struct dir *ba = child(b, "a");
    struct dir *again = child(a, "b");
    cr_assert_eq(root->id, 0);
    cr_assert_neq(a->id, 0);
    cr_assert_neq(a->id, b->id);
    cr_assert_neq(ab->id, ba->id);
    cr_assert_neq(ab->id, b->id);
    cr_assert_eq(ab->id, again->id);
    cr_assert_eq(dir_child_id(a, "b", 1), ab->id);
    cr_assert_neq(dir_child_id(a, "bc", 2), ab->id);

    /* The same in another tree: the state outlives a run. */
    struct dir_tree other = {0};
    struct dir *other_root = root_of(&other);
    struct dir *other_a = child(other_root, "a");
    cr_assert_eq(other_a->id, a->id);
    cr_assert_eq(other_a->id, 0xe6c632b61e964e1fULL, "the ids of existing databases would be lost");
    dir_put(other_a);
    dir_put(other_root);

    dir_put(again);
    dir_put(ba);
    dir_put(ab);
    dir_put(b);
    dir_put(a);
    dir_put(root);
}

struct closed {
    unsigned count[DIR_SIDES];
    char order[64];
};

static void note_src(void *arg, struct dir *dir)
{
    struct closed *c = arg;
    c->count[DIR_SRC]++;
    const size_t used = strlen(c->order);
    cr_assert_lt(used + dir->name_len, sizeof(c->order));
    memcpy(c->order + used, dir->name, dir->name_len + 1);
}

static void note_dst(void *arg, struct dir *dir)
{
    struct closed *c = arg;
    cr_assert_eq(dir->handle[DIR_DST].fd, -1);
    c->count[DIR_DST]++;
}

Test(dir, the_last_reference_frees_upwards, .timeout = 10)
{
    struct closed c = {0};
    struct dir_tree tree = {.release = {note_src, note_dst}, .release_arg = {&c, &c}};
    struct dir *root = root_of(&tree);
    struct dir *a = child(root, "a");
    struct dir *b = child(a, "b");
    cr_assert_eq(dir_get(b), b);
    dir_put(root);
    dir_put(a);
    dir_put(b);
    cr_assert_eq(c.count[DIR_SRC], 0);
    dir_put(b);
    cr_assert_eq(c.count[DIR_SRC], 3);
    cr_assert_eq(c.count[DIR_DST], 3);
    cr_assert_str_eq(c.order, "ba"); /* the root's name is empty */
}

Test(dir, one_side_may_have_nothing_to_close, .timeout = 10)
{
    struct closed c = {0};
    struct dir_tree tree = {.release = {[DIR_DST] = note_dst}, .release_arg = {[DIR_DST] = &c}};
    dir_put(root_of(&tree));
    cr_assert_eq(c.count[DIR_SRC], 0);
    cr_assert_eq(c.count[DIR_DST], 1);
}

Test(dir, deeper_than_any_stack, .timeout = 60)
{
    enum { DEPTH = 300000 };
    struct closed c = {0};
    struct dir_tree tree = {.release = {[DIR_DST] = note_dst}, .release_arg = {[DIR_DST] = &c}};
    struct dir *dir = root_of(&tree);
    for (unsigned i = 0; i < DEPTH; i++) {
        struct dir *next = child(dir, "d");
        dir_put(dir);
        dir = next;
    }
    cr_assert_eq(dir->depth, DEPTH);
    char *path = dir_path(dir, "end");
    cr_assert_not_null(path);
    cr_assert_eq(strlen(path), 2 * (size_t)DEPTH + 3);
    cr_assert_str_eq(path + 2 * (size_t)DEPTH - 4, "d/d/end");
    free(path);
    dir_put(dir);
    cr_assert_eq(c.count[DIR_DST], DEPTH + 1);
}

static void *churn(void *arg)
{
    struct dir *a = arg;
    for (int i = 0; i < 20000; i++) {
        struct dir *b = child(a, "b");
        struct dir *c = child(dir_get(b), "c");
        dir_put(b);
        dir_put(b);
        dir_put(c);
    }
    dir_put(a);
    return NULL;
}

Test(dir, references_from_many_threads, .timeout = 60)
{
    struct closed c = {0};
    struct dir_tree tree = {.release = {[DIR_DST] = note_dst}, .release_arg = {[DIR_DST] = &c}};
    struct dir *root = root_of(&tree);
    tree.release[DIR_DST] = NULL; /* it counts without a lock: only the last two, below */
    struct dir *a = child(root, "a");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, churn, dir_get(a)), 0);
    }
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    }
    cr_assert_eq(a->refs, 1);
    cr_assert_eq(root->refs, 2);
    tree.release[DIR_DST] = note_dst;
    dir_put(root);
    dir_put(a);
    cr_assert_eq(c.count[DIR_DST], 2);
}
