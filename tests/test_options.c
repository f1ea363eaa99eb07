#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cleanup/mend.h"
#include "copier/options.h"

/* Parses a command line of words; what was said on errors is in *said. */
static int parse(struct options *o, char **said, char **argv)
{
    int argc = 0;
    while (argv[argc] != NULL) {
        argc++;
    }
    size_t len = 0;
    FILE *errors = open_memstream(said, &len);
    int r = options_parse(argc, argv, errors, o);
    fclose(errors);
    return r;
}

#define ARGV(...) ((char *[]){(char[]){"haul"}, __VA_ARGS__, NULL})

Test(options, defaults, .timeout = 10)
{
    struct options o;
    char *said = NULL;
    char copy[] = "copy";
    char src[] = "/a";
    char dst[] = "/b";
    cr_assert_eq(parse(&o, &said, ARGV(copy, src, dst)), 0, "%s", said);
    cr_assert_eq(o.command, COMMAND_COPY);
    cr_assert_str_eq(o.source, "/a");
    cr_assert_str_eq(o.destination, "/b");
    cr_assert_eq(o.retries, 5);
    cr_assert_eq(o.retry_delay_ns, 500 * NS_PER_MS);
    cr_assert_eq(o.io_timeout_ns, 120 * NS_PER_SEC);
    cr_assert_eq(o.owner, OWNER_AUTO);
    cr_assert_eq(o.jobs, 0);
    cr_assert_eq(o.bwlimit, 0);
    cr_assert_eq(o.stage, STAGE_AUTO);
    cr_assert_eq(o.stage_max, 128ULL << 20);
    cr_assert_eq(o.temp_space, UINT64_MAX);
    cr_assert_null(o.temp_dir);
    cr_assert_eq(o.sparse, SPARSE_AUTO);
    cr_assert_eq(o.recheck, 10000, "one percent");
    cr_assert_eq(filter_count(o.filter), 0);
    cr_assert(!o.dry_run && !o.fsync && !o.json && !o.archive_dirs && !o.no_io_uring);
    options_release(&o);
    free(said);
}

Test(options, each_option_is_taken, .timeout = 10)
{
    struct options o;
    char *said = NULL;
    char words[][40] = {"copy",
                        "--exclude=*.o",
                        "--include",
                        "keep",
                        "--jobs=7",
                        "--bwlimit=100",
                        "--retries=0",
                        "--retry-delay=2s",
                        "--io-timeout=90s",
                        "--owner=ignore",
                        "--recheck=12.5%",
                        "-n",
                        "-x",
                        "--fsync",
                        "--archive-dirs",
                        "-X",
                        "--acls",
                        "--chmod=Du+x",
                        "--chmod=go-w,F644",
                        "--stats",
                        "--progress",
                        "--json",
                        "-q",
                        "--no-io-uring",
                        "--stage=always",
                        "--temp-dir=/t",
                        "--stage-max=1G",
                        "--temp-space",
                        "10M",
                        "--sparse=never",
                        "--state=/s",
                        "--wait=90s",
                        "--files-from=-",
                        "-0",
                        "a",
                        "b"};
    enum { N = sizeof words / sizeof words[0] };
    char name[] = "haul";
    char *argv[N + 2] = {name};
    for (size_t i = 0; i < N; i++) {
        argv[i + 1] = words[i];
    }
    cr_assert_eq(parse(&o, &said, argv), 0, "%s", said);
    cr_assert_eq(o.jobs, 7);
    cr_assert_eq(o.bwlimit, 102400);
    cr_assert_eq(o.retries, 0);
    cr_assert_eq(o.retry_delay_ns, 2 * NS_PER_SEC);
    cr_assert_eq(o.io_timeout_ns, 90 * NS_PER_SEC);
    cr_assert_eq(o.owner, OWNER_IGNORE);
    cr_assert_eq(o.recheck, 125000);
    cr_assert_eq(filter_count(o.filter), 2);
    cr_assert_str_eq(o.state, "/s");
    cr_assert_eq(o.wait_ns, 90 * NS_PER_SEC);
    cr_assert_eq(o.stage, STAGE_ALWAYS);
    cr_assert_str_eq(o.temp_dir, "/t");
    cr_assert_eq(o.stage_max, 1ULL << 30);
    cr_assert_eq(o.temp_space, 10ULL << 20);
    cr_assert_eq(o.sparse, SPARSE_NEVER);
    cr_assert_str_eq(o.files_from, "-");
    cr_assert(o.dry_run && o.one_file_system && o.fsync && o.archive_dirs && o.stats && o.progress && o.json &&
              o.quiet && o.no_io_uring && o.from0 && o.xattrs && o.acls);
    cr_assert_eq(o.chmod.count, 3);
    cr_assert_eq(o.chown_uid, (uid_t)-1);
    cr_assert_eq(o.chown_gid, (gid_t)-1);
    options_release(&o);
    free(said);
}

Test(options, a_server_as_destination, .timeout = 10)
{
    struct options o;
    char *said = NULL;
    char words[][60] = {"copy",        "--nfs-uid=3999999999",
                        "--nfs-gid=7", "--no-reserved-port",
                        "/a",          "nfs://Server:12049/export/a%20b/?version=4.1"};
    cr_assert_eq(parse(&o, &said, ARGV(words[0], words[1], words[2], words[3], words[4], words[5])), 0, "%s", said);
    cr_assert_str_eq(o.url.host, "server");
    cr_assert_eq(o.url.port, 12049);
    cr_assert_str_eq(o.url.path, "/export/a b");
    cr_assert(o.url.slash && o.no_reserved_port);
    cr_assert_eq(o.nfs_uid, 3999999999U);
    cr_assert_eq(o.nfs_gid, 7);
    options_release(&o);
    free(said);
}

/* As in rsync. */
Test(options, sparse_alone_makes_holes, .timeout = 10)
{
    char words[][10] = {"-S", "--sparse"};
    for (size_t i = 0; i < 2; i++) {
        struct options o;
        char *said = NULL;
        char copy[] = "copy";
        char src[] = "/a";
        char dst[] = "/b";
        cr_assert_eq(parse(&o, &said, ARGV(copy, words[i], src, dst)), 0, "%s", said);
        cr_assert_eq(o.sparse, SPARSE_ALWAYS);
        cr_assert_str_eq(o.source, "/a");
        options_release(&o);
        free(said);
    }
}

/* Wrong use: what must be said. */
static const struct {
    const char *words[4];
    const char *message;
} wrong[] = {
    {{NULL}, "no command"},
    {{"mirror", "a", "b"}, "unknown command 'mirror'"},
    {{"copy", "a"}, "takes SRC and DST"},
    {{"copy", "", "b"}, "SRC is empty"},
    {{"copy", "--chmod=u+q", "a", "b"}, "--chmod: 'u+q': not a mode"},
    {{"copy", "--chown=no.such.user", "a", "b"}, "no such user"},
    {{"copy", "--chown=:no.such.group", "a", "b"}, "no such group"},
    {{"copy", "--chown=:", "a", "b"}, "neither user nor group"},
    {{"copy", "a", ""}, "DST is empty"},
    {{"copy", "--frob", "a", "b"}, "unknown option '--frob'"},
    {{"copy", "-Z", "a", "b"}, "unknown option '-Z'"},
    {{"copy", "--jobs=x", "a", "b"}, "--jobs: 'x'"},
    {{"copy", "--jobs=0", "a", "b"}, "--jobs: '0'"},
    {{"copy", "--bwlimit=10Q", "a", "b"}, "--bwlimit: '10Q'"},
    {{"copy", "--retries=-1", "a", "b"}, "--retries: '-1'"},
    {{"copy", "--retry-delay=soon", "a", "b"}, "--retry-delay: 'soon'"},
    {{"copy", "--owner=me", "a", "b"}, "--owner: 'me'"},
    {{"copy", "--stage=often", "a", "b"}, "--stage: 'often' is not one of auto, always, never"},
    {{"copy", "--temp-dir=", "a", "b"}, "--temp-dir: the path is empty"},
    {{"copy", "--stage-max=much", "a", "b"}, "--stage-max: 'much'"},
    {{"copy", "--temp-space=-1", "a", "b"}, "--temp-space: '-1'"},
    {{"copy", "--sparse=maybe", "a", "b"}, "--sparse: 'maybe'"},
    {{"copy", "--recheck=101%", "a", "b"}, "--recheck: '101%'"},
    {{"copy", "--recheck=some", "a", "b"}, "--recheck: 'some'"},
    {{"copy", "--exclude=", "a", "b"}, "--exclude: ''"},
    {{"copy", "-0", "a", "b"}, "--from0"},
    {{"copy", "nfs://h:x/e", "b"}, "SRC 'nfs://h:x/e': 'x' is not a port"},
    {{"copy", "--xattrs", "nfs://h/e", "b"}, "--xattrs: SRC 'nfs://h/e' is an NFS server"},
    {{"copy", "--acls", "nfs://h/e", "b"}, "--acls: SRC"},
    {{"copy", "a", "nfs://h:x/e"}, "DST 'nfs://h:x/e': 'x' is not a port"},
    {{"copy", "a", "nfs://h/e?version=2"}, "no version of NFS that haul speaks"},
    {{"copy", "--nfs-uid=0", "a", "b"}, "--nfs-uid is about an nfs:// SRC or DST, and 'b' is a path"},
    {{"copy", "--nfs-gid=0", "a", "b"}, "--nfs-gid is about"},
    {{"copy", "--no-reserved-port", "a", "b"}, "--no-reserved-port is about"},
    {{"copy", "--direct", "nfs://h/a", "nfs://h/e"},
     "--direct is about a path on an NFS mount, and SRC is 'nfs://h/a'"},
    {{"sync", "--direct", "nfs://h/a", "null:"}, "--direct is about a path on an NFS mount"},
    {{"clean", "--direct", "b"}, "--direct is not for haul clean"},
    {{"copy", "--nfs-uid=no.such.user", "a", "nfs://h/e"}, "no such user"},
    {{"copy", "--nfs-gid=no.such.group", "a", "nfs://h/e"}, "no such group"},
    {{"copy", "--nfs-uid=3999999999", "a", "nfs://h/e"}, "give that with --nfs-gid"},
    {{"--jobs"}, "needs an argument"},
};

Test(options, wrong_use_is_said_clearly, .timeout = 10)
{
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct options o;
        char *said = NULL;
        char name[] = "haul";
        char *argv[6] = {name};
        for (size_t k = 0; k < 4 && wrong[i].words[k] != NULL; k++) {
            argv[k + 1] = strdup(wrong[i].words[k]);
        }
        cr_assert_eq(parse(&o, &said, argv), -EINVAL, "row %zu", i);
        cr_assert(strstr(said, wrong[i].message) != NULL, "row %zu said: %s", i, said);
        cr_assert(strstr(said, "haul --help") != NULL);
        for (size_t k = 1; argv[k] != NULL; k++) {
            free(argv[k]);
        }
        free(said);
    }
}

Test(options, each_has_an_id_of_its_own, .timeout = 10)
{
    unsigned rows[OPT_IDS] = {0};
    for (unsigned i = 0; i < options_table_rows; i++) {
        cr_assert(options_table[i].id > 0 && options_table[i].id < OPT_IDS, "%s", options_table[i].name);
        rows[options_table[i].id]++;
    }
    for (int id = 1; id < OPT_IDS; id++) {
        cr_assert_eq(rows[id], 1, "%d has %u rows", id, rows[id]);
    }
}

/* haul doctor with that option alone, and value where it takes one. Whether it is the option that is refused. */
static bool doctor_refuses(const struct option_row *row, const char *value)
{
    struct options o;
    char *said = NULL;
    char doctor[] = "doctor";
    char dst[] = "/b";
    char option[128];
    char expect[128];
    snprintf(option, sizeof option, row->arg != NULL ? "--%s=%s" : "--%s", row->name, value);
    snprintf(expect, sizeof expect, "haul: --%s is not for haul doctor\n", row->name);
    bool refused = parse(&o, &said, ARGV(doctor, option, dst)) == -EINVAL;
    if (!refused) {
        options_release(&o);
    }
    refused = refused && strncmp(said, expect, strlen(expect)) == 0;
    free(said);
    return refused;
}

/* Whichever is given, it is that one and no other that is known to be. */
Test(options, each_is_told_from_the_others, .timeout = 10)
{
    static const char *const values[] = {"1", "1s", "10M", "auto", "dest", "5%", "04:30", "u+x", "1:1", "temp"};
    static const enum option_id others[] = {
        OPT_JSON,        OPT_TEMP_DIR, OPT_IO_TIMEOUT, OPT_RETRIES, OPT_NFS_UID, OPT_NFS_GID, OPT_NO_RESERVED_PORT,
        OPT_NO_IO_URING, OPT_CONFIG,   OPT_LIST_JOBS,  OPT_HELP,    OPT_VERSION};
    bool other[OPT_IDS] = {false};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        other[others[i]] = true; /* doctor's own, and those that ask something else */
    }
    for (unsigned i = 0; i < options_table_rows; i++) {
        bool refused = false;
        for (size_t k = 0; k < sizeof values / sizeof values[0]; k++) {
            refused = refused || doctor_refuses(&options_table[i], values[k]);
        }
        cr_expect_eq(refused, !other[options_table[i].id], "--%s", options_table[i].name);
    }
}

Test(options, help_and_man_name_every_option, .timeout = 10)
{
    char *help = NULL;
    char *man = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&help, &len);
    options_help(f);
    fclose(f);
    f = open_memstream(&man, &len);
    options_man(f);
    fclose(f);
    for (unsigned i = 0; i < options_table_rows; i++) {
        char name[64];
        snprintf(name, sizeof name, "--%s", options_table[i].name);
        cr_assert(strstr(help, name) != NULL, "%s", name);
        snprintf(name, sizeof name, "Fl Fl %s", options_table[i].name);
        cr_assert(strstr(man, name) != NULL, "%s", name);
    }
    free(help);
    free(man);
}

Test(options, clean_takes_its_own_and_no_others, .timeout = 10)
{
    struct options o;
    char *said = NULL;
    char clean[] = "clean";
    char copy[] = "copy";
    char dst[] = "/b";
    char url[] = "nfs://h/x";
    char others[] = "--others";
    char older[] = "--older-than=2h";
    char dry[] = "-n";
    char limit[] = "--bwlimit=1M";
    char uid[] = "--nfs-uid=0";
    cr_assert_eq(parse(&o, &said, ARGV(clean, others, older, dry, dst)), 0, "%s", said);
    cr_expect_eq(o.command, COMMAND_CLEAN);
    cr_expect(options_looks(&o) && o.others && o.dry_run);
    cr_expect_eq(o.older_than_ns, 7200 * NS_PER_SEC);
    cr_expect_null(o.source);
    cr_expect_str_eq(o.destination, "/b");
    options_release(&o);
    free(said);
    cr_assert_eq(parse(&o, &said, ARGV(clean, uid, url)), 0, "%s", said);
    cr_expect_str_eq(o.url.host, "h");
    cr_expect_eq(o.older_than_ns, OLDER_THAN_DEFAULT);
    options_release(&o);
    free(said);
    cr_expect_eq(parse(&o, &said, ARGV(clean, limit, dst)), -EINVAL);
    cr_expect(strstr(said, "--bwlimit is not for haul clean") != NULL, "%s", said);
    free(said);
    cr_expect_eq(parse(&o, &said, ARGV(copy, others, dst, dst)), -EINVAL);
    cr_expect(strstr(said, "--others is not for haul copy") != NULL, "%s", said);
    free(said);
    cr_expect_eq(parse(&o, &said, ARGV(clean, dst, dst)), -EINVAL);
    free(said);
    cr_expect_eq(parse(&o, &said, ARGV(clean, uid, dst)), -EINVAL, "that is about a server");
    free(said);
}

/* Each line is refused with that. */
Test(options, scan_mends_what_is_named, .timeout = 10)
{
    static const struct {
        const char *words[8];
        const char *said; /* NULL: it is fine */
        unsigned repair;
    } lines[] = {
        {{"--repair", "--source", "/s"}, NULL, MEND_KIND(FINDING_CORRUPT)},
        {{"--repair=temp"}, NULL, MEND_KIND(FINDING_TEMP)},
        {{"--repair=empty,temp", "--source=/s"}, NULL, MEND_KIND(FINDING_EMPTY) | MEND_KIND(FINDING_TEMP)},
        {{"--repair=all", "--source=/s", "--wait=3s", "-n"}, NULL, MEND_KINDS},
        {{"--repair", "--source=/s", "--quarantine=/q", "--max-repair=5%"}, NULL, MEND_KIND(FINDING_CORRUPT)},
        {{"--repair"}, "--source", 0},
        {{"--repair=temp,empty"}, "--source", 0},
        {{"--repair=nonsense", "--source=/s"}, "'nonsense' is not one of corrupt", 0},
        {{"--repair=temp,", "--source=/s"}, "'' is not one of corrupt", 0},
        {{"--repair=missing", "--source=/s"}, "'missing' is not one of corrupt", 0},
        {{"--repair", "--source=/s", "--quarantine=/q", "--remove"}, "give one of them", 0},
        {{"--quarantine=/q"}, "--quarantine is about --repair", 0},
        {{"--remove"}, "--remove is about --repair", 0},
        {{"--max-repair=3"}, "--max-repair is about --repair", 0},
        {{"--dry-run"}, "--dry-run is about --repair", 0},
        {{"--repair", "--source=/s", "--max-repair=x"}, "neither a number nor a percentage", 0},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[8][64];
        char haul[] = "haul";
        char scan[] = "scan";
        char last[] = "/dst";
        char *argv[12] = {haul, scan};
        struct options o;
        char *said = NULL;
        int argc = 2;
        for (size_t k = 0; lines[i].words[k] != NULL; k++) {
            (void)snprintf(text[k], sizeof(text[k]), "%s", lines[i].words[k]);
            argv[argc++] = text[k];
        }
        argv[argc++] = last;
        argv[argc] = NULL;
        int r = parse(&o, &said, argv);
        cr_expect_eq(r, lines[i].said == NULL ? 0 : -EINVAL, "line %zu: %s", i, said);
        if (lines[i].said != NULL) {
            cr_expect(strstr(said, lines[i].said) != NULL, "line %zu: %s", i, said);
        } else {
            cr_expect_eq(o.repair, lines[i].repair, "line %zu", i);
            cr_expect_eq(o.dry_run, o.wait_ns != 0, "line %zu", i);
            options_release(&o);
        }
        free(said);
    }
}

Test(options, scan_only_looks, .timeout = 10)
{
    struct options o;
    char *said = NULL;
    char scan[] = "scan";
    char dst[] = "/b";
    char source[] = "--source=/a";
    char empty[] = "--source=";
    char others[] = "--others";
    cr_assert_eq(parse(&o, &said, ARGV(scan, dst)), 0, "%s", said);
    cr_expect(o.command == COMMAND_SCAN && options_looks(&o) && o.dry_run && o.source == NULL);
    options_release(&o);
    free(said);
    cr_assert_eq(parse(&o, &said, ARGV(scan, source, dst)), 0, "%s", said);
    cr_expect_str_eq(o.source, "/a");
    options_release(&o);
    free(said);
    cr_expect_eq(parse(&o, &said, ARGV(scan, empty, dst)), -EINVAL);
    free(said);
    cr_expect_eq(parse(&o, &said, ARGV(scan, others, dst)), -EINVAL);
    cr_expect(strstr(said, "--others is not for haul scan") != NULL, "%s", said);
    free(said);
}
