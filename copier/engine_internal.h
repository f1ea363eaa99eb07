/*
 * engine_internal: what the parts of one run share (engine.c, copyfile.c, events.c, ticker.c). Nobody else includes it.
 */
#ifndef HAUL_COPIER_ENGINE_INTERNAL_H
#define HAUL_COPIER_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "copier/direct.h"
#include "copier/nfsuser.h"
#include "copier/options.h"
#include "copier/places.h"
#include "copier/report.h"
#include "copier/staging.h"
#include "copier/state.h"
#include "planner/chain.h"
#include "planner/planner.h"
#include "workers/pool.h"
#include "workers/stores/layers.h"
#include "workers/stores/watch.h"

struct look;
struct metrics;
struct nfs41_options;
struct partials;
struct watchdog;

/* What a sync knows; sync.c. */
struct sync {
    struct state_place place;       /* of the destination; under lock once the walk has begun */
    bool seen;                      /* sync_may_idle has seen what stands in .haul/, and no lease */
    char seen_id[STATE_PLACE_MAX];  /* there */
    char seen_run[STATE_PLACE_MAX]; /* there */
    bool trust;                     /* what is remembered is right; constant after sync_check, like may_remove */
    bool may_remove;                /* the state is that of the last sync to this destination */
    atomic_bool max_deleted;        /* nothing was removed: it would have been too much */
    pthread_mutex_t lock;           /* for what follows */
    bool touched;                   /* the destination bears this run's stamp */
    int touch_err;                  /* -errno of that; 0 */
};

struct engine {
    const struct options *options;  /* constant */
    int channel;                    /* to the supervisor */
    struct places places;           /* constant once found */
    struct report *report;          /* thread-safe */
    struct report_counts *counts;   /* of report */
    struct notices *notices;        /* thread-safe */
    char run_id[RUN_ID_LEN + 1];    /* constant */
    char *state_path;               /* owned; NULL: no state (dry run, null:) */
    struct state *state;            /* thread-safe; NULL: none */
    char *state_folder;             /* of a dry run: where its copy of the state is; owned; NULL: none */
    struct sync sync;               /* haul sync */
    struct state_run run;           /* of this run; constant */
    struct state_run previous;      /* number 0: none; constant */
    uint64_t failing;               /* runs in a row before this one that did not end with 0; constant */
    int64_t failing_since_ns;       /* wall clock: when the first of them, or this one, began; 0: no state; constant */
    bool purge;                     /* earlier runs may have left temp names */
    atomic_bool purge_failed;       /* a directory could not be searched for them */
    struct left *left;              /* what a sync leaves undone; owned; NULL: nobody asks */
    struct partials *partials;      /* large files that earlier runs have left; owned; NULL: none */
    struct upkeep *upkeep;          /* the janitor's part; owned; NULL: none */
    pthread_key_t reader_key;       /* each walker's struct state_reader */
    bool reader_key_made;           /* constant once made */
    struct dir_tree *tree;          /* of the planner's nodes */
    struct store *src;              /* owned */
    struct store *src_bare;         /* the innermost of src, once that is open; not owned */
    struct store *dst;              /* owned */
    struct store *watch[DIR_SIDES]; /* layers of src and dst that measure; not owned */
    dev_t dst_dev;                  /* file system of the destination's root; 0: none */
    struct tempdir tempdir;         /* as it was found */
    struct staging *staging;        /* owned; NULL: nothing goes through the local temp dir; constant */
    struct store *bare;             /* the innermost of dst, without its layers; owned as long as dst is NULL */
    struct direct direct;           /* what mounts cost; constant once both sides are open */
    struct nfs_user user;           /* who we are to servers, if SRC or DST is at one; owned */
    unsigned dst_made;              /* directories at the server that were missing: the root and those above it */
    struct fence fence;             /* of bare, where the run takes a lease */
    struct lease *lease;            /* owned; NULL: none (dry run, null:); constant once owns is true */
    atomic_bool owns;               /* it is taken, or none is needed */
    pthread_mutex_t own_lock;       /* held while it is taken late; for own_err */
    int own_err;                    /* -errno: it could not be had late */
    int stop_event;                 /* eventfd, readable once the run is being stopped; owned; -1: none */
    bool server_trusted;            /* what the state remembers of the server was taken for granted */
    bool lease_ended;               /* engine_lease_end was called */
    bool lease_failed;              /* that failed */
    unsigned jobs_max;              /* operations in flight at most, by the descriptors we may have */
    struct queue *queue;            /* of shards, owned */
    struct planner *planner;        /* owned */
    struct pool *pool;              /* owned */
    struct retry_options retry;     /* of the destination's operations, and of whole files; constant */
    struct watchdog *watchdog;      /* owned */
    struct look *look;              /* what this is a part of (look.h), without a planner; NULL: a run that copies */
    struct metrics *metrics;        /* owned; NULL: none is wanted */
    struct ticker *ticker;          /* owned; NULL: none */
    atomic_bool ending;             /* some thread has begun to end the run */
    atomic_bool running;            /* planner and pool are there, to be stopped */
    atomic_bool stopping;           /* nothing more is started */
    atomic_bool interrupted;        /* by the supervisor */
    atomic_bool out_of_time;        /* a file was not begun: it could not have been finished */
    atomic_int stop_status;         /* and why: STATUS_INTERRUPTED, STATUS_OUT_OF_TIME; set before interrupted is */
    atomic_int fatal;               /* first errno that stopped the run early; 0: none */
    mode_t umask;                   /* as the user has it; constant */
    int64_t begun_real_ns;          /* wall clock */
    int64_t begun_ns;               /* monotonic */
};

#define STAGE_SPARES 8 /* staged files that a worker keeps open */

/* A worker's own things. */
struct engine_worker {
    struct port *src;
    struct port *dst;
    struct port *stage;                     /* of the local temp dir; NULL: none */
    struct store_file *spare[STAGE_SPARES]; /* empty staged files, to be used again; owned */
    unsigned spares;                        /* entries in spare */
    struct chain former;                    /* to directories of files' former names; root NULL: none yet */
};

/* How the descriptors are shared out. */
struct engine_budget {
    unsigned handles; /* directories, for each side */
    unsigned jobs;    /* files in flight; each holds up to two */
    unsigned threads; /* walkers and workers: 0 as they choose, else 1 */
};

/* engine.c, for look.c: */

/* Takes as many descriptors as we may have, and starts the watchdog. 0 or an exit status after a message. */
int engine_start(struct engine *e, struct engine_budget *out_budget);
/* Makes e of the options: its report, its notices, its run id. 0 or an exit status, after a message where it can be
 * said. Once. */
int engine_begin(struct engine *e, const struct options *options, int channel);
/* Opens the state of the pair for a command that only adds to what it remembers, beside whatever run works with it;
 * event_reader gives readers then. 0 or an exit status after a message. */
int engine_open_memory(struct engine *e);
/* The thread that hears a stop from the supervisor; arg: the engine. Ends when the channel is shut down. */
void *engine_listen(void *arg);
/* From here on the calling thread ends the run, or the watchdog does: then the process ends meanwhile. */
void engine_take_end_or_wait(struct engine *e);
/* All is said and recorded: sends status to the supervisor, and releases everything. Returns it. */
int engine_over(struct engine *e, int status);

/* Stops the run: planner and pool end as soon as what is in flight is finished or dropped. Any thread. */
void engine_stop(struct engine *e);

/* engine_end.c */

/* The exit status as it stands now. */
int engine_status(const struct engine *e);
/* Ends the run in report and state, after planner and pool have ended. Returns the exit status. */
int engine_finish(struct engine *e);
/* Only one thread ends the run: false: another one does, and perhaps the process with it. */
bool engine_take_end(struct engine *e);
/* The supervisor need not wait for more than what has to be said: whatever blocks from now on does not keep it. */
void engine_left(const struct engine *e, int status);
/* Ends run and process although something is under way that does not answer; why is the last line. After
 * engine_take_end and engine_left; never in a thread that waits for an answer. */
_Noreturn void engine_leave(struct engine *e, int status, const char *why);
/* Ends the process at once, after everything was said; nothing is released. */
_Noreturn void engine_exit(const struct engine *e, int status);

/* copyfile.c: pool callbacks. */
int copy_begin(void *arg, struct worker *w);
void copy_end(void *arg, struct worker *w);
void copy_run(void *arg, struct worker *w, struct work *work);
void copy_drop(void *arg, struct work *work);

/* events.c: what planner and workers report. */
enum known event_known(void *arg, const struct dir *dir, const char *name, const struct attr *src);
void event_same(void *arg, const struct dir *dir, const char *name, const struct attr *src, const struct attr *there);
/* The calling thread's reader of the state, made when it first asks; NULL: none could be made. */
struct state_reader *event_reader(struct engine *e);
void event_plan_failed(void *arg, const struct plan_failure *failure);
void event_made(void *arg, const struct dir *dir);
bool event_existing(void *arg, struct port *dst, struct dir *dir);
/* What is remembered of an entry counts no more: a copy forgets it, a sync only doubts it, since what haul published
 * there is still haul's (--delete). */
void event_doubt(struct engine *e, const struct dir *dir, const char *name);
/* An item failed; stops the run where err would meet every further file alike. Doubts it in the state. */
void event_failed(struct engine *e, const struct dir *dir, const char *name, const struct store_op *op, int err,
                  bool on_source);
/* What path names, relative to the side's root, got no answer: reported as failed, outcome unknown. */
void event_unanswered(struct engine *e, const char *path, enum store_code code, int64_t waited_ns, bool on_source);
/* Has the state know the path of dir. */
void event_tell_dir(struct engine *e, struct dir *dir);
/* Whether a file with these attributes was read so soon after its last change that a further one may have left the same
 * times (P7). read_ns: wall clock when its reading began. */
bool event_is_racy(const struct engine *e, const struct attr *attr, int64_t read_ns);
/* An item was published: into the state. hash NULL: unknown. read_ns: wall clock when its reading began. */
void event_published(struct engine *e, struct dir *dir, const char *name, const struct attr *src,
                     const struct attr *dst, const uint8_t *hash, int64_t read_ns);

/* The planner's owned. */
int event_owned(void *arg, struct port *dst, struct dir *dir);

/* engine_src.c. */

/* Looks at SRC, where options name one, and DST, as places.h says; of a server that is SRC it asks what stands there.
 * 0, or an exit status after a message. Blocks. */
int engine_places_find(struct engine *e);
/* Opens src with all its layers. The same. */
int engine_src_open(struct engine *e, unsigned handles);
/* What is known of that side's server so far, in buf; NULL: that side is at none, or not open. */
const struct server_facts *engine_facts(const struct engine *e, enum dir_side side, struct server_facts *buf);

/* engine_dst.c. */

/* How the run reaches the server of url, whose strings it borrows, and e's; nothing is made there. */
struct nfs41_options engine_nfs(const struct engine *e, const struct url *url);

/* Asks a server what stands there, before anything is made; another destination is known already. Completes places. 0,
 * or an exit status after a message. Blocks. */
int engine_dst_find(struct engine *e);
/* Makes the root where it is missing, but for a dry run, and opens dst with all its layers. The same. */
int engine_dst_open(struct engine *e, unsigned handles);
/* What the state remembers of the server counts no more where it has turned out to be otherwise, or the run has failed.
 * Before the state ends the run. */
void engine_dst_learn(struct engine *e, bool succeeded);
/* Of a destination at a server: lease_options.above. Any thread. */
int engine_dst_above(struct engine *e, struct io *io, unsigned levels, struct store **out_store, char **out_path);
/* Takes away again what engine_dst_open made, if it is empty, for a run that does not take place. */
void engine_dst_unmake(struct engine *e);

/* engine_lease.c. The fence for the destination's store, or NULL: this run takes no lease. */
struct fence *engine_fence(struct engine *e);
/* Takes the lease. 0, or an exit status after a message; then the destination is as it was before. */
int engine_lease_take(struct engine *e);
/* Sees to it that the run owns the destination, of which a sync that may have nothing to do makes sure only before its
 * first change: takes the lease if need be, and looks whether everything is as it was found without. arg: the engine.
 * 0, or -errno after a message: then the run is being stopped. Any thread; blocks, for --wait. */
int engine_own(void *arg);
/* lease_options.above; arg: the engine. */
int engine_lease_above(void *arg, struct io *io, unsigned levels, struct store **out_store, char **out_path);
/* Gives it back, with .haul/ where tidy, and takes leave of the destination's server. 0, or -errno after a message
 * where the lease could not be given back. Only the first call does anything; when all is done at the destination. */
int engine_lease_end(struct engine *e, bool tidy);

/* ticker.c: the thread for progress and background syncs. */
struct ticker;
int ticker_create(struct engine *e, struct ticker **out_ticker); /* 0, -ENOMEM, -EAGAIN */
/* The same; between background syncs sync_ns. */
int ticker_create_paced(struct engine *e, int64_t sync_ns, struct ticker **out_ticker);
/* Ends progress, and background syncs after the one in progress, which is not waited for. NULL is fine. */
void ticker_stop(struct ticker *t);
/* Stops where that was not done, waits for a sync in progress, and frees. Before dst, state, notices and report, which
 * the sync uses. NULL is fine. */
void ticker_destroy(struct ticker *t);

#endif
