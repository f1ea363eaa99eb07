/*
 * bench_nfs3one [--files N] [--size BYTES] [--dirs N] URL: what a copier does without pipelining: files one at a time
 * over NFSv3, through libnfs: create a temp name, write, set mode and times, close, rename. No source is read, no
 * answer waits for another but its own. URL as libnfs has it (nfs://HOST/EXPORT?version=3&nfsport=N&mountport=N); the
 * directories below it are made before the clock runs. Prints one line like bench_nfsgen. No code of haul is in it.
 */
#include <sys/time.h>

#include <fcntl.h>
#include <nfsc/libnfs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

struct one {
    unsigned files;
    unsigned size; /* bytes of each */
    unsigned dirs;
    struct nfs_context *nfs;
    char *data; /* size bytes */
};

_Noreturn static void die(const struct one *o, const char *what)
{
    fprintf(stderr, "bench_nfs3one: %s: %s\n", what, o->nfs ? nfs_get_error(o->nfs) : "no memory");
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_s(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6;
}

static void make_dirs(const struct one *o)
{
    for (unsigned i = 0; i < o->dirs; i++) {
        char name[32];
        snprintf(name, sizeof(name), "/d%04u", i);
        if (nfs_mkdir(o->nfs, name) != 0) {
            die(o, name);
        }
    }
}

static void publish(const struct one *o, unsigned n)
{
    unsigned dir = (unsigned)((uint64_t)n * o->dirs / o->files);
    char temp[64];
    char name[64];
    struct nfsfh *file = NULL;
    snprintf(temp, sizeof(temp), "/d%04u/.tmp.%06u", dir, n);
    snprintf(name, sizeof(name), "/d%04u/f%06u", dir, n);
    if (nfs_creat(o->nfs, temp, 0600, &file) != 0) {
        die(o, temp);
    }
    for (unsigned done = 0; done < o->size;) {
        int n_written = nfs_write(o->nfs, file, o->size - done, o->data + done);
        if (n_written <= 0) {
            die(o, temp);
        }
        done += (unsigned)n_written;
    }
    struct timeval times[2] = {{.tv_sec = 1000000000 + n}, {.tv_sec = 1000000000 + n}};
    if (nfs_fchmod(o->nfs, file, 0644) != 0 || nfs_utimes(o->nfs, temp, times) != 0 || nfs_close(o->nfs, file) != 0 ||
        nfs_rename(o->nfs, temp, name) != 0) {
        die(o, name);
    }
}

static void parse(struct one *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        unsigned value = i + 1 < argc ? (unsigned)strtoul(argv[i + 1], NULL, 10) : 0;
        if (value > 0 && strcmp(argv[i], "--files") == 0) {
            o->files = value;
        } else if (value > 0 && strcmp(argv[i], "--size") == 0) {
            o->size = value;
        } else if (value > 0 && strcmp(argv[i], "--dirs") == 0) {
            o->dirs = value;
        } else {
            fprintf(stderr, "bench_nfs3one: what is '%s'?\n", argv[i]);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct one o = {.files = 1000, .size = 8192, .dirs = 40};
    if (argc < 2) {
        fprintf(stderr, "usage: bench_nfs3one [--files N] [--size BYTES] [--dirs N] URL\n");
        return 2;
    }
    parse(&o, argc - 1, argv);
    o.data = malloc(o.size);
    if (o.data == NULL) {
        die(&o, "start");
    }
    for (unsigned at = 0; at < o.size; at += 256) {
        unsigned part = o.size - at < 256 ? o.size - at : 256;
        if (getrandom(o.data + at, part, 0) != (ssize_t)part) {
            die(&o, "getrandom");
        }
    }
    o.nfs = nfs_init_context();
    struct nfs_url *url = o.nfs ? nfs_parse_url_dir(o.nfs, argv[argc - 1]) : NULL;
    if (url == NULL || nfs_mount(o.nfs, url->server, url->path) != 0) {
        die(&o, argv[argc - 1]);
    }
    nfs_destroy_url(url);
    make_dirs(&o);
    double cpu = cpu_s();
    double begin = now_s();
    for (unsigned i = 0; i < o.files; i++) {
        publish(&o, i);
    }
    double seconds = now_s() - begin;
    cpu = cpu_s() - cpu;
    printf("files %u seconds %.3f files_per_s %.0f cpu_us %.1f\n", o.files, seconds, o.files / seconds,
           cpu * 1e6 / o.files);
    nfs_destroy_context(o.nfs);
    free(o.data);
    return 0;
}
