/*
 * planner: walks the source, filters, compares, makes the directories, and streams shards of items into a bounded
 * queue while the walk goes on. It decides everything that could race: directories, what stands in the way, hard-link
 * leaders. Directories are finished (owner, mode, times) when the last item below them is done.
 *
 * Where each look at the destination is a round trip, a directory that stood there is listed once, with attributes, and
 * its entries are not asked for one by one.
 *
 * Memory does not grow with the number of files: listings are streamed, those of the destination are bounded, pending
 * directories are bounded (beyond that the walk goes depth first, with parked listings), hard-link groups live in a
 * private SQLite file.
 */
#ifndef HAUL_PLANNER_PLANNER_H
#define HAUL_PLANNER_PLANNER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/queue.h"
#include "planner/compare.h"
#include "planner/filter.h"
#include "planner/item.h"
#include "workers/store.h"

struct planner;

/* What was found and decided so far; written by the walkers, read by anybody. */
struct plan_counts {
    atomic_ulong dirs;       /* directories of the source met */
    atomic_ulong files;      /* regular files met */
    atomic_ulong bytes;      /* their sizes */
    atomic_ulong others;     /* symbolic links, FIFOs, sockets, device nodes met */
    atomic_ulong links;      /* entries met that are further names of a file met before; not counted in the above */
    atomic_ulong same;       /* entries that were right already */
    atomic_ulong same_bytes; /* sizes of the regular files among them */
    atomic_ulong excluded;   /* entries left out: filters, other file systems, device nodes, haul's own temp names */
    atomic_ulong todo;       /* items put into the queue */
    atomic_ulong todo_bytes; /* sizes of the regular files among them */
    atomic_ulong dirs_made;  /* directories created */
    atomic_ulong copies;     /* further hard links that the destination refused: copied anew, as a file of their own
                                      or as the first of more links */
    atomic_ulong gone;       /* entries of the destination that the source has no more and that are to be removed */
    atomic_bool walked;      /* the walk is over: only further hard links may be added to the figures */
    atomic_bool complete;    /* the walk is over: the figures are final */
};

/* What is remembered of an entry of a directory. */
struct plan_remembered {
    const char *name;       /* NUL-terminated; valid during the call, like what follows */
    size_t name_len;        /* bytes */
    const struct attr *src; /* of the source, when it was read */
    const struct attr *dst; /* what was published */
    bool intent;            /* only its name counts: it was about to be published */
    bool sure;              /* equal attributes at the source prove that the destination is right */
};
/* Called for each; returns 0, or what ends it. */
typedef int (*plan_recalled)(void *arg, const struct plan_remembered *row);

/* A failure of one entry; strings are valid during the call only. */
struct plan_failure {
    const struct dir *dir; /* where */
    const char *name;      /* entry, or NULL: the directory itself */
    const char *op;        /* "list", "mkdir", ... */
    int err;               /* positive errno */
    unsigned attempts;     /* tries made */
    bool on_source;        /* at the source or at the destination */
    bool below;            /* all that is below is left out with it */
};

/* A user, as a server takes us. */
struct plan_user {
    uid_t uid;           /* 0: may give files to others */
    const gid_t *groups; /* all of them, in any order */
    unsigned count;      /* of groups */
};

struct plan_options {
    struct store *src;           /* not owned */
    struct store *dst;           /* not owned */
    struct queue *queue;         /* of struct shard *; not owned; the planner closes it at the end */
    const struct filter *filter; /* may be NULL; not owned */
    const char *files_from;      /* file with a path a line relative to SRC, "-" standard input; NULL: walk all */
    bool from0;                  /* the list is separated by NUL */
    const char *only_name;       /* single-file SRC: the one entry of the source root that is copied; NULL else */
    const char *only_as;         /* its name at the destination root; NULL: the same. Items carry it (item_dst_name) */
    bool root_fresh;      /* the program has just created the destination's root: nothing can be in it but HAUL_DIR */
    bool one_file_system; /* do not go into other mounts */
    bool hard_links;      /* keep them */
    bool dry_run;         /* dst takes every change and makes none */
    bool archive_dirs;    /* keep directory times */
    bool devices;         /* device nodes are made (root); else skipped with a notice */
    const struct plan_user *user; /* who we are at the destination; NULL: who runs this process. Copied */
    bool owner_required;          /* owners and groups that cannot be had are differences and failures, not left out */
    unsigned keep;                /* STORE_KEEP_* */
    unsigned xattrs;              /* XATTRS_* that are kept besides; 0: none */
    unsigned walkers;             /* threads; 0: chosen from the source's caps */
    struct notices *notices;      /* may be NULL */
    void *arg;                    /* for the functions below; they are called from any walker, some from workers */
    /* What the state remembers of that source entry. May be NULL: KNOWN_NOTHING. */
    enum known (*known)(void *arg, const struct dir *dir, const char *name, const struct attr *src);
    /* An entry failed. */
    void (*failed)(void *arg, const struct plan_failure *failure);
    /* An entry is right already: it was compared with what stands there. May be NULL. */
    void (*same)(void *arg, const struct dir *dir, const char *name, const struct attr *src, const struct attr *there);
    /* dir was made at the destination. May be NULL. */
    void (*made)(void *arg, const struct dir *dir);
    /* dir stood at the destination before this run, and the walk has come to it. May be NULL. */
    void (*met)(void *arg, const struct dir *dir);
    /* dir stood at the destination before this run: the janitor's chance to look for stale temp names. Not called where
     * dir was listed for other reasons and no temp name was met. True: it took something out of dir, whose times have
     * changed with that. May be NULL. */
    bool (*existing)(void *arg, struct port *dst, struct dir *dir);
    /* The walk is over and no item is under way, though directories may still be on the way to being finished: whoever
     * holds directories should look after them now. Any thread, more than once. May be NULL. */
    void (*idle)(void *arg);
    /* Where each operation at the destination is a round trip: has planner_finish called for dir in another fiber,
     * soon, so that directories in each other are finished side by side. False: there is none. From inside an item,
     * where a directory is released, or in a walker. Does not wait. May be NULL: one after the other. */
    bool (*beside)(void *arg, struct dir *dir);
    /* dir, not the root, stood at the destination before this run. 0; -ERR_OWNED: another run works on it, the walk
     * stops there and fails; -errno. Before anything is done to it; may wait. May be NULL. */
    int (*owned)(void *arg, struct port *dst, struct dir *dir);

    /* Directories that are walked before all else, the first one first: paths relative to the source, none twice; not
     * owned, they outlive the planner. Of no account with files_from and only_name. */
    const char *const *first;
    size_t first_count; /* of them */
    /* Something in dir was not done, or dir itself: it failed, or the run is being stopped. Many times for one dir. May
     * be NULL. */
    void (*left)(void *arg, const struct dir *dir);
    /* dir stands at the destination with these attributes of the source's; its entries may still be under way in later
     * phases. Not told again of one that known_dir knows. May be NULL. */
    void (*finished)(void *arg, const struct dir *dir, const struct attr *attr);

    /* ---- a run that remembers what earlier ones did (haul sync); recall NULL: none of the following counts ---- */
    bool trust;           /* what is remembered as the source has it is right at the destination, which is not asked */
    bool checksum;        /* equal attributes prove nothing: contents are compared */
    bool remove;          /* what the source has no more is removed, once all else is done */
    bool extras;          /* with what haul never published: each directory is listed at the destination */
    bool remove_excluded; /* and with what is excluded */
    /* Calls fn for what is remembered of dir's entries in the order of their names, from the first after `after` (NULL:
     * all) on, at most limit (-1: no limit). 0, what fn returned, or -errno. */
    int (*recall)(void *arg, const struct dir *dir, const char *after, int64_t limit, plan_recalled fn, void *fn_arg);
    /* A directory's summary (planner/summary.h): what the planner makes of the rows that recall tells of, read at once
     * in later runs. Whoever keeps it keeps it the same as those rows. seed: the same in all runs. get: malloc'd; 0,
     * -ENOENT, -errno; put: len above 0, copied. NULL: rows are read always. */
    uint64_t summary_seed;
    int (*summary_get)(void *arg, const struct dir *dir, char **out_bytes, size_t *out_len);
    void (*summary_put)(void *arg, const struct dir *dir, const char *bytes, size_t len);
    /* Whether dir stands at the destination with these attributes, as far as is remembered. */
    bool (*known_dir)(void *arg, const struct dir *dir, const struct attr *src);
    /* Whether this run is to look at dir at the destination, whatever is remembered. */
    bool (*audited)(void *arg, const struct dir *dir);
    /* Whether both names are remembered as one file that is as the source has it. */
    bool (*linked)(void *arg, const struct dir *dir, const char *name, const struct attr *src,
                   const struct dir *from_dir, const char *from_name);
    /* dir/name is about to be published. Returns what commit is given. */
    uint64_t (*intend)(void *arg, const struct dir *dir, const char *name);
    /* Blocks until what was intended up to then is remembered whatever happens. 0; else nothing may be changed at the
     * destination: the run is being stopped. */
    int (*commit)(void *arg, uint64_t intended);
    /* With archive_dirs: something is put into dir or taken out, and its times are not what is remembered until it has
     * been finished. */
    void (*touched)(void *arg, const struct dir *dir);
    /* Neither source nor destination has dir/name any more. */
    void (*forget)(void *arg, const struct dir *dir, const char *name);
    /* dir does not stand at the destination, though it is remembered: reported as failed. */
    void (*astray)(void *arg, const struct dir *dir);
    /* counts->gone entries are about to be removed: false: nothing is. Once, in the thread that leads; after all else.
     */
    bool (*may_remove)(void *arg);
};

/* 0, -ENOMEM, or -errno of the list of files. options are copied; what they point to outlives the planner. Attaches the
 * stores to a tree of nodes of its own. */
int planner_create(const struct plan_options *options, struct planner **out_planner);

/* Starts the walk in threads of its own and returns. 0 or -EAGAIN: then there is nothing to join, the queue is closed.
 */
int planner_start(struct planner *p);

/* Waits for the end of walk and link phase; the queue is closed then. The pool must be running. Once; blocks. */
void planner_join(struct planner *p);

/* Stop as soon as possible: nothing more is put into the queue, waits between tries end. Any thread, non-blocking. */
void planner_stop(struct planner *p);

/* After planner_join and after the last item is done. NULL is fine. */
void planner_destroy(struct planner *p);

const struct plan_counts *planner_counts(const struct planner *p);

/*
 * Ends an item that came out of the queue, done or failed (result 0 or -errno), and frees it. Finishes directories that
 * have nothing left to do, through dst, the calling thread's port of the destination (NULL: the run is being stopped,
 * nothing is finished). Any thread; from a fiber: may wait.
 */
void planner_item_done(struct planner *p, struct port *dst, struct item *item, int result);

/*
 * The same for an item whose operation got no answer and was given up: item and its references stay, since the kernel
 * may still use them.
 */
void planner_item_lost(struct planner *p, struct port *dst, struct item *item, int result);

/* Finishes dir, once, as options.beside was told; dst as for planner_item_done. Any thread; from a fiber: may wait. */
void planner_finish(struct planner *p, struct port *dst, struct dir *dir);

/* planner_item_done, _lost or planner_finish will never return, since an operation on dir, a directory that was being
 * finished, was given up (and reported by whoever did that): does what was left to be done after it. Nothing that it
 * used is freed. */
void planner_finish_lost(struct planner *p, struct port *dst, struct dir *dir);

/*
 * Whether an ITEM_LINK would be refused for sure: another link to the same file was refused with -EMLINK. Whoever
 * carries it out then takes -EMLINK for its result and asks nobody. Any thread; takes a short lock.
 */
bool planner_link_is_full(struct planner *p, const struct item *item);

/*
 * Keeps dir from being finished until planner_release, and further hard links from being made meanwhile: what is done
 * about an entry after its item has ended (looking at it again) comes before both. hold: while dir cannot be finished,
 * that is from inside an item of dir, or while it is held. release: dst as for planner_item_done. Any thread.
 */
void planner_hold(struct planner *p, struct dir *dir);
void planner_release(struct planner *p, struct port *dst, struct dir *dir);

/* planner_release will never return, since an operation on dir, that directory or one above it, was given up, as for
 * planner_finish_lost. */
void planner_release_lost(struct planner *p, struct port *dst, struct dir *dir);

/*
 * What stands at the destination for the file attr of the source is broken, and has further names there that were
 * linked to it: all its names are published and linked anew once nothing is under way or held any more. May be called
 * for each of the names, while that one is held. 0; -EIO where this was done often enough for that file, or where no
 * group of it is known; -errno. Any thread.
 */
int planner_link_anew(struct planner *p, const struct attr *attr);

/* The root's node, without a reference for the caller. */
struct dir *planner_root(struct planner *p);

#endif
