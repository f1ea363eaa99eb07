#include "copier/mountcalls.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "copier/mounts.h"

/* Whether a line "device SOURCE mounted on POINT with fstype TYPE ..." is of an NFS mount at point. Changes it. */
static bool is_of(char *line, const char *point)
{
    char *save = NULL;
    char *words[7] = {NULL}; /* SOURCE mounted on POINT with fstype TYPE */
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        words[i] = strtok_r(i == 0 ? line : NULL, " \n", &save);
        if (words[i] == NULL) {
            return false;
        }
    }
    return strncmp(words[6], "nfs", 3) == 0 && strcmp(mounts_unescape(words[3]), point) == 0;
}

/* What a line "        WRITE: 12 12 0 ..." counts; 0 for what is no work. */
static uint64_t count_of(const char *line)
{
    char name[32];
    uint64_t calls = 0;
    if (sscanf(line, " %31[A-Z0-9_]: %" SCNu64, name, &calls) != 2) {
        return 0;
    }
    return strcmp(name, "NULL") == 0 || strcmp(name, "SEQUENCE") == 0 || strcmp(name, "RENEW") == 0 ? 0 : calls;
}

int mountcalls_read(FILE *mountstats, const char *point, uint64_t *out_calls)
{
    static const char device[] = "device ";
    char *line = NULL;
    size_t room = 0;
    bool ours = false;
    bool found = false;
    bool operations = false; /* behind "per-op statistics" */
    uint64_t calls = 0;
    while (getline(&line, &room, mountstats) > 0) {
        if (strncmp(line, device, sizeof device - 1) == 0) {
            ours = is_of(line + sizeof device - 1, point);
            operations = false;
            found = found || ours;
            calls = ours ? 0 : calls;
        } else if (ours && strstr(line, "per-op statistics") != NULL) {
            operations = true;
        } else if (ours && operations) {
            calls += count_of(line);
        }
    }
    int r = ferror(mountstats) != 0 ? -EIO : found ? 0 : -ENOENT;
    free(line);
    if (r != 0) {
        return r;
    }
    *out_calls = calls;
    return 0;
}

int mountcalls_now(const char *point, uint64_t *out_calls)
{
    FILE *f = fopen("/proc/self/mountstats", "re");
    if (f == NULL) {
        return -errno;
    }
    int r = mountcalls_read(f, point, out_calls);
    fclose(f);
    return r;
}
