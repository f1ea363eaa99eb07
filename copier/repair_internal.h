/*
 * repair_internal: what the files of a repair share. Nobody else includes it.
 *
 *     repair.c        from the findings to the menders; what is told
 *     repair_one.c    one finding mended
 *     repair_state.c  what the state remembers of it
 */
#ifndef HAUL_COPIER_REPAIR_INTERNAL_H
#define HAUL_COPIER_REPAIR_INTERNAL_H

#include <pthread.h>

#include "copier/quarantine.h"
#include "copier/repair.h"
#include "copier/state_mend.h"

/* A finding that is to be mended. */
struct mending {
    struct mending *next;
    struct dir *dir; /* one reference */
    enum finding_kind kind;
    enum finding_sure sure;
    enum mend_verdict verdict; /* what is to be done */
    struct attr now;           /* as it was found */
    bool linked;               /* the source has further names of it: one mender mends those, one after the other */
    bool doubted;              /* the state's doubt about it is ours */
    const char *evidence;      /* in text */
    char text[];               /* name and evidence, each with its NUL */
};

/* What the state is to remember. */
enum repair_fact {
    FACT_PUBLISHED, /* file */
    FACT_ATTRS,     /* file.dst */
    FACT_GONE,
    FACT_LEFT, /* the doubt goes */
};

struct repair_done {
    struct repair_done *next;
    struct dir *dir; /* one reference */
    enum repair_fact fact;
    bool doubted;           /* as in the mending */
    struct state_file file; /* name: the one below */
    char name[];
};

/* A file with several names that was published again: its further names become links to it. */
struct repair_leader {
    struct repair_leader *next;
    struct dir *dir;        /* one reference */
    struct state_file file; /* as it was published; name: the one below */
    char name[];
};

/* A directory that another run works on. */
struct repair_avoided {
    struct repair_avoided *next;
    struct dir *dir; /* one reference */
};

/* One task of the tour. */
struct mender {
    struct tour_task task; /* first field */
    struct repair *repair; /* not owned */
};

struct repair {
    struct look *look;              /* not owned */
    struct state_mend *state;       /* owned; NULL: nothing is remembered; under state_lock */
    struct quarantine *quarantine;  /* owned; NULL: none */
    struct mender *menders;         /* look->width of them; owned; NULL: not begun */
    atomic_uint active;             /* of them, those that have not ended */
    pthread_mutex_t lock;           /* for all below */
    struct mending *first;          /* those that wait; owned */
    struct mending **end;           /* where the next one goes */
    struct mending *linked;         /* those that wait until all else is mended; owned */
    struct repair_leader *leaders;  /* owned; of the mender that comes last */
    struct repair_avoided *avoided; /* owned */
    bool blind;                     /* one could not be kept in mind: nothing is mended */
    unsigned long counted;          /* of all, those that --max-repair counts */
    struct repair_done *done;       /* not written yet; owned */
    unsigned done_count;            /* of them */
    pthread_mutex_t state_lock;     /* one at a time writes */
};

/* What came of one. */
struct outcome {
    enum finding_action action;
    const char *why; /* static, or text */
    int err;         /* ACTION_FAILED: positive errno */
    char text[256];  /* of why, where it is not static */
};

/* repair_one.c: mends one, in a fiber of w. */
void repair_one(struct repair *r, struct worker *w, struct mending *m, struct outcome *out);
void repair_leaders_free(struct repair *r);

/* repair_state.c. path: as repair_remember. 0 or an exit status after a message. */
int repair_state_open(struct repair *r, const char *path);
/* All that waits is about to be changed. 0 or -errno: then nothing may be. */
int repair_state_doubt(struct repair *r);
/* One fact; file: its src, dst, hash, as the fact says; may be NULL. Written soon. In a fiber of w. */
void repair_state_note(struct repair *r, struct worker *w, struct mending *m, enum repair_fact fact,
                       const struct state_file *file);
/* Writes what was noted, once it is durable. In a fiber of w. */
void repair_state_flush(struct repair *r, struct worker *w);
void repair_state_free(struct repair *r);

#endif
