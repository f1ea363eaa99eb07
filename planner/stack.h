/*
 * stack: pending work of the walk, shared by the walkers. Last in, first out, so that little is pending at a time.
 *
 * The walk is over when nothing is pending and nobody who could make more is active.
 */
#ifndef HAUL_PLANNER_STACK_H
#define HAUL_PLANNER_STACK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/dir.h"

#define STACK_MAX 4096 /* tasks pending at most; beyond that a walker carries out its own at once */

struct task {
    struct dir *dir;  /* alive through one pending part of its plan, which the task owns */
    char *names;      /* NULL: list the directory; else only these, each with its NUL; owned */
    size_t names_len; /* bytes, all NULs included */
};

struct stack {
    pthread_mutex_t lock; /* for all fields */
    pthread_cond_t wake;  /* a task came, or it is over */
    struct task *tasks;   /* room for STACK_MAX; owned */
    size_t count;         /* pending */
    unsigned active;      /* who took a task and has not said stack_done, and others who make tasks */
    unsigned waiting;     /* threads in stack_pop */
    bool stopped;         /* no more tasks are given out */
};

int stack_init(struct stack *s); /* 0, -ENOMEM */

/* The stack must be empty. After a failed stack_init of zeroed storage: nothing. */
void stack_release(struct stack *s);

/* Adds a task, which the stack owns from then on. False: it is full or stopped, the task is the caller's. */
bool stack_push(struct stack *s, const struct task *task);

/* Takes the newest task; the caller is active then, until stack_done. wait: blocks while there is none but somebody is
 * active. False: there is none (wait: nor will there be). */
bool stack_pop(struct stack *s, bool wait, struct task *out_task);

/* One more, or one less, who may make tasks. */
void stack_begin(struct stack *s);
void stack_done(struct stack *s);

/* No task is given out any more, waiting threads return. What is left is taken by stack_drain. */
void stack_stop(struct stack *s);
bool stack_drain(struct stack *s, struct task *out_task);

#endif
