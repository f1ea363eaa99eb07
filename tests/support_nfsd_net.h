/*
 * support_nfsd_net: the scripted server's thread and sockets.
 */
#ifndef HAUL_TESTS_SUPPORT_NFSD_NET_H
#define HAUL_TESTS_SUPPORT_NFSD_NET_H

#include "support_nfsd_internal.h"

/* Serves until n->stop; arg is the struct nfsd. */
void *srv_thread(void *arg);
/* A listening socket on 127.0.0.1 (port 0: a free one); -1 where it cannot be. */
int srv_listen(uint16_t port, uint16_t *out_port);

#endif
