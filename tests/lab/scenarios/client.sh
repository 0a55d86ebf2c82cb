#!/bin/bash
# The client that all of this is for: QEMU takes a device that check calls fine, after somebody unloaded vfio_pci and it came back.
. /lab/common.sh
reset_host
configure <<'TOML'
[device.nic]
address = "0000:01:00.0"
TOML
start_vfiod
ok 'ready' wait_for 60 says '1 ready'
mark
host_unload >/dev/null
ok 'unloaded and repaired' wait_for 60 told MESSAGE_ID="$MSG_REPAIRED" VFIOD_DEVICE=0000:01:00.0
ok 'check calls it fine' vfiodctl check 01:00.0
vfiodctl check 01:00.0 | sed 's/^/# /'
ok 'its state is ready' wait_for 60 in_state 01:00.0 ready

# A machine in the machine: its firmware finds the device and gives its registers addresses, so they are really mapped.
qmp=/run/lab/qmp
setsid qemu-system-x86_64 -no-user-config -nodefaults -display none -M q35 -m 64 -accel tcg -S -qmp "unix:$qmp,server=on,wait=off" \
    -device vfio-pci,host=0000:01:00.0,rombar=0 >/run/lab/qemu 2>&1 &
machine=$!
ok 'QEMU opens it' wait_for 60 test -S $qmp
ask() { # COMMAND…: the last one's answer
    python3 - "$qmp" "$@" <<'PY'
import json, socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.connect(sys.argv[1])
lines = stream.makefile("rw")
lines.readline()
for command in ["qmp_capabilities", *sys.argv[2:]]:
    lines.write(json.dumps({"execute": command}) + "\n")
    lines.flush()
    answer = {"event": ""}
    while "event" in answer:
        answer = json.loads(lines.readline())
print(json.dumps(answer["return"]))
PY
}
card='.[].devices[] | .. | objects | select(.id?.vendor? == 32902 and .id?.device? == 4307)'
ok 'its machine has the card' eval "ask query-pci | jq -e '$card'"
ok 'the state is assigned' wait_for 60 in_state 01:00.0 assigned
ok 'to QEMU' eval "property $(object_of 01:00.0) Device Users | grep -q qemu-system"
ask cont >/dev/null
mapped() { ask query-pci | jq -e "[$card | .regions[] | select(.address > 0)] | length > 0"; }
ok "its firmware maps the card's registers" wait_for 60 mapped
is 'it runs' "$(ask query-status | jq -r .status)" running
not_ok 'vfiod releases nothing that it has' vfiodctl release nic
ask quit >/dev/null
wait $machine
is 'QEMU ends well' "$?" 0
sed 's/^/# /' /run/lab/qemu
ok 'ready again' wait_for 60 in_state 01:00.0 ready
is 'nobody was alarmed' "$(alerts)" 0
stop_vfiod
finish
