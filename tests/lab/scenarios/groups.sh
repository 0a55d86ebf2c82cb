#!/bin/bash
# All members of a group or none; an undeclared one on a host driver keeps the others from VFIO, and is named.
. /lab/common.sh
reset_host
watch_writes

configure <<'TOML'
[device.one]
address = "0000:04:01.0"
TOML
start_vfiod
ok 'half a group: held' wait_for 60 says '1 held'
ok 'half a group: the blocker is named' eval "entries MESSAGE_ID=$MSG_HELD VFIOD_DEVICE=0000:04:01.0 | grep -q '0000:04:02.0.*e1000'"
ok 'half a group: nothing is written' eval 'untouched 04:01.0 && untouched 04:02.0 && untouched 03:00.0'

mark
configure <<'TOML'
[device.one]
address = "0000:04:01.0"
[device.two]
address = "0000:04:02.0"
TOML
reload_vfiod
ok 'both declared: both bound' wait_for 60 eval 'has_driver 04:01.0 vfio-pci && has_driver 04:02.0 vfio-pci'
ok 'both declared: ready' wait_for 60 says '2 ready'
unbind 04:01.0
ok 'one of them is lost and comes back' wait_for 60 has_driver 04:01.0 vfio-pci
wait_for 60 says '2 ready'

# One of two is needed by the host: the other stays where it is, too.
reset_host
watch_writes
default_route_on 04:02.0
configure <<'TOML'
[device.one]
address = "0000:04:01.0"
[device.two]
address = "0000:04:02.0"
TOML
start_vfiod
ok 'both declared, one carries the route: both held' wait_for 60 says '2 held'
ok 'and neither is written to' eval 'untouched 04:01.0 && untouched 04:02.0'
vfiodctl check 04:01.0 >/run/lab/said 2>&1
ok 'what carries the route is not to be detached' grep -q '0000:04:02.0 carries traffic of the host' /run/lab/said
not_ok 'nor is it offered' grep -q nodedev-detach /run/lab/said
ip address flush dev "$(nic_of 04:02.0)"; ip link set "$(nic_of 04:02.0)" down
ok 'once it carries nothing, both are bound' wait_for 90 eval 'has_driver 04:01.0 vfio-pci && has_driver 04:02.0 vfio-pci'

# A slot: all its functions, though they are in groups of their own.
reset_host
watch_writes
default_route_on 00:04.1
configure <<'TOML'
[device.slot]
address = "0000:00:04"
TOML
start_vfiod
ok 'a slot of which one function is needed: held' wait_for 60 says '1 held'
ok 'and no function of it is written to' eval 'untouched 00:04.0 && untouched 00:04.1'
ip address flush dev "$(nic_of 00:04.1)"; ip link set "$(nic_of 00:04.1)" down
ok 'once it is free, all its functions are bound' wait_for 90 eval 'has_driver 00:04.0 vfio-pci && has_driver 00:04.1 vfio-pci'

# The whole group by one entry.
reset_host
configure <<'TOML'
[device.card]
address = "0000:05:00.0"
group = "whole"
TOML
start_vfiod
ok 'group = "whole": every endpoint of the group is bound' wait_for 60 eval 'has_driver 05:00.0 vfio-pci && has_driver 05:00.1 vfio-pci'
stop_vfiod
finish
