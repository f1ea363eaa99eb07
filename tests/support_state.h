/*
 * support_state: a database in a folder of its own, for the tests of the state. Each test runs in a process of its own:
 * so folder and file are this test's. What cannot be done fails the test.
 */
#ifndef HAUL_TESTS_SUPPORT_STATE_H
#define HAUL_TESTS_SUPPORT_STATE_H

#include <stdint.h>
#include <sys/stat.h>

#include "copier/state_internal.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

extern const struct state_pair pair; /* the pair of all test databases */
extern char folder[256];             /* of the running test */
extern char file[300];               /* the database in it */

/* For TestSuite. */
void state_set_up(void);
void state_tear_down(void);

/* The state as in that boot (NULL: the kernel's); open_state: in "boot 1". */
struct state *open_boot(const char *boot);
struct state *open_state(void);

/* Begins a run; its id may be new_id(), a new one in a buffer that the next call uses again. */
struct state_run begin(struct state *s, const char *id, bool durable);
const char *new_id(void);

/* Attributes and a record that are those of number n alone. */
struct attr attr_of(uint64_t n);
struct state_file file_of(uint64_t dir, const char *name, uint64_t n);
void record(struct state *s, uint64_t dir, const char *name, uint64_t n);

/* What a new reader knows of an entry with those attributes, or with those of number n. */
enum known known_of(struct state *s, uint64_t dir, const char *name, const struct attr *src);
enum known known_number(struct state *s, uint64_t dir, const char *name, uint64_t n);

/* The number that sql yields, through a connection of the test's own; -1 where there is no row. */
int64_t ask(const char *sql);

/* Number of files that match folder/pattern. */
size_t matching(const char *pattern);

/* Writes bytes into path, which is created. */
void write_at(const char *path, off_t offset, const void *bytes, size_t len);

mode_t mode_of(const char *path);

/* A database with one finished run that recorded "file 0", "file 1", ... (hundreds in directories 0, 1, ...), all of it
 * in the main file. */
void make_database(unsigned count);

#endif
