/*
 * lease_text: what stands in a lease, and who we are.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "copier/lease_internal.h"

#define PERIOD_MIN_MS 1
#define PERIOD_MAX_MS 60000 /* nobody's lease makes us wait for longer than three of these */

/* The beginning of a small file. The number of bytes or -errno. */
static ssize_t read_file(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    ssize_t n = read(fd, buf, size - 1);
    int err = errno;
    close(fd);
    if (n < 0) {
        return -err;
    }
    buf[n] = '\0';
    return n;
}

/* State and start time of a process. 0 or -errno. */
static int process_stat(int64_t pid, char *out_state, uint64_t *out_started)
{
    char path[64];
    char text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    ssize_t n = read_file(path, text, sizeof text);
    if (n < 0) {
        return (int)n;
    }
    /* The name, in parentheses, may hold anything: what follows counts from the last of them. */
    const char *after = strrchr(text, ')');
    unsigned long long started = 0;
    if (after == NULL ||
        sscanf(after + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", out_state,
               &started) != 2) {
        return -EINVAL;
    }
    *out_started = started;
    return 0;
}

static uint64_t pid_namespace(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? (uint64_t)st.st_ino : 0;
}

int lease_self(struct lease_owner *out_owner)
{
    struct lease_owner o = {.pid = getpid(), .pidns = pid_namespace()};
    char host[sizeof o.host] = "?";
    char state = 0;
    if (gethostname(host, sizeof host) != 0) {
        host[0] = '?';
    }
    host[sizeof host - 1] = '\0';
    char *shown = name_show(host);
    if (shown == NULL) {
        return -ENOMEM;
    }
    snprintf(o.host, sizeof o.host, "%s", shown);
    free(shown);
    ssize_t n = read_file("/proc/sys/kernel/random/boot_id", o.boot, sizeof o.boot);
    if (n < 0 || o.pidns == 0 || process_stat(o.pid, &state, &o.started) != 0) {
        o.boot[0] = '\0'; /* without /proc nothing about processes can be proved, neither by us nor by others */
    }
    o.boot[strcspn(o.boot, "\n")] = '\0';
    o.since_s = clock_real_ns() / NS_PER_SEC;
    *out_owner = o;
    return 0;
}

int lease_format(const struct lease_owner *o, char out_text[LEASE_TEXT_MAX], size_t *out_len)
{
    json_t *json = json_pack("{s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "haul", LEASE_VERSION,
                             "host", o->host, "run", o->run, "boot", o->boot, "pidns", (json_int_t)o->pidns, "pid",
                             (json_int_t)o->pid, "started", (json_int_t)o->started, "since", (json_int_t)o->since_s,
                             "renewal", (json_int_t)o->renewal, "period_ms", (json_int_t)(o->period_ns / NS_PER_MS),
                             "renewed_ns", (json_int_t)o->renewed_ns, "root", (json_int_t)o->root);
    if (json == NULL) {
        return -ENOMEM;
    }
    size_t len = json_dumpb(json, out_text, LEASE_TEXT_MAX - 1, JSON_COMPACT);
    json_decref(json);
    if (len == 0 || len >= LEASE_TEXT_MAX) {
        return len == 0 ? -ENOMEM : -EOVERFLOW;
    }
    out_text[len++] = '\n';
    *out_len = len;
    return 0;
}

static void take_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static int parse_fields(json_t *json, struct lease_owner *out)
{
    const char *host = NULL;
    const char *run = NULL;
    const char *boot = NULL;
    json_int_t pidns = 0;
    json_int_t pid = 0;
    json_int_t started = 0;
    json_int_t since = 0;
    json_int_t renewal = 0;
    json_int_t period_ms = 0;
    json_int_t renewed = 0;
    json_int_t root = 0;
    if (json_unpack(json, "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "host", &host, "run", &run, "boot",
                    &boot, "pidns", &pidns, "pid", &pid, "started", &started, "since", &since, "renewal", &renewal,
                    "period_ms", &period_ms, "renewed_ns", &renewed, "root", &root) != 0) {
        return -EINVAL;
    }
    if (!run_id_valid(run) || strlen(host) >= sizeof out->host || strlen(boot) >= sizeof out->boot || pid <= 0 ||
        pid > INT32_MAX || period_ms < PERIOD_MIN_MS) {
        return -EINVAL;
    }
    char *shown = name_show(host); /* whoever wrote it: it is going to be printed */
    if (shown == NULL) {
        return -ENOMEM;
    }
    *out = (struct lease_owner){.pidns = (uint64_t)pidns,
                                .pid = pid,
                                .started = (uint64_t)started,
                                .since_s = since,
                                .renewal = (uint64_t)renewal,
                                .period_ns = (period_ms < PERIOD_MAX_MS ? period_ms : PERIOD_MAX_MS) * NS_PER_MS,
                                .renewed_ns = renewed,
                                .root = (uint64_t)root};
    take_text(out->host, sizeof out->host, shown);
    take_text(out->run, sizeof out->run, run);
    take_text(out->boot, sizeof out->boot, boot);
    free(shown);
    return 0;
}

int lease_parse(const char *text, size_t len, struct lease_owner *out_owner)
{
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *version = json_object_get(json, "haul");
    int r = -EINVAL;
    if (json_is_integer(version) && json_integer_value(version) > LEASE_VERSION) {
        r = -EPROTO;
    } else if (json_is_integer(version) && json_integer_value(version) == LEASE_VERSION) {
        r = parse_fields(json, out_owner);
    }
    json_decref(json);
    return r;
}

/* A dead process that nobody has waited for; threads of it that hang in the kernel still live. */
static bool is_zombie(int64_t pid, char state)
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%lld/task", (long long)pid);
    return (state == 'Z' || state == 'X') && stat(path, &st) == 0 && st.st_nlink <= 3;
}

bool lease_process_gone(const struct lease_owner *self, const struct lease_owner *owner)
{
    char state = 0;
    uint64_t started = 0;
    if (self->boot[0] == '\0' || strcmp(self->boot, owner->boot) != 0 || self->pidns != owner->pidns) {
        return false;
    }
    if (kill((pid_t)owner->pid, 0) != 0 && errno == ESRCH) {
        return true;
    }
    /* /proc may hide what is another user's: that proves nothing. */
    if (process_stat(owner->pid, &state, &started) != 0) {
        return false;
    }
    return started != owner->started || is_zombie(owner->pid, state);
}

void lease_describe(const struct lease_owner *o, char out_who[LEASE_WHO_MAX])
{
    char since[40] = "?";
    struct tm tm;
    time_t when = (time_t)o->since_s;
    if (gmtime_r(&when, &tm) != NULL) {
        strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S UTC", &tm);
    }
    snprintf(out_who, LEASE_WHO_MAX, "host %s, process %lld, run %s, since %s", o->host, (long long)o->pid, o->run,
             since);
}
