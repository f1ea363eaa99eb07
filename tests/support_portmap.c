#include "support_portmap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PMAP_PORT     111
#define START_SECONDS 30

static pid_t rpcbind;

static void need(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "a network with a portmapper of its own: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static struct sockaddr_in address(const char *text, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, text, &a.sin_addr);
    return a;
}

/* Loopback, and a second address there that does not look like it: without one Ganesha's look-up of "127.0.0.1" finds
 * nothing (AI_ADDRCONFIG). */
static void network_up(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    need(fd >= 0, "socket");
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING};
    need(ioctl(fd, SIOCSIFFLAGS, &r) == 0, "lo up");
    struct sockaddr_in more = address("10.255.255.1", 0);
    struct ifreq a = {.ifr_name = "lo:1"};
    memcpy(&a.ifr_addr, &more, sizeof(more));
    need(ioctl(fd, SIOCSIFADDR, &a) == 0, "a second address of lo");
    close(fd);
}

static int answers(void)
{
    struct sockaddr_in a = address("127.0.0.1", PMAP_PORT);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    close(fd);
    return r;
}

void portmap_private(void)
{
    need(unshare(CLONE_NEWNET | CLONE_NEWNS) == 0, "unshare (root?)");
    need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "mounts of its own");
    need(mount("run", "/run", "tmpfs", 0, NULL) == 0, "/run");
    need(mkdir("/run/rpcbind", 0755) == 0 && mkdir("/run/ganesha", 0755) == 0, "folders in /run");
    network_up();
    pid_t parent = getpid();
    rpcbind = fork();
    need(rpcbind >= 0, "fork");
    if (rpcbind == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            execlp("rpcbind", "rpcbind", "-f", (char *)NULL);
            execl("/sbin/rpcbind", "rpcbind", "-f", (char *)NULL);
        }
        _exit(127);
    }
    time_t end = time(NULL) + START_SECONDS;
    while (!answers()) {
        need(waitpid(rpcbind, NULL, WNOHANG) == 0 && time(NULL) < end, "rpcbind does not answer (installed?)");
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
}

void portmap_stop(void)
{
    if (rpcbind > 0) {
        kill(rpcbind, SIGKILL);
        waitpid(rpcbind, NULL, 0);
        rpcbind = 0;
    }
}
