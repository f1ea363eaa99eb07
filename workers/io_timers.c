/*
 * io_timers: requests that wait for a time, in order of it.
 */
#include "workers/io_internal.h"

void io_timers_insert(struct io_timers *t, struct io_req *req)
{
    struct io_req *before = t->first ? t->last : NULL;
    if (before && req->deadline_ns < t->first->deadline_ns) {
        before = NULL; /* one that is far shorter than the others */
    }
    while (before && before->deadline_ns > req->deadline_ns) {
        before = before->sooner;
    }
    req->sooner = before;
    req->later = before ? before->later : t->first;
    if (req->later) {
        req->later->sooner = req;
    } else {
        t->last = req;
    }
    if (before) {
        before->later = req;
    } else {
        t->first = req;
    }
}

void io_timers_remove(struct io_timers *t, struct io_req *req)
{
    if (req->sooner) {
        req->sooner->later = req->later;
    } else {
        t->first = req->later;
    }
    if (req->later) {
        req->later->sooner = req->sooner;
    } else {
        t->last = req->sooner;
    }
    req->sooner = NULL;
    req->later = NULL;
}
