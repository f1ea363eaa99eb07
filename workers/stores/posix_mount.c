/*
 * posix_mount: what the kernel tells about the mount that a store is on.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "workers/stores/posix_internal.h"

static const char note_v40[] =
    "an NFS 4.0 mount opens and closes one file at a time for each user; mount it with vers=4.1";

/* The value of "vers=" in comma-separated options. */
static bool find_version(const char *options, char out[POSIX_VERSION_MAX])
{
    static const char key[] = "vers=";

    for (const char *o = options; o; o = strchr(o, ',')) {
        size_t len;

        o += *o == ',' ? 1 : 0;
        if (strncmp(o, key, sizeof(key) - 1) != 0) {
            continue;
        }
        o += sizeof(key) - 1;
        len = strcspn(o, ", \n");
        if (len == 0 || len >= POSIX_VERSION_MAX) {
            return false;
        }
        memcpy(out, o, len);
        out[len] = '\0';
        return true;
    }
    return false;
}

/* Lines of mountinfo: "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE SUPEROPTIONS". */
bool posix_nfs_version(FILE *mountinfo, dev_t dev, char out_version[POSIX_VERSION_MAX])
{
    char *line = NULL;
    size_t size = 0;
    bool found = false;

    while (!found && getline(&line, &size, mountinfo) > 0) {
        unsigned major_id;
        unsigned minor_id;
        char *type = strstr(line, " - ");
        char *source = type ? strchr(type + 3, ' ') : NULL;
        char *options = source ? strchr(source + 1, ' ') : NULL;

        if (options && sscanf(line, "%*s %*s %u:%u", &major_id, &minor_id) == 2 && // NOLINT(cert-err34-c)
            makedev(major_id, minor_id) == dev && strncmp(type + 3, "nfs", 3) == 0) {
            found = find_version(options + 1, out_version);
        }
    }
    free(line);
    return found;
}

void posix_mount_look(const struct posix_store *s)
{
    char version[POSIX_VERSION_MAX];
    FILE *f = fopen("/proc/self/mountinfo", "re");

    if (!f) {
        return;
    }
    if (posix_nfs_version(f, s->root_dev, version) && strcmp(version, "4.0") == 0) {
        notice_raise(s->notices, note_v40);
    }
    (void)fclose(f);
}
