#!/usr/bin/env bash
# The link to a hard kernel mount is cut for ever in the middle of a run: the run is gone 5 s after its deadline at most,
# or 5 s after Ctrl-C, and says what hangs; once the link is back, the next run completes.
. "$(dirname "$0")/../lab/enter.sh" --rtt 500us --timeout 900 --size 512m --mem 3072

T=6 # --io-timeout, s

maketree spread "$SRC" 20 400 8192
head -c 16000000 /dev/urandom >"$SRC/large"

# run NAME ARGUMENTS...: a run to there in a group of its own, and the link is cut once 60 files have arrived. A script's
# background job gets SIGINT ignored, and haul leaves it so.
run() {
    local name=$1
    shift
    setsid env --default-signal=INT "$HAUL" copy --io-timeout ${T}s "$@" "$SRC" "$NFS/$name" >"$WORK/out" 2>"$WORK/err" &
    PID=$!
    E2E_PIDS+=("$PID")
    wait_until 300 under_way "$name" 60
    net_cut
    CUT=$EPOCHREALTIME
    kill -0 "$PID" 2>/dev/null || fail "the link was cut too late: $(cat "$WORK/err")"
}
under_way() {
    [ "$(find "$EXPORT/$1" -type f ! -name '.haul.*' 2>/dev/null | wc -l)" -ge "$2" ]
}
# ended STATUS SINCE SECONDS: the run ends with that status, that long after that moment at most.
ended() {
    local status=0 took
    wait "$PID" || status=$?
    took=$(awk -v a="$2" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
    [ "$status" = "$1" ] || fail "exit status $status, not $1"
    awk -v took="$took" -v most="$3" 'BEGIN { exit !(took <= most) }' || fail "took $took s, not $3 s at most"
    echo "gone after $took s (at most $3): $(tail -n 1 "$WORK/err")"
}
last_line() {
    tail -n 1 "$WORK/err" | grep -qE -- "$1" || fail "the last line is '$(tail -n 1 "$WORK/err")'"
}
# heal NAME: the link is back; what was left behind goes by itself then.
heal() {
    net_heal
    wait_until 120 eval "! pgrep -f 'copy .*$NFS/$1' >/dev/null"
}
# completed NAME: the next run brings everything, and nothing else is left there.
completed() {
    expect 0 copy "$SRC" "$NFS/$1"
    out_has 'resuming run'
    judge_lab "$SRC" "$1"
    no_temps "$EXPORT/$1"
    [ ! -e "$EXPORT/$1/.haul" ] || fail ".haul stays"
}

# The deadline. What hangs is named in the last line, and everything under way is listed with operation and seconds.
run deadline --json
ended 11 "$CUT" $((T + 5))
last_line "stopped early: the destination does not answer: [a-z-]+ '.+' has waited for ([6-9]|1[01]) s; NOT everything arrived"
err_has '^.+: destination: [a-z-]+: no answer for [0-9]+ s; outcome unknown'
jq -en '[inputs | select(.event == "failure") | .error == "ETIMEDOUT" and .waited_seconds >= 0 and .path != ""] | any' \
    "$WORK/out" >/dev/null || fail "no event tells what has no answer"
heal deadline
completed deadline

# Ctrl-C, without io_uring, long before the deadline.
run ctrlc --no-io-uring --io-timeout 300s
sleep 1
at=$EPOCHREALTIME
kill -INT -- "-$PID"
ended 20 "$at" 5
last_line '^(haul: )?interrupted.*NOT everything arrived'
heal ctrlc
completed ctrlc
