#!/usr/bin/env bash
# Without root: what cannot be had (owners, foreign groups, setuid bits with another owner) is said once, and is no
# difference to the next run.
. "$(dirname "$0")/lib.sh"
need_root

mkdir -p "$SRC/dir"
for i in $(seq 50); do
    echo "$i" >"$SRC/dir/$i"
done
chown 1234:1234 "$SRC/dir"/1*
cp /bin/true "$SRC/setuid" && chmod 6755 "$SRC/setuid"
echo ours >"$SRC/group" && chown 0:100 "$SRC/group"
ln -s nowhere "$SRC/link"
chmod 2755 "$SRC/dir"
mkdir -m 777 "$WORK/to" "$WORK/state.user"
cp "$HAUL" "$WORK/haul" && chmod 755 "$WORK/haul"
printf '#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --groups=100 env XDG_STATE_HOME=%s %s "$@"\n' \
    "$WORK/state.user" "$WORK/haul" >"$WORK/as-user"
chmod 755 "$WORK/as-user"
HAUL=$WORK/as-user

settle
expect 0 copy --json "$SRC" "$WORK/to/dst"
err_has 'setuid or setgid was left out'
[ "$(stat -c %a "$WORK/to/dst/setuid")" = 755 ] || fail "a setuid file has another owner"
[ "$(stat -c %g "$WORK/to/dst/group")" = 100 ] || fail "a group that the user is in was not kept"
diff -r "$SRC/dir" "$WORK/to/dst/dir" || fail "contents differ"

# Nothing is left to do, for every further run.
expect 0 copy --json "$SRC" "$WORK/to/dst"
figure_is files 0
figure_is attrs 0
figure_is others 0

# What can be had is still mended.
chmod 600 "$WORK/to/dst/dir/2"
expect 0 copy --json "$SRC" "$WORK/to/dst"
figure_is attrs 1
[ "$(stat -c %a "$WORK/to/dst/dir/2")" = 644 ] || fail "a mode was not mended"

# Who insists on owners is told for each file.
expect 23 copy --json --owner=require "$SRC" "$WORK/to/dst2"
failures | grep -qx 'dir/2' || fail "an owner that cannot be set is not in the report"

# Of each file that is there already, too.
expect 23 copy --json --owner=require "$SRC" "$WORK/to/dst"
failures | grep -qx 'dir/2' || fail "the wrong owner of a file that is there already is not in the report"
failures | grep -qx 'dir' || fail "the wrong owner of a directory that is there already is not in the report"
[ "$(stat -c %a "$WORK/to/dst/setuid")" = 755 ] || fail "a setuid file has another owner"
