#!/bin/bash
# An actor of vfiod's own does not come back: it counts as stuck, a restart does not wait for it, begins no second write, and takes
# its outcome over.
. /lab/common.sh
reset_host
bind_vfio 01:00.0
modprobe -r vfio_pci
# The kernel's own blocking calls need a device that is in use, which the guards leave alone; a modprobe that hangs in somebody's
# install rule blocks the same way, and can be let go.
mkfifo /run/lab/gate
cat >/etc/modprobe.d/lab.conf <<'RULE'
install vfio_pci read line < /run/lab/gate; /sbin/modprobe --ignore-install vfio_pci
RULE
configure <<'TOML'
[modules]
allow_install = true
[repair]
deadline = "3s"
[device.nic0]
address = "0000:01:00.0"
[device.other]
address = "0000:00:03.0"
TOML
start_vfiod
actors() { pgrep -c vfiod-act; }
ok 'past its deadline the write counts as stuck' wait_for 60 told MESSAGE_ID="$MSG_STUCK" VFIOD_MODULE=vfio_pci
is 'one alert' "$(count MESSAGE_ID="$MSG_STUCK" VFIOD_MODULE=vfio_pci)" 1
is 'one actor is at work' "$(actors)" 1
actor=$(pgrep vfiod-act)
# The medians of a few, and in turn with them those of another vfiod without an actor, in the same sandbox, that only observes: how fast
# this machine is changes while it is measured, and most of a restart is systemd's work for the sandbox.
sed 's/^\[repair\]/&\nmode = "observe"/' /etc/vfiod/vfiod.toml >/run/lab/other.toml
sed '/^\(Before\|After\|ConfigurationDirectory\)=/d; /tracing/d; s,^ExecStart=.*,ExecStart=/usr/sbin/vfiod run --config /run/lab/other.toml,
    s,^\(Runtime\|State\)Directory=.*,\1Directory=lab-other,; s,^SyslogIdentifier=.*,SyslogIdentifier=lab-other,
    s,^\[Service\],&\nEnvironment=DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/lab/no-bus,' \
    "$(systemctl show -p FragmentPath --value vfiod)" >/run/systemd/system/lab-other.service
systemctl daemon-reload
ok 'another vfiod runs beside it' systemctl start lab-other
restart_takes() { local before; before=$(now_ms); systemctl restart "$1" && echo $(($(now_ms) - before)); }
for _ in 1 2 3 4 5; do
    restart_takes vfiod >>/run/lab/stuck-took
    restart_takes lab-other >>/run/lab/other-took
done
systemctl stop lab-other
rm -r /run/systemd/system/lab-other.service /run/lab-other /var/lib/lab-other
took=$(sort -n /run/lab/stuck-took | sed -n 3p) other=$(sort -n /run/lab/other-took | sed -n 3p)
echo "# systemctl restart vfiod took $took ms with a stuck actor, that of another vfiod $other ms without one (medians of 5)"
ok 'the new one says that it takes the write over' wait_for 60 told MESSAGE_ID="$MSG_ADOPTED"
is 'it is the same actor' "$(pgrep vfiod-act)" "$actor"
crash_vfiod
wait_for 60 is_back
sleep 3
is 'also after a crash no second write is begun' "$(pgrep vfiod-act)" "$actor"
echo '{' >/run/vfiod/acts/modules.json
crash_vfiod
wait_for 60 is_back
sleep 3
is 'also where its intent cannot be read' "$(pgrep vfiod-act)" "$actor"
mark
echo go >/run/lab/gate
ok 'it returns: the module is live and the pinned device bound' wait_for 60 eval 'module_live vfio_pci && has_driver 01:00.0 vfio-pci'
ok 'and the rest is done' wait_for 60 says '2 ready'
ok 'no actor is left' wait_for 60 eval '! pgrep vfiod-act'
# A host that is so slow that any restart takes that long is no fault of the actor: then it must not be twice as slow with one (the other
# vfiod is spared the bus and the trace). Waiting for the actor would take TimeoutStopSec, five seconds, more.
limit=2000
if ((other * 2 > limit)); then limit=$((other * 2)); fi
ok 'systemctl restart with a stuck actor takes under 2 s, or less than twice what it takes without one' test "$took" -lt "$limit"
stop_vfiod
finish
