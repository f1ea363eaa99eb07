#!/usr/bin/env bash
# haul doctor: a local directory and a server: what it measures and finds, in text and as events; what cannot be used has a
# message; interrupted, or without an answer, it ends in time; nothing of its own stays anywhere.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ganesha.sh"
need_root

# last NAME: of the event "doctor". mark TOPIC: of the first check of that topic.
last() {
    jq -er "select(.event == \"doctor\") | $1 | tostring" "$WORK/out" || fail "no $1 in the output"
}
mark() {
    jq -er --arg topic "$1" -n '[inputs | select(.event == "check" and .topic == $topic)][0].mark' "$WORK/out" ||
        fail "nothing is said about $1"
}
mark_is() {
    [ "$(mark "$1")" = "$2" ] || fail "$1 is '$(mark "$1")', not '$2'"
}
nothing_left() {
    [ -z "$(find "$1" -mindepth 1 -print -quit)" ] || fail "left in $1: $(ls -A "$1")"
}

# A local directory.
mkdir "$DST"
expect 0 doctor "$DST"
out_has '^ +round trip +a file of 8 KiB created: median [0-9.]+ (us|ms), 95 % within'
out_has '^ +files/s +about [0-9]+ a second, as [0-9]+ files'
out_has '^ +MB/s +about [0-9]+ MB/s'
out_has '^good +owners +can be set'
out_has '^good +space'
out_has 'io_uring'
out_has '^good +descriptors'
out_has '^good +temp dir'
nothing_left "$DST"
[ ! -e "$TMPDIR/haul-$(id -u)" ] || fail "the temp dir was made"

expect 0 doctor --json "$DST"
jq -e . "$WORK/out" >/dev/null || fail "that is no JSON"
[ "$(last .measured.create.count)" -ge 5 ] || fail "too few samples"
jq -e 'select(.event == "doctor") | .measured.create | .median_ms > 0 and .median_ms <= .p95_ms' "$WORK/out" >/dev/null ||
    fail "the times are not in order"
[ "$(last .status)" = 0 ] && [ "$(last .bad)" = 0 ] && [ "$(last .measured.left)" = 0 ] || fail "the last event is wrong"
# What is free is what df says, but for what others did meanwhile.
free=$(($(df --output=avail -B1 "$DST" | tail -n 1)))
jq -e --argjson df "$free" 'select(.event == "doctor") | (.bytes_free - $df | fabs) < 2e9' "$WORK/out" >/dev/null ||
    fail "df says $free bytes are free, haul $(last .bytes_free)"
nothing_left "$DST"

# What is not well here is found: few descriptors, a temp dir that others can write to, no io_uring.
mkdir -m 777 "$WORK/open"
status=0
(ulimit -n 200 && "$HAUL" doctor --json --no-io-uring --temp-dir "$WORK/open" "$DST") >"$WORK/out" 2>"$WORK/err" || status=$?
check_sanitizers
[ $status = 41 ] || fail "exit status $status, not 41"
mark_is descriptors bad
mark_is "temp dir" bad
mark_is io_uring fact
[ "$(last .status)" = 41 ] && [ "$(last .io_uring)" = false ] && [ "$(last .temp_dir_usable)" = false ] || fail "the figures are wrong"
nothing_left "$DST"

# What cannot be used.
expect 11 doctor "$WORK/missing"
err_has "cannot open DST '$WORK/missing': No such file or directory"
touch "$WORK/file"
expect 11 doctor "$WORK/file"
err_has 'Not a directory'
mkdir "$WORK/shut"
setpriv --reuid 12345 --clear-groups "$HAUL" doctor "$WORK/shut" >"$WORK/out" 2>"$WORK/err" && fail "nothing was refused"
err_has "shut': create: Permission denied"
expect 1 doctor "$SRC" "$DST"
expect 1 doctor --delete "$DST"
err_has -- '--delete is not for haul doctor'
expect 1 doctor nfs://
expect 11 doctor "nfs://127.0.0.1:$(free_port)/export"
err_has 'nothing answers at 127\.0\.0\.1 port'

# A server.
mkdir "$WORK/e"
start_ganesha dst "$WORK/e"
url=nfs://127.0.0.1:$GANESHA_PORT
expect 0 doctor "$url/export"
out_has '^good +protocol +NFSv4\.1'
out_has '^good +session +[0-9]+ slots, [0-9]+ operations in a COMPOUND, requests to'
out_has '^good +owners +can be set'
out_has '^good +clock +the server.s is .* ours'
out_has '^(good| +\?) +space +[0-9.]+ .iB free, and room for'
nothing_left "$WORK/e"
expect 0 doctor --json "$url/export"
[ "$(last .nfs.slots)" -gt 8 ] && [ "$(last .measured.owners)" = kept ] && [ "$(last .measured.files_in_flight)" -gt 8 ] ||
    fail "the figures are wrong"
jq -e 'select(.event == "doctor") | .measured.clock_ahead_ms | fabs < 2000' "$WORK/out" >/dev/null || fail "one clock, and it is off"
nothing_left "$WORK/e"
[ "$(ganesha_clients dst)" = 0 ] || fail "the server still knows us"
expect 11 doctor "$url/nowhere"
err_has "cannot open DST '$url/nowhere'"
expect 11 doctor "$url/export/missing"
nothing_left "$WORK/e"

# A server that takes root for nobody.
mkdir "$WORK/s" "$WORK/s/ours" "$WORK/s/theirs"
chmod 777 "$WORK/s/ours"
GANESHA_SQUASH=Root_Squash start_ganesha squash "$WORK/s"
expect 0 doctor --json "nfs://127.0.0.1:$GANESHA_PORT/export/ours"
mark_is owners better
[ "$(last .measured.owners)" = refused ] || fail "owners are not refused"
nothing_left "$WORK/s/ours"
expect 11 doctor "nfs://127.0.0.1:$GANESHA_PORT/export/theirs"
err_has 'theirs.: create: Permission denied'
nothing_left "$WORK/s/theirs"
stop_ganesha squash

# Far away: it takes as long as that, and an interruption leaves nothing.
start_cutproxy "$(ganesha_port dst)" "rtt 40ms"
expect 0 doctor --json "nfs://127.0.0.1:$CUT_PORT/export"
jq -e 'select(.event == "doctor") | .measured | .create.median_ms > 39 and .look.median_ms > 39 and .files_per_second > 75' \
    "$WORK/out" >/dev/null || fail "a round trip of 40 ms: create $(last .measured.create.median_ms), look $(last .measured.look.median_ms), $(last .measured.files_per_second) files/s"
nothing_left "$WORK/e"
"$HAUL" doctor "nfs://127.0.0.1:$CUT_PORT/export" >"$WORK/out" 2>"$WORK/err" &
PID=$!
E2E_PIDS+=("$PID")
wait_until 20 eval '[ "$(find "$WORK/e" -mindepth 2 -type f | wc -l)" -gt 20 ]' # in the middle of many
status=0
kill -TERM "$PID" # a background job of a shell ignores SIGINT
begin=$(date +%s%N)
wait "$PID" || status=$?
MS=$((($(date +%s%N) - begin) / 1000000))
[ $status = 20 ] || fail "interrupted: exit status $status, not 20"
[ "$MS" -lt 5000 ] || fail "interrupted: it took $MS ms"
err_has '^haul: interrupted$'
nothing_left "$WORK/e"

# No answer any more.
"$HAUL" doctor --io-timeout 4s "nfs://127.0.0.1:$CUT_PORT/export" >"$WORK/out" 2>"$WORK/err" &
PID=$!
E2E_PIDS+=("$PID")
wait_until 20 eval '[ "$(find "$WORK/e" -mindepth 2 -type f | wc -l)" -gt 20 ]'
cut_tell silence
status=0
begin=$(date +%s%N)
wait "$PID" || status=$?
MS=$((($(date +%s%N) - begin) / 1000000))
[ $status = 11 ] || fail "without an answer: exit status $status, not 11"
[ "$MS" -lt 20000 ] || fail "without an answer: it took $MS ms"
err_has "'nfs://127\.0\.0\.1:$CUT_PORT/export'"
stop_cutproxy
