/*
 * told: files that tell what they are, so that anybody who opens one can say whether all of it is there.
 *
 * A told file begins with "haul-told 1\n<generation> <length>\n<path>\n"; the rest, up to <length> bytes in all,
 * follows from path and generation alone. Nothing of the program under test is used here.
 */
#ifndef HAUL_TESTS_TOLD_H
#define HAUL_TESTS_TOLD_H

#include <stddef.h>
#include <stdint.h>

/* A step of splitmix64: the next number of the sequence that *state is in. */
uint64_t told_random(uint64_t *state);

/* FNV-1a of text, with generation mixed in. */
uint64_t told_seed(const char *text, unsigned generation);

/* size bytes that follow from seed alone. */
void told_fill(uint64_t seed, void *buf, size_t size);

/* Writes the told file of that path and generation to fd, length bytes (at least the header's). 0 or -errno. */
int told_write(int fd, const char *path, unsigned generation, size_t length);

/*
 * Reads fd to its end and judges it: 0 where it is the whole told file of that path, with the generation in
 * *out_generation; else -EBADMSG and a word on what is wrong in why (why_size bytes); or -errno of a read.
 */
int told_check(int fd, const char *path, unsigned *out_generation, char *why, size_t why_size);

#endif
