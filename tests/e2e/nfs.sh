#!/usr/bin/env bash
# nfs:// as a user meets it: what is wrong with a URL or a server, what is made there and what is not, what is told, and a
# server that goes away in the middle.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/ganesha.sh"

need_root
export=$WORK/export
mkdir -p "$export" "$SRC/sub"
for i in $(seq 200); do
    echo "file $i" >"$SRC/sub/f$i"
done
head -c 3000000 /dev/urandom >"$SRC/large"
echo single >"$WORK/single"
start_ganesha a "$export"
url=nfs://127.0.0.1:$(ganesha_port a)/export

look() {
    (cd "$export" && find . -printf '%p %i %m %s %T@\n' | sort)
}
# bad STATUS REGEX ARGUMENTS...: must fail so, say so, leave the export as it was, and no run in the state.
bad() {
    local want=$1 says=$2 status=0
    shift 2
    look >"$WORK/look"
    "$HAUL" copy "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    check_sanitizers
    [ "$status" = "$want" ] || fail "haul copy $*: exit status $status, not $want"
    err_has "$says"
    look | cmp -s - "$WORK/look" || fail "haul copy $*: the export has changed: $(look | diff "$WORK/look" - | head)"
    echo "$want: $(head -n 1 "$WORK/err")"
}
# within SECONDS: $MS is not more.
within() {
    [ "$MS" -le $(($1 * 1000)) ] || fail "took $MS ms, not $1 s at most"
}

# The URL.
bad 1 "DST 'nfs://': it names no server" "$SRC" nfs://
bad 1 "'x' is not a port" "$SRC" nfs://127.0.0.1:x/export
bad 1 "'2' is no version of NFS" "$SRC" "$url?version=2"
bad 1 "'5' is no version" "$SRC" "$url?version=5"
bad 1 "'\\?nconnect=4' is not known" "$SRC" "$url?nconnect=4"
bad 1 "'\\.\\.' is in it" "$SRC" "$url/../x"
bad 1 'an IPv6 address stands in brackets' "$SRC" nfs://::1/export
bad 1 'is about an nfs:// SRC or DST' --nfs-uid 0 "$SRC" "$WORK/dst"

# The server.
bad 11 'nothere' "$SRC" "nfs://127.0.0.1:$(ganesha_port a)/nothere"
bad 11 'there is no "/nothere/x"' --dry-run "$SRC" "nfs://127.0.0.1:$(ganesha_port a)/nothere/x"
bad 11 'nothere' "$SRC" "nfs://127.0.0.1:$(ganesha_port a)/nothere/below"
bad 11 'no.such.host.invalid' "$SRC" nfs://no.such.host.invalid/export
port=$(free_port)
elapsed_ms bad 11 "127.0.0.1.*port $port|$port.*refused" --retries 2 --io-timeout 5s "$SRC" "nfs://127.0.0.1:$port/export"
within 10
# One that takes connections and says nothing, and one that speaks something else.
perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(Listen => 50, LocalAddr => "127.0.0.1", LocalPort => 0, ReuseAddr => 1) or die;
    open my $f, ">", $ARGV[0] or die; print $f $s->sockport; close $f;
    my @kept; while (my $c = $s->accept) { push @kept, $c }' "$WORK/mute.port" &
E2E_PIDS+=("$!")
perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(Listen => 50, LocalAddr => "127.0.0.1", LocalPort => 0, ReuseAddr => 1) or die;
    open my $f, ">", $ARGV[0] or die; print $f $s->sockport; close $f;
    while (my $c = $s->accept) { print $c "HTTP/1.0 400 Bad Request\r\n\r\n"; close $c }' "$WORK/http.port" &
E2E_PIDS+=("$!")
wait_until 10 test -s "$WORK/mute.port"
wait_until 10 test -s "$WORK/http.port"
elapsed_ms bad 11 'DST .nfs://127.0.0.1:.*answer' --io-timeout 2s "$SRC" "nfs://127.0.0.1:$(cat "$WORK/mute.port")/export"
within 7
elapsed_ms bad 11 'DST .nfs://127.0.0.1' --retries 1 --io-timeout 5s "$SRC" "nfs://127.0.0.1:$(cat "$WORK/http.port")/export"
within 10
GANESHA_NFSV4='Minor_Versions = 0;' start_ganesha old "$export"
bad 11 'not version 4\.1' "$SRC" "nfs://127.0.0.1:$(ganesha_port old)/export"
kill_ganesha old

# One that tells owners by name: these alone are not compared by the server, everything else is, in one round trip.
mkdir -p "$WORK/named"
GANESHA_NUMERIC=false start_ganesha named "$WORK/named"
expect 0 copy --json "$SRC" "nfs://127.0.0.1:$(ganesha_port named)/export/dst"
judge_lax "$SRC" "$WORK/named/dst"
steps=$(jq -c 'select(.event == "end") | .nfs.steps' "$WORK/out")
[ "$steps" = '["owners-by-name"]' ] || fail "with owners by name the store steps down to $steps"
kill_ganesha named

# A dry run makes nothing, neither the destination nor a file to try the server out.
look >"$WORK/look"
expect 0 copy --json --dry-run "$SRC" "$url/new/dst"
[ "$(jq -r 'select(.event == "would") | .path' "$WORK/out" | grep -c '^sub/f')" = 200 ] || fail "a dry run lists other files"
look | cmp -s - "$WORK/look" || fail "a dry run changed something: $(look | diff "$WORK/look" -)"

# What is missing below the export is made; the figures tell what was negotiated, and that it was one round trip a file.
expect 0 copy --archive-dirs --stats --json "$SRC" "$url/new/a%20%25%3F%23b/dst/"
judge "$SRC" "$export/new/a %?#b/dst"
no_temps "$export"
[ ! -e "$export/new/a %?#b/dst/.haul" ] || fail ".haul stays"
[ "$(stat -c %a "$export/new" "$export/new/a %?#b" | sort -u)" = 755 ] || fail "modes of the directories that were made"
nfs() {
    jq -er "select(.event == \"end\") | .nfs.$1" "$WORK/out" || fail "no figure nfs.$1"
}
[ "$(nfs protocol)" = NFSv4.1 ] && [ "$(nfs slots)" -gt 1 ] && [ "$(nfs write_max)" -ge 65536 ] || fail "what was negotiated"
[ "$(nfs published)" -ge 200 ] && [ "$(nfs rebuilds)" = 0 ] && [ "$(nfs replays)" = 0 ] || fail "what was done"
awk -v n="$(nfs compounds)" 'BEGIN { exit !(n < 400) }' || fail "$(nfs compounds) COMPOUNDs"
err_has 'NFSv4\.1.*slots'
err_has 'COMPOUNDs, [0-9.]+ for each of [0-9]+ files'
expect 0 copy --archive-dirs --json "$SRC" "$url/new/a%20%25%3F%23b/dst"
figure_is todo 0
[ "$(wc -l < <(ls "$XDG_STATE_HOME"/haul/*.db))" -ge 1 ] || fail "no state"
[ "$(ganesha_clients a)" = 0 ] || fail "the server still knows us: files were left open"

# A single file: into a directory, under a name, into directories that are missing, onto another one; nothing else.
mkdir "$export/into"
expect 0 copy "$WORK/single" "$url/into"
expect 0 copy "$WORK/single" "$url/into/named"
expect 0 copy "$WORK/single" "$url/deep/er/named"
expect 0 copy "$WORK/single" "$url/deep/dir/"
echo other contents >"$WORK/single"
expect 0 copy "$WORK/single" "$url/into/named"
[ "$(cat "$export/into/single")" = single ] && [ "$(cat "$export/deep/er/named")" = single ] &&
    [ "$(cat "$export/deep/dir/single")" = single ] && cmp "$WORK/single" "$export/into/named" || fail "a single file"
[ "$(find "$export/into" "$export/deep" -type f | wc -l)" = 4 ] || fail "more than was asked for"
bad 11 'into/named' "$SRC" "$url/into/named"
bad 11 'into/named' "$SRC" "$url/into/named/below"

# As somebody else.
mkdir "$export/theirs"
chown 4321:1234 "$export/theirs"
expect 0 copy --nfs-uid 4321 --nfs-gid 1234 --no-reserved-port "$SRC/sub" "$url/theirs"
[ "$(stat -c %u:%g "$export/theirs/f1")" = 4321:1234 ] || fail "owner $(stat -c %u:%g "$export/theirs/f1")"
bad 11 'theirs' --nfs-uid 4322 --nfs-gid 4322 "$SRC" "$url/theirs/new"

# ---- a server that goes away ----

rm -rf "${export:?}/"*
round=0
arrived() {
    { find "$export/dst" -name "r$round.*" 2>/dev/null || true; } | wc -l
}
# during STATUS SIGNAL COMMAND...: a slow run with 300 new files, during which COMMAND is carried out; then haul gets
# SIGNAL, if that is not 0.
during() {
    local want=$1 signal=$2 status=0 i
    shift 2
    round=$((round + 1))
    for i in $(seq 300); do
        head -c 10000 "$SRC/large" >"$SRC/sub/r$round.$i"
    done
    # shellcheck disable=SC2086
    setsid env --default-signal=INT "$HAUL" copy $HAUL_EXTRA --json --archive-dirs --io-timeout 4s --bwlimit 1500K "$SRC" "$url/dst" \
        >"$WORK/out" 2>"$WORK/err" &
    PID=$!
    E2E_PIDS+=("$PID")
    wait_until 30 eval '[ "$(arrived)" -ge 20 ]'
    "$@"
    begin=$(date +%s%N)
    [ "$signal" = 0 ] || kill "-$signal" "$PID"
    wait "$PID" || status=$?
    MS=$((($(date +%s%N) - begin) / 1000000))
    check_sanitizers
    [ "$status" = "$want" ] || fail "exit status $status, not $want"
}
restart_soon() {
    kill_ganesha a
    sleep 1
    restart_ganesha a "$@"
}

# Restarted, with its memory of clients or without: it costs time.
during 0 0 restart_soon
judge "$SRC" "$export/dst"
no_temps "$export"
rm -rf "$export/dst"
during 0 0 restart_soon forget
judge "$SRC" "$export/dst"
no_temps "$export"
[ "$(nfs rebuilds)" -ge 1 ] || fail "no session was made again"
rm -rf "$export/dst"

# Gone for ever, or silent for ever: haul is gone soon after the limit, and says where it stood.
during 11 0 kill_ganesha a
within 9
err_has "the destination does not answer: [a-z]+ '.*' has waited for [0-9]+ s; NOT everything arrived"
restart_ganesha a
during 11 0 kill -STOP "$(ganesha_pid a)"
within 9
err_has "the destination does not answer: [a-z]+ '.*' has waited for [0-9]+ s; NOT everything arrived"
kill -CONT "$(ganesha_pid a)"

# Interrupted meanwhile: gone within 5 s. And the next run finishes.
during 20 INT kill -STOP "$(ganesha_pid a)"
within 5
err_has 'interrupted.*NOT everything arrived'
kill -CONT "$(ganesha_pid a)"
during 20 INT kill_ganesha a
within 5
restart_ganesha a
expect 0 copy --archive-dirs "$SRC" "$url/dst"
out_has 'resuming run'
judge "$SRC" "$export/dst"
no_temps "$export"
