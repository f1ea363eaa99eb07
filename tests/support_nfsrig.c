#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_nfsrig.h"
#include "workers/stores/layers.h"

#define MTIME_S 1600000000

static int open_store(struct rig *r, const struct rig_options *o, struct store **out)
{
    const struct store_options s = {.side = DIR_DST,
                                    .path = "nfs://127.0.0.1/export",
                                    .run_id = RIG_RUN,
                                    .owner = o->owner,
                                    .max_handles = 64,
                                    .notices = r->notices};
    const struct nfs41_options nfs = {.host = "127.0.0.1",
                                      .port = nfsd_port(r->n),
                                      .path = o->path != NULL ? o->path : "/export",
                                      .uid = getuid(),
                                      .gid = getgid(),
                                      .reserved_port = o->reserved_port,
                                      .io_timeout_ns = o->io_timeout_ns > 0 ? o->io_timeout_ns : 3 * NS_PER_SEC,
                                      .retries = o->retries == UINT_MAX ? 0
                                                 : o->retries > 0       ? o->retries
                                                                        : 4,
                                      .connections = o->connections,
                                      .make_missing = o->make_missing,
                                      .missing_mode = 0755};

    return nfs41_open(&s, &nfs, out, &r->problem);
}

int rig_join(struct rig *r, struct nfsd *n, const struct rig_options *options)
{
    static const struct rig_options none = {0};
    const struct rig_options *o = options != NULL ? options : &none;
    struct store *bare = NULL;
    struct retry_options retry = {.retries = o->retries == UINT_MAX ? 0
                                             : o->retries > 0       ? o->retries
                                                                    : 4,
                                  .delay_ns = NS_PER_MS,
                                  .delay_max_ns = 10 * NS_PER_MS};

    *r = (struct rig){.n = n};
    cr_assert_eq(notices_create(&r->notices), 0);
    r->began_ns = clock_mono_ns();
    int err = open_store(r, o, &bare);
    r->took_ns = clock_mono_ns() - r->began_ns;
    if (err) {
        notices_destroy(r->notices);
        r->notices = NULL;
        return err;
    }
    retry.counter = &r->repeats;
    cr_assert_eq(retry_wrap(bare, &retry, &r->store), 0);
    store_attach(r->store, DIR_DST, &r->tree);
    cr_assert_eq(dir_create_root(&r->tree, &r->root), 0);
    lane_open(&r->lane, WAY_RING, 0);
    cr_assert_eq(store_port_create(r->store, r->lane.io, &r->port), 0);
    return 0;
}

int rig_try(struct rig *r, const struct rig_options *options)
{
    return rig_join(r, nfsd_create(options != NULL ? &options->server : NULL), options);
}

void rig_open(struct rig *r, const struct rig_options *options)
{
    int err = rig_try(r, options);

    cr_assert_eq(err, 0, "open: %d (%s): %s", err, strerror(-err), r->problem != NULL ? r->problem : "");
}

struct closing {
    struct rig *r;
};

static void close_port(void *arg)
{
    struct rig *r = ((struct closing *)arg)->r;

    store_port_destroy(r->port);
    r->port = NULL;
}

void rig_leave(struct rig *r)
{
    free(r->problem);
    r->problem = NULL;
    if (r->store == NULL) {
        return;
    }
    struct closing closing = {.r = r};
    lane_run(&r->lane, 1, close_port, &closing);
    dir_put(r->root);
    store_destroy(r->store);
    notices_destroy(r->notices);
    lane_close(&r->lane);
    r->store = NULL;
}

void rig_close(struct rig *r)
{
    rig_leave(r);
    struct nfsd_counts counts = nfsd_counts(r->n);
    cr_expect_eq(nfsd_names(r->n, ".haul.*"), 0, "%u temp names are left", nfsd_names(r->n, ".haul.*"));
    cr_expect_eq(counts.opens, 0, "%u opens are left", counts.opens);
    cr_expect_eq(counts.sessions, 0, "%u sessions are left", counts.sessions);
    cr_expect_eq(counts.clients, 0, "%u clients are left", counts.clients);
    nfsd_destroy(r->n);
}

void rig_close_after_lies(struct rig *r)
{
    rig_leave(r);
    nfsd_forgive(r->n);
    nfsd_destroy(r->n);
}

/* ---- operations ---- */

struct job {
    struct rig *r;
    struct store_op *op;
    int err;
};

static void run_job(void *arg)
{
    struct job *j = arg;

    j->err = store_run(j->r->port, j->op);
}

int rig_run(struct rig *r, struct store_op *op)
{
    struct job j = {.r = r, .op = op, .err = 1};

    r->began_ns = clock_mono_ns();
    lane_run(&r->lane, 1, run_job, &j);
    r->took_ns = clock_mono_ns() - r->began_ns;
    return j.err;
}

struct attr rig_attr(uint64_t size)
{
    return (struct attr){.mode = S_IFREG | 0640,
                         .uid = getuid(),
                         .gid = getgid(),
                         .nlink = 1,
                         .size = size,
                         .atime = {.tv_sec = MTIME_S - 5, .tv_nsec = 7},
                         .mtime = {.tv_sec = MTIME_S, .tv_nsec = 123456789}};
}

int rig_publish(struct rig *r, const char *name, const void *bytes, size_t len)
{
    struct attr attr = rig_attr(len);
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = r->root,
                          .name = name,
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = bytes}};

    return rig_run(r, &op);
}

void rig_text(unsigned i, char out[64])
{
    int len = snprintf(out, 64, "this is file %u", i);

    for (unsigned k = 0; k < i % 17; k++) {
        out[len + (int)k] = (char)('a' + k);
        out[len + (int)k + 1] = 0;
    }
}

struct many {
    struct rig *r;
    const char *prefix;
    unsigned next;
    int *errs;
};

static void publish_one(void *arg)
{
    struct many *m = arg;
    unsigned i = m->next++;
    char name[64];
    char text[64];

    snprintf(name, sizeof(name), "%s%u", m->prefix, i);
    rig_text(i, text);
    struct attr attr = rig_attr(strlen(text));
    struct store_op op = {.code = STORE_PUBLISH,
                          .dir = m->r->root,
                          .name = name,
                          .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .data = text}};
    m->errs[i] = store_run(m->r->port, &op);
}

void rig_publish_many(struct rig *r, const char *prefix, unsigned count, int *errs)
{
    struct many m = {.r = r, .prefix = prefix, .errs = errs};

    r->began_ns = clock_mono_ns();
    lane_run(&r->lane, count, publish_one, &m);
    r->took_ns = clock_mono_ns() - r->began_ns;
}

int rig_upload(struct rig *r, const char *name, const void *bytes, size_t len, size_t part)
{
    struct attr attr = rig_attr(len);
    struct store_upload *up = NULL;
    struct store_op begin = {.code = STORE_BEGIN,
                             .dir = r->root,
                             .name = name,
                             .put = {.attr = &attr, .keep = STORE_KEEP_ALL, .upload = &up}};
    int err = rig_run(r, &begin);

    for (size_t at = 0; err == 0 && at < len; at += part) {
        struct store_op write = {
            .code = STORE_WRITE,
            .up = {
                .upload = up, .buf = (const char *)bytes + at, .len = len - at < part ? len - at : part, .offset = at}};
        err = rig_run(r, &write);
        if (err) {
            struct store_op abort = {.code = STORE_ABORT, .up = {.upload = up}};
            rig_run(r, &abort);
        }
    }
    if (err == 0) {
        struct store_op commit = {.code = STORE_COMMIT, .up = {.upload = up, .attr = &attr}};
        err = rig_run(r, &commit);
    }
    return err;
}

struct listing {
    struct rig *r;
    int result;
};

static void list_all(void *arg)
{
    struct listing *l = arg;
    struct store_list *list = NULL;
    struct store_entry entry = {0};
    struct store_op op = {.code = STORE_LIST_OPEN, .dir = l->r->root, .list = {.list = &list, .want_attr = true}};
    int count = 0;

    l->result = store_run(l->r->port, &op);
    if (l->result) {
        return;
    }
    do {
        struct store_op next = {.code = STORE_LIST_NEXT, .list = {.list = &list, .out = &entry}};

        l->result = store_run(l->r->port, &next);
        count += l->result == 0 && entry.name != NULL;
    } while (l->result == 0 && entry.name != NULL && count < 100000);
    struct store_op close = {.code = STORE_LIST_CLOSE, .list = {.list = &list}};
    store_run(l->r->port, &close);
    l->result = l->result ? l->result : count;
}

int rig_list(struct rig *r)
{
    struct listing l = {.r = r};

    r->began_ns = clock_mono_ns();
    lane_run(&r->lane, 1, list_all, &l);
    r->took_ns = clock_mono_ns() - r->began_ns;
    return l.result;
}

ssize_t rig_read(struct rig *r, const char *name, void *buf, size_t size)
{
    struct attr before;
    struct attr after;
    size_t len = 0;
    struct store_op op = {
        .code = STORE_READ_SMALL,
        .dir = r->root,
        .name = name,
        .read_small = {.buf = buf, .size = size, .out_len = &len, .before = &before, .after = &after}};
    int err = rig_run(r, &op);

    return err ? err : (ssize_t)len;
}

bool rig_right(struct rig *r, const char *name, const void *bytes, size_t len)
{
    char path[256];

    snprintf(path, sizeof(path), "/export/%s", name);
    struct nfsd_file f = nfsd_see(r->n, path);
    return f.there && f.type == D4T_REG && f.mode == 0640 && f.uid == getuid() && f.gid == getgid() &&
           f.mtime.tv_sec == MTIME_S && f.mtime.tv_nsec == 123456789 && f.atime.tv_sec == MTIME_S - 5 &&
           nfsd_same(r->n, path, bytes, len);
}

size_t rig_memory(void)
{
    FILE *statm = fopen("/proc/self/statm", "r");
    unsigned long size = 0;
    unsigned long resident = 0;

    cr_assert_not_null(statm);
    cr_assert_eq(fscanf(statm, "%lu %lu", &size, &resident), 2);
    fclose(statm);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}
