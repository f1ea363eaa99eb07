/*
 * fiber: many small flows of control in one thread, so that the copy of one file reads as straight code while hundreds
 * of them wait for their operations.
 *
 * A fiber runs until it returns or calls fiber_park; somebody in the same thread resumes it. Fibers never move between
 * threads. Stacks are FIBER_STACK bytes with a guard page, and are used again. Built on ucontext; the sanitizers are
 * told of every switch.
 */
#ifndef HAUL_WORKERS_FIBER_H
#define HAUL_WORKERS_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#define FIBER_STACK (64U * 1024) /* bytes; big buffers belong on the heap. Larger under the sanitizers. */

struct fiber;
struct fibers; /* a thread's set of fibers */

/* For the calling thread. 0, or -ENOMEM. */
int fibers_create(struct fibers **out_set);
/* No fiber of the set may be alive; of abandoned ones nothing is freed. NULL is fine. Same thread. */
void fibers_destroy(struct fibers *set);

/* Starts fn(arg) at once, on a stack of its own; returns when it returned or parked. 0; -ENOMEM: fn was not called.
 * Called from the thread's own stack, not from a fiber. */
int fiber_start(struct fibers *set, void (*fn)(void *arg), void *arg);

/* The fiber that is running in this thread; NULL on the thread's own stack. */
struct fiber *fiber_self(void);

/* Leaves the running fiber until fiber_resume. Only from a fiber. */
void fiber_park(void);

/* Goes on with a parked fiber; returns when it returned or parked again. From the thread's own stack. */
void fiber_resume(struct fiber *f);

/* A pointer that the fiber's user keeps with it; NULL at first. Same thread. */
void fiber_set_own(struct fiber *f, void *own);
void *fiber_own(const struct fiber *f);

/* f, which is parked, will never run again, whoever resumes it: what it waits for may never come, and when it comes
 * nobody wants it. Its stack stays as it is for ever, for whatever still writes there. It is not alive any more. */
void fiber_abandon(struct fiber *f);

/* Fibers that have started and neither returned nor were abandoned. */
size_t fibers_alive(const struct fibers *set);

#endif
