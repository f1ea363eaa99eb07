/*
 * layer: what the layers share: a port without anything of its own, and a sink for changes.
 */
#ifndef HAUL_STORES_LAYER_H
#define HAUL_STORES_LAYER_H

#include "workers/store.h"

/* A bare struct port, as port_create and port_destroy of store_ops. */
int layer_port_create(struct store *s, struct io *io, struct port **out);
void layer_port_destroy(struct port *p);

/*
 * Takes a change and makes none: 0, with what would stand there in the results; uploads are handed out that hold
 * nothing. COPY is -EOPNOTSUPP: the caller then reads, as it would have to. Looking and reading are -ENOSYS.
 */
int layer_sink(struct store_op *op);

#endif
