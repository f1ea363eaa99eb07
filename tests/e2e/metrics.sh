#!/usr/bin/env bash
# --metrics: a file for Prometheus, always whole, judged by Prometheus' own parser; what it says of the last success
# outlives runs that fail, are refused, or are killed.
. "$(dirname "$0")/lib.sh"
PATH=$top/tests/tools:$PATH

M=$WORK/prom/haul.prom
mkdir "$SRC" "$WORK/prom"
# metric NAME [LABEL=VALUE]... / metric_is VALUE NAME ...
metric() {
    promcheck "$M" "$@" || fail "promcheck $*"
}
metric_is() {
    local have
    have=$(metric "${@:2}")
    [ "$have" = "$1" ] || fail "${*:2} is $have, not $1"
}
# success_is SECONDS: the moment as a run has it, and as the state does, are not the same to the millisecond.
success_is() {
    local have
    have=$(metric haul_last_success_timestamp_seconds)
    [ "${have%.*}" -ge "$((${1%.*} - 1))" ] && [ "${have%.*}" -le "$((${1%.*} + 1))" ] || fail "success at $have, not $1"
}
alone() {
    [ "$(ls -A "$WORK/prom")" = haul.prom ] || fail "there is more: $(ls -A "$WORK/prom")"
}

# Refused before anything is touched.
for i in $(seq 100); do head -c 100000 /dev/urandom >"$SRC/f$i"; done
ln "$SRC/f1" "$SRC/link"
ln -s f1 "$SRC/symlink"
settle
expect 11 sync --metrics "$WORK/none/haul.prom" "$SRC" "$DST"
err_has "metrics '.*none/haul.prom': No such file"
mkdir "$WORK/folder"
expect 11 sync --metrics "$WORK/folder" "$SRC" "$DST"
err_has 'it is no regular file'
expect 11 sync --metrics /dev/null "$SRC" "$DST"
[ -c /dev/null ] || fail "/dev/null was replaced"
expect 1 sync --metrics= "$SRC" "$DST"
[ ! -e "$DST" ] || fail "the destination was made"

# A run that does not succeed, with nothing known: at 1 MiB a second 10 MB take 10 s. Whoever reads the file meanwhile
# always finds all of it, and sees it move.
promcheck --watch "$M" "$WORK/stop" >"$WORK/watched" &
WATCHER=$!
E2E_PIDS+=("$WATCHER")
expect 30 sync --metrics "$M" --bwlimit 1M --max-duration 7s "$SRC" "$DST"
touch "$WORK/stop"
wait "$WATCHER" || fail "half a file"
read -r files running bytes <"$WORK/watched"
[ "$files" -ge 3 ] && [ "$running" -ge 2 ] && [ "$bytes" -gt 1000000 ] || fail "seen while it ran: $(cat "$WORK/watched")"
metric_is 30 haul_last_exit_status
metric_is 0 haul_last_success_timestamp_seconds
metric_is 0 haul_run_in_progress
metric_is 0 haul_in_flight
some=$(metric haul_run_files)
[ "$some" -gt 10 ] && [ "$some" -lt 100 ] || fail "$some files"
[ "$(metric haul_run_unfinished)" -gt 0 ] || fail "nothing is left"
alone

# One that does.
began=$(date +%s)
expect 0 sync --json --metrics "$M" "$SRC" "$DST"
metric_is 0 haul_last_exit_status
metric_is $((100 - some)) haul_run_files
metric_is "$(figure bytes)" haul_run_bytes
metric_is "$(figure same)" haul_run_same_entries
metric_is 100 haul_run_source_entries kind=file
metric_is 1 haul_run_source_entries kind=link
metric_is 1 haul_run_walk_complete
metric_is 2 haul_run_number
metric_is 1 haul_info command=sync "source=$SRC" "destination=$(at "$DST")"
metric_is "$(jq -r 'select(.event == "end") | [.operations[] | select(.side == "destination").count] | add' "$WORK/out")" \
    haul_operation_duration_seconds_count side=destination
[ "$(metric haul_operation_duration_seconds_count side=source)" -gt 0 ] || fail "nothing measured at the source"
success=$(metric haul_last_success_timestamp_seconds)
[ "${success%.*}" -ge "$began" ] && [ "${success%.*}" -le "$(date +%s)" ] || fail "success at $success, begun at $began"
alone
[ "$(stat -c %a "$M")" = 644 ] || fail "not everybody may read it"

# A dry run leaves it alone; one that is refused, one with failures, one that is killed say nothing new of success.
cp "$M" "$WORK/before"
expect 0 sync --metrics "$M" --dry-run "$SRC" "$DST"
cmp "$M" "$WORK/before" || fail "a dry run has written"
expect 11 sync --metrics "$M" "$WORK/no such source" "$DST"
metric_is 1 haul_info command=sync "source=$WORK/no such source"
metric_is 0 haul_last_success_timestamp_seconds "source=$WORK/no such source" # another pair's is not its own
cp "$WORK/before" "$M"
mv "$DST" "$DST.away"
expect 11 sync --metrics "$M" "$SRC" "$DST"
metric_is 11 haul_last_exit_status
success_is "$success"
metric_is 0 haul_run_number
mv "$DST.away" "$DST"
echo more >"$SRC/more"
rm "$SRC/f7"
HAUL=$HAUL_FAULTY HAUL_TEST_FAULT=2:EACCES:before:publish expect 23 sync --metrics "$M" "$SRC" "$DST"
metric_is 23 haul_last_exit_status
metric_is 1 haul_run_errors
success_is "$success"
rm "$M" # the state knows too
HAUL=$HAUL_FAULTY HAUL_TEST_FAULT=2:EACCES:before:publish expect 23 sync --metrics "$M" "$SRC" "$DST"
success_is "$success"
HAUL=$HAUL_FAULTY HAUL_TEST_FAULT=2:ESTALE:before:publish expect 0 sync --json --delete --retry-delay 10ms \
    --metrics "$M" "$SRC" "$DST"
metric_is 1 haul_run_deletions
metric_is 1 haul_run_retries
metric_is "$(jq -r 'select(.event == "end") | [.operations[].failed] | add' "$WORK/out")" haul_operation_failures
success=$(metric haul_last_success_timestamp_seconds)

head -c 30000000 /dev/urandom >"$SRC/large"
start_haul --metrics "$M" --bwlimit 2M "$SRC" "$DST"
is_under_way() { [ "$(promcheck "$M" haul_run_in_progress)" = 1 ]; }
wait_until 20 is_under_way
kill -KILL "$PID"
wait "$PID" 2>/dev/null || true
success_is "$success"
expect 0 copy --metrics "$M" "$SRC" "$DST"
metric_is 0 haul_last_exit_status
metric_is 1 haul_info command=copy

# What a label cannot hold.
odd=$WORK/$'o"d\\d\nn\xffame'
mkdir "$odd"
expect 0 copy --metrics "$M" "$odd" "$WORK/odd"
metric_is 1 haul_info 'source='"$WORK/"'o"d\\d\nn\377ame'
expect 1 copy --metrics "$M" "$odd" "$SRC/more"
metric_is 1 haul_last_exit_status

# Where the last file cannot be written, that is told.
rm -rf "$WORK/odd"
mkdir "$WORK/gone"
start_haul --metrics "$WORK/gone/haul.prom" --bwlimit 2M "$SRC" "$WORK/odd"
wait_until 20 test -e "$WORK/gone/haul.prom"
mv "$WORK/gone" "$WORK/elsewhere"
status=0
wait "$PID" || status=$?
[ "$status" = 23 ] || fail "exit status $status"
err_has "metrics '.*gone/haul.prom': No such file"
err_has 'everything arrived, but the metrics could not be written'
