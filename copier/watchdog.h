/*
 * watchdog: bounds each operation at source and destination (--io-timeout).
 *
 * A thread looks a few times a second at what is under way. An operation that has waited longer than the limit cannot
 * be taken back from the kernel, so either
 * - it is given up, while others at its side still get answers: its entry is reported as failed, its outcome unknown,
 *   and the run goes on without its fiber (pool.h); or
 * - its side is declared hung: everything under way there is reported, and the process leaves at once. So where nothing
 *   was answered there for the whole limit, where a thread waits that cannot be spared (a walker, a worker without
 *   io_uring and helpers), or where too many were given up.
 * Operations that end by themselves without an answer (no connection, nothing came from it) and are tried again are
 * judged together: where nothing else was answered at their side for the whole limit, it is hung too.
 *
 * The local temp dir is watched as a whole: where something that it was asked for has no answer, the process leaves.
 *
 * An interrupted run that has something under way without an answer leaves too, before the supervisor loses patience.
 *
 * A side that has answered nothing for half the limit is asked for its root's attributes, so that a single operation
 * without an answer can be told from a side without one. A server that is spoken to directly is asked too where nobody
 * else has asked it for a third of its lease, so that it does not forget us while all wait for something else.
 *
 * Time in which the process stood still (SIGSTOP, a suspended machine) does not count. A sync of the whole destination
 * may take as long as it likes: while only it gets no answer, nobody waits for it. COPY and COMMIT may have to move or
 * make durable much at once: a second more for each 4 MiB.
 */
#ifndef HAUL_COPIER_WATCHDOG_H
#define HAUL_COPIER_WATCHDOG_H

#include "copier/engine_internal.h"

struct watchdog;

/* Starts the thread. 0, -ENOMEM, -EAGAIN. */
int watchdog_create(struct engine *e, struct watchdog **out_watchdog);
/* From now on it looks at the stores: everything in e is made. */
void watchdog_arm(struct watchdog *w);
/* The main thread begins something by itself that may hang ("DST '/mnt'"; static or living until the next step); NULL:
 * it is done. */
void watchdog_step(struct watchdog *w, const char *what, const char *path);
/* Ends the thread. NULL is fine. */
void watchdog_destroy(struct watchdog *w);

/* pool_options.attend; arg: the engine. */
void watchdog_attend(void *arg, struct worker *w);

#endif
