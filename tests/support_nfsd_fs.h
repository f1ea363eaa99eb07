/*
 * support_nfsd_fs: the scripted server's file system in memory. No locks: whoever calls holds the server's.
 */
#ifndef HAUL_TESTS_SUPPORT_NFSD_FS_H
#define HAUL_TESTS_SUPPORT_NFSD_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "support_nfsd_proto.h"
#include "support_nfsd_xdr.h"

#define NF_FH_LEN 20 /* bytes of a file handle */

struct nf_inode;

struct nf_entry {
    char *name;             /* owned; may hold any byte but NUL and '/' */
    struct nf_inode *inode; /* not owned */
    uint64_t cookie;        /* of READDIR; rises along the directory */
};

struct nf_inode {
    uint64_t ino;            /* never given twice */
    enum nfsd_type type;     /* of file */
    uint32_t mode;           /* permission bits */
    uint32_t uid;            /* owner */
    uint32_t gid;            /* group */
    uint32_t nlink;          /* names */
    uint32_t rdev[2];        /* devices: major, minor */
    uint64_t size;           /* bytes */
    uint8_t *data;           /* size bytes at least, zero behind; owned */
    size_t room;             /* bytes of data */
    uint64_t stable;         /* bytes at the front that a crash leaves; UINT64_MAX: all */
    char *target;            /* symbolic links; owned */
    struct timespec atime;   /* last access */
    struct timespec mtime;   /* last change of contents */
    struct timespec ctime;   /* last change */
    uint64_t change;         /* rises with each change */
    struct nf_entry *entry;  /* directories; owned */
    size_t entries;          /* of entry */
    size_t entry_room;       /* allocated */
    uint64_t next_cookie;    /* of the next entry */
    struct nf_inode *parent; /* directories: where it is; itself for the root */
    unsigned opens;          /* open states; an inode without names lives on while there are any */
    unsigned published;      /* renames of it */
};

struct nf_rename {
    char *name;     /* new name; owned */
    unsigned count; /* times */
};

struct nf {
    struct nf_inode **inode;   /* by number; NULL where it is gone; owned */
    size_t inodes;             /* of inode; number 0 is nobody's, 1 is the root's */
    size_t inode_room;         /* allocated */
    uint64_t used;             /* bytes of all files */
    uint64_t space;            /* and at most */
    bool seconds_only;         /* times in whole seconds */
    uint64_t cookie_verf;      /* of READDIR */
    struct nf_rename *renamed; /* owned */
    size_t renames;            /* of renamed */
};

void nf_init(struct nf *f, uint64_t space);
void nf_release(struct nf *f);

struct nf_inode *nf_root(struct nf *f);
void nf_handle(const struct nf_inode *i, uint8_t out[NF_FH_LEN]);
/* The inode of a handle: 0, D4ERR_STALE or D4ERR_BADHANDLE. */
uint32_t nf_find(struct nf *f, struct nx_str handle, struct nf_inode **out);

/* The entry of that name, or NULL. */
struct nf_entry *nf_look(struct nf_inode *dir, struct nx_str name);
/* 0, or why a server refuses the name: INVAL (empty), NAMETOOLONG, BADNAME ('.', '..'), BADCHAR ('/', NUL). */
uint32_t nf_name_check(struct nx_str name);

/* All of these return D4ERR_*. Names have been checked. */
uint32_t nf_make(struct nf *f, struct nf_inode *dir, struct nx_str name, enum nfsd_type type, struct nf_inode **out);
uint32_t nf_link(struct nf *f, struct nf_inode *from, struct nf_inode *dir, struct nx_str name);
uint32_t nf_remove(struct nf *f, struct nf_inode *dir, struct nx_str name);
uint32_t nf_rename(struct nf *f, struct nf_inode *from, struct nx_str old, struct nf_inode *to, struct nx_str name);
uint32_t nf_write(struct nf *f, struct nf_inode *i, uint64_t offset, const void *bytes, uint32_t len);
uint32_t nf_resize(struct nf *f, struct nf_inode *i, uint64_t size);
/* Frees an inode that has neither names nor opens. */
void nf_drop(struct nf *f, struct nf_inode *i);
/* Contents or attributes have changed now. */
void nf_touch(struct nf *f, struct nf_inode *i, bool contents);

/* From an absolute path; NULL where there is nothing. */
struct nf_inode *nf_walk(struct nf *f, const char *path);
/* Its directory, and its last name; NULL where there is none. */
struct nf_inode *nf_walk_parent(struct nf *f, const char *path, struct nx_str *out_name);

#endif
