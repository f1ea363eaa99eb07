/*
 * nfs41: opening an NFSv4.1 server as a store, what it can do, and the table of its operations.
 */
#include "workers/stores/nfs41/nfs41.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/errs.h"
#include "workers/stores/nfs41/nfs41_internal.h"

#define TIMEOUT (60 * NS_PER_SEC) /* where nothing was said */

static const char note_groups[] =
    "AUTH_SYS carries 16 groups at most: the server knows us by our first 16 further groups only";

/* ---- ports ---- */

int nfs41_port_open(struct nfs41_store *s, struct io *io, struct port **out, char **problem)
{
    struct nfs41_port *np = calloc(1, sizeof(*np));
    int err;

    if (!np) {
        return -ENOMEM;
    }
    np->head.store = &s->head;
    np->head.io = io;
    np->owner = atomic_fetch_add(&s->next_owner, 1);
    err = problem ? nfs_session_open_mute(s->client, io, &np->session, problem) : 0;
    if (err) {
        free(np);
        return err;
    }
    *out = &np->head;
    return 0;
}

static int port_create(struct store *s, struct io *io, struct port **out)
{
    return nfs41_port_open((struct nfs41_store *)s, io, out, NULL);
}

void nfs41_port_close(struct port *p)
{
    struct nfs41_port *np = nfs41_port_of(p);

    nfs41_left_clean(p, true);
    nfs_session_park(np->session);
    free(np);
}

static int run(struct port *p, struct store_op *op)
{
    static int (*const table[STORE_CODES])(struct port *, struct store_op *) = {
        [STORE_STAT] = nfs41_stat,
        [STORE_XATTRS] = nfs41_xattrs,
        [STORE_READLINK] = nfs41_readlink,
        [STORE_LIST_OPEN] = nfs41_list_open,
        [STORE_LIST_NEXT] = nfs41_list_next,
        [STORE_LIST_PARK] = nfs41_list_park,
        [STORE_LIST_CLOSE] = nfs41_list_close,
        [STORE_READ_SMALL] = nfs41_read_small,
        [STORE_OPEN] = nfs41_file_open,
        [STORE_READ] = nfs41_file_read,
        [STORE_EXTENT] = nfs41_file_extent,
        [STORE_FSTAT] = nfs41_file_stat,
        [STORE_CLOSE] = nfs41_file_close,
        [STORE_MKDIR] = nfs41_mkdir,
        [STORE_PUBLISH] = nfs41_publish,
        [STORE_BEGIN] = nfs41_upload_begin,
        [STORE_WRITE] = nfs41_upload_write,
        [STORE_COPY] = nfs41_upload_copy,
        [STORE_FLUSH] = nfs41_upload_flush,
        [STORE_COMMIT] = nfs41_upload_commit,
        [STORE_ABORT] = nfs41_upload_abort,
        [STORE_PARK] = nfs41_upload_park,
        [STORE_SYMLINK] = nfs41_symlink,
        [STORE_NODE] = nfs41_node,
        [STORE_LINK] = nfs41_link,
        [STORE_SETATTR] = nfs41_setattr,
        [STORE_REMOVE] = nfs41_remove,
        [STORE_SYNC] = nfs41_sync,
    };

    return table[op->code](p, op);
}

/* ---- the store ---- */

static void destroy(struct store *store)
{
    struct nfs41_store *s = (struct nfs41_store *)store;

    if (!s->shared && s->client) {
        nfs_sessions_end(s->client, INT64_MAX);
        nfs_client_destroy(s->client);
    }
    nfs41_left_free(s);
    nfs41_names_free(s);
    free((void *)(uintptr_t)s->reach.host);
    free((void *)(uintptr_t)s->reach.groups);
    free(s->way);
    free(s->owning.groups);
    free(s->path);
    pthread_mutex_destroy(&s->lock);
    nfs_dirs_release(&s->dirs);
    free(s);
}

static const struct store_ops nfs41_ops = {
    .destroy = destroy,
    .port_create = port_create,
    .port_destroy = nfs41_port_close,
    .run = run,
    .dir_release = nfs41_dir_release,
};

static const struct nfs41_store *find(const struct store *s)
{
    while (s && s->ops != &nfs41_ops) {
        s = s->next;
    }
    return (const struct nfs41_store *)s;
}

/* Who we are, and so whom files may be given to. */
static int identity_init(struct nfs41_store *s, const struct nfs41_options *nfs)
{
    uint32_t *numbers = calloc((size_t)nfs->group_count + 1, sizeof(*numbers));

    s->owning.groups = calloc((size_t)nfs->group_count + 1, sizeof(*s->owning.groups));
    if (!s->owning.groups || !numbers) {
        free(numbers);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < nfs->group_count; i++) {
        s->owning.groups[i] = nfs->groups[i];
        numbers[i] = nfs->groups[i];
    }
    s->owning.group_count = nfs->group_count < RPC_GROUPS_MAX ? nfs->group_count : RPC_GROUPS_MAX;
    s->owning.groups[s->owning.group_count++] = nfs->gid;
    s->owning.privileged = nfs->uid == 0;
    s->uid = nfs->uid;
    s->gid = nfs->gid;
    s->reach.groups = numbers;
    s->reach.group_count = nfs->group_count;
    if (nfs->group_count > RPC_GROUPS_MAX) {
        notice_raise(s->notices, note_groups);
    }
    return 0;
}

static int store_make(const struct store_options *options, const struct nfs41_options *nfs, struct nfs41_store **out)
{
    struct nfs41_store *s = calloc(1, sizeof(*s));
    int err;

    if (!s) {
        return -ENOMEM;
    }
    s->head.ops = &nfs41_ops;
    nfs_dirs_init(&s->dirs, options->side, nfs41_dirs_walk);
    s->owning.owner = options->owner;
    s->run_id = options->run_id;
    s->notices = options->notices;
    pthread_mutex_init(&s->lock, NULL);
    err = identity_init(s, nfs);
    s->path = strdup(nfs->path);
    s->reach.host = strdup(nfs->host);
    if (err || !s->path || !s->reach.host) {
        destroy(&s->head);
        return err ? err : -ENOMEM;
    }
    s->reach.port = nfs->port;
    s->reach.uid = nfs->uid;
    s->reach.gid = nfs->gid;
    s->reach.reserved_port = nfs->reserved_port;
    s->reach.io_timeout_ns = nfs->io_timeout_ns > 0 ? nfs->io_timeout_ns : TIMEOUT;
    s->reach.retries = nfs->retries;
    s->reach.connections = nfs->connections;
    *out = s;
    return 0;
}

/* A client as run_id is known to the server by. */
static int client_make(const struct nfs41_store *s, const char *run_id, struct nfs_client **out, char **problem)
{
    struct nfs_client_options options = s->reach;
    char owner[NFS_OWNER_MAX];

    /* One that is source and destination of a run has two clients: the same owner again would end the first one. */
    (void)snprintf(owner, sizeof(owner), "haul:%s%s", run_id, s->dirs.side == DIR_SRC ? ":source" : "");
    options.owner = owner;
    return nfs_client_create(&options, out, problem);
}

/* Where nothing better is to be said. */
static void explain(const struct nfs41_store *s, int err, char **problem)
{
    if (err && !*problem &&
        asprintf(problem, "the NFS server %s cannot be used: %s", s->reach.host, err_text(err)) < 0) {
        *problem = NULL;
    }
}

int nfs41_open(const struct store_options *options, const struct nfs41_options *nfs, struct store **out_store,
               char **out_problem)
{
    struct nfs41_store *s = NULL;
    int err = store_make(options, nfs, &s);

    *out_problem = NULL;
    if (err) {
        return err;
    }
    s->fence = options->fence;
    err = client_make(s, options->run_id, &s->client, out_problem);
    err = err ? err : nfs41_look(s, nfs, out_problem);
    if (err) {
        explain(s, err, out_problem);
        destroy(&s->head);
        return err;
    }
    /* Whoever takes the lease over does it after this. */
    atomic_store(&s->generation, nfs_client_generation(s->client));
    free(*out_problem);
    *out_problem = NULL;
    *out_store = &s->head;
    return 0;
}

int nfs41_make(struct store *store, const struct nfs41_options *nfs, char **out_problem)
{
    struct nfs41_store *s = (struct nfs41_store *)(uintptr_t)find(store);
    struct nfs41_options make = {.make_missing = true,
                                 .missing_mode = nfs->missing_mode,
                                 .root_mode = nfs->root_mode,
                                 .sessions = nfs->sessions};
    int err;

    *out_problem = NULL;
    if (!s || !s->missing) {
        return -EINVAL;
    }
    err = nfs41_look(s, &make, out_problem);
    if (err) {
        explain(s, err, out_problem);
        return err;
    }
    free(*out_problem);
    *out_problem = NULL;
    return 0;
}

int nfs41_try(struct store *store, const struct nfs41_options *nfs, char **out_problem)
{
    struct nfs41_store *s = (struct nfs41_store *)(uintptr_t)find(store);
    const struct nfs41_options now = {.sessions = nfs->sessions, .read_only = nfs->read_only, .calm = nfs->calm};
    int err;

    *out_problem = NULL;
    if (!s || !s->untried) {
        return -EINVAL;
    }
    err = nfs41_look(s, &now, out_problem);
    if (err) {
        explain(s, err, out_problem);
        return err;
    }
    free(*out_problem);
    *out_problem = NULL;
    return 0;
}

int nfs41_trust(struct store *store, const struct nfs41_found *found)
{
    struct nfs41_store *s = (struct nfs41_store *)(uintptr_t)find(store);

    if (!s || !s->untried) {
        return -EINVAL;
    }
    s->uid = found->uid;
    s->gid = found->gid;
    s->head.caps.time_granularity_ns = found->time_granularity_ns;
    s->head.caps.no_link_times = found->no_link_times;
    atomic_store(&s->owning.refused, found->owner_refused);
    atomic_fetch_or(&s->steps, found->steps);
    s->untried = false;
    return 0;
}

int nfs41_found(const struct store *store, struct nfs41_found *out)
{
    const struct nfs41_store *s = find(store);

    if (!s || s->untried) {
        return -EINVAL;
    }
    *out = (struct nfs41_found){
        .uid = s->uid,
        .gid = s->gid,
        .time_granularity_ns = s->head.caps.time_granularity_ns,
        .no_link_times = s->head.caps.no_link_times,
        .owner_refused = atomic_load(&s->owning.refused),
        .steps = atomic_load(&s->steps),
    };
    return 0;
}

/* path without its last so many components; malloc'd; *err is 0 then, -ENOENT: it has not so many. */
static char *path_above(const char *path, unsigned levels, int *err)
{
    size_t len = strlen(path);
    char *above;

    *err = 0;
    for (unsigned i = 0; i < levels; i++) {
        while (len > 0 && path[len - 1] == '/') {
            len--;
        }
        if (len == 0) {
            *err = -ENOENT;
            return NULL;
        }
        while (len > 0 && path[len - 1] != '/') {
            len--;
        }
    }
    above = strndup(path, len > 0 ? len : 1);
    if (!above) {
        *err = -ENOMEM;
    }
    return above;
}

int nfs41_open_above(struct store *store, unsigned levels, struct store **out_store)
{
    const struct nfs41_store *s = find(store);
    struct nfs41_options nfs = {0};
    struct store_options options = {0}; /* notices: what can be said was said already */
    struct nfs41_store *above = NULL;
    int err = -EINVAL;
    char *path = s ? path_above(s->path, levels, &err) : NULL;

    if (err) {
        return err;
    }
    options.side = s->dirs.side;
    options.owner = s->owning.owner;
    options.run_id = s->run_id;
    nfs.host = s->reach.host;
    nfs.uid = s->reach.uid;
    nfs.gid = s->reach.gid;
    nfs.path = path;
    nfs.groups = s->owning.groups;
    nfs.group_count = s->owning.group_count;
    err = store_make(&options, &nfs, &above);
    free(path);
    if (err) {
        return err;
    }
    above->head.caps = s->head.caps;
    above->head.caps.owner_refused = NULL;
    above->client = s->client;
    above->shared = true;
    above->notices = s->notices;
    above->fence = s->fence;
    above->uid = s->uid;
    above->gid = s->gid;
    if (s->way_count > levels && s->way_count - levels <= NFS41_WAY_MAX) {
        above->dirs.root = s->way[s->way_count - levels - 1];
    }
    above->max_name = s->max_name;
    above->max_read = s->max_read;
    above->max_write = s->max_write;
    above->space_avail = s->space_avail;
    above->files_avail = s->files_avail;
    atomic_store(&above->steps, atomic_load(&s->steps));
    atomic_store(&above->generation, atomic_load(&s->generation));
    atomic_store(&above->owning.refused, atomic_load(&s->owning.refused));
    atomic_store(&above->next_owner, 1U << 16); /* no port of the two has the same number */
    *out_store = &above->head;
    return 0;
}

int nfs41_facts(const struct store *store, struct nfs41_facts *out)
{
    const struct nfs41_store *s = find(store);
    struct nfs_client_facts c;

    if (!s) {
        return -EINVAL;
    }
    nfs_client_facts(s->client, &c);
    *out = (struct nfs41_facts){
        .request_max = c.max_request,
        .response_max = c.max_response,
        .cached_max = c.max_cached,
        .operations_max = c.max_ops,
        .slots = c.slots,
        .lease_s = c.lease_s,
        .round_trip_ns = c.round_trip_ns,
        .read_max = s->max_read,
        .write_max = s->max_write,
        .space_avail = s->space_avail,
        .files_avail = s->files_avail,
        .steps = atomic_load(&s->steps),
        .made = s->made,
        .missing = s->missing,
        .compounds = c.compounds,
        .combined = atomic_load(&s->combined),
        .connects = c.reconnects,
        .replays = c.replays,
        .rebuilds = c.sessions_lost,
        .waits = c.waits,
        .publishes = atomic_load(&s->publishes),
        .reads = atomic_load(&s->reads),
        .cleanups = atomic_load(&s->cleanups),
        .destroy_status = c.destroy_status,
    };
    (void)snprintf(out->server, sizeof(out->server), "%.*s", (int)sizeof(out->server) - 1, c.server_owner);
    return 0;
}

void nfs41_leave(struct store *store, int64_t deadline_ns)
{
    const struct nfs41_store *s = find(store);

    if (s) {
        nfs_sessions_end(s->client, deadline_ns);
    }
}

bool nfs41_is_due(const struct store *store)
{
    const struct nfs41_store *s = find(store);

    return s && nfs_client_due(s->client);
}

int nfs41_evict(struct store *store, struct io *io, const char *old_run_id)
{
    const struct nfs41_store *s = find(store);
    struct nfs_client *client = NULL;
    struct nfs_session *session = NULL;
    int err = s ? client_make(s, old_run_id, &client, NULL) : -EINVAL;

    if (!err) {
        err = nfs_session_open(client, io, &session, NULL);
        nfs_session_close(session);
    }
    nfs_client_destroy(client);
    return err;
}
