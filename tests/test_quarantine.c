/* What stands where the quarantine, or something in it, is to be. */
#include "copier/quarantine.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "support_tree.h"

/* The folder is there already, which is no error, and so not the reason either. */
Test(quarantine, notes_that_are_no_file_are_refused, .timeout = 10)
{
    struct quarantine *q = NULL;
    char *folder = tree_temp("quarantine");
    char notes[4096];
    (void)snprintf(notes, sizeof notes, "%s/%s", folder, QUARANTINE_NOTES);
    cr_assert_eq(mkfifo(notes, 0600), 0);
    cr_expect_eq(quarantine_open(folder, "0123456789abcdef", &q), -EINVAL);
    cr_expect_null(q);
    tree_remove(folder);
    free(folder);
}
