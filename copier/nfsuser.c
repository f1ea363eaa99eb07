#include "copier/nfsuser.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The groups of this process. *out_groups is malloc'd. How many, or -errno. */
static int own_groups(gid_t **out_groups)
{
    int count = getgroups(0, NULL);
    gid_t *groups = count < 0 ? NULL : calloc((size_t)count + 1, sizeof *groups);
    if (groups == NULL) {
        return count < 0 ? -errno : -ENOMEM;
    }
    count = count > 0 ? getgroups(count, groups) : 0;
    if (count < 0) {
        int err = errno;
        free(groups);
        return -err;
    }
    *out_groups = groups;
    return count;
}

/* Those that a user of this machine has. The same. */
static int groups_of(const char *name, gid_t gid, gid_t **out_groups)
{
    int room = 32;
    gid_t *groups = NULL;
    for (;;) {
        int count = room;
        gid_t *more = reallocarray(groups, (size_t)room, sizeof *groups);
        if (more == NULL) {
            free(groups);
            return -ENOMEM;
        }
        groups = more;
        if (getgrouplist(name, gid, groups, &count) >= 0) {
            *out_groups = groups;
            return count;
        }
        room = count > room ? count : 2 * room;
    }
}

/* gid to the front, then every other one once. Returns how many; to has room for one more than there are. from may be
 * NULL: none. */
static unsigned put_in_order(gid_t gid, const gid_t *from, int count, gid_t *to)
{
    unsigned n = 0;
    to[n++] = gid;
    for (int i = 0; from != NULL && i < count; i++) {
        bool known = false;
        for (unsigned k = 0; k < n && !known; k++) {
            known = to[k] == from[i];
        }
        if (!known) {
            to[n++] = from[i];
        }
    }
    return n;
}

int nfs_user_find(const struct options *options, struct nfs_user *out_user)
{
    struct nfs_user u = {.uid = geteuid()};
    gid_t gid = getegid();
    gid_t *groups = NULL;
    int count = 0;
    if (options->nfs_uid == (uid_t)-1 || options->nfs_uid == u.uid) {
        count = own_groups(&groups);
    } else {
        /* Our own groups are not theirs. Who is not known here has no other group than the one that was given. */
        u.uid = options->nfs_uid;
        const struct passwd *entry = getpwuid(u.uid);
        gid = entry != NULL ? entry->pw_gid : gid;
        count = entry != NULL ? groups_of(entry->pw_name, gid, &groups) : 0;
    }
    if (count < 0) {
        return count;
    }
    gid = options->nfs_gid != (gid_t)-1 ? options->nfs_gid : gid;
    u.groups = calloc((size_t)count + 1, sizeof *u.groups);
    if (u.groups == NULL) {
        free(groups);
        return -ENOMEM;
    }
    u.count = put_in_order(gid, groups, count, u.groups);
    free(groups);
    *out_user = u;
    return 0;
}

void nfs_user_release(struct nfs_user *user)
{
    free(user->groups);
    *user = (struct nfs_user){0};
}
