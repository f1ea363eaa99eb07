/*
 * filehash: XXH3-128 over the XXH3-128 of fixed parts, which is what the state remembers contents by: parts may be
 * hashed in any order by any worker.
 *
 * Any thread; nothing here waits.
 */
#ifndef HAUL_COPIER_FILEHASH_H
#define HAUL_COPIER_FILEHASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_SIZE 16                    /* bytes of a hash, most significant first */
#define HASH_PART (16ULL * 1024 * 1024) /* bytes of a part; the last one may be shorter */

/* Parts of a file of that many bytes; one without contents has one. */
size_t hash_parts(uint64_t size);

/* Of a file that is one part, whose contents are data. */
void hash_small(const void *data, size_t len, uint8_t out[HASH_SIZE]);

/* Of a file with these parts. */
void hash_of_parts(const uint8_t (*parts)[HASH_SIZE], size_t count, uint8_t out[HASH_SIZE]);

/* One part, piece by piece. Belongs to one thread at a time. */
struct hasher;
int hasher_create(struct hasher **out_hasher); /* 0 or -ENOMEM; begun */
void hasher_destroy(struct hasher *h);         /* NULL is fine */
void hasher_add(struct hasher *h, const void *data, size_t len);
/* The hash of all that was added; begins anew. */
void hasher_end(struct hasher *h, uint8_t out[HASH_SIZE]);

#endif
