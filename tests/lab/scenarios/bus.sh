#!/bin/bash
# Over the system bus, with the real dbus-daemon or dbus-broker and the real polkitd: what happens is seen, who may do what, and
# what ends with its owner.
. /lab/common.sh
reset_host
device=$(object_of 01:00.0)
manager() { busctl --expect-reply=yes call org.vfiod1 /org/vfiod1/manager org.vfiod1.Manager "$@"; }
as_user() { setpriv --reuid=labuser --regid=labuser --clear-groups "$@"; }
user_manager() { as_user busctl call org.vfiod1 /org/vfiod1/manager org.vfiod1.Manager "$@"; }

configure <<'TOML'
[repair]
breaker = { incidents = 1000 }
[device.nic0]
address = "0000:01:00.0"
id = "8086:10d3"
[device.nic1]
address = "0000:00:03.0"
TOML
start_vfiod
ok 'ready' wait_for 60 says '2 ready'
pass "the bus is served by $(busctl --json=short list | jq -r '.[] | select(.name == "org.freedesktop.DBus") | .process // "?"' | head -n 1), $(ps -o comm= -C dbus-daemon,dbus-broker | sort -u | tr '\n' ' ')"
ok 'the name is owned' wait_for 60 busctl status org.vfiod1
is 'State of a device' "$(state 01:00.0)" 's "ready"'
ok 'busctl tree shows the objects' eval 'busctl tree --list org.vfiod1 | grep -q /org/vfiod1/entry/nic0'
ok 'busctl introspect shows documented properties' eval 'busctl introspect org.vfiod1 /org/vfiod1/manager org.vfiod1.Manager | grep -q IntervalUSec'

ok 'whoever waits for readiness goes on' timeout 30 systemctl start vfiod-wait-ready
ok 'vfiodctl says that all is ready' vfiodctl
ok 'so it says to a user' as_user vfiodctl list
systemctl stop vfiod-wait-ready

# ---- what happens is seen ------------------------------------------------------------------------------------------------
signals=/run/lab-signals
busctl monitor --json=short --match "type='signal',sender='org.vfiod1'" --match "type='signal',path='/lab'" >$signals 2>/dev/null &
monitor=$!
# It listens once it hears us.
wait_for 60 eval "busctl emit /lab org.lab Here; grep -q '\"member\":\"Here\"' $signals" || fail 'the monitor hears'
host_unload >/dev/null
ok 'after modprobe -r it is ready again' wait_for 60 in_state 01:00.0 ready
ok 'the loss was signalled' wait_for 60 grep -q '"member":"Drifted"' $signals
ok 'the repair was signalled' wait_for 60 grep -q '"member":"Repaired"' $signals
ok 'State passed through drift' wait_for 60 eval "grep -E '\"State\":\{\"type\":\"s\",\"data\":\"(drifted|repairing)\"' $signals | grep -q pci_0000_01_00_0"
ok 'and was ready in the end' wait_for 60 eval "grep '\"State\":{\"type\":\"s\",\"data\":\"ready\"' $signals | grep -q pci_0000_01_00_0"
# What there was to tell has been told once nothing came for a while.
quiet() { local had; had=$(stat -c %s $signals); sleep 5; [[ $(stat -c %s $signals) == "$had" ]]; }
wait_for 60 quiet
: >$signals
sleep 60
is '60 s at rest: no signal' "$(wc -l <$signals)" 0
kill $monitor

holder=$(hold_as_user 01:00.0 labuser)
ok 'assigned while somebody who is not root has it open' wait_for 60 in_state 01:00.0 assigned
ok 'and who' eval "property $device Device Users | grep -q python3"
ok 'it is not released meanwhile' eval "! busctl call org.vfiod1 $device org.vfiod1.Device Release 'a{sv}' 0 2>/run/lab-error && grep -q 'in use' /run/lab-error"
has_driver 01:00.0 vfio-pci || fail 'the device in use stays where it is'
release "$holder"
ok 'ready when it is closed' wait_for 60 in_state 01:00.0 ready

# ---- who may do what -----------------------------------------------------------------------------------------------------
ok 'an unprivileged user reads a property' as_user busctl get-property org.vfiod1 "$device" org.vfiod1.Device State
ok 'and everything at once' as_user busctl call org.vfiod1 /org/vfiod1 org.freedesktop.DBus.ObjectManager GetManagedObjects
ok 'and the plan' user_manager Plan 'a{sv}' 0
for call in 'Repair asa{sv} 0 0' 'LoadModules asa{sv} 0 0' 'Pass a{sv} 0' 'ResetFailed sa{sv} all 0' 'Reload a{sv} 0' 'Unhold ta{sv} 1 0' \
    'Hold sssta{sv} all me because 60 0' 'Inhibit sssa{sv} all me because 0'; do
    # shellcheck disable=SC2086 # words
    not_ok "an unprivileged user may not ${call%% *}" user_manager $call
done
not_ok 'nor release' as_user busctl call org.vfiod1 "$device" org.vfiod1.Device Release 'a{sv}' 0
ok 'and nothing is held' no_holds
cat >/etc/polkit-1/rules.d/10-lab.rules <<'JS'
polkit.addRule(function(action, subject) {
    if (action.id == "org.vfiod1.repair" && subject.user == "labuser") { return polkit.Result.YES; }
});
JS
ok 'a user whom polkit authorises may repair' wait_for 60 user_manager Repair 'asa{sv}' 0 0
not_ok 'but not release' as_user busctl call org.vfiod1 "$device" org.vfiod1.Device Release 'a{sv}' 0
rm /etc/polkit-1/rules.d/10-lab.rules

systemctl start polkit
pkill -STOP polkitd
ok 'root repairs while polkitd hangs' manager Repair 'asa{sv}' 0 0
begin=$EPOCHSECONDS
(user_manager Repair 'asa{sv}' 0 0 >/run/lab-denied 2>&1; echo "$?" >>/run/lab-denied) &
denied=$!
ok 'properties answer meanwhile' in_state 01:00.0 ready
unbind 00:03.0
ok 'and drift is repaired' wait_for 60 has_driver 00:03.0 vfio-pci
wait $denied
is 'a user is denied when polkitd does not answer' "$(tail -n 1 /run/lab-denied)" 1
pass "after $((EPOCHSECONDS - begin)) s"
pkill -CONT polkitd
systemctl stop polkit

# ---- what ends with its owner --------------------------------------------------------------------------------------------
systemd-run -q --unit=lab-lease vfiodctl hold nic0 --why 'the lab' -- sleep 300
ok 'a command under a lease' wait_for 60 eval '! no_holds'
systemctl restart vfiod
ok 'the lease outlives a restart' wait_for 60 eval '! no_holds'
unbind 01:00.0
wait_for 60 in_state 01:00.0 held
sleep 4
is 'while it is held nothing is written' "$(state 01:00.0)" 's "held"'
systemctl stop lab-lease
ok 'and ends with the command' wait_for 60 in_state 01:00.0 ready

finish
