#!/usr/bin/env bash
# --xattrs and --acls: everything arrives, judged by getfattr, getfacl and rsync; a second run finds nothing to do; what
# changes alone is carried over alone; default ACLs do not leak; what a destination cannot hold is said once.
. "$(dirname "$0")/lib.sh"
need_root

# tell DIR: all attributes and ACLs of all entries, as tools without anything of haul see them.
tell() {
    (cd "$1" && find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex -- 2>/dev/null | grep -v '^security.selinux=')
    (cd "$1" && find . ! -type l -print0 | sort -z | xargs -0 getfacl -n --)
}
# judge_all SRC DST
judge_all() {
    local diff
    diff=$(rsync -aHAXn --checksum --delete --itemize-changes --exclude=/.haul "$1/" "$2/") || fail "rsync could not judge"
    [ -z "$diff" ] || fail "rsync finds: $(head -n 30 <<<"$diff")"
    tell "$1" >"$WORK/tell.src"
    tell "$2" >"$WORK/tell.dst"
    diff "$WORK/tell.src" "$WORK/tell.dst" >"$WORK/tell.diff" || fail "attributes differ: $(head -n 30 "$WORK/tell.diff")"
    cmptree "$1" "$2" >"$WORK/cmptree" || fail "cmptree finds: $(cat "$WORK/cmptree")"
}

make_source() {
    local i
    mkdir -p "$1/dir/below" "$1/handing down/inside" "$1/plain"
    for i in $(seq 30); do
        echo "$i" >"$1/dir/$i"
        echo "$i" >"$1/plain/$i"
        setfattr -n user.number -v "$i" "$1/dir/$i"
    done
    setfattr -n user.empty "$1/dir/1"
    setfattr -n user.bytes -v 0x00ff0a00 "$1/dir/1"
    setfattr -n trusted.root -v only "$1/dir/2"
    setfattr -n user.dir -v yes "$1/dir"
    setfattr -n user.root -v yes "$1"
    head -c 3000000 /dev/urandom >"$1/large"
    setfattr -n user.large -v "$(head -c 800 /dev/zero | tr '\0' x)" "$1/large"
    truncate -s 5M "$1/sparse"
    setfattr -n user.sparse -v 1 "$1/sparse"
    cp /bin/true "$1/capable"
    setcap cap_net_bind_service,cap_net_raw=ep "$1/capable"
    cp /bin/true "$1/capable of another"
    chown 1234:4321 "$1/capable of another"
    setcap cap_net_raw=ep "$1/capable of another"
    echo leader >"$1/leader"
    setfattr -n user.shared -v by-all "$1/leader"
    ln "$1/leader" "$1/dir/follower"
    ln -s large "$1/link"
    setfattr -h -n trusted.link -v own "$1/link"
    mkfifo "$1/fifo"
    setfacl -m u:1001:rw "$1/fifo"
    # The mask is wider than what the group may do; others may do nothing.
    echo secret >"$1/acl"
    setfacl -m u::rw,u:1001:rw,g::-,g:1002:r,o::- "$1/acl"
    chmod 4755 "$1/dir/4"
    setfacl -m u:1001:rx "$1/dir/4"
    setfacl -m g:1002:rwx "$1/dir/below"
    setfacl -d -m u::rwx,u:1001:rwx,g::rx,o::- "$1/handing down"
    setfacl -m u:1001:r-x "$1/handing down"
    # In there, files that have what is handed down, and files that have not.
    echo inherited >"$1/handing down/inherited"
    echo none >"$1/handing down/none"
    setfacl -b "$1/handing down/none"
    chmod 604 "$1/handing down/none"
    setfacl -b -k "$1/handing down/inside"
    chmod 711 "$1/handing down/inside"
    echo deep >"$1/handing down/inside/deep"
    chmod 444 "$1/dir/5"
}

run_all() { # on one pair of folders
    local src=$1 dst=$2
    make_source "$src"
    settle
    expect 0 copy -AX --archive-dirs --json "$src" "$dst"
    figure_is failed 0
    judge_all "$src" "$dst"
    getcap "$dst/capable" | grep -q cap_net_raw || fail "a file capability did not arrive"

    # Nothing is left to do, and nothing is done.
    (cd "$dst" && find . -mindepth 1 -printf '%P %i %C@\n' | sort) >"$WORK/before"
    expect 0 copy -AX --archive-dirs --json "$src" "$dst"
    figure_is todo 0
    (cd "$dst" && find . -mindepth 1 -printf '%P %i %C@\n' | sort) >"$WORK/after"
    cmp "$WORK/before" "$WORK/after" || fail "the second run changed something"

    # Attributes alone: added, changed, removed, on files, links and directories.
    setfattr -n user.number -v new "$src/dir/10"
    setfattr -x user.number "$src/dir/11"
    setfattr -n user.more -v more "$src/plain/1"
    setfacl -m u:1001:r "$src/plain/2"
    setfacl -b "$src/acl"
    chmod 640 "$src/acl"
    setfattr -h -n trusted.link -v other "$src/link"
    setfattr -n user.dir -v no "$src/dir"
    setfacl -k "$src/handing down"
    setfacl -d -m u:1003:r "$src/plain"
    setcap cap_net_raw=p "$src/capable"
    settle
    expect 0 copy -AX --archive-dirs --json "$src" "$dst"
    figure_is files 0
    figure_is attrs 7
    judge_all "$src" "$dst"
    # What only the destination has goes.
    setfattr -n user.foreign -v x "$dst/plain"
    setfacl -m u:1009:r "$dst/plain"
    touch "$src/plain/3"
    setfattr -n user.foreign -v x "$dst/plain/3"
    settle
    expect 0 copy -AX --archive-dirs --json "$src" "$dst"
    judge_all "$src" "$dst"

    # Without the options they are left alone, and a later run with them brings them over.
    rm -r "$dst"
    expect 0 copy --archive-dirs --json "$src" "$dst"
    [ -z "$(tell "$dst" | grep -E '^(user|trusted)[.]')" ] || fail "attributes arrived that nobody wanted"
    judge_lax "$src" "$dst"
    expect 0 copy -AX --archive-dirs --json "$src" "$dst"
    figure_is files 0
    judge_all "$src" "$dst"
    # And is remembered: no file is asked for its attributes any more.
    expect 0 copy -AX --archive-dirs --json "$src" "$dst"
    figure_is todo 0
    if [ -z "$HAUL_EXTRA" ]; then
        strace -f -e trace=getxattr,fgetxattr,listxattr,flistxattr -o "$WORK/trace" \
            "$HAUL" copy -AX --archive-dirs "$src" "$dst" >/dev/null 2>&1 || true
        [ "$(grep -c listxattr "$WORK/trace")" -lt 60 ] ||
            fail "all files are asked again: $(grep -c listxattr "$WORK/trace") calls"
    fi
}

# Where the test runs, and on a RAM disk: two kinds of file systems.
run_all "$SRC" "$DST"
far=$(mktemp -d /dev/shm/haul-e2e.XXXXXX)
trap 'rm -rf "$far"; e2e_cleanup' EXIT
run_all "$far/src" "$far/dst"
# From one to the other, every file by way of reading and writing.
expect 0 copy -AX --archive-dirs "$far/src" "$WORK/across"
judge_all "$far/src" "$WORK/across"

# Into a directory that hands down an ACL of its own: nothing of it is left.
mkdir "$WORK/leaky"
setfacl -d -m u:1005:rwx,g:1006:rwx,o::rwx "$WORK/leaky"
expect 0 copy -AX --archive-dirs "$SRC" "$WORK/leaky/dst"
judge_all "$SRC" "$WORK/leaky/dst"
setfacl -d -m u:1005:rwx,g:1006:rwx,o::rwx "$DST"
rm -r "$DST/dir" "$DST/large"
expect 0 copy -AX --archive-dirs "$SRC" "$DST"
judge_all "$SRC" "$DST"

# Large values: held, or said to be too big; the files arrive.
mkdir "$WORK/huge"
mkdir "$far/huge"
for i in 0 1 2; do
    echo x >"$far/huge/$i"
    setfattr -n user.huge -v "$(head -c 60000 /dev/zero | tr '\0' y)" "$far/huge/$i"
    setfattr -n user.small -v z "$far/huge/$i"
done
settle
expect 0 copy -X --json "$far/huge" "$WORK/huge/dst"
[ "$(getfattr --absolute-names --only-values -n user.small "$WORK/huge/dst/2")" = z ] || fail "the small one did not arrive"
if ! getfattr -n user.huge "$WORK/huge/dst/2" >/dev/null 2>&1; then
    err_has 'too big for the destination \(3 times\)'
fi
expect 0 copy -X --json "$far/huge" "$WORK/huge/dst"
figure_is todo 0

setfattr -h -x trusted.link "$SRC/link"
# As a user: user.* and ACLs, also of files that are not writable.
chmod -R a+rX "$SRC"
chown -R 65534:65534 "$SRC"
mkdir -m 777 "$WORK/to" "$WORK/state.user"
cp "$HAUL" "$WORK/haul" && chmod 755 "$WORK/haul"
printf '#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups env XDG_STATE_HOME=%s %s "$@"\n' \
    "$WORK/state.user" "$WORK/haul" >"$WORK/as-user"
chmod 755 "$WORK/as-user"
settle
HAUL=$WORK/as-user expect 0 copy -AX --archive-dirs --json "$SRC" "$WORK/to/dst"
as_user() {
    tell "$1" | grep -vE '^(trusted|security)\.'
}
diff <(as_user "$SRC") <(as_user "$WORK/to/dst") >"$WORK/tell.diff" || fail "attributes differ: $(head -n 30 "$WORK/tell.diff")"
setfattr -n user.number -v newer "$SRC/dir/5"
settle
HAUL=$WORK/as-user expect 0 copy -AX --archive-dirs --json "$SRC" "$WORK/to/dst"
figure_is attrs 1
[ "$(getfattr --absolute-names --only-values -n user.number "$WORK/to/dst/dir/5")" = newer ] || fail "a read-only file kept its old attribute"
[ "$(stat -c %a "$WORK/to/dst/dir/5")" = 444 ] || fail "a read-only file is writable now"

# A sync that has kept none so far asks for them with the first -X, and with the next one no more.
mkdir "$WORK/late"
for i in 1 2 3 4 5 6 7 8 9 10; do
    echo "$i" >"$WORK/late/f$i"
    setfattr -n user.number -v "$i" "$WORK/late/f$i"
done
settle
for again in 1 2; do # the second one remembers the directory as a whole
    expect 0 sync "$WORK/late" "$WORK/late.dst"
done
expect 0 sync -X --json "$WORK/late" "$WORK/late.dst"
figure_is attrs 10
[ "$(getfattr --absolute-names --only-values -n user.number "$WORK/late.dst/f7")" = 7 ] || fail "a later -X did nothing"
expect 0 sync -X --json "$WORK/late" "$WORK/late.dst"
figure_is attrs 0
