/* What the source has no more: what may go, what stays, in which order it goes. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "planner/filter.h"
#include "support_plan.h"
#include "support_tree.h"

#define ROWS 2048

/* An entry that an earlier run has published. */
struct row {
    char dir[64];    /* its path, "" for the root */
    char name[64];   /* sorted within dir */
    struct attr src; /* of the source */
    struct attr dst; /* as it was published */
    bool intent;     /* it was only announced */
};

struct fixture {
    struct plan_try t;
    struct row rows[ROWS]; /* count of them */
    size_t count;          /* of rows */
    bool refuse;           /* may_remove says no */
    unsigned asked;        /* calls of may_remove */
    unsigned long gone;    /* counts.gone when it was asked */
    char forgotten[1024];  /* a line each */
    char removed[65536];   /* a line each, in the order in which they came out of the queue */
};

static struct fixture *one(void *arg)
{
    struct plan_try *t = arg;
    return t->own;
}

static struct attr attr_of(const char *base, const char *path)
{
    char whole[4096];
    struct stat st;
    (void)snprintf(whole, sizeof whole, "%s/%s", base, path);
    if (lstat(whole, &st) != 0) {
        return (struct attr){.mode = S_IFREG | 0644, .size = 1};
    }
    return (struct attr){.mode = st.st_mode,
                         .uid = st.st_uid,
                         .gid = st.st_gid,
                         .dev = st.st_dev,
                         .ino = st.st_ino,
                         .nlink = st.st_nlink,
                         .size = S_ISDIR(st.st_mode) ? 0 : (uint64_t)st.st_size,
                         .mtime = st.st_mtim,
                         .ctime = st.st_ctim};
}

/* dir/name is remembered as it stands there now. */
static void remember(struct fixture *f, const char *dir, const char *name, bool intent)
{
    char path[256];
    struct row *row = &f->rows[f->count++];
    (void)snprintf(path, sizeof path, "%s%s%s", dir, *dir != '\0' ? "/" : "", name);
    (void)snprintf(row->dir, sizeof row->dir, "%s", dir);
    (void)snprintf(row->name, sizeof row->name, "%s", name);
    row->dst = attr_of(f->t.dst, path);
    row->src = attr_of(f->t.src, path);
    if ((row->src.mode & S_IFMT) != (row->dst.mode & S_IFMT)) {
        row->src = row->dst; /* it was something else then */
    }
    row->intent = intent;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static int recall(void *arg, const struct dir *dir, const char *after, int64_t limit, plan_recalled fn, void *fn_arg)
{
    struct fixture *f = one(arg);
    char *path = dir_path(dir, NULL);
    int err = 0;
    for (size_t i = 0; err == 0 && i < f->count && limit != 0; i++) {
        const struct row *row = &f->rows[i];
        const char *wanted = strcmp(path, ".") == 0 ? "" : path;
        if (strcmp(row->dir, wanted) != 0 || (after != NULL && strcmp(row->name, after) <= 0)) {
            continue;
        }
        const struct plan_remembered told = {.name = row->name,
                                             .name_len = strlen(row->name),
                                             .src = &row->src,
                                             .dst = &row->dst,
                                             .intent = row->intent,
                                             .sure = true};
        err = fn(fn_arg, &told);
        limit -= limit > 0 ? 1 : 0;
    }
    free(path);
    return err;
}

static bool known_dir(void *arg, const struct dir *dir, const struct attr *src)
{
    (void)arg;
    (void)dir;
    (void)src;
    return false;
}

static bool audited(void *arg, const struct dir *dir)
{
    (void)arg;
    (void)dir;
    return false;
}

static uint64_t intend(void *arg, const struct dir *dir, const char *name)
{
    (void)arg;
    (void)dir;
    (void)name;
    return 1;
}

static int commit(void *arg, uint64_t intended)
{
    (void)arg;
    (void)intended;
    return 0;
}

static void forget(void *arg, const struct dir *dir, const char *name)
{
    struct fixture *f = one(arg);
    char *path = dir_path(dir, name);
    (void)snprintf(f->forgotten + strlen(f->forgotten), sizeof f->forgotten - strlen(f->forgotten), "%s\n", path);
    free(path);
}

static void astray(void *arg, const struct dir *dir)
{
    (void)arg;
    (void)dir;
}

static void touched(void *arg, const struct dir *dir)
{
    (void)arg;
    (void)dir;
}

static bool may_remove(void *arg)
{
    struct fixture *f = one(arg);
    f->asked++;
    f->gone = planner_counts(f->t.planner)->gone;
    return !f->refuse;
}

static int note_removal(struct plan_try *t, const struct item *item)
{
    struct fixture *f = t->own;
    if (item->kind == ITEM_REMOVE) {
        char *path = dir_path(item->work.dir, item->name);
        pthread_mutex_lock(&t->lock);
        (void)snprintf(f->removed + strlen(f->removed), sizeof f->removed - strlen(f->removed), "%s\n", path);
        pthread_mutex_unlock(&t->lock);
        free(path);
    }
    return 0;
}

static struct fixture *begin(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    plan_try_init(&f->t, "gone");
    f->t.own = f;
    f->t.workers = 1;
    f->t.meddle = note_removal;
    f->t.options.walkers = 2;
    f->t.options.trust = true;
    f->t.options.remove = true;
    f->t.options.recall = recall;
    f->t.options.known_dir = known_dir;
    f->t.options.audited = audited;
    f->t.options.intend = intend;
    f->t.options.commit = commit;
    f->t.options.forget = forget;
    f->t.options.astray = astray;
    f->t.options.touched = touched;
    f->t.options.may_remove = may_remove;
    return f;
}

static void end(struct fixture *f)
{
    plan_try_release(&f->t);
    free(f);
}

static void run(struct fixture *f)
{
    qsort(f->rows, f->count, sizeof f->rows[0], by_name);
    plan_try_run(&f->t);
}

static bool stands(const char *base, const char *path)
{
    char whole[4096];
    struct stat st;
    (void)snprintf(whole, sizeof whole, "%s/%s", base, path);
    return lstat(whole, &st) == 0;
}

Test(gone, what_was_published_goes_files_first_then_directories_from_the_deepest, .timeout = 60)
{
    struct fixture *f = begin();
    tree_file(f->t.src, "stays", "stays");
    tree_file(f->t.dst, "stays", "stays");
    tree_file(f->t.dst, "1", "a/b/c/deep");
    tree_file(f->t.dst, "2", "a/file");
    remember(f, "", "stays", false);
    remember(f, "", "a", false);
    remember(f, "a", "b", false);
    remember(f, "a", "file", false);
    remember(f, "a/b", "c", false);
    remember(f, "a/b/c", "deep", false);
    run(f);
    cr_expect_str_empty(f->t.failed);
    cr_expect_eq(f->asked, 1);
    cr_expect_eq(f->gone, 5, "counted before it is asked: %lu", f->gone);
    cr_expect(!stands(f->t.dst, "a"));
    cr_expect(stands(f->t.dst, "stays"));
    const char *dirs = strstr(f->removed, "a/b/c\n");
    cr_assert_not_null(dirs, "%s", f->removed);
    cr_expect_str_eq(dirs, "a/b/c\na/b\na\n");
    cr_expect_eq(strlen(f->removed) - strlen(dirs), strlen("a/file\na/b/c/deep\n"));
    end(f);
}

Test(gone, what_haul_never_published_stays_and_keeps_its_directory, .timeout = 60)
{
    struct fixture *f = begin();
    tree_file(f->t.dst, "1", "a/ours");
    tree_file(f->t.dst, "2", "a/theirs");
    tree_file(f->t.dst, "3", "theirs");
    remember(f, "", "a", false);
    remember(f, "a", "ours", false);
    run(f);
    cr_expect_str_eq(f->t.failed, "item a ENOTEMPTY\n");
    cr_expect(!stands(f->t.dst, "a/ours"));
    cr_expect(stands(f->t.dst, "a/theirs"));
    cr_expect(stands(f->t.dst, "theirs"));
    end(f);
}

Test(gone, extras_go_too_where_the_destination_is_listed, .timeout = 60)
{
    struct fixture *f = begin();
    f->t.options.trust = false;
    f->t.options.extras = true;
    tree_file(f->t.src, "1", "a/both");
    tree_file(f->t.dst, "1", "a/both");
    tree_file(f->t.dst, "2", "a/theirs");
    tree_file(f->t.dst, "3", "b/c/theirs");
    tree_file(f->t.dst, "4", ".haul/lease");
    tree_file(f->t.dst, "5", ".haul.0123456789abcdef.0123456789abcdef");
    run(f);
    cr_expect_str_empty(f->t.failed);
    cr_expect(stands(f->t.dst, "a/both"));
    cr_expect(!stands(f->t.dst, "a/theirs"));
    cr_expect(!stands(f->t.dst, "b"));
    cr_expect(stands(f->t.dst, ".haul/lease"), "haul's own is never an extra");
    cr_expect(stands(f->t.dst, ".haul.0123456789abcdef.0123456789abcdef"), "nor is a temp name: the janitor's");
    end(f);
}

static void excluded(bool too)
{
    struct fixture *f = begin();
    struct filter *filter = NULL;
    cr_assert_eq(filter_create(&filter), 0);
    cr_assert_eq(filter_add(filter, false, "*.bak"), 0);
    f->t.options.filter = filter;
    f->t.options.remove_excluded = too;
    tree_file(f->t.src, "1", "at source.bak");
    tree_file(f->t.dst, "1", "at source.bak");
    tree_file(f->t.dst, "2", "d/x.bak");
    tree_file(f->t.dst, "3", "d/x");
    remember(f, "", "at source.bak", false);
    remember(f, "", "d", false);
    remember(f, "d", "x", false);
    remember(f, "d", "x.bak", false);
    run(f);
    cr_expect(!stands(f->t.dst, "d/x"));
    cr_expect_eq(stands(f->t.dst, "d/x.bak"), !too);
    cr_expect_eq(stands(f->t.dst, "d"), !too);
    cr_expect_eq(stands(f->t.dst, "at source.bak"), !too);
    end(f);
    filter_destroy(filter);
}

Test(gone, excluded_names_are_protected, .timeout = 60)
{
    excluded(false);
}

Test(gone, excluded_names_go_too_when_asked, .timeout = 60)
{
    excluded(true);
}

Test(gone, nothing_goes_where_it_may_not, .timeout = 60)
{
    struct fixture *f = begin();
    f->refuse = true;
    tree_file(f->t.dst, "1", "a/x");
    remember(f, "", "a", false);
    remember(f, "a", "x", false);
    run(f);
    cr_expect_eq(f->asked, 1);
    cr_expect_eq(f->gone, 2);
    cr_expect(stands(f->t.dst, "a/x"));
    cr_expect_str_empty(f->removed);
    end(f);
}

Test(gone, without_remove_nobody_is_asked, .timeout = 60)
{
    struct fixture *f = begin();
    f->t.options.remove = false;
    tree_file(f->t.dst, "1", "x");
    remember(f, "", "x", false);
    run(f);
    cr_expect_eq(f->asked, 0);
    cr_expect(stands(f->t.dst, "x"));
    end(f);
}

/* What was only announced is looked at: it is there and goes, or was never there and is forgotten. */
Test(gone, what_was_only_announced_is_looked_at, .timeout = 60)
{
    struct fixture *f = begin();
    tree_file(f->t.dst, "1", "arrived");
    tree_file(f->t.dst, "2", "made/inner");
    remember(f, "", "arrived", true);
    remember(f, "", "never", true);
    remember(f, "", "made", true);
    remember(f, "made", "inner", true);
    run(f);
    cr_expect_str_empty(f->t.failed);
    cr_expect(!stands(f->t.dst, "arrived"));
    cr_expect(!stands(f->t.dst, "made"));
    cr_expect_str_eq(f->forgotten, "never\n");
    cr_expect_eq(f->gone, 3);
    end(f);
}

/* Listings tell what stands there: what neither has is forgotten without being asked for. */
Test(gone, what_neither_side_has_is_forgotten_with_extras_too, .timeout = 60)
{
    struct fixture *f = begin();
    f->t.options.trust = false;
    f->t.options.extras = true;
    tree_file(f->t.src, "1", "d/stays");
    tree_file(f->t.dst, "1", "d/stays");
    tree_file(f->t.dst, "2", "d/goes");
    remember(f, "", "d", false);
    remember(f, "d", "stays", false);
    remember(f, "d", "goes", false);
    remember(f, "d", "lost", false);
    remember(f, "d", "never", true);
    run(f);
    cr_expect_str_empty(f->t.failed);
    cr_expect_str_eq(f->forgotten, "d/lost\nd/never\n");
    cr_expect_str_eq(f->removed, "d/goes\n");
    plan_try_same(&f->t, false);
    end(f);
}

/* Something was changed since it was published: the expectation travels with the item, and the store refuses. */
Test(gone, the_removal_is_guarded_by_what_was_published, .timeout = 60)
{
    struct fixture *f = begin();
    tree_file(f->t.dst, "ours", "x");
    remember(f, "", "x", false);
    tree_file(f->t.dst, "somebody else's", "x");
    run(f);
    cr_expect_str_eq(f->t.failed, "item x ESTALE\n");
    cr_expect(stands(f->t.dst, "x"));
    end(f);
}

/* A directory of the destination's stands in the way of a file: it goes, and the file is planned after that. */
Test(gone, a_directory_in_the_way_of_a_file_goes_first, .timeout = 60)
{
    struct fixture *f = begin();
    tree_file(f->t.src, "file now", "d");
    tree_file(f->t.dst, "1", "d/e/x");
    remember(f, "", "d", false);
    remember(f, "d", "e", false);
    remember(f, "d/e", "x", false);
    run(f);
    cr_expect_str_empty(f->t.failed);
    cr_expect_str_eq(f->removed, "d/e/x\nd/e\nd\n");
    plan_try_same(&f->t, false);
    end(f);
}

/* More entries than are taken up at a time, all of one directory. */
Test(gone, many_of_one_directory, .timeout = 60)
{
    struct fixture *f = begin();
    for (unsigned i = 0; i < 1300; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "f%04u", i);
        tree_file(f->t.dst, "x", "d/%s", name);
        if (i % 13 == 0) {
            tree_file(f->t.src, "x", "d/%s", name);
        }
        remember(f, "d", name, false);
    }
    remember(f, "", "d", false);
    run(f);
    cr_expect_str_empty(f->t.failed);
    cr_expect_eq(f->gone, 1200, "%lu", f->gone);
    for (unsigned i = 0; i < 1300; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "d/f%04u", i);
        cr_expect_eq(stands(f->t.dst, path), i % 13 == 0, "%s", path);
    }
    end(f);
}
