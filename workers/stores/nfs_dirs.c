/*
 * nfs_dirs: handles of directories, kept in the nodes (nfs_dirs.h).
 */
#include "workers/stores/nfs_dirs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#define STALE_TRIES 4 /* walks from further up, after a stale handle on the way */

void nfs_dirs_init(struct nfs_dirs *d, enum dir_side side, nfs_dirs_walk walk)
{
    *d = (struct nfs_dirs){.side = side, .walk = walk};
    pthread_mutex_init(&d->lock, NULL);
}

void nfs_dirs_release(struct nfs_dirs *d)
{
    free(d->made);
    pthread_mutex_destroy(&d->lock);
}

static struct dir_handle *handle_of(const struct nfs_dirs *d, struct dir *dir)
{
    return &dir->handle[d->side];
}

/* With the lock: what is known of dir; NULL: nothing. */
static struct nfs_dir *known(struct nfs_dirs *d, struct dir *dir)
{
    if (!dir->parent) {
        return d->root.fh.len > 0 ? &d->root : NULL;
    }
    return handle_of(d, dir)->data;
}

static bool same_fh(const struct nfs_fh *a, const struct nfs_fh *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

int nfs_dirs_keep(struct nfs_dirs *d, struct dir *dir, const struct nfs_dir *found)
{
    struct nfs_dir *mine = NULL;

    if (dir->parent) {
        mine = malloc(sizeof(*mine));
        if (!mine) {
            return -ENOMEM;
        }
        *mine = *found;
    }
    pthread_mutex_lock(&d->lock);
    if (!dir->parent) {
        d->root = *found;
    } else if (!handle_of(d, dir)->data) {
        handle_of(d, dir)->data = mine;
        mine = NULL;
    }
    pthread_mutex_unlock(&d->lock);
    free(mine);
    return 0;
}

void nfs_dirs_forget(struct nfs_dirs *d, struct dir *dir, const struct nfs_dir *seen)
{
    struct nfs_dir *gone = NULL;

    pthread_mutex_lock(&d->lock);
    if (!dir->parent) {
        if (same_fh(&d->root.fh, &seen->fh)) {
            d->root.fh.len = 0;
        }
    } else {
        struct dir_handle *h = handle_of(d, dir);

        if (h->data && same_fh(&((struct nfs_dir *)h->data)->fh, &seen->fh)) {
            gone = h->data;
            h->data = NULL;
        }
    }
    pthread_mutex_unlock(&d->lock);
    free(gone);
}

void nfs_dirs_note_mode(struct nfs_dirs *d, struct dir *dir, mode_t mode)
{
    struct nfs_dir *there;

    pthread_mutex_lock(&d->lock);
    there = known(d, dir);
    if (there) {
        there->inherits = (mode & S_ISGID) != 0;
    }
    pthread_mutex_unlock(&d->lock);
}

void nfs_dirs_drop(struct nfs_dirs *d, struct dir *dir)
{
    void *gone;

    pthread_mutex_lock(&d->lock);
    gone = handle_of(d, dir)->data;
    handle_of(d, dir)->data = NULL;
    pthread_mutex_unlock(&d->lock);
    free(gone);
}

/* ---- directories that were just made ---- */

#define MADE     1024U /* remembered at a time, by a hash */
#define MADE_LEN 256U  /* bytes of a name with its NUL; longer ones are looked up */

/* Until it is asked for, once: after that the node has the handle. */
struct nfs_made {
    struct nfs_fh parent; /* len 0: nothing here */
    struct nfs_dir dir;
    char name[MADE_LEN];
};

static unsigned made_slot(const struct nfs_fh *parent, const char *name)
{
    return (unsigned)(XXH3_64bits_withSeed(name, strlen(name), XXH3_64bits(parent->data, parent->len)) % MADE);
}

void nfs_dirs_made(struct nfs_dirs *d, const struct nfs_dir *dir, const char *name, const struct nfs_dir *made)
{
    struct nfs_made *m;

    if (strlen(name) >= MADE_LEN) {
        return;
    }
    pthread_mutex_lock(&d->lock);
    if (!d->made) {
        d->made = calloc(MADE, sizeof(*d->made));
    }
    if (d->made) {
        m = &d->made[made_slot(&dir->fh, name)];
        m->parent = dir->fh;
        m->dir = *made;
        memcpy(m->name, name, strlen(name) + 1);
    }
    pthread_mutex_unlock(&d->lock);
}

bool nfs_dirs_take(struct nfs_dirs *d, const struct nfs_dir *parent, const char *name, struct nfs_dir *out)
{
    struct nfs_made *m;
    bool found;

    pthread_mutex_lock(&d->lock);
    m = d->made ? &d->made[made_slot(&parent->fh, name)] : NULL;
    found = m && same_fh(&m->parent, &parent->fh) && strcmp(m->name, name) == 0;
    if (found) {
        *out = m->dir;
        m->parent.len = 0;
    }
    pthread_mutex_unlock(&d->lock);
    return found;
}

/* ---- looked up ---- */

bool nfs_dirs_known(struct nfs_dirs *d, struct dir *dir, struct nfs_dir *out)
{
    struct nfs_dir *there;

    pthread_mutex_lock(&d->lock);
    there = known(d, dir);
    if (there) {
        *out = *there;
    }
    pthread_mutex_unlock(&d->lock);
    return there != NULL;
}

bool nfs_dirs_near(struct nfs_dirs *d, struct dir **at, struct dir **chain, size_t size, size_t *out_depth,
                   struct nfs_dir *out)
{
    struct nfs_dir *near;
    size_t depth = 0;

    pthread_mutex_lock(&d->lock);
    while (!(near = known(d, *at)) && (*at)->parent) {
        chain[depth++ % size] = *at;
        *at = (*at)->parent;
    }
    *out = near ? *near : (struct nfs_dir){0};
    pthread_mutex_unlock(&d->lock);
    *out_depth = depth;
    return near != NULL;
}

int nfs_dirs_get(struct nfs_dirs *d, struct port *p, struct dir *dir, struct nfs_dir *out)
{
    int err = -ESTALE;

    if (nfs_dirs_known(d, dir, out)) {
        return 0;
    }
    for (unsigned i = 0; i < STALE_TRIES && err == -ESTALE; i++) {
        err = d->walk(p, dir, out);
    }
    return err;
}

int nfs_dirs_run(struct nfs_dirs *d, struct port *p, struct store_op *op, struct dir *dir, bool makes,
                 int (*fn)(struct port *p, struct store_op *op, const struct nfs_dir *dir))
{
    for (unsigned tries = 0;; tries++) {
        struct nfs_dir there;
        int err = nfs_dirs_get(d, p, dir, &there);

        if (err) {
            return err;
        }
        err = fn(p, op, &there);
        if (store_op_guarded(op)) {
            return err; /* about an entry, not about the directory's handle */
        }
        if (err == -ESTALE || (makes && err == -ENOENT)) {
            nfs_dirs_forget(d, dir, &there);
        }
        if (err != -ESTALE || tries > 0) {
            return err;
        }
        op->step = NULL;
    }
}
