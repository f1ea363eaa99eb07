#include "copier/staging.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cleanup/temps.h"
#include "workers/stores/posix.h"

enum {
    DEVICES = 16,    /* source file systems that are remembered */
    CLONE_TRIES = 4, /* refusals in a row after which no more are tried */
    FREE_SHARE = 4   /* --temp-space is one part in so many of what is free */
};

/* A source file system, and whether reflinks from it work. */
struct stage_device {
    dev_t dev;
    unsigned refused; /* in a row */
};

struct staging {
    struct store *store;          /* owned */
    uint64_t space;               /* bytes; constant */
    atomic_uint_least64_t taken;  /* bytes; at most space */
    bool clones;                  /* the temp dir's file system may be one with reflinks; constant */
    pthread_mutex_t lock;         /* guards what follows; never held while waiting */
    int64_t watched;              /* ns, see staging_tick */
    struct stage_question *asked; /* without an answer, the newest first */
    unsigned known;               /* entries of device */
    struct stage_device device[DEVICES];
};

enum stage_way stage_choose(const struct stage_case *c)
{
    enum stage_way straight = c->small ? WAY_MEMORY : WAY_STREAM;
    if (c->mode == STAGE_NEVER || !c->dir || (c->mode == STAGE_AUTO && c->small)) {
        return straight;
    }
    if (c->clone) {
        return WAY_CLONE;
    }
    if (c->need > c->room) {
        return straight;
    }
    if (c->mode == STAGE_ALWAYS) {
        return WAY_COPY;
    }
    return c->network && !c->together && c->size <= c->max ? WAY_COPY : straight;
}

uint64_t stage_need(const struct attr *attr)
{
    return attr->allocated < attr->size ? attr->allocated : attr->size;
}

static bool is_dead(void *arg, const char *run_id)
{
    (void)arg;
    (void)run_id;
    return true; /* nobody depends on a temp name here (posix_stage.h) */
}

/* What a crash of another run left. What cannot be removed takes no harm from staying. */
static int purge(struct store *store)
{
    const struct io_options options = {.no_ring = true};
    struct dir_tree tree = {0};
    struct dir *root = NULL;
    struct port *port = NULL;
    struct io *io = NULL;
    unsigned removed = 0;
    store_attach(store, DIR_SRC, &tree);
    int r = io_create(&options, &io);
    if (r == 0) {
        r = store_port_create(store, io, &port);
    }
    if (r == 0) {
        r = dir_create_root(&tree, &root);
    }
    if (r == 0) {
        (void)temps_purge(port, root, &(struct temps_rules){.is_dead = is_dead}, &removed);
    }
    dir_put(root);
    store_port_destroy(port);
    io_destroy(io);
    return r;
}

int staging_create(struct tempdir *t, const char *run_id, struct notices *notices, uint64_t space,
                   struct staging **out_staging)
{
    struct statvfs free_now;
    if (space == UINT64_MAX) {
        if (fstatvfs(t->fd, &free_now) != 0) {
            return -errno;
        }
        space = (uint64_t)free_now.f_bavail * free_now.f_frsize / FREE_SHARE;
    }
    struct staging *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return -ENOMEM;
    }
    s->space = space;
    s->clones = t->clones;
    pthread_mutex_init(&s->lock, NULL);
    const struct store_options options = {.side = DIR_SRC,
                                          .path = t->path,
                                          .run_id = run_id,
                                          .owner = OWNER_IGNORE,
                                          .max_handles = 1,
                                          .notices = notices};
    int fd = t->fd;
    t->fd = -1; /* taken over, whatever comes of it */
    int r = posix_open_root(&options, fd, &s->store);
    if (r == 0) {
        r = purge(s->store);
    }
    if (r != 0) {
        staging_destroy(s);
        return r;
    }
    *out_staging = s;
    return 0;
}

void staging_destroy(struct staging *s)
{
    if (s != NULL) {
        store_destroy(s->store);
        pthread_mutex_destroy(&s->lock);
        free(s);
    }
}

struct store *staging_store(struct staging *s)
{
    return s->store;
}

bool staging_take(struct staging *s, uint64_t bytes)
{
    uint64_t taken = atomic_load(&s->taken);
    do {
        if (bytes > s->space - taken) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&s->taken, &taken, taken + bytes));
    return true;
}

void staging_give(struct staging *s, uint64_t bytes)
{
    atomic_fetch_sub(&s->taken, bytes);
}

uint64_t staging_room(const struct staging *s)
{
    return s->space - atomic_load(&s->taken);
}

uint64_t staging_space(const struct staging *s)
{
    return s->space;
}

void staging_ask(struct staging *s, struct stage_question *q, int64_t grace_ns)
{
    pthread_mutex_lock(&s->lock);
    *q = (struct stage_question){.due = s->watched + grace_ns, .older = s->asked};
    if (q->older != NULL) {
        q->older->newer = q;
    }
    s->asked = q;
    pthread_mutex_unlock(&s->lock);
}

void staging_answered(struct staging *s, struct stage_question *q)
{
    pthread_mutex_lock(&s->lock);
    if (q->older != NULL) {
        q->older->newer = q->newer;
    }
    if (q->newer != NULL) {
        q->newer->older = q->older;
    } else {
        s->asked = q->older;
    }
    pthread_mutex_unlock(&s->lock);
}

int64_t staging_tick(struct staging *s, int64_t now_ns)
{
    int64_t longest = 0;
    pthread_mutex_lock(&s->lock);
    s->watched = now_ns;
    for (const struct stage_question *q = s->asked; q != NULL; q = q->older) {
        longest = now_ns - q->due > longest ? now_ns - q->due : longest;
    }
    pthread_mutex_unlock(&s->lock);
    return longest;
}

/* Its entry, made where there is none yet; NULL where there is no room for more. The lock is held. */
static struct stage_device *device_of(struct staging *s, dev_t dev)
{
    unsigned i = 0;
    while (i < s->known && s->device[i].dev != dev) {
        i++;
    }
    if (i == DEVICES) {
        return NULL;
    }
    if (i == s->known) {
        s->device[s->known++] = (struct stage_device){.dev = dev};
    }
    return &s->device[i];
}

bool staging_may_clone(struct staging *s, dev_t dev)
{
    if (!s->clones) {
        return false;
    }
    pthread_mutex_lock(&s->lock);
    const struct stage_device *d = device_of(s, dev);
    bool may = d != NULL && d->refused < CLONE_TRIES;
    pthread_mutex_unlock(&s->lock);
    return may;
}

void staging_cloned(struct staging *s, dev_t dev, bool worked)
{
    pthread_mutex_lock(&s->lock);
    struct stage_device *d = device_of(s, dev);
    if (d != NULL) {
        d->refused = worked ? 0 : d->refused + 1;
    }
    pthread_mutex_unlock(&s->lock);
}
