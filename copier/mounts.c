#include "copier/mounts.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* One line: "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE SUPEROPTIONS"; points into it. */
struct line {
    char *point;   /* where it is mounted */
    char *flags;   /* options of the mount point */
    char *type;    /* of its file system */
    char *source;  /* "host:/path" */
    char *options; /* of the file system */
};

char *mounts_unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; to++) {
        if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
    return text;
}

/* Takes text apart, which it changes. False: it is no such line. */
static bool take_line(char *text, struct line *out)
{
    char *save = NULL;
    char *rest = strstr(text, " - ");
    if (rest == NULL) {
        return false;
    }
    *rest = '\0';
    char *field = strtok_r(text, " ", &save);
    for (int i = 0; i < 4 && field != NULL; i++) {
        field = strtok_r(NULL, " ", &save);
    }
    out->point = field;
    out->flags = strtok_r(NULL, " ", &save);
    out->type = strtok_r(rest + 3, " \n", &save);
    out->source = strtok_r(NULL, " \n", &save);
    out->options = strtok_r(NULL, " \n", &save);
    if (out->point == NULL || out->flags == NULL || out->source == NULL || out->options == NULL) {
        return false;
    }
    mounts_unescape(out->point);
    mounts_unescape(out->source);
    return true;
}

enum mounts_relation mounts_relation(const char *first, const char *second)
{
    size_t a = strcmp(first, "/") == 0 ? 0 : strlen(first);
    size_t b = strcmp(second, "/") == 0 ? 0 : strlen(second);
    if (strncmp(first, second, a < b ? a : b) != 0) {
        return MOUNTS_APART;
    }
    if (a == b) {
        return MOUNTS_SAME;
    }
    return a < b ? (second[a] == '/' ? MOUNTS_BELOW : MOUNTS_APART) : first[b] == '/' ? MOUNTS_ABOVE : MOUNTS_APART;
}

const char *mounts_option(const char *options, const char *key, size_t *out_len)
{
    size_t len = strlen(key);
    for (const char *at = options; at != NULL; at = strchr(at, ',')) {
        at += *at == ',' ? 1 : 0;
        if (strncmp(at, key, len) == 0 && (at[len] == '=' || at[len] == ',' || at[len] == '\0')) {
            at += at[len] == '=' ? len + 1 : len;
            if (out_len != NULL) {
                *out_len = strcspn(at, ",");
            }
            return at;
        }
    }
    return NULL;
}

/* "host:/path" or "[address]:/path"; below is what follows the mount's point. 0, -ENOENT, -ENOMEM. */
static int take_source(const struct line *line, const char *below, struct mount_place *out)
{
    bool brackets = line->source[0] == '[';
    const char *host = line->source + brackets;
    const char *end = strstr(host, brackets ? "]:/" : ":/");
    if (end == NULL) {
        return -ENOENT;
    }
    const char *base = end + (brackets ? 2 : 1);
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/') {
        len--;
    }
    out->host = strndup(host, (size_t)(end - host));
    if (asprintf(&out->path, "%.*s%s", (int)len, base, len == 0 && *below == '\0' ? "/" : below) < 0) {
        out->path = NULL;
    }
    return out->host == NULL || out->path == NULL ? -ENOMEM : 0;
}

static int take_place(const struct line *line, const char *path, struct mount_place *out)
{
    struct mount_place p = {.port = URL_PORT};
    /* The source names the directory that is mounted, of a bind mount too: the field ROOT adds nothing to it. */
    int r = take_source(line, path + (strcmp(line->point, "/") == 0 ? 0 : strlen(line->point)), &p);
    if (r != 0) {
        mounts_release(&p);
        return r;
    }
    size_t len = 0;
    const char *port = mounts_option(line->options, "port", NULL);
    const char *address = mounts_option(line->options, "addr", &len);
    unsigned long number = port != NULL ? strtoul(port, NULL, 10) : 0;
    p.port = number > 0 && number <= UINT16_MAX ? (uint16_t)number : URL_PORT;
    p.address = address != NULL ? strndup(address, len) : NULL;
    p.point = strdup(line->point);
    p.source = strdup(line->source);
    p.type = strdup(line->type);
    p.flags = strdup(line->flags);
    p.options = strdup(line->options);
    if (p.point == NULL || p.source == NULL || p.type == NULL || p.flags == NULL || p.options == NULL ||
        (address != NULL && p.address == NULL)) {
        mounts_release(&p);
        return -ENOMEM;
    }
    *out = p;
    return 0;
}

int mounts_place(FILE *mountinfo, const char *path, struct mount_place *out_place)
{
    char *text = NULL;
    size_t size = 0;
    size_t best = 0;
    int r = -ENOENT;
    struct mount_place found = {0};
    while (getline(&text, &size, mountinfo) > 0 && r != -ENOMEM) {
        struct line line;
        if (!take_line(text, &line)) {
            continue;
        }
        enum mounts_relation stands = mounts_relation(line.point, path);
        size_t len = strlen(line.point);
        /* Of several on one place the last one hides the others. */
        if ((stands == MOUNTS_SAME || stands == MOUNTS_BELOW) && len >= best) {
            best = len;
            mounts_release(&found);
            r = strcmp(line.type, "nfs") == 0 || strcmp(line.type, "nfs4") == 0 ? take_place(&line, path, &found)
                                                                                : -ENOENT;
        }
    }
    free(text);
    if (r != 0) {
        mounts_release(&found);
        return r;
    }
    *out_place = found;
    return 0;
}

int mounts_find(const char *path, struct mount_place *out_place)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (f == NULL) {
        return -errno;
    }
    int r = mounts_place(f, path, out_place);
    (void)fclose(f);
    return r;
}

static bool has_address(const char *host, const char *address)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    bool found = false;
    if (getaddrinfo(host, NULL, &hints, &list) != 0) {
        return false;
    }
    for (const struct addrinfo *a = list; a != NULL && !found; a = a->ai_next) {
        char text[NI_MAXHOST];
        found = getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0 &&
                strcasecmp(text, address) == 0;
    }
    freeaddrinfo(list);
    return found;
}

bool mounts_same_server(const struct mount_place *place, const struct url *url)
{
    return place->port == url->port && (strcasecmp(place->host, url->host) == 0 ||
                                        (place->address != NULL && has_address(url->host, place->address)));
}

bool mounts_one_server(const struct url *a, const struct url *b)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    bool same = a->port == b->port && strcasecmp(a->host, b->host) == 0;
    if (same || a->port != b->port || getaddrinfo(a->host, NULL, &hints, &list) != 0) {
        return same;
    }
    for (const struct addrinfo *i = list; i != NULL && !same; i = i->ai_next) {
        char text[NI_MAXHOST];
        same = getnameinfo(i->ai_addr, i->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0 &&
               has_address(b->host, text);
    }
    freeaddrinfo(list);
    return same;
}

void mounts_release(struct mount_place *place)
{
    free(place->host);
    free(place->address);
    free(place->path);
    free(place->point);
    free(place->source);
    free(place->type);
    free(place->flags);
    free(place->options);
    *place = (struct mount_place){0};
}
