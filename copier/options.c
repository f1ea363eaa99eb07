#include "copier/options.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cleanup/mend.h"
#include "copier/chown.h"
#include "copier/jobfile.h"
#include "copier/options_internal.h"
#include "copier/quantity.h"
#include "copier/window.h"

#define DOCTOR_TIMEOUT    (15 * NS_PER_SEC)
#define STAGE_MAX_DEFAULT (128ULL * 1024 * 1024) /* bytes */

enum { OPS_LIMIT_MAX = 10000000, RETRIES_MAX = 1000, BWLIMIT_MIN = 512 };

int options_usage(FILE *errors, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("haul: ", errors);
    vfprintf(errors, format, args);
    fputs("\nTry 'haul --help'.\n", errors);
    va_end(args);
    return -EINVAL;
}

/* The index of arg among three words (which are in the order of an enum), or -EINVAL after a message. */
static int set_word(const char *name, const char *arg, const char *const words[3], FILE *errors)
{
    for (int i = 0; i < 3; i++) {
        if (strcmp(arg, words[i]) == 0) {
            return i;
        }
    }
    return options_usage(errors, "--%s: '%s' is not one of %s, %s, %s", name, arg, words[0], words[1], words[2]);
}

static int set_owner(struct options *o, const char *arg, FILE *errors)
{
    static const char *const words[] = {[OWNER_AUTO] = "auto", [OWNER_REQUIRE] = "require", [OWNER_IGNORE] = "ignore"};
    int r = set_word("owner", arg, words, errors);
    o->owner = r < 0 ? o->owner : (enum store_owner)r;
    return r < 0 ? r : 0;
}

static int set_stage(struct options *o, const char *arg, FILE *errors)
{
    static const char *const words[] = {[STAGE_AUTO] = "auto", [STAGE_ALWAYS] = "always", [STAGE_NEVER] = "never"};
    int r = set_word("stage", arg, words, errors);
    o->stage = r < 0 ? o->stage : (enum stage_mode)r;
    return r < 0 ? r : 0;
}

/* Without an argument it is rsync's. */
static int set_sparse(struct options *o, const char *arg, FILE *errors)
{
    static const char *const words[] = {[SPARSE_AUTO] = "auto", [SPARSE_ALWAYS] = "always", [SPARSE_NEVER] = "never"};
    int r = arg == NULL ? SPARSE_ALWAYS : set_word("sparse", arg, words, errors);
    o->sparse = r < 0 ? o->sparse : (enum sparse_mode)r;
    return r < 0 ? r : 0;
}

static int set_size(const char *name, const char *arg, uint64_t *out, FILE *errors)
{
    if (quantity_size(arg, 1, out) != 0 || *out == UINT64_MAX) {
        return options_usage(errors, "--%s: '%s' is not a size (examples: 500K, 256M, 1.5G)", name, arg);
    }
    return 0;
}

static int set_path(const char *name, const char *arg, const char **out, FILE *errors)
{
    if (arg[0] == '\0') {
        return options_usage(errors, "--%s: the path is empty", name);
    }
    *out = arg;
    return 0;
}

static int set_number(const char *name, const char *arg, unsigned min, unsigned max, unsigned *out, FILE *errors)
{
    uint64_t n = 0;
    if (quantity_number(arg, min, max, &n) != 0) {
        return options_usage(errors, "--%s: '%s' is not a number from %u to %u", name, arg, min, max);
    }
    *out = (unsigned)n;
    return 0;
}

static int set_duration(const char *name, const char *arg, const char *examples, int64_t *out_ns, FILE *errors)
{
    if (quantity_duration(arg, out_ns) != 0) {
        return options_usage(errors, "--%s: '%s' is not a time (examples: %s)", name, arg, examples);
    }
    return 0;
}

static int set_percent(const char *name, const char *arg, const char *examples, uint32_t *out_share, FILE *errors)
{
    if (quantity_percent(arg, out_share) != 0) {
        return options_usage(errors, "--%s: '%s' is not a percentage from 0 to 100 (examples: %s)", name, arg,
                             examples);
    }
    return 0;
}

static int set_pattern(struct options *o, bool include, const char *arg, FILE *errors)
{
    int r = filter_add(o->filter, include, arg);
    if (r != 0) {
        return options_usage(errors, "--%s: '%s': %s", include ? "include" : "exclude", arg,
                             r == -EINVAL ? "an empty pattern" : strerror(-r));
    }
    return 0;
}

static int set_bwlimit(struct options *o, const char *arg, FILE *errors)
{
    /* As in rsync, 0 means no limit. */
    if (quantity_size(arg, 1024, &o->bwlimit) != 0) {
        return options_usage(errors, "--bwlimit: '%s' is not a rate (examples: 500K, 20M, 1.5G)", arg);
    }
    if (o->bwlimit < BWLIMIT_MIN && strspn(arg, "0.") != strlen(arg)) {
        return options_usage(errors, "--bwlimit: '%s' is less than %d bytes a second", arg, BWLIMIT_MIN);
    }
    return 0;
}

static int set_io_timeout(struct options *o, const char *arg, FILE *errors)
{
    int r = set_duration("io-timeout", arg, "30s, 5m", &o->io_timeout_ns, errors);
    if (r == 0 && o->io_timeout_ns != 0 && o->io_timeout_ns < NS_PER_SEC) {
        return options_usage(errors, "--io-timeout: '%s' is less than a second", arg);
    }
    return r;
}

static int set_stop_at(struct options *o, const char *arg, FILE *errors)
{
    int r = window_parse(arg, time(NULL), &o->stop_at);
    if (r == -ERANGE) {
        return options_usage(errors, "--stop-at: '%s' has passed", arg);
    }
    return r == 0 ? 0
                  : options_usage(errors, "--stop-at: '%s' is not a moment (examples: 04:30, 2031-02-28T04:30)", arg);
}

/* "500", or "25%": entries, or millionths. */
static int set_most(const char *name, const char *arg, uint64_t *out, bool *out_share, bool *out_given, FILE *errors)
{
    uint32_t share = 0;
    bool is_share = strchr(arg, '%') != NULL;
    if (is_share ? quantity_percent(arg, &share) != 0 : quantity_number(arg, 0, INT64_MAX, out) != 0) {
        return options_usage(errors, "--%s: '%s' is neither a number nor a percentage (examples: 500, 25%%)", name,
                             arg);
    }
    *out = is_share ? share : *out;
    *out_share = is_share;
    *out_given = true;
    return 0;
}

static const enum finding_kind mendable[] = {FINDING_CORRUPT, FINDING_EMPTY, FINDING_DIFFERS,
                                             FINDING_TIMES,   FINDING_TEMP,  FINDING_UNREADABLE};

static bool is_mendable(enum finding_kind kind)
{
    for (size_t i = 0; i < sizeof mendable / sizeof mendable[0]; i++) {
        if (mendable[i] == kind) {
            return true;
        }
    }
    return false;
}

/* "empty,temp"; NULL: what it is without kinds. */
static int set_repair(struct options *o, const char *arg, FILE *errors)
{
    o->repair = arg == NULL ? MEND_KIND(FINDING_CORRUPT) : 0;
    while (arg != NULL) {
        size_t len = strcspn(arg, ",");
        enum finding_kind kind = FINDING_NONE;
        if (len == 3 && memcmp(arg, "all", 3) == 0) {
            o->repair |= MEND_KINDS;
        } else if (finding_kind_parse(arg, len, &kind) == 0 && is_mendable(kind)) {
            o->repair |= MEND_KIND(kind);
        } else {
            return options_usage(errors,
                                 "--repair: '%.*s' is not one of corrupt, empty, differs, times, temp, "
                                 "unreadable, all",
                                 (int)len, arg);
        }
        arg = arg[len] == ',' ? arg + len + 1 : NULL;
    }
    return 0;
}

static int set_compare(struct options *o, const char *arg, FILE *errors)
{
    static const char *const words[] = {[WITH_STATE] = "state", [WITH_DEST] = "dest", [WITH_CONTENTS] = "checksum"};
    int r = set_word("compare", arg, words, errors);
    o->compare = r < 0 ? o->compare : (enum compare_with)r;
    return r < 0 ? r : 0;
}

static int set_chmod(struct options *o, const char *arg, FILE *errors)
{
    int r = chmod_parse(arg, &o->chmod);
    if (r != 0) {
        return options_usage(errors, "--chmod: '%s': %s", arg,
                             r == -EINVAL ? "not a mode (examples: u+rwX,go-w or D755,F644)" : strerror(-r));
    }
    return 0;
}

static int set_chown(struct options *o, const char *arg, FILE *errors)
{
    switch (chown_parse(arg, &o->chown_uid, &o->chown_gid)) {
    case CHOWN_EMPTY:
        return options_usage(errors, "--chown: '%s' names neither user nor group", arg);
    case CHOWN_UNKNOWN_USER:
        return options_usage(errors, "--chown: '%s': there is no such user", arg);
    case CHOWN_UNKNOWN_GROUP:
        return options_usage(errors, "--chown: '%s': there is no such group", arg);
    case CHOWN_OK:
    default:
        break;
    }
    const char *forbidden = chown_forbidden(o->chown_uid, o->chown_gid);
    return forbidden != NULL ? options_usage(errors, "--chown: '%s': %s", arg, forbidden) : 0;
}

static int set_nfs_user(struct options *o, const char *arg, FILE *errors)
{
    return chown_user(arg, &o->nfs_uid) == CHOWN_OK
               ? 0
               : options_usage(errors, "--nfs-uid: '%s': there is no such user", arg);
}

static int set_nfs_group(struct options *o, const char *arg, FILE *errors)
{
    return chown_group(arg, &o->nfs_gid) == CHOWN_OK
               ? 0
               : options_usage(errors, "--nfs-gid: '%s': there is no such group", arg);
}

/* Options that only switch something on. */
static bool set_flag(struct options *o, enum option_id id)
{
    struct {
        enum option_id id;
        bool *flag;
    } flags[] = {
        {OPT_FROM0, &o->from0},
        {OPT_ONE_FILE_SYSTEM, &o->one_file_system},
        {OPT_DRY_RUN, &o->dry_run},
        {OPT_FSYNC, &o->fsync},
        {OPT_STATS, &o->stats},
        {OPT_ARCHIVE_DIRS, &o->archive_dirs},
        {OPT_PROGRESS, &o->progress},
        {OPT_QUIET, &o->quiet},
        {OPT_XATTRS, &o->xattrs},
        {OPT_ACLS, &o->acls},
        {OPT_JSON, &o->json},
        {OPT_NO_IO_URING, &o->no_io_uring},
        {OPT_NO_RESERVED_PORT, &o->no_reserved_port},
        {OPT_DIRECT, &o->direct},
        {OPT_DELETE, &o->remove},
        {OPT_ACCEPT_DESTINATION, &o->accept_destination},
        {OPT_DETECT_RENAMES, &o->detect_renames},
        {OPT_OTHERS, &o->others},
        {OPT_READ_SOURCE, &o->read_source},
        {OPT_FRESH, &o->fresh},
        {OPT_REMOVE, &o->repair_remove},
    };
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (flags[i].id == id) {
            *flags[i].flag = true;
            return true;
        }
    }
    return false;
}

static int apply(struct options *o, const struct option_row *row, const char *arg, FILE *errors)
{
    switch ((enum option_id)row->id) {
    case OPT_EXCLUDE:
    case OPT_INCLUDE:
        return set_pattern(o, row->id == OPT_INCLUDE, arg, errors);
    case OPT_FILES_FROM:
        o->files_from = arg;
        return 0;
    case OPT_JOBS:
        return set_number(row->name, arg, 1, JOBS_MAX, &o->jobs, errors);
    case OPT_BWLIMIT:
        return set_bwlimit(o, arg, errors);
    case OPT_OPS_LIMIT:
        return set_number(row->name, arg, 0, OPS_LIMIT_MAX, &o->ops_limit, errors);
    case OPT_RETRIES:
        return set_number(row->name, arg, 0, RETRIES_MAX, &o->retries, errors);
    case OPT_RETRY_DELAY:
        return set_duration(row->name, arg, "500ms, 2s, 1m", &o->retry_delay_ns, errors);
    case OPT_RECHECK:
        return set_percent(row->name, arg, "1%, 0.5%, 100%", &o->recheck, errors);
    case OPT_IO_TIMEOUT:
        return set_io_timeout(o, arg, errors);
    case OPT_AUDIT:
        return set_percent(row->name, arg, "1%, 5%", &o->audit, errors);
    case OPT_MAX_DELETE:
        return set_most(row->name, arg, &o->max_delete, &o->max_delete_share, &o->max_delete_given, errors);
    case OPT_COMPARE:
        return set_compare(o, arg, errors);
    case OPT_CHECKSUM:
        o->compare = WITH_CONTENTS;
        return 0;
    case OPT_DELETE_EXCLUDED:
        o->remove = true;
        o->remove_excluded = true;
        return 0;
    case OPT_WAIT:
        return set_duration(row->name, arg, "30s, 10m, 2h", &o->wait_ns, errors);
    case OPT_MAX_DURATION:
        if (quantity_duration(arg, &o->max_duration_ns) != 0 || o->max_duration_ns == 0) {
            return options_usage(errors, "--max-duration: '%s' is not a time above 0 (examples: 50m, 2h)", arg);
        }
        return 0;
    case OPT_STOP_AT:
        return set_stop_at(o, arg, errors);
    case OPT_PARTIAL_MAX_AGE:
        return set_duration(row->name, arg, "12h, 7d", &o->partial_max_age, errors);
    case OPT_REPAIR:
        return set_repair(o, arg, errors);
    case OPT_MAX_REPAIR:
        return set_most(row->name, arg, &o->max_repair, &o->max_repair_share, &o->max_repair_given, errors);
    case OPT_QUARANTINE:
        return set_path(row->name, arg, &o->quarantine, errors);
    case OPT_SOURCE:
        return set_path(row->name, arg, &o->source, errors);
    case OPT_OLDER_THAN:
        return set_duration(row->name, arg, "12h, 2d", &o->older_than_ns, errors);
    case OPT_SAMPLE:
        return set_percent(row->name, arg, "1%, 0.1%", &o->sample, errors);
    case OPT_CHMOD:
        return set_chmod(o, arg, errors);
    case OPT_CHOWN:
        return set_chown(o, arg, errors);
    case OPT_NFS_UID:
        return set_nfs_user(o, arg, errors);
    case OPT_NFS_GID:
        return set_nfs_group(o, arg, errors);
    case OPT_OWNER:
        return set_owner(o, arg, errors);
    case OPT_STAGE:
        return set_stage(o, arg, errors);
    case OPT_TEMP_DIR:
        return set_path(row->name, arg, &o->temp_dir, errors);
    case OPT_STAGE_MAX:
        return set_size(row->name, arg, &o->stage_max, errors);
    case OPT_TEMP_SPACE:
        return set_size(row->name, arg, &o->temp_space, errors);
    case OPT_SPARSE:
        return set_sparse(o, arg, errors);
    case OPT_CONFIG:
        return set_path(row->name, arg, &o->config, errors);
    case OPT_JOB:
        return set_path(row->name, arg, &o->job, errors);
    case OPT_LIST_JOBS:
        o->command = COMMAND_JOBS;
        return 0;
    case OPT_METRICS:
        return set_path(row->name, arg, &o->metrics, errors);
    case OPT_STATE:
        return set_path(row->name, arg, &o->state, errors);
    case OPT_HELP:
        if (arg != NULL && strcmp(arg, "man") != 0) {
            return options_usage(errors, "--help: '%s' is not 'man'", arg);
        }
        o->command = arg != NULL ? COMMAND_MAN : COMMAND_HELP;
        return 0;
    case OPT_VERSION:
        o->command = COMMAND_VERSION;
        return 0;
    default:
        set_flag(o, (enum option_id)row->id);
        return 0;
    }
}

/* The two spellings of getopt, made from the table: a row for each and one that ends them; a colon, each letter with
 * one, and an end. Each row of the table has an id of its own, so that OPT_IDS is enough. */
static void spell(struct option longs[OPT_IDS], char shorts[2 * OPT_IDS])
{
    *shorts++ = ':'; /* tell a missing argument from an unknown option */
    for (unsigned i = 0; i < options_table_rows; i++) {
        const struct option_row *row = &options_table[i];
        longs[i] = (struct option){.name = row->name,
                                   .has_arg = row->arg == NULL ? no_argument
                                              : row->optional  ? optional_argument
                                                               : required_argument,
                                   .val = 256 + (int)i};
        if (row->letter != 0) {
            *shorts++ = row->letter;
            if (row->arg != NULL && !row->optional) {
                *shorts++ = ':';
            }
        }
    }
    longs[options_table_rows] = (struct option){0};
    *shorts = '\0';
}

static const struct option_row *row_of(int value)
{
    if (value >= 256) {
        return &options_table[value - 256];
    }
    for (unsigned i = 0; i < options_table_rows; i++) {
        if (options_table[i].letter == value) {
            return &options_table[i];
        }
    }
    return NULL;
}

bool options_in_file(int id)
{
    return id <= OPT_SYNC_LAST && id != OPT_JOB;
}

bool options_takes_many(int id)
{
    return id == OPT_EXCLUDE || id == OPT_INCLUDE || id == OPT_CHMOD;
}

/* One option, from the command line or from the file of jobs (jobfile_take). */
static int take(void *arg, const struct option_row *row, const char *value, FILE *errors)
{
    struct options *o = arg;
    int r = apply(o, row, value, errors);
    if (r != 0) {
        return r;
    }
    if (row->id != OPT_STATE && row->id != OPT_JSON) {
        o->run_option = row->name;
    }
    if (row->id >= OPT_DELETE && row->id <= OPT_SYNC_LAST) {
        o->sync_option = row->name;
    }
    if (row->id > OPT_SYNC_LAST && row->id <= OPT_LOOK_LAST) {
        o->look_option = row->name;
    }
    o->given[row->id] = true;
    return 0;
}

/* What comes before a job's own: patterns, the first of which decides, and what says which job it is. The rest comes
 * after it, so that it overrides. */
static bool comes_first(int id)
{
    return id == OPT_EXCLUDE || id == OPT_INCLUDE || id == OPT_JOB || id == OPT_CONFIG || id == OPT_LIST_JOBS;
}

/* Takes the options that come first, or all others. */
static int parse_options(struct options *o, int argc, char **argv, bool first, FILE *errors)
{
    struct option longs[OPT_IDS];
    char shorts[2 * OPT_IDS];
    spell(longs, shorts);
    opterr = 0;
    optind = 0;
    int value = 0;
    while ((value = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (value == ':') {
            return options_usage(errors, "%s needs an argument", argv[optind - 1]);
        }
        const struct option_row *row = value == '?' ? NULL : row_of(value);
        if (row == NULL) {
            if (optopt >= 256) {
                return options_usage(errors, "--%s takes no argument", options_table[optopt - 256].name);
            }
            if (optopt != 0) {
                return options_usage(errors, "unknown option '-%c'", optopt);
            }
            return options_usage(errors, "unknown option '%s'", argv[optind - 1]);
        }
        int r = comes_first(row->id) == first ? take(o, row, optarg, errors) : 0;
        if (r != 0) {
            return r;
        }
    }
    return 0;
}

/* The job's options, source and destination, for haul sync. */
static int take_job(struct options *o, const char *command, FILE *errors)
{
    if (o->config != NULL && o->job == NULL && o->command != COMMAND_JOBS) {
        return options_usage(errors, "--config is about --job and --list-jobs, and none of them is given");
    }
    if (o->job == NULL || command == NULL || strcmp(command, "sync") != 0) {
        return 0; /* what else is wrong is found by take_places */
    }
    int r = jobfile_read(o->config != NULL ? o->config : JOBFILE_DEFAULT, errors, &o->file);
    return r == 0 ? jobfile_job(o->file, o->job, take, o, errors, &o->source, &o->destination) : r;
}

/* SRC or DST, which may be nfs://. */
static int take_url(const char *which, const char *text, struct url *out, FILE *errors)
{
    char *problem = NULL;
    int r = url_is(text) ? url_parse(text, out, &problem) : 0;
    if (r != 0) {
        options_usage(errors, "%s '%s': %s", which, text, problem != NULL ? problem : "?");
        free(problem);
    }
    return r;
}

/* SRC and DST as nfs://, and what is said about them. */
int options_take_server(struct options *o, FILE *errors)
{
    int r = o->source != NULL ? take_url("SRC", o->source, &o->source_url, errors) : 0;
    if (r == 0) {
        r = take_url("DST", o->destination, &o->url, errors);
    }
    if (r != 0) {
        return r;
    }
    if (o->source_url.host != NULL && (o->xattrs || o->acls)) {
        return options_usage(
            errors,
            "--%s: SRC '%s' is an NFS server, which haul cannot ask for them; mount it and give the path, "
            "or leave the option out",
            o->xattrs ? "xattrs" : "acls", o->source);
    }
    if (o->url.host == NULL && o->source_url.host == NULL && !o->direct &&
        (o->nfs_uid != (uid_t)-1 || o->nfs_gid != (gid_t)-1 || o->no_reserved_port)) {
        return options_usage(errors, "--%s is about an nfs:// SRC or DST, and '%s' is a path",
                             o->nfs_uid != (uid_t)-1   ? "nfs-uid"
                             : o->nfs_gid != (gid_t)-1 ? "nfs-gid"
                                                       : "no-reserved-port",
                             o->destination);
    }
    if (o->direct && o->source_url.host != NULL && (o->url.host != NULL || strcmp(o->destination, "null:") == 0)) {
        return options_usage(errors, "--direct is about a path on an NFS mount, and SRC is '%s', DST is '%s'",
                             o->source, o->destination);
    }
    if (o->nfs_uid != (uid_t)-1 && o->nfs_gid == (gid_t)-1 && getpwuid(o->nfs_uid) == NULL) {
        return options_usage(errors, "--nfs-uid: user %u is not known here, nor is its group; give that with --nfs-gid",
                             (unsigned)o->nfs_uid);
    }
    return 0;
}

/* --detect-renames: what it cannot be had with. 0 or -EINVAL after a message. */
static int check_renames(const struct options *o, FILE *errors)
{
    const char *with = o->files_from != NULL         ? "--files-from"
                       : o->compare == WITH_CONTENTS ? "--compare=checksum"
                       : o->xattrs                   ? "--xattrs"
                       : o->acls                     ? "--acls"
                                                     : NULL;
    if (o->detect_renames && !o->remove) {
        return options_usage(errors, "--detect-renames needs --delete, which removes the former names");
    }
    return o->detect_renames && with != NULL ? options_usage(errors, "--detect-renames cannot be had with %s", with)
                                             : 0;
}

/* haul status [DST] */
static int take_status(struct options *o, char **places, int count, FILE *errors)
{
    o->command = COMMAND_STATUS;
    if (o->run_option != NULL) {
        return options_usage(errors, "--%s is not for haul status", o->run_option);
    }
    if (count > 2) {
        return options_usage(errors, "status takes DST or nothing, got %d arguments", count - 1);
    }
    o->destination = count == 2 ? places[1] : NULL;
    return o->destination != NULL ? take_url("DST", o->destination, &o->url, errors) : 0;
}

const char *options_not_taken(const struct options *o, const bool taken[OPT_IDS])
{
    for (unsigned i = 0; i < options_table_rows; i++) {
        const int id = options_table[i].id;
        if (o->given[id] && !taken[id]) {
            return options_table[i].name;
        }
    }
    return NULL;
}

/* haul doctor DST */
static int take_doctor(struct options *o, char **places, int count, FILE *errors)
{
    static const enum option_id fine[] = {OPT_JSON,    OPT_TEMP_DIR, OPT_IO_TIMEOUT,  OPT_RETRIES,
                                          OPT_NFS_UID, OPT_NFS_GID,  OPT_NO_IO_URING, OPT_NO_RESERVED_PORT};
    bool taken[OPT_IDS] = {false};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        taken[fine[i]] = true;
    }
    const char *wrong = options_not_taken(o, taken);
    if (wrong != NULL) {
        return options_usage(errors, "--%s is not for haul doctor", wrong);
    }
    if (count != 2 || places[1][0] == '\0') {
        return count == 2 ? options_usage(errors, "DST is empty")
                          : options_usage(errors, "doctor takes DST, got %d arguments", count - 1);
    }
    o->command = COMMAND_DOCTOR;
    o->destination = places[1];
    if (!o->given[OPT_IO_TIMEOUT]) {
        o->io_timeout_ns = DOCTOR_TIMEOUT;
    }
    if (!o->given[OPT_RETRIES]) {
        o->retries = 0; /* what has to be tried again is what it is to find out */
    }
    return options_take_server(o, errors);
}

static int take_places(struct options *o, char **places, int count, FILE *errors)
{
    if (count == 0) {
        return options_usage(errors, "no command; to copy a tree: haul copy SRC DST");
    }
    const char *command = places[0];
    if (strcmp(command, "status") == 0) {
        return take_status(o, places, count, errors);
    }
    if (strcmp(command, "doctor") == 0) {
        return take_doctor(o, places, count, errors);
    }
    if (options_take_look(o, places, count)) {
        return options_check_look(o, places, count, errors);
    }
    if (strcmp(command, "copy") != 0 && strcmp(command, "sync") != 0) {
        return options_usage(errors, "unknown command '%s'; there are: copy, sync, scan, verify, clean, status, doctor",
                             command);
    }
    o->command = strcmp(command, "sync") == 0 ? COMMAND_SYNC : COMMAND_COPY;
    if (o->command == COMMAND_COPY && o->sync_option != NULL) {
        return options_usage(errors, "--%s is for haul sync", o->sync_option);
    }
    if (o->look_option != NULL) {
        return options_usage(errors, "--%s is not for haul %s", o->look_option, command);
    }
    if (o->max_delete_given && !o->remove) {
        return options_usage(errors, "--max-delete is about --delete, which is not given");
    }
    if (o->job != NULL && count != 1) {
        return options_usage(errors, "--job says what SRC and DST are, got %d more", count - 1);
    }
    if (o->job == NULL && count != 3) {
        return options_usage(errors, "%s takes SRC and DST, got %d %s", command, count - 1,
                             count == 2 ? "argument" : "arguments");
    }
    o->source = o->job == NULL ? places[1] : o->source;
    o->destination = o->job == NULL ? places[2] : o->destination;
    if (o->source[0] == '\0' || o->destination[0] == '\0') {
        return options_usage(errors, "%s is empty", o->source[0] == '\0' ? "SRC" : "DST");
    }
    int r = options_take_server(o, errors);
    if (r != 0) {
        return r;
    }
    if (o->owner == OWNER_IGNORE && (o->chown_uid != (uid_t)-1 || o->chown_gid != (gid_t)-1)) {
        return options_usage(errors,
                             "--chown says whose files are to be, --owner=ignore that they are nobody's in particular");
    }
    if (o->from0 && o->files_from == NULL) {
        return options_usage(errors, "--from0 is about the list of --files-from, which is not given");
    }
    return check_renames(o, errors);
}

int options_parse(int argc, char **argv, FILE *errors, struct options *out_options)
{
    struct options o = {.chown_uid = (uid_t)-1,
                        .chown_gid = (gid_t)-1,
                        .nfs_uid = (uid_t)-1,
                        .nfs_gid = (gid_t)-1,
                        .command = COMMAND_COPY,
                        .io_timeout_ns = 120 * NS_PER_SEC,
                        .retries = 5,
                        .retry_delay_ns = 500 * NS_PER_MS,
                        .recheck = RECHECK_DEFAULT,
                        .partial_max_age = PARTIAL_AGE_DEFAULT,
                        .older_than_ns = OLDER_THAN_DEFAULT,
                        .sample = SAMPLE_ALL,
                        .stage_max = STAGE_MAX_DEFAULT,
                        .temp_space = UINT64_MAX};
    int r = filter_create(&o.filter);
    if (r == 0) {
        r = parse_options(&o, argc, argv, true, errors);
    }
    if (r == 0) {
        r = take_job(&o, optind < argc ? argv[optind] : NULL, errors);
    }
    if (r == 0) {
        r = parse_options(&o, argc, argv, false, errors);
    }
    if (r == 0 && o.command == COMMAND_COPY) { /* not --help, --version */
        r = take_places(&o, argv + optind, argc - optind, errors);
    }
    if (r != 0) {
        options_release(&o);
        return r;
    }
    *out_options = o;
    return 0;
}

void options_release(struct options *options)
{
    chmod_release(&options->chmod);
    url_release(&options->source_url);
    url_release(&options->url);
    filter_destroy(options->filter);
    jobfile_destroy(options->file);
    options->file = NULL;
    options->filter = NULL;
}
