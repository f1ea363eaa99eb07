#include "copier/finishdirs.h"

#include <stdlib.h>

#include "base/clock.h"
#include "copier/copyfile.h"

/* A directory on its way to being finished. */
struct finishing {
    struct pool_offer offer; /* the first field */
    struct engine *engine;   /* not owned */
    struct worker *worker;   /* whose fiber does it; not owned */
    struct dir *dir;         /* alive until it is finished */
};

/* The worker's port of the destination; NULL: the run is being stopped. */
static struct port *port_of(const struct finishing *f)
{
    const struct engine_worker *own = worker_own(f->worker);
    return atomic_load(&f->engine->stopping) ? NULL : own->dst;
}

/* worker_on_lost: it got no answer. */
static void finish_lost(void *arg, const void *reason)
{
    struct finishing *f = arg;
    const struct copy_unanswered *why = reason;
    char *path = watch_path(why->op->dir, why->op->name);
    event_unanswered(f->engine, path != NULL ? path : "?", why->op->code, clock_mono_ns() - why->op->begun_ns,
                     why->on_source);
    free(path);
    planner_finish_lost(f->engine->planner, port_of(f), f->dir);
    free(f);
}

static void finish(struct pool_offer *offer, struct worker *w)
{
    struct finishing *f = (struct finishing *)offer;
    f->worker = w;
    worker_on_lost(finish_lost, f);
    planner_finish(f->engine->planner, port_of(f), f->dir);
    free(f);
}

bool finishdirs_begin(void *arg, struct dir *dir)
{
    struct engine *e = arg;
    struct finishing *f = malloc(sizeof *f);
    if (f == NULL) {
        return false;
    }
    *f = (struct finishing){.offer = {.run = finish}, .engine = e, .dir = dir};
    pool_offer(e->pool, &f->offer);
    return true;
}
