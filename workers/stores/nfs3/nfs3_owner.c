/*
 * nfs3_owner: how a server of NFSv3 refuses owners, and which times it can hold; all else is in want.c.
 */
#include "base/clock.h"
#include "workers/stores/nfs3/nfs3_internal.h"

bool nfs3_is_owner_refusal(int status)
{
    return status == V3_PERM || status == V3_ACCES || status == V3_INVAL || status == V3_NOTSUPP;
}

int nfs3_want_refused(struct nfs3_store *s, struct want *w, int status, bool made)
{
    /* An id that the server cannot have is that entry's trouble, not all others'. */
    return want_refused(&s->owning, w, status != V3_INVAL, made);
}

bool nfs3_time_same(const struct timespec *want, const struct timespec *seen)
{
    if (want->tv_sec < 0 || want->tv_sec > (time_t)UINT32_MAX) {
        return seen->tv_sec == (want->tv_sec < 0 ? 0 : (time_t)UINT32_MAX) && seen->tv_nsec == 0;
    }
    return clock_cmp(want, seen) == 0;
}
