/*
 * fiber: stacks of their own in one thread.
 *
 * A stack is entered once with makecontext and setcontext. From then on switches are _setjmp and _longjmp, which leave
 * the signal mask alone and so need no system call. A stack whose function has returned waits for the next function.
 * Under the sanitizers, which follow swapcontext but not jumps between stacks, switches are swapcontext.
 */
#ifdef _FORTIFY_SOURCE
#undef _FORTIFY_SOURCE /* its longjmp refuses to leave the stack that it is called on */
#endif

#include <errno.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "workers/fiber.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FIBER_SANITIZED  1
#define FIBER_STACK_SIZE (4 * (size_t)FIBER_STACK)
#else
#define FIBER_SANITIZED  0
#define FIBER_STACK_SIZE ((size_t)FIBER_STACK)
#endif

/* One flow of control: a fiber's, or that of the thread itself. */
struct flow {
#if FIBER_SANITIZED
    ucontext_t context; /* where it goes on */
#else
    jmp_buf jump; /* where it goes on */
#endif
    const void *stack; /* lowest address, for the sanitizers */
    size_t stack_size; /* bytes */
    void *tsan;        /* the thread sanitizer's own */
    void *fake;        /* the address sanitizer's own */
};

struct fiber {
    struct flow flow;        /* where it goes on */
    struct fibers *set;      /* not owned */
    void (*fn)(void *arg);   /* what it runs; NULL: end for good */
    void *arg;               /* for fn */
    void *map;               /* guard page and stack, owned */
    size_t map_size;         /* bytes */
    void *own;               /* the user's */
    bool done;               /* fn has returned */
    bool abandoned;          /* never runs again */
    struct fiber *next_idle; /* in the set's list */
};

struct fibers {
    struct flow thread; /* the thread's own flow while a fiber runs */
    struct fiber *idle; /* stacks without a function, owned */
    size_t alive;       /* fibers started and neither returned nor abandoned */
};

static _Thread_local struct fiber *running; /* NULL: the thread's own stack */

struct fiber *fiber_self(void)
{
    return running;
}

/* Leaves from, goes on in to. gone: from is never gone back to. */
static __attribute__((noinline)) void flow_switch(struct flow *from, struct flow *to, bool gone)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(gone ? NULL : &from->fake, to->stack, to->stack_size);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    (void)gone;
#if FIBER_SANITIZED
    swapcontext(&from->context, &to->context);
#else
    if (_setjmp(from->jump) == 0) {
        _longjmp(to->jump, 1);
    }
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
#endif
}

static void fiber_main(void)
{
    struct fiber *f = running;
#if defined(__SANITIZE_ADDRESS__)
    /* Tells where the thread's own stack lies, which cannot be asked for otherwise. */
    __sanitizer_finish_switch_fiber(NULL, &f->set->thread.stack, &f->set->thread.stack_size);
#endif
    while (f->fn) {
        f->fn(f->arg);
        f->done = true;
        flow_switch(&f->flow, &f->set->thread, false);
    }
    flow_switch(&f->flow, &f->set->thread, true);
}

/* Runs f until it parks or its function returns. first: its stack has not been entered yet. */
static __attribute__((noinline)) void fiber_enter(struct fiber *f, ucontext_t *first)
{
    struct flow *thread = &f->set->thread;
    running = f;
    if (!first) {
        flow_switch(thread, &f->flow, false);
        running = NULL;
        return;
    }
#if FIBER_SANITIZED
    f->flow.context = *first;
    flow_switch(thread, &f->flow, false);
#else
    if (_setjmp(thread->jump) == 0) {
        setcontext(first);
    }
#endif
    running = NULL;
}

static void fiber_free(struct fiber *f)
{
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(f->flow.tsan);
#endif
    munmap(f->map, f->map_size);
    free(f);
}

static void fiber_nothing(void *arg)
{
    (void)arg;
}

/* Enters the new stack of f for the first time. */
static __attribute__((noinline)) void fiber_enter_first(struct fiber *f)
{
    ucontext_t first;
    getcontext(&first);
    first.uc_stack.ss_sp = (char *)f->map + (f->map_size - f->flow.stack_size);
    first.uc_stack.ss_size = f->flow.stack_size;
    first.uc_link = NULL;
    makecontext(&first, fiber_main, 0);
    fiber_enter(f, &first);
}

/* A new stack, entered already and idle. NULL where memory is short. */
static struct fiber *fiber_new(struct fibers *set)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    struct fiber *f = calloc(1, sizeof(*f));
    if (!f) {
        return NULL;
    }
    f->set = set;
    f->map_size = guard + FIBER_STACK_SIZE;
    f->map = mmap(NULL, f->map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (f->map == MAP_FAILED) {
        goto fail;
    }
    char *stack = (char *)f->map + guard;
    if (mprotect(stack, FIBER_STACK_SIZE, PROT_READ | PROT_WRITE) != 0) {
        munmap(f->map, f->map_size);
        goto fail;
    }
    f->flow.stack = stack;
    f->flow.stack_size = FIBER_STACK_SIZE;
#if defined(__SANITIZE_THREAD__)
    f->flow.tsan = __tsan_create_fiber(0);
#endif
    f->fn = fiber_nothing;
    fiber_enter_first(f);
    return f;

fail:
    free(f);
    return NULL;
}

int fibers_create(struct fibers **out_set)
{
    struct fibers *set = calloc(1, sizeof(*set));
    if (!set) {
        return -ENOMEM;
    }
#if defined(__SANITIZE_THREAD__)
    set->thread.tsan = __tsan_get_current_fiber();
#endif
    /* With one stack at hand, fiber_start cannot fail while no fiber is alive. */
    set->idle = fiber_new(set);
    if (!set->idle) {
        free(set);
        return -ENOMEM;
    }
    *out_set = set;
    return 0;
}

void fibers_destroy(struct fibers *set)
{
    if (!set) {
        return;
    }
    while (set->idle) {
        struct fiber *f = set->idle;
        set->idle = f->next_idle;
        f->fn = NULL;
        fiber_enter(f, NULL);
        fiber_free(f);
    }
    free(set);
}

/* After f has come back to the thread's stack. */
static void fiber_settle(struct fiber *f)
{
    if (f->done) {
        struct fibers *set = f->set;
        set->alive--;
        f->next_idle = set->idle;
        set->idle = f;
    }
}

int fiber_start(struct fibers *set, void (*fn)(void *arg), void *arg)
{
    struct fiber *f = set->idle;
    if (f) {
        set->idle = f->next_idle;
    } else {
        f = fiber_new(set);
        if (!f) {
            return -ENOMEM;
        }
    }
    set->alive++;
    f->next_idle = NULL;
    f->fn = fn;
    f->arg = arg;
    f->own = NULL;
    f->done = false;
    fiber_enter(f, NULL);
    fiber_settle(f);
    return 0;
}

void fiber_park(void)
{
    struct fiber *f = running;
    flow_switch(&f->flow, &f->set->thread, false);
}

void fiber_resume(struct fiber *f)
{
    if (!f->abandoned) {
        fiber_enter(f, NULL);
        fiber_settle(f);
    }
}

void fiber_set_own(struct fiber *f, void *own)
{
    f->own = own;
}

void *fiber_own(const struct fiber *f)
{
    return f->own;
}

void fiber_abandon(struct fiber *f)
{
    f->abandoned = true;
    f->set->alive--;
}

size_t fibers_alive(const struct fibers *set)
{
    return set->alive;
}
