#include "planner/stack.h"

#include <errno.h>
#include <stdlib.h>

int stack_init(struct stack *s)
{
    *s = (struct stack){0};
    s->tasks = calloc(STACK_MAX, sizeof(*s->tasks));
    if (s->tasks == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    return 0;
}

void stack_release(struct stack *s)
{
    if (s->tasks == NULL) {
        return;
    }
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s->tasks);
    s->tasks = NULL;
}

bool stack_push(struct stack *s, const struct task *task)
{
    bool pushed = false;

    pthread_mutex_lock(&s->lock);
    if (!s->stopped && s->count < STACK_MAX) {
        s->tasks[s->count++] = *task;
        pushed = true;
        if (s->waiting > 0) {
            pthread_cond_signal(&s->wake);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return pushed;
}

bool stack_pop(struct stack *s, bool wait, struct task *out_task)
{
    bool popped = false;

    pthread_mutex_lock(&s->lock);
    while (wait && !s->stopped && s->count == 0 && s->active > 0) {
        s->waiting++;
        pthread_cond_wait(&s->wake, &s->lock);
        s->waiting--;
    }
    if (!s->stopped && s->count > 0) {
        *out_task = s->tasks[--s->count];
        s->active++;
        popped = true;
    }
    pthread_mutex_unlock(&s->lock);
    return popped;
}

void stack_begin(struct stack *s)
{
    pthread_mutex_lock(&s->lock);
    s->active++;
    pthread_mutex_unlock(&s->lock);
}

void stack_done(struct stack *s)
{
    pthread_mutex_lock(&s->lock);
    s->active--;
    if (s->active == 0 && s->count == 0) {
        pthread_cond_broadcast(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
}

void stack_stop(struct stack *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

bool stack_drain(struct stack *s, struct task *out_task)
{
    bool drained = false;

    pthread_mutex_lock(&s->lock);
    if (s->count > 0) {
        *out_task = s->tasks[--s->count];
        drained = true;
    }
    pthread_mutex_unlock(&s->lock);
    return drained;
}
