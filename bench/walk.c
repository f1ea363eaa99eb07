/*
 * bench_walk DIR [THREADS]: the barest look at a tree: each directory is listed, each entry gets a statx, and nothing
 * is done with it. THREADS (2) take directories from a common stack. What a sync that finds nothing changed cannot do
 * without: the floor under it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LISTING (64U * 1024) /* bytes of a buffer for getdents64 */

struct tree {
    pthread_mutex_t lock;    /* for all below */
    pthread_cond_t change;   /* a directory more, or nobody is busy any more */
    char **dirs;             /* paths of directories that nobody took yet; owned */
    size_t count;            /* of dirs */
    size_t room;             /* allocated */
    unsigned busy;           /* threads that look at one */
    size_t entries;          /* met */
    unsigned long long size; /* of the files */
};

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "bench_walk: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void push(struct tree *t, char *path)
{
    pthread_mutex_lock(&t->lock);
    if (t->count == t->room) {
        t->room = t->room == 0 ? 1024 : t->room * 2;
        char **more = realloc(t->dirs, t->room * sizeof(*more));
        if (more == NULL) {
            die("memory");
        }
        t->dirs = more;
    }
    t->dirs[t->count++] = path;
    pthread_cond_signal(&t->change);
    pthread_mutex_unlock(&t->lock);
}

/* The next directory, or NULL: there is none, and nobody can meet one any more. */
static char *pop(struct tree *t, bool was_busy)
{
    char *path = NULL;
    pthread_mutex_lock(&t->lock);
    t->busy -= was_busy ? 1 : 0;
    while (t->count == 0 && t->busy > 0) {
        pthread_cond_wait(&t->change, &t->lock);
    }
    if (t->count > 0) {
        path = t->dirs[--t->count];
        t->busy++;
    } else {
        pthread_cond_broadcast(&t->change);
    }
    pthread_mutex_unlock(&t->lock);
    return path;
}

/* One entry; a directory is left to whoever comes first. */
static unsigned long long meet(struct tree *t, int fd, const char *path, const struct dirent64 *entry)
{
    struct statx sx;
    if (statx(fd, entry->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &sx) < 0) {
        die(entry->d_name);
    }
    if (S_ISDIR(sx.stx_mode)) {
        char *child = NULL;
        if (asprintf(&child, "%s/%s", path, entry->d_name) < 0) {
            die("memory");
        }
        push(t, child);
    }
    return S_ISREG(sx.stx_mode) ? sx.stx_size : 0;
}

static void list(struct tree *t, const char *path, char *buffer)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 0;
    size_t entries = 0;
    unsigned long long size = 0;
    while (n >= 0 && (n = getdents64(fd, buffer, LISTING)) > 0) {
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *entry = (const void *)(buffer + at);
            at += entry->d_reclen;
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
                size += meet(t, fd, path, entry);
                entries++;
            }
        }
    }
    if (n < 0) {
        die(path);
    }
    close(fd);
    pthread_mutex_lock(&t->lock);
    t->entries += entries;
    t->size += size;
    pthread_mutex_unlock(&t->lock);
}

static void *work(void *arg)
{
    struct tree *t = arg;
    char *buffer = malloc(LISTING);
    if (buffer == NULL) {
        die("memory");
    }
    char *path = NULL;
    for (bool was_busy = false; (path = pop(t, was_busy)) != NULL; was_busy = true) {
        list(t, path, buffer);
        free(path);
    }
    free(buffer);
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned long threads = argc == 3 ? strtoul(argv[2], NULL, 10) : 2;
    if (argc < 2 || argc > 3 || threads < 1 || threads > 64) {
        fprintf(stderr, "usage: bench_walk DIR [THREADS: 1 to 64]\n");
        return 1;
    }
    struct tree t = {.lock = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};
    char *root = strdup(argv[1]);
    if (root == NULL) {
        die("memory");
    }
    push(&t, root);
    pthread_t ids[64];
    for (unsigned long i = 0; i < threads; i++) {
        errno = pthread_create(&ids[i], NULL, work, &t);
        if (errno != 0) {
            die("thread");
        }
    }
    for (unsigned long i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
    }
    free(t.dirs);
    printf("%zu entries, %llu bytes\n", t.entries, t.size);
    return 0;
}
