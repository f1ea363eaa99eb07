#!/usr/bin/env bash
# The server's lease on its client: a run that has nothing to ask for longer than it lasts keeps it, and one that stood
# still for longer, so that the server has forgotten it, goes on where it was.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ganesha.sh"

need_root
export HAUL_TEST_PERIOD=60000 # ms: haul's own lease is not what is asked for here
lease=3
mkdir "$WORK/export"
GANESHA_LEASE=$lease
start_ganesha idle "$WORK/export"
url=nfs://127.0.0.1:$GANESHA_PORT/export

family() {
    local child
    echo "$1"
    for child in $(cat "/proc/$1/task"/*/children 2>/dev/null); do
        family "$child"
    done
}
all() {
    # shellcheck disable=SC2046
    kill "-$1" $(family "$PID")
}
nfs_figure() {
    jq -s "[.[].nfs | select(. != null)] | last | .$1" "$WORK/out"
}
is_known() { [ "$(ganesha_clients idle)" = "$1" ]; }

# After the first file the limit makes the second wait three times as long as the lease lasts.
mkdir -p "$SRC/one"
for name in first second; do
    head -c $((lease * 3 * 10240)) /dev/urandom >"$SRC/one/$name"
done
settle
begin=$(date +%s)
start_haul --bwlimit 10K --json "$SRC/one" "$url/waits"
wait "$PID" || fail "waits: exit status $?: $(cat "$WORK/err")"
took=$(($(date +%s) - begin))
[ "$took" -gt $((lease * 2)) ] || fail "it did not wait: $took s"
[ "$(nfs_figure rebuilds)" = 0 ] || fail "the session was lost: $(nfs_figure rebuilds)"
judge_lax "$SRC/one" "$WORK/export/waits"

# Stopped until the server has forgotten it.
maketree spread "$SRC/many" 20 400 3000
settle
start_haul --ops-limit 200 --json "$SRC/many" "$url/stops"
published() { [ "$(find "$WORK/export/stops" -name 'f*' -type f 2>/dev/null | wc -l)" -gt 20 ]; }
wait_until 30 published
all STOP
wait_until 60 is_known 0
all CONT
wait "$PID" || fail "stops: exit status $?: $(cat "$WORK/err")"
figure_is failed 0
[ "$(nfs_figure rebuilds)" -gt 0 ] || fail "it was never forgotten"
judge_lax "$SRC/many" "$WORK/export/stops"
no_temps "$WORK/export"
wait_until 30 is_known 0
[ "$(ganesha_holds idle "$WORK/export")" = 0 ] || fail "a file is held open"
stop_ganesha idle
