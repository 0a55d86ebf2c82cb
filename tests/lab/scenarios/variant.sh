#!/bin/bash
# A variant driver that is called otherwise than its module, as xe_vfio_pci's xe-vfio-pci is (Linux 7.x): its name is learnt by loading
# it, and a device that somebody else has put on it is left where its entry names no driver.
. /lab/common.sh
reset_host
version=$(uname -r)
tree=/run/lab-tree/lib/modules/$version
# VFIO's modules alone: depmod goes through all others for longer than the rest takes.
mkdir -p "$tree/kernel/drivers" "$tree/kernel/virt" "$tree/updates"
cp -a "/lib/modules/$version/kernel/drivers/vfio" "$tree/kernel/drivers/"
cp -a "/lib/modules/$version/kernel/virt/lib" "$tree/kernel/virt/"
cp -a "/lib/modules/$version"/modules.{order,builtin,builtin.modinfo} "$tree/"
cp /lab/with/lab_vfio_pci.ko "$tree/updates/"
depmod -b /run/lab-tree "$version"
mount --bind "$tree" "/lib/modules/$version"
ok 'the tree has an alias for the NICs' grep -q '^alias vfio_pci:v00008086d000010D3.* lab_vfio_pci$' "$tree/modules.alias"

entry() { # DRIVER, or none
    local driver=''
    [[ -z $1 ]] || driver="driver = \"$1\""
    configure <<TOML
[watch]
interval = "1s"
override_interval = "2s"
[device.nic0]
address = "0000:01:00.0"
$driver
TOML
}
pinned() { override_of 01:00.0; }
variant_of() { vfiodctl check --json | jq -r '.devices["0000:01:00.0"].codes[] | select(. == "variant-driver")'; }

watch_writes
entry auto
start_vfiod
ok 'auto: ready' wait_for 60 says 'ready: 1 ready'
ok 'auto: it is on the variant, by its own name' has_driver 01:00.0 lab-vfio-pci
is 'auto: pinned to that name' "$(pinned)" lab-vfio-pci
ok 'auto: that was traced' eval 'our_writes 01:00.0 | grep -F "driver_override " | grep -qF lab-vfio-pci'
is 'auto: to no other before' "$(our_writes 01:00.0 | grep -F 'driver_override ' | grep -vF lab-vfio-pci)" ''
is 'auto: nothing is advised that is so' "$(variant_of)" ''
pid=$(hold_as_user 01:00.0 labuser device)
ok 'auto: who has it open is seen' wait_for 60 in_state 01:00.0 assigned
release "$pid"
ok 'auto: and when it is closed' wait_for 60 in_state 01:00.0 ready
mark
ok 'auto: somebody unloads the variant' modprobe -r lab_vfio_pci
ok 'auto: it comes back' wait_for 60 told MESSAGE_ID="$MSG_REPAIRED" VFIOD_DEVICE=0000:01:00.0
ok 'auto: on the variant' has_driver 01:00.0 lab-vfio-pci
is 'auto: no alert' "$(alerts)" 0

entry lab_vfio_pci
reload_vfiod
sleep 3
ok "the module's name is understood" says 'ready: 1 ready'
ok "the module's name: on the variant" has_driver 01:00.0 lab-vfio-pci
stop_vfiod

reset_host
modprobe -r lab_vfio_pci 2>/dev/null
trace_writes_start
entry ''
start_vfiod
ok 'default: ready' wait_for 60 says 'ready: 1 ready'
ok 'default: on vfio-pci' has_driver 01:00.0 vfio-pci
is 'default: the variant is advised' "$(variant_of)" variant-driver
# As libvirt 12.9 does when a domain with managed='yes' starts.
modprobe lab_vfio_pci
device=$(pci 01:00.0)
trace_writes_off
trace_writes_start
echo lab-vfio-pci >"$device/driver_override"
echo 0000:01:00.0 >"$device/driver/unbind"
echo 0000:01:00.0 >/sys/bus/pci/drivers_probe
ok 'default: somebody moves it onto the variant' has_driver 01:00.0 lab-vfio-pci
sleep 8
ok 'default: it is left there' has_driver 01:00.0 lab-vfio-pci
ok 'default: nothing is written to it' untouched 01:00.0
ok 'default: it is ready' in_state 01:00.0 ready
entry vfio-pci
reload_vfiod
ok 'by name: it is taken back' wait_for 60 has_driver 01:00.0 vfio-pci
stop_vfiod

reset_host
modprobe -r lab_vfio_pci 2>/dev/null
umount -l "/lib/modules/$version"
finish
