/*
 * test_io: every call in every way: plain, through the ring, through helper threads.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "support_io.h"

/* What the fibers of a test share. */
struct scene {
    struct lane lane;  /* io and fibers */
    enum way way;      /* how io works */
    int dir;           /* scratch directory */
    char path[256];    /* of it */
    unsigned next;     /* hands out numbers to fibers */
    unsigned finished; /* fibers that came to their end */
};

static void scene_open(struct scene *s, enum way way, unsigned entries)
{
    *s = (struct scene){.way = way};
    s->dir = scratch_make(s->path);
    lane_open(&s->lane, way, entries);
}

static void scene_close(struct scene *s)
{
    lane_close(&s->lane);
    close(s->dir);
    scratch_remove(s->path);
}

/* Every way in which this machine can run, as parameters. */
static enum way every_way[WAYS] = {WAY_DIRECT, WAY_RING, WAY_HELPERS};

static struct criterion_test_params ways(void)
{
    return cr_make_param_array(enum way, every_way, WAYS);
}

/* All about one file, with the same assertions whatever carries the calls. */
static void file_life(void *arg)
{
    struct scene *s = arg;
    struct io *io = s->lane.io;
    unsigned n = s->next++;
    char name[32];
    char other[32];
    char data[5000];
    char back[5000] = {0};
    snprintf(name, sizeof(name), "file%u", n);
    snprintf(other, sizeof(other), "other%u", n);
    memset(data, 'a' + (int)(n % 26), sizeof(data));

    cr_assert_eq(io_openat(io, s->dir, name, O_RDONLY | O_CLOEXEC, 0), -ENOENT);
    int fd = io_openat(io, s->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    cr_assert(fd >= 0, "%s: %d", way_name(s->way), fd);
    cr_assert_eq(io_openat(io, s->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), -EEXIST);
    cr_assert_eq(io_pwrite(io, fd, data, sizeof(data), 0), (ssize_t)sizeof(data));
    cr_assert_eq(io_pwrite(io, fd, "tail", 4, 10000), 4);
    cr_assert_eq(io_pread(io, fd, back, sizeof(back), 0), (ssize_t)sizeof(back));
    cr_assert_arr_eq(data, back, sizeof(data));
    cr_assert_eq(io_pread(io, fd, back, sizeof(back), 9999), 5);
    cr_assert_eq(io_pread(io, fd, back, sizeof(back), 20000), 0);
    cr_assert_eq(io_fsync(io, fd), 0);

    struct statx stx = {0};
    cr_assert_eq(io_statx(io, s->dir, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx), 0);
    cr_assert_eq(stx.stx_size, 10004);
    cr_assert_eq(stx.stx_mode, S_IFREG | 0600);
    cr_assert_eq(io_ftruncate(io, fd, 77), 0);
    cr_assert_eq(io_fchmod(io, fd, 0600), 0);
    cr_assert_eq(io_fchmodat(io, s->dir, name, 0640, 0), 0);
    int err = io_fchmodat(io, s->dir, name, 0640, AT_SYMLINK_NOFOLLOW);
    cr_assert(err == 0 || err == -ENOSYS || err == -EPERM, "%d", err);
    const struct timespec times[2] = {{.tv_sec = 1000 + n, .tv_nsec = 1}, {.tv_sec = 2000 + n, .tv_nsec = 123456789}};
    cr_assert_eq(io_utimensat(io, fd, NULL, times, 0), 0);
    cr_assert_eq(io_fchownat(io, s->dir, name, getuid(), getgid(), AT_SYMLINK_NOFOLLOW), 0);
    cr_assert_eq(io_statx(io, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx), 0);
    cr_assert_eq(stx.stx_size, 77);
    cr_assert_eq(stx.stx_mode, S_IFREG | 0640);
    cr_assert_eq(stx.stx_atime.tv_sec, 1000 + n);
    cr_assert_eq(stx.stx_mtime.tv_sec, 2000 + n);
    cr_assert_eq(stx.stx_mtime.tv_nsec, 123456789);
    cr_assert_eq(io_lseek(io, fd, 10, SEEK_SET), 10);
    cr_assert_eq(io_lseek(io, fd, 0, SEEK_CUR), 10);
    cr_assert_eq(io_lseek(io, fd, 1000, SEEK_DATA), -ENXIO);
    cr_assert_eq(io_close(io, fd), 0);
    cr_assert_eq(io_pread(io, -1, back, 1, 0), -EBADF);

    cr_assert_eq(io_renameat2(io, s->dir, name, s->dir, other, RENAME_NOREPLACE), 0);
    cr_assert_eq(io_renameat2(io, s->dir, name, s->dir, other, 0), -ENOENT);
    cr_assert_eq(io_statx(io, s->dir, name, 0, STATX_BASIC_STATS, &stx), -ENOENT);
    const struct timespec now[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 5}};
    cr_assert_eq(io_utimensat(io, s->dir, other, now, AT_SYMLINK_NOFOLLOW), 0);
    cr_assert_eq(io_statx(io, s->dir, other, 0, STATX_BASIC_STATS, &stx), 0);
    cr_assert_eq(stx.stx_atime.tv_sec, 1000 + n);
    cr_assert_eq(stx.stx_mtime.tv_sec, 5);
    cr_assert_eq(io_unlinkat(io, s->dir, other, 0), 0);
    cr_assert_eq(io_unlinkat(io, s->dir, other, 0), -ENOENT);
    s->finished++;
}

ParameterizedTestParameters(io, file)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, file, .timeout = 60)
{
    struct scene s;
    scene_open(&s, *way, 0);
    lane_run(&s.lane, 300, file_life, &s);
    cr_assert_eq(s.finished, 300);
    scene_close(&s);
}

/* Names that are not regular files. */
static void name_life(void *arg)
{
    struct scene *s = arg;
    struct io *io = s->lane.io;
    unsigned n = s->next++;
    char dir[32];
    char link[32];
    char hard[32];
    char node[32];
    char back[64] = {0};
    snprintf(dir, sizeof(dir), "dir%u", n);
    snprintf(link, sizeof(link), "link%u", n);
    snprintf(hard, sizeof(hard), "hard%u", n);
    snprintf(node, sizeof(node), "node%u", n);

    cr_assert_eq(io_mkdirat(io, s->dir, dir, 0750), 0);
    cr_assert_eq(io_mkdirat(io, s->dir, dir, 0750), -EEXIST);
    cr_assert_eq(io_symlinkat(io, "nowhere/at all", s->dir, link), 0);
    cr_assert_eq(io_symlinkat(io, "x", s->dir, link), -EEXIST);
    cr_assert_eq(io_readlinkat(io, s->dir, link, back, sizeof(back)), 14);
    cr_assert_str_eq(back, "nowhere/at all");
    cr_assert_eq(io_readlinkat(io, s->dir, dir, back, sizeof(back)), -EINVAL);
    cr_assert_eq(io_linkat(io, s->dir, link, s->dir, hard, 0), 0);
    cr_assert_eq(io_linkat(io, s->dir, link, s->dir, hard, 0), -EEXIST);
    cr_assert_eq(io_mknodat(io, s->dir, node, S_IFIFO | 0600, 0), 0);
    struct statx stx = {0};
    cr_assert_eq(io_statx(io, s->dir, node, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx), 0);
    cr_assert(S_ISFIFO(stx.stx_mode));
    cr_assert_eq(io_statx(io, s->dir, hard, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &stx), 0);
    cr_assert(S_ISLNK(stx.stx_mode));
    cr_assert_eq(stx.stx_nlink, 2);
    cr_assert_eq(io_openat(io, s->dir, link, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0), -ELOOP);
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
    int fd = io_openat2(io, s->dir, dir, &how);
    cr_assert(fd >= 0, "%s: %d", way_name(s->way), fd);
    cr_assert_eq(io_close(io, fd), 0);
    cr_assert_eq(io_openat2(io, s->dir, link, &how), -ELOOP);
    cr_assert_eq(io_openat2(io, s->dir, node, &how), -ENOTDIR);
    cr_assert_eq(io_unlinkat(io, s->dir, dir, 0), -EISDIR);
    cr_assert_eq(io_unlinkat(io, s->dir, dir, AT_REMOVEDIR), 0);
    cr_assert_eq(io_unlinkat(io, s->dir, link, 0), 0);
    cr_assert_eq(io_unlinkat(io, s->dir, hard, 0), 0);
    cr_assert_eq(io_unlinkat(io, s->dir, node, 0), 0);
    s->finished++;
}

ParameterizedTestParameters(io, names)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, names, .timeout = 60)
{
    struct scene s;
    scene_open(&s, *way, 0);
    lane_run(&s.lane, 200, name_life, &s);
    cr_assert_eq(s.finished, 200);
    scene_close(&s);
}

static void copy_life(void *arg)
{
    struct scene *s = arg;
    struct io *io = s->lane.io;
    char from[32];
    char to[32];
    unsigned n = s->next++;
    snprintf(from, sizeof(from), "from%u", n);
    snprintf(to, sizeof(to), "to%u", n);
    int in = io_openat(io, s->dir, from, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int out = io_openat(io, s->dir, to, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert(in >= 0 && out >= 0);
    char data[8192];
    memset(data, (int)n, sizeof(data));
    cr_assert_eq(io_pwrite(io, in, data, sizeof(data), 0), (ssize_t)sizeof(data));
    ssize_t copied = io_copy_file_range(io, in, 4096, out, 8192, 4096);
    cr_assert(copied == 4096 || copied == -EXDEV || copied == -EOPNOTSUPP, "%zd", copied);
    if (copied > 0) {
        char back[4096];
        cr_assert_eq(io_pread(io, out, back, sizeof(back), 8192), 4096);
        cr_assert_arr_eq(back, data + 4096, sizeof(back));
        cr_assert_eq(io_lseek(io, in, 0, SEEK_CUR), 0, "the descriptor's own offset was moved");
    }
    int cloned = io_ficlone(io, out, in);
    cr_assert(cloned == 0 || cloned == -EOPNOTSUPP || cloned == -ENOTTY || cloned == -EINVAL, "%d", cloned);
    cr_assert_eq(io_close(io, in), 0);
    cr_assert_eq(io_close(io, out), 0);
    s->finished++;
}

ParameterizedTestParameters(io, copies)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, copies, .timeout = 60)
{
    struct scene s;
    scene_open(&s, *way, 0);
    lane_run(&s.lane, 50, copy_life, &s);
    cr_assert_eq(s.finished, 50);
    scene_close(&s);
}

static void list_life(void *arg)
{
    struct scene *s = arg;
    struct io *io = s->lane.io;
    int fd = io_openat(io, s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    cr_assert(fd >= 0);
    unsigned found = 0;
    char buf[1024] __attribute__((aligned(8)));
    for (;;) {
        ssize_t n = io_getdents(io, fd, buf, sizeof(buf));
        cr_assert(n >= 0);
        if (n == 0) {
            break;
        }
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *entry = (const struct dirent64 *)(buf + at);
            found += strncmp(entry->d_name, "entry", 5) == 0;
            at += entry->d_reclen;
        }
    }
    cr_assert_eq(found, 100);
    cr_assert_eq(io_close(io, fd), 0);
    s->finished++;
}

enum { LOOKS_ROOM = 7 };

/* The entries of looks, from those in buf at from on: adds the sizes of the files; how many there are. */
static unsigned looks_sum(const struct io_looks *looks, size_t from, unsigned long long *sum)
{
    unsigned n = 0;
    while (from < looks->at) {
        const struct dirent64 *entry = (const struct dirent64 *)((const char *)looks->buf + from);
        from += entry->d_reclen;
        if (entry->d_name[0] != '.') {
            cr_assert_lt(n, looks->count);
            cr_assert_eq(looks->results[n], 0);
            cr_assert_eq(looks->stx[n].stx_ino, entry->d_ino);
            *sum += looks->stx[n].stx_size;
            n++;
        }
    }
    return n;
}

/* What is read and looked at together: each entry once, with its own attributes, in a buffer that holds them all and in
 * one that does not. */
static void looks_life(void *arg)
{
    struct scene *s = arg;
    struct io *io = s->lane.io;
    char buf[4096] __attribute__((aligned(8)));
    struct statx stx[LOOKS_ROOM];
    int results[LOOKS_ROOM];
    for (size_t size = 512; size <= sizeof(buf); size += sizeof(buf) - 512) {
        struct io_looks looks = {.buf = buf,
                                 .size = size,
                                 .flags = AT_SYMLINK_NOFOLLOW,
                                 .mask = STATX_BASIC_STATS,
                                 .stx = stx,
                                 .results = results,
                                 .room = LOOKS_ROOM};
        unsigned found = 0;
        unsigned long long sum = 0;
        looks.fd = io_openat(io, s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        cr_assert(looks.fd >= 0);
        for (size_t from = 0;; from = looks.at) {
            from = from < looks.len ? from : 0;
            cr_assert_eq(io_getdents_statx(io, &looks), 0);
            if (looks.at == looks.len && looks.count == 0 && looks.end) {
                break;
            }
            cr_assert_leq(looks.count, LOOKS_ROOM);
            unsigned n = looks_sum(&looks, from, &sum);
            cr_assert_eq(n, looks.count);
            found += n;
        }
        cr_assert_eq(found, 100);
        cr_assert_eq(sum, 99 * 100 / 2);
        cr_assert_eq(io_close(io, looks.fd), 0);
    }
    struct io_looks none = {.fd = -1, .buf = buf, .size = sizeof(buf), .stx = stx, .results = results, .room = 1};
    cr_assert_eq(io_getdents_statx(io, &none), -EBADF);
    s->finished++;
}

ParameterizedTestParameters(io, listing)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, listing, .timeout = 60)
{
    struct scene s;
    scene_open(&s, *way, 0);
    for (int i = 0; i < 100; i++) {
        char name[32];
        char path[300];
        snprintf(name, sizeof(name), "entry%d", i);
        cr_assert_eq(mknodat(s.dir, name, S_IFREG | 0600, 0), 0);
        snprintf(path, sizeof(path), "%s/%s", s.path, name);
        cr_assert_eq(truncate(path, i), 0);
    }
    lane_run(&s.lane, 20, list_life, &s);
    cr_assert_eq(s.finished, 20);
    lane_run(&s.lane, 20, looks_life, &s);
    cr_assert_eq(s.finished, 40);
    cr_assert_eq(io_syncfs(s.lane.io, s.dir), 0);
    scene_close(&s);
}

/* A ring that is much too small for the fibers that use it: nobody is lost, nobody waits for ever. */
Test(io, tiny_ring, .timeout = 60)
{
    struct scene s;
    scene_open(&s, WAY_RING, 4);
    lane_run(&s.lane, 500, file_life, &s);
    cr_assert_eq(s.finished, 500);
    scene_close(&s);
}

static void ignore_signal(int signo)
{
    (void)signo;
}

ParameterizedTestParameters(io, signals)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, signals, .timeout = 60)
{
    struct sigaction action = {.sa_handler = ignore_signal}; /* no SA_RESTART: calls end with EINTR */
    sigaction(SIGALRM, &action, NULL);
    const struct itimerval timer = {{.tv_usec = 300}, {.tv_usec = 300}};
    struct scene s;
    scene_open(&s, *way, 16);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (int round = 0; round < 5; round++) {
        lane_run(&s.lane, 100, file_life, &s);
        s.next = 0;
    }
    cr_assert_eq(s.finished, 500);
    const struct itimerval off = {0};
    setitimer(ITIMER_REAL, &off, NULL);
    scene_close(&s);
}

/* A call that blocks until somebody else acts: other fibers of the thread go on meanwhile. */
struct blocked {
    struct scene s; /* must be first */
    int event;      /* eventfd, nothing to read in it */
    bool acted;     /* the other fiber has acted */
    bool done;      /* the call has returned */
};

static void blocked_reader(void *arg)
{
    struct blocked *b = arg;
    struct io *io = b->s.lane.io;
    if (b->s.way == WAY_RING) {
        uint64_t count = 0;
        cr_assert_eq(io_pread(io, b->event, &count, sizeof(count), 0), (ssize_t)sizeof(count));
    } else {
        int fd = io_openat(io, b->s.dir, "fifo", O_RDONLY | O_CLOEXEC, 0);
        cr_assert(fd >= 0);
        cr_assert_eq(io_close(io, fd), 0);
    }
    cr_assert(b->acted);
    b->done = true;
}

static void blocked_actor(void *arg)
{
    struct blocked *b = arg;
    struct io *io = b->s.lane.io;
    b->acted = true;
    if (b->s.way == WAY_RING) {
        const uint64_t one = 1;
        cr_assert_eq(io_pwrite(io, b->event, &one, sizeof(one), 0), (ssize_t)sizeof(one));
    } else {
        int fd = io_openat(io, b->s.dir, "fifo", O_WRONLY | O_CLOEXEC, 0);
        cr_assert(fd >= 0);
        cr_assert_eq(io_close(io, fd), 0);
    }
}

static enum way waiting_ways[2] = {WAY_RING, WAY_HELPERS};

ParameterizedTestParameters(io, others_go_on)
{
    return cr_make_param_array(enum way, waiting_ways, 2);
}
ParameterizedTest(const enum way *way, io, others_go_on, .timeout = 30)
{
    struct blocked b = {.event = eventfd(0, EFD_CLOEXEC)};
    scene_open(&b.s, *way, 0);
    cr_assert_eq(mkfifoat(b.s.dir, "fifo", 0600), 0);
    cr_assert_eq(fiber_start(b.s.lane.fibers, blocked_reader, &b), 0);
    cr_assert_eq(io_in_flight(b.s.lane.io), 1);
    io_turn(b.s.lane.io, 10 * NS_PER_MS);
    cr_assert_not(b.done);
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(fiber_start(b.s.lane.fibers, file_life, &b.s), 0);
    }
    while (b.s.finished < 50) {
        io_turn(b.s.lane.io, -1);
    }
    cr_assert_not(b.done);
    cr_assert_eq(fiber_start(b.s.lane.fibers, blocked_actor, &b), 0);
    lane_finish(&b.s.lane);
    cr_assert(b.done);
    close(b.event);
    scene_close(&b.s);
}

struct sleeper {
    struct io *io;   /* not owned */
    int64_t ns;      /* how long */
    int64_t slept;   /* how long it was, ns */
    unsigned *order; /* shared: counts who wakes */
    unsigned place;  /* in which order this one woke */
    int result;      /* of io_sleep */
};

static void sleep_run(void *arg)
{
    struct sleeper *s = arg;
    int64_t begin = clock_mono_ns();
    s->result = io_sleep(s->io, s->ns);
    s->slept = clock_mono_ns() - begin;
    s->place = ++*s->order;
}

ParameterizedTestParameters(io, sleeps)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, sleeps, .timeout = 30)
{
    struct lane lane;
    lane_open(&lane, *way, 0);
    unsigned order = 0;
    const int64_t ms[] = {50, 10, 30, 20, 40, 0, 30};
    const unsigned places[] = {7, 2, 4, 3, 6, 1, 5};
    struct sleeper sleepers[7];
    int64_t begin = clock_mono_ns();
    for (int i = 0; i < 7; i++) {
        sleepers[i] = (struct sleeper){.io = lane.io, .ns = ms[i] * NS_PER_MS, .order = &order};
        cr_assert_eq(fiber_start(lane.fibers, sleep_run, &sleepers[i]), 0);
    }
    cr_assert_eq(io_sleeping(lane.io), 7);
    lane_finish(&lane);
    cr_assert(clock_mono_ns() - begin >= 50 * NS_PER_MS);
    for (int i = 0; i < 7; i++) {
        cr_assert_eq(sleepers[i].result, 0);
        cr_assert(sleepers[i].slept >= sleepers[i].ns);
        cr_assert_eq(sleepers[i].place, places[i], "sleeper %d woke as number %u", i, sleepers[i].place);
    }
    cr_assert_eq(io_sleeping(lane.io), 0);
    lane_close(&lane);
}

ParameterizedTestParameters(io, sleeps_cancelled)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, sleeps_cancelled, .timeout = 30)
{
    struct lane lane;
    lane_open(&lane, *way, 0);
    unsigned order = 0;
    struct sleeper sleepers[20];
    for (int i = 0; i < 20; i++) {
        sleepers[i] = (struct sleeper){.io = lane.io, .ns = INT64_MAX, .order = &order};
        cr_assert_eq(fiber_start(lane.fibers, sleep_run, &sleepers[i]), 0);
    }
    io_turn(lane.io, 0);
    cr_assert_eq(order, 0);
    io_cancel_sleeps(lane.io);
    lane_finish(&lane);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(sleepers[i].result, -ECANCELED);
    }
    cr_assert_eq(io_sleep(lane.io, INT64_MAX), -ECANCELED, "for ever after, outside of a fiber too");
    lane_close(&lane);
}

static void *cancel_run(void *arg)
{
    struct sleeper *s = arg;
    io_wake(s->io); /* only a cancellation ends a thread's sleep early */
    io_cancel_sleeps(s->io);
    return NULL;
}

/* From another thread, both for a fiber and for a thread that sleeps. */
ParameterizedTestParameters(io, sleeps_cancelled_from_outside)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, sleeps_cancelled_from_outside, .timeout = 30)
{
    for (int i = 0; i < 2; i++) {
        struct lane lane;
        lane_open(&lane, *way, 0);
        struct sleeper canceller = {.io = lane.io};
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, cancel_run, &canceller), 0);
        if (i == 0) {
            cr_assert_eq(io_sleep(lane.io, INT64_MAX), -ECANCELED);
        } else {
            unsigned order = 0;
            struct sleeper s = {.io = lane.io, .ns = INT64_MAX, .order = &order};
            cr_assert_eq(fiber_start(lane.fibers, sleep_run, &s), 0);
            lane_finish(&lane);
            cr_assert_eq(s.result, -ECANCELED);
        }
        pthread_join(thread, NULL);
        lane_close(&lane);
    }
}

struct gate {
    struct io *io;   /* not owned */
    bool open;       /* what they wait for */
    unsigned passed; /* fibers that went through */
};

static void gate_wait(void *arg)
{
    struct gate *g = arg;
    while (!g->open) {
        io_wait(g->io, g);
    }
    g->passed++;
}

Test(io, wait_and_notify, .timeout = 30)
{
    struct lane lane;
    lane_open(&lane, WAY_DIRECT, 0);
    struct gate gates[2] = {{.io = lane.io}, {.io = lane.io}};
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(fiber_start(lane.fibers, gate_wait, &gates[i % 2]), 0);
    }
    io_notify(lane.io, &gates[0]);
    io_turn(lane.io, -1); /* a notify for nothing: they wait again */
    cr_assert_eq(gates[0].passed, 0);
    gates[0].open = true;
    gates[1].open = true;
    io_notify(lane.io, &gates[0]);
    cr_assert_eq(gates[0].passed, 0, "not before the next turn");
    io_turn(lane.io, -1);
    cr_assert_eq(gates[0].passed, 5);
    cr_assert_eq(gates[1].passed, 0);
    io_notify(lane.io, &gates[1]);
    io_turn(lane.io, -1);
    cr_assert_eq(gates[1].passed, 5);
    lane_close(&lane);
}

struct waker {
    struct io *io;       /* whom to wake */
    atomic_uint asked;   /* wakes asked for */
    atomic_uint noticed; /* turns that ended */
};

static void *waker_run(void *arg)
{
    struct waker *w = arg;
    for (unsigned i = 0; i < 2000; i++) {
        atomic_fetch_add(&w->asked, 1);
        io_wake(w->io);
        while (atomic_load(&w->noticed) <= i) {
            sched_yield();
        }
    }
    return NULL;
}

/* A wake that got lost would leave the turn waiting for ever. */
ParameterizedTestParameters(io, wakes)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, wakes, .timeout = 60)
{
    struct scene s;
    scene_open(&s, *way, 0);
    lane_run(&s.lane, 1, file_life, &s); /* makes the ring, where there is to be one */
    struct waker w = {.io = s.lane.io};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, waker_run, &w), 0);
    unsigned seen = 0;
    while (seen < 2000) {
        io_turn(s.lane.io, -1);
        unsigned asked = atomic_load(&w.asked);
        if (asked > seen) {
            seen = asked;
            atomic_store(&w.noticed, seen);
        }
    }
    pthread_join(thread, NULL);
    scene_close(&s);
}

ParameterizedTestParameters(io, turn_times_out)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, turn_times_out, .timeout = 30)
{
    struct scene s;
    scene_open(&s, *way, 0);
    lane_run(&s.lane, 1, file_life, &s);
    int64_t begin = clock_mono_ns();
    int turns = 0;
    while (clock_mono_ns() - begin < 30 * NS_PER_MS) {
        io_turn(s.lane.io, 30 * NS_PER_MS);
        turns++;
    }
    cr_assert(turns < 20, "%d turns: it does not wait", turns);
    int64_t shortest = INT64_MAX; /* a busy machine may make some of them long */
    for (int i = 0; i < 20; i++) {
        begin = clock_mono_ns();
        io_turn(s.lane.io, 0);
        int64_t ns = clock_mono_ns() - begin;
        shortest = ns < shortest ? ns : shortest;
    }
    cr_assert(shortest < NS_PER_MS);
    scene_close(&s);
}

static void mode_life(void *arg)
{
    struct scene *s = arg;
    struct io *io = s->lane.io;
    for (int i = 0; i < 20; i++) {
        io_set_mode(io, io_mode(io) == IO_DIRECT ? IO_ASYNC : IO_DIRECT);
        struct statx stx;
        cr_assert_eq(io_statx(io, s->dir, ".", 0, STATX_BASIC_STATS, &stx), 0);
        cr_assert_eq(io_mknodat(io, s->dir, ".", S_IFREG, 0), -EEXIST);
        cr_assert_eq(io_sleep(io, 1000), 0);
    }
    s->finished++;
}

/* The mode may change while fibers wait. */
Test(io, mode_changes, .timeout = 30)
{
    struct scene s;
    scene_open(&s, WAY_RING, 0);
    lane_run(&s.lane, 100, mode_life, &s);
    cr_assert_eq(s.finished, 100);
    scene_close(&s);
}

Test(io, width_changes, .timeout = 60)
{
    struct scene s;
    scene_open(&s, WAY_RING, 0);
    io_set_width(s.lane.io, 2);
    lane_run(&s.lane, 50, file_life, &s);
    io_set_width(s.lane.io, 100);
    lane_run(&s.lane, 50, file_life, &s);
    io_set_width(s.lane.io, 1);
    lane_run(&s.lane, 50, file_life, &s);
    cr_assert_eq(s.finished, 150);
    scene_close(&s);
}

Test(io, facts, .timeout = 30)
{
    struct io *io = NULL;
    struct io_facts before = {0};
    struct io_facts after = {0};
    cr_assert_eq(io_create(&(struct io_options){0}, &io), 0);
    io_facts(io, &before);
    io_destroy(io);
    struct scene s;
    scene_open(&s, WAY_RING, 0);
    lane_run(&s.lane, 1, file_life, &s);
    io_facts(s.lane.io, &after);
    cr_assert_eq(before.ring, after.ring);
    cr_assert_eq(before.flags, after.flags);
    cr_assert_eq(before.ops, after.ops);
    cr_assert_eq(after.ops_wanted, 13);
    cr_assert_eq(after.ring, after.ring_error == 0);
    cr_log_info("ring %d error %d flags %x ops %u/%u", after.ring, after.ring_error, after.flags, after.ops,
                after.ops_wanted);
    scene_close(&s);

    cr_assert_eq(io_create(&(struct io_options){.no_ring = true}, &io), 0);
    io_facts(io, &after);
    cr_assert_not(after.ring);
    cr_assert_eq(after.ring_error, 0, "not wanted is no error");
    io_destroy(io);
}

static void no_more_files(void *arg)
{
    struct rlimit *limit = arg;
    setrlimit(RLIMIT_NOFILE, limit);
}

/* Without descriptors left there is an error, not a crash; without one for the ring only, helpers do it. */
Test(io, out_of_descriptors, .timeout = 30)
{
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    cr_assert(lowest >= 0);
    close(lowest);
    struct rlimit tight = {.rlim_cur = (rlim_t)lowest, .rlim_max = limit.rlim_max};
    no_more_files(&tight);
    struct io *io = NULL;
    cr_assert_eq(io_create(&(struct io_options){0}, &io), -EMFILE);
    cr_assert_null(io);
    tight.rlim_cur = (rlim_t)lowest + 1;
    no_more_files(&tight);
    cr_assert_eq(io_create(&(struct io_options){0}, &io), 0);
    struct io_facts facts = {0};
    io_facts(io, &facts);
    cr_assert_not(facts.ring);
    cr_assert_eq(facts.ring_error, -EMFILE);
    io_destroy(io);
    no_more_files(&limit);
}

/* From now on the system call nr ends with err in this process. */
static void forbid(int nr, int err)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

struct ban {
    int nr;  /* system call */
    int err; /* what it ends with */
};

static struct ban bans[] = {
    {SYS_io_uring_setup, EPERM}, {SYS_io_uring_setup, ENOSYS},   {SYS_io_uring_setup, ENOMEM},
    {SYS_io_uring_enter, EPERM}, {SYS_io_uring_register, EPERM},
};

ParameterizedTestParameters(io, forbidden_ring)
{
    return cr_make_param_array(struct ban, bans, sizeof(bans) / sizeof(bans[0]));
}
ParameterizedTest(const struct ban *ban, io, forbidden_ring, .timeout = 60)
{
    forbid(ban->nr, ban->err);
    struct scene s;
    scene_open(&s, WAY_RING, 0);
    lane_run(&s.lane, 100, file_life, &s);
    lane_run(&s.lane, 100, name_life, &s);
    cr_assert_eq(s.finished, 200);
    struct io_facts facts = {0};
    io_facts(s.lane.io, &facts);
    cr_assert_not(facts.ring);
    cr_assert_neq(facts.ring_error, 0);
    if (ban->nr == SYS_io_uring_setup) {
        cr_assert_eq(facts.ring_error, -ban->err);
    }
    scene_close(&s);
}

/* No thread can be started: calls that would need one are made by the thread itself. */
Test(io, no_helper_threads, .timeout = 60)
{
    struct scene s;
    scene_open(&s, WAY_HELPERS, 0);
    forbid(SYS_clone3, EAGAIN);
    lane_run(&s.lane, 100, file_life, &s);
    cr_assert_eq(s.finished, 100);
    scene_close(&s);
}

static void statx_life(void *arg)
{
    struct scene *s = arg;
    struct statx stx;
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(io_statx(s->lane.io, s->dir, ".", 0, STATX_BASIC_STATS, &stx), 0);
    }
    s->finished++;
}

/* Prints what a call costs in each way. */
ParameterizedTestParameters(io, cost_of_a_call)
{
    return ways();
}
ParameterizedTest(const enum way *way, io, cost_of_a_call, .timeout = 60)
{
    struct scene s;
    scene_open(&s, *way, 0);
    lane_run(&s.lane, 64, statx_life, &s);
    int64_t begin = clock_mono_ns();
    for (int i = 0; i < 5; i++) {
        lane_run(&s.lane, 64, statx_life, &s);
    }
    double each = (double)(clock_mono_ns() - begin) / (5 * 64 * 100);
    cr_assert_eq(s.finished, 6 * 64);
    cr_log_info("statx, %s, 64 at a time: %.0f ns", way_name(*way), each);
    scene_close(&s);
}
