/*
 * buffers: memory for contents, from free lists of each worker, within one budget for the pool.
 *
 * The budget counts all buffers there are, so that a get that finds a free one touches nothing shared.
 */
#include <stdlib.h>
#include <unistd.h>

#include "workers/pool_internal.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size)   ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

static unsigned class_of(size_t size)
{
    if (size <= BUFFER_MIN) {
        return 0;
    }
    return (unsigned)(64 - __builtin_clzll((unsigned long long)size - 1)) - 12;
}

static size_t class_bytes(unsigned class)
{
    return (size_t)BUFFER_MIN << class;
}

static void *free_pop(struct buffers *b, unsigned class)
{
    void *buffer = b->free[class];
    if (buffer) {
        b->free[class] = *(void **)buffer;
        b->cached -= class_bytes(class);
        ASAN_UNPOISON_MEMORY_REGION(buffer, class_bytes(class));
    }
    return buffer;
}

static void free_push(struct buffers *b, unsigned class, void *buffer)
{
    *(void **)buffer = b->free[class];
    b->free[class] = buffer;
    b->cached += class_bytes(class);
    ASAN_POISON_MEMORY_REGION((char *)buffer + sizeof(void *), class_bytes(class) - sizeof(void *));
}

void buffers_trim(struct worker *w, size_t keep)
{
    struct buffers *b = &w->buffers;
    for (unsigned class = BUFFER_CLASSES; class -- > 0 && b->cached > keep;) {
        while (b->free[class] && b->cached > keep) {
            free(free_pop(b, class));
            atomic_fetch_sub(&w->pool->buffer_bytes, class_bytes(class));
        }
    }
}

/* Takes bytes out of the budget, if they are there. */
static bool reserve(struct pool *p, size_t bytes)
{
    size_t used = atomic_load(&p->buffer_bytes);
    while (used + bytes <= BUFFER_BUDGET) {
        if (atomic_compare_exchange_weak(&p->buffer_bytes, &used, used + bytes)) {
            return true;
        }
    }
    return false;
}

static bool reserve_or_trim(struct worker *w, size_t bytes)
{
    if (reserve(w->pool, bytes)) {
        return true;
    }
    buffers_trim(w, 0);
    return reserve(w->pool, bytes);
}

/* Takes bytes out of the budget; the fiber waits until they are there. */
static void reserve_or_wait(struct worker *w, size_t bytes)
{
    struct pool *p = w->pool;
    bool asked = false;
    while (!reserve_or_trim(w, bytes)) {
        /* Where all other items of this worker wait for memory too, somebody must go on, or nobody would. */
        if (!fiber_self() || w->buffers.waiting + 1 >= atomic_load(&w->active)) {
            atomic_fetch_add(&p->buffer_bytes, bytes);
            return;
        }
        w->buffers.waiting++;
        atomic_fetch_add(&p->buffers_wanted, 1);
        /* Others may have given memory back before they could see that it is wanted. */
        bool got = reserve(p, bytes);
        if (!got) {
            w->buffers.need = w->buffers.need < bytes ? w->buffers.need : bytes;
            if (!asked) {
                pool_wake_others(p, w); /* they may have free ones */
                asked = true;
            }
            io_wait(w->io, &w->buffers);
        }
        w->buffers.waiting--;
        atomic_fetch_sub(&p->buffers_wanted, 1);
        if (got) {
            return;
        }
    }
}

void *worker_buffer_get(struct worker *w, size_t size)
{
    if (size > BUFFER_MAX) {
        return NULL;
    }
    unsigned class = class_of(size);
    void *buffer = free_pop(&w->buffers, class);
    if (buffer) {
        return buffer;
    }
    size_t bytes = class_bytes(class);
    reserve_or_wait(w, bytes);
    buffer = aligned_alloc(BUFFER_MIN, bytes);
    if (!buffer) {
        atomic_fetch_sub(&w->pool->buffer_bytes, bytes);
    }
    return buffer;
}

void worker_buffer_put(struct worker *w, void *buffer, size_t size)
{
    if (!buffer) {
        return;
    }
    struct pool *p = w->pool;
    unsigned class = class_of(size);
    free_push(&w->buffers, class, buffer);
    if (atomic_load_explicit(&p->buffers_wanted, memory_order_relaxed) > 0 ||
        atomic_load_explicit(&p->buffer_bytes, memory_order_relaxed) > BUFFER_BUDGET) {
        buffers_attend(w);
    }
}

void worker_buffer_lost(struct worker *w, size_t size)
{
    atomic_fetch_sub(&w->pool->buffer_bytes, class_bytes(class_of(size)));
    if (atomic_load(&w->pool->buffers_wanted) > 0) {
        buffers_attend(w);
        pool_wake_others(w->pool, w);
    }
}

void buffers_attend(struct worker *w)
{
    struct pool *p = w->pool;
    if (w->buffers.cached > 0) {
        buffers_trim(w, 0);
        if (atomic_load(&p->buffers_wanted) > w->buffers.waiting) {
            pool_wake_others(p, w);
        }
    }
    if (w->buffers.waiting > 0 && atomic_load(&p->buffer_bytes) + w->buffers.need <= BUFFER_BUDGET) {
        buffers_notify(w);
    }
}

void buffers_notify(struct worker *w)
{
    w->buffers.need = BUFFER_MAX; /* those who wait again say anew what they need */
    io_notify(w->io, &w->buffers);
}
