#!/bin/bash
# vfiodctl where no daemon runs: what is on VFIO becomes a configuration; what is lost is planned and nothing is written; and while
# a device's unbind hangs the answer comes all the same.
. /lab/common.sh

# Writes by anything that vfiodctl starts, and loads by anybody: the scenario itself loads nothing while it is traced.
written() { trace_writes | grep -E '^[0-9.]+ ((vfiodctl|vfiod|vfiod-look|tokio[^[]*)\[|[^ ]* module_load vfio)'; }
writes_nothing() { local said; said=$(written); [[ -z $said ]] || { echo "$said"; return 1; }; }
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
status_of() { "$@" >/run/lab-said 2>&1; echo $?; }

reset_host
bind_vfio 01:00.0
bind_to 05:00.0 vfio-pci
watch_writes
vfiodctl list 2>/dev/null | sed 's/^/# /'
is 'what is on VFIO is listed' "$(vfiodctl --json list 2>/dev/null | jq -r '[.devices[].address] | join(" ")')" '0000:01:00.0 0000:05:00.0'
is 'its name is the system'"'"'s' "$(vfiodctl --json show 01:00.0 2>/dev/null | jq -r '.devices[].description')" \
    "$(lspci -s 01:00.0 -mm | awk -F'"' '{ print $4 " " $6 }')"
is 'as many functions as lspci has' "$(vfiodctl --json list --all 2>/dev/null | jq '.devices | length')" "$(lspci | wc -l)"
is 'as many groups as the kernel has' "$(as_nobody vfiodctl --json groups | jq '.groups | length')" \
    "$(find /sys/kernel/iommu_groups -mindepth 1 -maxdepth 1 | wc -l)"

vfiodctl config generate 2>/dev/null | tee /run/lab-generated | sed 's/^/# /'
configure </run/lab-generated
ok 'what is generated is right' vfiodctl config check
is 'and it names what is on VFIO' "$(vfiodctl --json config show | jq -r '[.settings.desired.entries[].select | .address // .slot] | map(tostring) | length')" 2
configure <<'TOML'
[device.nic]
address = "0000:01:00.0"
TOML
is 'nothing is to be done' "$(status_of vfiodctl plan)" 0

unbind 01:00.0
is 'a loss is planned, as root' "$(status_of vfiodctl plan)" 1
ok 'with its steps' grep -q 'bind to vfio-pci' /run/lab-said
is 'a user is answered, too' "$(status_of as_nobody vfiodctl plan)" 1
sed 's/^/# /' /run/lab-said
host_unload >/dev/null
is 'and a module that is gone' "$(status_of vfiodctl plan)" 1
ok 'with its load' grep -q 'load vfio_pci' /run/lab-said
is 'asking the daemon is unreachable' "$(status_of vfiodctl status)" 3
ok 'nothing was written' writes_nothing
trace_writes_off

# On 6.1 reading the override of a device whose unbind waits for its holder never returns: a reader is left behind, the answer comes.
reset_host
configure <<'TOML'
[device.nic]
address = "0000:01:00.0"
TOML
bind_vfio 01:00.0
holder=$(hold_as_user 01:00.0 1000)
(unbind 01:00.0 2>/dev/null) &
hung=$!
wait_for 60 grep -q vfio "/proc/$hung/stack" || fail 'the unbind hangs'
begin=$(now_ms)
is 'while an unbind hangs there is a plan' "$(status_of timeout 120 vfiodctl plan)" 1
echo "# it took $(($(now_ms) - begin)) ms"
sed 's/^/# /' /run/lab-said
release "$holder"
wait "$hung"

# A file that the probe of a driver removes, under the lock that a read of it takes: reader and probe would wait for each other for
# ever, and whoever loads, binds or shuts down with them. It is there until a device has its first driver, as at boot.
reset_host
echo 'blacklist e1000e' >/etc/modprobe.d/lab.conf
udevadm control --reload
appear() { # without a driver
    modprobe -r e1000e
    echo 1 >"$(pci 01:00.0)/remove"
    echo 1 >/sys/bus/pci/rescan
    udevadm settle
}
appear
names_of() { find "$(pci 01:00.0)/" -mindepth 1 -printf '%P\n' | sort; }
names_of >/run/lab/before
modprobe e1000e
udevadm settle
ok 'a driver has it' has_driver 01:00.0 e1000e
gone=$(names_of | comm -23 /run/lab/before -)
is 'what a probe removes' "$gone" waiting_for_supplier
appear
ok 'it is there again' test -e "$(pci 01:00.0)/$gone"
trace_opens() { rm -f /run/lab/strace; strace -f -qq -e trace=open,openat,openat2 -o /run/lab/strace "$@"; } # COMMAND… or -p PID
opened() { # NAME: what has been opened by that name
    grep -oE '"[^"]*"' /run/lab/strace | grep -E "[\"/]$1\"" | sort -u
}
leaves_alone() { local read; read=$(opened "$gone"); [[ -z $read ]] || { echo "$read"; return 1; }; }
looked() { # NAME: what was traced has read the function, and not that
    ok "$1 reads what there is of it" test -n "$(opened reset_method)"
    ok "$1 leaves that alone" leaves_alone
}
trace_opens vfiodctl check 01:00.0 >/run/lab-said 2>&1
looked 'a check'
trace_opens vfiodctl snapshot --force /run/lab/saved.tar >/run/lab-said 2>&1
looked 'a snapshot'
configure <<'TOML'
[device.nic]
address = "0000:01:00.0"
TOML
start_vfiod
# A check that has begun before is answered to all who ask meanwhile.
ok 'the daemon makes its first check' vfiodctl check 01:00.0
pid=$(main_pid)
trace_opens -p "$pid" &
traced=$!
ok 'it is traced' wait_for 60 is_traced "$pid"
ok 'the daemon makes a check' vfiodctl check 01:00.0
pkill -P "$traced" strace
wait "$traced" 2>/dev/null
looked 'the daemon'
stop_vfiod
rm /etc/modprobe.d/lab.conf
udevadm control --reload
modprobe e1000e
reset_host
finish
