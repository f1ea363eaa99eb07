#include "tests/tools/told.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOLD_CHUNK (256U * 1024)

uint64_t told_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ULL;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint64_t told_seed(const char *text, unsigned generation)
{
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char *c = text; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3ULL;
    }
    return hash ^ ((uint64_t)generation * 0x9e3779b97f4a7c15ULL);
}

/* The sequence of a seed is cut into 8-byte words; buf begins at a word of it. */
static void fill_words(uint64_t *state, unsigned char *buf, size_t size)
{
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        uint64_t word = told_random(state);
        size_t rest = size - at;
        memcpy(buf + at, &word, rest < sizeof(word) ? rest : sizeof(word));
    }
}

void told_fill(uint64_t seed, void *buf, size_t size)
{
    fill_words(&seed, buf, size);
}

static int write_all(int fd, const unsigned char *buf, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, buf, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        buf += n;
        size -= (size_t)n;
    }
    return 0;
}

/* The header of that file in buf; its length. */
static size_t make_header(char *buf, size_t size, const char *path, unsigned generation, size_t length)
{
    int n = snprintf(buf, size, "haul-told 1\n%u %zu\n%s\n", generation, length, path);
    return n < 0 || (size_t)n >= size ? 0 : (size_t)n;
}

int told_write(int fd, const char *path, unsigned generation, size_t length)
{
    char header[8192];
    size_t head = make_header(header, sizeof(header), path, generation, length);
    if (head == 0 || head > length) {
        return -EINVAL;
    }
    unsigned char *chunk = malloc(TOLD_CHUNK);
    if (chunk == NULL) {
        return -ENOMEM;
    }
    int ret = write_all(fd, (const unsigned char *)header, head);
    uint64_t state = told_seed(path, generation);
    for (size_t left = length - head; ret == 0 && left > 0;) {
        size_t n = left < TOLD_CHUNK ? left : TOLD_CHUNK;
        fill_words(&state, chunk, n);
        ret = write_all(fd, chunk, n);
        left -= n;
    }
    free(chunk);
    return ret;
}

/* size bytes, or fewer at the end of the file; -errno. */
static ssize_t read_full(int fd, void *buf, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = read(fd, (char *)buf + got, size - got);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        got += (size_t)n;
    }
    return (ssize_t)got;
}

/* Compares what follows the header. */
static int check_rest(int fd, const char *path, unsigned generation, size_t left, char *why, size_t why_size)
{
    unsigned char *have = malloc(TOLD_CHUNK);
    unsigned char *want = malloc(TOLD_CHUNK);
    int ret = have == NULL || want == NULL ? -ENOMEM : 0;
    uint64_t state = told_seed(path, generation);
    while (ret == 0 && left > 0) {
        size_t n = left < TOLD_CHUNK ? left : TOLD_CHUNK;
        ssize_t got = read_full(fd, have, n);
        if (got < 0) {
            ret = (int)got;
            break;
        }
        fill_words(&state, want, n);
        if ((size_t)got != n) {
            snprintf(why, why_size, "ends %zu bytes early", left - (size_t)got);
            ret = -EBADMSG;
        } else if (memcmp(have, want, n) != 0) {
            snprintf(why, why_size, "wrong contents, %zu bytes before the end or later", left);
            ret = -EBADMSG;
        }
        left -= n;
    }
    unsigned char extra;
    if (ret == 0 && read_full(fd, &extra, 1) != 0) {
        snprintf(why, why_size, "longer than it says");
        ret = -EBADMSG;
    }
    free(have);
    free(want);
    return ret;
}

int told_check(int fd, const char *path, unsigned *out_generation, char *why, size_t why_size)
{
    char have[8192];
    char want[8192];
    ssize_t got = pread(fd, have, sizeof(have) - 1, 0);
    if (got < 0) {
        return -errno;
    }
    have[got] = '\0';
    unsigned generation = 0;
    size_t length = 0;
    int magic = 0;
    if (sscanf(have, "haul-told %d\n%u %zu\n", &magic, &generation, &length) != 3 || magic != 1) {
        snprintf(why, why_size, "no header (%zd bytes read)", got);
        return -EBADMSG;
    }
    size_t head = make_header(want, sizeof(want), path, generation, length);
    if (head == 0 || (size_t)got < head || memcmp(have, want, head) != 0) {
        snprintf(why, why_size, "header of another file");
        return -EBADMSG;
    }
    if (lseek(fd, (off_t)head, SEEK_SET) < 0) {
        return -errno;
    }
    *out_generation = generation;
    return check_rest(fd, path, generation, length - head, why, why_size);
}
