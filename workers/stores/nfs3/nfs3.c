/*
 * nfs3: opening an NFSv3 server as a store, what it can do, and the table of its operations.
 */
#include "workers/stores/nfs3/nfs3.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/errs.h"
#include "workers/stores/backoff.h"
#include "workers/stores/nfs3/nfs3_internal.h"
#include "workers/stores/nfs_caps.h"

#define SMALL_MAX  (1024U * 1024)    /* bytes */
#define PART       (1024U * 1024)    /* bytes */
#define FLIGHT     64U               /* operations at first */
#define FLIGHT_MAX 512U              /* operations over all workers */
#define TIMEOUT    (60 * NS_PER_SEC) /* where nothing was said */

static const char note_groups[] =
    "AUTH_SYS carries 16 groups at most: the server knows us by our first 16 further groups only";

/* ---- ports ---- */

/* Whether there is a connection is found out by the first call. */
static int port_create(struct store *s, struct io *io, struct port **out)
{
    struct nfs3_port *np = calloc(1, sizeof(*np));

    if (!np) {
        return -ENOMEM;
    }
    np->head.store = s;
    np->head.io = io;
    np->seed = backoff_seed(np);
    *out = &np->head;
    return 0;
}

static void port_destroy(struct port *p)
{
    struct nfs3_port *np = nfs3_port_of(p);

    nfs3_left_clean(p, true);
    nfs3_wire_close(np->wire);
    free(np);
}

static int run(struct port *p, struct store_op *op)
{
    static int (*const table[STORE_CODES])(struct port *, struct store_op *) = {
        [STORE_STAT] = nfs3_stat,
        [STORE_XATTRS] = nfs3_xattrs,
        [STORE_READLINK] = nfs3_readlink,
        [STORE_LIST_OPEN] = nfs3_list_open,
        [STORE_LIST_NEXT] = nfs3_list_next,
        [STORE_LIST_PARK] = nfs3_list_park,
        [STORE_LIST_CLOSE] = nfs3_list_close,
        [STORE_READ_SMALL] = nfs3_read_small,
        [STORE_OPEN] = nfs3_file_open,
        [STORE_READ] = nfs3_file_read,
        [STORE_EXTENT] = nfs3_file_extent,
        [STORE_FSTAT] = nfs3_file_stat,
        [STORE_CLOSE] = nfs3_file_close,
        [STORE_MKDIR] = nfs3_mkdir,
        [STORE_PUBLISH] = nfs3_publish,
        [STORE_BEGIN] = nfs3_upload_begin,
        [STORE_WRITE] = nfs3_upload_write,
        [STORE_COPY] = nfs3_upload_copy,
        [STORE_FLUSH] = nfs3_upload_flush,
        [STORE_COMMIT] = nfs3_upload_commit,
        [STORE_ABORT] = nfs3_upload_abort,
        [STORE_PARK] = nfs3_upload_park,
        [STORE_SYMLINK] = nfs3_symlink,
        [STORE_NODE] = nfs3_node,
        [STORE_LINK] = nfs3_link,
        [STORE_SETATTR] = nfs3_setattr,
        [STORE_REMOVE] = nfs3_remove,
        [STORE_SYNC] = nfs3_sync,
    };

    return table[op->code](p, op);
}

/* ---- the store ---- */

static void destroy(struct store *store)
{
    struct nfs3_store *s = (struct nfs3_store *)store;

    nfs3_left_free(s);
    free(s->owning.groups);
    free(s->host);
    free(s->path);
    pthread_mutex_destroy(&s->lock);
    nfs_dirs_release(&s->dirs);
    free(s);
}

static const struct store_ops nfs3_ops = {
    .destroy = destroy,
    .port_create = port_create,
    .port_destroy = port_destroy,
    .run = run,
    .dir_release = nfs3_dir_release,
};

static struct nfs3_store *find(const struct store *s)
{
    while (s && s->ops != &nfs3_ops) {
        s = s->next;
    }
    return (struct nfs3_store *)(uintptr_t)s;
}

/* Who we are, and so whom files may be given to. */
static int identity_init(struct nfs3_store *s, const struct nfs3_options *nfs)
{
    unsigned count = nfs->group_count < RPC_GROUPS_MAX ? nfs->group_count : RPC_GROUPS_MAX;

    s->owning.groups = calloc((size_t)count + 1, sizeof(*s->owning.groups));
    if (!s->owning.groups) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < count; i++) {
        s->owning.groups[i] = nfs->groups[i];
        s->cred.groups[i] = nfs->groups[i];
    }
    s->owning.groups[count] = nfs->gid;
    s->owning.group_count = count + 1;
    s->cred.group_count = count;
    s->cred.uid = nfs->uid;
    s->cred.gid = nfs->gid;
    if (gethostname(s->cred.machine, sizeof(s->cred.machine) - 1) < 0) {
        memcpy(s->cred.machine, "haul", sizeof("haul"));
    }
    s->owning.privileged = nfs->uid == 0;
    s->uid = nfs->uid;
    s->gid = nfs->gid;
    if (nfs->group_count > RPC_GROUPS_MAX) {
        notice_raise(s->notices, note_groups);
    }
    return 0;
}

static int store_make(const struct store_options *options, const struct nfs3_options *nfs, struct nfs3_store **out)
{
    struct nfs3_store *s = calloc(1, sizeof(*s));
    int err;

    if (!s) {
        return -ENOMEM;
    }
    s->head.ops = &nfs3_ops;
    nfs_dirs_init(&s->dirs, options->side, nfs3_dirs_walk);
    s->owning.owner = options->owner;
    s->run_id = options->run_id;
    s->notices = options->notices;
    pthread_mutex_init(&s->lock, NULL);
    err = identity_init(s, nfs);
    s->path = strdup(nfs->path);
    s->host = strdup(nfs->host);
    if (err || !s->path || !s->host) {
        destroy(&s->head);
        return err ? err : -ENOMEM;
    }
    s->port = nfs->port;
    s->mount_port = nfs->mount_port;
    s->reserved_port = nfs->reserved_port;
    s->io_timeout_ns = nfs->io_timeout_ns > 0 ? nfs->io_timeout_ns : TIMEOUT;
    s->retries = nfs->retries;
    s->space_avail = s->files_avail = UINT64_MAX;
    *out = s;
    return 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return b > 0 && b < a ? b : a;
}

static void caps_init(struct nfs3_store *s)
{
    uint64_t part = least(least(PART, s->info.read_max), s->info.write_max);

    s->head.caps.kind = "nfs3";
    s->head.caps.fs = "nfs";
    s->head.caps.in_flight = FLIGHT;
    s->head.caps.in_flight_max = FLIGHT_MAX;
    s->head.caps.small_max = SMALL_MAX; /* in several WRITEs where one takes less */
    nfs_caps_init(&s->head.caps, &s->owning, part);
}

/* The way to the root, and what the server says of it. 0 or -errno with *problem, or s->missing. */
static int find_root_asking(struct port *p, const struct nfs3_options *nfs, char **problem)
{
    struct nfs3_store *s = nfs3_of(p);
    int err = nfs3_path_walk(p, nfs, &s->dirs.root, &s->made, problem);

    s->missing = err == -ENOENT && nfs->may_be_missing && !*problem;
    err = err ? err : nfs3_ask_limits(p);
    if (!err) {
        caps_init(s);
    }
    return err;
}

/* Through a port that lives only now. 0 or -errno with *problem. */
static int look_around(struct nfs3_store *s, const struct nfs3_options *nfs, char **problem)
{
    struct io_options io_options = {.no_ring = true};
    struct fence *fence = s->fence;
    struct port *p = NULL;
    struct io *io = NULL;
    int err = io_create(&io_options, &io);

    s->fence = NULL; /* what is tried out has no need of it, and does not count */
    err = err ? err : nfs3_ports_find(s, io, problem);
    err = err ? err : port_create(&s->head, io, &p);
    if (!err) {
        err = s->untried ? 0 : find_root_asking(p, nfs, problem);
        s->untried = !err && nfs->try_later;
        if (!err && !s->untried) {
            err = nfs3_probe(p, nfs, problem);
        }
        port_destroy(p);
    }
    io_destroy(io);
    s->fence = fence;
    atomic_store(&s->publishes, 0);
    atomic_store(&s->cleanups, 0);
    return s->missing ? 0 : err;
}

/* Where nothing better is to be said. */
static void explain(const struct nfs3_store *s, int err, char **problem)
{
    if (err == -ENOENT && !*problem && asprintf(problem, "there is no \"%s\" on %s", s->path, s->host) < 0) {
        *problem = NULL;
    }
    if (err && !*problem && asprintf(problem, "the NFS server %s cannot be used: %s", s->host, err_text(err)) < 0) {
        *problem = NULL;
    }
}

int nfs3_open(const struct store_options *options, const struct nfs3_options *nfs, struct store **out_store,
              char **out_problem)
{
    struct nfs3_store *s = NULL;
    int err = store_make(options, nfs, &s);

    *out_problem = NULL;
    if (err) {
        return err;
    }
    s->fence = options->fence;
    err = nfs_resolve(s->host, 0, &s->addresses, out_problem);
    err = err ? err : look_around(s, nfs, out_problem);
    if (err) {
        explain(s, err, out_problem);
        destroy(&s->head);
        return err;
    }
    free(*out_problem);
    *out_problem = NULL;
    *out_store = &s->head;
    return 0;
}

int nfs3_make(struct store *store, const struct nfs3_options *nfs, char **out_problem)
{
    struct nfs3_store *s = find(store);
    struct nfs3_options make = {.make_missing = true, .missing_mode = nfs->missing_mode, .root_mode = nfs->root_mode};
    int err;

    *out_problem = NULL;
    if (!s || !s->missing) {
        return -EINVAL;
    }
    s->missing = false;
    err = look_around(s, &make, out_problem);
    if (err) {
        explain(s, err, out_problem);
        return err;
    }
    free(*out_problem);
    *out_problem = NULL;
    return 0;
}

int nfs3_try(struct store *store, const struct nfs3_options *nfs, char **out_problem)
{
    struct nfs3_store *s = find(store);
    const struct nfs3_options now = {.read_only = nfs->read_only};
    int err;

    *out_problem = NULL;
    if (!s || !s->untried) {
        return -EINVAL;
    }
    err = look_around(s, &now, out_problem);
    if (err) {
        explain(s, err, out_problem);
        return err;
    }
    free(*out_problem);
    *out_problem = NULL;
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
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    above = strndup(path, len > 0 ? len : 1);
    if (!above) {
        *err = -ENOMEM;
    }
    return above;
}

/* Whether it is there for us. 0; -ENOENT: it is above what is exported; or another -errno. */
static int find_root(struct nfs3_store *s, struct io *io)
{
    struct port *p = NULL;
    int err = port_create(&s->head, io, &p);

    if (!err) {
        err = nfs3_path_walk(p, NULL, &s->dirs.root, NULL, NULL);
        port_destroy(p);
    }
    return err == -EACCES || err == -EPERM || err == -ENOTDIR || err == -EINVAL ? -ENOENT : err;
}

int nfs3_open_above(struct store *store, struct io *io, unsigned levels, struct store **out_store)
{
    const struct nfs3_store *s = find(store);
    struct store_options options = {0}; /* notices: what can be said was said already */
    struct nfs3_options nfs = {0};
    struct nfs3_store *above = NULL;
    int err = -EINVAL;
    char *path = s ? path_above(s->path, levels, &err) : NULL;

    if (err) {
        return err;
    }
    options.side = s->dirs.side;
    options.owner = s->owning.owner;
    options.run_id = s->run_id;
    nfs = (struct nfs3_options){.host = s->host,
                                .port = s->port,
                                .mount_port = s->mount_port,
                                .path = path,
                                .uid = s->cred.uid,
                                .gid = s->cred.gid,
                                .groups = s->owning.groups,
                                .group_count = s->owning.group_count - 1,
                                .reserved_port = s->reserved_port,
                                .io_timeout_ns = s->io_timeout_ns,
                                .retries = s->retries};
    err = store_make(&options, &nfs, &above);
    free(path);
    if (err) {
        return err;
    }
    above->head.caps = s->head.caps;
    above->head.caps.owner_refused = NULL;
    above->addresses = s->addresses;
    above->notices = s->notices;
    above->fence = s->fence;
    above->uid = s->uid;
    above->gid = s->gid;
    above->info = s->info;
    above->name_max = s->name_max;
    above->link_max = s->link_max;
    atomic_store(&above->owning.refused, atomic_load(&s->owning.refused));
    atomic_store(&above->address, atomic_load(&s->address));
    err = find_root(above, io);
    if (err) {
        destroy(&above->head);
        return err;
    }
    *out_store = &above->head;
    return 0;
}

int nfs3_facts(const struct store *store, struct nfs3_facts *out)
{
    struct nfs3_store *s = find(store);

    if (!s) {
        return -EINVAL;
    }
    *out = (struct nfs3_facts){
        .port = s->port,
        .mount_port = s->mount_port,
        .read_max = s->info.read_max,
        .write_max = least(s->info.write_max, atomic_load(&s->write_limit)),
        .file_max = s->info.file_max,
        .name_max = s->name_max,
        .link_max = s->link_max,
        .space_avail = s->space_avail,
        .files_avail = s->files_avail,
        .owners_refused = atomic_load(&s->owning.refused),
        .no_attributes = atomic_load(&s->no_plus),
        .made = s->made,
        .missing = s->missing,
        .calls = atomic_load(&s->calls),
        .connects = atomic_load(&s->connects),
        .repeats = atomic_load(&s->repeats),
        .waits = atomic_load(&s->waits),
        .publishes = atomic_load(&s->publishes),
        .cleanups = atomic_load(&s->cleanups),
    };
    return 0;
}
