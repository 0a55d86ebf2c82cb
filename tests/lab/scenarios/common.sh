# shellcheck shell=bash
# What the scenarios share beside /lab/lib.sh: the daemon's life, its journal, a clean host between two scenarios.
# shellcheck source=../lib.sh
. /lab/lib.sh
# MESSAGE_IDs by the names they have in src/names.rs, as MSG_DRIFTED=…
# shellcheck disable=SC1091
. /lab/with/messages.sh

configure() { mkdir -p /etc/vfiod && cat >/etc/vfiod/vfiod.toml; } # the configuration, from stdin
# PROPERTY of vfiod's unit, in REPLY. Asked again and again; the demonstration goes without the program for it.
if [[ -x /lab/with/ask-unit ]]; then
    lab_serve unit /lab/with/ask-unit vfiod.service
    unit() { lab_ask unit "$1"; }
else
    unit() { REPLY=$(systemctl show -p "$1" --value vfiod); }
fi
status_text() { unit StatusText; echo "$REPLY"; }
says() { unit StatusText; [[ $REPLY == *"$1"* ]]; } # WORDS in the status line
start_vfiod() { systemctl reset-failed vfiod 2>/dev/null; mark; systemctl start vfiod; }
stop_vfiod() { systemctl stop vfiod; }
main_pid() { unit MainPID; echo "$REPLY"; }
is_traced() { grep -qE '^TracerPid:\s+[1-9]' "/proc/$1/status"; } # PID, by strace
is_active() { unit ActiveState; [[ $REPLY == active ]]; }
crash_vfiod() { unit MainPID; crashed=$REPLY; ((crashed > 1)) && kill -9 "$crashed"; }
is_back() { unit MainPID; [[ $REPLY != 0 && $REPLY != "$crashed" ]] && is_active; } # after that; systemd takes a moment to notice
reload_vfiod() { systemctl reload vfiod; }

# ---- over the bus ---------------------------------------------------------------------------------------------------------
property() { busctl get-property org.vfiod1 "$1" "org.vfiod1.$2" "$3"; } # OBJECT INTERFACE PROPERTY
object_of() { local device place; lab_device "$1"; echo "/org/vfiod1/device/pci_${device//[:.]/_}"; } # ADDRESS
state() { property "$(object_of "$1")" Device State; } # ADDRESS
in_state() { [[ $(state "$1") == "s \"$2\"" ]]; } # ADDRESS STATE
holds() { property /org/vfiod1/manager Manager Holds; }
no_holds() { [[ $(holds) == 'a(tssstuu) 0' ]]; }

# ---- the journal ---------------------------------------------------------------------------------------------------------
# By time, not by cursor: --after-cursor beside other matches leaves out the first entry that matches (seen, systemd 252).
mark() { since=@$EPOCHREALTIME; } # what comes from here on counts
journal() { journalctl --sync; journalctl -q --since="$since" -t vfiod "$@"; }
# Entries of vfiod since the mark: FIELD=VALUE matches, or none for all.
entries() { journal -o cat "$@"; }
count() { entries "$@" | wc -l; }
told() { [[ -n $(entries -n 1 "$@") ]]; } # FIELD=VALUE…: at least once
alerts() { journal -o cat -p err | wc -l; }
field() { # FIELD, then matches: that field of the newest such entry
    local name=$1
    shift
    journal -n 1 -o cat --output-fields="$name" "$@"
}

# ---- who wrote what: the daemon's children are vfiod-act and the modprobe it runs -------------------------------------------
our_writes() { # ADDRESS: what vfiod wrote to it since trace_writes_start
    trace_writes | grep -F "$(full "$1")" | grep -E '^[0-9.]+ (vfiod|vfiod-act|vfiod-look)\['
}
untouched() { local said; said=$(our_writes "$1"); [[ -z $said ]] || { echo "$said"; return 1; }; } # ADDRESS
all_ours() { trace_writes | grep -E '^[0-9.]+ (vfiod|vfiod-act|vfiod-look)\['; }

# The FILE of vfio_pci leaves its tree and comes back, the indices with it. depmod goes through 3,000 modules for that, which takes long
# here: it did so for both when the image was made.
without_in_tree() {
    local tree=${1%%/kernel/*}
    mkdir -p "$lab_run/indices" && cp -a "$tree"/modules.* "$lab_run/indices/" && mv "$1" "$1.away" && cp "$tree"/lab-without/modules.* "$tree/"
}
back_in_tree() { mv "$1.away" "$1" && cp "$lab_run"/indices/* "${1%%/kernel/*}/"; }
not_ok_quiet() { ! "$@" >/dev/null 2>&1; }
not_empty() { [[ -n $1 ]]; }

# Tracing from here on, with a write of our own that must be seen: without it "no write" would prove nothing. The device is the one
# that carries this script's output; its override is cleared, as it is already.
watch_writes() {
    local seen=1
    trace_writes_start && echo >"$(pci 00:0c.0)/driver_override" && writes_to 00:0c.0 | grep -q driver_override || seen=0
    is 'writes are traced' "$seen" 1
}

# ---- a clean host ----------------------------------------------------------------------------------------------------------
lab_endpoints='00:03.0 00:04.0 00:04.1 01:00.0 02:00.0 04:01.0 04:02.0 05:00.0 05:00.1 00:08.0 00:09.0'
reset_host() { # vfiod stopped and forgotten, every endpoint back on its host driver, no vfio module, no VFs
    systemctl stop vfiod 2>/dev/null
    rm -rf /run/vfiod /var/lib/vfiod /etc/vfiod /usr/lib/vfiod/conf.d /etc/modprobe.d/lab*.conf
    mkdir -p /etc/vfiod
    # Reloading takes seconds here.
    if [[ -e /run/systemd/system/vfiod.service.d ]]; then
        rm -r /run/systemd/system/vfiod.service.d
        systemctl daemon-reload
    fi
    trace_writes_off
    destroy_vfs 2>/dev/null
    local address device place override
    for address in $lab_endpoints; do
        lab_device "$address"
        [[ -e $place ]] && read -r override <"$place/driver_override" || continue
        [[ $override == '(null)' ]] || unpin "$address" 2>/dev/null
    done
    modprobe -r vfio_pci vfio_iommu_type1 vfio 2>/dev/null
    udevadm settle
    mark
}
