#include <stdio.h>
#include <string.h>

#include "copier/options.h"

enum { HELP_COLUMN = 26, HELP_WIDTH = 96 };

/* Text in lines of at most HELP_WIDTH, indented to HELP_COLUMN; the first line goes on at column at. */
static void wrap(FILE *out, const char *text, int at)
{
    int column = at;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + (int)word > HELP_WIDTH) {
            fprintf(out, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, word, out);
        column += (int)word;
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void help_row(FILE *out, const struct option_row *row)
{
    int at =
        row->letter != 0 ? fprintf(out, "  -%c, --%s", row->letter, row->name) : fprintf(out, "      --%s", row->name);
    if (row->arg != NULL) {
        at += fprintf(out, row->optional ? "[=%s]" : "=%s", row->arg);
    }
    if (at >= HELP_COLUMN) {
        fputc('\n', out);
        at = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - at, "");
    wrap(out, row->help, HELP_COLUMN);
}

void options_help(FILE *out)
{
    fputs(
        "Usage: haul copy [options] SRC DST\n       haul sync [options] SRC DST\n"
        "       haul scan [options] DST\n       haul clean [options] DST\n       haul sync --job=NAME [options]\n"
        "       haul status [--json] [--state=FILE] [DST]\n       haul doctor [options] DST\n\n"
        "Copies a tree of files in parallel: whole files, each published atomically. SRC is a directory, whose\n"
        "contents become DST's contents (a trailing slash changes nothing), or a single file. Either is a path, or\n"
        "nfs://host[:port]/export/path: an NFSv4.1 server, without a mount. Started again after a failure it goes\n"
        "on where it stopped. sync is for what is copied again and again: it sends what has changed, and removes with\n"
        "--delete what is gone; where nothing has changed the destination is asked nothing.\n"
        "scan goes through DST by its listings and finds what is not as it should be: files of mode 000 without "
        "bytes,\n"
        "lost contents, other sizes, rights or times than were published, stale temp names; by what --source holds, "
        "by\n"
        "what is remembered, and by the entry itself. Nothing is touched without --repair.\n"
        "clean removes stale temp names at DST and in the local temp dir: what runs that are dead have left, never\n"
        "anything of a run that lives.\n"
        "status tells of past and present runs: of each pair of source and destination the last one, or the last 20\n"
        "to DST, and since when they have not ended well.\n"
        "doctor looks whether DST, a path or nfs://, and this machine are set up well, measures with a few files of "
        "its\n"
        "own, and names each fix.\n\nOptions:\n",
        out);
    for (unsigned i = 0; i < options_table_rows; i++) {
        help_row(out, &options_table[i]);
    }
    fputs("\nExit status:\n", out);
    for (unsigned i = 0; i < status_table_rows; i++) {
        fprintf(out, "  %2d  %s\n", status_table[i].status, status_table[i].meaning);
    }
}

/* Text as mdoc: a backslash would be an escape, a leading dot or quote a request. */
static void man_text(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'') {
        fputs("\\&", out);
    }
    for (; *text != '\0'; text++) {
        if (strncmp(text, ". ", 2) == 0) { /* mdoc wants each sentence on a line of its own */
            fputs(".\n", out);
            text++;
        } else if (*text == '\\') {
            fputs("\\e", out);
        } else if (*text == '-') {
            fputs("\\-", out);
        } else {
            fputc(*text, out);
        }
    }
    fputc('\n', out);
}

void options_man(FILE *out)
{
    fputs(
        ".Dd $Mdocdate$\n.Dt HAUL 1\n.Os\n.Sh NAME\n.Nm haul\n.Nd parallel bulk copier for NFS and Amazon EFS\n"
        ".Sh SYNOPSIS\n.Nm\n.Cm copy\n.Op Ar options\n.Ar SRC DST\n.Nm\n.Cm sync\n.Op Ar options\n.Ar SRC "
        "DST\n.Nm\n.Cm clean\n.Op Ar options\n.Ar DST\n.Nm\n.Cm "
        "status\n.Op Fl Fl json\n.Op Fl Fl state Ns = Ns Ar FILE\n.Op Ar DST\n.Nm\n.Cm doctor\n.Op Ar "
        "options\n.Ar DST\n.Sh DESCRIPTION\n.Nm\n"
        "copies a tree of files in parallel.\nEvery file is staged whole, checked, and renamed to its final name, so\n"
        "that a final name holds the old whole content or the new whole content at any time.\nThe contents of\n"
        ".Ar SRC\nbecome the contents of\n.Ar DST ;\na trailing slash changes nothing.\n.Ar SRC\n"
        "may be a single file.\nEither is a path, or\n.Ql nfs://host[:port]/export/path :\n"
        "an NFSv4.1 server (port 2049 where none is said), which is spoken to without a mount.\n"
        "An IPv6 address stands in brackets; what a URL cannot hold is percent\\-encoded.\nMissing directories below\n"
        "the export are made.\nWhat was done is remembered: a copy that is started again after a failure goes on\n"
        "where it stopped.\n.Pp\nOwner and group (numeric, when root), mode, times, symbolic links, hard links,\n"
        "holes, FIFOs, sockets and device nodes (when root) are kept; directory times on request.\n"
        ".Pp\nA destination of\n.Ql null:\ntakes everything and keeps nothing: it measures the source.\n"
        ".Pp\n.Cm scan\ngoes through\n.Ar DST\nby its listings and finds what is not as it should be: files of mode "
        "000\n"
        "without bytes (corrupt), without bytes where there should be some (empty), of another size, mode or owner "
        "than\n"
        "were published (differs), with times that nobody would set (times), that nobody can read (unreadable), and\n"
        "stale temp names (temp); each with its evidence, and how sure it is: certain where the source or what is\n"
        "remembered says otherwise, likely, or suspected. Nothing is touched without --repair.\n"
        ".Pp\n.Cm clean\nremoves stale temp names at\n.Ar DST\nand in the local temp dir: what runs that are dead "
        "have\n"
        "left, never anything of a run that lives.\n"
        ".Pp\n.Cm status\ntells of past and present runs: of each pair of source and destination the last one, or the\n"
        "last 20 to\n.Ar DST ,\nand since when they have not ended well.\n"
        ".Pp\n.Cm doctor\nlooks whether\n.Ar DST\nand this machine are set up well: mount options, what the server\n"
        "grants, round trips, room, clocks.\nIt creates a few files of its own and removes them, and names each fix.\n"
        "It takes the options\n.Fl Fl json , Fl Fl temp\\-dir , Fl Fl io\\-timeout\n(default 15s),\n"
        ".Fl Fl retries , Fl Fl nfs\\-uid , Fl Fl nfs\\-gid , Fl Fl no\\-reserved\\-port\nand\n"
        ".Fl Fl no\\-io\\-uring .\n"
        ".Pp\nThe options are:\n.Bl -tag -width Ds\n",
        out);
    for (unsigned i = 0; i < options_table_rows; i++) {
        const struct option_row *row = &options_table[i];
        fputs(".It ", out);
        if (row->letter != 0) {
            fprintf(out, "Fl %c , ", row->letter);
        }
        fprintf(out, "Fl Fl %s", row->name);
        if (row->arg != NULL) {
            fprintf(out, row->optional ? " Ns Op = Ns Ar %s" : " Ns = Ns Ar %s", row->arg);
        }
        fputc('\n', out);
        man_text(out, row->help);
    }
    fputs(".El\n.Sh FILES\n.Bl -tag -width Ds\n.It Pa /etc/haul/haul.conf\n"
          "The jobs of\n.Fl Fl job ,\nin libconfig's format: a group\n.Ql jobs\nof groups, each with\n.Ql source ,\n"
          ".Ql destination\nand options under their long names, flags as true or false, several values in brackets;\n"
          "a group\n.Ql defaults\nfor those that a job does not have itself.\n.It Pa $XDG_STATE_HOME/haul/\n"
          "What was done, an SQLite database for each pair of source and destination\n(by default\n"
          ".Pa ~/.local/state/haul ) ,\nwith a lock file beside it; a damaged one is kept as\n.Pa *.corrupt-<time> .\n"
          ".It Pa .haul.<run id>.<random>\nTemp names beside the final names.\n.El\n"
          ".Sh EXIT STATUS\n.Bl -tag -width Ds\n",
          out);
    for (unsigned i = 0; i < status_table_rows; i++) {
        fprintf(out, ".It %d\n", status_table[i].status);
        man_text(out, status_table[i].meaning);
    }
    fputs(".El\n.Sh EXAMPLES\n.Dl haul copy /data /mnt/efs/data\n.Dl haul copy --exclude='*.tmp' --bwlimit=50M "
          "/data /mnt/efs/data\n.Dl haul copy /data nfs://fileserver/export/data\n.Sh SEE ALSO\n.Xr cp 1 ,\n.Xr rsync "
          "1 ,\n.Xr nfs 5\n",
          out);
}
