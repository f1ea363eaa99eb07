/*
 * posix_list: listings, streamed through one buffer, with a descriptor of their own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/name.h"
#include "workers/stores/posix_internal.h"

#define LIST_BUFFER (64U * 1024) /* bytes; some thousand entries a call */
#define LIST_LOOKS  128U         /* entries that are looked at in one wait, at most */

/* A listing. Parked: fd is -1 and buf NULL, and next_offset says where to go on. */
struct store_list {
    struct dir *dir;   /* one reference */
    bool want_attr;    /* entries are looked at */
    int fd;            /* owned, or -1 */
    char *buf;         /* LIST_BUFFER bytes, owned, or NULL */
    size_t pos;        /* next entry in buf */
    off_t next_offset; /* directory offset behind the last entry that was returned */
    bool parked;       /* dev and ino are known */
    dev_t dev;         /* of the directory, at parking */
    uint64_t ino;      /* of the directory, at parking */
    /* What is in buf; at: the end of what may be handed out. Its stx and results are owned; room 0: entries are not
     * looked at together, and nothing but at is used. */
    struct io_looks looks;
    unsigned looked; /* of looks.count: handed out */
};

/*
 * name in dir_fd, for a listing that comes from the server as it is now, with one call less than by a plain open.
 *
 * The kernel's client of NFS asks for the attributes of a directory that is opened, to know whether what it has cached
 * of it may still be believed (close-to-open). NAME/. spares that: it asks so of what is to be opened, not of what lies
 * on the way there. Nothing is believed then: what is cached is dropped, and names and attributes of all that stands
 * there come with the next READDIR, while a plain open lets attributes be as old as acregmax. Where NAME is a symbolic
 * link it is not followed. A descriptor; -ENOSYS: only a plain open can tell; or another -errno.
 */
static int open_past_cache(struct port *p, int dir_fd, const char *name)
{
    char path[NAME_MAX + sizeof("/.")];
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd;

    if (strlen(name) > NAME_MAX) {
        return -ENOSYS;
    }
    (void)stpcpy(stpcpy(path, name), "/.");
    fd = posix_openat2(p, dir_fd, path, &how);
    if (fd >= 0) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    /* One that may be read but not searched; no directory. */
    return fd == -EACCES || fd == -ELOOP || fd == -ENOTDIR ? -ENOSYS : fd;
}

/* A descriptor of name in dir, a directory, for a listing alone; or -errno. */
static int open_at(struct port *p, struct dir *dir, const char *name, bool past_cache)
{
    int dir_fd;
    int fd = posix_dir_pin(p, dir, &dir_fd);

    if (!fd) {
        fd = past_cache ? open_past_cache(p, dir_fd, name) : -ENOSYS;
        if (fd == -ENOSYS) {
            fd = posix_openat(p, dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        }
        posix_dir_unpin(p, dir, fd);
    }
    return fd;
}

static void looks_release(struct io_looks *looks)
{
    free(looks->stx);
    free(looks->results);
    *looks = (struct io_looks){0};
}

/* Entries are looked at together, where each look is waited for. Without the memory one by one. */
static void looks_start(struct port *p, struct store_list *list)
{
    struct io_looks *looks = &list->looks;

    *looks = (struct io_looks){.fd = list->fd,
                               .buf = list->buf,
                               .size = LIST_BUFFER,
                               .flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
                               .mask = STATX_BASIC_STATS,
                               .room = LIST_LOOKS};
    if (!list->want_attr || io_mode(p->io) != IO_ASYNC) {
        looks->room = 0;
        return;
    }
    looks->stx = malloc(LIST_LOOKS * sizeof(*looks->stx));
    looks->results = malloc(LIST_LOOKS * sizeof(*looks->results));
    if (!looks->stx || !looks->results) {
        looks_release(looks);
    }
}

/* Opens the descriptor and the buffer. The list stays as it was after a failure. */
static int list_start(struct port *p, struct store_list *list)
{
    const struct posix_store *s = posix_of(p);
    struct dir *dir = list->dir;
    /* One that goes on is to come from where the first part came from. */
    bool past_cache = s->nfs && list->want_attr && list->next_offset == 0;
    char *buf = malloc(LIST_BUFFER);
    int fd = -ENOENT;

    if (!buf) {
        return -ENOMEM;
    }
    /* An open costs, at a server a call: perhaps this one is all that is needed of the directory. */
    if (dir->parent && !posix_dir_is_open(posix_of(p), dir)) {
        fd = open_at(p, dir->parent, dir->name, past_cache);
    }
    if (fd < 0) {
        fd = open_at(p, dir, ".", past_cache);
    }
    if (fd < 0) {
        free(buf);
        return fd;
    }
    list->fd = fd;
    list->buf = buf;
    list->pos = 0;
    looks_start(p, list);
    return 0;
}

/* Closing a directory never waits. */
static void list_stop(struct store_list *list)
{
    if (list->fd >= 0) {
        close(list->fd);
        list->fd = -1;
    }
    looks_release(&list->looks);
    free(list->buf);
    list->buf = NULL;
}

int posix_list_open(struct port *p, struct store_op *op)
{
    struct store_list *list = calloc(1, sizeof(*list));
    int err;

    if (!list) {
        return -ENOMEM;
    }
    list->fd = -1;
    list->want_attr = op->list.want_attr;
    list->dir = op->dir;
    err = list_start(p, list);
    if (err) {
        free(list);
        return err;
    }
    (void)dir_get(list->dir);
    *op->list.list = list;
    return 0;
}

/* Goes on where the listing was parked, in the same directory only: offsets mean nothing in another. */
static int list_resume(struct port *p, struct store_list *list)
{
    struct attr attr;
    off_t at;
    int err = list_start(p, list);

    if (err) {
        return err;
    }
    err = posix_attr_at(p, list->fd, "", &attr);
    if (!err && list->parked && (attr.dev != list->dev || attr.ino != list->ino)) {
        err = -ESTALE;
    }
    if (!err && list->next_offset != 0) {
        at = io_lseek(p->io, list->fd, list->next_offset, SEEK_SET);
        err = at < 0 ? (int)at : 0;
    }
    if (err) {
        list_stop(list);
    }
    return err;
}

/* Makes what comes next stand in buf; nothing: the directory is over. 0 or -errno: nothing then. */
static int list_fill(struct port *p, struct store_list *list)
{
    struct io_looks *looks = &list->looks;
    int err;

    if (looks->room == 0) {
        ssize_t n = io_getdents(p->io, list->fd, list->buf, LIST_BUFFER);

        list->pos = 0;
        looks->at = n > 0 ? (size_t)n : 0;
        return n < 0 ? (int)n : 0;
    }
    if (looks->end && looks->at == looks->len) {
        return 0;
    }
    list->looked = 0;
    list->pos = looks->at < looks->len ? looks->at : 0;
    err = io_getdents_statx(p->io, looks);
    list->pos = err ? looks->at : list->pos;
    return err;
}

/* The next entry that is not "." or ".."; NULL at the end. 0 or -errno. */
static int list_read(struct port *p, struct store_list *list, const struct dirent64 **out_entry)
{
    for (;;) {
        const struct dirent64 *e;
        int err = list->pos < list->looks.at ? 0 : list_fill(p, list);

        if (err) {
            return err;
        }
        if (list->pos >= list->looks.at) {
            *out_entry = NULL;
            return 0;
        }
        e = (const struct dirent64 *)(const void *)(list->buf + list->pos);
        list->pos += e->d_reclen;
        list->next_offset = e->d_off;
        if (!name_is_dots(e->d_name, strnlen(e->d_name, 3))) {
            *out_entry = e;
            return 0;
        }
    }
}

/* The entry that was handed out last. 0 or -errno. */
static int list_look(struct port *p, struct store_list *list, const char *name, struct attr *out)
{
    const struct io_looks *looks = &list->looks;
    unsigned n;

    if (looks->room == 0) {
        return posix_attr_at(p, list->fd, name, out);
    }
    n = list->looked++;
    if (looks->results[n] == 0) {
        posix_attr_of(&looks->stx[n], out);
    }
    return looks->results[n];
}

int posix_list_next(struct port *p, struct store_op *op)
{
    struct store_list *list = *op->list.list;
    struct store_entry *out = op->list.out;
    const struct dirent64 *e = NULL;
    int err = list->fd < 0 ? list_resume(p, list) : 0;

    if (!err) {
        err = list_read(p, list, &e);
    }
    if (err) {
        return err;
    }
    *out = (struct store_entry){.type = DT_UNKNOWN};
    if (!e) {
        return 0;
    }
    out->name = e->d_name;
    out->name_len = strlen(e->d_name);
    out->type = e->d_type;
    if (list->want_attr) {
        out->attr_error = list_look(p, list, e->d_name, &out->attr);
        out->has_attr = out->attr_error == 0;
        if (out->has_attr) {
            out->type = IFTODT(out->attr.mode);
        }
    }
    return 0;
}

int posix_list_park(struct port *p, struct store_op *op)
{
    struct store_list *list = *op->list.list;
    struct attr attr;

    if (list->fd < 0) {
        return 0;
    }
    list->parked = posix_attr_at(p, list->fd, "", &attr) == 0;
    if (list->parked) {
        list->dev = attr.dev;
        list->ino = attr.ino;
    }
    list_stop(list);
    return 0;
}

int posix_list_close(struct port *p, struct store_op *op)
{
    struct store_list *list = *op->list.list;

    (void)p;
    list_stop(list);
    dir_put(list->dir);
    free(list);
    *op->list.list = NULL;
    return 0;
}
