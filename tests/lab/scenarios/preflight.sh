#!/bin/bash
# What check says of a machine, compared with what the kernel then does: every endpoint is bound and opened by a small program.
# Which findings are expected is told by the machine's own options, on the kernel command line.
. /lab/common.sh
given() { sed -nE "s/.* lab\.$1=([^ ]*).*/\1/p" /proc/cmdline; } # NAME of an option of tests/lab/run
iommu=$(given iommu) intremap=$(given intremap) rmrr=$(given rmrr)
reset_host

# Reads the machine now. 1 says that something declared is blocked. What is asked for often is picked out at once: jq takes long to start.
report() {
    vfiodctl --json check >/run/lab/report 2>/run/lab/report-notes
    (($? <= 1)) && [[ -s /run/lab/report ]] && jq -r '
        (.findings[] | "finding \(.code)\t\(tojson)", (select(.about == "host") | "host\t\(.code)"),
            (select(.about.device?) | "about \(.about.device) \(.code)\t\(tojson)")),
        (.devices | to_entries[] | .key as $a | .value | (
            "codes \($a)\t\(.codes[])", "id \($a)\t\(.passthrough_id // empty)", "is \($a)\t\(.role)", (select(.assignable) | "is \($a)\tassignable"),
            # In the words of hold.py.
            "predicted \($a)\t" + (.predicted | if .opens == true then "opens" elif .opens == null then "unknown"
                elif .errno == null then "fails at \(.stage)" else "fails at \(.stage) (\(.errno))" end)))' /run/lab/report >/run/lab/picked
}
picked() { awk -F '\t' -v what="$1" '$1 == what { print $2 }' /run/lab/picked; }
codes() { picked "codes $(full "$1")"; } # ADDRESS
host_codes() { picked host; }
# ADDRESS CODE: all that is said under that code about the device
about() { picked "about $(full "$1") $2"; }
predicted() { picked "predicted $(full "$1")"; }
is_fine() { picked "is $(full "$1")" | has assignable; }
lab_serve try python3 /lab/hold.py - try
actual() { lab_ask try "$(full "$1")"; echo "$REPLY"; }
has() { grep -qx "$1"; } # WORD among the lines
endpoints() { sed -nE 's/^is (.*)\tendpoint$/\1/p' /run/lab/picked; }

# The root disk and the port that carries this output stay where they are: without them nobody would tell.
carries_us() { [[ $1 == 0000:00:0a.0 || $1 == 0000:00:0c.0 ]]; }
compare() { # NAME ADDRESS…: each as things are, then back on its host driver
    local name=$1 address said did wrong=0
    shift
    printf '# %-14s %-24s %-24s %s\n' device predicted actual "($name)"
    for address; do
        said=$(predicted "$address")
        if carries_us "$address"; then
            did='not tried: it carries the test'
        else
            did=$(actual "$address")
            [[ $said == "$did" ]] || wrong=$((wrong + 1))
            unpin "$address" 2>/dev/null
            udevadm settle
        fi
        printf '# %-14s %-24s %-24s %s\n' "$address" "$said" "$did" "$(codes "$address" | paste -sd' ')"
    done
    is "$name: predicted and actual agree" "$wrong" 0
}

ok 'the machine is checked' report
vfiodctl check 2>/dev/null | sed 's/^/# /'
mapfile -t all < <(endpoints)
ok 'every endpoint has a verdict' test "${#all[@]}" -eq 17
compare "$iommu, $(uname -r)${rmrr:+, rmrr $rmrr}, intremap $intremap" "${all[@]}"

case $iommu in
intel | amd)
    ok 'half a group: the blocker is named' eval "about 04:01.0 group-shared | grep -q '0000:04:02.0 (e1000)'"
    ok 'half a group: what to declare' eval "about 04:01.0 group-shared | grep -q 'group = ..whole'"
    ok 'half a group: what to detach' eval "about 04:01.0 group-shared | grep -q 'virsh nodedev-detach pci_0000_04_02_0'"
    ok 'the boot display' eval 'codes 00:01.0 | has boot-display'
    ok 'there are passthrough ids' grep -q '^id ' /run/lab/picked
    is 'passthrough ids are unique' "$(sed -n 's/^id .*\t//p' /run/lab/picked | sort | uniq -d)" ''
    ok 'the kind of domain is said' eval 'host_codes | has iommu-domain'
    ok 'an IOMMU in a virtual machine is told' eval 'host_codes | has iommu-emulated'
    ;;
none) ok 'no IOMMU' eval 'host_codes | has iommu-off' ;;
virtio)
    if [[ -z $(ls /sys/class/iommu 2>/dev/null) ]]; then
        ok "the IOMMU's driver is missing" eval 'host_codes | has iommu-driver-missing'
    else
        ok 'virtio-iommu is told' eval 'host_codes | has iommu-emulated'
        ok 'it remaps no interrupts' eval 'host_codes | has no-interrupt-remapping'
        ok 'its driver belongs into the initramfs' eval 'host_codes | has iommu-driver-initramfs'
    fi
    ;;
esac
if [[ $iommu != virtio && $iommu != none ]]; then
    if [[ $intremap == off ]]; then
        ok 'no interrupt remapping' eval 'host_codes | has no-interrupt-remapping'
        # The daemon: blocked, as long as VFIO is not told to go without.
        configure <<'TOML'
[watch]
interval = "1s"
[device.nic]
address = "0000:01:00.0"
TOML
        start_vfiod
        ok 'declared: blocked' wait_for 60 says '1 blocked'
        ok 'declared: for that reason' eval "entries MESSAGE_ID=$MSG_BLOCKED VFIOD_DEVICE=0000:01:00.0 | grep -q no-interrupt-remapping"
        echo 1 >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
        ok 'VFIO goes without: ready' wait_for 60 says '1 ready'
        is 'and it opens' "$(actual 01:00.0)" opens
        echo 0 >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
        ok 'and blocked again' wait_for 60 says '1 blocked'
        stop_vfiod
    else
        not_ok 'interrupts are remapped' eval 'host_codes | has no-interrupt-remapping'
    fi
fi
if [[ -n $(given framebuffer) ]]; then
    ok 'the framebuffer of the boot' eval 'codes 00:01.0 | has framebuffer'
    ok 'by its name' eval "about 00:01.0 framebuffer | grep -q vesafb"
    not_ok 'vfio-pci has driven it out' eval 'report; codes 00:01.0 | has framebuffer'
fi
if [[ -n $rmrr ]]; then
    ok 'the device with the region is named' eval 'codes "$rmrr" | has rmrr'
    ok 'its region' eval "about $rmrr rmrr | grep -qi '0xfffc0000-0xffffffff'"
    ok 'the structure in the table and the device scope' eval "about $rmrr rmrr | grep -qE 'acpi/tables/(DMAR|IVRS).*$(full "$rmrr")'"
    # Before 6.6 AMD's driver does not care; and a group that is not viable is refused before that.
    if codes "$rmrr" | has group-shared; then
        :
    elif [[ $(predicted "$rmrr") != opens ]]; then
        quoted() { report && about "$rmrr" rmrr | grep -qE 'ineligible for IOMMU|1:1 IOMMU mapping'; }
        ok 'once it was tried, the kernel is quoted' quoted
        # Its sandbox hides the kernel's log.
        start_vfiod
        ok 'also with a daemon' eval 'wait_for 60 busctl status org.vfiod1 && quoted'
        stop_vfiod
    else
        ok 'the next kernel will refuse: a warning' eval "about $rmrr rmrr | grep -q '\"severity\":\"warning\"'"
    fi
    not_ok 'its neighbour has none' eval 'codes 00:04.0 | has rmrr'
    report
    ok 'its neighbour is fine' is_fine 00:04.0
    refused=$(predicted "$rmrr")

    # The daemon: blocked, with that reason, and nothing is written for it.
    if [[ $refused != opens ]]; then
        watch_writes
        configure <<TOML
[device.reserved]
address = "$(full "$rmrr")"
TOML
        start_vfiod
        ok 'declared: blocked' wait_for 60 says '1 blocked'
        ok 'declared: for that reason' told MESSAGE_ID="$MSG_BLOCKED" VFIOD_DEVICE="$(full "$rmrr")"
        ok 'declared: the region is named' eval "entries MESSAGE_ID=$MSG_BLOCKED | grep -q 'rmrr.*0xfffc0000'"
        ok 'declared: nothing is written to it' untouched "$rmrr"
        stop_vfiod
    fi
fi

# The rest once, on the plainest machine.
if [[ $iommu == intel && -z $rmrr && $intremap == on ]]; then
    create_vfs 2
    report
    ok 'a PF with VFs is refused' eval 'codes 02:00.0 | has sriov-pf-with-vfs'
    compare 'a PF with VFs, and its VFs' 0000:02:00.0 0000:02:00.1 0000:02:00.2
    destroy_vfs

    # The ISA bridge's driver alone keeps a group, too.
    unbind 00:1f.3
    report
    compare 'beside the ISA bridge on its driver' 0000:00:1f.2
    full 00:1f.3 >/sys/bus/pci/drivers_probe

    # A card with one function on VFIO; then a member of a group in use.
    bind_vfio 05:00.0
    report
    ok 'functions of one card, split' eval 'codes 05:00.0 | has functions-split'
    bind_vfio 05:00.1
    report
    compare 'a whole group on VFIO' 0000:05:00.0
    bind_vfio 05:00.0
    pid=$(hold_as_user 05:00.0 labuser)
    report
    ok 'a member of its group is in use' eval 'codes 05:00.1 | has group-assigned'
    ok 'the holder is named' eval "about 05:00.1 group-assigned | grep -q 'python3.*$pid'"
    is 'in use: predicted and actual agree' "$(actual 05:00.1)" "$(predicted 05:00.1)"
    release "$pid"
    bind_vfio 01:00.0
    report
    ok 'names by index alone collide' eval 'host_codes | has passthrough-id-collision'
    reset_host

    forbid() { # NAME CODE: the module is not to be had; one device tells
        report
        ok "$1: said" eval "host_codes | has $2"
        compare "$1" 0000:01:00.0
    }
    echo 'install vfio_pci /bin/false' >/etc/modprobe.d/lab.conf
    forbid 'an install rule that is false' module-prohibited
    ok 'with file and line' eval "picked 'finding module-prohibited' | grep -q '/etc/modprobe.d/lab.conf:1'"
    rm /etc/modprobe.d/lab.conf
    tree=/usr/lib/modules/$(uname -r)
    mv "$tree" "$tree.away"
    forbid 'the module tree is gone' module-tree-missing
    mv "$tree.away" "$tree"
    file=$(modinfo -n vfio_pci)
    without_in_tree "$file"
    forbid 'not in the tree' module-missing
    back_in_tree "$file"
    modprobe vfio-pci
    modprobe -r vfio_iommu_type1
    forbid 'type1 is gone' module-unloaded
    modprobe vfio_iommu_type1
    echo 'options vfio_pci disable_idle_d3=1' >/etc/modprobe.d/lab.conf
    report
    ok 'an option that a reload would change' eval 'host_codes | has module-options'
    rm /etc/modprobe.d/lab.conf
    echo 0 >/sys/bus/pci/drivers_autoprobe
    mkdir -p /etc/driverctl.d
    echo vfio-pci >/etc/driverctl.d/pci-0000:01:00.0
    report
    echo 1 >/sys/bus/pci/drivers_autoprobe
    rm -r /etc/driverctl.d
    ok 'drivers_autoprobe' eval 'host_codes | has autoprobe-off'
    ok 'driverctl has a say' eval 'codes 01:00.0 | has claimed-by-another'
    ok 'all is fine again' eval 'report; is_fine 01:00.0'
    compare 'at the end' 0000:01:00.0

    # Write-once until the next boot: the last one.
    reset_host
    echo 1 >/proc/sys/kernel/modules_disabled
    forbid 'kernel.modules_disabled' module-prohibited
fi
reset_host
finish
