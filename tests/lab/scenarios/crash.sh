#!/bin/bash
# SIGKILL at any moment, twenty times while drift is injected, also right after a write: all converges, nothing is lost.
. /lab/common.sh
reset_host
configure <<'TOML'
[watch]
interval = "1s"
[repair]
breaker = { incidents = 1000 }
[device.nic0]
address = "0000:01:00.0"
[device.nic1]
address = "0000:00:03.0"
TOML
start_vfiod
ok 'ready' wait_for 60 says '2 ready'
watch_writes
codes=''
for n in $(seq 20); do
    case $((n % 4)) in
    0) codes+="$(host_unload) " ;;
    1) unbind 01:00.0 2>/dev/null ;;
    2) bind_to 00:03.0 e1000e 2>/dev/null ;;
    3) unbind 00:03.0 2>/dev/null; unbind 01:00.0 2>/dev/null ;;
    esac
    if ((n % 5 == 0)); then
        # Right after a write: as soon as its effect is seen.
        wait_for 60 eval 'has_driver 01:00.0 vfio-pci && has_driver 00:03.0 vfio-pci'
    else
        sleep "0.$(printf '%03d' $((RANDOM % 600)))"
    fi
    crash_vfiod
    wait_for 60 is_back
done
ok 'after twenty times: converges' wait_for 90 says '2 ready'
ok 'bound' eval 'has_driver 01:00.0 vfio-pci && has_driver 00:03.0 vfio-pci'
ok 'modules live' eval 'module_live vfio_pci && module_live vfio_iommu_type1'
ok "the outsider's modprobe -r never failed" test -z "${codes//0 /}"
vfio_unbinds=$(all_ours | grep -E ' unbind .*on="vfio-pci"')
is 'vfiod unbound nothing from vfio-pci' "$vfio_unbinds" ''
ok 'no actor is left' wait_for 60 eval '! pgrep vfiod-act'
ok 'no intent is left' eval '[[ -z $(ls /run/vfiod/acts) ]]'
is 'no complaint about damaged state' "$(entries MESSAGE_ID="$MSG_STATE_TROUBLE")" ''
trace_writes_off

# A back-off that was under way is not forgotten: the load fails for a reason that no file tells.
stop_vfiod
reset_host
bind_vfio 01:00.0
modprobe -r vfio_pci
configure <<'TOML'
[repair]
backoff = { first = "20s", max = "60s" }
[device.nic0]
address = "0000:01:00.0"
TOML
# modprobe that cannot find the file: the tree lists it, the file is gone.
file=$(modinfo -n vfio_pci)
mv "$file" "$file.away"
start_vfiod
ok 'a load that cannot succeed fails' wait_for 60 told MESSAGE_ID="$MSG_REPAIR_FAILED" VFIOD_MODULE=vfio_pci
pace() { jq -c '.memory.pace["module:vfio_pci"] | [.failures, .not_before]' /run/vfiod/memory.json; }
ok 'it is tried again, and fails again' wait_for 60 eval '[[ $(pace) == "[2,"* ]]'
before=$(pace)
crash_vfiod
wait_for 60 is_back
wait_for 60 says degraded
sleep 2
is 'after a SIGKILL the wait goes on' "$(pace)" "$before"
mv "$file.away" "$file"
ok 'and it recovers when it can' wait_for 90 says '1 ready'

# Damaged state is said, and run on.
stop_vfiod
echo '{' >/run/vfiod/memory.json
mark
start_vfiod
ok 'damaged memory: runs on' wait_for 60 says '1 ready'
ok 'damaged memory: said' told MESSAGE_ID="$MSG_STATE_TROUBLE"
stop_vfiod
finish
