/*
 * posix: opening a directory as a store, what it can do, and the table of its operations.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/stores/posix_internal.h"

/* The kernel stamps times from a clock that moves with its tick, 10 ms at most; twice that to be safe. */
#define TICK        (20 * NS_PER_MS)
#define UNKNOWN     (2 * NS_PER_SEC)
#define SMALL_MAX   (1024U * 1024)
#define PART        (512U * 1024)
#define PART_REMOTE (1024U * 1024)
#define XFS         0x58465342
#define TMPFS       0x01021994
#define RAMFS       0x858458F6
#define NFS         0x6969

/* A FUSE mount may be anything: each call is a round trip to a process that may itself ask a network. */
static const struct posix_fs file_systems[] = {
    {0xEF53, "ext4", false, false, false, 0, TICK},
    {XFS, "xfs", false, false, false, 1, TICK},
    {0x9123683E, "btrfs", false, false, false, 1, TICK},
    {TMPFS, "tmpfs", false, false, false, 1, TICK},
    {RAMFS, "ramfs", false, false, false, 1, TICK},
    {0x794C7630, "overlay", false, false, false, 0, TICK},
    {0x2FC12FC1, "zfs", false, false, false, 1, TICK},
    {0xF2F52010, "f2fs", false, false, false, 1, TICK},
    {0xCA451A4E, "bcachefs", false, false, false, 1, TICK},
    {0x73717368, "squashfs", false, false, false, NS_PER_SEC, UNKNOWN},
    {0x9660, "iso9660", false, false, true, NS_PER_SEC, UNKNOWN},
    {0x15013346, "udf", false, false, true, 0, UNKNOWN},
    {0x4D44, "vfat", false, false, true, 2 * NS_PER_SEC, UNKNOWN},
    {0x2011BAB0, "exfat", false, false, true, 2 * NS_PER_SEC, UNKNOWN},
    {0x5346544E, "ntfs", false, false, true, 100, UNKNOWN},
    {0x7366746E, "ntfs3", false, false, true, 100, UNKNOWN},
    {NFS, "nfs", true, true, false, 0, UNKNOWN},
    {0xFF534D42, "cifs", true, false, true, 100, UNKNOWN},
    {0xFE534D42, "smb2", true, false, true, 100, UNKNOWN},
    {0x00C36400, "ceph", true, false, false, 0, UNKNOWN},
    {0x0BD00BD0, "lustre", true, false, false, 0, UNKNOWN},
    {0x47504653, "gpfs", true, false, false, 0, UNKNOWN},
    {0x19830326, "beegfs", true, false, false, 0, UNKNOWN},
    {0x5346414F, "afs", true, false, true, 0, UNKNOWN},
    {0x20030528, "orangefs", true, false, false, 0, UNKNOWN},
    {0x01021997, "9p", true, false, true, 0, UNKNOWN},
    {0x65735546, "fuse", true, false, true, 0, UNKNOWN},
    {0x786F4256, "vboxsf", true, false, true, 0, UNKNOWN},
};

static const struct posix_fs unknown_fs = {0, "unknown", false, false, false, 0, UNKNOWN};

static const struct posix_fs *fs_of(int fd)
{
    struct statfs sf;

    if (fstatfs(fd, &sf) == 0) {
        for (size_t i = 0; i < sizeof(file_systems) / sizeof(file_systems[0]); i++) {
            /* f_type is signed and may be wider than the magic. */
            if ((unsigned)sf.f_type == file_systems[i].magic) {
                return &file_systems[i];
            }
        }
    }
    return &unknown_fs;
}

/* A file system that shows digits below 100 ns holds them all; one that does not may only be young (0: unknown). */
static int64_t granularity_of(const struct posix_fs *fs, const struct stat *root)
{
    if (fs->time_granularity) {
        return fs->time_granularity;
    }
    return root->st_mtim.tv_nsec % 100 || root->st_ctim.tv_nsec % 100 || root->st_atim.tv_nsec % 100 ? 1 : 0;
}

static void caps_init(struct posix_store *s, const struct posix_fs *fs, const struct stat *root)
{
    s->lenient = fs->lenient;
    s->presize = fs->magic == XFS;
    s->local = !fs->network && fs != &unknown_fs;
    s->memory = fs->magic == TMPFS || fs->magic == RAMFS;
    s->nfs = fs->magic == NFS;
    s->head.caps = (struct store_caps){
        .kind = "posix",
        .fs = fs->name,
        .network = fs->network,
        .spread = fs->network,
        .durable = fs->durable, /* not with fsync either: the rename after it is not */
        .in_flight = fs->network ? 32 : 0,
        .in_flight_max = fs->network ? 512 : 256,
        .small_max = SMALL_MAX,
        .part = fs->network ? PART_REMOTE : PART,
        .resume = true,
        .time_granularity_ns = granularity_of(fs, root),
        .clock_granularity_ns = fs->clock_granularity,
        .owner_refused = s->owning.owner == OWNER_AUTO && geteuid() == 0 ? &s->owning.refused : NULL,
    };
}

/* Who we are, and so whom files may be given to. */
static int identity_init(struct posix_store *s)
{
    int n = getgroups(0, NULL);

    s->uid = geteuid();
    s->gid = getegid();
    s->owning.privileged = s->uid == 0;
    if (n < 0) {
        return -errno;
    }
    s->owning.groups = calloc((size_t)n + 1, sizeof(*s->owning.groups));
    if (!s->owning.groups) {
        return -ENOMEM;
    }
    n = getgroups(n, s->owning.groups);
    s->owning.group_count = n > 0 ? (unsigned)n : 0;
    s->owning.groups[s->owning.group_count++] = s->gid;
    return 0;
}

static void destroy(struct store *store)
{
    struct posix_store *s = (struct posix_store *)store;

    if (s->root_fd >= 0) {
        close(s->root_fd);
    }
    free(s->owning.groups);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static int port_create(struct store *s, struct io *io, struct port **out)
{
    struct port *p = calloc(1, sizeof(*p));

    if (!p) {
        return -ENOMEM;
    }
    p->store = s;
    p->io = io;
    *out = p;
    return 0;
}

static void port_destroy(struct port *p)
{
    free(p);
}

static int run(struct port *p, struct store_op *op)
{
    static int (*const table[STORE_CODES])(struct port *, struct store_op *) = {
        [STORE_STAT] = posix_stat,
        [STORE_XATTRS] = posix_xattrs,
        [STORE_READLINK] = posix_readlink,
        [STORE_LIST_OPEN] = posix_list_open,
        [STORE_LIST_NEXT] = posix_list_next,
        [STORE_LIST_PARK] = posix_list_park,
        [STORE_LIST_CLOSE] = posix_list_close,
        [STORE_READ_SMALL] = posix_read_small,
        [STORE_OPEN] = posix_file_open,
        [STORE_READ] = posix_file_read,
        [STORE_EXTENT] = posix_file_extent,
        [STORE_FSTAT] = posix_file_stat,
        [STORE_CLOSE] = posix_file_close,
        [STORE_MKDIR] = posix_mkdir,
        [STORE_PUBLISH] = posix_publish,
        [STORE_BEGIN] = posix_begin,
        [STORE_WRITE] = posix_write,
        [STORE_COPY] = posix_copy,
        [STORE_FLUSH] = posix_flush,
        [STORE_COMMIT] = posix_commit,
        [STORE_ABORT] = posix_abort,
        [STORE_PARK] = posix_park,
        [STORE_SYMLINK] = posix_symlink,
        [STORE_NODE] = posix_node,
        [STORE_LINK] = posix_link,
        [STORE_SETATTR] = posix_setattr,
        [STORE_REMOVE] = posix_remove,
        [STORE_SYNC] = posix_sync,
    };

    return table[op->code](p, op);
}

static const struct store_ops posix_ops = {
    .destroy = destroy,
    .port_create = port_create,
    .port_destroy = port_destroy,
    .run = run,
    .dir_release = posix_dir_release,
};

int posix_open_root(const struct store_options *options, int root_fd, struct store **out_store)
{
    struct posix_store *s = calloc(1, sizeof(*s));
    struct stat root;
    int err;

    if (!s) {
        close(root_fd);
        return -ENOMEM;
    }
    s->head.ops = &posix_ops;
    s->side = options->side;
    s->owning.owner = options->owner;
    s->fsync = options->fsync;
    s->run_id = options->run_id;
    s->notices = options->notices;
    s->fence = options->fence;
    s->max_handles = options->max_handles < 4 ? 4 : options->max_handles;
    atomic_store(&s->squashed_uid, -1);
    pthread_mutex_init(&s->lock, NULL);

    s->root_fd = root_fd;
    if (fstat(s->root_fd, &root)) {
        err = -errno;
        goto fail;
    }
    s->root_dev = root.st_dev;
    atomic_store(&s->root_setgid, (root.st_mode & S_ISGID) != 0);
    caps_init(s, fs_of(s->root_fd), &root);
    err = identity_init(s);
    if (err) {
        goto fail;
    }
    if (s->head.caps.network) {
        posix_mount_look(s);
    }
    *out_store = &s->head;
    return 0;
fail:
    destroy(&s->head);
    return err;
}

int posix_open(const struct store_options *options, struct store **out_store)
{
    int fd = open(options->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 && errno == EACCES) {
        fd = open(options->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    return fd < 0 ? -errno : posix_open_root(options, fd, out_store);
}

int posix_root_fd(const struct store *s)
{
    while (s && s->ops != &posix_ops) {
        s = s->next;
    }
    return s ? ((const struct posix_store *)s)->root_fd : -1;
}

int posix_file_fd(const struct store_file *file)
{
    return file->store->ops == &posix_ops ? file->fd : -1;
}
