/*
 * test_nfs3_status: the table of NFSv3 statuses.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/errs.h"
#include "workers/stores/nfs3/nfs3err.h"

/* All of RFC 1813 2.6. */
static const unsigned all[] = {0,  1,  2,  5,  6,  13, 17,    18,    19,    20,    21,    22,    27,    28,   30,
                               31, 63, 66, 69, 70, 71, 10001, 10002, 10003, 10004, 10005, 10006, 10007, 10008};

#define ALL (sizeof(all) / sizeof(all[0]))

Test(nfs3_status, every_one_has_a_row_and_each_row_is_found)
{
    unsigned rows = 0;

    for (size_t i = 0; i < ALL; i++) {
        cr_expect_eq(nfs3_error(all[i])->status, all[i]);
        cr_expect_not_null(nfs3_error(all[i])->name, "%u", all[i]);
    }
    while (nfs3_error_row(rows)) {
        const struct nfs3_error *row = nfs3_error_row(rows);

        cr_expect_eq(nfs3_error(row->status), row);
        cr_expect_eq(strncmp(row->name, row->status ? "NFS3ERR_" : "NFS3_OK", 7), 0, "%s", row->name);
        rows++;
    }
    cr_expect_eq(rows, ALL);
}

/* What passes is repeated, what would meet every file alike stops the run, and nothing else does. */
Test(nfs3_status, errno_agrees_with_what_is_done)
{
    for (unsigned i = 0; nfs3_error_row(i); i++) {
        const struct nfs3_error *row = nfs3_error_row(i);
        enum err_class class = err_classify(row->err, true, false);

        if (row->decision == V3_DO_RETRY || row->decision == V3_DO_WAIT || row->decision == V3_DO_RESTART ||
            row->decision == V3_DO_LOOK_UP) {
            cr_expect_eq(class, ERR_TRANSIENT, "%s", row->name);
        }
        cr_expect_eq(row->decision == V3_DO_STOP, class == ERR_FATAL, "%s", row->name);
    }
}

Test(nfs3_status, an_unknown_one_is_transient)
{
    char text[V3_STATUS_TEXT];

    cr_expect_null(nfs3_error(4711)->name);
    cr_expect_eq(nfs3_errno(4711), -EREMOTEIO);
    cr_expect_str_eq(nfs3_status_text(4711, text), "unknown NFS status 4711");
    cr_expect_str_eq(nfs3_status_text(2, text), "NFS3ERR_NOENT (2)");
    cr_expect_eq(nfs3_errno(0), 0);
}
