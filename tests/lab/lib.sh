# shellcheck shell=bash
# What scripts in the lab share: `. /lab/lib.sh`. Addresses may be short (00:03.0) or full (0000:00:03.0); a DISK is a node or the
# address of its controller, a NIC an interface or its address. A helper that fails says why on stderr and returns non-zero.
# What is asked again and again starts no process and no subshell where that can be: they are what takes most of the time here.

lab_run=/run/lab
# It names each descriptor that it was not told of.
export LVM_SUPPRESS_FD_WARNINGS=1
mkdir -p "$lab_run"

# ---- results, in the manner of TAP ----------------------------------------------------------------------------------------
lab_count=0 lab_failed=0
lab_result() { # VERDICT NAME
    lab_count=$((lab_count + 1))
    echo "$1 $lab_count - $2"
    [[ $1 == ok ]] || lab_failed=$((lab_failed + 1))
}
pass() { lab_result ok "$1"; }
fail() { lab_result 'not ok' "$1"; [[ -z ${2:-} ]] || printf '%s\n' "$2" | sed 's/^/#   /'; } # NAME [DETAILS]
ok() { # NAME COMMAND…: the command succeeds; its output is shown when it does not
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then pass "$name"; else fail "$name" "$* → $?
$said"; fi
}
not_ok() { # NAME COMMAND…: the command fails
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then fail "$name" "$* succeeded
$said"; else pass "$name"; fi
}
is() { if [[ $2 == "$3" ]]; then pass "$1"; else fail "$1" "got '$2', expected '$3'"; fi; } # NAME GOT EXPECTED
finish() { echo "1..$lab_count"; ((lab_failed == 0)) || { echo "# $lab_failed of $lab_count failed"; exit 1; }; exit 0; }

now_ms() { local us=${EPOCHREALTIME/./}; echo $((us / 1000)); }
# Nobody ever writes to it: to wait for that costs no process.
[[ -p $lab_run/never ]] || mkfifo "$lab_run/never"
exec {lab_never}<>"$lab_run/never"
nap() { read -rt "$1" -u "$lab_never" _ || :; } # SECONDS
wait_for() { # SECONDS COMMAND…: until it succeeds, polled every 20 ms, and ever less often when it takes long
    local deadline=$((${EPOCHREALTIME/./} + ${1%.*} * 1000000)) begun pause polls=0
    shift
    until begun=${EPOCHREALTIME/./}; "$@" >/dev/null 2>&1; do
        ((${EPOCHREALTIME/./} < deadline)) || { echo "not within the time: $*" >&2; return 1; }
        # A question may cost more processor time here than what is waited for: that has twice as much.
        if ((++polls < 20)); then pause=20000; else pause=200000; fi
        ((pause = (${EPOCHREALTIME/./} - begun) * 2 > pause ? (${EPOCHREALTIME/./} - begun) * 2 : pause))
        nap "$((pause / 1000000)).$(printf '%06d' $((pause % 1000000)))"
    done
}

# A program that stays, and answers "NUMBER QUESTION" with "NUMBER ANSWER", each a line: to start one for each question takes long.
declare -A lab_asks=() lab_answers=()
lab_serve() { # NAME COMMAND…
    local name=$1 ends=$lab_run/$1.$BASHPID ask answer
    shift
    mkfifo "$ends.ask" "$ends.answer" && exec {ask}<>"$ends.ask" {answer}<>"$ends.answer" || return
    lab_asks[$name]=$ask lab_answers[$name]=$answer
    # It ends with this shell.
    setpriv --pdeathsig TERM "$@" <"$ends.ask" >"$ends.answer" 2>/dev/null &
}
lab_ask() { # NAME QUESTION: the answer in REPLY; by one shell at a time, or each takes the other's
    local number=$SRANDOM of
    echo "$number $2" >&"${lab_asks[$1]}"
    # Whoever was killed while it asked has left its answer.
    while read -rt 60 -u "${lab_answers[$1]}" of REPLY; do [[ $of != "$number" ]] || return 0; done
    REPLY=''
    return 1
}

# ---- PCI -------------------------------------------------------------------------------------------------------------------
lab_device() { # ADDRESS, in full, and its directory: in device and place, for whoever declares them
    if [[ $1 =~ ^[0-9a-f]{4,}:..:..\.. ]]; then device=$1; else device=0000:$1; fi
    # shellcheck disable=SC2034 # for the caller
    place=/sys/bus/pci/devices/$device
}
full() { local device place; lab_device "$1"; echo "$device"; }
pci() { local device place; lab_device "$1"; echo "$place"; }
driver_of() { local device place link; lab_device "$1"; link=$(readlink "$place/driver") && echo "${link##*/}" || echo none; }
override_of() { local device place text; lab_device "$1"; read -r text <"$place/driver_override"; echo "$text"; } # "(null)" when unset
group_of() { local device place link; lab_device "$1"; link=$(readlink "$place/iommu_group") && echo "${link##*/}" || echo none; }
has_driver() { # ADDRESS DRIVER, or none
    local device place
    lab_device "$1"
    if [[ $2 == none ]]; then [[ ! -e $place/driver ]]; else [[ $place/driver -ef /sys/bus/pci/drivers/$2 ]]; fi
}
unbind() { local device place; lab_device "$1"; echo "$device" >"$place/driver/unbind"; } # blocks while somebody holds a VFIO device
probe() { local device place; lab_device "$1"; echo "$device" >/sys/bus/pci/drivers_probe; }
bind_to() { # ADDRESS DRIVER: override, unbind, probe, read back
    local device place
    lab_device "$1"
    echo "$2" >"$place/driver_override"
    [[ ! -e $place/driver ]] || unbind "$1"
    probe "$1"
    has_driver "$1" "$2" || { echo "$1 is on $(driver_of "$1")" >&2; return 1; }
}
bind_vfio() { modprobe vfio-pci && bind_to "$1" vfio-pci; } # ADDRESS
unpin() { # ADDRESS: back to its host driver
    local device place
    lab_device "$1"
    echo >"$place/driver_override"
    [[ ! -e $place/driver ]] || unbind "$1"
    probe "$1"
}
create_vfs() { echo "$1" >"$(pci 02:00.0)/sriov_numvfs" && wait_for 20 test -e "$(pci "02:00.$1")"; } # NUMBER (1 to 7): 02:00.1 …
destroy_vfs() { echo 0 >"$(pci 02:00.0)/sriov_numvfs"; }
host_unload() { local code=0; modprobe -r vfio_pci || code=$?; echo "$code"; } # prints modprobe's exit status
module_live() { local state=''; [[ ! -e /sys/module/$1/initstate ]] || read -r state <"/sys/module/$1/initstate"; [[ $state == live ]]; }
nic_of() { if [[ -e /sys/class/net/$1 ]]; then echo "$1"; else ls "$(pci "$1")/net"; fi; }
disk_of() { # ADDRESS of a controller, or a node: the first disk's node
    [[ $1 != /* ]] || { echo "$1"; return; }
    local disk
    for disk in /sys/block/*; do
        [[ $(readlink -f "$disk/device") != *"/$(full "$1")/"* ]] || { echo "/dev/${disk##*/}"; return; }
    done
    echo "no disk at $1" >&2
    return 1
}

# ---- what hosts do with their devices -----------------------------------------------------------------------------------
make_swap() { local disk; disk=$(disk_of "$1") && mkswap -q "$disk" && swapon "$disk"; }
make_md() { # DISK: a RAID1 with one of its two members, /dev/md7
    local disk
    disk=$(disk_of "$1") && mdadm --quiet --create /dev/md7 --run --force --level=1 --raid-devices=2 --metadata=1.2 "$disk" missing
}
make_lvm() { # DISK: volume group lab with a volume; nothing is mounted
    local disk
    disk=$(disk_of "$1") && vgcreate -q -y lab "$disk" >/dev/null && lvcreate -q -y -n volume -L 32M lab >/dev/null
}
make_dm() { local disk; disk=$(disk_of "$1") && dmsetup create labdm --table "0 2048 linear $disk 0"; } # DISK: plain device-mapper
mount_disk() { # DISK [DIRECTORY]
    local disk where=${2:-/mnt}
    disk=$(disk_of "$1") && mkfs.ext4 -q -F "$disk" && mkdir -p "$where" && mount "$disk" "$where"
}
mount_in_private_ns() { # DISK: mounted in another mount namespace only; prints the pid that keeps it there
    local disk pid
    disk=$(disk_of "$1") && mkfs.ext4 -q -F "$disk" || return
    rm -f "$lab_run/private"
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --propagation private sh -c 'mount "$0" /mnt && : >"$1" && exec sleep infinity' "$disk" "$lab_run/private" </dev/null >/dev/null 2>&1 &
    pid=$!
    wait_for 20 test -e "$lab_run/private" && echo "$pid"
}
default_route_on() { # NIC [table N]: an address, and the default route through it
    local nic; nic=$(nic_of "$1") || return
    shift
    ip link set "$nic" up && ip address add 192.0.2.10/24 dev "$nic" && ip route add default via 192.0.2.1 dev "$nic" onlink "$@"
}
make_bond_bridge() { # NIC: bridge br0 over bond bond0 over the NIC; br0 has the address and the default route
    local nic; nic=$(nic_of "$1") || return
    # iproute2 asks for the type by name; the module would also make a bond of its own
    modprobe bonding max_bonds=0 && ip link add bond0 type bond mode active-backup && ip link add br0 type bridge || return
    ip link set "$nic" down && ip link set "$nic" master bond0 && ip link set bond0 master br0 || return
    ip link set "$nic" up && ip link set bond0 up && default_route_on br0
}
nic_to_netns() { ip netns add "$2" && ip link set "$(nic_of "$1")" netns "$2"; } # NIC NAME; "ip netns del NAME" brings it back

hold_as_user() { # ADDRESS USER [device|group|container, or handed OTHER DEPTH]: that user holds it, as a VM would; prints a pid to kill
    local address pid node ready other
    address=$(full "$1")
    other=$(full "${4:-$1}")
    ready=$(mktemp -u "$lab_run/hold.XXXXXX")
    install -d -m 1777 "$lab_run"
    for node in "$address" "$other"; do chown "$2" "/dev/vfio/$(group_of "$node")" || return; done
    setpriv --reuid="$2" --regid="$2" --clear-groups python3 /lab/hold.py "$address" "${3:-device}" "$ready" "$other" "${5:-}" </dev/null >/dev/null 2>&1 &
    pid=$!
    wait_for 30 test -s "$ready" || return
    [[ $(<"$ready") == held ]] || { cat "$ready" >&2; return 1; }
    echo "$pid"
}
name_as_user() { # DIRECTORY NAME USER: that user has a file of that name open on a FUSE mount of their own; prints a pid to kill
    local ready pid
    modprobe fuse && chmod 666 /dev/fuse
    install -d -m 1777 "$lab_run"
    ready=$(mktemp -u "$lab_run/named.XXXXXX")
    setpriv --reuid="$3" --regid="$3" --clear-groups unshare --user --map-root-user --mount python3 /lab/named.py "$1" "$2" "$ready" </dev/null >/dev/null 2>&1 &
    pid=$!
    wait_for 30 test -s "$ready" || return
    [[ $(<"$ready") == held ]] || { cat "$ready" >&2; return 1; }
    echo "$pid"
}
have_open() { # FILE: a process that does nothing else has it open for reading and writing; prints a pid to kill
    sleep infinity <>"$1" >/dev/null 2>&1 &
    echo $!
}
release() { kill "$@" && wait_for 20 eval "! kill -0 $*"; } # PID… of the holders above

# ---- who wrote what ----------------------------------------------------------------------------------------------------
# A tracefs instance of our own. "file" is any write to an attribute of a PCI device (override, config, power/control, …); the others
# are the files of buses and drivers, where the address is in the text that was written. Plus module loads and unloads.
lab_trace=/sys/kernel/tracing/instances/lab
lab_probes() { # their definitions, made once in a boot: going through the kernel's symbols takes seconds here
    local made=$lab_run/probes dentry
    # Where struct file keeps its dentry; dentry: d_parent at 0x18, d_name.name at 0x28 (both kernels). Args in %di, %si, %dx.
    case $(uname -r) in 6.1.*) dentry=0x18 ;; *) dentry=0x48 ;; esac
    dentry="+$dentry(+0(%di))"
    [[ -s $made ]] || {
        echo "p:lab/file kernfs_fop_write_iter top=+0(+0x28(+0x18(+0x18($dentry)))):string dir=+0(+0x28(+0x18($dentry))):string name=+0(+0x28($dentry)):string"
        # Several functions may have the name (PCI, HID, platform …) and the kernel refuses an ambiguous one: all of them, by address.
        awk -v of_bus='bind unbind new_id remove_id drivers_probe rescan' -v of_device='driver_override sriov_numvfs' '
            BEGIN {
                for (n = split(of_bus, names, " "); n; n--) text[names[n] "_store"] = "%si"
                for (n = split(of_device, names, " "); n; n--) text[names[n] "_store"] = "%dx"
            }
            $3 == "_text" { base = $1 }
            NF == 3 && $3 in text { at[++found] = $1; name[found] = $3 }
            END {
                for (n = 1; n <= found; n++)
                    print substr(name[n], 1, length(name[n]) - 6), at[n], base, text[name[n]]
            }' /proc/kallsyms | {
            local name at base text n=0
            while read -r name at base text; do
                echo "p:lab/${name}_$((n += 1)) _text+$((0x$at - 0x$base)) on=+0(+0(%di)):string value=+0($text):string"
            done
        }
    } >"$made"
    cat "$made"
}
trace_writes_start() {
    local probe
    trace_writes_off
    # What is costly about it is made once.
    if [[ ! -d $lab_trace ]]; then trace_writes_set_up || return; fi
    echo 1 >"$lab_trace/events/lab/enable"
    echo 1 >"$lab_trace/events/module/module_load/enable"
    echo 1 >"$lab_trace/events/module/module_free/enable"
    : >"$lab_trace/trace"
}
trace_writes_set_up() {
    mkdir "$lab_trace" || return
    # The trace's own clock is the processor's counter, by a rate taken while booting. On a machine under load that was four times
    # too slow, which the kernel noticed (it went on with the HPET) and this clock did not.
    echo boot >"$lab_trace/trace_clock" || return
    while read -r probe; do
        echo "$probe" >>/sys/kernel/tracing/kprobe_events || { echo "cannot set $probe" >&2; return 1; }
    done < <(lab_probes)
    echo 4096 >"$lab_trace/buffer_size_kb"
    # Addresses look like 0000:00:03.0; the rest of kernfs is cgroups and other buses.
    echo 'dir ~ "*:*:*.?" || top ~ "*:*:*.?"' >"$lab_trace/events/lab/file/filter"
}
trace_writes() { # what was written so far: "SECONDS COMM[PID] EVENT DETAILS", one a line
    sed -z 's/\n"/"/g' "$lab_trace/trace" |
        sed -nE 's/^ *(.+)-([0-9]+) +\[[0-9]+\] +[^ ]+ +([0-9.]+): ([a-z_]+[a-z])(_[0-9]+)?: (\([^)]*\) )?(.*)$/\3 \1[\2] \4 \7/p'
}
trace_writes_off() { [[ ! -d $lab_trace ]] || echo 0 >"$lab_trace/events/enable"; } # nothing is traced, all is there still
trace_writes_remove() {
    trace_writes_off
    [[ ! -d $lab_trace ]] || rmdir "$lab_trace"
    local events=/sys/kernel/tracing/kprobe_events probe
    local -a probes
    mapfile -t probes < <(sed -n 's/^p:\(lab\/[^ ]*\) .*/-:\1/p' "$events")
    for probe in "${probes[@]}"; do echo "$probe" >>"$events"; done
}
trace_writes_stop() { trace_writes; trace_writes_remove; }
writes_to() { trace_writes | grep -F "$(full "$1")" | grep -vE '^[0-9.]+ ('"${2:-(udev-worker)|systemd-udevd}"')\['; } # ADDRESS [COMMS to leave out, a regex]
