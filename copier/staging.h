/*
 * staging: which way a file's contents go (in memory, through the local temp dir, straight to the destination), the
 * room in the temp dir, and what is known of reflinks into it. copystage.h brings a file there.
 */
#ifndef HAUL_COPIER_STAGING_H
#define HAUL_COPIER_STAGING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "copier/tempdir.h"
#include "workers/store.h"

enum stage_way {
    WAY_MEMORY, /* whole in memory, then published */
    WAY_STREAM, /* read and written piece by piece, checked before the rename */
    WAY_CLONE,  /* a reflink in the temp dir */
    WAY_COPY,   /* a copy in the temp dir */
};

/* What the choice depends on. */
struct stage_case {
    enum stage_mode mode;
    bool dir;      /* there is a temp dir that may be used */
    bool small;    /* fits in memory */
    bool clone;    /* source and temp dir can have reflinks between them, as far as known */
    bool network;  /* each write to the destination is a round trip */
    bool together; /* source and destination are one file system, which copies between them by itself */
    uint64_t size; /* bytes of the file */
    uint64_t need; /* bytes that a copy takes: less than size where there are holes */
    uint64_t max;  /* --stage-max */
    uint64_t room; /* bytes that are free of --temp-space; with STAGE_ALWAYS all of it: there a file waits */
};
enum stage_way stage_choose(const struct stage_case *c);

/* Bytes that a copy of a file with those attributes takes. */
uint64_t stage_need(const struct attr *attr);

struct staging;

/* Opens the temp dir (t->fd, which it takes over on success) as a store and removes temp names that were left in it.
 * space: --temp-space, or UINT64_MAX: a quarter of what is free. 0 or -errno. */
int staging_create(struct tempdir *t, const char *run_id, struct notices *notices, uint64_t space,
                   struct staging **out_staging);
void staging_destroy(struct staging *s); /* NULL is fine; all its ports must be gone */

/* The temp dir as a posix store, for ports; as long as s lives. */
struct store *staging_store(struct staging *s);

/* Room: taken before a copy is made, given back when the file is gone. Any thread, without waiting. */
bool staging_take(struct staging *s, uint64_t bytes);
void staging_give(struct staging *s, uint64_t bytes);
uint64_t staging_room(const struct staging *s);  /* free now */
uint64_t staging_space(const struct staging *s); /* all of it; constant */

/*
 * What is asked of the temp dir is listed while it has no answer, so that the watchdog sees a temp dir that hangs.
 * A question lives on the stack of whoever asks: listed by staging_ask, taken away by staging_answered. Any thread.
 */
struct stage_question {
    int64_t due;                  /* watched time from which on it counts as waiting, ns (staging_tick) */
    struct stage_question *newer; /* staging.lock */
    struct stage_question *older; /* staging.lock */
};
/* grace_ns: how long it may take besides, since it moves much at once. */
void staging_ask(struct staging *s, struct stage_question *q, int64_t grace_ns);
void staging_answered(struct staging *s, struct stage_question *q);

/* Moves watched time to now_ns, which never goes back, and tells for how long, at most, a question has had no answer
 * by it, ns; 0: none waits. The watchdog's thread. */
int64_t staging_tick(struct staging *s, int64_t now_ns);

/* Whether a reflink from the file system dev may work; and what came of one. Any thread. */
bool staging_may_clone(struct staging *s, dev_t dev);
void staging_cloned(struct staging *s, dev_t dev, bool worked);

#endif
