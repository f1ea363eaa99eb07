# A private NFS server for whole-program tests: . "$(dirname "$0")/ganesha.sh", after lib.sh.
#
# NFS-Ganesha in user space, on a loopback port of its own, exporting folders of this machine; several may run at a time,
# each with its own port, configuration, log and recovery state below $WORK. Needs root. A server that does not come up
# fails the test, with the end of its log. And the proxy that cuts (tools/cutproxy).
#
#   start_ganesha NAME FOLDER...   starts it and waits until it answers. The first folder is exported as /export, the next
#                                  as /export2, ...; the variables GANESHA_PORT, GANESHA_PID are those of the last one that
#                                  was started or restarted, ganesha_port NAME and ganesha_pid NAME of each
#   kill_ganesha NAME              with SIGKILL
#   restart_ganesha NAME [forget]  again on the same port, after kill_ganesha; forget: without its recovery state, as one
#                                  that never heard of any client
#   stop_ganesha NAME              ends it, in order
#   ganesha_holds NAME FOLDER      how many descriptors it holds open on files below FOLDER
#   ganesha_clients NAME           how many clients it knows: those that have not said goodbye (DESTROY_CLIENTID, which it
#                                  refuses while one has a file open)
#
#   own_network "$@"               before lib.sh: the script goes on in a network with nothing but a loopback interface, and
#                                  with a /run of its own: servers of NFSv3, each of which registers itself with the one
#                                  portmapper that there is, do not meet those of other tests
#   start_portmap                  a portmapper there: PORTMAP_PID
#
# To be set before start_ganesha, where they differ:
#   GANESHA_V3=1          NFSv3 and MOUNT too; ganesha_mount_port NAME
#   GANESHA_GRACE=N       after each start clients may only reclaim for N seconds (0: no grace)
#   GANESHA_LEASE=N       seconds (60)
#   GANESHA_CACHED=1      it may take what it saw for true for a minute: quicker, and blind to what is changed in the
#                         folder without it
#   GANESHA_SQUASH=Root_Squash, GANESHA_SECTYPE=krb5, ...
#   GANESHA_NUMERIC=false it tells owners by name where it knows one
#   GANESHA_NFSV4, GANESHA_CORE, GANESHA_EXPORT: further lines of these blocks
#
#   start_cutproxy PORT [COMMAND...]   a proxy before that port: CUT_PORT. cut_tell COMMAND WORDS...: gives it a command
#                                      (tools/cutproxy.c). cut_stat NAME: one of its figures
#   cut_next WAY CALL [WORDS...]   forgets what it was told before, and cuts the CALLth call or answer from now on; WAY is
#                                  up-before, up-within, up-after, down-before or down-within
#   cut_often                      carries out the script's own function run NAME [OPTIONS], a copy through the proxy, while
#                                  each connection is cut after 150 calls or answers, and the next one again: more than are
#                                  in flight, so that there is something gained each time
# shellcheck shell=bash

own_network() {
    if [ "$(id -u)" = 0 ] && [ -z "${E2E_OWN_NETWORK:-}" ]; then
        E2E_OWN_NETWORK=1 exec unshare --net --mount --propagation private -- bash "$0" "$@"
    fi
}
# The second address is for Ganesha, whose look-up of 127.0.0.1 finds nothing where there is no other (AI_ADDRCONFIG).
start_portmap() {
    if ! mountpoint -q /run || [ ! -d /run/ganesha ]; then
        mount -t tmpfs run /run
        mkdir /run/rpcbind /run/ganesha
        ip link set lo up
        ip address add 10.255.255.1/32 dev lo
    fi
    rpcbind -f </dev/null >/dev/null 2>&1 &
    PORTMAP_PID=$!
    E2E_PIDS+=("$PORTMAP_PID")
    wait_until 10 portmap_answers
}
portmap_answers() {
    (: <>/dev/tcp/127.0.0.1/111) 2>/dev/null
}

ganesha_conf() {
    local home=$WORK/ganesha.$1 protocols=4 folder id=0
    shift
    [ -z "${GANESHA_V3:-}" ] || protocols='3, 4'
    cat <<CONF
NFS_CORE_PARAM {
    Protocols = $protocols;
    NFS_Port = $(cat "$home/port");
    Bind_addr = 127.0.0.1;
    Enable_UDP = false;
    Enable_NLM = false;
    Enable_RQUOTA = false;
    ${GANESHA_V3:+MNT_Port = $(cat "$home/mount_port");}
    ${GANESHA_CORE:-}
}
NFSv4 {
    RecoveryBackend = fs;
    RecoveryRoot = "$home/recovery";
    Graceless = $([ "${GANESHA_GRACE:-0}" = 0 ] && echo true || echo false);
    Grace_Period = $([ "${GANESHA_GRACE:-0}" = 0 ] && echo 1 || echo "$GANESHA_GRACE");
    Lease_Lifetime = ${GANESHA_LEASE:-60};
    Only_Numeric_Owners = ${GANESHA_NUMERIC:-true};
    ${GANESHA_NFSV4:-}
}
LOG { Default_Log_Level = EVENT; }
CONF
    if [ -z "${GANESHA_CACHED:-}" ]; then
        echo 'EXPORT_DEFAULTS { Attr_Expiration_Time = 0; }'
        echo 'MDCACHE { Dir_Chunk = 0; }'
    fi
    for folder in "$@"; do
        id=$((id + 1))
        cat <<CONF
EXPORT {
    Export_Id = $id;
    Path = "$folder";
    Pseudo = "/export$([ $id = 1 ] || echo $id)";
    Access_Type = RW;
    Squash = ${GANESHA_SQUASH:-No_Root_Squash};
    SecType = ${GANESHA_SECTYPE:-sys};
    Protocols = $protocols;
    Transports = TCP;
    PrivilegedPort = false;
    FSAL { Name = VFS; }
    ${GANESHA_EXPORT:-}
}
CONF
    done
}

# A free port below those that the kernel hands out by itself.
free_port() {
    local port
    for _ in $(seq 200); do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % 20000))
        # Nobody listens there; the server's own bind settles the rest.
        if ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo $port
            return
        fi
    done
    fail "no free port"
}

# ganesha_answers PORT: to the NULL procedure of NFSv4, with a success.
ganesha_answers() {
    local reply
    reply=$(
        exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
        printf '\x80\0\0\x28haul\0\0\0\0\0\0\0\x02\0\x01\x86\xa3\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >&3
        timeout 1 head -c 28 <&3 | od -An -v -tx1 | tr -d ' \n'
    ) || return 1
    [ "${reply:16}" = 0000000100000000000000000000000000000000 ]
}

# ganesha_launch NAME: 0 once it answers, 1 where it ended before.
ganesha_launch() {
    local home=$WORK/ganesha.$1 pid end=$((SECONDS + 60))
    GANESHA_PORT=$(cat "$home/port")
    mkdir -p "$home/recovery/v4recov" "$home/recovery/v4old"
    # Its output must not keep a pipe of the test open.
    ganesha.nfsd -F -f "$home/conf" -L "$home/log" -p "$home/pidfile" </dev/null >>"$home/log" 2>&1 &
    pid=$!
    E2E_PIDS+=("$pid")
    echo "$pid" >"$home/pid"
    GANESHA_PID=$pid
    until ganesha_answers "$GANESHA_PORT"; do
        if ! kill -0 "$pid" 2>/dev/null || [ $SECONDS -ge $end ]; then
            kill -KILL "$pid" 2>/dev/null || true
            wait "$pid" 2>/dev/null || true
            return 1
        fi
        sleep 0.02
    done
    kill -0 "$pid" 2>/dev/null
}

ganesha_failed() {
    fail "Ganesha '$1' did not start (root? packages? an export on a file system without handles?): $(tail -n 30 "$WORK/ganesha.$1/log")"
}

start_ganesha() {
    local name=$1 home=$WORK/ganesha.$1
    mkdir -p "$home"
    for _ in 1 2 3 4; do
        free_port >"$home/port"
        [ -z "${GANESHA_V3:-}" ] || free_port >"$home/mount_port"
        ganesha_conf "$@" >"$home/conf"
        if ganesha_launch "$name"; then
            return 0
        fi
    done
    ganesha_failed "$name"
}

ganesha_port() {
    cat "$WORK/ganesha.$1/port"
}
ganesha_mount_port() {
    cat "$WORK/ganesha.$1/mount_port"
}
ganesha_pid() {
    cat "$WORK/ganesha.$1/pid"
}

kill_ganesha() {
    local pid
    pid=$(ganesha_pid "$1")
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

stop_ganesha() {
    local pid
    pid=$(ganesha_pid "$1")
    kill -TERM "$pid" 2>/dev/null || true
    for _ in $(seq 500); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.02
    done
    kill_ganesha "$1"
}

restart_ganesha() {
    kill_ganesha "$1"
    [ "${2:-}" != forget ] || rm -rf "$WORK/ganesha.$1/recovery"
    ganesha_launch "$1" || ganesha_failed "$1"
}

ganesha_holds() {
    find "/proc/$(ganesha_pid "$1")/fd" -type l -lname "$(realpath "$2")/*" 2>/dev/null | wc -l
}

ganesha_clients() {
    find "$WORK/ganesha.$1/recovery/v4recov" -mindepth 2 -maxdepth 2 | wc -l
}

start_cutproxy() {
    local port=$1 command do=()
    shift
    for command in "$@"; do
        do+=(--do "$command")
    done
    CUT_SOCKET=$(mktemp -u "$WORK/cut.XXXXXX")
    cutproxy --control "$CUT_SOCKET" "${do[@]}" "$port" >"$CUT_SOCKET.port" </dev/null &
    CUT_PID=$!
    E2E_PIDS+=("$CUT_PID")
    wait_until 10 test -s "$CUT_SOCKET.port"
    CUT_PORT=$(cat "$CUT_SOCKET.port")
}
stop_cutproxy() {
    kill -KILL "$CUT_PID" 2>/dev/null || true
    wait "$CUT_PID" 2>/dev/null || true
}
cut_tell() {
    cutproxy --tell "$CUT_SOCKET" "$@" || fail "the proxy refused: $*"
}
cut_stat() {
    cut_tell stats | awk -v name="$1" '$1 == name { print $2; found = 1 } END { exit !found }'
}
cut_next() {
    local way=$1 call=$2
    shift 2
    cut_tell heal
    cut_tell zero
    cut_tell cut "${way%-*}" "${way#*-}" "$call" records "$@"
}
cut_often() {
    local way
    for way in up-after down-before; do
        cut_next "$way" 150 of each times 0
        run "often.$way" --retries 10
        [ "$(cut_stat cuts)" -ge 2 ] || fail "no cuts"
        echo "cut $(cut_stat cuts) times ($way)"
    done
}
