/*
 * options: the command line, parsed once into a const struct options.
 *
 * One table (options_table.c) is the truth for parsing, --help and the man page.
 */
#ifndef HAUL_COPIER_OPTIONS_H
#define HAUL_COPIER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "copier/chmod.h"
#include "copier/sparse.h"
#include "copier/url.h"
#include "planner/filter.h"
#include "workers/store.h"

struct jobfile;

enum command {
    COMMAND_COPY,
    COMMAND_SYNC,
    COMMAND_SCAN,  /* source may be NULL */
    COMMAND_CLEAN, /* source is NULL */
    COMMAND_VERIFY,
    COMMAND_STATUS,  /* history.h; destination may be NULL */
    COMMAND_DOCTOR,  /* doctor.h; there is no source */
    COMMAND_HELP,    /* --help: print it and leave with 0 */
    COMMAND_MAN,     /* --help=man: print the man page's source */
    COMMAND_VERSION, /* --version */
    COMMAND_JOBS,    /* --list-jobs: jobfile_list */
};

enum stage_mode {
    STAGE_AUTO,   /* where it costs nothing or spares a network destination */
    STAGE_ALWAYS, /* every regular file, room permitting */
    STAGE_NEVER,  /* none */
};

/* What an entry of the source is compared with. */
enum compare_with {
    WITH_STATE,    /* what is remembered; what is not, with the destination */
    WITH_DEST,     /* the destination's listing */
    WITH_CONTENTS, /* and the contents there */
};

/* What an option is known by in the code. 0 is none. */
enum option_id {
    OPT_EXCLUDE = 1,
    OPT_INCLUDE,
    OPT_FILES_FROM,
    OPT_FROM0,
    OPT_ONE_FILE_SYSTEM,
    OPT_DRY_RUN,
    OPT_JOBS,
    OPT_BWLIMIT,
    OPT_OPS_LIMIT,
    OPT_RETRIES,
    OPT_RETRY_DELAY,
    OPT_IO_TIMEOUT,
    OPT_FSYNC,
    OPT_OWNER,
    OPT_CHMOD,
    OPT_CHOWN,
    OPT_XATTRS,
    OPT_ACLS,
    OPT_ARCHIVE_DIRS,
    OPT_STAGE,
    OPT_TEMP_DIR,
    OPT_STAGE_MAX,
    OPT_TEMP_SPACE,
    OPT_SPARSE,
    OPT_PARTIAL_MAX_AGE,
    OPT_STATS,
    OPT_PROGRESS,
    OPT_QUIET,
    OPT_JSON,
    OPT_METRICS,
    OPT_WAIT,
    OPT_MAX_DURATION,
    OPT_STOP_AT,
    OPT_STATE,
    OPT_NFS_UID,
    OPT_NFS_GID,
    OPT_NO_RESERVED_PORT,
    OPT_DIRECT,
    OPT_NO_IO_URING,
    OPT_RECHECK,
    OPT_DELETE, /* from here on for sync alone */
    OPT_DELETE_EXCLUDED,
    OPT_MAX_DELETE,
    OPT_COMPARE,
    OPT_CHECKSUM,
    OPT_AUDIT,
    OPT_ACCEPT_DESTINATION,
    OPT_DETECT_RENAMES,
    OPT_JOB,
    OPT_SYNC_LAST = OPT_JOB,
    OPT_SOURCE, /* from here on for scan, verify and clean alone */
    OPT_OLDER_THAN,
    OPT_OTHERS,
    OPT_READ_SOURCE,
    OPT_FRESH,
    OPT_SAMPLE,
    OPT_REPAIR,
    OPT_MAX_REPAIR,
    OPT_QUARANTINE,
    OPT_REMOVE,
    OPT_LOOK_LAST = OPT_REMOVE,
    OPT_CONFIG, /* from here on for every command, and the command line alone */
    OPT_LIST_JOBS,
    OPT_HELP,
    OPT_VERSION,
    OPT_IDS, /* one more than the last */
};

struct options {
    enum command command;
    const char *source;      /* as given; NULL: the command has none; not owned */
    const char *destination; /* as given; not owned */
    struct url source_url;   /* source, where it is nfs://; host NULL: it is a path; owned */
    struct url url;          /* destination, where it is nfs://; host NULL: it is a path; owned */
    uid_t nfs_uid;           /* --nfs-uid; -1: this process's user */
    gid_t nfs_gid;           /* --nfs-gid; -1: the group of that user */
    bool no_reserved_port;   /* connect from any port */
    bool direct;             /* SRC or DST on an NFS mount: speak to its server */
    struct filter *filter;   /* --exclude, --include in their order; owned */
    const char *files_from;  /* file, "-": standard input; NULL: walk all; not owned */
    bool from0;              /* the list is separated by NUL */
    bool one_file_system;    /* do not go into other mounts */
    bool dry_run;            /* change nothing */
    unsigned jobs;           /* operations in flight; 0: tunes itself */
    uint64_t bwlimit;        /* bytes a second; 0: none */
    unsigned ops_limit;      /* operations a second at the destination; 0: none */
    unsigned retries;        /* repeats after the first try */
    int64_t io_timeout_ns;   /* that an operation may go without an answer; 0: for ever */
    int64_t retry_delay_ns;  /* before the first repeat */
    bool fsync;              /* each file durable before its rename */
    enum store_owner owner;  /* --owner */
    struct chmod_list chmod; /* --chmod, all of them; owned */
    uid_t chown_uid;         /* --chown; -1: as it is */
    gid_t chown_gid;         /* --chown; -1: as it is */
    bool xattrs;             /* extended attributes too */
    bool acls;               /* POSIX ACLs too */
    bool archive_dirs;       /* directory times too */
    enum stage_mode stage;   /* what goes through the local temp dir */
    const char *temp_dir;    /* that dir; NULL: the default; not owned */
    uint64_t stage_max;      /* bytes of the largest file that auto copies into it */
    uint64_t temp_space;     /* bytes that copies in it take at a time; UINT64_MAX: a share of what is free */
    enum sparse_mode sparse; /* holes at the destination */
    bool stats;              /* more figures at the end */
    bool progress;           /* a progress line also where standard error is no terminal */
    bool quiet;              /* only failures */
    bool json;               /* events on standard output */
    int64_t wait_ns;         /* for another run's lease to go; 0: not at all */
    int64_t max_duration_ns; /* --max-duration; 0: none */
    time_t stop_at;          /* --stop-at, seconds since 1970; 0: none */
    int64_t until_ns;        /* monotonic: when the first of the two has come; 0: never. Set by main */
    const char *config;      /* --config; NULL: the default; not owned */
    const char *job;         /* --job; NULL: none; not owned */
    struct jobfile *file;    /* of job, whose strings are used; owned */
    const char *metrics;     /* --metrics; NULL: none; not owned */
    const char *state;       /* state file; NULL: the default of the pair; not owned */
    bool no_io_uring;        /* never make a ring */
    int64_t partial_max_age; /* ns, of what is left of large files; 0: nothing is kept of them */
    uint32_t recheck;        /* of what is published, in millionths: looked at again */

    int64_t older_than_ns; /* scan, clean: --older-than */
    bool others;           /* clean: temp names of other tools too */
    uint32_t sample;       /* verify: of the files, in millionths: contents compared */
    bool read_source;      /* verify: contents of the source are read, whatever is remembered */
    bool fresh;            /* verify: begin anew, though the last one was not finished */

    unsigned repair;        /* scan: MEND_KIND (mend.h) of what is to be mended; 0: nothing */
    const char *quarantine; /* scan: where what the source does not have is moved; NULL: nowhere; not owned */
    bool repair_remove;     /* scan: what the source does not have is removed */
    uint64_t max_repair;    /* scan: entries, or millionths of all with max_repair_share */
    bool max_repair_share;  /* see max_repair */
    bool max_repair_given;  /* it is the user's own */

    bool given[OPT_IDS];       /* by id: the option was given */
    const char *look_option;   /* name of the last option given that copy and sync do not have; NULL: none */
    uint64_t max_delete;       /* sync: entries, or millionths of all with max_delete_share */
    const char *run_option;    /* name of the last option given that haul status does not have; NULL: none */
    const char *sync_option;   /* name of the last option given that is for sync alone; NULL: none */
    enum compare_with compare; /* sync: --compare */
    uint32_t audit;            /* sync: of the directories, in millionths: looked at in each run */
    bool accept_destination;   /* sync: another destination than last time is fine */
    bool remove;               /* sync: what the source has no more is removed */
    bool remove_excluded;      /* sync: with what is excluded */
    bool detect_renames;       /* sync: what is there under another name is not copied */
    bool max_delete_share;     /* see max_delete */
    bool max_delete_given;     /* it is the user's own */
};

/*
 * Parses argv. 0; -EINVAL after a message on errors ("haul: --jobs: 'x' is not a number from 1 to 4096\nTry ..."). The
 * strings of argv must live as long as *out_options, which is released with options_release.
 */
int options_parse(int argc, char **argv, FILE *errors, struct options *out_options);
void options_release(struct options *options);

/* Whether it is a command that looks at a destination as it is (look.h). */
bool options_looks(const struct options *options);

/* Whether a job may have that option, and whether it may have it several times. */
bool options_in_file(int id);
bool options_takes_many(int id);

/* Prints the help text, or the man page's source (mdoc). */
void options_help(FILE *out);
void options_man(FILE *out);

/* The table. */
struct option_row {
    int id;           /* enum option_id */
    char letter;      /* short name, or 0 */
    bool optional;    /* the argument may be left out */
    const char *name; /* long name */
    const char *arg;  /* what its argument is called, or NULL: it takes none */
    const char *help; /* one or more sentences */
};
extern const struct option_row options_table[];
extern const unsigned options_table_rows;

/* Rows of the exit status table that help and man page show. */
struct status_row {
    int status;
    const char *meaning;
};
extern const struct status_row status_table[];
extern const unsigned status_table_rows;

#define JOBS_MAX            4096U
#define PARTIAL_AGE_DEFAULT (7LL * 24 * 3600 * 1000000000) /* ns */
#define RECHECK_DEFAULT     10000U                         /* millionths: 1 % */
#define SAMPLE_ALL          1000000U                       /* millionths */
#define OLDER_THAN_DEFAULT  (24LL * 3600 * 1000000000)     /* ns */
#define MAX_DELETE_FEW      100U    /* entries below which the default of --max-delete does not count */
#define MAX_DELETE_SHARE    250000U /* millionths: 25 %, its default */
#define MAX_REPAIR_FEW      100U    /* entries below which the default of --max-repair does not count */
#define MAX_REPAIR_SHARE    250000U /* millionths: 25 %, its default */

#endif
