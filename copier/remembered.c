#include "copier/remembered.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/errs.h"
#include "copier/status.h"

#define WORKERS_MAX 1024U /* threads that look; more are as if nothing were remembered */

struct remembered {
    char *path;                            /* of the state; owned */
    atomic_int error;                      /* first -errno */
    struct state_look *looks[WORKERS_MAX]; /* by worker_index, each its worker's; owned */
};

static bool is_pair(const struct engine *e, const struct state_look *l)
{
    return strcmp(state_look_destination(l), e->places.destination) == 0 &&
           (e->places.source == NULL || strcmp(state_look_source(l), e->places.source) == 0);
}

/* 0 or an exit status after a message. */
static int check_given(const struct engine *e, const char *path)
{
    struct state_look *look = NULL;
    int r = state_look_open(path, &look);
    bool other = r == 0 && !is_pair(e, look);
    state_look_close(look);
    if (r != 0 || other) {
        report_error(e->report, "--state '%s': %s", path,
                     other           ? "it is about another pair of source and destination"
                     : r == -EBADMSG ? "it is none of haul's, or damaged"
                     : r == -EPROTO  ? "it was written by a newer haul"
                                     : err_text(r));
        return STATUS_CANNOT;
    }
    return 0;
}

/* The best of the default ones, malloc'd into *out_path; NULL: none. 0 or -ENOMEM. */
static int choose(const struct engine *e, char **out_path)
{
    char **paths = NULL;
    size_t count = 0;
    size_t best = SIZE_MAX;
    int64_t newest = -1;
    if (state_history_files(&paths, &count) != 0) {
        return 0; /* no home, no folder: nothing is remembered */
    }
    for (size_t i = 0; i < count; i++) {
        struct state_look *look = NULL;
        if (state_look_open(paths[i], &look) == 0 && is_pair(e, look) && state_look_newest(look) > newest) {
            newest = state_look_newest(look);
            best = i;
        }
        state_look_close(look);
    }
    *out_path = best < count ? strdup(paths[best]) : NULL;
    int r = best < count && *out_path == NULL ? -ENOMEM : 0;
    state_history_files_free(paths, count);
    return r;
}

int remembered_find(struct engine *e, struct remembered **out_remembered)
{
    char *path = NULL;
    int r = 0;
    *out_remembered = NULL;
    if (e->options->state != NULL) {
        r = check_given(e, e->options->state);
        if (r != 0) {
            return r;
        }
        path = strdup(e->options->state);
        r = path == NULL ? -ENOMEM : 0;
    } else {
        r = choose(e, &path);
    }
    struct remembered *found = r == 0 && path != NULL ? calloc(1, sizeof *found) : NULL;
    if (r != 0 || (path != NULL && found == NULL)) {
        free(path);
        report_error(e->report, "cannot start: %s", err_text(ENOMEM));
        return STATUS_CANNOT;
    }
    if (found != NULL) {
        found->path = path;
        *out_remembered = found;
    }
    return 0;
}

void remembered_destroy(struct remembered *r)
{
    if (r != NULL) {
        for (unsigned i = 0; i < WORKERS_MAX; i++) {
            state_look_close(r->looks[i]);
        }
        free(r->path);
        free(r);
    }
}

const char *remembered_path(const struct remembered *r)
{
    return r != NULL ? r->path : "";
}

int remembered_error(const struct remembered *r)
{
    return r != NULL ? atomic_load(&r->error) : 0;
}

int remembered_entry(struct remembered *r, struct worker *w, const struct dir *dir, const char *name,
                     struct state_file *out_file, bool *out_sure)
{
    if (r == NULL || worker_index(w) >= WORKERS_MAX) {
        return -ENOENT;
    }
    struct state_look **look = &r->looks[worker_index(w)];
    int err = *look == NULL ? state_look_open(r->path, look) : 0;
    if (err == 0) {
        err = state_look_entry(*look, dir->id, name, out_file, out_sure);
    }
    if (err != 0 && err != -ENOENT) {
        int none = 0;
        atomic_compare_exchange_strong(&r->error, &none, err);
    }
    return err;
}
