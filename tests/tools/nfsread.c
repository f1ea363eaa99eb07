/*
 * nfsread URL | DIR: lists a tree and reads every file of it, one line an entry, sorted by path:
 *
 *   TYPE MODE UID:GID NLINK SIZE MTIME.NSEC HASH PATH
 *
 * URL (nfs://HOST/EXPORT?version=4&nfsport=N, or version=3 with mountport=N besides) is read through libnfs, DIR
 * through the kernel: two lists that are the same say that an independent client reads from the server what stands in
 * the folder. HASH is XXH3-64 of the contents, or of a symbolic link's target; "-" of anything else. SIZE, NLINK and
 * MTIME of directories are not told (file systems differ), nor is ".haul" in the root. Odd bytes of PATH are shown as
 * \ooo.
 *
 *   --dir-times   times of directories too
 *
 * Exit 0: all was read; 1: something could not be, with a line on standard error. No code of haul is in it.
 */
#include <sys/time.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nfsc/libnfs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define CHUNK (1024U * 1024)

/* Where entries come from: libnfs, or the kernel. */
struct place {
    struct nfs_context *nfs; /* NULL: the kernel */
    const char *root;        /* of the kernel's */
    char *chunk;             /* CHUNK bytes */
    bool dir_times;
    bool bad; /* something could not be read */
};

struct facts {
    uint64_t mode;
    uint64_t uid;
    uint64_t gid;
    uint64_t links;
    uint64_t size;
    int64_t mtime;
    uint64_t nsec;
};

struct names {
    char **name;
    size_t count;
    size_t room;
};

_Noreturn static void no_memory(void)
{
    fprintf(stderr, "nfsread: no memory\n");
    exit(1);
}

static void complain(struct place *p, const char *path, const char *what)
{
    fprintf(stderr, "nfsread: %s: %s: %s\n", path, what, p->nfs ? nfs_get_error(p->nfs) : strerror(errno));
    p->bad = true;
}

static char *join(const char *dir, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name) < 0) {
        no_memory();
    }
    return path;
}

/* The path as the kernel takes it. */
static char *real_path(const struct place *p, const char *path)
{
    char *real = NULL;
    if (asprintf(&real, "%s%s", p->root, path) < 0) {
        no_memory();
    }
    return real;
}

static void add_name(struct names *names, const char *name)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return;
    }
    if (names->count == names->room) {
        names->room = names->room == 0 ? 64 : names->room * 2;
        names->name = realloc(names->name, names->room * sizeof(*names->name));
        if (names->name == NULL) {
            no_memory();
        }
    }
    names->name[names->count] = strdup(name);
    if (names->name[names->count++] == NULL) {
        no_memory();
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(struct place *p, const char *path, struct names *names)
{
    if (p->nfs != NULL) {
        struct nfsdir *dir = NULL;
        if (nfs_opendir(p->nfs, path, &dir) != 0) {
            complain(p, path, "opendir");
            return;
        }
        struct nfsdirent *entry;
        while ((entry = nfs_readdir(p->nfs, dir)) != NULL) {
            add_name(names, entry->name);
        }
        nfs_closedir(p->nfs, dir);
    } else {
        char *real = real_path(p, path);
        DIR *dir = opendir(real);
        free(real);
        if (dir == NULL) {
            complain(p, path, "opendir");
            return;
        }
        struct dirent *entry;
        while ((entry = readdir(dir)) != NULL) {
            add_name(names, entry->d_name);
        }
        closedir(dir);
    }
    if (names->count > 0) {
        qsort(names->name, names->count, sizeof(*names->name), by_name);
    }
}

static bool look(struct place *p, const char *path, struct facts *f)
{
    if (p->nfs != NULL) {
        struct nfs_stat_64 st;
        if (nfs_lstat64(p->nfs, path, &st) != 0) {
            complain(p, path, "lstat");
            return false;
        }
        *f = (struct facts){st.nfs_mode,           st.nfs_uid,       st.nfs_gid, st.nfs_nlink, st.nfs_size,
                            (int64_t)st.nfs_mtime, st.nfs_mtime_nsec};
        return true;
    }
    struct stat st;
    char *real = real_path(p, path);
    int ret = lstat(real, &st);
    free(real);
    if (ret < 0) {
        complain(p, path, "lstat");
        return false;
    }
    *f = (struct facts){st.st_mode,
                        st.st_uid,
                        st.st_gid,
                        st.st_nlink,
                        (uint64_t)st.st_size,
                        st.st_mtim.tv_sec,
                        (uint64_t)st.st_mtim.tv_nsec};
    return true;
}

static XXH64_hash_t hash_nfs(struct place *p, const char *path, XXH3_state_t *state)
{
    struct nfsfh *file = NULL;
    if (nfs_open(p->nfs, path, O_RDONLY, &file) != 0) {
        complain(p, path, "open");
        return 0;
    }
    int n;
    while ((n = nfs_read(p->nfs, file, CHUNK, p->chunk)) > 0) {
        XXH3_64bits_update(state, p->chunk, (size_t)n);
    }
    if (n < 0) {
        complain(p, path, "read");
    }
    if (nfs_close(p->nfs, file) != 0) {
        complain(p, path, "close");
    }
    return XXH3_64bits_digest(state);
}

static XXH64_hash_t hash_file(struct place *p, const char *path)
{
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) {
        no_memory();
    }
    XXH3_64bits_reset(state);
    XXH64_hash_t hash = 0;
    if (p->nfs != NULL) {
        hash = hash_nfs(p, path, state);
    } else {
        char *real = real_path(p, path);
        int fd = open(real, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        free(real);
        ssize_t n = -1;
        while (fd >= 0 && (n = read(fd, p->chunk, CHUNK)) > 0) {
            XXH3_64bits_update(state, p->chunk, (size_t)n);
        }
        if (n < 0) {
            complain(p, path, "read");
        }
        if (fd >= 0) {
            close(fd);
        }
        hash = XXH3_64bits_digest(state);
    }
    XXH3_freeState(state);
    return hash;
}

/* libnfs may leave something behind a target whose length is a multiple of 4: size tells where it ends. */
static XXH64_hash_t hash_target(struct place *p, const char *path, uint64_t size)
{
    ssize_t n = -1;
    if (p->nfs != NULL) {
        int ret = nfs_readlink(p->nfs, path, p->chunk, (int)CHUNK);
        n = ret < 0 ? -1 : (ssize_t)strnlen(p->chunk, size < CHUNK ? (size_t)size : CHUNK);
    } else {
        char *real = real_path(p, path);
        n = readlink(real, p->chunk, CHUNK);
        free(real);
    }
    if (n < 0) {
        complain(p, path, "readlink");
        return 0;
    }
    return XXH3_64bits(p->chunk, (size_t)n);
}

static void show_path(const char *path)
{
    for (const char *c = path; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || (unsigned char)*c > '~' || *c == '\\') {
            printf("\\%03o", (unsigned char)*c);
        } else {
            putchar(*c);
        }
    }
    putchar('\n');
}

static char type_of(uint64_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return 'f';
    case S_IFDIR:
        return 'd';
    case S_IFLNK:
        return 'l';
    case S_IFIFO:
        return 'p';
    case S_IFSOCK:
        return 's';
    case S_IFCHR:
        return 'c';
    case S_IFBLK:
        return 'b';
    default:
        return '?';
    }
}

static void show(struct place *p, const char *path, const struct facts *f)
{
    char type = type_of(f->mode);
    printf("%c %04" PRIo64 " %" PRIu64 ":%" PRIu64 " ", type, f->mode & 07777, f->uid, f->gid);
    if (type != 'd') {
        printf("%" PRIu64 " %" PRIu64 " ", f->links, f->size);
    } else {
        fputs("- - ", stdout);
    }
    if (type != 'd' || p->dir_times) {
        printf("%" PRId64 ".%09" PRIu64 " ", f->mtime, f->nsec);
    } else {
        fputs("- ", stdout);
    }
    if (type == 'f' || type == 'l') {
        printf("%016" PRIx64 " ", type == 'f' ? hash_file(p, path) : hash_target(p, path, f->size));
    } else {
        fputs("- ", stdout);
    }
    show_path(path);
}

/* path and all below it. Recursion goes as deep as the tree: a tool for tests that make their own. */
static void walk(struct place *p, const char *path) // NOLINT(misc-no-recursion)
{
    struct facts f;
    if (!look(p, path, &f)) {
        return;
    }
    show(p, path, &f);
    if (!S_ISDIR(f.mode)) {
        return;
    }
    struct names names = {0};
    list(p, path, &names);
    for (size_t i = 0; i < names.count; i++) {
        if (strcmp(path, "/") != 0 || strcmp(names.name[i], ".haul") != 0) {
            char *below = join(path, names.name[i]);
            walk(p, below);
            free(below);
        }
        free(names.name[i]);
    }
    free(names.name);
}

/* A context with its export mounted; ends the program where that fails. */
static struct nfs_context *mount_url(const char *text)
{
    struct nfs_context *nfs = nfs_init_context();
    if (nfs == NULL) {
        no_memory();
    }
    struct nfs_url *url = nfs_parse_url_dir(nfs, text);
    if (url == NULL || nfs_mount(nfs, url->server, url->path) != 0) {
        fprintf(stderr, "nfsread: %s: %s\n", text, nfs_get_error(nfs));
        exit(1);
    }
    nfs_destroy_url(url);
    return nfs;
}

int main(int argc, char **argv)
{
    struct place p = {0};
    int i = 1;
    if (i < argc && strcmp(argv[i], "--dir-times") == 0) {
        p.dir_times = true;
        i++;
    }
    if (i + 1 != argc) {
        fprintf(stderr, "usage: nfsread [--dir-times] URL | DIR\n");
        return 2;
    }
    p.chunk = malloc(CHUNK);
    if (p.chunk == NULL) {
        no_memory();
    }
    if (strncmp(argv[i], "nfs://", 6) == 0) {
        p.nfs = mount_url(argv[i]);
    } else {
        p.root = argv[i];
    }
    walk(&p, "/");
    if (p.nfs != NULL) {
        nfs_destroy_context(p.nfs);
    }
    free(p.chunk);
    return p.bad || fflush(stdout) != 0 ? 1 : 0;
}
