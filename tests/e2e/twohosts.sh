#!/usr/bin/env bash
# One owner for a destination that two hosts share: namespaces of network, host name, processes and mounts, and a state
# directory, for each. A holder that stands still is taken over; when it goes on, it leaves before it changes anything.
. "$(dirname "$0")/lib.sh"
need_root
unshare -n -u -p -m -f true 2>/dev/null || fail "namespaces are not to be had"

# The server listens on the loopback address of this network.
net=-n
[ "$HAUL_DST" != nfs ] || net=

export HAUL_TEST_PERIOD=500 # ms between two renewals
files=400
for host in alpha beta; do
    mkdir -p "$WORK/src.$host/dir"
    for i in $(seq $files); do
        { echo "$host $i" && head -c 8000 /dev/zero | tr '\0' "${host:0:1}"; } >"$WORK/src.$host/dir/$i"
    done
    head -c 2000000 /dev/urandom >"$WORK/src.$host/big"
done

# on HOST ARGUMENTS...: haul copy on that host, from that host's source, into $DST; out.HOST, err.HOST.
on() {
    local host=$1
    shift
    # shellcheck disable=SC2016,SC2086
    XDG_STATE_HOME=$WORK/state.$host exec unshare $net -u -p -m -f --mount-proc --kill-child \
        sh -c 'hostname "$0" && exec "$@"' "$host" \
        "$HAUL_FAULTY" copy $HAUL_EXTRA "$@" "$WORK/src.$host" "$(at "$DST")" >"$WORK/out.$host" 2>"$WORK/err.$host"
}
finish() {
    local status=0
    (on "$@") || status=$?
    [ "$status" = 0 ] || fail "$1 ended with $status: $(cat "$WORK/out.$1" "$WORK/err.$1")"
}
lease_of() { [ "$(jq -r .host "$DST/.haul/lease" 2>/dev/null)" = "$1" ]; }
published() { [ "$(ls "$DST/dir" 2>/dev/null | wc -l)" -gt "$1" ]; }

# family PID: it and all that it has started.
family() {
    local child
    echo "$1"
    for child in $(cat "/proc/$1/task"/*/children 2>/dev/null); do
        family "$child"
    done
}
all() {
    # shellcheck disable=SC2046
    kill "-$1" $(family "$2")
}
start_alpha() { # JOBS [BWLIMIT]
    rm -rf "$DST"
    background on alpha --bwlimit "${2:-700K}" --jobs "$1"
    wait_until 60 lease_of alpha
    wait_until 60 published 10
}

# While it lives, the other leaves.
start_alpha 4
status=0
(on beta) || status=$?
[ "$status" = 11 ] || fail "beta ended with $status"
grep -q "another run works on '$(at "$DST")' (host alpha, process [0-9]*, run " "$WORK/err.beta" || fail "$(cat "$WORK/err.beta")"
! grep -rlq '^beta' "$DST" || fail "beta has copied something"
wait "$PID" || fail "alpha: $(cat "$WORK/err.alpha")"
judge_lax "$WORK/src.alpha" "$DST"

# It stands still: taken over after three periods, and when it goes on, it leaves. Once one at a time, once many.
for jobs in 1 32; do
    start_alpha "$jobs" 200K # it must not have ended before it is stopped, however busy the machine
    all STOP "$PID"
    finish beta --wait 60s --archive-dirs
    [ ! -e "$DST/.haul" ] || fail ".haul stays after beta's success"
    all CONT "$PID"
    status=0
    wait "$PID" || status=$?
    [ "$status" = 11 ] || fail "alpha ended with $status: $(cat "$WORK/err.alpha")"
    grep -q "another run has taken '$(at "$DST")' over" "$WORK/err.alpha" || fail "$(cat "$WORK/err.alpha")"
    # Whatever alpha held is gone, and nothing of beta's was replaced.
    no_temps "$DST"
    rsync -aHnO --checksum --delete --itemize-changes "$WORK/src.beta/" "$DST/" >"$WORK/diff"
    [ ! -s "$WORK/diff" ] || fail "alpha changed what is beta's: $(head "$WORK/diff")"
done

# The same while the successor is still at work: it is named, and not disturbed.
start_alpha 4 200K
all STOP "$PID"
alpha=$PID
background on beta --wait 60s --bwlimit 400K
wait_until 60 lease_of beta
all CONT "$alpha"
status=0
wait "$alpha" || status=$?
[ "$status" = 11 ] || fail "alpha ended with $status: $(cat "$WORK/err.alpha")"
grep -q "another run has taken '$(at "$DST")' over (host beta, process [0-9]*, run " "$WORK/err.alpha" ||
    fail "$(cat "$WORK/err.alpha")"
lease_of beta || fail "beta lost its lease"
wait "$PID" || fail "beta: $(cat "$WORK/err.beta")"
rsync -aHnO --checksum --delete --itemize-changes "$WORK/src.beta/" "$DST/" >"$WORK/diff"
[ ! -s "$WORK/diff" ] || fail "alpha changed what is beta's: $(head "$WORK/diff")"

# Killed with its host: taken over too, and finished, and nothing of the dead run stays, though beta's memory does not know
# it; temp names of a run that nobody knows do.
start_alpha 4 200K
run=$(jq -r .run "$DST/.haul/lease")
all KILL "$PID"
wait "$PID" 2>/dev/null || true
: >"$DST/.haul.$run.00000000000000aa"
: >"$DST/dir/.haul.$run.00000000000000bb"
: >"$DST/dir/.haul.0123456789abcdef.00000000000000cc"
finish beta --wait 60s --archive-dirs
grep -q "looking whether it lives" "$WORK/out.beta" || fail "$(cat "$WORK/out.beta")"
rm "$DST/dir/.haul.0123456789abcdef.00000000000000cc" || fail "a temp name of an unknown run was removed"
no_temps "$DST"
rsync -aHnO --checksum --delete --itemize-changes "$WORK/src.beta/" "$DST/" >"$WORK/diff"
[ ! -s "$WORK/diff" ] || fail "beta's tree is not right: $(head "$WORK/diff")"
