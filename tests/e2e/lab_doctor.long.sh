#!/usr/bin/env bash
# haul doctor on real kernel NFS mounts: one as it should be, a bad one, one of NFSv3: each option against what is
# recommended, with what to change, and whether --direct would work and what it would gain.
if [ "${1:-}" = --slices ]; then
    echo 1
    exit
fi
. "$(dirname "$0")/../lab/enter.sh" --rtt 2ms --timeout 600 --size 512m --mem 2048

# check TOPIC WHAT: of the first check of that topic. mark_is TOPIC MARK. fix_has TOPIC REGEX: what is to be changed.
check() {
    jq -er --arg topic "$1" -n "[inputs | select(.event == \"check\" and .topic == \$topic)][0].$2" "$WORK/out" ||
        fail "doctor says nothing about $1"
}
mark_is() {
    [ "$(check "$1" mark)" = "$2" ] || fail "doctor: $1 is '$(check "$1" mark)', not '$2': $(check "$1" text)"
}
fix_has() {
    [[ "$(check "$1" fix)" =~ $2 ]] || fail "doctor: what to change about $1: $(check "$1" fix)"
}
last() {
    jq -e "select(.event == \"doctor\") | $1" "$WORK/out" >/dev/null || fail "doctor: not so: $1: $(tail -n 1 "$WORK/out")"
}
nothing_left() {
    [ -z "$(find "$EXPORT" -mindepth 1 -print -quit)" ] || fail "left: $(ls -A "$EXPORT")"
}

# As it should be. With so little memory this server grants less than it could.
umount "$NFS"
server_stop
echo 1048576 >/proc/fs/nfsd/max_block_size
server_start
nfs_mount 4.1 nconnect=4
expect 0 doctor --json "$NFS"
for topic in vers rsize wsize hard noresvport nconnect owners clock; do
    mark_is "$topic" good
done
last '.bad == 0 and .direct_works and .direct_url == "nfs://127.0.0.1/"'
last '.measured.create.median_ms > .direct.create.median_ms and .direct.create.median_ms > 2'
last '.direct.files_per_second > .measured.files_per_second and .measured.files_per_second > 0'
[[ "$(check direct text)" =~ 'with --direct haul goes to the server itself: about '[0-9]+' files/s, '[0-9.]+' times as many' ]] ||
    fail "what --direct would gain: $(check direct text)"
nothing_left

# Everything is wrong.
umount "$NFS"
mount -t nfs -o vers=4.0,rsize=4096,wsize=4096,soft,timeo=50,sync,noac 127.0.0.1:/ "$NFS"
expect 41 doctor --json "$NFS"
for topic in vers rsize wsize hard; do
    mark_is "$topic" bad
done
for topic in noresvport timeo async ac; do
    mark_is "$topic" better
done
fix_has vers 'vers=4\.1 instead of vers=4\.0'
fix_has rsize '^rsize=1048576'
fix_has wsize '^wsize=1048576'
fix_has hard '^hard instead of soft'
fix_has noresvport '^noresvport'
fix_has timeo '^timeo=600'
last '.bad == 4 and .direct_works'
# The whole line, carried out: nothing is bad any more.
line=$(jq -r 'select(.event == "check" and .topic == "mount" and .fix != null) | .fix' "$WORK/out")
nothing_left
echo "doctor: $line"
bash -c "$line" || fail "the line to mount it with fails"
expect 0 doctor "$NFS"
out_has '^good +vers +NFS 4\.1'
out_has '^good +rsize'
out_has '^good +noresvport'
out_has '^ +direct +with --direct haul goes to the server itself'
nothing_left

# NFSv3: without the mount, too.
nfs_mount 3
expect 0 doctor --json "$NFS"
mark_is vers better
last '.direct_works and (.direct_url | test("^nfs://127.0.0.1/.*version=3$"))'
last '.direct.files_per_second > 0 and .measured.files_per_second > 0'
nothing_left
