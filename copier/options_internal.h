/*
 * options_internal: what the files of the command line share. Nobody else includes it.
 */
#ifndef HAUL_COPIER_OPTIONS_INTERNAL_H
#define HAUL_COPIER_OPTIONS_INTERNAL_H

#include "copier/options.h"

/* Says what is wrong with the use, and where help is. Always -EINVAL. */
int options_usage(FILE *errors, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* DST as nfs://, and what is said about it. 0 or a negative number after a message. */
int options_take_server(struct options *o, FILE *errors);

/* The name of an option that was given and is none of taken (by id), the first in the table; NULL: there is none. */
const char *options_not_taken(const struct options *o, const bool taken[OPT_IDS]);

/* options_look.c. places: the words of the command line that are no options, the command first. Whether it is one of
 * scan, verify, clean: o->command is set then. */
bool options_take_look(struct options *o, char **places, int count);
/* The rest of it. 0 or a negative number after a message. */
int options_check_look(struct options *o, char **places, int count, FILE *errors);

#endif
