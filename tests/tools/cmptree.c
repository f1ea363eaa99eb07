/*
 * cmptree [options] SRC DST: an independent judge of a copy. Compares two trees entry by entry and prints a line for
 * each difference: names, types, modes, owners, sizes, times to the nanosecond, device numbers, targets of symbolic
 * links, groups of hard links, contents, holes. Walks with directory handles, so depth does not matter.
 *
 *   --no-dir-times   times of directories may differ
 *   --no-link-times  times of symbolic links may differ
 *   --no-owner       owners and groups may differ
 *   --no-holes       the copy of a sparse file may take more room
 *   --no-contents    sizes and attributes only
 *   --no-extra       DST may hold names that SRC does not have
 *
 * ".haul" in the root of DST is passed over. Exit 0: the same; 1: differences; 2: could not compare.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOWN_MAX 50
#define CHUNK     (256U * 1024)

/* The other name of an inode, both ways: source to destination and back. */
struct pair {
    dev_t dev;   /* key: a file system ... */
    ino_t ino;   /* ... and an inode of one side */
    ino_t other; /* its inode on the other side */
    bool used;   /* the slot holds a pair */
};

struct pairs {
    struct pair *slots; /* open addressing, capacity a power of two */
    size_t capacity;
    size_t count;
};

struct cmp {
    bool dir_times, link_times, owner, holes, contents, extra; /* what is compared */
    unsigned long entries;                                     /* compared */
    unsigned long differences;                                 /* found */
    struct pairs to_dst;                                       /* by source inode */
    struct pairs to_src;                                       /* by destination inode */
    char *path;                                                /* of the directory at hand */
    size_t path_len, path_room;
};

struct names {
    char **name; /* sorted */
    size_t count, room;
};

_Noreturn static void die(const char *what, int err)
{
    fprintf(stderr, "cmptree: %s: %s\n", what, strerror(err));
    exit(2);
}

static void *grow(void *old, size_t size)
{
    void *bigger = realloc(old, size);
    if (bigger == NULL) {
        die("memory", ENOMEM);
    }
    return bigger;
}

/* Newlines and other control characters would break the line. */
static void show(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c < ' ' || *c == 127 || *c == '\\') {
            printf("\\%03o", *c);
        } else {
            putchar(*c);
        }
    }
}

static void differ(struct cmp *c, const char *name, const char *what)
{
    c->differences++;
    if (c->differences > SHOWN_MAX) {
        return;
    }
    const char *path = c->path_len > 300 ? c->path + c->path_len - 300 : c->path;
    printf("%s", c->path_len > 300 ? "..." : "");
    show(path);
    show(name);
    printf(": %s\n", what);
}

static struct pair *pairs_find(const struct pairs *p, dev_t dev, ino_t ino)
{
    size_t at = (size_t)((uint64_t)ino * 0x9e3779b97f4a7c15ULL >> 20) & (p->capacity - 1);
    while (p->slots[at].used && (p->slots[at].ino != ino || p->slots[at].dev != dev)) {
        at = (at + 1) & (p->capacity - 1);
    }
    return &p->slots[at];
}

/* Notes that ino stands for other; false where it stood for something else before. */
static bool pairs_agree(struct pairs *p, dev_t dev, ino_t ino, ino_t other)
{
    if (p->count * 2 >= p->capacity) {
        struct pairs bigger = {.capacity = p->capacity == 0 ? 1024 : p->capacity * 2};
        bigger.slots = calloc(bigger.capacity, sizeof(*bigger.slots));
        if (bigger.slots == NULL) {
            die("memory", ENOMEM);
        }
        for (size_t i = 0; i < p->capacity; i++) {
            if (p->slots[i].used) {
                *pairs_find(&bigger, p->slots[i].dev, p->slots[i].ino) = p->slots[i];
            }
        }
        bigger.count = p->count;
        free(p->slots);
        *p = bigger;
    }
    struct pair *slot = pairs_find(p, dev, ino);
    if (!slot->used) {
        *slot = (struct pair){.dev = dev, .ino = ino, .other = other, .used = true};
        p->count++;
    }
    return slot->other == other;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(int fd, const char *skip, struct names *out)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again < 0 ? NULL : fdopendir(again);
    if (dir == NULL) {
        die("open a directory", errno);
    }
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            (skip != NULL && strcmp(entry->d_name, skip) == 0)) {
            continue;
        }
        if (out->count == out->room) {
            out->room = out->room == 0 ? 64 : out->room * 2;
            out->name = grow(out->name, out->room * sizeof(*out->name));
        }
        out->name[out->count] = strdup(entry->d_name);
        if (out->name[out->count++] == NULL) {
            die("memory", ENOMEM);
        }
        errno = 0;
    }
    if (errno != 0) {
        die("list a directory", errno);
    }
    closedir(dir);
    if (out->count > 0) {
        qsort(out->name, out->count, sizeof(*out->name), by_name);
    }
}

static void names_free(struct names *n)
{
    for (size_t i = 0; i < n->count; i++) {
        free(n->name[i]);
    }
    free(n->name);
}

static ssize_t read_full(int fd, char *buf, size_t size, off_t at)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = pread(fd, buf + got, size - got, at + (off_t)got);
        if (n < 0 && errno != EINTR) {
            return -1;
        }
        if (n == 0) {
            break;
        }
        got += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)got;
}

/* Both are open. Where both have a hole there is nothing to read. */
static void compare_bytes(struct cmp *c, const char *name, int src, int dst, off_t size)
{
    static char a[CHUNK];
    static char b[CHUNK];
    for (off_t at = 0; at < size;) {
        off_t data_src = lseek(src, at, SEEK_DATA);
        off_t data_dst = lseek(dst, at, SEEK_DATA);
        data_src = data_src < 0 ? size : data_src;
        data_dst = data_dst < 0 ? size : data_dst;
        off_t next = data_src < data_dst ? data_src : data_dst;
        if (next > at) {
            at = next;
            continue;
        }
        ssize_t n = read_full(src, a, CHUNK, at);
        ssize_t m = read_full(dst, b, CHUNK, at);
        if (n < 0 || m < 0) {
            differ(c, name, "cannot be read");
            return;
        }
        if (n != m || memcmp(a, b, (size_t)n) != 0) {
            differ(c, name, "contents differ");
            return;
        }
        at += n > 0 ? n : size;
    }
}

static void compare_contents(struct cmp *c, int sdir, int ddir, const char *name, off_t size)
{
    int src = openat(sdir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int dst = openat(ddir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (src < 0 || dst < 0) {
        differ(c, name, src < 0 ? "cannot be opened at the source" : "cannot be opened at the destination");
    } else {
        compare_bytes(c, name, src, dst, size);
    }
    if (src >= 0) {
        close(src);
    }
    if (dst >= 0) {
        close(dst);
    }
}

static void compare_targets(struct cmp *c, int sdir, int ddir, const char *name)
{
    char a[4097];
    char b[4097];
    ssize_t n = readlinkat(sdir, name, a, sizeof(a));
    ssize_t m = readlinkat(ddir, name, b, sizeof(b));
    if (n < 0 || n != m || memcmp(a, b, (size_t)n) != 0) {
        differ(c, name, "another target");
    }
}

static void compare_attrs(struct cmp *c, const char *name, const struct stat *s, const struct stat *d)
{
    char text[256];
    if (!S_ISLNK(s->st_mode) && (s->st_mode & 07777) != (d->st_mode & 07777)) {
        snprintf(text, sizeof(text), "mode %04o, not %04o", d->st_mode & 07777, s->st_mode & 07777);
        differ(c, name, text);
    }
    if (c->owner && (s->st_uid != d->st_uid || s->st_gid != d->st_gid)) {
        snprintf(text, sizeof(text), "owner %u:%u, not %u:%u", d->st_uid, d->st_gid, s->st_uid, s->st_gid);
        differ(c, name, text);
    }
    if ((c->dir_times || !S_ISDIR(s->st_mode)) && (c->link_times || !S_ISLNK(s->st_mode)) &&
        (s->st_mtim.tv_sec != d->st_mtim.tv_sec || s->st_mtim.tv_nsec != d->st_mtim.tv_nsec)) {
        snprintf(text, sizeof(text), "mtime %lld.%09ld, not %lld.%09ld", (long long)d->st_mtim.tv_sec,
                 d->st_mtim.tv_nsec, (long long)s->st_mtim.tv_sec, s->st_mtim.tv_nsec);
        differ(c, name, text);
    }
    if ((S_ISCHR(s->st_mode) || S_ISBLK(s->st_mode)) && s->st_rdev != d->st_rdev) {
        differ(c, name, "another device");
    }
}

static void compare_links(struct cmp *c, const char *name, const struct stat *s, const struct stat *d)
{
    if (s->st_nlink < 2 && d->st_nlink < 2) {
        return;
    }
    if (!pairs_agree(&c->to_dst, s->st_dev, s->st_ino, d->st_ino)) {
        differ(c, name, "a hard link at the source, not at the destination");
    } else if (!pairs_agree(&c->to_src, d->st_dev, d->st_ino, s->st_ino)) {
        differ(c, name, "a hard link at the destination, not at the source");
    }
}

static void compare_file(struct cmp *c, int sdir, int ddir, const char *name, const struct stat *s,
                         const struct stat *d)
{
    char text[128];
    if (s->st_size != d->st_size) {
        snprintf(text, sizeof(text), "size %lld, not %lld", (long long)d->st_size, (long long)s->st_size);
        differ(c, name, text);
        return;
    }
    if (c->contents) {
        compare_contents(c, sdir, ddir, name, s->st_size);
    }
    /* 64 KiB: file systems differ in what they allocate around data. */
    if (c->holes && (off_t)s->st_blocks * 512 < s->st_size && d->st_blocks > s->st_blocks + 128) {
        snprintf(text, sizeof(text), "%lld KiB allocated, not %lld", (long long)d->st_blocks / 2,
                 (long long)s->st_blocks / 2);
        differ(c, name, text);
    }
}

static void compare_dirs(struct cmp *c, int *sdir, int *ddir);

/* Goes down into name and comes back: the parents' descriptors are closed meanwhile, and opened again through "..". */
static void descend(struct cmp *c, int *sdir, int *ddir, const char *name)
{
    size_t old = c->path_len;
    size_t len = strlen(name);
    if (old + len + 2 > c->path_room) {
        c->path_room = (old + len + 2) * 2;
        c->path = grow(c->path, c->path_room);
    }
    memcpy(c->path + old, name, len);
    c->path_len = old + len + 1;
    c->path[old + len] = '/';
    c->path[c->path_len] = '\0';
    int src = openat(*sdir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int dst = openat(*ddir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (src < 0 || dst < 0) {
        die(c->path, errno);
    }
    close(*sdir);
    close(*ddir);
    compare_dirs(c, &src, &dst);
    *sdir = openat(src, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ddir = openat(dst, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*sdir < 0 || *ddir < 0) {
        die(c->path, errno);
    }
    close(src);
    close(dst);
    c->path_len = old;
    c->path[old] = '\0';
}

/* Compares an entry that both have; true where it is a directory in both. */
static bool compare_entry(struct cmp *c, int sdir, int ddir, const char *name)
{
    struct stat s;
    struct stat d;
    if (fstatat(sdir, name, &s, AT_SYMLINK_NOFOLLOW) < 0 || fstatat(ddir, name, &d, AT_SYMLINK_NOFOLLOW) < 0) {
        differ(c, name, "cannot be looked at");
        return false;
    }
    c->entries++;
    if ((s.st_mode & S_IFMT) != (d.st_mode & S_IFMT)) {
        differ(c, name, "another type");
        return false;
    }
    compare_attrs(c, name, &s, &d);
    if (S_ISDIR(s.st_mode)) {
        return true;
    }
    compare_links(c, name, &s, &d);
    if (S_ISREG(s.st_mode)) {
        compare_file(c, sdir, ddir, name, &s, &d);
    } else if (S_ISLNK(s.st_mode)) {
        compare_targets(c, sdir, ddir, name);
    }
    return false;
}

/* *sdir and *ddir stay open, though perhaps as other descriptors. */
static void compare_dirs(struct cmp *c, int *sdir, int *ddir)
{
    struct names src = {0};
    struct names dst = {0};
    list(*sdir, c->path_len == 0 ? ".haul" : NULL, &src);
    list(*ddir, c->path_len == 0 ? ".haul" : NULL, &dst);
    size_t i = 0;
    size_t j = 0;
    while (i < src.count || j < dst.count) {
        int order = i == src.count ? 1 : j == dst.count ? -1 : strcmp(src.name[i], dst.name[j]);
        if (order < 0) {
            differ(c, src.name[i++], "missing");
        } else if (order > 0) {
            if (c->extra) {
                differ(c, dst.name[j], "not at the source");
            }
            j++;
        } else {
            if (compare_entry(c, *sdir, *ddir, src.name[i])) {
                descend(c, sdir, ddir, src.name[i]);
            }
            i++;
            j++;
        }
    }
    names_free(&src);
    names_free(&dst);
}

static int option(struct cmp *c, const char *text)
{
    bool *flag = strcmp(text, "--no-dir-times") == 0    ? &c->dir_times
                 : strcmp(text, "--no-link-times") == 0 ? &c->link_times
                 : strcmp(text, "--no-owner") == 0      ? &c->owner
                 : strcmp(text, "--no-holes") == 0      ? &c->holes
                 : strcmp(text, "--no-contents") == 0   ? &c->contents
                 : strcmp(text, "--no-extra") == 0      ? &c->extra
                                                        : NULL;
    if (flag == NULL) {
        return -1;
    }
    *flag = false;
    return 0;
}

int main(int argc, char **argv)
{
    static struct cmp c = {
        .dir_times = true, .link_times = true, .owner = true, .holes = true, .contents = true, .extra = true};
    int at = 1;
    while (at < argc && strncmp(argv[at], "--", 2) == 0) {
        if (option(&c, argv[at++]) < 0) {
            at = argc;
        }
    }
    if (argc - at != 2) {
        fprintf(stderr,
                "usage: cmptree [--no-dir-times] [--no-owner] [--no-holes] [--no-contents] [--no-extra] SRC DST\n");
        return 2;
    }
    int src = open(argv[at], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int dst = open(argv[at + 1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (src < 0 || dst < 0) {
        die(src < 0 ? argv[at] : argv[at + 1], errno);
    }
    c.path_room = 256;
    c.path = grow(NULL, c.path_room);
    c.path[0] = '\0';
    struct stat s;
    struct stat d;
    if (fstat(src, &s) == 0 && fstat(dst, &d) == 0) {
        compare_attrs(&c, ".", &s, &d);
    }
    compare_dirs(&c, &src, &dst);
    printf("compared %lu entries, %lu differences\n", c.entries, c.differences);
    return c.differences == 0 ? 0 : 1;
}
