/* What is remembered of a directory's entries, read at once: rows, and the summary that is made of them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planner/planner_internal.h"

/* The memory of a test: count entries of names e0, e1, ... */
static struct {
    unsigned count;     /* of entries */
    unsigned intent;    /* that one was only announced */
    unsigned unsure;    /* that one proves nothing */
    int err;            /* what recall returns after half of them; 0: none */
    unsigned reads;     /* calls of recall */
    char *summary;      /* owned */
    size_t summary_len; /* bytes */
} memory;

#define NONE 0xFFFFFFFFU

static struct dir_tree tree;
static struct dir *root;
static struct planner *p;

static struct attr attr_of(unsigned i)
{
    return (struct attr){.mode = S_IFREG | 0644,
                         .size = i,
                         .ino = 1000 + i,
                         .mtime = {.tv_sec = i, .tv_nsec = 5},
                         .ctime = {.tv_sec = i, .tv_nsec = 7}};
}

static int recall(void *arg, const struct dir *dir, const char *after, int64_t limit, plan_recalled fn, void *fn_arg)
{
    (void)arg;
    (void)dir;
    cr_expect_null(after);
    cr_expect_eq(limit, -1);
    memory.reads++;
    for (unsigned i = 0; i < memory.count; i++) {
        char name[16];
        const struct attr attr = attr_of(i);
        (void)snprintf(name, sizeof name, "e%u", i);
        const struct plan_remembered row = {.name = name,
                                            .name_len = strlen(name),
                                            .src = &attr,
                                            .dst = &attr,
                                            .intent = i == memory.intent,
                                            .sure = i != memory.unsure};
        int err = memory.err != 0 && i > memory.count / 2 ? memory.err : fn(fn_arg, &row);
        if (err != 0) {
            return err;
        }
    }
    return 0;
}

static int summary_get(void *arg, const struct dir *dir, char **out_bytes, size_t *out_len)
{
    (void)arg;
    (void)dir;
    if (memory.summary == NULL) {
        return -ENOENT;
    }
    *out_bytes = malloc(memory.summary_len);
    memcpy(*out_bytes, memory.summary, memory.summary_len);
    *out_len = memory.summary_len;
    return 0;
}

static void summary_put(void *arg, const struct dir *dir, const char *bytes, size_t len)
{
    (void)arg;
    (void)dir;
    free(memory.summary);
    memory.summary = malloc(len);
    memcpy(memory.summary, bytes, len);
    memory.summary_len = len;
}

static void set_up(void)
{
    cr_assert_eq(dir_create_root(&tree, &root), 0);
    cr_assert_eq(plan_dir_create(root, true), 0);
    p = calloc(1, sizeof *p);
    p->options.recall = recall;
    p->options.summary_get = summary_get;
    p->options.summary_put = summary_put;
    p->options.summary_seed = 42;
    memory.intent = memory.unsure = NONE;
}

static void tear_down(void)
{
    recall_drop(p, root);
    cr_expect_eq(p->recall_count, 0, "what is dropped counts no more");
    plan_dir_done(p, NULL, root); /* which frees the plan */
    dir_put(root);
    free(memory.summary);
    free(p);
}

TestSuite(recall, .init = set_up, .fini = tear_down, .timeout = 60);

static bool has(unsigned i)
{
    char name[16];
    (void)snprintf(name, sizeof name, "e%u", i);
    return recall_has(p, root, name, strlen(name));
}

static bool same(unsigned i, const struct attr *attr)
{
    char name[16];
    (void)snprintf(name, sizeof name, "e%u", i);
    return recall_same(p, root, name, strlen(name), attr);
}

static void see(unsigned i, bool is)
{
    char name[16];
    (void)snprintf(name, sizeof name, "e%u", i);
    recall_see(p, root, name, strlen(name), is);
}

static bool seen(unsigned i)
{
    char name[16];
    (void)snprintf(name, sizeof name, "e%u", i);
    return recall_seen(p, root, name, strlen(name));
}

Test(recall, an_entry_is_the_same_only_with_every_attribute)
{
    memory.count = 3;
    recall_read(p, root);
    cr_expect(has(0) && has(2));
    cr_expect(!has(3));
    struct attr attr = attr_of(1);
    cr_expect(same(1, &attr));
    cr_expect(!same(2, &attr));
    attr.dev = 99; /* a number that changes with the mount */
    cr_expect(same(1, &attr));
    struct attr others[8];
    for (unsigned i = 0; i < 8; i++) {
        others[i] = attr_of(1);
    }
    others[0].mode ^= 0100;
    others[1].uid++;
    others[2].gid++;
    others[3].size++;
    others[4].ino++;
    others[5].mtime.tv_nsec++;
    others[6].ctime.tv_nsec++;
    others[7].mtime.tv_sec++;
    for (unsigned i = 0; i < 8; i++) {
        cr_expect(!same(1, &others[i]), "attribute %u does not count", i);
    }
}

Test(recall, an_empty_directory_remembers_nothing)
{
    recall_read(p, root);
    struct attr attr = attr_of(0);
    cr_expect(!has(0) && !same(0, &attr) && !seen(0));
    cr_expect(!recall_unseen(root));
    see(0, true);
    cr_expect(!seen(0));
}

Test(recall, what_was_only_announced_or_proves_nothing_is_never_the_same)
{
    memory.count = 20;
    memory.intent = 3;
    memory.unsure = 4;
    recall_read(p, root);
    for (unsigned i = 0; i < 20; i++) {
        struct attr attr = attr_of(i);
        cr_expect_eq(same(i, &attr), i != 3 && i != 4);
        cr_expect(has(i));
        see(i, true);
    }
    recall_sum(p, root);
    cr_expect_null(memory.summary, "a summary would hide that");
}

Test(recall, whoever_is_not_seen_shows)
{
    memory.count = 10000; /* the table has grown many times */
    recall_read(p, root);
    cr_expect(recall_unseen(root));
    for (unsigned i = 0; i < 10000; i++) {
        cr_expect(!seen(i));
        see(i, true);
        see(i, true); /* once more counts no more */
    }
    cr_expect(!recall_unseen(root));
    see(777, false);
    cr_expect(recall_unseen(root));
    cr_expect(!seen(777) && seen(778));
    see(777, true);
    cr_expect(!recall_unseen(root));
}

Test(recall, a_summary_tells_what_the_rows_told)
{
    memory.count = 1000;
    recall_read(p, root);
    for (unsigned i = 0; i < 1000; i++) {
        see(i, true);
    }
    recall_sum(p, root);
    cr_assert_not_null(memory.summary);
    cr_expect_eq(memory.summary_len, 16000);
    recall_drop(p, root);

    recall_read(p, root);
    cr_expect_eq(memory.reads, 1, "the rows were read though there is a summary");
    for (unsigned i = 0; i < 1000; i++) {
        struct attr attr = attr_of(i);
        cr_expect(same(i, &attr));
        cr_expect(!seen(i), "a summary has seen nothing yet");
        attr.size++;
        cr_expect(!same(i, &attr));
    }
    cr_expect(recall_unseen(root));
    cr_expect(!has(1000));
}

Test(recall, no_summary_of_what_the_source_has_no_more_or_of_a_few)
{
    memory.count = 20;
    recall_read(p, root);
    for (unsigned i = 0; i < 19; i++) {
        see(i, true);
    }
    recall_sum(p, root);
    cr_expect_null(memory.summary);
    recall_drop(p, root);
    memory.count = 3;
    recall_read(p, root);
    for (unsigned i = 0; i < 3; i++) {
        see(i, true);
    }
    recall_sum(p, root);
    cr_expect_null(memory.summary);
}

Test(recall, a_summary_of_a_wrong_length_is_not_one)
{
    memory.count = 5;
    memory.summary = calloc(1, 33);
    memory.summary_len = 33;
    recall_read(p, root);
    cr_expect_eq(memory.reads, 1);
    struct attr attr = attr_of(4);
    cr_expect(same(4, &attr));
}

Test(recall, an_error_makes_it_forgetful)
{
    memory.count = 100;
    memory.err = -EIO;
    recall_read(p, root);
    struct attr attr = attr_of(1);
    cr_expect(!has(1) && !same(1, &attr));
    cr_expect(plan_of(root)->unrecalled);
    cr_expect(recall_unseen(root), "something may be remembered that nobody has seen");
}

Test(recall, memory_is_bounded_over_all_directories)
{
    memory.count = 1000;
    p->recall_count = 6UL * 1024 * 1024 - 100; /* what others hold */
    recall_read(p, root);
    cr_expect(plan_of(root)->unrecalled, "beyond the bound entries are asked for one by one");
    cr_expect(!has(1));
    cr_expect_eq(p->recall_count, 6UL * 1024 * 1024 - 100);
    p->recall_count = 0;
}
