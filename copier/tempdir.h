/*
 * tempdir: the local temp dir: which it is, whether it can be trusted, and its descriptor.
 *
 * --temp-dir, else haul-<uid> in $TMPDIR, else in /tmp. It must be a directory of our own that nobody else may write
 * to, in a place where nobody else could put another in its stead. It is opened once; whoever uses it goes by
 * descriptor. One thread; all of it blocks.
 */
#ifndef HAUL_COPIER_TEMPDIR_H
#define HAUL_COPIER_TEMPDIR_H

#include <stdbool.h>

#include "copier/places.h"

struct tempdir {
    char *path;      /* for people; owned */
    char *name;      /* its name in parent; owned */
    int parent;      /* open directory that it stands in; owned; -1: none */
    int fd;          /* itself; owned; -1: it does not exist yet */
    bool clones;     /* its file system may be one with reflinks */
    bool asked;      /* the user wants it: --temp-dir or --stage always */
    bool unusable;   /* it cannot be used: why says it, and the user has not asked for it */
    const char *why; /* static; NULL */
};

/*
 * Finds and checks it; creates nothing. places->source may be NULL: there is none. 0; else an exit status after a
 * message: somebody else could tamper with it, or it cannot be used although it was asked for. Where a default one
 * cannot be used (no such place, inside SRC or DST) out_tempdir->unusable is set.
 */
int tempdir_find(const struct options *options, const struct places *places, struct report *report,
                 struct tempdir *out_tempdir);

/* Makes it (0700) where it does not exist, and opens it; t->fd is open then. 0; else an exit status after a message
 * where it was asked for or somebody has put something unsafe there meanwhile; where a default one cannot be made
 * t->unusable is set. */
int tempdir_make(struct tempdir *t, struct report *report);

void tempdir_release(struct tempdir *t); /* after a failure of tempdir_find too, and twice */

#endif
