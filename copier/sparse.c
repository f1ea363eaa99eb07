#include "copier/sparse.h"

#include <string.h>

/* Compares with itself, shifted by one: one call of a function that is fast everywhere. */
static bool is_zero_block(const char *data)
{
    return data[0] == 0 && memcmp(data, data + 1, SPARSE_BLOCK - 1) == 0;
}

/* Bytes of the next piece: up to a boundary, or one whole block. *out_zero: it can be left out. */
static size_t next_piece(const char *data, size_t len, uint64_t offset, bool *out_zero)
{
    size_t to_boundary = SPARSE_BLOCK - (size_t)(offset % SPARSE_BLOCK);
    *out_zero = to_boundary == SPARSE_BLOCK && len >= SPARSE_BLOCK && is_zero_block(data);
    return len < to_boundary ? len : to_boundary;
}

size_t sparse_next_run(const char *data, size_t len, uint64_t offset, bool *out_zero)
{
    size_t run = 0;
    bool zero = false;
    while (run < len) {
        bool same = false;
        size_t piece = next_piece(data + run, len - run, offset + run, &same);
        if (run > 0 && same != zero) {
            break;
        }
        zero = same;
        run += piece;
    }
    *out_zero = zero;
    return run;
}

bool sparse_has_run(const char *data, size_t len, uint64_t offset)
{
    bool zero = false;
    size_t first = sparse_next_run(data, len, offset, &zero);
    return zero || first < len;
}
