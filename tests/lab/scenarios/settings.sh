#!/bin/bash
# Configuration: a bad file among good ones, an absent card, a masked drop-in, a merged entry; at start and at reload.
. /lab/common.sh
reset_host
mkdir -p /usr/lib/vfiod/conf.d /etc/vfiod/conf.d /run/vfiod/conf.d

configure <<'TOML'
[device.nic0]
address = "0000:01:00.0"
[device.absent]
address = "0000:7f:00.0"
TOML
start_vfiod
ok 'an absent card is a state, not an error' wait_for 60 says '1 missing'
ok 'an absent card is told' told MESSAGE_ID="$MSG_NOT_FOUND" VFIOD_ENTRY=absent
ok 'the other is ready' wait_for 60 says '1 ready'

mark
printf '[watch]\nintervall = "5s"\n' >/etc/vfiod/conf.d/50-bad.toml
reload_vfiod
ok 'a bad file at reload: told' wait_for 60 told MESSAGE_ID="$MSG_RELOAD_FAILED"
ok 'with file, line, key and the key that was meant' eval "entries MESSAGE_ID=$MSG_RELOAD_FAILED | grep -q '/etc/vfiod/conf.d/50-bad.toml:2.*intervall' && entries MESSAGE_ID=$MSG_RELOAD_FAILED | grep -q 'nearest is .watch.interval'"
unbind 01:00.0
ok 'the settings in force stay' wait_for 60 has_driver 01:00.0 vfio-pci
ok 'vfiod check-config says the same' not_ok_quiet vfiod check-config

stop_vfiod
systemctl start vfiod
ok 'a bad file at start: ends with status 78' wait_for 60 eval '[[ $(systemctl show -p ExecMainStatus --value vfiod) == 78 ]]'
sleep 3
ok 'and systemd does not loop on it' eval '[[ $(systemctl show -p ActiveState --value vfiod) == failed && $(systemctl show -p NRestarts --value vfiod) == 0 ]]'

# The same name: run over etc over usr/lib; a link to /dev/null masks.
rm /etc/vfiod/conf.d/50-bad.toml
printf '[device.masked]\naddress = "0000:7e:00.0"\n' >/usr/lib/vfiod/conf.d/60-card.toml
ln -s /dev/null /etc/vfiod/conf.d/60-card.toml
printf '[device.absent]\naddress = "0000:00:03.0"\nid = "8086:10d3"\n' >/etc/vfiod/conf.d/70-merged.toml
start_vfiod
ok 'a masked drop-in does not count, a merged entry does' wait_for 60 says 'ready: 2 ready'
ok 'the merged entry means the card of the drop-in' has_driver 00:03.0 vfio-pci
ok 'vfiod check-config agrees' vfiod check-config
mark
reload_vfiod
ok 'a good reload is told' wait_for 60 told MESSAGE_ID="$MSG_RELOADED"

# Observing only.
unbind 00:03.0
wait_for 60 has_driver 00:03.0 vfio-pci
printf '[repair]\nmode = "observe"\n' >/run/vfiod/conf.d/80-observe.toml
mark
reload_vfiod
wait_for 60 told MESSAGE_ID="$MSG_RELOADED"
watch_writes
unbind 00:03.0
ok 'mode = "observe": the drift is told' wait_for 60 told MESSAGE_ID="$MSG_DRIFTED" VFIOD_DEVICE=0000:00:03.0
sleep 6
ok 'mode = "observe": nothing is written' untouched 00:03.0
rm /run/vfiod/conf.d/80-observe.toml
reload_vfiod
ok 'back to enforcing: repaired' wait_for 60 has_driver 00:03.0 vfio-pci
stop_vfiod
finish
