#!/bin/bash
# What a person has asked for outlives restart and reboot: releases and holds with a time. Run with --reboot.
. /lab/common.sh
kept=/var/lib/lab-before-the-reboot
held() { holds | grep -q 'for the lab'; }

if [[ ! -e $kept ]]; then
    reset_host
    # Not the main file: what the lab brings is unpacked anew with each boot.
    mkdir -p /etc/vfiod/conf.d
    cat >/etc/vfiod/conf.d/lab.toml <<'TOML'
[device.nic0]
address = "0000:01:00.0"
[device.nic1]
address = "0000:00:03.0"
[device.slot]
address = "0000:00:04"
TOML
    systemctl enable -q vfiod
    start_vfiod
    ok 'ready' wait_for 60 says '3 ready'
    ok 'released' vfiodctl release 01:00.0
    is 'its state' "$(state 01:00.0)" 's "released"'
    ok 'its former driver has it' has_driver 01:00.0 e1000e
    is 'nothing pins it' "$(override_of 01:00.0)" '(null)'
    systemctl restart vfiod
    ok 'released after a restart' wait_for 60 in_state 01:00.0 released
    ok 'its former driver still has it' has_driver 01:00.0 e1000e
    ok 'a hold with a time' vfiodctl hold nic1 --why 'for the lab' --for 2h
    systemctl restart vfiod
    ok 'held after a restart' wait_for 60 held
    echo "$lab_count $lab_failed" >$kept
    sync
    systemctl reboot
    sleep infinity
fi

read -r lab_count lab_failed <$kept
ok 'after a reboot vfiod runs' wait_for 60 is_active
ok 'released after a reboot' wait_for 60 in_state 01:00.0 released
# vfiod is up before udev has loaded all drivers.
ok 'its former driver has it' wait_for 60 has_driver 01:00.0 e1000e
ok 'held after a reboot, and so not bound' wait_for 60 eval 'held && in_state 00:03.0 held'
ok 'the held one was left alone' wait_for 60 has_driver 00:03.0 e1000e
# Only after it has probed all its devices does a driver have its file `unbind`.
ok 'its driver is whole' wait_for 60 test -e /sys/bus/pci/drivers/e1000e/unbind
ok 'the others are bound again, unasked' wait_for 60 eval 'in_state 00:04.0 ready && in_state 00:04.1 ready'
# What hangs in the kernel, if anything does.
if ((lab_failed > 0)); then
    echo w >/proc/sysrq-trigger
    dmesg | tail -n 60 | sed 's/^/# /'
fi
ok 'the hold can be ended' eval 'vfiodctl unhold "$(vfiodctl --json status | jq -r ".holds[0].id")"'
ok 'then it is bound' wait_for 60 in_state 00:03.0 ready
ok 'adopted' vfiodctl adopt nic0
ok 'and ready' wait_for 60 in_state 01:00.0 ready
finish
