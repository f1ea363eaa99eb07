/*
 * nfs_caps: what all servers of NFS have in common.
 */
#include "workers/stores/nfs_caps.h"

#include "base/clock.h"

#define BLOCK   4096U            /* parts are multiples of it */
#define UNKNOWN (2 * NS_PER_SEC) /* clocks of servers */

void nfs_caps_init(struct store_caps *caps, const struct owning *owning, uint64_t part)
{
    caps->network = true;
    caps->uncached = true;
    caps->spread = true;
    caps->durable = true;
    caps->no_extents = true;
    caps->resume = true;
    caps->part = part > BLOCK ? part / BLOCK * BLOCK : part;
    caps->owner_refused = owning->owner == OWNER_AUTO && owning->privileged ? &owning->refused : NULL;
    caps->clock_granularity_ns = UNKNOWN;
}
