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

# Open without a node: by its memory in sysfs. To read its configuration is no use.
mark
sleep infinity 3<"$(pci 01:00.0)/config" >/dev/null 2>&1 &
reader=$!
echo >"$(pci 01:00.0)/driver_override"
ok 'its configuration is read by somebody: it is pinned again' wait_for 60 eval '[[ $(override_of 01:00.0) == vfio-pci ]]'
for file in "$(pci 01:00.0)/resource0" /proc/bus/pci/01/00.0; do
    mark
    holder=$(have_open "$file")
    watch_writes
    echo >"$(pci 01:00.0)/driver_override"
    ok "open by ${file##*/}: held" wait_for 60 says '1 held'
    ok "open by ${file##*/}: the process is named" eval "field VFIOD_CAUSE MESSAGE_ID=$MSG_HELD VFIOD_DEVICE=0000:01:00.0 | grep -q 'in-use: sleep.$holder. .*${file##*/} open'"
    echo "# $(field VFIOD_CAUSE MESSAGE_ID="$MSG_HELD" VFIOD_DEVICE=0000:01:00.0)"
    ok "open by ${file##*/}: nothing is written" untouched 01:00.0
    release "$holder"
    ok "${file##*/} is closed: pinned again" wait_for 60 eval '[[ $(override_of 01:00.0) == vfio-pci ]]'
    wait_for 60 says '3 ready'
done
kill "$reader"

# What anybody may do keeps nothing from being repaired: files called as its node is, in memory and on a mount that answers nobody, and
# the node itself by its name alone.
number=$(group_of 01:00.0)
install -d -m 1777 /dev/shm/dev/vfio
setpriv --reuid=labuser --regid=labuser --clear-groups sh -c ': >"/dev/shm/dev/vfio/$0"; exec sleep infinity <"/dev/shm/dev/vfio/$0"' "$number" >/dev/null 2>&1 &
plain=$!
fuse=$(name_as_user /dev/vfio "$number" labuser)
setpriv --reuid=labuser --regid=labuser --clear-groups python3 -c '
import os, signal, sys
os.open(sys.argv[1], os.O_PATH)
signal.pause()' "/dev/vfio/$number" >/dev/null 2>&1 &
path=$!
has_named() { # PID: it has a file of that name open, whose path is then in REPLY
    local file
    for file in "/proc/$1"/fd/*; do
        REPLY=$(readlink "$file")
        [[ $REPLY != */vfio/$number ]] || return 0
    done
    return 1
}
for pid in "$plain" "$fuse" "$path"; do
    wait_for 20 has_named "$pid"
    ok "a user has $REPLY open" has_named "$pid"
done
mark
echo >"$(pci 01:00.0)/driver_override"
ok 'files of that name: it is pinned again' wait_for 60 eval '[[ $(override_of 01:00.0) == vfio-pci ]]'
is 'files of that name: nothing was held' "$(count MESSAGE_ID="$MSG_HELD")" 0
kill "$plain" "$fuse" "$path"
ok 'ready again' wait_for 60 says '3 ready'

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

# Removed by somebody: the same, and no rescan by us, which would hang with it.
holder=$(hold_as_user 01:00.0 labuser)
wait_for 60 says '1 assigned'
mark
trace_writes_off
watch_writes
(echo 1 >"$(pci 01:00.0)/remove") & outsider=$!
ok "an outsider's removal hangs: held" wait_for 60 says '1 held'
ok 'its remove is gone, and it is not' eval '[[ -e $(pci 01:00.0) && ! -e $(pci 01:00.0)/remove ]]'
sleep 6
ok 'the outsider hangs still' kill -0 "$outsider"
is 'no rescan, and nothing is written to it' "$(all_ours | grep -E "rescan|$(full 01:00.0)")" ''
release "$holder"
wait "$outsider"
echo "# $(field VFIOD_CAUSE MESSAGE_ID="$MSG_HELD" VFIOD_DEVICE=0000:01:00.0)"
ok 'it was told as being removed' wait_for 60 eval "field VFIOD_CAUSE MESSAGE_ID=$MSG_HELD VFIOD_DEVICE=0000:01:00.0 | grep -qE '^being-released:.*somebody removes it'"
ok 'then it is missing' wait_for 60 says '1 missing'
echo 1 >/sys/bus/pci/rescan
ok 'found again: ready' wait_for 60 says '3 ready'

stop_vfiod
finish
