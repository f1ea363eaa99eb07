/*
 * support_conf_reading: looking, listing, reading files.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/errs.h"
#include "support_conformance.h"

#define MANY 10000U

static int truncateat(const struct conf *c, const char *path, off_t size)
{
    int fd = openat(c->fd, path, O_WRONLY | O_CLOEXEC);
    int err = fd < 0 ? -errno : ftruncate(fd, size);

    if (fd >= 0) {
        close(fd);
    }
    return err;
}

static void stats(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    struct dir *missing = conf_dir(c, c->root, "missing");
    struct attr attr;
    struct stat st;

    conf_put_file(c, "d/file", "data", 4, 0640);
    st = conf_see(c, "d/file");
    cr_assert_eq(conf_stat(c, d, "file", &attr), 0);
    cr_assert_eq(attr.mode, st.st_mode);
    cr_assert_eq(attr.uid, st.st_uid);
    cr_assert_eq(attr.gid, st.st_gid);
    cr_assert_eq(attr.size, 4);
    cr_assert_eq(attr.ino, st.st_ino);
    cr_assert_eq(attr.nlink, 1);
    cr_assert_eq(attr.allocated, (uint64_t)st.st_blocks * 512);
    cr_assert_eq(attr.mtime.tv_nsec, st.st_mtim.tv_nsec);
    cr_assert_eq(attr.ctime.tv_nsec, st.st_ctim.tv_nsec);
    cr_assert_eq(attr.atime.tv_sec, st.st_atim.tv_sec);
    cr_assert_eq(conf_stat(c, d, NULL, &attr), 0);
    cr_assert_eq(attr.ino, conf_see(c, "d").st_ino);
    cr_assert_eq(conf_stat(c, c->root, NULL, &attr), 0);
    cr_assert_eq(attr.ino, conf_see(c, ".").st_ino);
    cr_assert_eq(symlinkat("d/file", c->fd, "link"), 0);
    cr_assert_eq(conf_stat(c, c->root, "link", &attr), 0);
    cr_assert(S_ISLNK(attr.mode));
    cr_assert_eq(conf_stat(c, d, "missing", &attr), -ENOENT);
    cr_assert_eq(conf_stat(c, missing, "file", &attr), -ENOENT);
    cr_assert_eq(conf_stat(c, missing, NULL, &attr), -ENOENT);
    dir_put(missing);
    dir_put(d);
}

/* Asking the server itself: what was changed behind this machine's back is seen at once. */
static void stats_fresh(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    struct attr attr;
    struct store_op op = {.code = STORE_STAT, .dir = d, .name = "file", .stat = {.out = &attr, .fresh = true}};

    conf_put_file(c, "d/file", "data", 4, 0640);
    cr_assert_eq(conf_stat(c, d, "file", &attr), 0);
    cr_assert_eq(truncateat(c, "d/file", 1), 0);
    cr_assert_eq(store_run(c->port, &op), 0);
    cr_assert_eq(attr.size, 1);
    cr_assert_eq(unlinkat(c->fd, "d/file", 0), 0);
    cr_assert_eq(store_run(c->port, &op), -ENOENT);
    op.name = NULL;
    cr_assert_eq(store_run(c->port, &op), 0);
    cr_assert(S_ISDIR(attr.mode));
    dir_put(d);
}

/* Names that would lead elsewhere are refused before anything is done. */
static void bad_names(struct conf *c)
{
    static const char *const names[] = {"", ".", "..", "a/b", "/", "../x"};
    struct attr attr = conf_attr(c, 0644, 0);
    struct attr out;

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        cr_assert_eq(conf_stat(c, c->root, names[i], &out), -EINVAL, "%s", names[i]);
        cr_assert_eq(conf_publish(c, c->root, names[i], &attr, STORE_KEEP_ALL, "", NULL), -EINVAL, "%s", names[i]);
        cr_assert_eq(conf_remove(c, c->root, names[i], NULL, true), -EINVAL, "%s", names[i]);
    }
}

/* ---- listings ---- */

static int list_open(struct conf *c, struct dir *dir, bool want_attr, struct store_list **list)
{
    struct store_op op = {.code = STORE_LIST_OPEN, .dir = dir, .list = {.list = list, .want_attr = want_attr}};

    return store_run(c->port, &op);
}

static int list_do(struct conf *c, struct store_list **list, enum store_code code, struct store_entry *out)
{
    struct store_op op = {.code = code, .list = {.list = list, .out = out}};

    return store_run(c->port, &op);
}

/* Entries have names "e<number>": counts how often each was seen. */
static void mark(const struct store_entry *e, unsigned char *seen, unsigned max)
{
    unsigned number;

    cr_assert_eq(e->name_len, strlen(e->name));
    cr_assert_eq(e->name[0], 'e', "%s", e->name);
    number = (unsigned)strtoul(e->name + 1, NULL, 10);
    cr_assert_lt(number, max);
    cr_assert(seen[number] < 255);
    seen[number]++;
}

/* Marks the rest of the listing from here. parks: at these counts. */
static unsigned list_all(struct conf *c, struct store_list **list, unsigned char *seen, unsigned max, unsigned park)
{
    struct store_entry e = {0};
    unsigned n = 0;

    for (;;) {
        if (park && n % park == 0) {
            cr_assert_eq(list_do(c, list, STORE_LIST_PARK, NULL), 0);
        }
        cr_assert_eq(list_do(c, list, STORE_LIST_NEXT, &e), 0);
        if (!e.name) {
            return n;
        }
        mark(&e, seen, max);
        n++;
    }
}

static void make_entries(struct conf *c, const char *dir, unsigned from, unsigned to)
{
    char path[64];

    for (unsigned i = from; i < to; i++) {
        int fd;

        snprintf(path, sizeof(path), "%s/e%u", dir, i);
        fd = openat(c->fd, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        cr_assert(fd >= 0);
        close(fd);
    }
}

static void list_many(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    unsigned char *seen = calloc(1, MANY);
    struct store_list *list = NULL;

    make_entries(c, "d", 0, MANY);
    cr_assert_eq(list_open(c, d, false, &list), 0);
    cr_assert_eq(list_all(c, &list, seen, MANY, 0), MANY);
    cr_assert_eq(list_do(c, &list, STORE_LIST_CLOSE, NULL), 0);
    cr_assert_null(list);
    for (unsigned i = 0; i < MANY; i++) {
        cr_assert_eq(seen[i], 1, "e%u: %u times", i, seen[i]);
    }
    free(seen);
    dir_put(d);
}

/* The newest descriptor that is open on that path. */
static int newest_on(const char *path)
{
    int newest = -1;

    for (int fd = 0; fd < 1024; fd++) {
        char link[64];
        char target[4096];
        ssize_t len;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        len = readlink(link, target, sizeof(target) - 1);
        if (len > 0 && (size_t)len == strlen(path) && memcmp(target, path, (size_t)len) == 0) {
            newest = fd;
        }
    }
    return newest;
}

/* The directory cannot be read for a moment, in the middle of the listing: whoever asks again gets each entry once. */
static void list_interrupted(struct conf *c)
{
    const unsigned count = 5000; /* more than are read at once */
    unsigned char *seen = calloc(1, count);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct dir *d = NULL;
    char path[512];

    if (strcmp(c->store->caps.kind, "posix") != 0) { /* it reads through a descriptor, which is put aside here */
        close(null);
        free(seen);
        return;
    }
    d = conf_make_dir(c, c->root, "d");
    make_entries(c, "d", 0, count);
    (void)snprintf(path, sizeof(path), "%s/d", c->path);
    for (unsigned want_attr = 0; want_attr < 2; want_attr++) {
        struct store_list *list = NULL;
        struct store_entry e = {0};
        unsigned some = 0;
        int fd;
        int real;

        memset(seen, 0, count);
        cr_assert_eq(list_open(c, d, want_attr == 1, &list), 0);
        fd = newest_on(path);
        real = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        cr_assert(real >= 0);
        cr_assert_eq(list_do(c, &list, STORE_LIST_NEXT, &e), 0);
        mark(&e, seen, count);
        cr_assert_eq(dup2(null, fd), fd);
        while (list_do(c, &list, STORE_LIST_NEXT, &e) == 0) {
            cr_assert_not_null(e.name, "it did not fail");
            mark(&e, seen, count);
            some++;
        }
        cr_assert(some > 0);
        cr_assert_eq(dup2(real, fd), fd);
        close(real);
        (void)list_all(c, &list, seen, count, 0);
        cr_assert_eq(list_do(c, &list, STORE_LIST_CLOSE, NULL), 0);
        for (unsigned i = 0; i < count; i++) {
            cr_assert_eq(seen[i], 1, "e%u: %u times", i, seen[i]);
        }
    }
    close(null);
    free(seen);
    dir_put(d);
}

/* Given up again and again, and gone on with: each entry once, however often. */
static void list_parked(struct conf *c)
{
    static const unsigned every[] = {1, 7, 1000};
    struct dir *d = conf_make_dir(c, c->root, "d");
    unsigned count = 3000;
    unsigned char *seen = calloc(1, count);

    make_entries(c, "d", 0, count);
    for (unsigned k = 0; k < 3; k++) {
        struct store_list *list = NULL;
        unsigned descriptors = conf_descriptors();

        memset(seen, 0, count);
        cr_assert_eq(list_open(c, d, k == 1, &list), 0);
        cr_assert_eq(list_do(c, &list, STORE_LIST_PARK, NULL), 0);
        cr_assert_leq(conf_descriptors(), descriptors + 1, "a parked listing holds no descriptor");
        cr_assert_eq(list_all(c, &list, seen, count, every[k]), count);
        cr_assert_eq(list_do(c, &list, STORE_LIST_CLOSE, NULL), 0);
        for (unsigned i = 0; i < count; i++) {
            cr_assert_eq(seen[i], 1, "e%u: %u times, parked every %u", i, seen[i], every[k]);
        }
    }
    free(seen);
    dir_put(d);
}

/* Entries that come and go meanwhile may be seen or not; all others are seen once. */
static void list_under_way(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    unsigned char *seen = calloc(1, 6000);
    struct store_list *list = NULL;
    struct store_entry e = {0};
    char path[64];

    make_entries(c, "d", 0, 4000);
    cr_assert_eq(list_open(c, d, true, &list), 0);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert_eq(list_do(c, &list, STORE_LIST_NEXT, &e), 0);
        cr_assert_not_null(e.name);
        seen[strtoul(e.name + 1, NULL, 10)]++;
    }
    make_entries(c, "d", 4000, 6000);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(path, sizeof(path), "d/e%u", i);
        cr_assert_eq(unlinkat(c->fd, path, 0), 0);
    }
    (void)list_all(c, &list, seen, 6000, 0);
    cr_assert_eq(list_do(c, &list, STORE_LIST_CLOSE, NULL), 0);
    for (unsigned i = 0; i < 6000; i++) {
        cr_assert(i >= 1000 && i < 4000 ? seen[i] == 1 : seen[i] <= 1, "e%u: %u times", i, seen[i]);
    }
    free(seen);
    dir_put(d);
}

/* Entries that go between the reading of their names and the look at them are errors of their own, not of the listing.
 */
static void list_attrs(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    struct store_list *list = NULL;
    struct store_entry e = {0};
    static const unsigned count = 600; /* more than are looked at together */
    ino_t inodes[602];
    unsigned gone = 0;
    unsigned n = 0;
    char path[300];

    make_entries(c, "d", 0, count);
    cr_assert_eq(symlinkat("nowhere", c->fd, "d/e600"), 0);
    cr_assert_eq(mkdirat(c->fd, "d/e601", 0700), 0);
    for (unsigned i = 0; i < count + 2; i++) {
        snprintf(path, sizeof(path), "d/e%u", i);
        inodes[i] = conf_see(c, path).st_ino;
    }
    cr_assert_eq(list_open(c, d, true, &list), 0);
    for (;; n++) {
        cr_assert_eq(list_do(c, &list, STORE_LIST_NEXT, &e), 0);
        if (!e.name) {
            break;
        }
        if (e.attr_error) {
            cr_assert_eq(e.attr_error, -ENOENT);
            cr_assert_not(e.has_attr);
            gone++;
        } else {
            unsigned number = (unsigned)strtoul(e.name + 1, NULL, 10);

            cr_assert(e.has_attr && number < count + 2);
            cr_assert_eq(e.attr.ino, inodes[number]);
            cr_assert_eq(e.type, number < count ? DT_REG : number == count ? DT_LNK : DT_DIR);
        }
        for (unsigned i = 0; i <= count && n == 0; i++) {
            snprintf(path, sizeof(path), "d/e%u", i);
            (void)unlinkat(c->fd, path, 0);
        }
    }
    cr_assert_eq(n, count + 2, "read ahead: %u names, %u gone", n, gone);
    cr_assert(gone >= 1);
    cr_assert_eq(list_do(c, &list, STORE_LIST_CLOSE, NULL), 0);
    dir_put(d);
}

static void list_nothing(struct conf *c)
{
    struct dir *d = conf_make_dir(c, c->root, "d");
    struct dir *missing = conf_dir(c, c->root, "missing");
    struct store_list *list = NULL;
    struct store_entry e = {0};

    cr_assert_eq(list_open(c, d, true, &list), 0);
    cr_assert_eq(list_do(c, &list, STORE_LIST_NEXT, &e), 0);
    cr_assert_null(e.name);
    cr_assert_eq(list_do(c, &list, STORE_LIST_NEXT, &e), 0);
    cr_assert_null(e.name);
    cr_assert_eq(list_do(c, &list, STORE_LIST_CLOSE, NULL), 0);
    cr_assert_eq(list_open(c, missing, true, &list), -ENOENT);
    conf_put_file(c, "file", "", 0, 0600);
    dir_put(missing);
    missing = conf_dir(c, c->root, "file");
    cr_assert_eq(list_open(c, missing, true, &list), -ENOTDIR);
    dir_put(missing);
    dir_put(d);
}

/* ---- files; with the posix store as the source, and the destination's own reading where it is one ---- */

struct small {
    char buf[100000];
    size_t len;
    struct attr before;
    struct attr after;
};

static int read_small_how(struct conf *c, const char *name, size_t size, struct small *out, bool fresh)
{
    struct store_op op = {.code = STORE_READ_SMALL,
                          .dir = c->root,
                          .name = name,
                          .read_small = {.buf = out->buf,
                                         .size = size,
                                         .out_len = &out->len,
                                         .before = &out->before,
                                         .after = &out->after,
                                         .fresh = fresh}};

    return store_run(c->port, &op);
}

static int read_small(struct conf *c, const char *name, size_t size, struct small *out)
{
    return read_small_how(c, name, size, out, false);
}

static void small_files(struct conf *c)
{
    static const size_t sizes[] = {0, 1, 4096, 100000};
    struct small *small = calloc(1, sizeof(*small));

    for (unsigned i = 0; i < 8; i++) {
        size_t size = sizes[i / 2];
        char *data = conf_bytes(size, i);

        conf_put_file(c, "file", data, size, 0640);
        small->len = 77;
        cr_assert_eq(read_small_how(c, "file", 100000, small, i % 2), 0);
        cr_assert_eq(small->len, size);
        cr_assert_eq(memcmp(small->buf, data, small->len), 0);
        cr_assert_eq(small->before.size, size);
        cr_assert_eq(small->before.ino, conf_see(c, "file").st_ino);
        cr_assert(attr_unchanged(&small->before, &small->after));
        free(data);
    }
    cr_assert_eq(read_small(c, "file", 99999, small), -EFBIG);
    cr_assert_eq(read_small(c, "missing", 100000, small), -ENOENT);
    free(small);
}

/* What took the file's place is not read, followed, or waited for. */
static void not_files(struct conf *c)
{
    struct small *small = calloc(1, sizeof(*small));

    conf_put_file(c, "file", "data", 4, 0600);
    cr_assert_eq(symlinkat("file", c->fd, "link"), 0);
    cr_assert_eq(mkdirat(c->fd, "dir", 0700), 0);
    cr_assert_eq(mkfifoat(c->fd, "fifo", 0600), 0);
    cr_assert_eq(mknodat(c->fd, "socket", S_IFSOCK | 0600, 0), 0);
    cr_assert_eq(read_small(c, "link", 16, small), -ELOOP);
    cr_assert_eq(read_small(c, "dir", 16, small), -ERR_CHANGED);
    cr_assert_eq(read_small(c, "fifo", 16, small), -ERR_CHANGED);
    cr_assert_eq(read_small(c, "socket", 16, small), -ERR_CHANGED);
    free(small);
}

static struct store_file *open_file_how(struct conf *c, const char *name, struct attr *attr, bool fresh)
{
    struct store_file *file = NULL;
    struct store_op op = {
        .code = STORE_OPEN, .dir = c->root, .name = name, .open = {.out = &file, .attr = attr, .fresh = fresh}};

    cr_assert_eq(store_run(c->port, &op), 0);
    cr_assert_not_null(file);
    const struct store *opener = c->store;

    while (opener->next) {
        opener = opener->next; /* layers open nothing */
    }
    cr_assert_eq(*(struct store **)(void *)file, opener, "a store_file begins with its store");
    return file;
}

static struct store_file *open_file(struct conf *c, const char *name, struct attr *attr)
{
    return open_file_how(c, name, attr, false);
}

static void close_file(struct conf *c, struct store_file *file)
{
    struct store_op op = {.code = STORE_CLOSE, .file = {.file = file}};

    cr_assert_eq(store_run(c->port, &op), 0);
}

static size_t read_at(struct conf *c, struct store_file *file, void *buf, size_t len, uint64_t offset)
{
    size_t n = 999;
    struct store_op op = {.code = STORE_READ,
                          .file = {.file = file, .buf = buf, .len = len, .offset = offset, .out_len = &n}};

    cr_assert_eq(store_run(c->port, &op), 0);
    return n;
}

static void large_files_how(struct conf *c, bool fresh)
{
    size_t size = 300000;
    char *data = conf_bytes(size, 1);
    char *buf = malloc(size);
    struct attr attr;
    struct attr again;
    struct store_file *file;
    struct store_op look = {.code = STORE_FSTAT, .stat = {.out = &again}};

    conf_put_file(c, "file", data, size, 0640);
    file = open_file_how(c, "file", &attr, fresh);
    cr_assert_eq(attr.size, size);
    cr_assert_eq(read_at(c, file, buf, size, 0), size);
    cr_assert_eq(memcmp(buf, data, size), 0);
    cr_assert_eq(read_at(c, file, buf, 1000, 12345), 1000);
    cr_assert_eq(memcmp(buf, data + 12345, 1000), 0);
    cr_assert_eq(read_at(c, file, buf, 1000, size - 10), 10, "less only at the end");
    cr_assert_eq(read_at(c, file, buf, 1000, size), 0);
    cr_assert_eq(read_at(c, file, buf, 1000, size * 2), 0);
    look.stat.file = file;
    cr_assert_eq(store_run(c->port, &look), 0);
    cr_assert(attr_unchanged(&attr, &again));
    conf_put_file(c, "file", "short", 5, 0640);
    cr_assert_eq(store_run(c->port, &look), 0);
    cr_assert_not(attr_unchanged(&attr, &again));
    close_file(c, file);
    free(data);
    free(buf);
}

static void large_files(struct conf *c)
{
    large_files_how(c, false);
    large_files_how(c, true);
}

static int extent(struct conf *c, struct store_file *file, uint64_t offset, uint64_t *data, uint64_t *end)
{
    struct store_op op = {.code = STORE_EXTENT};

    op.file.file = file;
    op.file.offset = offset;
    op.file.out_data = data;
    op.file.out_end = end;
    return store_run(c->port, &op);
}

static void extents(struct conf *c)
{
    uint64_t mib = 1024 * 1024;
    uint64_t data;
    uint64_t end;
    struct store_file *file;
    int fd = openat(c->fd, "sparse", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    cr_assert_eq(ftruncate(fd, (off_t)(8 * mib)), 0);
    cr_assert_eq(pwrite(fd, "x", 1, (off_t)(3 * mib)), 1);
    cr_assert_eq(pwrite(fd, "y", 1, (off_t)(5 * mib)), 1);
    close(fd);
    file = open_file(c, "sparse", NULL);
    cr_assert_eq(extent(c, file, 0, &data, &end), 0);
    cr_assert(data <= 3 * mib && end > 3 * mib && data > mib && end < 5 * mib, "%lu %lu", data, end);
    cr_assert_eq(extent(c, file, end, &data, &end), 0);
    cr_assert(data <= 5 * mib && data > 3 * mib && end > 5 * mib && end < 8 * mib, "%lu %lu", data, end);
    cr_assert_eq(extent(c, file, end, &data, &end), -ENXIO);
    cr_assert_eq(extent(c, file, 9 * mib, &data, &end), -ENXIO);
    close_file(c, file);
}

static const struct conf_case cases[] = {
    {.name = "stat", .run = stats},
    {.name = "stat from the server itself", .run = stats_fresh},
    {.name = "names that lead elsewhere", .run = bad_names},
    {.name = "list of many", .run = list_many},
    {.name = "list parked", .run = list_parked},
    {.name = "list interrupted", .run = list_interrupted},
    {.name = "list while it changes", .run = list_under_way},
    {.name = "list with attributes", .run = list_attrs, .needs = CONF_LATE},
    {.name = "list of nothing", .run = list_nothing},
    {.name = "small files", .run = small_files},
    {.name = "what is no file", .run = not_files},
    {.name = "large files", .run = large_files},
    {.name = "extents", .run = extents, .needs = CONF_HOLES},
};

struct conf_table conf_cases_reading(void)
{
    return (struct conf_table){cases, sizeof(cases) / sizeof(cases[0])};
}
