/*
 * support_nfsc: the plainest NFSv4.1 client there is, for tests of the scripted server and for recording replies of a
 * real one. Blocking, one call at a time, with the scripted server's XDR and none of haul's code.
 */
#ifndef HAUL_TESTS_SUPPORT_NFSC_H
#define HAUL_TESTS_SUPPORT_NFSC_H

#include <stdbool.h>
#include <stdint.h>

#include "support_nfsd_proto.h"
#include "support_nfsd_xdr.h"

struct nfsc {
    int fd;              /* -1: not connected */
    uint16_t port;       /* on 127.0.0.1 */
    uint32_t xid;        /* of the last call */
    uint64_t client;     /* client id */
    uint8_t session[16]; /* session id */
    uint32_t seq;        /* of slot 0's last call */
    struct nx_out call;  /* the COMPOUND that is being built: record without its mark; owned */
    size_t ops_at;       /* where its count of operations stands */
    uint32_t ops;        /* so many */
    struct nx_out reply; /* record without its mark; owned */
    struct nx_in in;     /* where the results are read */
};

/* Connects; false where nobody listens. */
bool nfsc_open(struct nfsc *c, uint16_t port);
/* Another connection in place of the first. */
bool nfsc_again(struct nfsc *c);
void nfsc_close(struct nfsc *c);

/* An empty COMPOUND; with SEQUENCE (slot 0, a new sequence number, cached as said). */
void nfsc_begin(struct nfsc *c);
void nfsc_begin_sequence(struct nfsc *c, bool cache);
/* One more operation; its arguments go to what is returned. */
struct nx_out *nfsc_op(struct nfsc *c, uint32_t op);
/* Sends it (the same once more, if called again) and reads one record. False where the connection ended or nothing came
 * within limit_ms. */
bool nfsc_call(struct nfsc *c, int limit_ms);
/* The COMPOUND's status of the reply; in stands at the first result then. UINT32_MAX: it is no such reply. */
uint32_t nfsc_status(struct nfsc *c);
/* The status of the next result, which must be that of op; UINT32_MAX where it is another. */
uint32_t nfsc_result(struct nfsc *c, uint32_t op);

/* EXCHANGE_ID, CREATE_SESSION, RECLAIM_COMPLETE. False where one of them failed. */
bool nfsc_session(struct nfsc *c, const char *owner, uint64_t verifier);
/* DESTROY_SESSION, DESTROY_CLIENTID; the status of the last. */
uint32_t nfsc_leave(struct nfsc *c);

#endif
