/*
 * maketree: makes trees for tests.
 *
 *   maketree everything DIR               one of everything that a tree can hold (device nodes and owners as root only)
 *   maketree deep DIR LEVELS              a chain of directories of 10-byte names, with a file at the bottom and
 * half-way maketree flat DIR COUNT MAX           COUNT files in DIR itself, of 0..MAX bytes, most of them small
 *   maketree spread DIR DIRS FILES SIZE   FILES files of SIZE bytes over DIRS directories
 *   maketree told DIR FILES BIG GEN       FILES small told files over 20 directories, BIG of 8 MiB (told.h), of
 *                                         generation GEN
 *
 * DIR is created where it is missing. Exit 0, or 1 with a message.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/tools/told.h"

#define KIB 1024ULL
#define MIB (1024ULL * 1024)

_Noreturn static void die(const char *format, ...)
{
    int err = errno;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "maketree: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, ": %s\n", strerror(err));
    va_end(args);
    exit(1);
}

static void make_dir(int at, const char *name, mode_t mode)
{
    if (mkdirat(at, name, 0700) < 0 && errno != EEXIST) {
        die("mkdir %s", name);
    }
    if (fchmodat(at, name, mode, 0) < 0) {
        die("chmod %s", name);
    }
}

static int open_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        die("open %s", name);
    }
    return fd;
}

static int enter(int at, const char *name)
{
    make_dir(at, name, 0755);
    return open_dir(at, name);
}

static int create(int at, const char *name, mode_t mode)
{
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, mode) < 0) {
        die("create %s", name);
    }
    return fd;
}

static void write_at(int fd, off_t offset, size_t size, uint64_t seed)
{
    static unsigned char buf[MIB];
    for (size_t done = 0; done < size;) {
        size_t n = size - done < sizeof(buf) ? size - done : sizeof(buf);
        told_fill(seed + done, buf, n);
        if (pwrite(fd, buf, n, offset + (off_t)done) != (ssize_t)n) {
            die("write");
        }
        done += n;
    }
}

static void make_file(int at, const char *name, size_t size, mode_t mode)
{
    int fd = create(at, name, mode);
    write_at(fd, 0, size, told_seed(name, (unsigned)size));
    if (close(fd) < 0) {
        die("close %s", name);
    }
}

static void make_link(int from, const char *old, int to, const char *name)
{
    if (linkat(from, old, to, name, 0) < 0) {
        die("link %s", name);
    }
}

static void make_symlink(const char *target, int at, const char *name)
{
    if (symlinkat(target, at, name) < 0) {
        die("symlink %s", name);
    }
}

static void set_time(int at, const char *name, time_t sec, long nsec)
{
    struct timespec times[2] = {{sec, nsec}, {sec, nsec}};
    if (utimensat(at, name, times, AT_SYMLINK_NOFOLLOW) < 0) {
        die("utimensat %s", name);
    }
}

static void set_owner(int at, const char *name, uid_t uid, gid_t gid, mode_t mode)
{
    if (geteuid() != 0) {
        return;
    }
    if (fchownat(at, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 || (mode != 0 && fchmodat(at, name, mode, 0) < 0)) {
        die("chown %s", name);
    }
}

static void make_sizes(int root)
{
    static const size_t sizes[] = {0,       1,   511,     4095,    4096,         4097,        64 * KIB,
                                   MIB - 1, MIB, MIB + 1, 2 * MIB, 16 * MIB - 1, 20 * MIB + 3};
    int dir = enter(root, "sizes");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char name[64];
        snprintf(name, sizeof(name), "%zu.bin", sizes[i]);
        make_file(dir, name, sizes[i], 0644);
    }
    close(dir);
}

static void make_names(int root)
{
    static const char *const names[] = {
        "with space", "  two  ",    "new\nline", "tab\there",     "bad\xff\xfeutf8",   "back\\slash",
        "-dash",      "*star?[x]",  "...",       ".hidden",       "\xc3\xa9t\xc3\xa9", "\"quoted\"",
        "'single'",   "$(echo)",    "trailing ", "carriage\rret", "bell\a\x1b[31m",    ".haul",
        "#hash",      "semi;colon", "~",
    };
    int dir = enter(root, "odd names\n\xff");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        make_file(dir, names[i], 10 + i, 0644);
    }
    char longest[256];
    memset(longest, 'n', 255);
    longest[255] = '\0';
    make_file(dir, longest, 300, 0644);
    memset(longest, 'd', 255);
    int below = enter(dir, longest);
    make_file(below, longest, 301, 0644);
    make_symlink(longest, below, "to longest");
    close(below);
    close(dir);
}

static void make_nested(int root)
{
    int dir = enter(root, "nested");
    for (int i = 0; i < 30; i++) {
        char name[32];
        snprintf(name, sizeof(name), "file%d", i);
        make_file(dir, name, (size_t)i * 100, 0644);
        snprintf(name, sizeof(name), "level %d", i);
        int below = enter(dir, name);
        close(dir);
        dir = below;
    }
    close(dir);
    dir = enter(root, "empty");
    make_dir(dir, "empty too", 0755);
    close(dir);
}

static void make_sparse_file(int dir, const char *name, off_t size, const off_t *data, size_t extents, size_t extent)
{
    int fd = create(dir, name, 0644);
    if (ftruncate(fd, size) < 0) {
        die("truncate %s", name);
    }
    for (size_t i = 0; i < extents; i++) {
        write_at(fd, data[i], extent, told_seed(name, (unsigned)i));
    }
    close(fd);
}

static void make_sparse(int root)
{
    int dir = enter(root, "sparse");
    off_t at = (off_t)(8 * MIB);
    make_sparse_file(dir, "leading", (off_t)(8 * MIB + 4096), &at, 1, 4096);
    off_t two[] = {0, (off_t)(12 * MIB)};
    make_sparse_file(dir, "middle", (off_t)(13 * MIB), two, 2, MIB);
    at = 0;
    make_sparse_file(dir, "trailing", (off_t)(9 * MIB + 17), &at, 1, 64 * KIB);
    make_sparse_file(dir, "nothing but a hole", (off_t)(16 * MIB + 1), NULL, 0, 0);
    make_sparse_file(dir, "small hole", (off_t)(512 * KIB), NULL, 0, 0);
    at = (off_t)(256 * KIB);
    make_sparse_file(dir, "small middle", (off_t)(768 * KIB), &at, 1, 4096);
    off_t many[32];
    for (size_t i = 0; i < 32; i++) {
        many[i] = (off_t)(i * 256 * KIB);
    }
    make_sparse_file(dir, "many holes", (off_t)(8 * MIB), many, 32, 64 * KIB);
    make_sparse_file(dir, "beyond 4 GiB", (off_t)(5000 * MIB), many, 1, 4096);
    close(dir);
}

static void make_links(int root)
{
    int dir = enter(root, "links");
    int one = enter(dir, "a");
    int two = enter(dir, "z");
    make_file(one, "pair", 5000, 0644);
    make_link(one, "pair", two, "pair");
    make_file(two, "group", 12345, 0600);
    make_link(two, "group", two, "group again");
    make_link(two, "group", one, "group");
    make_link(two, "group", dir, "group");
    make_link(two, "group", root, "group of links");
    make_file(one, "large", 3 * MIB, 0644);
    make_link(one, "large", two, "large");
    make_file(one, "empty", 0, 0644);
    make_link(one, "empty", two, "empty");
    make_symlink("nowhere", one, "symlink");
    make_link(one, "symlink", two, "symlink");
    if (mkfifoat(one, "fifo", 0640) < 0) {
        die("mkfifo");
    }
    make_link(one, "fifo", two, "fifo");
    close(one);
    close(two);
    close(dir);
}

static void make_symlinks(int root)
{
    int dir = enter(root, "symlinks");
    make_symlink("does/not/exist", dir, "dangling");
    make_symlink("/etc/passwd", dir, "absolute");
    make_symlink("../sizes", dir, "to a directory");
    make_symlink("loop", dir, "loop");
    make_symlink("..", dir, "up");
    make_symlink("odd \n\xff target", dir, "odd target");
    char target[4001];
    memset(target, 't', 4000);
    target[4000] = '\0';
    make_symlink(target, dir, "4000 bytes");
    set_owner(dir, "dangling", 1000, 1000, 0);
    set_time(dir, "dangling", 1000000000, 123456789);
    close(dir);
}

static void make_special(int root)
{
    int dir = enter(root, "special");
    if (mkfifoat(dir, "fifo", 0) < 0 || fchmodat(dir, "fifo", 0622, 0) < 0) {
        die("mkfifo");
    }
    set_time(dir, "fifo", 1234567890, 987654321);
    if (mknodat(dir, "socket", S_IFSOCK | 0640, 0) < 0) {
        die("mknod socket");
    }
    if (geteuid() == 0) {
        if (mknodat(dir, "char", S_IFCHR | 0666, makedev(1, 3)) < 0 ||
            mknodat(dir, "block", S_IFBLK | 0660, makedev(7, 200)) < 0) {
            die("mknod");
        }
        set_owner(dir, "block", 0, 6, 0);
    }
    close(dir);
}

static void make_modes(int root)
{
    static const mode_t modes[] = {0755, 0000, 0400, 0444, 0111, 0777, 04755, 02755, 06711, 01644};
    int dir = enter(root, "modes");
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        char name[32];
        snprintf(name, sizeof(name), "%04o", modes[i]);
        make_file(dir, name, 100 + i, modes[i]);
        snprintf(name, sizeof(name), "owned %04o", modes[i]);
        make_file(dir, name, 200 + i, modes[i]);
        set_owner(dir, name, 1000, 1001, modes[i]);
    }
    make_file(dir, "large setuid", 2 * MIB, 04750);
    set_owner(dir, "large setuid", 1000, 1001, 04750);
    make_file(dir, "nobody", 5, 0644);
    set_owner(dir, "nobody", 65534, 65534, 0644);
    make_dir(dir, "sticky", 01777);
    make_dir(dir, "setgid", 02775);
    int below = open_dir(dir, "setgid");
    make_file(below, "inside", 7, 0664);
    make_dir(below, "deeper", 0755);
    close(below);
    set_owner(dir, "setgid", 1000, 1000, 02775);
    below = enter(dir, "read-only");
    make_file(below, "inside", 8, 0444);
    make_dir(below, "deeper", 0555);
    close(below);
    make_dir(dir, "read-only", 0555);
    make_dir(dir, "closed", 0000);
    close(dir);
}

static void make_times(int root)
{
    static const struct {
        const char *name;
        time_t sec;
        long nsec;
    } times[] = {
        {"nanoseconds", 1234567890, 123456789}, {"epoch", 0, 0},         {"epoch and 1 ns", 0, 1},
        {"before the epoch", -2, 500000000},    {"old", -1000000000, 0}, {"future", 4102444800, 999999999},
    };
    int dir = enter(root, "times");
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        make_file(dir, times[i].name, 50 + i, 0644);
        set_time(dir, times[i].name, times[i].sec, times[i].nsec);
    }
    make_dir(dir, "a directory", 0755);
    set_time(dir, "a directory", 1234567890, 111111111);
    close(dir);
    set_time(root, "times", 1111111111, 222222222);
    set_time(root, "modes", 1111111112, 0);
    set_time(root, "nested", 999999999, 999999999);
}

static void make_everything(int root)
{
    make_sizes(root);
    make_names(root);
    make_nested(root);
    make_sparse(root);
    make_links(root);
    make_symlinks(root);
    make_special(root);
    make_modes(root);
    make_times(root);
}

static void make_deep(int root, unsigned levels)
{
    int dir = dup(root);
    for (unsigned i = 0; i < levels; i++) {
        char name[16];
        if (i == levels / 2) {
            make_file(dir, "half-way", 1234, 0644);
        }
        snprintf(name, sizeof(name), "level%05u", i);
        int below = enter(dir, name);
        close(dir);
        dir = below;
    }
    make_file(dir, "bottom", 4321, 0640);
    make_symlink("bottom", dir, "to the bottom");
    make_link(dir, "bottom", root, "link to the bottom");
    close(dir);
}

static void make_flat(int root, unsigned long count, size_t max)
{
    for (unsigned long i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%08lu", i);
        /* max x u^8: a mean of max/9, as in trees of many small files, and each decade of sizes is there. */
        uint64_t state = told_seed(name, 1);
        double u = (double)(told_random(&state) >> 11) / 9007199254740992.0;
        double u2 = u * u;
        double u4 = u2 * u2;
        make_file(root, name, (size_t)((double)max * u4 * u4 + 0.5), 0644);
    }
}

static void make_spread(int root, unsigned dirs, unsigned long files, size_t size)
{
    for (unsigned d = 0; d < dirs; d++) {
        char name[32];
        snprintf(name, sizeof(name), "d%05u", d);
        int dir = enter(root, name);
        for (unsigned long i = d; i < files; i += dirs) {
            snprintf(name, sizeof(name), "f%08lu", i);
            make_file(dir, name, size, 0644);
        }
        close(dir);
    }
}

static void make_told_file(int root, const char *path, unsigned generation, size_t length)
{
    int fd = create(root, path, 0644);
    int ret = told_write(fd, path, generation, length);
    if (ret < 0) {
        errno = -ret;
        die("write %s", path);
    }
    close(fd);
}

static void make_told(int root, unsigned files, unsigned big, unsigned generation)
{
    for (unsigned i = 0; i < files; i++) {
        char path[64];
        snprintf(path, sizeof(path), "d%02u", i % 20);
        make_dir(root, path, 0755);
        snprintf(path, sizeof(path), "d%02u/f%06u", i % 20, i);
        uint64_t state = told_seed(path, generation);
        uint64_t wide = i % 50 == 0 ? 400000 : 9000;
        make_told_file(root, path, generation, (size_t)(200 + told_random(&state) % wide));
    }
    for (unsigned i = 0; i < big; i++) {
        char path[64];
        snprintf(path, sizeof(path), "big%03u", i);
        make_told_file(root, path, generation, (size_t)(8 * MIB + 17 * i + generation));
    }
}

static unsigned long number(const char *text)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') {
        errno = EINVAL;
        die("%s", text);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int args;
    } kinds[] = {{"everything", 0}, {"deep", 1}, {"flat", 2}, {"spread", 3}, {"told", 3}};
    int kind = -1;
    for (int i = 0; argc > 2 && i < 5; i++) {
        if (strcmp(argv[1], kinds[i].name) == 0 && argc == 3 + kinds[i].args) {
            kind = i;
        }
    }
    if (kind < 0) {
        fprintf(stderr, "usage: maketree everything DIR | deep DIR LEVELS | flat DIR COUNT MAX |\n"
                        "       spread DIR DIRS FILES SIZE | told DIR FILES BIG GEN\n");
        return 1;
    }
    umask(0);
    int root = enter(AT_FDCWD, argv[2]);
    unsigned long n[3] = {0};
    for (int i = 0; i < kinds[kind].args; i++) {
        n[i] = number(argv[3 + i]);
    }
    switch (kind) {
    case 0:
        make_everything(root);
        break;
    case 1:
        make_deep(root, (unsigned)n[0]);
        break;
    case 2:
        make_flat(root, n[0], n[1]);
        break;
    case 3:
        make_spread(root, (unsigned)n[0], n[1], n[2]);
        break;
    default:
        make_told(root, (unsigned)n[0], (unsigned)n[1], (unsigned)n[2]);
        break;
    }
    close(root);
    return 0;
}
