/*
 * nfs41_internal: what the files of the nfs41 store share.
 *
 *   nfs41.c          opening, the table of codes
 *   nfs41_look.c     looking around at the server; capabilities
 *   nfs41_path.c     the way to the export's path, missing directories
 *   nfs41_probe.c    what the server can do, found out with files of the store's own
 *   nfs41_call.c     one COMPOUND: sent, and what its failure means
 *   nfs41_dirs.c     how a directory is reached; all else about handles is in nfs_dirs.c
 *   nfs41_owner.c    how owners are refused, names of owners; all else about them is in want.c
 *   nfs41_read.c     looking and reading: stat, readlink, read
 *   nfs41_list.c     listings
 *   nfs41_temp.c     temp names: made, settled, renamed, dropped, and those that were left
 *   nfs41_judge.c    what is done when one of them is not what it should be
 *   nfs41_publish.c  whole small files
 *   nfs41_gather.c   several of them in one COMPOUND
 *   nfs41_upload.c   large files
 *   nfs41_resume.c   one that was left, taken up again
 *   nfs41_entries.c  symbolic links, nodes, links, directories
 *   nfs41_change.c   attributes of what is there, removal
 */
#ifndef HAUL_STORES_NFS41_INTERNAL_H
#define HAUL_STORES_NFS41_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "workers/stores/nfs41/client.h"
#include "workers/stores/nfs41/nfs41.h"
#include "workers/stores/nfs41/nfserr.h"
#include "workers/stores/nfs41/ops.h"
#include "workers/stores/nfs41/session.h"
#include "workers/stores/nfs_dirs.h"
#include "workers/stores/nfs_want.h"

#define NFS41_NAME_TRIES 8   /* other temp names, where one was taken */
#define NFS41_TRIES      6   /* of one file, each after a reason to try again */
#define NFS41_WAY_MAX    64U /* directories on the way to the root that are remembered */

/* A temp name that could not be removed, perhaps with an open file. */
struct nfs41_left {
    struct nfs41_left *next;
    struct nfs_dir dir;
    uint64_t owner; /* whose open it may be */
    char name[TEMP_NAME_MAX];
};

struct nfs41_name; /* an owner's name and its number */

struct nfs41_store {
    struct store head;
    const char *run_id;        /* for temp names; not owned */
    struct notices *notices;   /* may be NULL; not owned */
    struct fence *fence;       /* may be NULL; not owned */
    struct nfs_client *client; /* owned, but where shared */
    bool shared;               /* client is another store's, which outlives this one */
    unsigned made;             /* directories that were missing when it was opened */
    bool missing;              /* its root still is */
    bool untried;              /* it was opened with try_later, and neither tried nor trusted */
    bool has_limits;           /* max_name ... delta_ns are filled in */
    int64_t delta_ns;          /* of time stamps, as the server tells */
    struct nfs_dir *way;       /* from the pseudo root to the root, the first NFS41_WAY_MAX; owned. Where the root is
                                    missing: as far as there is one */
    unsigned way_count;        /* directories on the way, so far; 0: not known */
    size_t way_len;            /* bytes of path that it goes */
    struct nfs_client_options reach; /* what it was made with; its strings and groups are owned here; owner is NULL */
    char *path;                      /* of the root, as the server's pseudo root sees it; owned */
    uid_t uid;                       /* who owns what we make, as the server has it */
    gid_t gid;                       /* and its group, but in setgid directories */
    uint32_t max_name;               /* bytes of a name; 0: the server does not say */
    uint64_t max_read;               /* bytes of a READ */
    uint64_t max_write;              /* bytes of a WRITE */
    uint64_t space_avail;            /* bytes free to us at the start; UINT64_MAX: the server does not say */
    uint64_t files_avail;            /* files that we could still make then; the same */

    struct owning owning;       /* constant, but for refused; its groups are owned here */
    atomic_bool owner_surprise; /* a new file was not owned as predicted: never again rely on it */
    atomic_uint steps;          /* NFS41_STEP_* */
    atomic_uint next_owner;     /* of open files: one for each port */
    atomic_ullong publishes;    /* see nfs41_facts */
    atomic_ullong reads;        /* see nfs41_facts */
    atomic_ullong combined;
    atomic_ullong cleanups;
    atomic_bool has_left;    /* left is not empty */
    atomic_uint write_limit; /* bytes of a WRITE: less than was granted, where that was too much; 0: as granted */
    atomic_uint generation;  /* of the client, when the fence was last asked; at first: when the store was opened */

    struct nfs_dirs dirs; /* its own lock */

    pthread_mutex_t lock;     /* guards what follows; held for moments only */
    struct nfs41_left *left;  /* owned */
    unsigned left_count;      /* of left */
    struct nfs41_name *names; /* owners that are no numbers; owned */
    unsigned name_count;      /* of names */
};

struct fibers;
struct nfs41_put;

struct nfs41_port {
    struct port head;
    struct nfs_session *session; /* opened, so to be closed; NULL until it is needed */
    uint64_t owner;              /* of its open files */
    unsigned flying;             /* COMPOUNDs that publish, under way or about to be */
    unsigned queued;             /* of what follows */
    struct nfs41_put *first;     /* files that wait for one of those to end, in order */
    struct nfs41_put *last;
};

/* An open source file; the store comes first (store.h). */
struct store_file {
    const struct store *store;
    struct nfs_fh fh;
    struct nfs_stateid stateid; /* anonymous, but with NFS41_STEP_READ_OPEN */
    bool open;                  /* stateid is to be closed */
    bool sparse;                /* it has holes, as far as its space tells */
};

/* How it is set and checked: what goes into SETATTR and VERIFY. nfs41_temp.c. */
struct nfs41_plan {
    struct attr attr; /* values */
    uint64_t first;   /* NFS_ATTR_*: of the first SETATTR; 0: none */
    uint64_t second;  /* of the second one; 0: none */
    uint64_t verify;  /* of VERIFY; 0: none */
};

/* Something under a temp name, on its way to its final name. nfs41_temp.c. */
struct nfs41_temp {
    struct nfs_dir dir; /* in which it is */
    struct want want;
    struct nfs41_plan plan;
    struct nfs_fh fh;           /* of itself; len 0: not known */
    struct nfs_stateid stateid; /* of its OPEN */
    mode_t strip;               /* bits that the server takes away again and that are done without */
    bool apart;                 /* the mode is set apart from all else, whatever is expected */
    bool made;                  /* it is there, as far as we know */
    bool open;                  /* stateid is to be closed */
    bool unknown;               /* what became of it, nobody knows: its answer was lost */
    bool has_seen;              /* seen is filled in */
    bool named;                 /* its owner or group read back as a name, not as a number */
    bool guards;                /* its rename is sent behind a VERIFY of expect */
    bool guarded;               /* that stopped it */
    bool looks;                 /* the server cannot compare expect: we look */
    const struct attr *expect;  /* it replaces only what is this; NULL: anything; not owned */
    unsigned settled;           /* SETATTRs that were carried out */
    struct attr seen;           /* as last looked at */
    char name[TEMP_NAME_MAX];   /* "": none yet */
};

static inline struct nfs41_store *nfs41_of(const struct port *p)
{
    return (struct nfs41_store *)p->store;
}

static inline struct nfs41_port *nfs41_port_of(struct port *p)
{
    return (struct nfs41_port *)p;
}

static inline bool nfs41_stepped(const struct nfs41_store *s, unsigned step)
{
    return (atomic_load_explicit(&s->steps, memory_order_relaxed) & step) != 0;
}

/* ---- nfs41.c ---- */

/* A port of s; io as store_port_create has it. problem: where a sentence for people goes, and then the server is asked
 * at once (nfs_session_open_mute); NULL: with the first operation. 0 or -errno. */
int nfs41_port_open(struct nfs41_store *s, struct io *io, struct port **out, char **problem);
/* The store's port_destroy. */
void nfs41_port_close(struct port *p);

/* ---- nfs41_look.c ---- */

/* Goes to the root, which nfs says whether to make, and tries the server out as nfs says; fills in s's capabilities.
 * Through a port that lives only now. Before anybody else has the store; blocks. 0, also where the root is missing and
 * may be (s->missing); else -errno with *problem. */
int nfs41_look(struct nfs41_store *s, const struct nfs41_options *nfs, char **problem);

/* ---- nfs41_call.c ---- */

/* A COMPOUND of the port's session, which is opened where it is not yet. 0 or -errno. To be ended with
 * nfs_compound_end. */
int nfs41_begin(struct port *p, struct nfs_compound **out);
/* Those of the port's session, or of another one where it has none yet. */
void nfs41_limits(struct port *p, struct nfs_limits *out);
/* Sends it. 0: it has results; else -errno, and c->sent says whether the outcome is unknown. */
int nfs41_send(struct port *p, struct nfs_compound *c);
/* The same, until deadline_ns (monotonic). */
int nfs41_send_until(struct port *p, struct nfs_compound *c, int64_t deadline_ns);
/* Asks the fence, which is doubted first where the server has dropped us meanwhile. 0 or -errno with op->step. */
int nfs41_fence(struct port *p, struct store_op *op);
/* What a decoding came to: 0; -errno as it is; of an NFS4ERR its errno, with the operation's name in op->step (which
 * may be NULL where op is). */
int nfs41_result(struct store_op *op, const struct nfs_compound *c, int r);
/* The operation at which c stopped; 0 where it did not. */
enum nfs_op nfs41_stopped_at(const struct nfs_compound *c);
/* The operation whose result would be read next; 0: there is none. */
enum nfs_op nfs41_next(const struct nfs_compound *c);
/* What it is called in messages; NULL: as the store's operation is. Static. */
const char *nfs41_step(enum nfs_op op);
/* Says so and returns err. */
int nfs41_fail(struct store_op *op, const char *step, int err);
/* Whether a handle is to be looked up anew. */
bool nfs41_is_stale(uint32_t status);
/* Struct attr of what a reply has; names of owners are looked up. */
void nfs41_attr_of(struct nfs41_store *s, const struct nfs_attrs *attrs, struct attr *out);
/* Decodes the result of GETATTR. 0, NFS4ERR or -errno. */
int nfs41_get_attr(struct port *p, struct nfs_compound *c, struct attr *out);

/* ---- nfs41_path.c ---- */

/* Walks from the server's root to s->path. nfs: whether and how missing directories are made, and the way is
 * remembered, from which on it goes on where the root was missing, and the times of the root are (store_caps); NULL:
 * neither.
 * out_made: how many were; may be NULL. 0 or -errno with *problem, which may be NULL itself. */
int nfs41_path_walk(struct port *p, const struct nfs41_options *nfs, struct nfs_dir *out, unsigned *out_made,
                    char **problem);

/* ---- nfs41_probe.c ---- */

/* Tries the server out, in further fibers of that set, and fills in what s knows of it. Before anybody else has the
 * store; in a fiber. *ending becomes true meanwhile, when one more round trip will be the last. 0 or -errno with
 * *problem. */
int nfs41_probe(struct port *p, const struct nfs41_options *nfs, struct fibers *fibers, bool *ending, char **problem);
/* Adds the question for the limits of the file system where the COMPOUND stands; reads the answer into the store. 0,
 * NFS4ERR or -errno. */
void nfs41_put_limits(struct nfs_compound *c);
int nfs41_get_limits(struct port *p, struct nfs_compound *c);
/* Both, of the root. 0 or -errno. */
int nfs41_ask_limits(struct port *p);

/* ---- nfs41_dirs.c ---- */

/* Adds the LOOKUP of name in the current directory, and what is to be known of a directory; reads the results into
 * out. 0, NFS4ERR or -errno (-ELOOP, -ENOTDIR). */
void nfs41_put_level(struct nfs_compound *c, const char *name);
int nfs41_get_level(struct port *p, struct nfs_compound *c, struct nfs_dir *out);
/* The store's nfs_dirs_walk and its dir_release. */
int nfs41_dirs_walk(struct port *p, struct dir *dir, struct nfs_dir *out);
void nfs41_dir_release(struct store *store, struct dir *dir);
/* nfs_dirs_run by the port's store. */
int nfs41_in_dir(struct port *p, struct store_op *op, struct dir *dir, bool makes,
                 int (*fn)(struct port *p, struct store_op *op, const struct nfs_dir *dir));

/* ---- nfs41_owner.c ---- */

/* The server refuses the owner, status says how: 0 and the wish is forgotten, or -EPERM where it is required. made: the
 * entry is new and our own. */
int nfs41_want_refused(struct nfs41_store *s, struct want *w, uint32_t status, bool made);
/* Whether that is how servers refuse to set owners. */
bool nfs41_is_owner_refusal(uint32_t status);
/* The number of an owner, or of a group, that the server calls by name ("root@example.org"); nobody's where it is not
 * known here. May block in the name service, once for each name. */
uint32_t nfs41_owner_number(struct nfs41_store *s, const struct nfs_owner_text *text, bool group);
void nfs41_names_free(struct nfs41_store *s);

/* ---- nfs41_read.c ---- */

int nfs41_stat(struct port *p, struct store_op *op);
/* Attributes of what a handle stands for. 0 or -errno. */
int nfs41_stat_fh(struct port *p, const struct nfs_fh *fh, struct attr *out);
int nfs41_xattrs(struct port *p, struct store_op *op);
int nfs41_readlink(struct port *p, struct store_op *op);
int nfs41_read_small(struct port *p, struct store_op *op);
/* In that directory, whatever op->dir is. */
int nfs41_read_small_in(struct port *p, struct store_op *op, const struct nfs_dir *dir);
int nfs41_file_open(struct port *p, struct store_op *op);
int nfs41_file_read(struct port *p, struct store_op *op);
int nfs41_file_extent(struct port *p, struct store_op *op);
int nfs41_file_stat(struct port *p, struct store_op *op);
int nfs41_file_close(struct port *p, struct store_op *op);

/* ---- nfs41_list.c ---- */

int nfs41_list_open(struct port *p, struct store_op *op);
int nfs41_list_next(struct port *p, struct store_op *op);
int nfs41_list_park(struct port *p, struct store_op *op);
int nfs41_list_close(struct port *p, struct store_op *op);

/* ---- nfs41_temp.c ---- */

/* For a first try: a name, nothing made; want and plan as they follow from attr and keep. 0 or -errno. attr lives as
 * long as t. */
int nfs41_temp_init(struct port *p, struct nfs41_temp *t, const struct nfs_dir *dir, const struct attr *attr,
                    unsigned keep, const struct xattrs *xattrs);
/* For another one, after a drop: another name, the plan as it follows from want now. 0 or -errno. */
int nfs41_temp_again(struct port *p, struct nfs41_temp *t);
/* Only the plan. */
void nfs41_temp_plan(struct port *p, struct nfs41_temp *t);
/* Adds the OPEN that makes the file, in the current directory. */
void nfs41_put_temp_open(struct port *p, struct nfs_compound *c, const struct nfs41_temp *t);
int nfs41_get_temp_open(struct nfs_compound *c, struct nfs41_temp *t);
/* Adds SETATTR, GETATTR and, where the server has it, VERIFY on the current handle; stateid as for nfs_put_setattr.
 * Reading them looks for itself where there is no VERIFY (NFS4ERR_NOT_SAME). */
void nfs41_put_settle(struct port *p, struct nfs_compound *c, const struct nfs41_temp *t,
                      const struct nfs_stateid *stateid);
int nfs41_get_settle(struct port *p, struct nfs_compound *c, struct nfs41_temp *t);
/* Whether what was seen is what is wanted. 0 or NFS4ERR_NOT_SAME. */
int nfs41_temp_check(const struct nfs41_temp *t);

/* Makes the file, in a COMPOUND of its own. 0 or -errno, and then there is nothing. */
int nfs41_temp_open(struct port *p, struct store_op *op, struct nfs41_temp *t);
/* The file that op->put.resume tells of instead, if it is still that one, and as private as a new one. 0 or -errno: it
 * was left alone then. */
int nfs41_temp_resume(struct port *p, struct store_op *op, struct nfs41_temp *t);
/* Ends its OPEN, if that is not gone with the server that gave it. 0 or -errno. */
int nfs41_temp_close(struct port *p, struct nfs41_temp *t);
/* Closes and removes it, as far as it was made. What cannot be removed is kept in mind. */
void nfs41_temp_drop(struct port *p, struct nfs41_temp *t);
/* Renames it, which is closed, to name, where t->expect stands; behind the fence. 0 or -errno; to be dropped then. */
int nfs41_temp_rename(struct port *p, struct store_op *op, struct nfs41_temp *t, const char *name);
/* The same; -EEXIST where anything stands under name. */
int nfs41_temp_link(struct port *p, struct store_op *op, struct nfs41_temp *t, const char *name);
/* Removes what could not be removed before: a few, or all; until the server cannot be asked. */
void nfs41_left_clean(struct port *p, bool all);
void nfs41_left_free(struct nfs41_store *s);

/* ---- nfs41_guard.c ---- */

/* What VERIFY compares, as attr_is_same_file, attr_is_same_entry and attr_is_meant do: of a file that is to be linked,
 * of what is to be removed, of an entry that is to be replaced or changed. */
#define NFS41_SAME_FILE       (NFS_ATTR_TYPE | NFS_ATTR_SIZE | NFS_ATTR_FILEID | NFS_ATTR_MTIME)
#define NFS41_SAME_ENTRY(dir) ((dir) ? NFS_ATTR_TYPE | NFS_ATTR_FILEID : NFS41_SAME_FILE)
#define NFS41_MEANT           (NFS41_SAME_FILE | NFS_ATTR_MODE)

/* Whether the rename of t is to go behind the server's own look at what stands there. */
bool nfs41_guards(const struct nfs41_store *s, const struct nfs41_temp *t);
/* Adds LOOKUP, VERIFY and RESTOREFH; the directory is the current and the saved handle. */
void nfs41_put_guard(struct nfs_compound *c, const char *name, const struct attr *expect);
/* 0, NFS4ERR or -errno. t->guarded: an NFS4ERR here, and not before or after, stopped it. */
int nfs41_get_guard(struct nfs_compound *c, struct nfs41_temp *t);
/* t was stopped there with r: -ESTALE with STORE_STEP_GUARD; 0: once more, where we look ourselves (t->looks); -errno.
 */
int nfs41_guard_judge(struct store_op *op, struct nfs41_temp *t, enum nfs_op stop, int r);
/* Looks itself. 0, -ESTALE with STORE_STEP_GUARD, -errno. */
int nfs41_guard_look(struct port *p, struct store_op *op, const struct nfs41_temp *t, const char *name);

/* ---- nfs41_judge.c ---- */

/*
 * A COMPOUND that made, settled and perhaps renamed t stopped at stop with r (NFS4ERR): what is to be done. 0: it may
 * work now, want, plan or steps have changed, or it may be chance; else -errno with op->step. tries: how often that was
 * said of this file already.
 */
int nfs41_judge(struct port *p, struct store_op *op, struct nfs41_temp *t, enum nfs_op stop, int r, unsigned tries);

/* ---- nfs41_publish.c ---- */

/* A small file on its way, while it may share a COMPOUND with others. */
struct nfs41_put {
    struct store_op *op;
    struct nfs41_temp t;
    int r;            /* 0, NFS4ERR (> 0) or -errno */
    enum nfs_op stop; /* the operation that failed */
    bool sent;        /* r < 0: some of it may have left, the outcome is unknown */
    /* nfs41_gather's own; of the port's thread. */
    struct nfs41_put *next; /* in the queue, or in the same COMPOUND */
    struct io_event event;  /* its fiber waits here */
    int64_t deadline_ns;    /* monotonic; its call must end by then */
    uint8_t state;          /* where it stands */
};

int nfs41_publish(struct port *p, struct store_op *op);
/* In that directory, whatever op->dir is. */
int nfs41_publish_in(struct port *p, struct store_op *op, const struct nfs_dir *dir);
/* Adds all operations of one file; the directory is the current and the saved handle. */
void nfs41_put_file(struct port *p, struct nfs_compound *c, const struct nfs41_put *put);
/* Reads their results into put. */
void nfs41_get_file(struct port *p, struct nfs_compound *c, struct nfs41_put *put);

/* ---- nfs41_gather.c ---- */

/* Sends put, alone or, where all slots are busy, together with others that wait too. Results in put. */
void nfs41_gather(struct port *p, struct nfs41_put *put);

/* ---- nfs41_upload.c ---- */

/* The most bytes that one WRITE can carry now. */
size_t nfs41_write_at_once(struct port *p);
/* A WRITE of so many bytes was too much for the server: whether fewer may do. */
bool nfs41_write_less(struct nfs41_store *s, size_t len);
/* A whole small file that has to be written in several pieces. As nfs41_publish_in. */
int nfs41_publish_in_parts(struct port *p, struct store_op *op, const struct nfs_dir *dir);
int nfs41_upload_begin(struct port *p, struct store_op *op);
int nfs41_upload_write(struct port *p, struct store_op *op);
int nfs41_upload_copy(struct port *p, struct store_op *op);
int nfs41_upload_commit(struct port *p, struct store_op *op);
int nfs41_upload_abort(struct port *p, struct store_op *op);
int nfs41_upload_flush(struct port *p, struct store_op *op);
int nfs41_upload_park(struct port *p, struct store_op *op);

/* ---- nfs41_entries.c ---- */

int nfs41_mkdir(struct port *p, struct store_op *op);
int nfs41_symlink(struct port *p, struct store_op *op);
/* The same in a directory that is known by its handle. */
int nfs41_symlink_in(struct port *p, struct store_op *op, const struct nfs_dir *dir);
int nfs41_node(struct port *p, struct store_op *op);
int nfs41_link(struct port *p, struct store_op *op);

/* ---- nfs41_change.c ---- */

int nfs41_setattr(struct port *p, struct store_op *op);
/* In that directory, whatever op->dir is; of itself where op->name is NULL. */
int nfs41_setattr_in(struct port *p, struct store_op *op, const struct nfs_dir *dir);
int nfs41_remove(struct port *p, struct store_op *op);
/* In that directory, whatever op->dir is. */
int nfs41_remove_in(struct port *p, struct store_op *op, const struct nfs_dir *dir);
int nfs41_sync(struct port *p, struct store_op *op);

#endif
