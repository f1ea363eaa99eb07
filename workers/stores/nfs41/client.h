/*
 * client: what all sessions with one NFSv4.1 server share: the server's address, the credential, the client id and its
 * lease (RFC 8881 2.4, 18.35, 18.50, 18.51).
 *
 * One struct nfs_client a store, shared by all threads; its lock is held for moments only, never while something is
 * waited for. It has no connection of its own: the first session (session.h) brings the client id about with
 * EXCHANGE_ID, the last one to be closed ends it with DESTROY_CLIENTID. Where the server has lost it, one session makes
 * a new one, the others wait for that in io_sleep.
 */
#ifndef HAUL_STORES_NFS41_CLIENT_H
#define HAUL_STORES_NFS41_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "workers/stores/nfs41/rpc.h"

#define NFS_PORT         2049
#define NFS_OWNER_MAX    128 /* bytes of a client owner with its NUL */
#define NFS_SERVER_OWNER 256 /* bytes of the server's owner that are kept, for messages */

#define NFS_ADDRESSES 8 /* of a host that are tried */

/* Where a host is to be found. */
struct nfs_addresses {
    struct sockaddr_storage list[NFS_ADDRESSES]; /* with the port */
    socklen_t lens[NFS_ADDRESSES];               /* bytes of each */
    unsigned count;                              /* of list; 0 to begin with */
};

/* Adds the addresses of host, which may be one itself. Blocks (getaddrinfo). 0; -ENOENT: no such host, -EAGAIN: cannot
 * be resolved now, -ENOMEM. problem (may be NULL): a sentence for people, malloc'd, the caller's. */
int nfs_resolve(const char *host, uint16_t port, struct nfs_addresses *out, char **problem);

struct nfs_client;

struct nfs_client_options {
    const char *host;  /* name, IPv4 or IPv6 address (without brackets) */
    uint16_t port;     /* 0: NFS_PORT */
    const char *owner; /* client owner: "haul:<run id>"; another client with the same owner ends this one's state */
    uint32_t uid;      /* AUTH_SYS */
    uint32_t gid;      /* AUTH_SYS */
    const uint32_t *groups; /* AUTH_SYS: those above RPC_GROUPS_MAX are left out */
    unsigned group_count;   /* of groups */
    bool reserved_port;     /* from a port below 1024; where none is to be had: from another */
    int64_t io_timeout_ns;  /* whoever waits longer than this is given up by others: no wait comes near it. > 0 */
    unsigned retries;       /* connections tried in a row after one was lost, before calls fail; 0: none */
    unsigned connections;   /* of each session; 0: 1 */
};

/* What the server granted and what happened, for --stats. Sums over all sessions, closed ones included. */
struct nfs_client_facts {
    uint64_t client_id;                  /* 0: none so far */
    uint32_t lease_s;                    /* lease time, s; 0: not known yet */
    char server_owner[NFS_SERVER_OWNER]; /* as the server says, printable; "" where it says nothing */
    uint32_t max_request;                /* bytes; of the session made last */
    uint32_t max_response;               /* bytes */
    uint32_t max_cached;                 /* bytes of a reply that the server keeps */
    uint32_t max_ops;                    /* operations in a COMPOUND, SEQUENCE included */
    uint32_t slots;                      /* of a session */
    int64_t round_trip_ns;               /* the least that a call which made a client id or session took; 0: none yet */
    bool reserved_port;                  /* the connections come from ports below 1024 */
    uint64_t compounds;                  /* COMPOUNDs sent, replays not counted */
    uint64_t replays;                    /* sent again: the same bytes, slot and sequence number */
    uint64_t waits;                      /* DELAY and GRACE waited for */
    uint64_t reconnects;                 /* connections made after the first of their kind */
    uint64_t sessions_lost;              /* sessions made again */
    uint64_t clients_lost;               /* client ids made again: state of the old one is lost */
    uint64_t slots_retired;              /* slots whose call was given up */
    uint64_t slots_recovered;            /* and whose answer came after all */
    uint32_t status_flags;               /* all sr_status_flags ever seen (RFC 8881 18.46.3) */
    uint32_t destroy_status;             /* nfsstat4 of the last DESTROY_CLIENTID; CLIENTID_BUSY: opens were left */
    struct rpc_facts rpc;                /* of connections that are closed, and of sessions' present ones as of their
                                            last call */
};

/*
 * Resolves host (blocks, getaddrinfo) and keeps what options say; nothing is sent. 0; -EINVAL, -ENOMEM; -ENOENT: no
 * such host, -EAGAIN: cannot be resolved now. problem (may be NULL): a sentence for people, malloc'd, the caller's; set
 * on failure where there is something to say. options are copied.
 */
int nfs_client_create(const struct nfs_client_options *options, struct nfs_client **out_client, char **problem);
/* All its sessions must be closed. NULL is fine. */
void nfs_client_destroy(struct nfs_client *client);

/* Any thread. */
void nfs_client_facts(struct nfs_client *client, struct nfs_client_facts *out_facts);

/* How often the client id was lost so far, +1 once there is one; 0 before. A state id from another generation is gone.
 * Any thread, no lock. */
unsigned nfs_client_generation(const struct nfs_client *client);

/* True when a third of the lease has passed since the server last heard of it: somebody is to call nfs_session_touch.
 * Any thread, no lock, costs next to nothing. */
bool nfs_client_due(const struct nfs_client *client);

/* The latest moment, monotonic ns, at which an operation that begins now may end by itself: before others would give
 * it up. Mostly the same for operations that begin within a thousandth of the time that they have. */
int64_t nfs_client_deadline_ns(const struct nfs_client *client);

#endif
