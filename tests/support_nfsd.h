/*
 * support_nfsd: an NFSv4.1 server (RFC 8881) for tests, in a thread of the test's process, on a loopback socket, with a
 * file system in memory. It does what a server does, and on top of that what it is told by a script: fail an operation,
 * act and not answer, forget sessions, lie.
 *
 * It shares no code with haul. It also looks at the client: what a client must not do (a slot used twice, a request
 * larger than agreed, an operation that does not decode) is a complaint, and nfsd_destroy fails the test for it.
 *
 * All functions may be called from any thread while the server runs. They fail the test (Criterion) where something
 * goes wrong. Not for hot loops: each takes the server's lock.
 */
#ifndef HAUL_TESTS_SUPPORT_NFSD_H
#define HAUL_TESTS_SUPPORT_NFSD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "support_nfsd_proto.h"

/* What the server does with owners that are set. */
enum nfsd_owners {
    NFSD_OWNERS_KEEP,     /* numeric strings are kept */
    NFSD_OWNERS_PERM,     /* PERM to any owner but the caller's own: root is squashed */
    NFSD_OWNERS_BADOWNER, /* BADOWNER: names are mapped, numbers are none */
    NFSD_OWNERS_NOBODY,   /* accepted, and nobody is stored */
    NFSD_OWNERS_NAMES,    /* kept; told as "user1000@example.org" */
};

/* How the server is. All zero: as generous as a server is. */
struct nfsd_options {
    /* What CREATE_SESSION grants at most; 0: as shown. A client that goes beyond is a complaint. */
    uint32_t slots;    /* 64 */
    uint32_t request;  /* bytes; 1 MiB + 4 KiB */
    uint32_t response; /* bytes; as request */
    uint32_t cached;   /* bytes; 8 KiB */
    uint32_t ops;      /* 100 */
    /* Limits that the server has without saying so (0: none): the client is told TOO_MANY_OPS, REQ_TOO_BIG,
     * REP_TOO_BIG_TO_CACHE by SEQUENCE or the operation that is too much, and is to send less. */
    uint32_t real_ops;
    uint32_t real_request; /* bytes */
    uint32_t real_cached;  /* bytes */
    uint32_t lease_s;      /* seconds; 0: 90 */
    uint64_t space;        /* bytes of all files; 0: 512 MiB. NOSPC beyond */
    uint32_t write_max;    /* bytes that one WRITE takes, the rest is left to the client; 0: all */
    uint32_t read_max;     /* bytes that one READ gives; 0: all that is asked for */
    uint32_t readdir_max;  /* entries that one READDIR gives; 0: what fits */
    uint32_t fragment;     /* bytes of a fragment of a reply's record; 0: one fragment */
    uint32_t dribble;      /* bytes for one send(); 0: all */
    enum nfsd_owners owners;
    unsigned bound; /* connections, over all its time, that may be bound to a session (by CREATE_SESSION, SEQUENCE,
                       BIND_CONN_TO_SESSION; no more than 64): through others CONN_NOT_BOUND_TO_SESSION to its
                       DESTROY_SESSION, as Ganesha does with 16; 0: any may */
    bool no_current_stateid; /* BAD_STATEID to the current stateid */
    bool no_verify;          /* NOTSUPP to VERIFY and NVERIFY */
    bool no_second_open;     /* RESOURCE to a second OPEN in one COMPOUND */
    bool keep_setuid;        /* a SETATTR of owner and mode keeps setuid and setgid; real servers strip them */
    bool seconds_only;       /* times are kept in whole seconds */
    bool unstable_lost;      /* what was written UNSTABLE and not committed is gone (zeros) when the verifier changes */
    bool reserved_port;      /* AUTH_TOOWEAK to callers from a port of 1024 and above */
    bool only_minor_0;       /* speaks 4.0 only */
    bool wrongsec;           /* wants Kerberos: WRONGSEC to PUTFH, LOOKUP */
    bool uncached_on_next;   /* RETRY_UNCACHED_REP comes from the operation behind SEQUENCE, not from SEQUENCE */
    bool eat_nothing;        /* accepts connections and never answers */
    bool read_only;          /* ROFS to what changes */
    const char *export_path; /* made at the start; NULL: "/export" */
};

/* What is done to a COMPOUND, or to an operation in it. */
enum nfsd_do {
    NFSD_FAIL,         /* the operation answers .status, and was not carried out */
    NFSD_ACT_FAIL,     /* the operation is carried out, and answers .status */
    NFSD_ANSWER,       /* the operation answers .bytes (from its status on), and was not carried out */
    NFSD_DROP_BEFORE,  /* nothing of the COMPOUND is carried out; the connection is closed */
    NFSD_DROP_AFTER,   /* all of it is, and the reply is cached; the connection is closed, no answer */
    NFSD_SILENT,       /* nothing is carried out, no answer, the connection stays */
    NFSD_SILENT_AFTER, /* all is carried out and cached, no answer, the connection stays */
    NFSD_LOSE_SESSION, /* the COMPOUND's session is forgotten before it is looked at */
    NFSD_LOSE_CLIENT,  /* its client id too, with all sessions and opens */
    NFSD_CRASH,        /* right before the operation: all connections closed, all clients forgotten; files stay */
    NFSD_CRASH_AFTER,  /* the same when all of the COMPOUND was carried out */
    NFSD_HOLD,         /* COMPOUNDs are kept, not carried out, until .hold of them are; then .then is done to each */
    NFSD_HOLD_AFTER,   /* the same, but they are carried out first, their replies are kept */
    NFSD_NEW_VERIFIER, /* before the COMPOUND: the write verifier changes */
    NFSD_NEW_COOKIES,  /* before the COMPOUND: all cookies and their verifier become invalid */
    NFSD_LIE,          /* the reply is changed on its way, as .lie says; the cached one is right */
};

/* .then of NFSD_HOLD. */
enum nfsd_then {
    NFSD_THEN_GO_ON,        /* they are carried out, or answered, latest first */
    NFSD_THEN_DROP,         /* all connections are closed */
    NFSD_THEN_LOSE_SESSION, /* all sessions are forgotten; then they are carried out (HOLD), or dropped (HOLD_AFTER) */
    NFSD_THEN_RESTART,      /* all connections closed, all clients forgotten */
};

enum nfsd_lie {
    NFSD_LIE_XID,             /* another xid */
    NFSD_LIE_WORD,            /* the word .at of the operation's result (0: its number, 1: its status) is .value; of an
                                 .op 0 rule: of the reply (0: xid) */
    NFSD_LIE_CUT,             /* only the first .at bytes, in a record that is as long */
    NFSD_LIE_TRUNCATE,        /* only the first .at bytes of a record that says it is longer; then closed */
    NFSD_LIE_STALL,           /* only the first .at bytes of the record, then silence */
    NFSD_LIE_MORE,            /* .value random bytes behind the results, within the record */
    NFSD_LIE_HUGE_RECORD,     /* a record of 2 GiB less one, of which as much comes as is taken */
    NFSD_LIE_FRAGMENTS,       /* fragments of 64 KiB without end */
    NFSD_LIE_EMPTY_FRAGMENTS, /* empty fragments without end */
    NFSD_LIE_GARBAGE,         /* a record of .value random bytes instead */
    NFSD_LIE_NOISE,           /* .value random bytes instead, without a record mark */
    NFSD_LIE_TWICE,           /* the reply twice */
    NFSD_LIE_STRAY,           /* a reply to nobody first */
    NFSD_LIE_CALL,            /* a call to the client first (a null call of a callback program) */
    NFSD_LIE_AUTH,            /* RPC: denied, AUTH_ERROR .value */
    NFSD_LIE_RPC,             /* RPC: accepted with accept_stat .value */
};

/* One line of the script. */
struct nfsd_rule {
    uint32_t op;         /* D4_*; 0: each COMPOUND */
    uint32_t with;       /* only in COMPOUNDs that have this operation too; 0: any */
    unsigned index;      /* only where op stands at this place of the COMPOUND (1: the first, SEQUENCE); 0: any. With
                            op 0 and an index: whatever operation stands there */
    const char *name;    /* only with a name (of LOOKUP, OPEN, CREATE, LINK, REMOVE, RENAME's new one) that matches this
                            pattern (fnmatch); NULL: any. Outlives the server */
    unsigned nth;        /* from the nth time that all this holds (1: the first; 0 is 1) */
    unsigned count;      /* and so many times; 0: once; NFSD_EVER */
    enum nfsd_do what;   /* is done */
    uint32_t status;     /* FAIL, ACT_FAIL: D4ERR_* or any number */
    enum nfsd_lie lie;   /* LIE */
    uint32_t at;         /* as the lie says */
    uint32_t value;      /* as the lie says */
    unsigned hold;       /* HOLD: how many */
    enum nfsd_then then; /* HOLD */
    const void *bytes;   /* ANSWER; copied */
    size_t len;          /* of bytes */
};
#define NFSD_EVER 0x7fffffffU

struct nfsd;

/* Starts one on 127.0.0.1 at a free port. options may be NULL. Bounded waits only; the caller destroys it. */
struct nfsd *nfsd_create(const struct nfsd_options *options);
/* Stops it and fails the test for the client's first complaint, if nfsd_forgive was not called. NULL is fine. */
void nfsd_destroy(struct nfsd *n);
uint16_t nfsd_port(const struct nfsd *n);

/* Adds a rule; the first rule that matches is taken, each counts on its own. */
void nfsd_rule(struct nfsd *n, const struct nfsd_rule *rule);
/* How often the rules added so far were carried out; takes all away. */
unsigned nfsd_clear(struct nfsd *n);
unsigned nfsd_fired(struct nfsd *n);
/* Complaints so far are no failure (a client that was lied to may well be one that misbehaves). */
void nfsd_forgive(struct nfsd *n);
/* The first complaint, malloc'd, or NULL. */
char *nfsd_complaint(struct nfsd *n);

/* sr_status_flags of each SEQUENCE from now on. */
void nfsd_set_flags(struct nfsd *n, uint32_t flags);
/* sr_target_highest_slotid from now on (UINT32_MAX: all). */
void nfsd_set_target(struct nfsd *n, uint32_t highest);
/* What is held (NFSD_HOLD) goes on now, with .then. Returns how many there were. */
unsigned nfsd_let_go(struct nfsd *n);
/* Waits until count COMPOUNDs are held; false after limit_ms. */
bool nfsd_wait_held(struct nfsd *n, unsigned count, int limit_ms);
/* All clients are forgotten, all connections closed. */
void nfsd_restart(struct nfsd *n);
/* Refuses connections (closes the listening socket and all connections) or listens again at the same port. */
void nfsd_listen(struct nfsd *n, bool listen);

/* What was counted since the start. */
struct nfsd_counts {
    unsigned connections; /* accepted */
    unsigned compounds;   /* carried out; without replays */
    unsigned replays;     /* answered from the reply cache */
    unsigned ops;         /* operations carried out */
    unsigned op[64];      /* of each number */
    unsigned opens;       /* open now */
    unsigned opens_max;   /* and at most */
    unsigned clients;     /* confirmed now */
    unsigned sessions;    /* now */
    unsigned in_flight;   /* COMPOUNDs held now */
    unsigned holes;       /* COMPOUNDs that stopped with an error */
    uint64_t written;     /* bytes of WRITE */
    uint64_t sent;        /* bytes to clients */
};
struct nfsd_counts nfsd_counts(struct nfsd *n);

/* The operations of the last COMPOUND that had that operation ("SEQUENCE PUTFH OPEN"), malloc'd; NULL: there was none.
 */
char *nfsd_last_with(struct nfsd *n, uint32_t op);
/* How many operations it had. */
unsigned nfsd_last_ops(struct nfsd *n, uint32_t op);
/* The last reply record (without its mark) to a COMPOUND with that operation, malloc'd; NULL: there was none. */
uint8_t *nfsd_last_reply(struct nfsd *n, uint32_t op, size_t *out_len);

const char *nfsd_op_name(uint32_t op);

/* ---- its files; paths are absolute ("/export/a/b") ---- */

struct nfsd_file {
    bool there;
    enum nfsd_type type;
    uint32_t mode; /* permission bits */
    uint32_t uid;
    uint32_t gid;
    uint32_t nlink;
    uint64_t size; /* bytes */
    uint64_t ino;
    struct timespec mtime;
    struct timespec atime;
    uint32_t rdev[2];   /* major, minor */
    unsigned published; /* how often this inode was renamed */
};
struct nfsd_file nfsd_see(struct nfsd *n, const char *path);
/* Whether the file there has exactly these bytes. */
bool nfsd_same(struct nfsd *n, const char *path, const void *bytes, size_t len);
/* Its target, malloc'd; NULL: no symbolic link. */
char *nfsd_target(struct nfsd *n, const char *path);
/* Names in all directories that match the pattern (fnmatch). */
unsigned nfsd_names(struct nfsd *n, const char *pattern);
/* How often names that match were the new name of a RENAME that succeeded. */
unsigned nfsd_renames(struct nfsd *n, const char *pattern);

/* From outside, as another client would. Parents must exist. */
void nfsd_put_dir(struct nfsd *n, const char *path, uint32_t mode);
void nfsd_put_file(struct nfsd *n, const char *path, const void *bytes, size_t len, uint32_t mode);
void nfsd_put_link(struct nfsd *n, const char *path, const char *target);
void nfsd_remove(struct nfsd *n, const char *path);
/* What is there gets that size (zeros behind what it had), and that mtime, in whole seconds. */
void nfsd_change(struct nfsd *n, const char *path, uint64_t size, time_t mtime);

#endif
