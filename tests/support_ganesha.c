#include "support_ganesha.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support_tree.h"

#define START_SECONDS 60
#define STOP_SECONDS  10
#define PORT_FIRST    10000 /* below the kernel's own range */
#define PORT_COUNT    20000
#define START_TRIES   4 /* another test may take the port between our look and the server's bind */

struct ganesha {
    struct ganesha_options options; /* strings are the caller's until ganesha_start returns */
    char *home;                     /* folder of configuration, log, recovery state; owned */
    uint16_t port;                  /* of NFS */
    uint16_t mount_port;            /* of MOUNT; 0 without v3 */
    pid_t pid;                      /* 0: does not run */
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

uint16_t ganesha_free_port(void)
{
    for (unsigned i = 0; i < 1000; i++) {
        unsigned random;
        cr_assert_eq(getrandom(&random, sizeof(random), 0), (ssize_t)sizeof(random));
        uint16_t port = (uint16_t)(PORT_FIRST + random % PORT_COUNT);
        struct sockaddr_in address = loopback(port);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert(fd >= 0);
        int ret = bind(fd, (struct sockaddr *)&address, sizeof(address));
        close(fd);
        if (ret == 0) {
            return port;
        }
    }
    cr_assert_fail("no free port");
    return 0;
}

static void put_exports(const struct ganesha *g, FILE *f)
{
    for (size_t i = 0; i < g->options.export_count; i++) {
        const struct ganesha_export *e = &g->options.exports[i];
        fprintf(f,
                "EXPORT {\n    Export_Id = %zu;\n    Path = \"%s\";\n    Pseudo = \"%s\";\n    Access_Type = RW;\n"
                "    Squash = %s;\n    SecType = sys;\n    Protocols = %s;\n    Transports = TCP;\n"
                "    PrivilegedPort = false;\n    FSAL { Name = VFS; }\n    %s\n}\n",
                i + 1, e->path, e->pseudo ? e->pseudo : e->path, e->squash_root ? "Root_Squash" : "No_Root_Squash",
                g->options.v3 ? "3, 4" : "4", e->options ? e->options : "");
    }
}

static void put_configuration(const struct ganesha *g)
{
    char path[512];
    const struct ganesha_options *o = &g->options;
    snprintf(path, sizeof(path), "%s/conf", g->home);
    FILE *f = fopen(path, "we");
    cr_assert_not_null(f, "%s: %s", path, strerror(errno));
    fprintf(f,
            "NFS_CORE_PARAM {\n    Protocols = %s;\n    NFS_Port = %u;\n    Bind_addr = 127.0.0.1;\n"
            "    Enable_UDP = false;\n    Enable_NLM = false;\n    Enable_RQUOTA = false;\n",
            o->v3 ? "3, 4" : "4", g->port);
    if (o->v3) {
        fprintf(f, "    MNT_Port = %u;\n", g->mount_port);
    }
    fprintf(f, "    %s\n}\n", o->core ? o->core : "");
    fprintf(f,
            "NFSv4 {\n    RecoveryBackend = fs;\n    RecoveryRoot = \"%s/recovery\";\n    Graceless = %s;\n"
            "    Grace_Period = %u;\n    Lease_Lifetime = %u;\n    Only_Numeric_Owners = true;\n    %s\n}\n",
            g->home, o->grace_seconds == 0 ? "true" : "false", o->grace_seconds == 0 ? 1 : o->grace_seconds,
            o->lease_seconds == 0 ? 60 : o->lease_seconds, o->nfsv4 ? o->nfsv4 : "");
    fprintf(f, "LOG { Default_Log_Level = EVENT; }\n");
    /* What is changed in the folder without it is to be seen at once. */
    fprintf(f, "EXPORT_DEFAULTS { Attr_Expiration_Time = 0; }\nMDCACHE { Dir_Chunk = 0; }\n");
    put_exports(g, f);
    cr_assert_eq(fclose(f), 0);
}

static void make_recovery(const struct ganesha *g)
{
    static const char *const folders[] = {"recovery", "recovery/v4recov", "recovery/v4old"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", g->home, folders[i]);
        cr_assert(mkdir(path, 0755) == 0 || errno == EEXIST, "%s: %s", path, strerror(errno));
    }
}

/* In the child. */
_Noreturn static void become_server(const struct ganesha *g, pid_t parent)
{
    char conf[512];
    char log[512];
    char pid[512];
    snprintf(conf, sizeof(conf), "%s/conf", g->home);
    snprintf(log, sizeof(log), "%s/log", g->home);
    snprintf(pid, sizeof(pid), "%s/pid", g->home);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(126);
    }
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (out >= 0) {
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execl("/usr/bin/ganesha.nfsd", "ganesha.nfsd", "-F", "-f", conf, "-L", log, "-p", pid, (char *)NULL);
    dprintf(STDERR_FILENO, "/usr/bin/ganesha.nfsd: %s\n", strerror(errno));
    _exit(127);
}

/* Whether it has ended by itself. */
static bool has_ended(struct ganesha *g)
{
    if (g->pid > 0 && waitpid(g->pid, NULL, WNOHANG) == g->pid) {
        g->pid = 0;
    }
    return g->pid == 0;
}

/* Sends the NULL procedure of program 100003 and reads the answer: whether it was accepted. */
static bool answers(uint16_t port)
{
    static const unsigned char call[44] = {0x80, 0, 0, 40, 'h', 'a',  'u',  'l', 0, 0, 0, 0, 0,
                                           0,    0, 2, 0,  1,   0x86, 0xa3, 0,   0, 0, 4, /* 100003, version 4, NULL */
                                           0,    0, 0, 0};
    unsigned char reply[28];
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0);
    bool well = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                send(fd, call, sizeof(call), MSG_NOSIGNAL) == (ssize_t)sizeof(call);
    size_t got = 0;
    while (well && got < sizeof(reply)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n = poll(&p, 1, 1000) == 1 ? read(fd, reply + got, sizeof(reply) - got) : -1;
        well = n > 0;
        got += n > 0 ? (size_t)n : 0;
    }
    close(fd);
    /* a reply (1), accepted (0), without a verifier (0, 0), a success (0) */
    static const unsigned char accepted[20] = {0, 0, 0, 1};
    return well && memcmp(reply + 8, accepted, sizeof(accepted)) == 0;
}

/* One try; false where it ended before it answered. */
static bool launch(struct ganesha *g)
{
    pid_t parent = getpid();
    fflush(NULL);
    g->pid = fork();
    cr_assert(g->pid >= 0, "fork: %s", strerror(errno));
    if (g->pid == 0) {
        become_server(g, parent);
    }
    int64_t end = now_ms() + START_SECONDS * 1000;
    while (!answers(g->port)) {
        if (has_ended(g)) {
            return false;
        }
        if (now_ms() > end) {
            ganesha_kill(g);
            return false;
        }
        pause_ms(20);
    }
    /* That it was ours which answered. */
    return !has_ended(g);
}

/* Fails the test with the end of the log. */
static void fail_with_log(const struct ganesha *g)
{
    char path[512];
    static char text[4096];
    snprintf(path, sizeof(path), "%s/log", g->home);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    off_t from =
        fd >= 0 && fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(text) ? st.st_size - (off_t)sizeof(text) + 1 : 0;
    ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof(text) - 1, from);
    text[n > 0 ? n : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
    cr_assert_fail(
        "Ganesha did not start on port %u (root? nfs-ganesha-vfs installed? an export on a file system without "
        "handles?); the end of its log:\n%s",
        g->port, text);
}

struct ganesha *ganesha_start(const struct ganesha_options *options)
{
    cr_assert(options->export_count > 0);
    struct ganesha *g = calloc(1, sizeof(*g));
    cr_assert_not_null(g);
    g->options = *options;
    g->home = tree_temp("ganesha");
    for (unsigned i = 0; i < START_TRIES; i++) {
        g->port = ganesha_free_port();
        g->mount_port = options->v3 ? ganesha_free_port() : 0;
        make_recovery(g);
        put_configuration(g);
        if (launch(g)) {
            return g;
        }
    }
    fail_with_log(g);
    return NULL;
}

void ganesha_kill(struct ganesha *g)
{
    if (g->pid > 0) {
        kill(g->pid, SIGKILL);
        waitpid(g->pid, NULL, 0);
        g->pid = 0;
    }
}

void ganesha_destroy(struct ganesha *g)
{
    if (g == NULL) {
        return;
    }
    if (g->pid > 0) {
        kill(g->pid, SIGCONT);
        kill(g->pid, SIGTERM);
        int64_t end = now_ms() + STOP_SECONDS * 1000;
        while (!has_ended(g) && now_ms() < end) {
            pause_ms(10);
        }
    }
    ganesha_kill(g);
    tree_remove(g->home);
    free(g->home);
    free(g);
}

void ganesha_restart(struct ganesha *g, enum ganesha_memory memory)
{
    ganesha_kill(g);
    if (memory == GANESHA_FORGETS) {
        char path[512];
        snprintf(path, sizeof(path), "%s/recovery", g->home);
        tree_remove(path);
        make_recovery(g);
    }
    if (!launch(g)) {
        fail_with_log(g);
    }
}

void ganesha_freeze(struct ganesha *g)
{
    int status = 0;
    cr_assert_gt(g->pid, 0);
    kill(g->pid, SIGSTOP);
    /* It is told to the parent when the last of its threads has stopped; until then one may still answer. */
    cr_assert_eq(waitpid(g->pid, &status, WUNTRACED), g->pid);
    cr_assert(WIFSTOPPED(status));
}

void ganesha_thaw(struct ganesha *g)
{
    cr_assert_gt(g->pid, 0);
    kill(g->pid, SIGCONT);
}

uint16_t ganesha_port(const struct ganesha *g)
{
    return g->port;
}

uint16_t ganesha_mount_port(const struct ganesha *g)
{
    return g->mount_port;
}

pid_t ganesha_pid(const struct ganesha *g)
{
    return g->pid;
}

unsigned ganesha_holds(const struct ganesha *g, const char *path)
{
    char name[64];
    char target[4096];
    unsigned count = 0;
    char *real = realpath(path, NULL);
    cr_assert_not_null(real, "%s: %s", path, strerror(errno));
    snprintf(name, sizeof(name), "/proc/%d/fd", (int)g->pid);
    DIR *dir = opendir(name);
    cr_assert_not_null(dir, "%s: %s", name, strerror(errno));
    struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        size_t len = strlen(real);
        count += strncmp(target, real, len) == 0 && target[len] == '/';
    }
    closedir(dir);
    free(real);
    return count;
}

unsigned ganesha_clients(const struct ganesha *g)
{
    char path[512];
    unsigned count = 0;
    snprintf(path, sizeof(path), "%s/recovery/v4recov/node0", g->home);
    DIR *dir = opendir(path);
    cr_assert(dir != NULL || errno == ENOENT, "%s: %s", path, strerror(errno));
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}
