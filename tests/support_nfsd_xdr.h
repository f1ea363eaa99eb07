/*
 * support_nfsd_xdr: XDR (RFC 4506) for the scripted server. It shares nothing with haul's own codec, so that each
 * checks the other.
 */
#ifndef HAUL_TESTS_SUPPORT_NFSD_XDR_H
#define HAUL_TESTS_SUPPORT_NFSD_XDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is read. A read past the end, a length above its bound, a bool that is neither, or padding that is not zero sets
 * bad; everything read from then on is 0 or empty. */
struct nx_in {
    const uint8_t *at; /* next byte; not owned */
    size_t left;       /* bytes */
    bool bad;          /* what was sent is no XDR of what was expected */
};

/* Bytes within what is read. */
struct nx_str {
    const uint8_t *at; /* not owned */
    uint32_t len;      /* bytes */
};

uint32_t nx_u32(struct nx_in *in);
uint64_t nx_u64(struct nx_in *in);
bool nx_bool(struct nx_in *in);
/* n bytes without a length, and padding; NULL where bad. */
const uint8_t *nx_fixed(struct nx_in *in, size_t n);
/* A length of at most max, so many bytes, padding. */
struct nx_str nx_opaque(struct nx_in *in, uint32_t max);

/* What is written; grows as it must. */
struct nx_out {
    uint8_t *data; /* owned */
    size_t len;    /* bytes written */
    size_t room;   /* bytes allocated */
};

void nx_put_u32(struct nx_out *out, uint32_t v);
void nx_put_u64(struct nx_out *out, uint64_t v);
/* n bytes and padding, without a length. */
void nx_put_fixed(struct nx_out *out, const void *bytes, size_t n);
void nx_put_opaque(struct nx_out *out, const void *bytes, size_t n);
void nx_put_text(struct nx_out *out, const char *text);
/* Bytes as they are, without padding. */
void nx_put_raw(struct nx_out *out, const void *bytes, size_t n);
/* Writes over the word at byte at. */
void nx_patch_u32(struct nx_out *out, size_t at, uint32_t v);
/* Frees the bytes; out is empty then. */
void nx_free(struct nx_out *out);

#endif
