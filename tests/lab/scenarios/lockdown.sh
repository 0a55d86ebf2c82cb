#!/bin/bash
# A kernel that locks itself down: what is signed is kept, what is not is refused once, and who unloads is unknown where nobody may
# trace. Only a reboot ends a lockdown: this is the last scenario in its machine.
. /lab/common.sh
reset_host
lockdown=/sys/kernel/security/lockdown
last() { journal -o cat MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci | tail -n 1; }
note() { # whether a check says so: a note about the host, with the word from the kernel
    vfiodctl check --json | jq -e --arg mode "$1" '.findings[] | select(.code == "lockdown" and .severity == "note" and .about == "host")
        | .evidence | any(.value | contains($mode))'
}
configure <<'TOML'
[watch]
interval = "1s"
[device.nic0]
address = "0000:01:00.0"
TOML
start_vfiod
ok 'ready' wait_for 60 says 'ready: 1 ready'
ok 'a machine that is not locked down has no note' eval '! note none && ! note integrity'

echo integrity >$lockdown
is 'integrity' "$(<$lockdown)" 'none [integrity] confidentiality'
ok 'integrity: noted' note integrity
mark
ok 'integrity: somebody unloads' modprobe -r vfio_pci
ok 'integrity: a signed module is loaded again' wait_for 60 told MESSAGE_ID="$MSG_REPAIRED" VFIOD_DEVICE=0000:01:00.0
is 'integrity: whoever unloaded is named' "$(field VFIOD_BY_COMM MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci)" modprobe

# The same module without its signature.
file=$(modinfo -n vfio_pci)
cp "$file" /run/lab/signed
python3 - "$file" <<'PY'
import lzma, sys
data = open(sys.argv[1], "rb").read()
data = lzma.decompress(data) if data.startswith(b"\xfd7zXZ") else data
mark = b"~Module signature appended~\n"
assert data.endswith(mark)
# Before the mark stands what kind of signature it is, twelve bytes, the last four of which are its length.
end = len(data) - len(mark)
open("/run/lab/unsigned", "wb").write(data[: end - 12 - int.from_bytes(data[end - 4 : end], "big")])
PY
ok 'without its signature it is another file' not_ok_quiet cmp -s /run/lab/unsigned "$file"
mark
modprobe -r vfio_pci && cp /run/lab/unsigned "$file"
ok 'unsigned: blocked' wait_for 60 told MESSAGE_ID="$MSG_MODULE_BLOCKED" VFIOD_MODULE=vfio_pci
echo "# $(field VFIOD_CAUSE MESSAGE_ID="$MSG_MODULE_BLOCKED" VFIOD_MODULE=vfio_pci)"
is 'unsigned: the module is absent' "$(field VFIOD_NEW MESSAGE_ID="$MSG_MODULE_BLOCKED" VFIOD_MODULE=vfio_pci)" absent
ok 'unsigned: with the reason' eval '[[ $(field VFIOD_CAUSE MESSAGE_ID="$MSG_MODULE_BLOCKED" VFIOD_MODULE=vfio_pci) == *"locked down"* ]]'
ok 'unsigned: the device is blocked' wait_for 60 told MESSAGE_ID="$MSG_BLOCKED" VFIOD_DEVICE=0000:01:00.0
sleep 5
is 'unsigned: told once' "$(count MESSAGE_ID="$MSG_MODULE_BLOCKED" VFIOD_MODULE=vfio_pci)" 1
cp /run/lab/signed "$file"
# As depmod leaves it, in a fraction of the time: the same text, another time.
touch "${file%%/kernel/*}/modules.dep"
ok 'unsigned: recovers when it is signed again' wait_for 60 says 'ready: 1 ready'

# Where nobody may read a trace.
echo confidentiality >$lockdown
is 'confidentiality' "$(<$lockdown)" 'none integrity [confidentiality]'
ok 'confidentiality: noted' note confidentiality
mark
systemctl restart vfiod
ok 'confidentiality: ready' wait_for 60 says 'ready: 1 ready'
ok 'confidentiality: it says that nobody can be seen' wait_for 60 told MESSAGE_ID="$MSG_UNWITNESSED"
ok 'confidentiality: and why' eval '[[ $(entries MESSAGE_ID="$MSG_UNWITNESSED") == *"(the kernel is locked down for confidentiality)" ]]'
mark
ok 'confidentiality: somebody unloads' modprobe -r vfio_pci
ok 'confidentiality: it is repaired' wait_for 60 told MESSAGE_ID="$MSG_REPAIRED" VFIOD_DEVICE=0000:01:00.0
ok 'confidentiality: by whom is unknown' eval '[[ $(last) == *"unloaded by unknown"* ]]'
is 'confidentiality: nobody is named' "$(field VFIOD_BY_PID MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci)" ''
is 'confidentiality: no alert' "$(alerts)" 0
finish
