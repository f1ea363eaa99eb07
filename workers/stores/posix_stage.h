/*
 * posix_stage: a local temp dir as a store of nameless files, which hold what was read of a source file until the
 * destination has it.
 *
 * A staged file is a struct store_file of the temp dir's posix store (posix_open_root): first written with the
 * functions below, and from posix_stage_end on read with STORE_READ, STORE_EXTENT, STORE_FSTAT and STORE_CLOSE of a
 * port of that store; STORE_COPY of another posix store takes it too. It has no name, so nothing stays of it whatever
 * happens to us: O_TMPFILE where the file system can, else a temp name that is removed again before the first byte is
 * written. Of a crash in between an empty temp name stays; anybody may remove temp names in a temp dir at any time, no
 * file depends on them.
 *
 * stage: a port of that store itself, without layers. All functions wait as io.h says.
 */
#ifndef HAUL_STORES_POSIX_STAGE_H
#define HAUL_STORES_POSIX_STAGE_H

#include "workers/stores/posix.h"

/* An empty staged file, private to us (0600). 0, -ENOSPC, -EMFILE, -ENOMEM, ... To be given back with STORE_CLOSE. */
int posix_stage_make(struct port *stage, struct store_file **out_file);

/* Makes the empty file a reflink of from, an open file of any posix store, whole, as it is at one moment. 0; else
 * -errno: -EOPNOTSUPP, -EXDEV, -EINVAL where the two cannot, and it is as it was. */
int posix_stage_clone(struct port *stage, struct store_file *file, const struct store_file *from);

/* Writes len bytes at offset; what is left out is a hole. 0 or -errno. */
int posix_stage_write(struct port *stage, struct store_file *file, const void *buf, size_t len, uint64_t offset);

/* Copies up to len bytes at offset of from, an open file of any posix store, to the same place. 0 with *out_len (0:
 * from ends there); -EOPNOTSUPP: not that way, read and write; else -errno of either file. */
int posix_stage_copy(struct port *stage, struct store_file *file, const struct store_file *from, size_t len,
                     uint64_t offset, size_t *out_len);

/* All is written, or cloned: the file is size bytes long (ends in a hole where it is not yet). 0; -EIO where it is
 * longer than that already; -errno. Of a file with holes also before the first byte: some file systems (XFS) else fill
 * them. */
int posix_stage_end(struct port *stage, struct store_file *file, uint64_t size);

/* Makes it empty again, for another source file: on ext4 a new file costs many times as much. 0; -errno: close it. */
int posix_stage_reset(struct port *stage, struct store_file *file);

#endif
