#!/usr/bin/env bash
# Root that may not set owners (a server that squashes root): said once, and each further run over such a destination
# does nothing.
. "$(dirname "$0")/lib.sh"
need_root

mkdir -p "$SRC/dir" "$SRC/mine"
for i in $(seq 40); do
    echo "$i" >"$SRC/dir/$i"
    echo "$i" >"$SRC/mine/$i"
done
chown -R 1234:4321 "$SRC/dir"
cp /bin/true "$SRC/dir/setuid" && chown 1234:4321 "$SRC/dir/setuid" && chmod 6755 "$SRC/dir/setuid"
ln -s nowhere "$SRC/dir/link" && chown -h 1234:4321 "$SRC/dir/link"
printf '#!/bin/sh\nexec setpriv --bounding-set -chown,-fowner --inh-caps -chown,-fowner %s "$@"\n' "$HAUL" >"$WORK/squashed"
chmod 755 "$WORK/squashed"
setpriv --bounding-set -chown true 2>/dev/null || { echo "skipped: setpriv cannot" && exit 77; }
root=$HAUL
HAUL=$WORK/squashed

settle
expect 0 copy --json "$SRC" "$DST"
err_has 'refuses to set owners'
diff -r --no-dereference "$SRC" "$DST" || fail "contents differ"
[ -z "$(find "$DST" -perm /6000)" ] || fail "a special bit has another owner"
for _ in 1 2; do
    (cd "$DST" && find . -mindepth 1 -printf '%P %C@\n' | sort) >"$WORK/before"
    expect 0 copy --json "$SRC" "$DST"
    figure_is files 0
    figure_is attrs 0
    figure_is others 0
    (cd "$DST" && find . -mindepth 1 -printf '%P %C@\n' | sort) >"$WORK/after"
    diff "$WORK/before" "$WORK/after" >"$WORK/diff" || true
    [ "$(grep -c '^>' "$WORK/diff")" -le 2 ] || fail "more than what it asked with was touched: $(cat "$WORK/diff")"
done

# Files are right as they were published, which a verification says; of what else there is it finds the owners.
expect 40 verify --json "$SRC" "$DST"
[ "$(jq -r 'select(.event == "finding") | .path' "$WORK/out" | sort | paste -sd ' ')" = 'dir dir/link' ] || fail "verify finds others"
err_has 'owner or times are as they were published, which is not how the source has them \(41 times\)'

# What can be had is mended, and who insists is told.
chmod 600 "$DST/dir/2"
expect 0 copy --json "$SRC" "$DST"
figure_is attrs 1
[ "$(stat -c %a "$DST/dir/2")" = 644 ] || fail "a mode was not mended"
expect 23 copy --json --owner=require "$SRC" "$DST"
failures | grep -qx 'dir/3' || fail "an owner that cannot be set is not in the report"

# An entry that is locked is no such destination: all others get their owners.
if chattr +i "$DST/dir/1" 2>/dev/null; then
    HAUL=$root expect '0|23' copy --json "$SRC" "$DST"
    chattr -i "$DST/dir/1"
    [ "$(stat -c %u "$DST/dir/7")" = 1234 ] || fail "the owner of a file was not set since another is locked"
fi
HAUL=$root expect 0 copy --json --archive-dirs "$SRC" "$DST"
judge "$SRC" "$DST"
