/*
 * lease_internal: what the files of the lease share.
 *
 *   lease.c       its life: the thread, renewal, the end
 *   lease_take.c  taking it: the own one, those above, a dead one
 *   lease_look.c  looking at one, and telling whether its holder lives
 *   lease_text.c  what stands in the file
 */
#ifndef HAUL_COPIER_LEASE_INTERNAL_H
#define HAUL_COPIER_LEASE_INTERNAL_H

#include <pthread.h>

#include "copier/lease.h"

#define LEASE_VERSION        1
#define LEASE_TEXT_MAX       4096 /* bytes; a longer file is none that we can read */
#define LEASE_SILENT_PERIODS 3    /* after so many without a renewal its holder is taken for dead */

/* A holder, as its lease says. */
struct lease_owner {
    char host[65];            /* as it is shown */
    char boot[37];            /* boot id */
    uint64_t pidns;           /* inode of its pid namespace */
    int64_t pid;              /* in that namespace */
    uint64_t started;         /* of the process, in clock ticks since the boot */
    char run[RUN_ID_LEN + 1]; /* run id */
    int64_t since_s;          /* wall clock when it was taken */
    uint64_t renewal;         /* counts */
    int64_t period_ns;        /* its own */
    int64_t renewed_ns;       /* its CLOCK_BOOTTIME */
    uint64_t root;            /* inode of the destination's root: a copy of a lease is none */
};

/* ---- lease_text.c ---- */

/* This process. 0 or -errno. */
int lease_self(struct lease_owner *out_owner);
/* The file's text. 0, -ENOMEM; -EOVERFLOW where it does not fit. */
int lease_format(const struct lease_owner *owner, char out_text[LEASE_TEXT_MAX], size_t *out_len);
/* 0; -EPROTO: written by a newer haul; -EINVAL: no lease. */
int lease_parse(const char *text, size_t len, struct lease_owner *out_owner);
/* Whether owner's process is known to be gone: it was in our boot and pid namespace and is not there any more. */
bool lease_process_gone(const struct lease_owner *self, const struct lease_owner *owner);
/* A sentence about it. */
void lease_describe(const struct lease_owner *owner, char out_who[LEASE_WHO_MAX]);

/* ---- lease_look.c ---- */

/* A lease as it was seen. */
struct lease_seen {
    bool there;               /* there is one; else nothing below counts */
    bool parsed;              /* owner is filled in */
    uint64_t digest;          /* of its text; 0: it could not be read */
    struct attr attr;         /* of the file */
    struct lease_owner owner; /* see parsed */
};

enum lease_verdict {
    LEASE_NONE,    /* there is none (any more) */
    LEASE_GONE,    /* its process is known to be gone */
    LEASE_SILENT,  /* it did not change for three periods */
    LEASE_LIVES,   /* its holder works */
    LEASE_UNKNOWN, /* look again */
};

/* What is remembered from look to look; zeroed at first. Times are of CLOCK_BOOTTIME. */
struct lease_watch {
    bool begun;              /* the rest is valid */
    struct lease_seen first; /* as it was first seen since it last changed */
    int64_t begun_ns;        /* the first look */
    int64_t since_ns;        /* it has not changed since, and the destination has answered all the while */
};

/* What is known of a holder without waiting. */
struct lease_facts {
    bool gone;  /* its process is */
    bool young; /* renewed less than two periods ago by this machine's clock, for this very directory */
};

/* The request, tried again a few times after an error that may pass. 0 or -errno. */
int lease_run(struct port *port, struct store_op *op);

/* Looks at the lease in root (any directory). 0, also where there is none; -errno. */
int lease_look(struct port *port, struct dir *root, struct lease_seen *out_seen);
/* The same in .haul/ itself, as the node has it. */
int lease_look_in(struct port *port, struct dir *haul, struct lease_seen *out_seen);

void lease_facts(const struct lease_owner *self, const struct lease_seen *seen, uint64_t root_ino, int64_t now_ns,
                 struct lease_facts *out_facts);

/* The longer of both periods. */
int64_t lease_period(const struct lease_seen *seen, int64_t own_ns);

/* One more look, asked at asked_ns, answered at now_ns. */
enum lease_verdict lease_watch_step(struct lease_watch *w, const struct lease_seen *seen,
                                    const struct lease_facts *facts, int64_t own_period_ns, int64_t asked_ns,
                                    int64_t now_ns);

/* How long to wait before the next look. */
int64_t lease_step_ns(int64_t period_ns);

/* ---- lease.c, lease_take.c ---- */

struct lease {
    struct lease_options options; /* constant */
    struct lease_owner self;      /* renewal and renewed_ns belong to the thread, the rest is constant */
    struct dir_tree tree;         /* of root */
    struct dir *root;             /* one reference */
    int event;                    /* eventfd, readable once answered; owned */
    pthread_t thread;             /* valid once started */
    bool started;                 /* the thread runs, or has run */
    atomic_llong mtime_ns;        /* of our lease, by the destination's clock, when it was last renewed */

    struct port *port;             /* the thread's */
    int64_t safe_ns;               /* the thread's: what the fence was extended to; INT64_MIN: nothing yet */
    int64_t shut_until_ns;         /* the thread's: no renewal that begins earlier opens the fence */
    int64_t renewed_ns;            /* the thread's: when the last renewal began */
    bool made_dir;                 /* the thread's: .haul/ was not there before */
    bool changed_mode;             /* the thread's: the root had to be made writable */
    mode_t locked_mode;            /* the thread's: as it was before that; valid if changed_mode */
    struct dir *haul;              /* the thread's: .haul/ as our lease was last written to it; one reference; NULL: it
                                      was not */
    struct attr own;               /* the thread's: of our lease when it was last written; all 0: not known */
    bool tried;                    /* the thread's: options.root_fresh says nothing any more */
    struct attr before;            /* the thread's: of the root, before anything was made in it; valid if has_before */
    bool has_before;               /* the thread's */
    bool stirred;                  /* the thread's: the root's times are not those of before, but those of now */
    struct attr now;               /* the thread's: of the root, before the lease made anything in it */
    char dead_run[RUN_ID_LEN + 1]; /* whose lease was taken over; ""; the thread's until answered, then constant */
    struct lease_refusal refusal;  /* the thread's until answered */

    pthread_mutex_t lock;  /* for what follows */
    pthread_cond_t change; /* signalled when any of it changes */
    struct io *io;         /* the thread's; lease_end and lease_take reach it */
    bool cancelled;        /* sleeps of the thread were cut short */
    bool answered;         /* result is valid */
    int result;            /* of taking */
    bool end;              /* lease_end_begin was called */
    int64_t end_ns;        /* when, monotonic */
    bool tidy;             /* as it was */
    bool ended;            /* end_result is valid */
    int end_result;        /* of giving it back */
};

/* lease_take.c: in the lease's thread. 0, or as lease_take. */
int lease_acquire(struct lease *l);

/* lease.c: in the lease's thread. */

/* Publishes our lease. 0 or -errno. */
int lease_publish(struct lease *l, bool exclusive);
/* Opens the fence for a renewal that began then. */
void lease_grant(struct lease *l, int64_t begun_ns);
/* One renewal. 0; -EOWNERDEAD: it is another's, or gone after the time had run out, and refusal says whose; -errno. */
int lease_renew(struct lease *l);
/* Removes our lease, and .haul/ where tidy. restore: the root's times are those of before. 0 or -errno. */
int lease_release(struct lease *l, bool tidy, bool restore);
/* The lease is not to be had: nothing of ours is left, and the root has the times that it had before the run. */
void lease_refused(struct lease *l);
/* Makes the root writable for us where it is ours and is not. 0 or -errno. */
int lease_unlock_root(struct lease *l);
/* The refusal: path's lease as seen. */
void lease_refuse(struct lease *l, const char *path, const struct lease_seen *seen);
/* The refusal where something failed. Returns err. */
int lease_fail(struct lease *l, const char *step, int err);

#endif
