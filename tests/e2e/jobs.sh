#!/usr/bin/env bash
# Jobs from a configuration file: --job, --config, --list-jobs; every option of haul may stand there; what is wrong is
# told with file and line.
. "$(dirname "$0")/lib.sh"

C=$WORK/haul.conf
mkdir -p "$SRC/a"
for f in one.txt two.tmp keep.tmp a/three.txt; do echo "$f" >"$SRC/$f"; done
settle

cat >"$C" <<END
// haul's jobs
defaults = {
  retries = 2;
  stats = true;
  exclude = [ "*.txt" ];
};
jobs = {
  data = {
    source = "$SRC";
    destination = "$DST";
    delete = true;
    max-duration = "50m";
    exclude = [ "two.*", "/gone/" ];
    metrics = "$WORK/data.prom";
  };
  by-turns = {
    source = "$SRC"; destination = "$WORK/turns";
    stats = false;
    in-order = ( { include = "keep.tmp"; }, { exclude = [ "*.tmp" ]; }, { include = "one.txt"; } );
  };
};
END
job() {
    # shellcheck disable=SC2086
    "$HAUL" sync $HAUL_EXTRA --config "$C" "$@" >"$WORK/out" 2>"$WORK/err" || STATUS=$?
    check_sanitizers
}
expect_job() {
    local want=$1
    shift
    STATUS=0
    job "$@"
    [ "$STATUS" = "$want" ] || fail "$*: exit status $STATUS, not $want"
}
names() {
    (cd "$1" && find . -type f -not -path './.haul/*' -printf '%P\n' | sort | paste -sd' ')
}
is() {
    [ "$1" = "$2" ] || fail "'$1', not '$2'"
}

expect_job 0 --list-jobs
is "$(cat "$WORK/out")" "data: $SRC -> $DST
by-turns: $SRC -> $WORK/turns"
expect_job 0 --list-jobs --json
is "$(jq -rs 'map(.name + " " + .source + " " + .destination) | join(",")' "$WORK/out")" "data $SRC $DST,by-turns $SRC $WORK/turns"

# Its options count; its own keys stand instead of the defaults'; what was removed from the source goes.
expect_job 0 --job data
is "$(names "$DST")" "a/three.txt keep.tmp one.txt"
out_has '^right already: 0 entries' # stats, from the defaults
grep -q 'haul_job="data"} 0$' "$WORK/data.prom" || fail "the metrics do not name the job"
rm "$SRC/one.txt"
expect_job 0 --job data
is "$(names "$DST")" "a/three.txt keep.tmp"
echo one.txt >"$SRC/one.txt"

# The command line overrides, and its patterns come first.
expect_job 0 --job data --include two.tmp --exclude 'a/**' --metrics "$WORK/other.prom" --quiet
is "$(names "$DST")" "a/three.txt keep.tmp one.txt two.tmp"
[ -e "$WORK/other.prom" ] || fail "the command line's --metrics was not taken"
expect_job 25 --job data --delete-excluded --max-delete 0
expect_job 0 --job by-turns
is "$(names "$WORK/turns")" "keep.tmp"
! grep -q '^right already' "$WORK/out" || fail "stats = false does not stand instead of the default"

# Wrong use.
expect_job 1 --job none
err_has "$C has no job 'none'; there are data, by-turns"
expect_job 1 --job data "$SRC" "$DST"
err_has '^haul: --job says what SRC and DST are, got 2 more'
expect_job 1 "$SRC" "$DST"
err_has 'config is about --job and --list-jobs'
expect 1 copy --config "$C" --job data
err_has 'job is for haul sync'
expect_job 1 --config "$WORK/none.conf" --job data
err_has "the configuration file '.*none.conf': No such file"
chmod o+w "$C"
expect_job 1 --job data
err_has 'everybody may write it'
chmod o-w "$C"

# What is wrong in the file is told with its line, and nothing is touched. LINE is the job's third.
rm -rf "$DST"
is_refused() {
    local message=$1
    printf 'jobs = {\n  data = {\n    source = "%s";\n    destination = "%s";\n    %s\n  };\n};\n' "$SRC" "$DST" "$2" >"$C"
    expect_job 1 --job data
    grep -qF -- "haul: $C:$message" "$WORK/err" || fail "'$2' is not told by '$message'"
    [ "$(wc -l <"$WORK/err")" = 1 ] || fail "more than a line"
    [ ! -e "$DST" ] || fail "$DST was made"
}
is_refused "5: 'exlude' is not an option of haul" 'exlude = "x";'
is_refused "5: --bwlimit: '10Q' is not a rate" 'bwlimit = "10Q";'
is_refused "5: --jobs: '0' is not a number from 1 to 4096" 'jobs = 0;'
is_refused "5: --stage: 'often' is not one of" 'stage = "often";'
is_refused "5: 'delete' is true or false" 'delete = "yes";'
is_refused "5: 'bwlimit' takes RATE, not true or false" 'bwlimit = true;'
is_refused "5: the value of 'recheck' is neither a string nor a whole number" 'recheck = 1.5;'
is_refused "5: 'state' takes one value" 'state = [ "/a", "/b" ];'
is_refused "5: 'job' is not an option of a job" 'job = "other";'
is_refused "5: 'help' is not an option of a job" 'help = true;'
is_refused "5: 'in-order' is a list of groups" 'in-order = "x";'
is_refused "5: syntax error" 'delete = = true;'
is_refused "5: duplicate setting name" 'source = "/twice";'
for text in 'jobs = { d = { destination = "/b"; }; };|d'"' has no source" 'jobs = { d = { source = "a"; destination = "/b"; }; };|source is not an absolute path' \
    'jobs = { d = { source = "/a"; destination = "b"; }; };|destination is not an absolute path or nfs://' 'job = { };|'"'job' is neither" \
    'jobs = { d = 3; };|is not a group' 'jobs = { d = { source = "/a"; destination = "/b"; }; e = { source = "/a"; destination = "/b"; frob = 1; }; };|frob'; do
    echo "${text%|*}" >"$C"
    expect_job 1 --job d
    err_has "^haul: $C:1: .*${text#*|}"
done
: >"$C"
expect_job 0 --list-jobs
[ ! -s "$WORK/out" ] || fail "there is no job"
expect_job 1 --job d
err_has "there is none"

# Where the journal reads it, each line has its priority; elsewhere none, though the variable is inherited.
mkfifo "$WORK/journal"
cat "$WORK/journal" >"$WORK/journal.out" &
E2E_PIDS+=($!)
exec 9>"$WORK/journal"
stream=$(stat -L -c '%d:%i' /proc/self/fd/9)
status=0
JOURNAL_STREAM=$stream "$HAUL" sync --progress "$SRC" "$WORK/journaled" >&9 2>&9 || status=$?
[ "$status" = 0 ] || fail "exit status $status"
JOURNAL_STREAM=$stream "$HAUL" copy "$SRC/none" "$WORK/journaled" >"$WORK/out" 2>&9 && fail "there is nothing to be copied"
exec 9>&-
journaled() { grep -q '^<3>haul: ' "$WORK/journal.out"; }
wait_until 20 journaled
grep -q '^<6>everything arrived$' "$WORK/journal.out" || fail "$(cat "$WORK/journal.out")"
! grep -qvE '^<[36]>' "$WORK/journal.out" || fail "a line without priority: $(cat "$WORK/journal.out")"
JOURNAL_STREAM=$stream expect 0 sync "$SRC" "$WORK/journaled"
! grep -q '^<' "$WORK/out" "$WORK/err" || fail "a priority where nobody wants it"
