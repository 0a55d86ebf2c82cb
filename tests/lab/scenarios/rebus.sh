#!/bin/bash
# The bus ends and comes again under vfiod, which keeps watching: nothing else in the machine survives that as well, so this one is
# the last of its boot.
. /lab/common.sh
reset_host
configure <<'TOML'
[repair]
breaker = { incidents = 1000 }
[device.nic0]
address = "0000:01:00.0"
TOML
start_vfiod
ok 'ready' wait_for 60 says '1 ready'
pid=$(main_pid)
ok 'on the bus' wait_for 60 state 01:00.0
for round in 1 2; do
    systemctl stop dbus.socket dbus.service
    host_unload >/dev/null
    ok "$round: without a bus what is lost comes back" wait_for 60 has_driver 01:00.0 vfio-pci
    systemctl start dbus.socket dbus.service
    ok "$round: with the bus the name comes back" wait_for 60 state 01:00.0
    unbind 01:00.0
    ok "$round: and drift is seen over it" wait_for 60 eval 'in_state 01:00.0 ready && has_driver 01:00.0 vfio-pci'
done
is 'it is the same process' "$(main_pid)" "$pid"
finish
