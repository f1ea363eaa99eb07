/*
 * posix: a directory or mount as a store, through io.
 */
#ifndef HAUL_STORES_POSIX_H
#define HAUL_STORES_POSIX_H

#include "workers/store.h"

/*
 * Opens the directory options->path (the operator's own path: symbolic links in it are followed) as a store. It must
 * exist. 0; -ENOENT, -ENOTDIR, -EACCES, -ENOMEM, ... Any thread; blocks.
 */
int posix_open(const struct store_options *options, struct store **out_store);

/* The same on a directory that is open already; options->path is not looked at. Takes over root_fd, after a failure too
 * (it is closed then). */
int posix_open_root(const struct store_options *options, int root_fd, struct store **out_store);

/* The descriptor of the store's root directory (for checks of identity, statfs); valid while the store is. */
int posix_root_fd(const struct store *s);

/* The descriptor behind an open source file, for STORE_COPY between two posix stores; -1 where there is none. */
int posix_file_fd(const struct store_file *file);

#endif
