/*
 * nfs3_dirs: handles of directories: looked up by walking down from the nearest one that is known, kept in the nodes,
 * forgotten when they are stale.
 *
 * A handle stands for one directory, whatever becomes of its name: nothing that was swapped in is followed. On the way
 * down the type of each component is looked at. The lock is held for moments only; two threads may look up the same
 * directory at a time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "workers/stores/nfs3/nfs3_internal.h"

#define STALE_TRIES 4 /* walks from further up, after a stale handle on the way */

static struct dir_handle *handle_of(const struct nfs3_store *s, struct dir *dir)
{
    return &dir->handle[s->side];
}

/* With the lock: what is known of dir; NULL: nothing. */
static struct nfs3_dir *known(struct nfs3_store *s, struct dir *dir)
{
    if (!dir->parent) {
        return s->root.fh.len > 0 ? &s->root : NULL;
    }
    return handle_of(s, dir)->data;
}

static bool same_fh(const struct nfs3_fh *a, const struct nfs3_fh *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static int keep(struct nfs3_store *s, struct dir *dir, const struct nfs3_dir *found)
{
    struct nfs3_dir *mine = NULL;

    if (dir->parent) {
        mine = malloc(sizeof(*mine));
        if (!mine) {
            return -ENOMEM;
        }
        *mine = *found;
    }
    pthread_mutex_lock(&s->lock);
    if (!dir->parent) {
        s->root = *found;
    } else if (!handle_of(s, dir)->data) {
        handle_of(s, dir)->data = mine;
        mine = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    free(mine);
    return 0;
}

void nfs3_dir_forget(struct nfs3_store *s, struct dir *dir, const struct nfs3_dir *seen)
{
    struct nfs3_dir *gone = NULL;

    pthread_mutex_lock(&s->lock);
    if (!dir->parent) {
        if (same_fh(&s->root.fh, &seen->fh)) {
            s->root.fh.len = 0;
        }
    } else {
        struct dir_handle *h = handle_of(s, dir);

        if (h->data && same_fh(&((struct nfs3_dir *)h->data)->fh, &seen->fh)) {
            gone = h->data;
            h->data = NULL;
        }
    }
    pthread_mutex_unlock(&s->lock);
    free(gone);
}

void nfs3_dir_note_mode(struct nfs3_store *s, struct dir *dir, mode_t mode)
{
    struct nfs3_dir *d;

    pthread_mutex_lock(&s->lock);
    d = known(s, dir);
    if (d) {
        d->inherits = (mode & S_ISGID) != 0;
    }
    pthread_mutex_unlock(&s->lock);
}

void nfs3_dir_release(struct store *store, struct dir *dir)
{
    struct nfs3_store *s = (struct nfs3_store *)store;
    void *gone;

    pthread_mutex_lock(&s->lock);
    gone = handle_of(s, dir)->data;
    handle_of(s, dir)->data = NULL;
    pthread_mutex_unlock(&s->lock);
    free(gone);
}

/* ---- directories that were just made ---- */

#define MADE     1024U /* remembered at a time, by a hash */
#define MADE_LEN 256U  /* bytes of a name with its NUL; longer ones are looked up */

/* Until it is asked for, once: after that the node has the handle. */
struct nfs3_made {
    struct nfs3_fh parent; /* len 0: nothing here */
    struct nfs3_dir dir;
    char name[MADE_LEN];
};

static unsigned made_slot(const struct nfs3_fh *parent, const char *name)
{
    return (unsigned)(XXH3_64bits_withSeed(name, strlen(name), XXH3_64bits(parent->data, parent->len)) % MADE);
}

void nfs3_dir_made(struct nfs3_store *s, const struct nfs3_dir *dir, const char *name, const struct nfs3_dir *made)
{
    struct nfs3_made *m;

    if (strlen(name) >= MADE_LEN) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    if (!s->made_dirs) {
        s->made_dirs = calloc(MADE, sizeof(*s->made_dirs));
    }
    if (s->made_dirs) {
        m = &s->made_dirs[made_slot(&dir->fh, name)];
        m->parent = dir->fh;
        m->dir = *made;
        memcpy(m->name, name, strlen(name) + 1);
    }
    pthread_mutex_unlock(&s->lock);
}

/* Whether name was made in parent lately; forgets it then. */
static bool made_take(struct nfs3_store *s, const struct nfs3_dir *parent, const char *name, struct nfs3_dir *out)
{
    struct nfs3_made *m;
    bool found;

    pthread_mutex_lock(&s->lock);
    m = s->made_dirs ? &s->made_dirs[made_slot(&parent->fh, name)] : NULL;
    found = m && same_fh(&m->parent, &parent->fh) && strcmp(m->name, name) == 0;
    if (found) {
        *out = m->dir;
        m->parent.len = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* ---- looked up ---- */

/* One level down from *at, which is there then. 0 or -errno; -ESTALE: its handle was. */
static int look_up(struct port *p, struct nfs3_dir *at, struct dir *dir)
{
    struct nfs3_dir found = {0};
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
    return keep(nfs3_of(p), dir, at);
}

/* The root itself, when its handle is stale or not known. */
static int look_up_root(struct port *p, struct dir *root, struct nfs3_dir *out)
{
    int err = nfs3_path_walk(p, NULL, out, NULL, NULL);

    return err ? err : keep(nfs3_of(p), root, out);
}

/* Down from the nearest ancestor that is known, one level at a time. */
static int walk_down(struct port *p, struct dir *dir, struct nfs3_dir *out)
{
    struct nfs3_store *s = nfs3_of(p);

    for (;;) {
        struct dir *next = NULL; /* one level below from */
        struct dir *at = dir;
        struct nfs3_dir from = {0};
        struct nfs3_dir *near;
        int err;

        pthread_mutex_lock(&s->lock);
        while (!(near = known(s, at)) && at->parent) {
            next = at;
            at = at->parent;
        }
        from = near ? *near : from;
        pthread_mutex_unlock(&s->lock);
        if (!near) {
            err = look_up_root(p, at, &from);
        } else if (!next) {
            *out = from;
            return 0;
        } else if (made_take(s, &from, next->name, &from)) {
            err = keep(s, next, &from);
        } else {
            struct nfs3_dir above = from;

            err = look_up(p, &from, next);
            if (err == -ESTALE) {
                nfs3_dir_forget(s, at, &above);
            }
        }
        if (err) {
            return err;
        }
    }
}

int nfs3_dir_get(struct port *p, struct dir *dir, struct nfs3_dir *out)
{
    struct nfs3_store *s = nfs3_of(p);
    struct nfs3_dir *there;
    int err = -ESTALE;

    pthread_mutex_lock(&s->lock);
    there = known(s, dir);
    if (there) {
        *out = *there;
    }
    pthread_mutex_unlock(&s->lock);
    if (there) {
        return 0;
    }
    for (unsigned i = 0; i < STALE_TRIES && err == -ESTALE; i++) {
        err = walk_down(p, dir, out);
    }
    return err;
}

int nfs3_in_dir(struct port *p, struct store_op *op, struct dir *dir, bool makes,
                int (*fn)(struct port *p, struct store_op *op, const struct nfs3_dir *dir))
{
    for (unsigned tries = 0;; tries++) {
        struct nfs3_dir d;
        int err = nfs3_dir_get(p, dir, &d);

        if (err) {
            return err;
        }
        err = fn(p, op, &d);
        if (store_op_guarded(op)) {
            return err; /* about an entry, not about the directory's handle */
        }
        if (err == -ESTALE || (makes && err == -ENOENT)) {
            nfs3_dir_forget(nfs3_of(p), dir, &d);
        }
        if (err != -ESTALE || tries > 0) {
            return err;
        }
        op->step = NULL;
    }
}
