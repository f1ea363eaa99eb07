/*
 * support_portmap: a portmapper (rpcbind) of a test's own, in a network of its own, so that NFSv3 servers of many tests
 * do not meet at the one of the machine.
 */
#ifndef HAUL_TESTS_SUPPORT_PORTMAP_H
#define HAUL_TESTS_SUPPORT_PORTMAP_H

/* From now on the calling process, and what it starts, sees a network with nothing but a loopback interface, and a /run
 * of its own; a portmapper answers there. Needs root; only a process with one thread so far. Aborts where that cannot
 * be, with a message. The portmapper ends with the thread that called. */
void portmap_private(void);

/* Ends that portmapper. */
void portmap_stop(void);

#endif
