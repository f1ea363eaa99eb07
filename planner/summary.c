#include "planner/summary.h"

#include <string.h>
#include <xxhash.h>

#include "base/clock.h"

uint64_t summary_name(uint64_t seed, const char *name, size_t name_len)
{
    uint64_t hash = XXH3_64bits_withSeed(name, name_len, seed);
    return hash != 0 ? hash : 1;
}

uint64_t summary_digest(uint64_t seed, const struct attr *src)
{
    const uint64_t words[] = {src->mode, (uint64_t)src->uid << 32 | src->gid, src->size,
                              src->ino,  (uint64_t)clock_ns_of(&src->mtime),  (uint64_t)clock_ns_of(&src->ctime)};
    return XXH3_64bits_withSeed(words, sizeof words, seed) & ~(uint64_t)SUMMARY_FLAGS;
}

/* Where the slot of name begins; len: there is none. */
static size_t find(const char *bytes, size_t len, uint64_t name)
{
    for (size_t at = 0; at < len; at += sizeof(struct summary_slot)) {
        struct summary_slot slot;
        memcpy(&slot, bytes + at, sizeof slot);
        if (slot.name == name) {
            return at;
        }
    }
    return len;
}

bool summary_mend(char *bytes, size_t *len, size_t room, uint64_t seed, const struct summary_change *change)
{
    struct summary_slot slot = {.name = summary_name(seed, change->name, change->name_len)};
    if (*len % sizeof slot != 0) {
        return false;
    }
    const size_t at = find(bytes, *len, slot.name);
    const bool there = at < *len;
    if (!there && change->fate != SUMMARY_KEPT) {
        return true;
    }
    if (change->fate == SUMMARY_GONE) {
        *len -= sizeof slot;
        memmove(bytes + at, bytes + *len, sizeof slot); /* the last one takes its place */
        return true;
    }
    if (!there && *len + sizeof slot > room) {
        return false;
    }
    if (change->src != NULL && change->fate == SUMMARY_KEPT) {
        slot.digest = summary_digest(seed, change->src) | SUMMARY_SURE;
    }
    memcpy(bytes + at, &slot, sizeof slot);
    *len += there ? 0 : sizeof slot;
    return true;
}
