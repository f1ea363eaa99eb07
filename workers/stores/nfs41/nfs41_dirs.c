/*
 * nfs41_dirs: how a directory is reached: by walking down from the nearest one that is known, many levels in one
 * COMPOUND (nfs_dirs.h). On the way down the type of each component is looked at.
 */
#include <errno.h>
#include <sys/stat.h>

#include "workers/stores/nfs41/nfs41_internal.h"

#define LEVELS    24U /* looked up in one COMPOUND: names of 255 bytes fit in */
#define LEVEL_OPS 3U  /* LOOKUP, GETATTR, GETFH */
#define OTHER_OPS 2U  /* SEQUENCE, PUTFH */

void nfs41_put_level(struct nfs_compound *c, const char *name)
{
    nfs_put_lookup(c, name);
    nfs_put_getattr(c, NFS_ATTR_TYPE | NFS_ATTR_MODE);
    nfs_put_getfh(c);
}

int nfs41_get_level(struct port *p, struct nfs_compound *c, struct nfs_dir *out)
{
    struct attr attr;
    int r = nfs_get_plain(c, NFS_OP_LOOKUP);

    r = r ? r : nfs41_get_attr(p, c, &attr);
    if (r) {
        return r;
    }
    if (!S_ISDIR(attr.mode)) {
        return S_ISLNK(attr.mode) ? -ELOOP : -ENOTDIR;
    }
    out->inherits = (attr.mode & S_ISGID) != 0;
    return nfs_get_getfh(c, &out->fh);
}

/* From at, down n levels to chain[n - 1]; at is there then. 0, -errno; -ESTALE: a handle on the way was. */
static int look_up(struct port *p, struct nfs_dir *at, struct dir *const *chain, size_t n)
{
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &at->fh);
    for (size_t i = 0; i < n; i++) {
        nfs41_put_level(c, chain[i]->name);
    }
    nfs_compound_expect(c, 1024 + n * 256);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    for (size_t i = 0; i < n && !r; i++) {
        r = nfs41_get_level(p, c, at);
        r = r ? r : nfs_dirs_keep(&nfs41_of(p)->dirs, chain[i], at);
    }
    r = r > 0 && nfs41_is_stale((uint32_t)r) ? -ESTALE : nfs41_result(NULL, c, r);
    nfs_compound_end(c);
    return r;
}

/* The root itself, when its handle is stale. */
static int look_up_root(struct port *p, struct dir *root, struct nfs_dir *out)
{
    int err = nfs41_path_walk(p, NULL, out, NULL, NULL);

    return err ? err : nfs_dirs_keep(&nfs41_of(p)->dirs, root, out);
}

/* Levels that one COMPOUND can look up. */
static size_t levels_at_once(struct port *p)
{
    struct nfs_limits limits;
    size_t n;

    nfs41_limits(p, &limits);
    n = limits.max_ops > OTHER_OPS + LEVEL_OPS ? (limits.max_ops - OTHER_OPS) / LEVEL_OPS : 1;
    return n < LEVELS ? n : LEVELS;
}

int nfs41_dirs_walk(struct port *p, struct dir *dir, struct nfs_dir *out)
{
    struct nfs_dirs *d = &nfs41_of(p)->dirs;
    size_t at_once = levels_at_once(p);

    for (;;) {
        struct dir *chain[LEVELS];
        struct nfs_dir from;
        size_t depth = 0;
        struct dir *at = dir;
        int err;

        if (!nfs_dirs_near(d, &at, chain, LEVELS, &depth, &from)) {
            err = look_up_root(p, at, &from);
        } else if (depth == 0) {
            *out = from;
            return 0;
        } else if (nfs_dirs_take(d, &from, chain[(depth - 1) % LEVELS]->name, &from)) {
            err = nfs_dirs_keep(d, chain[(depth - 1) % LEVELS], &from);
        } else {
            struct dir *down[LEVELS];
            size_t n = depth < at_once ? depth : at_once;

            for (size_t i = 0; i < n; i++) {
                down[i] = chain[(depth - 1 - i) % LEVELS];
            }
            err = look_up(p, &from, down, n);
            if (err == -ESTALE) {
                nfs_dirs_forget(d, at, &from);
            } else if (!err && n == depth) {
                *out = from;
                return 0;
            }
        }
        if (err) {
            return err;
        }
    }
}

void nfs41_dir_release(struct store *store, struct dir *dir)
{
    nfs_dirs_drop(&((struct nfs41_store *)store)->dirs, dir);
}

int nfs41_in_dir(struct port *p, struct store_op *op, struct dir *dir, bool makes,
                 int (*fn)(struct port *p, struct store_op *op, const struct nfs_dir *dir))
{
    return nfs_dirs_run(&nfs41_of(p)->dirs, p, op, dir, makes, fn);
}
