#!/usr/bin/env bash
# A source that changes while it is read: tried again, then reported, and the old destination stays.
. "$(dirname "$0")/lib.sh"

# Appended to without end.
mkdir -p "$SRC/logs"
head -c 40000000 /dev/urandom >"$SRC/logs/large"
head -c 900000 /dev/urandom >"$SRC/logs/small"
for i in $(seq 50); do
    echo "$i" >"$SRC/quiet.$i"
done
expect 0 copy "$SRC" "$DST"
cp "$SRC/logs/large" "$WORK/large.was"
cp "$SRC/logs/small" "$WORK/small.was"
append() {
    while :; do
        echo line >>"$SRC/logs/large"
        echo line >>"$SRC/logs/small"
    done
}
echo more >>"$SRC/quiet.7"
background append
appender=$PID
# The rate makes each reading last long enough that something is appended meanwhile. Into the temp dir a file goes at once:
# there an appender that stands still for a moment has not changed it, and what arrives is the file of that moment.
tells=24 stage=(--stage never)
[[ $HAUL_EXTRA != *--stage* ]] || tells='0|24' stage=()
expect "$tells" copy --json --bwlimit 80M --retries 3 --retry-delay 1ms "${stage[@]}" "$SRC" "$DST"
figure_is failed 0
if failures | grep -qx logs/large; then
    [ "$(figure read_again)" -ge 3 ] || fail "not tried again: $(figure read_again)"
    cmp "$WORK/large.was" "$DST/logs/large" || fail "the old large file did not stay"
else
    [ "$tells" != 24 ] || fail "logs/large is not in the report: $(failures)"
    cmp -n "$(stat -c %s "$DST/logs/large")" "$SRC/logs/large" "$DST/logs/large" || fail "half a large file"
fi
if failures | grep -qx logs/small; then
    cmp "$WORK/small.was" "$DST/logs/small" || fail "the old small file did not stay"
fi
cmp "$SRC/quiet.7" "$DST/quiet.7" || fail "a quiet file did not arrive"
no_temps "$DST"
kill -KILL "$appender"
wait "$appender" 2>/dev/null || true
expect 0 copy --json "$SRC" "$DST"
judge_lax "$SRC" "$DST"
rm -rf "$SRC" "$DST"

# Replaced without end by other whole files: what arrives is one of them, whole.
maketree told "$SRC" 20 1 1
maketree told "$WORK/one" 20 1 1
maketree told "$WORK/two" 20 1 2
replace() {
    local name
    while :; do
        for name in big000 d00/f000000 d07/f000007; do
            cp "$WORK/one/$name" "$WORK/new" && mv "$WORK/new" "$SRC/$name"
            cp "$WORK/two/$name" "$WORK/new" && mv "$WORK/new" "$SRC/$name"
        done
    done
}
start_watch --told "$DST" 1 2
background replace
replacer=$PID
for i in $(seq 15); do
    expect '0|24' copy --json --retries 2 --retry-delay 1ms "$SRC" "$DST"
    figure_is failed 0
done
kill -KILL "$replacer"
wait "$replacer" 2>/dev/null || true
stop_watch
rm -f "$WORK/new"
expect 0 copy "$SRC" "$DST"
judge_lax "$SRC" "$DST"
rm -rf "$SRC" "$DST"

# Gone between the walk and the reading.
mkdir "$SRC"
for i in $(seq 100 299); do
    head -c 30000 /dev/zero | tr '\0' x >"$SRC/$i"
done
start_haul --json --jobs 2 --bwlimit 1M "$SRC" "$DST"
some_there() {
    [ "$({ find "$DST" -type f ! -name '.haul.*' 2>/dev/null || true; } | wc -l)" -ge 3 ]
}
wait_until 60 some_there
for i in $(seq 100 299); do
    [ -e "$DST/$i" ] || [ $((i % 10)) = 0 ] || rm -f "$SRC/$i"
done
status=0
wait "$PID" || status=$?
check_sanitizers
[ "$status" = 24 ] || fail "vanished files: exit status $status"
# Those that were read before they were gone wait for their turn to be written.
[ "$(figure changed)" -ge 20 ] || fail "only $(figure changed) vanished files in the report"
figure_is failed 0
for i in $(seq 100 10 299); do
    cmp -s "$SRC/$i" "$DST/$i" || fail "$i did not arrive"
done
no_temps "$DST"
rm -rf "$SRC" "$DST"
