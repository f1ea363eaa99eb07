/*
 * server: the store at a server, for whichever version of NFS its URL names.
 *
 * Struct nfs41_options says how a run reaches a server, whatever the version; what only 4.1 has is passed over then.
 */
#ifndef HAUL_COPIER_SERVER_H
#define HAUL_COPIER_SERVER_H

#include "copier/url.h"
#include "workers/stores/nfs3/nfs3.h"
#include "workers/stores/nfs41/nfs41.h"

/* What a server granted or told, and what came of it. */
struct server_facts {
    enum url_version version; /* which of the two below */
    union {
        struct nfs41_facts nfs41;
        struct nfs3_facts nfs3;
    };
};

/* As nfs41_open and nfs3_open say. nfs has the host, the path and the port of url. */
int server_open(const struct store_options *options, const struct url *url, const struct nfs41_options *nfs,
                struct store **out_store, char **out_problem);

/* As nfs41_make and nfs3_make say. */
int server_make(struct store *s, const struct nfs41_options *nfs, char **out_problem);

/* As nfs41_try and nfs3_try say. */
int server_try(struct store *s, const struct nfs41_options *nfs, char **out_problem);

/* As nfs41_open_above and nfs3_open_above say. */
int server_open_above(struct store *s, struct io *io, unsigned levels, struct store **out_store);

/* s may be a layer above it. 0, or -EINVAL: there is no server below. Any thread. */
int server_facts(const struct store *s, struct server_facts *out_facts);

/* Directories that were missing, and whether the root still is. */
unsigned server_made(const struct server_facts *facts);
bool server_missing(const struct server_facts *facts);

#endif
