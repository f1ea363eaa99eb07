#!/usr/bin/env bash
# A tree with one of everything arrives, a second run copies nothing, and each kind of change is brought over.
. "$(dirname "$0")/lib.sh"

maketree everything "$SRC"
[ "$HAUL_DST" != nfs ] || find "$SRC" -size +1G -delete # each judgement would read all of it
settle
expect 0 copy --archive-dirs --json "$SRC" "$DST"
judge "$SRC" "$DST"
no_temps "$DST"
[ ! -e "$DST/.haul" ] || fail ".haul stays at the destination after a success"
figure_is failed 0
[ "$(figure files)" -gt 80 ] || fail "too few files counted: $(figure files)"
[ "$(figure links)" -ge 8 ] || fail "too few hard links counted: $(figure links)"

# A second run finds everything right, and changes nothing: not even the times of attribute changes, but for the root's,
# in which the lease has stood.
look() {
    (cd "$DST" && find . -mindepth 1 -printf '%P %i %C@ %T@ %m\n' | sort && stat -c '%i %Y %a' .)
}
look >"$WORK/before"
expect 0 copy --archive-dirs --json "$SRC" "$DST"
figure_is todo 0
figure_is files 0
figure_is links 0
figure_is attrs 0
figure_is dirs_made 0
look >"$WORK/after"
cmp "$WORK/before" "$WORK/after" || fail "the second run changed something"

# again WHAT: a run after a change, and the judge.
again() {
    settle
    expect 0 copy --archive-dirs --json "$SRC" "$DST"
    judge "$SRC" "$DST"
    no_temps "$DST"
    echo "$1"
}

echo "other contents" >"$SRC/sizes/4096.bin"
again "a small file changed"
figure_is files 1
printf 'x' | dd of="$SRC/sizes/20971523.bin" bs=1 seek=10000000 conv=notrunc status=none
truncate -s 3M "$SRC/sizes/2097152.bin"
: >"$SRC/sizes/1048577.bin"
again "large files changed, grew, became empty"
chmod 0751 "$SRC/sizes/0.bin" "$SRC/nested"
chmod 4711 "$SRC/sizes/16777215.bin"
again "modes alone changed"
figure_is files 0
touch -d '2001-02-03 04:05:06.789' "$SRC/sizes/1.bin" "$SRC/nested/level 0"
touch -h -d '2001-02-03 04:05:06.5' "$SRC/symlinks/dangling"
again "times alone changed"

rm "$SRC/sizes/511.bin"
mkdir "$SRC/sizes/511.bin"
echo inside >"$SRC/sizes/511.bin/inside"
again "a file became a directory"
rmdir "$SRC/empty/empty too"
ln -s nowhere "$SRC/empty/empty too"
again "an empty directory became a symbolic link"
rm "$SRC/symlinks/dangling"
echo file >"$SRC/symlinks/dangling"
again "a symbolic link became a file"
rm "$SRC/symlinks/absolute"
mkdir "$SRC/symlinks/absolute"
again "a symbolic link became a directory"
ln -sfn elsewhere "$SRC/symlinks/up"
again "a symbolic link has another target"
rm "$SRC/special/fifo"
echo file >"$SRC/special/fifo"
rm "$SRC/sizes/4095.bin"
mkfifo "$SRC/sizes/4095.bin"
again "a FIFO became a file and a file a FIFO"

ln "$SRC/links/z/group" "$SRC/nested/one more of the group"
ln "$SRC/links/z/group" "$SRC/empty/and one more"
again "new names in a group of hard links"
echo "new contents for all" >"$SRC/links/a/group"
again "the contents of a group changed"
cp -p "$SRC/links/z/pair" "$WORK/alone"
mv "$WORK/alone" "$SRC/links/z/pair"
again "a link became a file of its own"
ln -f "$SRC/links/z/large" "$SRC/links/z/pair"
again "a file moved into another group"
ln "$SRC/sizes/4097.bin" "$SRC/nested/file of two names"
again "a single file became a group"
printf 'x' >>"$SRC/sparse/trailing"
truncate -s 20M "$SRC/sparse/nothing but a hole"
again "sparse files grew"
if [ "$(id -u)" = 0 ]; then
    chown 1234:4321 "$SRC/sizes/65536.bin" "$SRC/nested"
    chown 1234:4321 "$SRC/modes/4755"
    chmod 4755 "$SRC/modes/4755"
    again "owners alone changed"
    rm "$SRC/special/char"
    mknod "$SRC/special/char" c 1 5
    again "another device"
fi

# What the destination damaged is put right again.
echo damaged >"$DST/sizes/65536.bin"
chmod 0600 "$DST/sizes/65536.bin"
rm "$DST/nested/file0"
rm -r "$DST/links/a"
again "damage at the destination"

# What only the destination has stays there.
echo mine >"$DST/only here"
mkdir "$DST/only there"
expect 0 copy "$SRC/" "$DST/"
[ -f "$DST/only here" ] && [ -d "$DST/only there" ] || fail "a copy removed what only the destination had"
judge_lax "$SRC" "$DST"

# An empty tree, and without --archive-dirs.
mkdir "$WORK/nothing"
expect 0 copy "$WORK/nothing" "$WORK/nothing.copy"
[ -d "$WORK/nothing.copy" ] && [ -z "$(ls -A "$WORK/nothing.copy")" ] || fail "an empty tree is no empty tree"
expect 0 copy "$SRC" "$WORK/second"
judge_lax "$SRC" "$WORK/second"
