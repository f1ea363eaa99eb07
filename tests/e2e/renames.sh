#!/usr/bin/env bash
# haul sync --detect-renames: what has only another name is linked at the destination and not copied; what is not for
# certain the same file is copied; killed at any step, the next run ends with the source's tree all the same.
. "$(dirname "$0")/lib.sh"
[ -x "$HAUL_FAULTY" ] || fail "no program with fault injection: $HAUL_FAULTY"

# renaming_sync STATUS [OPTIONS...]: with figures.
renaming_sync() {
    local want=$1
    shift
    expect "$want" sync --json --delete --max-delete=100% --detect-renames "$@" "$SRC" "$DST"
}
# judged: as rsync --delete would have it; directory times are not kept.
judged() {
    local diff
    diff=$(rsync -aHnO "${E2E_RSYNC[@]}" --checksum --delete --itemize-changes --exclude=/.haul "$SRC/" "$DST/") ||
        fail "rsync could not judge"
    [ -z "$diff" ] || fail "$*: rsync finds: $(head -n 30 <<<"$diff")"
    no_temps "$DST"
}
# inode PATH...: of what stands at the destination.
inode() { (cd "$DST" && stat -c '%i' "$@"); }
indexed() { sqlite3 "$(echo "$XDG_STATE_HOME"/haul/*.db)" "SELECT count(*) FROM sqlite_master WHERE name='files_ino'"; }

mkdir -p "$SRC"/tree/{a,b/c} "$SRC/there" "$SRC/names"
for i in $(seq 1 100); do
    echo "file $i of a" >"$SRC/tree/a/f$i"
    echo "file $i of b" >"$SRC/tree/b/f$i"
    echo "file $i of c" >"$SRC/tree/b/c/f$i"
done
for name in plain strange tighter wider changed tampered replaced replacing twin.1 twin.2 log log.1 linked touched behind; do
    head -c 5000 /dev/urandom >"$SRC/names/$name"
done
mv "$SRC/names/strange" "$SRC/names/"$'-str\nange \xff'
echo kept >"$SRC/tree/a/inside" && echo KEPT >"$WORK/inside"
touch -r "$SRC/names/twin.1" "$SRC/names/twin.2" # the same size and mtime
chmod 600 "$SRC/names/wider"
ln "$SRC/names/linked" "$SRC/there/linked"
head -c 3000000 /dev/urandom >"$SRC/names/large"
settle
renaming_sync 0
figure_is renamed 0
judged "at first"
[ "$(indexed)" = 1 ] || fail "there is no index"
settle

# A moved directory, and files in all ways in which they get other names. What is copied in the end: those that somebody
# may see more of, that changed, that stand there no more as haul published them, and the new log; one of the exchanged
# two, or none.
moved=$(inode tree/a/f1 tree/a/f100 tree/b/f1 tree/b/c/f100 names/plain names/$'-str\nange \xff' names/tighter names/large names/replacing)
mv "$SRC/tree" "$SRC/there/tree.2"
cd "$SRC/names" || fail "no source"
mv plain ../there/plain.2
mv -- $'-str\nange \xff' $'../there/\xfe\n'
mv tighter tighter.2 && chmod 400 tighter.2
mv wider wider.2 && chmod 644 wider.2
mv changed changed.2 && echo more >>changed.2
mv touched touched.2 && touch touched.2
mv behind behind.2 && touch -r behind.2 "$WORK/then" && head -c 5000 /dev/urandom >behind.2 && touch -r "$WORK/then" behind.2
mv tampered tampered.2
mv replacing replaced
mv twin.1 twin.3 && mv twin.2 twin.1 && mv twin.3 twin.2
mv log.1 log.2 && mv log log.1 && echo "a new log" >log
mv linked linked.2
mv large ../large.2
cd "$WORK" || fail "no folder"
tr '\0-\377' 'x' <"$DST/names/tampered" >"$WORK/x" && touch -r "$DST/names/tampered" "$WORK/x"
cat "$WORK/x" >"$DST/names/tampered" # as long as it was
# In a moved directory what was changed behind its old mtime is seen too.
touch -r "$SRC/there/tree.2/a/inside" "$WORK/inside" && cp -p "$WORK/inside" "$WORK/then"
cat "$WORK/inside" >"$SRC/there/tree.2/a/inside" && touch -r "$WORK/then" "$SRC/there/tree.2/a/inside"
settle
if [ -z "$HAUL_DST" ]; then
    expect 0 sync --dry-run --delete --max-delete=100% --detect-renames "$SRC" "$DST"
    for path in there/plain.2 names/tighter.2 there/tree.2/b/c/f50 large.2; do
        out_has "would rename $path\$"
    done
    for path in names/wider.2 names/changed.2 names/tampered.2 names/log; do
        out_has "would copy $path\$"
    done
    out_has 'would copy [0-9]+ entries, rename 3[0-9]+'
    [ -e "$DST/names/plain" ] || fail "a dry run has renamed something"
fi
renaming_sync 0
[ "$(figure renamed)" -ge 307 ] || fail "only $(figure renamed) renamed"
[ "$(figure files)" -le 10 ] || fail "$(figure files) copied"
[ "$(figure bytes_written)" -le 50000 ] || fail "$(figure bytes_written) bytes were written"
[ "$moved" = "$(inode there/tree.2/a/f1 there/tree.2/a/f100 there/tree.2/b/f1 there/tree.2/b/c/f100 there/plain.2 \
    there/$'\xfe\n' names/tighter.2 large.2 names/replaced)" ] || fail "something of this was copied: $moved"
[ "$(stat -c %h "$DST/there/plain.2")" = 1 ] || fail "the former name is still there"
[ -e "$DST/names/tampered" ] || fail "what somebody has changed was removed"
rm "$DST/names/tampered"
judged "all kinds of renames"
[ "$(find "$DST" -links +1 -type f | wc -l)" = 2 ] || fail "something is linked that is not at the source"
renaming_sync 0
for figure in files renamed attrs removed; do figure_is $figure 0; done

# Its mode at the destination was changed by others: it is right under the new name. Another owner: it is copied.
chmod 666 "$DST/there/tree.2/a/f7"
mv "$SRC/there/tree.2/a/f7" "$SRC/there/tree.2/a/f7.2"
mv "$SRC/there/tree.2/a/f8" "$SRC/there/tree.2/a/f8.2"
[ "$(id -u)" != 0 ] || chown 1234:2345 "$SRC/there/tree.2/a/f8.2"
settle
renaming_sync 0
[ "$(figure renamed)" -le 1 ] || fail "$(figure renamed) renamed"
judged "modes and owners"

# Without the option nothing is looked for, and the state is as small as before.
mv "$SRC/large.2" "$SRC/large.3"
settle
expect 0 sync --json --delete "$SRC" "$DST"
figure_is renamed 0
figure_is bytes 3000000
judged "without"
[ "$(indexed)" = 0 ] || fail "the index stays"

# Killed at each operation: whatever was done by then, the next run copies nothing and ends with the source's tree.
mkdir "$SRC/dir" && for i in $(seq 6); do head -c 9000 /dev/urandom >"$SRC/dir/f$i"; done
settle
renaming_sync 0
was=$(inode dir | sort) # of the directory, which is made anew
files=$(inode dir/f{1..6} | sort)
from=dir to=dir.1
specs=(link:{1,3,6} setattr:{1,4} remove:{1,4,7} mkdir:1)
[ -n "$HAUL_DST" ] || ! command -v strace >/dev/null || specs+=(rename:2) # between the temp name and the final one
for spec in "${specs[@]}"; do
    mv "$SRC/$from" "$SRC/$to"
    [[ $spec != setattr* ]] || chmod a-w "$SRC/$to"/f*
    settle
    status=0
    # shellcheck disable=SC2086
    if [ "${spec%:*}" != rename ]; then
        HAUL_TEST_FAULT="${spec#*:}:EIO:kill:${spec%:*}" "$HAUL_FAULTY" sync $HAUL_EXTRA --delete --max-delete=100% \
            --detect-renames "$SRC" "$(at "$DST")" >"$WORK/out" 2>"$WORK/err" || status=$?
    else
        strace -f -o "$WORK/trace" -e trace=renameat -e "inject=renameat:signal=KILL:when=${spec#*:}" "$HAUL" sync \
            --no-io-uring --delete --max-delete=100% --detect-renames "$SRC" "$DST" >"$WORK/out" 2>"$WORK/err" || status=$?
        [ -n "$(find "$DST" -name '.haul.*.*' -links 2)" ] || fail "killed at $spec: no temp name is left"
    fi
    check_sanitizers
    [ $status = 11 ] || fail "killed at $spec: exit status $status"
    echo "killed at $spec: $status"
    renaming_sync 0
    judged "killed at $spec"
    figure_is bytes_written 0
    [ "$files" = "$(inode "$to"/f{1..6} | sort)" ] || fail "killed at $spec: something was copied"
    [ "$(stat -c %h "$DST/$to/f1")" = 1 ] || fail "killed at $spec: the former name is still there"
    [[ $spec != setattr* ]] || { chmod u+w "$SRC/$to"/f* && settle && renaming_sync 0; }
    from=$to to=dir.$((${to#dir.} + 1))
done
[ "$was" != "$(inode "$from")" ] || fail "the directory was not made anew"

# A failure at the destination is no reason not to have the file; it is copied.
mv "$SRC/$from" "$SRC/dir.end"
settle
# shellcheck disable=SC2086
HAUL_TEST_FAULT="2+2:EPERM:before:link" "$HAUL_FAULTY" sync $HAUL_EXTRA --json --delete --max-delete=100% --retries 0 \
    --detect-renames "$SRC" "$(at "$DST")" >"$WORK/out" 2>"$WORK/err" || fail "a link that is refused: exit status $?"
figure_is renamed 4
figure_is files 2
judged "links refused"

# What it cannot be had with, or without.
for options in '' '--delete --compare=checksum' '--delete --files-from=/dev/null' '--delete --xattrs' '--delete --acls'; do
    # shellcheck disable=SC2086
    expect 1 sync --detect-renames $options "$SRC" "$DST"
    err_has '--detect-renames'
done
expect 1 copy --detect-renames "$SRC" "$DST"

# An inode that is used again, by a file of the same size and mtime: other contents, which only reading tells.
[ "$(id -u)" = 0 ] || exit 0
other=$WORK/other
mkdir "$other"
truncate -s 20M "$WORK/disk"
mkfs.ext4 -q "$WORK/disk" 2>"$WORK/err" || fail "mkfs.ext4"
mount -o loop "$WORK/disk" "$other"
E2E_MOUNTS+=("$other")
third=(--json --detect-renames --delete --max-delete=100% "$other" "$WORK/third")
for i in $(seq 50); do echo "old contents $i" >"$other/old$i" && touch -d @1234567890 "$other/old$i"; done
echo stays >"$other/stays"
settle
expect 0 sync "${third[@]}"
stat -c %i "$other"/old* | sort >"$WORK/inodes"
rm "$other"/old*
sync -f "$other" # from then on they may be used again
for i in $(seq 50); do echo "new contents $i" >"$other/new$i" && touch -d @1234567890 "$other/new$i"; done
used=$(stat -c %i "$other"/new* | sort | comm -12 - "$WORK/inodes" | wc -l)
[ "$used" -ge 10 ] || fail "only $used inodes were used again"
mv "$other/stays" "$other/has another name"
settle
expect 0 sync "${third[@]}"
figure_is renamed 1
figure_is files 50
judge_lax "$other" "$WORK/third"
