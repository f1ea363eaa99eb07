/*
 * mountcalls: how many calls this machine has made for an NFS mount, by what the kernel counts.
 */
#ifndef HAUL_COPIER_MOUNTCALLS_H
#define HAUL_COPIER_MOUNTCALLS_H

#include <stdint.h>
#include <stdio.h>

/* Of the mount at point, by the lines of /proc/self/mountstats: all operations since it was mounted, by whoever used
 * it, but for those that keep a session alive. Where several are mounted over each other, of the last. 0; -ENOENT:
 * there is no such NFS mount; -EIO. */
int mountcalls_read(FILE *mountstats, const char *point, uint64_t *out_calls);

/* The same on this machine now; -errno where it cannot be told. Asks no server. Any thread. */
int mountcalls_now(const char *point, uint64_t *out_calls);

#endif
