#!/bin/bash
# Declared by mistake: whatever the host needs is left alone, with a reason each.
. /lab/common.sh

held() { # NAME ADDRESS GUARD: declared alone, it is held for that reason and not written to
    reset_quietly
    configure <<TOML
[device.mistake]
address = "0000:$2"
TOML
    trace_writes_start
    start_vfiod
    ok "$1: held" wait_for 60 says '1 held'
    ok "$1: the reason is $3" eval "field VFIOD_CAUSE MESSAGE_ID=$MSG_HELD VFIOD_DEVICE=0000:$2 | grep -q '^$3:'"
    echo "# $(field VFIOD_CAUSE MESSAGE_ID="$MSG_HELD" VFIOD_DEVICE="0000:$2")"
    # A second look after the first: nothing is tried later either.
    sleep 1
    ok "$1: no write" untouched "$2"
    stop_vfiod
    trace_writes_off
}
reset_quietly() { systemctl stop vfiod; rm -rf /run/vfiod /var/lib/vfiod; mark; }

reset_host
modprobe vfio-pci
held 'the root disk' 00:0a.0 mounted-disk
held 'the console' 00:01.0 boot-display
held 'a PCI bridge' 03:00.0 bridge
held 'a root port' 00:05.0 bridge

make_md 00:08.0
held 'a disk under md' 00:08.0 mounted-disk
mdadm --quiet --stop /dev/md7
wipefs -qa "$(disk_of 00:08.0)"
make_dm 00:08.0
held 'a disk under device-mapper' 00:08.0 mounted-disk
dmsetup remove labdm
make_lvm 00:08.0
held 'a disk under LVM' 00:08.0 mounted-disk
vgchange -q -an lab >/dev/null
wipefs -qa "$(disk_of 00:08.0)"
make_swap 00:09.0
held 'a disk that is swapped to' 00:09.0 mounted-disk
swapoff "$(disk_of 00:09.0)"
private=$(mount_in_private_ns 00:09.0)
held 'a disk mounted in another mount namespace only' 00:09.0 mounted-disk
release "$private"

default_route_on 00:03.0
held 'the NIC with the default route' 00:03.0 carries-route
ip address flush dev "$(nic_of 00:03.0)"; ip link set "$(nic_of 00:03.0)" down
default_route_on 00:04.0 table 100
ip address flush dev "$(nic_of 00:04.0)"
ip route replace default dev "$(nic_of 00:04.0)" table 100
held 'a NIC with a default route in table 100' 00:04.0 carries-route
ip link set "$(nic_of 00:04.0)" down
make_bond_bridge 00:04.1
held 'a NIC under a bond under a bridge' 00:04.1 carries-route
ip link del br0; ip link del bond0
nic_to_netns 01:00.0 away
held 'a NIC in another network namespace' 01:00.0 carries-route
ip netns del away
wait_for 20 nic_of 01:00.0

create_vfs 2
held 'a PF with VFs' 02:00.0 sriov-pf-with-vfs
destroy_vfs

# Another card than declared.
reset_quietly
configure <<'TOML'
[device.other]
address = "0000:00:03.0"
id = "10de:2684"
TOML
trace_writes_start
start_vfiod
ok 'another card than declared: mismatch' wait_for 60 says '1 mismatch'
ok 'another card than declared: told, with both ids' eval "entries MESSAGE_ID=$MSG_NOT_FOUND VFIOD_ENTRY=other | grep -q '8086:10d3.*10de:2684'"
sleep 1
ok 'another card than declared: no write' untouched 00:03.0
stop_vfiod

# What allow lifts.
reset_quietly
default_route_on 00:03.0
configure <<'TOML'
[device.nic]
address = "0000:00:03.0"
allow = ["carries-route"]
TOML
start_vfiod
ok 'allow = ["carries-route"] lifts that guard' wait_for 60 has_driver 00:03.0 vfio-pci
stop_vfiod
finish
