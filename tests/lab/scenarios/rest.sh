#!/bin/bash
# At rest: no write, no child but the override's reader at its interval, one pass an interval, little memory, little time.
. /lab/common.sh
reset_host
create_vfs 7
configure <<'TOML'
[watch]
interval = "1s"
override_interval = "30s"
[device.nic0]
address = "0000:01:00.0"
[device.nic1]
address = "0000:00:03.0"
[device.slot]
address = "0000:00:04"
[device.two]
address = "0000:05:00"
[device.bridge-a]
address = "0000:04:01.0"
[device.bridge-b]
address = "0000:04:02.0"
[device.vfs]
pf = "0000:02:00.0"
vf = "0-6"
TOML
# As on a host, so that QEMU translates the yardstick anew each time: what a pass is compared with should be as cold as it is.
echo 2 >/proc/sys/kernel/randomize_va_space
start_vfiod
ok 'ready' wait_for 120 says 'ready: 7 ready'
declared='0000:01:00.0 0000:00:03.0 0000:00:04.0 0000:00:04.1 0000:05:00.0 0000:05:00.1 0000:04:01.0 0000:04:02.0'
for n in 1 2 3 4 5 6 7; do declared+=" 0000:02:00.$n"; done
# The check that follows what has happened is no rest: it is begun within half a minute. It is not asked for over the bus, which takes
# memory of its own.
sleep 40
ok 'checked' wait_for 60 not_ok_quiet pgrep -P "$(main_pid)"
pid=$(main_pid)
on_cpu() { cut -d' ' -f1 "/proc/$pid/schedstat"; }
execs() { grep -c sched_process_exec "$lab_trace/trace"; }

watched() { # NAME SECONDS: figures of that long a rest, `pass` and `yard` among them
    watch_writes
    echo 'filename ~ "*vfiod*" || filename ~ "*exe" || filename ~ "*modprobe*"' >"$lab_trace/events/sched/sched_process_exec/filter"
    echo 1 >"$lab_trace/events/sched/sched_process_exec/enable"
    mark
    local before after n
    before=$(on_cpu)
    # The yardstick meanwhile, as cold as a pass: the caches of a busy loop are not those of one pass a second, and whatever else
    # goes on beside this machine takes from both.
    for ((n = 0; n < $2 / 3; n++)); do
        sleep 3
        # shellcheck disable=SC2086 # a list of addresses
        /lab/with/read-links 1 $declared 2>/dev/null
    done >/run/lab/yard
    after=$(on_cpu)
    local children written
    children=$(execs)
    written=$(all_ours)
    trace_writes_off
    yard=$(awk '{ sum += $1 } END { printf "%d", sum / NR }' /run/lab/yard)
    pass=$(((after - before) / $2))
    echo "# $1: $((pass / 1000)) us of processor time a pass, reading the same links $((yard / 1000)) us, ratio $((pass * 100 / yard)) %"
    ok "$1: no write" test -z "$written"
    ok "$1: no child but the override's reader" test "$children" -le $(($2 / 30 + 1))
    ok "$1: nothing is told" test "$(count)" -eq 0
}
at_rest() { # NAME SECONDS
    local pass yard round
    watched "$@"
    # What goes on beside this machine takes from both, but not in each rest by the same share.
    for round in 1 2; do
        ((pass > 2 * yard)) || break
        watched "$1, rest $((round + 1))" "$2"
    done
    ok "$1: a pass costs at most twice the reading" test "$pass" -le $((2 * yard))
}
at_rest 'at rest' 60
echo "# resident: $(awk '/VmRSS/ { print $2 }' "/proc/$pid/status") kB"
ok 'at most 8 MiB are resident' test "$(awk '/VmRSS/ { print $2 }' "/proc/$pid/status")" -le 8192

setsid python3 - <<'PY' &
import os, signal
for _ in range(1000):
    if os.fork() == 0:
        keep = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]
        signal.pause()
signal.pause()
PY
crowd=$!
wait_for 60 eval '(( $(ls -d /proc/[0-9]* | wc -l) > 1000 ))'
sleep 2
at_rest 'with 1,000 processes of 50 open files' 30
kill -- "-$crowd" 2>/dev/null
wait "$crowd" 2>/dev/null

# How many passes: each reads /proc/modules once.
timeout 20 strace -f -qq -e trace=openat -o /run/lab/strace -p "$pid"
passes=$(grep -c '"/proc/modules"' /run/lab/strace)
echo "# $passes passes in 20 s at an interval of 1 s"
ok 'at most one pass an interval' test "$passes" -le 21
ok 'and it does pass' test "$passes" -ge 5

# A storm of events makes a few passes. Without udev, which would be at it for minutes.
systemctl stop systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udevd
strace -f -qq -e trace=openat -o /run/lab/strace -p "$pid" &
storm=$!
wait_for 60 is_traced "$pid" || fail 'the daemon is traced'
began=$EPOCHSECONDS
python3 - "$(pci 00:0c.0)/uevent" <<'PY'
import os, sys
file = os.open(sys.argv[1], os.O_WRONLY)
for _ in range(10000):
    os.write(file, b"change")
PY
# What is left in the socket, and what it leads to.
sleep 5
took=$((EPOCHSECONDS - began))
kill "$storm"
wait "$storm" 2>/dev/null
passes=$(grep -c '"/proc/modules"' /run/lab/strace)
echo "# $passes passes in $took s under a storm of 10,000 events"
ok 'a storm of events makes a few passes' test "$passes" -le $((2 * took + 5))
ok 'and it is ready still' says 'ready: 7 ready'
systemctl start systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udevd
echo 0 >/proc/sys/kernel/randomize_va_space
stop_vfiod
finish
