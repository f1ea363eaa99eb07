#!/usr/bin/env bash
# The window of a run: --max-duration and --stop-at end it with 30, within five seconds, whatever hangs; the next run goes
# on, and no file is begun that could not be finished.
. "$(dirname "$0")/lib.sh"

mib=$((1024 * 1024))
mkdir "$SRC"
for i in $(seq 200); do head -c 100000 /dev/urandom >"$SRC/f$i"; done
settle

# Its time is over in the middle: at 2 MiB a second 20 MB take 10 s.
elapsed_ms expect 30 copy --json --bwlimit 2M --max-duration 2s "$SRC" "$DST"
[ "$MS" -ge 1900 ] && [ "$MS" -lt 7000 ] || fail "gone after $MS ms"
err_has 'out of time: NOT everything arrived; the next run goes on'
figure_is status 30
some=$(figure files)
[ "$some" -gt 0 ] && [ "$some" -lt 200 ] || fail "$some files arrived"
expect 0 copy --json --max-duration 1h "$SRC" "$DST"
err_has 'out of time'   # what became of the last run
figure_is files $((200 - some))
judge_lax "$SRC" "$DST"
no_temps "$DST"

# Since when it has been so.
rm -rf "$DST"
for _ in 1 2 3; do
    expect 30 sync --bwlimit 2M --max-duration 1s "$SRC" "$DST"
done
err_has '^haul: failing since 20.*: 3 runs'
expect 30 sync --json --bwlimit 2M --max-duration 1s "$SRC" "$DST"
figure_is failing_runs 4
[[ $(figure failing_since) =~ ^1[0-9]{9}(\.|$) ]] || fail "failing since $(figure failing_since)"
expect 0 sync "$SRC" "$DST"
out_has 'out of time .* failing since 20.*, 4 runs'

# The next run begins with the directories that were left, whatever has changed elsewhere meanwhile: those of it that
# were done are as large again, and the window is too short for all.
arrived() { find "$DST.order/$1" -type f ! -name '.haul.*' 2>/dev/null | wc -l; }
fill() { for i in $(seq 20); do head -c 100000 /dev/urandom >"$WORK/order/$1/$i"; done; }
for dir in a b c d e f g h; do mkdir -p "$WORK/order/$dir" && fill "$dir"; done
settle
expect 30 sync --jobs 2 --bwlimit 4M --max-duration 3s "$WORK/order" "$DST.order"
behind=() changed=0
for dir in a b c d e f g h; do
    if [ "$(arrived $dir)" = 20 ]; then
        fill $dir
        rm -r "${DST:?}.order/$dir"
        changed=$((changed + 1))
    else
        behind+=($dir)
    fi
done
[ $changed -gt 1 ] && [ ${#behind[@]} -gt 0 ] || fail "the window was too long, or too short: $changed, ${#behind[@]}"
left=0
for dir in "${behind[@]}"; do left=$((left + 20 - $(arrived $dir))); done
# As long as what is left takes, and half of a directory more; some of the others are under way beside the last ones.
expect 30 sync --compare=dest --jobs 2 --bwlimit 4M --max-duration "$(((left + 10) * 1000 / 41))ms" "$WORK/order" "$DST.order"
out_has "first come ${#behind[@]} director"
late=0
for dir in "${behind[@]}"; do late=$((late + 20 - $(arrived $dir))); done
[ $late -le 15 ] || fail "what was left did not come first: $late files of it have not arrived"
expect 0 sync --compare=dest "$WORK/order" "$DST.order"
judge_lax "$WORK/order" "$DST.order"
expect 0 sync --json "$WORK/order" "$DST.order"
! grep -q 'first come' "$WORK/err" || fail "something is still said to be left"

# A signal inside the window is a signal: 20, and it counts as not well.
env --default-signal=INT "$HAUL" sync --bwlimit 2M --max-duration 1h "$SRC" "$WORK/stopped" >"$WORK/out" 2>"$WORK/err" &
PID=$!
E2E_PIDS+=("$PID")
some_arrived() { [ "$(find "$WORK/stopped" -name 'f*' 2>/dev/null | wc -l)" -ge 5 ]; }
wait_until 20 some_arrived
status=0
kill -INT "$PID"
wait "$PID" || status=$?
[ "$status" = 20 ] || fail "interrupted within its window: exit status $status"
err_has 'interrupted: NOT everything arrived; the next run goes on'
expect 0 sync "$SRC" "$WORK/stopped"
out_has 'resuming run 1 \(interrupted'
judge_lax "$SRC" "$WORK/stopped"

# So many operations a second, and no more.
mkdir "$WORK/few"
for i in $(seq 1 60); do echo "$i" >"$WORK/few/$i"; done
elapsed_ms expect 0 copy --ops-limit 20 "$WORK/few" "$WORK/few.dst"
[ "$MS" -ge 2000 ] || fail "60 files at 20 operations a second within $MS ms"
elapsed_ms expect 0 copy "$WORK/few" "$WORK/few.free"
[ "$MS" -lt 2000 ] || fail "60 files without a limit took $MS ms"
judge_lax "$WORK/few" "$WORK/few.dst"

# At a moment.
rm -rf "$DST"
elapsed_ms expect 30 copy --bwlimit 2M --stop-at "$(date -d '+3 seconds' +%H:%M:%S)" "$SRC" "$DST"
[ "$MS" -lt 9000 ] || fail "gone after $MS ms"
expect 1 copy --stop-at '2001-01-01T04:30' "$SRC" "$DST"
err_has "has passed"
expect 1 copy --stop-at noon "$SRC" "$DST"
err_has "is not a moment"
expect 1 copy --stop-at ' 4:30' "$SRC" "$DST"
err_has "is not a moment"
expect 1 copy --max-duration 0 "$SRC" "$DST"
err_has "is not a time above 0"
expect 0 copy --stop-at 04:30 "$SRC" "$DST"
judge_lax "$SRC" "$DST"

# A large file goes on as a partial file.
head -c $((120 * mib)) /dev/urandom >"$SRC/large"
settle
expect 30 copy --bwlimit 20M --max-duration 4s "$SRC" "$DST"
[ ! -e "$DST/large" ] || fail "it has its final name before it is whole"
expect 0 copy --json "$SRC" "$DST"
figure_is resumed 1
judge_lax "$SRC" "$DST"

# One of which nothing would be kept is not begun where it cannot be finished; what can be is.
rm "$SRC/large"
rm -rf "$DST"
head -c $((60 * mib)) /dev/urandom >"$SRC/g-large"
settle
expect 30 copy --json --jobs 1 --bwlimit 10M --partial-max-age 0 --max-duration 5s "$SRC" "$DST"
[ "$(figure bytes_written)" -lt $((30 * mib)) ] || fail "the large file was begun"
figure_is files 200
no_temps "$DST"
expect 0 copy "$SRC" "$DST"
judge_lax "$SRC" "$DST"

# A server that stops answering before the end of the window: gone within five seconds of it all the same.
need_root
. "$(dirname "$0")/ganesha.sh"
mkdir "$WORK/served"
start_ganesha far "$WORK/served"
server=nfs://127.0.0.1:$GANESHA_PORT/export/dst
begin=$(date +%s%N)
"$HAUL" sync --bwlimit 2M --max-duration 4s "$SRC" "$server" >"$WORK/out" 2>"$WORK/err" &
PID=$!
E2E_PIDS+=("$PID")
some_served() { [ "$(find "$WORK/served/dst" -name 'f*' 2>/dev/null | wc -l)" -ge 5 ]; }
wait_until 20 some_served
kill -STOP "$GANESHA_PID"
status=0
wait "$PID" || status=$?
MS=$((($(date +%s%N) - begin) / 1000000))
kill -CONT "$GANESHA_PID"
[ "$status" = 30 ] || fail "a server that hangs at the end of the window: exit status $status"
[ "$MS" -ge 3900 ] && [ "$MS" -lt 9000 ] || fail "a server that hangs: gone after $MS ms"
err_has 'out of time: the destination does not answer: .* NOT everything arrived'
expect 0 sync --wait 60s "$SRC" "$server"
out_has 'resuming run 1 \(out of time'
judge_lax "$SRC" "$WORK/served/dst"
