/*
 * bench_floor SRC DST [THREADS]: the plainest loop that does what every careful copier must do, and nothing else. For
 * each file: open, read, create a temp name, write, set times, look at the result, rename. THREADS (2) take turns at
 * runs of 32 files. Directories and symbolic links are made beforehand, by one thread, in the order of the walk. No
 * owners, no modes, no hard links, no holes, no state, no repeats: the floor under a copier, not a copier.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER (1024U * 1024)
#define TURN   32U

struct job {
    int src;            /* root of the source */
    int dst;            /* root of the destination */
    char **paths;       /* of the files, relative to the roots */
    size_t count;       /* of paths */
    size_t room;        /* allocated */
    atomic_size_t next; /* the first path that nobody took yet */
};

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "bench_floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void copy_bytes(int in, int out, char *buffer)
{
    ssize_t n;
    while ((n = read(in, buffer, BUFFER)) > 0) {
        for (ssize_t done = 0; done < n;) {
            ssize_t written = write(out, buffer + done, (size_t)(n - done));
            if (written < 0) {
                die("write");
            }
            done += written;
        }
    }
    if (n < 0) {
        die("read");
    }
}

static void copy_file(const struct job *job, const char *path, char *buffer)
{
    struct stat from;
    struct stat to;
    char temp[8192];
    int in = openat(job->src, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0 || fstat(in, &from) < 0) {
        die(path);
    }
    snprintf(temp, sizeof(temp), "%s.tmp", path);
    int out = openat(job->dst, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (out < 0) {
        die(temp);
    }
    copy_bytes(in, out, buffer);
    struct timespec times[2] = {from.st_atim, from.st_mtim};
    if (futimens(out, times) < 0 || fstat(out, &to) < 0 || to.st_size != from.st_size) {
        die(temp);
    }
    close(in);
    if (close(out) < 0 || renameat(job->dst, temp, job->dst, path) < 0) {
        die(path);
    }
}

static void *work(void *arg)
{
    struct job *job = arg;
    char *buffer = malloc(BUFFER);
    if (buffer == NULL) {
        die("memory");
    }
    for (;;) {
        size_t first = atomic_fetch_add(&job->next, TURN);
        if (first >= job->count) {
            break;
        }
        size_t end = first + TURN < job->count ? first + TURN : job->count;
        for (size_t i = first; i < end; i++) {
            copy_file(job, job->paths[i], buffer);
        }
    }
    free(buffer);
    return NULL;
}

static void add_path(struct job *job, const char *path)
{
    if (job->count == job->room) {
        job->room = job->room == 0 ? 1024 : job->room * 2;
        char **bigger = realloc(job->paths, job->room * sizeof(*bigger));
        if (bigger == NULL) {
            die("memory");
        }
        job->paths = bigger;
    }
    job->paths[job->count] = strdup(path);
    if (job->paths[job->count++] == NULL) {
        die("memory");
    }
}

static void walk(struct job *job, char *src)
{
    char *roots[] = {src, NULL};
    size_t cut = strlen(src);
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (tree == NULL) {
        die(src);
    }
    FTSENT *entry;
    while ((entry = fts_read(tree)) != NULL) {
        const char *path = entry->fts_path + cut;
        path += *path == '/';
        if (entry->fts_info == FTS_F) {
            add_path(job, path);
        } else if (entry->fts_info == FTS_D && *path != '\0' && mkdirat(job->dst, path, 0755) < 0) {
            die(path);
        } else if (entry->fts_info == FTS_SL || entry->fts_info == FTS_SLNONE) {
            char target[4097];
            ssize_t n = readlinkat(job->src, path, target, sizeof(target) - 1);
            if (n < 0) {
                die(path);
            }
            target[n] = '\0';
            if (symlinkat(target, job->dst, path) < 0) {
                die(path);
            }
        }
    }
    fts_close(tree);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: bench_floor SRC DST [THREADS]\n");
        return 1;
    }
    unsigned long threads = argc == 4 ? strtoul(argv[3], NULL, 10) : 2;
    if (threads < 1 || threads > 64) {
        fprintf(stderr, "bench_floor: THREADS: 1 to 64\n");
        return 1;
    }
    if (mkdir(argv[2], 0755) < 0 && errno != EEXIST) {
        die(argv[2]);
    }
    struct job job = {.src = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                      .dst = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (job.src < 0 || job.dst < 0) {
        die(job.src < 0 ? argv[1] : argv[2]);
    }
    walk(&job, argv[1]);
    pthread_t ids[64];
    for (unsigned long i = 0; i < threads; i++) {
        errno = pthread_create(&ids[i], NULL, work, &job);
        if (errno != 0) {
            die("thread");
        }
    }
    for (unsigned long i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
    }
    return 0;
}
