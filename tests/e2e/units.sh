#!/usr/bin/env bash
# What cmake --install puts where, and that the systemd units are right: systemd-analyze verify has nothing to say, every
# exit status of haul means to them what it should, and the program runs in their sandbox's terms.
. "$(dirname "$0")/lib.sh"

root=$WORK/root
build=$(dirname "$HAUL_TOOLS")
DESTDIR=$root cmake --install "$build" --prefix /usr >"$WORK/out" 2>"$WORK/err" || fail "cmake --install"
units=$root/usr/lib/systemd/system
for file in bin/haul share/man/man1/haul.1 lib/systemd/system/haul-sync@.service lib/systemd/system/haul-sync@.timer \
    share/doc/haul/haul.conf.example; do
    [ -f "$root/usr/$file" ] || fail "$file was not installed"
done
[ "$("$root/usr/bin/haul" --version)" = "$("$HAUL" --version)" ] || fail "another haul was installed"
"$HAUL" --help=man | cmp - "$root/usr/share/man/man1/haul.1" || fail "another man page"
"$HAUL" --config "$root/usr/share/doc/haul/haul.conf.example" --list-jobs >"$WORK/out" 2>"$WORK/err" || fail "the example is refused"
out_has '^data: /data -> /mnt/efs/data$'

# systemd-analyze wants the program where the unit says, and an instance's name.
grep -qx 'ExecStart=/usr/bin/haul sync --job %i' "$units/haul-sync@.service" || fail "the program is looked for elsewhere"
mkdir "$WORK/units"
sed "s|^ExecStart=/usr/bin/haul|ExecStart=$root/usr/bin/haul|" "$units/haul-sync@.service" >"$WORK/units/haul-sync@data.service"
cp "$units/haul-sync@.timer" "$WORK/units/haul-sync@data.timer"
verify() {
    SYSTEMD_UNIT_PATH=$WORK/units: systemd-analyze verify --man=no "$WORK"/units/haul-sync@data.* >"$WORK/out" 2>&1
}
verify || fail "systemd-analyze verify"
! grep -q haul-sync "$WORK/out" || fail "systemd-analyze verify complains"
echo 'Frobnicate=yes' >>"$WORK/units/haul-sync@data.service"
verify || true
grep -q "Frobnicate" "$WORK/out" || fail "systemd-analyze verify says nothing of what is wrong"

# How much the sandbox leaves open, of 10: what root's file capabilities and any path as source and destination cost, and no
# more (a service without any of it: 9.6).
sed -i /^Frobnicate/d "$WORK/units/haul-sync@data.service"
systemd-analyze security --offline=true --threshold=40 --no-pager "$WORK/units/haul-sync@data.service" >"$WORK/out" 2>&1 ||
    fail "the sandbox is not what it was: $(tail -n 1 "$WORK/out")"

# Each exit status that haul has is a success, tried again, or left to somebody to look at.
has() {
    grep -qE "^$1=(.* )?$2( |\$)" "$units/haul-sync@.service"
}
for status in 1:stays 11:again 20:stays 23:again 24:fine 25:stays 30:fine 40:stays; do
    number=${status%:*}
    case ${status#*:} in
    fine) has SuccessExitStatus "$number" && ! has RestartPreventExitStatus "$number" ;;
    stays) ! has SuccessExitStatus "$number" && has RestartPreventExitStatus "$number" ;;
    again) ! has SuccessExitStatus "$number" && ! has RestartPreventExitStatus "$number" ;;
    esac || fail "status $status"
done
