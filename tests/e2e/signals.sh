#!/usr/bin/env bash
# Interrupted: gone within 5 s, exit 20, no temp names; the next run goes on and says so. Killed engine, killed
# supervisor.
. "$(dirname "$0")/lib.sh"

maketree told "$SRC" 1500 4 1

# start: a run that takes long, and is under way when this returns.
start() {
    before=$(arrived_now)
    # Standard output stays free for nobody: setsid makes a group of its own, as a terminal would. A script's
    # background job gets SIGINT ignored, and haul leaves it so.
    # shellcheck disable=SC2086
    setsid env --default-signal=INT "$HAUL" copy $HAUL_EXTRA --archive-dirs --bwlimit 6M "$SRC" "$(at "$DST")" >"$WORK/out" 2>"$WORK/err" &
    PID=$!
    E2E_PIDS+=("$PID")
    wait_until 60 under_way
    ENGINE=$(pgrep -P "$PID") || fail "no engine"
    E2E_PIDS+=("$ENGINE")
}
arrived_now() {
    { find "$DST" -type f ! -name '.haul.*' 2>/dev/null || true; } | wc -l
}
under_way() {
    kill -0 "$PID" 2>/dev/null || fail "the run ended before it could be interrupted"
    [ "$(arrived_now)" -ge $((before + 20)) ]
}
# ended STATUS: waits for the run; within 5 s, no temp names.
ended() {
    local status=0 begin=$SECONDS
    wait "$PID" || status=$?
    check_sanitizers
    [ $((SECONDS - begin)) -le 5 ] || fail "took $((SECONDS - begin)) s to end"
    [ "$status" = "$1" ] || fail "exit status $status, not $1"
}
is_gone() {
    [ ! -d "/proc/$1" ] || grep -q '^State:.[ZX]' "/proc/$1/status" 2>/dev/null
}

for signal in INT TERM HUP; do
    start
    kill -$signal "$PID"
    ended 20
    is_gone "$ENGINE" || fail "the engine lives on"
    no_temps "$DST"
    err_has 'interrupted: NOT everything arrived'
done

# The next run says so, and goes on.
expect 0 copy --archive-dirs "$SRC" "$DST"
out_has 'resuming run 3 \((interrupted|failed).* ago.*\): .* of .* done'
judge "$SRC" "$DST"
expect 0 copy --archive-dirs --json "$SRC" "$DST"
figure_is todo 0
! grep -q resuming "$WORK/out" "$WORK/err" || fail "a run after a success says that it resumes"
rm -rf "$DST"

# Resuming does not send again what arrived: the first part is told, and was not written again.
start
kill -INT "$PID"
ended 20
find "$DST" -type f ! -name '.haul.*' -printf '%P %i\n' | sort >"$WORK/arrived"
arrived=$(wc -l <"$WORK/arrived")
expect 0 copy --archive-dirs --json "$SRC" "$DST"
[ "$(jq -r 'select(.event == "start") | .resumed' "$WORK/out")" != null ] || fail "the start event does not tell"
[ "$(figure files)" -le $((1504 - arrived)) ] || fail "$(figure files) files copied, but $arrived had arrived"
find "$DST" -type f ! -name '.haul.*' -printf '%P %i\n' | sort | comm -13 - "$WORK/arrived" >"$WORK/again"
[ ! -s "$WORK/again" ] || fail "written again though it had arrived: $(head -n 3 "$WORK/again")"
judge "$SRC" "$DST"
rm -rf "$DST"

# The whole group at once, as a terminal does, and a second signal.
start
kill -INT -- "-$PID"
ended 20
no_temps "$DST"
start
kill -INT "$PID"
kill -TERM "$PID" 2>/dev/null || true
ended 20
expect 0 copy --archive-dirs "$SRC" "$DST"
judge "$SRC" "$DST"
no_temps "$DST"
rm -rf "$DST"

# Only the engine is killed: the supervisor says so, and it is no stop that somebody asked for.
start
kill -KILL "$ENGINE"
ended 11
err_has 'NOT everything arrived'
expect 0 copy --archive-dirs "$SRC" "$DST"
out_has 'resuming run'
judge "$SRC" "$DST"
no_temps "$DST"
rm -rf "$DST"

# Only the supervisor is killed: the engine does not live on without it.
start
kill -KILL "$PID"
wait "$PID" 2>/dev/null || true
wait_until 10 is_gone "$ENGINE"
expect 0 copy --archive-dirs "$SRC" "$DST"
judge "$SRC" "$DST"
no_temps "$DST"

# Two runs of one pair at once: the second leaves, the first is not disturbed.
rm -rf "$DST"
start
status=0
# shellcheck disable=SC2086
"$HAUL" copy $HAUL_EXTRA "$SRC" "$(at "$DST")" >"$WORK/out2" 2>"$WORK/err2" || status=$?
[ "$status" = 11 ] || [ "$status" = 1 ] || fail "a second run of the same pair: exit status $status"
[ -s "$WORK/err2" ] || fail "a second run of the same pair leaves without a word"
kill -INT "$PID"
ended 20
