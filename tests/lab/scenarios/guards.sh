#!/bin/bash
# Declared by mistake: whatever the host needs is left alone, with a reason each. All at once, so that none is saved by another's fate.
. /lab/common.sh

names=() addresses=() guards=()
mistake() { names+=("$1") addresses+=("$2") guards+=("$3"); } # NAME ADDRESS GUARD: to be declared, and to be held for that reason
judge() { # declares all of them: each is held for its reason and not written to
    local n
    systemctl stop vfiod
    rm -rf /run/vfiod /var/lib/vfiod
    for n in "${!names[@]}"; do
        printf '[device.mistake-%d]\naddress = "0000:%s"\n' "$n" "${addresses[n]}"
    done | configure
    watch_writes
    start_vfiod
    ok "all ${#names[@]} are held" wait_for 90 says ": ${#names[@]} held"
    # Nothing is tried later either.
    sleep 6
    for n in "${!names[@]}"; do
        local said
        said=$(field VFIOD_CAUSE MESSAGE_ID="$MSG_HELD" VFIOD_DEVICE="0000:${addresses[n]}")
        echo "# ${addresses[n]}: $said"
        is "${names[n]}: the reason is ${guards[n]}" "${said%%:*}" "${guards[n]}"
        ok "${names[n]}: no write" untouched "${addresses[n]}"
    done
    stop_vfiod
    trace_writes_off
    names=() addresses=() guards=()
}

reset_host
modprobe vfio-pci
mistake 'the root disk' 00:0a.0 mounted-disk
mistake 'the console' 00:01.0 boot-display
mistake 'a PCI bridge' 03:00.0 bridge
mistake 'a root port' 00:05.0 bridge
make_md 00:08.0
mistake 'a disk under md' 00:08.0 mounted-disk
private=$(mount_in_private_ns 00:09.0)
mistake 'a disk mounted in another mount namespace only' 00:09.0 mounted-disk
default_route_on 00:03.0 metric 5
mistake 'the NIC with the default route' 00:03.0 carries-route
default_route_on 00:04.0 table 100
ip address flush dev "$(nic_of 00:04.0)"
ip route replace default dev "$(nic_of 00:04.0)" table 100
mistake 'a NIC with a default route in table 100' 00:04.0 carries-route
make_bond_bridge 00:04.1
mistake 'a NIC under a bond under a bridge' 00:04.1 carries-route
nic_to_netns 01:00.0 away
mistake 'a NIC in another network namespace' 01:00.0 carries-route
create_vfs 2
mistake 'a PF with VFs' 02:00.0 sriov-pf-with-vfs
judge

mdadm --quiet --stop /dev/md7
wipefs -qa "$(disk_of 00:08.0)"
release "$private"
ip route flush table 100
ip -6 route replace default dev "$(nic_of 00:04.0)" table 100
mistake 'a NIC with a default route of IPv6 only' 00:04.0 carries-route
make_dm 00:08.0
mistake 'a disk under device-mapper' 00:08.0 mounted-disk
make_swap 00:09.0
mistake 'a disk that is swapped to' 00:09.0 mounted-disk
bind_vfio 02:00.1
holder=$(hold_as_user 02:00.1 labuser)
mistake 'a PF of which a VF is open' 02:00.0 in-use
nic=$(nic_of 00:03.0)
ip address flush dev "$nic"
python3 -c '
import signal, socket, sys
taker = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
taker.bind((sys.argv[1], 0))
signal.pause()' "$nic" >/dev/null 2>&1 &
taker=$!
wait_for 20 grep -qE "^[^ ]+ +[0-9]+ +3 +0003 +$(<"/sys/class/net/$nic/ifindex") " /proc/net/packet
mistake 'a NIC with a packet socket and without an address' 00:03.0 carries-route
judge
ok 'whoever has the VF is named' eval "field VFIOD_CAUSE MESSAGE_ID=$MSG_HELD VFIOD_DEVICE=0000:02:00.0 | grep -q 'python3.*(of 0000:02:00.1) open'"
ok 'whoever has the socket is named' eval "field VFIOD_CAUSE MESSAGE_ID=$MSG_HELD VFIOD_DEVICE=0000:00:03.0 | grep -q 'python3.$taker. .*packet socket on $nic open'"
release "$holder"
kill "$taker"
default_route_on 00:03.0 metric 5

dmsetup remove labdm
swapoff "$(disk_of 00:09.0)"
make_lvm 00:08.0
mistake 'a disk under LVM' 00:08.0 mounted-disk
# Whoever has made it has ended, no exclusive open fails, and no mount names the disk.
modprobe loop
loop=$(losetup --find --show "$(disk_of 00:09.0)")
mistake 'a disk under a loop device' 00:09.0 mounted-disk
ok 'nobody has claimed the disk under the loop device' python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL)' "$(disk_of 00:09.0)"
judge
vgchange -q -an lab >/dev/null
losetup --detach "$loop"

# Another card than declared; and what allow lifts.
rm -rf /run/vfiod /var/lib/vfiod
configure <<'TOML'
[device.other]
address = "0000:00:09.0"
id = "10de:2684"
[device.nic]
address = "0000:00:03.0"
allow = ["carries-route"]
TOML
watch_writes
start_vfiod
ok 'another card than declared: mismatch' wait_for 60 says '1 mismatch'
ok 'another card than declared: told, with both ids' eval "entries MESSAGE_ID=$MSG_NOT_FOUND VFIOD_ENTRY=other | grep -q '8086:2922.*10de:2684'"
ok 'allow = ["carries-route"] lifts that guard' wait_for 60 has_driver 00:03.0 vfio-pci
ok 'another card than declared: no write' untouched 00:09.0
stop_vfiod
ip link del br0
ip link del bond0
ip netns del away
ip route flush table 100
for address in 00:03.0 00:04.0; do
    nic=$(nic_of "$address") && ip address flush dev "$nic" && ip link set "$nic" down
done
finish
