#include "copier/quarantine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "copier/json.h"

#define NAMES_MOST 100000U /* of one name: name, name.~1~, ... */

struct quarantine {
    const char *run_id; /* not owned */
    int fd;             /* the folder; owned */
    int notes;          /* open for appending; owned */
    dev_t dev;          /* of the folder */
    uint64_t ino;
};

struct kept {
    struct quarantine *quarantine; /* not owned */
    int dir;                       /* where it is; owned */
    int fd;                        /* open for writing; owned */
    bool noted;
    char *path;              /* below the destination; owned */
    char *name;              /* below the quarantine; owned */
    char last[NAME_MAX + 1]; /* the last component of name */
};

/* ---- the folder ---- */

/* A line that was cut off in a crash is ended. 0 or -errno. */
static int end_line(int notes)
{
    struct stat st = {0};
    char last = '\n';
    if (fstat(notes, &st) != 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return -EINVAL;
    }
    if (st.st_size > 0 && pread(notes, &last, 1, st.st_size - 1) != 1) {
        return -EIO;
    }
    return last == '\n' || write(notes, "\n", 1) == 1 ? 0 : -EIO;
}

int quarantine_open(const char *path, const char *run_id, struct quarantine **out_quarantine)
{
    struct stat st = {0};
    struct quarantine *q = calloc(1, sizeof *q);
    if (q == NULL) {
        return -ENOMEM;
    }
    *q = (struct quarantine){.run_id = run_id, .fd = -1, .notes = -1};
    int err = mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
    if (err == 0) {
        q->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        err = q->fd < 0 || fstat(q->fd, &st) != 0 ? -errno : 0;
    }
    if (err == 0) {
        q->dev = st.st_dev;
        q->ino = st.st_ino;
        q->notes = openat(q->fd, QUARANTINE_NOTES, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        err = q->notes < 0 ? -errno : end_line(q->notes);
    }
    if (err == 0 && fsync(q->fd) != 0) {
        err = -errno;
    }
    if (err != 0) {
        quarantine_close(q);
        return err;
    }
    *out_quarantine = q;
    return 0;
}

void quarantine_close(struct quarantine *q)
{
    if (q != NULL) {
        if (q->notes >= 0) {
            (void)close(q->notes);
        }
        if (q->fd >= 0) {
            (void)close(q->fd);
        }
        free(q);
    }
}

bool quarantine_is(const struct quarantine *q, const struct attr *dir)
{
    return dir->dev == q->dev && dir->ino == q->ino;
}

/* ---- names ---- */

/* The nth name for name: as it is, then "name.~n~", shortened where it would be too long. */
static void nth_name(const char *name, size_t len, unsigned n, char out[NAME_MAX + 1])
{
    char suffix[16] = "";
    if (n > 0) {
        (void)snprintf(suffix, sizeof suffix, ".~%u~", n);
    }
    size_t most = NAME_MAX - strlen(suffix);
    (void)snprintf(out, NAME_MAX + 1, "%.*s%s", (int)(len < most ? len : most), name, suffix);
}

static int append(char **path, const char *name)
{
    char *longer = NULL;
    if (asprintf(&longer, "%s%s%s", *path, **path != '\0' ? "/" : "", name) < 0) {
        return -ENOMEM;
    }
    free(*path);
    *path = longer;
    return 0;
}

/* Enters a folder below *dir, which is made where it is missing; something else of its name makes it another one. */
static int enter(struct kept *k, const char *name, size_t len)
{
    for (unsigned n = 0; n < NAMES_MOST; n++) {
        char as[NAME_MAX + 1];
        nth_name(name, len, n, as);
        bool made = mkdirat(k->dir, as, 0700) == 0;
        if (!made && errno != EEXIST) {
            return -errno;
        }
        int fd = openat(k->dir, as, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
            continue;
        }
        if (fd < 0) {
            return -errno;
        }
        int err = made && fsync(k->dir) != 0 ? -errno : 0;
        (void)close(k->dir);
        k->dir = fd;
        return err == 0 ? append(&k->name, as) : err;
    }
    return -EEXIST;
}

static int make_file(struct kept *k, const char *name)
{
    for (unsigned n = 0; n < NAMES_MOST; n++) {
        nth_name(name, strlen(name), n, k->last);
        k->fd = openat(k->dir, k->last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
        if (k->fd >= 0) {
            return append(&k->name, k->last);
        }
        if (errno != EEXIST) {
            return -errno;
        }
    }
    return -EEXIST;
}

int quarantine_begin(struct quarantine *q, const char *path, struct kept **out_kept)
{
    struct kept *k = calloc(1, sizeof *k);
    if (k == NULL) {
        return -ENOMEM;
    }
    *k = (struct kept){.quarantine = q, .dir = -1, .fd = -1, .path = strdup(path), .name = strdup("")};
    int err = k->path == NULL || k->name == NULL ? -ENOMEM : 0;
    if (err == 0) {
        k->dir = openat(q->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        err = k->dir < 0 ? -errno : 0;
    }
    const char *at = path;
    for (const char *slash = strchr(at, '/'); err == 0 && slash != NULL; slash = strchr(at, '/')) {
        err = enter(k, at, (size_t)(slash - at));
        at = slash + 1;
    }
    err = err == 0 ? make_file(k, at) : err;
    if (err != 0) {
        quarantine_drop(k);
        return err;
    }
    *out_kept = k;
    return 0;
}

int quarantine_write(struct kept *k, const void *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(k->fd, (const char *)data + done, len - done);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            return n < 0 ? -errno : -EIO;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* ---- notes ---- */

static void set_time(json_t *note, const char *key, const struct timespec *t)
{
    json_t *time = json_object();
    json_object_set_new(time, "s", json_integer(t->tv_sec));
    json_object_set_new(time, "ns", json_integer(t->tv_nsec));
    json_object_set_new(note, key, time);
}

/* Appends a line, durably. Lets go of note. 0 or -errno. */
static int write_note(const struct quarantine *q, json_t *note)
{
    char *line = note != NULL ? json_dumps(note, JSON_COMPACT) : NULL;
    char *whole = NULL;
    int len = line != NULL ? asprintf(&whole, "%s\n", line) : -1;
    int err = len < 0 ? -ENOMEM : 0;
    json_decref(note);
    free(line);
    if (err == 0) {
        /* In one piece: other runs may append too. */
        ssize_t n = write(q->notes, whole, (size_t)len);
        err = n < 0 ? -errno : n != len ? -EIO : fsync(q->notes) != 0 ? -errno : 0;
        free(whole);
    }
    return err;
}

static json_t *note_about(const struct kept *k, const char *event)
{
    json_t *note = json_event(event);
    json_set_text(note, "run", k->quarantine->run_id);
    json_set_text(note, "path", k->path);
    json_set_text(note, "kept_as", k->name);
    return note;
}

int quarantine_keep(struct kept *k, const struct finding *f)
{
    char mode[16];
    json_t *note = note_about(k, "quarantined");
    (void)snprintf(mode, sizeof mode, "%06o", (unsigned)f->attr->mode);
    json_set_text(note, "kind", finding_kind_name(f->kind));
    json_set_text(note, "certainty", finding_sure_name(f->sure));
    json_set_text(note, "evidence", f->evidence);
    json_set_text(note, "mode", mode);
    json_set_number(note, "size", f->attr->size);
    json_set_number(note, "uid", f->attr->uid);
    json_set_number(note, "gid", f->attr->gid);
    json_set_number(note, "links", f->attr->nlink);
    set_time(note, "mtime", &f->attr->mtime);
    set_time(note, "atime", &f->attr->atime);
    set_time(note, "ctime", &f->attr->ctime);
    int err = fsync(k->fd) != 0 || fsync(k->dir) != 0 ? -errno : 0;
    if (err != 0) {
        json_decref(note);
        return err;
    }
    k->noted = true;
    return write_note(k->quarantine, note);
}

const char *quarantine_name(const struct kept *k)
{
    return k->name;
}

void quarantine_end(struct kept *k)
{
    if (k != NULL) {
        if (k->fd >= 0) {
            (void)close(k->fd);
        }
        if (k->dir >= 0) {
            (void)close(k->dir);
        }
        free(k->path);
        free(k->name);
        free(k);
    }
}

void quarantine_drop(struct kept *k)
{
    if (k != NULL && k->fd >= 0) {
        (void)unlinkat(k->dir, k->last, 0);
        if (k->noted) {
            (void)write_note(k->quarantine, note_about(k, "not_quarantined"));
        }
    }
    quarantine_end(k);
}
