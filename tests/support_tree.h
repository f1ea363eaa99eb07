/*
 * support_tree: temporary trees for tests. Every function ends the test (criterion fatal assertion) where the machine
 * refuses.
 */
#ifndef HAUL_TESTS_SUPPORT_TREE_H
#define HAUL_TESTS_SUPPORT_TREE_H

#include <stddef.h>
#include <stdio.h>

/* A new directory below $TMPDIR or /tmp; the caller removes it with tree_remove and frees the path. */
char *tree_temp(const char *what);

/* Removes path and all below it, without recursion into other mounts. */
void tree_remove(const char *path);

/* Makes parents as needed, then the file base/path with these contents. path is formatted. */
void tree_file(const char *base, const char *contents, const char *path_format, ...)
    __attribute__((format(printf, 3, 4)));
void tree_dir(const char *base, const char *path_format, ...) __attribute__((format(printf, 2, 3)));
void tree_symlink(const char *base, const char *target, const char *path_format, ...)
    __attribute__((format(printf, 3, 4)));
void tree_link(const char *base, const char *from, const char *to);

/* A chain of depth directories, each named name, below base; a file "leaf" in the last. */
void tree_chain(const char *base, const char *name, unsigned depth);

/* How many directories of that name lie in each other below base, if the last holds the file "leaf"; else 0. */
unsigned tree_chain_depth(const char *base, const char *name);

/* Runs a program without a shell and returns its standard output (the caller frees it); *out_status is its exit
 * status, 127 where it is not there. argv[0] is looked for in PATH. */
char *tree_run(const char *const argv[], int *out_status);

#endif
