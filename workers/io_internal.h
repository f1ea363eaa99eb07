/*
 * io_internal: what the parts of io share: the request, its lists, the ring and the helper threads.
 *
 * Only workers/io*.c include this.
 */
#ifndef HAUL_WORKERS_IO_INTERNAL_H
#define HAUL_WORKERS_IO_INTERNAL_H

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "workers/fiber.h"
#include "workers/io.h"

/* System calls that a request can stand for. Those up to IO_RING_CODES have an operation in the ring. */
enum io_code {
    IO_OPENAT,
    IO_OPENAT2,
    IO_CLOSE,
    IO_PREAD,
    IO_PWRITE,
    IO_STATX,
    IO_RENAMEAT2,
    IO_UNLINKAT,
    IO_MKDIRAT,
    IO_SYMLINKAT,
    IO_LINKAT,
    IO_FSYNC,
    IO_POLL,
    IO_RING_CODES,
    IO_MKNODAT = IO_RING_CODES,
    IO_FCHMOD,
    IO_FCHMODAT,
    IO_FCHOWNAT,
    IO_UTIMENSAT,
    IO_FTRUNCATE,
    IO_LSEEK,
    IO_COPY_FILE_RANGE,
    IO_SENDFILE,
    IO_FICLONE,
    IO_READLINKAT,
    IO_GETDENTS,
    IO_GETDENTS_STATX,
    IO_SYNCFS,
    IO_XATTR_CODES,
    IO_LISTXATTR = IO_XATTR_CODES,
    IO_GETXATTR,
    IO_SETXATTR,
    IO_REMOVEXATTR,
};

/* One call, on the stack of the fiber (or thread) that waits for it: nothing outlives the call. */
struct io_req {
    enum io_code code;            /* which call */
    int fd;                       /* first descriptor */
    int fd2;                      /* second descriptor */
    const char *path;             /* first path, or a symbolic link's target */
    const char *path2;            /* second path */
    void *buf;                    /* receives data; openat2: its struct open_how, which is not written to */
    const void *data;             /* gives data */
    size_t len;                   /* bytes of buf or data */
    off_t off;                    /* offset in fd */
    off_t off2;                   /* offset in fd2 */
    unsigned flags;               /* the call's flags, or whence, or the events to poll for */
    unsigned mask;                /* statx */
    mode_t mode;                  /* open, mkdir, mknod, chmod */
    dev_t rdev;                   /* mknod */
    uid_t uid;                    /* chown */
    gid_t gid;                    /* chown */
    const struct timespec *times; /* utimens, two of them */
    int64_t deadline_ns;          /* the time of a sleeper, event or poll, monotonic */
    const void *key;              /* a waiter's key */
    struct io_event *event;       /* what a fiber in io_event_wait waits for */
    void (*outside)(void *arg);   /* called with buf before the fiber is resumed; NULL: nothing is */
    struct fiber *fiber;          /* who is resumed */
    bool waiting;                 /* in the backlog of a ring */
    struct io_req *next;          /* in the one list that it is in */
    struct io_req *later;         /* in the one io_timers that it is in */
    struct io_req *sooner;        /* the same */
    int64_t result;               /* result or -errno */
};

/* A list that is emptied from its front. */
struct io_list {
    struct io_req *head; /* first, NULL: empty */
    struct io_req *tail; /* last; undefined when empty */
};

static inline void io_list_push(struct io_list *list, struct io_req *req)
{
    req->next = NULL;
    if (list->head) {
        list->tail->next = req;
    } else {
        list->head = req;
    }
    list->tail = req;
}

static inline struct io_req *io_list_pop(struct io_list *list)
{
    struct io_req *req = list->head;
    if (req) {
        list->head = req->next;
        req->next = NULL;
    }
    return req;
}

/* Requests in order of deadline_ns. All zero: empty. */
struct io_timers {
    struct io_req *first; /* the soonest; NULL: empty */
    struct io_req *last;  /* undefined when empty */
};

/* Most wait equally long, and so go to the end: looked for from there. */
void io_timers_insert(struct io_timers *t, struct io_req *req);
void io_timers_remove(struct io_timers *t, struct io_req *req);

/* Makes the system call in the calling thread. Result or -errno; EINTR is repeated, but for close. */
int64_t io_call(const struct io_req *req);

/* io_getdents_statx in the calling thread. 0, or -1 with errno and nothing changed that it could not do once more. */
int looks_call(struct io_looks *looks);

/* Carries out req where the mode says; the calling fiber waits. Result or -errno. */
int64_t io_run(struct io *io, struct io_req *req);

/*
 * The ring of one thread. A request is either prepared (an SQE holds it), at the kernel, or in the backlog, which waits
 * for room: never more at the kernel than the completion queue holds, so that none is ever dropped.
 */
struct ring {
    struct io_uring uring;   /* liburing's own */
    bool has[IO_RING_CODES]; /* the kernel has the operation; constant */
    unsigned bound;          /* requests in SQEs and at the kernel at most; constant */
    unsigned busy;           /* requests in SQEs and at the kernel now, without the watch; a poll is two, since it may
                                have to be ended */
    struct io_list backlog;  /* requests without an SQE */
    int wake_fd;             /* the eventfd that ends a wait; not owned */
    bool watching;           /* a poll for wake_fd is prepared or at the kernel */
};

/* Makes a ring for the calling thread, and tries it. facts gains flags, ops. 0 or -errno: r is not to be used then. */
int ring_init(struct ring *r, unsigned entries, int wake_fd, struct io_facts *facts);
void ring_release(struct ring *r);

/* Takes over req until ring_turn puts it into its list of done. Never fails. */
void ring_take(struct ring *r, struct io_req *req);

/* Ends a poll that ring_take took. True: it is the caller's again, the kernel never saw it. False: it is done soon,
 * with -ECANCELED unless it was just then; or not: ask again later. */
bool ring_cancel_poll(struct ring *r, struct io_req *req);

/* Submits, waits for something to complete or wake_fd or timeout_ns (-1: no limit, 0: no wait), appends what is done.
 */
void ring_turn(struct ring *r, int64_t timeout_ns, struct io_list *done);

/* See io_set_width. */
void ring_width(struct ring *r, unsigned n);

/* Threads that make calls which the ring has not. */
struct helpers;

/* wake(arg) is called from a helper after it has finished something, when nothing finished was waiting yet. 0, -ENOMEM.
 */
int helpers_create(unsigned max, void (*wake)(void *arg), void *arg, struct helpers **out_helpers);
/* Ends the threads, which must be idle. NULL is fine. */
void helpers_destroy(struct helpers *h);
/* At most max threads from now on (those there are stay). */
void helpers_width(struct helpers *h, unsigned max);
/* Takes over req until helpers_done returns it. 0, or -EAGAIN: no thread at all could be started, req is the caller's.
 */
int helpers_take(struct helpers *h, struct io_req *req);
/* Appends what is finished. */
void helpers_done(struct helpers *h, struct io_list *done);

#endif
