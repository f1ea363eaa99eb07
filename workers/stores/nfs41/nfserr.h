/*
 * nfserr: the one table of what an NFSv4.1 status means to haul (RFC 8881 15.1, table in nfserr.c).
 *
 * Any thread; nothing blocks; nothing is allocated.
 */
#ifndef HAUL_STORES_NFS41_NFSERR_H
#define HAUL_STORES_NFS41_NFSERR_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

/* Statuses that code asks for by name; the table has them all. */
enum nfs_status {
    NFS4_OK = 0,
    NFS4ERR_PERM = 1,
    NFS4ERR_NOENT = 2,
    NFS4ERR_IO = 5,
    NFS4ERR_NXIO = 6,
    NFS4ERR_ACCESS = 13,
    NFS4ERR_EXIST = 17,
    NFS4ERR_XDEV = 18,
    NFS4ERR_NOTDIR = 20,
    NFS4ERR_ISDIR = 21,
    NFS4ERR_INVAL = 22,
    NFS4ERR_FBIG = 27,
    NFS4ERR_NOSPC = 28,
    NFS4ERR_ROFS = 30,
    NFS4ERR_MLINK = 31,
    NFS4ERR_NAMETOOLONG = 63,
    NFS4ERR_NOTEMPTY = 66,
    NFS4ERR_DQUOT = 69,
    NFS4ERR_STALE = 70,
    NFS4ERR_BADHANDLE = 10001,
    NFS4ERR_BAD_COOKIE = 10003,
    NFS4ERR_NOTSUPP = 10004,
    NFS4ERR_TOOSMALL = 10005,
    NFS4ERR_SERVERFAULT = 10006,
    NFS4ERR_BADTYPE = 10007,
    NFS4ERR_DELAY = 10008,
    NFS4ERR_SAME = 10009,
    NFS4ERR_DENIED = 10010,
    NFS4ERR_EXPIRED = 10011,
    NFS4ERR_LOCKED = 10012,
    NFS4ERR_GRACE = 10013,
    NFS4ERR_FHEXPIRED = 10014,
    NFS4ERR_SHARE_DENIED = 10015,
    NFS4ERR_WRONGSEC = 10016,
    NFS4ERR_CLID_INUSE = 10017,
    NFS4ERR_RESOURCE = 10018,
    NFS4ERR_MOVED = 10019,
    NFS4ERR_NOFILEHANDLE = 10020,
    NFS4ERR_MINOR_VERS_MISMATCH = 10021,
    NFS4ERR_STALE_CLIENTID = 10022,
    NFS4ERR_STALE_STATEID = 10023,
    NFS4ERR_OLD_STATEID = 10024,
    NFS4ERR_BAD_STATEID = 10025,
    NFS4ERR_NOT_SAME = 10027,
    NFS4ERR_SYMLINK = 10029,
    NFS4ERR_RESTOREFH = 10030,
    NFS4ERR_ATTRNOTSUPP = 10032,
    NFS4ERR_NO_GRACE = 10033,
    NFS4ERR_BADXDR = 10036,
    NFS4ERR_OPENMODE = 10038,
    NFS4ERR_BADOWNER = 10039,
    NFS4ERR_BADCHAR = 10040,
    NFS4ERR_BADNAME = 10041,
    NFS4ERR_OP_ILLEGAL = 10044,
    NFS4ERR_FILE_OPEN = 10046,
    NFS4ERR_ADMIN_REVOKED = 10047,
    NFS4ERR_BADSESSION = 10052,
    NFS4ERR_BADSLOT = 10053,
    NFS4ERR_COMPLETE_ALREADY = 10054,
    NFS4ERR_CONN_NOT_BOUND_TO_SESSION = 10055,
    NFS4ERR_SEQ_MISORDERED = 10063,
    NFS4ERR_SEQUENCE_POS = 10064,
    NFS4ERR_REQ_TOO_BIG = 10065,
    NFS4ERR_REP_TOO_BIG = 10066,
    NFS4ERR_REP_TOO_BIG_TO_CACHE = 10067,
    NFS4ERR_RETRY_UNCACHED_REP = 10068,
    NFS4ERR_TOO_MANY_OPS = 10070,
    NFS4ERR_OP_NOT_IN_SESSION = 10071,
    NFS4ERR_CLIENTID_BUSY = 10074,
    NFS4ERR_SEQ_FALSE_RETRY = 10076,
    NFS4ERR_BAD_HIGH_SLOT = 10077,
    NFS4ERR_DEADSESSION = 10078,
    NFS4ERR_NOT_ONLY_OP = 10081,
    NFS4ERR_WRONG_TYPE = 10083,
    NFS4ERR_DIRDELEG_UNAVAIL = 10084,
};

/* The session or the state behind a call was lost: outcome unknown (a transient errno that nothing else here uses). */
#define NFS_LOST ENOLINK

/* What is done about a status. WAIT and REBUILD are seen to by the session; the rest is the store's. */
enum nfs_decision {
    NFS_DO_NOTHING,   /* no error */
    NFS_DO_WAIT,      /* wait, and send the same again (the session repeats what has changed nothing yet) */
    NFS_DO_REBUILD,   /* the session or the client id is gone: a new one, and look before repeating */
    NFS_DO_REOPEN,    /* the state id is gone: open again, and look before repeating */
    NFS_DO_SPLIT,     /* too much for one COMPOUND: fewer operations, files or bytes */
    NFS_DO_RENAME,    /* the temp name is taken: another one */
    NFS_DO_DISCARD,   /* what was staged is not what it should be: close, remove the temp name, try again, report */
    NFS_DO_RESTART,   /* begin the listing again */
    NFS_DO_STEP_DOWN, /* the server does not have this: do without, by another way where there is one */
    NFS_DO_RETRY,     /* passes perhaps: the retry layer's (its errno is transient) */
    NFS_DO_FAIL,      /* this file fails */
    NFS_DO_STOP,      /* would meet every further file alike */
};

struct nfs_error {
    uint32_t status;            /* nfsstat4 */
    const char *name;           /* "NFS4ERR_NOENT"; "NFS4_OK" */
    int err;                    /* positive errno that the store returns where nothing else helps; 0: NFS4_OK */
    enum nfs_decision decision; /* see above; for statuses whose meaning hangs on the operation, the usual one */
};

/* The row of status; never NULL. For a status that the table does not have: a row with name NULL, EREMOTEIO and
 * NFS_DO_RETRY (its status field is 0 then). */
const struct nfs_error *nfs_error(uint32_t status);

/* -errno of that row; 0 for NFS4_OK. */
int nfs_errno(uint32_t status);

/* "NFS4ERR_NOENT (2)", or "unknown NFS status 12345". Returns buf. */
#define NFS_STATUS_TEXT 64
const char *nfs_status_text(uint32_t status, char buf[NFS_STATUS_TEXT]);

/* Row i of the table, for tests; NULL: there is none. */
const struct nfs_error *nfs_error_row(unsigned i);

#endif
