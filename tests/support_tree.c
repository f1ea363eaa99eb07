#include "support_tree.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEED(what, ...)                                                                                                \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            cr_assert_fail(__VA_ARGS__);                                                                               \
        }                                                                                                              \
    } while (0)

char *tree_temp(const char *what)
{
    const char *base = getenv("TMPDIR");
    char *path = NULL;
    NEED(asprintf(&path, "%s/haul-test-%s-XXXXXX", base != NULL ? base : "/tmp", what) > 0, "no memory");
    NEED(mkdtemp(path) != NULL, "mkdtemp %s: %s", path, strerror(errno));
    return path;
}

void tree_remove(const char *path)
{
    const char *const argv[] = {"rm", "-rf", "--one-file-system", "--", path, NULL};
    const char *const open_up[] = {"chmod", "-R", "u+rwx", "--", path, NULL};
    int status = 0;
    if (geteuid() != 0) {
        free(tree_run(open_up, &status));
    }
    free(tree_run(argv, &status));
}

/* base/path, with the directories on the way made. */
static char *place(const char *base, const char *format, va_list args)
{
    char *relative = NULL;
    char *path = NULL;
    NEED(vasprintf(&relative, format, args) >= 0 && asprintf(&path, "%s/%s", base, relative) > 0, "no memory");
    for (char *slash = strchr(path + strlen(base) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        NEED(mkdir(path, 0755) == 0 || errno == EEXIST, "mkdir %s: %s", path, strerror(errno));
        *slash = '/';
    }
    free(relative);
    return path;
}

void tree_file(const char *base, const char *contents, const char *path_format, ...)
{
    va_list args;
    va_start(args, path_format);
    char *path = place(base, path_format, args);
    va_end(args);
    FILE *file = fopen(path, "w");
    NEED(file != NULL, "create %s: %s", path, strerror(errno));
    NEED(fputs(contents, file) >= 0 && fclose(file) == 0, "write %s: %s", path, strerror(errno));
    free(path);
}

void tree_dir(const char *base, const char *path_format, ...)
{
    va_list args;
    va_start(args, path_format);
    char *path = place(base, path_format, args);
    va_end(args);
    NEED(mkdir(path, 0755) == 0 || errno == EEXIST, "mkdir %s: %s", path, strerror(errno));
    free(path);
}

void tree_symlink(const char *base, const char *target, const char *path_format, ...)
{
    va_list args;
    va_start(args, path_format);
    char *path = place(base, path_format, args);
    va_end(args);
    NEED(symlink(target, path) == 0, "symlink %s: %s", path, strerror(errno));
    free(path);
}

void tree_link(const char *base, const char *from, const char *to)
{
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    NEED(fd >= 0 && linkat(fd, from, fd, to, 0) == 0, "link %s/%s: %s", base, to, strerror(errno));
    close(fd);
}

void tree_chain(const char *base, const char *name, unsigned depth)
{
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned i = 0; fd >= 0 && i < depth; i++) {
        NEED(mkdirat(fd, name, 0755) == 0, "mkdir %s at depth %u: %s", name, i, strerror(errno));
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    NEED(fd >= 0, "open at depth: %s", strerror(errno));
    int leaf = openat(fd, "leaf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    NEED(leaf >= 0 && write(leaf, "leaf", 4) == 4, "leaf: %s", strerror(errno));
    close(leaf);
    close(fd);
}

unsigned tree_chain_depth(const char *base, const char *name)
{
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    unsigned depth = 0;
    for (; fd >= 0; depth++) {
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (next < 0) {
            break;
        }
        close(fd);
        fd = next;
    }
    bool whole = fd >= 0 && faccessat(fd, "leaf", F_OK, 0) == 0;
    close(fd);
    return whole ? depth : 0;
}

char *tree_run(const char *const argv[], int *out_status)
{
    int ends[2];
    pid_t pid = 0;
    size_t len = 0;
    size_t room = 65536;
    char *out = malloc(room);
    posix_spawn_file_actions_t actions;

    NEED(out != NULL && pipe2(ends, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    char *copy[256]; /* posix_spawn takes strings that it does not change */
    size_t count = 0;
    for (; argv[count] != NULL; count++) {
        NEED(count + 1 < sizeof(copy) / sizeof(copy[0]), "too many arguments");
        copy[count] = strdup(argv[count]);
    }
    copy[count] = NULL;
    int err = posix_spawnp(&pid, copy[0], &actions, NULL, copy, environ);
    close(ends[1]);
    for (ssize_t n = 1; err == 0 && n > 0;) {
        if (len + 1 == room) {
            room *= 2;
            out = realloc(out, room);
            NEED(out != NULL, "no memory");
        }
        n = read(ends[0], out + len, room - len - 1);
        len += n > 0 ? (size_t)n : 0;
    }
    out[len] = '\0';
    close(ends[0]);
    int status = 0;
    if (err == 0) {
        waitpid(pid, &status, 0);
    }
    *out_status = err != 0 ? 127 : WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 0; i < count; i++) {
        free(copy[i]);
    }
    return out;
}
