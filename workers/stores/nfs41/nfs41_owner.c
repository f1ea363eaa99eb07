/*
 * nfs41_owner: how a server of NFSv4.1 refuses owners, and those that it calls by name; all else is in want.c.
 */
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "workers/stores/nfs41/nfs41_internal.h"

bool nfs41_is_owner_refusal(uint32_t status)
{
    return status == NFS4ERR_PERM || status == NFS4ERR_ACCESS || status == NFS4ERR_BADOWNER ||
           status == NFS4ERR_INVAL || status == NFS4ERR_NOTSUPP || status == NFS4ERR_ATTRNOTSUPP;
}

int nfs41_want_refused(struct nfs41_store *s, struct want *w, uint32_t status, bool made)
{
    /* An id that the server cannot have is that entry's trouble, not all others'; but one that takes no numbers
     * (BADOWNER) takes none. */
    bool for_all = status != NFS4ERR_INVAL;
    int err = want_refused(&s->owning, w, for_all, made);

    if (!err && made && for_all) {
        atomic_fetch_or(&s->steps, NFS41_STEP_OWNERS);
    }
    return err;
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
