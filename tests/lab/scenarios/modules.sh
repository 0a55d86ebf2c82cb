#!/bin/bash
# Modules that must not, cannot or need not be loaded: the right state, one entry, no loop, and recovery where it is possible.
. /lab/common.sh

# Every start of modprobe, also one that loads nothing.
watch_modprobe() {
    watch_writes
    echo 'filename ~ "*modprobe"' >"$lab_trace/events/sched/sched_process_exec/filter"
    echo 1 >"$lab_trace/events/sched/sched_process_exec/enable"
    (exec /sbin/modprobe --version >/dev/null)
    ok 'a modprobe is seen' test "$(modprobes)" -eq 1
}
modprobes() { grep -c sched_process_exec "$lab_trace/trace"; }
begin() { # a host on which vfio_pci was unloaded from under a device
    reset_host
    bind_vfio 01:00.0
    modprobe -r vfio_pci
    configure <<TOML
[watch]
interval = "1s"
${1:-}
[device.nic0]
address = "0000:01:00.0"
TOML
}
blocked() { # NAME STATE: said once, in that state, and nothing is tried again
    ok "$1: blocked" wait_for 60 says "vfio_pci $2"
    ok "$1: told with the evidence" wait_for 60 told MESSAGE_ID="$MSG_MODULE_BLOCKED" VFIOD_MODULE=vfio_pci VFIOD_NEW="$2"
    echo "# $(field VFIOD_CAUSE MESSAGE_ID="$MSG_MODULE_BLOCKED" VFIOD_MODULE=vfio_pci)"
    # What stands on its own may be loaded meanwhile.
    sleep 3
    wait_for 60 eval '! pgrep "^(vfiod-act|modprobe)$"'
    watch_modprobe
    sleep 5
    is "$1: no loop" "$(modprobes)" 1
    trace_writes_off
    is "$1: one entry" "$(count MESSAGE_ID="$MSG_MODULE_BLOCKED" VFIOD_MODULE=vfio_pci)" 1
    ok "$1: the device is blocked for that reason" told MESSAGE_ID="$MSG_BLOCKED" VFIOD_DEVICE=0000:01:00.0
    ok "$1: the module stays out" eval '! module_live vfio_pci'
    # A tree without it does not tell what it needs.
    [[ $2 == not-installed ]] || ok "$1: and so does what only it needs" eval '! module_live vfio_pci_core'
}

begin
echo 'install vfio_pci /bin/false' >/etc/modprobe.d/lab.conf
start_vfiod
blocked 'an install rule that is false' prohibited
rm /etc/modprobe.d/lab.conf
ok 'an install rule that is false: recovers when it goes' wait_for 60 says '1 ready'
stop_vfiod

begin
echo 'blacklist vfio_pci' >/etc/modprobe.d/lab.conf
start_vfiod
blocked 'a blacklist line' prohibited
rm /etc/modprobe.d/lab.conf
ok 'a blacklist line: recovers when it goes' wait_for 60 says '1 ready'
stop_vfiod

begin '[modules]
ignore_blacklist = true'
echo 'blacklist vfio_pci' >/etc/modprobe.d/lab.conf
start_vfiod
ok 'a blacklist line that is to be ignored: loaded' wait_for 60 says '1 ready'
stop_vfiod

begin
cat >/etc/modprobe.d/lab.conf <<'RULE'
install vfio_pci touch /run/lab/rule-ran; /sbin/modprobe --ignore-install vfio_pci
RULE
rm -f /run/lab/rule-ran
start_vfiod
ok 'an install rule that calls modprobe -i is no prohibition' wait_for 60 says '1 ready'
ok 'and its command is not run unasked' eval '[[ ! -e /run/lab/rule-ran ]]'
stop_vfiod

begin
tree=/usr/lib/modules/$(uname -r)
mv "$tree" "$tree.away"
start_vfiod
blocked 'the module tree is gone' tree-missing
mv "$tree.away" "$tree"
ok 'the module tree is gone: recovers when it is back' wait_for 60 says '1 ready'
stop_vfiod

begin
file=$(modinfo -n vfio_pci)
without_in_tree "$file"
start_vfiod
blocked 'not in the tree' not-installed
back_in_tree "$file"
ok 'not in the tree: recovers when it is' wait_for 60 says '1 ready'
stop_vfiod

# Write-once until the next boot: the last one.
begin
echo 1 >/proc/sys/kernel/modules_disabled
start_vfiod
blocked 'kernel.modules_disabled' prohibited
stop_vfiod
finish
