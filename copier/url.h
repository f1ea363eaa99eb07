/*
 * url: nfs://host[:port]/export/path[?version=4.1], or ?version=3[&mountport=N], as people write it.
 *
 * What is percent-encoded is decoded ("%20", "%3F", "%23", "%25"), each name by itself: no name can come to hold a
 * slash or a NUL. One place has one text (url_text), whatever it was written like.
 */
#ifndef HAUL_COPIER_URL_H
#define HAUL_COPIER_URL_H

#include <stdbool.h>
#include <stdint.h>

#define URL_PORT 2049 /* of NFS, where none is said */

enum url_version {
    URL_NFS41, /* where none is said */
    URL_NFS3
};

struct url {
    char *host;               /* name or address, without brackets, in lower case; owned */
    uint16_t port;            /* of NFS; never 0 */
    bool port_given;          /* it was written: NFSv3 need not ask the portmapper for it */
    char *path;               /* absolute, as the server shows it: no empty name, no ".", no slash at its end but of
                                 "/"; owned */
    bool slash;               /* it was written with a slash at its end: a directory is meant */
    enum url_version version; /* of NFS */
    uint16_t mount_port;      /* of mountd (NFSv3); 0: the portmapper is asked */
};

/* Whether text is meant as such a URL, well formed or not. */
bool url_is(const char *text);

/* 0; -EINVAL or -ENOMEM: *out_problem then says what is wrong, in words (malloc'd, the caller's; NULL: no memory). */
int url_parse(const char *text, struct url *out_url, char **out_problem);

/* Of the same server, with that path. 0 or -ENOMEM. */
int url_copy(const struct url *url, const char *path, struct url *out_url);

/* nfs://host[:port]/path[?version=3]: the same for the same place; the port only where it is not URL_PORT. malloc'd;
 * NULL: no memory. */
char *url_text(const struct url *url);

/* The path's last name, pointing into it; NULL: it is "/". */
const char *url_name(const struct url *url);

/* The path without its last name, malloc'd; NULL: no memory. Of "/" it is "/". */
char *url_parent(const struct url *url);

void url_release(struct url *url); /* one that is zeroed is fine */

#endif
