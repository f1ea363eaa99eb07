/*
 * nfs41_dirs: handles of directories: looked up by walking down from the nearest one that is known, kept in the nodes,
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

#include "workers/stores/nfs41/nfs41_internal.h"

#define LEVELS      24U /* looked up in one COMPOUND: names of 255 bytes fit in */
#define LEVEL_OPS   3U  /* LOOKUP, GETATTR, GETFH */
#define OTHER_OPS   2U  /* SEQUENCE, PUTFH */
#define STALE_TRIES 4   /* walks from further up, after a stale handle on the way */

static struct dir_handle *handle_of(const struct nfs41_store *s, struct dir *dir)
{
    return &dir->handle[s->side];
}

/* With the lock: what is known of dir; NULL: nothing. */
static struct nfs41_dir *known(struct nfs41_store *s, struct dir *dir)
{
    if (!dir->parent) {
        return s->root.fh.len > 0 ? &s->root : NULL;
    }
    return handle_of(s, dir)->data;
}

static bool same_fh(const struct nfs_fh *a, const struct nfs_fh *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

int nfs41_dir_keep(struct nfs41_store *s, struct dir *dir, const struct nfs41_dir *found)
{
    struct nfs41_dir *mine = NULL;

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

void nfs41_dir_forget(struct nfs41_store *s, struct dir *dir, const struct nfs41_dir *seen)
{
    struct nfs41_dir *gone = NULL;

    pthread_mutex_lock(&s->lock);
    if (!dir->parent) {
        if (same_fh(&s->root.fh, &seen->fh)) {
            s->root.fh.len = 0;
        }
    } else {
        struct dir_handle *h = handle_of(s, dir);

        if (h->data && same_fh(&((struct nfs41_dir *)h->data)->fh, &seen->fh)) {
            gone = h->data;
            h->data = NULL;
        }
    }
    pthread_mutex_unlock(&s->lock);
    free(gone);
}

void nfs41_dir_note_mode(struct nfs41_store *s, struct dir *dir, mode_t mode)
{
    struct nfs41_dir *d;

    pthread_mutex_lock(&s->lock);
    d = known(s, dir);
    if (d) {
        d->inherits = (mode & S_ISGID) != 0;
    }
    pthread_mutex_unlock(&s->lock);
}

void nfs41_dir_release(struct store *store, struct dir *dir)
{
    struct nfs41_store *s = (struct nfs41_store *)store;
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
struct nfs41_made {
    struct nfs_fh parent; /* len 0: nothing here */
    struct nfs41_dir dir;
    char name[MADE_LEN];
};

static unsigned made_slot(const struct nfs_fh *parent, const char *name)
{
    return (unsigned)(XXH3_64bits_withSeed(name, strlen(name), XXH3_64bits(parent->data, parent->len)) % MADE);
}

void nfs41_dir_made(struct nfs41_store *s, const struct nfs41_dir *dir, const char *name, const struct nfs41_dir *made)
{
    struct nfs41_made *m;

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
static bool made_take(struct nfs41_store *s, const struct nfs41_dir *parent, const char *name, struct nfs41_dir *out)
{
    struct nfs41_made *m;
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

void nfs41_put_level(struct nfs_compound *c, const char *name)
{
    nfs_put_lookup(c, name);
    nfs_put_getattr(c, NFS_ATTR_TYPE | NFS_ATTR_MODE);
    nfs_put_getfh(c);
}

int nfs41_get_level(struct port *p, struct nfs_compound *c, struct nfs41_dir *out)
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
static int look_up(struct port *p, struct nfs41_dir *at, struct dir *const *chain, size_t n)
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
        r = r ? r : nfs41_dir_keep(nfs41_of(p), chain[i], at);
    }
    r = r > 0 && nfs41_is_stale((uint32_t)r) ? -ESTALE : nfs41_result(NULL, c, r);
    nfs_compound_end(c);
    return r;
}

/* The root itself, when its handle is stale. */
static int look_up_root(struct port *p, struct dir *root, struct nfs41_dir *out)
{
    int err = nfs41_path_walk(p, NULL, out, NULL, NULL);

    return err ? err : nfs41_dir_keep(nfs41_of(p), root, out);
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

/* Down from the nearest ancestor that is known. */
static int walk_down(struct port *p, struct dir *dir, struct nfs41_dir *out)
{
    struct nfs41_store *s = nfs41_of(p);
    size_t at_once = levels_at_once(p);

    for (;;) {
        struct dir *chain[LEVELS];
        struct nfs41_dir from;
        struct nfs41_dir *near;
        struct dir *at = dir;
        size_t depth = 0;
        int err;

        pthread_mutex_lock(&s->lock);
        while (!(near = known(s, at)) && at->parent) {
            chain[depth++ % LEVELS] = at; /* of a long way the upper end stays */
            at = at->parent;
        }
        from = near ? *near : (struct nfs41_dir){0};
        pthread_mutex_unlock(&s->lock);
        if (!near) {
            err = look_up_root(p, at, &from);
        } else if (depth == 0) {
            *out = from;
            return 0;
        } else if (made_take(s, &from, chain[(depth - 1) % LEVELS]->name, &from)) {
            err = nfs41_dir_keep(s, chain[(depth - 1) % LEVELS], &from);
        } else {
            struct dir *down[LEVELS];
            size_t n = depth < at_once ? depth : at_once;

            for (size_t i = 0; i < n; i++) {
                down[i] = chain[(depth - 1 - i) % LEVELS];
            }
            err = look_up(p, &from, down, n);
            if (err == -ESTALE) {
                nfs41_dir_forget(s, at, &from);
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

bool nfs41_dir_known(struct nfs41_store *s, struct dir *dir, struct nfs41_dir *out)
{
    struct nfs41_dir *there;

    pthread_mutex_lock(&s->lock);
    there = known(s, dir);
    if (there) {
        *out = *there;
    }
    pthread_mutex_unlock(&s->lock);
    return there != NULL;
}

int nfs41_dir_get(struct port *p, struct dir *dir, struct nfs41_dir *out)
{
    int err = -ESTALE;

    if (nfs41_dir_known(nfs41_of(p), dir, out)) {
        return 0;
    }
    for (unsigned i = 0; i < STALE_TRIES && err == -ESTALE; i++) {
        err = walk_down(p, dir, out);
    }
    return err;
}

int nfs41_in_dir(struct port *p, struct store_op *op, struct dir *dir, bool makes,
                 int (*fn)(struct port *p, struct store_op *op, const struct nfs41_dir *dir))
{
    for (unsigned tries = 0;; tries++) {
        struct nfs41_dir d;
        int err = nfs41_dir_get(p, dir, &d);

        if (err) {
            return err;
        }
        err = fn(p, op, &d);
        if (store_op_guarded(op)) {
            return err; /* about an entry, not about the directory's handle */
        }
        if (err == -ESTALE || (makes && err == -ENOENT)) {
            nfs41_dir_forget(nfs41_of(p), dir, &d);
        }
        if (err != -ESTALE || tries > 0) {
            return err;
        }
        op->step = NULL;
    }
}
