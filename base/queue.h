/*
 * queue: a bounded queue of pointers between threads (mutex and condition variables).
 *
 * The queue never owns what its pointers point to: an item belongs to its producer until queue_push has returned 0,
 * and to the consumer that popped it afterwards. What is left when a queue is destroyed must have been popped before.
 */
#ifndef HAUL_BASE_QUEUE_H
#define HAUL_BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue;

/* A queue for at most capacity (>= 1) items. 0, or -ENOMEM. */
int queue_create(size_t capacity, struct queue **out_queue);

/* NULL is fine. The queue must be empty and no thread may be inside one of its functions. */
void queue_destroy(struct queue *q);

/* Appends item; blocks while the queue is full. 0; -EPIPE after queue_close (the item stays the caller's). Any thread.
 */
int queue_push(struct queue *q, void *item);

/* Like queue_push, but -EAGAIN where it would block. */
int queue_try_push(struct queue *q, void *item);

/* Takes the oldest item, or NULL when the queue is closed and empty. Blocks until one of both. Any thread. */
void *queue_pop(struct queue *q);

/*
 * Like queue_pop, but waits at most timeout_ns (0: does not wait). out_closed is true where the queue is closed and
 * empty, so that no item will come any more.
 */
void *queue_pop_timed(struct queue *q, int64_t timeout_ns, bool *out_closed);

/* No more items: pushes fail with -EPIPE, pops drain what is there. May be called twice. Any thread. */
void queue_close(struct queue *q);

/* Number of items now, and number of threads that wait in a pop or elsewhere (an approximate figure for hungry
 * consumers). */
size_t queue_length(struct queue *q);
size_t queue_waiting(struct queue *q);

/* A consumer that has nothing to do and waits for queue_on_push elsewhere begins or ends to do so: queue_waiting counts
 * it. */
void queue_wait_elsewhere(struct queue *q, bool begin);

/*
 * fn(arg) is called, without the lock, after each push and after the close: lets a consumer that sleeps elsewhere (in
 * its ring) be woken. Set before the first push.
 */
void queue_on_push(struct queue *q, void (*fn)(void *arg), void *arg);

#endif
