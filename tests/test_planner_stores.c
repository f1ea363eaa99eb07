/* The planner on stores that answer differently: listings with attributes, without types, with entries that fail; and
 * destinations that want many directories at a time. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support_plan.h"
#include "support_tree.h"
#include "workers/stores/posix.h"

/* A layer that changes what listings say. */
struct odd_store {
    struct store head;
    bool no_types;                    /* entries are DT_UNKNOWN, without attributes */
    const char *broken;               /* the attributes of this entry fail where it is listed; by itself they come */
    const char *gone;                 /* this entry is listed, but not there any more: its attributes fail everywhere */
    const char *vanishes;             /* a directory of this name is removed when it is to be listed */
    const char *vanishes_at;          /* its path */
    const char *breaks;               /* the listing of this directory fails */
    unsigned listed;                  /* after so many entries; under the lock */
    unsigned invented;                /* the root's listing begins with so many entries that are not there; lock */
    unsigned asked;                   /* STORE_STAT with a name; under the lock */
    unsigned long codes[STORE_CODES]; /* requests seen; under the lock */
    pthread_mutex_t lock;
    char name[32]; /* of the entry that was invented last */
};

static int odd_port_create(struct store *s, struct io *io, struct port **out)
{
    (void)s;
    (void)io;
    *out = calloc(1, sizeof(**out));
    return *out != NULL ? 0 : -ENOMEM;
}

static void odd_port_destroy(struct port *p)
{
    free(p);
}

static void odd_destroy(struct store *s)
{
    pthread_mutex_destroy(&((struct odd_store *)s)->lock);
    free(s);
}

/* Whether the listing goes on with an entry that is not there. */
static bool odd_invents(struct odd_store *odd, struct store_op *op)
{
    pthread_mutex_lock(&odd->lock);
    bool some = odd->invented > 0 && op->dir->parent == NULL;
    if (some) {
        snprintf(odd->name, sizeof(odd->name), "invented %u", odd->invented--);
        *op->list.out = (struct store_entry){.name = odd->name, .name_len = strlen(odd->name), .has_attr = true};
        op->list.out->attr.mode = S_IFREG;
    }
    pthread_mutex_unlock(&odd->lock);
    return some;
}

static int odd_run(struct port *p, struct store_op *op)
{
    struct odd_store *odd = (struct odd_store *)p->store;
    pthread_mutex_lock(&odd->lock);
    odd->codes[op->code]++;
    odd->asked += op->code == STORE_STAT && op->name != NULL;
    pthread_mutex_unlock(&odd->lock);
    if (op->code == STORE_LIST_NEXT && odd_invents(odd, op)) {
        return 0;
    }
    if (op->code == STORE_LIST_OPEN && odd->vanishes != NULL && strcmp(op->dir->name, odd->vanishes) == 0) {
        tree_remove(odd->vanishes_at);
    }
    if (op->code == STORE_STAT && op->name != NULL && odd->gone != NULL && strcmp(op->name, odd->gone) == 0) {
        return -ENOENT;
    }
    if (op->code == STORE_LIST_NEXT && odd->breaks != NULL && strcmp(op->dir->name, odd->breaks) == 0) {
        pthread_mutex_lock(&odd->lock);
        bool over = odd->listed == 0;
        odd->listed -= over ? 0 : 1;
        pthread_mutex_unlock(&odd->lock);
        if (over) {
            return -EIO;
        }
    }
    int err = store_run_next(p, op);
    if (err == 0 && op->code == STORE_LIST_NEXT && op->list.out->name != NULL) {
        struct store_entry *entry = op->list.out;
        if (odd->no_types) {
            entry->type = DT_UNKNOWN;
            entry->has_attr = false;
        }
        bool gone = odd->gone != NULL && strcmp(entry->name, odd->gone) == 0;
        if (gone || (odd->broken != NULL && strcmp(entry->name, odd->broken) == 0)) {
            entry->has_attr = false;
            entry->attr_error = gone ? -ENOENT : -EIO;
        }
    }
    return err;
}

static const struct store_ops odd_ops = {
    .destroy = odd_destroy,
    .port_create = odd_port_create,
    .port_destroy = odd_port_destroy,
    .run = odd_run,
};

static struct odd_store *odd_open(const char *path, enum dir_side side)
{
    struct store_options o = {.side = side, .path = path, .run_id = "0123456789abcdef", .max_handles = 64};
    struct odd_store *odd = calloc(1, sizeof(*odd));
    cr_assert_not_null(odd);
    cr_assert_eq(posix_open(&o, &odd->head.next), 0);
    odd->head.ops = &odd_ops;
    odd->head.caps = odd->head.next->caps;
    pthread_mutex_init(&odd->lock, NULL);
    return odd;
}

struct fixture {
    struct odd_store *from;
    struct odd_store *to;
    struct plan_try t;
};

static void begin(struct fixture *f)
{
    plan_try_init(&f->t, "stores");
    f->from = odd_open(f->t.src, DIR_SRC);
    f->to = odd_open(f->t.dst, DIR_DST);
    f->t.options.src = &f->from->head;
    f->t.options.dst = &f->to->head;
    f->t.options.walkers = 3;
    for (unsigned i = 0; i < 10; i++) {
        tree_file(f->t.src, "x", "a/%u/one", i);
        tree_file(f->t.src, "y", "a/%u/two", i);
        tree_symlink(f->t.src, "z", "a/%u/link", i);
    }
}

static void end(struct fixture *f)
{
    store_destroy(&f->from->head);
    store_destroy(&f->to->head);
    plan_try_release(&f->t);
}

Test(planner_stores, listing_with_attributes, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    plan_try_run(&f.t);
    cr_expect_str_empty(f.t.failed, "%s", f.t.failed);
    plan_try_same(&f.t, true);
    cr_expect_leq(f.from->codes[STORE_STAT], 1, "only the root is asked for by itself");
    cr_expect_eq(f.t.counts.files, 20);
    end(&f);
}

Test(planner_stores, listing_without_types, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    f.from->no_types = true;
    plan_try_run(&f.t);
    cr_expect_str_empty(f.t.failed, "%s", f.t.failed);
    plan_try_same(&f.t, true);
    cr_expect_eq(f.t.counts.dirs, 12);
    end(&f);
}

Test(planner_stores, entries_that_fail, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    tree_file(f.t.src, "x", "bad");
    tree_file(f.t.src, "x", "vanished");
    tree_file(f.t.src, "x", "good");
    f.from->broken = "bad";
    plan_try_run(&f.t);
    cr_expect_str_empty(f.t.failed, "asked for by itself: %s", f.t.failed);
    cr_expect_eq(f.t.counts.same + f.t.counts.todo, 33);
    f.from->broken = NULL;
    f.from->gone = "vanished";
    plan_try_run(&f.t);
    cr_expect_str_eq(f.t.failed, "stat vanished ENOENT src\n");
    cr_expect_eq(f.t.counts.same + f.t.counts.todo, 32);
    end(&f);
}

/* What was listed before a listing breaks off is copied, and only what was not is said to be missing. */
Test(planner_stores, listing_breaks_off, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    f.from->breaks = "5";
    f.from->listed = 2;
    plan_try_run(&f.t);
    cr_expect_str_eq(f.t.failed, "list (broke off) a/5 EIO src\n");
    cr_expect_eq(f.t.counts.todo, 29);
    cr_expect_eq(f.from->listed, 0);
    plan_try_run(&f.t);
    cr_expect_str_eq(f.t.failed, "list a/5 EIO src below\n");
    f.from->breaks = NULL;
    plan_try_run(&f.t);
    cr_expect_str_empty(f.t.failed, "%s", f.t.failed);
    plan_try_same(&f.t, true);
    end(&f);
}

/* A new directory is filled without a single question to the destination. */
Test(planner_stores, fresh_directories_are_not_asked, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    f.t.options.root_fresh = true;
    plan_try_run(&f.t);
    cr_expect_str_empty(f.t.failed, "%s", f.t.failed);
    cr_expect_eq(f.to->codes[STORE_STAT], 0);
    cr_expect_eq(f.to->codes[STORE_MKDIR], 11);
    cr_expect_eq(f.to->codes[STORE_SETATTR], 12);
    f.t.options.root_fresh = false;
    memset(f.to->codes, 0, sizeof(f.to->codes));
    plan_try_run(&f.t);
    cr_expect_eq(f.to->codes[STORE_SETATTR], 0, "directories that are right are not touched");
    end(&f);
}

static void remove_at(const char *base, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", base, name);
    cr_assert_eq(remove(path), 0);
}

/* Where each question is a round trip, directories that stand there are listed, and files are not asked for. */
Test(planner_stores, a_network_destination_is_listed, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    tree_file(f.t.src, "contents", "a/file");
    f.to->head.caps.network = true;
    plan_try_run(&f.t);
    cr_expect_eq(f.t.counts.todo, 31);
    cr_expect_eq(f.t.existing, 0, "the root was listed, and there was no temp name in it");
    f.to->asked = 0;
    memset(f.to->codes, 0, sizeof(f.to->codes));
    plan_try_run(&f.t);
    cr_expect_str_empty(f.t.failed, "%s", f.t.failed);
    cr_expect_eq(f.t.counts.todo, 0);
    cr_expect_eq(f.t.counts.same, 31);
    cr_expect_eq(f.to->asked, 0, "%u were asked for one by one", f.to->asked);
    cr_expect_eq(f.to->codes[STORE_LIST_OPEN], 12);
    cr_expect_eq(f.to->codes[STORE_MKDIR], 0);

    /* What differs is seen, what stands in the way is removed, and what the listing could not tell is asked for. */
    remove_at(f.t.dst, "a/0/one");
    tree_file(f.t.dst, "other", "a/1/one");
    remove_at(f.t.dst, "a/file");
    tree_dir(f.t.dst, "a/file");
    tree_file(f.t.dst, "", "a/2/.haul.0123456789abcdef.0123456789abcdef");
    f.to->broken = "two";
    f.to->asked = 0;
    plan_try_run(&f.t);
    cr_expect_str_empty(f.t.failed, "%s", f.t.failed);
    cr_expect_eq(f.t.counts.todo, 3);
    cr_expect_eq(f.t.existing, 1, "one temp name was met");
    cr_expect_geq(f.to->asked, 10);
    remove_at(f.t.dst, "a/2/.haul.0123456789abcdef.0123456789abcdef");
    plan_try_same(&f.t, false);
    end(&f);
}

/* A directory that its parent's listing has told of, and that is gone when its turn comes, is made again. */
Test(planner_stores, a_listed_directory_may_be_gone, .timeout = 60)
{
    struct fixture f;
    char path[4096];
    begin(&f);
    f.to->head.caps.network = true;
    plan_try_run(&f.t);
    memset(f.to->codes, 0, sizeof(f.to->codes));
    snprintf(path, sizeof(path), "%s/a/5", f.t.dst);
    f.to->vanishes = "5";
    f.to->vanishes_at = path;
    plan_try_run(&f.t);
    cr_expect_str_empty(f.t.failed, "%s", f.t.failed);
    cr_expect_eq(f.to->codes[STORE_MKDIR], 1);
    cr_expect_eq(f.t.counts.todo, 3, "what was in it is copied again");
    plan_try_same(&f.t, true);
    end(&f);
}

/* The lists have a bound; what is beyond it is asked for. A listing that breaks off proves nothing absent. */
Test(planner_stores, listings_of_the_destination_are_bounded, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    f.to->head.caps.network = true;
    f.t.options.walkers = 1;
    plan_try_run(&f.t);
    f.to->invented = 300000;
    f.to->asked = 0;
    plan_try_run(&f.t);
    cr_expect_eq(f.t.counts.todo, 0);
    cr_expect_gt(f.to->invented, 0, "the listing was ended early");
    f.to->invented = 0;
    f.to->breaks = "5";
    f.to->listed = 1;
    f.to->asked = 0;
    plan_try_run(&f.t);
    cr_expect_str_empty(f.t.failed, "%s", f.t.failed);
    cr_expect_eq(f.t.counts.todo, 0);
    cr_expect_eq(f.to->asked, 2, "%u", f.to->asked);
    end(&f);
}

/* One directory a shard, so that the pool can spread them. */
Test(planner_stores, spread, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    f.to->head.caps.network = true;
    f.to->head.caps.spread = true;
    plan_try_run(&f.t);
    cr_expect_str_empty(f.t.failed, "%s", f.t.failed);
    cr_expect_eq(f.t.shards, 10);
    plan_try_same(&f.t, true);
    end(&f);
}

static void sized_file(const char *base, const char *name, off_t size)
{
    char path[4096];
    tree_file(base, "", "%s", name);
    snprintf(path, sizeof(path), "%s/%s", base, name);
    cr_assert_eq(truncate(path, size), 0);
}

static int none(struct plan_try *t, const struct item *item)
{
    (void)t;
    (void)item;
    return -EPIPE;
}

/* Large files travel alone. */
Test(planner_stores, large_files, .timeout = 60)
{
    struct fixture f;
    begin(&f);
    for (unsigned i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof(name), "big%u", i);
        sized_file(f.t.src, name, (off_t)1 << 40);
    }
    f.t.options.walkers = 1;
    f.t.meddle = none;
    plan_try_run(&f.t);
    cr_expect_geq(f.t.shards, 5);
    cr_expect_eq(f.t.errors, 35);
    cr_expect_eq(f.t.counts.todo_bytes, 20 + ((unsigned long)5 << 40));
    end(&f);
}
