#include "copier/mounturl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What a mount must not be for its server to be spoken to by haul itself. The first row that fits decides. */
static const struct {
    const char *key;   /* option */
    const char *value; /* that it begins with; "": any */
    const char *why;
} obstacles[] = {
    {"vers", "2", "it is mounted with NFSv2, and haul speaks NFSv4.1 and NFSv3 to servers"},
    {"sec", "krb5", "it is mounted with Kerberos, which haul does not speak"},
    {"sec", "null", "it is mounted without any user (sec=none), and haul says to a server who it is"},
    {"sec", "none", "it is mounted without any user (sec=none), and haul says to a server who it is"},
    {"sec", "lkey", "it is mounted with LIPKEY, which haul does not speak"},
    {"sec", "spkm", "it is mounted with SPKM, which haul does not speak"},
    {"xprtsec", "tls", "it is mounted with TLS within the kernel, which haul does not speak"},
    {"xprtsec", "mtls", "it is mounted with TLS within the kernel, which haul does not speak"},
    {"proto", "rdma", "it is mounted over RDMA, and haul speaks TCP"},
    {"proto", "udp", "it is mounted over UDP, and haul speaks TCP"},
};

static const char mountd_elsewhere[] = "it is mounted with NFSv3, by a mountd at another address than the server's";
static const char no_mount[] = "it is not on an NFS mount";
static const char not_plain[] = "the server's path has '..' in it";

static bool option_begins(const char *options, const char *key, const char *with)
{
    const char *value = mounts_option(options, key, NULL);
    return value != NULL && strncmp(value, with, strlen(with)) == 0;
}

/* NFSv3's mountd is asked for the first handle, at the address that the server has. */
static bool is_mountd_elsewhere(const char *options)
{
    size_t len = 0;
    size_t mountd_len = 0;
    const char *address = mounts_option(options, "addr", &len);
    const char *mountd = mounts_option(options, "mountaddr", &mountd_len);
    return address != NULL && mountd != NULL && (len != mountd_len || memcmp(address, mountd, len) != 0);
}

/* NULL: nothing stands in the way. */
static const char *find_obstacle(const char *options)
{
    for (size_t i = 0; i < sizeof obstacles / sizeof obstacles[0]; i++) {
        size_t len = 0;
        const char *value = mounts_option(options, obstacles[i].key, &len);
        if (value != NULL && strncmp(value, obstacles[i].value, strlen(obstacles[i].value)) == 0) {
            return obstacles[i].why;
        }
    }
    return option_begins(options, "vers", "3") && is_mountd_elsewhere(options) ? mountd_elsewhere : NULL;
}

/* path as a URL has it: no empty name, no ".". malloc'd; NULL with *err 0: it has ".."; -ENOMEM. */
static char *plain_path(const char *path, int *err)
{
    char *plain = malloc(strlen(path) + 2);
    char *at = plain;
    *err = plain == NULL ? -ENOMEM : 0;
    while (plain != NULL && *path != '\0') {
        path += strspn(path, "/");
        size_t len = strcspn(path, "/");
        if (len == 2 && memcmp(path, "..", 2) == 0) {
            free(plain);
            return NULL;
        }
        if (len > 0 && !(len == 1 && *path == '.')) {
            *at++ = '/';
            at = mempcpy(at, path, len);
        }
        path += len;
    }
    if (plain != NULL && at == plain) {
        *at++ = '/';
    }
    if (plain != NULL) {
        *at = '\0';
    }
    return plain;
}

/* The value of a port's option; 0: the kernel does not say, or nothing that could be one. */
static uint16_t port_option(const char *options, const char *key)
{
    const char *value = mounts_option(options, key, NULL);
    unsigned long number = value != NULL ? strtoul(value, NULL, 10) : 0;
    return number <= UINT16_MAX ? (uint16_t)number : 0;
}

/* Of NFSv3 the ports that the mount was given, or has found; the portmapper is asked for the others. mountd's is
 * another one where it was spoken to over UDP. */
static void take_version(const char *options, struct url *url)
{
    if (!option_begins(options, "vers", "3")) {
        return;
    }
    url->version = URL_NFS3;
    url->port_given = port_option(options, "port") != 0;
    url->mount_port = option_begins(options, "mountproto", "tcp") ? port_option(options, "mountport") : 0;
}

int mounturl_of(const struct mount_place *place, struct mounturl *out_mounturl)
{
    int r = 0;
    struct mounturl m = {.why = find_obstacle(place->options),
                         .read_only = mounts_option(place->flags, "ro", NULL) != NULL ||
                                      mounts_option(place->options, "ro", NULL) != NULL,
                         .reserved_port = mounts_option(place->options, "noresvport", NULL) == NULL};
    if (m.why == NULL) {
        m.url = (struct url){.port = place->port, .host = strdup(place->host), .path = plain_path(place->path, &r)};
        r = m.url.host == NULL ? -ENOMEM : r;
        m.why = m.url.path == NULL ? not_plain : NULL;
        take_version(place->options, &m.url);
    }
    if (r != 0 || m.why != NULL) {
        url_release(&m.url);
    }
    for (char *c = m.url.host; c != NULL && *c != '\0'; c++) {
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    }
    if (r == 0) {
        *out_mounturl = m;
    }
    return r;
}

int mounturl_find(const char *path, struct mounturl *out_mounturl)
{
    struct mount_place place = {0};
    int r = mounts_find(path, &place);
    if (r == -ENOENT) {
        *out_mounturl = (struct mounturl){.why = no_mount, .none = true};
        return 0;
    }
    r = r == 0 ? mounturl_of(&place, out_mounturl) : r;
    mounts_release(&place);
    return r;
}

void mounturl_release(struct mounturl *m)
{
    url_release(&m->url);
    *m = (struct mounturl){0};
}
