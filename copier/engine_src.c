/*
 * engine_src: the source of a run as a store, with the layers before it.
 *
 * A server has to be asked what SRC is, a directory or a single entry, before anything is said of DST.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/errs.h"
#include "copier/chmod.h"
#include "copier/engine_internal.h"
#include "copier/server.h"
#include "copier/status.h"
#include "copier/watchdog.h"
#include "workers/stores/layers.h"
#include "workers/stores/posix.h"

static int cannot_open(struct engine *e, const char *problem)
{
    report_error(e->report, "cannot open SRC '%s': %s", e->options->source, problem);
    return STATUS_CANNOT;
}

static struct store_options store_options_of(const struct engine *e, unsigned handles)
{
    return (struct store_options){
        .side = DIR_SRC, .path = e->places.source, .run_id = e->run_id, .max_handles = handles, .notices = e->notices};
}

/* ---- at a server ---- */

/* Opens it as e->src, still without its layers. 0; -errno, with *out_problem as server_open says. */
static int open_server(struct engine *e, char **out_problem)
{
    const struct store_options options = store_options_of(e, 0);
    struct nfs41_options nfs = engine_nfs(e, &e->places.source_url);
    nfs.read_only = true;
    *out_problem = NULL;
    return server_open(&options, &e->places.source_url, &nfs, &e->src, out_problem);
}

/* As what it turns out to be: a directory, or a single entry of the one above. The same. */
static int find_at_server(struct engine *e, char **out_problem)
{
    int r = open_server(e, out_problem);
    if (r != -ENOTDIR && r != -ELOOP) {
        return r;
    }
    int named = places_name_source(&e->places);
    if (named == -EINVAL) {
        return r; /* a directory is meant */
    }
    free(*out_problem);
    *out_problem = NULL;
    return named == 0 ? open_server(e, out_problem) : named;
}

/* Another source is known already. 0 or an exit status after a message. */
static int find_source(struct engine *e)
{
    char *problem = NULL;
    if (e->places.source_url.host == NULL) {
        return 0;
    }
    int r = find_at_server(e, &problem);
    if (r != 0) {
        r = cannot_open(e, problem != NULL ? problem : err_text(r));
    } else if (e->places.only_name != NULL) {
        r = places_single(e->options, e->report);
    }
    free(problem);
    return r;
}

/* With --direct, the server behind the mount that SRC is on; where it cannot be used, the mount. What programs here
 * have written through the mount and the kernel has not sent yet goes there first. 0 or -errno of that. */
static int open_behind_mount(struct engine *e)
{
    struct places *p = &e->places;
    char *problem = NULL;
    int fd = open(p->source_mounted, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 || syncfs(fd) != 0 ? -errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    if (r == 0 && open_server(e, &problem) != 0) {
        report_say(e->report, "--direct: SRC '%s': %s; it is used as it is", e->options->source,
                   problem != NULL ? problem : "the server cannot be reached without the mount");
        places_use_mount(p, DIR_SRC);
    }
    free(problem);
    return r;
}

/* ---- any ---- */

/* Who we are to servers. 0 or an exit status after a message. */
static int find_user(struct engine *e)
{
    const struct options *o = e->options;
    bool server = o->url.host != NULL || o->source_url.host != NULL || o->direct;
    int r = server ? nfs_user_find(o, &e->user) : 0;
    if (r != 0) {
        report_error(e->report, "cannot tell who haul is to the server: %s", err_text(r));
        return STATUS_CANNOT;
    }
    return 0;
}

int engine_places_find(struct engine *e)
{
    const struct options *o = e->options;
    int r = find_user(e);
    if (r == 0 && o->source != NULL) {
        watchdog_step(e->watchdog, "SRC", o->source);
        r = places_find_source(o, e->report, &e->places);
    }
    if (r == 0) {
        r = find_source(e);
    }
    if (r == 0) {
        watchdog_step(e->watchdog, o->source != NULL ? "SRC or DST" : "DST", o->destination);
        r = places_find_destination(o, e->report, &e->places);
    }
    if (r == 0 && e->places.source_mounted != NULL) {
        watchdog_step(e->watchdog, "SRC", o->source);
        r = open_behind_mount(e);
        r = r == 0 ? 0 : cannot_open(e, err_text(r));
    }
    return r;
}

static mode_t wished_mode(const void *arg, mode_t mode)
{
    const struct engine *e = arg;
    return chmod_apply(&e->options->chmod, mode, e->umask);
}

/* --chmod, --chown. Owns next: on failure it is destroyed. */
static int wrap_wishes(struct engine *e, struct store *next, struct store **store)
{
    const struct options *o = e->options;
    const struct remap_options wishes = {
        .mode = o->chmod.count > 0 ? wished_mode : NULL, .arg = e, .uid = o->chown_uid, .gid = o->chown_gid};
    if (wishes.mode == NULL && wishes.uid == (uid_t)-1 && wishes.gid == (gid_t)-1) {
        *store = next;
        return 0;
    }
    return remap_wrap(next, &wishes, store);
}

const struct server_facts *engine_facts(const struct engine *e, enum dir_side side, struct server_facts *buf)
{
    const struct store *bare = side == DIR_SRC ? e->src_bare : e->bare;
    return server_facts(bare, buf) == 0 ? buf : NULL;
}

int engine_src_open(struct engine *e, unsigned handles)
{
    const struct store_options options = store_options_of(e, handles);
    struct retry_options retry = e->retry;
    retry.on_source = true;
    struct store *next = e->src;
    int r = next == NULL ? posix_open(&options, &next) : 0;
    if (r == 0 && e->places.source_url.host == NULL) {
        direct_watch(&e->direct, DIR_SRC, e->places.source);
    }
    e->src = NULL; /* from here on it goes with its layers */
    struct store *bare = next;
    if (r == 0) {
        r = watch_wrap(next, &next);
    }
    if (r == 0) {
        e->watch[DIR_SRC] = next;
        r = retry_wrap(next, &retry, &next);
    }
    if (r == 0) {
        r = wrap_wishes(e, next, &e->src);
    }
    if (r == 0) {
        e->src_bare = bare;
    }
    return r == 0 ? 0 : cannot_open(e, err_text(r));
}
