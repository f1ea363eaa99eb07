#include "copier/living.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "copier/lease_internal.h"
#include "copier/state_look.h"

/* A run that was asked for. */
struct asked {
    char run_id[RUN_ID_LEN + 1];
    enum stale_run verdict; /* never RUN_UNKNOWN while it may still change */
    int64_t since_ns;       /* CLOCK_MONOTONIC: when that was found out */
};

/* A state of this machine. */
struct known_state {
    char *path;              /* owned */
    struct state_look *look; /* owned; NULL: it cannot be read, which protects what it may know */
};

struct living {
    struct engine *engine;      /* not owned */
    struct lease_owner self;    /* this process; constant */
    pthread_mutex_t lock;       /* for what follows; held while states are asked, never while the destination is */
    struct known_state *states; /* owned */
    size_t state_count;         /* of them */
    struct asked *asked;        /* sorted by run id; owned */
    size_t asked_count;         /* of them */
    size_t asked_room;          /* entries that asked can have */
};

int living_create(struct engine *e, struct living **out_living)
{
    struct living *l = calloc(1, sizeof *l);
    int r = l == NULL ? -ENOMEM : lease_self(&l->self);
    if (r != 0) {
        free(l);
        return r;
    }
    l->engine = e;
    pthread_mutex_init(&l->lock, NULL);
    *out_living = l;
    return 0;
}

void living_destroy(struct living *l)
{
    if (l == NULL) {
        return;
    }
    for (size_t i = 0; i < l->state_count; i++) {
        state_look_close(l->states[i].look);
        free(l->states[i].path);
    }
    free(l->states);
    free(l->asked);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- what is known already ---- */

/* Where run_id is, or would be. Under the lock. */
static size_t place_of(const struct living *l, const char *run_id)
{
    size_t low = 0;
    size_t high = l->asked_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(l->asked[middle].run_id, run_id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool known(struct living *l, const char *run_id, enum stale_run *out_verdict, int64_t *out_since_ns)
{
    pthread_mutex_lock(&l->lock);
    size_t at = place_of(l, run_id);
    bool found = at < l->asked_count && strcmp(l->asked[at].run_id, run_id) == 0;
    if (found) {
        *out_verdict = l->asked[at].verdict;
        *out_since_ns = l->asked[at].since_ns;
    }
    pthread_mutex_unlock(&l->lock);
    return found;
}

/* Without memory it is asked again the next time. */
static void remember(struct living *l, const char *run_id, enum stale_run verdict, int64_t since_ns)
{
    pthread_mutex_lock(&l->lock);
    size_t at = place_of(l, run_id);
    if (at < l->asked_count && strcmp(l->asked[at].run_id, run_id) == 0) {
        l->asked[at].verdict = verdict;
    } else {
        if (l->asked_count == l->asked_room) {
            size_t room = l->asked_room == 0 ? 64 : 2 * l->asked_room;
            struct asked *more = reallocarray(l->asked, room, sizeof *more);
            l->asked = more != NULL ? more : l->asked;
            l->asked_room = more != NULL ? room : l->asked_room;
        }
        if (l->asked_count < l->asked_room) {
            memmove(&l->asked[at + 1], &l->asked[at], (l->asked_count - at) * sizeof *l->asked);
            memcpy(l->asked[at].run_id, run_id, sizeof l->asked[at].run_id);
            l->asked[at].verdict = verdict;
            l->asked[at].since_ns = since_ns;
            l->asked_count++;
        }
    }
    pthread_mutex_unlock(&l->lock);
}

/* ---- states ---- */

static bool is_open(const struct living *l, const char *path)
{
    for (size_t i = 0; i < l->state_count; i++) {
        if (strcmp(l->states[i].path, path) == 0) {
            return true;
        }
    }
    return false;
}

/* Opens the state at path, if it was not yet. 0 or -ENOMEM. Under the lock. */
static int open_one(struct living *l, const char *path)
{
    if (is_open(l, path)) {
        return 0;
    }
    struct known_state *more = reallocarray(l->states, l->state_count + 1, sizeof *more);
    l->states = more != NULL ? more : l->states;
    struct known_state one = {.path = more != NULL ? strdup(path) : NULL};
    if (one.path == NULL) {
        return -ENOMEM;
    }
    int r = state_look_open(path, &one.look);
    if (r == -ENOENT || r == -EBADMSG) { /* what is none of haul's, or damaged, remembers no run */
        free(one.path);
        return 0;
    }
    l->states[l->state_count++] = one;
    return 0;
}

/* All states of this machine that there are by now. 0 or -errno. Under the lock. */
static int open_all(struct living *l)
{
    char **paths = NULL;
    size_t count = 0;
    const char *own = l->engine->options->state;
    int r = state_history_files(&paths, &count);
    if (r == -ENOENT) {
        r = 0; /* no home: none by default */
    }
    for (size_t i = 0; i < count && r == 0; i++) {
        r = open_one(l, paths[i]);
    }
    if (r == 0 && own != NULL) {
        r = open_one(l, own);
    }
    state_history_files_free(paths, count);
    return r;
}

/* What the states say of that run; one that cannot be read may know it as living. */
static enum stale_run ask_states(struct living *l, const char *run_id)
{
    enum stale_run verdict = RUN_UNKNOWN;
    pthread_mutex_lock(&l->lock);
    if (open_all(l) != 0) {
        verdict = RUN_LIVES;
    }
    for (size_t i = 0; i < l->state_count && verdict == RUN_UNKNOWN; i++) {
        struct state_look *look = l->states[i].look;
        bool lives = true;
        int r = look != NULL ? state_look_run(look, run_id, &lives) : -EIO;
        if (r != -ENOENT) {
            verdict = r != 0 || lives ? RUN_LIVES : RUN_DEAD;
        }
    }
    pthread_mutex_unlock(&l->lock);
    return verdict;
}

int64_t living_partial(struct living *l, const char *temp)
{
    int64_t touched = 0;
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->state_count && touched == 0; i++) {
        if (l->states[i].look != NULL && state_look_partial(l->states[i].look, temp, &touched) != 0) {
            touched = 0;
        }
    }
    pthread_mutex_unlock(&l->lock);
    return touched;
}

/* ---- leases ---- */

/* Whether the lease in dir, if there is one, may be that run's while it lives: one that cannot be read may be
 * anybody's.
 */
static bool holds(const struct living *l, struct port *port, struct dir *dir, const char *run_id)
{
    struct lease_seen seen = {0};
    int r = lease_look(port, dir, &seen);
    if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -ERR_CHANGED) {
        return false; /* what no haul makes is no lease */
    }
    if (r != 0) {
        return true;
    }
    if (!seen.there) {
        return false;
    }
    if (!seen.parsed) {
        return true;
    }
    return strcmp(seen.owner.run, run_id) == 0 && !lease_process_gone(&l->self, &seen.owner);
}

/* In the directory so many levels above the destination's root. 1, 0; -ENOENT: that is above everything. */
static int holds_above(const struct living *l, struct io *io, unsigned levels, const char *run_id)
{
    struct dir_tree tree = {0};
    struct store *store = NULL;
    struct dir *root = NULL;
    struct port *port = NULL;
    char *path = NULL;
    int r = engine_lease_above(l->engine, io, levels, &store, &path);
    if (r != 0) {
        return r == -ENOENT || r == -EACCES ? -ENOENT : 1;
    }
    store_attach(store, DIR_DST, &tree);
    r = dir_create_root(&tree, &root);
    if (r == 0) {
        r = store_port_create(store, io, &port);
    }
    r = r != 0 ? 1 : holds(l, port, root, run_id);
    store_port_destroy(port);
    dir_put(root);
    store_destroy(store);
    free(path);
    return r;
}

static bool has_lease(const struct living *l, struct port *port, struct dir *dir, const char *run_id)
{
    for (struct dir *at = dir; at != NULL; at = at->parent) {
        if (holds(l, port, at, run_id)) {
            return true;
        }
    }
    for (unsigned levels = 1;; levels++) {
        int r = holds_above(l, port->io, levels, run_id);
        if (r != 0) {
            return r > 0;
        }
    }
}

enum stale_run living_ask(struct living *l, struct port *port, struct dir *dir, const char *run_id,
                          int64_t *out_since_ns)
{
    enum stale_run verdict = RUN_UNKNOWN;
    int64_t since_ns = 0;
    if (!known(l, run_id, &verdict, &since_ns)) {
        verdict = ask_states(l, run_id);
        if (verdict == RUN_UNKNOWN && has_lease(l, port, dir, run_id)) {
            verdict = RUN_LIVES;
        }
        since_ns = clock_mono_ns();
        remember(l, run_id, verdict, since_ns);
    }
    if (out_since_ns != NULL) {
        *out_since_ns = since_ns;
    }
    return verdict;
}
