#!/bin/bash
# The shipped unit's sandbox on this systemd, from inside: which files of sysfs and /proc/sys can be written, that repairs and the naming
# of who unloads work all the same, and that systemd finds nothing to complain of in the unit.
. /lab/common.sh
reset_host
version=$(systemctl --version | sed -nE '1s/^systemd ([0-9]+).*/\1/p')
echo "# systemd $version"
configure <<'TOML'
[device.nic0]
address = "0000:01:00.0"
TOML
mounted() { grep -c ' binfmt_misc binfmt_misc ' /proc/mounts; }
before=$(mounted)
ok 'its first start succeeds' start_vfiod
ok 'ready' wait_for 60 says '1 ready'
is 'its start mounts nothing for the host' "$(mounted)" "$before"
pid=$(main_pid)
inside() { nsenter --target "$pid" --mount -- "$@"; } # what the unit's file systems let root do

# All of them, as the kernel answers access(2): root may write what is not read-only. From 254 on systemd opens a unit's own
# memory.pressure for it, to be told when memory is short. binfmt_misc is mounted when somebody looks into it, in here as well.
writable=$(inside find /sys /proc/sys -type f -writable -not -path '/sys/devices/*' -not -path '/sys/bus/pci/*' \
    -not -path '/sys/kernel/tracing/instances/*' -not -path '/sys/fs/cgroup/system.slice/vfiod.service/memory.pressure' \
    -not -path '/proc/sys/fs/binfmt_misc/*' 2>/dev/null)
is 'no other file can be written' "$(head -n 5 <<<"$writable")" ''
outside=$(find /sys/module /sys/kernel/mm /proc/sys/vm -type f -writable | wc -l)
ok "outside of the unit they can ($outside files)" test "$outside" -gt 100
# And as an open for writing has it, which changes nothing.
for path in /sys/module/kernel/parameters/panic /sys/module/vfio/parameters/* /sys/kernel/mm/ksm/run /sys/power/pm_async \
    /sys/bus/platform/drivers_probe /proc/sys/kernel/panic /proc/sys/vm/drop_caches; do
    [[ -e $path ]] || continue
    ok "writable outside: $path" sh -c ': >>"$0"' "$path"
    not_ok "read-only inside: $path" inside sh -c ': >>"$0"' "$path"
done
for path in /sys/bus/pci/drivers_probe /sys/bus/pci/drivers/vfio-pci/bind "$(pci 01:00.0)/driver_override"; do
    ok "writable inside: $path" inside sh -c ': >>"$0"' "$path"
done
ok 'a trace of its own' eval 'compgen -G "/sys/kernel/tracing/instances/*" >/dev/null'

unit NRestarts
is 'it has never been started again' "$REPLY" 0

# The work itself: somebody unloads the driver's module, by a unit of his own.
mark
systemd-run --quiet --wait --unit=stranger modprobe -r vfio_pci
ok 'what was lost comes back' wait_for 60 eval 'has_driver 01:00.0 vfio-pci && says "1 ready"'
ok 'and who unloaded it is named, with the unit' wait_for 60 eval '[[ $(entries) == *modprobe*stranger.service* ]]'
reload_vfiod
is 'a reload keeps the process' "$(main_pid)" "$pid"
crash_vfiod
ok 'after a crash it is back' wait_for 60 is_back
ok 'and ready' wait_for 60 says '1 ready'

# What systemd says of the unit: directives that it does not know, processes that it finds left over.
said=$(systemd-analyze verify --man=no vfiod.service 2>&1 | grep -F vfiod)
is 'systemd-analyze verify finds nothing' "$said" ''
complaints=$(journalctl -q -b --no-pager -o cat _PID=1 | grep -F 'vfiod.service' |
    grep -iE "unknown|failed to parse|ignoring|not supported|deprecated|obsolete|process [0-9]+ \(exe\)")
is 'systemd has nothing to complain of' "$complaints" ''
exposure=$(systemd-analyze security --no-pager vfiod | sed -nE 's/.*Overall exposure level for vfiod.service: ([0-9.]+).*/\1/p')
echo "# systemd-analyze security, systemd $version: $exposure"
ok 'exposure is at most 3.0' awk -v e="$exposure" 'BEGIN { exit !(e != "" && e <= 3.0) }'
finish
