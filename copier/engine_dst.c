/*
 * engine_dst: the destination of a run as a store: found, made where it is missing, with the layers before it.
 *
 * A directory is looked at by places.c; a server has to be asked, which engine_dst_find does before anything is made
 * anywhere.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/errs.h"
#include "copier/engine_internal.h"
#include "copier/look.h"
#include "copier/server.h"
#include "copier/status.h"
#include "workers/stores/layers.h"
#include "workers/stores/posix.h"

#define SERVER_AGE_NS (86400 * NS_PER_SEC) /* what was found out about a server is tried again after that */
#define SERVER_ABOUT  256                  /* bytes of a text that says whose and which */
#define SERVER_TEXT   128                  /* bytes of a text that says what */

#define SESSIONS    8 /* at a server, made while it is tried out, at most; whoever finds none left makes one */
#define FOR_EVER_NS (365 * 86400 * NS_PER_SEC) /* --io-timeout 0 */

#ifdef HAUL_TEST_FAULTS
/* Builds for tests let a chosen operation at the destination fail. */
static int wrap_faults(struct store *next, struct store **store)
{
    struct fault_options fault;
    const char *text = getenv("HAUL_TEST_FAULT");
    if (text == NULL) {
        *store = next;
        return 0;
    }
    int r = fault_parse(text, &fault);
    if (r != 0) {
        store_destroy(next);
        return r;
    }
    return fault_wrap(next, &fault, store);
}
#else
static int wrap_faults(struct store *next, struct store **store)
{
    *store = next;
    return 0;
}
#endif

/* The layers before the destination, from the innermost on. Owns next: on failure it is destroyed. */
static int wrap_destination(struct engine *e, struct store *next, struct store **store)
{
    const struct options *o = e->options;
    int r = watch_wrap(next, &next);
    if (r == 0) {
        e->watch[DIR_DST] = next;
        r = wrap_faults(next, &next);
    }
    if (r == 0 && o->dry_run) {
        r = dry_wrap(next, &next);
    }
    if (r == 0 && o->bwlimit > 0) {
        r = throttle_wrap(next, o->bwlimit, &next);
    }
    if (r == 0 && o->ops_limit > 0) {
        r = throttle_operations_wrap(next, o->ops_limit, &next);
    }
    if (r == 0) {
        r = retry_wrap(next, &e->retry, &next);
    }
    if (r == 0 && o->command == COMMAND_SYNC && !o->dry_run) {
        r = claim_wrap(next, engine_own, e, &next);
    }
    if (r == 0) {
        *store = next;
    }
    return r;
}

/* For whoever opens the destination, or what is above it. */
static struct store_options store_options_of(const struct engine *e, const char *path, unsigned handles)
{
    return (struct store_options){.side = DIR_DST,
                                  .path = path,
                                  .run_id = e->run_id,
                                  .owner = e->options->owner,
                                  .fsync = e->options->fsync,
                                  .max_handles = handles,
                                  .notices = e->notices};
}

static int cannot_open(struct engine *e, const char *problem)
{
    report_error(e->report, "cannot open DST '%s': %s", e->places.destination, problem);
    return STATUS_CANNOT;
}

/* ---- at a server ---- */

struct nfs41_options engine_nfs(const struct engine *e, const struct url *url)
{
    const struct options *o = e->options;
    return (struct nfs41_options){.host = url->host,
                                  .port = url->port,
                                  .path = url->path,
                                  .uid = e->user.uid,
                                  .gid = e->user.groups[0],
                                  .groups = e->user.groups + 1,
                                  .group_count = e->user.count - 1,
                                  .reserved_port = !o->no_reserved_port,
                                  .io_timeout_ns = o->io_timeout_ns != 0 ? o->io_timeout_ns : FOR_EVER_NS,
                                  .retries = o->retries,
                                  .sessions = e->places.only_name != NULL ? 0 : SESSIONS};
}

/* Whether the run may take the server for what an earlier one has found: one of 4.1, where that costs round trips. */
static bool is_trusting(const struct engine *e)
{
    return e->places.url.version == URL_NFS41 && e->options->command == COMMAND_SYNC && !e->options->dry_run;
}

/* The same for the destination, with the modes of what is made there. */
static struct nfs41_options server_options_of(const struct engine *e)
{
    struct nfs41_options nfs = engine_nfs(e, &e->places.url);
    nfs.read_only = e->options->dry_run;
    nfs.calm = e->look != NULL && !e->look->job->publishes;
    nfs.try_later = !e->options->dry_run; /* once the state knows whose temp names there may be */
    nfs.missing_mode = 0777 & ~e->umask;
    nfs.root_mode = e->places.only_name != NULL ? 0777 & ~e->umask : 0700;
    return nfs;
}

/* Opens it as e->bare. make: missing directories are made; else -ENOENT where one is, with e->bare for server_make
 * where that can be tried. 0; -errno, with *out_problem as server_open says. */
static int open_server(struct engine *e, bool make, char **out_problem)
{
    struct store_options options = store_options_of(e, e->places.destination, 0);
    struct nfs41_options nfs = server_options_of(e);
    struct server_facts facts;
    options.fence = engine_fence(e);
    nfs.make_missing = make;
    nfs.may_be_missing = !make;
    nfs.try_later = nfs.try_later && !make;
    *out_problem = NULL;
    int r = server_open(&options, &e->places.url, &nfs, &e->bare, out_problem);
    return r == 0 && server_facts(e->bare, &facts) == 0 && server_missing(&facts) ? -ENOENT : r;
}

static void close_server(struct engine *e)
{
    store_destroy(e->bare);
    e->bare = NULL;
}

/* What stands at the server: a directory, for a single file perhaps a file, or nothing. */
static int find_at_server(struct engine *e, char **out_problem)
{
    int r = open_server(e, false, out_problem);
    bool other = r == -ENOENT || r == -ENOTDIR;
    if (!other || e->places.only_name == NULL) {
        return r;
    }
    int named = places_name_file(&e->places);
    if (named == -EINVAL) {
        return r; /* a directory is meant */
    }
    free(*out_problem);
    *out_problem = NULL;
    close_server(e);
    return named == 0 ? open_server(e, false, out_problem) : named;
}

int engine_dst_find(struct engine *e)
{
    char *problem = NULL;
    if (e->places.url.host == NULL) {
        return 0;
    }
    int r = find_at_server(e, &problem);
    if (r != 0 && r != -ENOENT && e->places.mounted != NULL) {
        report_say(e->report, "--direct: DST '%s': %s; it is used as it is", e->options->destination,
                   problem != NULL ? problem : err_text(r));
        free(problem);
        close_server(e);
        places_use_mount(&e->places, DIR_DST);
        return 0;
    }
    e->places.missing = r == -ENOENT;
    if (e->places.missing && e->options->dry_run) {
        close_server(e);
    }
    if (r != 0 && r != -ENOENT) {
        r = cannot_open(e, problem != NULL ? problem : err_text(r));
    } else {
        r = 0;
    }
    free(problem);
    return r;
}

/* Makes what is missing. 0 or an exit status after a message. */
static int make_at_server(struct engine *e)
{
    char *problem = NULL;
    struct server_facts facts;
    const struct nfs41_options nfs = server_options_of(e);
    int r = e->bare != NULL ? server_make(e->bare, &nfs, &problem) : open_server(e, true, &problem);
    if (r != 0) {
        r = cannot_open(e, problem != NULL ? problem : err_text(r));
    } else if (server_facts(e->bare, &facts) == 0) {
        e->dst_made = server_made(&facts);
        e->places.missing = e->dst_made > 0; /* else somebody else was quicker */
    }
    free(problem);
    return r;
}

/* ---- what is remembered of it ---- */

/* Who asks, and which server. */
static void about_server(const struct engine *e, char out[SERVER_ABOUT])
{
    struct nfs41_facts facts = {0};
    (void)nfs41_facts(e->bare, &facts);
    XXH64_hash_t groups = XXH3_64bits(e->user.groups, e->user.count * sizeof e->user.groups[0]);
    (void)snprintf(out, SERVER_ABOUT, "1 %s uid %u groups %016llx owner %d", facts.server, (unsigned)e->user.uid,
                   (unsigned long long)groups, (int)e->options->owner);
}

static int found_text(const struct engine *e, char out[SERVER_TEXT])
{
    struct nfs41_found f;
    int r = nfs41_found(e->bare, &f);
    if (r == 0) {
        (void)snprintf(out, SERVER_TEXT, "%u %u %lld %d %d %u", (unsigned)f.uid, (unsigned)f.gid,
                       (long long)f.time_granularity_ns, (int)f.no_link_times, (int)f.owner_refused, f.steps);
    }
    return r;
}

/* Takes what the last run has found, if it ended well. Whether it did. */
static bool trust_server(struct engine *e)
{
    char about[SERVER_ABOUT];
    char *text = NULL;
    struct state_run last;
    struct nfs41_found f = {0};
    unsigned uid = 0;
    unsigned gid = 0;
    long long granularity = 0;
    int no_link_times = 0;
    int refused = 0;
    if (e->state == NULL || state_last_run(e->state, &last) != 0 || last.status < 0) {
        return false;
    }
    about_server(e, about);
    if (state_server_get(e->state, about, SERVER_AGE_NS, &text) != 0) {
        return false;
    }
    int n = sscanf(text, "%u %u %lld %d %d %u", &uid, &gid, &granularity, &no_link_times, &refused, &f.steps);
    free(text);
    f.uid = uid;
    f.gid = gid;
    f.time_granularity_ns = granularity;
    f.no_link_times = no_link_times != 0;
    f.owner_refused = refused != 0;
    return n == 6 && nfs41_trust(e->bare, &f) == 0;
}

static void remember_server(struct engine *e)
{
    char about[SERVER_ABOUT];
    char text[SERVER_TEXT];
    if (e->state != NULL && is_trusting(e) && found_text(e, text) == 0) {
        about_server(e, about);
        (void)state_server_set(e->state, about, text); /* else the next run tries it out as well */
    }
}

/* It stands there: tried out, where that is not remembered. 0 or an exit status after a message. */
static int try_server(struct engine *e)
{
    char *problem = NULL;
    if (e->options->dry_run) {
        return 0;
    }
    e->server_trusted = is_trusting(e) && trust_server(e);
    if (e->server_trusted) {
        return 0;
    }
    const struct nfs41_options nfs = server_options_of(e);
    int r = server_try(e->bare, &nfs, &problem);
    if (r != 0) {
        r = cannot_open(e, problem != NULL ? problem : err_text(r));
    }
    free(problem);
    return r;
}

void engine_dst_learn(struct engine *e, bool succeeded)
{
    char about[SERVER_ABOUT];
    char now[SERVER_TEXT];
    char *before = NULL;
    if (!e->server_trusted) {
        return;
    }
    about_server(e, about);
    bool same = succeeded && found_text(e, now) == 0 &&
                state_server_get(e->state, about, INT64_MAX / 2, &before) == 0 && strcmp(before, now) == 0;
    free(before);
    if (!same) {
        (void)state_server_set(e->state, about, NULL); /* it grows old all the same */
    }
}

/* The URL of the directory so many levels above the destination's root, malloc'd; NULL: no memory. */
static char *url_above(const struct url *root, unsigned levels)
{
    struct url at = {0};
    int r = url_copy(root, root->path, &at);
    for (unsigned i = 0; i < levels && r == 0; i++) {
        char *parent = url_parent(&at);
        r = parent == NULL ? -ENOMEM : 0;
        if (r == 0) {
            free(at.path);
            at.path = parent;
        }
    }
    char *text = r == 0 ? url_text(&at) : NULL;
    url_release(&at);
    return text;
}

int engine_dst_above(struct engine *e, struct io *io, unsigned levels, struct store **out_store, char **out_path)
{
    struct store *store = NULL;
    char *path = url_above(&e->places.url, levels);
    int r = path == NULL ? -ENOMEM : server_open_above(e->bare, io, levels, &store);
    if (r != 0) {
        free(path);
        return r;
    }
    *out_store = store;
    *out_path = path;
    return 0;
}

/* Removes the empty directory name in the root of store. 0 or -errno. */
static int remove_in(struct store *store, struct io *io, const char *name)
{
    struct dir_tree tree = {0};
    struct dir *root = NULL;
    struct port *port = NULL;
    store_attach(store, DIR_DST, &tree);
    int r = dir_create_root(&tree, &root);
    if (r == 0) {
        r = store_port_create(store, io, &port);
    }
    if (r == 0) {
        struct store_op op = {.code = STORE_REMOVE, .dir = root, .name = name, .remove = {.dir = true}};
        r = store_run(port, &op);
    }
    store_port_destroy(port);
    dir_put(root);
    return r;
}

/* Takes away the directories that were made, from the root up. 0 or -errno. */
static int unmake_at_server(struct engine *e)
{
    struct url at = {0};
    struct io *io = NULL;
    int r = url_copy(&e->places.url, e->places.url.path, &at);
    if (r == 0) {
        r = io_create(&(struct io_options){.no_ring = true}, &io);
    }
    for (unsigned level = 1; level <= e->dst_made && r == 0; level++) {
        struct store *store = NULL;
        char *parent = url_parent(&at);
        r = parent == NULL ? -ENOMEM : server_open_above(e->bare, io, level, &store);
        if (r == 0) {
            r = remove_in(store, io, url_name(&at));
            free(at.path);
            at.path = parent;
            parent = NULL;
        }
        free(parent);
        store_destroy(store);
    }
    io_destroy(io);
    url_release(&at);
    return r;
}

void engine_dst_unmake(struct engine *e)
{
    if (!e->places.missing) {
        return;
    }
    int r = e->places.url.host != NULL ? unmake_at_server(e) : rmdir(e->places.destination);
    if (r != 0) {
        notice_raise(e->notices, "the destination's root was made and could not be removed again");
    }
}

/* ---- any ---- */

/* A store on the destination's root, as it stands, or on nothing. 0 or an exit status after a message. */
static int open_bare(struct engine *e, unsigned handles)
{
    struct store_options options = store_options_of(e, e->places.destination, handles);
    bool nothing_there = e->places.null || (e->options->dry_run && e->places.missing);
    options.fence = engine_fence(e);
    if (!nothing_there && e->places.url.host != NULL) {
        int r = e->places.missing ? make_at_server(e) : try_server(e);
        if (r == 0 && !e->server_trusted) {
            remember_server(e);
        }
        return r;
    }
    int r = nothing_there ? 0 : places_make(&e->places, e->umask, e->report);
    if (r != 0) {
        return r;
    }
    r = nothing_there ? null_open(&options, &e->bare) : posix_open(&options, &e->bare);
    return r == 0 ? 0 : cannot_open(e, err_text(r));
}

int engine_dst_open(struct engine *e, unsigned handles)
{
    int r = open_bare(e, handles);
    if (r != 0) {
        return r;
    }
    r = wrap_destination(e, e->bare, &e->dst);
    if (r != 0) {
        e->bare = NULL; /* gone with its layers */
        return cannot_open(e, err_text(r));
    }
    struct stat root;
    e->dst_dev = fstat(posix_root_fd(e->dst), &root) == 0 ? root.st_dev : 0;
    if (e->places.url.host == NULL && !e->places.null && !e->options->dry_run) {
        direct_watch(&e->direct, DIR_DST, e->places.destination);
    }
    return 0;
}
