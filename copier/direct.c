#include "copier/direct.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "copier/mountcalls.h"
#include "copier/mounturl.h"

/* COMPOUNDs a small file takes over nfs://, all told, in tenths: 1.16 to a Linux server, 1.26 to NFS-Ganesha. */
#define TENTHS_A_FILE 12
#define FILES_MIN     10 /* of fewer it is not worth a word */

void direct_init(struct direct *d, const char *destination)
{
    struct mount_place place = {0};
    struct mounturl m = {0};
    *d = (struct direct){0};
    if (mounts_find(destination, &place) != 0) {
        return;
    }
    if (mounturl_of(&place, &m) == 0 && m.url.host != NULL && mountcalls_now(place.point, &d->before) == 0) {
        d->url = url_text(&m.url);
        d->point = place.point;
        place.point = NULL;
    }
    mounturl_release(&m);
    mounts_release(&place);
}

void direct_tell(const struct direct *d, struct report *report, uint64_t files)
{
    uint64_t now = 0;
    if (d->url == NULL || files < FILES_MIN || mountcalls_now(d->point, &now) != 0 || now < d->before) {
        return;
    }
    uint64_t calls = now - d->before;
    uint64_t without = files * TENTHS_A_FILE / 10;
    if (calls <= without) {
        return;
    }
    report_say(report,
               "the mount took %" PRIu64 " calls for %" PRIu64 " files; --direct (%s) would have saved about %" PRIu64
               " of them",
               calls, files, d->url, calls - without);
}

void direct_refresh(const char *path)
{
    struct statx now;
    char *above = strdup(path);
    /* The one above first: by its change the kernel knows that what it has not found may be there. */
    if (above != NULL) {
        (void)statx(AT_FDCWD, dirname(above), AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &now);
    }
    (void)statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &now);
    free(above);
}

void direct_release(struct direct *d)
{
    free(d->url);
    free(d->point);
    *d = (struct direct){0};
}
