#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copier/jobfile.h"

/* A file with that text; its path. */
static const char *write_file(const char *text)
{
    static char path[64];
    (void)snprintf(path, sizeof path, "/tmp/haul-test-jobfile-XXXXXX");
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    return path;
}

/* "name=value " of each option that is taken. */
static int note(void *arg, const struct option_row *row, const char *value, FILE *errors)
{
    (void)errors;
    fprintf(arg, "%s=%s ", row->name, value != NULL ? value : "-");
    return 0;
}

static int parse_job(const char *text, char **taken, char **said)
{
    size_t len = 0;
    struct jobfile *file = NULL;
    const char *source = NULL;
    const char *destination = NULL;
    const char *path = write_file(text);
    FILE *errors = open_memstream(said, &len);
    FILE *noted = open_memstream(taken, &len);
    int r = jobfile_read(path, errors, &file);
    if (r == 0) {
        r = jobfile_job(file, "j", note, noted, errors, &source, &destination);
    }
    if (r == 0) {
        cr_assert_str_eq(source, "/s");
        cr_assert_str_eq(destination, "/d");
    }
    fclose(errors);
    fclose(noted);
    jobfile_destroy(file);
    unlink(path);
    return r;
}

#define JOB(TEXT) "jobs = { j = { source = \"/s\"; destination = \"/d\"; " TEXT " }; };"

/* The table is the only list: no option that a job may have is missing, whatever is added to it. */
Test(jobfile, every_option_may_stand_in_it, .timeout = 20)
{
    unsigned in_file = 0;
    for (unsigned i = 0; i < options_table_rows; i++) {
        const struct option_row *row = &options_table[i];
        char *text = NULL;
        char *taken = NULL;
        char *said = NULL;
        char wanted[80];
        cr_assert_geq(asprintf(&text, JOB("%s = %s;"), row->name, row->arg == NULL ? "true" : "\"7\""), 0);
        int r = parse_job(text, &taken, &said);
        if (options_in_file(row->id)) {
            (void)snprintf(wanted, sizeof wanted, "%s=%s ", row->name, row->arg == NULL ? "-" : "7");
            cr_assert_eq(r, 0, "%s", said);
            cr_assert_str_eq(taken, wanted);
            in_file++;
        } else {
            cr_assert_eq(r, -EINVAL, "%s", row->name);
        }
        free(text);
        free(taken);
        free(said);
    }
    cr_assert_gt(in_file, 40);
}

Test(jobfile, values_come_in_their_order, .timeout = 20)
{
    char *taken = NULL;
    char *said = NULL;
    cr_assert_eq(parse_job("defaults = { retries = 3; quiet = true; exclude = \"z\"; jobs = 8; };" JOB(
                               "exclude = [ \"a\", \"b\" ]; jobs = 12345678901L; quiet = false; sparse = true;"
                               " in-order = ( { include = \"i\"; }, { exclude = \"e\"; } ); include = \"l\";"),
                           &taken, &said),
                 0, "%s", said);
    cr_assert_str_eq(taken, "retries=3 exclude=a exclude=b jobs=12345678901 sparse=- include=i exclude=e include=l ");
    free(taken);
    free(said);
}

Test(jobfile, what_cannot_be_parsed_breaks_nothing, .timeout = 20)
{
    static const char *const texts[] = {"{",
                                        "jobs",
                                        "jobs = (1, 2);",
                                        "jobs = { j = { source = [1, 2]; destination = \"/d\"; }; };",
                                        "defaults = { in-order = ( 1 ); };",
                                        "defaults = { in-order = ( { in-order = ( ); } ); };",
                                        JOB("exclude = ( ( \"a\" ) );"),
                                        JOB("exclude = { };")};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *taken = NULL;
        char *said = NULL;
        cr_assert_eq(parse_job(texts[i], &taken, &said), -EINVAL, "row %zu", i);
        cr_assert(strncmp(said, "haul: /tmp/haul-test-jobfile-", 29) == 0 && strstr(said, ":1: ") != NULL,
                  "row %zu: %s", i, said);
        cr_assert_str_eq(taken, "");
        free(taken);
        free(said);
    }
}
