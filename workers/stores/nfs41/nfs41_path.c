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

#define SHOWN 8 /* names that are told where none fits */

/* A walk. */
struct walk {
    struct port *p;
    const struct nfs41_options *nfs; /* whether and how what is missing is made; NULL: it is not */
    unsigned made;                   /* directories that were missing */
    char **problem;                  /* may be NULL */
    const char *path;                /* as a whole */
    size_t done;                     /* bytes of path that have been walked */
    struct nfs41_dir at;             /* where it stands; fh.len 0: at the pseudo root */
    char name[NFS_NAME_MAX];         /* next component */
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

/* Goes to name. 0, NFS4ERR or -errno. */
static int step(struct walk *w, const char *name, mode_t *out_mode)
{
    struct nfs_compound *c;
    struct nfs41_dir found = {0};
    struct attr attr = {0};
    int r = nfs41_begin(w->p, &c);

    if (r) {
        return r;
    }
    put_here(c, w);
    if (name) {
        nfs_put_lookup(c, name);
    }
    nfs_put_getattr(c, NFS_ATTR_TYPE | NFS_ATTR_MODE);
    nfs_put_getfh(c);
    r = nfs41_send(w->p, c);
    r = r ? r : get_here(c, w);
    r = r || !name ? r : nfs_get_plain(c, NFS_OP_LOOKUP);
    r = r ? r : nfs41_get_attr(w->p, c, &attr);
    r = r ? r : nfs_get_getfh(c, &found.fh);
    nfs_compound_end(c);
    if (!r) {
        *out_mode = attr.mode;
        if (S_ISDIR(attr.mode)) {
            found.inherits = (attr.mode & S_ISGID) != 0;
            w->at = found;
        }
    }
    return r;
}

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
    r = nfs41_send(w->p, c);
    r = r ? r : get_here(c, w);
    r = r ? r : nfs_get_create(c);
    nfs_compound_end(c);
    w->made += r == 0;
    return r == NFS4ERR_EXIST ? 0 : r;
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
        return -ENOENT;
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

/* The next component into w->name. False: there is none. -ENAMETOOLONG by way of *err. */
static bool next_name(struct walk *w, const char **rest, int *err)
{
    const char *at = *rest;
    size_t len;

    while (*at == '/') {
        at++;
    }
    len = strcspn(at, "/");
    *rest = at + len;
    if (len == 0) {
        return false;
    }
    if (len >= sizeof(w->name)) {
        *err = -ENAMETOOLONG;
        return false;
    }
    memcpy(w->name, at, len);
    w->name[len] = '\0';
    return true;
}

/* One component. 0, NFS4ERR or -errno. */
static int walk_one(struct walk *w, bool last)
{
    mode_t found = 0;
    int r = step(w, w->name, &found);

    if (r == NFS4ERR_NOENT && w->nfs && w->nfs->make_missing && !w->nfs->read_only) {
        r = make(w, last);
        /* Where no export is, nothing can be made: that is what is wrong, not that it cannot. */
        if (r == NFS4ERR_ROFS || r == NFS4ERR_NOTSUPP || r == NFS4ERR_SERVERFAULT || r == NFS4ERR_INVAL ||
            ((r == NFS4ERR_ACCESS || r == NFS4ERR_PERM) && w->at.fh.len == 0)) {
            return NFS4ERR_NOENT;
        }
        r = r ? r : step(w, w->name, &found);
    }
    if (r) {
        return r;
    }
    if (!S_ISDIR(found)) {
        say(w, "\"%s\" in \"%s\" is not a directory on the server", w->name, w->path);
        return S_ISLNK(found) ? -ELOOP : -ENOTDIR;
    }
    return 0;
}

int nfs41_path_walk(struct port *p, const struct nfs41_options *nfs, struct nfs41_dir *out, unsigned *out_made,
                    char **problem)
{
    struct walk *w = calloc(1, sizeof(*w));
    const char *rest;
    mode_t found = 0;
    int r = 0;

    if (!w) {
        return -ENOMEM;
    }
    *w = (struct walk){.p = p, .nfs = nfs, .problem = problem, .path = nfs41_of(p)->path};
    rest = w->path;
    while (!r && next_name(w, &rest, &r)) {
        r = walk_one(w, rest[strspn(rest, "/")] == '\0');
        w->done = r ? w->done : (size_t)(rest - w->path);
    }
    if (!r && w->at.fh.len == 0) {
        r = step(w, NULL, &found);
    }
    r = explain(w, r);
    if (!r) {
        *out = w->at;
        if (out_made) {
            *out_made = w->made;
        }
    }
    free(w);
    return r;
}
