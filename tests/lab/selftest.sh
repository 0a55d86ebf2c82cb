#!/bin/bash
# Checks the lab itself: the topology README.md promises, and each helper of lib.sh. `tests/lab/run tests/lab/selftest.sh`.
# With the argument "boot" it only shows the topology and checks that the machine came up.
# shellcheck source=/dev/null
. /lab/lib.sh

echo "# kernel $(uname -r), iommu $LAB_IOMMU, script after $LAB_UPTIME s"
lspci -Dnnk | grep -E '^[0-9a-f]{4}:|driver in use' | sed 's/^/# /'
for group in $(find /sys/kernel/iommu_groups -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n); do
    echo "# group $group: $(find "/sys/kernel/iommu_groups/$group/devices" -type l -printf '%f ')"
done
echo "# iommu: $(find /sys/class/iommu -type l -printf '%f ')"
grep -H ' direct$' /sys/kernel/iommu_groups/*/reserved_regions | sed 's/^/# /'

is 'no unit failed' "$(systemctl --failed --quiet --plain --no-legend)" ''
is 'PID 1 is systemd' "$(cat /proc/1/comm)" systemd
ok 'the bus answers' busctl --quiet call org.freedesktop.DBus / org.freedesktop.DBus ListNames
ok 'polkit answers' busctl --quiet introspect org.freedesktop.PolicyKit1 /org/freedesktop/PolicyKit1/Authority
is 'the VGA is the boot display' "$(cat "$(pci 00:01.0)/boot_vga")" 1
is 'the root disk' "$(disk_of 00:0a.0)" "$(findmnt -no SOURCE /)"
for nic in 00:03.0 00:04.0 00:04.1 01:00.0 05:00.0 05:00.1; do is "$nic is on e1000e" "$(driver_of $nic)" e1000e; done
for nic in 04:01.0 04:02.0; do is "$nic is on e1000" "$(driver_of $nic)" e1000; done
for disk in 00:08.0 00:09.0; do ok "$disk has a disk" disk_of $disk; done
ok '02:00.0 has a disk' disk_of 02:00.0
[[ ${1:-} != boot && $LAB_IOMMU =~ intel|amd ]] || finish

is 'the NICs behind the bridge share its group' "$(group_of 04:01.0) $(group_of 04:02.0)" "$(group_of 03:00.0) $(group_of 03:00.0)"
is 'the functions of 05:00 share a group' "$(group_of 05:00.0)" "$(group_of 05:00.1)"
not_ok 'the functions of 00:04 do not' test "$(group_of 00:04.0)" = "$(group_of 00:04.1)"

in_use() { ! python3 -c 'import os,sys; os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL)' "$1" 2>/dev/null; }
disk=$(disk_of 00:08.0) other=$(disk_of 00:09.0)
not_ok 'a spare disk is free' in_use "$disk"
ok 'make_swap' make_swap 00:08.0
ok 'a swap is in use' in_use "$disk"
swapoff "$disk"; wipefs -qa "$disk"
ok 'make_md' make_md 00:08.0
ok 'an md member is in use' in_use "$disk"
mdadm --quiet --stop /dev/md7; wipefs -qa "$disk"
ok 'make_lvm' make_lvm 00:09.0
ok 'a physical volume is in use' in_use "$other"
vgremove -q -y -f lab >/dev/null; pvremove -q -y "$other" >/dev/null
ok 'make_dm' make_dm 00:09.0
ok 'a disk below a mapping is in use' in_use "$other"
dmsetup remove labdm
if holder=$(mount_in_private_ns 00:08.0); then pass mount_in_private_ns; else fail mount_in_private_ns; fi
not_ok 'the mount is not to be seen' grep -q "^$disk " /proc/mounts
ok 'a disk mounted elsewhere is in use' in_use "$disk"
ok release release "$holder"
ok 'mount_disk' mount_disk 00:09.0
umount /mnt

ok 'make_bond_bridge' make_bond_bridge 00:04.0
is 'the default route is on the bridge' "$(ip -4 route show default | awk '{ print $5 }')" br0
ip link del br0; ip link del bond0
ok 'default_route_on in table 100' default_route_on 00:04.1 table 100
ok 'the route is there' ip route show table 100 default
ok 'nic_to_netns' nic_to_netns 01:00.0 elsewhere
is 'its net directory is empty' "$(ls "$(pci 01:00.0)/net" 2>/dev/null)" ''
ip netns del elsewhere
ok 'the NIC comes back' wait_for 10 test -n "$(nic_of 01:00.0)"

ok 'create_vfs' create_vfs 3
is 'VFs have groups' "$(group_of 02:00.3 | grep -c '[0-9]')" 1
ok 'destroy_vfs' destroy_vfs
not_ok 'they are gone' test -e "$(pci 02:00.1)"

ok 'trace_writes_start' trace_writes_start
for device in 00:03.0 04:01.0 04:02.0; do ok "bind_vfio $device" bind_vfio $device; done
echo on >"$(pci 05:00.0)/power/control"
is 'one write to the device that was written to once' "$(writes_to 05:00.0 | grep -c ' file .*name="control"')" 1
is 'none to another' "$(writes_to 05:00.1)" ''
is 'the writes to 00:03.0' "$(writes_to 00:03.0 | awk '{ print $3 }' | tr '\n' ' ')" 'file driver_override unbind drivers_probe '
ok 'a module load is seen' eval 'trace_writes | grep -q "module_load.*vfio_pci"'
trace_writes | sed 's/^/# /'
for depth in group container device; do
    if holder=$(hold_as_user 00:03.0 labuser $depth); then pass "hold_as_user $depth"; else fail "hold_as_user $depth"; continue; fi
    is 'it is not root' "$(stat -c %U "/proc/$holder")" labuser
    [[ $depth != device ]] || is 'modprobe -r fails while it holds' "$(host_unload)" 1
    ok 'release' release "$holder"
done
if holder=$(hold_as_user 04:01.0 labuser); then pass 'hold one of a group of two'; ok 'release' release "$holder"; else fail 'hold one of a group of two'; fi
is 'host_unload' "$(host_unload)" 0
not_ok 'vfio_pci is gone' module_live vfio_pci
is '00:03.0 is on no driver' "$(driver_of 00:03.0)" none
is 'its override stays' "$(override_of 00:03.0)" vfio-pci
ok 'unpin' unpin 00:03.0
is 'back on its host driver' "$(driver_of 00:03.0)" e1000e
ok 'trace_writes_stop' trace_writes_stop
not_ok 'no probe is left' test -s /sys/kernel/tracing/kprobe_events
finish
