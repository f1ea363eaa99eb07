#!/usr/bin/env bash
# A destination (and a source) that does not answer: one file of it, or all; --io-timeout, interruption, and the next run.
. "$(dirname "$0")/lib.sh"

need_root # faultfs lets everybody in
BACK=$WORK/back
MOUNT=$WORK/mount
T=3 # --io-timeout, s

mkdir -p "$SRC/stuck" "$SRC/sub/deep" "$SRC/vast"
for i in $(seq 60); do
    echo "file $i" >"$SRC/f$i"
    echo "deep $i" >"$SRC/sub/deep/f$i"
done
head -c 3000000 /dev/urandom >"$SRC/vast/large"
echo held >"$SRC/stuck/one"
start_faultfs "$BACK" "$MOUNT"

# run STATUS ARGUMENTS...: haul copy with --io-timeout in the background of a clock: its seconds in $TOOK.
run() {
    local want=$1 status=0 begin=$EPOCHREALTIME
    shift
    # shellcheck disable=SC2086
    env --default-signal=INT "$HAUL" copy $HAUL_EXTRA --archive-dirs --io-timeout ${T}s "$@" >"$WORK/out" 2>"$WORK/err" || status=$?
    TOOK=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')
    check_sanitizers
    [ "$status" = "$want" ] || fail "exit status $status, not $want"
}
# within SECONDS: the last run took no longer.
within() {
    awk -v t="$TOOK" -v most="$1" 'BEGIN { exit !(t <= most) }' || fail "took $TOOK s, not $1 s at most"
}
# heal: everything answers again, also to processes that were left behind; and they are gone then.
heal() {
    faultfs_tell heal
    wait_until 10 left_behind_is_gone
}
left_behind_is_gone() {
    ! pgrep -f "copy .*--io-timeout ${T}s .*$MOUNT" >/dev/null
}
# has_event FILTER: it is true for some event of the last run.
has_event() {
    jq -en "[inputs | $1] | any" "$WORK/out" >/dev/null || fail "no event is as wanted: $1"
}
last_line() {
    tail -n 1 "$WORK/err" | grep -qE -- "$1" || fail "the last line is '$(tail -n 1 "$WORK/err")'"
}

# Nothing hangs: the figures.
run 0 --stats --json "$SRC" "$MOUNT/well"
judge "$SRC" "$MOUNT/well"
out_has '"slow_directories":\['
err_has '^destination +publish '
err_has '^directories waited for longest:'
[ "$(jq -r 'select(.event == "end") | .operations[] | select(.side == "destination" and .operation == "publish") | .count' "$WORK/out")" -ge 121 ] ||
    fail "publish is not counted"
[ "$(jq -r 'select(.event == "end") | .slow_operations | length' "$WORK/out")" = 5 ] || fail "no slow operations"

# One file gets no answer: it is reported, all others arrive, and the run ends by itself.
faultfs_tell hang-in /one/stuck/ write
run 23 --recheck 0 --json "$SRC" "$MOUNT/one"
within $((T + 5))
[ "$(failures)" = stuck/one ] || fail "failures: $(failures)"
has_event 'select(.event == "failure") | .error == "ETIMEDOUT" and .operation == "publish" and .waited_seconds >= '$T
err_has 'stuck/one: destination: publish: no answer for [34] s; outcome unknown'
last_line 'NOT everything arrived: 1 failed'
figure_is files 121
has_event 'select(.event == "end") | .slow_operations[0] | .path == "stuck/one" and .answered == false'
has_event 'select(.event == "end") | .slow_directories[] | .path == "stuck" and .seconds >= '$T
[ ! -e "$BACK/one/stuck/one" ] || fail "it was published"
heal
[ ! -e "$BACK/one/stuck/one" ] || fail "it was published afterwards"
run 0 --json "$SRC" "$MOUNT/one"
judge "$SRC" "$MOUNT/one"
no_temps "$MOUNT/one"

# The attributes of one directory get no answer: that is told, and its parents are finished all the same.
faultfs_tell hang-in /dir/sub/deep chmod
chmod 751 "$SRC/sub"
run 23 --recheck 0 --json "$SRC" "$MOUNT/dir"
within $((2 * T + 5))
failures | grep -q '^sub/deep$' || fail "failures: $(failures)"
[ "$(stat -c %a "$MOUNT/dir/sub")" = 751 ] || fail "the parent was not finished"
heal
run 0 "$SRC" "$MOUNT/dir"
judge "$SRC" "$MOUNT/dir"

# A large file gets no answer; all others do.
faultfs_tell hang-in /big/vast/ write
run 23 --recheck 0 --json "$SRC" "$MOUNT/big"
within $((T + 5))
[ "$(failures)" = vast/large ] || fail "failures: $(failures)"
err_has 'vast/large: destination: write: no answer for [34] s; outcome unknown'
heal
run 0 "$SRC" "$MOUNT/big"
judge "$SRC" "$MOUNT/big"

# A look at what was published gets no answer: that is told, and all others are looked at.
start_haul --archive-dirs --io-timeout ${T}s --recheck 100% --json --bwlimit 600K "$SRC" "$MOUNT/look"
wait_until 30 test -e "$BACK/look/stuck/one"
faultfs_tell hang-in /look/stuck/one getattr # two seconds before it is looked at
status=0
wait "$PID" || status=$?
check_sanitizers
[ "$status" = 23 ] || fail "exit status $status, not 23"
[ "$(failures)" = stuck/one ] || fail "failures: $(failures)"
err_has 'stuck/one: destination: stat: no answer for [34] s; outcome unknown'
figure_is files 122
figure_is rechecked 121
heal
run 0 --json "$SRC" "$MOUNT/look"
judge "$SRC" "$MOUNT/look"

# Nothing at all is answered any more: gone 5 s after the deadline at most, and what hangs is named.
faultfs_tell hang-after 20
run 11 --json "$SRC" "$MOUNT/all"
within $((T + 8))
last_line "stopped early: the destination does not answer: [a-z-]+ '.*' has waited for [3-9] s; NOT everything arrived"
err_has 'destination: [a-z-]+: no answer for [0-9]+ s; outcome unknown'
has_event 'select(.event == "end") | .status == 11'
heal
run 0 "$SRC" "$MOUNT/all"
out_has 'resuming run'
judge "$SRC" "$MOUNT/all"
no_temps "$MOUNT/all"

# Nothing is answered from the very beginning.
faultfs_tell hang
run 11 "$SRC" "$MOUNT/early"
within $((T + 5))
last_line 'does not answer'
heal

# The local temp dir does not answer, while files go through it, and from the very beginning.
head -c 40000000 /dev/urandom >"$SRC/vast/larger"
mkdir -m 700 "$MOUNT/temp"
faultfs_tell hang write
run 11 --json --stage always --temp-dir "$MOUNT/temp" "$SRC" "$WORK/staged"
within $((T + 5))
last_line "stopped early: the temp dir '.*temp' does not answer, for [3-9] s; NOT everything arrived"
has_event 'select(.event == "end") | .status == 11'
heal
faultfs_tell hang
run 11 --stage always --temp-dir "$MOUNT/temp" "$SRC" "$WORK/staged"
within $((T + 5))
last_line "the temp dir '.*' does not answer"
heal
run 0 --stage always --temp-dir "$MOUNT/temp" "$SRC" "$WORK/staged"
judge "$SRC" "$WORK/staged"
no_temps "$WORK/staged"
[ -z "$(ls -A "$BACK/temp")" ] || fail "something is left in the temp dir: $(ls -A "$BACK/temp")"
rm "$SRC/vast/larger"

# Interrupted while it hangs: gone within 5 s, whatever --io-timeout says.
faultfs_tell hang-after 20
start_haul --archive-dirs --io-timeout 100s --jobs 8 "$SRC" "$MOUNT/stop"
wait_until 60 eval '[ "$(find "$BACK/stop" -type f ! -name ".haul.*" 2>/dev/null | wc -l)" -ge 19 ]'
sleep 0.5
begin=$EPOCHREALTIME status=0
kill -TERM "$PID"
wait "$PID" || status=$?
TOOK=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')
within 5
[ "$status" = 20 ] || fail "exit status $status, not 20"
last_line 'interrupted'
T=100 heal
run 0 "$SRC" "$MOUNT/stop"
judge "$SRC" "$MOUNT/stop"
no_temps "$MOUNT/stop"

# A source that does not answer: one file of it, and all.
mkdir "$BACK/from"
cp -a "$SRC/." "$BACK/from"
faultfs_tell hang-in /from/stuck/ read
run 23 "$MOUNT/from" "$DST"
within $((T + 5))
err_has 'stuck/one: source: read(-small)?: no answer for [34] s$'
heal
run 0 "$MOUNT/from" "$DST"
judge "$MOUNT/from" "$DST"
rm -rf "$DST"
faultfs_tell hang read open
run 11 "$MOUNT/from" "$DST"
within $((T + 8))
last_line 'the source does not answer'
heal
run 0 "$MOUNT/from" "$DST"
judge "$MOUNT/from" "$DST"

# Times are checked.
expect 1 copy --io-timeout soon "$SRC" "$MOUNT/x"
expect 1 copy --io-timeout 500ms "$SRC" "$MOUNT/x"
expect 0 copy --io-timeout 0 "$SRC" "$MOUNT/x"
