#!/usr/bin/env bash
# A sync to a hard kernel mount whose link is cut before the end of its window, for ever: it is gone with 30 within 5 s of
# the end, with the link still cut; once that is back, what was left behind goes by itself and the next sync completes.
# With io_uring and without.
if [ "${1:-}" = --slices ]; then
    echo 1
    exit
fi
. "$(dirname "$0")/../lab/enter.sh" --rtt 500us --timeout 900 --size 512m

maketree spread "$SRC" 20 400 8192
head -c 8000000 /dev/urandom >"$SRC/large"
settle

window=25 # s

under_way() {
    [ "$(find "$EXPORT/$1" -type f ! -name '.haul.*' 2>/dev/null | wc -l)" -ge 40 ]
}
gone() {
    ! pgrep -f "sync .*$NFS/$1" >/dev/null
}
# window NAME OPTIONS...
window() {
    local name=$1 status=0 end=$((EPOCHSECONDS + window)) late
    shift
    "$HAUL" sync --io-timeout 300s --bwlimit 200k --stop-at "$(date -d "@$end" +%H:%M:%S)" "$@" "$SRC" "$NFS/$name" >"$WORK/out" 2>"$WORK/err" &
    PID=$!
    E2E_PIDS+=("$PID")
    wait_until $window under_way "$name"
    net_cut
    kill -0 "$PID" 2>/dev/null || fail "$name: the link was cut too late: $(cat "$WORK/err")"
    wait "$PID" || status=$?
    late=$(awk -v end="$end" -v now="$EPOCHREALTIME" 'BEGIN { printf "%.1f", now - end }')
    [ "$status" = 30 ] || fail "$name: exit status $status, not 30: $(cat "$WORK/err")"
    awk -v late="$late" 'BEGIN { exit !(late >= -0.1 && late <= 5) }' || fail "$name: gone $late s after the end of its window"
    echo "$name: gone $late s after the end of its window: $(tail -n 1 "$WORK/err")"
    err_has 'out of time: .*NOT everything arrived'
    net_heal
    wait_until 120 gone "$name"
    expect 0 sync --wait 60s "$SRC" "$NFS/$name"
    out_has 'resuming run 1 \(out of time'
    judge_lab "$SRC" "$name"
    no_temps "$EXPORT/$name"
}

window ring
window plain --no-io-uring
