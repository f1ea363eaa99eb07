/*
 * posix_stage: nameless files of a local temp dir.
 */
#include "workers/stores/posix_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "workers/stores/posix_internal.h"

#define NAME_TRIES 8 /* other temp names, where one was taken */

/* Without O_TMPFILE: a name for a moment. A descriptor or -errno. */
static int open_named(struct port *p)
{
    struct posix_store *s = posix_of(p);
    char name[TEMP_NAME_MAX];
    int fd = -EEXIST;

    for (unsigned i = 0; i < NAME_TRIES && fd == -EEXIST; i++) {
        int err = temp_name_make(s->run_id, name);

        if (err) {
            return err;
        }
        fd = posix_openat(p, s->root_fd, name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, 0600);
    }
    if (fd >= 0) {
        int err = io_unlinkat(p->io, s->root_fd, name, 0);

        if (err && err != -ENOENT) { /* gone: somebody has purged it */
            (void)io_close(p->io, fd);
            return err;
        }
    }
    return fd;
}

static int open_nameless(struct port *p)
{
    struct posix_store *s = posix_of(p);

    if (!atomic_load_explicit(&s->no_tmpfile, memory_order_relaxed)) {
        int fd = posix_openat(p, s->root_fd, ".", O_TMPFILE | O_RDWR, 0600);

        /* What the kernel and file systems say that do not have it. */
        if (fd != -EOPNOTSUPP && fd != -EISDIR && fd != -ENOENT && fd != -EINVAL && fd != -ENOSYS) {
            return fd;
        }
        atomic_store(&s->no_tmpfile, true);
    }
    return open_named(p);
}

int posix_stage_make(struct port *stage, struct store_file **out_file)
{
    struct store_file *file = malloc(sizeof(*file));
    int fd;

    if (!file) {
        return -ENOMEM;
    }
    fd = open_nameless(stage);
    if (fd < 0) {
        free(file);
        return fd;
    }
    *file = (struct store_file){.store = stage->store, .fd = fd, .near = posix_of(stage)->local};
    *out_file = file;
    return 0;
}

int posix_stage_clone(struct port *stage, struct store_file *file, const struct store_file *from)
{
    int fd = posix_file_fd(from);
    struct attr attr;
    int err = fd < 0 ? -EOPNOTSUPP : io_ficlone(stage->io, file->fd, fd);

    if (!err) {
        err = posix_attr_at(stage, file->fd, "", &attr);
    }
    if (!err) {
        file->size = attr.size; /* at that moment, which from->size may not be */
        file->sparse = attr.allocated < attr.size;
    }
    return err;
}

static void note_written(struct store_file *file, uint64_t offset, size_t len)
{
    file->sparse = file->sparse || offset > file->size;
    file->size = offset + len > file->size ? offset + len : file->size;
}

int posix_stage_write(struct port *stage, struct store_file *file, const void *buf, size_t len, uint64_t offset)
{
    int err = posix_write_all(stage, file->fd, buf, len, offset);

    if (!err) {
        note_written(file, offset, len);
    }
    return err;
}

int posix_stage_copy(struct port *stage, struct store_file *file, const struct store_file *from, size_t len,
                     uint64_t offset, size_t *out_len)
{
    int fd = posix_file_fd(from);
    ssize_t n = fd < 0 ? -EOPNOTSUPP : io_sendfile(stage->io, fd, (off_t)offset, file->fd, (off_t)offset, len);

    if (n < 0) {
        return n == -EINVAL || n == -ENOSYS || n == -EOVERFLOW ? -EOPNOTSUPP : (int)n;
    }
    if (n > 0) {
        note_written(file, offset, (size_t)n);
    }
    *out_len = (size_t)n;
    return 0;
}

int posix_stage_end(struct port *stage, struct store_file *file, uint64_t size)
{
    int err = file->size > size ? -EIO : 0;

    if (file->size < size) {
        err = io_ftruncate(stage->io, file->fd, (off_t)size);
        if (!err) {
            file->size = size;
            file->sparse = true;
        }
    }
    return err;
}

int posix_stage_reset(struct port *stage, struct store_file *file)
{
    file->size = 0;
    file->sparse = false;
    return io_ftruncate(stage->io, file->fd, 0);
}
