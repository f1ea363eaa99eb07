#include "planner/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "planner/wild.h"

/* Where in the path a pattern is tried. */
enum where {
    WHERE_NAME,  /* the last component */
    WHERE_START, /* from the root */
    WHERE_TAIL,  /* the last components, as many as the pattern has */
    WHERE_ANY,   /* from the root and behind every slash */
};

struct rule {
    bool include;      /* else exclude */
    bool dirs_only;    /* had a trailing slash */
    bool wild;         /* has wildcards; without, a backslash is an ordinary byte */
    bool slash_before; /* begins with "**": that may match nothing at the root too */
    bool slash_after;  /* ends with "***": matches the directory itself as well */
    enum where where;
    size_t components; /* WHERE_TAIL: how many */
    size_t len;        /* bytes of text */
    char *text;        /* the pattern without leading and trailing slash; owned */
};

struct filter {
    struct rule *rules; /* owned */
    unsigned count;     /* of them */
    unsigned capacity;  /* rules that there is room for */
};

int filter_create(struct filter **out_filter)
{
    struct filter *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        return -ENOMEM;
    }
    *out_filter = f;
    return 0;
}

void filter_destroy(struct filter *f)
{
    if (f == NULL) {
        return;
    }
    for (unsigned i = 0; i < f->count; i++) {
        free(f->rules[i].text);
    }
    free(f->rules);
    free(f);
}

static size_t count_slashes(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += text[i] == '/' ? 1 : 0;
    }
    return n;
}

/* Finds out what kind of pattern (len bytes, no trailing slash) it is. */
static void classify(struct rule *rule, const char *pattern, size_t len)
{
    bool anchored = len > 0 && pattern[0] == '/';
    const char *deep = memmem(pattern, len, "**", 2);
    size_t slashes = count_slashes(pattern, len);

    rule->wild =
        memchr(pattern, '*', len) != NULL || memchr(pattern, '?', len) != NULL || memchr(pattern, '[', len) != NULL;
    rule->slash_before = deep == pattern;
    rule->slash_after = len >= 3 && memcmp(pattern + len - 3, "***", 3) == 0;
    if (slashes == 0 && deep == NULL) {
        rule->where = WHERE_NAME;
    } else if (anchored || rule->slash_before) {
        rule->where = WHERE_START;
    } else if (deep != NULL) {
        rule->where = WHERE_ANY;
    } else {
        rule->where = WHERE_TAIL;
        rule->components = slashes + 1;
    }
}

static int rule_init(struct rule *rule, bool include, const char *pattern)
{
    size_t len = strlen(pattern);

    *rule = (struct rule){.include = include};
    if (len > 1 && pattern[len - 1] == '/') {
        rule->dirs_only = true;
        len--;
    }
    classify(rule, pattern, len);
    if (pattern[0] == '/') {
        pattern++;
        len--;
    }
    rule->text = strndup(pattern, len);
    rule->len = len;
    return rule->text != NULL ? 0 : -ENOMEM;
}

int filter_add(struct filter *f, bool include, const char *pattern)
{
    if (pattern[0] == '\0') {
        return -EINVAL;
    }
    if (f->count == f->capacity) {
        unsigned capacity = f->capacity == 0 ? 16 : 2 * f->capacity;
        struct rule *rules = reallocarray(f->rules, capacity, sizeof(*rules));
        if (rules == NULL) {
            return -ENOMEM;
        }
        f->rules = rules;
        f->capacity = capacity;
    }
    int err = rule_init(&f->rules[f->count], include, pattern);
    if (err == 0) {
        f->count++;
    }
    return err;
}

unsigned filter_count(const struct filter *f)
{
    return f != NULL ? f->count : 0;
}

/* Where the last n components of the path begin, or NULL where it has fewer. */
static const char *tail(const char *path, size_t len, size_t n)
{
    const char *p = path + len;
    while (p > path) {
        if (p[-1] == '/' && --n == 0) {
            return p;
        }
        p--;
    }
    return n == 1 ? path : NULL;
}

static bool match_at(const struct rule *rule, const char *from, const char *end, bool is_dir)
{
    size_t len = (size_t)(end - from);
    if (!rule->wild) {
        return len == rule->len && memcmp(from, rule->text, len) == 0;
    }
    struct wild_text text = {from, len, rule->slash_before, rule->slash_after && is_dir};
    return wild_match(rule->text, rule->len, &text);
}

static bool rule_matches(const struct rule *rule, const char *path, size_t len, bool is_dir)
{
    const char *end = path + len;
    const char *from = path;

    if (rule->dirs_only && !is_dir) {
        return false;
    }
    switch (rule->where) {
    case WHERE_NAME:
        return match_at(rule, tail(path, len, 1), end, is_dir);
    case WHERE_START:
        return match_at(rule, path, end, is_dir);
    case WHERE_TAIL:
        from = tail(path, len, rule->components);
        return from != NULL && match_at(rule, from, end, is_dir);
    case WHERE_ANY:
        while (from != NULL) {
            if (match_at(rule, from, end, is_dir)) {
                return true;
            }
            from = memchr(from, '/', (size_t)(end - from));
            from = from != NULL ? from + 1 : NULL;
        }
        return false;
    }
    return false;
}

bool filter_excludes(const struct filter *f, const char *path, bool is_dir)
{
    if (f == NULL || f->count == 0) {
        return false;
    }
    size_t len = strlen(path);
    for (unsigned i = 0; i < f->count; i++) {
        if (rule_matches(&f->rules[i], path, len, is_dir)) {
            return !f->rules[i].include;
        }
    }
    return false;
}

bool filter_wildmatch(const char *pattern, const char *text)
{
    struct wild_text whole = {text, strlen(text), false, false};
    return wild_match(pattern, strlen(pattern), &whole);
}
