#!/bin/bash
# A process that is not root has a device open, or was handed it by another; an outsider's unbind hangs on it.
. /lab/common.sh
reset_host
configure <<'TOML'
[watch]
override_interval = "2s"
[repair]
breaker = { incidents = 1000 }
[device.held]
address = "0000:01:00.0"
[device.other]
address = "0000:00:03.0"
[device.idle]
address = "0000:00:04.0"
TOML
start_vfiod
ok 'ready' wait_for 60 says '3 ready'

holder=$(hold_as_user 01:00.0 labuser)
ok 'open by somebody: assigned' wait_for 60 says '1 assigned'
watch_writes
echo >"$(pci 01:00.0)/driver_override"
ok 'its override is cleared while it is open: held' wait_for 60 says '1 held'
ok 'the holder is named' eval "field VFIOD_CAUSE MESSAGE_ID=$MSG_HELD VFIOD_DEVICE=0000:01:00.0 | grep -q 'in-use: .*python3'"
ok 'nothing is written while it is open' untouched 01:00.0
release "$holder"
ok 'it is pinned again once it is closed' wait_for 60 eval '[[ $(override_of 01:00.0) == vfio-pci ]]'
wait_for 60 says '3 ready'

# Its holder was handed it and has the other device's group open, not its own: then that device too.
for depth in container device; do
    mark
    holder=$(hold_as_user 01:00.0 labuser handed 00:03.0 "$depth")
    ok "handed over, the other's group open ($depth): both assigned" wait_for 60 says '2 assigned'
    watch_writes
    echo >"$(pci 01:00.0)/driver_override"
    ok "handed over ($depth), its override is cleared: held" wait_for 60 says '1 held'
    ok "its holder is named ($depth)" eval "field VFIOD_CAUSE MESSAGE_ID=$MSG_HELD VFIOD_DEVICE=0000:01:00.0 | grep -q 'in-use: .*python3.*nothing says which'"
    echo >"$(pci 00:04.0)/driver_override"
    ok "an idle device is repaired meanwhile ($depth)" wait_for 60 eval '[[ $(override_of 00:04.0) == vfio-pci ]]'
    # Longer than the override's interval.
    sleep 5
    ok "nothing is written to what was handed over ($depth)" untouched 01:00.0
    release "$holder"
    ok "it is pinned again once it is closed ($depth)" wait_for 60 eval '[[ $(override_of 01:00.0) == vfio-pci ]]'
    ok "ready again ($depth)" wait_for 60 says '3 ready'
done

# An outsider's unbind hangs on it.
holder=$(hold_as_user 01:00.0 labuser)
wait_for 60 says '1 assigned'
mark
trace_writes_off
watch_writes
(unbind 01:00.0) & outsider=$!
# No journalctl while it hangs: on 6.1 journald hangs with it. The kernel's own message about the device makes journald read the
# device's uevent, which blocks there until the holder leaves. Entries are kept in its socket and come in afterwards.
ok "an outsider's unbind hangs: held" wait_for 60 says '1 held'
ok 'the outsider hangs still' kill -0 "$outsider"
unbind 00:03.0
ok 'another device is repaired meanwhile' wait_for 60 has_driver 00:03.0 vfio-pci
# Longer than the watchdog's period.
sleep 35
ok 'the daemon lives through its watchdog' eval '[[ $(systemctl show -p NRestarts --value vfiod) == 0 ]] && is_active'
ok 'nothing is written to it' untouched 01:00.0
release "$holder"
wait "$outsider"
ok 'it was told as being released' wait_for 60 eval "field VFIOD_CAUSE MESSAGE_ID=$MSG_HELD VFIOD_DEVICE=0000:01:00.0 | grep -qE '^(being-released|unreadable):'"
echo "# $(field VFIOD_CAUSE MESSAGE_ID="$MSG_HELD" VFIOD_DEVICE=0000:01:00.0)"
ok 'the holder leaves: back' wait_for 60 has_driver 01:00.0 vfio-pci
ok 'ready again' wait_for 60 says '3 ready'

stop_vfiod
finish
