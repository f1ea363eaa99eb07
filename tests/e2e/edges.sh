#!/usr/bin/env bash
# The edges of a program's world: closed or full standard streams, few descriptors, one state by two names, pairs of
# single files, a terminal that is too narrow.
. "$(dirname "$0")/lib.sh"

mkdir -p "$SRC/dir"
for i in $(seq 40); do
    echo "$i" >"$SRC/dir/$i"
done
settle

# Events that cannot be written are no success; the copy itself goes on.
status=0
haul copy --json "$SRC" "$DST" >/dev/full 2>"$WORK/err" || status=$?
[ $status = 23 ] || fail "events went to a full device: exit status $status"
err_has 'standard output could not be written'
judge_lax "$SRC" "$DST"
for streams in '>&-' '2>&-' '<&-' '<&- >&- 2>&-'; do
    status=0
    eval "haul copy \"\$SRC\" \"\$WORK/closed\" $streams" || status=$?
    [ $status = 0 ] || fail "with $streams: exit status $status"
    judge_lax "$SRC" "$WORK/closed"
    rm -rf "$WORK/closed"
done
status=0
haul copy --json "$SRC" "$WORK/closed" >&- 2>"$WORK/err" || status=$?
[ $status = 23 ] || fail "events to a closed stream: exit status $status"
status=0
"$HAUL" --help >/dev/full 2>"$WORK/err" || status=$?
[ $status != 0 ] || fail "help to a full device is a success"

# Descriptors: too few are refused, few are enough.
status=0
(ulimit -n 16 && haul copy "$SRC" "$WORK/few" >"$WORK/out" 2>"$WORK/err") || status=$?
[ $status = 11 ] || fail "16 descriptors: exit status $status"
err_has 'ulimit -n'
[ ! -e "$WORK/few" ] || fail "something was created"

# One state under two names has one lock.
: >"$WORK/nothing"
ln -s "$WORK/one.db" "$WORK/two.db"
expect 0 copy --state "$WORK/one.db" "$SRC" "$WORK/named"
head -c 3000000 /dev/urandom >"$SRC/large"
start_haul --bwlimit 1M --state "$WORK/one.db" "$SRC" "$WORK/named"
first=$PID
is_under_way() {
    # With contents: what a run tries out at a server, before it takes the lock, has none.
    [ -n "$(find "$WORK/named" -name '.haul.*' -size +64k)" ]
}
wait_until 20 is_under_way
status=0
haul copy --state "$WORK/two.db" "$SRC" "$WORK/named" >/dev/null 2>"$WORK/err2" || status=$?
[ $status = 11 ] && grep -q 'another run' "$WORK/err2" || fail "a second run by another name of the state: $status"
wait "$first" || fail "the first run was disturbed"
judge_lax "$SRC" "$WORK/named"

# A single file is a pair of its own: it neither waits for its directory nor hides what that remembers.
start_haul --bwlimit 1M "$SRC" "$WORK/tree"
first=$PID
expect 0 copy "$SRC/dir/1" "$WORK/single"
expect 0 copy "$SRC/dir/1" "$WORK/other"
wait "$first" || fail "the tree did not arrive"
cmp "$SRC/dir/1" "$WORK/other" || fail "a single file did not arrive"
expect 11 copy "$SRC/dir/1/" "$WORK/slash"

# What was asked for by name and is not there is a failure, not a change.
printf 'dir/1\nnever-there\n' >"$WORK/list"
expect 23 copy --json --files-from="$WORK/list" "$SRC" "$WORK/listed"
[ "$(failures)" = never-there ] || fail "other failures: $(failures)"

# A rate of less than nothing much is not taken for no limit.
expect 1 copy --bwlimit=0.0001 "$SRC" "$WORK/slow"
err_has 'bwlimit'
expect 1 copy --stats=1 "$SRC" "$WORK/slow"
err_has 'takes no argument'
