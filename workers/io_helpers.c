/*
 * io_helpers: threads that make calls which would block, for fibers that wait for them.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "workers/io_internal.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HELPER_STACK ((size_t)1024 * 1024)
#else
#define HELPER_STACK ((size_t)256 * 1024)
#endif

struct helper {
    pthread_t thread;    /* joined by helpers_destroy */
    struct helper *next; /* in helpers.all */
};

struct helpers {
    pthread_mutex_t lock;    /* guards all that follows, unless it says else */
    pthread_cond_t work;     /* todo has gained one, or ending */
    struct io_list todo;     /* not begun */
    struct io_list done;     /* finished and not fetched */
    unsigned waiting;        /* requests in todo */
    unsigned idle;           /* threads that wait for work */
    bool ending;             /* threads leave */
    unsigned count;          /* threads; owner thread only */
    unsigned max;            /* threads at most; owner thread only */
    struct helper *all;      /* owned; owner thread only */
    void (*wake)(void *arg); /* constant */
    void *wake_arg;          /* constant */
};

int helpers_create(unsigned max, void (*wake)(void *arg), void *arg, struct helpers **out_helpers)
{
    struct helpers *h = calloc(1, sizeof(*h));
    if (!h) {
        return -ENOMEM;
    }
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->work, NULL);
    h->max = max;
    h->wake = wake;
    h->wake_arg = arg;
    *out_helpers = h;
    return 0;
}

void helpers_destroy(struct helpers *h)
{
    if (!h) {
        return;
    }
    pthread_mutex_lock(&h->lock);
    h->ending = true;
    pthread_cond_broadcast(&h->work);
    pthread_mutex_unlock(&h->lock);
    while (h->all) {
        struct helper *helper = h->all;
        h->all = helper->next;
        pthread_join(helper->thread, NULL);
        free(helper);
    }
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

void helpers_width(struct helpers *h, unsigned max)
{
    h->max = max;
}

static void *helper_main(void *arg)
{
    struct helpers *h = arg;
    pthread_mutex_lock(&h->lock);
    while (!h->ending) {
        struct io_req *req = io_list_pop(&h->todo);
        if (!req) {
            h->idle++;
            pthread_cond_wait(&h->work, &h->lock);
            h->idle--;
            continue;
        }
        h->waiting--;
        pthread_mutex_unlock(&h->lock);
        req->result = io_call(req);
        pthread_mutex_lock(&h->lock);
        bool first = !h->done.head;
        io_list_push(&h->done, req);
        if (first) {
            /* Under the lock, so that the owner cannot fetch the result, end and free the io in between. */
            h->wake(h->wake_arg);
        }
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* One more thread, with all signals blocked: they are for the program's own threads. */
static int helper_start(struct helpers *h)
{
    struct helper *helper = calloc(1, sizeof(*helper));
    if (!helper) {
        return -ENOMEM;
    }
    pthread_attr_t attr;
    int e = pthread_attr_init(&attr);
    if (e != 0) {
        free(helper);
        return -e;
    }
    pthread_attr_setstacksize(&attr, HELPER_STACK);
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    e = pthread_create(&helper->thread, &attr, helper_main, h);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (e != 0) {
        free(helper);
        return -e;
    }
    helper->next = h->all;
    h->all = helper;
    h->count++;
    return 0;
}

int helpers_take(struct helpers *h, struct io_req *req)
{
    pthread_mutex_lock(&h->lock);
    bool more = h->waiting >= h->idle;
    pthread_mutex_unlock(&h->lock);
    if (more && (h->count < h->max || h->count == 0) && helper_start(h) < 0 && h->count == 0) {
        return -EAGAIN;
    }
    pthread_mutex_lock(&h->lock);
    io_list_push(&h->todo, req);
    h->waiting++;
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
    return 0;
}

void helpers_done(struct helpers *h, struct io_list *done)
{
    pthread_mutex_lock(&h->lock);
    for (struct io_req *req = io_list_pop(&h->done); req; req = io_list_pop(&h->done)) {
        io_list_push(done, req);
    }
    pthread_mutex_unlock(&h->lock);
}
