/*
 * nfs_want: what is said where an entry at a server of NFS cannot have what it is to get (nfs_want.h).
 */
#include "workers/stores/nfs_want.h"

static const char lost_times[] = "the destination cannot hold times of some entries";
static const char lost_xattrs[] = "the destination cannot hold extended attributes of some entries";
static const char lost_acls[] = "the destination cannot hold the POSIX ACLs of some entries; they have mode bits only";

/* Whether a time is another one, and not only less fine. */
static bool time_lost(const struct timespec *want, const struct timespec *seen)
{
    int64_t early = want->tv_sec < seen->tv_sec ? want->tv_sec : seen->tv_sec;
    int64_t late = want->tv_sec < seen->tv_sec ? seen->tv_sec : want->tv_sec;

    return (uint64_t)late - (uint64_t)early > 1; /* the server's may be any */
}

/* Extended attributes cannot be held at all. */
static void note_xattrs(struct notices *notices, const struct xattrs *x)
{
    bool xattrs = false;
    bool acls = false;
    struct xattr one;

    for (size_t at = 0; x && xattrs_next(x, &at, &one);) {
        if (xattr_is_label(one.name)) {
            continue; /* the destination has its own */
        }
        *(xattr_kind(one.name) == XATTRS_ACL ? &acls : &xattrs) = true;
    }
    if (xattrs) {
        notice_raise(notices, lost_xattrs);
    }
    if (acls) {
        notice_raise(notices, lost_acls);
    }
}

void nfs_want_note(const struct owning *o, struct notices *notices, const struct want *w, const struct attr *seen)
{
    want_note(o, notices, w, seen);
    if ((w->keep & STORE_KEEP_TIMES) && time_lost(&w->attr->mtime, &seen->mtime)) {
        notice_raise(notices, lost_times); /* before 1970, after 2106; Ganesha: of symbolic links */
    }
    note_xattrs(notices, w->xattrs);
}
