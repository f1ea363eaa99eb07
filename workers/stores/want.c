/*
 * want: which owner and mode an entry gets, and what is said where it cannot have them (want.h).
 */
#include "workers/stores/want.h"

#include <errno.h>
#include <sys/stat.h>

#define SPECIAL (S_ISUID | S_ISGID | S_ISVTX)

static const char note_owner[] = "the destination refuses to set owners; files keep the owner it gives them";
static const char note_special[] = "setuid or setgid was left out where owner or group are not those of the source";
static const char note_mode[] = "the destination cannot hold permission bits as they are";

static bool group_is_ours(const struct owning *o, gid_t gid)
{
    for (unsigned i = 0; i < o->group_count; i++) {
        if (o->groups[i] == gid) {
            return true;
        }
    }
    return false;
}

void want_init(const struct owning *o, struct want *w, const struct attr *attr, unsigned keep,
               const struct xattrs *xattrs)
{
    bool all = o->owner == OWNER_REQUIRE || (o->privileged && !atomic_load_explicit(&o->refused, memory_order_relaxed));

    *w = (struct want){.attr = attr, .xattrs = xattrs, .keep = keep, .uid = (uid_t)-1, .gid = (gid_t)-1};
    if (o->owner == OWNER_IGNORE) {
        return;
    }
    if ((keep & STORE_KEEP_OWNER) && all) {
        w->uid = attr->uid;
    }
    if ((keep & STORE_KEEP_GROUP) && (all || (!o->privileged && group_is_ours(o, attr->gid)))) {
        w->gid = attr->gid;
    }
}

mode_t want_mode(const struct want *w, uid_t uid, gid_t gid)
{
    mode_t mode = w->attr->mode & 07777;

    if (!(w->keep & STORE_KEEP_MODE)) {
        return mode & 0755;
    }
    if (S_ISDIR(w->attr->mode)) {
        return mode;
    }
    if (uid != w->attr->uid) {
        mode &= ~(mode_t)S_ISUID;
    }
    if (gid != w->attr->gid) {
        mode &= ~(mode_t)S_ISGID;
    }
    return mode;
}

bool want_owner_wrong(const struct want *w, const struct attr *seen)
{
    return (w->uid != (uid_t)-1 && seen->uid != w->uid) || (w->gid != (gid_t)-1 && seen->gid != w->gid);
}

int want_refused(struct owning *o, struct want *w, bool for_all, bool made)
{
    if (o->owner == OWNER_REQUIRE) {
        return -EPERM;
    }
    if (made && for_all) {
        atomic_store(&o->refused, true);
    }
    w->refused = for_all;
    w->uid = (uid_t)-1;
    w->gid = (gid_t)-1;
    return 0;
}

void want_note(const struct owning *o, struct notices *notices, const struct want *w, const struct attr *seen)
{
    bool uid_lost = (w->keep & STORE_KEEP_OWNER) && seen->uid != w->attr->uid;
    bool gid_lost = (w->keep & STORE_KEEP_GROUP) && seen->gid != w->attr->gid;

    /* Who is not root cannot give files away anywhere: nothing to be said about this destination. */
    if (o->owner == OWNER_AUTO && o->privileged && (uid_lost || gid_lost)) {
        notice_raise(notices, note_owner);
    }
    if ((w->keep & STORE_KEEP_MODE) && !S_ISLNK(seen->mode)) {
        mode_t lost = w->attr->mode & ~seen->mode & 07777;

        if (lost & (S_ISUID | S_ISGID)) {
            notice_raise(notices, note_special);
        }
        if (lost & (0777 | S_ISVTX)) {
            notice_raise(notices, note_mode);
        }
    }
}

bool want_mode_will_do(mode_t mode, mode_t seen)
{
    /* The kernel or server takes setuid and setgid away where it does not trust us with them, and says nothing. */
    return (mode & 0777) == (seen & 0777) && (seen & SPECIAL & ~mode) == 0;
}
