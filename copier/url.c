#include "copier/url.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "copier/quantity.h"

#define SCHEME   "nfs://"
#define HOST_MAX 255 /* bytes of a host name */
#define HEX      "0123456789ABCDEF"
#define VERSION  "version="   /* what the query says */
#define MOUNT    "mountport=" /* and for version 3 */
#define ALNUM    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define IN_HOST  ALNUM "-._"
#define IN_PATH  ALNUM "-._~!$&'()*+,;=:@/" /* needs no percent sign (RFC 3986, 3.3) */
#define IN_ZONE  ALNUM "-._~"               /* RFC 6874 */

/* A text that is taken apart. */
struct parse {
    struct url url; /* as far as it is known; owned */
    char *problem;  /* in words; owned */
};

/* Remembers what is wrong. Always -EINVAL. */
__attribute__((format(printf, 2, 3))) static int wrong(struct parse *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (vasprintf(&p->problem, format, args) < 0) {
        p->problem = NULL;
    }
    va_end(args);
    return -EINVAL;
}

bool url_is(const char *text)
{
    return strncasecmp(text, SCHEME, strlen(SCHEME)) == 0;
}

/* ---- the path ---- */

static int hex_digit(char c)
{
    const char *at = c != '\0' ? strchr(HEX "abcdef", c) : NULL;
    int n = at != NULL ? (int)(at - (HEX "abcdef")) : -1;
    return n > 15 ? n - 6 : n;
}

/* The byte that "%XX" stands for, or -EINVAL after a problem. */
static int decode_byte(struct parse *p, const char *text)
{
    int high = hex_digit(text[1]);
    int low = high >= 0 ? hex_digit(text[2]) : -1;
    if (low < 0) {
        return wrong(p, "'%%' must be followed by two hexadecimal digits; a percent sign itself is written '%%25'");
    }
    int byte = high * 16 + low;
    if (byte == '\0' || byte == '/') {
        return wrong(p, "'%.3s' is in it, but no name can hold a %s", text, byte == '/' ? "slash" : "NUL");
    }
    return byte;
}

/* One name of the path, up to the next slash, to *out, which is moved behind it. 0; 1: it is empty or "."; -EINVAL. */
static int take_name(struct parse *p, const char *text, size_t len, char **out)
{
    char *at = *out;
    for (size_t i = 0; i < len; i++) {
        int byte = (unsigned char)text[i];
        if (byte == '%') {
            byte = decode_byte(p, text + i);
            i += 2;
        }
        if (byte < 0) {
            return byte;
        }
        *at++ = (char)byte;
    }
    *at = '\0';
    if (strcmp(*out, "..") == 0) {
        return wrong(p, "'..' is in it; write the path that it leads to");
    }
    if (**out == '\0' || strcmp(*out, ".") == 0) {
        return 1;
    }
    *out = at;
    return 0;
}

/* text begins with the slash after the host, or is empty. */
static int take_path(struct parse *p, const char *text)
{
    size_t len = strlen(text);
    char *path = malloc(len + 2);
    p->url.path = path;
    if (path == NULL) {
        return -ENOMEM;
    }
    p->url.slash = len == 0 || text[len - 1] == '/';
    char *at = path;
    *at++ = '/';
    *at = '\0';
    while (*text != '\0') {
        text += strspn(text, "/");
        size_t name = strcspn(text, "/");
        char *end = at;
        int r = take_name(p, text, name, &end);
        if (r < 0) {
            return r;
        }
        if (r == 0) {
            *end++ = '/';
            at = end;
        }
        text += name;
    }
    if (at - path > 1) {
        at--;
    }
    *at = '\0';
    return 0;
}

/* ---- the rest ---- */

static int take_mount_port(struct parse *p, const char *text)
{
    uint64_t port = 0;
    if (strncmp(text, MOUNT, strlen(MOUNT)) != 0) {
        return wrong(p, "'%s' is not known; there is ?version=3&mountport=N", text);
    }
    if (quantity_number(text + strlen(MOUNT), 1, UINT16_MAX, &port) != 0) {
        return wrong(p, "'%s' is not a port from 1 to 65535", text + strlen(MOUNT));
    }
    p->url.mount_port = (uint16_t)port;
    return 0;
}

static int take_query(struct parse *p, const char *query)
{
    if (strncmp(query, VERSION, strlen(VERSION)) != 0) {
        return wrong(p,
                     "'?%s' is not known; there are ?version=4.1 and ?version=3, and a question mark in a name is "
                     "written '%%3F'",
                     query);
    }
    const char *version = query + strlen(VERSION);
    if (strcmp(version, "4.1") == 0) {
        return 0;
    }
    if (version[0] != '3' || (version[1] != '\0' && version[1] != '&')) {
        return wrong(p, "'%s' is no version of NFS that haul speaks; it speaks 4.1 and 3", version);
    }
    p->url.version = URL_NFS3;
    return version[1] == '&' ? take_mount_port(p, version + 2) : 0;
}

static int take_port(struct parse *p, const char *text)
{
    uint64_t port = 0;
    if (quantity_number(text, 1, UINT16_MAX, &port) != 0) {
        return wrong(p, "'%s' is not a port from 1 to 65535", text);
    }
    p->url.port = (uint16_t)port;
    p->url.port_given = true;
    return 0;
}

/* [address] or [address%25zone]; text begins behind the bracket. Where it ends in *out_rest. */
static int take_address(struct parse *p, char *text, char **out_rest)
{
    struct in6_addr address;
    char shown[INET6_ADDRSTRLEN];
    char *end = strchr(text, ']');
    if (end == NULL) {
        return wrong(p, "the bracket before the address is not closed");
    }
    *end = '\0';
    *out_rest = end + 1;
    char *zone = strchr(text, '%');
    if (zone != NULL) {
        *zone++ = '\0';
        zone += strncmp(zone, "25", 2) == 0 && zone[2] != '\0' ? 2 : 0;
    }
    if (inet_pton(AF_INET6, text, &address) != 1 || inet_ntop(AF_INET6, &address, shown, sizeof shown) == NULL) {
        return wrong(p, "'%s' is not an IPv6 address", text);
    }
    if (zone != NULL && (*zone == '\0' || zone[strspn(zone, IN_ZONE)] != '\0')) {
        return wrong(p, "'%s' is not the name of an interface", zone);
    }
    if (asprintf(&p->url.host, "%s%s%s", shown, zone != NULL ? "%" : "", zone != NULL ? zone : "") < 0) {
        p->url.host = NULL;
        return -ENOMEM;
    }
    return 0;
}

static int take_host(struct parse *p, char *text, char **out_rest)
{
    size_t len = strcspn(text, ":");
    *out_rest = text + len;
    if (strchr(text, ':') != strrchr(text, ':')) {
        return wrong(p, "an IPv6 address stands in brackets: nfs://[::1]/export/path");
    }
    if (len == 0) {
        return wrong(p, "it names no server; write nfs://server/export/path");
    }
    p->url.host = strndup(text, len);
    if (p->url.host == NULL) {
        return -ENOMEM;
    }
    if (len > HOST_MAX || p->url.host[strspn(p->url.host, IN_HOST)] != '\0') {
        return wrong(p, "'%s' is not the name of a server", p->url.host);
    }
    for (char *c = p->url.host; *c != '\0'; c++) {
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    }
    return 0;
}

/* What stands before the path; may be written to. */
static int take_server(struct parse *p, char *text)
{
    char *rest = text; /* written by what follows */
    if (strchr(text, '@') != NULL) {
        return wrong(p, "a user cannot be given in it; see --nfs-uid and --nfs-gid");
    }
    int r = text[0] == '[' ? take_address(p, text + 1, &rest) : take_host(p, text, &rest);
    if (r != 0 || *rest == '\0') {
        return r;
    }
    return *rest == ':' ? take_port(p, rest + 1)
                        : wrong(p, "'%s' follows the address; a port is written ':2049'", rest);
}

static int take_all(struct parse *p, char *text)
{
    text += strlen(SCHEME);
    if (strchr(text, '#') != NULL) {
        return wrong(p, "'#' is in it; in a name it is written '%%23'");
    }
    char *query = strchr(text, '?');
    if (query != NULL) {
        *query++ = '\0';
    }
    char *path = strchr(text, '/');
    int r = take_path(p, path != NULL ? path : "");
    if (path != NULL) {
        *path = '\0';
    }
    r = r == 0 ? take_server(p, text) : r;
    return r == 0 && query != NULL ? take_query(p, query) : r;
}

int url_parse(const char *text, struct url *out_url, char **out_problem)
{
    struct parse p = {.url = {.port = URL_PORT}};
    char *copy = strdup(text);
    int r = copy == NULL ? -ENOMEM : !url_is(text) ? wrong(&p, "it is no nfs:// URL") : take_all(&p, copy);
    free(copy);
    if (r != 0) {
        url_release(&p.url);
        if (p.problem == NULL) {
            p.problem = strdup(strerror(-r));
        }
        *out_problem = p.problem;
        return r;
    }
    *out_url = p.url;
    return 0;
}

int url_copy(const struct url *url, const char *path, struct url *out_url)
{
    struct url u = *url;
    u.host = strdup(url->host);
    u.path = strdup(path);
    if (u.host == NULL || u.path == NULL) {
        url_release(&u);
        return -ENOMEM;
    }
    *out_url = u;
    return 0;
}

/* Appends text, with whatever is not in plain as "%XX". */
static char *encode(char *out, const char *text, const char *plain)
{
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (strchr(plain, byte) != NULL) {
            *out++ = *text;
        } else {
            *out++ = '%';
            *out++ = HEX[byte >> 4];
            *out++ = HEX[byte & 15];
        }
    }
    *out = '\0';
    return out;
}

char *url_text(const struct url *url)
{
    bool brackets = strchr(url->host, ':') != NULL;
    char *text = malloc(strlen(SCHEME "[]:65535?" VERSION "3") + 3 * (strlen(url->host) + strlen(url->path)) + 1);
    if (text == NULL) {
        return NULL;
    }
    char *end = stpcpy(text, brackets ? SCHEME "[" : SCHEME);
    end = encode(end, url->host, ALNUM "-._~:");
    end = stpcpy(end, brackets ? "]" : "");
    if (url->port != URL_PORT) {
        end += sprintf(end, ":%u", (unsigned)url->port);
    }
    end = encode(end, url->path, IN_PATH);
    if (url->version == URL_NFS3) {
        memcpy(end, "?" VERSION "3", sizeof("?" VERSION "3"));
    }
    return text;
}

const char *url_name(const struct url *url)
{
    return url->path[1] == '\0' ? NULL : strrchr(url->path, '/') + 1;
}

char *url_parent(const struct url *url)
{
    const char *last = strrchr(url->path, '/');
    return last == url->path ? strdup("/") : strndup(url->path, (size_t)(last - url->path));
}

void url_release(struct url *url)
{
    free(url->host);
    free(url->path);
    *url = (struct url){0};
}
