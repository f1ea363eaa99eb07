/*
 * notice: a small table of texts with counts under a mutex (notice.h).
 */
#include "base/notice.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct notice {
    const char *text; /* static */
    uint64_t count;   /* raises */
};

struct notices {
    pthread_mutex_t lock;            /* guards all below */
    size_t used;                     /* entries in list */
    struct notice list[NOTICES_MAX]; /* in order of the first raise */
};

int notices_create(struct notices **out_notices)
{
    struct notices *n = calloc(1, sizeof(*n));
    if (n == NULL) {
        return -ENOMEM;
    }
    if (pthread_mutex_init(&n->lock, NULL) != 0) {
        free(n);
        return -ENOMEM;
    }
    *out_notices = n;
    return 0;
}

void notices_destroy(struct notices *n)
{
    if (n == NULL) {
        return;
    }
    (void)pthread_mutex_destroy(&n->lock);
    free(n);
}

void notice_raise(struct notices *n, const char *text)
{
    if (n == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&n->lock);
    size_t i = 0;
    while (i < n->used && n->list[i].text != text && strcmp(n->list[i].text, text) != 0) {
        i++;
    }
    if (i >= NOTICES_MAX - 1) {
        i = NOTICES_MAX - 1;
        text = NOTICE_OTHERS;
    }
    if (i >= n->used) {
        n->list[i].text = text;
        n->used = i + 1;
    }
    n->list[i].count++;
    (void)pthread_mutex_unlock(&n->lock);
}

int notice_at(struct notices *n, size_t i, const char **out_text, uint64_t *out_count)
{
    (void)pthread_mutex_lock(&n->lock);
    const bool there = i < n->used;
    if (there) {
        *out_text = n->list[i].text;
        *out_count = n->list[i].count;
    }
    (void)pthread_mutex_unlock(&n->lock);
    return there ? 0 : -ENOENT;
}
