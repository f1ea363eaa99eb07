/*
 * nfs3_probe: what the server can do: as it tells (FSINFO, FSSTAT, PATHCONF), and found out with a file of the store's
 * own.
 *
 * The file is published as any other, under a temp name in the root, so that what is found out is what is used: each
 * refusal is judged as it is for any file, and the store steps down. It is read back and removed again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/errs.h"
#include "workers/stores/nfs3/nfs3_internal.h"

#define OTHER_ID 1 /* an owner that is not us, to see whether owners can be set */

static const char text[] = "haul looks at what this server can do; this file may be removed\n";

/* FSSTAT and PATHCONF may be refused. */
int nfs3_ask_limits(struct port *p)
{
    struct nfs3_store *s = nfs3_of(p);
    struct nfs3_req info = {.proc = V3_FSINFO, .fh = &s->dirs.root.fh};
    struct nfs3_req space = {.proc = V3_FSSTAT, .fh = &s->dirs.root.fh};
    struct nfs3_req path = {.proc = V3_PATHCONF, .fh = &s->dirs.root.fh};
    int r = nfs3_call(p, &info);

    if (r) {
        return nfs3_result(r);
    }
    s->info = info.info;
    r = nfs3_call(p, &space);
    if (r < 0) {
        return r;
    }
    s->space_avail = r ? UINT64_MAX : space.space_avail;
    s->files_avail = r ? UINT64_MAX : space.files_avail;
    r = nfs3_call(p, &path);
    if (r < 0) {
        return r;
    }
    s->name_max = r ? 0 : path.name_max;
    s->link_max = r ? 0 : path.link_max;
    return 0;
}

static struct attr wanted(const struct nfs3_store *s)
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

    return nfs3_publish_in(p, &op, &nfs3_of(p)->dirs.root);
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
    int err = nfs3_read_small_in(p, &op, &nfs3_of(p)->dirs.root);

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

/* With the file there under name. 0 or -errno. */
static int look_at(struct port *p, const char *name, const struct attr *want, const struct attr *seen)
{
    struct nfs3_store *s = nfs3_of(p);
    struct attr other = *want;
    int err;

    s->uid = seen->uid;
    s->gid = s->dirs.root.inherits ? s->gid : seen->gid;
    s->head.caps.time_granularity_ns = granularity(want, seen, s->info.delta_ns);
    if (s->owning.privileged && s->owning.owner != OWNER_IGNORE) {
        other.uid = other.gid = OTHER_ID;
        err = put(p, name, &other, STORE_KEEP_ALL, NULL);
        if (err && err != -EPERM) { /* with --owner=require each file will say so */
            return err;
        }
    }
    return get(p, name);
}

/* Whether the times of symbolic links can be set (Ganesha takes them and does nothing). A server that has no such links
 * says so when one is to be made. 0 or -errno. */
static int try_link(struct port *p, const struct attr *want)
{
    struct nfs3_store *s = nfs3_of(p);
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
    err = nfs3_put_in(p, &op, &s->dirs.root);
    s->notices = notices;
    if (err) {
        return 0;
    }
    s->head.caps.no_link_times = seen.mtime.tv_sec != want->mtime.tv_sec;
    return nfs3_remove_in(p, &gone, &s->dirs.root);
}

/* With a file and a link of our own. 0 or -errno. */
static int try_out(struct port *p)
{
    struct nfs3_store *s = nfs3_of(p);
    struct attr want = wanted(s);
    struct attr seen = {0};
    char name[TEMP_NAME_MAX];
    struct store_op gone = {.code = STORE_REMOVE, .name = name};
    int err = temp_name_make(s->run_id, name);
    int removed;

    err = err ? err : put(p, name, &want, STORE_KEEP_MODE | STORE_KEEP_TIMES, &seen);
    if (err) {
        return is_no_matter(err) ? 0 : err;
    }
    err = look_at(p, name, &want, &seen);
    removed = nfs3_remove_in(p, &gone, &s->dirs.root);
    err = err ? err : removed;
    return err ? err : try_link(p, &want);
}

/* The root's times as they were: whoever tries a server out need not change anything else there. 0 or -errno. */
static int calm(struct port *p, const struct attr *before)
{
    struct store_op op = {.code = STORE_SETATTR, .setattr = {.attr = before, .keep = STORE_KEEP_TIMES}};
    int err = nfs3_setattr_in(p, &op, &nfs3_of(p)->dirs.root);

    return is_no_matter(err) ? 0 : err;
}

int nfs3_probe(struct port *p, const struct nfs3_options *nfs, char **problem)
{
    struct attr before = {0};
    int err;
    int calmed;

    if (nfs->read_only || nfs3_of(p)->dirs.side != DIR_DST) {
        return 0;
    }
    err = nfs3_getattr(p, &nfs3_of(p)->dirs.root.fh, &before);
    if (err) {
        return err;
    }
    err = try_out(p);
    calmed = calm(p, &before);
    err = err ? err : calmed;
    if (err && !*problem &&
        asprintf(problem,
                 "a file that haul made to try the server out could not be published, read and removed as it should: "
                 "%s",
                 err_text(err)) < 0) {
        *problem = NULL;
    }
    return err;
}
