/*
 * nfs3_path: the portmapper, mountd, and the way to the root of the store, with directories that are missing there.
 *
 * mountd is asked for the path as a whole first, then for what is above it: some servers mount exports only, some what
 * is below them too. From what it gives a handle of, LOOKUP goes on.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/errs.h"
#include "workers/stores/nfs3/nfs3_internal.h"

#define PMAP_PORT_NUMBER 111
#define NAME_SIZE        256               /* bytes of a component with its NUL */
#define SHOWN            8                 /* exports that are told */
#define REGISTER_NS      (500 * NS_PER_MS) /* a portmapper that has just been started knows nobody yet */

__attribute__((format(printf, 2, 3))) static void say(char **problem, const char *format, ...)
{
    va_list args;

    if (!problem || *problem) {
        return;
    }
    va_start(args, format);
    if (vasprintf(problem, format, args) < 0) {
        *problem = NULL;
    }
    va_end(args);
}

/* One call on a connection that lives only for it. 0, a status or -errno; *out_lost: nobody has answered. */
static int call_once(struct nfs3_store *s, struct io *io, uint16_t port, struct nfs3_req *req, bool *out_lost)
{
    struct nfs3_wire *wire = NULL;
    int64_t deadline = nfs3_deadline_ns(s);
    int r = -EAGAIN;

    *out_lost = true;
    for (unsigned i = 0; *out_lost && i <= s->retries && clock_mono_ns() < deadline; i++) {
        if (i > 0 && io_sleep(io, REGISTER_NS) < 0) {
            return -ECANCELED;
        }
        r = nfs3_connect(s, io, port, deadline, &wire);
        if (!r) {
            r = nfs3_wire_call(wire, req, deadline, out_lost);
            nfs3_wire_close(wire);
        }
    }
    return r;
}

/* ---- the portmapper ---- */

static int find_port(struct nfs3_store *s, struct io *io, uint32_t program, const char *what, const char *hint,
                     uint16_t *port, char **problem)
{
    struct nfs3_req req = {.proc = V3_PMAP_PORT, .program = program};
    bool lost = false;
    int r;

    if (*port) {
        return 0;
    }
    r = nfs3_result(call_once(s, io, PMAP_PORT_NUMBER, &req, &lost));
    if (r) {
        say(problem,
            "the portmapper (rpcbind, port 111) of %s does not answer (%s), which NFSv3 needs to find %s: start "
            "rpcbind "
            "there, or give %s",
            s->host, err_text(r), what, hint);
        return r;
    }
    if (req.port == 0) {
        say(problem,
            "%s does not speak NFSv3: its portmapper knows of no %s over TCP (rpcinfo -p %s shows what it has)",
            s->host, what, s->host);
        return -EPROTONOSUPPORT;
    }
    *port = req.port;
    return 0;
}

int nfs3_ports_find(struct nfs3_store *s, struct io *io, char **problem)
{
    int r = find_port(s, io, NFS3_PROGRAM, "NFS version 3", "its port: nfs://server:2049/...", &s->port, problem);

    return r ? r
             : find_port(s, io, MOUNT3_PROGRAM, "mountd, version 3,", "its port: ?version=3&mountport=...",
                         &s->mount_port, problem);
}

/* ---- mountd ---- */

/* The exports of the server, for a message: "/a, /b". */
static void exports_show(struct nfs3_store *s, struct io *io, char *out, size_t size)
{
    struct nfs3_req req = {.proc = V3_EXPORTS};
    size_t used = 0;
    bool lost = false;

    out[0] = '\0';
    if (call_once(s, io, s->mount_port, &req, &lost)) {
        return;
    }
    for (size_t i = 0; i < req.page.count && i < SHOWN; i++) {
        int n = snprintf(out + used, size - used, "%s%s", i ? ", " : "", req.page.entries[i].name);

        if (n < 0 || (size_t)n >= size - used) {
            break;
        }
        used += (size_t)n;
    }
    nfs3_page_free(&req.page);
}

static int explain_mount(struct port *p, int r, char **problem)
{
    struct nfs3_store *s = nfs3_of(p);
    char names[1024];
    char text[V3_STATUS_TEXT];

    if (!problem) {
        return nfs3_result(r);
    }
    if (r == -EPROTONOSUPPORT) {
        say(problem, "mountd of %s does not speak version 3, which NFSv3 needs", s->host);
        return r;
    }
    if (r < 0) {
        say(problem,
            "mountd of %s does not answer at port %u (%s), which NFSv3 needs for the first handle: look whether it "
            "runs, and at ?version=3&mountport=...",
            s->host, s->mount_port, err_text(r));
        return r;
    }
    exports_show(s, p->io, names, sizeof(names));
    if (r == V3_NOENT || r == V3_NOTDIR) {
        say(problem,
            "there is no \"%s\" that %s exports with NFSv3; it exports: %s. The path of a nfs:// URL with version=3 is "
            "the one that the server itself has",
            s->path, s->host, names[0] ? names : "nothing that it tells of");
        return -ENOENT;
    }
    if (r == V3_ACCES || r == V3_PERM) {
        say(problem,
            "%s does not export \"%s\" to this machine with NFSv3 (%s), or wants a port below 1024 (run as root, "
            "without "
            "--no-reserved-port); it exports: %s",
            s->host, s->path, nfs3_status_text((uint32_t)r, text), names[0] ? names : "nothing that it tells of");
        return -EACCES;
    }
    say(problem, "mountd of %s does not give us \"%s\": %s", s->host, s->path, nfs3_status_text((uint32_t)r, text));
    return nfs3_result(r);
}

/* The handle of path as far as mountd gives one: *len bytes of it. 0, a status of the first try, or -errno. */
static int mount_most(struct port *p, const char *path, struct nfs_fh *out, size_t *out_len)
{
    struct nfs3_store *s = nfs3_of(p);
    size_t len = strlen(path);
    char *part = strdup(path);
    int first = 0;

    if (!part) {
        return -ENOMEM;
    }
    for (;;) {
        struct nfs3_req req = {.proc = V3_MNT, .name = part};
        bool lost = false;
        int r = call_once(s, p->io, s->mount_port, &req, &lost);

        if (r <= 0) {
            *out = req.out_fh;
            *out_len = len;
            free(part);
            return r;
        }
        /* What says most: a refusal, before "there is none". */
        first = first == 0 || ((r == V3_ACCES || r == V3_PERM) && first == V3_NOENT) ? r : first;
        while (len > 0 && part[len - 1] != '/') {
            len--;
        }
        while (len > 0 && part[len - 1] == '/') {
            len--;
        }
        if (len == 0 && strcmp(part, "/") == 0) {
            free(part);
            return first;
        }
        len = len > 0 ? len : 1;
        part[len] = '\0';
    }
}

/* ---- the way ---- */

/* A walk. */
struct walk {
    struct port *p;
    const struct nfs3_options *nfs; /* whether and how what is missing is made; NULL: it is not */
    unsigned made;                  /* directories that were missing */
    char **problem;                 /* may be NULL */
    const char *path;               /* as a whole */
    struct nfs_dir at;              /* where it stands */
    char name[NAME_SIZE];           /* the component that is looked up or made */
};

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

static int stand_on(struct walk *w, const struct nfs_fh *fh, const struct attr *attr)
{
    if (!S_ISDIR(attr->mode)) {
        say(w->problem, "\"%s\" in \"%s\" is not a directory on the server", w->name, w->path);
        return S_ISLNK(attr->mode) ? -ELOOP : -ENOTDIR;
    }
    w->at = (struct nfs_dir){.fh = *fh, .inherits = (attr->mode & S_ISGID) != 0};
    return 0;
}

/* Goes to w->name. 0, a status or -errno. */
static int go_down(struct walk *w)
{
    struct nfs_fh fh;
    struct attr attr;
    int r = nfs3_lookup(w->p, &w->at.fh, w->name, &fh, &attr);

    return r ? r : stand_on(w, &fh, &attr);
}

/* Makes w->name and goes there. 0, a status or -errno. */
static int make(struct walk *w, bool last)
{
    const struct attr attr = {.mode = S_IFDIR | (last ? w->nfs->root_mode : w->nfs->missing_mode)};
    struct nfs3_req req = {.proc = V3_MKDIR, .fh = &w->at.fh, .name = w->name, .attr_in = &attr, .set = V3_SET_MODE};
    int r = nfs3_call(w->p, &req);

    if (r == V3_EXIST) {
        w->made += req.again; /* our own first try, most likely; its answer was lost */
        return go_down(w);    /* or somebody else was quicker */
    }
    if (r) {
        return r;
    }
    w->made++;
    return go_down(w);
}

static int explain_walk(struct walk *w, int r)
{
    char text[V3_STATUS_TEXT];

    switch (r) {
    case V3_ACCES:
    case V3_PERM:
        say(w->problem,
            "the server lets us not into \"%s\" on the way to \"%s\": look at its export options and at "
            "--nfs-uid",
            w->name, w->path);
        return nfs3_result(r);
    case V3_NOENT:
        return -ENOENT;
    default:
        if (r > 0) {
            say(w->problem, "the server does not let us go to \"%s\" in \"%s\": %s", w->name, w->path,
                nfs3_status_text((uint32_t)r, text));
        }
        return nfs3_result(r);
    }
}

static int walk_rest(struct walk *w, const char *rest)
{
    for (;;) {
        int r = next_name(w, &rest);

        if (r <= 0) {
            return r;
        }
        r = go_down(w);
        if (r == V3_NOENT && w->nfs && w->nfs->make_missing && !w->nfs->read_only) {
            r = make(w, rest[strspn(rest, "/")] == '\0');
        }
        if (r) {
            return explain_walk(w, r);
        }
    }
}

int nfs3_path_walk(struct port *p, const struct nfs3_options *nfs, struct nfs_dir *out, unsigned *out_made,
                   char **problem)
{
    const struct nfs3_store *s = nfs3_of(p);
    struct walk w = {.p = p, .nfs = nfs, .problem = problem, .path = s->path, .name = "/"};
    struct nfs_fh fh = {0};
    struct attr attr = {0};
    size_t len = 0;
    int r = mount_most(p, s->path, &fh, &len);

    if (r) {
        return explain_mount(p, r, problem);
    }
    r = nfs3_getattr(p, &fh, &attr);
    r = r ? explain_walk(&w, r) : stand_on(&w, &fh, &attr);
    r = r ? r : walk_rest(&w, s->path + len);
    if (out_made) {
        *out_made += w.made;
    }
    if (!r) {
        *out = w.at;
    }
    return r;
}
