#!/usr/bin/env bash
# haul scan: damage of every kind, planted in known numbers, is found, all of it; what only looks like it is not. FILES:
# how many files besides. SCAN_DST: an empty place instead of a folder of ours (a slow one: no run beside). WIDE: how many in
# the tree of as many directories as a hundredth of them, whose calls are counted.
. "$(dirname "$0")/lib.sh"
need_root

files=${FILES:-4000}
DST=${SCAN_DST:-$DST}
dead=0123456789abcdef
maketree spread "$SRC" 40 "$files" 700
# What is so in the source is no finding, however odd.
mkdir "$SRC/odd"
for i in $(seq 20); do
    : >"$SRC/odd/shut-empty-$i" && chmod 000 "$SRC/odd/shut-empty-$i"
    : >"$SRC/odd/empty-$i"
    echo x >"$SRC/odd/shut-$i" && chmod 000 "$SRC/odd/shut-$i"
    echo x >"$SRC/odd/old-$i" && touch -d '1975-03-04 05:06:07.5' "$SRC/odd/old-$i"
    echo x >"$SRC/odd/future-$i" && touch -d '2099-01-01' "$SRC/odd/future-$i"
    echo x >"$SRC/odd/.data-$i.Xa81Qz" && echo x >"$SRC/odd/.bashrc$i.backup"
    echo x >"$SRC/odd/owner-$i" && chown 12345:23456 "$SRC/odd/owner-$i"
done
ln -s nowhere "$SRC/odd/symlink"
mkfifo "$SRC/odd/fifo"
expect 0 copy "$SRC" "$DST"
run=$(sqlite3 "$XDG_STATE_HOME"/haul/*.db "SELECT id FROM runs")

# scanned ARGUMENTS...: haul scan --json, by kind and certainty into $WORK/kinds.
scanned() {
    expect "$@"
    jq -r 'select(.event == "finding") | .kind + " " + .certainty' "$WORK/out" | sort | uniq -c |
        awk '{ print $2, $3, $1 }' >"$WORK/kinds"
}
# kinds "KIND CERTAINTY NUMBER"...: just these findings.
kinds() {
    local want
    want=$(printf '%s\n' "$@" | sort)
    [ "$want" = "$(sort "$WORK/kinds")" ] || fail "found $(paste -sd, "$WORK/kinds"), not $(paste -sd, <<<"$want")"
}
paths() {
    jq -r "select(.event == \"finding\" and .kind == \"$1\") | .path" "$WORK/out" | sort
}

scanned 0 scan --json --older-than 0s "$DST"
[ ! -s "$WORK/kinds" ] || fail "something was found in a tree that was only just copied: $(cat "$WORK/kinds")"
figure_is entries $((files + 162))
figure_is dirs 42
expect 0 scan --source "$SRC" "$DST"
out_has '^nothing is wrong'

# Damage. take N: the next N files of the tree, which nothing was done to yet.
(cd "$DST" && find . -type f ! -path './odd/*' -printf '%P\n' | sort) >"$WORK/all"
taken=0
take() {
    sed -n "$((taken + 1)),$((taken + $1))p" "$WORK/all" >"$WORK/$2"
    taken=$((taken + $1))
}
each() { while IFS= read -r file; do "$2" "$DST/$file" "$SRC/$file"; done <"$WORK/$1"; }
sleep 2.1 # longer than what lies between the report of a publication and its rename
corrupt() { : >"$1" && chmod 000 "$1"; }
corrupt_times() { corrupt "$1" "$2" && touch -a -d '1974-05-06' "$1" && touch -m -d '2034-05-06' "$1"; }
emptied() { : >"$1" && touch -r "$2" "$1"; }
shortened() { truncate -s 300 "$1" && touch -r "$2" "$1"; }
chmodded() { chmod 0611 "$1"; }
chowned() { chown 12345 "$1"; }
future() { touch -d '2090-01-01' "$1"; }
before() { touch -d '1960-01-01' "$1"; }
closed() { chmod 000 "$1"; }
for kind in corrupt corrupt_times emptied shortened chmodded chowned future before closed; do
    take 17 "$kind"
    each "$kind" "$kind"
done
for i in $(seq 13); do echo x >"$DST/odd/.haul.$run.$(printf %016x "$i")"; done
for i in $(seq 11); do echo x >"$DST/odd/.haul.$dead.$(printf %016x "$i")"; done
for i in $(seq 7); do echo x >"$DST/odd/.big.parquet.aB3d$(printf %02d "$i")"; done
# What is legitimate: truncated and written by whoever uses it, after the migration; and foreign files.
truncated() { : >"$1"; }
written() { echo more >>"$1"; }
replaced() { cp "$2" "$1.new" && echo more >>"$1.new" && mv "$1.new" "$1"; }
for kind in truncated written replaced; do
    take 19 "$kind"
    each "$kind" "$kind"
done
echo x >"$DST/odd/foreign"
: >"$DST/odd/foreign-empty"
touch "$DST/odd/.vimrc.config"

# By what is remembered.
by_memory=("corrupt certain 34" "empty certain 17" "differs certain 17" "differs likely 34" "times certain 34"
    "unreadable certain 17" "temp certain 13")
scanned 40 scan --json "$DST"
kinds "${by_memory[@]}"
[ "$(paths corrupt)" = "$(sort "$WORK/corrupt" "$WORK/corrupt_times")" ] || fail "corrupt: $(paths corrupt)"
[ "$(paths empty)" = "$(cat "$WORK/emptied")" ] || fail "empty: $(paths empty)"
[ "$(paths unreadable)" = "$(cat "$WORK/closed")" ] || fail "unreadable: $(paths unreadable)"
scanned 40 scan --json --older-than 0s "$DST"
kinds "${by_memory[@]}" "temp likely 11" "temp suspected 7"
# By the source too.
scanned 40 scan --json --older-than 0s --source "$SRC" "$DST"
kinds "${by_memory[@]}" "temp likely 18"
# By the source alone: that a file was truncated by whoever uses it cannot be told for certain.
XDG_STATE_HOME=$WORK/none scanned 40 scan --json --source "$SRC" "$DST"
kinds "${by_memory[@]:0:6}" "empty suspected 19"
# By the evidence alone.
XDG_STATE_HOME=$WORK/none scanned 40 scan --json "$DST"
grep -q '^corrupt likely 17$' "$WORK/kinds" && grep -q '^corrupt suspected 37$' "$WORK/kinds" ||
    fail "by evidence alone: $(paste -sd, "$WORK/kinds")"
# Looks and what they found are remembered, in a state of their own where there is no other.
asked() { "$HAUL" status --json "$(at "$DST")" >"$WORK/status" || fail "haul status: exit status $?"; }
asked
[ "$(jq -r 'select(.event == "look") | "\(.look) \(.command) \(.status) \(.findings) \(.open)"' "$WORK/status" | head -n 1)" = \
    "5 scan 40 184 184" ] || fail "status: $(jq -c 'select(.event == "look")' "$WORK/status")"
[ "$(jq -r 'select(.event == "finding") | .kind' "$WORK/status" | sort | uniq -c | sort -n | tail -n 1 | awk '{ print $2, $1 }')" = \
    "differs 51" ] || fail "status does not tell what was found"
"$HAUL" status "$(at "$DST")" >"$WORK/status"
grep -qE '^  scan 5 .* 184 findings, 184 left$' "$WORK/status" && [ "$(grep -cE '^    [a-z]+ +(certain|likely) ' "$WORK/status")" = 20 ] && ! grep -q '^    temp' "$WORK/status" || fail "$(cat "$WORK/status")"
XDG_STATE_HOME=$WORK/none asked
[ "$(jq -rs '[.[] | select(.event == "look")] | length' "$WORK/status")" -ge 2 ] || fail "a scan without a state was not remembered"

# For people; nothing was touched by all of this.
expect 40 scan "$DST"
out_has '^corrupt +certain +found +.*: mode 000 and 0 bytes'
err_has 'findings left$'
[ "$(find "$DST" -type f -size 0 -perm 000 ! -path '*/odd/*' | wc -l)" = 34 ] || fail "a scan without --repair has changed something"

# Straight to the server: at most a call for each 100 entries, and 3 for each directory, besides what a session takes.
if [ -n "$HAUL_DST" ]; then
    wide=${WIDE:-4000}
    maketree flat "$WORK/many" 20000 10
    maketree spread "$WORK/wide" $((wide / 100)) "$wide" 10
    for tree in "$DST" "$WORK/many" "$WORK/wide"; do
        expect "0|40" scan --json "$tree"
        calls=$(jq -r 'select(.event == "end") | .nfs | .compounds // .calls' "$WORK/out")
        most=$(($(figure entries) / 100 + 3 * $(figure dirs) + 20))
        [ "$calls" -le "$most" ] || fail "$tree: $calls calls, not $most"
        echo "$(figure entries) entries in $(figure dirs) directories: $calls calls"
    done
fi

# Beside a run that lives, its state known or not: nothing of it is a finding, and nothing of it is touched, by scans and
# cleans one after another. Temp names of a dead run among it are found, and removed.
maketree told "$WORK/young" 300 0 20
head -c 24000000 /dev/urandom >"$WORK/young/large"
owns=(default foreign)
[ -z "${SCAN_DST:-}" ] || owns=()
for own in "${owns[@]}"; do
    state=()
    [ $own = default ] || state=(--state "$WORK/foreign.db")
    start_live "$WORK/young" --bwlimit 4M "${state[@]}"
    rounds=0
    while kill -0 "$LIVE" 2>/dev/null; do
        echo x >"$WORK/live/below/.haul.$dead.$(printf %016x "$rounds")"
        expect 0 clean --json --older-than 0s "$WORK/live"
        figure_is removed 1
        [ "$(figure left_living)" = 0 ] || rounds=$((rounds + 1))
        echo x >"$WORK/live/below/.haul.$dead.$(printf %016x "$rounds")"
        scanned 40 scan --json --older-than 0s "$WORK/live"
        kinds "temp likely 1"
        rm "$WORK/live/below/.haul.$dead.$(printf %016x "$rounds")"
        scanned 0 scan --json --older-than 0s --source "$WORK/young" "$WORK/live/below"
    done
    [ "$rounds" -ge 1 ] || fail "$own: the run that lives had no temp name while it was looked at"
    end_live
    expect 0 scan --older-than 0s --source "$WORK/young" "$WORK/live/below"
done

# A directory that nobody may list, as somebody whose rights count; an unknown place; wrong use.
mkdir "$WORK/rights" "$WORK/rights/shut" && echo x >"$WORK/rights/shut/x" && chmod 700 "$WORK/rights/shut"
if [ -z "$HAUL_DST" ]; then
    status=0
    setpriv --reuid 12345 --clear-groups env HOME=/nonexistent "$HAUL" scan --json "$WORK/rights" >"$WORK/out" 2>"$WORK/err" || status=$?
    [ "$status" = 40 ] && [ "$(paths unreadable)" = shut ] || fail "a directory without rights: exit status $status"
    expect 1 scan --source "$DST/odd" "$DST"
fi
expect 11 scan "$WORK/nowhere"
expect 11 scan --state "$WORK/none.db" "$DST"
err_has 'none.db'
expect 1 scan --source "$SRC/odd/old-1" "$DST"
expect 1 scan --others "$DST"
