/*
 * haul: a parallel bulk copier for NFS and Amazon EFS.
 *
 * The house, from the ground up; arrows go one way (base <- workers <- planner, cleanup <- copier):
 *
 * base/clock.c                       monotonic and wall-clock time
 * base/errs.c                        one table of what an errno means to a copy
 * base/queue.c                       a bounded queue of pointers between threads
 * base/dir.c                         the tree of directory nodes: paths are chains of names, never cut strings
 * base/name.c                        run ids, temp names, names as they are shown
 * base/notice.c                      what is said once, with a count
 *
 * workers/fiber.c                    many small flows of control in one thread
 * workers/io.c                       waiting and waking: modes, sleeps, turns of a thread
 * workers/io_calls.c                 the system calls, each by the way that fits
 * workers/io_direct.c                plain system calls
 * workers/io_looks.c                 a directory read and its entries looked at, in one go
 * workers/io_sockets.c               sockets, each wait with a limit
 * workers/io_timers.c                requests in order of their time
 * workers/io_ring.c                  through io_uring
 * workers/io_helpers.c               by helper threads
 * workers/buffers.c                  memory for staging, bounded over all workers
 * workers/tune.c                     how many operations to keep in flight
 * workers/pool.c                     worker threads that carry out the shards of a queue
 * workers/pool_flight.c              one item in its fiber, until it is over or given up
 * workers/pool_worker.c              one worker: its shards and fibers
 * workers/pool_offer.c               work besides the queue, and when a pool has ended
 * workers/pool_tune.c                measures, and asks tune
 * workers/fence.c                    nothing is renamed or removed after the lease has run out
 * workers/xattrs.c                   extended attributes of an entry
 * workers/store.c                    the contract of a place that files are read from or published to
 *
 * workers/stores/posix.c             a directory or mount
 * workers/stores/posix_mount.c       what the kernel tells about its mount
 * workers/stores/posix_dirs.c        its directory handles
 * workers/stores/posix_list.c        listings
 * workers/stores/posix_read.c        attributes and contents
 * workers/stores/posix_publish.c     a whole small file, by way of a temp name
 * workers/stores/posix_exclusive.c   the same, only where nothing stands
 * workers/stores/posix_upload.c      a large file, part by part
 * workers/stores/posix_resume.c      one that an earlier run has left
 * workers/stores/posix_stage.c       nameless files of a local temp dir
 * workers/stores/posix_entries.c     directories, links, nodes, attributes, removal
 * workers/stores/posix_owner.c       owner, mode and times, set
 * workers/stores/posix_xattrs.c      extended attributes and ACLs
 * workers/stores/nfs3/nfs3.c         an NFSv3 server
 * workers/stores/nfs3/nfs3_path.c    portmapper, mountd, the way to its path
 * workers/stores/nfs3/nfs3_probe.c   what it can do
 * workers/stores/nfs3/nfs3_call.c    one remote procedure, until it is answered
 * workers/stores/nfs3/nfs3_long.c    the one call that libnfs has no room for
 * workers/stores/nfs3/nfs3_dirs.c    handles of directories
 * workers/stores/nfs3/nfs3_owner.c   how it refuses owners
 * workers/stores/nfs3/nfs3_read.c    attributes and contents
 * workers/stores/nfs3/nfs3_list.c    listings
 * workers/stores/nfs3/nfs3_temp.c    temp names: made, settled, renamed, dropped
 * workers/stores/nfs3/nfs3_publish.c whole small files
 * workers/stores/nfs3/nfs3_upload.c  large files, and those that were left
 * workers/stores/nfs3/nfs3_entries.c directories, links, nodes
 * workers/stores/nfs3/nfs3_change.c  attributes, removal
 * workers/stores/nfs3/nfs3err.c      the table of what NFSv3 statuses mean
 * workers/stores/nfs3/req.c          procedures as libnfs has them: arguments and results
 * workers/stores/nfs3/wire.c         one TCP connection with libnfs on it
 * workers/stores/nfs41/nfs41.c       an NFSv4.1 server
 * workers/stores/nfs41/nfs41_look.c  looking around there, capabilities
 * workers/stores/nfs41/nfs41_path.c  the way to its export, missing directories
 * workers/stores/nfs41/nfs41_probe.c what it can do
 * workers/stores/nfs41/nfs41_call.c  one COMPOUND
 * workers/stores/nfs41/nfs41_dirs.c  handles of directories
 * workers/stores/nfs41/nfs41_owner.c how it refuses owners, and their names
 * workers/stores/nfs41/nfs41_read.c  attributes and contents
 * workers/stores/nfs41/nfs41_list.c  listings
 * workers/stores/nfs41/nfs41_temp.c  temp names: made, settled, renamed, dropped
 * workers/stores/nfs41/nfs41_guard.c an entry is still what was meant
 * workers/stores/nfs41/nfs41_judge.c what is done when one is not what it should be
 * workers/stores/nfs41/nfs41_publish.c  whole small files
 * workers/stores/nfs41/nfs41_gather.c  several of them in one COMPOUND
 * workers/stores/nfs41/nfs41_upload.c  large files
 * workers/stores/nfs41/nfs41_resume.c  one that was left, taken up again
 * workers/stores/nfs41/nfs41_entries.c  directories, links, nodes
 * workers/stores/nfs41/nfs41_change.c  attributes, removal
 * workers/stores/nfs41/ops.c         the operations of NFSv4.1: arguments and results
 * workers/stores/nfs41/attrs.c       its attributes
 * workers/stores/nfs41/xdr.c         External Data Representation, both ways
 * workers/stores/nfs41/nfserr.c      the table of what NFSv4.1 statuses mean
 * workers/stores/nfs41/rpc.c         one TCP connection
 * workers/stores/nfs41/rpc_call.c    one call on it; who sends, who reads
 * workers/stores/nfs41/rpc_receive.c what comes in: records, replies, payloads
 * workers/stores/nfs41/client.c      what all sessions with a server share
 * workers/stores/nfs41/compound.c    a COMPOUND, built and decoded in place
 * workers/stores/nfs41/session.c     a session, opened and closed
 * workers/stores/nfs41/session_make.c client id and session, made again when lost
 * workers/stores/nfs41/session_connect.c connections, made again when they break
 * workers/stores/nfs41/session_slots.c slots: taken, waited for, retired
 * workers/stores/nfs41/session_call.c one call until it is answered
 * workers/stores/nfs_caps.c          what servers can do, whatever the version
 * workers/stores/nfs_dirs.c          handles of directories, whatever the version
 * workers/stores/nfs_listing.c       what their listings remember, whatever the version
 * workers/stores/want.c              who may own what, whatever the store
 * workers/stores/nfs_want.c          what is said where a server cannot hold it, whatever its version
 * workers/stores/layer.c             what the layers before a store share
 * workers/stores/backoff.c           pauses that double
 * workers/stores/retry.c             repeats what failed with a passing error
 * workers/stores/throttle.c          --bwlimit, --ops-limit
 * workers/stores/remap.c             --chmod and --chown: a source as it is wished for
 * workers/stores/dry.c               takes every change and makes none
 * workers/stores/claim.c             asks before the first change
 * workers/stores/watch.c             measures operations, knows what is under way
 * workers/stores/watch_tally.c       its figures
 * workers/stores/fault.c             fails the Nth operation, for tests
 * workers/stores/null.c              a destination with nothing behind it
 *
 * planner/planner.c                  phases and threads, the end of an item
 * planner/item.c                     one entry that a worker is to carry out
 * planner/filter.c                   --exclude and --include
 * planner/wild.c                     matches one pattern
 * planner/compare.c                  whether the destination has what the source has
 * planner/stack.c                    pending directories
 * planner/walk.c                     the walk
 * planner/enter.c                    a directory, and its counterpart at the destination
 * planner/entry.c                    what is to be done for one entry
 * planner/extra.c                    extended attributes, compared
 * planner/there.c                    what stands in a directory at the destination, listed once
 * planner/shards.c                   items into shards, shards into the queue
 * planner/finish.c                   directories that have nothing left to do
 * planner/recall.c                   what is remembered of a directory, read at once
 * planner/summary.c                  the same in one piece, to be kept
 * planner/first.c                    what earlier runs have left comes first
 * planner/gone.c                     what the source has no more
 * planner/links.c                    the table of hard-link groups
 * planner/linkphase.c                further names of files, after everything else
 * planner/filesfrom.c                --files-from
 * planner/lines.c                    its lines
 * planner/chain.c                    directory nodes along a path
 *
 * cleanup/temps.c                    purges temp names of dead runs
 * cleanup/stale.c                    whose a temp name is, and whether it is stale
 * cleanup/tour.c                     through all directories of a store, many at a time
 * cleanup/judge.c                    whether an entry is as it should be
 * cleanup/beside.c                   what a directory holds at the other side, listed once
 * cleanup/mend.c                     what is to be done about a finding
 * cleanup/finding.c                  what is not as it should be, in words
 * cleanup/janitor.c                  the thread that goes behind a run
 * cleanup/janitor_look.c             looks again at what was published
 *
 * copier/main.c                      this file
 * copier/options.c                   the command line
 * copier/options_look.c              what scan, verify and clean take
 * copier/jobfile.c                   the file of jobs
 * copier/options_table.c             the truth for parsing, help and man page
 * copier/help.c                      --help and the man page
 * copier/quantity.c                  sizes, rates and durations as people write them
 * copier/chmod.c                     --chmod: parsed and applied
 * copier/chown.c                     --chown: whose everything is to be
 * copier/server.c                    the store at a server, for either version of NFS
 * copier/url.c                       nfs:// as people write it
 * copier/mounts.c                    whether SRC lies on a mount of DST's server
 * copier/mounturl.c                  the server behind a mount as a URL, or why not
 * copier/mountcalls.c                what a mount has cost in calls
 * copier/direct.c                    what a copy would have saved without the mount
 * copier/places.c                    SRC and DST, checked
 * copier/supervisor.c                the process that owes the exit status: lock, signals, deadline
 * copier/window.c                    until when a run may work
 * copier/channel.c                   what supervisor and engine say to each other
 * copier/engine.c                    one run from start to report
 * copier/engine_src.c                the source: found, opened with its layers
 * copier/engine_dst.c                the destination: found, made, opened with its layers
 * copier/nfsuser.c                   who the run is to a server
 * copier/engine_end.c                how it ends
 * copier/engine_lease.c              when its lease is taken, what is said about it
 * copier/lease.c                     one owner for a destination: renewed, lost, given back
 * copier/lease_take.c                taken: the own one, those above, a dead one
 * copier/lease_look.c                whether a holder lives
 * copier/lease_text.c                what stands in the file
 * copier/copyfile.c                  carries out one item
 * copier/tempdir.c                   the local temp dir: found, checked, made
 * copier/staging.c                   which files go through it, and its room
 * copier/copystage.c                 brings one file into it
 * copier/sparse.c                    runs of zeros in what was read
 * copier/copyxattrs.c                extended attributes of an item
 * copier/drystate.c                  the state of a sync that changes nothing: a copy
 * copier/left.c                      what a sync leaves undone, and since when
 * copier/sync.c                      haul sync: which destination, what is trusted, what may go
 * copier/copysync.c                  contents compared, entries removed
 * copier/copyrename.c                files that have another name than before
 * copier/copylarge.c                 one large or sparse file: begun or resumed, published or left for the next run
 * copier/copyparts.c                 its parts, copied by several workers at once
 * copier/copypart.c                  one part: read, hashed and written
 * copier/partials.c                  large files that earlier runs have left unfinished
 * copier/events.c                    what planner and workers report: failures, records
 * copier/upkeep.c                    the janitor's part in a run: what is repaired, reported, purged
 * copier/look.c                      what haul scan, verify and clean share: a run without a planner
 * copier/look_report.c               what it tells
 * copier/scan.c                      haul scan
 * copier/repair.c                    its --repair: what is mended, and when
 * copier/repair_one.c                one finding mended
 * copier/repair_state.c              what the state remembers of that
 * copier/quarantine.c                a folder for what is moved away
 * copier/clean.c                     haul clean
 * copier/remembered.c                which state remembers a destination
 * copier/verify.c                    haul verify: both sides listed, put together, handed out
 * copier/verify_names.c              the entries of one directory
 * copier/verify_attrs.c              what differs in attributes, in words
 * copier/verify_entry.c              one entry: what is wrong with it, looked at twice
 * copier/verify_more.c               which names are one file, extended attributes, ACLs
 * copier/verify_contents.c           contents, hashed, by parts where they are large
 * copier/filehash.c                  XXH3-128 over the XXH3-128 of fixed parts
 * copier/living.c                    which runs live, by states and leases
 * copier/finishdirs.c                directories that are finished side by side
 * copier/finding_json.c              a finding as an event
 * copier/watchdog.c                  bounds what gets no answer
 * copier/ticker.c                    progress and background syncs
 * copier/state.c                     the memory of what was done: its life, its runs
 * copier/state_path.c                where it is kept
 * copier/state_db.c                  its SQLite file: schema, damage
 * copier/state_queue.c               what is to be written
 * copier/state_writer.c              writes it in batches
 * copier/state_read.c                looks it up
 * copier/state_intents.c             what is about to be published
 * copier/state_renames.c             source files found by what they are
 * copier/state_recall.c              all entries of a directory at once
 * copier/state_summary.c             a directory's entries in one piece, for those that have not changed
 * copier/state_left.c                directories in which runs have left something undone
 * copier/state_place.c               which destination it is about
 * copier/state_history.c             what a state file tells of its runs
 * copier/state_look.c                a state file looked at beside a run that works with it
 * copier/state_mend.c                what a repair has a state remember
 * copier/ledger.c                    what a look found, in the state
 * copier/state_looks.c               what a state tells of looks and their findings
 * copier/history_looks.c             the same in haul status
 * copier/state_verify.c              what a verification remembers
 * copier/history.c                   haul status
 * copier/metrics.c                   --metrics: the file, and when it is written
 * copier/metrics_text.c              what stands in it
 * copier/doctor.c                    haul doctor: from the place to the exit status
 * copier/doctor_chart.c              its lines and figures
 * copier/doctor_judge.c              lines out of what was measured and granted
 * copier/doctor_local.c              this machine, and the room at a destination
 * copier/doctor_measure.c            what a file costs at a store
 * copier/doctor_mount.c              the options of a kernel NFS mount
 * copier/report.c                    failures, progress and summary, for people and as events
 * copier/report_times.c              where the time went
 * copier/report_server.c             what a server granted, and what passed between
 * copier/json.c                      one event a line
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "copier/doctor.h"
#include "copier/engine.h"
#include "copier/history.h"
#include "copier/jobfile.h"
#include "copier/look.h"
#include "copier/options.h"
#include "copier/status.h"
#include "copier/supervisor.h"
#include "copier/window.h"

static int run_engine(void *arg, int channel)
{
    return engine_run(arg, channel);
}

static int run_look(void *arg, int channel)
{
    return look_run(arg, channel);
}

static int run_doctor(void *arg, int channel)
{
    return doctor_run(arg, channel);
}

/*
 * A standard stream that is closed would hand its number to the next file that is opened, and what is printed would go
 * there. Standard input and output are opened the wrong way round, so that their use fails and is told.
 */
static int guard_standard_streams(void)
{
    static const int flags[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags[fd]) != fd) {
            return -1;
        }
    }
    return 0;
}

/* What was printed must have been written. */
static int printed(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("haul: standard output");
        return STATUS_CANNOT;
    }
    return STATUS_OK;
}

int main(int argc, char **argv)
{
    struct options options;
    if (guard_standard_streams() != 0) {
        return STATUS_CANNOT;
    }
    signal(SIGXFSZ, SIG_IGN); /* a file that is too large for us is an error of that file */
    if (options_parse(argc, argv, stderr, &options) != 0) {
        return STATUS_USAGE;
    }
    int status = STATUS_OK;
    switch (options.command) {
    case COMMAND_HELP:
        options_help(stdout);
        status = printed();
        break;
    case COMMAND_MAN:
        options_man(stdout);
        status = printed();
        break;
    case COMMAND_VERSION:
        puts("haul " HAUL_VERSION);
        status = printed();
        break;
    case COMMAND_JOBS:
        status = jobfile_list(&options, stdout, stderr);
        status = status == STATUS_OK ? printed() : status;
        break;
    case COMMAND_STATUS:
        status = history_show(&options, stdout, stderr);
        status = printed() != STATUS_OK ? STATUS_CANNOT : status;
        break;
    case COMMAND_DOCTOR:
        status = supervisor_run(run_doctor, &options, 0);
        break;
    case COMMAND_COPY:
    case COMMAND_SYNC:
        options.until_ns = window_end(options.max_duration_ns, options.stop_at);
        status = supervisor_run(run_engine, &options, options.until_ns);
        break;
    case COMMAND_SCAN:
    case COMMAND_CLEAN:
    case COMMAND_VERIFY:
        options.until_ns = window_end(options.max_duration_ns, options.stop_at);
        status = supervisor_run(run_look, &options, options.until_ns);
        break;
    }
    options_release(&options);
    return status;
}
