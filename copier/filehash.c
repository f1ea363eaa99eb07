#include "copier/filehash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copier/hash.h"

/* xxhash.h asks for 64 bytes of alignment, which its own allocator gives. */
struct hasher {
    XXH3_state_t *state; /* owned */
};

static void put(XXH128_hash_t hash, uint8_t out[HASH_SIZE])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(out, canonical.digest, HASH_SIZE);
}

size_t hash_parts(uint64_t size)
{
    return size == 0 ? 1 : (size_t)((size - 1) / HASH_PART + 1);
}

void hash_of_parts(const uint8_t (*parts)[HASH_SIZE], size_t count, uint8_t out[HASH_SIZE])
{
    put(XXH3_128bits(parts, count * HASH_SIZE), out);
}

void hash_small(const void *data, size_t len, uint8_t out[HASH_SIZE])
{
    uint8_t part[1][HASH_SIZE];
    put(XXH3_128bits(data, len), part[0]);
    hash_of_parts(part, 1, out);
}

int hasher_create(struct hasher **out_hasher)
{
    struct hasher *h = malloc(sizeof *h);
    if (h == NULL) {
        return -ENOMEM;
    }
    h->state = XXH3_createState();
    if (h->state == NULL) {
        free(h);
        return -ENOMEM;
    }
    XXH3_128bits_reset(h->state);
    *out_hasher = h;
    return 0;
}

void hasher_destroy(struct hasher *h)
{
    if (h != NULL) {
        XXH3_freeState(h->state);
        free(h);
    }
}

void hasher_add(struct hasher *h, const void *data, size_t len)
{
    XXH3_128bits_update(h->state, data, len);
}

void hasher_end(struct hasher *h, uint8_t out[HASH_SIZE])
{
    put(XXH3_128bits_digest(h->state), out);
    XXH3_128bits_reset(h->state);
}
