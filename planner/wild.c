#include "planner/wild.h"

#include <ctype.h>
#include <string.h>

static size_t text_len(const struct wild_text *t)
{
    return t->len + (t->slash_before ? 1 : 0) + (t->slash_after ? 1 : 0);
}

/* Byte i, i < text_len. */
static unsigned char text_at(const struct wild_text *t, size_t i)
{
    if (t->slash_before) {
        if (i == 0) {
            return '/';
        }
        i--;
    }
    return i < t->len ? (unsigned char)t->bytes[i] : '/';
}

/* Whether c is in the named class; *out_known is false where there is no class of that name. */
static bool in_named_class(const char *name, size_t len, unsigned char c, bool *out_known)
{
    static const struct {
        const char *name;
        int (*is)(int c);
    } classes[] = {
        {"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl},
        {"digit", isdigit}, {"graph", isgraph}, {"lower", islower}, {"print", isprint},
        {"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit},
    };
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        if (strlen(classes[i].name) == len && memcmp(classes[i].name, name, len) == 0) {
            *out_known = true;
            return classes[i].is(c) != 0;
        }
    }
    *out_known = false;
    return false;
}

/* A scan over the inside of a [class]. */
struct scan {
    const char *p;   /* next byte of the pattern */
    const char *end; /* behind its last */
    bool bad;        /* the class is not well formed: it matches nothing */
};

/* The next byte of a class, quoted or not. */
static unsigned char scan_byte(struct scan *s)
{
    if (s->p < s->end && *s->p == '\\') {
        s->p++;
    }
    if (s->p >= s->end) {
        s->bad = true;
        return 0;
    }
    return (unsigned char)*s->p++;
}

/* "[:name:]" at s: whether c is in it. Where it is not closed, the '[' is an ordinary byte. */
static bool scan_named(struct scan *s, unsigned char c, bool *out_is_named)
{
    const char *name = s->p + 2;
    const char *close = name < s->end ? memchr(name, ']', (size_t)(s->end - name)) : NULL;
    if (close == NULL) {
        s->bad = true;
        *out_is_named = true;
        return false;
    }
    if (close == name || close[-1] != ':') {
        *out_is_named = false;
        return false;
    }
    bool known = false;
    bool in = in_named_class(name, (size_t)(close - 1 - name), c, &known);
    s->bad = s->bad || !known;
    s->p = close + 1;
    *out_is_named = true;
    return in;
}

/* One element of a class: a byte, a range or a named class. Whether c is in it. */
static bool scan_element(struct scan *s, unsigned char c)
{
    if (s->p + 1 < s->end && s->p[0] == '[' && s->p[1] == ':') {
        bool is_named = false;
        bool in = scan_named(s, c, &is_named);
        if (is_named) {
            return in;
        }
    }
    unsigned char low = scan_byte(s);
    if (s->p + 1 < s->end && s->p[0] == '-' && s->p[1] != ']') {
        s->p++;
        unsigned char high = scan_byte(s);
        return low <= c && c <= high;
    }
    return c == low;
}

/*
 * Matches c against the class that begins behind the '[' at *p, and sets *p behind its ']'. A class that is not closed
 * matches nothing, and nothing behind it can.
 */
static bool match_class(const char **p, const char *end, unsigned char c, bool *out_bad)
{
    struct scan s = {*p, end, false};
    bool negated = s.p < end && (*s.p == '!' || *s.p == '^');
    bool matched = false;

    if (negated) {
        s.p++;
    }
    /* A ']' that comes first is a member. */
    for (bool first = true; first || s.p >= end || *s.p != ']'; first = false) {
        if (s.p >= end) {
            s.bad = true;
        } else if (scan_element(&s, c)) {
            matched = true;
        }
        if (s.bad) {
            *out_bad = true;
            return false;
        }
    }
    *p = s.p + 1;
    return matched != negated && c != '/';
}

/* Matches one pattern element that is no star against c, and sets *p behind it. */
static bool match_one(const char **p, const char *end, unsigned char c, bool *out_bad)
{
    unsigned char want = (unsigned char)*(*p)++;
    switch (want) {
    case '?':
        return c != '/';
    case '[':
        return match_class(p, end, c, out_bad);
    case '\\':
        if (*p < end) {
            want = (unsigned char)*(*p)++;
            return c == want;
        }
        return false; /* quotes nothing: matches nothing */
    default:
        return c == want;
    }
}

/* Where matching goes on when it failed behind a star: the star takes one byte more. */
struct retry {
    const char *pattern; /* behind the star; NULL: there was none */
    size_t text;         /* where the rest of the pattern was tried last */
};

bool wild_match(const char *pattern, size_t pattern_len, const struct wild_text *text)
{
    const char *p = pattern;
    const char *end = pattern + pattern_len;
    size_t len = text_len(text);
    size_t i = 0;
    struct retry star = {NULL, 0};
    struct retry deep = {NULL, 0};
    bool bad = false;

    /* It is enough to go back to the last star of each kind. What a '*' takes lies between two slashes whose places
     * its neighbours fix, and a "**" takes anything, so earlier ones have nothing better to offer. */
    while (i < len || p < end) {
        if (p < end && *p == '*') {
            const char *first = p;
            while (p < end && *p == '*') {
                p++;
            }
            struct retry *kind = p - first > 1 ? &deep : &star;
            if (kind == &deep) {
                star.pattern = NULL;
            }
            *kind = (struct retry){p, i};
            continue;
        }
        if (p < end && i < len && match_one(&p, end, text_at(text, i), &bad)) {
            i++;
            continue;
        }
        if (bad) {
            return false;
        }
        if (star.pattern != NULL && star.text < len && text_at(text, star.text) != '/') {
            i = ++star.text;
            p = star.pattern;
        } else if (deep.pattern != NULL && deep.text < len) {
            i = ++deep.text;
            p = deep.pattern;
            star.pattern = NULL;
        } else {
            return false;
        }
    }
    return true;
}
