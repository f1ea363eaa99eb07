/*
 * nfs_dirs: handles of directories at a server of NFS, of whichever version: kept in the nodes, looked up from the
 * nearest one that is known, forgotten when they are stale.
 *
 * A handle stands for one directory, whatever becomes of its name: nothing that was swapped in is followed. Two threads
 * may look up the same directory at a time. Any thread; only what is given a port asks the server, and waits as its io
 * does.
 */
#ifndef HAUL_STORES_NFS_DIRS_H
#define HAUL_STORES_NFS_DIRS_H

#include <pthread.h>

#include "workers/store.h"
#include "workers/stores/nfs_fh.h"

/* A directory as it is kept. */
struct nfs_dir {
    struct nfs_fh fh;
    bool inherits; /* it hands down its group (setgid) */
};

/* Walks down to dir from the nearest directory that is known, and keeps what is on the way. 0 or -errno; -ESTALE: a
 * handle on the way was stale, and is forgotten. */
typedef int (*nfs_dirs_walk)(struct port *p, struct dir *dir, struct nfs_dir *out);

struct nfs_made; /* a directory that was made */

struct nfs_dirs {
    enum dir_side side;    /* which handle of a dir is ours; constant */
    nfs_dirs_walk walk;    /* constant */
    pthread_mutex_t lock;  /* guards what follows, and the handle of our side in every dir; held for moments only */
    struct nfs_dir root;   /* fh.len 0: to be looked up. Without the lock before anybody else has the store */
    struct nfs_made *made; /* by hash; owned; NULL: none so far */
};

void nfs_dirs_init(struct nfs_dirs *d, enum dir_side side, nfs_dirs_walk walk);
/* The nodes that it keeps handles in have gone before (nfs_dirs_drop). */
void nfs_dirs_release(struct nfs_dirs *d);

/* The handle of dir if it is known already. Asks nobody. */
bool nfs_dirs_known(struct nfs_dirs *d, struct dir *dir, struct nfs_dir *out);
/* From *at upwards to the nearest directory that is known, itself perhaps, whose handle is out; false: to the root,
 * which is not known either. Those that were passed are in chain, the nth of them from below at n modulo size: of a
 * long way the upper end stays. They are borrowed from the first one. Asks nobody. */
bool nfs_dirs_near(struct nfs_dirs *d, struct dir **at, struct dir **chain, size_t size, size_t *out_depth,
                   struct nfs_dir *out);
/* The handle of dir, looked up if need be. 0 or -errno (-ELOOP, -ENOTDIR: something else stands in its place). */
int nfs_dirs_get(struct nfs_dirs *d, struct port *p, struct dir *dir, struct nfs_dir *out);
/* Keeps a handle that was looked up. 0 or -ENOMEM. */
int nfs_dirs_keep(struct nfs_dirs *d, struct dir *dir, const struct nfs_dir *found);
/* Forgets the handle, where it is still that one: it is looked up anew next time. */
void nfs_dirs_forget(struct nfs_dirs *d, struct dir *dir, const struct nfs_dir *seen);
/* dir was given that mode by us. */
void nfs_dirs_note_mode(struct nfs_dirs *d, struct dir *dir, mode_t mode);
/* dir goes: what a store does in its dir_release. */
void nfs_dirs_drop(struct nfs_dirs *d, struct dir *dir);

/* name was made in dir as a directory with that handle: it need not be looked up when somebody first works in it. A
 * thousand are remembered, as far as there is memory. */
void nfs_dirs_made(struct nfs_dirs *d, const struct nfs_dir *dir, const char *name, const struct nfs_dir *made);
/* Whether name was made in parent lately; forgets it then: after that the node has the handle. */
bool nfs_dirs_take(struct nfs_dirs *d, const struct nfs_dir *parent, const char *name, struct nfs_dir *out);

/* Carries out fn with the handle of dir. -ESTALE: once more with a new one. makes: it makes something in dir, so that
 * -ENOENT says that dir itself may be gone. */
int nfs_dirs_run(struct nfs_dirs *d, struct port *p, struct store_op *op, struct dir *dir, bool makes,
                 int (*fn)(struct port *p, struct store_op *op, const struct nfs_dir *dir));

#endif
