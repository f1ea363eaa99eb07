/*
 * places: SRC and DST as the user gave them, checked, as the roots that a run works on. Nothing is created here but by
 * places_make.
 */
#ifndef HAUL_COPIER_PLACES_H
#define HAUL_COPIER_PLACES_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/dir.h"
#include "copier/options.h"
#include "copier/report.h"

struct places {
    char *source;      /* canonical path or URL of the source root directory; NULL: options name none;
                        owned */
    char *destination; /* canonical path or URL of the destination root, which may not exist yet; "null:"; owned */
    char *only_name;   /* single file: its name in the source root; NULL: the whole tree; owned */
    char *only_as;     /* single file: its name in the destination root; owned */
    bool null;         /* DST is null: */
    char
        *source_mounted; /* --direct: the path on a mount that source_url stands for; owned; NULL: it stands for none */
    char *mounted;       /* the same of url */
    struct url source_url; /* of the source root, where it is at a server; host NULL: it is not; owned */
    struct url url;        /* of the destination root, where it is at a server; host NULL: it is not; owned */
    bool missing;          /* the destination root does not exist yet */
    bool mounted_missing;  /* so it was through the mount */
};

/* Looks at SRC, into *out_places, which is zeroed and to be released whatever comes of it. 0; else an exit status (enum
 * status) after a message to report: why. Blocks. What is at a server is not asked for yet: source is SRC as it was
 * given, until places_name_source. */
int places_find_source(const struct options *options, struct report *report, struct places *out_places);

/* SRC at a server is no directory: it is a single entry, in the directory above, which is the source root then. 0;
 * -EINVAL: it has no name, or was given as a directory; -ENOMEM. */
int places_name_source(struct places *places);

/* SRC is a single entry: whether it can be with these options. 0 or STATUS_USAGE after a message. */
int places_single(const struct options *options, struct report *report);

/* Looks at DST and how it stands to SRC, of which places tells all. 0, or as above: which place, why, and nothing was
 * created. What is at a server is not asked for yet: of a single file, destination is DST as it was given, until
 * places_name_file. With --direct SRC and DST are at their mounts' servers from then on, where that can be. */
int places_find_destination(const struct options *options, struct report *report, struct places *places);

/* --direct, and the server behind the mount cannot be used: SRC (DIR_SRC) or DST is the path on the mount again. */
void places_use_mount(struct places *places, enum dir_side side);

/* Creates the destination root where it is missing: private until the run gives it the source's mode; for a single
 * file, as mkdir(1) would with that umask. 0, or an exit status after a message. */
int places_make(const struct places *places, mode_t mask, struct report *report);

/* DST at a server is no directory: a single file gets its last name, in the directory above, which is the destination
 * root then. 0; -EINVAL: it has no name, or was given as a directory; -ENOMEM. */
int places_name_file(struct places *places);

/* Where inner stands to outer, both open directories: 1 the same or below, 0 not, -errno. Blocks. */
int places_within(int outer, int inner);

void places_release(struct places *places);

#endif
