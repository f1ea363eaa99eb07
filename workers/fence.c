/*
 * fence: see fence.h.
 */
#include "workers/fence.h"

#include <errno.h>

#include "base/clock.h"
#include "workers/io.h"

#define STEP_NS (10 * NS_PER_MS) /* between two looks at a fence that is shut */

void fence_init(struct fence *f)
{
    atomic_init(&f->safe_ns, INT64_MIN);
    atomic_init(&f->granted_ns, INT64_MIN);
    atomic_init(&f->doubted_ns, INT64_MIN);
    atomic_init(&f->lost, false);
    atomic_init(&f->own, NULL);
}

void fence_set_own(struct fence *f, struct io *own)
{
    atomic_store(&f->own, own);
}

/* To a later moment, never back. */
static void move_on(atomic_llong *moment, int64_t to)
{
    long long now = atomic_load(moment);

    while (now < to && !atomic_compare_exchange_weak(moment, &now, to)) {
    }
}

void fence_extend(struct fence *f, int64_t begun_ns, int64_t until_ns)
{
    move_on(&f->safe_ns, until_ns);
    move_on(&f->granted_ns, begun_ns);
}

void fence_doubt(struct fence *f)
{
    if (f) {
        move_on(&f->doubted_ns, clock_boot_ns());
    }
}

bool fence_doubted(const struct fence *f)
{
    long long doubted = atomic_load(&f->doubted_ns);

    return doubted != INT64_MIN && atomic_load(&f->granted_ns) <= doubted;
}

void fence_lose(struct fence *f)
{
    atomic_store(&f->lost, true);
}

enum fence_state fence_state(const struct fence *f, int64_t now_ns)
{
    if (atomic_load(&f->lost)) {
        return FENCE_LOST;
    }
    return now_ns < atomic_load(&f->safe_ns) && !fence_doubted(f) ? FENCE_OPEN : FENCE_SHUT;
}

int fence_pass(struct fence *f, struct io *io)
{
    if (!f || atomic_load_explicit(&f->own, memory_order_relaxed) == io) {
        return 0;
    }
    for (;;) {
        /* The clock first: it is the moment of the question that counts, not of an answer that came late. */
        int64_t now = clock_boot_ns();

        switch (fence_state(f, now)) {
        case FENCE_OPEN:
            return 0;
        case FENCE_LOST:
            return -EOWNERDEAD;
        case FENCE_SHUT:
            break;
        }
        if (io_sleep(io, STEP_NS)) {
            return -ECANCELED;
        }
    }
}
