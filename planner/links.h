/*
 * links: the hard-link groups of the source, in a private temporary SQLite database (nothing else sees its file, and it
 * goes with the process). A group is known by device and inode; its first name is the leader, the others wait for it.
 * Also kept: which file of the source each file of the destination with several names is taken for.
 *
 * The database is made at the first call that needs it. Any thread may call any function; each takes the table's lock
 * for the length of a few statements (links_round: of a sort). An error of the database itself is kept: everything
 * after it fails with it too, since names may be missing then.
 */
#ifndef HAUL_PLANNER_LINKS_H
#define HAUL_PLANNER_LINKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/dir.h"
#include "workers/store.h"

struct links;

#define LINKS_REDO_MAX 3 /* times that a group is done anew */

/* How the leader of a group fared. */
enum link_state {
    LINK_PENDING,  /* not known yet */
    LINK_ARRIVED,  /* stands at the destination: further names can be links to it */
    LINK_FAILED,   /* does not: the next name is to be the leader */
    LINK_SEPARATE, /* stands there, but the destination makes no links: the other names become copies */
};

/* What is to be done for a further name. */
enum link_task {
    LINK_TO_LEADER, /* make it a link */
    LINK_LEAD,      /* it is the leader now: publish it; the rest of its group waits again */
    LINK_COPY,      /* publish it as a file of its own */
};

/* A further name. Strings are owned by the row: links_row_release. */
struct link_row {
    enum link_task task;
    dev_t dev;         /* of the group, at the source */
    uint64_t ino;      /* likewise */
    char *dir;         /* path of its directory ("." for the root) */
    char *name;        /* its name */
    bool fresh;        /* its directory was new: nothing stood under its name */
    char *leader_dir;  /* LINK_TO_LEADER: where the leader is */
    char *leader_name; /* and its name */
    bool anew;         /* LINK_TO_LEADER: links_anew was said of the group */
};

int links_create(struct links **out_links); /* 0, -ENOMEM */
void links_destroy(struct links *l);        /* NULL is fine */

/* Meets a name of a file. Its group's first: *out_leader is true; else it is remembered as a further name. 0 or -errno.
 */
int links_meet(struct links *l, dev_t dev, uint64_t ino, const struct dir *dir, const char *name, bool fresh,
               bool *out_leader);

/* Tells how the leader of a group fared. 0 or -errno. */
int links_settle(struct links *l, dev_t dev, uint64_t ino, enum link_state state);

/* Puts back a further name that could not be linked, and sets its group's state; *out_changed: it had another one until
 * now. 0 or -errno. */
int links_again(struct links *l, dev_t dev, uint64_t ino, const struct dir *dir, const char *name,
                enum link_state state, bool *out_changed);

/* The state of a group. 0, -ENOENT, -errno. */
int links_state(struct links *l, dev_t dev, uint64_t ino, enum link_state *out_state);

/* Remembers that the leader's file is not the one that its name has at the destination now (a dry run would publish it
 * anew): link_row.anew of its further names. 0 or -errno. */
int links_anew(struct links *l, dev_t dev, uint64_t ino);

/*
 * Puts back all names of a group, its leader and those that were handed out to be linked among them: the next round
 * publishes one of them anew and links the others to it. Nothing where that is about to happen already. 0; -EIO where
 * it was done LINKS_REDO_MAX times, or where there is no such group; -errno.
 */
int links_redo(struct links *l, dev_t dev, uint64_t ino);

/* Claims the file there of the destination for the file attr of the source, unless another file of the source has
 * claimed it: *out_ours is false then. 0 or -errno. */
int links_claim(struct links *l, const struct attr *there, const struct attr *attr, bool *out_ours);

/* Whether further names wait, or the table is broken (links_round tells). */
bool links_waiting(const struct links *l);

/*
 * Draws up what can be done now, sorted by directory: all waiting names of groups whose leader is settled, one of each
 * group whose leader failed. No leader may be under way: one that was never settled counts as failed. *out_rows is
 * their number. 0 or -errno.
 */
int links_round(struct links *l, uint64_t *out_rows);

/* Takes the next row of the round. 0, -ENOENT at its end, -errno. */
int links_next(struct links *l, struct link_row *out_row);
void links_row_release(struct link_row *row);

/* Remembers a directory whose attributes are to be set once more at the end. 0 or -errno. */
int links_late(struct links *l, const struct dir *dir);

/* Takes one of them out: its path, which the caller frees. 0, -ENOENT, -errno. */
int links_late_next(struct links *l, char **out_path);

#endif
