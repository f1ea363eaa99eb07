/*
 * cutrules: where a proxy is to cut, and how far each stream of it has come, in bytes and in RPC messages (by their
 * record marks, RFC 5531 section 11). Part of cutproxy; no code of haul is in it.
 */
#ifndef HAUL_TESTS_CUTRULES_H
#define HAUL_TESTS_CUTRULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CUT_UP    0U /* from the client to the server */
#define CUT_DOWN  1U
#define CUT_RULES 32U

enum cut_where { CUT_BEFORE, CUT_WITHIN, CUT_AFTER };
enum cut_scope { CUT_OF_ALL, CUT_OF_ONE, CUT_OF_EACH };

struct cut_rule {
    bool used;
    bool records;         /* the unit; else bytes */
    bool silent;          /* instead of a reset */
    bool all;             /* every open connection suffers */
    unsigned dir;         /* CUT_UP, CUT_DOWN */
    enum cut_where where; /* in or beside unit n */
    enum cut_scope scope; /* what is counted */
    unsigned conn;        /* CUT_OF_ONE: number of the connection */
    unsigned times;       /* to come; 0: always */
    uint64_t n;           /* from 1; CUT_OF_ALL: with what had passed before */
};

struct cut_tally {
    uint64_t bytes;   /* taken */
    uint64_t records; /* of which the last byte was taken */
};

/* All rules, and what has passed over all connections. */
struct cut_rules {
    struct cut_rule rule[CUT_RULES];
    struct cut_tally total[2]; /* by direction, since the start */
};

/* How far one direction of one connection has come. Zeroed at the start. */
struct cut_stream {
    struct cut_tally tally;
    unsigned char mark[4]; /* of the record's fragment */
    unsigned have;         /* bytes of it; 4: in the fragment */
    uint32_t size;         /* of the fragment */
    uint32_t left;         /* bytes of it to come */
    bool begun;            /* a record is under way */
    bool first;            /* and this is its first fragment */
};

/*
 * Of len bytes that came in direction dir of connection number: how many may pass. They are counted. *out_rule: the
 * rule that strikes behind them, to be given to cut_done, or NULL where all may pass.
 */
size_t cut_take(struct cut_rules *rules, struct cut_stream *s, unsigned dir, unsigned number, const unsigned char *data,
                size_t len, struct cut_rule **out_rule);

/* The rule was carried out once. */
void cut_done(struct cut_rule *rule);

/* "DIR WHERE N UNIT ..." as cutproxy describes it; accepted: connections so far. False where it is none, or no room. */
bool cut_add(struct cut_rules *rules, char **words, unsigned count, unsigned accepted);

/* "up" or "down"; a whole decimal number. */
bool cut_parse_dir(const char *text, unsigned *out);
bool cut_parse_number(const char *text, uint64_t *out);

#endif
