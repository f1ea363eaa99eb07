/*
 * shake: changes a tree at random, as its users would between two runs of a sync.
 *
 *   shake DIR SEED COUNT    COUNT changes below DIR (which exists), the same ones for the same SEED and tree
 *
 * Kinds of change: create (strange and long names among them), overwrite, grow, truncate, overwrite with as many bytes
 * within one clock tick and with the old mtime, chmod, chown (as root), touch back in time and ahead, rename, exchange
 * two names, move a directory, swap types (file, directory, symbolic link, FIFO), lead a symbolic link elsewhere,
 * hard-link, a write through a hard link, a link broken by a copy, a hole, delete. Each is printed. Exit 0, or 1 with a
 * message.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATHS_MAX 20000
#define PATH_SIZE 1024

static char *files[PATHS_MAX]; /* regular files */
static unsigned file_count;
static char *others[PATHS_MAX]; /* symbolic links and FIFOs */
static unsigned other_count;
static char *dirs[PATHS_MAX]; /* directories, the root first */
static unsigned dir_count;
static unsigned made;
static uint64_t seed;

static uint64_t next(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return below == 0 ? 0 : (seed >> 11) % below;
}

static void must(bool ok, const char *what, const char *path)
{
    if (!ok) {
        fprintf(stderr, "shake: %s %s: %s\n", what, path, strerror(errno));
        exit(1);
    }
}

static int note(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (type == FTW_F && S_ISREG(st->st_mode) && file_count < PATHS_MAX) {
        files[file_count++] = strdup(path);
    } else if (type != FTW_D && other_count < PATHS_MAX) {
        others[other_count++] = strdup(path);
    } else if (type == FTW_D && dir_count < PATHS_MAX) {
        dirs[dir_count++] = strdup(path);
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void forget(void)
{
    while (file_count > 0) {
        free(files[--file_count]);
    }
    while (other_count > 0) {
        free(others[--other_count]);
    }
    while (dir_count > 0) {
        free(dirs[--dir_count]);
    }
}

static void look(const char *root)
{
    forget();
    must(nftw(root, note, 32, FTW_PHYS) == 0, "walk", root);
    qsort(files, file_count, sizeof(files[0]), by_name);
    qsort(others, other_count, sizeof(others[0]), by_name);
    qsort(dirs, dir_count, sizeof(dirs[0]), by_name);
}

static void fill(int fd, const char *path, uint64_t size)
{
    char block[4096];
    while (size > 0) {
        size_t n = size < sizeof(block) ? (size_t)size : sizeof(block);
        for (size_t i = 0; i < n; i++) {
            block[i] = (char)next(256);
        }
        must(write(fd, block, n) == (ssize_t)n, "write", path);
        size -= n;
    }
}

static uint64_t some_size(void)
{
    static const uint64_t sizes[] = {0, 1, 100, 4096, 8193, 70000, 300000};
    uint64_t pick = next(60);
    return pick == 0 ? 3000000 : sizes[pick % 7];
}

static void write_file(const char *path, int flags, uint64_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);
    must(fd >= 0, "open", path);
    fill(fd, path, size);
    must(close(fd) == 0, "close", path);
}

static const char *some_file(void)
{
    return file_count > 0 ? files[next(file_count)] : NULL;
}
static const char *some_dir(bool but_root)
{
    return but_root ? (dir_count > 1 ? dirs[1 + next(dir_count - 1)] : NULL) : dirs[next(dir_count)];
}

static const char *some_other(void)
{
    return other_count > 0 ? others[next(other_count)] : NULL;
}

/* A name that was never used, in some directory. */
static void fresh(char out[PATH_SIZE])
{
    static const char *const strange[] = {" ", "\n", "%41", "\\",    "\xc3\xa9", "\xff\xfe",
                                          "*", "?x", "#y",  ".haul", "~"};
    char tail[200] = "";
    uint64_t pick = next(60);
    if (pick < sizeof(strange) / sizeof(strange[0])) {
        (void)snprintf(tail, sizeof(tail), "%s", strange[pick]);
    } else if (pick == 59) {
        memset(tail, 'l', sizeof(tail) - 1);
    }
    const char *dir = some_dir(false);
    if (strlen(dir) > PATH_SIZE - 300) {
        dir = dirs[0];
    }
    (void)snprintf(out, PATH_SIZE, "%s/n%06x.%u%s", dir, (unsigned)next(1U << 24), made++, tail);
}

static void remove_tree(const char *path)
{
    char command[PATH_SIZE + 32];
    (void)snprintf(command, sizeof(command), "rm -rf -- '%s'", path);
    must(system(command) == 0, "remove", path); /* names are ours: no quote is in them */
}

/* As many bytes as before, and the old mtime: nothing shows but ctime. */
static void same_look(const char *file)
{
    struct stat st;
    must(stat(file, &st) == 0, "stat", file);
    write_file(file, 0, (uint64_t)st.st_size);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    must(utimensat(AT_FDCWD, file, times, 0) == 0, "touch", file);
}

static void back_in_time(const char *file)
{
    const struct timespec times[2] = {
        {.tv_nsec = UTIME_NOW},
        {.tv_sec = 1000000000 + (time_t)next(next(8) == 0 ? 2000000000 : 500000000), .tv_nsec = (long)next(999999999)}};
    must(utimensat(AT_FDCWD, file, times, 0) == 0, "touch", file);
}

static void make_some(const char *path)
{
    char inner[PATH_SIZE + 8];
    switch (next(4)) {
    case 0:
        must(mkdir(path, 0755) == 0, "mkdir", path);
        (void)snprintf(inner, sizeof(inner), "%s/inner", path);
        write_file(inner, O_CREAT, some_size());
        break;
    case 1:
        must(symlink("nowhere/at/all", path) == 0, "symlink", path);
        break;
    case 2:
        must(mkfifo(path, 0640) == 0, "mkfifo", path);
        break;
    default:
        write_file(path, O_CREAT, some_size());
        break;
    }
}

static void swap_type(const char *path)
{
    must(unlink(path) == 0, "unlink", path);
    make_some(path);
}

static void retarget(const char *link)
{
    char target[32];
    (void)snprintf(target, sizeof(target), "%u", (unsigned)next(1000));
    must(unlink(link) == 0, "unlink", link);
    must(symlink(target, link) == 0, "symlink", link);
}

/* Whether one of two paths lies in the other, or is it. */
static bool nested(const char *a, const char *b)
{
    size_t len = strlen(a) < strlen(b) ? strlen(a) : strlen(b);
    const char *longer = strlen(a) < strlen(b) ? b : a;
    return strncmp(a, b, len) == 0 && (longer[len] == '/' || longer[len] == '\0');
}

static void exchange(const char *a, const char *b)
{
    if (!nested(a, b)) {
        must(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0, "exchange", a);
    }
}

/* Like an editor that writes a new file and renames it over the old one: a hard link ends. */
static void replace(const char *file, const char *path)
{
    struct stat st;
    must(stat(file, &st) == 0, "stat", file);
    write_file(path, O_CREAT | O_EXCL, (uint64_t)st.st_size);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    must(utimensat(AT_FDCWD, path, times, 0) == 0, "touch", path);
    must(rename(path, file) == 0, "rename", path);
}

static void dir_to_file(const char *dir)
{
    remove_tree(dir);
    make_some(dir);
}

static void move_dir(const char *dir, const char *to)
{
    if (!nested(dir, to)) {
        must(rename(dir, to) == 0, "rename", dir);
    }
}

static void hole(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0, "open", path);
    must(ftruncate(fd, (off_t)(1 + next(2000000))) == 0, "truncate", path);
    must(lseek(fd, 1000000, SEEK_SET) >= 0, "seek", path);
    fill(fd, path, 5000);
    must(close(fd) == 0, "close", path);
}

/* One change; false: there is nothing to carry it out on. */
static bool change(unsigned kind, const char **what, const char **on)
{
    static char path[PATH_SIZE];
    fresh(path);
    const char *file = some_file();
    const char *dir = some_dir(true);
    *on = path;
    switch (kind) {
    case 0:
        *what = "create";
        write_file(path, O_CREAT | O_EXCL, some_size());
        return true;
    case 1:
        *what = "mkdir";
        must(mkdir(path, 0755) == 0, "mkdir", path);
        return true;
    case 2:
        *what = "hole";
        hole(path);
        return true;
    case 3:
        *what = "symlink";
        must(symlink(next(2) == 0 ? "." : "../x y", path) == 0, "symlink", path);
        return true;
    default:
        break;
    }
    *on = kind >= 30 ? some_other() : kind >= 20 ? dir : file;
    if (*on == NULL) {
        return false;
    }
    switch (kind) {
    case 4:
        *what = "overwrite";
        write_file(file, O_TRUNC, some_size());
        return true;
    case 5:
        *what = "grow";
        write_file(file, O_APPEND, 1 + next(20000));
        return true;
    case 6:
        *what = "truncate";
        must(truncate(file, (off_t)next(5000)) == 0, "truncate", file);
        return true;
    case 7:
    case 8:
        *what = "same size and mtime";
        same_look(file);
        return true;
    case 9:
        *what = "chmod";
        must(chmod(file, 0400 | (mode_t)next(next(8) == 0 ? 07400 : 0400)) == 0, "chmod", file);
        return true;
    case 10:
        *what = "back in time";
        back_in_time(file);
        return true;
    case 11:
        *what = "rename";
        must(rename(file, path) == 0, "rename", file);
        return true;
    case 12:
        *what = "rename over";
        must(rename(file, some_file()) == 0, "rename", file);
        return true;
    case 13:
        *what = "hard link";
        must(link(file, path) == 0, "link", file);
        return true;
    case 14:
        *what = "swap type";
        swap_type(file);
        return true;
    case 15:
    case 16:
        *what = "delete";
        must(unlink(file) == 0, "unlink", file);
        return true;
    case 17:
        *what = "replace";
        replace(file, path);
        return true;
    case 18:
        *what = "exchange";
        exchange(file, some_file());
        return true;
    case 19:
        *what = "chown";
        must(geteuid() != 0 || chown(file, (uid_t)next(3), (gid_t)next(3)) == 0, "chown", file);
        return true;
    case 20:
        *what = "move directory";
        move_dir(dir, path);
        return true;
    case 21:
        *what = "directory to something else";
        dir_to_file(dir);
        return true;
    case 22:
        *what = "chmod directory";
        must(chmod(dir, 0700 | (mode_t)next(0100)) == 0, "chmod", dir);
        return true;
    case 23:
        *what = "exchange directories";
        exchange(dir, some_dir(true));
        return true;
    case 24:
        *what = "delete directory";
        remove_tree(dir);
        return true;
    case 30:
        *what = "delete what is no file";
        must(unlink(*on) == 0, "unlink", *on);
        return true;
    case 31:
        *what = "type of what is no file";
        swap_type(*on);
        return true;
    case 32:
        *what = "another target";
        retarget(*on);
        return true;
    default:
        *what = "rename what is no file";
        must(rename(*on, path) == 0, "rename", *on);
        return true;
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: shake DIR SEED COUNT\n");
        return 1;
    }
    seed = 0x9E3779B97F4A7C15ULL ^ (strtoull(argv[2], NULL, 10) * 0xBF58476D1CE4E5B9ULL);
    made = (unsigned)next(1U << 20);
    for (unsigned long left = strtoul(argv[3], NULL, 10); left > 0; left--) {
        const char *what = NULL;
        const char *on = NULL;
        look(argv[1]);
        /* The tree is to live on: more is made than goes, and directories with all that is in them go seldom. */
        unsigned kind = next(5) < 2    ? (unsigned)next(4)
                        : next(6) == 0 ? 30 + (unsigned)next(4)
                        : next(12) > 0 ? 4 + (unsigned)next(16)
                                       : 20 + (unsigned)next(5);
        if (change(kind, &what, &on)) {
            printf("%s %s\n", what, on);
        }
    }
    forget();
    return 0;
}
