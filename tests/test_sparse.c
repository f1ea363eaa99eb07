#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "copier/sparse.h"

#define B SPARSE_BLOCK

/* Walks over all runs; each byte of map becomes what the run says of it: 'x' written, '.' left out. */
static void walk(const char *data, size_t len, uint64_t offset, char *map)
{
    bool last = false;
    for (size_t at = 0; at < len;) {
        bool zero = false;
        size_t run = sparse_next_run(data + at, len - at, offset + at, &zero);
        cr_assert(run > 0 && run <= len - at, "run of %zu at %zu of %zu", run, at, len);
        cr_assert(at == 0 || zero != last, "two runs of a kind in a row");
        if (zero) {
            cr_assert_eq((offset + at) % B, 0);
            cr_assert_eq(run % B, 0);
        }
        memset(map + at, zero ? '.' : 'x', run);
        last = zero;
        at += run;
    }
}

Test(sparse, whole_aligned_blocks_of_zeros_are_left_out, .timeout = 10)
{
    char *data = calloc(8, B);
    char map[8 * B];
    data[0] = 1;
    data[3 * B + 77] = 1;
    data[5 * B - 1] = 1;
    walk(data, 8 * (size_t)B, 0, map);
    static const char want[] = "x..xx...";
    for (size_t i = 0; i < 8; i++) {
        cr_assert_eq(map[i * B], want[i], "block %zu", i);
        cr_assert_eq(map[i * B + B - 1], want[i], "block %zu", i);
    }
    free(data);
}

Test(sparse, what_is_short_or_not_aligned_is_written, .timeout = 10)
{
    char *data = calloc(4, B);
    char map[4 * B];
    bool zero = true;
    cr_assert_eq(sparse_next_run(data, 0, 0, &zero), 0);
    cr_assert_not(sparse_has_run(data, B - 1, 0));
    cr_assert_not(sparse_has_run(data, B, 1));
    cr_assert_not(sparse_has_run(data, 2 * B - 2, 1), "no whole block lies in it");
    cr_assert(sparse_has_run(data, B, 7ULL * B));
    cr_assert(sparse_has_run(data, 2 * B - 1, 1));
    /* 10 bytes before a boundary, two blocks, 100 bytes. */
    walk(data, 10 + 2 * (size_t)B + 100, 5ULL * B - 10, map);
    cr_assert(map[0] == 'x' && map[9] == 'x' && map[10] == '.' && map[10 + 2 * B - 1] == '.' && map[10 + 2 * B] == 'x');
    free(data);
}

/* Against the plainest way to say it. */
Test(sparse, random_contents_at_random_offsets, .timeout = 60)
{
    enum { MAX = 20 * 4096 };
    char *data = calloc(1, MAX);
    char *map = calloc(1, MAX);
    char *want = calloc(1, MAX);
    unsigned seed = 7;
    for (unsigned round = 0; round < 500; round++) {
        size_t len = (size_t)rand_r(&seed) % MAX;
        uint64_t offset = (uint64_t)rand_r(&seed) % 3 * B + (round % 2 ? (uint64_t)rand_r(&seed) % B : 0);
        memset(data, 0, MAX);
        memset(want, 'x', len);
        for (unsigned i = (unsigned)rand_r(&seed) % 12; i > 0 && len > 0; i--) {
            data[(size_t)rand_r(&seed) % len] = 1;
        }
        bool any = false;
        for (uint64_t block = (offset + B - 1) / B * B; block + B <= offset + len; block += B) {
            size_t at = (size_t)(block - offset);
            if (memchr(data + at, 1, B) == NULL) {
                memset(want + at, '.', B);
                any = true;
            }
        }
        walk(data, len, offset, map);
        cr_assert(memcmp(map, want, len) == 0, "round %u", round);
        cr_assert_eq(sparse_has_run(data, len, offset), any);
    }
    free(want);
    free(map);
    free(data);
}
