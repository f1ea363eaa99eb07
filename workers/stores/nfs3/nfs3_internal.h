/*
 * nfs3_internal: what the files of the nfs3 store share.
 *
 *   nfs3.c          opening, capabilities, the table of codes
 *   nfs3_call.c     one remote procedure: connections made again, calls put off and repeated
 *   nfs3_long.c     the one call that libnfs has no room for
 *   nfs3_path.c     portmapper, mountd, the way to the path, missing directories
 *   nfs3_probe.c    what the server can do, found out with a file of the store's own
 *   nfs3_dirs.c     how a directory is reached; all else about handles is in nfs_dirs.c
 *   nfs3_owner.c    how owners are refused; all else about them is in want.c
 *   nfs3_read.c     looking and reading: stat, readlink, read
 *   nfs3_list.c     listings
 *   nfs3_temp.c     temp names: made, settled, checked, renamed, dropped, and those that were left
 *   nfs3_publish.c  whole small files
 *   nfs3_upload.c   large files, and those that were left, taken up again
 *   nfs3_entries.c  symbolic links, nodes, links, directories
 *   nfs3_change.c   attributes of what is there, removal
 *
 * Functions return 0 or -errno; those that say "or a status" return a status of nfs3err.h as a positive number too.
 */
#ifndef HAUL_STORES_NFS3_NFS3_INTERNAL_H
#define HAUL_STORES_NFS3_NFS3_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "workers/stores/nfs3/nfs3.h"
#include "workers/stores/nfs3/nfs3err.h"
#include "workers/stores/nfs3/wire.h"
#include "workers/stores/nfs41/client.h"
#include "workers/stores/nfs_dirs.h"
#include "workers/stores/nfs_want.h"

#define NFS3_NAME_TRIES 8 /* other temp names, where one was taken */
#define NFS3_TRIES      6 /* of one file, each after a reason to try again */

/* Of a call that was sent again, the first try may still lie at the server, which carries it out some time after the
 * second one was answered. After so long it has done so. */
#define NFS3_LATE_NS NS_PER_SEC

struct nfs3_left; /* a temp name that could not be removed, nfs3_temp.c */

struct nfs3_store {
    struct store head;
    const char *run_id;             /* for temp names; not owned */
    struct notices *notices;        /* may be NULL; not owned */
    struct fence *fence;            /* may be NULL; not owned */
    char *host;                     /* as given; owned */
    char *path;                     /* of the root, as the server has it; owned */
    struct nfs_addresses addresses; /* of the host; their port is set for each connection */
    uint16_t port;                  /* of NFS */
    uint16_t mount_port;            /* of mountd */
    bool reserved_port;             /* wanted */
    struct rpc_cred cred;           /* who calls */
    int64_t io_timeout_ns;          /* see options */
    unsigned retries;               /* see options */
    uid_t uid;                      /* who owns what we make, as the server has it */
    gid_t gid;                      /* and its group, but in setgid directories */
    unsigned made;                  /* directories that were missing when it was opened */
    bool missing;                   /* its root still is */
    bool untried;                   /* it was opened with try_later, and not tried out since */
    struct nfs3_info info;          /* as the server told */
    uint32_t name_max;              /* bytes of a name; 0: the server does not say */
    uint32_t link_max;              /* hard links of a file; 0: the server does not say */
    uint64_t space_avail;           /* see facts */
    uint64_t files_avail;           /* see facts */

    atomic_uint address;        /* of addresses: the one that answered last */
    struct owning owning;       /* constant, but for refused; its groups are owned here */
    atomic_bool owner_surprise; /* a new file was not owned as predicted: never again rely on it */
    atomic_bool no_plus;        /* the server has no READDIRPLUS, or its entries come without attributes */
    atomic_uint write_limit;    /* bytes of a WRITE: less than was told, where that was too much; 0: as told */
    atomic_ullong calls;        /* see nfs3_facts */
    atomic_ullong connects;
    atomic_ullong repeats;
    atomic_ullong waits;
    atomic_ullong publishes;
    atomic_ullong cleanups;
    atomic_bool has_left; /* left is not empty */

    struct nfs_dirs dirs; /* its own lock */

    pthread_mutex_t lock;   /* guards what follows; for moments only */
    struct nfs3_left *left; /* owned */
    unsigned left_count;    /* of left */
};

struct nfs3_port {
    struct port head;
    struct nfs3_wire *wire;      /* owned; NULL: none now */
    bool connected;              /* there was one before */
    bool connecting;             /* a fiber makes one */
    int64_t connecting_until_ns; /* it should have ended by then */
    unsigned window;             /* calls at a time on a connection that was made again; 0: any number */
    unsigned failures;           /* connections that failed since one brought a reply */
    int64_t not_before_ns;       /* of the next try to connect, monotonic */
    int connect_error;           /* what the last try came to */
    unsigned tries;              /* to connect, so far: whoever waits for one looks whether there was another */
    uint64_t seed;               /* of the jitter; never 0 */
};

/* An open source file; the store comes first (store.h). */
struct store_file {
    const struct store *store;
    struct nfs_fh fh;
    bool sparse; /* it has holes, as far as its space tells */
};

/* Something under a temp name, on its way to its final name. nfs3_temp.c. */
struct nfs3_temp {
    struct nfs_dir dir; /* in which it is */
    struct want want;
    struct attr attr;          /* values of what is set */
    unsigned first;            /* V3_SET_* of the first SETATTR; 0: none */
    unsigned second;           /* of the second one; 0: none */
    struct nfs_fh fh;          /* of itself; len 0: not known */
    mode_t strip;              /* bits that the server takes away again and that are done without */
    bool apart;                /* the mode is set apart from all else, whatever is expected */
    bool made;                 /* it is there, as far as we know */
    bool unknown;              /* what became of it, nobody knows: its answer was lost */
    bool made_twice;           /* it was asked for twice: once it has its final name, it may come to be again */
    bool written_twice;        /* the same of a WRITE, whose first try may come late and change the times */
    bool set_twice;            /* the same of a SETATTR, where another one followed or comes before */
    bool has_seen;             /* seen is filled in */
    const struct attr *expect; /* it replaces only what is this; NULL: anything; not owned */
    struct attr seen;          /* as last looked at */
    char name[TEMP_NAME_MAX];  /* "": none yet */
};

static inline struct nfs3_store *nfs3_of(const struct port *p)
{
    return (struct nfs3_store *)p->store;
}

static inline struct nfs3_port *nfs3_port_of(struct port *p)
{
    return (struct nfs3_port *)p;
}

/* ---- nfs3_call.c ---- */

/* Calls the NFS server and waits: until it answers with anything but JUKEBOX, or the io time-out of the store. Where a
 * connection breaks the call is sent again on another one, as often as retries allow; req->again says so. 0, a status,
 * or -errno: whether it was carried out is unknown then, unless req->again is false. */
int nfs3_call(struct port *p, struct nfs3_req *req);
/* The same, with the procedure's name in op->step where it fails; 0 or -errno. */
int nfs3_do(struct port *p, struct store_op *op, struct nfs3_req *req);
/* A connection to another program of the server, until deadline_ns. 0 or -errno. */
int nfs3_connect(struct nfs3_store *s, struct io *io, uint16_t port, int64_t deadline_ns, struct nfs3_wire **out);
/* By when an operation that begins now has to end by itself, monotonic ns. */
int64_t nfs3_deadline_ns(const struct nfs3_store *s);
/* Asks the fence. 0 or -errno with op->step. */
int nfs3_fence(struct port *p, struct store_op *op);
/* Says so and returns err. */
int nfs3_fail(struct store_op *op, const char *step, int err);
/* After a call that was sent again, where its first try must not come behind what follows: waits for NFS3_LATE_NS. */
void nfs3_wait_late(struct port *p);
/* What r (0, a status or -errno) is for a store. */
int nfs3_result(int r);
/* Whether a handle is to be looked up anew. */
bool nfs3_is_stale(int r);

/* GETATTR of fh. 0, a status or -errno. */
int nfs3_getattr(struct port *p, const struct nfs_fh *fh, struct attr *out);
/* LOOKUP of name, with its attributes whatever the server leaves out. out_attr may be NULL. 0, a status or -errno. */
int nfs3_lookup(struct port *p, const struct nfs_fh *dir, const char *name, struct nfs_fh *out_fh,
                struct attr *out_attr);

/* The same, without libnfs. */
int nfs3_socket_open(struct nfs3_store *s, struct io *io, int64_t deadline_ns, struct rpc **out);

/* ---- nfs3_long.c ---- */

#define NFS3_TARGET_SHORT 2048U /* bytes of a target that libnfs has room for in any case */

/* Whether req is a SYMLINK whose target is too long for libnfs. */
bool nfs3_symlink_is_long(const struct nfs3_req *req);
/* Carries it out, once. 0, a status or -errno: the outcome may be unknown. */
int nfs3_symlink_long(struct port *p, struct nfs3_req *req, int64_t deadline_ns);

/* ---- nfs3_path.c ---- */

/* Asks the portmapper for the ports that are not known. 0 or -errno with *problem. */
int nfs3_ports_find(struct nfs3_store *s, struct io *io, char **problem);
/* Mounts and walks to s->path. nfs: whether and how missing directories are made; NULL: they are not. out_made: how
 * many were; may be NULL. 0 or -errno with *problem, which may be NULL itself. */
int nfs3_path_walk(struct port *p, const struct nfs3_options *nfs, struct nfs_dir *out, unsigned *out_made,
                   char **problem);

/* ---- nfs3_probe.c ---- */

/* Asks for the limits of the file system. Before anybody else has the store. 0 or -errno. */
int nfs3_ask_limits(struct port *p);
/* Tries the server out; fills in what s knows of it. The same; with *problem. */
int nfs3_probe(struct port *p, const struct nfs3_options *nfs, char **problem);

/* ---- nfs3_dirs.c ---- */

/* The store's nfs_dirs_walk and its dir_release. */
int nfs3_dirs_walk(struct port *p, struct dir *dir, struct nfs_dir *out);
void nfs3_dir_release(struct store *store, struct dir *dir);
/* nfs_dirs_run by the port's store. */
int nfs3_in_dir(struct port *p, struct store_op *op, struct dir *dir, bool makes,
                int (*fn)(struct port *p, struct store_op *op, const struct nfs_dir *dir));

/* ---- nfs3_owner.c ---- */

/* The server refuses the owner, status says how: 0 and the wish is forgotten, or -EPERM where it is required. made: the
 * entry is new and our own. */
int nfs3_want_refused(struct nfs3_store *s, struct want *w, int status, bool made);
/* Whether that is how servers refuse to set owners. */
bool nfs3_is_owner_refusal(int status);
/* Whether two times are the same, as far as the protocol can hold the first. */
bool nfs3_time_same(const struct timespec *want, const struct timespec *seen);

/* ---- nfs3_read.c ---- */

int nfs3_stat(struct port *p, struct store_op *op);
int nfs3_xattrs(struct port *p, struct store_op *op);
int nfs3_readlink(struct port *p, struct store_op *op);
int nfs3_read_small(struct port *p, struct store_op *op);
/* In that directory, whatever op->dir is. */
int nfs3_read_small_in(struct port *p, struct store_op *op, const struct nfs_dir *dir);
int nfs3_file_open(struct port *p, struct store_op *op);
int nfs3_file_read(struct port *p, struct store_op *op);
int nfs3_file_extent(struct port *p, struct store_op *op);
int nfs3_file_stat(struct port *p, struct store_op *op);
int nfs3_file_close(struct port *p, struct store_op *op);

/* ---- nfs3_list.c ---- */

int nfs3_list_open(struct port *p, struct store_op *op);
int nfs3_list_next(struct port *p, struct store_op *op);
int nfs3_list_park(struct port *p, struct store_op *op);
int nfs3_list_close(struct port *p, struct store_op *op);

/* ---- nfs3_temp.c ---- */

/* For a first try: a name, nothing made; want and what is set as they follow from attr and keep. attr lives as long as
 * t. */
int nfs3_temp_init(struct port *p, struct nfs3_temp *t, const struct nfs_dir *dir, const struct attr *attr,
                   unsigned keep, const struct xattrs *xattrs);
/* For another one, after a drop: another name, what is set as it follows from want now. */
int nfs3_temp_again(struct port *p, struct nfs3_temp *t);
/* Only what is set. */
void nfs3_temp_plan(struct port *p, struct nfs3_temp *t);
/* Makes it, private to us: a file, or what req says. Another name where that is taken. 0 or -errno, and then there is
 * nothing. */
int nfs3_temp_make(struct port *p, struct store_op *op, struct nfs3_temp *t, enum nfs3_proc proc, const char *target);
/* Sets owner, mode and times and looks at what came of it; steps down where it must. 0 or -errno; to be dropped then.
 */
int nfs3_temp_settle(struct port *p, struct store_op *op, struct nfs3_temp *t);
/* Removes it, as far as it was made. What cannot be removed is kept in mind. */
void nfs3_temp_drop(struct port *p, struct nfs3_temp *t);
/* Renames it to name, where t->expect stands; behind the fence. 0 or -errno; to be dropped then. */
int nfs3_temp_rename(struct port *p, struct store_op *op, struct nfs3_temp *t, const char *name);
/* The same; -EEXIST where anything stands under name. */
int nfs3_temp_link(struct port *p, struct store_op *op, struct nfs3_temp *t, const char *name);
/* Removes what could not be removed before: a few of those whose time has come, or all, waiting for it; until the
 * server cannot be asked. */
void nfs3_left_clean(struct port *p, bool all);
void nfs3_left_free(struct nfs3_store *s);

/* ---- nfs3_publish.c ---- */

int nfs3_publish(struct port *p, struct store_op *op);
/* In that directory, whatever op->dir is. */
int nfs3_publish_in(struct port *p, struct store_op *op, const struct nfs_dir *dir);
/* Writes len bytes, all of them: sync, or with what WRITE said about each piece told to note(arg, req). 0 or -errno. */
int nfs3_write_all(struct port *p, const struct nfs_fh *fh, const void *data, size_t len, uint64_t offset, bool sync,
                   void (*note)(void *arg, const struct nfs3_req *req), void *arg);

/* ---- nfs3_upload.c ---- */

int nfs3_upload_begin(struct port *p, struct store_op *op);
int nfs3_upload_write(struct port *p, struct store_op *op);
int nfs3_upload_copy(struct port *p, struct store_op *op);
int nfs3_upload_commit(struct port *p, struct store_op *op);
int nfs3_upload_abort(struct port *p, struct store_op *op);
int nfs3_upload_flush(struct port *p, struct store_op *op);
int nfs3_upload_park(struct port *p, struct store_op *op);

/* ---- nfs3_entries.c ---- */

int nfs3_mkdir(struct port *p, struct store_op *op);
int nfs3_symlink(struct port *p, struct store_op *op);
/* The same in a directory that is known by its handle. */
int nfs3_put_in(struct port *p, struct store_op *op, const struct nfs_dir *dir);
int nfs3_node(struct port *p, struct store_op *op);
int nfs3_link(struct port *p, struct store_op *op);

/* ---- nfs3_change.c ---- */

int nfs3_setattr(struct port *p, struct store_op *op);
/* In that directory, whatever op->dir is; of itself where op->name is NULL. */
int nfs3_setattr_in(struct port *p, struct store_op *op, const struct nfs_dir *dir);
int nfs3_remove(struct port *p, struct store_op *op);
/* In that directory, whatever op->dir is. */
int nfs3_remove_in(struct port *p, struct store_op *op, const struct nfs_dir *dir);
int nfs3_sync(struct port *p, struct store_op *op);

#endif
