/*
 * ledger: what a look did and found, written into the state of its destination, also beside a run that works with that
 * state: in short transactions of its own, some hundreds of records at a time.
 *
 * Any thread; all functions may block for a transaction. What cannot be written is told once, at the end.
 */
#ifndef HAUL_COPIER_LEDGER_H
#define HAUL_COPIER_LEDGER_H

#include <stdint.h>

#include "cleanup/finding.h"
#include "copier/state.h"

struct ledger;

#define LEDGER_FINDINGS 100000 /* findings kept of one look */
#define LEDGER_LOOKS    20     /* newest looks whose findings are kept */

/*
 * Opens the state at path, which must be one, and begins a look: command ("scan"), run_id as in temp names. 0;
 * -EBADMSG: it is no state of haul's; -EPROTO; -errno.
 */
int ledger_open(const char *path, const char *command, const char *run_id, struct ledger **out_ledger);

/* Its number among the looks of that state. */
int64_t ledger_number(const struct ledger *g);

/* Remembers a finding. Copied. g may be NULL. */
void ledger_finding(struct ledger *g, const struct finding *f);

/* How it ended. */
struct ledger_end {
    int status;        /* exit status */
    uint64_t dirs;     /* gone through */
    uint64_t entries;  /* looked at */
    uint64_t bytes;    /* read */
    uint64_t findings; /* all */
    uint64_t open;     /* of them, those about which something is left to be done */
};

/* Writes what is left, and the end. 0, or the first -errno. Once. g NULL: 0. */
int ledger_end(struct ledger *g, const struct ledger_end *end);

/* NULL is fine; without ledger_end the look has not ended. */
void ledger_close(struct ledger *g);

#endif
