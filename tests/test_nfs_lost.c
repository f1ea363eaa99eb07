/*
 * test_nfs_lost: what a store leaves behind, and what it saves, when a server is lost in the middle of a file, or says
 * what cannot be read.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "support_nfsrig.h"

static const char text[] = "what is in the file";
#define LEN (sizeof(text) - 1)

/* A server that is lost under the COMMIT of a large file. Where it says that it has kept the data nothing is sent
 * again; where its write verifier is another one they may be gone, and nothing is published. */
Test(nfs_lost, commit, .timeout = 60)
{
    static const struct nfsd_rule rules[] = {
        {.op = D4_COMMIT, .what = NFSD_CRASH},       {.op = D4_COMMIT, .what = NFSD_CRASH_AFTER},
        {.op = D4_COMMIT, .what = NFSD_LOSE_CLIENT}, {.op = D4_COMMIT, .what = NFSD_LOSE_SESSION},
        {.op = D4_COMMIT, .what = NFSD_DROP_AFTER},  {.op = D4_RENAME, .what = NFSD_CRASH},
        {.op = D4_RENAME, .what = NFSD_CRASH_AFTER},
    };
    static char big[300000];
    memset(big, 'z', sizeof(big));
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        struct rig r;
        rig_open(&r, NULL);
        nfsd_rule(r.n, &rules[i]);
        uint64_t before = nfsd_counts(r.n).written;
        int err = rig_upload(&r, "large", big, sizeof(big), 100000);
        bool there = nfsd_see(r.n, "/export/large").there;
        cr_expect_eq(nfsd_clear(r.n), 1);
        cr_expect_eq(there, err == 0, "%zu: %d", i, err);
        cr_expect(!there || rig_right(&r, "large", big, sizeof(big)));
        bool crash = rules[i].what == NFSD_CRASH || rules[i].what == NFSD_CRASH_AFTER;
        if (rules[i].op == D4_COMMIT) {
            cr_expect_eq(err, crash ? -EREMOTEIO : 0, "%zu: %d", i, err);
            cr_expect_eq(nfsd_counts(r.n).written - before, sizeof(big), "%zu", i);
        }
        rig_close(&r); /* no temp name, no open */
    }
}

/* What the server did is not known where its answer cannot be read: what it may have made is looked for. */
Test(nfs_lost, unreadable, .timeout = 60)
{
    static const uint32_t ops[] = {D4_OPEN, D4_WRITE, D4_SETATTR, D4_GETATTR, D4_CLOSE, D4_RENAME};
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        for (unsigned word = 0; word < 2; word++) {
            struct rig r;
            rig_open(&r, NULL);
            nfsd_rule(r.n, &(struct nfsd_rule){.op = ops[i],
                                               .with = D4_RENAME,
                                               .what = NFSD_LIE,
                                               .lie = NFSD_LIE_WORD,
                                               .at = word,
                                               .value = 0x00abcdef});
            int err = rig_publish(&r, "file", text, LEN);
            unsigned fired = nfsd_clear(r.n);
            cr_expect_eq(fired, 1, "%s", nfsd_op_name(ops[i]));
            cr_expect(err != 0 || rig_right(&r, "file", text, LEN));
            cr_expect_eq(rig_publish(&r, "other", text, LEN), 0);
            rig_leave(&r);
            cr_expect_eq(nfsd_names(r.n, ".haul.*"), 0, "%s %u: a temp name is left", nfsd_op_name(ops[i]), word);
            cr_expect_eq(nfsd_counts(r.n).opens, 0, "%s %u: an open is left", nfsd_op_name(ops[i]), word);
            nfsd_forgive(r.n);
            nfsd_destroy(r.n);
        }
    }
}

/* The same of one that stopped behind OPEN: the file is there, and open, under a name that only we know. */
Test(nfs_lost, unreadable_and_stopped, .timeout = 60)
{
    for (unsigned word = 0; word < 2; word++) {
        struct rig r;
        rig_open(&r, NULL);
        nfsd_rule(r.n, &(struct nfsd_rule){.op = D4_WRITE, .what = NFSD_FAIL, .status = D4ERR_ACCESS});
        nfsd_rule(r.n, &(struct nfsd_rule){
                           .op = D4_OPEN, .what = NFSD_LIE, .lie = NFSD_LIE_WORD, .at = word, .value = 0x00abcdef});
        cr_expect_lt(rig_publish(&r, "file", text, LEN), 0);
        cr_expect_eq(nfsd_clear(r.n), 2);
        cr_expect_eq(rig_publish(&r, "other", text, LEN), 0);
        rig_leave(&r);
        cr_expect_eq(nfsd_names(r.n, ".haul.*"), 0, "a temp name is left");
        cr_expect_eq(nfsd_counts(r.n).opens, 0, "an open is left");
        nfsd_forgive(r.n);
        nfsd_destroy(r.n);
    }
}

/* A server that is lost while it is told that nothing will be reclaimed is told once more: else we could open nothing.
 */
Test(nfs_lost, while_it_is_greeted, .timeout = 60)
{
    static const enum nfsd_do ways[] = {NFSD_CRASH, NFSD_CRASH_AFTER, NFSD_LOSE_CLIENT, NFSD_LOSE_SESSION,
                                        NFSD_DROP_AFTER};
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct nfsd *n = nfsd_create(NULL);
        struct rig r;
        nfsd_rule(n, &(struct nfsd_rule){.op = D4_RECLAIM_COMPLETE, .what = ways[i]});
        cr_assert_eq(rig_join(&r, n, NULL), 0, "%zu: %s", i, r.problem);
        cr_expect_eq(nfsd_clear(n), 1, "%zu", i);
        cr_expect_eq(rig_publish(&r, "file", text, LEN), 0, "%zu", i);
        rig_close(&r);
    }
}
