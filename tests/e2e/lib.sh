# What every whole-program test begins with: . "$(dirname "$0")/lib.sh"
#
# HAUL          the program under test
# HAUL_FAULTY   the same program with fault injection (HAUL_TEST_FAULT) built in
# HAUL_TOOLS    folder of maketree, cmptree, watch, swapdir, maxrss, faultfs
# HAUL_EXTRA    options that are given to every "haul copy" besides (--no-io-uring)
# HAUL_DST      nfs: destinations in $WORK are reached through a private NFS server, as nfs:// URLs; they are judged
#               where they lie, all the same. nfs3: over NFSv3, in a network of the script's own, where the server can
#               register
# E2E_TIMEOUT   seconds until the script is ended (300)
#
# $WORK is the script's own folder, removed at the end (kept with E2E_KEEP=1).
# shellcheck shell=bash

set -euo pipefail
if [ "${HAUL_DST:-}" = nfs3 ]; then
    . "$(dirname "${BASH_SOURCE[0]}")/ganesha.sh"
    own_network "$@"
fi
if [ -z "${E2E_INNER:-}" ]; then
    E2E_INNER=1 exec timeout -k 10 "${E2E_TIMEOUT:-300}" bash "$0" "$@"
fi
unset E2E_INNER

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HAUL=${HAUL:-$top/build/haul}
HAUL_TOOLS=${HAUL_TOOLS:-$top/build/tools}
HAUL_FAULTY=${HAUL_FAULTY:-$top/build/tools/haul_faulty}
HAUL_EXTRA=${HAUL_EXTRA:-}
HAUL_DST=${HAUL_DST:-}
E2E_RSYNC=()
E2E_CMPTREE=()
if [[ $HAUL_DST == nfs* ]]; then # Ganesha cannot set the times of symbolic links
    E2E_RSYNC=(--omit-link-times)
    E2E_CMPTREE=(--no-link-times)
fi
PATH=$HAUL_TOOLS:/usr/local/sbin:/usr/sbin:/sbin:$PATH
WORK=$(mktemp -d "${TMPDIR:-/tmp}/haul-e2e.XXXXXX")
chmod 755 "$WORK"
# The default temp dir of haul is in it, one for each script.
mkdir -m 1777 "$WORK/tmp"
export TMPDIR=$WORK/tmp
export XDG_STATE_HOME=$WORK/state
export LC_ALL=C.UTF-8
# Leaks are told apart from haul's own exit status 23.
export ASAN_OPTIONS="exitcode=99:${ASAN_OPTIONS:-}" LSAN_OPTIONS="exitcode=99:${LSAN_OPTIONS:-}"
SRC=$WORK/src
DST=$WORK/dst
E2E_PIDS=()
E2E_MOUNTS=()
umask 022

e2e_cleanup() {
    local status=$? pid mount
    trap - EXIT
    for pid in "${E2E_PIDS[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    for mount in "${E2E_MOUNTS[@]}"; do
        # One whose server is gone cannot be looked at, only be unmounted.
        ! grep -qF " $mount " /proc/mounts || umount "$mount" 2>/dev/null || umount -l "$mount" || true
    done
    if [ "${E2E_KEEP:-}" = 1 ]; then
        echo "kept: $WORK" >&2
    else
        chmod -R u+rwX "$WORK" 2>/dev/null || true
        rm -rf "$WORK"
    fi
    [ "$status" != 0 ] || echo "ok: $(basename "$0" .sh)${HAUL_DST:+ to $HAUL_DST}${HAUL_EXTRA:+ ($HAUL_EXTRA)}"
    exit "$status"
}
trap e2e_cleanup EXIT
trap 'exit 143' TERM INT

fail() {
    echo "FAILED: $*" >&2
    local file
    for file in "$WORK/out" "$WORK/err"; do
        [ -s "$file" ] && { echo "--- last $(basename "$file")" && tail -c 3000 "$file"; } >&2
    done
    exit 1
}

# Without root: skipped (77), but never in CI.
need_root() {
    [ "$(id -u)" = 0 ] && return
    [ "${CI:-}" = true ] && fail "needs root"
    echo "skipped: needs root"
    exit 77
}

# at PATH: what haul is told where PATH, in $WORK, is a destination.
at() {
    local path=$1
    if [[ $HAUL_DST != nfs* ]] || [[ $path != "$WORK"/* ]]; then
        echo "$path"
        return
    fi
    path=${path#"$WORK"}
    path=${path//%/%25}
    path=${path//\?/%3F}
    path=${path//#/%23}
    if [ "$HAUL_DST" = nfs ]; then
        echo "nfs://127.0.0.1:$(ganesha_port dst)/export$path"
    else
        echo "nfs://127.0.0.1:$(ganesha_port dst)$WORK$path?version=3&mountport=$(ganesha_mount_port dst)"
    fi
}

# haul COMMAND ARGUMENTS... DST: with the extra options.
haul() {
    local command=$1
    shift
    if [ $# = 0 ]; then
        # shellcheck disable=SC2086
        "$HAUL" "$command" $HAUL_EXTRA
        return
    fi
    # shellcheck disable=SC2086
    "$HAUL" "$command" $HAUL_EXTRA "${@:1:$#-1}" "$(at "${@:$#}")"
}

# A sanitizer's report never passes, whatever the exit status.
check_sanitizers() {
    if grep -qE 'Sanitizer|runtime error:' "$WORK/err"; then
        fail "a sanitizer complains"
    fi
}

# expect STATUS COMMAND ARGUMENTS...: runs haul; standard output in $WORK/out, standard error in $WORK/err. STATUS may be
# several: "0|23".
expect() {
    local want=$1 status=0
    shift
    haul "$@" >"$WORK/out" 2>"$WORK/err" || status=$?
    check_sanitizers
    case "|$want|" in
    *"|$status|"*) return 0 ;;
    esac
    fail "haul $*: exit status $status, not $want"
}

# figure NAME: of the "end" event in $WORK/out (a run with --json).
figure() {
    jq -ern --arg name "$1" '[inputs | select(.event == "end")][0][$name] | if . == null then . else tostring end' \
        "$WORK/out" || fail "no figure $1 in the output"
}

# figure_is NAME NUMBER
figure_is() {
    local have
    have=$(figure "$1")
    [ "$have" = "$2" ] || fail "figure $1 is $have, not $2"
}

# failures: the paths of all "failure" events, sorted.
failures() {
    jq -r 'select(.event == "failure") | .path' "$WORK/out" | sort
}

# err_has REGEX / out_has REGEX: on standard error, on standard output, of the last run.
err_has() {
    grep -qE -- "$1" "$WORK/err" || fail "standard error does not say '$1'"
}
out_has() {
    grep -qE -- "$1" "$WORK/out" || fail "standard output does not say '$1'"
}

# judge SRC DST [rsync options]: two judges that have nothing of haul in them: rsync, and cmptree, which looks at holes
# and groups of links too. Directory times count. judge_lax: directory times do not, and DST may hold more.
judge() {
    local src=$1 dst=$2 diff
    shift 2
    diff=$(rsync -aHn "${E2E_RSYNC[@]}" --checksum --delete --itemize-changes --exclude=/.haul "$@" "$src/" "$dst/") ||
        fail "rsync could not judge"
    [ -z "$diff" ] || fail "rsync finds: $(head -n 30 <<<"$diff")"
    cmptree "${E2E_CMPTREE[@]}" "$src" "$dst" >"$WORK/cmptree" || fail "cmptree finds: $(cat "$WORK/cmptree")"
}
judge_lax() {
    local diff
    diff=$(rsync -aHnO "${E2E_RSYNC[@]}" --checksum --itemize-changes --exclude=/.haul "$1/" "$2/") || fail "rsync could not judge"
    [ -z "$diff" ] || fail "rsync finds: $(head -n 30 <<<"$diff")"
    cmptree "${E2E_CMPTREE[@]}" --no-dir-times --no-extra "$1" "$2" >"$WORK/cmptree" || fail "cmptree finds: $(cat "$WORK/cmptree")"
}

# no_temps DST: no temp name is left.
no_temps() {
    local left
    left=$(find "$1" -name '.haul.*' -print -quit)
    [ -z "$left" ] || fail "a temp name is left: $left"
}

# background COMMAND...: started, its pid in $PID, and killed at the end if it still runs.
background() {
    "$@" &
    PID=$!
    E2E_PIDS+=("$PID")
}

# wait_until SECONDS COMMAND...: until COMMAND succeeds.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "waited in vain for: $*"
        sleep 0.01
    done
}

# start_haul ARGUMENTS... DST: haul copy in the background; $PID is the supervisor itself.
start_haul() {
    # shellcheck disable=SC2086
    "$HAUL" copy $HAUL_EXTRA "${@:1:$#-1}" "$(at "${@:$#}")" >"$WORK/out" 2>"$WORK/err" &
    PID=$!
    E2E_PIDS+=("$PID")
}

# has_temp FOLDER [OPTIONS of find]: a file is being written there.
has_temp() {
    [ -n "$(find "$@" -name '.haul.*.*' -size +0 2>/dev/null)" ]
}

# start_live SRC [OPTIONS]: a copy of SRC to $WORK/live/below that lives beside what comes next; it is writing a file when
# this returns. $LIVE is the supervisor itself. end_live: it ends well, all has arrived, and nothing else is left.
start_live() {
    LIVE_SRC=$1
    shift
    rm -rf "$WORK/live"
    mkdir "$WORK/live"
    "$HAUL" copy --stage never "$@" "$LIVE_SRC" "$(at "$WORK/live/below")" >"$WORK/live.out" 2>&1 &
    LIVE=$!
    E2E_PIDS+=("$LIVE")
    wait_until 30 has_temp "$WORK/live"
}
end_live() {
    local status=0
    wait "$LIVE" || status=$?
    [ "$status" = 0 ] || fail "the run that was alive ended with $status: $(cat "$WORK/live.out")"
    judge_lax "$LIVE_SRC" "$WORK/live/below"
    no_temps "$WORK/live"
}

# start_faultfs BACKING MOUNTPOINT [OPTIONS...]: a file system that misbehaves when it is told to (tools/faultfs.c); what
# it did is in $WORK/faultfs.log. faultfs_tell COMMAND...: and it is done when this returns.
start_faultfs() {
    local backing=$1 mount=$2
    shift 2
    [ -c /dev/fuse ] || { echo "skipped: no /dev/fuse" && exit 77; }
    mkdir -p "$backing" "$mount"
    rm -f "$WORK/faultfs.control"
    : >"$WORK/faultfs.log"
    E2E_MOUNTS+=("$mount")
    background faultfs "$@" "$backing" "$mount" "$WORK/faultfs.control" "$WORK/faultfs.log"
    FAULTFS=$PID
    wait_until 10 grep -qF " $mount " /proc/mounts
}
faultfs_tell() {
    local told
    told=$(grep -c '^command' "$WORK/faultfs.log" || true)
    echo "$*" >"$WORK/faultfs.control"
    wait_until 10 eval '[ "$(grep -c "^command" "$WORK/faultfs.log" || true)" -gt '"$told"' ]'
}

# settle: what was changed just before a copy is read again by the next run, rightly (P7). Tests that count what a second
# run does let the clock of the file system move on first.
settle() {
    sleep 0.1
}

# start_watch ARGUMENTS... / stop_watch: the checker process that looks at the destination all the while.
start_watch() {
    watch "$@" >"$WORK/watch.out" 2>"$WORK/watch.err" &
    WATCH=$!
    E2E_PIDS+=("$WATCH")
}
stop_watch() {
    local status=0
    kill -TERM "$WATCH" 2>/dev/null || true
    wait "$WATCH" || status=$?
    [ "$status" = 0 ] || fail "a final name held what it must not hold: $(cat "$WORK/watch.err")"
}

# elapsed_ms COMMAND...: runs it and leaves its milliseconds in $MS.
elapsed_ms() {
    local begin end
    begin=$(date +%s%N)
    "$@"
    end=$(date +%s%N)
    MS=$(((end - begin) / 1000000))
}

# random_ms MAX: a random number of milliseconds as seconds for sleep.
random_ms() {
    local n=$(((RANDOM * 32768 + RANDOM) % ($1 + 1)))
    printf '%d.%03d\n' $((n / 1000)) $((n % 1000))
}

if [[ $HAUL_DST == nfs* ]]; then
    need_root
    . "$top/tests/e2e/ganesha.sh"
    if [ "$HAUL_DST" = nfs3 ]; then
        export GANESHA_V3=1
        start_portmap
    fi
    start_ganesha dst "$WORK"
fi
