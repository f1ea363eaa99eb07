#!/usr/bin/env bash
# haul sync: only what changed; --delete and its guards; a destination that is not there, or another one.
. "$(dirname "$0")/lib.sh"

mkdir -p "$SRC"/a/b "$SRC"/gone/deep "$SRC/keep"
for i in $(seq 1 40); do
    echo "file $i" >"$SRC/a/f$i"
    echo "deep $i" >"$SRC/gone/deep/g$i"
done
echo same >"$SRC/a/b/touched"
ln "$SRC/a/f1" "$SRC/a/b/link"
ln -s f1 "$SRC/a/sym"
echo x >"$SRC/keep/x.bak"
settle

# judged DST: as rsync --delete would have it; directory times are not kept.
judged() {
    local diff
    diff=$(rsync -aHnO --checksum --delete --itemize-changes --exclude=/.haul "$SRC/" "$DST/") || fail "rsync could not judge"
    [ -z "$diff" ] || fail "rsync finds: $(head -n 30 <<<"$diff")"
}

# Killed before it could say whose the destination is: the next run is not refused for that.
HAUL_TEST_FAULT="1:EIO:kill:publish" "$HAUL_FAULTY" sync "$SRC" "$DST" >"$WORK/out" 2>"$WORK/err" && fail "it was not killed"
[ ! -e "$DST/.haul/sync" ] || fail "it came too far"
expect 0 sync --json "$SRC" "$DST"
judged
[ -s "$DST/.haul/sync" ] || fail "the destination has no id"

# Nothing changed: nothing is done, and nothing is asked but whether it is the same destination.
expect 0 sync --json --delete "$SRC" "$DST"
figure_is files 0
figure_is attrs 0
figure_is removed 0
if command -v strace >/dev/null; then
    strace -f -o "$WORK/trace" -e trace=statx,newfstatat,openat,openat2,getdents64,mkdirat "$HAUL" sync --no-io-uring \
        --delete "$SRC" "$DST" >"$WORK/out" 2>"$WORK/err" || fail "sync under strace"
    # 80 files each: what is asked by name at the source is asked once, at the destination never.
    [ "$(grep -c '"f7"' "$WORK/trace")" = 1 ] || fail "the destination was asked for a file that did not change"
fi

# Changes of every kind: contents with the old size and mtime, attributes, links, types, names.
touch -r "$SRC/a/b/touched" "$WORK/then"
echo SAME >"$SRC/a/b/touched"
touch -r "$WORK/then" "$SRC/a/b/touched"
chmod 600 "$SRC/a/f2"
echo grown >>"$SRC/a/f3"
ln "$SRC/a/f4" "$SRC/a/b/link4"
rm "$SRC/a/f5" && mkdir "$SRC/a/f5" && echo in >"$SRC/a/f5/in"
rm -r "$SRC/gone"
echo "was a directory" >"$SRC/gone"
mv "$SRC/a/f6" "$SRC/a/f6.new"
echo foreign >"$DST/a/foreign"
expect 0 sync --json --delete "$SRC" "$DST"
figure_is removed 43
[ "$(cat "$DST/a/b/touched")" = SAME ] || fail "contents changed behind an old mtime did not arrive"
[ -e "$DST/a/foreign" ] || fail "what haul never published was removed"
expect 0 sync --delete --compare=dest "$SRC" "$DST"
[ ! -e "$DST/a/foreign" ] || fail "--compare=dest left an extra"
judged

# Attributes alone are sent without the contents, whatever moved them; what is new to a group is linked, and a group whose
# file has changed is linked again as a whole.
chmod 640 "$SRC"/a/f2[0-9]
touch -r "$SRC/a/f11" "$WORK/then" && touch "$SRC/a/f11" && touch -r "$WORK/then" "$SRC/a/f11" # only ctime has moved
expect 0 sync --json --delete "$SRC" "$DST"
figure_is attrs 10
figure_is files 0
figure_is bytes_written 0
judged
ln "$SRC/a/f30" "$SRC/a/b/f30.b" && ln "$SRC/a/f30" "$SRC/keep/f30.c"
expect 0 sync --delete "$SRC" "$DST"
judged
settle
echo "changed under all its names" >"$SRC/keep/f30.c"
expect 0 sync --json --delete "$SRC" "$DST"
figure_is files 1
figure_is links 2
[ "$(stat -c '%i %h' "$DST/a/f30" "$DST/a/b/f30.b" "$DST/keep/f30.c" | sort -u)" = "$(stat -c '%i 3' "$DST/a/f30")" ] ||
    fail "the group was parted"
judged
# A link that was broken by a copy, which has the size and times of the others.
cp -p "$SRC/a/b/f30.b" "$SRC/a/b/copy" && mv "$SRC/a/b/copy" "$SRC/a/b/f30.b"
settle
expect 0 sync --delete "$SRC" "$DST"
[ "$(stat -c %h "$DST/a/f30" "$DST/a/b/f30.b" "$DST/keep/f30.c" | tr '\n' ' ')" = "2 1 2 " ] || fail "it is still linked"
judged

# What would be done, by what is remembered, with all its guards: nothing is touched, and a real run then does that.
mkdir "$SRC/would" && for i in $(seq 60); do echo "$i" >"$SRC/would/$i"; done
expect 0 sync --delete "$SRC" "$DST"
rm "$SRC"/would/[1-4] && rm -r "$SRC/a/f5" && echo "file now" >"$SRC/a/f5" && mv "$SRC/would/5" "$SRC/would/five"
settle
picture() {
    find "$SRC" "$DST" -printf '%p %i %m %s %T@ %C@\n' | sort
    find "$XDG_STATE_HOME" -printf '%p %i %m %s %T@\n' | grep -v '\.db-shm' | sort
    sha256sum "$XDG_STATE_HOME"/haul/*.db "$XDG_STATE_HOME"/haul/*.db-wal
}
picture >"$WORK/before"
expect 0 sync --dry-run --delete --max-delete=7 "$SRC" "$DST"
for path in would/1 would/2 would/3 would/4 would/5 a/f5 a/f5/in; do
    out_has "would remove $path\$"
done
[ "$(grep -c 'would remove would/' "$WORK/out")" = 5 ] || fail "something else would be removed"
out_has 'would remove 7 entries'
out_has 'would copy would/five'
expect 25 sync --dry-run --delete --max-delete=6 "$SRC" "$DST"
err_has '7 of [0-9]+ entries would be removed, more than --max-delete allows .6.: nothing was removed'
! grep -q 'would remove' "$WORK/out" || fail "it lists what it would not remove"
expect 0 sync --dry-run "$SRC" "$DST"
! grep -q 'would remove' "$WORK/out" || fail "without --delete nothing would be removed"
mv "$SRC" "$WORK/away" && mkdir "$SRC"
expect 25 sync --dry-run --delete "$SRC" "$DST"
err_has 'is it mounted'
rmdir "$SRC" && mv "$WORK/away" "$SRC"
picture >"$WORK/after"
# But for the change of its own name.
diff <(grep -v "^$SRC " "$WORK/before") <(grep -v "^$SRC " "$WORK/after") || fail "a dry run has touched something"
[ -z "$(find "$TMPDIR" -name 'haul-dry-run.*')" ] || fail "a dry run has left something in TMPDIR"
expect 0 sync --json --delete "$SRC" "$DST"
figure_is removed 7
judged

# Excluded names stay, unless --delete-excluded.
expect 0 sync --delete --exclude='*.bak' "$SRC" "$DST"
[ -e "$DST/keep/x.bak" ] || fail "an excluded name was removed"
expect 0 sync --delete-excluded --exclude='*.bak' "$SRC" "$DST"
[ ! -e "$DST/keep/x.bak" ] || fail "--delete-excluded left an excluded name"
expect 0 sync --delete "$SRC" "$DST"
judged

# What the source could not be read of deletes nothing; nor does too much at a time, or an empty source.
mkdir "$SRC/many"
for i in $(seq 1 200); do : >"$SRC/many/$i"; done
expect 0 sync "$SRC" "$DST"
mv "$SRC/many" "$WORK/many"
expect 25 sync --delete "$SRC" "$DST"
err_has 'nothing was removed'
[ "$(find "$DST/many" -type f | wc -l)" = 200 ] || fail "--max-delete let something go"
expect 25 sync --delete --max-delete=200 "$SRC" "$DST"
expect 0 sync --delete --max-delete=201 "$SRC" "$DST"
judged
mv "$SRC" "$WORK/mounted" && mkdir "$SRC"
expect 0 sync "$SRC" "$DST"
out_has 'is empty, and was not before: is it mounted'
expect 25 sync --delete "$SRC" "$DST"
err_has 'is it mounted'
[ -e "$DST/a/f1" ] || fail "an empty source emptied the destination"
rmdir "$SRC" && mv "$WORK/mounted" "$SRC"

# The destination is not mounted, or another one.
mv "$DST" "$WORK/there"
expect 11 sync --delete "$SRC" "$DST"
err_has 'is not there any more'
[ ! -e "$DST" ] || fail "the destination was made"
mkdir "$DST"
expect 11 sync --delete "$SRC" "$DST"
err_has 'accept-new-destination'
[ -z "$(ls -A "$DST")" ] || fail "something was put into it"
expect 0 sync --accept-new-destination "$SRC" "$DST"
judged

# The state is older than the destination: nothing is removed in that run, and all is right after the next.
cp -r "$XDG_STATE_HOME" "$WORK/old"
echo new >"$SRC/a/new"
expect 0 sync "$SRC" "$DST"
rm "$SRC/a/f7"
rm -r "$XDG_STATE_HOME" && mv "$WORK/old" "$XDG_STATE_HOME"
expect 0 sync --delete "$SRC" "$DST"
out_has 'nothing is removed in this run'
[ -e "$DST/a/f7" ] || fail "removed by an old state"
expect 0 sync --delete "$SRC" "$DST"
judged
# Lost: compared with the destination.
rm -r "$XDG_STATE_HOME"
rm "$SRC/a/f8"
expect 0 sync --delete "$SRC" "$DST"
out_has 'another state has synced'
[ -e "$DST/a/f8" ] || fail "removed without a memory"

# Truncated: moved aside; from then on as if it were lost.
for db in "$XDG_STATE_HOME"/haul/*.db; do
    sqlite3 "$db" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
    truncate -s 5000 "$db"
    rm -f "$db-wal" "$db-shm"
done
mv "$SRC/a/f10" "$WORK/f10"
expect 11 sync --delete "$SRC" "$DST"
err_has 'is damaged; it is kept as'
expect 0 sync --delete "$SRC" "$DST"
out_has 'another state has synced'
[ -e "$DST/a/f10" ] || fail "removed by a truncated state"
mv "$WORK/f10" "$SRC/a/f10"
expect 0 sync --delete "$SRC" "$DST"

# The destination of another sync stands where ours was.
mkdir "$WORK/another" && echo x >"$WORK/another/x"
expect 0 sync "$WORK/another" "$WORK/exchanged"
mv "$DST" "$WORK/ours" && mv "$WORK/exchanged" "$DST"
expect 11 sync --delete "$SRC" "$DST"
err_has 'is not the destination of the last sync'
[ "$(ls -A "$DST")" = "$(printf '.haul\nx')" ] || fail "something was done to it: $(ls -A "$DST")"
rm -r "$DST" && mv "$WORK/ours" "$DST"

# The state was taken along to another machine, which has synced since: here nothing is removed by what is out of date.
cp -r "$XDG_STATE_HOME" "$WORK/machine2"
echo more >"$SRC/a/of-machine2"
XDG_STATE_HOME=$WORK/machine2 expect 0 sync --delete "$SRC" "$DST"
mv "$SRC/a/f11" "$WORK/f11"
expect 0 sync --delete "$SRC" "$DST"
out_has "an older one, or another machine's.*nothing is removed in this run"
[ -e "$DST/a/f11" ] || fail "removed by a state that another machine has overtaken"
XDG_STATE_HOME=$WORK/machine2 expect 0 sync --delete "$SRC" "$DST"
out_has 'nothing is removed in this run'
[ -e "$DST/a/f11" ] || fail "removed by a state that this machine has overtaken"
mv "$WORK/f11" "$SRC/a/f11"
expect 0 sync --delete "$SRC" "$DST"
# That of another pair.
expect 11 sync --delete --state "$(ls "$WORK"/machine2/haul/*.db | head -n 1)" "$WORK/another" "$WORK/nowhere"
err_has 'belongs to another pair of SRC and DST'
[ ! -e "$WORK/nowhere" ] || fail "something was made"
expect 0 sync --delete "$SRC" "$DST"

# Behind haul's back: found by --audit within 100/P runs.
echo "altered" >"$DST/a/f9"
for _ in 1 2 3 4; do
    expect 0 sync --audit 25% "$SRC" "$DST"
done
rm -f "$DST/a/f8"
judged

# Killed at any moment: what was published and not recorded is known all the same.
for n in 3 9 17; do
    rm -rf "$SRC/round" && mkdir "$SRC/round"
    for i in $(seq 1 30); do echo "$n $i" >"$SRC/round/r$n.$i"; done
    HAUL_TEST_FAULT="$n:EIO:kill:publish" "$HAUL_FAULTY" sync --delete "$SRC" "$DST" >"$WORK/out" 2>"$WORK/err" || true
    rm -r "$SRC/round"
    expect 0 sync --delete "$SRC" "$DST"
    judged
done

# What a copy has made is haul's too: files, links, directories. What it did not make is not.
mkdir -p "$WORK/moved"/{stays,goes/below}
echo 1 >"$WORK/moved/stays/file"
echo 2 >"$WORK/moved/goes/below/file"
ln "$WORK/moved/goes/below/file" "$WORK/moved/goes/second"
ln -s nowhere "$WORK/moved/goes/link"
mkfifo "$WORK/moved/goes/fifo"
settle
expect 0 copy "$WORK/moved" "$WORK/arrived"
echo mine >"$WORK/arrived/stays/mine"
rm -r "$WORK/moved/goes"
expect 0 sync --delete "$WORK/moved" "$WORK/arrived"
[ ! -e "$WORK/arrived/goes" ] || fail "left after a copy: $(find "$WORK/arrived/goes")"
[ -e "$WORK/arrived/stays/mine" ] || fail "not haul's, and removed"

expect 1 copy --delete "$SRC" "$DST"
err_has 'is for haul sync'

# A directory that comes first, since it was left, leaves the source while one of its files is under way, before its parent
# is listed: what was published meanwhile goes with it, in this run.
for dir in a b c d e f; do mkdir -p "$WORK/leaving/$dir" && echo old >"$WORK/leaving/$dir/x"; done
settle
expect 0 sync --delete "$WORK/leaving" "$WORK/leaving.dst"
for dir in a b c d e f; do echo new >>"$WORK/leaving/$dir/x"; done
HAUL_TEST_FAULT="1+100000:EIO:before:publish" "$HAUL_FAULTY" sync --retries 0 "$WORK/leaving" "$WORK/leaving.dst" >"$WORK/out" 2>"$WORK/err" &&
    fail "nothing failed"
head -c 300000 /dev/urandom >"$WORK/leaving/a/x" # the others wait behind it for 3.75 s, the walk does not
# shellcheck disable=SC2086
background "$HAUL" sync $HAUL_EXTRA --delete --bwlimit 80k --ops-limit 8 "$WORK/leaving" "$WORK/leaving.dst" >"$WORK/out" 2>"$WORK/err"
large_there() { [ "$(stat -c %s "$WORK/leaving.dst/a/x")" = 300000 ]; }
wait_until 20 large_there
mv "$WORK/leaving/b" "$WORK/elsewhere"
status=0
wait "$PID" || status=$?
[[ $status =~ ^(0|24)$ ]] || fail "a directory that was moved away: exit status $status" # 24: before it was read
! grep -q 'were left' "$WORK/out" "$WORK/err" || fail "what this run has published is taken for somebody else's"
[ ! -e "$WORK/leaving.dst/b" ] || fail "a directory that was moved away stays"
judge_lax "$WORK/leaving" "$WORK/leaving.dst"
