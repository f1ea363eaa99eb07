/*
 * watch: looks at a destination all the while it is written to, and stops at the first final name that holds what it
 * must not hold.
 *
 *   watch --told DST [GENERATION...]   every regular file is a whole told file (told.h) of one of these generations
 *   watch --same SRC DST               every entry has the type, size, mode and owner of the one at SRC, and a sample
 * of the files has its contents
 *
 * Names that begin with ".haul" are passed over: temp names, and haul's own directory. Ends on SIGTERM or SIGINT: exit
 * 0 and a line with what was looked at; at the first violation: a line that names it on standard error, exit 1; exit 2
 * where it could not look.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tools/told.h"

#define GENERATIONS_MAX 16
#define PATH_ROOM       8192

static volatile sig_atomic_t stop; /* a signal asked for the end */

struct watch {
    int src;                               /* --same: the source's root, else -1 */
    unsigned generations[GENERATIONS_MAX]; /* --told: allowed ones */
    unsigned generation_count;             /* 0: any */
    unsigned long looks;                   /* names looked at */
    unsigned long reads;                   /* files read */
    unsigned long rounds;                  /* whole walks */
    uint64_t random;                       /* state of the sampling */
    char path[PATH_ROOM];                  /* of the entry at hand, relative to the root */
};

static void on_signal(int sig)
{
    (void)sig;
    stop = 1;
}

static int violation(const struct watch *w, const char *what)
{
    fprintf(stderr, "watch: %s: %s\n", w->path, what);
    return 1;
}

static bool allowed(const struct watch *w, unsigned generation)
{
    for (unsigned i = 0; i < w->generation_count; i++) {
        if (w->generations[i] == generation) {
            return true;
        }
    }
    return w->generation_count == 0;
}

static int look_told(struct watch *w, int fd, const struct stat *st)
{
    char why[256] = "";
    char text[512];
    unsigned generation = 0;
    if ((st->st_mode & 07777) == 0 || st->st_size == 0) {
        snprintf(text, sizeof(text), "mode %04o, %lld bytes", st->st_mode & 07777, (long long)st->st_size);
        return violation(w, text);
    }
    int ret = told_check(fd, w->path, &generation, why, sizeof(why));
    if (ret == -EBADMSG) {
        return violation(w, why);
    }
    if (ret < 0) {
        snprintf(text, sizeof(text), "cannot be read: %s", strerror(-ret));
        return violation(w, text);
    }
    w->reads++;
    return allowed(w, generation) ? 0 : violation(w, "a generation that nobody copied");
}

/* Whether both have the same bytes: 1, 0, -1 where one cannot be read. */
static int same_bytes(int one, int two)
{
    static char a[1024 * 1024];
    static char b[1024 * 1024];
    off_t at = 0;
    for (;;) {
        ssize_t n = pread(one, a, sizeof(a), at);
        ssize_t m = n < 0 ? -1 : pread(two, b, sizeof(b), at);
        if (n < 0 || m < 0) {
            return -1;
        }
        if (n != m || memcmp(a, b, (size_t)n) != 0) {
            return 0;
        }
        if (n == 0) {
            return 1;
        }
        at += n;
    }
}

static int look_same(struct watch *w, int fd, const struct stat *st)
{
    struct stat want;
    char text[512];
    if (fstatat(w->src, w->path, &want, AT_SYMLINK_NOFOLLOW) < 0) {
        return violation(w, "not there at the source");
    }
    if (st->st_mode != want.st_mode || st->st_uid != want.st_uid || st->st_gid != want.st_gid ||
        (!S_ISDIR(st->st_mode) && st->st_size != want.st_size)) {
        snprintf(text, sizeof(text), "mode %06o owner %u:%u %lld bytes, source: %06o %u:%u %lld bytes", st->st_mode,
                 st->st_uid, st->st_gid, (long long)st->st_size, want.st_mode, want.st_uid, want.st_gid,
                 (long long)want.st_size);
        return violation(w, text);
    }
    if (!S_ISREG(st->st_mode) || told_random(&w->random) % 16 != 0) {
        return 0;
    }
    int from = openat(w->src, w->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int same = from < 0 ? -1 : same_bytes(from, fd);
    if (from >= 0) {
        close(from);
    }
    w->reads++;
    return same == 1 ? 0 : violation(w, same == 0 ? "other contents than the source" : "cannot be compared");
}

/* One non-directory. It may be gone by now, or replaced: what was opened is judged. */
static int look_entry(struct watch *w, int dir, const char *name)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENXIO)) {
        return 0;
    }
    if (fd < 0) {
        return violation(w, strerror(errno));
    }
    w->looks++;
    int ret = 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        ret = w->src >= 0 ? look_same(w, fd, &st) : look_told(w, fd, &st);
    }
    close(fd);
    return ret;
}

static int walk(struct watch *w, int parent, const char *name, size_t path_len)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return 0; /* gone, or replaced, between listing and opening */
    }
    int ret = 0;
    struct dirent *entry;
    while (ret == 0 && !stop && (entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, ".haul", 5) == 0 || strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        int n = snprintf(w->path + path_len, PATH_ROOM - path_len, "%s%s", path_len == 0 ? "" : "/", entry->d_name);
        if ((size_t)n >= PATH_ROOM - path_len) {
            continue;
        }
        if (entry->d_type == DT_DIR) {
            ret = walk(w, fd, entry->d_name, path_len + (size_t)n);
        } else if (entry->d_type == DT_REG) {
            ret = look_entry(w, fd, entry->d_name);
        }
        w->path[path_len] = '\0';
    }
    closedir(dir);
    return ret;
}

static int watch_all(struct watch *w, const char *dst)
{
    while (!stop) {
        int root = open(dst, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root < 0 && errno == ENOENT) {
            usleep(1000);
            continue;
        }
        if (root < 0) {
            fprintf(stderr, "watch: %s: %s\n", dst, strerror(errno));
            return 2;
        }
        int ret = walk(w, root, ".", 0);
        close(root);
        if (ret != 0) {
            return ret;
        }
        w->rounds++;
    }
    printf("watched: %lu rounds, %lu names, %lu files read\n", w->rounds, w->looks, w->reads);
    return 0;
}

int main(int argc, char **argv)
{
    static struct watch w = {.src = -1, .random = 1};
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (argc == 4 && strcmp(argv[1], "--same") == 0) {
        w.src = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (w.src < 0) {
            fprintf(stderr, "watch: %s: %s\n", argv[2], strerror(errno));
            return 2;
        }
        return watch_all(&w, argv[3]);
    }
    if (argc >= 3 && argc < 3 + GENERATIONS_MAX && strcmp(argv[1], "--told") == 0) {
        for (int i = 3; i < argc; i++) {
            w.generations[w.generation_count++] = (unsigned)strtoul(argv[i], NULL, 10);
        }
        return watch_all(&w, argv[2]);
    }
    fprintf(stderr, "usage: watch --told DST [GENERATION...] | --same SRC DST\n");
    return 2;
}
