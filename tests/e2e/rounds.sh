#!/usr/bin/env bash
# Months of hourly syncs in minutes: rounds of random changes at the source (tools/shake.c), each followed by a sync with
# --delete, before which now and then something happens to one: killed, interrupted, out of time, the disk full, a file
# that fails, a source that changes meanwhile; over nfs:// a connection cut, a server that is restarted; or to what it
# remembers, or to the destination behind its back. After each clean one rsync finds nothing to do.
#
# HAUL_DST=lab: in the lab, to its kernel mount (lab_rounds.long.sh); the link is cut for a while then, or the server stopped.
# ROUNDS: how many. SEED: of an earlier run, to see it again (what depends on the clock will differ).
. "$(dirname "$0")/lib.sh"

rounds=${ROUNDS:-20}
[ "$HAUL_DST" != nfs ] || rounds=${ROUNDS:-10}
files=200
[ "$HAUL_DST" != lab ] || files=60 # its processor is emulated
SEED=${SEED:-$((($(date +%N | sed 's/^0*//;s/^$/1/') / 1000) % 32768))}
RANDOM=$SEED
echo "SEED=$SEED"

# pick FROM TO
pick() { PICK=$(($1 + (RANDOM * 32768 + RANDOM) % ($2 - $1 + 1))); }

# The destination: a disk of its own that can be full, or a folder on that of the source, where files are cloned.
pick 0 1
disk=no
if [ $PICK = 0 ] && [ "$(id -u)" = 0 ] && [ "$HAUL_DST" != lab ]; then
    disk=$WORK/disk
    mkdir "$disk"
    mount -t tmpfs -o size=200m tmpfs "$disk"
    E2E_MOUNTS+=("$disk")
    DST=$disk/dst
fi
[ "$HAUL_DST" != lab ] || DST=$EXPORT/dst # where it is judged
to=$DST
[ "$HAUL_DST" != lab ] || to=$NFS/dst
there=$DST # where others change it
[ "$HAUL_DST" != lab ] || there=$to
if [ "$HAUL_DST" = nfs ]; then
    mkdir -p "$WORK/out.there"
    [ $disk != no ] || DST=$WORK/out.there/dst
    there=$DST
    start_ganesha far "$(dirname "$DST")"
    start_cutproxy "$(ganesha_port far)"
    to=nfs://127.0.0.1:$CUT_PORT/export/dst
fi
# With the times of directories, or without.
pick 0 1
always=(--delete --max-delete=100% --wait 20s)
lax=(-O)
lax_tree=(--no-dir-times)
[ $PICK = 0 ] || always+=(--archive-dirs) lax=() lax_tree=()
echo "to $to, ${always[*]}"

# renames ARGUMENTS...: every third sync detects renames, where that can be had: $RENAMES.
renames() {
    RENAMES=
    [[ "$*" == *checksum* ]] || [ $((RANDOM % 3)) != 0 ] || RENAMES=--detect-renames
}

# run PROGRAM ARGUMENTS...: a sync; its exit status in $STATUS.
run() {
    local program=$1
    shift
    STATUS=0
    renames "$@"
    # shellcheck disable=SC2086
    "$program" sync $HAUL_EXTRA "${always[@]}" $RENAMES "$@" "$SRC" "$to" >"$WORK/out" 2>"$WORK/err" || STATUS=$?
    check_sanitizers
}

# said WHAT STATUSES: the last run may have ended so.
said() {
    echo "  $1${RENAMES:+, $RENAMES}: exit status $STATUS"
    [[ "|$2|" == *"|$STATUS|"* ]] || fail "round $round, $1: exit status $STATUS, not $2"
}

# start_sync ARGUMENTS...: the same in the background; $PID. end_sync: waits for it.
start_sync() {
    renames "$@"
    # shellcheck disable=SC2086
    background env --default-signal=INT "$HAUL" sync $HAUL_EXTRA "${always[@]}" $RENAMES "$@" "$SRC" "$to" >"$WORK/out" 2>"$WORK/err"
}
end_sync() {
    STATUS=0
    wait "$PID" || STATUS=$?
    check_sanitizers
}

# under_way MS: after a random time of at most MS milliseconds.
under_way() {
    pick 0 "$1"
    sleep "$((PICK / 1000)).$(printf %03d $((PICK % 1000)))"
}

# faulty: an operation of a sync fails, or the run is killed there.
faulty() {
    local fault all=publish,begin,write,commit,link,symlink,mkdir,setattr,remove
    pick 1 60
    case $1 in
    1) fault="$PICK:EIO:kill:$all" ;;
    2) fault="$((PICK / 4 + 1)):EIO:kill:remove,link,setattr,mkdir" ;;
    3) fault="$PICK+100000:ENOSPC:before:publish,begin,write,commit,link,symlink,mkdir" ;;
    4) fault="$PICK+$((1 + PICK % 5)):EIO:before:$all" ;;
    5) fault="$PICK:EIO:after:publish,commit,link,symlink,mkdir,setattr,remove" ;;
    esac
    HAUL_TEST_FAULT=$fault run "$HAUL_FAULTY" --retries 0
    said "$fault" '0|11|23'
}

full_disk() {
    local left
    left=$(($(df --output=avail -B1 "$disk" | tail -n 1)))
    pick 0 2000000
    fallocate -l $((left > PICK ? left - PICK : 1)) "$disk/ballast"
    run "$HAUL" --retries 0
    rm "$disk/ballast"
    said "a full disk" '0|11|23'
}

# mishap: a sync to which something happens. It may also come through.
mishap() {
    local kind
    pick 1 $([ -z "$HAUL_DST" ] && echo 12 || echo 16)
    kind=$PICK
    [ -z "${KINDS:-}" ] || kind=$(shuf -n 1 -e $KINDS)
    case $kind in
    [1-5]) faulty "$kind" ;;
    6)
        start_sync
        under_way 250
        kill -KILL "$PID" 2>/dev/null || true
        end_sync
        said "kill -9" '0|137'
        ;;
    7)
        start_sync
        under_way 250
        pick 0 1
        kill "$([ $PICK = 0 ] && echo -INT || echo -TERM)" "$PID" 2>/dev/null || true
        end_sync
        said "a signal" '0|20|130|143'
        ;;
    8 | 9)
        pick 1 200
        run "$HAUL" --max-duration "${PICK}ms"
        said "a window of $PICK ms" '0|30'
        ;;
    10) if [ $disk != no ]; then full_disk; else faulty 3; fi ;;
    11 | 12)
        pick 1 1000000
        start_sync --retries 1 --retry-delay 10ms
        shake "$SRC" "$PICK" 15 >>"$WORK/changes"
        end_sync
        said "changed meanwhile" '0|23|24'
        ;;
    1[3-6])
        if [ "$HAUL_DST" = lab ]; then lab_cut; else cut_off; fi
        ;;
    esac
}

# A connection is cut, or all of them; or the server is.
cut_off() {
    case $kind in
    13 | 14)
        pick 1 80
        cut_tell cut "$([ $((PICK % 2)) = 0 ] && echo up || echo down)" \
            "$([ $((PICK % 3)) = 0 ] && echo within || echo before)" "$PICK" records times $((1 + PICK % 4))
        run "$HAUL" --retries 3 --retry-delay 10ms
        cut_tell heal
        said "cut at record $PICK" 0
        ;;
    15)
        start_sync --io-timeout 1s --retries 0
        under_way 250
        cut_tell refuse
        cut_tell reset
        end_sync
        cut_tell heal
        said "the server is gone" '0|11|23'
        ;;
    16)
        start_sync
        under_way 250
        pick 0 1
        restart_ganesha far "$([ $PICK = 0 ] && echo forget)"
        end_sync
        said "the server was restarted" 0
        ;;
    esac
}

# The kernel's client waits until the link, or the server, is there again.
lab_cut() {
    local off on
    if [ $((kind % 2)) = 0 ]; then off=server_stop on=server_start; else off=net_cut on=net_heal; fi
    start_sync
    under_way 2000
    $off
    sleep 1
    $on
    end_sync
    said "$off for a second" 0
}

# tampered: what haul remembers is lost or old, or the destination is not as it left it. A sync that compares puts it right.
tampered() {
    local lost=no
    pick 1 4
    case $PICK in
    1)
        echo "  the state is lost"
        rm -rf "$XDG_STATE_HOME"
        lost=yes
        ;;
    2)
        echo "  the state is an old one"
        [ ! -d "$WORK/old" ] || { rm -rf "$XDG_STATE_HOME" && cp -a "$WORK/old" "$XDG_STATE_HOME"; }
        lost=yes
        ;;
    3)
        echo "  the destination is changed by others"
        pick 1 1000000
        mv "$there/.haul" "$(dirname "$there")/.haul.aside" # nobody touches that
        shake "$there" "$PICK" 10 >>"$WORK/changes"
        mv "$(dirname "$there")/.haul.aside" "$there/.haul"
        ;;
    4)
        echo "  haul copy in between"
        # shellcheck disable=SC2086
        STATUS=0
        "$HAUL" copy $HAUL_EXTRA --wait 20s "$SRC" "$to" >"$WORK/out" 2>"$WORK/err" || STATUS=$?
        said copy '0|23'
        ;;
    esac
    run "$HAUL" --accept-new-destination
    said "a sync after that" '0|23'
    run "$HAUL" --compare=checksum
    said "one that compares everything" 0
    # Of two runs that were killed one after the other nothing but the state knows that the first is dead.
    [ "$lost" = no ] || "$HAUL" clean --quiet --older-than 0s "$to" >"$WORK/out" 2>"$WORK/err" || fail "clean: $?"
}

judged() {
    local diff
    diff=$(rsync -aHn "${lax[@]}" "${E2E_RSYNC[@]}" --checksum --delete --itemize-changes --exclude=/.haul "$SRC/" "$DST/") ||
        fail "rsync could not judge"
    [ -z "$diff" ] || fail "round $round: rsync finds: $(head -n 30 <<<"$diff")"
    cmptree "${lax_tree[@]}" "${E2E_CMPTREE[@]}" --no-contents "$SRC" "$DST" >"$WORK/cmptree" ||
        fail "round $round: cmptree finds: $(cat "$WORK/cmptree")"
    no_temps "$DST"
    # All is settled: nothing is remembered that may be otherwise at the destination.
    diff=$(sqlite3 "$XDG_STATE_HOME"/haul/*.db 'SELECT d.path, CAST(f.name AS TEXT), f.flags, f.mode FROM files f
        LEFT JOIN dirs d ON d.id = f.dir WHERE f.flags & 2 OR f.mode = 0')
    [ -z "$diff" ] || fail "round $round: the state has entries that were only announced: $diff"
}

# Nothing has changed since: nothing is done.
idle() {
    settle
    run "$HAUL"
    said "after a while" 0
    run "$HAUL" --json
    figure_is files 0
    figure_is attrs 0
    figure_is removed 0
    judged
}

options=('' '' '' '' --audit=30% --compare=dest --jobs=1 --no-io-uring --compare=checksum --stage=always)
maketree spread "$SRC" 10 $files 3000
pick 1 1000000
shake "$SRC" $PICK $files >"$WORK/changes"
for round in $(seq "$rounds"); do
    pick 0 2
    for _ in $(seq $PICK); do
        mishap
        pick 0 1
        seed=$RANDOM
        [ $PICK = 0 ] || shake "$SRC" $seed $((1 + seed % 10)) >>"$WORK/changes"
    done
    pick 1 12
    [ $PICK != 1 ] || [ "$round" = 1 ] || tampered
    pick 0 $((${#options[@]} - 1))
    # shellcheck disable=SC2086
    run "$HAUL" ${options[PICK]}
    said "round $round ${options[PICK]}" 0
    judged
    pick 1 6
    [ $PICK != 1 ] || idle
    [ $PICK != 2 ] || { rm -rf "$WORK/old" && cp -a "$XDG_STATE_HOME" "$WORK/old"; }
    pick 1 1000000
    shake "$SRC" $PICK $((PICK % 40)) >"$WORK/changes"
done
