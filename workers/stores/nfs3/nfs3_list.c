/*
 * nfs3_list: listings, by READDIRPLUS: names, attributes and handles of many entries a round trip.
 *
 * A server may leave attributes or handles of an entry out, or have READDIR only: then it is looked up by itself. It
 * may say in the middle of a directory that its cookies are worth nothing any more (BAD_COOKIE): then the directory is
 * read from its beginning, and names that were handed out already are passed over. They are remembered as hashes, 8
 * bytes each, for as long as the listing lasts. A server that says so whenever the directory was changed since would
 * never let one be read to its end that never rests: so after some restarts only the verifier is fetched anew and the
 * old cookie tried with it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/name.h"
#include "workers/stores/nfs3/nfs3_internal.h"
#include "workers/stores/nfs_listing.h"

#define PAGE_MAX     (128U * 1024) /* bytes of a READDIR reply at most */
#define PAGE_MIN     4096U
#define PAGE_GROWTH  4U /* from one page to the next */
#define RESTARTS     3U /* from the beginning, before the old cookie is tried with a new verifier */
#define COOKIE_TRIES 8U /* new verifiers for one page; then the listing fails */
#define GONE_TRIES   8U /* of one page whose entries go while the server reads them; then the listing fails */

struct store_list {
    struct dir *dir;         /* one reference */
    struct nfs_fh fh;        /* of the directory: cookies mean nothing in another */
    bool want_attr;          /* as asked for */
    uint64_t cookie;         /* behind the last entry that was handed out or passed over */
    uint8_t verf[NFS3_VERF]; /* that belongs to it */
    struct nfs3_page page;   /* owned; entries NULL: parked, or not read yet */
    bool eof;                /* page is the last one */
    size_t next;             /* in page */
    uint32_t page_max;       /* bytes of the next page at most: small ones after a park, since the next may be near */
    bool over;               /* the end was handed out */
    unsigned restarts;       /* so far */
    struct nfs_laps laps;    /* of cookie */
    struct nfs_seen seen;    /* what was handed out */
    char *name;              /* the last one handed out, owned */
    size_t name_room;        /* bytes that name has room for */
};

/* Room for what is kept of an entry of that name: once it is taken from the page nothing fails any more, since whoever
 * asks again is given the next one. 0 or -ENOMEM. */
static int make_room(struct store_list *list, const char *name)
{
    size_t len = strlen(name) + 1;

    if (len > list->name_room) {
        char *more = realloc(list->name, len);

        if (!more) {
            return -ENOMEM;
        }
        list->name = more;
        list->name_room = len;
    }
    return nfs_seen_make_room(&list->seen);
}

static void page_free(struct store_list *list)
{
    nfs3_page_free(&list->page);
    list->next = 0;
}

static bool is_bad_cookie(int r)
{
    return r == V3_BAD_COOKIE || r == V3_NOT_SYNC;
}

/* One READDIRPLUS or READDIR of size bytes from cookie. keep: its entries too, not only its verifier. 0, a status or
 * -errno. */
static int page_ask(struct port *p, struct store_list *list, uint64_t cookie, uint32_t size, bool keep)
{
    struct nfs3_store *s = nfs3_of(p);
    bool plus = list->want_attr && !atomic_load_explicit(&s->no_plus, memory_order_relaxed);
    struct nfs3_req req = {.proc = plus ? V3_READDIRPLUS : V3_READDIR, .fh = &list->fh, .len = size, .cookie = cookie};
    int r;

    if (cookie) {
        memcpy(req.verf, list->verf, NFS3_VERF);
    }
    r = nfs3_call(p, &req);
    if (r == V3_NOTSUPP && plus) {
        atomic_store(&s->no_plus, true);
        req.proc = V3_READDIR;
        r = nfs3_call(p, &req);
    }
    if (r) {
        return r;
    }
    memcpy(list->verf, req.verf, NFS3_VERF);
    if (!keep) {
        nfs3_page_free(&req.page);
        return 0;
    }
    page_free(list);
    list->page = req.page;
    list->eof = req.eof;
    return 0;
}

/* page_ask from list->cookie. A server may fail a whole page with NOENT where one entry of many has gone since it read
 * the names (RFC 1813 3.3.17 knows no such status, Ganesha 4.3 has it): a directory that is there has a page. */
static int page_ask_all(struct port *p, struct store_list *list, uint32_t size)
{
    for (unsigned tries = 0;; tries++) {
        struct attr attr;
        int r = page_ask(p, list, list->cookie, size, true);

        if (r != V3_NOENT) {
            return r;
        }
        r = nfs3_getattr(p, &list->fh, &attr);
        if (r) {
            return r;
        }
        if (tries == GONE_TRIES) {
            return -EBUSY; /* passes perhaps */
        }
    }
}

/* The next page. 0 or -errno. */
static int page_read(struct port *p, struct store_op *op, struct store_list *list)
{
    uint32_t size = list->page_max < PAGE_MAX ? list->page_max : PAGE_MAX;
    unsigned tries = 0;
    int r;

    list->page_max = size > UINT32_MAX / PAGE_GROWTH ? UINT32_MAX : size * PAGE_GROWTH;
    for (;;) {
        r = page_ask_all(p, list, size);
        if (r == V3_TOOSMALL && size < PAGE_MAX) {
            size = PAGE_MAX; /* a page so small cannot hold the next entry */
            continue;
        }
        if (!is_bad_cookie(r) || list->cookie == 0 || tries++ == COOKIE_TRIES) {
            break;
        }
        nfs_seen_again(&list->seen); /* nothing is handed out twice */
        if (list->restarts++ < RESTARTS) {
            list->cookie = 0;
            continue;
        }
        r = page_ask(p, list, 0, PAGE_MIN, false);
        if (r) {
            break;
        }
    }
    if (r) {
        op->step = "readdir";
    }
    if (is_bad_cookie(r)) {
        return -EBUSY; /* it never rests: passes perhaps */
    }
    if (!r && nfs_laps_circle(&list->laps, list->cookie)) {
        page_free(list); /* asked for again it fails again */
        return nfs3_fail(op, "readdir", -EIO);
    }
    return nfs3_result(r);
}

static int open_in(struct port *p, struct store_op *op, const struct nfs_dir *dir)
{
    struct store_list *list = calloc(1, sizeof(*list));
    int err;

    if (!list) {
        return -ENOMEM;
    }
    list->fh = dir->fh;
    list->want_attr = op->list.want_attr;
    list->page_max = UINT32_MAX;
    err = page_read(p, op, list);
    if (err) {
        nfs_seen_release(&list->seen);
        free(list);
        return err;
    }
    list->dir = dir_get(op->dir);
    *op->list.list = list;
    return 0;
}

int nfs3_list_open(struct port *p, struct store_op *op)
{
    return nfs3_in_dir(p, op, op->dir, false, open_in);
}

/* Whether a server may call an entry so (P6). */
static bool name_good(const char *name)
{
    return name[0] != '\0' && !strchr(name, '/');
}

/* The next entry that was not handed out yet: 1; 0: there is none; -errno. */
static int next_entry(struct port *p, struct store_op *op, struct store_list *list, struct nfs3_entry **out)
{
    for (;;) {
        struct nfs3_entry *e;
        uint64_t hash;
        int r;

        if (list->next == list->page.count) {
            if (list->page.entries && list->eof) {
                list->over = true;
                return 0;
            }
            if (list->page.entries && list->page.count == 0) {
                return nfs3_fail(op, "readdir", -EIO); /* a server that brings nothing and says there is more */
            }
            r = page_read(p, op, list);
            if (r) {
                return r;
            }
            continue;
        }
        e = &list->page.entries[list->next];
        r = make_room(list, e->name);
        if (r) {
            return r;
        }
        list->next++;
        list->cookie = e->cookie;
        if (name_is_dots(e->name, strnlen(e->name, 3))) {
            continue;
        }
        if (!name_good(e->name)) {
            return -EPROTO;
        }
        hash = XXH3_64bits(e->name, strlen(e->name));
        if (nfs_seen_has(&list->seen, hash)) {
            continue;
        }
        nfs_seen_add(&list->seen, hash);
        *out = e;
        return 1;
    }
}

/* Attributes that the server left out. */
static void ask_attr(struct port *p, const struct store_list *list, const struct nfs3_entry *e, struct store_entry *out)
{
    struct nfs_fh fh;
    int r = e->has_fh ? nfs3_getattr(p, &e->fh, &out->attr) : nfs3_lookup(p, &list->fh, out->name, &fh, &out->attr);

    out->has_attr = r == 0;
    out->attr_error = nfs3_result(r);
}

int nfs3_list_next(struct port *p, struct store_op *op)
{
    struct store_list *list = *op->list.list;
    struct store_entry *out = op->list.out;
    struct nfs3_entry *e = NULL;
    int r = list->over ? 0 : next_entry(p, op, list, &e);

    if (r < 0) {
        return r;
    }
    *out = (struct store_entry){.type = DT_UNKNOWN};
    if (r == 0 || !e) {
        return 0;
    }
    out->name_len = strlen(e->name);
    memcpy(list->name, e->name, out->name_len + 1); /* the page may go with the next park */
    out->name = list->name;
    if (e->has_attr) {
        out->attr = e->attr;
        out->has_attr = list->want_attr;
    } else if (list->want_attr) {
        ask_attr(p, list, e, out);
    }
    if (e->has_attr || out->has_attr) {
        out->type = IFTODT(out->attr.mode);
    }
    return 0;
}

int nfs3_list_park(struct port *p, struct store_op *op)
{
    struct store_list *list = *op->list.list;

    (void)p;
    if (list->page.entries && list->next == list->page.count && list->eof) {
        list->over = true; /* nothing is to be read again */
    }
    page_free(list);
    list->page_max = PAGE_MIN;
    list->laps.mark = 0; /* the page may be asked for once more */
    return 0;
}

int nfs3_list_close(struct port *p, struct store_op *op)
{
    struct store_list *list = *op->list.list;

    (void)p;
    page_free(list);
    dir_put(list->dir);
    nfs_seen_release(&list->seen);
    free(list->name);
    free(list);
    *op->list.list = NULL;
    return 0;
}
