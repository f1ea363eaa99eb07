/*
 * test_nfs_guard: what is linked, removed, replaced or changed only while it is still what was meant, at servers that
 * compare it themselves (VERIFY), that know no VERIFY, and that will not compare these attributes: haul looks then. On
 * real servers: support_conf_guard.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support_nfsrig.h"

static const char text[] = "what is meant";
static const char other[] = "what stands in another place";
#define LEN     (sizeof(text) - 1)
#define MTIME_S 1500000000 /* of what is meant */

enum server { COMPARES, NO_VERIFY, REFUSES_TO, SERVERS };

static const char *const servers[] = {"it compares", "it has no VERIFY", "it does not compare that"};

/* One thing that is done to "there", only while that is what is meant. */
struct deed {
    const char *what;
    struct store_op op; /* without what is filled in by the rig */
    int gone;           /* errno where nothing is there any more */
};

static const struct deed deeds[] = {
    {"a link", {.code = STORE_LINK, .name = "new"}, ENOENT},
    {"a link in the place of a file", {.code = STORE_LINK, .name = "stands"}, ENOENT},
    {"a removal", {.code = STORE_REMOVE, .name = "there"}, ENOENT},
    {"a file in its place", {.code = STORE_PUBLISH, .name = "there"}, ESTALE},
    {"attributes", {.code = STORE_SETATTR, .name = "there"}, ENOENT},
};
#define DEEDS (sizeof(deeds) / sizeof(deeds[0]))

static void open_rig(struct rig *r, enum server server)
{
    rig_open(r, &(struct rig_options){.server = {.no_verify = server == NO_VERIFY}});
    nfsd_put_file(r->n, "/export/there", text, LEN, 0640);
    nfsd_put_file(r->n, "/export/stands", other, sizeof(other), 0600);
    nfsd_change(r->n, "/export/there", LEN, MTIME_S);
    if (server == REFUSES_TO) {
        nfsd_rule(r->n, &(struct nfsd_rule){
                            .op = D4_VERIFY, .count = NFSD_EVER, .what = NFSD_FAIL, .status = D4ERR_ATTRNOTSUPP});
    }
}

static struct attr look(struct rig *r)
{
    struct attr attr;
    struct store_op op = {.code = STORE_STAT, .dir = r->root, .name = "there", .stat = {.out = &attr}};

    cr_assert_eq(rig_run(r, &op), 0);
    return attr;
}

/* 0 or -errno; -ESTALE only as the guard's. */
static int do_it(struct rig *r, const struct deed *d, const struct attr *expect)
{
    struct attr attr = rig_attr(sizeof(other));
    struct store_op op = d->op;

    op.dir = r->root;
    switch (op.code) {
    case STORE_LINK:
        op.link.from_dir = r->root;
        op.link.from_name = "there";
        op.link.expect = expect;
        break;
    case STORE_REMOVE:
        op.remove.expect = expect;
        break;
    case STORE_PUBLISH:
        op.put.attr = &attr;
        op.put.keep = STORE_KEEP_ALL;
        op.put.data = other;
        op.put.expect = expect;
        break;
    default:
        attr.mode = S_IFREG | 0604;
        op.setattr.attr = &attr;
        op.setattr.keep = STORE_KEEP_ALL;
        op.setattr.expect = expect;
        break;
    }
    int err = rig_run(r, &op);

    cr_expect(err != -ESTALE || store_op_guarded(&op), "%s: not the guard's", d->what);
    return err;
}

static bool is_done(struct rig *r, const struct deed *d, const struct attr *meant)
{
    struct nfsd_file there = nfsd_see(r->n, "/export/there");

    switch (d->op.code) {
    case STORE_LINK:
        return there.ino == meant->ino && there.nlink == 2 &&
               nfsd_same(r->n, d->op.name[0] == 'n' ? "/export/new" : "/export/stands", text, LEN);
    case STORE_REMOVE:
        return !there.there;
    case STORE_PUBLISH:
        return nfsd_same(r->n, "/export/there", other, sizeof(other));
    default:
        return there.mode == 0604;
    }
}

Test(nfs_guard, what_is_meant, .timeout = 60)
{
    for (enum server s = 0; s < SERVERS; s++) {
        for (unsigned d = 0; d < DEEDS; d++) {
            struct rig r;

            open_rig(&r, s);
            struct attr meant = look(&r);
            int err = do_it(&r, &deeds[d], &meant);
            cr_expect_eq(err, 0, "%s, %s: %d", deeds[d].what, servers[s], err);
            cr_expect(is_done(&r, &deeds[d], &meant), "%s, %s", deeds[d].what, servers[s]);
            rig_close(&r);
        }
    }
}

/* A file goes, and the directory that it is in where the server takes as much in one COMPOUND. */
Test(nfs_guard, what_is_meant_and_its_directory, .timeout = 60)
{
    static const uint32_t operations[] = {0, 8}; /* that the server takes, without saying so; 0: as many as it says */

    for (unsigned i = 0; i < 2; i++) {
        struct dir *dir = NULL;
        struct attr meant;
        struct rig r;
        bool emptied = false;

        rig_open(&r, &(struct rig_options){.server = {.real_ops = operations[i]}});
        nfsd_put_dir(r.n, "/export/dir", 0755);
        nfsd_put_file(r.n, "/export/dir/there", text, LEN, 0640);
        cr_assert_eq(dir_create_child(r.root, "dir", 3, &dir), 0);
        struct store_op op = {.code = STORE_STAT, .dir = dir, .name = "there", .stat = {.out = &meant}};
        cr_assert_eq(rig_run(&r, &op), 0);
        op = (struct store_op){
            .code = STORE_REMOVE, .dir = dir, .name = "there", .remove = {.expect = &meant, .out_emptied = &emptied}};
        cr_expect_eq(rig_run(&r, &op), 0, "%u operations", operations[i]);
        cr_expect_not(nfsd_see(r.n, "/export/dir/there").there, "%u operations", operations[i]);
        cr_expect_eq(emptied, operations[i] == 0);
        cr_expect_eq(nfsd_see(r.n, "/export/dir").there, !emptied);
        dir_put(dir);
        rig_close(&r);
    }
}

/* ---- what has become of it ---- */

static void longer(struct nfsd *n)
{
    nfsd_change(n, "/export/there", LEN + 1, MTIME_S);
}

static void later(struct nfsd *n)
{
    nfsd_change(n, "/export/there", LEN, MTIME_S + 1);
}

static void gone(struct nfsd *n)
{
    nfsd_remove(n, "/export/there");
}

static void other_file(struct nfsd *n)
{
    gone(n);
    nfsd_put_file(n, "/export/there", text, LEN, 0640);
    nfsd_change(n, "/export/there", LEN, MTIME_S);
}

static bool same(const struct nfsd_file *a, const struct nfsd_file *b)
{
    return a->there == b->there && a->ino == b->ino && a->size == b->size && a->mode == b->mode &&
           a->nlink == b->nlink && a->mtime.tv_sec == b->mtime.tv_sec;
}

/* The deed is refused, and all is as it was. */
static void refused(struct rig *r, const struct deed *d, const struct attr *meant, const char *how)
{
    struct nfsd_file before = nfsd_see(r->n, "/export/there");
    int err = do_it(r, d, meant);
    struct nfsd_file after = nfsd_see(r->n, "/export/there");

    cr_expect_eq(-err, before.there ? ESTALE : d->gone, "%s, %s: %d", d->what, how, err);
    cr_expect(same(&before, &after), "%s, %s: it was touched", d->what, how);
    cr_expect(nfsd_same(r->n, "/export/stands", other, sizeof(other)), "%s, %s: something was replaced", d->what, how);
    cr_expect_not(nfsd_see(r->n, "/export/new").there, "%s, %s", d->what, how);
}

Test(nfs_guard, what_is_not_meant, .timeout = 60)
{
    static void (*const changes[])(struct nfsd * n) = {longer, later, other_file, gone};

    for (enum server s = 0; s < SERVERS; s++) {
        for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
            for (unsigned d = 0; d < DEEDS; d++) {
                struct rig r;

                open_rig(&r, s);
                struct attr meant = look(&r);
                changes[i](r.n);
                refused(&r, &deeds[d], &meant, servers[s]);
                rig_close(&r);
            }
        }
    }
}
