/*
 * nfs3_dirs: how a directory is reached: by walking down from the nearest one that is known, one level at a time
 * (nfs_dirs.h). On the way down the type of each component is looked at.
 */
#include <errno.h>
#include <sys/stat.h>

#include "workers/stores/nfs3/nfs3_internal.h"

/* One level down from *at, which is there then. 0 or -errno; -ESTALE: its handle was. */
static int look_up(struct port *p, struct nfs_dir *at, struct dir *dir)
{
    struct nfs_dir found = {0};
    struct attr attr = {0};
    int r = nfs3_lookup(p, &at->fh, dir->name, &found.fh, &attr);

    if (r) {
        return nfs3_is_stale(r) ? -ESTALE : nfs3_result(r);
    }
    if (!S_ISDIR(attr.mode)) {
        return S_ISLNK(attr.mode) ? -ELOOP : -ENOTDIR;
    }
    found.inherits = (attr.mode & S_ISGID) != 0;
    *at = found;
    return nfs_dirs_keep(&nfs3_of(p)->dirs, dir, at);
}

/* The root itself, when its handle is stale or not known. */
static int look_up_root(struct port *p, struct dir *root, struct nfs_dir *out)
{
    int err = nfs3_path_walk(p, NULL, out, NULL, NULL);

    return err ? err : nfs_dirs_keep(&nfs3_of(p)->dirs, root, out);
}

int nfs3_dirs_walk(struct port *p, struct dir *dir, struct nfs_dir *out)
{
    struct nfs_dirs *d = &nfs3_of(p)->dirs;

    for (;;) {
        struct dir *next = NULL; /* one level below from */
        struct nfs_dir from;
        size_t depth = 0;
        struct dir *at = dir;
        int err;

        if (!nfs_dirs_near(d, &at, &next, 1, &depth, &from)) {
            err = look_up_root(p, at, &from);
        } else if (depth == 0) {
            *out = from;
            return 0;
        } else if (nfs_dirs_take(d, &from, next->name, &from)) {
            err = nfs_dirs_keep(d, next, &from);
        } else {
            struct nfs_dir above = from;

            err = look_up(p, &from, next);
            if (err == -ESTALE) {
                nfs_dirs_forget(d, at, &above);
            }
        }
        if (err) {
            return err;
        }
    }
}

void nfs3_dir_release(struct store *store, struct dir *dir)
{
    nfs_dirs_drop(&((struct nfs3_store *)store)->dirs, dir);
}

int nfs3_in_dir(struct port *p, struct store_op *op, struct dir *dir, bool makes,
                int (*fn)(struct port *p, struct store_op *op, const struct nfs_dir *dir))
{
    return nfs_dirs_run(&nfs3_of(p)->dirs, p, op, dir, makes, fn);
}
