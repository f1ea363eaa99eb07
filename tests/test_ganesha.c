/*
 * The rigs that the tests of nfs:// stand on: a private server, and the proxy before it. What they are told to do they
 * do; else a test that leans on them would show nothing.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support_cutproxy.h"
#include "support_ganesha.h"
#include "support_tree.h"

static int connect_port(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0, "connect: %s", strerror(errno));
    return fd;
}

/* One record: the NULL procedure of NFSv4; its answer has 28 bytes with the mark. */
static void send_null(int fd)
{
    static const unsigned char call[44] = {0x80, 0, 0, 40, 1, 2, 3,    4,    0, 0, 0, 0,
                                           0,    0, 0, 2,  0, 1, 0x86, 0xa3, 0, 0, 0, 4};
    cr_assert_eq(send(fd, call, sizeof(call), MSG_NOSIGNAL), (ssize_t)sizeof(call));
}

/* Bytes that arrive until want are there, the connection ends, or ms pass; -errno for an error (-ECONNRESET). */
static int receive(int fd, size_t want, int ms)
{
    unsigned char buf[256];
    size_t got = 0;
    while (got < want) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, ms) != 1) {
            break;
        }
        ssize_t n = recv(fd, buf, want - got < sizeof(buf) ? want - got : sizeof(buf), 0);
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        got += (size_t)n;
    }
    return (int)got;
}

Test(ganesha, starts_is_killed_and_comes_back, .timeout = 110)
{
    char *folder = tree_temp("export");
    const struct ganesha_export export = {.path = folder, .pseudo = "/export"};
    const struct ganesha_options options = {.exports = &export, .export_count = 1};
    struct ganesha *one = ganesha_start(&options);
    struct ganesha *two = ganesha_start(&options);
    cr_assert_neq(ganesha_port(one), ganesha_port(two));
    cr_assert_gt(ganesha_pid(one), 0);

    struct cutproxy *proxy = cutproxy_start(ganesha_port(one));
    int fd = connect_port(cutproxy_port(proxy));
    send_null(fd);
    cr_assert_eq(receive(fd, 28, 10000), 28);
    cr_assert_eq(cutproxy_stat(proxy, "up_records"), 1);
    cr_assert_eq(cutproxy_stat(proxy, "down_records"), 1);
    cr_assert_eq(cutproxy_stat(proxy, "up_bytes"), 44);
    cr_assert_eq(cutproxy_stat(proxy, "down_bytes"), 28);

    /* The answer is on its way back when the cut comes: nothing of it arrives. */
    cutproxy_tell(proxy, "cut down before 1 records");
    send_null(fd);
    cr_assert_eq(receive(fd, 28, 10000), -ECONNRESET);
    close(fd);
    cr_assert_eq(cutproxy_stat(proxy, "cuts"), 1);

    /* Its first 10 bytes arrive. */
    fd = connect_port(cutproxy_port(proxy));
    cutproxy_tell(proxy, "cut down after 10 bytes");
    send_null(fd);
    cr_assert_eq(receive(fd, 10, 10000), 10);
    cr_assert_eq(receive(fd, 1, 10000), -ECONNRESET);
    close(fd);

    /* The call does not reach the server, half of it does, all of it does. */
    static const char *const cuts[] = {"cut up before 1 records of 1", "cut up within 1 records",
                                       "cut up after 1 records"};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
        cutproxy_tell(proxy, cuts[i]);
        fd = connect_port(cutproxy_port(proxy));
        send_null(fd);
        cr_assert_eq(receive(fd, 28, 10000), -ECONNRESET, "%s", cuts[i]);
        close(fd);
    }
    cr_assert_eq(cutproxy_stat(proxy, "cuts"), 5);

    /* Nothing comes, nothing is said, and the next connection is well. */
    cutproxy_tell(proxy, "cut up before 2 records silent");
    fd = connect_port(cutproxy_port(proxy));
    send_null(fd);
    cr_assert_eq(receive(fd, 28, 10000), 28);
    send_null(fd);
    cr_assert_eq(receive(fd, 28, 200), 0);
    close(fd);
    fd = connect_port(cutproxy_port(proxy));
    send_null(fd);
    cr_assert_eq(receive(fd, 28, 10000), 28);

    /* The server is killed; it comes back at the same port. */
    ganesha_kill(one);
    cr_assert_eq(ganesha_pid(one), 0);
    cr_assert_leq(receive(fd, 1, 10000), 0);
    close(fd);
    ganesha_restart(one, GANESHA_FORGETS);
    fd = connect_port(ganesha_port(one));
    ganesha_freeze(one);
    send_null(fd);
    cr_assert_eq(receive(fd, 28, 200), 0);
    ganesha_thaw(one);
    cr_assert_eq(receive(fd, 28, 10000), 28);
    close(fd);

    cutproxy_destroy(proxy);
    ganesha_destroy(two);
    ganesha_destroy(one);
    tree_remove(folder);
    free(folder);
}
