#include "copier/chown.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copier/quantity.h"

#define ID_MAX ((uint64_t)UINT32_MAX - 1) /* the last one means "as it is" to the kernel */

enum chown_error chown_user(const char *name, uid_t *out_uid)
{
    uint64_t number = 0;
    const struct passwd *entry = getpwnam(name);
    if (entry != NULL) {
        *out_uid = entry->pw_uid;
        return CHOWN_OK;
    }
    if (quantity_number(name, 0, ID_MAX, &number) != 0) {
        return CHOWN_UNKNOWN_USER;
    }
    *out_uid = (uid_t)number;
    return CHOWN_OK;
}

enum chown_error chown_group(const char *name, gid_t *out_gid)
{
    uint64_t number = 0;
    const struct group *entry = getgrnam(name);
    if (entry != NULL) {
        *out_gid = entry->gr_gid;
        return CHOWN_OK;
    }
    if (quantity_number(name, 0, ID_MAX, &number) != 0) {
        return CHOWN_UNKNOWN_GROUP;
    }
    *out_gid = (gid_t)number;
    return CHOWN_OK;
}

enum chown_error chown_parse(const char *text, uid_t *uid, gid_t *gid)
{
    const char *colon = strchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);
    uid_t found_uid = *uid;
    gid_t found_gid = *gid;
    enum chown_error err = CHOWN_OK;

    if (len == 0 && (colon == NULL || colon[1] == '\0')) {
        return CHOWN_EMPTY;
    }
    if (len > 0) {
        char *user = strndup(text, len);
        err = user != NULL ? chown_user(user, &found_uid) : CHOWN_UNKNOWN_USER;
        free(user);
    }
    if (err == CHOWN_OK && colon != NULL && colon[1] != '\0') {
        err = chown_group(colon + 1, &found_gid);
    }
    if (err == CHOWN_OK) {
        *uid = found_uid;
        *gid = found_gid;
    }
    return err;
}

static bool is_member(gid_t gid)
{
    int count = getgroups(0, NULL);
    gid_t *groups = calloc((size_t)(count > 0 ? count : 0) + 1, sizeof *groups);
    bool found = gid == getegid();
    count = groups != NULL && count > 0 ? getgroups(count, groups) : 0;
    for (int i = 0; i < count && !found; i++) {
        found = groups[i] == gid;
    }
    free(groups);
    return found;
}

const char *chown_forbidden(uid_t uid, gid_t gid)
{
    if (geteuid() == 0) {
        return NULL;
    }
    if (uid != (uid_t)-1 && uid != geteuid()) {
        return "only root can give files to another user";
    }
    return gid == (gid_t)-1 || is_member(gid) ? NULL : "only root can give files to a group that you are not in";
}
