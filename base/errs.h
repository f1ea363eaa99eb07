/*
 * errs: one table of what an errno means to a copy (errs.c).
 *
 * Errors are passed as positive errno values or as -errno alike; the sign is ignored.
 * Any thread may call these; they never block.
 */
#ifndef HAUL_BASE_ERRS_H
#define HAUL_BASE_ERRS_H

#include <errno.h>
#include <stdbool.h>

enum err_class {
    ERR_NONE,      /* 0: no error */
    ERR_TRANSIENT, /* may pass by itself: repeat with back-off */
    ERR_PERMANENT, /* this file will not succeed by repeating */
    ERR_VANISHED,  /* the source entry is not there any more */
    ERR_FATAL,     /* would meet every further file alike: stop early, once (ENOSPC, EDQUOT, EROFS; EOWNERDEAD: the
                      destination was taken over by another run) */
    ERR_CANCELLED, /* the run is being stopped: neither repeat nor report as a failure of the file */
};

/* Our own code for "the source changed while it was read": an errno that no file system returns (EUCLEAN is XFS's and
 * ext4's for a damaged structure). Permanent for the operation: who reads the file decides whether to read it again. */
#define ERR_CHANGED EREMCHG

/* Our own code for "another run works here": a directory with the lease of a run that lives. */
#define ERR_OWNED ESRMNT

/*
 * Class of err; what is not in the table is ERR_PERMANENT. ERR_FATAL is for the destination only: on the source its
 * errors are ERR_PERMANENT. network says that the file system behind it is a network mount or server, where EIO,
 * ETIMEDOUT, ESTALE and the like come and go. ENOENT is ERR_VANISHED only where on_source is true; at the destination
 * it is transient once (a directory that was swapped) and so classed ERR_PERMANENT.
 */
enum err_class err_classify(int err, bool network, bool on_source);

/* Whether err says that nobody answered, neither server nor file system: no connection, or none that anything came
 * from. Positive or negative. */
bool err_is_silence(int err);

/* The symbolic name ("ENOSPC"; "ECHANGED" for ERR_CHANGED), "E?" where unknown. A static string. */
const char *err_name(int err);

/* A sentence for people ("No space left on device"; our own words for our own codes). A static string. */
const char *err_text(int err);

/* Number of rows in the table and row i, for tests: its errno, and its class at a destination on a local and on a
 * network file system. 0 where there is no such row. */
unsigned err_rows(void);
int err_row(unsigned i, enum err_class *out_local, enum err_class *out_network);

#endif
