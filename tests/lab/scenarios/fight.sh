#!/bin/bash
# An opponent unloads vfio_pci every second, with the default configuration: vfiod stops, says so once, and waits for its probe.
. /lab/common.sh
reset_host
configure <<'TOML'
[device.nic0]
address = "0000:01:00.0"
TOML
start_vfiod
ok 'ready' wait_for 60 says '1 ready'
mark
watch_writes
(while :; do modprobe -r vfio_pci; sleep 1; done) >/dev/null 2>&1 &
opponent=$!
ok 'the breaker opens' wait_for 90 told MESSAGE_ID="$MSG_FIGHTING"
loads=$(trace_writes | grep -c 'module_load.*vfio_pci ')
losses=$(count MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci)
echo "# losses told before: $losses, loads: $loads"
ok 'it was repaired before' test "$loads" -ge 3
sleep 20
is 'no further modprobe' "$(trace_writes | grep -c 'module_load.*vfio_pci ')" "$loads"
is 'exactly one alert' "$(alerts)" 1
is 'after the configured incidents' "$(jq -r '.memory.pace["module:vfio_pci"].incidents | length' /run/vfiod/memory.json)" 5
ok 'the status says so' says '1 fighting'
systemctl restart vfiod
sleep 5
is 'a restart does not forget it' "$(trace_writes | grep -c 'module_load.*vfio_pci ')" "$loads"
is 'nor raises a second alert' "$(alerts)" 1
kill "$opponent"
stop_vfiod
finish
