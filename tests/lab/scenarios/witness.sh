#!/bin/bash
# Whoever unloads vfio_pci is named, with his unit, fifty times of fifty; how often and how regularly; and where nobody can be
# seen it says so and nothing worse.
. /lab/common.sh
reset_host
ours=/sys/kernel/tracing/instances/vfiod
quick='[watch]
interval = "1s"
[repair]
breaker = { incidents = 1000 }
[device.nic0]
address = "0000:01:00.0"'
configure <<<"$quick"
start_vfiod
ok 'ready' wait_for 60 says 'ready: 1 ready'
ok 'it has a trace of its own' wait_for 60 test -d "$ours"
# One that cannot begin takes away what a restart has left to it; this one is read.
echo wrong >/run/lab/wrong.toml
vfiod run --config /run/lab/wrong.toml 2>/dev/null
is 'another one that cannot begin ends' "$?" 78
not_ok 'a trace that is read cannot be removed' rmdir "$ours"
ok 'and is there still' test -d "$ours"
is 'its buffer is small' "$(($(cat "$ours/buffer_size_kb") < 32))" 1
ok 'it does not say that it cannot see' eval "! told MESSAGE_ID=$MSG_UNWITNESSED"

# What really happened, by the lab's own trace: who freed vfio_pci when, and when that process ended.
watch_writes
echo 'comm == "modprobe" || comm == "rmmod" || comm == "python3"' >"$lab_trace/events/sched/sched_process_exit/filter"
echo 1 >"$lab_trace/events/sched/sched_process_exit/enable"

own_unit=$(sed -n 's,^0::.*/\([^/]*\.service\).*,\1,p' /proc/self/cgroup)
expected=()
settled() { # all is well again, and the loss was told; what costs no process is asked first
    all_is_well &&
        wait_for 60 eval '(( $(grep -c "\"module-lost\",\"object\":\"module\",\"name\":\"vfio_pci\"" /var/lib/vfiod/history.jsonl) >= ${#expected[@]} ))' &&
        all_is_well
}
all_is_well() { wait_for 60 eval 'has_driver 01:00.0 vfio-pci && module_live vfio_pci && module_live vfio_iommu_type1 && says ready:'; }
unloads() { trace_writes | grep ' module_free vfio_pci$'; }
by_command() { # COMMAND…: a child of this script
    "$@" &
    expected+=("$! ${1##*/} $own_unit $(cat /proc/$$/comm)[$$]")
    wait "$!"
}
mark
statuses=''
for n in $(seq 15); do by_command modprobe -r vfio_pci || statuses+="$? "; settled || break; done
for n in $(seq 10); do by_command rmmod vfio_pci || statuses+="$? "; settled || break; done
# A program that needs no modprobe, as controllers do it: from a thread. The kernel's trace names the thread.
cat >/run/lab/controller.py <<'PY'
import ctypes, os, threading, time
def unload():
    if ctypes.CDLL(None).syscall(176, b"vfio_pci", 0):
        os._exit(1)
    time.sleep(1)
thread = threading.Thread(target=unload)
thread.start()
thread.join()
PY
for n in $(seq 5); do by_command python3 /run/lab/controller.py || statuses+="$? "; settled || break; done
# Units: one that a person starts, with a shell between; then one on a timer.
cat >/run/systemd/system/lab-hook.service <<'UNIT'
[Service]
Type=oneshot
ExecStart=/bin/sh -c "modprobe -r vfio_pci; true"
UNIT
cat >/run/systemd/system/lab-evil.service <<'UNIT'
[Service]
Type=oneshot
ExecStart=/sbin/modprobe -r vfio_pci
UNIT
cat >/run/systemd/system/lab-evil.timer <<'UNIT'
[Timer]
OnCalendar=*:*:0/15
AccuracySec=1ms
UNIT
systemctl daemon-reload
for n in $(seq 12); do systemctl start lab-hook.service || statuses+="$? "; expected+=('- modprobe lab-hook.service sh[*]'); settled || break; done
before=$(unloads | wc -l)
beat() { expected+=('- modprobe lab-evil.service systemd[1]'); settled; }
systemctl start lab-evil.timer
for n in $(seq 8); do beat || break; done
systemctl stop lab-evil.timer
wait_for 60 eval '[[ $(systemctl show -p ActiveState --value lab-evil.service) =~ ^(inactive|failed)$ ]]'
# One that came before the timer was stopped counts, too.
while ((${#expected[@]} < $(unloads | wc -l))); do beat || break; done
is 'nobody was kept from unloading' "$statuses" ''

# As vfiod told it, beside what was expected; the pid of what systemd has started is one of the lab's trace.
told_by() {
    journal -o json MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci |
        jq -r '"\(.VFIOD_BY_PID) \(.VFIOD_BY_COMM) \(.VFIOD_BY_UNIT) \(.VFIOD_BY_PARENT) \(.VFIOD_BY_UID) \(.VFIOD_BY_CMDLINE)"'
}
mapfile -t named < <(told_by)
traced=" $(trace_writes | sed -nE 's/.*\[([0-9]+)\] module_free vfio_pci$/\1/p' | tr '\n' ' ')"
right=0 with_line=0
for n in "${!expected[@]}"; do
    read -r pid comm unit parent <<<"${expected[n]}"
    read -r by_pid by_comm by_unit by_parent by_uid by_line <<<"${named[n]:-}"
    if [[ $pid == - ]]; then
        pid=$by_pid
        [[ $traced == *" $pid "* ]] || pid='one of the trace'
        traced=${traced/ $pid / }
    fi
    [[ $by_line == null ]] || with_line=$((with_line + 1))
    # shellcheck disable=SC2053 # the parent is a pattern
    if [[ "$by_pid $by_comm $by_unit $by_uid" == "$pid $comm $unit 0" && $by_parent == ${parent//[/\\[} ]]; then
        right=$((right + 1))
    else
        echo "# unload $n: expected $pid $comm $unit $parent, told ${named[n]:-nothing}"
    fi
done
ok 'fifty at least' test "${#expected[@]}" -ge 50
is 'as many losses were told as there were' "${#named[@]}" "${#expected[@]}"
is 'each time the right one is named: process, unit, parent, user' "$right" "${#expected[@]}"
echo "# with the command line: $with_line of ${#expected[@]}"
ok 'most times the command line was there as well' test "$with_line" -ge 25
ok 'and it is the right one' told VFIOD_BY_CMDLINE='rmmod vfio_pci'
# How long whoever did it was still there to be asked.
trace_writes | python3 -c '
import re, sys
freed, there = {}, []
for line in sys.stdin:
    # trace_writes leaves sched_process_exit as it leaves any event: SECONDS COMM[PID] EVENT …
    found = re.match(r"([0-9.]+) .*\[(\d+)\] (module_free vfio_pci$|sched_process_exit)", line)
    if not found: continue
    at, pid, event = float(found[1]), found[2], found[3]
    if event.startswith("module_free"): freed[pid] = at
    elif pid in freed: there.append(1000 * (at - freed.pop(pid)))
there.sort()
print("# still there after the unload: %d processes, at least %.0f ms, median %.0f ms" % (len(there), there[0], there[len(there) // 2]) if there else "# no exit was traced")'
last() { journal -o cat MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci | tail -n 1; }
echo "# $(last)"
ok 'the sentence names him' eval '[[ $(last) == *"unloaded by modprobe["*"] of lab-evil.service (started by systemd[1], uid 0)"* ]]'
# How often the timer's unit did it, and with what period: as the lab's trace has it, the period to a second. A machine under load may
# miss a beat or be late with one, so that there is no period: then none is told. Where it cannot be said for sure, either will do.
as_traced() { # SENTENCE
    unloads | tail -n "+$((before + 1))" | python3 -c '
import re, sys
times = [float(line.split()[0]) for line in sys.stdin]
said = re.search(r", (\d+) times by now(?:, every ([0-9ms ]+))?", sys.argv[1])
gaps = sorted(after - before for before, after in zip(times, times[1:]))
median = gaps[len(gaps) // 2]
regular = lambda share: 4 * sum(abs(gap - median) <= share * median for gap in gaps) >= 3 * len(gaps)
print(f"{len(times)} unloads were traced, every {median:.1f} s (median), {gaps[0]:.1f} to {gaps[-1]:.1f} s")
period = said[2] and sum(float(n) * {"m": 60, "s": 1, "ms": 0.001}[unit] for n, unit in re.findall(r"(\d+)(ms|m|s)", said[2]))
right = abs(period - median) <= 1 if period else not regular(0.15)
sys.exit(not (int(said[1]) == len(times) and right and (not period or regular(0.25))))
' "$1"
}
echo "# $(as_traced "$(last)")"
ok 'how often, and with what period' as_traced "$(last)"
trace_writes_off
ok 'the device is lost by the same one' told MESSAGE_ID="$MSG_DRIFTED" VFIOD_DEVICE=0000:01:00.0 VFIOD_BY_UNIT=lab-evil.service
ok 'the history has it' eval 'grep -q "\"by\":\"modprobe[^\"]* of lab-evil.service (started by systemd.1., uid 0)\"" /var/lib/vfiod/history.jsonl'

# One that gets hardly any of the processor, so that its exit functions take longer than vfiod's quiet time. Meanwhile the kernel
# shows the module on its way out, with a count of -1, and names nobody.
wait_for 60 says ready:
mark
(while :; do :; done) &
hog=$!
nice -n 15 modprobe -r vfio_pci &
slow=$!
ok 'a slow unload: the module is seen on its way out' wait_for 120 grep -q '^vfio_pci [0-9]* -1 .* Unloading ' /proc/modules
wait "$slow"
is 'a slow unload ends well' "$?" 0
kill "$hog"
ok 'a slow unload: it is repaired' wait_for 90 eval 'has_driver 01:00.0 vfio-pci && says ready:'
is 'a slow unload: the right one is named' "$(field VFIOD_BY_PID MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci)" "$slow"
is 'a slow unload: and for the device' "$(field VFIOD_BY_PID MESSAGE_ID="$MSG_DRIFTED")" "$slow"
is 'a slow unload: nothing failed' "$(count MESSAGE_ID="$MSG_REPAIR_FAILED")" 0

# By hand: the kernel tells nobody's name, and none is given.
mark
unbind 01:00.0
ok 'an unbind by hand is repaired' wait_for 60 told MESSAGE_ID="$MSG_REPAIRED"
is 'and is nobody told for it' "$(field VFIOD_BY_PID MESSAGE_ID="$MSG_DRIFTED")" ''

# A crash: the trace stays, records on, and is used again.
wait_for 60 says ready:
inode=$(stat -c %i "$ours")
crash_vfiod
modprobe -r vfio_pci
wait_for 60 is_back
ok 'after a crash it recovers' wait_for 90 eval 'has_driver 01:00.0 vfio-pci && says ready:'
is 'the trace is the same one' "$(stat -c %i "$ours")" "$inode"
last_unload() { jq -r '.memory.unloads.vfio_pci.by.witnessed.comm // "nobody"' /run/vfiod/memory.json; }
is 'what it recorded meanwhile is known' "$(last_unload)" modprobe
# A restart hands it over, with what it records meanwhile: somebody unloads between the two runs.
inode=$(stat -c %i "$ours")
restarted=@$EPOCHREALTIME
mkdir -p /run/systemd/system/vfiod.service.d
printf '[Service]\nExecStartPre=+/sbin/rmmod vfio_pci\n' >/run/systemd/system/vfiod.service.d/lab.conf
systemctl daemon-reload
systemctl restart vfiod
ok 'after a restart it recovers' wait_for 90 eval 'has_driver 01:00.0 vfio-pci && says ready:'
is 'after a restart the trace is the same one' "$(stat -c %i "$ours")" "$inode"
is 'what was recorded between two runs is known' "$(last_unload)" rmmod
rm -r /run/systemd/system/vfiod.service.d
systemctl daemon-reload
# One right after the other.
for n in 1 2 3; do systemctl restart vfiod; done
ok 'after restarts it recovers' wait_for 60 says ready:
ok 'after restarts it records' wait_for 60 eval 'grep -q 1 "$ours/events/module/module_free/enable"'
# A check that is under way may be; what removes a trace must not.
is 'systemd finds no rmdir left over' "$(journalctl -q --since="$restarted" _PID=1 | grep -c 'left-over process .*(rmdir)')" 0
mark
modprobe -r vfio_pci
ok 'after restarts a loss is told' wait_for 60 told MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci
is 'and whoever unloaded is named' "$(field VFIOD_BY_COMM MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci)" modprobe
is 'nobody says that nobody can be seen' "$(count MESSAGE_ID="$MSG_UNWITNESSED")" 0
wait_for 90 eval 'has_driver 01:00.0 vfio-pci && says ready:'
# A stop after which nothing is left: twice, the second time one that ends for its settings when it was to come back.
stop_vfiod
ok 'after a stop the trace is gone' wait_for 60 test ! -e "$ours"
start_vfiod
ok 'after a start there is one again' wait_for 60 test -e "$ours"
cp /etc/vfiod/vfiod.toml /run/lab/right.toml
echo wrong >>/etc/vfiod/vfiod.toml
systemctl restart vfiod
ok 'it does not come back from a restart with a wrong configuration' wait_for 60 eval '[[ $(systemctl show -p ExecMainStatus --value vfiod) == 78 ]]'
ok 'and leaves no trace' wait_for 60 test ! -e "$ours"
cp /run/lab/right.toml /etc/vfiod/vfiod.toml

# Where nobody can be seen.
unseen() { # NAME
    start_vfiod
    ok "$1: ready" wait_for 60 says 'ready: 1 ready'
    wait_for 60 told MESSAGE_ID="$MSG_UNWITNESSED"
    is "$1: said once" "$(count MESSAGE_ID="$MSG_UNWITNESSED")" 1
    mark
    ok "$1: somebody unloads" modprobe -r vfio_pci
    ok "$1: it is repaired" wait_for 60 told MESSAGE_ID="$MSG_MODULE_RESTORED" VFIOD_MODULE=vfio_pci
    ok "$1: bound" wait_for 60 eval 'has_driver 01:00.0 vfio-pci && says ready:'
    ok "$1: by whom is unknown" eval '[[ $(last) == *"unloaded by unknown"* ]]'
    is "$1: nobody is named" "$(field VFIOD_BY_PID MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci)" ''
    is "$1: no alert" "$(alerts)" 0
    stop_vfiod
}
tracing=/sys/kernel/tracing
umount "$tracing" || fail 'tracefs is unmounted'
unseen 'without tracefs'
mount -t tmpfs none "$tracing"
mkdir "$tracing/instances"
unseen 'with something else there'
is 'nothing is left there' "$(ls "$tracing/instances")" ''
umount "$tracing"
mount -t tracefs tracefs "$tracing"
# A trace of ours that cannot be set up (another clock cannot be chosen: the unit has no right to overrule a mode) is removed, and
# another one made.
mkdir "$ours" && chmod 0 "$ours/trace_clock"
start_vfiod
ok 'a trace that cannot be set up is made anew' wait_for 60 eval '[[ $(stat -c %a "$ours/trace_clock") != 0 && $(cat "$ours/events/module/module_free/enable") == 1 ]]'
wait_for 60 says ready:
mark
modprobe -r vfio_pci
ok 'with it a loss is told' wait_for 60 told MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci
is 'and whoever unloaded is named' "$(field VFIOD_BY_COMM MESSAGE_ID="$MSG_MODULE_LOST" VFIOD_MODULE=vfio_pci)" modprobe
is 'with it nobody says that nobody can be seen' "$(count MESSAGE_ID="$MSG_UNWITNESSED")" 0
wait_for 90 eval 'has_driver 01:00.0 vfio-pci && says ready:'
stop_vfiod

rm -f /run/systemd/system/lab-*
reset_host
finish
