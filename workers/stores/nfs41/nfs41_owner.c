/*
 * nfs41_owner: which owner and mode an entry gets, and what is said where it cannot have them.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/nfs41/nfs41_internal.h"

#define SPECIAL (S_ISUID | S_ISGID | S_ISVTX)

static const char note_owner[] = "the destination refuses to set owners; files keep the owner it gives them";
static const char note_special[] = "setuid or setgid was left out where owner or group are not those of the source";
static const char note_mode[] = "the destination cannot hold permission bits as they are";
static const char note_times[] = "the destination cannot hold times of some entries";
static const char note_xattrs[] = "the destination cannot hold extended attributes of some entries";
static const char note_acls[] = "the destination cannot hold the POSIX ACLs of some entries; they have mode bits only";

static bool group_is_ours(const struct nfs41_store *s, gid_t gid)
{
    for (unsigned i = 0; i < s->group_count; i++) {
        if (s->groups[i] == gid) {
            return true;
        }
    }
    return false;
}

void nfs41_want_init(const struct nfs41_store *s, struct nfs41_want *w, const struct attr *attr, unsigned keep)
{
    bool all =
        s->owner == OWNER_REQUIRE || (s->privileged && !atomic_load_explicit(&s->owner_refused, memory_order_relaxed));

    *w = (struct nfs41_want){.attr = attr, .keep = keep, .uid = (uid_t)-1, .gid = (gid_t)-1};
    if (s->owner == OWNER_IGNORE) {
        return;
    }
    if ((keep & STORE_KEEP_OWNER) && all) {
        w->uid = attr->uid;
    }
    if ((keep & STORE_KEEP_GROUP) && (all || (!s->privileged && group_is_ours(s, attr->gid)))) {
        w->gid = attr->gid;
    }
}

mode_t nfs41_want_mode(const struct nfs41_want *w, uid_t uid, gid_t gid)
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

bool nfs41_want_owner_wrong(const struct nfs41_want *w, const struct attr *seen)
{
    return (w->uid != (uid_t)-1 && seen->uid != w->uid) || (w->gid != (gid_t)-1 && seen->gid != w->gid);
}

bool nfs41_is_owner_refusal(uint32_t status)
{
    return status == NFS4ERR_PERM || status == NFS4ERR_ACCESS || status == NFS4ERR_BADOWNER ||
           status == NFS4ERR_INVAL || status == NFS4ERR_NOTSUPP || status == NFS4ERR_ATTRNOTSUPP;
}

int nfs41_want_refused(struct nfs41_store *s, struct nfs41_want *w, uint32_t status, bool made)
{
    /* An id that the server cannot have is that entry's trouble, not all others'; but one that takes no numbers
     * (BADOWNER) takes none. */
    bool for_all = status != NFS4ERR_INVAL;

    if (s->owner == OWNER_REQUIRE) {
        return -EPERM;
    }
    if (made && for_all) {
        atomic_store(&s->owner_refused, true);
        atomic_fetch_or(&s->steps, NFS41_STEP_OWNERS);
    }
    w->refused = for_all;
    w->uid = (uid_t)-1;
    w->gid = (gid_t)-1;
    return 0;
}

/* Whether a time is another one, and not only less fine. */
static bool time_lost(const struct timespec *want, const struct timespec *seen)
{
    int64_t early = want->tv_sec < seen->tv_sec ? want->tv_sec : seen->tv_sec;
    int64_t late = want->tv_sec < seen->tv_sec ? seen->tv_sec : want->tv_sec;

    return (uint64_t)late - (uint64_t)early > 1; /* the server's may be any */
}

void nfs41_want_note(struct nfs41_store *s, const struct nfs41_want *w, const struct attr *seen)
{
    bool uid_lost = (w->keep & STORE_KEEP_OWNER) && seen->uid != w->attr->uid;
    bool gid_lost = (w->keep & STORE_KEEP_GROUP) && seen->gid != w->attr->gid;

    /* Who is not root cannot give files away anywhere: nothing to be said about this destination. */
    if (s->owner == OWNER_AUTO && s->privileged && (uid_lost || gid_lost)) {
        notice_raise(s->notices, note_owner);
    }
    if ((w->keep & STORE_KEEP_TIMES) && time_lost(&w->attr->mtime, &seen->mtime)) {
        notice_raise(s->notices, note_times); /* Ganesha: of symbolic links */
    }
    if ((w->keep & STORE_KEEP_MODE) && !S_ISLNK(seen->mode)) {
        mode_t lost = w->attr->mode & ~seen->mode & 07777;

        if (lost & (S_ISUID | S_ISGID)) {
            notice_raise(s->notices, note_special);
        }
        if (lost & (0777 | S_ISVTX)) {
            notice_raise(s->notices, note_mode);
        }
    }
}

bool nfs41_mode_will_do(mode_t want, mode_t seen)
{
    /* The server takes setuid and setgid away where it does not trust us with them, and says nothing. */
    return (want & 0777) == (seen & 0777) && (seen & SPECIAL & ~want) == 0;
}

void nfs41_xattrs_note(struct nfs41_store *s, const struct xattrs *x)
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
        notice_raise(s->notices, note_xattrs);
    }
    if (acls) {
        notice_raise(s->notices, note_acls);
    }
}

/* ---- owners that are no numbers ---- */

#define NOBODY     65534U
#define NAMES_MAX  10000U /* kept; a server that makes up more is not remembered */
#define NSS_BUFFER 4096

struct nfs41_name {
    struct nfs41_name *next;
    uint32_t number;
    bool group;
    size_t len;  /* bytes of text */
    char text[]; /* as the server has it */
};

/* With the lock. */
static const struct nfs41_name *name_find(const struct nfs41_store *s, const struct nfs_owner_text *text, bool group)
{
    for (const struct nfs41_name *n = s->names; n; n = n->next) {
        if (n->group == group && n->len == text->len && memcmp(n->text, text->text, n->len) == 0) {
            return n;
        }
    }
    return NULL;
}

/* Asks this machine's name service for what stands before the domain. */
static uint32_t name_resolve(const struct nfs_owner_text *text, bool group)
{
    char name[NFS_OWNER_TEXT_MAX + 1];
    const char *at = memchr(text->text, '@', text->len);
    size_t len = at ? (size_t)(at - text->text) : text->len;
    char *buf = malloc(NSS_BUFFER);
    uint32_t number = NOBODY;
    struct passwd pw;
    struct passwd *user = NULL;
    struct group gr;
    struct group *found = NULL;

    if (!buf) {
        return NOBODY;
    }
    memcpy(name, text->text, len);
    name[len] = '\0';
    if (group) {
        if (getgrnam_r(name, &gr, buf, NSS_BUFFER, &found) == 0 && found) {
            number = found->gr_gid;
        }
    } else if (getpwnam_r(name, &pw, buf, NSS_BUFFER, &user) == 0 && user) {
        number = user->pw_uid;
    }
    free(buf);
    return number;
}

uint32_t nfs41_owner_number(struct nfs41_store *s, const struct nfs_owner_text *text, bool group)
{
    const struct nfs41_name *known;
    struct nfs41_name *made;
    uint32_t number = NOBODY;

    pthread_mutex_lock(&s->lock);
    known = name_find(s, text, group);
    number = known ? known->number : NOBODY;
    pthread_mutex_unlock(&s->lock);
    if (known) {
        return number;
    }
    number = name_resolve(text, group);
    made = malloc(sizeof(*made) + text->len);
    if (!made) {
        return number;
    }
    *made = (struct nfs41_name){.number = number, .group = group, .len = text->len};
    memcpy(made->text, text->text, text->len);
    pthread_mutex_lock(&s->lock);
    if (s->name_count < NAMES_MAX && !name_find(s, text, group)) {
        made->next = s->names;
        s->names = made;
        s->name_count++;
        made = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    free(made);
    return number;
}

void nfs41_names_free(struct nfs41_store *s)
{
    while (s->names) {
        struct nfs41_name *next = s->names->next;

        free(s->names);
        s->names = next;
    }
}
