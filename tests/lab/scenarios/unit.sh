#!/bin/bash
# The shipped unit from inside: what should be read-only is, what the guards need is open; one vfiod a machine; readable on a terminal.
. /lab/common.sh
reset_host
configure <<'TOML'
[device.nic0]
address = "0000:01:00.0"
TOML
start_vfiod
ok 'ready' wait_for 60 says '1 ready'
pid=$(main_pid)
inside() { nsenter --target "$pid" --mount -- "$@"; } # what the unit's file systems let root do
# A directive is no proof: each is tried.
for path in /etc/lab-probe /usr/lab-probe /boot/lab-probe /root/lab-probe /home/lab-probe /var/lib/lab-probe /srv/lab-probe; do
    ok "there: ${path%/*}" inside test -d "${path%/*}"
    not_ok "read-only inside: $path" inside touch "$path"
done
for path in /proc/sys/kernel/panic /sys/kernel/mm/ksm/run /sys/module/kernel/parameters/panic; do
    ok "there: $path" inside test -e "$path"
    not_ok "read-only inside: $path" inside sh -c 'cat "$0" >/dev/null 2>&1; echo 0 >"$0"' "$path"
done
ok 'its state directory is writable' inside touch /var/lib/vfiod/lab-probe
ok 'its runtime directory is writable' inside touch /run/vfiod/lab-probe
rm -f /var/lib/vfiod/lab-probe /run/vfiod/lab-probe
ok 'the rights are the three that the unit names' test "$(awk '/^CapBnd/ { print $2 }' "/proc/$pid/status")" = 0000000000090004
ok 'no new privileges' grep -q '^NoNewPrivs:.*1' "/proc/$pid/status"
ok 'a filter for system calls' grep -q '^Seccomp:.*2' "/proc/$pid/status"
exposure=$(systemd-analyze security --no-pager vfiod | sed -nE 's/.*Overall exposure level for vfiod.service: ([0-9.]+).*/\1/p')
echo "# systemd-analyze security: $exposure"
ok 'exposure is at most 3.0' awk -v e="$exposure" 'BEGIN { exit !(e != "" && e <= 3.0) }'

refusal=$(vfiod run 2>&1)
is 'a second vfiod ends at once' "$?" 75
ok 'and says why' eval '[[ $refusal == *"another vfiod is running"* ]]'
is 'the first goes on' "$(main_pid)" "$pid"
is 'reload keeps the process' "$(reload_vfiod; main_pid)" "$pid"
before=$(driver_of 01:00.0)
stop_vfiod
is 'stopping leaves the device where it is' "$(driver_of 01:00.0)" "$before"
sleep 3
unit ActiveState
is 'a stopped vfiod stays stopped' "$REPLY" inactive
vfiod run >/run/lab/terminal 2>&1 &
ok 'on a terminal: readable lines' wait_for 60 grep -q 'started: ready: 1 ready' /run/lab/terminal
kill $!
wait $!
ok 'on a terminal: no fields' eval '! grep -qi message_id /run/lab/terminal'
finish
