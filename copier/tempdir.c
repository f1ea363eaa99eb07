#include "copier/tempdir.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/errs.h"
#include "copier/status.h"

enum { OTHERS_WRITE = S_IWGRP | S_IWOTH };

/* It cannot be used. 0 where nobody has asked for it, else an exit status after a message. */
static int cannot_use(struct tempdir *t, struct report *report, const char *why)
{
    t->unusable = true;
    t->why = why;
    if (!t->asked) {
        return 0;
    }
    report_error(report, "cannot use the temp dir '%s': %s; choose another with --temp-dir", t->path, why);
    return STATUS_CANNOT;
}

/* Others could tamper with it: always refused. */
static int refuse(const struct tempdir *t, struct report *report, const char *why)
{
    report_error(report, "the temp dir '%s' is refused: %s; choose another with --temp-dir, or --stage never", t->path,
                 why);
    return STATUS_CANNOT;
}

static char *default_path(void)
{
    const char *base = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/haul-%u", base != NULL && base[0] != '\0' ? base : "/tmp", (unsigned)geteuid()) < 0) {
        return NULL;
    }
    return path;
}

/* Splits the real path of t->path, whose last component need not exist, into *out_parent and t->name. 0, -errno;
 * -ELOOP: it is a symbolic link. */
static int split(struct tempdir *t, char **out_parent)
{
    struct stat st;
    size_t len = strlen(t->path);
    while (len > 1 && t->path[len - 1] == '/') {
        t->path[--len] = '\0';
    }
    bool there = lstat(t->path, &st) == 0;
    if (there && S_ISLNK(st.st_mode)) {
        return -ELOOP;
    }
    /* Where it stands, with "." and ".." in its path and symbolic links on the way there resolved. */
    char *real = there ? realpath(t->path, NULL) : strdup(t->path);
    char *for_base = real != NULL ? strdup(real) : NULL;
    if (for_base == NULL) {
        int err = errno;
        free(real);
        return -err;
    }
    t->name = strdup(basename(for_base));
    *out_parent = t->name != NULL ? strdup(dirname(real)) : NULL;
    free(for_base);
    free(real);
    return *out_parent == NULL ? -ENOMEM : 0;
}

/* Who may put another directory in its place? NULL: nobody else. */
static const char *parent_unsafe(const struct stat *st)
{
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        return "the directory that it stands in belongs to somebody else";
    }
    if ((st->st_mode & OTHERS_WRITE) != 0 && (st->st_mode & S_ISVTX) == 0) {
        return "others may write to the directory that it stands in";
    }
    return NULL;
}

static const char *dir_unsafe(const struct stat *st)
{
    if (st->st_uid != geteuid()) {
        return "it belongs to somebody else";
    }
    return (st->st_mode & OTHERS_WRITE) != 0 ? "others may write to it" : NULL;
}

/* File systems on which FICLONE may work; where it does not after all, the first tries tell. */
static bool may_clone(int fd)
{
    static const unsigned kinds[] = {0x58465342 /* xfs */, 0x9123683E /* btrfs */, 0xCA451A4E /* bcachefs */,
                                     0x2FC12FC1 /* zfs */, 0x7461636F /* ocfs2 */, 0x794C7630 /* overlay */};
    struct statfs sf;
    if (fstatfs(fd, &sf) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if ((unsigned)sf.f_type == kinds[i]) {
            return true;
        }
    }
    return false;
}

/* Opens it in its parent, if it is there. 0 (t->fd may be -1); an exit status after a message; unusable. */
static int open_existing(struct tempdir *t, struct report *report)
{
    struct stat st;
    int fd = openat(t->parent, t->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return 0;
    }
    if (fd < 0) {
        int err = errno;
        if (fstatat(t->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            if (S_ISLNK(st.st_mode)) {
                return refuse(t, report, "it is a symbolic link");
            }
            if (!S_ISDIR(st.st_mode)) {
                return refuse(t, report, "it is not a directory");
            }
            if (dir_unsafe(&st) != NULL) {
                return refuse(t, report, dir_unsafe(&st));
            }
        }
        return cannot_use(t, report, err_text(err));
    }
    const char *why = fstat(fd, &st) != 0 ? err_text(errno) : dir_unsafe(&st);
    if (why != NULL) {
        close(fd);
        return refuse(t, report, why);
    }
    if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        why = err_text(errno);
        close(fd);
        return cannot_use(t, report, why);
    }
    t->fd = fd;
    return 0;
}

/* The temp dir, or the one that it is to be made in, must not be in the directory at path. */
static int check_outside(struct tempdir *t, struct report *report, const char *path, const char *why)
{
    int outer = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (outer < 0) {
        return cannot_use(t, report, err_text(errno));
    }
    int within = places_within(outer, t->fd >= 0 ? t->fd : t->parent);
    close(outer);
    return within == 0 ? 0 : cannot_use(t, report, within < 0 ? err_text(within) : why);
}

/* A DST that is still to be made must not become the temp dir. */
static bool is_missing_dst(const struct tempdir *t, const char *path)
{
    char *dir = strdup(path);
    char *base = strdup(path);
    struct stat a;
    struct stat b;
    bool same = t->fd < 0 && dir != NULL && base != NULL && strcmp(basename(base), t->name) == 0 &&
                stat(dirname(dir), &a) == 0 && fstat(t->parent, &b) == 0 && a.st_dev == b.st_dev &&
                a.st_ino == b.st_ino;
    free(dir);
    free(base);
    return same;
}

/* What lies there must neither be copied nor be mixed with what is copied. Of a single file nothing else is touched. */
static int check_places(struct tempdir *t, const struct places *places, struct report *report)
{
    if (places->only_name != NULL) {
        return 0;
    }
    const char *src = places->source_url.host == NULL ? places->source : places->source_mounted;
    const char *dst = places->url.host == NULL ? places->destination : places->mounted;
    int r = src != NULL ? check_outside(t, report, src, "it is inside SRC") : 0;
    if (r != 0 || t->unusable || places->null || dst == NULL) {
        return r;
    }
    if (places->mounted != NULL ? places->mounted_missing : places->missing) {
        return is_missing_dst(t, dst) ? cannot_use(t, report, "it is DST") : 0;
    }
    return check_outside(t, report, dst, "it is inside DST");
}

/* With its parent open. */
static int check_found(struct tempdir *t, const struct places *places, struct report *report)
{
    struct stat st;
    if (fstat(t->parent, &st) != 0) {
        return cannot_use(t, report, err_text(errno));
    }
    if (parent_unsafe(&st) != NULL) {
        return cannot_use(t, report, parent_unsafe(&st));
    }
    int r = open_existing(t, report);
    if (r != 0 || t->unusable) {
        return r;
    }
    if (t->fd < 0 && faccessat(t->parent, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        return cannot_use(t, report, err_text(errno));
    }
    t->clones = may_clone(t->fd >= 0 ? t->fd : t->parent);
    return check_places(t, places, report);
}

int tempdir_find(const struct options *options, const struct places *places, struct report *report,
                 struct tempdir *out_tempdir)
{
    struct tempdir *t = out_tempdir;
    *t = (struct tempdir){.parent = -1, .fd = -1};
    t->asked = options->temp_dir != NULL || options->stage == STAGE_ALWAYS;
    t->path = options->temp_dir != NULL ? strdup(options->temp_dir) : default_path();
    if (t->path == NULL) {
        report_error(report, "cannot find the temp dir: %s", err_text(ENOMEM));
        return STATUS_CANNOT;
    }
    char *parent = NULL;
    int r = split(t, &parent);
    if (r == -ELOOP) {
        return refuse(t, report, "it is a symbolic link");
    }
    if (r == 0 && parent != NULL) {
        t->parent = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (t->parent < 0 && errno == EACCES) {
            t->parent = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
        }
        r = t->parent < 0 ? -errno : 0;
    }
    free(parent);
    return r != 0 ? cannot_use(t, report, err_text(r)) : check_found(t, places, report);
}

int tempdir_make(struct tempdir *t, struct report *report)
{
    if (t->fd >= 0 || t->unusable) {
        return 0;
    }
    /* EEXIST: another run was quicker, or something was put there: the look at it tells. */
    if (mkdirat(t->parent, t->name, 0700) != 0 && errno != EEXIST) {
        return cannot_use(t, report, err_text(errno));
    }
    int r = open_existing(t, report);
    return r == 0 && t->fd < 0 && !t->unusable ? cannot_use(t, report, err_text(ENOENT)) : r;
}

void tempdir_release(struct tempdir *t)
{
    if (t->fd >= 0) {
        close(t->fd);
    }
    if (t->parent >= 0) {
        close(t->parent);
    }
    free(t->path);
    free(t->name);
    *t = (struct tempdir){.parent = -1, .fd = -1};
}
