#!/usr/bin/env bash
# haul scan --repair: what is certain and named is mended, all of it; what is somebody's, or only looks like damage, stays.
# FILES: how many files besides.
. "$(dirname "$0")/lib.sh"
need_root
[ -x "$HAUL_FAULTY" ] || fail "no program with fault injection: $HAUL_FAULTY"

files=${FILES:-1200}
damaged=${DAMAGED:-7} # of each kind
dead=0123456789abcdef
maketree spread "$SRC" 20 "$files" 700
head -c 3000000 /dev/urandom >"$SRC/large" # more than goes by memory
mkdir "$SRC/odd"
for i in 1 2 3; do
    : >"$SRC/odd/shut-empty-$i" && chmod 000 "$SRC/odd/shut-empty-$i"
    : >"$SRC/odd/empty-$i"
    echo x >"$SRC/odd/shut-$i" && chmod 000 "$SRC/odd/shut-$i"
    echo x >"$SRC/odd/old-$i" && touch -d '1975-03-04 05:06:07.5' "$SRC/odd/old-$i"
    echo x >"$SRC/odd/owner-$i" && chown 12345:23456 "$SRC/odd/owner-$i"
done
echo several >"$SRC/odd/name" && mkdir "$SRC/names" && ln "$SRC/odd/name" "$SRC/names/second" && ln "$SRC/odd/name" "$SRC/third"
settle
expect 0 sync "$SRC" "$DST"
db=$(echo "$XDG_STATE_HOME"/haul/*.db)
run=$(sqlite3 "$db" "SELECT id FROM runs")
sleep 2.1 # longer than what lies between the report of a publication and its rename

(cd "$DST" && find . -type f ! -path './odd/*' ! -path './.haul/*' ! -name large ! -links +1 -printf '%P\n' | sort) >"$WORK/all"
taken=0
# plant KIND [COUNT]: does that to the next files; which they are is in $WORK/KIND.
plant() {
    local count=${2:-$damaged} file
    sed -n "$((taken + 1)),$((taken + count))p" "$WORK/all" >"$WORK/$1"
    taken=$((taken + count))
    while IFS= read -r file; do "$1" "$DST/$file" "$SRC/$file"; done <"$WORK/$1"
}
corrupt() { : >"$1" && chmod 000 "$1"; }
corrupt_times() { corrupt "$1" "$2" && touch -a -d '1974-05-06' "$1" && touch -m -d '2034-05-06' "$1"; }
emptied() { : >"$1" && touch -r "$2" "$1"; }
shortened() { truncate -s 300 "$1" && touch -r "$2" "$1"; }
chmodded() { chmod 0611 "$1"; }
chowned() { chown 12345 "$1"; }
future() { touch -d '2090-01-01' "$1"; }
closed() { chmod 000 "$1"; }
truncated() { : >"$1"; }
written() { echo more >>"$1"; }
replaced() { cp "$2" "$1.new" && echo more >>"$1.new" && mv "$1.new" "$1"; }
plant_lost() { plant corrupt && plant corrupt_times && plant emptied && corrupt "$DST/large" && corrupt "$DST/third"; }
plant_rest() { plant shortened && plant chmodded && plant chowned && plant future && plant closed; }

# mended ARGUMENTS...: haul scan --json, by kind and action into $WORK/kinds.
mended() {
    expect "$@"
    jq -r 'select(.event == "finding") | .kind + " " + .action' "$WORK/out" | sort | uniq -c |
        awk '{ print $2, $3, $1 }' >"$WORK/kinds"
}
kinds() {
    local want
    want=$(printf '%s\n' "$@" | sort)
    [ "$want" = "$(sort "$WORK/kinds")" ] || fail "found $(paste -sd, "$WORK/kinds"), not $(paste -sd, <<<"$want")"
}
# differs_only NAME...: what rsync would change is what these lists have, and nothing else. Directory times are not kept.
differs_only() {
    local have want
    have=$(rsync -aHnO "${E2E_RSYNC[@]}" --checksum --itemize-changes --exclude=/.haul "$SRC/" "$DST/" |
        cut -d ' ' -f 2- | sort) || fail "rsync could not judge"
    want=$(for name in "$@"; do cat "$WORK/$name"; done | sort)
    [ "$have" = "$want" ] || fail "other differences than should be: $(diff <(echo "$have") <(echo "$want") | head -n 20)"
}
# A tree's entries with all that a change would move.
listing() { find "$1" -mindepth 1 ! -path '*/.haul*' -printf '%P %i %m %U %G %s %T@ %C@\n' | sort; }

# Nothing is touched without --repair, with --dry-run, or where it is more than --max-repair.
plant_lost
plant_rest
plant truncated
plant written
plant replaced
for i in 1 2 3 4 5; do echo x >"$DST/odd/.haul.$run.$(printf %016x "$i")"; done
for i in 1 2 3; do echo x >"$DST/odd/.haul.$dead.$(printf %016x "$i")"; done
corrupt "$DST/odd/foreign"
mkdir "$DST/own" && corrupt "$DST/own/foreign" && echo x >"$DST/own/kept"
before=$(listing "$DST")
mended 40 scan --json --source "$SRC" "$DST"
mended 40 scan --json --source "$SRC" --repair -n "$DST"
kinds "corrupt found $((2 * damaged + 4))" "corrupt left 2" "empty left $damaged" "differs left $((3 * damaged))" "times left $damaged" "unreadable left $damaged" "temp left 5"
mended 40 scan --json --source "$SRC" --repair --max-repair $((2 * damaged + 3)) "$DST"
kinds "corrupt left $((2 * damaged + 6))" "empty left $damaged" "differs left $((3 * damaged))" "times left $damaged" "unreadable left $damaged" "temp left 5"
err_has "$((2 * damaged + 4)) of [0-9]+ entries would be mended, more than --max-repair allows"
expect 40 scan --source "$SRC" --repair=all --remove --max-repair 1% "$DST"
err_has 'more than --max-repair allows \(1%\): nothing was touched'
mkdir "$WORK/hollow"
expect 11 scan --source "$WORK/hollow" --repair=all "$DST"
err_has 'is empty: is it mounted'
[ "$before" = "$(listing "$DST")" ] || fail "something was touched: $(diff <(echo "$before") <(listing "$DST") | head)"

# --repair alone: what is corrupt for certain.
mended 40 scan --json --source "$SRC" --repair "$DST"
kinds "corrupt mended $((2 * damaged + 4))" "corrupt left 2" "empty left $damaged" "differs left $((3 * damaged))" "times left $damaged" "unreadable left $damaged" "temp left 5"
: >"$WORK/shortened.left"
differs_only emptied shortened chmodded chowned future closed truncated written replaced
no_other_temps() { [ "$(find "$DST" -name '.haul.*.*' | wc -l)" = "$1" ] || fail "temp names: $(find "$DST" -name '.haul.*.*')"; }
no_other_temps 8

# All kinds: what somebody has changed since it was published stays, but for what has lost every byte. What the source
# does not have is kept in the quarantine.
mended 40 scan --json --source "$SRC" --repair=all --quarantine "$DST/own/quarantine" "$DST"
kinds "corrupt moved 2" "empty mended $damaged" "differs left $((3 * damaged))" "times left $damaged" "unreadable left $damaged" "temp removed 5"
no_other_temps 3
differs_only shortened chmodded chowned future closed truncated written replaced
[ "$(jq -r .path "$DST/own/quarantine/haul-quarantine.jsonl" | sort | paste -sd,)" = odd/foreign,own/foreign ] &&
    [ "$(jq -r '.kind + .mode + (.size | tostring)' "$DST/own/quarantine/haul-quarantine.jsonl" | sort -u)" = corrupt1000000 ] &&
    [ -f "$DST/own/quarantine/odd/foreign" ] && [ -f "$DST/own/quarantine/own/foreign" ] || fail "not in the quarantine: $(find "$DST/own/quarantine")"
[ ! -e "$DST/odd/foreign" ] && [ ! -e "$DST/own/foreign" ] && [ -e "$DST/own/kept" ] || fail "not moved"

# The next sync has nothing to do, and asks the destination nothing but what it always does.
expect 0 sync --json "$SRC" "$DST"
[ "$(figure files)" = 0 ] && [ "$(figure attrs)" = 0 ] || fail "a sync after a repair copies $(figure files), sets $(figure attrs)"
[ "$(sqlite3 "$db" "SELECT count(*) FROM files WHERE flags & 1")" = 0 ] || fail "entries are still in doubt"
# What is remembered of what was mended is what stands there: a scan finds only what was left.
mended 40 scan --json "$DST"
kinds "differs found $((3 * damaged))" "times found $damaged" "unreadable found $damaged"

# Where nothing is remembered the source decides, and all is mended.
export XDG_STATE_HOME=$WORK/none
mended 40 scan --json --source "$SRC" --repair=differs,times,unreadable "$DST"
kinds "differs mended $((3 * damaged))" "times mended $damaged" "unreadable mended $damaged" "empty left $damaged"
differs_only truncated written replaced
[ "$("$HAUL" status --json "$(at "$DST")" | jq -r 'select(.event == "look") | "\(.findings) \(.open)"' | head -n 1)" = "$((6 * damaged)) $damaged" ] || fail "not in the status"
while IFS= read -r file; do rm "$DST/$file"; done <"$WORK/truncated"
expect 0 scan --source "$SRC" "$DST"
out_has '^nothing is wrong'
corrupt "$DST/large"
expect 0 scan --source "$SRC" --repair "$DST"
out_has '^all of it was mended'
export XDG_STATE_HOME=$WORK/state

# Without a source only temp names go.
expect 0 scan --repair=temp --older-than 0s "$DST"
no_other_temps 0
expect 1 scan --repair "$DST"
err_has '--source'
[ "$(find "$DST" -maxdepth 1 -name '.haul' -printf '%P')" = .haul ] || fail ".haul of the syncs is gone"

# What is certain to be cut short, and gone from the source since: into the quarantine with its bytes, nothing is
# overwritten; with --remove it stays.
mkdir "$WORK/less" "$WORK/less/d" && head -c 2500000 /dev/urandom >"$WORK/less/d/cut" && echo x >"$WORK/less/other"
expect 0 copy --state "$WORK/less.db" "$WORK/less" "$WORK/there"
sqlite3 "$WORK/less.db" "UPDATE files SET dst_ctime = dst_ctime + 3600000000000"
truncate -s 2000000 "$WORK/there/d/cut" && touch -r "$WORK/less/d/cut" "$WORK/there/d/cut"
cp "$WORK/there/d/cut" "$WORK/cut" && rm "$WORK/less/d/cut"
mkdir -p "$WORK/kept/d" && echo precious >"$WORK/kept/d/cut"
expect 40 scan --json --state "$WORK/less.db" --source "$WORK/less" --repair=all --remove "$WORK/there"
[ "$(jq -r 'select(.event == "finding") | .action + .why' "$WORK/out")" = "leftthe source has no such entry, and it holds bytes: only --quarantine takes it away" ] || fail "with --remove"
expect 0 scan --json --state "$WORK/less.db" --source "$WORK/less" --repair=all --quarantine "$WORK/kept" "$WORK/there"
[ ! -e "$WORK/there/d/cut" ] && cmp "$WORK/cut" "$WORK/kept/d/cut.~1~" && [ "$(cat "$WORK/kept/d/cut")" = precious ] || fail "not in the quarantine"
expect 1 scan --source "$WORK/less" --repair --quarantine "$WORK/less/q" "$WORK/there"
expect 11 scan --source "$WORK/less" --repair --quarantine "$WORK/no/folder" "$WORK/there"
[ ! -e "$WORK/there/.haul" ] || fail ".haul stays after a repair"

# What changes between finding and mending is left, and said so; a run that is interrupted leaves nothing half.
mkdir "$WORK/slow" && for i in $(seq 100 180); do echo "contents $i" >"$WORK/slow/$i"; done
cp -a "$WORK/slow" "$WORK/slowed" && for file in "$WORK/slowed"/*; do corrupt "$file"; done
mending() { [ -n "$(find "$WORK/slowed" -type f -size +0 -name '1*' -print -quit)" ]; }
slowly() {
    "$HAUL" scan --json --ops-limit 60 --max-repair 100% --source "$WORK/slow" --repair "$(at "$WORK/slowed")" >"$WORK/out" 2>"$WORK/err" &
    PID=$!
    E2E_PIDS+=("$PID")
    wait_until 30 mending
}
ended() { local status=0; wait "$PID" || status=$?; [ "$status" = "$1" ] || fail "exit status $status, not $1"; }
slowly
kill -TERM "$PID"
ended 20
[ "$(find "$WORK/slowed" -type f -size 0 | wc -l)" -gt 0 ] || fail "it was not interrupted"
no_temps "$WORK/slowed"
for file in "$WORK/slowed"/*; do
    [ ! -s "$file" ] || cmp "$file" "$WORK/slow/${file##*/}" || fail "half a file"
    corrupt "$file"
done
slowly
last=$(ls -U "$WORK/slowed" | grep -v '^\.' | tail -n 2)
for name in $last; do echo work >"$WORK/slowed/$name"; done
ended 40
[ "$(jq -r 'select(.event == "finding" and .why == "it has changed since it was found") | .path' "$WORK/out" | sort)" = "$(sort <<<"$last")" ] || fail "not told: $(jq -c 'select(.event == "finding" and .action != "mended")' "$WORK/out")"
for name in $last; do [ "$(cat "$WORK/slowed/$name")" = work ] || fail "work is gone"; done
for name in $last; do rm "$WORK/slowed/$name" "$WORK/slow/$name"; done
judge_lax "$WORK/slow" "$WORK/slowed"

# A copy that lives: a repair is refused, and touches nothing of it.
head -c 24000000 /dev/urandom >"$WORK/slow/large"
start_haul --bwlimit 8M --stage never "$WORK/slow" "$WORK/live"
live=$PID
wait_until 30 has_temp "$WORK/live"
status=0
"$HAUL" scan --source "$WORK/slow" --repair=all --older-than 0s "$(at "$WORK/live")" >"$WORK/out2" 2>"$WORK/err2" || status=$?
[ "$status" = 11 ] && grep -q 'another run works on' "$WORK/err2" || fail "beside a copy: exit status $status: $(cat "$WORK/err2")"
kill -0 "$live" 2>/dev/null || fail "the copy was over too soon"
PID=$live
ended 0
judge_lax "$WORK/slow" "$WORK/live"
no_temps "$WORK/live"

# One that works below: what is beside it is mended, and nothing of it is touched, whatever it looks like. Once it is over
# that is mended too.
rm -rf "$WORK/live"
mkdir -p "$WORK/live/below" "$WORK/live/beside" "$WORK/up/beside"
echo contents >"$WORK/up/beside/file"
mv "$WORK/slow" "$WORK/up/below"
corrupt "$WORK/live/beside/file"
mkdir "$WORK/up/below/deeper" "$WORK/live/below/deeper"
echo contents >"$WORK/up/below/deeper/file"
corrupt "$WORK/live/below/deeper/file"
echo x >"$WORK/live/below/deeper/.haul.$dead.0000000000000000"
start_haul --bwlimit 4M --stage never --exclude /deeper "$WORK/up/below" "$WORK/live/below"
live=$PID
wait_until 30 has_temp "$WORK/live/below" -maxdepth 1
# The copy gives its temp names other names while this goes through them.
under_copy() { find . -ignore_readdir_race -type f ! -path './.haul/*' -printf '%i %C@ %s %m %p\n'; }
(cd "$WORK/live/below" && under_copy | sort) >"$WORK/before"
status=0
"$HAUL" scan --json --source "$WORK/up" --repair=all --older-than 0s "$(at "$WORK/live")" >"$WORK/out2" 2>"$WORK/err2" || status=$?
[ "$status" = 40 ] && grep -q 'below: another run works there' "$WORK/err2" || fail "above a copy: exit status $status: $(cat "$WORK/err2")"
(cd "$WORK/live/below" && under_copy | sort) >"$WORK/after"
kill -0 "$live" 2>/dev/null || fail "the copy was over too soon"
[ "$(cat "$WORK/live/beside/file")" = contents ] || fail "what stands beside was not mended"
[ "$(jq -r 'select(.event == "finding" and .action == "left") | .kind + " " + .path + ": " + .why' "$WORK/out2" | sort)" = \
    "$(printf '%s: another run works there\n' 'corrupt below/deeper/file' "temp below/deeper/.haul.$dead.0000000000000000")" ] ||
    fail "above a copy: $(jq -c 'select(.event == "finding")' "$WORK/out2")"
gone=$(comm -23 <(grep -v '\./large\|/\.haul\.[^/]*$' "$WORK/before") <(sort "$WORK/after"))
[ -z "$gone" ] || fail "touched: $gone"
PID=$live
ended 0
[ "$(stat -c '%a %s' "$WORK/live/below/deeper/file")" = "0 0" ] || fail "the copy's own subtree was mended"
expect 0 scan --source "$WORK/up" --repair=all --older-than 0s "$WORK/live"
judge_lax "$WORK/up" "$WORK/live"
no_temps "$WORK/live"
mv "$WORK/up/below" "$WORK/slow"

# Each operation of mending fails, or the run is killed there: nothing is lost, it is told, and the next run ends it.
rm -rf "$WORK/slow" "$WORK/bad"
mkdir "$WORK/slow" "$WORK/bad" && for i in 1 2 3; do echo "contents $i" >"$WORK/slow/$i"; done
head -c 1500000 /dev/urandom >"$WORK/slow/large"
echo 4 >"$WORK/slow/rights"
cp -a "$WORK/slow/." "$WORK/bad"
for name in 1 2 large; do corrupt "$WORK/bad/$name"; done
chmod 0611 "$WORK/bad/rights"
corrupt "$WORK/bad/foreign"
echo x >"$WORK/bad/.haul.$dead.0000000000000001"
export SRC WORK HAUL HAUL_FAULTY HAUL_DST
one() {
    local kind=$1 code=$2 nth=$3 dir=$WORK/f.$1.$2.$3 status=0 name wrong=0
    text() { echo "fault $kind at $code $nth: $*: $(tail -n 3 "$dir/err" | tr '\n' ';')" >>"$WORK/failed"; }
    run() {
        "$@" scan --json --retries 0 --older-than 0s --max-repair 100% --source "$WORK/slow" --repair=all \
            --quarantine "$dir/kept" "$(at "$dir/dst")" >"$dir/out" 2>"$dir/err"
    }
    mkdir "$dir" && cp -a "$WORK/bad" "$dir/dst"
    export XDG_STATE_HOME=$dir/state HAUL_TEST_FAULT="$nth:EIO:$kind:$code"
    run "$HAUL_FAULTY" || status=$?
    echo "$status" >"$dir/status"
    if grep -qE 'Sanitizer|runtime error:' "$dir/err"; then text "a sanitizer complains"; fi
    for name in 1 2 large; do
        cmp -s "$dir/dst/$name" "$WORK/slow/$name" && continue
        # Of a run that was killed the server may carry out what is still under way there, between two looks.
        [ "$(stat -c '%a %s' "$dir/dst/$name")" = "0 0" ] && wrong=1 && continue
        cmp -s "$dir/dst/$name" "$WORK/slow/$name" || { wrong=1 && text "half of $name"; }
    done
    cmp -s "$dir/dst/3" "$WORK/slow/3" && cmp -s "$dir/dst/rights" "$WORK/slow/rights" || text "what was right is not any more"
    [ -e "$dir/dst/foreign" ] || [ -e "$dir/kept/foreign" ] || text "foreign is lost"
    case $kind:$status in
    *:0) [ $wrong = 0 ] || text "exit 0, but not all is mended" ;;
    kill:11) ;;
    *:40) [ "$(jq -r 'select(.event == "finding") | .action' "$dir/out" | grep -cE 'failed|left')" -ge 1 ] || text "exit 40, and nothing is told" ;;
    *) text "exit status $status" ;;
    esac
    [ "$kind" = kill ] || [ "$(find "$dir/dst" -name '.haul.*.*' ! -name '*0001' | wc -l)" = 0 ] || text "a temp name is left"
    unset HAUL_TEST_FAULT
    run "$HAUL" || text "the next run: exit status $?: $(jq -c 'select(.event == "finding" and .action != "mended")' "$dir/out")"
    [ -z "$(rsync -aHnO --checksum --delete --itemize-changes "$WORK/slow/" "$dir/dst/")" ] || text "after the next run: $(rsync -aHnO --checksum --delete --itemize-changes "$WORK/slow/" "$dir/dst/" | tr '\n' ';')"
    [ -e "$dir/kept/foreign" ] || text "foreign is lost"
    rm -rf "$dir/dst"
}
export -f one at
[ -z "$HAUL_DST" ] || export -f ganesha_port ganesha_mount_port
codes=${CODES:-publish begin write commit setattr remove stat}
for kind in before after kill; do
    for code in $codes; do
        fired=0
        for from in 1 4 7 10 13 16 19 22 25 28; do
            seq "$from" $((from + 2)) | xargs -P3 -I{} bash -c "one $kind $code {}"
            [ ! -e "$WORK/failed" ] || fail "$(cat "$WORK/failed")"
            hit=$(cat "$WORK/f.$kind.$code".*/status | grep -cv '^0$' || true)
            [ "$hit" -gt "$fired" ] || break
            fired=$hit
        done
        [ "$fired" -ge 1 ] || [ "$kind" = after ] || fail "no fault fired: $kind at $code"
        echo "$kind at $code: $fired"
    done
done
