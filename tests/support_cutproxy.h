/*
 * support_cutproxy: tools/cutproxy for Criterion tests: a TCP proxy that delays, cuts and goes quiet when it is told
 * to.
 */
#ifndef HAUL_TESTS_SUPPORT_CUTPROXY_H
#define HAUL_TESTS_SUPPORT_CUTPROXY_H

#include <stdint.h>

struct cutproxy;

/* Starts one before 127.0.0.1:port; it ends with the thread that started it. Fails the test where it does not start. */
struct cutproxy *cutproxy_start(uint16_t port);
/* Resets all connections and ends it. NULL is taken. */
void cutproxy_destroy(struct cutproxy *c);

/* Where it listens, on 127.0.0.1. */
uint16_t cutproxy_port(const struct cutproxy *c);

/* Gives it a command ("cut up after 3 records of each", see tools/cutproxy.c) that is carried out when this returns.
 * Fails the test where it is refused. */
void cutproxy_tell(struct cutproxy *c, const char *command);

/* One of its figures ("up_records"). */
uint64_t cutproxy_stat(struct cutproxy *c, const char *name);

#endif
