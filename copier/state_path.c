/*
 * state_path: the default database file of a pair (state.h).
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "copier/state.h"

/* The home directory: $HOME, else the password file's (services run without $HOME). 0, -ENOENT, -ENOMEM. */
static int home_of_user(char **out_home)
{
    const char *home = getenv("HOME");
    if (home != NULL && home[0] == '/') {
        *out_home = strdup(home);
        return *out_home != NULL ? 0 : -ENOMEM;
    }
    enum { SIZE = 16384 };
    char *buf = malloc(SIZE);
    if (buf == NULL) {
        return -ENOMEM;
    }
    struct passwd entry;
    struct passwd *found = NULL;
    int err = -getpwuid_r(getuid(), &entry, buf, SIZE, &found);
    if (err == 0 && (found == NULL || found->pw_dir == NULL || found->pw_dir[0] != '/')) {
        err = -ENOENT;
    }
    char *copy = err == 0 ? strdup(found->pw_dir) : NULL;
    if (err == 0 && copy == NULL) {
        err = -ENOMEM;
    }
    free(buf);
    if (err == 0) {
        *out_home = copy;
    }
    return err;
}

/* The folder of all state files. A relative $XDG_STATE_HOME is to be ignored, says its specification. */
int state_folder(char **out_folder)
{
    const char *xdg = getenv("XDG_STATE_HOME");
    char *folder = NULL;
    if (xdg != NULL && xdg[0] == '/') {
        if (asprintf(&folder, "%s/haul", xdg) < 0) {
            return -ENOMEM;
        }
        *out_folder = folder;
        return 0;
    }
    char *home = NULL;
    const int err = home_of_user(&home);
    if (err != 0) {
        return err;
    }
    const int len = asprintf(&folder, "%s/.local/state/haul", home);
    free(home);
    if (len < 0) {
        return -ENOMEM;
    }
    *out_folder = folder;
    return 0;
}

/* Creates each missing folder of path, an absolute one, with mode 0700. path is changed and put back. */
static int make_folders(char *path)
{
    for (char *at = path + 1;; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        const char end = *at;
        *at = '\0';
        int err = mkdir(path, 0700) == 0 ? 0 : -errno;
        struct stat st;
        if (err != 0 && stat(path, &st) == 0) {
            err = S_ISDIR(st.st_mode) ? 0 : -ENOTDIR; /* it is there, whatever mkdir said (EEXIST, EROFS, EACCES) */
        }
        *at = end;
        if (err != 0 || end == '\0') {
            return err;
        }
    }
}

int state_default_path(const struct state_pair *pair, char **out_path)
{
    char *folder = NULL;
    char *path = NULL;
    char *text = NULL;
    int err = state_folder(&folder);
    if (err != 0) {
        return err;
    }
    err = make_folders(folder);
    if (err != 0) {
        goto out;
    }

    /* Both strings with their NULs, so that ("a", "bc") and ("ab", "c") are two pairs. */
    const size_t source_len = strlen(pair->source) + 1;
    const size_t destination_len = strlen(pair->destination) + 1;
    text = malloc(source_len + destination_len);
    if (text == NULL) {
        err = -ENOMEM;
        goto out;
    }
    memcpy(text, pair->source, source_len);
    memcpy(text + source_len, pair->destination, destination_len);
    const XXH128_hash_t hash = XXH3_128bits(text, source_len + destination_len);
    if (asprintf(&path, "%s/%016llx%016llx.db", folder, (unsigned long long)hash.high64,
                 (unsigned long long)hash.low64) < 0) {
        err = -ENOMEM;
        goto out;
    }
    *out_path = path;

out:
    free(text);
    free(folder);
    return err;
}
