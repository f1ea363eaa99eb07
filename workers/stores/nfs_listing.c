/*
 * nfs_listing: names handed out, and circles (nfs_listing.h).
 */
#include "workers/stores/nfs_listing.h"

#include <errno.h>
#include <stdlib.h>

static int compare_hashes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

int nfs_seen_make_room(struct nfs_seen *seen)
{
    if (seen->count == seen->room) {
        size_t room = seen->room ? seen->room * 2 : 256;
        uint64_t *more = realloc(seen->hashes, room * sizeof(*more));

        if (!more) {
            return -ENOMEM;
        }
        seen->hashes = more;
        seen->room = room;
    }
    return 0;
}

void nfs_seen_add(struct nfs_seen *seen, uint64_t hash)
{
    seen->hashes[seen->count++] = hash;
}

void nfs_seen_again(struct nfs_seen *seen)
{
    if (seen->count > 1) {
        qsort(seen->hashes, seen->count, sizeof(*seen->hashes), compare_hashes);
    }
    seen->sorted = seen->count;
}

bool nfs_seen_has(const struct nfs_seen *seen, uint64_t hash)
{
    return seen->sorted > 0 &&
           bsearch(&hash, seen->hashes, seen->sorted, sizeof(*seen->hashes), compare_hashes) != NULL;
}

void nfs_seen_release(struct nfs_seen *seen)
{
    free(seen->hashes);
}

bool nfs_laps_circle(struct nfs_laps *laps, uint64_t cookie)
{
    if (cookie == 0) {
        laps->mark = laps->pages = 0;
        laps->mark_after = 1;
        return false;
    }
    if (cookie == laps->mark) {
        return true;
    }
    if (++laps->pages >= laps->mark_after) {
        laps->mark = cookie;
        laps->mark_after *= 2;
        laps->pages = 0;
    }
    return false;
}
