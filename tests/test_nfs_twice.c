/*
 * test_nfs_twice: what must not be done twice (directories, links, nodes, removals, files that may not replace
 * another), over connections that break and servers that forget, before and after they have done it: it succeeds, and
 * was done once; and all statuses at the operation that does it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support_nfsrig.h"

static const char text[] = "what is in the file";
#define LEN (sizeof(text) - 1)

/* One of them. */
struct deed {
    const char *what;
    uint32_t op; /* that does it */
    int (*do_it)(struct rig *r);
    bool (*done)(struct rig *r); /* as it should be */
};

static int make_dir(struct rig *r)
{
    struct store_op op = {.code = STORE_MKDIR, .dir = r->root, .name = "new", .mkdir = {.mode = 0700}};

    return rig_run(r, &op);
}

static bool dir_made(struct rig *r)
{
    struct nfsd_file f = nfsd_see(r->n, "/export/new");

    return f.there && f.type == D4T_DIR && f.mode == 0700;
}

static int make_symlink(struct rig *r)
{
    struct attr attr = rig_attr(0);
    struct store_op op = {.code = STORE_SYMLINK,
                          .dir = r->root,
                          .name = "new",
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .target = "where"}};

    attr.mode = S_IFLNK | 0777;
    return rig_run(r, &op);
}

static bool symlink_made(struct rig *r)
{
    char *target = nfsd_target(r->n, "/export/new");
    bool right = target != NULL && strcmp(target, "where") == 0;

    free(target);
    return right;
}

static int make_fifo(struct rig *r)
{
    struct attr attr = rig_attr(0);
    struct store_op op = {
        .code = STORE_NODE, .dir = r->root, .name = "new", .put = {.attr = &attr, .keep = STORE_KEEP_ALL}};

    attr.mode = S_IFIFO | 0640;
    return rig_run(r, &op);
}

static bool fifo_made(struct rig *r)
{
    struct nfsd_file f = nfsd_see(r->n, "/export/new");

    return f.there && f.type == D4T_FIFO && f.mode == 0640;
}

static int make_link(struct rig *r)
{
    struct store_op op = {
        .code = STORE_LINK, .dir = r->root, .name = "new", .link = {.from_dir = r->root, .from_name = "there"}};

    return rig_run(r, &op);
}

static bool link_made(struct rig *r)
{
    struct nfsd_file from = nfsd_see(r->n, "/export/there");
    struct nfsd_file to = nfsd_see(r->n, "/export/new");

    return to.there && to.ino == from.ino && to.nlink == 2;
}

static int remove_it(struct rig *r)
{
    struct attr expect;
    struct store_op look = {.code = STORE_STAT, .dir = r->root, .name = "there", .stat = {.out = &expect}};
    int err = rig_run(r, &look);
    struct store_op op = {.code = STORE_REMOVE, .dir = r->root, .name = "there", .remove = {.expect = &expect}};

    return err ? err : rig_run(r, &op);
}

static bool is_removed(struct rig *r)
{
    return !nfsd_see(r->n, "/export/there").there;
}

static int publish_new(struct rig *r)
{
    struct attr attr = rig_attr(LEN);
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = r->root,
                          .name = "new",
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = text, .exclusive = true}};

    return rig_run(r, &op);
}

static bool is_published(struct rig *r)
{
    return rig_right(r, "new", text, LEN) && nfsd_see(r->n, "/export/new").nlink == 1;
}

static int set_attributes(struct rig *r)
{
    struct attr attr = rig_attr(LEN);
    struct store_op op = {.code = STORE_SETATTR,
                          .dir = r->root,
                          .name = "there",
                          .setattr = {.attr = &attr, .keep = STORE_KEEP_MODE | STORE_KEEP_TIMES}};

    attr.mode = S_IFREG | 0604;
    return rig_run(r, &op);
}

static bool attributes_set(struct rig *r)
{
    struct nfsd_file f = nfsd_see(r->n, "/export/there");

    return f.mode == 0604 && f.mtime.tv_sec == 1600000000;
}

static const struct deed deeds[] = {
    {"a directory", D4_CREATE, make_dir, dir_made},
    {"a symbolic link", D4_CREATE, make_symlink, symlink_made},
    {"a FIFO", D4_CREATE, make_fifo, fifo_made},
    {"a link", D4_LINK, make_link, link_made},
    {"a removal", D4_REMOVE, remove_it, is_removed},
    {"a file that is new", D4_LINK, publish_new, is_published},
    {"attributes", D4_SETATTR, set_attributes, attributes_set},
};
#define DEEDS (sizeof(deeds) / sizeof(deeds[0]))

static void open_rig(struct rig *r)
{
    rig_open(r, NULL);
    nfsd_put_file(r->n, "/export/there", text, LEN, 0644);
}

Test(nfs_twice, each_of_them_is_done, .timeout = 30)
{
    for (unsigned d = 0; d < DEEDS; d++) {
        struct rig r;

        open_rig(&r);
        int err = deeds[d].do_it(&r);
        cr_expect_eq(err, 0, "%s: %d", deeds[d].what, err);
        cr_expect(deeds[d].done(&r), "%s", deeds[d].what);
        rig_close(&r);
    }
}

/* The COMPOUND that does it meets what; afterwards it is done all the same. A file that may not replace another, and a
 * directory, may say that they are there already where nobody can know whose they are: who asks looks then. */
static void meet(enum nfsd_do what, const char *how)
{
    for (unsigned d = 0; d < DEEDS; d++) {
        struct rig r;

        open_rig(&r);
        nfsd_rule(r.n, &(struct nfsd_rule){.op = deeds[d].op, .what = what});
        int err = deeds[d].do_it(&r);
        cr_expect_eq(nfsd_clear(r.n), 1, "%s", deeds[d].what);
        cr_expect(err == 0 || (err == -EEXIST && (deeds[d].do_it == publish_new || deeds[d].do_it == make_dir) &&
                               what == NFSD_CRASH_AFTER),
                  "%s, %s: %d (%s)", deeds[d].what, how, err, strerror(-err));
        cr_expect(deeds[d].done(&r), "%s, %s", deeds[d].what, how);
        rig_close(&r);
    }
}

Test(nfs_twice, a_cut_before_it, .timeout = 30)
{
    meet(NFSD_DROP_BEFORE, "cut before");
}

Test(nfs_twice, a_cut_after_it, .timeout = 30)
{
    meet(NFSD_DROP_AFTER, "cut after");
}

Test(nfs_twice, a_crash_right_before_it, .timeout = 30)
{
    meet(NFSD_CRASH, "crash before");
}

Test(nfs_twice, a_crash_after_it, .timeout = 30)
{
    meet(NFSD_CRASH_AFTER, "crash after");
}

Test(nfs_twice, a_session_lost_before_it, .timeout = 30)
{
    meet(NFSD_LOSE_SESSION, "session lost");
}

Test(nfs_twice, a_client_lost_before_it, .timeout = 30)
{
    meet(NFSD_LOSE_CLIENT, "client lost");
}

Test(nfs_twice, each_refusal_is_told, .timeout = 60)
{
    static const struct {
        uint32_t status;
        int err;
    } rows[] = {{D4ERR_ACCESS, EACCES}, {D4ERR_NOSPC, ENOSPC}, {D4ERR_DQUOT, EDQUOT},
                {D4ERR_ROFS, EROFS},    {D4ERR_DELAY, 0},      {D4ERR_GRACE, 0}};

    for (unsigned d = 0; d < DEEDS; d++) {
        for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            struct rig r;

            open_rig(&r);
            nfsd_rule(r.n, &(struct nfsd_rule){.op = deeds[d].op,
                                               .count = rows[i].err ? NFSD_EVER : 1,
                                               .what = NFSD_FAIL,
                                               .status = rows[i].status});
            int err = deeds[d].do_it(&r);
            cr_expect_geq(nfsd_clear(r.n), 1);
            cr_expect_eq(-err, rows[i].err, "%s, %u: %d", deeds[d].what, rows[i].status, err);
            cr_expect_eq(deeds[d].done(&r), err == 0, "%s, %u", deeds[d].what, rows[i].status);
            rig_close(&r);
        }
    }
}
