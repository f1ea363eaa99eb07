/*
 * filesfrom: the list of files instead of a walk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "planner/lines.h"
#include "planner/planner_internal.h"

#define PACKET_BYTES (8U * 1024) /* names of one task at most, roughly */

/* The way from the list to tasks. */
struct reading {
    struct walker *w;      /* not owned */
    struct lines lines;    /* the list */
    struct dir **nodes;    /* directories on the way to the present one, each with one pending part of ours; owned */
    size_t depth;          /* of them; nodes[0] is a child of the root */
    size_t capacity;       /* room in nodes */
    struct dir *from;      /* directory of the names below; on the way, or the root */
    char *names;           /* collected, each with its NUL; owned */
    size_t names_len;      /* bytes */
    size_t names_capacity; /* room */
};

int filesfrom_open(const char *path)
{
    if (strcmp(path, "-") == 0) {
        return STDIN_FILENO;
    }
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    int err = fstat(fd, &st) != 0 ? -errno : S_ISDIR(st.st_mode) ? -EISDIR : 0;
    if (err != 0) {
        close(fd);
        return err;
    }
    return fd;
}

static struct port *finishing_port(const struct walker *w)
{
    return planner_stopping(w->p) ? NULL : w->dst;
}

static struct dir *deepest(const struct reading *r)
{
    return r->depth > 0 ? r->nodes[r->depth - 1] : r->w->p->root;
}

/* Hands the collected names over as a task; carries it out here where the stack is full. */
static void push_names(struct reading *r)
{
    if (r->names_len == 0) {
        return;
    }
    struct task task = {.dir = r->from, .names = r->names, .names_len = r->names_len};
    plan_dir_hold(r->from);
    r->names = NULL;
    r->names_len = 0;
    r->names_capacity = 0;
    if (!stack_push(&r->w->p->stack, &task)) {
        walk_task(r->w, &task);
    }
}

static void cut(struct reading *r, size_t depth)
{
    if (r->depth > depth) {
        push_names(r);
    }
    while (r->depth > depth) {
        plan_dir_done(r->w->p, finishing_port(r->w), r->nodes[--r->depth]);
    }
}

static int add_name(struct reading *r, const char *name, size_t name_len)
{
    struct dir *dir = deepest(r);
    if (r->names_len > 0 && (r->from != dir || r->names_len >= PACKET_BYTES)) {
        push_names(r);
    }
    size_t need = r->names_len + name_len + 1;
    if (r->names == NULL || need > r->names_capacity) {
        size_t capacity = need < 1024 ? 1024 : 2 * need;
        char *names = realloc(r->names, capacity);
        if (names == NULL) {
            return -ENOMEM;
        }
        r->names = names;
        r->names_capacity = capacity;
    }
    r->from = dir;
    memcpy(r->names + r->names_len, name, name_len + 1);
    r->names_len = need;
    return 0;
}

static int append(struct reading *r, const char *name, size_t name_len, const struct attr *attr)
{
    struct walker *w = r->w;
    struct dir *child = NULL;

    if (r->depth == r->capacity) {
        size_t capacity = r->capacity == 0 ? 16 : 2 * r->capacity;
        struct dir **nodes = reallocarray(r->nodes, capacity, sizeof(struct dir *));
        if (nodes == NULL) {
            return -ENOMEM;
        }
        r->nodes = nodes;
        r->capacity = capacity;
    }
    count_add(&w->p->counts.dirs, 1);
    int err = enter_child(deepest(r), name, name_len, attr, &child);
    if (err != 0) {
        return err;
    }
    r->nodes[r->depth++] = child;
    return 0;
}

/*
 * Goes down into the directory name. 1: done. 0: it is left out, or could not be made; told. -ENOTDIR: it is no
 * directory, or -errno; not told.
 */
static int descend(struct reading *r, const char *name, size_t name_len)
{
    struct walker *w = r->w;
    struct dir *dir = deepest(r);
    struct attr attr = {0};
    struct store_op op = {.code = STORE_STAT, .dir = dir, .name = name, .stat = {.out = &attr}};

    int err = store_run(w->src, &op);
    if (err != 0) {
        return err;
    }
    if (!S_ISDIR(attr.mode)) {
        return -ENOTDIR;
    }
    if (entry_excluded(w, dir, name, name_len, true)) {
        return 0;
    }
    err = append(r, name, name_len, &attr);
    if (err != 0) {
        return err;
    }
    if (w->p->options.one_file_system && attr.dev != w->p->root_dev) {
        count_add(&w->p->counts.excluded, 1);
        (void)enter_prepare(w, deepest(r)); /* made, and empty; reported */
        cut(r, r->depth - 1);
        return 0;
    }
    if (enter_prepare(w, deepest(r)) != 0) {
        cut(r, r->depth - 1);
        return 0;
    }
    return 1;
}

/*
 * Brings line into the form "a/b/c": no empty or "." components, no slash at either end. The new length, 0 for the root
 * itself; -EINVAL for a ".." or a NUL inside, and what of it to tell.
 */
static int normalize(char *line, size_t len, size_t *out_len, const char **out_why)
{
    size_t to = 0;
    size_t from = 0;

    if (strlen(line) != len) {
        *out_why = "files-from (a path with a NUL byte)";
        return -EINVAL;
    }
    while (from < len) {
        size_t part = strcspn(line + from, "/");
        if (part == 2 && memcmp(line + from, "..", 2) == 0) {
            *out_why = "files-from (a path with ..)";
            return -EINVAL;
        }
        if (part > 0 && !(part == 1 && line[from] == '.')) {
            if (to > 0) {
                line[to++] = '/';
            }
            memmove(line + to, line + from, part);
            to += part;
        }
        from += part + 1;
    }
    line[to] = '\0';
    *out_len = to;
    return 0;
}

static void refuse(struct reading *r, const struct dir *dir, const char *rest, int err)
{
    plan_failed(r->w->p, dir, rest, "files-from", err, true, false);
}

/* How many leading components of line (as directories) are those that are entered now; *out_rest is what follows. */
static size_t common_depth(const struct reading *r, const char *line, const char **out_rest)
{
    size_t depth = 0;
    while (depth < r->depth) {
        const struct dir *node = r->nodes[depth];
        if (strncmp(line, node->name, node->name_len) != 0 || line[node->name_len] != '/') {
            break;
        }
        line += node->name_len + 1;
        depth++;
    }
    *out_rest = line;
    return depth;
}

/* One line in normal form. as_dir: the next line lies below it, so it is entered if it is a directory. */
static void take_line(struct reading *r, char *line, bool as_dir)
{
    const char *found = NULL;
    size_t depth = common_depth(r, line, &found);
    char *rest = line + (found - line);

    cut(r, depth);
    while (!planner_stopping(r->w->p)) {
        char *slash = strchr(rest, '/');
        size_t part = slash != NULL ? (size_t)(slash - rest) : strlen(rest);
        if (slash == NULL && !as_dir) {
            int err = add_name(r, rest, part);
            if (err != 0) {
                refuse(r, deepest(r), rest, err);
            }
            return;
        }
        if (slash != NULL) {
            *slash = '\0';
        }
        int went = descend(r, rest, part);
        if (slash != NULL) {
            *slash = '/';
        }
        if (went == -ENOTDIR && slash == NULL) {
            as_dir = false; /* the next line will fail, not this one */
            continue;
        }
        if (went < 0) {
            refuse(r, deepest(r), rest, went);
        }
        if (went <= 0 || slash == NULL) {
            return;
        }
        rest = slash + 1;
    }
}

/* Whether below is in the directory line. */
static bool is_below(const char *line, const char *below)
{
    size_t len = strlen(line);
    return strncmp(line, below, len) == 0 && below[len] == '/';
}

/* The next path in normal form, a copy that the caller frees; NULL at the end. Refuses what cannot be used. */
static char *next_path(struct reading *r)
{
    struct planner *p = r->w->p;
    char *line = NULL;
    size_t len = 0;

    for (;;) {
        int err = lines_next(&r->lines, &line, &len);
        if (err != 0) {
            if (err != -ENODATA) {
                plan_failed(p, p->root, NULL, "files-from", err, true, true);
            }
            return NULL;
        }
        size_t normal = 0;
        const char *why = NULL;
        err = normalize(line, len, &normal, &why);
        if (err != 0) {
            plan_failed(p, p->root, line, why, err, true, false);
        } else if (normal > 0) {
            char *copy = strdup(line);
            if (copy != NULL) {
                return copy;
            }
            refuse(r, p->root, line, -ENOMEM);
        }
    }
}

void filesfrom_run(struct walker *w)
{
    struct planner *p = w->p;
    struct reading r = {.w = w};

    lines_init(&r.lines, p->list_fd, p->options.from0 ? '\0' : '\n', &p->stop);
    char *line = next_path(&r);
    while (line != NULL) {
        char *next = planner_stopping(p) ? NULL : next_path(&r);
        take_line(&r, line, next != NULL && is_below(line, next));
        free(line);
        line = next;
    }
    push_names(&r);
    cut(&r, 0);
    free(r.names);
    free(r.nodes);
    lines_release(&r.lines);
    shards_flush(w);
}
