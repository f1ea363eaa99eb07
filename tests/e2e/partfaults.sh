#!/usr/bin/env bash
# The Nth operation on a large file in parts fails, or the run is killed there, for every N until none fires: no half file
# under the final name, the right exit status and report, and the next run completes it, going on with what the state knows
# and leaving nothing.
. "$(dirname "$0")/lib.sh"
[ -x "$HAUL_FAULTY" ] || fail "no program with fault injection: $HAUL_FAULTY"

mib=$((1024 * 1024))
size=$((17 * mib + 4321)) # two parts
mkdir "$SRC"
head -c $size /dev/urandom >"$SRC/large"
settle
export SRC WORK HAUL HAUL_FAULTY HAUL_EXTRA mib size

# one SPEC CODE N: one run whose Nth operation of that code fails so, or ends the run, in folders of its own; then the next.
one() {
    local spec=$1 code=$2 nth=$3 kind=${1%%:*} err status=0 dir db parts there
    err=${spec#*:}
    dir=$WORK/f.$kind.$err.$code.$nth db=$WORK/f.$kind.$err.$code.$nth/db
    mkdir "$dir"
    text() { echo "fault $spec at $code $nth: $*: $(tail -n 3 "$dir/err" | tr '\n' ';')" >>"$WORK/failed"; }
    # shellcheck disable=SC2086
    HAUL_TEST_FAULT="$nth:$err:$kind:$code" "$HAUL_FAULTY" copy $HAUL_EXTRA --state "$db" --json --retries 0 \
        "$SRC" "$dir/dst" >"$dir/out" 2>"$dir/err" || status=$?
    echo "$status" >"$dir/status"
    if grep -qE 'Sanitizer|runtime error:' "$dir/err"; then text "a sanitizer complains"; fi
    [ ! -e "$dir/dst/large" ] || cmp -s "$SRC/large" "$dir/dst/large" || text "half a file"
    case $kind:$err:$status in
    *:0) [ -e "$dir/dst/large" ] || text "exit 0, but it is not there" ;;
    kill:*:11) ;;
    *:ENOSPC:11) [ -z "$(find "$dir/dst" -name '.haul.*' -print -quit)" ] || text "what nobody can use fills the disk" ;;
    *:EIO:23)
        [ "$(jq -r 'select(.event == "failure") | .path' "$dir/out")" = large ] || text "not in the report"
        ;;
    *) text "exit status $status" ;;
    esac
    parts=$(sqlite3 "$db" 'SELECT count(*) FROM parts')
    # The next run goes on with what is known.
    # shellcheck disable=SC2086
    "$HAUL" copy $HAUL_EXTRA --state "$db" --json "$SRC" "$dir/dst" >"$dir/out2" 2>"$dir/err" || text "the next run fails"
    cmp -s "$SRC/large" "$dir/dst/large" || text "after the next run it differs"
    [ -z "$(find "$dir/dst" -name '.haul.*' -print -quit)" ] || text "a temp name is left"
    there=$(jq -r 'select(.event == "end") | .resumed_bytes' "$dir/out2")
    [ "$there" -le $((parts * 16 * mib)) ] || text "$there bytes are said to have been there, $parts parts were known"
    [ "$there" -ge $((parts * 16 * mib - 16 * mib)) ] || text "only $there bytes were gone on with of $parts parts"
    [ "$(sqlite3 "$db" 'SELECT (SELECT count(*) FROM partials) + (SELECT count(*) FROM parts)')" = 0 ] ||
        text "the state still knows of a partial file"
    echo "$there" >"$dir/there"
    rm -rf "$dir/dst" "$db"*
}
export -f one

# fire SPEC CODE: for every N until none fires, in batches; how often one fired in $fired, how often the next run found
# something to go on with in $resumed.
batch=6
fire() {
    local spec=$1 code=$2 from=1 silent=0 nth dir
    fired=0 resumed=0
    while [ $silent -lt $batch ]; do
        seq "$from" $((from + batch - 1)) | xargs -P2 -I{} bash -c "one $spec $code {}"
        silent=0
        for nth in $(seq "$from" $((from + batch - 1))); do
            dir=$WORK/f.${spec%%:*}.${spec#*:}.$code.$nth
            if [ "$(cat "$dir/status")" = 0 ]; then silent=$((silent + 1)); else fired=$((fired + 1)); fi
            [ "$(cat "$dir/there")" = 0 ] || resumed=$((resumed + 1))
        done
        from=$((from + batch))
    done
}

: >"$WORK/failed"
for spec in before:EIO after:EIO short:EIO before:ENOSPC kill:EIO; do
    for code in begin write commit; do
        fire $spec $code
        [ ! -s "$WORK/failed" ] || fail "$(cat "$WORK/failed")"
        echo "$spec $code: $fired fired, $resumed gone on with"
        [ $fired -ge 1 ] || fail "$spec: no fault fired at $code"
        [ $code != write ] || [ $fired -ge 30 ] || fail "$spec: only $fired of the writes failed"
        # Of a disk that is full nothing is kept; who is killed so soon has told the state of nothing (partial.sh).
        [ $code != write ] || [[ $spec =~ ENOSPC|kill ]] || [ $resumed -ge 1 ] || fail "$spec: never gone on with"
    done
done
