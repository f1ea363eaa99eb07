/*
 * pool_offer: work besides the queue, and when a pool has ended: once all workers rest, nothing is offered and nobody
 * holds it. A worker rests rather than ends, since an item that is still in flight elsewhere may offer it a part.
 */
#include "workers/pool_internal.h"

/* Whoever takes something away that an end waits for calls it. Under lock: once the workers have seen the end, the pool
 * may be gone. */
static void pool_end_if_done(struct pool *p)
{
    if (p->resting == p->count && p->held == 0 && !p->offers) {
        p->ended = true;
        pool_wake_locked(p, NULL);
    }
}

void pool_offer(struct pool *p, struct pool_offer *offer)
{
    offer->next = NULL;
    pthread_mutex_lock(&p->lock);
    *p->offers_end = offer;
    p->offers_end = &offer->next;
    atomic_fetch_add(&p->offered, 1);
    pthread_mutex_unlock(&p->lock);
    if (!pool_wake_hungry(p)) {
        pool_wake_others(p, NULL); /* one of them may take one more than it should have */
    }
}

bool pool_withdraw(struct pool *p, struct pool_offer *offer)
{
    pthread_mutex_lock(&p->lock);
    struct pool_offer **at = &p->offers;
    while (*at && *at != offer) {
        at = &(*at)->next;
    }
    bool found = *at;
    if (found) {
        *at = offer->next;
        p->offers_end = *at ? p->offers_end : at;
        atomic_fetch_sub(&p->offered, 1);
    }
    pool_end_if_done(p);
    pthread_mutex_unlock(&p->lock);
    return found;
}

struct pool_offer *pool_offer_take(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    struct pool_offer *offer = p->offers;
    if (offer) {
        p->offers = offer->next;
        p->offers_end = p->offers ? p->offers_end : &p->offers;
        atomic_fetch_sub(&p->offered, 1);
    }
    pthread_mutex_unlock(&p->lock);
    return offer;
}

void pool_offer_return(struct pool *p, struct pool_offer *offer)
{
    pthread_mutex_lock(&p->lock);
    offer->next = p->offers;
    p->offers = offer;
    p->offers_end = offer->next ? p->offers_end : &offer->next;
    atomic_fetch_add(&p->offered, 1);
    pthread_mutex_unlock(&p->lock);
}

void pool_hold(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->held++;
    pthread_mutex_unlock(&p->lock);
}

void pool_release(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->held--;
    pool_end_if_done(p);
    pthread_mutex_unlock(&p->lock);
}

bool pool_rest_begin(struct worker *w)
{
    struct pool *p = w->pool;
    pthread_mutex_lock(&p->lock);
    bool rests = !p->offers;
    if (rests) {
        w->resting = true;
        p->resting++;
    }
    pool_end_if_done(p);
    pthread_mutex_unlock(&p->lock);
    if (rests) {
        /* Its part of the limit is the others' now. */
        atomic_fetch_sub(&p->alive, 1);
        atomic_fetch_add(&p->epoch, 1);
        pool_wake_others(p, w);
    }
    return rests;
}

bool pool_rest_on(struct worker *w, bool *out_ended)
{
    struct pool *p = w->pool;
    pthread_mutex_lock(&p->lock);
    bool ended = p->ended;
    bool on = !ended && !p->offers;
    if (!on && !ended) {
        w->resting = false;
        p->resting--;
    }
    pthread_mutex_unlock(&p->lock);
    if (!on && !ended) {
        atomic_fetch_add(&p->alive, 1);
        atomic_fetch_add(&p->epoch, 1);
    }
    *out_ended = ended;
    return on;
}
