#!/usr/bin/env bash
# Large files that did not arrive whole: the next run goes on with them, and sends only what is missing (P8); it begins
# anew where the source has changed or they are too old, and then nothing of them stays. KILLS: how many kills.
. "$(dirname "$0")/lib.sh"

kills=${KILLS:-3}
mib=$((1024 * 1024))
part=$((16 * mib))
size=$((240 * mib + 12345))
slow=50M
middle=300 late=400 both=400 # writes (of half a MiB) before which parts are known; both: of two files
[ "$HAUL_DST" != nfs ] || middle=420 late=440 both=560 # once there are 128 MiB the server is asked to make them durable
db=$WORK/partial.db

# known SQL: a number from the state, which a run may be writing.
known() {
    [ -s "$db" ] && sqlite3 -cmd '.timeout 5000' "$db" "$1" 2>/dev/null || echo 0
}
parts_known() { known 'SELECT count(*) FROM parts'; }
has_parts() { [ "$(parts_known)" -ge "$1" ]; }

# begin_slowly PARTS ARGUMENTS...: a run that is under way, with so many parts in the state. The state may be told of them
# only when all is copied, where its disk is busy with what other tests write: then once more.
begin_slowly() {
    local parts=$1
    shift
    for _ in 1 2 3 4 5 6; do
        start_haul --state "$db" --bwlimit "$slow" "$@" "$SRC" "$DST"
        wait_until 120 eval 'has_parts '"$parts"' || ! kill -0 "$PID" 2>/dev/null'
        ! kill -0 "$PID" 2>/dev/null || return 0
        wait "$PID" || fail "a run that nobody has disturbed: exit status $?"
        rm -rf "$DST" "$db"*
    done
    fail "no run was under way with $parts parts known"
}
killed() {
    kill -KILL "$PID"
    wait "$PID" 2>/dev/null || true
    # Its engine dies with it, but not before the kernel has done what that is at.
    wait_until 60 eval '! pgrep -f "copy .*--state $db " >/dev/null'
}
# cut_off NTH: a run that is killed at its NTH write, when the state knows of some parts. It is told of them
# every half second, but may have to wait for a disk that is writing all that other tests do: then once more.
cut_off() {
    local status
    for _ in 1 2 3 4 5 6; do
        status=0
        # shellcheck disable=SC2086
        HAUL_TEST_FAULT="$1:EIO:kill:write" "$HAUL_FAULTY" copy $HAUL_EXTRA --state "$db" --bwlimit 80M "$SRC" "$(at "$DST")" \
            >"$WORK/out" 2>"$WORK/err" || status=$?
        [ "$status" = 11 ] || fail "killed at write $1: exit status $status"
        ! has_parts 1 || return 0
        rm -rf "$DST" "$db"* # what arrived whole would be missing from the writes of the next try
    done
    fail "no part is known"
}
# finish [ARGUMENTS...]: a run that must end well, and leave nothing but the tree.
finish() {
    settle
    expect 0 copy --json --state "$db" "$@" "$SRC" "$DST"
    judge_lax "$SRC" "$DST"
    no_temps "$DST"
    [ "$(known 'SELECT (SELECT count(*) FROM partials) + (SELECT count(*) FROM parts)')" = 0 ] ||
        fail "the state still knows of a partial file"
}
# Sent and there make the whole, and as much was there as the state knew of.
sent_the_rest() {
    local parts=$1 there
    there=$(figure resumed_bytes)
    [ "$there" -ge $((parts * part - part)) ] || fail "only $there bytes were gone on with, $parts parts were known"
    [ $((there + $(figure bytes_written))) = "$2" ] || fail "$there were there, $(figure bytes_written) were sent"
}

mkdir "$SRC"
head -c $size /dev/urandom >"$SRC/large"
echo small >"$SRC/small"
settle

for i in $(seq "$kills"); do
    rm -rf "$DST" "$db"*
    begin_slowly $((1 + i % 3))
    killed
    parts=$(parts_known)
    [ ! -e "$DST/large" ] || fail "it has its final name before it is whole"
    finish
    figure_is resumed 1
    figure_is resumed_size $size
    sent_the_rest "$parts" $size
done

# Killed, and killed again.
rm -rf "$DST" "$db"*
cut_off $middle
before=$(parts_known)
cut_off 150 # fewer than are left, however many parts (9 at most) are known by now
parts=$(parts_known)
[ "$parts" -ge "$before" ] || fail "$parts parts after the second kill, $before after the first"
finish
sent_the_rest "$parts" $size

# Interrupted: all that was there whole is known.
rm -rf "$DST" "$db"*
begin_slowly 1
kill -TERM "$PID" # a shell starts what is in the background with SIGINT ignored
status=0
wait "$PID" || status=$?
[ "$status" = 20 ] || fail "interrupted: exit status $status"
parts=$(parts_known)
[ "$(find "$DST" -name '.haul.*' -size +1M | wc -l)" = 1 ] || fail "nothing is left to go on with"
expect 0 copy --stats --state "$db" "$SRC" "$DST"
out_has 'resumed: 1 large file; .* of .* were there'
judge_lax "$SRC" "$DST"
no_temps "$DST"

# What is not asked for in a run stays for another.
rm -rf "$DST" "$db"*
cut_off $middle
expect 0 copy --state "$db" --exclude large "$SRC" "$DST"
[ "$(find "$DST" -name '.haul.*' | wc -l)" = 1 ] || fail "the partial file was not kept"
# Too old, and nobody asks for it either.
expect 0 copy --state "$db" --exclude large --partial-max-age 1ms "$SRC" "$DST"
no_temps "$DST"
finish
figure_is resumed 0

# The source has changed: anew, and nothing of the old one stays.
rm -rf "$DST" "$db"*
cut_off $middle
head -c $size /dev/urandom >"$SRC/large"
finish
figure_is resumed 0
figure_is bytes_written $size # the small one is there

# It is gone: so is what was left of it.
rm -rf "$DST" "$db"*
cut_off $middle
mv "$SRC/large" "$WORK/large"
finish
mv "$WORK/large" "$SRC/large"

# Somebody has cut the temp file: what is beyond its end is sent again, whatever the state says.
rm -rf "$DST" "$db"*
cut_off $late
truncate -s $((part + 1000)) "$(find "$DST" -name '.haul.*' -size +1M)"
finish
[ "$(figure resumed_bytes)" -le $part ] || fail "more was gone on with than is there"

# Another boot: what was not synced may be lost; what a server has made durable is not.
rm -rf "$DST" "$db"*
cut_off $middle
if [ "$HAUL_DST" != nfs ]; then
    [ "$(known "UPDATE epochs SET boot='another'; SELECT count(*) FROM epochs")" -gt 0 ] || fail "no epoch"
fi
finish
figure_is resumed $([ "$HAUL_DST" != nfs ] && echo 0 || echo 1)

# Nothing is to be kept.
rm -rf "$DST" "$db"*
start_haul --state "$db" --bwlimit 50M --partial-max-age 0 "$SRC" "$DST"
wait_until 60 eval '[ -n "$(find "$DST" -name ".haul.*" -size +40M 2>/dev/null)" ]'
kill -TERM "$PID" # a shell starts what is in the background with SIGINT ignored
wait "$PID" || true
no_temps "$DST"

# Two at once.
head -c $((80 * mib)) /dev/urandom >"$SRC/second"
settle
rm -rf "$DST" "$db"*
cut_off $both
wanted=$(known 'SELECT count(DISTINCT partial) FROM parts')
parts=$(parts_known)
finish
# One may have got its final name right before, and the state not have been told.
resumed=$(figure resumed)
[ "$resumed" -ge 1 ] && [ "$resumed" -le "$wanted" ] || fail "$resumed were gone on with, $wanted were known"
[ "$resumed" != "$wanted" ] || [ "$(figure resumed_bytes)" -ge $(((parts - wanted) * part)) ] ||
    fail "only $(figure resumed_bytes) were there"

# A file with two names: what is left of it under the one goes where it is copied under the other the next time.
rm -rf "$SRC" "$DST" "$db"*
mkdir -p "$SRC/a" "$SRC/b"
head -c $((40 * mib)) /dev/urandom >"$SRC/a/large"
ln "$SRC/a/large" "$SRC/b/large"
echo 1 >"$SRC/b/small"
settle
# faulty FAULT STATUS ARGUMENTS...
faulty() {
    local status=0
    # shellcheck disable=SC2086
    HAUL_TEST_FAULT=$1 "$HAUL_FAULTY" sync $HAUL_EXTRA --retries 0 --state "$db" "${@:3}" "$SRC" "$DST" >"$WORK/out" 2>"$WORK/err" ||
        status=$?
    [ "$status" = "$2" ] || fail "$1: exit status $status, not $2"
}
for _ in 1 2 3 4 5 6; do
    faulty 60:EIO:kill:write 11 --bwlimit 40M --exclude /b/
    [ "$(known 'SELECT count(*) FROM partials')" = 0 ] || break
done
[ "$(known 'SELECT count(*) FROM partials')" = 1 ] || fail "the state does not know what is left"
faulty 2:EIO:before:publish 23 --exclude /a/ # the first is .haul/sync; b comes first the next time: it has the first name
expect 0 sync --state "$db" "$SRC" "$DST"
judge_lax "$SRC" "$DST"
no_temps "$DST"
[ "$(known 'SELECT count(*) FROM partials')" = 0 ] || fail "the state still knows of it"
