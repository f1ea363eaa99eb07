/*
 * test_nfs_source: a server as the source that reads short, lies about ends, changes files while they are read, or has
 * lost them: what comes back is either right and unchanged, or can be told from that.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support_nfsrig.h"

TestSuite(nfs_source, .timeout = 60);

#define SIZE 5000U /* bytes of the file */

/* Words of a GETATTR's result: its number, status, bitmap of two words, length, then what was asked for in order. */
enum { WORD_CHANGE_LOW = 8, WORD_READ_EOF = 2 };

static char bytes[SIZE];

static void open_with_file(struct rig *r, const struct nfsd_options *server)
{
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (char)(i * 7 + i / 251);
    }
    rig_open(r, &(struct rig_options){.server = *server});
    nfsd_put_file(r->n, "/export/file", bytes, SIZE, 0644);
}

/* The file as a source reads a small one. */
struct got {
    struct attr before;
    struct attr after;
    size_t len;
    char buf[2 * SIZE];
};

static int read_small(struct rig *r, struct got *g)
{
    *g = (struct got){0};
    struct store_op op = {
        .code = STORE_READ_SMALL,
        .dir = r->root,
        .name = "file",
        .read_small = {
            .buf = g->buf, .size = sizeof g->buf, .out_len = &g->len, .before = &g->before, .after = &g->after}};
    return rig_run(r, &op);
}

/* What a copier takes for a file that may be published. */
static bool is_taken(int err, const struct got *g)
{
    return err == 0 && attr_unchanged(&g->before, &g->after) && g->len == g->after.size;
}

static bool is_right(const struct got *g)
{
    return g->len == SIZE && memcmp(g->buf, bytes, SIZE) == 0;
}

static struct store_file *open_file(struct rig *r, struct attr *attr)
{
    struct store_file *file = NULL;
    struct store_op op = {.code = STORE_OPEN, .dir = r->root, .name = "file", .open = {.out = &file, .attr = attr}};
    cr_assert_eq(rig_run(r, &op), 0);
    return file;
}

static int read_at(struct rig *r, struct store_file *file, char *buf, size_t len, uint64_t offset, size_t *out_len)
{
    struct store_op op = {.code = STORE_READ,
                          .file = {.file = file, .buf = buf, .len = len, .offset = offset, .out_len = out_len}};
    return rig_run(r, &op);
}

static int look(struct rig *r, struct store_file *file, struct attr *out)
{
    struct store_op op = {.code = STORE_FSTAT, .stat = {.out = out, .file = file}};
    return rig_run(r, &op);
}

static void close_file(struct rig *r, struct store_file *file)
{
    struct store_op op = {.code = STORE_CLOSE, .file = {.file = file}};
    cr_assert_eq(rig_run(r, &op), 0);
}

Test(nfs_source, short_reads_are_gone_on_with)
{
    for (uint32_t most = 1000; most <= SIZE; most += 1333) {
        struct rig r;
        struct got g;
        struct attr attr;
        size_t len = 0;
        open_with_file(&r, &(struct nfsd_options){.read_max = most});
        cr_expect(is_taken(read_small(&r, &g), &g) && is_right(&g), "%u bytes a READ: %zu", most, g.len);
        struct store_file *file = open_file(&r, &attr);
        memset(g.buf, 0, sizeof g.buf);
        cr_expect_eq(read_at(&r, file, g.buf, sizeof g.buf, 0, &len), 0);
        cr_expect(len == SIZE && memcmp(g.buf, bytes, SIZE) == 0, "%u bytes a READ: %zu", most, len);
        cr_expect_eq(read_at(&r, file, g.buf, 100, SIZE - 50, &len), 0);
        cr_expect(len == 50 && memcmp(g.buf, bytes + SIZE - 50, 50) == 0);
        close_file(&r, file);
        rig_close(&r);
    }
}

/* An end where there is none: the file is too short for its size, and is not taken. None where there is one: its size
 * says where it ends. */
Test(nfs_source, lies_about_the_end)
{
    struct rig r;
    struct got g;
    size_t len = 99;
    struct attr attr;
    open_with_file(&r, &(struct nfsd_options){.read_max = 1000});
    nfsd_rule(r.n, &(struct nfsd_rule){
                       .op = D4_READ, .what = NFSD_LIE, .lie = NFSD_LIE_WORD, .at = WORD_READ_EOF, .value = 1});
    int err = read_small(&r, &g);
    cr_expect(!is_taken(err, &g), "%d: %zu bytes were taken for the whole file", err, g.len);
    cr_expect_eq(nfsd_clear(r.n), 1);
    nfsd_rule(r.n, &(struct nfsd_rule){.op = D4_READ,
                                       .count = NFSD_EVER,
                                       .what = NFSD_LIE,
                                       .lie = NFSD_LIE_WORD,
                                       .at = WORD_READ_EOF,
                                       .value = 0});
    cr_expect(is_taken(read_small(&r, &g), &g) && is_right(&g));
    struct store_file *file = open_file(&r, &attr);
    cr_expect_eq(read_at(&r, file, g.buf, SIZE, 0, &len), 0);
    cr_expect_eq(len, SIZE);
    cr_expect_eq(read_at(&r, file, g.buf, SIZE, SIZE, &len), -EIO, "nothing, and more to come");
    cr_expect(nfsd_clear(r.n) > 5);
    close_file(&r, file);
    rig_close(&r);
}

/* Size, mtime and ctime as they were: the change attribute alone tells. */
Test(nfs_source, a_change_that_no_time_shows)
{
    struct rig r;
    struct got g;
    open_with_file(&r, &(struct nfsd_options){0});
    cr_expect(is_taken(read_small(&r, &g), &g));
    nfsd_rule(r.n, &(struct nfsd_rule){.op = D4_GETATTR,
                                       .with = D4_READ,
                                       .nth = 2,
                                       .what = NFSD_LIE,
                                       .lie = NFSD_LIE_WORD,
                                       .at = WORD_CHANGE_LOW,
                                       .value = 123456});
    int err = read_small(&r, &g);
    cr_expect_eq(err, 0);
    cr_expect_eq(nfsd_clear(r.n), 1);
    cr_expect(g.before.ctime.tv_nsec == g.after.ctime.tv_nsec && g.before.mtime.tv_nsec == g.after.mtime.tv_nsec &&
              g.before.size == g.after.size);
    cr_expect_eq(g.after.change & UINT32_MAX, 123456);
    cr_expect(!is_taken(err, &g), "it changed while it was read, and was taken");
    rig_close(&r);
}

/* Another file under the name: the one that was opened is gone, or is read to its end; it never becomes the other. */
Test(nfs_source, replaced_while_it_is_read)
{
    struct rig r;
    struct attr before;
    struct attr after = {0};
    char buf[SIZE];
    size_t len = 0;
    open_with_file(&r, &(struct nfsd_options){0});
    struct store_file *file = open_file(&r, &before);
    cr_assert_eq(read_at(&r, file, buf, 1000, 0, &len), 0);
    nfsd_remove(r.n, "/export/file");
    char other[SIZE];
    memset(other, 'x', SIZE);
    nfsd_put_file(r.n, "/export/file", other, SIZE, 0644);
    int err = read_at(&r, file, buf, SIZE, 0, &len);
    cr_expect(err == -ESTALE || (err == 0 && memcmp(buf, bytes, len) == 0), "%d", err);
    err = err == 0 ? look(&r, file, &after) : err;
    cr_expect(err != 0 || !attr_unchanged(&before, &after), "nothing shows that it is gone");
    close_file(&r, file);
    rig_close(&r);
}

/* A handle that is worth nothing any more: looked up anew, once, or an error; never other contents. */
Test(nfs_source, stale_handles)
{
    static const uint32_t ops[] = {D4_LOOKUP, D4_GETATTR, D4_READ};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        for (unsigned count = 1; count < 3; count++) {
            struct rig r;
            struct got g;
            open_with_file(&r, &(struct nfsd_options){0});
            nfsd_rule(r.n,
                      &(struct nfsd_rule){
                          .op = ops[i], .with = D4_READ, .count = count, .what = NFSD_FAIL, .status = D4ERR_STALE});
            int err = read_small(&r, &g);
            cr_expect(err == -ESTALE || (is_taken(err, &g) && is_right(&g)), "%s: %d", nfsd_op_name(ops[i]), err);
            cr_expect(nfsd_clear(r.n) >= 1);
            cr_expect(is_taken(read_small(&r, &g), &g) && is_right(&g), "%s: it stays so", nfsd_op_name(ops[i]));
            rig_close(&r);
        }
    }
}

/* A directory that is taken away while it is listed is an error, not a short list: what is not listed would be removed
 * at the destination. */
Test(nfs_source, stale_in_the_middle_of_a_listing)
{
    for (unsigned nth = 1; nth < 5; nth++) {
        struct rig r;
        rig_open(&r, &(struct rig_options){.server = {.readdir_max = 10}});
        for (unsigned i = 0; i < 45; i++) {
            char path[64];
            snprintf(path, sizeof path, "/export/entry%u", i);
            nfsd_put_file(r.n, path, "", 0, 0644);
        }
        nfsd_rule(r.n, &(struct nfsd_rule){
                           .op = D4_READDIR, .nth = nth, .count = NFSD_EVER, .what = NFSD_FAIL, .status = D4ERR_STALE});
        int count = rig_list(&r);
        cr_expect_lt(count, 0, "page %u: %d entries, as if there were no more", nth, count);
        cr_expect(nfsd_clear(r.n) >= 1);
        cr_expect_eq(rig_list(&r), 45);
        rig_close(&r);
    }
}
