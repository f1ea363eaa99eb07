/*
 * nfs_listing: what a listing at a server of NFS, of whichever version, has to remember: names that it has handed out,
 * since its cookies may become worth nothing, and a cookie now and then, since its pages may lead in a circle.
 *
 * Each belongs to one listing, whoever carries that out. Nothing blocks.
 */
#ifndef HAUL_STORES_NFS_LISTING_H
#define HAUL_STORES_NFS_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Names handed out, as hashes. All zero: none; nfs_seen_release at the end. */
struct nfs_seen {
    uint64_t *hashes; /* owned */
    size_t count;     /* of hashes */
    size_t room;      /* entries that hashes can have */
    size_t sorted;    /* of hashes: sorted, and passed over when they come again */
};

/* Room for one more. 0 or -ENOMEM. */
int nfs_seen_make_room(struct nfs_seen *seen);
/* hash is handed out; there is room (nfs_seen_make_room). */
void nfs_seen_add(struct nfs_seen *seen, uint64_t hash);
/* From now on what was handed out so far is passed over. */
void nfs_seen_again(struct nfs_seen *seen);
/* Whether hash is to be passed over. */
bool nfs_seen_has(const struct nfs_seen *seen, uint64_t hash);
void nfs_seen_release(struct nfs_seen *seen);

/* Cookies that pages were asked from (Brent). All zero: none. */
struct nfs_laps {
    uint64_t mark;       /* a cookie that was asked for; when it is again the directory has no end; 0: none */
    uint64_t pages;      /* asked for since mark was set, or since the beginning */
    uint64_t mark_after; /* pages after which mark is moved on */
};

/* A page from cookie (0: the beginning) has come. Whether the server leads in a circle. */
bool nfs_laps_circle(struct nfs_laps *laps, uint64_t cookie);

#endif
