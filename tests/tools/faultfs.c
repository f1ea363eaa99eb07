/*
 * faultfs: a file system (libfuse3) that hands everything on to a backing folder, and misbehaves when it is told to.
 *
 *     faultfs [--cache SECONDS] BACKING MOUNTPOINT CONTROL LOG
 *
 * --cache: the kernel remembers names and attributes for that long, as a mount does, and contents for ever; else it
 * asks each time. Runs in the foreground until it is unmounted or gets SIGTERM. CONTROL is a FIFO that it makes;
 * commands are lines:
 *
 *     every N KIND...     each Nth rename of a regular file is carried out, answered with success, and the file under
 *                         its new name is then broken, by the KINDs in turn; 0: none
 *     once                the next "every" breaks nothing of the same path twice, until it is healed
 *     late MS             breaks it so many ms after the rename instead of before its answer
 *     delay MS [OP...]    each operation (of those names) takes so much longer; 0: none
 *     hang [OP...]        operations (of those names; none named: all) do not answer any more
 *     hang-in TEXT [OP.]  the same, but only for paths that contain TEXT
 *     hang-after N [OP..] the same from the Nth rename from now on
 *     heal                no fault of any kind from now on; what hangs goes on
 *
 * KIND: empty (0 bytes, mode 000, an mtime of 1974), mode (mode 000, contents kept), zero (0 bytes, mode kept),
 * truncate (half of it), gone (removed), replace (another file of the same size and mode takes its name), fifo (a FIFO
 * takes its name). OP: as in struct fuse_operations, without "_" ("rename", "getattr", ...).
 *
 * LOG gets a line for each command once it holds ("command hang") and for each file broken ("truncate a/b"), so that a
 * test knows exactly what was done. Counting is exact: the Nth rename in the order in which they were carried out.
 */
#define FUSE_USE_VERSION 312

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define KINDS_MAX 16
#define OPS_MAX   256 /* bytes of a list of operations */
#define LATE_MAX  4096
#define DONE_MAX  1024

enum kind { KIND_EMPTY, KIND_MODE, KIND_ZERO, KIND_TRUNCATE, KIND_GONE, KIND_REPLACE, KIND_FIFO, KIND_COUNT };
static const char *const kind_names[KIND_COUNT] = {"empty", "mode", "zero", "truncate", "gone", "replace", "fifo"};

struct late {
    struct timespec due; /* CLOCK_MONOTONIC */
    enum kind kind;
    char *path; /* owned */
};

static struct {
    int root;     /* backing folder */
    int control;  /* FIFO, read end */
    int log;      /* appended to */
    double cache; /* seconds that the kernel may remember names and attributes; 0: contents neither */

    pthread_mutex_t lock;  /* for all that follows */
    pthread_cond_t change; /* healed, or something became late */
    unsigned long every;   /* 0: never */
    enum kind kinds[KINDS_MAX];
    unsigned kind_count;
    unsigned long renames; /* of regular files since "every" */
    unsigned long broken;  /* of them */
    bool once;             /* none of them twice */
    char *done[DONE_MAX];  /* paths of the broken ones while once, owned */
    unsigned done_count;
    long late_ms;
    struct late late[LATE_MAX]; /* in order of due */
    unsigned late_first;
    unsigned late_count;
    long delay_ms;
    char delay_ops[OPS_MAX]; /* " rename getattr "; empty: all */
    bool hang;
    char hang_ops[OPS_MAX];
    char hang_in[OPS_MAX];    /* only paths that contain it; empty: all */
    unsigned long hang_after; /* renames until hang; 0: not armed */
} g = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void die(const char *what)
{
    fprintf(stderr, "faultfs: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void say(const char *what, const char *path)
{
    char *line = NULL;
    int len = asprintf(&line, "%s %s\n", what, path);
    if (len < 0 || write(g.log, line, (size_t)len) != len) {
        die("log");
    }
    free(line);
}

/* ---- faults ---- */

static bool listed(const char *ops, const char *op)
{
    char word[64];
    snprintf(word, sizeof(word), " %s ", op);
    return ops[0] == '\0' || strstr(ops, word) != NULL;
}

/* What every operation begins with. */
static void enter(const char *op, const char *path)
{
    pthread_mutex_lock(&g.lock);
    long ms = listed(g.delay_ops, op) ? g.delay_ms : 0;
    while (g.hang && listed(g.hang_ops, op) && (path == NULL || strstr(path, g.hang_in) != NULL)) {
        pthread_cond_wait(&g.change, &g.lock);
    }
    pthread_mutex_unlock(&g.lock);
    if (ms > 0) {
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
    }
}

static const char *rel(const char *path)
{
    return path[1] == '\0' ? "." : path + 1;
}

/* Another file with as many bytes (all 'x') and the same mode and owner takes the name. */
static int replace_file(const char *path, const struct stat *st)
{
    const char *temp = ".faultfs.replace";
    char block[4096];
    memset(block, 'x', sizeof(block));
    unlinkat(g.root, temp, 0);
    int fd = openat(g.root, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : 0;
    for (off_t left = st->st_size; r == 0 && left > 0;) {
        ssize_t n = write(fd, block, left < (off_t)sizeof(block) ? (size_t)left : sizeof(block));
        r = n < 0 ? -errno : 0;
        left -= n > 0 ? n : 0;
    }
    if (r == 0 && (fchown(fd, st->st_uid, st->st_gid) != 0 || fchmod(fd, st->st_mode & 07777) != 0 ||
                   renameat(g.root, temp, g.root, path) != 0)) {
        r = -errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    return r;
}

/* path: relative to the backing folder. */
static void break_file(enum kind kind, const char *path)
{
    const struct timespec nonsense[2] = {{.tv_sec = 142000000}, {.tv_sec = 142000000}};
    struct stat st = {0};
    int r = fstatat(g.root, path, &st, AT_SYMLINK_NOFOLLOW);
    int fd = r == 0 ? openat(g.root, path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    switch (kind) {
    case KIND_EMPTY:
        r = fd < 0 || ftruncate(fd, 0) != 0 || fchmod(fd, 0) != 0 || futimens(fd, nonsense) != 0;
        break;
    case KIND_MODE:
        r = fd < 0 || fchmod(fd, 0) != 0;
        break;
    case KIND_ZERO:
        r = fd < 0 || ftruncate(fd, 0) != 0;
        break;
    case KIND_TRUNCATE:
        r = fd < 0 || ftruncate(fd, st.st_size / 2) != 0;
        break;
    case KIND_GONE:
        r = unlinkat(g.root, path, 0);
        break;
    case KIND_REPLACE:
        r = replace_file(path, &st);
        break;
    case KIND_FIFO:
        r = unlinkat(g.root, path, 0) != 0 || mkfifoat(g.root, path, 0644) != 0;
        break;
    case KIND_COUNT:
    default:
        abort();
    }
    if (fd >= 0) {
        close(fd);
    }
    if (r == 0) {
        say(kind_names[kind], path);
    } else {
        say("failed", path); /* renamed again meanwhile */
    }
}

static struct timespec in_ms(long ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

/* With the lock: whether the file of that path may be broken; no other time, with "once". */
static bool may_break(const char *path)
{
    for (unsigned i = 0; i < g.done_count; i++) {
        if (strcmp(g.done[i], path) == 0) {
            return false;
        }
    }
    if (g.once) {
        char *done = g.done_count < DONE_MAX ? strdup(path) : NULL;
        if (done == NULL) {
            fprintf(stderr, "faultfs: more files broken than can be remembered\n");
            exit(1);
        }
        g.done[g.done_count++] = done;
    }
    return true;
}

/* With the lock. */
static void forget_broken(void)
{
    while (g.done_count > 0) {
        free(g.done[--g.done_count]);
    }
}

/* A regular file was renamed to path. */
static void renamed(const char *path)
{
    bool now = false;
    enum kind kind = KIND_EMPTY;
    pthread_mutex_lock(&g.lock);
    if (g.hang_after > 0 && --g.hang_after == 0) {
        g.hang = true;
    }
    g.renames++;
    if (g.every > 0 && g.renames % g.every == 0 && may_break(path)) {
        kind = g.kinds[g.broken++ % g.kind_count];
        now = g.late_ms == 0;
        if (!now && g.late_count < LATE_MAX) {
            g.late[(g.late_first + g.late_count++) % LATE_MAX] =
                (struct late){.due = in_ms(g.late_ms), .kind = kind, .path = strdup(path)};
            pthread_cond_broadcast(&g.change);
        }
    }
    pthread_mutex_unlock(&g.lock);
    if (now) {
        break_file(kind, path);
    }
}

/* The thread that breaks files later than their rename. */
static void *late_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&g.lock);
    for (;;) {
        if (g.late_count == 0) {
            pthread_cond_wait(&g.change, &g.lock);
            continue;
        }
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        struct late *first = &g.late[g.late_first];
        if (now.tv_sec < first->due.tv_sec || (now.tv_sec == first->due.tv_sec && now.tv_nsec < first->due.tv_nsec)) {
            struct timespec due = first->due;
            pthread_cond_timedwait(&g.change, &g.lock, &due);
            continue;
        }
        struct late one = *first;
        g.late_first = (g.late_first + 1) % LATE_MAX;
        g.late_count--;
        pthread_mutex_unlock(&g.lock);
        if (one.path != NULL) {
            break_file(one.kind, one.path);
        }
        free(one.path);
        pthread_mutex_lock(&g.lock);
    }
    return NULL;
}

/* ---- commands ---- */

/* The rest of the line as " op op ". */
static void take_ops(char ops[OPS_MAX], char **rest)
{
    size_t len = 0;
    ops[0] = '\0';
    for (char *word = strtok_r(NULL, " ", rest); word != NULL; word = strtok_r(NULL, " ", rest)) {
        len += (size_t)snprintf(ops + len, OPS_MAX - len, len == 0 ? " %s " : "%s ", word);
        if (len >= OPS_MAX) {
            fprintf(stderr, "faultfs: too many operations\n");
            exit(1);
        }
    }
}

static long take_number(char **rest)
{
    const char *word = strtok_r(NULL, " ", rest);
    char *end = NULL;
    long n = word != NULL ? strtol(word, &end, 10) : -1;
    if (word == NULL || *end != '\0' || n < 0) {
        fprintf(stderr, "faultfs: a number is wanted, not '%s'\n", word != NULL ? word : "");
        exit(1);
    }
    return n;
}

static void take_kinds(char **rest)
{
    g.kind_count = 0;
    for (char *word = strtok_r(NULL, " ", rest); word != NULL; word = strtok_r(NULL, " ", rest)) {
        unsigned k = 0;
        while (k < KIND_COUNT && strcmp(word, kind_names[k]) != 0) {
            k++;
        }
        if (k == KIND_COUNT || g.kind_count == KINDS_MAX) {
            fprintf(stderr, "faultfs: '%s' is no kind of fault\n", word);
            exit(1);
        }
        g.kinds[g.kind_count++] = (enum kind)k;
    }
    if (g.kind_count == 0) {
        g.kinds[g.kind_count++] = KIND_EMPTY;
    }
}

static void command(char *line)
{
    char *rest = NULL;
    char *said = strdup(line);
    const char *word = strtok_r(line, " ", &rest);
    if (word == NULL || said == NULL) {
        free(said);
        return;
    }
    pthread_mutex_lock(&g.lock);
    if (strcmp(word, "every") == 0) {
        g.every = (unsigned long)take_number(&rest);
        take_kinds(&rest);
        g.renames = 0;
        g.broken = 0;
        forget_broken();
    } else if (strcmp(word, "once") == 0) {
        g.once = true;
    } else if (strcmp(word, "late") == 0) {
        g.late_ms = take_number(&rest);
    } else if (strcmp(word, "delay") == 0) {
        g.delay_ms = take_number(&rest);
        take_ops(g.delay_ops, &rest);
    } else if (strcmp(word, "hang") == 0) {
        g.hang_in[0] = '\0';
        take_ops(g.hang_ops, &rest);
        g.hang = true;
    } else if (strcmp(word, "hang-in") == 0) {
        const char *in = strtok_r(NULL, " ", &rest);
        snprintf(g.hang_in, sizeof(g.hang_in), "%s", in != NULL ? in : "");
        take_ops(g.hang_ops, &rest);
        g.hang = true;
    } else if (strcmp(word, "hang-after") == 0) {
        g.hang_in[0] = '\0';
        g.hang_after = (unsigned long)take_number(&rest);
        take_ops(g.hang_ops, &rest);
    } else if (strcmp(word, "heal") == 0) {
        g.hang = false;
        g.hang_after = 0;
        g.every = 0;
        g.once = false;
        g.delay_ms = 0;
        for (; g.late_count > 0; g.late_count--) {
            free(g.late[g.late_first].path);
            g.late_first = (g.late_first + 1) % LATE_MAX;
        }
        pthread_cond_broadcast(&g.change);
    } else {
        fprintf(stderr, "faultfs: '%s' is no command\n", word);
        exit(1);
    }
    pthread_mutex_unlock(&g.lock);
    say("command", said);
    free(said);
}

static void *control_main(void *arg)
{
    (void)arg;
    FILE *in = fdopen(g.control, "r");
    char *line = NULL;
    size_t size = 0;
    while (in != NULL && getline(&line, &size, in) >= 0) {
        line[strcspn(line, "\n")] = '\0';
        command(line);
    }
    die("control"); /* our own write end is open: it has no end */
    return NULL;
}

/* ---- the operations ---- */

static int done(int r)
{
    return r < 0 ? -errno : 0;
}

static int do_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    enter("getattr", path);
    return done(fi != NULL ? fstat((int)fi->fh, st) : fstatat(g.root, rel(path), st, AT_SYMLINK_NOFOLLOW));
}

static int do_readlink(const char *path, char *buf, size_t size)
{
    enter("readlink", path);
    ssize_t n = readlinkat(g.root, rel(path), buf, size - 1);
    if (n < 0) {
        return -errno;
    }
    buf[n] = '\0';
    return 0;
}

/* What was made belongs to whoever asked for it; its group is its directory's where that one says so. */
static int give(const char *path)
{
    const struct fuse_context *c = fuse_get_context();
    char *copy = strdup(rel(path));
    char *slash = copy != NULL ? strrchr(copy, '/') : NULL;
    struct stat parent;
    if (copy == NULL) {
        return -ENOMEM;
    }
    if (slash != NULL) {
        *slash = '\0';
    }
    int r = fstatat(g.root, slash != NULL ? copy : ".", &parent, 0);
    free(copy);
    if (r == 0) {
        gid_t gid = (parent.st_mode & S_ISGID) != 0 ? (gid_t)-1 : c->gid;
        r = c->uid == 0 && c->gid == 0 ? 0 : fchownat(g.root, rel(path), c->uid, gid, AT_SYMLINK_NOFOLLOW);
    }
    return done(r);
}

static int do_mknod(const char *path, mode_t mode, dev_t dev)
{
    enter("mknod", path);
    int r = done(mknodat(g.root, rel(path), mode, dev));
    return r == 0 ? give(path) : r;
}

static int do_mkdir(const char *path, mode_t mode)
{
    enter("mkdir", path);
    int r = done(mkdirat(g.root, rel(path), mode));
    return r == 0 ? give(path) : r;
}

static int do_unlink(const char *path)
{
    enter("unlink", path);
    return done(unlinkat(g.root, rel(path), 0));
}

static int do_rmdir(const char *path)
{
    enter("rmdir", path);
    return done(unlinkat(g.root, rel(path), AT_REMOVEDIR));
}

static int do_symlink(const char *target, const char *path)
{
    enter("symlink", path);
    int r = done(symlinkat(target, g.root, rel(path)));
    return r == 0 ? give(path) : r;
}

static int do_rename(const char *from, const char *to, unsigned int flags)
{
    struct stat st;
    enter("rename", from);
    bool regular = fstatat(g.root, rel(from), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
    int r = done(renameat2(g.root, rel(from), g.root, rel(to), flags));
    if (r == 0 && regular) {
        renamed(rel(to));
    }
    return r;
}

static int do_link(const char *from, const char *to)
{
    enter("link", from);
    return done(linkat(g.root, rel(from), g.root, rel(to), 0));
}

static int do_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    enter("chmod", path);
    return done(fi != NULL ? fchmod((int)fi->fh, mode) : fchmodat(g.root, rel(path), mode, 0));
}

static int do_chown(const char *path, uid_t uid, gid_t gid, struct fuse_file_info *fi)
{
    enter("chown", path);
    return done(fi != NULL ? fchown((int)fi->fh, uid, gid)
                           : fchownat(g.root, rel(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int do_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    enter("truncate", path);
    if (fi != NULL) {
        return done(ftruncate((int)fi->fh, size));
    }
    int fd = openat(g.root, rel(path), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    int r = fd < 0 ? -errno : done(ftruncate(fd, size));
    if (fd >= 0) {
        close(fd);
    }
    return r;
}

static int do_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
    enter("utimens", path);
    return done(fi != NULL ? futimens((int)fi->fh, times) : utimensat(g.root, rel(path), times, AT_SYMLINK_NOFOLLOW));
}

static int do_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    enter("create", path);
    int fd = openat(g.root, rel(path), fi->flags | O_CREAT | O_CLOEXEC, mode);
    if (fd < 0) {
        return -errno;
    }
    fi->fh = (uint64_t)fd;
    int r = give(path);
    if (r != 0) {
        close(fd);
    }
    return r;
}

static int do_open(const char *path, struct fuse_file_info *fi)
{
    enter("open", path);
    int fd = openat(g.root, rel(path), (fi->flags & ~(O_EXCL | O_DIRECT)) | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    fi->fh = (uint64_t)fd;
    return 0;
}

static int do_read(const char *path, char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
    enter("read", path);
    ssize_t n = pread((int)fi->fh, buf, size, offset);
    return n < 0 ? -errno : (int)n;
}

static int do_write(const char *path, const char *buf, size_t size, off_t offset, struct fuse_file_info *fi)
{
    enter("write", path);
    ssize_t n = pwrite((int)fi->fh, buf, size, offset);
    return n < 0 ? -errno : (int)n;
}

static int do_statfs(const char *path, struct statvfs *st)
{
    enter("statfs", path);
    return done(fstatvfs(g.root, st));
}

static int do_flush(const char *path, struct fuse_file_info *fi)
{
    enter("flush", path);
    int fd = dup((int)fi->fh);
    return fd < 0 ? -errno : done(close(fd));
}

static int do_release(const char *path, struct fuse_file_info *fi)
{
    enter("release", path);
    return done(close((int)fi->fh));
}

static int do_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
    enter("fsync", path);
    return done(data_only ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}

static off_t do_lseek(const char *path, off_t offset, int whence, struct fuse_file_info *fi)
{
    (void)path;
    enter("lseek", path);
    off_t at = lseek((int)fi->fh, offset, whence);
    return at < 0 ? -errno : at;
}

/* Extended attributes have calls by path only. */
static void full_path(const char *path, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "/proc/self/fd/%d/%s", g.root, rel(path));
}

static int do_setxattr(const char *path, const char *name, const char *value, size_t size, int flags)
{
    char full[PATH_MAX];
    enter("setxattr", path);
    full_path(path, full);
    return done(lsetxattr(full, name, value, size, flags));
}

static int do_getxattr(const char *path, const char *name, char *value, size_t size)
{
    char full[PATH_MAX];
    enter("getxattr", path);
    full_path(path, full);
    ssize_t n = lgetxattr(full, name, value, size);
    return n < 0 ? -errno : (int)n;
}

static int do_listxattr(const char *path, char *list, size_t size)
{
    char full[PATH_MAX];
    enter("listxattr", path);
    full_path(path, full);
    ssize_t n = llistxattr(full, list, size);
    return n < 0 ? -errno : (int)n;
}

static int do_removexattr(const char *path, const char *name)
{
    char full[PATH_MAX];
    enter("removexattr", path);
    full_path(path, full);
    return done(lremovexattr(full, name));
}

static int do_opendir(const char *path, struct fuse_file_info *fi)
{
    enter("opendir", path);
    int fd = openat(g.root, rel(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int r = -errno;
        if (fd >= 0) {
            close(fd);
        }
        return r;
    }
    fi->fh = (uint64_t)(uintptr_t)dir;
    return 0;
}

static int do_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *fi,
                      enum fuse_readdir_flags flags)
{
    DIR *dir = (DIR *)(uintptr_t)fi->fh; // NOLINT(performance-no-int-to-ptr): libfuse has no other place for it
    (void)flags;
    enter("readdir", path);
    seekdir(dir, offset);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            return -errno;
        }
        const struct stat st = {.st_ino = entry->d_ino, .st_mode = (mode_t)DTTOIF(entry->d_type)};
        if (fill(buf, entry->d_name, &st, telldir(dir), 0) != 0) {
            return 0;
        }
    }
}

static int do_releasedir(const char *path, struct fuse_file_info *fi)
{
    enter("releasedir", path);
    return done(closedir((DIR *)(uintptr_t)fi->fh)); // NOLINT(performance-no-int-to-ptr)
}

static void *do_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
    (void)conn;
    config->use_ino = 1;
    config->hard_remove = 1;
    config->entry_timeout = g.cache;
    config->negative_timeout = 0;
    config->attr_timeout = g.cache;
    config->kernel_cache = g.cache > 0;
    return NULL;
}

static const struct fuse_operations operations = {
    .init = do_init,
    .getattr = do_getattr,
    .readlink = do_readlink,
    .mknod = do_mknod,
    .mkdir = do_mkdir,
    .unlink = do_unlink,
    .rmdir = do_rmdir,
    .symlink = do_symlink,
    .rename = do_rename,
    .link = do_link,
    .chmod = do_chmod,
    .chown = do_chown,
    .truncate = do_truncate,
    .utimens = do_utimens,
    .create = do_create,
    .open = do_open,
    .read = do_read,
    .write = do_write,
    .statfs = do_statfs,
    .flush = do_flush,
    .release = do_release,
    .fsync = do_fsync,
    .lseek = do_lseek,
    .setxattr = do_setxattr,
    .getxattr = do_getxattr,
    .listxattr = do_listxattr,
    .removexattr = do_removexattr,
    .opendir = do_opendir,
    .readdir = do_readdir,
    .releasedir = do_releasedir,
};

static void start(void *(*fn)(void *arg))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, fn, NULL) != 0) {
        die("thread");
    }
    pthread_detach(thread);
}

static void open_all(char **argv)
{
    umask(0); /* the kernel has applied the caller's */
    g.root = open(argv[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (g.root < 0) {
        die(argv[0]);
    }
    if (mkfifo(argv[2], 0600) != 0) {
        die(argv[2]);
    }
    g.control = open(argv[2], O_RDWR | O_CLOEXEC);
    if (g.control < 0) {
        die(argv[2]);
    }
    g.log = open(argv[3], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (g.log < 0) {
        die(argv[3]);
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g.change, &attr);
}

#if defined(__SANITIZE_ADDRESS__)
/* What the kernel still has open when this is told to leave is no leak. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}
#endif

int main(int argc, char **argv)
{
    int at = 1;
    if (argc > 2 && strcmp(argv[1], "--cache") == 0) {
        g.cache = atof(argv[2]);
        at = 3;
    }
    if (argc - at != 4) {
        fprintf(stderr, "usage: faultfs [--cache SECONDS] BACKING MOUNTPOINT CONTROL LOG\n");
        return 1;
    }
    open_all(argv + at);
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    if (fuse_opt_add_arg(&args, argv[0]) != 0 || fuse_opt_add_arg(&args, "-o") != 0 ||
        fuse_opt_add_arg(&args, "default_permissions,allow_other,fsname=faultfs") != 0) {
        return 1;
    }
    struct fuse *fuse = fuse_new(&args, &operations, sizeof(operations), NULL);
    if (fuse == NULL || fuse_mount(fuse, argv[at + 1]) != 0) {
        return 1; /* it has said why */
    }
    if (fuse_set_signal_handlers(fuse_get_session(fuse)) != 0) {
        return 1;
    }
    start(control_main);
    start(late_main);
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_max_threads(config, 128);
    int r = fuse_loop_mt(fuse, config);
    fuse_loop_cfg_destroy(config);
    fuse_unmount(fuse);
    fuse_remove_signal_handlers(fuse_get_session(fuse));
    fuse_destroy(fuse);
    fuse_opt_free_args(&args);
    return r == 0 || r == SIGTERM ? 0 : 1;
}
