#!/usr/bin/env bash
# What goes behind a run: published files looked at again, and temp names of dead runs purged, also where the walk does
# not come by.
. "$(dirname "$0")/lib.sh"

db=$WORK/state.db
dead=0123456789abcdef
name() { echo ".haul.$1.$(printf %016x "$((RANDOM + 1))")"; }

# A source of mode 000 or without bytes is no finding.
mkdir -p "$SRC/a" "$SRC/gone/deep"
: >"$SRC/a/empty"
echo shut >"$SRC/a/shut"
chmod 000 "$SRC/a/shut"
ln -s nowhere "$SRC/a/symlink"
mkfifo "$SRC/a/fifo"
echo one >"$SRC/a/one"
ln "$SRC/a/one" "$SRC/a/two"
echo x >"$SRC/gone/x"
echo x >"$SRC/gone/deep/x"
[ "$(id -u)" = 0 ] || chmod 400 "$SRC/a/shut"
expect 0 copy --json --state "$db" --archive-dirs --recheck 100% "$SRC" "$DST"
figure_is findings 0
figure_is rechecked 8
judge "$SRC" "$DST"
# One file under another name.
expect 0 copy --json --recheck 100% "$SRC/a/one" "$WORK/other-name"
figure_is findings 0
figure_is rechecked 1

# Temp names that a killed run left in a directory that the source does not have any more, and those of a run that
# nobody knows.
echo y >"$SRC/a/y"
status=0
HAUL_TEST_FAULT="1:EIO:kill:publish" "$HAUL_FAULTY" copy --state "$db" "$SRC" "$DST" >"$WORK/out" 2>"$WORK/err" ||
    status=$?
[ "$status" = 11 ] || fail "killed: exit status $status"
killed=$(sqlite3 "$db" "SELECT id FROM runs ORDER BY number DESC LIMIT 1")
rm -r "$SRC/gone"
plant() {
    local dir
    for dir in "$DST" "$DST/a" "$DST/gone" "$DST/gone/deep"; do
        echo part >"$dir/$(name "$killed")"
    done
}
plant
: >"$DST/gone/$(name $dead)"
: >"$DST/a/$(name $dead)"
expect 0 copy --json --state "$db" --archive-dirs "$SRC" "$DST"
[ -z "$(find "$DST" -name ".haul.$killed.*")" ] || fail "left: $(find "$DST" -name ".haul.$killed.*")"
[ "$(find "$DST" -name ".haul.$dead.*" | wc -l)" = 2 ] || fail "temp names of an unknown run were removed"
figure_is purged 4
find "$DST" -name ".haul.$dead.*" -delete

# A list that names a part of the tree says nothing about the rest: a run over all of it still looks everywhere.
status=0
echo z >"$SRC/a/z"
HAUL_TEST_FAULT="1:EIO:kill:publish" "$HAUL_FAULTY" copy --state "$db" "$SRC" "$DST" >"$WORK/out" 2>"$WORK/err" ||
    status=$?
[ "$status" = 11 ] || fail "killed: exit status $status"
killed=$(sqlite3 "$db" "SELECT id FROM runs ORDER BY number DESC LIMIT 1")
plant
echo a/one | expect 0 copy --json --state "$db" --files-from - "$SRC" "$DST"
[ "$(find "$DST/gone" -name ".haul.$killed.*" | wc -l)" = 2 ] || fail "a list of one file went through the whole tree"
expect 0 copy --json --state "$db" --archive-dirs "$SRC" "$DST"
[ -z "$(find "$DST" -name ".haul.$killed.*")" ] || fail "left: $(find "$DST" -name ".haul.$killed.*")"

# Interrupted: what waits to be looked at again does not keep the run.
maketree told "$WORK/many" 3000 0 1
start_haul --recheck 100% --bwlimit 2M "$WORK/many" "$WORK/many-dst"
wait_until 20 test -d "$WORK/many-dst"
sleep "$(random_ms 800)"
kill -TERM "$PID"
begin=$SECONDS
status=0
wait "$PID" || status=$?
[ "$status" = 20 ] || fail "interrupted: exit status $status"
[ $((SECONDS - begin)) -le 5 ] || fail "interrupted: took $((SECONDS - begin)) s"
expect 0 copy --json "$WORK/many" "$WORK/many-dst"
judge_lax "$WORK/many" "$WORK/many-dst"

# At the default one in a hundred, and at most three in a hundred operations are the janitor's.
calls() {
    strace -f -qq -c -o "$WORK/strace" \
        -e trace=openat,openat2,statx,newfstatat,renameat2,renameat,unlinkat,linkat,mkdirat,utimensat,fchmod,fchownat,getdents64 \
        "$HAUL" copy --json --jobs 1 "$@" >"$WORK/out" 2>"$WORK/err" || fail "under strace"
    awk '$NF == "total" { print $4 }' "$WORK/strace"
}
# shellcheck disable=SC2086
without=$(calls $HAUL_EXTRA --recheck 0 "$WORK/many" "$WORK/without")
# shellcheck disable=SC2086
with=$(calls $HAUL_EXTRA "$WORK/many" "$WORK/with")
again=$(figure rechecked)
[ "$again" -ge 5 ] && [ "$again" -le 90 ] || fail "$again of 3000 are not about one in a hundred"
[ $((with * 100)) -le $((without * 103)) ] || fail "$with calls instead of $without"
echo "$again of 3000 looked at again: $with calls instead of $without"
