# What a whole-program test begins with that runs in the lab: . "$(dirname "$0")/../lab/enter.sh" [options of tests/lab/vm]
#
# On the host it starts the guest with the same script, and that is all; in the guest it goes on with e2e/lib.sh. What
# stands in the script before it is carried out twice.
# shellcheck shell=bash
if [ -z "${LAB:-}" ]; then
    exec bash "$(dirname "${BASH_SOURCE[0]}")/vm" "$@" -- bash "$0"
fi
export TMPDIR=$SCRATCH E2E_TIMEOUT=${E2E_TIMEOUT:-1500}
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

# judge_lab SRC NAME: SRC and the folder of that name on the server's own file system, by rsync alone. Directory times do
# not count.
judge_lab() {
    local diff
    diff=$(rsync -rlptgoDHnO --checksum --delete --itemize-changes --exclude=/.haul "$1/" "$EXPORT/$2/") ||
        fail "rsync could not judge"
    [ -z "$diff" ] || fail "rsync finds on the server: $(head -n 30 <<<"$diff")"
}

# rpc_begin: from here on. rpc_since: calls since then, "OPERATION COUNT" a line, without those that keep a session
# alive. rpc_sum: all of them.
rpc_begin() {
    rpc_counts >"$WORK/rpc.before"
}
rpc_since() {
    awk 'NR == FNR { before[$1] = $2; next } $2 > before[$1] && $1 !~ /^(SEQUENCE|RENEW|NULL)$/ { print $1, $2 - before[$1] }' \
        "$WORK/rpc.before" <(rpc_counts) | sort -k2,2nr
}
rpc_sum() {
    rpc_since | awk '{ sum += $2 } END { print sum + 0 }'
}

# rpc_per N MOST WHAT: since rpc_begin at most MOST calls (a decimal number) for each of N things.
rpc_per() {
    local sum each
    sum=$(rpc_sum)
    each=$(awk -v sum="$sum" -v n="$1" 'BEGIN { printf "%.2f", sum / n }')
    echo "$3: $each calls each ($(rpc_since | head -n 8 | tr '\n' ' '))"
    awk -v each="$each" -v most="$2" 'BEGIN { exit !(each <= most) }' || fail "$3: $each calls each, more than $2"
}
