/*
 * nfs41_list: listings, by READDIR with attributes: hundreds of entries a round trip.
 *
 * A server may say in the middle of a directory that its cookies are worth nothing any more (BAD_COOKIE, a changed
 * verifier): then the directory is read from its beginning, and names that were handed out already are passed over.
 * They are remembered as hashes, 8 bytes each, for as long as the listing lasts. Ganesha says so whenever the directory
 * was changed since, whose cookies are good all the same: a directory that never rests would never be read to its end.
 * So after some restarts only the verifier is fetched anew and the old cookie tried with it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/name.h"
#include "workers/stores/nfs41/nfs41_internal.h"
#include "workers/stores/nfs_listing.h"

#define PAGE_MAX     (256U * 1024) /* bytes of a READDIR reply at most */
#define PAGE_MIN     4096U
#define PAGE_GROWTH  4U    /* from one page to the next */
#define PAGE_ROOM    1024U /* bytes of a reply besides the entries, or what one level down brings */
#define RESTARTS     3U    /* from the beginning, before the old cookie is tried with a new verifier */
#define COOKIE_TRIES 8U    /* new verifiers for one page; then the listing fails */

struct store_list {
    struct dir *dir;             /* one reference */
    struct nfs_fh fh;            /* of the directory: cookies mean nothing in another */
    uint64_t mask;               /* NFS_ATTR_* wanted of each entry */
    bool want_attr;              /* as asked for */
    uint64_t cookie;             /* behind the last entry that was handed out or passed over */
    uint8_t verf[NFS_VERF_SIZE]; /* that belongs to it */
    uint8_t *page;               /* entries of one reply, owned; NULL: parked, or not read yet */
    struct xdr_in in;            /* stands before the next entry in page */
    uint32_t page_max;    /* bytes of the next page at most: small ones after a park, since the next may be near */
    unsigned in_page;     /* entries that page has had so far */
    bool over;            /* the end was handed out */
    unsigned restarts;    /* so far */
    struct nfs_laps laps; /* of cookie */
    struct nfs_seen seen; /* what was handed out */
    char name[NFS_NAME_MAX + 1]; /* the last one handed out */
};

static void page_free(struct store_list *list)
{
    free(list->page);
    list->page = NULL;
    list->in_page = 0;
}

/* Bytes of a page that the session allows. */
static uint32_t page_size(struct port *p)
{
    struct nfs_limits limits;
    uint32_t size = PAGE_MAX;

    nfs41_limits(p, &limits);
    if (limits.max_response < size + PAGE_ROOM) {
        size = limits.max_response > PAGE_MIN + PAGE_ROOM ? limits.max_response - PAGE_ROOM : PAGE_MIN;
    }
    return size;
}

/* Keeps the entries that c has brought: the reply belongs to the session. */
static int page_keep(struct store_list *list, const struct nfs_compound *c)
{
    size_t len = xdr_in_left(&c->in);
    uint8_t *page = malloc(len ? len : 1);

    if (!page) {
        return -ENOMEM;
    }
    memcpy(page, c->in.at, len);
    page_free(list);
    list->page = page;
    xdr_in_init(&list->in, page, len);
    return 0;
}

/* One READDIR of size bytes from list->cookie. keep: its entries too, not only its verifier. 0, NFS4ERR or -errno. */
static int page_ask(struct port *p, struct store_op *op, struct store_list *list, uint64_t cookie, uint32_t size,
                    bool keep)
{
    static const uint8_t no_verf[NFS_VERF_SIZE];
    uint8_t verf[NFS_VERF_SIZE];
    struct nfs_compound *c;
    int r = nfs41_begin(p, &c);

    if (r) {
        return r;
    }
    nfs_put_putfh(c, &list->fh);
    nfs_put_readdir(c, cookie, cookie ? list->verf : no_verf, size, list->mask);
    nfs_compound_expect(c, (size_t)size + PAGE_ROOM);
    r = nfs41_send(p, c);
    r = r ? r : nfs_get_plain(c, NFS_OP_PUTFH);
    r = r ? r : nfs_get_readdir(c, verf);
    if (!r && keep) {
        r = page_keep(list, c);
    }
    if (!r) {
        memcpy(list->verf, verf, sizeof(verf));
    }
    (void)nfs41_result(op, c, r);
    nfs_compound_end(c);
    return r;
}

static bool is_bad_cookie(int r)
{
    return r == NFS4ERR_BAD_COOKIE || r == NFS4ERR_NOT_SAME;
}

/* The next page. 0 or -errno. */
static int page_read(struct port *p, struct store_op *op, struct store_list *list)
{
    uint32_t size = page_size(p);
    unsigned tries = 0;
    int r;

    size = list->page_max < size ? list->page_max : size;
    list->page_max = size > UINT32_MAX / PAGE_GROWTH ? UINT32_MAX : size * PAGE_GROWTH;

    for (;;) {
        op->step = NULL;
        r = page_ask(p, op, list, list->cookie, size, true);
        if ((r == NFS4ERR_REP_TOO_BIG || r == NFS4ERR_RESOURCE || r == NFS4ERR_TOOSMALL || r == -E2BIG) &&
            size / 2 >= PAGE_MIN) {
            size /= 2;
            continue;
        }
        if (!is_bad_cookie(r) || list->cookie == 0 || tries++ == COOKIE_TRIES) {
            break;
        }
        if (list->restarts++ < RESTARTS) {
            nfs_seen_again(&list->seen);
            list->cookie = 0;
            continue;
        }
        nfs_seen_again(&list->seen); /* the cookie may have another meaning now: nothing is handed out twice */
        r = page_ask(p, op, list, 0, PAGE_MIN, false);
        if (r) {
            break;
        }
    }
    if (is_bad_cookie(r)) {
        return -EBUSY; /* it never rests: passes perhaps */
    }
    if (!r && nfs_laps_circle(&list->laps, list->cookie)) {
        page_free(list); /* asked for again it fails again */
        return nfs41_fail(op, "readdir", -EIO);
    }
    return r > 0 ? nfs_errno((uint32_t)r) : r;
}

/* A listing that has not read anything; NULL: no memory. */
static struct store_list *list_create(const struct store_op *op)
{
    struct store_list *list = calloc(1, sizeof(*list));

    if (list) {
        list->want_attr = op->list.want_attr;
        list->page_max = UINT32_MAX;
        list->mask = NFS_ATTR_TYPE | NFS_ATTR_RDATTR_ERROR | (list->want_attr ? NFS_ATTRS_STAT : 0);
    }
    return list;
}

/* The listing has begun: it is the caller's. */
static int list_hand_out(struct store_op *op, struct store_list *list)
{
    list->dir = dir_get(op->dir);
    *op->list.list = list;
    return 0;
}

static int open_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct store_list *list = list_create(op);
    int err;

    if (!list) {
        return -ENOMEM;
    }
    list->fh = dir->fh;
    err = page_read(p, op, list);
    if (err) {
        free(list);
        return err;
    }
    return list_hand_out(op, list);
}

/* The results of looking dir up in its parent, and of its first page. 0, NFS4ERR or -errno. */
static int get_below(struct port *p, struct nfs_compound *c, struct dir *dir, struct store_list *list)
{
    struct nfs_dir found = {0};
    int r = nfs_get_plain(c, NFS_OP_PUTFH);

    r = r ? r : nfs41_get_level(p, c, &found);
    r = r ? r : nfs_dirs_keep(&nfs41_of(p)->dirs, dir, &found);
    r = r ? r : nfs_get_readdir(c, list->verf);
    r = r ? r : page_keep(list, c);
    list->fh = found.fh;
    return r;
}

/* One that nobody has looked up yet: with its first page, in one COMPOUND. 0; 1: that was not all that is to be done,
 * and it is as if it had not been tried, but that the handle may be known now; -errno: there was no answer. */
static int open_below(struct port *p, struct store_op *op, const struct nfs_dir *parent)
{
    static const uint8_t no_verf[NFS_VERF_SIZE];
    struct store_list *list = list_create(op);
    struct nfs_compound *c = NULL;
    uint32_t size = page_size(p) - PAGE_ROOM;
    int err = list ? nfs41_begin(p, &c) : -ENOMEM;
    int r = err;

    if (!err) {
        nfs_put_putfh(c, &parent->fh);
        nfs41_put_level(c, op->dir->name);
        nfs_put_readdir(c, 0, no_verf, size, list->mask);
        nfs_compound_expect(c, (size_t)size + 2 * PAGE_ROOM);
        err = nfs41_send(p, c);
        r = err ? err : get_below(p, c, op->dir, list);
        nfs_compound_end(c);
    }
    if (r) {
        free(list);
        return err && err != -E2BIG ? err : 1;
    }
    return list_hand_out(op, list);
}

int nfs41_list_open(struct port *p, struct store_op *op)
{
    struct nfs41_store *s = nfs41_of(p);
    struct dir *parent = op->dir->parent;
    struct nfs_dir there;
    int r = 1;

    if (parent && !nfs_dirs_known(&s->dirs, op->dir, &there) && nfs_dirs_known(&s->dirs, parent, &there)) {
        r = open_below(p, op, &there);
    }
    return r == 1 ? nfs41_in_dir(p, op, op->dir, false, open_in) : r;
}

/* Whether a server may call an entry so (P6). */
static bool name_good(const struct nfs_entry *e)
{
    return e->len > 0 && !memchr(e->name, '/', e->len) && !memchr(e->name, 0, e->len);
}

/* The next entry that was not handed out yet: 1; 0: there is none; -errno. */
static int next_entry(struct port *p, struct store_op *op, struct store_list *list, struct nfs_entry *e)
{
    for (;;) {
        uint64_t hash;
        bool eof = false;
        int r = nfs_seen_make_room(&list->seen); /* before: whoever asks again is given the next entry */

        r = !r && list->page ? nfs_get_entry(&list->in, e, &eof) : r;
        if (r < 0) {
            return r;
        }
        if (r == 0) {
            if (eof) {
                list->over = true;
                return 0;
            }
            if (list->page && list->in_page == 0) {
                return -EIO; /* a server that brings nothing and says there is more */
            }
            r = page_read(p, op, list);
            if (r) {
                return r;
            }
            continue;
        }
        list->cookie = e->cookie;
        list->in_page++;
        if (name_is_dots(e->name, e->len)) {
            continue;
        }
        if (!name_good(e)) {
            return -EPROTO;
        }
        hash = XXH3_64bits(e->name, e->len);
        if (nfs_seen_has(&list->seen, hash)) {
            continue;
        }
        nfs_seen_add(&list->seen, hash);
        return 1;
    }
}

int nfs41_list_next(struct port *p, struct store_op *op)
{
    struct store_list *list = *op->list.list;
    struct store_entry *out = op->list.out;
    struct nfs_entry e = {0};
    int r = list->over ? 0 : next_entry(p, op, list, &e);

    if (r < 0) {
        return r;
    }
    *out = (struct store_entry){.type = DT_UNKNOWN};
    if (r == 0 || !e.name) {
        return 0;
    }
    memcpy(list->name, e.name, e.len);
    list->name[e.len] = '\0';
    out->name = list->name;
    out->name_len = e.len;
    if (e.attrs.rdattr_error) {
        out->attr_error = list->want_attr ? nfs_errno(e.attrs.rdattr_error) : 0;
        return 0;
    }
    if (e.attrs.mask & NFS_ATTR_TYPE) {
        out->type = IFTODT(e.attrs.attr.mode);
        out->has_attr = list->want_attr;
    } else if (list->want_attr) {
        out->attr_error = -EIO;
    }
    if (out->has_attr) {
        nfs41_attr_of(nfs41_of(p), &e.attrs, &out->attr);
    }
    return 0;
}

int nfs41_list_park(struct port *p, struct store_op *op)
{
    struct store_list *list = *op->list.list;

    (void)p;
    page_free(list);
    list->page_max = PAGE_MIN;
    list->laps.mark = 0; /* the page may be asked for once more */
    return 0;
}

int nfs41_list_close(struct port *p, struct store_op *op)
{
    struct store_list *list = *op->list.list;

    (void)p;
    page_free(list);
    dir_put(list->dir);
    nfs_seen_release(&list->seen);
    free(list);
    *op->list.list = NULL;
    return 0;
}
