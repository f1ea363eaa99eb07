/*
 * io: system calls for fibers. One struct io a thread.
 *
 * Each function does one system call and returns its result, or -errno. Called from a fiber in IO_ASYNC mode, only
 * that fiber waits: the call goes through the thread's io_uring where the kernel has the operation (probed at start),
 * else to a small set of helper threads. Called in IO_DIRECT mode, or outside of a fiber, it is the plain system call,
 * the synchronous twin, and blocks the thread. EINTR is repeated inside, but for io_close, which has closed then and
 * has lost what the flush had to say. Paths, buffers and results must live until the function returns; they do, since
 * the caller waits.
 *
 * Sockets are different: they answer when another machine does. In a fiber only that fiber waits for one, in IO_DIRECT
 * mode too, and each wait has a limit.
 *
 * All functions belong to the thread that created the io, save io_wake, io_post and io_cancel_sleeps.
 */
#ifndef HAUL_WORKERS_IO_H
#define HAUL_WORKERS_IO_H

#include <linux/openat2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct io;
struct statx;

enum io_mode {
    IO_DIRECT, /* plain system calls: right where they do not wait (local file systems) */
    IO_ASYNC,  /* ring and helper threads: right where each call is a round trip */
};

struct io_options {
    bool no_ring; /* --no-io-uring: never make a ring */
    bool
        writes_apart; /* writes go to helper threads: the kernel's ring lets writes of different files wait for each
                         other (it tells 64 kinds of files apart), so that one without an answer would hold up others */
    unsigned entries; /* wanted ring size, operations; 0: 256 */
    unsigned helpers; /* most helper threads (started on demand); 0: 64 */
};

/* What the probe found, for --stats and doctor. */
struct io_facts {
    bool ring;           /* a ring is in use */
    int ring_error;      /* -errno of the ring's creation where there is none; 0 where it was not wanted */
    unsigned flags;      /* IORING_SETUP_* that were accepted */
    unsigned ops;        /* operations of ours that the kernel's ring has */
    unsigned ops_wanted; /* operations of ours that a ring could have */
};

/* In the thread that will use it. No io_uring is no error (io_facts says so). 0, -ENOMEM, -EMFILE. */
int io_create(const struct io_options *options, struct io **out_io);
/* NULL is fine. No operation may be in flight. */
void io_destroy(struct io *io);

void io_facts(const struct io *io, struct io_facts *out_facts);
void io_set_mode(struct io *io, enum io_mode mode);
enum io_mode io_mode(const struct io *io);

/* Sizes the kernel's io-wq pool (and the helper threads) to n operations at a time. */
void io_set_width(struct io *io, unsigned n);

/* Operations that fibers wait for now. */
unsigned io_in_flight(const struct io *io);

/* Fibers in io_sleep now. */
unsigned io_sleeping(const struct io *io);

/*
 * From the thread's own stack: submits what is prepared, waits until something completes, a sleeper's time has come,
 * somebody called io_wake, or timeout_ns passed (-1: no limit; 0: does not wait), and resumes the fibers concerned.
 */
void io_turn(struct io *io, int64_t timeout_ns);

/* Makes the next or present io_turn return soon. Any thread, async-signal-safe. */
void io_wake(struct io *io);

/* The calling fiber sleeps that long, in both modes without blocking the thread; outside of a fiber the thread sleeps.
 * Returns 0, or -ECANCELED as soon as io_cancel_sleeps was called (for ever after). */
int io_sleep(struct io *io, int64_t ns);
/* Any thread, async-signal-safe; the io must live until it returns. */
void io_cancel_sleeps(struct io *io);

/* The calling fiber waits for io_notify of the same key (any address; same thread). Not outside of a fiber. */
void io_wait(struct io *io, const void *key);
/* Lets every fiber that waits for key go on, at the next io_turn. Same thread. */
void io_notify(struct io *io, const void *key);

/*
 * One fiber's wait for one thing, which costs the same however many others wait. In its user's storage, zero at first.
 * One fiber at a time waits for an event. Not for abandoned fibers' stacks: whoever sets it later must find it.
 */
struct io_event {
    struct io_req *waiter; /* io's own; NULL: nobody waits */
    bool set;              /* io_event_set was called and nobody has waited since */
};

/* The calling fiber waits until e is set (at once where it is), which it takes back, or until deadline_ns (monotonic;
 * INT64_MAX: no limit). 0 or -ETIMEDOUT. In both modes; not outside of a fiber. */
int io_event_wait(struct io *io, struct io_event *e, int64_t deadline_ns);
/* Lets the fiber that waits for e, or the next one that will, go on at the next io_turn. Same thread. */
void io_event_set(struct io *io, struct io_event *e);

/* The calling fiber goes on once the thread would else wait, in one of the next few turns at the latest: after all that
 * can go on now, and what that lets begin. Nothing outside of a fiber. */
void io_yield(struct io *io);

/* fn(arg) on the thread's own stack, whatever it needs of it; it must not park. The calling fiber goes on after it, at
 * the next io_turn. At once outside of a fiber. */
void io_outside(struct io *io, void (*fn)(void *arg), void *arg);

/* One message from another thread; in its sender's storage, which must stay until it is delivered. */
struct io_post {
    const void *key;      /* as for io_wait and io_notify; set before io_post */
    struct io_post *next; /* the io's until it is delivered */
    bool delivered;       /* written and read in the io's thread only; false before io_post */
};

/*
 * Lets every fiber of that io that waits for post->key go on, so that a fiber can wait for another thread. Any thread;
 * does not block. The io must live until the post is delivered, which is soon after: from then on the sender touches
 * neither, so that whoever has seen post->delivered may free both. What the sender wrote before is seen then.
 */
void io_post(struct io *io, struct io_post *post);

/* The calling fiber waits until post, sent or yet to be sent to its io, is delivered. Not outside of a fiber. */
void io_await(struct io *io, const struct io_post *post);

/* Results as of the system calls of the same name. */
int io_openat(struct io *io, int dirfd, const char *path, int flags, mode_t mode);
int io_openat2(struct io *io, int dirfd, const char *path, struct open_how *how); /* how is only read */
int io_close(struct io *io, int fd);
ssize_t io_pread(struct io *io, int fd, void *buf, size_t len, off_t offset);
ssize_t io_pwrite(struct io *io, int fd, const void *buf, size_t len, off_t offset);
int io_statx(struct io *io, int dirfd, const char *path, int flags, unsigned mask, struct statx *out_stx);
int io_renameat2(struct io *io, int olddir, const char *oldname, int newdir, const char *newname, unsigned flags);
int io_unlinkat(struct io *io, int dirfd, const char *path, int flags);
int io_mkdirat(struct io *io, int dirfd, const char *path, mode_t mode);
int io_symlinkat(struct io *io, const char *target, int dirfd, const char *path);
int io_linkat(struct io *io, int olddir, const char *oldpath, int newdir, const char *newpath, int flags);
int io_fsync(struct io *io, int fd);

/* Without an operation in the ring: a helper thread in IO_ASYNC mode. */
int io_mknodat(struct io *io, int dirfd, const char *path, mode_t mode, dev_t rdev);
int io_fchmod(struct io *io, int fd, mode_t mode);
/* With flags it is fchmodat2 (since Linux 6.6): -ENOSYS before. */
int io_fchmodat(struct io *io, int dirfd, const char *path, mode_t mode, int flags);
int io_fchownat(struct io *io, int dirfd, const char *path, uid_t uid, gid_t gid, int flags);
/* path NULL: the file behind dirfd itself. */
int io_utimensat(struct io *io, int dirfd, const char *path, const struct timespec times[2], int flags);
int io_ftruncate(struct io *io, int fd, off_t length);
off_t io_lseek(struct io *io, int fd, off_t offset, int whence);
ssize_t io_copy_file_range(struct io *io, int fd_in, off_t off_in, int fd_out, off_t off_out, size_t len);
/* Between files of any two file systems, copied once where read and write copy twice. Moves the offset of fd_out, so
 * that no other call may use that meanwhile. */
ssize_t io_sendfile(struct io *io, int fd_in, off_t off_in, int fd_out, off_t off_out, size_t len);
int io_ficlone(struct io *io, int fd_to, int fd_from);
ssize_t io_readlinkat(struct io *io, int dirfd, const char *path, char *buf, size_t size);
ssize_t io_getdents(struct io *io, int fd, void *buf, size_t size);
int io_syncfs(struct io *io, int fd);
/* Extended attributes of what fd stands for; fd may be O_PATH, of a symbolic link too. size 0: only asks how much. */
ssize_t io_listxattr(struct io *io, int fd, char *buf, size_t size);
ssize_t io_getxattr(struct io *io, int fd, const char *name, void *buf, size_t size);
int io_setxattr(struct io *io, int fd, const char *name, const void *value, size_t size);
int io_removexattr(struct io *io, int fd, const char *name);

/* A directory that is read, and its entries that are looked at. */
struct io_looks {
    int fd;            /* of the directory; the caller's */
    void *buf;         /* receives entries as of getdents64; the caller's */
    size_t size;       /* bytes of buf; the caller's */
    size_t len;        /* bytes of it that are filled; 0 at first */
    size_t at;         /* the first entry that was not looked at; 0 at first */
    bool end;          /* behind those in buf there is none; false at first */
    int flags;         /* of statx; the caller's */
    unsigned mask;     /* of statx; the caller's */
    struct statx *stx; /* entries that this call has looked at, but "." and "..", in their order; the caller's */
    int *results;      /* of each: 0, or -errno where it has no stx; the caller's */
    unsigned room;     /* entries that stx and results can have */
    unsigned count;    /* that they have */
};

/*
 * Looks at the next entries of a directory, in one wait for all of them: a wait for each costs more than the look where
 * what is looked at is in memory, as on an NFS mount after the listing, which brings the attributes. Where nothing in
 * buf is left to be looked at it is filled anew first. Looks at one entry at least, and at no more after IO_LOOKS_NS,
 * so that entries that are waited for one by one come soon. 0: those up to at are in buf; where end is set and at is
 * len, those were the last. -errno: the directory cannot be read.
 */
int io_getdents_statx(struct io *io, struct io_looks *looks);
#define IO_LOOKS_NS ((int64_t)20 * 1000 * 1000)

/*
 * Sockets: blocking ones (without O_NONBLOCK). The kernel touches addresses and buffers only while one of these
 * functions makes its system call, never while the fiber waits: a fiber that is given up leaves nothing behind that
 * could be written to. deadline_ns is monotonic (INT64_MAX: no limit); where it passes -ETIMEDOUT; one that has passed
 * already lets the call be tried once.
 */

/* Waits until fd has one of events (poll's POLLIN, POLLOUT). Returns what poll would tell (> 0), or -errno; -ENOMEM
 * too. */
int io_poll(struct io *io, int fd, short events, int64_t deadline_ns);
/* 0 or -errno. A socket whose connect failed is to be closed. */
int io_connect(struct io *io, int fd, const struct sockaddr *address, socklen_t len, int64_t deadline_ns);
/* Sends some of the bytes, at least one. -EPIPE without a signal. */
ssize_t io_sendmsg(struct io *io, int fd, struct iovec *iov, size_t count, int64_t deadline_ns);
/* Receives some bytes; 0: the other end has closed. */
ssize_t io_recvmsg(struct io *io, int fd, struct iovec *iov, size_t count, int64_t deadline_ns);

#endif
