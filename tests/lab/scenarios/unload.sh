#!/bin/bash
# Somebody else unloads vfio_pci, ten times: it ends well each time, and all is back within twice a bare modprobe and the quiet time.
. /lab/common.sh
reset_host

modprobe vfio-pci
bare=$(for _ in 1 2 3 4 5; do modprobe -r vfio_pci; before=$(now_ms); modprobe vfio-pci; echo $(($(now_ms) - before)); done | sort -n | sed -n 3p)
echo "# a bare modprobe vfio-pci: $bare ms (median of 5)"

back() { # ADDRESS…: waits for the driver links, prints how long it took in ms
    python3 - "$@" <<'PY'
import os, sys, time
begin = time.monotonic()
links = [f"/sys/bus/pci/devices/0000:{a}/driver" for a in sys.argv[1:]]
while not all(os.path.islink(l) and os.readlink(l).endswith("/vfio-pci") for l in links):
    if time.monotonic() - begin > 60:
        print(60000); sys.exit(1)
    time.sleep(0.002)
print(int((time.monotonic() - begin) * 1000))
PY
}
rounds() { # NUMBER LIMIT NAME
    local times=() codes='' n
    for ((n = 0; n < $1; n++)); do
        codes+="$(host_unload) "
        times+=("$(back 00:03.0 01:00.0)") || break
        wait_for 60 says ready:
        # Away from the poll and from what the last round left to settle.
        sleep "0.$((RANDOM % 9 + 1))"
    done
    local middle
    middle=$(printf '%s\n' "${times[@]}" | sort -n | sed -n "$(($1 / 2))p")
    echo "# $3: ${times[*]} ms, median $middle, limit $2"
    is "$3: as many rounds as there should be" "${#times[@]}" "$1"
    ok "$3: the outsider's modprobe -r succeeds each time" test -z "${codes//0 /}"
    ok "$3: back within the limit" test "$middle" -le "$2"
    ok "$3: the modules are live" eval 'module_live vfio_pci && module_live vfio_pci_core && module_live vfio_iommu_type1'
}

entries_toml='[device.nic0]
address = "0000:01:00.0"
[device.nic1]
address = "0000:00:03.0"'
configure <<TOML
[repair]
breaker = { incidents = 1000 }
$entries_toml
TOML
start_vfiod
ok 'declared devices are bound at start' wait_for 60 says 'ready: 2 ready'
mark
rounds 10 $((2 * bare + 100)) 'woken by events'
ok 'each loss of the module is told' test "$(count MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci)" -eq 10
ok 'each return of the module is told with its duration' test "$(count MESSAGE_ID="$MSG_MODULE_RESTORED" VFIOD_MODULE=vfio_pci)" -eq 10
ok 'the duration is a number' test "$(field VFIOD_LATENCY_USEC MESSAGE_ID="$MSG_MODULE_RESTORED" VFIOD_MODULE=vfio_pci)" -gt 0
is 'nothing else in the host was alarmed' "$(alerts)" 0

configure <<TOML
[watch]
uevents = false
interval = "1s"
[repair]
breaker = { incidents = 1000 }
$entries_toml
TOML
ok 'the daemon reloads' reload_vfiod
wait_for 20 told MESSAGE_ID="$MSG_RELOADED"
rounds 10 $((1000 + 2 * bare + 100)) 'polling only'
stop_vfiod
finish
