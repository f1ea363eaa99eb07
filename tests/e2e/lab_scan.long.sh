#!/usr/bin/env bash
# haul scan on a real kernel NFS mount: damage of every kind, in known numbers, is found there as it is locally, and none of
# what only looks like it. And at a round trip of 2 ms, with nothing in the client's caches, a scan of 5,000 files in 1,000
# directories straight from the server is at least 5 times as fast as the find that people use instead, and finds the same.
#
# Not so through the mount: there each directory costs three calls and the kernel an inode for each file, whoever asks,
# and the guest's emulated processor is busier than its link. 32 threads that do nothing but list and look (bench_walk)
# are the floor, and hardly more than twice as fast as find; a scan may take twice as long as they.
if [ "${1:-}" = --slices ]; then
    echo 1
    exit
fi
. "$(dirname "$0")/../lab/enter.sh" --rtt 0 --timeout 1700 --size 1g --mem 3072
ratio=5
slack=2
dirs=1000
files=5000

begin=$SECONDS
FILES=600 SCAN_DST=$NFS/scanned bash "$(dirname "$0")/scan.sh" || fail "scan.sh on the mount"
echo "damage on the mount: $((SECONDS - begin)) s"

maketree spread "$EXPORT/many" "$dirs" "$files" 10
(cd "$EXPORT/many" && find . -type f | sort | awk 'NR % 400 == 1' | tee "$WORK/planted" | while IFS= read -r file; do
    : >"$file" && chmod 000 "$file"
done)
sed -i 's|^\./||' "$WORK/planted"
planted=$(wc -l <"$WORK/planted")

# took NAME COMMAND...: its milliseconds, with a mount whose caches are empty, in last[NAME]; the least of all rounds in
# least[NAME]. 40 of haul: something was found.
declare -A least last
took() {
    local name=$1 begin ms
    shift
    net_rtt 0
    nfs_mount 4.1
    net_rtt 2ms
    rpc_begin
    begin=$(date +%s%N)
    "$@" >"$WORK/out" 2>"$WORK/err" || [ $? = 40 ] || fail "$*: $(tail -n 3 "$WORK/err")"
    ms=$((($(date +%s%N) - begin) / 1000000))
    last[$name]=$ms
    [ "${least[$name]:-$ms}" -lt "$ms" ] || least[$name]=$ms
    echo "$name: $ms ms, calls of the mount: $(rpc_since | head -n 6 | tr '\n' ' ')"
}
near=no
"$HAUL" --help >/dev/null # the guest has it in memory
for round in 1 2; do
    took find find "$NFS/many" -type f -perm 000 -size 0
    [ "$(wc -l <"$WORK/out")" = "$planted" ] || fail "find has found $(wc -l <"$WORK/out") files"
    took walk "$HAUL_TOOLS/bench_walk" "$NFS/many" 32
    for where in "$NFS/many" nfs://127.0.0.1/many; do
        [ "$where" = "$NFS/many" ] && name=mount || name=server
        took "$name" "$HAUL" scan --json "$where"
        [ "$(jq -r 'select(.event == "finding" and .kind == "corrupt") | .path' "$WORK/out" | sort)" = "$(sort "$WORK/planted")" ] ||
            fail "$where: found $(jq -c 'select(.event == "finding")' "$WORK/out" | wc -l)"
    done
    # Within a round: what else the machine has to do changes from one to the next.
    ! [ "${last[mount]}" -le $((slack * last[walk])) ] || near=yes
done
net_rtt 0
for name in walk mount server; do
    echo "$name: $(awk -v a="${least[find]}" -v b="${least[$name]}" 'BEGIN { printf "%.1f", a / b }') times as fast as find"
done
[ "${least[find]}" -ge $((ratio * least[server])) ] || fail "nfs://: less than $ratio times as fast as find"
[ $near = yes ] || fail "on the mount: in each round more than $slack times what 32 threads need"
