#!/usr/bin/env bash
# --chmod and --chown: judged by rsync with the same options; a second run finds nothing to do.
. "$(dirname "$0")/lib.sh"
need_root

mkdir -p "$SRC/deep/er"
head -c 2000000 /dev/urandom >"$SRC/deep/large"
ln -s nowhere "$SRC/link"
mkfifo -m 620 "$SRC/fifo"
ln "$SRC/deep/large" "$SRC/deep/er/second name"
chown 77:88 "$SRC/deep/large" "$SRC/fifo"
for mode in 0 400 644 755 2755 4711 1777; do
    echo "$mode" >"$SRC/file $mode"
    mkdir "$SRC/dir $mode"
    echo inside >"$SRC/dir $mode/inside"
    chmod "$mode" "$SRC/file $mode" "$SRC/dir $mode"
done
echo acl >"$SRC/acl"
setfacl -m u:1001:rwx,g::r,o::- "$SRC/acl"
setfacl -m u:1001:rx "$SRC/dir 755"
settle

# wish OPTIONS...: a copy with them, the judge with them, and a copy that has nothing left to do.
number=0
wish() {
    local dst diff
    number=$((number + 1))
    dst=$WORK/wish$number
    expect 0 copy --archive-dirs --json "$@" "$SRC" "$dst"
    figure_is failed 0
    diff=$(rsync -aHn --checksum --delete --itemize-changes --exclude=/.haul "$@" "$SRC/" "$dst/") ||
        fail "rsync could not judge"
    [ -z "$diff" ] || fail "with $*, rsync finds: $(head -n 30 <<<"$diff")"
    expect 0 copy --archive-dirs --json "$@" "$SRC" "$dst"
    figure_is todo 0
    find "$dst" -mindepth 1 -printf '%P %C@\n' | sort >"$WORK/before"
    expect 0 copy --archive-dirs --json --state "$WORK/fresh$number.db" "$@" "$SRC" "$dst"
    figure_is todo 0
    find "$dst" -mindepth 1 -printf '%P %C@\n' | sort >"$WORK/after"
    cmp "$WORK/before" "$WORK/after" || fail "with $*, a second run changed something"
}
wish --chmod=D2755,F640
wish --chmod=u+rwX,go-w
wish --chmod=Dg+s,ug+w,Fo-w,+X --chown=1234:4321
wish --chown=nobody
wish --chown=:2345 -A --chmod=g-w,o=
wish --chmod=u=rwX,go=rX --chmod=Fa-w -X

# From one wish to another: attributes alone.
expect 0 copy --archive-dirs --json --chmod=D755,F600 --chown=1:1 "$SRC" "$WORK/wish1"
figure_is files 0
[ "$(figure attrs)" -ge 16 ] || fail "too few entries were changed: $(figure attrs)"
[ -z "$(find "$WORK/wish1" -type f ! -perm 600)" ] && [ -z "$(find "$WORK/wish1" ! -user 1)" ] || fail "not all was changed"
[ "$(stat -c %a "$SRC/file 644")" = 644 ] || fail "the source was changed"

# A single file too.
expect 0 copy --chmod=600 --chown=7:8 "$SRC/file 755" "$WORK/one"
[ "$(stat -c '%a %u %g' "$WORK/one")" = "600 7 8" ] || fail "a single file is $(stat -c '%a %u %g' "$WORK/one")"

# Wrong use is refused before anything is touched.
refused() {
    local words=$1
    shift
    expect 1 copy "$@" "$SRC" "$WORK/refused"
    err_has "$words"
    [ ! -e "$WORK/refused" ] || fail "something was made in spite of $*"
}
refused "not a mode" --chmod=u+q
refused "not a mode" --chmod=
refused "no such user" --chown=nobody.of.that.name
refused "no such group" --chown=:no.such.group
refused "no such user" --chown=4294967295
refused "neither user nor group" --chown=:
refused "owner=ignore" --chown=1:1 --owner=ignore
# Who is not root may name himself and his groups.
cp "$HAUL" "$WORK/haul" && chmod 755 "$WORK/haul"
printf '#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --groups=100 env XDG_STATE_HOME=%s %s "$@"\n' \
    "$WORK/state.user" "$WORK/haul" >"$WORK/as-user"
chmod 755 "$WORK/as-user"
mkdir -m 777 "$WORK/to" "$WORK/state.user" "$WORK/from"
echo x >"$WORK/from/file"
settle
HAUL=$WORK/as-user
refused "only root can give files to another user" --chown=1234
refused "only root can give files to a group" --chown=:1234
expect 0 copy --chown=65534:100 "$WORK/from" "$WORK/to/dst"
[ "$(stat -c '%u %g' "$WORK/to/dst/file")" = "65534 100" ] || fail "the user's own group was not set"
