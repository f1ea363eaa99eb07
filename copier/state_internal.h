/*
 * state_internal: what the files of the state share.
 *
 *   state.c         a state's life, its runs
 *   state_db.c      the database file: opening, checking, moving aside, schema
 *   state_queue.c   what producers call: records go into a batch
 *   state_writer.c  the thread that writes batches
 *   state_read.c    looking things up
 *   state_recall.c  all entries of a directory at once
 *   state_intents.c what is about to be published
 *   state_renames.c source files found by what they are
 *   state_place.c   which destination it is about
 *   state_summary.c directories in one piece
 *   state_path.c    the default file of a pair
 *   state_look.c    a state file looked at beside a run that works with it
 *   state_verify.c  what a verification remembers
 *
 * Locks: state.lock guards what producers and the writer share and is held for a few instructions; state.db_lock
 * guards the main connection and is held for a whole batch. Never both at once. state.readers_lock guards the list of
 * readers. Order: db_lock, readers_lock, a reader's own lock.
 */
#ifndef HAUL_COPIER_STATE_INTERNAL_H
#define HAUL_COPIER_STATE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "copier/state.h"

#define STATE_APPLICATION_ID 0x4861756c /* "Haul", in the header of the database file */
#define BOOT_ID_MAX          64         /* bytes of a boot id with its NUL */
#define BOOT_FAILED          "failed"   /* stands for the boot of an epoch whose sync failed: no boot's id */

#define BATCH_RECORDS 8192              /* most records in a batch */
#define BATCH_BYTES   (2U << 20)        /* most bytes in a batch */
#define BATCH_READY   4096              /* records at which the writer begins */
#define BATCH_NS      (500 * NS_PER_MS) /* longest time that a record waits for the writer to begin */
#define BATCH_SLOW_NS (2 * NS_PER_SEC)  /* the same where each transaction costs fsyncs over the network */
#define TEXT_INLINE   (64U << 10)       /* bytes of a path kept inside a batch; a longer one is on the heap */
#define OP_MAX        24                /* bytes of a failure's operation with its NUL */
#define BUSY_MS       3000              /* how long to wait for another process that uses the database */
#define WAL_PAGES     8192              /* pages in the WAL (32 MiB) at which it is written back to the database */
#define FAILURES_RUNS 20                /* newest runs whose failures are kept */
#define FAILURES_MAX  100000            /* failures kept of one run; the run's count goes on */
#define EPOCH_BITS    24                /* an epoch's id is its run's number, then its own count in so many bits */

#define FILE_RACY     1U  /* files.flags: state_file.racy */
#define FILE_INTENT   2U  /* files.flags: something newer was about to be published (state_intend) */
#define FILE_INTENDED "3" /* both, in SQL */
#define FILE_XATTRS   8   /* files.flags: state_file.xattrs from this bit on */
#define SUMMARY_BITS  20  /* of the map of directories that were written about: 128 KiB */

#define MODE_INTENT 0 /* files.mode: only announced (state_intend); nothing else in the row counts */

enum record_kind {
    RECORD_FILE,    /* state_record */
    RECORD_FORGET,  /* state_forget */
    RECORD_INTEND,  /* state_intend */
    RECORD_DOUBT,   /* state_doubt */
    RECORD_CLEAR,   /* state_forget_dir */
    RECORD_DIR,     /* state_dir */
    RECORD_FAILURE, /* state_failure */
    RECORD_FINDING, /* state_finding */
    RECORD_PARTIAL, /* state_partial */
    RECORD_PART,    /* state_part */
    RECORD_OVER,    /* state_partial_over */
    RECORD_SUMMARY, /* state_summary_put, a part of it */
    RECORD_EPOCH,   /* an epoch begins */
    RECORD_DURABLE, /* an epoch, and those of its boot before it, became durable */
};

/* Attributes as they are kept. */
struct record_attr {
    uint32_t mode;    /* type and permission bits */
    uint32_t uid;     /* numeric */
    uint32_t gid;     /* numeric */
    uint64_t dev;     /* file system; source only */
    uint64_t ino;     /* inode or fileid */
    uint64_t size;    /* bytes */
    int64_t mtime_ns; /* since the epoch, saturated (clock_ns_of) */
    int64_t ctime_ns; /* the same */
};

/* One queued write as it lies in a batch's bytes, 8-byte aligned. */
struct record {
    uint32_t size;     /* bytes with text and padding: the next record is there */
    uint32_t text_len; /* bytes of the text: a name or a path; PARTIAL: the temp name, then the name */
    uint8_t kind;      /* enum record_kind */
    bool racy;         /* FILE */
    uint8_t xattrs;    /* FILE, SUMMARY: XATTRS_* */
    bool hash_known;   /* FILE, PART */
    uint64_t dir;      /* FILE, FORGET, INTEND, DOUBT, DIR, CLEAR, PARTIAL, SUMMARY: directory id */
    int64_t epoch;     /* FILE, PART, EPOCH, DURABLE: epoch id */
    char *heap;        /* a text too long for the batch, owned until it is written; NULL: it is in text */
    union {
        struct {                    /* FILE */
            struct record_attr src; /* source, when it was read */
            struct record_attr dst; /* destination, after publishing */
            uint8_t hash[16];       /* valid if hash_known */
        } file;
        struct {                    /* PARTIAL */
            struct record_attr src; /* source */
            int64_t id;             /* state_partial_id */
            uint64_t temp_dev;      /* struct store_temp */
            uint64_t temp_ino;      /* struct store_temp */
            int64_t touched_ns;     /* wall clock */
            uint32_t temp_uid;      /* struct store_temp */
            uint32_t temp_len;      /* bytes of the temp name */
        } partial;
        struct {              /* PART, OVER */
            int64_t id;       /* state_partial_id */
            uint64_t part;    /* PART: 0.. */
            uint8_t hash[16]; /* PART: valid if hash_known */
        } part;
        struct {            /* SUMMARY */
            uint32_t part;  /* 0, 1, ... */
            uint32_t parts; /* of the summary */
        } summary;
        struct {                  /* FINDING */
            int64_t number;       /* 1, 2, ... in its run */
            uint32_t path_len;    /* bytes of the path; the evidence follows in the text */
            uint8_t finding_kind; /* enum finding_kind */
            uint8_t sure;         /* enum finding_sure */
            uint8_t action;       /* enum finding_action */
            int err;              /* positive errno, or 0 */
        } finding;
        struct {               /* FAILURE */
            int64_t number;    /* 1, 2, ... in its run */
            int err;           /* positive errno */
            unsigned attempts; /* tries */
            char op[OP_MAX];   /* what failed, cut if longer */
        } failure;
    };
    char text[]; /* text_len bytes, no NUL */
};

/* What a FILE, FORGET, INTEND or DOUBT record is sorted by, so that the writer walks the table in order. */
struct record_key {
    uint64_t dir;                /* directory id */
    const struct record *record; /* in the same batch */
};

/* Records on their way to the writer. Owned by the producers (under state.lock) while it fills, by the writer after. */
struct batch {
    char *bytes;             /* BATCH_BYTES, owned */
    size_t used;             /* bytes filled */
    size_t count;            /* records */
    struct record_key *keys; /* BATCH_RECORDS, owned */
    size_t keys_count;       /* FILE, FORGET, INTEND and DOUBT records among them */
};

/* The figures of the present run, as state_run_progress gives them. */
struct figures {
    uint64_t files_total; /* entries met */
    uint64_t bytes_total; /* their bytes */
    uint64_t files_done;  /* entries right at the destination */
    uint64_t bytes_done;  /* their bytes */
    uint64_t failed;      /* entries that failed */
    bool complete;        /* the walk was over */
};

/* Statements of the writer; all on state.db. */
enum statement {
    STMT_FILE,
    STMT_FORGET,
    STMT_INTEND,
    STMT_INTENT_OVER,
    STMT_INTENTS_OVER,
    STMT_DOUBT,
    STMT_CLEAR,
    STMT_CLEAR_DIR,
    STMT_DIR,
    STMT_FAILURE,
    STMT_FINDING,
    STMT_PARTIAL,
    STMT_PART,
    STMT_OVER,
    STMT_OVER_PARTS,
    STMT_SUMMARY,
    STMT_SUMMARY_READ,
    STMT_SUMMARY_MEND,
    STMT_SUMMARY_OVER,
    STMT_EPOCH,
    STMT_DURABLE,
    STMT_FAILED,
    STMT_FIGURES,
    STMT_END,
    STMT_COUNT
};

struct state {
    char *path;              /* of the database file, owned; constant */
    struct notices *notices; /* not owned, may be NULL; constant */
    char boot[BOOT_ID_MAX];  /* this boot; "" where unknown; constant */
    bool rollback;           /* rollback journal, and one connection for readers and the writer; constant */
    bool unswept;            /* state_unswept; constant once the run has begun */
    bool had_files;          /* the database held records when it was opened; constant */
    int wal_pages;           /* pages in the WAL after the last commit; under db_lock */
    bool intends;            /* this run has announced something (state_intend); the writer's */
    bool broken;             /* a batch was lost: no more records are written; under db_lock */
    uint64_t *dead;          /* ids of the runs of the database at opening, sorted, owned; constant */
    size_t dead_count;       /* entries in dead */
    uint64_t *suspect;       /* epochs that failed or were not durable as their boot ended, sorted, owned; constant */
    size_t suspect_count;    /* entries in suspect */
    uint64_t summary_seed;   /* state_summary_seed; constant */

    pthread_mutex_t db_lock;              /* guards db and its statements */
    sqlite3 *db;                          /* main connection, owned */
    sqlite3_stmt *statements[STMT_COUNT]; /* owned */

    pthread_mutex_t readers_lock; /* guards readers */
    struct state_reader *readers; /* all of them, not owned */

    pthread_mutex_t lock;                       /* guards all below but the atomics */
    pthread_cond_t work;                        /* to the writer: there is something to do (CLOCK_MONOTONIC) */
    pthread_cond_t room;                        /* to the producers: a batch was taken over */
    pthread_cond_t ended_cond;                  /* to state_run_end: ended is true */
    pthread_cond_t settled;                     /* to state_settle: written has moved on */
    uint64_t spoilt[(1U << SUMMARY_BITS) / 64]; /* directories that this run has written about, by hash */
    uint64_t queued;                            /* records that were ever put into a batch */
    uint64_t written;                           /* of them, those whose transaction has ended */
    uint64_t hurried;                           /* up to this one somebody waits: the writer begins at once */
    struct batch batches[2];                    /* one fills while the other is written */
    struct batch *filling;                      /* which of them fills */
    struct figures figures;                     /* of the present run */
    bool figures_changed;                       /* since they were written last */
    bool writing;                               /* a run is under way: records are taken */
    bool durable;                               /* the destination is durable by itself */
    bool sync_failed;                           /* no epoch becomes durable any more */
    bool mark_owed;                             /* that was tried and could not be written; writer's thread only */
    bool failed_wanted;                         /* the epochs' rows are yet to be marked as failed */
    size_t waiting;                             /* producers that wait for room */
    bool stop;                                  /* the writer ends once all is written */
    bool end_wanted;                            /* state_run_end waits */
    bool ended;                                 /* the writer has dealt with it */
    int end_status;                             /* exit status for it */
    int64_t run;                                /* number of the present run; 0: none was begun */
    int64_t epoch;                              /* id of the present epoch */
    int64_t failures;                           /* failures of this run that were queued */
    int64_t findings;                           /* findings of this run that were queued */

    atomic_int error;    /* first -errno that was met, or 0 */
    atomic_bool damaged; /* the database turned out to be damaged: it is moved aside at the end */
    pthread_t writer;    /* valid if started */
    bool started;        /* the writer thread runs; opener's thread only */
};

/* A thread's way to look things up. */
struct state_reader {
    struct state *state;       /* not owned; outlives the reader */
    struct state_reader *next; /* the state's list, under readers_lock */
    pthread_mutex_t lock;      /* guards own; not used where own is NULL */
    sqlite3 *own;              /* own connection, owned; NULL: the state's, under its db_lock */
    sqlite3_stmt *known;       /* owned */
    sqlite3_stmt *lookup;      /* owned */
    sqlite3_stmt *dirs;        /* owned */
    sqlite3_stmt *recall;      /* owned */
    sqlite3_stmt *summary;     /* owned */
    sqlite3_stmt *renamed;     /* owned; NULL until state_renamed */
    sqlite3_stmt *partials;    /* owned */
    sqlite3_stmt *parts;       /* owned */
    sqlite3_stmt *verified;    /* owned; NULL until state_verify_has */
};

/* How to open; what the tests choose too. */
struct state_params {
    const char *path;              /* of the database file */
    const struct state_pair *pair; /* valid during the call */
    struct notices *notices;       /* may be NULL */
    const char *boot;              /* stands for this boot's id; NULL: the kernel's */
    bool rollback;                 /* rollback journal as on a network file system */
};

/* state_open with all its parameters. */
int state_open_params(const struct state_params *params, struct state **out_state, char **out_aside);

/* state.c. The beginning of a query of runs, and the run of one of its rows. */
#define STATE_RUNS_SQL                                                                                                 \
    "SELECT number, id, started, ended, status, files_total, bytes_total, files_done, bytes_done, failed, complete"    \
    " FROM runs"
struct state_run state_run_of_row(sqlite3_stmt *stmt);

/* state.c. state_failing; the caller has the connection for itself. */
int state_failing_in(sqlite3 *db, int64_t number, uint64_t *out_runs, int64_t *out_since_ns);

/* state_db.c. Opens or creates the file behind s->path, sets s->db, s->rollback, and checks it; results as state_open
 * has them. On failure s->db is closed. */
int state_db_open(struct state *s, const struct state_params *params, char **out_aside);

/* Whether a commit returns only when it is on the disk (else a power cut may undo the newest ones, never half of one).
 * Ends a reader's transaction where that shares the connection. 0 or -errno. */
int state_db_synced(sqlite3 *db, bool synced);

/* Whether it is a state database of ours, of a version that we know. 0, -EBADMSG, -EPROTO, -EXDEV (another program's),
 * -errno. */
int state_db_is_ours(sqlite3 *db);

/* Makes the tables that a database may lack. 0 or -errno. */
int state_db_add_tables(sqlite3 *db);

/* The kernel's id of this boot. */
void state_boot_id(char out_boot[BOOT_ID_MAX]);

/* Whether shared memory and locks may not hold between machines where path is. */
bool state_db_on_network(const char *path);

/* One more connection to read with. 0 or -errno. */
int state_db_reader(const struct state *s, sqlite3 **out_db);

/* Moves a damaged database aside, with what belongs to it. 0 and the new name (malloc'd), or -errno. */
int state_db_aside(const char *path, char **out_aside);

/* -errno for a SQLite result that is no success, with the system's own error where there was one. */
int state_db_errno(sqlite3 *db, int rc);

/* Begins to write; ends a reader's transaction first where that shares the connection. 0 or -errno. */
int state_db_begin(sqlite3 *db);

/* Commits where err is 0, rolls back where it is not or the commit fails. err, or that of the commit. */
int state_db_end(sqlite3 *db, int err);

/* state_history.c. Whether a process of this host holds the lock beside the state file. */
bool state_is_locked(const char *path);

/* The text in column i of the row that stmt stands on, malloc'd; NULL: no memory. */
char *state_text_column(sqlite3_stmt *stmt, int i);

/* The numbers of sql's first row, which has count of them. 0, -ENOENT (no row), -errno. */
int state_db_query(sqlite3 *db, const char *sql, int64_t *out_values, unsigned count);

/* Runs statements that yield nothing. 0 or -errno. */
int state_db_run(sqlite3 *db, const char *sql);

/* A statement that is used again and again. 0 or -errno. */
int state_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out_stmt);

/* state_writer.c. The statements of s->db; the thread. */
int state_writer_prepare(struct state *s);
/* Writes the WAL back to the database, as far as other processes let it. db_lock is held. */
void state_write_back(struct state *s);
void *state_writer_main(void *arg);

/* state_read.c. Ends the readers' transactions and lets none begin until state_readers_go, by the same thread. */
void state_readers_hold(struct state *s);
void state_readers_go(struct state *s);

/* state_read.c, for state_recall.c: the reader's connection, under its lock; and back. */
sqlite3 *state_reader_lock(struct state_reader *r);
void state_reader_unlock(struct state_reader *r);
/* Steps stmt to its next row, in the transaction that is left open: 0, -ENOENT, -errno. The lock is held. */
int state_reader_step(sqlite3 *db, sqlite3_stmt *stmt);
/* The entry of a row whose columns are those of STATE_ENTRY_COLUMNS. */
struct state_file state_file_of_row(sqlite3_stmt *stmt, uint64_t dir_id, const char *name);
/* Whether what was published in that epoch may have been lost: its boot ended before it was durable. */
bool state_epoch_suspect(const struct state *s, uint64_t epoch);

/* files.flags, with what was announced and is not in the row yet. */
#define STATE_FLAGS                                                                                                    \
    "flags | coalesce((SELECT " FILE_INTENDED " FROM intents AS i WHERE i.dir = files.dir AND i.name = files.name), "  \
    "0)"
#define STATE_ENTRY_COLUMNS STATE_FLAGS ", " STATE_ENTRY_REST
#define STATE_ENTRY_REST                                                                                               \
    "epoch, mode, dev, ino, size, mtime, ctime, uid, gid, dst_mode, dst_uid, dst_gid, dst_size, dst_mtime,"            \
    " dst_ino, dst_ctime, hash"

/* state_queue.c. What a partial file is kept by: the random part of its temp name. */
int64_t state_partial_id(const char *temp);

/* Queues a part of a summary, unless the run has written about its directory. Blocks while the queue is full. */
void state_queue_summary(struct state *s, const struct record *head, const char *bytes);

/* state_intents.c. Puts what was announced and never recorded into the entries' rows: whoever announced it is gone, or
 * done. In a transaction of its own, where there was anything: *out_some. 0 or -errno. */
int state_intents_settle(sqlite3 *db, bool *out_some);
/* The same within the caller's transaction. */
int state_intents_apply(sqlite3 *db);

/* state_summary.c. The map of directories that the run has written about; the lock is held. */
void state_summary_spoil(struct state *s, uint64_t dir_id);
bool state_summary_spoilt(const struct state *s, uint64_t dir_id);
/* At the opening, once the suspect epochs are known. 0 or -errno. */
int state_summary_load(struct state *s);
/* Removes the summary of a directory. By the writer, within its transaction. 0 or -errno. */
int state_summary_over(struct state *s, uint64_t dir_id);
/* Brings the summary of a directory up to date with count records of its entries, in the order in which they came; or
 * removes it, where that costs more than to make it anew. By the writer, within its transaction. 0 or -errno. */
int state_summary_mend(struct state *s, const struct record_key *keys, size_t count);

int state_batches_create(struct state *s);
void state_batches_destroy(struct state *s);

/* Keeps the first error of reads and writes for state_error, and that a database is damaged. Any thread. */
void state_note_error(struct state *s, int err);

#endif
