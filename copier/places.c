#include "copier/places.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/errs.h"
#include "copier/mounts.h"
#include "copier/mounturl.h"
#include "copier/status.h"

int places_within(int outer, int inner)
{
    struct stat top;
    struct stat here;
    struct stat last = {0};
    if (fstat(outer, &top) != 0) {
        return -errno;
    }
    int fd = fcntl(inner, F_DUPFD_CLOEXEC, 0);
    for (bool first = true; fd >= 0; first = false) {
        if (fstat(fd, &here) != 0) {
            break;
        }
        bool same = here.st_dev == top.st_dev && here.st_ino == top.st_ino;
        bool at_root = !first && here.st_dev == last.st_dev && here.st_ino == last.st_ino;
        if (same || at_root) {
            close(fd);
            return same;
        }
        last = here;
        int up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int err = errno;
        close(fd);
        fd = up;
        errno = err;
    }
    int err = errno;
    if (fd >= 0) {
        close(fd);
    }
    return -err;
}

/* The path without trailing slashes ("/" stays), malloc'd. */
static char *trimmed(const char *path)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    return strndup(path, len);
}

/* Splits path into its real parent and its last component, both malloc'd. 0 or -errno. */
static int split(const char *path, char **out_parent, char **out_name)
{
    char *for_dir = trimmed(path);
    char *for_base = trimmed(path);
    char *parent = NULL;
    char *name = NULL;
    int r = -ENOMEM;
    if (for_dir != NULL && for_base != NULL) {
        errno = 0;
        parent = realpath(dirname(for_dir), NULL);
        r = parent == NULL ? -errno : 0;
        name = strdup(basename(for_base));
        if (r == 0 && name == NULL) {
            r = -ENOMEM;
        }
    }
    free(for_dir);
    free(for_base);
    if (r != 0) {
        free(parent);
        free(name);
        return r;
    }
    *out_parent = parent;
    *out_name = name;
    return 0;
}

static char *join(const char *parent, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s%s%s", parent, strcmp(parent, "/") == 0 ? "" : "/", name) < 0) {
        return NULL;
    }
    return path;
}

static int cannot(struct report *report, const char *what, const char *path, int err)
{
    report_error(report, "%s '%s': %s", what, path, err_text(err));
    return STATUS_CANNOT;
}

int places_single(const struct options *options, struct report *report)
{
    if (options->files_from == NULL) {
        return 0;
    }
    report_error(report, "--files-from needs a directory as SRC; '%s' is a file", options->source);
    return STATUS_USAGE;
}

/* SRC at a server: as a directory until it turns out to be none. */
static int source_at_server(const struct options *o, struct report *report, struct places *p)
{
    p->source = url_text(&o->source_url);
    if (p->source == NULL || url_copy(&o->source_url, o->source_url.path, &p->source_url) != 0) {
        return cannot(report, "SRC", o->source, ENOMEM);
    }
    return 0;
}

int places_find_source(const struct options *o, struct report *report, struct places *p)
{
    if (o->source_url.host != NULL) {
        return source_at_server(o, report, p);
    }
    struct stat st;
    char *path = trimmed(o->source);
    if (path == NULL) {
        return cannot(report, "SRC", o->source, ENOMEM);
    }
    /* A link to a directory stands for the directory; any other link is the single entry that is copied. */
    int r = lstat(path, &st) == 0 ? 0 : -errno;
    struct stat target;
    bool dir = r == 0 && (S_ISDIR(st.st_mode) || (stat(path, &target) == 0 && S_ISDIR(target.st_mode)));
    free(path);
    if (r != 0) {
        return cannot(report, "SRC", o->source, r);
    }
    if (!dir && o->source[strlen(o->source) - 1] == '/') {
        return cannot(report, "SRC", o->source, ENOTDIR);
    }
    if (dir) {
        p->source = realpath(o->source, NULL);
    } else {
        r = split(o->source, &p->source, &p->only_name);
    }
    if (r != 0 || p->source == NULL) {
        return cannot(report, "SRC", o->source, r != 0 ? r : errno);
    }
    if (!dir && places_single(o, report) != 0) {
        return STATUS_USAGE;
    }
    if (S_ISREG(st.st_mode) && faccessat(AT_FDCWD, o->source, R_OK, AT_EACCESS) != 0) {
        return cannot(report, "cannot read SRC", o->source, errno);
    }
    if (dir) {
        int fd = open(p->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || faccessat(fd, ".", X_OK, AT_EACCESS) != 0) {
            r = cannot(report, "cannot read SRC", o->source, errno);
        }
        if (fd >= 0) {
            close(fd);
        }
        return r;
    }
    return 0;
}

/* The destination root is there: may we write in it? Not asked where it is only looked at. */
static int check_writable(const struct options *o, struct report *report, const char *dir)
{
    if (options_looks(o) && o->dry_run) {
        return 0;
    }
    if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) != 0) {
        return cannot(report, "cannot write in DST", o->destination, errno);
    }
    return 0;
}

/* DST does not exist: its parent must, and must let us create it. */
static int find_missing(const struct options *o, struct report *report, struct places *p)
{
    char *parent = NULL;
    char *name = NULL;
    int r = split(o->destination, &parent, &name);
    if (r != 0) {
        report_error(report, "DST '%s': its parent directory: %s; create it first, or mount it", o->destination,
                     err_text(r));
        return STATUS_CANNOT;
    }
    bool slash = o->destination[strlen(o->destination) - 1] == '/';
    if (p->only_name != NULL && !slash) { /* the new name of a single file */
        p->destination = parent;
        p->only_as = name;
        return check_writable(o, report, parent);
    }
    p->destination = join(parent, name);
    p->missing = true;
    r = p->destination == NULL ? cannot(report, "DST", o->destination, ENOMEM) : check_writable(o, report, parent);
    free(parent);
    free(name);
    return r;
}

/* DST at a server: as a directory until it turns out to be none. */
static int find_server(const struct options *o, struct report *report, struct places *p)
{
    p->destination = url_text(&o->url);
    if (p->destination == NULL || url_copy(&o->url, o->url.path, &p->url) != 0) {
        return cannot(report, "DST", o->destination, ENOMEM);
    }
    return 0;
}

/* *url and its *text become those of the directory above; *name its last name. 0, -EINVAL or -ENOMEM. */
static int name_file(struct url *url, char **text, char **name)
{
    const char *last = url_name(url);
    if (last == NULL || url->slash) {
        return -EINVAL;
    }
    struct url root = {0};
    char *new_name = strdup(last);
    char *parent = url_parent(url);
    int r = new_name != NULL && parent != NULL ? url_copy(url, parent, &root) : -ENOMEM;
    char *new_text = r == 0 ? url_text(&root) : NULL;
    free(parent);
    if (new_text == NULL) {
        free(new_name);
        url_release(&root);
        return -ENOMEM;
    }
    url_release(url);
    free(*text);
    free(*name);
    *url = root;
    *text = new_text;
    *name = new_name;
    return 0;
}

int places_name_file(struct places *places)
{
    return name_file(&places->url, &places->destination, &places->only_as);
}

int places_name_source(struct places *places)
{
    return name_file(&places->source_url, &places->source, &places->only_name);
}

static int find_destination(const struct options *o, struct report *report, struct places *p)
{
    struct stat st;
    if (o->url.host != NULL) {
        return find_server(o, report, p);
    }
    if (strcmp(o->destination, "null:") == 0) {
        p->null = true;
        p->destination = strdup("null:");
        return p->destination == NULL ? cannot(report, "DST", o->destination, ENOMEM) : 0;
    }
    if (stat(o->destination, &st) != 0) {
        struct stat link;
        int err = errno;
        if (err != ENOENT) {
            return cannot(report, "DST", o->destination, err);
        }
        if (lstat(o->destination, &link) == 0) {
            report_error(report, "DST '%s' is a symbolic link to nothing", o->destination);
            return STATUS_CANNOT;
        }
        return find_missing(o, report, p);
    }
    if (S_ISDIR(st.st_mode)) {
        p->destination = realpath(o->destination, NULL);
        return p->destination == NULL ? cannot(report, "DST", o->destination, errno)
                                      : check_writable(o, report, p->destination);
    }
    if (p->only_name == NULL) {
        report_error(report, "DST '%s' is not a directory, but SRC is one", o->destination);
        return STATUS_USAGE;
    }
    int r = split(o->destination, &p->destination, &p->only_as);
    return r != 0 ? cannot(report, "DST", o->destination, r) : check_writable(o, report, p->destination);
}

/* What is wrong with such a pair, if anything is: a message. 0 or STATUS_USAGE. */
static int judge_relation(const struct options *o, struct report *report, enum mounts_relation relation)
{
    switch (relation) {
    case MOUNTS_SAME:
        report_error(report, "SRC '%s' and DST '%s' are the same directory", o->source, o->destination);
        return STATUS_USAGE;
    case MOUNTS_BELOW:
        report_error(report, "DST '%s' is below SRC '%s'", o->destination, o->source);
        return STATUS_USAGE;
    case MOUNTS_ABOVE:
        report_error(report, "SRC '%s' is below DST '%s'", o->source, o->destination);
        return STATUS_USAGE;
    case MOUNTS_APART:
    default:
        return 0;
    }
}

static int same_file(const struct options *o, struct report *report)
{
    report_error(report, "SRC '%s' and DST '%s' are the same file", o->source, o->destination);
    return STATUS_USAGE;
}

/* How two paths at one server stand to each other; to: DST as it was given, which may be that of a single file. */
static int check_paths(const struct options *o, struct report *report, const struct places *p, const char *from,
                       const char *to)
{
    enum mounts_relation relation = mounts_relation(from, to);
    if (p->only_name == NULL) {
        return judge_relation(o, report, relation);
    }
    char *file = join(from, p->only_name);
    char *as = p->only_as != NULL ? join(to, p->only_as) : NULL;
    int r = 0;
    if (file == NULL || (p->only_as != NULL && as == NULL)) {
        r = cannot(report, "SRC", o->source, ENOMEM);
    } else if (as != NULL ? strcmp(file, as) == 0 : relation == MOUNTS_SAME || strcmp(file, to) == 0) {
        r = same_file(o, report);
    }
    free(file);
    free(as);
    return r;
}

/* One of the two is at a server: it can be told where the other one, which is at path here, lies on a mount of that. */
static int check_mounted(const struct options *o, struct report *report, const struct places *p, const char *path,
                         const struct url *server)
{
    struct mount_place place = {0};
    int r = mounts_find(path, &place);
    bool same = r == 0 && mounts_same_server(&place, server);
    if (r == -ENOMEM) {
        r = cannot(report, server == &p->url ? "SRC" : "DST", server == &p->url ? o->source : o->destination, r);
    } else {
        r = !same               ? 0
            : server == &p->url ? check_paths(o, report, p, place.path, server->path)
                                : check_paths(o, report, p, server->path, place.path);
    }
    mounts_release(&place);
    return r;
}

/* At least one of the two is at a server. */
static int check_server(const struct options *o, struct report *report, const struct places *p)
{
    if (p->source_url.host == NULL) {
        return check_mounted(o, report, p, p->source, &p->url);
    }
    if (p->url.host == NULL) {
        return check_mounted(o, report, p, p->destination, &p->source_url);
    }
    return mounts_one_server(&p->source_url, &p->url) ? check_paths(o, report, p, p->source_url.path, p->url.path) : 0;
}

/* Source and destination must not hold each other. */
static int check_relation(const struct options *o, struct report *report, const struct places *p)
{
    char *top = p->missing ? strdup(p->destination) : NULL; /* its parent stands for one that is missing */
    const char *dst = p->missing ? (top != NULL ? dirname(top) : "") : p->destination;
    int src_fd = open(p->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int dst_fd = open(dst, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int dst_in_src = src_fd < 0 || dst_fd < 0 ? -errno : places_within(src_fd, dst_fd);
    int src_in_dst = src_fd < 0 || dst_fd < 0 || p->missing ? 0 : places_within(dst_fd, src_fd);
    if (src_fd >= 0) {
        close(src_fd);
    }
    if (dst_fd >= 0) {
        close(dst_fd);
    }
    free(top);
    if (dst_in_src < 0 || src_in_dst < 0) {
        return cannot(report, "DST", o->destination, dst_in_src < 0 ? dst_in_src : src_in_dst);
    }
    return judge_relation(o, report,
                          dst_in_src == 1   ? (src_in_dst == 1 ? MOUNTS_SAME : MOUNTS_BELOW)
                          : src_in_dst == 1 ? MOUNTS_ABOVE
                                            : MOUNTS_APART);
}

/* A single file onto itself. */
static int check_same_file(const struct options *o, struct report *report, const struct places *p)
{
    char *from = join(p->source, p->only_name);
    char *to = join(p->destination, p->only_as != NULL ? p->only_as : p->only_name);
    struct stat a;
    struct stat b;
    bool same = from != NULL && to != NULL && lstat(from, &a) == 0 && lstat(to, &b) == 0 && a.st_dev == b.st_dev &&
                a.st_ino == b.st_ino;
    free(from);
    free(to);
    return same ? same_file(o, report) : 0;
}

/* What --direct is to take the place of: SRC or DST. */
struct mounted {
    const char *what;  /* "SRC" */
    const char *given; /* as it was given */
    char **path;       /* canonical; becomes the URL's text */
    char **mounted;    /* becomes what *path was */
    struct url *url;   /* becomes the server's */
};

static void say_why_not(struct report *report, const struct mounted *m, const char *why)
{
    report_say(report, "--direct: %s '%s': %s; it is used as it is", m->what, m->given, why);
}

/* The server behind the mount takes its place, where it can. *out_none: it is on no NFS mount, which is not said yet. 0
 * or an exit status after a message. */
static int go_direct(const struct mounted *m, struct report *report, bool *out_none)
{
    struct mounturl at = {0};
    int r = mounturl_find(*m->path, &at);
    if (r == 0 && at.url.host == NULL) {
        *out_none = at.none;
        if (!at.none) {
            say_why_not(report, m, at.why);
        }
        mounturl_release(&at);
        return 0;
    }
    char *text = r == 0 ? url_text(&at.url) : NULL;
    if (text == NULL) {
        mounturl_release(&at);
        report_error(report, "--direct: %s '%s': %s", m->what, m->given, err_text(r == 0 ? -ENOMEM : r));
        return STATUS_CANNOT;
    }
    *m->mounted = *m->path;
    *m->path = text;
    *m->url = at.url; /* what stands there is asked of the server now */
    return 0;
}

/* --direct, of both. The same. */
static int go_direct_both(const struct options *o, struct report *report, struct places *p)
{
    const struct mounted src = {"SRC", o->source, &p->source, &p->source_mounted, &p->source_url};
    const struct mounted dst = {"DST", o->destination, &p->destination, &p->mounted, &p->url};
    bool src_none = false;
    bool dst_none = false;
    int r = 0;
    if (p->source_url.host == NULL && (o->xattrs || o->acls)) {
        say_why_not(report, &src,
                    "extended attributes and ACLs are wanted, which a server cannot be asked for by haul");
    } else if (p->source_url.host == NULL) {
        r = go_direct(&src, report, &src_none);
    }
    if (r == 0 && p->url.host == NULL && !p->null) {
        r = go_direct(&dst, report, &dst_none);
    }
    if (p->mounted != NULL) {
        p->mounted_missing = p->missing;
        p->missing = false;
    }
    if (r == 0 && p->mounted == NULL && p->source_mounted == NULL && (src_none || dst_none)) {
        say_why_not(report, dst_none ? &dst : &src, "it is not on an NFS mount");
    }
    return r;
}

void places_use_mount(struct places *p, enum dir_side side)
{
    char **path = side == DIR_SRC ? &p->source : &p->destination;
    char **mounted = side == DIR_SRC ? &p->source_mounted : &p->mounted;
    free(*path);
    *path = *mounted;
    *mounted = NULL;
    url_release(side == DIR_SRC ? &p->source_url : &p->url);
    if (side == DIR_DST) {
        p->missing = p->mounted_missing;
    }
}

/* How DST stands to SRC. 0, or an exit status after a message. */
static int check_pair(const struct options *o, struct report *report, const struct places *p)
{
    if (o->source == NULL || p->null) {
        return 0; /* nothing that the destination could stand in a wrong relation to */
    }
    if (p->url.host != NULL || p->source_url.host != NULL) {
        return check_server(o, report, p);
    }
    return p->only_name == NULL ? check_relation(o, report, p) : check_same_file(o, report, p);
}

int places_find_destination(const struct options *options, struct report *report, struct places *places)
{
    int r = find_destination(options, report, places);
    if (r == 0) {
        r = check_pair(options, report, places);
    }
    if (r == 0 && options->direct) {
        r = go_direct_both(options, report, places);
    }
    return r;
}

int places_make(const struct places *places, mode_t mask, struct report *report)
{
    mode_t mode = places->only_name != NULL ? 0777 & ~mask : 0700;
    if (places->missing && mkdir(places->destination, mode) != 0) {
        return cannot(report, "cannot create DST", places->destination, errno);
    }
    return 0;
}

void places_release(struct places *places)
{
    free(places->source);
    free(places->destination);
    free(places->source_mounted);
    free(places->mounted);
    free(places->only_name);
    free(places->only_as);
    url_release(&places->source_url);
    url_release(&places->url);
    *places = (struct places){0};
}
