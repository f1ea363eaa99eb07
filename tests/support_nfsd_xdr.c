#include <stdlib.h>
#include <string.h>

#include "support_nfsd_xdr.h"

static const uint8_t *take(struct nx_in *in, size_t n)
{
    const uint8_t *at = in->at;

    if (in->bad || n > in->left) {
        in->bad = true;
        return NULL;
    }
    in->at += n;
    in->left -= n;
    return at;
}

uint32_t nx_u32(struct nx_in *in)
{
    const uint8_t *b = take(in, 4);

    return b == NULL ? 0 : (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

uint64_t nx_u64(struct nx_in *in)
{
    uint64_t high = nx_u32(in);

    return high << 32 | nx_u32(in);
}

bool nx_bool(struct nx_in *in)
{
    uint32_t v = nx_u32(in);

    in->bad = in->bad || v > 1;
    return v == 1;
}

const uint8_t *nx_fixed(struct nx_in *in, size_t n)
{
    const uint8_t *bytes = take(in, n);
    size_t pad = (4 - n % 4) % 4;
    const uint8_t *zero = take(in, pad);

    for (size_t i = 0; zero != NULL && i < pad; i++) {
        in->bad = in->bad || zero[i] != 0;
    }
    return in->bad ? NULL : bytes;
}

struct nx_str nx_opaque(struct nx_in *in, uint32_t max)
{
    struct nx_str s = {.len = nx_u32(in)};

    in->bad = in->bad || s.len > max;
    s.at = in->bad ? NULL : nx_fixed(in, s.len);
    if (in->bad) {
        s = (struct nx_str){0};
    }
    return s;
}

void nx_put_raw(struct nx_out *out, const void *bytes, size_t n)
{
    if (out->len + n > out->room) {
        size_t room = (out->len + n) * 2 + 256;
        uint8_t *more = realloc(out->data, room);

        if (more == NULL) {
            abort(); /* a test's own memory */
        }
        out->data = more;
        out->room = room;
    }
    if (n > 0) {
        memcpy(out->data + out->len, bytes, n);
    }
    out->len += n;
}

void nx_put_u32(struct nx_out *out, uint32_t v)
{
    const uint8_t b[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

    nx_put_raw(out, b, sizeof(b));
}

void nx_put_u64(struct nx_out *out, uint64_t v)
{
    nx_put_u32(out, (uint32_t)(v >> 32));
    nx_put_u32(out, (uint32_t)v);
}

void nx_put_fixed(struct nx_out *out, const void *bytes, size_t n)
{
    static const uint8_t zero[4];

    nx_put_raw(out, bytes, n);
    nx_put_raw(out, zero, (4 - n % 4) % 4);
}

void nx_put_opaque(struct nx_out *out, const void *bytes, size_t n)
{
    nx_put_u32(out, (uint32_t)n);
    nx_put_fixed(out, bytes, n);
}

void nx_put_text(struct nx_out *out, const char *text)
{
    nx_put_opaque(out, text, strlen(text));
}

void nx_patch_u32(struct nx_out *out, size_t at, uint32_t v)
{
    size_t len = out->len;

    if (at + 4 <= len) {
        out->len = at;
        nx_put_u32(out, v);
        out->len = len;
    }
}

void nx_free(struct nx_out *out)
{
    free(out->data);
    *out = (struct nx_out){0};
}
