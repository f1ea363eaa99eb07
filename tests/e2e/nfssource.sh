#!/usr/bin/env bash
# nfs:// as the source: to a directory, to another export of the same server, what is refused, a source that changes
# while it is read, and runs that are killed.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ganesha.sh"

need_root
export=$WORK/export
other=$WORK/other
from=$export/from
mkdir -p "$from" "$other"
maketree everything "$from/all"
rm "$from/all/sparse/beyond 4 GiB" # it is read as a whole: 4.1 cannot be asked for holes
maketree told "$from/told" 200 2 1
start_ganesha a "$export" "$other"
port=$(ganesha_port a)
url=nfs://127.0.0.1:$port/export
look() {
    (cd "$export" && find . -printf '%p %i %m %s %T@ %C@\n' | sort)
}
# bad STATUS REGEX ARGUMENTS...: must fail so, say so, and make nothing.
bad() {
    local want=$1 says=$2 status=0
    shift 2
    "$HAUL" copy "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    check_sanitizers
    [ "$status" = "$want" ] || fail "haul copy $*: exit status $status, not $want"
    err_has "$says"
    [ ! -e "$DST" ] || fail "haul copy $*: the destination was made"
    echo "$want: $(head -n 1 "$WORK/err")"
}

# source_is MEMBER VALUE: of what the last event tells of the source's server.
source_is() {
    [ "$(jq -r "select(.event == \"end\") | .nfs_source$1" "$WORK/out")" = "$2" ] ||
        fail "nfs_source$1 is not $2: $(jq -c 'select(.event == "end") | .nfs_source' "$WORK/out")"
}

# Root reads what nobody may; a hole is found in what is read anyway.
mkdir "$from/odd"
echo secret >"$from/odd/shut"
chmod 000 "$from/odd/shut"
truncate -s 32M "$from/odd/hole"
echo data | dd of="$from/odd/hole" bs=1 seek=20000000 conv=notrunc status=none
truncate -s 500k "$from/odd/small hole"
echo end | dd of="$from/odd/small hole" bs=1 seek=400000 conv=notrunc status=none

# What is wrong.
look >"$WORK/look"
bad 1 "'2' is no version of NFS" "$url/from?version=2" "$DST"
bad 1 "SRC 'nfs://': it names no server" nfs:// "$DST"
bad 1 'cannot ask for them; mount it' --xattrs "$url/from" "$DST"
bad 1 'cannot ask for them; mount it' --acls "$url/from" "$DST"
bad 11 "SRC .*there is no \"/export/nothere\"" "$url/nothere" "$DST"
bad 11 'SRC .*is not a directory' "$url/from/told/big000/" "$DST"
bad 11 'SRC .*is not a directory' "$url/from/told/big000/below" "$DST"
bad 11 'SRC .*nothing answers at' --retries 1 --io-timeout 5s "nfs://127.0.0.1:$(free_port)/export" "$DST"
bad 1 'are the same directory' "$url/from" "$url/from/"
bad 1 'is below SRC' "$url/from" "$url/from/told/new"
bad 1 'is below DST' "$url/from/told" "nfs://localhost:$port/export/from"
bad 1 'are the same file' "$url/from/told/big000" "$url/from/told"
bad 1 'needs a directory as SRC' --files-from "$WORK/err" "$url/from/told/big000" "$DST"
expect 0 copy --dry-run "$url/from" "$DST"
look | cmp -s - "$WORK/look" || fail "the source was changed: $(look | diff "$WORK/look" - | head)"

# A tree with everything in it, to here; again: there is nothing to do.
sleep 2.1 # the clock of a server may lag by so much: what was read sooner is read again (P7)
expect 0 copy --archive-dirs --json "$url/from" "$DST"
judge "$from" "$DST"
no_temps "$DST"
[ "$(figure files)" -ge 200 ] || fail "files: $(figure files)"
source_is '.slots > 8' true
source_is .replays 0
expect 0 copy --archive-dirs --json "$url/from" "$DST"
figure_is todo 0
[ "$(stat -c '%b' "$DST/odd/hole")" -lt 2048 ] && [ "$(stat -c '%b' "$DST/odd/small hole")" -lt 512 ] || fail "a hole was filled"
rm -rf "$WORK/odd"
expect 0 copy --stats --json "$url/from/odd" "$WORK/odd"
err_has '^NFSv4.1 \(SRC\), .*: [0-9]+ slots'
err_has '^NFSv4.1 \(SRC\): [0-9]+ COMPOUNDs, .* for each of 2 files that were read in one;'
# One READ for each 512 KiB, three for what opens and closes it, what the run begins and ends with, two small ones.
source_is '.compounds < 64 + 20' true
expect 0 copy --stage always "$url/from/odd" "$WORK/odd.staged"
cmptree --no-dir-times "$from/odd" "$WORK/odd.staged" || fail "staged"
look | cmp -s - "$WORK/look" || fail "the source was changed: $(look | diff "$WORK/look" - | head)"

# Again and again: only what has changed is read; what is gone goes; what was changed behind haul's back is found by the
# listings of both.
expect 0 sync --json "$url/from" "$DST"
echo "one more" >"$from/told/new"
rm "$from/told/big001"
expect 0 sync --delete --json "$url/from" "$DST"
judge_lax "$from" "$DST"
[ ! -e "$DST/told/big001" ] || fail "what the source has no more stays"
sleep 2.1
expect 0 sync --delete --json "$url/from" "$DST"
expect 0 sync --delete --json "$url/from" "$DST"
figure_is todo 0
figure_is removed 0
source_is .read 0
echo "changed here" >"$DST/told/new"
echo foreign >"$DST/told/foreign"
expect 0 sync --json "$url/from" "$DST"
figure_is todo 0
expect 0 sync --delete --compare=dest --json "$url/from" "$DST"
figure_is files 1
judge_lax "$from" "$DST"

# From the server to the server, without a mount: two clients at the same time. Ganesha does not set the times of links.
expect 0 copy --archive-dirs "$url/from" "nfs://127.0.0.1:$port/export2/to"
E2E_RSYNC=(--omit-link-times) E2E_CMPTREE=(--no-link-times)
judge "$from" "$other/to"
no_temps "$other"
[ "$(ganesha_clients a)" = 0 ] || fail "the server still knows us"
echo another >"$from/told/late"
rm "$from/told/new"
expect 0 sync --delete --json "$url/from" "nfs://127.0.0.1:$port/export2/to"
expect 0 sync --delete --json "$url/from" "nfs://127.0.0.1:$port/export2/to"
echo later >"$from/told/new"
rm "$from/told/late"
expect 0 sync --delete --json "$url/from" "nfs://127.0.0.1:$port/export2/to"
figure_is removed 1
judge_lax "$from" "$other/to"
E2E_RSYNC=() E2E_CMPTREE=()

# Through the temp dir, and by the list.
rm -rf "$DST"
expect 0 copy --archive-dirs --stage always "$url/from" "$DST"
judge "$from" "$DST"
rm -rf "$DST"
printf 'told/new\ntold/big000\n' >"$WORK/list"
expect 0 copy --files-from "$WORK/list" "$url/from" "$DST"
cmp "$from/told/big000" "$DST/told/big000" && cmp "$from/told/new" "$DST/told/new" || fail "by the list"
[ "$(find "$DST" -type f | wc -l)" = 2 ] || fail "more than the list says"

# Single entries.
rm -rf "$DST"
ln -s told "$from/link"
mkdir "$DST"
expect 0 copy "$url/from/told/big000" "$DST"
expect 0 copy "$url/from/told/big000" "$DST/named"
expect 0 copy "$url/from/link" "$DST"
expect 0 copy "$url/from/told/big000" "nfs://127.0.0.1:$port/export2/named"
cmp "$from/told/big000" "$DST/big000" && cmp "$from/told/big000" "$DST/named" && cmp "$from/told/big000" "$other/named" ||
    fail "a single file"
[ "$(readlink "$DST/link")" = told ] || fail "a single link"

# A source that changes while it is read: tried again, then reported; the old file stays.
rm -rf "$DST"
mkdir "$from/busy"
head -c 40000000 /dev/urandom >"$from/busy/large"
echo quiet >"$from/busy/quiet"
expect 0 copy "$url/from/busy" "$DST"
cp "$from/busy/large" "$WORK/large.was"
append() {
    while :; do
        echo line >>"$from/busy/large"
        sleep 0.005
    done
}
background append
appender=$PID
expect 24 copy --json --bwlimit 80M --retries 2 --retry-delay 1ms "$url/from/busy" "$DST"
figure_is failed 0
failures | grep -qx large || fail "large is not in the report: $(failures)"
cmp "$WORK/large.was" "$DST/large" || fail "the old file did not stay"
kill -KILL "$appender"
wait "$appender" 2>/dev/null || true
no_temps "$DST"
expect 0 copy --json "$url/from/busy" "$DST"
judge_lax "$from/busy" "$DST"

# Killed at some moment, ten times: no final name holds what it must not, and the next run ends with the same tree.
rm -rf "$DST"
rm "$from/told/new" # only what was told of
start_watch --told "$DST" 1
for i in $(seq 10); do
    start_haul --bwlimit 20M "$url/from/told" "$DST"
    sleep "$(random_ms 400)"
    kill -KILL "$PID" $(pgrep -P "$PID") 2>/dev/null || true
    wait "$PID" 2>/dev/null || true
done
expect 0 copy "$url/from/told" "$DST"
stop_watch
judge_lax "$from/told" "$DST"
no_temps "$DST"
