/*
 * state: the memory of what was done, one SQLite database for each pair of source and destination.
 *
 * Writes are queued (bounded) and carried out in batches by one thread of the state's own; a queued write may be lost
 * in a crash, never half done. Reads go through state_reader, one a thread. WAL where the file system can, the rollback
 * journal on network file systems (notice).
 *
 * Durability (P4): every file row belongs to an epoch of its run; an epoch is durable once a STORE_SYNC that began
 * after its last publish has passed (or at once where the destination is durable by itself). A row of an epoch that is
 * not durable counts only while the boot that wrote it lasts. The kernel reports a failed write-back once, and a later
 * sync passes without the lost data: so after a failed sync what was not durable never becomes so, and does not count
 * in the same boot either. The parts of a partial file are kept by the same rule.
 */
#ifndef HAUL_COPIER_STATE_H
#define HAUL_COPIER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/name.h"
#include "base/notice.h"
#include "planner/compare.h"
#include "workers/store.h"

struct finding;
struct state;
struct state_reader;

#define STATE_VERSION 2 /* 1 knew no partial files; such a database is brought up to date when it is opened */

/* How a run stands in the history. */
struct state_run {
    int64_t number;          /* 1, 2, ... */
    char id[RUN_ID_LEN + 1]; /* of its temp names */
    int64_t started_ns;      /* wall clock */
    int64_t ended_ns;        /* wall clock; 0: it never ended (killed), or runs */
    int status;              /* exit status; -1: it never ended */
    uint64_t files_total;    /* entries that its walk had met (final only if complete) */
    uint64_t bytes_total;    /* and their bytes */
    uint64_t files_done;     /* right at the destination at its last record: copied or the same already */
    uint64_t bytes_done;     /* and their bytes */
    uint64_t failed;         /* entries that failed */
    bool complete;           /* its walk was over */
};

/* What a published entry is remembered by. Of the attributes mode, uid, gid, ino, size, mtime and ctime are kept, of
 * the source's dev too; the others are 0 when they are read back. Times outside of 1677..2262 become the nearest in it.
 */
struct state_file {
    uint64_t dir_id;  /* dir_id of its directory */
    const char *name; /* copied by state_record */
    struct attr src;  /* the source's attributes when it was read */
    struct attr dst;  /* what stood under the final name after publishing */
    uint8_t hash[16]; /* XXH3-128 as design.md says; valid if hash_known */
    bool hash_known;  /* false after copy_file_range, and for what has no contents */
    unsigned xattrs;  /* XATTRS_* that were published with it */
    bool racy;        /* read within its file system's time granularity of its last change (P7) */
};

/*
 * A large file that is under way, or was left so by an earlier run: what stands of it under its temp name. Kept by that
 * name, from its first part on until it is over.
 */
struct state_partial {
    uint64_t dir_id;        /* dir_id of its directory */
    const char *name;       /* of the entry at the source; copied by state_partial */
    struct attr src;        /* dev, ino, size, mtime, ctime of the source as its bytes were read; else 0 */
    struct store_temp temp; /* where it stands; size is not kept */
    int64_t touched_ns;     /* wall clock when it was last worked at, within the hour */
};

/* What identifies a pair; not owned, valid during the call. */
struct state_pair {
    const char *source;      /* canonical path or URL */
    const char *destination; /* canonical path or URL */
};

/* The default file of a pair: $XDG_STATE_HOME/haul/<hash>.db (or ~/.local/state/haul). malloc'd into *out_path, the
 * folders are created with mode 0700. 0, -ENOENT (no home), or -errno. */
int state_default_path(const struct state_pair *pair, char **out_path);

/*
 * Opens or creates the database (mode 0600). A file that is not a database, or a damaged one, is renamed aside
 * ("<path>.corrupt-<time>") and -EBADMSG returned with the new name in *out_aside (malloc'd; NULL where it could not be
 * renamed); a newer version is left alone with -EPROTO; the database of another pair, or of another program, with
 * -EXDEV; what is not a regular file with -EISDIR or -EINVAL. After other failures *out_aside is NULL. A file that was
 * not there before is gone again after a failure. Any thread; blocks.
 */
int state_open(const char *path, const struct state_pair *pair, struct notices *notices, struct state **out_state,
               char **out_aside);

/* Copies the database of path to the new file to (mode 0600), as it is at this moment: what a run without changes works
 * with. Nothing is changed at path. 0; -ENOENT: there is none; -EBADMSG: it is none of haul's, or damaged; -errno; to
 * is not there then. Any thread; blocks. */
int state_copy(const char *path, const char *to);

/* Waits until all that was queued is written. All readers must be gone. A database that turned out to be damaged while
 * it was used is moved aside as state_open does it, with a notice. NULL is fine. */
void state_close(struct state *s);

/* The last run so far. 0; -ENOENT: none; -errno. Any thread; blocks while a batch is written. */
int state_last_run(struct state *s, struct state_run *out_run);
/* Before anything is made at the destination, which may be long before the run begins: takes down that temp names may
 * be run_id's, so that later runs know it for dead (state_run_is_dead) should it be killed before state_run_begin.
 * Synced: it is known after a power cut. 0 or -errno. Blocks. */
int state_announce(struct state *s, const char *run_id);

/* It ends in order without having begun, and has left nothing. 0 or -errno. Blocks. */
int state_withdraw(struct state *s, const char *run_id);

/* Begins a run: its number and id are in out_run, the run before in out_previous (number 0: none). durable: the
 * destination is durable by itself. 0; -EEXIST (an earlier run has this id), -EALREADY (not the first of this state),
 * or -errno. What the functions below are given to write outside of begin and end is ignored, but for
 * state_epoch_failed. Starts the writer thread. The run's row is synced: its id is known after a power cut. Blocks.
 */
int state_run_begin(struct state *s, const char *run_id, bool durable, struct state_run *out_run,
                    struct state_run *out_previous);

/* The figures of the present run, taken over with the next batch. Any thread, non-blocking. */
void state_run_progress(struct state *s, uint64_t files_total, uint64_t bytes_total, uint64_t files_done,
                        uint64_t bytes_done, uint64_t failed, bool complete);

/* Ends the run with that exit status, after all that was queued before. Blocks until it is written. 0; -EINVAL (no
 * run); or as state_error. */
int state_run_end(struct state *s, int status);

/* Run number `number` (0: the newest): 0, -ENOENT, -errno. Any thread; blocks while a
 * batch is written. */
int state_run_get(struct state *s, int64_t number, struct state_run *out_run);

/* How many runs in a row, right before run number `number`, did not end with status 0, and when the first of them began
 * (wall clock; 0: none). 0 or -errno. Any thread; blocks while a batch is written. */
int state_failing(struct state *s, int64_t number, uint64_t *out_runs, int64_t *out_since_ns);

/* The last run that ended with status 0. 0, -ENOENT, -errno. The same. */
int state_last_success(struct state *s, struct state_run *out_run);

/* Whether run_id is an earlier run of this database, if only announced: it is dead then, since one run at a time holds
 * the lock. Any thread, non-blocking. */
bool state_run_is_dead(struct state *s, const char *run_id);

/* Whether runs before the present one may have left temp names: one of them did not end well, and none after it has
 * looked for them everywhere (state_swept). After state_run_begin; any thread, non-blocking. */
bool state_unswept(const struct state *s);

/* The present run has looked for temp names of earlier runs wherever they can be, and has left none. Blocks while a
 * batch is written. 0 or -errno, kept for state_error. */
int state_swept(struct state *s);

/* A directory's path for its id, once per directory that has records. Copied. Any thread; blocks while the queue is
 * full. */
void state_dir(struct state *s, uint64_t dir_id, const char *path);

/* Remembers a published entry. Copied. Any thread; blocks while the queue is full. After a write
 * error, which is kept for state_error, nothing more is recorded. */
void state_record(struct state *s, const struct state_file *file);

/* Forgets an entry (it failed, or is gone): the next run looks at it again. */
void state_forget(struct state *s, uint64_t dir_id, const char *name);

/* Remembers that a large file is under way, or what has changed about it. Its directory's path must be known
 * (state_dir). Copied. Any thread; blocks while the queue is full. */
void state_partial(struct state *s, const struct state_partial *partial);

/* One more part of it (0, 1, ..., of a size that the caller never changes) stands under that temp name, as durable as
 * what state_record is told of. hash: XXH3-128 of the part, 16 bytes; NULL: unknown. Copied. The same. */
void state_part(struct state *s, const char *temp, uint64_t part, const uint8_t *hash);

/* Nothing stands under that temp name any more, or nothing that is worth anything. The same. */
void state_partial_over(struct state *s, const char *temp);

/* Announces that an entry is about to be published: what is there after a crash is known to be haul's. What is
 * remembered of it already stays, but is KNOWN_SUSPECT until the entry is recorded: it may be replaced already. Returns
 * what state_settle is to be given. Copied. Any thread; blocks while the queue is full. */
uint64_t state_intend(struct state *s, uint64_t dir_id, const char *name);

/* An entry may not be at the destination as it is remembered: KNOWN_SUSPECT from then on. As state_intend. */
void state_doubt(struct state *s, uint64_t dir_id, const char *name);

/* Forgets all entries of a directory, and its path: it is new at the destination, or gone. As state_intend. */
void state_forget_dir(struct state *s, uint64_t dir_id);

/* Waits until what was queued up to then outlasts the process (not a power cut). 0, or as state_error. Any thread. */
int state_settle(struct state *s, uint64_t queued);

/* Whether any entry is remembered, but for the root itself. Any thread; blocks while a batch is written. */
bool state_has_entries(struct state *s);

/* Remembers a failure of the present run (the first 100,000 of a run, of the newest 20 runs). path is relative to the
 * source. Copied. */
void state_failure(struct state *s, const char *path, const char *op, int err, unsigned attempts);

/* Remembers a finding of the janitor in the present run (as many, of as many runs). Copied. */
void state_finding(struct state *s, const struct finding *f);

/* Begins a new epoch and returns the one before (to be passed to state_epoch_durable once a sync that starts after this
 * call has passed, which makes those of this boot before it durable as well, earlier runs' too, but for failed ones).
 * Any thread; blocks while the queue is full. */
int64_t state_epoch_next(struct state *s);
void state_epoch_durable(struct state *s, int64_t epoch);

/* A sync failed: no epoch of this boot that is not durable yet ever will be, and all that the run records from now on
 * belongs to such an epoch as well (files in flight have lost data to the same failure). Their rows are KNOWN_SUSPECT
 * from the next opening on. Written soon, after an error of other writes too; also after state_run_end, until
 * state_close. Any thread, non-blocking. */
void state_epoch_failed(struct state *s);

/* 0, or the first -errno that a queued write or a lookup met: the run must say so. Any thread. */
int state_error(struct state *s);

/* A read connection for one thread. 0 or -errno. */
int state_reader_create(struct state *s, struct state_reader **out_reader);
void state_reader_destroy(struct state_reader *r); /* NULL is fine */

/*
 * What is remembered of that source entry (compare.h). KNOWN_GOOD where type, size, mtime, ctime, dev and ino are the
 * recorded ones. KNOWN_SUSPECT, whatever they are, where the record is racy, where its epoch was not durable when its
 * boot ended or a sync of it failed, and where it cannot be read (state_error). What the present run recorded itself
 * may count or not.
 */
enum known state_known(struct state_reader *r, uint64_t dir_id, const char *name, const struct attr *src);

/* The same for a run that keeps these XATTRS_*: KNOWN_BARE instead of KNOWN_GOOD where not all were published. */
enum known state_known_with(struct state_reader *r, uint64_t dir_id, const char *name, const struct attr *src,
                            unsigned xattrs);

/* The same, and KNOWN_TOUCHED instead of KNOWN_NOTHING where type, size and mtime are the recorded ones and only ctime
 * is not. */
enum known state_known_touched(struct state_reader *r, uint64_t dir_id, const char *name, const struct attr *src,
                               unsigned xattrs);

/*
 * Entries of a directory in the order of their names, from the first one after `after` (NULL: from the beginning on),
 * at most limit of them (-1: all). fn is called under the reader's lock: it asks and tells the state nothing. file:
 * valid during the call; intent: it was announced (state_intend) and not recorded since, and nothing but the name
 * counts; sure: neither racy nor of an epoch that may have been lost. fn returns 0, or what ends it. 0, what fn
 * returned, -errno.
 */
typedef int (*state_recalled)(void *arg, const struct state_file *file, size_t name_len, bool intent, bool sure);
int state_recall(struct state_reader *r, uint64_t dir_id, const char *after, int64_t limit, state_recalled fn,
                 void *arg);

/*
 * A directory's summary (planner/summary.h): all its entries in one piece. What is written about an entry of the
 * directory is written into it too, or removes it; and it is gone with the first opening after which a row may have
 * been lost. So it holds what the rows say.
 *
 * put: len above 0; made of rows that this run has read, each of them sure, with these XATTRS_*. Ignored where the run
 * has written about the directory. Copied. Any thread; blocks while the queue is full.
 * get: malloc'd; 0; -ENOENT: there is none with these XATTRS_* at least; -errno.
 * seed: a number that is the same in all runs, and a secret.
 */
void state_summary_put(struct state *s, uint64_t dir_id, unsigned xattrs, const char *bytes, size_t len);
int state_summary_get(struct state_reader *r, uint64_t dir_id, unsigned xattrs, char **out_bytes, size_t *out_len);
uint64_t state_summary_seed(const struct state *s);

/* Whether a directory is remembered as it is at the source: mode, owner; with times: mtime; with xattrs: their kinds,
 * and ctime. Of the root: dir_id 0, name "". False too where it cannot be read (state_error). */
bool state_known_dir(struct state_reader *r, uint64_t dir_id, const char *name, const struct attr *src, bool times,
                     unsigned xattrs);

/* ---- what was renamed (state_renames.c) ---- */

/* A source file as it is remembered under another name than it has now. */
struct state_renamed {
    struct state_file file; /* name: the one below */
    char *name;             /* that name; owned */
    char *dir_path;         /* its directory's, relative to the source; owned */
};

/* Whether the database is to have the index that state_renamed looks through: makes it, for which all entries are read,
 * or removes it. 0 or -errno. Before the run's first reader; blocks. */
int state_renames_keep(struct state *s, bool wanted);

/* A regular file that is remembered with dev, ino, size and mtime of src, for sure (state_recall), under another name
 * than that one; any of several. What the present run has announced of that name makes no difference. 0, for
 * state_renamed_release; -ENOENT; -errno, which state_error tells too. */
int state_renamed(struct state_reader *r, uint64_t dir_id, const char *name, const struct attr *src,
                  struct state_renamed *out_renamed);
void state_renamed_release(struct state_renamed *renamed); /* one that is all 0 is fine */

/* ---- which destination the state is about (state_place.c) ---- */

#define STATE_PLACE_MAX 65 /* bytes of each text, with its NUL */

struct state_place {
    char id[STATE_PLACE_MAX];    /* of the destination, as its .haul/ has it */
    char stamp[STATE_PLACE_MAX]; /* run id that stood there when this was written; "": none */
    char next[STATE_PLACE_MAX];  /* run id that was about to be written there */
};

/* 0; -ENOENT: none was set; -errno. Any thread; blocks while a batch is written, like the two below. */
int state_place_get(struct state *s, struct state_place *out_place);
/* Sets it; on the disk when it returns. 0 or -errno. */
int state_place_set(struct state *s, const struct state_place *place);
/* What is remembered of the server that the destination is at: a line, as it was set for `about` (who asks, and which
 * server) not longer than max_age_ns ago. malloc'd. 0; -ENOENT; -errno. Any thread, as above. */
int state_server_get(struct state *s, const char *about, int64_t max_age_ns, char **out_text);
/* Sets it; text NULL: forgets it. 0 or -errno: then an earlier one is as it was. */
int state_server_set(struct state *s, const char *about, const char *text);
/* The file in which the place was last seen, or to which it was written: inode, size, mtime, and which run stood in it.
 * 0; -ENOENT; -errno. As above. */
int state_place_seen(struct state *s, struct attr *out_attr, char out_run[STATE_PLACE_MAX]);
/* Remembers it; attr NULL: forgets it. 0 or -errno. */
int state_place_see(struct state *s, const struct attr *attr, const char *run_id);
/* Forgets all entries and the place: another destination stands there now. 0 or -errno. */
int state_forget_all(struct state *s);

/* ---- what runs have left undone (state_left.c) ---- */

/* A directory in which something is still to be done. */
struct state_left {
    char *path;       /* relative to the source; owned */
    int64_t since_ns; /* wall clock at which the first run began that left it so */
};

/* All of them in the order that they were given in; for state_left_free. 0 or -errno. Any thread; both block while a
 * batch is written. */
int state_left_get(struct state *s, struct state_left **out_list, size_t *out_count);
/* Replaces them. Copied. 0 or -errno. */
int state_left_set(struct state *s, const struct state_left *list, size_t count);
void state_left_free(struct state_left *list, size_t count); /* NULL and 0 are fine */

/* The directory that comes next after *after (NULL: the first) in the order of ids (signed): its id and its path
 * (malloc'd). 0, -ENOENT, -errno. */
int state_dir_next(struct state_reader *r, const int64_t *after, int64_t *out_id, char **out_path);

/* The path (malloc'd) of that directory: 0, -ENOENT, -errno. */
int state_dir_path(struct state_reader *r, uint64_t dir_id, char **out_path);

/* The partial file that comes next after the one of that temp name (NULL: the first), in no order that means anything.
 * Its name is *out_name, malloc'd. 0, -ENOENT, -errno. */
int state_partial_next(struct state_reader *r, const char *after, struct state_partial *out_partial, char **out_name);

/* Calls each for all parts under that temp name that count: those of an epoch that was not durable when its boot ended,
 * or of which a sync failed, do not. hash NULL: unknown. 0 or -errno. each is short and leaves the state alone. */
int state_parts(struct state_reader *r, const char *temp, void (*each)(void *arg, uint64_t part, const uint8_t *hash),
                void *arg);

/* The record itself: 0, -ENOENT, -errno. out_file->name is set to name. */
int state_lookup(struct state_reader *r, uint64_t dir_id, const char *name, struct state_file *out_file);

/* ---- what there was, for haul status (state_history.c): nothing is changed by these. Any thread; they block. ---- */

struct state_history {
    char *source;             /* canonical path; owned */
    char *destination;        /* canonical path or URL; owned */
    struct state_run *runs;   /* newest first; owned */
    size_t count;             /* of runs */
    bool running;             /* a process of this host works with the state: the newest run, if it has not ended */
    uint64_t failing;         /* how many runs in a row, up to the newest that is over, did not end with status 0 */
    int64_t failing_since_ns; /* wall clock at which the first of them began; 0: none */
};

/* Reads a state file, at most most (at least 1) of its runs. 0; -EBADMSG (it is none of haul's, or damaged); -errno. */
int state_history_read(const char *path, size_t most, struct state_history *out_history);
void state_history_release(struct state_history *h);

/* The default state files of all pairs, in the order of their names; none where their folder is missing. 0, -ENOENT (no
 * home), -errno. Freed with state_history_files_free. */
int state_history_files(char ***out_paths, size_t *out_count);
void state_history_files_free(char **paths, size_t count);

/* The folder of the default state files; it may be missing. malloc'd. 0, -ENOENT (no home), -ENOMEM, -errno. */
int state_folder(char **out_folder);

#endif
