#!/usr/bin/env bash
# nfs://...?version=3 as DST and SRC: to and from directories, the same server and one of version 4.1, found by the
# portmapper or by ports that are given; what is wrong said; owners that are refused; connections that are cut, a server
# that is started again, runs that are killed. Judged on the server's own folder.
. "$(dirname "$0")/ganesha.sh"
own_network "$@"
. "$(dirname "$0")/lib.sh"

need_root
export=$WORK/export
other=$WORK/other
mkdir -p "$export" "$other"
start_portmap
export GANESHA_V3=1
start_ganesha a "$export" "$other"
port=$GANESHA_PORT
mount_port=$(ganesha_mount_port a)
v3=nfs://127.0.0.1$export                # found by the portmapper
given=nfs://127.0.0.1:$port$export       # not, with $ports
ports="version=3&mountport=$mount_port"
v41=nfs://127.0.0.1:$port/export
# Ganesha does not set the times of links.
E2E_RSYNC=(--omit-link-times) E2E_CMPTREE=(--no-link-times)
# bad STATUS REGEX DST [OPTIONS]: must fail so, say so, and make nothing.
bad() {
    local want=$1 says=$2 dst=$3
    shift 3
    expect "$want" copy --retries 1 --io-timeout 5s "$@" "$SRC" "$dst"
    err_has "$says"
    [ -z "$(ls -A "$export" "$other" | grep -v :)" ] || fail "something was made: $(ls -AR "$export" "$other")"
    echo "$want: $(head -n 1 "$WORK/err")"
}

maketree everything "$SRC"
rm "$SRC/sparse/beyond 4 GiB"                   # it is read as a whole: the protocol has no word for holes
find "$SRC/times" ! -newermt 1970-01-01 -delete # nor for times before that

# What is wrong.
bad 11 'does not export "/nothere".* it exports: .*'"$export" "nfs://127.0.0.1/nothere?version=3"
bad 11 'mountd of 127.0.0.1 does not answer at port' "$given?version=3&mountport=$(free_port)"
bad 11 'Connection refused' "nfs://127.0.0.1:$(free_port)$export?$ports"
bad 1 "'3&x=y' is no version|'x=y' is not known" "$v3?version=3&x=y"
bad 1 "'2' is no version of NFS that haul speaks" "$v3?version=2"
echo file >"$export/file"
expect 11 copy "$SRC" "$v3/file/below?version=3"
err_has '"file" in ".*" is not a directory on the server'
rm "$export/file"
expect 0 copy --dry-run "$SRC" "$v3/new/deep?version=3"
[ -z "$(ls -A "$export")" ] || fail "a dry run has made something"

# A tree with everything in it; again: there is nothing to do; what changed, and what is gone.
settle
expect 0 copy --archive-dirs --json "$SRC" "$v3/new/deep?version=3"
judge "$SRC" "$export/new/deep"
no_temps "$export"
[ "$(jq -r 'select(.event == "end") | .nfs.protocol' "$WORK/out")" = NFSv3 ] || fail "the protocol is not told"
expect 0 copy --archive-dirs --json "$SRC" "$given/new/deep?$ports"
figure_is todo 0
expect 0 sync --archive-dirs --json "$SRC" "$given/new/deep?$ports"
expect 0 sync --archive-dirs --json "$SRC" "$given/new/deep?$ports"
figure_is todo 0
judge "$SRC" "$export/new/deep"
echo more >"$SRC/new file"
ln "$SRC/new file" "$SRC/linked"
rm "$SRC/sparse/middle"
expect 0 sync --delete --archive-dirs --json "$SRC" "$given/new/deep?$ports"
judge "$SRC" "$export/new/deep"
expect 0 copy --archive-dirs --stage always "$SRC" "$v3/staged?version=3"
judge "$SRC" "$export/staged"

# All pairs.
expect 0 copy --archive-dirs "$v3/new/deep?version=3" "$DST"
judge "$export/new/deep" "$DST"
expect 0 copy --archive-dirs "$v3/new/deep?version=3" "nfs://127.0.0.1$other/3to3?version=3"
judge "$SRC" "$other/3to3"
expect 0 copy --archive-dirs "$v41/new/deep" "nfs://127.0.0.1$other/4to3?version=3"
judge "$SRC" "$other/4to3"
expect 0 copy --archive-dirs "$v3/new/deep?version=3" "nfs://127.0.0.1:$port/export2/3to4"
judge "$SRC" "$other/3to4"
no_temps "$other"
rm -rf "$DST" "${other:?}"/* "${export:?}"/*

# A hole is found in what is read anyway: 64 READs of 512 KiB at most, each file looked at before and after.
mkdir -p "$export/odd"
truncate -s 32M "$export/odd/hole"
head -c $((31 << 20)) /dev/urandom | dd of="$export/odd/hole" bs=1M seek=1 conv=notrunc iflag=fullblock status=none
truncate -s 500k "$export/odd/small hole"
echo end | dd of="$export/odd/small hole" bs=1 seek=400000 conv=notrunc status=none
expect 0 copy --json "$v3/odd?version=3" "$DST"
cmptree --no-dir-times "$export/odd" "$DST" || fail "a hole"
calls=$(jq -r 'select(.event == "end") | .nfs_source.calls' "$WORK/out")
echo "reading holes makes $calls calls"
[ "$calls" -lt $((64 + 40)) ] || fail "a hole was read twice"
rm -rf "$DST" "${export:?}"/*

# Single entries.
expect 0 copy "$SRC/new file" "$v3/single?version=3"
cmp "$SRC/new file" "$export/single"
mkdir "$DST"
expect 0 copy "$v3/single?version=3" "$DST"
cmp "$SRC/new file" "$DST/single"

# Connections that are cut, each time somewhere else, and over and over.
rm -rf "$SRC" "$DST"
maketree spread "$SRC" 12 300 3000
head -c 5000000 /dev/urandom >"$SRC/large"
settle
start_cutproxy "$port"
cut=nfs://127.0.0.1:$CUT_PORT$export
# run NAME [OPTIONS]: a copy through the proxy.
run() {
    local name=$1
    shift
    rm -rf "$XDG_STATE_HOME"
    expect 0 copy --retry-delay 20ms --json "$@" "$SRC" "$cut/$name?$ports"
    figure_is failed 0
    figure_is files 301
    judge_lax "$SRC" "$export/$name"
    no_temps "$export"
    [ ! -e "$export/$name/.haul" ] || fail "the lease is left"
}
cut_tell zero
run whole
calls=$(cut_stat up_records)
echo "a run makes $calls calls"
ways=(up-before up-within up-after down-before down-within)
n=0
for call in 1 3 5 8 12 20 30 $((calls / 6)) $((calls / 4)) $((calls / 3)) $((calls / 2)) $((calls * 2 / 3)) $((calls - 20)); do
    way=${ways[$((n++ % ${#ways[@]}))]}
    cut_next "$way" "$call"
    run "$call.$way"
    [ "$(cut_stat cuts)" = 1 ] || fail "call $call was not cut"
    rm -rf "${export:?}/$call.$way"
done
cut_often
# One that goes quiet, and nobody is told: found out, and another one taken.
cut_next up-after $((calls / 2)) silent
run quiet --io-timeout 4s
[ "$(cut_stat cuts)" = 1 ] || fail "nothing went quiet"
cut_tell heal

# Killed at some moment, and the server killed and started again while a run goes on.
for i in 1 2 3 4; do
    start_haul --bwlimit 2M "$SRC" "$v3/killed?version=3"
    sleep "$(random_ms 400)"
    kill -KILL "$PID" $(pgrep -P "$PID") 2>/dev/null || true
    wait "$PID" 2>/dev/null || true
done
expect 0 copy "$SRC" "$v3/killed?version=3"
judge_lax "$SRC" "$export/killed"
no_temps "$export/killed"
start_haul --bwlimit 2M --retries 20 "$SRC" "$given/restart?$ports"
sleep 0.7
restart_ganesha a
wait "$PID" || fail "a server that was started again: exit status $?"
judge_lax "$SRC" "$export/restart"
no_temps "$export/restart"
stop_ganesha a

# A server that takes nobody for root; one that has no version 3; no portmapper.
chmod 0777 "$other"
chown 1000:1000 "$SRC/large"
GANESHA_SQUASH=Root_Squash start_ganesha squash "$other"
expect 0 copy "$SRC" "nfs://127.0.0.1$other/squashed?version=3"
out_has 'refuses to set owners'
[ "$(find "$other/squashed" -type f | wc -l)" = 301 ] || fail "not all arrived"
expect '11|23' copy --owner require "$SRC" "nfs://127.0.0.1$other/required?version=3"
stop_ganesha squash
GANESHA_V3='' start_ganesha four "$other"
expect 11 copy --retries 1 --io-timeout 5s "$SRC" "nfs://127.0.0.1$other/x?version=3"
err_has 'does not speak NFSv3: its portmapper knows of no' # NFS, or mountd: one that was killed is still registered
stop_ganesha four
kill -KILL "$PORTMAP_PID"
expect 11 copy --retries 1 --io-timeout 5s "$SRC" "nfs://127.0.0.1$other/x?version=3"
err_has 'portmapper .rpcbind, port 111. of 127.0.0.1 does not answer'
