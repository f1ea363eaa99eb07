#!/usr/bin/env bash
# Killed at random moments, each kill followed by a run that finishes, while a checker looks all the time: a final name
# holds the old whole content or the new one, at every moment. KILLS: how many.
. "$(dirname "$0")/lib.sh"

kills=${KILLS:-6}
files=2000
big=6

# finish GENERATION: a run that must end well, and leaves the tree of that generation and nothing else.
finish() {
    expect 0 copy --json --archive-dirs "$SRC" "$DST"
    judge "$SRC" "$DST"
    no_temps "$DST"
}

maketree told "$SRC" $files $big 1
elapsed_ms expect 0 copy "$SRC" "$WORK/calibration"
full_ms=$MS
rm -rf "$WORK/calibration"
echo "a run takes $full_ms ms"

generation=1
killed=0
for i in $(seq "$kills"); do
    maketree told "$SRC" $files $big $generation
    start_watch --told "$DST" $((generation - 1)) "$generation"
    start_haul --archive-dirs "$SRC" "$DST"
    sleep "$(random_ms $((full_ms * 11 / 10)))"
    kill -KILL "$PID" 2>/dev/null && killed=$((killed + 1))
    wait "$PID" 2>/dev/null || true
    finish
    stop_watch
    generation=$((generation + 1))
done
[ "$killed" -gt 0 ] || fail "no run was alive when it was to be killed"
echo "$killed of $kills killed by the clock: $(cat "$WORK/watch.out")"

# The same at chosen operations of the store: in the middle of what it does there.
for i in $(seq "$kills"); do
    maketree told "$SRC" $files $big $generation
    start_watch --told "$DST" $((generation - 1)) "$generation"
    nth=$((i == 1 ? 1 : (RANDOM * 32768 + RANDOM) % (files + 10 * big) + 1))
    status=0
    # shellcheck disable=SC2086
    HAUL_TEST_FAULT="$nth:EIO:kill:publish,begin,write,copy,commit,setattr" \
        "$HAUL_FAULTY" copy $HAUL_EXTRA --archive-dirs "$SRC" "$(at "$DST")" >"$WORK/out" 2>"$WORK/err" || status=$?
    [ "$status" = 11 ] || [ "$status" = 0 ] || fail "killed at operation $nth: exit status $status"
    finish
    stop_watch
    generation=$((generation + 1))
done
echo "$kills killed by the store: $(cat "$WORK/watch.out")"
