/*
 * xdr: External Data Representation, both ways (xdr.h).
 */
#include "workers/stores/nfs41/xdr.h"

#include <endian.h>
#include <string.h>

static size_t padding(size_t len)
{
    return -len & 3U;
}

/* ---- encoding ---- */

void xdr_out_init(struct xdr_out *out, void *buf, size_t size)
{
    out->buf = buf;
    out->size = size;
    out->used = 0;
    out->referred = 0;
    out->ref_count = 0;
    out->failed = false;
}

/* Room for len bytes; NULL: there is none, or something failed before. */
static uint8_t *take(struct xdr_out *out, size_t len)
{
    if (out->failed || len > out->size - out->used) {
        out->failed = true;
        return NULL;
    }
    uint8_t *at = out->buf + out->used;
    out->used += len;
    return at;
}

static void store_u32(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof(value));
}

void xdr_put_u32(struct xdr_out *out, uint32_t value)
{
    uint8_t *at = take(out, sizeof(value));
    if (at) {
        store_u32(at, value);
    }
}

void xdr_put_u64(struct xdr_out *out, uint64_t value)
{
    uint8_t *at = take(out, sizeof(value));
    if (at) {
        value = htobe64(value);
        memcpy(at, &value, sizeof(value));
    }
}

void xdr_put_bool(struct xdr_out *out, bool value)
{
    xdr_put_u32(out, value);
}

void xdr_put_fixed(struct xdr_out *out, const void *data, size_t len)
{
    size_t pad = padding(len);
    if (len > out->size) { /* so that the sum cannot wrap */
        out->failed = true;
        return;
    }
    uint8_t *at = take(out, len + pad);
    if (at && len > 0) {
        memcpy(at, data, len);
        memset(at + len, 0, pad);
    }
}

void xdr_put_opaque(struct xdr_out *out, const void *data, size_t len)
{
    if (len > UINT32_MAX) {
        out->failed = true;
        return;
    }
    xdr_put_u32(out, (uint32_t)len);
    xdr_put_fixed(out, data, len);
}

void xdr_put_ref(struct xdr_out *out, const void *data, size_t len)
{
    if (len > UINT32_MAX || (len > 0 && out->ref_count == XDR_REFS_MAX)) {
        out->failed = true;
    }
    xdr_put_u32(out, (uint32_t)len);
    if (len == 0 || out->failed) {
        return;
    }
    out->refs[out->ref_count++] = (struct xdr_ref){.at = out->used, .data = data, .len = len};
    out->referred += len;
    uint8_t *at = take(out, padding(len));
    if (at) {
        memset(at, 0, padding(len));
    }
}

void xdr_patch_u32(struct xdr_out *out, size_t at, uint32_t value)
{
    if (at + sizeof(value) > out->used) {
        out->failed = true;
        return;
    }
    store_u32(out->buf + at, value);
}

size_t xdr_out_size(const struct xdr_out *out)
{
    return out->used + out->referred;
}

unsigned xdr_out_iov(const struct xdr_out *out, struct iovec *iov)
{
    unsigned count = 0;
    size_t at = 0;
    for (unsigned i = 0; i < out->ref_count; i++) {
        const struct xdr_ref *ref = &out->refs[i];
        if (ref->at > at) {
            iov[count++] = (struct iovec){.iov_base = out->buf + at, .iov_len = ref->at - at};
            at = ref->at;
        }
        union {
            const void *given;
            void *wanted; /* sendmsg only reads from it */
        } data = {.given = ref->data};
        iov[count++] = (struct iovec){.iov_base = data.wanted, .iov_len = ref->len};
    }
    if (out->used > at) {
        iov[count++] = (struct iovec){.iov_base = out->buf + at, .iov_len = out->used - at};
    }
    return count;
}

struct xdr_mark xdr_out_mark(const struct xdr_out *out)
{
    return (struct xdr_mark){.used = out->used, .referred = out->referred, .ref_count = out->ref_count};
}

void xdr_out_rewind(struct xdr_out *out, struct xdr_mark mark)
{
    out->used = mark.used;
    out->referred = mark.referred;
    out->ref_count = mark.ref_count;
    out->failed = false;
}

/* ---- decoding ---- */

void xdr_in_init(struct xdr_in *in, const void *data, size_t len)
{
    *in = (struct xdr_in){.at = data, .end = (const uint8_t *)data + len};
}

void xdr_in_hole(struct xdr_in *in, size_t at, const void *sunk, size_t len)
{
    in->hole = in->at + at;
    in->sunk = sunk;
    in->sunk_len = len;
}

size_t xdr_in_left(const struct xdr_in *in)
{
    return (size_t)(in->end - in->at);
}

static const uint8_t *fail(struct xdr_in *in)
{
    in->failed = true;
    in->at = in->end;
    return NULL;
}

/* The next len bytes; NULL: there are not as many, or bytes are missing among them. */
static const uint8_t *give(struct xdr_in *in, size_t len)
{
    if (in->failed || len > xdr_in_left(in) || (in->hole && len > 0 && in->at <= in->hole && in->hole < in->at + len)) {
        return fail(in);
    }
    const uint8_t *at = in->at;
    in->at += len;
    return at;
}

uint32_t xdr_get_u32(struct xdr_in *in)
{
    uint32_t value = 0;
    const uint8_t *at = give(in, sizeof(value));
    if (at) {
        memcpy(&value, at, sizeof(value));
    }
    return be32toh(value);
}

uint64_t xdr_get_u64(struct xdr_in *in)
{
    uint64_t value = 0;
    const uint8_t *at = give(in, sizeof(value));
    if (at) {
        memcpy(&value, at, sizeof(value));
    }
    return be64toh(value);
}

bool xdr_get_bool(struct xdr_in *in)
{
    uint32_t value = xdr_get_u32(in);
    if (value > 1) {
        fail(in);
        return false;
    }
    return value == 1;
}

const uint8_t *xdr_get_fixed(struct xdr_in *in, size_t len)
{
    if (len > xdr_in_left(in)) { /* so that the sum cannot wrap */
        return fail(in);
    }
    return give(in, len + padding(len));
}

/* What lies in the hole that begins here. */
static const uint8_t *get_sunk(struct xdr_in *in)
{
    const uint8_t *sunk = in->sunk;
    in->hole = NULL; /* its padding follows as if nothing were missing */
    return give(in, padding(in->sunk_len)) ? sunk : NULL;
}

const uint8_t *xdr_get_opaque(struct xdr_in *in, size_t max, size_t *out_len)
{
    *out_len = 0;
    size_t len = xdr_get_u32(in);
    if (in->failed || len > max) {
        return fail(in);
    }
    bool sunk = in->hole && in->at == in->hole;
    if (sunk && len != in->sunk_len) {
        return fail(in);
    }
    const uint8_t *at = sunk ? get_sunk(in) : xdr_get_fixed(in, len);
    if (at) {
        *out_len = len;
    }
    return at;
}

uint32_t xdr_get_count(struct xdr_in *in, uint32_t max, size_t each)
{
    uint32_t count = xdr_get_u32(in);
    if (count > max || count > xdr_in_left(in) / each) {
        fail(in);
        return 0;
    }
    return count;
}
