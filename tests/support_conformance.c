/*
 * support_conformance: the frame in which the cases run, and what they look with.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support_conformance.h"
#include "workers/stores/posix.h"

#define TABLES 8

static struct conf_table table_at(size_t i)
{
    static struct conf_table (*const tables[TABLES])(void) = {
        conf_cases_files,  conf_cases_uploads, conf_cases_entries, conf_cases_reading,
        conf_cases_safety, conf_cases_lease,   conf_cases_xattrs,  conf_cases_guard,
    };

    return tables[i]();
}

size_t conf_count(void)
{
    size_t n = 0;

    for (size_t i = 0; i < TABLES; i++) {
        n += table_at(i).count;
    }
    return n;
}

const struct conf_case *conf_case_at(size_t i)
{
    for (size_t t = 0; t < TABLES; t++) {
        struct conf_table table = table_at(t);

        if (i < table.count) {
            return &table.cases[i];
        }
        i -= table.count;
    }
    return NULL;
}

/* ---- the frame ---- */

static void folder_make(struct conf *c, const struct conf_case *the_case)
{
    snprintf(c->path, sizeof(c->path), "%s/haul-conf-XXXXXX", c->place->base);
    cr_assert_not_null(mkdtemp(c->path), "%s: %s", c->path, strerror(errno));
    c->fd = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert(c->fd >= 0);
    if (the_case->as_user) {
        cr_assert_eq(fchown(c->fd, CONF_USER, CONF_USER), 0);
        c->uid = CONF_USER;
        c->gid = CONF_USER;
        c->as_user = true;
    } else {
        c->uid = geteuid();
        c->gid = getegid();
    }
}

static void stores_open(struct conf *c, const struct conf_case *the_case)
{
    struct store_options options = {
        .side = DIR_DST,
        .path = c->path,
        .run_id = c->run_id,
        .owner = the_case->owner,
        .fsync = the_case->fsync,
        .max_handles = the_case->max_handles ? the_case->max_handles : 64,
        .notices = c->notices,
        .fence = the_case->fenced ? &c->fence : NULL,
    };

    fence_init(&c->fence);
    cr_assert_eq(c->place->open(&options, &c->store), 0);
    store_attach(c->store, DIR_DST, &c->tree);
    options.side = DIR_SRC;
    cr_assert_eq(posix_open(&options, &c->source), 0);
    store_attach(c->source, DIR_SRC, &c->tree);
    cr_assert_eq(dir_create_root(&c->tree, &c->root), 0);
    cr_assert_eq(store_port_create(c->store, c->lane.io, &c->port), 0);
    cr_assert_eq(store_port_create(c->source, c->lane.io, &c->source_port), 0);
}

static void stores_close(struct conf *c)
{
    store_port_destroy(c->port);
    store_port_destroy(c->source_port);
    dir_put(c->root);
    store_destroy(c->store);
    store_destroy(c->source);
}

static unsigned tree_walk(const struct conf *c, bool removes);

struct call {
    struct conf *c;
    void (*fn)(struct conf *c);
};

static void make_call(void *arg)
{
    struct call *call = arg;

    call->fn(call->c);
}

/* Prototype of the leak sanitizer; memory that nobody knows any more is a failure of the case. */
#if defined(__SANITIZE_ADDRESS__)
int __lsan_do_recoverable_leak_check(void);
#endif

void conf_run(const struct conf_place *place, enum way way, const struct conf_case *the_case)
{
    struct conf c = {.place = place, .way = way};
    struct call call = {&c, the_case->run};
    unsigned descriptors = conf_descriptors();

    if (the_case->needs & place->lacks) {
        cr_skip_test("%s lacks what %s needs", place->name, the_case->name);
    }
    if (((the_case->needs & CONF_ROOT) || the_case->as_user) && geteuid() != 0) {
        cr_skip_test("%s: only as root", the_case->name);
    }
    umask(0);
    folder_make(&c, the_case);
    cr_assert_eq(run_id_make(c.run_id), 0);
    cr_assert_eq(notices_create(&c.notices), 0);
    if (the_case->as_user) {
        cr_assert_eq(setgroups(0, NULL), 0);
        conf_as_user(&c);
    }
    lane_open(&c.lane, way, 0);
    stores_open(&c, the_case);
    lane_run(&c.lane, the_case->fibers ? the_case->fibers : 1, make_call, &call);
    if (the_case->after) {
        call.fn = the_case->after;
        lane_run(&c.lane, 1, make_call, &call);
    }
    conf_as_root(&c);
    cr_expect_eq(conf_temps(&c), 0, "%s/%s/%s left temp names", place->name, way_name(way), the_case->name);
    stores_close(&c);
    lane_close(&c.lane);
    notices_destroy(c.notices);
    (void)tree_walk(&c, true);
    close(c.fd);
    cr_expect_eq(rmdir(c.path), 0);
    cr_expect_eq(conf_descriptors(), descriptors, "%s/%s/%s left descriptors: %u, before %u", place->name,
                 way_name(way), the_case->name, conf_descriptors(), descriptors);
#if defined(__SANITIZE_ADDRESS__)
    cr_expect_eq(__lsan_do_recoverable_leak_check(), 0, "%s leaks", the_case->name);
#endif
}

void conf_as_root(const struct conf *c)
{
    if (c->as_user) {
        cr_assert_eq(seteuid(0), 0);
        cr_assert_eq(setegid(0), 0);
    }
}

void conf_as_user(const struct conf *c)
{
    if (c->as_user) {
        cr_assert_eq(setegid(CONF_USER), 0);
        cr_assert_eq(seteuid(CONF_USER), 0);
    }
}

/* ---- operations ---- */

struct attr conf_attr(const struct conf *c, mode_t perm, uint64_t size)
{
    return (struct attr){
        .mode = S_IFREG | perm,
        .uid = c->uid,
        .gid = c->gid,
        .nlink = 1,
        .size = size,
        .atime = {.tv_sec = 1111111111, .tv_nsec = 222222222},
        .mtime = {.tv_sec = 1234567890, .tv_nsec = 987654321},
    };
}

char *conf_bytes(size_t len, unsigned seed)
{
    char *bytes = malloc(len + 1);
    uint64_t x = 88172645463325252ULL + seed;

    cr_assert_not_null(bytes);
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (char)x;
    }
    return bytes;
}

int conf_publish(struct conf *c, struct dir *dir, const char *name, const struct attr *attr, unsigned keep,
                 const void *data, struct attr *out)
{
    struct store_op op = {
        .code = STORE_PUBLISH, .dir = dir, .name = name, .put = {.attr = attr, .keep = keep, .data = data, .out = out}};

    return store_run(c->port, &op);
}

int conf_stat(struct conf *c, struct dir *dir, const char *name, struct attr *out)
{
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = out}};

    return store_run(c->port, &op);
}

int conf_mkdir(struct conf *c, struct dir *dir, const char *name, mode_t mode)
{
    struct store_op op = {.code = STORE_MKDIR, .dir = dir, .name = name, .mkdir = {.mode = mode}};

    return store_run(c->port, &op);
}

int conf_remove(struct conf *c, struct dir *dir, const char *name, const struct attr *expect, bool is_dir)
{
    struct store_op op = {.code = STORE_REMOVE, .dir = dir, .name = name, .remove = {.expect = expect, .dir = is_dir}};
    int err = store_run(c->port, &op);

    /* -ESTALE from here is the guard's word or it is wrong. */
    cr_assert(err != -ESTALE || store_op_guarded(&op));
    return err;
}

int conf_begin(struct conf *c, struct dir *dir, const char *name, const struct attr *attr, struct store_upload **out)
{
    struct store_op op = {
        .code = STORE_BEGIN, .dir = dir, .name = name, .put = {.attr = attr, .keep = STORE_KEEP_ALL, .upload = out}};

    return store_run(c->port, &op);
}

int conf_begin_temp(struct conf *c, const char *name, const struct attr *attr, const struct store_temp *resume,
                    struct store_temp *temp, struct store_upload **out)
{
    struct store_op op = {.code = STORE_BEGIN,
                          .dir = c->root,
                          .name = name,
                          .put = {.attr = attr, .keep = STORE_KEEP_ALL, .upload = out, .resume = resume, .temp = temp}};
    int err = store_run(c->port, &op);

    cr_assert(err != -ESTALE || store_op_guarded(&op));
    return err;
}

int conf_flush(struct conf *c, struct store_upload *u)
{
    struct store_op op = {.code = STORE_FLUSH, .up = {.upload = u}};

    return store_run(c->port, &op);
}

int conf_park(struct conf *c, struct store_upload *u)
{
    struct store_op op = {.code = STORE_PARK, .up = {.upload = u}};

    return store_run(c->port, &op);
}

int conf_write(struct conf *c, struct store_upload *u, const void *buf, size_t len, uint64_t offset)
{
    struct store_op op = {.code = STORE_WRITE, .up = {.upload = u, .buf = buf, .len = len, .offset = offset}};

    return store_run(c->port, &op);
}

int conf_commit(struct conf *c, struct store_upload *u, const struct attr *attr, struct attr *out)
{
    struct store_op op = {.code = STORE_COMMIT, .up = {.upload = u, .attr = attr, .out = out}};

    return store_run(c->port, &op);
}

int conf_abort(struct conf *c, struct store_upload *u)
{
    struct store_op op = {.code = STORE_ABORT, .up = {.upload = u}};

    return store_run(c->port, &op);
}

struct dir *conf_dir(struct conf *c, struct dir *parent, const char *name)
{
    struct dir *dir;

    (void)c;
    cr_assert_eq(dir_create_child(parent, name, strlen(name), &dir), 0);
    return dir;
}

struct dir *conf_make_dir(struct conf *c, struct dir *parent, const char *name)
{
    int err = conf_mkdir(c, parent, name, 0755);

    cr_assert_eq(err, 0, "mkdir: %s", strerror(-err));
    return conf_dir(c, parent, name);
}

/* ---- from outside ---- */

struct stat conf_see(const struct conf *c, const char *path)
{
    struct stat st;

    cr_assert_eq(fstatat(c->fd, path, &st, AT_SYMLINK_NOFOLLOW), 0, "%s: %s", path, strerror(errno));
    return st;
}

bool conf_there(const struct conf *c, const char *path)
{
    struct stat st;

    return fstatat(c->fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

void conf_expect_bytes(const struct conf *c, const char *path, const void *data, size_t len)
{
    char *back = malloc(len + 1);
    size_t done = 0;
    ssize_t n = 1;
    int fd = openat(c->fd, path, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC); /* looking must not change it */

    cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
    while (done < len + 1 && n > 0) {
        n = read(fd, back + done, len + 1 - done);
        done += n > 0 ? (size_t)n : 0;
    }
    cr_assert_eq(done, len, "%s has %zu bytes, not %zu", path, done, len);
    cr_assert_eq(memcmp(back, data, len), 0, "%s has other bytes", path);
    close(fd);
    free(back);
}

void conf_put_file(const struct conf *c, const char *path, const void *data, size_t len, mode_t mode)
{
    int fd = openat(c->fd, path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, mode);

    cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
    cr_assert_eq(write(fd, data, len), (ssize_t)len);
    cr_assert_eq(fchmod(fd, mode), 0);
    close(fd);
}

void conf_expect_attr(const struct conf *c, const char *path, const struct attr *attr, unsigned keep)
{
    struct stat st = conf_see(c, path);

    cr_assert_eq(st.st_mode & S_IFMT, attr->mode & S_IFMT, "%s is %o", path, st.st_mode);
    if (S_ISREG(st.st_mode)) {
        cr_assert_eq((uint64_t)st.st_size, attr->size);
    }
    if ((keep & STORE_KEEP_MODE) && !S_ISLNK(st.st_mode)) {
        cr_assert_eq(st.st_mode & 07777, attr->mode & 07777, "%s is %o, not %o", path, st.st_mode, attr->mode);
    }
    if (keep & STORE_KEEP_OWNER) {
        cr_assert_eq(st.st_uid, attr->uid, "%s is of %u, not %u", path, st.st_uid, attr->uid);
    }
    if (keep & STORE_KEEP_GROUP) {
        cr_assert_eq(st.st_gid, attr->gid, "%s is of group %u, not %u", path, st.st_gid, attr->gid);
    }
    if (keep & STORE_KEEP_TIMES) {
        cr_assert_eq(st.st_mtim.tv_sec, attr->mtime.tv_sec, "%s: mtime %ld", path, (long)st.st_mtim.tv_sec);
        cr_assert_eq(st.st_mtim.tv_nsec, attr->mtime.tv_nsec, "%s: mtime .%ld", path, st.st_mtim.tv_nsec);
        cr_assert_eq(st.st_atim.tv_sec, attr->atime.tv_sec, "%s: atime %ld", path, (long)st.st_atim.tv_sec);
    }
}

/* ---- trees that are deeper than any path may be long, with one descriptor ---- */

/* Directories of one level that are still to be gone into. */
struct level {
    char **names;
    size_t count;
};

/* Reads the directory fd: its subdirectories go into level, the rest is counted, or removed. */
static unsigned level_read(int fd, struct level *level, bool removes)
{
    DIR *d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    unsigned temps = 0;
    size_t room = 0;
    struct dirent *e;

    cr_assert_not_null(d);
    *level = (struct level){0};
    while ((e = readdir(d)) != NULL) {
        struct stat st;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        temps += temp_name_parse(e->d_name, NULL);
        cr_assert_eq(fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
        if (S_ISDIR(st.st_mode)) {
            if (level->count == room) {
                room = room * 2 + 1;
                level->names = realloc(level->names, room * sizeof(*level->names));
            }
            level->names[level->count++] = strdup(e->d_name);
        } else if (removes) {
            cr_assert_eq(unlinkat(fd, e->d_name, 0), 0);
        }
    }
    closedir(d);
    return temps;
}

/* To another directory, seen from fd. */
static int level_change(int fd, const char *name)
{
    int other = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    cr_assert(other >= 0, "%s: %s", name, strerror(errno));
    close(fd);
    return other;
}

static unsigned tree_walk(const struct conf *c, bool removes)
{
    size_t depth = 0;
    size_t room = 16;
    struct level *levels = malloc(room * sizeof(*levels));
    int fd = openat(c->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    unsigned temps = level_read(fd, &levels[0], removes);

    for (;;) {
        struct level *level = &levels[depth];

        if (level->count > 0) {
            fd = level_change(fd, level->names[level->count - 1]);
            if (++depth == room) {
                room *= 2;
                levels = realloc(levels, room * sizeof(*levels));
            }
            temps += level_read(fd, &levels[depth], removes);
            continue;
        }
        free(level->names);
        if (depth == 0) {
            break;
        }
        fd = level_change(fd, "..");
        level = &levels[--depth];
        level->count--;
        if (removes) {
            cr_assert_eq(unlinkat(fd, level->names[level->count], AT_REMOVEDIR), 0);
        }
        free(level->names[level->count]);
    }
    free(levels);
    close(fd);
    return temps;
}

unsigned conf_temps(const struct conf *c)
{
    return tree_walk(c, false);
}

void conf_temp_name(const struct conf *c, const char *path, char out_name[TEMP_NAME_MAX])
{
    DIR *d = fdopendir(openat(c->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    unsigned found = 0;
    struct dirent *e;

    cr_assert_not_null(d);
    while ((e = readdir(d)) != NULL) {
        if (temp_name_parse(e->d_name, NULL)) {
            cr_assert_lt(strlen(e->d_name), TEMP_NAME_MAX);
            memcpy(out_name, e->d_name, strlen(e->d_name) + 1);
            found++;
        }
    }
    closedir(d);
    cr_assert_eq(found, 1, "%u temp names in %s", found, path);
}

unsigned conf_descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");

    cr_assert_not_null(d);
    while (readdir(d)) {
        n++;
    }
    closedir(d);
    return n;
}

uint64_t conf_noticed(const struct conf *c, const char *word)
{
    const char *text;
    uint64_t count;

    for (size_t i = 0; notice_at(c->notices, i, &text, &count) == 0; i++) {
        if (strstr(text, word)) {
            return count;
        }
    }
    return 0;
}
