/*
 * fence: keeps a run whose lease may have passed to another from changing what is the other's now.
 *
 * A run owns its destination for as long as it renews its lease. The one who renews extends the fence to the moment
 * until which nobody else can have taken the lease over, and a store asks the fence right before each rename to a final
 * name and each removal: a clock read in the usual case. A process that was stopped, and goes on later, finds that the
 * time has run out, and waits until the lease has been looked at.
 *
 * A server that has dropped our session may have done so for a successor: whoever learns of that doubts the fence,
 * which is shut until a renewal that began later has extended it.
 *
 * What is between the question and the server cannot be taken back: whoever takes a lease over leaves time for that.
 */
#ifndef HAUL_WORKERS_FENCE_H
#define HAUL_WORKERS_FENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct io;

struct fence {
    atomic_llong safe_ns;    /* CLOCK_BOOTTIME: until then nobody else owns the destination */
    atomic_llong granted_ns; /* CLOCK_BOOTTIME: when the renewal began that said so; INT64_MIN: none */
    atomic_llong doubted_ns; /* CLOCK_BOOTTIME: renewals that began until then count no more; INT64_MIN: none */
    atomic_bool lost;        /* somebody else does; for ever */
    _Atomic(struct io *)
        own; /* what comes through this io passes: the lease's own operations. NULL: none; compared only */
};

enum fence_state {
    FENCE_OPEN, /* go on */
    FENCE_SHUT, /* the time has run out; who owns the destination is being found out */
    FENCE_LOST, /* somebody else owns it */
};

/* Shut, in the caller's storage. */
void fence_init(struct fence *f);

/* Who renews: the io of its operations. Any thread; before the first operation. */
void fence_set_own(struct fence *f, struct io *own);

/* A renewal that began at begun_ns says: open until until_ns, both of CLOCK_BOOTTIME; never brought back to an earlier
 * moment. Any thread. */
void fence_extend(struct fence *f, int64_t begun_ns, int64_t until_ns);

/* Shut, until it is extended by a renewal that begins from now on. f may be NULL. Any thread; does not block. */
void fence_doubt(struct fence *f);

/* Whether it is shut by that. Any thread; does not block. */
bool fence_doubted(const struct fence *f);

/* For ever lost. Any thread. */
void fence_lose(struct fence *f);

/* How it stands at that moment of CLOCK_BOOTTIME. Any thread; does not block. */
enum fence_state fence_state(const struct fence *f, int64_t now_ns);

/*
 * To be called right before what must not be done by a run that has lost its lease. 0; -EOWNERDEAD where it has;
 * -ECANCELED where the run is being stopped while it is not known. Waits as io_sleep does while the fence is shut. f
 * NULL: always 0.
 */
int fence_pass(struct fence *f, struct io *io);

#endif
