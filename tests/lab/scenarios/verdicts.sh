#!/bin/bash
# What the daemon makes of its own checks: warnings are told when they come and when they go, and what only a check finds blocks.
. /lab/common.sh
reset_host
configure <<'TOML'
[device.nic]
address = "0000:01:00.0"
[device.other]
address = "0000:00:03.0"
TOML
start_vfiod
ok 'ready' wait_for 120 says 'ready: 2 ready'
findings() { # DEVICE: severity and code of each, as the daemon has them
    vfiodctl --json show "$1" | jq -r ".devices[\"$(full "$1")\"].findings[] | \"\(.severity) \(.code)\""
}
checked() { # DEVICE: the same of a check that is made now, without notes and what is about the whole machine
    vfiodctl --json check "$1" | jq -r '.findings[] | select(.about != "host" and .severity != "note") | "\(.severity) \(.code)"'
}
node=/dev/vfio/$(group_of 01:00.0)
told_codes() { journal -o json MESSAGE_ID="$MSG_VERDICT" VFIOD_DEVICE=0000:01:00.0 | jq -r .VFIOD_NEW | tail -n 1; }

# The daemon has no right to see addresses in /proc/iomem.
ok 'a framebuffer of the boot is found all the same' eval "vfiodctl --json check 00:01.0 | grep -q '\"framebuffer\"'"

# By itself, without being asked.
chmod 0666 "$node"
mark
systemctl restart vfiod
ok 'it checks by itself and warns' wait_for 120 told MESSAGE_ID="$MSG_VERDICT" VFIOD_DEVICE=0000:01:00.0
entries MESSAGE_ID="$MSG_VERDICT" | sed 's/^/# /'
ok 'of what a check says, too' eval '[[ $(told_codes) == *node-permissions* ]]'
is 'and it has what a check says' "$(findings 01:00.0)" "$(checked 01:00.0)"
is 'the other one as well' "$(findings 00:03.0)" "$(checked 00:03.0)"
ok 'status has it' eval "vfiodctl status | grep -q 'warnings.*node-permissions for 1 device'"
ok 'and the bus' eval "busctl get-property org.vfiod1 /org/vfiod1/device/pci_0000_01_00_0 org.vfiod1.Device Findings | grep -q node-permissions"
is 'a warning is no state' "$(status_text)" 'ready: 2 ready'
mark
systemctl restart vfiod
ok 'ready again' wait_for 60 says 'ready: 2 ready'
# The check after the start, and one more.
vfiodctl check >/dev/null
sleep 8
not_ok 'the same is not told again' told MESSAGE_ID="$MSG_VERDICT"
chmod 0600 "$node"
vfiodctl check 01:00.0 >/dev/null
ok 'it is told when it has gone' wait_for 20 told MESSAGE_ID="$MSG_VERDICT" VFIOD_DEVICE=0000:01:00.0
ok 'by its name' eval "entries MESSAGE_ID=$MSG_VERDICT | grep -q 'No longer: node-permissions'"
is 'as a notice' "$(field PRIORITY MESSAGE_ID="$MSG_VERDICT")" 5

# A node that somebody has removed: the device is bound as declared, and nobody can open it.
mark
watch_writes
# Moved away: of one made by hand the kernel knows nothing, and it would outlive the group.
mv "$node" "$node.away"
unbind 00:03.0
ok 'something else happens: it checks, and the device is blocked' wait_for 90 says '1 blocked'
ok 'for that' told MESSAGE_ID="$MSG_BLOCKED" VFIOD_DEVICE=0000:01:00.0
ok 'by its code' eval "entries MESSAGE_ID=$MSG_BLOCKED | grep -q 'node-missing: '"
actual() { python3 /lab/hold.py 0000:01:00.0 try; }
is 'and nobody can open it' "$(actual)" 'fails at open (ENOENT)'
ok 'nothing is written to it' untouched 01:00.0
mv "$node.away" "$node"
ok 'the node is back: ready by itself' wait_for 120 says 'ready: 2 ready'
is 'and it opens' "$(actual)" opens

# Another node in its place: a copy made by hand does as well as the kernel's own, until its number is nobody's any more.
read -r major minor < <(stat -c '0x%t 0x%T' "$node")
mv "$node" "$node.away"
mknod -m 0600 "$node" c "$((major))" "$((minor))"
ok 'a copy is as good' eval 'vfiodctl --json check 01:00.0 | jq -e ".devices[\"0000:01:00.0\"].assignable"'
is 'it opens' "$(actual)" opens
rm "$node"
mknod -m 0600 "$node" c "$((major))" 250
vfiodctl check 01:00.0 >/dev/null
ok 'another number: blocked' wait_for 120 says '1 blocked'
is 'as a check says' "$(vfiodctl --json check 01:00.0 | jq -r '.findings[] | select(.severity == "blocker").code')" node-missing
is 'how it fails is predicted' "$(vfiodctl check 01:00.0 | grep -o 'fails at [a-z]* ([A-Z]*)' | head -n 1)" "$(actual)"
mv "$node.away" "$node"
ok 'ready again' wait_for 120 says 'ready: 2 ready'
trace_writes_off
is 'nobody was alarmed' "$(alerts)" 0
stop_vfiod
finish
