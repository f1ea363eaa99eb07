/*
 * supervisor: the small process that owes the exit status. It holds the lock, takes the signals and keeps the deadline;
 * its child, the engine, does everything else. It opens nothing at source or destination, so that it cannot hang there.
 */
#ifndef HAUL_COPIER_SUPERVISOR_H
#define HAUL_COPIER_SUPERVISOR_H

#include <stdint.h>

/* The engine's work: sends its exit status (CHANNEL_RESULT) once it has reported everything, cleans up, and returns it;
 * channel is its end of the channel. */
typedef int (*supervisor_engine)(void *arg, int channel);

/*
 * Forks, runs engine(arg, channel) in the child, and waits for it. Returns the exit status: the engine's result, where
 * it sent one.
 *
 * SIGINT, SIGTERM and SIGHUP: the engine is told to stop; if it has not ended 4 s later it is killed, and the exit
 * status is 20. A further signal 500 ms or more after the first kills it at once; one that comes sooner belongs to the
 * first (timeout(1) signals the process, then its group). Signals that were ignored when haul was started stay ignored.
 *
 * At until_ns (monotonic; 0: never) the same happens as at the first signal, and the exit status is 30.
 *
 * An engine that ends by itself without a result (a crash, the OOM killer): the exit status is 11, or 20 where a signal
 * had asked haul to stop. The engine dies with the supervisor.
 *
 * Sets SIGPIPE to ignored and SIGCHLD to its default. Call from the main thread of a process that has no others.
 */
int supervisor_run(supervisor_engine engine, void *arg, int64_t until_ns);

#endif
