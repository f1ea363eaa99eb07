#include "copier/server.h"

#include <errno.h>

static struct nfs3_options options3(const struct nfs41_options *nfs, const struct url *url)
{
    return (struct nfs3_options){.host = nfs->host,
                                 .port = url->port_given ? url->port : 0,
                                 .mount_port = url->mount_port,
                                 .path = nfs->path,
                                 .uid = nfs->uid,
                                 .gid = nfs->gid,
                                 .groups = nfs->groups,
                                 .group_count = nfs->group_count,
                                 .reserved_port = nfs->reserved_port,
                                 .io_timeout_ns = nfs->io_timeout_ns,
                                 .retries = nfs->retries,
                                 .read_only = nfs->read_only,
                                 .try_later = nfs->try_later,
                                 .make_missing = nfs->make_missing,
                                 .may_be_missing = nfs->may_be_missing,
                                 .missing_mode = nfs->missing_mode,
                                 .root_mode = nfs->root_mode};
}

int server_open(const struct store_options *options, const struct url *url, const struct nfs41_options *nfs,
                struct store **out_store, char **out_problem)
{
    if (url->version == URL_NFS41) {
        return nfs41_open(options, nfs, out_store, out_problem);
    }
    const struct nfs3_options nfs3 = options3(nfs, url);
    return nfs3_open(options, &nfs3, out_store, out_problem);
}

int server_make(struct store *s, const struct nfs41_options *nfs, char **out_problem)
{
    struct nfs3_facts facts;
    if (nfs3_facts(s, &facts) != 0) {
        return nfs41_make(s, nfs, out_problem);
    }
    const struct nfs3_options nfs3 = {.missing_mode = nfs->missing_mode, .root_mode = nfs->root_mode};
    return nfs3_make(s, &nfs3, out_problem);
}

int server_try(struct store *s, const struct nfs41_options *nfs, char **out_problem)
{
    struct nfs3_facts facts;
    if (nfs3_facts(s, &facts) != 0) {
        return nfs41_try(s, nfs, out_problem);
    }
    const struct nfs3_options nfs3 = {.read_only = nfs->read_only};
    return nfs3_try(s, &nfs3, out_problem);
}

int server_open_above(struct store *s, struct io *io, unsigned levels, struct store **out_store)
{
    struct nfs3_facts facts;
    return nfs3_facts(s, &facts) != 0 ? nfs41_open_above(s, levels, out_store)
                                      : nfs3_open_above(s, io, levels, out_store);
}

int server_facts(const struct store *s, struct server_facts *out_facts)
{
    struct server_facts f = {.version = URL_NFS41};
    int r = nfs41_facts(s, &f.nfs41);
    if (r != 0) {
        f.version = URL_NFS3;
        r = nfs3_facts(s, &f.nfs3);
    }
    if (r == 0) {
        *out_facts = f;
    }
    return r;
}

unsigned server_made(const struct server_facts *facts)
{
    return facts->version == URL_NFS41 ? facts->nfs41.made : facts->nfs3.made;
}

bool server_missing(const struct server_facts *facts)
{
    return facts->version == URL_NFS41 ? facts->nfs41.missing : facts->nfs3.missing;
}
