/*
 * verify_internal: what the files of haul verify share.
 *
 *   verify.c           from begin to end; directories: both sides listed, put together, handed out
 *   verify_names.c     the entries of one directory
 *   verify_attrs.c     what differs in attributes, in words
 *   verify_entry.c     one entry: what is wrong with it, looked at twice
 *   verify_more.c      which names are one file, extended attributes, ACLs
 *   verify_contents.c  contents: hashed, by parts where they are large; the first byte that differs
 *
 * A directory is listed at the source, what the state remembers of its entries is read at once, then it is listed at
 * the destination; only then entries are looked at, in tasks of the tour. So memory grows with the largest directories
 * that are under way (a quarter of a KiB for each entry), not with the tree.
 */
#ifndef HAUL_COPIER_VERIFY_INTERNAL_H
#define HAUL_COPIER_VERIFY_INTERNAL_H

#include "copier/filehash.h"
#include "copier/look.h"
#include "copier/state_verify.h"

#define EVIDENCE_MAX 512                   /* bytes */
#define VERIFY_LARGE (64ULL * 1024 * 1024) /* bytes of a file that is remembered by itself */

struct links;

/* What of a struct attr counts here. */
struct facts {
    uint64_t size;    /* bytes */
    uint64_t ino;     /* inode or fileid */
    uint64_t dev;     /* file system */
    uint64_t rdev;    /* device nodes: what it stands for */
    int64_t mtime_ns; /* as clock_ns_of */
    int64_t ctime_ns; /* the same */
    uint32_t mode;    /* type and permission bits; 0: unknown, not to be looked at */
    uint32_t uid;     /* numeric */
    uint32_t gid;     /* numeric */
    uint32_t nlink;   /* names */
};

/* One entry of a directory. Once the directory has been listed one task has it at a time. */
struct verify_entry {
    struct facts src;        /* as it was listed */
    struct facts dst;        /* valid if there */
    int64_t want_mtime_ns;   /* that the destination is to have */
    uint32_t want_mode;      /* the same */
    uint32_t want_uid;       /* the same */
    uint32_t want_gid;       /* the same */
    uint32_t name_len;       /* bytes */
    size_t name_at;          /* in verify_dir.names */
    uint8_t hash[HASH_SIZE]; /* of the source's contents, if hash_known */
    uint8_t keep;            /* STORE_KEEP_*: what of want counts */
    bool there;              /* the destination has it */
    bool hash_known;         /* the state has the hash, of this very source file */
    bool hash_wanted;        /* the state has this very source file, and no hash */
    bool moved_on;           /* the source is not what was published any more */
    bool contents;           /* to be compared */
    bool more_told;          /* what verify_more has found was reported */
};

/* A directory under way. */
struct verify_dir {
    struct look *look;               /* not owned */
    struct verify *verify;           /* not owned */
    struct dir *dir;                 /* one reference */
    struct verify_entry *entries;    /* sorted by name; owned */
    size_t count;                    /* of them */
    size_t room;                     /* of entries */
    char *names;                     /* each NUL-terminated; owned */
    size_t names_len;                /* bytes */
    size_t names_room;               /* bytes */
    atomic_uint refs;                /* the visit's, and one of each task */
    atomic_bool tainted;             /* not all of its contents were found right: it is not remembered */
    bool listed;                     /* its digest is valid, and says something */
    uint8_t digest[VERIFIED_DIGEST]; /* of all that was to be compared */
};

/* Figures; relaxed. */
struct verify_counts {
    atomic_ulong compared;     /* files whose contents were read and are right */
    atomic_ulong remembered;   /* files that this verification had found right before */
    atomic_ulong unsampled;    /* files left out by --sample */
    atomic_ulong source_files; /* of those read, the ones that were read at the source too */
    atomic_ulong source_bytes; /* of them */
    atomic_ulong changed;      /* entries that kept changing, or vanished, meanwhile */
    atomic_ulong left_out;     /* names left out: excluded, temp names, device nodes */
    atomic_ulong temps;        /* temp names of haul met at the destination */
};

struct verify {
    struct look *look;              /* not owned */
    struct state_verify *memory;    /* owned; NULL once it has ended */
    struct verify_counts counts;    /* thread-safe */
    struct links *links[DIR_SIDES]; /* which file of the other side each of this one with several names is taken for;
                                       owned; thread-safe */
    unsigned kinds;                 /* XATTRS_* that are compared */
    dev_t root_dev;                 /* of the source's root */
    uint64_t seed;                  /* of the sample */
    unsigned keep;                  /* STORE_KEEP_* of what the state does not know */
    bool fresh;                     /* the destination is read past this machine's cache */
    bool devices;                   /* device nodes are copied */
    size_t chunk;                   /* bytes of one read of a large file */
    uint64_t small_max;             /* bytes of the largest file that is read whole */
};

/* Adds everything that the contents of an entry, found right, depend on. */
void verify_digest(const struct verify_dir *d, const struct verify_entry *e, struct hasher *h);

/* Adds to a figure. */
void verify_add(atomic_ulong *counter, unsigned long n);

/* ---- verify_names.c ---- */

/* Without entries; one reference. 0 or -ENOMEM. */
int verify_dir_create(struct look *l, struct dir *dir, struct verify_dir **out_dir);
/* Drops a reference; the last one has the directory remembered where all of it was right. */
void verify_dir_put(struct verify_dir *d);
/* Lists the source and asks the state. 0, or -errno with op. */
int verify_names_read(struct verify_dir *d, struct worker *w, struct store_op *op);
/* The entry of that name; NULL: the source has none. */
struct verify_entry *verify_names_find(struct verify_dir *d, const char *name);
const char *verify_name(const struct verify_dir *d, const struct verify_entry *e);
/* Whether the name is no business of a verification: filtered, reserved, a temp name. */
bool verify_leaves_out(struct verify_dir *d, const char *name, bool is_dir, bool on_source);
/* What is to be at the destination for that source entry, of which the state knows nothing. */
void verify_want_source(const struct verify *v, struct verify_entry *e);

/* ---- verify_attrs.c ---- */

struct facts facts_of(const struct attr *attr);
struct attr facts_attr(const struct facts *f);
/* Nothing of it has changed that tells that its contents may have. */
bool facts_unchanged(const struct facts *a, const struct facts *b);
/* Whether the entry that is there is not as it is to be; then how, in words. Without contents, and targets of symbolic
 * links. */
bool verify_attrs_differ(const struct verify *v, const struct verify_entry *e, enum finding_kind *out_kind,
                         char out_evidence[EVIDENCE_MAX]);

/* ---- verify_entry.c ---- */

/* How looking at contents ended. */
enum outcome {
    OUTCOME_SAME,    /* they are right */
    OUTCOME_OTHER,   /* they are not */
    OUTCOME_MOVED,   /* it is not what was listed any more: to be looked at again */
    OUTCOME_FAILED,  /* it was reported */
    OUTCOME_CUT,     /* the run is being stopped */
    OUTCOME_PENDING, /* verify_settle will be called */
};

/* Whether looking at it needs more than what was listed. */
bool verify_needs_look(const struct verify_dir *d, const struct verify_entry *e);
/* Looks at it, and reports. In a fiber; d's reference is the caller's. */
void verify_examine(struct verify_dir *d, struct verify_entry *e, struct worker *w);
/* Contents are compared; in whichever fiber came last. part: from which on they may differ. tries: as it was given. */
void verify_settle(struct verify_dir *d, struct verify_entry *e, struct worker *w, enum outcome outcome, uint64_t part,
                   unsigned tries);
/* A finding. */
void verify_found(struct verify_dir *d, const struct verify_entry *e, enum finding_kind kind, enum finding_sure sure,
                  const char *evidence);
/* An operation failed. */
void verify_failed(struct verify_dir *d, const struct verify_entry *e, const struct store_op *op, int err,
                   bool on_source);

/* ---- verify_more.c ---- */

/* Whether there is something to be looked at that no listing tells. */
bool verify_needs_more(const struct verify *v, const struct verify_entry *e);
/* Compares it, of an entry that is there with the right type. OUTCOME_OTHER: how it differs, in EVIDENCE_MAX bytes of
 * evidence; SAME, MOVED, FAILED. In a fiber. */
enum outcome verify_more(struct verify_dir *d, struct verify_entry *e, struct worker *w, char *evidence);
/* Whether extended attributes and ACLs differ; name NULL: of dir itself. 1: they do, the first one is told in room
 * bytes of evidence; 0: not, or they are not asked for; -errno with op and *on_source. In a fiber. */
int verify_xattrs_differ(struct verify *v, struct dir *dir, const char *name, struct worker *w, char *evidence,
                         size_t room, struct store_op *op, bool *on_source);

/* ---- verify_contents.c ---- */

/* Compares contents by their hashes. out_part: of OUTCOME_OTHER: where to look. */
enum outcome verify_contents(struct verify_dir *d, struct verify_entry *e, struct worker *w, unsigned tries,
                             uint64_t *out_part);

struct difference {
    uint64_t at;        /* offset of the first byte that differs */
    unsigned char ours; /* at the source */
    unsigned char theirs;
};
/* Reads both byte by byte from that part on. OUTCOME_OTHER: *out says where; SAME, MOVED, FAILED, CUT. */
enum outcome verify_bytes(struct verify_dir *d, struct verify_entry *e, struct worker *w, uint64_t part,
                          struct difference *out);

#endif
