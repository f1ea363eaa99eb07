/*
 * support_conformance: what every store must do, as a table of cases that run over any kind of store.
 *
 * A kind is a conf_place: how to open a store on a fresh folder, and the path under which that folder is seen from
 * outside, so that results are checked with plain calls and not with the store itself. Each case runs in a fiber, in
 * each way in which io can work, and fails the test through Criterion. After each case, whatever it did, no temp name
 * of haul may be left and no descriptor may be open that was not open before.
 */
#ifndef HAUL_TESTS_SUPPORT_CONFORMANCE_H
#define HAUL_TESTS_SUPPORT_CONFORMANCE_H

#include "support_io.h"
#include "workers/store.h"

struct conf;

/* What a case needs of a place or of who runs it; the case is passed over where a place lacks it. */
#define CONF_ROOT       1U   /* to be run as root */
#define CONF_NODES      2U   /* FIFOs, sockets, devices */
#define CONF_FAR_TIMES  4U   /* times before 1970 and after 2106 */
#define CONF_HOLES      8U   /* holes are kept and can be found */
#define CONF_XATTRS     32U  /* extended attributes */
#define CONF_ACLS       64U  /* POSIX ACLs */
#define CONF_LINK_TIMES 128U /* symbolic links have times of their own; only that is not looked at where they lack */
#define CONF_LATE       256U /* a listing looks at entries not much before they are handed out, not when it is read */
#define CONF_RESUME     512U /* uploads can be parked and resumed */
#define CONF_LOCAL      16U  /* the store works in this very kernel: permissions and symbolic links are checked here */

/* A kind of store. */
struct conf_place {
    const char *name; /* for messages */
    const char *base; /* folder in which fresh folders are made, seen from outside */
    unsigned lacks;   /* CONF_* */
    int (*open)(const struct store_options *options, struct store **out_store); /* options->path: seen from outside */
};

/* A case under way. */
struct conf {
    const struct conf_place *place;
    enum way way;
    struct lane lane;            /* owned */
    struct store *store;         /* owned; the destination */
    struct port *port;           /* owned */
    struct store *source;        /* owned; a posix store on the same folder, for reading */
    struct port *source_port;    /* owned */
    struct notices *notices;     /* owned */
    struct fence fence;          /* store_options, in cases that are fenced */
    struct dir_tree tree;        /* of root */
    struct dir *root;            /* one reference */
    char path[256];              /* of the folder, from outside */
    int fd;                      /* of the folder, from outside; owned */
    char run_id[RUN_ID_LEN + 1]; /* of the store */
    uid_t uid;                   /* who the store acts as */
    gid_t gid;                   /* and its group */
    bool as_user;                /* which are CONF_USER, in a process that is root */
    unsigned next;               /* hands out numbers to fibers */
    void *own;                   /* of the case, between run and after */
};

struct conf_case {
    const char *name;
    void (*run)(struct conf *c);
    unsigned needs;                /* CONF_* */
    unsigned fibers;               /* so many fibers of run at a time; 0: one */
    void (*after)(struct conf *c); /* in a fiber of its own, when all have returned; may be NULL */
    enum store_owner owner;        /* store_options */
    unsigned max_handles;          /* store_options; 0: 64 */
    bool as_user;                  /* the store acts as a user without rights (needs CONF_ROOT to become one) */
    bool fsync;                    /* store_options */
    bool fenced;                   /* behind c->fence, which is shut at first */
};

/* All cases. */
size_t conf_count(void);
const struct conf_case *conf_case_at(size_t i);

/* Runs one case in the calling process, which must not have run another. Skips the test where the case cannot run. */
void conf_run(const struct conf_place *place, enum way way, const struct conf_case *the_case);

/* The tables that conf_case_at looks through; each file of cases provides one. */
struct conf_table {
    const struct conf_case *cases;
    size_t count;
};
struct conf_table conf_cases_files(void);
struct conf_table conf_cases_uploads(void);
struct conf_table conf_cases_entries(void);
struct conf_table conf_cases_reading(void);
struct conf_table conf_cases_safety(void);
struct conf_table conf_cases_lease(void);
struct conf_table conf_cases_xattrs(void);
struct conf_table conf_cases_guard(void);

/* ---- for the cases ---- */

#define CONF_USER 65534 /* the user without rights, and its group */

/* A regular file's attributes: ours, fixed times with nanoseconds. */
struct attr conf_attr(const struct conf *c, mode_t perm, uint64_t size);
/* len bytes that depend on seed; malloc'd. */
char *conf_bytes(size_t len, unsigned seed);

/* The store's operations; 0 or -errno; the step goes into c only through messages. */
int conf_publish(struct conf *c, struct dir *dir, const char *name, const struct attr *attr, unsigned keep,
                 const void *data, struct attr *out);
int conf_stat(struct conf *c, struct dir *dir, const char *name, struct attr *out);
int conf_mkdir(struct conf *c, struct dir *dir, const char *name, mode_t mode);
int conf_remove(struct conf *c, struct dir *dir, const char *name, const struct attr *expect, bool is_dir);
int conf_begin(struct conf *c, struct dir *dir, const char *name, const struct attr *attr, struct store_upload **out);
int conf_write(struct conf *c, struct store_upload *u, const void *buf, size_t len, uint64_t offset);
int conf_commit(struct conf *c, struct store_upload *u, const struct attr *attr, struct attr *out);
int conf_abort(struct conf *c, struct store_upload *u);
/* BEGIN that tells where the upload stands (temp may be NULL), or goes on with what resume says (NULL: a new one). */
int conf_begin_temp(struct conf *c, const char *name, const struct attr *attr, const struct store_temp *resume,
                    struct store_temp *temp, struct store_upload **out);
int conf_flush(struct conf *c, struct store_upload *u);
int conf_park(struct conf *c, struct store_upload *u);

/* A node for a directory (which need not exist); one reference for the caller. */
struct dir *conf_dir(struct conf *c, struct dir *parent, const char *name);
/* Makes it through the store too. */
struct dir *conf_make_dir(struct conf *c, struct dir *parent, const char *name);

/* Looks and changes from outside; paths are relative to the folder. They fail the test where they fail. */
struct stat conf_see(const struct conf *c, const char *path);
bool conf_there(const struct conf *c, const char *path);
void conf_expect_bytes(const struct conf *c, const char *path, const void *data, size_t len);
void conf_put_file(const struct conf *c, const char *path, const void *data, size_t len, mode_t mode);
/* The entry at path is what attr says: type, bits, owner, times as keep says; size of a regular file. */
void conf_expect_attr(const struct conf *c, const char *path, const struct attr *attr, unsigned keep);
/* Temp names of haul in the folder and below, and open descriptors of this process. */
unsigned conf_temps(const struct conf *c);
unsigned conf_descriptors(void);
/* The one temp name in the folder at path. */
void conf_temp_name(const struct conf *c, const char *path, char out_name[TEMP_NAME_MAX]);
/* Becomes root again to look from outside, and the store's user to go on. */
void conf_as_root(const struct conf *c);
void conf_as_user(const struct conf *c);
/* How often a notice with that word in it was raised. */
uint64_t conf_noticed(const struct conf *c, const char *word);

#endif
