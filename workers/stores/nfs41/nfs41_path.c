/*
 * nfs41_path: the way from the server's pseudo root to the root of the store, and directories that are missing there.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "workers/stores/nfs41/nfs41_internal.h"

#define MAY_MAKE  12U /* ACCESS4_MODIFY, ACCESS4_EXTEND: of a directory, to make something in it */
#define SHOWN     8   /* names that are told where none fits */
#define LEVELS    16U /* looked up in one COMPOUND: names of 255 bytes fit in */
#define LEVEL_OPS 3U  /* LOOKUP, GETATTR, GETFH */
#define OTHER_OPS 5U  /* SEQUENCE, PUTFH, what is asked of the pseudo root, and the limits of the end */

/* A walk. */
struct walk {
    struct port *p;
    const struct nfs41_options *nfs; /* whether and how what is missing is made; NULL: it is not */
    unsigned made;                   /* directories that were missing */
    char **problem;                  /* may be NULL */
    const char *path;                /* as a whole */
    const char *rest;                /* what of it has not been walked */
    size_t done;                     /* bytes of path that have been walked */
    struct nfs_dir at;               /* where it stands; fh.len 0: at the pseudo root */
    struct attr seen;        /* its type, mode, ino and times; valid where fh.len > 0 and it was not known before */
    char name[NFS_NAME_MAX]; /* the component that is looked up or made */
};

__attribute__((format(printf, 2, 3))) static void say(struct walk *w, const char *format, ...)
{
    va_list args;

    if (!w->problem || *w->problem) {
        return;
    }
    va_start(args, format);
    if (vasprintf(w->problem, format, args) < 0) {
        *w->problem = NULL;
    }
    va_end(args);
}

static void put_here(struct nfs_compound *c, const struct walk *w)
{
    if (w->at.fh.len > 0) {
        nfs_put_putfh(c, &w->at.fh);
    } else {
        nfs_put_putrootfh(c);
    }
}

static int get_here(struct nfs_compound *c, const struct walk *w)
{
    return nfs_get_plain(c, w->at.fh.len > 0 ? NFS_OP_PUTFH : NFS_OP_PUTROOTFH);
}

/* The walk stands at one more directory on the way. */
static void remember(const struct walk *w)
{
    struct nfs41_store *s = nfs41_of(w->p);

    if (!w->nfs) {
        return;
    }
    if (!s->way) {
        s->way = calloc(NFS41_WAY_MAX, sizeof(*s->way));
    }
    if (s->way && s->way_count < NFS41_WAY_MAX) {
        s->way[s->way_count] = w->at;
    }
    s->way_count += s->way != NULL;
    s->way_len = w->done;
}

/* What stands where the COMPOUND has got to; a directory is where the walk stands from now on. 0, NFS4ERR or -errno. */
static int get_found(struct walk *w, struct nfs_compound *c)
{
    struct nfs_dir found = {0};
    struct attr attr = {0};
    int r = nfs41_get_attr(w->p, c, &attr);

    r = r ? r : nfs_get_getfh(c, &found.fh);
    if (r) {
        return r;
    }
    if (!S_ISDIR(attr.mode)) {
        say(w, "\"%s\" in \"%s\" is not a directory on the server", w->name, w->path);
        return S_ISLNK(attr.mode) ? -ELOOP : -ENOTDIR;
    }
    found.inherits = (attr.mode & S_ISGID) != 0;
    w->at = found;
    w->seen = attr;
    return 0;
}

static void put_found(struct nfs_compound *c)
{
    nfs_put_getattr(c, NFS_ATTR_TYPE | NFS_ATTR_MODE | NFS_ATTR_FILEID | NFS_ATTR_ATIME | NFS_ATTR_MTIME);
    nfs_put_getfh(c);
}

/* Makes w->name and goes there. 0, NFS4ERR or -errno; NFS4ERR_EXIST: it stands there. */
static int make(struct walk *w, bool last)
{
    struct attr attr = {.mode = S_IFDIR | (last ? w->nfs->root_mode : w->nfs->missing_mode)};
    struct nfs_compound *c;
    int r = nfs41_begin(w->p, &c);

    if (r) {
        return r;
    }
    put_here(c, w);
    nfs_put_create(c, w->name, NFS_ATTR_MODE, &attr, NULL);
    put_found(c);
    r = nfs41_send(w->p, c);
    r = r ? r : get_here(c, w);
    r = r ? r : nfs_get_create(c);
    if (!r) {
        w->made++;
        r = get_found(w, c);
    }
    nfs_compound_end(c);
    return r;
}

/* The names of the directories that there are, for a message: "a, b, c". */
static void names_here(struct walk *w, char *out, size_t size)
{
    static const uint8_t no_verf[NFS_VERF_SIZE];
    uint8_t verf[NFS_VERF_SIZE];
    struct nfs_entry entry;
    struct nfs_compound *c;
    size_t used = 0;
    bool eof = false;
    int r = nfs41_begin(w->p, &c);

    out[0] = '\0';
    if (r) {
        return;
    }
    put_here(c, w);
    nfs_put_readdir(c, 0, no_verf, 8192, NFS_ATTR_TYPE | NFS_ATTR_RDATTR_ERROR);
    r = nfs41_send(w->p, c);
    r = r ? r : get_here(c, w);
    r = r ? r : nfs_get_readdir(c, verf);
    for (unsigned i = 0; !r && i < SHOWN && nfs_get_entry(&c->in, &entry, &eof) == 1; i++) {
        int n = snprintf(out + used, size - used, "%s%.*s", i ? ", " : "", (int)entry.len, entry.name);

        if (n < 0 || (size_t)n >= size - used) {
            break;
        }
        used += (size_t)n;
    }
    nfs_compound_end(c);
}

/* Whether the server would let us make a directory where the walk stands; yes where it does not say. */
static bool may_make(const struct walk *w)
{
    struct nfs_compound *c;
    uint32_t granted = MAY_MAKE;
    int r = nfs41_begin(w->p, &c);

    if (r) {
        return true;
    }
    put_here(c, w);
    nfs_put_access(c, MAY_MAKE);
    r = nfs41_send(w->p, c);
    r = r ? r : get_here(c, w);
    r = r ? r : nfs_get_access(c, &granted);
    nfs_compound_end(c);
    return r || granted == MAY_MAKE;
}

/* What is to be said when the walk ends at r. */
static int explain(struct walk *w, int r)
{
    char names[512];
    char here[128];
    char text[NFS_STATUS_TEXT];

    if (r <= 0) {
        return r;
    }
    (void)snprintf(here, sizeof(here), "%.*s", w->done ? (int)w->done : 1, w->done ? w->path : "/");
    switch (r) {
    case NFS4ERR_NOENT:
    case NFS4ERR_ROFS:
        names_here(w, names, sizeof(names));
        say(w,
            "there is no \"%s\" on the server; below that it has: %s. The path of a nfs:// URL is the one that NFSv4 "
            "clients mount",
            w->path, names[0] ? names : "nothing that we may see");
        return r == NFS4ERR_ROFS ? -EROFS : -ENOENT;
    case NFS4ERR_WRONGSEC:
        say(w,
            "the server wants other security than AUTH_SYS (Kerberos, most likely) for \"%s\": mount it with the "
            "kernel's client and copy to the mount",
            w->path);
        return -EACCES;
    case NFS4ERR_PERM:
        say(w,
            "the server refuses us \"%s\": it may not export it to this machine, or want a port below 1024 (run as "
            "root, without --no-reserved-port)",
            w->path);
        return -EPERM;
    case NFS4ERR_ACCESS:
        say(w, "the server lets us not search \"%s\": look at its export options and at --nfs-uid", here);
        return -EACCES;
    case NFS4ERR_MOVED:
        say(w, "the server says that \"%s\" is on another server now", w->path);
        return -EREMOTE;
    default:
        say(w, "the server does not let us go to \"%s\": %s", w->path, nfs_status_text((uint32_t)r, text));
        return nfs_errno((uint32_t)r);
    }
}

/* The next component after *rest into w->name. 1; 0: there is none; -ENAMETOOLONG. */
static int next_name(struct walk *w, const char **rest)
{
    const char *at = *rest + strspn(*rest, "/");
    size_t len = strcspn(at, "/");

    if (len >= sizeof(w->name)) {
        return -ENAMETOOLONG;
    }
    *rest = at + len;
    memcpy(w->name, at, len);
    w->name[len] = '\0';
    return len > 0;
}

static void walked(struct walk *w, const char *rest)
{
    w->rest = rest;
    w->done = (size_t)(rest - w->path);
    remember(w);
}

/* Levels that one COMPOUND can look up. */
static unsigned levels_at_once(const struct walk *w)
{
    struct nfs_limits limits;
    unsigned n;

    nfs41_limits(w->p, &limits);
    n = limits.max_ops > OTHER_OPS + LEVEL_OPS ? (limits.max_ops - OTHER_OPS) / LEVEL_OPS : 1;
    return n < LEVELS ? n : LEVELS;
}

/* Adds those of the next components. How many, or -ENAMETOOLONG; *out_end: it goes to the end of the way. */
static int put_levels(struct walk *w, struct nfs_compound *c, bool *out_end)
{
    unsigned most = levels_at_once(w);
    const char *rest = w->rest;
    unsigned n = 0;

    if (w->at.fh.len == 0) {
        put_found(c); /* the pseudo root itself */
    }

    while (n < most && nfs_compound_size(c) < NFS_COMPOUND_BYTES / 2) {
        int r = next_name(w, &rest);

        if (r < 0 && n == 0) {
            return r;
        }
        if (r <= 0) {
            break;
        }
        nfs_put_lookup(c, w->name);
        put_found(c);
        n++;
    }
    *out_end = rest[strspn(rest, "/")] == '\0';
    return (int)n;
}

/* Goes down as far as one COMPOUND does. 0, NFS4ERR or -errno: then w->name is where it stopped. */
static int descend(struct walk *w)
{
    struct nfs_compound *c;
    int r = nfs41_begin(w->p, &c);
    bool end = false;
    bool root;
    int n;

    if (r) {
        return r;
    }
    put_here(c, w);
    root = w->at.fh.len == 0;
    n = put_levels(w, c, &end);
    end = end && w->nfs;
    if (end) {
        nfs41_put_limits(c); /* of what was walked to */
    }
    nfs_compound_expect(c, 1024 + (LEVELS + 1) * 256);
    r = n < 0 ? n : nfs41_send(w->p, c);
    r = r ? r : get_here(c, w);
    if (!r && root) {
        r = get_found(w, c);
        if (!r) {
            walked(w, w->rest);
        }
    }
    for (int i = 0; i < n && !r; i++) {
        const char *rest = w->rest;

        (void)next_name(w, &rest);
        r = nfs_get_plain(c, NFS_OP_LOOKUP);
        r = r ? r : get_found(w, c);
        if (!r) {
            walked(w, rest);
        }
    }
    if (!r && end) {
        (void)nfs41_get_limits(w->p, c); /* else they are asked for by themselves */
    }
    nfs_compound_end(c);
    return r;
}

/* The next component, which was not there. 0, NFS4ERR or -errno. */
static int make_next(struct walk *w)
{
    const char *rest = w->rest;
    int r = next_name(w, &rest);

    r = r > 0 ? make(w, rest[strspn(rest, "/")] == '\0') : -ENOENT;
    if (r == NFS4ERR_EXIST) {
        return descend(w);
    }
    /* Where no export is, nothing can be made: that is what is wrong, not that it cannot. */
    if (r == NFS4ERR_ROFS || r == NFS4ERR_NOTSUPP || r == NFS4ERR_SERVERFAULT || r == NFS4ERR_INVAL ||
        ((r == NFS4ERR_ACCESS || r == NFS4ERR_PERM) && w->at.fh.len == 0)) {
        return NFS4ERR_NOENT;
    }
    if (!r) {
        walked(w, rest);
    }
    return r;
}

/* Begins at the pseudo root; or, with known, where the way ended that is known already. */
static void begin(struct walk *w, bool known)
{
    struct nfs41_store *s = nfs41_of(w->p);

    w->at = known ? s->way[s->way_count - 1] : (struct nfs_dir){0};
    w->done = known ? s->way_len : 0;
    w->rest = w->path + w->done;
    if (w->nfs && !known) {
        s->way_count = 0;
    }
}

/* The rest of the way. missing: the next directory is known to be. 0, NFS4ERR or -errno. */
static int go_on(struct walk *w, bool missing)
{
    bool makes = w->nfs && w->nfs->make_missing && !w->nfs->read_only;
    int r = 0;

    while (!r && (w->at.fh.len == 0 || w->rest[strspn(w->rest, "/")] != '\0')) {
        unsigned made = w->made;

        r = missing ? NFS4ERR_NOENT : descend(w);
        if (r == NFS4ERR_NOENT && makes) {
            r = make_next(w);
        } else if (r == NFS4ERR_NOENT && w->nfs && w->nfs->read_only && !may_make(w)) {
            r = NFS4ERR_ROFS;
        }
        missing = w->made > made; /* what comes below a new directory */
    }
    return r;
}

int nfs41_path_walk(struct port *p, const struct nfs41_options *nfs, struct nfs_dir *out, unsigned *out_made,
                    char **problem)
{
    struct nfs41_store *s = nfs41_of(p);
    bool known = nfs && s->missing && s->way_count > 0 && s->way_count <= NFS41_WAY_MAX;
    struct walk *w = calloc(1, sizeof(*w));
    int r;

    if (!w) {
        return -ENOMEM;
    }
    *w = (struct walk){.p = p, .nfs = nfs, .problem = problem, .path = s->path};
    begin(w, known);
    r = go_on(w, known);
    if (known && r > 0 && (nfs41_is_stale((uint32_t)r) || r == NFS4ERR_NOENT)) {
        begin(w, false); /* it is another way by now */
        r = go_on(w, false);
    }
    if (r == NFS4ERR_NOENT && nfs && nfs->may_be_missing && w->at.fh.len > 0) {
        r = -ENOENT; /* nothing is to be said */
    }
    r = explain(w, r);
    if (!r) {
        *out = w->at;
        if (nfs) {
            s->head.caps.root_ino = w->seen.ino;
            s->head.caps.root_atime = w->seen.atime;
            s->head.caps.root_mtime = w->seen.mtime;
        }
        if (out_made) {
            *out_made = w->made;
        }
    }
    free(w);
    return r;
}
