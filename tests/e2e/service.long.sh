#!/usr/bin/env bash
# haul-sync@.service and .timer under a real systemd, installed as they are: the sandbox lets a job do all its work and
# nothing else, each exit status means to systemd what it should, systemctl stop is gone with within seconds.
#
# The systemd is process 1 of namespaces of its own (mounts, processes, cgroups, host name), on a layer over the host's root
# that is thrown away, and knows of no units but those here.
if [ "${1:-}" = --slices ]; then
    echo 1
    exit
fi
. "$(dirname "$0")/lib.sh"
need_root
. "$(dirname "$0")/ganesha.sh"

lib=/usr/lib/systemd/system
units=/run/systemd/test # within
layer=$WORK/layer
group=haul-test.$$
mkdir "$WORK/cgroup" "$layer"
# The groups are this machine's: they go with their last process.
mount -t cgroup2 cgroup2 "$WORK/cgroup" || fail "no cgroups of version 2 are to be had"
E2E_MOUNTS+=("$WORK/cgroup")
mount -t tmpfs tmpfs "$layer"
E2E_MOUNTS+=("$layer")
mkdir -p "$WORK/cgroup/$group" "$layer"/{upper,work,root,srv,lib}
remove_group() {
    kill -KILL "${RIG_PID:-}" 2>/dev/null || true
    for _ in $(seq 100); do
        find "$WORK/cgroup/$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -d "$WORK/cgroup/$group" ] || break
        sleep 0.05
    done
}
give() { return "$1"; }
trap 'status=$?; set +e; remove_group; give $status; e2e_cleanup' EXIT

DESTDIR=$layer/upper cmake --install "$(dirname "$HAUL_TOOLS")" --prefix /usr >"$WORK/out" 2>"$WORK/err" || fail "cmake --install"
install -m 755 "$HAUL" "$layer/upper/usr/bin/haul"
mkdir -p "$layer/upper/etc/haul" "$layer/upper/srv"
cat >"$WORK/rig" <<'RIG'
set -e
layer=$1 units=$2 lib=$3
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
cd "$layer/root"
mount -t proc proc proc
mount --bind -o ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind "$layer/lib" var/lib
mount --bind "$layer/srv" srv
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir -p dev/shm ".$units" run/haul-test
ln -s /proc/self/fd dev/fd
for target in sysinit basic local-fs remote-fs network-online nss-user-lookup shutdown umount timers sockets time-sync time-set slices paths; do
    echo "[Unit]
DefaultDependencies=no" >".$units/$target.target"
done
cp ".$lib"/systemd-journald{.service,.socket,-dev-log.socket} ".$units/"
# What ends well is forgotten at once, unless somebody refers to it: After.
echo "[Unit]
AllowIsolate=yes
DefaultDependencies=no
After=haul-sync@data.service haul-sync@served.service haul-sync@window.service haul-sync@changing.service haul-sync@missing.service
Wants=systemd-journald.socket systemd-journald-dev-log.socket sysinit.target basic.target" >".$units/haul-test.target"
ln -s "$lib/haul-sync@.service" "$lib/haul-sync@.timer" ".$units/"
mkdir old
pivot_root . old
umount -l /old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH="$units" SYSTEMD_GENERATOR_PATH= \
    SYSTEMD_LOG_TARGET=null /usr/lib/systemd/systemd --system --unit=haul-test.target --show-status=no </dev/null >/run/haul-test/log 2>&1
RIG
# Into the group first, since its namespace begins where the process is.
cat >"$WORK/rig.group" <<'RIG'
echo $$ >"$1"
shift
exec unshare -C -m -p -u -i -f --kill-child bash "$@"
RIG
background bash "$WORK/rig.group" "$WORK/cgroup/$group/cgroup.procs" "$WORK/rig" "$layer" "$units" "$lib" >"$WORK/rig.log" 2>&1
RIG_PID=$PID
within_pid() { INIT=$(pgrep -P "$RIG_PID") && grep -qa '^/usr/lib/systemd/systemd' "/proc/$INIT/cmdline"; }
wait_until 20 within_pid
# within COMMAND...: in there.
within() { nsenter -t "$INIT" -m -p -C -u -i --root --wd=/ -- "$@"; }
sctl() { within env SYSTEMD_UNIT_PATH="$units" systemctl "$@"; }
is_up() { [ "$(sctl is-active haul-test.target 2>/dev/null)" = active ]; }
wait_until 30 is_up

srv=$layer/srv # seen from here
mkdir "$WORK/served"
start_ganesha far "$WORK/served"
within tee /etc/haul/haul.conf >/dev/null <<CONF
defaults = { xattrs = true; };
jobs = {
  data = { source = "/srv/src"; destination = "/srv/dst"; delete = true; archive-dirs = true; };
  served = { source = "/srv/src"; destination = "nfs://127.0.0.1:$GANESHA_PORT/export/dst"; xattrs = false; };
  boot = { source = "/srv/src"; destination = "/usr/dst"; };
  slow = { source = "/srv/slow"; destination = "/srv/slow.dst"; bwlimit = "1M"; };
  window = { source = "/srv/slow"; destination = "/srv/window.dst"; bwlimit = "1M"; max-duration = "1s"; };
  changing = { source = "/srv/changing"; destination = "/srv/changing.dst"; retries = 1; retry-delay = "1ms"; bwlimit = "80M"; };
  missing = { source = "/srv/missing"; destination = "/srv/missing.dst"; };
};
CONF
# Waits are shorter here than they are meant to be.
within mkdir "$units/haul-sync@.service.d"
within tee "$units/haul-sync@.service.d/quick.conf" >/dev/null <<'CONF'
[Service]
RestartSec=300ms
CONF
sctl daemon-reload

# ended JOB RESULT STATUS: how it has.
ended() {
    local have
    have=$(sctl show -P Result -P ExecMainStatus "haul-sync@$1" | tr '\n' ' ')
    [ "$have" = "$2 $3 " ] || fail "$1: $have, not $2 $3: $(journal "$1")"
}
journal() { within journalctl --sync; within journalctl --no-pager -q -o cat -u "haul-sync@$1" "${@:2}"; }
job() { sctl start "haul-sync@$1" 2>"$WORK/err" || [ "${2:-}" = fails ] || fail "systemctl start: $(journal "$1")"; }

# All that a tree can hold: owners, set-user-id bits, device nodes, capabilities of files, what is nobody's to read.
maketree everything "$srv/src"
cp /bin/true "$srv/src/capable"
setcap cap_net_raw+ep "$srv/src/capable"
job data
ended data success 0
judge "$srv/src" "$srv/dst" --xattrs
getcap "$srv/dst/capable" | grep -q cap_net_raw || fail "the capabilities of a file did not arrive"
[ "$(stat -c %a:%u "$layer/lib/haul")" = 700:0 ] || fail "the state directory"
[ -n "$(ls "$layer/lib/haul/")" ] || fail "the state is elsewhere"
journal data -p info | grep -q 'everything arrived' || fail "the journal tells nothing: $(journal data)"
rm "$srv/src/capable"
job data
[ ! -e "$srv/dst/capable" ] || fail "what is gone was not removed"

# To a server, over sockets.
job served
ended served success 0
rsync -aHnO --omit-link-times --checksum --delete --itemize-changes --exclude=/.haul "$srv/src/" "$WORK/served/dst/" >"$WORK/diff"
[ ! -s "$WORK/diff" ] || fail "rsync finds on the server: $(cat "$WORK/diff")"

# The sandbox: /usr is not to be written to, without a drop-in that says otherwise.
job boot fails
ended boot exit-code 11
[ ! -e "$layer/upper/usr/dst" ] || fail "/usr was written to"
wait_until 20 eval '[ "$(sctl show -P NRestarts haul-sync@boot)" -ge 1 ]' # 11 is tried again
journal boot -p err | grep -q 'Read-only file system' || fail "no error in the journal: $(journal boot)"
within mkdir -p /usr/dst "$units/haul-sync@boot.service.d"
within tee "$units/haul-sync@boot.service.d/where.conf" >/dev/null <<'CONF'
[Service]
ReadWritePaths=/usr/dst
CONF
sctl stop haul-sync@boot
sctl daemon-reload
sctl reset-failed haul-sync@boot 2>/dev/null || true # it may be forgotten already
job boot
ended boot success 0
judge_lax "$srv/src" "$layer/upper/usr/dst"

# systemctl stop in the middle of a run.
mkdir "$srv/slow"
for i in $(seq 100); do head -c 100000 /dev/urandom >"$srv/slow/f$i"; done
sctl start --no-block haul-sync@slow
some() { [ "$(find "$srv/$1" -name 'f*' 2>/dev/null | wc -l)" -ge 3 ]; }
wait_until 20 some slow.dst
elapsed_ms sctl stop haul-sync@slow
[ "$MS" -lt 5000 ] || fail "gone after $MS ms"
ended slow exit-code 20
no_temps "$srv/slow.dst"
[ ! -e "$srv/slow.dst/.haul/lease" ] || fail "the lease stays"
journal slow -p err | grep -q 'interrupted: NOT everything arrived' || fail "the journal does not tell: $(journal slow)"

# Out of its window: nothing to worry about, and not tried again.
job window
ended window success 30
some window.dst || fail "nothing arrived within the window"

# A source that keeps changing: nor is that.
mkdir "$srv/changing"
head -c 40000000 /dev/urandom >"$srv/changing/large"
append() { while :; do echo line >>"$srv/changing/large"; done; }
background append
has_grown() { [ "$(stat -c %s "$srv/changing/large")" -gt 40000000 ]; }
wait_until 20 has_grown
job changing
ended changing success 24
kill -KILL "$PID"

# Wrong use waits for somebody.
job nosuch fails
ended nosuch exit-code 1
# What passes is tried again, and well in the end: the source was not there.
sctl start --no-block haul-sync@missing
wait_until 20 eval '[ "$(sctl show -P NRestarts haul-sync@missing)" -ge 1 ]'
mkdir "$srv/missing.there"
echo contents >"$srv/missing.there/file"
mv "$srv/missing.there" "$srv/missing"
there() { [ -e "$srv/missing.dst/file" ]; }
wait_until 20 there
inactive() { [ "$(sctl is-active "haul-sync@$1")" = inactive ]; }
wait_until 20 inactive missing
ended missing success 0
[ "$(sctl show -P NRestarts haul-sync@nosuch)" = 0 ] || fail "wrong use was tried again"
[ "$(sctl show -P NRestarts haul-sync@slow)" = 0 ] || fail "what was stopped was started again"
[ "$(sctl show -P NRestarts haul-sync@window)" = 0 ] || fail "what was out of time was started again"

# The timer.
within mkdir "$units/haul-sync@data.timer.d"
within tee "$units/haul-sync@data.timer.d/soon.conf" >/dev/null <<'CONF'
[Timer]
OnCalendar=*:*:*
RandomizedDelaySec=0
AccuracySec=100ms
CONF
sctl daemon-reload
echo new >"$srv/src/new"
sctl start haul-sync@data.timer
arrived() { [ -e "$srv/dst/new" ]; }
wait_until 20 arrived
sctl stop haul-sync@data.timer haul-sync@data
