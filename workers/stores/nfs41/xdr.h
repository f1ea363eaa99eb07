/*
 * xdr: External Data Representation (RFC 4506), for a protocol whose other end is not trusted.
 *
 * Encoding goes into a fixed buffer of the caller's; file data goes by reference and is never copied. Decoding goes
 * over a reply that is in memory as a whole; each length is checked against what is left of it, and against a bound of
 * the caller's. Both latch: after the first failure nothing more is written or read, every value read is 0 or NULL,
 * and failed is looked at once, at the end. Nothing here allocates memory or knows of NFS.
 *
 * Not thread-safe: one thread at a time for each struct. Nothing blocks.
 */
#ifndef HAUL_STORES_NFS41_XDR_H
#define HAUL_STORES_NFS41_XDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define XDR_REFS_MAX 32                     /* pieces by reference in one encoding */
#define XDR_IOV_MAX  (2 * XDR_REFS_MAX + 1) /* pieces that an encoding can have in all */

/* File data inside of an encoding. */
struct xdr_ref {
    size_t at;        /* bytes of the buffer that come before it */
    const void *data; /* the caller's; must live as long as the encoding is used */
    size_t len;       /* bytes, without padding (which is in the buffer) */
};

struct xdr_out {
    uint8_t *buf;                      /* the caller's */
    size_t size;                       /* bytes of buf */
    size_t used;                       /* bytes written to buf */
    size_t referred;                   /* bytes of all refs */
    struct xdr_ref refs[XDR_REFS_MAX]; /* in order of at */
    unsigned ref_count;                /* of refs */
    bool failed;                       /* something did not fit: the encoding is not to be used */
};

/* Where an encoding stood, to go back to. */
struct xdr_mark {
    size_t used;
    size_t referred;
    unsigned ref_count;
};

void xdr_out_init(struct xdr_out *out, void *buf, size_t size);

/* 4.1, 4.2 (int, unsigned), 4.3 (enum), 4.5 (hyper), 4.4 (bool). */
void xdr_put_u32(struct xdr_out *out, uint32_t value);
void xdr_put_u64(struct xdr_out *out, uint64_t value);
void xdr_put_bool(struct xdr_out *out, bool value);
/* 4.9: len bytes without their length, padded to 4. data may be NULL where len is 0. */
void xdr_put_fixed(struct xdr_out *out, const void *data, size_t len);
/* 4.10, 4.11: length, bytes, padding. Copied: for names, handles and the like. Fails where len does not fit 32 bits. */
void xdr_put_opaque(struct xdr_out *out, const void *data, size_t len);
/* The same by reference: nothing is copied, data must live and stay unchanged as long as the encoding is used. */
void xdr_put_ref(struct xdr_out *out, const void *data, size_t len);
/* Writes value over the four bytes at offset at of the buffer, which were written before. */
void xdr_patch_u32(struct xdr_out *out, size_t at, uint32_t value);

/* Bytes of the whole encoding, referred data included. */
size_t xdr_out_size(const struct xdr_out *out);
/* The whole encoding as pieces for sendmsg, in order, none of them empty; iov has room for XDR_IOV_MAX. Returns how
 * many. They point into buf and into what was referred to. */
unsigned xdr_out_iov(const struct xdr_out *out, struct iovec *iov);

struct xdr_mark xdr_out_mark(const struct xdr_out *out);
/* Forgets all that was put after mark, a failure too. */
void xdr_out_rewind(struct xdr_out *out, struct xdr_mark mark);

/* A reply, or a part of one. Where a payload went elsewhere (a READ's data, straight into the caller's buffer), there
 * is a hole: its bytes are missing from the reply, and are found when the opaque that they belong to is read. */
struct xdr_in {
    const uint8_t *at;   /* next byte */
    const uint8_t *end;  /* after the last one */
    const uint8_t *hole; /* where bytes are missing; NULL: nowhere */
    const void *sunk;    /* where they are */
    size_t sunk_len;     /* how many, without padding (which is in the reply) */
    bool failed;         /* a length lied or the reply was too short: nothing read from it is to be used */
};

void xdr_in_init(struct xdr_in *in, const void *data, size_t len);
/* Says that len bytes are missing at offset at of the data given to xdr_in_init, and lie at sunk instead. */
void xdr_in_hole(struct xdr_in *in, size_t at, const void *sunk, size_t len);

/* Bytes left, without those missing. */
size_t xdr_in_left(const struct xdr_in *in);

uint32_t xdr_get_u32(struct xdr_in *in);
uint64_t xdr_get_u64(struct xdr_in *in);
/* Anything but 0 and 1 is a failure. */
bool xdr_get_bool(struct xdr_in *in);
/* len bytes and their padding, where they lie: valid as long as the reply is. NULL: failed. */
const uint8_t *xdr_get_fixed(struct xdr_in *in, size_t len);
/* Length, bytes, padding: where they lie, in the hole perhaps. More than max bytes are a failure. Not NULL unless
 * failed, also where *out_len is 0. *out_len is 0 after a failure. */
const uint8_t *xdr_get_opaque(struct xdr_in *in, size_t max, size_t *out_len);
/* A count of things of which each has at least each bytes (> 0) in what is left: a count that cannot be true is a
 * failure, as is one above max. */
uint32_t xdr_get_count(struct xdr_in *in, uint32_t max, size_t each);

#endif
