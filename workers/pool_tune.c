/*
 * pool_tune: measures what the workers do and lets the tuner set the limit.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "workers/pool_internal.h"

#define STARVED_SHARE 0.10 /* of the workers' time without items, from which on an interval says nothing */

static int64_t clock_ns(clockid_t clock, int64_t otherwise)
{
    struct timespec ts;
    return clock_gettime(clock, &ts) == 0 ? clock_ns_of(&ts) : otherwise;
}

/*
 * Time in which w ran or was kept waiting for a processor: on a machine that others use too, a worker that never waits
 * for its file system gets only a part of a processor, and yet more in flight would not help it. The kernel tells in
 * schedstat; where it does not, the time that it ran must do.
 */
static int64_t worker_demand(const struct worker *w)
{
    char path[64];
    char text[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", (int)w->tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n > 0) {
        char *end = NULL;
        text[n] = '\0';
        int64_t ran = strtoll(text, &end, 10);
        return ran + strtoll(end, NULL, 10);
    }
    return clock_ns(w->cpu_clock, w->demand_ns);
}

/* Sum of that over the workers since it was last asked. One that has ended has wanted nothing. */
static int64_t workers_demand(struct pool *p)
{
    int64_t sum = 0;
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->count; i++) {
        struct worker *w = &p->workers[i];
        if (w->live) {
            int64_t ns = worker_demand(w);
            sum += ns - w->demand_ns;
            w->demand_ns = ns;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return sum;
}

static uint64_t workers_work(const struct pool *p)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < p->count; i++) {
        sum += atomic_load_explicit(&p->workers[i].work, memory_order_relaxed);
    }
    return sum;
}

static int64_t workers_starved(const struct pool *p, int64_t now_ns)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < p->count; i++) {
        int64_t since = atomic_load_explicit(&p->workers[i].starving_since, memory_order_relaxed);
        sum += atomic_load_explicit(&p->workers[i].starved_ns, memory_order_relaxed);
        sum += since > 0 && now_ns > since ? now_ns - since : 0;
    }
    return sum;
}

/* What was done since the last step. */
static struct tune_sample measure(struct pool *p, int64_t now_ns)
{
    double ns = (double)(now_ns - p->tune_ns);
    uint64_t work = workers_work(p);
    int64_t starved = workers_starved(p, now_ns);
    int64_t process = clock_ns(CLOCK_PROCESS_CPUTIME_ID, p->tune_process);
    unsigned alive = atomic_load(&p->alive);
    /* Busy are the processors (all threads count: walkers, the kernel's io workers), or the workers' own threads, of
     * which there may be fewer. In both cases more in flight cannot help. */
    double processors = (double)(process - p->tune_process) / (ns * p->processors);
    double threads = (double)workers_demand(p) / (ns * (alive > 0 ? alive : 1));
    struct tune_sample sample = {
        .seconds = ns / NS_PER_SEC,
        .work = (double)(work - p->tune_work),
        .busy = processors > threads ? processors : threads,
        .starved = (double)(starved - p->tune_starved) > STARVED_SHARE * ns * p->count,
    };
    p->tune_ns = now_ns;
    p->tune_work = work;
    p->tune_starved = starved;
    p->tune_process = process;
    return sample;
}

void pool_tune(struct pool *p, int64_t now_ns)
{
    if (pthread_mutex_trylock(&p->tune_lock) != 0) {
        return;
    }
    if (now_ns >= atomic_load(&p->next_tune)) {
        struct tune_sample sample = measure(p, now_ns);
        unsigned limit = tune_step(&p->tune, &sample);
        if (limit != atomic_load(&p->limit)) {
            atomic_store(&p->limit, limit);
            atomic_fetch_add(&p->epoch, 1);
        }
        atomic_store(&p->next_tune, now_ns + TUNE_NS);
    }
    pthread_mutex_unlock(&p->tune_lock);
}

unsigned pool_share(const struct worker *w)
{
    struct pool *p = w->pool;
    unsigned limit = atomic_load(&p->limit);
    unsigned alive = 0;
    unsigned before = 0;
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->count; i++) {
        bool works = p->workers[i].live && !p->workers[i].resting;
        alive += works;
        before += works && i < w->index;
    }
    pthread_mutex_unlock(&p->lock);
    if (alive == 0) {
        return 1;
    }
    unsigned share = limit / alive + (before < limit % alive);
    return share > 0 ? share : 1;
}
