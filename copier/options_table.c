#include "copier/options.h"
#include "copier/status.h"

const struct option_row options_table[] = {
    {OPT_EXCLUDE, 0, false, "exclude", "PATTERN",
     "Leave out what matches PATTERN, with rsync's meaning: a leading / anchors it at the root of SRC, a trailing / "
     "matches directories only, * and ? stop at /, ** does not. The first --exclude or --include that matches "
     "decides."},
    {OPT_INCLUDE, 0, false, "include", "PATTERN", "Keep what matches PATTERN, whatever later patterns say."},
    {OPT_FILES_FROM, 0, false, "files-from", "FILE",
     "Copy only the paths that FILE lists (- is standard input), one a line, relative to SRC. Their parent directories "
     "are made; a directory in the list is made but not entered."},
    {OPT_FROM0, '0', false, "from0", NULL, "The list of --files-from is separated by NUL instead of newlines."},
    {OPT_ONE_FILE_SYSTEM, 'x', false, "one-file-system", NULL,
     "Do not go into other file systems; their mount points arrive as empty directories."},
    {OPT_DRY_RUN, 'n', false, "dry-run", NULL,
     "Print what would be copied, and with --delete removed, and change nothing."},
    {OPT_JOBS, 'j', false, "jobs", "N",
     "Keep N operations in flight. Without it the number tunes itself to the destination."},
    {OPT_BWLIMIT, 0, false, "bwlimit", "RATE",
     "Write at most RATE a second: a bare number counts KiB, or with a suffix as 500K, 20M, 1.5G; 0 is no limit."},
    {OPT_OPS_LIMIT, 0, false, "ops-limit", "N",
     "Ask the destination for at most N operations a second, to spare its burst credits: a small file published, a "
     "part "
     "of a large one, a directory listed or made, a look, a removal is one each; on a mount the kernel makes several "
     "calls of one (5 or so of a file), over nfs:// it is one COMPOUND. 0 is no limit."},
    {OPT_RETRIES, 0, false, "retries", "N",
     "Repeat an operation that failed with a passing error up to N times (default 5); 0 never repeats. A source file "
     "that changes while it is read is tried again as often."},
    {OPT_RETRY_DELAY, 0, false, "retry-delay", "TIME",
     "Wait TIME before the first repeat (default 500ms), then twice as long each time, at most 30s."},
    {OPT_IO_TIMEOUT, 0, false, "io-timeout", "TIME",
     "Give up an operation at source or destination that has no answer after TIME (default 120s, 1s at least), on hard "
     "mounts too: its file is reported, and the others go on. Where nothing is answered any more, haul ends within 5 "
     "seconds. 0 waits for ever."},
    {OPT_FSYNC, 0, false, "fsync", NULL, "Make each file durable before it gets its final name."},
    {OPT_OWNER, 0, false, "owner", "HOW",
     "auto: keep owner and group where the destination lets us (default); require: a file whose owner cannot be set "
     "fails; ignore: do not keep them."},
    {OPT_CHMOD, 0, false, "chmod", "CHANGES",
     "Copy as if the source had other permission bits, with rsync's meaning: comma-separated chmod(1) changes such as "
     "u+rwX,go-w, g=u or 644; D before one is for directories only, F for everything else only."},
    {OPT_CHOWN, 0, false, "chown", "USER:GROUP",
     "Copy as if all of the source belonged to USER and GROUP, names or numbers; either may be left out (USER, "
     ":GROUP). "
     "Without root only your own user and groups."},
    {OPT_XATTRS, 'X', false, "xattrs", NULL,
     "Keep extended attributes: user.*, as root trusted.* and security.* (file capabilities) too. What the destination "
     "cannot hold is said once, with a count."},
    {OPT_ACLS, 'A', false, "acls", NULL,
     "Keep POSIX ACLs, default ACLs of directories too. A destination that has none keeps mode bits only; that is said "
     "once, with a count."},
    {OPT_RECHECK, 0, false, "recheck", "P%",
     "Look again at P percent of what was published, two seconds later or at the end, and publish again what is not "
     "right any more: mode 000, no bytes, another size or type (default 1%). 0 looks at nothing again, 100% at "
     "everything."},
    {OPT_ARCHIVE_DIRS, 0, false, "archive-dirs", NULL, "Keep the times of directories too."},
    {OPT_STAGE, 0, false, "stage", "WHEN",
     "What goes through the local temp dir before the destination sees it. auto (default): what is larger than 1 MiB, "
     "as "
     "a reflink where the temp dir can have them of the source, else, to a network destination, as a copy; always: "
     "every "
     "regular file (one that finds no room goes straight to the destination, which is said once); never: nothing."},
    {OPT_TEMP_DIR, 0, false, "temp-dir", "DIR",
     "The local temp dir (default $TMPDIR/haul-<uid>, or /tmp/haul-<uid>). It is made where it is missing (0700), and "
     "must "
     "be our own, writable for nobody else, and outside of SRC and DST."},
    {OPT_STAGE_MAX, 0, false, "stage-max", "SIZE",
     "With --stage auto, copy no file larger than SIZE into the temp dir (default 128M): more than that would be "
     "copied here while the destination waits. Reflinks are made of any "
     "size."},
    {OPT_TEMP_SPACE, 0, false, "temp-space", "SIZE",
     "Let the copies in the temp dir take at most SIZE at a time (default: a quarter of what is free there)."},
    {OPT_SPARSE, 'S', true, "sparse", "HOW",
     "auto: holes of the source stay holes (default); always, or without HOW: runs of zeros become holes too; never: "
     "everything is written."},
    {OPT_PARTIAL_MAX_AGE, 0, false, "partial-max-age", "TIME",
     "What is there already of a large file that did not arrive whole is gone on with by the next run, unless the "
     "source "
     "has changed or the last work on it was more than TIME ago (default 7d): then it is removed. 0 keeps nothing."},
    {OPT_DELETE, 0, false, "delete", NULL,
     "sync: once all is copied, remove what haul published and the source has no more. What haul never published goes "
     "too "
     "with --compare=dest alone. Excluded names stay; below a directory that could not be read nothing is removed, nor "
     "with --files-from."},
    {OPT_DELETE_EXCLUDED, 0, false, "delete-excluded", NULL, "sync: as --delete, and remove excluded names too."},
    {OPT_MAX_DELETE, 0, false, "max-delete", "N",
     "sync: where more than N entries (or N%) would be removed, remove none and end with 25 (default 25% once there "
     "are "
     "more than 100 entries)."},
    {OPT_DETECT_RENAMES, 0, false, "detect-renames", NULL,
     "sync, with --delete: a file that was renamed, or lies in a directory that was, is not copied once more: what "
     "haul "
     "published under the former name gets the new one. It is the same file where device, inode, size and mtime are as "
     "they were; where ctime is not, which moves when the file itself is renamed, its contents are read at the source "
     "and compared with the recorded hash. One that has several names, another owner or more permission bits than "
     "before is copied; so is one whose copy at DST somebody has changed. Not with --compare=checksum, --files-from, "
     "--xattrs, --acls."},
    {OPT_COMPARE, 0, false, "compare", "WHAT",
     "sync: state (default): what is remembered as it is at the source is right, and the destination is not asked; "
     "dest: "
     "compare with the destination, one listing a directory; checksum: and compare contents, all of them."},
    {OPT_CHECKSUM, 'c', false, "checksum", NULL, "sync: the same as --compare=checksum."},
    {OPT_AUDIT, 0, false, "audit", "P%",
     "sync: look at P percent of the directories at the destination, others in each run, so that each is looked at "
     "within "
     "100/P runs (default 0)."},
    {OPT_ACCEPT_DESTINATION, 0, false, "accept-new-destination", NULL,
     "sync: go on although the destination is not the one of the last sync; it is compared as a whole."},
    {OPT_SOURCE, 0, false, "source", "DIR",
     "scan: what DST should hold. What is so in DIR too is no finding, and what is otherwise there is one for "
     "certain."},
    {OPT_OLDER_THAN, 0, false, "older-than", "TIME",
     "scan, clean: of a run that is not known to be dead, and of other tools, only temp names that were not changed "
     "for "
     "TIME (default 1d)."},
    {OPT_OTHERS, 0, false, "others", NULL,
     "clean: remove temp names of rsync, rclone, juicefs and NFS clients (.nfsXXXX) too."},
    {OPT_READ_SOURCE, 0, false, "read-source", NULL,
     "verify: read the contents of all files at the source too. Without it a source file that has not changed since it "
     "was copied counts as having the contents that it had then."},
    {OPT_SAMPLE, 0, false, "sample", "P%",
     "verify: compare the contents of P percent of the files, of others each time (default 100%); attributes are "
     "compared of all."},
    {OPT_FRESH, 0, false, "fresh", NULL,
     "verify: begin anew, though the last verification was interrupted and could be gone on with."},
    {OPT_REPAIR, 0, true, "repair", "KINDS",
     "scan: mend what is found, of these KINDS, separated by commas: corrupt (alone where no KINDS are given), empty, "
     "differs, times, temp, unreadable, or all. What is certain to have lost its contents is published again from "
     "--source, as haul copy does it; owner, mode and times are set; stale temp names are removed. What somebody has "
     "changed at DST since it was published is left, as far as the state tells, but for files that have lost every "
     "byte; so is what changes meanwhile. With --dry-run only told."},
    {OPT_MAX_REPAIR, 0, false, "max-repair", "N",
     "scan: where more than N entries (or N%) would be mended, moved or removed, touch none (default 25% once there "
     "are more than 100 entries). Temp names do not count."},
    {OPT_QUARANTINE, 0, false, "quarantine", "DIR",
     "scan: with --repair, move damaged files that the source does not have to DIR, a folder of this machine, under "
     "their own paths; what each was is noted in DIR/haul-quarantine.jsonl. Nothing there is overwritten."},
    {OPT_REMOVE, 0, false, "remove", NULL,
     "scan: with --repair, remove damaged files that the source does not have, where they hold no byte."},
    {OPT_MAX_DURATION, 0, false, "max-duration", "TIME",
     "Stop after TIME (50m, 2h) with exit status 30: nothing more is begun, what is under way is dropped or left for "
     "the "
     "next run to go on with, and haul is gone within 5 seconds."},
    {OPT_STOP_AT, 0, false, "stop-at", "MOMENT",
     "The same at MOMENT, local time: 04:30 is the next time that the clock shows it, 2-28T04:30 the next such day, or "
     "2031-02-28T04:30."},
    {OPT_STATS, 0, false, "stats", NULL, "Print more figures at the end."},
    {OPT_PROGRESS, 0, false, "progress", NULL,
     "Show the progress line every second even where standard error is not a terminal."},
    {OPT_QUIET, 'q', false, "quiet", NULL, "Print failures only."},
    {OPT_JSON, 0, false, "json", NULL,
     "Write events to standard output, one JSON object a line; text for people goes to standard error."},
    {OPT_METRICS, 0, false, "metrics", "FILE",
     "Tell a monitoring in FILE what is done (Prometheus' text format; give it a name in .prom for node_exporter): "
     "written when the run begins, every 5 seconds, and when it ends, always replaced as a whole. What it says of the "
     "last success outlives runs that fail or are refused. A dry run leaves it alone."},
    {OPT_WAIT, 0, false, "wait", "TIME",
     "Wait up to TIME where another run works on the destination, or on a directory above it (default 0s: leave)."},
    {OPT_STATE, 0, false, "state", "FILE",
     "Remember what was done in FILE instead of $XDG_STATE_HOME/haul (~/.local/state/haul)."},
    {OPT_DIRECT, 0, false, "direct", NULL,
     "Where SRC or DST is on a kernel mount of NFS, speak to its server without the mount, as if it were the nfs:// "
     "URL of the same directory. Where that cannot be, haul says why and uses the mount."},
    {OPT_NFS_UID, 0, false, "nfs-uid", "USER",
     "To an nfs:// server, be USER, a name or a number, with the groups that USER has here (default: who runs "
     "haul)."},
    {OPT_NFS_GID, 0, false, "nfs-gid", "GROUP",
     "To an nfs:// server, be in GROUP, a name or a number, before all other groups (default: the user's)."},
    {OPT_NO_RESERVED_PORT, 0, false, "no-reserved-port", NULL,
     "Connect to an nfs:// server from any port. As root it is one below 1024 else, which many servers demand."},
    {OPT_NO_IO_URING, 0, false, "no-io-uring", NULL, "Do not use io_uring."},
    {OPT_JOB, 0, false, "job", "NAME",
     "sync: take SRC, DST and options from the job NAME in the configuration file. What stands on the command line "
     "overrides them; its patterns come before the job's."},
    {OPT_CONFIG, 0, false, "config", "FILE", "Read the jobs from FILE (default /etc/haul/haul.conf)."},
    {OPT_LIST_JOBS, 0, false, "list-jobs", NULL,
     "Print the configuration file's jobs and leave; with --json an object a line. Everything in the file is checked "
     "but "
     "values of options."},
    {OPT_HELP, 'h', true, "help", "man", "Print this help and leave; --help=man prints the man page's source."},
    {OPT_VERSION, 'V', false, "version", NULL, "Print the version and leave."},
};
const unsigned options_table_rows = sizeof options_table / sizeof options_table[0];

const struct status_row status_table[] = {
    {STATUS_OK, "Everything arrived, or was cleaned up."},
    {STATUS_USAGE, "Wrong use; nothing was touched."},
    {STATUS_CANNOT,
     "Cannot read or write at all, the destination is full, another run's or does not answer, or the engine crashed; "
     "stopped early."},
    {STATUS_INTERRUPTED, "Interrupted by a signal; the next run goes on."},
    {STATUS_SOME_FAILED, "Some entries did not arrive; each is reported."},
    {STATUS_MAX_DELETE, "--max-delete stopped the removals: nothing was removed, all else was done."},
    {STATUS_OUT_OF_TIME, "Out of time (--max-duration, --stop-at); the next run goes on."},
    {STATUS_FOUND, "Something at the destination is not as it should be, and was left so (scan, verify)."},
    {STATUS_SOME_CHANGED, "Some source entries vanished or kept changing; all others arrived."},
    {STATUS_UNWELL, "doctor: something is set up badly; each finding says what to do."},
};
const unsigned status_table_rows = sizeof status_table / sizeof status_table[0];
