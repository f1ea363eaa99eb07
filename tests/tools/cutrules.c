#include "tests/tools/cutrules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where we are. */
struct look {
    struct cut_rules *rules;
    struct cut_stream *stream;
    unsigned dir;
    unsigned number; /* of the connection */
};

/* What the rule counts, in its direction of that connection: bytes, or whole records. */
static uint64_t counted(const struct look *l, const struct cut_rule *r)
{
    const struct cut_tally *t = r->scope == CUT_OF_ALL ? &l->rules->total[r->dir] : &l->stream->tally;
    return r->records ? t->records : t->bytes;
}

static bool concerns(const struct look *l, const struct cut_rule *r)
{
    return r->used && r->dir == l->dir && (r->scope != CUT_OF_ONE || r->conn == l->number);
}

/* A rule that strikes at this very place, before the next byte. */
static struct cut_rule *strikes_before(const struct look *l)
{
    const struct cut_stream *s = l->stream;
    for (unsigned i = 0; i < CUT_RULES; i++) {
        struct cut_rule *r = &l->rules->rule[i];
        if (!concerns(l, r) || r->where == CUT_AFTER || counted(l, r) + 1 != r->n) {
            continue;
        }
        bool here = true;
        if (r->records) {
            here = r->where == CUT_BEFORE ? !s->begun : s->have == 4 && s->first && s->size - s->left >= s->size / 2;
        }
        if (here) {
            return r;
        }
    }
    return NULL;
}

/* Now that bytes have passed, and with ended the last one of a record. */
static struct cut_rule *strikes_after(const struct look *l, bool ended)
{
    for (unsigned i = 0; i < CUT_RULES; i++) {
        struct cut_rule *r = &l->rules->rule[i];
        if (concerns(l, r) && r->where == CUT_AFTER && counted(l, r) == r->n && (ended || !r->records)) {
            return r;
        }
    }
    return NULL;
}

/* Of len bytes, how many may pass at once before a rule must be asked again. */
static size_t step_size(const struct look *l, size_t len)
{
    const struct cut_stream *s = l->stream;
    size_t step = s->have < 4 ? 4 - s->have : s->left;
    step = step < len ? step : len;
    for (unsigned i = 0; i < CUT_RULES; i++) {
        const struct cut_rule *r = &l->rules->rule[i];
        if (!concerns(l, r)) {
            continue;
        }
        uint64_t before = counted(l, r);
        uint64_t room = step;
        if (!r->records && before < r->n) {
            room = r->n - before - (r->where == CUT_AFTER ? 0 : 1);
        } else if (r->records && r->where == CUT_WITHIN && before + 1 == r->n && s->have == 4 && s->first &&
                   s->size - s->left < s->size / 2) {
            room = s->size / 2 - (s->size - s->left);
        }
        step = room < step ? (size_t)room : step;
    }
    return step;
}

/* step bytes pass, none of them beyond a mark or a fragment: whether a record ended with them. */
static bool advance(const struct look *l, const unsigned char *data, size_t step)
{
    struct cut_stream *s = l->stream;
    struct cut_tally *total = &l->rules->total[l->dir];
    s->tally.bytes += step;
    total->bytes += step;
    if (s->have < 4) {
        s->first = !s->begun || (s->have > 0 && s->first);
        s->begun = true;
        memcpy(s->mark + s->have, data, step);
        s->have += (unsigned)step;
        if (s->have < 4) {
            return false;
        }
        s->size = ((uint32_t)(s->mark[0] & 0x7f) << 24) | ((uint32_t)s->mark[1] << 16) | ((uint32_t)s->mark[2] << 8) |
                  s->mark[3];
        s->left = s->size;
    } else {
        s->left -= (uint32_t)step;
    }
    if (s->left > 0) {
        return false;
    }
    s->have = 0;
    if ((s->mark[0] & 0x80) == 0) {
        return false;
    }
    s->begun = false;
    s->tally.records++;
    total->records++;
    return true;
}

size_t cut_take(struct cut_rules *rules, struct cut_stream *s, unsigned dir, unsigned number, const unsigned char *data,
                size_t len, struct cut_rule **out_rule)
{
    const struct look l = {rules, s, dir, number};
    size_t at = 0;
    *out_rule = NULL;
    while (at < len) {
        *out_rule = strikes_before(&l);
        if (*out_rule != NULL) {
            return at;
        }
        size_t step = step_size(&l, len - at);
        bool ended = advance(&l, data + at, step);
        at += step;
        *out_rule = strikes_after(&l, ended);
        if (*out_rule != NULL) {
            return at;
        }
    }
    return at;
}
bool cut_parse_number(const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

bool cut_parse_dir(const char *text, unsigned *out)
{
    *out = strcmp(text, "down") == 0 ? CUT_DOWN : CUT_UP;
    return *out == CUT_DOWN || strcmp(text, "up") == 0;
}

static bool parse_where(const char *text, enum cut_where *out)
{
    *out = strcmp(text, "before") == 0 ? CUT_BEFORE : strcmp(text, "within") == 0 ? CUT_WITHIN : CUT_AFTER;
    return *out != CUT_AFTER || strcmp(text, "after") == 0;
}

/* "of K", "times T", "silent", "all". */
static bool parse_rest(struct cut_rule *r, char **words, unsigned count, unsigned accepted)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *next = i + 1 < count ? words[i + 1] : "";
        if (strcmp(words[i], "silent") == 0) {
            r->silent = true;
        } else if (strcmp(words[i], "all") == 0) {
            r->all = true;
        } else if (strcmp(words[i], "of") == 0 && strcmp(next, "each") == 0) {
            r->scope = CUT_OF_EACH;
            i++;
        } else if (strcmp(words[i], "of") == 0 && cut_parse_number(next, &number)) {
            r->scope = CUT_OF_ONE;
            r->conn = accepted + (unsigned)number;
            i++;
        } else if (strcmp(words[i], "times") == 0 && cut_parse_number(next, &number)) {
            r->times = (unsigned)number;
            i++;
        } else {
            return false;
        }
    }
    return true;
}

bool cut_add(struct cut_rules *rules, char **words, unsigned count, unsigned accepted)
{
    struct cut_rule r = {.used = true, .times = 1, .scope = CUT_OF_ALL};
    if (count < 4 || !cut_parse_dir(words[0], &r.dir) || !parse_where(words[1], &r.where) ||
        !cut_parse_number(words[2], &r.n) || r.n == 0 || !parse_rest(&r, words + 4, count - 4, accepted)) {
        return false;
    }
    r.records = strcmp(words[3], "records") == 0;
    if (!r.records && (strcmp(words[3], "bytes") != 0 || r.where == CUT_WITHIN)) {
        return false;
    }
    if (r.scope == CUT_OF_ALL) {
        r.n += r.records ? rules->total[r.dir].records : rules->total[r.dir].bytes;
    }
    for (unsigned i = 0; i < CUT_RULES; i++) {
        if (!rules->rule[i].used) {
            rules->rule[i] = r;
            return true;
        }
    }
    return false;
}

void cut_done(struct cut_rule *rule)
{
    if (rule->times > 0 && --rule->times == 0) {
        rule->used = false;
    }
}
