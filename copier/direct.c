#include "copier/direct.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "copier/mountcalls.h"
#include "copier/mounturl.h"

/* Calls a small file takes over nfs://, all told, in tenths. To publish it in NFSv4.1: 1.16 to a Linux server, 1.26 to
 * NFS-Ganesha; in NFSv3 4.2. To read it: 1.04 and 2.1, a share of a listing included. */
static const unsigned tenths_a_file[][DIR_SIDES] = {
    [URL_NFS41] = {[DIR_SRC] = 11, [DIR_DST] = 12},
    [URL_NFS3] = {[DIR_SRC] = 21, [DIR_DST] = 42},
};

#define FILES_MIN 10 /* of fewer it is not worth a word */

void direct_watch(struct direct *d, enum dir_side side, const char *path)
{
    struct direct_side *s = &d->sides[side];
    struct mount_place place = {0};
    struct mounturl m = {0};
    if (mounts_find(path, &place) != 0) {
        return;
    }
    if (mounturl_of(&place, &m) == 0 && m.url.host != NULL && mountcalls_now(place.point, &s->before) == 0) {
        s->url = url_text(&m.url);
        s->tenths = tenths_a_file[m.url.version][side];
        s->point = place.point;
        place.point = NULL;
    }
    mounturl_release(&m);
    mounts_release(&place);
}

static void tell(const struct direct_side *s, struct report *report, uint64_t files, unsigned tenths)
{
    uint64_t now = 0;
    if (s->url == NULL || files < FILES_MIN || mountcalls_now(s->point, &now) != 0 || now < s->before) {
        return;
    }
    uint64_t calls = now - s->before;
    uint64_t without = files * tenths / 10;
    if (calls <= without) {
        return;
    }
    report_say(report,
               "the mount took %" PRIu64 " calls for %" PRIu64 " files; --direct (%s) would have saved about %" PRIu64
               " of them",
               calls, files, s->url, calls - without);
}

void direct_tell(const struct direct *d, struct report *report, uint64_t files)
{
    const struct direct_side *from = &d->sides[DIR_SRC];
    const struct direct_side *to = &d->sides[DIR_DST];
    if (from->url != NULL && to->url != NULL && strcmp(from->point, to->point) == 0) {
        tell(to, report, files, from->tenths + to->tenths); /* one mount, one count */
        return;
    }
    tell(from, report, files, from->tenths);
    tell(to, report, files, to->tenths);
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
    for (int side = 0; side < DIR_SIDES; side++) {
        free(d->sides[side].url);
        free(d->sides[side].point);
    }
    *d = (struct direct){0};
}
