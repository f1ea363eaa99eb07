/*
 * io_sockets: what sockets do, tried at once, and waited for where it is not possible yet.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "workers/io_internal.h"

/* A connect that may not block the thread: only for this call, the socket stays a blocking one. */
static int connect_begin(int fd, const struct sockaddr *address, socklen_t len)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return -errno;
    }
    int result = connect(fd, address, len) < 0 ? -errno : 0;
    if (fcntl(fd, F_SETFL, flags) < 0 && result == 0) {
        result = -errno;
    }
    return result;
}

int io_connect(struct io *io, int fd, const struct sockaddr *address, socklen_t len, int64_t deadline_ns)
{
    int result = connect_begin(fd, address, len);
    /* EINTR leaves a connect going on just as EINPROGRESS does. */
    if (result != -EINPROGRESS && result != -EINTR) {
        return result;
    }
    result = io_poll(io, fd, POLLOUT, deadline_ns);
    if (result < 0) {
        return result;
    }
    int err = 0;
    socklen_t err_len = sizeof(err);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &err_len) < 0) {
        return -errno;
    }
    return -err;
}

ssize_t io_sendmsg(struct io *io, int fd, struct iovec *iov, size_t count, int64_t deadline_ns)
{
    const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
    for (;;) {
        ssize_t n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            return n;
        }
        if (errno == EINTR) {
            continue;
        }
        if (errno != EAGAIN) {
            return -errno;
        }
        int ready = io_poll(io, fd, POLLOUT, deadline_ns);
        if (ready < 0) {
            return ready;
        }
    }
}

ssize_t io_recvmsg(struct io *io, int fd, struct iovec *iov, size_t count, int64_t deadline_ns)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
    for (;;) {
        ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
        if (n >= 0) {
            return n;
        }
        if (errno == EINTR) {
            continue;
        }
        if (errno != EAGAIN) {
            return -errno;
        }
        int ready = io_poll(io, fd, POLLIN, deadline_ns);
        if (ready < 0) {
            return ready;
        }
    }
}
