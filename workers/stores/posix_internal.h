/*
 * posix_internal: what the files of the posix store share.
 *
 *   posix.c          opening, capabilities, the table of codes
 *   posix_mount.c    what the kernel tells about the mount
 *   posix_dirs.c     directory handles: opened by walking down, kept, evicted
 *   posix_read.c     looking and reading: stat, readlink, read
 *   posix_list.c     listings
 *   posix_owner.c    owner, mode and times, set; all else about them is in want.c
 *   posix_xattrs.c   extended attributes and ACLs, and what is said where they cannot be had
 *   posix_publish.c  temp names and whole small files
 *   posix_exclusive.c  whole small files, only where nothing stands
 *   posix_upload.c   large files
 *   posix_resume.c   those that an earlier upload has left
 *   posix_stage.c    nameless files of a local temp dir
 *   posix_entries.c  symbolic links, nodes, links, attributes, directories, removal
 */
#ifndef HAUL_STORES_POSIX_INTERNAL_H
#define HAUL_STORES_POSIX_INTERNAL_H

#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "workers/stores/posix.h"
#include "workers/stores/want.h"

struct statx;

/* What is known of a kind of file system. */
struct posix_fs {
    unsigned long magic;       /* statfs.f_type */
    const char *name;          /* for people */
    bool network;              /* see store_caps */
    bool durable;              /* see store_caps */
    bool lenient;              /* cannot hold every owner, mode or time, and may not say so */
    int64_t time_granularity;  /* ns; 0: look at the root's own times */
    int64_t clock_granularity; /* ns */
};

struct posix_store {
    struct store head;
    enum dir_side side;      /* which handle of a dir is ours */
    bool fsync;              /* every file, before its rename */
    bool lenient;            /* posix_fs.lenient */
    bool presize;            /* a large file gets its size before its bytes, so that its holes stay */
    bool local;              /* a file system of this machine that we know: what it has in memory it gives at once */
    bool memory;             /* it has all its files in memory */
    bool nfs;                /* a kernel's mount of NFS */
    const char *run_id;      /* for temp names; not owned */
    struct notices *notices; /* may be NULL; not owned */
    struct fence *fence;     /* may be NULL; not owned */
    int root_fd;             /* the root directory; owned */
    dev_t root_dev;          /* its file system */
    uid_t uid;               /* who owns what we make */
    gid_t gid;               /* and its group, but in setgid directories */
    struct owning owning;    /* constant, but for refused; its groups are owned here */

    atomic_bool no_openat2;      /* the kernel lacks or forbids it */
    atomic_bool no_cached;       /* the kernel lacks RESOLVE_CACHED */
    atomic_bool no_nowait;       /* the file system lacks RWF_NOWAIT */
    atomic_bool no_tmpfile;      /* the file system lacks O_TMPFILE */
    atomic_uint noatime_refused; /* how often O_NOATIME was EPERM; given up after a few */
    atomic_bool no_fchmodat2;    /* the kernel lacks or forbids it */
    atomic_bool owner_surprise;  /* a new file was not owned as predicted: never again open with final bits */
    atomic_llong squashed_uid;   /* network: what the server makes of our uid; -1: not known to differ */
    atomic_uint clone_refused;   /* how often FICLONE was refused; given up after a few */
    atomic_bool other_mounts;    /* something was published on another file system than the root's */
    atomic_uint xattrs_refused;  /* XATTRS_* that the file system cannot hold, as far as is known */
    atomic_bool xattrs_asked;    /* the root was asked */
    atomic_bool root_setgid;     /* the root directory is setgid */

    pthread_mutex_t lock; /* guards what follows, and the handle of our side in every dir; never held while waiting */
    struct dir *newest;   /* unpinned open handles, most recently used first */
    struct dir *oldest;
    unsigned open;        /* open handles, pinned or not, without the root */
    unsigned max_handles; /* constant */
};

/* An open source file; the store comes first (store.h). */
struct store_file {
    const struct store *store;
    int fd;        /* owned */
    uint64_t size; /* bytes, as it was opened */
    bool sparse;   /* it has holes, as far as its space tells */
    bool near;     /* it is on the root's own file system, which is local */
    bool fresh;    /* store_op.open.fresh */
};

/* A regular file under its temp name. posix_publish.c. */
struct posix_temp {
    int fd;                   /* open for writing, or -1 */
    mode_t mode;              /* permission bits it was made with */
    bool inherits;            /* its directory hands down its group */
    bool resumed;             /* an earlier upload made it, and may have given it attributes */
    struct attr seen;         /* as last looked at */
    char name[TEMP_NAME_MAX]; /* in the directory of the final name */
};

static inline struct posix_store *posix_of(const struct port *p)
{
    return (struct posix_store *)p->store;
}

/* ---- posix_mount.c ---- */

#define POSIX_VERSION_MAX 8 /* bytes of "4.1" and the like, with the NUL */

/* The protocol version of the NFS mount of that device number, from an open /proc/self/mountinfo. False: it is none. */
bool posix_nfs_version(FILE *mountinfo, dev_t dev, char out_version[POSIX_VERSION_MAX]);
/* Says once what makes the mount slower than it need be. */
void posix_mount_look(const struct posix_store *s);

/* ---- posix_dirs.c ---- */

/* A descriptor of dir that stays open until the unpin; may be O_PATH where dir cannot be read. 0 or -errno. Waits. */
int posix_dir_pin(struct port *p, struct dir *dir, int *out_fd);
/* err: the result of what was done with it; -ESTALE closes the handle, so that the next pin opens it anew. */
void posix_dir_unpin(struct port *p, struct dir *dir, int err);
/* Whether a descriptor of dir is open, which pinning need not open. */
bool posix_dir_is_open(struct posix_store *s, struct dir *dir);
/* The same after something was to be made in dir: -ENOENT says that dir itself is gone, perhaps for another of its
 * name. */
void posix_dir_unpin_made(struct port *p, struct dir *dir, int err);
/* Whether new entries of dir get its group. dir is pinned. */
bool posix_dir_inherits(struct posix_store *s, struct dir *dir);
/* Whether files of dir are on the root's own file system, and that is local: what is in memory there comes at once. dir
 * is pinned. */
bool posix_dir_is_near(struct posix_store *s, struct dir *dir);
/* dir was given that mode by us. dir is pinned. */
void posix_dir_note_mode(struct posix_store *s, struct dir *dir, mode_t mode);
/* err as posix_dir_unpin is to be told of it: a guard's -ESTALE says nothing about the directory's handle. */
int posix_handle_err(const struct store_op *op, int err);
/* Closes some unpinned handles; false: there was none. */
bool posix_dirs_evict(struct posix_store *s);
/* The store's dir_release. */
void posix_dir_release(struct store *store, struct dir *dir);
/* openat that makes room where descriptors have run out. A descriptor or -errno. */
int posix_openat(struct port *p, int dir_fd, const char *name, int flags, mode_t mode);
/* openat2 that does the same. -ENOSYS: the kernel lacks or forbids it. */
int posix_openat2(struct port *p, int dir_fd, const char *path, struct open_how *how);

/* ---- posix_read.c ---- */

void posix_attr_of(const struct statx *stx, struct attr *out);
/* Attributes of name in dir_fd (not followed), or with name "" of dir_fd itself. 0 or -errno. */
int posix_attr_at(struct port *p, int dir_fd, const char *name, struct attr *out);

int posix_stat(struct port *p, struct store_op *op);
int posix_readlink(struct port *p, struct store_op *op);
/* ---- posix_list.c ---- */

int posix_list_open(struct port *p, struct store_op *op);
int posix_list_next(struct port *p, struct store_op *op);
int posix_list_park(struct port *p, struct store_op *op);
int posix_list_close(struct port *p, struct store_op *op);
int posix_read_small(struct port *p, struct store_op *op);
int posix_file_open(struct port *p, struct store_op *op);
int posix_file_read(struct port *p, struct store_op *op);
int posix_file_extent(struct port *p, struct store_op *op);
int posix_file_stat(struct port *p, struct store_op *op);
int posix_file_close(struct port *p, struct store_op *op);

/* ---- posix_owner.c ---- */

/* Whether an entry made by us, in a directory that hands down its group or not, has the wanted owner by itself. */
bool posix_want_owner_comes(const struct posix_store *s, const struct want *w, bool inherits);
/* Sets the owner of path at dir_fd (flags as for fchownat). Where it is refused and need not be, the wish in w is
 * forgotten, as want_refused says. made: the entry is new and our own. 0 or -errno. */
int posix_want_chown(struct port *p, struct want *w, int dir_fd, const char *path, int flags, bool made);
/* As want_mode_will_do, and where the file system is known to make modes up. */
bool posix_mode_will_do(const struct posix_store *s, mode_t want, mode_t seen);
/* Sets the times of path at dir_fd; what the file system cannot hold at all is a notice. 0 or -errno. */
int posix_set_times(struct port *p, const struct attr *attr, int dir_fd, const char *path, int flags);
/* chmod of the file behind fd, which may be O_PATH. 0 or -errno. */
int posix_set_mode(struct port *p, int fd, bool is_path, mode_t mode);

/* ---- posix_xattrs.c ---- */

/* Whether an entry that is to have x must be private until it has it. */
bool posix_xattrs_matter(struct port *p, const struct xattrs *x);
/* Gives the entry behind fd, which may be O_PATH, the attributes that w wants. made: it is new, and can have none but
 * those that its directory hands down. An access ACL changes the mode: *out_mode_moved is true then. 0 or -errno with
 * op->step. */
int posix_xattrs_apply(struct port *p, struct store_op *op, int fd, const struct want *w, bool made,
                       bool *out_mode_moved);

int posix_xattrs(struct port *p, struct store_op *op);

/* ---- posix_publish.c ---- */

/* Makes a temp file in dir_fd; t->fd is open then. 0 or -errno: then there is nothing. */
int posix_temp_open(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd, const struct want *w);
/* The permission bits that such a file is made with. inherits: its directory hands down its group. */
mode_t posix_temp_mode(struct port *p, const struct want *w, bool inherits);
/* Writes all of it. 0 or -errno. */
int posix_write_all(struct port *p, int fd, const void *buf, size_t len, uint64_t offset);
/* Owner, times, mode, and the check (P2): nothing but what is wanted may be renamed. 0 or -errno. */
int posix_temp_settle(struct port *p, struct store_op *op, struct posix_temp *t, struct want *w);
/* fsync where wanted, close, rename to name, where expect (NULL: anything) stands. After a failure the temp file still
 * has to be dropped. 0 or -errno. */
int posix_temp_finish(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd, const char *name,
                      const struct attr *expect);
/* Closes and removes the temp file. */
void posix_temp_drop(struct port *p, struct posix_temp *t, int dir_fd);
/* Renames temp, whose attributes are seen, to name; looks for itself where the answer was an error. 0 or -errno. */
int posix_rename_temp(struct port *p, int dir_fd, const char *temp, const char *name, const struct attr *seen);
/* Whether name is the inode seen, which was temp, and temp is gone: a rename whose answer was lost. */
bool posix_was_renamed(struct port *p, int dir_fd, const char *temp, const char *name, const struct attr *seen);
/* What posix_temp_finish does before the rename. 0 or -errno. */
int posix_temp_close(struct port *p, struct store_op *op, struct posix_temp *t);

int posix_publish(struct port *p, struct store_op *op);

/* ---- posix_exclusive.c ---- */

/* As posix_temp_finish; -EEXIST where anything stands under name. */
int posix_temp_finish_new(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd, const char *name);

/* ---- posix_upload.c ---- */

int posix_begin(struct port *p, struct store_op *op);
int posix_write(struct port *p, struct store_op *op);
int posix_copy(struct port *p, struct store_op *op);
int posix_flush(struct port *p, struct store_op *op);
int posix_commit(struct port *p, struct store_op *op);
int posix_abort(struct port *p, struct store_op *op);
int posix_park(struct port *p, struct store_op *op);

/* ---- posix_resume.c ---- */

/* The file that op->put.resume says: t->fd is open then, and t->seen looked at. 0; -ENOENT; -ESTALE with step
 * STORE_STEP_GUARD; -errno. */
int posix_temp_reopen(struct port *p, struct store_op *op, struct posix_temp *t, int dir_fd, const struct want *w);

/* ---- posix_entries.c ---- */

int posix_mkdir(struct port *p, struct store_op *op);
int posix_symlink(struct port *p, struct store_op *op);
int posix_node(struct port *p, struct store_op *op);
int posix_link(struct port *p, struct store_op *op);
int posix_setattr(struct port *p, struct store_op *op);
int posix_remove(struct port *p, struct store_op *op);
int posix_sync(struct port *p, struct store_op *op);

#endif
