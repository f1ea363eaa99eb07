/*
 * queue: a ring of pointers under one mutex (queue.h).
 */
#include "base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

struct queue {
    pthread_mutex_t lock;     /* guards all below but wake and wake_arg */
    pthread_cond_t not_empty; /* CLOCK_MONOTONIC; signalled for each push, broadcast by close */
    pthread_cond_t not_full;  /* signalled for each pop, broadcast by close */
    size_t capacity;          /* slots in items; constant */
    size_t head;              /* index of the oldest item */
    size_t length;            /* items in the queue */
    size_t popping;           /* threads that wait in a pop */
    size_t elsewhere;         /* threads that wait elsewhere, as they say */
    size_t pushing;           /* threads that wait in a push */
    bool closed;              /* no more pushes */
    void (*wake)(void *arg);  /* queue_on_push; set before the first push, constant afterwards */
    void *wake_arg;           /* its argument, not owned */
    void *items[];            /* ring of capacity slots */
};

int queue_create(size_t capacity, struct queue **out_queue)
{
    if (capacity == 0 || capacity > (SIZE_MAX - sizeof(struct queue)) / sizeof(void *)) {
        return -ENOMEM;
    }
    struct queue *q = calloc(1, sizeof(*q) + capacity * sizeof(q->items[0]));
    if (q == NULL) {
        return -ENOMEM;
    }
    q->capacity = capacity;

    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0) {
        goto fail;
    }
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    int err = pthread_cond_init(&q->not_empty, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (err != 0) {
        goto fail;
    }
    if (pthread_cond_init(&q->not_full, NULL) != 0) {
        (void)pthread_cond_destroy(&q->not_empty);
        goto fail;
    }
    if (pthread_mutex_init(&q->lock, NULL) != 0) {
        (void)pthread_cond_destroy(&q->not_full);
        (void)pthread_cond_destroy(&q->not_empty);
        goto fail;
    }
    *out_queue = q;
    return 0;

fail:
    free(q);
    return -ENOMEM;
}

void queue_destroy(struct queue *q)
{
    if (q == NULL) {
        return;
    }
    (void)pthread_mutex_destroy(&q->lock);
    (void)pthread_cond_destroy(&q->not_full);
    (void)pthread_cond_destroy(&q->not_empty);
    free(q);
}

static int push(struct queue *q, void *item, bool wait)
{
    (void)pthread_mutex_lock(&q->lock);
    while (!q->closed && q->length == q->capacity) {
        if (!wait) {
            (void)pthread_mutex_unlock(&q->lock);
            return -EAGAIN;
        }
        q->pushing++;
        (void)pthread_cond_wait(&q->not_full, &q->lock);
        q->pushing--;
    }
    if (q->closed) {
        (void)pthread_mutex_unlock(&q->lock);
        return -EPIPE;
    }
    q->items[(q->head + q->length) % q->capacity] = item;
    q->length++;
    if (q->popping > 0) {
        (void)pthread_cond_signal(&q->not_empty);
    }
    (void)pthread_mutex_unlock(&q->lock);
    if (q->wake != NULL) {
        q->wake(q->wake_arg);
    }
    return 0;
}

int queue_push(struct queue *q, void *item)
{
    return push(q, item, true);
}

int queue_try_push(struct queue *q, void *item)
{
    return push(q, item, false);
}

/* The oldest item or NULL. The lock is held. */
static void *take(struct queue *q)
{
    if (q->length == 0) {
        return NULL;
    }
    void *item = q->items[q->head];
    q->items[q->head] = NULL;
    q->head = (q->head + 1) % q->capacity;
    q->length--;
    if (q->pushing > 0) {
        (void)pthread_cond_signal(&q->not_full);
    }
    return item;
}

void *queue_pop(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    while (!q->closed && q->length == 0) {
        q->popping++;
        (void)pthread_cond_wait(&q->not_empty, &q->lock);
        q->popping--;
    }
    void *item = take(q);
    (void)pthread_mutex_unlock(&q->lock);
    return item;
}

void *queue_pop_timed(struct queue *q, int64_t timeout_ns, bool *out_closed)
{
    (void)pthread_mutex_lock(&q->lock);
    if (q->length == 0 && !q->closed && timeout_ns > 0) {
        int64_t end = 0;
        if (__builtin_add_overflow(clock_mono_ns(), timeout_ns, &end)) {
            end = INT64_MAX;
        }
        const struct timespec until = {.tv_sec = end / NS_PER_SEC, .tv_nsec = end % NS_PER_SEC};
        int err = 0;
        while (!q->closed && q->length == 0 && err == 0) {
            q->popping++;
            err = pthread_cond_timedwait(&q->not_empty, &q->lock, &until);
            q->popping--;
        }
    }
    const bool closed = q->closed && q->length == 0;
    void *item = take(q);
    (void)pthread_mutex_unlock(&q->lock);
    *out_closed = closed;
    return item;
}

void queue_close(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->closed = true;
    (void)pthread_cond_broadcast(&q->not_empty);
    (void)pthread_cond_broadcast(&q->not_full);
    (void)pthread_mutex_unlock(&q->lock);
    if (q->wake != NULL) {
        q->wake(q->wake_arg);
    }
}

size_t queue_length(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    const size_t n = q->length;
    (void)pthread_mutex_unlock(&q->lock);
    return n;
}

size_t queue_waiting(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    const size_t n = q->popping + q->elsewhere;
    (void)pthread_mutex_unlock(&q->lock);
    return n;
}

void queue_wait_elsewhere(struct queue *q, bool begin)
{
    (void)pthread_mutex_lock(&q->lock);
    q->elsewhere += begin ? 1 : (size_t)-1;
    (void)pthread_mutex_unlock(&q->lock);
}

void queue_on_push(struct queue *q, void (*fn)(void *arg), void *arg)
{
    q->wake_arg = arg;
    q->wake = fn;
}
