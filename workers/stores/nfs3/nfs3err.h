/*
 * nfs3err: the one table of what an NFSv3 or MOUNT status means to haul (RFC 1813 2.6, 5.1.5; table in nfs3err.c).
 *
 * Any thread; nothing blocks; nothing is allocated.
 */
#ifndef HAUL_STORES_NFS3_NFS3ERR_H
#define HAUL_STORES_NFS3_NFS3ERR_H

#include <errno.h>
#include <stdint.h>

/* Statuses that code asks for by name; the table has them all. */
enum nfs3_status {
    V3_OK = 0,
    V3_PERM = 1,
    V3_NOENT = 2,
    V3_ACCES = 13,
    V3_EXIST = 17,
    V3_XDEV = 18,
    V3_NOTDIR = 20,
    V3_INVAL = 22,
    V3_ROFS = 30,
    V3_MLINK = 31,
    V3_STALE = 70,
    V3_BADHANDLE = 10001,
    V3_NOT_SYNC = 10002,
    V3_BAD_COOKIE = 10003,
    V3_NOTSUPP = 10004,
    V3_TOOSMALL = 10005,
    V3_SERVERFAULT = 10006,
    V3_BADTYPE = 10007,
    V3_JUKEBOX = 10008,
};

/* What is done about a status. WAIT is seen to by nfs3_call; the rest is the store's. */
enum nfs3_decision {
    V3_DO_NOTHING, /* no error */
    V3_DO_WAIT,    /* wait, and send the same again */
    V3_DO_RENAME,  /* the temp name is taken: another one */
    V3_DO_LOOK_UP, /* the handle is worth nothing any more: it is looked up anew, once */
    V3_DO_RESTART, /* begin the listing again */
    V3_DO_WITHOUT, /* the server does not have this: do without, by another way where there is one */
    V3_DO_RETRY,   /* passes perhaps: the retry layer's (its errno is transient) */
    V3_DO_FAIL,    /* this file fails */
    V3_DO_STOP,    /* would meet every further file alike */
};

struct nfs3_error {
    uint32_t status;             /* nfsstat3 */
    const char *name;            /* "NFS3ERR_NOENT"; "NFS3_OK" */
    int err;                     /* positive errno that the store returns where nothing else helps; 0: NFS3_OK */
    enum nfs3_decision decision; /* see above; for statuses whose meaning hangs on the procedure, the usual one */
};

/* The row of status; never NULL. For a status that the table does not have: a row with name NULL, EREMOTEIO and
 * V3_DO_RETRY (its status field is 0 then). */
const struct nfs3_error *nfs3_error(uint32_t status);

/* -errno of that row; 0 for NFS3_OK. */
int nfs3_errno(uint32_t status);

/* "NFS3ERR_NOENT (2)", or "unknown NFS status 12345". Returns buf. */
#define V3_STATUS_TEXT 64
const char *nfs3_status_text(uint32_t status, char buf[V3_STATUS_TEXT]);

/* Row i of the table, for tests; NULL: there is none. */
const struct nfs3_error *nfs3_error_row(unsigned i);

#endif
