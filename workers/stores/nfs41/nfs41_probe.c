/*
 * nfs41_probe: what the server can do, found out with files of the store's own.
 *
 * They are published as any others, under temp names in the root, so that what is found out is what is used: each
 * refusal is judged as it is for any file, and the store steps down. The first is read back; all are removed again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/errs.h"
#include "workers/fiber.h"
#include "workers/stores/nfs41/nfs41_internal.h"

#define OTHER_ID 1  /* an owner that is not us, to see whether owners can be set */
#define TRIES    3U /* while the server is being restarted */

static const char text[] = "haul looks at what this server can do; this file may be removed\n";

void nfs41_put_limits(struct nfs_compound *c)
{
    nfs_put_getattr(c, NFS_ATTR_MAXNAME | NFS_ATTR_MAXREAD | NFS_ATTR_MAXWRITE | NFS_ATTR_TIME_DELTA |
                           NFS_ATTR_FILES_AVAIL | NFS_ATTR_SPACE_AVAIL);
}

int nfs41_get_limits(struct port *p, struct nfs_compound *c)
{
    struct nfs41_store *s = nfs41_of(p);
    struct nfs_attrs attrs = {0};
    int r = nfs_get_getattr(c, &attrs);

    if (!r) {
        s->max_name = attrs.max_name;
        s->max_read = attrs.max_read;
        s->max_write = attrs.max_write;
        s->files_avail = attrs.mask & NFS_ATTR_FILES_AVAIL ? attrs.files_avail : UINT64_MAX;
        s->space_avail = attrs.mask & NFS_ATTR_SPACE_AVAIL ? attrs.space_avail : UINT64_MAX;
        s->delta_ns = attrs.time_delta_ns;
        s->has_limits = true;
    }
    return r;
}

int nfs41_ask_limits(struct port *p)
{
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &nfs41_of(p)->dirs.root.fh);
    nfs41_put_limits(c);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = nfs41_result(NULL, c, r ? r : nfs41_get_limits(p, c));
    nfs_compound_end(c);
    return r;
}

static struct attr wanted(const struct nfs41_store *s)
{
    return (struct attr){
        .mode = S_IFREG | 0640,
        .uid = s->uid,
        .gid = s->gid,
        .nlink = 1,
        .size = sizeof(text) - 1,
        .atime = {.tv_sec = 1234567890, .tv_nsec = 123456789},
        .mtime = {.tv_sec = 1234567891, .tv_nsec = 987654321},
    };
}

static int put(struct port *p, const char *name, const struct attr *attr, unsigned keep, struct attr *out)
{
    struct store_op op = {
        .code = STORE_PUBLISH, .name = name, .put = {.attr = attr, .keep = keep, .data = text, .out = out}};

    return nfs41_publish_in(p, &op, &nfs41_of(p)->dirs.root);
}

static int get(struct port *p, const char *name)
{
    char back[sizeof(text)];
    size_t len = 0;
    struct attr before;
    struct attr after;
    struct store_op op = {
        .code = STORE_READ_SMALL,
        .name = name,
        .read_small = {.buf = back, .size = sizeof(back), .out_len = &len, .before = &before, .after = &after}};
    int err = nfs41_read_small_in(p, &op, &nfs41_of(p)->dirs.root);

    if (!err && (len != sizeof(text) - 1 || memcmp(back, text, len) != 0)) {
        return -EIO;
    }
    return err;
}

/* Nobody may write here, or not now: whatever is the matter, it is told when something is to be written. */
static bool is_no_matter(int err)
{
    return err == -EACCES || err == -EPERM || err == -EROFS || err == -ENOSPC || err == -EDQUOT;
}

/* What the time stamps can hold. */
static int64_t granularity(const struct attr *want, const struct attr *seen, int64_t delta_ns)
{
    if (clock_cmp(&seen->mtime, &want->mtime) == 0) {
        return 1;
    }
    for (int64_t unit = 10; unit < NS_PER_SEC; unit *= 10) {
        if (want->mtime.tv_nsec / unit * unit == seen->mtime.tv_nsec) {
            return unit;
        }
    }
    return delta_ns > NS_PER_SEC ? delta_ns : NS_PER_SEC;
}

/* Whether the times of symbolic links can be set (Ganesha takes them and does nothing). A server that has no such links
 * says so when one is to be made. 0 or -errno. */
static int try_link(struct port *p, const struct attr *want)
{
    struct nfs41_store *s = nfs41_of(p);
    struct notices *notices = s->notices;
    struct attr attr = *want;
    struct attr seen = {0};
    char name[TEMP_NAME_MAX];
    struct store_op op = {.code = STORE_SYMLINK,
                          .name = name,
                          .put = {.attr = &attr, .keep = STORE_KEEP_TIMES, .target = "nowhere", .out = &seen}};
    struct store_op gone = {.code = STORE_REMOVE, .name = name};
    int err = temp_name_make(s->run_id, name);

    if (err) {
        return err;
    }
    attr.mode = S_IFLNK | 0777;
    s->notices = NULL; /* it is told of links that are copied */
    err = nfs41_symlink_in(p, &op, &s->dirs.root);
    s->notices = notices;
    if (err) {
        return 0;
    }
    s->head.caps.no_link_times = seen.mtime.tv_sec != want->mtime.tv_sec;
    return nfs41_remove_in(p, &gone, &s->dirs.root);
}

struct probing;

/* A file that is published and removed again. */
struct trial {
    struct probing *b;
    struct attr attr; /* of the file */
    unsigned keep;    /* STORE_KEEP_* */
    int err;          /* what came of it */
};

/* What is tried, in fibers: each thing takes round trips, and they need not wait for each other. */
struct probing {
    struct port *p;
    struct fibers *fibers;
    struct trial file;      /* the first one, which is read back as well */
    struct attr seen;       /* and as it came out */
    bool published;         /* seen is valid */
    struct trial owners[2]; /* then others: with another owner, and with what is our own */
    bool owners_begun;      /* these are valid */
    int limits_err;         /* of asking for its limits */
    int link_err;           /* of the symbolic link */
    bool writes;            /* files and link are tried */
    bool *ending;           /* nfs41_probe's */
    unsigned alive;         /* fibers of it */
    int err;                /* -ENOMEM: one of them did not begin */
    struct io_event over;   /* alive is 0 */
};

/* From the thread's own stack. */
static void begin(struct probing *b, void (*fn)(void *arg), void *arg)
{
    int err;

    b->alive++; /* it may be over at once */
    err = fiber_start(b->fibers, fn, arg);
    if (err) {
        b->alive--;
        b->err = err;
    }
}

/* The last thing that each of them does. */
static void end(struct probing *b)
{
    b->alive--;
    if (b->alive == 0) {
        io_event_set(b->p->io, &b->over);
    }
}

static void begin_owners(void *arg);

/* Under name. 0 or -errno. */
static int try_once(struct trial *t, const char *name)
{
    struct probing *b = t->b;
    struct nfs41_store *s = nfs41_of(b->p);
    struct store_op gone = {.code = STORE_REMOVE, .name = name};
    bool first = t == &b->file;
    int err = put(b->p, name, &t->attr, t->keep, first ? &b->seen : NULL);
    int removed;

    if (err) {
        return err == -EPERM && !first ? 0 : err; /* with --owner=require each file will say so */
    }
    if (first) {
        b->published = true;
        s->uid = b->seen.uid;
        s->gid = s->dirs.root.inherits ? s->gid : b->seen.gid;
        if (!b->owners_begun && s->owning.privileged && s->owning.owner != OWNER_IGNORE) {
            io_outside(b->p->io, begin_owners, b);
        }
        err = get(b->p, name);
    }
    *b->ending = true;
    removed = nfs41_remove_in(b->p, &gone, &s->dirs.root);
    return err ? err : removed;
}

static void try_file(void *arg)
{
    struct trial *t = arg;
    struct port *p = t->b->p;
    char name[TEMP_NAME_MAX];
    struct store_op gone = {.code = STORE_REMOVE, .name = name};

    t->err = -NFS_LOST;
    for (unsigned n = 0; n < TRIES && t->err == -NFS_LOST; n++) {
        int err = temp_name_make(nfs41_of(p)->run_id, name);
        t->err = err ? err : try_once(t, name);
        if (t->err == -NFS_LOST) {
            /* The server was restarted meanwhile, and it is not known what it has carried out. */
            (void)nfs41_remove_in(p, &gone, &nfs41_of(p)->dirs.root);
        }
    }
    end(t->b);
}

/* Once it is known who owns what we make: whether owners can be set, also to the one that it has already, whom the
 * server may know by name. */
static void begin_owners(void *arg)
{
    struct probing *b = arg;
    const struct nfs41_store *s = nfs41_of(b->p);

    b->owners_begun = true;
    for (unsigned i = 0; i < 2; i++) {
        struct trial *t = &b->owners[i];
        *t = (struct trial){.b = b, .attr = b->file.attr, .keep = STORE_KEEP_ALL};
        t->attr.uid = i == 0 ? OTHER_ID : s->uid;
        t->attr.gid = i == 0 ? OTHER_ID : s->gid;
        begin(b, try_file, t);
    }
}

static void probe_rest(void *arg)
{
    struct probing *b = arg;

    b->limits_err = nfs41_of(b->p)->has_limits ? 0 : nfs41_ask_limits(b->p);
    for (unsigned n = 1; n < TRIES && b->limits_err == -NFS_LOST; n++) {
        b->limits_err = nfs41_ask_limits(b->p);
    }
    for (unsigned n = 0; n < TRIES && (n == 0 || b->link_err == -NFS_LOST); n++) {
        b->link_err = !b->limits_err && b->writes ? try_link(b->p, &b->file.attr) : 0;
    }
    end(b);
}

static void begin_all(void *arg)
{
    struct probing *b = arg;

    if (b->writes) {
        begin(b, try_file, &b->file);
    }
    begin(b, probe_rest, b);
}

/* What came of the files. 0 or -errno. */
static int files_err(const struct probing *b)
{
    int err = b->file.err;

    err = err ? err : b->owners[0].err;
    return err ? err : b->owners[1].err;
}

int nfs41_probe(struct port *p, const struct nfs41_options *nfs, struct fibers *fibers, bool *ending, char **problem)
{
    struct nfs41_store *s = nfs41_of(p);
    struct probing b = {.p = p,
                        .fibers = fibers,
                        .ending = ending,
                        .file = {.b = &b, .attr = wanted(s), .keep = STORE_KEEP_MODE | STORE_KEEP_TIMES},
                        .writes = !nfs->read_only && s->dirs.side == DIR_DST};
    int err;

    *ending = false;
    io_outside(p->io, begin_all, &b);
    while (b.alive > 0) {
        (void)io_event_wait(p->io, &b.over, INT64_MAX);
    }
    err = b.err ? b.err : b.limits_err;
    if (err || !b.writes) {
        return err;
    }
    s->head.caps.root_stirred = true;
    if (b.published) {
        s->head.caps.time_granularity_ns = granularity(&b.file.attr, &b.seen, s->delta_ns);
    }
    if (is_no_matter(b.file.err) && !b.published) {
        return 0;
    }
    err = files_err(&b);
    err = err ? err : b.link_err;
    if (err && !*problem &&
        asprintf(problem,
                 "a file that haul made to try the server out could not be published, read and removed as it should: "
                 "%s",
                 err_text(err)) < 0) {
        *problem = NULL;
    }
    return err;
}
