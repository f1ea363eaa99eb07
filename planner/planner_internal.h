/*
 * planner_internal: what the files of the planner share. Not for other rooms.
 *
 *     planner.c    create, start, phases, join, stop; the end of an item
 *     stack.c      pending directories, shared by the walkers
 *     walk.c       the walk itself
 *     enter.c      a directory: its attributes, and its counterpart at the destination
 *     entry.c      what is to be done for one entry
 *     extra.c      extended attributes: of both sides, compared
 *     there.c      what stands in a directory at the destination, where it is dear to ask
 *     shards.c     items into shards, shards into the queue
 *     finish.c     plan nodes; directories that have nothing left to do
 *     links.c      the table of hard-link groups
 *     linkphase.c  further names of files, after everything else
 *     filesfrom.c  the list of files instead of a walk; lines.c its lines
 *     chain.c      directory nodes along a path
 */
#ifndef HAUL_PLANNER_INTERNAL_H
#define HAUL_PLANNER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dir.h"
#include "planner/chain.h"
#include "planner/planner.h"
#include "planner/stack.h"
#include "workers/io.h"
#include "workers/shard.h"
#include "workers/store.h"

#define WALKERS_MAX 64 /* threads */

struct links;
struct link_phase;
struct there;

/*
 * What the walkers share in a round of links, and whoever works through paths that are sorted by directory: each
 * directory has one node at a time, so that it is unlocked before its first item and finished after its last.
 */
struct link_phase {
    pthread_mutex_t lock; /* for the following */
    struct chain chain;   /* on the way to the present directory */
    struct dir *dir;      /* present directory, alive through one pending part of its plan; NULL: none */
    char *path;           /* its path; owned */
    bool failed;          /* the table is broken: reported, and nothing more is done */
};

/* What the planner knows of a directory with work left: dir->plan. Written by the walker that enters the directory,
 * before anything else can see it, save where said. */
struct plan_dir {
    atomic_uint
        pending; /* what is not done yet: its listing, its items, its subdirectories; at 0 it is finished, freed */
    atomic_bool touched;   /* something was put into it or taken out: its times have changed */
    bool has_attr;         /* attr is filled in */
    bool made;             /* it stands at the destination and gets attr at the end */
    bool fresh;            /* this run made it: nothing was in it */
    bool right;            /* it stood there with the right attributes already */
    bool alone;            /* its parent is not counting it */
    bool prepared;         /* enter_prepare has done its part already */
    bool loose;            /* may be entered once more by this run: stays writable until the end (late directories) */
    struct attr attr;      /* of the source directory */
    struct xattrs *xattrs; /* of the source directory, where they are kept and it is made or not right; owned; NULL:
                              they are left alone */
    struct attr *listed;   /* as it stood at the destination when its parent was listed there; owned; NULL: not known */
    struct there *there;   /* what stands there, while the entries are walked; only its walker; owned */
    struct recall *recall; /* what is remembered of its entries, likewise; owned */
    bool unrecalled;       /* it could not be read as a whole: entries are asked for one by one */
    bool listing;          /* its entries are being walked */
    bool audit;            /* nothing is trusted in it */
    bool assumed;          /* it stands at the destination as far as is remembered; nobody has looked yet */
    bool astray;           /* somebody has looked, and it does not */
    bool known;            /* it is remembered with these very attributes */
    uint64_t intended;     /* what commit is given before it is made; 0: nothing */
    unsigned asked;        /* entries that were asked for one by one */
};

/* A directory whose listing is under way. */
struct frame {
    struct dir *dir;         /* alive through its plan's pending */
    struct store_list *list; /* owned */
    bool some;               /* an entry was listed */
};

/* One thread that walks. Belongs to that thread. */
struct walker {
    struct planner *p;     /* not owned */
    unsigned index;        /* 0: the thread that leads the phases */
    pthread_t thread;      /* valid once started */
    struct io *io;         /* owned; written under the planner's lock, from which planner_stop reaches it */
    struct port *src;      /* owned */
    struct port *dst;      /* owned */
    struct shard *shard;   /* being filled, or NULL; owned */
    uint64_t intended;     /* what commit is given before it is pushed; 0: nothing */
    struct dir *shard_dir; /* directory of its last item; compared only */
    struct frame *frames;  /* listings under way, the innermost last; owned */
    size_t frame_count;    /* of them */
    size_t frame_capacity; /* room */
    char *path;            /* path of path_dir, for the filters; owned */
    size_t path_len;       /* bytes, 0 for the root */
    size_t path_capacity;  /* bytes */
    struct dir *path_dir;  /* one reference, or NULL: path is not valid */
};

enum phase {
    PHASE_FIRST, /* what is below the directories that earlier runs have left */
    PHASE_WALK,
    PHASE_LINKS,
    PHASE_END, /* the walkers leave */
};

struct planner {
    struct plan_options options; /* constant */
    struct plan_counts counts;
    struct dir_tree tree; /* of all nodes */
    struct dir *root;     /* one reference */
    dev_t root_dev;       /* of the source's root; written before the walkers look */
    uint64_t root_ino;    /* likewise */
    unsigned uid;         /* effective; constant */
    gid_t *groups;        /* that we are in, the effective one among them; owned; constant */
    int group_count;      /* of them */
    int list_fd;          /* files_from, or -1; closed by planner_destroy unless it is standard input */

    struct stack stack;            /* its own lock */
    struct links *links;           /* its own lock */
    struct first *first;           /* what is walked before all else; NULL: nothing */
    struct gone *gone;             /* what is to be removed; its own lock; NULL: nothing ever */
    bool removed;                  /* the removals are over; written between the phases */
    struct link_phase *link_phase; /* during PHASE_LINKS; its own lock */
    atomic_bool stop;              /* planner_stop was called */
    atomic_bool links_full;        /* a link was refused since its file had too many */
    atomic_bool owner_asked;       /* the destination was asked to set an owner */
    atomic_ulong undone;           /* items made and not carried out */
    atomic_ulong outstanding;      /* items made and not ended: what is finished after them is, too */
    atomic_ulong held;             /* planner_hold without its planner_release */
    uint64_t there_seed;           /* of the hashes in there.c; constant */
    atomic_ulong recall_count;     /* slots of all that is recalled */
    atomic_ulong there_count;      /* entries that all of its lists have room for */

    struct walker *walkers; /* owned */
    unsigned walker_count;  /* of them; written by the first one under the lock */

    pthread_mutex_t lock;  /* for what follows */
    pthread_cond_t change; /* signalled when any of it changes, outstanding becomes 0, or stop is set */
    enum phase phase;
    unsigned generation; /* counts the phases */
    unsigned busy;       /* walkers but the first that have not ended the phase */
};

static inline bool planner_stopping(const struct planner *p)
{
    return atomic_load_explicit(&p->stop, memory_order_relaxed);
}

static inline void count_add(atomic_ulong *counter, unsigned long n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline struct plan_dir *plan_of(const struct dir *dir)
{
    return dir->plan;
}

/* Tells options.failed, unless err (sign ignored) only says that the run is being stopped. */
void plan_failed(struct planner *p, const struct dir *dir, const char *name, const char *op, int err, bool on_source,
                 bool below);

/* The same for a request that failed; at whose side it was is known from the port. */
void plan_op_failed(struct walker *w, const struct port *port, const struct store_op *op, const struct dir *dir,
                    const char *name, int err, bool below);

/* Something in dir, or dir itself, is left undone by this run: tells options.left. */
static inline void plan_left(struct planner *p, const struct dir *dir)
{
    if (p->options.left != NULL) {
        p->options.left(p->options.arg, dir);
    }
}

/* --- finish.c --- */

/* Gives dir a plan node with one pending part; its parent's node, unless alone, counts it. Each node holds a reference
 * to its dir. 0 or -ENOMEM. */
int plan_dir_create(struct dir *dir, bool alone);

/* One more pending part. The caller's own keeps the node alive. */
void plan_dir_hold(struct dir *dir);

/* One part of dir is done. Finishes dir and then its parents as far as nothing is left in them; dst NULL, or a run that
 * is being stopped: frees them only. dir itself may be gone afterwards. */
void plan_dir_done(struct planner *p, struct port *dst, struct dir *dir);

/* Nothing is left to do of dir but to finish it, as options.beside was told; dst as for plan_dir_done. */
void plan_dir_end(struct planner *p, struct port *dst, struct dir *dir);

/* The finishing of dir within plan_dir_done or plan_dir_end got no answer and was given up: goes on with its parents.
 */
void plan_dir_lost(struct planner *p, struct port *dst, struct dir *dir);

/* The keep flags for a directory's attributes. */
unsigned plan_dir_keep(const struct planner *p);

/* --- enter.c --- */

/* A node for the directory name in dir, with its plan. 0 or -errno, not reported. */
int enter_child(struct dir *dir, const char *name, size_t name_len, const struct attr *attr, struct dir **out_child);

/* Keeps what the listing of its parent at the destination, if there was one, tells of dir. Only the parent's walker. */
void enter_listed(const struct planner *p, struct dir *dir);

/* Gets the source's attributes of dir and sees to it that it stands at the destination. 0, or -errno, reported. */
int enter_prepare(struct walker *w, struct dir *dir);

/* For a directory that stands at the destination: makes it writable for us where it is ours and is not. attr: as it
 * stands. 0 or -errno, not reported. */
int enter_unlock(struct walker *w, struct dir *dir, const struct attr *attr, bool *out_changed);

/* --- entry.c --- */

/* Decides and does all that is to be done for a non-directory, but for the copy itself. */
void entry_plan(struct walker *w, struct dir *dir, const char *name, size_t name_len, const struct attr *attr);

/* The same for one that is known not to be a further name: compares (unless fresh) and makes the item. */
void entry_decide(struct walker *w, struct dir *dir, const char *name, size_t name_len, const struct attr *attr,
                  bool leader, bool fresh);

/* What of keep can be had for an entry with attr where there stands now; takes special bits out of *attr that would go
 * with an owner that cannot be had. Else each run would find the same difference again. */
unsigned entry_keep(const struct planner *p, unsigned keep, const struct attr *there, struct attr *attr);

/* Before entry_keep: where dir/name (NULL: dir itself) has another owner at the destination than at the source, has the
 * destination find out whether it takes owners at all. Once a run. */
void entry_ask_owner(struct walker *w, struct dir *dir, const char *name, const struct attr *there,
                     const struct attr *attr);

/* Makes room where a directory stands in the way of a non-directory: removes it if it is empty. 0, or -errno, reported.
 */
int entry_clear(struct walker *w, struct dir *dir, const char *name, const struct attr *there);

/* Whether name (known to be a directory or not) is left out; counted then. */
bool entry_excluded(struct walker *w, struct dir *dir, const char *name, size_t name_len, bool is_dir);

/* --- extra.c --- */

/* Whether the extended attributes of dir/name (to: its name at the destination) differ. False where none are kept. 0 or
 * -errno, reported. */
int extra_differs(struct walker *w, struct dir *dir, const char *name, const char *to, bool *out_differs);

/* Puts those of the directory at the source into its plan: fresh: as it is new, else where they differ, which makes it
 * not right. What fails is reported; the other attributes are set nevertheless. */
void extra_plan_dir(struct walker *w, struct dir *dir, bool fresh);

/* --- there.c --- */

/* Makes sure that dir, which is only assumed to stand at the destination, does, before anything is done in it. 0 or
 * -errno, reported the first time. Only the walker that lists dir. */
int enter_verify(struct walker *w, struct dir *dir);

enum there_known {
    THERE_UNKNOWN, /* ask */
    THERE_NOTHING, /* nothing of that name stood there when the directory was listed */
    THERE_FOUND,
};

/* Lists dir, which stands at the destination, for there_find. *out_temps false: there is surely no temp name in it.
 * 0; -errno: it could not be begun, and each entry is asked for by itself. */
int there_read(struct walker *w, struct dir *dir, bool *out_temps);

/* What stands under name in dir, as it was listed. Only the walker that lists dir. */
enum there_known there_find(const struct planner *p, const struct dir *dir, const char *name, struct attr *out_attr);

/* Forgets what was listed. */
void there_drop(struct planner *p, struct dir *dir);

/* The source has an entry of that name. */
void there_see(const struct planner *p, const struct dir *dir, const char *name, size_t name_len);

/* Whether something may stand there that the source does not have. */
bool there_unseen(const struct dir *dir);
bool there_seen(const struct planner *p, const struct dir *dir, const char *name, size_t name_len);

/* --- recall.c --- */

/* Reads what is remembered of dir's entries, all at once. Errors only make it forgetful. */
void recall_read(struct planner *p, struct dir *dir);
void recall_drop(struct planner *p, struct dir *dir);
/* Once the listing of dir has come to its end: has what was read remembered as the directory's summary. */
void recall_sum(struct planner *p, const struct dir *dir);

/* Whether name is remembered at all; and whether as the source has it now. */
bool recall_has(const struct planner *p, const struct dir *dir, const char *name, size_t name_len);
bool recall_same(const struct planner *p, const struct dir *dir, const char *name, size_t name_len,
                 const struct attr *attr);

/* The source has an entry of that name (or, see false, does not count as having it). */
void recall_see(const struct planner *p, const struct dir *dir, const char *name, size_t name_len, bool see);

/* Whether something may be remembered that the source was not seen to have. */
bool recall_unseen(const struct dir *dir);
bool recall_seen(const struct planner *p, const struct dir *dir, const char *name, size_t name_len);

/* --- gone.c --- */

int gone_create(struct gone **out_gone); /* 0, -ENOMEM, -errno of a temp file */
void gone_destroy(struct gone *g);       /* NULL is fine */

/* The listing of dir has come to its end: notes what it does not have any more. */
void gone_look(struct walker *w, struct dir *dir);

/* A directory stands in the way of dir/name of the source: it goes, and the entry is planned after that. 0 or -errno,
 * not reported. */
int gone_replace(struct walker *w, struct dir *dir, const char *name);

/* In the first walker's thread, after everything else: removes what was noted. */
void gone_lead(struct walker *w);

/* --- first.c --- */

/* From options.first into p->first, which first_destroy frees whatever comes of it. p->root is there. 0 or -ENOMEM. */
int first_create(struct planner *p);
void first_destroy(struct first *f); /* NULL is fine */

/* Whether the directory name in dir is one of those, so that the walk passes over it. Once they have all had their turn
 * one that was not there to be walked counts as walked from then on. */
bool first_met(const struct planner *p, const struct dir *dir, const char *name, size_t name_len);

/* Takes over child, a subdirectory with one pending part, until they have all had their turn. False: it is the
 * caller's, and to be walked as any other. */
bool first_later(const struct planner *p, struct dir *child);

/* In the first walker's thread, before the walk: walks them, then, with all others, what is below them. The root is
 * prepared. */
void first_lead(struct walker *w);

/* --- walk.c --- */

/* Carries out tasks until there are none and no walker can make one any more. */
void walk_run(struct walker *w);

/* Carries out one task. */
void walk_task(struct walker *w, struct task *task);

/* Sets the walker's path buffer to the path of dir. 0 or -ENOMEM. */
int walk_path_set(struct walker *w, struct dir *dir);

/* Appends "/name" to the path buffer for the time being. The whole path, or NULL: no memory. */
const char *walk_path_of(struct walker *w, struct dir *dir, const char *name, size_t name_len);

/* --- shards.c --- */

/* Takes over item. It is pushed with its shard sooner or later, or ended as cancelled when the run is being stopped.
 * 0, or -ENOMEM: item is the caller's still. Blocks while the queue is full. */
int shards_add(struct walker *w, struct item *item);

/* The end of a directory: pushes the shard where that is better than filling it. */
void shards_dir_end(struct walker *w);

/* Pushes what is there. */
void shards_flush(struct walker *w);

/* --- linkphase.c --- */

/* The node of path's directory in phase, with one pending part more for the caller; the one before is left. removing:
 * the source need not have it. Under phase's lock where others use it. 0 or -errno, not reported. */
int linkphase_dir(struct walker *w, struct link_phase *phase, const char *path, bool removing, struct dir **out_dir);
void linkphase_leave(struct walker *w, struct link_phase *phase);

/* In the first walker's thread, after the walk: settles all further names. The others work with it. */
void linkphase_lead(struct walker *w);

/* One walker's part in PHASE_LINKS. */
void linkphase_run(struct walker *w);

/* --- planner.c --- */

/* Lets all walkers carry out phase, takes part, and returns when all are done with it. First walker only. */
void planner_phase(struct walker *lead, enum phase phase);

/* Waits until no item is outstanding and nothing is held. False: the run is being stopped. */
bool planner_wait_idle(struct planner *p);

/* --- filesfrom.c --- */

/* Opens the list. The descriptor, or -errno. */
int filesfrom_open(const char *path);

/* Reads the list and makes tasks of it. First walker only, while the others walk. */
void filesfrom_run(struct walker *w);

#endif
