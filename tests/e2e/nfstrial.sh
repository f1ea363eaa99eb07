#!/usr/bin/env bash
# A run that is killed while it tries a server out, before there is a run in the state, leaves temp names in the
# destination's root at most: the next run, from the same state, knows whose they are and removes them. And how far away
# a server is, is seen: the further, the more is in flight from the beginning.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ganesha.sh"

need_root
mkdir "$WORK/export"
start_ganesha trial "$WORK/export"
start_cutproxy "$GANESHA_PORT"
mkdir "$SRC"
for i in 1 2 3; do
    echo "file $i" >"$SRC/f$i"
done
settle

temps() { find "$WORK/export" -name '.haul.*' | wc -l; }
# killed COMMAND CALL NAME: a run whose call of that number is carried out and never answered, and that is killed then.
killed() {
    cut_next up-after "$2" silent all
    "$HAUL" "$1" --quiet "$SRC" "nfs://127.0.0.1:$CUT_PORT/export/$3" >"$WORK/out" 2>"$WORK/err" </dev/null &
    PID=$!
    wait_until 30 eval '[ "$(cut_stat cuts)" = 1 ]'
    # What the server was sent it has carried out by now, or does so within that time.
    for _ in $(seq 50); do
        [ "$(temps)" = 0 ] || break
        sleep 0.01
    done
    kill -KILL "$PID"
    wait "$PID" 2>/dev/null || true
    wait_until 60 eval '! pgrep -f "/export/'"$3"'$" >/dev/null'
    cut_tell heal
}

for command in copy sync; do
    left=0
    # The first calls make the session and go to the root; then the server is tried out.
    for call in 5 6 7 8 9 10 11 12 13 14; do
        name=$command.$call
        [ $((call % 2)) = 0 ] || mkdir "$WORK/export/$name" # the others make their root
        killed $command $call "$name"
        if [ "$(temps)" -gt 0 ]; then
            left=$((left + 1))
            [ "$(find "$WORK/export/$name" -name 'f?' | wc -l)" = 0 ] || fail "call $call: it was copying already"
        fi
        expect 0 $command --json "$SRC" "nfs://127.0.0.1:$CUT_PORT/export/$name"
        [ "$(temps)" = 0 ] || fail "$command, call $call: $(find "$WORK/export" -name '.haul.*')"
        for i in 1 2 3; do
            cmp "$SRC/f$i" "$WORK/export/$name/f$i" || fail "$name/f$i"
        done
    done
    [ "$left" -ge 2 ] || fail "$command: only $left of the killed runs left a temp name"
    echo "$command: $left of 10 killed runs left a temp name"
done

# 64 slots; too short for the tuner to have had a say. And few round trips follow one another.
stop_cutproxy
start_cutproxy "$GANESHA_PORT" "rtt 20ms"
expect 0 copy --json "$SRC" "nfs://127.0.0.1:$CUT_PORT/export/far"
away=$(jq -er 'select(.event == "end") | .nfs.round_trip_us' "$WORK/out") || fail "no figure nfs.round_trip_us"
[ "$away" -ge 20000 ] || fail "a round trip of $away us, less than the proxy makes it"
[ "$(figure limit)" -ge 256 ] || fail "$(figure limit) in flight over a round trip of $away us"
rounds=$(cut_stat rounds)
echo "round trip $away us: $(figure limit) in flight, $rounds round trips"
[ "$rounds" -le 18 ] || fail "$rounds round trips, one after the other"
stop_ganesha trial
