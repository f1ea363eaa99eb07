/*
 * chmod: --chmod with rsync's meaning: comma-separated items, each octal ("D2775", "F644") or symbolic ("u+rwX",
 * "go-w", "g=u"), for directories only (D), for all others only (F), or for both; one after the other. Any thread.
 */
#ifndef HAUL_COPIER_CHMOD_H
#define HAUL_COPIER_CHMOD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* One item. */
struct chmod_item {
    enum { CHMOD_ADD, CHMOD_TAKE, CHMOD_EQUAL, CHMOD_OCTAL } op;
    bool dirs_only;
    bool files_only; /* everything but directories and symbolic links */
    bool keep_x;     /* X: execute bits only of directories and of what had some at first */
    bool masked;     /* no one of ugoa was named: the umask decides */
    mode_t who;      /* 0111 by class: whose bits */
    mode_t perms;    /* 0..7, or all bits of OCTAL */
    mode_t copy;     /* class whose bits are taken instead of perms: 0100, 0010, 0001; 0: none */
    mode_t special;  /* setuid, setgid, sticky that are named */
    mode_t cleared;  /* those that EQUAL takes away before */
};

struct chmod_list {
    struct chmod_item *items; /* owned */
    size_t count;
};

/* Adds the items of text. 0, -EINVAL (nothing was added), -ENOMEM. */
int chmod_parse(const char *text, struct chmod_list *list);
void chmod_release(struct chmod_list *list);

/* What becomes of mode (type and bits). Symbolic links stay as they are. */
mode_t chmod_apply(const struct chmod_list *list, mode_t mode, mode_t mask);

#endif
