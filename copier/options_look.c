/*
 * options_look: the command lines of the commands that look at a destination as it is.
 */
#include <string.h>

#include "cleanup/mend.h"
#include "copier/options_internal.h"

/* Which commands take an option. */
#define CLEAN  1U
#define SCAN   2U
#define VERIFY 4U
#define ALL    (CLEAN | SCAN | VERIFY)

static const struct {
    enum option_id id;
    unsigned takers;
} takers[] = {
    {OPT_EXCLUDE, VERIFY},
    {OPT_INCLUDE, VERIFY},
    {OPT_DRY_RUN, CLEAN | SCAN},
    {OPT_ONE_FILE_SYSTEM, SCAN | VERIFY},
    {OPT_JOBS, ALL},
    {OPT_OPS_LIMIT, ALL},
    {OPT_RETRIES, ALL},
    {OPT_RETRY_DELAY, ALL},
    {OPT_IO_TIMEOUT, ALL},
    {OPT_OWNER, SCAN | VERIFY},
    {OPT_CHMOD, SCAN | VERIFY},
    {OPT_CHOWN, SCAN | VERIFY},
    {OPT_ARCHIVE_DIRS, VERIFY},
    {OPT_BWLIMIT, SCAN},
    {OPT_FSYNC, SCAN},
    {OPT_XATTRS, SCAN | VERIFY},
    {OPT_ACLS, SCAN | VERIFY},
    {OPT_SPARSE, SCAN},
    {OPT_WAIT, SCAN},
    {OPT_TEMP_DIR, CLEAN},
    {OPT_PARTIAL_MAX_AGE, CLEAN | SCAN},
    {OPT_STATS, ALL},
    {OPT_PROGRESS, ALL},
    {OPT_QUIET, ALL},
    {OPT_JSON, ALL},
    {OPT_MAX_DURATION, ALL},
    {OPT_STOP_AT, ALL},
    {OPT_STATE, ALL},
    {OPT_NFS_UID, ALL},
    {OPT_NFS_GID, ALL},
    {OPT_NO_RESERVED_PORT, ALL},
    {OPT_NO_IO_URING, ALL},
    {OPT_SOURCE, SCAN},
    {OPT_OLDER_THAN, CLEAN | SCAN},
    {OPT_OTHERS, CLEAN},
    {OPT_READ_SOURCE, VERIFY},
    {OPT_FRESH, VERIFY},
    {OPT_SAMPLE, VERIFY},
    {OPT_REPAIR, SCAN},
    {OPT_MAX_REPAIR, SCAN},
    {OPT_QUARANTINE, SCAN},
    {OPT_REMOVE, SCAN},
};

static const struct {
    const char *word;
    enum command command;
    unsigned taker;
    int places; /* 1: DST, 2: SRC and DST */
} commands[] = {
    {"scan", COMMAND_SCAN, SCAN, 1},
    {"clean", COMMAND_CLEAN, CLEAN, 1},
    {"verify", COMMAND_VERIFY, VERIFY, 2},
};

bool options_looks(const struct options *options)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (commands[i].command == options->command) {
            return true;
        }
    }
    return false;
}

bool options_take_look(struct options *o, char **places, int count)
{
    for (size_t i = 0; count > 0 && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(places[0], commands[i].word) == 0) {
            o->command = commands[i].command;
            return true;
        }
    }
    return false;
}

static int places_of(enum command command)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (commands[i].command == command) {
            return commands[i].places;
        }
    }
    return 0;
}

/* The name of an option that was given and is not the command's; NULL: there is none. */
static const char *not_taken(const struct options *o)
{
    bool taken[OPT_IDS] = {false};
    for (size_t i = 0; i < sizeof takers / sizeof takers[0]; i++) {
        for (size_t k = 0; k < sizeof commands / sizeof commands[0]; k++) {
            if (commands[k].command == o->command && (takers[i].takers & commands[k].taker) != 0) {
                taken[takers[i].id] = true;
            }
        }
    }
    return options_not_taken(o, taken);
}

/* What haul scan takes only to mend. */
static const enum option_id for_repair[] = {OPT_DRY_RUN, OPT_BWLIMIT, OPT_FSYNC,      OPT_XATTRS,     OPT_ACLS,
                                            OPT_SPARSE,  OPT_WAIT,    OPT_MAX_REPAIR, OPT_QUARANTINE, OPT_REMOVE};

static int check_repair(struct options *o, FILE *errors)
{
    for (size_t i = 0; o->repair == 0 && i < sizeof for_repair / sizeof for_repair[0]; i++) {
        for (unsigned row = 0; row < options_table_rows; row++) {
            if (options_table[row].id == (int)for_repair[i] && o->given[for_repair[i]]) {
                return options_usage(errors, "--%s is about --repair, which is not given", options_table[row].name);
            }
        }
    }
    if (o->quarantine != NULL && o->repair_remove) {
        return options_usage(errors, "what the source does not have goes into the --quarantine, or is gone with "
                                     "--remove; give one of them");
    }
    if ((o->repair & ~MEND_KIND(FINDING_TEMP)) != 0 && o->source == NULL) {
        return options_usage(errors, "--repair takes what it mends from --source, which is not given (only temp names "
                                     "need none: --repair=temp)");
    }
    if (o->owner == OWNER_IGNORE && (o->chown_uid != (uid_t)-1 || o->chown_gid != (gid_t)-1)) {
        return options_usage(errors,
                             "--chown says whose files are to be, --owner=ignore that they are nobody's in particular");
    }
    return 0;
}

int options_check_look(struct options *o, char **places, int count, FILE *errors)
{
    const char *command = places[0];
    const char *wrong = not_taken(o);
    if (wrong != NULL) {
        return options_usage(errors, "--%s is not for haul %s", wrong, command);
    }
    const int wanted = places_of(o->command);
    if (count != wanted + 1) {
        return options_usage(errors, "%s takes %s, got %d %s", command, wanted == 2 ? "SRC and DST" : "DST", count - 1,
                             count == 2 ? "argument" : "arguments");
    }
    o->source = wanted == 2 ? places[1] : o->source; /* --source */
    o->destination = places[wanted];
    if (o->destination[0] == '\0' || (o->source != NULL && o->source[0] == '\0')) {
        return options_usage(errors, "%s is empty", o->destination[0] == '\0' ? "DST" : "SRC");
    }
    if (o->command == COMMAND_SCAN) {
        int r = check_repair(o, errors);
        if (r != 0) {
            return r;
        }
        o->dry_run = o->dry_run || o->repair == 0; /* it only looks */
    }
    return options_take_server(o, errors);
}
