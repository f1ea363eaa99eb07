#!/usr/bin/env bash
# A destination that breaks files after it has published them: with --recheck 100% everything is right in the end, and
# each case is reported, none else.
. "$(dirname "$0")/lib.sh"
need_root

back=$WORK/back
mnt=$WORK/mnt
start_faultfs "$back" "$mnt"
run=0

# fresh_dst: a new, empty destination in $DST, as it looks from behind in $BEHIND.
fresh_dst() {
    run=$((run + 1))
    DST=$mnt/$run
    BEHIND=$back/$run
    mkdir "$DST"
    : >"$WORK/faultfs.log"
}

# broken: "kind path" of each file that was broken, as haul ought to call it; found: as it did.
broken() {
    sed -n "/^command\|^failed/d; s|$run/||; s/^empty /corrupt /; s/^mode /unreadable /; s/^zero /empty /
        s/^truncate /differs /; s/^fifo /differs /; s/^replace /replaced /; s/^gone /missing /; p" "$WORK/faultfs.log" | sort
}
found() {
    jq -r 'select(.event == "finding") | .kind + " " + .path' "$WORK/out" | sort
}
expect_all_found() {
    diff <(broken) <(found) >"$WORK/diff" || fail "broken (<) and found (>): $(head -n 20 "$WORK/diff")"
}

# Files in many directories, none so small that half of it is all of it; a large one, one with holes, a symbolic link.
for d in a a/b a/b/c d e/f; do
    mkdir -p "$SRC/$d"
    for i in $(seq 20); do
        head -c $((i * 997 + 10)) /dev/urandom >"$SRC/$d/file$i"
    done
    chmod 2750 "$SRC/$d"
done
head -c 3000000 /dev/urandom >"$SRC/large"
truncate -s 5M "$SRC/sparse"
echo end >>"$SRC/sparse"
ln -s a/b "$SRC/symlink"
chown 1234:5678 "$SRC/a/file7"
chmod 4755 "$SRC/a/file7"
files=$(find "$SRC" -type f | wc -l)

# Each kind in turn, each 7th rename, those of the repairs among them.
fresh_dst
faultfs_tell every 7 empty truncate mode zero fifo
expect 0 copy --json --archive-dirs --recheck 100% "$SRC" "$DST"
faultfs_tell heal
judge "$SRC" "$BEHIND"
no_temps "$BEHIND"
expect_all_found
n=$(broken | wc -l)
[ "$n" -ge $((files / 7)) ] || fail "only $n files were broken"
figure_is findings "$n"
figure_is repaired "$n"
figure_is rechecked $((files + 1 + n))
told=$("$HAUL" status --json "$DST" | jq -rs '[.[] | select(.event == "finding" and .action == "mended")] | length')
[ "$told" = "$n" ] || fail "haul status tells of $told findings, not $n"
err_has "$n of $((files + 1 + n)) entries that were looked at again were not right"
err_has 'looked at again: it has mode 000 and 0 bytes of [0-9]+; published again'
echo "$n of $files broken, found and published again"
expect 0 copy --json --archive-dirs --recheck 100% "$SRC" "$DST"
figure_is todo 0
figure_is rechecked 0

# Some time after the rename: what was published is given two seconds while there is other work to be done.
fresh_dst
mkdir "$WORK/slow"
cp -a "$SRC/a" "$WORK/slow"
head -c 5000000 /dev/urandom >"$WORK/slow/z"
faultfs_tell late 700
faultfs_tell every 3 empty
expect 0 copy --json --jobs 4 --bwlimit 1M --recheck 100% "$WORK/slow" "$DST"
faultfs_tell heal
faultfs_tell late 0
# Those that were published at the very end may break once they were looked at for the last time: they are not reported,
# and not judged.
for file in $(comm -23 <(broken) <(found) | cut -d' ' -f2); do
    rm "$WORK/slow/$file" "$BEHIND/$file"
done
judge_lax "$WORK/slow" "$BEHIND"
[ "$(found | wc -l)" -ge 10 ] || fail "only $(found | wc -l) files found that broke late"
[ -z "$(comm -13 <(broken) <(found))" ] || fail "found what was not broken: $(comm -13 <(broken) <(found))"

# A group of names is put right as a whole: no name is parted from the others. Each name is broken once at most: three
# times is how often a group is done anew.
fresh_dst
mkdir -p "$WORK/group/a" "$WORK/group/b"
for i in $(seq 12); do
    head -c $((i * 1000)) /dev/urandom >"$WORK/group/a/one$i"
    ln "$WORK/group/a/one$i" "$WORK/group/a/two$i"
    ln "$WORK/group/a/one$i" "$WORK/group/b/three$i"
done
faultfs_tell once
faultfs_tell every 5 mode empty truncate
expect 0 copy --json --archive-dirs --recheck 100% "$WORK/group" "$DST"
faultfs_tell heal
judge "$WORK/group" "$BEHIND"
# Each name of a broken file is a finding of its own; each file that was broken is among them.
missed=$(comm -23 <(broken | cut -d' ' -f2 | grep -oE '[0-9]+$' | sort -u) <(found | cut -d' ' -f2 | grep -oE '[0-9]+$' | sort -u))
[ -z "$missed" ] || fail "groups broken and not found: $missed"
[ "$(found | wc -l)" -gt 0 ] || fail "no group was found broken"
# New contents: the names that stand there are replaced by links, and files break after they were linked.
for i in $(seq 12); do
    head -c $((i * 1000 + 500)) /dev/urandom >"$WORK/group/a/one$i"
done
faultfs_tell once
faultfs_tell every 5 mode empty truncate
expect 0 copy --json --archive-dirs --recheck 100% "$WORK/group" "$DST"
faultfs_tell heal
judge "$WORK/group" "$BEHIND"
found | grep -qE 'two|three' || fail "no file broke after it was linked"

# What is gone, or somebody else's, is reported and left alone: gone is a failure, replaced is not.
fresh_dst
faultfs_tell every 9 gone replace
expect 23 copy --json --recheck 100% "$SRC" "$DST"
faultfs_tell heal
expect_all_found
jq -es '[.[] | select(.event == "finding") | .action] | length > 0 and all(.[]; . == "left")' "$WORK/out" >/dev/null ||
    fail "what is gone or replaced was not left alone"
diff <(failures) <(broken | sed -n 's/^missing //p' | sort) >"$WORK/diff" || fail "failures: $(cat "$WORK/diff")"
for file in $(broken | sed -n 's/^replaced //p'); do
    [ "$(head -c 3 "$BEHIND/$file")" = xxx ] || fail "$file was overwritten"
done
for file in $(broken | sed -n 's/^missing //p'); do
    [ ! -e "$BEHIND/$file" ] || fail "$file is back"
done
expect 0 copy --json --archive-dirs "$SRC" "$DST"
judge "$SRC" "$BEHIND"

# A destination that breaks everything: each file is a failure in the end, and the next run completes it.
fresh_dst
mkdir "$WORK/few"
cp "$SRC"/a/b/c/file[1-5] "$WORK/few"
faultfs_tell every 1 empty
expect 23 copy --json --recheck 100% "$WORK/few" "$DST"
faultfs_tell heal
expect_all_found
[ "$(failures | tr '\n' ' ')" = "file1 file2 file3 file4 file5 " ] || fail "failures: $(failures)"
figure_is repaired 15
figure_is findings 20
err_has 'it does not stay right however often it is published'
expect 0 copy --json --recheck 100% "$WORK/few" "$DST"
judge_lax "$WORK/few" "$BEHIND"
figure_is findings 0

# A repair that fails is a failure of its file.
fresh_dst
faultfs_tell every 1 empty
status=0
# shellcheck disable=SC2086
HAUL_TEST_FAULT="6+100:EACCES:before:publish" "$HAUL_FAULTY" copy $HAUL_EXTRA --json --recheck 100% "$WORK/few" "$DST" \
    >"$WORK/out" 2>"$WORK/err" || status=$?
faultfs_tell heal
[ "$status" = 23 ] || fail "repairs that fail: exit status $status"
[ "$(failures | wc -l)" = 5 ] || fail "repairs that fail: $(failures)"
[ "$(jq -r 'select(.event == "finding") | .action' "$WORK/out" | sort -u)" = failed ] || fail "not told as failed"

# Off: nothing is looked at, nothing is found.
fresh_dst
faultfs_tell every 7 empty
expect 0 copy --json --recheck 0 "$SRC" "$DST"
faultfs_tell heal
figure_is rechecked 0
figure_is findings 0
