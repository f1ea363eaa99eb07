#!/usr/bin/env bash
# Overwritten with the same size within one tick of the clock of its file system: equal times do not prove equal
# contents. The file system here counts whole seconds (ext4 with 128-byte inodes).
. "$(dirname "$0")/lib.sh"
need_root

truncate -s 64M "$WORK/disk"
mkfs.ext4 -q -I 128 -O ^metadata_csum,^64bit "$WORK/disk" 2>"$WORK/err" || fail "mkfs.ext4"
mkdir "$SRC"
mount -o loop "$WORK/disk" "$SRC" || fail "cannot mount a loop device"
E2E_MOUNTS+=("$SRC")
mkdir "$SRC/d"
rmdir "$SRC/lost+found"

# identity NAME: what attributes tell of a file.
identity() {
    stat -c '%i %s %Y %Z %y %z' "$SRC/d/$1"
}

# One try: wait for a fresh second, write, copy, write again. 0 where all that happened within that second.
try() {
    local now before after
    now=$(date +%s)
    while [ "$(date +%s)" = "$now" ]; do
        :
    done
    echo "contents one" >"$SRC/d/small"
    head -c 2000000 /dev/zero | tr '\0' 1 >"$SRC/d/large"
    before=$(identity small; identity large)
    expect 0 copy --json "$SRC" "$DST"
    printf 'contents two\n' | dd of="$SRC/d/small" conv=notrunc status=none
    head -c 2000000 /dev/zero | tr '\0' 2 | dd of="$SRC/d/large" bs=1M conv=notrunc status=none
    after=$(identity small; identity large)
    [ "$before" = "$after" ]
}

tries=0
until try; do
    tries=$((tries + 1))
    [ "$tries" -lt 20 ] || fail "could not overwrite a file within one second in 20 tries"
done
cmp -s "$SRC/d/small" "$DST/d/small" && fail "the test did not make the two differ"
expect 0 copy --json "$SRC" "$DST"
figure_is files 2
cmp "$SRC/d/small" "$DST/d/small" || fail "the small file was taken for unchanged"
cmp "$SRC/d/large" "$DST/d/large" || fail "the large file was taken for unchanged"

# Once its times have grown old, it is not read again.
sleep 3
expect 0 copy --json "$SRC" "$DST"
expect 0 copy --json "$SRC" "$DST"
figure_is files 0
