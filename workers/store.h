/*
 * store: the contract of a place that files are read from or published to.
 *
 * As high as the protocols allow: "publish this whole small file", not open/write/close/rename, since an NFSv4.1 server
 * does it in one COMPOUND. A request is one struct store_op: the code, the directory, the name, and what that code
 * needs; store_run fills in the results. Layers (retry, throttle, fault) have the same contract and a next store.
 *
 * Threads: a store is shared; each thread reaches it through a port of its own (store_port_create), which carries the
 * thread's io. A port's functions are called from that thread only, from any number of its fibers at a time. They wait
 * as io.h says: the calling fiber in a worker, the thread in a planner.
 *
 * Errors are -errno. Results are written on success only, but for op->step and op->attempts, which describe a failure.
 *
 * Safety (P6): op->name is one component, never followed if it is a symbolic link; directories are reached through
 * handles, never through symbolic links, never outside of the root. -ELOOP or -ENOTDIR where one was swapped in.
 */
#ifndef HAUL_WORKERS_STORE_H
#define HAUL_WORKERS_STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "base/dir.h"
#include "base/name.h"
#include "base/notice.h"
#include "workers/fence.h"
#include "workers/io.h"
#include "workers/xattrs.h"

/* Attributes of an entry. */
struct attr {
    mode_t mode;           /* type and permission bits (07777) */
    uid_t uid;             /* numeric */
    gid_t gid;             /* numeric */
    nlink_t nlink;         /* hard links */
    dev_t dev;             /* file system it is on */
    dev_t rdev;            /* device nodes: what it stands for */
    uint64_t ino;          /* inode, or the server's fileid */
    uint64_t size;         /* bytes */
    uint64_t allocated;    /* bytes on disk; less than size where there are holes */
    uint64_t change;       /* moves with every change (NFSv4's change attribute); 0 where the store has none to tell */
    struct timespec atime; /* last access */
    struct timespec mtime; /* last change of contents */
    struct timespec ctime; /* last change of attributes */
};

/* Same contents as far as attributes can tell: type, size, mtime, ctime, dev, ino, and change where both have it. What
 * is asked before and after reading a source file. */
bool attr_unchanged(const struct attr *before, const struct attr *after);

/* Still the entry that was meant by expect: type, permission bits, size, mtime, ino. What PUBLISH, COMMIT and SETATTR
 * ask of one that they are to mend. */
bool attr_is_meant(const struct attr *expect, const struct attr *now);

/* The same but for permission bits: what REMOVE and LINK ask of a non-directory. */
bool attr_is_same_file(const struct attr *expect, const struct attr *now);

/* What REMOVE asks: of a directory (dir) only that it is still that one, since what is removed in it changes the rest.
 */
bool attr_is_same_entry(const struct attr *expect, const struct attr *now, bool dir);

enum store_code {
    /* looking: safe to repeat */
    STORE_STAT,      /* attributes of name (not followed); name NULL: of dir itself */
    STORE_XATTRS,    /* extended attributes of name (not followed); name NULL: of dir itself */
    STORE_READLINK,  /* target of the symbolic link name */
    STORE_LIST_OPEN, /* begin to list dir */
    STORE_LIST_NEXT, /* one entry of a listing */
    STORE_LIST_PARK, /* give up a listing's descriptor and buffer; the next LIST_NEXT goes on where it was */
    STORE_LIST_CLOSE,
    /* reading: safe to repeat */
    STORE_READ_SMALL, /* a whole small file, attributes before and after */
    STORE_OPEN,       /* a regular file for reading */
    STORE_READ,       /* bytes of an open file */
    STORE_EXTENT,     /* next extent with data of an open file */
    STORE_FSTAT,      /* attributes of an open file */
    STORE_CLOSE,
    /* changing */
    STORE_MKDIR,   /* a directory */
    STORE_PUBLISH, /* a whole small file under its final name, atomically */
    STORE_BEGIN,   /* a large file: make the temp name */
    STORE_WRITE,   /* bytes of it */
    STORE_COPY,    /* bytes of it straight from an open source file, within the kernel or server */
    STORE_FLUSH,   /* what was written of it before is durable when it returns */
    STORE_COMMIT,  /* attributes, checks, rename to the final name; ends the upload, whatever the result */
    STORE_ABORT,   /* remove the temp name; ends the upload */
    STORE_PARK,    /* end the upload and keep the temp name, for a later BEGIN to go on with, in another run too */
    STORE_SYMLINK, /* a symbolic link under its final name, atomically */
    STORE_NODE,    /* a FIFO, socket or device node, atomically */
    STORE_LINK,    /* a hard link to an entry of the same store, replacing what stands there, atomically */
    STORE_SETATTR, /* owner, mode, times of an entry; name NULL: of dir itself */
    STORE_REMOVE,  /* a non-directory, or an empty directory, if it is still what was meant */
    STORE_SYNC,    /* all that was published before is durable when it returns */
    STORE_CODES
};

/* Whether an operation may be repeated after an error that leaves open whether it was carried out. */
enum store_repeat {
    REPEAT_SAFE, /* doing it twice is doing it once */
    REPEAT_LOOK, /* the store looks for the outcome of the first try before it repeats */
    REPEAT_NOT,  /* never */
};

/* The one table of names and repeatability (store.c). "publish", "list", ... */
const char *store_code_name(enum store_code code);
enum store_repeat store_code_repeat(enum store_code code);

#define STORE_KEEP_OWNER 1U /* uid */
#define STORE_KEEP_GROUP 2U /* gid */
#define STORE_KEEP_MODE  4U /* permission bits */
#define STORE_KEEP_TIMES 8U /* atime and mtime */
#define STORE_KEEP_ALL   15U

/* What REMOVE, LINK, PUBLISH and COMMIT, where expect no longer holds, and SETATTR, where another type stands too,
 * write to step: -ESTALE is final then, not a server's stale handle. */
#define STORE_STEP_GUARD "guard"

struct store_list; /* a listing under way; owned by the store until LIST_CLOSE; one user at a time */
struct store_file; /* an open source file; until CLOSE. In every store its first field is the struct store * that opened
                      it, so that another store can tell whether it knows its kind (COPY). READ, EXTENT and FSTAT of one
                      file may run in any threads at a time */
struct store_upload; /* a large file being staged at the destination; until COMMIT, ABORT or PARK. WRITE, COPY and FLUSH
                        of one upload may run in any threads at a time; what ends it runs alone */

/* Where an upload stands until it is committed, and how that file is known again. */
struct store_temp {
    char name[TEMP_NAME_MAX]; /* temp name, in the directory of the final name */
    uint64_t dev;             /* file system that it is on; 0 where a store has none to tell */
    uint64_t ino;             /* inode, or the server's fileid */
    uid_t uid;                /* its owner, as it was made */
    uint64_t size;            /* bytes that it had when it was begun or resumed */
};

/* One entry of a listing; name is valid until the next call for that listing. */
struct store_entry {
    const char *name;   /* NUL-terminated, one component */
    size_t name_len;    /* bytes */
    unsigned char type; /* DT_*; DT_UNKNOWN where the listing does not tell and attributes were not wanted */
    bool has_attr;      /* attr is filled in */
    int attr_error;     /* 0, or -errno of this entry's attributes (the listing goes on) */
    struct attr attr;   /* attributes, where wanted */
};

struct store_op {
    enum store_code code;
    struct dir *dir;  /* directory; the caller keeps its reference until store_run returns */
    const char *name; /* one component, or NULL as the code says */
    union {
        struct { /* STAT, FSTAT */
            struct attr *out;
            struct store_file *file; /* FSTAT */
            bool fresh;              /* STAT: ask the server itself, not this machine's cache of it */
        } stat;
        struct {                 /* XATTRS */
            unsigned kinds;      /* XATTRS_*: which are wanted */
            struct xattrs **out; /* the caller's then. Its kinds: those of the wanted ones that the place can hold at
                                    all, as far as is known */
            struct attr *attr;   /* of the same entry, before they were read: while ctime stands they are right; may be
                                    NULL */
        } xattrs;
        struct {             /* READLINK */
            char *buf;       /* receives the target, NUL-terminated */
            size_t size;     /* bytes in buf; -ENAMETOOLONG where the target does not fit */
            size_t *out_len; /* bytes without NUL; may be NULL */
        } readlink;
        struct {                      /* LIST_* */
            struct store_list **list; /* OPEN writes it; the others read it; CLOSE sets it NULL */
            bool want_attr;           /* OPEN: fill in attributes */
            struct store_entry *out;  /* NEXT: the entry; name NULL at the end */
        } list;
        struct { /* READ_SMALL: reads up to size bytes; a longer file is -EFBIG. What is no regular file (any more) is
                    -ERR_CHANGED, a symbolic link -ELOOP; for OPEN too */
            void *buf;
            size_t size;
            size_t *out_len;           /* bytes read */
            struct attr *before;       /* of the open file before the first read */
            struct attr *after;        /* and after the last; attr_unchanged() decides */
            const struct attr *expect; /* as it was seen lately; where it is still so after the last read, the store may
                                          do without a look before the first. May be NULL */
            bool fresh;                /* as for OPEN */
        } read_small;
        struct { /* OPEN */
            struct store_file **out;
            struct attr *attr; /* of the open file; may be NULL */
            bool fresh;        /* READ brings what the server has, or the disk, not what this machine has in its cache,
                                  as far as the file system lets us: it wants offsets, lengths and addresses that are
                                  multiples of 4 KiB, and goes by the cache once where they are not */
        } open;
        struct { /* READ, EXTENT, CLOSE */
            struct store_file *file;
            void *buf;          /* READ */
            size_t len;         /* READ: bytes wanted */
            uint64_t offset;    /* READ, EXTENT: from here */
            size_t *out_len;    /* READ: bytes read, less than len only at the end of the file */
            uint64_t *out_data; /* EXTENT: where the next data begins, >= offset; -ENXIO where there is none */
            uint64_t *out_end;  /* EXTENT: where it ends */
        } file;
        struct {         /* MKDIR: private to us (0700) until SETATTR; -EEXIST where anything of that name stands */
            mode_t mode; /* permission bits at first */
        } mkdir;
        struct { /* PUBLISH, BEGIN, SYMLINK, NODE. out->ctime may be that of a moment before the rename */
            const struct attr *attr;         /* wanted: type, mode, uid, gid, times, size (PUBLISH), rdev (NODE) */
            unsigned keep;                   /* STORE_KEEP_*: which of them; without MODE: 0777 less 022 of it */
            const void *data;                /* PUBLISH: attr->size bytes */
            const struct attr *expect;       /* PUBLISH: replaces only what attr_is_meant by it, which the server looks
                                                at itself where it can, right before the rename; -ESTALE otherwise, also
                                                where nothing stands there, with step STORE_STEP_GUARD (after a repeat
                                                it may be one's own: look). NULL: whatever stands there. Not with
                                                exclusive, nor where nothing can stand (null:) */
            bool exclusive;                  /* PUBLISH: -EEXIST where anything stands under the name; of several at a
                                                time one succeeds. -EEXIST after a repeat may be one's own: look */
            const char *target;              /* SYMLINK */
            const struct xattrs *xattrs;     /* all that it is to have of their kinds; NULL: as it comes. What the
                                                destination cannot hold is a notice, no failure. BEGIN: as for COMMIT, as
                                                far as is known */
            struct attr *out;                /* what stands under the final name now; may be NULL. Not for BEGIN */
            struct store_upload **upload;    /* BEGIN writes it */
            struct store_temp *temp;         /* BEGIN writes it; may be NULL */
            const struct store_temp *resume; /* BEGIN: goes on with that file, which an upload to the same dir and name
                                                left that was parked or whose process has died; NULL: begins with an
                                                empty one. It keeps its bytes, and is as private as a new one. -ENOENT:
                                                it is gone; -ESTALE with step STORE_STEP_GUARD: that name is another
                                                file's by now, or nothing that an upload may write to, and was left
                                                alone; -EOPNOTSUPP where caps.resume is false */
        } put;
        struct { /* WRITE, COPY, FLUSH, COMMIT, ABORT, PARK: of an upload, which knows its dir and name from BEGIN.
                    FLUSH: all WRITEs and COPYs that had returned before it began are durable; after a failure those
                    since the last FLUSH that passed may be lost, and so may those that were under way meanwhile: they
                    are to be written again (a write verifier that changed: RFC 8881 18.3.4, 18.32.4; an error that
                    the kernel tells once). -EOPNOTSUPP where caps.resume is false. PARK makes nothing durable, and does
                    what ABORT does where caps.resume is false */
            struct store_upload *upload;
            const void *buf;             /* WRITE */
            size_t len;                  /* WRITE: all of it is written or it failed; COPY: bytes at most; FLUSH: bytes
                                            that may have to be made durable, as far as is known, for who watches it */
            uint64_t offset;             /* WRITE, COPY: at both ends */
            struct store_file *from;     /* COPY: -EOPNOTSUPP where the two cannot */
            size_t *out_len;             /* COPY: bytes copied; 0 at the source's end */
            const struct attr *attr;     /* COMMIT: as for BEGIN, with the final size */
            struct attr *out;            /* COMMIT: as for PUBLISH; may be NULL */
            const struct xattrs *xattrs; /* COMMIT: as for PUBLISH */
            const struct attr *expect;   /* COMMIT: as for PUBLISH */
        } up;
        struct { /* LINK: dir/name becomes a link to from_dir/from_name */
            struct dir *from_dir;
            const char *from_name;
            const struct attr *expect; /* only while type, ino, size and mtime of from_name are these, as for REMOVE:
                                          nothing else ever stands under name; -ESTALE otherwise with step
                                          STORE_STEP_GUARD. NULL: whatever it is */
            struct attr *out;          /* of the link; may be NULL */
        } link;
        struct { /* SETATTR */
            const struct attr *attr;
            unsigned keep;
            const struct xattrs *xattrs; /* as for PUBLISH: others of their kinds are removed; NULL: left alone */
            const struct attr *expect;   /* as for PUBLISH, looked at before the first change; NULL: any of that type */
        } setattr;
        struct { /* REMOVE: only while type, ino, size and mtime are those of expect (NULL: whatever it is, but a
                    directory only where dir is true); -ESTALE otherwise with step STORE_STEP_GUARD.
                    Of a directory only type and ino: its mtime moves as it is emptied */
            const struct attr *expect;
            bool dir;
            bool *out_emptied; /* of a non-directory: op->dir, which is not the root, goes too where nothing else is in
                                  it and the store can do both in one round trip; becomes true where it has gone. That
                                  it stays is no failure. NULL: it stays */
        } remove;
    };
    /* About a failure; written by the store and its layers. */
    const char *step;  /* the call that failed ("rename"), static; NULL where it is the code's own name */
    unsigned attempts; /* how often it was tried; written by the retry layer, else 0 */
    bool repeated;     /* a try before this one may have been carried out: the store looks first (REPEAT_LOOK). Written
                          by store_run (false) and the retry layer */
};

/* What a store can do, as data. Constant once the store is open. */
struct store_caps {
    const char *kind;                 /* "posix", "nfs41", "null" */
    const char *fs;                   /* name of the file system or protocol ("ext4", "nfs4"), static */
    bool network;                     /* errors come and go, each operation is a round trip */
    bool uncached;                    /* what it tells comes from the server, not from what this machine remembers */
    bool spread;                      /* better with many directories at a time */
    bool no_extents;                  /* EXTENT reads to tell holes: who reads anyway looks for zeros in what came */
    bool durable;                     /* what is published is durable at once (NFS); else after STORE_SYNC or --fsync */
    unsigned in_flight;               /* operations at first, over all workers; 0: one for each worker */
    unsigned in_flight_max;           /* and at most */
    uint64_t small_max;               /* bytes of the largest file for PUBLISH and READ_SMALL */
    uint64_t part;                    /* bytes of a good READ or WRITE of a large file */
    bool resume;                      /* an upload may be parked, resumed and flushed */
    int64_t time_granularity_ns;      /* of its time stamps; 0: unknown */
    bool no_link_times;               /* symbolic links get times that nobody can set, as was found out */
    bool root_stirred;                /* it was tried out in its root, whose times have changed with that */
    struct timespec root_atime;       /* of the root before that; valid where root_stirred */
    struct timespec root_mtime;       /* likewise */
    uint64_t root_ino;                /* of the root when it was found or made; 0: it was not looked at */
    const atomic_bool *owner_refused; /* becomes true when the store finds that owners cannot be set here, by SETATTR at
                                         the latest; any thread may look, while the store is open. NULL: never */
    int64_t clock_granularity_ns; /* how far the clock behind ctime may lag: two changes closer than this may carry the
                                     same stamp (P7). Never 0; 2 s where unknown */
};

enum store_owner {
    OWNER_AUTO,    /* owner and group where we may; where it is refused, once said, without */
    OWNER_REQUIRE, /* refused: the file fails */
    OWNER_IGNORE,  /* never */
};

/* How a store is to be opened. */
struct store_options {
    enum dir_side side;      /* which dir_handle is this store's */
    const char *path;        /* what the user gave */
    const char *run_id;      /* for temp names; outlives the store */
    enum store_owner owner;  /* destination only */
    bool fsync;              /* destination: durable before the rename */
    unsigned max_handles;    /* directory descriptors kept open at most */
    struct notices *notices; /* where notices go; may be NULL; outlives the store */
    struct fence *fence;     /* destination: asked before each rename to a final name and each removal, but of the run's
                                own temp names (fence.h); may be NULL; outlives the store */
};

struct store;
struct port;

/* What an implementation provides: designated initialisers, one static const table at the end of its file. */
struct store_ops {
    void (*destroy)(struct store *s);                                      /* required */
    int (*port_create)(struct store *s, struct io *io, struct port **out); /* required */
    void (*port_destroy)(struct port *p);                                  /* required */
    int (*run)(struct port *p, struct store_op *op);                       /* required; the whole contract */
    void (*dir_release)(struct store *s, struct dir *dir);                 /* may be NULL: nothing is kept for a dir */
};

/* The head of every store; an implementation embeds it as its first field. */
struct store {
    const struct store_ops *ops;
    struct store_caps caps; /* constant once open */
    struct store *next;     /* layers: the store below, owned; NULL else */
};

/* The head of every port. */
struct port {
    struct store *store;
    struct io *io;     /* the thread's, not owned */
    struct port *next; /* layers: the port below, owned; NULL else */
};

/* Closes the store and, for a layer, those below. NULL is fine. All ports must be gone. */
void store_destroy(struct store *s);

/* A port for the calling thread, through all layers. 0 or -errno. */
int store_port_create(struct store *s, struct io *io, struct port **out_port);
void store_port_destroy(struct port *p); /* NULL is fine; the thread that made it */

/* Carries out one request. Resets step, attempts and repeated first. 0 or -errno; -EINVAL for a name that is not one
 * component. */
int store_run(struct port *p, struct store_op *op);

/* Whether op, which has failed, was stopped since something else stands there than was expected (STORE_STEP_GUARD). Any
 * thread. */
bool store_op_guarded(const struct store_op *op);

/* Lets the store keep handles in the nodes of tree (sets tree->release for its side). Before the first node. */
void store_attach(struct store *s, enum dir_side side, struct dir_tree *tree);

/* What a layer calls for whatever it does not change itself: the same request on the store below. */
int store_run_next(struct port *p, struct store_op *op);

#endif
