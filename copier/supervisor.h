/*
 * supervisor: the small process that owes the exit status. It holds the lock, takes the signals and keeps the deadline;
 * its child, the engine, does everything else. It opens nothing at source or destination, so that it cannot hang there.
 */
#ifndef HAUL_COPIER_SUPERVISOR_H
#define HAUL_COPIER_SUPERVISOR_H

/* The engine's work: sends its exit status (CHANNEL_RESULT) once it has reported everything, cleans up, and returns it;
 * channel is its end of the channel. */
typedef int (*supervisor_engine)(void *arg, int channel);

/*
 * Forks, runs engine(arg, channel) in the child, and waits for it. SIGINT, SIGTERM and SIGHUP: the engine is told to
 * stop; after STOP_NS it is killed; the exit status is 20 then. A second signal kills it at once. The engine dies with
 * the supervisor. Returns the exit status. Call from the main thread of a process that has no others.
 */
int supervisor_run(supervisor_engine engine, void *arg);

#endif
