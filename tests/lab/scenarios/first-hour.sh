#!/bin/bash
# The first hour of somebody who has just installed vfiod: the README from top to bottom, then the examples of the man pages, with
# somebody else's modprobe -r in the middle. Each command is printed with all of its output, to be read by a person; what must be
# in it, and what would contradict another command, is checked behind it.
. /lab/common.sh
reset_host
# As on a terminal of 100 columns.
export COLUMNS=100 LINES=50 LC_ALL=C.UTF-8 SYSTEMD_PAGER=cat

# As make install does on a host.
journalctl --update-catalog

# ---- as typed --------------------------------------------------------------------------------------------------------------
typed() { # COMMAND: printed with its output, which is in said then, and its status in ended
    printf '\n# %s\n' "$1"
    ended=0
    said=$(eval "$1" 2>&1 </dev/null) || ended=$?
    [[ -z $said ]] || printf '%s\n' "$said"
    ((ended == 0)) || printf '[exit status %s]\n' "$ended"
    command=$1
    # What nobody should ever read, whatever was asked.
    if grep -nE 'panicked|Some\(|Err\(|RUST_BACKTRACE|\b1 (devices|entries|groups|files|times|functions|warnings|blockers|notes)\b' <<<"$said"; then
        fail "$command: no slip of the program's in what it says"
    fi
}
ends() { is "$command: ends with $1" "$ended" "$1"; } # STATUS
says_that() { # TEXT…: each of them is in what was said, however the lines are broken
    local text flat
    flat=$(tr -s ' \n' ' ' <<<"$said")
    for text; do [[ $flat == *"$text"* ]] || { fail "$command: says '$text'"; return; }; done
    pass "$command: says $*"
}
says_not() { # REGEX
    if grep -qE "$1" <<<"$said"; then fail "$command: does not say '$1'"; else pass "$command: does not say '$1'"; fi
}
# What each command says of a device: list's, show's and the bus' state, and groups' of its group.
agreed() { # ADDRESS STATE GROUP-STATE
    local device place list show groups
    lab_device "$1"
    list=$(vfiodctl list | awk -v device="$device" '$1 == device { for (n = NF; n; n--) if ($n ~ /^[●○]$/) { print $(n + 1); exit } }')
    show=$(vfiodctl show "$device" | awk '$1 == "State:" { print $NF; exit }')
    groups=$(vfiodctl groups "$device" | awk 'NR == 2 { print ($2 ~ /^[●○]$/) ? $3 : $2 }')
    is "$device is the same to list, show and groups" "$list $show $groups" "$2 $2 $3"
    ! is_active || is 'and on the bus' "$(state "$1")" "s \"$2\""
}
# "N lost, N brought back": as many.
lost_and_back() {
    local line
    line=$(vfiodctl status | grep 'this boot')
    [[ $line =~ \ ([0-9]+)\ lost,\ ([0-9]+)\ brought ]] && is 'status counts as many lost as brought back' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
}

# ---- before anything is declared ---------------------------------------------------------------------------------------------
typed 'vfiodctl'
ends 3
says_that 'vfiod does not run' 'systemctl start vfiod'
typed 'vfiodctl list --all'
ends 0
typed 'vfiodctl groups'
ends 0
says_that host shared
says_not 'in the way'
typed 'vfiodctl check 01:00.0'
ends 0
says_that 'could be passed through'
says_not 'in the way|not viable'
typed 'vfiodctl config generate'
ends 0
says_that 'Nothing is on VFIO'

# ---- vfiodctl(1): begin with what is on VFIO today ---------------------------------------------------------------------------------
bind_vfio 01:00.0
mkdir -p /etc/vfiod/conf.d
typed 'vfiodctl config generate >/etc/vfiod/conf.d/50-today.toml'
ends 0
typed 'cat /etc/vfiod/conf.d/50-today.toml'
says_that 0000:01:00.0 8086:10d3
typed 'vfiodctl config check'
ends 0
typed 'vfiodctl list'
agreed 01:00.0 ready ready
rm /etc/vfiod/conf.d/50-today.toml
unpin 01:00.0

# ---- README: install it, configure it ------------------------------------------------------------------------------------------
configure <<'TOML'
[device.nic0]
adress = "0000:01:00.0"
TOML
typed 'vfiod check-config'
ends 78
says_that /etc/vfiod/vfiod.toml:2 adress 'nearest is' address
typed 'vfiodctl config check'
ends 1
says_that /etc/vfiod/vfiod.toml:2
create_vfs 2
configure <<'TOML'
[device.nic0]
address = "0000:01:00.0"
id = "8086:10d3"

[device.card]
address = "0000:05:00"       # no function: all functions of the card, all or none
id = "8086:10d3"             # another card at this address is left alone

[device.disks]
pf = "0000:02:00.0"          # virtual functions by index
vf = "0-1"
TOML
typed 'cat /etc/vfiod/vfiod.toml'
typed 'vfiod check-config'
ends 0
typed 'vfiodctl config check'
ends 0
typed 'vfiodctl plan'
ends 1
typed 'systemctl start vfiod'
ends 0
typed 'vfiodctl wait --timeout 1min'
ends 0
typed 'systemctl status vfiod --no-pager -n 0 | head -n 8'
says_that 'ready: 3 ready'
typed 'journalctl -t vfiod -x --no-pager -o short'
says_that 'nic0' 'Subject:'
ready_everywhere() {
    agreed 01:00.0 ready ready
    agreed 05:00.0 ready ready
    agreed 05:00.1 ready ready
    agreed 02:00.1 ready ready
}

# ---- README: ask it --------------------------------------------------------------------------------------------------------
typed 'vfiodctl'
ends 0
says_that 'ready: 3 of 3 entries are ready'
typed 'vfiodctl list'
ends 0
typed 'vfiodctl list --all'
ends 0
typed 'vfiodctl groups'
ends 0
says_not 'in the way'
typed 'vfiodctl show nic0'
ends 0
says_that 'State: ● ready' 'Kernel driver in use: vfio-pci'
typed 'vfiodctl show 00:03.0'
ends 0
says_not 'in the way'
typed 'vfiodctl show card --libvirt'
ends 0
is 'one element for each function' "$(grep -c '<hostdev' <<<"$said")" 2
ready_everywhere
typed 'vfiodctl check'
ends 0
typed 'vfiodctl check nic0'
ends 0
typed 'vfiodctl check 00:03.0'
ends 0
says_not 'in the way|not viable'
typed 'vfiodctl plan'
ends 0
says_that 'nothing to do'
typed 'vfiodctl repair'
ends 0
typed 'vfiodctl load'
ends 0
typed 'vfiodctl history'
ends 0
typed 'busctl tree org.vfiod1'
says_that pci_0000_01_00_0
typed 'busctl get-property org.vfiod1 /org/vfiod1/device/pci_0000_01_00_0 org.vfiod1.Device State'
says_that 's "ready"'
typed 'vfiodctl status --json | jq -r .health'
says_that ready

# ---- somebody else unloads it ------------------------------------------------------------------------------------------------
mark
typed 'systemd-run -q --wait --unit=backup modprobe -r vfio_pci'
ends 0
wait_for 60 told MESSAGE_ID="$MSG_MODULE_RESTORED"
typed 'vfiodctl wait --timeout 1min'
ends 0
typed 'vfiodctl'
ends 0
ready_everywhere
lost_and_back
typed 'vfiodctl history'
ends 0
says_that backup.service
is 'no line of the history says who twice' "$(grep -cE 'backup\.service.*backup\.service' <<<"$said")" 0
typed 'vfiodctl history -n 1'
is 'one line' "$(wc -l <<<"$said")" 1
typed 'vfiodctl show nic0'
says_that 'Lost: once' backup.service
typed "journalctl -t vfiod --no-pager -o cat --since=$since"
typed "journalctl -t vfiod --no-pager -o short MESSAGE_ID=$MSG_MODULE_LOST VFIOD_MODULE=vfio_pci"
says_that 'vfio_pci' backup.service
typed 'journalctl -t vfiod --no-pager -o short VFIOD_BY_UNIT=backup.service'
says_that 'unloaded by modprobe'

# ---- README: what it will never do; a device in use -----------------------------------------------------------------------------
holder=$(hold_as_user 01:00.0 labuser)
wait_for 60 in_state 01:00.0 assigned
typed 'vfiodctl'
ends 0
typed 'vfiodctl list'
agreed 01:00.0 assigned ready
typed 'vfiodctl show nic0'
says_that python3
typed 'vfiodctl check nic0'
typed 'vfiodctl release nic0'
ends 1
says_that python3
release "$holder"
wait_for 60 in_state 01:00.0 ready

# ---- vfiodctl(1): a firmware update -----------------------------------------------------------------------------------------
typed 'vfiodctl release nic0'
ends 0
says_that 'on e1000e'
typed 'vfiodctl'
typed 'vfiodctl list'
typed 'vfiodctl show nic0'
says_that 'State: ○ released'
agreed 01:00.0 released host
typed 'vfiodctl plan'
typed 'vfiodctl wait --timeout 1s'
ends 0
typed "vfiodctl hold nic0 --why 'firmware update' -- lspci -ks 01:00.0"
ends 0
says_that e1000e
typed 'vfiodctl adopt nic0'
ends 0
agreed 01:00.0 ready ready
typed 'vfiodctl history -n 6'

# ---- README: hold and unhold --------------------------------------------------------------------------------------------------
typed "vfiodctl hold nic0 --why 'firmware update' --for 1h"
ends 0
number=${said##* }
typed 'vfiodctl'
ends 0
says_that "hold $number on nic0" 'firmware update'
typed 'echo 0000:01:00.0 >/sys/bus/pci/devices/0000:01:00.0/driver/unbind'
wait_for 60 in_state 01:00.0 held
typed 'vfiodctl'
ends 1
says_that "vfiodctl unhold" "hold $number"
typed 'vfiodctl list'
typed 'vfiodctl show nic0'
agreed 01:00.0 held unbound
typed 'vfiodctl check nic0'
ends 0
typed 'vfiodctl plan'
ends 1
says_that "hold $number"
typed 'vfiodctl repair nic0'
ends 1
typed 'vfiodctl wait nic0 --timeout 1s'
ends 1
typed "vfiodctl unhold $number"
ends 0
typed 'vfiodctl wait nic0 --timeout 1min && echo virsh start win11'
ends 0
typed 'vfiodctl hold card --why "reading the flash" --for 10min'
typed 'vfiodctl hold module:vfio_pci --why "a new driver" --for 10min'
typed 'vfiodctl'
typed 'vfiodctl unhold card'
ends 0
typed 'vfiodctl unhold module:vfio_pci'
ends 0
typed 'vfiodctl unhold nic0'
ends 4
typed "vfiodctl hold all --why 'a look around' -- sh -c 'vfiodctl status; exit 7'"
ends 7
says_that 'a look around'
lost_and_back
typed 'vfiodctl reset-failed'
ends 0
typed 'vfiodctl reload'
ends 0
typed 'timeout 1 vfiodctl monitor'
typed 'vfiodctl history'
typed 'vfiodctl show nic0'

# ---- mistakes that everybody makes -------------------------------------------------------------------------------------------
typed 'vfiodctl show nic1'
ends 4
says_that 'did you mean nic0'
typed 'vfiodctl show 01:00.7'
ends 4
typed 'vfiodctl lst'
ends 2
typed 'vfiodctl hold nic0 --for 1h'
ends 2
typed 'setpriv --reuid=labuser --regid=labuser --clear-groups vfiodctl repair'
ends 5
typed 'setpriv --reuid=labuser --regid=labuser --clear-groups vfiodctl list'
ends 0
typed 'setpriv --reuid=labuser --regid=labuser --clear-groups vfiodctl check nic0'

# ---- vfiodctl(1): a snapshot -----------------------------------------------------------------
typed 'vfiodctl config show'
ends 0
typed 'vfiodctl config generate'
ends 0
says_that 0000:01:00.0 0000:05:00
cd /root || exit 1
typed 'vfiodctl snapshot report.tar'
ends 0
typed 'vfiodctl snapshot report.tar'
not_ok 'a file that is there is not replaced' [ "$ended" = 0 ]
typed 'tar -xf report.tar && ls vfiod-snapshot'
ends 0
for verb in status list 'list --all' groups 'show nic0' 'show card --libvirt' check 'check nic0' plan 'config check' 'config show' 'config generate'; do
    typed "vfiodctl --root vfiod-snapshot $verb"
done
typed 'vfiodctl --root vfiod-snapshot history'
ends 2
is 'list is the same of the snapshot' "$(vfiodctl --root vfiod-snapshot list 2>/dev/null)" "$(vfiodctl list)"
is 'groups is the same of the snapshot' "$(vfiodctl --root vfiod-snapshot groups 2>/dev/null)" "$(vfiodctl groups)"
rm -r report.tar vfiod-snapshot

# ---- and it is stopped ---------------------------------------------------------------------------------------------------------
stop_vfiod
typed 'vfiodctl'
ends 3
typed 'vfiodctl list'
ends 0
says_that ready
typed 'vfiodctl repair'
ends 3
ok 'what is on vfio-pci stays there' has_driver 01:00.0 vfio-pci

finish
