#!/usr/bin/env bash
# haul clean: stale temp names go, by the thousand; nothing of a run that lives, and nothing that somebody may go on with.
. "$(dirname "$0")/lib.sh"

unknown=0123456789abcdef
db=$WORK/state.db
# temps RUN COUNT FOLDER: that many temp names of that run.
temps() {
    mkdir -p "$3"
    (cd "$3" && seq -f ".haul.$1.%016.0f" 1 "$2" | xargs touch)
}
count() {
    find "$DST" -name "$1" | wc -l
}

# A run that has ended well, and one that was killed.
maketree told "$SRC" 300 0 20
expect 0 copy --state "$db" "$SRC" "$DST"
ended=$(sqlite3 "$db" "SELECT id FROM runs")
expect 0 copy "$SRC/$(ls "$SRC" | head -n 1)" "$DST/more/" # another pair, whose state is a default one
other=$(sqlite3 "$XDG_STATE_HOME"/haul/*.db "SELECT id FROM runs")
mapfile -t dirs < <(find "$DST" -type d ! -name .haul)
for i in $(seq 0 9); do temps "$ended" 900 "${dirs[i]}"; done
for i in $(seq 0 9); do temps "$other" 100 "${dirs[i]}/new"; done
temps "$ended" 3 "$DST/.haul"
temps "$unknown" 7 "$DST"
mkdir "$DST/.haul.$ended.0000000000000000"
echo kept >"$DST/.haul.$ended.short"
ln -s nowhere "$DST/.haul.$ended.00000000000000aa"

# A dry run tells, and changes nothing.
expect 0 clean --dry-run --json --state "$db" "$DST"
figure_is removed 10004
[ "$(count '.haul.*')" = 10013 ] || fail "a dry run removed something"
expect 0 clean -n --state "$db" "$DST"
out_has '^temp +certain +found +'
out_has '^would remove 10,004 stale temp names'

# 10,000 and a few: all gone, but for those of a run that nobody here knows.
expect 0 clean --json --state "$db" "$DST"
figure_is removed 10004
figure_is left_young 7
figure_is failed 0
[ "$(count ".haul.$unknown.*")" = 7 ] || fail "temp names of an unknown run are gone"
[ -d "$DST/.haul.$ended.0000000000000000" ] && [ -e "$DST/.haul.$ended.short" ] || fail "what is no temp name is gone"
[ "$(count '.haul.*')" = 9 ] || fail "left: $(find "$DST" -name '.haul.*' | head)"
[ "$(count '.haul')" = 1 ] || fail ".haul is gone"
expect 0 clean --older-than 0s --state "$db" "$DST"
out_has '^removed 7 stale temp names'
[ "$(count ".haul.$unknown.*")" = 0 ] || fail "left although they are old enough"
rm -r "$DST/.haul" "$DST/.haul.$ended".*
find "$DST" -name new -type d -exec rm -r {} +
rm -r "$DST/more"
judge_lax "$SRC" "$DST"

# Of other tools: with --others, once they are old enough, and not what only looks like them.
foreign=(.data.parquet.Xa81Qz file.1a2b3c4d.partial .file.tmp5577006791947779410 .nfs000000000012ab3400000001)
mkdir "$DST/a" "$DST/a/.~tmp~"
for name in "${foreign[@]}" .bashrc.backup film.partial .nfsmounts; do echo x >"$DST/a/$name"; done
echo x >"$DST/a/.~tmp~/waits"
expect 0 clean --older-than 0s "$DST"
out_has '^removed 0 '
expect 0 clean --others "$DST"
out_has '^removed 0 '
out_has '^left: 5 too young'
expect 0 clean --others --older-than 0s "$DST"
out_has '^removed 5 '
[ "$(ls -A "$DST/a")" = "$(printf '%s\n' .bashrc.backup .nfsmounts film.partial)" ] || fail "in a: $(ls -A "$DST/a")"
rm -r "$DST/a"

# A directory that goes between its parent's listing and its own; one that cannot be listed; the destination itself.
HAUL=$HAUL_FAULTY HAUL_TEST_FAULT=2:ENOENT:before:list-open expect 0 clean --json "$DST"
figure_is failed 0
HAUL=$HAUL_FAULTY HAUL_TEST_FAULT=2:EACCES:before:list-open expect 23 clean --json "$DST"
HAUL=$HAUL_FAULTY HAUL_TEST_FAULT=1:ENOENT:before:list-open expect 23 clean --json "$DST"

# The local temp dir.
mkdir -p -m 700 "$TMPDIR/haul-$(id -u)"
: >"$TMPDIR/haul-$(id -u)/.haul.$unknown.0000000000000001"
echo own >"$TMPDIR/haul-$(id -u)/own"
expect 0 clean --json "$DST"
figure_is removed_local 1
[ "$(ls -A "$TMPDIR/haul-$(id -u)")" = own ] || fail "in the temp dir: $(ls -A "$TMPDIR/haul-$(id -u)")"

# Part of a large file that was killed half-way stays as long as the next run goes on with it.
head -c 120000000 /dev/urandom >"$SRC/large"
partial=
for _ in 1 2 3 4 5 6; do # the state is told of parts every half second, but may have to wait for a busy disk
    status=0
    HAUL_TEST_FAULT="170:EIO:kill:write" "$HAUL_FAULTY" copy --bwlimit 60M --stage never --state "$db" "$SRC" "$(at "$DST")" \
        >"$WORK/out" 2>"$WORK/err" || status=$?
    [ "$status" = 11 ] || fail "killed: exit status $status"
    partial=$(sqlite3 "$db" "SELECT temp FROM partials")
    [ -z "$partial" ] || break
done
[ -n "$partial" ] && [ "$(count "$partial")" = 1 ] || fail "no part of the large file is left"
expect 0 clean --json --older-than 0s --state "$db" "$DST"
figure_is left_partial 1
expect 0 clean --json --older-than 0s "$DST" # from a machine that has no such state
figure_is left_partial 1
[ "$(count "$partial")" = 1 ] || fail "the part is gone"
expect 0 clean --partial-max-age 0 --json --state "$db" "$DST"
[ "$(figure removed)" -ge 1 ] || fail "nothing was removed"
[ "$(count '.haul.*')" = 0 ] || fail "the part is there though it is too old"

head -c 24000000 /dev/urandom >"$SRC/large"

# A run that lives, its state known or not: nothing of it is touched.
for own in default foreign; do
    state=()
    [ $own = default ] || state=(--state "$WORK/foreign.db")
    start_live "$SRC" --bwlimit 6M "${state[@]}"
    temps "$ended" 100 "$WORK/live/below"
    temps "$unknown" 100 "$WORK/live"
    names=$(find "$WORK/live" -name '.haul.*.*' -size +0 2>/dev/null) || true # some go meanwhile
    expect 0 clean --json --older-than 0s --state "$db" "$WORK/live"
    figure_is removed 200
    [ "$(figure left_living)" -ge 1 ] || fail "$own: no temp name of the run that lives was met"
    for name in $names; do
        [ -e "$name" ] || kill -0 "$LIVE" 2>/dev/null || fail "$own: $name is gone"
    done
    end_live
done

# Where there is nothing to remove nothing is changed, not even by finding out what a server can do.
touch -d @1000000000 "$DST"
expect 0 clean "$DST"
[ "$(stat -c %Y "$DST")" = 1000000000 ] || fail "the root's times have changed: $(stat -c %y "$DST")"

# Wrong use; what is not there; nothing is made.
expect 1 clean --bwlimit 3M "$DST"
err_has '--bwlimit is not for haul clean'
expect 1 clean "$SRC" "$DST"
expect 1 copy --others "$SRC" "$DST"
expect 11 clean "$WORK/nowhere"
[ ! -e "$WORK/nowhere" ] || fail "it was made"

# Interrupted: gone soon, with 20; and it was told that not everything was looked at.
temps "$unknown" 5000 "$DST/many"
"$HAUL" clean --older-than 0s --ops-limit 100 "$(at "$DST")" >"$WORK/out" 2>"$WORK/err" &
PID=$!
E2E_PIDS+=("$PID")
removing() { [ "$(find "$DST/many" -name '.haul.*' | wc -l)" -lt 5000 ]; }
wait_until 30 removing
kill -TERM "$PID"
status=0
wait "$PID" || status=$?
[ "$status" = 20 ] || fail "interrupted: exit status $status"
err_has 'NOT everything'
