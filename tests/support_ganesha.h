/*
 * support_ganesha: a private NFS server for tests, NFS-Ganesha in user space, on a loopback port of its own.
 *
 * Several may run at a time, of one test or of many: each has its own port, folder, log and recovery state, and nothing
 * of it is seen outside of its process. Needs root (the server opens files by handle) and a file system below the
 * exports that has handles: ext4, xfs, btrfs and tmpfs do, overlayfs mostly does not. The server ends with the thread
 * that started it, whatever becomes of the test. A server that does not come up fails the test, with the end of its
 * log.
 */
#ifndef HAUL_TESTS_SUPPORT_GANESHA_H
#define HAUL_TESTS_SUPPORT_GANESHA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ganesha;

struct ganesha_export {
    const char *path;   /* the folder on this machine, absolute; a URL of NFSv3 has this one */
    const char *pseudo; /* where a client of 4.1 finds it, "/export"; NULL: at path */
    const char
        *options;     /* further lines of its EXPORT block, each ending with ';'; NULL: none. They come last and win */
    bool squash_root; /* root is nobody there */
};

struct ganesha_options {
    const struct ganesha_export *exports;
    size_t export_count;    /* at least 1 */
    const char *nfsv4;      /* further lines of the NFSv4 block ("Minor_Versions = 0;"); NULL: none */
    const char *core;       /* further lines of the NFS_CORE_PARAM block; NULL: none */
    unsigned lease_seconds; /* of NFSv4; 0: 60 */
    unsigned grace_seconds; /* after each start clients may only reclaim for so long; 0: no grace at all */
    bool v3;                /* NFSv3 and MOUNT too; rpcbind must run, and the last server that was started is the one
                               it knows: clients are better told both ports */
};

/* What becomes of what the server knew of its clients, over a restart. */
enum ganesha_memory {
    GANESHA_REMEMBERS, /* it knows who its clients were; their sessions and open files are gone as with any server */
    GANESHA_FORGETS    /* it never heard of anybody */
};

/* Starts it and waits until it answers. */
struct ganesha *ganesha_start(const struct ganesha_options *options);

/* Ends it (SIGTERM, then SIGKILL after a while) and removes its folder. NULL is taken. */
void ganesha_destroy(struct ganesha *g);

/* Kills it with SIGKILL: connections are reset. */
void ganesha_kill(struct ganesha *g);

/* Starts it again on the same port, after ganesha_kill (or instead of it, where it still runs), and waits until it
 * answers. */
void ganesha_restart(struct ganesha *g, enum ganesha_memory memory);

/* Stops it with SIGSTOP (returns when all of it has stopped) and lets it go on: it answers nothing, connections stand.
 */
void ganesha_freeze(struct ganesha *g);
void ganesha_thaw(struct ganesha *g);

/* Where it listens, on 127.0.0.1. ganesha_mount_port: 0 without v3. */
uint16_t ganesha_port(const struct ganesha *g);
uint16_t ganesha_mount_port(const struct ganesha *g);

/* Its process, 0 while it does not run. */
pid_t ganesha_pid(const struct ganesha *g);

/* Descriptors that it holds open on files below path: those that clients opened, and some that it keeps in its cache.
 */
unsigned ganesha_holds(const struct ganesha *g, const char *path);

/* Clients that it knows: those that have not said goodbye (DESTROY_CLIENTID, which it refuses while one has a file
 * open). */
unsigned ganesha_clients(const struct ganesha *g);

/* A free TCP port of 127.0.0.1, outside of those that the kernel hands out by itself. */
uint16_t ganesha_free_port(void);

#endif
