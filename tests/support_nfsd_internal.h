/*
 * support_nfsd_internal: what the files of the scripted server share. Everything here is called with the server's lock
 * held, by its thread.
 */
#ifndef HAUL_TESTS_SUPPORT_NFSD_INTERNAL_H
#define HAUL_TESTS_SUPPORT_NFSD_INTERNAL_H

#include <pthread.h>

#include "support_nfsd.h"
#include "support_nfsd_fs.h"
#include "support_nfsd_xdr.h"

#define SRV_MAX_CONNS 256
#define SRV_MAX_RULES 64
#define SRV_MAX_OPS   1024 /* operations of a COMPOUND that are decoded at all */

/* ---- operations as they were sent (RFC 8881 18) ---- */

struct srv_stateid {
    uint32_t seqid;
    uint8_t other[12];
};

struct srv_fattr {
    uint32_t mask[D4A_WORDS]; /* attributes that are there */
    bool beyond;              /* and others, that have no number here */
    struct nx_str values;     /* their bytes, in the order of their numbers */
};

struct srv_channel {
    uint32_t pad;
    uint32_t request;  /* bytes */
    uint32_t response; /* bytes */
    uint32_t cached;   /* bytes */
    uint32_t ops;
    uint32_t slots;
};

struct srv_op {
    uint32_t op;        /* D4_* */
    struct nx_str name; /* LOOKUP, OPEN, CREATE, LINK, REMOVE, RENAME: the (new) name */
    union {
        struct {
            uint32_t mask;
        } access;
        struct {
            struct srv_stateid stateid;
        } close;
        struct {
            uint64_t offset;
            uint32_t count;
        } commit;
        struct {
            uint32_t type;
            struct nx_str target;
            uint32_t rdev[2];
            struct srv_fattr attrs;
        } create;
        struct {
            uint32_t mask[D4A_WORDS];
        } getattr;
        struct {
            struct srv_fattr attrs;
        } verify; /* NVERIFY too */
        struct {
            uint32_t access;
            uint32_t deny;
            uint64_t client;
            struct nx_str owner;
            bool create;
            uint32_t how; /* 0: UNCHECKED4, 1: GUARDED4 */
            struct srv_fattr attrs;
            uint32_t claim; /* 0: by name, 4: the current file handle */
        } open;
        struct {
            struct nx_str fh;
        } putfh;
        struct {
            struct srv_stateid stateid;
            uint64_t offset;
            uint32_t count;
        } read;
        struct {
            uint64_t cookie;
            uint64_t verf;
            uint32_t dircount;
            uint32_t maxcount;
            uint32_t mask[D4A_WORDS];
        } readdir;
        struct {
            struct nx_str old;
        } rename;
        struct {
            struct srv_stateid stateid;
            struct srv_fattr attrs;
        } setattr;
        struct {
            struct srv_stateid stateid;
            uint64_t offset;
            uint32_t stable;
            struct nx_str data;
        } write;
        struct {
            uint64_t verf;
            struct nx_str owner;
            uint32_t flags;
            uint32_t protect;
        } exchange;
        struct {
            uint64_t client;
            uint32_t seq;
            uint32_t flags;
            struct srv_channel fore;
            struct srv_channel back;
        } create_session;
        struct {
            const uint8_t *id;
        } destroy_session;
        struct {
            const uint8_t *id;
            uint32_t dir;
            bool rdma;
        } bind_conn;
        struct {
            const uint8_t *id;
            uint32_t seq;
            uint32_t slot;
            uint32_t highest;
            bool cache;
        } sequence;
        struct {
            uint64_t client;
        } destroy_client;
        struct {
            uint32_t style;
        } secinfo;
    };
};

/* Decodes one operation. False where it does not decode, or is none that haul has a use for (op D4_ILLEGAL then). */
bool srv_decode_op(struct nx_in *in, struct srv_op *out);

/* ---- what the server remembers of its clients ---- */

struct srv_slot {
    uint32_t seq;        /* of the last request; 0: none yet */
    uint64_t sum;        /* of its bytes, but the xid */
    bool cached;         /* reply is there */
    struct nx_out reply; /* the whole record */
};

#define SRV_BOUND_MAX 64 /* connections that a session remembers at most */

struct srv_session {
    struct srv_session *next;
    struct srv_client *client;
    uint8_t id[16];
    struct srv_channel fore;
    struct srv_slot *slot;         /* fore.slots of them; owned */
    uint64_t bound[SRV_BOUND_MAX]; /* serials of connections */
    unsigned bound_count;
};

struct srv_open {
    struct srv_open *next;
    struct srv_client *client;
    struct nf_inode *inode; /* counted in its opens */
    struct srv_stateid id;
    uint32_t access;
    uint64_t owner; /* sum of its bytes */
};

struct srv_client {
    struct srv_client *next;
    uint64_t id;
    uint64_t verf;
    uint8_t owner[1024];
    uint32_t owner_len;
    bool confirmed;
    bool reclaimed;      /* RECLAIM_COMPLETE was sent */
    uint32_t seq;        /* that CREATE_SESSION must have next */
    struct nx_out reply; /* to the last CREATE_SESSION, its result; owned */
};

/* ---- connections ---- */

struct srv_conn {
    int fd;                /* -1: free */
    uint64_t serial;       /* of this connection */
    uint16_t peer;         /* port */
    struct nx_out in;      /* bytes that came and are not used yet */
    struct nx_out out;     /* bytes that are to be sent */
    size_t sent;           /* of them */
    bool close;            /* when all of out is sent */
    bool stuck;            /* nothing is sent any more */
    enum nfsd_lie endless; /* FRAGMENTS, EMPTY_FRAGMENTS, HUGE_RECORD: more comes for ever; else XID */
};

/* A COMPOUND or a reply that is held. */
struct srv_held {
    struct srv_held *next;
    uint64_t conn;       /* its serial */
    struct nx_out bytes; /* of the request, or the reply */
    bool reply;          /* which */
    enum nfsd_then then;
};

struct srv_rule {
    struct nfsd_rule rule;
    unsigned met;   /* times that it held */
    unsigned fired; /* times that it was done */
    uint8_t *bytes; /* owned */
};

struct srv_seen {
    char *ops;           /* of the last COMPOUND with that operation; owned */
    unsigned count;      /* operations */
    struct nx_out reply; /* owned */
};

struct nfsd {
    pthread_mutex_t lock; /* guards all below but thread, wake, port */
    pthread_t thread;
    int wake; /* eventfd: something for the thread to do */
    uint16_t port;
    int listener; /* -1: refuses */
    bool stop;
    struct nfsd_options o; /* defaults filled in */
    struct nf fs;
    struct srv_client *clients;
    struct srv_session *sessions;
    struct srv_open *opens;
    struct srv_conn conn[SRV_MAX_CONNS];
    struct srv_rule rule[SRV_MAX_RULES];
    unsigned rules;
    unsigned fired; /* of rules that were taken away too */
    struct srv_held *held;
    unsigned held_count;
    struct srv_seen seen[64];
    struct nfsd_counts counts;
    char complaint[512]; /* empty: none */
    bool forgiven;
    bool letting_go; /* what was held is carried out: not held again */
    uint32_t flags;
    uint32_t target;
    uint64_t next_id;    /* for clients, sessions, opens */
    uint64_t write_verf; /* of WRITE and COMMIT */
    uint64_t serials;    /* connections so far */
    uint64_t random;     /* state of the generator for garbage */
};

/* Notes what the client did wrong, if it is the first. */
void srv_complain(struct nfsd *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t srv_sum(const void *bytes, size_t len);
uint64_t srv_random(struct nfsd *n);

/* ---- a COMPOUND under way ---- */

struct srv_call {
    struct nfsd *n;
    struct srv_conn *conn;
    uint32_t uid;
    uint32_t gid;
    size_t request_len; /* bytes of the record */
    uint64_t sum;       /* of the request but the xid */
    struct srv_op *op;
    unsigned ops;
    unsigned at;    /* which is being carried out */
    bool changes;   /* one of them changes something */
    uint64_t cur;   /* inode number of the current file handle; 0: none */
    uint64_t saved; /* and of the saved one */
    struct srv_stateid cur_id;
    struct srv_stateid saved_id;
    struct srv_session *session; /* NULL: none */
    struct srv_slot *slot;
    bool cache;        /* the reply is to be kept */
    struct nx_out out; /* the reply record so far */
    size_t begin;      /* where the COMPOUND's status stands in out */
    size_t *result;    /* where each operation's result begins in out */
    unsigned results;  /* so many are there */
    /* what rules that were met want done with the reply */
    bool drop;
    bool silent;
    bool crash;
    bool gone;                   /* the connection, or the whole server; nobody is answered */
    const struct srv_rule *lie;  /* NULL: none */
    unsigned lie_at;             /* operation that the rule met */
    const struct srv_rule *hold; /* NULL: not */
    bool replay;                 /* this request has been here before */
    bool from_cache;             /* and out is the reply that it got */
};

/* A whole record; answers through srv_send. */
void srv_record(struct nfsd *n, struct srv_conn *conn, const uint8_t *bytes, size_t len);
/* Queues a reply, with its record mark and with the lie that was asked for. */
void srv_send(struct nfsd *n, struct srv_conn *conn, const struct nx_out *reply);
void srv_send_lie(struct srv_call *c);
void srv_close(struct nfsd *n, struct srv_conn *conn);
/* What is held is let go. */
void srv_release_held(struct nfsd *n);
/* All connections are closed, all clients forgotten. */
void srv_crash(struct nfsd *n);

/* Operations of sessions and clients: write all behind the status; return the status. */
uint32_t srv_exchange_id(struct srv_call *c, const struct srv_op *op);
uint32_t srv_create_session(struct srv_call *c, const struct srv_op *op);
uint32_t srv_bind_conn(struct srv_call *c, const struct srv_op *op);
uint32_t srv_destroy_session(struct srv_call *c, const struct srv_op *op);
uint32_t srv_destroy_client(struct srv_call *c, const struct srv_op *op);
/* Finds session and slot; c->replay is set, and c->out is the cached reply, where it has been here before. */
uint32_t srv_sequence(struct srv_call *c, const struct srv_op *op);
struct srv_session *srv_session_find(struct nfsd *n, const uint8_t *id);
void srv_session_free(struct nfsd *n, struct srv_session *s);
void srv_client_free(struct nfsd *n, struct srv_client *client);
void srv_open_free(struct nfsd *n, struct srv_open *o);
/* The open state of a stateid, the current one put in its place; OK with *out NULL for the anonymous one. */
uint32_t srv_open_find(struct srv_call *c, const struct srv_stateid *id, struct srv_open **out);

/* The inode of the current or the saved file handle: OK, NOFILEHANDLE, STALE. */
uint32_t srv_current(struct srv_call *c, struct nf_inode **out);
uint32_t srv_saved(struct srv_call *c, struct nf_inode **out);
/* Operations on files, likewise. */
uint32_t srv_file_op(struct srv_call *c, const struct srv_op *op);
/* ... those that only look. */
uint32_t srv_look_op(struct srv_call *c, const struct srv_op *op);
/* Whether the operation changes files or opens. */
bool srv_changes(uint32_t op);

/* Attributes. */
void srv_put_mask(struct nx_out *out, const uint32_t mask[D4A_WORDS]);
void srv_put_attrs(struct nfsd *n, const struct nf_inode *i, const uint32_t mask[D4A_WORDS], struct nx_out *out);
/* D4ERR_NOT_SAME, SAME, ATTRNOTSUPP, INVAL, BADXDR. */
uint32_t srv_compare_attrs(struct nfsd *n, const struct nf_inode *i, const struct srv_fattr *attrs);
/* Sets them all, or none; set says which were. */
uint32_t srv_set_attrs(struct srv_call *c, struct nf_inode *i, const struct srv_fattr *attrs, uint32_t set[D4A_WORDS]);

#endif
