/*
 * chown: --chown=USER:GROUP: names or numbers, either part may be missing.
 */
#ifndef HAUL_COPIER_CHOWN_H
#define HAUL_COPIER_CHOWN_H

#include <sys/types.h>

/* What was found wrong. */
enum chown_error {
    CHOWN_OK,
    CHOWN_EMPTY,         /* neither part is there */
    CHOWN_UNKNOWN_USER,  /* no such name, or no number that can be one */
    CHOWN_UNKNOWN_GROUP, /* likewise */
};

/* "USER", "USER:", "USER:GROUP", ":GROUP". Parts that are missing leave *uid or *gid as it is. Asks the system's user
 * database: may block. One thread at a time. */
enum chown_error chown_parse(const char *text, uid_t *uid, gid_t *gid);

/* One part alone. CHOWN_OK, CHOWN_UNKNOWN_USER or CHOWN_UNKNOWN_GROUP. As above. */
enum chown_error chown_user(const char *name, uid_t *out_uid);
enum chown_error chown_group(const char *name, gid_t *out_gid);

/* Whether this process may give files to them: as root any, else its own user and its own groups. NULL, or what it may
 * not, as words for a message. */
const char *chown_forbidden(uid_t uid, gid_t gid);

#endif
