#!/bin/bash
# Every way in which a binding drifts: each comes back, and no undeclared device is written to.
. /lab/common.sh
reset_host
watch_writes

configure <<'TOML'
[watch]
override_interval = "2s"
[repair]
breaker = { incidents = 1000 }
[device.nic0]
address = "0000:01:00.0"
id = "8086:10d3"
[device.nic1]
path = "0000:00:03.0"
[device.vfs]
pf = "0000:02:00.0"
vf = "0-1"
TOML
create_vfs 2
start_vfiod
ok 'at first sight everything declared is bound' wait_for 60 says '3 ready'
ok 'the VFs are on vfio-pci' eval 'has_driver 02:00.1 vfio-pci && has_driver 02:00.2 vfio-pci'
ok 'the PF of declared VFs stays on its driver' has_driver 02:00.0 nvme

mark
unbind 01:00.0
ok 'unbound by hand: back' wait_for 60 has_driver 01:00.0 vfio-pci
ok 'unbound by hand: told' wait_for 60 told MESSAGE_ID="$MSG_DRIFTED" VFIOD_DEVICE=0000:01:00.0 VFIOD_ENTRY=nic0
ok 'unbound by hand: told when it is back' wait_for 60 told MESSAGE_ID="$MSG_REPAIRED" VFIOD_DEVICE=0000:01:00.0

mark
ok 'somebody binds it to its host driver' bind_to 01:00.0 e1000e
ok 'on its host driver: back' wait_for 60 has_driver 01:00.0 vfio-pci
ok 'on its host driver: told' wait_for 60 told MESSAGE_ID="$MSG_REPAIRED" VFIOD_DEVICE=0000:01:00.0

mark
echo >"$(pci 01:00.0)/driver_override"
ok 'override cleared, which no event tells: pinned again' wait_for 60 eval '[[ $(override_of 01:00.0) == vfio-pci ]]'
ok 'override cleared: told' wait_for 60 told MESSAGE_ID="$MSG_DRIFTED" VFIOD_DEVICE=0000:01:00.0
wait_for 60 says '3 ready'

mark
echo 1 >"$(pci 01:00.0)/remove"
ok 'removed: said to be missing' wait_for 60 told MESSAGE_ID="$MSG_NOT_FOUND" VFIOD_ENTRY=nic0
echo 1 >/sys/bus/pci/rescan
ok 'rescanned: back' wait_for 60 has_driver 01:00.0 vfio-pci
ok 'rescanned: pinned' wait_for 60 eval '[[ $(override_of 01:00.0) == vfio-pci ]]'
wait_for 60 says '3 ready'

mark
destroy_vfs
ok 'VFs destroyed: said to be missing' wait_for 60 told MESSAGE_ID="$MSG_NOT_FOUND" VFIOD_ENTRY=vfs
create_vfs 2
ok 'VFs made again: back' wait_for 60 eval 'has_driver 02:00.1 vfio-pci && has_driver 02:00.2 vfio-pci'
wait_for 60 says '3 ready'

mark
is 'somebody removes vfio_iommu_type1 alone' "$(modprobe -r vfio_iommu_type1; echo $?)" 0
ok 'vfio_iommu_type1 is back' wait_for 60 module_live vfio_iommu_type1
ok 'vfio_iommu_type1: told' wait_for 60 told MESSAGE_ID="$MSG_MODULE_RESTORED" VFIOD_MODULE=vfio_iommu_type1

# Pinned by somebody else and not declared: a load binds it, and that is announced.
bind_vfio 00:04.0
wait_for 60 says ready:
mark
is 'the outsider unloads vfio_pci' "$(host_unload)" 0
ok 'the pinned undeclared device is bound by the load' wait_for 60 has_driver 00:04.0 vfio-pci
ok 'and that was announced' wait_for 60 told MESSAGE_ID="$MSG_ALSO_BINDS" VFIOD_DEVICE=0000:00:04.0
wait_for 60 says '3 ready'

for address in 00:04.0 00:04.1 02:00.0 04:01.0 04:02.0 05:00.0 05:00.1 00:08.0 00:09.0 00:0a.0 00:01.0 03:00.0; do
    ok "no write to $address, which is not declared" untouched "$address"
done
ok 'vfiod did write to what is declared' not_empty "$(our_writes 01:00.0)"
stop_vfiod
ok 'stopping unbinds nothing' eval 'has_driver 01:00.0 vfio-pci && has_driver 00:03.0 vfio-pci && has_driver 02:00.1 vfio-pci'
trace_writes_off
finish
