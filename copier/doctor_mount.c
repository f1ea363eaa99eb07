#include "copier/doctor_mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copier/quantity.h"

#define SIZE_WANTED  1048576U /* bytes of rsize and wsize: one request of haul's */
#define SIZE_POOR    65536U   /* below that large files crawl */
#define TIMEO_WANTED 600U     /* tenths of a second */
#define PROXY_FIRST  20000U   /* ports of efs-proxy */
#define PROXY_LAST   21049U
#define TEXT_SIZE    1024 /* bytes */

/* One mount that is judged. */
struct judging {
    struct doctor_chart *chart;      /* not owned */
    const struct mount_place *place; /* not owned */
    bool efs;                        /* it is Amazon EFS */
    bool change;                     /* something is to be changed */
};

bool doctor_is_efs(const struct mount_place *place)
{
    const char *dot = strstr(place->host, ".efs.");
    bool named = dot != NULL && strstr(dot, ".amazonaws.com") != NULL;
    bool proxy = strcmp(place->host, "127.0.0.1") == 0 && place->port >= PROXY_FIRST && place->port <= PROXY_LAST;
    return named || proxy;
}

static bool has(const struct judging *j, const char *key)
{
    return mounts_option(j->place->options, key, NULL) != NULL || mounts_option(j->place->flags, key, NULL) != NULL;
}

static bool is(const struct judging *j, const char *key, const char *value)
{
    size_t len = 0;
    const char *text = mounts_option(j->place->options, key, &len);
    return text != NULL && len == strlen(value) && strncmp(text, value, len) == 0;
}

/* The number behind key; missing where it is not there. */
static unsigned long number(const struct judging *j, const char *key, unsigned long missing)
{
    const char *text = mounts_option(j->place->options, key, NULL);
    return text != NULL ? strtoul(text, NULL, 10) : missing;
}

/* What is wrong, and what is to be changed. */
#define WRONG(j, mark, topic, fix, ...)                                                                                \
    do {                                                                                                               \
        doctor_add((j)->chart, (mark), (topic), (fix), __VA_ARGS__);                                                   \
        (j)->change = true;                                                                                            \
    } while (0)

static void judge_version(struct judging *j)
{
    size_t len = 0;
    const char *version = mounts_option(j->place->options, "vers", &len);
    if (is(j, "vers", "4.1") || is(j, "vers", "4.2")) {
        doctor_add(j->chart, DOCTOR_GOOD, "vers", NULL, "NFS %.*s", (int)len, version);
    } else if (is(j, "vers", "4.0")) {
        WRONG(
            j, DOCTOR_BAD, "vers", "vers=4.1 instead of vers=4.0",
            "NFS 4.0 opens and closes one file at a time for each user, and may leave mode-000 files where it is cut");
    } else if (version != NULL) {
        WRONG(j, j->efs ? DOCTOR_BAD : DOCTOR_BETTER, "vers",
              "vers=4.1, if the server has it (its paths may be others then)",
              "NFS %.*s has no sessions: what is cut off is repeated without the server knowing that it did it already",
              (int)len, version);
    } else {
        doctor_add(j->chart, DOCTOR_FACT, "vers", NULL, "the kernel does not say which version it speaks");
    }
}

static void judge_size(struct judging *j, const char *key, const char *what)
{
    char shown[QUANTITY_MAX];
    char fix[TEXT_SIZE];
    unsigned long size = number(j, key, 0);
    quantity_show_bytes(size, shown);
    snprintf(fix, sizeof fix, "%s=%u, and as much at the server, if %lu is all that it grants", key, SIZE_WANTED, size);
    if (size >= SIZE_WANTED) {
        doctor_add(j->chart, DOCTOR_GOOD, key, NULL, "%s up to %s at a time", what, shown);
    } else if (size > 0) {
        WRONG(j, size < SIZE_POOR ? DOCTOR_BAD : DOCTOR_BETTER, key, fix,
              "%s only up to %s at a time: a file of 1 MiB takes %lu requests instead of one", what, shown,
              (SIZE_WANTED + size - 1) / size);
    }
}

static void judge_patience(struct judging *j)
{
    unsigned long timeo = number(j, "timeo", 0);
    if (has(j, "soft") || has(j, "softerr")) {
        WRONG(
            j, DOCTOR_BAD, "hard", "hard instead of soft",
            "the mount is soft: while the server does not answer writes fail, and programs that do not look lose data");
    } else {
        doctor_add(j->chart, DOCTOR_GOOD, "hard", NULL,
                   "the mount is hard: a server that is away costs time, not data");
    }
    if (timeo > 0 && timeo < TIMEO_WANTED) {
        WRONG(j, DOCTOR_BETTER, "timeo", "timeo=600",
              "requests are sent again after %lu.%lu s: a server that is only slow gets more to do", timeo / 10,
              timeo % 10);
    }
    if (is(j, "proto", "udp") || is(j, "proto", "udp6")) {
        WRONG(j, DOCTOR_BAD, "proto", "proto=tcp",
              "over UDP a lost packet loses a whole request, and data may be mixed up");
    }
}

static void judge_connection(struct judging *j)
{
    unsigned long connections = number(j, "nconnect", 1);
    if (has(j, "noresvport")) {
        doctor_add(j->chart, DOCTOR_GOOD, "noresvport", NULL, "a connection that broke is made again from any port");
    } else {
        WRONG(j, j->efs ? DOCTOR_BAD : DOCTOR_BETTER, "noresvport",
              j->efs ? "noresvport"
                     : "noresvport, if the server takes ports above 1023 (knfsd: export option insecure)",
              "a connection that broke is made again from the same port below 1024, which may take minutes or fail for "
              "good");
    }
    if (j->efs && connections > 1) {
        WRONG(j, DOCTOR_BETTER, "nconnect", "without nconnect", "nconnect=%lu, which EFS does not support",
              connections);
    } else if (!j->efs && connections == 1) {
        WRONG(j, DOCTOR_BETTER, "nconnect", "nconnect=4",
              "one connection: large files are bound by what one TCP stream carries");
    } else if (connections > 1) {
        doctor_add(j->chart, DOCTOR_GOOD, "nconnect", NULL, "%lu connections", connections);
    }
}

static void judge_caching(struct judging *j, bool write)
{
    if (write && has(j, "ro")) {
        WRONG(j, DOCTOR_BAD, "rw", "rw instead of ro", "the mount is read-only");
    }
    if (has(j, "sync")) {
        WRONG(j, DOCTOR_BETTER, "async", "without sync", "sync: every write waits for the server by itself");
    }
    if (has(j, "noac") || (is(j, "acregmax", "0") && is(j, "acdirmax", "0"))) {
        WRONG(j, DOCTOR_BETTER, "ac", "without noac and actimeo=0",
              "attributes are not cached: each look is a round trip");
    }
    if (is(j, "lookupcache", "none") || is(j, "lookupcache", "pos")) {
        WRONG(j, DOCTOR_BETTER, "lookupcache", "without lookupcache",
              "names that are not there are not cached: each look for one is a round trip");
    }
}

/* Options that stay as they are in the line that is proposed. */
static void keep(const struct judging *j, char *line, size_t size, const char *key)
{
    size_t len = 0;
    size_t at = strlen(line);
    const char *value = mounts_option(j->place->options, key, &len);
    if (value != NULL) {
        snprintf(line + at, size - at, ",%s=%.*s", key, (int)len, value);
    }
}

/* The command that mounts it as it should be. Most of these options cannot be changed by a remount. */
static void propose(const struct judging *j)
{
    char options[TEXT_SIZE] = "vers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport";
    char *fix = NULL;
    if (!j->efs) {
        strncat(options, ",nconnect=4", sizeof options - strlen(options) - 1);
    }
    if (j->place->port != URL_PORT) {
        keep(j, options, sizeof options, "port");
    }
    if (!is(j, "sec", "sys")) {
        keep(j, options, sizeof options, "sec");
    }
    keep(j, options, sizeof options, "xprtsec");
    if (asprintf(&fix, "umount '%s' && mount -t nfs4 -o %s '%s' '%s'", j->place->point, options, j->place->source,
                 j->place->point) < 0) {
        j->chart->failed = j->chart->failed != 0 ? j->chart->failed : -ENOMEM;
        return;
    }
    doctor_add(j->chart, DOCTOR_FACT, "mount", fix, "as it should be, in one line (in /etc/fstab the same options):");
    free(fix);
}

void doctor_judge_mount(struct doctor_chart *c, const struct mount_place *place, bool write)
{
    struct judging j = {.chart = c, .place = place, .efs = doctor_is_efs(place)};
    doctor_add(c, DOCTOR_FACT, "mount", NULL, "%s on %s%s", place->source, place->point, j.efs ? ", Amazon EFS" : "");
    judge_version(&j);
    judge_size(&j, "rsize", "reads");
    judge_size(&j, "wsize", "writes");
    judge_patience(&j);
    judge_connection(&j);
    judge_caching(&j, write);
    if (j.change) {
        propose(&j);
    }
}
