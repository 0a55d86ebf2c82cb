#!/bin/bash
# The story that `make demo` tells, with `bold` for a terminal. Everything it prints is what the machine says.
. /lab/common.sh
reset_host
bold=$'\e[1m' plain=$'\e[0m'
[[ ${1:-} == bold ]] || bold='' plain=''
say() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
run() { printf '# %s\n' "$*"; "$@"; }

configure <<'TOML'
[device.nic0]
address = "0000:01:00.0"
id = "8086:10d3"
TOML
start_vfiod
wait_for 60 says '1 ready' || { systemctl status vfiod; exit 1; }
say 'A host keeps a network card for its virtual machines:'
run cat /etc/vfiod/vfiod.toml
run lspci -nnk -s 01:00.0
run systemctl show -p StatusText vfiod

say 'Somebody unloads vfio_pci, as hooks and controllers do:'
printf '# modprobe -r vfio_pci\n'
mark
before=$(now_ms)
modprobe -r vfio_pci
echo "exit status $?, after $(($(now_ms) - before)) ms; the card's driver is now: $(driver_of 01:00.0)"
before=$(now_ms)
wait_for 60 has_driver 01:00.0 vfio-pci || exit 1
took=$(($(now_ms) - before))
wait_for 60 says '1 ready' || exit 1

say "Back after $took ms (in a machine emulated in software). What the journal says:"
printf '# journalctl -t vfiod -o cat\n'
entries
printf '# journalctl -t vfiod -o json MESSAGE_ID=%s\n' "$MSG_REPAIRED"
journal -o json MESSAGE_ID="$MSG_REPAIRED" |
    jq -c 'with_entries(select(.key | test("^(MESSAGE|PRIORITY|VFIOD_)")))'
run lspci -nnk -s 01:00.0
run systemctl show -p StatusText vfiod
